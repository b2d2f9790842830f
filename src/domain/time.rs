//! Time as a value: instants in milliseconds, and the seller's session in Asia/Seoul.

use std::fmt;

use jiff::{civil, tz};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant: milliseconds since 1970-01-01T00:00:00Z. Given from outside, never read here.
///
/// Written as RFC 3339 in UTC with milliseconds and `Z` (API, "Conventions").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last instant that Hoga accepts from outside: the end of the year 9999.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);

    /// The first instant that Hoga accepts from outside: 1970-01-01T00:00:00Z.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// From milliseconds since the epoch, held between [`Timestamp::EPOCH`] and [`Timestamp::MAX`].
    pub const fn from_millis(millis: i64) -> Timestamp {
        if millis < 0 {
            Timestamp::EPOCH
        } else if millis > Timestamp::MAX.0 {
            Timestamp::MAX
        } else {
            Timestamp(millis)
        }
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// So many milliseconds later (earlier when negative), held in range.
    #[must_use]
    pub const fn plus_ms(self, millis: i64) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_add(millis))
    }

    /// So many seconds later (earlier when negative), held in range.
    #[must_use]
    pub const fn plus_s(self, seconds: i64) -> Timestamp {
        self.plus_ms(seconds.saturating_mul(1_000))
    }

    /// How many milliseconds after `earlier` this is; negative when it is before.
    pub const fn ms_since(self, earlier: Timestamp) -> i64 {
        self.0 - earlier.0
    }

    /// Reads RFC 3339, with any offset; fractions finer than a millisecond are cut off.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let instant: jiff::Timestamp = text.parse().ok()?;
        let millis = instant.as_millisecond();
        (0..=Timestamp::MAX.0).contains(&millis).then_some(Timestamp(millis))
    }

    fn instant(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).expect("a Timestamp lies between 1970 and 9999")
    }

    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`, by hand: it is written four times for each bid.
    fn write_rfc3339(self) -> [u8; 24] {
        let days = self.0.div_euclid(86_400_000);
        let in_day = self.0.rem_euclid(86_400_000);
        let (year, month, day) = civil_from_days(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        put_digits(&mut text[0..4], year);
        put_digits(&mut text[5..7], month);
        put_digits(&mut text[8..10], day);
        put_digits(&mut text[11..13], in_day / 3_600_000);
        put_digits(&mut text[14..16], in_day / 60_000 % 60);
        put_digits(&mut text[17..19], in_day / 1_000 % 60);
        put_digits(&mut text[20..23], in_day % 1_000);
        text
    }
}

fn put_digits(place: &mut [u8], mut number: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// Year, month and day of a day since the epoch: Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>), checked against jiff below.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.write_rfc3339();
        f.write_str(std::str::from_utf8(&text).expect("digits and punctuation are ASCII"))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.write_rfc3339();
        serializer.serialize_str(std::str::from_utf8(&text).expect("digits are ASCII"))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| {
            de::Error::custom("must be a time in RFC 3339, such as 2026-12-01T09:00:00.000Z")
        })
    }
}

/// Asia/Seoul: nine hours ahead of UTC, without daylight saving since 1988 (tz database, "Asia/Seoul").
const SEOUL: tz::Offset = tz::Offset::constant(9);

/// A calendar day as people in Seoul live it: where a day begins and ends is never asked of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeoulDay(civil::Date);

/// A seller's daily window, 09:00 to 18:00 in Asia/Seoul (DESIGN, "Words").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// 09:00.
    pub opens_at: Timestamp,
    /// 18:00; at exactly this time it is over.
    pub closes_at: Timestamp,
}

impl SeoulDay {
    /// The day that it is in Seoul at this instant.
    pub fn of(at: Timestamp) -> SeoulDay {
        SeoulDay(SEOUL.to_datetime(at.instant()).date())
    }

    /// The day after, if the calendar has one.
    pub fn next(self) -> Option<SeoulDay> {
        self.0.tomorrow().ok().map(SeoulDay)
    }

    /// That day's session.
    pub fn session(self) -> Session {
        Session { opens_at: self.at_hour(9), closes_at: self.at_hour(18) }
    }

    fn at_hour(self, hour: i8) -> Timestamp {
        let local = self.0.at(hour, 0, 0, 0);
        SEOUL
            .to_timestamp(local)
            .map_or(Timestamp::MAX, |instant| Timestamp::from_millis(instant.as_millisecond()))
    }
}

impl fmt::Display for SeoulDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_seoul_not_in_utc() {
        let before = Timestamp::parse("2026-11-20T14:59:59.999Z").expect("a time");
        let at = Timestamp::parse("2026-11-20T15:00:00.000Z").expect("a time");
        assert_eq!(SeoulDay::of(before).to_string(), "2026-11-20");
        assert_eq!(SeoulDay::of(at).to_string(), "2026-11-21");
    }

    #[test]
    fn a_session_is_nine_to_six_in_seoul() {
        let at = Timestamp::parse("2026-11-20T23:30:00Z").expect("a time");
        let session = SeoulDay::of(at).session();
        assert_eq!(session.opens_at.to_string(), "2026-11-21T00:00:00.000Z");
        assert_eq!(session.closes_at.to_string(), "2026-11-21T09:00:00.000Z");
    }

    #[test]
    fn offsets_are_read_and_nonsense_is_not() {
        let utc = Timestamp::parse("2026-12-01T00:00:00Z");
        assert_eq!(Timestamp::parse("2026-12-01T09:00:00+09:00"), utc);
        assert_eq!(Timestamp::parse("2026-12-01"), None);
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59Z"), None);
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    proptest! {
        #[test]
        fn the_written_time_is_jiffs_and_reads_back(millis in 0..=Timestamp::MAX.as_millis()) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(at.to_string(), format!("{:.3}", at.instant()));
            prop_assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
        }
    }
}
