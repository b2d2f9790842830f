//! Deliveries: which event is to be told to which webhook, and what became of it.
//!
//! Work is claimed for a whole webhook, by moving its `busy_until` into the future: so one server
//! works on it at a time, in order, and one that dies in between loses nothing.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::{id::AuctionId, time::Timestamp};
use crate::store::{PublicEventRow, Store, StoreError};

/// Attempts that are remembered of each delivery; the first ones give way.
pub const ATTEMPTS_KEPT_MAX: i32 = 50;
/// Deliveries that may wait for a webhook after a replay: the rest of its bound is left to what is new.
pub const REPLAYED_WAITING_MAX: i64 = 5_000;
/// Deliveries that are noted in one statement.
const NOTED_AT_ONCE_MAX: usize = 5_000;
/// Waiting deliveries that are counted.
const WAITING_COUNTED_MAX: i64 = 100_000;

/// An event to tell to a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// UUIDv7.
    pub id: Uuid,
    /// To whom.
    pub webhook: Uuid,
    /// Of which auction.
    pub auction: AuctionId,
    /// Its place in the log.
    pub seq: i64,
    /// Such as `bid.placed`.
    pub kind: String,
}

/// A webhook that was claimed, with what there is to know for telling it something.
pub struct ClaimedWebhook {
    /// Which.
    pub id: Uuid,
    /// Whose.
    pub client_id: String,
    /// Where. Not for logs.
    pub url: String,
    /// What signs.
    pub secret: Vec<u8>,
    /// What signs too.
    pub old_secret: Option<Vec<u8>>,
    /// Since when nothing has arrived.
    pub failing_since: Option<Timestamp>,
    /// Turns in a row in which nothing arrived.
    pub failures: i32,
}

/// Something that is due.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    /// Which.
    pub id: Uuid,
    /// Such as `bid.placed`.
    pub kind: String,
    /// Attempts before this one, since it was noted or replayed.
    pub attempts: i32,
    /// Since when.
    pub created_at: Timestamp,
    /// Of which auction, and its place in the log; none for a test.
    pub cause: Option<(AuctionId, i64)>,
    /// The event; none for a test.
    pub event: Option<PublicEventRow>,
}

/// What becomes of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterAttempt {
    /// It has arrived.
    Delivered,
    /// It is tried again then.
    Later(Timestamp),
    /// It is not tried again.
    Failed,
}

/// An attempt that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptMade {
    /// Of which delivery.
    pub delivery: Uuid,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took_ms: i32,
    /// Of the answer.
    pub status: Option<i32>,
    /// Why it failed.
    pub error: Option<String>,
    /// What becomes of it.
    pub after: AfterAttempt,
}

/// How a webhook stands after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookStanding {
    /// What was told last has arrived, or nothing was told.
    Well,
    /// Nothing arrived: since then, so many turns in a row.
    Failing {
        /// Since when.
        since: Timestamp,
        /// Turns in a row.
        failures: i32,
    },
    /// It is told nothing more: `gone` or `failing`.
    Disabled(&'static str),
}

/// A delivery as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Rises with every one of them.
    pub id: Uuid,
    /// Such as `bid.placed`.
    pub kind: String,
    /// Of which auction, and its place in the log; none for a test.
    pub cause: Option<(AuctionId, i64)>,
    /// `waiting`, `delivered` or `failed`.
    pub status: String,
    /// Of all times.
    pub attempts_made: i32,
    /// While it waits.
    pub next_attempt_at: Option<Timestamp>,
    /// Since when.
    pub created_at: Timestamp,
    /// When it arrived or was given up.
    pub done_at: Option<Timestamp>,
}

/// An attempt that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// From 1.
    pub number: i32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took_ms: i32,
    /// Of the answer.
    pub status: Option<i32>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Deliveries.
    pub count: i64,
    /// The last of them, or where it was to begin, if there may be more.
    pub go_on_after: Option<Uuid>,
    /// Whether it ended because enough waits for the webhook already.
    pub is_full: bool,
}

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveriesWaiting {
    /// Webhooks that are enabled.
    pub webhooks: i64,
    /// Those of them that fail.
    pub failing: i64,
    /// Deliveries of all webhooks, disabled ones too, up to a hundred thousand.
    pub deliveries: i64,
    /// Of what each enabled webhook is told next, when the oldest was noted.
    pub oldest: Option<Timestamp>,
}

/// The rows are locked so that none is deleted before what refers to it is there.
const NOTE: &str = "
    WITH there AS (
        SELECT id FROM webhooks WHERE id = ANY ($2::uuid[]) AND removed_at IS NULL
        ORDER BY id FOR KEY SHARE)
    INSERT INTO webhook_deliveries
        (id, webhook_id, auction_id, seq, kind, status, next_attempt_at, created_at)
    SELECT n.id, n.webhook_id, n.auction_id, n.seq, n.kind, 'waiting', $6, $6
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int8[], $5::text[])
        AS n (id, webhook_id, auction_id, seq, kind)
    JOIN there ON there.id = n.webhook_id
    ON CONFLICT ON CONSTRAINT webhook_deliveries_event_key DO NOTHING";

const NOTE_SKIPPED: &str = "
    UPDATE webhooks w SET skipped = w.skipped + n.count, skipped_at = $3
    FROM unnest($1::uuid[], $2::int8[]) AS n (id, count) WHERE w.id = n.id";

const NOTE_TEST: &str = "
    INSERT INTO webhook_deliveries (id, webhook_id, kind, status, next_attempt_at, created_at)
    SELECT $2, id, $3, 'waiting', $4, $4 FROM webhooks WHERE id = $1 AND removed_at IS NULL";

/// Who was served longest ago comes first.
const CLAIM: &str = "
    WITH due AS (
        SELECT w.id FROM webhooks w JOIN clients c ON c.id = w.client_id
        WHERE w.removed_at IS NULL AND w.disabled_at IS NULL AND c.disabled_at IS NULL
          AND w.busy_until <= $1 AND (w.failing_since IS NOT NULL) = $3
          AND EXISTS (SELECT FROM webhook_deliveries d
                      WHERE d.webhook_id = w.id AND d.status = 'waiting'
                        AND d.next_attempt_at <= $1)
        ORDER BY w.busy_until, w.id LIMIT $4 FOR UPDATE OF w SKIP LOCKED)
    UPDATE webhooks w SET busy_until = $2 FROM due WHERE w.id = due.id
    RETURNING w.id, w.client_id, w.url, w.secret,
        CASE WHEN w.old_secret_until > $1 THEN w.old_secret END, w.failing_since, w.failures";

const DUE: &str = "
    SELECT d.id, d.kind, d.attempts, d.created_at, d.auction_id, d.seq,
           e.kind, e.at, e.data, e.hash
    FROM webhook_deliveries d
    LEFT JOIN events e ON e.auction_id = d.auction_id AND e.seq = d.seq
    WHERE d.webhook_id = $1 AND d.status = 'waiting' AND d.next_attempt_at <= $2
    ORDER BY d.next_attempt_at, d.id LIMIT $3";

/// One that somebody else has settled meanwhile stays settled, and one that was removed gone.
const RECORD: &str = "
    WITH n AS (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[],
                             $5::int4[], $6::int4[], $7::text[])
            AS n (id, outcome, next_at, at, took_ms, status, error)),
    done AS (
        UPDATE webhook_deliveries d SET status = n.outcome, attempts = d.attempts + 1,
            attempts_made = d.attempts_made + 1,
            next_attempt_at = coalesce(n.next_at, d.next_attempt_at),
            done_at = CASE WHEN n.outcome <> 'waiting' THEN n.at END
        FROM n WHERE d.id = n.id AND d.status = 'waiting'
        RETURNING d.id, d.attempts_made)
    INSERT INTO webhook_attempts (delivery_id, slot, number, at, took_ms, status, error)
    SELECT n.id, done.attempts_made % $8, done.attempts_made, n.at, n.took_ms, n.status, n.error
    FROM n JOIN done ON done.id = n.id
    ON CONFLICT (delivery_id, slot) DO UPDATE SET number = EXCLUDED.number, at = EXCLUDED.at,
        took_ms = EXCLUDED.took_ms, status = EXCLUDED.status, error = EXCLUDED.error";

/// Nothing that an operator changed meanwhile is changed back: one that was enabled or disabled in
/// between has another `busy_until` or stays disabled.
const RELEASE: &str = "
    UPDATE webhooks SET busy_until = $2, failing_since = $3, failures = $4,
        disabled_because = CASE WHEN disabled_at IS NULL THEN $5 ELSE disabled_because END,
        disabled_at = CASE WHEN disabled_at IS NULL AND $5::text IS NOT NULL
                           THEN $6::timestamptz ELSE disabled_at END
    WHERE id = $1 AND busy_until = $7";

const LIST: &str = "
    SELECT id, kind, auction_id, seq, status, attempts_made, next_attempt_at, created_at, done_at
    FROM webhook_deliveries
    WHERE webhook_id = $1 AND id < $2 AND ($3::text IS NULL OR status = $3)
    ORDER BY id DESC LIMIT $4";

const FIND: &str = "
    SELECT id, kind, auction_id, seq, status, attempts_made, next_attempt_at, created_at, done_at
    FROM webhook_deliveries WHERE webhook_id = $1 AND id = $2";

const ATTEMPTS: &str = "
    SELECT number, at, took_ms, status, error FROM webhook_attempts
    WHERE delivery_id = $1 ORDER BY number";

const REPLAY_ONE: &str = "
    UPDATE webhook_deliveries SET status = 'waiting', attempts = 0, next_attempt_at = $3,
        done_at = NULL
    WHERE webhook_id = $1 AND id = $2";

/// What waits is left alone: it comes anyway.
const REPLAY_MANY: &str = "
    WITH room AS (
        SELECT least($5, $6::int8 - (
            SELECT count(*) FROM (
                SELECT FROM webhook_deliveries
                WHERE webhook_id = $1 AND status = 'waiting' LIMIT $6) w)) AS rows),
    chosen AS (
        SELECT id FROM webhook_deliveries
        WHERE webhook_id = $1 AND id > $2 AND status <> 'waiting' AND ($3 OR status = 'failed')
        ORDER BY id LIMIT (SELECT rows FROM room)),
    replayed AS (
        UPDATE webhook_deliveries d SET status = 'waiting', attempts = 0, next_attempt_at = $4,
            done_at = NULL
        FROM chosen WHERE d.id = chosen.id RETURNING d.id)
    SELECT count(*), max(id::text)::uuid, (SELECT rows FROM room) FROM replayed";

const PURGE: &str = "
    DELETE FROM webhook_deliveries
    WHERE id IN (SELECT id FROM webhook_deliveries WHERE id < $1 ORDER BY id LIMIT $2)";

const PURGE_OF_REMOVED: &str = "
    DELETE FROM webhook_deliveries WHERE id IN (
        SELECT d.id FROM webhooks w JOIN webhook_deliveries d ON d.webhook_id = w.id
        WHERE w.removed_at IS NOT NULL LIMIT $1)";

const PURGE_REMOVED: &str = "
    DELETE FROM webhooks w WHERE w.removed_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id)";

/// The oldest is among what each webhook is told next: what was tried already comes later.
const WAITING: &str = "
    SELECT count(*), count(failing_since),
           (SELECT count(*) FROM (
                SELECT FROM webhook_deliveries WHERE status = 'waiting' LIMIT $1) d),
           (SELECT min(o.created_at) FROM webhooks w CROSS JOIN LATERAL (
                SELECT d.created_at FROM webhook_deliveries d
                WHERE d.webhook_id = w.id AND d.status = 'waiting'
                ORDER BY d.next_attempt_at, d.id LIMIT 1) o
            WHERE w.removed_at IS NULL AND w.disabled_at IS NULL)
    FROM webhooks WHERE removed_at IS NULL AND disabled_at IS NULL";

const HEARD_UNTIL: &str = "SELECT heard_until FROM webhook_progress";

const HAVE_HEARD: &str = "
    INSERT INTO webhook_progress AS p (heard_until) VALUES ($1)
    ON CONFLICT (is_the_only_row) DO UPDATE SET heard_until = excluded.heard_until
    WHERE p.heard_until < excluded.heard_until";

/// Every UUIDv7 of that time or later is above it, and every earlier one below.
pub fn first_id_of(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    Uuid::from_u128(u128::from(millis & 0xffff_ffff_ffff) << 80)
}

fn cause(auction: Option<AuctionId>, seq: Option<i64>) -> Option<(AuctionId, i64)> {
    auction.zip(seq)
}

fn delivery(row: &tokio_postgres::Row) -> DeliveryRow {
    let status: String = row.get(4);
    DeliveryRow {
        id: row.get(0),
        kind: row.get(1),
        cause: cause(row.get(2), row.get(3)),
        attempts_made: row.get(5),
        next_attempt_at: (status == "waiting").then(|| row.get(6)),
        status,
        created_at: row.get(7),
        done_at: row.get(8),
    }
}

fn due(row: &tokio_postgres::Row) -> DueDelivery {
    let cause = cause(row.get(4), row.get(5));
    let kind: Option<String> = row.get(6);
    let event = cause.zip(kind).map(|((auction_id, seq), kind)| PublicEventRow {
        auction_id,
        seq,
        kind,
        at: row.get(7),
        data: row.get(8),
        hash: row.get(9),
    });
    DueDelivery {
        id: row.get(0),
        kind: row.get(1),
        attempts: row.get(2),
        created_at: row.get(3),
        cause,
        event,
    }
}

impl Store {
    /// Notes what is to be told; how much. What was noted before, or whose webhook is gone, is left
    /// out.
    ///
    /// # Errors
    /// When Postgres cannot be asked; noted again, it is noted once.
    pub async fn note_deliveries(
        &self,
        new: &[NewDelivery],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(NOTE).await?;
        let mut noted = 0;
        for new in new.chunks(NOTED_AT_ONCE_MAX) {
            let ids: Vec<Uuid> = new.iter().map(|new| new.id).collect();
            let webhooks: Vec<Uuid> = new.iter().map(|new| new.webhook).collect();
            let auctions: Vec<AuctionId> = new.iter().map(|new| new.auction).collect();
            let seqs: Vec<i64> = new.iter().map(|new| new.seq).collect();
            let kinds: Vec<&str> = new.iter().map(|new| new.kind.as_str()).collect();
            noted += reader
                .execute(&statement, &[&ids, &webhooks, &auctions, &seqs, &kinds, &now])
                .await?;
        }
        Ok(noted)
    }

    /// Counts events that are not kept for these webhooks.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn note_skipped(
        &self,
        skipped: &HashMap<Uuid, i64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (ids, counts): (Vec<Uuid>, Vec<i64>) = skipped.iter().unzip();
        self.reader().await?.execute(NOTE_SKIPPED, &[&ids, &counts, &now]).await?;
        Ok(())
    }

    /// Notes a test for a webhook; false when there is no such webhook.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn note_test_delivery(
        &self,
        webhook: Uuid,
        id: Uuid,
        kind: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.reader().await?.execute(NOTE_TEST, &[&webhook, &id, &kind, &now]).await? == 1)
    }

    /// Webhooks for which something is due, for the caller alone until `busy_until`: those that
    /// fail, or the others.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn claim_webhooks(
        &self,
        now: Timestamp,
        busy_until: Timestamp,
        are_failing: bool,
        limit: i64,
    ) -> Result<Vec<ClaimedWebhook>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(CLAIM).await?;
        let rows = reader.query(&statement, &[&now, &busy_until, &are_failing, &limit]).await?;
        let claimed = |row: &tokio_postgres::Row| ClaimedWebhook {
            id: row.get(0),
            client_id: row.get(1),
            url: row.get(2),
            secret: row.get(3),
            old_secret: row.get(4),
            failing_since: row.get(5),
            failures: row.get(6),
        };
        Ok(rows.iter().map(claimed).collect())
    }

    /// What is due for a webhook, what waits longest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn due_deliveries(
        &self,
        webhook: Uuid,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(DUE).await?;
        let rows = reader.query(&statement, &[&webhook, &now, &limit]).await?;
        Ok(rows.iter().map(due).collect())
    }

    /// Records attempts, and what becomes of their deliveries.
    ///
    /// # Errors
    /// When Postgres cannot be asked; then nothing is recorded.
    pub async fn record_attempts(&self, made: &[AttemptMade]) -> Result<(), StoreError> {
        let outcome = |made: &AttemptMade| match made.after {
            AfterAttempt::Delivered => "delivered",
            AfterAttempt::Later(_) => "waiting",
            AfterAttempt::Failed => "failed",
        };
        let next_at = |made: &AttemptMade| match made.after {
            AfterAttempt::Later(at) => Some(at),
            AfterAttempt::Delivered | AfterAttempt::Failed => None,
        };
        let ids: Vec<Uuid> = made.iter().map(|made| made.delivery).collect();
        let outcomes: Vec<&str> = made.iter().map(outcome).collect();
        let nexts: Vec<Option<Timestamp>> = made.iter().map(next_at).collect();
        let ats: Vec<Timestamp> = made.iter().map(|made| made.at).collect();
        let tooks: Vec<i32> = made.iter().map(|made| made.took_ms).collect();
        let statuses: Vec<Option<i32>> = made.iter().map(|made| made.status).collect();
        let errors: Vec<Option<&str>> = made.iter().map(|made| made.error.as_deref()).collect();
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(RECORD).await?;
        reader
            .execute(
                &statement,
                &[&ids, &outcomes, &nexts, &ats, &tooks, &statuses, &errors, &ATTEMPTS_KEPT_MAX],
            )
            .await?;
        Ok(())
    }

    /// Ends a turn that was claimed until `busy_until`: the next one may begin at `next_at`. False
    /// when somebody changed the webhook meanwhile, or the turn took too long.
    ///
    /// # Errors
    /// When Postgres cannot be asked; the turn then ends by itself.
    pub async fn release_webhook(
        &self,
        id: Uuid,
        busy_until: Timestamp,
        next_at: Timestamp,
        standing: WebhookStanding,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (since, failures, disabled) = match standing {
            WebhookStanding::Well => (None, 0, None),
            WebhookStanding::Failing { since, failures } => (Some(since), failures, None),
            WebhookStanding::Disabled(why) => (None, 0, Some(why)),
        };
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(RELEASE).await?;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&id, &next_at, &since, &failures, &disabled, &now, &busy_until];
        Ok(reader.execute(&statement, &parameters).await? == 1)
    }

    /// What was and is to be told to a webhook, the newest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn deliveries(
        &self,
        webhook: Uuid,
        status: Option<&str>,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let before = before.unwrap_or(Uuid::max());
        let rows = self.reader().await?.query(LIST, &[&webhook, &before, &status, &limit]).await?;
        Ok(rows.iter().map(delivery).collect())
    }

    /// A delivery with the attempts that are remembered, the first ones first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn delivery(
        &self,
        webhook: Uuid,
        id: Uuid,
    ) -> Result<Option<(DeliveryRow, Vec<AttemptRow>)>, StoreError> {
        let reader = self.reader().await?;
        let Some(row) = reader.query_opt(FIND, &[&webhook, &id]).await? else { return Ok(None) };
        let attempts = reader.query(ATTEMPTS, &[&id]).await?;
        let attempt = |row: &tokio_postgres::Row| AttemptRow {
            number: row.get(0),
            at: row.get(1),
            took_ms: row.get(2),
            status: row.get(3),
            error: row.get(4),
        };
        Ok(Some((delivery(&row), attempts.iter().map(attempt).collect())))
    }

    /// Has a delivery told again, from the first attempt on; false when there is none.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn replay_delivery(
        &self,
        webhook: Uuid,
        id: Uuid,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.reader().await?.execute(REPLAY_ONE, &[&webhook, &id, &now]).await? == 1)
    }

    /// Has everything after this one told again: what failed, or also what arrived; up to `limit`,
    /// and up to [`REPLAYED_WAITING_MAX`] with what waits already.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn replay_deliveries(
        &self,
        webhook: Uuid,
        after: Uuid,
        also_delivered: bool,
        now: Timestamp,
        limit: i64,
    ) -> Result<Replayed, StoreError> {
        let reader = self.reader().await?;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&webhook, &after, &also_delivered, &now, &limit, &REPLAYED_WAITING_MAX];
        let row = reader.query_one(REPLAY_MANY, &parameters).await?;
        let (count, last, room): (i64, Option<Uuid>, i64) = (row.get(0), row.get(1), row.get(2));
        let go_on_after = (count >= room).then(|| last.unwrap_or(after));
        Ok(Replayed { count, go_on_after, is_full: count >= room && room < limit })
    }

    /// Deletes some of what was noted before then, and of what belongs to webhooks that were removed;
    /// how much it was.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn purge_deliveries(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let reader = self.reader().await?;
        let old = reader.execute(PURGE, &[&first_id_of(before), &limit]).await?;
        let of_removed = reader.execute(PURGE_OF_REMOVED, &[&limit]).await?;
        reader.execute(PURGE_REMOVED, &[]).await?;
        Ok(old + of_removed)
    }

    /// How much waits.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn deliveries_waiting(&self) -> Result<DeliveriesWaiting, StoreError> {
        let row = self.reader().await?.query_one(WAITING, &[&WAITING_COUNTED_MAX]).await?;
        Ok(DeliveriesWaiting {
            webhooks: row.get(0),
            failing: row.get(1),
            deliveries: row.get(2),
            oldest: row.get(3),
        })
    }

    /// Up to when events have been noted, if ever any was.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn webhooks_heard_until(&self) -> Result<Option<Timestamp>, StoreError> {
        let row = self.reader().await?.query_opt(HEARD_UNTIL, &[]).await?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Says that events have been noted up to then; never takes any of it back.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn webhooks_have_heard(&self, until: Timestamp) -> Result<(), StoreError> {
        self.reader().await?.execute(HAVE_HEARD, &[&until]).await?;
        Ok(())
    }
}
