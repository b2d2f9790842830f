//! A whole server in this process, on a database of its own.

use std::{
    net::SocketAddr,
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hoga::{
    app::{self, Application},
    config::{Config, DatabaseUrl},
    domain::id::UserId,
    http::State,
    identity::Role,
    store::{Store, User},
    wall_clock,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    callers::{Admin, Anonymous, Bidder, Client, Seller},
    database::Database,
    logs,
    wait::eventually,
};

/// The issuer of the tokens, whatever the port.
pub const PUBLIC_URL: &str = "http://hoga.test";
/// How long a server may take to go down.
const GOING_DOWN_MAX: Duration = Duration::from_secs(10);

/// What is asked of the thread that a server runs on.
enum Order {
    CatchUp(oneshot::Sender<u64>),
    Stop,
}

struct Running {
    state: State,
    orders: tokio::sync::mpsc::UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

/// A running server; stopped gracefully when dropped.
pub struct TestServer {
    pub config: Config,
    /// For the test's own reads: the server's connections live on the server's threads.
    pub store: Store,
    http: reqwest::Client,
    running: Option<Running>,
    pub database: Database,
    _folder: TempDir,
}

impl TestServer {
    pub fn spawn() -> TestServer {
        TestServer::spawn_with(|_| {})
    }

    pub fn spawn_with(change: impl FnOnce(&mut Config)) -> TestServer {
        TestServer::on(Database::create(), change)
    }

    /// Caught up, as `hoga serve` starts.
    pub fn on(database: Database, change: impl FnOnce(&mut Config)) -> TestServer {
        let mut server = TestServer::stopped(database, change);
        server.start();
        server
    }

    /// Every consumer has every event.
    pub async fn all_is_published(&self) {
        eventually("everything is published", || async {
            (self.database.number("SELECT count(*) FROM outbox").await == 0).then_some(())
        })
        .await;
    }

    /// Configured, and not started.
    pub fn stopped(database: Database, change: impl FnOnce(&mut Config)) -> TestServer {
        logs::keep();
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = configure(&database.url(), folder.path().to_str().expect("UTF-8"));
        change(&mut config);
        let store = Store::new(database.config().clone()).expect("a store");
        // A connection for each request: none is left over from before a restart.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build();
        let http = http.expect("a client");
        TestServer { config, store, http, running: None, database, _folder: folder }
    }

    pub fn start(&mut self) {
        self.start_on(self.database_config(), true);
    }

    /// Serves, but has not opened and closed yet what is overdue.
    pub fn start_without_catching_up(&mut self) {
        self.start_on(self.database_config(), false);
    }

    /// As configured; without that, as the embedded default, whose cluster is then the tests' own.
    fn database_config(&self) -> DatabaseUrl {
        let url = self.config.database_url.clone();
        url.unwrap_or_else(|| self.database.config().clone().into())
    }

    fn start_on(&mut self, database: DatabaseUrl, catches_up: bool) {
        assert!(self.running.is_none(), "it runs already");
        let (tell, hear) = mpsc::channel();
        let (orders, taken) = tokio::sync::mpsc::unbounded_channel();
        let config = self.config.clone();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(run(config, database, catches_up, tell, taken));
        });
        let (state, address) = hear.recv().expect("the server starts");
        // After a restart callers find it where it was.
        self.config.bind = address;
        self.running = Some(Running { state, orders, thread });
    }

    pub async fn catch_up(&self) -> u64 {
        let (tell, hear) = oneshot::channel();
        self.running().orders.send(Order::CatchUp(tell)).expect("it runs");
        hear.await.expect("it catches up")
    }

    /// Goes down gracefully; how long that took.
    pub fn stop(&mut self) -> Duration {
        let Some(running) = self.running.take() else { return Duration::ZERO };
        let started = Instant::now();
        let _ = running.orders.send(Order::Stop);
        running.thread.join().expect("the server ends without a panic");
        let took = started.elapsed();
        assert!(took < GOING_DOWN_MAX, "going down took {took:?}");
        took
    }

    /// Begins to go down; [`TestServer::stop`] waits for it.
    pub fn begin_to_stop(&self) {
        self.running().orders.send(Order::Stop).expect("it runs");
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server runs")
    }

    /// What the server's handlers share.
    pub fn state(&self) -> &State {
        &self.running().state
    }

    pub fn address(&self) -> SocketAddr {
        self.config.bind
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.config.bind)
    }

    /// A caller with this token, whatever it is.
    pub fn caller_with(&self, token: &str) -> Client {
        Client::new(self.http.clone(), self.base_url(), Some(token.to_owned()))
    }

    pub fn token(&self, user: UserId, roles: &[Role], life_s: i64) -> String {
        let tokens = &self.state().tokens;
        tokens.issue(user, roles, None, wall_clock::now(), life_s).expect("signed")
    }

    async fn user(&self, name: &str, roles: &[Role]) -> (UserId, Client) {
        let user = User {
            id: UserId(Uuid::now_v7()),
            name: Some(name.to_owned()),
            nickname: name.to_owned(),
            roles: roles.iter().map(|role| role.word().to_owned()).collect(),
        };
        let user = self.store.ensure_user(&user, wall_clock::now()).await.expect("a user");
        (user.id, self.caller_with(&self.token(user.id, roles, 900)))
    }

    pub async fn seller(&self, name: &str) -> Seller {
        let (id, client) = self.user(name, &[Role::Seller]).await;
        Seller { id, client }
    }

    pub async fn bidder(&self, name: &str) -> Bidder {
        let (id, client) = self.user(name, &[Role::Bidder]).await;
        Bidder { id, client }
    }

    /// Who sells and bids, as most people do.
    pub async fn seller_who_bids(&self, name: &str) -> (Seller, Bidder) {
        let (id, client) = self.user(name, &[Role::Seller, Role::Bidder]).await;
        (Seller { id, client: client.clone() }, Bidder { id, client })
    }

    pub async fn admin(&self) -> Admin {
        let (id, client) = self.user("admin", &[Role::Admin]).await;
        Admin { id, client }
    }

    pub fn anonymous(&self) -> Anonymous {
        Anonymous { client: Client::new(self.http.clone(), self.base_url(), None) }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test has failed already: do not hide why.
            if let Some(running) = self.running.take() {
                let _ = running.orders.send(Order::Stop);
                let _ = running.thread.join();
            }
        } else {
            self.stop();
        }
    }
}

fn configure(database_url: &str, data_dir: &str) -> Config {
    let variables = [
        ("HOGA_BIND", "127.0.0.1:0"),
        ("HOGA_DATABASE_URL", database_url),
        ("HOGA_PUBLIC_URL", PUBLIC_URL),
        ("HOGA_DATA_DIR", data_dir),
        ("HOGA_ALLOWED_ORIGINS", "https://shop.example.com"),
        ("HOGA_LANES", "2"),
        ("HOGA_HTTP_WORKERS", "2"),
        ("HOGA_DEMO", "off"),
        // Budgets have tests of their own.
        ("HOGA_BIDS_PER_SECOND_MAX", "1000000"),
        ("HOGA_REQUESTS_PER_SECOND_MAX", "1000000"),
        ("HOGA_LOGINS_PER_MINUTE_MAX", "1000000"),
    ];
    let lookup = |name: &str| {
        variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
    };
    Config::read(&lookup).expect("a configuration")
}

async fn run(
    config: Config,
    database: DatabaseUrl,
    catches_up: bool,
    tell: mpsc::Sender<(State, SocketAddr)>,
    mut orders: tokio::sync::mpsc::UnboundedReceiver<Order>,
) {
    let listener = app::listen(&config).expect("a port");
    let application = Application::build(&config, database, listener).await.expect("it starts");
    let state = application.state.clone();
    if catches_up {
        application.catch_up().await.expect("caught up");
    }
    tell.send((state.clone(), application.address)).expect("the test waits");
    let stop = async move {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Stop => return,
                Order::CatchUp(tell) => {
                    let count = state.exchange.catch_up().await.expect("caught up");
                    state.set_caught_up();
                    let _ = tell.send(count);
                }
            }
        }
    };
    application.run_until(stop).await.expect("it goes down");
}
