//! Kakao Login: where to send a browser, who came back, and unlinking.
//!
//! Owns what is said to Kakao and what is believed of its answers. Must never link anybody by
//! anything but Kakao's own id, follow a redirect, or let a code, a token, a key or a nickname into
//! an error, a log or a `Debug`.

mod error;
mod id_token;
mod jwks;
mod unlinks;
mod wire;

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    EmptyExtraTokenFields, EndpointNotSet, EndpointSet, ExtraTokenFields, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, StandardRevocableToken,
    StandardTokenIntrospectionResponse, StandardTokenResponse, TokenResponse, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenType},
    http::{self, header},
    reqwest,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::{
    error::{Blame, IdTokenFault, KakaoCode, KakaoError, Place, Rubbish},
    jwks::UNKNOWN_REFETCH_AFTER_S,
    unlinks::{Unlinks, WorkedOff},
};
use self::{id_token::Expected, jwks::Jwks, wire::Wire};
use crate::domain::time::Timestamp;

/// What is asked for: the id_token, and how others see the user.
const SCOPES: [&str; 2] = ["openid", "profile_nickname"];
/// Characters of a nickname that are taken over.
const NICKNAME_CHARS_MAX: usize = 30;
/// How the admin key is sent, by us and to us.
const ADMIN_SCHEME: &str = "KakaoAK ";

/// Where Kakao is. Without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrls {
    /// Its authorization server, as browsers reach it.
    pub browser: String,
    /// Its authorization server, as we reach it.
    pub auth: String,
    /// Its API, as we reach it.
    pub api: String,
    /// What its id_tokens say of where they come from.
    pub issuer: String,
}

impl BaseUrls {
    /// Kakao itself.
    pub fn kakao() -> BaseUrls {
        let auth = "https://kauth.kakao.com".to_owned();
        BaseUrls {
            browser: auth.clone(),
            issuer: auth.clone(),
            auth,
            api: "https://kapi.kakao.com".to_owned(),
        }
    }

    /// A stand-in that browsers reach at one address and we perhaps at another.
    pub fn stand_in(public: &str, private: &str) -> BaseUrls {
        BaseUrls {
            browser: public.to_owned(),
            auth: private.to_owned(),
            api: private.to_owned(),
            issuer: public.to_owned(),
        }
    }
}

/// How long Kakao is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// A connection stands by then, or not at all.
    pub connect: Duration,
    /// From the first byte out to the last byte in.
    pub call: Duration,
    /// A login is three calls at most; all of them together take no longer.
    pub login: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(1),
            call: Duration::from_secs(3),
            login: Duration::from_secs(5),
        }
    }
}

/// What [`Kakao::new`] needs.
pub struct KakaoConfig {
    /// Where it is.
    pub base_urls: BaseUrls,
    /// The REST API key.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Of the app; without it nobody can be unlinked, and no webhook is believed.
    pub admin_key: Option<String>,
    /// The number that webhooks name the app by, if it is to be checked.
    pub app_id: Option<i64>,
    /// How long each step may take.
    pub timeouts: Timeouts,
}

/// The adapter cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An address is none.
    #[error("Kakao's address is not a URL")]
    Url(#[from] oauth2::url::ParseError),
    /// No TLS.
    #[error("no HTTP client for Kakao can be built")]
    Http(#[from] reqwest::Error),
}

/// What the browser is sent to Kakao with.
pub struct Ask<'a> {
    /// Where Kakao sends it back to: ours, registered at Kakao.
    pub redirect_uri: &'a str,
    /// Comes back as it is.
    pub state: &'a str,
    /// Comes back in the id_token.
    pub nonce: &'a str,
    /// S256 of the verifier that the code will be exchanged with.
    pub code_challenge: &'a str,
    /// Such as `login`, to ask even who is logged in at Kakao.
    pub prompt: Option<&'a str>,
}

/// Somebody, as Kakao knows them.
#[derive(Clone, PartialEq, Eq)]
pub struct KakaoUser {
    /// The only thing to link by.
    pub id: i64,
    /// How they call themselves: 1 to 30 characters without control characters.
    pub nickname: Option<String>,
}

impl fmt::Debug for KakaoUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KakaoUser(..)")
    }
}

/// The part of a token answer that OpenID Connect adds.
#[derive(Deserialize, Serialize)]
struct WithIdToken {
    id_token: Option<String>,
}

impl fmt::Debug for WithIdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithIdToken(..)")
    }
}

impl ExtraTokenFields for WithIdToken {}

type Tokens = StandardTokenResponse<WithIdToken, BasicTokenType>;
type OauthClient = Client<
    BasicErrorResponse,
    Tokens,
    StandardTokenIntrospectionResponse<EmptyExtraTokenFields, BasicTokenType>,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

#[derive(Deserialize)]
struct UserData {
    id: i64,
    kakao_account: Option<Account>,
}

#[derive(Deserialize)]
struct Account {
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    nickname: Option<String>,
}

#[derive(Deserialize)]
struct Unlinked {
    id: i64,
}

/// Kakao, for our app. Cheap to clone.
#[derive(Clone)]
pub struct Kakao {
    inner: Arc<Inner>,
}

struct Inner {
    oauth: OauthClient,
    base_urls: BaseUrls,
    client_id: String,
    admin_key: Option<String>,
    app_id: Option<i64>,
    wire: Wire,
    jwks: Jwks,
    login_timeout: Duration,
}

impl fmt::Debug for Kakao {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kakao({})", self.inner.base_urls.auth)
    }
}

impl Kakao {
    /// The adapter; nothing is asked yet.
    ///
    /// # Errors
    /// When an address is no URL, or there is no TLS.
    pub fn new(config: KakaoConfig) -> Result<Kakao, SetupError> {
        let KakaoConfig { base_urls, client_id, client_secret, admin_key, app_id, timeouts } =
            config;
        let oauth = Client::new(ClientId::new(client_id.clone()))
            .set_client_secret(ClientSecret::new(client_secret))
            .set_auth_uri(AuthUrl::new(format!("{}/oauth/authorize", base_urls.browser))?)
            .set_token_uri(TokenUrl::new(format!("{}/oauth/token", base_urls.auth))?)
            .set_auth_type(AuthType::RequestBody);
        let wire = Wire::new(base_urls == BaseUrls::kakao(), timeouts)?;
        let jwks = Jwks::new(wire.clone(), format!("{}/.well-known/jwks.json", base_urls.auth));
        let inner = Inner {
            oauth,
            base_urls,
            client_id,
            admin_key,
            app_id,
            wire,
            jwks,
            login_timeout: timeouts.login,
        };
        Ok(Kakao { inner: Arc::new(inner) })
    }

    /// Where to send the browser.
    pub fn authorize_url(&self, ask: &Ask<'_>) -> String {
        let state = CsrfToken::new(ask.state.to_owned());
        let request = self
            .inner
            .oauth
            .authorize_url(|| state)
            .add_scopes(SCOPES.map(|scope| Scope::new(scope.to_owned())))
            // The crate makes challenges from verifiers alone; ours has been made already.
            .add_extra_param("code_challenge", ask.code_challenge)
            .add_extra_param("code_challenge_method", "S256")
            .add_extra_param("redirect_uri", ask.redirect_uri)
            .add_extra_param("nonce", ask.nonce);
        let request = match ask.prompt {
            Some(prompt) => request.add_extra_param("prompt", prompt),
            None => request,
        };
        request.url().0.into()
    }

    /// Who came back with this code.
    ///
    /// # Errors
    /// What Kakao answered instead, or what does not hold of its answer.
    pub async fn log_in(
        &self,
        code: &str,
        redirect_uri: &str,
        code_verifier: &str,
        nonce: &str,
        now: Timestamp,
    ) -> Result<KakaoUser, KakaoError> {
        let logging_in = async {
            let tokens = self.exchange(code, redirect_uri, code_verifier).await?;
            let sub = self.check_id_token(&tokens, nonce, now).await?;
            let user = self.user_data(tokens.access_token().secret()).await?;
            if sub == user.id.to_string() { Ok(user) } else { Err(KakaoError::AnotherUser) }
        };
        let in_time = tokio::time::timeout(self.inner.login_timeout, logging_in).await;
        in_time.unwrap_or(Err(KakaoError::TimedOut(Place::Login)))
    }

    async fn exchange(
        &self,
        code: &str,
        redirect_uri: &str,
        code_verifier: &str,
    ) -> Result<Tokens, KakaoError> {
        let place = Place::Token;
        let redirect_uri =
            RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| KakaoError::RedirectMismatch)?;
        let call = |request| self.inner.wire.call(place, request);
        let exchanged = self
            .inner
            .oauth
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_redirect_uri(std::borrow::Cow::Owned(redirect_uri))
            .set_pkce_verifier(PkceCodeVerifier::new(code_verifier.to_owned()))
            .request_async(&call)
            .await;
        // What could not be read is not repeated: there may be tokens in it.
        exchanged.map_err(|error| match error {
            RequestTokenError::Request(error) => error,
            RequestTokenError::ServerResponse(_)
            | RequestTokenError::Parse(..)
            | RequestTokenError::Other(_) => {
                KakaoError::Rubbish { place, what: Rubbish::Malformed }
            }
        })
    }

    async fn check_id_token(
        &self,
        tokens: &Tokens,
        nonce: &str,
        now: Timestamp,
    ) -> Result<String, KakaoError> {
        let invalid = KakaoError::IdTokenInvalid;
        let token = tokens.extra_fields().id_token.as_deref();
        let token = token.ok_or(invalid(IdTokenFault::Missing))?;
        let kid = id_token::kid_of(token).map_err(invalid)?;
        let key = self.inner.jwks.key(&kid, now).await?;
        let (issuer, client_id) = (&self.inner.base_urls.issuer, &self.inner.client_id);
        id_token::check(token, &key, &Expected { issuer, client_id, nonce, now }).map_err(invalid)
    }

    async fn user_data(&self, access_token: &str) -> Result<KakaoUser, KakaoError> {
        let request = http::Request::get(format!("{}/v2/user/me", self.inner.base_urls.api))
            .header(header::AUTHORIZATION, format!("Bearer {access_token}"));
        let data: UserData = self.inner.wire.ask(Place::User, request, Vec::new()).await?;
        let profile = data.kakao_account.and_then(|account| account.profile);
        let nickname = profile.and_then(|profile| profile.nickname).and_then(|name| tidied(&name));
        Ok(KakaoUser { id: data.id, nickname })
    }

    /// Takes the link between our app and this user away; one that is gone already is fine.
    ///
    /// # Errors
    /// When Kakao cannot be asked, or does not accept the admin key.
    pub async fn unlink(&self, kakao_id: i64) -> Result<(), KakaoError> {
        let place = Place::Unlink;
        let key = self.inner.admin_key.as_ref().ok_or(KakaoError::AdminKeyWrong)?;
        let request = http::Request::post(format!("{}/v1/user/unlink", self.inner.base_urls.api))
            .header(header::AUTHORIZATION, format!("{ADMIN_SCHEME}{key}"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded;charset=utf-8");
        let form = format!("target_id_type=user_id&target_id={kakao_id}").into_bytes();
        match self.inner.wire.ask::<Unlinked>(place, request, form).await {
            Ok(unlinked) if unlinked.id == kakao_id => Ok(()),
            Ok(_) => Err(KakaoError::Rubbish { place, what: Rubbish::Malformed }),
            Err(KakaoError::Other(code)) if code.is_not_linked() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether an `Authorization` header carries our app's admin key, as Kakao's webhook does.
    pub fn is_admin(&self, authorization_header: &str) -> bool {
        let Some(key) = &self.inner.admin_key else { return false };
        let Some(given) = authorization_header.strip_prefix(ADMIN_SCHEME) else { return false };
        // Of digests, so that not even the length is told by the time it takes.
        let (given, key) = (Sha256::digest(given.trim()), Sha256::digest(key));
        verify_slices_are_equal(&given, &key).is_ok()
    }

    /// Whether a webhook speaks of our app, as far as we know its number.
    pub fn is_app(&self, app_id: i64) -> bool {
        self.inner.app_id.is_none_or(|ours| ours == app_id)
    }
}

/// A nickname that can be shown, if anything is left of it.
fn tidied(nickname: &str) -> Option<String> {
    let kept = nickname.trim().chars().filter(|c| !c.is_control());
    let nickname: String = kept.take(NICKNAME_CHARS_MAX).collect();
    let nickname = nickname.trim_end();
    (!nickname.is_empty()).then(|| nickname.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kakao() -> Kakao {
        Kakao::new(KakaoConfig {
            base_urls: BaseUrls::kakao(),
            client_id: "rest-key".into(),
            client_secret: "client-secret".into(),
            admin_key: Some("admin-secret".into()),
            app_id: Some(77),
            timeouts: Timeouts::default(),
        })
        .expect("an adapter")
    }

    #[test]
    fn the_browser_is_sent_with_state_nonce_challenge_and_openid() {
        let url = kakao().authorize_url(&Ask {
            redirect_uri: "https://hoga.test/oauth/kakao/callback",
            state: "st&te",
            nonce: "n once",
            code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            prompt: Some("login"),
        });
        let url = oauth2::url::Url::parse(&url).expect("a URL");
        assert_eq!(url.host_str(), Some("kauth.kakao.com"));
        assert_eq!(url.path(), "/oauth/authorize");
        let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        pairs.sort();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(
            pairs,
            [
                ("client_id", "rest-key"),
                ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
                ("code_challenge_method", "S256"),
                ("nonce", "n once"),
                ("prompt", "login"),
                ("redirect_uri", "https://hoga.test/oauth/kakao/callback"),
                ("response_type", "code"),
                ("scope", "openid profile_nickname"),
                ("state", "st&te"),
            ]
        );
    }

    #[test]
    fn only_our_admin_key_is_kakaos() {
        let kakao = kakao();
        assert!(kakao.is_admin("KakaoAK admin-secret"));
        for header in ["", "KakaoAK", "KakaoAK ", "KakaoAK admin-secre", "Bearer admin-secret"] {
            assert!(!kakao.is_admin(header), "{header}");
        }
        assert!(kakao.is_app(77) && !kakao.is_app(78));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let user = KakaoUser { id: 1_234_567, nickname: Some("민지".into()) };
        let printed = format!("{:?} {user:?}", kakao());
        for secret in ["secret", "rest-key", "1234567", "민지"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }

    #[test]
    fn a_nickname_is_short_and_has_no_control_characters() {
        assert_eq!(tidied(" 민지\u{0} ").as_deref(), Some("민지"));
        assert_eq!(tidied(&"가".repeat(40)).map(|name| name.chars().count()), Some(30));
        assert_eq!(tidied("\u{7}\n "), None);
    }
}
