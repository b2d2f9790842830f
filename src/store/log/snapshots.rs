//! Snapshots of auctions: a cache beside the log, of what it adds up to.

use crate::domain::{id::LogId, time::Timestamp};
use crate::store::{Store, StoreError};

/// A snapshot that is to be kept.
pub struct NewSnapshot {
    /// Of which log.
    pub log: LogId,
    /// The event up to which the log was applied.
    pub seq: i64,
    /// Of that event.
    pub hash: Vec<u8>,
    /// When that event was decided.
    pub at: Timestamp,
    /// Of the encoding.
    pub format: i16,
    /// Private.
    pub state: Vec<u8>,
}

/// A kept snapshot.
pub struct SnapshotRow {
    /// The event up to which the log was applied.
    pub seq: i64,
    /// Of that event.
    pub hash: Vec<u8>,
    /// When that event was decided.
    pub at: Timestamp,
    /// Of the encoding.
    pub format: i16,
    /// Private.
    pub state: Vec<u8>,
    /// What the log says of that event's hash; `None` if it has no such event.
    pub log_hash: Option<Vec<u8>>,
}

/// Without waiting for the disk, which the lanes need: a snapshot that is lost is made again. The
/// setting ends with the statement.
const KEEP: &str = "
    INSERT INTO snapshots (auction_id, seq, hash, at, format, state)
    SELECT $1, $2, $3, $4, $5, $6
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    ON CONFLICT (auction_id) DO UPDATE SET
        seq = excluded.seq, hash = excluded.hash, at = excluded.at, format = excluded.format,
        state = excluded.state";

const FIND: &str = "
    SELECT p.seq, p.hash, p.at, p.format, p.state, e.hash
    FROM snapshots p LEFT JOIN events e ON e.auction_id = p.auction_id AND e.seq = p.seq
    WHERE p.auction_id = $1";

const FORGET: &str = "DELETE FROM snapshots WHERE auction_id = $1";

impl Store {
    /// Keeps a snapshot in place of the log's older one.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn keep_snapshot(&self, new: &NewSnapshot) -> Result<(), StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(KEEP).await?;
        reader
            .execute(&statement, &[&new.log, &new.seq, &new.hash, &new.at, &new.format, &new.state])
            .await?;
        Ok(())
    }

    /// The snapshot of a log.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn snapshot(&self, id: LogId) -> Result<Option<SnapshotRow>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(FIND).await?;
        let row = reader.query_opt(&statement, &[&id]).await?;
        Ok(row.map(|row| SnapshotRow {
            seq: row.get(0),
            hash: row.get(1),
            at: row.get(2),
            format: row.get(3),
            state: row.get(4),
            log_hash: row.get(5),
        }))
    }

    /// Deletes the snapshot of a log.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn forget_snapshot(&self, id: LogId) -> Result<(), StoreError> {
        self.reader().await?.execute(FORGET, &[&id]).await?;
        Ok(())
    }
}
