//! What is sold and under which terms: everything that is fixed before the first bid.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::increment::Increment;
use crate::domain::{
    money::{Amount, Currency},
    text::is_visible_line,
    time::Timestamp,
};

/// What is sold. Public as a whole, and part of the log, so that nobody can change it unseen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    // In alphabetical order, as the canonical log needs it (RFC 8785).
    /// Free properties, such as `period: 18세기`.
    #[serde(serialize_with = "in_canonical_order")]
    pub attributes: BTreeMap<String, String>,
    /// The category's slug, such as `art`.
    pub category: Option<String>,
    /// Plain text.
    pub description: String,
    /// Keys in the image store, the first one shown first.
    pub image_keys: Vec<String>,
    /// One line.
    pub title: String,
}

/// The terms of an auction. Private parts: the reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// In which every amount of the auction is counted.
    pub currency: Currency,
    /// The least that the first bid must offer.
    pub opening_price: Amount,
    /// The step above the price.
    pub increment: Increment,
    /// Below it the item is not sold; only whether it is met is public.
    pub reserve_price: Option<Amount>,
    /// At which the first taker ends the auction.
    pub buy_now_price: Option<Amount>,
    /// How many accepted bids each bidder may place.
    pub bids_per_bidder_max: Option<u32>,
    /// No bid above it is accepted; one at it is.
    pub cap: Amount,
    /// From when bids are taken.
    pub starts_at: Timestamp,
    /// At exactly this time it is over; a soft close may move it.
    pub ends_at: Timestamp,
    /// Whether and how late bids move the end.
    pub soft_close: Option<SoftClose>,
}

/// Late bids move the end, up to a bound that everybody knows (RULES, "Soft close").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftClose {
    // In alphabetical order, as the canonical log needs it.
    /// By how many seconds the end moves.
    pub extension_s: u32,
    /// Never passed.
    pub max_ends_at: Timestamp,
    /// From what the extension is counted.
    pub mode: SoftCloseMode,
    /// A bid in the last so many seconds moves the end.
    pub trigger_window_s: u32,
}

/// From what an extension is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoftCloseMode {
    /// From the present end.
    Extend,
    /// From the time of the bid; the end never comes nearer.
    Reset,
}

/// Characters in a title.
pub const TITLE_CHARS_MAX: usize = 200;
/// Characters in a description.
pub const DESCRIPTION_CHARS_MAX: usize = 10_000;
/// Images of one item.
pub const IMAGES_MAX: usize = 20;
/// Attributes of one item.
pub const ATTRIBUTES_MAX: usize = 50;
/// Characters in an attribute's name, its value, a category or an image key.
pub const WORD_CHARS_MAX: usize = 500;

/// The longest trigger window and extension: one day.
pub const SOFT_CLOSE_S_MAX: u32 = 86_400;
/// The longest time between now and an auction's start, and between its start and its last end.
pub const HORIZON_DAYS_MAX: i64 = 366;
/// How far behind a start may lie, for clocks that differ.
pub const START_BEHIND_S_MAX: i64 = 60;
/// The most bids a bidder that terms may name.
pub const BIDS_PER_BIDDER_MAX: u32 = 10_000;

const DAY_S: i64 = 86_400;

/// A term or a part of an item that cannot stand, and the field it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermsError {
    /// The field, as the API names it.
    pub field: &'static str,
    /// What must hold instead.
    pub message: String,
}

impl Item {
    /// Checks the item against the limits of its parts.
    ///
    /// # Errors
    /// Every part that cannot stand, not only the first.
    pub fn check(&self) -> Result<(), Vec<TermsError>> {
        let mut errors = Vec::new();
        let mut check = |holds: bool, field, message: String| {
            if !holds {
                errors.push(TermsError { field, message });
            }
        };
        check(
            !self.title.is_empty()
                && is_text(&self.title, TITLE_CHARS_MAX)
                && is_visible_line(&self.title),
            "title",
            format!("must have 1 to {TITLE_CHARS_MAX} characters, all visible, on one line"),
        );
        check(
            is_text(&self.description, DESCRIPTION_CHARS_MAX),
            "description",
            format!("must have at most {DESCRIPTION_CHARS_MAX} characters"),
        );
        check(
            self.category.as_deref().is_none_or(is_word),
            "category",
            format!("must have 1 to {WORD_CHARS_MAX} characters, all visible, on one line"),
        );
        check(
            self.image_keys.len() <= IMAGES_MAX && self.image_keys.iter().all(|key| is_word(key)),
            "image_keys",
            format!("must be at most {IMAGES_MAX} keys of 1 to {WORD_CHARS_MAX} characters"),
        );
        let is_attribute =
            |(name, value): (&String, &String)| is_word(name) && is_text(value, WORD_CHARS_MAX);
        check(
            self.attributes.len() <= ATTRIBUTES_MAX && self.attributes.iter().all(is_attribute),
            "attributes",
            format!("must be at most {ATTRIBUTES_MAX} of at most {WORD_CHARS_MAX} characters"),
        );
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// By UTF-16 code units (RFC 8785, section 3.2.3), which is not the order of a [`BTreeMap`] of
/// strings once a name has a character outside the Basic Multilingual Plane.
fn in_canonical_order<S: Serializer>(
    attributes: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    serializer.collect_map(sorted)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && is_text(text, WORD_CHARS_MAX) && is_visible_line(text)
}

/// Short enough, and without the one character that Postgres does not keep.
fn is_text(text: &str, chars_max: usize) -> bool {
    text.chars().count() <= chars_max && !text.contains('\0')
}

impl Terms {
    /// Checks the terms against each other and against the clock.
    ///
    /// # Errors
    /// Every term that cannot stand, not only the first.
    pub fn check(&self, now: Timestamp) -> Result<(), Vec<TermsError>> {
        let mut errors = Vec::new();
        self.check_prices(&mut errors);
        self.check_increment(&mut errors);
        self.check_times(now, &mut errors);
        self.check_soft_close(&mut errors);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn check_prices(&self, errors: &mut Vec<TermsError>) {
        let mut refuse = |field, message: String| errors.push(TermsError { field, message });
        if self.cap > Amount::CAP_MAX {
            refuse("cap", format!("must be at most {}", Amount::CAP_MAX));
        }
        if self.opening_price > self.cap {
            refuse("opening_price", format!("must be at most the cap of {}", self.cap));
        }
        if let Some(reserve) = self.reserve_price {
            if reserve < self.opening_price {
                refuse("reserve_price", "must be at least the opening price".into());
            }
            if reserve > self.cap {
                refuse("reserve_price", format!("must be at most the cap of {}", self.cap));
            }
        }
        if let Some(buy_now) = self.buy_now_price {
            if buy_now <= self.opening_price {
                refuse("buy_now_price", "must be above the opening price".into());
            }
            if self.reserve_price.is_some_and(|reserve| buy_now < reserve) {
                refuse("buy_now_price", "must be at least the reserve price".into());
            }
            if buy_now > self.cap {
                refuse("buy_now_price", format!("must be at most the cap of {}", self.cap));
            }
        }
        if self.bids_per_bidder_max.is_some_and(|max| !(1..=BIDS_PER_BIDDER_MAX).contains(&max)) {
            refuse("bids_per_bidder_max", format!("must be 1 to {BIDS_PER_BIDDER_MAX}"));
        }
    }

    fn check_increment(&self, errors: &mut Vec<TermsError>) {
        let message = match &self.increment {
            Increment::Fixed(step) if *step > self.cap => {
                format!("the step must be at most the cap of {}", self.cap)
            }
            Increment::PercentOfOpening { basis_points }
                if !(1..=super::increment::BASIS_POINTS_MAX).contains(basis_points) =>
            {
                format!("basis_points must be 1 to {}", super::increment::BASIS_POINTS_MAX)
            }
            Increment::Table(super::increment::Table::Own(rules))
                if rules.iter().any(|rule| rule.step > self.cap) =>
            {
                format!("every step must be at most the cap of {}", self.cap)
            }
            Increment::Fixed(_) | Increment::PercentOfOpening { .. } | Increment::Table(_) => {
                return;
            }
        };
        errors.push(TermsError { field: "increment", message });
    }

    fn check_times(&self, now: Timestamp, errors: &mut Vec<TermsError>) {
        let mut refuse = |field, message: String| errors.push(TermsError { field, message });
        if self.starts_at < now.plus_s(-START_BEHIND_S_MAX) {
            refuse("starts_at", "must not lie in the past; leave it out to start now".into());
        }
        if self.starts_at > now.plus_s(HORIZON_DAYS_MAX * DAY_S) {
            refuse("starts_at", format!("must lie within {HORIZON_DAYS_MAX} days"));
        }
        if self.ends_at <= self.starts_at {
            refuse("ends_at", "must be after starts_at".into());
        } else if self.ends_at <= now {
            refuse("ends_at", "must lie in the future".into());
        }
        if self.last_end() > self.starts_at.plus_s(HORIZON_DAYS_MAX * DAY_S) {
            refuse("ends_at", format!("must lie within {HORIZON_DAYS_MAX} days of the start"));
        }
    }

    fn check_soft_close(&self, errors: &mut Vec<TermsError>) {
        let Some(soft_close) = self.soft_close else { return };
        let mut refuse = |message: String| errors.push(TermsError { field: "soft_close", message });
        if !(1..=SOFT_CLOSE_S_MAX).contains(&soft_close.trigger_window_s) {
            refuse(format!("trigger_window_s must be 1 to {SOFT_CLOSE_S_MAX}"));
        }
        if !(1..=SOFT_CLOSE_S_MAX).contains(&soft_close.extension_s) {
            refuse(format!("extension_s must be 1 to {SOFT_CLOSE_S_MAX}"));
        }
        if soft_close.max_ends_at < self.ends_at {
            refuse("max_ends_at must not be before ends_at".into());
        }
    }

    /// The latest that the auction can end.
    pub fn last_end(&self) -> Timestamp {
        self.soft_close.map_or(self.ends_at, |soft_close| soft_close.max_ends_at.max(self.ends_at))
    }

    /// The step above `price`.
    pub fn step(&self, price: Amount) -> Amount {
        self.increment.step(self.opening_price, price)
    }
}
