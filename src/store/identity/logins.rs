//! Logins under way, codes, refresh tokens. Whatever is secret is kept as a hash.
//!
//! Everything that happens to a family of refresh tokens happens under the lock of its row, which
//! is taken after that of its user: two requests with the same code or token follow one another.

use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use crate::domain::{id::UserId, time::Timestamp};
use crate::store::{
    Store, StoreError,
    identity::accounts::{KakaoAccount, ensure_kakao_user},
};

/// A login that is at Kakao.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginRow {
    /// The frontend.
    pub client_id: String,
    /// Where it wants its code.
    pub redirect_uri: String,
    /// Its own state.
    pub client_state: Option<String>,
    /// Its own PKCE.
    pub code_challenge: String,
    /// Ours, for the id_token.
    pub nonce: String,
    /// Ours, for Kakao's code.
    pub code_verifier: String,
    /// It must be back by then.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for LoginRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginRow").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// A login that was taken out.
#[derive(Debug, Clone)]
pub struct TakenLogin {
    /// As it was put in.
    pub login: LoginRow,
    /// Of the cookie of the browser that began it.
    pub browser_hash: Vec<u8>,
    /// Whether that browser has others under way.
    pub has_others: bool,
}

/// A login that succeeded: the code for the frontend, and the family that follows from it.
pub struct NewFamily<'a> {
    /// Of the family.
    pub id: Uuid,
    /// Whose code it is.
    pub client_id: &'a str,
    /// What the code is bound to.
    pub redirect_uri: &'a str,
    /// What the code is bound to.
    pub code_challenge: &'a str,
    /// Of the code.
    pub code_hash: [u8; 32],
    /// The code must be redeemed by then.
    pub expires_at: Timestamp,
}

/// What a client presents, as it is kept.
#[derive(Clone, Copy)]
pub enum Grant {
    /// A code.
    Code([u8; 32]),
    /// A refresh token.
    RefreshToken([u8; 32]),
}

/// What is known of a grant.
#[derive(Clone)]
pub struct GrantRow {
    /// Who logged in.
    pub user: UserId,
    /// Their roles now.
    pub roles: Vec<String>,
    /// Whether they have left.
    pub user_left: bool,
    /// Access tokens from before do not count.
    pub tokens_valid_from: Option<Timestamp>,
    /// Whose grant it is.
    pub client_id: String,
    /// When the login was.
    pub family_created_at: Timestamp,
    /// When the family's newest code or token ends.
    pub expires_at: Timestamp,
    /// Whether the family counts no more.
    pub is_revoked: bool,
    /// Whether this very grant was used before.
    pub was_used: bool,
    /// Of a code.
    pub code: Option<CodeBinding>,
}

/// What a code is bound to.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeBinding {
    /// Where it was sent.
    pub redirect_uri: String,
    /// PKCE.
    pub code_challenge: String,
}

/// What becomes of a family whose grant was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantVerdict {
    /// Nothing changes.
    Refuse,
    /// It counts no more, for this reason.
    Revoke(&'static str),
    /// The grant is used, and this refresh token follows.
    Replace {
        /// Of the refresh token.
        token_hash: [u8; 32],
        /// When that ends, and the family with it.
        expires_at: Timestamp,
    },
}

const BEGIN: &str = "
    INSERT INTO logins (state_hash, browser_hash, client_id, redirect_uri, client_state,
                        code_challenge, nonce, code_verifier, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const FORGET_OLDEST: &str = "
    DELETE FROM logins WHERE state_hash = ANY (ARRAY(
        SELECT state_hash FROM logins WHERE browser_hash = $1
        ORDER BY expires_at DESC OFFSET $2))";

const TAKE: &str = "
    DELETE FROM logins WHERE state_hash = $1
    RETURNING client_id, redirect_uri, client_state, code_challenge, nonce, code_verifier,
              expires_at, browser_hash,
              EXISTS (SELECT 1 FROM logins AS other
                      WHERE other.browser_hash = logins.browser_hash
                        AND other.state_hash <> logins.state_hash AND other.expires_at > $2)";

const INSERT_FAMILY: &str = "
    INSERT INTO refresh_families (id, user_id, client_id, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5)";

const INSERT_CODE: &str = "
    INSERT INTO authorization_codes (code_hash, family_id, redirect_uri, code_challenge)
    VALUES ($1, $2, $3, $4)";

/// Ids are UUIDv7: the newest is the highest.
const DELETE_OLDEST_FAMILIES: &str = "
    DELETE FROM refresh_families WHERE id = ANY (ARRAY(
        SELECT id FROM refresh_families WHERE user_id = $1 ORDER BY id DESC OFFSET $2))";

const FAMILY_OF_CODE: &str = "
    SELECT f.id, f.user_id FROM authorization_codes c JOIN refresh_families f ON f.id = c.family_id
    WHERE c.code_hash = $1";
const FAMILY_OF_TOKEN: &str = "
    SELECT f.id, f.user_id FROM refresh_tokens t JOIN refresh_families f ON f.id = t.family_id
    WHERE t.token_hash = $1";

/// Shared: nobody takes a role away or leaves while a token with the old roles is being made.
const LOCK_USER: &str = "
    SELECT roles, left_at IS NOT NULL, tokens_valid_from FROM users WHERE id = $1 FOR SHARE";
const LOCK_FAMILY: &str = "
    SELECT client_id, created_at, expires_at, revoked_at IS NOT NULL FROM refresh_families
    WHERE id = $1 FOR UPDATE";

const READ_CODE: &str = "
    SELECT used_at IS NOT NULL, redirect_uri, code_challenge FROM authorization_codes
    WHERE code_hash = $1";
const READ_TOKEN: &str = "
    SELECT used_at IS NOT NULL FROM refresh_tokens WHERE token_hash = $1";

const REVOKE_FAMILY: &str = "
    UPDATE refresh_families SET revoked_at = $2, revoked_because = $3
    WHERE id = $1 AND revoked_at IS NULL";

const SPEND_CODE: &str = "UPDATE authorization_codes SET used_at = $2 WHERE code_hash = $1";
const SPEND_TOKEN: &str = "UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1";
const INSERT_TOKEN: &str = "
    INSERT INTO refresh_tokens (token_hash, family_id, created_at) VALUES ($1, $2, $3)";
const PROLONG_FAMILY: &str = "UPDATE refresh_families SET expires_at = $2 WHERE id = $1";
const FORGET_OLDEST_TOKENS: &str = "
    DELETE FROM refresh_tokens WHERE token_hash = ANY (ARRAY(
        SELECT token_hash FROM refresh_tokens WHERE family_id = $1 AND used_at IS NOT NULL
        ORDER BY created_at DESC OFFSET $2))";

/// At most so many are deleted in one statement, so that nothing waits for it.
const PURGED_AT_ONCE_MAX: i64 = 1_000;

const PURGE_LOGINS: &str = "
    DELETE FROM logins WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM logins WHERE expires_at <= $1 LIMIT $2))";

/// With its codes and tokens. Locked ones are in use: they are left for the next time.
const PURGE_FAMILIES: &str = "
    DELETE FROM refresh_families WHERE id = ANY (ARRAY(
        SELECT id FROM refresh_families WHERE expires_at <= $1
        LIMIT $2 FOR UPDATE SKIP LOCKED))";

const COUNT_LOGINS: &str = "SELECT count(*) FROM logins";

impl Grant {
    fn hash(&self) -> &[u8] {
        match self {
            Grant::Code(hash) | Grant::RefreshToken(hash) => hash,
        }
    }

    const fn find(&self) -> &'static str {
        match self {
            Grant::Code(_) => FAMILY_OF_CODE,
            Grant::RefreshToken(_) => FAMILY_OF_TOKEN,
        }
    }

    const fn read(&self) -> &'static str {
        match self {
            Grant::Code(_) => READ_CODE,
            Grant::RefreshToken(_) => READ_TOKEN,
        }
    }

    const fn spend(&self) -> &'static str {
        match self {
            Grant::Code(_) => SPEND_CODE,
            Grant::RefreshToken(_) => SPEND_TOKEN,
        }
    }

    fn binding(&self, row: &Row) -> Option<CodeBinding> {
        match self {
            Grant::Code(_) => {
                Some(CodeBinding { redirect_uri: row.get(1), code_challenge: row.get(2) })
            }
            Grant::RefreshToken(_) => None,
        }
    }
}

impl Store {
    /// Notes a login down; of its browser the `per_browser` newest stay.
    ///
    /// # Errors
    /// When Postgres cannot be asked, or the client is gone.
    pub async fn begin_login(
        &self,
        state_hash: &[u8; 32],
        browser_hash: &[u8; 32],
        login: &LoginRow,
        per_browser: i64,
    ) -> Result<(), StoreError> {
        let reader = self.reader().await?;
        let (state_hash, browser_hash) = (state_hash.as_slice(), browser_hash.as_slice());
        let statement = reader.prepare_cached(BEGIN).await?;
        let columns: [&(dyn ToSql + Sync); 9] = [
            &state_hash,
            &browser_hash,
            &login.client_id,
            &login.redirect_uri,
            &login.client_state,
            &login.code_challenge,
            &login.nonce,
            &login.code_verifier,
            &login.expires_at,
        ];
        reader.execute(&statement, &columns).await.map_err(StoreError::named)?;
        let statement = reader.prepare_cached(FORGET_OLDEST).await?;
        reader.execute(&statement, &[&browser_hash, &per_browser]).await?;
        Ok(())
    }

    /// Takes a login out; nobody takes it a second time.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn take_login(
        &self,
        state_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<TakenLogin>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(TAKE).await?;
        let row = reader.query_opt(&statement, &[&state_hash.as_slice(), &now]).await?;
        Ok(row.map(|row| TakenLogin {
            login: LoginRow {
                client_id: row.get(0),
                redirect_uri: row.get(1),
                client_state: row.get(2),
                code_challenge: row.get(3),
                nonce: row.get(4),
                code_verifier: row.get(5),
                expires_at: row.get(6),
            },
            browser_hash: row.get(7),
            has_others: row.get(8),
        }))
    }

    /// Makes or finds the user, and keeps the code and its family; of the user's families the
    /// `per_user` newest stay.
    ///
    /// # Errors
    /// When Postgres cannot be asked, or the client is gone; then nothing is kept.
    pub async fn finish_login(
        &self,
        account: &KakaoAccount,
        family: &NewFamily<'_>,
        per_user: i64,
        now: Timestamp,
    ) -> Result<UserId, StoreError> {
        let mut reader = self.reader().await?;
        let tx = reader.transaction().await?;
        let user = ensure_kakao_user(&tx, account, now).await?;
        let statement = tx.prepare_cached(INSERT_FAMILY).await?;
        let (id, expires_at) = (family.id, family.expires_at);
        tx.execute(&statement, &[&id, &user, &family.client_id, &now, &expires_at])
            .await
            .map_err(StoreError::named)?;
        let statement = tx.prepare_cached(INSERT_CODE).await?;
        let code_hash = family.code_hash.as_slice();
        tx.execute(&statement, &[&code_hash, &id, &family.redirect_uri, &family.code_challenge])
            .await?;
        let statement = tx.prepare_cached(DELETE_OLDEST_FAMILIES).await?;
        tx.execute(&statement, &[&user, &per_user]).await?;
        tx.commit().await?;
        Ok(user)
    }

    /// Has a grant judged under the lock of its family, and carries the verdict out; `None` when
    /// there is no such grant. Of the family's used tokens the `used_kept` newest stay.
    ///
    /// # Errors
    /// When Postgres cannot be asked; whether the verdict was carried out is unknown then.
    pub async fn settle<T>(
        &self,
        grant: Grant,
        now: Timestamp,
        used_kept: i64,
        judge: impl FnOnce(&GrantRow) -> (GrantVerdict, T),
    ) -> Result<Option<T>, StoreError> {
        let mut reader = self.reader().await?;
        let tx = reader.transaction().await?;
        let Some((family, row)) = lock(&tx, &grant).await? else { return Ok(None) };
        let (verdict, judged) = judge(&row);
        match verdict {
            GrantVerdict::Refuse => {}
            GrantVerdict::Revoke(because) => {
                let statement = tx.prepare_cached(REVOKE_FAMILY).await?;
                tx.execute(&statement, &[&family, &now, &because]).await?;
            }
            GrantVerdict::Replace { token_hash, expires_at } => {
                let statement = tx.prepare_cached(grant.spend()).await?;
                tx.execute(&statement, &[&grant.hash(), &now]).await?;
                let statement = tx.prepare_cached(INSERT_TOKEN).await?;
                tx.execute(&statement, &[&token_hash.as_slice(), &family, &now]).await?;
                let statement = tx.prepare_cached(PROLONG_FAMILY).await?;
                tx.execute(&statement, &[&family, &expires_at]).await?;
                let statement = tx.prepare_cached(FORGET_OLDEST_TOKENS).await?;
                tx.execute(&statement, &[&family, &used_kept]).await?;
            }
        }
        tx.commit().await?;
        Ok(Some(judged))
    }

    /// Deletes some of the logins that never came back; how many. Call again while it is not 0.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn purge_logins(&self, now: Timestamp) -> Result<u64, StoreError> {
        let reader = self.reader().await?;
        Ok(reader.execute(PURGE_LOGINS, &[&now, &PURGED_AT_ONCE_MAX]).await?)
    }

    /// Deletes some of the families that have ended, with their codes and tokens; how many. Call
    /// again while it is not 0.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn purge_families(&self, now: Timestamp) -> Result<u64, StoreError> {
        let reader = self.reader().await?;
        Ok(reader.execute(PURGE_FAMILIES, &[&now, &PURGED_AT_ONCE_MAX]).await?)
    }

    /// How many logins are at Kakao.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn logins_under_way(&self) -> Result<i64, StoreError> {
        Ok(self.reader().await?.query_one(COUNT_LOGINS, &[]).await?.get(0))
    }
}

/// Locks the user, then the family, and only then looks at the grant: whoever waited for the lock
/// sees what the one before did.
async fn lock(
    tx: &deadpool_postgres::Transaction<'_>,
    grant: &Grant,
) -> Result<Option<(Uuid, GrantRow)>, StoreError> {
    let statement = tx.prepare_cached(grant.find()).await?;
    let Some(found) = tx.query_opt(&statement, &[&grant.hash()]).await? else { return Ok(None) };
    let (family_id, user): (Uuid, UserId) = (found.get(0), found.get(1));
    let statement = tx.prepare_cached(LOCK_USER).await?;
    let Some(person) = tx.query_opt(&statement, &[&user]).await? else { return Ok(None) };
    let statement = tx.prepare_cached(LOCK_FAMILY).await?;
    let Some(family) = tx.query_opt(&statement, &[&family_id]).await? else { return Ok(None) };
    let statement = tx.prepare_cached(grant.read()).await?;
    let Some(own) = tx.query_opt(&statement, &[&grant.hash()]).await? else { return Ok(None) };
    let row = GrantRow {
        user,
        roles: person.get(0),
        user_left: person.get(1),
        tokens_valid_from: person.get(2),
        client_id: family.get(0),
        family_created_at: family.get(1),
        expires_at: family.get(2),
        is_revoked: family.get(3),
        was_used: own.get(0),
        code: grant.binding(&own),
    };
    Ok(Some((family_id, row)))
}
