//! Server-sent events: one auction, or many on one connection.

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::header::{self, HeaderName, HeaderValue},
    post, web,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::State;
use crate::{
    domain::id::{AuctionId, UserId},
    http::kit::{
        body,
        caller::{User, caller},
        head,
        problem::{Code, Problem},
    },
    identity::secret::{self, Secret},
    live::{
        LastEventIdError, QuotaUsed, Wanted, WatchError, Watcher,
        personal::{self, PersonalError},
    },
    store::TicketTaken,
    wall_clock,
};

/// How long a ticket may wait to be used, in seconds.
pub const TICKET_LIFE_S: i64 = 30;

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
            WatchError::QuotaUsed(no_place) => no_place.into(),
            WatchError::Busy(_) => Code::Overloaded.into(),
            WatchError::Closing => Code::ShuttingDown.into(),
            WatchError::Store(error) => error.into(),
        }
    }
}

impl From<QuotaUsed> for Problem {
    fn from(no_place: QuotaUsed) -> Problem {
        match no_place {
            QuotaUsed::Full => Code::StreamsFull.into(),
            QuotaUsed::Address(_) | QuotaUsed::User(_) => {
                Problem::found(Code::TooManyStreams, format!("{no_place}."))
            }
        }
    }
}

impl From<PersonalError> for Problem {
    fn from(error: PersonalError) -> Problem {
        match error {
            PersonalError::TooMany => Problem::found(Code::TooManyStreams, format!("{error}.")),
            PersonalError::Closing => Code::ShuttingDown.into(),
            PersonalError::Store(error) => error.into(),
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
fn last_event_id(
    request: &HttpRequest,
    in_query: Option<String>,
) -> Result<Option<String>, Problem> {
    // A browser that comes back by itself sends the header, and the query as it was at first.
    let Some(value) = request.headers().get(LAST_EVENT_ID) else { return Ok(in_query) };
    let text = value.to_str().map_err(|_| Problem::from(Code::InvalidEventId))?;
    Ok(Some(text.to_owned()))
}

async fn stream(
    state: &State,
    request: &HttpRequest,
    wanted: Wanted,
) -> Result<HttpResponse, Problem> {
    if head::is_wanted(request) {
        return headers_alone(state, request, &wanted.auctions()?).await;
    }
    Ok(streaming(state.hub.watch(watcher(state, request), wanted).await?))
}

/// What a stream of auctions that are there would begin with.
async fn headers_alone(
    state: &State,
    request: &HttpRequest,
    auctions: &[AuctionId],
) -> Result<HttpResponse, Problem> {
    let share = state.lists.take(&state.limits, request).await?;
    let missing = state.store.of_lists().first_missing(auctions).await?;
    drop(share);
    match missing {
        Some(id) => Err(WatchError::NotFound(id).into()),
        None => Ok(streaming(futures_util::stream::empty())),
    }
}

fn streaming(
    viewer: impl futures_util::Stream<Item = Result<web::Bytes, std::convert::Infallible>> + 'static,
) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // For proxies that would hold events back, such as nginx.
        .insert_header((
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ))
        .streaming(viewer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuctionEventsQuery {
    last_event_id: Option<String>,
}

/// Watch an auction
///
/// A `snapshot` first, then every event with its sequence number as `id`. A reconnect with
/// `Last-Event-ID` gets what was missed, in order, or a `reset` and a new `snapshot`.
#[utoipa::path(get, path = "/auctions/{id}/events", operation_id = "watch_auction_events", tag = "streams",
    params(("id" = Uuid, Path),
        ("last_event_id" = Option<String>, Query, description = "Counts where no `Last-Event-ID` is sent"),
        ("Last-Event-ID" = Option<String>, Header, description = "The sequence number of the last event received")),
    responses((status = 200, body = String, content_type = "text/event-stream", description = "Events")))]
#[get("/auctions/{id}/events")]
pub async fn watch_auction_events(
    state: web::Data<State>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let query: AuctionEventsQuery = body::query(&request)?;
    let last = last_event_id(&request, query.last_event_id)?;
    stream(&state, &request, Wanted::one(id, last.as_deref())?).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    auctions: String,
    last_event_id: Option<String>,
}

/// Watch many auctions on one connection
///
/// Ids on the stream are `<auction_id>:<seq>`; up to 50 auctions. Whenever all that there is has been
/// told, the stream says where it stands in each of them, in a block with an `id` alone, which is no
/// event: a browser sends that back as its `Last-Event-ID`, and resumes each auction. One that was
/// cut before it came sends the id of an event, which resumes that one; the others begin with a
/// `snapshot`, and so does whatever is asked for anew.
#[utoipa::path(get, path = "/events", operation_id = "watch_events", tag = "streams",
    params(("auctions" = String, Query, description = "Ids, separated by commas"),
        ("last_event_id" = Option<String>, Query, description = "Counts where no `Last-Event-ID` is sent"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last id received; ids of events, separated by commas, resume several auctions as well")),
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
    let last = last_event_id(&request, query.last_event_id)?;
    stream(&state, &request, Wanted::many(auctions, last.as_deref())?).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MyEventsQuery {
    ticket: Option<String>,
    last_event_id: Option<String>,
}

/// Watch the caller's notifications
///
/// A `snapshot` with the number of unread ones first, then every notification as it comes: its `id`
/// is that of the notification, its `event` the kind. A reconnect with `Last-Event-ID` gets what was
/// missed, in order, or a `reset` and a new `snapshot`: then the inbox is to be read anew. With a
/// token, or from browsers, which cannot send one, with `?ticket=`; a stream ends after an hour. A
/// ticket counts once, so a browser comes back with a new one, and with `?last_event_id=`, for on a new
/// `EventSource` it cannot send the header: the introduction has the code for it.
#[utoipa::path(get, path = "/me/events", operation_id = "watch_my_events", tag = "streams",
    params(("ticket" = Option<String>, Query, description = "From POST me/events/ticket, instead of a token"),
        ("last_event_id" = Option<String>, Query, description = "Counts where no `Last-Event-ID` is sent"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event received")),
    responses((status = 200, body = String, content_type = "text/event-stream", description = "Events")))]
#[get("/me/events")]
pub async fn watch_my_events(
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let query: MyEventsQuery = body::query(&request)?;
    // Before the ticket is used up.
    let last = last_event_id(&request, query.last_event_id)?;
    let last = last.as_deref().map(personal::parse_last).transpose()?;
    if head::is_wanted(&request) {
        // A ticket opens a stream; it is not spent on this.
        match query.ticket {
            Some(ticket) => {
                let hash = secret::hash(&ticket);
                user_of(state.store.look_at_ticket(hash, wall_clock::now()).await?)?
            }
            None => caller(&request)?.ok_or(Code::Unauthenticated)?.user,
        };
        return Ok(streaming(futures_util::stream::empty()));
    }
    let user = match query.ticket {
        Some(ticket) => {
            let hash = secret::hash(&ticket);
            user_of(state.store.take_ticket(hash, wall_clock::now()).await?)?
        }
        None => caller(&request)?.ok_or(Code::Unauthenticated)?.user,
    };
    // Counted with the streams of auctions.
    let who = Watcher { address: state.limits.address(&request), user: Some(user) };
    let place = state.hub.quota().take(who)?;
    Ok(streaming(state.personal.watch(user, last, place).await?))
}

fn user_of(ticket: TicketTaken) -> Result<UserId, Problem> {
    match ticket {
        TicketTaken::Good(user) => Ok(user),
        TicketTaken::Expired => Err(Code::TicketExpired.into()),
        TicketTaken::Used => {
            Err(Problem::found(Code::TicketInvalid, "The ticket was used before."))
        }
        TicketTaken::Unknown => Err(Code::TicketInvalid.into()),
    }
}

/// A ticket for one stream.
#[derive(Serialize, ToSchema)]
#[schema(as = EventsTicket)]
pub struct TicketBody {
    /// For `?ticket=`, once.
    ticket: String,
    /// Until when it can be used.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Ask for a ticket for the stream of notifications
///
/// For browsers, whose `EventSource` sends no token: `GET me/events?ticket=` within 30 seconds, once,
/// on any server of the exchange. A user has up to 8 at once; older ones give way.
#[utoipa::path(post, path = "/me/events/ticket", operation_id = "create_events_ticket", tag = "streams",
    responses((status = 201, body = TicketBody, description = "A ticket")))]
#[post("/me/events/ticket")]
pub async fn create_events_ticket(
    state: web::Data<State>,
    user: User,
) -> Result<HttpResponse, Problem> {
    let ticket = Secret::random();
    let expires_at = wall_clock::now().plus_s(TICKET_LIFE_S);
    if !state.store.insert_ticket(ticket.hash(), user.0.user, expires_at).await? {
        return Err(Code::TokenInvalid.into());
    }
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(
        TicketBody { ticket: ticket.expose().to_owned(), expires_at: expires_at.to_string() },
    ))
}
