//! The real program on a Postgres of its own.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use hoga::{
    embedded::postgres::{Cluster, ClusterOptions, StopMode},
    identity::{keys::KeyRing, tokens::Tokens},
    store::Store,
};

/// Starting and recovering take seconds; a machine under load may need many.
const PATIENCE: Duration = Duration::from_secs(90);
const ISSUER: &str = "http://hoga.crash.test";

pub struct Hoga {
    cluster: Arc<Cluster>,
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Hoga {
    pub async fn start() -> Hoga {
        hoga::tls::provide();
        let folder = tempfile::Builder::new().prefix("hoga-crash-").tempdir().expect("a folder");
        let options = ClusterOptions::new(folder.path().join("data"));
        let cluster = tokio::task::spawn_blocking(move || {
            let cluster = Cluster::start(options).expect("a private Postgres");
            cluster.ensure_database("crash").expect("a database");
            cluster
        })
        .await
        .expect("started");
        let port = free_port();
        let process = spawn(&cluster, folder.path().join("key.pem"), port);
        let hoga = Hoga { cluster: Arc::new(cluster), folder, port, process };
        hoga.wait_until_ready().await;
        hoga
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
    }

    pub async fn serve(&mut self) {
        self.process = spawn(&self.cluster, self.folder.path().join("key.pem"), self.port);
        self.wait_until_ready().await;
    }

    pub async fn restart_postgres(&self, mode: StopMode) {
        let cluster = Arc::clone(&self.cluster);
        tokio::task::spawn_blocking(move || cluster.restart(mode).expect("restarted"))
            .await
            .expect("joined");
        self.wait_until_ready().await;
    }

    async fn wait_until_ready(&self) {
        let url = format!("{}/readyz", self.url());
        let started = Instant::now();
        loop {
            let answer = reqwest::get(&url).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "hoga is not ready after {PATIENCE:?}");
            breathe().await;
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn store(&self) -> Store {
        Store::new(self.cluster.config("crash")).expect("a store")
    }

    pub async fn sql(&self) -> tokio_postgres::Client {
        let config = self.cluster.config("crash");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("connected");
        tokio::spawn(connection);
        client
    }

    pub fn tokens(&self) -> Tokens {
        let key = KeyRing::load(&self.folder.path().join("key.pem")).expect("readable");
        Tokens::new(key.expect("made by the server"), ISSUER)
    }
}

/// The pause between two looks at a fact that is waited for.
pub async fn breathe() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

impl Drop for Hoga {
    /// Also when a test fails: no server stays behind.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = self.cluster.stop(StopMode::Immediate);
    }
}

fn spawn(cluster: &Cluster, key: PathBuf, port: u16) -> Child {
    Command::new(env!("CARGO_BIN_EXE_hoga"))
        .arg("serve")
        .env("HOGA_DATABASE_URL", cluster.url("crash"))
        .env("HOGA_BIND", format!("127.0.0.1:{port}"))
        .env("HOGA_PUBLIC_URL", ISSUER)
        .env("HOGA_SIGNING_KEY_FILE", key)
        .env("HOGA_BIDS_PER_SECOND_MAX", "1000000")
        .env("HOGA_REQUESTS_PER_SECOND_MAX", "1000000")
        .env("HOGA_LOG", "error")
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
