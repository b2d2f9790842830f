//! Alerts: what people want to hear of when it is listed.

use uuid::Uuid;

use super::WrongField;
use crate::{
    domain::{id::UserId, text::is_visible_line, time::Timestamp},
    notify::{KEYWORD_CHARS_MAX, KEYWORD_CHARS_MIN, folded},
    store::{AlertRow, Store, StoreError},
};

/// Alerts that a user may have.
const ALERTS_PER_USER_MAX: i64 = 50;
/// Characters in a category.
const CATEGORY_CHARS_MAX: usize = 50;

/// What became of an alert.
#[derive(Debug, PartialEq, Eq)]
pub enum Added {
    /// It is kept.
    Done(AlertRow),
    /// The same one was there before.
    Before(AlertRow),
}

/// Why an alert was not kept.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// There is no such account, or its owner has left.
    #[error("there is no such account")]
    NobodyThere,
    /// They have as many as anybody may have.
    #[error("there are {ALERTS_PER_USER_MAX} alerts already")]
    Full,
    /// It cannot be like that.
    #[error("the alert cannot be like that: {}", .0.message)]
    Wrong(WrongField),
    /// Postgres.
    #[error("the alert could not be kept")]
    Store(#[from] StoreError),
}

/// Keeps an alert for a part of the title, a category, or both together.
///
/// # Errors
/// As [`AlertError`] says; nothing is kept then.
pub async fn add(
    store: &Store,
    user: UserId,
    keyword: Option<&str>,
    category: Option<String>,
    now: Timestamp,
) -> Result<Added, AlertError> {
    let new = checked(keyword, category, now).map_err(AlertError::Wrong)?;
    let tx = store.begin().await?;
    if !tx.lock_account(user).await? {
        return Err(AlertError::NobodyThere);
    }
    if let Some(before) = tx.same_alert(user, &new).await? {
        return Ok(Added::Before(before));
    }
    if tx.count_alerts(user).await? >= ALERTS_PER_USER_MAX {
        return Err(AlertError::Full);
    }
    tx.insert_alert(user, &new).await?;
    tx.commit().await?;
    Ok(Added::Done(new))
}

fn checked(
    keyword: Option<&str>,
    category: Option<String>,
    now: Timestamp,
) -> Result<AlertRow, WrongField> {
    let keyword = keyword.map(folded);
    let is_usable = |text: &String, least, most| {
        (least..=most).contains(&text.chars().count()) && is_visible_line(text)
    };
    if keyword.as_ref().is_some_and(|k| !is_usable(k, KEYWORD_CHARS_MIN, KEYWORD_CHARS_MAX)) {
        let message = format!("must have {KEYWORD_CHARS_MIN} to {KEYWORD_CHARS_MAX} characters");
        return Err(WrongField::new("keyword", message));
    }
    if category.as_ref().is_some_and(|c| !is_usable(c, 1, CATEGORY_CHARS_MAX)) {
        let message = format!("must have 1 to {CATEGORY_CHARS_MAX} characters");
        return Err(WrongField::new("category", message));
    }
    if keyword.is_none() && category.is_none() {
        return Err(WrongField::new("keyword", "must be there, or else category"));
    }
    Ok(AlertRow {
        id: Uuid::now_v7(),
        keyword: keyword.unwrap_or_default(),
        category: category.unwrap_or_default(),
        created_at: now,
    })
}
