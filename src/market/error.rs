//! Why something was not done on the market.

use crate::{
    domain::auction::terms::TermsError,
    exchange::{Failure, Refusal},
    store::StoreError,
};

/// Why something was not done on the market.
#[derive(Debug, thiserror::Error)]
pub enum MarketError {
    /// There is no such auction.
    #[error("there is no such auction")]
    NotFound,
    /// Somebody else sells.
    #[error("somebody else sells this")]
    NotYours,
    /// The version that is meant is not the one that stands.
    #[error("the auction has changed")]
    Stale,
    /// It has opened, or was called off.
    #[error("the auction is not scheduled any more")]
    NotEditable,
    /// It is not over, was sold or called off, or was relisted before.
    #[error("the auction is not one that can be relisted")]
    NotRelistable,
    /// The seller has left.
    #[error("the seller is not there any more")]
    SellerGone,
    /// The item or the terms cannot be like that.
    #[error("the item or the terms cannot be like that")]
    Wrong(Vec<TermsError>),
    /// The same request has been answered meanwhile.
    #[error("the same request has been answered meanwhile")]
    AnsweredMeanwhile,
    /// The auction itself says no.
    #[error("the auction refuses: {0}")]
    Refused(Refusal),
    /// The exchange could not decide.
    #[error("the exchange could not decide: {0:?}")]
    Failed(Failure),
    /// Postgres.
    #[error("the database could not be asked")]
    Store(#[from] StoreError),
}
