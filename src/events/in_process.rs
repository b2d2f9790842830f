//! The bus of the embedded default: committed events to subscribers in the same process.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::envelope::Envelope;

/// How many commits a subscriber may be behind before it is told that it missed some.
pub const COMMITS_KEPT_MAX: usize = 4_096;

/// One commit's events, in the order in which they were decided.
pub type Committed = Arc<Vec<Envelope>>;

/// Carries committed events to whoever subscribed. Never waits for a subscriber.
#[derive(Clone)]
pub struct InProcessBus {
    sender: broadcast::Sender<Committed>,
}

impl Default for InProcessBus {
    fn default() -> Self {
        InProcessBus { sender: broadcast::Sender::new(COMMITS_KEPT_MAX) }
    }
}

impl InProcessBus {
    /// Everything that is published from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Committed> {
        self.sender.subscribe()
    }

    /// Publishes one commit's events. Without subscribers they go nowhere: the log has them.
    pub fn publish(&self, events: Committed) {
        let _ = self.sender.send(events);
    }
}
