//! The envelope: the public form of an event, as the bus and the streams carry it (DESIGN, "Events").

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::{id::AuctionId, money::Money, time::Timestamp};
use crate::log::{self, After, Entry, Minimum, hash::Hash};
use crate::store::PublicEventRow;

/// One committed event as anybody may see it. Has no place for a private half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Whose log.
    pub auction_id: AuctionId,
    /// From 1; with the auction's id it names the event, and consumers drop duplicates by it.
    pub seq: u64,
    /// Such as `bid.placed`.
    pub kind: Cow<'static, str>,
    /// When it was decided.
    pub at: Timestamp,
    /// The public half: canonical JSON.
    pub data: String,
    /// Of the log entry.
    pub hash: Hash,
    /// Where the auction stands after the event.
    pub after: After,
}

/// The envelope as a broker carries it.
#[derive(Serialize, Deserialize)]
struct Carried<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    auction_id: AuctionId,
    seq: u64,
    at: Timestamp,
    #[serde(borrow)]
    data: &'a RawValue,
    hash: Hash,
}

/// What streams add to the envelope: where the auction stands, and the clock.
#[derive(Serialize)]
struct Streamed<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'a str,
    auction_id: AuctionId,
    seq: u64,
    at: Timestamp,
    data: &'a RawValue,
    hash: Hash,
    price: Money,
    /// Left out where the event does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_next_bid: Option<Option<Money>>,
    leader_alias: Option<String>,
    bid_count: u32,
    ends_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_time: Option<Timestamp>,
}

impl Envelope {
    /// The public part of an entry.
    pub fn of(entry: &Entry) -> Envelope {
        Envelope {
            auction_id: entry.auction_id,
            seq: entry.seq,
            kind: Cow::Borrowed(entry.kind),
            at: entry.at,
            data: entry.data.clone(),
            hash: entry.hash,
            after: entry.after,
        }
    }

    /// From the log; `None` if the row is damaged.
    pub fn from_row(row: PublicEventRow) -> Option<Envelope> {
        Some(Envelope {
            auction_id: row.auction_id,
            seq: u64::try_from(row.seq).ok()?,
            after: log::after(&row.kind, &row.data).ok()?,
            kind: Cow::Owned(row.kind),
            at: row.at,
            data: row.data,
            hash: Hash::from_slice(&row.hash)?,
        })
    }

    /// How a message about it is named: `<auction_id>:<seq>`.
    pub fn id(&self) -> String {
        format!("{}:{}", self.auction_id, self.seq)
    }

    /// The JSON that a broker carries.
    pub fn carried(&self) -> String {
        let data: &RawValue =
            serde_json::from_str(&self.data).expect("the public half of an event is JSON");
        let carried = Carried {
            id: Cow::Owned(self.id()),
            kind: Cow::Borrowed(&self.kind),
            auction_id: self.auction_id,
            seq: self.seq,
            at: self.at,
            data,
            hash: self.hash,
        };
        serde_json::to_string(&carried).expect("structs of strings and numbers are always JSON")
    }

    /// From what a broker carried; `None` if it is not an event of ours.
    pub fn from_carried(body: &[u8]) -> Option<Envelope> {
        let carried: Carried<'_> = serde_json::from_slice(body).ok()?;
        let data = carried.data.get();
        let envelope = Envelope {
            auction_id: carried.auction_id,
            seq: carried.seq,
            after: log::after(&carried.kind, data).ok()?,
            kind: Cow::Owned(carried.kind.into_owned()),
            at: carried.at,
            data: data.to_owned(),
            hash: carried.hash,
        };
        (envelope.id() == carried.id).then_some(envelope)
    }

    /// The JSON that a stream sends as `data:`; one line.
    pub fn streamed(&self, server_time: Timestamp) -> String {
        self.told_at(Some(server_time))
    }

    /// The same whenever it is asked for: what a stream sends, but for the clock.
    pub fn told(&self) -> String {
        self.told_at(None)
    }

    fn told_at(&self, server_time: Option<Timestamp>) -> String {
        let data: &RawValue =
            serde_json::from_str(&self.data).expect("the public half of an event is JSON");
        let streamed = Streamed {
            id: format!("{}:{}", self.auction_id, self.seq),
            kind: &self.kind,
            auction_id: self.auction_id,
            seq: self.seq,
            at: self.at,
            data,
            hash: self.hash,
            price: self.after.price,
            minimum_next_bid: match self.after.minimum_next_bid {
                Minimum::Of(_) | Minimum::NoMore => Some(self.after.minimum()),
                Minimum::AsBefore => None,
            },
            leader_alias: self.after.leader.map(|bidder| bidder.to_string()),
            bid_count: self.after.bid_count,
            ends_at: self.after.ends_at,
            server_time,
        };
        serde_json::to_string(&streamed).expect("structs of strings and numbers are always JSON")
    }
}
