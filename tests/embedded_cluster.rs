//! The private Postgres cluster, with real servers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hoga::cli::setup::Database;
use hoga::config::Config;
use hoga::embedded::postgres::{Cluster, ClusterError, ClusterOptions, StopMode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;
use tokio_postgres::NoTls;

const WAIT_MAX: Duration = Duration::from_secs(60);

/// A data directory of its own, whose server is stopped and whose files are removed in the end.
struct Shop {
    home: Option<PathBuf>,
    data_dir: PathBuf,
    _root: TempDir,
}

impl Shop {
    fn new() -> Self {
        Self::under(tempfile::tempdir().unwrap(), 0o755, ".hoga")
    }

    fn under(root: TempDir, mode: u32, data_dir: &str) -> Self {
        fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).unwrap();
        Self { home: None, data_dir: root.path().join(data_dir), _root: root }
    }

    fn options(&self) -> ClusterOptions {
        ClusterOptions::new(&self.data_dir).with_setting("shared_buffers", "16MB")
    }

    fn start(&mut self) -> Cluster {
        let cluster = Cluster::start(self.options()).unwrap();
        self.home = Some(cluster.home().to_owned());
        cluster
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let Some(home) = &self.home else { return };
        if let Ok(cluster) = Cluster::start(self.options()) {
            cluster.stop(StopMode::Immediate).unwrap();
            let socket_dir = cluster.config("x").get_hosts().first().cloned();
            if let Some(tokio_postgres::config::Host::Unix(dir)) = socket_dir {
                let _ = fs::remove_dir_all(dir);
            }
        }
        let _ = fs::remove_dir_all(home);
    }
}

/// Runs statements and returns the first column of the last row.
fn ask(config: &tokio_postgres::Config, statements: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = config.connect(NoTls).await.unwrap();
        let served = tokio::spawn(connection);
        let answers = client.simple_query(statements).await.unwrap();
        drop(client);
        served.await.unwrap().unwrap();
        let rows = answers.iter().rev().find_map(|answer| {
            let tokio_postgres::SimpleQueryMessage::Row(row) = answer else { return None };
            Some(row.get(0).unwrap_or_default().to_owned())
        });
        rows.unwrap_or_default()
    })
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

fn wait_until(what: &str, mut fact: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !fact() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

fn owner_of(path: &Path) -> u32 {
    path.metadata().unwrap().uid()
}

/// Some facts are only there for root; a run by somebody else says what it left out.
fn is_root(test: &str) -> bool {
    let is_root = Uid::effective().is_root();
    if !is_root {
        eprintln!("left out, because it needs root: {test}");
    }
    is_root
}

#[test]
fn a_new_data_directory_gets_a_durable_server_that_is_private() {
    let mut shop = Shop::new();
    let cluster = shop.start();
    let config = cluster.config("postgres");
    assert!(!cluster.was_adopted());
    for (setting, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("shared_buffers", "16MB"),
        ("max_wal_size", "2GB"),
        ("server_encoding", "UTF8"),
    ] {
        assert_eq!(ask(&config, &format!("SHOW {setting}")), value, "{setting}");
    }
    assert_eq!(ask(&config, "SELECT current_user"), "hoga");
    assert_eq!(cluster.home().metadata().unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_database_is_created_once_and_reached_by_its_url() {
    let mut shop = Shop::new();
    let cluster = shop.start();
    cluster.ensure_database("hoga").unwrap();
    cluster.ensure_database("hoga").unwrap();
    let by_url = cluster.url("hoga").parse().unwrap();
    assert_eq!(ask(&by_url, "SELECT current_database()"), "hoga");
    let refused = cluster.ensure_database("x; DROP DATABASE hoga").unwrap_err();
    assert!(matches!(refused, ClusterError::DatabaseName { .. }), "{refused}");
}

#[test]
fn a_second_start_adopts_the_running_server() {
    let mut shop = Shop::new();
    let first = shop.start();
    let pid = first.pid().unwrap();
    drop(first);
    let second = shop.start();
    assert!(second.was_adopted());
    assert_eq!(second.pid(), Some(pid));
}

#[test]
fn a_server_runs_until_the_last_command_that_uses_it_has_left() {
    let mut shop = Shop::new();
    let home = shop.start();
    home.stop(StopMode::Fast).unwrap();
    drop(home);
    let data_dir = shop.data_dir.display().to_string();
    let config = Config::read(&|name| (name == "HOGA_DATA_DIR").then(|| data_dir.clone())).unwrap();
    let launched = Database::open(&config).unwrap();
    let adopted = Database::open(&config).unwrap();
    assert!(!launched.is_kept_by_another() && adopted.is_kept_by_another());
    launched.leave().unwrap();
    assert_eq!(ask(&adopted.config.postgres, "SELECT 'still there'"), "still there");
    // As on the way out of a command that failed.
    drop(adopted);
    assert!(!shop.start().was_adopted());
}

#[test]
fn starts_at_the_same_time_share_one_server() {
    let mut shop = Shop::new();
    let options = shop.options();
    let starts = [(); 3].map(|()| {
        let options = options.clone();
        std::thread::spawn(move || Cluster::start(options).unwrap().pid().unwrap())
    });
    let pids = starts.map(|start| start.join().unwrap());
    let pid = shop.start().pid().unwrap();
    assert_eq!(pids, [pid; 3]);
}

#[test]
fn what_was_committed_survives_a_killed_postmaster() {
    let mut shop = Shop::new();
    let cluster = shop.start();
    let config = cluster.config("postgres");
    ask(&config, "CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 1000)");
    let pid = cluster.pid().unwrap();
    signal(pid, Signal::SIGKILL);
    wait_until("the postmaster is gone", || cluster.pid().is_none());
    let again = shop.start();
    assert!(!again.was_adopted());
    assert_ne!(again.pid(), Some(pid));
    assert_eq!(ask(&config, "SELECT count(*) FROM t"), "1000");
}

#[test]
fn a_start_waits_for_the_busy_backends_of_a_killed_postmaster() {
    let mut shop = Shop::new();
    let cluster = shop.start();
    let config = cluster.config("postgres");
    let busy = {
        let config = config.clone();
        let statement = "SET application_name = 'busy'; \
                         SELECT count(*) FROM generate_series(1, 8000000)";
        std::thread::spawn(move || ask(&config, statement))
    };
    wait_until("the backend is busy", || {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'busy'";
        ask(&config, count) == "1"
    });
    signal(cluster.pid().unwrap(), Signal::SIGKILL);
    wait_until("the postmaster is gone", || cluster.pid().is_none());
    assert!(!shop.start().was_adopted());
    assert_eq!(ask(&config, "SELECT 1"), "1");
    // The backend may answer before it notices, or end first: both are fine.
    let _ = busy.join();
    let log = fs::read_to_string(cluster.log_file()).unwrap();
    assert!(log.contains("pre-existing shared memory block"), "{log}");
}

#[test]
fn what_was_committed_survives_an_immediate_restart() {
    let mut shop = Shop::new();
    let cluster = shop.start();
    let config = cluster.config("postgres");
    ask(&config, "CREATE TABLE t (n int); INSERT INTO t VALUES (42)");
    let pid = cluster.pid();
    cluster.restart(StopMode::Immediate).unwrap();
    assert_ne!(cluster.pid(), pid);
    assert_eq!(ask(&config, "SELECT n FROM t"), "42");
}

#[test]
fn a_stopped_server_is_stopped_again_without_complaint_and_starts_again() {
    let mut shop = Shop::new();
    let cluster = shop.start();
    cluster.stop(StopMode::Fast).unwrap();
    assert_eq!(cluster.pid(), None);
    cluster.stop(StopMode::Fast).unwrap();
    assert!(!shop.start().was_adopted());
}

#[test]
fn a_server_that_lost_its_socket_is_restarted() {
    let mut shop = Shop::new();
    let cluster = shop.start();
    fs::remove_dir_all(cluster.home().join("socket")).unwrap();
    let again = shop.start();
    assert!(!again.was_adopted());
    assert_eq!(ask(&again.config("postgres"), "SELECT 1"), "1");
}

#[test]
fn a_pid_file_left_by_a_lost_machine_does_not_stop_the_start() {
    let mut shop = Shop::new();
    let cluster = shop.start();
    let pid_file = cluster.home().join("cluster/postmaster.pid");
    let left_behind = fs::read_to_string(&pid_file).unwrap();
    cluster.stop(StopMode::Fast).unwrap();
    // Its number belongs to this test by now.
    let (_, rest) = left_behind.split_once('\n').unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();
    assert!(!shop.start().was_adopted());
}

#[test]
fn a_half_made_cluster_is_made_anew() {
    let mut shop = Shop::new();
    let home = shop.data_dir.join("postgres");
    let unfinished = home.join("unfinished-1-2");
    fs::create_dir_all(unfinished.join("base")).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();
    let cluster = shop.start();
    assert_eq!(ask(&cluster.config("postgres"), "SELECT 1"), "1");
    assert!(!unfinished.exists());
}

#[test]
fn a_cluster_of_another_version_is_refused_and_left_alone() {
    let shop = Shop::new();
    let cluster = shop.data_dir.join("postgres/cluster");
    fs::create_dir_all(&cluster).unwrap();
    fs::write(cluster.join("PG_VERSION"), "9\n").unwrap();
    let refused = Cluster::start(shop.options()).unwrap_err().to_string();
    assert!(refused.contains("was made by Postgres 9"), "{refused}");
    assert!(refused.contains("apt-get install postgresql-9"), "{refused}");
    assert_eq!(fs::read_dir(&cluster).unwrap().count(), 1);
}

#[test]
fn missing_programs_are_named_with_how_to_install_them() {
    let shop = Shop::new();
    let options = ClusterOptions { bin_dir: Some("/nothing/here".into()), ..shop.options() };
    let refused = Cluster::start(options).unwrap_err().to_string();
    assert!(refused.contains("/nothing/here"), "{refused}");
    assert!(refused.contains("apt-get install postgresql"), "{refused}");
}

#[test]
fn a_setting_that_postgres_refuses_is_shown_from_its_log() {
    let mut shop = Shop::new();
    shop.start().stop(StopMode::Fast).unwrap();
    let options = shop.options().with_setting("no_such_setting", "1");
    let refused = Cluster::start(options).unwrap_err().to_string();
    assert!(refused.contains("unrecognized configuration parameter"), "{refused}");
    assert!(refused.contains("no_such_setting"), "{refused}");
    assert!(refused.contains("Correct the setting"), "{refused}");
    assert!(refused.contains("postgres.log"), "{refused}");
}

#[test]
fn a_long_path_with_unusual_characters_has_its_socket_in_a_short_place() {
    let name = format!("my '호가' $HOME \"shop\", {}/.hoga", "x".repeat(120));
    let mut shop = Shop::under(tempfile::tempdir().unwrap(), 0o755, &name);
    let cluster = shop.start();
    assert!(cluster.home().starts_with(shop.data_dir.canonicalize().unwrap()));
    let by_url: tokio_postgres::Config = cluster.url("postgres").parse().unwrap();
    assert_eq!(ask(&by_url, "SELECT 1"), "1");
    assert!(shop.start().was_adopted());
}

#[test]
fn root_runs_postgres_as_another_user() {
    if !is_root("root_runs_postgres_as_another_user") {
        return;
    }
    let mut shop = Shop::new();
    let cluster = shop.start();
    let process = PathBuf::from(format!("/proc/{}", cluster.pid().unwrap()));
    assert_ne!(owner_of(&process), 0);
    assert_eq!(owner_of(&process), owner_of(cluster.home()));
    assert_eq!(cluster.home(), shop.data_dir.join("postgres"));
}

#[test]
fn a_cluster_below_a_closed_directory_is_kept_elsewhere_and_found_again() {
    if !is_root("a_cluster_below_a_closed_directory_is_kept_elsewhere_and_found_again") {
        return;
    }
    let mut shop = Shop::under(tempfile::tempdir().unwrap(), 0o700, ".hoga");
    let first = shop.start();
    assert!(first.home().starts_with("/var/lib/hoga"), "{:?}", first.home());
    let said = fs::read_to_string(shop.data_dir.join("postgres-is-elsewhere")).unwrap();
    assert!(said.contains(first.home().to_str().unwrap()), "{said}");
    let second = shop.start();
    assert!(second.was_adopted());
    assert_eq!(first.home(), second.home());
    // Opening the directory later must not make the data seem lost.
    fs::set_permissions(shop.data_dir.parent().unwrap(), fs::Permissions::from_mode(0o755))
        .unwrap();
    assert!(shop.start().was_adopted());
}

#[test]
fn a_data_directory_made_under_a_strict_umask_is_opened_while_it_is_empty() {
    if !is_root("a_data_directory_made_under_a_strict_umask_is_opened_while_it_is_empty") {
        return;
    }
    let mut shop = Shop::new();
    fs::create_dir(&shop.data_dir).unwrap();
    fs::set_permissions(&shop.data_dir, fs::Permissions::from_mode(0o700)).unwrap();
    let cluster = shop.start();
    assert_eq!(cluster.home(), shop.data_dir.join("postgres"));
}
