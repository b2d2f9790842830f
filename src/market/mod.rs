//! Use cases of sellers and buyers: putting items on sale, editing, calling off and relisting them,
//! watching, and importing many.
//!
//! Owns the transactions of these and what is decided in them; what an auction itself decides is the
//! business of the exchange. Must know neither HTTP nor the command line, and write no SQL.

mod auction;
mod editing;
mod error;
pub mod import;
mod listing;
mod watching;

pub use self::{
    editing::{Changes, Version, call_off, edit},
    error::MarketError,
    listing::{Draft, Keep, Relisting, list, put_on_sale, relist},
    watching::{WATCHES_PER_USER_MAX, WatchError, watch},
};
