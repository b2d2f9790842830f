//! Defects that auction programs are known for, and that must be impossible here.

use hoga::domain::{
    auction::{Command, PlaceBid, Rejection, Terms},
    money::{Amount, AmountError},
    time::{SeoulDay, Timestamp},
};

use super::house::*;

#[test]
fn a_price_beyond_32_bits_is_a_price_like_any_other() {
    let opening_price = won(i64::from(i32::MAX));
    let mut auction = Auction::live(Terms { opening_price, ..terms() });
    auction.takes(MINA, ceiling(i64::from(u32::MAX)));
    auction.takes(JUNHO, ceiling(i64::from(u32::MAX) + 1_000));
    assert_eq!(auction.price(), 4_294_967_395);
    assert_eq!(auction.minimum(), 4_294_967_495);
}

#[test]
fn a_price_at_the_largest_cap_has_a_minimum_that_nobody_can_reach() {
    let cap = Amount::CAP_MAX;
    let mut auction = Auction::live(Terms { cap, opening_price: cap, ..terms() });
    auction.takes(MINA, ceiling(cap.minor_units()));
    assert_eq!(auction.minimum(), cap.minor_units() + 100);
    let equal = auction.bid(JUNHO, ceiling(cap.minor_units()));
    assert_eq!(equal, Err(Rejection::BidTooLow { minimum: won(cap.minor_units() + 100) }));
}

#[test]
fn a_first_bid_of_exactly_the_opening_price_is_taken() {
    for offer in [ceiling(1_000), exact(1_000)] {
        let mut auction = Auction::live(terms());
        assert!(auction.bid(MINA, offer).is_ok());
        assert_eq!((auction.price(), auction.leader()), (1_000, Some(MINA)));
    }
}

#[test]
fn a_negative_or_zero_bid_cannot_even_be_written_down() {
    for minor_units in [0, -1, -15_000, i64::MIN] {
        assert_eq!(Amount::new(minor_units), Err(AmountError::NotPositive));
        assert!(serde_json::from_str::<Amount>(&minor_units.to_string()).is_err());
    }
    for not_an_amount in ["1.5", "\"15000\"", "null", "9007199254740992", "1e3"] {
        assert!(serde_json::from_str::<Amount>(not_an_amount).is_err(), "{not_an_amount}");
    }
}

#[test]
fn a_day_in_seoul_does_not_end_at_midnight_in_utc() {
    let at = |text| Timestamp::parse(text).expect("a time");
    let day = |text| SeoulDay::of(at(text)).to_string();
    assert_eq!(day("2026-12-31T14:59:59.999Z"), "2026-12-31");
    assert_eq!(day("2026-12-31T15:00:00.000Z"), "2027-01-01");
    assert_eq!(day("2026-12-31T23:59:59.999Z"), "2027-01-01");
    assert_eq!(day("2027-01-01T00:00:00.000Z"), "2027-01-01", "nothing happens at UTC's midnight");
}

#[test]
fn a_bid_equal_to_the_price_is_not_a_first_bid_again() {
    for offer in [ceiling(1_000), exact(1_000)] {
        let mut auction = Auction::live(terms());
        auction.takes(MINA, exact(1_000));
        assert_eq!(auction.bid(JUNHO, offer), Err(Rejection::BidTooLow { minimum: won(1_100) }));
    }
}

/// Two who saw the same state: whichever order they are decided in, the higher one leads.
#[test]
fn of_two_simultaneous_bids_the_lower_never_wins() {
    let low = bid_at(MINA, ceiling(2_000), STARTS_AT);
    let high = bid_at(JUNHO, ceiling(2_100), STARTS_AT);
    for order in [[low, high], [high, low]] {
        let mut auction = Auction::live(terms());
        for bid in order {
            auction.run(&Command::PlaceBid(bid)).expect("both offer enough");
        }
        assert_eq!((auction.price(), auction.leader()), (2_100, Some(JUNHO)));
    }
}

#[test]
fn of_two_simultaneous_exact_bids_the_second_is_measured_against_the_first() {
    let low = bid_at(MINA, exact(2_000), STARTS_AT);
    let high = bid_at(JUNHO, exact(2_100), STARTS_AT);
    let mut auction = Auction::live(terms());
    auction.run(&Command::PlaceBid(high)).expect("the first");
    let refused = auction.run(&Command::PlaceBid(low));
    assert_eq!(refused, Err(Rejection::BidTooLow { minimum: won(2_200) }));
    assert_eq!(auction.leader(), Some(JUNHO));
}

#[test]
fn of_two_who_saw_the_same_log_only_one_passes_when_both_say_so() {
    let mut auction = Auction::live(terms());
    let seen = Some(auction.state.seq);
    let bid = |bidder, offer| {
        Command::PlaceBid(PlaceBid { expected_seq: seen, ..bid_at(bidder, offer, STARTS_AT) })
    };
    assert!(auction.run(&bid(MINA, ceiling(2_000))).is_ok());
    assert_eq!(auction.run(&bid(JUNHO, ceiling(9_000))), Err(Rejection::PriceMoved));
}
