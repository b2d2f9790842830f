//! What a lane counts for those who run the exchange: handles are looked up once, so that a batch
//! costs a few additions.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use super::queue::Outcomes;
use crate::store::CommitError;

/// The counters of one lane.
pub(super) struct LaneMetrics {
    accepted: Counter,
    refused: Counter,
    failed: Counter,
    committed: Counter,
    commands: Histogram,
    seconds: Histogram,
}

impl Default for LaneMetrics {
    fn default() -> Self {
        let answered = |answer: &'static str| counter!("hoga_commands_total", "answer" => answer);
        LaneMetrics {
            accepted: answered("accepted"),
            refused: answered("refused"),
            failed: answered("failed"),
            committed: counter!("hoga_batches_total", "outcome" => "committed"),
            commands: histogram!("hoga_batch_commands"),
            seconds: histogram!("hoga_batch_seconds"),
        }
    }
}

impl LaneMetrics {
    /// A transaction ended.
    pub fn batch(&self, took: Duration, error: Option<&CommitError>) {
        self.seconds.record(took.as_secs_f64());
        let outcome = match error {
            None => return self.committed.increment(1),
            Some(CommitError::Conflict { .. }) => "conflict",
            Some(CommitError::Refused(_)) => "refused",
            Some(CommitError::Full(_)) => "full",
            Some(CommitError::NotOwner) => "not_owner",
            Some(CommitError::Closed | CommitError::NotSent(_)) => "not_sent",
            Some(CommitError::Unknown(_)) => "unknown",
        };
        counter!("hoga_batches_total", "outcome" => outcome).increment(1);
    }

    /// The commands of one auction in a transaction were answered.
    pub fn answers(&self, told: Outcomes) {
        self.accepted.increment(told.accepted);
        self.refused.increment(told.refused);
        self.failed.increment(told.failed);
    }

    /// So many commands are in a transaction.
    pub fn taken(&self, commands: usize) {
        self.commands.record(u32::try_from(commands).map_or(f64::MAX, f64::from));
    }
}
