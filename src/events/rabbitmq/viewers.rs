//! The queue of one process's streams: bounded, gone with its connection, best effort.
//!
//! Whatever may have been missed is said, for the log has it: at the beginning, after a lost
//! connection, and where the numbers of messages show that the broker dropped some.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::{
    Connection,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::sync::mpsc;

use super::{
    Broker,
    link::{LOOKED_AFTER_EVERY, Link, LinkError, Standing, Work, supervise},
    publisher::number_of,
    topology::{self, Names, short},
};
use crate::events::{
    envelope::Envelope,
    feed::{Feed, Heard},
    in_process::CommittedEvents,
};
use crate::tasks::Tasks;

/// Messages that the broker sends ahead.
const MESSAGES_AHEAD_MAX: u16 = 2_048;
/// Messages that are told as one commit.
const MESSAGES_AT_ONCE_MAX: usize = 256;
/// Commits that wait for the streams; beyond it the queue on the broker fills.
const COMMITS_WAITING_MAX: usize = 64;

/// What the streams of a process hear.
pub struct RabbitFeed(mpsc::Receiver<Heard>);

impl Feed for RabbitFeed {
    async fn next(&mut self) -> Option<Heard> {
        self.0.recv().await
    }
}

pub(super) fn subscribe(broker: &Broker, standing: Arc<Standing>, tasks: &Tasks) -> RabbitFeed {
    let (heard, receiver) = mpsc::channel(COMMITS_WAITING_MAX);
    let link = Link::new(broker, "hoga streams", standing);
    let names = broker.names.clone();
    let queue = LiveQueue { names, heard, last: None };
    tasks.errand("streams of the broker", supervise(link, queue));
    RabbitFeed(receiver)
}

struct LiveQueue {
    names: Names,
    heard: mpsc::Sender<Heard>,
    /// The publisher's session and the number of its last message.
    last: Option<(String, u64)>,
}

impl LiveQueue {
    async fn listen(&mut self, connection: &Connection, link: &mut Link) -> Result<(), LinkError> {
        let channel = connection.create_channel().await?;
        topology::declare(&channel, &self.names).await?;
        channel.basic_qos(MESSAGES_AHEAD_MAX, BasicQosOptions::default()).await?;
        let queue = topology::declare_live(&channel, &self.names).await?;
        let options = BasicConsumeOptions::default();
        let messages =
            channel.basic_consume(short(&queue), "".into(), options, FieldTable::default()).await?;
        link.up();
        self.last = None;
        self.tell(Heard::LostSome).await?;
        let mut messages = messages.ready_chunks(MESSAGES_AT_ONCE_MAX);
        while let Some(some) = messages.next().await {
            let some = some.into_iter().collect::<lapin::Result<Vec<Delivery>>>()?;
            let has_skipped = some.iter().fold(false, |lost, message| self.skipped(message) | lost);
            let read = some.iter().map(|message| Envelope::from_carried(&message.data));
            let events: Vec<Envelope> = read.flatten().collect();
            let unreadable = some.len() - events.len();
            if unreadable > 0 {
                tracing::error!(
                    unreadable,
                    "messages of the broker are no events; the log is read"
                );
            }
            let has_lost = has_skipped || unreadable > 0;
            self.tell(Heard::Committed(CommittedEvents::new(events))).await?;
            if has_lost {
                self.tell(Heard::LostSome).await?;
            }
            if let Some(last) = some.last() {
                last.ack(BasicAckOptions { multiple: true }).await?;
            }
        }
        Err(LinkError::ConsumerEnded)
    }

    /// Whether messages may be missing before this one.
    fn skipped(&mut self, message: &Delivery) -> bool {
        let Some((session, no)) = number_of(&message.properties) else { return false };
        let last = self.last.replace((session.to_owned(), no));
        last.is_some_and(|last| last != (session.to_owned(), no - 1))
    }

    async fn tell(&self, heard: Heard) -> Result<(), LinkError> {
        self.heard.send(heard).await.map_err(|_| LinkError::Lost)
    }
}

impl Work for LiveQueue {
    async fn run(&mut self, connection: &Connection, link: &mut Link) -> LinkError {
        let heard = self.heard.clone();
        let lost = async {
            while connection.status().connected() && !heard.is_closed() {
                tokio::time::sleep(LOOKED_AFTER_EVERY).await;
            }
            LinkError::Lost
        };
        tokio::select! {
            ended = self.listen(connection, link) => ended.err().unwrap_or(LinkError::Lost),
            error = lost => error,
        }
    }

    fn is_over(&self) -> bool {
        self.heard.is_closed()
    }
}
