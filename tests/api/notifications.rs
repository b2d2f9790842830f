//! Notifications: who is told what, once, and what they do not want to hear of.

use std::sync::Arc;

use futures_util::future::join_all;
use hoga::{
    domain::id::{AuctionId, UserId},
    events::{bus::Consumer, envelope::Envelope},
    notify::{Notifier, Options},
    store::{PageTold, Store},
    wall_clock,
};
use serde_json::{Value, json};
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::support::{
    Client, TestServer, an_auction, auctions::Soon, callers::fresh_key, eventually, in_s, in_time,
    sells_briefly, with,
};

const INBOX: &str = "/v1/me/notifications";

impl Client {
    /// Everything in the inbox, the oldest first.
    pub async fn inbox(&self) -> Vec<Value> {
        let mut all = self.pages(INBOX).await;
        all.reverse();
        all
    }

    /// The first notification of a kind, once it is there.
    pub async fn told(&self, kind: &str) -> Value {
        eventually(&format!("{kind} is told"), || async {
            self.inbox().await.into_iter().find(|told| told["kind"] == kind)
        })
        .await
    }

    pub async fn count_of(&self, kind: &str) -> usize {
        self.inbox().await.iter().filter(|told| told["kind"] == kind).count()
    }
}

/// A short one, which ends by itself.
fn ending(soon: &Soon) -> Value {
    with(an_auction(), json!({"ends_at": soon.in_ms(2_000)}))
}

/// The server's own notifier has nothing left to do.
pub async fn all_is_told(server: &TestServer) {
    eventually("everything is worked off", || async {
        let left = "SELECT (SELECT count(*) FROM standings s LEFT JOIN notify_progress p \
                            USING (auction_id) WHERE s.seq > coalesce(p.done_seq, 0)) \
                    + (SELECT count(*) FROM outbox) \
                    + (SELECT count(*) FROM fanouts WHERE due_at IS NOT NULL)";
        (server.database.number(left).await == 0).then_some(())
    })
    .await;
}

/// A notifier beside the server's own.
pub fn another_notifier(store: &Store, options: Options) -> Notifier {
    Notifier::new(store.clone(), options, Arc::default())
}

#[tokio::test]
async fn whoever_led_is_told_that_they_were_outbid_and_nobody_else() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    minji.offers_up_to(&id, 50_000).await.with_status(201);
    // Accepted, but a higher ceiling stands: the receipt says so, and nobody has lost the lead.
    junho.offers(&id, 20_000).await.with_status(201);
    let receipt = junho.offers(&id, 60_000).await.with_status(201);
    let told = minji.told("outbid").await;
    assert_eq!(told["auction"]["id"], id.as_str());
    assert_eq!(told["auction"]["title"], an_auction()["title"]);
    assert_eq!(told["data"]["price"], receipt["price"]);
    assert_eq!(told["data"]["ends_at"], receipt["ends_at"]);
    assert_eq!((&told["read_at"], &told["subject_id"]), (&Value::Null, &json!(id)));
    all_is_told(&server).await;
    assert!(junho.inbox().await.is_empty() && sora.inbox().await.is_empty());
    let text = told.to_string();
    for private in ["50000", &junho.id.to_string(), &minji.id.to_string()] {
        assert!(!text.contains(private), "{private} in {text}");
    }
}

#[tokio::test]
async fn who_watches_is_told_of_the_highest_bid_but_not_who_made_it() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    junho.watches(&id).await.with_status(204);
    minji.watches(&id).await.with_status(204);
    minji.offers(&id, 15_000).await.with_status(201);
    let told = junho.told("highest_bid_changed").await;
    assert_eq!(told["data"]["price"]["amount"], 15_000);
    assert_eq!(told["data"]["bid_count"], 1);
    all_is_told(&server).await;
    assert_eq!(minji.count_of("highest_bid_changed").await, 0);
}

#[tokio::test]
async fn under_many_bids_the_newest_price_is_told_after_a_pause() {
    let server = TestServer::spawn_with(|config| config.notifications.price_every_s = 2);
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let hana = server.bidder("hana").await;
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    hana.watches(&id).await.with_status(204);
    for n in 0..20 {
        let bidder = if n % 2 == 0 { &minji } else { &junho };
        bidder.offers(&id, 10_000 + n * 1_000).await.with_status(201);
    }
    eventually("the last price is told", || async {
        let inbox = hana.inbox().await;
        inbox.last().is_some_and(|told| told["data"]["price"]["amount"] == 29_000).then_some(())
    })
    .await;
    assert!(hana.inbox().await.len() <= 5, "not each of twenty");
}

#[tokio::test]
async fn at_the_end_winner_losers_and_seller_are_told() {
    let (server, sora, minji, junho) = in_time(async |soon| {
        let server = TestServer::spawn();
        let sora = server.seller("sora").await;
        let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
        let id = sora.sells(ending(soon)).await;
        minji.offers(&id, 10_000).await.with_status(201);
        junho.offers(&id, 12_000).await.with_status(201);
        (server, sora, minji, junho)
    })
    .await;
    let (won, lost) = (junho.told("won").await, minji.told("lost").await);
    let sold = sora.told("sold").await;
    for told in [&won, &lost, &sold] {
        assert_eq!(told["data"]["price"]["amount"], 12_000, "{told}");
        assert_eq!(told["data"]["result"], "sold");
    }
    all_is_told(&server).await;
    assert_eq!(junho.count_of("lost").await + minji.count_of("won").await, 0);
}

#[tokio::test]
async fn the_seller_of_what_nobody_bought_is_told() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    sells_briefly(&sora, an_auction()).await;
    let unsold = sora.told("unsold").await;
    assert_eq!(unsold["data"], json!({"result": "unsold_no_bids"}));
    in_time(async |soon| {
        let id = sora.sells(with(ending(soon), json!({"reserve_price": 90_000}))).await;
        minji.offers(&id, 10_000).await.with_status(201);
    })
    .await;
    let lost = minji.told("lost").await;
    assert_eq!(lost["data"]["result"], "unsold_reserve_not_met");
    assert_eq!(lost["data"]["price"]["amount"], 10_000);
    assert!(!lost.to_string().contains("90000"));
}

#[tokio::test]
async fn who_watches_or_bids_is_told_of_an_extension_once() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let soft_close = json!({"trigger_window_s": 3_600, "extension_s": 3_600, "mode": "extend",
        "max_ends_at": in_s(86_400)});
    let terms = json!({"ends_at": in_s(600), "soft_close": soft_close});
    let id = sora.sells(with(an_auction(), terms)).await;
    sora.auction_once(&id, "live").await;
    junho.watches(&id).await.with_status(204);
    minji.watches(&id).await.with_status(204);
    minji.offers(&id, 10_000).await.with_status(201);
    let ends_at = sora.auction(&id).await["ends_at"].clone();
    for who in [&minji, &junho] {
        assert_eq!(who.told("extended").await["data"]["ends_at"], ends_at);
    }
    all_is_told(&server).await;
    assert_eq!(minji.count_of("extended").await, 1, "though she watches and bids");
}

#[tokio::test]
async fn a_listing_is_told_to_those_whose_alert_fits() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let fitting = [
        json!({"keyword": "달항아리"}),
        json!({"keyword": "백자  달"}),
        json!({"category": "art"}),
        json!({"category": "art", "keyword": "조선"}),
    ];
    let others = [
        json!({"keyword": "청자"}),
        json!({"category": "cars"}),
        json!({"category": "cars", "keyword": "조선"}),
    ];
    let mut users = Vec::new();
    for (no, alert) in fitting.iter().chain(&others).enumerate() {
        let user = server.bidder(&format!("user-{no}")).await;
        user.post("/v1/me/keyword-alerts", alert).await.with_status(201);
        users.push(user);
    }
    sora.post("/v1/me/keyword-alerts", &fitting[0]).await.with_status(201);
    users[0].post("/v1/me/keyword-alerts", &fitting[2]).await.with_status(201);
    let id = sora.sells(with(an_auction(), json!({"category": "art"}))).await;
    for user in &users[..fitting.len()] {
        let told = user.told("keyword_alert").await;
        assert_eq!(
            (&told["subject_id"], &told["data"]["price"]["amount"]),
            (&json!(id), &json!(10_000))
        );
    }
    all_is_told(&server).await;
    for user in &users[fitting.len()..] {
        assert!(user.inbox().await.is_empty());
    }
    assert_eq!(users[0].count_of("keyword_alert").await, 1, "though two of hers fit");
    assert!(sora.inbox().await.is_empty(), "she listed it herself");
}

#[tokio::test]
async fn alerts_are_kept_listed_and_deleted_up_to_a_limit() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let path = "/v1/me/keyword-alerts";
    let first = minji.post(path, &json!({"keyword": "Moon  JAR"})).await.with_status(201);
    assert_eq!((&first["keyword"], &first["category"]), (&json!("moon jar"), &Value::Null));
    let again = minji.post(path, &json!({"keyword": "moon jar"})).await.with_status(200);
    assert_eq!(again["id"], first["id"]);
    for wrong in [
        json!({}),
        json!({"keyword": "x"}),
        json!({"keyword": "x".repeat(21)}),
        json!({"category": ""}),
        json!({"word": "moon"}),
    ] {
        minji.post(path, &wrong).await.refused(422, "invalid_request");
    }
    for n in 1..50 {
        minji.post(path, &json!({"category": format!("c{n}")})).await.with_status(201);
    }
    minji
        .post(path, &json!({"keyword": "one more"}))
        .await
        .refused(409, "keyword_alert_limit_reached");
    assert_eq!(minji.pages(&format!("{path}?limit=20")).await.len(), 50);
    let own = format!("{path}/{}", first["id"].as_str().unwrap());
    server.bidder("junho").await.remove(&own).await.refused(404, "keyword_alert_not_found");
    minji.remove(&own).await.with_status(204);
    minji.remove(&own).await.refused(404, "keyword_alert_not_found");
}

#[tokio::test]
async fn the_applicant_is_told_what_was_decided() {
    let server = TestServer::spawn();
    let (minji, admin) = (server.bidder("minji").await, server.admin().await);
    let company = json!({"company_name": "소라네", "business_number": "124-81-00998",
        "representative": "김소라", "contact_email": "a@example.com", "contact_phone": "02-123-4567"});
    for (verdict, status) in [("refusal", "refused"), ("approval", "approved")] {
        let made = minji.post("/v1/me/seller-application", &company).await.with_status(201);
        let path = format!("/v1/seller-applications/{}/{verdict}", made["id"].as_str().unwrap());
        admin.post(&path, &json!({"reason": "no such company"})).await.with_status(200);
        let inbox = minji.inbox().await;
        let told = inbox.last().expect("at once, for it is one transaction");
        assert_eq!(
            (&told["kind"], &told["subject_id"]),
            (&json!("seller_application_decided"), &made["id"])
        );
        assert_eq!((&told["data"], &told["auction"]), (&json!({"status": status}), &Value::Null));
    }
}

#[tokio::test]
async fn preferences_that_changed_since_they_were_read_are_not_overwritten() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let path = "/v1/me/notifications/preferences";
    let read = minji.get(path).await.tag();
    let set = |tag: String, kind: &str| {
        let request = minji.request(reqwest::Method::PUT, path).header("if-match", tag);
        minji.send(request.json(&json!({"muted": [kind]})))
    };
    set(read.clone(), "won").await.with_status(200);
    set(read, "lost").await.refused(412, "precondition_failed");
    assert_eq!(minji.get(path).await.with_status(200)["muted"], json!(["won"]));
}

#[tokio::test]
async fn of_those_who_set_preferences_that_they_read_at_once_one_is_heard() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let path = "/v1/me/notifications/preferences";
    let read = minji.get(path).await.tag();
    let (mut holder, connection) = server.database.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let holding = holder.transaction().await.unwrap();
    // So that they meet, however fast each is.
    holding.batch_execute("SELECT FROM users FOR UPDATE").await.unwrap();
    let kinds = ["outbid", "won", "lost", "sold", "unsold", "extended", "opening_soon"];
    let setting = join_all(kinds.map(|kind| {
        let request = minji.request(reqwest::Method::PUT, path).header("if-match", read.clone());
        minji.send(request.json(&json!({"muted": [kind]})))
    }));
    let meanwhile = async {
        eventually("they wait", || async {
            let waiting = "SELECT count(*) FROM pg_stat_activity \
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            (server.database.number(waiting).await >= 2).then_some(())
        })
        .await;
        holding.rollback().await.unwrap();
    };
    let (answers, ()) = futures_util::future::join(setting, meanwhile).await;
    let (heard, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(heard.len(), 1, "{} were told that it is set", heard.len());
    for answer in refused {
        answer.refused(412, "precondition_failed");
    }
    let now = minji.get(path).await;
    assert_eq!((now.tag(), now.json()), (heard[0].tag(), heard[0].json()));
}

#[tokio::test]
async fn muted_kinds_are_not_told() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let path = "/v1/me/notifications/preferences";
    let default = json!(["extended", "highest_bid_changed"]);
    let first = minji.get(path).await.with_status(200);
    assert_eq!(first, json!({"muted": [], "push_muted": default}));
    let muted = json!({"muted": ["won", "outbid", "won"]});
    let set = minji.put(path, &muted).await.with_status(200);
    assert_eq!(set, json!({"muted": ["outbid", "won"], "push_muted": default}));
    assert_eq!(minji.get(path).await.with_status(200), set);
    minji.put(path, &json!({"muted": ["weather"]})).await.refused(422, "invalid_request");
    in_time(async |soon| {
        let id = sora.sells(ending(soon)).await;
        minji.offers(&id, 10_000).await.with_status(201);
        junho.offers(&id, 12_000).await.with_status(201);
    })
    .await;
    minji.told("lost").await;
    all_is_told(&server).await;
    assert_eq!(minji.count_of("outbid").await, 0);
    minji.put(path, &json!({"muted": []})).await.with_status(200);
    assert_eq!(minji.get(path).await.with_status(200), first);
}

#[tokio::test]
async fn notifications_are_paged_and_read() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    for _ in 0..5 {
        let id = sora.sells(an_auction()).await;
        sora.auction_once(&id, "live").await;
        minji.offers(&id, 10_000).await.with_status(201);
        junho.offers(&id, 11_000).await.with_status(201);
        eventually("told", || async {
            let inbox = minji.inbox().await;
            inbox.iter().any(|told| told["subject_id"] == id.as_str()).then_some(())
        })
        .await;
    }
    let all = minji.pages(&format!("{INBOX}?limit=2")).await;
    let ids: Vec<i64> = all.iter().map(|told| told["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), 5);
    assert!(ids.is_sorted_by(|a, b| a > b), "the newest first: {ids:?}");
    let read = |body: Value| {
        let minji = minji.clone();
        async move { minji.post("/v1/me/notifications/read", &body).await.with_status(200) }
    };
    assert_eq!(read(json!({"ids": [ids[0]]})).await, json!({"unread": 4}));
    assert_eq!(read(json!({"ids": [ids[0], -1]})).await, json!({"unread": 4}), "again");
    assert_eq!(read(json!({"up_to": ids[3]})).await, json!({"unread": 2}));
    let unread = minji.get(&format!("{INBOX}?unread=true")).await.with_status(200);
    assert_eq!((&unread["unread"], unread["items"].as_array().unwrap().len()), (&json!(2), 2));
    let was_read = minji.pages(&format!("{INBOX}?unread=false")).await;
    assert!(was_read.iter().all(|told| told["read_at"].is_string()) && was_read.len() == 3);
    junho.post("/v1/me/notifications/read", &json!({"ids": ids})).await.with_status(200);
    assert_eq!(read(json!({"ids": []})).await, json!({"unread": 2}), "not by somebody else");
    for wrong in [
        json!({}),
        json!({"ids": [1], "up_to": 2}),
        json!({"ids": vec![1; 1_001]}),
        json!({"all": true}),
    ] {
        minji.post("/v1/me/notifications/read", &wrong).await.refused(422, "invalid_request");
    }
    minji.get(&format!("{INBOX}?unread=maybe")).await.refused(400, "invalid_query");
    minji.get(&format!("{INBOX}?cursor=x")).await.refused(400, "invalid_cursor");
}

/// Every event of an auction, as the bus carries it.
async fn envelopes(store: &Store, id: &str) -> Vec<Envelope> {
    let id: AuctionId = id.parse().unwrap();
    let rows = store.events_in(&[(id, 1, i64::MAX)]).await.unwrap();
    rows.into_iter().filter_map(Envelope::from_row).collect()
}

#[tokio::test]
async fn a_redelivery_tells_nobody_twice() {
    let (server, sora, minji, id) = in_time(async |soon| {
        let server = TestServer::spawn();
        let sora = server.seller("sora").await;
        let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
        let id = sora.sells(ending(soon)).await;
        junho.watches(&id).await.with_status(204);
        for n in 0..6 {
            let bidder = if n % 2 == 0 { &minji } else { &junho };
            bidder.offers(&id, 10_000 + n * 1_000).await.with_status(201);
        }
        (server, sora, minji, id)
    })
    .await;
    sora.told("sold").await;
    minji.told("lost").await;
    all_is_told(&server).await;
    let all = || async { server.database.rows("SELECT * FROM notifications ORDER BY id").await };
    let before = all().await;
    let notifier = another_notifier(&server.store, Options::default());
    let events = envelopes(&server.store, &id).await;
    notifier.take(&events).await.unwrap();
    for event in events.iter().rev() {
        notifier.take(std::slice::from_ref(event)).await.unwrap();
        assert_eq!(notifier.work_off_some(wall_clock::now()).await.unwrap(), 0);
    }
    assert_eq!(all().await, before);
    // Even if it were forgotten how far the log was worked off.
    server.database.rows("UPDATE notify_progress SET done_seq = 0, leader_id = NULL").await;
    notifier.take(&events).await.unwrap();
    let worked_off = notifier.work_off_some(wall_clock::now()).await.unwrap();
    assert_eq!(worked_off, events.len());
    all_is_told(&server).await;
    let kinds = "SELECT count(*) FROM notifications WHERE kind IN ('won', 'lost', 'sold')";
    assert_eq!(server.database.number(kinds).await, 3);
}

/// So many users, all of whom watch the auction.
async fn watchers(server: &TestServer, id: &str, count: i64) {
    let users = format!(
        "INSERT INTO users (id, nickname, roles) SELECT gen_random_uuid(), 'w', '{{}}' \
         FROM generate_series(1, {count})"
    );
    server.database.rows(&users).await;
    let watch = format!(
        "INSERT INTO watches SELECT '{id}', id, now() - interval '1 day' FROM users WHERE nickname = 'w'"
    );
    server.database.rows(&watch).await;
}

/// A stopped server whose auction was won while nobody told anybody.
async fn untold(count: i64) -> (TestServer, String) {
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    all_is_told(&server).await;
    watchers(&server, &id, count).await;
    minji.offers(&id, 10_000).await.with_status(201);
    server.stop();
    // Whatever was begun is as if it never was.
    server
        .database
        .rows(
            "DELETE FROM notifications; DELETE FROM fanouts; \
        UPDATE notify_progress SET done_seq = 2, leader_id = NULL",
        )
        .await;
    (server, id)
}

#[tokio::test]
async fn many_watchers_are_told_page_by_page_and_a_crash_in_between_loses_none() {
    let (mut server, id) = untold(250).await;
    let options = Options { page_users: 100, ..Options::default() };
    let notifier = another_notifier(&server.store, options.clone());
    notifier.take(&envelopes(&server.store, &id).await).await.unwrap();
    notifier.work_off_some(wall_clock::now()).await.unwrap();
    let told = "SELECT count(*) FROM notifications";
    assert_eq!(notifier.tell_page(wall_clock::now()).await.unwrap(), PageTold::Users(100));
    assert_eq!(server.database.number(told).await, 100);
    drop(notifier);
    // Another one goes on from there; the rest of a page that did not commit is told again.
    let notifier = another_notifier(&server.store, options);
    assert_eq!(notifier.tell_page(wall_clock::now()).await.unwrap(), PageTold::Users(100));
    assert_eq!(server.database.number(told).await, 200);
    server.start();
    all_is_told(&server).await;
    let once =
        "SELECT count(DISTINCT user_id) FROM notifications WHERE kind = 'highest_bid_changed'";
    assert_eq!(
        (server.database.number(told).await, server.database.number(once).await),
        (250, 250)
    );
}

#[tokio::test]
async fn what_was_heard_and_not_worked_off_is_found_after_a_start() {
    let (mut server, _) = untold(3).await;
    server.start();
    all_is_told(&server).await;
    assert_eq!(server.database.number("SELECT count(*) FROM notifications").await, 3);
}

#[tokio::test]
async fn several_workers_at_once_tell_each_once() {
    let (server, id) = untold(500).await;
    let options = Options { page_users: 20, ..Options::default() };
    let notifiers: Vec<Notifier> =
        (0..4).map(|_| another_notifier(&server.store, options.clone())).collect();
    let events = envelopes(&server.store, &id).await;
    join_all(notifiers.iter().map(|notifier| notifier.take(&events))).await;
    let work = |notifier: Notifier| async move {
        let mut events = 0;
        for _ in 0..5 {
            events += notifier.work_off_some(wall_clock::now()).await.unwrap();
        }
        events
    };
    let worked: usize = join_all(notifiers.iter().cloned().map(work)).await.into_iter().sum();
    assert_eq!(worked, 1, "the bid, by one of them");
    let tell = |notifier: Notifier| async move {
        for _ in 0..40 {
            notifier.tell_page(wall_clock::now()).await.unwrap();
        }
    };
    join_all(notifiers.iter().cloned().map(tell)).await;
    // Who found nothing found a page that another was at.
    while notifiers[0].tell_page(wall_clock::now()).await.unwrap() != PageTold::Nothing {}
    let per_user = "SELECT count(*), count(DISTINCT user_id) FROM notifications";
    assert_eq!(server.database.rows(per_user).await, [["500", "500"]]);
}

#[tokio::test]
async fn news_that_another_node_holds_is_worked_off_once_it_lets_go() {
    let (server, _) = untold(3).await;
    let notifier = another_notifier(&server.store, Options::default());
    let (holder, connection) = server.database.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    holder.batch_execute("BEGIN; SELECT FROM notify_progress FOR UPDATE").await.unwrap();
    // The first time it looks for whatever was missed, and not again.
    assert_eq!(notifier.work_off_some(wall_clock::now()).await.unwrap(), 0);
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(notifier.work_off_some(wall_clock::now()).await.unwrap(), 1);
}

#[tokio::test]
async fn who_comes_to_watch_later_is_not_told_of_before() {
    let (server, id) = untold(3).await;
    let late = "UPDATE watches SET created_at = now() + interval '1 hour' \
                WHERE user_id = (SELECT min(user_id::text)::uuid FROM watches)";
    server.database.rows(late).await;
    let notifier = another_notifier(&server.store, Options::default());
    notifier.take(&envelopes(&server.store, &id).await).await.unwrap();
    notifier.work_off_some(wall_clock::now()).await.unwrap();
    while notifier.tell_page(wall_clock::now()).await.unwrap() != PageTold::Nothing {}
    assert_eq!(server.database.number("SELECT count(*) FROM notifications").await, 2);
}

#[tokio::test]
async fn what_is_old_is_deleted_and_what_left_with_its_user() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    sells_briefly(&sora, an_auction()).await;
    sora.told("unsold").await;
    let notifier = another_notifier(&server.store, Options { kept_s: 60, ..Options::default() });
    assert_eq!(notifier.purge_until(wall_clock::now()).await.unwrap(), 0);
    assert_eq!(notifier.purge_until(wall_clock::now().plus_s(120)).await.unwrap(), 1);
    assert!(sora.inbox().await.is_empty());
    sells_briefly(&sora, an_auction()).await;
    sora.told("unsold").await;
    sora.remove("/v1/me").await.with_status(204);
    let left = format!("SELECT count(*) FROM notifications WHERE user_id = '{}'", sora.id);
    assert_eq!(server.database.number(&left).await, 0);
}

#[tokio::test]
async fn nobody_is_told_of_who_is_not_there() {
    let server = TestServer::spawn();
    let stranger = UserId(Uuid::now_v7());
    let token = server.token(stranger, &[], 900);
    let caller = server.caller_with(&token);
    assert!(caller.inbox().await.is_empty());
    let path = "/v1/me/notifications/preferences";
    caller.put(path, &json!({"muted": ["lost"]})).await.refused(401, "token_invalid");
    caller.watches(&fresh_key()).await.refused(404, "auction_not_found");
}

#[tokio::test]
async fn who_leads_again_after_a_retraction_and_the_seller_are_told_once() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    minji.offers_up_to(&id, 50_000).await.with_status(201);
    all_is_told(&server).await;
    let seq = junho.offers_up_to(&id, 600_000).await.with_status(201)["seq"].clone();
    minji.told("outbid").await;
    let receipt = junho.retracts(&id, &seq, "0을 하나 더 눌렀습니다").await.with_status(201);
    let again = minji.told("leading_again").await;
    assert_eq!((&again["subject_id"], &again["data"]["price"]), (&json!(id), &receipt["price"]));
    let retracted = sora.told("bid_retracted").await;
    assert_eq!(retracted["data"]["price"], receipt["price"]);
    all_is_told(&server).await;
    for private in ["600000", "50000", "0을", &junho.id.to_string(), &minji.id.to_string()] {
        let told = format!("{again}{retracted}");
        assert!(!told.contains(private), "{private} in {told}");
    }
    assert_eq!(minji.count_of("bid_retracted").await + sora.count_of("leading_again").await, 0);
    assert!(junho.inbox().await.is_empty(), "he knows");
    // However often the log is worked off, and whoever still leads is told nothing.
    server.database.rows("UPDATE notify_progress SET done_seq = done_seq - 1").await;
    minji.offers_up_to(&id, 70_000).await.with_status(201);
    all_is_told(&server).await;
    let (hers, his) = (minji.count_of("leading_again").await, sora.count_of("bid_retracted").await);
    assert_eq!((hers, his), (1, 1));
    let path = "/v1/me/notifications/preferences";
    let muted = minji.put(path, &json!({"muted": ["leading_again", "bid_retracted"]})).await;
    muted.with_status(200);
}

/// A log with so many more bids, in a stopped server's database, and one event of it.
async fn grown(server: &TestServer, id: &str, bids: i64) -> Vec<Envelope> {
    let more = format!(
        "INSERT INTO events (auction_id, seq, kind, at, data, private, hash) \
         SELECT e.auction_id, s.seq + n, e.kind, e.at, e.data, e.private, e.hash \
         FROM standings s JOIN events e ON e.auction_id = s.auction_id AND e.kind = 'bid.placed', \
              generate_series(1, {bids}) n \
         WHERE s.auction_id = '{id}'; \
         UPDATE standings SET seq = seq + {bids} WHERE auction_id = '{id}'"
    );
    server.database.rows(&more).await;
    envelopes(&server.store, id).await.split_off(2)[..1].to_vec()
}

/// Nothing is left to it but what it hears.
async fn with_nothing_missed(server: &TestServer) -> Notifier {
    let notifier = another_notifier(&server.store, Options::default());
    while notifier.work_off_some(wall_clock::now()).await.unwrap() > 0 {}
    notifier
}

#[tokio::test]
async fn a_log_longer_than_one_reading_is_worked_off_by_one_call_after_another() {
    let (server, id) = untold(1).await;
    let notifier = with_nothing_missed(&server).await;
    let heard = grown(&server, &id, 9_000).await;
    notifier.take(&heard).await.unwrap();
    let mut worked_off = Vec::new();
    for _ in 0..4 {
        worked_off.push(notifier.work_off_some(wall_clock::now()).await.unwrap());
    }
    assert_eq!(worked_off, [4_096, 4_096, 808, 0]);
}

#[tokio::test]
async fn what_was_heard_is_worked_off_after_a_statement_that_failed() {
    let (server, id) = untold(1).await;
    let notifier = with_nothing_missed(&server).await;
    let heard = grown(&server, &id, 3).await;
    notifier.take(&heard).await.unwrap();
    server.database.rows("ALTER TABLE auction_bidders RENAME TO away").await;
    assert!(notifier.work_off_some(wall_clock::now()).await.is_err());
    server.database.rows("ALTER TABLE away RENAME TO auction_bidders").await;
    assert_eq!(notifier.work_off_some(wall_clock::now()).await.unwrap(), 3);
}
