//! What statements cost: rows that Postgres touches for them, not time.

use std::future::Future;

use hoga::{
    accounts::leaving,
    domain::id::{AuctionId, UserId},
    store::{OpenKind, Store},
    wall_clock,
};
use uuid::Uuid;

use crate::support::{TestServer, an_auction, database::Database, eventually};

/// Rows of a table that were read for some statements, by indexes or from end to end, in a database
/// that nobody else asks anything, but `others` which rest.
async fn touched<T, F: Future<Output = T>>(
    database: &Database,
    others: i64,
    table: &str,
    ask: impl FnOnce(Store) -> F,
) -> (T, i64) {
    let count = format!(
        "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) \
         FROM pg_stat_user_tables WHERE relname = '{table}'"
    );
    let there = "SELECT count(*) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name LIKE 'hoga%'";
    let the_rest_are_gone = || async {
        // A session tells what it has read when it ends at the latest.
        eventually("the sessions end", || async {
            (database.number(there).await <= others).then_some(())
        })
        .await;
    };
    the_rest_are_gone().await;
    let before = database.number(&count).await;
    let store = Store::new(database.config().clone()).unwrap();
    let answer = ask(store).await;
    the_rest_are_gone().await;
    (answer, database.number(&count).await - before)
}

#[tokio::test]
async fn old_receipts_are_found_by_an_index_after_days_of_deleting() {
    let database = Database::create();
    // Each hour some are deleted, and new ones take their room wherever it is.
    let an_hour = "
        INSERT INTO receipts (user_id, key_hash, fingerprint, accepted, answer, created_at)
        SELECT gen_random_uuid(), n, gen_random_uuid(), true, repeat('x', 300), now() + make_interval(hours => HOUR)
        FROM generate_series(1, 2000) n;
        DELETE FROM receipts WHERE created_at < now() + make_interval(hours => HOUR - 5)
            OR (ctid::text LIKE '%7)' AND random() < 0.5);
        VACUUM receipts;";
    for hour in 0..12 {
        for statement in an_hour.replace("HOUR", &hour.to_string()).split(';') {
            database.rows(statement).await;
        }
    }
    database.rows("ANALYZE receipts").await;
    let (purged, rows) = touched(&database, 0, "receipts", |store| async move {
        let now = wall_clock::now();
        let old = store.purge_receipts(now.plus_s(9 * 3_600 + 1_800)).await.unwrap();
        let none = store.purge_receipts(now.plus_s(9 * 3_600 + 1_800)).await.unwrap();
        assert_eq!(none, 0);
        old
    })
    .await;
    let purged = i64::try_from(purged).unwrap();
    assert!(purged > 500, "{purged}");
    // Found, and deleted.
    assert!(rows <= 2 * purged + 100, "{rows} rows were read to delete {purged}");
}

#[tokio::test]
async fn a_page_of_bids_costs_a_page_however_many_were_retracted() {
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    minji.offers(&id, 10_000).await.with_status(201);
    server.all_is_published().await;
    server.stop();
    let more = format!(
        "INSERT INTO events (auction_id, seq, kind, at, data, private, hash) \
         SELECT auction_id, seq + 2 * n, kind, at, data, private, hash \
         FROM events, generate_series(1, 5000) n WHERE auction_id = '{id}' AND kind = 'bid.placed'; \
         INSERT INTO events (auction_id, seq, kind, at, data, hash) \
         SELECT auction_id, seq + 2 * n + 1, 'bid.retracted', at, \
                json_build_object('bid_seq', seq + 2 * n)::text, hash \
         FROM events, generate_series(1, 5000) n \
         WHERE auction_id = '{id}' AND seq = 3; \
         ANALYZE events"
    );
    server.database.rows(&more).await;
    let auction = AuctionId(id.parse().unwrap());
    let (bids, rows) = touched(&server.database, 1, "events", |store| async move {
        store.bids_before(auction, 5_000, 20).await.unwrap()
    })
    .await;
    assert!(bids.len() == 20 && bids.iter().all(|bid| bid.retracted));
    assert!(rows <= 200, "{rows} rows for a page of 20");
}

#[tokio::test]
async fn the_log_is_looked_through_page_by_page_without_sorting_it_anew() {
    let database = Database::create();
    let events = "
        INSERT INTO events (auction_id, seq, kind, at, data, hash)
        SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n % 97), 12, '0'))::uuid, n / 97 + 1, 'bid.placed',
               timestamptz '2026-01-01Z' + n / 50 * interval '1 ms', '{}', ''
        FROM generate_series(1, 40000) n; ANALYZE events";
    database.rows(events).await;
    let (count, rows) = touched(&database, 0, "events", |store| async move {
        let since = hoga::domain::time::Timestamp::parse("2025-12-31T00:00:00Z").unwrap();
        let (mut last, mut seen) = (None, Vec::new());
        loop {
            let page = store.events_since(since, last.as_ref(), 1_000).await.unwrap();
            let Some(newest) = page.last() else { break };
            last = Some(newest.clone());
            seen.extend(page);
        }
        let in_order =
            seen.is_sorted_by(|a, b| (a.at, a.auction_id.0, a.seq) < (b.at, b.auction_id.0, b.seq));
        assert!(in_order, "each once, in the order of time");
        seen.len()
    })
    .await;
    assert_eq!(count, 40_000);
    assert!(rows <= 2 * 40_000, "{rows} rows for 40 pages of {count} events");
}

#[tokio::test]
async fn the_metrics_of_the_outbox_cost_the_same_however_much_waits() {
    let database = Database::create();
    let many = "
        INSERT INTO outbox (auction_ids, first_seqs, last_seqs, at)
        SELECT ARRAY[gen_random_uuid()], '{3}', '{5}', now() - interval '1 hour' + n * interval '1 ms'
        FROM generate_series(1, 20000) n; ANALYZE outbox";
    database.rows(many).await;
    let (waiting, rows) =
        touched(
            &database,
            0,
            "outbox",
            |store| async move { store.outbox_waiting(200).await.unwrap() },
        )
        .await;
    assert_eq!((waiting.commits, waiting.events), (20_000, 60_000));
    assert!(waiting.oldest_ms >= 3_590_000, "{}", waiting.oldest_ms);
    assert!(rows <= 210, "{rows}");
    database.rows("DELETE FROM outbox").await;
    let (none, _) =
        touched(
            &database,
            0,
            "outbox",
            |store| async move { store.outbox_waiting(200).await.unwrap() },
        )
        .await;
    assert_eq!((none.commits, none.events, none.oldest_ms), (0, 0, 0));
}

#[tokio::test]
async fn what_keeps_somebody_is_found_among_their_own_bids() {
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    minji.offers(&id, 10_000).await.with_status(201);
    server.all_is_published().await;
    server.stop();
    // Of a bid that was just accepted the notifier may not have heard yet.
    let others = format!(
        "DELETE FROM auction_bidders; \
         INSERT INTO auctions (id, seller_id, title, description, category, image_keys, attributes, \
             currency, opening_price, increment, cap, starts_at, created_at) \
         SELECT gen_random_uuid(), seller_id, title, description, category, image_keys, attributes, \
             currency, opening_price, increment, cap, starts_at, created_at \
         FROM auctions, generate_series(1, 5000); \
         INSERT INTO standings (auction_id, status, price, bid_count, reserve_met, buy_now_stands, \
             ends_at, starts_at, seq, head_hash, seller_id, leader_id) \
         SELECT a.id, 'live', 10000, 1, false, false, now() + interval '1 day', now(), 1, '', \
             a.seller_id, gen_random_uuid() \
         FROM auctions a WHERE a.id <> '{id}'; ANALYZE standings; ANALYZE auctions; ANALYZE receipts"
    );
    server.database.rows(&others).await;
    let (open, rows) = touched(&server.database, 1, "standings", |store| async move {
        leaving::open_matters(&store, minji.id, wall_clock::now()).await.unwrap().unwrap()
    })
    .await;
    let kinds: Vec<OpenKind> = open.iter().map(|open| open.kind).collect();
    assert_eq!((kinds, open[0].auction.to_string()), (vec![OpenKind::LeadingBid], id));
    assert!(rows <= 20, "{rows} rows");
    let stranger = UserId(Uuid::now_v7());
    let store = Store::new(server.database.config().clone()).unwrap();
    assert!(leaving::open_matters(&store, stranger, wall_clock::now()).await.unwrap().is_none());
}
