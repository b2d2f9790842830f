//! Reading logs with both halves, for the exchange alone: how long they are, then part by part.

use tokio_postgres::Row;

use uuid::Uuid;

use crate::domain::id::LogId;
use crate::store::{EventRow, Store, StoreError};

/// How much there is to read of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSize {
    /// Whose log.
    pub id: Uuid,
    /// The last event's sequence number, which is how many there are.
    pub seq: i64,
    /// Whether there is a snapshot, good or not.
    pub has_snapshot: bool,
}

/// Which events of a log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// Which log.
    pub log: LogId,
    /// Those after it.
    pub after: i64,
    /// Up to this one.
    pub last: i64,
}

/// Events of some ranges, range by range and in order, and not taken apart yet.
pub struct LogPart {
    rows: Vec<Row>,
}

const SIZES: &str = "
    SELECT s.auction_id, s.seq, p.auction_id IS NOT NULL
    FROM standings s LEFT JOIN snapshots p ON p.auction_id = s.auction_id
    WHERE s.auction_id = ANY ($1)";

/// Ends with the event that reaches `$4` bytes; `is_cut` says that there are more. Sizes are known
/// without the texts being read.
const PART: &str = "
    SELECT p.auction_id, p.seq, p.kind, p.at, p.data, p.private, p.hash, p.is_cut
    FROM (SELECT e.*, sum(e.bytes) OVER () > sum(e.bytes) OVER in_order AS is_cut,
                 sum(e.bytes) OVER in_order - e.bytes AS bytes_before
          FROM (SELECT r.place, e.*
                FROM unnest($1::uuid[], $2::int8[], $3::int8[])
                     WITH ORDINALITY AS r (auction_id, after, last, place),
                LATERAL (SELECT auction_id, seq, kind, at, data, private, hash,
                                octet_length(data) + coalesce(octet_length(private), 0) AS bytes
                         FROM events
                         WHERE auction_id = r.auction_id AND seq > r.after AND seq <= r.last
                         ORDER BY seq) e) e
          WINDOW in_order AS (ORDER BY e.place, e.seq)) p
    WHERE p.bytes_before < $4
    ORDER BY p.place, p.seq";

impl Store {
    /// How long the logs of some subjects are; those that do not exist are left out.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn log_sizes(&self, ids: &[LogId]) -> Result<Vec<LogSize>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(SIZES).await?;
        let rows = reader.query(&statement, &[&ids]).await?;
        Ok(rows
            .iter()
            .map(|row| LogSize { id: row.get(0), seq: row.get(1), has_snapshot: row.get(2) })
            .collect())
    }

    /// The events of some ranges, in their order, until so many bytes are reached: at least one
    /// event, if there is any.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn log_part(
        &self,
        ranges: &[LogRange],
        bytes_max: i64,
    ) -> Result<LogPart, StoreError> {
        let ids: Vec<LogId> = ranges.iter().map(|range| range.log).collect();
        let after: Vec<i64> = ranges.iter().map(|range| range.after).collect();
        let last: Vec<i64> = ranges.iter().map(|range| range.last).collect();
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(PART).await?;
        Ok(LogPart { rows: reader.query(&statement, &[&ids, &after, &last, &bytes_max]).await? })
    }
}

impl LogPart {
    /// Whether events were left out for their bytes.
    pub fn is_cut(&self) -> bool {
        self.rows.last().is_some_and(|row| row.get(7))
    }

    /// Takes the events apart, which costs more than having read them: not on a lane's thread.
    pub fn into_events(self) -> impl Iterator<Item = EventRow> {
        self.rows.into_iter().map(|row| EventRow {
            auction_id: row.get(0),
            seq: row.get(1),
            kind: row.get(2),
            at: row.get(3),
            data: row.get(4),
            private: row.get(5),
            hash: row.get(6),
        })
    }
}
