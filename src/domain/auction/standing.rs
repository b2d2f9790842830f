//! Where price and lead stand, and what one more offer does to them: proxy bidding itself.

use super::{state::BidderNo, terms::Terms};
use crate::domain::money::Amount;

/// What a bidder offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// The price itself (`amount`). Public.
    Exact(Amount),
    /// The exchange bids up to it (`max_amount`). Private to the bidder.
    Ceiling(Amount),
}

impl Offer {
    /// The most that the bidder would pay.
    pub const fn limit(self) -> Amount {
        match self {
            Offer::Exact(amount) | Offer::Ceiling(amount) => amount,
        }
    }
}

/// Who would win now, and how far they would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// Which bidder of this auction.
    pub bidder: BidderNo,
    /// The most they would pay. Private.
    pub ceiling: Amount,
}

/// Where an auction stands between two bids: all that the next offer is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The visible price; the opening price while nobody leads.
    pub price: Amount,
    /// Who would win now.
    pub leader: Option<Leader>,
    /// Whether the leader's ceiling reaches the reserve; true without a reserve once somebody leads.
    pub reserve_met: bool,
}

impl Standing {
    /// Before the first bid.
    pub fn at_opening(terms: &Terms) -> Standing {
        Standing { price: terms.opening_price, leader: None, reserve_met: false }
    }

    /// The least that a bid from somebody who does not lead must offer.
    pub fn minimum_next_bid(&self, terms: &Terms) -> Amount {
        match self.leader {
            None => terms.opening_price,
            Some(_) => self.price.plus(terms.step(self.price)),
        }
    }

    /// The standing after an offer that was accepted. The leader's own offer only raises the ceiling.
    #[must_use]
    pub fn after(self, terms: &Terms, bidder: BidderNo, offer: Offer) -> Standing {
        let standing = match self.leader {
            None => self.first(terms, bidder, offer),
            Some(leader) if leader.bidder == bidder => self.raised(leader, offer),
            Some(leader) if offer.limit() > leader.ceiling => {
                self.overtaken(terms, leader, bidder, offer)
            }
            Some(leader) => self.defended(terms, leader, offer),
        };
        standing.lifted_to_reserve(terms)
    }

    fn first(self, terms: &Terms, bidder: BidderNo, offer: Offer) -> Standing {
        let price = match offer {
            Offer::Exact(amount) => amount,
            Offer::Ceiling(_) => terms.opening_price,
        };
        Standing { price, leader: Some(Leader { bidder, ceiling: offer.limit() }), ..self }
    }

    /// A leader's exact bid is refused when it is placed, but one that once bid against somebody
    /// else meets its own bidder here when that bid was retracted: it still is the price itself,
    /// or the exchange would bid up to it for somebody who never named a ceiling.
    fn raised(self, leader: Leader, offer: Offer) -> Standing {
        let ceiling = leader.ceiling.max(offer.limit());
        let price = match offer {
            Offer::Exact(amount) => amount.max(self.price),
            Offer::Ceiling(_) => self.price,
        };
        Standing { price, leader: Some(Leader { ceiling, ..leader }), ..self }
    }

    /// The newcomer leads, at the price that beats the old ceiling, or at what they named exactly.
    fn overtaken(self, terms: &Terms, beaten: Leader, by: BidderNo, offer: Offer) -> Standing {
        let price = match offer {
            Offer::Exact(amount) => amount,
            Offer::Ceiling(ceiling) => ceiling.min(beaten.ceiling.plus(terms.step(beaten.ceiling))),
        };
        let leader = Leader { bidder: by, ceiling: offer.limit() };
        Standing { price: price.max(self.price), leader: Some(leader), ..self }
    }

    /// The leader stays, being higher or earlier, at the price that beats the newcomer.
    fn defended(self, terms: &Terms, leader: Leader, offer: Offer) -> Standing {
        let limit = offer.limit();
        let price = leader.ceiling.min(limit.plus(terms.step(limit)));
        Standing { price: price.max(self.price), ..self }
    }

    fn lifted_to_reserve(mut self, terms: &Terms) -> Standing {
        let Some(leader) = self.leader else { return self };
        self.reserve_met = terms.reserve_price.is_none_or(|reserve| leader.ceiling >= reserve);
        if let Some(reserve) = terms.reserve_price.filter(|_| self.reserve_met) {
            self.price = self.price.max(reserve);
        }
        self
    }
}
