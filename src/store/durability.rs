//! What Postgres does so that what it has committed stays.

use super::{Store, StoreError};

const SWITCHED_OFF: &str = "
    SELECT name FROM pg_settings
    WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name";

impl Store {
    /// The settings of the server that are switched off, although a machine that fails may take
    /// commits with it without them. They cannot be set from here; `synchronous_commit` is, on every
    /// connection.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn durability_switched_off(&self) -> Result<Vec<String>, StoreError> {
        let rows = self.reader().await?.query(SWITCHED_OFF, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
