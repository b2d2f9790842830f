//! Events that a consumer of the in-process bus could not take.

use crate::domain::{id::AuctionId, time::Timestamp};
use crate::store::{Store, StoreError};

/// An event that one consumer gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// Who could not take it.
    pub consumer: String,
    /// Whose log.
    pub auction_id: AuctionId,
    /// Its place in the log.
    pub seq: i64,
    /// Such as `bid.placed`.
    pub kind: String,
    /// What the consumer said.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

const INSERT: &str = "
    INSERT INTO dead_letters (consumer, auction_id, seq, kind, reason) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (consumer, auction_id, seq) DO UPDATE SET reason = excluded.reason";
const OLDEST: &str = "
    SELECT consumer, auction_id, seq, kind, reason, at FROM dead_letters
    ORDER BY at, consumer, auction_id, seq LIMIT $1";
/// Back into the outbox, from where every consumer is offered it again; those who had it drop it.
const REPLAY: &str = "
    WITH gone AS (
        DELETE FROM dead_letters WHERE consumer = $1 AND auction_id = $2 AND seq = $3
        RETURNING auction_id, seq)
    INSERT INTO outbox (auction_ids, first_seqs, last_seqs)
    SELECT ARRAY[auction_id], ARRAY[seq], ARRAY[seq] FROM gone";

impl Store {
    /// Keeps an event that a consumer cannot take. Kept again, it is one letter.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn insert_dead_letter(
        &self,
        consumer: &str,
        (auction, seq): (AuctionId, i64),
        kind: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        let reader = self.reader().await?;
        reader.execute(INSERT, &[&consumer, &auction, &seq, &kind, &reason]).await?;
        Ok(())
    }

    /// The oldest ones.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn dead_letters(&self, limit: i64) -> Result<Vec<DeadLetterRow>, StoreError> {
        let rows = self.reader().await?.query(OLDEST, &[&limit]).await?;
        Ok(rows
            .iter()
            .map(|row| DeadLetterRow {
                consumer: row.get(0),
                auction_id: row.get(1),
                seq: row.get(2),
                kind: row.get(3),
                reason: row.get(4),
                at: row.get(5),
            })
            .collect())
    }

    /// Sends one out again; `false` if it is not there.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn replay_dead_letter(
        &self,
        consumer: &str,
        auction: AuctionId,
        seq: i64,
    ) -> Result<bool, StoreError> {
        let reader = self.reader().await?;
        Ok(reader.execute(REPLAY, &[&consumer, &auction, &seq]).await? > 0)
    }
}
