//! One auction: its terms, its commands, the decision, and the state that its events add up to.
//!
//! ```text
//! Command ──decide(&State, now)──▶ Ok(events) ──evolve──▶ State
//!                              └─▶ Err(Rejection): an answer, nothing happened
//! ```
//!
//! The rules and where they stand: terms and increments in [`terms`] and [`increment`], what an
//! offer does to price and lead in [`standing`], who may do what and when in [`decide()`].

mod command;
mod decide;
mod event;
pub mod increment;
mod rejection;
pub mod standing;
mod state;
pub mod terms;

pub use command::{BuyNow, CancelByOperator, Command, Edit, PlaceBid, RetractBid, Withdraw};
pub use decide::{EDITS_MAX, decide};
pub use event::{
    BidPlaced, BidRetracted, Bought, Closed, Edited, Event, Hammer, Outcome, ResultKind, RunnerUp,
    Salt, Scheduled,
};
pub use increment::Increment;
pub use rejection::Rejection;
pub use standing::{Leader, Offer, Standing};
pub use state::{Bid, Bidder, BidderNo, Mark, Phase, State, Status};
pub use terms::{Item, SoftClose, SoftCloseMode, Terms};
