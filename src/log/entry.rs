//! The log entry: an event in the two halves in which it is kept, public and private.
//!
//! The public half (`data`) is what anybody may read and recompute: canonical JSON (RFC 8785),
//! which here means structs whose fields stand in alphabetical order. The private half holds what
//! only the exchange may know. Both together are the event again: [`decode`].

use serde::{Deserialize, Serialize};

use super::hash::{Hash, commitment, entry_hash};
use crate::domain::{
    auction::{
        BidPlaced, BidRetracted, BidderNo, Bought, Closed, Edited, Event, Hammer, Increment, Item,
        Leader, Offer, Outcome, ResultKind, RunnerUp, Salt, Scheduled, SoftClose, Standing, State,
        Terms,
        increment::{Rule, Table},
    },
    id::{AuctionId, UserId},
    money::{Amount, Money},
    time::Timestamp,
};

/// One event as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose log.
    pub auction_id: AuctionId,
    /// From 1, without gaps.
    pub seq: u64,
    /// Such as `bid.placed`.
    pub kind: &'static str,
    /// When it was decided.
    pub at: Timestamp,
    /// The public half: canonical JSON.
    pub data: String,
    /// The private half: JSON, never shown.
    pub private: Option<String>,
    /// Over the public form and the hash before.
    pub hash: Hash,
    /// What every public form says of the auction after the event.
    pub after: After,
}

/// Where the auction stands after an event: part of every event's public half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// How many bids stand.
    pub bid_count: u32,
    /// The end as it stands.
    pub ends_at: Timestamp,
    /// Who leads.
    pub leader: Option<BidderNo>,
    /// The least that is accepted next from somebody who does not lead.
    pub minimum_next_bid: Minimum,
    /// The visible price.
    pub price: Money,
}

/// The least that is accepted next, as far as an event says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minimum {
    /// So much.
    Of(Amount),
    /// Nobody can bid any more.
    NoMore,
    /// It is as it was before the event, which does not say it: an extension as earlier versions
    /// wrote it.
    AsBefore,
}

impl From<Option<Amount>> for Minimum {
    fn from(told: Option<Amount>) -> Minimum {
        told.map_or(Minimum::NoMore, Minimum::Of)
    }
}

impl After {
    /// Of a state that has the event applied.
    pub fn of(state: &State, event: &Event) -> After {
        let is_last_chance_gone =
            matches!(event, Event::Withdrawn | Event::Bought(_) | Event::Closed(_));
        After {
            bid_count: state.bid_count,
            ends_at: state.ends_at,
            leader: state.standing.leader.map(|leader| leader.bidder),
            minimum_next_bid: state.told_minimum().filter(|_| !is_last_chance_gone).into(),
            price: Money { amount: state.standing.price, currency: state.terms.currency },
        }
    }

    /// The minimum as money, where there is one.
    pub(crate) fn minimum(self) -> Option<Money> {
        match self.minimum_next_bid {
            Minimum::Of(amount) => Some(Money { amount, currency: self.price.currency }),
            Minimum::NoMore | Minimum::AsBefore => None,
        }
    }
}

/// Encodes an event that `state` already has applied, as the entry that follows `prev_hash`.
pub fn encode(
    auction_id: AuctionId,
    state: &State,
    event: &Event,
    at: Timestamp,
    prev_hash: Hash,
) -> Entry {
    let after = After::of(state, event);
    let (data, private) = halves(state, event, after);
    let kind = event.kind();
    let hash = entry_hash(auction_id, state.seq, kind, at, &data, prev_hash);
    Entry { auction_id, seq: state.seq, kind, at, data, private, hash, after }
}

fn halves(state: &State, event: &Event, after: After) -> (String, Option<String>) {
    match event {
        Event::Scheduled(event) => (
            json(&TermsData::of(state, &event.item, event.reserve_salt, after, {
                Some(Origin { relisted_from: event.relisted_from, seller_id: event.seller })
            })),
            Some(json(&TermsPrivate::of(&event.terms, event.reserve_salt))),
        ),
        Event::Edited(event) => (
            json(&TermsData::of(state, &event.item, event.reserve_salt, after, None)),
            Some(json(&TermsPrivate::of(&event.terms, event.reserve_salt))),
        ),
        Event::Withdrawn | Event::Opened => (json(&PlainData::of(after)), None),
        Event::Extended { .. } => {
            let minimum_next_bid = Some(after.minimum());
            (json(&PlainData { minimum_next_bid, ..PlainData::of(after) }), None)
        }
        Event::BidPlaced(event) => (
            json(&BidPlacedData::of(state, event, after)),
            Some(json(&BidPlacedPrivate::of(event))),
        ),
        Event::BidRetracted(event) => (
            json(&BidRetractedData::of(state, event, after)),
            Some(json(&BidRetractedPrivate::of(event))),
        ),
        Event::Bought(event) => {
            (json(&BoughtData::of(event, after)), Some(json(&BoughtPrivate { buyer: event.buyer })))
        }
        Event::Closed(event) => {
            (json(&ClosedData::of(event, after)), Some(json(&ClosedPrivate::of(event))))
        }
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("structs of strings and numbers are always JSON")
}

/// A stored entry that does not make sense: the log was damaged, or written by a later version.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not a type that this version knows.
    #[error("event type {0} is unknown to this version of Hoga")]
    UnknownKind(String),
    /// A half is not the JSON that this type has.
    #[error("event of type {kind} cannot be read: {source}")]
    Malformed {
        /// The type.
        kind: String,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// The private half is missing, or the halves contradict each other.
    #[error("event of type {0} lacks what it must say")]
    Incomplete(String),
}

/// Puts the two halves of a stored event together again.
///
/// # Errors
/// When the log was damaged, or written by a later version.
pub fn decode(kind: &str, data: &str, private: Option<&str>) -> Result<Event, DecodeError> {
    let malformed = |source| DecodeError::Malformed { kind: kind.to_owned(), source };
    let private = || private.ok_or_else(|| DecodeError::Incomplete(kind.to_owned()));
    let event = match kind {
        "auction.scheduled" => {
            let public: TermsData = serde_json::from_str(data).map_err(malformed)?;
            let private: TermsPrivate = serde_json::from_str(private()?).map_err(malformed)?;
            public.into_scheduled(private)
        }
        "auction.edited" => {
            let public: TermsData = serde_json::from_str(data).map_err(malformed)?;
            let private: TermsPrivate = serde_json::from_str(private()?).map_err(malformed)?;
            public.into_edited(private)
        }
        "auction.withdrawn" => Some(Event::Withdrawn),
        "auction.opened" => Some(Event::Opened),
        "auction.extended" => {
            let public: PlainData = serde_json::from_str(data).map_err(malformed)?;
            Some(Event::Extended { ends_at: public.ends_at })
        }
        "bid.placed" => {
            let public: BidPlacedData = serde_json::from_str(data).map_err(malformed)?;
            let private: BidPlacedPrivate = serde_json::from_str(private()?).map_err(malformed)?;
            public.into_event(private)
        }
        "bid.retracted" => {
            let public: BidRetractedData = serde_json::from_str(data).map_err(malformed)?;
            let private: BidRetractedPrivate =
                serde_json::from_str(private()?).map_err(malformed)?;
            public.into_event(private)
        }
        "auction.bought" => {
            let public: BoughtData = serde_json::from_str(data).map_err(malformed)?;
            let private: BoughtPrivate = serde_json::from_str(private()?).map_err(malformed)?;
            public.into_event(private)
        }
        "auction.closed" => {
            let public: ClosedData = serde_json::from_str(data).map_err(malformed)?;
            let private: ClosedPrivate = serde_json::from_str(private()?).map_err(malformed)?;
            public.into_event(private)
        }
        _ => return Err(DecodeError::UnknownKind(kind.to_owned())),
    };
    event.ok_or_else(|| DecodeError::Incomplete(kind.to_owned()))
}

/// `bidder-7`, as the log writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alias(pub(super) BidderNo);

impl Serialize for Alias {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Alias {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.strip_prefix("bidder-")
            .and_then(|number| number.parse().ok())
            .map(|number| Alias(BidderNo(number)))
            .ok_or_else(|| serde::de::Error::custom("must be an alias, such as bidder-7"))
    }
}

/// Sixteen bytes as 32 hex digits.
#[derive(Debug, Clone, Copy)]
struct HexSalt(Salt);

impl Serialize for HexSalt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(const_hex::const_encode::<16, false>(&self.0).as_str())
    }
}

impl<'de> Deserialize<'de> for HexSalt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut salt = [0; 16];
        const_hex::decode_to_slice(text.as_ref(), &mut salt)
            .map_err(|_| serde::de::Error::custom("must be 32 hex digits"))?;
        Ok(HexSalt(salt))
    }
}

/// The increment as the API and the log write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum IncrementForm {
    /// `{"basis_points", "kind": "percent_of_opening"}`
    Percent {
        /// Of the opening price.
        basis_points: u32,
        /// `percent_of_opening`
        kind: PercentKind,
    },
    /// `{"kind": "fixed", "step"}`
    Fixed {
        /// `fixed`
        kind: FixedKind,
        /// Minor units.
        step: Amount,
    },
    /// `{"kind": "table", "rules"}`
    Own {
        /// `table`
        kind: TableKind,
        /// The last one with `below` null.
        rules: Vec<RuleForm>,
    },
    /// `{"kind": "table", "table"}`
    Named {
        /// `table`
        kind: TableKind,
        /// `won` or `ebay_usd`
        table: String,
    },
}

macro_rules! one_word {
    ($(#[$docs:meta])* $name:ident, $word:literal) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            #[doc = concat!("`", $word, "`")]
            #[serde(rename = $word)]
            Word,
        }
    };
}
one_word! {
    /// The word that tells a fixed step.
    FixedKind, "fixed"
}
one_word! {
    /// The word that tells a share of the opening price.
    PercentKind, "percent_of_opening"
}
one_word! {
    /// The word that tells a table.
    TableKind, "table"
}

/// One rule of a table as the API and the log write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleForm {
    /// Below this price; null on the last rule.
    pub below: Option<Amount>,
    /// This step.
    pub step: Amount,
}

impl From<&Increment> for IncrementForm {
    fn from(increment: &Increment) -> IncrementForm {
        match increment {
            Increment::Fixed(step) => IncrementForm::Fixed { kind: FixedKind::Word, step: *step },
            Increment::PercentOfOpening { basis_points } => {
                IncrementForm::Percent { basis_points: *basis_points, kind: PercentKind::Word }
            }
            Increment::Table(Table::Own(rules)) => IncrementForm::Own {
                kind: TableKind::Word,
                rules: rules
                    .iter()
                    .map(|rule| RuleForm { below: rule.below, step: rule.step })
                    .collect(),
            },
            Increment::Table(named @ (Table::EbayUsd | Table::Won)) => {
                IncrementForm::Named { kind: TableKind::Word, table: named.to_string() }
            }
        }
    }
}

impl IncrementForm {
    /// The rule that is written here.
    ///
    /// # Errors
    /// What is wrong with the table, in words for the caller.
    pub fn into_increment(self) -> Result<Increment, String> {
        match self {
            IncrementForm::Fixed { step, .. } => Ok(Increment::Fixed(step)),
            IncrementForm::Percent { basis_points, .. } => {
                Ok(Increment::PercentOfOpening { basis_points })
            }
            IncrementForm::Named { table, .. } => Table::named(&table)
                .map(Increment::Table)
                .ok_or_else(|| "the named tables are won and ebay_usd".to_owned()),
            IncrementForm::Own { rules, .. } => {
                let rules =
                    rules.iter().map(|rule| Rule { below: rule.below, step: rule.step }).collect();
                Table::own(rules).map(Increment::Table).map_err(|error| error.to_string())
            }
        }
    }
}

// The public halves. Fields in alphabetical order, `_` before letters: that is what makes them
// canonical; `tests::the_public_half_is_canonical` holds them to it.

#[derive(Serialize, Deserialize)]
pub(super) struct PlainData {
    pub(super) bid_count: u32,
    pub(super) ends_at: Timestamp,
    pub(super) leader_alias: Option<Alias>,
    /// Of an extension, which comes with a bid; those of earlier versions have none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) minimum_next_bid: Option<Option<Money>>,
    pub(super) price: Money,
}

/// Tells null from what is not there.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Money>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl PlainData {
    fn of(after: After) -> PlainData {
        PlainData {
            bid_count: after.bid_count,
            ends_at: after.ends_at,
            leader_alias: after.leader.map(Alias),
            minimum_next_bid: None,
            price: after.price,
        }
    }
}

/// Reads what every public half says of the auction after the event.
///
/// # Errors
/// When `data` is not the public half of an event.
pub fn after(kind: &str, data: &str) -> Result<After, serde_json::Error> {
    let plain: PlainData = serde_json::from_str(data)?;
    let minimum_next_bid = match (plain.minimum_next_bid, kind) {
        (Some(told), _) => told.map(|money| money.amount).into(),
        (None, "auction.scheduled" | "auction.edited" | "auction.opened") => {
            Minimum::Of(plain.price.amount)
        }
        (None, "auction.withdrawn" | "auction.bought" | "auction.closed") => Minimum::NoMore,
        (None, _) => Minimum::AsBefore,
    };
    Ok(After {
        bid_count: plain.bid_count,
        ends_at: plain.ends_at,
        leader: plain.leader_alias.map(|alias| alias.0),
        minimum_next_bid,
        price: plain.price,
    })
}

#[derive(Serialize, Deserialize)]
pub(super) struct TermsData {
    pub(super) bid_count: u32,
    pub(super) bids_per_bidder_max: Option<u32>,
    pub(super) buy_now_price: Option<Money>,
    pub(super) cap: Money,
    pub(super) ends_at: Timestamp,
    pub(super) increment: IncrementForm,
    pub(super) item: Item,
    pub(super) leader_alias: Option<Alias>,
    pub(super) opening_price: Money,
    pub(super) price: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) relisted_from: Option<AuctionId>,
    pub(super) reserve_commitment: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seller_id: Option<UserId>,
    pub(super) soft_close: Option<SoftClose>,
    pub(super) starts_at: Timestamp,
}

struct Origin {
    relisted_from: Option<AuctionId>,
    seller_id: UserId,
}

#[derive(Serialize, Deserialize)]
struct TermsPrivate {
    reserve_price: Option<Amount>,
    reserve_salt: HexSalt,
}

impl TermsPrivate {
    fn of(terms: &Terms, salt: Salt) -> TermsPrivate {
        TermsPrivate { reserve_price: terms.reserve_price, reserve_salt: HexSalt(salt) }
    }
}

impl TermsData {
    fn of(state: &State, item: &Item, salt: Salt, after: After, origin: Option<Origin>) -> Self {
        let terms = &state.terms;
        let money = |amount| Money { amount, currency: terms.currency };
        TermsData {
            bid_count: after.bid_count,
            bids_per_bidder_max: terms.bids_per_bidder_max,
            buy_now_price: terms.buy_now_price.map(money),
            cap: money(terms.cap),
            ends_at: after.ends_at,
            increment: IncrementForm::from(&terms.increment),
            item: item.clone(),
            leader_alias: after.leader.map(Alias),
            opening_price: money(terms.opening_price),
            price: after.price,
            relisted_from: origin.as_ref().and_then(|origin| origin.relisted_from),
            reserve_commitment: terms.reserve_price.map(|reserve| commitment(salt, reserve)),
            seller_id: origin.map(|origin| origin.seller_id),
            soft_close: terms.soft_close,
            starts_at: terms.starts_at,
        }
    }

    fn terms(&self, private: &TermsPrivate) -> Option<Terms> {
        Some(Terms {
            currency: self.opening_price.currency,
            opening_price: self.opening_price.amount,
            increment: self.increment.clone().into_increment().ok()?,
            reserve_price: private.reserve_price,
            buy_now_price: self.buy_now_price.map(|money| money.amount),
            bids_per_bidder_max: self.bids_per_bidder_max,
            cap: self.cap.amount,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            soft_close: self.soft_close,
        })
    }

    fn into_scheduled(self, private: TermsPrivate) -> Option<Event> {
        Some(Event::Scheduled(Box::new(Scheduled {
            seller: self.seller_id?,
            terms: self.terms(&private)?,
            item: self.item,
            relisted_from: self.relisted_from,
            reserve_salt: private.reserve_salt.0,
        })))
    }

    fn into_edited(self, private: TermsPrivate) -> Option<Event> {
        Some(Event::Edited(Box::new(Edited {
            terms: self.terms(&private)?,
            item: self.item,
            reserve_salt: private.reserve_salt.0,
        })))
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct BidPlacedData {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) amount: Option<Money>,
    pub(super) bid_count: u32,
    pub(super) bidder: Alias,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ceiling_commitment: Option<Hash>,
    pub(super) ends_at: Timestamp,
    pub(super) leader_alias: Option<Alias>,
    pub(super) minimum_next_bid: Option<Money>,
    pub(super) outcome: Outcome,
    pub(super) price: Money,
    pub(super) received_at: Timestamp,
    /// Null where there is no reserve; earlier versions wrote whether somebody leads.
    pub(super) reserve_met: Option<bool>,
}

/// What the public half of a `bid.placed` says of the reserve: `None` where there is none. The outer is
/// `None` if it cannot be read.
pub fn told_reserve_met(data: &str) -> Option<Option<bool>> {
    serde_json::from_str::<BidPlacedData>(data).ok().map(|data| data.reserve_met)
}

#[derive(Serialize, Deserialize)]
struct BidPlacedPrivate {
    bidder: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<Amount>,
    leader_ceiling: Option<Amount>,
    salt: HexSalt,
}

impl BidPlacedPrivate {
    fn of(event: &BidPlaced) -> BidPlacedPrivate {
        BidPlacedPrivate {
            bidder: event.bidder,
            ceiling: match event.offer {
                Offer::Exact(_) => None,
                Offer::Ceiling(ceiling) => Some(ceiling),
            },
            leader_ceiling: event.standing.leader.map(|leader| leader.ceiling),
            salt: HexSalt(event.salt),
        }
    }
}

impl BidPlacedData {
    fn of(state: &State, event: &BidPlaced, after: After) -> BidPlacedData {
        let currency = after.price.currency;
        let (amount, ceiling_commitment) = match event.offer {
            Offer::Exact(amount) => (Some(Money { amount, currency }), None),
            Offer::Ceiling(ceiling) => (None, Some(commitment(event.salt, ceiling))),
        };
        BidPlacedData {
            amount,
            bid_count: after.bid_count,
            bidder: Alias(event.bidder_no),
            ceiling_commitment,
            ends_at: after.ends_at,
            leader_alias: after.leader.map(Alias),
            minimum_next_bid: after.minimum(),
            outcome: event.outcome,
            price: after.price,
            received_at: event.received_at,
            reserve_met: state.terms.reserve_price.map(|_| event.standing.reserve_met),
        }
    }

    fn into_event(self, private: BidPlacedPrivate) -> Option<Event> {
        let offer = match (self.amount, private.ceiling) {
            (Some(money), None) => Offer::Exact(money.amount),
            (None, Some(ceiling)) => Offer::Ceiling(ceiling),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        Some(Event::BidPlaced(BidPlaced {
            bidder: private.bidder,
            bidder_no: self.bidder.0,
            offer,
            salt: private.salt.0,
            outcome: self.outcome,
            standing: standing(
                self.price,
                self.leader_alias,
                private.leader_ceiling,
                self.reserve_met,
            ),
            received_at: self.received_at,
        }))
    }
}

fn standing(
    price: Money,
    leader: Option<Alias>,
    ceiling: Option<Amount>,
    reserve_met: Option<bool>,
) -> Standing {
    let reserve_met = reserve_met.unwrap_or(leader.is_some());
    let leader = leader.zip(ceiling).map(|(alias, ceiling)| Leader { bidder: alias.0, ceiling });
    Standing { price: price.amount, leader, reserve_met }
}

#[derive(Serialize, Deserialize)]
pub(super) struct BidRetractedData {
    pub(super) bid_count: u32,
    pub(super) bid_seq: u64,
    pub(super) bidder: Alias,
    pub(super) ends_at: Timestamp,
    pub(super) leader_alias: Option<Alias>,
    pub(super) minimum_next_bid: Option<Money>,
    pub(super) price: Money,
    /// As that of a bid.
    pub(super) reserve_met: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct BidRetractedPrivate {
    leader_ceiling: Option<Amount>,
    reason: String,
}

impl BidRetractedPrivate {
    fn of(event: &BidRetracted) -> BidRetractedPrivate {
        BidRetractedPrivate {
            leader_ceiling: event.standing.leader.map(|leader| leader.ceiling),
            reason: event.reason.clone(),
        }
    }
}

impl BidRetractedData {
    fn of(state: &State, event: &BidRetracted, after: After) -> BidRetractedData {
        BidRetractedData {
            bid_count: after.bid_count,
            bid_seq: event.bid_seq,
            bidder: Alias(event.bidder_no),
            ends_at: after.ends_at,
            leader_alias: after.leader.map(Alias),
            minimum_next_bid: after.minimum(),
            price: after.price,
            reserve_met: state.terms.reserve_price.map(|_| event.standing.reserve_met),
        }
    }

    fn into_event(self, private: BidRetractedPrivate) -> Option<Event> {
        Some(Event::BidRetracted(Box::new(BidRetracted {
            bid_seq: self.bid_seq,
            bidder_no: self.bidder.0,
            reason: private.reason,
            standing: standing(
                self.price,
                self.leader_alias,
                private.leader_ceiling,
                self.reserve_met,
            ),
        })))
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct BoughtData {
    pub(super) bid_count: u32,
    pub(super) buyer: Alias,
    pub(super) ends_at: Timestamp,
    pub(super) leader_alias: Option<Alias>,
    pub(super) price: Money,
    pub(super) received_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct BoughtPrivate {
    buyer: UserId,
}

impl BoughtData {
    fn of(event: &Bought, after: After) -> BoughtData {
        BoughtData {
            bid_count: after.bid_count,
            buyer: Alias(event.buyer_no),
            ends_at: after.ends_at,
            leader_alias: after.leader.map(Alias),
            price: after.price,
            received_at: event.received_at,
        }
    }

    fn into_event(self, private: BoughtPrivate) -> Option<Event> {
        Some(Event::Bought(Bought {
            buyer: private.buyer,
            buyer_no: self.buyer.0,
            price: self.price.amount,
            received_at: self.received_at,
        }))
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ClosedData {
    pub(super) bid_count: u32,
    pub(super) ends_at: Timestamp,
    pub(super) hammer_price: Option<Money>,
    pub(super) leader_alias: Option<Alias>,
    pub(super) price: Money,
    pub(super) result: ResultKind,
    pub(super) runner_up: Option<Alias>,
    pub(super) winner: Option<Alias>,
}

#[derive(Serialize, Deserialize)]
struct ClosedPrivate {
    runner_up: Option<UserId>,
    runner_up_highest_bid: Option<Amount>,
    winner: Option<UserId>,
}

impl ClosedPrivate {
    fn of(event: &Closed) -> ClosedPrivate {
        ClosedPrivate {
            runner_up: event.runner_up.map(|runner_up| runner_up.user),
            runner_up_highest_bid: event.runner_up.map(|runner_up| runner_up.highest_bid),
            winner: event.winner.map(|winner| winner.user),
        }
    }
}

impl ClosedData {
    fn of(event: &Closed, after: After) -> ClosedData {
        ClosedData {
            bid_count: after.bid_count,
            ends_at: after.ends_at,
            hammer_price: event
                .winner
                .map(|winner| Money { amount: winner.price, currency: after.price.currency }),
            leader_alias: after.leader.map(Alias),
            price: after.price,
            result: event.result,
            runner_up: event.runner_up.map(|runner_up| Alias(runner_up.bidder_no)),
            winner: event.winner.map(|winner| Alias(winner.bidder_no)),
        }
    }

    fn into_event(self, private: ClosedPrivate) -> Option<Event> {
        let winner = match (private.winner, self.winner, self.hammer_price) {
            (Some(user), Some(alias), Some(price)) => {
                Some(Hammer { user, bidder_no: alias.0, price: price.amount })
            }
            (None, None, None) => None,
            _ => return None,
        };
        let runner_up = match (private.runner_up, self.runner_up, private.runner_up_highest_bid) {
            (Some(user), Some(alias), Some(highest_bid)) => {
                Some(RunnerUp { user, bidder_no: alias.0, highest_bid })
            }
            (None, None, None) => None,
            _ => return None,
        };
        Some(Event::Closed(Closed { result: self.result, winner, runner_up }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::auction::{Command, PlaceBid, RetractBid, SoftCloseMode, decide};

    fn amount(minor_units: i64) -> Amount {
        Amount::new(minor_units).expect("positive")
    }

    fn user(number: u128) -> UserId {
        UserId(uuid::Uuid::from_u128(number))
    }

    const AUCTION: AuctionId = AuctionId(uuid::Uuid::from_u128(99));
    const CEILING: i64 = 7_654_321;
    const RESERVE: i64 = 8_321_987;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_123).plus_s(seconds)
    }

    fn scheduled() -> Event {
        let rules = vec![
            Rule { below: Some(amount(10_000)), step: amount(100) },
            Rule { below: None, step: amount(1_000) },
        ];
        Event::Scheduled(Box::new(Scheduled {
            seller: user(1),
            item: Item {
                attributes: BTreeMap::from([("시대".into(), "18세기 \"조선\"\n".into())]),
                category: Some("art".into()),
                description: "백자 \u{1} \\ / 😀".into(),
                image_keys: vec!["a/b.jpg".into()],
                title: "달항아리".into(),
            },
            terms: Terms {
                currency: crate::domain::money::Currency::Krw,
                opening_price: amount(1_000),
                increment: Increment::Table(Table::own(rules).expect("a table")),
                reserve_price: Some(amount(RESERVE)),
                buy_now_price: None,
                bids_per_bidder_max: Some(9),
                cap: Amount::CAP_DEFAULT,
                starts_at: at(0),
                ends_at: at(100_000),
                soft_close: Some(SoftClose {
                    extension_s: 60,
                    max_ends_at: at(200_000),
                    mode: SoftCloseMode::Reset,
                    trigger_window_s: 100_000,
                }),
            },
            relisted_from: Some(AuctionId(uuid::Uuid::from_u128(5))),
            reserve_salt: [7; 16],
        }))
    }

    fn bid(bidder: u128, offer: Offer, seconds: i64) -> Command {
        Command::PlaceBid(PlaceBid {
            bidder: user(bidder),
            offer,
            expected_seq: None,
            confirm_amount: Some(offer.limit()),
            salt: [u8::try_from(bidder).expect("small"); 16],
            received_at: at(seconds),
        })
    }

    /// A log in which every kind of event occurs, a bought auction's and a withdrawn one's included.
    fn every_kind() -> Vec<Event> {
        let first = scheduled();
        let Event::Scheduled(facts) = &first else { unreachable!("made above") };
        let mut state = State::scheduled(facts);
        let mut events = vec![first.clone()];
        let edit = Edited {
            item: facts.item.clone(),
            terms: Terms { buy_now_price: Some(amount(9_000_000)), ..facts.terms.clone() },
            reserve_salt: [8; 16],
        };
        events.push(Event::Edited(Box::new(edit)));
        state.evolve(&events[1]);
        let retraction = Command::RetractBid(RetractBid {
            bidder: user(3),
            bid_seq: 5,
            reason: "zu viel".into(),
            received_at: at(60),
        });
        let story = [
            Command::Open,
            bid(2, Offer::Exact(amount(5_000)), 10),
            bid(3, Offer::Ceiling(amount(CEILING)), 20),
            retraction,
            bid(4, Offer::Exact(amount(9_000_000)), 70),
        ];
        for command in &story {
            for event in decide(&state, command, at(5)).expect("accepted") {
                state.evolve(&event);
                events.push(event);
            }
        }
        events.push(Event::Withdrawn);
        events.push(Event::Extended { ends_at: at(150_000) });
        events
    }

    fn entries() -> Vec<(Event, Entry)> {
        let events = every_kind();
        let Event::Scheduled(facts) = &events[0] else { unreachable!("made above") };
        let mut state = State::scheduled(facts);
        let mut head = Hash::ZERO;
        let mut entries = Vec::new();
        for (place, event) in events.into_iter().enumerate() {
            if place > 0 {
                state.evolve(&event);
            }
            let entry = encode(AUCTION, &state, &event, at(place as i64), head);
            head = entry.hash;
            entries.push((event, entry));
        }
        entries
    }

    #[test]
    fn every_kind_of_event_is_tried_here() {
        let kinds: std::collections::BTreeSet<&str> =
            entries().iter().map(|(event, _)| event.kind()).collect();
        assert_eq!(kinds.len(), 9, "{kinds:?}");
    }

    #[test]
    fn the_public_half_is_canonical() {
        for (_, entry) in entries() {
            let value: serde_json::Value = serde_json::from_str(&entry.data).expect("JSON");
            let canonical = serde_jcs::to_string(&value).expect("canonical");
            assert_eq!(entry.data, canonical, "{}", entry.kind);
        }
    }

    #[test]
    fn the_hash_is_over_the_canonical_public_form() {
        use sha2::{Digest, Sha256};
        let mut prev_hash = Hash::ZERO;
        for (_, entry) in entries() {
            let data: serde_json::Value = serde_json::from_str(&entry.data).expect("JSON");
            let form = serde_json::json!({
                "auction_id": AUCTION.to_string(), "seq": entry.seq, "type": entry.kind,
                "at": entry.at.to_string(), "data": data, "prev_hash": prev_hash.to_string(),
            });
            let canonical = serde_jcs::to_string(&form).expect("canonical");
            let hash = const_hex::encode(Sha256::digest(canonical));
            assert_eq!(entry.hash.to_string(), hash, "{}", entry.kind);
            prev_hash = entry.hash;
        }
    }

    #[test]
    fn both_halves_are_the_event_again() {
        for (event, entry) in entries() {
            let read = decode(entry.kind, &entry.data, entry.private.as_deref()).expect("read");
            assert_eq!(read, event);
            assert_eq!(after(entry.kind, &entry.data).expect("read"), entry.after);
        }
    }

    #[test]
    fn the_public_half_shows_no_ceiling_no_reserve_and_no_bidder() {
        for (_, entry) in entries() {
            for private in [CEILING.to_string(), RESERVE.to_string(), "zu viel".into()] {
                assert!(!entry.data.contains(&private), "{}: {private}", entry.kind);
            }
            for bidder in 2..=4 {
                assert!(!entry.data.contains(&user(bidder).to_string()), "{}", entry.kind);
            }
        }
    }

    #[test]
    fn a_damaged_half_is_told() {
        assert!(matches!(decode("bid.eaten", "{}", None), Err(DecodeError::UnknownKind(_))));
        let malformed = decode("auction.extended", "{", None);
        assert!(matches!(malformed, Err(DecodeError::Malformed { .. })));
        for (_, entry) in entries().iter().filter(|(_, entry)| entry.private.is_some()) {
            assert!(decode(entry.kind, &entry.data, None).is_err(), "{}", entry.kind);
        }
    }
}
