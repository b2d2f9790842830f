//! The bus over RabbitMQ: a topic exchange, a quorum queue for each durable consumer, dead letters.
//!
//! Owns every name on the broker ([`Names`]), the connections and their supervision (`link`),
//! publishing with confirms (`publisher`), the queues' consumers (`consumers`, `viewers`) and
//! what an operator does with dead letters ([`dead_letters`]). Must never print a password, take a
//! message for safe without its own confirm, or keep anybody waiting who bids. Connections are not
//! left to the library's own recovery, which would publish again what it cannot vouch for: one that
//! failed is dropped with everything under way, and made again after a pause.

mod consumers;
pub mod dead_letters;
mod link;
mod publisher;
mod topology;
mod viewers;

use std::sync::{Arc, atomic::Ordering};

use lapin::uri::AMQPUri;
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use self::{
    consumers::DurableQueue,
    link::{Link, Standing, supervise},
    publisher::{Order, Publisher},
};
pub use self::{topology::Names, viewers::RabbitFeed};
use super::{
    bus::{BoxFuture, Bus, BusStanding, Committed, Consumer, PublishError},
    gate::Gate,
};

/// Commits that may wait for the publisher; the relay has fewer under way.
const COMMITS_WAITING_MAX: usize = 1_024;

/// Which broker, and under which names.
#[derive(Clone)]
pub struct Broker {
    /// Where, as whom.
    pub uri: AMQPUri,
    /// What everything is called there.
    pub names: Names,
}

/// The bus over RabbitMQ. Dropping it ends its connections.
pub struct RabbitMq {
    broker: Broker,
    orders: mpsc::Sender<Order>,
    gate: Arc<Gate>,
    standing: Arc<Standing>,
    tasks: Vec<AbortHandle>,
}

impl RabbitMq {
    /// A bus to this broker, with a queue for each of these consumers, which take from it in this
    /// process. Call it within a tokio or actix runtime. It connects in the background, for as long
    /// as it takes.
    pub fn start(broker: Broker, consumers: Vec<Arc<dyn Consumer>>) -> RabbitMq {
        let (orders, receiver) = mpsc::channel(COMMITS_WAITING_MAX);
        let (gate, standing) = (Arc::new(Gate::closed()), Arc::new(Standing::default()));
        let names = consumers.iter().map(|consumer| consumer.name()).collect();
        let publisher = Publisher::new(broker.names.clone(), names, Arc::clone(&gate), receiver);
        let link = Link::new(&broker, "hoga publisher", Arc::clone(&standing));
        let mut tasks = vec![tokio::spawn(supervise(link, publisher)).abort_handle()];
        for consumer in consumers {
            tasks.push(spawn_consumer(&broker, consumer));
        }
        RabbitMq { broker, orders, gate, standing, tasks }
    }

    /// Committed events for the streams of this process, over a queue of its own that goes with it.
    pub fn subscribe(&self) -> RabbitFeed {
        viewers::subscribe(&self.broker)
    }
}

/// Has a consumer take from its queue, here, without publishing anything. Two at once are one that
/// takes and one that waits for its place.
pub fn spawn_consumer(broker: &Broker, consumer: Arc<dyn Consumer>) -> AbortHandle {
    let link = Link::new(broker, consumer.name(), Arc::default());
    let queue = DurableQueue::new(broker.names.clone(), consumer);
    tokio::spawn(supervise(link, queue)).abort_handle()
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Bus for RabbitMq {
    /// Streams have their queue.
    fn tell(&self, _: &Committed) {}

    fn publish(&self, committed: Committed) -> BoxFuture<'static, Result<(), PublishError>> {
        let (done, outcome) = oneshot::channel();
        let ordered = self.gate.pass().ok_or(PublishError::Closed).and_then(|pass| {
            let order = Order { pass, events: committed, done };
            self.orders.try_send(order).map_err(|_| PublishError::Full)
        });
        if ordered == Err(PublishError::Full) {
            self.gate.close();
        }
        Box::pin(async move {
            ordered?;
            outcome.await.unwrap_or(Err(PublishError::Unconfirmed))
        })
    }

    fn resume(&self) {
        self.gate.open();
    }

    fn standing(&self) -> BusStanding {
        self.standing.load(Ordering::Acquire)
    }
}
