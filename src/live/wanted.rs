//! What a viewer asks for: which auctions, and from where on.

use std::collections::HashMap;

use super::{
    frame::Form,
    last_event_id::{LastEventIdError, parse_all, parse_positions, parse_seq},
    positions::MARK,
    quota::QuotaUsed,
};
use crate::{domain::id::AuctionId, store::StoreError};

/// Auctions that one stream can carry.
pub const AUCTIONS_PER_STREAM_MAX: usize = 50;

/// Which stream a viewer wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// One auction; ids on the stream are `<seq>`.
    One {
        /// Whose events.
        auction: AuctionId,
        /// The last event received; without it the stream begins with a snapshot.
        last_seq: Option<u64>,
    },
    /// Many auctions; ids on the stream are `<auction_id>:<seq>`.
    Many {
        /// Whose events; duplicates are folded.
        auctions: Vec<AuctionId>,
        /// The last event received of an auction. An auction that is not named begins with a
        /// snapshot, so that nothing is silently missing; a name that is not wanted is ignored.
        last: HashMap<AuctionId, u64>,
    },
}

/// An auction, and the last event of it that was received.
pub(super) type Position = (AuctionId, Option<u64>);

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No such auction.
    #[error("the auction {0} does not exist")]
    NotFound(AuctionId),
    /// A stream of many without any.
    #[error("a stream needs at least one auction")]
    NoAuction,
    /// More than [`AUCTIONS_PER_STREAM_MAX`].
    #[error("a stream carries at most {AUCTIONS_PER_STREAM_MAX} auctions")]
    TooManyAuctions,
    /// As many streams as there may be.
    #[error(transparent)]
    QuotaUsed(#[from] QuotaUsed),
    /// The server shuts down.
    #[error("the server is shutting down")]
    Closing,
    /// Events came faster than they could be read; try again.
    #[error("the auction {0} moved on faster than it could be read")]
    Busy(AuctionId),
    /// Postgres could not be asked.
    #[error("the auction could not be read")]
    Store(#[from] StoreError),
}

impl Wanted {
    /// One auction, from where the `Last-Event-ID` says. An empty one is none.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn one(
        auction: AuctionId,
        last_event_id: Option<&str>,
    ) -> Result<Wanted, LastEventIdError> {
        let last_seq = given(last_event_id).map(parse_seq).transpose()?;
        Ok(Wanted::One { auction, last_seq })
    }

    /// Many auctions, each from where the `Last-Event-ID` says. An empty one is none.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn many(
        auctions: Vec<AuctionId>,
        last_event_id: Option<&str>,
    ) -> Result<Wanted, LastEventIdError> {
        let last = match given(last_event_id) {
            None => HashMap::new(),
            Some(text) if text.trim().starts_with(MARK) => parse_all(text, &once(&auctions))?,
            Some(text) => parse_positions(text)?,
        };
        Ok(Wanted::Many { auctions, last })
    }

    /// The auctions, each once, as a stream would carry them.
    ///
    /// # Errors
    /// When there is none, or more than a stream carries.
    pub fn auctions(self) -> Result<Vec<AuctionId>, WatchError> {
        let (_, positions) = self.folded()?;
        Ok(positions.into_iter().map(|(id, _)| id).collect())
    }

    /// The auctions, each once, in the order asked for, each with the last event received.
    pub(super) fn folded(self) -> Result<(Form, Vec<Position>), WatchError> {
        match self {
            Wanted::One { auction, last_seq } => Ok((Form::One, vec![(auction, last_seq)])),
            Wanted::Many { auctions, last } => {
                let auctions = once(&auctions);
                if auctions.len() > AUCTIONS_PER_STREAM_MAX {
                    return Err(WatchError::TooManyAuctions);
                }
                let folded: Vec<Position> =
                    auctions.into_iter().map(|id| (id, last.get(&id).copied())).collect();
                if folded.is_empty() {
                    return Err(WatchError::NoAuction);
                }
                Ok((Form::Many, folded))
            }
        }
    }
}

/// Each once, in the order asked for; one more than there may be, if there are more.
fn once(auctions: &[AuctionId]) -> Vec<AuctionId> {
    let mut folded: Vec<AuctionId> = Vec::new();
    for id in auctions {
        if folded.len() <= AUCTIONS_PER_STREAM_MAX && !folded.contains(id) {
            folded.push(*id);
        }
    }
    folded
}

fn given(header: Option<&str>) -> Option<&str> {
    header.filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<AuctionId> {
        (1..=count as u128).map(|n| AuctionId(uuid::Uuid::from_u128(n))).collect()
    }

    #[test]
    fn duplicates_are_folded_before_they_are_counted() {
        let mut auctions = ids(AUCTIONS_PER_STREAM_MAX);
        auctions.extend(ids(AUCTIONS_PER_STREAM_MAX));
        let last = HashMap::from([(auctions[3], 9)]);
        let (_, folded) = Wanted::Many { auctions, last }.folded().expect("50 auctions");
        assert_eq!(folded.len(), AUCTIONS_PER_STREAM_MAX);
        assert_eq!(folded[3].1, Some(9));
        assert_eq!(folded[4].1, None);
    }

    #[test]
    fn none_and_too_many_are_refused() {
        let wanted = |count| Wanted::many(ids(count), None).expect("no header").folded();
        assert!(matches!(wanted(0), Err(WatchError::NoAuction)));
        assert!(matches!(wanted(AUCTIONS_PER_STREAM_MAX + 1), Err(WatchError::TooManyAuctions)));
    }

    #[test]
    fn an_empty_header_is_none() {
        let auction = ids(1)[0];
        assert_eq!(Wanted::one(auction, Some(" ")), Ok(Wanted::One { auction, last_seq: None }));
        assert!(Wanted::one(auction, Some("a")).is_err());
        assert!(Wanted::many(vec![auction], Some("7")).is_err());
    }
}
