//! Addresses of users, one of them the default whenever there is any.
//!
//! Every change holds the account, so that two at once are made one after the other; should that
//! ever fail, the index `addresses_default_key` refuses a second default.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::domain::{id::UserId, time::Timestamp};
use crate::store::{Store, StoreError, Tx};

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
}

impl Tx {
    /// How many addresses a user has.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn count_addresses(&self, user: UserId) -> Result<i64, StoreError> {
        Ok(self.connection().query_one(COUNT, &[&user]).await?.get(0))
    }

    /// One of a user's addresses.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn address(&self, user: UserId, id: Uuid) -> Result<Option<AddressRow>, StoreError> {
        let row = self.connection().query_opt(&one(), &[&user, &id]).await?;
        Ok(row.as_ref().map(address))
    }

    /// No address of a user is the default any more.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn take_default(&self, user: UserId) -> Result<(), StoreError> {
        self.connection().execute(TAKE_DEFAULT, &[&user]).await?;
        Ok(())
    }

    /// The oldest address of a user is the default from now on.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn make_oldest_default(&self, user: UserId) -> Result<(), StoreError> {
        self.connection().execute(OLDEST_IS_DEFAULT, &[&user]).await?;
        Ok(())
    }

    /// Keeps a new address.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn insert_address(&self, user: UserId, new: &AddressRow) -> Result<(), StoreError> {
        let AddressText { label, recipient, phone, postal_code, line1, line2 } = &new.text;
        let (id, is_default, at) = (&new.id, &new.is_default, &new.created_at);
        let params: [&(dyn ToSql + Sync); 10] =
            [id, &user, label, recipient, phone, postal_code, line1, line2, is_default, at];
        self.connection().execute(INSERT, &params).await?;
        Ok(())
    }

    /// Writes an address in the place of what it was.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn write_address(&self, to: &AddressRow) -> Result<(), StoreError> {
        let AddressText { label, recipient, phone, postal_code, line1, line2 } = &to.text;
        let params: [&(dyn ToSql + Sync); 8] =
            [&to.id, label, recipient, phone, postal_code, line1, line2, &to.is_default];
        self.connection().execute(UPDATE, &params).await?;
        Ok(())
    }

    /// Deletes an address of a user; whether it was the default. None where they have no such one.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn delete_address(&self, user: UserId, id: Uuid) -> Result<Option<bool>, StoreError> {
        let deleted = self.connection().query_opt(DELETE, &[&id, &user]).await?;
        Ok(deleted.map(|row| row.get(0)))
    }
}

fn one() -> String {
    format!("{COLUMNS} WHERE user_id = $1 AND id = $2")
}
