//! Opening and closing at their exact times, also by a clock that slept, and the result.

use hoga::domain::auction::{Command, Event, Rejection, ResultKind, Status, Terms};

use super::house::*;

#[test]
fn an_auction_opens_at_its_start_and_not_a_tick_before() {
    let mut auction = Auction::scheduled(terms());
    assert_eq!(auction.at(STARTS_AT.plus_ms(-1)).run(&Command::Open), Err(Rejection::NotDue));
    assert_eq!(auction.at(STARTS_AT).run(&Command::Open), Ok(vec![Event::Opened]));
    assert_eq!(auction.run(&Command::Open), Err(Rejection::NotDue), "it opens once");
}

#[test]
fn a_bid_a_tick_before_the_opening_hears_when_it_opens() {
    let not_live = Err(Rejection::AuctionNotLive { starts_at: Some(STARTS_AT) });
    let mut auction = Auction::scheduled(terms());
    assert_eq!(auction.at(STARTS_AT.plus_ms(-1)).bid(MINA, ceiling(1_000)), not_live);
    let mut opened_meanwhile = Auction::live(terms());
    let early = bid_at(MINA, ceiling(1_000), STARTS_AT.plus_ms(-1));
    assert_eq!(opened_meanwhile.run(&Command::PlaceBid(early)), not_live);
}

#[test]
fn a_bid_at_the_opening_is_taken_although_the_timer_is_late() {
    let mut auction = Auction::scheduled(terms());
    let events = auction.at(STARTS_AT).bid(MINA, ceiling(1_000)).expect("accepted");
    assert_eq!(events[0], Event::Opened);
    assert!(matches!(events[1], Event::BidPlaced(_)));
    assert_eq!((auction.state.seq, auction.state.bids[0].seq), (3, 3));
}

#[test]
fn a_refused_bid_at_the_opening_does_not_open_the_auction() {
    let mut auction = Auction::scheduled(terms());
    let refused = auction.at(STARTS_AT).bid(MINA, ceiling(999));
    assert_eq!(refused, Err(Rejection::BidTooLow { minimum: won(1_000) }));
    assert_eq!(auction.state.status, Status::Scheduled);
}

#[test]
fn a_bid_counts_a_tick_before_the_end_and_not_at_it() {
    let mut auction = Auction::live(terms());
    assert!(auction.at(ENDS_AT.plus_ms(-1)).bid(MINA, ceiling(1_000)).is_ok());
    for late in [ENDS_AT, ENDS_AT.plus_ms(1)] {
        assert_eq!(auction.at(late).bid(JUNHO, ceiling(9_000)), Err(Rejection::AuctionEnded));
    }
}

#[test]
fn a_bid_received_in_time_is_decided_in_time_however_late_its_turn_comes() {
    let mut auction = Auction::live(terms());
    let received = bid_at(MINA, ceiling(1_000), ENDS_AT.plus_ms(-1));
    auction.now = ENDS_AT.plus_s(30);
    assert!(auction.run(&Command::PlaceBid(received)).is_ok());
}

#[test]
fn an_auction_closes_at_its_end_and_not_a_tick_before() {
    let mut auction = Auction::live(terms());
    assert_eq!(auction.at(ENDS_AT.plus_ms(-1)).run(&Command::Close), Err(Rejection::NotDue));
    assert!(auction.at(ENDS_AT).run(&Command::Close).is_ok());
    assert_eq!(auction.run(&Command::Close), Err(Rejection::NotDue), "it closes once");
}

#[test]
fn an_auction_that_slept_through_its_life_opens_and_closes_at_once() {
    let mut auction = Auction::scheduled(terms());
    let events = auction.at(ENDS_AT.plus_s(DAY_S)).run(&Command::Close).expect("overdue");
    assert_eq!(events[0], Event::Opened);
    assert!(matches!(events[1], Event::Closed(_)));
    assert_eq!(auction.state.status, Status::Ended(ResultKind::UnsoldNoBids));
    let mut short_nap = Auction::scheduled(terms());
    assert_eq!(short_nap.at(ENDS_AT.plus_ms(-1)).run(&Command::Close), Err(Rejection::NotDue));
}

#[test]
fn a_bid_for_an_auction_that_slept_through_its_life_is_late() {
    let mut auction = Auction::scheduled(terms());
    assert_eq!(auction.at(ENDS_AT).bid(MINA, ceiling(1_000)), Err(Rejection::AuctionEnded));
}

#[test]
fn the_clock_is_due_at_the_start_then_at_the_end_then_never() {
    let mut auction = Auction::scheduled(terms());
    assert_eq!(auction.state.due_at(), Some(STARTS_AT));
    auction.at(STARTS_AT).run(&Command::Open).expect("due");
    assert_eq!(auction.state.due_at(), Some(ENDS_AT));
    auction.closes();
    assert_eq!(auction.state.due_at(), None);
}

#[test]
fn nobody_bid_so_nobody_wins() {
    let closed = Auction::live(terms()).closes();
    assert_eq!(closed.result, ResultKind::UnsoldNoBids);
    assert_eq!((closed.winner, closed.runner_up), (None, None));
}

#[test]
fn the_leader_wins_at_the_price_and_the_second_is_named_with_their_highest_bid() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(3_000));
    auction.takes(JUNHO, ceiling(5_000));
    auction.takes(MINA, ceiling(4_000));
    auction.takes(SEOYEON, ceiling(4_200));
    let closed = auction.closes();
    let (winner, second) = (closed.winner.expect("won"), closed.runner_up.expect("a second"));
    assert_eq!(closed.result, ResultKind::Sold);
    assert_eq!((winner.user, winner.price), (JUNHO, won(4_300)));
    assert_eq!((second.user, second.highest_bid), (SEOYEON, won(4_200)));
}

#[test]
fn the_earlier_of_two_equal_bids_is_the_runner_up() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(3_000));
    auction.takes(JUNHO, ceiling(3_000));
    auction.takes(SEOYEON, ceiling(9_000));
    assert_eq!(auction.closes().runner_up.map(|second| second.user), Some(MINA));
}

#[test]
fn a_lone_winner_has_nobody_behind_and_pays_the_opening_price() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(9_000));
    let closed = auction.closes();
    assert_eq!(closed.winner.map(|winner| winner.price), Some(won(1_000)));
    assert_eq!(closed.runner_up, None);
}

#[test]
fn one_below_the_reserve_it_stays_unsold_and_at_the_reserve_it_is_sold() {
    let close_after = |most| {
        let mut auction = Auction::live(Terms { reserve_price: Some(won(5_000)), ..terms() });
        auction.takes(MINA, ceiling(most));
        auction.closes()
    };
    let below = close_after(4_999);
    assert_eq!((below.result, below.winner), (ResultKind::UnsoldReserveNotMet, None));
    let at = close_after(5_000);
    assert_eq!(at.result, ResultKind::Sold);
    assert_eq!(at.winner.map(|winner| winner.price), Some(won(5_000)));
}

#[test]
fn nothing_is_decided_after_the_close() {
    let mut auction = Auction::live(terms());
    let bid = auction.takes(MINA, ceiling(1_000));
    auction.closes();
    // Even what was received before the end comes too late once the log holds the close.
    auction.now = STARTS_AT.plus_s(60);
    assert_eq!(auction.bid(JUNHO, ceiling(9_000)), Err(Rejection::AuctionEnded));
    assert_eq!(auction.buy_now(JUNHO), Err(Rejection::AuctionEnded));
    assert_eq!(auction.retract(MINA, bid), Err(Rejection::AuctionEnded));
    assert_eq!(auction.cancel(), Err(Rejection::AuctionEnded));
    assert_eq!(auction.withdraw(SELLER), Err(Rejection::NotEditable));
    assert_eq!(auction.edit(SELLER, terms()), Err(Rejection::NotEditable));
    assert_eq!(auction.run(&Command::Open), Err(Rejection::NotDue));
}
