//! Broadcasters: streams alone, side by side, beside the server that decides.

use serde_json::{Value, json};

use crate::support::{TestServer, an_auction, broadcaster::Broadcaster, eventually, streams::Told};

fn seqs(told: &[Told]) -> Vec<u64> {
    told.iter().map(Told::seq).collect()
}

#[tokio::test]
async fn broadcasters_side_by_side_tell_everything_that_the_exchange_decides() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    let other = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    sora.auction_once(&other, "live").await;
    let one = Broadcaster::beside(&server.config, server.database.config());
    let two = Broadcaster::beside(&server.config, server.database.config());
    let mut first = one.anonymous().events(&id).await;
    let path = format!("/v1/events?auctions={id},{other}");
    let mut both = two.anonymous().stream(&path, None).await;
    assert_eq!(first.next().await.expect("a snapshot").event, "snapshot");
    both.take(2).await;
    for n in 0..5 {
        minji.offers(&id, 10_000 + 2_000 * n).await.with_status(201);
        junho.offers(&id, 11_000 + 2_000 * n).await.with_status(201);
    }
    minji.offers(&other, 10_000).await.with_status(201);
    let told = first.take(10).await;
    assert_eq!(seqs(&told), (3..=12).collect::<Vec<_>>());
    let log = sora.log(&id).await;
    for (told, entry) in told.iter().zip(&log[2..]) {
        assert_eq!((&told.data["hash"], &told.data["type"]), (&entry["hash"], &entry["type"]));
    }
    let many = both.take(11).await;
    let own = |auction: &str| {
        let own = many.iter().filter(|told| told.data["auction_id"] == auction);
        own.map(Told::seq).collect::<Vec<_>>()
    };
    assert_eq!(own(&id), (3..=12).collect::<Vec<_>>());
    assert_eq!(own(&other), [3]);
}

#[tokio::test]
async fn a_viewer_goes_on_at_another_broadcaster_or_at_the_server_itself() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    let one = Broadcaster::beside(&server.config, server.database.config());
    let mut events = one.anonymous().events(&id).await;
    events.next().await.expect("a snapshot");
    minji.offers(&id, 10_000).await.with_status(201);
    assert_eq!(events.take(1).await[0].seq(), 3);
    drop((events, one));
    junho.offers(&id, 11_000).await.with_status(201);
    let two = Broadcaster::beside(&server.config, server.database.config());
    let mut events = two.anonymous().events_after(&id, "3").await;
    minji.offers(&id, 12_000).await.with_status(201);
    assert_eq!(seqs(&events.take(2).await), [4, 5]);
    let mut events = server.anonymous().events_after(&id, "4").await;
    assert_eq!(seqs(&events.take(1).await), [5]);
}

#[tokio::test]
async fn a_broadcaster_goes_on_while_the_exchange_is_away() {
    let mut server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    let broadcaster = Broadcaster::beside(&server.config, server.database.config());
    let mut events = broadcaster.anonymous().events(&id).await;
    events.next().await.expect("a snapshot");
    minji.offers(&id, 10_000).await.with_status(201);
    assert_eq!(seqs(&events.take(1).await), [3]);
    server.restart();
    junho.offers(&id, 11_000).await.with_status(201);
    assert_eq!(seqs(&events.take(1).await), [4], "on the same stream");
}

#[tokio::test]
async fn a_broadcaster_serves_streams_time_health_and_metrics_and_nothing_else() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    let broadcaster = Broadcaster::beside(&server.config, server.database.config());
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let get = async |path: &str| {
        let url = format!("{}{path}", broadcaster.base_url());
        let answer = http.get(url).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    };
    for path in ["/v1/time", "/healthz", "/problems/streams_full"] {
        assert_eq!(get(path).await.0, 200, "{path}");
    }
    let (status, ready) = get("/readyz").await;
    let ready: Value = serde_json::from_str(&ready).expect("JSON");
    let wanted = json!({"status": "ready", "database": true, "bus": "up", "tasks_down": []});
    assert_eq!((status, ready), (200, wanted));
    let _events = broadcaster.anonymous().events(&id).await;
    assert!(get("/metrics").await.1.contains("hoga_viewers"));
    for path in ["/v1/auctions", &format!("/v1/auctions/{id}"), "/v1/me", "/docs", "/oauth/token"] {
        let (status, problem) = get(path).await;
        let problem: Value = serde_json::from_str(&problem).expect("a problem");
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{path}");
    }
    let bid = format!("{}/v1/auctions/{id}/bids", broadcaster.base_url());
    let answer = http.post(bid).body("{}").send().await.expect("an answer");
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn an_unknown_auction_and_a_place_too_many_are_refused_there_too() {
    let server = TestServer::spawn_with(|config| config.streams.per_address = 1);
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    let broadcaster = Broadcaster::beside(&server.config, server.database.config());
    let anyone = broadcaster.anonymous();
    let missing = uuid::Uuid::now_v7();
    anyone.get(&format!("/v1/auctions/{missing}/events")).await.refused(404, "auction_not_found");
    let path = format!("/v1/auctions/{id}/events");
    let first = anyone.stream(&path, None).await;
    anyone.get(&path).await.refused(429, "too_many_streams");
    drop(first);
    eventually("the place is given back", || async {
        (broadcaster.state.hub.viewers() == 0).then_some(())
    })
    .await;
    anyone.stream(&path, None).await;
}
