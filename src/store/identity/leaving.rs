//! Leaving: what is open, what goes at once, what is kept under an alias, and what goes with time.
//!
//! Must never touch auctions, events, standings or receipts: what was decided stays as it was.

use crate::domain::{
    id::{AuctionId, UserId},
    time::Timestamp,
    words::words,
};
use crate::store::{Store, StoreError, Tx};

/// Open matters that are listed, at most.
pub const OPEN_LISTED_MAX: i64 = 100;

/// What keeps somebody from leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenMatter {
    /// Of what kind.
    pub kind: OpenKind,
    /// In which auction.
    pub auction: AuctionId,
    /// Until when a purchase is to be paid, or until when the bid may still lead.
    pub due_at: Option<Timestamp>,
}

words! {
    /// The kinds of open matters.
    pub enum OpenKind {
        /// They lead.
        LeadingBid = "leading_bid",
        /// They sell.
        LiveSale = "live_sale",
        /// They won, and have not paid yet.
        UnpaidPurchase = "unpaid_purchase",
    }
}

/// How the account of somebody who left goes on.
#[derive(Debug)]
pub struct Anonymised<'a> {
    /// The name under which trade records stay.
    pub alias: &'a str,
    /// Tokens from before then count no more.
    pub tokens_valid_from: Timestamp,
    /// When they left.
    pub at: Timestamp,
    /// How long trade records are kept from then on.
    pub records_kept_years: i32,
}

const LOCK: &str = "SELECT kakao_id FROM users WHERE id = $1 AND left_at IS NULL FOR UPDATE";

const IS_THERE: &str = "SELECT FROM users WHERE id = $1 AND left_at IS NULL";

/// Who leads has bid there: where, is known of all bids but the newest, which have receipts. An index
/// of who leads would be rewritten with every bid. What was won counts from the closing event: a
/// purchase ends an auction before its `ends_at`.
const OPEN: &str = "
    WITH bid_in AS (
        SELECT auction_id FROM auction_bidders WHERE user_id = $1
        UNION
        SELECT log_id FROM receipts WHERE user_id = $1 AND accepted AND log_id IS NOT NULL)
    SELECT 'leading_bid', s.auction_id, s.ends_at
    FROM bid_in JOIN standings s ON s.auction_id = bid_in.auction_id
    WHERE s.status = 'live' AND s.leader_id = $1
    UNION ALL
    SELECT 'live_sale', s.auction_id, NULL
    FROM standings s WHERE s.seller_id = $1 AND s.status IN ('scheduled', 'live')
    UNION ALL
    SELECT 'unpaid_purchase', s.auction_id, e.at + make_interval(hours => $3)
    FROM standings s JOIN events e ON e.auction_id = s.auction_id AND e.seq = s.seq
    WHERE s.winner_id = $1 AND e.at + make_interval(hours => $3) > $2
    LIMIT $4";

const ANONYMISE: &str = "
    UPDATE users SET nickname = $2, name = NULL, kakao_id = NULL, birth_year = NULL, gender = NULL,
        profile_consent_at = NULL, roles = '{}', tokens_valid_from = $3, left_at = $4,
        records_kept_until = $4::timestamptz + make_interval(years => $5), version = version + 1
    WHERE id = $1";

const DELETE_ADDRESSES: &str = "DELETE FROM addresses WHERE user_id = $1";

/// Nothing was traded under those that were never approved.
const DELETE_APPLICATIONS: &str =
    "DELETE FROM seller_applications WHERE user_id = $1 AND status IN ('pending', 'refused')";

const REVOKE_FAMILIES: &str = "
    UPDATE refresh_families SET revoked_at = $2, revoked_because = 'left'
    WHERE user_id = $1 AND revoked_at IS NULL";

const UNLINK: &str = "
    INSERT INTO kakao_unlinks (kakao_id, direction, noted_at, next_attempt_at)
    VALUES ($1, 'ours', $2, $2)
    ON CONFLICT (kakao_id, direction) WHERE done_at IS NULL DO NOTHING";

const PAST_THEIR_TIME: &str = "
    SELECT id FROM users WHERE records_kept_until <= $1
    ORDER BY records_kept_until LIMIT $2 FOR UPDATE SKIP LOCKED";

const PURGE_APPLICATIONS: &str = "DELETE FROM seller_applications WHERE user_id = ANY ($1)";

/// When and through which frontend somebody logged in; codes and tokens go along.
const PURGE_LOGINS: &str = "DELETE FROM refresh_families WHERE user_id = ANY ($1)";

/// The row stays, for the log refers to its id.
const PURGED: &str = "
    UPDATE users SET records_kept_until = NULL, version = version + 1 WHERE id = ANY ($1)";

fn open_matter(row: &tokio_postgres::Row) -> Result<OpenMatter, StoreError> {
    Ok(OpenMatter { kind: row.try_get(0)?, auction: row.get(1), due_at: row.get(2) })
}

impl Tx {
    /// Whether there is an account whose owner has not left; it is not held.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn is_there(&self, user: UserId) -> Result<bool, StoreError> {
        Ok(self.connection().query_opt(IS_THERE, &[&user]).await?.is_some())
    }

    /// What keeps somebody from leaving; purchases are to be paid within so many hours after the
    /// auction's end.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn open_matters(
        &self,
        user: UserId,
        now: Timestamp,
        payment_due_hours: i32,
    ) -> Result<Vec<OpenMatter>, StoreError> {
        let statement = self.connection().prepare_cached(OPEN).await?;
        let rows = self
            .connection()
            .query(&statement, &[&user, &now, &payment_due_hours, &OPEN_LISTED_MAX])
            .await?;
        rows.iter().map(open_matter).collect()
    }

    /// Holds an account against whoever refers to it: an auction of theirs that is being created is
    /// there when this returns, or comes too late. The id at Kakao, if there is one; none when there
    /// is no such account, or its owner has left.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn lock_to_leave(&self, user: UserId) -> Result<Option<Option<i64>>, StoreError> {
        let row = self.connection().query_opt(LOCK, &[&user]).await?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Notes that somebody is to be unlinked at Kakao.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn note_unlink(&self, kakao_id: i64, now: Timestamp) -> Result<(), StoreError> {
        self.connection().execute(UNLINK, &[&kakao_id, &now]).await?;
        Ok(())
    }

    /// Deletes addresses, and applications under which nothing was traded, and ends all logins.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn forget_person(&self, user: UserId, now: Timestamp) -> Result<(), StoreError> {
        self.connection().execute(DELETE_ADDRESSES, &[&user]).await?;
        self.connection().execute(DELETE_APPLICATIONS, &[&user]).await?;
        self.connection().execute(REVOKE_FAMILIES, &[&user, &now]).await?;
        Ok(())
    }

    /// Leaves an alias without anything personal in an account's place.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn anonymise(&self, user: UserId, to: &Anonymised<'_>) -> Result<(), StoreError> {
        let Anonymised { alias, tokens_valid_from, at, records_kept_years } = to;
        let connection = self.connection();
        connection
            .execute(ANONYMISE, &[&user, alias, tokens_valid_from, at, records_kept_years])
            .await?;
        Ok(())
    }
}

impl Store {
    /// Deletes what had to be kept of people who left, once its time is over; of how many. The users
    /// stay as aliases without anything behind them.
    ///
    /// # Errors
    /// When Postgres cannot be asked; those of this call are found again by the next.
    pub async fn purge_records(&self, now: Timestamp, limit: i64) -> Result<usize, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        let rows = transaction.query(PAST_THEIR_TIME, &[&now, &limit]).await?;
        let users: Vec<UserId> = rows.iter().map(|row| row.get(0)).collect();
        if users.is_empty() {
            return Ok(0);
        }
        transaction.execute(PURGE_APPLICATIONS, &[&users]).await?;
        transaction.execute(PURGE_LOGINS, &[&users]).await?;
        transaction.execute(PURGED, &[&users]).await?;
        transaction.commit().await?;
        Ok(users.len())
    }
}
