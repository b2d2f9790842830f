//! One private cluster for all tests, under `target/test-postgres`, and a fresh database for each.
//!
//! The schema is migrated once, into a template that every test's database is a copy of. The
//! cluster keeps running for the next run; `scripts/test` stops it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use hoga::{
    embedded::postgres::{Cluster, ClusterOptions},
    store::Store,
};
use sha2::{Digest, Sha256};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::wait::blocking;

/// Any number: test binaries that start together make the template one after the other.
const ADVISORY_LOCK: i64 = 0x686f_6761_7e57;

struct Shared {
    cluster: Cluster,
    template: String,
}

static SHARED: OnceLock<Shared> = OnceLock::new();
static NEXT_NO: AtomicU32 = AtomicU32::new(0);

fn shared() -> &'static Shared {
    SHARED.get_or_init(|| {
        // Nothing here has to survive the machine; what kills processes has clusters of its own.
        let options = ClusterOptions::new(data_dir())
            .with_setting("fsync", "off")
            .with_setting("max_connections", "1000")
            .with_setting("shared_buffers", "64MB");
        let cluster = Cluster::start(options).expect("the shared cluster starts");
        let template = blocking(prepare(&cluster));
        Shared { cluster, template }
    })
}

/// Beside what cargo builds, wherever that is.
fn data_dir() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp");
    target.join("test-postgres")
}

async fn prepare(cluster: &Cluster) -> String {
    let template = template_name();
    let maintenance = connect(&cluster.config("postgres")).await;
    let lock = format!("SELECT pg_advisory_lock({ADVISORY_LOCK})");
    maintenance.simple_query(&lock).await.expect("the lock");
    let names = rows(&maintenance, "SELECT datname FROM pg_database").await;
    let names: Vec<String> = names.into_iter().map(|mut row| row.remove(0)).collect();
    for left_behind in names.iter().filter(|name| is_left_behind(name)) {
        drop_database(&maintenance, left_behind).await;
    }
    if !names.contains(&template) {
        let unfinished = "template_unfinished";
        drop_database(&maintenance, unfinished).await;
        let create = format!("CREATE DATABASE {unfinished}");
        maintenance.simple_query(&create).await.expect("a database");
        let store = Store::new(cluster.config(unfinished)).expect("a store");
        store.migrate().await.expect("the migrations run");
        let rename = format!("ALTER DATABASE {unfinished} RENAME TO {template}");
        maintenance.simple_query(&rename).await.expect("renamed");
    }
    template
}

/// A template for each state of the migrations.
fn template_name() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("migrations/")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut sha = Sha256::new();
    for file in files {
        sha.update(file.file_name().expect("a name").as_encoded_bytes());
        sha.update(fs::read(&file).expect("a migration"));
    }
    format!("template_{}", const_hex::encode(&sha.finalize()[..8]))
}

/// `test_<pid>_<no>` of a process that is no more.
fn is_left_behind(name: &str) -> bool {
    let pid = name.strip_prefix("test_").and_then(|rest| rest.split('_').next());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}

async fn drop_database(maintenance: &Client, name: &str) {
    let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    maintenance.simple_query(&statement).await.expect("dropped");
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

async fn rows(client: &Client, sql: &str) -> Vec<Vec<String>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let cells = |message| {
        let SimpleQueryMessage::Row(row) = message else { return None };
        Some((0..row.len()).map(|n| row.get(n).unwrap_or("NULL").to_owned()).collect())
    };
    messages.into_iter().filter_map(cells).collect()
}

/// A migrated database of one test's own, gone when dropped.
pub struct Database {
    name: String,
    config: Config,
}

impl Database {
    pub fn create() -> Database {
        // For the clients of tests that have no server in this process.
        hoga::tls::provide();
        let shared = shared();
        let no = NEXT_NO.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{no}", std::process::id());
        blocking(async {
            let maintenance = connect(&shared.cluster.config("postgres")).await;
            let create = format!("CREATE DATABASE {name} TEMPLATE {}", shared.template);
            maintenance.simple_query(&create).await.expect("a copy of the template");
        });
        Database { config: shared.cluster.config(&name), name }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// For `HOGA_DATABASE_URL`.
    pub fn url(&self) -> String {
        shared().cluster.url(&self.name)
    }

    /// Runs SQL behind the server's back; every cell as text.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        rows(&connect(&self.config).await, sql).await
    }

    /// The one number that a query answers.
    pub async fn number(&self, sql: &str) -> i64 {
        let rows = self.rows(sql).await;
        rows[0][0].parse().unwrap_or_else(|_| panic!("{sql}: {rows:?} is no number"))
    }

    /// How much is written: events, auctions and receipts.
    pub async fn written(&self) -> Vec<Vec<String>> {
        let sql = "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM auctions), \
                   (SELECT count(*) FROM receipts)";
        self.rows(sql).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        blocking(async {
            let maintenance = connect(&shared().cluster.config("postgres")).await;
            drop_database(&maintenance, &self.name).await;
        });
    }
}
