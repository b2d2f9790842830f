//! Who follows which auction.

use crate::{
    domain::{
        id::{AuctionId, UserId},
        time::Timestamp,
    },
    store::{Store, StoreError},
};

/// Auctions that a user may watch at once.
pub const WATCHES_PER_USER_MAX: i64 = 1_000;

/// Why an auction is not watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There is no such auction.
    #[error("there is no such auction")]
    NotFound,
    /// The user watches as many as anybody may.
    #[error("{WATCHES_PER_USER_MAX} auctions are watched already")]
    Full,
    /// There is no such account, or its owner has left.
    #[error("there is no such account")]
    NobodyThere,
    /// Postgres.
    #[error("the watch could not be kept")]
    Store(#[from] StoreError),
}

/// Lets a user watch an auction, if they do not already.
///
/// # Errors
/// As [`WatchError`] says; nothing is kept then.
pub async fn watch(
    store: &Store,
    user: UserId,
    auction: AuctionId,
    now: Timestamp,
) -> Result<(), WatchError> {
    let tx = store.begin().await?;
    if !tx.has_auction(auction).await? {
        return Err(WatchError::NotFound);
    }
    // One user's watches follow one another, so that none goes past the limit.
    if !tx.lock_account(user).await? {
        return Err(WatchError::NobodyThere);
    }
    if tx.count_other_watches(user, auction, WATCHES_PER_USER_MAX).await? >= WATCHES_PER_USER_MAX {
        return Err(WatchError::Full);
    }
    tx.insert_watch(user, auction, now).await?;
    Ok(tx.commit().await?)
}
