//! The decision: a command against a state, at a time. Every rule of who, what and when is here.

use super::{
    command::{BuyNow, CancelByOperator, Command, Edit, PlaceBid, RetractBid, Withdraw},
    event::{BidPlaced, BidRetracted, Bought, Closed, Edited, Event, Hammer, Outcome, ResultKind},
    rejection::Rejection,
    standing::{Offer, Standing},
    state::{State, Status},
    terms::{SoftClose, SoftCloseMode},
};
use crate::domain::{id::UserId, money::Amount, time::Timestamp};

/// The typo guard asks back above this many minor units (RULES, "Bids").
pub const CONFIRM_ABOVE: i64 = 1_000_000;
/// Until so long before the end any bid can be retracted: twelve hours.
pub const RETRACTION_FREE_UNTIL_S: i64 = 12 * 3_600;
/// After that, a bid can be retracted for one hour.
pub const RETRACTION_WITHIN_S: i64 = 3_600;
/// How often an auction can be edited: its log keeps each edit for ever, with the whole item.
pub const EDITS_MAX: u32 = 100;

/// Decides one command. `now` is the time of the decision; what users send carries its own
/// `received_at`, which counts for the clock.
///
/// An auction that the clock has not opened yet although it is due opens first, as part of the
/// same decision, so that a late timer turns nobody away.
///
/// # Errors
/// The first [`Rejection`] that applies; then nothing happened.
pub fn decide(state: &State, command: &Command, now: Timestamp) -> Result<Vec<Event>, Rejection> {
    match command {
        Command::Open => open(state, now),
        Command::Close => close(state, now),
        Command::PlaceBid(bid) => {
            // The bidder cannot have seen the opening that the bid itself brings about.
            let stood_at = state.seq;
            opened(state, bid.received_at, |state| place_bid(state, bid, stood_at))
        }
        Command::BuyNow(buy) => opened(state, buy.received_at, |state| buy_now(state, buy)),
        Command::RetractBid(retraction) => retract(state, retraction),
        Command::Edit(edit) => edit_item_and_terms(state, edit, now),
        Command::Withdraw(withdraw) => call_off(state, withdraw, now),
        Command::CancelByOperator(cancel) => cancel_by_operator(state, cancel, now),
    }
}

fn open(state: &State, now: Timestamp) -> Result<Vec<Event>, Rejection> {
    if state.status == Status::Scheduled && now >= state.terms.starts_at {
        Ok(vec![Event::Opened])
    } else {
        Err(Rejection::NotDue)
    }
}

/// Runs a decision on the state as it will be once a due opening has happened.
fn opened(
    state: &State,
    received_at: Timestamp,
    decide: impl FnOnce(&State) -> Result<Vec<Event>, Rejection>,
) -> Result<Vec<Event>, Rejection> {
    if state.status != Status::Scheduled || received_at < state.terms.starts_at {
        return decide(state);
    }
    let mut open = state.clone();
    open.evolve(&Event::Opened);
    let mut events = decide(&open)?;
    events.insert(0, Event::Opened);
    Ok(events)
}

fn close(state: &State, now: Timestamp) -> Result<Vec<Event>, Rejection> {
    match state.status {
        Status::Live if now >= state.ends_at => Ok(vec![Event::Closed(result_at_end(state))]),
        Status::Scheduled if now >= state.ends_at => {
            Ok(vec![Event::Opened, Event::Closed(result_at_end(state))])
        }
        Status::Scheduled | Status::Live | Status::Ended(_) | Status::Cancelled => {
            Err(Rejection::NotDue)
        }
    }
}

fn result_at_end(state: &State) -> Closed {
    let Some(leader) = state.standing.leader else {
        return Closed { result: ResultKind::UnsoldNoBids, winner: None, runner_up: None };
    };
    let runner_up = state.runner_up(leader.bidder);
    if !state.standing.reserve_met {
        return Closed { result: ResultKind::UnsoldReserveNotMet, winner: None, runner_up: None };
    }
    let winner = state.user(leader.bidder).map(|user| Hammer {
        user,
        bidder_no: leader.bidder,
        price: state.standing.price,
    });
    Closed { result: ResultKind::Sold, winner, runner_up }
}

fn place_bid(state: &State, bid: &PlaceBid, stood_at: u64) -> Result<Vec<Event>, Rejection> {
    require_live(state, bid.received_at)?;
    if bid.bidder == state.seller {
        return Err(Rejection::OwnAuction);
    }
    if bid.expected_seq.is_some_and(|seen| seen != stood_at) {
        return Err(Rejection::PriceMoved);
    }
    let cap = state.terms.cap;
    if bid.offer.limit() > cap {
        return Err(Rejection::OverCap { cap });
    }
    if let Some(price) = buy_now_price(state).filter(|price| bid.offer.limit() >= *price) {
        require_no_slip_of_the_hand(state, bid)?;
        require_bids_left(state, bid.bidder)?;
        return Ok(bought(state, bid.bidder, price, bid.received_at));
    }
    require_offer_suffices(state, bid)?;
    require_no_slip_of_the_hand(state, bid)?;
    require_bids_left(state, bid.bidder)?;
    Ok(accepted(state, bid))
}

/// The clock compares what was received, here, in sequence: not before a lock was waited for.
fn require_live(state: &State, received_at: Timestamp) -> Result<(), Rejection> {
    match state.status {
        Status::Scheduled => {
            Err(Rejection::AuctionNotLive { starts_at: Some(state.terms.starts_at) })
        }
        Status::Cancelled => Err(Rejection::AuctionNotLive { starts_at: None }),
        Status::Ended(_) => Err(Rejection::AuctionEnded),
        Status::Live if received_at < state.terms.starts_at => {
            Err(Rejection::AuctionNotLive { starts_at: Some(state.terms.starts_at) })
        }
        Status::Live if received_at >= state.ends_at => Err(Rejection::AuctionEnded),
        Status::Live => Ok(()),
    }
}

fn require_offer_suffices(state: &State, bid: &PlaceBid) -> Result<(), Rejection> {
    if state.is_leader(bid.bidder) {
        let ceiling = state.standing.leader.map(|leader| leader.ceiling);
        return match bid.offer {
            Offer::Ceiling(raised) if Some(raised) > ceiling => Ok(()),
            Offer::Ceiling(_) | Offer::Exact(_) => Err(Rejection::AlreadyLeading),
        };
    }
    let minimum = state.minimum_next_bid();
    if bid.offer.limit() < minimum {
        return Err(Rejection::BidTooLow { minimum });
    }
    Ok(())
}

fn require_no_slip_of_the_hand(state: &State, bid: &PlaceBid) -> Result<(), Rejection> {
    let offer = bid.offer.limit();
    let far_above =
        offer.minor_units() > CONFIRM_ABOVE && offer > state.minimum_next_bid().times_ten();
    if far_above && bid.confirm_amount != Some(offer) {
        return Err(Rejection::ConfirmationRequired);
    }
    Ok(())
}

fn require_bids_left(state: &State, bidder: UserId) -> Result<(), Rejection> {
    let accepted = state.bidders.get(&bidder).map_or(0, |bidder| bidder.accepted);
    match state.terms.bids_per_bidder_max {
        Some(max) if accepted >= max => Err(Rejection::BidLimitReached { max }),
        Some(_) | None => Ok(()),
    }
}

fn accepted(state: &State, bid: &PlaceBid) -> Vec<Event> {
    let bidder_no = state.bidder_no(bid.bidder);
    let standing = state.standing.after(&state.terms, bidder_no, bid.offer);
    let leads = standing.leader.is_some_and(|leader| leader.bidder == bidder_no);
    let mut events = vec![Event::BidPlaced(BidPlaced {
        bidder: bid.bidder,
        bidder_no,
        offer: bid.offer,
        salt: bid.salt,
        outcome: if leads { Outcome::Leading } else { Outcome::Outbid },
        standing,
        received_at: bid.received_at,
    })];
    let raises_price = state.standing.leader.is_none() || standing.price > state.standing.price;
    if let Some(ends_at) = extended_end(state, bid.received_at).filter(|_| raises_price) {
        events.push(Event::Extended { ends_at });
    }
    events
}

/// The end that a price-raising bid received now moves to, if it moves at all.
fn extended_end(state: &State, received_at: Timestamp) -> Option<Timestamp> {
    let SoftClose { trigger_window_s, extension_s, mode, max_ends_at } = state.terms.soft_close?;
    if received_at < state.ends_at.plus_s(-i64::from(trigger_window_s)) {
        return None;
    }
    let from = match mode {
        SoftCloseMode::Extend => state.ends_at,
        SoftCloseMode::Reset => received_at,
    };
    let ends_at = from.plus_s(i64::from(extension_s)).min(max_ends_at);
    (ends_at > state.ends_at).then_some(ends_at)
}

fn buy_now_price(state: &State) -> Option<Amount> {
    state.terms.buy_now_price.filter(|_| state.buy_now_stands)
}

fn buy_now(state: &State, buy: &BuyNow) -> Result<Vec<Event>, Rejection> {
    require_live(state, buy.received_at)?;
    if buy.buyer == state.seller {
        return Err(Rejection::OwnAuction);
    }
    let price = buy_now_price(state).ok_or(Rejection::BuyNowUnavailable)?;
    if buy.expected_price.is_some_and(|expected| expected != price) {
        return Err(Rejection::PriceMoved);
    }
    Ok(bought(state, buy.buyer, price, buy.received_at))
}

fn bought(state: &State, buyer: UserId, price: Amount, received_at: Timestamp) -> Vec<Event> {
    let buyer_no = state.bidder_no(buyer);
    let closed = Closed {
        result: ResultKind::BoughtNow,
        winner: Some(Hammer { user: buyer, bidder_no: buyer_no, price }),
        runner_up: state.runner_up(buyer_no),
    };
    vec![Event::Bought(Bought { buyer, buyer_no, price, received_at }), Event::Closed(closed)]
}

fn retract(state: &State, retraction: &RetractBid) -> Result<Vec<Event>, Rejection> {
    require_live(state, retraction.received_at)?;
    let bid = state
        .bids
        .binary_search_by_key(&retraction.bid_seq, |bid| bid.seq)
        .map(|place| state.bids[place])
        .map_err(|_| Rejection::BidNotFound)?;
    if state.user(bid.bidder) != Some(retraction.bidder) {
        return Err(Rejection::NotYourBid);
    }
    if bid.retracted {
        return Err(Rejection::BidAlreadyRetracted);
    }
    let free = retraction.received_at <= state.ends_at.plus_s(-RETRACTION_FREE_UNTIL_S);
    let fresh = retraction.received_at <= bid.received_at.plus_s(RETRACTION_WITHIN_S);
    if !free && !fresh {
        return Err(Rejection::RetractionTooLate);
    }
    Ok(vec![Event::BidRetracted(Box::new(BidRetracted {
        bid_seq: bid.seq,
        bidder_no: bid.bidder,
        reason: retraction.reason.clone(),
        standing: standing_without(state, bid.seq),
    }))])
}

/// Price and lead recomputed from the bids that remain, in the order in which they came.
fn standing_without(state: &State, bid_seq: u64) -> Standing {
    state
        .standing_bids()
        .filter(|bid| bid.seq != bid_seq)
        .fold(Standing::at_opening(&state.terms), |standing, bid| {
            standing.after(&state.terms, bid.bidder, bid.offer)
        })
}

fn edit_item_and_terms(
    state: &State,
    edit: &Edit,
    now: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    require_seller(state, edit.by)?;
    require_version(state, edit.expected_seq)?;
    require_scheduled(state, now)?;
    require_edits_left(state)?;
    Ok(vec![Event::Edited(Box::new(Edited {
        item: edit.item.clone(),
        terms: edit.terms.clone(),
        reserve_salt: edit.reserve_salt,
    }))])
}

fn call_off(state: &State, withdraw: &Withdraw, now: Timestamp) -> Result<Vec<Event>, Rejection> {
    require_seller(state, withdraw.by)?;
    require_version(state, withdraw.expected_seq)?;
    require_scheduled(state, now)?;
    Ok(vec![Event::Withdrawn])
}

/// What the clock has already decided stands, even if its timer is late: the house cancels no
/// auction that has run out, and one that is due to be live ends as a live one.
fn cancel_by_operator(
    state: &State,
    cancel: &CancelByOperator,
    now: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    require_version(state, cancel.expected_seq)?;
    let cancelled = Event::Closed(Closed {
        result: ResultKind::CancelledByOperator,
        winner: None,
        runner_up: None,
    });
    match state.status {
        Status::Ended(_) => Err(Rejection::AuctionEnded),
        Status::Cancelled => Err(Rejection::NotEditable),
        Status::Scheduled | Status::Live if now >= state.ends_at => Err(Rejection::AuctionEnded),
        Status::Scheduled if now < state.terms.starts_at => Ok(vec![Event::Withdrawn]),
        Status::Scheduled => Ok(vec![Event::Opened, cancelled]),
        Status::Live => Ok(vec![cancelled]),
    }
}

fn require_seller(state: &State, user: UserId) -> Result<(), Rejection> {
    if state.seller == user { Ok(()) } else { Err(Rejection::NotYourAuction) }
}

fn require_version(state: &State, expected_seq: Option<u64>) -> Result<(), Rejection> {
    match expected_seq {
        Some(seen) if seen != state.seq => Err(Rejection::StaleVersion),
        Some(_) | None => Ok(()),
    }
}

fn require_edits_left(state: &State) -> Result<(), Rejection> {
    if state.edits < EDITS_MAX {
        Ok(())
    } else {
        Err(Rejection::EditLimitReached { max: EDITS_MAX })
    }
}

/// From `starts_at` on an auction counts as live, also while the timer that opens it is late.
fn require_scheduled(state: &State, now: Timestamp) -> Result<(), Rejection> {
    match state.status {
        Status::Scheduled if now < state.terms.starts_at => Ok(()),
        Status::Scheduled | Status::Live | Status::Ended(_) | Status::Cancelled => {
            Err(Rejection::NotEditable)
        }
    }
}
