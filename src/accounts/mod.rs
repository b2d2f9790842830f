//! Use cases of people: what their account says of them, their addresses and alerts, as which
//! company they sell, their roles, and leaving.
//!
//! Owns the transactions of these and what is decided in them; an account is held while anything of
//! it changes. Must know neither HTTP nor the command line, and write no SQL.

pub mod addresses;
pub mod alerts;
pub mod leaving;
pub mod profile;
pub mod roles;
pub mod sellers;
mod wrong;

pub use self::wrong::{Wrong, WrongField};
