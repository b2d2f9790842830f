//! Taking a bid back: until when, by whom, and what remains.

use hoga::domain::auction::{Event, Rejection, Terms};

use super::house::*;

#[test]
fn any_bid_can_be_retracted_up_to_exactly_twelve_hours_before_the_end() {
    let after = |ms| {
        let mut auction = Auction::live(terms());
        let bid = auction.takes(MINA, ceiling(2_000));
        auction.at(ENDS_AT.plus_s(-12 * HOUR_S).plus_ms(ms)).retract(MINA, bid).map(drop)
    };
    assert_eq!(after(-1), Ok(()));
    assert_eq!(after(0), Ok(()));
    assert_eq!(after(1), Err(Rejection::RetractionTooLate));
}

#[test]
fn in_the_last_twelve_hours_a_bid_can_be_retracted_for_exactly_an_hour() {
    let placed_at = ENDS_AT.plus_s(-6 * HOUR_S);
    let after = |ms| {
        let mut auction = Auction::live(terms());
        let bid = auction.at(placed_at).takes(MINA, ceiling(2_000));
        auction.at(placed_at.plus_s(HOUR_S).plus_ms(ms)).retract(MINA, bid).map(drop)
    };
    assert_eq!(after(-1), Ok(()));
    assert_eq!(after(0), Ok(()));
    assert_eq!(after(1), Err(Rejection::RetractionTooLate));
}

#[test]
fn in_the_last_twelve_hours_only_the_fresh_bid_can_be_retracted() {
    let mut auction = Auction::live(terms());
    let old = auction.takes(MINA, ceiling(2_000));
    let fresh = auction.at(ENDS_AT.plus_s(-HOUR_S)).takes(MINA, ceiling(20_000));
    assert_eq!(auction.retract(MINA, old), Err(Rejection::RetractionTooLate));
    assert!(auction.retract(MINA, fresh).is_ok());
}

#[test]
fn a_fresh_bid_can_be_retracted_until_the_last_tick_and_not_at_the_end() {
    let mut auction = Auction::live(terms());
    let bid = auction.at(ENDS_AT.plus_ms(-1)).takes(MINA, ceiling(2_000));
    assert_eq!(auction.at(ENDS_AT).retract(MINA, bid), Err(Rejection::AuctionEnded));
    assert!(auction.at(ENDS_AT.plus_ms(-1)).retract(MINA, bid).is_ok());
}

#[test]
fn only_a_bid_that_is_there_and_ones_own_and_not_yet_retracted_can_be() {
    let mut auction = Auction::live(terms());
    let bid = auction.takes(MINA, ceiling(2_000));
    assert_eq!(auction.retract(MINA, bid + 1), Err(Rejection::BidNotFound));
    assert_eq!(auction.retract(MINA, 1), Err(Rejection::BidNotFound), "not every event is a bid");
    assert_eq!(auction.retract(JUNHO, bid), Err(Rejection::NotYourBid));
    assert!(auction.retract(MINA, bid).is_ok());
    assert_eq!(auction.retract(JUNHO, bid), Err(Rejection::NotYourBid));
    assert_eq!(auction.retract(MINA, bid), Err(Rejection::BidAlreadyRetracted));
}

#[test]
fn the_price_is_recomputed_from_the_bids_that_remain() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(3_000));
    let mistaken = auction.takes(JUNHO, ceiling(90_000));
    auction.takes(SEOYEON, ceiling(50_000));
    assert_eq!((auction.price(), auction.leader()), (50_100, Some(JUNHO)));
    let events = auction.retract(JUNHO, mistaken).expect("free");
    assert!(matches!(events[..], [Event::BidRetracted(_)]));
    assert_eq!((auction.price(), auction.leader()), (3_100, Some(SEOYEON)));
    assert_eq!((auction.state.bid_count, auction.minimum()), (2, 3_200));
}

#[test]
fn with_the_only_bid_gone_the_auction_stands_as_it_opened() {
    let mut auction = Auction::live(terms());
    let bid = auction.takes(MINA, exact(5_000));
    auction.retract(MINA, bid).expect("free");
    assert_eq!((auction.price(), auction.minimum(), auction.leader()), (1_000, 1_000, None));
    assert!(auction.bid(MINA, exact(1_000)).is_ok(), "a bidder who erred bids again");
}

#[test]
fn a_reserve_met_by_the_retracted_bid_alone_is_not_met_any_more() {
    let mut auction = Auction::live(Terms { reserve_price: Some(won(5_000)), ..terms() });
    auction.takes(MINA, ceiling(2_000));
    let bid = auction.takes(JUNHO, ceiling(6_000));
    auction.retract(JUNHO, bid).expect("free");
    assert_eq!((auction.price(), auction.state.standing.reserve_met), (1_000, false));
}

#[test]
fn an_exact_bid_stays_the_price_itself_when_the_bid_it_answered_is_retracted() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, exact(1_000));
    let gone = auction.takes(JUNHO, ceiling(9_000));
    auction.takes(MINA, exact(4_000));
    auction.retract(JUNHO, gone).expect("free");
    assert_eq!((auction.price(), auction.leader()), (4_000, Some(MINA)));
}
