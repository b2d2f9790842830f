//! What the tests of this module share: events, frames read back, and a log in memory.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

use bytes::Bytes;
use uuid::Uuid;

use super::reads::{LogPart, Reads, Standing};
use crate::{
    domain::{
        auction::BidderNo,
        id::AuctionId,
        money::{Amount, Currency, Money},
        time::Timestamp,
    },
    events::{envelope::Envelope, in_process::InProcessBus},
    log::{After, Minimum, hash::Hash},
    store::StoreError,
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
    let minimum_next_bid = Minimum::Of(won(seq + 1).amount);
    let after = After { bid_count, ends_at: NOW, leader, minimum_next_bid, price: won(seq) };
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
        reserve_met: Some(true),
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

type DuringRead = Box<dyn FnMut(&Log) + Send>;

/// The log, and the bus that it is announced on; stands for Postgres and the relay.
pub(super) struct Log {
    pub bus: InProcessBus,
    events: Mutex<HashMap<AuctionId, Vec<Envelope>>>,
    reads: AtomicUsize,
    failures: AtomicUsize,
    before_read: Mutex<Option<DuringRead>>,
    after_read: Mutex<Option<DuringRead>>,
}

impl Log {
    pub fn of(lengths: &[(AuctionId, u64)]) -> Arc<Log> {
        let log = Arc::new(Log {
            bus: InProcessBus::default(),
            events: Mutex::default(),
            reads: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
            before_read: Mutex::new(None),
            after_read: Mutex::new(None),
        });
        for (id, length) in lengths {
            for _ in 0..*length {
                log.append(*id, "auction.edited");
            }
        }
        log
    }

    /// Commits an event that the bus does not carry yet, or ever.
    pub fn append(&self, id: AuctionId, kind: &'static str) -> Envelope {
        let mut events = self.events.lock().expect("not poisoned");
        let log = events.entry(id).or_default();
        let event = event(id, log.len() as u64 + 1, kind);
        log.push(event.clone());
        event
    }

    pub fn publish(&self, events: Vec<Envelope>) {
        self.bus.tell(&Arc::new(events));
    }

    /// Commits an event and announces it.
    pub fn commit(&self, id: AuctionId, kind: &'static str) -> u64 {
        let event = self.append(id, kind);
        let seq = event.seq;
        self.publish(vec![event]);
        seq
    }

    pub fn length(&self, id: AuctionId) -> u64 {
        self.events.lock().expect("not poisoned").get(&id).map_or(0, |log| log.len() as u64)
    }

    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub fn fail_next(&self, reads: usize) {
        self.failures.store(reads, Ordering::Relaxed);
    }

    pub fn around_reads(
        &self,
        before: impl FnMut(&Log) + Send + 'static,
        after: impl FnMut(&Log) + Send + 'static,
    ) {
        *self.before_read.lock().expect("not poisoned") = Some(Box::new(before));
        *self.after_read.lock().expect("not poisoned") = Some(Box::new(after));
    }

    fn run(&self, hook: &Mutex<Option<DuringRead>>) {
        if let Some(hook) = hook.lock().expect("not poisoned").as_mut() {
            hook(self);
        }
    }

    async fn read<T>(
        &self,
        what: impl FnOnce(&HashMap<AuctionId, Vec<Envelope>>) -> T,
    ) -> Result<T, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.run(&self.before_read);
        tokio::task::yield_now().await;
        let less = |failures: usize| failures.checked_sub(1);
        if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            return Err(StoreError::Malformed("as the test wants".to_owned()));
        }
        let answer = what(&self.events.lock().expect("not poisoned"));
        self.run(&self.after_read);
        tokio::task::yield_now().await;
        Ok(answer)
    }

    pub fn as_reads(self: &Arc<Self>) -> Reads {
        let (standings, logs) = (Arc::clone(self), Arc::clone(self));
        Reads {
            standing: Box::new(move |id| {
                let log = Arc::clone(&standings);
                Box::pin(async move {
                    log.read(|all| Some(standing(id, all.get(&id)?.len() as u64))).await
                })
            }),
            log: Box::new(move |id, after, limit| {
                let log = Arc::clone(&logs);
                Box::pin(async move {
                    log.read(|all| {
                        let events = all.get(&id).into_iter().flatten();
                        let mut rest = events.filter(|event| event.seq > after);
                        let events = rest.by_ref().take(limit).cloned().collect();
                        LogPart { events, has_more: rest.next().is_some() }
                    })
                    .await
                })
            }),
        }
    }
}
