//! From when on a user's tokens count.

use crate::domain::{id::UserId, time::Timestamp};
use crate::store::{Store, StoreError};

const SINCE: &str = "
    SELECT id, tokens_valid_from FROM users WHERE tokens_valid_from > $1
    ORDER BY tokens_valid_from DESC LIMIT $2";

impl Store {
    /// Users whose tokens were revoked after a time, the latest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn tokens_revoked_since(
        &self,
        since: Timestamp,
        limit: i64,
    ) -> Result<Vec<(UserId, Timestamp)>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(SINCE).await?;
        let rows = reader.query(&statement, &[&since, &limit]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}
