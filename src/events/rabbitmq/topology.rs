//! What must be there on the broker, and what it is called.

use std::collections::BTreeMap;

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

/// Deliveries of one message after which the broker puts it aside by itself: the consumer then took
/// the process down with it each time. Restarts of the broker count, too.
const DELIVERIES_MAX: i64 = 100;
/// Messages that wait for the streams of one process; beyond it the oldest go.
const VIEWER_MESSAGES_MAX: i64 = 100_000;

/// The names, each with the operator's prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// With a prefix, such as `staging.`.
    pub fn with_prefix(prefix: impl Into<String>) -> Names {
        Names { prefix: prefix.into() }
    }

    /// The topic exchange.
    pub fn exchange(&self) -> String {
        format!("{}hoga.events", self.prefix)
    }

    /// The queue of a durable consumer.
    pub fn queue(&self, consumer: &str) -> String {
        format!("{}hoga.{consumer}", self.prefix)
    }

    /// The queue of messages that could not be taken, and the exchange before it.
    pub fn dead_letters(&self) -> String {
        format!("{}hoga.dead-letters", self.prefix)
    }

    /// The queue of one process's streams.
    pub(super) fn live(&self) -> String {
        format!("{}hoga.live.{}", self.prefix, uuid::Uuid::new_v4())
    }
}

/// The exchange for events, and the one for dead letters with its queue.
pub(super) async fn declare(channel: &Channel, names: &Names) -> lapin::Result<()> {
    exchange(channel, names.exchange(), ExchangeKind::Topic).await?;
    exchange(channel, names.dead_letters(), ExchangeKind::Fanout).await?;
    let arguments = table([("x-queue-type", text("quorum"))]);
    let queue = names.dead_letters();
    channel.queue_declare(short(&queue), QueueDeclareOptions::durable(), arguments).await?;
    bind(channel, &queue, &names.dead_letters(), "").await
}

/// The queue of a durable consumer. One of several processes takes from it at a time, which keeps
/// the order; what cannot be taken goes to the dead letters, and only when it is safe there does it
/// leave.
pub(super) async fn declare_queue(
    channel: &Channel,
    names: &Names,
    consumer: &str,
) -> lapin::Result<()> {
    let arguments = table([
        ("x-queue-type", text("quorum")),
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        ("x-delivery-limit", AMQPValue::LongLongInt(DELIVERIES_MAX)),
        ("x-dead-letter-exchange", text(&names.dead_letters())),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ]);
    let queue = names.queue(consumer);
    channel.queue_declare(short(&queue), QueueDeclareOptions::durable(), arguments).await?;
    bind(channel, &queue, &names.exchange(), "auction.#").await
}

/// A queue that goes with its connection.
pub(super) async fn declare_live(channel: &Channel, names: &Names) -> lapin::Result<String> {
    let arguments = table([
        ("x-max-length", AMQPValue::LongLongInt(VIEWER_MESSAGES_MAX)),
        ("x-overflow", text("drop-head")),
    ]);
    let options = QueueDeclareOptions {
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: true,
        nowait: false,
    };
    let queue = names.live();
    channel.queue_declare(short(&queue), options, arguments).await?;
    bind(channel, &queue, &names.exchange(), "auction.#").await?;
    Ok(queue)
}

async fn exchange(channel: &Channel, name: String, kind: ExchangeKind) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(short(&name), kind, options, FieldTable::default()).await
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> lapin::Result<()> {
    let options = QueueBindOptions::default();
    channel
        .queue_bind(short(queue), short(exchange), short(key), options, FieldTable::default())
        .await
}

pub(super) fn short(text: &str) -> ShortString {
    ShortString::from(text)
}

pub(super) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

pub(super) fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let entries = entries.into_iter().map(|(name, value)| (short(name), value));
    FieldTable::from(entries.collect::<BTreeMap<_, _>>())
}
