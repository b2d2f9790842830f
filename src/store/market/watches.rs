//! Watches: who follows which auction, and how many do.
//!
//! A count is never a row that watchers write: each adds a delta of their own, and one folder adds
//! those up. Must never make a bid, or another watcher, wait.

use crate::domain::{
    id::{AuctionId, UserId},
    time::Timestamp,
};
use crate::store::{AuctionRow, Store, StoreError, Tx};

/// Deltas that are folded in one transaction.
const FOLDED_AT_ONCE_MAX: i64 = 10_000;
/// Any number: one folds at a time.
const ADVISORY_LOCK: i64 = 0x686f_6761_0004;

/// A place in a watchlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchPlace {
    /// Since when it is watched.
    pub since: Timestamp,
    /// Which.
    pub auction: AuctionId,
}

const AUCTION_IS_THERE: &str = "SELECT FROM standings WHERE auction_id = $1";

/// Counts what there is besides the auction itself, which may be watched already.
const OTHERS: &str = "
    SELECT count(*) FROM (SELECT FROM watches WHERE user_id = $1 AND auction_id <> $2 LIMIT $3) w";

const WATCH: &str = "
    WITH added AS (
        INSERT INTO watches (auction_id, user_id, created_at) VALUES ($2, $1, $3)
        ON CONFLICT ON CONSTRAINT watches_pkey DO NOTHING RETURNING auction_id)
    INSERT INTO watch_deltas (auction_id, delta) SELECT auction_id, 1 FROM added";

const UNWATCH: &str = "
    WITH gone AS (
        DELETE FROM watches WHERE auction_id = $2 AND user_id = $1 RETURNING auction_id)
    INSERT INTO watch_deltas (auction_id, delta) SELECT auction_id, -1 FROM gone";

const UNWATCH_ALL: &str = "
    WITH gone AS (DELETE FROM watches WHERE user_id = $1 RETURNING auction_id)
    INSERT INTO watch_deltas (auction_id, delta) SELECT auction_id, -1 FROM gone";

const LIST: &str = "
    SELECT created_at, auction_id FROM watches
    WHERE user_id = $1 AND (created_at, auction_id) < ($2, $3)
    ORDER BY created_at DESC, auction_id DESC LIMIT $4";

const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock($1)";

const FOLD: &str = "
    WITH gone AS (
        DELETE FROM watch_deltas
        WHERE id IN (SELECT id FROM watch_deltas ORDER BY id LIMIT $1)
        RETURNING auction_id, delta),
    folded AS (
        INSERT INTO watch_counts AS c (auction_id, count)
        SELECT auction_id, sum(delta) FROM gone GROUP BY auction_id
        ON CONFLICT (auction_id) DO UPDATE SET count = c.count + EXCLUDED.count)
    SELECT count(*) FROM gone";

impl Store {
    /// Ends a watch, if there is one; false when there is no such auction.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn unwatch(&self, user: UserId, auction: AuctionId) -> Result<bool, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(AUCTION_IS_THERE).await?;
        if reader.query_opt(&statement, &[&auction]).await?.is_none() {
            return Ok(false);
        }
        let statement = reader.prepare_cached(UNWATCH).await?;
        reader.execute(&statement, &[&user, &auction]).await?;
        Ok(true)
    }

    /// A page of a watchlist, the newest watch first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn watchlist(
        &self,
        user: UserId,
        before: Option<WatchPlace>,
        limit: i64,
    ) -> Result<Vec<(WatchPlace, AuctionRow)>, StoreError> {
        let first = WatchPlace { since: Timestamp::MAX, auction: AuctionId(uuid::Uuid::max()) };
        let WatchPlace { since, auction } = before.unwrap_or(first);
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(LIST).await?;
        let rows = reader.query(&statement, &[&user, &since, &auction, &limit]).await?;
        drop(reader);
        let places: Vec<WatchPlace> =
            rows.iter().map(|row| WatchPlace { since: row.get(0), auction: row.get(1) }).collect();
        let ids: Vec<AuctionId> = places.iter().map(|place| place.auction).collect();
        let mut auctions: std::collections::HashMap<AuctionId, AuctionRow> =
            self.auctions_of(&ids).await?.into_iter().map(|row| (row.id, row)).collect();
        let listed = places.into_iter().filter_map(|place| {
            let row = auctions.remove(&place.auction)?;
            Some((place, row))
        });
        Ok(listed.collect())
    }

    /// Adds deltas to the counts; how many. None while another folds.
    ///
    /// # Errors
    /// When Postgres cannot be asked; nothing is counted twice.
    pub async fn fold_watches(&self) -> Result<i64, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        if !transaction.query_one(TRY_LOCK, &[&ADVISORY_LOCK]).await?.get::<_, bool>(0) {
            return Ok(0);
        }
        let statement = transaction.prepare_cached(FOLD).await?;
        let folded = transaction.query_one(&statement, &[&FOLDED_AT_ONCE_MAX]).await?.get(0);
        transaction.commit().await?;
        Ok(folded)
    }
}

impl Tx {
    /// Whether there is such an auction.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn has_auction(&self, id: AuctionId) -> Result<bool, StoreError> {
        let statement = self.connection().prepare_cached(AUCTION_IS_THERE).await?;
        Ok(self.connection().query_opt(&statement, &[&id]).await?.is_some())
    }

    /// How many auctions a user watches besides this one, counted up to `most`.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn count_other_watches(
        &self,
        user: UserId,
        auction: AuctionId,
        most: i64,
    ) -> Result<i64, StoreError> {
        let statement = self.connection().prepare_cached(OTHERS).await?;
        Ok(self.connection().query_one(&statement, &[&user, &auction, &most]).await?.get(0))
    }

    /// Keeps a watch, unless it is there.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn insert_watch(
        &self,
        user: UserId,
        auction: AuctionId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let statement = self.connection().prepare_cached(WATCH).await?;
        self.connection().execute(&statement, &[&user, &auction, &now]).await?;
        Ok(())
    }

    /// Ends all watches of somebody who leaves.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn unwatch_all(&self, user: UserId) -> Result<(), StoreError> {
        self.connection().execute(UNWATCH_ALL, &[&user]).await?;
        Ok(())
    }
}
