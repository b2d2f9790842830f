//! Connections that let the server wait: they are cut in time, and before that they give way.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use hoga::config::{Config, Connections};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::support::{
    TestServer, an_auction, eventually, fresh_key,
    wait::{WAIT_MAX, promptly},
};

/// Of one address, in these tests.
const PER_ADDRESS: usize = 16;
/// In all, in these tests.
const ALL: usize = 64;

fn few(config: &mut Config) {
    config.connections =
        Connections { all: ALL, per_address: PER_ADDRESS, ..Connections::default() };
}

fn impatient(config: &mut Config) {
    config.connections.request_timeout_s = 1;
}

/// A connection to the server from one of this machine's many addresses.
async fn from(last: u8, server: &TestServer) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    socket.bind(address).expect("an address of this machine");
    promptly("a connection", socket.connect(server.address())).await.expect("connected")
}

/// A connection on which so much of a request was sent.
async fn sending(last: u8, server: &TestServer, bytes: &[u8]) -> TcpStream {
    let mut stream = from(last, server).await;
    // Whoever was cut already has been.
    let _ = stream.write_all(bytes).await;
    stream
}

/// Everything that comes until the server closes the connection.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = promptly("the server closes the connection", stream.read_to_end(&mut bytes)).await;
    String::from_utf8(bytes).expect("UTF-8")
}

/// Whether the server has closed the connection already.
fn is_closed(stream: &TcpStream) -> bool {
    let mut byte = [0];
    match stream.try_read(&mut byte) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// What one request is answered, on a connection of its own.
async fn asked(last: u8, server: &TestServer, request: &str) -> String {
    let mut stream = sending(last, server, request.as_bytes()).await;
    until_closed(&mut stream).await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: hoga\r\nConnection: close\r\n\r\n")
}

fn bid(id: &str, token: &str, amount: i64) -> String {
    let (body, key) = (json!({"amount": amount}).to_string(), fresh_key());
    format!(
        "POST /v1/auctions/{id}/bids HTTP/1.1\r\nHost: hoga\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const SLOW_FORM: &[u8] = b"POST /oauth/token HTTP/1.1\r\nHost: hoga\r\n\
    Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 200\r\n\r\ngrant_type=";
const SLOW_HEAD: &[u8] = b"GET /v1/auctions HTTP/1.1\r\nHost: ho";
const IDLE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: hoga\r\n\r\n";

/// Whoever is there bids and hears that the server lives, from an address of their own and from
/// that of those who hold connections.
async fn life_goes_on(server: &TestServer, addresses: &[u8]) {
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    for last in addresses {
        let health = asked(*last, server, &get("/healthz")).await;
        assert!(health.starts_with("HTTP/1.1 200"), "from {last}: {health}");
        let id = sora.sells(an_auction()).await;
        sora.auction_once(&id, "live").await;
        let receipt = asked(*last, server, &bid(&id, minji.token(), 10_000)).await;
        assert!(receipt.starts_with("HTTP/1.1 201"), "from {last}: {receipt}");
    }
}

#[tokio::test]
async fn slow_heads_slow_bodies_and_idle_connections_of_one_address_lock_nobody_out() {
    let server = TestServer::spawn_with(few);
    for bytes in [SLOW_FORM, SLOW_HEAD, IDLE, b""] {
        let mut held = Vec::new();
        for _ in 0..PER_ADDRESS * 3 {
            held.push(sending(2, &server, bytes).await);
        }
        life_goes_on(&server, &[3, 2]).await;
        eventually("those that waited longest have given way", || async {
            let open = held.iter().filter(|stream| !is_closed(stream)).count();
            (open <= PER_ADDRESS && is_closed(&held[0])).then_some(())
        })
        .await;
        assert!(server.state().connections.count() <= ALL);
    }
}

#[tokio::test]
async fn connections_of_many_addresses_lock_nobody_out() {
    let server = TestServer::spawn_with(few);
    let mut held = Vec::new();
    for last in 10..30 {
        for _ in 0..PER_ADDRESS {
            held.push(sending(last, &server, SLOW_FORM).await);
        }
    }
    life_goes_on(&server, &[3, 10, 29]).await;
    eventually("those that waited longest have given way", || async {
        let open = held.iter().filter(|stream| !is_closed(stream)).count();
        (open <= ALL && is_closed(&held[0])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn health_is_answered_while_everybody_else_waits_for_postgres() {
    let server = TestServer::spawn_with(|config| {
        config.connections = Connections { all: 2, per_address: 2, ..Connections::default() };
    });
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    let (client, connection) =
        server.database.config().connect(tokio_postgres::NoTls).await.expect("connected");
    tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE auctions").await.expect("locked");
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(sending(2, &server, get(&format!("/v1/auctions/{id}")).as_bytes()).await);
        let count = waiting.len();
        eventually("it waits for an answer", || async {
            (server.state().connections.answering() == count).then_some(())
        })
        .await;
    }
    let health = asked(2, &server, &get("/healthz")).await;
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let other = asked(3, &server, &get("/v1/time")).await;
    assert!(other.starts_with("HTTP/1.1 503") && other.contains("\"overloaded\""), "{other}");
    client.batch_execute("ROLLBACK").await.expect("unlocked");
    for stream in &mut waiting {
        let answer = until_closed(stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 503"),
            "{answer}"
        );
    }
    let time = asked(3, &server, &get("/v1/time")).await;
    assert!(time.starts_with("HTTP/1.1 200"), "{time}");
}

/// Those who ask for health count in no budget: what they ask of the database must not be theirs alone
/// to have, and not be had over the connections of people.
#[tokio::test]
async fn health_and_metrics_wait_for_nobody_who_holds_the_connections_of_people() {
    let server = TestServer::spawn_with(|config| config.database_connections.people = 2);
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    let (client, connection) =
        server.database.config().connect(tokio_postgres::NoTls).await.expect("connected");
    tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE auctions").await.expect("locked");
    let mut waiting = Vec::new();
    for last in 2..5 {
        let request = get(&format!("/v1/auctions/{id}"));
        waiting.push(sending(last, &server, request.as_bytes()).await);
    }
    eventually("people's connections are all held", || async {
        let held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND application_name = 'hoga reader' AND wait_event_type = 'Lock'";
        (server.database.number(held).await == 2).then_some(())
    })
    .await;
    for path in ["/readyz", "/metrics"] {
        let answer = asked(9, &server, &get(path)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name = 'hoga reader' AND wait_event_type = 'Lock'";
    assert_eq!(server.database.number(held).await, 2, "people wait yet");
    client.batch_execute("ROLLBACK").await.expect("unlocked");
}

#[tokio::test]
async fn a_request_must_come_in_time_as_a_whole() {
    let server = TestServer::spawn_with(impatient);
    let mut body = sending(1, &server, SLOW_FORM).await;
    let answer = until_closed(&mut body).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
    let mut head = sending(1, &server, SLOW_HEAD).await;
    let answer = until_closed(&mut head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_byte_now_and_then_makes_no_request_last_longer() {
    let server = TestServer::spawn_with(impatient);
    for (start, more) in [(SLOW_FORM, "x"), (SLOW_HEAD, "x")] {
        let stream = sending(1, &server, start).await;
        let (mut answers, mut writes) = stream.into_split();
        let trickle = tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_millis(200));
            let patience = tokio::time::Instant::now() + WAIT_MAX;
            while writes.write_all(more.as_bytes()).await.is_ok() {
                assert!(tokio::time::Instant::now() < patience, "it is never cut");
                every.tick().await;
            }
        });
        let mut answer = Vec::new();
        let _ = promptly("it is cut", answers.read_to_end(&mut answer)).await;
        promptly("nothing can be sent", trickle).await.expect("it was cut");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"));
    }
}

#[tokio::test]
async fn the_second_request_of_a_connection_must_come_in_time_too() {
    let server = TestServer::spawn_with(impatient);
    let mut stream = sending(1, &server, IDLE).await;
    let mut answer = [0; 12];
    promptly("the first answer", stream.read_exact(&mut answer)).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    stream.write_all(SLOW_HEAD).await.expect("it is still open");
    until_closed(&mut stream).await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_must_end_in_time_too() {
    let server = TestServer::spawn_with(impatient);
    let chunked = b"POST /v1/no-such-thing HTTP/1.1\r\nHost: hoga\r\n\
        Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    let mut stream = sending(1, &server, chunked).await;
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn a_stream_outlives_the_deadline_of_requests() {
    let server = TestServer::spawn_with(|config| {
        few(config);
        impatient(config);
    });
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    let watching = format!("GET /v1/auctions/{id}/events HTTP/1.1\r\nHost: hoga\r\n\r\n");
    let mut stream = sending(2, &server, watching.as_bytes()).await;
    let mut told = until_it_says(&mut stream, "event: snapshot").await;
    assert!(told.to_lowercase().contains("connection: close"), "{told}");
    // Whoever came after it is late by now, and there was no room for so many of its address.
    let mut late = Vec::new();
    for _ in 0..PER_ADDRESS * 2 {
        late.push(sending(2, &server, SLOW_HEAD).await);
    }
    for stream in &mut late {
        until_closed(stream).await;
    }
    minji.offers(&id, 10_000).await.with_status(201);
    told = until_it_says(&mut stream, "event: bid.placed").await;
    assert!(told.contains("bid.placed"));
}

/// What comes until it contains this.
async fn until_it_says(stream: &mut TcpStream, what: &str) -> String {
    let mut told = Vec::new();
    while !String::from_utf8_lossy(&told).contains(what) {
        let read = promptly(what, stream.read_buf(&mut told)).await.expect("it goes on");
        assert_ne!(read, 0, "it ended before {what}");
    }
    String::from_utf8(told).expect("UTF-8")
}

#[tokio::test]
async fn through_a_trusted_proxy_each_address_has_so_many_requests_at_once() {
    let server = TestServer::spawn_with(|config| {
        config.connections.per_address = 2;
        config.rate_limits.trusted_proxies = vec![[127, 0, 0, 1].into()];
    });
    let through = |address: &str, request: &[u8]| {
        let text = String::from_utf8(request.to_vec()).expect("UTF-8");
        text.replace("Host: hoga\r\n", &format!("Host: hoga\r\nX-Forwarded-For: {address}\r\n"))
    };
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(sending(1, &server, through("192.0.2.1", SLOW_FORM).as_bytes()).await);
    }
    let refused = eventually("the third is refused", || async {
        let answer = asked(1, &server, &through("192.0.2.1", get("/v1/time").as_bytes())).await;
        answer.starts_with("HTTP/1.1 429").then_some(answer)
    })
    .await;
    assert!(
        refused.contains("\"rate_limited\"") && refused.contains("retry_after_ms"),
        "{refused}"
    );
    for (address, path) in [("192.0.2.2", "/v1/time"), ("192.0.2.1", "/healthz")] {
        let answer = asked(1, &server, &through(address, get(path).as_bytes())).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(held);
    eventually("there is room again", || async {
        let answer = asked(1, &server, &through("192.0.2.1", get("/v1/time").as_bytes())).await;
        answer.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_follows_a_stream_on_its_connection() {
    let server = TestServer::spawn();
    let id = server.seller("sora").await.sells(an_auction()).await;
    let request = format!("GET /v1/auctions/{id}/events HTTP/1.1\r\nHost: hoga.test\r\n\r\n");
    let ahead = "GET / HTTP/1.1\r\nHost: hoga.test\r\n\r\n".repeat(3_000);
    let mut stream = sending(2, &server, format!("{request}{ahead}").as_bytes()).await;
    let told = until_closed(&mut stream).await;
    assert!(told.matches("HTTP/1.1 ").count() <= 1, "{told}");
}

#[tokio::test]
async fn requests_that_are_sent_ahead_are_answered_each_in_its_own_form() {
    let server = TestServer::spawn();
    let requests = "GET /v1/auctions?limit=1 HTTP/1.1\r\nHost: hoga.test\r\n\r\n\
                    HEAD /healthz HTTP/1.1\r\nHost: hoga.test\r\n\r\n\
                    GET /v1/time HTTP/1.1\r\nHost: hoga.test\r\nConnection: close\r\n\r\n";
    let mut stream = sending(2, &server, requests.as_bytes()).await;
    let told = until_closed(&mut stream).await;
    let answers: Vec<&str> = told.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
    assert_eq!(answers.len(), 3, "{told}");
    let body = |answer: &str| answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    assert!(body(answers[0]).is_some_and(|body| body.starts_with("{\"items\"")), "{told}");
    assert_eq!(body(answers[1]).as_deref(), Some(""), "{told}");
    assert!(body(answers[2]).is_some_and(|body| body.contains("server_time")), "{told}");
}

#[tokio::test]
async fn what_follows_a_body_does_not_change_the_answer_to_it() {
    let server = TestServer::spawn();
    let form = "grant_type=refresh_token&refresh_token=none&client_id=none";
    let (length, size) = (form.len(), format!("{:x}", form.len()));
    let post = "POST /oauth/token HTTP/1.1\r\nHost: hoga.test\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n";
    let end = "HEAD /healthz HTTP/1.1\r\nHost: hoga.test\r\nConnection: close\r\n\r\n";
    let chunked = format!("{size}\r\n{form}\r\n0\r\n\r\n");
    let get = "GET /v1/time HTTP/1.1\r\nHost: hoga.test\r\nContent-Length: 1\r\n\r\nx";
    for (request, wanted) in [
        (format!("{post}Content-Length: {length}\r\n\r\n{form}{end}"), 2),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunked}{end}"), 2),
        // It is answered before its body was read, which holds nothing but line breaks.
        (
            format!(
                "POST /v1/auctions HTTP/1.1\r\nHost: hoga.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\n\n\n\n\n\n\r\n0\r\n\r\n{end}"
            ),
            2,
        ),
        // A body that nobody reads ends the connection.
        (format!("{get}{end}"), 1),
    ] {
        let mut stream = sending(2, &server, request.as_bytes()).await;
        let told = until_closed(&mut stream).await;
        let answers: Vec<&str> = told.split("HTTP/1.1 ").skip(1).collect();
        assert_eq!(answers.len(), wanted, "{request}\n{told}");
        let body = |answer: &str| answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        assert!(body(answers[0]).is_some_and(|body| body.starts_with('{')), "{request}\n{told}");
        assert!(answers[1..].iter().all(|answer| body(answer).as_deref() == Some("")), "{told}");
    }
}

#[tokio::test]
async fn a_connection_is_idle_again_once_its_preflight_was_answered() {
    let server = TestServer::spawn_with(impatient);
    let preflight = b"OPTIONS /v1/auctions HTTP/1.1\r\nHost: hoga\r\n\
        Origin: https://shop.example.com\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    let mut page = sending(2, &server, preflight).await;
    let mut answer = [0; 4_096];
    let read = promptly("the preflight's answer", page.read(&mut answer)).await.expect("read");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    // One after the other each lets the server wait for a second, longer together than a head may.
    for _ in 0..5 {
        let mut slow = sending(3, &server, SLOW_HEAD).await;
        until_closed(&mut slow).await;
    }
    page.write_all(IDLE).await.expect("the connection is still there");
    let read = promptly("another answer", page.read(&mut answer)).await.expect("read");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "it was cut");
}
