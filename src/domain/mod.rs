//! The rules of the house, pure: money, time, identifiers, and the auction.
//!
//! Owns every decision. Must never read a clock, draw a random number, wait for anything, use a
//! float, or know that Postgres or HTTP exist: time and salts are arguments, so that the same log
//! replayed gives the same state, always.

pub mod auction;
pub mod id;
pub mod money;
pub mod text;
pub mod time;
pub(crate) mod words;
