//! A naive model of one auction, written from RULES.md alone.
//!
//! It keeps the bids as they were made and works out price, lead and reserve from scratch each
//! time it is asked, in plain integers that cannot overflow. It must never call the decision or
//! the standing of the domain: then it would only agree with itself.

use hoga::domain::{
    auction::{
        Closed, Command, Hammer, Increment, Offer, PlaceBid, Rejection, ResultKind, RetractBid,
        SoftCloseMode, Terms, increment::Table,
    },
    id::UserId,
    money::Amount,
    time::Timestamp,
};

const CENTS: i128 = 100;
/// RULES, "Increments": upper bound and step, in dollars and cents.
const EBAY_USD: &[(i128, i128)] = &[
    (CENTS, 5),
    (5 * CENTS, 25),
    (25 * CENTS, 50),
    (100 * CENTS, CENTS),
    (250 * CENTS, 250),
    (500 * CENTS, 5 * CENTS),
    (1_000 * CENTS, 10 * CENTS),
    (2_500 * CENTS, 25 * CENTS),
    (5_000 * CENTS, 50 * CENTS),
    (i128::MAX, 100 * CENTS),
];
const WON: &[(i128, i128)] = &[
    (10_000, 100),
    (50_000, 1_000),
    (100_000, 2_500),
    (500_000, 5_000),
    (1_000_000, 10_000),
    (5_000_000, 50_000),
    (10_000_000, 100_000),
    (i128::MAX, 500_000),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Scheduled,
    Live,
    Over(ResultKind),
    CalledOff,
}

#[derive(Debug, Clone, Copy)]
struct Made {
    seq: u64,
    by: UserId,
    most: i128,
    exact: bool,
    at: i64,
    gone: bool,
}

#[derive(Debug, Clone)]
pub struct Model {
    seller: UserId,
    terms: Terms,
    pub phase: Phase,
    pub seq: u64,
    pub ends_at: i64,
    bids: Vec<Made>,
    buy_now_gone: bool,
    /// Who bought, and at what.
    bought: Option<(UserId, i128)>,
    pub closes: u32,
    pub closed: Option<Closed>,
}

fn plain(amount: Amount) -> i128 {
    i128::from(amount.minor_units())
}

/// Back from a plain integer; what is above every amount is written as the largest.
pub fn amount(plain: i128) -> Amount {
    let held = plain.min(i128::from(Amount::MAX.minor_units()));
    Amount::new(i64::try_from(held).expect("held")).expect("prices are positive")
}

fn not_live(starts_at: Timestamp) -> Rejection {
    Rejection::AuctionNotLive { starts_at: Some(starts_at) }
}

impl Model {
    pub fn new(seller: UserId, terms: Terms) -> Model {
        Model {
            seller,
            phase: Phase::Scheduled,
            seq: 1,
            ends_at: terms.ends_at.as_millis(),
            terms,
            bids: Vec::new(),
            buy_now_gone: false,
            bought: None,
            closes: 0,
            closed: None,
        }
    }

    fn step(&self, price: i128) -> i128 {
        let opening = plain(self.terms.opening_price);
        let look_up = |table: &[(i128, i128)]| {
            let (_, step) = table.iter().find(|(below, _)| price < *below).expect("open-ended");
            *step
        };
        match &self.terms.increment {
            Increment::Fixed(step) => plain(*step),
            Increment::PercentOfOpening { basis_points } => {
                let product = opening * i128::from(*basis_points);
                let whole = product / 10_000;
                (if product % 10_000 == 0 { whole } else { whole + 1 }).max(1)
            }
            Increment::Table(Table::EbayUsd) => look_up(EBAY_USD),
            Increment::Table(Table::Won) => look_up(WON),
            Increment::Table(Table::Own(rules)) => {
                let rules: Vec<_> = rules
                    .iter()
                    .map(|rule| (rule.below.map_or(i128::MAX, plain), plain(rule.step)))
                    .collect();
                look_up(&rules)
            }
        }
    }

    fn standing(&self) -> Vec<Made> {
        self.bids.iter().copied().filter(|bid| !bid.gone).collect()
    }

    /// The highest, and the earliest among equals.
    fn highest(bids: &[Made]) -> Option<Made> {
        let most = bids.iter().map(|bid| bid.most).max()?;
        bids.iter().copied().find(|bid| bid.most == most)
    }

    pub fn leader(&self) -> Option<(UserId, Amount)> {
        if let Some((buyer, price)) = self.bought {
            return Some((buyer, amount(price)));
        }
        Self::highest(&self.standing()).map(|bid| (bid.by, amount(bid.most)))
    }

    pub fn reserve_met(&self) -> bool {
        let Some(highest) = Self::highest(&self.standing()) else { return self.bought.is_some() };
        self.bought.is_some()
            || self.terms.reserve_price.is_none_or(|reserve| highest.most >= plain(reserve))
    }

    /// What each bid in turn demands of the price, given those before it: the price is the most
    /// that any of them demanded, for it never falls.
    fn price_plain(&self) -> i128 {
        if let Some((_, price)) = self.bought {
            return price;
        }
        let bids = self.standing();
        let mut price = plain(self.terms.opening_price);
        for (place, bid) in bids.iter().enumerate() {
            price = price.max(match Self::highest(&bids[..place]) {
                _ if bid.exact
                    && Self::highest(&bids[..=place]).map(|b| b.seq) == Some(bid.seq) =>
                {
                    bid.most
                }
                Some(before) if before.by != bid.by => {
                    let (lower, higher) = (before.most.min(bid.most), before.most.max(bid.most));
                    higher.min(lower + self.step(lower))
                }
                Some(_) | None => 0,
            });
        }
        match self.terms.reserve_price {
            Some(reserve) if self.reserve_met() => price.max(plain(reserve)),
            Some(_) | None => price,
        }
    }

    pub fn price(&self) -> Amount {
        amount(self.price_plain())
    }

    fn minimum_plain(&self) -> i128 {
        match self.leader() {
            None => plain(self.terms.opening_price),
            Some(_) => self.price_plain() + self.step(self.price_plain()),
        }
    }

    pub fn minimum(&self) -> Amount {
        amount(self.minimum_plain())
    }

    pub fn bid_count(&self) -> usize {
        self.standing().len()
    }

    pub fn last_bid_of(&self, user: UserId, back: usize) -> Option<u64> {
        self.bids.iter().rev().filter(|bid| bid.by == user).nth(back).map(|bid| bid.seq)
    }

    pub fn buy_now_stands(&self) -> bool {
        self.terms.buy_now_price.is_some()
            && !self.buy_now_gone
            && matches!(self.phase, Phase::Scheduled | Phase::Live)
    }

    /// What the rules answer; when they accept, the model has moved on.
    pub fn answer(&mut self, command: &Command, now: Timestamp) -> Result<(), Rejection> {
        let mut next = self.clone();
        next.decide(command, now)?;
        *self = next;
        Ok(())
    }

    fn decide(&mut self, command: &Command, now: Timestamp) -> Result<(), Rejection> {
        let starts_at = self.terms.starts_at;
        match command {
            Command::Open if self.phase == Phase::Scheduled && now >= starts_at => self.open(),
            Command::Close if self.is_open() && now.as_millis() >= self.ends_at => {
                self.open_if_scheduled();
                self.close_at_the_end();
            }
            Command::Open | Command::Close => return Err(Rejection::NotDue),
            Command::PlaceBid(bid) => {
                // What the bidder saw was before the opening that the bid may bring about.
                let stood_at = self.seq;
                self.open_if_due(bid.received_at);
                self.place(bid, stood_at)?;
            }
            Command::BuyNow(buy) => {
                self.open_if_due(buy.received_at);
                self.in_time(buy.received_at)?;
                if buy.buyer == self.seller {
                    return Err(Rejection::OwnAuction);
                }
                let price = self.terms.buy_now_price.filter(|_| self.buy_now_stands());
                let price = price.ok_or(Rejection::BuyNowUnavailable)?;
                if buy.expected_price.is_some_and(|seen| seen != price) {
                    return Err(Rejection::PriceMoved);
                }
                self.buy(buy.buyer, price);
            }
            Command::RetractBid(retraction) => self.retract(retraction)?,
            Command::Edit(edit) => {
                self.may_change(edit.by, edit.expected_seq, now)?;
                self.terms = edit.terms.clone();
                self.ends_at = self.terms.ends_at.as_millis();
                self.seq += 1;
            }
            Command::Withdraw(withdraw) => {
                self.may_change(withdraw.by, withdraw.expected_seq, now)?;
                self.phase = Phase::CalledOff;
                self.seq += 1;
            }
            Command::CancelByOperator(cancel) => self.cancel(cancel.expected_seq, now)?,
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Scheduled | Phase::Live)
    }

    fn open(&mut self) {
        self.phase = Phase::Live;
        self.seq += 1;
    }

    fn open_if_scheduled(&mut self) {
        if self.phase == Phase::Scheduled {
            self.open();
        }
    }

    fn open_if_due(&mut self, at: Timestamp) {
        if at >= self.terms.starts_at {
            self.open_if_scheduled();
        }
    }

    fn in_time(&self, at: Timestamp) -> Result<(), Rejection> {
        match self.phase {
            Phase::CalledOff => Err(Rejection::AuctionNotLive { starts_at: None }),
            Phase::Over(_) => Err(Rejection::AuctionEnded),
            Phase::Scheduled => Err(not_live(self.terms.starts_at)),
            Phase::Live if at < self.terms.starts_at => Err(not_live(self.terms.starts_at)),
            Phase::Live if at.as_millis() >= self.ends_at => Err(Rejection::AuctionEnded),
            Phase::Live => Ok(()),
        }
    }

    fn place(&mut self, bid: &PlaceBid, stood_at: u64) -> Result<(), Rejection> {
        self.in_time(bid.received_at)?;
        let most = plain(bid.offer.limit());
        let refusal = if bid.bidder == self.seller {
            Some(Rejection::OwnAuction)
        } else if bid.expected_seq.is_some_and(|seen| seen != stood_at) {
            Some(Rejection::PriceMoved)
        } else if bid.offer.limit() > self.terms.cap {
            Some(Rejection::OverCap { cap: self.terms.cap })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let buys =
            self.terms.buy_now_price.filter(|price| self.buy_now_stands() && most >= plain(*price));
        if buys.is_none() {
            self.is_enough(bid)?;
        }
        let far = most > 1_000_000 && most > 10 * self.minimum_plain();
        if far && bid.confirm_amount != Some(bid.offer.limit()) {
            return Err(Rejection::ConfirmationRequired);
        }
        let so_far = self.bids.iter().filter(|made| made.by == bid.bidder).count();
        if let Some(max) = self.terms.bids_per_bidder_max
            && so_far >= max as usize
        {
            return Err(Rejection::BidLimitReached { max });
        }
        match buys {
            Some(price) => self.buy(bid.bidder, price),
            None => self.keep(bid),
        }
        Ok(())
    }

    fn is_enough(&self, bid: &PlaceBid) -> Result<(), Rejection> {
        match self.leader() {
            Some((leader, most)) if leader == bid.bidder => match bid.offer {
                Offer::Ceiling(raised) if raised > most => Ok(()),
                Offer::Ceiling(_) | Offer::Exact(_) => Err(Rejection::AlreadyLeading),
            },
            Some(_) | None if plain(bid.offer.limit()) < self.minimum_plain() => {
                Err(Rejection::BidTooLow { minimum: self.minimum() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn keep(&mut self, bid: &PlaceBid) {
        let (price_before, nobody_led) = (self.price_plain(), self.leader().is_none());
        self.seq += 1;
        self.bids.push(Made {
            seq: self.seq,
            by: bid.bidder,
            most: plain(bid.offer.limit()),
            exact: matches!(bid.offer, Offer::Exact(_)),
            at: bid.received_at.as_millis(),
            gone: false,
        });
        self.buy_now_gone |= self.terms.reserve_price.is_none() || self.reserve_met();
        if nobody_led || self.price_plain() > price_before {
            self.extend(bid.received_at.as_millis());
        }
    }

    fn extend(&mut self, at: i64) {
        let Some(soft) = self.terms.soft_close else { return };
        let ms = |seconds: u32| i64::from(seconds) * 1_000;
        if self.ends_at - at > ms(soft.trigger_window_s) {
            return;
        }
        let moved = ms(soft.extension_s)
            + match soft.mode {
                SoftCloseMode::Extend => self.ends_at,
                SoftCloseMode::Reset => at,
            };
        let moved = moved.min(soft.max_ends_at.as_millis());
        if moved > self.ends_at {
            self.ends_at = moved;
            self.seq += 1;
        }
    }

    fn retract(&mut self, asked: &RetractBid) -> Result<(), Rejection> {
        self.in_time(asked.received_at)?;
        let ends_at = self.ends_at;
        let bid = self.bids.iter_mut().find(|bid| bid.seq == asked.bid_seq);
        let bid = bid.ok_or(Rejection::BidNotFound)?;
        let at = asked.received_at.as_millis();
        const HOUR_MS: i64 = 3_600_000;
        if bid.by != asked.bidder {
            Err(Rejection::NotYourBid)
        } else if bid.gone {
            Err(Rejection::BidAlreadyRetracted)
        } else if ends_at - at < 12 * HOUR_MS && at - bid.at > HOUR_MS {
            Err(Rejection::RetractionTooLate)
        } else {
            bid.gone = true;
            self.seq += 1;
            Ok(())
        }
    }

    fn may_change(&self, by: UserId, seen: Option<u64>, now: Timestamp) -> Result<(), Rejection> {
        if by != self.seller {
            Err(Rejection::NotYourAuction)
        } else if seen.is_some_and(|seen| seen != self.seq) {
            Err(Rejection::StaleVersion)
        } else if self.phase != Phase::Scheduled || now >= self.terms.starts_at {
            Err(Rejection::NotEditable)
        } else {
            Ok(())
        }
    }

    fn cancel(&mut self, seen: Option<u64>, now: Timestamp) -> Result<(), Rejection> {
        if seen.is_some_and(|seen| seen != self.seq) {
            return Err(Rejection::StaleVersion);
        }
        match self.phase {
            Phase::CalledOff => return Err(Rejection::NotEditable),
            Phase::Over(_) => return Err(Rejection::AuctionEnded),
            Phase::Scheduled | Phase::Live => {}
        }
        if now.as_millis() >= self.ends_at {
            return Err(Rejection::AuctionEnded);
        }
        if self.phase == Phase::Scheduled && now < self.terms.starts_at {
            self.phase = Phase::CalledOff;
            self.seq += 1;
            return Ok(());
        }
        self.open_if_scheduled();
        self.close(ResultKind::CancelledByOperator, None);
        Ok(())
    }

    fn buy(&mut self, buyer: UserId, price: Amount) {
        self.seq += 1;
        self.bought = Some((buyer, plain(price)));
        self.close(ResultKind::BoughtNow, Some((buyer, price)));
    }

    fn close_at_the_end(&mut self) {
        match self.leader() {
            None => self.close(ResultKind::UnsoldNoBids, None),
            Some(_) if !self.reserve_met() => self.close(ResultKind::UnsoldReserveNotMet, None),
            Some((leader, _)) => self.close(ResultKind::Sold, Some((leader, self.price()))),
        }
    }

    fn close(&mut self, result: ResultKind, winner: Option<(UserId, Amount)>) {
        self.seq += 1;
        self.phase = Phase::Over(result);
        self.closes += 1;
        let second = winner.and_then(|(winner, _)| {
            let others: Vec<_> =
                self.standing().into_iter().filter(|bid| bid.by != winner).collect();
            Self::highest(&others)
        });
        // Numbers within the auction are the domain's own affair: compared by user alone.
        let no = hoga::domain::auction::BidderNo(0);
        self.closed = Some(Closed {
            result,
            winner: winner.map(|(user, price)| Hammer { user, bidder_no: no, price }),
            runner_up: second.map(|bid| hoga::domain::auction::RunnerUp {
                user: bid.by,
                bidder_no: no,
                highest_bid: amount(bid.most),
            }),
        });
    }

    /// An offer near the places where rules change.
    pub fn landmark(&self, landmark: Landmark) -> i128 {
        let or_minimum = |amount: Option<Amount>| amount.map_or(self.minimum_plain(), plain);
        match landmark {
            Landmark::Minimum => self.minimum_plain(),
            Landmark::Price => self.price_plain(),
            Landmark::LeadersCeiling => or_minimum(self.leader().map(|(_, most)| most)),
            Landmark::TenTimesMinimum => 10 * self.minimum_plain(),
            Landmark::Million => 1_000_000,
            Landmark::Reserve => or_minimum(self.terms.reserve_price),
            Landmark::BuyNow => or_minimum(self.terms.buy_now_price),
            Landmark::Cap => plain(self.terms.cap),
            Landmark::Largest => plain(Amount::MAX),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Landmark {
    Minimum,
    Price,
    LeadersCeiling,
    TenTimesMinimum,
    Million,
    Reserve,
    BuyNow,
    Cap,
    Largest,
}
