//! Identifiers: UUIDs with a type each, so that an auction is never taken for a user.
//!
//! New ones are made at the edge (UUIDv7, see the `http` and `app` modules): the domain only carries them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is no id, or another way to write one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an id as it was given: lower-case and hyphenated")]
pub struct NotAnId;

/// Reads an id. There are other ways to write one (upper case, braces, `urn:`), and one that is
/// ours: so each id is one text, in paths, logs and caches.
///
/// # Errors
/// Where it is written in any other way.
pub fn read(text: &str) -> Result<Uuid, NotAnId> {
    let id = Uuid::try_parse(text).map_err(|_| NotAnId)?;
    let is_ours = id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text;
    if is_ours { Ok(id) } else { Err(NotAnId) }
}

macro_rules! identifier {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                read(text).map($name)
            }
        }
    };
}

identifier! {
    /// One auction: the key of its log, its summary and its actor.
    AuctionId
}
identifier! {
    /// One user: bidder, seller or admin.
    UserId
}

/// How many parts the logs fall into; a server owns some of them, or all.
pub const SLOTS: usize = 256;

/// One of the [`SLOTS`] parts into which logs fall by their ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u8);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Slot {
    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Slot> {
        (0..=u8::MAX).map(Slot)
    }

    /// As a place in an array of [`SLOTS`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Which of so many lanes its logs belong to.
    pub const fn lane(self, lanes: usize) -> usize {
        self.0 as usize % lanes
    }
}

/// One log: whose decisions it holds. The kinds are a closed list; each has ids of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LogId {
    /// An auction's.
    Auction(AuctionId),
}

impl LogId {
    /// The id by which Postgres knows it.
    pub const fn uuid(self) -> Uuid {
        match self {
            LogId::Auction(id) => id.0,
        }
    }

    /// Where it falls: by the last byte of its id, which is random in a UUIDv7. A stored fact depends
    /// on it (`standings.slot`): it never changes.
    pub const fn slot(self) -> Slot {
        let [.., last] = *self.uuid().as_bytes();
        Slot(last)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid().fmt(f)
    }
}

impl From<AuctionId> for LogId {
    fn from(id: AuctionId) -> LogId {
        LogId::Auction(id)
    }
}
