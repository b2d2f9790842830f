//! Events over a real RabbitMQ: nothing is lost, nothing comes out of order, whatever is killed.
//!
//! The broker is private to this run and is killed at its end. What a durable consumer has, what
//! viewers were told and what stands in inboxes is held against the log in Postgres.

pub mod broker;
pub mod bus;
mod in_process;
mod inboxes;
#[path = "../crash/market.rs"]
#[allow(dead_code, reason = "what was answered is checked by tests/crash")]
mod market;
mod outbox;
pub mod recorder;
mod server;
mod viewers;

use std::{collections::HashSet, sync::Mutex};

use broker::Broker;
use hoga::events::{delivery::TRIES_MAX, rabbitmq::spawn_consumer};
use hoga::tasks::Tasks;
use inboxes::Watchers;
use market::{Market, Size};
use recorder::Recorder;
use serde_json::Value;
use server::{Broadcaster, Hoga, breathe};
use support::eventually;
use viewers::{Memory, Viewers};

use crate::support;

/// How often the broker is killed.
const KILLS: usize = 5;
/// Connections of a server: what publishes, the notifier, the webhooks and the streams.
const CONNECTIONS: usize = 4;
/// Few enough bids for viewers to be told nearly all of them one by one.
const WATCHED: Size = Size { long: 6, short: 8, bidders: 4, is_calm: true };
/// Auctions with an event that cannot be taken.
const POISONED: usize = 3;

/// The queue of the recorder is there before anything is published.
pub async fn consumer_is_there(broker: &Broker, prefix: &str) {
    let queue = format!("{prefix}hoga.recorder");
    eventually("the consumer's queue", || async {
        let (connection, channel) = broker.channel().await;
        let options = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
        let there = channel.queue_declare(queue.as_str().into(), options, Default::default()).await;
        let _ = connection.close(200, "looked".into()).await;
        there.ok().filter(|queue| queue.consumer_count() > 0)
    })
    .await;
}

/// Viewers of a market: of one auction, of many, and of inboxes, at the server that decides and at a
/// broadcaster beside it.
async fn audience(
    hoga: &Hoga,
    broadcaster: &Broadcaster,
    market: &Market,
    watchers: &Watchers,
) -> Viewers {
    let mut viewers = Viewers::default();
    for base_url in [&hoga.url(), &broadcaster.url()] {
        for auction in market.auctions() {
            viewers.watch_one(base_url, *auction);
        }
        viewers.watch_many(base_url, market.auctions(), Memory::EachAuction);
        viewers.watch_many(base_url, market.auctions(), Memory::LastId);
        for (no, user) in market.users().iter().enumerate() {
            viewers.watch_inbox(base_url, *user, market.bearer(no));
        }
        for (user, bearer) in &watchers.0 {
            viewers.watch_inbox(base_url, *user, bearer);
        }
    }
    viewers.have_begun().await;
    viewers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_under_load_loses_nothing_and_keeps_the_order() {
    let broker = Broker::start();
    let recorder = Recorder::new();
    spawn_consumer(&broker.address(""), recorder.clone(), &Tasks::unattended());
    consumer_is_there(&broker, "").await;
    let hoga = Hoga::start(broker.url(), "").await;
    let market = Market::with(&hoga, WATCHED).await;
    let watchers = Watchers::begin(&hoga, &market).await;
    let mut broadcaster = hoga.broadcaster().await;
    let viewers = audience(&hoga, &broadcaster, &market, &watchers).await;
    let bidding = market.bid_all_the_time();
    for _ in 0..KILLS {
        market.wait_for_answers(200).await;
        broker.kill();
        broadcaster.kill_and_serve(&hoga).await;
        // Bids do not wait for it.
        market.wait_for_answers(200).await;
        broker.serve();
        let before = recorder.offered();
        eventually("events flow again", || async { (recorder.offered() > before).then_some(()) })
            .await;
    }
    bidding.finish().await;
    market.wait_for_short_auctions(&hoga).await;
    recorder.check(&hoga).await;
    watchers.check_inboxes(&hoga).await;
    viewers.check(&hoga).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_dies_at_any_point_loses_nothing_and_keeps_the_order() {
    let broker = Broker::shared();
    let (prefix, recorder) = ("points.", Recorder::new());
    spawn_consumer(&broker.address(prefix), recorder.clone(), &Tasks::unattended());
    consumer_is_there(&broker, prefix).await;
    let mut hoga = Hoga::start(broker.url(), prefix).await;
    let market = Market::with(&hoga, WATCHED).await;
    let watchers = Watchers::begin(&hoga, &market).await;
    let broadcaster = hoga.broadcaster().await;
    let viewers = audience(&hoga, &broadcaster, &market, &watchers).await;
    let bidding = market.bid_all_the_time();
    for point in ["committed:30", "published:30", "confirmed:30", "published:1", "confirmed:1"] {
        hoga.kill();
        hoga.serve_until(point).await;
        hoga.serve().await;
        market.wait_for_answers(100).await;
    }
    bidding.finish().await;
    market.wait_for_short_auctions(&hoga).await;
    recorder.check(&hoga).await;
    watchers.check_inboxes(&hoga).await;
    viewers.check(&hoga).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bids_are_accepted_without_a_broker_and_their_events_arrive_when_it_is_there() {
    let broker = Broker::start();
    let recorder = Recorder::new();
    spawn_consumer(&broker.address("late."), recorder.clone(), &Tasks::unattended());
    consumer_is_there(&broker, "late.").await;
    let mut hoga = Hoga::start(broker.url(), "late.").await;
    let market = Market::open(&hoga).await;
    eventually("events flow", || async { (recorder.offered() > 0).then_some(()) }).await;
    broker.kill();
    hoga.kill();
    hoga.serve().await;
    let bidding = market.bid_all_the_time();
    market.wait_for_answers(600).await;
    let readiness = hoga.wait_until(|readiness| readiness["bus"] == "unreachable").await;
    assert_eq!(readiness["status"], "ready");
    bidding.finish().await;
    broker.serve();
    recorder.check(&hoga).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_killed_is_gone_and_not_one_that_refuses() {
    let broker = Broker::start();
    let hoga = Hoga::start(broker.url(), "gone.").await;
    let broadcaster = hoga.broadcaster().await;
    let market = Market::open(&hoga).await;
    let bidding = market.bid_all_the_time();
    market.wait_for_answers(200).await;
    broker.kill();
    let is_gone = |readiness: &Value| readiness["bus"] == "unreachable";
    hoga.wait_until(is_gone).await;
    let readiness = hoga.wait_until_at(&broadcaster.url(), is_gone).await;
    assert_eq!(readiness["status"], "ready");
    market.wait_for_answers(100).await;
    let sql = hoga.sql().await;
    let newest: i64 = sql.query_one("SELECT max(id) FROM outbox", &[]).await.expect("read").get(0);
    broker.serve();
    let served = std::time::Instant::now();
    eventually("what waited is published", || async {
        let waiting = "SELECT count(*) FROM outbox WHERE id <= $1";
        let waiting: i64 = sql.query_one(waiting, &[&newest]).await.expect("read").get(0);
        (waiting == 0).then_some(())
    })
    .await;
    println!("what waited was published {:?} after the broker was back", served.elapsed());
    let is_up = |readiness: &Value| readiness["bus"] == "up";
    hoga.wait_until(is_up).await;
    hoga.wait_until_at(&broadcaster.url(), is_up).await;
    println!("everything was up again after {:?}", served.elapsed());
    bidding.finish().await;
    let said = hoga.said();
    assert!(!said.contains("RabbitMQ refuses"), "{said}");
    assert!(!said.contains("lapin"), "one failure is one line: {said}");
}

/// Deleting the exchange takes every binding with it, and whoever publishes makes those of durable
/// queues anew: the queues of streams are connected, and get nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_whose_binding_was_lost_miss_nothing_and_it_is_said() {
    let broker = Broker::shared();
    let hoga = Hoga::start(broker.url(), "unbound.").await;
    let market = Market::with(&hoga, WATCHED).await;
    let watchers = Watchers::begin(&hoga, &market).await;
    let broadcaster = hoga.broadcaster().await;
    let viewers = audience(&hoga, &broadcaster, &market, &watchers).await;
    let (connection, channel) = broker.channel().await;
    let exchange = "unbound.hoga.events".into();
    channel.exchange_delete(exchange, Default::default()).await.expect("deleted");
    let bidding = market.bid_all_the_time();
    market.wait_for_answers(100).await;
    let is_said = |readiness: &Value| readiness["bus"] == "losing_events";
    for url in [hoga.url(), broadcaster.url()] {
        assert_eq!(hoga.wait_until_at(&url, is_said).await["status"], "ready");
        let metrics = reqwest::get(format!("{url}/metrics")).await.expect("an answer");
        let metrics = metrics.text().await.expect("a text");
        let lost = metrics.lines().find_map(|line| line.strip_prefix("hoga_bus_lost_total "));
        assert!(lost.expect("counted").parse::<u64>().expect("a number") > 0);
    }
    bidding.finish().await;
    market.wait_for_short_auctions(&hoga).await;
    viewers.check(&hoga).await;
    let _ = connection.close(200, "done".into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcaster_uses_what_its_exchange_uses_and_goes_on_when_that_changes() {
    let broker = Broker::shared();
    let mut hoga = Hoga::start(broker.url(), "before.").await;
    for (variable, own, exchange) in [
        ("HOGA_PUBLIC_URL", "http://elsewhere.test", "http://hoga.rabbit.test"),
        ("HOGA_AMQP_PREFIX", "elsewhere.", "before."),
    ] {
        let (code, said) = hoga.refused_broadcaster((variable, own)).await;
        assert_eq!(code, Some(2), "{said}");
        assert!([variable, own, exchange].iter().all(|name| said.contains(name)), "{said}");
    }
    let market = Market::with(&hoga, WATCHED).await;
    let watchers = Watchers::begin(&hoga, &market).await;
    // Neither the issuer of its viewers' tokens nor the prefix is set here.
    let broadcaster = hoga.broadcaster().await;
    let viewers = audience(&hoga, &broadcaster, &market, &watchers).await;
    hoga.restart_under("after.").await;
    let bidding = market.bid_all_the_time();
    market.wait_for_answers(100).await;
    let is_said = |readiness: &Value| readiness["bus"] == "losing_events";
    hoga.wait_until_at(&broadcaster.url(), is_said).await;
    bidding.finish().await;
    market.wait_for_short_auctions(&hoga).await;
    viewers.check(&hoga).await;
}

/// What the lease is: see `src/store/lease.rs`.
const LEASE: i64 = 0x686f_6761_0002;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_lease_another_took_publishes_no_more_and_goes_down() {
    let broker = Broker::shared();
    let (prefix, recorder) = ("deposed.", Recorder::new());
    spawn_consumer(&broker.address(prefix), recorder.clone(), &Tasks::unattended());
    consumer_is_there(&broker, prefix).await;
    let mut hoga = Hoga::start(broker.url(), prefix).await;
    let market = Market::with(&hoga, WATCHED).await;
    let bidding = market.bid_all_the_time();
    market.wait_for_answers(50).await;
    let (another, sql) = (hoga.sql().await, hoga.sql().await);
    let takes = tokio::spawn(async move {
        another.query_one("SELECT pg_advisory_lock($1)", &[&LEASE]).await.expect("taken");
        another
    });
    eventually("another waits for the lease", || async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'
                       AND datname = current_database() AND query LIKE '%pg_advisory_lock($1)%'";
        (sql.query_one(waiting, &[]).await.expect("asked").get::<_, i64>(0) == 1).then_some(())
    })
    .await;
    let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'hoga lease' AND datname = current_database()";
    sql.execute(ends, &[]).await.expect("ended");
    let another = takes.await.expect("it has the lease");
    // What it still decides is kept for the next owner.
    market.wait_for_answers(20).await;
    assert_eq!(hoga.ends().await, Some(1));
    assert!(hoga.said().contains("another exchange has taken the database"));
    bidding.finish().await;
    let kept = "SELECT count(*) FROM outbox";
    let kept: i64 = sql.query_one(kept, &[]).await.expect("counted").get(0);
    assert!(kept > 0, "it went on publishing");
    drop(another);
    hoga.serve().await;
    recorder.check(&hoga).await;
}

/// A broker that is killed may forget a binding; what it then confirms went to other queues alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_whose_binding_was_forgotten_goes_on_from_the_log() {
    let broker = Broker::shared();
    let (prefix, recorder) = ("forgotten.", Recorder::new());
    spawn_consumer(&broker.address(prefix), recorder.clone(), &Tasks::unattended());
    consumer_is_there(&broker, prefix).await;
    let hoga = Hoga::start(broker.url(), prefix).await;
    let client = hoga.runs(&["client", "add", "a shop"]);
    hoga.runs(&["webhook", "add", client.trim(), "https://shop.hoga.test/told"]);
    let market = Market::with(&hoga, WATCHED).await;
    let watchers = Watchers::begin(&hoga, &market).await;
    let (connection, channel) = broker.channel().await;
    let queues = ["forgotten.hoga.notify", "forgotten.hoga.webhooks"];
    for queue in queues {
        let [queue, exchange, key] =
            [queue, "forgotten.hoga.events", "auction.#"].map(|name| name.into());
        channel.queue_unbind(queue, exchange, key, Default::default()).await.expect("unbound");
    }
    let bidding = market.bid_all_the_time();
    market.wait_for_answers(100).await;
    bidding.finish().await;
    market.wait_for_short_auctions(&hoga).await;
    recorder.check(&hoga).await;
    let missed = "SELECT count(*) FROM standings LEFT JOIN notify_progress USING (auction_id)
                  WHERE done_seq IS DISTINCT FROM seq";
    let sql = hoga.sql().await;
    let count = async |what| sql.query_one(what, &[]).await.expect("counted").get::<_, i64>(0);
    assert!(count(missed).await > 0, "the notifier has what it was never sent");
    let untold = "SELECT count(*) FROM events e WHERE at >= (SELECT created_at FROM webhooks)
         AND NOT EXISTS (SELECT FROM webhook_deliveries d
                         WHERE d.auction_id = e.auction_id AND d.seq = e.seq)";
    assert!(count(untold).await > 0, "the webhook is told of what was never sent");
    // They lose their consumers, and make queues and bindings anew.
    for queue in queues {
        channel.queue_delete(queue.into(), Default::default()).await.expect("deleted");
    }
    watchers.check_inboxes(&hoga).await;
    eventually("the webhook is told of everything", || async {
        (count(untold).await == 0).then_some(())
    })
    .await;
    let _ = connection.close(200, "done".into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said_once_and_not_repeated_in_a_loop() {
    let broker = Broker::shared();
    let hoga = Hoga::start(broker.url_as("top-secret"), "wrong.").await;
    let readiness = hoga.wait_until(|readiness| readiness["bus"] == "access_refused").await;
    assert_eq!(readiness["status"], "ready");
    said_once_for_each_connection(&hoga, "refuses the user, the password").await;
    assert!(!hoga.said().contains("top-secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_of_another_type_is_said_clearly_and_used_no_sooner_than_it_is_gone() {
    let broker = Broker::shared();
    let (connection, channel) = broker.channel().await;
    let queue = "other.hoga.dead-letters";
    let options = lapin::options::QueueDeclareOptions::durable();
    channel.queue_declare(queue.into(), options, Default::default()).await.expect("a queue");
    let hoga = Hoga::start(broker.url(), "other.").await;
    let is_told = |readiness: &Value| readiness["bus"] == "queue_of_another_type";
    let readiness = hoga.wait_until(is_told).await;
    assert_eq!(readiness["status"], "ready");
    said_once_for_each_connection(&hoga, "delete it there, or set HOGA_AMQP_PREFIX").await;
    assert!(hoga.said().contains(queue));
    channel.queue_delete(queue.into(), Default::default()).await.expect("deleted");
    hoga.wait_until(|readiness| readiness["bus"] == "up").await;
    let _ = connection.close(200, "done".into()).await;
}

/// By each of its connections, however often they try.
async fn said_once_for_each_connection(hoga: &Hoga, what: &str) {
    let count = || hoga.said().matches(what).count();
    eventually("it is said", || async { (count() == CONNECTIONS).then_some(()) }).await;
    // Long enough for several attempts.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(1);
    while std::time::Instant::now() < until {
        breathe().await;
        assert_eq!(count(), CONNECTIONS);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_message_is_put_aside_after_bounded_tries_and_can_be_replayed() {
    let broker = Broker::shared();
    let (prefix, recorder) = ("poison.", Recorder::new());
    // Of three auctions the second event; each costs the others behind it most of a second.
    let poisoned = Mutex::new(HashSet::new());
    recorder.refuse(move |event| {
        let mut poisoned = poisoned.lock().unwrap();
        let is_full = poisoned.len() == POISONED;
        event.seq == 2
            && (poisoned.contains(&event.auction_id)
                || !is_full && poisoned.insert(event.auction_id))
    });
    spawn_consumer(&broker.address(prefix), recorder.clone(), &Tasks::unattended());
    consumer_is_there(&broker, prefix).await;
    let hoga = Hoga::start(broker.url(), prefix).await;
    let market = Market::open(&hoga).await;
    let bidding = market.bid_all_the_time();
    market.wait_for_answers(50).await;
    bidding.finish().await;
    let listed = eventually("they are put aside", || async {
        let listed = hoga.runs(&["dead-letters", "list"]);
        (listed.lines().count() == POISONED).then_some(listed)
    })
    .await;
    let first = listed.lines().next().unwrap().split(' ').next().unwrap();
    assert!(first.ends_with(":2@recorder") && listed.contains("it tastes bad"), "{listed}");
    let (auction, _) = first.split_once(':').unwrap();
    assert!(recorder.refusals(auction) > TRIES_MAX - 1, "it was tried often enough");
    recorder.refuse_nothing();
    assert_eq!(hoga.runs(&["dead-letters", "replay", first]), "replayed 1\n");
    let replayed = hoga.run(&["dead-letters", "replay", "nobody"]);
    assert_eq!(replayed.status.code(), Some(1));
    assert!(hoga.run(&["dead-letters", "replay", "--all"]).status.success());
    recorder.wait_for_all(&hoga).await;
    assert!(hoga.run(&["dead-letters", "list"]).stdout.is_empty());
}
