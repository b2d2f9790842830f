//! Where the streams hear of committed events from: the bus of this process, a broker, or the log.

use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::in_process::CommittedEvents;

/// What a feed has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// One commit's events, or some of them, in order.
    Committed(CommittedEvents),
    /// Commits may be missing here, for as long as the feed could not hear or could not keep up:
    /// who needs them reads the log.
    LostSome,
}

/// Committed events as they come: each at least once, or [`Heard::LostSome`] in its place.
pub trait Feed: Send + 'static {
    /// The next; `None` when there will be none any more. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Option<Heard>> + Send;
}

impl Feed for Receiver<CommittedEvents> {
    async fn next(&mut self) -> Option<Heard> {
        match self.recv().await {
            Ok(commit) => Some(Heard::Committed(commit)),
            Err(RecvError::Lagged(_)) => Some(Heard::LostSome),
            Err(RecvError::Closed) => None,
        }
    }
}
