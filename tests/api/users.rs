//! What admins see of accounts, and the roles that they give and take away.

use hoga::{config::SellerModel, identity::Role};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, TestServer, an_auction, callers::Admin, logs};

impl Admin {
    async fn sets_roles(&self, user: impl ToString, roles: Value) -> Answer {
        let path = format!("/v1/users/{}/roles", user.to_string());
        self.put(&path, &json!({"roles": roles})).await
    }
}

#[tokio::test]
async fn an_admin_sees_an_account_without_what_is_for_recommendations() {
    let server = TestServer::spawn();
    let (minji, admin) = (server.bidder("minji").await, server.admin().await);
    let told = json!({"birth_year": 1995, "gender": "female", "profile_consent": true});
    minji.patch("/v1/me", &told).await.with_status(200);
    let path = format!("/v1/users/{}", minji.id);
    let answer = admin.get(&path).await;
    let user = answer.with_status(200);
    assert_eq!((&user["nickname"], &user["roles"]), (&json!("minji"), &json!(["bidder"])));
    assert_eq!((&user["left_at"], &user["records_kept_until"]), (&Value::Null, &Value::Null));
    assert_eq!(user.get("birth_year").or(user.get("gender")), None);
    let request = admin.request(Method::GET, &path).header("if-none-match", answer.tag());
    assert_eq!(admin.send(request).await.status, 304);
    admin.get(&format!("/v1/users/{}", Uuid::now_v7())).await.refused(404, "user_not_found");
    admin.get("/v1/users/x").await.refused(404, "invalid_id");
}

#[tokio::test]
async fn a_role_that_is_given_leaves_the_tokens_alone() {
    let server = TestServer::spawn_with(|config| config.sellers = SellerModel::Approved);
    let (minji, admin) = (server.bidder("minji").await, server.admin().await);
    let user = admin.sets_roles(minji.id, json!(["seller", "bidder", "seller"])).await;
    assert_eq!(user.with_status(200)["roles"], json!(["bidder", "seller"]));
    assert_eq!(minji.get("/v1/me").await.with_status(200)["roles"], json!(["bidder", "seller"]));
    let again = admin.sets_roles(minji.id, json!(["bidder", "seller"])).await;
    assert_eq!(again.tag(), user.tag(), "nothing changed");
    minji.get("/v1/me").await.with_status(200);
    let tokens = "SELECT count(*) FROM users WHERE tokens_valid_from IS NOT NULL";
    assert_eq!(server.database.number(tokens).await, 0);
}

#[tokio::test]
async fn with_a_role_that_is_taken_away_go_the_tokens_that_tell_of_it() {
    let server = TestServer::spawn_with(|config| config.sellers = SellerModel::Approved);
    let ((sora, _), admin) = (server.seller_who_bids("sora").await, server.admin().await);
    sora.create_auction(&an_auction()).await.with_status(201);
    let user = admin.sets_roles(sora.id, json!(["bidder"])).await.with_status(200);
    assert_eq!(user["roles"], json!(["bidder"]));
    sora.create_auction(&an_auction()).await.refused(401, "token_invalid");
    sora.get("/v1/me").await.refused(401, "token_invalid");
    let tokens = "SELECT count(*) FROM users WHERE tokens_valid_from IS NOT NULL";
    assert_eq!(server.database.number(tokens).await, 1, "other nodes hear of it");
    let none = admin.sets_roles(sora.id, json!([])).await.with_status(200);
    assert_eq!(none["roles"], json!([]));
}

#[tokio::test]
async fn admins_keep_their_own_role_and_may_make_others() {
    let server = TestServer::spawn();
    let (minji, admin) = (server.bidder("minji").await, server.admin().await);
    admin.sets_roles(admin.id, json!(["bidder"])).await.refused(403, "own_admin_role");
    admin.sets_roles(admin.id, json!(["admin", "bidder"])).await.with_status(200);
    admin.get("/v1/seller-applications").await.with_status(200);
    admin.sets_roles(minji.id, json!(["admin"])).await.with_status(200);
    let second = server.caller_with(&server.token(minji.id, &[Role::Admin], 60));
    let path = format!("/v1/users/{}/roles", admin.id);
    second.put(&path, &json!({"roles": []})).await.with_status(200);
    admin.get("/v1/seller-applications").await.refused(401, "token_invalid");
}

#[tokio::test]
async fn nobody_but_an_admin_sees_or_sets_roles() {
    let server = TestServer::spawn();
    let (sora, minji) = server.seller_who_bids("sora").await;
    let path = format!("/v1/users/{}", sora.id);
    let roles = format!("{path}/roles");
    minji.get(&path).await.refused(403, "forbidden");
    minji.put(&roles, &json!({"roles": ["admin"]})).await.refused(403, "forbidden");
    let anyone = server.anonymous();
    anyone.get(&path).await.refused(401, "unauthenticated");
    anyone.put(&roles, &json!({"roles": ["admin"]})).await.refused(401, "unauthenticated");
    assert_eq!(minji.get("/v1/me").await.json()["roles"], json!(["bidder", "seller"]));
}

#[tokio::test]
async fn roles_that_are_none_are_refused() {
    let server = TestServer::spawn();
    let (minji, admin) = (server.bidder("minji").await, server.admin().await);
    for wrong in [json!(["owner"]), json!("admin"), json!([1]), Value::Null, json!(["Admin"])] {
        admin.sets_roles(minji.id, wrong).await.refused(422, "invalid_request");
    }
    let too_many =
        admin.sets_roles(minji.id, json!(["bidder", "bidder", "bidder", "bidder"])).await;
    assert_eq!(too_many.wrong_fields(), ["roles"]);
    let unknown = json!({"roles": [], "nickname": "x"});
    admin
        .put(&format!("/v1/users/{}/roles", minji.id), &unknown)
        .await
        .refused(422, "invalid_request");
    admin.sets_roles(Uuid::now_v7(), json!([])).await.refused(404, "user_not_found");
    admin.sets_roles("x", json!([])).await.refused(404, "invalid_id");
    assert_eq!(minji.get("/v1/me").await.json()["roles"], json!(["bidder"]));
}

#[tokio::test]
async fn who_set_whose_roles_is_logged_by_id() {
    let server = TestServer::spawn();
    let (minji, admin) = (server.bidder("minji").await, server.admin().await);
    admin.sets_roles(minji.id, json!(["seller"])).await.with_status(200);
    let logs = logs::kept();
    let (user, by) = (minji.id.to_string(), admin.id.to_string());
    let line = logs.lines().find(|line| line.contains("roles were set") && line.contains(&user));
    assert!(line.is_some_and(|line| line.contains(&by)), "{line:?}");
}
