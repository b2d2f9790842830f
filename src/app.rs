//! Wires the parts: what is started in which order, and how it goes down.
//!
//! ```text
//! config ─▶ Postgres (given or embedded) ─▶ migrate ─▶ lease ─▶ relay, exchange, hub ─▶ http ─▶ catch up ─▶ ready
//! ```
//!
//! Only this module knows which concrete parts stand together.

use std::{
    io,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::dev::{Server, ServerHandle};

use crate::{
    config::Config,
    events::{in_process::InProcessBus, relay::Relay},
    exchange::{self, CatchUpError, Exchange},
    http::{self, Parts, State},
    identity::{
        clients::Clients,
        kakao::Kakao,
        keys::{KeyError, SigningKey},
        oauth::UnderWay,
        tokens::Tokens,
    },
    live::{Hub, LiveOptions},
    store::{Lease, LeaseError, MigrateError, Store, StoreError},
    telemetry, wall_clock,
};

/// What was accepted is finished within this when the server goes down: the connections first,
/// for most of it, then the lanes in what is left.
const FINISH_TIMEOUT: Duration = Duration::from_millis(8_500);
/// How often a lost lease is taken again.
const LEASE_CHECKED_EVERY: Duration = Duration::from_secs(5);
/// How often logins that ended are deleted.
const LOGINS_PURGED_EVERY: Duration = Duration::from_secs(60);

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or may not be used.
    #[error(
        "cannot listen on {address}; if the port is in use, stop its owner or set HOGA_BIND to another"
    )]
    Bind {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The schema cannot be brought up to date.
    #[error("the database cannot be used; is HOGA_DATABASE_URL right and Postgres running?")]
    Migrate(#[from] MigrateError),
    /// Another exchange runs.
    #[error("the exchange cannot take this database")]
    Lease(#[from] LeaseError),
    /// No signing key.
    #[error("access tokens cannot be signed")]
    Key(#[from] KeyError),
    /// The pool.
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    /// Overdue auctions.
    #[error("the exchange could not catch up with the clock")]
    CatchUp(#[from] CatchUpError),
    /// The HTTP server.
    #[error("the HTTP server cannot be started")]
    Http(#[source] io::Error),
}

/// A running server.
pub struct Application {
    /// Everything that handlers share; tests use it too.
    pub state: State,
    /// Where it listens.
    pub address: std::net::SocketAddr,
    server: Server,
}

/// Listens, before anything else is started, so that a port in use is told at once.
///
/// # Errors
/// When the address cannot be had.
pub fn listen(config: &Config) -> Result<TcpListener, StartError> {
    let address = config.bind;
    let failed = |source| StartError::Bind { address, source };
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).map_err(failed)?;
    socket.set_reuse_address(true).map_err(failed)?;
    socket.bind(&address.into()).map_err(failed)?;
    socket.listen(4_096).map_err(failed)?;
    Ok(socket.into())
}

impl Application {
    /// Starts everything on a database and a listener. Must be called inside an actix system.
    /// Requests are answered at once; `/readyz` says yes after [`Application::catch_up`].
    ///
    /// # Errors
    /// What could not be started.
    pub async fn build(
        config: &Config,
        database: tokio_postgres::Config,
        listener: TcpListener,
    ) -> Result<Application, StartError> {
        telemetry::count();
        let key = SigningKey::load_or_create(&config.signing_key_file)?;
        let store = Store::new(database)?;
        for migration in store.migrate().await? {
            tracing::info!(migration, "schema changed");
        }
        let lease = store.lease().await?;
        actix::spawn(keep_lease(store.clone(), lease));

        let bus = InProcessBus::default();
        let hub = Hub::start(&bus, store.clone(), LiveOptions::default());
        let (relay_handle, relay) = Relay::new(store.clone(), bus);
        actix::spawn(relay.run());
        let defaults = exchange::Options::default();
        let options =
            exchange::Options { lanes: config.lanes.unwrap_or(defaults.lanes), ..defaults };
        let workers = config.http_workers.unwrap_or(defaults.lanes);
        let exchange = Exchange::start(store.clone(), relay_handle, options);
        let tokens = Arc::new(Tokens::new(key, &config.public_url));
        let clients = Arc::new(Clients::default());
        clients.refresh(&store).await?;
        let kakao = config.kakao.as_ref().map(|app| {
            Kakao::new(app.base_url.as_deref().unwrap_or("https://kauth.kakao.com"), &app.client_id)
        });
        let state = State::new(Parts { exchange, store, tokens, hub, clients, kakao }, config);
        actix::spawn(purge_logins(state.store.clone(), Arc::clone(&state.under_way)));

        let address = listener.local_addr().map_err(StartError::Http)?;
        let server = http::serve(state.clone(), listener, workers).map_err(StartError::Http)?;
        Ok(Application { state, address, server })
    }

    /// Opens and closes everything that became due while nobody was there; then it is ready.
    ///
    /// # Errors
    /// When Postgres fails, or an auction stays overdue.
    pub async fn catch_up(&self) -> Result<u64, StartError> {
        let count = self.state.exchange.catch_up().await?;
        self.state.set_caught_up();
        Ok(count)
    }

    /// Serves until the future `stop` is ready, then goes down: what was accepted is finished, the
    /// rest is refused.
    ///
    /// # Errors
    /// When the HTTP server fails.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        let handle = self.server.handle();
        let serving = actix::spawn(self.server);
        tokio::select! {
            () = stop => {}
            ended = serving => {
                return match ended {
                    Ok(Err(error)) => Err(StartError::Http(error)),
                    Ok(Ok(())) | Err(_) => Ok(()),
                };
            }
        }
        go_down(&self.state, &handle).await;
        Ok(())
    }
}

/// Streams end first, for they would wait forever; then the connections; then the lanes.
async fn go_down(state: &State, server: &ServerHandle) {
    tracing::info!("going down: finishing what was accepted");
    let deadline = Instant::now() + FINISH_TIMEOUT;
    state.set_closing();
    state.hub.close();
    server.stop(true).await;
    if !state.exchange.stop(deadline.saturating_duration_since(Instant::now())).await {
        tracing::warn!("some commands were still under way; a retry hears what became of them");
    }
}

/// A lease that was lost with its connection is taken again as soon as Postgres is back.
async fn keep_lease(store: Store, mut lease: Lease) {
    let mut every = tokio::time::interval(LEASE_CHECKED_EVERY);
    loop {
        every.tick().await;
        if !lease.is_lost() {
            continue;
        }
        match store.lease().await {
            Ok(taken) => lease = taken,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the lease on the database is lost");
            }
        }
    }
}

/// Deletes logins that never came back and families that have ended, a few at a time, and counts
/// what is left. What fails is tried again: an ended one does not count anyway.
async fn purge_logins(store: Store, under_way: Arc<UnderWay>) {
    let mut every = tokio::time::interval(LOGINS_PURGED_EVERY);
    loop {
        every.tick().await;
        let now = wall_clock::now();
        while let Ok(1..) = store.purge_logins(now).await {}
        while let Ok(1..) = store.purge_families(now).await {}
        if let Ok(rows) = store.logins_under_way().await {
            under_way.set(rows);
        }
    }
}
