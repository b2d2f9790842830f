//! One `hoga serve` per data directory.
//!
//! Owns the lock file of a data directory, which names the process that serves from it. It must
//! never remove the file: two starts could then hold locks on two files of the same name. The
//! system releases the lock when the process ends, however it ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "lock";

/// The right to serve from a data directory, until it is dropped.
#[derive(Debug)]
pub struct DataDirLock {
    file: File,
    path: PathBuf,
}

/// Why a data directory cannot be served from.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process serves from it.
    #[error(
        "hoga already serves from {} ({holder}). Use that one, or stop it, or set HOGA_DATA_DIR and \
         HOGA_BIND to start a second exchange beside it", data_dir.display()
    )]
    AlreadyServing {
        /// The data directory.
        data_dir: PathBuf,
        /// Who serves, as far as it has said.
        holder: Holder,
    },
    /// The lock file could not be used.
    #[error("could not {action} {}; see that HOGA_DATA_DIR names a directory that is writable", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Who holds a lock. A process that has just taken it may not have said anything yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: Option<u32>,
    /// Where it listens.
    pub url: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pid, &self.url) {
            (Some(pid), Some(url)) => write!(f, "process {pid} at {url}"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => write!(f, "a process that is just starting"),
        }
    }
}

impl DataDirLock {
    /// Takes the lock of `data_dir` (made when it is missing) and writes down this process and
    /// `url`, where it is going to listen.
    ///
    /// # Errors
    /// [`LockError::AlreadyServing`] at once, without waiting, when another process holds it.
    pub fn acquire(data_dir: &Path, url: &str) -> Result<Self, LockError> {
        fs::create_dir_all(data_dir).map_err(failed("create", data_dir))?;
        let path = data_dir.join(LOCK_FILE);
        let mut options = File::options();
        let file = options.create(true).truncate(false).read(true).write(true);
        let file = file.open(&path).map_err(failed("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder_in(&fs::read_to_string(&path).unwrap_or_default());
                return Err(LockError::AlreadyServing { data_dir: data_dir.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
        }
        let mut lock = Self { file, path };
        lock.announce(url)?;
        Ok(lock)
    }

    /// Writes down another URL, for a server that learns its port when it binds.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&mut self, url: &str) -> Result<(), LockError> {
        let text = format!("pid {}\nurl {url}\n", std::process::id());
        let mut write = || {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(text.as_bytes())
        };
        write().map_err(failed("write", &self.path))
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        // Explicit: a child between fork and exec still holds a copy of the descriptor, and
        // closing ours alone would keep the lock until it is gone. The close below unlocks anyway.
        let _ = self.file.unlock();
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> LockError + 'a {
    move |source| LockError::File { action, path: path.to_owned(), source }
}

fn holder_in(text: &str) -> Holder {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    Holder {
        pid: value("pid ").and_then(|pid| pid.parse().ok()),
        url: value("url ").map(str::to_owned),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    const URL: &str = "http://127.0.0.1:8080";

    #[test]
    fn a_second_start_is_told_which_process_serves_and_where() {
        let dir = tempfile::tempdir().unwrap();
        let _first = DataDirLock::acquire(dir.path(), URL).unwrap();
        let refused = DataDirLock::acquire(dir.path(), "http://127.0.0.1:9090").unwrap_err();
        let text = refused.to_string();
        assert!(text.contains(&format!("process {} at {URL}", std::process::id())), "{text}");
    }

    #[test]
    fn an_announced_url_replaces_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock =
            DataDirLock::acquire(dir.path(), "http://127.0.0.1:0/and/much/longer").unwrap();
        lock.announce(URL).unwrap();
        let text = fs::read_to_string(dir.path().join(LOCK_FILE)).unwrap();
        let expected = Holder { pid: Some(std::process::id()), url: Some(URL.to_owned()) };
        assert_eq!(holder_in(&text), expected);
    }

    #[test]
    fn a_released_lock_can_be_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("made/when/missing");
        drop(DataDirLock::acquire(&data_dir, URL).unwrap());
        DataDirLock::acquire(&data_dir, URL).unwrap();
    }

    #[test]
    fn a_holder_that_has_said_nothing_yet_is_still_described() {
        assert_eq!(holder_in("").to_string(), "a process that is just starting");
        assert_eq!(holder_in("pid 7\n").to_string(), "process 7");
    }

    /// Runs the test below in a process of its own, which takes the lock and waits to be killed.
    fn start_holder(data_dir: &Path) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "embedded::lock::tests::hold_until_killed"])
            .env("HOGA_TEST_HOLD_DIR", data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    #[ignore = "the other process of a_killed_process_leaves_no_lock"]
    fn hold_until_killed() {
        let Some(data_dir) = std::env::var_os("HOGA_TEST_HOLD_DIR") else {
            return;
        };
        let _lock = DataDirLock::acquire(Path::new(&data_dir), URL).unwrap();
        let _ = io::stdin().read_line(&mut String::new());
    }

    #[test]
    fn a_killed_process_leaves_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let mut holder = start_holder(dir.path());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let pid_line = format!("pid {}\n", holder.id());
        let lock_file = dir.path().join(LOCK_FILE);
        while !fs::read_to_string(&lock_file).is_ok_and(|text| text.starts_with(&pid_line)) {
            assert!(std::time::Instant::now() < deadline, "the holder did not take the lock");
            std::thread::yield_now();
        }
        let refused = DataDirLock::acquire(dir.path(), URL).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", holder.id())), "{refused}");
        holder.kill().unwrap();
        holder.wait().unwrap();
        DataDirLock::acquire(dir.path(), URL).unwrap();
    }
}
