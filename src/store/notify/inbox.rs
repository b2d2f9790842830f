//! The inbox: what each user was told, what they do not want to hear of, and tickets for the stream
//! of it.
//!
//! Whoever writes into the inbox takes their turn until they commit, so that the ids of
//! notifications rise in the order in which they become visible: a stream resumes by them.

use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::{
    id::{AuctionId, UserId},
    time::Timestamp,
};
use crate::store::{
    Store, StoreError, Tx, identity::accounts::lock_account, notify::push_subscriptions,
};

/// Any number: one writes into the inbox at a time.
const ADVISORY_LOCK: i64 = 0x686f_6761_0003;
/// Unread ones are counted up to here.
pub const UNREAD_COUNTED_MAX: i64 = 1_000;
/// Tickets that a user may have open; older ones give way.
pub const TICKETS_PER_USER_MAX: i64 = 8;

/// Something to tell a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotification {
    /// Whom.
    pub user: UserId,
    /// Its word.
    pub kind: &'static str,
    /// The auction, or the seller application.
    pub subject: Uuid,
    /// The event's sequence number, or when a reminder was due, in milliseconds.
    pub cause: i64,
    /// JSON, with nothing private in it.
    pub data: String,
    /// When it happened.
    pub at: Timestamp,
}

/// A notification as it is kept.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct NotificationRow {
    pub id: i64,
    pub user: UserId,
    pub kind: String,
    pub subject: Uuid,
    /// The auction that it is about, if it is about one.
    pub auction: Option<AuctionMentioned>,
    /// JSON
    pub data: String,
    pub at: Timestamp,
    pub read_at: Option<Timestamp>,
}

/// As much of an auction as words need.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct AuctionMentioned {
    pub id: AuctionId,
    pub title: String,
    /// JSON
    pub image_keys: String,
}

/// What is marked as read.
#[derive(Debug, Clone)]
pub enum Read {
    /// These.
    Ids(Vec<i64>),
    /// All up to this one.
    UpTo(i64),
}

/// What became of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TicketTaken {
    /// It was good, for this user, and is not any more.
    Good(UserId),
    /// Its time was over.
    Expired,
    /// It was used before.
    Used,
    /// It is none of ours.
    Unknown,
}

const TAKE_TURN: &str = "SELECT pg_advisory_xact_lock($1)";

/// Nobody who has left, and nothing that is muted.
const INSERT: &str = "
    INSERT INTO notifications (user_id, kind, subject_id, cause, data, at, created_at)
    SELECT n.user_id, n.kind, n.subject_id, n.cause, n.data, n.at, $7
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::int8[], $5::text[], $6::timestamptz[])
         AS n (user_id, kind, subject_id, cause, data, at)
    JOIN users u ON u.id = n.user_id AND u.left_at IS NULL
    WHERE NOT EXISTS (
        SELECT FROM notification_mutes m WHERE m.user_id = n.user_id AND m.kind = n.kind)
    ON CONFLICT ON CONSTRAINT notifications_cause_key DO NOTHING";

const COLUMNS: &str = "
    SELECT n.id, n.user_id, n.kind, n.subject_id, n.data, n.at, n.read_at, a.title, a.image_keys
    FROM notifications n LEFT JOIN auctions a ON a.id = n.subject_id";

const UNREAD: &str = "
    SELECT count(*) FROM (
        SELECT FROM notifications WHERE user_id = $1 AND read_at IS NULL LIMIT $2) n";

const READ_THESE: &str = "
    UPDATE notifications SET read_at = $3
    WHERE user_id = $1 AND id = ANY ($2) AND read_at IS NULL";

const READ_UP_TO: &str = "
    UPDATE notifications SET read_at = $3 WHERE user_id = $1 AND id <= $2 AND read_at IS NULL";

/// The first and the last that there are.
const ENDS: &str = "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM notifications";

const SINCE: &str = "SELECT id, user_id FROM notifications WHERE id > $1 ORDER BY id LIMIT $2";

/// Ids rise in the order of time, so the old ones are the first.
const PURGE: &str = "
    DELETE FROM notifications WHERE id IN (
        SELECT o.id FROM (SELECT id, created_at FROM notifications ORDER BY id LIMIT $2) o
        WHERE o.created_at < $1)";

/// What a user does not want to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Muted {
    /// Kinds that do not come to the inbox.
    pub kinds: Vec<String>,
    /// Kinds that are not pushed, if the user ever said so.
    pub not_pushed: Option<Vec<String>>,
}

/// What became of setting it.
#[derive(Debug)]
pub enum Muting {
    /// It is this now.
    Done(Muted),
    /// It had changed since it was read.
    Changed,
    /// The user is not there any more.
    NobodyThere,
}

const MUTES: &str = "SELECT kind FROM notification_mutes WHERE user_id = $1 ORDER BY kind";
const UNMUTE: &str = "DELETE FROM notification_mutes WHERE user_id = $1";
const MUTE: &str = "INSERT INTO notification_mutes (user_id, kind) SELECT $1, kind FROM unnest($2::text[]) AS k (kind)";

const FORGET: [&str; 3] = [
    "DELETE FROM notifications WHERE user_id = $1",
    UNMUTE,
    "DELETE FROM stream_tickets WHERE user_id = $1",
];

const INSERT_TICKET: &str =
    "INSERT INTO stream_tickets (ticket_hash, user_id, expires_at) VALUES ($1, $2, $3)";

/// Those that were used too: the newest stay, to say that they were.
const DROP_OLDER_TICKETS: &str = "
    DELETE FROM stream_tickets WHERE ticket_hash IN (
        SELECT ticket_hash FROM stream_tickets WHERE user_id = $1
        ORDER BY expires_at DESC, ticket_hash OFFSET $2)";

const USE_TICKET: &str = "
    UPDATE stream_tickets t SET used_at = $2 FROM users u
    WHERE t.ticket_hash = $1 AND t.used_at IS NULL AND t.expires_at > $2
      AND u.id = t.user_id AND u.left_at IS NULL
    RETURNING t.user_id";

const USER_OF_TICKET: &str = "
    SELECT t.user_id FROM stream_tickets t JOIN users u ON u.id = t.user_id
    WHERE t.ticket_hash = $1 AND t.used_at IS NULL AND t.expires_at > $2 AND u.left_at IS NULL";

const FIND_TICKET: &str = "SELECT used_at IS NOT NULL FROM stream_tickets WHERE ticket_hash = $1";

const PURGE_TICKETS: &str = "
    DELETE FROM stream_tickets WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM stream_tickets WHERE expires_at < $1 LIMIT $2))
    AND expires_at < $1";

fn notification(row: &Row) -> NotificationRow {
    let subject: Uuid = row.get(3);
    let title: Option<String> = row.get(7);
    NotificationRow {
        id: row.get(0),
        user: row.get(1),
        kind: row.get(2),
        subject,
        auction: title.map(|title| AuctionMentioned {
            id: AuctionId(subject),
            title,
            image_keys: row.get(8),
        }),
        data: row.get(4),
        at: row.get(5),
        read_at: row.get(6),
    }
}

/// Writes into the inbox, once for each cause; of how many. The last thing that a transaction does,
/// for everybody else waits until it has committed.
pub(in crate::store) async fn write(
    transaction: &impl GenericClient,
    new: &[NewNotification],
    now: Timestamp,
) -> Result<u64, StoreError> {
    if new.is_empty() {
        return Ok(0);
    }
    let users: Vec<UserId> = new.iter().map(|new| new.user).collect();
    let kinds: Vec<&str> = new.iter().map(|new| new.kind).collect();
    let subjects: Vec<Uuid> = new.iter().map(|new| new.subject).collect();
    let causes: Vec<i64> = new.iter().map(|new| new.cause).collect();
    let data: Vec<&str> = new.iter().map(|new| new.data.as_str()).collect();
    let at: Vec<Timestamp> = new.iter().map(|new| new.at).collect();
    let statement = transaction.prepare_cached(INSERT).await?;
    transaction.query_one(TAKE_TURN, &[&ADVISORY_LOCK]).await?;
    let written = transaction
        .execute(&statement, &[&users, &kinds, &subjects, &causes, &data, &at, &now])
        .await?;
    Ok(written)
}

impl Tx {
    /// Writes into the inbox, once for each cause. The last thing that a transaction does, for
    /// everybody else waits until it has committed.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn write_notifications(
        &self,
        new: &[NewNotification],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        write(self.connection(), new, now).await
    }

    /// Forgets the inbox of somebody who leaves, with what belongs to it.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn forget_notifications(&self, user: UserId) -> Result<(), StoreError> {
        for statement in FORGET {
            self.connection().execute(statement, &[&user]).await?;
        }
        Ok(())
    }
}

impl Store {
    /// A page of an inbox, the newest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn notifications(
        &self,
        user: UserId,
        is_unread: Option<bool>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<NotificationRow>, StoreError> {
        let filter = match is_unread {
            None => "",
            Some(true) => "AND n.read_at IS NULL",
            Some(false) => "AND n.read_at IS NOT NULL",
        };
        let sql = format!(
            "{COLUMNS} WHERE n.user_id = $1 AND n.id < $2 {filter} ORDER BY n.id DESC LIMIT $3"
        );
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(&sql).await?;
        let before = before.unwrap_or(i64::MAX);
        let rows = reader.query(&statement, &[&user, &before, &limit]).await?;
        Ok(rows.iter().map(notification).collect())
    }

    /// What a user was told after a notification, in order.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn notifications_after(
        &self,
        user: UserId,
        after: i64,
        limit: i64,
    ) -> Result<Vec<NotificationRow>, StoreError> {
        let sql = format!("{COLUMNS} WHERE n.user_id = $1 AND n.id > $2 ORDER BY n.id LIMIT $3");
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(&sql).await?;
        let rows = reader.query(&statement, &[&user, &after, &limit]).await?;
        Ok(rows.iter().map(notification).collect())
    }

    /// Notifications by their ids, in order.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn notifications_of(&self, ids: &[i64]) -> Result<Vec<NotificationRow>, StoreError> {
        let sql = format!("{COLUMNS} WHERE n.id = ANY ($1) ORDER BY n.id");
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(&sql).await?;
        let rows = reader.query(&statement, &[&ids]).await?;
        Ok(rows.iter().map(notification).collect())
    }

    /// Who was told something after a notification, in order: its id, and whom.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn told_since(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<Vec<(i64, UserId)>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(SINCE).await?;
        let rows = reader.query(&statement, &[&after, &limit]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The oldest and the newest notification of all; 0 where there is none.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn inbox_ends(&self) -> Result<(i64, i64), StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(ENDS).await?;
        let row = reader.query_one(&statement, &[]).await?;
        Ok((row.get(0), row.get(1)))
    }

    /// How many a user has not read, up to [`UNREAD_COUNTED_MAX`].
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn unread(&self, user: UserId) -> Result<i64, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(UNREAD).await?;
        Ok(reader.query_one(&statement, &[&user, &UNREAD_COUNTED_MAX]).await?.get(0))
    }

    /// Marks a user's own notifications as read; how many were not.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn mark_read(
        &self,
        user: UserId,
        read: &Read,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let reader = self.reader().await?;
        let marked = match read {
            Read::Ids(ids) => reader.execute(READ_THESE, &[&user, ids, &now]).await?,
            Read::UpTo(id) => reader.execute(READ_UP_TO, &[&user, id, &now]).await?,
        };
        Ok(marked)
    }

    /// Deletes what is older than a time; how many.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn purge_notifications(
        &self,
        before: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        Ok(self.reader().await?.execute(PURGE, &[&before, &limit]).await?)
    }

    /// The kinds that a user does not want to hear of.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn muted(&self, user: UserId) -> Result<Muted, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        muted(&transaction, user).await
    }

    /// Sets the kinds that a user does not want to hear of, and those that are not pushed to them;
    /// what is none stays as it was. With `read`, only while they are still that.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn mute(
        &self,
        user: UserId,
        kinds: &[&str],
        not_pushed: Option<&[&str]>,
        read: Option<&Muted>,
    ) -> Result<Muting, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        if !lock_account(&transaction, user).await? {
            return Ok(Muting::NobodyThere);
        }
        if let Some(read) = read
            && muted(&transaction, user).await? != *read
        {
            return Ok(Muting::Changed);
        }
        transaction.execute(UNMUTE, &[&user]).await?;
        transaction.execute(MUTE, &[&user, &kinds]).await?;
        if let Some(kinds) = not_pushed {
            push_subscriptions::mute(&transaction, user, kinds).await?;
        }
        let now = muted(&transaction, user).await?;
        transaction.commit().await?;
        Ok(Muting::Done(now))
    }

    /// Keeps a ticket for a user; false when the user is not there.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn insert_ticket(
        &self,
        hash: [u8; 32],
        user: UserId,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        if !lock_account(&transaction, user).await? {
            return Ok(false);
        }
        transaction.execute(INSERT_TICKET, &[&hash.as_slice(), &user, &expires_at]).await?;
        transaction.execute(DROP_OLDER_TICKETS, &[&user, &TICKETS_PER_USER_MAX]).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Takes a ticket, once.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn take_ticket(
        &self,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<TicketTaken, StoreError> {
        self.ticket(USE_TICKET, hash, now).await
    }

    /// What taking a ticket would give; it can still be taken.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn look_at_ticket(
        &self,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<TicketTaken, StoreError> {
        self.ticket(USER_OF_TICKET, hash, now).await
    }

    async fn ticket(
        &self,
        good: &str,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<TicketTaken, StoreError> {
        let reader = self.reader().await?;
        if let Some(row) = reader.query_opt(good, &[&hash.as_slice(), &now]).await? {
            return Ok(TicketTaken::Good(row.get(0)));
        }
        let found = reader.query_opt(FIND_TICKET, &[&hash.as_slice()]).await?;
        Ok(match found.map(|row| row.get::<_, bool>(0)) {
            None => TicketTaken::Unknown,
            Some(true) => TicketTaken::Used,
            Some(false) => TicketTaken::Expired,
        })
    }

    /// Deletes some of the tickets that ended before a time; how many.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn purge_tickets(&self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(self
            .reader()
            .await?
            .execute(PURGE_TICKETS, &[&before, &crate::store::purges::AT_ONCE_MAX])
            .await?)
    }
}

async fn muted(transaction: &Transaction<'_>, user: UserId) -> Result<Muted, StoreError> {
    let rows = transaction.query(MUTES, &[&user]).await?;
    let not_pushed = push_subscriptions::muted(transaction, user).await?;
    Ok(Muted { kinds: rows.iter().map(|row| row.get(0)).collect(), not_pushed })
}
