//! Late bids move the end: when, by how much, and never past the bound.

use hoga::domain::{
    auction::{Event, SoftClose, SoftCloseMode, Terms},
    time::Timestamp,
};

use super::house::*;

const WINDOW_S: i64 = 300;
const EXTENSION_S: i64 = 120;
const MAX_ENDS_AT: Timestamp = Timestamp::from_millis(ENDS_AT.as_millis() + 600_000);

fn soft(mode: SoftCloseMode) -> Terms {
    let soft_close =
        SoftClose { trigger_window_s: 300, extension_s: 120, mode, max_ends_at: MAX_ENDS_AT };
    Terms { soft_close: Some(soft_close), ..terms() }
}

fn end_after_a_bid_at(mode: SoftCloseMode, at: Timestamp) -> Timestamp {
    let mut auction = Auction::live(soft(mode));
    auction.at(at).takes(MINA, ceiling(1_000));
    auction.state.ends_at
}

#[test]
fn the_window_opens_at_exactly_its_length_before_the_end() {
    let opens_at = ENDS_AT.plus_s(-WINDOW_S);
    let end_after = |at| end_after_a_bid_at(SoftCloseMode::Extend, at);
    assert_eq!(end_after(opens_at.plus_ms(-1)), ENDS_AT);
    assert_eq!(end_after(opens_at), ENDS_AT.plus_s(EXTENSION_S));
    assert_eq!(end_after(ENDS_AT.plus_ms(-1)), ENDS_AT.plus_s(EXTENSION_S));
}

#[test]
fn reset_counts_from_the_bid_and_never_brings_the_end_nearer() {
    let end_after = |at| end_after_a_bid_at(SoftCloseMode::Reset, at);
    let even = ENDS_AT.plus_s(-EXTENSION_S);
    assert_eq!(end_after(ENDS_AT.plus_s(-WINDOW_S)), ENDS_AT, "120 s from then is sooner");
    assert_eq!(end_after(even), ENDS_AT);
    assert_eq!(end_after(even.plus_ms(1)), ENDS_AT.plus_ms(1));
    assert_eq!(end_after(ENDS_AT.plus_ms(-1)), ENDS_AT.plus_s(EXTENSION_S).plus_ms(-1));
}

#[test]
fn the_end_never_passes_the_published_bound() {
    for mode in [SoftCloseMode::Extend, SoftCloseMode::Reset] {
        let mut auction = Auction::live(soft(mode));
        for (step, bidder) in [MINA, JUNHO, SEOYEON].into_iter().cycle().take(8).enumerate() {
            let last_tick = auction.state.ends_at.plus_ms(-1);
            let offer = exact(1_000 + 100 * i64::try_from(step).expect("small"));
            let events = auction.at(last_tick).bid(bidder, offer).expect("accepted");
            let moved = events.iter().any(|event| matches!(event, Event::Extended { .. }));
            assert_eq!(moved, last_tick.plus_ms(1) < MAX_ENDS_AT, "{mode:?}, bid {step}");
        }
        assert_eq!(auction.state.ends_at, MAX_ENDS_AT);
        let late = auction.at(MAX_ENDS_AT).bid(MINA, exact(90_000));
        assert_eq!(late, Err(hoga::domain::auction::Rejection::AuctionEnded));
    }
}

#[test]
fn an_extension_is_cut_at_the_bound() {
    let mut auction = Auction::live(soft(SoftCloseMode::Extend));
    let bound = ENDS_AT.plus_s(EXTENSION_S - 1);
    if let Some(soft_close) = auction.state.terms.soft_close.as_mut() {
        soft_close.max_ends_at = bound;
    }
    auction.at(ENDS_AT.plus_ms(-1)).takes(MINA, ceiling(1_000));
    assert_eq!(auction.state.ends_at, bound);
}

#[test]
fn a_refused_bid_never_moves_the_end() {
    let mut auction = Auction::live(soft(SoftCloseMode::Extend));
    assert!(auction.at(ENDS_AT.plus_ms(-1)).bid(MINA, ceiling(999)).is_err());
    assert!(auction.bid(SELLER, ceiling(2_000)).is_err());
    assert_eq!(auction.state.ends_at, ENDS_AT);
}

#[test]
fn a_bid_that_does_not_raise_the_price_does_not_move_the_end() {
    let mut auction = Auction::live(soft(SoftCloseMode::Extend));
    auction.takes(MINA, ceiling(5_000));
    auction.at(ENDS_AT.plus_ms(-1)).takes(MINA, ceiling(6_000));
    assert_eq!(auction.state.ends_at, ENDS_AT, "a raised ceiling");
    auction.takes(JUNHO, ceiling(2_000));
    assert_eq!(auction.state.ends_at, ENDS_AT.plus_s(EXTENSION_S), "a defended price");
}

#[test]
fn a_raise_that_meets_the_reserve_raises_the_price_and_moves_the_end() {
    let reserve_price = Some(won(5_000));
    let mut auction = Auction::live(Terms { reserve_price, ..soft(SoftCloseMode::Extend) });
    auction.takes(MINA, ceiling(2_000));
    auction.at(ENDS_AT.plus_ms(-1)).takes(MINA, ceiling(5_000));
    assert_eq!(auction.state.ends_at, ENDS_AT.plus_s(EXTENSION_S));
}

#[test]
fn the_close_waits_for_the_moved_end() {
    let mut auction = Auction::live(soft(SoftCloseMode::Extend));
    auction.at(ENDS_AT.plus_ms(-1)).takes(MINA, ceiling(1_000));
    let close = hoga::domain::auction::Command::Close;
    assert!(auction.at(ENDS_AT).run(&close).is_err());
    assert!(auction.bid(JUNHO, ceiling(2_000)).is_ok(), "bids are taken after the old end");
    assert!(auction.at(ENDS_AT.plus_s(2 * EXTENSION_S)).run(&close).is_ok());
}
