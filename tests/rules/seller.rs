//! What the seller and the house may do to an auction, and until when.

use hoga::domain::auction::{
    CancelByOperator, Command, EDITS_MAX, Event, Rejection, ResultKind, Status, Terms, Withdraw,
};

use super::house::*;

#[test]
fn the_seller_edits_until_a_tick_before_the_start() {
    let dearer = Terms { opening_price: won(2_000), ..terms() };
    let mut auction = Auction::scheduled(terms());
    assert!(auction.at(STARTS_AT.plus_ms(-1)).edit(SELLER, dearer.clone()).is_ok());
    assert_eq!((auction.price(), auction.minimum()), (2_000, 2_000));
    let late = auction.at(STARTS_AT).edit(SELLER, dearer);
    assert_eq!(late, Err(Rejection::NotEditable), "even if the timer is late");
}

#[test]
fn an_auction_is_edited_so_often_and_no_more() {
    let mut auction = Auction::scheduled(terms());
    auction.at(STARTS_AT.plus_ms(-1));
    for _ in 0..EDITS_MAX {
        assert!(auction.edit(SELLER, terms()).is_ok());
    }
    let max = EDITS_MAX;
    assert_eq!(auction.edit(SELLER, terms()), Err(Rejection::EditLimitReached { max }));
    assert_eq!(auction.edit(MINA, terms()), Err(Rejection::NotYourAuction));
    assert!(auction.withdraw(SELLER).is_ok(), "it can still be called off");
}

#[test]
fn the_seller_withdraws_until_a_tick_before_the_start() {
    let mut auction = Auction::scheduled(terms());
    assert_eq!(auction.at(STARTS_AT).withdraw(SELLER), Err(Rejection::NotEditable));
    assert!(auction.at(STARTS_AT.plus_ms(-1)).withdraw(SELLER).is_ok());
    assert_eq!(auction.state.status, Status::Cancelled);
    let gone = Err(Rejection::AuctionNotLive { starts_at: None });
    assert_eq!(auction.at(STARTS_AT).bid(MINA, ceiling(1_000)), gone);
    assert_eq!(auction.run(&Command::Open), Err(Rejection::NotDue));
    assert_eq!(auction.at(ENDS_AT).run(&Command::Close), Err(Rejection::NotDue));
}

#[test]
fn a_live_auction_is_neither_edited_nor_withdrawn() {
    let mut auction = Auction::live(terms());
    assert_eq!(auction.edit(SELLER, terms()), Err(Rejection::NotEditable));
    assert_eq!(auction.withdraw(SELLER), Err(Rejection::NotEditable));
}

#[test]
fn somebody_else_hears_that_first_then_a_stale_version_then_that_it_is_over() {
    let mut auction = Auction::live(terms());
    let mut withdraw =
        |by, seen| auction.run(&Command::Withdraw(Withdraw { by, expected_seq: Some(seen) }));
    assert_eq!(withdraw(MINA, 1), Err(Rejection::NotYourAuction));
    assert_eq!(withdraw(SELLER, 1), Err(Rejection::StaleVersion));
    assert_eq!(withdraw(SELLER, 2), Err(Rejection::NotEditable));
    assert_eq!(auction.edit(MINA, terms()), Err(Rejection::NotYourAuction));
}

#[test]
fn the_house_cancels_a_scheduled_auction_before_it_opens() {
    let mut auction = Auction::scheduled(terms());
    assert_eq!(auction.at(STARTS_AT.plus_ms(-1)).cancel(), Ok(vec![Event::Withdrawn]));
    assert_eq!(auction.cancel(), Err(Rejection::NotEditable));
}

#[test]
fn the_house_cancels_a_live_auction_until_a_tick_before_its_end() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(2_000));
    let late = auction.at(ENDS_AT).cancel();
    assert_eq!(late, Err(Rejection::AuctionEnded), "a late close takes nothing from the winner");
    auction.at(ENDS_AT.plus_ms(-1)).cancel().expect("cancelled");
    assert_eq!(auction.state.status, Status::Ended(ResultKind::CancelledByOperator));
    assert_eq!(auction.at(ENDS_AT).run(&Command::Close), Err(Rejection::NotDue));
}

#[test]
fn an_auction_due_to_be_live_is_cancelled_as_a_live_one() {
    let mut auction = Auction::scheduled(terms());
    let events = auction.at(STARTS_AT).cancel().expect("cancelled");
    assert!(matches!(events[..], [Event::Opened, Event::Closed(_)]));
    let mut overslept = Auction::scheduled(terms());
    assert_eq!(overslept.at(ENDS_AT).cancel(), Err(Rejection::AuctionEnded));
}

#[test]
fn an_admin_who_saw_another_version_cancels_nothing() {
    let mut auction = Auction::live(terms());
    let stale = Command::CancelByOperator(CancelByOperator { expected_seq: Some(1) });
    assert_eq!(auction.run(&stale), Err(Rejection::StaleVersion));
}
