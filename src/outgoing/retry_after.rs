//! When whoever could not take something wants to be asked again.

use crate::domain::time::Timestamp;

/// No pause that somebody else asks for is longer, in seconds: a day.
pub const RETRY_AFTER_S_MAX: i64 = 86_400;

/// What `Retry-After` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// So many seconds from now.
    Seconds(u32),
    /// Not before then.
    At(Timestamp),
}

impl RetryAfter {
    /// From a header's value: seconds, or a date of HTTP.
    pub fn parse(value: &str) -> Option<RetryAfter> {
        let value = value.trim();
        if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
            // More digits than fit are a very long time.
            return Some(RetryAfter::Seconds(value.parse().unwrap_or(u32::MAX)));
        }
        let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
        Some(RetryAfter::At(Timestamp::from_millis(at.as_millisecond())))
    }

    /// As a pause in seconds, 0 to [`RETRY_AFTER_S_MAX`].
    pub fn pause_s(self, now: Timestamp) -> i64 {
        let pause_s = match self {
            RetryAfter::Seconds(seconds) => i64::from(seconds),
            RetryAfter::At(at) => at.ms_since(now).div_euclid(1_000) + 1,
        };
        pause_s.clamp(0, RETRY_AFTER_S_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_bounded() {
        assert_eq!(RetryAfter::parse(" 120 "), Some(RetryAfter::Seconds(120)));
        let date = RetryAfter::parse("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let at = Timestamp::from_millis(784_111_777_000);
        assert_eq!(date, RetryAfter::At(at));
        assert_eq!(date.pause_s(at.plus_s(-60)), 61);
        assert_eq!(date.pause_s(at.plus_s(60)), 0);
        assert_eq!(date.pause_s(at.plus_s(-1_000_000)), RETRY_AFTER_S_MAX);
        let forever = RetryAfter::parse("99999999999999999999").expect("seconds");
        assert_eq!(forever.pause_s(at), RETRY_AFTER_S_MAX);
    }

    #[test]
    fn anything_else_says_nothing() {
        for value in ["", "soon", "-5", "1.5", "Sun, 06 Nov 1994"] {
            assert_eq!(RetryAfter::parse(value), None, "{value}");
        }
    }
}
