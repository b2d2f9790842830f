//! The service itself: time, health, explanations, documents, CORS, request ids, budgets.

use std::collections::BTreeSet;

use hoga::{
    embedded::postgres::{Cluster, ClusterOptions, StopMode},
    http::kit::{self, problem::Code},
    wall_clock,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    TestServer, an_auction, contract::DOCUMENT, eventually, fresh_key, in_ms, logs, with,
};

#[tokio::test]
async fn the_time_is_the_clock_that_decides() {
    let server = TestServer::spawn();
    let before = wall_clock::now().as_millis();
    let answer = server.anonymous().get("/v1/time").await;
    let time = answer.with_status(200);
    let unix_ms = time["unix_ms"].as_i64().unwrap();
    assert!((before..=wall_clock::now().as_millis()).contains(&unix_ms));
    let text = hoga::domain::time::Timestamp::from_millis(unix_ms).to_string();
    assert_eq!(time["server_time"], text.as_str());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_server_that_has_caught_up_lives_and_is_ready() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    assert_eq!(anyone.get("/healthz").await.with_status(200), json!({"status": "ok"}));
    let ready = json!({"status": "ready", "caught_up": true, "lanes": true, "database": true, "bus": "up", "logs_set_aside": 0, "tasks_down": []});
    eventually("ready", || async {
        let answer = anyone.get("/readyz").await;
        (answer.status == 200).then(|| assert_eq!(answer.json(), ready))
    })
    .await;
}

#[tokio::test]
async fn a_task_that_died_is_named_and_counted_and_until_it_lives_again_nothing_is_ready() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    eventually("ready", || async { (anyone.get("/readyz").await.status == 200).then_some(()) })
        .await;
    let lives = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    // On this test's own runtime, as dead as any other.
    server.state().tasks.keep("planted", move || {
        let life = lives.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        async move {
            assert!(life > 4, "as planted");
            std::future::pending().await
        }
    });
    let unready = eventually("not ready", || async {
        let answer = anyone.get("/readyz").await;
        (answer.status == 503).then(|| answer.json())
    })
    .await;
    assert_eq!(unready["tasks_down"], json!(["planted"]));
    assert_eq!(unready["status"], "not_ready");
    eventually("it lives again", || async {
        (anyone.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    let metrics = anyone.get("/metrics").await;
    let metrics = metrics.text();
    assert!(metrics.contains("hoga_tasks_restarted_total{task=\"planted\"}"), "{metrics}");
}

#[test]
fn without_postgres_the_server_is_not_ready_and_with_it_again_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let options = ClusterOptions::new(folder.path()).with_setting("shared_buffers", "16MB");
    let cluster = Cluster::start(options).unwrap();
    cluster.ensure_database("hoga").unwrap();
    let config = cluster.config("hoga");
    let server = TestServer::spawn_with(|to| {
        to.database_url = Some(config.clone().into());
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let anyone = server.anonymous();
    let once_readiness_is = |status: u16, caught_up: bool| {
        runtime.block_on(eventually("readyz changes", || async {
            let answer = anyone.get("/readyz").await;
            let body: Value = answer.json();
            (answer.status == status && body["caught_up"] == caught_up).then_some(body)
        }))
    };
    once_readiness_is(200, true);
    cluster.stop(StopMode::Immediate).unwrap();
    let away = once_readiness_is(503, false);
    assert_eq!(away["status"], "not_ready");
    runtime.block_on(async {
        anyone.get("/v1/auctions").await.refused(503, "unavailable");
        anyone.get("/healthz").await.with_status(200);
        anyone.get("/v1/time").await.with_status(200);
    });
    cluster.restart(StopMode::Immediate).unwrap();
    once_readiness_is(200, true);
    runtime.block_on(async { anyone.get("/v1/auctions").await.with_status(200) });
    drop(server);
    cluster.stop(StopMode::Immediate).unwrap();
}

#[tokio::test]
async fn every_code_is_explained_in_both_languages() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    for code in Code::ALL {
        let told = anyone.get(&format!("/problems/{}", code.word())).await.with_status(200);
        assert_eq!(
            (&told["code"], &told["status"]),
            (&json!(code.word()), &json!(code.status().as_u16()))
        );
        for text in ["title", "what_to_do"] {
            let (en, ko) = (told[text]["en"].as_str().unwrap(), told[text]["ko"].as_str().unwrap());
            assert!(en.is_ascii() && !en.is_empty());
            assert!(ko.chars().any(|c| ('가'..='힣').contains(&c)), "{ko}");
        }
    }
    anyone.get("/problems/no_such_code").await.refused(404, "not_found");
}

#[tokio::test]
async fn a_browser_on_an_allowed_origin_may_ask_without_a_token() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    let preflight = |origin: &'static str, headers: &'static str| {
        let request =
            anyone.request(Method::OPTIONS, &format!("/v1/auctions/{}/bids", uuid::Uuid::now_v7()));
        let request =
            request.header("origin", origin).header("access-control-request-method", "POST");
        anyone.send(request.header("access-control-request-headers", headers))
    };
    let asked = "authorization,content-type,idempotency-key,if-match,if-none-match,last-event-id,x-request-id,traceparent,accept-language";
    let allowed = preflight("https://shop.example.com", asked).await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://shop.example.com"));
    assert!(allowed.header("access-control-allow-methods").unwrap().contains("POST"));
    let headers = allowed.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
    assert!(asked.split(',').all(|header| headers.contains(header)), "{headers}");
    for origin in [
        "https://evil.example.com",
        "http://shop.example.com",
        "https://shop.example.com.evil.com",
        "null",
        "http://localhost:3000",
    ] {
        let refused = preflight(origin, asked).await;
        assert_eq!(refused.header("access-control-allow-origin"), None, "{origin}");
    }
}

#[tokio::test]
async fn a_page_may_read_the_headers_that_it_needs_also_of_problems() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    for (path, status) in [("/v1/auctions", 200), ("/v1/auctions/x", 404), ("/v1/nothing", 404)] {
        let request =
            anyone.request(Method::GET, path).header("origin", "https://shop.example.com");
        let answer = anyone.send(request).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example.com"));
        let exposed = answer.header("access-control-expose-headers").unwrap().to_ascii_lowercase();
        for header in ["etag", "link", "ratelimit", "retry-after", "x-request-id", "location"] {
            assert!(
                exposed.split(", ").flat_map(|h| h.split(',')).any(|h| h == header),
                "{header} in {exposed}"
            );
        }
    }
}

#[tokio::test]
async fn a_request_id_is_taken_or_made() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    let with_id = |id: String| {
        anyone.send(anyone.request(Method::GET, "/nothing").header("x-request-id", id))
    };
    let taken = with_id("abc-123".into()).await;
    assert_eq!(taken.header("x-request-id"), Some("abc-123"));
    assert_eq!(taken.json()["request_id"], "abc-123");
    for unusable in ["", "a b", &"x".repeat(129)] {
        let made = with_id(unusable.to_owned()).await;
        let id = made.header("x-request-id").unwrap();
        assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
        assert_eq!(made.json()["request_id"], id);
    }
}

/// Every operation of the document, with its method and path.
fn operations() -> Vec<(String, String, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.clone(), path.clone(), operation));
        }
    }
    all
}

#[test]
fn the_api_document_names_and_explains_every_operation() {
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap_or_default();
        assert!(ids.insert(id.to_owned()), "{id} stands twice");
        let (verb, resource) = id.split_once('_').expect("verb_resource");
        assert!(!verb.is_empty() && !resource.is_empty(), "{id}");
        assert!(id.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{id}");
        assert!(
            !operation["summary"].as_str().unwrap_or_default().is_empty(),
            "{id} has no summary"
        );
        assert!(
            method == "head" || kit::operations::line(id).is_some(),
            "{method} {path}: {id} is not in the table of operations"
        );
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with(['2', '3'])), "{id}");
        assert!(!operation["tags"].as_array().unwrap().is_empty(), "{id}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let is_in_path = path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
            assert_eq!(is_in_path, parameter["in"] == "path", "{id}: {parameter}");
        }
    }
    for line in ["place_bid", "get_log", "watch_events"] {
        assert!(ids.contains(line));
    }
}

#[test]
fn every_reference_in_the_api_document_leads_somewhere() {
    fn walk(value: &Value, references: &mut BTreeSet<String>) {
        if let Some(reference) = value["$ref"].as_str() {
            references.insert(reference.to_owned());
        }
        let items = value.as_array().into_iter().flatten();
        let fields = value.as_object().into_iter().flat_map(|fields| fields.values());
        items.chain(fields).for_each(|value| walk(value, references));
    }
    let mut references = BTreeSet::new();
    walk(&DOCUMENT, &mut references);
    assert!(references.len() > 10);
    for reference in references {
        assert!(DOCUMENT.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn every_operation_of_the_document_is_answered() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    for (method, path, operation) in operations() {
        let path = path.replace("{id}", "x").replace("{seq}", "x").replace("{code}", "x");
        let request = anyone.request(method.to_uppercase().parse().unwrap(), &path);
        let answer = anyone.send(request).await;
        let is_there = answer.status != 405
            && (answer.status != 404
                || operation["operationId"] == "get_problem"
                || method == "head"
                || answer.json()["code"] != "not_found");
        assert!(is_there, "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn the_metrics_count_what_was_decided_and_name_nobody() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    assert_eq!(minji.offers(&id, 7_654_321).await.status, 422, "a slip of the hand is asked about");
    assert_eq!(minji.offers(&id, 54_321).await.status, 201);
    let metrics = server.anonymous().get("/metrics").await;
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    for line in ["hoga_commands_total{answer=\"accepted\"}", "hoga_batch_seconds_bucket{le="] {
        assert!(text.contains(line), "{line} is missing from {text}");
    }
    assert!(text.contains("\nhoga_ready 1\n"), "{text}");
    for private in [id.as_str(), "54321", "7654321", "minji"] {
        assert!(!text.contains(private), "{private} is in {text}");
    }
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_wait_and_bids_have_a_budget_of_their_own() {
    let few = std::num::NonZeroU32::new(2).unwrap();
    let server = TestServer::spawn_with(|config| {
        config.rate_limits.requests_per_second = few;
        config.rate_limits.bids_per_second = few;
    });
    let minji = server.bidder("minji").await;
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(minji.get("/v1/time").await);
    }
    let refused = answers.iter().find(|answer| answer.status == 429).expect("a limit");
    let problem = refused.refused(429, "rate_limited");
    assert!(problem["retry_after_ms"].as_u64().unwrap() > 0);
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert!(answers[0].header("ratelimit").unwrap().starts_with("\"requests\";r="));
    assert!(answers[0].header("ratelimit-policy").is_some());
    let bid = minji.offers(&uuid::Uuid::now_v7().to_string(), 1).await;
    bid.refused(404, "auction_not_found");
    let junho = server.bidder("junho").await;
    assert_eq!(junho.get("/v1/time").await.status, 200, "each has their own");
    assert_eq!(minji.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn what_was_accepted_is_finished_when_the_server_goes_down() {
    let mut server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    let mut bidders = Vec::new();
    for n in 0..20 {
        bidders.push(server.bidder(&format!("bidder {n}")).await);
    }
    let keys: Vec<String> = bidders.iter().map(|_| fresh_key()).collect();
    let path = format!("/v1/auctions/{id}/bids");
    let sending: Vec<_> = bidders
        .iter()
        .zip(&keys)
        .zip(0..)
        .map(|((bidder, key), n)| {
            let request = bidder.request(Method::POST, &path).header("idempotency-key", key);
            let request = request.json(&json!({"max_amount": 10_000 + n * 2_000}));
            tokio::spawn(request.send())
        })
        .collect();
    tokio::task::yield_now().await;
    server.begin_to_stop();
    let mut heard = Vec::new();
    for (sent, n) in sending.into_iter().zip(0..) {
        if let Ok(response) = sent.await.unwrap() {
            let status = response.status().as_u16();
            assert!(matches!(status, 201 | 409 | 503), "{status}");
            heard.push((n, status, response.bytes().await.unwrap()));
        }
    }
    server.stop();
    server.start();
    for (n, status, bytes) in heard {
        let body = json!({"max_amount": 10_000 + n * 2_000});
        let again = bidders[n].bid_with_key(&id, &keys[n], &body).await;
        if status != 503 {
            assert_eq!((again.status, &again.bytes), (status, &bytes), "as it was heard");
        }
    }
}

#[tokio::test]
async fn an_idle_connection_and_an_open_stream_do_not_hold_a_shutdown_up() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(with(an_auction(), json!({"starts_at": in_ms(60_000)}))).await;
    let mut idle = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    idle.write_all(b"GET /v1/time HTTP/1.1\r\nhost: hoga.test\r\n\r\n").await.unwrap();
    let mut buffer = [0; 4_096];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    let _events = server.anonymous().events(&id).await;
    let took = server.stop();
    assert!(took.as_secs() < 10, "{took:?}");
    drop(idle);
}

#[tokio::test]
async fn a_database_that_hangs_does_not_hold_a_shutdown_up() {
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    minji.offers(&id, 10_000).await.with_status(201);
    let config = server.database.config().clone();
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let lock = tokio::spawn(connection);
    client.simple_query("BEGIN; LOCK TABLE events IN EXCLUSIVE MODE").await.unwrap();
    let request = minji.request(Method::POST, &format!("/v1/auctions/{id}/bids"));
    let request =
        request.header("idempotency-key", fresh_key()).json(&json!({"max_amount": 50_000}));
    let bidding = tokio::spawn(request.send());
    eventually("the bid waits for the lock", || async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        (server.database.number(waiting).await > 0).then_some(())
    })
    .await;
    // It asserts that this takes less than 10 seconds.
    tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
    drop(client);
    bidding.abort();
    lock.abort();
}

#[tokio::test]
async fn a_purge_that_fails_is_said_once_counted_and_tried_again() {
    let mut server = TestServer::spawn();
    server.stop();
    let ticket = "INSERT INTO users (id, nickname, roles) VALUES (gen_random_uuid(), 'x', '{}'); \
                  INSERT INTO stream_tickets (ticket_hash, user_id, expires_at) \
                  SELECT '', id, now() - interval '1 day' FROM users LIMIT 1; \
                  ALTER TABLE stream_tickets RENAME TO away";
    server.database.rows(ticket).await;
    server.start();
    let failed = "hoga_purges_failed_total{what=\"stream_tickets\"}";
    eventually("it failed twice", || async {
        let metrics = server.anonymous().get("/metrics").await;
        let line = metrics.text().lines().find(|line| line.starts_with(failed))?;
        let count: f64 = line.rsplit(' ').next()?.parse().ok()?;
        (count >= 2.0).then_some(())
    })
    .await;
    let kept = logs::kept();
    let said = kept.lines().filter(|line| {
        line.contains("what is too old stays") && line.contains("what=\"stream_tickets\"")
    });
    assert_eq!(said.count(), 1);
    server.database.rows("ALTER TABLE away RENAME TO stream_tickets").await;
    eventually("it is deleted", || async {
        (server.database.number("SELECT count(*) FROM stream_tickets").await == 0).then_some(())
    })
    .await;
}
