//! The bus of the embedded default: committed events to consumers and streams in the same process.
//!
//! Owns a worker for each durable consumer, which takes commits one after the other. Must never
//! wait for a stream, nor lose what a consumer has not taken: it stays in the outbox.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{broadcast, mpsc, oneshot};

pub use super::bus::Committed;
use super::{
    bus::{BoxFuture, Bus, BusStanding, Consumer, PublishError},
    delivery::{Undelivered, Undertaker, deliver, tell_of_loss, told},
    envelope::Envelope,
    gate::{Gate, Pass},
};
use crate::store::{Store, StoreError};

/// How many commits a subscriber may be behind before it is told that it missed some.
pub const COMMITS_KEPT_MAX: usize = 4_096;
/// Commits that may wait for a durable consumer.
const COMMITS_WAITING_MAX: usize = 1_024;

/// Carries committed events within the process.
#[derive(Clone)]
pub struct InProcessBus {
    sender: broadcast::Sender<Committed>,
    workers: Arc<[Worker]>,
}

/// The way to a durable consumer.
struct Worker {
    name: &'static str,
    gate: Arc<Gate>,
    orders: mpsc::Sender<Order>,
}

struct Order {
    pass: Pass,
    events: Committed,
    done: oneshot::Sender<Result<(), PublishError>>,
}

impl Default for InProcessBus {
    fn default() -> Self {
        let sender = broadcast::Sender::new(COMMITS_KEPT_MAX);
        InProcessBus { sender, workers: Arc::new([]) }
    }
}

impl InProcessBus {
    /// A bus to these consumers. Call it within a tokio or actix runtime.
    pub fn start(store: &Store, consumers: Vec<Arc<dyn Consumer>>) -> InProcessBus {
        let workers = consumers.into_iter().map(|consumer| Worker::start(consumer, store.clone()));
        InProcessBus { workers: workers.collect(), ..InProcessBus::default() }
    }

    /// Everything that is told from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Committed> {
        self.sender.subscribe()
    }

    /// Tells the subscribers. Without any it goes nowhere: the log has it.
    pub fn tell(&self, events: &Committed) {
        let _ = self.sender.send(Arc::clone(events));
    }
}

impl Bus for InProcessBus {
    fn tell(&self, committed: &Committed) {
        InProcessBus::tell(self, committed);
    }

    fn publish(&self, committed: Committed) -> BoxFuture<'static, Result<(), PublishError>> {
        let outcomes: Vec<_> = self.workers.iter().map(|worker| worker.order(&committed)).collect();
        Box::pin(async move { join_all(outcomes).await.into_iter().collect() })
    }

    fn resume(&self) {
        self.workers.iter().for_each(|worker| worker.gate.open());
    }

    /// A consumer does not say when it can take again what it could not.
    fn opened(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn standing(&self) -> BusStanding {
        BusStanding::Up
    }
}

impl Worker {
    fn start(consumer: Arc<dyn Consumer>, store: Store) -> Worker {
        let (name, gate) = (consumer.name(), Arc::new(Gate::closed()));
        let (orders, receiver) = mpsc::channel(COMMITS_WAITING_MAX);
        tokio::spawn(work(consumer, store, Arc::clone(&gate), receiver));
        Worker { name, gate, orders }
    }

    /// Puts the events in line, now; the outcome comes later.
    fn order(
        &self,
        events: &Committed,
    ) -> impl Future<Output = Result<(), PublishError>> + Send + 'static {
        let (done, outcome) = oneshot::channel();
        let ordered = self.gate.pass().ok_or(PublishError::Closed).and_then(|pass| {
            let order = Order { pass, events: Arc::clone(events), done };
            self.orders.try_send(order).map_err(|_| PublishError::Full)
        });
        if ordered == Err(PublishError::Full) {
            self.gate.close();
        }
        let name = self.name;
        async move {
            ordered?;
            outcome.await.unwrap_or(Err(PublishError::Consumer(name)))
        }
    }
}

async fn work(
    consumer: Arc<dyn Consumer>,
    store: Store,
    gate: Arc<Gate>,
    mut orders: mpsc::Receiver<Order>,
) {
    let name = consumer.name();
    let letters = DeadLetters { consumer: name, store };
    // What a broker had that is not configured any more.
    tell_of_loss(&*consumer).await;
    let mut is_failing = false;
    while let Some(Order { pass, events, done }) = orders.recv().await {
        let outcome = if !gate.admits(pass) {
            Err(PublishError::Closed)
        } else if let Err(error) = deliver(&*consumer, &events, &letters).await {
            gate.close();
            if !std::mem::replace(&mut is_failing, true) {
                let error = match &error {
                    Undelivered::Consumer(error) => told(error),
                    Undelivered::Burial(error) => told(error),
                };
                tracing::warn!(consumer = name, error, "a consumer takes no events at present");
            }
            Err(PublishError::Consumer(name))
        } else {
            is_failing = false;
            Ok(())
        };
        let _ = done.send(outcome);
    }
}

/// The table of events that a consumer cannot take.
struct DeadLetters {
    consumer: &'static str,
    store: Store,
}

impl Undertaker for DeadLetters {
    type Error = StoreError;

    fn bury<'a>(
        &'a self,
        event: &'a Envelope,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let seq = i64::try_from(event.seq).unwrap_or(i64::MAX);
        let key = (event.auction_id, seq);
        Box::pin(self.store.insert_dead_letter(self.consumer, key, &event.kind, reason))
    }
}
