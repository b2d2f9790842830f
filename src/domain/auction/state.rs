//! What the events of one auction add up to.

use std::{collections::BTreeMap, fmt};

use super::{
    event::{
        BidPlaced, BidRetracted, Bought, Closed, Edited, Event, ResultKind, RunnerUp, Scheduled,
    },
    standing::{Leader, Offer, Standing},
    terms::Terms,
};
use crate::domain::{id::UserId, money::Amount, time::Timestamp, words::words};

/// The number of a bidder in one auction, from 1, in the order of their first accepted bid.
/// Their public alias is made of it: `bidder-1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BidderNo(pub u32);

impl fmt::Display for BidderNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bidder-{}", self.0)
    }
}

/// Where an auction is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Announced.
    Scheduled,
    /// Taking bids.
    Live,
    /// Over.
    Ended(ResultKind),
    /// Called off before it opened.
    Cancelled,
}

words! {
    /// Where an auction is in its life, without how it ended.
    pub enum Phase {
        /// Announced.
        Scheduled = "scheduled",
        /// Taking bids.
        Live = "live",
        /// Over.
        Ended = "ended",
        /// Called off before it opened.
        Cancelled = "cancelled",
    }
}

/// An accepted bid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bid {
    /// Its place in the log.
    pub seq: u64,
    /// Whose.
    pub bidder: BidderNo,
    /// What was offered.
    pub offer: Offer,
    /// What counted for the clock.
    pub received_at: Timestamp,
    /// Whether it was taken back.
    pub retracted: bool,
}

/// What is known of one bidder in one auction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bidder {
    /// Their number.
    pub no: BidderNo,
    /// How many bids were accepted from them, those retracted included.
    pub accepted: u32,
    /// The most they stand to pay, if a bid of theirs stands.
    pub highest: Option<Offer>,
}

/// One auction as its log leaves it. Changed by [`State::evolve`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whose item it is.
    pub seller: UserId,
    /// Boxed: a hundred thousand idle auctions share memory with nobody.
    pub terms: Box<Terms>,
    /// Where it is in its life.
    pub status: Status,
    /// The last event's sequence number.
    pub seq: u64,
    /// The end as it stands now.
    pub ends_at: Timestamp,
    /// Price and lead.
    pub standing: Standing,
    /// Whether somebody may still take the buy-now price.
    pub buy_now_stands: bool,
    /// How many bids stand.
    pub bid_count: u32,
    /// How often item and terms were changed.
    pub edits: u32,
    /// Every accepted bid in the order of the log.
    pub bids: Vec<Bid>,
    /// Every bidder.
    pub bidders: BTreeMap<UserId, Bidder>,
    /// The bidders by number: number n at n - 1.
    pub users: Vec<UserId>,
    /// The facts of the closing, once it is closed.
    pub closed: Option<Closed>,
}

/// A state as it was, to go back to: what is small as it was, and of the lists how long they were and
/// what was changed in them. Whatever is to be undone is applied by [`State::evolve_since`].
#[derive(Debug, Clone)]
pub struct Mark {
    status: Status,
    seq: u64,
    ends_at: Timestamp,
    standing: Standing,
    buy_now_stands: bool,
    bid_count: u32,
    edits: u32,
    bids: usize,
    users: usize,
    closed: Option<Closed>,
    /// What was changed in place since, in the order in which it was, so that going back looks through
    /// no bids.
    undo: Vec<Undo>,
}

/// How to undo what an event changed in place.
#[derive(Debug, Clone)]
enum Undo {
    /// A bid of this bidder was accepted, whose highest had been this.
    Placed(BidderNo, Option<Offer>),
    /// The bid at this place of the list was taken back, its bidder's highest having been this.
    Retracted(usize, BidderNo, Option<Offer>),
    /// The terms had been these.
    Edited(Box<Terms>),
}

impl State {
    /// The state after the first event.
    pub fn scheduled(event: &Scheduled) -> State {
        State {
            seller: event.seller,
            status: Status::Scheduled,
            seq: 1,
            ends_at: event.terms.ends_at,
            standing: Standing::at_opening(&event.terms),
            buy_now_stands: event.terms.buy_now_price.is_some(),
            terms: Box::new(event.terms.clone()),
            bid_count: 0,
            edits: 0,
            bids: Vec::new(),
            bidders: BTreeMap::new(),
            users: Vec::new(),
            closed: None,
        }
    }

    /// The state that a whole log adds up to; `None` if it does not begin with its first event.
    pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<State> {
        let mut events = events.into_iter();
        let Some(Event::Scheduled(first)) = events.next() else { return None };
        let mut state = State::scheduled(first);
        for event in events {
            state.evolve(event);
        }
        Some(state)
    }

    /// Applies history: cannot fail and holds no rule. The event takes the next sequence number.
    pub fn evolve(&mut self, event: &Event) {
        self.apply(event, None);
    }

    /// Applies history that may be undone by [`State::rewind`] with this mark.
    pub fn evolve_since(&mut self, mark: &mut Mark, event: &Event) {
        self.apply(event, Some(mark));
    }

    fn apply(&mut self, event: &Event, mark: Option<&mut Mark>) {
        self.seq += 1;
        match event {
            Event::Scheduled(event) => *self = State { seq: self.seq, ..State::scheduled(event) },
            Event::Edited(event) => self.edited(event, mark),
            Event::Withdrawn => self.status = Status::Cancelled,
            Event::Opened => self.status = Status::Live,
            Event::BidPlaced(event) => self.bid_placed(event, mark),
            Event::BidRetracted(event) => self.bid_retracted(event, mark),
            Event::Extended { ends_at } => self.ends_at = *ends_at,
            Event::Bought(event) => self.bought(event),
            Event::Closed(event) => {
                self.status = Status::Ended(event.result);
                self.closed = Some(*event);
                self.buy_now_stands = false;
            }
        }
    }

    /// What [`State::rewind`] needs to come back here.
    pub const fn mark(&self) -> Mark {
        Mark {
            status: self.status,
            seq: self.seq,
            ends_at: self.ends_at,
            standing: self.standing,
            buy_now_stands: self.buy_now_stands,
            bid_count: self.bid_count,
            edits: self.edits,
            bids: self.bids.len(),
            users: self.users.len(),
            closed: self.closed,
            undo: Vec::new(),
        }
    }

    /// Undoes the events since the mark: any but the first of a log, which nothing decides. Costs what
    /// is undone, however many bids there are.
    pub fn rewind(&mut self, mark: Mark) {
        self.status = mark.status;
        self.seq = mark.seq;
        self.ends_at = mark.ends_at;
        self.standing = mark.standing;
        self.buy_now_stands = mark.buy_now_stands;
        self.bid_count = mark.bid_count;
        self.edits = mark.edits;
        self.closed = mark.closed;
        for undo in mark.undo.into_iter().rev() {
            match undo {
                Undo::Placed(no, highest) => {
                    if let Some(bidder) = self.known_mut(no) {
                        bidder.accepted -= 1;
                        bidder.highest = highest;
                    }
                }
                Undo::Retracted(place, no, highest) => {
                    self.bids[place].retracted = false;
                    if let Some(bidder) = self.known_mut(no) {
                        bidder.highest = highest;
                    }
                }
                Undo::Edited(terms) => self.terms = terms,
            }
        }
        self.bids.truncate(mark.bids);
        for user in self.users.drain(mark.users..) {
            self.bidders.remove(&user);
        }
    }

    fn known_mut(&mut self, no: BidderNo) -> Option<&mut Bidder> {
        let user = self.user(no)?;
        self.bidders.get_mut(&user)
    }

    fn edited(&mut self, event: &Edited, mark: Option<&mut Mark>) {
        let before = std::mem::replace(&mut self.terms, Box::new(event.terms.clone()));
        if let Some(mark) = mark {
            mark.undo.push(Undo::Edited(before));
        }
        self.ends_at = event.terms.ends_at;
        self.standing = Standing::at_opening(&event.terms);
        self.buy_now_stands = event.terms.buy_now_price.is_some();
        self.edits += 1;
    }

    fn bid_placed(&mut self, event: &BidPlaced, mark: Option<&mut Mark>) {
        let bidder = self.bidder_mut(event.bidder, event.bidder_no);
        if let Some(mark) = mark {
            mark.undo.push(Undo::Placed(event.bidder_no, bidder.highest));
        }
        bidder.accepted += 1;
        if bidder.highest.is_none_or(|highest| event.offer.limit() > highest.limit()) {
            bidder.highest = Some(event.offer);
        }
        self.bids.push(Bid {
            seq: self.seq,
            bidder: event.bidder_no,
            offer: event.offer,
            received_at: event.received_at,
            retracted: false,
        });
        self.bid_count += 1;
        self.standing = event.standing;
        self.buy_now_stands &= self.terms.reserve_price.is_some() && !event.standing.reserve_met;
    }

    fn bid_retracted(&mut self, event: &BidRetracted, mark: Option<&mut Mark>) {
        if let Ok(place) = self.bids.binary_search_by_key(&event.bid_seq, |bid| bid.seq) {
            self.bids[place].retracted = true;
            self.bid_count -= 1;
            if let Some(mark) = mark {
                let no = event.bidder_no;
                let highest = self.known_mut(no).and_then(|bidder| bidder.highest);
                mark.undo.push(Undo::Retracted(place, no, highest));
            }
        }
        self.find_highest(event.bidder_no);
        self.standing = event.standing;
    }

    /// Looks through the bids that stand for the bidder's highest; among equals the earliest.
    fn find_highest(&mut self, no: BidderNo) {
        let highest = self
            .standing_bids()
            .filter(|bid| bid.bidder == no)
            .map(|bid| bid.offer)
            .reduce(|best, offer| if offer.limit() > best.limit() { offer } else { best });
        if let Some(bidder) = self.known_mut(no) {
            bidder.highest = highest;
        }
    }

    fn bought(&mut self, event: &Bought) {
        self.bidder_mut(event.buyer, event.buyer_no);
        self.standing = Standing {
            price: event.price,
            leader: Some(Leader { bidder: event.buyer_no, ceiling: event.price }),
            reserve_met: true,
        };
        self.buy_now_stands = false;
    }

    fn bidder_mut(&mut self, user: UserId, no: BidderNo) -> &mut Bidder {
        self.bidders.entry(user).or_insert_with(|| {
            self.users.push(user);
            Bidder { no, accepted: 0, highest: None }
        })
    }

    /// The bids that were not taken back, in the order of the log.
    pub fn standing_bids(&self) -> impl DoubleEndedIterator<Item = &Bid> {
        self.bids.iter().filter(|bid| !bid.retracted)
    }

    /// The bidder's number, or the one they would get.
    pub fn bidder_no(&self, user: UserId) -> BidderNo {
        self.bidders.get(&user).map_or_else(|| self.next_bidder_no(), |bidder| bidder.no)
    }

    fn next_bidder_no(&self) -> BidderNo {
        BidderNo(u32::try_from(self.users.len()).unwrap_or(u32::MAX).saturating_add(1))
    }

    /// Who a number stands for.
    pub fn user(&self, no: BidderNo) -> Option<UserId> {
        let place = usize::try_from(no.0).ok()?.checked_sub(1)?;
        self.users.get(place).copied()
    }

    /// The least that a bid from somebody who does not lead must offer, whether or not such a bid
    /// can be placed.
    pub fn minimum_next_bid(&self) -> Amount {
        self.standing.minimum_next_bid(&self.terms)
    }

    /// The same as it is told: none where nobody else can bid any more, because it is over or the
    /// minimum is above the cap.
    pub fn told_minimum(&self) -> Option<Amount> {
        let is_open = matches!(self.status, Status::Scheduled | Status::Live);
        Some(self.minimum_next_bid()).filter(|minimum| is_open && *minimum <= self.terms.cap)
    }

    /// Whether the reserve is met; none where there is no reserve.
    pub fn told_reserve_met(&self) -> Option<bool> {
        self.terms.reserve_price.map(|_| self.standing.reserve_met)
    }

    /// Offers to suggest to a user, rising, from the least that is accepted from them; to the leader
    /// round ones, because the least that exceeds a ceiling is no price that anybody would name.
    pub fn suggested_offers(&self, user: UserId) -> impl Iterator<Item = Amount> {
        let step = |offer: Amount| self.terms.step(offer);
        let is_leader = self.is_leader(user);
        let first = if is_leader {
            let minimum = self.told_minimum_for(user);
            minimum.map(|minimum| minimum.rounded_up_to(step(minimum)))
        } else {
            self.told_minimum()
        };
        let next = move |offer: &Amount| {
            let next = offer.plus(step(*offer));
            Some(if is_leader { next.rounded_up_to(step(*offer)) } else { next })
        };
        let cap = self.terms.cap;
        std::iter::successors(first, next).take_while(move |offer| *offer <= cap)
    }

    /// The least that is accepted from a user: from the leader whatever exceeds their ceiling. None
    /// where they cannot bid any more.
    pub fn told_minimum_for(&self, user: UserId) -> Option<Amount> {
        let is_open = matches!(self.status, Status::Scheduled | Status::Live);
        match self.standing.leader.filter(|_| self.is_leader(user)) {
            None => self.told_minimum(),
            Some(leader) => Some(leader.ceiling.plus(Amount::ONE))
                .filter(|minimum| is_open && *minimum <= self.terms.cap),
        }
    }

    /// Whether this user would win now.
    pub fn is_leader(&self, user: UserId) -> bool {
        match (self.standing.leader, self.bidders.get(&user)) {
            (Some(leader), Some(bidder)) => leader.bidder == bidder.no,
            (None, _) | (_, None) => false,
        }
    }

    /// The highest standing bid of anybody but `first`; among equals the earliest.
    pub fn runner_up(&self, first: BidderNo) -> Option<RunnerUp> {
        let second = self
            .standing_bids()
            .filter(|bid| bid.bidder != first)
            .reduce(|best, bid| if bid.offer.limit() > best.offer.limit() { bid } else { best })?;
        Some(RunnerUp {
            user: self.user(second.bidder)?,
            bidder_no: second.bidder,
            highest_bid: second.offer.limit(),
        })
    }

    /// When the clock next has something to do here.
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.status {
            Status::Scheduled => Some(self.terms.starts_at),
            Status::Live => Some(self.ends_at),
            Status::Ended(_) | Status::Cancelled => None,
        }
    }
}
