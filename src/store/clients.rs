//! Registered frontends. A placeholder.

use super::{Store, StoreError};

const ALL: &str = "SELECT id, secret_hash, redirect_uris, disabled_at IS NOT NULL FROM clients";

/// Id, hash of the secret, redirect URIs, whether it is disabled.
pub type ClientColumns = (String, Option<Vec<u8>>, Vec<String>, bool);

impl Store {
    /// Every client.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn clients(&self) -> Result<Vec<ClientColumns>, StoreError> {
        let rows = self.reader().await?.query(ALL, &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect())
    }
}
