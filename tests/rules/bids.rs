//! What an offer must be, and what it does to price and lead.

use hoga::domain::{
    auction::{
        BidPlaced, Command, Event, Increment, Outcome, PlaceBid, Rejection, Terms, decide,
        increment::{Rule, Table},
    },
    money::Amount,
};

use super::house::*;

fn too_low(minimum: i64) -> Result<Vec<Event>, Rejection> {
    Err(Rejection::BidTooLow { minimum: won(minimum) })
}

fn outcome(events: &[Event]) -> Option<Outcome> {
    events.iter().find_map(|event| match event {
        Event::BidPlaced(BidPlaced { outcome, .. }) => Some(*outcome),
        Event::Scheduled(_)
        | Event::Edited(_)
        | Event::Withdrawn
        | Event::Opened
        | Event::BidRetracted(_)
        | Event::Extended { .. }
        | Event::Bought(_)
        | Event::Closed(_) => None,
    })
}

#[test]
fn a_bid_that_opens_a_late_auction_goes_by_what_its_bidder_saw_before() {
    for (seen, expected) in [(1, Ok(())), (2, Err(Rejection::PriceMoved))] {
        let mut auction = Auction::scheduled(terms());
        auction.at(STARTS_AT.plus_ms(1));
        let bid =
            PlaceBid { expected_seq: Some(seen), ..bid_at(MINA, ceiling(1_000), auction.now) };
        let answer = auction.run(&Command::PlaceBid(bid));
        assert_eq!(answer.map(|_| ()), expected, "seen {seen}");
    }
}

#[test]
fn the_first_bid_is_refused_one_below_the_opening_price_and_taken_at_it() {
    for offer in [ceiling, exact] {
        let mut auction = Auction::live(terms());
        assert_eq!(auction.bid(MINA, offer(999)), too_low(1_000));
        assert!(auction.bid(MINA, offer(1_000)).is_ok());
        assert_eq!((auction.price(), auction.minimum()), (1_000, 1_100));
    }
}

#[test]
fn a_first_ceiling_sets_the_opening_price_and_a_first_exact_bid_its_amount() {
    let mut by_ceiling = Auction::live(terms());
    by_ceiling.takes(MINA, ceiling(7_000));
    assert_eq!(by_ceiling.price(), 1_000);
    let mut by_amount = Auction::live(terms());
    by_amount.takes(MINA, exact(7_000));
    assert_eq!(by_amount.price(), 7_000);
}

#[test]
fn a_later_bid_is_refused_one_below_the_minimum_and_taken_at_it() {
    for offer in [ceiling, exact] {
        let mut auction = Auction::live(terms());
        auction.takes(MINA, exact(1_000));
        assert_eq!(auction.bid(JUNHO, offer(1_099)), too_low(1_100));
        assert!(auction.bid(JUNHO, offer(1_100)).is_ok());
        assert_eq!((auction.price(), auction.leader()), (1_100, Some(JUNHO)));
    }
}

#[test]
fn the_higher_ceiling_leads_one_step_above_the_lower() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(3_000));
    auction.takes(JUNHO, ceiling(5_000));
    assert_eq!((auction.price(), auction.leader()), (3_100, Some(JUNHO)));
}

#[test]
fn a_bid_can_be_beaten_by_less_than_a_step() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(3_000));
    auction.takes(JUNHO, ceiling(3_001));
    assert_eq!((auction.price(), auction.leader()), (3_001, Some(JUNHO)));
    let mut defended = Auction::live(terms());
    defended.takes(MINA, ceiling(3_001));
    defended.takes(JUNHO, ceiling(3_000));
    assert_eq!((defended.price(), defended.leader()), (3_001, Some(MINA)));
}

#[test]
fn of_equal_ceilings_the_earlier_leads_at_that_price() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(3_000));
    let events = auction.bid(JUNHO, ceiling(3_000)).expect("accepted");
    assert_eq!(outcome(&events), Some(Outcome::Outbid));
    assert_eq!((auction.price(), auction.leader()), (3_000, Some(MINA)));
    assert_eq!(auction.minimum(), 3_100);
}

#[test]
fn an_exact_bid_against_a_ceiling_is_defended_tied_or_wins() {
    let against = |amount| {
        let mut auction = Auction::live(terms());
        auction.takes(MINA, ceiling(3_000));
        auction.takes(JUNHO, exact(amount));
        (auction.price(), auction.leader())
    };
    assert_eq!(against(2_000), (2_100, Some(MINA)));
    assert_eq!(against(2_950), (3_000, Some(MINA)), "the ceiling bounds the defence");
    assert_eq!(against(3_000), (3_000, Some(MINA)), "the earlier leads");
    assert_eq!(against(3_001), (3_001, Some(JUNHO)), "one above the ceiling");
    assert_eq!(against(8_000), (8_000, Some(JUNHO)), "an exact bid is the price itself");
}

#[test]
fn the_price_never_falls_to_what_the_lower_ceiling_would_make_it() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, exact(3_000));
    auction.takes(MINA, ceiling(9_000));
    auction.takes(JUNHO, ceiling(3_100));
    assert_eq!(auction.price(), 3_200);
    auction.takes(SEOYEON, ceiling(3_300));
    assert_eq!(auction.price(), 3_400);
}

#[test]
fn the_leader_raises_the_ceiling_and_the_price_stays() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(3_000));
    let events = auction.bid(MINA, ceiling(3_001)).expect("one more is a raise");
    assert_eq!(outcome(&events), Some(Outcome::Leading));
    assert_eq!((auction.price(), auction.state.bid_count), (1_000, 2));
    auction.takes(JUNHO, ceiling(3_000));
    assert_eq!((auction.price(), auction.leader()), (3_001, Some(MINA)));
}

#[test]
fn the_leader_cannot_repeat_or_lower_the_ceiling_nor_bid_exactly() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(3_000));
    for offer in [ceiling(3_000), ceiling(2_999), ceiling(1), exact(1_100), exact(9_000)] {
        assert_eq!(auction.bid(MINA, offer), Err(Rejection::AlreadyLeading), "{offer:?}");
    }
}

#[test]
fn the_outbid_may_bid_again_from_the_minimum() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(3_000));
    auction.takes(JUNHO, ceiling(5_000));
    assert_eq!(auction.bid(MINA, ceiling(3_199)), too_low(3_200));
    auction.takes(MINA, ceiling(6_000));
    assert_eq!((auction.price(), auction.leader()), (5_100, Some(MINA)));
}

#[test]
fn sellers_do_not_bid_on_their_own_auctions() {
    let mut auction = Auction::live(Terms { buy_now_price: Some(won(9_000)), ..terms() });
    assert_eq!(auction.bid(SELLER, ceiling(1_000)), Err(Rejection::OwnAuction));
    assert_eq!(auction.bid(SELLER, exact(9_000)), Err(Rejection::OwnAuction));
    assert_eq!(auction.buy_now(SELLER), Err(Rejection::OwnAuction));
}

#[test]
fn a_bid_at_the_cap_is_taken_and_one_over_it_refused() {
    for cap in [won(50_000), Amount::CAP_DEFAULT, Amount::CAP_MAX] {
        let mut auction = Auction::live(Terms { cap, ..terms() });
        let over = Amount::new(cap.minor_units() + 1).expect("an amount");
        let refused = auction.confirmed(MINA, hoga::domain::auction::Offer::Ceiling(over));
        assert_eq!(refused, Err(Rejection::OverCap { cap }));
        assert!(auction.confirmed(MINA, exact(cap.minor_units())).is_ok());
        assert_eq!(auction.price(), cap.minor_units());
    }
}

#[test]
fn a_cap_whose_steps_could_not_be_counted_is_no_cap() {
    let over = Amount::new(Amount::CAP_MAX.minor_units() + 1).expect("an amount");
    let now = STARTS_AT;
    assert!(Terms { cap: Amount::CAP_MAX, ..terms() }.check(now).is_ok());
    let errors = Terms { cap: over, ..terms() }.check(now).expect_err("over");
    assert_eq!(errors[0].field, "cap");
}

#[test]
fn the_typo_guard_asks_above_exactly_ten_times_the_minimum() {
    let opening = Terms { opening_price: won(200_000), ..terms() };
    for offer in [ceiling, exact] {
        let mut auction = Auction::live(opening.clone());
        let asked = auction.bid(MINA, offer(2_000_001));
        assert_eq!(asked, Err(Rejection::ConfirmationRequired));
        assert!(auction.bid(MINA, offer(2_000_000)).is_ok());
    }
}

#[test]
fn the_typo_guard_stays_silent_up_to_exactly_a_million() {
    let mut auction = Auction::live(terms());
    assert_eq!(auction.bid(MINA, ceiling(1_000_001)), Err(Rejection::ConfirmationRequired));
    assert!(auction.bid(MINA, ceiling(1_000_000)).is_ok());
}

#[test]
fn the_typo_guard_wants_exactly_the_offer_again() {
    let mut auction = Auction::live(terms());
    for (confirm, expected) in [
        (4_999_999, Err(Rejection::ConfirmationRequired)),
        (5_000_001, Err(Rejection::ConfirmationRequired)),
        (5_000_000, Ok(())),
    ] {
        let bid = PlaceBid {
            confirm_amount: Some(won(confirm)),
            ..bid_at(MINA, ceiling(5_000_000), auction.now)
        };
        assert_eq!(auction.run(&Command::PlaceBid(bid)).map(drop), expected);
    }
}

#[test]
fn the_typo_guard_asks_a_leader_who_raises_too() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(2_000));
    assert_eq!(auction.bid(MINA, ceiling(1_000_001)), Err(Rejection::ConfirmationRequired));
    assert!(auction.confirmed(MINA, ceiling(1_000_001)).is_ok());
}

#[test]
fn each_bidder_has_so_many_bids_and_a_refused_one_is_not_counted() {
    let mut auction = Auction::live(Terms { bids_per_bidder_max: Some(2), ..terms() });
    auction.takes(MINA, ceiling(1_000));
    assert!(auction.bid(MINA, ceiling(900)).is_err());
    auction.takes(MINA, ceiling(2_000));
    let used_up = Err(Rejection::BidLimitReached { max: 2 });
    assert_eq!(auction.bid(MINA, ceiling(3_000)), used_up);
    assert!(auction.bid(JUNHO, ceiling(3_000)).is_ok(), "others have theirs");
}

#[test]
fn a_retracted_bid_still_counts_towards_the_limit() {
    let mut auction = Auction::live(Terms { bids_per_bidder_max: Some(1), ..terms() });
    let bid = auction.takes(MINA, ceiling(1_000));
    auction.retract(MINA, bid).expect("free");
    let used_up = Err(Rejection::BidLimitReached { max: 1 });
    assert_eq!(auction.bid(MINA, ceiling(3_000)), used_up);
}

#[test]
fn a_percentage_is_of_the_opening_price_rounded_up() {
    let increment = Increment::PercentOfOpening { basis_points: 333 };
    let mut auction = Auction::live(Terms { increment, ..terms() });
    auction.takes(MINA, exact(5_000));
    assert_eq!(auction.minimum(), 5_034, "33.3 rounded up, whatever the price is");
    let tiny = Increment::PercentOfOpening { basis_points: 1 };
    let mut auction = Auction::live(Terms { increment: tiny, ..terms() });
    auction.takes(MINA, exact(1_000));
    assert_eq!(auction.minimum(), 1_001, "at least 1");
}

#[test]
fn a_table_steps_by_the_price_below_at_and_above_each_bound() {
    let table =
        |table| Terms { opening_price: won(1), increment: Increment::Table(table), ..terms() };
    let minimum_at = |terms: &Terms, price| {
        let mut auction = Auction::live(terms.clone());
        auction.confirmed(MINA, exact(price)).expect("accepted");
        auction.minimum()
    };
    let won_table = table(Table::Won);
    assert_eq!(minimum_at(&won_table, 9_999), 10_099);
    assert_eq!(minimum_at(&won_table, 10_000), 11_000);
    assert_eq!(minimum_at(&won_table, 10_001), 11_001);
    assert_eq!(minimum_at(&won_table, 10_000_000), 10_500_000);
    let usd = table(Table::EbayUsd);
    assert_eq!(minimum_at(&usd, 99), 104);
    assert_eq!(minimum_at(&usd, 100), 125);
    assert_eq!(minimum_at(&usd, 500_000), 510_000);
    let rules = vec![
        Rule { below: Some(won(10)), step: won(7) },
        Rule { below: Some(won(11)), step: won(3) },
        Rule { below: None, step: won(13) },
    ];
    let own = table(Table::own(rules).expect("a table"));
    assert_eq!([9, 10, 11].map(|price| minimum_at(&own, price)), [16, 13, 24]);
}

#[test]
fn the_step_above_a_beaten_ceiling_is_the_one_at_that_ceiling() {
    let increment = Increment::Table(Table::Won);
    let mut auction = Auction::live(Terms { increment, ..terms() });
    auction.takes(MINA, ceiling(10_000));
    auction.takes(JUNHO, ceiling(50_000));
    assert_eq!(auction.price(), 11_000);
}

fn with_reserve() -> Auction {
    Auction::live(Terms { reserve_price: Some(won(5_000)), ..terms() })
}

#[test]
fn a_first_ceiling_that_meets_the_reserve_lifts_the_price_to_it() {
    let after = |offer| {
        let mut auction = with_reserve();
        auction.takes(MINA, offer);
        (auction.price(), auction.state.standing.reserve_met)
    };
    assert_eq!(after(ceiling(4_999)), (1_000, false));
    assert_eq!(after(ceiling(5_000)), (5_000, true));
    assert_eq!(after(ceiling(5_001)), (5_000, true));
    assert_eq!(after(exact(4_999)), (4_999, false));
    assert_eq!(after(exact(6_000)), (6_000, true));
}

#[test]
fn a_raised_ceiling_that_meets_the_reserve_lifts_the_price_to_it() {
    let mut auction = with_reserve();
    auction.takes(MINA, ceiling(2_000));
    auction.takes(MINA, ceiling(4_999));
    assert_eq!((auction.price(), auction.state.standing.reserve_met), (1_000, false));
    auction.takes(MINA, ceiling(5_000));
    assert_eq!((auction.price(), auction.state.standing.reserve_met), (5_000, true));
}

#[test]
fn a_competing_ceiling_that_meets_the_reserve_lifts_the_price_to_it() {
    let mut auction = with_reserve();
    auction.takes(MINA, ceiling(2_000));
    auction.takes(JUNHO, ceiling(8_000));
    assert_eq!((auction.price(), auction.leader()), (5_000, Some(JUNHO)));
    auction.takes(SEOYEON, ceiling(6_000));
    assert_eq!(auction.price(), 6_100, "above the reserve the usual price holds");
}

#[test]
fn without_a_reserve_it_counts_as_met_once_somebody_leads() {
    let mut auction = Auction::live(terms());
    assert!(!auction.state.standing.reserve_met);
    auction.takes(MINA, ceiling(1_000));
    assert!(auction.state.standing.reserve_met);
}

#[test]
fn a_bid_that_expected_another_log_is_refused() {
    let mut auction = Auction::live(terms());
    for (seen, expected) in [(1, Err(Rejection::PriceMoved)), (2, Ok(()))] {
        let bid =
            PlaceBid { expected_seq: Some(seen), ..bid_at(MINA, ceiling(1_000), auction.now) };
        assert_eq!(auction.run(&Command::PlaceBid(bid)).map(drop), expected);
    }
}

/// Mina leads with 2,000; each step takes one reason away, so the next must be the answer.
#[test]
fn the_first_reason_that_applies_is_the_answer() {
    let limited = Terms { bids_per_bidder_max: Some(1), cap: won(20_000_000), ..terms() };
    let mut auction = Auction::live(limited);
    auction.takes(MINA, ceiling(2_000));
    auction.takes(JUNHO, ceiling(1_500));
    let mut bid = PlaceBid {
        expected_seq: Some(1),
        ..bid_at(SELLER, exact(20_000_001), STARTS_AT.plus_ms(-1))
    };
    let mut answer = |bid: &PlaceBid| auction.run(&Command::PlaceBid(*bid));
    let early = Rejection::AuctionNotLive { starts_at: Some(STARTS_AT) };
    assert_eq!(answer(&bid), Err(early));
    bid.received_at = ENDS_AT;
    assert_eq!(answer(&bid), Err(Rejection::AuctionEnded));
    bid.received_at = STARTS_AT;
    assert_eq!(answer(&bid), Err(Rejection::OwnAuction));
    bid.bidder = MINA;
    assert_eq!(answer(&bid), Err(Rejection::PriceMoved));
    bid.expected_seq = None;
    assert_eq!(answer(&bid), Err(Rejection::OverCap { cap: won(20_000_000) }));
    bid.offer = exact(1);
    assert_eq!(answer(&bid), Err(Rejection::AlreadyLeading));
    bid.bidder = JUNHO;
    assert_eq!(answer(&bid), too_low(1_700));
    bid.offer = exact(20_000_000);
    assert_eq!(answer(&bid), Err(Rejection::ConfirmationRequired));
    bid.confirm_amount = Some(won(20_000_000));
    assert_eq!(answer(&bid), Err(Rejection::BidLimitReached { max: 1 }));
    bid.bidder = SEOYEON;
    assert!(answer(&bid).is_ok());
}

#[test]
fn going_back_looks_through_no_bids() {
    let mut auction = Auction::live(terms());
    auction.takes(MINA, ceiling(2_000));
    auction.takes(JUNHO, ceiling(5_000));
    let mut state = auction.state.clone();
    let mut mark = state.mark();
    let bid = Command::PlaceBid(bid_at(MINA, ceiling(9_000), auction.now));
    for event in decide(&state, &bid, auction.now).expect("accepted") {
        state.evolve_since(&mut mark, &event);
    }
    // Whoever looked for the highest of these would find another one.
    for bid in &mut state.bids {
        bid.offer = ceiling(1_234);
    }
    state.rewind(mark);
    assert_eq!(state.bidders, auction.state.bidders);
}
