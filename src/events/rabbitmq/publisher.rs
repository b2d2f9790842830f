//! Publishing: persistent, mandatory, each message with its own confirm, many under way.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesOrdered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    link::{LOOKED_AFTER_EVERY, Link, LinkError, Work},
    topology::{self, Names, short},
};
use crate::events::{
    breakpoint::{self, Point},
    bus::{BoxFuture, CommittedEvents, PublishError},
    envelope::Envelope,
    gate::{Gate, Pass},
};

/// Messages that the broker has and has not confirmed.
const MESSAGES_UNDER_WAY_MAX: usize = 4_096;
/// No broker takes longer to confirm; one that does has lost the message, for all we know.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
/// AMQP's number for messages that survive a restart.
pub(super) const PERSISTENT: u8 = 2;

/// A commit to publish.
pub(super) struct Order {
    pub pass: Pass,
    pub events: CommittedEvents,
    pub done: oneshot::Sender<Result<(), PublishError>>,
}

pub(super) struct Publisher {
    names: Names,
    consumers: Vec<&'static str>,
    gate: Arc<Gate>,
    orders: mpsc::Receiver<Order>,
    /// Told whenever there is a connection to publish over.
    opened: Arc<Notify>,
}

type Outcome = (usize, Result<(), LinkError>, oneshot::Sender<Result<(), PublishError>>);

impl Publisher {
    pub fn new(
        names: Names,
        consumers: Vec<&'static str>,
        gate: Arc<Gate>,
        orders: mpsc::Receiver<Order>,
        opened: Arc<Notify>,
    ) -> Publisher {
        Publisher { names, consumers, gate, orders, opened }
    }

    async fn prepare(&self, connection: &Connection) -> lapin::Result<Channel> {
        let channel = connection.create_channel().await?;
        topology::declare(&channel, &self.names).await?;
        for consumer in &self.consumers {
            topology::declare_queue(&channel, &self.names, consumer).await?;
        }
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    async fn publish_all(
        &mut self,
        connection: &Connection,
        channel: &Channel,
        link: &mut Link,
    ) -> Result<(), LinkError> {
        let mut numbered = Numbered::new(self.names.exchange());
        let mut under_way: FuturesOrdered<BoxFuture<'static, Outcome>> = FuturesOrdered::new();
        let mut messages = 0;
        let mut look = tokio::time::interval(LOOKED_AFTER_EVERY);
        loop {
            tokio::select! {
                biased;
                Some((count, outcome, done)) = under_way.next() => {
                    messages -= count;
                    if let Err(error) = outcome {
                        self.gate.close();
                        let _ = done.send(Err(PublishError::from(&error)));
                        return Err(error);
                    }
                    link.confirmed();
                    let _ = done.send(Ok(()));
                }
                _ = look.tick() => if !connection.status().connected() {
                    return Err(LinkError::Lost);
                },
                order = self.orders.recv(), if messages < MESSAGES_UNDER_WAY_MAX => {
                    let Some(Order { pass, events, done }) = order else { return Ok(()) };
                    if !self.gate.admits(pass) {
                        let _ = done.send(Err(PublishError::Closed));
                        continue;
                    }
                    let mut confirms = Vec::with_capacity(events.len());
                    for event in events.iter() {
                        confirms.push(numbered.publish(channel, event).await?);
                    }
                    breakpoint::pass(Point::Published);
                    messages += confirms.len();
                    under_way.push_back(Box::pin(async move {
                        (confirms.len(), all_safe(confirms).await, done)
                    }));
                }
            }
        }
    }
}

impl Work for Publisher {
    async fn run(&mut self, connection: &Connection, link: &mut Link) -> LinkError {
        let channel = match self.prepare(connection).await {
            Ok(channel) => channel,
            Err(error) => return error.into(),
        };
        link.up_unless_refused();
        self.opened.notify_one();
        self.publish_all(connection, &channel, link).await.err().unwrap_or(LinkError::Lost)
    }

    fn lost(&mut self) {
        self.gate.close();
        while let Ok(order) = self.orders.try_recv() {
            let _ = order.done.send(Err(PublishError::Closed));
        }
    }

    fn is_over(&self) -> bool {
        self.orders.is_closed()
    }
}

/// The messages of one connection, numbered, so that streams notice what their queue dropped.
struct Numbered {
    exchange: String,
    session: String,
    no: u64,
}

impl Numbered {
    fn new(exchange: String) -> Numbered {
        Numbered { exchange, session: uuid::Uuid::new_v4().simple().to_string(), no: 0 }
    }

    async fn publish(
        &mut self,
        channel: &Channel,
        event: &Envelope,
    ) -> lapin::Result<PublisherConfirm> {
        self.no += 1;
        let key = format!("auction.{}.{}", event.auction_id, event.kind);
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(short(&event.id()))
            .with_correlation_id(short(&format!("{}:{}", self.session, self.no)))
            .with_type(short(&event.kind));
        publish(channel, &self.exchange, &key, event.carried().as_bytes(), properties).await
    }
}

pub(super) async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    body: &[u8],
    properties: BasicProperties,
) -> lapin::Result<PublisherConfirm> {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    channel.basic_publish(short(exchange), short(key), options, body, properties).await
}

/// The session and the number that a message was given.
pub(super) fn number_of(properties: &BasicProperties) -> Option<(&str, u64)> {
    let (session, no) = properties.correlation_id().as_ref()?.as_str().split_once(':')?;
    Some((session, no.parse().ok()?))
}

/// Waits until the broker has made itself responsible for each of them.
pub(super) async fn all_safe(confirms: Vec<PublisherConfirm>) -> Result<(), LinkError> {
    let deadline = pin!(tokio::time::sleep(CONFIRM_TIMEOUT));
    let all = async {
        for confirm in confirms {
            safe(confirm.await)?;
        }
        Ok(())
    };
    tokio::select! {
        outcome = all => outcome,
        () = deadline => Err(PublishError::Unconfirmed.into()),
    }
}

fn safe(confirmation: lapin::Result<Confirmation>) -> Result<(), LinkError> {
    match confirmation? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
            metrics::counter!("hoga_relay_returned_total").increment(1);
            Err(PublishError::Returned.into())
        }
        Confirmation::Nack(None) => Err(PublishError::Nacked.into()),
        Confirmation::NotRequested => Err(PublishError::Unconfirmed.into()),
    }
}
