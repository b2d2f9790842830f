//! Reminders: what is to be said before an auction opens or ends, until it is said.

use crate::domain::{auction::Phase, id::AuctionId, time::Timestamp};
use crate::store::{
    Store, StoreError,
    notify::news::{NewFanout, write_fanouts},
};

/// A reminder to schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReminder {
    /// Of which auction.
    pub auction: AuctionId,
    /// `opening_soon` or `ending_soon`.
    pub kind: &'static str,
    /// How long before.
    pub lead_s: i64,
    /// Before what.
    pub target_at: Timestamp,
    /// When.
    pub fire_at: Timestamp,
}

/// A reminder that is due, with where its auction stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DueReminder {
    pub auction: AuctionId,
    pub kind: String,
    pub lead_s: i64,
    pub target_at: Timestamp,
    pub fire_at: Timestamp,
    pub status: Phase,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
}

/// Whoever comes at the same time takes others.
const CLAIM: &str = "
    WITH due AS (
        SELECT auction_id, kind, lead_s FROM reminders WHERE fire_at <= $1
        ORDER BY fire_at LIMIT $2 FOR UPDATE SKIP LOCKED),
    gone AS (
        DELETE FROM reminders r USING due
        WHERE r.auction_id = due.auction_id AND r.kind = due.kind AND r.lead_s = due.lead_s
        RETURNING r.auction_id, r.kind, r.lead_s, r.target_at, r.fire_at)
    SELECT g.auction_id, g.kind, g.lead_s, g.target_at, g.fire_at, s.status, a.starts_at, s.ends_at
    FROM gone g JOIN standings s ON s.auction_id = g.auction_id JOIN auctions a ON a.id = g.auction_id";

const NEXT: &str = "SELECT min(fire_at) FROM reminders";

pub(in crate::store) const FORGET: &str = "
    DELETE FROM reminders r USING unnest($1::uuid[], $2::text[]) AS n (auction_id, kind)
    WHERE r.auction_id = n.auction_id AND r.kind = n.kind";

pub(in crate::store) const INSERT: &str = "
    INSERT INTO reminders (auction_id, kind, lead_s, target_at, fire_at)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::int8[], $4::timestamptz[], $5::timestamptz[])
    ON CONFLICT ON CONSTRAINT reminders_pkey
    DO UPDATE SET target_at = EXCLUDED.target_at, fire_at = EXCLUDED.fire_at";

impl Store {
    /// Takes reminders that are due, and hands on what `decide` makes of each, in one transaction;
    /// how many were taken.
    ///
    /// # Errors
    /// When Postgres cannot be asked; those of this call are found again by the next.
    pub async fn fire_reminders(
        &self,
        now: Timestamp,
        limit: i64,
        decide: impl Fn(&DueReminder) -> Option<NewFanout>,
    ) -> Result<usize, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        let statement = transaction.prepare_cached(CLAIM).await?;
        let rows = transaction.query(&statement, &[&now, &limit]).await?;
        let due = rows.iter().map(|row| {
            Ok(DueReminder {
                auction: row.get(0),
                kind: row.get(1),
                lead_s: row.get(2),
                target_at: row.get(3),
                fire_at: row.get(4),
                status: row.try_get(5)?,
                starts_at: row.get(6),
                ends_at: row.get(7),
            })
        });
        let due = due.collect::<Result<Vec<DueReminder>, StoreError>>()?;
        let fanouts: Vec<NewFanout> = due.iter().filter_map(decide).collect();
        write_fanouts(&transaction, &fanouts.iter().collect::<Vec<_>>(), now, 0).await?;
        transaction.commit().await?;
        Ok(rows.len())
    }

    /// When the next reminder is due.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn next_reminder(&self) -> Result<Option<Timestamp>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(NEXT).await?;
        Ok(reader.query_one(&statement, &[]).await?.get(0))
    }
}
