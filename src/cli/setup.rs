//! What commands share: the database they work on, whose tokens it takes, and `hoga migrate`.

use std::process::ExitCode;

use super::Failed;
use crate::{
    config::{Config, DatabaseUrl},
    embedded::postgres::{Cluster, ClusterError, ClusterOptions, StopMode},
    store::{Store, StoreError},
};

/// The name of the database in the private cluster.
pub const EMBEDDED_DATABASE: &str = "hoga";

/// A database to work on: the configured one, or the private cluster's. Dropped, as on the way out
/// of a command that failed, it is left as by [`Database::leave`].
pub struct Database {
    /// How to connect.
    pub config: DatabaseUrl,
    cluster: Option<Cluster>,
}

impl Database {
    /// Finds the configured database, or starts the private cluster or joins the one that runs.
    ///
    /// # Errors
    /// When the private cluster cannot be started.
    pub fn open(config: &Config) -> Result<Database, ClusterError> {
        if let Some(url) = &config.database_url {
            return Ok(Database { config: url.clone(), cluster: None });
        }
        let cluster = Cluster::start(ClusterOptions::new(&config.data_dir))?;
        let config = cluster.config(EMBEDDED_DATABASE).into();
        let database = Database { config, cluster: Some(cluster) };
        if let Some(cluster) = &database.cluster {
            cluster.ensure_database(EMBEDDED_DATABASE)?;
        }
        Ok(database)
    }

    /// Whether somebody else keeps it running.
    pub fn is_kept_by_another(&self) -> bool {
        self.cluster.as_ref().is_none_or(Cluster::was_adopted)
    }

    /// Stops the private cluster, unless another command still uses it.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn leave(mut self) -> Result<(), ClusterError> {
        self.cluster.take().map_or(Ok(()), |cluster| cluster.leave(StopMode::Fast))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster.take()
            && let Err(error) = cluster.leave(StopMode::Fast)
        {
            tracing::error!(error = super::chain(&error), "the private Postgres still runs");
        }
    }
}

/// The issuer of the tokens that the exchange on this database takes: as it is set, or else as the
/// exchange wrote it down, which may have had its port chosen by the system.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn issuer(config: &Config, store: &Store) -> Result<String, StoreError> {
    if config.has_own_public_url {
        return Ok(config.public_url.clone());
    }
    let exchange = store.exchange_settings().await?;
    Ok(exchange.map_or_else(|| config.public_url.clone(), |exchange| exchange.issuer))
}

/// `hoga migrate`
///
/// # Errors
/// When the database cannot be reached or a migration fails.
pub fn migrate(config: &Config) -> Result<ExitCode, Failed> {
    let database = Database::open(config)?;
    let store = Store::new(database.config.clone())?;
    let applied = actix::System::new().block_on(async { store.migrate().await })?;
    match applied.len() {
        0 => super::say("The schema is up to date.\n")?,
        _ => {
            let names: String = applied.iter().map(|name| format!("applied {name}\n")).collect();
            super::say(&names)?;
        }
    }
    database.leave()?;
    Ok(ExitCode::SUCCESS)
}
