//! Reminders: before an auction opens or ends, once, and moved with its times.

use futures_util::future::join_all;
use hoga::{notify::Options, store::PageTold, wall_clock};
use serde_json::{Value, json};

use super::{
    notifications::{all_is_told, another_notifier},
    support::{TestServer, an_auction, eventually, in_ms, in_s, with},
};

const HOUR_S: i64 = 3_600;

/// Opens in two days and ends a day later.
fn announced() -> Value {
    with(an_auction(), json!({"starts_at": in_s(48 * HOUR_S), "ends_at": in_s(72 * HOUR_S)}))
}

async fn scheduled(server: &TestServer) -> Vec<Vec<String>> {
    let sql = "SELECT kind, lead_s FROM reminders ORDER BY kind DESC, lead_s DESC";
    server.database.rows(sql).await
}

/// The reminders, once there are so many.
async fn once_scheduled(server: &TestServer, count: i64) {
    eventually(&format!("{count} reminders are scheduled"), || async {
        all_is_told(server).await;
        let stand = server.database.number("SELECT count(*) FROM reminders").await;
        (stand == count).then_some(())
    })
    .await;
}

/// As if so much time had gone by for everything that is announced.
async fn later(server: &TestServer, time: &str) {
    // All at once: who fires reminders reads the auction's times again.
    let all_at_once = format!(
        "WITH reminded AS (
             UPDATE reminders SET target_at = target_at - interval '{time}',
                                  fire_at = fire_at - interval '{time}'
         ), opening AS (
             UPDATE auctions SET starts_at = starts_at - interval '{time}'
         )
         UPDATE standings SET ends_at = ends_at - interval '{time}',
                              due_at = due_at - interval '{time}'"
    );
    server.database.rows(&all_at_once).await;
}

#[tokio::test]
async fn those_who_watch_are_reminded_at_each_lead_that_lies_ahead() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(announced()).await;
    once_scheduled(&server, 4).await;
    let all = [
        ["opening_soon", "86400"],
        ["opening_soon", "3600"],
        ["ending_soon", "86400"],
        ["ending_soon", "3600"],
    ];
    assert_eq!(scheduled(&server).await, all);
    minji.watches(&id).await.with_status(204);
    later(&server, "24 hours").await;
    let told = minji.told("opening_soon").await;
    assert_eq!((&told["subject_id"], &told["data"]["lead_s"]), (&json!(id), &json!(86_400)));
    assert_eq!(told["data"]["starts_at"], sora.auction(&id).await["starts_at"]);
    later(&server, "23 hours 1 minute").await;
    eventually("an hour before", || async {
        (minji.count_of("opening_soon").await == 2).then_some(())
    })
    .await;
    assert_eq!(scheduled(&server).await, all[2..]);
    // Nobody watches this one: nothing is told, and nothing is left to tell.
    assert!(sora.inbox().await.is_empty());
}

#[tokio::test]
async fn a_short_auction_has_no_reminder_of_a_day_before() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    sora.sells(with(an_auction(), json!({"ends_at": in_s(2 * HOUR_S)}))).await;
    once_scheduled(&server, 1).await;
    assert_eq!(scheduled(&server).await, [["ending_soon", "3600"]]);
    let configured = TestServer::spawn_with(|config| {
        config.notifications.reminder_leads_s = vec![12 * HOUR_S, 60];
    });
    configured.seller("sora").await.sells(announced()).await;
    once_scheduled(&configured, 4).await;
    assert_eq!(
        scheduled(&configured).await[..2],
        [["opening_soon", "43200"], ["opening_soon", "60"]]
    );
}

#[tokio::test]
async fn reminders_move_with_the_times_of_an_edit() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(announced()).await;
    minji.watches(&id).await.with_status(204);
    once_scheduled(&server, 4).await;
    let moved = json!({"starts_at": in_s(96 * HOUR_S), "ends_at": in_s(120 * HOUR_S)});
    sora.update(&id, "*", &moved).await.with_status(200);
    let auction = sora.auction(&id).await;
    eventually("the reminders have moved", || async {
        let sql = format!(
            "SELECT count(*) FROM reminders WHERE target_at IN ('{}', '{}')",
            auction["starts_at"].as_str().unwrap(),
            auction["ends_at"].as_str().unwrap()
        );
        (server.database.number(&sql).await == 4).then_some(())
    })
    .await;
    // To half an hour from now: an hour before is over.
    let moved = json!({"starts_at": in_s(1_800), "ends_at": in_s(2 * HOUR_S)});
    sora.update(&id, "*", &moved).await.with_status(200);
    once_scheduled(&server, 1).await;
    assert_eq!(scheduled(&server).await, [["ending_soon", "3600"]]);
    assert!(minji.inbox().await.is_empty());
}

#[tokio::test]
async fn an_extension_moves_the_end_and_its_reminders() {
    let server =
        TestServer::spawn_with(|config| config.notifications.reminder_leads_s = vec![1_800]);
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let junho = server.bidder("junho").await;
    let soft_close = json!({"trigger_window_s": 3_600, "extension_s": 3_600, "mode": "extend",
        "max_ends_at": in_s(86_400)});
    // The reminder of the first end is far away, whatever the machine does meanwhile.
    let terms = json!({"ends_at": in_s(2_400), "soft_close": soft_close});
    let id = sora.sells(with(an_auction(), terms)).await;
    junho.watches(&id).await.with_status(204);
    minji.offers(&id, 10_000).await.with_status(201);
    junho.told("extended").await;
    let ends_at = sora.auction(&id).await["ends_at"].as_str().unwrap().to_owned();
    let moved = format!("SELECT count(*) FROM reminders WHERE target_at = '{ends_at}'");
    assert_eq!(server.database.number(&moved).await, 1);
    assert_eq!(server.database.number("SELECT count(*) FROM reminders").await, 1);
}

#[tokio::test]
async fn what_is_withdrawn_or_over_is_not_reminded_of() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(announced()).await;
    once_scheduled(&server, 4).await;
    sora.delete(&id, "*").await.with_status(204);
    once_scheduled(&server, 0).await;
    let bought = with(an_auction(), json!({"buy_now_price": 90_000}));
    let id = sora.sells(bought).await;
    once_scheduled(&server, 1).await;
    sora.auction_once(&id, "live").await;
    server.bidder("minji").await.buys(&id, &json!({})).await.with_status(201);
    once_scheduled(&server, 0).await;
}

#[tokio::test]
async fn after_a_downtime_what_is_still_useful_is_told_and_the_rest_is_skipped() {
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(announced()).await;
    minji.watches(&id).await.with_status(204);
    once_scheduled(&server, 4).await;
    server.stop();
    // Fourteen hours are left: a day before is late, but still worth saying.
    later(&server, "34 hours").await;
    server.start();
    let minji = server.bidder("minji").await;
    assert_eq!(minji.told("opening_soon").await["data"]["lead_s"], 86_400);
    server.stop();
    // Twenty minutes: an hour before would be wrong.
    later(&server, "13 hours").await;
    server
        .database
        .rows(
            "UPDATE reminders SET target_at = target_at - interval '40 minutes', \
        fire_at = fire_at - interval '40 minutes' WHERE kind = 'opening_soon'; \
        UPDATE auctions SET starts_at = starts_at - interval '40 minutes'",
        )
        .await;
    server.start();
    eventually("it is skipped", || async {
        let left = "SELECT count(*) FROM reminders WHERE kind = 'opening_soon'";
        (server.database.number(left).await == 0).then_some(())
    })
    .await;
    all_is_told(&server).await;
    let minji = server.bidder("minji").await;
    assert_eq!(minji.count_of("opening_soon").await, 1);
}

#[tokio::test]
async fn several_nodes_fire_each_reminder_once() {
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    for _ in 0..20 {
        let id = sora.sells(announced()).await;
        minji.watches(&id).await.with_status(204);
    }
    once_scheduled(&server, 80).await;
    server.stop();
    later(&server, "24 hours").await;
    let notifiers: Vec<_> =
        (0..4).map(|_| another_notifier(&server.store, Options::default())).collect();
    let fire = |notifier: hoga::notify::Notifier| async move {
        let mut fired = 0;
        for _ in 0..3 {
            fired += notifier.fire_reminders(wall_clock::now()).await.unwrap();
        }
        while notifier.tell_page(wall_clock::now()).await.unwrap() != PageTold::Nothing {}
        fired
    };
    let fired = join_all(notifiers.into_iter().map(fire)).await;
    assert_eq!(fired.into_iter().sum::<usize>(), 20);
    server.start();
    all_is_told(&server).await;
    let told = server.database.number("SELECT count(*) FROM notifications").await;
    assert_eq!(told, 20);
}

#[tokio::test]
async fn a_reminder_fires_by_the_clock() {
    let server = TestServer::spawn_with(|config| config.notifications.reminder_leads_s = vec![60]);
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(with(an_auction(), json!({"ends_at": in_ms(66_000)}))).await;
    minji.watches(&id).await.with_status(204);
    let told = minji.told("ending_soon").await;
    assert_eq!(told["data"], json!({"ends_at": sora.auction(&id).await["ends_at"], "lead_s": 60}));
}
