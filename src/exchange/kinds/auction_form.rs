//! The form in which a state is kept in a snapshot: compact, and of this version of Hoga alone.
//!
//! Must never be logged or shown: it holds ceilings, reserves and who bid. What cannot be read is
//! an error and never a panic, for the log can always be read instead.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    domain::{
        auction::{
            Bid, Bidder, BidderNo, Closed, Hammer, Leader, Offer, ResultKind, RunnerUp, SoftClose,
            SoftCloseMode, Standing, State, Status, Terms,
        },
        id::UserId,
        money::{Amount, Currency},
        time::Timestamp,
    },
    log::IncrementForm,
};

/// Raised with every change of what is written here, of the order of an enum's words in it, and of
/// what `State::evolve` makes of a log: snapshots of another format are ignored.
pub const FORMAT: i16 = 1;

/// Bytes that do not make a state.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// Not in the form of this version.
    #[error("the state cannot be read")]
    Malformed(#[from] postcard::Error),
    /// The increment is kept as the log writes it.
    #[error("the increment cannot be read")]
    Increment,
    /// Something is written twice, or follows the end.
    #[error("the state contradicts itself")]
    Contradiction,
}

#[derive(Serialize, Deserialize)]
struct Head {
    seller: UserId,
    terms: TermsForm,
    status: StatusForm,
    seq: u64,
    ends_at_ms: i64,
    price: Amount,
    leader: Option<(u32, Amount)>,
    reserve_met: bool,
    buy_now_stands: bool,
    bid_count: u32,
    edits: u32,
    closed: Option<ClosedForm>,
    bids: u32,
    bidders: u32,
}

#[derive(Serialize, Deserialize)]
enum StatusForm {
    Scheduled,
    Live,
    Cancelled,
    Ended(ResultKind),
}

#[derive(Serialize, Deserialize)]
struct TermsForm {
    currency: Currency,
    opening_price: Amount,
    /// JSON, as in the log: its forms are told apart by their fields.
    increment: String,
    reserve_price: Option<Amount>,
    buy_now_price: Option<Amount>,
    bids_per_bidder_max: Option<u32>,
    cap: Amount,
    starts_at_ms: i64,
    ends_at_ms: i64,
    soft_close: Option<SoftCloseForm>,
}

#[derive(Serialize, Deserialize)]
struct SoftCloseForm {
    extension_s: u32,
    max_ends_at_ms: i64,
    resets: bool,
    trigger_window_s: u32,
}

#[derive(Serialize, Deserialize)]
struct ClosedForm {
    result: ResultKind,
    winner: Option<(UserId, u32, Amount)>,
    runner_up: Option<(UserId, u32, Amount)>,
}

#[derive(Serialize, Deserialize)]
enum OfferForm {
    Exact(Amount),
    Ceiling(Amount),
}

#[derive(Serialize, Deserialize)]
struct BidForm {
    seq: u64,
    bidder: u32,
    offer: OfferForm,
    received_at_ms: i64,
    retracted: bool,
}

#[derive(Serialize, Deserialize)]
struct BidderForm {
    user: UserId,
    no: u32,
    accepted: u32,
    highest: Option<OfferForm>,
}

/// The bytes of a state.
///
/// # Errors
/// When it has more bids than anybody can count.
pub fn encode(state: &State) -> Result<Vec<u8>, FormError> {
    // Whole, so that a new field is missed here by the compiler.
    let State {
        seller,
        terms,
        status,
        seq,
        ends_at,
        standing,
        buy_now_stands,
        bid_count,
        edits,
        bids,
        bidders,
        users,
        closed,
    } = state;
    let count = |length: usize| u32::try_from(length).map_err(|_| FormError::Contradiction);
    let head = Head {
        seller: *seller,
        terms: TermsForm::of(terms),
        status: StatusForm::of(*status),
        seq: *seq,
        ends_at_ms: ends_at.as_millis(),
        price: standing.price,
        leader: standing.leader.map(|leader| (leader.bidder.0, leader.ceiling)),
        reserve_met: standing.reserve_met,
        buy_now_stands: *buy_now_stands,
        bid_count: *bid_count,
        edits: *edits,
        closed: closed.as_ref().map(ClosedForm::of),
        bids: count(bids.len())?,
        bidders: count(users.len())?,
    };
    let mut bytes = postcard::to_stdvec(&head)?;
    for bid in bids {
        put(&mut bytes, &BidForm::of(bid))?;
    }
    for user in users {
        let bidder = bidders.get(user).ok_or(FormError::Contradiction)?;
        put(&mut bytes, &BidderForm::of(*user, bidder))?;
    }
    Ok(bytes)
}

fn put<T: Serialize>(bytes: &mut Vec<u8>, value: &T) -> Result<(), FormError> {
    postcard::to_io(value, bytes)?;
    Ok(())
}

/// The state of these bytes.
///
/// # Errors
/// When they are not what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<State, FormError> {
    let mut rest = bytes;
    let head: Head = take(&mut rest)?;
    // Nothing is made room for before it is there: a damaged count must not ask for all memory.
    let mut bids = Vec::new();
    for _ in 0..head.bids {
        bids.push(take::<BidForm>(&mut rest)?.into_bid());
    }
    let (mut bidders, mut users) = (std::collections::BTreeMap::new(), Vec::new());
    for _ in 0..head.bidders {
        let form: BidderForm = take(&mut rest)?;
        users.push(form.user);
        bidders.insert(form.user, form.into_bidder());
    }
    if !rest.is_empty() || bidders.len() != users.len() {
        return Err(FormError::Contradiction);
    }
    bids.shrink_to_fit();
    Ok(State {
        seller: head.seller,
        terms: Box::new(head.terms.into_terms()?),
        status: head.status.into_status(),
        seq: head.seq,
        ends_at: Timestamp::from_millis(head.ends_at_ms),
        standing: Standing {
            price: head.price,
            leader: head.leader.map(|(no, ceiling)| Leader { bidder: BidderNo(no), ceiling }),
            reserve_met: head.reserve_met,
        },
        buy_now_stands: head.buy_now_stands,
        bid_count: head.bid_count,
        edits: head.edits,
        bids,
        bidders,
        users,
        closed: head.closed.map(ClosedForm::into_closed),
    })
}

fn take<T: DeserializeOwned>(rest: &mut &[u8]) -> Result<T, FormError> {
    let (value, after) = postcard::take_from_bytes(rest)?;
    *rest = after;
    Ok(value)
}

impl StatusForm {
    const fn of(status: Status) -> StatusForm {
        match status {
            Status::Scheduled => StatusForm::Scheduled,
            Status::Live => StatusForm::Live,
            Status::Cancelled => StatusForm::Cancelled,
            Status::Ended(result) => StatusForm::Ended(result),
        }
    }

    const fn into_status(self) -> Status {
        match self {
            StatusForm::Scheduled => Status::Scheduled,
            StatusForm::Live => Status::Live,
            StatusForm::Cancelled => Status::Cancelled,
            StatusForm::Ended(result) => Status::Ended(result),
        }
    }
}

impl TermsForm {
    fn of(terms: &Terms) -> TermsForm {
        let Terms {
            currency,
            opening_price,
            increment,
            reserve_price,
            buy_now_price,
            bids_per_bidder_max,
            cap,
            starts_at,
            ends_at,
            soft_close,
        } = terms;
        TermsForm {
            currency: *currency,
            opening_price: *opening_price,
            increment: serde_json::to_string(&IncrementForm::from(increment))
                .expect("structs of strings and numbers are always JSON"),
            reserve_price: *reserve_price,
            buy_now_price: *buy_now_price,
            bids_per_bidder_max: *bids_per_bidder_max,
            cap: *cap,
            starts_at_ms: starts_at.as_millis(),
            ends_at_ms: ends_at.as_millis(),
            soft_close: soft_close.as_ref().map(|soft_close| SoftCloseForm {
                extension_s: soft_close.extension_s,
                max_ends_at_ms: soft_close.max_ends_at.as_millis(),
                resets: match soft_close.mode {
                    SoftCloseMode::Reset => true,
                    SoftCloseMode::Extend => false,
                },
                trigger_window_s: soft_close.trigger_window_s,
            }),
        }
    }

    fn into_terms(self) -> Result<Terms, FormError> {
        let increment: IncrementForm =
            serde_json::from_str(&self.increment).map_err(|_| FormError::Increment)?;
        Ok(Terms {
            currency: self.currency,
            opening_price: self.opening_price,
            increment: increment.into_increment().map_err(|_| FormError::Increment)?,
            reserve_price: self.reserve_price,
            buy_now_price: self.buy_now_price,
            bids_per_bidder_max: self.bids_per_bidder_max,
            cap: self.cap,
            starts_at: Timestamp::from_millis(self.starts_at_ms),
            ends_at: Timestamp::from_millis(self.ends_at_ms),
            soft_close: self.soft_close.map(|form| SoftClose {
                extension_s: form.extension_s,
                max_ends_at: Timestamp::from_millis(form.max_ends_at_ms),
                mode: if form.resets { SoftCloseMode::Reset } else { SoftCloseMode::Extend },
                trigger_window_s: form.trigger_window_s,
            }),
        })
    }
}

impl ClosedForm {
    fn of(closed: &Closed) -> ClosedForm {
        ClosedForm {
            result: closed.result,
            winner: closed.winner.map(|winner| (winner.user, winner.bidder_no.0, winner.price)),
            runner_up: closed
                .runner_up
                .map(|second| (second.user, second.bidder_no.0, second.highest_bid)),
        }
    }

    fn into_closed(self) -> Closed {
        Closed {
            result: self.result,
            winner: self.winner.map(|(user, no, price)| Hammer {
                user,
                bidder_no: BidderNo(no),
                price,
            }),
            runner_up: self.runner_up.map(|(user, no, highest_bid)| RunnerUp {
                user,
                bidder_no: BidderNo(no),
                highest_bid,
            }),
        }
    }
}

impl OfferForm {
    const fn of(offer: Offer) -> OfferForm {
        match offer {
            Offer::Exact(amount) => OfferForm::Exact(amount),
            Offer::Ceiling(ceiling) => OfferForm::Ceiling(ceiling),
        }
    }

    const fn into_offer(self) -> Offer {
        match self {
            OfferForm::Exact(amount) => Offer::Exact(amount),
            OfferForm::Ceiling(ceiling) => Offer::Ceiling(ceiling),
        }
    }
}

impl BidForm {
    const fn of(bid: &Bid) -> BidForm {
        BidForm {
            seq: bid.seq,
            bidder: bid.bidder.0,
            offer: OfferForm::of(bid.offer),
            received_at_ms: bid.received_at.as_millis(),
            retracted: bid.retracted,
        }
    }

    const fn into_bid(self) -> Bid {
        Bid {
            seq: self.seq,
            bidder: BidderNo(self.bidder),
            offer: self.offer.into_offer(),
            received_at: Timestamp::from_millis(self.received_at_ms),
            retracted: self.retracted,
        }
    }
}

impl BidderForm {
    fn of(user: UserId, bidder: &Bidder) -> BidderForm {
        let highest = bidder.highest.map(OfferForm::of);
        BidderForm { user, no: bidder.no.0, accepted: bidder.accepted, highest }
    }

    fn into_bidder(self) -> Bidder {
        Bidder {
            no: BidderNo(self.no),
            accepted: self.accepted,
            highest: self.highest.map(OfferForm::into_offer),
        }
    }
}
