//! The real program, on a database of its own and a private broker.

use std::{
    fs::File,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use hoga::{
    identity::{keys::KeyRing, tokens::Tokens},
    store::Store,
};
use serde_json::Value;

use crate::support::database::Database;

/// Starting and recovering take seconds; a machine under load may need many.
const PATIENCE: Duration = Duration::from_secs(90);
const ISSUER: &str = "http://hoga.rabbit.test";

pub struct Hoga {
    database: Database,
    folder: tempfile::TempDir,
    port: u16,
    amqp_url: String,
    prefix: String,
    process: Child,
}

impl Hoga {
    pub async fn start(amqp_url: String, prefix: &str) -> Hoga {
        let database = Database::create();
        let folder = tempfile::Builder::new().prefix("hoga-rabbit-").tempdir().expect("a folder");
        let port = free_port();
        let process = Command::new("true").spawn().expect("nothing yet");
        let prefix = prefix.to_owned();
        let mut hoga = Hoga { database, folder, port, amqp_url, prefix, process };
        hoga.serve().await;
        hoga
    }

    pub async fn serve(&mut self) {
        self.spawn("");
        self.wait_until(|readiness| readiness["status"] == "ready").await;
    }

    /// Serves until the relay passes a point, at which it dies; see `src/events/breakpoint.rs`.
    pub async fn serve_until(&mut self, point: &str) {
        self.spawn(point);
        let started = Instant::now();
        while self.process.try_wait().expect("asked").is_none() {
            assert!(started.elapsed() < PATIENCE, "{point} is never passed: {}", self.said());
            breathe().await;
        }
    }

    /// Waits until it ends by itself; its exit code.
    pub async fn ends(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("asked") {
                return status.code();
            }
            assert!(started.elapsed() < PATIENCE, "it does not end: {}", self.said());
            breathe().await;
        }
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
    }

    fn spawn(&mut self, dies_at: &str) {
        self.process.wait().expect("the one before is gone");
        let log = File::options().create(true).append(true).open(self.log()).expect("a log");
        self.process = self
            .command(&["serve"])
            .env("HOGA_DIES_AT", dies_at)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program runs")
    }

    /// What a command that succeeds prints.
    pub fn runs(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// `hoga broadcast` beside it: streams alone, which hear of events over the broker. It is told
    /// nothing that it can ask the exchange's database.
    pub async fn broadcaster(&self) -> Broadcaster {
        let port = free_port();
        let process = self.spawn_broadcaster(port);
        let broadcaster = Broadcaster { port, process };
        broadcaster.wait_until_ready(self).await;
        broadcaster
    }

    /// `hoga broadcast` with this variable; what it says when it does not start.
    pub async fn refused_broadcaster(&self, variable: (&str, &str)) -> (Option<i32>, String) {
        let mut command = self.broadcast(free_port());
        command.env(variable.0, variable.1).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the program starts");
        let started = Instant::now();
        while process.try_wait().expect("asked").is_none() {
            if started.elapsed() > PATIENCE {
                let _ = process.kill();
                panic!("it starts with {variable:?}");
            }
            breathe().await;
        }
        let output = process.wait_with_output().expect("it has ended");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    }

    /// The exchange goes down, and comes back under other names on the broker.
    pub async fn restart_under(&mut self, prefix: &str) {
        self.kill();
        self.prefix = prefix.to_owned();
        self.serve().await;
    }

    fn broadcast(&self, port: u16) -> Command {
        let mut command = self.command(&["broadcast"]);
        command
            .env("HOGA_BIND", format!("127.0.0.1:{port}"))
            .env_remove("HOGA_PUBLIC_URL")
            .env_remove("HOGA_AMQP_PREFIX");
        command
    }

    fn spawn_broadcaster(&self, port: u16) -> Child {
        let log = File::options().create(true).append(true).open(self.log()).expect("a log");
        self.broadcast(port).stdout(Stdio::null()).stderr(log).spawn().expect("the program starts")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hoga"));
        command
            .args(args)
            .env("HOGA_DATABASE_URL", self.database.url())
            .env("HOGA_AMQP_URL", &self.amqp_url)
            .env("HOGA_AMQP_PREFIX", &self.prefix)
            .env("HOGA_BIND", format!("127.0.0.1:{}", self.port))
            .env("HOGA_PUBLIC_URL", ISSUER)
            .env("HOGA_SIGNING_KEY_FILE", self.folder.path().join("key.pem"))
            .env("HOGA_BIDS_PER_SECOND_MAX", "1000000")
            .env("HOGA_REQUESTS_PER_SECOND_MAX", "1000000")
            .env("HOGA_PRICE_NOTIFICATIONS_EVERY_S", "1")
            .env("HOGA_LOG", "info");
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it logged.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Waits until `/readyz` says so, and tells what it said.
    pub async fn wait_until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_until_at(&self.url(), wanted).await
    }

    /// The same of a broadcaster beside it.
    pub async fn wait_until_at(&self, base_url: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let url = format!("{base_url}/readyz");
        let started = Instant::now();
        loop {
            if let Ok(answer) = reqwest::get(&url).await
                && let Ok(readiness) = answer.json::<Value>().await
                && wanted(&readiness)
            {
                return readiness;
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain; it said: {}", self.said());
            breathe().await;
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn store(&self) -> Store {
        Store::new(self.database.config().clone()).expect("a store")
    }

    pub async fn sql(&self) -> tokio_postgres::Client {
        let config = self.database.config();
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("connected");
        tokio::spawn(connection);
        client
    }

    pub fn tokens(&self) -> Tokens {
        let key = KeyRing::load(&self.folder.path().join("key.pem")).expect("readable");
        Tokens::new(key.expect("made by the server"), ISSUER)
    }
}

/// A running `hoga broadcast`, on the database of a server.
pub struct Broadcaster {
    port: u16,
    process: Child,
}

impl Broadcaster {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `kill -9`, and another one in its place.
    pub async fn kill_and_serve(&mut self, hoga: &Hoga) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
        self.process = hoga.spawn_broadcaster(self.port);
        self.wait_until_ready(hoga).await;
    }

    async fn wait_until_ready(&self, hoga: &Hoga) {
        let started = Instant::now();
        while !reqwest::get(format!("{}/readyz", self.url()))
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            assert!(started.elapsed() < PATIENCE, "no broadcaster; it said: {}", hoga.said());
            breathe().await;
        }
    }
}

impl Drop for Broadcaster {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
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
    }
}
