//! The browser's way through a login: from the frontend to Kakao, and back.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::header::{self, HeaderValue},
    web,
};
use metrics::counter;

use super::{log_refusal, parameters::Parameters};
use crate::{
    config::SellerModel,
    domain::time::Timestamp,
    http::{
        State,
        kit::problem::{Code, Problem},
    },
    identity::{
        Role,
        clients::Client,
        kakao::{Kakao, KakaoError},
        oauth::{
            Denial, ErrorWord, LOGIN_LIFE_S,
            authorize::{self, Asked, Beginning},
            callback::{self, ReturnError},
        },
        secret::Secret,
    },
    store::LoginRow,
    wall_clock,
};

/// Binds a login to the browser that began it. The prefix keeps it from being planted by another
/// host or over plain HTTP.
const COOKIE: &str = "__Host-hoga_login";
/// A code of Kakao's; they have under a hundred bytes.
const KAKAO_CODE_BYTES_MAX: usize = 1_024;

/// Begin a login
///
/// Where a frontend sends the browser of whoever wants to log in: it goes on to Kakao. What is
/// wrong with the client or the redirect URI is answered as a problem (as a page where the browser
/// asks for HTML); anything else goes back to the frontend as `error`, `error_description`, `state`
/// and `iss`. Unknown parameters are ignored, repeated ones refused.
#[utoipa::path(get, path = "/oauth/authorize", operation_id = "start_login", tag = "login",
    params(
        ("response_type" = String, Query, description = "`code`", example = "code"),
        ("client_id" = String, Query, description = "Of the registered frontend"),
        ("redirect_uri" = String, Query, description = "One of the registered ones, to the letter"),
        ("code_challenge" = String, Query, description = "PKCE (RFC 7636): the base64url SHA-256 of the code_verifier",
            example = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method" = String, Query, description = "`S256`; plain is refused", example = "S256"),
        ("state" = Option<String>, Query, description = "Returned as it came; up to 2,048 bytes"),
        ("scope" = Option<String>, Query, description = "Not narrowed: every token has the scope `api`"),
        ("prompt" = Option<String>, Query, description = "Passed on to Kakao: `login`, `none`, `select_account`"),
        ("response_mode" = Option<String>, Query, description = "`query`")),
    responses((status = 302, description = "To Kakao; or back to the frontend with `error`",
        headers(("Location" = String, description = "Where the browser goes"),
            ("Set-Cookie" = String, description = "Binds the login to this browser for ten minutes")))))]
#[get("/oauth/authorize")]
pub async fn start_login(
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let parameters = of_query(&request)?;
    let (client, redirect_uri) = trusted(&state, &request, &parameters)?;
    let frontend = Frontend {
        redirect_uri,
        state: parameters.one("state").ok().flatten().filter(|state| authorize::is_state(state)),
        issuer: state.public_url(),
    };
    let accepted = match asked(&parameters).and_then(|asked| authorize::check(&asked)) {
        Ok(accepted) => accepted,
        Err(denial) => {
            count("not_begun");
            return frontend.answer(Err(denial));
        }
    };
    let kakao = state.kakao.as_ref().ok_or(Code::LoginUnavailable)?;
    if !state.under_way.add(state.limits.address(&request)) {
        return Err(Code::Overloaded.into());
    }
    let beginning =
        Beginning { client_id: &client.id, redirect_uri, callback_url: &callback_url(&state) };
    let (browser, now) = (browser(&request), wall_clock::now());
    let begun = authorize::begin(&state.store, kakao, beginning, accepted, browser, now).await?;
    count("begun");
    let mut response = redirect(&begun.location)?;
    set_cookie(&mut response, &kept_cookie(&begun.browser));
    Ok(response)
}

/// The client and its redirect URI. Until both are known to belong together nobody is sent
/// anywhere.
fn trusted<'a>(
    state: &State,
    request: &HttpRequest,
    parameters: &'a Parameters,
) -> Result<(Arc<Client>, &'a str), Problem> {
    let required = |name: &'static str| match parameters.one(name) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Problem::found(Code::InvalidQuery, format!("{name} is missing."))),
        Err(_) => Err(Problem::found(Code::InvalidQuery, format!("{name} came more than once."))),
    };
    let (client_id, redirect_uri) = (required("client_id")?, required("redirect_uri")?);
    let Some(client) = state.clients.get(client_id) else {
        log_refusal(request, "client_unknown", None);
        return Err(Code::ClientUnknown.into());
    };
    if !client.allows_redirect(redirect_uri) {
        log_refusal(request, "redirect_uri_invalid", Some(&client));
        return Err(Code::RedirectUriInvalid.into());
    }
    Ok((client, redirect_uri))
}

fn asked(parameters: &Parameters) -> Result<Asked<'_>, Denial> {
    Ok(Asked {
        response_type: parameters.one("response_type")?,
        response_mode: parameters.one("response_mode")?,
        state: parameters.one("state")?,
        code_challenge: parameters.one("code_challenge")?,
        code_challenge_method: parameters.one("code_challenge_method")?,
        scope: parameters.one("scope")?,
        prompt: parameters.one("prompt")?,
    })
}

/// Finish a login
///
/// Where Kakao sends the browser back to; no frontend calls it. A `state` that is missing, taken
/// before, too old or another browser's is a problem, never a redirect. Otherwise the browser goes
/// to the frontend: with `code` (single use, 60 s), `state` and `iss`, or with `error`
/// (`access_denied`, `temporarily_unavailable`, `server_error`, ...), `error_description`, `state`
/// and `iss`.
#[utoipa::path(get, path = "/oauth/kakao/callback", operation_id = "finish_login", tag = "login",
    params(
        ("state" = Option<String>, Query, description = "Ours, as Kakao returns it"),
        ("code" = Option<String>, Query, description = "Kakao's"),
        ("error" = Option<String>, Query, description = "Kakao's, when nobody logged in"),
        ("error_description" = Option<String>, Query, description = "Kakao's; not passed on")),
    responses((status = 302, description = "To the frontend, with `code` or `error`",
        headers(("Location" = String, description = "The redirect URI with its parameters")))))]
#[get("/oauth/kakao/callback")]
pub async fn finish_login(
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let parameters = of_query(&request)?;
    let now = wall_clock::now();
    let own = parameters.one("state").ok().flatten();
    let returned = callback::take(&state.store, own, browser(&request).as_ref(), now).await;
    let returned = returned.map_err(|error| match error {
        ReturnError::Refused(refusal) => {
            log_refusal(&request, refusal.word(), None);
            count("state_refused");
            Code::LoginStateInvalid.into()
        }
        ReturnError::Store(error) => Problem::from(error),
    })?;
    state.under_way.take(state.limits.address(&request));
    let login = returned.login;
    let client = state.clients.get(&login.client_id);
    let Some(client) = client.filter(|client| client.allows_redirect(&login.redirect_uri)) else {
        // It was disabled, or its redirect URI taken away, in the meantime.
        return Err(Code::ClientUnknown.into());
    };
    let outcome = log_in(&state, &request, &client, &parameters, &login, now).await;
    count(if outcome.is_ok() { "finished" } else { "denied" });
    let frontend = Frontend {
        redirect_uri: &login.redirect_uri,
        state: login.client_state.as_deref(),
        issuer: state.public_url(),
    };
    let mut response = frontend.answer(outcome)?;
    if !returned.has_others {
        set_cookie(&mut response, &dropped_cookie());
    }
    Ok(response)
}

/// The code for the frontend, if Kakao says who logged in.
async fn log_in(
    state: &State,
    request: &HttpRequest,
    client: &Client,
    parameters: &Parameters,
    login: &LoginRow,
    now: Timestamp,
) -> Result<Secret, Denial> {
    if let Some(error) = parameters.one("error")? {
        let description = parameters.one("error_description")?;
        return Err(callback::denial_of(&KakaoError::of_callback(error, description)));
    }
    let server_error = |description| Denial::new(ErrorWord::ServerError, description);
    let code = parameters
        .one("code")?
        .filter(|code| code.len() <= KAKAO_CODE_BYTES_MAX)
        .ok_or(server_error("Kakao returned neither a code nor an error."))?;
    let unavailable = Denial::new(ErrorWord::TemporarilyUnavailable, "Nobody can log in for now.");
    let kakao: &Kakao = state.kakao.as_ref().ok_or(unavailable)?;
    let asked =
        kakao.log_in(code, &callback_url(state), &login.code_verifier, &login.nonce, now).await;
    let user = asked.map_err(|error| {
        log_refusal(request, error.word(), Some(client));
        callback::denial_of(&error)
    })?;
    let admitted = callback::admit(&state.store, login, &user, new_roles(state.sellers), now).await;
    admitted.map_err(|error| {
        let problem = Problem::from(error);
        match problem.code.retry_after_ms() {
            Some(_) => unavailable,
            None => server_error("Something went wrong on our side."),
        }
    })
}

/// What somebody may do who logs in for the first time.
fn new_roles(sellers: SellerModel) -> &'static [Role] {
    match sellers {
        SellerModel::Everybody => &[Role::Bidder, Role::Seller],
        SellerModel::Approved => &[Role::Bidder],
    }
}

/// Where an answer goes that is not for a person.
struct Frontend<'a> {
    redirect_uri: &'a str,
    state: Option<&'a str>,
    issuer: &'a str,
}

impl Frontend<'_> {
    fn answer(&self, outcome: Result<Secret, Denial>) -> Result<HttpResponse, Problem> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        match &outcome {
            Ok(code) => {
                query.append_pair("code", code.expose());
            }
            Err(denial) => {
                query.append_pair("error", denial.error.word());
                query.append_pair("error_description", denial.description);
            }
        }
        if let Some(state) = self.state {
            query.append_pair("state", state);
        }
        // RFC 9207: so that a frontend of several servers knows whose answer it is.
        query.append_pair("iss", self.issuer);
        let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
        redirect(&format!("{}{joint}{}", self.redirect_uri, query.finish()))
    }
}

fn redirect(location: &str) -> Result<HttpResponse, Problem> {
    let location = HeaderValue::from_str(location).map_err(|_| Code::RedirectUriInvalid)?;
    Ok(HttpResponse::Found()
        .insert_header((header::LOCATION, location))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // A code or a state must not travel on to whatever the frontend loads.
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .finish())
}

fn of_query(request: &HttpRequest) -> Result<Parameters, Problem> {
    let parsed = Parameters::parse(request.query_string().as_bytes());
    parsed.ok_or_else(|| Problem::found(Code::InvalidQuery, "It is too long, or not UTF-8."))
}

/// Where Kakao sends the browser back to.
fn callback_url(state: &State) -> String {
    format!("{}/oauth/kakao/callback", state.public_url())
}

/// What the browser's cookie says, if it has one that can be ours.
fn browser(request: &HttpRequest) -> Option<Secret> {
    request
        .headers()
        .get_all(header::COOKIE)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .and_then(|(_, value)| Secret::parse(value))
}

fn kept_cookie(browser: &Secret) -> String {
    let value = browser.expose();
    format!("{COOKIE}={value}; Max-Age={LOGIN_LIFE_S}; Path=/; Secure; HttpOnly; SameSite=Lax")
}

fn dropped_cookie() -> String {
    format!("{COOKIE}=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax")
}

fn set_cookie(response: &mut HttpResponse, cookie: &str) {
    let value = HeaderValue::from_str(cookie).expect("base64url and words are visible ASCII");
    response.headers_mut().insert(header::SET_COOKIE, value);
}

fn count(outcome: &'static str) {
    counter!("hoga_logins_total", "outcome" => outcome).increment(1);
}
