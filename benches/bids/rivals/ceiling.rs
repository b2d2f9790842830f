//! (f) What the HTTP server can answer at all: the receipt is made, and kept nowhere.

use actix_web::{HttpRequest, HttpResponse, post, web};
use hoga::{
    domain::{auction::Offer, money::Amount},
    http::{
        auctions::bids::NewBidBody,
        kit::body::{self, IdempotencyKey, Json},
        kit::caller::Bidder,
        kit::problem::Problem,
    },
    log::hash::Hash,
    wall_clock,
};

use super::{Accepted, answer};

#[post("/auctions/{id}/bids")]
pub async fn place_bid(
    bidder: Bidder,
    id: web::Path<String>,
    key: IdempotencyKey,
    request: HttpRequest,
    Json(bid): Json<NewBidBody>,
) -> Result<HttpResponse, Problem> {
    let received_at = wall_clock::now();
    let id = body::auction_id(&id)?;
    let (Offer::Exact(amount) | Offer::Ceiling(amount)) = bid.offer()?;
    let key = bid.receipt_key(key, bidder.0, id)?.receipt;
    let request_id = body::request_id(&request);
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(key.fingerprint.as_bytes());
    let accepted = Accepted {
        auction: id.0,
        seq: request_id.map_or(0, |id| id.len() as u64),
        price: amount,
        minimum_next_bid: amount.plus(Amount::ONE),
        ends_at: received_at.plus_s(60),
        received_at,
        decided_at: received_at,
        hash: Hash(hash),
    };
    answer(true, accepted.receipt())
}
