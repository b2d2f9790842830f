//! What the files of a cluster say about its server.
//!
//! Owns the reading of `PG_VERSION` and `postmaster.pid`. It must never signal a process, and never
//! take a process for the server because of its number alone: numbers are used again, in a
//! container soon.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::{ClusterError, place};

/// A server that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Postmaster {
    pub pid: u32,
    /// Whether it accepts connections: not while it recovers, nor while it stops.
    pub is_ready: bool,
}

/// The major version that made the cluster, `None` when there is no cluster.
pub(super) fn cluster_version(cluster: &Path) -> Result<Option<u32>, ClusterError> {
    if !cluster.exists() {
        return Ok(None);
    }
    let path = cluster.join("PG_VERSION");
    let version = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    version.map(Some).ok_or(ClusterError::DamagedVersion { path })
}

/// The server of this cluster, if it runs.
pub(super) fn running(cluster: &Path) -> Option<Postmaster> {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    let pid = pid_in(&text)?;
    let status = text.lines().nth(7).map(str::trim);
    let postmaster = Postmaster { pid, is_ready: status == Some("ready") };
    (exists(pid) && is_server_of(pid, cluster)).then_some(postmaster)
}

/// Removes the pid file when its number belongs to another process today, or to one that is dead
/// and not yet collected by its parent: Postgres itself would refuse to start then. Any other
/// leftover is its own affair.
pub(super) fn forget_if_stale(cluster: &Path) -> Result<(), ClusterError> {
    let path = cluster.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(());
    };
    let is_stale = pid_in(&text).is_some_and(|pid| exists(pid) && !is_server_of(pid, cluster));
    if !is_stale {
        return Ok(());
    }
    place::remove_if_there(&path).map_err(|source| ClusterError::file("remove", &path, source))
}

fn pid_in(text: &str) -> Option<u32> {
    text.lines().next()?.trim().parse().ok()
}

fn exists(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else {
        return false;
    };
    matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM))
}

/// The postmaster works in the directory of its cluster. A dead process has no directory.
fn is_server_of(pid: u32, cluster: &Path) -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let works_in = fs::metadata(format!("/proc/{pid}/cwd"));
    match (works_in, fs::metadata(cluster)) {
        (Ok(works_in), Ok(cluster)) => {
            (works_in.dev(), works_in.ino()) == (cluster.dev(), cluster.ino())
        }
        (Err(_), _) | (_, Err(_)) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_that_names_another_process_is_forgotten() {
        let cluster = tempfile::tempdir().unwrap();
        let pid_file = cluster.path().join("postmaster.pid");
        fs::write(&pid_file, format!("{}\n", std::process::id())).unwrap();
        assert!(running(cluster.path()).is_none());
        forget_if_stale(cluster.path()).unwrap();
        assert!(!pid_file.exists());
    }

    #[test]
    fn a_directory_without_a_version_is_a_damaged_cluster() {
        let cluster = tempfile::tempdir().unwrap();
        let refused = cluster_version(cluster.path()).unwrap_err().to_string();
        assert!(refused.contains("PG_VERSION"), "{refused}");
    }
}
