//! Leaving: what keeps somebody, what goes, what stays, and for how long.

use futures_util::future::{join, join_all};
use hoga::{
    accounts::leaving::{self, LeavingError},
    domain::{id::UserId, time::Timestamp},
    store::OpenKind,
    wall_clock,
};
use serde_json::{Value, json};

use crate::support::{
    Answer, Bidder, Client, Seller, TestServer, an_auction, eventually, in_s, in_time,
    sells_briefly, with,
};

async fn leaves(caller: &Client) -> Answer {
    caller.remove("/v1/me").await
}

/// What keeps somebody: kinds and auctions.
#[track_caller]
fn open(answer: &Answer) -> Vec<(String, String)> {
    let problem = answer.refused(409, "account_in_use");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = problem["open"].as_array().expect("what is open").iter();
    items.map(|item| (text(&item["kind"]), text(&item["auction_id"]))).collect()
}

fn is_open(kind: &str, id: &str) -> Vec<(String, String)> {
    vec![(kind.to_owned(), id.to_owned())]
}

/// A sold auction: its seller, its winner, who came second, and its id.
struct Sold {
    server: TestServer,
    sora: Seller,
    minji: Bidder,
    junho: Bidder,
    id: String,
}

impl Sold {
    async fn just_now() -> Sold {
        let sold = in_time(async |soon| {
            let server = TestServer::spawn();
            let sora = server.seller("sora").await;
            let (minji, junho) = (server.bidder("minji").await, server.bidder("junho").await);
            let id = sora.sells(with(an_auction(), json!({"ends_at": soon.in_ms(1_500)}))).await;
            junho.offers(&id, 10_000).await.with_status(201);
            minji.offers_up_to(&id, 20_000).await.with_status(201);
            Sold { server, sora, minji, junho, id }
        })
        .await;
        sold.sora.auction_once(&sold.id, "ended").await;
        sold
    }

    /// Everything that is stored of the auction.
    async fn stored(&self) -> Vec<Vec<String>> {
        let mut rows =
            self.server.database.rows("SELECT * FROM events ORDER BY auction_id, seq").await;
        rows.extend(self.server.database.rows("SELECT * FROM standings ORDER BY auction_id").await);
        rows.extend(self.server.database.rows("SELECT * FROM auctions ORDER BY id").await);
        rows.extend(
            self.server.database.rows("SELECT * FROM receipts ORDER BY user_id, key_hash").await,
        );
        rows
    }
}

async fn user_row(server: &TestServer, user: UserId) -> Vec<String> {
    let columns = "nickname, name, kakao_id, birth_year, gender, profile_consent_at, roles, left_at, \
                   records_kept_until, tokens_valid_from";
    let sql = format!("SELECT {columns} FROM users WHERE id = '{user}'");
    server.database.rows(&sql).await.remove(0)
}

#[tokio::test]
async fn who_leads_cannot_leave_until_they_are_outbid() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let junho = server.bidder("junho").await;
    let id = sora.sells(an_auction()).await;
    let auction = sora.auction_once(&id, "live").await;
    minji.offers(&id, 10_000).await.with_status(201);
    let refused = leaves(&minji).await;
    assert_eq!(open(&refused), is_open("leading_bid", &id));
    assert_eq!(refused.json()["open"][0]["due_at"], auction["ends_at"]);
    minji.get("/v1/me").await.with_status(200);
    junho.offers(&id, 12_000).await.with_status(201);
    assert_eq!(leaves(&minji).await.status, 204);
    assert_eq!(open(&leaves(&junho).await), is_open("leading_bid", &id));
}

#[tokio::test]
async fn who_sells_cannot_leave_until_it_is_over() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let scheduled = sora.sells(with(an_auction(), json!({"starts_at": in_s(3_600)}))).await;
    assert_eq!(open(&leaves(&sora).await), is_open("live_sale", &scheduled));
    assert_eq!(sora.delete(&scheduled, "*").await.status, 204);
    let live = in_time(async |soon| {
        let live = sora.sells(with(an_auction(), json!({"ends_at": soon.in_ms(1_500)}))).await;
        assert_eq!(open(&leaves(&sora).await), is_open("live_sale", &live));
        live
    })
    .await;
    sora.auction_once(&live, "ended").await;
    assert_eq!(leaves(&sora).await.status, 204);
}

#[tokio::test]
async fn who_won_cannot_leave_until_the_time_to_pay_is_over() {
    let sold = Sold::just_now().await;
    let refused = leaves(&sold.minji).await;
    assert_eq!(open(&refused), is_open("unpaid_purchase", &sold.id));
    let closed = sold.sora.log(&sold.id).await.pop().unwrap();
    let due_at = &refused.json()["open"][0]["due_at"];
    let in_three_days =
        Timestamp::parse(closed["at"].as_str().unwrap()).unwrap().plus_s(3 * 86_400);
    assert_eq!(due_at, &json!(in_three_days.to_string()));
    assert_eq!(leaves(&sold.junho).await.status, 204, "second is nothing to pay");
    assert_eq!(leaves(&sold.sora).await.status, 204, "and so is a sale that is over");
    sold.server.database.rows("UPDATE events SET at = at - interval '3 days 1 minute'").await;
    assert_eq!(leaves(&sold.minji).await.status, 204);
}

#[tokio::test]
async fn a_purchase_counts_from_when_it_was_made() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(with(an_auction(), json!({"buy_now_price": 50_000}))).await;
    sora.auction_once(&id, "live").await;
    minji.buys(&id, &json!({})).await.with_status(201);
    let refused = leaves(&minji).await;
    assert_eq!(open(&refused), is_open("unpaid_purchase", &id));
    let due_at = refused.json()["open"][0]["due_at"].as_str().unwrap().to_owned();
    assert!(due_at < in_s(3 * 86_400 + 60), "{due_at}: not from ends_at, which is tomorrow");
}

#[tokio::test]
async fn everything_that_is_open_is_listed_up_to_a_hundred() {
    let server = TestServer::spawn();
    let ((sora, bidder), hana) =
        (server.seller_who_bids("sora").await, server.seller("hana").await);
    let sold = hana.sells(an_auction()).await;
    hana.auction_once(&sold, "live").await;
    bidder.offers(&sold, 10_000).await.with_status(201);
    let later = with(an_auction(), json!({"starts_at": in_s(3_600)}));
    for _ in 0..101 {
        sora.sells(later.clone()).await;
    }
    let open = open(&leaves(&sora).await);
    assert_eq!(open.len(), 100);
    assert_eq!(open[0], ("leading_bid".to_owned(), sold));
    assert!(open[1..].iter().all(|(kind, _)| kind == "live_sale"));
}

#[tokio::test]
async fn what_is_personal_goes_at_once() {
    let server = TestServer::spawn();
    let (minji, admin) = (server.bidder("minji").await, server.admin().await);
    let told = json!({"nickname": "민지", "birth_year": 1995, "gender": "female", "profile_consent": true});
    minji.patch("/v1/me", &told).await.with_status(200);
    let address = json!({"recipient": "김민지", "phone": "010-1234-5678", "postal_code": "04524", "line1": "x"});
    minji.post("/v1/me/addresses", &address).await.with_status(201);
    let company = json!({"company_name": "x", "business_number": "1248100998", "representative": "x",
        "contact_email": "x@example.com", "contact_phone": "02-123-4567"});
    let application = minji.post("/v1/me/seller-application", &company).await.with_status(201);
    let family = uuid::Uuid::now_v7();
    server.database.rows(&format!(
        "UPDATE users SET kakao_id = 4711 WHERE id = '{user}'; \
         INSERT INTO clients VALUES ('shop', 'Shop', NULL, '{{}}', '{{}}', NULL, NULL, now(), NULL); \
         INSERT INTO refresh_families VALUES ('{family}', '{user}', 'shop', now(), now() + interval '1 day')",
        user = minji.id,
    )).await;

    assert_eq!(leaves(&minji).await.status, 204);
    let row = user_row(&server, minji.id).await;
    let alias = format!("left-{}", &minji.id.0.simple().to_string()[20..]);
    let nulls = vec!["NULL".to_owned(); 5];
    assert_eq!((&row[0], &row[1..6], row[6].as_str()), (&alias, nulls.as_slice(), "{}"));
    let kept = "SELECT count(*) FROM users WHERE records_kept_until = left_at + interval '5 years'";
    assert_eq!(server.database.number(kept).await, 1);
    for gone in ["addresses", "seller_applications"] {
        assert_eq!(
            server.database.number(&format!("SELECT count(*) FROM {gone}")).await,
            0,
            "{gone}"
        );
    }
    let revoked = server.database.rows("SELECT revoked_because FROM refresh_families").await;
    assert_eq!(revoked, [["left"]]);
    let unlinks =
        server.database.rows("SELECT kakao_id, direction, done_at FROM kakao_unlinks").await;
    assert_eq!(unlinks, [["4711", "ours", "NULL"]]);

    for path in ["/v1/me", "/v1/me/addresses", "/v1/me/seller-application"] {
        minji.get(path).await.refused(401, "token_invalid");
    }
    leaves(&minji).await.refused(401, "token_invalid");
    let seen = admin.get(&format!("/v1/users/{}", minji.id)).await.with_status(200);
    assert_eq!((&seen["nickname"], &seen["roles"]), (&json!(alias), &json!([])));
    assert!(seen["left_at"].is_string() && seen["records_kept_until"].is_string());
    let roles = format!("/v1/users/{}/roles", minji.id);
    admin.put(&roles, &json!({"roles": ["admin"]})).await.refused(409, "account_left");
    let approval =
        format!("/v1/seller-applications/{}/approval", application["id"].as_str().unwrap());
    admin
        .send(admin.request(reqwest::Method::POST, &approval))
        .await
        .refused(404, "seller_application_not_found");
}

#[tokio::test]
async fn without_kakao_nobody_is_unlinked_and_a_name_may_be_used_again() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    assert_eq!(leaves(&minji).await.status, 204);
    assert_eq!(server.database.number("SELECT count(*) FROM kakao_unlinks").await, 0);
    let another = server.bidder("minji").await;
    assert_ne!(another.id, minji.id);
    another.get("/v1/me").await.with_status(200);
}

#[tokio::test]
async fn what_was_traded_stays_to_the_byte() {
    let sold = Sold::just_now().await;
    let (auction, log) = (sold.sora.auction(&sold.id).await, sold.sora.log(&sold.id).await);
    let bids = sold.sora.pages(&format!("/v1/auctions/{}/bids", sold.id)).await;
    let stored = sold.stored().await;
    sold.server.database.rows("UPDATE events SET at = at - interval '4 days'").await;
    for caller in [&sold.minji.client, &sold.junho.client, &sold.sora.client] {
        assert_eq!(leaves(caller).await.status, 204);
    }
    sold.server.database.rows("UPDATE events SET at = at + interval '4 days'").await;
    assert_eq!(sold.stored().await, stored);

    let anyone = sold.server.anonymous();
    assert_eq!(anyone.log(&sold.id).await, log);
    assert_eq!(anyone.pages(&format!("/v1/auctions/{}/bids", sold.id)).await, bids);
    let mut after = anyone.auction(&sold.id).await;
    let alias = format!("left-{}", &sold.sora.id.0.simple().to_string()[20..]);
    assert_eq!(after["seller"]["nickname"], alias.as_str());
    after["seller"] = auction["seller"].clone();
    assert_eq!(after, auction, "price, result and who led, by alias");
    let winner = "SELECT count(*) FROM standings s JOIN users u ON u.id = s.winner_id \
                  WHERE u.left_at IS NOT NULL";
    assert_eq!(sold.server.database.number(winner).await, 1, "the winner is a stored fact");
    let prev = |entry: &Value| entry["prev_hash"].as_str().unwrap().to_owned();
    for pair in log.windows(2) {
        assert_eq!(prev(&pair[1]), pair[0]["hash"].as_str().unwrap());
    }
}

#[tokio::test]
async fn an_auction_goes_on_without_those_who_were_outbid_and_left() {
    let mut server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let junho = server.bidder("junho").await;
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    minji.offers(&id, 10_000).await.with_status(201);
    let leading = junho.offers(&id, 12_000).await.with_status(201);
    assert_eq!(leaves(&minji).await.status, 204);
    // Read again from its log, as after a crash.
    server.restart();
    let (sora, junho) = (server.seller("sora").await, server.bidder("junho").await);
    junho.retracts(&id, &leading["seq"], "잘못 눌렀습니다").await.with_status(201);
    let auction = sora.auction(&id).await;
    assert_eq!(auction["leader_alias"], "bidder-1", "an alias leads, whoever it was");
    assert_eq!(auction["price"]["amount"], 10_000);
}

#[tokio::test]
async fn a_company_is_shown_no_more_but_kept_until_its_time_is_over() {
    let mut server = TestServer::spawn();
    let ((sora, _), admin) = (server.seller_who_bids("sora").await, server.admin().await);
    let company = json!({"company_name": "x", "business_number": "1248100998", "representative": "x",
        "contact_email": "x@example.com", "contact_phone": "02-123-4567"});
    let id = sora.post("/v1/me/seller-application", &company).await.with_status(201)["id"].clone();
    let approval = format!("/v1/seller-applications/{}/approval", id.as_str().unwrap());
    admin.send(admin.request(reqwest::Method::POST, &approval)).await.with_status(200);
    let auction = sells_briefly(&sora, an_auction()).await;
    sora.auction_once(&auction, "ended").await;
    assert_eq!(leaves(&sora).await.status, 204);
    assert_eq!(admin.auction(&auction).await["seller"]["company"], Value::Null);
    assert_eq!(admin.pages("/v1/seller-applications").await.len(), 1, "five years for the house");

    server.restart();
    let admin = server.admin().await;
    assert_eq!(admin.pages("/v1/seller-applications").await.len(), 1, "its time is not over");
    let over = format!(
        "UPDATE users SET records_kept_until = now() - interval '1 second' WHERE id = '{}'",
        sora.id
    );
    server.database.rows(&over).await;
    server.restart();
    let admin = server.admin().await;
    eventually("the records are deleted", || async {
        admin.pages("/v1/seller-applications").await.is_empty().then_some(())
    })
    .await;
    let user = admin.get(&format!("/v1/users/{}", sora.id)).await.with_status(200);
    assert!(user["left_at"].is_string() && user["records_kept_until"].is_null(), "{user}");
    assert_eq!(
        admin.auction(&auction).await["seller"]["id"],
        sora.id.to_string(),
        "the alias stays"
    );
}

#[tokio::test]
async fn who_leaves_twice_at_once_leaves_once() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let (first, second) = join(leaves(&minji), leaves(&minji)).await;
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 401]);
    assert_eq!(
        server.database.number("SELECT count(*) FROM users WHERE left_at IS NOT NULL").await,
        1
    );
}

#[tokio::test]
async fn a_bid_that_comes_in_before_the_account_is_held_keeps_it_as_it_was() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    minji.offers(&id, 10_000).await.with_status(201);
    let before = user_row(&server, minji.id).await;
    let now = wall_clock::now();
    let left = leaving::go(&server.store, minji.id, now, now).await;
    let Err(LeavingError::Open(open)) = left else { panic!("a leader may not leave") };
    let kinds: Vec<OpenKind> = open.iter().map(|matter| matter.kind).collect();
    assert_eq!(kinds, [OpenKind::LeadingBid]);
    assert_eq!(user_row(&server, minji.id).await, before);
    minji.get("/v1/me").await.with_status(200);
}

/// Who leaves while they create auctions has none afterwards, or has not left.
#[tokio::test]
async fn nobody_leaves_with_an_auction_that_they_are_creating() {
    for _ in 0..5 {
        let server = TestServer::spawn();
        let sora = server.seller("sora").await;
        let creating = (0..4).map(|_| async { sora.create_auction(&an_auction()).await });
        let creating = join_all(creating.collect::<Vec<_>>());
        let (left, _) = join(leaves(&sora), creating).await;
        let on_sale = server.database.number("SELECT count(*) FROM auctions").await;
        assert!(left.status == 409 || on_sale == 0, "{left:?} with {on_sale} auctions");
    }
}

#[tokio::test]
async fn a_bid_and_leaving_at_once_come_one_after_the_other() {
    for _ in 0..5 {
        let server = TestServer::spawn();
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        let id = sora.sells(an_auction()).await;
        sora.auction_once(&id, "live").await;
        let (left, bid) = join(leaves(&minji), minji.offers(&id, 10_000)).await;
        match (left.status, bid.status) {
            // The bid was first, or came in between.
            (409, 201) => assert_eq!(open(&left), is_open("leading_bid", &id)),
            // Leaving was first.
            (204, 401) => assert_eq!(sora.auction(&id).await["bid_count"], 0),
            // The bid was let in first and decided last: an alias leads (see `http::me`).
            (204, 201) => assert_eq!(sora.auction(&id).await["leader_alias"], "bidder-1"),
            statuses => panic!("{statuses:?}"),
        }
    }
}
