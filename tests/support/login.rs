//! Logging in: a browser with its cookie, frontends, and a server whose Kakao is a stand-in.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hoga::config::Config;
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    callers::{Answer, Client},
    kakao::KakaoServer,
    server::{PUBLIC_URL, TestServer},
};

/// Where the frontend `shop` wants its codes.
pub const REDIRECT_URI: &str = "https://shop.example.com/callback";
/// Of PKCE.
pub const VERIFIER: &str = "a-verifier-that-only-the-frontend-knows-0123456789";

/// The parameters of a URL, or of its query.
pub fn parameters(url: &str) -> HashMap<String, String> {
    let query = url.split_once('?').map_or(url, |(_, query)| query);
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

pub fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// A server with the public client `shop`, and Kakao.
pub struct House {
    pub kakao: KakaoServer,
    pub server: TestServer,
}

impl House {
    pub async fn open() -> House {
        House::open_with(|_| {}).await
    }

    pub async fn open_with(change: impl FnOnce(&mut Config)) -> House {
        let kakao = KakaoServer::start();
        let server = TestServer::spawn_with(|config| {
            config.kakao = Some(kakao.app());
            change(config);
        });
        let house = House { kakao, server };
        house.register("shop", None, &[REDIRECT_URI]).await;
        house
    }

    /// Registers a client.
    pub async fn register(&self, id: &str, secret: Option<&str>, redirect_uris: &[&str]) {
        let hash = secret.map_or("NULL".to_owned(), |secret| {
            format!("'\\x{}'", const_hex::encode(Sha256::digest(secret)))
        });
        let uris = redirect_uris.join("','");
        let insert = format!(
            "INSERT INTO clients (id, name, secret_hash, redirect_uris, allowed_origins, created_at)
             VALUES ('{id}', '{id}', {hash}, ARRAY['{uris}'], '{{}}', now())"
        );
        self.server.database.rows(&insert).await;
        self.clients_changed().await;
    }

    /// The server reads its clients again.
    pub async fn clients_changed(&self) {
        let (clients, store) = (&self.server.state().clients, &self.server.store);
        clients.refresh(store).await.expect("refreshed");
    }

    pub fn browser(&self) -> Browser {
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        let http = http.redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        Browser { client: Client::new(http, self.server.base_url(), None), cookie: None }
    }

    /// Somebody logs in at `shop`: the code that it gets.
    pub async fn code(&self, kakao_id: i64) -> String {
        let mut browser = self.browser();
        let location = browser.starts().await;
        let answer = browser.get(&self.kakao.consent(&location, kakao_id).await).await;
        parameters(answer.header("location").expect("a way back"))["code"].clone()
    }

    /// Somebody logs in at `shop`: the tokens that it gets.
    pub async fn tokens(&self, kakao_id: i64) -> Value {
        let code = self.code(kakao_id).await;
        self.redeem(&code).await.with_status(200)
    }

    /// `shop` exchanges its code.
    pub async fn redeem(&self, code: &str) -> Answer {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("client_id", "shop"),
            ("code", code),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ])
        .await
    }

    /// `shop` refreshes.
    pub async fn refresh(&self, token: &Value) -> Answer {
        let token = token.as_str().expect("a refresh token");
        let form =
            [("grant_type", "refresh_token"), ("client_id", "shop"), ("refresh_token", token)];
        self.token(&form).await
    }

    pub async fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.form("/oauth/token", form, None).await
    }

    /// A form, by a client that may use HTTP Basic.
    pub async fn form(
        &self,
        path: &str,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Answer {
        let anyone = self.server.anonymous();
        let mut request = anyone.request(Method::POST, path);
        if let Some((id, secret)) = basic {
            request = request.basic_auth(id, Some(secret));
        }
        anyone.send(request.form(form)).await
    }

    /// Why the only family there is was revoked.
    pub async fn revoked_because(&self) -> String {
        let rows = self.server.database.rows("SELECT revoked_because FROM refresh_families").await;
        assert_eq!(rows.len(), 1);
        rows[0][0].clone()
    }
}

/// A person's browser: it keeps its cookie, and follows nothing by itself.
pub struct Browser {
    pub client: Client,
    /// The value of `__Host-hoga_login`.
    pub cookie: Option<String>,
}

impl Browser {
    /// A URL of the server.
    pub async fn get(&mut self, url: &str) -> Answer {
        let path = url.strip_prefix(PUBLIC_URL).unwrap_or(url);
        let mut request = self.client.request(Method::GET, path);
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("theme=dark; __Host-hoga_login={cookie}"));
        }
        let answer = self.client.send(request).await;
        if let Some(set) = answer.header("set-cookie") {
            let value = set.strip_prefix("__Host-hoga_login=").expect("our cookie");
            let value = value.split(';').next().unwrap_or_default();
            self.cookie = Some(value.to_owned()).filter(|value| !value.is_empty());
        }
        answer
    }

    /// `/oauth/authorize` as `shop` would ask, with some parameters changed, or left out by "".
    pub async fn asks(&mut self, changes: &[(&str, &str)]) -> Answer {
        let challenge = challenge_of(VERIFIER);
        let usual = [
            ("response_type", "code"),
            ("client_id", "shop"),
            ("redirect_uri", REDIRECT_URI),
            ("state", "the shop's own"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let kept = usual.iter().filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
        let pairs: Vec<(&str, &str)> =
            kept.chain(changes.iter().filter(|(_, value)| !value.is_empty())).copied().collect();
        self.get(&format!("/oauth/authorize?{}", encoded(&pairs))).await
    }

    /// Begins a login: where at Kakao the browser is sent.
    pub async fn starts(&mut self) -> String {
        let answer = self.asks(&[]).await;
        assert_eq!(answer.status, 302, "{}", answer.text());
        answer.header("location").expect("a way to Kakao").to_owned()
    }
}
