//! The bus: what carries committed events to whoever must have them, and to whoever likes to.
//!
//! Two carry them: [`super::in_process`] and [`super::rabbitmq`]. Must never carry an event whose
//! transaction has not committed, or anything private, nor let one event overtake another of the
//! same auction.

use std::{future::Future, pin::Pin, sync::Arc};

use super::envelope::Envelope;
use crate::store::StoreError;

/// A future that is given out by a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One commit's events, in the order in which they were decided.
pub type CommittedEvents = Arc<Vec<Envelope>>;

/// Events could not be taken; they are offered again.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The database.
    #[error("what was taken could not be kept")]
    Store(#[from] StoreError),
    /// An event makes no sense to this consumer. After some tries it is put aside.
    #[error("{0}")]
    Refused(String),
}

impl TakeError {
    /// Whether another try may go well without anybody doing anything to the event: then it is
    /// tried for as long as it takes. Otherwise the event is put aside after some tries.
    pub fn will_pass(&self) -> bool {
        match self {
            TakeError::Refused(_)
            | TakeError::Store(
                StoreError::Malformed(_) | StoreError::Constraint(_) | StoreError::Busy,
            ) => false,
            TakeError::Store(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)) => true,
            TakeError::Store(StoreError::Statement(error)) => error.code().is_none_or(|code| {
                // Connection lost, transaction rolled back, no resources, operator at work.
                ["08", "40", "53", "57"].contains(&&code.code()[..2])
            }),
        }
    }
}

/// Whoever must have every event at least once, in order per auction; drops what it had by
/// `(auction_id, seq)`.
pub trait Consumer: Send + Sync + 'static {
    /// Takes events. Once this is ready and `Ok`, they are safe with the consumer.
    fn take<'a>(&'a self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), TakeError>>;

    /// Events may be missing among those that come from now on: said whenever the way to the consumer
    /// was made, again too, for a broker that crashed may have forgotten that way and thrown away
    /// what was published meanwhile. Whatever is missing was committed before this is said, so the
    /// consumer compares what it has with the log.
    fn may_have_missed(&self) -> BoxFuture<'_, Result<(), TakeError>>;

    /// For logs and the names of queues: a lower-case word.
    fn name(&self) -> &'static str;
}

/// Why events are not safe with the bus. They stay in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Something before them failed, or the broker is not there: begin anew with [`Bus::resume`].
    #[error("the bus does not take events at present")]
    Closed,
    /// More is under way than the bus keeps.
    #[error("the bus has too much under way")]
    Full,
    /// The connection went away with what was under way.
    #[error("the connection to the broker was lost")]
    Lost,
    /// The connection stands, and no confirm came over it in time.
    #[error("the broker did not confirm in time")]
    Unconfirmed,
    /// The broker said no.
    #[error("the broker refused a message")]
    Nacked,
    /// No queue would have had it.
    #[error("the broker returned a message: no queue takes it")]
    Returned,
    /// A consumer in this process could not take them yet.
    #[error("the consumer {0} does not take events at present")]
    Consumer(&'static str),
}

/// How the bus stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusStanding {
    /// It takes events.
    Up,
    /// It does not, for this reason.
    Down(Trouble),
}

/// Why the broker cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Not connected yet.
    Connecting,
    /// Nobody answers, or the connection was lost.
    Unreachable,
    /// TLS failed: one side does not believe the other's certificate.
    Untrusted,
    /// The user, the password or the virtual host is wrong.
    AccessRefused,
    /// A queue or exchange of that name is there and is another one.
    OtherQueue,
    /// It refused something else.
    Refused,
    /// It is there, and did not bring events that are in the log: streams read them there.
    LosingEvents,
}

impl Trouble {
    /// For readiness and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Trouble::Connecting => "connecting",
            Trouble::Unreachable => "unreachable",
            Trouble::Untrusted => "untrusted",
            Trouble::AccessRefused => "access_refused",
            Trouble::OtherQueue => "queue_of_another_type",
            Trouble::Refused => "refused",
            Trouble::LosingEvents => "losing_events",
        }
    }
}

/// Carries committed events.
pub trait Bus: Send + Sync + 'static {
    /// Tells those who watch in this process, at once, and waits for nobody.
    fn tell(&self, committed: &CommittedEvents);

    /// Publishes. The order of the calls is the order of the events; the future is only about the
    /// outcome, and `Ok` means safe: confirmed by the broker, or taken by every durable consumer.
    /// After an error everything is refused until [`Bus::resume`].
    fn publish(&self, committed: CommittedEvents) -> BoxFuture<'static, Result<(), PublishError>>;

    /// Whoever publishes begins anew, from the oldest event that is not safe. Nothing of its own may
    /// be under way.
    fn resume(&self);

    /// Ready whenever it may take events again that it did not take before.
    fn opened(&self) -> BoxFuture<'_, ()>;

    /// How it stands, with every part of it in this process.
    fn standing(&self) -> BusStanding;
}
