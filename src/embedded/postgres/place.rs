//! Where the cluster, its socket and its log are on disk.
//!
//! Owns every path and every permission of the private cluster. It must never follow a link in a
//! directory that belongs to the user who runs Postgres (Hoga may be root there), and never remove
//! a finished cluster.
//!
//! Usually the home is `<data_dir>/postgres`. When root starts Hoga in a place that the user who
//! runs Postgres cannot reach, it is `/var/lib/hoga/<hash of the data directory>`, and a file in
//! the data directory says so.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use sha2::{Digest, Sha256};

use super::{Account, ClusterError, make_dir};

/// The cluster itself, inside the home.
pub(super) const CLUSTER: &str = "cluster";
/// The log of the server, inside the home.
pub(super) const LOG: &str = "postgres.log";
const LOG_SET_ASIDE: &str = "postgres.log.1";
/// A cluster that initdb has not finished, inside the home.
pub(super) const UNFINISHED_PREFIX: &str = "unfinished-";
/// Held during a start, inside the data directory.
pub(super) const START_LOCK: &str = "postgres.lock";
/// Held by everybody who uses the server, inside the data directory.
pub(super) const IN_USE_LOCK: &str = "postgres-in-use.lock";
/// Says where the home is when it is not in the data directory.
const ELSEWHERE: &str = "postgres-is-elsewhere";
const ELSEWHERE_ROOT: &str = "/var/lib/hoga";
/// What the system allows for the path of a socket: 107 bytes on Linux, 103 on macOS.
const SOCKET_PATH_BYTES_MAX: usize = 103;
/// How much of the log is read to explain a failed start.
const LOG_SHOWN_BYTES_MAX: u64 = 64 * 1024;

/// The directories of one cluster, all absolute.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub home: PathBuf,
    pub socket_dir: PathBuf,
}

/// Makes the data directory and returns it absolute, without links.
pub(super) fn make_data_dir(data_dir: &Path) -> Result<PathBuf, ClusterError> {
    make_dir(data_dir)?;
    data_dir.canonicalize().map_err(|source| ClusterError::file("find", data_dir, source))
}

/// The home that an earlier start chose, if there is one.
pub(super) fn existing_home(data_dir: &Path) -> Option<PathBuf> {
    let home = elsewhere(data_dir).unwrap_or_else(|| data_dir.join("postgres"));
    home.is_dir().then_some(home)
}

/// The first line of the file is the path; the rest is for people.
fn elsewhere(data_dir: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(data_dir.join(ELSEWHERE)).ok()?;
    text.lines().next().filter(|line| line.starts_with('/')).map(PathBuf::from)
}

impl Place {
    /// Finds or makes the home, which belongs to the user who runs Postgres and is closed to others.
    pub fn choose(data_dir: &Path, account: Option<&Account>) -> Result<Self, ClusterError> {
        let home = choose_home(data_dir, account)?;
        make_private_dir(&home, account)?;
        if let Some(account) = account
            && !account.can_reach(&home)
        {
            return Err(ClusterError::Unreachable { path: home, user: account.name.clone() });
        }
        let socket_dir = choose_socket_dir(&home);
        Ok(Self { home, socket_dir })
    }

    pub fn cluster(&self) -> PathBuf {
        self.home.join(CLUSTER)
    }

    pub fn log(&self) -> PathBuf {
        self.home.join(LOG)
    }

    pub fn socket_file(&self, port: u16) -> PathBuf {
        self.socket_dir.join(format!(".s.PGSQL.{port}"))
    }

    /// Removes what a killed server left of its socket. The directory serves this cluster alone, so
    /// nothing there belongs to a server that runs; Postgres would still refuse to start when the
    /// number in the lock of the socket is in use again.
    pub fn forget_socket(&self, port: u16) -> Result<(), ClusterError> {
        let socket = self.socket_file(port);
        let lock = self.socket_dir.join(format!(".s.PGSQL.{port}.lock"));
        for path in [lock, socket] {
            remove_if_there(&path).map_err(|source| ClusterError::file("remove", &path, source))?;
        }
        Ok(())
    }

    /// Only the directory guards the socket: who can enter it may connect as the superuser.
    pub fn make_socket_dir(&self, account: Option<&Account>) -> Result<(), ClusterError> {
        make_private_dir(&self.socket_dir, account)
    }

    /// Turns what initdb made into the cluster, in one step that a crash cannot tear.
    pub fn finish(&self, unfinished: &str) -> Result<(), ClusterError> {
        let finish = || {
            fs::rename(self.home.join(unfinished), self.cluster())?;
            File::open(&self.home)?.sync_all()
        };
        finish().map_err(|source| ClusterError::file("finish", &self.cluster(), source))
    }

    /// Best effort: an initdb that was left behind may still be writing, and a directory that
    /// stays is tried again at the next start that makes a cluster.
    pub fn remove_unfinished(&self) {
        let Ok(entries) = fs::read_dir(&self.home) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Replaces `postgresql.conf`: removed first and created anew, so that no link is followed.
    pub fn write_settings(
        &self,
        text: &str,
        account: Option<&Account>,
    ) -> Result<(), ClusterError> {
        let path = self.cluster().join("postgresql.conf");
        let write = || {
            remove_if_there(&path)?;
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            account.map_or(Ok(()), |account| account.own_file(&file))?;
            file.write_all(text.as_bytes())
        };
        write().map_err(|source| ClusterError::file("write", &path, source))
    }

    /// Keeps the log from growing for ever: one older log is kept.
    pub fn set_long_log_aside(&self, bytes_max: u64) -> Result<(), ClusterError> {
        if self.log_len() <= bytes_max {
            return Ok(());
        }
        fs::rename(self.log(), self.home.join(LOG_SET_ASIDE))
            .map_err(|source| ClusterError::file("set aside", &self.log(), source))
    }

    pub fn log_len(&self) -> u64 {
        self.log().metadata().map_or(0, |it| it.len())
    }

    /// What the log has gained since it had `start` bytes; empty when it cannot be read.
    pub fn log_from(&self, start: u64) -> String {
        let mut bytes = Vec::new();
        let start = start.max(self.log_len().saturating_sub(LOG_SHOWN_BYTES_MAX));
        let read = File::open(self.log()).and_then(|mut file| {
            file.seek(SeekFrom::Start(start))?;
            file.take(LOG_SHOWN_BYTES_MAX).read_to_end(&mut bytes)
        });
        read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn choose_home(data_dir: &Path, account: Option<&Account>) -> Result<PathBuf, ClusterError> {
    let inside = data_dir.join("postgres");
    if let Some(existing) = elsewhere(data_dir) {
        make_passable_dir(Path::new(ELSEWHERE_ROOT))?;
        return Ok(existing);
    }
    let Some(account) = account else {
        return Ok(inside);
    };
    let_pass(data_dir, account)?;
    if inside.join(CLUSTER).exists() || account.can_reach(data_dir) {
        return Ok(inside);
    }
    let home = Path::new(ELSEWHERE_ROOT).join(short_hash(data_dir));
    make_passable_dir(Path::new(ELSEWHERE_ROOT))?;
    say_where(data_dir, &home, account)?;
    Ok(home)
}

/// Opens a data directory that holds nothing yet to the user who runs Postgres: it was just made,
/// under a strict umask. One that holds something is left as its owner wants it.
fn let_pass(data_dir: &Path, account: &Account) -> Result<(), ClusterError> {
    let fail = |source| ClusterError::file("open to Postgres", data_dir, source);
    let metadata = data_dir.metadata().map_err(fail)?;
    if account.can_enter(&metadata) || !is_fresh(data_dir) {
        return Ok(());
    }
    let mode = metadata.mode() & 0o7777 | 0o011;
    fs::set_permissions(data_dir, Permissions::from_mode(mode)).map_err(fail)
}

fn is_fresh(data_dir: &Path) -> bool {
    let is_a_lock = |name: &OsStr| name == "lock" || name == START_LOCK;
    fs::read_dir(data_dir)
        .is_ok_and(|entries| entries.flatten().all(|entry| is_a_lock(&entry.file_name())))
}

fn say_where(data_dir: &Path, home: &Path, account: &Account) -> Result<(), ClusterError> {
    let path = data_dir.join(ELSEWHERE);
    let text = format!(
        "{}\n\nPostgres does not run as root, and the user {} cannot reach this directory,\n\
         so the Postgres cluster of this data directory is in the directory above.\n\
         To start over without its data, remove both.\n",
        home.display(),
        account.name,
    );
    fs::write(&path, text).map_err(|source| ClusterError::file("write", &path, source))
}

/// The short directory also serves for paths with characters that would need quoting in a list of
/// directories or in a URL.
fn choose_socket_dir(home: &Path) -> PathBuf {
    let inside = home.join("socket");
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let bytes = inside.as_os_str().as_encoded_bytes();
    let fits = bytes.len() + "/.s.PGSQL.5432".len() <= SOCKET_PATH_BYTES_MAX;
    if fits && bytes.iter().all(is_plain) {
        inside
    } else {
        PathBuf::from(format!("/tmp/hoga-{}", short_hash(home)))
    }
}

fn short_hash(path: &Path) -> String {
    const HASH_BYTES: usize = 6;
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    const_hex::encode(&digest[..HASH_BYTES])
}

fn make_passable_dir(path: &Path) -> Result<(), ClusterError> {
    if path.is_dir() {
        return Ok(());
    }
    make_dir(path)?;
    // Explicit, because the umask may be strict.
    fs::set_permissions(path, Permissions::from_mode(0o711))
        .map_err(|source| ClusterError::file("open to Postgres", path, source))
}

/// A directory that only the user who runs Postgres may enter. In `/tmp` somebody else may have
/// made it before us, so its kind and its owner are checked, and never changed for them.
fn make_private_dir(path: &Path, account: Option<&Account>) -> Result<(), ClusterError> {
    let fail = |source| ClusterError::file("create", path, source);
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail(error)),
        Ok(()) | Err(_) => {}
    }
    let metadata = path.symlink_metadata().map_err(fail)?;
    let me = Uid::effective().as_raw();
    let owner = account.map_or(me, |account| account.uid);
    if !metadata.is_dir() || (metadata.uid() != owner && metadata.uid() != me) {
        return Err(ClusterError::SocketDir { path: path.to_owned() });
    }
    if metadata.mode() & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(fail)?;
    }
    account.map_or(Ok(()), |account| account.own(path)).map_err(fail)
}

/// Removes a file, and never what a link there points to.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_short_plain_home_holds_its_socket() {
        let socket_dir = choose_socket_dir(Path::new("/srv/shop/.hoga/postgres"));
        assert_eq!(socket_dir, Path::new("/srv/shop/.hoga/postgres/socket"));
    }

    #[test]
    fn a_long_or_unusual_home_has_its_socket_in_a_short_directory() {
        let long = format!("/{}/postgres", "x".repeat(100));
        for home in [long.as_str(), "/srv/my shop/postgres", "/srv/호가/postgres", "/a,b", "/a'b"]
        {
            let socket_dir = choose_socket_dir(Path::new(home));
            assert!(socket_dir.starts_with("/tmp"), "{socket_dir:?}");
            assert_eq!(socket_dir, choose_socket_dir(Path::new(home)), "the same every time");
        }
    }

    #[test]
    fn a_link_is_not_taken_for_a_private_directory() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        let refused = make_private_dir(&link, None).unwrap_err();
        assert!(matches!(refused, ClusterError::SocketDir { .. }), "{refused}");
    }
}
