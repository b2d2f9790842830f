//! Leaving: what is open, what goes at once, what is kept under an alias, and what goes with time.
//!
//! Must never touch auctions, events, standings or receipts: what was decided stays as it was.

use deadpool_postgres::Transaction;

use crate::domain::{
    id::{AuctionId, UserId},
    time::Timestamp,
};
use crate::store::{
    Store, StoreError, market::watches, notify::alerts, notify::inbox, notify::push_subscriptions,
};

/// How long trade records are kept, in years: contracts, payments and deliveries (E-commerce Act of
/// Korea, decree art. 6).
const RECORDS_KEPT_YEARS: i32 = 5;
/// A purchase is to be paid within so many hours after the auction's end.
const PAYMENT_DUE_HOURS: i32 = 72;
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

/// The kinds of open matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenKind {
    /// They lead.
    LeadingBid,
    /// They sell.
    LiveSale,
    /// They won, and have not paid yet.
    UnpaidPurchase,
}

/// What became of somebody who wanted to leave.
pub enum Leaving {
    /// They have left; whom to unlink stands in `kakao_unlinks`.
    Done,
    /// They cannot yet: this is open.
    Open(Vec<OpenMatter>),
    /// There is no such account, or they had left before.
    NobodyThere,
}

/// Holds the account against whoever refers to it: an auction of theirs that is being created is
/// seen below, or comes too late.
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
    let kind = match row.get(0) {
        "leading_bid" => OpenKind::LeadingBid,
        "live_sale" => OpenKind::LiveSale,
        "unpaid_purchase" => OpenKind::UnpaidPurchase,
        word => return Err(StoreError::Malformed(format!("{word} is no open matter"))),
    };
    Ok(OpenMatter { kind, auction: row.get(1), due_at: row.get(2) })
}

impl Store {
    /// What keeps somebody from leaving, without holding anything; none when there is no such
    /// account, or they have left.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn open_matters(
        &self,
        user: UserId,
        now: Timestamp,
    ) -> Result<Option<Vec<OpenMatter>>, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        if transaction.query_opt(IS_THERE, &[&user]).await?.is_none() {
            return Ok(None);
        }
        open_matters(&transaction, user, now).await.map(Some)
    }

    /// Lets somebody leave, unless something is open, in one transaction: what is personal goes,
    /// trade records stay under `alias`. Tokens from before `tokens_valid_from` count no more.
    ///
    /// # Errors
    /// When Postgres cannot be asked; nothing has happened then, unless the connection was lost
    /// during the commit: asking again tells.
    pub async fn leave(
        &self,
        user: UserId,
        alias: &str,
        now: Timestamp,
        tokens_valid_from: Timestamp,
    ) -> Result<Leaving, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        let Some(account) = transaction.query_opt(LOCK, &[&user]).await? else {
            return Ok(Leaving::NobodyThere);
        };
        let open = open_matters(&transaction, user, now).await?;
        if !open.is_empty() {
            return Ok(Leaving::Open(open));
        }
        if let Some(kakao_id) = account.get::<_, Option<i64>>(0) {
            transaction.execute(UNLINK, &[&kakao_id, &now]).await?;
        }
        transaction.execute(DELETE_ADDRESSES, &[&user]).await?;
        transaction.execute(DELETE_APPLICATIONS, &[&user]).await?;
        transaction.execute(REVOKE_FAMILIES, &[&user, &now]).await?;
        watches::unwatch_all(&transaction, user).await?;
        alerts::forget(&transaction, user).await?;
        inbox::forget(&transaction, user).await?;
        push_subscriptions::forget(&transaction, user).await?;
        transaction
            .execute(ANONYMISE, &[&user, &alias, &tokens_valid_from, &now, &RECORDS_KEPT_YEARS])
            .await?;
        transaction.commit().await?;
        Ok(Leaving::Done)
    }

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

async fn open_matters(
    transaction: &Transaction<'_>,
    user: UserId,
    now: Timestamp,
) -> Result<Vec<OpenMatter>, StoreError> {
    let statement = transaction.prepare_cached(OPEN).await?;
    let rows =
        transaction.query(&statement, &[&user, &now, &PAYMENT_DUE_HOURS, &OPEN_LISTED_MAX]).await?;
    rows.iter().map(open_matter).collect()
}
