//! The price at which the first taker ends the auction, and when it goes away.

use hoga::domain::auction::{BuyNow, Command, Event, Rejection, ResultKind, Status, Terms};

use super::house::*;

fn at_9_000() -> Terms {
    Terms { buy_now_price: Some(won(9_000)), ..terms() }
}

fn at_9_000_with_a_reserve_of_5_000() -> Terms {
    Terms { reserve_price: Some(won(5_000)), ..at_9_000() }
}

#[test]
fn the_first_taker_ends_the_auction_and_leads_it() {
    let mut auction = Auction::live(at_9_000());
    let events = auction.buy_now(MINA).expect("bought");
    assert!(matches!(events[..], [Event::Bought(_), Event::Closed(_)]));
    assert_eq!(auction.state.status, Status::Ended(ResultKind::BoughtNow));
    assert_eq!((auction.price(), auction.leader()), (9_000, Some(MINA)));
    assert!(auction.state.standing.reserve_met);
    assert_eq!(auction.buy_now(JUNHO), Err(Rejection::AuctionEnded));
}

#[test]
fn an_offer_one_below_the_buy_now_price_bids_and_one_at_or_above_it_buys() {
    for offer in [ceiling, exact] {
        let status_after = |amount| {
            let mut auction = Auction::live(at_9_000());
            auction.bid(MINA, offer(amount)).expect("accepted");
            (auction.state.status, auction.price().max(9_000))
        };
        assert_eq!(status_after(8_999).0, Status::Live);
        for amount in [9_000, 9_001, 50_000] {
            assert_eq!(status_after(amount), (Status::Ended(ResultKind::BoughtNow), 9_000));
        }
    }
}

#[test]
fn without_a_reserve_it_goes_away_with_the_first_bid() {
    let mut auction = Auction::live(at_9_000());
    auction.takes(MINA, ceiling(1_000));
    assert_eq!(auction.buy_now(JUNHO), Err(Rejection::BuyNowUnavailable));
    auction.takes(JUNHO, ceiling(20_000));
    assert_eq!((auction.state.status, auction.price()), (Status::Live, 1_100));
}

#[test]
fn with_a_reserve_it_stands_until_the_reserve_is_met() {
    let mut auction = Auction::live(at_9_000_with_a_reserve_of_5_000());
    auction.takes(MINA, ceiling(4_999));
    assert!(auction.state.buy_now_stands);
    auction.takes(JUNHO, ceiling(5_000));
    assert!(!auction.state.buy_now_stands);
    assert_eq!(auction.buy_now(SEOYEON), Err(Rejection::BuyNowUnavailable));
}

#[test]
fn who_buys_over_a_standing_bid_wins_and_the_bidder_comes_second() {
    let mut auction = Auction::live(at_9_000_with_a_reserve_of_5_000());
    auction.takes(MINA, ceiling(4_000));
    let events = auction.buy_now(JUNHO).expect("bought");
    let Some(Event::Closed(closed)) = events.last() else { panic!("not closed: {events:?}") };
    let (winner, second) = (closed.winner.expect("won"), closed.runner_up.expect("a second"));
    assert_eq!((winner.user, winner.price), (JUNHO, won(9_000)));
    assert_eq!((second.user, second.highest_bid), (MINA, won(4_000)));
    assert_eq!(auction.leader(), Some(JUNHO));
}

#[test]
fn the_leader_may_buy_and_is_not_their_own_runner_up() {
    let mut auction = Auction::live(at_9_000_with_a_reserve_of_5_000());
    auction.takes(MINA, ceiling(4_000));
    let events = auction.bid(MINA, exact(9_000)).expect("it buys; a leader's exact bid or not");
    let Some(Event::Closed(closed)) = events.last() else { panic!("not closed: {events:?}") };
    assert_eq!(closed.runner_up, None);
}

#[test]
fn it_does_not_come_back_when_the_bid_that_ended_it_is_retracted() {
    let mut auction = Auction::live(at_9_000());
    let bid = auction.takes(MINA, ceiling(1_000));
    auction.retract(MINA, bid).expect("free");
    assert_eq!(auction.buy_now(JUNHO), Err(Rejection::BuyNowUnavailable));
}

#[test]
fn the_price_that_the_buyer_saw_must_be_ours() {
    let mut auction = Auction::live(at_9_000());
    let mut buy = |expected, received_at| {
        let expected_price = Some(won(expected));
        auction.run(&Command::BuyNow(BuyNow { buyer: MINA, expected_price, received_at }))
    };
    assert_eq!(buy(8_999, STARTS_AT), Err(Rejection::PriceMoved));
    assert_eq!(buy(9_000, ENDS_AT), Err(Rejection::AuctionEnded));
    let early = Rejection::AuctionNotLive { starts_at: Some(STARTS_AT) };
    assert_eq!(buy(9_000, STARTS_AT.plus_ms(-1)), Err(early));
    assert!(buy(9_000, ENDS_AT.plus_ms(-1)).is_ok());
}

#[test]
fn without_a_buy_now_price_nothing_can_be_bought() {
    assert_eq!(Auction::live(terms()).buy_now(MINA), Err(Rejection::BuyNowUnavailable));
}

#[test]
fn a_mistyped_bid_that_would_buy_is_asked_back() {
    let mut auction = Auction::live(at_9_000());
    assert_eq!(auction.bid(MINA, ceiling(1_000_001)), Err(Rejection::ConfirmationRequired));
    assert!(auction.confirmed(MINA, ceiling(1_000_001)).is_ok());
    assert_eq!(auction.price(), 9_000);
}

#[test]
fn a_bidder_without_bids_left_cannot_buy_by_bidding() {
    let limit = Some(1);
    let with_limit = Terms { bids_per_bidder_max: limit, ..at_9_000_with_a_reserve_of_5_000() };
    let mut auction = Auction::live(with_limit);
    auction.takes(MINA, ceiling(1_000));
    assert_eq!(auction.bid(MINA, exact(9_000)), Err(Rejection::BidLimitReached { max: 1 }));
    assert!(auction.buy_now(MINA).is_ok(), "taking the buy-now price is not a bid");
}
