//! The service itself: time, health, the explanations of problems, and the API document.

use std::time::{Duration, Instant};

use actix_web::{HttpResponse, get, http::header, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::State;
use crate::{
    events::bus::{BusStanding, Trouble},
    http::kit::problem::{Code, Language, Problem},
    identity::keys::KEY_SET_KEPT_S,
    store::{OutboxWaiting, Store},
    telemetry, wall_clock,
};

/// Commits in the outbox that are looked at for the metrics; how many there are beyond is reckoned.
const OUTBOX_COUNTED_MAX: i64 = 200;
/// For how long an answer of the database is kept for those who ask for health or metrics.
const HEALTH_KEPT: Duration = Duration::from_secs(1);

/// What the database says to health checks and metrics. They count in no budget and must not wait for
/// people, so they ask over the connections of the floor; and of them at most one each at a time, and
/// one a second, so that the floor never waits for them either.
#[derive(Default)]
pub struct Health {
    database: Kept<bool>,
    outbox: Kept<Option<OutboxWaiting>>,
}

impl Health {
    async fn database(&self, store: &Store) -> bool {
        self.database.get(async || store.for_background().ping().await.is_ok()).await
    }

    async fn outbox(&self, store: &Store) -> Option<OutboxWaiting> {
        let ask = async || store.for_background().outbox_waiting(OUTBOX_COUNTED_MAX).await.ok();
        self.outbox.get(ask).await
    }
}

/// The last answer, and when it came.
#[derive(Default)]
struct Kept<T>(tokio::sync::Mutex<Option<(Instant, T)>>);

impl<T: Copy> Kept<T> {
    /// Who comes while it is asked for waits for that answer.
    async fn get(&self, ask: impl AsyncFnOnce() -> T) -> T {
        let mut kept = self.0.lock().await;
        if let Some((at, answer)) = *kept
            && at.elapsed() < HEALTH_KEPT
        {
            return answer;
        }
        let answer = ask().await;
        *kept = Some((Instant::now(), answer));
        answer
    }
}

/// The exchange's clock.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Time)]
pub struct TimeBody {
    /// Now, as the exchange decides by it.
    #[schema(format = DateTime)]
    server_time: String,
    /// The same in milliseconds since 1970-01-01T00:00:00Z.
    unix_ms: i64,
}

/// Read the exchange's clock
#[utoipa::path(get, path = "/time", operation_id = "get_time", tag = "service",
    responses((status = 200, body = TimeBody, description = "Now")))]
#[get("/time")]
pub async fn get_time() -> HttpResponse {
    let now = wall_clock::now();
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(TimeBody { server_time: now.to_string(), unix_ms: now.as_millis() })
}

/// Whether the process lives.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthBody {
    /// Whether it lives.
    status: HealthWord,
}

/// The process answers.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HealthStatus)]
pub enum HealthWord {
    /// It lives.
    Ok,
}

/// Whether requests should be sent here.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ReadinessStatus)]
pub enum ReadyWord {
    /// They should.
    Ready,
    /// Not now.
    NotReady,
}

impl ReadyWord {
    const fn of(is_ready: bool) -> ReadyWord {
        if is_ready { ReadyWord::Ready } else { ReadyWord::NotReady }
    }
}

/// Whether events leave at present, or why they wait.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BusStatus)]
pub enum BusWord {
    /// They leave.
    Up,
    /// A connection is being made.
    Connecting,
    /// The broker does not answer.
    Unreachable,
    /// One side does not believe the other's certificate.
    Untrusted,
    /// The broker does not know the account, or it may not do what it must.
    AccessRefused,
    /// A queue of that name is of another type.
    QueueOfAnotherType,
    /// The broker refused what it was sent.
    Refused,
    /// The broker did not bring events that are in the log; streams read them there.
    LosingEvents,
}

impl BusWord {
    const fn of(standing: BusStanding) -> BusWord {
        match standing {
            BusStanding::Up => BusWord::Up,
            BusStanding::Down(trouble) => match trouble {
                Trouble::Connecting => BusWord::Connecting,
                Trouble::Unreachable => BusWord::Unreachable,
                Trouble::Untrusted => BusWord::Untrusted,
                Trouble::AccessRefused => BusWord::AccessRefused,
                Trouble::OtherQueue => BusWord::QueueOfAnotherType,
                Trouble::Refused => BusWord::Refused,
                Trouble::LosingEvents => BusWord::LosingEvents,
            },
        }
    }
}

/// Ask whether the process lives
#[utoipa::path(get, path = "/healthz", operation_id = "get_health", tag = "service",
    responses((status = 200, body = HealthBody, description = "It lives")))]
#[get("/healthz")]
pub async fn get_health() -> HttpResponse {
    HttpResponse::Ok().json(HealthBody { status: HealthWord::Ok })
}

/// Whether requests should be sent here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Readiness)]
pub struct ReadinessBody {
    /// Whether requests should be sent here.
    status: ReadyWord,
    /// Every auction that was overdue at the start has been opened or closed, and what became due since
    /// can be read.
    caught_up: bool,
    /// Every lane has its connection.
    lanes: bool,
    /// Postgres answers readers.
    database: bool,
    /// `up`, or why events are late at present, of whatever publishes, takes or watches here. None is
    /// lost by it, and no bid, so it is no reason not to be ready.
    bus: BusWord,
    /// Auctions whose logs are damaged, as far as somebody asked for them: everything else goes on, so
    /// it is no reason not to be ready.
    logs_set_aside: usize,
    /// Tasks that died and are about to be started again, by their names; while there is any it is not
    /// ready.
    tasks_down: Vec<&'static str>,
}

/// Ask whether the exchange is ready
///
/// Ready when it has caught up with the clock, every lane is connected and Postgres answers. A bus
/// that is down is told, and is no reason not to be ready: bids do not wait for it.
#[utoipa::path(get, path = "/readyz", operation_id = "get_readiness", tag = "service",
    responses((status = 200, body = ReadinessBody, description = "Send requests"),
        (status = 503, body = ReadinessBody, description = "Not now", content_type = "application/json")))]
#[get("/readyz")]
pub async fn get_readiness(state: web::Data<State>) -> HttpResponse {
    let caught_up = state.is_caught_up();
    let lanes = state.exchange.is_ready();
    let database = state.health.database(&state.store).await;
    let bus = BusWord::of(bus_standing(&state));
    let tasks_down = state.tasks.down();
    let is_ready = caught_up && lanes && database && tasks_down.is_empty();
    let status = ReadyWord::of(is_ready);
    let mut builder =
        if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let logs_set_aside = state.exchange.logs_excluded();
    let body =
        ReadinessBody { status, caught_up, lanes, database, bus, logs_set_aside, tasks_down };
    let mut response = builder.json(body);
    response.extensions_mut().insert(crate::http::kit::context::NotAProblem);
    response
}

/// How the bus stands, with what the streams have of it.
fn bus_standing(state: &State) -> BusStanding {
    match state.bus.standing() {
        BusStanding::Up if state.hub.is_losing() => BusStanding::Down(Trouble::LosingEvents),
        standing @ (BusStanding::Up | BusStanding::Down(_)) => standing,
    }
}

/// Whether streams should be opened here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadinessOfStreams)]
pub struct StreamsReadinessBody {
    /// Whether streams should be opened here.
    status: ReadyWord,
    /// Postgres answers readers.
    database: bool,
    /// As at the exchange. Streams read the log meanwhile, so it is no reason not to be ready.
    bus: BusWord,
    /// As at the exchange.
    tasks_down: Vec<&'static str>,
}

/// Ask whether a broadcaster is ready
#[utoipa::path(get, path = "/readyz", operation_id = "get_readiness_of_streams", tag = "service",
    responses((status = 200, body = StreamsReadinessBody, description = "Open streams"),
        (status = 503, body = StreamsReadinessBody, description = "Not now", content_type = "application/json")))]
#[get("/readyz")]
pub async fn get_readiness_of_streams(state: web::Data<State>) -> HttpResponse {
    let database = state.health.database(&state.store).await;
    let bus = BusWord::of(bus_standing(&state));
    let tasks_down = state.tasks.down();
    let is_ready = database && tasks_down.is_empty() && !state.is_closing();
    let status = ReadyWord::of(is_ready);
    let mut builder =
        if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let mut response = builder.json(StreamsReadinessBody { status, database, bus, tasks_down });
    response.extensions_mut().insert(crate::http::kit::context::NotAProblem);
    response
}

/// Read the metrics
///
/// For Prometheus: commands, batches, answers, lanes, auctions in memory, streams, the outbox.
#[utoipa::path(get, path = "/metrics", operation_id = "get_metrics", tag = "service",
    responses((status = 200, body = String, content_type = "text/plain", description = "Prometheus text format")))]
#[get("/metrics")]
pub async fn get_metrics(state: web::Data<State>) -> HttpResponse {
    let gauge = |name: &'static str, value: usize| {
        metrics::gauge!(name).set(u32::try_from(value).map_or(f64::MAX, f64::from));
    };
    gauge("hoga_lanes_connected", state.exchange.lanes_connected());
    gauge("hoga_auctions_loaded", state.exchange.auctions_loaded());
    gauge("hoga_logs_set_aside", state.exchange.logs_excluded());
    gauge("hoga_viewers", state.hub.viewers());
    gauge("hoga_ready", usize::from(state.is_caught_up() && state.exchange.is_ready()));
    gauge("hoga_bus_up", usize::from(bus_standing(&state) == BusStanding::Up));
    if let Some(waiting) = state.health.outbox(&state.store).await {
        gauge("hoga_outbox_commits", usize::try_from(waiting.commits).unwrap_or(0));
        gauge("hoga_outbox_events", usize::try_from(waiting.events).unwrap_or(0));
        let seconds = Duration::from_millis(u64::try_from(waiting.oldest_ms).unwrap_or(0));
        metrics::gauge!("hoga_outbox_oldest_seconds").set(seconds.as_secs_f64());
    }
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(telemetry::rendered())
}

/// What a problem's code means.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProblemExplanation)]
pub struct ExplanationBody {
    /// The code.
    code: Code,
    /// The HTTP status it comes with.
    status: u16,
    /// By language.
    title: ByLanguage,
    /// By language.
    what_to_do: ByLanguage,
}

/// A text in each language.
#[derive(Debug, Serialize, ToSchema)]
pub struct ByLanguage {
    /// English.
    en: &'static str,
    /// Korean.
    ko: &'static str,
}

/// Read what a problem means
#[utoipa::path(get, path = "/problems/{code}", operation_id = "get_problem", tag = "service",
    params(("code" = String, Path, description = "Such as bid_too_low")),
    responses((status = 200, body = ExplanationBody, description = "What it means and what to do")))]
#[get("/problems/{code}")]
pub async fn get_problem(code: web::Path<String>) -> Result<HttpResponse, Problem> {
    let code = Code::from_word(&code).ok_or(Code::NotFound)?;
    Ok(HttpResponse::Ok().json(ExplanationBody {
        code,
        status: code.status().as_u16(),
        title: ByLanguage { en: code.title(Language::English), ko: code.title(Language::Korean) },
        what_to_do: ByLanguage {
            en: code.what_to_do(Language::English),
            ko: code.what_to_do(Language::Korean),
        },
    }))
}

/// The public keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JwkSet)]
pub struct JwksBody {
    /// RFC 7517.
    #[schema(value_type = Vec<Object>)]
    keys: Vec<crate::identity::keys::Jwk>,
}

/// Read the public keys
///
/// That sign access tokens and log checkpoints (RFC 7517, Ed25519): the one that signs, the one
/// that will after a rotation, and those whose tokens have not all expired yet.
#[utoipa::path(get, path = "/.well-known/jwks.json", operation_id = "get_jwks", tag = "service",
    responses((status = 200, body = JwksBody, description = "The keys")))]
#[get("/.well-known/jwks.json")]
pub async fn get_jwks(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, format!("public, max-age={KEY_SET_KEPT_S}")))
        .json(JwksBody { keys: state.tokens.jwks(wall_clock::now()) })
}
