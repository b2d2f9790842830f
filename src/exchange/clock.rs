//! The clock: opens and closes auctions by sequenced commands at their exact times.
//!
//! Near due times are held in memory and sharpened by what the lanes commit; all of them are in
//! Postgres, and are read again regularly, so that nothing depends on a timer that may be missed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::{sync::mpsc, time::Instant};

use super::{
    CatchUpError, Exchange,
    directory::Asker,
    request::{Failure, Request},
};
use crate::{
    domain::{auction::Command, id::AuctionId, time::Timestamp},
    store::{Due, Store, StoreError},
    wall_clock,
};

/// Changes of due times that may wait for the clock; past it the clock reads them from Postgres.
const NOTES_WAITING_MAX: usize = 65_536;
/// Due times further away than this are left in Postgres.
const HORIZON_MS: i64 = 60_000;
/// How often Postgres is asked for due times.
const READ_EVERY: Duration = Duration::from_secs(5);
/// Due times that are read at once, and held in memory at most.
const HELD_MAX: usize = 200_000;
/// An auction whose command could not be sent is tried again after this.
const AGAIN_AFTER_MS: i64 = 50;
/// Overdue auctions that are worked on side by side while catching up.
const CATCH_UP_AT_ONCE: usize = 2_000;
/// Rounds of catching up without progress before the rest is left to the clock.
const CATCH_UP_ROUNDS_MAX: usize = 5;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// The opening.
    Open,
    /// The closing.
    Close,
}

impl What {
    const fn command(self) -> Command {
        match self {
            What::Open => Command::Open,
            What::Close => Command::Close,
        }
    }
}

type Note = (AuctionId, Option<(Timestamp, What)>);

/// Tells the clock when something is due. Never waits.
#[derive(Clone)]
pub struct ClockHandle {
    notes: mpsc::Sender<Note>,
    missed: Arc<AtomicBool>,
}

impl ClockHandle {
    /// From now on this is due at that auction; `None` when nothing is any more.
    pub fn note(&self, id: AuctionId, due: Option<(Timestamp, What)>) {
        if self.notes.try_send((id, due)).is_err() {
            self.missed.store(true, Ordering::Release);
        }
    }
}

pub(super) struct Clock {
    notes: mpsc::Receiver<Note>,
    missed: Arc<AtomicBool>,
    store: Store,
    due: Agenda,
}

/// The near due times, by time and by auction.
#[derive(Default)]
struct Agenda {
    by_time: BTreeSet<(Timestamp, AuctionId, What)>,
    by_auction: HashMap<AuctionId, (Timestamp, What)>,
}

impl Agenda {
    fn set(&mut self, id: AuctionId, due: Option<(Timestamp, What)>) {
        if let Some((at, what)) = self.by_auction.remove(&id) {
            self.by_time.remove(&(at, id, what));
        }
        if let Some((at, what)) = due {
            self.by_auction.insert(id, (at, what));
            self.by_time.insert((at, id, what));
        }
    }

    fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _, _)| *at)
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<(AuctionId, What)> {
        let (_, id, what) = *self.by_time.first().filter(|(at, _, _)| *at <= now)?;
        self.set(id, None);
        Some((id, what))
    }
}

impl Clock {
    pub fn new(store: Store) -> (ClockHandle, Clock) {
        let (sender, notes) = mpsc::channel(NOTES_WAITING_MAX);
        let missed = Arc::new(AtomicBool::new(false));
        let handle = ClockHandle { notes: sender, missed: Arc::clone(&missed) };
        (handle, Clock { notes, missed, store, due: Agenda::default() })
    }

    /// Runs until the exchange refuses new commands.
    pub async fn run(mut self, exchange: Exchange) {
        let mut read_at = Instant::now();
        let mut notes = Vec::new();
        while !exchange.inner.closing.load(Ordering::Acquire) {
            if Instant::now() >= read_at || self.missed.swap(false, Ordering::AcqRel) {
                self.read().await;
                read_at = Instant::now() + READ_EVERY;
            }
            self.send_due(&exchange);
            let wake_at = self.next_wake().min(read_at);
            tokio::select! {
                biased;
                count = self.notes.recv_many(&mut notes, 1_024) => {
                    if count == 0 {
                        return;
                    }
                    self.take(&mut notes);
                }
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let wait_ms = self.due.next().map_or(HORIZON_MS, |at| at.ms_since(wall_clock::now()));
        Instant::now() + Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))
    }

    fn take(&mut self, notes: &mut Vec<Note>) {
        let horizon = wall_clock::now().plus_ms(HORIZON_MS);
        for (id, due) in notes.drain(..) {
            self.due.set(id, due.filter(|(at, _)| *at <= horizon));
        }
    }

    /// Near due times, overdue ones included: whatever was missed is found here.
    async fn read(&mut self) {
        let until = wall_clock::now().plus_ms(HORIZON_MS);
        let limit = i64::try_from(HELD_MAX).unwrap_or(i64::MAX);
        match self.store.due_until(until, limit).await {
            Ok(rows) => {
                for row in rows {
                    self.due.set(row.id, Some((row.at, what(&row))));
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the clock cannot read what is due");
            }
        }
    }

    fn send_due(&mut self, exchange: &Exchange) {
        let now = wall_clock::now();
        while let Some((id, what)) = self.due.pop_due(now) {
            if let Err(Failure::Overloaded) = exchange.dispatch(id, what.command()) {
                self.due.set(id, Some((now.plus_ms(AGAIN_AFTER_MS), what)));
            }
        }
    }
}

const fn what(due: &Due) -> What {
    if due.is_opening { What::Open } else { What::Close }
}

/// Opens and closes everything that is overdue; how many commands that took.
pub(super) async fn catch_up(exchange: &Exchange, store: &Store) -> Result<u64, CatchUpError> {
    let mut done = 0;
    let mut rounds_left = CATCH_UP_ROUNDS_MAX;
    loop {
        let mut overdue = read_overdue(store).await?;
        overdue.retain(|due| !exchange.inner.set_aside.has(due.id));
        if overdue.is_empty() {
            return Ok(done);
        }
        let settled = stream::iter(&overdue)
            .map(|due| {
                exchange.ask(due.id, Asker::Clock, |_| Request::internal(what(due).command()))
            })
            .buffer_unordered(CATCH_UP_AT_ONCE)
            .filter(|reply| std::future::ready(reply.is_ok()))
            .count()
            .await;
        done += u64::try_from(settled).unwrap_or(0);
        if settled == 0 {
            rounds_left -= 1;
            if rounds_left == 0 {
                let auctions = overdue.len();
                tracing::error!(auctions, "overdue auctions cannot be opened or closed yet");
                return Ok(done);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn read_overdue(store: &Store) -> Result<Vec<Due>, StoreError> {
    store.due_until(wall_clock::now(), 10_000).await
}
