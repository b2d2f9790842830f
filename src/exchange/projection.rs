//! What the tables hold of a decision: rows made of states and events. Holds no rule.

use super::{clock::What, queue::LoadedLog, request::Answer};
use crate::{
    domain::{
        auction::{Event, Item, Outcome, ResultKind, Scheduled, State, Status, Terms},
        id::{AuctionId, UserId},
        time::Timestamp,
    },
    log::{self, Entry, IncrementForm, hash::Hash},
    store::{EventColumns, ItemRow, NewAuction, ReceiptColumns, ReceiptKey, StandingColumns},
};

/// The rows of an auction that is being created: its first event included.
pub fn new_auction(id: AuctionId, scheduled: Scheduled, at: Timestamp) -> NewAuction {
    let state = State::scheduled(&scheduled);
    let item = item_row(id, &scheduled.item, &scheduled.terms);
    let (seller, relisted_from) = (scheduled.seller, scheduled.relisted_from);
    let event = Event::Scheduled(Box::new(scheduled));
    let entry = log::encode(id, &state, &event, at, Hash::ZERO);
    NewAuction {
        item,
        seller,
        relisted_from,
        at,
        kind: entry.kind,
        data: entry.data,
        private: entry.private,
        hash: entry.hash.0.to_vec(),
        ends_at: state.ends_at,
        buy_now_stands: state.buy_now_stands,
    }
}

pub(super) fn item_row(id: AuctionId, item: &Item, terms: &Terms) -> ItemRow {
    ItemRow {
        id,
        title: item.title.clone(),
        description: item.description.clone(),
        category: item.category.clone(),
        image_keys: json(&item.image_keys),
        attributes: json(&item.attributes),
        currency: terms.currency.code(),
        opening_price: terms.opening_price,
        increment: json(&IncrementForm::from(&terms.increment)),
        reserve_price: terms.reserve_price,
        buy_now_price: terms.buy_now_price,
        bids_per_bidder_max: terms.bids_per_bidder_max.and_then(|max| i32::try_from(max).ok()),
        cap: terms.cap,
        soft_close: terms.soft_close.as_ref().map(json),
        starts_at: terms.starts_at,
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("structs of strings and numbers are always JSON")
}

/// Sequence numbers count events; a log of 2^63 of them does not fit any disk.
pub(super) fn seq(seq: u64) -> i64 {
    i64::try_from(seq).expect("a log has fewer than 2^63 entries")
}

pub(super) fn push_event(columns: &mut EventColumns, entry: Entry) {
    columns.auction_id.push(entry.auction_id);
    columns.seq.push(seq(entry.seq));
    columns.kind.push(entry.kind);
    columns.at.push(entry.at);
    columns.data.push(entry.data);
    columns.private.push(entry.private);
    columns.hash.push(entry.hash.0.to_vec());
}

pub(super) fn push_receipt(columns: &mut ReceiptColumns, key: &ReceiptKey, answer: &Answer) {
    let (accepted, answer) = match answer {
        Answer::Accepted { receipt } => (true, receipt.clone()),
        Answer::Refused(refusal) => (false, json(refusal)),
    };
    columns.user_id.push(key.user);
    columns.key.push(key.key.clone());
    columns.fingerprint.push(key.fingerprint.to_vec());
    columns.accepted.push(accepted);
    columns.answer.push(answer);
}

pub(super) fn push_standing(
    columns: &mut StandingColumns,
    id: AuctionId,
    loaded: &LoadedLog,
    first_seq: u64,
) {
    let state = &loaded.state;
    let (status, result) = status_words(state.status);
    let (winner, runner_up) = winner_and_runner_up(state);
    columns.auction_id.push(id);
    columns.status.push(status);
    columns.result.push(result);
    columns.price.push(state.standing.price);
    columns.minimum_next_bid.push(state.told_minimum());
    columns.bid_count.push(i32::try_from(state.bid_count).unwrap_or(i32::MAX));
    columns.leader_alias.push(state.standing.leader.map(|leader| leader.bidder.to_string()));
    columns.reserve_met.push(state.standing.reserve_met);
    columns.buy_now_stands.push(state.buy_now_stands);
    columns.ends_at.push(state.ends_at);
    columns.due_at.push(state.due_at());
    columns.seq.push(seq(state.seq));
    columns.head_hash.push(loaded.head.0.to_vec());
    columns.leader_id.push(state.standing.leader.and_then(|leader| state.user(leader.bidder)));
    columns.winner_id.push(winner);
    columns.runner_up_id.push(runner_up);
    columns.first_seq.push(seq(first_seq));
}

/// The facts of the closing event, as the state keeps them.
fn winner_and_runner_up(state: &State) -> (Option<UserId>, Option<UserId>) {
    match &state.closed {
        Some(closed) => (
            closed.winner.map(|winner| winner.user),
            closed.runner_up.map(|runner_up| runner_up.user),
        ),
        None => (None, None),
    }
}

/// When the clock next has something to do, and what.
pub(super) fn due(state: &State) -> Option<(Timestamp, What)> {
    let what = match state.status {
        Status::Scheduled => What::Open,
        Status::Live => What::Close,
        Status::Ended(_) | Status::Cancelled => return None,
    };
    state.due_at().map(|at| (at, what))
}

/// The outcome that a receipt names, if this event is what somebody asks for.
pub(super) const fn receipt_outcome(event: &Event) -> Option<&'static str> {
    match event {
        Event::BidPlaced(event) => Some(match event.outcome {
            Outcome::Leading => "leading",
            Outcome::Outbid => "outbid",
            Outcome::Bought => "bought",
        }),
        Event::Bought(_) => Some("bought"),
        Event::BidRetracted(_) => Some("retracted"),
        Event::Scheduled(_)
        | Event::Edited(_)
        | Event::Withdrawn
        | Event::Opened
        | Event::Extended { .. }
        | Event::Closed(_) => None,
    }
}

const fn status_words(status: Status) -> (&'static str, Option<&'static str>) {
    match status {
        Status::Scheduled => ("scheduled", None),
        Status::Live => ("live", None),
        Status::Cancelled => ("cancelled", None),
        Status::Ended(ResultKind::Sold) => ("ended", Some("sold")),
        Status::Ended(ResultKind::UnsoldNoBids) => ("ended", Some("unsold_no_bids")),
        Status::Ended(ResultKind::UnsoldReserveNotMet) => ("ended", Some("unsold_reserve_not_met")),
        Status::Ended(ResultKind::BoughtNow) => ("ended", Some("bought_now")),
        Status::Ended(ResultKind::CancelledByOperator) => ("ended", Some("cancelled_by_operator")),
    }
}
