//! Pushes: what comes to stand in the inbox reaches the browsers that its user subscribed, once, and
//! a push service that fails holds up nobody else.

use std::os::unix::fs::PermissionsExt;

use hoga::{
    domain::{id::UserId, time::Timestamp},
    notify::push::{ATTEMPTS_MAX, FAILING_S_MAX, Pusher, WorkedOff},
    wall_clock,
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    notifications::all_is_told,
    support::{
        Answer, Bidder, Client, TestServer, an_auction, eventually, in_time, logs,
        push::{
            Browser, PushService, Reply, SUBJECT, another_pusher, configure, ends_in_ms, nowhere,
        },
        with,
    },
};

const SUBSCRIPTIONS: &str = "/v1/me/push-subscriptions";
const PREFERENCES: &str = "/v1/me/notifications/preferences";

impl Client {
    async fn subscribes(&self, browser: &Browser) -> Answer {
        self.post(SUBSCRIPTIONS, &browser.to_json()).await
    }

    async fn subscribes_in(&self, language: &str, browser: &Browser) -> Answer {
        let request = self.request(Method::POST, SUBSCRIPTIONS).json(&browser.to_json());
        self.send(request.header("accept-language", language)).await
    }
}

fn spawn() -> TestServer {
    TestServer::spawn_with(configure)
}

/// Puts something into an inbox, as the notifier would.
async fn tell(server: &TestServer, user: UserId, kind: &str, subject: Uuid, data: &Value) -> i64 {
    let sql = format!(
        "INSERT INTO notifications (user_id, kind, subject_id, cause, data, at, created_at) \
         SELECT '{user}', '{kind}', '{subject}', coalesce(max(id), 0) + 1, '{data}', now(), now() \
         FROM notifications RETURNING id"
    );
    server.database.number(&sql).await
}

/// A stopped server with a subscribed browser, and a pusher that goes by the test's clock.
struct Scene {
    server: TestServer,
    service: PushService,
    minji: Bidder,
    browser: Browser,
    pusher: Pusher,
    now: Timestamp,
}

impl Scene {
    async fn open() -> Scene {
        let (mut server, service) = (spawn(), PushService::start());
        let minji = server.bidder("minji").await;
        let browser = Browser::at(&service);
        minji.subscribes(&browser).await.with_status(201);
        server.stop();
        let pusher = another_pusher(&server.config, &server.store);
        Scene { server, service, minji, browser, pusher, now: wall_clock::now() }
    }

    async fn told(&self, kind: &str) -> i64 {
        self.told_of(kind, Uuid::now_v7(), &json!({})).await
    }

    async fn told_of(&self, kind: &str, subject: Uuid, data: &Value) -> i64 {
        tell(&self.server, self.minji.id, kind, subject, data).await
    }

    /// Follows the inbox, and works off what is due so many milliseconds later.
    async fn works_off_after(&self, ms: i64) -> WorkedOff {
        while self.pusher.follow(self.now).await.unwrap().notifications > 0 {}
        let then = self.now.plus_ms(ms);
        self.pusher.work_off(move || then).await.unwrap()
    }

    fn read(&self) -> Vec<Value> {
        self.service.read_by(&self.browser)
    }

    fn ids_read(&self) -> Vec<i64> {
        self.read().iter().map(|push| push["id"].as_i64().unwrap()).collect()
    }

    async fn waiting(&self) -> i64 {
        self.server.database.number("SELECT count(*) FROM pushes").await
    }

    async fn subscribed(&self) -> i64 {
        self.server.database.number("SELECT count(*) FROM push_subscriptions").await
    }
}

fn worked_off(delivered: u32, put_off: u32, dropped: u32) -> WorkedOff {
    WorkedOff { delivered, put_off, dropped }
}

#[tokio::test]
async fn whoever_is_outbid_hears_of_it_in_their_browser() {
    let (server, service) = (spawn(), PushService::start());
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let browser = Browser::at(&service);
    minji.subscribes_in("ko-KR,ko;q=0.9,en;q=0.8", &browser).await.with_status(201);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    minji.offers_up_to(&id, 50_000).await.with_status(201);
    junho.offers_up_to(&id, 77_777).await.with_status(201);
    let push = service.read_once_by(&browser, 1).await.remove(0);
    let told = minji.inbox().await.pop().expect("told");
    for field in ["id", "kind", "subject_id", "data", "at"] {
        assert_eq!(push[field], told[field], "{field}");
    }
    assert_eq!((&push["auction_id"], &push["lang"]), (&json!(id), &json!("ko")));
    assert_eq!(push["title"], "더 높은 입찰이 들어왔습니다");
    let title = an_auction()["title"].as_str().unwrap().to_owned();
    assert!(push["body"].as_str().unwrap().starts_with(&format!("{title} · 51,000원")), "{push}");
    for private in ["77777", "http", &junho.id.to_string(), &minji.id.to_string()] {
        assert!(!push.to_string().contains(private), "{private} in {push}");
    }
}

#[tokio::test]
async fn a_push_is_signed_for_its_service_and_says_how_long_it_counts() {
    let scene = Scene::open().await;
    scene.told_of("outbid", Uuid::now_v7(), &ends_in_ms(600_000)).await;
    assert_eq!(scene.works_off_after(0).await, worked_off(1, 0, 0));
    let received = scene.service.received().remove(0);
    assert_eq!(received.header("content-encoding"), "aes128gcm");
    assert_eq!(received.header("content-type"), "application/octet-stream");
    assert_eq!(received.header("urgency"), "high");
    let ttl: i64 = received.header("ttl").parse().unwrap();
    assert!((590..=600).contains(&ttl), "{ttl}");
    let topic = received.header("topic");
    assert!(
        topic.len() <= 32 && topic.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    );
    assert!(received.body.len() <= 4_096);
    let (key, claims) = received.vapid();
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!(scene.service.origin), &json!(SUBJECT)));
    let life_s = claims["exp"].as_i64().unwrap() - scene.now.as_millis() / 1_000;
    assert!((1..=86_400).contains(&life_s));
    // A result stands by itself.
    scene.told("won").await;
    scene.works_off_after(0).await;
    let received = scene.service.received().pop().unwrap();
    assert!(!received.headers.contains_key("topic"));
    let mut server = scene.server;
    server.start();
    let answer = server.anonymous().get("/v1/push/key").await;
    assert_eq!(answer.with_status(200), json!({"public_key": key}), "the same after a restart");
    let file = std::fs::metadata(&server.config.vapid_key_file).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn failing_hanging_and_gone_services_hold_up_nobody() {
    let server = spawn();
    let (good, failing) = (PushService::start(), PushService::that(Reply::Status(500)));
    let gone = PushService::that(Reply::Status(410));
    let hanging: Vec<PushService> = (0..12).map(|_| PushService::that(Reply::Hang)).collect();
    let nobody = Browser::at_origin(&nowhere());
    let mut users = Vec::new();
    for (no, service) in [&failing, &gone].into_iter().chain(&hanging).enumerate() {
        let user = server.bidder(&format!("user-{no}")).await;
        user.subscribes(&Browser::at(service)).await.with_status(201);
        user.subscribes(&Browser::at(service)).await.with_status(201);
        users.push(user);
    }
    let minji = server.bidder("minji").await;
    let browser = Browser::at(&good);
    minji.subscribes(&browser).await.with_status(201);
    minji.subscribes(&nobody).await.with_status(201);
    for user in &users {
        tell(&server, user.id, "won", Uuid::now_v7(), &json!({})).await;
    }
    // All of theirs are under way, as far as they may be.
    eventually("the hanging ones are asked", || async {
        let asked: usize = hanging.iter().map(|service| service.received().len()).sum();
        (asked > 0).then_some(())
    })
    .await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(tell(&server, minji.id, "won", Uuid::now_v7(), &json!({})).await);
    }
    let mut read: Vec<i64> = good
        .read_once_by(&browser, 20)
        .await
        .iter()
        .map(|push| push["id"].as_i64().unwrap())
        .collect();
    read.sort_unstable();
    assert_eq!(read, ids);
    eventually("the gone ones are forgotten", || async {
        users[1].pages(SUBSCRIPTIONS).await.is_empty().then_some(())
    })
    .await;
    assert_eq!(users[0].pages(SUBSCRIPTIONS).await.len(), 2, "those that fail are tried again");
}

#[tokio::test]
async fn what_failed_is_tried_again_after_growing_pauses_and_given_up_in_the_end() {
    let scene = Scene::open().await;
    scene.service.answers(Reply::Status(503));
    scene.told("won").await;
    assert_eq!(scene.works_off_after(0).await, worked_off(0, 1, 0));
    assert_eq!(scene.works_off_after(9_999).await, worked_off(0, 0, 0), "not before its pause");
    let mut at_ms = 0;
    for attempt in 2..ATTEMPTS_MAX {
        // The pause, with the longest that chance adds.
        at_ms += 15_000 << (attempt - 2);
        assert_eq!(scene.works_off_after(at_ms).await, worked_off(0, 1, 0), "attempt {attempt}");
    }
    assert_eq!(scene.works_off_after(at_ms + 3_600_000).await, worked_off(0, 0, 1));
    assert_eq!(scene.service.received().len(), ATTEMPTS_MAX as usize);
    assert_eq!((scene.waiting().await, scene.subscribed().await), (0, 1));
    // The browser is given up only after two weeks of it.
    let since = format!(
        "UPDATE push_subscriptions SET failing_since = now() - interval '{FAILING_S_MAX} s'"
    );
    scene.server.database.rows(&since).await;
    scene.service.answers(Reply::Status(400));
    scene.told("won").await;
    assert_eq!(scene.works_off_after(3_600_000).await, worked_off(0, 0, 1));
    assert_eq!(scene.subscribed().await, 0);
}

#[tokio::test]
async fn a_success_ends_a_time_of_failing() {
    let scene = Scene::open().await;
    scene.server.database.rows("UPDATE push_subscriptions SET failing_since = now()").await;
    scene.told("won").await;
    assert_eq!(scene.works_off_after(0).await, worked_off(1, 0, 0));
    let failing = "SELECT count(failing_since) FROM push_subscriptions";
    assert_eq!(scene.server.database.number(failing).await, 0);
}

#[tokio::test]
async fn a_service_that_asks_for_a_pause_gets_it() {
    let scene = Scene::open().await;
    scene.service.answers_next(&scene.browser, &[Reply::After(429, "120")]);
    scene.told("won").await;
    assert_eq!(scene.works_off_after(0).await, worked_off(0, 1, 0));
    assert_eq!(scene.works_off_after(119_999).await, worked_off(0, 0, 0));
    assert_eq!(scene.works_off_after(120_000).await, worked_off(1, 0, 0));
}

#[tokio::test]
async fn a_message_that_is_not_taken_is_dropped_and_a_browser_that_is_gone_forgotten() {
    let scene = Scene::open().await;
    for refused in [400, 413] {
        scene.service.answers_next(&scene.browser, &[Reply::Status(refused)]);
        scene.told("won").await;
        assert_eq!(scene.works_off_after(0).await, worked_off(0, 0, 1), "{refused}");
        assert_eq!((scene.waiting().await, scene.subscribed().await), (0, 1));
    }
    scene.service.answers_next(&scene.browser, &[Reply::Status(404)]);
    for _ in 0..3 {
        scene.told("won").await;
    }
    let done = scene.works_off_after(0).await;
    assert!(
        done.dropped >= 1 && done.put_off == 0,
        "what was under way with it may arrive: {done:?}"
    );
    assert_eq!((scene.waiting().await, scene.subscribed().await), (0, 0));
}

#[tokio::test]
async fn what_is_worth_nothing_any_more_is_not_sent() {
    let scene = Scene::open().await;
    scene.service.answers(Reply::Status(503));
    let (auction, data) = (Uuid::now_v7(), ends_in_ms(20_000));
    scene.told_of("ending_soon", auction, &data).await;
    assert_eq!(scene.works_off_after(0).await, worked_off(0, 1, 0));
    scene.service.answers(Reply::Status(201));
    assert_eq!(scene.works_off_after(21_000).await, worked_off(0, 0, 1), "it is over");
    assert_eq!(scene.service.received().len(), 1);
    assert!(scene.service.received()[0].header("ttl").parse::<i64>().unwrap() <= 20);
    scene.told_of("ending_soon", auction, &ends_in_ms(-60_000)).await;
    assert_eq!(scene.works_off_after(0).await, worked_off(0, 0, 0), "nor is it noted");
    // A pause that leads past the end is none.
    scene.service.answers(Reply::After(429, "3600"));
    scene.told_of("ending_soon", auction, &ends_in_ms(60_000)).await;
    assert_eq!(scene.works_off_after(0).await, worked_off(0, 0, 1));
}

#[tokio::test]
async fn of_what_comes_again_a_browser_hears_the_newest() {
    let scene = Scene::open().await;
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    scene.told_of("outbid", one, &ends_in_ms(600_000)).await;
    let newest = scene.told_of("outbid", one, &ends_in_ms(600_000)).await;
    let of_other = scene.told_of("outbid", other, &ends_in_ms(600_000)).await;
    let won = [scene.told("won").await, scene.told("won").await];
    assert_eq!(scene.works_off_after(0).await, worked_off(4, 0, 0));
    let mut ids = scene.ids_read();
    ids.sort_unstable();
    assert_eq!(ids, [newest, of_other, won[0], won[1]]);
    // One that waits after a failure gives way as well, and keeps the pause.
    scene.service.answers_next(&scene.browser, &[Reply::Status(500)]);
    scene.told_of("outbid", one, &ends_in_ms(600_000)).await;
    assert_eq!(scene.works_off_after(0).await, worked_off(0, 1, 0));
    let newest = scene.told_of("outbid", one, &ends_in_ms(600_000)).await;
    assert_eq!(scene.works_off_after(0).await, worked_off(0, 0, 0));
    assert_eq!(scene.works_off_after(15_000).await, worked_off(1, 0, 0));
    assert_eq!(scene.ids_read().last(), Some(&newest));
    let topics: Vec<String> =
        scene.service.received().iter().filter_map(|r| r.headers.get("topic").cloned()).collect();
    assert!(topics.contains(&topics[topics.len() - 1]));
}

#[tokio::test]
async fn news_that_comes_while_older_is_under_way_follows_it() {
    let scene = Scene::open().await;
    let auction = Uuid::now_v7();
    scene.told_of("outbid", auction, &ends_in_ms(600_000)).await;
    scene.pusher.follow(scene.now).await.unwrap();
    let rooms = [(scene.service.origin.clone(), 8)];
    let until = scene.now.plus_s(60);
    let claimed = scene.server.store.claim_pushes(&rooms, scene.now, until, &[]).await.unwrap();
    let newest = scene.told_of("outbid", auction, &ends_in_ms(600_000)).await;
    assert_eq!(scene.works_off_after(0).await, worked_off(0, 0, 0), "one at a time");
    assert!(!scene.server.store.push_done(&claimed[0], scene.now).await.unwrap());
    assert_eq!(scene.works_off_after(0).await, worked_off(1, 0, 0));
    assert_eq!(scene.ids_read(), [newest]);
}

#[tokio::test]
async fn each_is_sent_once_by_however_many_servers_and_after_a_crash() {
    let scene = Scene::open().await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(scene.told("won").await);
    }
    let others: Vec<Pusher> =
        (0..3).map(|_| another_pusher(&scene.server.config, &scene.server.store)).collect();
    let now = scene.now;
    let following = others.iter().map(|pusher| pusher.follow(now));
    futures_util::future::join_all(following).await;
    while scene.pusher.follow(now).await.unwrap().notifications > 0 {}
    assert_eq!(scene.waiting().await, 40, "noted once");
    // A server that dies with some of them.
    let rooms = [(scene.service.origin.clone(), 3)];
    let until = now.plus_s(60);
    let lost = scene.server.store.claim_pushes(&rooms, now, until, &[]).await.unwrap();
    assert_eq!(lost.len(), 3);
    let working = others.iter().map(|pusher| pusher.work_off(move || now));
    let done = futures_util::future::join_all(working).await;
    let delivered: u32 = done.into_iter().map(|done| done.unwrap().delivered).sum();
    assert_eq!(delivered, 37);
    assert_eq!(scene.works_off_after(59_999).await, worked_off(0, 0, 0), "they are another's");
    assert_eq!(scene.works_off_after(60_000).await, worked_off(3, 0, 0));
    let mut read = scene.ids_read();
    read.sort_unstable();
    assert_eq!(read, ids);
    assert_eq!(scene.works_off_after(3_600_000).await, worked_off(0, 0, 0));
}

#[tokio::test]
async fn pushes_go_on_after_a_restart_and_are_not_repeated() {
    let mut scene = Scene::open().await;
    let first = scene.told("won").await;
    scene.server.start();
    scene.service.read_once_by(&scene.browser, 1).await;
    scene.server.restart();
    let second = scene.told("won").await;
    scene.service.read_once_by(&scene.browser, 2).await;
    assert_eq!(scene.ids_read(), [first, second]);
}

#[tokio::test]
async fn what_was_read_before_is_not_pushed() {
    let mut scene = Scene::open().await;
    scene.service.answers(Reply::Status(503));
    scene.told("won").await;
    scene.works_off_after(0).await;
    let unseen = scene.told("won").await;
    scene.server.start();
    let read = json!({"up_to": unseen});
    scene.minji.post("/v1/me/notifications/read", &read).await.with_status(200);
    scene.server.stop();
    let before = scene.service.received().len();
    scene.works_off_after(3_600_000).await;
    assert_eq!((scene.service.received().len(), scene.waiting().await), (before, 0));
}

#[tokio::test]
async fn who_leaves_is_not_written_to_any_more() {
    let mut scene = Scene::open().await;
    scene.service.answers(Reply::Status(503));
    scene.told("won").await;
    scene.works_off_after(0).await;
    scene.server.start();
    let muted = json!({"muted": [], "push_muted": ["lost"]});
    scene.minji.put(PREFERENCES, &muted).await.with_status(200);
    scene.minji.remove("/v1/me").await.with_status(204);
    scene.server.stop();
    assert_eq!(scene.subscribed().await, 0);
    let preferences = "SELECT count(*) FROM push_preferences";
    assert_eq!(scene.server.database.number(preferences).await, 0);
    let before = scene.service.received().len();
    scene.works_off_after(3_600_000).await;
    assert_eq!((scene.service.received().len(), scene.waiting().await), (before, 0));
}

#[tokio::test]
async fn what_a_browser_missed_before_it_subscribed_is_not_its_news() {
    let (mut server, service) = (spawn(), PushService::start());
    let minji = server.bidder("minji").await;
    server.stop();
    tell(&server, minji.id, "won", Uuid::now_v7(), &json!({})).await;
    server.start();
    let browser = Browser::at(&service);
    minji.subscribes(&browser).await.with_status(201);
    let news = tell(&server, minji.id, "won", Uuid::now_v7(), &json!({})).await;
    let read = service.read_once_by(&browser, 1).await;
    assert_eq!(read[0]["id"], news);
}

#[tokio::test]
async fn users_say_what_they_do_not_want_to_be_woken_for() {
    let mut scene = Scene::open().await;
    // Nobody is woken for each price.
    scene.told("highest_bid_changed").await;
    scene.told("extended").await;
    assert_eq!(scene.works_off_after(0).await, worked_off(0, 0, 0));
    scene.server.start();
    let minji = scene.minji.clone();
    let first = minji.get(PREFERENCES).await.with_status(200);
    let default = json!({"muted": [], "push_muted": ["extended", "highest_bid_changed"]});
    assert_eq!(first, default);
    let set = json!({"muted": ["lost"], "push_muted": ["won"]});
    assert_eq!(minji.put(PREFERENCES, &set).await.with_status(200), set);
    let without = json!({"muted": ["lost"]});
    assert_eq!(minji.put(PREFERENCES, &without).await.with_status(200), set, "it stays");
    minji
        .put(PREFERENCES, &json!({"muted": [], "push_muted": ["weather"]}))
        .await
        .refused(422, "invalid_request");
    scene.server.stop();
    let price = scene.told("highest_bid_changed").await;
    scene.told("won").await;
    assert_eq!(scene.works_off_after(0).await, worked_off(1, 0, 0));
    assert_eq!(scene.ids_read(), [price]);
    // What waits when its kind is muted is not sent.
    scene.service.answers_next(&scene.browser, &[Reply::Status(500)]);
    scene.told("sold").await;
    assert_eq!(scene.works_off_after(0).await, worked_off(0, 1, 0));
    scene.server.database.rows("UPDATE push_preferences SET muted = '{sold}'").await;
    assert_eq!(scene.works_off_after(15_000).await, worked_off(0, 0, 1));
}

#[tokio::test]
async fn a_browser_is_kept_once_and_follows_its_language() {
    let (server, service) = (spawn(), PushService::start());
    let minji = server.bidder("minji").await;
    let browser = Browser::at(&service);
    let made = minji.subscribes(&browser).await.with_status(201);
    assert_eq!((&made["service"], &made["language"]), (&json!(service.origin), &json!("en")));
    let again = minji.subscribes_in("ko", &browser).await.with_status(200);
    assert_eq!((&again["id"], &again["language"]), (&made["id"], &json!("ko")));
    let listed = minji.pages(SUBSCRIPTIONS).await;
    assert_eq!(listed, [again]);
    tell(&server, minji.id, "won", Uuid::now_v7(), &json!({})).await;
    let push = service.read_once_by(&browser, 1).await.remove(0);
    assert_eq!((&push["lang"], &push["title"]), (&json!("ko"), &json!("낙찰되었습니다")));
    // New keys for the same endpoint are the newer truth.
    let renewed = Browser::that_knows(&browser);
    assert_eq!(minji.subscribes(&renewed).await.with_status(200)["id"], made["id"]);
    let own = format!("{SUBSCRIPTIONS}/{}", made["id"].as_str().unwrap());
    let junho = server.bidder("junho").await;
    junho.remove(&own).await.refused(404, "push_subscription_not_found");
    minji.remove(&own).await.with_status(204);
    minji.remove(&own).await.refused(404, "push_subscription_not_found");
    minji.remove(&format!("{SUBSCRIPTIONS}/x")).await.refused(404, "invalid_id");
}

#[tokio::test]
async fn a_shared_browser_comes_over_by_its_keys_and_brings_nothing_along() {
    let mut scene = Scene::open().await;
    scene.service.answers_next(&scene.browser, &[Reply::Status(503)]);
    scene.told("won").await;
    assert_eq!(scene.works_off_after(0).await, worked_off(0, 1, 0));
    scene.server.start();
    let junho = scene.server.bidder("junho").await;
    let other_keys = Browser::that_knows(&scene.browser);
    junho.subscribes(&other_keys).await.refused(409, "push_subscription_taken");
    assert_eq!(scene.minji.pages(SUBSCRIPTIONS).await.len(), 1);
    junho.subscribes(&scene.browser).await.with_status(201);
    assert!(scene.minji.pages(SUBSCRIPTIONS).await.is_empty());
    scene.server.stop();
    let his = tell(&scene.server, junho.id, "sold", Uuid::now_v7(), &json!({})).await;
    scene.told("won").await;
    scene.works_off_after(3_600_000).await;
    let ids = scene.ids_read();
    assert_eq!(ids.last(), Some(&his), "and nothing of hers");
    assert_eq!(ids.len(), 2, "hers only before");
}

#[tokio::test]
async fn of_more_than_ten_browsers_the_one_longest_unseen_gives_way() {
    let (server, service) = (spawn(), PushService::start());
    let minji = server.bidder("minji").await;
    let first = Browser::at(&service);
    let made = minji.subscribes(&first).await.with_status(201);
    let mut second = None;
    for _ in 0..9 {
        let made = minji.subscribes(&Browser::at(&service)).await.with_status(201);
        second.get_or_insert(made["id"].clone());
    }
    minji.subscribes(&first).await.with_status(200);
    minji.subscribes(&Browser::at(&service)).await.with_status(201);
    let listed = minji.pages(&format!("{SUBSCRIPTIONS}?limit=3")).await;
    let ids: Vec<&Value> = listed.iter().map(|item| &item["id"]).collect();
    assert_eq!(ids.len(), 10);
    assert!(ids.contains(&&made["id"]) && !ids.contains(&&second.unwrap()));
}

#[tokio::test]
async fn what_is_no_subscription_is_refused_by_its_fields() {
    let server = spawn();
    let minji = server.bidder("minji").await;
    let good = Browser::at_origin("https://push.example.com").to_json();
    let changed = |changes: Value| with(good.clone(), changes);
    let (p256dh, auth) = (good["keys"]["p256dh"].clone(), good["keys"]["auth"].clone());
    for (body, field) in [
        (changed(json!({"endpoint": "http://push.example.com/x"})), "endpoint"),
        (changed(json!({"endpoint": "https://10.0.0.1/x"})), "endpoint"),
        (changed(json!({"endpoint": "https://push.internal/x"})), "endpoint"),
        (changed(json!({"endpoint": "https://u:p@push.example.com/x"})), "endpoint"),
        (changed(json!({"endpoint": "nowhere"})), "endpoint"),
        (
            changed(json!({"endpoint": format!("https://push.example.com/{}", "x".repeat(2_048))})),
            "endpoint",
        ),
        (changed(json!({"endpoint": 1})), "endpoint"),
        (changed(json!({"expirationTime": 1})), "expirationTime"),
        (changed(json!({"expirationTime": "soon"})), "expirationTime"),
        (changed(json!({"keys": {"auth": auth, "p256dh": "BAAA"}})), "keys.p256dh"),
        (
            changed(json!({"keys": {"auth": auth, "p256dh": format!("B{}", "A".repeat(86))}})),
            "keys.p256dh",
        ),
        (changed(json!({"keys": {"p256dh": p256dh, "auth": "AAAA"}})), "keys.auth"),
        (changed(json!({"keys": {"p256dh": p256dh, "auth": "not base64!"}})), "keys.auth"),
        (changed(json!({"keys": {"p256dh": p256dh}})), "keys.auth"),
        (changed(json!({"keys": null})), "keys"),
    ] {
        assert_eq!(minji.post(SUBSCRIPTIONS, &body).await.wrong_fields(), [field], "{body}");
    }
    let all = json!({"endpoint": "x", "expirationTime": 1, "keys": {"p256dh": "x", "auth": "x"}});
    let wrong = minji.post(SUBSCRIPTIONS, &all).await.wrong_fields();
    assert_eq!(wrong, ["endpoint", "expirationTime", "keys.p256dh", "keys.auth"], "all at once");
    minji.post_bytes(SUBSCRIPTIONS, "{").await.refused(400, "malformed_json");
    assert!(minji.pages(SUBSCRIPTIONS).await.is_empty());
    // What a later browser adds is left alone, and what has no end may lack it.
    let later = changed(json!({"contentEncoding": "aes128gcm"}));
    minji.post(SUBSCRIPTIONS, &later).await.with_status(201);
    let mut endless = Browser::at_origin("https://push.example.com").to_json();
    endless.as_object_mut().unwrap().remove("expirationTime");
    minji.post(SUBSCRIPTIONS, &endless).await.with_status(201);
}

#[tokio::test]
async fn a_server_that_serves_others_writes_to_no_browser_on_its_own_machine() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    for origin in ["http://127.0.0.1:8080", "http://localhost", "https://[::1]"] {
        let refused = minji.subscribes(&Browser::at_origin(origin)).await;
        assert_eq!(refused.wrong_fields(), ["endpoint"], "{origin}");
    }
}

#[tokio::test]
async fn a_subscription_ends_when_its_browser_said_so() {
    let (mut server, service) = (spawn(), PushService::start());
    let minji = server.bidder("minji").await;
    let browser = Browser::at(&service);
    let ends_at = wall_clock::now().plus_s(3_600);
    let body = with(browser.to_json(), json!({"expirationTime": ends_at.as_millis()}));
    let made = minji.post(SUBSCRIPTIONS, &body).await.with_status(201);
    assert_eq!(made["expires_at"], ends_at.to_string());
    server.stop();
    let pusher = another_pusher(&server.config, &server.store);
    tell(&server, minji.id, "won", Uuid::now_v7(), &json!({})).await;
    assert_eq!(pusher.follow(ends_at).await.unwrap().noted, 0);
    assert_eq!(server.store.purge_push_subscriptions(ends_at.plus_ms(-1)).await.unwrap(), 0);
    assert_eq!(server.store.purge_push_subscriptions(ends_at).await.unwrap(), 1);
}

#[tokio::test]
async fn no_endpoint_is_shown_or_logged() {
    let mut scene = Scene::open().await;
    scene.server.start();
    let listed = scene.minji.get(SUBSCRIPTIONS).await;
    let secret = scene.browser.path.trim_start_matches("/wpush/").to_owned();
    let keys = scene.browser.to_json()["keys"].clone();
    scene.service.answers_next(&scene.browser, &[Reply::Status(500), Reply::Status(400)]);
    for kind in ["won", "lost", "sold"] {
        scene.told(kind).await;
    }
    scene.service.read_once_by(&scene.browser, 3).await;
    let nowhere = nowhere();
    let nobody = Browser::at_origin(&nowhere);
    scene.minji.subscribes(&nobody).await.with_status(201);
    scene.told("unsold").await;
    eventually("one that cannot be reached is put off", || async {
        let put_off =
            format!("SELECT count(*) FROM pushes WHERE attempts > 0 AND origin = '{nowhere}'");
        (scene.server.database.number(&put_off).await > 0).then_some(())
    })
    .await;
    let (auth, p256dh) = (keys["auth"].as_str().unwrap(), keys["p256dh"].as_str().unwrap());
    for text in [logs::kept(), listed.text().to_owned()] {
        for secret in [secret.as_str(), auth, p256dh, nobody.path.trim_start_matches("/wpush/")] {
            assert!(!text.contains(secret));
        }
    }
}

/// Two users are told of one end, and each by their own browser.
#[tokio::test]
async fn each_user_hears_what_is_theirs() {
    let (server, service, sora, hers, his) = in_time(async |soon| {
        let (server, service) = (spawn(), PushService::start());
        let sora = server.seller("sora").await;
        let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
        let (hers, his) = (Browser::at(&service), Browser::at(&service));
        minji.subscribes(&hers).await.with_status(201);
        junho.subscribes(&his).await.with_status(201);
        let id = sora.sells(with(an_auction(), json!({"ends_at": soon.in_ms(1_500)}))).await;
        minji.offers(&id, 10_000).await.with_status(201);
        junho.offers(&id, 12_000).await.with_status(201);
        (server, service, sora, hers, his)
    })
    .await;
    sora.told("sold").await;
    all_is_told(&server).await;
    service.read_once_by(&his, 1).await;
    let kinds = |browser: &Browser| -> Vec<String> {
        let read = service.read_by(browser);
        read.iter().map(|push| push["kind"].as_str().unwrap().to_owned()).collect()
    };
    eventually("she hears that she lost", || async {
        kinds(&hers).contains(&"lost".to_owned()).then_some(())
    })
    .await;
    assert_eq!(kinds(&his), ["won"]);
    assert!(!kinds(&hers).contains(&"won".to_owned()));
}
