//! Where the Postgres programs are.
//!
//! Owns the search, and the choice between several versions. It must never mix programs of two
//! directories, and never open a cluster with another major version than the one that made it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ClusterError;

const NEEDED: [&str; 4] = ["initdb", "pg_ctl", "postgres", "psql"];
/// Where Debian and Ubuntu put each version, as `<version>/bin`.
const VERSIONS_DIR: &str = "/usr/lib/postgresql";

/// The programs of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Programs {
    pub bin_dir: PathBuf,
    pub version: u32,
}

/// Where to look.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// When given, the only place.
    pub bin_dir: Option<PathBuf>,
    pub path: OsString,
    pub versions_dir: PathBuf,
}

impl Search {
    /// The given directory alone, else `PATH`, what `pg_config` says, and [`VERSIONS_DIR`].
    pub fn usual(bin_dir: Option<PathBuf>) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self { bin_dir, path, versions_dir: PathBuf::from(VERSIONS_DIR) }
    }

    /// The programs of the version that made the cluster, or the newest for a new one.
    pub fn find(
        &self,
        cluster_version: Option<u32>,
        cluster: &Path,
    ) -> Result<Programs, ClusterError> {
        let mut found: Vec<Programs> =
            self.places().iter().filter_map(|place| programs_in(place)).collect();
        found.sort_by_key(|programs| programs.version);
        let newest = found.last().ok_or_else(|| self.nothing_found())?;
        let Some(wanted) = cluster_version else {
            return Ok(newest.clone());
        };
        let fitting = found.iter().find(|programs| programs.version == wanted);
        fitting.cloned().ok_or_else(|| ClusterError::OtherVersion {
            path: cluster.to_owned(),
            cluster: wanted,
            found: versions_of(&found),
        })
    }

    fn places(&self) -> Vec<PathBuf> {
        if let Some(bin_dir) = &self.bin_dir {
            return vec![bin_dir.clone()];
        }
        let mut places: Vec<PathBuf> = std::env::split_paths(&self.path).collect();
        places.extend(self.place_of_pg_config());
        let versions = fs::read_dir(&self.versions_dir).into_iter().flatten().flatten();
        places.extend(versions.map(|version| version.path().join("bin")));
        places
    }

    fn place_of_pg_config(&self) -> Option<PathBuf> {
        let pg_config = std::env::split_paths(&self.path)
            .map(|dir| dir.join("pg_config"))
            .find(|program| program.is_file())?;
        let output = Command::new(pg_config).arg("--bindir").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(PathBuf::from(text.trim())).filter(|dir| dir.is_absolute())
    }

    fn nothing_found(&self) -> ClusterError {
        let searched = self.bin_dir.as_ref().map_or_else(
            || format!("PATH, `pg_config --bindir` and {}/*/bin", self.versions_dir.display()),
            |bin_dir| format!("{} (HOGA_POSTGRES_BIN_DIR)", bin_dir.display()),
        );
        ClusterError::NoPrograms { searched }
    }
}

/// The directory behind the links, because distributions link some of the programs into `PATH`.
fn programs_in(place: &Path) -> Option<Programs> {
    let initdb = place.join("initdb").canonicalize().ok()?;
    let bin_dir = initdb.parent()?.to_owned();
    let is_complete = NEEDED.iter().all(|name| bin_dir.join(name).is_file());
    let version = is_complete.then(|| version_of(&bin_dir)).flatten()?;
    Some(Programs { bin_dir, version })
}

/// From a text such as `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` or `… 18beta1`.
fn version_of(bin_dir: &Path) -> Option<u32> {
    let output = Command::new(bin_dir.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().nth(2)?;
    let digits_end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..digits_end].parse().ok()
}

fn versions_of(found: &[Programs]) -> String {
    let name = |programs: &Programs| {
        format!("Postgres {} ({})", programs.version, programs.bin_dir.display())
    };
    let mut names: Vec<String> = found.iter().map(name).collect();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Programs that only know their version.
    fn install(versions_dir: &Path, version: &str) {
        let bin_dir = versions_dir.join(version).join("bin");
        fs::create_dir_all(&bin_dir).unwrap();
        for name in NEEDED {
            let program = bin_dir.join(name);
            let text = format!("#!/bin/sh\necho '{name} (PostgreSQL) {version}.3 (made up)'\n");
            fs::write(&program, text).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn search_in(versions_dir: &Path) -> Search {
        Search { bin_dir: None, path: OsString::new(), versions_dir: versions_dir.to_owned() }
    }

    #[test]
    fn the_newest_version_makes_a_new_cluster() {
        let dir = tempfile::tempdir().unwrap();
        ["9", "17", "15"].iter().for_each(|version| install(dir.path(), version));
        let found = search_in(dir.path()).find(None, Path::new("cluster")).unwrap();
        assert_eq!(found.version, 17);
    }

    #[test]
    fn a_cluster_is_opened_by_the_version_that_made_it() {
        let dir = tempfile::tempdir().unwrap();
        ["15", "17"].iter().for_each(|version| install(dir.path(), version));
        let found = search_in(dir.path()).find(Some(15), Path::new("cluster")).unwrap();
        assert_eq!(found.version, 15);
    }

    #[test]
    fn a_cluster_of_a_version_that_is_not_installed_is_refused_with_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        install(dir.path(), "17");
        let refused = search_in(dir.path()).find(Some(14), Path::new("/x/cluster")).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("/x/cluster was made by Postgres 14"), "{text}");
        assert!(text.contains("Postgres 17"), "{text}");
        assert!(text.contains("apt-get install postgresql-14"), "{text}");
    }

    #[test]
    fn missing_programs_are_answered_with_how_to_install_them() {
        let dir = tempfile::tempdir().unwrap();
        let text = search_in(dir.path()).find(None, Path::new("cluster")).unwrap_err().to_string();
        assert!(text.contains("apt-get install postgresql"), "{text}");
        assert!(text.contains("HOGA_POSTGRES_BIN_DIR"), "{text}");
        assert!(text.contains("HOGA_DATABASE_URL"), "{text}");
    }

    #[test]
    fn a_given_directory_is_the_only_one_that_is_searched() {
        let dir = tempfile::tempdir().unwrap();
        install(dir.path(), "17");
        let mut search = search_in(dir.path());
        search.bin_dir = Some(dir.path().join("nothing-here"));
        let text = search.find(None, Path::new("cluster")).unwrap_err().to_string();
        assert!(text.contains("nothing-here (HOGA_POSTGRES_BIN_DIR)"), "{text}");
    }
}
