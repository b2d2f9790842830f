//! Kakao. A placeholder with the agreed signatures; it checks no id_token.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// What is asked of Kakao's login page.
pub struct Ask<'a> {
    /// Ours.
    pub redirect_uri: &'a str,
    /// Ours.
    pub state: &'a str,
    /// Of the id_token.
    pub nonce: &'a str,
    /// S256.
    pub code_challenge: &'a str,
    /// Passed on from the frontend.
    pub prompt: Option<&'a str>,
}

/// Who logged in.
pub struct KakaoUser {
    /// The only link.
    pub id: i64,
    /// If given.
    pub nickname: Option<String>,
}

/// Why Kakao did not log somebody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.word())]
pub enum KakaoError {
    /// The user said no.
    Refused,
    /// Kakao wants to ask the user something, and was told not to.
    InteractionRequired,
    /// KOE320
    CodeInvalid,
    /// Down.
    Unavailable,
    /// Slow.
    TimedOut,
    /// Not what was agreed.
    Rubbish,
}

/// Whose turn it is to do something about a login that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The user's: `access_denied`.
    User,
    /// Nobody's; it may work in a moment: `temporarily_unavailable`.
    Moment,
    /// Those who run the exchange: `server_error`.
    Operator,
}

impl KakaoError {
    /// Of the `error` and `error_description` that Kakao sends the browser back with.
    pub fn of_callback(error: &str, _description: Option<&str>) -> KakaoError {
        match error {
            "access_denied" => KakaoError::Refused,
            "login_required" | "consent_required" | "interaction_required" => {
                KakaoError::InteractionRequired
            }
            "temporarily_unavailable" | "server_error" => KakaoError::Unavailable,
            _ => KakaoError::Rubbish,
        }
    }

    /// For a frontend.
    pub const fn word(&self) -> &'static str {
        match self {
            KakaoError::Refused => "kakao_refused",
            KakaoError::InteractionRequired => "kakao_interaction_required",
            KakaoError::CodeInvalid => "kakao_code_invalid",
            KakaoError::Unavailable => "kakao_unavailable",
            KakaoError::TimedOut => "kakao_timed_out",
            KakaoError::Rubbish => "kakao_rubbish",
        }
    }

    /// Whose turn it is.
    pub const fn blame(&self) -> Blame {
        match self {
            KakaoError::Refused | KakaoError::InteractionRequired | KakaoError::CodeInvalid => {
                Blame::User
            }
            KakaoError::Unavailable | KakaoError::TimedOut | KakaoError::Rubbish => Blame::Moment,
        }
    }
}

/// Kakao.
#[derive(Clone)]
pub struct Kakao {
    http: reqwest::Client,
    base_url: String,
    client_id: String,
}

impl Kakao {
    /// A placeholder.
    pub fn new(base_url: &str, client_id: &str) -> Kakao {
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .timeout(Duration::from_secs(3))
            .build()
            .unwrap_or_default();
        Kakao { http, base_url: base_url.to_owned(), client_id: client_id.to_owned() }
    }

    /// Where the browser goes.
    pub fn authorize_url(&self, ask: &Ask<'_>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("client_id", &self.client_id);
        query.append_pair("redirect_uri", ask.redirect_uri);
        query.append_pair("response_type", "code");
        query.append_pair("state", ask.state);
        query.append_pair("nonce", ask.nonce);
        query.append_pair("code_challenge", ask.code_challenge);
        query.append_pair("code_challenge_method", "S256");
        if let Some(prompt) = ask.prompt {
            query.append_pair("prompt", prompt);
        }
        format!("{}/oauth/authorize?{}", self.base_url, query.finish())
    }

    /// Who logged in.
    ///
    /// # Errors
    /// Nobody did.
    pub async fn log_in(
        &self,
        code: &str,
        redirect_uri: &str,
        code_verifier: &str,
        nonce: &str,
        now: Timestamp,
    ) -> Result<KakaoUser, KakaoError> {
        let _ = (nonce, now);
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", &self.client_id),
            ("redirect_uri", redirect_uri),
            ("code", code),
            ("code_verifier", code_verifier),
        ];
        let request = self.http.post(format!("{}/oauth/token", self.base_url)).form(&form);
        let tokens = json(request).await?;
        if tokens["error_code"] == "KOE320" {
            return Err(KakaoError::CodeInvalid);
        }
        let token = tokens["access_token"].as_str().ok_or(KakaoError::Rubbish)?;
        let request = self.http.get(format!("{}/v2/user/me", self.base_url)).bearer_auth(token);
        let user = json(request).await?;
        let nickname = user["kakao_account"]["profile"]["nickname"].as_str().map(str::to_owned);
        Ok(KakaoUser { id: user["id"].as_i64().ok_or(KakaoError::Rubbish)?, nickname })
    }
}

async fn json(request: reqwest::RequestBuilder) -> Result<serde_json::Value, KakaoError> {
    let failed = |error: reqwest::Error| {
        if error.is_connect() {
            KakaoError::Unavailable
        } else if error.is_timeout() {
            KakaoError::TimedOut
        } else {
            KakaoError::Rubbish
        }
    };
    request.send().await.map_err(failed)?.json().await.map_err(failed)
}
