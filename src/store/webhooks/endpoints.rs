//! Webhooks: where clients want to be told of events. What is told stands in `deliveries`.

use uuid::Uuid;

use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};

/// Webhooks of one client.
pub const WEBHOOKS_PER_CLIENT_MAX: i64 = 10;
/// Webhooks of all clients: every event is held against all of them.
pub const WEBHOOKS_MAX: i64 = 500;

/// A webhook as it is kept, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    /// Rises with every one of them.
    pub id: Uuid,
    /// Whose.
    pub client_id: String,
    /// Where. Not for logs.
    pub url: String,
    /// For people.
    pub description: Option<String>,
    /// Which events.
    pub types: Vec<String>,
    /// Until when the secret before this one signs too.
    pub old_secret_until: Option<Timestamp>,
    /// Since when there is one.
    pub created_at: Timestamp,
    /// Since when it is told nothing.
    pub disabled_at: Option<Timestamp>,
    /// `operator`, `gone` or `failing`.
    pub disabled_because: Option<String>,
    /// Since when nothing has arrived.
    pub failing_since: Option<Timestamp>,
    /// Events that were not kept for it.
    pub skipped: i64,
    /// When that was, last.
    pub skipped_at: Option<Timestamp>,
}

/// A webhook to add.
pub struct NewWebhook {
    /// UUIDv7.
    pub id: Uuid,
    /// Whose.
    pub client_id: String,
    /// Where.
    pub url: String,
    /// For people.
    pub description: Option<String>,
    /// Which events.
    pub types: Vec<String>,
    /// What signs.
    pub secret: Vec<u8>,
    /// Whether it begins disabled.
    pub is_disabled: bool,
    /// Now.
    pub created_at: Timestamp,
}

/// What is to change; `None` stays.
#[derive(Default)]
#[allow(missing_docs)]
pub struct WebhookChanges {
    pub url: Option<String>,
    /// `Some(None)` takes it away.
    pub description: Option<Option<String>>,
    pub types: Option<Vec<String>>,
    pub is_disabled: Option<bool>,
}

/// What became of a webhook to add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookAdded {
    /// It is there.
    Done,
    /// There is no such client.
    NoClient,
    /// The client has as many as it may have, or all clients together have.
    Full,
}

/// Who wants to hear of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookListening {
    /// Which webhook.
    pub id: Uuid,
    /// Which events.
    pub types: Vec<String>,
    /// It is told of what was decided from then on.
    pub created_at: Timestamp,
    /// Whether so much waits for it that no more is kept.
    pub is_full: bool,
}

const COLUMNS: &str = "id, client_id, url, description, types, old_secret_until, created_at,
    disabled_at, disabled_because, failing_since, skipped, skipped_at";

/// Locked, so that those who add to one client follow one another.
const LOCK_CLIENT: &str = "SELECT FROM clients WHERE id = $1 FOR NO KEY UPDATE";

const COUNT: &str = "
    SELECT count(*) FILTER (WHERE client_id = $1), count(*) FROM webhooks WHERE removed_at IS NULL";

const INSERT: &str = "
    INSERT INTO webhooks
        (id, client_id, url, description, types, secret, created_at, busy_until, disabled_at,
         disabled_because)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $7, CASE WHEN $8 THEN $7::timestamptz END,
            CASE WHEN $8 THEN 'operator' END)";

/// One that is enabled again begins anew: at once, and without what failed before.
const CHANGE: &str = "
    UPDATE webhooks SET
        url = coalesce($3, url),
        description = CASE WHEN $4 THEN $5 ELSE description END,
        types = coalesce($6, types),
        disabled_at = CASE WHEN $7::bool IS NULL OR $7 = (disabled_at IS NOT NULL) THEN disabled_at
                           WHEN $7 THEN $8::timestamptz END,
        disabled_because = CASE WHEN $7::bool IS NULL OR $7 = (disabled_at IS NOT NULL)
                                THEN disabled_because WHEN $7 THEN 'operator' END,
        failing_since = CASE WHEN NOT $7::bool OR $3 IS NOT NULL THEN NULL ELSE failing_since END,
        failures = CASE WHEN NOT $7::bool OR $3 IS NOT NULL THEN 0 ELSE failures END,
        busy_until = CASE WHEN NOT $7::bool OR $3 IS NOT NULL THEN least(busy_until, $8)
                          ELSE busy_until END
    WHERE client_id = $1 AND id = $2 AND removed_at IS NULL";

const ROTATE: &str = "
    UPDATE webhooks SET old_secret = CASE WHEN $4::timestamptz IS NULL THEN NULL ELSE secret END,
        old_secret_until = $4, secret = $3
    WHERE client_id = $1 AND id = $2 AND removed_at IS NULL";

/// Its secrets and its address go at once.
const REMOVE: &str = "
    UPDATE webhooks SET removed_at = $3, url = '', secret = '', old_secret = NULL,
        old_secret_until = NULL
    WHERE client_id = $1 AND id = $2 AND removed_at IS NULL";

const LISTENING: &str = "
    SELECT w.id, w.types, w.created_at, EXISTS (
        SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.status = 'waiting'
        OFFSET $1::int8 - 1 LIMIT 1)
    FROM webhooks w JOIN clients c ON c.id = w.client_id
    WHERE w.removed_at IS NULL AND w.disabled_at IS NULL AND c.disabled_at IS NULL
    ORDER BY w.id";

fn webhook(row: &tokio_postgres::Row) -> WebhookRow {
    WebhookRow {
        id: row.get(0),
        client_id: row.get(1),
        url: row.get(2),
        description: row.get(3),
        types: row.get(4),
        old_secret_until: row.get(5),
        created_at: row.get(6),
        disabled_at: row.get(7),
        disabled_because: row.get(8),
        failing_since: row.get(9),
        skipped: row.get(10),
        skipped_at: row.get(11),
    }
}

impl Store {
    /// Adds a webhook to a client.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn add_webhook(&self, new: &NewWebhook) -> Result<WebhookAdded, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        if transaction.query_opt(LOCK_CLIENT, &[&new.client_id]).await?.is_none() {
            return Ok(WebhookAdded::NoClient);
        }
        let count = transaction.query_one(COUNT, &[&new.client_id]).await?;
        let (of_client, of_all): (i64, i64) = (count.get(0), count.get(1));
        if of_client >= WEBHOOKS_PER_CLIENT_MAX || of_all >= WEBHOOKS_MAX {
            return Ok(WebhookAdded::Full);
        }
        transaction
            .execute(
                INSERT,
                &[
                    &new.id,
                    &new.client_id,
                    &new.url,
                    &new.description,
                    &new.types,
                    &new.secret,
                    &new.created_at,
                    &new.is_disabled,
                ],
            )
            .await?;
        transaction.commit().await?;
        Ok(WebhookAdded::Done)
    }

    /// A webhook of a client.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn webhook(&self, client: &str, id: Uuid) -> Result<Option<WebhookRow>, StoreError> {
        let find = format!(
            "SELECT {COLUMNS} FROM webhooks
             WHERE client_id = $1 AND id = $2 AND removed_at IS NULL"
        );
        let row = self.reader().await?.query_opt(&find, &[&client, &id]).await?;
        Ok(row.as_ref().map(webhook))
    }

    /// The webhooks of a client, the oldest first, after one of them.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn webhooks(
        &self,
        client: &str,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<WebhookRow>, StoreError> {
        let list = format!(
            "SELECT {COLUMNS} FROM webhooks
             WHERE client_id = $1 AND id > $2 AND removed_at IS NULL ORDER BY id LIMIT $3"
        );
        let after = after.unwrap_or(Uuid::nil());
        let rows = self.reader().await?.query(&list, &[&client, &after, &limit]).await?;
        Ok(rows.iter().map(webhook).collect())
    }

    /// Changes a webhook; false when there is none.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn change_webhook(
        &self,
        client: &str,
        id: Uuid,
        changes: &WebhookChanges,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = self
            .reader()
            .await?
            .execute(
                CHANGE,
                &[
                    &client,
                    &id,
                    &changes.url,
                    &changes.description.is_some(),
                    &changes.description.as_ref().and_then(Option::as_ref),
                    &changes.types,
                    &changes.is_disabled,
                    &now,
                ],
            )
            .await?;
        Ok(changed == 1)
    }

    /// Another secret; the one before it signs too until `old_until`, if that is said. False when
    /// there is no such webhook.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn rotate_webhook_secret(
        &self,
        client: &str,
        id: Uuid,
        secret: &[u8],
        old_until: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let reader = self.reader().await?;
        Ok(reader.execute(ROTATE, &[&client, &id, &secret, &old_until]).await? == 1)
    }

    /// Removes a webhook; what was told goes with it, a little later. False when there is none.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn remove_webhook(
        &self,
        client: &str,
        id: Uuid,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.reader().await?.execute(REMOVE, &[&client, &id, &now]).await? == 1)
    }

    /// Everybody who is to be told of events, and for whom `backlog_max` or more wait already.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn webhooks_listening(
        &self,
        backlog_max: i64,
    ) -> Result<Vec<WebhookListening>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(LISTENING).await?;
        let rows = reader.query(&statement, &[&backlog_max]).await?;
        let listening = |row: &tokio_postgres::Row| WebhookListening {
            id: row.get(0),
            types: row.get(1),
            created_at: row.get(2),
            is_full: row.get(3),
        };
        Ok(rows.iter().map(listening).collect())
    }
}
