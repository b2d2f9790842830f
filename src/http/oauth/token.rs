//! `POST /oauth/token` and `POST /oauth/revoke`, in the forms of RFC 6749 and RFC 7009.

use std::{fmt, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
    post, web,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use metrics::counter;
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::{
    log_refusal,
    parameters::{Form, Parameters},
};
use crate::{
    http::{
        State,
        kit::{context::NotAProblem, problem::Problem},
    },
    identity::{
        clients::Client,
        oauth::{
            Denial, ErrorWord, SCOPE,
            authorize::is_scope,
            grant::{self, GrantError, Granted, Redemption, Refusal},
        },
        tokens::ACCESS_TOKEN_LIFE_S,
    },
    store::StoreError,
    wall_clock,
};

/// Tokens for a frontend (RFC 6749, 5.1).
#[derive(Serialize, ToSchema)]
#[schema(as = TokenSet, example = json!({
    "access_token": "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.e30.c2lnbmF0dXJl",
    "token_type": "Bearer", "expires_in": 900,
    "refresh_token": "m7hV3h0Y3x1q2b8a9c0d1e2f3g4h5i6j7k8l9m0n1o2", "scope": "api"
}))]
pub struct TokenBody {
    /// A JWT for `Authorization: Bearer`.
    access_token: String,
    /// `Bearer`
    token_type: &'static str,
    /// Seconds that the access token lives.
    expires_in: i64,
    /// For the next ones, once; the one that came counts no more.
    refresh_token: String,
    /// `api`, whatever was asked for.
    scope: &'static str,
}

/// An error in the form of RFC 6749, 5.2.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OAuthError, example = json!({
    "error": "invalid_grant", "error_description": "It has expired."
}))]
pub struct OAuthErrorBody {
    /// `invalid_request`, `invalid_client`, `invalid_grant`, `unsupported_grant_type`,
    /// `invalid_scope`, `unsupported_token_type`, `temporarily_unavailable` or `server_error`.
    error: &'static str,
    /// For the frontend's developer.
    error_description: &'static str,
}

/// Every way in which both endpoints refuse.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it describes the answers; `Refused` makes them")]
enum OAuthErrors {
    /// `invalid_request`, `invalid_grant`, `unsupported_grant_type`, `invalid_scope` or
    /// `unsupported_token_type`
    #[response(status = 400)]
    Invalid(OAuthErrorBody),
    /// `invalid_client`: unknown, disabled, or not proven
    #[response(status = 401)]
    Client(OAuthErrorBody),
    /// `temporarily_unavailable`: too many requests or too many failures; see Retry-After
    #[response(status = 429)]
    TooMany(OAuthErrorBody),
    /// `server_error`
    #[response(status = 500)]
    Server(OAuthErrorBody),
    /// `temporarily_unavailable`: whether anything changed is unknown
    #[response(status = 503)]
    Unavailable(OAuthErrorBody),
}

/// A form as `/oauth/token` takes it.
#[derive(ToSchema)]
#[schema(as = TokenRequest)]
#[expect(dead_code, reason = "it describes the form; parameters are read one by one")]
pub struct TokenForm {
    /// `authorization_code` or `refresh_token`.
    grant_type: String,
    /// Of clients without a secret, and of those that send theirs in the body.
    client_id: Option<String>,
    /// Of server-side clients, unless they use HTTP Basic.
    client_secret: Option<String>,
    /// With `authorization_code`.
    code: Option<String>,
    /// With `authorization_code`: as it was at `/oauth/authorize`.
    redirect_uri: Option<String>,
    /// With `authorization_code`: 43 to 128 characters.
    code_verifier: Option<String>,
    /// With `refresh_token`.
    refresh_token: Option<String>,
    /// Not narrowed.
    scope: Option<String>,
}

/// A form as `/oauth/revoke` takes it.
#[derive(ToSchema)]
#[schema(as = RevocationRequest, example = json!({
    "client_id": "shop", "token": "m7hV3h0Y3x1q2b8a9c0d1e2f3g4h5i6j7k8l9m0n1o2",
    "token_type_hint": "refresh_token"
}))]
#[expect(dead_code, reason = "it describes the form; parameters are read one by one")]
pub struct RevocationForm {
    /// A refresh token.
    token: String,
    /// Not needed.
    token_type_hint: Option<String>,
    /// Of clients without a secret, and of those that send theirs in the body.
    client_id: Option<String>,
    /// Of server-side clients, unless they use HTTP Basic.
    client_secret: Option<String>,
}

/// Get tokens
///
/// For a code, with the `code_verifier` of its challenge; or for a refresh token, which is replaced
/// each time. Clients without a secret name themselves by `client_id`; server-side ones prove who
/// they are by HTTP Basic, or by `client_id` and `client_secret` in the body, not by both.
///
/// A code counts once, a refresh token once: the second time the whole login is revoked, whoever
/// comes. So a frontend refreshes in one place at a time (in a browser under `navigator.locks`, for
/// tabs share the token), keeps the new refresh token before it uses the access token, and logs in
/// again when the answer to a refresh was lost. Roles are as they are at the time.
///
/// Wrong codes, verifiers, secrets and refresh tokens are counted by address and by client: after
/// ten in a minute the address is answered 429.
#[utoipa::path(post, path = "/oauth/token", operation_id = "create_token", tag = "login",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = TokenBody, description = "Tokens; not to be cached"),
        OAuthErrors))]
#[post("/oauth/token")]
pub async fn create_token(
    state: web::Data<State>,
    request: HttpRequest,
    form: Form,
) -> Result<HttpResponse, Refused> {
    let client = authenticated(&state, &request, &form.0)?;
    let grant_type = required(&form.0, "grant_type")?;
    if form.0.one("scope")?.is_some_and(|scope| !is_scope(scope)) {
        return Err(Denial::new(ErrorWord::InvalidScope, "scope is not a list of scopes.").into());
    }
    let now = wall_clock::now();
    let granted = match grant_type {
        "authorization_code" => {
            let redemption = Redemption {
                code: required(&form.0, "code")?,
                redirect_uri: required(&form.0, "redirect_uri")?,
                code_verifier: required(&form.0, "code_verifier")?,
            };
            grant::redeem(&state.store, &client, redemption, now).await
        }
        "refresh_token" => {
            let token = required(&form.0, "refresh_token")?;
            grant::refresh(&state.store, &client, token, now).await
        }
        _ => {
            let description = "grant_type must be authorization_code or refresh_token.";
            return Err(Denial::new(ErrorWord::UnsupportedGrantType, description).into());
        }
    };
    let granted = granted.map_err(|error| refused(&state, &request, &client, error))?;
    count(if grant_type == "refresh_token" { "refreshed" } else { "redeemed" });
    answer(&state, &client, &granted)
}

fn answer(state: &State, client: &Client, granted: &Granted) -> Result<HttpResponse, Refused> {
    let id = Some(client.id.as_str());
    let issued = state.tokens.issue(
        granted.user,
        &granted.roles,
        id,
        granted.issued_at,
        ACCESS_TOKEN_LIFE_S,
    );
    let access_token = issued.map_err(|error| {
        tracing::error!(%error, "an access token cannot be signed");
        Refused::of(Denial::new(ErrorWord::ServerError, "No token can be signed."))
    })?;
    Ok(uncached(HttpResponse::Ok()).json(TokenBody {
        access_token,
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_LIFE_S,
        refresh_token: granted.refresh_token.expose().to_owned(),
        scope: SCOPE,
    }))
}

/// Revoke a refresh token
///
/// Ends the login that the token belongs to, with every refresh token of it (RFC 7009). A token
/// that nobody knows is answered 200 as well. An access token cannot be revoked by itself
/// (`unsupported_token_type`): it ends within 15 minutes. Another client's token is refused.
#[utoipa::path(post, path = "/oauth/revoke", operation_id = "revoke_token", tag = "login",
    request_body(content = RevocationForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "It counts no more"),
        OAuthErrors))]
#[post("/oauth/revoke")]
pub async fn revoke_token(
    state: web::Data<State>,
    request: HttpRequest,
    form: Form,
) -> Result<HttpResponse, Refused> {
    let client = authenticated(&state, &request, &form.0)?;
    let token = required(&form.0, "token")?;
    form.0.one("token_type_hint")?;
    if grant::is_access_token(token) {
        let description = "Access tokens end by themselves; revoke the refresh token.";
        return Err(Denial::new(ErrorWord::UnsupportedTokenType, description).into());
    }
    let revoked = grant::revoke(&state.store, &client, token, wall_clock::now()).await;
    revoked.map_err(|error| refused(&state, &request, &client, error))?;
    count("revoked");
    Ok(uncached(HttpResponse::Ok()).finish())
}

fn required<'a>(form: &'a Parameters, name: &'static str) -> Result<&'a str, Refused> {
    let missing = || match name {
        "grant_type" => "grant_type is missing.",
        "code" => "code is missing.",
        "redirect_uri" => "redirect_uri is missing.",
        "code_verifier" => "code_verifier is missing.",
        "refresh_token" => "refresh_token is missing.",
        _ => "A parameter is missing.",
    };
    let invalid = || Denial::new(ErrorWord::InvalidRequest, missing());
    Ok(form.one(name)?.ok_or_else(invalid)?)
}

/// Who a client says it is, and what it proves it with.
struct Credentials {
    client_id: String,
    secret: Option<String>,
}

/// The client, which has proven who it is if it can. Whoever failed too often is not heard.
fn authenticated(
    state: &State,
    request: &HttpRequest,
    form: &Parameters,
) -> Result<Arc<Client>, Refused> {
    let credentials = credentials(request, form)?;
    let known = state.clients.get(&credentials.client_id);
    let known_id = known.as_ref().map(|client| client.id.as_str());
    if let Some(wait_ms) = state.limits.must_wait(request, known_id) {
        count("not_heard");
        return Err(Refused::too_many("Too many failures.", Some(wait_ms)));
    }
    let is_proven = known
        .as_ref()
        .is_some_and(|client| grant::has_proven(client, credentials.secret.as_deref()));
    match known {
        Some(client) if is_proven => admitted(state, request, client),
        known => {
            state.limits.note_failure(request, known.as_ref().map(|client| client.id.as_str()));
            let reason = if known.is_some() { "client_not_proven" } else { "client_unknown" };
            log_refusal(request, reason, known.as_deref());
            count("client_refused");
            let description = "The client is unknown, disabled, or did not prove who it is.";
            Err(Denial::new(ErrorWord::InvalidClient, description).into())
        }
    }
}

/// A server-side client speaks for all its users from one address: only others are counted by it.
fn admitted(
    state: &State,
    request: &HttpRequest,
    client: Arc<Client>,
) -> Result<Arc<Client>, Refused> {
    if !client.is_confidential() {
        let admitted = state.limits.admit_login(request);
        admitted.map_err(|p| Refused::too_many("Too many requests.", p.retry_after_ms))?;
    }
    Ok(client)
}

/// By HTTP Basic or in the body, not both (RFC 6749, 2.3.1). An empty secret is none.
fn credentials(request: &HttpRequest, form: &Parameters) -> Result<Credentials, Refused> {
    let (client_id, secret) = (form.one("client_id")?, form.one("client_secret")?);
    let invalid = |description| Refused::of(Denial::new(ErrorWord::InvalidRequest, description));
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let Some(value) = headers.next() else {
        let client_id = client_id.ok_or_else(|| invalid("client_id is missing."))?.to_owned();
        return Ok(Credentials { client_id, secret: secret.map(str::to_owned) });
    };
    if headers.next().is_some() {
        return Err(invalid("The Authorization header came more than once."));
    }
    let malformed = Denial::new(ErrorWord::InvalidClient, "Authorization must be HTTP Basic.");
    let basic = value.to_str().ok().and_then(basic).ok_or(malformed)?;
    if secret.is_some() {
        return Err(invalid("The client proves who it is twice."));
    }
    if client_id.is_some_and(|client_id| client_id != basic.client_id) {
        return Err(invalid("client_id is not that of the Authorization header."));
    }
    Ok(basic)
}

/// Both halves are form-urlencoded before they are joined.
fn basic(value: &str) -> Option<Credentials> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (client_id, secret) = decoded.split_once(':')?;
    let plain = |text: &str| {
        form_urlencoded::parse(text.as_bytes())
            .next()
            .map_or_else(String::new, |(name, _)| name.into_owned())
    };
    Some(Credentials {
        client_id: plain(client_id),
        secret: Some(plain(secret)).filter(|secret| !secret.is_empty()),
    })
}

/// Logs and counts what was refused, and turns it into an answer.
fn refused(state: &State, request: &HttpRequest, client: &Client, error: GrantError) -> Refused {
    let refusal: Refusal = match error {
        GrantError::Refused(refusal) => refusal,
        GrantError::Store(error) => return error.into(),
    };
    count("grant_refused");
    if refusal.is_ordinary() {
        tracing::debug!(reason = refusal.word(), client_id = client.id, "a grant was refused");
    } else {
        state.limits.note_failure(request, Some(&client.id));
        log_refusal(request, refusal.word(), Some(client));
    }
    refusal.denial().into()
}

fn uncached(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::PRAGMA, "no-cache"));
    response
}

fn count(outcome: &'static str) {
    counter!("hoga_grants_total", "outcome" => outcome).increment(1);
}

/// An error in the form of RFC 6749, on its way out.
#[derive(Debug)]
pub struct Refused {
    denial: Denial,
    status: StatusCode,
    retry_after_ms: Option<u64>,
}

impl Refused {
    fn of(denial: Denial) -> Refused {
        let status = match denial.error {
            ErrorWord::InvalidClient => StatusCode::UNAUTHORIZED,
            ErrorWord::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorWord::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorWord::InvalidRequest
            | ErrorWord::InvalidGrant
            | ErrorWord::UnsupportedGrantType
            | ErrorWord::UnsupportedResponseType
            | ErrorWord::InvalidScope
            | ErrorWord::UnsupportedTokenType
            | ErrorWord::AccessDenied
            | ErrorWord::InteractionRequired => StatusCode::BAD_REQUEST,
        };
        Refused { denial, status, retry_after_ms: None }
    }

    fn too_many(description: &'static str, retry_after_ms: Option<u64>) -> Refused {
        let denial = Denial::new(ErrorWord::TemporarilyUnavailable, description);
        Refused { denial, status: StatusCode::TOO_MANY_REQUESTS, retry_after_ms }
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Refused {
        Refused::of(denial)
    }
}

impl From<super::parameters::Repeated> for Refused {
    fn from(repeated: super::parameters::Repeated) -> Refused {
        Refused::of(repeated.into())
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Refused {
        let problem = Problem::from(error);
        let retry_after_ms = problem.code.retry_after_ms();
        let denial = match retry_after_ms {
            Some(_) => Denial::new(
                ErrorWord::TemporarilyUnavailable,
                "The database does not answer; whether anything changed is unknown.",
            ),
            None => Denial::new(ErrorWord::ServerError, "Something went wrong on our side."),
        };
        Refused { retry_after_ms, ..Refused::of(denial) }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.denial.error.word())
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = uncached(HttpResponse::build(self.status));
        if let Some(wait_ms) = self.retry_after_ms {
            response.insert_header((header::RETRY_AFTER, wait_ms.div_ceil(1_000)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"hoga\""));
        }
        let mut response = response.json(OAuthErrorBody {
            error: self.denial.error.word(),
            error_description: self.denial.description,
        });
        response.extensions_mut().insert(NotAProblem);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_urlencoded_before_they_are_joined() {
        let of = |text: &str| basic(&format!("Basic {}", STANDARD.encode(text)));
        let read = of("shop%3Aa:p%2Bq+r%25").expect("read");
        assert_eq!(read.client_id, "shop:a");
        assert_eq!(read.secret.as_deref(), Some("p+q r%"));
        assert_eq!(of("shop:").expect("read").secret, None);
        assert!(of("no colon").is_none());
        assert!(basic("Bearer abc").is_none());
        assert!(basic("Basic %%%").is_none());
        let lower = basic(&format!("basic {}", STANDARD.encode("a:b"))).expect("read");
        assert_eq!(lower.client_id, "a");
    }
}
