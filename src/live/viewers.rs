//! Who watches what: the viewers and the topics, and the frames from the one to the other.
//!
//! Owns the count of viewers, the table of topics and the shared ticker's turns. Waits for nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    time::Instant,
};

use dashmap::DashMap;

use super::{
    check::WatchedTopic,
    frame::{Form, is_price, retry},
    queue::{COALESCE_ABOVE, FRAMES_WAITING_MAX, Queue},
    quota::{QuotaMax, StreamQuota, Watcher},
    topic::{Offered, Topic, ViewerNo},
    viewer::Viewer,
    wanted::WatchError,
};
use crate::{
    domain::{id::AuctionId, time::Timestamp},
    events::{envelope::Envelope, in_process::CommittedEvents},
};

/// Parts into which the viewers are dealt, so that keep-alives go out spread over their period.
pub(super) const TURNS: usize = 15;
/// After how long a viewer comes back when its connection breaks.
const RETRY_MS: u64 = 2_000;
/// Added to that, at most, so that those who were cut together do not come back together.
const RETRY_JITTER_MS: u64 = 1_000;
/// The jitter when the server itself goes, and everybody is cut at once.
const RETRY_JITTER_CLOSING_MS: u64 = 8_000;
/// Prices of one auction that are told one by one in a round; of more, only the newest.
pub(super) const PRICES_PER_ROUND_MAX: usize = COALESCE_ABOVE;
/// Events of one auction that viewers are sent without time to read in between: with the prices
/// they are fewer than a queue holds.
pub(super) const EVENTS_AT_ONCE_MAX: usize = FRAMES_WAITING_MAX * 3 / 4;
/// Frames to viewers in one round, before each auction's newest price has to do.
const FRAMES_PER_ROUND_MAX: usize = 16_384;

/// Fewer viewers are told of a storm at once.
const STORM_VIEWERS_MIN: usize = 1_000;

/// See the module.
pub(super) struct Viewers {
    quota: Arc<StreamQuota>,
    next_no: AtomicU64,
    is_closing: AtomicBool,
    turns: [Mutex<HashMap<ViewerNo, Arc<Queue>>>; TURNS],
    topics: DashMap<AuctionId, Arc<Entry>>,
}

/// A topic in the table.
pub(super) struct Entry {
    pub id: AuctionId,
    topic: Mutex<Topic>,
    /// One reader at a time; those who wait share what it found.
    pub reading: tokio::sync::Mutex<super::hub::LastRead>,
    /// Reads begun, to tell whether what another reader found is recent enough.
    pub reads_begun: AtomicU64,
}

impl Entry {
    fn new(id: AuctionId) -> Entry {
        Entry {
            id,
            topic: Mutex::new(Topic::new(id)),
            reading: tokio::sync::Mutex::default(),
            reads_begun: AtomicU64::new(0),
        }
    }

    pub fn topic(&self) -> MutexGuard<'_, Topic> {
        self.topic.lock().expect("nothing panics while it holds a topic")
    }

    pub fn viewers(&self) -> usize {
        self.topic().viewers()
    }

    /// See [`Topic::behind`].
    pub fn behind(&self) -> Option<u64> {
        self.topic().behind()
    }
}

/// What a round of events came to.
pub(super) struct Round {
    /// Frames that were sent.
    pub sent: usize,
    /// Topics that must catch up from the log.
    pub gaps: Vec<Arc<Entry>>,
    /// Topics whose viewers have not been woken, because prices come faster than so many can be
    /// told: they are to be woken a few at a time.
    pub storms: Vec<AuctionId>,
    /// Those viewers.
    pub to_wake: Vec<Waker>,
}

impl Viewers {
    pub fn new(quota_max: QuotaMax) -> Viewers {
        Viewers {
            quota: StreamQuota::new(quota_max),
            next_no: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
            turns: Default::default(),
            topics: DashMap::new(),
        }
    }

    pub fn viewers(&self) -> usize {
        self.quota.taken()
    }

    pub fn quota(&self) -> &Arc<StreamQuota> {
        &self.quota
    }

    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    fn turn(&self, no: usize) -> MutexGuard<'_, HashMap<ViewerNo, Arc<Queue>>> {
        self.turns[no].lock().expect("nothing panics while it holds a turn")
    }

    fn turn_of(&self, no: ViewerNo) -> MutexGuard<'_, HashMap<ViewerNo, Arc<Queue>>> {
        self.turn((no % TURNS as u64) as usize)
    }

    /// A new viewer, whose stream begins with the `retry:`.
    pub fn admit(
        self: &Arc<Self>,
        who: Watcher,
        form: Form,
        auctions: Vec<AuctionId>,
    ) -> Result<Viewer, WatchError> {
        let permit = self.quota.take(who)?;
        let no = self.next_no.fetch_add(1, Ordering::Relaxed);
        // From here on the drop of the viewer gives its permit back.
        let viewer = Viewer::new(no, form, auctions, Arc::clone(self), permit);
        viewer.queue.begin([retry(jittered(RETRY_JITTER_MS))]);
        let mut turn = self.turn_of(no);
        // Under the lock: either close() sees this viewer, or this sees close().
        if self.is_closing() {
            drop(turn);
            return Err(WatchError::Closing);
        }
        turn.insert(no, Arc::clone(&viewer.queue));
        drop(turn);
        Ok(viewer)
    }

    /// The topic of an auction, with this viewer in it as one that is joining.
    pub fn enter(&self, viewer: &Viewer, id: AuctionId) -> Arc<Entry> {
        let entry = self.topics.entry(id).or_insert_with(|| Arc::new(Entry::new(id)));
        // While the table holds the entry, so that the sweep does not take it in between.
        entry.topic().enter(viewer.no, Arc::clone(&viewer.queue));
        Arc::clone(&entry)
    }

    pub fn leave(&self, no: ViewerNo, auctions: &[AuctionId]) {
        self.turn_of(no).remove(&no);
        let now = Instant::now();
        for id in auctions {
            self.topics.remove_if(id, |_, entry| {
                let mut topic = entry.topic();
                topic.leave(no, now);
                topic.is_over(now)
            });
        }
    }

    /// Sends committed events to those who watch, in the order in which they were committed.
    /// Nothing is told of those in `resting`.
    pub fn deliver(
        &self,
        commits: &[CommittedEvents],
        resting: &HashSet<AuctionId>,
        now: Timestamp,
    ) -> Round {
        let events = commits.iter().flat_map(|commit| commit.iter());
        let events = events.filter(|event| !resting.contains(&event.auction_id));
        let watched: Vec<(Arc<Entry>, &Envelope)> = events
            .filter_map(|event| {
                self.topics.get(&event.auction_id).map(|entry| (Arc::clone(&entry), event))
            })
            .collect();
        let frames: usize = watched.iter().map(|(entry, _)| entry.viewers()).sum();
        let prices_max = if frames > FRAMES_PER_ROUND_MAX { 1 } else { PRICES_PER_ROUND_MAX };
        let superseded = superseded(watched.iter().map(|(_, event)| *event), prices_max);
        let storms = storms(&watched, &superseded);
        let gaps = crowded(&watched, &superseded);
        let mut round = Round { sent: 0, gaps, storms: Vec::new(), to_wake: Vec::new() };
        for ((entry, event), is_superseded) in watched.iter().zip(superseded) {
            let mut topic = entry.topic();
            if storms.contains(&entry.id) {
                topic.hold_wakers();
            }
            let offered = topic.offer(event, is_superseded, now);
            round.to_wake.append(&mut topic.take_to_wake());
            drop(topic);
            match offered {
                Offered::Taken(sent) => round.sent += sent,
                Offered::Passed => {}
                Offered::Gap => round.gaps.push(Arc::clone(entry)),
            }
        }
        round.storms.extend(storms);
        round
    }

    /// The bus has lost events: the topics that must catch up from the log.
    pub fn lost_some(&self) -> Vec<Arc<Entry>> {
        let now = Instant::now();
        let mut behind = Vec::new();
        self.topics.retain(|_, entry| {
            let mut topic = entry.topic();
            if topic.lost_some() {
                behind.push(Arc::clone(entry));
            }
            !topic.is_over(now)
        });
        behind
    }

    /// Those of these topics that are to catch up from the log, and are not at it already.
    pub fn behind(&self, ids: &[AuctionId]) -> Vec<Arc<Entry>> {
        let entries =
            ids.iter().filter_map(|id| self.topics.get(id).map(|entry| Arc::clone(&entry)));
        entries.filter(|entry| entry.topic().lost_some()).collect()
    }

    /// What somebody watches.
    pub fn watched(&self) -> Vec<WatchedTopic> {
        let watched = self.topics.iter().filter_map(|entry| {
            let (id, topic) = (entry.id, entry.topic());
            let head = topic.head().filter(|_| topic.viewers() > 0)?;
            Some(WatchedTopic { id, head, brought: topic.brought() })
        });
        watched.collect()
    }

    /// One part of the viewers gets its keep-alive. After the last part, topics that nobody needs
    /// any more go.
    pub fn tick(&self, turn: usize) {
        // Who is cut here leaves its topics when its connection drops the viewer.
        self.turn(turn).values().for_each(|queue| {
            queue.keep_alive();
        });
        if turn + 1 == TURNS {
            let now = Instant::now();
            self.topics.retain(|_, entry| {
                let mut topic = entry.topic();
                topic.sweep();
                !topic.is_over(now)
            });
        }
    }

    /// Ends every stream, and refuses new ones.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        for no in 0..TURNS {
            for queue in self.turn(no).values() {
                queue.end(retry(jittered(RETRY_JITTER_CLOSING_MS)));
            }
        }
    }

    #[cfg(test)]
    pub fn topics(&self) -> usize {
        self.topics.len()
    }
}

/// Topics that many watch and of which prices are left out: telling them as fast as possible would
/// take the processor from those who bid.
fn storms(watched: &[(Arc<Entry>, &Envelope)], superseded: &[bool]) -> HashSet<AuctionId> {
    let left_out = watched.iter().zip(superseded).filter(|(_, superseded)| **superseded);
    let mut storms: HashSet<AuctionId> = left_out.map(|((entry, _), _)| entry.id).collect();
    storms.retain(|id| {
        watched.iter().any(|(entry, _)| entry.id == *id && entry.viewers() >= STORM_VIEWERS_MIN)
    });
    storms
}

/// Topics with more to tell in one round than a queue takes. They are told from the log instead, in
/// pages that viewers have time to read: otherwise a burst would cut even those who do read.
fn crowded(watched: &[(Arc<Entry>, &Envelope)], superseded: &[bool]) -> Vec<Arc<Entry>> {
    let mut told: HashMap<AuctionId, usize> = HashMap::new();
    let mut crowded = Vec::new();
    for ((entry, _), _) in watched.iter().zip(superseded).filter(|(_, superseded)| !**superseded) {
        let count = told.entry(entry.id).or_default();
        *count += 1;
        if *count == EVENTS_AT_ONCE_MAX + 1 && entry.topic().lost_some() {
            crowded.push(Arc::clone(entry));
        }
    }
    crowded
}

fn jittered(jitter_ms: u64) -> u64 {
    RETRY_MS + rand::random_range(0..=jitter_ms)
}

/// Which events of a round need not be told: of an auction with more prices than `prices_max`, all
/// but the newest. By sequence number, as a round may hold events again that were told before.
pub(super) fn superseded<'a>(
    events: impl Iterator<Item = &'a Envelope> + Clone,
    prices_max: usize,
) -> Vec<bool> {
    let mut prices: HashMap<AuctionId, (usize, u64)> = HashMap::new();
    for event in events.clone().filter(|event| is_price(event)) {
        let (count, newest) = prices.entry(event.auction_id).or_default();
        *count += 1;
        *newest = event.seq.max(*newest);
    }
    events
        .map(|event| {
            let (count, newest) = prices.get(&event.auction_id).copied().unwrap_or_default();
            is_price(event) && count > prices_max && event.seq < newest
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::auction::Event,
        live::testing::{auction, bid, event},
    };

    #[test]
    fn of_a_round_with_many_prices_nothing_but_prices_is_passed_over() {
        for kind in Event::KINDS.into_iter().filter(|kind| *kind != "bid.placed") {
            let mut round: Vec<Envelope> = (1..=100).map(|seq| bid(auction(1), seq)).collect();
            for seq in [7, 50, 99] {
                round[seq - 1] = event(auction(1), seq as u64, kind);
            }
            for prices_max in [0, 1, PRICES_PER_ROUND_MAX] {
                let passed_over = superseded(round.iter(), prices_max);
                let told = round.iter().zip(passed_over).filter(|(_, passed_over)| !passed_over);
                let told: Vec<u64> = told.map(|(event, _)| event.seq).collect();
                assert_eq!(told, [7, 50, 99, 100], "{kind}");
            }
        }
    }
}
