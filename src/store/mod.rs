//! Postgres: every SQL statement of the exchange, one file per group of tables.
//!
//! Owns the schema, the pool for readers, and the statements of the lanes' transactions. Must never
//! decide anything: it stores what was decided and reads it back. Each statement is a named
//! constant next to its only caller.

mod accounts;
mod addresses;
mod alerts;
mod batch;
mod catalogue;
mod clients;
mod dead_letters;
mod deliveries;
mod inbox;
mod lease;
mod leaving;
mod log;
mod logins;
mod migrate;
mod notify;
mod on_sale;
mod outbox;
mod push_subscriptions;
mod pushes;
mod receipts;
mod reminders;
mod revocations;
mod sellers;
mod types;
mod unlinks;
mod watches;
mod webhooks;

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::{NoTls, error::SqlState};

pub use self::{
    accounts::{Account, KakaoAccount, Profile, RolesSet, User},
    addresses::{ADDRESSES_PER_USER_MAX, AddressAdded, AddressRow, AddressText},
    alerts::{ALERTS_PER_USER_MAX, AlertAdded, AlertRow},
    batch::{
        BatchWriter, CommitError, EventColumns, KnownReceipt, ReceiptColumns, Rows, StandingColumns,
    },
    catalogue::{AuctionRow, Due, Filter, ItemRow, NewAuction, Page, Sort, StandingRow},
    clients::{CLIENTS_MAX, ClientChanges, ClientRow, ClientsStamp},
    dead_letters::DeadLetterRow,
    deliveries::{
        ATTEMPTS_KEPT_MAX, AfterAttempt, AttemptMade, AttemptRow, ClaimedWebhook,
        DeliveriesWaiting, DeliveryRow, DueDelivery, NewDelivery, REPLAYED_WAITING_MAX, Replayed,
        WebhookStanding, first_id_of,
    },
    inbox::{
        AuctionMentioned, NewNotification, NotificationRow, Read, TICKETS_PER_USER_MAX,
        TicketTaken, UNREAD_COUNTED_MAX,
    },
    lease::{Lease, LeaseError, Leased},
    leaving::{Leaving, OPEN_LISTED_MAX, OpenKind, OpenMatter},
    log::{BidRow, EventKey, EventRow, LogRow, PublicEventRow},
    logins::{CodeBinding, Grant, GrantRow, GrantVerdict, LoginRow, NewFamily, TakenLogin},
    migrate::MigrateError,
    notify::{Audience, Consequences, NewFanout, News, PageTold, WorkedOff},
    on_sale::OnSale,
    outbox::{OutboxRow, OutboxWaiting},
    push_subscriptions::{
        NewPushSubscription, PUSH_SUBSCRIPTIONS_PER_USER_MAX, PushSubscriptionRow, Subscribed,
    },
    pushes::{Followed, NewPush, Push, PushContent, Unpushed},
    receipts::{Receipt, ReceiptKey},
    reminders::{DueReminder, NewReminder},
    sellers::{ApplicationRow, Company, Decided, NewVerdict, Verdict},
    unlinks::{Unlink, UnlinkDirection, UnlinksWaiting},
    watches::{WATCHES_PER_USER_MAX, WatchPlace, Watched},
    webhooks::{
        NewWebhook, WEBHOOKS_MAX, WEBHOOKS_PER_CLIENT_MAX, WebhookAdded, WebhookChanges,
        WebhookListening, WebhookRow,
    },
};

/// Connections that readers share. The lanes have their own.
pub const READERS_MAX: usize = 12;
/// How long a reader waits for a connection, and a connection for its server.
pub const READER_TIMEOUT: Duration = Duration::from_secs(5);
/// No statement of a reader runs longer.
pub const READER_STATEMENT_TIMEOUT_MS: u32 = 10_000;

/// The database, for everybody but the lanes.
#[derive(Clone)]
pub struct Store {
    config: tokio_postgres::Config,
    pool: Pool,
}

/// The database could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection within the time for it.
    #[error("no connection to Postgres")]
    Unavailable(#[source] deadpool_postgres::PoolError),
    /// Postgres answered with an error, or went away.
    #[error("Postgres could not carry out a statement")]
    Statement(#[from] tokio_postgres::Error),
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
    /// A store over this database; nothing is connected yet.
    ///
    /// # Errors
    /// When the pool cannot be built.
    pub fn new(config: tokio_postgres::Config) -> Result<Store, StoreError> {
        let mut reading = config.clone();
        let options = format!("-c statement_timeout={READER_STATEMENT_TIMEOUT_MS}");
        reading.application_name("hoga reader").options(&options);
        reading.connect_timeout(READER_TIMEOUT);
        let manager = Manager::from_config(
            reading,
            NoTls,
            ManagerConfig { recycling_method: RecyclingMethod::Verified },
        );
        let pool = Pool::builder(manager)
            .max_size(READERS_MAX)
            .wait_timeout(Some(READER_TIMEOUT))
            .create_timeout(Some(READER_TIMEOUT))
            .recycle_timeout(Some(READER_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Malformed(error.to_string()))?;
        Ok(Store { config, pool })
    }

    /// The settings under which the lanes and the migrations connect for themselves.
    pub fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    async fn reader(&self) -> Result<deadpool_postgres::Object, StoreError> {
        Ok(self.pool.get().await?)
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
