//! The one place where the time of day is read.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::domain::time::Timestamp;

static LATEST_MS: AtomicI64 = AtomicI64::new(0);

/// Now, never earlier than it was before: a clock that is set back stands still until it is caught up.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let latest = LATEST_MS.load(Ordering::Relaxed);
    if millis <= latest {
        return Timestamp::from_millis(latest);
    }
    Timestamp::from_millis(LATEST_MS.fetch_max(millis, Ordering::Relaxed).max(millis))
}
