//! `/v1/users`: what admins see of accounts, and the roles that they give.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, get, http::header, put, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use crate::{
    accounts::roles::{self, Giver, RolesError, RolesSet},
    domain::id::UserId,
    http::kit::{
        body::{self, Json, PERSONAL},
        caller::Admin,
        problem::{Code, Problem},
    },
    identity::Role,
    store::Account,
    wall_clock,
};

/// What a user may do, besides reading what is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Role)]
pub enum RoleWord {
    /// May bid and buy.
    Bidder,
    /// May sell.
    Seller,
    /// Looks after the house.
    Admin,
}

impl RoleWord {
    /// Of the words that are stored, in one order.
    pub fn of(words: &[String]) -> Vec<RoleWord> {
        let roles = words.iter().filter_map(|word| Role::from_word(word)).map(RoleWord::from);
        roles.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl From<Role> for RoleWord {
    fn from(role: Role) -> RoleWord {
        match role {
            Role::Bidder => RoleWord::Bidder,
            Role::Seller => RoleWord::Seller,
            Role::Admin => RoleWord::Admin,
        }
    }
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Role {
        match word {
            RoleWord::Bidder => Role::Bidder,
            RoleWord::Seller => Role::Seller,
            RoleWord::Admin => Role::Admin,
        }
    }
}

/// An account, as admins see it: without what its owner told for recommendations.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserBody {
    /// UUIDv7.
    id: Uuid,
    /// How others see them; of who has left, an alias.
    nickname: String,
    /// As they stand.
    roles: Vec<RoleWord>,
    /// Since when there is an account.
    #[schema(format = DateTime)]
    created_at: String,
    /// When they left.
    #[schema(format = DateTime)]
    left_at: Option<String>,
    /// Until when the trade records of who has left are kept; null once they are deleted.
    #[schema(format = DateTime)]
    records_kept_until: Option<String>,
}

impl From<&Account> for UserBody {
    fn from(account: &Account) -> UserBody {
        UserBody {
            id: account.id.0,
            nickname: account.profile.nickname.clone(),
            roles: RoleWord::of(&account.roles),
            created_at: account.created_at.to_string(),
            left_at: account.left_at.map(|at| at.to_string()),
            records_kept_until: account.records_kept_until.map(|at| at.to_string()),
        }
    }
}

/// The roles that a user has from now on.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Roles, example = json!({"roles": ["bidder", "seller"]}))]
pub struct RolesBody {
    /// All of them; those that are left out are taken away.
    #[schema(max_items = 3)]
    roles: Vec<RoleWord>,
}

impl From<RolesError> for Problem {
    fn from(error: RolesError) -> Problem {
        match error {
            RolesError::NotFound => Code::UserNotFound.into(),
            RolesError::Left => Code::AccountLeft.into(),
            RolesError::OwnAdminRole => Code::OwnAdminRole.into(),
            RolesError::Store(error) => error.into(),
        }
    }
}

/// Each role once.
const ROLES_MAX: usize = 3;

/// Read a user
#[utoipa::path(get, path = "/users/{id}", operation_id = "get_user", tag = "users",
    params(("id" = Uuid, Path), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = UserBody, description = "The user", headers(("ETag" = String))),
        (status = 304, description = "Not changed since")))]
#[get("/users/{id}")]
pub async fn get_user(
    state: web::Data<State>,
    _admin: Admin,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let account = state.store.account(UserId(body::id(&id)?)).await?.ok_or(Code::UserNotFound)?;
    Ok(body::personal(&request, etag(&account), &UserBody::from(&account)))
}

fn etag(account: &Account) -> String {
    format!("\"{}\"", account.version)
}

/// Set a user's roles
///
/// A role that is new is in the user's next access token. Where one is taken away, all their access
/// tokens stop counting at once. Admins do not take their own role away.
#[utoipa::path(put, path = "/users/{id}/roles", operation_id = "set_user_roles", tag = "users",
    request_body = RolesBody, params(("id" = Uuid, Path)),
    responses((status = 200, body = UserBody, description = "They have these roles",
        headers(("ETag" = String)))))]
#[put("/users/{id}/roles")]
pub async fn set_user_roles(
    state: web::Data<State>,
    admin: Admin,
    id: web::Path<String>,
    Json(wanted): Json<RolesBody>,
) -> Result<HttpResponse, Problem> {
    let (user, now) = (UserId(body::id(&id)?), wall_clock::now());
    if wanted.roles.len() > ROLES_MAX {
        return Err(Problem::field("roles", format!("must have at most {ROLES_MAX} items")));
    }
    let wanted: BTreeSet<Role> = wanted.roles.into_iter().map(Role::from).collect();
    let RolesSet { account, is_less } =
        roles::set(&state.store, user, &wanted, Giver::Admin(admin.0), now).await?;
    if is_less {
        state.revoke_before(user, now);
    }
    tracing::info!(admin_id = %admin.0, user_id = %user, roles = ?wanted, "roles were set");
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, etag(&account)))
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(UserBody::from(&account)))
}
