//! What is to be pushed: the inbox is followed by its ids, and what subscribed users were told is
//! noted for each of their browsers; then it is worked off.
//!
//! Following costs whoever writes into the inbox nothing. A row is claimed by pushing its next
//! attempt into the future, so that of several servers one works on it, and a server that dies in
//! between loses nothing.

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use uuid::Uuid;

use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};

/// A notification of a user who has a browser to be told by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Unpushed {
    pub notification: i64,
    pub kind: String,
    pub subject: Uuid,
    /// JSON
    pub data: String,
    pub at: Timestamp,
}

/// How it is to be pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPush {
    /// What it takes the place of, in each browser.
    pub collapse_key: String,
    /// Worth nothing from then on.
    pub expires_at: Timestamp,
}

/// How far the inbox was followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Followed {
    /// Notifications that were looked at.
    pub notifications: i64,
    /// Pushes that were noted.
    pub noted: u64,
}

/// A row that was claimed.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Push {
    pub id: i64,
    pub notification: i64,
    pub subscription: Uuid,
    pub collapse_key: String,
    pub origin: String,
    pub expires_at: Timestamp,
    /// With this one.
    pub attempts: i32,
    /// None where there is nothing to tell any more: it was read, muted or deleted, or the browser
    /// was.
    pub content: Option<PushContent>,
}

/// To whom, and what.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PushContent {
    /// Never logged.
    pub endpoint: String,
    pub p256dh: Vec<u8>,
    pub auth: Vec<u8>,
    pub language: String,
    pub kind: String,
    pub subject: Uuid,
    /// JSON
    pub data: String,
    pub at: Timestamp,
    /// Of the auction that it is about.
    pub title: Option<String>,
}

/// Asked first, for to hold the progress is to write.
const IS_BEHIND: &str = "
    SELECT EXISTS (SELECT FROM notifications WHERE id > (SELECT done_id FROM push_progress))";

/// One at a time follows.
const PROGRESS: &str = "SELECT done_id FROM push_progress FOR UPDATE SKIP LOCKED";

const REACH: &str = "
    SELECT coalesce(max(id), $1), count(*) FROM (
        SELECT id FROM notifications WHERE id > $1 ORDER BY id LIMIT $2) n";

/// What came before a browser subscribed is none of its news.
const UNPUSHED: &str = "
    SELECT n.id, n.kind, n.subject_id, n.data, n.at, s.id, s.origin
    FROM notifications n JOIN push_subscriptions s ON s.user_id = n.user_id
    LEFT JOIN push_preferences p ON p.user_id = n.user_id
    WHERE n.id > $1 AND n.id <= $2 AND n.read_at IS NULL AND n.created_at >= s.created_at
      AND (s.expires_at IS NULL OR s.expires_at > $3)
      AND n.kind <> ALL (coalesce(p.muted, $4::text[]))
    ORDER BY n.id";

/// What newer news takes the place of is not tried sooner for it: its push service may have asked
/// for a pause.
const NOTE: &str = "
    INSERT INTO pushes AS p
        (subscription_id, slot, notification_id, origin, expires_at, next_attempt_at)
    SELECT n.*, $6::timestamptz
    FROM unnest($1::uuid[], $2::text[], $3::int8[], $4::text[], $5::timestamptz[])
         AS n (subscription_id, slot, notification_id, origin, expires_at)
    ORDER BY subscription_id, slot
    ON CONFLICT ON CONSTRAINT pushes_slot_key DO UPDATE SET
        notification_id = EXCLUDED.notification_id, expires_at = EXCLUDED.expires_at, attempts = 0
    WHERE p.notification_id < EXCLUDED.notification_id";

const MOVE_ON: &str = "UPDATE push_progress SET done_id = $1";

/// Each origin that something is due to, once, by the index alone.
const ORIGINS: &str = "
    WITH RECURSIVE o AS (
        (SELECT origin FROM pushes WHERE origin > $1 ORDER BY origin LIMIT 1)
        UNION ALL
        SELECT (SELECT p.origin FROM pushes p WHERE p.origin > o.origin ORDER BY p.origin LIMIT 1)
        FROM o WHERE o.origin IS NOT NULL)
    SELECT o.origin FROM o WHERE EXISTS (
        SELECT FROM pushes p WHERE p.origin = o.origin AND p.next_attempt_at <= $2)
    LIMIT $3";

/// By an array, or the planner would rather read all that waits.
const CLAIM: &str = "
    UPDATE pushes SET attempts = attempts + 1, next_attempt_at = $4
    WHERE id = ANY (ARRAY (
        SELECT d.id FROM unnest($1::text[], $2::int8[]) AS o (origin, room)
        CROSS JOIN LATERAL (
            SELECT id FROM pushes p
            WHERE p.origin = o.origin AND p.next_attempt_at <= $3
            ORDER BY p.next_attempt_at LIMIT o.room FOR UPDATE SKIP LOCKED) d))
    RETURNING id";

const CLAIMED: &str = "
    SELECT p.id, p.notification_id, p.subscription_id, p.slot, p.origin, p.expires_at, p.attempts,
           s.endpoint, s.p256dh, s.auth, s.language, n.kind, n.subject_id, n.data, n.at, a.title
    FROM pushes p
    LEFT JOIN push_subscriptions s ON s.id = p.subscription_id
    LEFT JOIN push_preferences m ON m.user_id = s.user_id
    LEFT JOIN notifications n ON n.id = p.notification_id AND n.user_id = s.user_id
        AND n.read_at IS NULL AND n.kind <> ALL (coalesce(m.muted, $2::text[]))
    LEFT JOIN auctions a ON a.id = n.subject_id
    WHERE p.id = ANY ($1)";

const DONE: &str = "DELETE FROM pushes WHERE id = $1 AND notification_id = $2";

/// Newer news came while it was under way.
const NEXT: &str = "UPDATE pushes SET next_attempt_at = $2 WHERE id = $1";

/// Unless somebody else has claimed it since; it may have been renewed.
const LATER: &str =
    "UPDATE pushes SET next_attempt_at = $3 WHERE id = $1 AND attempts IN (0, $2::int4)";

const COUNT: &str = "SELECT count(*) FROM (SELECT FROM pushes LIMIT $1) p";

impl Store {
    /// Follows the inbox by up to `limit` notifications, and notes what `decide` makes of those for
    /// each browser of their users. `muted` is not pushed to who never said otherwise.
    ///
    /// # Errors
    /// When Postgres cannot be asked; they are followed again then.
    pub async fn follow_inbox(
        &self,
        now: Timestamp,
        limit: i64,
        muted: &[&str],
        decide: impl Fn(&Unpushed) -> Option<NewPush>,
    ) -> Result<Followed, StoreError> {
        let mut reader = self.reader().await?;
        let statement = reader.prepare_cached(IS_BEHIND).await?;
        if !reader.query_one(&statement, &[]).await?.get::<_, bool>(0) {
            return Ok(Followed::default());
        }
        let transaction = reader.transaction().await?;
        let Some(row) = transaction.query_opt(PROGRESS, &[]).await? else {
            return Ok(Followed::default());
        };
        let done: i64 = row.get(0);
        let statement = transaction.prepare_cached(REACH).await?;
        let row = transaction.query_one(&statement, &[&done, &limit]).await?;
        let (reached, notifications): (i64, i64) = (row.get(0), row.get(1));
        if notifications == 0 {
            return Ok(Followed::default());
        }
        let statement = transaction.prepare_cached(UNPUSHED).await?;
        let rows = transaction.query(&statement, &[&done, &reached, &now, &muted]).await?;
        let mut new = NewRows::default();
        for row in &rows {
            let unpushed = Unpushed {
                notification: row.get(0),
                kind: row.get(1),
                subject: row.get(2),
                data: row.get(3),
                at: row.get(4),
            };
            if let Some(push) = decide(&unpushed) {
                new.push(row.get(5), row.get(6), unpushed.notification, push);
            }
        }
        let noted = new.note(&transaction, now).await?;
        transaction.execute(MOVE_ON, &[&reached]).await?;
        transaction.commit().await?;
        Ok(Followed { notifications, noted })
    }

    /// Some origins behind this one that something is due to, in their order.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn push_origins(
        &self,
        after: &str,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(ORIGINS).await?;
        let rows = reader.query(&statement, &[&after, &now, &limit]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// What is due longest at each origin, up to so much, for the caller alone until
    /// `claimed_until`.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn claim_pushes(
        &self,
        rooms: &[(String, i64)],
        now: Timestamp,
        claimed_until: Timestamp,
        muted: &[&str],
    ) -> Result<Vec<Push>, StoreError> {
        let (origins, rooms): (Vec<&str>, Vec<i64>) =
            rooms.iter().map(|(origin, room)| (origin.as_str(), *room)).unzip();
        let mut reader = self.reader().await?;
        // In one, so that nothing newer takes the place of what was claimed before it is read.
        let transaction = reader.transaction().await?;
        let statement = transaction.prepare_cached(CLAIM).await?;
        let rows = transaction.query(&statement, &[&origins, &rooms, &now, &claimed_until]).await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let statement = transaction.prepare_cached(CLAIMED).await?;
        let rows = transaction.query(&statement, &[&ids, &muted]).await?;
        transaction.commit().await?;
        Ok(rows.iter().map(push).collect())
    }

    /// A push was sent, or is not to be; whether nothing newer has taken its place meanwhile.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn push_done(&self, push: &Push, now: Timestamp) -> Result<bool, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(DONE).await?;
        if reader.execute(&statement, &[&push.id, &push.notification]).await? == 1 {
            return Ok(true);
        }
        reader.execute(NEXT, &[&push.id, &now]).await?;
        Ok(false)
    }

    /// It is to be tried again, not before then.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn push_later(&self, push: &Push, next_at: Timestamp) -> Result<(), StoreError> {
        self.reader().await?.execute(LATER, &[&push.id, &push.attempts, &next_at]).await?;
        Ok(())
    }

    /// How many wait, up to so many.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn pushes_waiting(&self, counted_max: i64) -> Result<i64, StoreError> {
        Ok(self.reader().await?.query_one(COUNT, &[&counted_max]).await?.get(0))
    }
}

/// Rows to be noted: of one collapse key the newest.
#[derive(Default)]
struct NewRows(HashMap<(Uuid, String), (String, i64, Timestamp)>);

impl NewRows {
    /// In the order of their ids.
    fn push(&mut self, subscription: Uuid, origin: String, notification: i64, push: NewPush) {
        self.0.insert((subscription, push.collapse_key), (origin, notification, push.expires_at));
    }

    async fn note(self, transaction: &Transaction<'_>, now: Timestamp) -> Result<u64, StoreError> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let (mut subscriptions, mut collapse_keys, mut origins) =
            (Vec::new(), Vec::new(), Vec::new());
        let (mut notifications, mut ends) = (Vec::new(), Vec::new());
        for ((subscription, collapse_key), (origin, notification, expires_at)) in self.0 {
            subscriptions.push(subscription);
            collapse_keys.push(collapse_key);
            notifications.push(notification);
            origins.push(origin);
            ends.push(expires_at);
        }
        let statement = transaction.prepare_cached(NOTE).await?;
        let noted = transaction
            .execute(
                &statement,
                &[&subscriptions, &collapse_keys, &notifications, &origins, &ends, &now],
            )
            .await?;
        Ok(noted)
    }
}

fn push(row: &tokio_postgres::Row) -> Push {
    let endpoint: Option<String> = row.get(7);
    let kind: Option<String> = row.get(11);
    let content = endpoint.zip(kind).map(|(endpoint, kind)| PushContent {
        endpoint,
        p256dh: row.get(8),
        auth: row.get(9),
        language: row.get(10),
        kind,
        subject: row.get(12),
        data: row.get(13),
        at: row.get(14),
        title: row.get(15),
    });
    Push {
        id: row.get(0),
        notification: row.get(1),
        subscription: row.get(2),
        collapse_key: row.get(3),
        origin: row.get(4),
        expires_at: row.get(5),
        attempts: row.get(6),
        content,
    }
}
