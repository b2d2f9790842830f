//! Answers that are kept with what they are about: in the same transaction, under the key of the
//! request, so that a retry hears the same.

use super::{ReceiptKey, StoreError, Tx};
use crate::domain::time::Timestamp;

const INSERT: &str = "
    INSERT INTO receipts (user_id, key_hash, fingerprint, accepted, answer, created_at)
    VALUES ($1, $2, $3, true, $4, $5) ON CONFLICT ON CONSTRAINT receipts_pkey DO NOTHING";

impl Tx {
    /// Keeps the answer to a request; false when one is kept under this key already, so that nothing
    /// of this transaction may be written.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn keep_answer(
        &self,
        key: &ReceiptKey,
        answer: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let kept = self
            .connection()
            .execute(INSERT, &[&key.user, &key.hash, &key.fingerprint, &answer, &now])
            .await?;
        Ok(kept == 1)
    }
}
