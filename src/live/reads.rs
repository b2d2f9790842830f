//! What streams read from Postgres: where an auction stands, and its log.
//!
//! Two closures rather than a trait: the store is the only real implementation, and the races
//! between reading and listening are tested against a log in memory.

use std::pin::Pin;

use serde::Serialize;

use crate::{
    domain::{id::AuctionId, money::Money, time::Timestamp},
    events::envelope::Envelope,
    store::{AuctionRow, PublicEventRow, Store, StoreError},
};

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;
type ReadStanding = dyn Fn(AuctionId) -> Answer<Option<Standing>> + Send + Sync;
type ReadLog = dyn Fn(AuctionId, u64, usize) -> Answer<LogPart> + Send + Sync;

/// Bytes of events that are read at once, but for the event that reaches them.
const BYTES_PER_READ_MAX: i64 = 1 << 20;

/// Some of an auction's log, in order.
pub(super) struct LogPart {
    pub events: Vec<Envelope>,
    /// Whether the log went on after them.
    pub has_more: bool,
}

/// Where an auction stands, as a snapshot says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Standing {
    pub auction_id: AuctionId,
    pub seq: u64,
    pub status: String,
    pub result: Option<String>,
    pub price: Money,
    pub minimum_next_bid: Option<Money>,
    pub bid_count: u32,
    pub leader_alias: Option<String>,
    pub reserve_met: Option<bool>,
    pub ends_at: Timestamp,
}

/// The reads.
pub(super) struct Reads {
    /// Where an auction stands; `None` if there is none.
    pub standing: Box<ReadStanding>,
    /// Up to so many entries of an auction's log after a sequence number, fewer if they are large.
    pub log: Box<ReadLog>,
}

impl Reads {
    pub fn from_store(store: Store) -> Reads {
        let logs = store.clone();
        Reads {
            standing: Box::new(move |id| {
                let store = store.clone();
                Box::pin(async move { store.auction(id).await?.map(Standing::of).transpose() })
            }),
            log: Box::new(move |id, after_seq, limit| {
                let store = logs.clone();
                Box::pin(async move { log(&store, id, after_seq, limit).await })
            }),
        }
    }
}

async fn log(
    store: &Store,
    auction_id: AuctionId,
    after_seq: u64,
    limit: usize,
) -> Result<LogPart, StoreError> {
    let after_seq = i64::try_from(after_seq).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let page = store.log_after(auction_id, after_seq, limit, BYTES_PER_READ_MAX).await?;
    let envelopes = page.rows.into_iter().map(|row| {
        let event = format!("event {} of auction {auction_id}", row.seq);
        Envelope::from_row(PublicEventRow {
            auction_id,
            seq: row.seq,
            kind: row.kind,
            at: row.at,
            data: row.data,
            hash: row.hash,
        })
        .ok_or(StoreError::Malformed(event))
    });
    Ok(LogPart { events: envelopes.collect::<Result<_, _>>()?, has_more: page.has_more })
}

impl Standing {
    fn of(row: AuctionRow) -> Result<Standing, StoreError> {
        let malformed = |column: &str| {
            StoreError::Malformed(format!("the {column} of auction {} makes no sense", row.id))
        };
        let currency = row.currency;
        let money = |amount| Money { amount, currency };
        Ok(Standing {
            auction_id: row.id,
            seq: u64::try_from(row.standing.seq).map_err(|_| malformed("seq"))?,
            bid_count: u32::try_from(row.standing.bid_count).map_err(|_| malformed("bid_count"))?,
            price: money(row.standing.price),
            minimum_next_bid: row.standing.minimum_next_bid.map(money),
            status: row.standing.status.word().to_owned(),
            result: row.standing.result.map(|result| result.word().to_owned()),
            leader_alias: row.standing.leader_alias,
            reserve_met: row.reserve_price.map(|_| row.standing.reserve_met),
            ends_at: row.standing.ends_at,
        })
    }
}
