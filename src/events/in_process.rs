//! The bus of the embedded default: committed events to consumers and streams in the same process.
//!
//! Owns a worker for each durable consumer, which takes commits one after the other. Must never
//! wait for a stream, nor lose what a consumer has not taken: it stays in the outbox.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{broadcast, mpsc, oneshot};

pub use super::bus::CommittedEvents;
use super::{
    bus::{BoxFuture, Bus, BusStanding, Consumer, PublishError},
    delivery::{Undelivered, Undertaker, deliver, tell_of_loss, told},
    envelope::Envelope,
    gate::{Gate, Pass},
};
use crate::store::{Store, StoreError};
use crate::tasks::Tasks;

/// How many commits a subscriber may be behind before it is told that it missed some.
pub const COMMITS_KEPT_MAX: usize = 4_096;
/// Commits that may wait for a durable consumer.
const COMMITS_WAITING_MAX: usize = 1_024;

/// Carries committed events within the process.
#[derive(Clone)]
pub struct InProcessBus {
    sender: broadcast::Sender<CommittedEvents>,
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
    events: CommittedEvents,
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
    pub fn start(store: &Store, consumers: Vec<Arc<dyn Consumer>>, tasks: &Tasks) -> InProcessBus {
        let start = |consumer| Worker::start(consumer, store.clone(), tasks);
        let workers = consumers.into_iter().map(start);
        InProcessBus { workers: workers.collect(), ..InProcessBus::default() }
    }

    /// Everything that is told from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<CommittedEvents> {
        self.sender.subscribe()
    }

    /// Tells the subscribers. Without any it goes nowhere: the log has it.
    pub fn tell(&self, events: &CommittedEvents) {
        let _ = self.sender.send(Arc::clone(events));
    }
}

impl Bus for InProcessBus {
    fn tell(&self, committed: &CommittedEvents) {
        InProcessBus::tell(self, committed);
    }

    fn publish(&self, committed: CommittedEvents) -> BoxFuture<'static, Result<(), PublishError>> {
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
    fn start(consumer: Arc<dyn Consumer>, store: Store, tasks: &Tasks) -> Worker {
        let (name, gate) = (consumer.name(), Arc::new(Gate::closed()));
        let (orders, receiver) = mpsc::channel(COMMITS_WAITING_MAX);
        tasks.vital(name, work(consumer, store, Arc::clone(&gate), receiver));
        Worker { name, gate, orders }
    }

    /// Puts the events in line, now; the outcome comes later.
    fn order(
        &self,
        events: &CommittedEvents,
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::{
        domain::{
            id::AuctionId,
            money::{Amount, Currency, Money},
            time::Timestamp,
        },
        events::bus::TakeError,
        log::{After, Minimum, hash::Hash},
    };

    /// Takes nothing the first time.
    #[derive(Default)]
    struct Stumbling {
        has_failed: AtomicBool,
        taken: Mutex<Vec<u64>>,
    }

    impl Consumer for Stumbling {
        fn take<'a>(&'a self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), TakeError>> {
            Box::pin(async move {
                if !self.has_failed.swap(true, Ordering::SeqCst) {
                    let error = deadpool_postgres::PoolError::Closed;
                    return Err(TakeError::Store(StoreError::Unavailable(error)));
                }
                let seqs = events.iter().map(|event| event.seq);
                self.taken.lock().expect("not poisoned").extend(seqs);
                Ok(())
            })
        }

        fn may_have_missed(&self) -> BoxFuture<'_, Result<(), TakeError>> {
            Box::pin(async { Ok(()) })
        }

        fn name(&self) -> &'static str {
            "stumbling"
        }
    }

    fn commit(seq: u64) -> CommittedEvents {
        let at = Timestamp::from_millis(1_800_000_000_000);
        let price = Money { amount: Amount::new(1_000).expect("won"), currency: Currency::Krw };
        CommittedEvents::new(vec![Envelope {
            auction_id: AuctionId(uuid::Uuid::from_u128(1)),
            seq,
            kind: "bid.placed".into(),
            at,
            data: "{}".to_owned(),
            hash: Hash::ZERO,
            after: After {
                bid_count: 1,
                ends_at: at,
                leader: None,
                minimum_next_bid: Minimum::Of(price.amount),
                price,
            },
        }])
    }

    #[tokio::test]
    async fn a_consumer_that_failed_takes_nothing_later_before_what_it_failed_at() {
        let store = Store::new(tokio_postgres::Config::new()).expect("nothing is connected");
        let consumer = Arc::new(Stumbling::default());
        let taken = || consumer.taken.lock().expect("not poisoned").clone();
        let bus = InProcessBus::start(
            &store,
            vec![Arc::clone(&consumer) as Arc<dyn Consumer>],
            &Tasks::unattended(),
        );
        bus.resume();
        // All are in line before the consumer is asked for the first time.
        let outcomes = join_all((1..=4).map(|seq| bus.publish(commit(seq)))).await;
        assert_eq!(outcomes[0], Err(PublishError::Consumer("stumbling")));
        assert!(outcomes[1..].iter().all(|outcome| *outcome == Err(PublishError::Closed)));
        assert!(taken().is_empty());
        assert_eq!(bus.publish(commit(5)).await, Err(PublishError::Closed));
        bus.resume();
        let outcomes = join_all((1..=5).map(|seq| bus.publish(commit(seq)))).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(taken(), [1, 2, 3, 4, 5]);
    }

    /// Takes nothing until it is let go.
    #[derive(Default)]
    struct Hanging {
        let_go: tokio::sync::Notify,
        taken: Mutex<Vec<u64>>,
    }

    impl Consumer for Hanging {
        fn take<'a>(&'a self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), TakeError>> {
            Box::pin(async move {
                if events[0].seq == 1 {
                    self.let_go.notified().await;
                }
                let seqs = events.iter().map(|event| event.seq);
                self.taken.lock().expect("not poisoned").extend(seqs);
                Ok(())
            })
        }

        fn may_have_missed(&self) -> BoxFuture<'_, Result<(), TakeError>> {
            Box::pin(async { Ok(()) })
        }

        fn name(&self) -> &'static str {
            "hanging"
        }
    }

    #[tokio::test]
    async fn what_comes_after_a_commit_that_had_no_room_does_not_overtake_it() {
        let store = Store::new(tokio_postgres::Config::new()).expect("nothing is connected");
        let consumer = Arc::new(Hanging::default());
        let taken = || consumer.taken.lock().expect("not poisoned").clone();
        let bus = InProcessBus::start(
            &store,
            vec![Arc::clone(&consumer) as Arc<dyn Consumer>],
            &Tasks::unattended(),
        );
        bus.resume();
        let room = u64::try_from(COMMITS_WAITING_MAX).expect("a number");
        // The worker has not run yet, so that all of them wait.
        let waiting: Vec<_> = (1..=room).map(|seq| bus.publish(commit(seq))).collect();
        assert_eq!(bus.publish(commit(room + 1)).await, Err(PublishError::Full));
        consumer.let_go.notify_one();
        join_all(waiting).await;
        // There is room again, but not before what had none.
        assert_eq!(bus.publish(commit(room + 2)).await, Err(PublishError::Closed));
        let before = taken().len();
        bus.resume();
        let again = join_all((room + 1..=room + 2).map(|seq| bus.publish(commit(seq)))).await;
        assert_eq!(again, [Ok(()), Ok(())]);
        assert_eq!(taken()[before..], [room + 1, room + 2]);
    }
}
