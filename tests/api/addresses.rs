//! Addresses: keeping them, the one default, and that nobody else sees them.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, Bidder, TestServer, logs, with};

const PATH: &str = "/v1/me/addresses";

fn an_address() -> Value {
    json!({"recipient": "김민지", "phone": "010-1234-5678", "postal_code": "04524", "line1": "세종대로 110"})
}

async fn add(minji: &Bidder, changes: Value) -> Value {
    minji.post(PATH, &with(an_address(), changes)).await.with_status(201)
}

async fn change(minji: &Bidder, id: &Value, changes: Value) -> Answer {
    minji.patch(&at(id), &changes).await
}

fn at(id: &Value) -> String {
    format!("{PATH}/{}", id.as_str().unwrap())
}

/// The ids of the default ones.
async fn defaults(minji: &Bidder) -> Vec<Value> {
    let all = minji.pages(PATH).await;
    all.into_iter().filter(|a| a["is_default"] == true).map(|mut a| a["id"].take()).collect()
}

#[tokio::test]
async fn an_address_is_kept_and_answered_as_it_was_sent() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let whole = json!({"label": " 집 ", "recipient": "김민지", "phone": "+82 10 1234 5678", "postal_code": "04524",
        "line1": "서울특별시 중구 세종대로 110", "line2": "101동 1001호", "is_default": true});
    let answer = minji.post(PATH, &whole).await;
    let address = answer.with_status(201);
    assert_eq!((&address["label"], &address["phone"]), (&json!("집"), &json!("+821012345678")));
    for field in ["recipient", "postal_code", "line1", "line2", "is_default"] {
        assert_eq!(address[field], whole[field], "{field}");
    }
    assert_eq!(answer.header("location").unwrap(), at(&address["id"]));
    let read = minji.get(&at(&address["id"])).await;
    assert_eq!((read.with_status(200), read.tag()), (address.clone(), answer.tag()));
    assert_eq!(read.header("cache-control"), Some("private, no-cache"));
    assert_eq!(minji.pages(PATH).await, [address]);
}

#[tokio::test]
async fn only_what_is_named_changes_and_null_takes_away() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let before = add(&minji, json!({"label": "집", "line2": "101호"})).await;
    let changes = json!({"line2": null, "phone": "02-123-4567"});
    let after = change(&minji, &before["id"], changes).await.with_status(200);
    let expected = with(before, json!({"line2": null, "phone": "+8221234567"}));
    assert_eq!(after, expected);
    let again = change(&minji, &after["id"], json!({})).await.with_status(200);
    assert_eq!(again, expected);
}

#[tokio::test]
async fn the_first_is_the_default_and_another_takes_it_over() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let first = add(&minji, json!({"is_default": false})).await;
    assert_eq!(first["is_default"], true);
    let second = add(&minji, json!({})).await;
    assert_eq!(second["is_default"], false);
    let third = add(&minji, json!({"is_default": true})).await;
    assert_eq!(defaults(&minji).await, [third["id"].clone()]);
    change(&minji, &second["id"], json!({"is_default": true})).await.with_status(200);
    assert_eq!(defaults(&minji).await, [second["id"].clone()]);
    change(&minji, &second["id"], json!({"is_default": true})).await.with_status(200);
    change(&minji, &first["id"], json!({"is_default": false})).await.with_status(200);
    let none = change(&minji, &second["id"], json!({"is_default": false})).await;
    assert_eq!(none.wrong_fields(), ["is_default"]);
    assert_eq!(defaults(&minji).await, [second["id"].clone()]);
}

#[tokio::test]
async fn who_deletes_the_default_hands_it_to_the_oldest() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let (first, second) = (add(&minji, json!({})).await, add(&minji, json!({})).await);
    let third = add(&minji, json!({"is_default": true})).await;
    assert_eq!(minji.remove(&at(&third["id"])).await.status, 204);
    assert_eq!(defaults(&minji).await, [first["id"].clone()]);
    assert_eq!(minji.remove(&at(&second["id"])).await.status, 204);
    assert_eq!(defaults(&minji).await, [first["id"].clone()], "it was not the default");
    assert_eq!(minji.remove(&at(&first["id"])).await.status, 204);
    assert_eq!(minji.pages(PATH).await, [] as [Value; 0]);
    minji.remove(&at(&first["id"])).await.refused(404, "address_not_found");
    assert_eq!(add(&minji, json!({})).await["is_default"], true);
}

#[tokio::test]
async fn of_many_changes_at_once_one_default_is_left() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let made = join_all((0..8).map(|n| add(&minji, json!({"is_default": n % 2 == 0})))).await;
    assert_eq!(defaults(&minji).await.len(), 1);
    let changing =
        made.iter().map(|address| change(&minji, &address["id"], json!({"is_default": true})));
    for answer in join_all(changing).await {
        answer.with_status(200);
    }
    assert_eq!(defaults(&minji).await.len(), 1);
    let (gone, rest) = made.split_at(4);
    let deleting = join_all(gone.iter().map(|address| at(&address["id"])).map(|path| {
        let minji = minji.clone();
        async move { minji.remove(&path).await.status }
    }));
    let changing =
        join_all(rest.iter().map(|a| change(&minji, &a["id"], json!({"is_default": true}))));
    let (deleted, changed) = futures_util::future::join(deleting, changing).await;
    assert_eq!(deleted, [204; 4]);
    assert!(changed.iter().all(|answer| answer.status == 200));
    assert_eq!(defaults(&minji).await.len(), 1);
    assert_eq!(minji.pages(PATH).await.len(), 4);
}

#[tokio::test]
async fn nobody_has_more_than_twenty_also_when_asked_for_at_once() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let adding = (0..24).map(|_| async { minji.post(PATH, &an_address()).await });
    let answers = join_all(adding.collect::<Vec<_>>()).await;
    let (kept, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!((kept.len(), refused.len()), (20, 4));
    for answer in refused {
        answer.refused(409, "address_limit_reached");
    }
    let junho = server.bidder("junho").await;
    add(&junho, json!({})).await;
}

#[tokio::test]
async fn a_list_is_paged_and_holds_ones_own_alone() {
    let server = TestServer::spawn();
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    add(&junho, json!({})).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(add(&minji, json!({})).await);
    }
    assert_eq!(minji.pages(&format!("{PATH}?limit=2")).await, made, "the oldest first");
    for query in ["limit=0", "limit=101", "limit=x", "sort=new"] {
        minji.get(&format!("{PATH}?{query}")).await.refused(400, "invalid_query");
    }
    minji.get(&format!("{PATH}?cursor=x")).await.refused(400, "invalid_cursor");
}

#[tokio::test]
async fn an_address_of_somebody_else_is_not_there() {
    let server = TestServer::spawn();
    let (minji, junho, admin) =
        (server.bidder("minji").await, server.bidder("junho").await, server.admin().await);
    let path = at(&add(&minji, json!({})).await["id"]);
    for stranger in [&junho.client, &admin.client] {
        stranger.get(&path).await.refused(404, "address_not_found");
        stranger.patch(&path, &json!({"is_default": true})).await.refused(404, "address_not_found");
        stranger.remove(&path).await.refused(404, "address_not_found");
    }
    let anyone = server.anonymous();
    anyone.get(PATH).await.refused(401, "unauthenticated");
    anyone.post(PATH, &an_address()).await.refused(401, "unauthenticated");
    anyone.get(&path).await.refused(401, "unauthenticated");
    anyone.patch(&path, &json!({})).await.refused(401, "unauthenticated");
    anyone.remove(&path).await.refused(401, "unauthenticated");
    minji.get(&format!("{PATH}/{}", Uuid::now_v7())).await.refused(404, "address_not_found");
    minji.get(&format!("{PATH}/x")).await.refused(404, "invalid_id");
    minji.get(&path).await.with_status(200);
}

#[tokio::test]
async fn each_field_that_is_wrong_is_named_and_nothing_is_kept() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let kept = add(&minji, json!({})).await;
    for (field, value) in [
        ("recipient", json!("")),
        ("recipient", json!("가".repeat(51))),
        ("recipient", json!("김\0민지")),
        ("recipient", json!(7)),
        ("phone", json!("")),
        ("phone", json!("010-123-4567")),
        ("phone", json!("1234")),
        ("phone", json!("12125550100")),
        ("phone", json!("010-1234-567a")),
        ("phone", json!("0".repeat(500))),
        ("postal_code", json!("4524")),
        ("postal_code", json!("100-011")),
        ("postal_code", json!("0452a")),
        ("postal_code", json!(4_524)),
        ("line1", json!(" ")),
        ("line1", json!("가".repeat(201))),
        ("line2", json!("")),
        ("line2", json!("a\u{202e}b")),
        ("label", json!("가".repeat(31))),
        ("is_default", json!("yes")),
    ] {
        let new = minji.post(PATH, &with(an_address(), json!({field: value}))).await;
        assert_eq!(new.wrong_fields(), [field], "{value}");
        let changed = change(&minji, &kept["id"], json!({field: value})).await;
        assert_eq!(changed.wrong_fields(), [field], "{value}");
    }
    let all = json!({"recipient": "", "phone": "", "postal_code": "", "line1": "", "line2": "", "label": ""});
    let named = minji.post(PATH, &all).await.wrong_fields();
    assert_eq!(named, ["label", "recipient", "phone", "postal_code", "line1", "line2"]);
    for missing in ["recipient", "phone", "postal_code", "line1"] {
        let mut new = an_address();
        new.as_object_mut().unwrap().remove(missing);
        let problem = minji.post(PATH, &new).await.refused(422, "invalid_request");
        assert!(problem.to_string().contains(missing), "{problem}");
    }
    for unknown in ["user_id", "id", "country", "created_at"] {
        minji
            .post(PATH, &with(an_address(), json!({unknown: "x"})))
            .await
            .refused(422, "invalid_request");
        change(&minji, &kept["id"], json!({unknown: "x"})).await.refused(422, "invalid_request");
    }
    minji.post_bytes(PATH, "{").await.refused(400, "malformed_json");
    assert_eq!(minji.pages(PATH).await, [kept]);
}

#[tokio::test]
async fn a_known_address_is_not_sent_again_and_a_stale_one_not_changed() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let path = at(&add(&minji, json!({})).await["id"]);
    let tag = minji.get(&path).await.tag();
    let request = minji.request(Method::GET, &path).header("if-none-match", tag.clone());
    assert_eq!(minji.send(request).await.status, 304);
    let with_tag = || {
        let request = minji.request(Method::PATCH, &path).header("if-match", tag.clone());
        minji.send(request.json(&json!({"label": "집"})))
    };
    with_tag().await.with_status(200);
    with_tag().await.refused(412, "precondition_failed");
}

#[tokio::test]
async fn where_somebody_lives_is_in_no_log() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let secret = json!({"recipient": "비밀수령인", "phone": "010-9753-8642", "line1": "비밀로 17"});
    let address = add(&minji, secret).await;
    minji.get(&at(&address["id"])).await.with_status(200);
    let wrong = with(an_address(), json!({"line1": "비밀로 17\0"}));
    minji.post(PATH, &wrong).await.refused(422, "invalid_request");
    let logs = logs::kept();
    for private in ["비밀수령인", "97538642", "9753-8642", "비밀로"] {
        assert!(!logs.contains(private), "{private}");
    }
}
