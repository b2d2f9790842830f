//! Who may do what: the roles that admins and operators give.

use std::collections::BTreeSet;

use crate::{
    domain::{id::UserId, time::Timestamp},
    identity::Role,
    store::{Account, Store, StoreError},
};

/// Who gives roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Giver {
    /// Somebody with the role `admin`.
    Admin(UserId),
    /// Whoever has the database.
    Operator,
}

/// What a user's roles are now.
pub struct RolesSet {
    /// After the change.
    pub account: Account,
    /// A role was taken away: tokens that tell of it count no more.
    pub is_less: bool,
}

/// Why roles were not set.
#[derive(Debug, thiserror::Error)]
pub enum RolesError {
    /// There is no such user.
    #[error("there is no such user")]
    NotFound,
    /// Their owner has left.
    #[error("the user has left")]
    Left,
    /// Admins do not take their own role away, so that there is always one.
    #[error("admins do not take their own role away")]
    OwnAdminRole,
    /// Postgres.
    #[error("the roles could not be set")]
    Store(#[from] StoreError),
}

/// Gives a user these roles and no others.
///
/// # Errors
/// As [`RolesError`] says; nothing is changed then.
pub async fn set(
    store: &Store,
    user: UserId,
    roles: &BTreeSet<Role>,
    by: Giver,
    now: Timestamp,
) -> Result<RolesSet, RolesError> {
    if by == Giver::Admin(user) && !roles.contains(&Role::Admin) {
        return Err(RolesError::OwnAdminRole);
    }
    let roles: Vec<String> = roles.iter().map(|role| role.word().to_owned()).collect();
    let tx = store.begin().await?;
    let is_here = tx.lock_account(user).await?;
    let before = tx.account(user).await?.ok_or(RolesError::NotFound)?;
    if !is_here {
        return Err(RolesError::Left);
    }
    let is_less = before.roles.iter().any(|role| !roles.contains(role));
    let is_more = roles.iter().any(|role| !before.roles.contains(role));
    if !is_less && !is_more {
        return Ok(RolesSet { account: before, is_less });
    }
    tx.write_roles(user, &roles, is_less.then_some(now)).await?;
    tx.commit().await?;
    let account = Account { roles, version: before.version + 1, ..before };
    Ok(RolesSet { account, is_less })
}
