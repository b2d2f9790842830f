//! Users.

use super::{Store, StoreError};
use crate::domain::{id::UserId, time::Timestamp};

/// Somebody who can bid, sell or look after the house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// Unique; how the operator names them.
    pub name: String,
    /// How others see them.
    pub nickname: String,
    /// `bidder`, `seller`, `admin`.
    pub roles: Vec<String>,
}

const UPSERT: &str = "
    INSERT INTO users (id, name, nickname, roles, created_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT ON CONSTRAINT users_name_key DO UPDATE SET roles = ARRAY(
        SELECT DISTINCT unnest(users.roles || EXCLUDED.roles) ORDER BY 1)
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
pub(super) async fn ensure_kakao_user(
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
}
