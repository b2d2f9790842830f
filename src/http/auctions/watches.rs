//! Watching auctions: the heart button, and the list of what it was pressed on.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, put, web};

use super::listing::{AuctionPageBody, auction_body};
use crate::{
    domain::time::Timestamp,
    http::{
        State,
        kit::{
            body::{self, PERSONAL, PageQuery},
            caller::User,
            problem::{Code, Problem},
        },
    },
    market::{self, WatchError},
    store::{Page, WatchPlace},
    wall_clock,
};

/// The order of the list, in its cursors.
const ORDER: &str = "watchlist";

/// Watch an auction
///
/// It is on the caller's watchlist from now on, and the caller is told before it opens and ends, and
/// when its highest bid changes. Up to 1,000 at once.
#[utoipa::path(put, path = "/auctions/{id}/watch", operation_id = "watch_auction", tag = "watching",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Watched, now or before")))]
#[put("/auctions/{id}/watch")]
pub async fn watch_auction(
    state: web::Data<State>,
    user: User,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    market::watch(&state.store, user.0.user, id, wall_clock::now()).await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<WatchError> for Problem {
    fn from(error: WatchError) -> Problem {
        match error {
            WatchError::NotFound => Code::AuctionNotFound.into(),
            WatchError::Full => Code::WatchLimitReached.into(),
            WatchError::NobodyThere => Code::TokenInvalid.into(),
            WatchError::Store(error) => error.into(),
        }
    }
}

/// Stop watching an auction
#[utoipa::path(delete, path = "/auctions/{id}/watch", operation_id = "unwatch_auction", tag = "watching",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Not watched any more, or not before either")))]
#[delete("/auctions/{id}/watch")]
pub async fn unwatch_auction(
    state: web::Data<State>,
    user: User,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let is_there = state.store.unwatch(user.0.user, body::auction_id(&id)?).await?;
    if is_there {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Code::AuctionNotFound.into())
    }
}

/// List the auctions that the caller watches
///
/// The newest watch first.
#[utoipa::path(get, path = "/me/watchlist", operation_id = "list_watchlist", tag = "watching",
    params(("limit" = Option<i64>, Query, description = "1 to 100, 20 by default", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before")),
    responses((status = 200, body = AuctionPageBody, description = "A page of auctions")))]
#[get("/me/watchlist")]
pub async fn list_watchlist(
    state: web::Data<State>,
    user: User,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let query: PageQuery = body::query(&request)?;
    let limit = body::limit(query.limit)?;
    let before = query.cursor.as_deref().map(|text| body::read_cursor(ORDER, text)).transpose()?;
    let before = before.map(|page| WatchPlace {
        since: Timestamp::from_millis(page.key).min(Timestamp::MAX),
        auction: page.id,
    });
    let user = user.0.user;
    let rows = state.store.watchlist(user, before, limit + 1).await?;
    let (rows, next_cursor) = body::page(rows, limit, |(place, _)| {
        body::write_cursor(ORDER, Page { key: place.since.as_millis(), id: place.auction })
    });
    let items = rows.into_iter().map(|(_, row)| auction_body(row, Some(user)));
    let items = items.collect::<Result<_, _>>()?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(AuctionPageBody { items, next_cursor }))
}
