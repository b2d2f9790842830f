//! Leaving: what keeps somebody, what goes at once, and what is kept under an alias for how long.
//!
//! Must never touch auctions, events, standings or receipts: what was decided stays as it was.

use crate::{
    domain::{id::UserId, time::Timestamp},
    identity::account,
    store::{Anonymised, OpenMatter, Store, StoreError},
};

/// How long trade records are kept, in years: contracts, payments and deliveries (E-commerce Act of
/// Korea, decree art. 6).
const RECORDS_KEPT_YEARS: i32 = 5;
/// A purchase is to be paid within so many hours after the auction's end.
const PAYMENT_DUE_HOURS: i32 = 72;

/// Why somebody could not leave.
#[derive(Debug, thiserror::Error)]
pub enum LeavingError {
    /// There is no such account, or its owner had left before.
    #[error("there is no such account")]
    NobodyThere,
    /// This is open.
    #[error("the user leads, sells, or owes a purchase")]
    Open(Vec<OpenMatter>),
    /// Postgres. Nothing has happened, unless the connection was lost during the commit: asking
    /// again tells.
    #[error("the user could not leave")]
    Store(#[from] StoreError),
}

/// What keeps somebody from leaving, without holding anything; none when there is no such account,
/// or its owner has left.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn open_matters(
    store: &Store,
    user: UserId,
    now: Timestamp,
) -> Result<Option<Vec<OpenMatter>>, StoreError> {
    let tx = store.begin().await?;
    if !tx.is_there(user).await? {
        return Ok(None);
    }
    tx.open_matters(user, now, PAYMENT_DUE_HOURS).await.map(Some)
}

/// Lets somebody leave, unless something is open. `stop_tokens` is told from when on tokens count:
/// first, so that nothing new is asked for in the user's name while it is looked at what is open. A
/// bid that was let in before that and is decided after may still come to lead, as one may when
/// those above it are retracted: then an alias leads, and may win, and does not pay.
///
/// # Errors
/// As [`LeavingError`] says.
pub async fn leave(
    store: &Store,
    user: UserId,
    now: Timestamp,
    stop_tokens: impl FnOnce(Timestamp),
) -> Result<(), LeavingError> {
    // Who may not leave anyway keeps their tokens.
    let open = open_matters(store, user, now).await?.ok_or(LeavingError::NobodyThere)?;
    unless_open(open)?;
    // Of this second, too: those of other seconds could only be issued to who is there.
    let tokens_valid_from = now.plus_s(1);
    stop_tokens(tokens_valid_from);
    go(store, user, now, tokens_valid_from).await
}

/// What is personal goes, trade records stay under an alias, in one transaction. A bid that came in
/// meanwhile is found: the account goes on then, with the tokens of its next refresh.
///
/// # Errors
/// As [`LeavingError`] says.
pub async fn go(
    store: &Store,
    user: UserId,
    now: Timestamp,
    tokens_valid_from: Timestamp,
) -> Result<(), LeavingError> {
    let tx = store.begin().await?;
    let kakao_id = tx.lock_to_leave(user).await?.ok_or(LeavingError::NobodyThere)?;
    unless_open(tx.open_matters(user, now, PAYMENT_DUE_HOURS).await?)?;
    if let Some(kakao_id) = kakao_id {
        tx.note_unlink(kakao_id, now).await?;
    }
    tx.forget_person(user, now).await?;
    tx.unwatch_all(user).await?;
    tx.forget_alerts(user).await?;
    tx.forget_notifications(user).await?;
    tx.forget_push_subscriptions(user).await?;
    let anonymised = Anonymised {
        alias: &account::alias_after_leaving(user),
        tokens_valid_from,
        at: now,
        records_kept_years: RECORDS_KEPT_YEARS,
    };
    tx.anonymise(user, &anonymised).await?;
    Ok(tx.commit().await?)
}

fn unless_open(open: Vec<OpenMatter>) -> Result<(), LeavingError> {
    if open.is_empty() { Ok(()) } else { Err(LeavingError::Open(open)) }
}
