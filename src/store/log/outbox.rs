//! The outbox: which events a commit wrote that have not been published yet.

use crate::domain::id::AuctionId;
use crate::store::{Store, StoreError};

/// One commit's events: for each auction the first and last sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Rises with every commit of a lane.
    pub id: i64,
    /// Auction, first and last sequence number.
    pub ranges: Vec<(AuctionId, i64, i64)>,
}

/// What waits to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxWaiting {
    /// Commits. Counted as far as they were looked at; what is beyond is reckoned by the numbers of
    /// the rows, of which few are missing.
    pub commits: i64,
    /// Their events; of those beyond as many for each as of those that were looked at.
    pub events: i64,
    /// How long the oldest waits.
    pub oldest_ms: i64,
}

/// Those whose logs are all in the given slots (see [`crate::domain::id::LogId::slot`]).
const OLDEST: &str = "
    SELECT id, auction_ids, first_seqs, last_seqs FROM outbox
    WHERE NOT EXISTS (SELECT 1 FROM unnest(auction_ids) AS log (id)
                      WHERE get_byte(uuid_send(log.id), 15) <> ALL ($1::int2[]))
    ORDER BY id LIMIT $2";
/// Without waiting for the disk: a row that comes back after a crash is published again, and a
/// flush less leaves more of the disk to the lanes. The setting ends with the statement.
const DELETE: &str = "
    DELETE FROM outbox WHERE id = ANY ($1)
    AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'";
const NEWEST: &str = "SELECT coalesce(max(id), 0) FROM outbox";
/// The age is that of the oldest row. By the primary key from both ends; nothing is read between them.
const WAITING: &str = "
    SELECT count(*), coalesce(sum(w.events), 0)::int8,
           coalesce(extract(epoch FROM now() - (array_agg(w.at ORDER BY w.id))[1]) * 1000, 0)::int8,
           coalesce((SELECT max(id) FROM outbox) - max(w.id), 0)
    FROM (SELECT o.id, o.at, (SELECT sum(r.last - r.first + 1)
                        FROM unnest(o.first_seqs, o.last_seqs) AS r (first, last)) AS events
          FROM outbox o ORDER BY o.id LIMIT $1) w";

impl Store {
    /// The oldest rows that wait, of logs in these slots.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn outbox_oldest(
        &self,
        slots: &[i16],
        limit: i64,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let reader = self.reader().await?;
        let rows = reader.query(OLDEST, &[&slots, &limit]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let (ids, firsts, lasts): (Vec<AuctionId>, Vec<i64>, Vec<i64>) =
                    (row.get(1), row.get(2), row.get(3));
                let ranges = ids.into_iter().zip(firsts).zip(lasts);
                OutboxRow {
                    id: row.get(0),
                    ranges: ranges.map(|((id, first), last)| (id, first, last)).collect(),
                }
            })
            .collect())
    }

    /// Forgets rows whose events have all been published.
    ///
    /// # Errors
    /// When Postgres cannot be asked; then they are published again, which readers tolerate.
    pub async fn outbox_published(&self, ids: &[i64]) -> Result<(), StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(DELETE).await?;
        reader.execute(&statement, &[&ids]).await?;
        Ok(())
    }

    /// The id of the newest row; 0 if there is none.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn outbox_newest(&self) -> Result<i64, StoreError> {
        Ok(self.reader().await?.query_one(NEWEST, &[]).await?.get(0))
    }

    /// How much waits to be published: the `limit` oldest commits are looked at.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn outbox_waiting(&self, limit: i64) -> Result<OutboxWaiting, StoreError> {
        let row = self.reader().await?.query_one(WAITING, &[&limit]).await?;
        let (counted, events, oldest_ms, beyond): (i64, i64, i64, i64) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let events_beyond = if counted > 0 { beyond.saturating_mul(events) / counted } else { 0 };
        Ok(OutboxWaiting {
            commits: counted.saturating_add(beyond),
            events: events.saturating_add(events_beyond),
            oldest_ms,
        })
    }
}
