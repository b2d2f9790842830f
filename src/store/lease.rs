//! The lease: one exchange for each database, held by a session of its own.

use std::time::Duration;

use tokio_postgres::NoTls;

use super::{READER_TIMEOUT, Store};

/// Any number, the same in every Hoga.
const ADVISORY_LOCK: i64 = 0x686f_6761_0002;
/// A predecessor that was killed may hold it until Postgres has noticed.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

const TRY_LOCK: &str = "SELECT pg_try_advisory_lock($1)";

/// The lease, given back when dropped. What really keeps a second writer from a log is the log's
/// key; the lease tells the operator before it comes to that.
pub struct Lease {
    client: tokio_postgres::Client,
}

/// The lease cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// No connection.
    #[error("cannot reach Postgres")]
    Connection(#[from] tokio_postgres::Error),
    /// Somebody else has it.
    #[error("another `hoga serve` runs on this database; stop it first, or use another database")]
    Taken,
}

impl Store {
    /// Takes the lease on this database.
    ///
    /// # Errors
    /// When Postgres cannot be reached or another exchange holds the lease.
    pub async fn lease(&self) -> Result<Lease, LeaseError> {
        let mut config = self.config.clone();
        config.application_name("hoga lease").connect_timeout(READER_TIMEOUT);
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the connection that holds the lease was lost");
            }
        });
        for _ in 0..ATTEMPTS {
            if client.query_one(TRY_LOCK, &[&ADVISORY_LOCK]).await?.get(0) {
                return Ok(Lease { client });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(LeaseError::Taken)
    }
}

impl Lease {
    /// Whether the session that holds it is gone.
    pub fn is_lost(&self) -> bool {
        self.client.is_closed()
    }
}
