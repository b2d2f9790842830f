//! `/v1/auctions`: what is on sale, bids, public logs, and who watches.

pub mod bids;
pub mod listing;
pub mod log;
pub mod watches;
