//! When imported items are on sale: in the seller's sessions, so many a day.

use crate::domain::time::{SeoulDay, Session, Timestamp};

/// Openings are spread over the first hour of a session, closings over its last.
const SPREAD_MS: i64 = 3_600_000;

/// Hands out places in the coming sessions, one after the other.
pub struct Schedule {
    day: SeoulDay,
    per_day: u32,
    taken: u32,
}

impl Schedule {
    /// From the first session that has not opened at this time.
    pub fn after(now: Timestamp, per_day: u32) -> Schedule {
        let today = SeoulDay::of(now);
        let is_over = today.session().opens_at <= now;
        let day = if is_over { today.next().unwrap_or(today) } else { today };
        Schedule { day, per_day, taken: 0 }
    }

    /// The start and the end of the next auction. The first of a day opens at 09:00, the last one
    /// closes at 18:00.
    pub fn next_slot(&mut self) -> (Timestamp, Timestamp) {
        if self.taken == self.per_day {
            self.day = self.day.next().unwrap_or(self.day);
            self.taken = 0;
        }
        let Session { opens_at, closes_at } = self.day.session();
        let offset_ms = |place: u32| i64::from(place) * SPREAD_MS / i64::from(self.per_day);
        let starts_at = opens_at.plus_ms(offset_ms(self.taken));
        self.taken += 1;
        (starts_at, closes_at.plus_ms(offset_ms(self.taken) - SPREAD_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn the_first_session_is_todays_only_before_nine_in_seoul() {
        let first = |now| Schedule::after(at(now), 1).next_slot().0.to_string();
        assert_eq!(first("2026-11-20T23:59:59.999Z"), "2026-11-21T00:00:00.000Z");
        assert_eq!(first("2026-11-21T00:00:00Z"), "2026-11-22T00:00:00.000Z");
    }

    #[test]
    fn a_days_auctions_open_and_close_apart_within_the_session() {
        let mut schedule = Schedule::after(at("2026-11-21T08:00:00Z"), 1_000);
        let slots: Vec<_> = (0..1_001).map(|_| schedule.next_slot()).collect();
        assert_eq!(slots[0].0, at("2026-11-22T00:00:00Z"));
        assert_eq!(slots[0].1, at("2026-11-22T08:00:03.600Z"));
        assert_eq!(slots[999].0, at("2026-11-22T00:59:56.400Z"));
        assert_eq!(slots[999].1, at("2026-11-22T09:00:00Z"));
        assert_eq!(slots[1_000].0, at("2026-11-23T00:00:00Z"));
        assert!(slots[..1_000].windows(2).all(|two| two[1].1.ms_since(two[0].1) == 3_600));
    }
}
