//! `/v1/me`: the caller's own account: what it says, what its owner agrees to, and leaving.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, patch, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    accounts::{
        leaving::{self, LeavingError},
        profile::{self, Changes, ProfileError},
    },
    http::{
        State,
        kit::{
            body::{self, Json, PERSONAL, present},
            caller::User,
            problem::{Code, OpenMatterBody, Problem},
        },
        users::RoleWord,
    },
    store::{Account, Gender},
    wall_clock,
};

/// How the caller describes themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Gender)]
pub enum GenderWord {
    /// A woman.
    Female,
    /// A man.
    Male,
    /// Neither, or both.
    Other,
}

impl From<Gender> for GenderWord {
    fn from(gender: Gender) -> GenderWord {
        match gender {
            Gender::Female => GenderWord::Female,
            Gender::Male => GenderWord::Male,
            Gender::Other => GenderWord::Other,
        }
    }
}

impl From<GenderWord> for Gender {
    fn from(word: GenderWord) -> Gender {
        match word {
            GenderWord::Female => Gender::Female,
            GenderWord::Male => Gender::Male,
            GenderWord::Other => Gender::Other,
        }
    }
}

/// The caller's account.
#[derive(Serialize, ToSchema)]
#[schema(as = Me, example = json!({
    "id": "01935b2e-7c1a-7000-8000-000000000000", "nickname": "민지", "birth_year": 1995, "gender": null,
    "profile_consent_at": "2026-11-20T09:00:00.000Z", "roles": ["bidder", "seller"],
    "created_at": "2026-11-20T09:00:00.000Z"
}))]
pub struct MeBody {
    /// UUIDv7.
    id: Uuid,
    /// How others see the caller.
    nickname: String,
    /// For recommendations, with consent.
    birth_year: Option<i16>,
    /// For recommendations, with consent.
    gender: Option<GenderWord>,
    /// When the caller agreed that birth year and gender are used for recommendations; null while
    /// they do not.
    #[schema(format = DateTime)]
    profile_consent_at: Option<String>,
    /// As they stand; a role that was given or taken away is in the next access token.
    roles: Vec<RoleWord>,
    /// Since when there is an account.
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<&Account> for MeBody {
    fn from(account: &Account) -> MeBody {
        let profile = &account.profile;
        MeBody {
            id: account.id.0,
            nickname: profile.nickname.clone(),
            birth_year: profile.birth_year,
            gender: profile.gender.map(GenderWord::from),
            profile_consent_at: profile.consent_at.map(|at| at.to_string()),
            roles: RoleWord::of(&account.roles),
            created_at: account.created_at.to_string(),
        }
    }
}

/// Changes to the caller's account: what is left out stays, null takes away.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = MeChanges, example = json!({"nickname": "민지", "birth_year": 1995, "profile_consent": true}))]
pub struct MeChangesBody {
    /// One line that others see; cannot be taken away.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 30)]
    nickname: Option<Option<String>>,
    /// Of somebody who is 14 for certain; only with consent.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i16>, minimum = 1900, maximum = 9999)]
    birth_year: Option<Option<i16>>,
    /// Only with consent.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<GenderWord>)]
    gender: Option<Option<GenderWord>>,
    /// That birth year and gender are used for recommendations. False or null withdraws it and takes
    /// both away.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<bool>)]
    profile_consent: Option<Option<bool>>,
}

impl From<MeChangesBody> for Changes {
    fn from(body: MeChangesBody) -> Changes {
        Changes {
            nickname: body.nickname,
            birth_year: body.birth_year,
            gender: body.gender.map(|gender| gender.map(Gender::from)),
            consents: body.profile_consent,
        }
    }
}

impl From<ProfileError> for Problem {
    fn from(error: ProfileError) -> Problem {
        match error {
            ProfileError::NobodyThere => Code::TokenInvalid.into(),
            ProfileError::Stale => Code::PreconditionFailed.into(),
            ProfileError::Wrong(wrong) => wrong.into(),
            ProfileError::Store(error) => error.into(),
        }
    }
}

impl From<LeavingError> for Problem {
    fn from(error: LeavingError) -> Problem {
        match error {
            LeavingError::NobodyThere => Code::TokenInvalid.into(),
            LeavingError::Open(open) => {
                let open = open.into_iter().map(OpenMatterBody::from).collect();
                Problem { open, ..Problem::from(Code::AccountInUse) }
            }
            LeavingError::Store(error) => error.into(),
        }
    }
}

fn etag(account: &Account) -> String {
    format!("\"{}\"", account.version)
}

/// Read the caller's account
#[utoipa::path(get, path = "/me", operation_id = "get_me", tag = "me",
    params(("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = MeBody, description = "The account", headers(("ETag" = String))),
        (status = 304, description = "Not changed since")))]
#[get("/me")]
pub async fn get_me(
    state: web::Data<State>,
    user: User,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let account = state.store.account(user.0.user).await?;
    // A token may outlive its account by moments.
    let account = account.filter(|account| account.left_at.is_none()).ok_or(Code::TokenInvalid)?;
    Ok(body::personal(&request, etag(&account), &MeBody::from(&account)))
}

/// Change the caller's account
///
/// Birth year and gender are kept for recommendations and only with consent: send
/// `profile_consent: true` with them, or have sent it before. Withdrawing it takes both away.
#[utoipa::path(patch, path = "/me", operation_id = "update_me", tag = "me",
    request_body = MeChangesBody,
    params(("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = MeBody, description = "Changed", headers(("ETag" = String)))))]
#[patch("/me")]
pub async fn update_me(
    state: web::Data<State>,
    user: User,
    request: HttpRequest,
    Json(changes): Json<MeChangesBody>,
) -> Result<HttpResponse, Problem> {
    let is_meant = |before: &Account| body::is_meant(&request, &etag(before));
    let (user, now) = (user.0.user, wall_clock::now());
    let account = profile::change(&state.store, user, changes.into(), now, is_meant).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, etag(&account)))
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(MeBody::from(&account)))
}

/// Leave
///
/// Refused while the caller leads a bid, sells, or owes a purchase; `open` lists what. Otherwise
/// everything personal is deleted at once, nobody can log in to the account again, and no token of
/// its counts any more. Trade records stay for the statutory time under an alias, and the results of
/// auctions stay as they are.
#[utoipa::path(delete, path = "/me", operation_id = "delete_me", tag = "me",
    responses((status = 204, description = "Left")))]
#[delete("/me")]
pub async fn delete_me(state: web::Data<State>, user: User) -> Result<HttpResponse, Problem> {
    let (user, now) = (user.0.user, wall_clock::now());
    leaving::leave(&state.store, user, now, |from| state.revoke_before(user, from)).await?;
    tracing::info!(user_id = %user, "left");
    Ok(HttpResponse::NoContent().finish())
}
