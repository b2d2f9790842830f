//! `/v1/me`: the caller's own account: what it says, what its owner agrees to, and leaving.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, patch, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    domain::{id::UserId, time::Timestamp},
    http::{
        State,
        kit::{
            body::{self, Json, PERSONAL, Wrong, present},
            caller::User,
            problem::{Code, OpenMatterBody, Problem},
        },
        users::RoleWord,
    },
    identity::account,
    store::{Account, Leaving, OpenMatter, Profile},
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

impl GenderWord {
    const fn word(self) -> &'static str {
        match self {
            GenderWord::Female => "female",
            GenderWord::Male => "male",
            GenderWord::Other => "other",
        }
    }

    fn from_word(word: &str) -> Option<GenderWord> {
        [GenderWord::Female, GenderWord::Male, GenderWord::Other]
            .into_iter()
            .find(|gender| gender.word() == word)
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
            gender: profile.gender.as_deref().and_then(GenderWord::from_word),
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

impl MeChangesBody {
    fn applied_to(self, before: &Profile, now: Timestamp) -> Result<Profile, Problem> {
        let mut wrong = Wrong::default();
        let nickname = match self.nickname {
            None => before.nickname.clone(),
            Some(nickname) => {
                wrong.take("nickname", account::nickname(&nickname.unwrap_or_default()))
            }
        };
        let consents = self.profile_consent.map(|consent| consent.unwrap_or(false));
        let consent_at = match consents {
            None => before.consent_at,
            Some(true) => before.consent_at.or(Some(now)),
            Some(false) => None,
        };
        let gives_data =
            matches!(self.birth_year, Some(Some(_))) || matches!(self.gender, Some(Some(_)));
        if gives_data && consent_at.is_none() {
            wrong.take(
                "profile_consent",
                Err::<(), _>("must be true: birth_year and gender are kept with consent alone"),
            );
        }
        let birth_year = match self.birth_year.unwrap_or(before.birth_year) {
            // One that is there was checked when it came.
            Some(year) if before.birth_year != Some(year) => {
                Some(wrong.take("birth_year", account::birth_year(year, now)))
            }
            year => year,
        };
        let gender = match self.gender {
            None => before.gender.clone(),
            Some(gender) => gender.map(|gender| gender.word().to_owned()),
        };
        wrong.none()?;
        Ok(Profile {
            nickname,
            birth_year: birth_year.filter(|_| consent_at.is_some()),
            gender: gender.filter(|_| consent_at.is_some()),
            consent_at,
        })
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
    let now = wall_clock::now();
    let change = |before: &Account| {
        body::unless_stale(&request, &etag(before))?;
        changes.applied_to(&before.profile, now)
    };
    let account = state.store.update_profile(user.0.user, change).await?;
    let account = account.ok_or(Code::TokenInvalid)?;
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
    // Who may not leave anyway keeps their tokens.
    let open = state.store.open_matters(user, now).await?.ok_or(Code::TokenInvalid)?;
    unless_open(open)?;
    leave(&state, user, now).await?;
    tracing::info!(user_id = %user, "left");
    Ok(HttpResponse::NoContent().finish())
}

/// Tokens first, so that nothing new is asked for in the caller's name while it is looked at what is
/// open. A bid that was let in before that and is decided after may still come to lead, as one may
/// when those above it are retracted: then an alias leads, and may win, and does not pay.
async fn leave(state: &State, user: UserId, now: Timestamp) -> Result<(), Problem> {
    // Of this second, too: those of other seconds could only be issued to who is there.
    let tokens_valid_from = now.plus_s(1);
    state.revoke_before(user, tokens_valid_from);
    let alias = account::alias_after_leaving(user);
    match state.store.leave(user, &alias, now, tokens_valid_from).await? {
        Leaving::Done => Ok(()),
        // A bid came in between. The account goes on, with the tokens of its next refresh.
        Leaving::Open(open) => unless_open(open),
        Leaving::NobodyThere => Err(Code::TokenInvalid.into()),
    }
}

fn unless_open(open: Vec<OpenMatter>) -> Result<(), Problem> {
    if open.is_empty() {
        return Ok(());
    }
    let open = open.into_iter().map(OpenMatterBody::from).collect();
    Err(Problem { open, ..Problem::from(Code::AccountInUse) })
}
