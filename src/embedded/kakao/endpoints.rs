//! The stand-in's endpoints, answered as Kakao answers them.

use std::collections::HashMap;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{AUTHORIZATION, CACHE_CONTROL, LOCATION},
    web,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth2::url::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    StandIn,
    faults::{Complaint, Endpoint, api_complaint, complaint},
    keys::Claims,
    memory::{self, Ask, Session},
    page,
};
use crate::wall_clock;

/// Characters of each parameter that are taken.
const PARAMETER_BYTES_MAX: usize = 2_048;

type Parameters = HashMap<String, String>;

/// Waits, answers wrongly or goes on, as the test wants it.
macro_rules! arrive {
    ($stand_in:expr, $endpoint:ident) => {
        if let Some(answer) = $stand_in.inner.faults.arrive(Endpoint::$endpoint).await {
            return answer;
        }
    };
}

/// `GET /oauth/authorize`: the page, or what is wrong with the request.
pub(super) async fn show_choice(
    stand_in: web::Data<StandIn>,
    query: web::Query<Parameters>,
) -> HttpResponse {
    arrive!(stand_in, Authorize);
    let ask = match ask(&stand_in, &query) {
        Ok(ask) => ask,
        Err(wrong) => return page::error(&wrong),
    };
    if query.get("prompt").is_some_and(|prompt| prompt == "none") {
        let answer = [("error", "login_required"), ("error_description", "user must log in")];
        return send_back(&ask, &answer);
    }
    let ticket = stand_in.memory().ask(ask, wall_clock::now());
    page::choice(&ticket, &stand_in.inner.people)
}

fn ask(stand_in: &StandIn, query: &Parameters) -> Result<Ask, page::Wrong> {
    let get = |name: &str| query.get(name).cloned();
    let is = |name: &str, value: &str| query.get(name).is_some_and(|given| given == value);
    let app = stand_in.app();
    if !is("client_id", &app.client_id) {
        return Err(page::APP_KEY);
    }
    let redirect_uri = get("redirect_uri").unwrap_or_default();
    if !app.redirect_uris.contains(&redirect_uri) {
        return Err(page::REDIRECT_URI);
    }
    let is_pkce_right = match get("code_challenge") {
        Some(challenge) => challenge.len() == 43 && is("code_challenge_method", "S256"),
        None => get("code_challenge_method").is_none(),
    };
    let is_short = query.values().all(|value| value.len() <= PARAMETER_BYTES_MAX);
    if !is("response_type", "code") || !is_pkce_right || !is_short {
        return Err(page::REQUEST);
    }
    Ok(Ask {
        redirect_uri,
        state: get("state"),
        nonce: get("nonce"),
        code_challenge: get("code_challenge"),
        scope: get("scope").unwrap_or_default(),
    })
}

/// What the page's form brings.
#[derive(Deserialize)]
pub(super) struct Choice {
    ticket: String,
    choice: String,
}

/// `POST /oauth/authorize`: somebody chose, or refused.
pub(super) async fn take_choice(
    stand_in: web::Data<StandIn>,
    form: web::Form<Choice>,
) -> HttpResponse {
    arrive!(stand_in, Authorize);
    let now = wall_clock::now();
    let Some(ask) = stand_in.memory().take_ask(&form.ticket, now) else {
        return page::error(&page::TICKET);
    };
    let chosen = form.choice.parse().ok().and_then(|id| stand_in.person(id));
    let Some(person) = chosen else {
        let answer = [("error", "access_denied"), ("error_description", "User denied access")];
        return send_back(&ask, &answer);
    };
    let code = stand_in.memory().grant(ask.clone(), person.id, now);
    send_back(&ask, &[("code", &code)])
}

/// Back to the app, with `state` as it came.
fn send_back(ask: &Ask, answer: &[(&str, &str)]) -> HttpResponse {
    let Ok(mut url) = Url::parse(&ask.redirect_uri) else {
        return page::error(&page::REDIRECT_URI);
    };
    url.query_pairs_mut().extend_pairs(answer);
    if let Some(state) = &ask.state {
        url.query_pairs_mut().append_pair("state", state);
    }
    HttpResponse::Found()
        .insert_header((LOCATION, url.as_str()))
        .insert_header((CACHE_CONTROL, "no-store"))
        .finish()
}

/// `POST /oauth/token`: a code or a refresh token into tokens.
pub(super) async fn issue_tokens(
    stand_in: web::Data<StandIn>,
    form: web::Form<Parameters>,
) -> HttpResponse {
    arrive!(stand_in, Token);
    let issued = check_client(&stand_in, &form).and_then(|()| {
        match form.get("grant_type").map(String::as_str) {
            Some("authorization_code") => exchange_code(&stand_in, &form),
            Some("refresh_token") => refresh(&stand_in, &form),
            _ => Err(complaint(400, "unsupported_grant_type", "unknown grant_type", "KOE310")),
        }
    });
    match issued {
        Ok(tokens) => HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(tokens),
        Err(complaint) => complaint.into(),
    }
}

fn check_client(stand_in: &StandIn, form: &Parameters) -> Result<(), Complaint> {
    let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
    let app = stand_in.app();
    if !is("client_id", &app.client_id) {
        return Err(complaint(401, "invalid_client", "Not exist client_id", "KOE101"));
    }
    if !is("client_secret", &app.client_secret) {
        return Err(complaint(401, "invalid_client", "Bad client credentials", "KOE010"));
    }
    Ok(())
}

fn exchange_code(stand_in: &StandIn, form: &Parameters) -> Result<Value, Complaint> {
    let now = wall_clock::now();
    let unknown = |what: &str| complaint(400, "invalid_grant", what, "KOE320");
    let code = form.get("code").map(String::as_str).unwrap_or_default();
    let grant = stand_in
        .memory()
        .take_code(code, now)
        .ok_or_else(|| unknown("authorization code not found"))?;
    if form.get("redirect_uri") != Some(&grant.ask.redirect_uri) {
        return Err(complaint(400, "invalid_grant", "Redirect URI mismatch.", "KOE303"));
    }
    let verifier = form.get("code_verifier").map(Sha256::digest);
    let challenge = verifier.map(|digest| URL_SAFE_NO_PAD.encode(digest));
    if challenge != grant.ask.code_challenge {
        return Err(unknown("code_verifier mismatch"));
    }
    let session = Session {
        person: grant.person,
        scope: grant.ask.scope.clone(),
        logged_in_at: grant.chosen_at,
    };
    let mut tokens = tokens(stand_in, &session, grant.ask.nonce.as_deref())?;
    tokens["refresh_token"] = json!(stand_in.memory().refresh_token(session, now));
    tokens["refresh_token_expires_in"] = json!(memory::REFRESH_TOKEN_LIFE_S);
    Ok(tokens)
}

/// Leaves `refresh_token` out, as Kakao does while the old one has more than a month left.
fn refresh(stand_in: &StandIn, form: &Parameters) -> Result<Value, Complaint> {
    let token = form.get("refresh_token").map(String::as_str).unwrap_or_default();
    let session =
        stand_in.memory().refreshed(token, wall_clock::now()).cloned().ok_or_else(|| {
            complaint(400, "invalid_grant", "expired_or_invalid_refresh_token", "KOE322")
        })?;
    tokens(stand_in, &session, None)
}

fn tokens(stand_in: &StandIn, session: &Session, nonce: Option<&str>) -> Result<Value, Complaint> {
    let now = wall_clock::now();
    let access_token = stand_in.memory().access_token(session.clone(), now);
    let expires_in = stand_in.memory().access_token_life_s;
    let mut tokens = json!({
        "token_type": "bearer",
        "access_token": access_token,
        "expires_in": expires_in,
        "scope": session.scope,
    });
    if session.scope.split([' ', ',']).any(|scope| scope == "openid")
        && let Some(id_token) = id_token(stand_in, session, nonce)?
    {
        tokens["id_token"] = json!(id_token);
    }
    Ok(tokens)
}

fn id_token(
    stand_in: &StandIn,
    session: &Session,
    nonce: Option<&str>,
) -> Result<Option<String>, Complaint> {
    let person = stand_in.person(session.person);
    let claims = Claims {
        issuer: stand_in.base_url(),
        client_id: &stand_in.app().client_id,
        person: session.person,
        nickname: person.map(|person| &*person.nickname).unwrap_or_default(),
        nonce,
        logged_in_at: session.logged_in_at,
        now: wall_clock::now(),
    };
    let signed = stand_in.keys().id_token(&claims, stand_in.inner.faults.forgery());
    signed.map_err(|_| complaint(500, "server_error", "no key to sign with", "KOE003"))
}

/// `GET /.well-known/openid-configuration`
pub(super) async fn discover(stand_in: web::Data<StandIn>) -> HttpResponse {
    arrive!(stand_in, Discovery);
    let base = stand_in.base_url();
    HttpResponse::Ok().json(json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/oauth/authorize"),
        "token_endpoint": format!("{base}/oauth/token"),
        "jwks_uri": format!("{base}/.well-known/jwks.json"),
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "request_uri_parameter_supported": false,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": ["iss", "aud", "sub", "auth_time", "exp", "iat", "nonce", "nickname"],
    }))
}

/// `GET /.well-known/jwks.json`
pub(super) async fn show_keys(stand_in: web::Data<StandIn>) -> HttpResponse {
    arrive!(stand_in, Keys);
    HttpResponse::Ok().json(stand_in.keys().jwks())
}

/// `GET` or `POST /v2/user/me`
pub(super) async fn show_user(stand_in: web::Data<StandIn>, request: HttpRequest) -> HttpResponse {
    arrive!(stand_in, User);
    let session = match bearer(&stand_in, &request) {
        Ok(session) => session,
        Err(complaint) => return complaint.into(),
    };
    let Some(person) = stand_in.person(session.person) else { return not_registered().into() };
    HttpResponse::Ok().json(json!({
        "id": person.id,
        "connected_at": session.logged_in_at,
        "properties": {"nickname": person.nickname},
        "kakao_account": {
            "profile_nickname_needs_agreement": false,
            "profile": {"nickname": person.nickname, "is_default_nickname": false},
        },
    }))
}

/// `POST /v1/user/unlink`
pub(super) async fn unlink(
    stand_in: web::Data<StandIn>,
    request: HttpRequest,
    form: Option<web::Form<Parameters>>,
) -> HttpResponse {
    arrive!(stand_in, Unlink);
    match whom(&stand_in, &request, form.as_deref()) {
        Ok(person) if stand_in.memory().unlink(person) => {
            HttpResponse::Ok().json(json!({"id": person}))
        }
        Ok(_) => not_registered().into(),
        Err(complaint) => complaint.into(),
    }
}

/// `POST /v1/user/logout`
pub(super) async fn log_out(
    stand_in: web::Data<StandIn>,
    request: HttpRequest,
    form: Option<web::Form<Parameters>>,
) -> HttpResponse {
    arrive!(stand_in, Logout);
    match whom(&stand_in, &request, form.as_deref()) {
        Ok(person) if stand_in.memory().is_linked(person) => {
            stand_in.memory().log_out(person);
            HttpResponse::Ok().json(json!({"id": person}))
        }
        Ok(_) => not_registered().into(),
        Err(complaint) => complaint.into(),
    }
}

fn not_registered() -> Complaint {
    api_complaint(400, "NotRegisteredUserException", -101)
}

fn bearer(stand_in: &StandIn, request: &HttpRequest) -> Result<Session, Complaint> {
    let refused = || api_complaint(401, "this access token does not exist", -401);
    let token = authorization(request).strip_prefix("Bearer ").ok_or_else(refused)?;
    stand_in.memory().session(token, wall_clock::now()).cloned().ok_or_else(refused)
}

/// Whom a call is about: the owner of the token, or whoever the admin key names.
fn whom(
    stand_in: &StandIn,
    request: &HttpRequest,
    form: Option<&Parameters>,
) -> Result<i64, Complaint> {
    let Some(key) = authorization(request).strip_prefix("KakaoAK ") else {
        return bearer(stand_in, request).map(|session| session.person);
    };
    if key != stand_in.app().admin_key {
        return Err(api_complaint(401, "wrong appKey", -401));
    }
    let get = |name: &str| form.and_then(|form| form.get(name)).map(String::as_str);
    let target = get("target_id").filter(|_| get("target_id_type") == Some("user_id"));
    target
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| api_complaint(400, "target_id is required", -2))
}

fn authorization(request: &HttpRequest) -> &str {
    let header = request.headers().get(AUTHORIZATION);
    header.and_then(|value| value.to_str().ok()).unwrap_or_default()
}
