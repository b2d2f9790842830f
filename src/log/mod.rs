//! The public form of a log: entries, their hash chain, and how an outsider checks them.
//!
//! Owns what can be recomputed without seeing a ceiling or a reserve ([`audit`]), and the private
//! halves that stand beside it. Must never put a ceiling, a reserve or a user's id of a bidder into
//! the public half, nor know where logs are kept.

pub mod audit;
mod entry;
pub mod hash;

pub use self::entry::*;
