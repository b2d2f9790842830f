//! What a row of the catalogue becomes: the item and its opening price.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::said;
use crate::domain::{
    auction::{
        Item,
        terms::{TITLE_CHARS_MAX, WORD_CHARS_MAX},
    },
    money::Amount,
};

/// The columns that are read; the first one must be there.
pub const COLUMNS: [&str; 12] = [
    "title",
    "id",
    "accession",
    "artist",
    "date_text",
    "year",
    "classification",
    "medium",
    "dimensions",
    "subjects",
    "acquisition_year",
    "thumbnail_url",
];
/// How many of [`COLUMNS`] must be there.
pub const REQUIRED: usize = 1;

/// Opening prices in won by classification, of works of the year 2000 and later.
const OPENING_PRICES: [(&str, i64); 6] = [
    ("installation", 500_000),
    ("sculpture", 300_000),
    ("painting", 200_000),
    ("relief", 150_000),
    ("on paper, unique", 50_000),
    ("on paper, print", 20_000),
];
/// Of every other classification, and of none.
const OPENING_PRICE_ELSE: i64 = 30_000;
/// From here each century back adds the base price once more, at most ten times.
const YEAR_OF_BASE: i64 = 2_000;
const CENTURIES_MAX: i64 = 10;

/// One row, field by field; empty where there is nothing.
pub struct Row<'a> {
    title: &'a str,
    id: &'a str,
    accession: &'a str,
    artist: &'a str,
    date_text: &'a str,
    year: &'a str,
    classification: &'a str,
    medium: &'a str,
    dimensions: &'a str,
    subjects: &'a str,
    acquisition_year: &'a str,
    thumbnail_url: &'a str,
}

impl<'a> Row<'a> {
    /// From the fields in the order of [`COLUMNS`].
    pub const fn of(fields: [&'a str; COLUMNS.len()]) -> Row<'a> {
        let [
            title,
            id,
            accession,
            artist,
            date_text,
            year,
            classification,
            medium,
            dimensions,
            subjects,
            acquisition_year,
            thumbnail_url,
        ] = fields;
        Row {
            title,
            id,
            accession,
            artist,
            date_text,
            year,
            classification,
            medium,
            dimensions,
            subjects,
            acquisition_year,
            thumbnail_url,
        }
    }

    /// What tells this item from the seller's others: its id, else its accession number, else all
    /// that is said of it.
    pub fn key(&self) -> (&'static str, String) {
        if !self.id.is_empty() {
            return ("id", self.id.to_owned());
        }
        if !self.accession.is_empty() {
            return ("accession", self.accession.to_owned());
        }
        let mut sha = Sha256::new();
        for field in [
            self.title,
            self.artist,
            self.date_text,
            self.year,
            self.classification,
            self.medium,
            self.dimensions,
            self.subjects,
            self.acquisition_year,
            self.thumbnail_url,
        ] {
            sha.update(field);
            sha.update([0]);
        }
        ("all", const_hex::encode(sha.finalize()))
    }

    /// The key in words.
    pub fn named(&self) -> String {
        match self.key() {
            ("all", _) => "everything in it".into(),
            (kind, key) => format!("the {kind} {:?}", shortened(&key, 40)),
        }
    }

    /// The item that is sold.
    pub fn item(&self) -> Result<Item, String> {
        let title = self.title.split_whitespace().collect::<Vec<_>>().join(" ");
        let item = Item {
            attributes: self.attributes(),
            category: Some(slug(self.classification)).filter(|slug| !slug.is_empty()),
            description: self.description(&title),
            image_keys: Vec::new(),
            title: shortened(&title, TITLE_CHARS_MAX),
        };
        item.check().map_err(|errors| said(&errors))?;
        Ok(item)
    }

    fn description(&self, title: &str) -> String {
        let is_cut = title.chars().count() > TITLE_CHARS_MAX;
        let date = if self.date_text.is_empty() { self.year } else { self.date_text };
        let whole_title = if is_cut { title } else { "" };
        let lines = [whole_title, self.artist, date, self.medium, self.dimensions];
        let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        lines.join("\n")
    }

    fn attributes(&self) -> BTreeMap<String, String> {
        let subjects = self.subjects.split('|').map(str::trim).filter(|word| !word.is_empty());
        let subjects = subjects.collect::<Vec<_>>().join(", ");
        [
            ("accession", self.accession),
            ("acquisition_year", self.acquisition_year),
            ("artist", self.artist),
            ("classification", self.classification),
            ("date", self.date_text),
            ("dimensions", self.dimensions),
            ("medium", self.medium),
            ("subjects", subjects.as_str()),
            ("thumbnail_url", self.thumbnail_url),
            ("year", self.year),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), shortened(value, WORD_CHARS_MAX)))
        .collect()
    }

    /// In won, and the same whenever the row is read: the price of its classification, once more
    /// for each century that the work is older than the year 2000.
    pub fn opening_price(&self) -> Amount {
        let base = OPENING_PRICES
            .iter()
            .find(|(classification, _)| *classification == self.classification)
            .map_or(OPENING_PRICE_ELSE, |(_, price)| *price);
        let year = self.year.parse().ok().filter(|year| (1..=YEAR_OF_BASE).contains(year));
        let centuries = (YEAR_OF_BASE - year.unwrap_or(YEAR_OF_BASE)) / 100;
        Amount::new(base * (1 + centuries.min(CENTURIES_MAX))).unwrap_or(Amount::ONE)
    }
}

/// The first so many characters; an ellipsis where there are more.
fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars_max - 1).collect();
    short.push('…');
    short
}

/// `on paper, unique` as `on-paper-unique`.
fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let slug = words.map(str::to_lowercase).collect::<Vec<_>>().join("-");
    shortened(&slug, WORD_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(title: &'a str, classification: &'a str, year: &'a str) -> Row<'a> {
        let mut fields = [""; COLUMNS.len()];
        (fields[0], fields[6], fields[5]) = (title, classification, year);
        Row::of(fields)
    }

    #[test]
    fn the_opening_price_follows_from_classification_and_age() {
        let price =
            |classification, year| row("x", classification, year).opening_price().minor_units();
        assert_eq!(price("painting", "1929"), 200_000);
        assert_eq!(price("painting", "1900"), 400_000);
        assert_eq!(price("on paper, print", "1545"), 100_000);
        assert_eq!(price("sculpture", "-44"), 300_000);
        assert_eq!(price("sculpture", "1"), 300_000 * 11);
        assert_eq!(price("", "c.1997-9"), 30_000);
        assert_eq!(price("painting", "2100"), 200_000);
    }

    #[test]
    fn a_title_that_is_too_long_is_cut_and_stands_whole_in_the_description() {
        let long = "긴 제목 ".repeat(60);
        let item = row(&long, "on paper, unique", "").item().expect("an item");
        assert_eq!(item.title.chars().count(), TITLE_CHARS_MAX);
        assert!(item.title.ends_with('…'));
        assert_eq!(item.description, long.trim());
        assert_eq!(item.category.as_deref(), Some("on-paper-unique"));
    }

    #[test]
    fn an_item_without_a_title_is_refused() {
        let problem = row("", "painting", "1900").item().expect_err("refused");
        assert_eq!(problem, "title must have 1 to 200 characters, all visible, on one line");
    }

    #[test]
    fn an_item_is_told_from_others_by_id_then_accession_then_all_of_it() {
        let mut fields = ["same"; COLUMNS.len()];
        assert_eq!(Row::of(fields).key(), ("id", "same".into()));
        fields[1] = "";
        assert_eq!(Row::of(fields).key(), ("accession", "same".into()));
        fields[2] = "";
        let one = Row::of(fields).key();
        fields[11] = "other";
        assert_ne!(one, Row::of(fields).key());
    }
}
