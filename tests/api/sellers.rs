//! Seller applications: applying, deciding, and what is shown of a company.

use futures_util::future::join_all;
use hoga::{config::SellerModel, identity::Role};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    Answer, Bidder, Client, TestServer, an_auction, callers::Admin, in_s, in_time, logs, with,
};

const MINE: &str = "/v1/me/seller-application";
const ALL: &str = "/v1/seller-applications";

fn a_company() -> Value {
    json!({"company_name": "소라네 골동품", "business_number": "124-81-00998", "representative": "김소라",
        "contact_email": "help@sora.example.com", "contact_phone": "02-123-4567"})
}

/// As it is answered and shown.
fn the_company() -> Value {
    with(a_company(), json!({"business_number": "1248100998", "contact_phone": "+8221234567"}))
}

async fn applies(caller: &Client) -> String {
    let application = caller.post(MINE, &a_company()).await.with_status(201);
    application["id"].as_str().unwrap().to_owned()
}

impl Admin {
    async fn approves(&self, id: &str) -> Answer {
        let path = format!("{ALL}/{id}/approval");
        self.send(self.request(Method::POST, &path)).await
    }

    async fn refuses(&self, id: &str, reason: &str) -> Answer {
        self.post(&format!("{ALL}/{id}/refusal"), &json!({"reason": reason})).await
    }
}

/// With the roles that they have now, as after a refresh.
async fn refreshed(server: &TestServer, user: &Bidder) -> Client {
    let roles = server.store.user(user.id).await.unwrap().unwrap().roles;
    let roles: Vec<Role> = roles.iter().filter_map(|word| Role::from_word(word)).collect();
    server.caller_with(&server.token(user.id, &roles, 60))
}

#[tokio::test]
async fn an_application_is_approved_and_then_its_user_sells_as_the_company() {
    let server = TestServer::spawn_with(|config| config.sellers = SellerModel::Approved);
    let (sora, admin) = (server.bidder("sora").await, server.admin().await);
    sora.get(MINE).await.refused(404, "seller_application_not_found");
    let answer = sora.post(MINE, &a_company()).await;
    let application = answer.with_status(201);
    assert_eq!(answer.header("location"), Some(MINE));
    assert_eq!(
        (&application["status"], &application["company"]),
        (&json!("pending"), &the_company())
    );
    assert_eq!(application["user_id"], sora.id.to_string());
    assert_eq!(sora.get(MINE).await.with_status(200), application);
    let refused = sora.post("/v1/auctions", &an_auction()).await.refused(403, "forbidden");
    let advice = refused["detail"].as_str().unwrap();
    assert!(advice.contains("POST /v1/me/seller-application"), "{advice}");

    let approved = admin.approves(application["id"].as_str().unwrap()).await.with_status(200);
    assert_eq!((&approved["status"], &approved["reason"]), (&json!("approved"), &Value::Null));
    assert!(approved["decided_at"].is_string());
    assert_eq!(sora.get(MINE).await.with_status(200), approved);
    assert_eq!(sora.get("/v1/me").await.json()["roles"], json!(["bidder", "seller"]));

    let sora = refreshed(&server, &sora).await;
    let auction = sora.post("/v1/auctions", &an_auction()).await.with_status(201);
    assert_eq!(auction["seller"]["company"], the_company());
    let anyone = server.anonymous();
    let read = anyone.auction(auction["id"].as_str().unwrap()).await;
    assert_eq!(read["seller"]["company"], the_company());
    let listed = anyone.pages("/v1/auctions?sort=price_asc&q=%EB%8B%AC").await;
    assert_eq!(listed[0]["seller"]["company"], the_company());
}

#[tokio::test]
async fn a_refused_application_says_why_and_another_may_follow() {
    let server = TestServer::spawn();
    let (sora, admin) = (server.bidder("sora").await, server.admin().await);
    let first = applies(&sora).await;
    sora.post(MINE, &a_company()).await.refused(409, "seller_application_pending");
    let refused = admin.refuses(&first, " 상호가 다릅니다 ").await.with_status(200);
    assert_eq!(
        (&refused["status"], &refused["reason"]),
        (&json!("refused"), &json!("상호가 다릅니다"))
    );
    assert_eq!(sora.get(MINE).await.with_status(200)["reason"], "상호가 다릅니다");
    assert_eq!(sora.get("/v1/me").await.json()["roles"], json!(["bidder"]));
    let second = applies(&sora).await;
    assert_ne!(first, second);
    assert_eq!(sora.get(MINE).await.with_status(200)["id"], second.as_str());
    admin.approves(&second).await.with_status(200);
}

#[tokio::test]
async fn newer_details_take_the_place_of_approved_ones_once_approved() {
    let server = TestServer::spawn();
    let ((sora, _), admin) = (server.seller_who_bids("sora").await, server.admin().await);
    let id = sora.sells(an_auction()).await;
    let shown = async || sora.auction(&id).await["seller"]["company"].clone();
    assert_eq!(shown().await, Value::Null);
    let first = applies(&sora).await;
    assert_eq!(shown().await, Value::Null, "not before it is decided");
    sora.auction_once(&id, "live").await;
    let tag = sora.get(&format!("/v1/auctions/{id}")).await.tag();
    admin.approves(&first).await.with_status(200);
    assert_eq!(shown().await, the_company());
    let known =
        sora.request(Method::GET, &format!("/v1/auctions/{id}")).header("if-none-match", tag);
    assert_eq!(sora.send(known).await.status, 200, "it looks otherwise now");

    let moved = with(a_company(), json!({"contact_phone": "1588-1234"}));
    let second = sora.post(MINE, &moved).await.with_status(201)["id"].clone();
    assert_eq!(shown().await, the_company());
    admin.approves(second.as_str().unwrap()).await.with_status(200);
    assert_eq!(shown().await["contact_phone"], "+8215881234");
    let replaced = admin.pages(&format!("{ALL}?status=replaced")).await;
    assert_eq!(replaced.iter().map(|a| a["id"].clone()).collect::<Vec<_>>(), [json!(first)]);

    let third = applies(&sora).await;
    admin.refuses(&third, "x").await.with_status(200);
    assert_eq!(shown().await["contact_phone"], "+8215881234", "what was approved stays");
}

#[tokio::test]
async fn an_application_is_decided_once_however_many_decide() {
    let server = TestServer::spawn();
    let (sora, admin) = (server.bidder("sora").await, server.admin().await);
    let id = applies(&sora).await;
    let deciding =
        (0..8).map(|n| {
            let (admin, id) = (admin.clone(), id.clone());
            async move {
                if n % 2 == 0 { admin.approves(&id).await } else { admin.refuses(&id, "x").await }
            }
        });
    let answers = join_all(deciding).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(409, "seller_application_decided");
    }
    let is_approved = sora.get(MINE).await.json()["status"] == "approved";
    let roles = sora.get("/v1/me").await.json()["roles"].clone();
    assert_eq!(roles.as_array().unwrap().contains(&json!("seller")), is_approved);
}

#[tokio::test]
async fn of_two_applications_at_once_one_is_kept() {
    let server = TestServer::spawn();
    let sora = server.bidder("sora").await;
    let applying = (0..6).map(|_| async { sora.post(MINE, &a_company()).await });
    let answers = join_all(applying.collect::<Vec<_>>()).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.refused(409, "seller_application_pending");
    }
}

#[tokio::test]
async fn admins_list_applications_by_status_page_by_page() {
    let server = TestServer::spawn();
    let admin = server.admin().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let user = server.bidder(&format!("user {n}")).await;
        ids.push(applies(&user).await);
    }
    admin.approves(&ids[1]).await.with_status(200);
    admin.refuses(&ids[3], "x").await.with_status(200);
    let listed = async |query: &str| {
        let items = admin.pages(&format!("{ALL}?{query}")).await;
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("limit=2").await, ids, "the oldest first");
    assert_eq!(
        listed("status=pending&limit=1").await,
        [&ids[0], &ids[2], &ids[4]].map(Clone::clone)
    );
    assert_eq!(listed("status=approved").await, [ids[1].clone()]);
    assert_eq!(listed("status=refused").await, [ids[3].clone()]);
    for query in ["status=open", "limit=0", "user=x"] {
        admin.get(&format!("{ALL}?{query}")).await.refused(400, "invalid_query");
    }
    admin.get(&format!("{ALL}?cursor=x")).await.refused(400, "invalid_cursor");
}

#[tokio::test]
async fn only_admins_see_and_decide_the_applications_of_others() {
    let server = TestServer::spawn();
    let ((sora, _), junho) = (server.seller_who_bids("sora").await, server.bidder("junho").await);
    let id = applies(&sora).await;
    junho.get(MINE).await.refused(404, "seller_application_not_found");
    for stranger in [&sora.client, &junho.client] {
        stranger.get(ALL).await.refused(403, "forbidden");
        let approval = stranger.request(Method::POST, &format!("{ALL}/{id}/approval"));
        stranger.send(approval).await.refused(403, "forbidden");
        let refusal = json!({"reason": "x"});
        stranger.post(&format!("{ALL}/{id}/refusal"), &refusal).await.refused(403, "forbidden");
    }
    let anyone = server.anonymous();
    anyone.get(MINE).await.refused(401, "unauthenticated");
    anyone.post(MINE, &a_company()).await.refused(401, "unauthenticated");
    anyone.get(ALL).await.refused(401, "unauthenticated");
    let admin = server.admin().await;
    admin.approves(&Uuid::now_v7().to_string()).await.refused(404, "seller_application_not_found");
    admin.approves("x").await.refused(404, "invalid_id");
    admin
        .refuses(&Uuid::now_v7().to_string(), "x")
        .await
        .refused(404, "seller_application_not_found");
    assert_eq!(sora.get(MINE).await.with_status(200)["status"], "pending");
}

#[tokio::test]
async fn each_field_that_is_wrong_is_named_and_nothing_is_kept() {
    let server = TestServer::spawn();
    let (sora, admin) = (server.bidder("sora").await, server.admin().await);
    for (field, value) in [
        ("company_name", json!("")),
        ("company_name", json!("가".repeat(101))),
        ("company_name", json!("a\0b")),
        ("business_number", json!("124-81-00999")),
        ("business_number", json!("124-81-0099")),
        ("business_number", json!("12481-00998")),
        ("business_number", json!("000-00-00000")),
        ("business_number", json!("")),
        ("business_number", json!(1_248_100_998)),
        ("representative", json!(" ")),
        ("representative", json!("가".repeat(51))),
        ("contact_email", json!("help")),
        ("contact_email", json!("help@sora")),
        ("contact_email", json!("a b@sora.example.com")),
        ("contact_phone", json!("02-123")),
        ("contact_phone", Value::Null),
    ] {
        let answer = sora.post(MINE, &with(a_company(), json!({field: value}))).await;
        assert_eq!(answer.wrong_fields(), [field], "{value}");
    }
    let all = json!({"company_name": "", "business_number": "", "representative": "", "contact_email": "", "contact_phone": ""});
    let named = sora.post(MINE, &all).await.wrong_fields();
    assert_eq!(
        named,
        ["company_name", "business_number", "representative", "contact_email", "contact_phone"]
    );
    for unknown in ["status", "user_id", "reason"] {
        sora.post(MINE, &with(a_company(), json!({unknown: "approved"})))
            .await
            .refused(422, "invalid_request");
    }
    sora.get(MINE).await.refused(404, "seller_application_not_found");

    let id = applies(&sora).await;
    for reason in ["", "  ", "a\0b", "가".repeat(501).as_str()] {
        assert_eq!(admin.refuses(&id, reason).await.wrong_fields(), ["reason"]);
    }
    let refusal = format!("{ALL}/{id}/refusal");
    admin.post(&refusal, &json!({})).await.refused(422, "invalid_request");
    admin
        .post(&refusal, &json!({"reason": "x", "status": "approved"}))
        .await
        .refused(422, "invalid_request");
    assert_eq!(sora.get(MINE).await.with_status(200)["status"], "pending");
}

#[tokio::test]
async fn where_sellers_are_approved_the_token_has_to_say_so_also_to_relist() {
    let server = TestServer::spawn_with(|config| config.sellers = SellerModel::Approved);
    let (_, bidder) = server.seller_who_bids("sora").await;
    let sora = refreshed(&server, &bidder).await;
    let id = in_time(async |soon| {
        let short = with(an_auction(), json!({"ends_at": soon.in_ms(1_500)}));
        sora.post("/v1/auctions", &short).await.with_status(201)["id"].clone()
    })
    .await;
    let id = id.as_str().unwrap();
    sora.auction_once(id, "ended").await;
    let path = format!("/v1/auctions/{id}/relist");
    let without_role = server.caller_with(&server.token(bidder.id, &[Role::Bidder], 60));
    let relisting = json!({"ends_at": in_s(60)});
    without_role.post(&path, &relisting).await.refused(403, "forbidden");
    sora.post(&path, &relisting).await.with_status(201);
}

#[tokio::test]
async fn what_a_company_tells_and_why_it_was_refused_is_in_no_log_but_who_decided_is() {
    let server = TestServer::spawn();
    let (sora, admin) = (server.bidder("sora").await, server.admin().await);
    let secret =
        json!({"representative": "비밀대표자", "contact_email": "secret-contact@sora.example.com"});
    let id = sora.post(MINE, &with(a_company(), secret)).await.with_status(201)["id"].clone();
    let id = id.as_str().unwrap();
    admin.refuses(id, "비밀의 사유").await.with_status(200);
    let logs = logs::kept();
    for private in ["비밀대표자", "secret-contact", "비밀의 사유"] {
        assert!(!logs.contains(private), "{private}");
    }
    let line = logs.lines().find(|line| line.contains(id)).expect("a line about it");
    assert!(line.contains(&admin.id.to_string()) && line.contains("refused"), "{line}");
}
