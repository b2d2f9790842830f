//! Wires the parts: what is started in which order, and how it goes down.
//!
//! ```text
//! config ─▶ Postgres (given or embedded) ─▶ migrate ─▶ lease ─▶ relay, exchange, hub, login ─▶ http ─▶ catch up ─▶ ready
//! ```
//!
//! Only this module knows which concrete parts stand together.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::dev::{Server, ServerHandle};

use crate::{
    config::{Config, ConfigError, DatabaseUrl, KakaoApp, StreamsMax},
    embedded::{
        demo,
        kakao::{self as stand_in, StandIn},
    },
    events::{
        bus::{Bus, Consumer},
        in_process::InProcessBus,
        rabbitmq::{Broker, Names, RabbitMq, Servers},
        relay::Relay,
    },
    exchange::{self, CatchUpError, Exchange},
    http::{self, Guest, Parts, Site, State, connections::Room},
    identity::{
        clients::Clients,
        kakao::{BaseUrls, Kakao, KakaoConfig, SetupError, Timeouts, Unlinks},
        keys::{KeyError, KeyFile, KeyRing},
        oauth::PendingLogins,
        tokens::{TOKEN_LIFE_S_MAX, Tokens},
    },
    live::{Hub, LiveOptions, QuotaMax, personal::Personal},
    notify::{
        self, Notifier,
        push::{
            self, Pusher, WebPush,
            web_push::vapid::{Vapid, VapidError},
        },
    },
    outgoing::{self, Sender, SenderError},
    store::{
        ConnectError, ConnectionsMax, DatabaseError, ExchangeSettings, Lease, LeaseError,
        MigrateError, Owned, Store, StoreError, purges,
    },
    tasks::Tasks,
    telemetry, wall_clock,
    webhooks::{self, Webhooks},
};

/// What was accepted is finished within this when the server goes down: the connections first,
/// for most of it, then the lanes in what is left.
const FINISH_TIMEOUT: Duration = Duration::from_millis(8_500);
/// How often keys, clients and revocations are looked at, which others may have changed: the command
/// line, and other servers of the exchange.
const HEARD_OF_EVERY: Duration = Duration::from_secs(2);
/// How far back revocations are read each time, in seconds: clocks of servers differ, and
/// transactions take their time.
const REVOCATIONS_READ_AGAIN_S: i64 = 300;
/// How often it is tried to take a lost lease again.
const LEASE_TRIED_EVERY: Duration = Duration::from_millis(500);
/// How often records past their time are looked for.
const PURGED_EVERY: Duration = Duration::from_secs(3_600);
/// People whose records are deleted in one transaction.
const PURGED_AT_ONCE_MAX: i64 = 500;
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
        address: SocketAddr,
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
    /// No key for web push.
    #[error("browsers cannot be written to")]
    Vapid(#[from] VapidError),
    /// What a broadcaster's database says to its connections.
    #[error("the database cannot be used")]
    Connect(#[from] ConnectError),
    /// The pool.
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    /// What Postgres allows.
    #[error("this server cannot run on this database")]
    Database(#[from] DatabaseError),
    /// Overdue auctions.
    #[error("the exchange could not catch up with the clock")]
    CatchUp(#[from] CatchUpError),
    /// A broadcaster beside nothing.
    #[error("no `hoga serve` of this version has run on this database: start it first")]
    NoExchange,
    /// Where Kakao is.
    #[error("nobody can log in; is HOGA_KAKAO_BASE_URL right?")]
    Kakao(#[from] SetupError),
    /// A setting that does not go with what is there: a broadcaster that is to use something else
    /// than its exchange, or a stand-in for Kakao where others than this machine are served.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The stand-in for Kakao.
    #[error("nobody can log in")]
    StandIn(#[from] stand_in::KeyError),
    /// What others are told over HTTP.
    #[error("webhooks and pushes cannot be sent")]
    Outgoing(#[from] SenderError),
    /// The HTTP server.
    #[error("the HTTP server cannot be started")]
    Http(#[source] io::Error),
}

/// A running server.
pub struct Application {
    /// Everything that handlers share; tests use it too.
    pub state: State,
    /// Where it listens.
    pub address: SocketAddr,
    server: Server,
    /// Another exchange has taken the lease.
    deposed: Arc<tokio::sync::Notify>,
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

/// Suits this process to ten thousands of connections. Call it once, after Postgres was started,
/// which would inherit it.
///
/// Many systems allow 1,024 open files at first, and a viewer is one. And each connection has two
/// buffers of 8 KiB of which an idle viewer has touched little: in huge pages all of them would be
/// resident.
pub fn expect_many_connections() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "memory may be used in huge pages");
    }
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is (see `ulimit -n`)");
    }
}

impl Application {
    /// Starts everything on a database and a listener. Must be called inside an actix system.
    /// Requests are answered at once; `/readyz` says yes after [`Application::catch_up`].
    ///
    /// # Errors
    /// What could not be started.
    pub async fn build(
        config: &Config,
        database: impl Into<DatabaseUrl>,
        listener: TcpListener,
    ) -> Result<Application, StartError> {
        let tasks = &Tasks::default();
        telemetry::count(tasks);
        let (keys, key_file) = KeyFile::open(&config.signing_key_file)?;
        let web_push = web_push(config)?;
        let store = Store::with(database, connections(config))?;
        for migration in store.migrate().await? {
            tracing::info!(migration, "schema changed");
        }
        let defaults = exchange::Options::default();
        let options =
            exchange::Options { lanes: config.lanes.unwrap_or(defaults.lanes), ..defaults };
        store.check_database(connections(config), options.lanes).await?;
        for setting in store.durability_switched_off().await? {
            tracing::warn!(
                setting,
                "Postgres may lose what was acknowledged when its machine fails: switch this on"
            );
        }
        let (owned, deposed) = (Owned::nothing(), Arc::new(tokio::sync::Notify::new()));
        let lease = store.lease(&owned, options.lanes).await?;
        store.write_exchange_settings(&settings(config)).await?;
        let kept = keep_lease(store.clone(), lease, owned.clone(), Arc::clone(&deposed));
        tasks.vital_here("lease", kept);
        // People's requests never take what these ask over.
        let background = store.for_background();

        let written = Arc::new(tokio::sync::Notify::new());
        let bell = Arc::clone(&written);
        let personal = Personal::start(store.clone(), bell, live_options(config), tasks);
        let notifier = Notifier::new(background.clone(), notifications(config), written);
        notifier.start(tasks);
        let webhooks = webhooks(config, &background)?;
        if config.webhooks.are_sent {
            webhooks.start(tasks, wall_clock::now);
        }
        Pusher::new(background.clone(), web_push.clone()).start(tasks);
        // Whoever must have every event.
        let consumers: Vec<Arc<dyn Consumer>> =
            vec![Arc::new(notifier), Arc::new(webhooks.clone())];
        let (bus, hub) = start_bus(config, &store, consumers, tasks);
        let (relay_handle, relay) = Relay::new(background.clone(), Arc::clone(&bus), owned.clone());
        tasks.vital("relay", relay.run());
        let workers = config.http_workers.unwrap_or(defaults.lanes);
        let exchange = Exchange::start(background.clone(), relay_handle, owned, options, tasks);
        if config.has_demo_login()? {
            demo::register_client(&store).await?;
        } else if demo::withdraw_client(&store).await? {
            tracing::warn!(
                client = demo::DEMO_CLIENT,
                "the demo's client was disabled: people do not log in at the demo's stand-in"
            );
        }
        let (clients, tokens) = clients_and_tokens(&store, keys, config).await?;
        let address = listener.local_addr().map_err(StartError::Http)?;
        let Login { kakao, guest } = login(config, address)?;
        let unlinks = kakao.clone().map(|kakao| Unlinks::new(background.clone(), kakao));
        if let Some(unlinks) = &unlinks {
            unlinks.start(tasks, wall_clock::now);
        }
        let parts = Parts {
            exchange,
            store,
            tokens,
            clients,
            hub,
            personal,
            push: Some(web_push),
            bus,
            kakao,
            unlinks,
            webhooks,
            tasks: tasks.clone(),
        };
        let state = State::new(parts, config);
        start_to_keep_up(&state, key_file, tasks);
        start_purges(&background, &state.under_way, tasks);
        let server = http::serve(state.clone(), listener, workers, Site::Exchange(guest))
            .map_err(StartError::Http)?;
        Ok(Application { state, address, server, deposed })
    }

    /// Starts a broadcaster: streams from a database that an exchange writes, which this only
    /// reads. It takes no lease and decides nothing, so any number of them stand side by side. Must
    /// be called inside an actix system.
    ///
    /// # Errors
    /// What could not be started.
    pub async fn build_broadcaster(
        config: &Config,
        database: impl Into<DatabaseUrl>,
        listener: TcpListener,
    ) -> Result<Application, StartError> {
        let tasks = &Tasks::default();
        telemetry::count(tasks);
        let key_file = &config.signing_key_file;
        if KeyRing::load(key_file)?.is_none() {
            return Err(StartError::Key(KeyError::Missing(key_file.clone())));
        }
        let (keys, key_file) = KeyFile::open(key_file)?;
        let store = Store::with(database, connections(config))?;
        store.check_connection().await?;
        store.check_database(connections(config), 0).await?;
        let exchange = store.exchange_settings().await?.ok_or(StartError::NoExchange)?;
        let config = config.clone();
        let config = &config.beside_exchange(&exchange.issuer, exchange.amqp_prefix.as_deref())?;
        let (clients, tokens) = clients_and_tokens(&store, keys, config).await?;
        let (bus, hub) = followed(config, &store, tasks);
        // Nothing is decided here, so nothing is relayed.
        let (relay, _) = Relay::new(store.clone(), Arc::clone(&bus), Owned::nothing());
        let exchange = Exchange::elsewhere(store.clone(), relay);
        let personal = Personal::start(store.clone(), Arc::default(), live_options(config), tasks);
        let webhooks = webhooks(config, &store)?;
        let parts = Parts {
            exchange,
            store,
            tokens,
            clients,
            hub,
            personal,
            push: None,
            bus,
            kakao: None,
            unlinks: None,
            webhooks,
            tasks: tasks.clone(),
        };
        let state = State::new(parts, config);
        start_to_keep_up(&state, key_file, tasks);
        let address = listener.local_addr().map_err(StartError::Http)?;
        let workers = config.http_workers.unwrap_or(exchange::Options::default().lanes);
        let server = http::serve(state.clone(), listener, workers, Site::Streams)
            .map_err(StartError::Http)?;
        Ok(Application { state, address, server, deposed: Arc::default() })
    }

    /// Opens and closes everything that became due while nobody was there; then it is ready.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn catch_up(&self) -> Result<u64, StartError> {
        let count = self.state.exchange.catch_up().await?;
        self.state.set_caught_up();
        Ok(count)
    }

    /// Serves until the future `stop` is ready, then goes down: what was accepted is finished, the
    /// rest is refused.
    ///
    /// # Errors
    /// When the HTTP server fails, or another exchange has taken the database: then it has gone down.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        let handle = self.server.handle();
        let serving = actix::spawn(self.server);
        let mut outcome = Ok(());
        tokio::select! {
            () = stop => {}
            () = self.deposed.notified() => outcome = Err(StartError::Lease(LeaseError::Taken)),
            ended = serving => {
                return match ended {
                    Ok(Err(error)) => Err(StartError::Http(error)),
                    Ok(Ok(())) | Err(_) => Ok(()),
                };
            }
        }
        go_down(&self.state, &handle).await;
        outcome
    }
}

fn connections(config: &Config) -> ConnectionsMax {
    ConnectionsMax {
        people: config.database_connections.people,
        lists: config.database_connections.lists,
    }
}

/// As many streams as are wanted, and as fit beside requests into the files that may be open.
fn live_options(config: &Config) -> LiveOptions {
    let StreamsMax { per_address, per_user, .. } = config.streams;
    let all = Room::of(config).streams;
    LiveOptions { quota_max: QuotaMax { all, per_address, per_user }, ..LiveOptions::default() }
}

/// Who may call, as it is now.
async fn clients_and_tokens(
    store: &Store,
    keys: KeyRing,
    config: &Config,
) -> Result<(Arc<Clients>, Arc<Tokens>), StoreError> {
    let clients = Arc::new(Clients::default());
    clients.refresh(store).await?;
    let tokens = Tokens::new(keys, &config.public_url).of_clients(Arc::clone(&clients));
    let long_ago = wall_clock::now().plus_s(-TOKEN_LIFE_S_MAX);
    tokens.hear_revocations(store, long_ago).await?;
    Ok((clients, Arc::new(tokens)))
}

/// What a broadcaster hears of an exchange elsewhere: the broker's messages, or without a broker
/// the log in Postgres.
fn followed(config: &Config, store: &Store, tasks: &Tasks) -> (Arc<dyn Bus>, Hub) {
    if config.amqp_url.is_some() {
        return start_bus(config, store, Vec::new(), tasks);
    }
    let hub = Hub::follow(store.clone(), live_options(config), tasks);
    (Arc::new(InProcessBus::default()), hub)
}

/// The bus that is configured, and the streams that listen to it.
fn start_bus(
    config: &Config,
    store: &Store,
    consumers: Vec<Arc<dyn Consumer>>,
    tasks: &Tasks,
) -> (Arc<dyn Bus>, Hub) {
    let options = live_options(config);
    match broker(config) {
        Some(broker) => {
            let bus = RabbitMq::start(broker, consumers, tasks);
            let hub = Hub::start(bus.subscribe(), store.clone(), options, tasks);
            let bus: Arc<dyn Bus> = Arc::new(bus);
            hub.hold_against(store.for_background(), Arc::downgrade(&bus));
            (bus, hub)
        }
        None => {
            let bus = InProcessBus::start(&store.for_background(), consumers, tasks);
            let hub = Hub::start(bus.subscribe(), store.clone(), options, tasks);
            (Arc::new(bus), hub)
        }
    }
}

/// What broadcasters beside this exchange have to use as well.
fn settings(config: &Config) -> ExchangeSettings {
    let prefix = config.amqp_prefix.clone().unwrap_or_default();
    let amqp_prefix = config.amqp_url.is_some().then_some(prefix);
    ExchangeSettings { issuer: config.public_url.clone(), amqp_prefix }
}

/// The broker that is configured.
pub fn broker(config: &Config) -> Option<Broker> {
    let url = config.amqp_url.as_ref()?;
    let names = Names::with_prefix(config.amqp_prefix.as_deref().unwrap_or_default());
    let servers = Servers::new(url.uris.clone(), url.tls.clone());
    Some(Broker { servers, names })
}

/// By what browsers are written to: a sender of its own, so that no webhook takes its turns.
fn web_push(config: &Config) -> Result<WebPush, StartError> {
    let vapid = Vapid::load_or_create(&config.vapid_key_file, config.vapid_subject.clone())?;
    if config.vapid_subject.is_none() && !config.is_embedded() {
        tracing::warn!(
            "some push services refuse whoever names no contact: set HOGA_VAPID_SUBJECT"
        );
    }
    Ok(WebPush::new(sender(config, push::ALL_MAX)?, vapid))
}

/// Reaches what others chose, with so many calls under way at once.
fn sender(config: &Config, calls_max: usize) -> Result<Sender, SenderError> {
    let loopback = config.outgoing_loopback;
    Sender::new(outgoing::Options { loopback, calls_max, ..outgoing::Options::default() })
}

fn notifications(config: &Config) -> notify::Options {
    let config = &config.notifications;
    notify::Options {
        reminder_leads_s: config.reminder_leads_s.clone(),
        price_pause_ms: config.price_every_s * 1_000,
        kept_s: config.kept_days * 86_400,
        ..notify::Options::default()
    }
}

/// What tells registered clients of events; nothing is told yet.
pub fn webhooks(config: &Config, store: &Store) -> Result<Webhooks, SenderError> {
    let sender = sender(config, webhooks::CALLS_MAX)?;
    let kept_s = config.webhooks.kept_days * 86_400;
    let options = webhooks::Options { kept_s, ..webhooks::Options::default() };
    Ok(Webhooks::new(store.clone(), sender, options))
}

/// Where people log in.
struct Login {
    kakao: Option<Kakao>,
    /// The stand-in, on our own port.
    guest: Option<Guest>,
}

/// At Kakao where an app is configured, at the stand-in where nothing is and it may be, else nowhere.
fn login(config: &Config, address: SocketAddr) -> Result<Login, StartError> {
    if let Some(app) = &config.kakao {
        return Ok(Login { kakao: Some(at_kakao(app)?), guest: None });
    }
    if !config.has_demo_login()? {
        tracing::warn!("nobody can log in: HOGA_KAKAO_CLIENT_ID is not set");
        return Ok(Login { kakao: None, guest: None });
    }
    let stand_in = StandIn::of_the_demo(&config.public_url)?;
    let kakao = at_stand_in(&stand_in, address)?;
    let mount = move |config: &mut actix_web::web::ServiceConfig| stand_in.mount(config);
    let guest = Guest { path: stand_in::DEMO_PATH, mount: Arc::new(mount) };
    Ok(Login { kakao: Some(kakao), guest: Some(guest) })
}

fn at_kakao(app: &KakaoApp) -> Result<Kakao, SetupError> {
    if app.admin_key.is_none() {
        tracing::warn!("nobody can be unlinked at Kakao: HOGA_KAKAO_ADMIN_KEY is not set");
    } else if app.app_id.is_none() {
        tracing::warn!(
            "HOGA_KAKAO_APP_ID is not set: Kakao's webhook is believed by its key alone"
        );
    }
    let stand_in = app.base_url.as_deref().map(|base| BaseUrls::stand_in(base, base));
    Kakao::new(KakaoConfig {
        base_urls: stand_in.unwrap_or_else(BaseUrls::kakao),
        client_id: app.client_id.clone(),
        client_secret: app.client_secret.expose().to_owned(),
        admin_key: app.admin_key.as_ref().map(|key| key.expose().to_owned()),
        app_id: app.app_id,
        timeouts: Timeouts::default(),
    })
}

/// Browsers reach it at the public URL, and we on our own port.
fn at_stand_in(stand_in: &StandIn, address: SocketAddr) -> Result<Kakao, SetupError> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    let own_port = SocketAddr::new(ip, address.port());
    let private = format!("http://{own_port}{}", stand_in::DEMO_PATH);
    let app = stand_in.app();
    Kakao::new(KakaoConfig {
        base_urls: BaseUrls::stand_in(stand_in.base_url(), &private),
        client_id: app.client_id.clone(),
        client_secret: app.client_secret.clone(),
        admin_key: Some(app.admin_key.clone()),
        app_id: Some(app.app_id),
        timeouts: Timeouts::default(),
    })
}

/// Streams end first, for they would wait forever; then the connections; then the lanes.
async fn go_down(state: &State, server: &ServerHandle) {
    tracing::info!("going down: finishing what was accepted");
    let deadline = Instant::now() + FINISH_TIMEOUT;
    state.tasks.let_end();
    state.set_closing();
    state.hub.close();
    state.personal.close();
    server.stop(true).await;
    if !state.exchange.stop(deadline.saturating_duration_since(Instant::now())).await {
        tracing::warn!("some commands were still under way; a retry hears what became of them");
    }
    state.tasks.end();
}

/// A lease that was lost with its connection is taken again at once. Until then nothing is published;
/// and if another exchange has it by then, this one goes down.
async fn keep_lease(
    store: Store,
    mut lease: Lease,
    owned: Owned,
    deposed: Arc<tokio::sync::Notify>,
) {
    loop {
        lease.lost().await;
        lease = loop {
            match store.lease_again(&owned, &lease).await {
                Ok(taken) => break taken,
                Err(error @ LeaseError::Taken) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "another exchange has taken the database: going down");
                    deposed.notify_one();
                    // Until the server has gone down.
                    std::future::pending().await
                }
                Err(error @ LeaseError::Connection(_)) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "the lease on the database cannot be taken again yet");
                    tokio::time::sleep(LEASE_TRIED_EVERY).await;
                }
            }
        };
        tracing::info!("the lease on the database was taken again");
    }
}

/// Deletes what is too old and belongs to no other part: what was kept of people who left, once the
/// statutory time is over; logins that never came back, and families of tokens that have ended.
fn start_purges(store: &Store, under_way: &Arc<PendingLogins>, tasks: &Tasks) {
    let records = store.clone();
    purges::keep(tasks, "records", PURGED_EVERY, move || {
        let store = records.clone();
        async move {
            let people = store.purge_records(wall_clock::now(), PURGED_AT_ONCE_MAX).await?;
            if people > 0 {
                tracing::info!(people, "records past their time were deleted");
            }
            Ok(people as u64)
        }
    });
    let (logins, under_way) = (store.clone(), Arc::clone(under_way));
    purges::keep(tasks, "logins", LOGINS_PURGED_EVERY, move || {
        let (store, under_way) = (logins.clone(), Arc::clone(&under_way));
        async move {
            let count = store.purge_logins(wall_clock::now()).await?;
            under_way.set(store.logins_under_way().await?);
            Ok(count)
        }
    });
    let families = store.clone();
    purges::keep(tasks, "refresh_families", LOGINS_PURGED_EVERY, move || {
        let store = families.clone();
        async move { store.purge_families(wall_clock::now()).await }
    });
}

fn start_to_keep_up(state: &State, key_file: KeyFile, tasks: &Tasks) {
    let (state, key_file) = (state.clone(), Arc::new(Mutex::new(key_file)));
    tasks.keep("clients, keys and revocations", move || {
        keep_up(state.clone(), Arc::clone(&key_file))
    });
}

/// Hears of what others change: clients and revocations in the database, keys in their file. What
/// cannot be read stays as it is, and is said once.
async fn keep_up(state: State, key_file: Arc<Mutex<KeyFile>>) {
    let store = state.store.for_background();
    let mut every = tokio::time::interval(HEARD_OF_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut heard_at, mut is_deaf) = (wall_clock::now(), false);
    while !state.is_closing() {
        every.tick().await;
        let now = wall_clock::now();
        let looked = key_file.lock().unwrap_or_else(PoisonError::into_inner).look();
        match looked {
            Ok(Some(keys)) => state.tokens.set_keys(keys),
            Ok(None) => {}
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the signing keys stay as they were");
            }
        }
        state.tokens.tick(now);
        let since = heard_at.plus_s(-REVOCATIONS_READ_AGAIN_S);
        let heard = async {
            state.clients.refresh_if_changed(&store).await?;
            state.tokens.hear_revocations(&store, since).await?;
            state.personal.end_revoked(|user| state.tokens.valid_from_s(user));
            Ok::<_, StoreError>(())
        };
        match heard.await {
            Ok(()) => (heard_at, is_deaf) = (now, false),
            Err(_) if is_deaf => {}
            Err(error) => {
                is_deaf = true;
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "clients and revocations stay as they were");
            }
        }
    }
}
