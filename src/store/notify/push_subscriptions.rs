//! The browsers that are written to, and what their users do not want to be woken for.
//!
//! An endpoint is as good as a secret: it is stored to be written to, and never logged.

use std::fmt;

use deadpool_postgres::Transaction;
use uuid::Uuid;

use crate::domain::{id::UserId, time::Timestamp};
use crate::store::{Store, StoreError, Tx, identity::accounts::lock_account};

/// Browsers of a user; past it the one that was not shown for longest gives way.
pub const PUSH_SUBSCRIPTIONS_PER_USER_MAX: i64 = 10;

/// A browser to write to.
#[derive(Clone, PartialEq, Eq)]
pub struct NewPushSubscription {
    /// Of the row, should there be none yet.
    pub id: Uuid,
    /// Where its push service takes messages.
    pub endpoint: String,
    /// SHA-256 of it.
    pub endpoint_hash: [u8; 32],
    /// Scheme, host and port of it.
    pub origin: String,
    /// Its public key, 65 bytes.
    pub p256dh: Vec<u8>,
    /// Its secret, 16 bytes.
    pub auth: Vec<u8>,
    /// `en` or `ko`.
    pub language: &'static str,
    /// When it ends, if the browser knows.
    pub expires_at: Option<Timestamp>,
}

impl fmt::Debug for NewPushSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewPushSubscription({}, {})", self.id, self.origin)
    }
}

/// As much of a subscription as its user is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PushSubscriptionRow {
    pub id: Uuid,
    /// Of the push service.
    pub origin: String,
    pub language: String,
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// When the browser last showed it.
    pub renewed_at: Timestamp,
}

/// What became of a subscription that a browser showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscribed {
    /// It is new, or has come over from another user of the same browser.
    Done(PushSubscriptionRow),
    /// It was there before, and is as it was shown now.
    Before(PushSubscriptionRow),
    /// Somebody else has the endpoint, with other keys.
    Taken,
    /// The user is not there any more.
    NobodyThere,
}

const COLUMNS: &str =
    "SELECT id, origin, language, expires_at, created_at, renewed_at FROM push_subscriptions";

const FIND: &str = "
    SELECT id, user_id, p256dh, auth FROM push_subscriptions WHERE endpoint_hash = $1 FOR UPDATE";

const INSERT: &str = "
    INSERT INTO push_subscriptions (id, user_id, endpoint, endpoint_hash, origin, p256dh, auth,
        language, expires_at, created_at, renewed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)";

const RENEW: &str = "
    UPDATE push_subscriptions SET p256dh = $2, auth = $3, language = $4, expires_at = $5,
        renewed_at = $6, failing_since = NULL
    WHERE id = $1";

const MAKE_ROOM: &str = "
    DELETE FROM push_subscriptions WHERE id IN (
        SELECT id FROM push_subscriptions WHERE user_id = $1
        ORDER BY renewed_at DESC, id DESC OFFSET $2)";

const REMOVE: &str = "DELETE FROM push_subscriptions WHERE id = $1";
const DELETE: &str = "DELETE FROM push_subscriptions WHERE id = $1 AND user_id = $2";

/// What was renewed meanwhile stays.
const PURGE: &str = "
    DELETE FROM push_subscriptions WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM push_subscriptions WHERE expires_at <= $1 LIMIT $2))
    AND expires_at <= $1";

const ARRIVED: &str = "
    UPDATE push_subscriptions SET failing_since = NULL
    WHERE id = $1 AND failing_since IS NOT NULL";

/// Those that have failed for too long go.
const FAILED: &str = "
    WITH given_up AS (
        DELETE FROM push_subscriptions WHERE id = $1 AND failing_since <= $3 RETURNING id)
    UPDATE push_subscriptions SET failing_since = coalesce(failing_since, $2)
    WHERE id = $1 AND NOT EXISTS (SELECT FROM given_up)";

const COUNT: &str = "SELECT count(*) FROM push_subscriptions";

const MUTES: &str = "SELECT muted FROM push_preferences WHERE user_id = $1";

const MUTE: &str = "
    INSERT INTO push_preferences (user_id, muted) VALUES ($1, $2)
    ON CONFLICT (user_id) DO UPDATE SET muted = EXCLUDED.muted";

const FORGET: [&str; 2] = [
    "DELETE FROM push_subscriptions WHERE user_id = $1",
    "DELETE FROM push_preferences WHERE user_id = $1",
];

fn subscription(row: &tokio_postgres::Row) -> PushSubscriptionRow {
    PushSubscriptionRow {
        id: row.get(0),
        origin: row.get(1),
        language: row.get(2),
        expires_at: row.get(3),
        created_at: row.get(4),
        renewed_at: row.get(5),
    }
}

impl Store {
    /// A page of a user's subscriptions, the oldest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn push_subscriptions(
        &self,
        user: UserId,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<PushSubscriptionRow>, StoreError> {
        let sql = format!("{COLUMNS} WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3");
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(&sql).await?;
        let after = after.unwrap_or(Uuid::nil());
        let rows = reader.query(&statement, &[&user, &after, &limit]).await?;
        Ok(rows.iter().map(subscription).collect())
    }

    /// Keeps what a browser showed. One that another user has comes over only with the same keys,
    /// which show that it is the same browser; nothing that the other was to be told goes with it.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn subscribe_push(
        &self,
        user: UserId,
        new: &NewPushSubscription,
        now: Timestamp,
    ) -> Result<Subscribed, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        if !lock_account(&transaction, user).await? {
            return Ok(Subscribed::NobodyThere);
        }
        let hash = new.endpoint_hash.as_slice();
        let NewPushSubscription { p256dh, auth, language, expires_at, .. } = new;
        let mut renewed = None;
        if let Some(row) = transaction.query_opt(FIND, &[&hash]).await? {
            let (id, owner): (Uuid, UserId) = (row.get(0), row.get(1));
            let has_same_keys =
                row.get::<_, &[u8]>(2) == p256dh.as_slice() && row.get::<_, &[u8]>(3) == auth;
            if owner == user {
                transaction
                    .execute(RENEW, &[&id, p256dh, auth, language, expires_at, &now])
                    .await?;
                renewed = Some(id);
            } else if has_same_keys {
                transaction.execute(REMOVE, &[&id]).await?;
            } else {
                return Ok(Subscribed::Taken);
            }
        }
        if renewed.is_none() {
            let NewPushSubscription { id, endpoint, origin, .. } = new;
            let inserted = transaction
                .execute(
                    INSERT,
                    &[id, &user, endpoint, &hash, origin, p256dh, auth, language, expires_at, &now],
                )
                .await;
            match inserted.map_err(StoreError::named) {
                // Somebody else was first, this very moment.
                Err(StoreError::Constraint(name)) if name == "push_subscriptions_endpoint_key" => {
                    return Ok(Subscribed::Taken);
                }
                inserted => inserted?,
            };
            transaction.execute(MAKE_ROOM, &[&user, &PUSH_SUBSCRIPTIONS_PER_USER_MAX]).await?;
        }
        let id = renewed.unwrap_or(new.id);
        let row = transaction.query_one(&format!("{COLUMNS} WHERE id = $1"), &[&id]).await?;
        transaction.commit().await?;
        let row = subscription(&row);
        Ok(if renewed.is_some() { Subscribed::Before(row) } else { Subscribed::Done(row) })
    }

    /// Deletes a user's own subscription; whether there was one.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn unsubscribe_push(&self, user: UserId, id: Uuid) -> Result<bool, StoreError> {
        Ok(self.reader().await?.execute(DELETE, &[&id, &user]).await? == 1)
    }

    /// Deletes the subscription of a browser that is gone.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn push_subscription_gone(&self, id: Uuid) -> Result<(), StoreError> {
        self.reader().await?.execute(REMOVE, &[&id]).await?;
        Ok(())
    }

    /// A message has arrived at its push service.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn push_subscription_works(&self, id: Uuid) -> Result<(), StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(ARRIVED).await?;
        reader.execute(&statement, &[&id]).await?;
        Ok(())
    }

    /// A message was given up. A subscription that has failed since before `failing_before` goes.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn push_subscription_fails(
        &self,
        id: Uuid,
        now: Timestamp,
        failing_before: Timestamp,
    ) -> Result<(), StoreError> {
        self.reader().await?.execute(FAILED, &[&id, &now, &failing_before]).await?;
        Ok(())
    }

    /// Deletes some of the subscriptions that have ended; how many.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn purge_push_subscriptions(&self, now: Timestamp) -> Result<u64, StoreError> {
        Ok(self.reader().await?.execute(PURGE, &[&now, &crate::store::purges::AT_ONCE_MAX]).await?)
    }

    /// How many there are.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn push_subscriptions_count(&self) -> Result<i64, StoreError> {
        Ok(self.reader().await?.query_one(COUNT, &[]).await?.get(0))
    }
}

/// The kinds that are not pushed to a user, if they ever said so.
pub(in crate::store) async fn muted(
    transaction: &Transaction<'_>,
    user: UserId,
) -> Result<Option<Vec<String>>, StoreError> {
    let row = transaction.query_opt(MUTES, &[&user]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// Sets the kinds that are not pushed to a user.
pub(in crate::store) async fn mute(
    transaction: &Transaction<'_>,
    user: UserId,
    kinds: &[&str],
) -> Result<(), StoreError> {
    transaction.execute(MUTE, &[&user, &kinds]).await?;
    Ok(())
}

impl Tx {
    /// Forgets the browsers of somebody who leaves.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn forget_push_subscriptions(&self, user: UserId) -> Result<(), StoreError> {
        for statement in FORGET {
            self.connection().execute(statement, &[&user]).await?;
        }
        Ok(())
    }
}
