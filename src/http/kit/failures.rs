//! Wrong codes, verifiers, secrets and refresh tokens, counted so that nobody goes on guessing.
//!
//! Each address has so many failures a minute; then it is not heard, whatever it brings. A client
//! that is being guessed at from many addresses has so many as well: from then on an address is
//! not heard once it has failed a single time, while those that never failed go on, so that nobody
//! can shut a client out by guessing in its name.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use dashmap::DashMap;

/// Failures of one address in a minute, and at once.
pub const FAILURES_PER_ADDRESS_MAX: u32 = 10;
/// Failures in the name of one client in a minute, and at once.
pub const FAILURES_PER_CLIENT_MAX: u32 = 100;
/// Within which a failure is made good.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses and clients that are counted at once; past it strangers are counted as one.
const COUNTED_MAX: usize = 100_000;

/// From where somebody guesses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Guesser {
    /// From there.
    Address(IpAddr),
    /// There are too many to tell apart.
    Crowd,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Counted {
    By(Guesser),
    /// The id of a registered client.
    Of(Box<str>),
}

/// A leaky bucket for each: until when all its failures are made good.
#[derive(Default)]
pub struct Failures {
    good_at: DashMap<Counted, Instant>,
}

impl Failures {
    /// How long somebody must wait before they are heard, in milliseconds.
    pub fn must_wait_ms(&self, guesser: &Guesser, client_id: Option<&str>) -> Option<u64> {
        self.wait(guesser, client_id, Instant::now())
            .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }

    /// One more.
    pub fn note(&self, guesser: &Guesser, client_id: Option<&str>) {
        self.add(guesser, client_id, Instant::now());
    }

    /// Forgets those whose failures are all made good.
    pub fn forget_old(&self) {
        let now = Instant::now();
        self.good_at.retain(|_, good_at| *good_at > now);
    }

    fn wait(&self, guesser: &Guesser, client_id: Option<&str>, now: Instant) -> Option<Duration> {
        let own = self.debt(&Counted::By(guesser.clone()), now)?;
        if let Some(wait) = over(own, FAILURES_PER_ADDRESS_MAX) {
            return Some(wait);
        }
        let client = self.debt(&Counted::Of(client_id?.into()), now)?;
        over(client, FAILURES_PER_CLIENT_MAX).map(|wait| wait.max(own))
    }

    fn add(&self, guesser: &Guesser, client_id: Option<&str>, now: Instant) {
        self.add_one(Counted::By(guesser.clone()), FAILURES_PER_ADDRESS_MAX, now);
        if let Some(client_id) = client_id {
            self.add_one(Counted::Of(client_id.into()), FAILURES_PER_CLIENT_MAX, now);
        }
    }

    fn add_one(&self, counted: Counted, per_window: u32, now: Instant) {
        let has_room = self.good_at.len() < COUNTED_MAX || self.good_at.contains_key(&counted);
        let counted = if has_room { counted } else { Counted::By(Guesser::Crowd) };
        let mut good_at = self.good_at.entry(counted).or_insert(now);
        let later = (*good_at).max(now) + WINDOW / per_window;
        // Whoever goes on is not kept out for longer than a whole window.
        *good_at = later.min(now + WINDOW);
    }

    /// How long until all failures are made good; `None` when there are none.
    fn debt(&self, counted: &Counted, now: Instant) -> Option<Duration> {
        let is_full = self.good_at.len() >= COUNTED_MAX && !self.good_at.contains_key(counted);
        let crowd = Counted::By(Guesser::Crowd);
        let good_at = self.good_at.get(if is_full { &crowd } else { counted })?;
        good_at.checked_duration_since(now).filter(|debt| !debt.is_zero())
    }
}

/// How long until there is room for one more failure.
fn over(debt: Duration, per_window: u32) -> Option<Duration> {
    let allowed = WINDOW - WINDOW / per_window;
    debt.checked_sub(allowed).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(n: u32) -> Guesser {
        Guesser::Address(IpAddr::from(n.to_be_bytes()))
    }

    #[test]
    fn an_address_is_not_heard_after_its_failures_until_some_are_made_good() {
        let (failures, now) = (Failures::default(), Instant::now());
        for _ in 0..FAILURES_PER_ADDRESS_MAX {
            assert_eq!(failures.wait(&from(1), Some("shop"), now), None);
            failures.add(&from(1), Some("shop"), now);
        }
        let wait = failures.wait(&from(1), Some("shop"), now).expect("not heard");
        assert_eq!(wait, WINDOW / FAILURES_PER_ADDRESS_MAX);
        assert!(failures.wait(&from(1), None, now).is_some(), "whatever it brings");
        assert_eq!(failures.wait(&from(2), Some("shop"), now), None, "nobody else suffers");
        assert_eq!(failures.wait(&from(1), Some("shop"), now + wait), None);
        for _ in 0..1_000 {
            failures.add(&from(1), None, now);
        }
        assert_eq!(failures.wait(&from(1), None, now + WINDOW), None, "it is never for ever");
    }

    #[test]
    fn a_client_that_is_guessed_at_is_heard_from_those_who_never_failed() {
        let (failures, now) = (Failures::default(), Instant::now());
        for n in 0..FAILURES_PER_CLIENT_MAX {
            failures.add(&from(n), Some("shop"), now);
        }
        assert!(failures.wait(&from(0), Some("shop"), now).is_some(), "one failure is enough now");
        assert_eq!(failures.wait(&from(0), Some("another"), now), None);
        assert_eq!(failures.wait(&from(1_000), Some("shop"), now), None);
    }

    #[test]
    fn strangers_past_the_bound_are_counted_as_one() {
        let (failures, now) = (Failures::default(), Instant::now());
        for n in 0..u32::try_from(COUNTED_MAX).expect("small") {
            failures.add(&from(n), None, now);
        }
        for n in 0..FAILURES_PER_ADDRESS_MAX {
            failures.add(&from(1_000_000 + n), None, now);
        }
        assert!(failures.wait(&from(2_000_000), None, now).is_some());
        assert!(failures.good_at.len() <= COUNTED_MAX + 1);
        assert_eq!(failures.wait(&from(5), None, now), None, "those who are counted go on");
    }
}
