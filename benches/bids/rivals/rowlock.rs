//! (d) A transaction of ordinary statements for each bid, the auction's row locked while it is
//! decided: the way most auction sites do it.
//!
//! Bids overtake each other on their way to the lock. Most would be refused as too low then, for
//! less work than an accepted one; so that every answer stands for the same rows as Hoga's, a bid
//! below the minimum is lifted to it here.

use actix_web::{HttpRequest, HttpResponse, post, web};
use deadpool_postgres::{Pool, Transaction};
use hoga::{
    domain::{
        auction::{Offer, Rejection},
        id::{AuctionId, UserId},
        money::{Amount, Money},
        time::Timestamp,
    },
    exchange::{AuctionRefusal, Figures},
    http::{
        auctions::bids::NewBidBody,
        kit::body::{self, IdempotencyKey, Json},
        kit::caller::Bidder,
        kit::problem::{Code, Problem},
    },
    log::{
        IncrementForm,
        hash::{Hash, entry_hash},
    },
    store::ReceiptKey,
    wall_clock,
};
use serde::Serialize;

use super::{Accepted, alias, answer, won};
use crate::Failed;

const FIND_RECEIPT: &str =
    "SELECT fingerprint, accepted, answer FROM receipts WHERE user_id = $1 AND key_hash = $2";
const LOCK: &str = "
    SELECT s.status, s.price, s.minimum_next_bid, s.bid_count, s.leader_alias, s.ends_at, s.seq,
           s.head_hash, a.seller_id, a.cap, a.increment
    FROM standings s JOIN auctions a ON a.id = s.auction_id
    WHERE s.auction_id = $1 FOR UPDATE OF s";
const INSERT_EVENT: &str = "
    INSERT INTO events (auction_id, seq, kind, at, data, private, hash)
    VALUES ($1, $2, 'bid.placed', $3, $4, $5, $6)";
const UPDATE_STANDING: &str = "
    UPDATE standings SET price = $2, minimum_next_bid = $3, bid_count = $4, leader_alias = $5,
        reserve_met = true, seq = $6, head_hash = $7
    WHERE auction_id = $1";
const INSERT_RECEIPT: &str = "
    INSERT INTO receipts (user_id, key_hash, fingerprint, accepted, answer, created_at)
    VALUES ($1, $2, $3, $4, $5, $6)";
const INSERT_OUTBOX: &str = "
    INSERT INTO outbox (auction_ids, first_seqs, last_seqs)
    VALUES (ARRAY[$1::uuid], ARRAY[$2::int8], ARRAY[$2::int8])";

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
    let bid = Bid { auction: id, bidder: bidder.0, amount, key, request_id, received_at };
    let (accepted, text) = bid.place(&pool).await.map_err(|error| {
        tracing::error!(%error, "a bid could not be placed");
        Problem::from(Code::Internal)
    })?;
    answer(accepted, text)
}

struct Bid {
    auction: AuctionId,
    bidder: UserId,
    amount: Amount,
    key: ReceiptKey,
    request_id: Option<String>,
    received_at: Timestamp,
}

/// The row that was locked.
struct Row {
    status: String,
    price: Amount,
    minimum_next_bid: Amount,
    bid_count: i32,
    leader_alias: Option<String>,
    ends_at: Timestamp,
    seq: i64,
    head: Hash,
    seller: UserId,
    cap: Amount,
    increment: String,
}

impl Bid {
    async fn place(&self, pool: &Pool) -> Result<(bool, String), Failed> {
        let mut client = pool.get().await?;
        let transaction = client.transaction().await?;
        if let Some(kept) = self.kept(&transaction).await? {
            return Ok(kept);
        }
        let row = self.lock(&transaction).await?;
        let decided_at = wall_clock::now();
        let (accepted, text) = match self.rejection(&row) {
            Some(rejection) => (false, self.refusal(rejection, &row)?),
            None => (true, self.accept(&transaction, &row, decided_at).await?),
        };
        let statement = transaction.prepare_cached(INSERT_RECEIPT).await?;
        let key = &self.key;
        transaction
            .execute(
                &statement,
                &[&key.user, &key.hash, &key.fingerprint, &accepted, &text, &decided_at],
            )
            .await?;
        transaction.commit().await?;
        Ok((accepted, text))
    }

    async fn kept(&self, transaction: &Transaction<'_>) -> Result<Option<(bool, String)>, Failed> {
        let statement = transaction.prepare_cached(FIND_RECEIPT).await?;
        let row = transaction.query_opt(&statement, &[&self.key.user, &self.key.hash]).await?;
        Ok(row.map(|row| (row.get(1), row.get(2))))
    }

    async fn lock(&self, transaction: &Transaction<'_>) -> Result<Row, Failed> {
        let statement = transaction.prepare_cached(LOCK).await?;
        let row = transaction.query_one(&statement, &[&self.auction]).await?;
        Ok(Row {
            status: row.get(0),
            price: row.get(1),
            minimum_next_bid: row.get(2),
            bid_count: row.get(3),
            leader_alias: row.get(4),
            ends_at: row.get(5),
            seq: row.get(6),
            head: Hash::from_slice(row.get(7)).ok_or("a hash has 32 bytes")?,
            seller: row.get(8),
            cap: row.get(9),
            increment: row.get(10),
        })
    }

    fn rejection(&self, row: &Row) -> Option<Rejection> {
        if row.status != "live" || self.received_at >= row.ends_at {
            Some(Rejection::AuctionEnded)
        } else if row.seller == self.bidder {
            Some(Rejection::OwnAuction)
        } else if self.amount > row.cap {
            Some(Rejection::OverCap { cap: row.cap })
        } else if row.leader_alias.as_ref() == Some(&alias(self.bidder)) {
            Some(Rejection::AlreadyLeading)
        } else {
            None
        }
    }

    fn refusal(&self, rejection: Rejection, row: &Row) -> Result<String, Failed> {
        let figures = Figures {
            seq: row.seq.unsigned_abs(),
            price: won(row.price),
            minimum_next_bid: Some(won(row.minimum_next_bid)),
            ends_at: row.ends_at,
        };
        let request_id = self.request_id.clone();
        Ok(serde_json::to_string(&AuctionRefusal { rejection, figures, request_id })?)
    }

    /// Writes the event, the standing and the outbox row; the receipt's text.
    async fn accept(
        &self,
        transaction: &Transaction<'_>,
        row: &Row,
        at: Timestamp,
    ) -> Result<String, Failed> {
        let form: IncrementForm = serde_json::from_str(&row.increment)?;
        let price = self.amount.max(row.minimum_next_bid);
        let (seq, minimum_next_bid) =
            (row.seq + 1, price.plus(form.into_increment()?.step(price, price)));
        let (data, private) = self.event(row, price, minimum_next_bid)?;
        let hash = entry_hash(self.auction, seq.unsigned_abs(), "bid.placed", at, &data, row.head);
        let head = &hash.0[..];
        let insert = transaction.prepare_cached(INSERT_EVENT).await?;
        transaction.execute(&insert, &[&self.auction, &seq, &at, &data, &private, &head]).await?;
        let update = transaction.prepare_cached(UPDATE_STANDING).await?;
        let (count, alias) = (row.bid_count + 1, alias(self.bidder));
        transaction
            .execute(
                &update,
                &[&self.auction, &price, &minimum_next_bid, &count, &alias, &seq, &head],
            )
            .await?;
        let outbox = transaction.prepare_cached(INSERT_OUTBOX).await?;
        transaction.execute(&outbox, &[&self.auction, &seq]).await?;
        let accepted = Accepted {
            auction: self.auction.0,
            seq: seq.unsigned_abs(),
            price,
            minimum_next_bid,
            ends_at: row.ends_at,
            received_at: self.received_at,
            decided_at: at,
            hash,
        };
        Ok(accepted.receipt())
    }

    fn event(
        &self,
        row: &Row,
        price: Amount,
        minimum_next_bid: Amount,
    ) -> Result<(String, String), Failed> {
        let alias = alias(self.bidder);
        let data = Data {
            amount: won(price),
            bid_count: row.bid_count + 1,
            bidder: &alias,
            ends_at: row.ends_at,
            leader_alias: &alias,
            minimum_next_bid: won(minimum_next_bid),
            outcome: "leading",
            price: won(price),
            received_at: self.received_at,
            reserve_met: true,
        };
        let salt: u128 = rand::random();
        let private =
            Private { bidder: self.bidder, leader_ceiling: price, salt: format!("{salt:032x}") };
        Ok((serde_json::to_string(&data)?, serde_json::to_string(&private)?))
    }
}

/// The public half of `bid.placed`.
#[derive(Serialize)]
struct Data<'a> {
    amount: Money,
    bid_count: i32,
    bidder: &'a str,
    ends_at: Timestamp,
    leader_alias: &'a str,
    minimum_next_bid: Money,
    outcome: &'a str,
    price: Money,
    received_at: Timestamp,
    reserve_met: bool,
}

/// Its private half.
#[derive(Serialize)]
struct Private {
    bidder: UserId,
    leader_ceiling: Amount,
    salt: String,
}
