//! The link to Kakao, and what of it is to be undone: here for Kakao, or there for us.
//!
//! A row waits in `kakao_unlinks` until its work is done. It is claimed by pushing its next attempt
//! into the future, so that of several servers one works on it, and a server that dies in between
//! loses nothing.

use crate::domain::{id::UserId, time::Timestamp, words::words};
use crate::store::{Store, StoreError};

words! {
    /// Who unlinks.
    pub enum UnlinkDirection {
        /// We, at Kakao.
        Ours = "ours",
        /// Kakao has, and told us.
        Theirs = "theirs",
    }
}

/// A row that was claimed.
#[derive(Clone, PartialEq, Eq)]
pub struct Unlink {
    /// Rises with every row.
    pub id: i64,
    /// Whose link; never logged.
    pub kakao_id: i64,
    /// Who unlinks.
    pub direction: UnlinkDirection,
    /// With this one.
    pub attempts: i32,
}

/// How many rows wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnlinksWaiting {
    /// Their work will be tried again.
    pub to_do: i64,
    /// An operator must look at them.
    pub given_up: i64,
}

/// A row that was given up begins anew when it is noted again; one that waits stays as it is.
const NOTE: &str = "
    INSERT INTO kakao_unlinks AS waiting
        (kakao_id, direction, referrer_type, noted_at, next_attempt_at)
    VALUES ($1, 'theirs', $2, $3, $3)
    ON CONFLICT (kakao_id, direction) WHERE done_at IS NULL
    DO UPDATE SET attempts = 0, next_attempt_at = EXCLUDED.next_attempt_at
        WHERE waiting.attempts >= $4";

const CLAIM: &str = "
    UPDATE kakao_unlinks SET attempts = attempts + 1, next_attempt_at = $2
    WHERE id = (
        SELECT id FROM kakao_unlinks
        WHERE done_at IS NULL AND next_attempt_at <= $1 AND attempts < $3
        ORDER BY next_attempt_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, kakao_id, direction, attempts";

/// `FOR UPDATE` by way of `UPDATE`: whoever comes second finds it done.
const DONE: &str = "UPDATE kakao_unlinks SET done_at = $2 WHERE id = $1 AND done_at IS NULL";

const LATER: &str =
    "UPDATE kakao_unlinks SET next_attempt_at = $2 WHERE id = $1 AND done_at IS NULL";

const FREE_USER: &str = "
    UPDATE users SET kakao_id = NULL, tokens_valid_from = $2, version = version + 1
    WHERE kakao_id = $1 RETURNING id";

const REVOKE_FAMILIES: &str = "
    UPDATE refresh_families SET revoked_at = $2, revoked_because = 'unlinked'
    WHERE user_id = $1 AND revoked_at IS NULL";

const PURGE: &str = "
    DELETE FROM kakao_unlinks WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM kakao_unlinks WHERE done_at < $1 LIMIT $2))
    AND done_at < $1";

const COUNT: &str = "
    SELECT count(*) FILTER (WHERE attempts < $1), count(*) FILTER (WHERE attempts >= $1)
    FROM kakao_unlinks WHERE done_at IS NULL";

/// Unless somebody else has it: links are not moved.
const LINK: &str = "
    UPDATE users SET kakao_id = $2 WHERE id = $1 AND kakao_id IS DISTINCT FROM $2
    AND NOT EXISTS (SELECT FROM users WHERE kakao_id = $2)";

const IS_LINKED: &str = "SELECT EXISTS (SELECT FROM users WHERE kakao_id = $1)";

impl Store {
    /// Whether somebody here logs in with this account of Kakao's.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn has_user_at_kakao(&self, kakao_id: i64) -> Result<bool, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(IS_LINKED).await?;
        Ok(reader.query_one(&statement, &[&kakao_id]).await?.get(0))
    }

    /// Notes that Kakao has unlinked somebody, whether we know them or not. A row given up after
    /// `attempts_max` is tried again.
    ///
    /// # Errors
    /// When Postgres cannot be asked; then nothing is noted.
    pub async fn note_unlinked_by_kakao(
        &self,
        kakao_id: i64,
        referrer_type: Option<&str>,
        now: Timestamp,
        attempts_max: i32,
    ) -> Result<(), StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(NOTE).await?;
        reader.execute(&statement, &[&kakao_id, &referrer_type, &now, &attempts_max]).await?;
        Ok(())
    }

    /// The row that is due longest, for the caller alone until `claimed_until`.
    ///
    /// # Errors
    /// When Postgres cannot be asked, or the row cannot be read.
    pub async fn claim_unlink(
        &self,
        now: Timestamp,
        claimed_until: Timestamp,
        attempts_max: i32,
    ) -> Result<Option<Unlink>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(CLAIM).await?;
        let row = reader.query_opt(&statement, &[&now, &claimed_until, &attempts_max]).await?;
        row.map(|row| {
            Ok(Unlink {
                id: row.get(0),
                kakao_id: row.get(1),
                direction: row.try_get(2)?,
                attempts: row.get(3),
            })
        })
        .transpose()
    }

    /// Undoes the link here, in one transaction with the row's end: refresh tokens are revoked,
    /// access tokens count no more, the account is nobody's at Kakao. Whose it was, if anybody's.
    ///
    /// # Errors
    /// When Postgres cannot be asked; then nothing has changed.
    pub async fn undo_link(
        &self,
        unlink: &Unlink,
        now: Timestamp,
    ) -> Result<Option<UserId>, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        if transaction.execute(DONE, &[&unlink.id, &now]).await? == 0 {
            return Ok(None);
        }
        let freed = transaction.query_opt(FREE_USER, &[&unlink.kakao_id, &now]).await?;
        let user: Option<UserId> = freed.map(|row| row.get(0));
        if let Some(user) = user {
            transaction.execute(REVOKE_FAMILIES, &[&user, &now]).await?;
        }
        transaction.commit().await?;
        Ok(user)
    }

    /// Its work is done.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn unlink_done(&self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        self.reader().await?.execute(DONE, &[&id, &now]).await?;
        Ok(())
    }

    /// Its work is to be tried again, not before then.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn unlink_later(&self, id: i64, next_at: Timestamp) -> Result<(), StoreError> {
        self.reader().await?.execute(LATER, &[&id, &next_at]).await?;
        Ok(())
    }

    /// Forgets some of what was done before then; how much it was.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn purge_unlinks(&self, done_before: Timestamp) -> Result<u64, StoreError> {
        Ok(self
            .reader()
            .await?
            .execute(PURGE, &[&done_before, &crate::store::purges::AT_ONCE_MAX])
            .await?)
    }

    /// How many rows wait.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn unlinks_waiting(&self, attempts_max: i32) -> Result<UnlinksWaiting, StoreError> {
        let row = self.reader().await?.query_one(COUNT, &[&attempts_max]).await?;
        Ok(UnlinksWaiting { to_do: row.get(0), given_up: row.get(1) })
    }

    /// Links a user to somebody at Kakao who is linked to nobody.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn link_kakao(&self, user: UserId, kakao_id: i64) -> Result<(), StoreError> {
        self.reader().await?.execute(LINK, &[&user, &kakao_id]).await?;
        Ok(())
    }
}
