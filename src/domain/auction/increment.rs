//! By how much a bid must exceed the price: three kinds, as data (RULES, "Increments").

use std::{fmt, sync::Arc};

use crate::domain::money::Amount;

/// How the step above the current price is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Increment {
    /// Always the same step.
    Fixed(Amount),
    /// Basis points of the opening price, rounded up, at least 1.
    PercentOfOpening {
        /// 1 to [`BASIS_POINTS_MAX`]; 100 is one percent.
        basis_points: u32,
    },
    /// Rules on the current price.
    Table(Table),
}

/// The most basis points of the opening price that one step may be: 1,000 percent.
pub const BASIS_POINTS_MAX: u32 = 100_000;

/// The most rules that a table may have.
pub const RULES_MAX: usize = 64;

impl Increment {
    /// The step that a bid must exceed `price` by.
    pub fn step(&self, opening_price: Amount, price: Amount) -> Amount {
        match self {
            Increment::Fixed(step) => *step,
            Increment::PercentOfOpening { basis_points } => {
                opening_price.basis_points_rounded_up(*basis_points)
            }
            Increment::Table(table) => table.step(price),
        }
    }
}

/// A table of steps: a named one of the house, or the seller's own rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Table {
    /// `ebay_usd`, in cents: the increments that eBay publishes for US dollars.
    EbayUsd,
    /// `won`.
    Won,
    /// The seller's own, shared between the copies of the terms.
    Own(Arc<[Rule]>),
}

/// One line of a table: below this price, this step. The last line has no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The price that this rule ends before; `None` on the last rule alone.
    pub below: Option<Amount>,
    /// The step, at least 1.
    pub step: Amount,
}

/// Why a list of rules is not a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// No rule at all.
    #[error("must have at least one rule")]
    Empty,
    /// More than [`RULES_MAX`].
    #[error("must have at most {RULES_MAX} rules")]
    TooLong,
    /// `below` does not rise from rule to rule.
    #[error("`below` must rise from rule to rule")]
    NotRising,
    /// The last rule is bounded, or another one is not.
    #[error("the last rule, and no other, must have `below` null")]
    NotOpenEnded,
}

impl Table {
    /// A seller's own table.
    ///
    /// # Errors
    /// When the rules do not cover every price exactly once, in order.
    pub fn own(rules: Vec<Rule>) -> Result<Table, TableError> {
        if rules.len() > RULES_MAX {
            return Err(TableError::TooLong);
        }
        let Some((last, bounded)) = rules.split_last() else {
            return Err(TableError::Empty);
        };
        if last.below.is_some() || bounded.iter().any(|rule| rule.below.is_none()) {
            return Err(TableError::NotOpenEnded);
        }
        if bounded.windows(2).any(|pair| pair[0].below >= pair[1].below) {
            return Err(TableError::NotRising);
        }
        Ok(Table::Own(rules.into()))
    }

    /// The house table of this name, if there is one.
    pub fn named(name: &str) -> Option<Table> {
        match name {
            "ebay_usd" => Some(Table::EbayUsd),
            "won" => Some(Table::Won),
            _ => None,
        }
    }

    /// The name of a house table.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Table::EbayUsd => Some("ebay_usd"),
            Table::Won => Some("won"),
            Table::Own(_) => None,
        }
    }

    fn step(&self, price: Amount) -> Amount {
        match self {
            Table::EbayUsd => house_step(EBAY_USD, price),
            Table::Won => house_step(WON, price),
            Table::Own(rules) => rules
                .iter()
                .find(|rule| rule.below.is_none_or(|below| price < below))
                .map_or(Amount::ONE, |rule| rule.step),
        }
    }
}

/// `(below, step)` in minor units, the last one open-ended.
type HouseTable = &'static [(i64, i64)];

const EBAY_USD: HouseTable = &[
    (100, 5),
    (500, 25),
    (2_500, 50),
    (10_000, 100),
    (25_000, 250),
    (50_000, 500),
    (100_000, 1_000),
    (250_000, 2_500),
    (500_000, 5_000),
    (i64::MAX, 10_000),
];

const WON: HouseTable = &[
    (10_000, 100),
    (50_000, 1_000),
    (100_000, 2_500),
    (500_000, 5_000),
    (1_000_000, 10_000),
    (5_000_000, 50_000),
    (10_000_000, 100_000),
    (i64::MAX, 500_000),
];

fn house_step(table: HouseTable, price: Amount) -> Amount {
    table
        .iter()
        .find(|(below, _)| price.minor_units() < *below)
        .and_then(|(_, step)| Amount::new(*step).ok())
        .expect("a house table is open-ended and its steps are positive")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("own"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(minor_units: i64) -> Amount {
        Amount::new(minor_units).expect("positive")
    }

    #[test]
    fn ebay_steps_change_exactly_at_their_bounds() {
        let step = |price| Table::EbayUsd.step(amount(price)).minor_units();
        let bounds = [
            (99, 5),
            (100, 25),
            (499, 25),
            (500, 50),
            (2_499, 50),
            (2_500, 100),
            (9_999, 100),
            (10_000, 250),
            (24_999, 250),
            (25_000, 500),
            (49_999, 500),
            (50_000, 1_000),
            (99_999, 1_000),
            (100_000, 2_500),
            (249_999, 2_500),
            (250_000, 5_000),
            (499_999, 5_000),
            (500_000, 10_000),
        ];
        for (price, expected) in bounds {
            assert_eq!(step(price), expected, "at {price}");
        }
    }

    #[test]
    fn won_steps_change_exactly_at_their_bounds() {
        let step = |price| Table::Won.step(amount(price)).minor_units();
        let bounds = [
            (9_999, 100),
            (10_000, 1_000),
            (49_999, 1_000),
            (50_000, 2_500),
            (99_999, 2_500),
            (100_000, 5_000),
            (499_999, 5_000),
            (500_000, 10_000),
            (999_999, 10_000),
            (1_000_000, 50_000),
            (4_999_999, 50_000),
            (5_000_000, 100_000),
            (9_999_999, 100_000),
            (10_000_000, 500_000),
        ];
        for (price, expected) in bounds {
            assert_eq!(step(price), expected, "at {price}");
        }
    }

    #[test]
    fn a_percentage_is_of_the_opening_price_whatever_the_price() {
        let increment = Increment::PercentOfOpening { basis_points: 500 };
        assert_eq!(increment.step(amount(10_001), amount(99_999_999)), amount(501));
        assert_eq!(increment.step(amount(3), amount(3)), amount(1));
    }

    #[test]
    fn a_table_must_cover_every_price_once() {
        let rule = |below: Option<i64>, step| Rule { below: below.map(amount), step: amount(step) };
        assert_eq!(Table::own(vec![]), Err(TableError::Empty));
        assert_eq!(Table::own(vec![rule(Some(10), 1)]), Err(TableError::NotOpenEnded));
        assert_eq!(Table::own(vec![rule(None, 1), rule(None, 2)]), Err(TableError::NotOpenEnded));
        let falling = vec![rule(Some(10), 1), rule(Some(10), 2), rule(None, 3)];
        assert_eq!(Table::own(falling), Err(TableError::NotRising));
        let table = Table::own(vec![rule(Some(10), 1), rule(None, 5)]).expect("a table");
        assert_eq!(table.step(amount(9)), amount(1));
        assert_eq!(table.step(amount(10)), amount(5));
    }
}
