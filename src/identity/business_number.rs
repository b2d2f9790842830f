//! Korean business registration numbers (사업자등록번호): ten digits, the last of which checks the others.
//!
//! Owns the check; whether a business of that number exists is for the tax office to say.

use std::fmt;

/// Digits in a number.
const DIGITS: usize = 10;
/// What each of the first nine digits counts for.
const WEIGHTS: [u32; 9] = [1, 3, 7, 1, 3, 7, 1, 3, 5];
/// The numbers of tax offices, the first three digits, begin here.
const OFFICE_MIN: u32 = 101;

/// A number whose check digit is right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BusinessNumber([u8; DIGITS]);

/// Not such a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotABusinessNumber {
    /// Not ten digits, or hyphens elsewhere than in `000-00-00000`.
    #[error("must be a business registration number, such as 124-81-00998 or 1248100998")]
    Form,
    /// A digit is wrong, or two neighbours are exchanged. Every single wrong digit is caught; of two
    /// neighbours exchanged, those that are 5 apart, such as 16 and 61, are not.
    #[error("is no business registration number: its check digit does not fit; look for a slip")]
    Checksum,
}

impl BusinessNumber {
    /// Reads ten digits, with hyphens in their usual places or without.
    ///
    /// # Errors
    /// When the form or the check digit is wrong.
    pub fn parse(text: &str) -> Result<BusinessNumber, NotABusinessNumber> {
        let digits = digits(text.trim()).ok_or(NotABusinessNumber::Form)?;
        let office = digits[..3].iter().fold(0, |number, digit| number * 10 + u32::from(*digit));
        if office < OFFICE_MIN {
            return Err(NotABusinessNumber::Form);
        }
        if check_digit(&digits) == u32::from(digits[DIGITS - 1]) {
            Ok(BusinessNumber(digits))
        } else {
            Err(NotABusinessNumber::Checksum)
        }
    }
}

fn digits(text: &str) -> Option<[u8; DIGITS]> {
    let bytes = text.as_bytes();
    let plain: Vec<u8> = match bytes.len() {
        DIGITS => bytes.to_vec(),
        12 if bytes[3] == b'-' && bytes[6] == b'-' => {
            [&bytes[..3], &bytes[4..6], &bytes[7..]].concat()
        }
        _ => return None,
    };
    let mut digits = [0; DIGITS];
    for (place, byte) in digits.iter_mut().zip(&plain) {
        *place = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
    }
    Some(digits)
}

/// What brings the weighted sum to a multiple of ten. The tens of the ninth digit's product count
/// once more.
fn check_digit(digits: &[u8; DIGITS]) -> u32 {
    let products = digits.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(*digit) * weight);
    let sum: u32 = products.sum();
    let carried = u32::from(digits[8]) * WEIGHTS[8] / 10;
    (10 - (sum + carried) % 10) % 10
}

impl fmt::Display for BusinessNumber {
    /// Ten digits, without hyphens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|digit| write!(f, "{digit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of companies that print theirs at the foot of their pages.
    const KNOWN_GOOD: [&str; 8] = [
        "124-81-00998",
        "120-81-47521",
        "220-81-62517",
        "120-88-00767",
        "104-81-37225",
        "107-86-14075",
        "101-81-09147",
        "120-87-65763",
    ];

    fn plain(number: &str) -> String {
        number.replace('-', "")
    }

    #[test]
    fn numbers_of_known_companies_pass_with_and_without_hyphens() {
        for number in KNOWN_GOOD {
            let parsed = BusinessNumber::parse(number).map(|number| number.to_string());
            assert_eq!(parsed, Ok(plain(number)), "{number}");
            let parsed = BusinessNumber::parse(&format!(" {} ", plain(number)));
            assert_eq!(parsed.map(|number| number.to_string()), Ok(plain(number)));
        }
    }

    #[test]
    fn every_single_wrong_digit_is_caught() {
        for number in KNOWN_GOOD.map(plain) {
            for place in 0..DIGITS {
                for digit in b'0'..=b'9' {
                    let mut changed = number.clone().into_bytes();
                    changed[place] = digit;
                    let changed = String::from_utf8(changed).expect("digits");
                    let is_good = BusinessNumber::parse(&changed).is_ok();
                    assert_eq!(is_good, changed == number, "{changed}, once {number}");
                }
            }
        }
    }

    /// What each digit in each place adds to the sum, modulo ten: ten different things, so no single
    /// wrong digit is ever missed, whatever the others are.
    #[test]
    fn in_every_place_the_ten_digits_count_for_ten_different_things() {
        for place in 0..DIGITS - 1 {
            let mut seen: Vec<u32> = (0..=9)
                .map(|digit| {
                    let mut digits = [0; DIGITS];
                    digits[place] = digit;
                    check_digit(&digits)
                })
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..=9).collect::<Vec<_>>(), "place {place}");
        }
    }

    /// Two neighbours that are exchanged change the sum by their difference times that of their
    /// weights, which is 2, 4 or 6: a multiple of ten only where they are 5 apart.
    #[test]
    fn exchanged_neighbours_are_missed_only_when_five_apart() {
        let mut missed = 0;
        for place in 0..7 {
            for (a, b) in (0..=9_u8).flat_map(|a| (0..=9_u8).map(move |b| (a, b))) {
                let mut digits = [0; DIGITS];
                (digits[place], digits[place + 1]) = (a, b);
                let before = check_digit(&digits);
                digits.swap(place, place + 1);
                if a != b && check_digit(&digits) == before {
                    assert_eq!(a.abs_diff(b), 5, "place {place}: {a}, {b}");
                    missed += 1;
                }
            }
        }
        assert!(missed > 0, "the number does not catch everything, and the docs say so");
    }

    #[test]
    fn other_forms_are_refused() {
        for wrong in [
            "",
            "124-81-0099",
            "124-81-009988",
            "12-481-00998",
            "124 81 00998",
            "1248100998-",
            "1-2-4-8-1-0-0998",
            "12481OO998",
            "１２４８１００９９８",
            "+248100998",
            "000-00-00000",
            "100-81-00990",
        ] {
            assert_eq!(
                BusinessNumber::parse(wrong).err(),
                Some(NotABusinessNumber::Form),
                "{wrong}"
            );
        }
        let slip = BusinessNumber::parse("124-81-00999").err();
        assert_eq!(slip, Some(NotABusinessNumber::Checksum));
    }
}
