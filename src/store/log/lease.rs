//! The lease: one exchange for each database, held by a session of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;

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

/// The lease, given back when dropped. What really keeps a second writer from a log is the log's
/// key; the lease tells the operator before it comes to that.
pub struct Lease {
    _client: tokio_postgres::Client,
    session: Session,
    lost: oneshot::Receiver<()>,
}

/// A session, also after its process has another one under the same number.
#[derive(Debug, Clone)]
struct Session {
    pid: i32,
    started_at: String,
}

/// Whether this process holds the lease at present. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Leased(Arc<AtomicBool>);

impl Leased {
    /// Of a process that needs no lease, such as a test's.
    pub fn always() -> Leased {
        Leased(Arc::new(AtomicBool::new(true)))
    }

    /// Of a process that has none yet.
    pub fn not_yet() -> Leased {
        Leased(Arc::new(AtomicBool::new(false)))
    }

    /// Whether it does. Says no as soon as the connection is known to be lost.
    pub fn is_held(&self) -> bool {
        self.0.load(Ordering::Acquire)
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
    /// Takes the lease on this database; `leased` says yes for as long as it is held.
    ///
    /// # Errors
    /// When Postgres cannot be reached or another exchange holds the lease.
    pub async fn lease(&self, leased: &Leased) -> Result<Lease, LeaseError> {
        self.take_lease(leased, None).await
    }

    /// Takes a lease again that was lost.
    ///
    /// # Errors
    /// When Postgres cannot be reached or another exchange holds the lease by now.
    pub async fn lease_again(&self, leased: &Leased, lost: &Lease) -> Result<Lease, LeaseError> {
        self.take_lease(leased, Some(&lost.session)).await
    }

    async fn take_lease(
        &self,
        leased: &Leased,
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
        let held = Arc::clone(&leased.0);
        tokio::spawn(async move {
            let ended = connection.await;
            held.store(false, Ordering::Release);
            if let Err(error) = ended {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the connection that holds the lease was lost");
            }
            let _ = tell.send(());
        });
        if let Some(Session { pid, started_at }) = before {
            client.query(END_SESSION, &[pid, started_at]).await?;
        }
        let own = client.query_one(OWN_SESSION, &[]).await?;
        let session = Session { pid: own.get(0), started_at: own.get(1) };
        for _ in 0..ATTEMPTS {
            if client.query_one(TRY_LOCK, &[&ADVISORY_LOCK]).await?.get(0) {
                leased.0.store(!client.is_closed(), Ordering::Release);
                return Ok(Lease { _client: client, session, lost });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(LeaseError::Taken)
    }
}

impl Lease {
    /// Ready when the session that holds it is gone.
    pub async fn lost(&mut self) {
        let _ = (&mut self.lost).await;
    }
}
