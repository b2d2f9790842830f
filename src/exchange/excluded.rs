//! Logs that are damaged: each is said once and not read again for a while, so that it costs the
//! others nothing.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::replay::ReplayError;
use crate::domain::id::LogId;

/// After so long a damaged log is read again: somebody may have mended it.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Damaged logs that are remembered; those beyond are read, and said, each time.
const LOGS_MAX: usize = 10_000;

/// Which logs are damaged.
#[derive(Default)]
pub(super) struct ExcludedLogs {
    /// Each with the time from which on it is read again.
    logs: Mutex<HashMap<LogId, Instant>>,
    /// How many they are, for those who look before each log.
    count: AtomicUsize,
}

impl ExcludedLogs {
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether the log was damaged a moment ago.
    pub fn has(&self, id: LogId) -> bool {
        self.count() > 0 && self.logs().get(&id).is_some_and(|again_at| Instant::now() < *again_at)
    }

    /// All of them are read again when somebody asks for them.
    pub fn read_again(&self) {
        let now = Instant::now();
        self.logs().values_mut().for_each(|again_at| *again_at = now);
    }

    /// The log cannot be replayed.
    pub fn add(&self, id: LogId, error: &ReplayError) {
        let mut logs = self.logs();
        let is_known = logs.contains_key(&id);
        if is_known || logs.len() < LOGS_MAX {
            logs.insert(id, Instant::now() + READ_AGAIN_AFTER);
        }
        self.counted(&logs);
        if !is_known {
            let error: &dyn std::error::Error = error;
            tracing::error!(log = %id, error, "the log cannot be replayed; it is set aside");
        }
    }

    /// The log was replayed.
    pub fn remove(&self, id: LogId) {
        if self.count() == 0 {
            return;
        }
        let mut logs = self.logs();
        if logs.remove(&id).is_some() {
            tracing::info!(log = %id, "the log that was set aside can be replayed again");
        }
        self.counted(&logs);
    }

    fn counted(&self, logs: &HashMap<LogId, Instant>) {
        self.count.store(logs.len(), Ordering::Release);
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<LogId, Instant>> {
        self.logs.lock().expect("nothing panics while it holds the list")
    }
}
