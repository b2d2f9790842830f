//! Registered frontends.

use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};

/// Clients that can be registered, disabled ones too: every server has them all in memory.
pub const CLIENTS_MAX: i64 = 1_000;

/// A client as it is kept.
#[derive(Clone)]
pub struct ClientRow {
    /// Publishable.
    pub id: String,
    /// For people.
    pub name: String,
    /// SHA-256; none where the code runs in a browser or an app.
    pub secret_hash: Option<Vec<u8>>,
    /// Where a login may return to, exactly.
    pub redirect_uris: Vec<String>,
    /// Whose pages may call, exactly.
    pub allowed_origins: Vec<String>,
    /// Of all its users together.
    pub requests_per_second: Option<i32>,
    /// Of all its users together.
    pub bids_per_second: Option<i32>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Since when it counts no more.
    pub disabled_at: Option<Timestamp>,
}

/// What is to change; `None` stays.
#[derive(Default)]
#[allow(missing_docs)]
pub struct ClientChanges {
    pub name: Option<String>,
    pub redirect_uris: Option<Vec<String>>,
    pub allowed_origins: Option<Vec<String>>,
    pub requests_per_second: Option<Option<i32>>,
    pub bids_per_second: Option<Option<i32>>,
    /// `Some(None)` enables.
    pub disabled_at: Option<Option<Timestamp>>,
}

/// Changes whenever a client does: how many there are, and the sum of their versions.
pub type ClientsStamp = (i64, i64);

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, secret_hash, redirect_uris, allowed_origins, requests_per_second, \
             bids_per_second, created_at, disabled_at FROM clients ",
            $rest
        )
    };
}

const FIND: &str = select!("WHERE id = $1");

const LIST: &str = select!("WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3");

const INSERT: &str = "
    INSERT INTO clients (id, name, secret_hash, redirect_uris, allowed_origins,
                         requests_per_second, bids_per_second, created_at, disabled_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE (SELECT count(*) FROM clients) < $10
    ON CONFLICT (id) DO NOTHING";

const STAMP: &str = "SELECT count(*), coalesce(sum(version), 0)::bigint FROM clients";

/// What is not to change is given as null; where null is a value, a flag says so.
const CHANGE: &str = "
    UPDATE clients SET
        name = coalesce($2, name),
        redirect_uris = coalesce($3, redirect_uris),
        allowed_origins = coalesce($4, allowed_origins),
        requests_per_second = CASE WHEN $5 THEN $6 ELSE requests_per_second END,
        bids_per_second = CASE WHEN $7 THEN $8 ELSE bids_per_second END,
        disabled_at = CASE WHEN NOT $9 THEN disabled_at
                           WHEN disabled_at IS NOT NULL AND $10::timestamptz IS NOT NULL THEN disabled_at
                           ELSE $10 END,
        version = version + 1
    WHERE id = $1";

/// A disabled client refreshes nothing, also when it is enabled again: its users log in again.
const END_LOGINS: &str = "
    UPDATE refresh_families SET revoked_at = $2, revoked_because = 'operator'
    WHERE client_id = $1 AND revoked_at IS NULL";

const SET_SECRET: &str = "
    UPDATE clients SET secret_hash = $2, version = version + 1
    WHERE id = $1 AND secret_hash IS NOT NULL";

fn client(row: &tokio_postgres::Row) -> ClientRow {
    ClientRow {
        id: row.get(0),
        name: row.get(1),
        secret_hash: row.get(2),
        redirect_uris: row.get(3),
        allowed_origins: row.get(4),
        requests_per_second: row.get(5),
        bids_per_second: row.get(6),
        created_at: row.get(7),
        disabled_at: row.get(8),
    }
}

impl Store {
    /// Registers a client; false when there is one of this id, or no room for another.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn insert_client(&self, new: &ClientRow) -> Result<bool, StoreError> {
        let inserted = self
            .reader()
            .await?
            .execute(
                INSERT,
                &[
                    &new.id,
                    &new.name,
                    &new.secret_hash,
                    &new.redirect_uris,
                    &new.allowed_origins,
                    &new.requests_per_second,
                    &new.bids_per_second,
                    &new.created_at,
                    &new.disabled_at,
                    &CLIENTS_MAX,
                ],
            )
            .await?;
        Ok(inserted == 1)
    }

    /// A client by its id, also a disabled one.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn client(&self, id: &str) -> Result<Option<ClientRow>, StoreError> {
        Ok(self.reader().await?.query_opt(FIND, &[&id]).await?.as_ref().map(client))
    }

    /// Clients in the order in which they were registered, after one of them.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn clients(
        &self,
        after: Option<(Timestamp, &str)>,
        limit: i64,
    ) -> Result<Vec<ClientRow>, StoreError> {
        let (at, id) = after.unwrap_or((Timestamp::EPOCH, ""));
        let rows = self.reader().await?.query(LIST, &[&at, &id, &limit]).await?;
        Ok(rows.iter().map(client).collect())
    }

    /// What changes whenever a client does.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn clients_stamp(&self) -> Result<ClientsStamp, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(STAMP).await?;
        let row = reader.query_one(&statement, &[]).await?;
        Ok((row.get(0), row.get(1)))
    }

    /// Changes a client, and ends its logins if that disables it; false when there is none.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn change_client(
        &self,
        id: &str,
        changes: &ClientChanges,
    ) -> Result<bool, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        let changed = transaction
            .execute(
                CHANGE,
                &[
                    &id,
                    &changes.name,
                    &changes.redirect_uris,
                    &changes.allowed_origins,
                    &changes.requests_per_second.is_some(),
                    &changes.requests_per_second.flatten(),
                    &changes.bids_per_second.is_some(),
                    &changes.bids_per_second.flatten(),
                    &changes.disabled_at.is_some(),
                    &changes.disabled_at.flatten(),
                ],
            )
            .await?;
        if let Some(at) = changes.disabled_at.flatten() {
            transaction.execute(END_LOGINS, &[&id, &at]).await?;
        }
        transaction.commit().await?;
        Ok(changed == 1)
    }

    /// Another secret for a client that has one; false when there is no such client.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn set_client_secret(
        &self,
        id: &str,
        secret_hash: &[u8],
    ) -> Result<bool, StoreError> {
        Ok(self.reader().await?.execute(SET_SECRET, &[&id, &secret_hash]).await? == 1)
    }
}
