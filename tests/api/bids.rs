//! Bidding: receipts, refusals, retries, retraction, lists.

use hoga::http::auctions::bids::{OutcomeWord, ReceiptBody};
use serde_json::{Value, json};

use super::log::assert_chained;
use crate::support::{Answer, TestServer, an_auction, fresh_key, in_s, in_time, with};

#[track_caller]
fn receipt(answer: &Answer) -> ReceiptBody {
    answer.with_status(201);
    serde_json::from_slice(&answer.bytes).expect("a receipt and nothing else")
}

fn won(amount: i64) -> Value {
    json!({"amount": amount, "currency": "KRW"})
}

#[tokio::test]
async fn a_first_bid_leads_at_the_opening_price() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    let answer = minji.offers_up_to(&id, 50_000).await;
    let receipt = receipt(&answer);
    assert_eq!(receipt.outcome, OutcomeWord::Leading);
    assert_eq!(receipt.auction_id.to_string(), id);
    assert!(receipt.received_at <= receipt.decided_at && receipt.decided_at < receipt.ends_at);
    let json = answer.json();
    assert_eq!(json["price"], won(10_000));
    assert_eq!(json["minimum_next_bid"], won(11_000));
    let entry = &minji.log(&id).await[usize::try_from(receipt.seq).unwrap() - 1];
    assert_eq!(entry["hash"], receipt.hash.as_str());
    assert_eq!(entry["type"], "bid.placed");
}

#[tokio::test]
async fn the_higher_ceiling_leads_and_the_other_is_told_that_it_is_outbid() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    minji.offers_up_to(&id, 50_000).await.with_status(201);
    let beaten = minji_is_still_ahead(&junho.offers_up_to(&id, 30_000).await);
    assert_eq!(beaten["price"], won(31_000));
    let ahead = junho.offers_up_to(&id, 60_000).await;
    assert_eq!(receipt(&ahead).outcome, OutcomeWord::Leading);
    assert_eq!(ahead.json()["price"], won(51_000));
    let equal = minji.offers_up_to(&id, 60_000).await;
    assert_eq!(receipt(&equal).outcome, OutcomeWord::Outbid, "the earlier of equals leads");
    assert_eq!(equal.json()["price"], won(60_000));
}

#[track_caller]
fn minji_is_still_ahead(answer: &Answer) -> Value {
    assert_eq!(receipt(answer).outcome, OutcomeWord::Outbid);
    answer.json()
}

#[tokio::test]
async fn a_bid_below_the_minimum_is_refused_with_the_minimum() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    let low = minji.offers(&id, 9_999).await.refused(409, "bid_too_low");
    assert_eq!(low["minimum_next_bid"], won(10_000));
    minji.offers(&id, 10_000).await.with_status(201);
    let low = junho.offers(&id, 10_999).await.refused(409, "bid_too_low");
    assert_eq!(low["minimum_next_bid"], won(11_000));
    assert_eq!(low["price"], won(10_000));
    assert_eq!(low["seq"], 3);
    assert!(low["ends_at"].is_string());
    junho.offers(&id, 11_000).await.with_status(201);
}

#[tokio::test]
async fn the_leader_raises_a_ceiling_and_nothing_else() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    minji.offers_up_to(&id, 50_000).await.with_status(201);
    minji.offers_up_to(&id, 50_000).await.refused(409, "already_leading");
    minji.offers_up_to(&id, 40_000).await.refused(409, "already_leading");
    minji.offers(&id, 60_000).await.refused(409, "already_leading");
    let raised = minji.offers_up_to(&id, 60_000).await.with_status(201);
    assert_eq!(raised["price"], won(10_000), "the price does not move");
}

#[tokio::test]
async fn a_bid_that_expects_another_state_is_refused() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    let bid = |seq: u64| json!({"amount": 20_000, "expected_seq": seq});
    let moved = minji.bid(&id, &bid(1)).await.refused(409, "price_moved");
    assert_eq!(moved["seq"], 2);
    minji.bid(&id, &bid(2)).await.with_status(201);
    junho.bid(&id, &bid(2)).await.refused(409, "price_moved");
}

#[tokio::test]
async fn an_offer_far_above_the_minimum_has_to_be_confirmed() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(with(an_auction(), json!({"opening_price": 200_000}))).await;
    let far = 2_000_001;
    minji.offers(&id, far).await.refused(422, "confirmation_required");
    let wrong = json!({"amount": far, "confirm_amount": far - 1});
    minji.bid(&id, &wrong).await.refused(422, "confirmation_required");
    let right = json!({"amount": far, "confirm_amount": far});
    minji.bid(&id, &right).await.with_status(201);
}

#[tokio::test]
async fn each_bidder_has_as_many_bids_as_the_terms_allow() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(with(an_auction(), json!({"bids_per_bidder_max": 2}))).await;
    assert_eq!(minji.bidding(&id).await["bids_left"], 2);
    minji.offers(&id, 10_000).await.with_status(201);
    junho.offers(&id, 11_000).await.with_status(201);
    junho.offers(&id, 11_500).await.refused(409, "already_leading");
    minji.offers(&id, 12_000).await.with_status(201);
    assert_eq!(minji.bidding(&id).await["bids_left"], 0);
    junho.offers(&id, 13_000).await.with_status(201);
    minji.offers(&id, 14_000).await.refused(422, "bid_limit_reached");
}

#[tokio::test]
async fn the_cap_is_accepted_and_one_more_is_not() {
    let server = TestServer::spawn_with(|config| {
        config.bid_cap = hoga::domain::money::Amount::new(500_000).unwrap();
    });
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    let over = minji.offers_up_to(&id, 500_001).await.refused(422, "over_cap");
    assert_eq!(over["cap"], json!({"amount": 500_000, "currency": "KRW"}));
    minji.offers_up_to(&id, 500_000).await.with_status(201);
}

#[tokio::test]
async fn sellers_do_not_bid_on_their_own_auctions() {
    let server = TestServer::spawn();
    let (sora, sora_bids) = server.seller_who_bids("sora").await;
    let id = sora.sells(with(an_auction(), json!({"buy_now_price": 50_000}))).await;
    sora_bids.offers(&id, 10_000).await.refused(403, "own_auction");
    sora_bids.buys(&id, &json!({})).await.refused(403, "own_auction");
}

#[tokio::test]
async fn only_a_bidder_bids() {
    let server = TestServer::spawn();
    let (sora, admin) = (server.seller("sora").await, server.admin().await);
    let hana = server.seller("hana").await;
    let id = sora.sells(an_auction()).await;
    let path = format!("/v1/auctions/{id}/bids");
    let bid = json!({"amount": 10_000});
    for caller in [&hana.client, &admin.client] {
        let refused = caller.post_with_key(&path, &fresh_key(), &bid).await;
        let refused = refused.refused(403, "not_registered");
        assert!(refused["detail"].as_str().unwrap().contains("an admin gives"), "{refused}");
    }
    let nobody = server.anonymous();
    nobody.post_with_key(&path, &fresh_key(), &bid).await.refused(401, "unauthenticated");
    nobody.get(&format!("/v1/auctions/{id}/bidding")).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn an_auction_that_has_not_opened_takes_no_bid_and_says_when_it_will() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let starts_at = in_s(3_600);
    let later = json!({"starts_at": starts_at, "ends_at": in_s(7_200), "buy_now_price": 20_000});
    let id = sora.sells(with(an_auction(), later)).await;
    let early = minji.offers(&id, 10_000).await.refused(409, "auction_not_live");
    assert_eq!(early["starts_at"], starts_at.as_str());
    minji.buys(&id, &json!({})).await.refused(409, "auction_not_live");
}

#[tokio::test]
async fn buying_now_ends_the_auction_at_that_price() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(with(an_auction(), json!({"buy_now_price": 80_000}))).await;
    let moved = minji.buys(&id, &json!({"amount": 79_999})).await.refused(409, "price_moved");
    assert!(moved["detail"].as_str().unwrap().contains("buy_now_price"), "{moved}");
    let bought = minji.buys(&id, &json!({"amount": 80_000})).await;
    let receipt = receipt(&bought);
    assert_eq!(receipt.outcome, OutcomeWord::Bought);
    assert_eq!(receipt.minimum_next_bid, None);
    assert_eq!(bought.json()["price"], won(80_000));
    let auction = sora.auction(&id).await;
    assert_eq!((&auction["result"], &auction["price"]), (&json!("bought_now"), &won(80_000)));
    junho.buys(&id, &json!({})).await.refused(409, "auction_ended");
    let expected = ["auction.scheduled", "auction.opened", "auction.bought", "auction.closed"];
    assert_eq!(sora.log_types(&id).await, expected);
}

#[tokio::test]
async fn a_bid_takes_the_buy_now_price_away_and_one_that_reaches_it_buys() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let new = with(an_auction(), json!({"buy_now_price": 80_000}));
    let gone = sora.sells(new.clone()).await;
    minji.offers(&gone, 10_000).await.with_status(201);
    assert_eq!(sora.auction(&gone).await["buy_now_price"], Value::Null);
    junho.buys(&gone, &json!({})).await.refused(409, "buy_now_unavailable");
    let reached = sora.sells(new).await;
    let bought = minji.offers_up_to(&reached, 90_000).await;
    assert_eq!(receipt(&bought).outcome, OutcomeWord::Bought);
    assert_eq!(bought.json()["price"], won(80_000));
}

#[tokio::test]
async fn buyers_at_the_same_time_are_one_buyer() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(with(an_auction(), json!({"buy_now_price": 80_000}))).await;
    let mut buyers = Vec::new();
    for n in 0..16 {
        buyers.push(server.bidder(&format!("buyer-{n}")).await);
    }
    let body = json!({});
    let attempts = buyers.iter().map(|buyer| buyer.buys(&id, &body));
    let answers = futures_util::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for lost in answers.iter().filter(|answer| answer.status != 201) {
        lost.refused(409, "auction_ended");
    }
}

#[tokio::test]
async fn a_retracted_bid_gives_the_lead_and_the_price_back() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    minji.offers_up_to(&id, 20_000).await.with_status(201);
    let seq = junho.offers_up_to(&id, 90_000).await.with_status(201)["seq"].clone();
    minji.retracts(&id, &seq, "not mine").await.refused(403, "not_your_bid");
    junho.retracts(&id, &json!(99), "nothing there").await.refused(404, "bid_not_found");
    junho.retracts(&id, &json!(1), "not a bid").await.refused(404, "bid_not_found");
    let answer = junho.retracts(&id, &seq, "0을 하나 더 눌렀습니다").await;
    assert_eq!(receipt(&answer).outcome, OutcomeWord::Retracted);
    assert_eq!(answer.json()["price"], won(10_000));
    junho.retracts(&id, &seq, "again").await.refused(409, "bid_already_retracted");
    assert_eq!(minji.bidding(&id).await["leading"], true);
    let bids = sora.pages(&format!("/v1/auctions/{id}/bids")).await;
    let retracted: Vec<&Value> = bids.iter().map(|bid| &bid["retracted"]).collect();
    assert_eq!(retracted, [true, false]);
}

#[tokio::test]
async fn in_the_last_twelve_hours_a_bid_is_retracted_within_the_hour() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(with(an_auction(), json!({"ends_at": in_s(3_600)}))).await;
    let seq = minji.offers(&id, 10_000).await.with_status(201)["seq"].clone();
    minji.retracts(&id, &seq, "a slip").await.with_status(201);
}

#[tokio::test]
async fn a_bidder_sees_where_they_stand() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    let before = minji.bidding(&id).await;
    assert_eq!((&before["alias"], &before["leading"]), (&Value::Null, &json!(false)));
    assert_eq!(before["suggested"], json!([won(10_000), won(11_000), won(12_000)]));
    minji.offers_up_to(&id, 50_000).await.with_status(201);
    let leading = minji.bidding(&id).await;
    assert_eq!((&leading["leading"], &leading["my_ceiling"]), (&json!(true), &won(50_000)));
    assert_eq!(leading["minimum_next_bid"], won(50_001));
    assert_eq!(leading["alias"], "bidder-1");
    junho.offers(&id, 60_000).await.with_status(201);
    let beaten = minji.bidding(&id).await;
    assert_eq!((&beaten["leading"], &beaten["minimum_next_bid"]), (&json!(false), &won(61_000)));
    let missing = uuid::Uuid::now_v7();
    let path = format!("/v1/auctions/{missing}/bidding");
    minji.get(&path).await.refused(404, "auction_not_found");
}

#[tokio::test]
async fn a_leader_is_suggested_round_offers_above_their_ceiling() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora
        .sells(with(an_auction(), json!({"increment": {"kind": "table", "table": "won"}})))
        .await;
    minji.offers_up_to(&id, 98_000).await.with_status(201);
    let bidding = minji.bidding(&id).await;
    assert_eq!(bidding["minimum_next_bid"], won(98_001));
    // Steps of 2,500 below 100,000, and of 5,000 from there.
    assert_eq!(bidding["suggested"], json!([won(100_000), won(105_000), won(110_000)]));
    minji.offers_up_to(&id, 100_000).await.with_status(201);
    let bidding = minji.bidding(&id).await;
    assert_eq!(bidding["suggested"], json!([won(105_000), won(110_000), won(115_000)]));
}

#[tokio::test]
async fn an_offer_too_large_to_read_is_over_the_cap_as_any_other() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    let path = format!("/v1/auctions/{id}/bids");
    let too_large = [
        "1000000000001".to_owned(),
        (1_i64 << 53).to_string(),
        i64::MAX.to_string(),
        "9223372036854775808".to_owned(),
        "9".repeat(30),
        "9".repeat(400),
    ];
    for number in &too_large {
        for field in ["amount", "max_amount"] {
            let body = format!("{{\"{field}\": {number}}}");
            minji.post_bytes(&path, body).await.refused(422, "over_cap");
        }
    }
    for not_integers in ["1.5", "\"9223372036854775808\"", "-9223372036854775809"] {
        let body = format!("{{\"amount\": {not_integers}}}");
        minji.post_bytes(&path, body).await.refused(422, "invalid_request");
    }
}

#[tokio::test]
async fn where_nobody_can_bid_any_more_there_is_no_minimum() {
    const CAP: i64 = 1_000_000_000_000;
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let junho = server.bidder("junho").await;
    let id = sora.sells(with(an_auction(), json!({"opening_price": CAP}))).await;
    let mut stream = minji.events(&id).await;
    assert_eq!(stream.next().await.unwrap().data["minimum_next_bid"], won(CAP));
    let receipt = minji.offers(&id, CAP).await.with_status(201);
    assert_eq!(receipt["minimum_next_bid"], Value::Null);
    let told = stream.until("bid.placed").await.pop().unwrap();
    assert_eq!(told.data["minimum_next_bid"], Value::Null);
    assert!(told.data.as_object().unwrap().contains_key("minimum_next_bid"));
    assert_eq!(minji.auction(&id).await["minimum_next_bid"], Value::Null);
    let bids = minji.pages(&format!("/v1/auctions/{id}/bids")).await;
    assert_eq!(bids[0]["minimum_next_bid"], Value::Null);
    for bidder in [&minji, &junho] {
        let bidding = bidder.bidding(&id).await;
        assert_eq!(
            (&bidding["minimum_next_bid"], &bidding["suggested"]),
            (&Value::Null, &json!([]))
        );
    }
    let low = junho.offers(&id, CAP).await.refused(409, "bid_too_low");
    assert_eq!(low.get("minimum_next_bid"), None);
    let snapshot = minji.events(&id).await.next().await.unwrap();
    assert_eq!(snapshot.data["minimum_next_bid"], Value::Null);
}

#[tokio::test]
async fn the_minimum_stands_beside_the_price_in_bids_and_in_every_event() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let soft_close = json!({"trigger_window_s": 3_600, "extension_s": 60, "mode": "extend",
        "max_ends_at": in_s(7_200)});
    let terms = json!({"ends_at": in_s(3_000), "buy_now_price": 90_000, "soft_close": soft_close,
        "reserve_price": 80_000});
    let id = sora.sells(with(an_auction(), terms)).await;
    let mut stream = minji.events_after(&id, "0").await;
    minji.offers(&id, 10_000).await.with_status(201);
    let mut told = stream.until("auction.extended").await;
    let junho = server.bidder("junho").await;
    junho.buys(&id, &json!({})).await.with_status(201);
    told.extend(stream.until("auction.closed").await);
    let minimum = |kind: &str| {
        let event = told.iter().find(|told| told.event == kind).expect("it was told");
        event.data.get("minimum_next_bid").cloned()
    };
    for (kind, expected) in [
        ("auction.scheduled", won(10_000)),
        ("bid.placed", won(11_000)),
        ("auction.extended", won(11_000)),
        ("auction.bought", Value::Null),
        ("auction.closed", Value::Null),
    ] {
        assert_eq!(minimum(kind), Some(expected), "{kind}");
    }
    let bids = minji.pages(&format!("/v1/auctions/{id}/bids")).await;
    assert_eq!((&bids[0]["price"], &bids[0]["minimum_next_bid"]), (&won(10_000), &won(11_000)));
}

#[tokio::test]
async fn without_a_reserve_nothing_says_whether_it_is_met() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    assert_eq!(sora.auction(&id).await["reserve_met"], Value::Null);
    let mut stream = minji.events(&id).await;
    assert_eq!(stream.next().await.unwrap().data["reserve_met"], Value::Null);
    let receipt = minji.offers(&id, 10_000).await.with_status(201);
    assert_eq!(receipt["reserve_met"], Value::Null);
    assert_eq!(minji.auction(&id).await["reserve_met"], Value::Null);
    let log = minji.log(&id).await;
    let bid = log.iter().find(|entry| entry["type"] == "bid.placed").unwrap();
    assert_eq!(bid["data"]["reserve_met"], Value::Null);
    let reserved = sora.sells(with(an_auction(), json!({"reserve_price": 20_000}))).await;
    assert_eq!(minji.auction(&reserved).await["reserve_met"], false);
    assert_eq!(minji.offers(&reserved, 10_000).await.with_status(201)["reserve_met"], false);
}

#[tokio::test]
async fn bids_are_listed_newest_first_by_alias_and_page_by_page() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    let path = format!("/v1/auctions/{id}/bids");
    assert_eq!(sora.pages(&path).await, Vec::<Value>::new());
    for n in 0..7 {
        let bidder = if n % 2 == 0 { &minji } else { &junho };
        bidder.offers(&id, 10_000 + n * 1_000).await.with_status(201);
    }
    junho.offers_up_to(&id, 40_000).await.with_status(201);
    let bids = server.anonymous().pages(&format!("{path}?limit=3")).await;
    assert_eq!(bids.len(), 8);
    assert_eq!((&bids[0]["bidder"], &bids[0]["amount"]), (&json!("bidder-2"), &Value::Null));
    assert_eq!((&bids[7]["bidder"], &bids[7]["amount"]), (&json!("bidder-1"), &won(10_000)));
    let seqs: Vec<u64> = bids.iter().map(|bid| bid["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a > b));
    let other = sora.sells(an_auction()).await;
    let cursor = sora.get(&format!("{path}?limit=3")).await.json()["next_cursor"].clone();
    let foreign = format!("/v1/auctions/{other}/bids?cursor={}", cursor.as_str().unwrap());
    sora.get(&foreign).await.refused(400, "invalid_cursor");
    let missing = format!("/v1/auctions/{}/bids", uuid::Uuid::now_v7());
    sora.get(&missing).await.refused(404, "auction_not_found");
}

/// Bids that come to every kind of answer, as (key, path, body).
fn requests(id: &str) -> Vec<(String, String, Value)> {
    let bids = format!("/v1/auctions/{id}/bids");
    let buy = format!("/v1/auctions/{id}/buy-now");
    vec![
        (fresh_key(), bids.clone(), json!({"amount": 1})),
        (fresh_key(), bids.clone(), json!({"max_amount": 50_000})),
        (fresh_key(), bids.clone(), json!({"max_amount": 40_000})),
        (fresh_key(), bids.clone(), json!({"amount": 90_000_000})),
        (fresh_key(), bids.clone(), json!({"amount": 60_000, "expected_seq": 1})),
        (fresh_key(), bids, json!({"amount": 9_007_199_254_740_991_i64})),
        (fresh_key(), buy, json!({})),
    ]
}

#[tokio::test]
async fn the_same_key_and_request_hears_the_first_answer_to_the_byte_also_after_a_restart() {
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let junho = server.bidder("junho").await;
    let id = sora.sells(an_auction()).await;
    let mut first = Vec::new();
    for (key, path, body) in requests(&id) {
        let answer = minji.post_with_key(&path, &key, &body).await;
        first.push((key, path, body, answer));
    }
    let statuses: Vec<u16> = first.iter().map(|(.., answer)| answer.status).collect();
    assert_eq!(statuses, [409, 201, 409, 409, 409, 422, 409]);
    // What has changed since does not count.
    junho.offers(&id, 80_000).await.with_status(201);
    let written = server.database.written().await;
    for round in ["at once", "after a restart"] {
        for (key, path, body, answer) in &first {
            minji.post_with_key(path, key, body).await.is_again(answer);
        }
        assert_eq!(server.database.written().await, written, "{round}");
        server.restart();
    }
}

#[tokio::test]
async fn the_same_key_with_another_request_is_refused() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let (id, other) = (sora.sells(an_auction()).await, sora.sells(an_auction()).await);
    sora.auction_once(&other, "live").await;
    let key = fresh_key();
    let seq =
        minji.bid_with_key(&id, &key, &json!({"amount": 10_000})).await.with_status(201)["seq"]
            .clone();
    let written = server.database.written().await;
    for (path, body) in [
        (format!("/v1/auctions/{id}/bids"), json!({"amount": 10_001})),
        (format!("/v1/auctions/{id}/bids"), json!({"max_amount": 10_000})),
        (format!("/v1/auctions/{id}/bids"), json!({"amount": 10_000, "expected_seq": 2})),
        (format!("/v1/auctions/{other}/bids"), json!({"amount": 10_000})),
        (format!("/v1/auctions/{id}/buy-now"), json!({"amount": 10_000})),
        (format!("/v1/auctions/{id}/bids/{seq}/retraction"), json!({"reason": "x"})),
    ] {
        let answer = minji.post_with_key(&path, &key, &body).await;
        answer.refused(422, "idempotency_key_reused");
    }
    assert_eq!(server.database.written().await, written);
}

#[tokio::test]
async fn the_same_key_at_the_same_time_is_one_bid() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    let (key, bid) = (fresh_key(), json!({"max_amount": 50_000}));
    let attempts = (0..32).map(|_| minji.bid_with_key(&id, &key, &bid));
    let answers = futures_util::future::join_all(attempts).await;
    for answer in &answers {
        answer.is_again(&answers[0]);
    }
    answers[0].with_status(201);
    let expected = ["auction.scheduled", "auction.opened", "bid.placed"];
    assert_eq!(sora.log_types(&id).await, expected);
}

#[tokio::test]
async fn an_answered_key_among_new_bids_hears_its_answer_and_undoes_none_of_them() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id =
        sora.sells(with(an_auction(), json!({"increment": {"kind": "fixed", "step": 1}}))).await;
    let low = (fresh_key(), json!({"amount": 1}));
    let first = (fresh_key(), json!({"amount": 10_000}));
    let refused = minji.bid_with_key(&id, &low.0, &low.1).await;
    let accepted = minji.bid_with_key(&id, &first.0, &first.1).await;
    // Longer than what is looked up after one repeat: some batches meet it unprepared.
    let mut amount = 10_001;
    for _ in 0..150 {
        let (hers, his) = (json!({"amount": amount + 1}), json!({"amount": amount}));
        let (again, no, new, other) = tokio::join!(
            minji.bid_with_key(&id, &first.0, &first.1),
            minji.bid_with_key(&id, &low.0, &low.1),
            junho.bid(&id, &his),
            minji.bid(&id, &hers),
        );
        again.is_again(&accepted);
        no.is_again(&refused);
        for answer in [&new, &other] {
            assert!(matches!(answer.status, 201 | 409), "{}", answer.text());
        }
        assert!(new.status == 201 || other.status == 201);
        amount += 2;
    }
    let log = sora.log(&id).await;
    assert_chained(&id, &log);
    let bids = log.iter().filter(|entry| entry["type"] == "bid.placed").count();
    assert_eq!(sora.auction(&id).await["bid_count"], bids);
}

/// Postgres undoes a batch, once; then everything goes well.
const UNDO_ONE_BATCH: &str = "
    CREATE SEQUENCE batches;
    CREATE FUNCTION undo_the_first() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('batches') = 1 THEN
            RAISE EXCEPTION USING ERRCODE = 'serialization_failure';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER undo_the_first AFTER INSERT ON receipts
        FOR EACH STATEMENT EXECUTE FUNCTION undo_the_first()";

#[tokio::test]
async fn a_refusal_that_was_decided_twice_is_answered_and_kept_as_one() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    let (key, too_low) = (fresh_key(), json!({"amount": 1}));
    server.database.rows(UNDO_ONE_BATCH).await;
    let refused = minji.bid_with_key(&id, &key, &too_low).await;
    assert_eq!(server.database.number("SELECT last_value FROM batches").await, 2);
    refused.refused(409, "bid_too_low");
    minji.bid_with_key(&id, &key, &too_low).await.is_again(&refused);
}

#[tokio::test]
async fn the_same_key_on_two_auctions_at_the_same_time_bids_on_one() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    for _ in 0..8 {
        let ids = [sora.sells(an_auction()).await, sora.sells(an_auction()).await];
        let (key, bid) = (fresh_key(), json!({"amount": 10_000}));
        let attempts = ids.iter().map(|id| minji.bid_with_key(id, &key, &bid));
        let answers = futures_util::future::join_all(attempts).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 422], "{answers:?}");
    }
}

#[tokio::test]
async fn the_key_of_one_user_never_meets_anothers() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
    let id = sora.sells(an_auction()).await;
    let key = fresh_key();
    let hers = minji.bid_with_key(&id, &key, &json!({"max_amount": 50_000})).await;
    let his = junho.bid_with_key(&id, &key, &json!({"max_amount": 60_000})).await;
    assert_eq!(receipt(&hers).seq + 1, receipt(&his).seq);
    let his_again = junho.bid_with_key(&id, &key, &json!({"max_amount": 60_000})).await;
    his_again.is_again(&his);
}

#[tokio::test]
async fn a_retry_after_the_end_hears_that_the_bid_was_accepted() {
    let (key, bid) = (fresh_key(), json!({"amount": 10_000}));
    let (_server, sora, minji, id, first) = in_time(async |soon| {
        let server = TestServer::spawn();
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        let id = sora.sells(with(an_auction(), json!({"ends_at": soon.in_ms(1_500)}))).await;
        let first = minji.bid_with_key(&id, &key, &bid).await;
        first.with_status(201);
        (server, sora, minji, id, first)
    })
    .await;
    assert_eq!(sora.auction_once(&id, "ended").await["result"], "sold");
    minji.bid_with_key(&id, &key, &bid).await.is_again(&first);
    minji.bid(&id, &bid).await.refused(409, "auction_ended");
}

#[tokio::test]
async fn many_bidders_at_the_same_time_leave_one_leader_and_no_gap() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    let mut bidders = Vec::new();
    for n in 0..40 {
        bidders.push(server.bidder(&format!("bidder {n}")).await);
    }
    let attempts = bidders.iter().zip(0..).map(|(bidder, n)| {
        let id = id.clone();
        async move { bidder.offers_up_to(&id, 20_000 + n * 1_500).await }
    });
    let answers = futures_util::future::join_all(attempts).await;
    let accepted: Vec<u64> = answers
        .iter()
        .filter(|answer| answer.status == 201)
        .map(|answer| receipt(answer).seq)
        .collect();
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        refused.refused(409, "bid_too_low");
    }
    let log = sora.log(&id).await;
    assert_eq!(log.len(), accepted.len() + 2);
    let prices: Vec<i64> =
        log.iter().map(|entry| entry["data"]["price"]["amount"].as_i64().unwrap()).collect();
    assert!(prices.is_sorted());
    assert_eq!(bidders[39].bidding(&id).await["leading"], true, "the highest ceiling leads");
}
