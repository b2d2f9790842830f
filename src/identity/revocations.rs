//! From when on the tokens of a user count: earlier ones were revoked.
//!
//! Owns who is remembered, within a bound. Must never forget in somebody's favour: where there is
//! no room for all of them, everybody's older tokens count no more.

use std::{collections::HashMap, sync::RwLock};

use crate::domain::{id::UserId, time::Timestamp};

/// Users that are remembered at once.
pub const REVOKED_MAX: usize = 100_000;

/// Users with revoked tokens.
#[derive(Default)]
pub struct Revocations {
    inner: RwLock<Inner>,
}

/// Times are whole seconds since 1970, as tokens have them.
#[derive(Default)]
struct Inner {
    users: HashMap<UserId, i64>,
    everybody: i64,
}

impl Revocations {
    /// Tokens of the user that were issued in an earlier second than the end of this moment's count
    /// no more. Returns whether that is news.
    pub fn add(&self, user: UserId, at: Timestamp) -> bool {
        let from_s = at.as_millis().div_euclid(1_000) + i64::from(at.as_millis() % 1_000 != 0);
        let mut inner = self.inner.write().expect("nobody panics while holding it");
        if inner.issued_from(user) >= from_s {
            return false;
        }
        inner.users.insert(user, from_s);
        if inner.users.len() > REVOKED_MAX {
            inner.forget_older_half();
        }
        true
    }

    /// Tokens of everybody that were issued before count no more.
    pub fn add_everybody(&self, at: Timestamp) {
        let mut inner = self.inner.write().expect("nobody panics while holding it");
        inner.everybody = inner.everybody.max(at.as_millis().div_euclid(1_000) + 1);
    }

    /// The first second in which a token of this user must have been issued.
    pub fn issued_from(&self, user: UserId) -> i64 {
        self.inner.read().expect("nobody panics while holding it").issued_from(user)
    }

    /// Forgets who lost only tokens that have expired by now.
    pub fn forget_before(&self, at: Timestamp) {
        let at_s = at.as_millis().div_euclid(1_000);
        let mut inner = self.inner.write().expect("nobody panics while holding it");
        inner.users.retain(|_, from_s| *from_s > at_s);
    }
}

impl Inner {
    fn issued_from(&self, user: UserId) -> i64 {
        self.users.get(&user).copied().unwrap_or(0).max(self.everybody)
    }

    fn forget_older_half(&mut self) {
        let mut times: Vec<i64> = self.users.values().copied().collect();
        let (_, middle, _) = times.select_nth_unstable(REVOKED_MAX / 2);
        self.everybody = self.everybody.max(*middle);
        let everybody = self.everybody;
        self.users.retain(|_, from_s| *from_s > everybody);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u128) -> UserId {
        UserId(uuid::Uuid::from_u128(number))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn the_latest_revocation_of_a_user_counts_and_a_second_that_has_begun_counts_whole() {
        let revocations = Revocations::default();
        assert_eq!(revocations.issued_from(user(1)), 0);
        assert!(revocations.add(user(1), at(100)));
        assert_eq!(revocations.issued_from(user(1)), 100);
        assert!(revocations.add(user(1), at(100).plus_ms(1)));
        assert_eq!(revocations.issued_from(user(1)), 101);
        assert!(!revocations.add(user(1), at(50)), "no news");
        assert_eq!(revocations.issued_from(user(2)), 0);
        revocations.forget_before(at(101));
        assert_eq!(revocations.issued_from(user(1)), 0);
    }

    #[test]
    fn past_the_bound_everybodys_older_tokens_are_revoked_and_nobody_is_let_back_in() {
        let revocations = Revocations::default();
        for number in 0..=REVOKED_MAX {
            let second = i64::try_from(number).expect("small") + 1;
            revocations.add(user(number as u128), at(second));
        }
        for number in [0, 7, REVOKED_MAX / 2, REVOKED_MAX] {
            let second = i64::try_from(number).expect("small") + 1;
            assert!(revocations.issued_from(user(number as u128)) >= second, "{number}");
        }
        assert!(revocations.inner.read().expect("fine").users.len() <= REVOKED_MAX / 2 + 1);
        assert!(revocations.issued_from(user(u128::MAX)) > 0, "older than half of them");
    }
}
