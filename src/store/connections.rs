//! Connections to Postgres: how many, for whom, and whether Postgres has as many.
//!
//! Three pools, so that nobody waits for somebody else's statements: the background's own (clock, loading,
//! relay, whoever follows the log), one for what people read and write, and a small one for lists
//! that anybody may ask for. Each lane has a connection besides, and so has the lease.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};

use super::{
    Store, StoreError,
    connecting::{CONNECT_TIMEOUT, PoolConnector, patience, settings},
};
use crate::database_url::DatabaseUrl;

/// Connections of the background's pool: as many as there are tasks that may ask at the same time, most of
/// which rarely do. No setting: fewer would let them wait for each other, more would be idle.
pub const BACKGROUND_CONNECTIONS: usize = 16;
/// How long a list waits for a connection: past it the answer is that too many ask.
const LISTS_WAIT: Duration = Duration::from_millis(250);
/// No statement runs longer.
const STATEMENT_TIMEOUT_MS: &str = "10000";
/// No list takes longer: with indexes for all of them it takes milliseconds.
const LISTS_STATEMENT_TIMEOUT_MS: &str = "2000";
/// Connections besides pools and lanes: the lease, and one to migrate.
const BESIDES: usize = 2;

/// How many connections there may be at once, besides [`BACKGROUND_CONNECTIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionsMax {
    /// For what people read and write.
    pub people: usize,
    /// For lists and searches.
    pub lists: usize,
}

impl Default for ConnectionsMax {
    fn default() -> Self {
        ConnectionsMax { people: 12, lists: 4 }
    }
}

pub(super) struct Pools {
    pub background: Pool,
    pub people: Pool,
    pub lists: Pool,
}

/// The database is not one that this server can run on.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Postgres cannot be asked.
    #[error("the database cannot be asked what it allows")]
    Store(#[from] StoreError),
    /// It allows fewer connections than may be needed.
    #[error(
        "Postgres allows {allowed} connections, and this server may need {needed} of them: \
         {lanes} lanes, {BACKGROUND_CONNECTIONS} for the background, {people} for people, {lists} for lists and \
         {BESIDES} besides; raise max_connections, or lower HOGA_DATABASE_CONNECTIONS_MAX, \
         HOGA_LISTS_CONNECTIONS_MAX or HOGA_LANES"
    )]
    TooFewConnections {
        /// By the server, the database and the role, whichever is least.
        allowed: usize,
        /// In all.
        needed: usize,
        /// One each.
        lanes: usize,
        /// As configured.
        people: usize,
        /// As configured.
        lists: usize,
    },
}

/// The least of what server, database and role allow; a negative number is no limit. Reserved
/// connections are for superusers, even where this role is one.
const ALLOWED: &str = "
    SELECT least(
        current_setting('max_connections')::int8
            - current_setting('superuser_reserved_connections')::int8
            - coalesce(current_setting('reserved_connections', true)::int8, 0),
        (SELECT CASE WHEN datconnlimit >= 0 THEN datconnlimit END
         FROM pg_database WHERE datname = current_database()),
        (SELECT CASE WHEN rolconnlimit >= 0 AND NOT rolsuper THEN rolconnlimit END
         FROM pg_roles WHERE rolname = current_user))::int8";

const CHARACTER_CLASSES: &str =
    "SELECT datctype::text FROM pg_database WHERE datname = current_database()";

impl Pools {
    pub fn new(url: &DatabaseUrl, max: ConnectionsMax) -> Result<Pools, StoreError> {
        // What is answered must be on disk whatever the database's or the role's default.
        let timeout =
            settings(&[("synchronous_commit", "on"), ("statement_timeout", STATEMENT_TIMEOUT_MS)]);
        // A plan for each list as it is asked for: what is rare is found otherwise than what is not.
        // And rows are looked up by their keys, whatever the statistics of a table that grew an
        // hour ago.
        let of_lists = settings(&[
            ("statement_timeout", LISTS_STATEMENT_TIMEOUT_MS),
            ("plan_cache_mode", "force_custom_plan"),
            ("jit", "off"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
        ]);
        let wait = CONNECT_TIMEOUT;
        Ok(Pools {
            background: pool(url, "hoga background", &timeout, BACKGROUND_CONNECTIONS, wait)?,
            people: pool(url, "hoga reader", &timeout, max.people, wait)?,
            lists: pool(url, "hoga lists", &of_lists, max.lists, LISTS_WAIT)?,
        })
    }
}

fn pool(
    url: &DatabaseUrl,
    name: &str,
    settings: &str,
    size: usize,
    wait: Duration,
) -> Result<Pool, StoreError> {
    let mut config = url.postgres.clone();
    config.application_name(name).connect_timeout(CONNECT_TIMEOUT);
    let connector = PoolConnector { url: url.clone(), settings: settings.to_owned() };
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
    Pool::builder(Manager::from_connect(config, connector, recycling))
        .max_size(size)
        .wait_timeout(Some(wait))
        .create_timeout(Some(patience(url)))
        .recycle_timeout(Some(CONNECT_TIMEOUT))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| StoreError::Malformed(error.to_string()))
}

impl Store {
    /// Whether Postgres allows as many connections as this server may need; and says aloud what
    /// cannot be searched there.
    ///
    /// # Errors
    /// When it allows fewer, or cannot be asked.
    pub async fn check_database(
        &self,
        max: ConnectionsMax,
        lanes: usize,
    ) -> Result<(), DatabaseError> {
        let reader = self.reader().await?;
        let allowed: i64 = reader.query_one(ALLOWED, &[]).await.map_err(StoreError::from)?.get(0);
        let allowed = usize::try_from(allowed).unwrap_or(0);
        let ConnectionsMax { people, lists } = max;
        let needed = lanes + BACKGROUND_CONNECTIONS + people + lists + BESIDES;
        if needed > allowed {
            return Err(DatabaseError::TooFewConnections { allowed, needed, lanes, people, lists });
        }
        let row = reader.query_one(CHARACTER_CLASSES, &[]).await.map_err(StoreError::from)?;
        let classes: String = row.get(0);
        if matches!(classes.as_str(), "C" | "POSIX") {
            tracing::warn!(
                lc_ctype = classes,
                "Hangul has no trigrams in this database, so searching titles for it reads all of \
                 them and is cut off: create the database with LC_CTYPE 'C.UTF-8' or 'ko_KR.UTF-8'"
            );
        }
        Ok(())
    }
}
