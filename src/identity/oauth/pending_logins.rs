//! How many logins are at Kakao, so that there is a bound to them, in all and of one address.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use dashmap::DashMap;

use super::LOGIN_LIFE_S;

/// Logins that this node lets be at Kakao at once: far more than people can be, and few enough for
/// the table to stay small.
pub const UNDER_WAY_MAX: i64 = 200_000;
/// Of these, how many may have been begun from one address: a campus may be behind it.
pub const UNDER_WAY_PER_ADDRESS_MAX: u32 = 2_000;
/// As soon as half of all are taken an address may have so many, so that those who hold many leave
/// room for everybody else.
pub const UNDER_WAY_PER_ADDRESS_WHEN_FULL_MAX: u32 = 10;
/// As long as a login may take.
const WINDOW: Duration = Duration::from_secs(LOGIN_LIFE_S.unsigned_abs());

/// Counts up with each login that starts; the count of the rows puts it right from time to time.
#[derive(Debug, Default)]
pub struct PendingLogins {
    all: AtomicI64,
    /// No more entries than logins were begun in two windows.
    by_address: DashMap<Option<IpAddr>, Share>,
}

/// What one address has begun, in this window and in the one before.
#[derive(Debug)]
struct Share {
    since: Instant,
    now: u32,
    before: u32,
}

impl Share {
    fn at(&mut self, now: Instant) -> &mut Share {
        let windows = now.saturating_duration_since(self.since).as_secs() / WINDOW.as_secs();
        if windows > 0 {
            self.before = if windows == 1 { self.now } else { 0 };
            (self.now, self.since) = (0, now);
        }
        self
    }

    fn count(&self) -> u32 {
        self.now.saturating_add(self.before)
    }
}

impl PendingLogins {
    /// One more, from an address as far as it is known; false when there are too many.
    pub fn add(&self, address: Option<IpAddr>) -> bool {
        self.add_at(address, Instant::now())
    }

    fn add_at(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let all = self.all.load(Ordering::Relaxed);
        let max = if all < UNDER_WAY_MAX / 2 {
            UNDER_WAY_PER_ADDRESS_MAX
        } else {
            UNDER_WAY_PER_ADDRESS_WHEN_FULL_MAX
        };
        if all >= UNDER_WAY_MAX {
            return false;
        }
        let none = || Share { since: now, now: 0, before: 0 };
        let mut share = self.by_address.entry(address).or_insert_with(none);
        let share = share.at(now);
        if share.count() >= max {
            return false;
        }
        share.now += 1;
        self.all.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// One less, that came back to this address.
    pub fn take(&self, address: Option<IpAddr>) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(mut share) = self.by_address.get_mut(&address) {
            let share = share.at(Instant::now());
            if share.before > 0 {
                share.before -= 1;
            } else {
                share.now = share.now.saturating_sub(1);
            }
        }
    }

    /// So many rows there are.
    pub fn set(&self, rows: i64) {
        self.all.store(rows, Ordering::Relaxed);
        let now = Instant::now();
        self.by_address.retain(|_, share| share.at(now).count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u32) -> Option<IpAddr> {
        Some(IpAddr::from(n.to_be_bytes()))
    }

    #[test]
    fn there_is_a_bound_and_room_again_when_some_are_done() {
        let under_way = PendingLogins::default();
        assert!(under_way.add(at(1)));
        under_way.set(UNDER_WAY_MAX);
        assert!(!under_way.add(at(1)));
        under_way.take(at(1));
        under_way.take(at(1));
        assert!(under_way.add(at(1)));
    }

    #[test]
    fn an_address_has_its_share_and_nobody_elses() {
        let under_way = PendingLogins::default();
        for _ in 0..UNDER_WAY_PER_ADDRESS_MAX {
            assert!(under_way.add(at(1)));
        }
        assert!(!under_way.add(at(1)) && !under_way.add(at(1)));
        assert!(under_way.add(at(2)) && under_way.add(None));
        under_way.take(at(1));
        assert!(under_way.add(at(1)) && !under_way.add(at(1)));
        under_way.set(UNDER_WAY_MAX / 2);
        for _ in 1..UNDER_WAY_PER_ADDRESS_WHEN_FULL_MAX {
            assert!(under_way.add(at(2)));
        }
        assert!(!under_way.add(at(2)) && under_way.add(at(3)));
    }

    #[test]
    fn what_was_begun_counts_for_as_long_as_a_login_may_take() {
        let (under_way, now) = (PendingLogins::default(), Instant::now());
        for _ in 0..UNDER_WAY_PER_ADDRESS_MAX {
            assert!(under_way.add_at(at(1), now));
        }
        assert!(!under_way.add_at(at(1), now + WINDOW - Duration::from_secs(1)));
        assert!(!under_way.add_at(at(1), now + WINDOW));
        assert!(under_way.add_at(at(1), now + WINDOW * 2));
    }
}
