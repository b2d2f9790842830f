//! Telling registered clients: what is told, how it is signed, and what becomes of it when a
//! receiver does not do its part.

use std::sync::Arc;

use hoga::{
    app,
    domain::{id::AuctionId, time::Timestamp},
    events::{bus::Consumer, envelope::Envelope},
    outgoing::{self, Sender},
    store::REPLAYED_WAITING_MAX,
    wall_clock,
    webhooks::{ATTEMPTS_MAX, DISABLED_AFTER_S, Options, Webhooks, WorkedOff},
};
use serde_json::{Value, json};

use crate::support::{
    Bidder, Client, Seller, TestServer, an_auction, eventually, logs,
    receiver::{Manner, Receiver},
};

/// A server, its people, and a client whose webhooks are tested.
pub struct Shop {
    pub server: TestServer,
    pub admin: Client,
    pub client: String,
    pub sora: Seller,
    pub minji: Bidder,
}

impl Shop {
    /// The server tells by itself.
    pub async fn open() -> Shop {
        Shop::open_with(true).await
    }

    /// The server notes what is to be told, and the test tells it, at times of its own.
    pub async fn silent() -> Shop {
        Shop::open_with(false).await
    }

    async fn open_with(are_sent: bool) -> Shop {
        let server = TestServer::spawn_with(|config| {
            config.outgoing_loopback = true;
            config.webhooks.are_sent = are_sent;
        });
        let admin = (*server.admin().await).clone();
        let new = json!({"name": "a shop"});
        let client = id_of(&admin.post("/v1/clients", &new).await.with_status(201));
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        Shop { server, admin, client, sora, minji }
    }

    pub fn path(&self) -> String {
        format!("/v1/clients/{}/webhooks", self.client)
    }

    pub fn path_of(&self, webhook: &str) -> String {
        format!("{}/{webhook}", self.path())
    }

    /// A webhook of these types: its id and its secret.
    pub async fn webhook(&self, url: &str, types: &[&str]) -> (String, String) {
        let new = json!({"url": url, "types": types});
        let made = self.admin.post(&self.path(), &new).await.with_status(201);
        (id_of(&made), made["secret"].as_str().unwrap().to_owned())
    }

    pub async fn read(&self, webhook: &str) -> Value {
        self.admin.get(&self.path_of(webhook)).await.with_status(200)
    }

    pub async fn deliveries(&self, webhook: &str, query: &str) -> Vec<Value> {
        let path = format!("{}/deliveries?limit=100{query}", self.path_of(webhook));
        self.admin.get(&path).await.with_status(200)["items"].as_array().unwrap().clone()
    }

    /// Once so many are noted.
    pub async fn deliveries_once(&self, webhook: &str, count: usize) -> Vec<Value> {
        eventually("deliveries", || async {
            Some(self.deliveries(webhook, "").await).filter(|items| items.len() >= count)
        })
        .await
    }

    pub async fn attempts(&self, webhook: &str, delivery: &Value) -> Vec<Value> {
        let path = format!("{}/deliveries/{}", self.path_of(webhook), id_of(delivery));
        self.admin.get(&path).await.with_status(200)["attempts"].as_array().unwrap().clone()
    }

    pub async fn test(&self, webhook: &str) -> Value {
        self.admin
            .post(&format!("{}/test", self.path_of(webhook)), &Value::Null)
            .await
            .with_status(202)
    }

    /// Tells in the test's own time.
    pub fn teller(&self) -> Webhooks {
        app::webhooks(&self.server.config, &self.server.store).unwrap()
    }

    /// Tells what is due after so many seconds from now.
    pub async fn tell_in(&self, seconds: i64) -> WorkedOff {
        let now = wall_clock::now().plus_s(seconds);
        self.teller().work_off(move || now).await.unwrap()
    }

    async fn envelopes(&self, auction: &str) -> Vec<Envelope> {
        let id: AuctionId = auction.parse().unwrap();
        let rows = self.server.store.events_in(&[(id, 1, 1_000)]).await.unwrap();
        rows.into_iter().map(|row| Envelope::from_row(row).unwrap()).collect()
    }
}

pub fn id_of(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

const fn delivered(count: u32) -> WorkedOff {
    WorkedOff { delivered: count, failed: 0, given_up: 0, disabled: 0 }
}

const fn failed(count: u32) -> WorkedOff {
    WorkedOff { delivered: 0, failed: count, given_up: 0, disabled: 0 }
}

#[tokio::test]
async fn every_event_is_told_in_order_signed_and_public() {
    let shop = Shop::open().await;
    let receiver = Receiver::good().await;
    let (webhook, secret) = shop.webhook(&receiver.url(), &["*"]).await;
    let auction = shop.sora.sells(an_auction()).await;
    shop.minji.offers_up_to(&auction, 45_678).await.with_status(201);
    let log = shop.minji.log(&auction).await;
    let received = receiver.received_once(log.len()).await;
    assert_eq!(received.len(), log.len());
    for (message, entry) in received.iter().zip(&log) {
        assert!(message.is_verified_with(&secret));
        assert!(!message.is_verified_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let (body, id) = (message.json(), format!("{auction}:{}", entry["seq"]));
        assert_eq!((message.id(), message.path.as_str()), (id.as_str(), "/hoga"));
        assert_eq!(message.headers["content-type"], "application/json");
        assert!(message.headers["user-agent"].starts_with("Hoga/"));
        assert_eq!((&body["type"], &body["timestamp"]), (&entry["type"], &entry["at"]));
        let data = &body["data"];
        assert_eq!((&data["id"], &data["auction_id"]), (&json!(id), &json!(auction)));
        for field in ["seq", "type", "at", "data", "hash"] {
            assert_eq!(data[field], entry[field]);
        }
        let text = String::from_utf8(message.body.clone()).unwrap();
        assert!(!text.contains("45678"), "no ceiling: {text}");
        assert!(!text.contains(&shop.minji.id.to_string()), "no bidder's id: {text}");
        let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["data", "timestamp", "type"]);
    }
    let told = eventually("recorded", || async {
        let told = shop.deliveries(&webhook, "&status=delivered").await;
        (told.len() == log.len()).then_some(told)
    })
    .await;
    let attempts = shop.attempts(&webhook, &told[0]).await;
    assert_eq!((attempts.len(), &attempts[0]["status"]), (1, &json!(204)));
    let metrics = shop.minji.get("/metrics").await;
    assert!(metrics.text().contains("hoga_webhooks_attempts_total{outcome=\"delivered\"}"));
}

#[tokio::test]
async fn only_what_was_asked_for_is_told() {
    let shop = Shop::silent().await;
    let (bids, auctions) = (Receiver::good().await, Receiver::good().await);
    let (of_bids, _) = shop.webhook(&bids.url(), &["bid.placed"]).await;
    let (of_auctions, _) = shop.webhook(&auctions.url(), &["auction.*"]).await;
    let auction = shop.sora.sells(an_auction()).await;
    shop.minji.offers(&auction, 10_000).await.with_status(201);
    let log = shop.minji.log_types(&auction).await;
    shop.deliveries_once(&of_bids, 1).await;
    shop.deliveries_once(&of_auctions, log.len() - 1).await;
    shop.tell_in(0).await;
    let types = |receiver: &Receiver| -> Vec<Value> {
        receiver.received().iter().map(|message| message.json()["type"].clone()).collect()
    };
    assert_eq!(types(&bids), ["bid.placed"]);
    assert_eq!(json!(types(&auctions)), json!(log[..log.len() - 1]));
}

#[tokio::test]
async fn what_fails_is_tried_again_by_the_schedule_with_the_same_id_and_bytes() {
    let shop = Shop::silent().await;
    let receiver = Receiver::start(Manner::Answer(500, "")).await;
    let (webhook, secret) = shop.webhook(&receiver.url(), &["bid.placed"]).await;
    let auction = shop.sora.sells(an_auction()).await;
    shop.minji.offers(&auction, 10_000).await.with_status(201);
    let delivery = shop.deliveries_once(&webhook, 1).await.remove(0);
    let mut at_s = 0;
    for pause_s in [5, 300, 1_800, 7_200] {
        assert_eq!(shop.tell_in(at_s).await, failed(1));
        // Not a moment earlier.
        assert_eq!(shop.tell_in(at_s + pause_s - 3).await, WorkedOff::default());
        // A tenth is left to chance.
        at_s += pause_s + pause_s / 10 + 1;
    }
    receiver.does(Manner::Answer(200, ""));
    assert_eq!(shop.tell_in(at_s).await, delivered(1));
    assert_eq!(shop.tell_in(at_s + 1_000_000).await, WorkedOff::default());
    let received = receiver.received();
    assert_eq!(received.len(), 5);
    for message in &received {
        assert_eq!((message.id(), &message.body), (received[0].id(), &received[0].body));
        assert!(message.is_signed_with(&secret));
    }
    assert_ne!(
        received[0].headers["webhook-timestamp"], received[4].headers["webhook-timestamp"],
        "each attempt says when it was made"
    );
    let attempts = shop.attempts(&webhook, &delivery).await;
    let statuses: Vec<i64> = attempts.iter().map(|made| made["status"].as_i64().unwrap()).collect();
    assert_eq!(statuses, [500, 500, 500, 500, 200]);
    assert_eq!(attempts[0]["error"], "answered with 500");
    assert_eq!(shop.read(&webhook).await["failing_since"], Value::Null);
}

#[tokio::test]
async fn what_never_arrives_is_given_up_and_can_be_told_again() {
    let shop = Shop::silent().await;
    let receiver = Receiver::start(Manner::Answer(503, "")).await;
    let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
    let delivery = shop.test(&webhook).await;
    let mut worked_off = WorkedOff::default();
    let mut hours = 0;
    while worked_off.given_up == 0 {
        worked_off = shop.tell_in(hours * 3_600).await;
        assert!(hours < 110, "before it is disabled for failing");
        hours += 2;
    }
    let failed = shop.deliveries(&webhook, "&status=failed").await;
    assert_eq!((failed.len(), &failed[0]["attempts"]), (1, &json!(ATTEMPTS_MAX)));
    assert_eq!(failed[0]["next_attempt_at"], Value::Null);
    receiver.does(Manner::Answer(200, ""));
    let replay = format!("{}/deliveries/{}/replay", shop.path_of(&webhook), id_of(&delivery));
    let again = shop.admin.post(&replay, &Value::Null).await.with_status(202);
    assert_eq!(again["status"], "waiting");
    // The webhook itself rests for some minutes after so many failures.
    assert_eq!(shop.tell_in(hours * 3_600).await, delivered(1));
    let received = receiver.received();
    assert_eq!(received.len(), ATTEMPTS_MAX + 1);
    assert!(received.iter().all(|message| message.id() == format!("test:{}", id_of(&delivery))));
}

#[tokio::test]
async fn a_receiver_that_hangs_or_fails_delays_nobody_else() {
    let shop = Shop::silent().await;
    // Nothing that waits for a call which hangs is ever told in this test.
    let patient = outgoing::Options {
        loopback: true,
        call_timeout: std::time::Duration::from_secs(3_600),
        ..outgoing::Options::default()
    };
    let (store, sender) = (shop.server.store.clone(), Sender::new(patient).unwrap());
    let telling = Webhooks::new(store, sender, Options::default()).run(wall_clock::now);
    let hearing = async {
        let (hanging, failing) =
            (Receiver::start(Manner::Hang).await, Receiver::start(Manner::Answer(500, "")).await);
        let good = Receiver::good().await;
        for receiver in [&hanging, &failing] {
            for _ in 0..3 {
                shop.webhook(&receiver.url(), &["*"]).await;
            }
        }
        shop.webhook(&good.url(), &["*"]).await;
        let auction = shop.sora.sells(an_auction()).await;
        for amount in [10_000, 11_000, 12_000] {
            let bidder = shop.server.bidder(&amount.to_string()).await;
            bidder.offers(&auction, amount).await.with_status(201);
        }
        let log = shop.minji.log(&auction).await;
        assert_eq!(good.received_once(log.len()).await.len(), log.len());
        hanging.received_once(3).await;
        failing.received_once(3).await;
    };
    tokio::select! {
        () = telling => panic!("it tells for as long as it is asked to"),
        () = hearing => {}
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_is_cut_off() {
    let shop = Shop::silent().await;
    let receiver = Receiver::start(Manner::Hang).await;
    let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
    let delivery = shop.test(&webhook).await;
    let impatient = outgoing::Options {
        loopback: true,
        call_timeout: std::time::Duration::from_millis(200),
        ..outgoing::Options::default()
    };
    let store = shop.server.store.clone();
    let teller = Webhooks::new(store, Sender::new(impatient).unwrap(), Options::default());
    assert_eq!(teller.work_off(wall_clock::now).await.unwrap(), failed(1));
    let attempts = shop.attempts(&webhook, &delivery).await;
    assert_eq!(
        (&attempts[0]["status"], &attempts[0]["error"]),
        (&Value::Null, &json!("it took too long"))
    );
    assert!(shop.read(&webhook).await["failing_since"].is_string());
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_leads_nowhere() {
    let shop = Shop::silent().await;
    let elsewhere = Receiver::good().await;
    let location = format!("location: {}\r\n", elsewhere.url());
    let receiver = Receiver::start(Manner::Answer(308, location.leak())).await;
    let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
    let delivery = shop.test(&webhook).await;
    assert_eq!(shop.tell_in(0).await, failed(1));
    assert_eq!(elsewhere.received().len(), 0);
    assert_eq!(shop.attempts(&webhook, &delivery).await[0]["status"], 308);
}

#[tokio::test]
async fn whoever_says_gone_is_told_nothing_more() {
    let shop = Shop::silent().await;
    let receiver = Receiver::start(Manner::Answer(410, "")).await;
    let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
    shop.test(&webhook).await;
    let gone = WorkedOff { delivered: 0, failed: 0, given_up: 1, disabled: 1 };
    assert_eq!(shop.tell_in(0).await, gone);
    let read = shop.read(&webhook).await;
    assert!(read["disabled_at"].is_string());
    assert_eq!(read["disabled_because"], "gone");
    shop.test(&webhook).await;
    assert_eq!(shop.tell_in(1_000_000).await, WorkedOff::default());
    assert_eq!(receiver.received().len(), 1);
    receiver.does(Manner::Answer(200, ""));
    let enabled = shop.admin.patch(&shop.path_of(&webhook), &json!({"disabled": false})).await;
    assert_eq!(enabled.with_status(200)["disabled_because"], Value::Null);
    assert_eq!(shop.tell_in(0).await, delivered(1), "what waited meanwhile");
}

#[tokio::test]
async fn a_webhook_that_fails_for_days_is_disabled_and_that_is_said() {
    let shop = Shop::silent().await;
    let receiver = Receiver::start(Manner::Answer(500, "")).await;
    let url = format!("{}/s3cret-path?key=s3cret-query", receiver.origin);
    let (webhook, _) = shop.webhook(&url, &["*"]).await;
    shop.test(&webhook).await;
    assert_eq!(shop.tell_in(0).await, failed(1));
    shop.test(&webhook).await;
    assert_eq!(shop.tell_in(DISABLED_AFTER_S - 60).await.disabled, 0);
    assert_eq!(shop.tell_in(DISABLED_AFTER_S + 60).await.disabled, 1);
    let read = shop.read(&webhook).await;
    assert_eq!(read["disabled_because"], "failing");
    let said = logs::kept();
    assert!(
        said.lines().any(|line| line.contains("a webhook is disabled") && line.contains(&webhook))
    );
    assert!(!said.contains("s3cret-path") && !said.contains("s3cret-query"));
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it_within_bounds() {
    let shop = Shop::silent().await;
    let receiver = Receiver::start(Manner::Answer(429, "retry-after: 120\r\n")).await;
    let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
    shop.test(&webhook).await;
    assert_eq!(shop.tell_in(0).await, failed(1));
    assert_eq!(shop.tell_in(100).await, WorkedOff::default());
    receiver.does(Manner::Answer(200, ""));
    assert_eq!(shop.tell_in(140).await, delivered(1));
}

#[tokio::test]
async fn one_bad_event_does_not_stop_those_after_it() {
    let shop = Shop::silent().await;
    let receiver = Receiver::start(Manner::Answer(500, "")).await;
    let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
    shop.test(&webhook).await;
    assert_eq!(shop.tell_in(0).await, failed(1));
    receiver.does(Manner::Answer(200, ""));
    shop.test(&webhook).await;
    assert_eq!(shop.tell_in(1).await, WorkedOff::default(), "it rests for five seconds");
    assert_eq!(shop.tell_in(60).await, delivered(2));
}

#[tokio::test]
async fn an_event_that_comes_twice_is_told_once() {
    let shop = Shop::silent().await;
    let receiver = Receiver::good().await;
    let before = shop.sora.sells(an_auction()).await;
    shop.minji.offers(&before, 10_000).await.with_status(201);
    let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
    let auction = shop.sora.sells(an_auction()).await;
    // Nothing more comes after it.
    shop.minji.offers(&auction, 10_000).await.with_status(201);
    let log = shop.envelopes(&auction).await;
    let teller = shop.teller();
    for _ in 0..3 {
        teller.take(&log).await.unwrap();
    }
    // What was decided before there was a webhook is not its business.
    teller.take(&shop.envelopes(&before).await).await.unwrap();
    // Nor is anything new in the log, where it looks for what a broker lost.
    teller.may_have_missed().await.unwrap();
    assert_eq!(shop.deliveries(&webhook, "").await.len(), log.len());
    assert_eq!(shop.tell_in(0).await, delivered(u32::try_from(log.len()).unwrap()));
    teller.take(&log).await.unwrap();
    assert_eq!(shop.tell_in(0).await, WorkedOff::default());
    let ids: Vec<String> = receiver.received().iter().map(|m| m.id().to_owned()).collect();
    let expected: Vec<String> = log.iter().map(Envelope::id).collect();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn whatever_was_noted_is_told_after_a_restart() {
    let mut shop = Shop::silent().await;
    let receiver = Receiver::good().await;
    let (webhook, secret) = shop.webhook(&receiver.url(), &["*"]).await;
    let auction = shop.sora.sells(an_auction()).await;
    let log = shop.minji.log(&auction).await;
    shop.deliveries_once(&webhook, log.len()).await;
    shop.server.stop();
    assert_eq!(receiver.received().len(), 0);
    shop.server.config.webhooks.are_sent = true;
    shop.server.start();
    let received = receiver.received_once(log.len()).await;
    assert!(received.iter().all(|message| message.is_signed_with(&secret)));
}

#[tokio::test]
async fn what_a_crashed_server_had_claimed_is_taken_again() {
    let shop = Shop::silent().await;
    let receiver = Receiver::good().await;
    let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
    shop.test(&webhook).await;
    let (now, store) = (wall_clock::now(), &shop.server.store);
    let claimed = store.claim_webhooks(now, now.plus_s(60), false, 10).await.unwrap();
    assert_eq!(claimed.len(), 1, "and then it dies");
    assert_eq!(shop.tell_in(30).await, WorkedOff::default(), "it may still be at it");
    assert_eq!(shop.tell_in(90).await, delivered(1));
}

#[tokio::test]
async fn many_servers_share_the_work_and_tell_everything_once() {
    let shop = Shop::silent().await;
    let receivers = [Receiver::good().await, Receiver::good().await, Receiver::good().await];
    for receiver in &receivers {
        let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
        for _ in 0..40 {
            shop.test(&webhook).await;
        }
    }
    let now = wall_clock::now().plus_s(1);
    let tellers = [shop.teller(), shop.teller(), shop.teller()];
    let telling = tellers.iter().map(|teller| teller.work_off(move || now));
    let told = futures_util::future::join_all(telling).await;
    let told: u32 = told.into_iter().map(|told| told.unwrap().delivered).sum();
    assert_eq!(told, 120);
    for receiver in &receivers {
        let received = receiver.received();
        let mut ids: Vec<&str> = received.iter().map(|message| message.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((received.len(), ids.len()), (40, 40));
    }
}

#[tokio::test]
async fn past_the_bound_events_are_counted_and_not_kept() {
    let shop = Shop::silent().await;
    let (webhook, _) = shop.webhook("https://shop.example.com/", &["*"]).await;
    let auction = shop.sora.sells(an_auction()).await;
    // Nothing more comes after it.
    shop.minji.offers(&auction, 10_000).await.with_status(201);
    let log = shop.minji.log(&auction).await;
    shop.deliveries_once(&webhook, log.len()).await;
    let full = Options { backlog_max: 1, ..Options::default() };
    let sender = Sender::new(outgoing::Options::default()).unwrap();
    let teller = Webhooks::new(shop.server.store.clone(), sender, full);
    teller.take(&shop.envelopes(&auction).await).await.unwrap();
    let read = shop.read(&webhook).await;
    assert_eq!((&read["skipped"], read["skipped_at"].is_string()), (&json!(log.len()), true));
    assert_eq!(shop.deliveries(&webhook, "").await.len(), log.len());
}

#[tokio::test]
async fn a_name_that_turned_private_is_not_reached() {
    let shop = Shop::silent().await;
    let receiver = Receiver::good().await;
    let port = receiver.origin.rsplit(':').next().unwrap();
    let url = format!("https://rebinding.example.com:{port}/");
    let (webhook, _) = shop.webhook(&url, &["*"]).await;
    let delivery = shop.test(&webhook).await;
    let rebound = outgoing::Options {
        lookup: Arc::new(|_| Box::pin(std::future::ready(Ok(vec![[127, 0, 0, 1].into()])))),
        // Not even where this machine may be told by its own name.
        loopback: true,
        ..outgoing::Options::default()
    };
    let store = shop.server.store.clone();
    let teller = Webhooks::new(store, Sender::new(rebound).unwrap(), Options::default());
    assert_eq!(teller.work_off(wall_clock::now).await.unwrap(), failed(1));
    assert_eq!(receiver.received().len(), 0);
    assert_eq!(shop.attempts(&webhook, &delivery).await[0]["error"], "the address is not public");
}

#[tokio::test]
async fn a_webhook_of_before_does_not_reach_this_machine_once_that_is_switched_off() {
    let shop = Shop::silent().await;
    let receiver = Receiver::good().await;
    let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
    shop.test(&webhook).await;
    let sender = Sender::new(outgoing::Options::default()).unwrap();
    let teller = Webhooks::new(shop.server.store.clone(), sender, Options::default());
    assert_eq!(teller.work_off(wall_clock::now).await.unwrap(), failed(1));
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test]
async fn a_disabled_client_is_told_nothing() {
    let shop = Shop::silent().await;
    let receiver = Receiver::good().await;
    let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
    shop.test(&webhook).await;
    let path = format!("/v1/clients/{}", shop.client);
    shop.admin.patch(&path, &json!({"disabled": true})).await.with_status(200);
    assert_eq!(shop.tell_in(0).await, WorkedOff::default());
    let auction = shop.sora.sells(an_auction()).await;
    shop.teller().take(&shop.envelopes(&auction).await).await.unwrap();
    // The server's own consumer has had it, too.
    shop.server.all_is_published().await;
    assert_eq!(shop.deliveries(&webhook, "").await.len(), 1);
    shop.admin.patch(&path, &json!({"disabled": false})).await.with_status(200);
    assert_eq!(shop.tell_in(0).await, delivered(1));
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_sign_and_afterwards_the_new_one_alone() {
    let shop = Shop::silent().await;
    let receiver = Receiver::good().await;
    let (webhook, first) = shop.webhook(&receiver.url(), &["*"]).await;
    let rotate = async |overlap: &Value| {
        let path = format!("{}/secret", shop.path_of(&webhook));
        let answer = shop.admin.post(&path, overlap).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer.with_status(200)["secret"].as_str().unwrap().to_owned()
    };
    let second = rotate(&json!({"overlap_s": 3_600})).await;
    assert!(shop.read(&webhook).await["old_secret_until"].is_string());
    shop.test(&webhook).await;
    shop.tell_in(0).await;
    shop.test(&webhook).await;
    shop.tell_in(3_601).await;
    let third = rotate(&json!({"overlap_s": 0})).await;
    shop.test(&webhook).await;
    shop.tell_in(3_602).await;
    let signed_with: Vec<[bool; 3]> = receiver
        .received()
        .iter()
        .map(|message| [&first, &second, &third].map(|secret| message.is_signed_with(secret)))
        .collect();
    let expected = [[true, true, false], [false, true, false], [false, false, true]];
    assert_eq!(signed_with, expected);
    let said = format!("{}{:?}", logs::kept(), shop.read(&webhook).await);
    for secret in [&first, &second, &third] {
        assert!(!said.contains(&secret[6..]), "a secret is shown once");
    }
}

#[tokio::test]
async fn everything_since_a_time_is_told_again() {
    let shop = Shop::silent().await;
    let receiver = Receiver::good().await;
    let (webhook, _) = shop.webhook(&receiver.url(), &["*"]).await;
    shop.test(&webhook).await;
    assert_eq!(shop.tell_in(0).await, delivered(1));
    let since = wall_clock::now().plus_ms(1).to_string();
    eventually("a later moment", || async {
        (wall_clock::now() > Timestamp::parse(&since).unwrap()).then_some(())
    })
    .await;
    let later = [shop.test(&webhook).await, shop.test(&webhook).await];
    assert_eq!(shop.tell_in(0).await, delivered(2));
    let replay = async |asked: Value| {
        let path = format!("{}/replay", shop.path_of(&webhook));
        shop.admin.post(&path, &asked).await.with_status(202)
    };
    assert_eq!(replay(json!({"since": since})).await["replayed"], 0, "nothing has failed");
    let all = replay(json!({"since": since, "delivered": true})).await;
    assert_eq!((&all["replayed"], &all["next_cursor"]), (&json!(2), &Value::Null));
    assert_eq!(shop.tell_in(0).await, delivered(2));
    let received = receiver.received();
    let mut again: Vec<&str> = received[3..].iter().map(|message| message.id()).collect();
    again.sort_unstable();
    let expected = later.map(|delivery| format!("test:{}", id_of(&delivery)));
    assert_eq!(again, expected);
}

#[tokio::test]
async fn a_replay_leaves_room_for_what_is_new() {
    let shop = Shop::silent().await;
    let (webhook, _) = shop.webhook("https://shop.example.com/", &["*"]).await;
    let delivery = |count: i64, status: &str| {
        format!(
            "INSERT INTO webhook_deliveries
                 (id, webhook_id, kind, status, next_attempt_at, created_at)
             SELECT gen_random_uuid(), '{webhook}', 'webhook.test', '{status}', now(), now()
             FROM generate_series(1, {count})"
        )
    };
    shop.server.database.rows(&delivery(REPLAYED_WAITING_MAX - 500, "waiting")).await;
    shop.server.database.rows(&delivery(1_200, "failed")).await;
    let path = format!("{}/replay", shop.path_of(&webhook));
    let mut asked = json!({"since": "1970-01-01T00:00:00Z"});
    for (replayed, waiting) in [(500, REPLAYED_WAITING_MAX), (0, REPLAYED_WAITING_MAX)] {
        let answer = shop.admin.post(&path, &asked).await.with_status(202);
        assert_eq!(answer["replayed"], replayed);
        asked["cursor"] = answer["next_cursor"].clone();
        assert!(asked["cursor"].is_string(), "there is more");
        let count = "SELECT FROM webhook_deliveries WHERE status = 'waiting'";
        let rows = shop.server.database.rows(count).await.len();
        assert_eq!(i64::try_from(rows).unwrap(), waiting);
    }
    let arrive = "UPDATE webhook_deliveries SET status = 'delivered' WHERE status = 'waiting'";
    shop.server.database.rows(arrive).await;
    let answer = shop.admin.post(&path, &asked).await.with_status(202);
    assert_eq!((&answer["replayed"], &answer["next_cursor"]), (&json!(700), &Value::Null));
}

#[tokio::test]
async fn what_is_old_or_of_a_removed_webhook_is_deleted() {
    let shop = Shop::silent().await;
    let receiver = Receiver::good().await;
    let (kept, _) = shop.webhook(&receiver.url(), &["*"]).await;
    let (removed, _) = shop.webhook(&receiver.url(), &["*"]).await;
    for webhook in [&kept, &removed] {
        shop.test(webhook).await;
    }
    shop.tell_in(0).await;
    shop.test(&removed).await;
    assert_eq!(shop.admin.remove(&shop.path_of(&removed)).await.status, 204);
    assert_eq!(shop.tell_in(0).await, WorkedOff::default());
    let teller = shop.teller();
    assert_eq!(teller.purge_until(wall_clock::now()).await.unwrap(), 2);
    assert_eq!(shop.server.database.rows("SELECT FROM webhooks").await.len(), 1);
    let rest = "SELECT FROM webhook_attempts";
    assert_eq!(shop.server.database.rows(rest).await.len(), 1);
    assert_eq!(teller.purge_until(wall_clock::now().plus_s(13 * 86_400)).await.unwrap(), 0);
    assert_eq!(teller.purge_until(wall_clock::now().plus_s(15 * 86_400)).await.unwrap(), 1);
    assert_eq!(shop.server.database.rows(rest).await.len(), 0);
}
