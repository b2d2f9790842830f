//! Server-sent events: one auction, or many on one connection.

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::header::{self, HeaderName, HeaderValue},
    web,
};
use serde::Deserialize;

use super::{
    State, body,
    caller::caller,
    problem::{Code, Problem},
};
use crate::{
    domain::id::AuctionId,
    live::{LastEventIdError, NoPlace, Wanted, WatchError, Watcher},
};

/// Where a viewer that comes back left off.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

impl From<LastEventIdError> for Problem {
    fn from(error: LastEventIdError) -> Problem {
        Problem::found(Code::InvalidEventId, format!("{error}."))
    }
}

impl From<WatchError> for Problem {
    fn from(error: WatchError) -> Problem {
        match error {
            WatchError::NotFound(_) => Problem::found(Code::AuctionNotFound, format!("{error}.")),
            WatchError::NoAuction => Problem::found(Code::InvalidQuery, format!("{error}.")),
            WatchError::TooManyAuctions => {
                Problem::found(Code::TooManyAuctions, format!("{error}."))
            }
            WatchError::NoPlace(no_place) => no_place.into(),
            WatchError::Busy(_) => Code::Overloaded.into(),
            WatchError::Closing => Code::ShuttingDown.into(),
            WatchError::Store(error) => error.into(),
        }
    }
}

impl From<NoPlace> for Problem {
    fn from(no_place: NoPlace) -> Problem {
        match no_place {
            NoPlace::Full => Code::StreamsFull.into(),
            NoPlace::Address(_) | NoPlace::User(_) => {
                Problem::found(Code::TooManyStreams, format!("{no_place}."))
            }
        }
    }
}

/// Whose stream it is. A token that does not count is none: it may expire while somebody watches,
/// and their stream must come back all the same.
pub(super) fn watcher(state: &State, request: &HttpRequest) -> Watcher {
    let user = caller(request).ok().flatten().map(|caller| caller.user);
    Watcher { address: state.limits.address(request), user }
}

/// The header, or for browsers that cannot send one, the query.
fn last_event_id(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get(LAST_EVENT_ID) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Problem::from(Code::InvalidEventId))?;
    Ok(Some(text.to_owned()))
}

async fn stream(
    state: &State,
    request: &HttpRequest,
    wanted: Wanted,
) -> Result<HttpResponse, Problem> {
    let viewer = state.hub.watch(watcher(state, request), wanted).await?;
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // For proxies that would hold events back, such as nginx.
        .insert_header((
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ))
        .streaming(viewer))
}

/// Watch an auction
///
/// A `snapshot` first, then every event with its sequence number as `id`. A reconnect with
/// `Last-Event-ID` gets what was missed, in order, or a `reset` and a new `snapshot`.
#[utoipa::path(get, path = "/auctions/{id}/events", operation_id = "watch_auction_events", tag = "streams",
    params(("id" = Uuid, Path),
        ("Last-Event-ID" = Option<String>, Header, description = "The sequence number of the last event received")),
    responses((status = 200, body = String, content_type = "text/event-stream", description = "Events")))]
#[get("/auctions/{id}/events")]
pub async fn watch_auction_events(
    state: web::Data<State>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let last = last_event_id(&request)?;
    stream(&state, &request, Wanted::one(id, last.as_deref())?).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    auctions: String,
}

/// Watch many auctions on one connection
///
/// Ids on the stream are `<auction_id>:<seq>`; up to 50 auctions.
#[utoipa::path(get, path = "/events", operation_id = "watch_events", tag = "streams",
    params(("auctions" = String, Query, description = "Ids, separated by commas"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event received; several, separated by commas, resume several auctions")),
    responses((status = 200, body = String, content_type = "text/event-stream", description = "Events")))]
#[get("/events")]
pub async fn watch_events(
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let query: EventsQuery = body::query(&request)?;
    let auctions = query
        .auctions
        .split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .map(body::auction_id)
        .collect::<Result<Vec<AuctionId>, Problem>>()?;
    let last = last_event_id(&request)?;
    stream(&state, &request, Wanted::many(auctions, last.as_deref())?).await
}
