//! Webhooks as admins manage them: what may be made, read, changed and removed, and what may not.

use serde_json::{Value, json};

use super::{
    support::TestServer,
    webhooks::{Shop, id_of},
};

#[tokio::test]
async fn a_webhook_is_made_read_changed_and_removed() {
    let shop = Shop::silent().await;
    let new = json!({"url": "https://shop.example.com/hoga?key=1", "description": "낙찰 처리"});
    let answer = shop.admin.post(&shop.path(), &new).await;
    let made = answer.with_status(201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let id = id_of(&made);
    assert!(answer.header("location").unwrap().ends_with(&shop.path_of(&id)));
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!((&made["types"], &made["url"]), (&json!(["*"]), &new["url"]));
    let mut read = shop.read(&id).await;
    assert_eq!(read["secret"], Value::Null, "shown once");
    read["secret"] = made["secret"].clone();
    assert_eq!(read, made);

    let changes =
        json!({"types": ["bid.*", "auction.closed"], "description": null, "disabled": true});
    let changed = shop.admin.patch(&shop.path_of(&id), &changes).await.with_status(200);
    assert_eq!((&changed["types"], &changed["description"]), (&changes["types"], &Value::Null));
    assert_eq!((&changed["disabled_because"], &changed["url"]), (&json!("operator"), &new["url"]));

    let (second, _) = shop.webhook("https://other.example.com/", &["*"]).await;
    let listed = shop.admin.pages(&shop.path()).await;
    assert_eq!(listed.iter().map(id_of).collect::<Vec<_>>(), [id.clone(), second]);

    assert_eq!(shop.admin.remove(&shop.path_of(&id)).await.status, 204);
    shop.admin.get(&shop.path_of(&id)).await.refused(404, "webhook_not_found");
    shop.admin.remove(&shop.path_of(&id)).await.refused(404, "webhook_not_found");
    assert_eq!(shop.admin.pages(&shop.path()).await.len(), 1);
}

#[tokio::test]
async fn addresses_that_are_not_public_https_are_refused() {
    let shop = Shop::silent().await;
    for url in [
        "",
        "shop.example.com",
        "http://shop.example.com/",
        "ftp://shop.example.com/",
        "https://user:secret@shop.example.com/",
        "https://shop.example.com/#fragment",
        "https://shop.example.com:22/",
        "https://10.0.0.1/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:192.168.0.1]/",
        "https://[fd00::1]/",
        "https://2130706434:25/",
        "https://postgres/",
        "https://db.internal/",
    ] {
        let answer = shop.admin.post(&shop.path(), &json!({"url": url})).await;
        assert_eq!(answer.wrong_fields(), ["url"], "{url}");
    }
    let (id, _) = shop.webhook("https://shop.example.com/", &["*"]).await;
    let elsewhere = json!({"url": "https://10.0.0.1/"});
    let answer = shop.admin.patch(&shop.path_of(&id), &elsewhere).await;
    assert_eq!(answer.wrong_fields(), ["url"]);
}

#[tokio::test]
async fn this_machine_is_refused_unless_the_operator_allows_it() {
    let server = TestServer::spawn();
    let admin = server.admin().await;
    let client = id_of(&admin.post("/v1/clients", &json!({"name": "x"})).await.with_status(201));
    for url in ["http://127.0.0.1:9000/", "https://127.0.0.1:9000/", "https://localhost:9000/"] {
        let path = format!("/v1/clients/{client}/webhooks");
        let answer = admin.post(&path, &json!({"url": url})).await;
        assert_eq!(answer.wrong_fields(), ["url"], "{url}");
    }
}

#[tokio::test]
async fn what_cannot_stand_is_refused_with_its_places() {
    let shop = Shop::silent().await;
    let (id, _) = shop.webhook("https://shop.example.com/", &["*"]).await;
    let long = "https://shop.example.com/".to_owned() + &"x".repeat(2_048);
    for (changes, field) in [
        (json!({"url": long}), "url"),
        (json!({"url": "https://shop.example.com/\u{0}"}), "url"),
        (json!({"types": []}), "types"),
        (json!({"types": vec!["*"; 21]}), "types"),
        (json!({"types": ["*", "bid.taken"]}), "types[1]"),
        (json!({"types": ["bid*"]}), "types[0]"),
        (json!({"description": ""}), "description"),
        (json!({"description": "x".repeat(201)}), "description"),
        (json!({"description": "two\nlines"}), "description"),
        (json!({"disabled": "yes"}), "disabled"),
    ] {
        let answer = shop.admin.patch(&shop.path_of(&id), &changes).await;
        assert_eq!(answer.wrong_fields(), [field], "{changes}");
    }
    let unknown = shop.admin.patch(&shop.path_of(&id), &json!({"secret": "whsec_x"})).await;
    unknown.refused(422, "invalid_request");
    let without_url = shop.admin.post(&shop.path(), &json!({"types": ["*"]})).await;
    without_url.refused(422, "invalid_request");
    let path = |rest: &str| format!("{}/{rest}", shop.path_of(&id));
    let rotation = shop.admin.post(&path("secret"), &json!({"overlap_s": 604_801})).await;
    assert_eq!(rotation.wrong_fields(), ["overlap_s"]);
    let replay = shop.admin.post(&path("replay"), &json!({"since": "yesterday"})).await;
    assert_eq!(replay.wrong_fields(), ["since"]);
    let replay = json!({"since": "2026-01-01T00:00:00Z", "cursor": "x"});
    shop.admin.post(&path("replay"), &replay).await.refused(400, "invalid_cursor");
    for query in ["?cursor=x", "?limit=0", "?status=lost", "?more=1"] {
        let answer = shop.admin.get(&path(&format!("deliveries{query}"))).await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[tokio::test]
async fn nothing_is_found_under_somebody_elses_client_or_webhook() {
    let shop = Shop::silent().await;
    let other =
        id_of(&shop.admin.post("/v1/clients", &json!({"name": "y"})).await.with_status(201));
    let (id, _) = shop.webhook("https://shop.example.com/", &["*"]).await;
    let (neighbour, _) = shop.webhook("https://shop.example.com/2", &["*"]).await;
    let delivery = id_of(&shop.test(&id).await);
    let of_other = format!("/v1/clients/{other}/webhooks/{id}");
    shop.admin.get(&of_other).await.refused(404, "webhook_not_found");
    shop.admin.remove(&of_other).await.refused(404, "webhook_not_found");
    let at_neighbour = format!("{}/deliveries/{delivery}", shop.path_of(&neighbour));
    shop.admin.get(&at_neighbour).await.refused(404, "webhook_delivery_not_found");
    let replay = format!("{at_neighbour}/replay");
    let answer = shop.admin.post(&replay, &Value::Null).await;
    answer.refused(404, "webhook_delivery_not_found");
    shop.admin.get("/v1/clients/nobody/webhooks").await.refused(404, "client_not_found");
    shop.admin.get("/v1/clients/%00/webhooks").await.refused(404, "client_not_found");
    shop.admin.get(&shop.path_of("x")).await.refused(404, "invalid_id");
}

#[tokio::test]
async fn a_client_has_so_many_webhooks_and_no_more() {
    let shop = Shop::silent().await;
    let mut last = String::new();
    for place in 0..10 {
        (last, _) = shop.webhook(&format!("https://shop.example.com/{place}"), &["*"]).await;
    }
    let another = json!({"url": "https://shop.example.com/11"});
    shop.admin.post(&shop.path(), &another).await.refused(409, "too_many_webhooks");
    assert_eq!(shop.admin.remove(&shop.path_of(&last)).await.status, 204);
    shop.admin.post(&shop.path(), &another).await.with_status(201);
}

#[tokio::test]
async fn deliveries_are_listed_by_status_page_by_page() {
    let shop = Shop::silent().await;
    let (id, _) = shop.webhook("https://shop.example.com/", &["*"]).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(id_of(&shop.test(&id).await));
    }
    made.reverse();
    let path = format!("{}/deliveries", shop.path_of(&id));
    let listed: Vec<String> = shop.admin.pages(&path).await.iter().map(id_of).collect();
    assert_eq!(listed, made, "the newest first");
    let page = shop.admin.get(&format!("{path}?limit=2")).await.with_status(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = shop.admin.get(&format!("{path}?limit=3&cursor={cursor}")).await.with_status(200);
    let items = next["items"].as_array().unwrap();
    assert_eq!(items.iter().map(id_of).collect::<Vec<_>>(), made[2..]);
    assert_eq!(next["next_cursor"], Value::Null);
    assert_eq!(shop.deliveries(&id, "&status=delivered").await.len(), 0);
    assert_eq!(shop.deliveries(&id, "&status=waiting").await.len(), 5);
}
