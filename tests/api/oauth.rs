//! Logging in, and everything that somebody may try instead.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use hoga::embedded::kakao::{Endpoint, Fault};
use hoga::identity::oauth::{CODE_LIFE_S, LOGIN_LIFE_S};
use hoga::wall_clock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, TestServer, an_auction,
    login::{House, REDIRECT_URI, VERIFIER, challenge_of, parameters},
    logs,
    server::PUBLIC_URL,
};

/// The claims of an access token, unchecked.
fn claims(tokens: &Value) -> Value {
    let token = tokens["access_token"].as_str().unwrap();
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// An error in the form of RFC 6749.
#[track_caller]
fn denied(answer: &Answer, status: u16, error: &str) {
    let body = answer.with_status(status);
    assert_eq!(body["error"], error, "{body}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// What a frontend hears in its redirect URI, which must be the registered one.
#[track_caller]
fn heard(answer: &Answer) -> std::collections::HashMap<String, String> {
    assert_eq!(answer.status, 302, "{}", answer.text());
    let location = answer.header("location").unwrap();
    assert!(location.starts_with(&format!("{REDIRECT_URI}?")), "{location}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let heard = parameters(location);
    assert_eq!(heard["iss"], PUBLIC_URL);
    heard
}

/// A problem, and no way anywhere.
#[track_caller]
fn led_nowhere(answer: &Answer, status: u16, code: &str) {
    answer.refused(status, code);
    assert_eq!(answer.header("location"), None);
}

#[tokio::test]
async fn somebody_logs_in_calls_refreshes_and_logs_out() {
    let house = House::open().await;
    let mut browser = house.browser();
    let location = browser.starts().await;
    let asked = house.kakao.asked(&location);
    assert_eq!(asked["redirect_uri"], format!("{PUBLIC_URL}/oauth/kakao/callback"));
    assert_eq!(
        (asked["response_type"].as_str(), asked["code_challenge_method"].as_str()),
        ("code", "S256")
    );
    for secret in ["state", "nonce", "code_challenge"] {
        assert_eq!(asked[secret].len(), 43, "{secret} has 256 bits");
    }
    assert_ne!(asked["code_challenge"], challenge_of(VERIFIER), "our own, not the frontend's");

    let back = browser.get(&house.kakao.consent(&location, 7).await).await;
    let answer = heard(&back);
    assert_eq!(answer["state"], "the shop's own");
    assert_eq!(browser.cookie, None, "it is not needed any more");

    let redeemed = house.redeem(&answer["code"]).await;
    let tokens = redeemed.with_status(200);
    assert_eq!(redeemed.header("cache-control"), Some("no-store"));
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(900)));
    let claims = claims(&tokens);
    assert_eq!((&claims["iss"], &claims["client_id"]), (&json!(PUBLIC_URL), &json!("shop")));
    assert_eq!(claims["roles"], json!(["bidder", "seller"]));
    let minji = house.server.caller_with(tokens["access_token"].as_str().unwrap());
    minji.post("/v1/auctions", &an_auction()).await.with_status(201);

    let refreshed = house.refresh(&tokens["refresh_token"]).await.with_status(200);
    assert_ne!(refreshed["refresh_token"], tokens["refresh_token"]);
    let token = refreshed["refresh_token"].as_str().unwrap();
    let revoked =
        house.form("/oauth/revoke", &[("client_id", "shop"), ("token", token)], None).await;
    assert_eq!(revoked.status, 200);
    denied(&house.refresh(&refreshed["refresh_token"]).await, 400, "invalid_grant");
    assert_eq!(house.revoked_because().await, "logout");
}

#[tokio::test]
async fn the_same_kakao_account_is_the_same_user_and_one_that_left_starts_anew() {
    let house = House::open().await;
    let first = claims(&house.tokens(7).await);
    assert_eq!(claims(&house.tokens(7).await)["sub"], first["sub"]);
    assert_ne!(claims(&house.tokens(8).await)["sub"], first["sub"]);
    let user = first["sub"].as_str().unwrap();
    let nickname = format!("SELECT nickname FROM users WHERE id = '{user}'");
    assert_eq!(house.server.database.rows(&nickname).await, [["카카오 7"]]);
    let leave = format!("UPDATE users SET kakao_id = NULL, left_at = now() WHERE id = '{user}'");
    house.server.database.rows(&leave).await;
    assert_ne!(claims(&house.tokens(7).await)["sub"], first["sub"]);
}

#[tokio::test]
async fn where_sellers_are_approved_a_new_user_only_bids() {
    let house =
        House::open_with(|config| config.sellers = hoga::config::SellerModel::Approved).await;
    assert_eq!(claims(&house.tokens(7).await)["roles"], json!(["bidder"]));
}

#[tokio::test]
async fn the_metadata_names_what_is_there() {
    let house = House::open().await;
    let anyone = house.server.anonymous();
    let metadata = anyone.get("/.well-known/oauth-authorization-server").await.with_status(200);
    assert_eq!(metadata["issuer"], PUBLIC_URL);
    assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    for endpoint in ["authorization_endpoint", "token_endpoint", "revocation_endpoint", "jwks_uri"]
    {
        let url = metadata[endpoint].as_str().unwrap();
        let path = url.strip_prefix(PUBLIC_URL).unwrap();
        assert!(hoga::http::openapi::document()["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test]
async fn the_cookie_is_for_this_host_and_no_script() {
    let house = House::open().await;
    let mut browser = house.browser();
    let started = browser.asks(&[]).await;
    let cookie = started.header("set-cookie").unwrap().to_owned();
    assert!(cookie.starts_with("__Host-hoga_login="), "{cookie}");
    for attribute in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"] {
        assert!(cookie.split("; ").any(|part| part == attribute), "{attribute}: {cookie}");
    }
    assert!(!cookie.contains("Domain"));
    let value = browser.cookie.clone().unwrap();
    let kept = house.server.database.rows("SELECT logins::text FROM logins").await;
    assert!(!format!("{kept:?}").contains(&value), "only its hash is kept");
    let back =
        browser.get(&house.kakao.consent(started.header("location").unwrap(), 7).await).await;
    let dropped = back.header("set-cookie").unwrap();
    assert!(
        dropped.contains("Max-Age=0") && dropped.contains("Secure") && dropped.contains("HttpOnly")
    );
}

#[tokio::test]
async fn two_tabs_of_a_browser_log_in_side_by_side() {
    let house = House::open().await;
    let mut browser = house.browser();
    let first = browser.starts().await;
    let cookie = browser.cookie.clone();
    let second = browser.starts().await;
    assert_eq!(browser.cookie, cookie, "it stays");
    for location in [second, first] {
        let answer = heard(&browser.get(&house.kakao.consent(&location, 7).await).await);
        house.redeem(&answer["code"]).await.with_status(200);
    }
    assert_eq!(browser.cookie, None, "the last one takes it along");
}

#[tokio::test]
async fn a_cookie_that_cannot_be_ours_is_replaced() {
    let house = House::open().await;
    let mut browser = house.browser();
    browser.cookie = Some("guessable".into());
    browser.starts().await;
    assert_eq!(browser.cookie.map(|cookie| cookie.len()), Some(43));
}

#[tokio::test]
async fn a_state_that_is_missing_malformed_or_unknown_leads_nowhere() {
    let house = House::open().await;
    let mut browser = house.browser();
    browser.starts().await;
    let unknown = "A".repeat(43);
    for query in [
        "code=x",
        "code=x&state=",
        "code=x&state=short",
        &format!("code=x&state={unknown}"),
        "error=access_denied",
    ] {
        let answer = browser.get(&format!("/oauth/kakao/callback?{query}")).await;
        led_nowhere(&answer, 400, "login_state_invalid");
    }
    let answer = browser.get("/oauth/kakao/callback?code=%FF").await;
    led_nowhere(&answer, 400, "invalid_query");
}

#[tokio::test]
async fn a_state_counts_once() {
    let house = House::open().await;
    let mut browser = house.browser();
    let location = browser.starts().await;
    let cookie = browser.cookie.clone();
    let callback = house.kakao.consent(&location, 7).await;
    heard(&browser.get(&callback).await);
    browser.cookie = cookie;
    led_nowhere(&browser.get(&callback).await, 400, "login_state_invalid");
    led_nowhere(
        &browser.get(&house.kakao.consent(&location, 7).await).await,
        400,
        "login_state_invalid",
    );
}

#[tokio::test]
async fn a_state_of_another_browser_leads_nowhere_and_is_spent() {
    let house = House::open().await;
    let (mut attacker, mut victim) = (house.browser(), house.browser());
    let location = attacker.starts().await;
    let callback = house.kakao.consent(&location, 666).await;
    led_nowhere(&victim.get(&callback).await, 400, "login_state_invalid");
    let second = attacker.starts().await;
    victim.starts().await;
    let callback = house.kakao.consent(&second, 666).await;
    led_nowhere(&victim.get(&callback).await, 400, "login_state_invalid");
    led_nowhere(&attacker.get(&callback).await, 400, "login_state_invalid");
    assert_eq!(house.server.database.number("SELECT count(*) FROM users").await, 0);
    let log = logs::kept();
    assert!(log.contains("cookie_missing") && log.contains("another_browser"));
}

#[tokio::test]
async fn a_login_that_took_too_long_leads_nowhere() {
    let house = House::open().await;
    let mut browser = house.browser();
    let location = browser.starts().await;
    house.server.database.rows("UPDATE logins SET expires_at = now()").await;
    let answer = browser.get(&house.kakao.consent(&location, 7).await).await;
    led_nowhere(&answer, 400, "login_state_invalid");
}

#[tokio::test]
async fn kakaos_code_of_another_login_is_refused_by_its_verifier() {
    let house = House::open().await;
    let (mut attacker, mut victim) = (house.browser(), house.browser());
    let stolen = house.kakao.consent(&attacker.starts().await, 666).await;
    let own = house.kakao.consent(&victim.starts().await, 7).await;
    let state = &parameters(&own)["state"];
    let swapped =
        format!("/oauth/kakao/callback?code={}&state={state}", parameters(&stolen)["code"]);
    let answer = heard(&victim.get(&swapped).await);
    assert_eq!(answer["error"], "access_denied");
    assert_eq!(answer["error_description"], "kakao_code_invalid");
}

#[tokio::test]
async fn a_redirect_uri_counts_to_the_letter() {
    let house = House::open().await;
    for uri in [
        "https://shop.example.com/callback/",
        "https://shop.example.com/callback?x=1",
        "https://shop.example.com/callback#x",
        "https://shop.example.com/callback/../evil",
        "https://shop.example.com/callback%2f..%2fevil",
        "https://shop.example.com/",
        "https://shop.example.com",
        "https://shop.example.com:8443/callback",
        "https://shop.example.com.evil.example/callback",
        "https://shop.example.com@evil.example/callback",
        "https://user@shop.example.com/callback",
        "https://evil.example/https://shop.example.com/callback",
        "https://evil.example\\@shop.example.com/callback",
        "http://shop.example.com/callback",
        "HTTPS://shop.example.com/callback",
        "https://SHOP.example.com/callback",
        "//shop.example.com/callback",
        "javascript:alert(1)",
        "https://shop.example.com/callback\r\nSet-Cookie: x=1",
        " https://shop.example.com/callback",
    ] {
        let answer = house.browser().asks(&[("redirect_uri", uri)]).await;
        led_nowhere(&answer, 400, "redirect_uri_invalid");
    }
    let missing = house.browser().asks(&[("redirect_uri", "")]).await;
    led_nowhere(&missing, 400, "invalid_query");
    let twice = house
        .browser()
        .asks(&[("redirect_uri", REDIRECT_URI), ("redirect_uri", "https://evil.example")])
        .await;
    led_nowhere(&twice, 400, "invalid_query");
    led_nowhere(&house.browser().asks(&[("client_id", "nobody")]).await, 400, "client_unknown");
    led_nowhere(&house.browser().asks(&[("client_id", "")]).await, 400, "invalid_query");
    house.register("another", None, &["https://another.example.com/"]).await;
    let another = house.browser().asks(&[("client_id", "another")]).await;
    led_nowhere(&another, 400, "redirect_uri_invalid");
    assert_eq!(house.server.database.number("SELECT count(*) FROM logins").await, 0);
}

#[tokio::test]
async fn a_redirect_uri_keeps_its_own_query() {
    let house = House::open().await;
    let uri = "https://shop.example.com/login?from=hoga";
    house.register("tagged", None, &[uri]).await;
    let mut browser = house.browser();
    let started = browser.asks(&[("client_id", "tagged"), ("redirect_uri", uri)]).await;
    let answer =
        browser.get(&house.kakao.consent(started.header("location").unwrap(), 7).await).await;
    let location = answer.header("location").unwrap();
    assert!(location.starts_with(&format!("{uri}&code=")), "{location}");
}

#[tokio::test]
async fn what_a_frontend_asks_wrongly_it_hears_itself() {
    let house = House::open().await;
    let mut browser = house.browser();
    let challenge = challenge_of(VERIFIER);
    let long = "x".repeat(3_000);
    for (changes, error) in [
        (vec![("code_challenge_method", "plain")], "invalid_request"),
        (vec![("code_challenge_method", "")], "invalid_request"),
        (vec![("code_challenge", "")], "invalid_request"),
        (vec![("code_challenge", "short")], "invalid_request"),
        (vec![("code_challenge", ""), ("code_challenge_method", "")], "invalid_request"),
        (vec![("code_challenge", &challenge), ("code_challenge", &challenge)], "invalid_request"),
        (vec![("response_type", "")], "invalid_request"),
        (vec![("response_type", "token")], "unsupported_response_type"),
        (vec![("response_type", "code"), ("response_type", "code")], "invalid_request"),
        (vec![("response_mode", "fragment")], "invalid_request"),
        (vec![("scope", "\"")], "invalid_scope"),
        (vec![("prompt", "login&evil=1")], "invalid_request"),
    ] {
        let answer = heard(&browser.asks(&changes).await);
        assert_eq!(answer["error"], error, "{changes:?}");
        assert_eq!(answer["state"], "the shop's own");
    }
    for state in [vec![("state", long.as_str())], vec![("state", "a"), ("state", "b")]] {
        let answer = heard(&browser.asks(&state).await);
        assert_eq!(answer["error"], "invalid_request");
        assert!(!answer.contains_key("state"));
    }
    assert_eq!(house.server.database.number("SELECT count(*) FROM logins").await, 0);
}

#[tokio::test]
async fn a_state_comes_back_as_it_was_and_prompt_goes_to_kakao() {
    let house = House::open().await;
    let state = "{\"back\": \"/경매?x=1&y=2\"} +%23#";
    let mut browser = house.browser();
    let started = browser
        .asks(&[
            ("state", state),
            ("prompt", "select_account"),
            ("scope", "openid"),
            ("unknown", "1"),
        ])
        .await;
    let location = started.header("location").unwrap().to_owned();
    assert_eq!(house.kakao.asked(&location)["prompt"], "select_account");
    let answer = heard(&browser.get(&house.kakao.consent(&location, 7).await).await);
    assert_eq!(answer["state"], state);
    let none = browser.asks(&[("state", "")]).await;
    let answer =
        heard(&browser.get(&house.kakao.consent(none.header("location").unwrap(), 7).await).await);
    assert!(!answer.contains_key("state"));
}

#[tokio::test]
async fn who_says_no_at_kakao_goes_back_with_that() {
    let house = House::open().await;
    let mut browser = house.browser();
    let location = browser.starts().await;
    let answer = heard(&browser.get(&house.kakao.refusal(&location).await).await);
    assert_eq!(
        (answer["error"].as_str(), answer["state"].as_str()),
        ("access_denied", "the shop's own")
    );
    assert!(!answer.contains_key("code"));
}

#[tokio::test]
async fn a_code_counts_once_and_the_second_time_ends_the_login() {
    let house = House::open().await;
    let code = house.code(7).await;
    let tokens = house.redeem(&code).await.with_status(200);
    denied(&house.redeem(&code).await, 400, "invalid_grant");
    denied(&house.refresh(&tokens["refresh_token"]).await, 400, "invalid_grant");
    assert_eq!(house.revoked_because().await, "code_reuse");
}

#[tokio::test]
async fn of_requests_that_race_with_one_code_at_most_one_gets_tokens() {
    let house = House::open().await;
    let code = house.code(7).await;
    let answers = join_all((0..8).map(|_| house.redeem(&code))).await;
    let (granted, others): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert_eq!((granted.len(), others.len()), (1, 7));
    for other in others {
        denied(other, 400, "invalid_grant");
    }
    assert_eq!(house.server.database.number("SELECT count(*) FROM refresh_tokens").await, 1);
    let token = &granted[0].json()["refresh_token"];
    denied(&house.refresh(token).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_code_needs_the_verifier_of_its_own_login() {
    let house = House::open().await;
    let wrong = VERIFIER.replace('a', "b");
    let long = "a".repeat(129);
    for verifier in ["", wrong.as_str(), "short", long.as_str(), &challenge_of(VERIFIER)] {
        let code = house.code(7).await;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", "shop"),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT_URI),
        ];
        if verifier.is_empty() {
            denied(&house.token(&form).await, 400, "invalid_request");
            continue;
        }
        form.push(("code_verifier", verifier));
        denied(&house.token(&form).await, 400, "invalid_grant");
        denied(&house.redeem(&code).await, 400, "invalid_grant");
    }
    let revoked = "SELECT count(*) FROM refresh_families WHERE revoked_because = 'misuse'";
    assert_eq!(house.server.database.number(revoked).await, 4, "they had come into wrong hands");
    assert_eq!(house.server.database.number("SELECT count(*) FROM refresh_tokens").await, 0);
}

#[tokio::test]
async fn a_code_is_worth_nothing_to_another_client_or_for_another_redirect_uri() {
    let house = House::open().await;
    house.register("evil", None, &[REDIRECT_URI]).await;
    house.register("evil-server", Some("its secret"), &[REDIRECT_URI]).await;
    let form = |code: &str, client: &str, uri: &str| {
        [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", code),
            ("redirect_uri", uri),
            ("code_verifier", VERIFIER),
        ]
        .map(|(name, value)| (name, value.to_owned()))
    };
    for (client, uri) in [
        ("evil", REDIRECT_URI),
        ("shop", "https://shop.example.com/callback/"),
        ("shop", "https://evil.example/"),
    ] {
        let code = house.code(7).await;
        let form = form(&code, client, uri);
        let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
        denied(&house.token(&form).await, 400, "invalid_grant");
        denied(&house.redeem(&code).await, 400, "invalid_grant");
    }
    let code = house.code(7).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
    ];
    let answer = house.form("/oauth/token", &form, Some(("evil-server", "its secret"))).await;
    denied(&answer, 400, "invalid_grant");
}

#[tokio::test]
async fn a_code_must_be_redeemed_within_a_minute() {
    let house = House::open().await;
    assert_eq!((CODE_LIFE_S, LOGIN_LIFE_S), (60, 600));
    let code = house.code(7).await;
    let left =
        "SELECT ceil(extract(epoch FROM expires_at - created_at))::bigint FROM refresh_families";
    assert_eq!(house.server.database.number(left).await, 60);
    house.server.database.rows("UPDATE refresh_families SET expires_at = now()").await;
    denied(&house.redeem(&code).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_refresh_token_counts_once_and_the_second_time_ends_the_login() {
    let house = House::open().await;
    let first = house.tokens(7).await;
    let second = house.refresh(&first["refresh_token"]).await.with_status(200);
    let third = house.refresh(&second["refresh_token"]).await.with_status(200);
    denied(&house.refresh(&first["refresh_token"]).await, 400, "invalid_grant");
    denied(&house.refresh(&third["refresh_token"]).await, 400, "invalid_grant");
    assert_eq!(house.revoked_because().await, "reuse");
    assert!(logs::kept().contains("grant_used_twice"));
    house.tokens(7).await;
}

#[tokio::test]
async fn of_refreshes_that_race_one_is_answered_and_the_login_ends() {
    let house = House::open().await;
    let tokens = house.tokens(7).await;
    let answers = join_all((0..4).map(|_| house.refresh(&tokens["refresh_token"]))).await;
    let granted: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(granted.len(), 1);
    denied(&house.refresh(&granted[0].json()["refresh_token"]).await, 400, "invalid_grant");
    assert_eq!(house.revoked_because().await, "reuse");
}

#[tokio::test]
async fn a_refresh_token_lives_thirty_days_and_a_login_half_a_year() {
    let house = House::open().await;
    let tokens = house.tokens(7).await;
    let days = "SELECT round(extract(epoch FROM expires_at - now()) / 86400)::bigint FROM refresh_families";
    assert_eq!(house.server.database.number(days).await, 30);
    let old = "UPDATE refresh_families SET created_at = now() - interval '170 days'";
    house.server.database.rows(old).await;
    let tokens = house.refresh(&tokens["refresh_token"]).await.with_status(200);
    assert_eq!(house.server.database.number(days).await, 10);
    house.server.database.rows("UPDATE refresh_families SET expires_at = now()").await;
    denied(&house.refresh(&tokens["refresh_token"]).await, 400, "invalid_grant");
    // The family may have been purged by now, for it has ended.
    let revoked = "SELECT count(*) FROM refresh_families WHERE revoked_because IS NOT NULL";
    assert_eq!(house.server.database.number(revoked).await, 0, "nobody did anything wrong");
}

#[tokio::test]
async fn roles_are_as_they_are_at_each_refresh_and_who_left_gets_nothing() {
    let house = House::open().await;
    let tokens = house.tokens(7).await;
    house.server.database.rows("UPDATE users SET roles = '{bidder,admin}'").await;
    let tokens = house.refresh(&tokens["refresh_token"]).await.with_status(200);
    assert_eq!(claims(&tokens)["roles"], json!(["bidder", "admin"]));
    house.server.database.rows("UPDATE users SET tokens_valid_from = now()").await;
    let called_in = "SELECT ceil(extract(epoch FROM tokens_valid_from))::bigint FROM users";
    let called_in = house.server.database.number(called_in).await;
    let tokens = house.refresh(&tokens["refresh_token"]).await.with_status(200);
    assert!(claims(&tokens)["iat"].as_i64().unwrap() >= called_in, "it is not one of the old ones");
    house.server.database.rows("UPDATE users SET left_at = now()").await;
    denied(&house.refresh(&tokens["refresh_token"]).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_disabled_client_gets_nothing_any_more() {
    let house = House::open().await;
    let tokens = house.tokens(7).await;
    let code = house.code(7).await;
    let mut browser = house.browser();
    let location = browser.starts().await;
    house.server.database.rows("UPDATE clients SET disabled_at = now()").await;
    house.clients_changed().await;
    denied(&house.refresh(&tokens["refresh_token"]).await, 401, "invalid_client");
    denied(&house.redeem(&code).await, 401, "invalid_client");
    led_nowhere(
        &browser.get(&house.kakao.consent(&location, 7).await).await,
        400,
        "client_unknown",
    );
    led_nowhere(&browser.asks(&[]).await, 400, "client_unknown");
}

#[tokio::test]
async fn a_server_side_client_proves_who_it_is() {
    let house = House::open().await;
    let uri = "https://server.example.com/callback";
    let secret = "s3cret+with:signs%";
    house.register("server", Some(secret), &[uri]).await;
    let code = async || {
        let mut browser = house.browser();
        let started = browser.asks(&[("client_id", "server"), ("redirect_uri", uri)]).await;
        let back =
            browser.get(&house.kakao.consent(started.header("location").unwrap(), 7).await).await;
        parameters(back.header("location").unwrap())["code"].clone()
    };
    let (first, second) = (code().await, code().await);
    let form = |code: &'static str| {
        vec![
            ("grant_type", "authorization_code"),
            ("redirect_uri", uri),
            ("code_verifier", VERIFIER),
            ("code", code),
        ]
    };
    let first: &'static str = first.leak();
    let second: &'static str = second.leak();
    let with = |code, more: &[(&'static str, &'static str)]| [form(code), more.to_vec()].concat();
    let escaped: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();

    for (form, basic) in [
        (with(first, &[("client_id", "server")]), None),
        (with(first, &[("client_id", "server"), ("client_secret", "wrong")]), None),
        (with(first, &[]), Some(("server", "wrong"))),
        (with(first, &[]), Some(("nobody", "wrong"))),
        (with(first, &[("client_id", "shop"), ("client_secret", "it has none")]), None),
    ] {
        let answer = house.form("/oauth/token", &form, basic).await;
        denied(&answer, 401, "invalid_client");
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"hoga\""));
    }
    let right = Some(("server", escaped.as_str()));
    for form in [
        with(first, &[("client_secret", "again")]),
        with(first, &[("client_id", "shop")]),
        with(first, &[("code", "twice")]),
    ] {
        denied(&house.form("/oauth/token", &form, right).await, 400, "invalid_request");
    }
    house.form("/oauth/token", &form(first), right).await.with_status(200);
    let body = with(second, &[("client_id", "server"), ("client_secret", "s3cret+with:signs%")]);
    house.form("/oauth/token", &body, None).await.with_status(200);
}

#[tokio::test]
async fn a_request_for_tokens_is_a_form_with_what_its_grant_needs() {
    let house = House::open().await;
    let anyone = house.server.anonymous();
    let post = |path: &str| anyone.request(Method::POST, path);
    let form = "grant_type=refresh_token&client_id=shop&refresh_token=x";
    let typed = |path: &str, kind: &str| post(path).header("content-type", kind).body(form);
    let kind = "application/x-www-form-urlencoded";
    denied(&anyone.send(typed("/oauth/token", "application/json")).await, 400, "invalid_request");
    denied(&anyone.send(typed("/oauth/token?code=x", kind)).await, 400, "invalid_request");
    denied(&anyone.send(post("/oauth/token")).await, 400, "invalid_request");
    let long = post("/oauth/token").header("content-type", kind).body("a".repeat(70_000));
    denied(&anyone.send(long).await, 400, "invalid_request");
    let bearer = typed("/oauth/token", kind).bearer_auth("x");
    denied(&anyone.send(bearer).await, 401, "invalid_client");
    for (form, error) in [
        (vec![("client_id", "shop")], "invalid_request"),
        (vec![("grant_type", "refresh_token")], "invalid_request"),
        (vec![("client_id", "shop"), ("grant_type", "refresh_token")], "invalid_request"),
        (vec![("client_id", "shop"), ("grant_type", "authorization_code")], "invalid_request"),
        (vec![("client_id", "shop"), ("grant_type", "password")], "unsupported_grant_type"),
        (
            vec![("client_id", "shop"), ("grant_type", "client_credentials")],
            "unsupported_grant_type",
        ),
        (
            vec![("client_id", "shop"), ("grant_type", "refresh_token"), ("refresh_token", "x")],
            "invalid_grant",
        ),
    ] {
        denied(&house.token(&form).await, 400, error);
    }
}

#[tokio::test]
async fn revoking_ends_the_whole_login_and_nobody_elses() {
    let house = House::open().await;
    house.register("another", None, &["https://another.example.com/"]).await;
    let tokens = house.tokens(7).await;
    let next = house.refresh(&tokens["refresh_token"]).await.with_status(200);
    let revoke = async |client: &str, token: &Value| {
        let form = [("client_id", client), ("token", token.as_str().unwrap())];
        house.form("/oauth/revoke", &form, None).await
    };
    denied(&revoke("another", &next["refresh_token"]).await, 400, "invalid_grant");
    denied(&revoke("shop", &next["access_token"]).await, 400, "unsupported_token_type");
    assert_eq!(revoke("shop", &json!("never seen")).await.status, 200);
    let next = house.refresh(&next["refresh_token"]).await.with_status(200);
    assert_eq!(revoke("shop", &tokens["refresh_token"]).await.status, 200, "an old one will do");
    denied(&house.refresh(&next["refresh_token"]).await, 400, "invalid_grant");
    assert_eq!(revoke("shop", &next["refresh_token"]).await.status, 200, "again is as well");
    assert_eq!(house.revoked_because().await, "logout");
    let nothing = house.form("/oauth/revoke", &[("client_id", "shop")], None).await;
    denied(&nothing, 400, "invalid_request");
}

#[tokio::test]
async fn who_guesses_is_not_heard_any_more_even_with_the_right_answer() {
    let house = House::open().await;
    house.register("server", Some("its secret"), &[REDIRECT_URI]).await;
    let code = house.code(7).await;
    for n in 0..10 {
        let answer = match n % 2 {
            0 => house.redeem(&"A".repeat(43)).await,
            _ => house.token(&[("client_id", "server"), ("client_secret", "a guess")]).await,
        };
        assert!(matches!(answer.status, 400 | 401), "{answer:?}");
    }
    let refused = house.redeem(&code).await;
    denied(&refused, 429, "temporarily_unavailable");
    let wait_s: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait_s), "{wait_s}");
    let right = [("client_id", "server"), ("client_secret", "its secret"), ("token", "x")];
    denied(&house.form("/oauth/revoke", &right, None).await, 429, "temporarily_unavailable");
}

#[tokio::test]
async fn logins_have_a_budget_for_each_address() {
    let few = std::num::NonZeroU32::new(3).unwrap();
    let house = House::open_with(|config| config.rate_limits.logins_per_minute = few).await;
    house.register("server", Some("its secret"), &[REDIRECT_URI]).await;
    let mut browser = house.browser();
    let first = browser.asks(&[]).await;
    assert!(first.header("ratelimit").unwrap().starts_with("\"logins\";r="));
    let refused = house.token(&[("client_id", "shop")]).await;
    assert_eq!(refused.header("ratelimit-policy"), Some("\"logins\";q=3;w=60"));
    browser.asks(&[]).await;
    let problem = browser.asks(&[]).await.refused(429, "rate_limited");
    assert!(problem["retry_after_ms"].as_u64().unwrap() > 0);
    let answer = house.token(&[("client_id", "shop")]).await;
    denied(&answer, 429, "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some());
    let server = [("client_id", "server"), ("client_secret", "its secret"), ("token", "x")];
    let answer = house.form("/oauth/revoke", &server, None).await;
    assert_eq!(answer.status, 200, "it speaks for many");
}

#[tokio::test]
async fn when_kakao_is_slow_down_or_answers_rubbish_a_login_fails_fast_and_bidding_goes_on() {
    let mut house = House::open().await;
    let (sora, minji) = (house.server.seller("sora").await, house.server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    for (fault, word) in [(Fault::Slow, "kakao_timed_out"), (Fault::Page, "kakao_rubbish")] {
        house.kakao.stand_in.set_fault(Endpoint::Token, Some(fault));
        let mut browser = house.browser();
        let callback = house.kakao.consent(&browser.starts().await, 7).await;
        let (back, bid) = tokio::join!(browser.get(&callback), minji.offers(&id, 10_000));
        let answer = heard(&back);
        assert_eq!(answer["error"], "temporarily_unavailable");
        assert_eq!(answer["error_description"], word);
        assert!(matches!(bid.status, 201 | 409), "{bid:?}");
    }
    let mut browser = house.browser();
    let callback = house.kakao.consent(&browser.starts().await, 7).await;
    house.kakao.goes_away();
    let answer = heard(&browser.get(&callback).await);
    assert_eq!(answer["error"], "temporarily_unavailable");
    assert_eq!(answer["error_description"], "kakao_unavailable");
    assert_eq!(house.server.database.number("SELECT count(*) FROM refresh_families").await, 0);
}

#[tokio::test]
async fn without_kakao_nobody_can_log_in_and_everything_else_works() {
    let server = TestServer::spawn();
    let house = House { kakao: crate::support::kakao::KakaoServer::start(), server };
    house.register("shop", None, &[REDIRECT_URI]).await;
    led_nowhere(&house.browser().asks(&[]).await, 503, "login_unavailable");
    denied(&house.redeem(&"A".repeat(43)).await, 400, "invalid_grant");
    assert_eq!(house.server.anonymous().get("/v1/time").await.status, 200);
}

#[tokio::test]
async fn a_person_sees_a_page_where_a_login_leads_nowhere() {
    let house = House::open().await;
    let url = format!("{}/oauth/kakao/callback?state=x", house.server.base_url());
    let request = reqwest::Client::builder().no_proxy().build().unwrap().get(url);
    let request = request.header("accept", "text/html,*/*").header("accept-language", "ko");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    assert!(
        answer.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("default-src 'none'")
    );
    assert!(answer.text().await.unwrap().contains("로그인을 계속할 수 없습니다"));
}

#[tokio::test]
async fn what_has_ended_is_deleted_and_the_rest_stays() {
    let house = House::open().await;
    let tokens = house.tokens(7).await;
    house.code(8).await;
    let mut browser = house.browser();
    browser.starts().await;
    let now = wall_clock::now();
    let store = &house.server.store;
    assert_eq!(store.purge_logins(now).await.unwrap(), 0);
    assert_eq!(store.purge_families(now).await.unwrap(), 0);
    let later = now.plus_s(LOGIN_LIFE_S + 1);
    assert_eq!(store.purge_logins(later).await.unwrap(), 1);
    assert_eq!(store.purge_families(later).await.unwrap(), 1, "a code that was never redeemed");
    house.refresh(&tokens["refresh_token"]).await.with_status(200);
    assert_eq!(store.purge_families(now.plus_s(31 * 86_400)).await.unwrap(), 1);
    let left =
        "SELECT (SELECT count(*) FROM authorization_codes) + (SELECT count(*) FROM refresh_tokens)";
    assert_eq!(house.server.database.number(left).await, 0);
}

#[tokio::test]
async fn a_browser_and_a_user_have_a_bounded_number_of_logins() {
    let house = House::open().await;
    let mut browser = house.browser();
    let first = browser.starts().await;
    for _ in 0..10 {
        browser.starts().await;
    }
    assert_eq!(house.server.database.number("SELECT count(*) FROM logins").await, 10);
    let answer = browser.get(&house.kakao.consent(&first, 7).await).await;
    led_nowhere(&answer, 400, "login_state_invalid");
    house.code(7).await;
    let many = "INSERT INTO refresh_families SELECT gen_random_uuid(), user_id, client_id, now(), now() + interval '1 day'
                FROM refresh_families, generate_series(1, 150)";
    house.server.database.rows(many).await;
    house.code(7).await;
    assert_eq!(house.server.database.number("SELECT count(*) FROM refresh_families").await, 100);
    let tokens = house.tokens(8).await;
    let used = "INSERT INTO refresh_tokens SELECT decode(md5(n::text), 'hex'), family_id, created_at - n * interval '1 s', now()
                FROM refresh_tokens, generate_series(1, 1100) n";
    house.server.database.rows(used).await;
    house.refresh(&tokens["refresh_token"]).await.with_status(200);
    assert_eq!(house.server.database.number("SELECT count(*) FROM refresh_tokens").await, 1_001);
}

#[tokio::test]
async fn nothing_secret_is_logged_or_counted() {
    let house = House::open().await;
    let mut browser = house.browser();
    let location = browser.starts().await;
    let cookie = browser.cookie.clone().unwrap();
    let callback = house.kakao.consent(&location, 424_242_424_242).await;
    let answer = heard(&browser.get(&callback).await);
    let tokens = house.redeem(&answer["code"]).await.with_status(200);
    denied(&house.redeem(&answer["code"]).await, 400, "invalid_grant");
    denied(&house.refresh(&tokens["refresh_token"]).await, 400, "invalid_grant");
    led_nowhere(&browser.get(&callback).await, 400, "login_state_invalid");
    let asked = house.kakao.asked(&location);
    let (log, metrics) = (logs::kept(), house.server.anonymous().get("/metrics").await);
    assert!(log.contains("grant_used_twice") && log.contains("state_unknown"));
    assert!(metrics.text().contains("hoga_logins_total{outcome=\"finished\"}"));
    let tokens = ["access_token", "refresh_token"].map(|name| tokens[name].as_str().unwrap());
    let kakao_code = &parameters(&callback)["code"];
    for secret in [&asked["state"], &asked["nonce"], &cookie, &answer["code"], kakao_code]
        .map(String::as_str)
        .into_iter()
        .chain(tokens)
        .chain([VERIFIER, "424242424242"])
    {
        assert!(!log.contains(secret), "{secret} is in the log");
        assert!(!metrics.text().contains(secret), "{secret} is in the metrics");
    }
}
