//! The lease: one exchange for each database, held by a session of its own. Whoever gets it takes the
//! slots over.

use std::time::Duration;

use tokio::sync::oneshot;

use super::slots::Owned;
use crate::store::{
    Store,
    connecting::{CONNECT_TIMEOUT, connect, settings},
};

/// Any number, the same in every Hoga.
const ADVISORY_LOCK: i64 = 0x686f_6761_0002;
/// A predecessor that was killed may hold it until Postgres has noticed.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// So long Postgres, and this process, do without a sign of life from a peer that vanished, in
/// seconds: about three times this.
const SIGN_OF_LIFE_EVERY_S: u32 = 5;

const TRY_LOCK: &str = "SELECT pg_try_advisory_lock($1)";
const OWN_SESSION: &str =
    "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
/// Ends a session of ours that Postgres has not missed yet, if it is still that one.
const END_SESSION: &str = "
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = $1 AND backend_start::text = $2";

/// The lease, given back when dropped. What keeps a former owner from writing are the fences
/// ([`Owned`]); the lease tells when a server is gone, so that another may take over.
pub struct Lease {
    client: tokio_postgres::Client,
    session: Session,
    lanes: usize,
    lost: oneshot::Receiver<()>,
}

/// A session, also after its process has another one under the same number.
#[derive(Debug, Clone)]
struct Session {
    pid: i32,
    started_at: String,
}

/// Tells the end of the session, however it comes about.
struct Ending {
    owned: Owned,
    /// Dropped with this, which its receiver notices.
    _tell: oneshot::Sender<()>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.owned.set_leased(false);
    }
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
    /// Takes the lease on this database and all slots with it, for so many lanes; `owned` tells for how
    /// long.
    ///
    /// # Errors
    /// When Postgres cannot be reached or another exchange holds the lease.
    pub async fn lease(&self, owned: &Owned, lanes: usize) -> Result<Lease, LeaseError> {
        self.take_lease(owned, lanes, None).await
    }

    /// Takes a lease again that was lost.
    ///
    /// # Errors
    /// When Postgres cannot be reached or another exchange holds the lease by now.
    pub async fn lease_again(&self, owned: &Owned, lost: &Lease) -> Result<Lease, LeaseError> {
        self.take_lease(owned, lost.lanes, Some(&lost.session)).await
    }

    async fn take_lease(
        &self,
        owned: &Owned,
        lanes: usize,
        before: Option<&Session>,
    ) -> Result<Lease, LeaseError> {
        let mut config = self.url().postgres.clone();
        config.application_name("hoga lease").connect_timeout(CONNECT_TIMEOUT);
        let every = Duration::from_secs(u64::from(SIGN_OF_LIFE_EVERY_S));
        config.keepalives_idle(every).keepalives_interval(every).keepalives_retries(2);
        config.tcp_user_timeout(every * 3);
        let every_s = SIGN_OF_LIFE_EVERY_S.to_string();
        let settings = settings(&[
            ("tcp_keepalives_idle", &every_s),
            ("tcp_keepalives_interval", &every_s),
            ("tcp_keepalives_count", "2"),
        ]);
        let (client, connection) = connect(self.url(), &config, &settings).await?;
        let (tell, lost) = oneshot::channel();
        let ending = Ending { owned: owned.clone(), _tell: tell };
        tokio::spawn(async move {
            let ended = connection.await;
            drop(ending);
            if let Err(error) = ended {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the connection that holds the lease was lost");
            }
        });
        if let Some(Session { pid, started_at }) = before {
            client.query(END_SESSION, &[pid, started_at]).await?;
        }
        let own = client.query_one(OWN_SESSION, &[]).await?;
        let session = Session { pid: own.get(0), started_at: own.get(1) };
        for _ in 0..ATTEMPTS {
            if client.query_one(TRY_LOCK, &[&ADVISORY_LOCK]).await?.get(0) {
                owned.take(&client, i64::try_from(lanes).unwrap_or(i64::MAX)).await?;
                owned.set_leased(!client.is_closed());
                return Ok(Lease { client, session, lanes, lost });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(LeaseError::Taken)
    }
}

impl Lease {
    /// Gives it back, and waits until its connection is closed.
    pub async fn give_back(self) {
        drop(self.client);
        let _ = self.lost.await;
    }

    /// Ready when the session that holds it is gone.
    pub async fn lost(&mut self) {
        let _ = (&mut self.lost).await;
    }
}
