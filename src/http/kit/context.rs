//! What every request gets: an id, a language for its problems, a line in the log, and the headers
//! that all answers share.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::Instant,
};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, EitherBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    web,
};

use futures_util::future::Either;
use metrics::{Counter, counter};

use super::{
    body::PERSONAL,
    caller::caller,
    limits::{Limits, Told},
    operations::{self, Caching, Operation},
    problem::{Code, Language, Problem},
};
use crate::http::{
    State,
    connections::{Body, Connection, InFlight, Paced},
    page,
};

/// The header that carries the request's id both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What the caller's budget is.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

impl Told {
    fn write(&self, headers: &mut header::HeaderMap) {
        headers.insert(RATE_LIMIT_POLICY, self.policy.clone());
        if let Some(left) = &self.left {
            headers.insert(RATE_LIMIT, left.clone());
        }
    }
}
/// A longer id from outside is not taken.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The request's id, for whoever answers.
#[derive(Debug, Clone)]
pub struct RequestId(pub Rc<str>);

/// In a response's extensions: its body says already what there is to say.
#[derive(Debug, Clone, Copy)]
pub struct NotAProblem;

/// In the app's data: where the paths of a guest begin, if there is one.
#[derive(Debug, Clone, Copy)]
pub struct GuestPath(pub Option<&'static str>);

/// What this very machine asks of a guest, as the server does itself for each login.
fn is_own_call(limits: &Limits, request: &ServiceRequest) -> bool {
    let guest = request.app_data::<GuestPath>().and_then(|guest| guest.0);
    guest.is_some_and(|guest| request.path().starts_with(guest))
        && limits.is_from_here(request.request())
}

/// An answer's body, whose connection is idle again once it was handed over.
pub struct Answer<B> {
    body: B,
    _answering: Answering,
}

impl<B: MessageBody + Unpin> MessageBody for Answer<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<web::Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}

/// A request that is being answered, until it is dropped.
struct Answering {
    connection: Option<Arc<Connection>>,
    /// Of those who come through a proxy.
    in_flight: Option<InFlight>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.is_answered();
        }
    }
}

/// Wraps a request: id in, problem and headers out.
pub fn wrap<S, B>(
    mut request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<Answer<EitherBody<B, BoxBody>>>, actix_web::Error>>
+ use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    S::Future: 'static,
    B: MessageBody + Unpin + 'static,
{
    let mut about = About::of(&request);
    request.extensions_mut().insert(RequestId(Rc::clone(&about.id)));
    let mut answering = about.begin(&mut request);
    let admitted = match about.admit(&request, &mut answering) {
        Ok(()) => Either::Left(service.call(request)),
        Err(problem) => Either::Right(request.error_response(problem)),
    };
    async move {
        let mut response = match admitted {
            Either::Left(answer) => answer.await?.map_into_left_body(),
            Either::Right(refused) => refused.map_into_right_body(),
        };
        if about.was_too_slow.get() && is_error(response.status()) {
            // Whatever the handler makes of half a body.
            let problem = Problem::from(Code::RequestTimeout);
            response =
                ServiceResponse::from_err(problem, response.into_parts().0).map_into_right_body();
        }
        let response = if needs_problem(response.response()) {
            let (request, response) = response.into_parts();
            let response = about.write_problem(response.map_into_boxed_body());
            ServiceResponse::new(request, response).map_into_right_body()
        } else {
            response
        };
        about.log(response.request(), response.status());
        let mut response = about.finish(response);
        answering.goes_on_as(&mut response);
        Ok(response.map_body(|_, body| Answer { body, _answering: answering }))
    }
}

impl Answering {
    /// A stream has a place of its own and is counted by that; it is the last of its connection.
    fn goes_on_as<B>(&mut self, response: &mut ServiceResponse<B>) {
        let kind = response.headers().get(header::CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes() == b"text/event-stream");
        let is_reserved = self.connection.as_ref().is_some_and(|one| one.is_reserved());
        if is_stream {
            self.in_flight = None;
            if let Some(connection) = &self.connection {
                connection.becomes_stream();
            }
        }
        if is_stream || is_reserved {
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
    }
}

/// Wraps what is not our API: its errors are no problems of ours.
pub fn leave_as_it_is<S, B>(
    request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<B>, actix_web::Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
{
    let answer = service.call(request);
    async move {
        let mut response = answer.await?;
        response.response_mut().extensions_mut().insert(NotAProblem);
        Ok(response)
    }
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

fn needs_problem<B>(response: &HttpResponse<B>) -> bool {
    is_error(response.status())
        && (response.extensions().contains::<Problem>()
            || !(is_problem(response.headers()) || response.extensions().contains::<NotAProblem>()))
}

/// By class of status: the handles are looked up once.
static ANSWERS: LazyLock<[Counter; 6]> = LazyLock::new(|| {
    ["0xx", "1xx", "2xx", "3xx", "4xx", "5xx"]
        .map(|class| counter!("hoga_http_answers_total", "class" => class))
});

/// What is kept of a request while it is answered.
struct About {
    id: Rc<str>,
    language: Language,
    state: Option<web::Data<State>>,
    started: Instant,
    told: Option<Told>,
    operation: Option<&'static Operation>,
    wants_page: bool,
    /// Its body did not come in time.
    was_too_slow: Rc<Cell<bool>>,
}

fn is_problem(headers: &header::HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/problem+json"))
}

fn request_id(request: &ServiceRequest) -> Rc<str> {
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let usable = given.filter(|id| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
    });
    usable.map_or_else(|| uuid::Uuid::now_v7().to_string().into(), Into::into)
}

/// Of our two languages the one that the caller prefers: by weight, then by place; else English.
pub(in crate::http) fn language(headers: &header::HeaderMap) -> Language {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
    let mut preferred = (Language::English, 0.0);
    for range in accepted.unwrap_or_default().split(',') {
        let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
        let language = match tag.trim().get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("ko") => Language::Korean,
            Some("en") => Language::English,
            _ => continue,
        };
        let weight = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        if let Ok(weight) = weight
            && weight > preferred.1
        {
            preferred = (language, weight);
        }
    }
    preferred.0
}

impl About {
    fn of(request: &ServiceRequest) -> About {
        let operation = operations::of(request);
        About {
            id: request_id(request),
            language: language(request.headers()),
            state: request.app_data::<web::Data<State>>().cloned(),
            started: Instant::now(),
            told: None,
            operation,
            wants_page: operation.is_some_and(|operation| page::is_wanted(operation, request)),
            was_too_slow: Rc::default(),
        }
    }

    /// From here on the connection waits for us, unless a body is still to come, for which there is
    /// a deadline.
    fn begin(&self, request: &mut ServiceRequest) -> Answering {
        let connection = request.request().conn_data::<Arc<Connection>>().cloned();
        let has_body = !matches!(request.parts_mut().1, Payload::None);
        if let Some(connection) = &connection {
            connection.begins(if has_body { Body::of_head(request.headers()) } else { Body::None });
        }
        if has_body && let Some(state) = &self.state {
            let (timeout, was_too_slow) =
                (state.connections.request_timeout(), Rc::clone(&self.was_too_slow));
            let paced =
                Paced::new(request.take_payload(), timeout, was_too_slow, connection.clone());
            request.set_payload(Payload::Stream { payload: Box::pin(paced) });
        }
        Answering { connection, in_flight: None }
    }

    /// Whether there is room for the request, and the caller's budget allows it.
    fn admit(&mut self, request: &ServiceRequest, one: &mut Answering) -> Result<(), Problem> {
        let Some(state) = &self.state else { return Ok(()) };
        let is_health = self.operation.is_some_and(|operation| operation.line.is_health);
        if !is_health {
            if one.connection.as_ref().is_some_and(|connection| connection.is_reserved()) {
                return Err(Code::Overloaded.into());
            }
            let through_proxy = state.limits.forwarded_address(request.request());
            one.in_flight = through_proxy
                .map(|address| state.connections.takes(address).ok_or_else(at_once))
                .transpose()?;
        }
        if is_own_call(&state.limits, request) {
            return Ok(());
        }
        let who = || caller(request.request()).ok().flatten();
        let counted = operations::counted(self.operation);
        let Some((told, admitted)) = state.limits.admit(request, counted, &state.clients, who)
        else {
            return Ok(());
        };
        self.told = Some(told);
        admitted
    }

    /// Whatever is not a problem yet becomes one: the framework's own refusals too.
    fn write_problem(&self, mut response: HttpResponse) -> HttpResponse {
        let carried = response.extensions_mut().remove::<Problem>();
        let problem = carried.unwrap_or_else(|| Problem::from(code_of(response.status())));
        let base_url = self.state.as_ref().map_or("", |state| state.public_url());
        let body = problem.body(self.language, base_url, &self.id);
        let mut written = HttpResponse::build(problem.code.status());
        written.content_type("application/problem+json");
        if self.wants_page {
            page::write_headers(&mut written);
        }
        written.insert_header((header::CONTENT_LANGUAGE, self.language.tag()));
        if let Some(wait_ms) = problem.retry_after_ms {
            written.insert_header((header::RETRY_AFTER, wait_ms.div_ceil(1_000)));
        }
        if let Some(challenge) = challenge(problem.code) {
            written.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        if let Some(allow) = response.headers().get(header::ALLOW) {
            written.insert_header((header::ALLOW, allow.clone()));
        }
        if self.wants_page {
            return written.body(page::of(&body, self.language));
        }
        written.body(serde_json::to_string(&body).unwrap_or_default())
    }

    fn finish<B>(&self, mut response: ServiceResponse<B>) -> ServiceResponse<B> {
        // A handler that knows better who calls has asked for the budget itself.
        let told = response.request().extensions_mut().remove::<Told>();
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&self.id) {
            headers.insert(REQUEST_ID, value);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let caching =
            self.operation.map_or(Caching::AsItSays, |operation| operation.line.caching());
        write_caching(caching, headers);
        // What a cache gives to others says nothing of one caller's budget.
        if !is_shared(headers) {
            told.iter().chain(&self.told).for_each(|told| told.write(headers));
        }
        if self.state.as_ref().is_some_and(|state| state.is_closing()) {
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }

    fn log(&self, request: &HttpRequest, status: StatusCode) {
        let took_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let traceparent = request.headers().get("traceparent").and_then(|v| v.to_str().ok());
        // As it was written, so that it cannot break a line; `operation` is what was made of it.
        let (request_id, method, path) = (&*self.id, request.method(), request.path());
        let operation = self.operation.map(|operation| operation.line.id);
        let status = status.as_u16();
        ANSWERS[usize::from(status / 100).min(ANSWERS.len() - 1)].increment(1);
        if status >= 500 {
            tracing::warn!(request_id, traceparent, %method, path, operation, status, took_us, "answered");
        } else {
            tracing::debug!(request_id, traceparent, %method, path, operation, status, took_us, "answered");
        }
    }
}

fn is_shared(headers: &header::HeaderMap) -> bool {
    let kept = headers.get(header::CACHE_CONTROL).and_then(|kept| kept.to_str().ok());
    kept.is_some_and(|kept| kept.split(',').any(|word| word.trim() == "public"))
}

/// Whatever depends on who asks says so, errors too: no cache gives it to anybody else.
fn write_caching(caching: Caching, headers: &mut header::HeaderMap) {
    let unless_stricter = match caching {
        Caching::AsItSays => return,
        Caching::Personal => PERSONAL,
        Caching::Never => "private, no-store",
    };
    if caching == Caching::Never || !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(unless_stricter));
    }
    headers.append(header::VARY, HeaderValue::from_static("Authorization"));
}

/// Through a proxy, of one address.
fn at_once() -> Problem {
    Problem {
        retry_after_ms: Some(1_000),
        ..Problem::found(Code::RateLimited, "Too many requests of one address are under way.")
    }
}

/// RFC 6750, section 3.
fn challenge(code: Code) -> Option<&'static str> {
    if code.status() != StatusCode::UNAUTHORIZED {
        return None;
    }
    if code == Code::Unauthenticated {
        Some("Bearer realm=\"hoga\"")
    } else {
        Some("Bearer realm=\"hoga\", error=\"invalid_token\"")
    }
}

fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
        StatusCode::SERVICE_UNAVAILABLE => Code::Overloaded,
        status if status.is_client_error() => Code::InvalidQuery,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use actix_web::test::TestRequest;

    use super::*;
    use crate::config::RateLimits;

    #[actix_web::test]
    async fn what_this_machine_asks_of_a_guest_is_not_counted_unless_it_asks_for_somebody() {
        let many = NonZeroU32::MAX;
        let limits = Limits::new(&RateLimits {
            bids_per_second: many,
            requests_per_second: many,
            logins_per_minute: many,
            trusted_proxies: vec![],
        });
        let is_own = |peer: &str, path: &str, forwarded: Option<&str>| {
            let peer = peer.parse().expect("an address");
            let request = TestRequest::post().uri(path).peer_addr(peer);
            let request = request.app_data(GuestPath(Some("/demo/kakao")));
            let headers = forwarded.into_iter();
            let request = headers.fold(request, |request, address| {
                request.insert_header(("x-forwarded-for", address))
            });
            is_own_call(&limits, &request.to_srv_request())
        };
        assert!(is_own("127.0.0.1:9", "/demo/kakao/oauth/token", None));
        assert!(is_own("[::1]:9", "/demo/kakao/v1/user/unlink", None));
        assert!(!is_own("127.0.0.1:9", "/demo/kakao/oauth/token", Some("192.0.2.1")));
        assert!(!is_own("192.0.2.1:9", "/demo/kakao/oauth/token", None));
        assert!(!is_own("127.0.0.1:9", "/oauth/token", None));
    }
}
