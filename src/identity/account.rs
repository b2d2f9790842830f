//! What an account may say of its owner: names, lines of text, the year of birth, e-mail, postal codes.
//!
//! Owns the checks, which are pure; must never store or log what it looks at.

use crate::domain::{
    id::UserId,
    text::is_visible_line,
    time::{SeoulDay, Timestamp},
};

/// Characters in a nickname.
pub const NICKNAME_CHARS_MAX: usize = 30;
/// With this begins the alias of who has left; nobody else's nickname may.
const LEFT_PREFIX: &str = "left-";
/// Below it a guardian has to agree (Personal Information Protection Act of Korea, art. 22-2).
const AGE_OF_CONSENT_YEARS: i16 = 14;
/// Nobody is older.
const AGE_YEARS_MAX: i16 = 125;
/// Bytes in an e-mail address (RFC 5321, section 4.5.3.1.3).
const EMAIL_BYTES_MAX: usize = 254;
/// Bytes before its `@` (RFC 5321, section 4.5.3.1.1).
const EMAIL_LOCAL_BYTES_MAX: usize = 64;
/// Bytes between two dots of a domain (RFC 1035, section 2.3.4).
const DOMAIN_LABEL_BYTES_MAX: usize = 63;
/// Digits in a Korean postal code.
const POSTAL_CODE_DIGITS: usize = 5;

/// Why a text cannot be taken. Says what must hold instead, never what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Nothing, or too much.
    #[error("must have 1 to {0} characters")]
    Length(usize),
    /// Something that cannot be seen, or that turns other text around.
    #[error("must not contain control characters or marks of writing direction")]
    Control,
    /// The alias of somebody who has left.
    #[error("must not begin with {LEFT_PREFIX}")]
    Reserved,
    /// Not a year in which somebody alive was born.
    #[error("must be a year in which somebody who is alive was born")]
    BirthYear,
    /// Too young for consent of their own.
    #[error(
        "must be of somebody who is {AGE_OF_CONSENT_YEARS} years old for certain: younger people \
         need their guardian's consent, which cannot be given here"
    )]
    TooYoung,
    /// Not five digits.
    #[error("must have {POSTAL_CODE_DIGITS} digits, such as 04524")]
    PostalCode,
    /// Not an address for e-mail.
    #[error("must be an e-mail address, such as help@shop.example.com")]
    Email,
}

/// One line of text without the blanks around it.
///
/// # Errors
/// When it is empty, too long, or has characters that nobody can see.
pub fn line(text: &str, chars_max: usize) -> Result<String, Unfit> {
    let text = text.trim();
    if !is_visible_line(text) {
        return Err(Unfit::Control);
    }
    if (1..=chars_max).contains(&text.chars().count()) {
        Ok(text.to_owned())
    } else {
        Err(Unfit::Length(chars_max))
    }
}

/// How others see somebody.
///
/// # Errors
/// As [`fn@line`]; and when it would look like the alias of somebody who has left.
pub fn nickname(text: &str) -> Result<String, Unfit> {
    let nickname = line(text, NICKNAME_CHARS_MAX)?;
    let is_alias = nickname.to_lowercase().starts_with(LEFT_PREFIX);
    if is_alias { Err(Unfit::Reserved) } else { Ok(nickname) }
}

/// Under which name the records of somebody who has left go on: of their id, which is public in
/// them anyway.
pub fn alias_after_leaving(user: UserId) -> String {
    let id = user.0.simple().to_string();
    format!("{LEFT_PREFIX}{}", &id[id.len() - 12..])
}

/// A year of birth, held against the clock in Seoul. The year alone does not tell whether this
/// year's birthday is over, so it must be one more than the age ago.
///
/// # Errors
/// When nobody alive was born then, or whoever was may not consent yet.
pub fn birth_year(year: i16, now: Timestamp) -> Result<i16, Unfit> {
    let age_reached_this_year = i32::from(year_in_seoul(now)) - i32::from(year);
    if !(0..=i32::from(AGE_YEARS_MAX)).contains(&age_reached_this_year) {
        return Err(Unfit::BirthYear);
    }
    let is_old_enough = age_reached_this_year > i32::from(AGE_OF_CONSENT_YEARS);
    if is_old_enough { Ok(year) } else { Err(Unfit::TooYoung) }
}

fn year_in_seoul(now: Timestamp) -> i16 {
    let day = SeoulDay::of(now).to_string();
    let year = day.split('-').next().and_then(|year| year.parse().ok());
    year.expect("a day is written year first, and no Timestamp is later than 9999")
}

/// A Korean postal code.
///
/// # Errors
/// Unless it has five digits.
pub fn postal_code(text: &str) -> Result<String, Unfit> {
    let code = text.trim();
    let is_code = code.len() == POSTAL_CODE_DIGITS && code.bytes().all(|b| b.is_ascii_digit());
    if is_code { Ok(code.to_owned()) } else { Err(Unfit::PostalCode) }
}

/// An address for e-mail: what nearly all of them look like, not all that the standard allows.
///
/// # Errors
/// Unless it has a name, an `@` and a domain with a dot.
pub fn email(text: &str) -> Result<String, Unfit> {
    let email = text.trim();
    let (local, domain) = email.rsplit_once('@').ok_or(Unfit::Email)?;
    let fits = email.len() <= EMAIL_BYTES_MAX && is_local_part(local) && is_domain(domain);
    if fits { Ok(email.to_owned()) } else { Err(Unfit::Email) }
}

fn is_local_part(local: &str) -> bool {
    (1..=EMAIL_LOCAL_BYTES_MAX).contains(&local.len())
        && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b))
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=DOMAIN_LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let has_top = domain
        .rsplit_once('.')
        .is_some_and(|(_, top)| top.len() >= 2 && !top.bytes().all(|b| b.is_ascii_digit()));
    has_top && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nickname_is_one_visible_line_and_no_alias() {
        assert_eq!(nickname("  민지 🐯 "), Ok("민지 🐯".into()));
        let family = "👨\u{200d}👩\u{200d}👧";
        assert_eq!(nickname(family), Ok(family.into()));
        assert_eq!(nickname(&"가".repeat(30)), Ok("가".repeat(30)));
        assert_eq!(nickname(&"가".repeat(31)), Err(Unfit::Length(30)));
        for empty in ["", "   ", "\u{3000}"] {
            assert_eq!(nickname(empty), Err(Unfit::Length(30)), "{empty:?}");
        }
        for unseen in [
            "a\0b",
            "a\nb",
            "a\u{7f}",
            "\u{202e}ijnim",
            "a\u{200b}b",
            "\u{feff}",
            "\u{3164}",
            "\u{85}b\u{85}c",
        ] {
            assert_eq!(nickname(unseen), Err(Unfit::Control), "{unseen:?}");
        }
        for alias in ["left-0123", "LEFT-x", " left-"] {
            assert_eq!(nickname(alias), Err(Unfit::Reserved), "{alias}");
        }
        let user = UserId(uuid::Uuid::from_u128(0x0193_5b2e_7c1a_7000_8000_0123_4567_89ab));
        assert_eq!(alias_after_leaving(user), "left-0123456789ab");
    }

    #[test]
    fn a_birth_year_counts_from_the_new_year_in_seoul() {
        let new_year = Timestamp::parse("2026-12-31T15:00:00Z").expect("a time");
        let before = new_year.plus_ms(-1);
        assert_eq!(birth_year(2011, before), Ok(2011), "15 at the end of the year, so 14 by now");
        assert_eq!(birth_year(2012, before), Err(Unfit::TooYoung), "14 perhaps");
        assert_eq!(birth_year(2012, new_year), Ok(2012));
        assert_eq!(birth_year(2026, before), Err(Unfit::TooYoung));
        assert_eq!(birth_year(2027, before), Err(Unfit::BirthYear), "in the future");
        assert_eq!(birth_year(1901, before), Ok(1901));
        assert_eq!(birth_year(1900, before), Err(Unfit::BirthYear));
        for year in [0, -1, i16::MIN, i16::MAX] {
            assert_eq!(birth_year(year, before), Err(Unfit::BirthYear), "{year}");
        }
    }

    #[test]
    fn postal_codes_have_five_digits() {
        assert_eq!(postal_code(" 04524 "), Ok("04524".into()));
        for wrong in ["", "4524", "045245", "0452a", "04 524", "０４５２４", "-4524"] {
            assert_eq!(postal_code(wrong), Err(Unfit::PostalCode), "{wrong}");
        }
    }

    #[test]
    fn e_mail_addresses_have_a_name_and_a_domain() {
        for right in ["help@shop.example.com", "a.b+c@x-y.co.kr", " kim@example.kr "] {
            assert_eq!(email(right), Ok(right.trim().into()));
        }
        let long = format!("{}@example.com", "a".repeat(65));
        let longer = format!("a@{}.com", "a.".repeat(130));
        for wrong in [
            "",
            "help",
            "@example.com",
            "help@",
            "help@shop",
            "a b@example.com",
            "a@b@example.com",
            ".a@example.com",
            "a..b@example.com",
            "a@-example.com",
            "a@example..com",
            "a@1.2.3.4",
            "a@example.com\n.evil",
            "김@example.com",
            long.as_str(),
            longer.as_str(),
        ] {
            assert_eq!(email(wrong), Err(Unfit::Email), "{wrong}");
        }
    }
}
