//! The outbox relay: publishes committed events, then forgets their outbox rows.
//!
//! The lanes hand each committed batch over in memory; the table is read to catch up, after a
//! start or when the relay fell behind, and regularly for what others wrote. A lane never waits for the relay.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc};

use super::{
    bus::{Consumer, TakeError},
    envelope::Envelope,
    in_process::{Committed, InProcessBus},
};
use crate::store::Store;

/// Committed batches that may wait in memory; past it the relay reads the table.
pub const BATCHES_WAITING_MAX: usize = 1_024;
/// Outbox rows that are forgotten in one statement.
const FORGOTTEN_AT_ONCE_MAX: usize = 1_024;
/// Outbox rows that are read at once when catching up.
const COMMITS_READ_AT_ONCE: usize = 64;
/// Auctions whose events are read at once when catching up.
const RANGES_READ_AT_ONCE: usize = 256;
/// How long a published row may stay: forgetting costs a transaction, which many rows can share.
/// After a crash those that stayed are published again; subscribers drop what they have seen.
const FORGOTTEN_WITHIN: Duration = Duration::from_millis(100);
/// How often the table is read for what was not handed over: auctions that were created, by this
/// server or by `hoga import`.
const TABLE_READ_EVERY: Duration = Duration::from_millis(500);
/// Pause after Postgres could not be asked.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A committed batch on its way out.
pub struct Batch {
    /// Its row in the outbox.
    pub outbox_id: i64,
    /// Its events, all durable.
    pub events: Committed,
}

/// The lanes' end of the relay.
#[derive(Clone)]
pub struct RelayHandle {
    sender: mpsc::Sender<Batch>,
    behind: Arc<AtomicBool>,
    look: Arc<Notify>,
}

impl RelayHandle {
    /// Hands over a committed batch. If the relay is too far behind it will find it in the table.
    pub fn hand_over(&self, batch: Batch) {
        if self.sender.try_send(batch).is_err() {
            self.behind.store(true, Ordering::Release);
        }
    }

    /// Something was committed that is in the table alone, such as the first event of an auction.
    pub fn look(&self) {
        self.look.notify_one();
    }
}

/// The relay itself; see [`Relay::run`].
pub struct Relay {
    receiver: mpsc::Receiver<Batch>,
    behind: Arc<AtomicBool>,
    look: Arc<Notify>,
    store: Store,
    bus: InProcessBus,
    consumers: Vec<Arc<dyn Consumer>>,
}

impl Relay {
    /// A relay to a bus and to those who must have every event, and the handle for the lanes.
    pub fn new(
        store: Store,
        bus: InProcessBus,
        consumers: Vec<Arc<dyn Consumer>>,
    ) -> (RelayHandle, Relay) {
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING_MAX);
        // Whatever an earlier run left in the table comes first.
        let behind = Arc::new(AtomicBool::new(true));
        let look = Arc::new(Notify::new());
        let handle = RelayHandle { sender, behind: Arc::clone(&behind), look: Arc::clone(&look) };
        (handle, Relay { receiver, behind, look, store, bus, consumers })
    }

    /// Relays until every handle is gone and nothing waits.
    pub async fn run(mut self) {
        let mut waiting = Vec::with_capacity(FORGOTTEN_AT_ONCE_MAX);
        let mut published = Vec::with_capacity(2 * FORGOTTEN_AT_ONCE_MAX);
        let look = Arc::clone(&self.look);
        let mut forget = interval(FORGOTTEN_WITHIN);
        let mut read_table = interval(TABLE_READ_EVERY);
        loop {
            if self.behind.swap(false, Ordering::AcqRel) {
                self.forget(&mut published).await;
                self.catch_up().await;
            }
            tokio::select! {
                count = self.receiver.recv_many(&mut waiting, FORGOTTEN_AT_ONCE_MAX) => {
                    for batch in &waiting {
                        self.bus.publish(Arc::clone(&batch.events));
                    }
                    self.hand_to_consumers(&mut waiting, &mut published).await;
                    if count == 0 || published.len() >= FORGOTTEN_AT_ONCE_MAX {
                        self.forget(&mut published).await;
                    }
                    if count == 0 {
                        return;
                    }
                }
                () = look.notified() => self.behind.store(true, Ordering::Release),
                _ = forget.tick() => self.forget(&mut published).await,
                _ = read_table.tick() => {
                    self.forget(&mut published).await;
                    if let Err(error) = self.publish_oldest().await {
                        warn_of(&error);
                    }
                }
            }
        }
    }

    /// What somebody cannot take stays in the table, and is offered again from there.
    async fn hand_to_consumers(&self, waiting: &mut Vec<Batch>, published: &mut Vec<i64>) {
        let events: Vec<Envelope> =
            waiting.iter().flat_map(|batch| batch.events.iter().cloned()).collect();
        match self.taken_by_all(&events).await {
            Ok(()) => published.extend(waiting.drain(..).map(|batch| batch.outbox_id)),
            Err(error) => {
                warn_of(&error);
                waiting.clear();
                self.behind.store(true, Ordering::Release);
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }

    async fn taken_by_all(&self, events: &[Envelope]) -> Result<(), TakeError> {
        for consumer in &self.consumers {
            consumer.take(events).await?;
        }
        Ok(())
    }

    async fn forget(&self, published: &mut Vec<i64>) {
        if published.is_empty() {
            return;
        }
        if let Err(error) = self.store.outbox_published(published).await {
            warn_of(&error);
            self.behind.store(true, Ordering::Release);
            tokio::time::sleep(RETRY_AFTER).await;
        }
        published.clear();
    }

    /// Publishes what the table holds, oldest first, until it is nearly empty: under load it never
    /// is, for the lanes go on. What waits in memory at the same time is published twice;
    /// subscribers drop it by its sequence number.
    async fn catch_up(&self) {
        loop {
            match self.publish_oldest().await {
                Ok(count) if count < COMMITS_READ_AT_ONCE => return,
                Ok(_) => {}
                Err(error) => {
                    warn_of(&error);
                    if self.receiver.is_closed() {
                        return;
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn publish_oldest(&self) -> Result<usize, TakeError> {
        let limit = i64::try_from(COMMITS_READ_AT_ONCE).unwrap_or(i64::MAX);
        let rows = self.store.outbox_oldest(limit).await?;
        for row in &rows {
            for ranges in row.ranges.chunks(RANGES_READ_AT_ONCE) {
                let events = self.store.events_in(ranges).await?;
                let events = events.into_iter().filter_map(Envelope::from_row).collect();
                let events = Committed::new(events);
                self.bus.publish(Arc::clone(&events));
                self.taken_by_all(&events).await?;
            }
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        self.store.outbox_published(&ids).await?;
        Ok(ids.len())
    }
}

fn interval(every: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

fn warn_of(error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(error, "the relay cannot reach the outbox");
}
