//! Bad input: each kind answers a problem that says what is wrong, and writes nothing.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::stream;
use hoga::identity::Role;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    Answer, Bidder, Client, Seller, TestServer, an_auction, fresh_key, in_s, server::PUBLIC_URL,
    with,
};

/// A live auction, its seller and somebody to bid.
struct Floor {
    server: TestServer,
    sora: Seller,
    minji: Bidder,
    id: String,
    bids: String,
    written: Vec<Vec<String>>,
}

impl Floor {
    async fn open() -> Floor {
        let server = TestServer::spawn();
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        let id = sora.sells(an_auction()).await;
        sora.auction_once(&id, "live").await;
        let bids = format!("/v1/auctions/{id}/bids");
        let written = server.database.written().await;
        Floor { server, sora, minji, id, bids, written }
    }

    /// Offers may have been decided, and refused: those answers are kept.
    async fn nothing_happened(&self) {
        let written = self.server.database.written().await;
        assert_eq!(written[0][..2], self.written[0][..2], "events and auctions");
    }

    async fn nothing_was_written(&self) {
        assert_eq!(self.server.database.written().await, self.written);
    }
}

/// The fields named in a refusal.
#[track_caller]
fn fields(answer: &Answer) -> Vec<String> {
    answer.wrong_fields()
}

#[tokio::test]
async fn malformed_json_is_refused_with_its_place() {
    let floor = Floor::open().await;
    for body in [
        "{",
        "",
        "{\"amount\": }",
        "{\"amount\": 1,}",
        "amount=1",
        "[",
        "\u{0}",
        "{\"amount\":1}{}",
        "{\"amount\": 01}",
        "{\"amount\": NaN}",
        "{\"amount\": 0x10}",
        "{'amount': 1}",
    ] {
        let answer = floor.minji.post_bytes(&floor.bids, body).await;
        let problem = answer.refused(400, "malformed_json");
        assert!(problem["detail"].as_str().unwrap().starts_with("Line "), "{problem}");
    }
    for body in ["{", "", "[", "{\"title\": \"x\"", "{\"title\": \"x\",}"] {
        floor.sora.post_bytes("/v1/auctions", body).await.refused(400, "malformed_json");
    }
    let buy = format!("/v1/auctions/{}/buy-now", floor.id);
    floor.minji.post_bytes(&buy, "{").await.refused(400, "malformed_json");
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn json_that_is_nested_without_end_is_refused() {
    let floor = Floor::open().await;
    let deep = "[".repeat(60_000);
    let answer = floor.minji.post_bytes(&floor.bids, deep.clone()).await;
    assert!(matches!(answer.status, 400 | 422), "{answer:?}");
    let deep = format!("{{\"title\": \"x\", \"attributes\": {deep}");
    let answer = floor.sora.post_bytes("/v1/auctions", deep).await;
    assert!(matches!(answer.status, 400 | 422), "{answer:?}");
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn invalid_utf8_is_refused() {
    let floor = Floor::open().await;
    let bytes =
        b"{\"title\": \"\xff\xfe\", \"opening_price\": 1, \"ends_at\": \"2030-01-01T00:00:00Z\"}";
    floor.sora.post_bytes("/v1/auctions", &bytes[..]).await.refused(400, "malformed_json");
    let lone = r#"{"title": "\ud800", "opening_price": 1, "ends_at": "2030-01-01T00:00:00Z"}"#;
    floor.sora.post_bytes("/v1/auctions", lone).await.refused(400, "malformed_json");
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_name() {
    let floor = Floor::open().await;
    let answer = floor.minji.bid(&floor.id, &json!({"amount": 10_000, "price": 1})).await;
    let problem = answer.refused(422, "invalid_request");
    assert!(problem.to_string().contains("price"), "{problem}");
    for unknown in [
        json!({"seller": "x"}),
        json!({"status": "live"}),
        json!({"cap": 1}),
        json!({"increment": {"kind": "fixed", "step": 1, "more": 1}}),
        json!({"soft_close": {"trigger_window_s": 1, "extension_s": 1, "mode": "extend", "max_ends_at": in_s(90_000), "x": 1}}),
    ] {
        fields(&floor.sora.create_auction(&with(an_auction(), unknown)).await);
    }
    fields(&floor.minji.buys(&floor.id, &json!({"price": 1})).await);
    fields(
        &floor
            .minji
            .post_with_key(
                &format!("{}/3/retraction", floor.bids),
                &fresh_key(),
                &json!({"reason": "x", "x": 1}),
            )
            .await,
    );
    fields(&floor.sora.update(&floor.id, "*", &json!({"x": 1})).await);
    fields(&floor.sora.relist(&floor.id, &json!({"ends_at": in_s(9), "title": "x"})).await);
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn a_wrong_type_is_refused_with_its_field() {
    let floor = Floor::open().await;
    for wrong in
        [json!("10000"), json!(10_000.5), json!(10_000.0), json!(true), json!([]), json!({})]
    {
        assert_eq!(
            fields(&floor.minji.bid(&floor.id, &json!({"amount": wrong})).await),
            ["amount"]
        );
    }
    for body in [json!([]), json!("x"), json!(7), json!(null)] {
        fields(&floor.minji.bid(&floor.id, &body).await);
    }
    for (field, wrong) in [
        ("title", json!(7)),
        ("ends_at", json!(7)),
        ("ends_at", json!("tomorrow")),
        ("attributes", json!({"a": 1})),
        ("image_keys", json!("a")),
        ("currency", json!("EUR")),
        ("increment", json!({"kind": "dutch"})),
        ("bids_per_bidder_max", json!(-1)),
    ] {
        let new = with(an_auction(), json!({field: wrong}));
        let named = fields(&floor.sora.create_auction(&new).await);
        assert!(named[0].starts_with(field), "{named:?} for {field}");
    }
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn a_missing_or_doubled_field_is_refused() {
    let floor = Floor::open().await;
    fields(&floor.minji.bid(&floor.id, &json!({})).await);
    fields(&floor.minji.bid(&floor.id, &json!({"amount": 10_000, "max_amount": 10_000})).await);
    fields(&floor.sora.create_auction(&json!({"title": "x"})).await);
    let twice = r#"{"amount": 10000, "amount": 20000}"#;
    fields(&floor.minji.post_bytes(&floor.bids, twice).await);
    fields(
        &floor
            .minji
            .post_with_key(
                &format!("{}/3/retraction", floor.bids),
                &fresh_key(),
                &json!({"reason": "  "}),
            )
            .await,
    );
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn huge_negative_and_zero_amounts_are_refused() {
    let floor = Floor::open().await;
    for number in [
        "1e30",
        "1e400",
        "9223372036854775808",
        "9223372036854775807",
        "9007199254740992",
        "18446744073709551616",
        "-1",
        "-9223372036854775808",
        "-9223372036854775809",
        "0",
        "-0",
        "1e4",
    ] {
        for field in ["amount", "max_amount", "confirm_amount"] {
            let others = if field == "confirm_amount" { "\"amount\": 10000, " } else { "" };
            let body = format!("{{{others}\"{field}\": {number}}}");
            let answer = floor.minji.post_bytes(&floor.bids, body).await;
            assert!(matches!(answer.status, 400 | 422), "{field} {number}: {answer:?}");
            let code = answer.json()["code"].clone();
            assert!(
                ["invalid_request", "malformed_json", "over_cap"].contains(&code.as_str().unwrap()),
                "{code}"
            );
        }
        for field in ["opening_price", "reserve_price", "buy_now_price"] {
            let mut new = an_auction();
            new.as_object_mut().unwrap().remove("opening_price");
            let others = if field == "opening_price" { "" } else { "\"opening_price\": 10000, " };
            let rest = new.to_string();
            let body = format!("{{{others}\"{field}\": {number}, {}", &rest[1..]);
            let answer = floor.sora.post_bytes("/v1/auctions", body).await;
            assert!(matches!(answer.status, 400 | 422), "{field} {number}: {answer:?}");
        }
    }
    floor.nothing_happened().await;
}

#[tokio::test]
async fn a_number_beyond_every_float_is_an_offer_only_where_it_is_positive() {
    let floor = Floor::open().await;
    for field in ["amount", "max_amount"] {
        for number in ["-1e400", "-1e99999999999", "\n -1e400 "] {
            let body = format!("{{\"{field}\": {number}}}");
            let answer = floor.minji.post_bytes(&floor.bids, body).await;
            assert_eq!(fields(&answer), [field], "{number}");
        }
        let body = format!("{{\"{field}\": 1e400}}");
        floor.minji.post_bytes(&floor.bids, body).await.refused(422, "over_cap");
    }
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn a_word_written_as_an_object_is_refused() {
    let floor = Floor::open().await;
    for (field, value) in [
        ("currency", json!({"KRW": null})),
        ("currency", json!({"KRW": {}})),
        ("currency", json!(["KRW"])),
    ] {
        let answer = floor.sora.create_auction(&with(an_auction(), json!({field: value}))).await;
        assert_eq!(fields(&answer), [field]);
    }
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn what_is_one_line_has_no_breaks_and_no_marks_that_nobody_sees() {
    let floor = Floor::open().await;
    for unseen in ["a\nb", "a\u{202e}b", "a\u{2066}b", "a\u{200b}b", "a\u{2028}b"] {
        for (field, value) in [
            ("title", json!(unseen)),
            ("category", json!(unseen)),
            ("image_keys", json!([unseen])),
            ("attributes", json!({unseen: "x"})),
        ] {
            let auction = with(an_auction(), json!({field: value}));
            assert_eq!(fields(&floor.sora.create_auction(&auction).await), [field], "{unseen:?}");
        }
    }
    floor.nothing_was_written().await;
    // A description has lines, and so may the value of an attribute.
    let lines = json!({"description": "a\nb", "attributes": {"size": "a\nb"}});
    floor.sora.sells(with(an_auction(), lines)).await;
}

#[tokio::test]
async fn two_tokens_are_refused() {
    let floor = Floor::open().await;
    let bearer = format!("Bearer {}", floor.minji.token());
    for second in [bearer.as_str(), "Bearer x"] {
        let request = floor.server.anonymous().request(Method::GET, "/v1/me");
        let request = request.header("authorization", &bearer).header("authorization", second);
        floor.server.anonymous().send(request).await.refused(401, "token_invalid");
    }
}

#[tokio::test]
async fn the_largest_amount_there_is_is_over_the_cap_and_overflows_nothing() {
    let floor = Floor::open().await;
    let largest = 9_007_199_254_740_991_i64;
    let bid = json!({"max_amount": largest, "confirm_amount": largest});
    floor.minji.bid(&floor.id, &bid).await.refused(422, "over_cap");
    fields(
        &floor.sora.create_auction(&with(an_auction(), json!({"opening_price": largest}))).await,
    );
    let seq = json!({"amount": 10_000, "expected_seq": u64::MAX});
    floor.minji.bid(&floor.id, &seq).await.refused(409, "price_moved");
    let windows = json!({"soft_close": {"trigger_window_s": 4_294_967_295_u32, "extension_s": 4_294_967_295_u32,
        "mode": "extend", "max_ends_at": "9999-12-31T23:59:59.999Z"}});
    fields(&floor.sora.create_auction(&with(an_auction(), windows)).await);
    let forever = json!({"ends_at": "9999-12-31T23:59:59.999Z"});
    fields(&floor.sora.create_auction(&with(an_auction(), forever)).await);
    let receipts = floor.server.database.number("SELECT count(*) FROM events").await;
    assert_eq!(receipts, 2);
}

#[tokio::test]
async fn a_missing_or_unusable_idempotency_key_is_refused() {
    let floor = Floor::open().await;
    let bid = json!({"amount": 10_000});
    let paths = [floor.bids.clone(), format!("/v1/auctions/{}/buy-now", floor.id)];
    for path in &paths {
        let body = if path.ends_with("bids") { bid.clone() } else { json!({}) };
        floor.minji.post(path, &body).await.refused(400, "idempotency_key_missing");
    }
    let retraction = format!("{}/3/retraction", floor.bids);
    let answer = floor.minji.post(&retraction, &json!({"reason": "x"})).await;
    answer.refused(400, "idempotency_key_missing");
    for key in ["", " ", "a b", "키", &"k".repeat(256), "a\tb"] {
        let request = floor
            .minji
            .request(Method::POST, &floor.bids)
            .header("idempotency-key", key.as_bytes());
        floor.minji.send(request.json(&bid)).await.refused(400, "idempotency_key_invalid");
    }
    let request = floor.minji.request(Method::POST, &floor.bids);
    let twice = request.header("idempotency-key", "one").header("idempotency-key", "two");
    let answer = floor.minji.send(twice.json(&bid)).await;
    floor.nothing_was_written().await;
    answer.refused(400, "idempotency_key_invalid");
    floor.minji.bid_with_key(&floor.id, &"k".repeat(255), &bid).await.with_status(201);
}

#[tokio::test]
async fn a_reused_idempotency_key_is_refused() {
    let floor = Floor::open().await;
    let key = fresh_key();
    floor.minji.bid_with_key(&floor.id, &key, &json!({"amount": 10_000})).await.with_status(201);
    let other = floor.minji.bid_with_key(&floor.id, &key, &json!({"amount": 20_000})).await;
    other.refused(422, "idempotency_key_reused");
}

#[tokio::test]
async fn unknown_and_malformed_ids_are_not_found() {
    let floor = Floor::open().await;
    let bid = json!({"amount": 10_000});
    for (id, code) in [
        (Uuid::now_v7().to_string(), "auction_not_found"),
        (Uuid::nil().to_string(), "auction_not_found"),
        ("42".into(), "invalid_id"),
        ("x".repeat(4_000), "invalid_id"),
        ("%00".into(), "invalid_id"),
        ("..%2f..".into(), "invalid_id"),
        ("%ff".into(), "invalid_id"),
    ] {
        for path in ["", "/bids", "/log", "/log/checkpoint", "/events"] {
            floor.minji.get(&format!("/v1/auctions/{id}{path}")).await.refused(404, code);
        }
        floor.minji.get(&format!("/v1/auctions/{id}/bidding")).await.refused(404, code);
        floor.minji.bid(&id, &bid).await.refused(404, code);
        floor.minji.buys(&id, &json!({})).await.refused(404, code);
        floor.minji.retracts(&id, &json!(3), "x").await.refused(404, code);
        floor.sora.update(&id, "*", &json!({"title": "x"})).await.refused(404, code);
        floor.sora.delete(&id, "*").await.refused(404, code);
        floor.sora.relist(&id, &json!({"ends_at": in_s(60)})).await.refused(404, code);
    }
    for seq in [json!("x"), json!(-1), json!(1.5), json!("99999999999999999999999")] {
        let seq = seq.as_str().map_or(seq.to_string(), str::to_owned);
        let path = format!("{}/{seq}/retraction", floor.bids);
        let answer = floor.minji.post_with_key(&path, &fresh_key(), &json!({"reason": "x"})).await;
        answer.refused(404, "bid_not_found");
    }
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let floor = Floor::open().await;
    let large = json!({"amount": 10_000, "x": "y".repeat(64 * 1_024)}).to_string();
    floor.minji.post_bytes(&floor.bids, large.clone()).await.refused(413, "body_too_large");
    let buy = format!("/v1/auctions/{}/buy-now", floor.id);
    floor.minji.post_bytes(&buy, large.clone()).await.refused(413, "body_too_large");
    floor.sora.post_bytes("/v1/auctions", large).await.refused(413, "body_too_large");
    floor.nothing_was_written().await;
    let description = "가".repeat(10_000);
    let most = with(an_auction(), json!({"description": description}));
    floor.sora.create_auction(&most).await.with_status(201);
}

#[tokio::test]
async fn a_chunked_body_that_is_too_large_is_refused() {
    let floor = Floor::open().await;
    let chunks = (0..100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1_024]));
    let body = reqwest::Body::wrap_stream(stream::iter(chunks));
    floor.minji.post_bytes(&floor.bids, body).await.refused(413, "body_too_large");
    let chunks = [b"{\"amount\"".to_vec(), b": 10000}".to_vec()].map(Ok::<_, std::io::Error>);
    let body = reqwest::Body::wrap_stream(stream::iter(chunks));
    floor.nothing_was_written().await;
    floor.minji.post_bytes(&floor.bids, body).await.with_status(201);
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let floor = Floor::open().await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "json",
    ] {
        let request =
            floor.minji.request(Method::POST, &floor.bids).header("idempotency-key", fresh_key());
        let request = request.header("content-type", kind).body(r#"{"amount": 10000}"#);
        floor.minji.send(request).await.refused(415, "unsupported_media_type");
    }
    let request =
        floor.minji.request(Method::POST, &floor.bids).header("idempotency-key", fresh_key());
    floor
        .minji
        .send(request.body(r#"{"amount": 10000}"#))
        .await
        .refused(415, "unsupported_media_type");
    floor.nothing_was_written().await;
    let request =
        floor.minji.request(Method::POST, &floor.bids).header("idempotency-key", fresh_key());
    let request = request.header("content-type", "application/json; charset=utf-8");
    floor.minji.send(request.body(r#"{"amount": 10000}"#)).await.with_status(201);
}

async fn bid_as(floor: &Floor, caller: &Client) -> Answer {
    caller.post_with_key(&floor.bids, &fresh_key(), &json!({"amount": 10_000})).await
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let floor = Floor::open().await;
    let token = floor.server.token(floor.minji.id, &[Role::Bidder], -1);
    let answer = bid_as(&floor, &floor.server.caller_with(&token)).await;
    answer.refused(401, "token_expired");
    assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
    let reading = floor.server.caller_with(&token).get("/v1/auctions").await;
    reading.refused(401, "token_expired");
    floor.nothing_was_written().await;
}

/// A token of these parts, signed as told.
fn token(header: &Value, claims: &Value, sign: impl Fn(&str) -> String) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = sign(&signed);
    format!("{signed}.{signature}")
}

fn claims(floor: &Floor) -> Value {
    json!({"iss": PUBLIC_URL, "aud": "hoga", "sub": floor.minji.id.to_string(), "iat": 1,
        "exp": 4_000_000_000_u64, "jti": uuid::Uuid::nil(), "roles": ["bidder", "seller", "admin"]})
}

#[tokio::test]
async fn a_forged_token_is_refused() {
    let floor = Floor::open().await;
    let key = hoga::identity::keys::SigningKey::generate().unwrap();
    let kid = floor.server.state().tokens.signing_key(hoga::wall_clock::now()).kid().to_owned();
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid});
    let forged = token(&header, &claims(&floor), |signed| key.sign(signed.as_bytes()));
    bid_as(&floor, &floor.server.caller_with(&forged)).await.refused(401, "token_invalid");
    let mut parts: Vec<String> = floor.minji.token().split('.').map(str::to_owned).collect();
    parts[1] = URL_SAFE_NO_PAD.encode(claims(&floor).to_string());
    let changed = parts.join(".");
    bid_as(&floor, &floor.server.caller_with(&changed)).await.refused(401, "token_invalid");
    for nonsense in ["x", "a.b.c", "..", &"x".repeat(5_000)] {
        bid_as(&floor, &floor.server.caller_with(nonsense)).await.refused(401, "token_invalid");
    }
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused() {
    let floor = Floor::open().await;
    let kid = floor.server.state().tokens.signing_key(hoga::wall_clock::now()).kid().to_owned();
    for alg in ["none", "None", "NONE", ""] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": kid});
        let unsigned = token(&header, &claims(&floor), |_| String::new());
        bid_as(&floor, &floor.server.caller_with(&unsigned)).await.refused(401, "token_invalid");
    }
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn a_token_signed_with_the_public_key_as_a_secret_is_refused() {
    let floor = Floor::open().await;
    let keys = floor.server.anonymous().get("/.well-known/jwks.json").await.with_status(200);
    let (x, kid) = (keys["keys"][0]["x"].as_str().unwrap().to_owned(), &keys["keys"][0]["kid"]);
    for secret in [URL_SAFE_NO_PAD.decode(&x).unwrap(), x.into_bytes()] {
        let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": kid});
        let signed = token(&header, &claims(&floor), |signed| {
            URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&secret, signed.as_bytes()))
        });
        bid_as(&floor, &floor.server.caller_with(&signed)).await.refused(401, "token_invalid");
    }
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn a_token_for_another_audience_issuer_or_purpose_is_refused() {
    let floor = Floor::open().await;
    let key = floor.server.state().tokens.signing_key(hoga::wall_clock::now());
    let sign = |header: Value, changes: Value| {
        token(&header, &with(claims(&floor), changes), |signed| key.sign(signed.as_bytes()))
    };
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": key.kid()});
    let ours = sign(header.clone(), json!({}));
    let own = floor.server.caller_with(&ours);
    bid_as(&floor, &own).await.with_status(201);
    let written = floor.server.database.written().await;
    for changes in [
        json!({"aud": "another"}),
        json!({"aud": []}),
        json!({"aud": null}),
        json!({"iss": "http://elsewhere.test"}),
        json!({"sub": "nobody"}),
        json!({"exp": "never"}),
        json!({"exp": null}),
        json!({"roles": null}),
    ] {
        let foreign = sign(header.clone(), changes.clone());
        let answer = bid_as(&floor, &floor.server.caller_with(&foreign)).await;
        assert_eq!(answer.status, 401, "{changes}: {answer:?}");
        answer.refused(401, "token_invalid");
    }
    for typ in [json!("JWT"), json!("id+jwt"), json!(null)] {
        let other = sign(json!({"alg": "EdDSA", "typ": typ, "kid": key.kid()}), json!({}));
        bid_as(&floor, &floor.server.caller_with(&other)).await.refused(401, "token_invalid");
    }
    assert_eq!(floor.server.database.written().await, written);
}

#[tokio::test]
async fn another_scheme_than_bearer_is_refused() {
    let floor = Floor::open().await;
    let anyone = floor.server.anonymous();
    for value in ["Basic bWluamk6eA==", "Bearer", "Bearer ", "x", ""] {
        let request = anyone.request(Method::POST, &floor.bids).header("authorization", value);
        let request =
            request.header("idempotency-key", fresh_key()).json(&json!({"amount": 10_000}));
        anyone.send(request).await.refused(401, "token_invalid");
    }
    let request = anyone
        .request(Method::GET, "/v1/auctions")
        .header("authorization", "bearer ".to_owned() + floor.minji.token());
    anyone.send(request).await.with_status(200);
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn editing_a_live_auction_is_refused() {
    let floor = Floor::open().await;
    let answer = floor.sora.update(&floor.id, "\"2\"", &json!({"title": "x"})).await;
    answer.refused(409, "auction_not_editable");
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn a_stale_if_match_is_refused() {
    let floor = Floor::open().await;
    let scheduled = with(an_auction(), json!({"starts_at": in_s(60)}));
    let id = floor.sora.sells(scheduled).await;
    floor.sora.update(&id, "\"1\"", &json!({"title": "x"})).await.with_status(200);
    let written = floor.server.database.written().await;
    for stale in [
        "\"1\"",
        "\"99\"",
        "\"-1\"",
        "2",
        "W/\"2\"",
        "x",
        "\"1\", \"3\"",
        "\"1.1\"",
        "\"2.x\"",
        "\".1\"",
    ] {
        let answer = floor.sora.update(&id, stale, &json!({"title": "y"})).await;
        answer.refused(412, "precondition_failed");
        floor.sora.delete(&id, stale).await.refused(412, "precondition_failed");
    }
    assert_eq!(floor.server.database.written().await, written);
}

#[tokio::test]
async fn nul_characters_are_refused() {
    let floor = Floor::open().await;
    for (field, value) in [
        ("title", json!("a\0b")),
        ("description", json!("\0")),
        ("category", json!("a\0")),
        ("image_keys", json!(["a\0"])),
        ("attributes", json!({"a\0": "b"})),
        ("attributes", json!({"a": "\0"})),
    ] {
        let answer = floor.sora.create_auction(&with(an_auction(), json!({field: value}))).await;
        assert_eq!(fields(&answer), [field]);
    }
    let path = format!("{}/3/retraction", floor.bids);
    let answer = floor.minji.post_with_key(&path, &fresh_key(), &json!({"reason": "a\0b"})).await;
    assert_eq!(fields(&answer), ["reason"]);
    for query in ["q=%00", "category=a%00b", "seller=%00", "cursor=%00"] {
        assert_eq!(floor.minji.get(&format!("/v1/auctions?{query}")).await.status, 400, "{query}");
    }
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn texts_that_are_too_long_or_empty_are_refused() {
    let floor = Floor::open().await;
    for (field, value) in [
        ("title", json!("")),
        ("title", json!("   ")),
        ("title", json!("가".repeat(201))),
        ("description", json!("x".repeat(10_001))),
        ("category", json!("")),
        ("category", json!("x".repeat(501))),
        ("image_keys", json!(vec!["x"; 21])),
        ("image_keys", json!([""])),
        ("attributes", json!({"": "x"})),
    ] {
        let answer = floor.sora.create_auction(&with(an_auction(), json!({field: value}))).await;
        assert_eq!(fields(&answer), [field]);
    }
    floor.nothing_was_written().await;
    floor.sora.sells(with(an_auction(), json!({"title": "가".repeat(200)}))).await;
}

#[tokio::test]
async fn a_bad_cursor_is_refused() {
    let floor = Floor::open().await;
    floor.sora.sells(an_auction()).await;
    let page = floor.minji.get("/v1/auctions?limit=1&sort=newest").await.with_status(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let other_order = format!("/v1/auctions?sort=price_asc&cursor={cursor}");
    floor.minji.get(&other_order).await.refused(400, "invalid_cursor");
    let nonsense = URL_SAFE_NO_PAD.encode("newest/x/y");
    let huge = URL_SAFE_NO_PAD.encode(format!("newest/99999999999999999999/{}", floor.id));
    for cursor in ["x", "", "%F0%9F%98%80", &cursor[1..], &nonsense, &huge, &"A".repeat(3_000)] {
        floor
            .minji
            .get(&format!("/v1/auctions?cursor={cursor}"))
            .await
            .refused(400, "invalid_cursor");
        floor
            .minji
            .get(&format!("{}?cursor={cursor}", floor.bids))
            .await
            .refused(400, "invalid_cursor");
    }
    for key in [i64::MIN, -1, i64::MAX] {
        for order in ["ending_soon", "price_asc", "bids"] {
            let cursor = URL_SAFE_NO_PAD.encode(format!("{order}/{key}/{}", floor.id));
            let list = if order == "bids" { floor.bids.clone() } else { "/v1/auctions".into() };
            let path = format!(
                "{list}?cursor={cursor}{}",
                if order == "bids" { String::new() } else { format!("&sort={order}") }
            );
            assert_eq!(floor.minji.get(&path).await.status, 200, "a place, if a strange one");
        }
    }
}

#[tokio::test]
async fn a_bad_limit_or_query_is_refused() {
    let floor = Floor::open().await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=x",
        "limit=1.5",
        "limit=",
        "limit=99999999999999999999",
        "status=sold",
        "sort=random",
        "seller=sora",
        "min_price=0",
        "max_price=-5",
        "min_price=1e9",
        "unknown=1",
        "limit=1&limit=2",
        "q=%ff",
        "min_price=9223372036854775807",
    ] {
        let answer = floor.minji.get(&format!("/v1/auctions?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        answer.refused(400, "invalid_query");
    }
    for query in ["limit=0", "limit=1001", "after_seq=-1", "after_seq=x", "x=1"] {
        floor
            .minji
            .get(&format!("/v1/auctions/{}/log?{query}", floor.id))
            .await
            .refused(400, "invalid_query");
    }
    for query in ["limit=0", "limit=101", "x=1"] {
        floor.minji.get(&format!("{}?{query}", floor.bids)).await.refused(400, "invalid_query");
    }
    let long = format!("/v1/auctions?q={}", "x".repeat(501));
    floor.minji.get(&long).await.refused(400, "invalid_query");
}

#[tokio::test]
async fn an_unknown_path_and_method_are_problems_too() {
    let floor = Floor::open().await;
    for path in [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v2/auctions",
        "/v1/auctions/",
        "/problems/none",
        "/v1/auctions/x/y/z",
        "/%00",
        "/.env",
    ] {
        let answer = floor.minji.get(path).await;
        answer.refused(404, "not_found");
    }
    let request = floor.minji.request(Method::PUT, "/v1/auctions");
    let answer = floor.minji.send(request.json(&json!({}))).await;
    answer.refused(405, "method_not_allowed");
    assert!(
        answer.header("allow").is_some_and(|allow| allow.contains("GET") && allow.contains("POST")),
        "{answer:?}"
    );
    let request = floor.minji.request(Method::DELETE, &floor.bids);
    floor.minji.send(request).await.refused(405, "method_not_allowed");
    floor.nothing_was_written().await;
}

#[tokio::test]
async fn a_problem_comes_in_korean_to_who_prefers_it() {
    let floor = Floor::open().await;
    let low = |languages: &'static str| {
        let request = floor.minji.request(Method::POST, &floor.bids).json(&json!({"amount": 1}));
        let request = request.header("idempotency-key", fresh_key());
        floor.minji.send(request.header("accept-language", languages))
    };
    for languages in ["ko", "ko-KR", "KO-kr,en;q=0.5", "fr,ko;q=0.9,en;q=0.8"] {
        let answer = low(languages).await;
        let problem = answer.refused(409, "bid_too_low");
        assert_eq!(problem["title"], "최소 입찰가보다 낮습니다", "{languages}");
        assert_eq!(problem["detail"], "minimum_next_bid 이상으로 입찰하세요.");
        assert_eq!(answer.header("content-language"), Some("ko"));
    }
    for languages in ["en", "en-US,ko;q=0.5", "fr", "*", "", "ko;q=0,en", "en;q=0.9, ko;q=0.1"] {
        let answer = low(languages).await;
        assert_eq!(answer.json()["title"], "The bid is below the minimum next bid", "{languages}");
        assert_eq!(answer.header("content-language"), Some("en"));
    }
    let better = low("en;q=0.1, ko;q=0.9").await;
    assert_eq!(better.header("content-language"), Some("ko"), "by preference, not by order");
    let request = floor.minji.request(Method::GET, "/nothing").header("accept-language", "ko");
    let answer = floor.minji.send(request).await;
    assert_eq!(answer.refused(404, "not_found")["title"], "찾을 수 없습니다");
}

#[tokio::test]
async fn requests_that_are_not_http_do_not_disturb_anybody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let floor = Floor::open().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"POST /v1/auctions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /v1/auctions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut socket = tokio::net::TcpStream::connect(floor.server.address()).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let reading = socket.read_to_end(&mut answer);
        let _ = crate::support::wait::promptly("the connection ends", reading).await;
        let said = String::from_utf8_lossy(&answer);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    floor.minji.get("/v1/time").await.with_status(200);
    floor.nothing_was_written().await;
}
