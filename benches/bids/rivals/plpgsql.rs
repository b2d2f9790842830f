//! (e) One call of a PL/pgSQL function for each bid: no round trips while the row is locked. The
//! function builds the log entry's text and hashes it itself (`place_bid.sql`).

use actix_web::{HttpRequest, HttpResponse, post, web};
use deadpool_postgres::Pool;
use hoga::{
    domain::auction::Offer,
    http::{
        auctions::bids::NewBidBody,
        kit::body::{self, IdempotencyKey, Json},
        kit::caller::Bidder,
        kit::problem::{Code, Problem},
    },
    wall_clock,
};
use tokio_postgres::types::ToSql;

use super::{alias, answer};
use crate::Failed;

const FUNCTION: &str = include_str!("place_bid.sql");
const PLACE_BID: &str =
    "SELECT accepted, answer FROM bench_place_bid($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// Makes the function.
pub async fn create_function(config: &tokio_postgres::Config) -> Result<(), Failed> {
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client.batch_execute(FUNCTION).await?)
}

#[post("/auctions/{id}/bids")]
pub async fn place_bid(
    pool: web::Data<Pool>,
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
    let salt: u128 = rand::random();
    let (fingerprint, salt) = (key.fingerprint, format!("{salt:032x}"));
    let (user, alias, hash) = (key.user, alias(bidder.0), key.hash);
    let params: [&(dyn ToSql + Sync); 9] =
        [&id, &user, &alias, &hash, &fingerprint, &amount, &salt, &received_at, &request_id];
    let (accepted, text) = call(&pool, &params).await.map_err(|error| {
        tracing::error!(%error, "a bid could not be placed");
        Problem::from(Code::Internal)
    })?;
    answer(accepted, text)
}

async fn call(pool: &Pool, params: &[&(dyn ToSql + Sync)]) -> Result<(bool, String), Failed> {
    let client = pool.get().await?;
    let statement = client.prepare_cached(PLACE_BID).await?;
    let row = client.query_one(&statement, params).await?;
    Ok((row.get(0), row.get(1)))
}
