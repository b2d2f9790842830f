//! What can be asked of an auction.

use super::{
    event::Salt,
    standing::Offer,
    terms::{Item, Terms},
};
use crate::domain::{id::UserId, money::Amount, time::Timestamp};

/// One thing asked of an auction. Those of users carry who asks and when it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The clock reached `starts_at`.
    Open,
    /// The clock reached `ends_at`.
    Close,
    /// Somebody offers.
    PlaceBid(PlaceBid),
    /// Somebody takes the buy-now price.
    BuyNow(BuyNow),
    /// A bidder takes a mistaken bid back.
    RetractBid(RetractBid),
    /// The seller changes item or terms before the start.
    Edit(Box<Edit>),
    /// The seller calls the auction off before the start.
    Withdraw(Withdraw),
    /// An admin ends an auction that should not go on.
    CancelByOperator(CancelByOperator),
}

/// An offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceBid {
    /// Who offers.
    pub bidder: UserId,
    /// What.
    pub offer: Offer,
    /// Refuse if the log went past this sequence number.
    pub expected_seq: Option<u64>,
    /// The offer again, where the typo guard asks for it.
    pub confirm_amount: Option<Amount>,
    /// Drawn at the edge, for the commitment to a ceiling.
    pub salt: Salt,
    /// What counts for the clock.
    pub received_at: Timestamp,
}

/// Taking the buy-now price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuyNow {
    /// Who takes it.
    pub buyer: UserId,
    /// What the buyer saw; compared with ours.
    pub expected_price: Option<Amount>,
    /// What counts for the clock.
    pub received_at: Timestamp,
}

/// Taking a bid back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetractBid {
    /// Who asks.
    pub bidder: UserId,
    /// The bid's sequence number.
    pub bid_seq: u64,
    /// Why, in the bidder's words. Private.
    pub reason: String,
    /// What counts for the clock.
    pub received_at: Timestamp,
}

/// New item and terms, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Who asks; must be the seller.
    pub by: UserId,
    /// The version that the seller saw (`If-Match`); `None` for any.
    pub expected_seq: Option<u64>,
    /// The item from now on.
    pub item: Item,
    /// The terms from now on.
    pub terms: Terms,
    /// Drawn at the edge, for the commitment to the reserve.
    pub reserve_salt: Salt,
}

/// Calling an auction off before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdraw {
    /// Who asks; must be the seller.
    pub by: UserId,
    /// The version that the seller saw (`If-Match`); `None` for any.
    pub expected_seq: Option<u64>,
}

/// Ending an auction by order of the house. Whether the caller is an admin is checked at the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelByOperator {
    /// The version that the admin saw (`If-Match`); `None` for any.
    pub expected_seq: Option<u64>,
}
