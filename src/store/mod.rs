//! Postgres: every SQL statement of the exchange, by who owns the tables.
//!
//! Owns the schema, the pools of connections, and the statements of the lanes' transactions. Must
//! never decide anything: it stores what was decided and reads it back. Each statement is a named
//! constant next to its only caller.

mod connecting;
mod connections;
mod durability;
mod exchange_settings;
mod identity;
mod kept;
mod log;
mod market;
mod migrate;
mod notify;
pub mod purges;
mod tx;
mod types;
mod webhooks;

use std::sync::Arc;

use deadpool_postgres::{Pool, PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

use crate::database_url::DatabaseUrl;

pub use self::{
    connecting::{ConnectError, Connection},
    connections::{BACKGROUND_CONNECTIONS, ConnectionsMax, DatabaseError},
    exchange_settings::ExchangeSettings,
    identity::{
        accounts::{Account, Gender, KakaoAccount, Profile, User},
        addresses::{AddressRow, AddressText},
        clients::{CLIENTS_MAX, ClientChanges, ClientRow, ClientsStamp},
        leaving::{Anonymised, OPEN_LISTED_MAX, OpenKind, OpenMatter},
        logins::{CodeBinding, Grant, GrantRow, GrantVerdict, LoginRow, NewFamily, TakenLogin},
        sellers::{ApplicationRow, ApplicationStatus, Company, NewVerdict},
        unlinks::{Unlink, UnlinkDirection, UnlinksWaiting},
    },
    log::{
        batch::{
            BatchWriter, CommitError, EventColumns, KnownReceipt, LaneConnectError, ReceiptColumns,
            Rows, StandingColumns,
        },
        dead_letters::DeadLetterRow,
        events::{BidRow, EventKey, EventRow, LogPage, LogRow, PublicEventRow},
        lease::{Lease, LeaseError},
        loading::{LogPart, LogRange, LogSize},
        outbox::{OutboxRow, OutboxWaiting},
        receipts::{Kept, Receipt, ReceiptKey},
        slots::Owned,
        snapshots::{NewSnapshot, SnapshotRow},
    },
    market::{
        catalogue::{
            AuctionRow, Due, Filter, ItemRow, NewAuction, Page, Sort, StandingRow, are_searchable,
        },
        on_sale::OnSale,
        watches::WatchPlace,
    },
    migrate::MigrateError,
    notify::{
        alerts::AlertRow,
        inbox::{
            AuctionMentioned, Muted, Muting, NewNotification, NotificationRow, Read,
            TICKETS_PER_USER_MAX, TicketTaken, UNREAD_COUNTED_MAX,
        },
        news::{Audience, Consequences, NewFanout, News, PageTold, WorkedOff},
        push_subscriptions::{
            NewPushSubscription, PUSH_SUBSCRIPTIONS_PER_USER_MAX, PushSubscriptionRow, Subscribed,
        },
        pushes::{Followed, NewPush, Push, PushContent, Unpushed},
        reminders::{DueReminder, NewReminder},
    },
    tx::Tx,
    webhooks::{
        deliveries::{
            ATTEMPTS_KEPT_MAX, AfterAttempt, AttemptMade, AttemptRow, ClaimedWebhook,
            DeliveriesWaiting, DeliveryRow, DueDelivery, NewDelivery, REPLAYED_WAITING_MAX,
            Replayed, WebhookStanding, first_id_of,
        },
        endpoints::{
            NewWebhook, WEBHOOKS_MAX, WEBHOOKS_PER_CLIENT_MAX, WebhookAdded, WebhookChanges,
            WebhookListening, WebhookRow,
        },
    },
};
use self::{connections::Pools, log::recent::Recent};

/// The database, for everybody but the lanes. Clones share their connections.
#[derive(Clone)]
pub struct Store {
    url: Arc<DatabaseUrl>,
    /// Those that this one asks over.
    pool: Pool,
    /// Whether those are the ones for lists, where nobody waits.
    is_of_lists: bool,
    pools: Arc<Pools>,
    recent: Recent,
}

/// The database could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection within the time for it.
    #[error("no connection to Postgres")]
    Unavailable(#[source] deadpool_postgres::PoolError),
    /// Postgres answered with an error, or went away.
    #[error("Postgres could not carry out a statement")]
    Statement(#[source] tokio_postgres::Error),
    /// The connection was lost during a commit: it may have happened or not.
    #[error("the connection to Postgres was lost during a commit")]
    OutcomeUnknown(#[source] tokio_postgres::Error),
    /// Too many ask for lists at once, or a statement took too long and was cancelled.
    #[error("too much is asked of Postgres at once")]
    Busy,
    /// A stored row does not make sense.
    #[error("a stored row cannot be read: {0}")]
    Malformed(String),
    /// A constraint says no; by its name.
    #[error("the constraint {0} refuses this row")]
    Constraint(String),
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> StoreError {
        StoreError::Unavailable(error)
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> StoreError {
        if error.code() == Some(&SqlState::QUERY_CANCELED) {
            return StoreError::Busy;
        }
        let cause = std::error::Error::source(&error);
        if let Some(unknown) = cause.and_then(|cause| cause.downcast_ref::<types::UnknownWord>()) {
            return StoreError::Malformed(unknown.to_string());
        }
        StoreError::Statement(error)
    }
}

impl StoreError {
    /// A violated unique or foreign key, by its name; anything else as it is.
    fn named(error: tokio_postgres::Error) -> StoreError {
        let constraint = error.as_db_error().filter(|db| {
            *db.code() == SqlState::UNIQUE_VIOLATION
                || *db.code() == SqlState::FOREIGN_KEY_VIOLATION
        });
        match constraint.and_then(|db| db.constraint()) {
            Some(name) => StoreError::Constraint(name.to_owned()),
            None => StoreError::Statement(error),
        }
    }
}

impl Store {
    /// A store over this database, with as many connections as there are by default; nothing is
    /// connected yet.
    ///
    /// # Errors
    /// When the pools cannot be built.
    pub fn new(url: impl Into<DatabaseUrl>) -> Result<Store, StoreError> {
        Store::with(url, ConnectionsMax::default())
    }

    /// A store over this database that asks for people, over so many connections; nothing is
    /// connected yet.
    ///
    /// # Errors
    /// When the pools cannot be built.
    pub fn with(
        url: impl Into<DatabaseUrl>,
        connections: ConnectionsMax,
    ) -> Result<Store, StoreError> {
        let url = url.into();
        let pools = Pools::new(&url, connections)?;
        let pool = pools.people.clone();
        let (pools, recent) = (Arc::new(pools), Recent::default());
        Ok(Store { url: Arc::new(url), pool, is_of_lists: false, pools, recent })
    }

    /// The same database over the connections that are kept for the background: for the clock, the
    /// relay, and whoever follows the log. However many people ask, these never wait for them.
    #[must_use]
    pub fn for_background(&self) -> Store {
        Store { pool: self.pools.background.clone(), is_of_lists: false, ..self.clone() }
    }

    /// The same database over the few connections that are there for lists which anybody may ask
    /// for: a statement is short or cancelled, and who finds none free is refused at once.
    #[must_use]
    pub fn of_lists(&self) -> Store {
        Store { pool: self.pools.lists.clone(), is_of_lists: true, ..self.clone() }
    }

    /// Where the lanes, the lease and the migrations connect for themselves.
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// How long Postgres lets a statement over these connections run, as it says it.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn statement_timeout(&self) -> Result<String, StoreError> {
        Ok(self.reader().await?.query_one("SHOW statement_timeout", &[]).await?.get(0))
    }

    /// Keeps events that a lane of this process has committed for whoever works them off here, so that
    /// they need not be read again.
    pub fn keep_committed(&self, events: EventColumns) {
        self.recent.keep(events);
    }

    async fn reader(&self) -> Result<deadpool_postgres::Object, StoreError> {
        match self.pool.get().await {
            Err(PoolError::Timeout(TimeoutType::Wait)) if self.is_of_lists => Err(StoreError::Busy),
            got => Ok(got?),
        }
    }

    /// Whether Postgres answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.reader().await?.simple_query("SELECT 1").await?;
        Ok(())
    }
}
