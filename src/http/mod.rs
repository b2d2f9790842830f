//! The REST API: routes, callers, bodies, problems, the API document.
//!
//! Owns every HTTP type. Must never decide anything, write SQL, or trust an amount from outside
//! without comparing it with ours. The paths are in [`routes`], one table.

pub mod access;
pub mod addresses;
pub mod alerts;
pub mod auctions;
pub mod bids;
pub mod body;
pub mod caller;
pub mod client_webhooks;
pub mod clients;
pub mod context;
pub mod failures;
pub mod limits;
pub mod log;
pub mod me;
pub mod notifications;
pub mod oauth;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod push;
pub mod routes;
pub mod sellers;
pub mod service;
pub mod streams;
pub mod users;
pub mod watches;
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
use actix_web::{
    App, HttpServer,
    dev::Server,
    http::{Method, header},
    web,
};
use utoipa_actix_web::AppExt;

use crate::{
    config::SellerModel,
    domain::money::Amount,
    events::bus::Bus,
    exchange::Exchange,
    identity::{
        clients::Clients,
        kakao::{Kakao, Unlinks},
        oauth::UnderWay,
        tokens::Tokens,
    },
    live::{Hub, personal::Personal},
    notify::push::WebPush,
    store::Store,
    webhooks::Webhooks,
};

/// Connections that one worker serves at once, unless the streams need more.
pub const CONNECTIONS_PER_WORKER_MAX: usize = 25_000;
/// Connections of the whole server besides as many streams as there may be.
const CONNECTIONS_BESIDE_STREAMS: usize = 10_000;
/// A connection without a request is closed after this.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A request's head must have come by then.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
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
    /// How many logins are at Kakao.
    pub under_way: Arc<UnderWay>,
    /// The cap on bids of auctions created from now on.
    pub bid_cap: Amount,
    /// Who may sell.
    pub sellers: SellerModel,
    /// How the outside reaches this server.
    pub public_url: Arc<str>,
    /// How often callers may call.
    pub limits: limits::Limits,
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
            under_way: Arc::default(),
            bid_cap: config.bid_cap,
            sellers: config.sellers,
            public_url: config.public_url.as_str().into(),
            limits: limits::Limits::new(&config.rate_limits),
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

    /// Whether everything overdue has been opened or closed.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    /// From now on connections are closed after their answer.
    pub fn set_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether the server is going down.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
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

/// The server on a listener; runs when awaited.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(
    state: State,
    listener: TcpListener,
    workers: usize,
    site: Site,
) -> std::io::Result<Server> {
    let streams_max = state.hub.places().max().all;
    let server = HttpServer::new(move || {
        let site = site.clone();
        App::new()
            .app_data(web::Data::new(state.clone()))
            .app_data(web::PayloadConfig::new(body::BODY_BYTES_MAX))
            // The outermost is named last: a page must be able to read problems, too.
            .wrap_fn(context::wrap)
            .wrap(cors(&state))
            .into_utoipa_app()
            .configure(|config| site.routes(config))
            .into_app()
            .configure(|config| site.rest(config))
    });
    Ok(server
        .workers(workers)
        .max_connections(connections_per_worker(streams_max, workers))
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        // A viewer who is gone must be noticed although it only ever reads.
        .h1_allow_half_closed(false)
        .on_connect(|connection, _| tune(connection))
        .shutdown_timeout(SHUTDOWN_TIMEOUT_S)
        .disable_signals()
        .listen(listener)?
        .run())
}

/// Enough for every stream that is admitted, so that it is the streams' own limit that refuses, with
/// words, and there is room for requests.
fn connections_per_worker(streams_max: usize, workers: usize) -> usize {
    let all = streams_max.saturating_add(CONNECTIONS_BESIDE_STREAMS);
    all.div_ceil(workers.max(1)).max(CONNECTIONS_PER_WORKER_MAX)
}

/// Answers leave at once, and a peer that vanished is noticed.
pub fn tune(connection: &dyn std::any::Any) {
    let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
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
            let path = request.uri.path();
            let is_open = OPEN_TO_PAGES.iter().any(|open| path.starts_with(open));
            let Some(origin) = origin.to_str().ok().filter(|_| is_open) else { return false };
            clients.allows_origin(origin)
                || origins.iter().any(|allowed| allowed == origin)
                || (allow_loopback && is_loopback(origin))
        })
        .allowed_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
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

fn is_loopback(origin: &str) -> bool {
    let Some(host) = origin.strip_prefix("http://") else { return false };
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_that_is_admitted_finds_a_connection() {
        for (streams, workers) in [(40_000, 1), (40_000, 2), (1_000_000, 3), (7, 64)] {
            let connections = connections_per_worker(streams, workers) * workers;
            assert!(connections >= streams + CONNECTIONS_BESIDE_STREAMS);
        }
        assert_eq!(connections_per_worker(1_000, 4), CONNECTIONS_PER_WORKER_MAX);
    }
}
