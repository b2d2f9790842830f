//! Alerts: what users want to hear of when it is listed.

use uuid::Uuid;

use crate::domain::{id::UserId, time::Timestamp};
use crate::store::{Store, StoreError, Tx};

/// An alert as it is kept. An empty text stands for any.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AlertRow {
    pub id: Uuid,
    /// A part of the title, in lower case.
    pub keyword: String,
    pub category: String,
    pub created_at: Timestamp,
}

const COLUMNS: &str = "SELECT id, keyword, category, created_at FROM keyword_alerts";
const COUNT: &str = "SELECT count(*) FROM keyword_alerts WHERE user_id = $1";
const INSERT: &str = "
    INSERT INTO keyword_alerts (id, user_id, keyword, category, created_at)
    VALUES ($1, $2, $3, $4, $5)";
const DELETE: &str = "DELETE FROM keyword_alerts WHERE id = $1 AND user_id = $2";
const DELETE_ALL: &str = "DELETE FROM keyword_alerts WHERE user_id = $1";

fn alert(row: &tokio_postgres::Row) -> AlertRow {
    AlertRow { id: row.get(0), keyword: row.get(1), category: row.get(2), created_at: row.get(3) }
}

impl Store {
    /// A page of a user's alerts, the oldest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn alerts(
        &self,
        user: UserId,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<AlertRow>, StoreError> {
        let sql = format!("{COLUMNS} WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3");
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(&sql).await?;
        let after = after.unwrap_or(Uuid::nil());
        let rows = reader.query(&statement, &[&user, &after, &limit]).await?;
        Ok(rows.iter().map(alert).collect())
    }

    /// Deletes a user's own alert; whether there was one.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn delete_alert(&self, user: UserId, id: Uuid) -> Result<bool, StoreError> {
        Ok(self.reader().await?.execute(DELETE, &[&id, &user]).await? == 1)
    }
}

impl Tx {
    /// A user's alert for the same keyword and category, if they have one.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn same_alert(
        &self,
        user: UserId,
        new: &AlertRow,
    ) -> Result<Option<AlertRow>, StoreError> {
        let same = format!("{COLUMNS} WHERE user_id = $1 AND keyword = $2 AND category = $3");
        let row = self.connection().query_opt(&same, &[&user, &new.keyword, &new.category]).await?;
        Ok(row.as_ref().map(alert))
    }

    /// How many alerts a user has.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn count_alerts(&self, user: UserId) -> Result<i64, StoreError> {
        Ok(self.connection().query_one(COUNT, &[&user]).await?.get(0))
    }

    /// Keeps a new alert.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn insert_alert(&self, user: UserId, new: &AlertRow) -> Result<(), StoreError> {
        let AlertRow { id, keyword, category, created_at } = new;
        self.connection().execute(INSERT, &[id, &user, keyword, category, created_at]).await?;
        Ok(())
    }

    /// Forgets what somebody wanted to hear of who leaves.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn forget_alerts(&self, user: UserId) -> Result<(), StoreError> {
        self.connection().execute(DELETE_ALL, &[&user]).await?;
        Ok(())
    }
}
