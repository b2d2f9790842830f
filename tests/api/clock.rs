//! The clock: openings and closings happen by themselves, once, whatever was missed.

use std::sync::Arc;

use hoga::tasks::Tasks;
use hoga::{
    domain::auction::Command,
    domain::id::AuctionId,
    domain::time::Timestamp,
    events::{in_process::InProcessBus, relay::Relay},
    exchange::{Exchange, Options, Request},
    store::Store,
    wall_clock,
};
use serde_json::{Value, json};

use crate::support::{
    Seller, TestServer, an_auction, database::Database, eventually, fresh_key, in_s, in_time,
    wait::once_it_is, with,
};

/// Auctions whose log has something else than one close as its end, or a gap.
const NOT_CLOSED_ONCE: &str = "
    SELECT count(*) FROM (
        SELECT auction_id FROM events GROUP BY auction_id
        HAVING count(*) FILTER (WHERE kind = 'auction.closed') <> 1
            OR max(seq) <> count(*)
            OR max(seq) <> max(seq) FILTER (WHERE kind = 'auction.closed')) wrong";

fn time(value: &Value) -> i64 {
    let text = value.as_str().expect("a time");
    hoga::domain::time::Timestamp::parse(text).expect("a time").as_millis()
}

/// Many auctions in one go, as a seller with a catalogue would.
async fn sells_many(sora: &Seller, count: usize, auction: &Value) {
    for chunk in vec![(); count].chunks(50) {
        let created = chunk.iter().map(|()| sora.create_auction(auction));
        for answer in futures_util::future::join_all(created).await {
            answer.with_status(201);
        }
    }
}

async fn once_all_are_closed(database: &Database, count: i64) {
    let open = "SELECT count(*) FROM standings WHERE status = 'ended'";
    eventually("every auction is closed", || async {
        (database.number(open).await == count).then_some(())
    })
    .await;
    assert_eq!(database.number(NOT_CLOSED_ONCE).await, 0);
}

#[tokio::test]
async fn an_auction_opens_and_closes_by_itself_at_its_times() {
    let (_server, sora, id, starts_at, ends_at) = in_time(async |soon| {
        let server = TestServer::spawn();
        let sora = server.seller("sora").await;
        let (starts_at, ends_at) = (soon.in_ms(1_500), soon.in_ms(2_500));
        let terms = json!({"starts_at": starts_at, "ends_at": ends_at});
        let id = sora.sells(with(an_auction(), terms)).await;
        assert_eq!(sora.auction(&id).await["status"], "scheduled");
        (server, sora, id, starts_at, ends_at)
    })
    .await;
    sora.auction_once(&id, "ended").await;
    let log = sora.log(&id).await;
    let types: Vec<&str> = log.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["auction.scheduled", "auction.opened", "auction.closed"]);
    assert!(time(&log[1]["at"]) >= time(&json!(starts_at)), "{log:?}");
    assert!(time(&log[2]["at"]) >= time(&json!(ends_at)), "{log:?}");
}

/// What is due is also looked for every five seconds, which can be in time for some of three ends that
/// are 1.7 s apart, but not for all. A slow machine has more tries.
#[tokio::test]
async fn an_auction_is_closed_at_its_time_and_not_when_what_is_due_is_looked_for() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let mut late_ms = Vec::new();
    for _ in 0..6 {
        let (ids, ends) = in_time(async |soon| {
            let ends = [1_500, 3_200, 4_900].map(|ms| soon.in_ms(ms));
            let terms = |ends_at: &String| with(an_auction(), json!({"ends_at": ends_at}));
            let ids = ends.iter().map(|ends_at| sora.sells(terms(ends_at)));
            (futures_util::future::join_all(ids).await, ends)
        })
        .await;
        late_ms.clear();
        for (id, ends_at) in ids.iter().zip(&ends) {
            sora.auction_once(id, "ended").await;
            let closed = sora.log(id).await.pop().unwrap();
            late_ms.push(time(&closed["at"]) - time(&json!(ends_at)));
        }
        if late_ms.iter().all(|late| (0..1_500).contains(late)) {
            return;
        }
    }
    panic!("late by {late_ms:?} ms");
}

#[tokio::test]
async fn a_late_bid_moves_the_end_up_to_its_bound_and_a_refused_one_does_not() {
    let (_server, sora, id, max_ends_at) = in_time(async |soon| {
        let server = TestServer::spawn();
        let sora = server.seller("sora").await;
        let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
        let ends_at = soon.in_ms(2_000);
        let max_ends_at = Timestamp::parse(&ends_at).unwrap().plus_ms(1_500).to_string();
        let soft_close = json!({"trigger_window_s": 60, "extension_s": 1, "mode": "extend", "max_ends_at": max_ends_at});
        let terms = json!({"ends_at": ends_at, "soft_close": soft_close});
        let id = sora.sells(with(an_auction(), terms)).await;
        minji.offers(&id, 1).await.refused(409, "bid_too_low");
        assert_eq!(sora.auction(&id).await["ends_at"], ends_at.as_str());
        let first = minji.offers(&id, 10_000).await.with_status(201);
        assert_eq!(time(&first["ends_at"]), time(&json!(ends_at)) + 1_000);
        let second = junho.offers(&id, 11_000).await.with_status(201);
        assert_eq!(second["ends_at"], max_ends_at.as_str(), "never passed");
        let third = minji.offers(&id, 12_000).await.with_status(201);
        assert_eq!(third["ends_at"], max_ends_at.as_str());
        (server, sora, id, max_ends_at)
    })
    .await;
    sora.auction_once(&id, "ended").await;
    let log = sora.log(&id).await;
    assert!(time(&log.last().unwrap()["at"]) >= time(&json!(max_ends_at)));
}

#[tokio::test]
async fn two_thousand_auctions_of_the_same_second_are_closed_once_each() {
    let (server, end) = in_time(async |soon| {
        let server = TestServer::spawn();
        let sora = server.seller("sora").await;
        let ends_at = soon.in_ms(12_000);
        sells_many(&sora, 2_000, &with(an_auction(), json!({"ends_at": ends_at}))).await;
        let end = Timestamp::parse(&ends_at).unwrap();
        assert!(wall_clock::now() < end, "creating them took too long to show anything");
        (server, end)
    })
    .await;
    once_it_is(end).await;
    once_all_are_closed(&server.database, 2_000).await;
    let first = "SELECT (extract(epoch FROM min(at)) * 1000)::int8 FROM events WHERE kind = 'auction.closed'";
    assert!(server.database.number(first).await >= end.as_millis(), "none before its end");
}

#[tokio::test]
async fn what_became_due_while_nobody_was_there_is_done_before_the_server_is_ready() {
    let (mut server, ended, opened, slept_through) = in_time(async |soon| {
        let mut server = TestServer::spawn();
        let sora = server.seller("sora").await;
        let (start, end) = (soon.in_ms(1_000), soon.in_ms(1_200));
        let ended = sora.sells(with(an_auction(), json!({"ends_at": end}))).await;
        let opened = json!({"starts_at": start, "ends_at": in_s(600)});
        let opened = sora.sells(with(an_auction(), opened)).await;
        let slept_through = json!({"starts_at": start, "ends_at": end});
        let slept_through = sora.sells(with(an_auction(), slept_through)).await;
        server.stop();
        let done = "SELECT count(*) FROM standings WHERE status = 'ended'";
        assert_eq!(server.database.number(done).await, 0, "nobody is there when they are due");
        (server, ended, opened, slept_through)
    })
    .await;
    eventually("the ends have passed", || async {
        let due = "SELECT count(*) FROM standings WHERE due_at > now()";
        (server.database.number(due).await == 0).then_some(())
    })
    .await;
    server.start_without_catching_up();
    let anyone = server.anonymous();
    let not_yet = anyone.get("/readyz").await;
    assert_eq!(not_yet.with_status(503)["caught_up"], false);
    server.catch_up().await;
    assert_eq!(anyone.get("/readyz").await.with_status(200)["status"], "ready");
    for (id, status) in [(&ended, "ended"), (&opened, "live"), (&slept_through, "ended")] {
        assert_eq!(anyone.auction(id).await["status"], status, "already then");
    }
    let expected = ["auction.scheduled", "auction.opened", "auction.closed"];
    assert_eq!(anyone.log_types(&slept_through).await, expected);
}

#[tokio::test]
async fn an_auction_that_is_overdue_by_its_row_alone_does_not_keep_the_server_from_being_ready() {
    let mut server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    server.stop();
    let too_early = format!(
        "UPDATE standings SET due_at = now() - interval '1 hour' WHERE auction_id = '{id}'"
    );
    server.database.rows(&too_early).await;
    server.start();
    assert_eq!(server.anonymous().get("/readyz").await.with_status(200)["status"], "ready");
    assert_eq!(sora.auction(&id).await["status"], "live", "as its log says");
}

#[tokio::test]
async fn a_bid_after_the_end_is_refused_although_nobody_has_closed_the_auction_yet() {
    let (mut server, sora, minji, id) = in_time(async |soon| {
        let mut server = TestServer::spawn();
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        let id = sora.sells(with(an_auction(), json!({"ends_at": soon.in_ms(1_500)}))).await;
        server.stop();
        let closed = "SELECT count(*) FROM standings WHERE status = 'ended'";
        assert_eq!(server.database.number(closed).await, 0, "nobody is there to close it");
        (server, sora, minji, id)
    })
    .await;
    eventually("the end has passed", || async {
        (server.database.number("SELECT count(*) FROM standings WHERE ends_at > now()").await == 0)
            .then_some(())
    })
    .await;
    server.start_without_catching_up();
    let refused = minji.offers(&id, 10_000).await;
    assert_eq!(refused.status, 409);
    let bids = "SELECT count(*) FROM events WHERE kind = 'bid.placed'";
    assert_eq!(server.database.number(bids).await, 0);
    sora.auction_once(&id, "ended").await;
}

#[tokio::test]
async fn a_timer_that_was_missed_is_found_in_the_database() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = in_time(async |soon| {
        let id = sora.sells(with(an_auction(), json!({"ends_at": soon.in_ms(1_500)}))).await;
        // The clock is made to forget it, as a lost note would.
        sora.auction_once(&id, "live").await;
        let state = server.state().clone();
        state.exchange.scheduled(AuctionId(id.parse().unwrap()), wall_clock::now().plus_s(86_400));
        assert_eq!(sora.auction(&id).await["status"], "live", "not closed yet");
        id
    })
    .await;
    sora.auction_once(&id, "ended").await;
}

/// Another exchange on the same database, behind the same fences: only the keys of the logs keep the
/// two apart.
fn second_exchange(server: &TestServer) -> (Store, Exchange) {
    let store = Store::new(server.database.config().clone()).expect("a store");
    let owned = server.state().exchange.owned().clone();
    let (handle, relay) =
        Relay::new(store.clone(), Arc::new(InProcessBus::default()), owned.clone());
    actix::spawn(relay.run());
    let options = Options { lanes: 1, ..Options::default() };
    let exchange = Exchange::start(store.clone(), handle, owned, options, &Tasks::unattended());
    (store, exchange)
}

#[actix_web::test]
async fn two_exchanges_on_one_database_close_every_auction_once_and_the_loser_recovers() {
    let (server, sora, minji) = in_time(async |soon| {
        let server = TestServer::spawn();
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        sells_many(&sora, 60, &with(an_auction(), json!({"ends_at": soon.in_ms(3_000)}))).await;
        (server, sora, minji)
    })
    .await;
    let lasting = sora.sells(an_auction()).await;
    sora.auction_once(&lasting, "live").await;
    // Both hold these in memory before they differ.
    let (_store, second) = second_exchange(&server);
    let lasting_id = AuctionId(lasting.parse().unwrap());
    let seq = second.read(lasting_id, |state| state.seq).await.expect("read");
    assert_eq!(seq, 2);
    minji.offers_up_to(&lasting, 50_000).await.with_status(201);
    // The second has not heard of the bid: what it decides on old knowledge must not be written.
    let late = second.submit(lasting_id, |_| Request::internal(Command::Close)).await;
    assert!(late.is_ok(), "refused by the rules, after reading the log again: {late:?}");
    eventually("all but one are closed", || async {
        let ended = "SELECT count(*) FROM standings WHERE status = 'ended'";
        (server.database.number(ended).await == 60).then_some(())
    })
    .await;
    let short = "SELECT count(*) FROM events WHERE kind = 'auction.closed'";
    assert_eq!(server.database.number(short).await, 60);
    let gaps = "SELECT count(*) FROM (SELECT auction_id FROM events GROUP BY auction_id HAVING max(seq) <> count(*)) g";
    assert_eq!(server.database.number(gaps).await, 0);
    let junho = server.bidder("junho").await;
    junho.offers(&lasting, 60_000).await.with_status(201);
    second.stop(std::time::Duration::from_secs(5)).await;
}

#[actix_web::test]
async fn bids_through_two_exchanges_leave_one_log_without_a_gap() {
    let mut first = TestServer::spawn();
    let sora = first.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    let (_store, second) = second_exchange(&first);
    let auction = AuctionId(id.parse().unwrap());
    let (minji, junho) = (first.bidder("minji").await, first.bidder("junho").await);
    let through_second = |offer: i64| {
        second.submit(auction, move |received_at| {
            let bid = hoga::domain::auction::PlaceBid {
                bidder: junho.id,
                offer: hoga::domain::auction::Offer::Ceiling(
                    hoga::domain::money::Amount::new(offer).unwrap(),
                ),
                expected_seq: None,
                confirm_amount: None,
                salt: [7; 16],
                received_at,
            };
            Request::internal(Command::PlaceBid(bid))
        })
    };
    for n in 0..20 {
        let (a, b) = futures_util::join!(
            minji.offers_up_to(&id, 10_000 + n * 5_000),
            through_second(12_000 + n * 5_000),
        );
        assert!(matches!(a.status, 201 | 409), "{a:?}");
        assert!(b.is_ok(), "{b:?}");
    }
    let log = sora.log(&id).await;
    assert!(log.len() > 12);
    assert!(log.iter().zip(1_u64..).all(|(entry, seq)| entry["seq"] == seq));
    let prices: Vec<i64> =
        log.iter().map(|e| e["data"]["price"]["amount"].as_i64().unwrap()).collect();
    assert!(prices.is_sorted());
    second.stop(std::time::Duration::from_secs(5)).await;
    // Whoever replays the log agrees with what was answered.
    let before = sora.auction(&id).await;
    first.restart();
    assert_eq!(minji.bidding(&id).await["price"], before["price"]);
}

#[tokio::test]
async fn every_bid_around_the_end_has_a_receipt_from_before_it_or_hears_that_it_is_over() {
    let (_server, sora, id, ends_at, accepted) = in_time(async |soon| {
        let server = TestServer::spawn();
        let sora = server.seller("sora").await;
        let mut bidders = Vec::new();
        for n in 0..16 {
            bidders.push(server.bidder(&format!("bidder {n}")).await);
        }
        let ends_at = soon.in_ms(1_500);
        let id = sora.sells(with(an_auction(), json!({"ends_at": ends_at}))).await;
        let bidding = bidders.iter().zip(0_i64..).map(|(bidder, no)| {
            let id = id.clone();
            async move {
                let mut accepted = Vec::new();
                for round in 0_i64.. {
                    let bid = json!({"max_amount": 10_000 + (round * 16 + no) * 1_000});
                    let answer = bidder.bid_with_key(&id, &fresh_key(), &bid).await;
                    match answer.status {
                        201 => accepted.push(answer.json()),
                        _ if answer.json()["code"] == "auction_ended" => break,
                        _ => {
                            let code = answer.json()["code"].as_str().unwrap().to_owned();
                            assert!(
                                ["bid_too_low", "already_leading"].contains(&code.as_str()),
                                "{code}"
                            );
                        }
                    }
                }
                accepted
            }
        });
        let accepted = futures_util::future::join_all(bidding).await.concat();
        assert!(!accepted.is_empty());
        (server, sora, id, ends_at, accepted)
    })
    .await;
    assert!(
        accepted.iter().all(|receipt| receipt["received_at"].as_str().unwrap() < ends_at.as_str())
    );
    let log = sora.log(&id).await;
    let closed = log.last().unwrap();
    assert_eq!(closed["type"], "auction.closed");
    for receipt in &accepted {
        assert!(receipt["seq"].as_u64() < closed["seq"].as_u64());
        let entry = &log[usize::try_from(receipt["seq"].as_u64().unwrap()).unwrap() - 1];
        assert_eq!(entry["hash"], receipt["hash"]);
    }
    let placed = log.iter().filter(|entry| entry["type"] == "bid.placed").count();
    assert_eq!(placed, accepted.len());
}
