//! Auctions as the lanes decide them: the events of a decision, their entries in the log, the rows
//! that follow from them, and the answer. The rules themselves are in [`crate::domain::auction`].

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        auction::{
            Command, Event, Item, Mark, Offer, Outcome, PlaceBid, Rejection, ResultKind, Salt,
            Scheduled, State, Status, Terms, decide,
        },
        id::{AuctionId, LogId, UserId},
        money::Money,
        time::Timestamp,
    },
    events::envelope::Envelope,
    exchange::{
        clock::What,
        kinds::{Decided, MadeOf},
        queue::{Chain, Draft},
        request::{Answer, Refusal},
    },
    log::{self, Entry, IncrementForm, hash::Hash},
    store::{EventColumns, EventRow, ItemRow, NewAuction, StandingColumns},
};

/// A rejection, with what helps the caller to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuctionRefusal {
    /// Why.
    pub rejection: Rejection,
    /// Where the auction stood.
    #[serde(rename = "snapshot")]
    pub figures: Figures,
    /// Of the HTTP request that was refused first.
    pub request_id: Option<String>,
}

/// Where an auction stood when it said no. Public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The last event's sequence number.
    pub seq: u64,
    /// The visible price.
    pub price: Money,
    /// The least that is accepted from somebody who does not lead, while such bids are taken.
    pub minimum_next_bid: Option<Money>,
    /// The end as it stands.
    pub ends_at: Timestamp,
}

impl Figures {
    /// Of a state.
    pub fn of(state: &State) -> Figures {
        let currency = state.terms.currency;
        Figures {
            seq: state.seq,
            price: Money { amount: state.standing.price, currency },
            minimum_next_bid: state.told_minimum().map(|amount| Money { amount, currency }),
            ends_at: state.ends_at,
        }
    }
}

/// The answer to what was accepted (API, "Receipt").
#[derive(Debug, Serialize)]
struct Receipt<'a> {
    auction_id: AuctionId,
    seq: u64,
    outcome: &'static str,
    price: Money,
    minimum_next_bid: Option<Money>,
    ends_at: Timestamp,
    reserve_met: Option<bool>,
    received_at: Timestamp,
    decided_at: Timestamp,
    hash: Hash,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling_salt: Option<&'a str>,
}

/// A decision on its way: what it changes.
pub(in crate::exchange) struct Deciding<'a> {
    pub state: &'a mut State,
    pub mark: &'a mut Mark,
    pub chain: &'a mut Chain,
    pub draft: &'a mut Draft,
}

impl Deciding<'_> {
    /// Decides, applies what follows, and writes it down.
    pub fn decide(
        &mut self,
        command: &Command,
        request_id: Option<&str>,
        at: Timestamp,
    ) -> Decided {
        match decide(self.state, command, at) {
            Ok(events) => self.apply(command, &events, at),
            Err(rejection) => {
                let figures = Figures::of(self.state);
                let request_id = request_id.map(str::to_owned);
                let refusal = AuctionRefusal { rejection, figures, request_id };
                Decided { answer: Answer::Refused(Refusal::Auction(refusal)), made_of: None }
            }
        }
    }

    /// Applies events and writes them down; the receipt of the one that was asked for.
    fn apply(&mut self, command: &Command, events: &[Event], at: Timestamp) -> Decided {
        let LogId::Auction(id) = self.chain.id;
        let mut asked_for = None;
        for event in events {
            self.state.evolve_since(self.mark, event);
            let entry = log::encode(id, self.state, event, at, self.chain.head);
            self.chain.extend(entry.hash, at);
            if let Some(outcome) = receipt_outcome(event) {
                asked_for = Some((entry.seq, entry.hash, outcome));
            }
            if let Event::Edited(edited) = event {
                self.draft.rows.items.push(item_row(id, &edited.item, &edited.terms));
            }
            self.draft.events.push(Envelope::of(&entry));
            push_event(&mut self.draft.rows.events, entry);
        }
        let (seq, hash, outcome) = asked_for.unwrap_or((self.state.seq, self.chain.head, "done"));
        // What bought at once has no commitment to open.
        let salt = ceiling_salt(command).filter(|_| outcome != "bought");
        let figures = Figures::of(self.state);
        let receipt = Receipt {
            auction_id: id,
            seq,
            outcome,
            price: figures.price,
            minimum_next_bid: figures.minimum_next_bid,
            ends_at: self.state.ends_at,
            reserve_met: self.state.told_reserve_met(),
            received_at: received_at(command).unwrap_or(at),
            decided_at: at,
            hash,
            ceiling_salt: salt.as_ref().map(|salt| salt.as_str()),
        };
        let made_of = is_made_of_events(outcome).then(|| MadeOf {
            seq: self::seq(seq),
            events: i16::try_from(self.state.seq - seq + 1).unwrap_or(i16::MAX),
        });
        Decided { answer: Answer::Accepted { receipt: receipt.encode() }, made_of }
    }
}

/// Whether a receipt of this outcome says nothing that its events do not: those of bids, which are
/// nearly all.
fn is_made_of_events(outcome: &str) -> bool {
    matches!(outcome, "leading" | "outbid")
}

/// The receipt of a bid, made of its event and those that followed from it: the same bytes.
pub(in crate::exchange) fn receipt_again(id: AuctionId, events: &[EventRow]) -> Option<String> {
    let (first, last) = (events.first()?, events.last()?);
    let event = log::decode(&first.kind, &first.data, first.private.as_deref()).ok()?;
    let outcome = receipt_outcome(&event).filter(|outcome| is_made_of_events(outcome))?;
    let Event::BidPlaced(bid) = event else { return None };
    let after = log::after(&last.kind, &last.data).ok()?;
    let salt = matches!(bid.offer, Offer::Ceiling(_)).then(|| salt_hex(bid.salt));
    let receipt = Receipt {
        auction_id: id,
        seq: u64::try_from(first.seq).ok()?,
        outcome,
        price: after.price,
        minimum_next_bid: after.minimum(),
        ends_at: after.ends_at,
        reserve_met: log::told_reserve_met(&first.data)?,
        received_at: bid.received_at,
        decided_at: first.at,
        hash: Hash::from_slice(&first.hash)?,
        ceiling_salt: salt.as_ref().map(|salt| salt.as_str()),
    };
    Some(receipt.encode())
}

impl Receipt<'_> {
    fn encode(&self) -> String {
        serde_json::to_string(self).expect("a struct of strings and numbers is always JSON")
    }
}

/// What opens the commitment to a ceiling; told to its bidder alone.
fn ceiling_salt(command: &Command) -> Option<const_hex::Buffer<16>> {
    if let Command::PlaceBid(PlaceBid { offer: Offer::Ceiling(_), salt, .. }) = command {
        Some(salt_hex(*salt))
    } else {
        None
    }
}

fn salt_hex(salt: Salt) -> const_hex::Buffer<16> {
    const_hex::const_encode(&salt)
}

/// When what users send was received.
pub(in crate::exchange) fn received_at(command: &Command) -> Option<Timestamp> {
    match command {
        Command::PlaceBid(bid) => Some(bid.received_at),
        Command::BuyNow(buy) => Some(buy.received_at),
        Command::RetractBid(retraction) => Some(retraction.received_at),
        Command::Open
        | Command::Close
        | Command::Edit(_)
        | Command::Withdraw(_)
        | Command::CancelByOperator(_) => None,
    }
}

/// Whether it is only read from now on.
pub(in crate::exchange) const fn is_over(state: &State) -> bool {
    matches!(state.status, Status::Ended(_) | Status::Cancelled)
}

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

pub(in crate::exchange) fn item_row(id: AuctionId, item: &Item, terms: &Terms) -> ItemRow {
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
pub(in crate::exchange) fn seq(seq: u64) -> i64 {
    i64::try_from(seq).expect("a log has fewer than 2^63 entries")
}

pub(in crate::exchange) fn push_event(columns: &mut EventColumns, entry: Entry) {
    columns.auction_id.push(entry.auction_id);
    columns.seq.push(seq(entry.seq));
    columns.kind.push(entry.kind);
    columns.at.push(entry.at);
    columns.data.push(entry.data);
    columns.private.push(entry.private);
    columns.hash.push(entry.hash.0.to_vec());
}

pub(in crate::exchange) fn push_standing(
    columns: &mut StandingColumns,
    state: &State,
    chain: &Chain,
    first_seq: u64,
) {
    let LogId::Auction(id) = chain.id;
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
    columns.head_hash.push(chain.head.0.to_vec());
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
pub(in crate::exchange) fn due(state: &State) -> Option<(Timestamp, What)> {
    let what = match state.status {
        Status::Scheduled => What::Open,
        Status::Live => What::Close,
        Status::Ended(_) | Status::Cancelled => return None,
    };
    state.due_at().map(|at| (at, what))
}

/// The outcome that a receipt names, if this event is what somebody asks for.
pub(in crate::exchange) const fn receipt_outcome(event: &Event) -> Option<&'static str> {
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
