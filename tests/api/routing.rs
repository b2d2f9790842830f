//! What is decided by which operation a request is, however its path is written; and from where a
//! request comes, however that is written.

use std::num::NonZeroU32;

use hoga::{config::Config, http::State};
use reqwest::Method;

use crate::support::{
    Answer, Client, TestServer, an_auction, fresh_key,
    login::{House, REDIRECT_URI, VERIFIER, challenge_of, encoded},
    server::PUBLIC_URL,
    wait::promptly,
};

/// An answer that the document need not know, for its path is written otherwise.
async fn raw(client: &Client, method: Method, path: &str) -> Answer {
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let request = client.request(method, path).header("idempotency-key", fresh_key());
    let request = request.header("accept", "text/html").build().expect("a request");
    let sent = http.build().expect("a client").execute(request);
    let response = promptly(path, sent).await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, bytes: response.bytes().await.expect("a whole answer") }
}

/// One a second, so two at once.
fn tight(config: &mut Config) {
    config.rate_limits.requests_per_second = NonZeroU32::MIN;
    config.rate_limits.bids_per_second = NonZeroU32::MIN;
    config.rate_limits.logins_per_minute = NonZeroU32::MIN;
}

#[tokio::test]
async fn a_path_that_is_written_otherwise_counts_all_the_same() {
    for (method, ways, budget) in [
        (Method::GET, ["/v1/auctions", "/%761/auctions", "/v1/%61uctions"], "\"requests\""),
        (Method::GET, ["/%761/x", "/v%31/y", "/%76%31/z"], "\"requests\""),
        (Method::GET, ["/", "/docs", "/openapi.json"], "\"requests\""),
        (Method::GET, ["/x", "/assets/x", "/assets/y.js"], "\"requests\""),
        (
            Method::POST,
            ["/v1/auctions/x/bid%73", "/%761/auctions/x/bids", "/v1/auctions/x/%62ids"],
            "\"bids\"",
        ),
        (
            Method::POST,
            ["/v1/auctions/x/buy%2Dnow", "/v1/%61uctions/x/buy-now", "/v1/auctions/x/buy-no%77"],
            "\"bids\"",
        ),
    ] {
        // A server for each: their budgets are used up.
        let server = TestServer::spawn_with(tight);
        let minji = server.bidder("minji").await;
        let mut refused = 0;
        for path in ways.iter().cycle().take(9) {
            let answer = raw(&minji, method.clone(), path).await;
            // What any cache may keep says nothing of one caller's budget.
            let cached = answer.header("cache-control").is_some_and(|how| how.contains("public"));
            let policy = answer.header("ratelimit-policy").unwrap_or_default();
            assert!(cached || policy.starts_with(budget), "{path} counts as {policy:?}");
            refused += usize::from(answer.status == 429);
        }
        assert!(refused > 0, "{ways:?} are never too many");
    }
}

#[tokio::test]
async fn logins_count_however_their_path_is_written() {
    let house = House::open_with(tight).await;
    let query = encoded(&[
        ("response_type", "code"),
        ("client_id", "shop"),
        ("redirect_uri", REDIRECT_URI),
        ("code_challenge", &challenge_of(VERIFIER)),
        ("code_challenge_method", "S256"),
    ]);
    let client = house.server.anonymous().client;
    let begin = |path: &str| {
        let (client, path) = (client.clone(), format!("{path}?{query}"));
        async move { raw(&client, Method::GET, &path).await }
    };
    assert_eq!(begin("/oauth/%61uthorize").await.status, 302);
    let refused = begin("/%6fauth/authorize").await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    let kind = refused.header("content-type");
    assert_eq!(kind, Some("text/html; charset=utf-8"), "a person sees a page");
    let rows = house.server.database.number("SELECT count(*) FROM logins").await;
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn a_method_that_a_path_lacks_is_told_however_it_is_written() {
    let server = TestServer::spawn();
    let anyone = server.anonymous().client;
    let answer = raw(&anyone, Method::PUT, "/%761/auctions").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST, HEAD")));
    assert_eq!(raw(&anyone, Method::GET, "/%761/nothing").await.status, 404);
}

#[tokio::test]
async fn pages_may_call_however_the_path_is_written() {
    let server = TestServer::spawn();
    for (path, may) in [
        ("/v1/auctions", true),
        ("/%761/auctions", true),
        ("/oauth/authorize", false),
        ("/oauth/%61uthorize", false),
    ] {
        let request = server.anonymous().request(Method::GET, path);
        let request = request.header("origin", "https://shop.example.com");
        let answer = promptly(path, request.send()).await.expect("an answer");
        let allowed = answer.headers().contains_key("access-control-allow-origin");
        assert_eq!(allowed, may, "{path}");
    }
}

/// Guesses at a refresh token, each with another address in front of the hop that the proxy wrote;
/// how many were answered.
async fn guesses_answered(house: &House, hop: &str) -> usize {
    let anyone = house.server.anonymous();
    let mut answered = 0;
    for n in 0..20 {
        let form =
            [("grant_type", "refresh_token"), ("client_id", "shop"), ("refresh_token", "a guess")];
        let request = anyone.request(Method::POST, "/oauth/token").form(&form);
        let request = request.header("x-forwarded-for", format!("198.51.100.{n}, {hop}"));
        let answer = promptly("an answer", request.send()).await.expect("an answer");
        answered += usize::from(answer.status() == 400);
    }
    answered
}

#[tokio::test]
async fn whoever_guesses_is_one_address_however_the_proxy_writes_it() {
    for proxy in ["127.0.0.1", "::ffff:127.0.0.1"] {
        for hop in
            ["192.0.2.1", "192.0.2.1:5678", "[2001:db8::1]:80", "::ffff:192.0.2.1", "unknown"]
        {
            let house = House::open_with(|config| {
                config.rate_limits.trusted_proxies = vec![proxy.parse().expect("an address")];
            })
            .await;
            let answered = guesses_answered(&house, hop).await;
            assert!(answered <= 10, "{answered} guesses through {proxy} from {hop} were answered");
        }
    }
}

#[tokio::test]
async fn one_address_cannot_take_every_login_that_may_be_under_way() {
    use hoga::identity::oauth::pending_logins::UNDER_WAY_PER_ADDRESS_MAX;
    let house = House::open_with(|config| {
        config.rate_limits.trusted_proxies = vec![[127, 0, 0, 1].into()];
    })
    .await;
    let state: &State = house.server.state();
    let greedy = Some([192, 0, 2, 1].into());
    for _ in 0..UNDER_WAY_PER_ADDRESS_MAX {
        assert!(state.under_way.add(greedy));
    }
    let query = encoded(&[
        ("response_type", "code"),
        ("client_id", "shop"),
        ("redirect_uri", REDIRECT_URI),
        ("code_challenge", &challenge_of(VERIFIER)),
        ("code_challenge_method", "S256"),
    ]);
    let browser = house.browser();
    let begin = async |from: &str| {
        let request = browser.client.request(Method::GET, &format!("/oauth/authorize?{query}"));
        browser.client.send(request.header("x-forwarded-for", from)).await
    };
    begin("192.0.2.1").await.refused(503, "overloaded");
    let begun = begin("192.0.2.2").await;
    assert_eq!(begun.status, 302, "{}", begun.text());
    assert!(!begun.header("location").expect("a way to Kakao").starts_with(PUBLIC_URL));
}

#[tokio::test]
async fn a_tag_of_the_sellers_view_is_not_that_of_everybody_elses() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let terms = crate::support::with(
        an_auction(),
        serde_json::json!({"reserve_price": 70_000, "starts_at": crate::support::in_s(3_600)}),
    );
    let id = sora.sells(terms).await;
    let path = format!("/v1/auctions/{id}");
    let (mine, theirs) = (sora.get(&path).await, server.anonymous().get(&path).await);
    assert_eq!(mine.json()["reserve_price"]["amount"], 70_000);
    assert!(theirs.json().get("reserve_price").is_none_or(serde_json::Value::is_null));
    assert_ne!(mine.tag(), theirs.tag());
    for answer in [&mine, &theirs] {
        assert!(answer.header("cache-control").expect("one").starts_with("private"));
        let vary = answer.headers.get_all("vary").iter();
        assert!(
            vary.map(|value| value.to_str().expect("text")).any(|v| v.contains("Authorization"))
        );
    }
    let knows = async |client: &Client, tag: String| {
        let request = client.request(Method::GET, &path).header("if-none-match", tag);
        client.send(request).await
    };
    let anyone = server.anonymous().client;
    assert_eq!(knows(&sora.client, mine.tag()).await.status, 304);
    assert_eq!(knows(&anyone, theirs.tag()).await.status, 304);
    let fresh = knows(&sora.client, theirs.tag()).await.with_status(200);
    assert_eq!(fresh["reserve_price"]["amount"], 70_000);
    knows(&anyone, mine.tag()).await.with_status(200);
    // Whichever was read, the sequence number in it is what counts.
    let title = serde_json::json!({"title": "another"});
    let changed = sora.update(&id, &mine.tag(), &title).await;
    changed.with_status(200);
    assert_eq!(changed.tag(), sora.get(&path).await.tag());
    sora.delete(&id, &changed.tag()).await.with_status(204);
}
