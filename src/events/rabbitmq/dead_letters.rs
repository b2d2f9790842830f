//! What an operator does with the dead letters on the broker: reads them, and sends them back.

use std::time::Duration;

use lapin::{
    BasicProperties, Channel, Connection,
    message::BasicGetMessage,
    options::{BasicAckOptions, BasicGetOptions, ConfirmSelectOptions},
    types::AMQPValue,
};
use sha2::{Digest, Sha256};

use super::{
    Broker,
    link::LinkError,
    publisher::{PERSISTENT, all_safe, publish},
    topology::{self, short},
};
use crate::events::{bus::PublishError, delivery::told, envelope::Envelope};

/// Dead letters that are looked at in one go.
pub const LETTERS_MAX: usize = 10_000;
/// No answer of the broker is waited for longer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// `<auction_id>:<seq>@<consumer>`; of what is not an event a part of its hash stands first.
    pub id: String,
    /// Such as `bid.placed`; empty if it is not an event.
    pub kind: String,
    /// Why it is here.
    pub reason: String,
    queue: String,
}

/// The dead letters cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// With what the broker said. Holds no password.
    #[error("RabbitMQ cannot be worked with: {0}")]
    Broker(String),
    /// A letter was not taken back; it stays.
    #[error("a dead letter could not be sent back to its queue; it stays where it is")]
    Publish(#[from] PublishError),
}

impl From<LinkError> for DeadLetterError {
    fn from(error: LinkError) -> DeadLetterError {
        match error {
            LinkError::Publish(error) => DeadLetterError::Publish(error),
            error @ (LinkError::Amqp(_)
            | LinkError::File(_)
            | LinkError::Timeout
            | LinkError::Lost
            | LinkError::ConsumerEnded) => DeadLetterError::Broker(told(&error)),
        }
    }
}

/// With where it was tried, and what to do about it.
fn unreached(at: &str, error: &LinkError) -> DeadLetterError {
    let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
    DeadLetterError::Broker(format!("{at}: {}{advice}", told(error)))
}

impl From<lapin::Error> for DeadLetterError {
    fn from(error: lapin::Error) -> DeadLetterError {
        DeadLetterError::Broker(told(&error))
    }
}

/// A connection to look at them. What was looked at goes back when it ends.
pub struct DeadLetters {
    connection: Connection,
    channel: Channel,
    queue: String,
}

impl DeadLetters {
    /// Connects.
    ///
    /// # Errors
    /// When the broker cannot be reached or refuses.
    pub async fn open(broker: &Broker) -> Result<DeadLetters, DeadLetterError> {
        let opening = async {
            let connected = broker.servers.connect("hoga dead-letters").await;
            let connection = connected.map_err(|(at, error)| unreached(&at, &error))?;
            let channel = connection.create_channel().await?;
            topology::declare(&channel, &broker.names).await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(DeadLetters { connection, channel, queue: broker.names.dead_letters() })
        };
        timely(opening).await
    }

    /// All of them, oldest first, up to [`LETTERS_MAX`].
    ///
    /// # Errors
    /// When the broker fails.
    pub async fn list(&self) -> Result<Vec<Letter>, DeadLetterError> {
        let messages = timely(self.get_all()).await?;
        Ok(messages.iter().map(letter).collect())
    }

    /// Sends one, or all, back to the queue each came from; how many.
    ///
    /// # Errors
    /// When the broker fails; what was not sent back stays.
    pub async fn replay(&self, id: Option<&str>) -> Result<usize, DeadLetterError> {
        let mut count = 0;
        for message in timely(self.get_all()).await? {
            let letter = letter(&message);
            if id.is_some_and(|id| id != letter.id) || letter.queue.is_empty() {
                continue;
            }
            timely(self.send_back(&message, &letter)).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Ends the connection.
    pub async fn close(self) {
        let _ = self.connection.close(200, "done".into()).await;
    }

    async fn get_all(&self) -> Result<Vec<BasicGetMessage>, DeadLetterError> {
        let mut messages = Vec::new();
        while messages.len() < LETTERS_MAX {
            let options = BasicGetOptions { no_ack: false };
            let Some(message) = self.channel.basic_get(short(&self.queue), options).await? else {
                break;
            };
            messages.push(message);
        }
        Ok(messages)
    }

    async fn send_back(
        &self,
        message: &BasicGetMessage,
        letter: &Letter,
    ) -> Result<(), DeadLetterError> {
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_type(short(&letter.kind));
        let confirm = publish(&self.channel, "", &letter.queue, &message.data, properties).await?;
        all_safe(vec![confirm]).await?;
        message.ack(BasicAckOptions::default()).await?;
        Ok(())
    }
}

async fn timely<T>(
    work: impl Future<Output = Result<T, DeadLetterError>>,
) -> Result<T, DeadLetterError> {
    tokio::time::timeout(TIMEOUT, work).await.map_err(|_| LinkError::Timeout)?
}

fn letter(message: &BasicGetMessage) -> Letter {
    let header = |name: &str| {
        let headers = message.properties.headers().as_ref()?;
        let value = headers.inner().get(name)?;
        if let AMQPValue::LongString(value) = value { Some(value.to_string()) } else { None }
    };
    // The broker itself writes the second: after too many deliveries.
    let queue = header("hoga-queue").or_else(|| header("x-first-death-queue")).unwrap_or_default();
    let consumer = header("hoga-consumer").unwrap_or_else(|| queue.clone());
    let reason = header("hoga-reason").or_else(|| header("x-first-death-reason"));
    let event = Envelope::from_carried(&message.data);
    let name = event
        .as_ref()
        .map_or_else(|| const_hex::encode(&Sha256::digest(&message.data)[..6]), Envelope::id);
    Letter {
        id: format!("{name}@{consumer}"),
        kind: event.map(|event| event.kind.into_owned()).unwrap_or_default(),
        reason: reason.unwrap_or_default(),
        queue,
    }
}
