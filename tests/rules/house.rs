//! An auction to try things on: it keeps its own log and applies what was decided.

use hoga::domain::{
    auction::{
        BuyNow, CancelByOperator, Closed, Command, Edit, Event, Increment, Item, Offer, PlaceBid,
        Rejection, RetractBid, Scheduled, State, Terms, Withdraw, decide,
    },
    id::UserId,
    money::{Amount, Currency},
    time::Timestamp,
};
use uuid::Uuid;

pub const SELLER: UserId = UserId(Uuid::from_u128(1));
pub const MINA: UserId = UserId(Uuid::from_u128(2));
pub const JUNHO: UserId = UserId(Uuid::from_u128(3));
pub const SEOYEON: UserId = UserId(Uuid::from_u128(4));

/// 2026-12-01T00:00:00Z
pub const STARTS_AT: Timestamp = Timestamp::from_millis(1_796_083_200_000);
pub const HOUR_S: i64 = 3_600;
pub const DAY_S: i64 = 24 * HOUR_S;
/// Three days after the start.
pub const ENDS_AT: Timestamp = Timestamp::from_millis(1_796_342_400_000);

pub fn won(minor_units: i64) -> Amount {
    Amount::new(minor_units).expect("a test names positive amounts")
}

pub fn ceiling(minor_units: i64) -> Offer {
    Offer::Ceiling(won(minor_units))
}

pub fn exact(minor_units: i64) -> Offer {
    Offer::Exact(won(minor_units))
}

pub fn item() -> Item {
    Item {
        attributes: std::collections::BTreeMap::new(),
        category: None,
        description: String::new(),
        image_keys: Vec::new(),
        title: "조선 백자 달항아리".into(),
    }
}

/// Opens at 1,000 with a step of 100, and nothing else.
pub fn terms() -> Terms {
    Terms {
        currency: Currency::Krw,
        opening_price: won(1_000),
        increment: Increment::Fixed(won(100)),
        reserve_price: None,
        buy_now_price: None,
        bids_per_bidder_max: None,
        cap: Amount::CAP_DEFAULT,
        starts_at: STARTS_AT,
        ends_at: ENDS_AT,
        soft_close: None,
    }
}

pub fn bid_at(bidder: UserId, offer: Offer, received_at: Timestamp) -> PlaceBid {
    PlaceBid { bidder, offer, expected_seq: None, confirm_amount: None, salt: [0; 16], received_at }
}

pub struct Auction {
    pub state: State,
    pub log: Vec<Event>,
    pub now: Timestamp,
}

impl Auction {
    /// Announced, an hour before the start.
    pub fn scheduled(terms: Terms) -> Auction {
        let first = Scheduled {
            seller: SELLER,
            item: item(),
            terms,
            relisted_from: None,
            reserve_salt: [0; 16],
        };
        let now = first.terms.starts_at.plus_s(-HOUR_S);
        Auction {
            state: State::scheduled(&first),
            log: vec![Event::Scheduled(Box::new(first))],
            now,
        }
    }

    /// Opened exactly at its start.
    pub fn live(terms: Terms) -> Auction {
        let mut auction = Auction::scheduled(terms);
        auction.now = auction.state.terms.starts_at;
        auction.run(&Command::Open).expect("the opening is due");
        auction
    }

    pub fn at(&mut self, now: Timestamp) -> &mut Auction {
        self.now = now;
        self
    }

    pub fn run(&mut self, command: &Command) -> Result<Vec<Event>, Rejection> {
        let events = decide(&self.state, command, self.now)?;
        for event in &events {
            self.state.evolve(event);
        }
        self.log.extend(events.iter().cloned());
        Ok(events)
    }

    pub fn bid(&mut self, bidder: UserId, offer: Offer) -> Result<Vec<Event>, Rejection> {
        self.run(&Command::PlaceBid(bid_at(bidder, offer, self.now)))
    }

    /// A bid that the test takes for granted; gives its sequence number.
    pub fn takes(&mut self, bidder: UserId, offer: Offer) -> u64 {
        self.bid(bidder, offer).expect("the bid is accepted");
        self.state.bids.last().expect("an accepted bid is kept").seq
    }

    pub fn confirmed(&mut self, bidder: UserId, offer: Offer) -> Result<Vec<Event>, Rejection> {
        self.run(&Command::PlaceBid(PlaceBid {
            confirm_amount: Some(offer.limit()),
            ..bid_at(bidder, offer, self.now)
        }))
    }

    pub fn buy_now(&mut self, buyer: UserId) -> Result<Vec<Event>, Rejection> {
        let received_at = self.now;
        self.run(&Command::BuyNow(BuyNow { buyer, expected_price: None, received_at }))
    }

    pub fn retract(&mut self, bidder: UserId, bid_seq: u64) -> Result<Vec<Event>, Rejection> {
        self.run(&Command::RetractBid(RetractBid {
            bidder,
            bid_seq,
            reason: "one digit too many".into(),
            received_at: self.now,
        }))
    }

    pub fn edit(&mut self, by: UserId, terms: Terms) -> Result<Vec<Event>, Rejection> {
        let (expected_seq, item, reserve_salt) = (None, item(), [0; 16]);
        self.run(&Command::Edit(Box::new(Edit { by, expected_seq, item, terms, reserve_salt })))
    }

    pub fn withdraw(&mut self, by: UserId) -> Result<Vec<Event>, Rejection> {
        self.run(&Command::Withdraw(Withdraw { by, expected_seq: None }))
    }

    pub fn cancel(&mut self) -> Result<Vec<Event>, Rejection> {
        self.run(&Command::CancelByOperator(CancelByOperator { expected_seq: None }))
    }

    /// Closes at the present end and gives what was written down.
    pub fn closes(&mut self) -> Closed {
        self.now = self.state.ends_at;
        let events = self.run(&Command::Close).expect("the closing is due");
        match events.last() {
            Some(Event::Closed(closed)) => *closed,
            other => panic!("a closing ends with its result, not {other:?}"),
        }
    }

    pub fn price(&self) -> i64 {
        self.state.standing.price.minor_units()
    }

    pub fn minimum(&self) -> i64 {
        self.state.minimum_next_bid().minor_units()
    }

    pub fn leader(&self) -> Option<UserId> {
        self.state.standing.leader.and_then(|leader| self.state.user(leader.bidder))
    }
}
