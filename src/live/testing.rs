//! What the tests of this module share: events, frames read back, and a log in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

use bytes::Bytes;
use uuid::Uuid;

use super::reads::Standing;
use crate::{
    domain::{
        auction::BidderNo,
        id::AuctionId,
        money::{Amount, Currency, Money},
        time::Timestamp,
    },
    events::{envelope::Envelope, hash::Hash, log::After},
};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub(super) fn auction(n: u128) -> AuctionId {
    AuctionId(Uuid::from_u128(n))
}

fn won(seq: u64) -> Money {
    let amount = i64::try_from(seq * 1_000).expect("small");
    Money { amount: Amount::new(amount).expect("positive"), currency: Currency::Krw }
}

pub(super) fn event(auction_id: AuctionId, seq: u64, kind: &'static str) -> Envelope {
    let bid_count = u32::try_from(seq).expect("small");
    let leader = Some(BidderNo(1));
    let after = After { bid_count, ends_at: NOW, leader, price: won(seq) };
    let data = "{}".to_owned();
    Envelope { auction_id, seq, kind: kind.into(), at: NOW, data, hash: Hash::ZERO, after }
}

pub(super) fn bid(auction_id: AuctionId, seq: u64) -> Envelope {
    event(auction_id, seq, "bid.placed")
}

pub(super) fn standing(auction_id: AuctionId, seq: u64) -> Standing {
    Standing {
        auction_id,
        seq,
        status: "live".to_owned(),
        result: None,
        price: won(seq),
        minimum_next_bid: Some(won(seq + 1)),
        bid_count: u32::try_from(seq).expect("small"),
        leader_alias: Some("bidder-1".to_owned()),
        reserve_met: true,
        ends_at: NOW,
    }
}

/// One field of a frame.
pub(super) fn field<'a>(frame: &'a Bytes, name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(frame).expect("UTF-8");
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The sequence numbers of frames, in order; what has none is left out.
pub(super) fn seqs(frames: &[Bytes]) -> Vec<u64> {
    let ids = frames.iter().filter_map(|frame| field(frame, "id"));
    ids.map(|id| id.rsplit(':').next().and_then(|seq| seq.parse().ok()).expect("a seq")).collect()
}

/// A waker that counts.
#[derive(Default)]
pub(super) struct Woken(AtomicUsize);

impl Woken {
    pub fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
