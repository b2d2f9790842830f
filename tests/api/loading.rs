//! How logs come into memory: part by part, from snapshots, beside each other, and not at all when
//! they are damaged.

use hoga::{
    domain::{
        auction::State,
        id::{AuctionId, UserId},
        time::Timestamp,
    },
    store::{BatchWriter, Rows},
};
use serde_json::json;
use tokio_postgres::NoTls;

use super::log::assert_chain_goes_on;
use crate::support::{
    Bidder, Seller, TestServer, an_auction, eventually, logs,
    long_log::{grow, replayed},
    with,
};

/// Longer than two parts, and than what a snapshot is made of.
const LONG: usize = 20_000;

fn parsed(id: &str) -> AuctionId {
    AuctionId(id.parse().unwrap())
}

async fn live(sora: &Seller) -> String {
    let small_steps = json!({"increment": {"kind": "fixed", "step": 1}});
    let id = sora.sells(with(an_auction(), small_steps)).await;
    sora.auction_once(&id, "live").await;
    id
}

/// What the server has in memory.
async fn loaded(server: &TestServer, id: &str) -> State {
    let exchange = &server.state().exchange;
    // A long log takes its time on a busy machine, and an answer is waited for ten seconds.
    eventually("it is loaded", || async { exchange.read(parsed(id), State::clone).await.ok() })
        .await
}

async fn snapshot_seq(server: &TestServer, id: &str) -> i64 {
    let sql = format!("SELECT coalesce(max(seq), 0) FROM snapshots WHERE auction_id = '{id}'");
    server.database.number(&sql).await
}

async fn is_saved(server: &TestServer, id: &str) {
    eventually("there is a snapshot", || async {
        (snapshot_seq(server, id).await > 0).then_some(())
    })
    .await;
}

async fn offers_the_minimum(bidder: &Bidder, id: &str) {
    let minimum = bidder.bidding(id).await["minimum_next_bid"]["amount"].as_i64().unwrap();
    bidder.bid(id, &json!({"max_amount": minimum + 500})).await.with_status(201);
}

#[tokio::test]
async fn a_long_log_is_loaded_in_parts_and_from_its_snapshot_and_is_its_replay() {
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = live(&sora).await;
    server.stop();
    let grown = grow(&server.store, parsed(&id), LONG).await;
    assert_eq!(grown.bids.len(), LONG);
    server.start();
    assert_eq!(loaded(&server, &id).await, grown, "from its first event");
    is_saved(&server, &id).await;
    server.restart();
    assert_eq!(loaded(&server, &id).await, grown, "from the snapshot alone");
    offers_the_minimum(&minji, &id).await;
    server.restart();
    let whole = replayed(&server.store, parsed(&id)).await.state;
    assert_eq!(loaded(&server, &id).await, whole, "from the snapshot, and what came after it");
    assert!(snapshot_seq(&server, &id).await < i64::try_from(whole.seq).unwrap());
    offers_the_minimum(&minji, &id).await;
    let end = format!("/v1/auctions/{id}/log?after_seq={}", whole.seq - 2);
    let entries = server.anonymous().get(&end).await.with_status(200)["items"].clone();
    assert_eq!(entries.as_array().unwrap().len(), 3);
    assert_chain_goes_on(&id, entries.as_array().unwrap());
}

#[tokio::test]
async fn a_snapshot_that_does_not_stand_for_its_log_is_ignored_and_said_once() {
    logs::keep();
    let mut server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = live(&sora).await;
    server.stop();
    let grown = grow(&server.store, parsed(&id), 9_000).await;
    server.start();
    loaded(&server, &id).await;
    for (times, damage) in [
        "state = set_byte(state, 5000, get_byte(state, 5000) # 1)",
        "state = substr(state, 1, 100)",
        "hash = set_byte(hash, 0, get_byte(hash, 0) # 1)",
        "seq = seq - 1",
        "format = 0",
    ]
    .into_iter()
    .enumerate()
    {
        is_saved(&server, &id).await;
        server.stop();
        let sql = format!("UPDATE snapshots SET {damage} WHERE auction_id = '{id}'");
        server.database.rows(&sql).await;
        server.start();
        assert_eq!(loaded(&server, &id).await, grown, "{damage}");
        assert_eq!(said(&id), times + 1, "{damage}");
    }
}

fn said(id: &str) -> usize {
    let is_about = |line: &&str| line.contains("snapshot is ignored") && line.contains(id);
    logs::kept().lines().filter(is_about).count()
}

#[tokio::test]
async fn a_damaged_log_is_set_aside_and_everything_else_opens_and_closes() {
    logs::keep();
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let (sick, sound) = (live(&sora).await, live(&sora).await);
    for id in [&sick, &sound] {
        minji.offers(id, 10_000).await.with_status(201);
    }
    server.stop();
    server.database.rows(&two_hours_back(&sick)).await;
    server.database.rows(&two_hours_back(&sound)).await;
    let damage = format!("UPDATE events SET data = '{{}}' WHERE auction_id = '{sick}' AND seq = 3");
    server.database.rows(&damage).await;
    server.database.rows("UPDATE standings SET due_at = ends_at").await;
    server.start();
    assert_eq!(sora.auction(&sound).await["status"], "ended", "before it says that it is ready");
    let ready = server.anonymous().get("/readyz").await.with_status(200);
    assert_eq!(ready["logs_set_aside"], 1);
    for _ in 0..3 {
        minji.offers(&sick, 20_000).await.refused(500, "internal");
        minji.get(&format!("/v1/auctions/{sick}/bidding")).await.refused(500, "internal");
    }
    let is_said = |line: &&str| line.contains("is set aside") && line.contains(&sick);
    assert_eq!(logs::kept().lines().filter(is_said).count(), 1, "once");
    let other = live(&sora).await;
    minji.offers(&other, 10_000).await.with_status(201);
}

#[tokio::test]
async fn a_log_that_was_mended_is_no_longer_set_aside() {
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let junho = server.bidder("junho").await;
    let id = live(&sora).await;
    minji.offers(&id, 10_000).await.with_status(201);
    server.stop();
    let damage = format!(
        "CREATE TABLE kept AS SELECT * FROM events WHERE auction_id = '{id}' AND seq = 3;
         UPDATE events SET data = '{{}}' WHERE auction_id = '{id}' AND seq = 3"
    );
    server.database.rows(&damage).await;
    server.start();
    let exchange = server.state().exchange.clone();
    junho.offers(&id, 20_000).await.refused(500, "internal");
    assert_eq!(exchange.logs_excluded(), 1);
    let mend = "UPDATE events e SET data = k.data FROM kept k
                WHERE e.auction_id = k.auction_id AND e.seq = k.seq";
    server.database.rows(mend).await;
    junho.offers(&id, 20_000).await.refused(500, "internal");
    exchange.read_excluded_again();
    junho.offers(&id, 20_000).await.with_status(201);
    assert_eq!(exchange.logs_excluded(), 0);
}

/// As if the auction had begun and ended two hours earlier.
fn two_hours_back(id: &str) -> String {
    format!(
        "UPDATE standings SET ends_at = now() - interval '1 hour' WHERE auction_id = '{id}';
         UPDATE events SET data = replace(data, data::json ->> 'ends_at',
             to_char(now() AT TIME ZONE 'UTC' - interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'))
         WHERE auction_id = '{id}'"
    )
}

#[tokio::test]
async fn a_neighbour_bids_while_a_long_log_is_being_loaded() {
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let long = live(&sora).await;
    // Of the same lane, which goes by the last digit.
    let neighbour = loop {
        let id = live(&sora).await;
        let parity = |id: &str| id.chars().last().unwrap().to_digit(16).unwrap() % 2;
        if parity(&id) == parity(&long) {
            break id;
        }
    };
    server.stop();
    let grown = grow(&server.store, parsed(&long), 3_000).await;
    // From now on whoever reads the long log waits until the test lets go.
    let hold = format!(
        "CREATE FUNCTION waits() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN
             PERFORM pg_advisory_xact_lock_shared(42); RETURN true; END $$;
         ALTER TABLE events RENAME TO all_events;
         CREATE VIEW events AS SELECT * FROM all_events
             WHERE CASE WHEN auction_id = '{long}' AND seq = 2000 THEN waits() ELSE true END"
    );
    server.database.rows(&hold).await;
    let (holder, connection) = server.database.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    holder.execute("SELECT pg_advisory_lock(42)", &[]).await.unwrap();
    server.start();
    let exchange = server.state().exchange.clone();
    let loading = tokio::spawn({
        let id = parsed(&long);
        async move { exchange.read(id, State::clone).await }
    });
    let is_held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually("the long log is being read", || async {
        (server.database.number(is_held).await > 0).then_some(())
    })
    .await;
    minji.offers(&neighbour, 10_000).await.with_status(201);
    assert!(!loading.is_finished(), "it is still being read");
    holder.execute("SELECT pg_advisory_unlock(42)", &[]).await.unwrap();
    loading.abort();
    assert_eq!(loaded(&server, &long).await, grown);
}

#[tokio::test]
async fn an_auction_whose_events_postgres_refuses_takes_no_neighbour_with_it() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let forbidden = live(&sora).await;
    let mut neighbours = Vec::new();
    for _ in 0..6 {
        neighbours.push(live(&sora).await);
    }
    let forbid = format!(
        "ALTER TABLE events ADD CONSTRAINT forbidden CHECK (auction_id <> '{forbidden}') NOT VALID"
    );
    server.database.rows(&forbid).await;
    // Those of the same lane are in the same batches.
    for round in 1..=5 {
        let offers = async |id: &str| minji.offers_up_to(id, round * 20_000).await.status;
        let bad = futures_util::future::join_all((0..4).map(|_| offers(&forbidden)));
        let good = futures_util::future::join_all(neighbours.iter().map(|id| offers(id)));
        let (bad, good) = futures_util::join!(bad, good);
        assert!(bad.iter().all(|status| *status >= 500), "{bad:?}");
        assert!(good.iter().all(|status| *status == 201), "{good:?}");
    }
}

#[tokio::test]
async fn two_lanes_with_the_same_keys_never_wait_for_each_other() {
    let server = TestServer::spawn();
    let users = [UserId(uuid::Uuid::from_u128(1)), UserId(uuid::Uuid::from_u128(2))];
    let (other, connection) = server.database.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let insert = |user: UserId| {
        format!(
            "INSERT INTO receipts (user_id, key_hash, fingerprint, accepted, answer, created_at)
             VALUES ('{}', 7, gen_random_uuid(), true, '', now())",
            user.0
        )
    };
    // Another lane has written the first key and is about to write the second.
    other.batch_execute(&format!("BEGIN; {}", insert(users[0]))).await.unwrap();
    let (client, connection) = BatchWriter::connect(server.store.url(), 7).await.unwrap();
    tokio::spawn(connection);
    let writer = BatchWriter::prepare(client, 0).await.unwrap();
    let mut rows = Rows::default();
    // In the order in which they came.
    for user in [users[1], users[0]] {
        rows.receipts.user_id.push(user);
        rows.receipts.key_hash.push(7);
        rows.receipts.fingerprint.push(uuid::Uuid::nil());
        rows.receipts.log_id.push(AuctionId(uuid::Uuid::nil()).into());
        rows.receipts.seq.push(None);
        rows.receipts.events.push(None);
        rows.receipts.accepted.push(true);
        rows.receipts.answer.push(Some(String::new()));
    }
    let owned = server.state().exchange.owned().clone();
    let writing =
        tokio::spawn(async move { writer.write_and_commit(&owned, &rows, Timestamp::EPOCH).await });
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE application_name = 'hoga lane 7' AND wait_event_type = 'Lock'
                 AND datname = current_database()";
    eventually("the lane waits for the other", || async {
        (server.database.number(waits).await > 0).then_some(())
    })
    .await;
    other.batch_execute("SET LOCAL lock_timeout = '4s'").await.unwrap();
    other.batch_execute(&insert(users[1])).await.expect("nobody has it");
    other.batch_execute("ROLLBACK").await.unwrap();
    writing.await.unwrap().expect("then it goes on");
}
