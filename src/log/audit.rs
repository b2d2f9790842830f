//! Checks a public log as an outsider: from what anybody can read, and nothing else.
//!
//! Owns what must hold of an entry and of the entries before it: form, hash, chain, order, and that
//! prices, leaders, counts and the result follow from each other. Must never need a private half,
//! nor refuse a log that the exchange wrote.

mod canonical;
mod fold;

use serde::Deserialize;
use serde_json::value::RawValue;

use self::fold::Fold;
use super::hash::{Hash, entry_hash};
use crate::domain::{auction::ResultKind, id::AuctionId, money::Money, time::Timestamp};

/// An entry as it is answered, text by text: a time that is written in another way is another text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryText<'a> {
    seq: u64,
    r#type: String,
    at: String,
    #[serde(borrow)]
    data: &'a RawValue,
    prev_hash: String,
    hash: String,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not an entry.
    #[error("it is not a log entry: {0}")]
    NotAnEntry(String),
    /// Out of order.
    #[error("seq is {found}, but must be {expected}")]
    Seq {
        /// What stands there.
        found: u64,
        /// What follows the entry before.
        expected: u64,
    },
    /// Another notation, of which the hash would not know.
    #[error("{field} is {found:?}, which is not how the log writes it")]
    Notation {
        /// Which field.
        field: &'static str,
        /// What stands there.
        found: String,
    },
    /// Not RFC 8785.
    #[error("data is not canonical JSON (RFC 8785)")]
    NotCanonical,
    /// The chain is broken.
    #[error("prev_hash is not the hash of the event before")]
    PrevHash,
    /// The entry was changed.
    #[error("hash does not match")]
    Hash,
    /// Time.
    #[error("at is earlier than the event before")]
    Backwards,
    /// The entry is as it was written, but what it says does not follow from the entries before.
    #[error("{0}")]
    Story(String),
}

/// Where a log stands after the entries that were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// In which state the auction is.
    pub status: Status,
    /// The visible price.
    pub price: Money,
    /// How many bids stand.
    pub bid_count: u32,
}

/// In which state a log leaves its auction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Announced.
    Scheduled,
    /// Taking bids.
    Live,
    /// Somebody took the buy-now price; the close is the next event.
    Bought,
    /// Over.
    Ended(ResultKind),
    /// Called off before it opened.
    Cancelled,
}

/// Checks the log of one auction, entry by entry.
pub struct Audit {
    id: AuctionId,
    hashes: Vec<Hash>,
    at: Timestamp,
    fold: Option<Fold>,
}

impl Audit {
    /// Of an empty log.
    pub const fn new(id: AuctionId) -> Audit {
        Audit { id, hashes: Vec::new(), at: Timestamp::EPOCH, fold: None }
    }

    /// Whose log.
    pub const fn auction(&self) -> AuctionId {
        self.id
    }

    /// How many entries were good.
    pub fn count(&self) -> u64 {
        self.hashes.len() as u64
    }

    /// The hash of the last one; zeros before the first.
    pub fn head(&self) -> Hash {
        self.hashes.last().copied().unwrap_or(Hash::ZERO)
    }

    /// The hash of one of them.
    pub fn hash_of(&self, seq: u64) -> Option<Hash> {
        let place = usize::try_from(seq).ok()?.checked_sub(1)?;
        self.hashes.get(place).copied()
    }

    /// Where they leave the auction; `None` before the first.
    pub fn standing(&self) -> Option<Standing> {
        self.fold.as_ref().map(Fold::standing)
    }

    /// Takes the next entry, as the text that was answered.
    ///
    /// # Errors
    /// The first [`Fault`] found; the entry is not taken then.
    pub fn take(&mut self, text: &str) -> Result<(), Fault> {
        let entry: EntryText<'_> = serde_json::from_str(text).map_err(|error| {
            let error = error.to_string();
            Fault::NotAnEntry(error.split(" at line ").next().unwrap_or_default().to_owned())
        })?;
        let expected = self.count() + 1;
        if entry.seq != expected {
            return Err(Fault::Seq { found: entry.seq, expected });
        }
        let at = time(&entry.at)?;
        let prev_hash = hash("prev_hash", &entry.prev_hash)?;
        let own_hash = hash("hash", &entry.hash)?;
        let data = entry.data.get();
        if !canonical::is_canonical(data) {
            return Err(Fault::NotCanonical);
        }
        if entry_hash(self.id, entry.seq, &entry.r#type, at, data, prev_hash) != own_hash {
            return Err(Fault::Hash);
        }
        if prev_hash != self.head() {
            return Err(Fault::PrevHash);
        }
        if at < self.at {
            return Err(Fault::Backwards);
        }
        let told = match self.fold.take() {
            None => Fold::begin(&entry.r#type, data),
            Some(fold) => fold.then(&entry.r#type, data, at, entry.seq),
        };
        self.fold = Some(told.map_err(Fault::Story)?);
        self.hashes.push(own_hash);
        self.at = at;
        Ok(())
    }

    /// Whether this entry would be good in itself were it of another auction or place: it then
    /// tells that the auction's id was changed and not the entry.
    pub fn is_of_another_auction(&self, text: &str) -> bool {
        let Ok(entry) = serde_json::from_str::<EntryText<'_>>(text) else { return false };
        let (Ok(at), Ok(prev_hash)) = (time(&entry.at), hash("prev_hash", &entry.prev_hash)) else {
            return false;
        };
        let Ok(own_hash) = hash("hash", &entry.hash) else { return false };
        let data = entry.data.get();
        entry_hash(self.id, entry.seq, &entry.r#type, at, data, prev_hash) != own_hash
    }
}

fn time(text: &str) -> Result<Timestamp, Fault> {
    Timestamp::parse(text)
        .filter(|at| at.to_string() == text)
        .ok_or_else(|| Fault::Notation { field: "at", found: text.to_owned() })
}

fn hash(field: &'static str, text: &str) -> Result<Hash, Fault> {
    Hash::from_hex(text).ok_or_else(|| Fault::Notation { field, found: text.to_owned() })
}
