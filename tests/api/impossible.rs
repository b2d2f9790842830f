//! Defects of comparable systems that must be impossible here, each through the whole server.
//! `tests/rules/impossible.rs` shows the same of the rules alone.

use std::sync::atomic::{AtomicI64, Ordering};

use hoga::{
    domain::time::SeoulDay,
    store::{LeaseError, Owned},
    wall_clock,
};
use serde_json::{Value, json};

use crate::support::{TestServer, an_auction, eventually, in_s, in_time, with};

#[tokio::test]
async fn of_two_simultaneous_bids_the_lower_one_never_wins() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    for _ in 0..25 {
        let id = sora.sells(an_auction()).await;
        let (low, high) = futures_util::join!(minji.offers(&id, 11_000), junho.offers(&id, 12_000));
        high.with_status(201);
        let auction = sora.auction(&id).await;
        assert_eq!(auction["price"]["amount"], 12_000);
        assert_eq!(junho.bidding(&id).await["leading"], true);
        if low.status == 201 {
            assert!(low.json()["seq"].as_u64() < high.json()["seq"].as_u64(), "it came first");
            assert_eq!(auction["bid_count"], 2);
        } else {
            low.refused(409, "bid_too_low");
        }
    }
}

#[tokio::test]
async fn no_bid_is_accepted_after_the_end_whatever_is_held_in_memory() {
    let (server, sora, minji, id) = in_time(async |soon| {
        let server = TestServer::spawn();
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        let id = sora.sells(with(an_auction(), json!({"ends_at": soon.in_ms(1_000)}))).await;
        // In memory and live from here on.
        sora.auction_once(&id, "live").await;
        assert_eq!(minji.bidding(&id).await["status"], "live");
        (server, sora, minji, id)
    })
    .await;
    let ends_at = sora.auction(&id).await["ends_at"].as_str().unwrap().to_owned();
    let mut offer = 10_000;
    loop {
        let answer = minji.offers_up_to(&id, offer).await;
        if answer.status != 201 {
            answer.refused(409, "auction_ended");
            break;
        }
        assert!(answer.json()["received_at"].as_str().unwrap() < ends_at.as_str());
        offer += 1_000;
    }
    let late = format!(
        "SELECT count(*) FROM events WHERE auction_id = '{id}' AND kind = 'bid.placed'
         AND data::json ->> 'received_at' >= '{ends_at}'"
    );
    assert_eq!(server.database.number(&late).await, 0);
}

#[tokio::test]
async fn an_equal_price_is_not_taken_for_a_first_bid_after_the_auction_left_memory() {
    let mut server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    minji.offers(&id, 10_000).await.with_status(201);
    server.restart();
    assert_eq!(server.state().exchange.auctions_loaded(), 0, "nothing is in memory");
    let equal = junho.offers(&id, 10_000).await.refused(409, "bid_too_low");
    assert_eq!(equal["minimum_next_bid"]["amount"], 11_000);
}

#[tokio::test]
async fn looking_at_an_auction_never_changes_its_price() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    let anyone = server.anonymous();
    let highest = AtomicI64::new(0);
    let bidding = async {
        for n in 0..30 {
            let bidder = if n % 2 == 0 { &minji } else { &junho };
            let offer = 10_000 + n * 1_000;
            bidder.offers(&id, offer).await.with_status(201);
            highest.store(offer, Ordering::SeqCst);
        }
    };
    let looking = async {
        for _ in 0..60 {
            let least = highest.load(Ordering::SeqCst);
            let price = anyone.auction(&id).await["price"]["amount"].as_i64().unwrap();
            assert!(price >= least, "{price} was answered after {least} was acknowledged");
        }
    };
    futures_util::join!(bidding, looking);
    assert_eq!(anyone.auction(&id).await["price"]["amount"], 39_000);
    assert_eq!(sora.log(&id).await.len(), 32, "views write nothing");
}

#[tokio::test]
async fn what_comes_to_nothing_in_the_database_is_never_told() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    minji.offers(&id, 10_000).await.with_status(201);
    let mut events = server.anonymous().events(&id).await;
    assert_eq!(events.next().await.unwrap().event, "snapshot");
    // From now on Postgres refuses to commit bids.
    let forbid = "ALTER TABLE events ADD CONSTRAINT no_bids CHECK (kind <> 'bid.placed') NOT VALID";
    server.database.rows(forbid).await;
    assert_eq!(junho.offers(&id, 20_000).await.status, 503);
    assert_eq!(sora.auction(&id).await["price"]["amount"], 10_000);
    assert_eq!(minji.bidding(&id).await["price"]["amount"], 10_000, "nor kept in memory");
    server.database.rows("ALTER TABLE events DROP CONSTRAINT no_bids").await;
    junho.offers(&id, 30_000).await.with_status(201);
    let told = events.next().await.unwrap();
    assert_eq!(
        (told.seq(), &told.data["price"]["amount"]),
        (4, &json!(30_000)),
        "the next one told"
    );
}

#[tokio::test]
async fn the_end_is_compared_in_sequence_not_before_a_lock_is_waited_for() {
    let (_server, sora, id, ends_at, (early, late)) = in_time(async |soon| {
        let server = TestServer::spawn();
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        let ends_at = soon.in_ms(1_200);
        let id = sora.sells(with(an_auction(), json!({"ends_at": ends_at}))).await;
        sora.auction_once(&id, "live").await;
        let hold = format!(
            "BEGIN; LOCK TABLE events IN EXCLUSIVE MODE; \
             SELECT pg_sleep_until('{ends_at}'::timestamptz + interval '0.8 s'); COMMIT"
        );
        let hold = server.database.rows(&hold);
        let is_held = "
            SELECT count(*) FROM pg_locks WHERE relation = 'events'::regclass
            AND mode = 'ExclusiveLock' AND granted";
        let bidding = async {
            eventually("the lock is held", || async {
                (server.database.number(is_held).await == 1).then_some(())
            })
            .await;
            // Sent before the end, decided and committed while the lock is held until after it.
            let early = minji.offers_up_to(&id, 20_000).await;
            let late = minji.offers_up_to(&id, 30_000).await;
            early.with_status(201);
            (early, late)
        };
        let (_, answers) = futures_util::join!(hold, bidding);
        (server, sora, id, ends_at, answers)
    })
    .await;
    let received_at = early.with_status(201)["received_at"].as_str().unwrap().to_owned();
    assert!(received_at < ends_at, "received in time, so it counts");
    late.refused(409, "auction_ended");
    sora.auction_once(&id, "ended").await;
    let types = sora.log_types(&id).await;
    assert_eq!(types.last().unwrap(), "auction.closed");
    assert_eq!(types.iter().filter(|kind| *kind == "bid.placed").count(), 1);
}

#[tokio::test]
async fn a_price_beyond_32_bits_is_exact() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let price = 999_999_990_001_i64;
    let id =
        sora.sells(with(an_auction(), json!({"opening_price": 2_147_483_648_i64 * 100}))).await;
    let bid = json!({"amount": price, "confirm_amount": price});
    minji.bid(&id, &bid).await.with_status(201);
    let last = json!({"max_amount": price + 999});
    let answer = junho.bid(&id, &last).await.refused(409, "bid_too_low");
    assert_eq!(answer["minimum_next_bid"]["amount"], price + 1_000);
    assert_eq!(sora.auction(&id).await["price"]["amount"], price);
    let entry = sora.log(&id).await.pop().unwrap();
    assert_eq!(entry["data"]["price"]["amount"], price);
}

#[tokio::test]
async fn a_first_bid_of_exactly_the_opening_price_is_accepted() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    for bid in [json!({"amount": 10_000}), json!({"max_amount": 10_000})] {
        let id = sora.sells(an_auction()).await;
        let receipt = minji.bid(&id, &bid).await.with_status(201);
        assert_eq!(
            (&receipt["outcome"], &receipt["price"]["amount"]),
            (&json!("leading"), &json!(10_000))
        );
    }
}

#[tokio::test]
async fn a_negative_bid_is_refused_and_written_nowhere() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    for bid in [json!({"amount": -1}), json!({"max_amount": -10_000}), json!({"amount": i64::MIN})]
    {
        minji.bid(&id, &bid).await.refused(422, "invalid_request");
    }
    assert_eq!(server.database.number("SELECT count(*) FROM receipts").await, 0);
}

#[test]
fn a_day_begins_at_midnight_in_seoul() {
    let session = SeoulDay::of(wall_clock::now()).session();
    let opens_at = session.opens_at.to_string();
    assert!(opens_at.ends_with("T00:00:00.000Z"), "09:00 in Seoul is midnight in UTC: {opens_at}");
    assert_eq!(session.closes_at.ms_since(session.opens_at), 9 * 3_600_000);
}

#[tokio::test]
async fn a_time_with_seouls_offset_is_that_instant() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let terms =
        json!({"starts_at": "2027-01-01T00:30:00+09:00", "ends_at": "2027-01-01T09:00:00+09:00"});
    let auction = sora.create_auction(&with(an_auction(), terms)).await.with_status(201);
    assert_eq!(auction["starts_at"], "2026-12-31T15:30:00.000Z");
    assert_eq!(auction["ends_at"], "2027-01-01T00:00:00.000Z");
}

#[tokio::test]
async fn a_missed_timer_leaves_no_auction_open() {
    let mut server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(with(an_auction(), json!({"ends_at": in_s(3_600)}))).await;
    sora.auction_once(&id, "live").await;
    server.stop();
    // As if the server had slept for more than an hour: what is due is told by the table.
    let back = "
        UPDATE standings SET due_at = due_at - interval '2 hours', ends_at = ends_at - interval '2 hours';
        UPDATE events SET at = at - interval '2 hours',
            data = replace(data, to_char((data::json ->> 'ends_at')::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
                to_char((data::json ->> 'ends_at')::timestamptz AT TIME ZONE 'UTC' - interval '2 hours', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'))";
    server.database.rows(back).await;
    server.start();
    let auction = sora.auction(&id).await;
    assert_eq!(auction["status"], "ended", "before it says that it is ready");
    let due = "SELECT count(*) FROM standings WHERE due_at IS NOT NULL";
    assert_eq!(server.database.number(due).await, 0);
}

#[tokio::test]
async fn a_second_server_on_the_database_does_not_start() {
    let server = TestServer::spawn();
    let second = server.store.lease(&Owned::nothing(), 1).await;
    assert!(matches!(second, Err(LeaseError::Taken)), "one clock for each database");
}

#[tokio::test]
async fn a_lease_that_was_lost_is_taken_again_and_events_flow_on() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let minji = server.bidder("minji").await;
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    let holder = "SELECT coalesce(max(pid), 0) FROM pg_locks WHERE locktype = 'advisory' AND granted
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = 'hoga lease')";
    let before = server.database.number(holder).await;
    server.database.rows(&format!("SELECT pg_terminate_backend({before})")).await;
    minji.offers(&id, 10_000).await.with_status(201);
    eventually("it is taken again", || async {
        let now = server.database.number(holder).await;
        (now != 0 && now != before).then_some(())
    })
    .await;
    server.all_is_published().await;
    let second = server.store.lease(&Owned::nothing(), 1).await;
    assert!(matches!(second, Err(LeaseError::Taken)));
}

#[tokio::test]
async fn a_server_whose_fences_are_gone_writes_nothing_not_even_a_refusal() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    minji.offers(&id, 20_000).await.with_status(201);
    let written = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM receipts)";
    let before = server.database.number(written).await;
    // As another server does that takes over.
    server.database.rows("DELETE FROM fences RETURNING owner").await;
    let junho = server.bidder("junho").await;
    for amount in [30_000, 1] {
        let answer = junho.offers(&id, amount).await;
        assert_eq!(answer.with_status(503)["code"], "overloaded", "of {amount}");
    }
    assert_eq!(server.database.number(written).await, before);
    // Its lease ends with its session; nobody else has taken it, so it takes the slots over anew.
    let owner = "SELECT max(owner) FROM slots";
    let was = server.database.number(owner).await;
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE application_name = 'hoga lease' AND datname = current_database()";
    server.database.rows(ended).await;
    eventually("it owns the slots again", || async {
        (server.database.number(owner).await > was).then_some(())
    })
    .await;
    junho.offers(&id, 30_000).await.with_status(201);
}

#[tokio::test]
async fn a_takeover_waits_for_what_a_lane_has_under_way() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    let waiting = |who: &'static str| {
        let database = &server.database;
        async move {
            let waits = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE {who} AND wait_event_type = 'Lock'
                 AND datname = current_database()"
            );
            eventually("it waits", || async { (database.number(&waits).await > 0).then_some(()) })
                .await;
        }
    };
    // The lane's statement has passed its fence, and waits for this.
    let (other, connection) =
        server.database.config().connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = format!("BEGIN; SELECT 1 FROM standings WHERE auction_id = '{id}' FOR UPDATE");
    other.batch_execute(&row).await.unwrap();
    let bid = async { minji.offers(&id, 20_000).await.with_status(201) };
    let taken_over = async {
        waiting("application_name LIKE 'hoga lane%'").await;
        let (taker, connection) =
            server.database.config().connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let taking = async { taker.execute("DELETE FROM fences", &[]).await.unwrap() };
        let released = async {
            waiting("query = 'DELETE FROM fences'").await;
            other.batch_execute("COMMIT").await.unwrap();
        };
        tokio::join!(taking, released).0
    };
    let (_receipt, fences) = tokio::join!(bid, taken_over);
    assert!(fences > 0);
}

#[tokio::test]
async fn an_auction_is_closed_once_however_often_the_clock_asks() {
    let (server, sora, id) = in_time(async |soon| {
        let server = TestServer::spawn();
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        let id = sora.sells(with(an_auction(), json!({"ends_at": soon.in_ms(1_500)}))).await;
        minji.offers(&id, 10_000).await.with_status(201);
        (server, sora, id)
    })
    .await;
    let exchange = server.state().exchange.clone();
    let auction = hoga::domain::id::AuctionId(id.parse().unwrap());
    let close = || {
        exchange.submit(auction, |_| {
            hoga::exchange::Request::internal(hoga::domain::auction::Command::Close)
        })
    };
    eventually("it is over", || async {
        futures_util::future::join_all((0..20).map(|_| close())).await;
        (sora.auction(&id).await["status"] == "ended").then_some(())
    })
    .await;
    futures_util::future::join_all((0..20).map(|_| close())).await;
    let log = sora.log(&id).await;
    let closes: Vec<&Value> =
        log.iter().filter(|entry| entry["type"] == "auction.closed").collect();
    assert_eq!(closes.len(), 1);
    assert_eq!(closes[0]["data"]["winner"], "bidder-1");
}
