//! When something that did not arrive is tried again: the schedule that the Standard Webhooks
//! specification recommends.

use crate::outgoing::RETRY_AFTER_S_MAX;

/// After the first attempt that failed, the second, and so on, in seconds: three days and some hours
/// in all.
const PAUSES_S: [i64; 9] =
    [5, 300, 1_800, 2 * 3_600, 5 * 3_600, 10 * 3_600, 14 * 3_600, 20 * 3_600, 24 * 3_600];
/// Attempts for each delivery.
pub const ATTEMPTS_MAX: usize = PAUSES_S.len() + 1;
/// Part of a pause that is left to chance, so that what failed together does not come back together.
const JITTER_PERCENT: i64 = 10;
/// Before a webhook whose last turn failed is tried again, in seconds: doubled with each turn.
const FAILING_PAUSE_S: i64 = 5;
/// No such pause is longer.
const FAILING_PAUSE_S_MAX: i64 = 300;
/// Nor one that the receiver asks for: the other deliveries do not wait a day for one of them.
const ASKED_PAUSE_S_MAX: i64 = 3_600;

/// Before the next attempt at a delivery, in milliseconds, after so many that failed; none when they
/// are used up. `chance` is any number; `asked_s` what the receiver asked for.
pub(super) fn pause_ms(failed: usize, asked_s: Option<i64>, chance: u32) -> Option<i64> {
    let pause_s = PAUSES_S.get(failed.checked_sub(1)?)?;
    let asked_s = asked_s.unwrap_or(0).min(RETRY_AFTER_S_MAX);
    let pause_ms = (*pause_s).max(asked_s) * 1_000;
    Some(pause_ms + i64::from(chance) % (pause_ms * JITTER_PERCENT / 100 + 1))
}

/// Before the next turn of a webhook, in seconds, after so many in which nothing arrived.
pub(super) fn failing_pause_s(failures: i32, asked_s: Option<i64>) -> i64 {
    let doublings = u32::try_from(failures - 1).unwrap_or(0).min(16);
    let pause_s = (FAILING_PAUSE_S << doublings).min(FAILING_PAUSE_S_MAX);
    pause_s.max(asked_s.unwrap_or(0).min(ASKED_PAUSE_S_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_those_of_the_specification_and_end() {
        let pauses: Vec<i64> = (1..).map_while(|n| pause_ms(n, None, 0)).collect();
        assert_eq!(pauses.len(), 9);
        assert_eq!(pauses[..4], [5_000, 300_000, 1_800_000, 7_200_000]);
        assert_eq!(pauses.iter().sum::<i64>() / 3_600_000, 75);
        assert_eq!(pause_ms(0, None, 0), None);
        assert_eq!(pause_ms(ATTEMPTS_MAX, None, 0), None);
    }

    #[test]
    fn chance_only_adds_and_a_tenth_at_most() {
        for chance in [0, 1, 499, 500, 501, u32::MAX] {
            let pause = pause_ms(1, None, chance).expect("a pause");
            assert!((5_000..=5_500).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn what_the_receiver_asks_for_counts_within_bounds() {
        assert_eq!(pause_ms(1, Some(60), 0), Some(60_000));
        assert_eq!(pause_ms(2, Some(60), 0), Some(300_000));
        assert_eq!(pause_ms(1, Some(i64::MAX), 0), Some(RETRY_AFTER_S_MAX * 1_000));
        assert_eq!(failing_pause_s(1, Some(60)), 60);
        assert_eq!(failing_pause_s(1, Some(i64::MAX)), ASKED_PAUSE_S_MAX);
    }

    #[test]
    fn the_pause_of_a_webhook_doubles_up_to_five_minutes() {
        assert_eq!([1, 2, 3, 7, i32::MAX].map(|n| failing_pause_s(n, None)), [5, 10, 20, 300, 300]);
    }
}
