//! Hoga (호가, "the price called out"): an auction exchange server.

pub mod domain;
pub mod embedded;
pub mod events;
pub mod exchange;
pub mod live;
pub mod store;
pub mod wall_clock;
