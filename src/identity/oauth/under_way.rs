//! How many logins are at Kakao, so that there is a bound to them.

use std::sync::atomic::{AtomicI64, Ordering};

/// Logins that this node lets be at Kakao at once: far more than people can be, and few enough for
/// the table to stay small.
pub const UNDER_WAY_MAX: i64 = 200_000;

/// Counts up with each login that starts; the count of the rows puts it right from time to time.
#[derive(Debug, Default)]
pub struct UnderWay(AtomicI64);

impl UnderWay {
    /// One more; false when there are too many.
    pub fn add(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) < UNDER_WAY_MAX
    }

    /// One less.
    pub fn take(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// So many rows there are.
    pub fn set(&self, rows: i64) {
        self.0.store(rows, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_bound_and_room_again_when_some_are_done() {
        let under_way = UnderWay::default();
        assert!(under_way.add());
        under_way.set(UNDER_WAY_MAX);
        assert!(!under_way.add());
        under_way.take();
        under_way.take();
        assert!(under_way.add());
    }
}
