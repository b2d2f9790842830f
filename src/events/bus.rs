//! The bus: who takes committed events from it, and what it may promise them.
//!
//! Must never carry an event whose transaction has not committed, or anything private.

use std::{future::Future, pin::Pin};

use super::envelope::Envelope;
use crate::store::StoreError;

/// A future that is given out by a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Events could not be taken; they are offered again.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The database.
    #[error("what was taken could not be kept")]
    Store(#[from] StoreError),
}

/// Whoever must have every event at least once, in order per auction; drops what it had by
/// `(auction_id, seq)`.
pub trait Consumer: Send + Sync + 'static {
    /// Takes events. Once this is ready and `Ok`, they are safe with the consumer.
    fn take<'a>(&'a self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), TakeError>>;

    /// For logs and the names of queues.
    fn name(&self) -> &'static str;
}
