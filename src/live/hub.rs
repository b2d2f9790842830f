//! The hub: takes committed events from the bus to those who watch, and lets viewers join.
//!
//! Owns the order in which a stream is put together: first it enters the topic, then it reads, then
//! it goes on live from where the reading ended, so that nothing that commits in between is lost
//! or doubled. Must never make the bus or a lane wait, nor a viewer wait for another.

use std::{
    num::NonZero,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::try_join_all};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{Instant, MissedTickBehavior},
};

use super::{
    check,
    frame::{Frame, Reset, reset},
    pace::{Pace, TURN_EVERY},
    queue::FRAMES_WAITING_MAX,
    quota::{QuotaMax, StreamQuota, Watcher},
    reads::{LogPart, Reads, Standing},
    tail,
    topic::{BYTES_REPLAYED_MAX, EVENTS_REPLAYED_MAX, FRAMES_REMEMBERED_MAX},
    viewer::Viewer,
    viewers::{Entry, PRICES_PER_ROUND_MAX, TURNS, Viewers, superseded},
    wanted::{Wanted, WatchError},
};
use crate::tasks::Tasks;
use crate::{
    domain::id::AuctionId,
    events::{
        bus::Bus,
        envelope::Envelope,
        feed::{Feed, Heard},
        in_process::{COMMITS_KEPT_MAX, CommittedEvents},
    },
    store::{Store, StoreError},
    wall_clock,
};

/// Commits that are taken from the bus at once.
const COMMITS_PER_ROUND_MAX: usize = COMMITS_KEPT_MAX;
/// Pause after a round, for each frame that it sent: the connections need the processor too, and
/// what collects meanwhile is told as one newest price.
const PAUSE_PER_FRAME: Duration = Duration::from_micros(5);
/// Shorter pauses are not worth a timer.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// No event waits longer for a round to begin.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// No page of a topic that catches up waits longer for the one before to be read by the viewers.
const PAGE_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Entries of the log that are read at once for a replay.
const LOG_PAGE: usize = 256;
/// Entries of the log that are read at once while catching up: two pages fit into a queue.
const CATCH_UP_PAGE: usize = FRAMES_WAITING_MAX / 2;
/// Reads for streams that run at once: half of the readers' connections, however many come back.
const READS_AT_ONCE_MAX: usize = 6;
/// Auctions of one stream that are joined side by side.
const JOINS_AT_ONCE: usize = 8;
/// How often a viewer tries to join a topic that moves on while it reads.
const JOIN_ATTEMPTS_MAX: usize = 8;
/// Pause before the log is asked again after Postgres could not be.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How many may watch, and how often they hear that the stream lives.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// Streams at once.
    pub quota_max: QuotaMax,
    /// Between two comments to a viewer to whom nothing else was sent.
    pub keep_alive_every: Duration,
}

impl Default for LiveOptions {
    fn default() -> Self {
        let quota_max = QuotaMax { all: 40_000, per_address: 1_000, per_user: 50 };
        LiveOptions { quota_max, keep_alive_every: Duration::from_secs(15) }
    }
}

/// Streams of events to viewers. Clones are the same hub.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    tasks: Tasks,
    viewers: Arc<Viewers>,
    reads: Reads,
    reading: Semaphore,
    /// How often the bus lost events, and said so.
    losses: AtomicU64,
    /// Whether the bus loses events and does not say so.
    is_losing: AtomicBool,
    closing: Notify,
}

/// What the last reader of an auction found, and which read it was.
#[derive(Default)]
pub(super) struct LastRead {
    no: u64,
    standing: Option<Arc<Standing>>,
}

impl Hub {
    /// Starts to take events from a feed. Call it within a tokio or actix runtime, before the first
    /// viewer; it runs until it is closed or the feed has ended.
    pub fn start(feed: impl Feed, store: Store, options: LiveOptions, tasks: &Tasks) -> Hub {
        Hub::start_with(feed, Reads::from_store(store), &options, tasks)
    }

    /// Starts to follow the log in Postgres, where no bus reaches: what is watched is looked after
    /// every [`super::FOLLOWED_EVERY`].
    pub fn follow(store: Store, options: LiveOptions, tasks: &Tasks) -> Hub {
        let reads = Reads::from_store(store.clone());
        let (tail, feed) = tail::tail();
        let hub = Hub::start_with(feed, reads, &options, tasks);
        let viewers = Arc::downgrade(&hub.inner.viewers);
        tasks.vital("tail of the log", tail.run(store.for_background(), viewers));
        hub
    }

    /// From now on what the bus brings is held against the log, and what it loses is read there.
    pub fn hold_against(&self, store: Store, bus: Weak<dyn Bus>) {
        let inner = Arc::downgrade(&self.inner);
        let again = move || check::run(store.clone(), bus.clone(), inner.clone());
        self.inner.tasks.keep("check of the bus", again);
    }

    /// Whether the bus loses events, which [`Hub::hold_against`] finds out.
    pub fn is_losing(&self) -> bool {
        self.inner.is_losing.load(Ordering::Acquire)
    }

    pub(super) fn start_with(
        feed: impl Feed,
        reads: Reads,
        options: &LiveOptions,
        tasks: &Tasks,
    ) -> Hub {
        let inner = Arc::new(Inner {
            tasks: tasks.clone(),
            viewers: Arc::new(Viewers::new(options.quota_max)),
            reads,
            reading: Semaphore::new(READS_AT_ONCE_MAX),
            losses: AtomicU64::new(0),
            is_losing: AtomicBool::new(false),
            closing: Notify::new(),
        });
        let every = options.keep_alive_every / TURNS as u32;
        tasks.vital("hub", Arc::clone(&inner).run(feed, every));
        Hub { inner }
    }

    /// A stream of what is wanted: as it stands, or what was missed; then what happens.
    ///
    /// # Errors
    /// When an auction does not exist or cannot be read, or no more viewers are taken.
    pub async fn watch(&self, who: Watcher, wanted: Wanted) -> Result<Viewer, WatchError> {
        let (form, auctions) = wanted.folded()?;
        let ids = auctions.iter().map(|(id, _)| *id).collect();
        let viewer = self.inner.viewers.admit(who, form, ids)?;
        for some in auctions.chunks(JOINS_AT_ONCE) {
            let joins = some.iter().map(|(id, last)| self.inner.join(&viewer, *id, *last));
            let beginnings = try_join_all(joins).await?;
            viewer.queue.begin(beginnings.into_iter().flatten());
        }
        if self.inner.viewers.is_closing() { Err(WatchError::Closing) } else { Ok(viewer) }
    }

    /// The permits of streams, for those of other kinds that are counted with them.
    pub fn quota(&self) -> &Arc<StreamQuota> {
        self.inner.viewers.quota()
    }

    /// How many streams are open.
    pub fn viewers(&self) -> usize {
        self.inner.viewers.viewers()
    }

    /// Shutdown: ends every stream after what it still has to say and a `retry:` that spreads the
    /// viewers' return, and refuses new ones.
    pub fn close(&self) {
        self.inner.viewers.close();
        self.inner.closing.notify_one();
    }

    #[cfg(test)]
    pub(super) fn topics(&self) -> usize {
        self.inner.viewers.topics()
    }
}

/// What a viewer begins with.
enum Beginning {
    /// With what it missed, from the topic, which is now able to tell.
    Missed,
    /// With the auction as it stands.
    Snapshot(Arc<Standing>, Option<Reset>),
}

impl Inner {
    pub fn viewers(&self) -> &Viewers {
        &self.viewers
    }

    /// How often the bus has said that it lost events.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// What it was before.
    pub fn set_losing(&self, is_losing: bool) -> bool {
        self.is_losing.swap(is_losing, Ordering::AcqRel)
    }

    /// Reads of these auctions what is in the log and was not brought.
    pub fn read_from_log(self: &Arc<Self>, auctions: &[AuctionId]) {
        self.start_to_catch_up(self.viewers.behind(auctions));
    }

    async fn run(self: Arc<Self>, mut feed: impl Feed, tick_every: Duration) {
        let mut ticks = tokio::time::interval_at(Instant::now() + tick_every, tick_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turns = (0..TURNS).cycle();
        let mut commits = Vec::new();
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut pace = Pace::new(u32::try_from(processors).unwrap_or(u32::MAX));
        let mut turn = tokio::time::interval(TURN_EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let heard = tokio::select! {
                () = self.closing.notified() => return,
                _ = ticks.tick() => {
                    self.viewers.tick(turns.next().expect("a cycle has no end"));
                    continue;
                }
                _ = turn.tick(), if pace.is_under_way() => {
                    if let Some(held) = pace.turn() {
                        self.tell(&held, &mut pace);
                    }
                    continue;
                }
                heard = feed.next() => heard,
            };
            let Some(has_lost) = collect(heard, &mut feed, &mut commits) else { return };
            let sent = self.tell(&commits, &mut pace);
            commits.clear();
            if has_lost {
                self.losses.fetch_add(1, Ordering::AcqRel);
                self.start_to_catch_up(self.viewers.lost_some());
            }
            pause_after(sent, PAUSE_MAX).await;
        }
    }

    /// Tells what was committed, but for what rests; how many frames that are, those of storms not
    /// counted, which have their own pace.
    fn tell(self: &Arc<Self>, commits: &[CommittedEvents], pace: &mut Pace) -> usize {
        pace.hold(commits);
        let mut round = self.viewers.deliver(commits, pace.resting(), wall_clock::now());
        let in_storms = round.to_wake.len();
        pace.take(&mut round);
        self.start_to_catch_up(round.gaps);
        round.sent.saturating_sub(in_storms)
    }

    fn start_to_catch_up(self: &Arc<Self>, behind: Vec<Arc<Entry>>) {
        for entry in behind {
            self.tasks.errand("catching up of a topic", Arc::clone(self).catch_up(entry));
        }
    }

    /// Lets a viewer into a topic; how its stream begins.
    async fn join(
        self: &Arc<Self>,
        viewer: &Viewer,
        id: AuctionId,
        last: Option<u64>,
    ) -> Result<Vec<Bytes>, WatchError> {
        let losses = self.losses.load(Ordering::Acquire);
        let entry = self.viewers.enter(viewer, id);
        let beginning = self.begin(viewer, &entry, last).await?;
        // The topic may have come to know where it stands only after the bus lost what followed.
        if losses != self.losses.load(Ordering::Acquire) && entry.topic().lost_some() {
            self.start_to_catch_up(vec![entry]);
        }
        Ok(beginning)
    }

    async fn begin(
        &self,
        viewer: &Viewer,
        entry: &Entry,
        last: Option<u64>,
    ) -> Result<Vec<Bytes>, WatchError> {
        let mut log_reaches = 0;
        for _ in 0..JOIN_ATTEMPTS_MAX {
            if let Some(last) = last
                && let Some(missed) = entry.topic().resume(viewer.no, last, log_reaches)
            {
                return Ok(missed);
            }
            match self.read(entry, last, &mut log_reaches).await? {
                Beginning::Missed => {}
                Beginning::Snapshot(standing, why) => {
                    let since = entry.topic().begin(viewer.no, standing.seq);
                    if let Some(since) = since {
                        return Ok(with_snapshot(viewer, &standing, why, since));
                    }
                }
            }
        }
        Err(WatchError::Busy(entry.id))
    }

    /// Finds out how a viewer begins, and reads what it needs for that.
    async fn read(
        &self,
        entry: &Entry,
        last: Option<u64>,
        log_reaches: &mut u64,
    ) -> Result<Beginning, WatchError> {
        let asked = entry.reads_begun.load(Ordering::Acquire);
        let mut last_read = entry.reading.lock().await;
        if last.is_some_and(|last| entry.topic().reaches_back_to(last, 0)) {
            return Ok(Beginning::Missed);
        }
        let standing = self.standing(entry, asked, &mut last_read).await?;
        *log_reaches = standing.seq;
        let Some(last) = last else { return Ok(Beginning::Snapshot(standing, None)) };
        match standing.seq.checked_sub(last) {
            None => Ok(Beginning::Snapshot(standing, Some(Reset::AheadOfLog))),
            Some(missed) if missed > EVENTS_REPLAYED_MAX => {
                Ok(Beginning::Snapshot(standing, Some(Reset::TooFarBack)))
            }
            Some(_) if entry.topic().reaches_back_to(last, standing.seq) => Ok(Beginning::Missed),
            Some(_) => {
                // Somewhat further back than asked for: those who come back together share it.
                let shared = standing.seq.saturating_sub(FRAMES_REMEMBERED_MAX as u64);
                let after = last.min(shared);
                match self.log_between(entry.id, after, standing.seq).await? {
                    Some(log) => {
                        entry.topic().remember(after, &log, wall_clock::now());
                        Ok(Beginning::Missed)
                    }
                    None => Ok(Beginning::Snapshot(standing, Some(Reset::TooFarBack))),
                }
            }
        }
    }

    /// The auction as it stood at some time after the read `asked` had begun.
    async fn standing(
        &self,
        entry: &Entry,
        asked: u64,
        last_read: &mut LastRead,
    ) -> Result<Arc<Standing>, WatchError> {
        if last_read.no > asked
            && let Some(standing) = &last_read.standing
        {
            return Ok(Arc::clone(standing));
        }
        let _permit = self.permit().await;
        let no = entry.reads_begun.fetch_add(1, Ordering::AcqRel) + 1;
        let standing = (self.reads.standing)(entry.id).await?;
        let standing = Arc::new(standing.ok_or(WatchError::NotFound(entry.id))?);
        *last_read = LastRead { no, standing: Some(Arc::clone(&standing)) };
        Ok(standing)
    }

    /// The log after `after`, up to `last` and perhaps beyond; `None` when it is too large to be told
    /// one by one.
    async fn log_between(
        &self,
        id: AuctionId,
        after: u64,
        last: u64,
    ) -> Result<Option<Vec<Envelope>>, StoreError> {
        let _permit = self.permit().await;
        let mut log: Vec<Envelope> = Vec::new();
        let (mut reached, mut bytes) = (after, 0);
        while reached < last {
            let page = (self.reads.log)(id, reached, LOG_PAGE).await?.events;
            let Some(newest) = page.last() else { break };
            reached = newest.seq;
            bytes += page.iter().map(|event| event.data.len()).sum::<usize>();
            if bytes > BYTES_REPLAYED_MAX {
                return Ok(None);
            }
            log.extend(page);
        }
        Ok(Some(log))
    }

    /// Brings a topic that lost events to where the log is.
    async fn catch_up(self: Arc<Self>, entry: Arc<Entry>) {
        let mut told = 0;
        loop {
            let Some(head) = entry.behind() else { return };
            let caught_up = if told < EVENTS_REPLAYED_MAX {
                self.tell_page(&entry, head, &mut told).await
            } else {
                told = 0;
                self.skip_to_snapshot(&entry).await
            };
            match caught_up {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    warn_of(&error, entry.id);
                    tokio::time::sleep(READ_AGAIN_AFTER).await;
                }
            }
        }
    }

    async fn tell_page(
        &self,
        entry: &Entry,
        head: u64,
        told: &mut u64,
    ) -> Result<bool, StoreError> {
        let permit = self.permit().await;
        let LogPart { events: page, has_more } =
            (self.reads.log)(entry.id, head, CATCH_UP_PAGE).await?;
        drop(permit);
        *told += page.len() as u64;
        let superseded = superseded(page.iter(), PRICES_PER_ROUND_MAX / 2);
        let frames = page.len() * entry.viewers();
        let caught_up = entry.topic().caught_up(&page, &superseded, !has_more, wall_clock::now());
        pause_after(frames, PAGE_PAUSE_MAX).await;
        Ok(caught_up)
    }

    async fn skip_to_snapshot(&self, entry: &Entry) -> Result<bool, StoreError> {
        let permit = self.permit().await;
        let standing = (self.reads.standing)(entry.id).await?;
        drop(permit);
        let gone = || StoreError::Malformed(format!("auction {} has no standing", entry.id));
        Ok(entry.topic().skip_to(&standing.ok_or_else(gone)?, wall_clock::now()))
    }

    async fn permit(&self) -> SemaphorePermit<'_> {
        self.reading.acquire().await.expect("the semaphore is never closed")
    }
}

/// What waits on the feed, up to a bound, and whether the feed had to leave some out; `None` when
/// it has ended.
fn collect(
    first: Option<Heard>,
    feed: &mut impl Feed,
    commits: &mut Vec<CommittedEvents>,
) -> Option<bool> {
    let mut has_lost = false;
    let mut heard = first?;
    for _ in 0..COMMITS_PER_ROUND_MAX {
        match heard {
            Heard::Committed(commit) => commits.push(commit),
            Heard::LostSome => has_lost = true,
        }
        // One that has ended says so again when it is waited for.
        let Some(Some(next)) = tokio::task::unconstrained(feed.next()).now_or_never() else {
            break;
        };
        heard = next;
    }
    Some(has_lost)
}

async fn pause_after(frames_sent: usize, pause_max: Duration) {
    let frames = u32::try_from(frames_sent).unwrap_or(u32::MAX);
    let pause = PAUSE_PER_FRAME.saturating_mul(frames).min(pause_max);
    if pause >= PAUSE_MIN {
        tokio::time::sleep(pause).await;
    } else {
        tokio::task::yield_now().await;
    }
}

fn with_snapshot(
    viewer: &Viewer,
    standing: &Standing,
    why: Option<Reset>,
    since: Vec<Bytes>,
) -> Vec<Bytes> {
    let now = wall_clock::now();
    let notice = why.map(|why| reset(standing.auction_id, why, now));
    let snapshot = Frame::snapshot(standing, now).bytes(viewer.queue.form);
    notice.into_iter().chain([snapshot]).chain(since).collect()
}

fn warn_of(error: &StoreError, auction: AuctionId) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(error, %auction, "the streams of an auction cannot catch up yet");
}
