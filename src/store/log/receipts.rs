//! Receipts by idempotency key: the first answer, kept so that a retry hears the same.
//!
//! The answer to an accepted bid is not kept but made again of the events that it points at: what is
//! kept is written with every bid.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::{id::UserId, time::Timestamp};
use crate::store::{EventRow, Store, StoreError};

/// Under which key an answer is kept. Keys are the user's own: another user's never meet them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReceiptKey {
    /// Whose key.
    pub user: UserId,
    /// Of the `Idempotency-Key`.
    pub hash: i64,
    /// Of the key and the request; the same key with another request is refused, and so is another
    /// key that shares its hash.
    pub fingerprint: Uuid,
}

impl ReceiptKey {
    /// Of an `Idempotency-Key`, and the fingerprint of the request that came with it.
    pub fn new(user: UserId, key: &str, request: &[u8; 16]) -> ReceiptKey {
        let of_key: [u8; 32] = Sha256::digest(key).into();
        let [a, b, c, d, e, f, g, h, ..] = of_key;
        let hash = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let of_both: [u8; 32] =
            Sha256::new().chain_update(key).chain_update(request).finalize().into();
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&of_both[..16]);
        ReceiptKey { user, hash, fingerprint: Uuid::from_bytes(fingerprint) }
    }
}

/// A kept answer.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Of the key and the request that was answered.
    pub fingerprint: Uuid,
    /// The answer.
    pub kept: Kept,
}

/// How an answer is kept.
#[derive(Debug, Clone)]
pub enum Kept {
    /// As it was given; what it holds is the business of who asked to keep it.
    Text {
        /// Whether it was accepted.
        accepted: bool,
        /// JSON.
        answer: String,
    },
    /// As the events that followed from the request, from the one that was asked for on.
    Events(Vec<EventRow>),
}

const FIND: &str = "
    SELECT fingerprint, answer FROM receipts WHERE user_id = $1 AND key_hash = $2";

/// At most so many are deleted in one statement, so that nothing waits for it.
const PURGED_AT_ONCE_MAX: i64 = 10_000;

const PURGE: &str = "
    DELETE FROM receipts WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM receipts WHERE created_at < $1 ORDER BY created_at LIMIT $2))";

impl Store {
    /// The text that is kept under a key, with its fingerprint; the text is none where the answer is
    /// kept as events.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn kept_text(
        &self,
        key: &ReceiptKey,
    ) -> Result<Option<(Uuid, Option<String>)>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(FIND).await?;
        let row = reader.query_opt(&statement, &[&key.user, &key.hash]).await?;
        Ok(row.map(|row| (row.get(0), row.get(1))))
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
