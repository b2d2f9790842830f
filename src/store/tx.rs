//! A transaction in which statements of several owners are carried out: each owner adds methods to
//! [`Tx`], and a use case composes them.
//!
//! What belongs together is written together or not at all: a transaction that is dropped without a
//! commit is rolled back.

use deadpool_postgres::Object;
use futures_util::FutureExt;
use tokio_postgres::error::Severity;

use super::{Store, StoreError};

/// A transaction that has begun.
pub struct Tx {
    connection: Object,
    is_over: bool,
}

impl Store {
    /// Begins a transaction over one of this store's connections, which it keeps until it is over.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let connection = self.reader().await?;
        // Made before the statement is sent: whoever gives up meanwhile rolls back.
        let tx = Tx { connection, is_over: false };
        tx.connection.batch_execute("BEGIN").await?;
        Ok(tx)
    }
}

impl Tx {
    /// For the owners' statements.
    pub(in crate::store) fn connection(&self) -> &Object {
        &self.connection
    }

    /// Makes everything durable that was written.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`] when the connection was lost meanwhile: it may have happened
    /// or not. After any other error nothing was written.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.is_over = true;
        self.connection.batch_execute("COMMIT").await.map_err(|error| {
            let severity = error.as_db_error().and_then(|error| error.parsed_severity());
            if severity == Some(Severity::Error) {
                StoreError::named(error)
            } else {
                StoreError::OutcomeUnknown(error)
            }
        })
    }
}

impl Drop for Tx {
    /// The statement is sent at once, and nobody waits for its answer: whatever is asked over this
    /// connection afterwards is asked after it.
    fn drop(&mut self) {
        if !self.is_over {
            let _sent = self.connection.batch_execute("ROLLBACK").now_or_never();
        }
    }
}
