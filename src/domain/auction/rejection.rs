//! Why an auction says no: answers, not failures.

use serde::{Deserialize, Serialize};

use crate::domain::{money::Amount, time::Timestamp};

/// A command that was refused by the rules; nothing happened. In order of precedence: the first
/// that applies is the answer. Kept with its receipt, so a retry hears the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Rejection {
    /// Not open yet, or called off before it opened.
    #[error("the auction is not live")]
    AuctionNotLive {
        /// When it opens, if it will.
        starts_at: Option<Timestamp>,
    },
    /// Received at or after the end, or ended otherwise.
    #[error("the auction has ended")]
    AuctionEnded,
    /// Sellers do not bid on their own auctions.
    #[error("sellers do not bid on their own auctions")]
    OwnAuction,
    /// The log went past the caller's `expected_seq`, or the price differs from the one named.
    #[error("the auction has moved since the caller looked")]
    PriceMoved,
    /// Over the cap.
    #[error("the offer is over the cap of {cap}")]
    OverCap {
        /// The highest offer that is accepted.
        cap: Amount,
    },
    /// The leader lowers the ceiling, repeats it, or places an exact bid.
    #[error("the bidder already leads; only a higher ceiling is accepted")]
    AlreadyLeading,
    /// Below the minimum next bid.
    #[error("the offer is below the minimum next bid of {minimum}")]
    BidTooLow {
        /// The least that is accepted.
        minimum: Amount,
    },
    /// So far above the minimum that it may be a slip of the hand.
    #[error("an offer this far above the minimum needs confirm_amount equal to it")]
    ConfirmationRequired,
    /// The bidder has used up their bids.
    #[error("the bidder has placed all {max} bids that this auction allows")]
    BidLimitReached {
        /// How many the terms allow.
        max: u32,
    },
    /// There is no buy-now price, or it has gone away.
    #[error("the auction cannot be bought now")]
    BuyNowUnavailable,
    /// No bid stands at that sequence number.
    #[error("there is no bid with that sequence number")]
    BidNotFound,
    /// The bid is somebody else's.
    #[error("the bid is somebody else's")]
    NotYourBid,
    /// It was taken back before.
    #[error("the bid was retracted before")]
    BidAlreadyRetracted,
    /// Within the last twelve hours, and more than an hour after the bid.
    #[error("the bid can no longer be retracted")]
    RetractionTooLate,
    /// Only the seller may.
    #[error("the auction is somebody else's")]
    NotYourAuction,
    /// The auction changed since the caller read it.
    #[error("the auction changed since it was read")]
    StaleVersion,
    /// Not `scheduled` any more.
    #[error("the auction can be changed only while it is scheduled")]
    NotEditable,
    /// Its seller has used up the edits.
    #[error("the auction was edited {max} times already, which is as often as it can be")]
    EditLimitReached {
        /// How many there are.
        max: u32,
    },
    /// An opening or closing came before its time, or a second time.
    #[error("nothing is due")]
    NotDue,
}
