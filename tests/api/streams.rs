//! Streams: a snapshot, then what happens; after a reconnect what was missed.

use serde_json::{Value, json};

use super::webhooks::Shop;
use crate::support::{
    Bidder, TestServer, an_auction, eventually, in_time,
    streams::{Events, Told},
    with,
};

async fn bids(bidders: [&Bidder; 2], id: &str, from: i64, count: i64) {
    for n in 0..count {
        let bidder = bidders[usize::try_from(n % 2).unwrap()];
        bidder.offers(id, from + n * 1_000).await.with_status(201);
    }
}

fn seqs(told: &[Told]) -> Vec<u64> {
    told.iter().map(Told::seq).collect()
}

fn ids(told: &[Told]) -> Vec<String> {
    told.iter().map(|told| told.id.clone().expect("an id")).collect()
}

async fn assert_begins_with_a_snapshot(events: &mut Events) -> Told {
    let first = events.next().await.expect("a snapshot");
    assert_eq!(first.event, "snapshot");
    let retry_ms = events.retry_ms.expect("retry: comes first");
    assert!((1_000..=10_000).contains(&retry_ms));
    first
}

#[tokio::test]
async fn a_stream_begins_with_a_snapshot_and_goes_on_with_every_event_in_order() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    let auction = sora.auction_once(&id, "live").await;
    let mut events = server.anonymous().events(&id).await;
    let snapshot = assert_begins_with_a_snapshot(&mut events).await;
    for field in
        ["price", "minimum_next_bid", "bid_count", "leader_alias", "ends_at", "status", "seq"]
    {
        assert_eq!(snapshot.data[field], auction[field], "{field}");
    }
    assert!(snapshot.data["server_time"].is_string());
    bids([&minji, &junho], &id, 10_000, 6).await;
    let told = events.take(6).await;
    assert_eq!(seqs(&told), [3, 4, 5, 6, 7, 8]);
    assert_eq!(ids(&told), ["3", "4", "5", "6", "7", "8"]);
    let log = sora.log(&id).await;
    for (told, entry) in told.iter().zip(&log[2..]) {
        assert_eq!((&told.data["type"], &told.data["at"]), (&entry["type"], &entry["at"]));
        assert_eq!(told.event, entry["type"].as_str().unwrap());
        assert_eq!(told.data["hash"], entry["hash"]);
        assert_eq!(told.data["price"], entry["data"]["price"]);
        assert_eq!(told.data["auction_id"], id.as_str());
        for field in ["leader_alias", "bid_count", "ends_at", "server_time"] {
            assert!(!told.data[field].is_null(), "{field} in {}", told.text);
        }
    }
}

/// Transactions that place a bid on this auction wait at their very end, for as long as the test has
/// the lock.
fn hold_commits_of(id: &str) -> String {
    format!(
        "CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER held AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW WHEN (NEW.auction_id = '{id}' AND NEW.kind = 'bid.placed')
         EXECUTE FUNCTION wait_for_the_test()"
    )
}

/// What tells of a commit tells of later ones after it. So a bid on an auction of the other lane goes
/// all the ways while the commit is held: what had been told of the held one would have come before.
#[tokio::test]
async fn nobody_is_told_of_a_bid_before_its_commit() {
    let shop = Shop::silent().await;
    let server = &shop.server;
    let (webhook, _) = shop.webhook("https://shop.hoga.test/told", &["bid.placed"]).await;
    let (minji, junho) = (&shop.minji, server.bidder("junho").await);
    let held = shop.sora.sells(an_auction()).await;
    // Two lanes share the auctions by the last byte of their ids.
    let lane = |id: &str| u8::from_str_radix(&id[id.len() - 2..], 16).expect("a UUID") % 2;
    let free = loop {
        let id = shop.sora.sells(an_auction()).await;
        if lane(&id) != lane(&held) {
            break id;
        }
    };
    for id in [&held, &free] {
        shop.sora.auction_once(id, "live").await;
        junho.offers(id, 10_000).await.with_status(201);
    }
    let path = format!("/v1/events?auctions={held},{free}");
    let mut events = server.anonymous().stream(&path, None).await;
    events.take(2).await;
    let mut inbox = junho.stream("/v1/me/events", None).await;
    assert_begins_with_a_snapshot(&mut inbox).await;
    let before = server.anonymous().auction(&held).await;
    shop.deliveries_once(&webhook, 2).await;

    server.database.rows(&hold_commits_of(&held)).await;
    let config = server.database.config();
    let (holder, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    holder.batch_execute("SELECT pg_advisory_lock(4711)").await.unwrap();
    let bid = tokio::spawn({
        let (minji, held) = (minji.clone(), held.clone());
        async move { minji.offers(&held, 11_000).await }
    });
    eventually("the commit is held", || async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'
                       AND datname = current_database() AND application_name LIKE 'hoga lane%'";
        (server.database.number(waiting).await == 1).then_some(())
    })
    .await;
    minji.offers(&free, 11_000).await.with_status(201);

    let of = |told: &Told| told.data["auction_id"].clone();
    assert_eq!(of(&events.next().await.unwrap()), free, "a stream");
    let told = inbox.next().await.unwrap();
    assert_eq!((told.event.as_str(), &told.data["subject_id"]), ("outbid", &json!(free)));
    let sent = shop.deliveries_once(&webhook, 3).await;
    let sent = sent.iter().filter(|sent| sent["auction_id"] == held.as_str());
    assert_eq!(sent.count(), 1, "a message");
    assert_eq!(server.anonymous().auction(&held).await, before);
    assert!(!bid.is_finished(), "a receipt");

    holder.batch_execute("SELECT pg_advisory_unlock(4711)").await.unwrap();
    let receipt = bid.await.unwrap().with_status(201);
    let told = events.next().await.unwrap();
    assert_eq!((of(&told), &told.data["seq"]), (json!(held), &receipt["seq"]));
    assert_eq!(inbox.next().await.unwrap().data["subject_id"], held.as_str());
    shop.deliveries_once(&webhook, 4).await;
}

#[tokio::test]
async fn a_viewer_that_comes_back_gets_what_it_missed_and_nothing_twice() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    let mut events = server.anonymous().events(&id).await;
    assert_begins_with_a_snapshot(&mut events).await;
    bids([&minji, &junho], &id, 10_000, 3).await;
    let last = events.until("bid.placed").await.pop().unwrap().id.unwrap();
    drop(events);
    bids([&junho, &minji], &id, 13_000, 4).await;
    let mut again = server.anonymous().events_after(&id, &last).await;
    let last: u64 = last.parse().unwrap();
    let missed = again.take(usize::try_from(9 - last).unwrap()).await;
    assert_eq!(seqs(&missed), (last + 1..=9).collect::<Vec<_>>());
    bids([&junho, &minji], &id, 17_000, 2).await;
    assert_eq!(seqs(&again.take(2).await), [10, 11]);
    let mut up_to_date = server.anonymous().events_after(&id, "11").await;
    bids([&junho, &minji], &id, 19_000, 1).await;
    assert_eq!(seqs(&up_to_date.take(1).await), [12], "without a snapshot");
}

#[tokio::test]
async fn a_viewer_that_cannot_send_the_header_names_its_last_event_in_the_query() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    bids([&minji, &junho], &id, 10_000, 3).await;
    let anyone = server.anonymous();
    let path = format!("/v1/auctions/{id}/events?last_event_id=3");
    assert_eq!(seqs(&anyone.stream(&path, None).await.take(2).await), [4, 5]);
    assert_eq!(
        seqs(&anyone.stream(&path, Some("4")).await.take(1).await),
        [5],
        "the header counts"
    );
    let many = format!("/v1/events?auctions={id}&last_event_id={id}:4");
    assert_eq!(seqs(&anyone.stream(&many, None).await.take(1).await), [5]);
    for wrong in [format!("/v1/auctions/{id}/events?last_event_id=x"), format!("{many}x")] {
        anyone.get(&wrong).await.refused(400, "invalid_event_id");
    }
}

#[tokio::test]
async fn a_viewer_resumes_across_a_restart_of_the_server() {
    let mut server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    bids([&minji, &junho], &id, 10_000, 5).await;
    server.restart();
    let mut events = server.anonymous().events_after(&id, "4").await;
    assert_eq!(seqs(&events.take(3).await), [5, 6, 7]);
    bids([&junho, &minji], &id, 15_000, 2).await;
    assert_eq!(seqs(&events.take(2).await), [8, 9]);
}

#[tokio::test]
async fn a_viewer_that_claims_the_future_is_reset() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    let mut events = server.anonymous().events_after(&id, "1000").await;
    let reset = events.next().await.unwrap();
    assert_eq!((reset.event.as_str(), reset.id), ("reset", None));
    assert_eq!(reset.data["reason"], "ahead_of_log");
    let snapshot = events.next().await.unwrap();
    assert_eq!((snapshot.event.as_str(), snapshot.id.as_deref()), ("snapshot", Some("2")));
}

#[tokio::test]
async fn a_viewer_that_was_away_for_too_long_is_reset() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    // More than are replayed.
    bids([&minji, &junho], &id, 10_000, 1_010).await;
    let seq = sora.auction(&id).await["seq"].as_u64().unwrap();
    let anyone = server.anonymous();
    // Within reach: every single one.
    let mut events = anyone.events_after(&id, &(seq - 900).to_string()).await;
    assert_eq!(seqs(&events.take(900).await), (seq - 899..=seq).collect::<Vec<_>>());
    let mut events = anyone.events_after(&id, "1").await;
    let reset = events.next().await.unwrap();
    assert_eq!((reset.event.as_str(), &reset.data["reason"]), ("reset", &json!("too_far_back")));
    let snapshot = events.next().await.unwrap();
    assert_eq!((snapshot.event.as_str(), snapshot.seq()), ("snapshot", seq));
}

#[tokio::test]
async fn a_malformed_last_event_id_is_refused() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    let anyone = server.anonymous();
    let ask = |path: String, last: &str| {
        let request = anyone.request(reqwest::Method::GET, &path).header("last-event-id", last);
        anyone.send(request)
    };
    for last in ["x", "-1", "+1", "1.0", "99999999999999999999", "1,2", &format!("{id}:1")] {
        let answer = ask(format!("/v1/auctions/{id}/events"), last).await;
        answer.refused(400, "invalid_event_id");
    }
    for last in ["7", "x:1", &format!("{id}:"), &format!("{id}:-1"), &format!("{id}:1,{id}:2")] {
        let answer = ask(format!("/v1/events?auctions={id}"), last).await;
        answer.refused(400, "invalid_event_id");
    }
}

#[tokio::test]
async fn many_auctions_come_over_one_connection_each_resumed_by_its_own_id() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let mut auctions = Vec::new();
    for _ in 0..3 {
        let id = sora.sells(an_auction()).await;
        sora.auction_once(&id, "live").await;
        auctions.push(id);
    }
    let path = format!("/v1/events?auctions={},{}", auctions.join(","), auctions[0]);
    let mut events = server.anonymous().stream(&path, None).await;
    let snapshots = events.take(3).await;
    assert!(snapshots.iter().all(|told| told.event == "snapshot"));
    let expected: Vec<String> = auctions.iter().map(|id| format!("{id}:2")).collect();
    assert_eq!(ids(&snapshots), expected, "one for each, however often it is named");
    for id in &auctions {
        bids([&minji, &junho], id, 10_000, 2).await;
    }
    let told = events.take(6).await;
    for id in &auctions {
        let own = told.iter().filter(|told| told.data["auction_id"] == id.as_str());
        assert_eq!(own.map(Told::seq).collect::<Vec<_>>(), [3, 4]);
    }
    let last = format!("{}:3,{}:2,{}:4", auctions[0], auctions[1], auctions[2]);
    let mut again = server.anonymous().stream(&path, Some(&last)).await;
    let missed = ids(&again.take(3).await);
    let expected =
        [format!("{}:4", auctions[0]), format!("{}:3", auctions[1]), format!("{}:4", auctions[1])];
    assert_eq!(missed, expected);
}

#[tokio::test]
async fn a_browser_resumes_each_of_many_auctions_by_the_one_id_that_it_keeps() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let mut auctions = Vec::new();
    for _ in 0..3 {
        let id = sora.sells(an_auction()).await;
        sora.auction_once(&id, "live").await;
        auctions.push(id);
    }
    let (anyone, list) = (server.anonymous(), auctions.join(","));
    let path = format!("/v1/events?auctions={list},{}", auctions[1]);
    let mut events = anyone.stream(&path, None).await;
    events.take(3).await;
    bids([&minji, &junho], &auctions[1], 10_000, 2).await;
    assert_eq!(seqs(&events.take(2).await), [3, 4]);
    // A block with an id alone: no event, but what a browser sends back.
    eventually_said(&mut events, ":2,4,2").await;
    let last = events.last_event_id.clone().expect("an id");
    drop(events);
    for id in &auctions {
        bids([&minji, &junho], id, 15_000, 2).await;
    }
    let mut again = anyone.stream(&path, Some(&last)).await;
    let missed = again.take(6).await;
    assert!(missed.iter().all(|told| told.event == "bid.placed"));
    for (id, expected) in auctions.iter().zip([[3, 4], [5, 6], [3, 4]]) {
        let own = missed.iter().filter(|told| told.data["auction_id"] == id.as_str());
        assert_eq!(own.map(Told::seq).collect::<Vec<_>>(), expected);
    }
    // Of another list it says nothing: nothing is skipped.
    let other = format!("/v1/events?auctions={},{}", auctions[1], auctions[0]);
    let begun = anyone.stream(&other, Some(&last)).await.take(2).await;
    assert!(begun.iter().all(|told| told.event == "snapshot"));
    for wrong in ["#", "#x", "#x:1,", "#x:-1"] {
        let request = anyone.request(reqwest::Method::GET, &path).header("last-event-id", wrong);
        anyone.send(request).await.refused(400, "invalid_event_id");
    }
}

/// Reads on until the last id ends so; only blocks that are no events come before it.
async fn eventually_said(events: &mut Events, end: &str) {
    let is_there = |id: &Option<String>| id.as_ref().is_some_and(|id| id.ends_with(end));
    eventually("the positions are said", || {
        let read = events.poll_once();
        let said = is_there(&events.last_event_id);
        async move {
            assert!(read.is_none(), "no event");
            said.then_some(())
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_auction_has_no_stream() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (anyone, id) = (server.anonymous(), sora.sells(an_auction()).await);
    let missing = uuid::Uuid::now_v7();
    anyone.get(&format!("/v1/auctions/{missing}/events")).await.refused(404, "auction_not_found");
    anyone.get("/v1/auctions/42/events").await.refused(404, "invalid_id");
    let both = format!("/v1/events?auctions={id},{missing}");
    anyone.get(&both).await.refused(404, "auction_not_found");
    anyone.get("/v1/events?auctions=x").await.refused(404, "invalid_id");
    anyone.get("/v1/events?auctions=").await.refused(400, "invalid_query");
    anyone.get("/v1/events").await.refused(400, "invalid_query");
    let many = [(); 51].map(|()| uuid::Uuid::now_v7().to_string());
    let too_many = format!("/v1/events?auctions={}", many.join(","));
    anyone.get(&too_many).await.refused(400, "too_many_auctions");
    eventually("nobody is counted as a viewer", || async {
        (server.state().hub.viewers() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn opening_extension_and_closing_are_told() {
    let (_server, mut events, snapshot) = in_time(async |soon| {
        let server = TestServer::spawn();
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        let terms = json!({"starts_at": soon.in_ms(2_000), "ends_at": soon.in_ms(5_000),
            "soft_close": {"trigger_window_s": 60, "extension_s": 1, "mode": "extend",
                "max_ends_at": soon.in_ms(7_000)}});
        let id = sora.sells(with(an_auction(), terms)).await;
        let mut events = server.anonymous().events(&id).await;
        let snapshot = assert_begins_with_a_snapshot(&mut events).await;
        assert_eq!(snapshot.data["status"], "scheduled");
        events.until("auction.opened").await;
        minji.offers(&id, 10_000).await.with_status(201);
        (server, events, snapshot)
    })
    .await;
    let told = events.until("auction.extended").await;
    assert!(told.last().unwrap().data["ends_at"].as_str() > snapshot.data["ends_at"].as_str());
    let closed = events.until("auction.closed").await.pop().unwrap();
    let data = &closed.data;
    assert_eq!(data["leader_alias"], "bidder-1");
    assert_ne!(data["seq"], Value::Null);
}

#[tokio::test]
async fn a_shutdown_ends_every_stream_and_says_when_to_come_back() {
    let mut server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    let mut events = server.anonymous().events(&id).await;
    assert_begins_with_a_snapshot(&mut events).await;
    server.begin_to_stop();
    while let Some(told) = events.next().await {
        assert_eq!(told.event, "auction.opened", "nothing else is told");
    }
    let raw = String::from_utf8(events.raw).unwrap();
    assert!(raw.trim_end().lines().last().unwrap().starts_with("retry: "), "{raw}");
    server.stop();
}

/// An auction, and the path of its stream.
async fn watched(server: &TestServer) -> String {
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    format!("/v1/auctions/{id}/events")
}

async fn until_viewers(server: &TestServer, count: usize) {
    eventually("so many viewers", || async {
        (server.state().hub.viewers() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_address_has_so_many_streams_and_one_that_ends_gives_its_place_back() {
    let server = TestServer::spawn_with(|config| config.streams.per_address = 2);
    let path = watched(&server).await;
    let anyone = server.anonymous();
    let first = anyone.stream(&path, None).await;
    let _second = anyone.stream(&path, None).await;
    let refused = anyone.get(&path).await;
    refused.refused(429, "too_many_streams");
    assert_eq!(refused.header("retry-after"), Some("10"));
    let korean = anyone.request(reqwest::Method::GET, &path).header("accept-language", "ko");
    let korean = anyone.send(korean).await.refused(429, "too_many_streams");
    assert_eq!(korean["title"], "동시에 연 스트림이 너무 많습니다");
    // Who was refused for something else takes no place.
    anyone.get("/v1/events?auctions=").await.refused(400, "invalid_query");
    assert_eq!(server.state().hub.viewers(), 2);
    drop(first);
    until_viewers(&server, 1).await;
    anyone.stream(&path, None).await;
}

#[tokio::test]
async fn a_user_has_so_many_streams_wherever_they_are() {
    let server = TestServer::spawn_with(|config| config.streams.per_user = 1);
    let path = watched(&server).await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let _first = minji.stream(&path, None).await;
    minji.get(&path).await.refused(429, "too_many_streams");
    let _others = (junho.stream(&path, None).await, server.anonymous().stream(&path, None).await);
    // A token that does not count any more is nobody's: the stream of its user must come back.
    let expired = server.caller_with(&server.token(minji.id, &[], -60));
    expired.stream(&path, None).await;
}

#[tokio::test]
async fn a_full_server_says_so_and_goes_on_with_everything_else() {
    let server = TestServer::spawn_with(|config| config.streams.all = 1);
    let path = watched(&server).await;
    let anyone = server.anonymous();
    let first = anyone.stream(&path, None).await;
    let refused = anyone.get(&path).await;
    refused.refused(503, "streams_full");
    assert_eq!(refused.header("retry-after"), Some("10"));
    anyone.get("/v1/auctions").await.with_status(200);
    drop(first);
    until_viewers(&server, 0).await;
    anyone.stream(&path, None).await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_viewer_counts_from_where_it_is() {
    let server = TestServer::spawn_with(|config| {
        config.streams.per_address = 1;
        config.rate_limits.trusted_proxies = vec![[127, 0, 0, 1].into()];
    });
    let path = watched(&server).await;
    let anyone = server.anonymous();
    let from = |address: &str| {
        let request = anyone.request(reqwest::Method::GET, &path);
        request.header("x-forwarded-for", address.to_owned()).send()
    };
    let first = from("203.0.113.1").await.expect("an answer");
    let second = from("203.0.113.2").await.expect("an answer");
    let again = from("203.0.113.1").await.expect("an answer");
    assert_eq!(
        [first.status(), second.status(), again.status()].map(|s| s.as_u16()),
        [200, 200, 429]
    );
}

#[tokio::test]
async fn a_viewer_that_is_gone_is_noticed_though_it_only_ever_read() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = TestServer::spawn();
    let path = watched(&server).await;
    let mut viewer = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    let ask = format!("GET {path} HTTP/1.1\r\nHost: hoga.test\r\n\r\n");
    viewer.write_all(ask.as_bytes()).await.expect("sent");
    viewer.read_exact(&mut [0; 12]).await.expect("an answer");
    until_viewers(&server, 1).await;
    // It says goodbye, and reads no more; nothing happens in the auction.
    viewer.shutdown().await.expect("half closed");
    until_viewers(&server, 0).await;
}

#[tokio::test]
async fn a_shutdown_spreads_the_return_of_its_viewers_over_seconds() {
    let mut server = TestServer::spawn();
    let path = watched(&server).await;
    let mut viewers = Vec::new();
    for _ in 0..60 {
        viewers.push(server.anonymous().stream(&path, None).await);
    }
    server.begin_to_stop();
    let mut waits_ms = Vec::new();
    for mut events in viewers {
        while events.next().await.is_some() {}
        waits_ms.push(events.retry_ms.expect("a last word"));
    }
    server.stop();
    let (soonest, latest) = (waits_ms.iter().min().unwrap(), waits_ms.iter().max().unwrap());
    assert!(*soonest >= 2_000, "nobody comes before the server is back: {soonest}");
    assert!(latest - soonest >= 4_000, "spread over {soonest} to {latest} ms");
    // None of eight parts of the span gets much more than its share.
    for part in 0..8 {
        let span = 2_000 + part * 1_000..2_000 + (part + 1) * 1_000;
        let count = waits_ms.iter().filter(|wait| span.contains(*wait)).count();
        assert!(count <= 25, "{count} of 60 come back within {span:?}");
    }
}

#[tokio::test]
async fn an_event_id_of_another_auction_or_of_the_future_never_hides_anything() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let (id, other) = (sora.sells(an_auction()).await, sora.sells(an_auction()).await);
    sora.auction_once(&id, "live").await;
    sora.auction_once(&other, "live").await;
    bids([&minji, &junho], &other, 10_000, 8).await;
    let anyone = server.anonymous();
    // On a stream of one there is no telling whose number it is, but it has not happened here.
    let mut events = anyone.events_after(&id, "10").await;
    let told = events.take(2).await;
    assert_eq!((&*told[0].event, &*told[1].event), ("reset", "snapshot"));
    // On a stream of many, one that is not wanted says nothing of those that are.
    let path = format!("/v1/events?auctions={id}");
    let mut events = anyone.stream(&path, Some(&format!("{other}:10"))).await;
    let told = events.next().await.expect("a snapshot");
    assert_eq!((&*told.event, told.id), ("snapshot", Some(format!("{id}:2"))));
    let path = format!("/v1/events?auctions={id},{other}");
    let last = format!("{id}:18446744073709551615,{other}:9");
    let mut events = anyone.stream(&path, Some(&last)).await;
    let told = events.take(3).await;
    let kinds: Vec<&str> = told.iter().map(|told| &*told.event).collect();
    assert_eq!(kinds, ["reset", "snapshot", "bid.placed"]);
    assert_eq!(told[0].data["reason"], "ahead_of_log");
    assert_eq!(told[2].id, Some(format!("{other}:10")));
    let many = [(); 51].map(|()| format!("{}:1", uuid::Uuid::now_v7())).join(",");
    let request = anyone.request(reqwest::Method::GET, &path).header("last-event-id", many);
    anyone.send(request).await.refused(400, "invalid_event_id");
    let binary = anyone.request(reqwest::Method::GET, &path).header("last-event-id", &b"\xff1"[..]);
    anyone.send(binary).await.refused(400, "invalid_event_id");
}

#[tokio::test]
async fn ended_tickets_are_deleted_by_so_many_at_once() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let ended = format!(
        "INSERT INTO stream_tickets (ticket_hash, user_id, expires_at)
         SELECT sha256(n::text::bytea), '{}', now() + interval '1 day'
         FROM generate_series(1, 1001) n",
        minji.id.0
    );
    server.database.rows(&ended).await;
    let before = hoga::wall_clock::now().plus_s(2 * 86_400);
    assert_eq!(server.store.purge_tickets(before).await.unwrap(), 1_000);
    assert_eq!(server.store.purge_tickets(before).await.unwrap(), 1);
}
