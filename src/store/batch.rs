//! A lane's transaction: what is read before the decisions, and what is written after them.
//!
//! One connection for each lane, unpooled. One round trip for each batch: `BEGIN`, the writes and the
//! `COMMIT`, pipelined. Whether a request was answered before is found out by the key of `receipts`,
//! which refuses a second answer; only then are receipts looked up, in a round trip of their own.

use std::time::Duration;

use futures_util::{join, try_join};
use tokio_postgres::{
    Client, Connection, NoTls, Socket, Statement, error::SqlState, tls::NoTlsStream,
};

use super::{
    catalogue::ItemRow,
    receipts::{Receipt, ReceiptKey, receipt},
};
use crate::domain::{
    id::{AuctionId, UserId},
    money::Amount,
    time::Timestamp,
};

/// No statement of a lane runs longer; a lane that waits is a queue that grows.
const STATEMENT_TIMEOUT_MS: u32 = 10_000;
/// No lock is waited for longer.
const LOCK_TIMEOUT_MS: u32 = 5_000;
/// How long a lane waits for its server to take the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const FIND_RECEIPTS: &str = "
    SELECT k.place::int4, r.fingerprint, r.accepted, r.answer
    FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS k (user_id, key, place)
    JOIN receipts r ON r.user_id = k.user_id AND r.key = k.key
    ORDER BY k.place";

const INSERT_EVENTS: &str = "
    INSERT INTO events (auction_id, seq, kind, at, data, private, hash)
    SELECT * FROM unnest($1::uuid[], $2::int8[], $3::text[], $4::timestamptz[], $5::text[],
                         $6::text[], $7::bytea[])";

const UPDATE_STANDINGS: &str = "
    UPDATE standings s SET
        status = n.status, result = n.result, price = n.price,
        minimum_next_bid = n.minimum_next_bid, bid_count = n.bid_count,
        leader_alias = n.leader_alias, reserve_met = n.reserve_met,
        buy_now_stands = n.buy_now_stands, ends_at = n.ends_at, due_at = n.due_at, seq = n.seq,
        head_hash = n.head_hash, leader_id = n.leader_id, winner_id = n.winner_id,
        runner_up_id = n.runner_up_id
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int8[], $5::int8[], $6::int4[], $7::text[],
                $8::bool[], $9::bool[], $10::timestamptz[], $11::timestamptz[], $12::int8[],
                $13::bytea[], $14::uuid[], $15::uuid[], $16::uuid[])
         AS n (auction_id, status, result, price, minimum_next_bid, bid_count, leader_alias,
               reserve_met, buy_now_stands, ends_at, due_at, seq, head_hash, leader_id, winner_id,
               runner_up_id)
    WHERE s.auction_id = n.auction_id";

const INSERT_RECEIPTS: &str = "
    INSERT INTO receipts (user_id, key, fingerprint, accepted, answer, created_at)
    SELECT user_id, key, fingerprint, accepted, answer, $6
    FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::bool[], $5::text[])
         AS n (user_id, key, fingerprint, accepted, answer)";

const INSERT_OUTBOX: &str = "
    INSERT INTO outbox (auction_ids, first_seqs, last_seqs)
    VALUES ($1::uuid[], $2::int8[], $3::int8[]) RETURNING id";

const UPDATE_ITEMS: &str = "
    UPDATE auctions a SET
        title = n.title, description = n.description, category = n.category,
        image_keys = n.image_keys, attributes = n.attributes, currency = n.currency,
        opening_price = n.opening_price, increment = n.increment, reserve_price = n.reserve_price,
        buy_now_price = n.buy_now_price, bids_per_bidder_max = n.bids_per_bidder_max, cap = n.cap,
        soft_close = n.soft_close, starts_at = n.starts_at
    FROM (SELECT $1::uuid AS id, $2::text AS title, $3::text AS description, $4::text AS category,
                 $5::text AS image_keys, $6::text AS attributes, $7::text AS currency,
                 $8::int8 AS opening_price, $9::text AS increment, $10::int8 AS reserve_price,
                 $11::int8 AS buy_now_price, $12::int4 AS bids_per_bidder_max, $13::int8 AS cap,
                 $14::text AS soft_close, $15::timestamptz AS starts_at) n
    WHERE a.id = n.id";

/// What a batch writes, column by column, as `unnest` takes it.
#[derive(Debug, Default)]
pub struct Rows {
    /// The events.
    pub events: EventColumns,
    /// Where each touched auction stands afterwards.
    pub standings: StandingColumns,
    /// The answers to keep.
    pub receipts: ReceiptColumns,
    /// New items and terms: rare, so a statement each.
    pub items: Vec<ItemRow>,
}

/// Columns of `events`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct EventColumns {
    pub auction_id: Vec<AuctionId>,
    pub seq: Vec<i64>,
    pub kind: Vec<&'static str>,
    pub at: Vec<Timestamp>,
    pub data: Vec<String>,
    pub private: Vec<Option<String>>,
    pub hash: Vec<Vec<u8>>,
}

/// Columns of `standings`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct StandingColumns {
    pub auction_id: Vec<AuctionId>,
    pub status: Vec<&'static str>,
    pub result: Vec<Option<&'static str>>,
    pub price: Vec<Amount>,
    pub minimum_next_bid: Vec<Option<Amount>>,
    pub bid_count: Vec<i32>,
    pub leader_alias: Vec<Option<String>>,
    pub reserve_met: Vec<bool>,
    pub buy_now_stands: Vec<bool>,
    pub ends_at: Vec<Timestamp>,
    pub due_at: Vec<Option<Timestamp>>,
    pub seq: Vec<i64>,
    pub head_hash: Vec<Vec<u8>>,
    pub leader_id: Vec<Option<UserId>>,
    pub winner_id: Vec<Option<UserId>>,
    pub runner_up_id: Vec<Option<UserId>>,
    /// For the outbox: the first sequence number that this batch wrote.
    pub first_seq: Vec<i64>,
}

/// Columns of `receipts`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct ReceiptColumns {
    pub user_id: Vec<UserId>,
    pub key: Vec<String>,
    pub fingerprint: Vec<Vec<u8>>,
    pub accepted: Vec<bool>,
    pub answer: Vec<String>,
}

/// A receipt that was there before the batch.
#[derive(Debug, Clone)]
pub struct KnownReceipt {
    /// Of the key it belongs to, in the list that was asked for.
    pub place: usize,
    /// The kept answer.
    pub receipt: Receipt,
}

/// Why a batch has not been committed, as far as one can know.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A row is there already: another writer wrote the same log, or answered the same key.
    #[error("the constraint {constraint} refuses a row of the batch")]
    Conflict {
        /// Its name.
        constraint: String,
    },
    /// Postgres refused for another reason; nothing was written.
    #[error("Postgres refused the batch")]
    Refused(#[source] tokio_postgres::Error),
    /// Postgres has no room; nothing was written.
    #[error("Postgres has no room for the batch")]
    Full(#[source] tokio_postgres::Error),
    /// The connection was gone already; nothing was sent.
    #[error("there is no connection to Postgres")]
    Closed,
    /// The connection was lost before the commit was sent; nothing was written.
    #[error("the connection to Postgres was lost before the commit")]
    NotSent(#[source] tokio_postgres::Error),
    /// The connection was lost while the commit was under way: it may have happened or not.
    #[error("the connection to Postgres was lost during the commit")]
    Unknown(#[source] tokio_postgres::Error),
}

impl CommitError {
    /// Whether a request of the batch was answered before.
    pub fn is_repeat(&self) -> bool {
        matches!(self, CommitError::Conflict { constraint } if constraint == "receipts_pkey")
    }

    fn before_commit(error: tokio_postgres::Error) -> CommitError {
        CommitError::answered(error).unwrap_or_else(CommitError::NotSent)
    }

    fn at_commit(error: tokio_postgres::Error) -> CommitError {
        CommitError::answered(error).unwrap_or_else(CommitError::Unknown)
    }

    /// Postgres answered, so the transaction is over and undone; or it did not.
    fn answered(error: tokio_postgres::Error) -> Result<CommitError, tokio_postgres::Error> {
        let Some(db) = error.as_db_error() else { return Err(error) };
        if *db.code() == SqlState::UNIQUE_VIOLATION {
            let constraint = db.constraint().unwrap_or_default().to_owned();
            return Ok(CommitError::Conflict { constraint });
        }
        let class = &db.code().code()[..2];
        let going_down = class == "57" && *db.code() != SqlState::QUERY_CANCELED;
        match class {
            "53" => Ok(CommitError::Full(error)),
            // Shut down by an administrator or crashed: what became of a COMMIT is not said.
            _ if going_down => Err(error),
            _ => Ok(CommitError::Refused(error)),
        }
    }
}

/// The connection of one lane, with its statements prepared.
pub struct BatchWriter {
    client: Client,
    find_receipts: Statement,
    insert_events: Statement,
    update_standings: Statement,
    insert_receipts: Statement,
    insert_outbox: Statement,
}

impl BatchWriter {
    /// Connects for one lane. The connection must be driven while the writer is used.
    ///
    /// # Errors
    /// When Postgres does not take the connection.
    pub async fn connect(
        config: &tokio_postgres::Config,
        lane: usize,
    ) -> Result<(Client, Connection<Socket, NoTlsStream>), tokio_postgres::Error> {
        let mut config = config.clone();
        config.application_name(format!("hoga lane {lane}"));
        config.connect_timeout(CONNECT_TIMEOUT);
        config.tcp_user_timeout(Duration::from_secs(10));
        // A receipt must be on disk whatever the server's default; the plans must look rows up
        // by their keys whatever the statistics of a table that was empty a minute ago.
        config.options(format!(
            "-c synchronous_commit=on -c statement_timeout={STATEMENT_TIMEOUT_MS} \
             -c lock_timeout={LOCK_TIMEOUT_MS} -c plan_cache_mode=force_generic_plan -c jit=off \
             -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
        ));
        config.connect(NoTls).await
    }

    /// Prepares the lane's statements.
    ///
    /// # Errors
    /// When the connection is lost or the schema is not this version's.
    pub async fn prepare(client: Client) -> Result<BatchWriter, tokio_postgres::Error> {
        let (find_receipts, insert_events, update_standings, insert_receipts, insert_outbox) = try_join!(
            client.prepare(FIND_RECEIPTS),
            client.prepare(INSERT_EVENTS),
            client.prepare(UPDATE_STANDINGS),
            client.prepare(INSERT_RECEIPTS),
            client.prepare(INSERT_OUTBOX),
        )?;
        Ok(BatchWriter {
            client,
            find_receipts,
            insert_events,
            update_standings,
            insert_receipts,
            insert_outbox,
        })
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The receipts that are there already for some of these keys.
    ///
    /// # Errors
    /// Nothing has been written when this fails.
    pub async fn find_receipts(
        &self,
        keys: &[ReceiptKey],
    ) -> Result<Vec<KnownReceipt>, CommitError> {
        let users: Vec<UserId> = keys.iter().map(|key| key.user).collect();
        let names: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
        let found = self.client.query(&self.find_receipts, &[&users, &names]).await;
        let rows = found.map_err(CommitError::before_commit)?;
        Ok(rows.iter().filter_map(known_receipt).collect())
    }

    /// Writes the rows and commits. The id of the outbox row, if there are events.
    ///
    /// # Errors
    /// [`CommitError::Unknown`] when it may have happened; otherwise nothing was written.
    pub async fn write_and_commit(
        &self,
        rows: &Rows,
        now: Timestamp,
    ) -> Result<Option<i64>, CommitError> {
        if self.client.is_closed() {
            return Err(CommitError::Closed);
        }
        let is_begun = self.update_items(&rows.items).await?;
        // The futures are polled, and so their statements sent, in this order.
        let (begun, events, standings, receipts, outbox, committed) = join!(
            async { if is_begun { Ok(()) } else { self.client.batch_execute("BEGIN").await } },
            self.insert_events(&rows.events),
            self.update_standings(&rows.standings),
            self.insert_receipts(&rows.receipts, now),
            self.insert_outbox(&rows.standings),
            self.client.batch_execute("COMMIT"),
        );
        // The first failure is the cause; those after it only say that the transaction is aborted.
        begun.map_err(CommitError::at_commit)?;
        events.map_err(CommitError::at_commit)?;
        standings.map_err(CommitError::at_commit)?;
        receipts.map_err(CommitError::at_commit)?;
        let outbox_id = outbox.map_err(CommitError::at_commit)?;
        committed.map_err(CommitError::at_commit)?;
        Ok(outbox_id)
    }

    /// Ends a transaction that came to nothing.
    ///
    /// # Errors
    /// When the connection is gone, and the transaction with it.
    pub async fn rollback(&self) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute("ROLLBACK").await
    }

    /// Items are edited rarely: the transaction is begun for them, if there are any, and they are
    /// written one by one. Whether it was begun.
    async fn update_items(&self, items: &[ItemRow]) -> Result<bool, CommitError> {
        if items.is_empty() {
            return Ok(false);
        }
        self.client.batch_execute("BEGIN").await.map_err(CommitError::before_commit)?;
        for item in items {
            self.client
                .execute(UPDATE_ITEMS, &item.params())
                .await
                .map_err(CommitError::before_commit)?;
        }
        Ok(true)
    }

    async fn insert_events(&self, rows: &EventColumns) -> Result<u64, tokio_postgres::Error> {
        if rows.seq.is_empty() {
            return Ok(0);
        }
        self.client
            .execute(
                &self.insert_events,
                &[
                    &rows.auction_id,
                    &rows.seq,
                    &rows.kind,
                    &rows.at,
                    &rows.data,
                    &rows.private,
                    &rows.hash,
                ],
            )
            .await
    }

    async fn update_standings(&self, rows: &StandingColumns) -> Result<u64, tokio_postgres::Error> {
        if rows.auction_id.is_empty() {
            return Ok(0);
        }
        self.client
            .execute(
                &self.update_standings,
                &[
                    &rows.auction_id,
                    &rows.status,
                    &rows.result,
                    &rows.price,
                    &rows.minimum_next_bid,
                    &rows.bid_count,
                    &rows.leader_alias,
                    &rows.reserve_met,
                    &rows.buy_now_stands,
                    &rows.ends_at,
                    &rows.due_at,
                    &rows.seq,
                    &rows.head_hash,
                    &rows.leader_id,
                    &rows.winner_id,
                    &rows.runner_up_id,
                ],
            )
            .await
    }

    async fn insert_receipts(
        &self,
        rows: &ReceiptColumns,
        now: Timestamp,
    ) -> Result<u64, tokio_postgres::Error> {
        if rows.key.is_empty() {
            return Ok(0);
        }
        self.client
            .execute(
                &self.insert_receipts,
                &[&rows.user_id, &rows.key, &rows.fingerprint, &rows.accepted, &rows.answer, &now],
            )
            .await
    }

    async fn insert_outbox(
        &self,
        rows: &StandingColumns,
    ) -> Result<Option<i64>, tokio_postgres::Error> {
        if rows.auction_id.is_empty() {
            return Ok(None);
        }
        let row = self
            .client
            .query_one(&self.insert_outbox, &[&rows.auction_id, &rows.first_seq, &rows.seq])
            .await?;
        Ok(Some(row.get(0)))
    }
}

fn known_receipt(row: &tokio_postgres::Row) -> Option<KnownReceipt> {
    let place = usize::try_from(row.get::<_, i32>(0)).ok()?.checked_sub(1)?;
    let receipt = receipt(row.get(1), row.get(2), row.get(3)).ok()?;
    Some(KnownReceipt { place, receipt })
}
