//! Addresses of users, one of them the default whenever there is any.
//!
//! Every change holds the account, so that two at once are made one after the other; should that
//! ever fail, the index `addresses_default_key` refuses a second default.

use deadpool_postgres::Transaction;
use uuid::Uuid;

use crate::domain::{id::UserId, time::Timestamp};
use crate::store::{Store, StoreError, identity::accounts::lock_account};

/// Addresses of one user, at most.
pub const ADDRESSES_PER_USER_MAX: i64 = 20;

/// Where something can be sent to. Personal data: never printed.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AddressText {
    pub label: Option<String>,
    pub recipient: String,
    /// E.164
    pub phone: String,
    pub postal_code: String,
    pub line1: String,
    pub line2: Option<String>,
}

/// An address as it is kept.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct AddressRow {
    pub id: Uuid,
    pub text: AddressText,
    pub is_default: bool,
    pub created_at: Timestamp,
}

/// What became of a new address.
pub enum AddressAdded {
    /// It is kept.
    Done(Box<AddressRow>),
    /// The user has as many as anybody may have.
    TooMany,
    /// There is no such user, or they have left.
    NoUser,
}

const COLUMNS: &str = "
    SELECT id, label, recipient, phone, postal_code, line1, line2, is_default, created_at
    FROM addresses";

const COUNT: &str = "SELECT count(*) FROM addresses WHERE user_id = $1";

const INSERT: &str = "
    INSERT INTO addresses (id, user_id, label, recipient, phone, postal_code, line1, line2,
        is_default, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const UPDATE: &str = "
    UPDATE addresses SET label = $2, recipient = $3, phone = $4, postal_code = $5, line1 = $6,
        line2 = $7, is_default = $8
    WHERE id = $1";

const DELETE: &str = "DELETE FROM addresses WHERE id = $1 AND user_id = $2 RETURNING is_default";

const TAKE_DEFAULT: &str =
    "UPDATE addresses SET is_default = false WHERE user_id = $1 AND is_default";

/// Ids are made in the order of time.
const OLDEST_IS_DEFAULT: &str = "
    UPDATE addresses SET is_default = true
    WHERE id = (SELECT id FROM addresses WHERE user_id = $1 ORDER BY id LIMIT 1)";

fn address(row: &tokio_postgres::Row) -> AddressRow {
    AddressRow {
        id: row.get(0),
        text: AddressText {
            label: row.get(1),
            recipient: row.get(2),
            phone: row.get(3),
            postal_code: row.get(4),
            line1: row.get(5),
            line2: row.get(6),
        },
        is_default: row.get(7),
        created_at: row.get(8),
    }
}

impl Store {
    /// A user's addresses after one of them, the oldest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn addresses(
        &self,
        user: UserId,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<AddressRow>, StoreError> {
        let sql = format!("{COLUMNS} WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3");
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(&sql).await?;
        let after = after.unwrap_or(Uuid::nil());
        let rows = reader.query(&statement, &[&user, &after, &limit]).await?;
        Ok(rows.iter().map(address).collect())
    }

    /// One of a user's addresses.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn address(&self, user: UserId, id: Uuid) -> Result<Option<AddressRow>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(&one()).await?;
        Ok(reader.query_opt(&statement, &[&user, &id]).await?.as_ref().map(address))
    }

    /// Keeps a new address, as the default if it is to be or is the first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn add_address(
        &self,
        user: UserId,
        new: AddressRow,
    ) -> Result<AddressAdded, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        if !lock_account(&transaction, user).await? {
            return Ok(AddressAdded::NoUser);
        }
        let count: i64 = transaction.query_one(COUNT, &[&user]).await?.get(0);
        if count >= ADDRESSES_PER_USER_MAX {
            return Ok(AddressAdded::TooMany);
        }
        let new = AddressRow { is_default: new.is_default || count == 0, ..new };
        if new.is_default {
            transaction.execute(TAKE_DEFAULT, &[&user]).await?;
        }
        insert(&transaction, user, &new).await?;
        transaction.commit().await?;
        Ok(AddressAdded::Done(Box::new(new)))
    }

    /// Changes an address while nobody else can: `change` makes the new text of the address as it
    /// stands, and says whether it becomes the default. None when the user has no such address.
    ///
    /// # Errors
    /// Whatever `change` refuses with, or when Postgres cannot be asked; nothing is changed then.
    pub async fn update_address<E: From<StoreError>>(
        &self,
        user: UserId,
        id: Uuid,
        change: impl FnOnce(&AddressRow) -> Result<(AddressText, bool), E>,
    ) -> Result<Option<AddressRow>, E> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await.map_err(StoreError::from)?;
        if !lock_account(&transaction, user).await? {
            return Ok(None);
        }
        let row = transaction.query_opt(&one(), &[&user, &id]).await.map_err(StoreError::from)?;
        let Some(before) = row.as_ref().map(address) else { return Ok(None) };
        let (text, becomes_default) = change(&before)?;
        let is_default = before.is_default || becomes_default;
        let after = AddressRow { text, is_default, ..before };
        write(transaction, user, &after, is_default && !before.is_default).await?;
        Ok(Some(after))
    }

    /// Forgets an address; the oldest that is left becomes the default if it was. Whether the user
    /// had it.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn delete_address(&self, user: UserId, id: Uuid) -> Result<bool, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        if !lock_account(&transaction, user).await? {
            return Ok(false);
        }
        let Some(deleted) = transaction.query_opt(DELETE, &[&id, &user]).await? else {
            return Ok(false);
        };
        if deleted.get(0) {
            transaction.execute(OLDEST_IS_DEFAULT, &[&user]).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }
}

fn one() -> String {
    format!("{COLUMNS} WHERE user_id = $1 AND id = $2")
}

async fn insert(
    transaction: &Transaction<'_>,
    user: UserId,
    new: &AddressRow,
) -> Result<(), StoreError> {
    let AddressText { label, recipient, phone, postal_code, line1, line2 } = &new.text;
    let (id, is_default, at) = (&new.id, &new.is_default, &new.created_at);
    transaction
        .execute(
            INSERT,
            &[id, &user, label, recipient, phone, postal_code, line1, line2, is_default, at],
        )
        .await?;
    Ok(())
}

async fn write(
    transaction: Transaction<'_>,
    user: UserId,
    to: &AddressRow,
    takes_default: bool,
) -> Result<(), StoreError> {
    if takes_default {
        transaction.execute(TAKE_DEFAULT, &[&user]).await?;
    }
    let AddressText { label, recipient, phone, postal_code, line1, line2 } = &to.text;
    transaction
        .execute(
            UPDATE,
            &[&to.id, label, recipient, phone, postal_code, line1, line2, &to.is_default],
        )
        .await?;
    Ok(transaction.commit().await?)
}
