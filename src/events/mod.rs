//! How committed events reach their readers.
//!
//! Owns their public envelope, how they are handed on after their commit ([`relay`]), over what
//! ([`bus`]: [`in_process`] or [`rabbitmq`]) and to whom ([`bus::Consumer`], [`feed`]). Must never
//! show a ceiling, a reserve, a user's id or an event whose transaction has not committed.

mod breakpoint;
pub mod bus;
pub mod delivery;
pub mod envelope;
pub mod feed;
mod gate;
pub mod in_process;
pub mod rabbitmq;
pub mod relay;
pub mod setback;
