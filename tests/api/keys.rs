//! Signing keys that change under a running server, and tokens that are revoked.

use std::os::unix::fs::PermissionsExt;

use hoga::{
    identity::{
        Role,
        keys::{KeyRing, RingKey},
    },
    wall_clock,
};
use serde_json::Value;

use crate::support::{Client, TestServer, an_auction, eventually, logs};

const LIFE_S: i64 = 900;

/// As `hoga keys rotate` does it.
fn rotate(server: &TestServer, at_once: bool) -> RingKey {
    let now = wall_clock::now();
    let file = &server.config.signing_key_file;
    KeyRing::change(file, |ring| ring.rotate(now, at_once, LIFE_S)).unwrap()
}

async fn kids(anyone: &Client) -> Vec<String> {
    let keys = anyone.get("/.well-known/jwks.json").await.with_status(200);
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    keys["keys"].as_array().unwrap().iter().map(kid).collect()
}

async fn once_published(anyone: &Client, kid: &str) {
    eventually("the key set has changed", || async {
        kids(anyone).await.iter().any(|published| published == kid).then_some(())
    })
    .await;
}

async fn checkpoint_kid(anyone: &Client, id: &str) -> String {
    let path = format!("/v1/auctions/{id}/log/checkpoint");
    let checkpoint = anyone.get(&path).await.with_status(200);
    checkpoint["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_rotated_key_is_published_at_once_and_signs_later() {
    let server = TestServer::spawn();
    let (anyone, sora) = (server.anonymous(), server.seller("sora").await);
    let id = sora.sells(an_auction()).await;
    let old = kids(&anyone).await.remove(0);
    let next = rotate(&server, false);
    once_published(&anyone, next.key.kid()).await;
    assert_eq!(kids(&anyone).await, [old.clone(), next.key.kid().to_owned()]);
    assert_eq!(checkpoint_kid(&anyone, &id).await, old);
    assert_eq!(server.state().tokens.signing_key(next.signs_from).kid(), next.key.kid());
}

#[tokio::test]
async fn at_once_the_new_key_signs_and_the_old_ones_tokens_count_on() {
    let server = TestServer::spawn();
    let (anyone, sora) = (server.anonymous(), server.seller("sora").await);
    let (id, old_minji) = (sora.sells(an_auction()).await, server.bidder("minji").await);
    old_minji.offers(&id, 10_000).await.with_status(201);
    let next = rotate(&server, true);
    once_published(&anyone, next.key.kid()).await;
    assert_eq!(checkpoint_kid(&anyone, &id).await, next.key.kid());
    assert_eq!(kids(&anyone).await.len(), 2);
    let new_junho = server.bidder("junho").await;
    new_junho.offers(&id, 11_000).await.with_status(201);
    old_minji.offers(&id, 12_000).await.with_status(201);
}

#[tokio::test]
async fn what_a_dropped_key_signed_is_refused_within_seconds() {
    let server = TestServer::spawn();
    let (anyone, minji) = (server.anonymous(), server.bidder("minji").await);
    minji.get("/v1/auctions").await.with_status(200);
    let lost = kids(&anyone).await.remove(0);
    let now = wall_clock::now();
    KeyRing::change(&server.config.signing_key_file, |ring| ring.drop_key(&lost, now)).unwrap();
    eventually("its tokens are refused", || async {
        (minji.get("/v1/auctions").await.status == 401).then_some(())
    })
    .await;
    minji.get("/v1/auctions").await.refused(401, "token_invalid");
    assert!(!kids(&anyone).await.contains(&lost));
    let again = server.bidder("minji").await;
    again.get("/v1/auctions").await.with_status(200);
}

#[tokio::test]
async fn a_key_file_that_cannot_be_used_changes_nothing_and_is_said_without_its_content() {
    let server = TestServer::spawn();
    let (anyone, minji) = (server.anonymous(), server.bidder("minji").await);
    let file = server.config.signing_key_file.clone();
    let before = kids(&anyone).await;
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let what_to_type = format!("chmod 600 {}", file.display());
    eventually("it is said", || async { logs::kept().contains(&what_to_type).then_some(()) }).await;
    assert_eq!(kids(&anyone).await, before);
    minji.get("/v1/auctions").await.with_status(200);
    let secret = text.lines().find(|line| line.starts_with("MC")).unwrap();
    assert!(!logs::kept().contains(secret));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let next = rotate(&server, false);
    once_published(&anyone, next.key.kid()).await;
}

#[tokio::test]
async fn revoked_tokens_are_refused_at_once_here_and_within_seconds_elsewhere() {
    let mut server = TestServer::spawn();
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let path = "/v1/auctions";
    for caller in [&minji, &junho] {
        caller.get(path).await.with_status(200);
    }
    server.state().tokens.revoke_before(minji.id, wall_clock::now().plus_s(1));
    minji.get(path).await.refused(401, "token_invalid");
    junho.get(path).await.with_status(200);

    let sql = format!(
        "UPDATE users SET tokens_valid_from = now() + interval '1 second' WHERE id = '{}'",
        junho.id
    );
    server.database.rows(&sql).await;
    eventually("another server's revocation is heard of", || async {
        (junho.get(path).await.status == 401).then_some(())
    })
    .await;
    server.restart();
    junho.get(path).await.refused(401, "token_invalid");
    let later = wall_clock::now().plus_s(2);
    let tokens = &server.state().tokens;
    let token = tokens.issue(junho.id, &[Role::Bidder], None, later, LIFE_S).unwrap();
    server.caller_with(&token).get(path).await.with_status(200);
}
