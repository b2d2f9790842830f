//! What leaves the floor: the public form of the log, its hash chain, and the way to its readers.
//!
//! Owns how a decided event reads to the outside ([`log`]), how it is handed on after its commit
//! ([`relay`]), over what ([`bus`]: [`in_process`] or [`rabbitmq`]) and to whom ([`bus::Consumer`],
//! [`feed`]), and how an outsider checks it ([`audit`]). Must never show a ceiling, a reserve, a
//! user's id or an event whose transaction has not committed.

pub mod audit;
mod breakpoint;
pub mod bus;
pub mod delivery;
pub mod envelope;
pub mod feed;
mod gate;
pub mod hash;
pub mod in_process;
pub mod log;
pub mod rabbitmq;
pub mod relay;
pub mod setback;
