//! The live exchange: where commands are decided one by one and committed together.
//!
//! ```text
//! http ─submit─▶ Directory ─▶ Mailbox ─▶ AuctionActor ─▶ LogQueue ─┐ enlists
//!                                                           ▼
//!        answers ◀── after the commit ── Lane: take · begin · decide · write+commit · settle
//!                                          └─▶ relay, clock
//! ```
//!
//! Owns the order of decisions. Must never answer before the commit, decide an auction on two
//! threads, wait for anything but Postgres, or hold an unbounded queue. An auction's actor, its
//! queue and its lane live on the same thread, so a batch costs no message between them.

mod clock;
mod directory;
mod ended;
mod excluded;
pub mod kinds;
mod lane;
mod lane_metrics;
mod loader;
mod mailbox;
mod queue;
mod replay;
mod request;
mod snapshots;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use self::{
    clock::Clock,
    directory::{Asker, Directory},
    ended::EndedAuctions,
    excluded::ExcludedLogs,
    kinds::Subject,
    lane::LaneHandle,
    loader::LoaderParts,
    mailbox::QueuedCommand,
};
pub use self::{
    clock::{ClockHandle, What},
    directory::AUCTIONS_LOADED_MAX,
    kinds::auction::{AuctionRefusal, Figures, new_auction},
    mailbox::COMMANDS_PER_AUCTION_MAX,
    request::{Answer, Failure, Refusal, Reply, Request},
};
use crate::{
    domain::{
        auction::{Command, State},
        id::{AuctionId, LogId},
        time::Timestamp,
    },
    events::relay::RelayHandle,
    store::{Owned, Store, purges},
    tasks::Tasks,
    wall_clock,
};

/// Nobody waits longer for an answer; after it the outcome is unknown to the caller.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// An auction that nobody asked for in this time leaves memory.
pub const IDLE_AFTER: Duration = Duration::from_secs(300);
/// How often idle auctions are looked for.
const IDLE_SWEEP_EVERY: Duration = Duration::from_secs(20);
/// How often old receipts are deleted.
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// Receipts are kept at least 24 hours (API, "Conventions"); Hoga keeps them twice as long.
const RECEIPTS_KEPT_MS: i64 = 48 * 3_600_000;

/// How the exchange is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that decide and commit, each with its own connection.
    pub lanes: usize,
    /// When an auction leaves memory.
    pub idle_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        // Postgres works as hard as its lanes do, on the same machine more often than not; and
        // fewer lanes make larger batches.
        Options { lanes: (cores / 2).clamp(1, 8), idle_after: IDLE_AFTER }
    }
}

/// The live exchange. Cheap to clone.
#[derive(Clone)]
pub struct Exchange {
    inner: Arc<Inner>,
}

struct Inner {
    directory: Directory,
    lanes: Vec<LaneHandle>,
    clock: ClockHandle,
    relay: RelayHandle,
    closing: AtomicBool,
    store: Store,
    owned: Owned,
    excluded: Arc<ExcludedLogs>,
}

/// The exchange could not be brought to where the clock says it must be.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    /// Postgres cannot be asked what is due.
    #[error("cannot read which auctions are due")]
    Store(#[from] crate::store::StoreError),
}

impl Exchange {
    /// Starts the lanes and the clock. Must be called inside an actix system.
    pub fn start(
        store: Store,
        relay: RelayHandle,
        owned: Owned,
        options: Options,
        tasks: &Tasks,
    ) -> Exchange {
        let (clock, run_clock) = Clock::new(store.clone());
        let (snapshots, write_snapshots) = snapshots::snapshots(store.clone());
        let excluded = Arc::<ExcludedLogs>::default();
        let parts = LoaderParts {
            store: store.clone(),
            tasks: tasks.clone(),
            owned: owned.clone(),
            excluded: Arc::clone(&excluded),
            snapshots,
            ended: Arc::<EndedAuctions>::default(),
        };
        let lanes: Vec<LaneHandle> = (0..options.lanes)
            .map(|number| LaneHandle::start(number, parts.clone(), relay.clone(), clock.clone()))
            .collect();
        let arbiters = lanes.iter().map(LaneHandle::arbiter).collect();
        let directory = Directory::new(arbiters, owned.clone());
        let closing = AtomicBool::new(false);
        let inner = Inner { directory, lanes, clock, relay, closing, store, owned, excluded };
        let exchange = Exchange { inner: Arc::new(inner) };
        tasks.vital_here("clock", run_clock.run(exchange.clone()));
        let (sweeping, idle_after) = (exchange.clone(), options.idle_after);
        tasks.keep("idle auctions", move || sweeping.clone().sweep_idle(idle_after));
        tasks.vital("snapshots", write_snapshots.run());
        let store = exchange.inner.store.clone();
        purges::keep(tasks, "receipts", PURGE_EVERY, move || {
            let store = store.clone();
            let before = wall_clock::now().plus_ms(-RECEIPTS_KEPT_MS);
            async move { store.purge_receipts(before).await }
        });
        exchange
    }

    /// No exchange: of a process that decides nothing. It has no lanes and no clock, and refuses
    /// everything.
    pub fn elsewhere(store: Store, relay: RelayHandle) -> Exchange {
        let (clock, _) = Clock::new(store.clone());
        let owned = Owned::nothing();
        let (directory, lanes) = (Directory::new(Vec::new(), owned.clone()), Vec::new());
        let closing = AtomicBool::new(true);
        let excluded = Arc::default();
        let inner = Inner { directory, lanes, clock, relay, closing, store, owned, excluded };
        Exchange { inner: Arc::new(inner) }
    }

    /// Asks something of the subject of a log and waits for the durable answer. The command is made with the
    /// time at which it counts as received: taken once it has its place, so that what was received
    /// before the end is decided before the close.
    ///
    /// # Errors
    /// A [`Failure`]; [`Failure::OutcomeUnknown`] when it may have happened.
    pub async fn submit(
        &self,
        id: impl Into<LogId>,
        make: impl FnOnce(Timestamp) -> Request,
    ) -> Reply {
        self.ask(id.into(), Asker::Caller, make).await
    }

    async fn ask(&self, id: LogId, asker: Asker, make: impl FnOnce(Timestamp) -> Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        self.send(id, asker, make, reply)?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) | Err(_) => Err(Failure::OutcomeUnknown),
        }
    }

    /// Sends the clock's command; nobody waits for the answer.
    fn dispatch(&self, id: LogId, command: Command) -> Result<(), Failure> {
        let (reply, _) = oneshot::channel();
        self.send(id, Asker::Clock, |_| Request::internal(command), reply)
    }

    fn send(
        &self,
        id: LogId,
        asker: Asker,
        make: impl FnOnce(Timestamp) -> Request,
        reply: oneshot::Sender<Reply>,
    ) -> Result<(), Failure> {
        if self.inner.closing.load(Ordering::Acquire) {
            return Err(Failure::ShuttingDown);
        }
        let permit = self.inner.directory.enter(id, asker)?;
        let request = make(wall_clock::now());
        permit.submit(QueuedCommand::new(request, reply));
        Ok(())
    }

    /// Reads an auction's committed state, loading it if need be.
    ///
    /// # Errors
    /// A [`Failure`]; nothing was changed.
    pub async fn read<T: Send + 'static>(
        &self,
        id: AuctionId,
        read: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        if self.inner.closing.load(Ordering::Acquire) {
            return Err(Failure::ShuttingDown);
        }
        let (reply, answer) = oneshot::channel();
        let read = Box::new(move |subject: Result<&Subject, Failure>| {
            let _ = reply.send(subject.map(|Subject::Auction(state)| read(state)));
        });
        self.inner.directory.enter(id.into(), Asker::Caller)?.read(read);
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) | Err(_) => Err(Failure::Overloaded),
        }
    }

    /// Tells the clock and the relay of an auction that was created.
    pub fn scheduled(&self, id: AuctionId, starts_at: Timestamp) {
        self.inner.relay.look();
        self.inner.clock.note(id.into(), Some((starts_at, What::Open)));
    }

    /// Opens and closes everything that is overdue, and returns when it is committed. What cannot be,
    /// because its log is damaged for instance, is said and left to the clock, which goes on trying.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn catch_up(&self) -> Result<u64, CatchUpError> {
        clock::catch_up(self, &self.inner.store).await
    }

    /// Which logs are this server's.
    pub fn owned(&self) -> &Owned {
        &self.inner.owned
    }

    /// Whether every lane has its connection.
    pub fn is_ready(&self) -> bool {
        !self.inner.closing.load(Ordering::Acquire)
            && self.inner.lanes.iter().all(LaneHandle::is_connected)
    }

    /// Whether the clock knows what is due: not after Postgres could not be asked, until it could be and
    /// what became due meanwhile was sent.
    pub fn knows_what_is_due(&self) -> bool {
        !self.inner.clock.is_blind()
    }

    /// How many lanes have their connection.
    pub fn lanes_connected(&self) -> usize {
        self.inner.lanes.iter().filter(|lane| lane.is_connected()).count()
    }

    /// How many auctions are in memory.
    pub fn auctions_loaded(&self) -> usize {
        self.inner.directory.len()
    }

    /// How many logs cannot be replayed, as far as somebody asked for them.
    pub fn logs_excluded(&self) -> usize {
        self.inner.excluded.count()
    }

    /// Logs that cannot be replayed are read again when next asked for, however lately they were.
    pub fn read_excluded_again(&self) {
        self.inner.excluded.read_again();
    }

    /// Accepts nothing more from now on; what was accepted is finished.
    pub fn refuse_new(&self) {
        self.inner.closing.store(true, Ordering::Release);
    }

    /// Waits until nothing is under way, at most so long; then stops the lanes. False when
    /// something was still under way.
    pub async fn stop(&self, at_most: Duration) -> bool {
        self.refuse_new();
        let quiet = async {
            while self.inner.directory.is_busy() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let finished = tokio::time::timeout(at_most, quiet).await.is_ok();
        for lane in &self.inner.lanes {
            lane.stop();
        }
        finished
    }

    async fn sweep_idle(self, idle_after: Duration) {
        let mut every = tokio::time::interval(IDLE_SWEEP_EVERY.min(idle_after));
        while !self.inner.closing.load(Ordering::Acquire) {
            every.tick().await;
            let count = self.inner.directory.passivate_idle(wall_clock::now(), idle_after);
            if count > 0 {
                tracing::debug!(count, "idle auctions left memory");
            }
        }
    }
}
