//! Money: a checked count of minor units, and the currencies that say how many make one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of minor units (won, cents): always at least 1 and at most [`Amount::MAX`].
///
/// The upper bound is the largest integer that a JSON number carries exactly (2^53 - 1, RFC 8259
/// section 6), so that a browser and the canonical log read the same amount that was decided.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Amount(i64);

/// Why an integer is not an [`Amount`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Zero or less.
    #[error("must be at least 1")]
    NotPositive,
    /// More than [`Amount::MAX`].
    #[error("must be at most {}", Amount::MAX)]
    TooLarge,
}

impl Amount {
    /// The largest amount: 9,007,199,254,740,991.
    pub const MAX: Amount = Amount((1 << 53) - 1);

    /// The largest cap, price or step that an auction may be given: half of [`Amount::MAX`], so
    /// that a price plus one step is always an amount and nothing can overflow.
    pub const CAP_MAX: Amount = Amount((1 << 52) - 1);

    /// The cap on bids where the operator names no other: 1,000,000,000,000 (RULES, "Bids").
    pub const CAP_DEFAULT: Amount = Amount(1_000_000_000_000);

    /// The smallest amount.
    pub const ONE: Amount = Amount(1);

    /// Checks an integer from outside.
    ///
    /// # Errors
    /// When it is below 1 or above [`Amount::MAX`].
    pub const fn new(minor_units: i64) -> Result<Amount, AmountError> {
        if minor_units < 1 {
            Err(AmountError::NotPositive)
        } else if minor_units > Amount::MAX.0 {
            Err(AmountError::TooLarge)
        } else {
            Ok(Amount(minor_units))
        }
    }

    /// The number of minor units.
    pub const fn minor_units(self) -> i64 {
        self.0
    }

    /// The sum, held at [`Amount::MAX`]. Prices and steps are at most [`Amount::CAP_MAX`], so the
    /// bound is never met by an auction whose terms were checked.
    #[must_use]
    pub fn plus(self, other: Amount) -> Amount {
        Amount(self.0.saturating_add(other.0).min(Amount::MAX.0))
    }

    /// Ten times as much, held at [`Amount::MAX`]: what the typo guard compares with.
    #[must_use]
    pub fn times_ten(self) -> Amount {
        Amount(self.0.saturating_mul(10).min(Amount::MAX.0))
    }

    /// The least multiple of `step` that is not below it, held at [`Amount::MAX`].
    #[must_use]
    pub fn rounded_up_to(self, step: Amount) -> Amount {
        let steps = self.0 / step.0 + i64::from(self.0 % step.0 != 0);
        Amount(steps.saturating_mul(step.0).min(Amount::MAX.0))
    }

    /// So many basis points (1/100 of a percent) of this amount, rounded up, at least 1.
    #[must_use]
    pub fn basis_points_rounded_up(self, basis_points: u32) -> Amount {
        let product = i128::from(self.0) * i128::from(basis_points);
        let rounded_up = (product + 9_999) / 10_000;
        let held = rounded_up.clamp(1, i128::from(Amount::MAX.0));
        Amount(i64::try_from(held).unwrap_or(Amount::MAX.0))
    }
}

impl TryFrom<i64> for Amount {
    type Error = AmountError;

    fn try_from(minor_units: i64) -> Result<Self, Self::Error> {
        Amount::new(minor_units)
    }
}

impl From<Amount> for i64 {
    fn from(amount: Amount) -> i64 {
        amount.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The currencies in which an auction can be held (ISO 4217).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    /// South Korean won: no minor unit, so 1 is 1 won.
    Krw,
    /// US dollar: counted in cents.
    Usd,
}

impl Currency {
    /// The ISO 4217 code.
    pub const fn code(self) -> &'static str {
        match self {
            Currency::Krw => "KRW",
            Currency::Usd => "USD",
        }
    }

    /// The currency of an ISO 4217 code, if Hoga trades in it.
    pub fn from_code(code: &str) -> Option<Currency> {
        match code {
            "KRW" => Some(Currency::Krw),
            "USD" => Some(Currency::Usd),
            _ => None,
        }
    }
}

/// An amount with its currency: how money stands in answers and in the public log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Minor units.
    pub amount: Amount,
    /// ISO 4217.
    pub currency: Currency,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_positive_and_exact_in_json() {
        assert_eq!(Amount::new(0), Err(AmountError::NotPositive));
        assert_eq!(Amount::new(-5), Err(AmountError::NotPositive));
        assert_eq!(Amount::new(i64::MIN), Err(AmountError::NotPositive));
        assert_eq!(Amount::new(i64::MAX), Err(AmountError::TooLarge));
        assert_eq!(Amount::new(1 << 53), Err(AmountError::TooLarge));
        assert_eq!(Amount::new((1 << 53) - 1), Ok(Amount::MAX));
    }

    #[test]
    fn a_price_above_32_bits_adds_up() {
        let price = Amount::new(i64::from(i32::MAX)).expect("positive");
        assert_eq!(price.plus(Amount::ONE).minor_units(), 2_147_483_648);
        assert_eq!(Amount::CAP_MAX.plus(Amount::CAP_MAX).minor_units(), (1 << 53) - 2);
    }

    #[test]
    fn an_amount_is_rounded_up_to_a_whole_number_of_steps() {
        let amount = |n| Amount::new(n).expect("positive");
        assert_eq!(amount(180_001).rounded_up_to(amount(5_000)), amount(185_000));
        assert_eq!(amount(185_000).rounded_up_to(amount(5_000)), amount(185_000));
        assert_eq!(amount(1).rounded_up_to(amount(700)), amount(700));
        assert_eq!(Amount::MAX.rounded_up_to(amount(1_000)), Amount::MAX);
    }

    #[test]
    fn basis_points_are_rounded_up_and_at_least_one() {
        let amount = |n| Amount::new(n).expect("positive");
        assert_eq!(amount(1).basis_points_rounded_up(1), amount(1));
        assert_eq!(amount(10_000).basis_points_rounded_up(500), amount(500));
        assert_eq!(amount(10_001).basis_points_rounded_up(500), amount(501));
        assert_eq!(Amount::CAP_MAX.basis_points_rounded_up(10_000), Amount::CAP_MAX);
        assert_eq!(Amount::MAX.basis_points_rounded_up(u32::MAX), Amount::MAX);
    }
}
