//! The REST API: routes, callers, bodies, problems, the API document.
//!
//! Owns every HTTP type. Must never decide anything, write SQL, or trust an amount from outside
//! without comparing it with ours. The paths are in [`routes`], one table.

pub mod auctions;
pub mod clients;
pub mod connections;
pub mod kit;
pub mod me;
pub mod oauth;
pub mod openapi;
pub mod page;
pub mod routes;
pub mod sellers;
pub mod service;
pub mod streams;
pub mod users;
pub mod webhooks;

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_cors::Cors;
use actix_http::{HttpService, Request, body::MessageBody, error::DispatchError};
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::{
    App,
    dev::{AppConfig, Server, ServiceResponse, Url},
    http::{Method, header},
    rt::net::TcpStream,
    web,
};
use utoipa_actix_web::AppExt;

use self::{
    connections::{Connection, Connections, Guarded, Room},
    kit::{body, context, head, limits, lists},
};
use crate::{
    config::SellerModel,
    domain::{id::UserId, money::Amount, time::Timestamp},
    events::bus::Bus,
    exchange::Exchange,
    identity::{
        clients::{Clients, is_loopback_origin},
        kakao::{Kakao, Unlinks},
        oauth::PendingLogins,
        tokens::Tokens,
    },
    live::{Hub, personal::Personal},
    notify::push::WebPush,
    store::Store,
    tasks::Tasks,
    webhooks::Webhooks,
};

/// Whoever is told that a request is refused before it had come as a whole may go on sending it for
/// so long, for else the answer might be lost.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// A peer that acknowledges nothing for so long is gone.
const PEER_TIMEOUT: Duration = Duration::from_secs(20);
/// What was accepted is finished within this, in seconds, when the server goes down.
const SHUTDOWN_TIMEOUT_S: u64 = 8;
/// How long a browser remembers a preflight, in seconds.
const PREFLIGHT_KEPT_S: usize = 3_600;

/// What handlers share.
#[derive(Clone)]
pub struct State {
    /// The live floor.
    pub exchange: Exchange,
    /// The database, for reading.
    pub store: Store,
    /// Issues and checks access tokens.
    pub tokens: Arc<Tokens>,
    /// The registered frontends.
    pub clients: Arc<Clients>,
    /// The streams.
    pub hub: Hub,
    /// What carries events.
    pub bus: Arc<dyn Bus>,
    /// The streams of notifications.
    pub personal: Personal,
    /// By what browsers are written to; a broadcaster writes to none.
    pub push: Option<WebPush>,
    /// Where people log in; nowhere without an app at Kakao.
    pub kakao: Option<Kakao>,
    /// What is to be unlinked, where people log in.
    pub unlinks: Option<Unlinks>,
    /// What tells registered clients of events.
    pub webhooks: Webhooks,
    /// What works beside the requests.
    pub tasks: Tasks,
    /// How many logins are at Kakao.
    pub under_way: Arc<PendingLogins>,
    /// The cap on bids of auctions created from now on.
    pub bid_cap: Amount,
    /// Who may sell.
    pub sellers: SellerModel,
    /// How the outside reaches this server.
    pub public_url: Arc<str>,
    /// How often callers may call.
    pub limits: limits::Limits,
    /// Who is connected.
    pub connections: Arc<Connections>,
    /// What the database says to health checks.
    pub health: Arc<service::Health>,
    /// Who has how many lists under way.
    pub lists: Arc<lists::Shares>,
    /// The origins whose pages may call.
    pub allowed_origins: Arc<[String]>,
    /// Whether pages on this machine's own loopback addresses may call too.
    pub allow_loopback_origins: bool,
    /// Anybody can log in as anybody.
    pub has_demo_login: bool,
    /// What people's browsers are shown.
    pub pages: Arc<page::Pages>,
    caught_up: Arc<AtomicBool>,
    closing: Arc<AtomicBool>,
}

/// What [`State::new`] needs.
pub struct Parts {
    /// The live floor.
    pub exchange: Exchange,
    /// The database, for reading.
    pub store: Store,
    /// Issues and checks access tokens.
    pub tokens: Arc<Tokens>,
    /// The registered frontends.
    pub clients: Arc<Clients>,
    /// The streams.
    pub hub: Hub,
    /// What carries events.
    pub bus: Arc<dyn Bus>,
    /// The streams of notifications.
    pub personal: Personal,
    /// By what browsers are written to, if by anything.
    pub push: Option<WebPush>,
    /// Where people log in, if anywhere.
    pub kakao: Option<Kakao>,
    /// What is to be unlinked, where people log in.
    pub unlinks: Option<Unlinks>,
    /// What tells registered clients of events.
    pub webhooks: Webhooks,
    /// What works beside the requests.
    pub tasks: Tasks,
}

/// Something that is not our API, on our port: its answers go out as they are.
#[derive(Clone)]
pub struct Guest {
    /// Where its paths begin.
    pub path: &'static str,
    /// Puts them there.
    pub mount: Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>,
}

impl State {
    /// Not caught up yet. Must be called inside an actix system.
    pub fn new(parts: Parts, config: &crate::config::Config) -> State {
        State {
            exchange: parts.exchange,
            store: parts.store,
            tokens: parts.tokens,
            clients: parts.clients,
            hub: parts.hub,
            bus: parts.bus,
            personal: parts.personal,
            push: parts.push,
            kakao: parts.kakao,
            unlinks: parts.unlinks,
            webhooks: parts.webhooks,
            tasks: parts.tasks,
            under_way: Arc::default(),
            bid_cap: config.bid_cap,
            sellers: config.sellers,
            public_url: config.public_url.as_str().into(),
            limits: limits::Limits::new(&config.rate_limits),
            connections: Connections::new(
                Room::of(config),
                &config.connections,
                &config.rate_limits.trusted_proxies,
            ),
            health: Arc::default(),
            lists: Arc::new(lists::Shares::of(config.database_connections.lists)),
            allowed_origins: config.allowed_origins.clone().into(),
            allow_loopback_origins: config.is_embedded(),
            has_demo_login: config.has_demo_login() == Ok(true),
            pages: Arc::default(),
            caught_up: Arc::default(),
            closing: Arc::default(),
        }
    }

    /// Everything overdue has been opened or closed.
    pub fn set_caught_up(&self) {
        self.caught_up.store(true, Ordering::Release);
    }

    /// Whether everything overdue has been opened or closed, as far as the clock can read it.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire) && self.exchange.knows_what_is_due()
    }

    /// From now on connections are closed after their answer.
    pub fn set_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether the server is going down.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Tokens of the user from before then count no more, and streams that they opened end.
    pub fn revoke_before(&self, user: UserId, at: Timestamp) {
        self.tokens.revoke_before(user, at);
        self.personal.end_revoked(|user| self.tokens.valid_from_s(user));
    }

    /// How the outside reaches this server.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }
}

/// What a server answers.
#[derive(Clone)]
pub enum Site {
    /// The whole API, with a guest where there is one.
    Exchange(Option<Guest>),
    /// Streams alone: a broadcaster.
    Streams,
}

impl Site {
    fn routes(&self, config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
        match self {
            Site::Exchange(_) => routes::table(config),
            Site::Streams => routes::streams_alone(config),
        }
    }

    fn guest_path(&self) -> Option<&'static str> {
        match self {
            Site::Exchange(guest) => guest.as_ref().map(|guest| guest.path),
            Site::Streams => None,
        }
    }

    /// What stands besides the table: the pages, the guest, and the answer to everything else.
    fn rest(&self, config: &mut web::ServiceConfig) {
        let Site::Exchange(guest) = self else {
            config.default_service(web::to(routes::not_here));
            return;
        };
        config.configure(page::mount).default_service(web::to(routes::elsewhere));
        if let Some(guest) = guest {
            let scope = web::scope(guest.path).wrap_fn(context::leave_as_it_is);
            config.service(scope.configure(|config| (guest.mount)(config)));
        }
    }
}

/// The server on a listener; runs when awaited. Must be called inside an actix system.
///
/// It is put together from the parts of which `actix_web::HttpServer` is made, because that leaves
/// no place between the socket and HTTP, where connections are counted and shed.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(
    state: State,
    listener: TcpListener,
    workers: usize,
    site: Site,
) -> std::io::Result<Server> {
    let connections = Arc::clone(&state.connections);
    actix_web::rt::spawn(Arc::clone(&connections).shed_late_ones());
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections.room().per_worker(workers))
        .shutdown_timeout(SHUTDOWN_TIMEOUT_S)
        .disable_signals();
    let closing = builder.graceful_shutdown_signal();
    let factory = move || {
        let (connections, closing) = (Arc::clone(&connections), closing.clone());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let closing = closing.clone();
                async move { closing.notified().await }
            })
            .keep_alive(connections::KEEP_ALIVE)
            .client_request_timeout(connections.head_timeout())
            .client_disconnect_timeout(LINGER_TIMEOUT)
            // A viewer who is gone must be noticed although it only ever reads.
            .h1_allow_half_closed(false)
            .on_connect_ext(|socket: &Guarded, data: &mut actix_http::Extensions| {
                data.insert::<Arc<Connection>>(Arc::clone(socket.connection()));
            })
            .h1(app(state.clone(), site.clone()));
        fn_service(move |stream: TcpStream| {
            let admitted = admit(&connections, stream);
            async move { admitted }
        })
        .and_then(http)
    };
    Ok(builder.listen("hoga", listener, factory)?.run())
}

/// A socket on which requests are heard, with its peer; the others are closed at once.
fn admit(
    connections: &Arc<Connections>,
    stream: TcpStream,
) -> Result<(Guarded, Option<std::net::SocketAddr>), DispatchError> {
    let peer = stream.peer_addr().ok();
    let connection = connections.admit(peer.map(|peer| peer.ip()));
    let connection =
        connection.ok_or(DispatchError::Io(std::io::ErrorKind::ConnectionRefused.into()))?;
    tune(&stream);
    Ok((Guarded::new(stream, connection), peer))
}

/// Everything that a worker answers.
fn app(
    state: State,
    site: Site,
) -> impl ServiceFactory<
    Request,
    Config = (),
    Response = ServiceResponse<impl MessageBody + use<>>,
    Error = actix_web::Error,
    InitError = (),
> {
    let app = App::new()
        .app_data(web::Data::new(state.clone()))
        .app_data(web::PayloadConfig::new(body::BODY_BYTES_MAX))
        .app_data(context::GuestPath(site.guest_path()))
        // The outermost is named last: a page must be able to read problems, too.
        .wrap_fn(context::wrap)
        .wrap(cors(&state))
        .wrap_fn(head::as_get)
        .into_utoipa_app()
        .configure(|config| site.routes(config))
        .into_app()
        .configure(|config| site.rest(config));
    map_config(app.into_factory(), |()| AppConfig::default())
}

/// Answers leave at once, and a peer that vanished is noticed.
pub fn tune(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let tuned =
        socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_user_timeout(Some(PEER_TIMEOUT)));
    if let Err(error) = tuned {
        tracing::debug!(%error, "a connection could not be tuned");
    }
}

/// What pages call: the API, and of the login what is no page itself. Where a browser goes as a
/// whole, and where other servers call, no page of somebody else may read along.
const OPEN_TO_PAGES: &[&str] =
    &["/v1/", "/oauth/token", "/oauth/revoke", "/.well-known/", "/problems/", "/openapi.json"];

/// Whose pages may call, where, and with what.
pub fn cors(state: &State) -> Cors {
    let origins = Arc::clone(&state.allowed_origins);
    let clients = Arc::clone(&state.clients);
    let allow_loopback = state.allow_loopback_origins;
    Cors::default()
        // Asked only when there is an `Origin`.
        .allowed_origin_fn(move |origin, request| {
            let url = Url::new(request.uri.clone());
            let path = url.path();
            let is_open = OPEN_TO_PAGES.iter().any(|open| path.starts_with(open));
            let Some(origin) = origin.to_str().ok().filter(|_| is_open) else { return false };
            clients.allows_origin(origin)
                || origins.iter().any(|allowed| allowed == origin)
                || (allow_loopback && is_loopback_origin(origin))
        })
        .allowed_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allowed_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT_LANGUAGE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::HeaderName::from_static("idempotency-key"),
            header::HeaderName::from_static("last-event-id"),
            header::HeaderName::from_static("traceparent"),
            context::REQUEST_ID,
        ])
        .expose_headers([
            header::ETAG,
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            context::RATE_LIMIT,
            context::RATE_LIMIT_POLICY,
            context::REQUEST_ID,
        ])
        .max_age(PREFLIGHT_KEPT_S)
        .block_on_origin_mismatch(false)
}
