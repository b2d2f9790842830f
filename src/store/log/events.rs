//! Reading the event log.

use uuid::Uuid;

use crate::domain::{id::AuctionId, time::Timestamp};
use crate::store::{Store, StoreError};

/// A stored event with both halves, for the exchange alone.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// Whose log.
    pub auction_id: AuctionId,
    /// From 1.
    pub seq: i64,
    /// Such as `bid.placed`.
    pub kind: String,
    /// When it was decided.
    pub at: Timestamp,
    /// The public half.
    pub data: String,
    /// The private half.
    pub private: Option<String>,
    /// Of the entry.
    pub hash: Vec<u8>,
}

/// A stored event as the public may see it.
#[derive(Debug, Clone)]
pub struct LogRow {
    /// From 1.
    pub seq: i64,
    /// Such as `bid.placed`.
    pub kind: String,
    /// When it was decided.
    pub at: Timestamp,
    /// The public half, exactly as it was hashed.
    pub data: String,
    /// Of the entry before; `None` before the first.
    pub prev_hash: Option<Vec<u8>>,
    /// Of the entry.
    pub hash: Vec<u8>,
}

/// A part of a public log.
#[derive(Debug, Clone, Default)]
pub struct LogPage {
    /// In order.
    pub rows: Vec<LogRow>,
    /// Whether the log went on after them.
    pub has_more: bool,
}

/// A stored event of any auction as the public may see it.
#[derive(Debug, Clone)]
pub struct PublicEventRow {
    /// Whose log.
    pub auction_id: AuctionId,
    /// From 1.
    pub seq: i64,
    /// Such as `bid.placed`.
    pub kind: String,
    /// When it was decided.
    pub at: Timestamp,
    /// The public half.
    pub data: String,
    /// Of the entry.
    pub hash: Vec<u8>,
}

/// Which event, and what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventKey {
    /// When it was decided.
    pub at: Timestamp,
    /// Whose log.
    pub auction_id: AuctionId,
    /// From 1.
    pub seq: i64,
    /// Such as `bid.placed`.
    pub kind: String,
}

/// A bid as the public may see it, newest first.
#[derive(Debug, Clone)]
pub struct BidRow {
    /// Its place in the log.
    pub seq: i64,
    /// When it was decided.
    pub at: Timestamp,
    /// The public half.
    pub data: String,
    /// Whether it was taken back later.
    pub retracted: bool,
}

/// One event more than is wanted is looked at, to know whether there is one. Sizes are known without
/// the texts being read.
const AFTER: &str = "
    SELECT seq, kind, at, data, hash,
           coalesce(prev_hash,
                    (SELECT e.hash FROM events e WHERE e.auction_id = $1 AND e.seq = p.seq - 1)),
           has_next
    FROM (SELECT seq, kind, at, data, hash, lag(hash) OVER w AS prev_hash,
                 lead(seq) OVER w IS NOT NULL AS has_next, row_number() OVER w AS place,
                 sum(octet_length(data)) OVER w - octet_length(data) AS bytes_before
          FROM (SELECT seq, kind, at, data, hash FROM events
                WHERE auction_id = $1 AND seq > $2 ORDER BY seq LIMIT $3::int8 + 1) e
          WINDOW w AS (ORDER BY seq)) p
    WHERE place <= $3 AND bytes_before < $4
    ORDER BY seq";

const RANGES: &str = "
    SELECT e.auction_id, e.seq, e.kind, e.at, e.data, e.hash
    FROM unnest($1::uuid[], $2::int8[], $3::int8[]) AS r (auction_id, first, last)
    JOIN events e ON e.auction_id = r.auction_id AND e.seq BETWEEN r.first AND r.last
    ORDER BY e.auction_id, e.seq";

const SINCE: &str = "
    SELECT at, auction_id, seq, kind FROM events
    WHERE at >= $1 AND (at > $1 OR (auction_id, seq) > ($2, $3))
    ORDER BY at, auction_id, seq LIMIT $4";

const MOVED_ON: &str = "
    SELECT s.auction_id, w.head, s.seq
    FROM unnest($1::uuid[], $2::int8[]) AS w (id, head)
    JOIN standings s ON s.auction_id = w.id AND s.seq > w.head";

/// Retractions are looked up one by one: as an `EXISTS` all of the auction would be read for a page.
const BIDS: &str = "
    SELECT b.seq, b.at, b.data,
           (SELECT true FROM events r
            WHERE r.auction_id = b.auction_id AND r.kind = 'bid.retracted'
              AND (r.data::jsonb ->> 'bid_seq')::bigint = b.seq LIMIT 1) IS NOT NULL
    FROM events b
    WHERE b.auction_id = $1 AND b.kind = 'bid.placed' AND b.seq < $2
    ORDER BY b.seq DESC LIMIT $3";

const HEAD: &str = "SELECT seq, head_hash FROM standings WHERE auction_id = $1";

const MISSING: &str = "
    SELECT w.id FROM unnest($1::uuid[]) WITH ORDINALITY AS w (id, place)
    WHERE NOT EXISTS (SELECT FROM standings s WHERE s.auction_id = w.id)
    ORDER BY w.place LIMIT 1";

impl Store {
    /// A part of a public log: up to `limit` entries after `after_seq`, and no more once they have
    /// reached `bytes_max`; at least one, if there is one.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn log_after(
        &self,
        id: AuctionId,
        after_seq: i64,
        limit: i64,
        bytes_max: i64,
    ) -> Result<LogPage, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(AFTER).await?;
        let rows = reader.query(&statement, &[&id, &after_seq, &limit, &bytes_max]).await?;
        let has_more = rows.last().is_some_and(|row| row.get(6));
        let rows = rows.iter().map(|row| LogRow {
            seq: row.get(0),
            kind: row.get(1),
            at: row.get(2),
            data: row.get(3),
            hash: row.get(4),
            prev_hash: row.get(5),
        });
        Ok(LogPage { rows: rows.collect(), has_more })
    }

    /// The public halves of ranges of events: auction, first and last sequence number.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn events_in(
        &self,
        ranges: &[(AuctionId, i64, i64)],
    ) -> Result<Vec<PublicEventRow>, StoreError> {
        let ids: Vec<AuctionId> = ranges.iter().map(|range| range.0).collect();
        let firsts: Vec<i64> = ranges.iter().map(|range| range.1).collect();
        let lasts: Vec<i64> = ranges.iter().map(|range| range.2).collect();
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(RANGES).await?;
        let rows = reader.query(&statement, &[&ids, &firsts, &lasts]).await?;
        Ok(rows
            .iter()
            .map(|row| PublicEventRow {
                auction_id: row.get(0),
                seq: row.get(1),
                kind: row.get(2),
                at: row.get(3),
                data: row.get(4),
                hash: row.get(5),
            })
            .collect())
    }

    /// Which events there are from a time on, or after an event, in the order of their times; up to
    /// `limit`.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn events_since(
        &self,
        since: Timestamp,
        after: Option<&EventKey>,
        limit: i64,
    ) -> Result<Vec<EventKey>, StoreError> {
        let begin = (since, AuctionId(Uuid::nil()), 0);
        let (at, id, seq) = after.map_or(begin, |key| (key.at, key.auction_id, key.seq));
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(SINCE).await?;
        let rows = reader.query(&statement, &[&at, &id, &seq, &limit]).await?;
        Ok(rows
            .iter()
            .map(|row| EventKey {
                at: row.get(0),
                auction_id: row.get(1),
                seq: row.get(2),
                kind: row.get(3),
            })
            .collect())
    }

    /// Which of these auctions have events after the given one: with it, and the newest.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn moved_on(
        &self,
        heads: &[(AuctionId, u64)],
    ) -> Result<Vec<(AuctionId, u64, u64)>, StoreError> {
        let ids: Vec<AuctionId> = heads.iter().map(|(id, _)| *id).collect();
        let seqs: Vec<i64> =
            heads.iter().map(|(_, seq)| i64::try_from(*seq).unwrap_or(i64::MAX)).collect();
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(MOVED_ON).await?;
        let rows = reader.query(&statement, &[&ids, &seqs]).await?;
        let seq = |seq: i64| u64::try_from(seq).unwrap_or(0);
        Ok(rows.iter().map(|row| (row.get(0), seq(row.get(1)), seq(row.get(2)))).collect())
    }

    /// The accepted bids before `before_seq`, newest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn bids_before(
        &self,
        id: AuctionId,
        before_seq: i64,
        limit: i64,
    ) -> Result<Vec<BidRow>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(BIDS).await?;
        let rows = reader.query(&statement, &[&id, &before_seq, &limit]).await?;
        Ok(rows
            .iter()
            .map(|row| BidRow {
                seq: row.get(0),
                at: row.get(1),
                data: row.get(2),
                retracted: row.get(3),
            })
            .collect())
    }

    /// How many entries a log has, and the hash of the last one.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn log_head(&self, id: AuctionId) -> Result<Option<(i64, Vec<u8>)>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(HEAD).await?;
        let row = reader.query_opt(&statement, &[&id]).await?;
        Ok(row.map(|row| (row.get(0), row.get(1))))
    }

    /// The first of these auctions that does not exist.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn first_missing(&self, ids: &[AuctionId]) -> Result<Option<AuctionId>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(MISSING).await?;
        Ok(reader.query_opt(&statement, &[&ids]).await?.map(|row| row.get(0)))
    }
}
