//! The stand-in for Kakao by itself: that it answers as Kakao does, so that what works with it
//! works there.

use hoga::embedded::kakao::Endpoint;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::support::kakao::{
    self, ADMIN_KEY, CLIENT_ID, CLIENT_SECRET, KakaoServer, MINJI, browser, parameter, redirect_uri,
};

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// An authorize URL with some parameters changed, added or (empty) left out.
fn authorize_url(server: &KakaoServer, changes: &[(&str, &str)]) -> String {
    let redirect_uri = redirect_uri();
    let mut parameters = vec![
        ("client_id", CLIENT_ID),
        ("redirect_uri", &redirect_uri),
        ("response_type", "code"),
        ("scope", "openid profile_nickname"),
        ("state", "as it came: ?&=é"),
        ("nonce", "n"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    for change in changes {
        parameters.retain(|(name, _)| *name != change.0);
        parameters.push(*change);
    }
    parameters.retain(|(_, value)| !value.is_empty());
    let url = format!("{}/oauth/authorize", server.base_url());
    oauth2::url::Url::parse_with_params(&url, parameters).unwrap().into()
}

async fn answered(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn code(server: &KakaoServer) -> String {
    let page = kakao::open(&authorize_url(server, &[])).await;
    parameter(&page.press(&MINJI.to_string()).await, "code").unwrap()
}

fn token_request(server: &KakaoServer, changes: &[(&str, &str)]) -> RequestBuilder {
    let redirect_uri = redirect_uri();
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("redirect_uri", &redirect_uri),
        ("code_verifier", VERIFIER),
    ];
    form.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    form.extend(changes);
    browser().post(format!("{}/oauth/token", server.base_url())).form(&form)
}

/// Tokens for minji.
async fn tokens(server: &KakaoServer) -> Value {
    let (status, tokens) = answered(token_request(server, &[("code", &code(server).await)])).await;
    assert_eq!(status, 200, "{tokens}");
    tokens
}

fn call(server: &KakaoServer, path: &str, authorization: &str) -> RequestBuilder {
    browser().post(format!("{}{path}", server.base_url())).header("authorization", authorization)
}

#[tokio::test]
async fn the_page_says_what_it_is_and_works_without_scripts() {
    let server = KakaoServer::start();
    let answer = browser().get(authorize_url(&server, &[])).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let html = answer.text().await.unwrap();
    for text in ["여기는 카카오가 아닙니다", "This is not Kakao", "<html lang=\"ko\">", "민지"]
    {
        assert!(html.contains(text), "{text} is not in {html}");
    }
    for foreign in ["<script", "http://", "https://", "onclick", "src="] {
        assert!(!html.contains(foreign), "{foreign} is in {html}");
    }
}

#[tokio::test]
async fn a_choice_brings_the_state_back_to_the_letter_and_counts_once() {
    let server = KakaoServer::start();
    let page = kakao::open(&authorize_url(&server, &[])).await;
    let back = page.press(&MINJI.to_string()).await;
    assert_eq!(parameter(&back, "state").as_deref(), Some("as it came: ?&=é"));
    let form = [("ticket", page.ticket()), ("choice", "refuse")];
    let again = browser().post(page.action()).form(&form).send().await.unwrap();
    assert_eq!(again.status(), 400);
}

#[tokio::test]
async fn nobody_is_sent_to_where_the_app_did_not_register() {
    let server = KakaoServer::start();
    let (uri, plain) = (redirect_uri(), [("code_challenge_method", "plain")]);
    let (longer, slash) = (format!("{uri}/more"), format!("{uri}/"));
    let refused = [
        (vec![("client_id", "another-app")], "KOE101"),
        (vec![("client_id", "")], "KOE101"),
        (vec![("redirect_uri", longer.as_str())], "KOE006"),
        (vec![("redirect_uri", slash.as_str())], "KOE006"),
        (vec![("redirect_uri", "https://evil.test/")], "KOE006"),
        (vec![("redirect_uri", "")], "KOE006"),
        (vec![("response_type", "token")], "KOE001"),
        (plain.to_vec(), "KOE001"),
        (vec![("code_challenge_method", "")], "KOE001"),
        (vec![("code_challenge", "short")], "KOE001"),
    ];
    for (changes, code) in refused {
        let answer = browser().get(authorize_url(&server, &changes)).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{changes:?}: {}", answer.status());
        assert!(!answer.headers().contains_key("location"));
        assert!(answer.text().await.unwrap().contains(code), "{changes:?}");
    }
}

#[tokio::test]
async fn a_prompt_of_none_is_answered_without_a_page() {
    let server = KakaoServer::start();
    let url = authorize_url(&server, &[("prompt", "none")]);
    let answer = browser().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 302);
    let location = answer.headers()["location"].to_str().unwrap();
    assert!(location.contains("error=login_required"), "{location}");
}

#[tokio::test]
async fn tokens_look_like_kakaos() {
    let server = KakaoServer::start();
    let tokens = tokens(&server).await;
    assert_eq!(tokens["token_type"], "bearer");
    assert_eq!(tokens["expires_in"], 21_599);
    assert_eq!(tokens["refresh_token_expires_in"], 5_183_999);
    assert_eq!(tokens["scope"], "openid profile_nickname");
    for name in ["access_token", "refresh_token", "id_token"] {
        assert!(tokens[name].is_string(), "{name}");
    }
}

#[tokio::test]
async fn without_the_scope_openid_there_is_no_id_token() {
    let server = KakaoServer::start();
    let page = kakao::open(&authorize_url(&server, &[("scope", "profile_nickname")])).await;
    let code = parameter(&page.press(&MINJI.to_string()).await, "code").unwrap();
    let (_, tokens) = answered(token_request(&server, &[("code", &code)])).await;
    assert!(tokens["access_token"].is_string() && tokens["id_token"].is_null(), "{tokens}");
}

#[tokio::test]
async fn a_refused_exchange_has_kakaos_code() {
    let server = KakaoServer::start();
    let refused = [
        (("client_id", "another-app"), 401, "invalid_client", "KOE101"),
        (("client_secret", "guessed"), 401, "invalid_client", "KOE010"),
        (("redirect_uri", "https://evil.test/"), 400, "invalid_grant", "KOE303"),
        (("code_verifier", "another"), 400, "invalid_grant", "KOE320"),
        (("code", "guessed"), 400, "invalid_grant", "KOE320"),
    ];
    for (change, status, error, koe) in refused {
        let code = code(&server).await;
        let changes =
            if change.0 == "code" { vec![change] } else { vec![("code", &*code), change] };
        let (answered_with, complaint) = answered(token_request(&server, &changes)).await;
        assert_eq!(answered_with, status, "{complaint}");
        assert_eq!((&complaint["error"], &complaint["error_code"]), (&error.into(), &koe.into()));
    }
}

#[tokio::test]
async fn a_refresh_leaves_the_refresh_token_out() {
    let server = KakaoServer::start();
    let tokens = tokens(&server).await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let refresh = |token: &str| {
        let changes = [("grant_type", "refresh_token"), ("refresh_token", token)];
        answered(token_request(&server, &changes))
    };
    for _ in 0..2 {
        let (status, refreshed) = refresh(refresh_token).await;
        assert_eq!(status, 200);
        assert!(refreshed["access_token"].is_string() && refreshed["id_token"].is_string());
        assert!(refreshed["refresh_token"].is_null());
    }
    let (status, complaint) = refresh("guessed").await;
    assert_eq!((status, &complaint["error_code"]), (StatusCode::BAD_REQUEST, &"KOE322".into()));
}

#[tokio::test]
async fn an_access_token_counts_until_it_expires_or_its_owner_logs_out() {
    let server = KakaoServer::start();
    let tokens = tokens(&server).await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let (status, user) = answered(call(&server, "/v2/user/me", &bearer)).await;
    assert_eq!((status, &user["id"]), (StatusCode::OK, &MINJI.into()));
    assert_eq!(user["kakao_account"]["profile"]["nickname"], "민지");
    let (_, out) = answered(call(&server, "/v1/user/logout", &bearer)).await;
    assert_eq!(out["id"], MINJI);
    let (status, complaint) = answered(call(&server, "/v2/user/me", &bearer)).await;
    assert_eq!((status, &complaint["code"]), (StatusCode::UNAUTHORIZED, &(-401).into()));
    assert!(server.stand_in.is_linked(MINJI), "logging out is not unlinking");

    server.stand_in.set_access_token_life_s(0);
    let expired = self::tokens(&server).await;
    let bearer = format!("Bearer {}", expired["access_token"].as_str().unwrap());
    let (status, _) = answered(call(&server, "/v2/user/me", &bearer)).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn the_admin_key_unlinks_whom_it_names() {
    let server = KakaoServer::start();
    let tokens = tokens(&server).await;
    let admin = format!("KakaoAK {ADMIN_KEY}");
    let unlink = |authorization: &str, form: &[(&str, &str)]| {
        answered(call(&server, "/v1/user/unlink", authorization).form(form))
    };
    let minji = MINJI.to_string();
    let target = [("target_id_type", "user_id"), ("target_id", minji.as_str())];
    assert_eq!(unlink("KakaoAK guessed", &target).await.1["code"], -401);
    assert_eq!(unlink(&admin, &[]).await.1["code"], -2);
    assert_eq!(unlink(&admin, &target).await.1["id"], MINJI);
    assert_eq!(unlink(&admin, &target).await.1["code"], -101, "linked no more");
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let (status, _) = answered(call(&server, "/v2/user/me", &bearer)).await;
    assert_eq!(status, 401, "its tokens end with the link");
}

#[tokio::test]
async fn the_discovery_document_leads_to_everything() {
    let server = KakaoServer::start();
    let base = server.base_url();
    let get = async |url: String| -> Response { browser().get(url).send().await.unwrap() };
    let document: Value =
        get(format!("{base}/.well-known/openid-configuration")).await.json().await.unwrap();
    assert_eq!(document["issuer"], base);
    assert_eq!(document["id_token_signing_alg_values_supported"], serde_json::json!(["RS256"]));
    let keys = |url: &Value| get(url.as_str().unwrap().to_owned());
    let before: Value = keys(&document["jwks_uri"]).await.json().await.unwrap();
    server.stand_in.rotate_keys().unwrap();
    let after: Value = keys(&document["jwks_uri"]).await.json().await.unwrap();
    assert_eq!(after["keys"].as_array().unwrap().len(), 2);
    assert_eq!(after["keys"][1], before["keys"][0], "the one before stays known");
    assert_ne!(after["keys"][0]["kid"], before["keys"][0]["kid"]);
    assert_eq!(server.stand_in.requests(Endpoint::Keys), 2);
    assert_eq!(get(format!("{base}/v9/nothing")).await.status(), 404);
}
