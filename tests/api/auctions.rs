//! Auctions: creating, listing, reading, editing, deleting, relisting.

use hoga::{config::SellerModel, http::auctions::listing::NewAuctionBody};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    Client, Seller, TestServer, an_auction, fresh_key, in_s, in_time, sells_briefly, with,
};

/// Opens tomorrow.
fn a_scheduled_auction() -> Value {
    with(an_auction(), json!({"starts_at": in_s(3_600), "ends_at": in_s(7_200)}))
}

async fn titles(client: &Client, query: &str) -> Vec<String> {
    let items = client.pages(&format!("/v1/auctions?{query}")).await;
    items.iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

/// An auction with a title.
async fn titled(sora: &Seller, title: &str, changes: Value) -> String {
    sora.sells(with(with(an_auction(), changes), json!({"title": title}))).await
}

#[tokio::test]
async fn an_auction_is_edited_a_hundred_times_and_no_more() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(a_scheduled_auction()).await;
    for n in 0..100 {
        sora.update(&id, "*", &json!({"title": format!("{n}")})).await.with_status(200);
    }
    sora.update(&id, "*", &json!({"title": "x"})).await.refused(409, "edit_limit_reached");
    assert_eq!(sora.auction(&id).await["title"], "99");
    assert_eq!(sora.delete(&id, "*").await.status, 204, "it can still be called off");
}

#[tokio::test]
async fn three_fields_are_enough_to_create_an_auction() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let new = json!({"title": " 달항아리 ", "opening_price": 10_000, "ends_at": in_s(60)});
    let answer = sora.create_auction(&new).await;
    let auction = answer.with_status(201);
    assert_eq!(auction["title"], "달항아리", "without the blanks around it");
    assert_eq!(auction["currency"], "KRW");
    assert_eq!(auction["increment"], json!({"kind": "table", "table": "won"}));
    assert_eq!(
        auction["seller"],
        json!({"id": sora.id.to_string(), "nickname": "sora", "company": null})
    );
    assert_eq!(auction["minimum_next_bid"], auction["opening_price"]);
    assert_eq!(auction["bid_count"], 0);
    assert_eq!(auction["starts_at"], auction["created_at"], "left out, it starts now");
    let id = auction["id"].as_str().unwrap();
    assert_eq!(answer.header("location").unwrap(), format!("/v1/auctions/{id}"));
    assert_eq!(server.anonymous().auction_once(id, "live").await["seq"], 2);
}

#[tokio::test]
async fn everything_that_was_sent_is_answered() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let new = json!({
        "title": "Moon jar", "description": "A jar.", "category": "art",
        "image_keys": ["a/1.jpg", "a/2.jpg"], "attributes": {"period": "18세기"},
        "currency": "USD", "opening_price": 1_000,
        "increment": {"kind": "table", "rules": [{"below": 5_000, "step": 50}, {"below": null, "step": 100}]},
        "reserve_price": 2_000, "buy_now_price": 9_000, "bids_per_bidder_max": 3,
        "starts_at": in_s(60), "ends_at": in_s(120),
        "soft_close": {"trigger_window_s": 30, "extension_s": 20, "mode": "reset", "max_ends_at": in_s(240)},
    });
    let auction = sora.create_auction(&new).await.with_status(201);
    for field in [
        "title",
        "description",
        "category",
        "image_keys",
        "attributes",
        "currency",
        "increment",
        "bids_per_bidder_max",
        "starts_at",
        "ends_at",
        "soft_close",
    ] {
        assert_eq!(auction[field], new[field], "{field}");
    }
    for field in ["opening_price", "reserve_price", "buy_now_price"] {
        assert_eq!(auction[field], json!({"amount": new[field], "currency": "USD"}), "{field}");
    }
    assert_eq!(auction["status"], "scheduled");
    let id = auction["id"].as_str().unwrap();
    assert_eq!(sora.auction(id).await, auction, "read as it was answered");
}

#[tokio::test]
async fn every_kind_of_increment_is_taken_and_raises_the_minimum() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    for (increment, minimum) in [
        (json!({"kind": "fixed", "step": 700}), 10_700),
        (json!({"kind": "percent_of_opening", "basis_points": 251}), 10_251),
        (json!({"kind": "table", "table": "won"}), 11_000),
        (json!({"kind": "table", "table": "ebay_usd"}), 10_250),
    ] {
        let id = sora.sells(with(an_auction(), json!({"increment": increment}))).await;
        let receipt = minji.offers(&id, 10_000).await.with_status(201);
        assert_eq!(receipt["minimum_next_bid"]["amount"], minimum, "{increment}");
    }
}

#[tokio::test]
async fn terms_that_cannot_stand_are_all_named() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let wrong = json!({
        "reserve_price": 1, "buy_now_price": 10_000, "bids_per_bidder_max": 0,
        "increment": {"kind": "percent_of_opening", "basis_points": 0},
        "starts_at": in_s(-3_600), "ends_at": in_s(-7_200),
        "soft_close": {"trigger_window_s": 0, "extension_s": 1, "mode": "extend", "max_ends_at": in_s(-9_000)},
    });
    let problem = sora.create_auction(&with(an_auction(), wrong)).await;
    let problem = problem.refused(422, "invalid_request");
    let fields: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["field"].as_str().unwrap())
        .collect();
    for field in [
        "reserve_price",
        "buy_now_price",
        "bids_per_bidder_max",
        "increment",
        "starts_at",
        "ends_at",
        "soft_close",
    ] {
        assert!(fields.contains(&field), "{field} is not in {fields:?}");
    }
}

#[tokio::test]
async fn a_list_can_be_of_a_status_a_category_a_seller_a_word_and_a_price() {
    let server = TestServer::spawn();
    let (sora, hana) = (server.seller("sora").await, server.seller("hana").await);
    titled(&sora, "백자 달항아리", json!({"category": "art", "opening_price": 5_000})).await;
    titled(&sora, "청자 매병", json!({"category": "art", "opening_price": 90_000})).await;
    titled(&hana, "Camera 100%_new", json!({"category": "cameras"})).await;
    let later = json!({"starts_at": in_s(3_600)});
    titled(&hana, "Lens", with(json!({"category": "cameras"}), later)).await;
    let anyone = server.anonymous();
    assert_eq!(titles(&anyone, "status=scheduled&category=cameras").await.last().unwrap(), "Lens");
    assert_eq!(
        titles(&anyone, "category=art&sort=price_asc").await,
        ["백자 달항아리", "청자 매병"]
    );
    let of_hana = format!("seller={}&sort=newest", hana.id);
    assert_eq!(titles(&anyone, &of_hana).await, ["Lens", "Camera 100%_new"]);
    assert_eq!(titles(&anyone, "q=%EB%8B%AC%ED%95%AD").await, ["백자 달항아리"]);
    assert_eq!(titles(&anyone, "q=camera").await, ["Camera 100%_new"], "whatever the case");
    assert_eq!(titles(&anyone, "q=0%25_n").await, ["Camera 100%_new"]);
    let percent = anyone.get("/v1/auctions?q=%25").await;
    assert!(percent.refused(400, "invalid_query").to_string().contains("a letter or a digit"));
    assert_eq!(titles(&anyone, "min_price=10001").await, ["청자 매병"]);
    assert_eq!(titles(&anyone, "max_price=5000").await, ["백자 달항아리"]);
    assert_eq!(titles(&anyone, "category=none").await, Vec::<String>::new());
    assert_eq!(titles(&anyone, "status=ended").await, Vec::<String>::new());
}

#[tokio::test]
async fn each_order_holds_over_pages_and_ends_with_a_null_cursor() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    // Two share every key, so that the tie-breaker has work to do.
    for (title, price, starts, ends) in
        [("a", 3_000, 60, 900), ("b", 1_000, 50, 700), ("c", 1_000, 50, 700), ("d", 2_000, 40, 800)]
    {
        let terms = json!({"opening_price": price,
            "starts_at": format!("2027-01-01T00:00:{starts:02}.000Z").replace(":60.", ":59."),
            "ends_at": format!("2027-01-02T00:00:00.{ends}Z")});
        titled(&sora, title, terms).await;
    }
    let anyone = server.anonymous();
    for (sort, expected) in [
        ("newest", ["d", "c", "b", "a"]),
        ("ending_soon", ["b", "c", "d", "a"]),
        ("opening_soon", ["d", "b", "c", "a"]),
        ("price_asc", ["b", "c", "d", "a"]),
        ("price_desc", ["a", "d", "c", "b"]),
    ] {
        for limit in [1, 2, 3, 4, 100] {
            let seen = titles(&anyone, &format!("sort={sort}&limit={limit}")).await;
            assert_eq!(seen, expected, "{sort} by {limit}");
        }
    }
    let whole = anyone.get("/v1/auctions?limit=4").await.with_status(200);
    assert_eq!(whole["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_cursor_stays_in_its_place_while_rows_are_added() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    for n in 0..6 {
        titled(&sora, &format!("before {n}"), json!({"opening_price": 1_000 + n})).await;
    }
    let anyone = server.anonymous();
    for sort in ["newest", "price_asc", "ending_soon"] {
        let path = format!("/v1/auctions?sort={sort}&limit=2&q=before");
        let expected = anyone.pages(&format!("/v1/auctions?sort={sort}&limit=100&q=before")).await;
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = anyone.get(&format!("{path}{cursor}")).await.with_status(200);
            seen.append(page["items"].as_array_mut().unwrap());
            // One that would come first, and one that would come last.
            titled(&sora, "added", json!({"opening_price": 1, "ends_at": in_s(60)})).await;
            titled(&sora, "added", json!({"opening_price": 900_000})).await;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let ids = |items: &[Value]| items.iter().map(|item| item["id"].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&seen), ids(&expected), "{sort}");
    }
}

#[tokio::test]
async fn an_unchanged_auction_is_not_sent_again() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    let anyone = server.anonymous();
    anyone.auction_once(&id, "live").await;
    let path = format!("/v1/auctions/{id}");
    let read = anyone.get(&path).await;
    let tag = read.tag();
    let again = |tag: String| {
        let request = anyone.request(reqwest::Method::GET, &path).header("if-none-match", tag);
        anyone.send(request)
    };
    let unchanged = again(tag.clone()).await;
    assert_eq!((unchanged.status, unchanged.bytes.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), Some(tag.as_str()));
    assert_eq!(again(format!("\"other\", W/{tag}")).await.status, 304);
    minji.offers(&id, 10_000).await.with_status(201);
    let changed = again(tag.clone()).await;
    assert_eq!(changed.with_status(200)["bid_count"], 1);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
}

#[tokio::test]
async fn a_scheduled_auction_is_edited_by_the_version_that_was_read() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let whole = json!({"category": "art", "reserve_price": 20_000, "buy_now_price": 30_000,
        "bids_per_bidder_max": 2,
        "soft_close": {"trigger_window_s": 30, "extension_s": 20, "mode": "extend", "max_ends_at": in_s(9_000)}});
    let created = sora.create_auction(&with(a_scheduled_auction(), whole)).await;
    let before = created.with_status(201);
    let id = before["id"].as_str().unwrap();

    let without = sora.request(reqwest::Method::PATCH, &format!("/v1/auctions/{id}"));
    sora.send(without.json(&json!({"title": "x"}))).await.refused(428, "precondition_required");
    sora.update(id, "\"7\"", &json!({"title": "x"})).await.refused(412, "precondition_failed");
    sora.update(id, "\"nonsense\"", &json!({})).await.refused(412, "precondition_failed");

    let edited =
        sora.update(id, &created.tag(), &json!({"title": "매병", "reserve_price": null})).await;
    let after = edited.with_status(200);
    assert_eq!(after["title"], "매병");
    assert_eq!(after["reserve_price"], Value::Null, "null takes away");
    for field in [
        "description",
        "category",
        "buy_now_price",
        "bids_per_bidder_max",
        "soft_close",
        "starts_at",
        "ends_at",
        "opening_price",
    ] {
        assert_eq!(after[field], before[field], "what is left out stays: {field}");
    }
    assert_eq!(after["seq"], 2);
    sora.update(id, &created.tag(), &json!({"title": "y"}))
        .await
        .refused(412, "precondition_failed");
    let nulls = json!({"category": null, "buy_now_price": null, "bids_per_bidder_max": null, "soft_close": null});
    let after = sora.update(id, "*", &nulls).await.with_status(200);
    for field in ["category", "buy_now_price", "bids_per_bidder_max", "soft_close"] {
        assert_eq!(after[field], Value::Null, "{field}");
    }
    assert_eq!(sora.log_types(id).await, ["auction.scheduled", "auction.edited", "auction.edited"]);
}

#[tokio::test]
async fn an_edit_that_moves_the_start_moves_the_opening() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(a_scheduled_auction()).await;
    in_time(async |soon| {
        sora.update(&id, "*", &json!({"starts_at": soon.in_ms(1_500)})).await.with_status(200);
    })
    .await;
    sora.auction_once(&id, "live").await;
}

#[tokio::test]
async fn an_edit_that_moves_the_start_moves_the_auction_in_the_list_by_openings() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let early = json!({"starts_at": in_s(3_600), "ends_at": in_s(9_000)});
    let first = titled(&sora, "first", early).await;
    titled(&sora, "second", json!({"starts_at": in_s(5_000), "ends_at": in_s(9_000)})).await;
    let anyone = server.anonymous();
    assert_eq!(titles(&anyone, "sort=opening_soon").await, ["first", "second"]);
    sora.update(&first, "*", &json!({"starts_at": in_s(7_200)})).await.with_status(200);
    assert_eq!(titles(&anyone, "sort=opening_soon").await, ["second", "first"]);
}

#[tokio::test]
async fn an_edit_is_the_sellers_own_and_of_a_scheduled_auction_alone() {
    let server = TestServer::spawn();
    let (sora, hana) = (server.seller("sora").await, server.seller("hana").await);
    let admin = server.admin().await;
    let id = sora.sells(a_scheduled_auction()).await;
    hana.update(&id, "*", &json!({"title": "mine"})).await.refused(403, "not_your_auction");
    admin.update(&id, "*", &json!({"title": "x"})).await.refused(403, "not_your_auction");
    let nobody = server.anonymous();
    nobody.update(&id, "*", &json!({})).await.refused(401, "unauthenticated");
    let live = sora.sells(an_auction()).await;
    sora.auction_once(&live, "live").await;
    let written = server.database.written().await;
    sora.update(&live, "*", &json!({"title": "x"})).await.refused(409, "auction_not_editable");
    let missing = uuid::Uuid::now_v7().to_string();
    sora.update(&missing, "*", &json!({})).await.refused(404, "auction_not_found");
    assert_eq!(server.database.written().await, written);
}

#[tokio::test]
async fn a_scheduled_auction_is_called_off_by_its_seller() {
    let server = TestServer::spawn();
    let (sora, hana) = (server.seller("sora").await, server.seller("hana").await);
    let created = sora.create_auction(&a_scheduled_auction()).await;
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let without = sora.request(reqwest::Method::DELETE, &format!("/v1/auctions/{id}"));
    sora.send(without).await.refused(428, "precondition_required");
    hana.delete(&id, "*").await.refused(403, "not_your_auction");
    sora.delete(&id, "\"9\"").await.refused(412, "precondition_failed");
    assert_eq!(sora.delete(&id, &created.tag()).await.status, 204);
    assert_eq!(sora.auction(&id).await["status"], "cancelled");
    assert_eq!(sora.log_types(&id).await, ["auction.scheduled", "auction.withdrawn"]);
    sora.delete(&id, "*").await.refused(409, "auction_not_editable");
    let minji = server.bidder("minji").await;
    let refused = minji.offers(&id, 10_000).await.refused(409, "auction_not_live");
    let advice = refused["detail"].as_str().unwrap();
    assert!(advice.contains("called off") && !advice.contains("Wait"), "{advice}");
}

#[tokio::test]
async fn a_live_auction_is_ended_by_an_admin_alone() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let admin = server.admin().await;
    let id = sora.sells(an_auction()).await;
    minji.offers(&id, 10_000).await.with_status(201);
    sora.delete(&id, "*").await.refused(409, "auction_not_editable");
    assert_eq!(admin.delete(&id, "*").await.status, 204);
    let auction = sora.auction(&id).await;
    assert_eq!(
        (&auction["status"], &auction["result"]),
        (&json!("ended"), &json!("cancelled_by_operator"))
    );
    admin.delete(&id, "*").await.refused(409, "auction_ended");
    minji.offers(&id, 90_000).await.refused(409, "auction_ended");
}

/// Over at once, without a bid.
async fn an_unsold_auction(sora: &Seller) -> String {
    let terms = json!({"reserve_price": 50_000, "category": "art"});
    let id = sells_briefly(sora, with(an_auction(), terms)).await;
    assert_eq!(sora.auction_once(&id, "ended").await["result"], "unsold_no_bids");
    id
}

#[tokio::test]
async fn an_unsold_auction_is_relisted_once_as_a_new_one() {
    let server = TestServer::spawn();
    let (sora, hana) = (server.seller("sora").await, server.seller("hana").await);
    let old = an_unsold_auction(&sora).await;
    hana.relist(&old, &json!({"ends_at": in_s(60)})).await.refused(403, "not_your_auction");
    let new = sora.relist(&old, &json!({"ends_at": in_s(60), "opening_price": 9_000})).await;
    let new = new.with_status(201);
    assert_eq!(new["relisted_from"], old.as_str());
    assert_eq!(new["opening_price"]["amount"], 9_000);
    assert_eq!(new["reserve_price"]["amount"], 50_000, "taken from the old one");
    assert_eq!(new["category"], "art");
    let again = sora.relist(&old, &json!({"ends_at": in_s(60)})).await;
    again.refused(409, "auction_not_relistable");
}

#[tokio::test]
async fn what_is_live_sold_or_called_off_is_not_relisted() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let relisting = json!({"ends_at": in_s(60)});
    let sold = sora.sells(with(an_auction(), json!({"buy_now_price": 20_000}))).await;
    sora.relist(&sold, &relisting).await.refused(409, "auction_not_relistable");
    minji.buys(&sold, &json!({})).await.with_status(201);
    sora.relist(&sold, &relisting).await.refused(409, "auction_not_relistable");
    let called_off = sora.sells(a_scheduled_auction()).await;
    sora.delete(&called_off, "*").await;
    sora.relist(&called_off, &relisting).await.refused(409, "auction_not_relistable");
}

#[tokio::test]
async fn relistings_at_the_same_time_make_one_auction() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let old = an_unsold_auction(&sora).await;
    let relisting = json!({"ends_at": in_s(600)});
    let attempts = (0..8).map(|_| sora.relist(&old, &relisting));
    let answers = futures_util::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 201 | 409)));
}

#[tokio::test]
async fn relistings_with_the_same_key_at_the_same_time_are_one_relisting() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let path = format!("/v1/auctions/{}/relist", an_unsold_auction(&sora).await);
    let (key, relisting) = (fresh_key(), json!({"starts_at": in_s(60), "ends_at": in_s(600)}));
    let attempts = (0..16).map(|_| sora.post_with_key(&path, &key, &relisting));
    let answers = futures_util::future::join_all(attempts).await;
    let id = answers[0].with_status(201)["id"].clone();
    assert!(answers.iter().all(|answer| answer.with_status(201)["id"] == id));
}

#[tokio::test]
async fn a_relisting_with_a_key_is_answered_again() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let path = format!("/v1/auctions/{}/relist", an_unsold_auction(&sora).await);
    let (key, relisting) = (fresh_key(), json!({"starts_at": in_s(60), "ends_at": in_s(600)}));
    let first = sora.post_with_key(&path, &key, &relisting).await;
    let id = first.with_status(201)["id"].clone();
    let again = sora.post_with_key(&path, &key, &relisting).await;
    assert_eq!(again.with_status(201)["id"], id);
    let other = json!({"ends_at": in_s(601)});
    sora.post_with_key(&path, &key, &other).await.refused(422, "idempotency_key_reused");
}

#[tokio::test]
async fn a_reserve_is_shown_to_its_seller_alone() {
    let server = TestServer::spawn();
    let (sora, hana) = (server.seller("sora").await, server.seller("hana").await);
    let (minji, admin) = (server.bidder("minji").await, server.admin().await);
    let id = sora.sells(with(an_auction(), json!({"reserve_price": 7_319_846}))).await;
    assert_eq!(sora.auction(&id).await["reserve_price"]["amount"], 7_319_846);
    let list = sora.get("/v1/auctions").await;
    assert!(list.text().contains("7319846"), "in the seller's own list too");
    for other in [&hana.client, &minji.client, &admin.client, &server.anonymous().client] {
        for path in
            [format!("/v1/auctions/{id}"), "/v1/auctions".into(), format!("/v1/auctions/{id}/log")]
        {
            let answer = other.get(&path).await;
            assert_eq!(answer.status, 200);
            assert!(!answer.text().contains("7319846") && !answer.text().contains("reserve_price"));
        }
    }
    assert_eq!(minji.offers(&id, 10_000).await.with_status(201)["reserve_met"], false);
    let over = json!({"max_amount": 9_000_000, "confirm_amount": 9_000_000});
    assert_eq!(minji.bid(&id, &over).await.with_status(201)["reserve_met"], true);
}

#[tokio::test]
async fn creating_with_the_same_key_makes_one_auction() {
    let server = TestServer::spawn();
    let (sora, hana) = (server.seller("sora").await, server.seller("hana").await);
    let (key, new) = (fresh_key(), an_auction());
    let attempts = (0..16).map(|_| sora.post_with_key("/v1/auctions", &key, &new));
    let answers = futures_util::future::join_all(attempts).await;
    let id = answers[0].with_status(201)["id"].clone();
    assert!(answers.iter().all(|answer| answer.with_status(201)["id"] == id));
    assert_eq!(server.database.number("SELECT count(*) FROM auctions").await, 1);
    let other = with(new.clone(), json!({"title": "other"}));
    let reused = sora.post_with_key("/v1/auctions", &key, &other).await;
    reused.refused(422, "idempotency_key_reused");
    let hers = hana.post_with_key("/v1/auctions", &key, &new).await.with_status(201);
    assert_ne!(hers["id"], id, "another seller's key is another key");
}

#[tokio::test]
async fn a_retry_hears_what_was_answered_first_however_the_request_is_written() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (key, new) = (fresh_key(), a_scheduled_auction());
    let first = sora.post_with_key("/v1/auctions", &key, &new).await;
    let id = first.with_status(201)["id"].as_str().unwrap().to_owned();
    sora.update(&id, "*", &json!({"title": "changed since"})).await.with_status(200);
    let again = sora.post_with_key("/v1/auctions", &key, &new).await;
    assert_eq!((again.status, &again.bytes), (201, &first.bytes));
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!(again.header("location"), first.header("location"));
    // The same in another order, and with what would have been taken for left out said aloud.
    let fields = new.as_object().unwrap().iter().rev();
    let written: Vec<String> =
        fields.map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    let written = format!("{{{}, \"reserve_price\": null}}", written.join(", "));
    let request = sora
        .request(reqwest::Method::POST, "/v1/auctions")
        .header("idempotency-key", &key)
        .header("content-type", "application/json")
        .body(written);
    let again = sora.send(request).await;
    assert_eq!((again.status, &again.bytes), (201, &first.bytes));
}

/// What is kept is kept for two days, and the server may be replaced by a newer one in between.
#[tokio::test]
async fn what_was_kept_under_the_fingerprint_of_before_is_answered_again() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let (key, new) = (fresh_key(), an_auction());
    let made = sora.post_with_key("/v1/auctions", &key, &new).await;
    let id = made.with_status(201)["id"].as_str().unwrap().to_owned();
    sora.auction_once(&id, "live").await;
    let (bid_key, bid) = (fresh_key(), json!({"amount": 10_000}));
    let bids = format!("/v1/auctions/{id}/bids");
    let receipt = minji.post_with_key(&bids, &bid_key, &bid).await;
    receipt.with_status(201);
    let body: NewAuctionBody = serde_json::from_value(new.clone()).unwrap();
    let parts =
        [format!("create_auction\0{body:?}\0"), format!("place_bid\0{id}\010000\0-\0-\0-\0")];
    let [of_auction, of_bid] = parts.map(|text| const_hex::encode(&Sha256::digest(text)[..16]));
    // As the migration takes over what was kept.
    let hash = |key: &str| {
        format!("('x' || encode(substr(sha256('{key}'), 1, 8), 'hex'))::bit(64)::bigint")
    };
    let fingerprint = |key: &str, of: &str| {
        let both = format!("sha256('{key}'::bytea || decode('{of}', 'hex'))");
        format!("encode(substr({both}, 1, 16), 'hex')::uuid")
    };
    let (auctions, bids_kept) = (fingerprint(&key, &of_auction), fingerprint(&bid_key, &of_bid));
    let before = [
        format!(
            "UPDATE receipts SET fingerprint = {auctions}, answer = '{id}' WHERE key_hash = {}",
            hash(&key)
        ),
        format!(
            "UPDATE receipts SET fingerprint = {bids_kept} WHERE key_hash = {}",
            hash(&bid_key)
        ),
    ];
    for update in before {
        assert_eq!(server.database.rows(&format!("{update} RETURNING 1")).await.len(), 1);
    }
    let again = sora.post_with_key("/v1/auctions", &key, &new).await.with_status(201);
    assert_eq!(again["id"], id.as_str());
    minji.post_with_key(&bids, &bid_key, &bid).await.is_again(&receipt);
    let other = json!({"amount": 20_000});
    let reused = minji.post_with_key(&bids, &bid_key, &other).await;
    reused.refused(422, "idempotency_key_reused");
}

#[tokio::test]
async fn creating_again_after_the_auction_has_ended_answers_the_same_auction() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (key, new, first) = in_time(async |soon| {
        let (key, new) = (fresh_key(), with(an_auction(), json!({"ends_at": soon.in_ms(1_500)})));
        let first = sora.post_with_key("/v1/auctions", &key, &new).await.with_status(201);
        (key, new, first)
    })
    .await;
    let id = first["id"].as_str().unwrap();
    sora.auction_once(id, "ended").await;
    let again = sora.post_with_key("/v1/auctions", &key, &new).await;
    assert_eq!(again.with_status(201)["id"], id);
}

#[tokio::test]
async fn where_sellers_are_approved_only_they_create_auctions() {
    let server = TestServer::spawn_with(|config| config.sellers = SellerModel::Approved);
    let (minji, admin) = (server.bidder("minji").await, server.admin().await);
    minji.post("/v1/auctions", &an_auction()).await.refused(403, "forbidden");
    admin.post("/v1/auctions", &an_auction()).await.refused(403, "forbidden");
    let nobody = server.anonymous().post("/v1/auctions", &an_auction()).await;
    nobody.refused(401, "unauthenticated");
    assert!(nobody.header("www-authenticate").unwrap().starts_with("Bearer"));
    assert_eq!(server.database.number("SELECT count(*) FROM auctions").await, 0);
}

#[tokio::test]
async fn where_everybody_may_sell_whoever_may_bid_does() {
    let server = TestServer::spawn();
    let (minji, admin) = (server.bidder("minji").await, server.admin().await);
    let id = minji.post("/v1/auctions", &an_auction()).await.with_status(201)["id"].clone();
    let path = format!("/v1/auctions/{}/relist", id.as_str().unwrap());
    minji.post(&path, &json!({"ends_at": in_s(60)})).await.refused(409, "auction_not_relistable");
    admin.post("/v1/auctions", &an_auction()).await.refused(403, "forbidden");
    server.anonymous().post("/v1/auctions", &an_auction()).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn what_was_told_is_not_kept_in_the_outbox() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(a_scheduled_auction()).await;
    let live = sora.sells(an_auction()).await;
    minji.offers(&live, 10_000).await.with_status(201);
    sora.update(&id, "*", &json!({"title": "x"})).await.with_status(200);
    server.all_is_published().await;
}
