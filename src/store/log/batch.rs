//! A lane's transaction: what is read before the decisions, and what is written after them.
//!
//! One connection for each lane, unpooled. Two ways to write: where decisions read nothing beside the
//! logs, one statement for each batch, which is its own transaction, so that what a statement costs
//! beside its rows is paid once; where they do, those rows are locked first. Whether a request was
//! answered before is found out by the key of `receipts`, which refuses a second answer; only then are
//! receipts looked up, in a round trip of their own.

use std::time::Duration;

use futures_util::try_join;
use tokio_postgres::{
    Client, Row, Statement,
    error::{Severity, SqlState},
    types::ToSql,
};
use uuid::Uuid;

use crate::domain::{
    id::{AuctionId, LogId, UserId},
    money::Amount,
    time::Timestamp,
};
use crate::store::{
    log::{
        events::EventRow,
        receipts::{Kept, Receipt, ReceiptKey},
        slots::Owned,
    },
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

/// Those that are there of some keys: a row for each, or for each event that it points at.
const FIND_RECEIPTS: &str = "
    SELECT k.place::int4, r.fingerprint, r.accepted, r.answer,
           e.auction_id, e.seq, e.kind, e.at, e.data, e.private, e.hash
    FROM unnest($1::uuid[], $2::int8[]) WITH ORDINALITY AS k (user_id, key_hash, place)
    JOIN receipts r ON r.user_id = k.user_id AND r.key_hash = k.key_hash
    LEFT JOIN events e
        ON e.auction_id = r.log_id AND e.seq >= r.seq AND e.seq < r.seq + r.events
    ORDER BY k.place, e.seq";

/// Rows beside the logs that decisions read or change, locked in one order so that no two lanes wait
/// for each other.
const LOCK_ITEMS: &str = "SELECT id FROM auctions WHERE id = ANY ($1) ORDER BY id FOR UPDATE";

/// The parameters of [`write_statement`] before those of its tables: owner, lane, and the time.
const PARAMETERS_BEFORE: usize = 3;

/// Columns of a table as one `unnest` makes rows of them: their names and types, and the numbers of
/// their parameters.
struct Columns {
    first: usize,
    columns: &'static [(&'static str, &'static str)],
}

impl Columns {
    /// Those that come after so many other parameters.
    const fn after(before: usize, columns: &'static [(&'static str, &'static str)]) -> Columns {
        Columns { first: before + 1, columns }
    }

    /// How many parameters there are up to the last of these.
    const fn last(&self) -> usize {
        self.first + self.columns.len() - 1
    }

    fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    fn unnest(&self) -> String {
        let parameters: Vec<String> = (self.first..)
            .zip(self.columns)
            .map(|(number, (_, of))| format!("${number}::{of}[]"))
            .collect();
        format!("unnest({}) AS n ({})", parameters.join(", "), self.names())
    }

    /// The parameter that is one of these columns, whole.
    fn array(&self, name: &str) -> String {
        let place = self.columns.iter().position(|(column, _)| *column == name);
        let place = place.expect("a column of this table");
        format!("${}::{}[]", self.first + place, self.columns[place].1)
    }
}

/// Everything that a batch writes, behind its lane's fence; whether that stands, and the number of the
/// batch's row in the outbox if there are events. None of the tables is read by another part, so it
/// does not matter in which order Postgres writes them. Where there is no fence nothing is written.
fn write_statement() -> String {
    let events = Columns::after(PARAMETERS_BEFORE, EventColumns::COLUMNS);
    let standings = Columns::after(events.last(), StandingColumns::COLUMNS);
    let receipts = Columns::after(standings.last(), ReceiptColumns::COLUMNS);
    format!(
        "WITH fence AS MATERIALIZED (
             SELECT 1 FROM fences WHERE owner = $1::int8 AND lane = $2::int2 FOR KEY SHARE
         ), written AS (
             INSERT INTO events ({event_names}) SELECT n.* FROM fence, {events}
         ), moved AS (
             UPDATE standings s SET {moved} FROM fence, {standings}
             WHERE s.auction_id = n.auction_id
         ), answered AS (
             INSERT INTO receipts ({receipt_names}, created_at)
             SELECT n.*, $3::timestamptz FROM fence, {receipts}
         ), noted AS (
             INSERT INTO outbox (auction_ids, first_seqs, last_seqs)
             SELECT {ids}, ${first_seqs}::int8[], {last_seqs}
             FROM fence WHERE cardinality({ids}) > 0 RETURNING id
         )
         SELECT EXISTS (SELECT 1 FROM fence), (SELECT id FROM noted)",
        event_names = events.names(),
        events = events.unnest(),
        moved = StandingColumns::COLUMNS[1..]
            .iter()
            .map(|(name, _)| format!("{name} = n.{name}"))
            .collect::<Vec<_>>()
            .join(", "),
        standings = standings.unnest(),
        receipt_names = receipts.names(),
        receipts = receipts.unnest(),
        ids = standings.array("auction_id"),
        last_seqs = standings.array("seq"),
        first_seqs = receipts.last() + 1,
    )
}

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

type Parameter<'a> = &'a (dyn ToSql + Sync);

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

impl EventColumns {
    const COLUMNS: &[(&str, &str)] = &[
        ("auction_id", "uuid"),
        ("seq", "int8"),
        ("kind", "text"),
        ("at", "timestamptz"),
        ("data", "text"),
        ("private", "text"),
        ("hash", "bytea"),
    ];

    fn parameters(&self) -> [Parameter<'_>; 7] {
        [&self.auction_id, &self.seq, &self.kind, &self.at, &self.data, &self.private, &self.hash]
    }
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

impl StandingColumns {
    const COLUMNS: &[(&str, &str)] = &[
        ("auction_id", "uuid"),
        ("status", "text"),
        ("result", "text"),
        ("price", "int8"),
        ("minimum_next_bid", "int8"),
        ("bid_count", "int4"),
        ("leader_alias", "text"),
        ("reserve_met", "bool"),
        ("buy_now_stands", "bool"),
        ("ends_at", "timestamptz"),
        ("due_at", "timestamptz"),
        ("seq", "int8"),
        ("head_hash", "bytea"),
        ("leader_id", "uuid"),
        ("winner_id", "uuid"),
        ("runner_up_id", "uuid"),
    ];

    fn parameters(&self) -> [Parameter<'_>; 16] {
        [
            &self.auction_id,
            &self.status,
            &self.result,
            &self.price,
            &self.minimum_next_bid,
            &self.bid_count,
            &self.leader_alias,
            &self.reserve_met,
            &self.buy_now_stands,
            &self.ends_at,
            &self.due_at,
            &self.seq,
            &self.head_hash,
            &self.leader_id,
            &self.winner_id,
            &self.runner_up_id,
        ]
    }
}

/// Columns of `receipts`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct ReceiptColumns {
    pub user_id: Vec<UserId>,
    pub key_hash: Vec<i64>,
    pub fingerprint: Vec<Uuid>,
    pub log_id: Vec<LogId>,
    pub seq: Vec<Option<i64>>,
    pub events: Vec<Option<i16>>,
    pub accepted: Vec<bool>,
    pub answer: Vec<Option<String>>,
}

/// The same in another order.
struct OrderedReceipts<'a> {
    user_id: Vec<UserId>,
    key_hash: Vec<i64>,
    fingerprint: Vec<Uuid>,
    log_id: Vec<LogId>,
    seq: Vec<Option<i64>>,
    events: Vec<Option<i16>>,
    accepted: Vec<bool>,
    answer: Vec<Option<&'a str>>,
}

impl OrderedReceipts<'_> {
    fn parameters(&self) -> [Parameter<'_>; 8] {
        [
            &self.user_id,
            &self.key_hash,
            &self.fingerprint,
            &self.log_id,
            &self.seq,
            &self.events,
            &self.accepted,
            &self.answer,
        ]
    }
}

impl ReceiptColumns {
    const COLUMNS: &[(&str, &str)] = &[
        ("user_id", "uuid"),
        ("key_hash", "int8"),
        ("fingerprint", "uuid"),
        ("log_id", "uuid"),
        ("seq", "int8"),
        ("events", "int2"),
        ("accepted", "bool"),
        ("answer", "text"),
    ];

    /// All lanes write their rows in this one order: two that had the same two keys would else wait
    /// for each other, each having written what the other is about to.
    fn in_order_of_keys(&self) -> OrderedReceipts<'_> {
        let mut order: Vec<usize> = (0..self.key_hash.len()).collect();
        order.sort_unstable_by_key(|place| (self.user_id[*place], self.key_hash[*place]));
        fn ordered<T: Copy>(order: &[usize], column: &[T]) -> Vec<T> {
            order.iter().map(|place| column[*place]).collect()
        }
        OrderedReceipts {
            user_id: ordered(&order, &self.user_id),
            key_hash: ordered(&order, &self.key_hash),
            fingerprint: ordered(&order, &self.fingerprint),
            log_id: ordered(&order, &self.log_id),
            seq: ordered(&order, &self.seq),
            events: ordered(&order, &self.events),
            accepted: ordered(&order, &self.accepted),
            answer: order.iter().map(|place| self.answer[*place].as_deref()).collect(),
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
    /// The fence of the lane does not stand: another server has taken over. Nothing was written.
    #[error("the logs of this batch belong to another server")]
    NotOwner,
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
    lane: i16,
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
    pub async fn prepare(client: Client, lane: usize) -> Result<BatchWriter, LaneConnectError> {
        let write = write_statement();
        let prepared = async { try_join!(client.prepare(FIND_RECEIPTS), client.prepare(&write)) };
        let (find_receipts, write) = within(CONNECT_TIMEOUT, prepared).await?;
        let lane = i16::try_from(lane).unwrap_or(i16::MAX);
        Ok(BatchWriter { client, lane, find_receipts, write })
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
        let hashes: Vec<i64> = keys.iter().map(|key| key.hash).collect();
        let found = self.client.query(&self.find_receipts, &[&users, &hashes]).await;
        let rows = found.map_err(CommitError::before_commit)?;
        Ok(known_receipts(&rows))
    }

    /// Writes the rows of decisions that read nothing beside the logs: one statement, which is its own
    /// transaction. The id of the outbox row, if there are events.
    ///
    /// # Errors
    /// [`CommitError::Unknown`] when it may have happened; otherwise nothing was written.
    pub async fn write_and_commit(
        &self,
        owned: &Owned,
        rows: &Rows,
        now: Timestamp,
    ) -> Result<Option<i64>, CommitError> {
        let owner = self.ready(owned)?;
        let written = self.write(owner, rows, now).await.map_err(CommitError::at_commit)?;
        behind_fence(written)
    }

    /// Begins a transaction for decisions that read or change rows beside the logs, and locks those.
    ///
    /// # Errors
    /// Nothing has been written when this fails, and no transaction is open.
    pub async fn begin_with(&self, owned: &Owned, logs: &[LogId]) -> Result<(), CommitError> {
        self.ready(owned)?;
        let locked = async {
            self.client.batch_execute("BEGIN").await?;
            self.client.execute(LOCK_ITEMS, &[&logs]).await
        };
        let locked = locked.await.map_err(CommitError::before_commit);
        if locked.is_err() {
            self.roll_back().await;
        }
        locked.map(|_| ())
    }

    /// Writes the rows in the transaction that [`BatchWriter::begin_with`] began, and commits it. The
    /// id of the outbox row, if there are events.
    ///
    /// # Errors
    /// [`CommitError::Unknown`] when it may have happened; otherwise nothing was written.
    pub async fn commit_with(
        &self,
        owned: &Owned,
        rows: &Rows,
        now: Timestamp,
    ) -> Result<Option<i64>, CommitError> {
        let written = self.write_within(owned, rows, now).await;
        if written.is_err() {
            self.roll_back().await;
        }
        written
    }

    /// Items are edited rarely: they are written one by one.
    async fn write_within(
        &self,
        owned: &Owned,
        rows: &Rows,
        now: Timestamp,
    ) -> Result<Option<i64>, CommitError> {
        let owner = self.ready(owned)?;
        for item in &rows.items {
            let updated = self.client.execute(UPDATE_ITEMS, &item.params()).await;
            updated.map_err(CommitError::before_commit)?;
        }
        let written = self.write(owner, rows, now).await.map_err(CommitError::before_commit)?;
        let outbox_id = behind_fence(written)?;
        self.client.batch_execute("COMMIT").await.map_err(CommitError::at_commit)?;
        Ok(outbox_id)
    }

    async fn roll_back(&self) {
        if self.client.batch_execute("ROLLBACK").await.is_err() {
            tracing::debug!("the connection went away with the transaction");
        }
    }

    /// The owner under whose number to write, if there is any sense in trying.
    fn ready(&self, owned: &Owned) -> Result<i64, CommitError> {
        if self.client.is_closed() {
            return Err(CommitError::Closed);
        }
        owned.owner().ok_or(CommitError::NotOwner)
    }

    async fn write(
        &self,
        owner: i64,
        rows: &Rows,
        now: Timestamp,
    ) -> Result<Row, tokio_postgres::Error> {
        let standings = &rows.standings;
        let receipts = rows.receipts.in_order_of_keys();
        let mut parameters: Vec<Parameter<'_>> = vec![&owner, &self.lane, &now];
        parameters.extend(rows.events.parameters());
        parameters.extend(standings.parameters());
        parameters.extend(receipts.parameters());
        parameters.push(&standings.first_seq);
        self.client.query_one(&self.write, &parameters).await
    }
}

/// The id of the outbox row, if there is one, of a statement that answered whether its fence stood.
fn behind_fence(written: Row) -> Result<Option<i64>, CommitError> {
    if written.get(0) { Ok(written.get(1)) } else { Err(CommitError::NotOwner) }
}

fn known_receipts(rows: &[Row]) -> Vec<KnownReceipt> {
    let place = |row: &Row| row.get::<_, i32>(0);
    rows.chunk_by(|one, other| place(one) == place(other))
        .filter_map(|rows| {
            let first = rows.first()?;
            let kept = match first.get::<_, Option<String>>(3) {
                Some(answer) => Kept::Text { accepted: first.get(2), answer },
                None => Kept::Events(rows.iter().filter_map(event_row).collect()),
            };
            let place = usize::try_from(place(first)).ok()?.checked_sub(1)?;
            Some(KnownReceipt { place, receipt: Receipt { fingerprint: first.get(1), kept } })
        })
        .collect()
}

/// The event of a row, if there is one.
fn event_row(row: &Row) -> Option<EventRow> {
    Some(EventRow {
        auction_id: row.get::<_, Option<AuctionId>>(4)?,
        seq: row.get(5),
        kind: row.get(6),
        at: row.get(7),
        data: row.get(8),
        private: row.get(9),
        hash: row.get(10),
    })
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
