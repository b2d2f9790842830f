//! A lane's transaction: what is read before the decisions, and what is written after them.
//!
//! One connection for each lane, unpooled. One statement for each batch, which is its own transaction:
//! what a statement costs beside its rows is paid once. Whether a request was answered before is found out by the key of `receipts`,
//! which refuses a second answer; only then are receipts looked up, in a round trip of their own.

use std::time::Duration;

use futures_util::try_join;
use tokio_postgres::{
    Client, Statement,
    error::{Severity, SqlState},
};

use crate::domain::{
    id::{AuctionId, UserId},
    money::Amount,
    time::Timestamp,
};
use crate::store::{
    log::receipts::{Receipt, ReceiptKey, receipt},
    market::catalogue::ItemRow,
};
use crate::{
    database_url::DatabaseUrl,
    store::connecting::{self, Connection, connect, patience},
};

/// No statement of a lane runs longer; a lane that waits is a queue that grows.
const STATEMENT_TIMEOUT_MS: &str = "10000";
/// No lock is waited for longer.
const LOCK_TIMEOUT_MS: &str = "5000";
/// How long a lane waits for its server to take the connection, to let it in, and to know its
/// statements: each of the three.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const FIND_RECEIPTS: &str = "
    SELECT k.place::int4, r.fingerprint, r.accepted, r.answer
    FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS k (user_id, key, place)
    JOIN receipts r ON r.user_id = k.user_id AND r.key = k.key
    ORDER BY k.place";

/// Everything that a batch writes; the number of its outbox row, if there are events. None of the
/// tables is read by another part, so it does not matter in which order Postgres writes them.
const WRITE: &str = "
    WITH written AS (
        INSERT INTO events (auction_id, seq, kind, at, data, private, hash)
        SELECT * FROM unnest($1::uuid[], $2::int8[], $3::text[], $4::timestamptz[], $5::text[],
                             $6::text[], $7::bytea[])
    ), moved AS (
        UPDATE standings s SET
            status = n.status, result = n.result, price = n.price,
            minimum_next_bid = n.minimum_next_bid, bid_count = n.bid_count,
            leader_alias = n.leader_alias, reserve_met = n.reserve_met,
            buy_now_stands = n.buy_now_stands, ends_at = n.ends_at, due_at = n.due_at, seq = n.seq,
            head_hash = n.head_hash, leader_id = n.leader_id, winner_id = n.winner_id,
            runner_up_id = n.runner_up_id
        FROM unnest($8::uuid[], $9::text[], $10::text[], $11::int8[], $12::int8[], $13::int4[],
                    $14::text[], $15::bool[], $16::bool[], $17::timestamptz[], $18::timestamptz[],
                    $19::int8[], $20::bytea[], $21::uuid[], $22::uuid[], $23::uuid[])
             AS n (auction_id, status, result, price, minimum_next_bid, bid_count, leader_alias,
                   reserve_met, buy_now_stands, ends_at, due_at, seq, head_hash, leader_id,
                   winner_id, runner_up_id)
        WHERE s.auction_id = n.auction_id
    ), answered AS (
        INSERT INTO receipts (user_id, key, fingerprint, accepted, answer, created_at)
        SELECT user_id, key, fingerprint, accepted, answer, $30
        FROM unnest($25::uuid[], $26::text[], $27::bytea[], $28::bool[], $29::text[])
             AS n (user_id, key, fingerprint, accepted, answer)
    )
    INSERT INTO outbox (auction_ids, first_seqs, last_seqs)
    SELECT $8::uuid[], $24::int8[], $19::int8[] WHERE cardinality($8::uuid[]) > 0 RETURNING id";

/// What lists are filtered and ordered by stands in `standings`.
const UPDATE_ITEMS: &str = "
    WITH listed AS (
        UPDATE standings SET category = $4::text, starts_at = $15::timestamptz
        WHERE auction_id = $1::uuid)
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

/// The same in another order.
struct OrderedReceipts<'a> {
    user_id: Vec<UserId>,
    key: Vec<&'a str>,
    fingerprint: Vec<&'a [u8]>,
    accepted: Vec<bool>,
    answer: Vec<&'a str>,
}

impl ReceiptColumns {
    /// All lanes write their rows in this one order: two that had the same two keys would else wait
    /// for each other, each having written what the other is about to.
    fn in_order_of_keys(&self) -> OrderedReceipts<'_> {
        let mut order: Vec<usize> = (0..self.key.len()).collect();
        order.sort_unstable_by_key(|place| (self.user_id[*place], self.key[*place].as_str()));
        OrderedReceipts {
            user_id: order.iter().map(|place| self.user_id[*place]).collect(),
            key: order.iter().map(|place| self.key[*place].as_str()).collect(),
            fingerprint: order.iter().map(|place| self.fingerprint[*place].as_slice()).collect(),
            accepted: order.iter().map(|place| self.accepted[*place]).collect(),
            answer: order.iter().map(|place| self.answer[*place].as_str()).collect(),
        }
    }
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
        match Verdict::of(db.code(), db.parsed_severity()) {
            Verdict::Conflict => {
                let constraint = db.constraint().unwrap_or_default().to_owned();
                Ok(CommitError::Conflict { constraint })
            }
            Verdict::Full => Ok(CommitError::Full(error)),
            Verdict::Refused => Ok(CommitError::Refused(error)),
            Verdict::Unsaid => Err(error),
        }
    }
}

/// What an error of Postgres says of the statement that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Undone: a row is there already.
    Conflict,
    /// Undone: there is no room.
    Full,
    /// Undone.
    Refused,
    /// The connection ends with it, or the whole server: what became of a COMMIT is not said.
    Unsaid,
}

impl Verdict {
    fn of(code: &SqlState, severity: Option<Severity>) -> Verdict {
        let ends_the_connection = match severity {
            Some(Severity::Panic | Severity::Fatal) => true,
            Some(
                Severity::Error
                | Severity::Warning
                | Severity::Notice
                | Severity::Debug
                | Severity::Info
                | Severity::Log,
            )
            | None => false,
        };
        let class = code.code().get(..2).unwrap_or_default();
        // Shut down by an administrator, or crashed.
        let going_down = class == "57" && *code != SqlState::QUERY_CANCELED;
        if ends_the_connection || going_down {
            Verdict::Unsaid
        } else if *code == SqlState::UNIQUE_VIOLATION {
            Verdict::Conflict
        } else if class == "53" {
            Verdict::Full
        } else {
            Verdict::Refused
        }
    }
}

/// Why a lane has no connection.
#[derive(Debug, thiserror::Error)]
pub enum LaneConnectError {
    /// Postgres does not take it, or its schema is not this version's.
    #[error("Postgres does not take the connection")]
    Postgres(#[from] tokio_postgres::Error),
    /// It took the connection, and then said nothing.
    #[error("Postgres did not answer within {0:?}")]
    Silent(Duration),
}

async fn within<T>(
    bound: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, LaneConnectError> {
    let answered = tokio::time::timeout(bound, answer).await;
    Ok(answered.map_err(|_| LaneConnectError::Silent(bound))??)
}

/// The connection of one lane, with its statements prepared.
pub struct BatchWriter {
    client: Client,
    find_receipts: Statement,
    write: Statement,
}

impl BatchWriter {
    /// Connects for one lane. The connection must be driven while the writer is used.
    ///
    /// # Errors
    /// When Postgres does not take the connection, or does not say within `CONNECT_TIMEOUT` that the
    /// lane may use it.
    pub async fn connect(
        url: &DatabaseUrl,
        lane: usize,
    ) -> Result<(Client, Connection), LaneConnectError> {
        BatchWriter::connect_within(patience(url), url, lane).await
    }

    async fn connect_within(
        bound: Duration,
        url: &DatabaseUrl,
        lane: usize,
    ) -> Result<(Client, Connection), LaneConnectError> {
        let mut config = url.postgres.clone();
        config.application_name(format!("hoga lane {lane}"));
        config.connect_timeout(CONNECT_TIMEOUT);
        config.tcp_user_timeout(Duration::from_secs(10));
        // A receipt must be on disk whatever the server's default; the plans must look rows up
        // by their keys whatever the statistics of a table that was empty a minute ago.
        let settings = connecting::settings(&[
            ("synchronous_commit", "on"),
            ("statement_timeout", STATEMENT_TIMEOUT_MS),
            ("lock_timeout", LOCK_TIMEOUT_MS),
            ("plan_cache_mode", "force_generic_plan"),
            ("jit", "off"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
        ]);
        within(bound, connect(url, &config, &settings)).await
    }

    /// Prepares the lane's statements.
    ///
    /// # Errors
    /// When the connection is lost or silent, or the schema is not this version's.
    pub async fn prepare(client: Client) -> Result<BatchWriter, LaneConnectError> {
        let prepared = async { try_join!(client.prepare(FIND_RECEIPTS), client.prepare(WRITE)) };
        let (find_receipts, write) = within(CONNECT_TIMEOUT, prepared).await?;
        Ok(BatchWriter { client, find_receipts, write })
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
        if rows.items.is_empty() {
            return self.write(rows, now).await.map_err(CommitError::at_commit);
        }
        let written = self.write_with_items(rows, now).await;
        if written.is_err() && self.client.batch_execute("ROLLBACK").await.is_err() {
            tracing::debug!("the connection went away with the transaction");
        }
        written
    }

    async fn write(
        &self,
        rows: &Rows,
        now: Timestamp,
    ) -> Result<Option<i64>, tokio_postgres::Error> {
        let (e, s) = (&rows.events, &rows.standings);
        if s.auction_id.is_empty() && rows.receipts.key.is_empty() {
            return Ok(None);
        }
        let r = rows.receipts.in_order_of_keys();
        let row = self
            .client
            .query_opt(
                &self.write,
                &[
                    &e.auction_id,
                    &e.seq,
                    &e.kind,
                    &e.at,
                    &e.data,
                    &e.private,
                    &e.hash,
                    &s.auction_id,
                    &s.status,
                    &s.result,
                    &s.price,
                    &s.minimum_next_bid,
                    &s.bid_count,
                    &s.leader_alias,
                    &s.reserve_met,
                    &s.buy_now_stands,
                    &s.ends_at,
                    &s.due_at,
                    &s.seq,
                    &s.head_hash,
                    &s.leader_id,
                    &s.winner_id,
                    &s.runner_up_id,
                    &s.first_seq,
                    &r.user_id,
                    &r.key,
                    &r.fingerprint,
                    &r.accepted,
                    &r.answer,
                    &now,
                ],
            )
            .await?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Items are edited rarely: they are written one by one, in a transaction with the rest.
    async fn write_with_items(
        &self,
        rows: &Rows,
        now: Timestamp,
    ) -> Result<Option<i64>, CommitError> {
        self.client.batch_execute("BEGIN").await.map_err(CommitError::before_commit)?;
        for item in &rows.items {
            self.client
                .execute(UPDATE_ITEMS, &item.params())
                .await
                .map_err(CommitError::before_commit)?;
        }
        let outbox_id = self.write(rows, now).await.map_err(CommitError::before_commit)?;
        self.client.batch_execute("COMMIT").await.map_err(CommitError::at_commit)?;
        Ok(outbox_id)
    }
}

fn known_receipt(row: &tokio_postgres::Row) -> Option<KnownReceipt> {
    let place = usize::try_from(row.get::<_, i32>(0)).ok()?.checked_sub(1)?;
    let receipt = receipt(row.get(1), row.get(2), row.get(3)).ok()?;
    Some(KnownReceipt { place, receipt })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_that_leaves_the_connection_says_that_a_batch_was_undone() {
        let verdict = |code: &SqlState, severity| Verdict::of(code, Some(severity));
        for code in [&SqlState::DISK_FULL, &SqlState::OUT_OF_MEMORY, &SqlState::UNIQUE_VIOLATION] {
            for severity in [Severity::Panic, Severity::Fatal] {
                assert_eq!(verdict(code, severity), Verdict::Unsaid, "{code:?} {severity:?}");
            }
        }
        assert_eq!(verdict(&SqlState::DISK_FULL, Severity::Error), Verdict::Full);
        assert_eq!(verdict(&SqlState::UNIQUE_VIOLATION, Severity::Error), Verdict::Conflict);
        assert_eq!(verdict(&SqlState::CHECK_VIOLATION, Severity::Error), Verdict::Refused);
        assert_eq!(verdict(&SqlState::QUERY_CANCELED, Severity::Error), Verdict::Refused);
        assert_eq!(verdict(&SqlState::ADMIN_SHUTDOWN, Severity::Error), Verdict::Unsaid);
    }

    #[tokio::test]
    async fn a_server_that_takes_the_connection_and_says_nothing_is_not_waited_for() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").user("hoga");
        config.port(silent.local_addr().expect("an address").port());
        let bound = Duration::from_millis(200);
        let url = config.into();
        let connecting = BatchWriter::connect_within(bound, &url, 0);
        let connected = tokio::time::timeout(Duration::from_secs(30), connecting).await;
        let error = connected.expect("it gives up by itself").err();
        assert!(matches!(error, Some(LaneConnectError::Silent(_))), "{error:?}");
    }
}
