//! Migrations: append-only files in `migrations/`, run under an advisory lock.

use refinery::embed_migrations;

use super::{
    ConnectError, Store,
    connecting::{CONNECT_TIMEOUT, connect},
};

embed_migrations!("migrations");

/// Any number, the same in every Hoga: two servers that start together migrate one after the other.
const ADVISORY_LOCK: i64 = 0x686f_6761_0001;

const LOCK: &str = "SELECT pg_advisory_lock($1)";
const UNLOCK: &str = "SELECT pg_advisory_unlock($1)";

/// The schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection that would do.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No connection, or it was lost.
    #[error("cannot reach Postgres to migrate its schema")]
    Connection(#[from] tokio_postgres::Error),
    /// A migration failed, or the database has one that this version does not know.
    #[error("a migration failed")]
    Migration(#[from] refinery::Error),
}

impl Store {
    /// Brings the schema up to date, on a connection of its own, one server at a time. Returns the
    /// names of the migrations that were applied.
    ///
    /// # Errors
    /// When Postgres cannot be reached or a migration fails; each runs in a transaction.
    pub async fn migrate(&self) -> Result<Vec<String>, MigrateError> {
        self.check_connection().await?;
        let mut config = self.url().postgres.clone();
        config.application_name("hoga migrate").connect_timeout(CONNECT_TIMEOUT);
        let (mut client, connection) = connect(self.url(), &config, "").await?;
        let connection = tokio::spawn(connection);
        client.execute(LOCK, &[&ADVISORY_LOCK]).await?;
        let outcome = migrations::runner().run_async(&mut client).await;
        client.execute(UNLOCK, &[&ADVISORY_LOCK]).await?;
        drop(client);
        if let Ok(Err(error)) = connection.await {
            tracing::debug!(%error, "the migration connection ended with an error");
        }
        let report = outcome?;
        Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
    }
}
