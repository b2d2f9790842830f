//! What the public halves of a log add up to, and whether each follows from those before.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::{
    super::{
        self as log, After, BidPlacedData, BidRetractedData, BoughtData, ClosedData, Minimum,
        TermsData,
    },
    Standing, Status,
};
use crate::domain::{
    auction::{BidderNo, Increment, Outcome, ResultKind},
    money::{Amount, Currency, Money},
    time::Timestamp,
};

/// The auction as its public log tells it.
pub struct Fold {
    status: Status,
    terms: Terms,
    after: After,
    reserve_met: bool,
    bidders: u32,
    /// Whose each bid is that stands, by its place in the log.
    bids: BTreeMap<u64, BidderNo>,
}

/// The public terms.
struct Terms {
    currency: Currency,
    opening_price: Amount,
    increment: Increment,
    buy_now_price: Option<Amount>,
    has_reserve: bool,
    cap: Amount,
    starts_at: Timestamp,
    last_end: Timestamp,
}

type Told<T> = Result<T, String>;

/// What must hold, and what is said where it does not.
fn require(holds: bool, otherwise: &str) -> Told<()> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn read<T: DeserializeOwned>(kind: &str, data: &str) -> Told<T> {
    serde_json::from_str(data).map_err(|error| format!("data is not that of {kind}: {error}"))
}

impl Terms {
    fn of(data: &TermsData) -> Told<Terms> {
        let increment = data.increment.clone().into_increment()?;
        Ok(Terms {
            currency: data.opening_price.currency,
            opening_price: data.opening_price.amount,
            increment,
            buy_now_price: data.buy_now_price.map(|money| money.amount),
            has_reserve: data.reserve_commitment.is_some(),
            cap: data.cap.amount,
            starts_at: data.starts_at,
            last_end: data.soft_close.map_or(data.ends_at, |soft_close| soft_close.max_ends_at),
        })
    }

    fn minimum_next_bid(&self, after: After) -> Money {
        let price = after.price.amount;
        let amount = match after.leader {
            None => self.opening_price,
            Some(_) => price.plus(self.increment.step(self.opening_price, price)),
        };
        Money { amount, currency: self.currency }
    }
}

/// Nobody has bid yet, and the price is the opening price.
fn require_untouched(terms: &Terms, after: After) -> Told<()> {
    require(
        after.leader.is_none() && after.bid_count == 0,
        "it names a leader or bids before anybody could bid",
    )?;
    require(
        after.price == Money { amount: terms.opening_price, currency: terms.currency },
        "the price is not the opening price, although nobody has bid",
    )
}

impl Fold {
    /// From the first event.
    pub fn begin(kind: &str, data: &str) -> Told<Fold> {
        require(kind == "auction.scheduled", "a log must begin with auction.scheduled")?;
        let scheduled: TermsData = read(kind, data)?;
        require(scheduled.seller_id.is_some(), "it does not name the seller")?;
        let (terms, after) =
            (Terms::of(&scheduled)?, log::after(kind, data).map_err(|e| e.to_string())?);
        require_untouched(&terms, after)?;
        Ok(Fold {
            status: Status::Scheduled,
            terms,
            after,
            reserve_met: false,
            bidders: 0,
            bids: BTreeMap::new(),
        })
    }

    /// Where the auction stands.
    pub const fn standing(&self) -> Standing {
        Standing { status: self.status, price: self.after.price, bid_count: self.after.bid_count }
    }

    /// With the next event.
    pub fn then(mut self, kind: &str, data: &str, at: Timestamp, seq: u64) -> Told<Fold> {
        match self.status {
            Status::Ended(_) => return Err("it comes after the close".into()),
            Status::Cancelled => return Err("it comes after the auction was withdrawn".into()),
            Status::Bought if kind != "auction.closed" => {
                return Err("the auction was bought, but is not closed next".into());
            }
            Status::Bought | Status::Scheduled | Status::Live => {}
        }
        let after =
            log::after(kind, data).map_err(|error| format!("data is not an event's: {error}"))?;
        match kind {
            "auction.scheduled" => return Err("it is scheduled a second time".into()),
            "auction.edited" => self.edited(&read(kind, data)?, after)?,
            "auction.withdrawn" => self.withdrawn(after)?,
            "auction.opened" => self.opened(after, at)?,
            "auction.extended" => self.extended(after)?,
            "bid.placed" => self.bid_placed(&read(kind, data)?, after, seq)?,
            "bid.retracted" => self.bid_retracted(&read(kind, data)?, after)?,
            "auction.bought" => self.bought(&read(kind, data)?, after)?,
            "auction.closed" => self.closed(&read(kind, data)?, after, at)?,
            _ => return Err(format!("type {kind:?} is unknown to this version of Hoga")),
        }
        self.after = after;
        Ok(self)
    }

    fn require_scheduled(&self) -> Told<()> {
        require(self.status == Status::Scheduled, "the auction has opened already")
    }

    fn require_live(&self) -> Told<()> {
        require(self.status == Status::Live, "the auction is not open")
    }

    fn require_unmoved(&self, after: After) -> Told<()> {
        require(
            After { minimum_next_bid: self.after.minimum_next_bid, ..after } == self.after,
            "price, leader, bids or end changed, which this event cannot do",
        )
    }

    fn require_end_unmoved(&self, after: After) -> Told<()> {
        require(after.ends_at == self.after.ends_at, "the end moved, which takes auction.extended")
    }

    fn require_in_time(&self, received_at: Timestamp) -> Told<()> {
        require(
            received_at >= self.terms.starts_at && received_at < self.after.ends_at,
            "it was received before the start or at or after the end",
        )
    }

    fn edited(&mut self, edited: &TermsData, after: After) -> Told<()> {
        self.require_scheduled()?;
        self.terms = Terms::of(edited)?;
        require_untouched(&self.terms, after)
    }

    fn withdrawn(&mut self, after: After) -> Told<()> {
        self.require_scheduled()?;
        self.status = Status::Cancelled;
        self.require_unmoved(after)
    }

    fn opened(&mut self, after: After, at: Timestamp) -> Told<()> {
        self.require_scheduled()?;
        require(at >= self.terms.starts_at, "it opened before its start")?;
        self.status = Status::Live;
        self.require_unmoved(after)
    }

    fn extended(&self, after: After) -> Told<()> {
        self.require_live()?;
        require(after.ends_at > self.after.ends_at, "the end did not move on")?;
        require(after.ends_at <= self.terms.last_end, "the end is after the last one allowed")?;
        if after.minimum_next_bid != Minimum::AsBefore {
            self.require_minimum(after.minimum(), after)?;
        }
        self.require_unmoved(After { ends_at: self.after.ends_at, ..after })
    }

    fn bid_placed(&mut self, bid: &BidPlacedData, after: After, seq: u64) -> Told<()> {
        self.require_live()?;
        self.require_in_time(bid.received_at)?;
        self.require_end_unmoved(after)?;
        self.require_price_kept(after)?;
        require(after.bid_count == self.after.bid_count + 1, "bid_count does not count the bid")?;
        self.meet(bid.bidder.0)?;
        let leads = after.leader == Some(bid.bidder.0);
        match bid.outcome {
            Outcome::Leading => require(leads, "the outcome is leading, but somebody else leads")?,
            Outcome::Outbid => require(
                !leads && after.leader.is_some() && after.leader == self.after.leader,
                "the outcome is outbid, but the leader is not who led before",
            )?,
            Outcome::Bought => return Err("a bid that buys is told as auction.bought".into()),
        }
        match (bid.amount, bid.ceiling_commitment) {
            (Some(amount), None) => require(
                !leads || amount == after.price,
                "an exact bid leads, but the price is another",
            )?,
            (None, Some(_)) => {}
            (Some(_), Some(_)) | (None, None) => {
                return Err("it must show either an amount or a commitment".into());
            }
        }
        self.require_minimum(bid.minimum_next_bid, after)?;
        let reserve_met = self.reserve_met_after(bid.reserve_met, after)?;
        require(reserve_met || self.terms.has_reserve, "there is no reserve to be met")?;
        require(reserve_met || !self.reserve_met, "the reserve was met already")?;
        self.reserve_met = reserve_met;
        self.bids.insert(seq, bid.bidder.0);
        Ok(())
    }

    fn require_price_kept(&self, after: After) -> Told<()> {
        require(after.price.currency == self.terms.currency, "the currency changed")?;
        require(after.price.amount >= self.after.price.amount, "the price fell")
    }

    /// Null where it is above the cap; earlier versions wrote it there, too.
    fn require_minimum(&self, minimum: Option<Money>, after: After) -> Told<()> {
        let expected = self.terms.minimum_next_bid(after);
        require(
            minimum.map_or(expected.amount > self.terms.cap, |minimum| minimum == expected),
            "minimum_next_bid does not follow from the price",
        )
    }

    /// Null where there is no reserve; then what earlier versions wrote follows from the lead.
    fn reserve_met_after(&self, told: Option<bool>, after: After) -> Told<bool> {
        require(
            told.is_some() || !self.terms.has_reserve,
            "it does not say whether the reserve is met",
        )?;
        Ok(told.unwrap_or(after.leader.is_some()))
    }

    /// Bidders are numbered in the order of their first bid.
    fn meet(&mut self, bidder: BidderNo) -> Told<()> {
        require(
            (1..=self.bidders + 1).contains(&bidder.0),
            "the bidder's number is not the next one, nor one that was there",
        )?;
        self.bidders = self.bidders.max(bidder.0);
        Ok(())
    }

    fn bid_retracted(&mut self, retracted: &BidRetractedData, after: After) -> Told<()> {
        self.require_live()?;
        self.require_end_unmoved(after)?;
        require(
            self.bids.remove(&retracted.bid_seq) == Some(retracted.bidder.0),
            "no bid of that bidder stands at bid_seq",
        )?;
        require(
            after.bid_count.checked_add(1) == Some(self.after.bid_count),
            "bid_count does not count the retraction",
        )?;
        require(
            after.leader.is_some() == (after.bid_count > 0),
            "there is a leader without a bid, or a bid without a leader",
        )?;
        require(after.price.currency == self.terms.currency, "the currency changed")?;
        self.require_minimum(retracted.minimum_next_bid, after)?;
        self.reserve_met = self.reserve_met_after(retracted.reserve_met, after)?;
        Ok(())
    }

    fn bought(&mut self, bought: &BoughtData, after: After) -> Told<()> {
        self.require_live()?;
        self.require_in_time(bought.received_at)?;
        self.require_end_unmoved(after)?;
        self.meet(bought.buyer.0)?;
        require(after.leader == Some(bought.buyer.0), "the buyer does not lead")?;
        require(after.bid_count == self.after.bid_count, "bid_count changed without a bid")?;
        require(
            Some(after.price.amount) == self.terms.buy_now_price
                && after.price.currency == self.terms.currency,
            "the price is not the buy-now price",
        )?;
        self.status = Status::Bought;
        Ok(())
    }

    fn closed(&mut self, closed: &ClosedData, after: After, at: Timestamp) -> Told<()> {
        require(self.status != Status::Scheduled, "the auction has not opened")?;
        self.require_unmoved(after)?;
        let was_bought = self.status == Status::Bought;
        let leader = after.leader;
        let (possible, has_winner) = match closed.result {
            ResultKind::Sold => (
                !was_bought && leader.is_some() && (self.reserve_met || !self.terms.has_reserve),
                true,
            ),
            ResultKind::UnsoldNoBids => (!was_bought && leader.is_none(), false),
            ResultKind::UnsoldReserveNotMet => {
                (!was_bought && leader.is_some() && !self.reserve_met, false)
            }
            ResultKind::BoughtNow => (was_bought, true),
            ResultKind::CancelledByOperator => (!was_bought, false),
        };
        require(possible, "the result does not follow from the bids")?;
        let winner = leader.filter(|_| has_winner);
        let hammer_price = has_winner.then_some(after.price);
        require(
            closed.winner.map(|winner| winner.0) == winner,
            "the winner is not the last leader",
        )?;
        require(closed.hammer_price == hammer_price, "the hammer price is not the last price")?;
        require(
            closed.runner_up.is_none_or(|second| {
                Some(second.0) != winner && self.bids.values().any(|bidder| *bidder == second.0)
            }),
            "no bid of the runner-up stands",
        )?;
        let by_the_clock =
            !matches!(closed.result, ResultKind::BoughtNow | ResultKind::CancelledByOperator);
        require(!by_the_clock || at >= after.ends_at, "it closed before its end")?;
        self.status = Status::Ended(closed.result);
        Ok(())
    }
}
