//! Where people let things be sent to: one address is the default whenever there is any.

use uuid::Uuid;

use super::{Wrong, WrongField};
use crate::{
    domain::{id::UserId, time::Timestamp},
    identity::{
        account::{self, Unfit},
        phone::Phone,
    },
    store::{AddressRow, AddressText, Store, StoreError},
};

/// Addresses of one user, at most.
const ADDRESSES_PER_USER_MAX: i64 = 20;
/// Characters in what somebody calls an address.
const LABEL_CHARS_MAX: usize = 30;
/// Characters in the name of who takes the parcel.
const RECIPIENT_CHARS_MAX: usize = 50;
/// Characters in a line of an address.
const LINE_CHARS_MAX: usize = 200;

/// Changes to an address: what is not there stays, and what is there without a value is taken away.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Changes {
    pub label: Option<Option<String>>,
    pub recipient: Option<String>,
    pub phone: Option<String>,
    pub postal_code: Option<String>,
    pub line1: Option<String>,
    pub line2: Option<Option<String>>,
    pub is_default: Option<bool>,
}

/// Why an address was not kept, changed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// There is no such account, or its owner has left.
    #[error("there is no such account")]
    NobodyThere,
    /// They have no such address.
    #[error("there is no such address")]
    NotFound,
    /// They have as many as anybody may have.
    #[error("there are {ADDRESSES_PER_USER_MAX} addresses already")]
    TooMany,
    /// It changed meanwhile.
    #[error("the address has changed")]
    Stale,
    /// It cannot be like that.
    #[error("the address cannot be like that")]
    Wrong(Vec<WrongField>),
    /// Postgres.
    #[error("the address could not be kept, changed or deleted")]
    Store(#[from] StoreError),
}

/// Keeps an address, as the default if it is to be or is the first.
///
/// # Errors
/// As [`AddressError`] says; nothing is kept then.
pub async fn add(
    store: &Store,
    user: UserId,
    draft: &AddressText,
    is_default: bool,
    now: Timestamp,
) -> Result<AddressRow, AddressError> {
    let text = checked(draft).map_err(AddressError::Wrong)?;
    let tx = store.begin().await?;
    if !tx.lock_account(user).await? {
        return Err(AddressError::NobodyThere);
    }
    let count = tx.count_addresses(user).await?;
    if count >= ADDRESSES_PER_USER_MAX {
        return Err(AddressError::TooMany);
    }
    let is_default = is_default || count == 0;
    let new = AddressRow { id: Uuid::now_v7(), text, is_default, created_at: now };
    if is_default {
        tx.take_default(user).await?;
    }
    tx.insert_address(user, &new).await?;
    tx.commit().await?;
    Ok(new)
}

/// Changes an address while nobody else can, if it is still the one that is meant.
///
/// # Errors
/// As [`AddressError`] says; nothing is changed then.
pub async fn change(
    store: &Store,
    user: UserId,
    id: Uuid,
    changes: Changes,
    is_meant: impl FnOnce(&AddressRow) -> bool,
) -> Result<AddressRow, AddressError> {
    let tx = store.begin().await?;
    if !tx.lock_account(user).await? {
        return Err(AddressError::NotFound);
    }
    let before = tx.address(user, id).await?.ok_or(AddressError::NotFound)?;
    if !is_meant(&before) {
        return Err(AddressError::Stale);
    }
    if changes.is_default == Some(false) && before.is_default {
        let instead = "must be true: make another address the default instead";
        return Err(AddressError::Wrong(vec![WrongField::new("is_default", instead)]));
    }
    let takes_default = changes.is_default == Some(true) && !before.is_default;
    let text = checked(&changes.applied_to(&before.text)).map_err(AddressError::Wrong)?;
    let after = AddressRow { text, is_default: before.is_default || takes_default, ..before };
    if takes_default {
        tx.take_default(user).await?;
    }
    tx.write_address(&after).await?;
    tx.commit().await?;
    Ok(after)
}

/// Deletes an address; the oldest of those that are left becomes the default if it was.
///
/// # Errors
/// As [`AddressError`] says; nothing is deleted then.
pub async fn delete(store: &Store, user: UserId, id: Uuid) -> Result<(), AddressError> {
    let tx = store.begin().await?;
    if !tx.lock_account(user).await? {
        return Err(AddressError::NotFound);
    }
    if tx.delete_address(user, id).await?.ok_or(AddressError::NotFound)? {
        tx.make_oldest_default(user).await?;
    }
    Ok(tx.commit().await?)
}

impl Changes {
    fn applied_to(self, before: &AddressText) -> AddressText {
        let before = before.clone();
        AddressText {
            label: self.label.unwrap_or(before.label),
            recipient: self.recipient.unwrap_or(before.recipient),
            phone: self.phone.unwrap_or(before.phone),
            postal_code: self.postal_code.unwrap_or(before.postal_code),
            line1: self.line1.unwrap_or(before.line1),
            line2: self.line2.unwrap_or(before.line2),
        }
    }
}

/// A text that may be missing.
fn optional(text: Option<&String>, chars_max: usize) -> Result<Option<String>, Unfit> {
    text.map(|text| account::line(text, chars_max)).transpose()
}

/// The whole address, in the one form in which each part is kept.
fn checked(draft: &AddressText) -> Result<AddressText, Vec<WrongField>> {
    let mut wrong = Wrong::default();
    let phone = Phone::parse(&draft.phone).map(|phone| phone.to_string());
    let recipient = account::line(&draft.recipient, RECIPIENT_CHARS_MAX);
    let text = AddressText {
        label: wrong.take("label", optional(draft.label.as_ref(), LABEL_CHARS_MAX)),
        recipient: wrong.take("recipient", recipient),
        phone: wrong.take("phone", phone),
        postal_code: wrong.take("postal_code", account::postal_code(&draft.postal_code)),
        line1: wrong.take("line1", account::line(&draft.line1, LINE_CHARS_MAX)),
        line2: wrong.take("line2", optional(draft.line2.as_ref(), LINE_CHARS_MAX)),
    };
    wrong.none()?;
    Ok(text)
}
