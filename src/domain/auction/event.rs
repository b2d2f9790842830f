//! What was decided: facts, in the past tense. The log is a list of these.

use serde::{Deserialize, Serialize};

use super::{
    standing::{Offer, Standing},
    state::BidderNo,
    terms::{Item, Terms},
};
use crate::domain::{
    id::{AuctionId, UserId},
    money::Amount,
    time::Timestamp,
    words::words,
};

/// Sixteen random bytes that hide a ceiling or a reserve behind its commitment.
pub type Salt = [u8; 16];

/// A fact that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `auction.scheduled`: the first of every log.
    Scheduled(Box<Scheduled>),
    /// `auction.edited`
    Edited(Box<Edited>),
    /// `auction.withdrawn`: called off before it opened.
    Withdrawn,
    /// `auction.opened`
    Opened,
    /// `bid.placed`
    BidPlaced(BidPlaced),
    /// `bid.retracted`
    BidRetracted(Box<BidRetracted>),
    /// `auction.extended`
    Extended {
        /// The new end.
        ends_at: Timestamp,
    },
    /// `auction.bought`: somebody took the buy-now price.
    Bought(Bought),
    /// `auction.closed`: nothing is decided after it.
    Closed(Closed),
}

impl Event {
    /// Every type, as [`Event::kind`] says it.
    pub const KINDS: [&'static str; 9] = [
        "auction.scheduled",
        "auction.edited",
        "auction.withdrawn",
        "auction.opened",
        "bid.placed",
        "bid.retracted",
        "auction.extended",
        "auction.bought",
        "auction.closed",
    ];

    /// The type as it stands in the log, on the bus and in streams.
    pub const fn kind(&self) -> &'static str {
        match self {
            Event::Scheduled(_) => "auction.scheduled",
            Event::Edited(_) => "auction.edited",
            Event::Withdrawn => "auction.withdrawn",
            Event::Opened => "auction.opened",
            Event::BidPlaced(_) => "bid.placed",
            Event::BidRetracted(_) => "bid.retracted",
            Event::Extended { .. } => "auction.extended",
            Event::Bought(_) => "auction.bought",
            Event::Closed(_) => "auction.closed",
        }
    }
}

/// An auction came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// Whose item it is.
    pub seller: UserId,
    /// What is sold.
    pub item: Item,
    /// How.
    pub terms: Terms,
    /// The unsold auction that this one takes up again.
    pub relisted_from: Option<AuctionId>,
    /// Hides the reserve behind its commitment.
    pub reserve_salt: Salt,
}

/// Item and terms changed before the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// What is sold from now on.
    pub item: Item,
    /// How from now on.
    pub terms: Terms,
    /// Hides the reserve behind its commitment.
    pub reserve_salt: Salt,
}

/// What an accepted bid came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The bidder leads.
    Leading,
    /// Accepted, but a higher or earlier ceiling stands.
    Outbid,
    /// It met the buy-now price and ended the auction.
    Bought,
}

/// A bid was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BidPlaced {
    /// Who. Private; the log shows the alias.
    pub bidder: UserId,
    /// Their number in this auction, from which the alias is made.
    pub bidder_no: BidderNo,
    /// What they offered. A ceiling is private.
    pub offer: Offer,
    /// For the commitment to a ceiling.
    pub salt: Salt,
    /// What it came to.
    pub outcome: Outcome,
    /// Price and lead from now on.
    pub standing: Standing,
    /// What counted for the clock.
    pub received_at: Timestamp,
}

/// A bid was taken back; price and lead were recomputed from the bids that remain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BidRetracted {
    /// The bid's sequence number.
    pub bid_seq: u64,
    /// Whose it was.
    pub bidder_no: BidderNo,
    /// Why. Private.
    pub reason: String,
    /// Price and lead from now on.
    pub standing: Standing,
}

/// Somebody took the buy-now price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bought {
    /// Who. Private; the log shows the alias.
    pub buyer: UserId,
    /// Their number in this auction.
    pub buyer_no: BidderNo,
    /// For how much.
    pub price: Amount,
    /// What counted for the clock.
    pub received_at: Timestamp,
}

/// The auction is over, with its result as stored facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// How it ended.
    pub result: ResultKind,
    /// Who won, and at which hammer price.
    pub winner: Option<Hammer>,
    /// Who came second.
    pub runner_up: Option<RunnerUp>,
}

words! {
    /// How an auction ended (RULES, "States").
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum ResultKind {
        /// To the leader at the end.
        Sold = "sold",
        /// Nobody bid.
        UnsoldNoBids = "unsold_no_bids",
        /// Somebody bid, but less than the reserve.
        UnsoldReserveNotMet = "unsold_reserve_not_met",
        /// To the first who took the buy-now price.
        BoughtNow = "bought_now",
        /// By order of the house.
        CancelledByOperator = "cancelled_by_operator",
    }
}

impl ResultKind {
    /// Whether it ran to its end and nobody has it.
    pub const fn is_unsold(self) -> bool {
        matches!(self, ResultKind::UnsoldNoBids | ResultKind::UnsoldReserveNotMet)
    }

    /// Whether somebody has it.
    pub const fn is_sold(self) -> bool {
        matches!(self, ResultKind::Sold | ResultKind::BoughtNow)
    }
}

/// The winner and the hammer price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hammer {
    /// Who. Private; the log shows the alias.
    pub user: UserId,
    /// Their number in this auction.
    pub bidder_no: BidderNo,
    /// What they pay.
    pub price: Amount,
}

/// Who came second, and the most they offered: what a second-chance offer is made at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerUp {
    /// Who. Private; the log shows the alias.
    pub user: UserId,
    /// Their number in this auction.
    pub bidder_no: BidderNo,
    /// Their highest standing bid. Private.
    pub highest_bid: Amount,
}
