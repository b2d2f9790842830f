//! The pages that Hoga itself serves: `/`, `/docs`, and the document behind it.

use std::io::Read;

use flate2::read::GzDecoder;
use hoga::http::openapi;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    Answer, Client, TestServer, an_auction, contract::DOCUMENT, eventually, with,
};

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async fn asked(anyone: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = anyone.request(Method::GET, path);
    let request = headers.iter().fold(request, |r, (name, value)| r.header(*name, *value));
    anyone.send(request).await
}

async fn page(anyone: &Client, path: &str, language: &str) -> String {
    let headers = [("accept", "text/html,*/*;q=0.8"), ("accept-language", language)];
    let answer = asked(anyone, path, &headers).await;
    assert_eq!(answer.status, 200, "{path}");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
    assert_eq!(answer.header("content-security-policy"), Some(POLICY), "{path}");
    let page = answer.text().to_owned();
    let own = page.split("href=\"").chain(page.split("src=\"")).skip(1);
    for link in own.filter_map(|rest| rest.split('"').next()).filter(|link| !link.contains('<')) {
        assert!(link.starts_with('/') || link.starts_with('#'), "{link} lies outside");
    }
    page
}

#[tokio::test]
async fn a_browser_is_shown_what_is_on_sale_in_its_language() {
    let server = TestServer::spawn();
    let (sora, anyone) = (server.seller("sora").await, server.anonymous());
    let empty = page(&anyone, "/", "en").await;
    assert!(empty.contains("Nothing at present"), "{empty}");
    let title = "달항아리 <script>alert(1)</script>";
    let item = with(an_auction(), json!({"title": title, "opening_price": 1_234_500}));
    let id = sora.sells(item).await;
    anyone.auction_once(&id, "live").await;
    // What is a second old is read again.
    let shown = eventually("the page shows it", || async {
        let shown = page(&anyone, "/", "ko-KR,ko;q=0.9,en;q=0.8").await;
        shown.contains(&id).then_some(shown)
    })
    .await;
    assert!(shown.contains("<html lang=\"ko\">") && shown.contains("진행 중인 경매"), "{shown}");
    assert!(shown.contains("₩1,234,500"), "{shown}");
    assert!(shown.contains("달항아리 &lt;script&gt;") && !shown.contains("<script>alert"));
    for link in [format!("/v1/auctions/{id}\""), format!("/v1/auctions/{id}/events\"")] {
        assert!(shown.contains(&format!("href=\"{link}")), "{link}");
    }
    assert!(shown.contains("href=\"/docs?lang=ko\""));
    let switched = page(&anyone, "/?lang=en", "ko").await;
    assert!(switched.contains("<html lang=\"en\">") && switched.contains("On sale now"));
    // A configured exchange is no demo.
    assert!(!switched.contains("class=\"notice\""), "{switched}");
}

#[tokio::test]
async fn the_front_page_asks_the_database_once_for_all_who_look_at_it_at_the_same_time() {
    let server = TestServer::spawn();
    let config = server.database.config().clone();
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let holding = tokio::spawn(connection);
    client.simple_query("BEGIN; LOCK TABLE auctions IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let looking: Vec<_> = (0..40)
        .map(|_| {
            let anyone = server.anonymous();
            tokio::spawn(async move { page(&anyone, "/", "en").await })
        })
        .collect();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND datname = current_database() AND application_name = 'hoga lists'";
    eventually("one reads", || async { (server.database.number(waiting).await > 0).then_some(()) })
        .await;
    // Another request, which is answered after those that came before it.
    server.anonymous().get("/v1/time").await.with_status(200);
    assert_eq!(server.database.number(waiting).await, 1);
    client.simple_query("ROLLBACK").await.unwrap();
    for page in looking {
        assert!(page.await.unwrap().contains("Nothing at present"));
    }
    holding.abort();
}

#[tokio::test]
async fn the_front_page_is_there_when_the_database_cannot_be_read() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    let shows = async |words: &str| {
        eventually(words, || async {
            page(&anyone, "/", "en").await.contains(words).then_some(())
        })
        .await;
    };
    shows("Nothing at present").await;
    server.database.rows("ALTER TABLE standings RENAME TO standings_away").await;
    shows("cannot be read at present").await;
    server.database.rows("ALTER TABLE standings_away RENAME TO standings").await;
    shows("Nothing at present").await;
}

#[tokio::test]
async fn a_program_is_told_where_to_go_on() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    for accept in ["*/*", "application/json"] {
        let answer = asked(&anyone, "/", &[("accept", accept)]).await;
        let told = answer.with_status(200);
        assert_eq!(told["name"], "Hoga");
        assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(told["links"]["openapi"], "http://hoga.test/openapi.json");
        let vary = answer.header("vary").unwrap();
        assert!(vary.contains("Accept") && vary.contains("Accept-Language"), "{vary}");
    }
    for path in ["/", "/docs", "/openapi.json"] {
        let head = anyone.send(anyone.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.bytes.len()), (200, 0), "{path}");
    }
}

#[tokio::test]
async fn the_docs_name_every_operation_with_who_may_call_it_and_how() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    let (english, korean) =
        (page(&anyone, "/docs", "en").await, page(&anyone, "/docs?lang=ko", "en").await);
    assert!(english.contains("<title>Hoga API</title>"));
    assert!(korean.contains("<html lang=\"ko\">") && korean.contains("호출할 수 있는 사람"));
    for line in hoga::http::routes::TABLE {
        assert!(english.contains(&format!("id=\"{}\"", line.id)), "{}", line.id);
    }
    for shown in [
        "Users with the role bidder.",
        "curl -X POST &#39;http://hoga.test/v1/auctions/",
        "href=\"/problems/bid_too_low\"",
        "href=\"#schema-Receipt\"",
        "new EventSource(",
    ] {
        assert!(english.replace('\'', "&#39;").contains(shown), "{shown}");
    }
    let moved = asked(&anyone, "/docs/", &[]).await;
    assert_eq!(moved.status, 200, "followed to /docs");
    for asset in ["hoga.css", "docs.js", "hoga.svg"] {
        let answer = asked(&anyone, &format!("/assets/{asset}"), &[]).await;
        assert_eq!(answer.status, 200, "{asset}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    asked(&anyone, "/assets/none.css", &[]).await.refused(404, "not_found");
}

#[tokio::test]
async fn the_docs_have_a_call_by_curl_and_one_by_typescript_of_every_operation() {
    let server = TestServer::spawn();
    let page = page(&server.anonymous(), "/docs", "en").await;
    let mut asked = 0;
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            let (_, rest) = page.split_once(&format!("class=\"entry\" id=\"{id}\"")).expect(id);
            let section = rest.split("class=\"entry\"").next().unwrap();
            let sample = |name: &str| {
                let begin = format!("class=\"caption\">{name}</p><pre tabindex=\"0\">");
                let (_, rest) =
                    section.split_once(&begin).unwrap_or_else(|| panic!("{name}: {id}"));
                let sample = rest.split("</pre>").next().unwrap();
                assert!(sample.contains(path.split('{').next().unwrap()), "{id}: {sample}");
                sample
            };
            assert!(sample("curl").starts_with("curl "), "{id}");
            let typescript = sample("TypeScript");
            let calls = ["await fetch(", "new EventSource("];
            assert!(calls.iter().any(|call| typescript.contains(call)), "{id}: {typescript}");
            asked += 1;
        }
    }
    assert!(asked > hoga::http::routes::TABLE.len(), "only {asked}, HEAD included");
}

#[tokio::test]
async fn what_any_cache_may_give_to_anybody_says_nothing_of_one_callers_budget() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    for path in ["/", "/docs", "/assets/hoga.css", "/openapi.json", "/v1/push/key"] {
        let answer = asked(&anyone, path, &[("accept", "text/html")]).await;
        let known = [("accept", "text/html"), ("if-none-match", "*")];
        for answer in [answer, asked(&anyone, path, &known).await] {
            assert!(matches!(answer.status, 200 | 304), "{path}: {}", answer.status);
            assert!(answer.header("cache-control").unwrap().contains("public"), "{path}");
            for name in ["ratelimit", "ratelimit-policy"] {
                assert_eq!(answer.header(name), None, "{path}: {name}");
            }
        }
    }
    assert!(asked(&anyone, "/v1/time", &[]).await.header("ratelimit").is_some());
}

#[tokio::test]
async fn the_document_and_its_page_are_compressed_and_sent_only_when_they_have_changed() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    for path in ["/openapi.json", "/docs", "/assets/hoga.css"] {
        let plain = asked(&anyone, path, &[]).await;
        assert_eq!((plain.status, plain.header("content-encoding")), (200, None), "{path}");
        let gzipped = asked(&anyone, path, &[("accept-encoding", "br, gzip")]).await;
        assert_eq!(gzipped.header("content-encoding"), Some("gzip"), "{path}");
        let mut whole = Vec::new();
        GzDecoder::new(&*gzipped.bytes).read_to_end(&mut whole).unwrap();
        assert!(whole == plain.bytes, "{path} is the same");
        assert!(gzipped.bytes.len() * 2 < plain.bytes.len(), "{path} is smaller");
        assert_ne!(plain.tag(), gzipped.tag(), "other bytes, another tag");
        for (answer, encoding) in [(&plain, "identity"), (&gzipped, "gzip")] {
            assert!(answer.header("vary").unwrap().contains("Accept-Encoding"), "{path}");
            let known = [("if-none-match", &*answer.tag()), ("accept-encoding", encoding)]
                .map(|(name, value)| (name, value.to_owned()));
            let known = known.each_ref().map(|(name, value)| (*name, value.as_str()));
            let again = asked(&anyone, path, &known).await;
            assert_eq!((again.status, again.bytes.len()), (304, 0), "{path}");
            assert_eq!(again.header("etag"), answer.header("etag"));
        }
        let other = [("if-none-match", "\"0\""), ("accept-encoding", "gzip;q=0")];
        assert_eq!(asked(&anyone, path, &other).await.bytes, plain.bytes, "{path}");
    }
    let document = asked(&anyone, "/openapi.json", &[]).await;
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert_eq!(document.text(), openapi::document_text());
}
