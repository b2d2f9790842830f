//! Users: who they are, what they agreed to, and their roles.

use deadpool_postgres::GenericClient;

use crate::domain::{id::UserId, time::Timestamp, words::words};
use crate::store::{Store, StoreError, Tx};

/// Somebody who can bid, sell or look after the house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// How the operator names them, uniquely; nobody who logs in has one.
    pub name: Option<String>,
    /// How others see them.
    pub nickname: String,
    /// `bidder`, `seller`, `admin`.
    pub roles: Vec<String>,
}

/// An account, as its owner and the house see it. Personal data: never printed.
#[derive(Clone)]
pub struct Account {
    /// Who.
    pub id: UserId,
    /// How others see them, and what they agreed to.
    pub profile: Profile,
    /// `bidder`, `seller`, `admin`.
    pub roles: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its owner left.
    pub left_at: Option<Timestamp>,
    /// Until when the trade records of who has left are kept; none once they are purged.
    pub records_kept_until: Option<Timestamp>,
    /// Rises with every change.
    pub version: i64,
}

words! {
    /// How somebody describes themselves.
    pub enum Gender {
        /// A woman.
        Female = "female",
        /// A man.
        Male = "male",
        /// Neither, or both.
        Other = "other",
    }
}

/// What the owner of an account may change.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    /// How others see them.
    pub nickname: String,
    /// For recommendations.
    pub birth_year: Option<i16>,
    /// For recommendations.
    pub gender: Option<Gender>,
    /// When they agreed to that use.
    pub consent_at: Option<Timestamp>,
}

const UPSERT: &str = "
    INSERT INTO users (id, name, nickname, roles, created_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT ON CONSTRAINT users_name_key DO UPDATE SET
        version = users.version + (NOT users.roles @> EXCLUDED.roles)::integer,
        roles = ARRAY(SELECT DISTINCT unnest(users.roles || EXCLUDED.roles) ORDER BY 1)
    RETURNING id, name, nickname, roles";

const UPSERT_MANY: &str = "
    INSERT INTO users (id, name, nickname, roles)
    SELECT id, name, name, $3 FROM unnest($1::uuid[], $2::text[]) AS new (id, name)
    ON CONFLICT DO NOTHING";

/// Locks the user either way, so that nobody leaves while they log in. Who is there keeps their
/// nickname and roles.
const UPSERT_OF_KAKAO: &str = "
    INSERT INTO users (id, nickname, roles, created_at, kakao_id) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT ON CONSTRAINT users_kakao_id_key DO UPDATE SET kakao_id = EXCLUDED.kakao_id
    RETURNING id";

const FIND: &str = "SELECT id, name, nickname, roles FROM users WHERE id = $1";

const FIND_ACCOUNT: &str = "
    SELECT id, nickname, birth_year, gender, profile_consent_at, roles, created_at, left_at,
           records_kept_until, version
    FROM users WHERE id = $1";

/// Who changes what belongs to an account does it one after the other, and not after its owner left.
const LOCK: &str = "SELECT FROM users WHERE id = $1 AND left_at IS NULL FOR NO KEY UPDATE";

const UPDATE_PROFILE: &str = "
    UPDATE users SET nickname = $2, birth_year = $3, gender = $4, profile_consent_at = $5,
        version = version + 1
    WHERE id = $1";

const UPDATE_ROLES: &str = "
    UPDATE users SET roles = $2, version = version + 1,
        tokens_valid_from = coalesce($3, tokens_valid_from)
    WHERE id = $1";

const GIVE_ROLE: &str = "
    UPDATE users SET version = version + 1,
        roles = ARRAY(SELECT DISTINCT unnest(roles || ARRAY[$2::text]) ORDER BY 1)
    WHERE id = $1";

/// Somebody as Kakao knows them, and what they become here the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KakaoAccount {
    /// The only link.
    pub kakao_id: i64,
    /// Of a new user.
    pub nickname: String,
    /// Of a new user.
    pub roles: Vec<&'static str>,
}

/// The user of a Kakao account, made if there is none. Who left is not found again: their link is
/// gone, and they start anew.
pub(in crate::store) async fn ensure_kakao_user(
    transaction: &deadpool_postgres::Transaction<'_>,
    account: &KakaoAccount,
    now: Timestamp,
) -> Result<UserId, StoreError> {
    let statement = transaction.prepare_cached(UPSERT_OF_KAKAO).await?;
    let new_id = UserId(uuid::Uuid::now_v7());
    let row = transaction
        .query_one(
            &statement,
            &[&new_id, &account.nickname, &account.roles, &now, &account.kakao_id],
        )
        .await?;
    Ok(row.get(0))
}

fn user(row: &tokio_postgres::Row) -> User {
    User { id: row.get(0), name: row.get(1), nickname: row.get(2), roles: row.get(3) }
}

fn account(row: &tokio_postgres::Row) -> Result<Account, StoreError> {
    Ok(Account {
        id: row.get(0),
        profile: Profile {
            nickname: row.get(1),
            birth_year: row.get(2),
            gender: row.try_get(3)?,
            consent_at: row.get(4),
        },
        roles: row.get(5),
        created_at: row.get(6),
        left_at: row.get(7),
        records_kept_until: row.get(8),
        version: row.get(9),
    })
}

/// Holds an account until the transaction ends; whether there is one whose owner has not left.
pub(in crate::store) async fn lock_account(
    transaction: &impl GenericClient,
    id: UserId,
) -> Result<bool, StoreError> {
    let statement = transaction.prepare_cached(LOCK).await?;
    Ok(transaction.query_opt(&statement, &[&id]).await?.is_some())
}

async fn find_account(
    client: &impl GenericClient,
    id: UserId,
) -> Result<Option<Account>, StoreError> {
    let statement = client.prepare_cached(FIND_ACCOUNT).await?;
    client.query_opt(&statement, &[&id]).await?.as_ref().map(account).transpose()
}

impl Store {
    /// The user of this name, made if there is none, given the roles if they lack any.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn ensure_user(&self, new: &User, now: Timestamp) -> Result<User, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(UPSERT).await?;
        let row = reader
            .query_one(&statement, &[&new.id, &new.name, &new.nickname, &new.roles, &now])
            .await?;
        Ok(user(&row))
    }

    /// Makes many users with the same roles, as replays and benchmarks need them; those that are
    /// there stay as they are.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn ensure_users(
        &self,
        users: &[(UserId, String)],
        roles: &[&str],
    ) -> Result<(), StoreError> {
        let ids: Vec<UserId> = users.iter().map(|(id, _)| *id).collect();
        let names: Vec<&str> = users.iter().map(|(_, name)| name.as_str()).collect();
        self.reader().await?.execute(UPSERT_MANY, &[&ids, &names, &roles]).await?;
        Ok(())
    }

    /// A user by id.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(FIND).await?;
        Ok(reader.query_opt(&statement, &[&id]).await?.as_ref().map(user))
    }

    /// An account by its owner's id, also of who has left.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        find_account(&self.reader().await?, id).await
    }
}

impl Tx {
    /// Holds an account until the transaction ends; whether there is one whose owner has not left.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn lock_account(&self, id: UserId) -> Result<bool, StoreError> {
        lock_account(self.connection(), id).await
    }

    /// An account by its owner's id, also of who has left.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        find_account(self.connection(), id).await
    }

    /// Writes what an account says of its owner.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn write_profile(&self, id: UserId, to: &Profile) -> Result<(), StoreError> {
        let statement = self.connection().prepare_cached(UPDATE_PROFILE).await?;
        self.connection()
            .execute(&statement, &[&id, &to.nickname, &to.birth_year, &to.gender, &to.consent_at])
            .await?;
        Ok(())
    }

    /// Gives a user these roles and no others. Tokens from before `tokens_valid_from` count no more
    /// where it is given.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn write_roles(
        &self,
        id: UserId,
        roles: &[String],
        tokens_valid_from: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.connection().execute(UPDATE_ROLES, &[&id, &roles, &tokens_valid_from]).await?;
        Ok(())
    }

    /// Gives a user one role more. The version rises even where it was there before.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn give_role(&self, id: UserId, role: &str) -> Result<(), StoreError> {
        self.connection().execute(GIVE_ROLE, &[&id, &role]).await?;
        Ok(())
    }
}
