//! The private Postgres cluster of the embedded default and of the tests.
//!
//! Owns one cluster per data directory: finds the Postgres programs, makes the cluster once, starts
//! it or adopts the server that still runs, and stops it. The server outlives this process on
//! purpose: a `kill -9` of Hoga leaves it running, and the next start adopts it.
//!
//! It must never listen on a network, never run Postgres as root, never delete a finished cluster,
//! and never weaken durability by itself: `fsync` and `synchronous_commit` stay on unless the
//! caller's settings say otherwise. Every call blocks: call it from `spawn_blocking` or a test.

mod account;
mod error;
mod place;
mod postmaster;
mod programs;
mod settings;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub use self::error::ClusterError;

use self::account::Account;
use self::place::Place;
use self::programs::{Programs, Search};

/// The superuser of the cluster, and the only role that it is made with.
const SUPERUSER: &str = "hoga";
/// Names the socket file only; nothing listens on this port.
const PORT: u16 = 5432;
/// Crash recovery reads at most `max_wal_size`, which takes minutes on a slow disk.
const START_TIMEOUT_S: u64 = 300;
/// A fast stop writes a checkpoint first.
const STOP_TIMEOUT_S: u64 = 120;
/// How long the backends of a killed postmaster may take to notice that it is gone.
const ORPHANS_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// A log longer than this is set aside at the next start; one older log is kept.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where the cluster belongs and how it should run.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The data directory of Hoga, such as `.hoga`. Made when it is missing.
    pub data_dir: PathBuf,
    /// Postgres settings that go over Hoga's own, as name and plain value (not quoted).
    pub settings: Vec<(String, String)>,
    /// The directory of the Postgres programs; `None` looks where they usually are.
    pub bin_dir: Option<PathBuf>,
}

impl ClusterOptions {
    /// The cluster of `data_dir` with Hoga's settings, and the programs of
    /// `HOGA_POSTGRES_BIN_DIR` where that is set.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            settings: Vec::new(),
            bin_dir: std::env::var_os("HOGA_POSTGRES_BIN_DIR").map(PathBuf::from),
        }
    }

    /// Adds one Postgres setting.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Rolls back what is open, writes a checkpoint, leaves nothing to recover.
    Fast,
    /// Ends at once, as a crash would; the next start recovers.
    Immediate,
}

/// A running private cluster. Dropping it leaves the server running.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    account: Option<Account>,
    data_dir: PathBuf,
    place: Place,
    settings: Vec<(String, String)>,
    in_use: InUse,
    adopted: bool,
}

impl Cluster {
    /// Makes the cluster where there is none yet, starts its server or adopts the one that runs,
    /// and returns once it accepts connections.
    ///
    /// An adopted server keeps the settings that it was started with.
    ///
    /// # Errors
    /// Each [`ClusterError`] says what to do about it.
    pub fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        let data_dir = place::make_data_dir(&options.data_dir)?;
        let _lock = StartLock::take(&data_dir)?;
        let account = Account::choose(place::existing_home(&data_dir).as_deref())?;
        let place = Place::choose(&data_dir, account.as_ref())?;
        let version = postmaster::cluster_version(&place.cluster())?;
        let programs = Search::usual(options.bin_dir).find(version, &place.cluster())?;
        let in_use = InUse::share(&data_dir)?;
        let settings = options.settings;
        let mut cluster =
            Self { programs, account, data_dir, place, settings, in_use, adopted: false };
        if version.is_none() {
            cluster.make()?;
        }
        cluster.adopted = cluster.adopt_or_launch()?;
        Ok(cluster)
    }

    /// Whether the data directory has its cluster already, so that a start need not make it.
    pub fn is_made(data_dir: &Path) -> bool {
        let home = place::existing_home(data_dir);
        home.is_some_and(|home| home.join(place::CLUSTER).join("PG_VERSION").is_file())
    }

    /// Whether [`Cluster::start`] found the server already running.
    pub fn was_adopted(&self) -> bool {
        self.adopted
    }

    /// The directory that holds the cluster, its socket and its log.
    pub fn home(&self) -> &Path {
        &self.place.home
    }

    /// The log of the server.
    pub fn log_file(&self) -> PathBuf {
        self.place.log()
    }

    /// How to connect to a database of this cluster as its superuser.
    pub fn config(&self, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.place.socket_dir).port(PORT).user(SUPERUSER).dbname(database);
        config
    }

    /// The same as a URL, for `HOGA_DATABASE_URL` and for `psql`.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql:///{}?host={}&port={PORT}&user={SUPERUSER}",
            percent_encoded(database),
            self.place.socket_dir.display(),
        )
    }

    /// The process id of the postmaster, `None` when it does not run.
    pub fn pid(&self) -> Option<u32> {
        postmaster::running(&self.place.cluster()).map(|postmaster| postmaster.pid)
    }

    /// Creates the database unless it exists.
    ///
    /// # Errors
    /// When the name is not a plain lower-case identifier, or Postgres refuses.
    pub fn ensure_database(&self, name: &str) -> Result<(), ClusterError> {
        if !is_plain_identifier(name) {
            return Err(ClusterError::DatabaseName { name: name.to_owned() });
        }
        let found = self.psql(&format!("SELECT 1 FROM pg_database WHERE datname = '{name}'"))?;
        if found.status.success() && !found.stdout.is_empty() {
            return Ok(());
        }
        let created = self.psql(&format!("CREATE DATABASE {name}"))?;
        let said = last_lines(&text_of(&created));
        // Another start may have created it between the two statements.
        if created.status.success() || said.contains("already exists") {
            return Ok(());
        }
        Err(ClusterError::Database { name: name.to_owned(), said })
    }

    /// Stops the server, unless somebody else who started or adopted it still holds a [`Cluster`] of
    /// it: the last to leave stops it.
    ///
    /// # Errors
    /// As [`Cluster::stop`], and when the locks of the data directory cannot be used.
    pub fn leave(self, mode: StopMode) -> Result<(), ClusterError> {
        // Nobody else comes meanwhile.
        let _lock = StartLock::take(&self.data_dir)?;
        if self.in_use.is_shared(&self.data_dir)? { Ok(()) } else { self.stop(mode) }
    }

    /// Stops the server and waits until it is gone, whoever else uses it. Stopping a stopped server does nothing.
    ///
    /// # Errors
    /// When the server is still there after the timeout.
    pub fn stop(&self, mode: StopMode) -> Result<(), ClusterError> {
        let Some(postmaster) = postmaster::running(&self.place.cluster()) else {
            return Ok(());
        };
        let mode = match mode {
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        };
        let timeout_s = STOP_TIMEOUT_S.to_string();
        let arguments = ["stop", "-s", "-w", "-t", &timeout_s, "-m", mode, "-D", place::CLUSTER];
        let output = self.run("pg_ctl", &arguments)?;
        // A server that crashes while it is being stopped has stopped as well.
        if output.status.success() || self.pid().is_none() {
            return Ok(());
        }
        Err(ClusterError::Stop { pid: postmaster.pid, said: last_lines(&text_of(&output)) })
    }

    /// Stops the server and starts it again with the settings of this cluster.
    ///
    /// # Errors
    /// As [`Cluster::stop`] and [`Cluster::start`].
    pub fn restart(&self, mode: StopMode) -> Result<(), ClusterError> {
        let _lock = StartLock::take(&self.data_dir)?;
        self.stop(mode)?;
        self.launch()
    }

    /// Runs initdb in a directory of its own and renames it when it is whole, so that a start that
    /// was killed half-way leaves nothing that looks like a cluster.
    fn make(&self) -> Result<(), ClusterError> {
        self.place.remove_unfinished();
        let unfinished = format!("{}{}", place::UNFINISHED_PREFIX, unique_suffix());
        let output = self.run(
            "initdb",
            &[
                "-D",
                &unfinished,
                "-U",
                SUPERUSER,
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--auth-local=trust",
                "--auth-host=reject",
            ],
        )?;
        if !output.status.success() {
            self.place.remove_unfinished();
            return Err(ClusterError::initdb(&self.place.home, &last_lines(&text_of(&output))));
        }
        self.place.finish(&unfinished)
    }

    /// Returns whether a running server was adopted. Waits for one that is starting or stopping.
    fn adopt_or_launch(&self) -> Result<bool, ClusterError> {
        let deadline = Instant::now() + Duration::from_secs(START_TIMEOUT_S);
        loop {
            match postmaster::running(&self.place.cluster()) {
                None => return self.launch().map(|()| false),
                Some(postmaster) if postmaster.is_ready => return self.adopt(),
                Some(postmaster) if Instant::now() > deadline => {
                    return Err(self.not_ready(postmaster.pid));
                }
                Some(_) => thread::sleep(POLL_INTERVAL),
            }
        }
    }

    /// Something that tidies up may have taken the socket away from a server that still runs; only
    /// a restart brings it back.
    fn adopt(&self) -> Result<bool, ClusterError> {
        match UnixStream::connect(self.place.socket_file(PORT)) {
            Err(error) if is_gone(&error) => {
                self.stop(StopMode::Fast)?;
                self.launch().map(|()| false)
            }
            Ok(_) | Err(_) => Ok(true),
        }
    }

    fn launch(&self) -> Result<(), ClusterError> {
        let deadline = Instant::now() + ORPHANS_TIMEOUT;
        postmaster::forget_if_stale(&self.place.cluster())?;
        self.place.make_socket_dir(self.account.as_ref())?;
        self.place.forget_socket(PORT)?;
        let settings = settings::render(&self.settings, &self.place.socket_dir, PORT)?;
        self.place.write_settings(&settings, self.account.as_ref())?;
        self.place.set_long_log_aside(LOG_BYTES_MAX)?;
        loop {
            let log_start = self.place.log_len();
            let output = self.pg_ctl_start()?;
            if output.status.success() {
                return Ok(());
            }
            let log = self.place.log_from(log_start);
            // The backends of a killed postmaster end by themselves, a moment after it.
            let orphans_remain = log.contains("pre-existing shared memory block");
            if !orphans_remain || Instant::now() > deadline {
                return Err(self.start_failed(&output, &log));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn pg_ctl_start(&self) -> Result<Output, ClusterError> {
        let timeout_s = START_TIMEOUT_S.to_string();
        let arguments =
            ["start", "-s", "-w", "-t", &timeout_s, "-l", place::LOG, "-D", place::CLUSTER];
        self.run("pg_ctl", &arguments)
    }

    fn start_failed(&self, output: &Output, log: &str) -> ClusterError {
        if let Some(pid) = self.pid() {
            return self.not_ready(pid);
        }
        let said = last_lines(&format!("{}{log}", text_of(output)));
        ClusterError::start(&self.place.home, self.place.log(), &said)
    }

    fn not_ready(&self, pid: u32) -> ClusterError {
        ClusterError::NotReady { pid, waited_s: START_TIMEOUT_S, log: self.place.log() }
    }

    fn psql(&self, statement: &str) -> Result<Output, ClusterError> {
        let socket_dir = self.place.socket_dir.display().to_string();
        let port = PORT.to_string();
        self.run(
            "psql",
            &[
                "-X",
                "-w",
                "-A",
                "-t",
                "-q",
                "-h",
                &socket_dir,
                "-p",
                &port,
                "-U",
                SUPERUSER,
                "-d",
                "postgres",
                "-c",
                statement,
            ],
        )
    }

    /// Paths are given relative to the home, because `pg_ctl` hands them to a shell unescaped. The
    /// environment is not passed on: `PG*` would change what the programs do, and Hoga's own
    /// variables hold secrets.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<Output, ClusterError> {
        let path = self.programs.bin_dir.join(program);
        let mut command = Command::new(&path);
        command
            .args(arguments)
            .current_dir(&self.place.home)
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            // Ctrl-C goes to a whole group: what it cut off here would leave a server that nobody
            // stops. Whoever called decides what becomes of it.
            .process_group(0);
        for kept in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command.output().map_err(|source| ClusterError::Run { program: path, source })
    }
}

/// Held while a cluster is being made and started: tests in many processes may share one cluster.
struct StartLock(File);

impl StartLock {
    fn take(data_dir: &Path) -> Result<Self, ClusterError> {
        let path = data_dir.join(place::START_LOCK);
        let lock = || {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            file.lock().map(|()| file)
        };
        lock().map(Self).map_err(|source| ClusterError::file("lock", &path, source))
    }
}

impl Drop for StartLock {
    fn drop(&mut self) {
        // Explicit: a child between fork and exec still holds a copy of the descriptor, and
        // closing ours alone would keep the lock until it is gone. The close below unlocks anyway.
        let _ = self.0.unlock();
    }
}

/// Held by everybody who uses the server, and shared among them.
#[derive(Debug)]
struct InUse(File);

impl InUse {
    /// Called by whoever holds the [`StartLock`], under which alone it is ever held by one only.
    fn share(data_dir: &Path) -> Result<Self, ClusterError> {
        let path = data_dir.join(place::IN_USE_LOCK);
        let lock = || {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            file.lock_shared().map(|()| file)
        };
        lock().map(Self).map_err(|source| ClusterError::file("lock", &path, source))
    }

    /// Whether others hold it besides us, who do not any more.
    fn is_shared(&self, data_dir: &Path) -> Result<bool, ClusterError> {
        let failed =
            |source| ClusterError::file("lock", &data_dir.join(place::IN_USE_LOCK), source);
        self.0.unlock().map_err(failed)?;
        match self.0.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        // Explicit, as that of the start's lock.
        let _ = self.0.unlock();
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn is_plain_identifier(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let goes_on_well =
        name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    starts_well && goes_on_well && name.len() <= 63
}

fn percent_encoded(name: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(encode).collect()
}

/// A killed start may have left an initdb behind that still writes, so no name is used twice.
fn unique_suffix() -> String {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("{}-{}", std::process::id(), since_epoch.as_nanos())
}

fn text_of(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{stdout}{stderr}")
}

fn last_lines(text: &str) -> String {
    const LINES_MAX: usize = 20;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
}

/// Creates the directory if it is not there, and says which one failed.
fn make_dir(path: &Path) -> Result<(), ClusterError> {
    fs::create_dir_all(path).map_err(|source| ClusterError::file("create", path, source))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_database_name_is_a_plain_identifier() {
        for good in ["hoga", "_x", "hoga_test_1"] {
            assert!(is_plain_identifier(good), "{good}");
        }
        for bad in ["", "1a", "Hoga", "a-b", "a;b", "a'b", &"a".repeat(64)] {
            assert!(!is_plain_identifier(bad), "{bad}");
        }
    }

    #[test]
    fn a_database_name_in_a_url_is_encoded() {
        assert_eq!(percent_encoded("hoga_1"), "hoga_1");
        assert_eq!(percent_encoded("a b/호"), "a%20b%2F%ED%98%B8");
    }

    #[test]
    fn only_the_last_lines_are_shown() {
        let text: String = (1..=30).map(|n| format!("line {n}\n\n")).collect();
        let shown = last_lines(&text);
        assert_eq!(shown.lines().count(), 20);
        assert!(shown.ends_with("line 30"));
    }
}
