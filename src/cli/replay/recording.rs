//! Recorded auctions from a CSV.
//!
//! Owns the columns and what a field may hold. Must never guess what a bad row meant.

use std::{collections::HashMap, path::Path};

use super::ReplayError;
use crate::{
    cli::csv_file::{BadRow, CsvFile},
    domain::{auction::terms::HORIZON_DAYS_MAX, money::Amount},
};

/// One auction as it really went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedAuction {
    /// Its name in the file.
    pub name: String,
    /// From the first moment to the end, in milliseconds.
    pub duration_ms: i64,
    /// The opening price.
    pub opening_bid: Amount,
    /// The price at which it closed; `None` if it was not sold.
    pub final_price: Option<Amount>,
    /// Its bids in order of time.
    pub bids: Vec<RecordedBid>,
    /// The line that named it first.
    line: u64,
}

/// One recorded bid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedBid {
    /// How long after the start it came, in milliseconds. May lie past the end.
    pub time_ms: i64,
    /// Whose, as the file names them.
    pub bidder: String,
    /// The most that they would pay.
    pub ceiling: Amount,
    /// Orders bids of the same time.
    seq: u64,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// In the order in which the file names them first.
    pub auctions: Vec<RecordedAuction>,
    /// The rows that could not be used, in the order of the file.
    pub skipped: Vec<BadRow>,
    /// The rows whose bid counts although they tell of other terms than their auction's first row,
    /// which hold.
    pub contradicting: Vec<BadRow>,
    /// How many rows there are, those skipped included.
    pub rows: u64,
}

const COLUMNS: [&str; 8] = [
    "auction",
    "days",
    "opening_bid_cents",
    "final_price_cents",
    "bid_seq",
    "bid_time_days",
    "bidder",
    "bid_cents",
];

const DAY_MS: i64 = 86_400_000;
/// Digits behind the point of a day that are read; a millisecond needs eight, the rest is cut off.
const DAY_DIGITS: usize = 12;
const DAY_SCALE: i128 = 1_000_000_000_000;

/// Reads recorded auctions. Columns are found by their names in the header; a row that cannot be
/// used is noted and left out. A row whose four bid columns are all empty is an auction without
/// a bid, and a final price that is empty or 0 says that it was not sold.
///
/// # Errors
/// When the file cannot be read, is empty, or lacks a column.
pub fn read(path: impl AsRef<Path>) -> Result<Recording, ReplayError> {
    let file = CsvFile::open(path.as_ref())?;
    let mut rows = file.rows(COLUMNS, COLUMNS.len())?;
    let mut book = Book::default();
    while let Some((line, row)) = rows.next_row() {
        book.add(row, line);
    }
    if book.rows == 0 {
        return Err(file.no_rows().into());
    }
    Ok(book.finish())
}

/// The auctions read so far.
#[derive(Default)]
struct Book {
    auctions: Vec<RecordedAuction>,
    places: HashMap<String, usize>,
    skipped: Vec<BadRow>,
    contradicting: Vec<BadRow>,
    rows: u64,
}

impl Book {
    fn add(&mut self, row: Result<[&str; COLUMNS.len()], String>, line: u64) {
        self.rows += 1;
        match row.and_then(|fields| parse(fields, line)) {
            Ok((auction, bid)) => self.put(auction, bid, line),
            Err(problem) => self.skipped.push(BadRow { line, problem }),
        }
    }

    fn put(&mut self, auction: RecordedAuction, bid: Option<RecordedBid>, line: u64) {
        let place = *self.places.entry(auction.name.clone()).or_insert(self.auctions.len());
        if place == self.auctions.len() {
            self.auctions.push(RecordedAuction { bids: bid.into_iter().collect(), ..auction });
            return;
        }
        let known = &mut self.auctions[place];
        let differs = [
            ("days", known.duration_ms != auction.duration_ms),
            ("opening_bid_cents", known.opening_bid != auction.opening_bid),
            ("final_price_cents", known.final_price != auction.final_price),
        ];
        for (column, _) in differs.into_iter().filter(|(_, differs)| *differs) {
            let problem =
                format!("{column} differs from line {}, which is of the same auction", known.line);
            self.contradicting.push(BadRow { line, problem });
        }
        known.bids.extend(bid);
    }

    fn finish(mut self) -> Recording {
        for auction in &mut self.auctions {
            auction.bids.sort_by_key(|bid| (bid.time_ms, bid.seq));
        }
        Recording {
            auctions: self.auctions,
            skipped: self.skipped,
            contradicting: self.contradicting,
            rows: self.rows,
        }
    }
}

fn parse(
    [auction, days, opening, closing, seq, time, bidder, ceiling]: [&str; COLUMNS.len()],
    line: u64,
) -> Result<(RecordedAuction, Option<RecordedBid>), String> {
    let recorded = RecordedAuction {
        name: named("auction", auction)?,
        duration_ms: duration(days)?,
        opening_bid: opening_price(opening)?,
        final_price: final_price(closing)?,
        bids: Vec::new(),
        line,
    };
    if [seq, time, bidder, ceiling].iter().all(|field| field.is_empty()) {
        return Ok((recorded, None));
    }
    let bid = RecordedBid {
        seq: seq.parse().map_err(|_| wrong("bid_seq", seq, "a whole number from 0"))?,
        time_ms: days_in_ms(time)
            .ok_or_else(|| wrong("bid_time_days", time, "a number of days from 0"))?,
        bidder: named("bidder", bidder)?,
        ceiling: cents("bid_cents", ceiling)?,
    };
    Ok((recorded, Some(bid)))
}

fn wrong(column: &str, field: &str, must_be: &str) -> String {
    // A field can be as long as the file.
    let shown: String = field.chars().take(40).collect();
    format!("{column} is {shown:?}, but must be {must_be}")
}

fn named(column: &str, field: &str) -> Result<String, String> {
    if field.is_empty() { Err(wrong(column, field, "a name or number")) } else { Ok(field.into()) }
}

fn duration(field: &str) -> Result<i64, String> {
    days_in_ms(field).filter(|ms| (1..=HORIZON_DAYS_MAX * DAY_MS).contains(ms)).ok_or_else(|| {
        wrong("days", field, &format!("a number of days above 0, at most {HORIZON_DAYS_MAX}"))
    })
}

fn opening_price(field: &str) -> Result<Amount, String> {
    let price = cents("opening_bid_cents", field)?;
    if price > Amount::CAP_DEFAULT {
        let must_be = format!("at most {}", Amount::CAP_DEFAULT);
        return Err(wrong("opening_bid_cents", field, &must_be));
    }
    Ok(price)
}

fn final_price(field: &str) -> Result<Option<Amount>, String> {
    if field.is_empty() || whole(field) == Some(0) {
        return Ok(None);
    }
    cents("final_price_cents", field).map(Some)
}

fn cents(column: &str, field: &str) -> Result<Amount, String> {
    whole(field).and_then(|minor_units| Amount::new(minor_units).ok()).ok_or_else(|| {
        wrong(column, field, &format!("a whole number of cents from 1 to {}", Amount::MAX))
    })
}

/// A whole number, also when a spreadsheet wrote it as `2975.00`. Half a cent is no amount.
fn whole(field: &str) -> Option<i64> {
    let (digits, fraction) = field.split_once('.').unwrap_or((field, ""));
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && fraction.bytes().all(|byte| byte == b'0')).then(|| digits.parse().ok())?
}

/// A decimal number of days as milliseconds, the rest cut off: in integers, so that a bid a tick
/// before the end stays there.
fn days_in_ms(field: &str) -> Option<i64> {
    let (days, fraction) = field.split_once('.').unwrap_or((field, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (days.is_empty() && fraction.is_empty()) || !digits(days) || !digits(fraction) {
        return None;
    }
    let days: i64 = if days.is_empty() { 0 } else { days.parse().ok()? };
    let fraction: String =
        fraction.chars().chain("0".repeat(DAY_DIGITS).chars()).take(DAY_DIGITS).collect();
    let fraction_ms = fraction.parse::<i128>().ok()? * i128::from(DAY_MS) / DAY_SCALE;
    days.checked_mul(DAY_MS)?.checked_add(i64::try_from(fraction_ms).ok()?)
}
