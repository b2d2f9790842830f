//! How many messages are under way at once: in all, and to each push service.
//!
//! A service that hangs keeps its own few permits busy and nobody else's. Those that nothing is known of
//! share half of all with those that did not answer the last time, and of that half these share half
//! again: so any number of them, for endpoints are the users' own choice, leaves room to those that
//! work and to those that are new. Pure: time is an argument.

use std::collections::{HashMap, HashSet};

use crate::domain::time::Timestamp;

/// Messages under way, in all.
pub const ALL_MAX: usize = 32;
/// Messages under way to one push service.
pub const PER_ORIGIN_MAX: usize = 8;
/// Messages under way to those that have not shown that they answer.
pub const UNPROVEN_MAX: usize = ALL_MAX / 2;
/// Messages under way to one of those.
const PER_UNPROVEN_MAX: usize = 2;
/// Messages under way to those of them that did not answer the last time.
pub const FAILED_MAX: usize = UNPROVEN_MAX / 2;
/// Messages under way to one of those.
const PER_FAILED_MAX: usize = 1;
/// Push services whose standing is remembered; past it all is forgotten.
const REMEMBERED_MAX: usize = 1_000;

/// What is known of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It answered the last time.
    Proven,
    /// Nothing.
    Unknown,
    /// It did not answer the last time.
    Failed,
}

/// Who has how many.
#[derive(Debug, Default)]
pub(super) struct PushPermits {
    under_way: HashMap<String, usize>,
    proven: HashSet<String>,
    failed: HashSet<String>,
    paused: HashMap<String, Timestamp>,
}

impl PushPermits {
    /// Whether anything is under way.
    pub(super) fn all_are_free(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The services that answer.
    pub(super) fn proven(&self) -> impl Iterator<Item = &String> {
        self.proven.iter()
    }

    pub(super) fn standing(&self, origin: &str) -> Standing {
        if self.proven.contains(origin) {
            Standing::Proven
        } else if self.failed.contains(origin) {
            Standing::Failed
        } else {
            Standing::Unknown
        }
    }

    fn count(&self, counts: impl Fn(Standing) -> bool) -> usize {
        let under_way = self.under_way.iter();
        under_way.filter(|(origin, _)| counts(self.standing(origin))).map(|(_, count)| count).sum()
    }

    /// How many more may go to each of these; those that may have none are left out.
    pub(super) fn rooms<'a>(
        &self,
        origins: impl IntoIterator<Item = &'a String>,
        now: Timestamp,
    ) -> Vec<(String, i64)> {
        let mut free = ALL_MAX.saturating_sub(self.count(|_| true));
        let unproven = self.count(|standing| standing != Standing::Proven);
        let mut free_unproven = UNPROVEN_MAX.saturating_sub(unproven);
        let failed = self.count(|standing| standing == Standing::Failed);
        let mut free_failed = FAILED_MAX.saturating_sub(failed);
        let mut rooms = Vec::new();
        for origin in origins {
            if self.paused.get(origin).is_some_and(|until| now < *until) {
                continue;
            }
            let taken = self.under_way.get(origin).copied().unwrap_or(0);
            let room = |max: usize| max.saturating_sub(taken).min(free);
            let room = match self.standing(origin) {
                Standing::Proven => room(PER_ORIGIN_MAX),
                Standing::Unknown => room(PER_UNPROVEN_MAX).min(free_unproven),
                Standing::Failed => room(PER_FAILED_MAX).min(free_unproven).min(free_failed),
            };
            if room == 0 {
                continue;
            }
            free -= room;
            match self.standing(origin) {
                Standing::Proven => {}
                Standing::Unknown => free_unproven -= room,
                Standing::Failed => {
                    (free_unproven, free_failed) = (free_unproven - room, free_failed - room)
                }
            }
            rooms.push((origin.clone(), i64::try_from(room).unwrap_or(0)));
        }
        rooms
    }

    /// A message is under way.
    pub(super) fn take(&mut self, origin: &str) {
        *self.under_way.entry(origin.to_owned()).or_default() += 1;
    }

    /// A message is not any more; whether the service answered, if it was asked.
    pub(super) fn give_back(&mut self, origin: &str, answered: Option<bool>) {
        if let Some(count) = self.under_way.get_mut(origin) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(origin);
            }
        }
        let Some(answered) = answered else { return };
        let (now_in, now_out) = if answered {
            (&mut self.proven, &mut self.failed)
        } else {
            (&mut self.failed, &mut self.proven)
        };
        now_out.remove(origin);
        if now_in.len() >= REMEMBERED_MAX {
            now_in.clear();
        }
        now_in.insert(origin.to_owned());
    }

    /// A service asked for a pause.
    pub(super) fn pause(&mut self, origin: &str, until: Timestamp, now: Timestamp) {
        self.paused.retain(|_, until| now < *until);
        if self.paused.len() >= REMEMBERED_MAX {
            self.paused.clear();
        }
        self.paused.insert(origin.to_owned(), until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn named(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn rooms(permits: &PushPermits, names: &[&str]) -> Vec<(String, i64)> {
        permits.rooms(&named(names), NOW)
    }

    fn proven(names: &[&str]) -> PushPermits {
        let mut permits = PushPermits::default();
        for name in names {
            permits.take(name);
            permits.give_back(name, Some(true));
        }
        permits
    }

    #[test]
    fn a_service_that_answers_gets_its_share_and_no_more() {
        let mut permits = proven(&["a"]);
        assert_eq!(rooms(&permits, &["a"]), [("a".to_owned(), 8)]);
        for _ in 0..7 {
            permits.take("a");
        }
        assert_eq!(rooms(&permits, &["a"]), [("a".to_owned(), 1)]);
        permits.take("a");
        assert_eq!(rooms(&permits, &["a"]), []);
        permits.give_back("a", Some(true));
        assert_eq!(rooms(&permits, &["a"]), [("a".to_owned(), 1)]);
    }

    #[test]
    fn any_number_of_dead_services_leaves_half_to_those_that_answer() {
        let mut permits = proven(&["good"]);
        let dead: Vec<String> = (0..100).map(|no| format!("dead-{no}")).collect();
        for (origin, room) in permits.rooms(&dead, NOW) {
            for _ in 0..room {
                permits.take(&origin);
            }
        }
        assert_eq!(permits.under_way.values().sum::<usize>(), UNPROVEN_MAX);
        assert_eq!(permits.rooms(&dead, NOW), []);
        assert_eq!(rooms(&permits, &["good"]), [("good".to_owned(), 8)]);
    }

    #[test]
    fn those_that_failed_leave_room_to_those_that_are_new() {
        let mut permits = PushPermits::default();
        let dead: Vec<String> = (0..100).map(|no| format!("dead-{no}")).collect();
        for origin in &dead {
            permits.take(origin);
            permits.give_back(origin, Some(false));
        }
        for (origin, room) in permits.rooms(&dead, NOW) {
            assert_eq!(room, 1);
            permits.take(&origin);
        }
        assert_eq!(permits.under_way.len(), FAILED_MAX);
        assert_eq!(rooms(&permits, &["new"]), [("new".to_owned(), 2)]);
    }

    #[test]
    fn whoever_fails_to_answer_has_to_show_again_that_they_do() {
        let mut permits = proven(&["a"]);
        permits.take("a");
        permits.give_back("a", Some(false));
        assert_eq!(rooms(&permits, &["a"]), [("a".to_owned(), 1)]);
        permits.take("a");
        permits.give_back("a", Some(true));
        assert_eq!(rooms(&permits, &["a"]), [("a".to_owned(), 8)]);
        permits.take("a");
        permits.give_back("a", None);
        assert_eq!(rooms(&permits, &["a"]), [("a".to_owned(), 8)], "it was not asked");
        assert!(permits.all_are_free());
    }

    #[test]
    fn a_pause_ends_at_its_time() {
        let mut permits = proven(&["a", "b"]);
        permits.pause("a", NOW.plus_ms(1), NOW);
        assert_eq!(rooms(&permits, &["a", "b"]), [("b".to_owned(), 8)]);
        assert_eq!(permits.rooms(&named(&["a"]), NOW.plus_ms(1)), [("a".to_owned(), 8)]);
    }

    #[test]
    fn all_together_stay_within_all() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let permits = proven(&names);
        let all: i64 = rooms(&permits, &names).iter().map(|(_, room)| room).sum();
        assert_eq!(all, ALL_MAX as i64);
    }
}
