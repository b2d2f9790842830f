//! The loader of a lane: reads logs from Postgres and has them replayed beside the lane's thread.
//!
//! Short logs are read many in one query. A long one is read alone, from its snapshot and part by
//! part, so that nobody waits for it. Every part is bounded by events and by bytes. A log that does
//! not add up to a state is excluded, and those who wait for it are told.

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    ended::EndedAuctions,
    excluded::ExcludedLogs,
    lane::{LaneWork, SharedQueue},
    queue::LoadedLog,
    replay::{Replay, ReplayError, SnapshotError},
    request::Failure,
    snapshots::SnapshotHandle,
};
use crate::{
    domain::id::LogId,
    store::{LogPart, LogSize, Owned, Store, StoreError},
    tasks::Tasks,
};

/// Auctions whose logs are looked up at once.
const LOADED_AT_ONCE_MAX: usize = 500;
/// Events in one part of logs.
const EVENTS_PER_PART_MAX: i64 = 2_048;
/// Bytes of events in one part of logs, but for the event that reaches them.
const BYTES_PER_PART_MAX: i64 = 2 << 20;
/// A log of more events is read alone.
const EVENTS_OF_SHORT_LOG_MAX: i64 = 512;
/// Lists of short logs that are read side by side.
const LISTS_AT_ONCE_MAX: usize = 2;
/// Long logs that are read side by side.
const LONG_LOGS_AT_ONCE_MAX: usize = 2;
/// What cannot be read now is tried again so often before those who wait are turned away.
const ATTEMPTS_MAX: u32 = 4;
/// Pause before the second attempt; doubled for each after it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What loaders share with the rest of the exchange.
#[derive(Clone)]
pub(super) struct LoaderParts {
    pub store: Store,
    pub tasks: Tasks,
    /// Which logs are this server's.
    pub owned: Owned,
    pub excluded: Arc<ExcludedLogs>,
    pub snapshots: SnapshotHandle,
    pub ended: Arc<EndedAuctions>,
}

struct Loader {
    work: Rc<LaneWork>,
    parts: LoaderParts,
    lists: Arc<Semaphore>,
    long_logs: Semaphore,
}

/// Loads what the lane asks for, until the lane's thread stops.
pub(super) async fn run(work: Rc<LaneWork>, parts: LoaderParts) {
    let loader = Rc::new(Loader {
        work,
        parts,
        lists: Arc::new(Semaphore::new(LISTS_AT_ONCE_MAX)),
        long_logs: Semaphore::new(LONG_LOGS_AT_ONCE_MAX),
    });
    loop {
        let permit = Arc::clone(&loader.lists).acquire_owned().await;
        let queues = loader.work.next_to_load(LOADED_AT_ONCE_MAX).await;
        let (loader, tasks) = (Rc::clone(&loader), loader.parts.tasks.clone());
        tasks.errand_here("loading", async move {
            loader.load(queues).await;
            drop(permit);
        });
    }
}

/// A queue that is being loaded, and how far its log was replayed.
struct Loading {
    queue: SharedQueue,
    replay: Replay,
    /// The number of the owner when its length was read.
    owner: Option<i64>,
}

impl Loader {
    async fn load(self: &Rc<Self>, queues: Vec<SharedQueue>) {
        let (sick, queues): (Vec<_>, Vec<_>) =
            queues.into_iter().partition(|queue| self.parts.excluded.has(queue.borrow().id()));
        for queue in sick {
            self.turn_away(&queue, Failure::LogDamaged);
        }
        let ids: Vec<LogId> = queues.iter().map(|queue| queue.borrow().id()).collect();
        if ids.is_empty() {
            return;
        }
        let owner = self.parts.owned.owner();
        match retrying(|| self.parts.store.log_sizes(&ids)).await {
            None => queues.iter().for_each(|queue| self.turn_away(queue, Failure::Overloaded)),
            Some(sizes) => self.load_by_size(queues, sizes, owner).await,
        }
    }

    async fn load_by_size(
        self: &Rc<Self>,
        queues: Vec<SharedQueue>,
        sizes: Vec<LogSize>,
        owner: Option<i64>,
    ) {
        let sizes: HashMap<Uuid, LogSize> = sizes.into_iter().map(|size| (size.id, size)).collect();
        let mut short = Vec::new();
        for queue in queues {
            let id = queue.borrow().id();
            let Some(size) = sizes.get(&id.uuid()) else {
                queue.borrow_mut().not_found();
                self.work.done(&queue);
                continue;
            };
            let loading = Loading { queue, replay: Replay::new(id, size.seq), owner };
            if size.has_snapshot || size.seq > EVENTS_OF_SHORT_LOG_MAX {
                self.load_alone(loading, size.has_snapshot);
            } else {
                short.push(loading);
            }
        }
        while !short.is_empty() {
            let rest = short.split_off(fitting(&short));
            let left_out = self.load_list(short).await;
            short = left_out.into_iter().chain(rest).collect();
        }
    }

    /// Loads short logs by one query; those that it had no room for, to be asked for again.
    async fn load_list(self: &Rc<Self>, list: Vec<Loading>) -> Vec<Loading> {
        let ranges: Vec<_> =
            list.iter().map(|loading| loading.replay.next(EVENTS_PER_PART_MAX)).collect();
        let read = || self.parts.store.log_part(&ranges, BYTES_PER_PART_MAX);
        let Some(part) = retrying(read).await else {
            list.iter().for_each(|loading| self.turn_away(&loading.queue, Failure::Overloaded));
            return Vec::new();
        };
        let (queues, replays): (Vec<_>, Vec<_>) = list
            .into_iter()
            .map(|Loading { queue, replay, owner }| ((queue, owner), replay))
            .unzip();
        let lengths: Vec<_> = replays.iter().map(|replay| (replay.id, replay.last)).collect();
        let Ok(outcomes) = tokio::task::spawn_blocking(move || apply(replays, part)).await else {
            // Which one it was is found out by reading each alone.
            for ((queue, owner), (id, last)) in queues.into_iter().zip(lengths) {
                self.load_alone(Loading { queue, replay: Replay::new(id, last), owner }, false);
            }
            return Vec::new();
        };
        let mut left_out = Vec::new();
        for ((queue, owner), outcome) in queues.into_iter().zip(outcomes) {
            match outcome {
                Applied::Whole(loaded) => self.deliver(&queue, Ok(*loaded), owner),
                Applied::Damaged(error) => self.deliver_damaged(&queue, &error),
                Applied::InPart(replay) => {
                    self.load_alone(Loading { queue, replay, owner }, false);
                }
                Applied::LeftOut(replay) => left_out.push(Loading { queue, replay, owner }),
            }
        }
        left_out
    }

    /// Loads one log, beside whatever else is loaded.
    fn load_alone(self: &Rc<Self>, loading: Loading, has_snapshot: bool) {
        let (loader, tasks) = (Rc::clone(self), &self.parts.tasks);
        tasks.errand_here("loading", async move {
            let _permit = loader.long_logs.acquire().await;
            let Loading { queue, replay, owner } = loading;
            let replayed = loader.replay_alone(replay, has_snapshot).await;
            match replayed {
                None => loader.turn_away(&queue, Failure::Overloaded),
                Some(replayed) => loader.deliver(&queue, replayed, owner),
            }
        });
    }

    /// `None` when Postgres cannot be asked.
    async fn replay_alone(
        &self,
        mut replay: Replay,
        has_snapshot: bool,
    ) -> Option<Result<LoadedLog, ReplayError>> {
        if has_snapshot {
            replay = self.begin_at_snapshot(replay).await?;
        }
        while replay.left() > 0 {
            let ranges = [replay.next(EVENTS_PER_PART_MAX)];
            let read = || self.parts.store.log_part(&ranges, BYTES_PER_PART_MAX);
            let part = retrying(read).await?;
            let applied = tokio::task::spawn_blocking(move || apply_one(replay, part)).await;
            match applied.unwrap_or(Err(ReplayError::Panic)) {
                Ok(further) => replay = further,
                Err(error) => return Some(Err(error)),
            }
        }
        let snapshots = self.parts.snapshots.clone();
        let finished = tokio::task::spawn_blocking(move || finish(replay, &snapshots)).await;
        Some(finished.unwrap_or(Err(ReplayError::Panic)))
    }

    async fn begin_at_snapshot(&self, replay: Replay) -> Option<Replay> {
        let (id, last) = (replay.id, replay.last);
        let Some(row) = retrying(|| self.parts.store.snapshot(id)).await? else {
            return Some(replay);
        };
        let begun = tokio::task::spawn_blocking(move || {
            let mut replay = replay;
            replay.begin_at(&row).map(|()| replay)
        });
        match begun.await.unwrap_or(Err(SnapshotError::Panic)) {
            Ok(replay) => Some(replay),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(log = %id, error, "a snapshot is ignored; the log is read");
                // Else it would be read, and said, each time.
                if let Err(error) = self.parts.store.forget_snapshot(id).await {
                    let error: &dyn std::error::Error = &error;
                    tracing::debug!(log = %id, error, "the snapshot cannot be deleted");
                }
                Some(Replay::new(id, last))
            }
        }
    }

    fn deliver(
        &self,
        queue: &SharedQueue,
        replayed: Result<LoadedLog, ReplayError>,
        owner: Option<i64>,
    ) {
        let loaded = match replayed {
            Ok(loaded) => loaded,
            Err(error) => return self.deliver_damaged(queue, &error),
        };
        self.parts.excluded.remove(queue.borrow().id());
        queue.borrow_mut().loaded(loaded, owner);
        queue.borrow_mut().note_if_ended(&self.parts.ended);
        self.work.done(queue);
    }

    fn deliver_damaged(&self, queue: &SharedQueue, error: &ReplayError) {
        self.parts.excluded.add(queue.borrow().id(), error);
        self.turn_away(queue, Failure::LogDamaged);
    }

    fn turn_away(&self, queue: &SharedQueue, failure: Failure) {
        queue.borrow_mut().turn_away(failure);
        self.work.done(queue);
    }
}

/// How many logs from the beginning of a list fit into one part, by their events.
fn fitting(list: &[Loading]) -> usize {
    let mut events = 0;
    let fits = |loading: &&Loading| {
        events += loading.replay.left();
        events <= EVENTS_PER_PART_MAX
    };
    list.iter().take_while(fits).count().max(1)
}

async fn retrying<T, F>(mut read: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS_MAX {
        match read().await {
            Ok(answer) => return Some(answer),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(attempt, error, "logs cannot be read");
            }
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    None
}

/// What a part of logs came to for one of them.
enum Applied {
    Whole(Box<LoadedLog>),
    Damaged(ReplayError),
    /// The part ended within this log.
    InPart(Replay),
    /// The part ended before this log.
    LeftOut(Replay),
}

/// Applies a part to the logs that it was read for, which are in the same order.
fn apply(replays: Vec<Replay>, part: LogPart) -> Vec<Applied> {
    let is_cut = part.is_cut();
    let mut events = part.into_events().peekable();
    let mut outcomes = Vec::with_capacity(replays.len());
    for mut replay in replays {
        if is_cut && events.peek().is_none() {
            outcomes.push(Applied::LeftOut(replay));
            continue;
        }
        let mut damage = None;
        while let Some(row) = events.next_if(|row| row.auction_id.0 == replay.id.uuid()) {
            if damage.is_none() {
                damage = replay.apply(&row).err();
            }
        }
        let ends_within = is_cut && events.peek().is_none() && replay.left() > 0;
        outcomes.push(match damage {
            Some(error) => Applied::Damaged(error),
            None if ends_within => Applied::InPart(replay),
            None => match replay.finish() {
                Ok(loaded) => Applied::Whole(Box::new(loaded)),
                Err(error) => Applied::Damaged(error),
            },
        });
    }
    outcomes
}

fn apply_one(mut replay: Replay, part: LogPart) -> Result<Replay, ReplayError> {
    let is_cut = part.is_cut();
    let wanted = replay.next(EVENTS_PER_PART_MAX).last;
    let before = replay.left();
    for row in part.into_events() {
        replay.apply(&row)?;
    }
    let has_all = is_cut || replay.reached(wanted);
    if has_all && replay.left() < before { Ok(replay) } else { Err(replay.gap()) }
}

/// The end of a long log; a snapshot of it is taken here, where the copy delays nobody.
fn finish(replay: Replay, snapshots: &SnapshotHandle) -> Result<LoadedLog, ReplayError> {
    let mut loaded = replay.finish()?;
    if loaded.wants_snapshot()
        && let Some(room) = snapshots.room()
    {
        room.send(loaded.committed());
    }
    Ok(loaded)
}
