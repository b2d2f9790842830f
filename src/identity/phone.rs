//! Telephone numbers: Korean ones as people write them, others in E.164.
//!
//! Owns the check and the one form that is stored (E.164); whether anybody answers is not known.

use std::fmt;

/// Characters that are looked at.
const TYPED_BYTES_MAX: usize = 32;
/// Digits of an international number (ITU-T E.164, section 6.2.1).
const E164_DIGITS_MAX: usize = 15;
/// No number that is dialled across borders is shorter.
const E164_DIGITS_MIN: usize = 8;
/// Of Korea.
const COUNTRY: &str = "82";

/// A number in E.164: `+`, the country, and the rest.
#[derive(Clone, PartialEq, Eq)]
pub struct Phone(String);

/// Not a telephone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a Korean telephone number, such as 010-1234-5678, or another with + and its country, such as +1 212 555 0100"
)]
pub struct NotAPhone;

impl Phone {
    /// Reads a number as it is typed: blanks, hyphens, dots and brackets may part it.
    ///
    /// # Errors
    /// When it is no Korean number and does not begin with `+`, or has the wrong length.
    pub fn parse(text: &str) -> Result<Phone, NotAPhone> {
        let typed = text.trim();
        if typed.len() > TYPED_BYTES_MAX {
            return Err(NotAPhone);
        }
        let (is_international, typed) =
            typed.strip_prefix('+').map_or((false, typed), |rest| (true, rest));
        if typed.chars().any(|c| !c.is_ascii_digit() && !" -.()".contains(c)) {
            return Err(NotAPhone);
        }
        let digits: String = typed.chars().filter(char::is_ascii_digit).collect();
        let number = if is_international { international(&digits) } else { domestic(&digits) };
        number.map(|digits| Phone(format!("+{digits}"))).ok_or(NotAPhone)
    }

    /// The number in E.164.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn international(digits: &str) -> Option<String> {
    if let Some(rest) = digits.strip_prefix(COUNTRY) {
        // Many write the 0 that is left out from abroad: +82 (0)10-….
        return korean(rest.strip_prefix('0').unwrap_or(rest));
    }
    let fits = (E164_DIGITS_MIN..=E164_DIGITS_MAX).contains(&digits.len());
    (fits && !digits.starts_with('0')).then(|| digits.to_owned())
}

/// As it is dialled in Korea: after a 0, or a nationwide number of eight digits.
fn domestic(digits: &str) -> Option<String> {
    match digits.strip_prefix('0') {
        Some(rest) if !is_nationwide(rest) => korean(rest),
        Some(_) => None,
        None => is_nationwide(digits).then(|| format!("{COUNTRY}{digits}")),
    }
}

/// What follows the country's code, by the numbering plan: the area or service, then how many digits.
fn korean(rest: &str) -> Option<String> {
    let (area, subscriber_digits) = match rest.as_bytes() {
        _ if is_nationwide(rest) => return Some(format!("{COUNTRY}{rest}")),
        // Seoul.
        [b'2', ..] => (1, 7..=8),
        // Mobile today.
        [b'1', b'0', ..] => (2, 8..=8),
        // Mobile before 2010, kept by machines.
        [b'1', b'1' | b'6'..=b'9', ..] => (2, 7..=8),
        // The provinces and other cities.
        [b'3', b'1'..=b'3', ..] | [b'4', b'1'..=b'4', ..] => (2, 7..=8),
        [b'5', b'1'..=b'5', ..] | [b'6', b'1'..=b'4', ..] => (2, 7..=8),
        // Over the Internet, and free of charge.
        [b'7', b'0', ..] => (2, 8..=8),
        [b'8', b'0', ..] => (2, 7..=8),
        // Personal numbers that lead to another one, as parcels carry them.
        [b'5', b'0', b'2'..=b'8', ..] => (3, 7..=8),
        _ => return None,
    };
    let fits = subscriber_digits.contains(&(rest.len().checked_sub(area)?));
    fits.then(|| format!("{COUNTRY}{rest}"))
}

/// Numbers of companies without an area: 15xx-, 16xx- and 18xx-xxxx.
fn is_nationwide(digits: &str) -> bool {
    digits.len() == 8 && ["15", "16", "18"].iter().any(|prefix| digits.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        Phone::parse(text).ok().map(|phone| phone.to_string())
    }

    #[test]
    fn a_korean_number_has_one_form_however_it_is_typed() {
        for typed in [
            "010-1234-5678",
            "01012345678",
            " 010 1234 5678 ",
            "010.1234.5678",
            "+82 10-1234-5678",
            "+82 (0)10-1234-5678",
            "+821012345678",
            "(010) 1234-5678",
        ] {
            assert_eq!(read(typed).as_deref(), Some("+821012345678"), "{typed}");
        }
    }

    #[test]
    fn areas_and_services_have_their_lengths() {
        for (typed, number) in [
            ("02-123-4567", "+8221234567"),
            ("02-1234-5678", "+82212345678"),
            ("031-123-4567", "+82311234567"),
            ("064-1234-5678", "+826412345678"),
            ("011-123-4567", "+82111234567"),
            ("070-1234-5678", "+827012345678"),
            ("080-123-4567", "+82801234567"),
            ("0502-123-4567", "+825021234567"),
            ("0507-1234-5678", "+8250712345678"),
            ("1588-1234", "+8215881234"),
            ("+82 1588-1234", "+8215881234"),
        ] {
            assert_eq!(read(typed).as_deref(), Some(number), "{typed}");
        }
        for wrong in [
            "010-123-4567",
            "010-1234-567",
            "010-1234-56789",
            "02-123-456",
            "02-12345-6789",
            "031-123-456",
            "034-123-4567",
            "070-123-4567",
            "012-1234-5678",
            "060-123-4567",
            "0509-1234-5678",
            "01588-1234",
            "1234-5678",
            "1012345678",
            "119",
            "+82",
            "+82 99 1234 5678",
            "0",
            "00821012345678",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_of_other_countries_need_their_plus() {
        assert_eq!(read("+1 (212) 555-0100").as_deref(), Some("+12125550100"));
        assert_eq!(read("+49 30 901820").as_deref(), Some("+4930901820"));
        for wrong in [
            "12125550100",
            "+0123456789",
            "+1234567",
            "+1234567890123456",
            "++12125550100",
            "+1-212-555-010x",
            "+1 212 555 0100 ext 5",
            "",
            "+",
            "전화",
            "+１２１２５５５０１００",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&format!("+1 212{}5550100", " ".repeat(40))), None, "too long to look at");
    }
}
