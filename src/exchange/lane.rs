//! The lane: the single writer of the auctions that belong to it. One thread, one connection.
//!
//! While one transaction is in flight the next batch collects; that is the group commit, without a
//! timer and without a fixed batch size. If the outcome of a commit is unknown, everybody in it is
//! told so and its auctions are loaded again: never guess.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Arbiter, ArbiterHandle};
use tokio::sync::Notify;

use super::{
    clock::ClockHandle,
    lane_metrics::LaneMetrics,
    loader::{self, LoaderParts},
    queue::{Draft, LogQueue, Need},
    request::Failure,
};
use crate::{
    domain::{id::LogId, time::Timestamp},
    events::{
        in_process::CommittedEvents,
        relay::{Batch, RelayHandle},
    },
    store::{BatchWriter, CommitError, KnownReceipt, LaneConnectError, Owned, ReceiptKey},
    wall_clock,
};

/// Commands in one transaction.
pub const COMMANDS_PER_BATCH_MAX: usize = 1_024;
/// Commands of one auction in one transaction, so that a hot auction leaves room for its mates.
pub const COMMANDS_PER_AUCTION_PER_BATCH_MAX: usize = 512;
/// Batches that look for receipts before they decide, after a request that was not new.
const LOOK_FIRST_AFTER_REPEAT: u32 = 64;
/// Pause before a lost connection is made again; doubled until [`RECONNECT_PAUSE_MAX`].
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between two attempts to connect.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

thread_local! {
    static HERE: RefCell<Option<Rc<LaneWork>>> = const { RefCell::new(None) };
}

pub(super) type SharedQueue = Rc<RefCell<LogQueue>>;

/// What the actors of a lane, its loader and the lane itself share: all on one thread.
#[derive(Default)]
pub(super) struct LaneWork {
    enlisted: RefCell<VecDeque<SharedQueue>>,
    to_load: RefCell<VecDeque<SharedQueue>>,
    owned: OnceCell<Owned>,
    batch_wanted: Notify,
    load_wanted: Notify,
    stopping: Cell<bool>,
}

impl LaneWork {
    /// The work of the lane whose thread this is.
    pub fn here() -> Rc<LaneWork> {
        HERE.with(|here| Rc::clone(here.borrow_mut().get_or_insert_with(Rc::default)))
    }

    /// The number of the owner at present.
    pub fn owner(&self) -> Option<i64> {
        self.owned.get().and_then(Owned::owner)
    }

    /// Sees to what a queue needs, once.
    pub fn enlist(&self, queue: &SharedQueue) {
        let mut borrowed = queue.borrow_mut();
        if borrowed.is_enlisted {
            return;
        }
        borrowed.renew(self.owner());
        let (list, wanted) = match borrowed.need() {
            None => return,
            Some(Need::Load) => (&self.to_load, &self.load_wanted),
            Some(Need::Batch) => (&self.enlisted, &self.batch_wanted),
        };
        borrowed.is_enlisted = true;
        list.borrow_mut().push_back(Rc::clone(queue));
        wanted.notify_one();
    }

    /// The lane or the loader has finished with a queue for now.
    pub fn done(&self, queue: &SharedQueue) {
        queue.borrow_mut().is_enlisted = false;
        self.enlist(queue);
    }

    /// Books whose logs have to be read; waits for at least one.
    pub async fn next_to_load(&self, limit: usize) -> Vec<SharedQueue> {
        loop {
            let queues: Vec<_> = take(&self.to_load, limit);
            if !queues.is_empty() {
                return queues;
            }
            self.load_wanted.notified().await;
        }
    }

    async fn next_enlisted(&self, limit: usize) -> Vec<SharedQueue> {
        loop {
            let queues: Vec<_> = take(&self.enlisted, limit);
            if !queues.is_empty() {
                return queues;
            }
            self.batch_wanted.notified().await;
        }
    }

    fn refuse_everybody(&self) {
        for queue in take(&self.enlisted, usize::MAX) {
            queue.borrow_mut().turn_away(Failure::Overloaded);
            self.done(&queue);
        }
    }
}

fn take(list: &RefCell<VecDeque<SharedQueue>>, limit: usize) -> Vec<SharedQueue> {
    let mut list = list.borrow_mut();
    let count = list.len().min(limit);
    list.drain(..count).collect()
}

/// A lane as the rest of the exchange sees it.
pub(super) struct LaneHandle {
    arbiter: Arbiter,
    connected: Arc<AtomicBool>,
}

impl LaneHandle {
    /// Starts the lane's thread.
    pub fn start(
        number: usize,
        parts: LoaderParts,
        relay: RelayHandle,
        clock: ClockHandle,
    ) -> Self {
        let arbiter = Arbiter::new();
        let connected = Arc::new(AtomicBool::new(false));
        let in_lane = Arc::clone(&connected);
        arbiter.spawn_fn(move || {
            let work = LaneWork::here();
            let _ = work.owned.set(parts.owned.clone());
            let tasks = parts.tasks.clone();
            let loading = loader::run(Rc::clone(&work), parts.clone());
            let (alone, look_first) = (Cell::new(0), Cell::new(0));
            let hashing = RandomState::new();
            let connected = in_lane;
            let metrics = LaneMetrics::default();
            let lane = Lane {
                number,
                work,
                parts,
                relay,
                clock,
                connected,
                alone,
                look_first,
                hashing,
                metrics,
            };
            // Whatever they hold that nobody will ever hear of is in the log, or never was.
            tasks.vital_here("loader", loading);
            tasks.vital_here("lane", lane.run());
        });
        LaneHandle { arbiter, connected }
    }

    pub fn arbiter(&self) -> ArbiterHandle {
        self.arbiter.handle()
    }

    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    pub fn stop(&self) {
        self.arbiter.spawn_fn(|| LaneWork::here().stopping.set(true));
        self.arbiter.stop();
    }
}

struct Lane {
    number: usize,
    work: Rc<LaneWork>,
    parts: LoaderParts,
    relay: RelayHandle,
    clock: ClockHandle,
    connected: Arc<AtomicBool>,
    /// After Postgres refused a batch: so many of the next ones hold one auction each, so that
    /// what it refuses does not take others down with it.
    alone: Cell<usize>,
    /// After a request that had been answered before: so many of the next batches look for such
    /// requests first, so that somebody who repeats them all the time costs a look-up, not a batch.
    look_first: Cell<u32>,
    hashing: RandomState,
    metrics: LaneMetrics,
}

impl Lane {
    /// Connects, serves until the connection is lost, and connects again.
    async fn run(self) {
        let mut pause = RECONNECT_PAUSE;
        while !self.work.stopping.get() {
            match self.connect().await {
                Ok((writer, lost)) => {
                    pause = RECONNECT_PAUSE;
                    self.connected.store(true, Ordering::Release);
                    // What it was sent before may have come to nothing.
                    self.clock.look();
                    self.serve(&writer, &lost).await;
                    self.connected.store(false, Ordering::Release);
                }
                Err(error) => {
                    let (lane, error): (_, &dyn std::error::Error) = (self.number, &error);
                    tracing::warn!(lane, error, "the lane cannot connect to Postgres");
                    self.work.refuse_everybody();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
                }
            }
        }
    }

    async fn connect(&self) -> Result<(BatchWriter, Rc<Notify>), LaneConnectError> {
        let (client, connection) =
            BatchWriter::connect(self.parts.store.url(), self.number).await?;
        let lane = self.number;
        let lost = Rc::new(Notify::new());
        let tell = Rc::clone(&lost);
        self.parts.tasks.errand_here("connection of a lane", async move {
            if let Err(error) = connection.await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(lane, error, "the lane lost its connection");
            }
            tell.notify_one();
        });
        Ok((BatchWriter::prepare(client, self.number).await?, lost))
    }

    /// Commits batch after batch while the connection lives.
    async fn serve(&self, writer: &BatchWriter, lost: &Notify) {
        while !writer.is_closed() {
            let queues = tokio::select! {
                queues = self.work.next_enlisted(self.batch_limit()) => queues,
                () = lost.notified() => return,
            };
            let taken = self.take(&queues);
            if taken.is_empty() {
                // Closes that wait for bids on their way: let those arrive.
                tokio::task::yield_now().await;
                continue;
            }
            self.commit(writer, &taken).await;
            for queue in &taken {
                self.work.done(queue);
            }
        }
    }

    fn batch_limit(&self) -> usize {
        let alone = self.alone.get();
        self.alone.set(alone.saturating_sub(1));
        if alone == 0 { COMMANDS_PER_BATCH_MAX } else { 1 }
    }

    /// Takes commands out of the queues, up to the bound of a batch; those with nothing in it go
    /// back to the end of the line.
    fn take(&self, queues: &[SharedQueue]) -> Vec<SharedQueue> {
        let now = wall_clock::now();
        // By their hashes: two keys that share one only wait for each other.
        let mut keys: HashSet<u64> = HashSet::new();
        let mut is_new =
            |key: &ReceiptKey| keys.insert(self.hashing.hash_one((key.user, key.hash)));
        let mut left = COMMANDS_PER_BATCH_MAX;
        let (mut taken, mut passed_over) = (Vec::with_capacity(queues.len()), Vec::new());
        for queue in queues {
            let count = queue.borrow_mut().take(
                left.min(COMMANDS_PER_AUCTION_PER_BATCH_MAX),
                now,
                &mut is_new,
            );
            left -= count;
            let list = if count == 0 { &mut passed_over } else { &mut taken };
            list.push(Rc::clone(queue));
        }
        for queue in &passed_over {
            self.work.done(queue);
        }
        if !taken.is_empty() {
            self.metrics.taken(COMMANDS_PER_BATCH_MAX - left);
        }
        taken
    }

    async fn commit(&self, writer: &BatchWriter, queues: &[SharedQueue]) {
        let began = Instant::now();
        let outcome = self.decide_and_write(writer, queues).await;
        self.metrics.batch(began.elapsed(), outcome.as_ref().err());
        match outcome {
            Ok(written) => self.settle(queues, written),
            Err(error) => self.undo(queues, &error),
        }
    }

    /// Requests are taken for new, which nearly all are: the key of the receipts refuses the others,
    /// and then the batch is decided again with their first answers at hand.
    async fn decide_and_write(
        &self,
        writer: &BatchWriter,
        queues: &[SharedQueue],
    ) -> Result<Written, CommitError> {
        let looks_first = self.look_first.get();
        if looks_first > 0 {
            self.look_first.set(looks_first - 1);
            return self.look_decide_and_write(writer, queues).await;
        }
        match self.write(writer, queues, Vec::new()).await {
            Err(error) if error.is_repeat() => {
                self.look_first.set(LOOK_FIRST_AFTER_REPEAT);
                queues.iter().for_each(|queue| queue.borrow_mut().rewind());
                self.look_decide_and_write(writer, queues).await
            }
            outcome => outcome,
        }
    }

    async fn look_decide_and_write(
        &self,
        writer: &BatchWriter,
        queues: &[SharedQueue],
    ) -> Result<Written, CommitError> {
        let keys: Vec<ReceiptKey> = queues
            .iter()
            .flat_map(|queue| queue.borrow().keys().cloned().collect::<Vec<_>>())
            .collect();
        let known = writer.find_receipts(&keys).await?;
        self.write(writer, queues, known).await
    }

    async fn write(
        &self,
        writer: &BatchWriter,
        queues: &[SharedQueue],
        known: Vec<KnownReceipt>,
    ) -> Result<Written, CommitError> {
        let now = wall_clock::now();
        let owned = &self.parts.owned;
        let with_rows: Vec<LogId> = queues
            .iter()
            .map(|queue| queue.borrow())
            .filter(|queue| queue.needs_rows())
            .map(|queue| queue.id())
            .collect();
        if with_rows.is_empty() {
            let draft = decide(queues, known, now);
            let outbox_id = writer.write_and_commit(owned, &draft.rows, now).await?;
            return Ok(Written { draft, outbox_id });
        }
        writer.begin_with(owned, &with_rows).await?;
        let draft = decide(queues, known, now);
        let outbox_id = writer.commit_with(owned, &draft.rows, now).await?;
        Ok(Written { draft, outbox_id })
    }

    /// After the commit, and only then: whoever asked hears first, then everybody else.
    fn settle(&self, queues: &[SharedQueue], written: Written) {
        for queue in queues {
            self.metrics.answers(queue.borrow_mut().settle());
        }
        self.announce(written);
        for queue in queues {
            let mut queue = queue.borrow_mut();
            queue.save(&self.parts.snapshots);
            queue.note_if_ended(&self.parts.ended);
        }
    }

    fn announce(&self, Written { draft, outbox_id }: Written) {
        // Before anybody hears that there is news.
        self.parts.store.keep_committed(draft.rows.events);
        if let Some(outbox_id) = outbox_id {
            let events = CommittedEvents::new(draft.events);
            self.relay.hand_over(Batch { outbox_id, events });
        }
        for (id, due) in draft.due {
            self.clock.note(id, due);
        }
    }

    fn undo(&self, queues: &[SharedQueue], error: &CommitError) {
        let (lane, source): (_, &dyn std::error::Error) = (self.number, error);
        tracing::warn!(lane, auctions = queues.len(), error = source, "a batch came to nothing");
        if matches!(error, CommitError::Refused(_)) && queues.len() > 1 {
            self.alone.set(queues.len());
        }
        for queue in queues {
            let mut queue = queue.borrow_mut();
            match error {
                // Another writer may have written this log.
                CommitError::Conflict { .. } | CommitError::NotOwner => {
                    queue.unload();
                    queue.retry();
                }
                CommitError::Closed | CommitError::NotSent(_) | CommitError::Refused(_) => {
                    queue.retry();
                }
                CommitError::Full(_) => queue.fail(Failure::StorageFull),
                // It may be written: only the log knows.
                CommitError::Unknown(_) => {
                    queue.unload();
                    queue.fail(Failure::OutcomeUnknown);
                }
            }
        }
    }
}

/// A batch that is durable and that nobody has heard of yet.
struct Written {
    draft: Draft,
    /// Of its row in the outbox, if there are events.
    outbox_id: Option<i64>,
}

fn decide(queues: &[SharedQueue], known: Vec<KnownReceipt>, now: Timestamp) -> Draft {
    let mut known = known.into_iter().peekable();
    let mut place = 0;
    let mut next_known = || {
        let found = known.next_if(|known| known.place == place);
        place += 1;
        found.map(|known| known.receipt)
    };
    let mut draft = Draft::default();
    for queue in queues {
        queue.borrow_mut().decide(&mut next_known, now, &mut draft);
    }
    draft
}
