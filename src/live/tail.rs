//! The tail: a feed that follows the log in Postgres, for a broadcaster that no bus reaches.
//!
//! Looks after what is watched and nothing else, and reads on from where each topic is, so that what
//! it could not read in time comes later and is never missed. Costs one indexed query a look,
//! however many watch, and one more where something happened.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::viewers::Viewers;
use crate::{
    domain::id::AuctionId,
    events::{
        envelope::Envelope,
        feed::{Feed, Heard},
        in_process::CommittedEvents,
    },
    store::{Store, StoreError},
};

/// How often it is looked whether a watched auction has moved on: the most that an event is told
/// later than from a bus, besides the two queries.
pub const FOLLOWED_EVERY: Duration = Duration::from_millis(100);
/// Events that are read at once; of more, the rest comes with the next look.
const EVENTS_READ_AT_ONCE_MAX: u64 = 4_096;
/// Events of one auction in one commit to the hub.
const EVENTS_PER_COMMIT_MAX: usize = 256;
/// Commits that may wait for the hub; the tail waits for it then.
const COMMITS_WAITING_MAX: usize = 64;
/// Pause after Postgres could not be asked.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The reading end.
pub(super) struct Tail {
    sender: mpsc::Sender<CommittedEvents>,
}

/// The feed that it makes.
pub(super) struct TailFeed(mpsc::Receiver<CommittedEvents>);

/// Both ends.
pub(super) fn tail() -> (Tail, TailFeed) {
    let (sender, receiver) = mpsc::channel(COMMITS_WAITING_MAX);
    (Tail { sender }, TailFeed(receiver))
}

impl Feed for TailFeed {
    async fn next(&mut self) -> Option<Heard> {
        self.0.recv().await.map(Heard::Committed)
    }
}

impl Tail {
    /// Follows the log until the hub is gone.
    pub async fn run(self, store: Store, viewers: Weak<Viewers>) {
        let mut every = tokio::time::interval(FOLLOWED_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_blind = false;
        loop {
            every.tick().await;
            let Some(watched) = watched(&viewers) else { return };
            match self.look(&store, &watched).await {
                Ok(true) => is_blind = false,
                Ok(false) => return,
                Err(error) => {
                    if !std::mem::replace(&mut is_blind, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "the streams cannot follow the log for now");
                    }
                    tokio::time::sleep(LOOK_AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Reads what has happened to what is watched; whether the hub is still there.
    async fn look(&self, store: &Store, watched: &[(AuctionId, u64)]) -> Result<bool, StoreError> {
        if watched.is_empty() {
            return Ok(!self.sender.is_closed());
        }
        let mut room = EVENTS_READ_AT_ONCE_MAX;
        let mut ranges = Vec::new();
        for (id, head, newest) in store.moved_on(watched).await? {
            let count = (newest - head).min(room);
            if count > 0 {
                room -= count;
                ranges.push((id, signed(head + 1), signed(head + count)));
            }
        }
        if ranges.is_empty() {
            return Ok(true);
        }
        let rows = store.events_in(&ranges).await?;
        let read = rows.into_iter().filter_map(|row| {
            let (auction, seq) = (row.auction_id, row.seq);
            let envelope = Envelope::from_row(row);
            if envelope.is_none() {
                tracing::error!(%auction, seq, "an event cannot be read: its viewers begin anew");
            }
            envelope
        });
        let events: Vec<Envelope> = read.collect();
        for some in events.chunks(EVENTS_PER_COMMIT_MAX) {
            if self.sender.send(Arc::new(some.to_vec())).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What is watched, each with the last event that its topic has; `None` when the hub is gone.
fn watched(viewers: &Weak<Viewers>) -> Option<Vec<(AuctionId, u64)>> {
    let viewers = viewers.upgrade()?;
    let heads =
        |viewers: &Viewers| viewers.watched().iter().map(|topic| (topic.id, topic.head)).collect();
    (!viewers.is_closing()).then(|| heads(&viewers))
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
