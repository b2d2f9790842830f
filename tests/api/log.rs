//! The public log: anybody can recompute it, and nothing private is in it.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Answer, TestServer, an_auction, auctions::Soon, in_ms, in_time, logs, with};

fn sha256_hex(bytes: &[u8]) -> String {
    const_hex::encode(Sha256::digest(bytes))
}

/// By RFC 8785 and SHA-256, from what was answered and nothing else.
pub fn assert_chained(auction_id: &str, entries: &[Value]) {
    assert_eq!((&entries[0]["seq"], &entries[0]["prev_hash"]), (&json!(1), &json!("0".repeat(64))));
    assert_chain_goes_on(auction_id, entries);
}

/// The same of a part of a log.
pub fn assert_chain_goes_on(auction_id: &str, entries: &[Value]) {
    let mut prev_hash = entries[0]["prev_hash"].as_str().expect("a hash").to_owned();
    let first_seq = entries[0]["seq"].as_u64().expect("a number");
    for (entry, seq) in entries.iter().zip(first_seq..) {
        assert_eq!(entry["seq"], seq, "no gap");
        assert_eq!(entry["prev_hash"], prev_hash.as_str());
        let hashed = json!({
            "auction_id": auction_id, "seq": entry["seq"], "type": entry["type"],
            "at": entry["at"], "data": entry["data"], "prev_hash": entry["prev_hash"],
        });
        let canonical = serde_jcs::to_vec(&hashed).expect("canonical JSON");
        prev_hash = sha256_hex(&canonical);
        assert_eq!(entry["hash"], prev_hash.as_str(), "entry {seq}");
    }
}

/// An auction whose log has every kind of event that bidding makes.
async fn a_whole_life(server: &TestServer) -> String {
    in_time(async |soon| lived(server, soon).await).await
}

async fn lived(server: &TestServer, soon: &Soon) -> String {
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let terms = json!({
        "title": "\"달\"\\항\u{1f3fa}아리", "attributes": {"é": "ü", "a": "\u{2028}\u{7f}\n", "\u{1f600}": "x"},
        "starts_at": soon.in_ms(2_000), "ends_at": soon.in_ms(5_000),
        "soft_close": {"trigger_window_s": 60, "extension_s": 1, "mode": "reset",
            "max_ends_at": soon.in_ms(7_000)},
    });
    let id = sora.sells(with(an_auction(), terms)).await;
    sora.update(&id, "*", &json!({"description": "다시 씀"})).await.with_status(200);
    sora.auction_once(&id, "live").await;
    minji.offers(&id, 10_000).await.with_status(201);
    let seq = junho.offers_up_to(&id, 90_000).await.with_status(201)["seq"].clone();
    junho.retracts(&id, &seq, "a slip").await.with_status(201);
    sora.auction_once(&id, "ended").await;
    id
}

#[tokio::test]
async fn anybody_can_recompute_the_log_from_what_is_answered() {
    let server = TestServer::spawn();
    let id = a_whole_life(&server).await;
    let log = server.anonymous().log(&id).await;
    assert_chained(&id, &log);
    let types: Vec<&str> = log.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    for kind in [
        "auction.scheduled",
        "auction.edited",
        "auction.opened",
        "bid.placed",
        "bid.retracted",
        "auction.closed",
    ] {
        assert!(types.contains(&kind), "{kind} is not in {types:?}");
    }
    let data = &log.last().unwrap()["data"];
    assert_eq!((&data["result"], &data["winner"]), (&json!("sold"), &json!("bidder-1")));
}

#[tokio::test]
async fn a_page_of_the_log_ends_by_its_bytes_as_well() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(with(an_auction(), json!({"starts_at": in_ms(3_600_000)}))).await;
    // About 30 KB each.
    for n in 0..45 {
        let description = format!("{n}{}", "가".repeat(9_990));
        sora.update(&id, "*", &json!({"description": description})).await.with_status(200);
    }
    let anyone = server.anonymous();
    let first = anyone.get(&format!("/v1/auctions/{id}/log")).await;
    assert!(first.bytes.len() < (1 << 20) + 65_536, "{} bytes", first.bytes.len());
    let page = first.with_status(200);
    let items = page["items"].as_array().unwrap();
    assert!(items.len() > 30, "{} entries", items.len());
    assert_eq!(page["next_after_seq"], items.last().unwrap()["seq"], "there is more");
    let log = anyone.log(&id).await;
    assert_eq!(log.len(), 46);
    assert_chained(&id, &log);
}

#[tokio::test]
async fn a_long_log_is_read_in_parts_that_chain() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    for n in 0..10 {
        let bidder = if n % 2 == 0 { &minji } else { &junho };
        bidder.offers(&id, 10_000 + n * 1_000).await.with_status(201);
    }
    let anyone = server.anonymous();
    let mut entries = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let path = format!("/v1/auctions/{id}/log?limit=5&after_seq={after}");
        let page = anyone.get(&path).await.with_status(200);
        assert!(page["items"].as_array().unwrap().len() <= 5);
        entries.extend(page["items"].as_array().unwrap().iter().cloned());
        after = page["next_after_seq"].clone();
    }
    assert_eq!(entries.len(), 12);
    assert_chained(&id, &entries);
    let beyond = anyone.get(&format!("/v1/auctions/{id}/log?after_seq=12")).await.with_status(200);
    assert_eq!((&beyond["items"], &beyond["next_after_seq"]), (&json!([]), &Value::Null));
    let missing = format!("/v1/auctions/{}/log", uuid::Uuid::now_v7());
    anyone.get(&missing).await.refused(404, "auction_not_found");
}

#[tokio::test]
async fn a_bidder_opens_the_commitment_to_their_ceiling_with_the_receipt() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    let receipt = minji.offers_up_to(&id, 54_321).await.with_status(201);
    let salt = const_hex::decode(receipt["ceiling_salt"].as_str().unwrap()).unwrap();
    let entry = &sora.log(&id).await[2];
    let opened = sha256_hex(&[&salt[..], b"54321"].concat());
    assert_eq!(entry["data"]["ceiling_commitment"], opened.as_str());
    let exact = server.bidder("junho").await.offers(&id, 60_000).await.with_status(201);
    assert_eq!(exact["ceiling_salt"], Value::Null, "an exact bid is public");
}

#[tokio::test]
async fn the_end_of_the_log_is_signed_with_a_published_key() {
    let server = TestServer::spawn();
    let id = a_whole_life(&server).await;
    let anyone = server.anonymous();
    let checkpoint =
        anyone.get(&format!("/v1/auctions/{id}/log/checkpoint")).await.with_status(200);
    let log = anyone.log(&id).await;
    assert_eq!(checkpoint["count"], log.len());
    assert_eq!(checkpoint["head_hash"], log.last().unwrap()["hash"]);
    let keys = anyone.get("/.well-known/jwks.json").await.with_status(200);
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == checkpoint["kid"]);
    let key = key.expect("the key that signed is published");
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"))
    );
    assert_eq!(key["d"], Value::Null, "the public half alone");
    let signed = serde_jcs::to_vec(&json!({
        "auction_id": id, "count": checkpoint["count"], "head_hash": checkpoint["head_hash"],
    }))
    .unwrap();
    let bytes = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap();
    let public = UnparsedPublicKey::new(&ED25519, bytes(&key["x"]));
    let signature = bytes(&checkpoint["signature"]);
    public.verify(&signed, &signature).expect("the signature holds");
    let mut other = signed;
    other[20] ^= 1;
    assert!(public.verify(&other, &signature).is_err());
}

/// Digits that stand nowhere by chance.
const CEILING: i64 = 7_318_264_591;
const LOWER_CEILING: i64 = 6_127_395_842;
/// Out of reach: once it is met, it is the price.
const RESERVE: i64 = 8_926_173_849;

#[tokio::test]
async fn no_ceiling_reserve_or_bidders_id_is_in_any_public_answer_stream_or_log_line() {
    let (_server, (sora, anyone), (minji, junho), id, (mut one, mut many), mut public) =
        in_time(async |soon| {
            let server = TestServer::spawn();
            let (sora, anyone) = (server.seller("sora").await, server.anonymous());
            let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
            let terms = json!({"opening_price": 2_000_000_000, "reserve_price": RESERVE,
            "ends_at": soon.in_ms(4_000), "category": "art"});
            let id = sora.sells(with(an_auction(), terms)).await;
            let one = anyone.events(&id).await;
            let many = anyone.stream(&format!("/v1/events?auctions={id}"), None).await;
            let mut public: Vec<Answer> = Vec::new();
            minji.offers_up_to(&id, CEILING).await.with_status(201);
            public.push(junho.offers_up_to(&id, LOWER_CEILING).await);
            public.push(junho.offers(&id, 2_000_000_000).await);
            let expected = json!({"amount": 9_000_000_000_i64, "expected_seq": 1});
            public.push(junho.bid(&id, &expected).await);
            public.push(junho.get(&format!("/v1/auctions/{id}/bidding")).await);
            let seq = minji.bidding(&id).await["seq"].as_u64().unwrap() - 1;
            public.push(junho.retracts(&id, &json!(seq), "not mine: 개인정보").await);
            assert_eq!(anyone.auction(&id).await["status"], "live", "all in time");
            (server, (sora, anyone), (minji, junho), id, (one, many), public)
        })
        .await;
    sora.auction_once(&id, "ended").await;
    one.until("auction.closed").await;
    many.until("auction.closed").await;
    let mut bytes: Vec<Vec<u8>> = vec![one.raw, many.raw];
    for path in ["", "/bids", "/log", "/log/checkpoint"] {
        public.push(anyone.get(&format!("/v1/auctions/{id}{path}")).await);
    }
    public.push(anyone.get("/v1/auctions").await);
    // His own ceiling is his to see.
    let is_his_own = |answer: &Answer| answer.text().contains("my_ceiling");
    let hidden =
        [CEILING.to_string(), RESERVE.to_string(), minji.id.to_string(), junho.id.to_string()];
    for answer in &public {
        for secret in &hidden {
            assert!(!answer.text().contains(secret), "{secret} is in {}", answer.text());
        }
        let lower = LOWER_CEILING.to_string();
        let shows_lower = answer.text().contains(&lower);
        assert!(!shows_lower || is_his_own(answer), "{lower} is in {}", answer.text());
        bytes.push(answer.bytes.to_vec());
    }
    bytes.push(logs::kept().into_bytes());
    let tokens = [minji.token().to_owned(), junho.token().to_owned(), "개인정보".to_owned()];
    for secret in hidden.iter().chain(&tokens) {
        for text in bytes.iter().map(|bytes| String::from_utf8_lossy(bytes)) {
            let at = text.find(secret.as_str());
            assert_eq!(
                at,
                None,
                "{secret} in {}",
                &text[at.unwrap_or(0)..][..200.min(text.len() - at.unwrap_or(0))]
            );
        }
    }
}
