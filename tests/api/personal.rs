//! The stream of the caller's own notifications, and the tickets for it.

use hoga::domain::id::UserId;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    notifications::all_is_told,
    support::{
        Bidder, Client, Seller, TestServer, an_auction,
        broadcaster::Broadcaster,
        eventually, logs,
        streams::{Events, Told},
    },
};

const STREAM: &str = "/v1/me/events";
const TICKET: &str = "/v1/me/events/ticket";

async fn events(caller: &Client) -> Events {
    caller.stream(STREAM, None).await
}

async fn events_after(caller: &Client, last: &str) -> Events {
    caller.stream(STREAM, Some(last)).await
}

/// The first is outbid by the second, in an auction of its own; told by then.
async fn is_outbid(server: &TestServer, sora: &Seller, minji: &Bidder, junho: &Bidder) -> String {
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    minji.offers(&id, 10_000).await.with_status(201);
    junho.offers(&id, 11_000).await.with_status(201);
    eventually("told", || async {
        let inbox = minji.inbox().await;
        inbox.iter().any(|told| told["subject_id"] == id.as_str()).then_some(())
    })
    .await;
    all_is_told(server).await;
    id
}

fn id_of(told: &Told) -> i64 {
    told.id.as_deref().expect("an id").parse().expect("a number")
}

#[tokio::test]
async fn a_stream_begins_with_what_is_unread_and_tells_what_comes() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    is_outbid(&server, &sora, &minji, &junho).await;
    let (mut hers, mut his) = (events(&minji).await, events(&junho).await);
    let snapshot = hers.next().await.unwrap();
    assert_eq!((snapshot.event.as_str(), &snapshot.data["unread"]), ("snapshot", &json!(1)));
    assert!(hers.retry_ms.is_some() && snapshot.data["server_time"].is_string());
    assert_eq!(his.next().await.unwrap().data["unread"], 0);
    let id = is_outbid(&server, &sora, &minji, &junho).await;
    let told = hers.next().await.unwrap();
    assert_eq!((told.event.as_str(), &told.data["subject_id"]), ("outbid", &json!(id)));
    let mut streamed = told.data.clone();
    streamed.as_object_mut().unwrap().remove("server_time").unwrap();
    let listed = minji.inbox().await.pop().unwrap();
    assert_eq!(streamed, listed, "what is streamed is what is listed");
    assert_eq!(json!(id_of(&told)), listed["id"]);
    // The next thing that he hears is his own.
    is_outbid(&server, &sora, &junho, &minji).await;
    let told = his.next().await.unwrap();
    assert_eq!(json!(id_of(&told)), junho.inbox().await[0]["id"]);
}

#[tokio::test]
async fn a_viewer_that_comes_back_gets_what_it_missed_across_a_restart() {
    let mut server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let mut stream = events(&minji).await;
    let first = stream.next().await.unwrap();
    drop(stream);
    for _ in 0..3 {
        is_outbid(&server, &sora, &minji, &junho).await;
    }
    server.restart();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let junho = server.bidder("junho").await;
    let ids: Vec<Value> = minji.inbox().await.iter().map(|told| told["id"].clone()).collect();
    let mut stream = events_after(&minji, first.id.as_deref().unwrap()).await;
    let missed = stream.take(3).await;
    assert_eq!(missed.iter().map(|told| json!(id_of(told))).collect::<Vec<_>>(), ids);
    is_outbid(&server, &sora, &minji, &junho).await;
    let next = stream.next().await.unwrap();
    assert!(id_of(&next) > id_of(&missed[2]));
    let mut stream = events_after(&minji, missed[1].id.as_deref().unwrap()).await;
    let both: Vec<i64> = stream.take(2).await.iter().map(id_of).collect();
    assert_eq!(both, [id_of(&missed[2]), id_of(&next)]);
}

#[tokio::test]
async fn who_claims_the_future_or_was_away_too_long_is_reset() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    is_outbid(&server, &sora, &minji, &junho).await;
    let reset = |last: &'static str| {
        let minji = minji.clone();
        async move {
            // A thousand notifications that come in the very moment in which a stream begins are more
            // than it holds: it is cut, and its viewer comes again.
            let began = eventually("a stream begins", || async {
                let mut stream = events_after(&minji, last).await;
                Some((stream.next().await?, stream.next().await?))
            });
            let (reset, snapshot) = began.await;
            assert_eq!((reset.event.as_str(), reset.id), ("reset", None));
            assert_eq!(snapshot.event, "snapshot");
            reset.data["reason"].clone()
        }
    };
    assert_eq!(reset("1000000").await, "ahead_of_log");
    assert_eq!(reset("18446744073709551615").await, "ahead_of_log");
    let many = format!(
        "INSERT INTO notifications (user_id, kind, subject_id, cause, data, at, created_at) \
         SELECT '{}', 'lost', gen_random_uuid(), n, '{{}}', now(), now() FROM generate_series(1, 1001) n",
        minji.id
    );
    server.database.rows(&many).await;
    assert_eq!(reset("1").await, "too_far_back");
    // What was deleted meanwhile may have been missed.
    server.database.rows("DELETE FROM notifications WHERE id < 900").await;
    assert_eq!(reset("3").await, "too_far_back");
}

#[tokio::test]
async fn a_malformed_last_event_id_is_refused() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let other = format!("{}:7", uuid::Uuid::now_v7());
    for last in ["x", "-1", "1.5", "", "99999999999999999999999", &other] {
        let request = minji.request(Method::GET, STREAM).header("last-event-id", last);
        minji.send(request).await.refused(400, "invalid_event_id");
        let path = format!("{STREAM}?last_event_id={last}");
        minji.get(&path).await.refused(400, "invalid_event_id");
    }
    minji.get(&format!("{STREAM}?user=1")).await.refused(400, "invalid_query");
    server.anonymous().get(STREAM).await.refused(401, "unauthenticated");
    assert_eq!(server.state().personal.viewers(), 0);
}

async fn ticket(caller: &Client) -> String {
    let answer = caller.send(caller.request(Method::POST, TICKET)).await;
    let body = answer.with_status(201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(body["expires_at"].as_str() > Some(crate::support::in_ms(0).as_str()));
    body["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_ticket_opens_one_stream_of_its_user_once() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let ticket = ticket(&minji).await;
    let path = format!("{STREAM}?ticket={ticket}");
    let mut stream = server.anonymous().stream(&path, None).await;
    stream.next().await.unwrap();
    is_outbid(&server, &sora, &minji, &junho).await;
    assert_eq!(stream.next().await.unwrap().event, "outbid");
    let problem = server.anonymous().get(&path).await.refused(401, "ticket_invalid");
    assert!(problem["detail"].as_str().unwrap().contains("used before"), "{problem}");
    server.anonymous().get(&format!("{STREAM}?ticket=x")).await.refused(401, "ticket_invalid");
    let kept = server.database.rows("SELECT * FROM stream_tickets").await;
    assert!(!format!("{kept:?}").contains(&ticket), "a hash is kept, not the ticket");
    let logged = logs::kept();
    assert!(!logged.contains(&ticket), "it is never logged");
}

#[tokio::test]
async fn a_browser_comes_back_with_a_new_ticket_and_the_last_id_in_the_query() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let first = events(&minji).await.next().await.unwrap().id.unwrap();
    for _ in 0..3 {
        is_outbid(&server, &sora, &minji, &junho).await;
    }
    let ids: Vec<i64> =
        minji.inbox().await.iter().map(|told| told["id"].as_i64().unwrap()).collect();
    let path = format!("{STREAM}?last_event_id={first}&ticket=");
    let again = format!("{path}{}", ticket(&minji).await);
    let missed = server.anonymous().stream(&again, None).await.take(3).await;
    assert_eq!(missed.iter().map(id_of).collect::<Vec<_>>(), ids);
    // Whoever sends the header knows better.
    let again = format!("{path}{}", ticket(&minji).await);
    let last = ids[1].to_string();
    let missed = server.anonymous().stream(&again, Some(&last)).await.take(1).await;
    assert_eq!(id_of(&missed[0]), ids[2]);
    // A wrong one costs no ticket.
    let ticket = ticket(&minji).await;
    let wrong = format!("{STREAM}?last_event_id=x&ticket={ticket}");
    server.anonymous().get(&wrong).await.refused(400, "invalid_event_id");
    let path = format!("{STREAM}?ticket={ticket}");
    assert_eq!(
        server.anonymous().stream(&path, None).await.next().await.unwrap().event,
        "snapshot"
    );
}

#[tokio::test]
async fn a_ticket_is_taken_by_one_of_many_who_come_at_once() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let path = format!("{STREAM}?ticket={}", ticket(&minji).await);
    let anyone = server.anonymous();
    let open = || async { anyone.request(Method::GET, &path).send().await.unwrap().status() };
    let all = futures_util::future::join_all((0..8).map(|_| open())).await;
    assert_eq!(all.iter().filter(|status| status.as_u16() == 200).count(), 1, "{all:?}");
}

#[tokio::test]
async fn a_ticket_works_after_a_restart_and_expires() {
    let mut server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let (good, expired) = (ticket(&minji).await, ticket(&minji).await);
    server.restart();
    let anyone = server.anonymous();
    anyone.stream(&format!("{STREAM}?ticket={good}"), None).await.next().await.unwrap();
    server.database.rows("UPDATE stream_tickets SET expires_at = now() - interval '1 s'").await;
    anyone.get(&format!("{STREAM}?ticket={expired}")).await.refused(401, "ticket_expired");
}

#[tokio::test]
async fn tickets_and_streams_of_a_user_are_bounded() {
    let server = TestServer::spawn();
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let first = ticket(&minji).await;
    for _ in 0..8 {
        ticket(&minji).await;
    }
    assert_eq!(server.database.number("SELECT count(*) FROM stream_tickets").await, 8);
    let path = format!("{STREAM}?ticket={first}");
    server.anonymous().get(&path).await.refused(401, "ticket_invalid");
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(events(&minji).await);
    }
    minji.get(STREAM).await.refused(429, "too_many_streams");
    events(&junho).await.next().await.unwrap();
    open.pop();
    eventually("there is room again", || async {
        let answer = minji.request(Method::GET, STREAM).send().await.unwrap();
        (answer.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn streams_of_notifications_count_with_those_of_auctions() {
    let server = TestServer::spawn_with(|config| {
        (config.streams.all, config.streams.per_address, config.streams.per_user) = (4, 3, 2);
    });
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = server.seller("sora").await.sells(an_auction()).await;
    let path = format!("/v1/auctions/{id}/events");
    let first = events(&minji).await;
    let _second = minji.stream(&path, None).await;
    let refused = minji.get(STREAM).await;
    refused.refused(429, "too_many_streams");
    assert_eq!(refused.header("retry-after"), Some("10"));
    // By a ticket it is the same user.
    let path_of_ticket = format!("{STREAM}?ticket={}", ticket(&minji).await);
    server.anonymous().get(&path_of_ticket).await.refused(429, "too_many_streams");
    let _third = events(&junho).await;
    let problem = junho.get(STREAM).await.refused(429, "too_many_streams");
    assert!(problem["detail"].as_str().unwrap().contains("from this address"), "{problem}");
    server.anonymous().get(&path).await.refused(429, "too_many_streams");
    drop(first);
    eventually("its place is given back", || async {
        (server.state().hub.viewers() == 2).then_some(())
    })
    .await;
    events(&junho).await;
}

#[tokio::test]
async fn a_full_server_refuses_streams_of_notifications_in_the_same_words() {
    let server = TestServer::spawn_with(|config| config.streams.all = 1);
    let minji = server.bidder("minji").await;
    let _first = events(&minji).await;
    let refused = minji.get(STREAM).await;
    refused.refused(503, "streams_full");
    assert_eq!(refused.header("retry-after"), Some("10"));
}

#[tokio::test]
async fn a_ticket_of_nobody_is_not_given() {
    let server = TestServer::spawn();
    let stranger = server.caller_with(&server.token(UserId(uuid::Uuid::now_v7()), &[], 60));
    stranger.send(stranger.request(Method::POST, TICKET)).await.refused(401, "token_invalid");
    let minji = server.bidder("minji").await;
    let path = format!("{STREAM}?ticket={}", ticket(&minji).await);
    minji.remove("/v1/me").await.with_status(204);
    server.anonymous().get(&path).await.refused(401, "ticket_invalid");
}

#[tokio::test]
async fn a_shutdown_ends_personal_streams_and_says_when_to_come_back() {
    let mut server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let mut stream = events(&minji).await;
    stream.next().await.unwrap();
    server.begin_to_stop();
    assert_eq!(stream.next().await, None);
    let raw = String::from_utf8(stream.raw).unwrap();
    assert!(raw.trim_end().lines().last().unwrap().starts_with("retry: "), "{raw}");
    server.stop();
}

async fn ends(stream: &mut Events) {
    while let Some(told) = stream.next().await {
        assert_eq!(told.event, "snapshot");
    }
}

/// Whether a stream was kept alive: every fifteen seconds.
fn was_kept_alive(stream: &mut Events) -> bool {
    while stream.poll_once().is_some() {}
    String::from_utf8_lossy(&stream.raw).contains(": keep-alive")
}

#[tokio::test]
async fn an_open_stream_ends_when_its_user_leaves_or_loses_a_role_here_and_elsewhere() {
    let server = TestServer::spawn();
    let broadcaster = Broadcaster::beside(&server.config, server.database.config());
    let admin = server.admin().await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let hana = server.bidder("hana").await;
    let elsewhere = |caller: &Bidder| {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let token = server.token(caller.id, &[], 900);
        Client::new(http, broadcaster.base_url(), Some(token))
    };
    let mut streams = Vec::new();
    for who in [&minji, &junho, &hana] {
        let (mut here, mut there) = (events(who).await, events(&elsewhere(who)).await);
        here.next().await.unwrap();
        there.next().await.unwrap();
        streams.push((here, there));
    }
    let [hers, his, others] = &mut streams[..] else { unreachable!("three") };
    minji.remove("/v1/me").await.with_status(204);
    ends(&mut hers.0).await;
    ends(&mut hers.1).await;
    let nobody = json!({"roles": []});
    admin.put(&format!("/v1/users/{}/roles", junho.id), &nobody).await.with_status(200);
    ends(&mut his.0).await;
    ends(&mut his.1).await;
    // Revocations are heard of more often than streams are kept alive.
    assert!(!was_kept_alive(&mut others.0) && !was_kept_alive(&mut others.1));
}
