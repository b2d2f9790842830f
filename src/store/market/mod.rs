//! What sellers list and buyers look for: auctions, lists of them, watches.

pub(super) mod catalogue;
pub(super) mod on_sale;
pub(super) mod watches;
