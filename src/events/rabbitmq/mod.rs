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
mod servers;
mod topology;
mod viewers;

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::AbortHandle,
};

use self::{
    consumers::DurableQueue,
    link::{Link, Standing, supervise},
    publisher::{Order, Publisher},
};
pub use self::{servers::Servers, topology::Names, viewers::RabbitFeed};
use super::{
    bus::{BoxFuture, Bus, BusStanding, CommittedEvents, Consumer, PublishError},
    gate::Gate,
};
use crate::tasks::Tasks;

/// Commits that may wait for the publisher; the relay has fewer under way.
const COMMITS_WAITING_MAX: usize = 1_024;

/// Which broker, and under which names.
#[derive(Clone)]
pub struct Broker {
    /// Where, as whom.
    pub servers: Servers,
    /// What everything is called there.
    pub names: Names,
}

/// The bus over RabbitMQ. Dropping it ends its connections.
pub struct RabbitMq {
    broker: Broker,
    orders: mpsc::Sender<Order>,
    gate: Arc<Gate>,
    opened: Arc<Notify>,
    /// One for each connection, that of the publisher first.
    standings: Mutex<Vec<Arc<Standing>>>,
    tasks: Tasks,
    handles: Vec<AbortHandle>,
}

impl RabbitMq {
    /// A bus to this broker, with a queue for each of these consumers, which take from it in this
    /// process. Call it within a tokio or actix runtime. It connects in the background, for as long
    /// as it takes.
    pub fn start(broker: Broker, consumers: Vec<Arc<dyn Consumer>>, tasks: &Tasks) -> RabbitMq {
        let (orders, receiver) = mpsc::channel(COMMITS_WAITING_MAX);
        let (gate, opened) = (Arc::new(Gate::closed()), Arc::new(Notify::new()));
        let names = consumers.iter().map(|consumer| consumer.name()).collect();
        let publisher = Publisher::new(
            broker.names.clone(),
            names,
            Arc::clone(&gate),
            receiver,
            Arc::clone(&opened),
        );
        let mut standings = vec![Arc::default()];
        let link = Link::new(&broker, "hoga publisher", Arc::clone(&standings[0]));
        let mut handles = vec![tasks.vital("publisher", supervise(link, publisher))];
        for consumer in consumers {
            let standing = Arc::default();
            handles.push(consume(&broker, consumer, Arc::clone(&standing), tasks));
            standings.push(standing);
        }
        let (standings, tasks) = (Mutex::new(standings), tasks.clone());
        RabbitMq { broker, orders, gate, opened, standings, tasks, handles }
    }

    fn standings(&self) -> MutexGuard<'_, Vec<Arc<Standing>>> {
        self.standings.lock().expect("nothing panics while it holds the standings")
    }

    /// Committed events for the streams of this process, over a queue of its own that goes with it.
    pub fn subscribe(&self) -> RabbitFeed {
        let standing = Arc::default();
        self.standings().push(Arc::clone(&standing));
        viewers::subscribe(&self.broker, standing, &self.tasks)
    }
}

/// Has a consumer take from its queue, here, without publishing anything. Two at once are one that
/// takes and one that waits for its place.
pub fn spawn_consumer(broker: &Broker, consumer: Arc<dyn Consumer>, tasks: &Tasks) -> AbortHandle {
    consume(broker, consumer, Arc::default(), tasks)
}

fn consume(
    broker: &Broker,
    consumer: Arc<dyn Consumer>,
    standing: Arc<Standing>,
    tasks: &Tasks,
) -> AbortHandle {
    let broker = broker.clone();
    tasks.keep(consumer.name(), move || {
        let link = Link::new(&broker, consumer.name(), Arc::clone(&standing));
        supervise(link, DurableQueue::new(broker.names.clone(), Arc::clone(&consumer)))
    })
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.handles.iter().for_each(AbortHandle::abort);
    }
}

impl Bus for RabbitMq {
    /// Streams have their queue.
    fn tell(&self, _: &CommittedEvents) {}

    fn publish(&self, committed: CommittedEvents) -> BoxFuture<'static, Result<(), PublishError>> {
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
            outcome.await.unwrap_or(Err(PublishError::Lost))
        })
    }

    fn resume(&self) {
        self.gate.open();
    }

    fn opened(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.opened.notified())
    }

    /// The first connection with a trouble speaks for all.
    fn standing(&self) -> BusStanding {
        let standings = self.standings();
        let mut standings = standings.iter().map(|standing| standing.load());
        standings.find(|standing| *standing != BusStanding::Up).unwrap_or(BusStanding::Up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::bus::Trouble;

    #[test]
    fn whatever_publishes_takes_or_watches_is_part_of_how_the_bus_stands() {
        let uri = "amqp://127.0.0.1:1/%2f".parse().expect("a URI");
        let tls = crate::tls::ClientTls {
            verification: crate::tls::Verification::Nothing,
            identity: None,
        };
        let servers = Servers::new(vec![uri], tls);
        let (orders, _receiver) = mpsc::channel(1);
        let bus = RabbitMq {
            broker: Broker { servers, names: Names::default() },
            orders,
            gate: Arc::new(Gate::closed()),
            opened: Arc::default(),
            standings: Mutex::new(vec![Arc::default(), Arc::default(), Arc::default()]),
            tasks: Tasks::unattended(),
            handles: Vec::new(),
        };
        assert_eq!(bus.standing(), BusStanding::Down(Trouble::Connecting));
        let standings: Vec<_> = bus.standings().clone();
        standings.iter().for_each(|standing| standing.up());
        assert_eq!(bus.standing(), BusStanding::Up);
        for standing in &standings {
            standing.down(Trouble::Unreachable);
            assert_eq!(bus.standing(), BusStanding::Down(Trouble::Unreachable));
            standing.up();
        }
    }
}
