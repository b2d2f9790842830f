//! What the exchange on this database uses, for the broadcasters and commands beside it.

use tokio_postgres::error::SqlState;

use super::{Store, StoreError};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeSettings {
    /// Of its tokens.
    pub issuer: String,
    /// What its names on the broker begin with; `None` without a broker.
    pub amqp_prefix: Option<String>,
}

const WRITE: &str = "
    INSERT INTO exchange_settings (issuer, amqp_prefix) VALUES ($1, $2)
    ON CONFLICT (only_row) DO UPDATE
    SET issuer = excluded.issuer, amqp_prefix = excluded.amqp_prefix";
const READ: &str = "SELECT issuer, amqp_prefix FROM exchange_settings";

impl Store {
    /// Writes what this exchange uses; only the holder of the lease may.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn write_exchange_settings(
        &self,
        settings: &ExchangeSettings,
    ) -> Result<(), StoreError> {
        let ExchangeSettings { issuer, amqp_prefix } = settings;
        self.reader().await?.execute(WRITE, &[issuer, amqp_prefix]).await?;
        Ok(())
    }

    /// `None` if no exchange of this version has run here yet.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn exchange_settings(&self) -> Result<Option<ExchangeSettings>, StoreError> {
        let found = self.reader().await?.query_opt(READ, &[]).await;
        match found {
            Ok(row) => {
                Ok(row.map(|row| ExchangeSettings { issuer: row.get(0), amqp_prefix: row.get(1) }))
            }
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
