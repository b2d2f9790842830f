//! Registered frontends: who may make them, what they may be, and what becomes of their users.

use hoga::{domain::id::UserId, identity::Role, store::CLIENTS_MAX, wall_clock};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Client, TestServer, an_auction, eventually, logs};

fn a_shop() -> Value {
    json!({
        "name": "달항아리 상점",
        "redirect_uris": ["https://shop2.example.com/callback", "com.example.shop:/callback"],
        "allowed_origins": ["https://shop2.example.com"],
        "requests_per_second": 1_000,
    })
}

async fn created(admin: &Client, new: &Value) -> Value {
    admin.post("/v1/clients", new).await.with_status(201)
}

fn id_of(client: &Value) -> String {
    client["id"].as_str().unwrap().to_owned()
}

async fn changed(admin: &Client, id: &str, changes: &Value) -> crate::support::Answer {
    admin.send(admin.request(Method::PATCH, &format!("/v1/clients/{id}")).json(changes)).await
}

async fn deleted(admin: &Client, id: &str) -> crate::support::Answer {
    admin.send(admin.request(Method::DELETE, &format!("/v1/clients/{id}"))).await
}

/// A bidder who logged in through a client.
fn through(server: &TestServer, client: &str) -> Client {
    let user = UserId(Uuid::now_v7());
    let tokens = &server.state().tokens;
    let token = tokens.issue(user, &[Role::Bidder], Some(client), wall_clock::now(), 900).unwrap();
    server.caller_with(&token)
}

#[tokio::test]
async fn a_client_is_registered_read_changed_and_disabled() {
    let server = TestServer::spawn();
    let admin = server.admin().await;
    let answer = admin.post("/v1/clients", &a_shop()).await;
    let client = answer.with_status(201);
    let id = id_of(&client);
    assert!(id.starts_with("hc_"));
    let location = answer.header("location").unwrap();
    assert!(location.ends_with(&format!("/v1/clients/{id}")), "{location}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(client["secret"], Value::Null, "a public client has none");
    for (field, value) in a_shop().as_object().unwrap() {
        assert_eq!(&client[field], value);
    }
    let path = format!("/v1/clients/{id}");
    assert_eq!(admin.get(&path).await.with_status(200), client);

    let changes = json!({"name": "another", "requests_per_second": null, "bids_per_second": 7});
    let after = changed(&admin, &id, &changes).await.with_status(200);
    assert_eq!(after["redirect_uris"], client["redirect_uris"], "what is left out stays");
    let rates = (&after["requests_per_second"], &after["bids_per_second"]);
    assert_eq!((&after["name"], rates), (&json!("another"), (&Value::Null, &json!(7))));

    assert_eq!(deleted(&admin, &id).await.status, 204);
    let disabled = admin.get(&path).await.with_status(200);
    assert!(disabled["disabled_at"].is_string(), "it stays, for what was done through it");
    assert_eq!(deleted(&admin, &id).await.status, 204, "again");
    assert_eq!(admin.get(&path).await.json(), disabled, "since when it was disabled at first");
    let enabled = changed(&admin, &id, &json!({"disabled": false})).await.with_status(200);
    assert_eq!(enabled["disabled_at"], Value::Null);
}

#[tokio::test]
async fn a_secret_is_shown_once_and_a_new_one_replaces_it() {
    let server = TestServer::spawn();
    let admin = server.admin().await;
    let new = json!({"name": "a server", "confidential": true});
    let client = created(&admin, &new).await;
    let (id, first) = (id_of(&client), client["secret"].as_str().unwrap().to_owned());
    let is_secret = |secret: &str| server.state().clients.get(&id).unwrap().has_secret(secret);
    assert!(is_secret(&first));
    let read = admin.get(&format!("/v1/clients/{id}")).await;
    assert_eq!(
        (read.json()["confidential"].clone(), &read.json()["secret"]),
        (json!(true), &Value::Null)
    );
    let answer = admin.post(&format!("/v1/clients/{id}/secret"), &Value::Null).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let second = answer.with_status(200)["secret"].as_str().unwrap().to_owned();
    assert!(is_secret(&second) && !is_secret(&first), "the old one stops at once");
    let stored = server.database.rows("SELECT * FROM clients").await;
    for secret in [&first, &second] {
        assert!(!format!("{stored:?}").contains(&secret[3..]), "kept as a hash");
        assert!(!logs::kept().contains(&secret[3..]));
    }
    let public = id_of(&created(&admin, &a_shop()).await);
    let refused = admin.post(&format!("/v1/clients/{public}/secret"), &Value::Null).await;
    refused.refused(409, "client_is_public");
}

#[tokio::test]
async fn what_cannot_stand_is_refused_with_its_places() {
    let server = TestServer::spawn();
    let admin = server.admin().await;
    let id = id_of(&created(&admin, &a_shop()).await);
    for (changes, field) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "x".repeat(81)}), "name"),
        (json!({"redirect_uris": ["https://a.example/", "http://a.example/"]}), "redirect_uris[1]"),
        (json!({"redirect_uris": ["https://a.example/#x"]}), "redirect_uris[0]"),
        (json!({"redirect_uris": ["https://*.a.example/"]}), "redirect_uris[0]"),
        (json!({"redirect_uris": vec!["https://a.example/"; 21]}), "redirect_uris"),
        (json!({"allowed_origins": ["https://a.example/"]}), "allowed_origins[0]"),
        (json!({"allowed_origins": ["https://A.example"]}), "allowed_origins[0]"),
        (json!({"allowed_origins": ["*"]}), "allowed_origins[0]"),
        (json!({"bids_per_second": 0}), "bids_per_second"),
        (json!({"requests_per_second": 1_000_001}), "requests_per_second"),
        (json!({"requests_per_second": -1}), "requests_per_second"),
        (json!({"secret": "hs_mine"}), "secret"),
        (json!({"id": "hc_mine"}), "id"),
    ] {
        let whole = crate::support::with(a_shop(), changes.clone());
        let created = admin.post("/v1/clients", &whole).await;
        for answer in [created, changed(&admin, &id, &changes).await] {
            let problem = answer.refused(422, "invalid_request");
            assert_eq!(problem["errors"][0]["field"], field, "{problem}");
        }
    }
    admin.post("/v1/clients", &json!({})).await.refused(422, "invalid_request");
    for unknown in ["hc_unknown", "x", "%00", "hc_%F0%9F%98%80"] {
        let path = format!("/v1/clients/{unknown}");
        admin.get(&path).await.refused(404, "client_not_found");
        changed(&admin, unknown, &json!({})).await.refused(404, "client_not_found");
        deleted(&admin, unknown).await.refused(404, "client_not_found");
        let refused = admin.post(&format!("{path}/secret"), &Value::Null).await;
        refused.refused(404, "client_not_found");
    }
    let count = server.database.number("SELECT count(*) FROM clients").await;
    assert_eq!(count, 1, "nothing was written");
}

#[tokio::test]
async fn there_is_a_bound_on_clients() {
    let server = TestServer::spawn();
    let admin = server.admin().await;
    let fill = format!(
        "INSERT INTO clients (id, name, redirect_uris, allowed_origins, created_at) \
         SELECT 'hc_' || n, 'x', '{{}}', '{{}}', now() FROM generate_series(1, {CLIENTS_MAX}) n"
    );
    server.database.rows(&fill).await;
    admin.post("/v1/clients", &a_shop()).await.refused(409, "too_many_clients");
}

#[tokio::test]
async fn clients_are_listed_in_pages_in_the_order_of_their_registration() {
    let server = TestServer::spawn();
    let admin = server.admin().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(id_of(&created(&admin, &json!({"name": format!("shop {n}")})).await));
        // Two that were registered in the same millisecond come by their ids.
        let now = wall_clock::now();
        eventually("a millisecond", || async { (wall_clock::now() > now).then_some(()) }).await;
    }
    deleted(&admin, &ids[1]).await;
    let listed = admin.pages("/v1/clients?limit=2").await;
    assert_eq!(listed.iter().map(id_of).collect::<Vec<_>>(), ids);
    assert!(listed[1]["disabled_at"].is_string());
    assert!(!format!("{listed:?}").contains("secret"));
    admin.get("/v1/clients?limit=0").await.refused(400, "invalid_query");
    admin.get("/v1/clients?colour=red").await.refused(400, "invalid_query");
    for cursor in ["x", "Y2xpZW50cy8xL2EAYg", "bmV3ZXN0LzAvMQ"] {
        let path = format!("/v1/clients?cursor={cursor}");
        admin.get(&path).await.refused(400, "invalid_cursor");
    }
}

#[tokio::test]
async fn tokens_that_were_issued_through_a_disabled_client_count_no_more() {
    let server = TestServer::spawn();
    let admin = server.admin().await;
    let (shop, other) = (
        id_of(&created(&admin, &a_shop()).await),
        id_of(&created(&admin, &json!({"name": "b"})).await),
    );
    let (of_shop, of_other) = (through(&server, &shop), through(&server, &other));
    let path = "/v1/auctions";
    of_shop.get(path).await.with_status(200);
    deleted(&admin, &shop).await;
    of_shop.get(path).await.refused(401, "token_invalid");
    of_other.get(path).await.with_status(200);
    changed(&admin, &shop, &json!({"disabled": false})).await.with_status(200);
    of_shop.get(path).await.with_status(200);
}

#[tokio::test]
async fn disabling_a_client_ends_its_logins_for_good() {
    let server = TestServer::spawn();
    let admin = server.admin().await;
    let (shop, other) = (
        id_of(&created(&admin, &a_shop()).await),
        id_of(&created(&admin, &json!({"name": "b"})).await),
    );
    let minji = server.bidder("minji").await;
    for client in [&shop, &other] {
        let family = Uuid::now_v7();
        let sql = format!(
            "INSERT INTO refresh_families (id, user_id, client_id, created_at, expires_at) \
             VALUES ('{family}', '{}', '{client}', now(), now() + interval '1 day')",
            minji.id
        );
        server.database.rows(&sql).await;
    }
    deleted(&admin, &shop).await;
    changed(&admin, &shop, &json!({"disabled": false})).await.with_status(200);
    let sql =
        "SELECT client_id, revoked_because FROM refresh_families WHERE revoked_at IS NOT NULL";
    assert_eq!(server.database.rows(sql).await, [[shop, "operator".into()]]);
}

#[tokio::test]
async fn what_another_server_or_the_command_line_changes_is_heard_within_seconds() {
    let server = TestServer::spawn();
    let admin = server.admin().await;
    let shop = id_of(&created(&admin, &a_shop()).await);
    let of_shop = through(&server, &shop);
    of_shop.get("/v1/auctions").await.with_status(200);
    let sql = format!(
        "UPDATE clients SET disabled_at = now(), version = version + 1 WHERE id = '{shop}'"
    );
    server.database.rows(&sql).await;
    eventually("the client is disabled here too", || async {
        (of_shop.get("/v1/auctions").await.status == 401).then_some(())
    })
    .await;
    assert!(server.state().clients.get(&shop).is_none());
}

#[tokio::test]
async fn all_users_of_a_client_share_its_budget() {
    let server = TestServer::spawn();
    let (admin, sora) = (server.admin().await, server.seller("sora").await);
    let id = sora.sells(an_auction()).await;
    let new = json!({"name": "small", "bids_per_second": 1, "requests_per_second": 1});
    let small = id_of(&created(&admin, &new).await);
    let bid = async |client: &str| {
        let body = json!({"max_amount": 1});
        let path = format!("/v1/auctions/{id}/bids");
        through(&server, client).post_with_key(&path, &crate::support::fresh_key(), &body).await
    };
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(bid(&small).await);
    }
    let refused = answers.iter().find(|answer| answer.status == 429).expect("a shared limit");
    let problem = refused.refused(429, "rate_limited");
    assert!(problem["detail"].as_str().unwrap().contains("\"client-bids\""), "{problem}");
    let policy = refused.header("ratelimit-policy").unwrap();
    assert!(policy.contains("\"bids\";") && policy.contains("\"client-bids\";q=2;w=2"), "{policy}");
    assert!(refused.header("ratelimit").unwrap().contains("\"client-bids\";r=0;"));
    assert!(refused.header("retry-after").is_some());
    through(&server, &small).get("/v1/time").await.with_status(200);
    assert_ne!(bid("hc_unknown").await.status, 429, "nobody else's budget");
}
