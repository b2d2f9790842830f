//! The outbox relay: has the bus carry committed events, then forgets their outbox rows.
//!
//! The lanes hand each committed batch over in memory; the table is read to catch up, after a
//! start, after a failure, or when the relay fell behind, and regularly for what others wrote. A
//! lane never waits for the relay. What was not confirmed is published again, and with it everything
//! after it: consumers drop what they had. Whoever has lost the lease on the database publishes
//! nothing: what it still commits waits in the table, for itself or for the next owner.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesOrdered};
use tokio::sync::{Notify, mpsc};

use super::{
    breakpoint::{self, Point},
    bus::{BoxFuture, Bus, CommittedEvents, PublishError},
    delivery::told,
    envelope::Envelope,
};
use crate::{
    domain::id::AuctionId,
    store::{Owned, Store, StoreError},
};

/// Committed batches that may wait in memory; past it the relay reads the table.
pub const BATCHES_WAITING_MAX: usize = 1_024;
/// Commits that the viewers in this process have not been told of yet; past it the lane tells them.
const COMMITS_UNTOLD_MAX: usize = 1_024;
/// Batches that the bus has and has not confirmed yet.
const BATCHES_UNDER_WAY_MAX: usize = 256;
/// Outbox rows that are forgotten in one statement.
const FORGOTTEN_AT_ONCE_MAX: usize = 1_024;
/// Outbox rows that are read at once when catching up.
const COMMITS_READ_AT_ONCE: usize = 64;
/// Auctions whose events are read at once when catching up.
const RANGES_READ_AT_ONCE: usize = 256;
/// Events that go to the bus as one commit when catching up.
const EVENTS_AT_ONCE_MAX: usize = 1_024;
/// How long a published row may stay: forgetting costs a transaction, which many rows can share.
/// After a crash those that stayed are published again; consumers drop what they had.
const FORGOTTEN_WITHIN: Duration = Duration::from_millis(100);
/// How often the table is looked at for what was not handed over: auctions that were created, by
/// this server or by `hoga import`.
const TABLE_READ_EVERY: Duration = Duration::from_millis(500);
/// Pause after the bus or Postgres failed; doubled until [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause before another try.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A committed batch on its way out.
pub struct Batch {
    /// Its row in the outbox.
    pub outbox_id: i64,
    /// Its events, all durable.
    pub events: CommittedEvents,
}

/// The lanes' end of the relay.
#[derive(Clone)]
pub struct RelayHandle {
    sender: mpsc::Sender<Batch>,
    untold: mpsc::Sender<CommittedEvents>,
    behind: Arc<AtomicBool>,
    look: Arc<Notify>,
    bus: Arc<dyn Bus>,
}

impl RelayHandle {
    /// Hands over a committed batch. If the relay is too far behind it will find it in the table.
    /// Viewers in this process are told by the relay's task, which has the time that a lane has not.
    pub fn hand_over(&self, batch: Batch) {
        if let Err(refused) = self.untold.try_send(Arc::clone(&batch.events)) {
            self.bus.tell(&refused.into_inner());
        }
        if self.sender.try_send(batch).is_err() {
            self.behind.store(true, Ordering::Release);
        }
    }

    /// Something was committed that is in the table alone, such as the first event of an auction.
    pub fn look(&self) {
        self.look.notify_one();
    }
}

/// Why the relay does not get on.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    #[error("the outbox cannot be reached")]
    Store(#[from] StoreError),
    #[error("events cannot be published")]
    Bus(#[from] PublishError),
    #[error("the lease on the database is lost, and its next owner publishes")]
    NoLease,
    #[error(
        "event {seq} of auction {auction} cannot be read, and nothing after it is published until its \
         row in `events` is what was written"
    )]
    Unreadable { auction: AuctionId, seq: i64 },
}

type UnderWay = FuturesOrdered<BoxFuture<'static, (i64, u64, Result<(), PublishError>)>>;

/// The relay itself; see [`Relay::run`].
pub struct Relay {
    receiver: mpsc::Receiver<Batch>,
    untold: mpsc::Receiver<CommittedEvents>,
    behind: Arc<AtomicBool>,
    look: Arc<Notify>,
    store: Store,
    bus: Arc<dyn Bus>,
    owned: Owned,
    under_way: UnderWay,
    /// The rows of those, oldest first.
    rows_under_way: VecDeque<i64>,
    /// Confirmed, and to be forgotten.
    published: Vec<i64>,
    /// The newest row when the table was looked at last.
    newest_seen: i64,
    pause: Duration,
    is_stuck: bool,
}

impl Relay {
    /// A relay to a bus, and the handle for the lanes. It publishes what this server owns, and only while
    /// the lease is held: two who publish beside each other would let one's events overtake the other's.
    pub fn new(store: Store, bus: Arc<dyn Bus>, owned: Owned) -> (RelayHandle, Relay) {
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING_MAX);
        let (untold_sender, untold) = mpsc::channel(COMMITS_UNTOLD_MAX);
        // Whatever an earlier run left in the table comes first.
        let behind = Arc::new(AtomicBool::new(true));
        let look = Arc::new(Notify::new());
        let handle = RelayHandle {
            sender,
            untold: untold_sender,
            behind: Arc::clone(&behind),
            look: Arc::clone(&look),
            bus: Arc::clone(&bus),
        };
        let relay = Relay {
            receiver,
            untold,
            behind,
            look,
            store,
            bus,
            owned,
            under_way: UnderWay::new(),
            rows_under_way: VecDeque::new(),
            published: Vec::new(),
            newest_seen: 0,
            pause: PAUSE,
            is_stuck: false,
        };
        (handle, relay)
    }

    /// Relays until every handle is gone and nothing waits.
    pub async fn run(mut self) {
        let (_, nobody) = mpsc::channel(1);
        let untold = std::mem::replace(&mut self.untold, nobody);
        // Beside each other: viewers do not wait for Postgres, nor for a consumer.
        tokio::join!(tell(untold, Arc::clone(&self.bus)), self.relay());
    }

    async fn relay(mut self) {
        let look = Arc::clone(&self.look);
        let mut forget = interval(FORGOTTEN_WITHIN);
        let mut look_at_table = interval(TABLE_READ_EVERY);
        let mut is_open = true;
        while is_open || !self.under_way.is_empty() {
            if self.behind.swap(false, Ordering::AcqRel) {
                self.begin_anew().await;
                if self.receiver.is_closed() && self.is_stuck {
                    return;
                }
            }
            tokio::select! {
                biased;
                Some((row, events, outcome)) = self.under_way.next() => {
                    self.settle(row, events, outcome);
                    if self.published.len() >= FORGOTTEN_AT_ONCE_MAX {
                        self.forget().await;
                    }
                }
                () = look.notified() => self.behind.store(true, Ordering::Release),
                _ = forget.tick() => self.forget().await,
                _ = look_at_table.tick() => self.look_for_others().await,
                batch = self.receiver.recv(),
                    if is_open && self.under_way.len() < BATCHES_UNDER_WAY_MAX =>
                {
                    match batch {
                        Some(batch) => self.publish(batch),
                        None => is_open = false,
                    }
                }
            }
        }
        self.forget().await;
    }

    fn publish(&mut self, Batch { outbox_id, events }: Batch) {
        if !self.owned.is_leased() {
            // It is in the table.
            self.behind.store(true, Ordering::Release);
            return;
        }
        breakpoint::pass(Point::Committed);
        let count = events.len() as u64;
        metrics::counter!("hoga_relay_published_total").increment(count);
        let outcome = self.bus.publish(events);
        self.rows_under_way.push_back(outbox_id);
        self.under_way.push_back(Box::pin(async move { (outbox_id, count, outcome.await) }));
    }

    fn settle(&mut self, row: i64, events: u64, outcome: Result<(), PublishError>) {
        self.rows_under_way.pop_front();
        match outcome {
            Ok(()) => {
                breakpoint::pass(Point::Confirmed);
                metrics::counter!("hoga_relay_confirmed_total").increment(events);
                self.published.push(row);
            }
            Err(_) => {
                metrics::counter!("hoga_relay_retried_total").increment(events);
                self.behind.store(true, Ordering::Release);
            }
        }
    }

    async fn forget(&mut self) {
        if self.published.is_empty() {
            return;
        }
        if let Err(error) = self.store.outbox_published(&self.published).await {
            self.say_stuck(&error.into());
            self.behind.store(true, Ordering::Release);
        }
        self.published.clear();
    }

    /// Waits until nothing is under way, then publishes what the table holds.
    async fn begin_anew(&mut self) {
        while let Some((row, events, outcome)) = self.under_way.next().await {
            self.settle(row, events, outcome);
        }
        self.forget().await;
        self.behind.store(false, Ordering::Release);
        self.bus.resume();
        match self.catch_up().await {
            Ok(()) => {
                self.pause = PAUSE;
                if std::mem::replace(&mut self.is_stuck, false) {
                    tracing::info!("the relay publishes again");
                }
            }
            Err(error) => {
                self.say_stuck(&error);
                self.behind.store(true, Ordering::Release);
                let pause = tokio::time::sleep(self.pause);
                tokio::select! {
                    () = pause => self.pause = (self.pause * 2).min(PAUSE_MAX),
                    // Readers wait for it.
                    () = self.bus.opened() => self.pause = PAUSE,
                }
            }
        }
    }

    /// Publishes what the table holds, oldest first, until it is nearly empty: under load it never
    /// is, for the lanes go on. What waits in memory is in the table, too, and is let go.
    async fn catch_up(&mut self) -> Result<(), Stuck> {
        loop {
            while self.receiver.try_recv().is_ok() {}
            if !self.owned.is_leased() {
                return Err(Stuck::NoLease);
            }
            let limit = i64::try_from(COMMITS_READ_AT_ONCE).unwrap_or(i64::MAX);
            let rows = self.store.outbox_oldest(&self.owned.slots(), limit).await?;
            let ranges: Vec<_> = rows.iter().flat_map(|row| row.ranges.iter().copied()).collect();
            for ranges in ranges.chunks(RANGES_READ_AT_ONCE) {
                let events = self.store.events_in(ranges).await?;
                let events = events.into_iter().map(|row| {
                    let (auction, seq) = (row.auction_id, row.seq);
                    Envelope::from_row(row).ok_or(Stuck::Unreadable { auction, seq })
                });
                self.publish_again(&events.collect::<Result<Vec<_>, _>>()?).await?;
            }
            let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
            self.store.outbox_published(&ids).await?;
            if ids.len() < COMMITS_READ_AT_ONCE {
                return Ok(());
            }
        }
    }

    async fn publish_again(&mut self, events: &[Envelope]) -> Result<(), PublishError> {
        let commits: Vec<_> = events
            .chunks(EVENTS_AT_ONCE_MAX)
            .map(|some| CommittedEvents::new(some.to_vec()))
            .collect();
        let outcomes: Vec<_> = commits
            .into_iter()
            .map(|commit| {
                self.bus.tell(&commit);
                metrics::counter!("hoga_relay_published_total").increment(commit.len() as u64);
                breakpoint::pass(Point::Committed);
                self.bus.publish(commit)
            })
            .collect();
        let mut all = Ok(());
        for outcome in outcomes {
            all = all.and(outcome.await);
        }
        if all.is_ok() {
            breakpoint::pass(Point::Confirmed);
            metrics::counter!("hoga_relay_confirmed_total").increment(events.len() as u64);
        } else {
            metrics::counter!("hoga_relay_retried_total").increment(events.len() as u64);
        }
        all
    }

    /// Notices rows that nobody handed over: they were there the last time already.
    async fn look_for_others(&mut self) {
        let limit = i64::try_from(COMMITS_READ_AT_ONCE).unwrap_or(i64::MAX);
        let looked = async {
            let newest = self.store.outbox_newest().await?;
            Ok::<_, StoreError>((
                self.store.outbox_oldest(&self.owned.slots(), limit).await?,
                newest,
            ))
        };
        match looked.await {
            Ok((rows, newest)) => {
                let known: HashSet<i64> =
                    self.rows_under_way.iter().chain(&self.published).copied().collect();
                let newest_seen = std::mem::replace(&mut self.newest_seen, newest);
                if rows.iter().any(|row| row.id <= newest_seen && !known.contains(&row.id)) {
                    self.behind.store(true, Ordering::Release);
                }
            }
            Err(error) => self.say_stuck(&error.into()),
        }
    }

    /// Once, until it gets on again.
    fn say_stuck(&mut self, error: &Stuck) {
        if !std::mem::replace(&mut self.is_stuck, true) {
            tracing::warn!(error = told(error), "the relay does not get on; events wait");
        }
    }
}

/// Tells viewers in this process, in the order of the commits of each lane.
async fn tell(mut untold: mpsc::Receiver<CommittedEvents>, bus: Arc<dyn Bus>) {
    while let Some(events) = untold.recv().await {
        bus.tell(&events);
    }
}

fn interval(every: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::events::bus::BusStanding;

    /// Counts the commits that viewers were told of.
    #[derive(Default)]
    struct Counting {
        told: AtomicUsize,
        notice: Notify,
    }

    impl Bus for Counting {
        fn tell(&self, _: &CommittedEvents) {
            self.told.fetch_add(1, Ordering::SeqCst);
            self.notice.notify_one();
        }

        fn publish(&self, _: CommittedEvents) -> BoxFuture<'static, Result<(), PublishError>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn resume(&self) {}

        fn opened(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::pending())
        }

        fn standing(&self) -> BusStanding {
            BusStanding::Up
        }
    }

    #[tokio::test]
    async fn viewers_are_told_by_the_relay_and_not_by_who_hands_over() {
        let nowhere: tokio_postgres::Config =
            "postgres://nobody@127.0.0.1:1/nothing".parse().expect("a configuration");
        let store = Store::new(nowhere).expect("a store");
        let bus = Arc::new(Counting::default());
        let (handle, relay) =
            Relay::new(store, Arc::clone(&bus) as Arc<dyn Bus>, Owned::everything());
        let batch = |outbox_id| Batch { outbox_id, events: CommittedEvents::default() };
        let told = || bus.told.load(Ordering::SeqCst);
        handle.hand_over(batch(1));
        assert_eq!(told(), 0, "whoever hands over goes on at once");
        for id in 2..=COMMITS_UNTOLD_MAX as i64 + 1 {
            handle.hand_over(batch(id));
        }
        assert_eq!(told(), 1, "but nothing is dropped when there is no room");
        let relay = tokio::spawn(relay.run());
        while told() < COMMITS_UNTOLD_MAX + 1 {
            let notice = tokio::time::timeout(Duration::from_secs(30), bus.notice.notified());
            notice.await.expect("the relay tells, although Postgres is away");
        }
        relay.abort();
    }
}
