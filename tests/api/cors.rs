//! Calls from pages of other origins: those of registered clients, and nobody else's.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Client, TestServer, an_auction, eventually, fresh_key};

const PAGE: &str = "https://moon-jar.example";

async fn with_origin(caller: &Client, method: Method, path: &str, origin: &str) -> Answer {
    caller.send(caller.request(method, path).header("origin", origin)).await
}

async fn preflight(caller: &Client, path: &str, method: &str, origin: &str) -> Answer {
    let request = caller.request(Method::OPTIONS, path).header("origin", origin);
    let request = request.header("access-control-request-method", method);
    let headers = "authorization,content-type,idempotency-key";
    caller.send(request.header("access-control-request-headers", headers)).await
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

/// The id of a client whose pages stand on [`PAGE`].
async fn registered(server: &TestServer) -> String {
    let new = json!({"name": "moon jar", "allowed_origins": [PAGE]});
    let client = server.admin().await.post("/v1/clients", &new).await.with_status(201);
    client["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn pages_of_a_registered_client_may_call_as_soon_as_it_is_registered() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    let before = with_origin(&anyone, Method::GET, "/v1/auctions", PAGE).await;
    assert_eq!((before.status, allowed(&before)), (200, None));
    registered(&server).await;
    let after = with_origin(&anyone, Method::GET, "/v1/auctions", PAGE).await;
    assert_eq!(allowed(&after), Some(PAGE));
    assert_eq!(after.header("access-control-allow-credentials"), None, "no cookies");
    let exposed = after.header("access-control-expose-headers").unwrap().to_ascii_lowercase();
    for header in
        ["etag", "link", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id", "location"]
    {
        assert!(exposed.split(',').any(|exposed| exposed.trim() == header), "{header}: {exposed}");
    }
}

#[tokio::test]
async fn a_page_bids_after_a_preflight_without_a_token() {
    let server = TestServer::spawn();
    registered(&server).await;
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let path = format!("/v1/auctions/{}/bids", sora.sells(an_auction()).await);
    let asked = preflight(&server.anonymous(), &path, "POST", PAGE).await;
    assert_eq!((asked.status, allowed(&asked)), (200, Some(PAGE)));
    let request = minji.request(Method::POST, &path).header("origin", PAGE);
    let request = request.header("idempotency-key", fresh_key()).json(&json!({"amount": 10_000}));
    let bid = minji.send(request).await;
    assert_eq!((bid.status, allowed(&bid)), (201, Some(PAGE)));
}

#[tokio::test]
async fn no_other_origin_may_call_however_alike() {
    let server = TestServer::spawn();
    registered(&server).await;
    let anyone = server.anonymous();
    for origin in [
        "https://moon-jar.example.evil.example",
        "https://evil-moon-jar.example",
        "https://www.moon-jar.example",
        "https://moon-jar.example:8443",
        "https://MOON-JAR.example",
        "https://moon-jar.example/",
        "http://moon-jar.example",
        "http://localhost:3000",
        "null",
        "x",
        "",
    ] {
        let answer = with_origin(&anyone, Method::GET, "/v1/auctions", origin).await;
        assert_eq!(allowed(&answer), None, "{origin}");
        let asked = preflight(&anyone, "/v1/auctions", "POST", origin).await;
        assert_eq!(allowed(&asked), None, "{origin}");
    }
}

#[tokio::test]
async fn pages_reach_the_api_and_of_the_login_what_is_no_page_itself() {
    let server = TestServer::spawn();
    registered(&server).await;
    let anyone = server.anonymous();
    for path in [
        "/v1/time",
        "/oauth/token",
        "/oauth/revoke",
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/problems/bid_too_low",
        "/openapi.json",
    ] {
        let asked = preflight(&anyone, path, "POST", PAGE).await;
        assert_eq!(allowed(&asked), Some(PAGE), "{path}");
        let answer = with_origin(&anyone, Method::GET, path, PAGE).await;
        assert_eq!(allowed(&answer), Some(PAGE), "{path}");
    }
    for path in
        ["/oauth/authorize", "/oauth/kakao/callback", "/webhooks/kakao", "/metrics", "/docs/"]
    {
        let answer = with_origin(&anyone, Method::GET, path, PAGE).await;
        assert_eq!(allowed(&answer), None, "{path}");
    }
}

#[tokio::test]
async fn a_disabled_clients_pages_may_call_no_more_and_no_cache_mixes_origins_up() {
    let server = TestServer::spawn();
    let id = registered(&server).await;
    let admin = server.admin().await;
    let deleted = admin.request(Method::DELETE, &format!("/v1/clients/{id}"));
    assert_eq!(admin.send(deleted).await.status, 204);
    let anyone = server.anonymous();
    assert_eq!(allowed(&with_origin(&anyone, Method::GET, "/v1/time", PAGE).await), None);
    let shop = "https://shop.example.com";
    let configured = with_origin(&anyone, Method::GET, "/v1/time", shop).await;
    assert_eq!(allowed(&configured), Some(shop), "HOGA_ALLOWED_ORIGINS");
    for answer in [configured, anyone.get("/v1/time").await] {
        let vary = answer.header("vary").expect("Vary").to_ascii_lowercase();
        assert!(vary.split(',').any(|name| name.trim() == "origin"), "{vary}");
    }
    let enable = admin.request(Method::PATCH, &format!("/v1/clients/{id}"));
    admin.send(enable.json(&json!({"disabled": false}))).await.with_status(200);
    eventually("its pages may call again", || async {
        let answer = with_origin(&anyone, Method::GET, "/v1/time", PAGE).await;
        allowed(&answer).map(|_| ())
    })
    .await;
}
