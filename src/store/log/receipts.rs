//! Receipts by idempotency key: the first answer, kept so that a retry hears the same.

use crate::domain::{id::UserId, time::Timestamp};
use crate::store::{Store, StoreError};

/// Under which key an answer is kept. Keys are the user's own: another user's never meet them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReceiptKey {
    /// Whose key.
    pub user: UserId,
    /// The `Idempotency-Key`.
    pub key: String,
    /// Of the request; the same key with another one is refused.
    pub fingerprint: [u8; 16],
}

/// A kept answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Of the request that was answered.
    pub fingerprint: [u8; 16],
    /// Whether it was accepted.
    pub accepted: bool,
    /// JSON; what it holds is the business of who asked to keep it.
    pub answer: String,
}

const FIND: &str =
    "SELECT fingerprint, accepted, answer FROM receipts WHERE user_id = $1 AND key = $2";

/// At most so many are deleted in one statement, so that nothing waits for it.
const PURGED_AT_ONCE_MAX: i64 = 10_000;

const PURGE: &str = "
    DELETE FROM receipts WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM receipts WHERE created_at < $1 ORDER BY created_at LIMIT $2))";

impl Store {
    /// The kept answer under a key.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn receipt(&self, user: UserId, key: &str) -> Result<Option<Receipt>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(FIND).await?;
        let row = reader.query_opt(&statement, &[&user, &key]).await?;
        row.map(|row| receipt(row.get(0), row.get(1), row.get(2))).transpose()
    }

    /// Deletes some of the receipts from before `before`; how many. Call again while it is not 0.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn purge_receipts(&self, before: Timestamp) -> Result<u64, StoreError> {
        let reader = self.reader().await?;
        Ok(reader.execute(PURGE, &[&before, &PURGED_AT_ONCE_MAX]).await?)
    }
}

pub(in crate::store) fn receipt(
    fingerprint: &[u8],
    accepted: bool,
    answer: String,
) -> Result<Receipt, StoreError> {
    let fingerprint = fingerprint
        .try_into()
        .map_err(|_| StoreError::Malformed("a receipt's fingerprint is not 16 bytes".into()))?;
    Ok(Receipt { fingerprint, accepted, answer })
}
