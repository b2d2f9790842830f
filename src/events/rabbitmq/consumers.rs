//! A durable consumer's queue: taken in order, acknowledged after it was taken.
//!
//! A broker that is killed may forget a queue or a binding that it has just confirmed, and then
//! confirms what nobody but other queues had. So with each connection the consumer is told that it
//! may have missed events, once the binding is there again.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions},
    types::FieldTable,
};

use super::{
    link::{LOOKED_AFTER_EVERY, Link, LinkError, Work},
    publisher::{PERSISTENT, all_safe, publish},
    topology::{self, Names, short, table, text},
};
use crate::events::{
    bus::{BoxFuture, Consumer},
    delivery::{Undelivered, Undertaker, deliver, tell_of_loss, told},
    envelope::Envelope,
};

/// Messages that are offered at once, and that the broker sends ahead.
const MESSAGES_AT_ONCE_MAX: u16 = 256;
/// Before a consumer is asked again that takes nothing at present; doubled until [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before it is asked again.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Characters of a reason that are kept.
const REASON_LENGTH_MAX: usize = 1_000;

pub(super) struct DurableQueue {
    names: Names,
    consumer: Arc<dyn Consumer>,
}

impl DurableQueue {
    pub fn new(names: Names, consumer: Arc<dyn Consumer>) -> DurableQueue {
        DurableQueue { names, consumer }
    }

    async fn consume(&self, connection: &Connection, link: &mut Link) -> Result<(), LinkError> {
        let channel = connection.create_channel().await?;
        topology::declare(&channel, &self.names).await?;
        topology::declare_queue(&channel, &self.names, self.consumer.name()).await?;
        channel.basic_qos(MESSAGES_AT_ONCE_MAX, BasicQosOptions::default()).await?;
        let queue = self.names.queue(self.consumer.name());
        let options = BasicConsumeOptions::default();
        let messages =
            channel.basic_consume(short(&queue), "".into(), options, FieldTable::default()).await?;
        let cemetery = self.cemetery(connection, queue).await?;
        link.up();
        // The queue has its binding now; what was published while it may have had none is in the log.
        tell_of_loss(&*self.consumer).await;
        let mut messages = messages.ready_chunks(usize::from(MESSAGES_AT_ONCE_MAX));
        while let Some(some) = messages.next().await {
            let some = some.into_iter().collect::<lapin::Result<Vec<Delivery>>>()?;
            self.take(connection, &some, &cemetery).await?;
            if let Some(last) = some.last() {
                last.ack(BasicAckOptions { multiple: true }).await?;
            }
        }
        Err(LinkError::ConsumerEnded)
    }

    async fn take(
        &self,
        connection: &Connection,
        messages: &[Delivery],
        cemetery: &Cemetery,
    ) -> Result<(), LinkError> {
        let mut events = Vec::with_capacity(messages.len());
        for message in messages {
            match Envelope::from_carried(&message.data) {
                Some(event) => events.push(event),
                None => cemetery.bury_raw(message).await?,
            }
        }
        let (mut pause, mut is_failing) = (PAUSE, false);
        loop {
            match deliver(&*self.consumer, &events, cemetery).await {
                Ok(()) => return Ok(()),
                Err(Undelivered::Burial(error)) => return Err(error),
                Err(Undelivered::Consumer(error)) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        let (consumer, error) = (self.consumer.name(), told(&error));
                        tracing::warn!(consumer, error, "a consumer takes no events at present");
                    }
                }
            }
            if !connection.status().connected() {
                return Err(LinkError::Lost);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn cemetery(&self, connection: &Connection, queue: String) -> lapin::Result<Cemetery> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let (exchange, consumer) = (self.names.dead_letters(), self.consumer.name());
        Ok(Cemetery { channel, exchange, consumer, queue })
    }
}

impl Work for DurableQueue {
    async fn run(&mut self, connection: &Connection, link: &mut Link) -> LinkError {
        let lost = async {
            while connection.status().connected() {
                tokio::time::sleep(LOOKED_AFTER_EVERY).await;
            }
            LinkError::Lost
        };
        tokio::select! {
            ended = self.consume(connection, link) => ended.err().unwrap_or(LinkError::Lost),
            error = lost => error,
        }
    }
}

/// The way to the dead letters.
struct Cemetery {
    channel: Channel,
    exchange: String,
    consumer: &'static str,
    queue: String,
}

impl Cemetery {
    async fn put(&self, id: &str, kind: &str, body: &[u8], reason: &str) -> Result<(), LinkError> {
        let reason: String = reason.chars().take(REASON_LENGTH_MAX).collect();
        let headers = table([
            ("hoga-consumer", text(self.consumer)),
            ("hoga-queue", text(&self.queue)),
            ("hoga-reason", text(&reason)),
        ]);
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(short(id))
            .with_type(short(kind))
            .with_headers(headers);
        let confirm = publish(&self.channel, &self.exchange, "", body, properties).await?;
        all_safe(vec![confirm]).await
    }

    async fn bury_raw(&self, message: &Delivery) -> Result<(), LinkError> {
        let reason = "it is not an event";
        tracing::error!(consumer = self.consumer, reason, "a message is put aside");
        metrics::counter!("hoga_bus_dead_letters_total").increment(1);
        let id = message.properties.message_id().as_ref().map_or("", |id| id.as_str());
        self.put(id, "", &message.data, reason).await
    }
}

impl Undertaker for Cemetery {
    type Error = LinkError;

    fn bury<'a>(
        &'a self,
        event: &'a Envelope,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            self.put(&event.id(), &event.kind, event.carried().as_bytes(), reason).await
        })
    }
}
