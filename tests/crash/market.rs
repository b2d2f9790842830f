//! Many bidders on many auctions, who remember every answer; and the check of what they remember.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hoga::{
    domain::{
        id::{AuctionId, UserId},
        time::Timestamp,
    },
    identity::Role,
    log::hash::{Hash, entry_hash},
    store::ReceiptKey,
    wall_clock,
};
use rand::Rng;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::server::{Hoga, breathe};

/// How much goes on in a market.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Auctions that go on to the end.
    pub long: usize,
    /// Auctions that close while the server is being killed.
    pub short: usize,
    pub bidders: usize,
    /// Whether bidders pause after each bid.
    pub is_calm: bool,
}

const FULL: Size = Size { long: 20, short: 60, bidders: 24, is_calm: false };
/// Nothing in here takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(120);

/// A bid that was sent, and the answer if there was one.
#[derive(Clone)]
struct Sent {
    auction: Uuid,
    bidder: usize,
    key: String,
    body: Value,
    /// Status and body; `None` when the connection broke or nobody knew.
    answer: Option<(u16, String)>,
    /// The server said that nothing happened.
    denied: bool,
}

#[derive(Clone)]
pub struct Market {
    url: String,
    http: reqwest::Client,
    auctions: Arc<Vec<Uuid>>,
    size: Size,
    users: Arc<Vec<UserId>>,
    bearers: Arc<Vec<String>>,
    answers: Arc<watch::Sender<usize>>,
    stopping: Arc<AtomicBool>,
}

/// Bidders at work.
pub struct Bidding {
    stopping: Arc<AtomicBool>,
    bidders: Vec<tokio::task::JoinHandle<Vec<Sent>>>,
}

/// Everything that was sent.
pub struct Story(Vec<Sent>);

impl Market {
    pub async fn open(hoga: &Hoga) -> Market {
        Market::with(hoga, FULL).await
    }

    pub async fn with(hoga: &Hoga, size: Size) -> Market {
        let Size { long, short, bidders, .. } = size;
        let tokens = hoga.tokens();
        let users: Vec<(UserId, String)> = (0..=bidders)
            .map(|number| (UserId(Uuid::now_v7()), format!("crash-{number}")))
            .collect();
        hoga.store().ensure_users(&users, &["bidder", "seller"]).await.expect("users");
        let bearer = |user: &(UserId, String)| {
            let roles = [Role::Bidder, Role::Seller];
            tokens.issue(user.0, &roles, None, wall_clock::now(), 3_600).expect("a token")
        };
        let bearers: Vec<String> = users.iter().map(bearer).collect();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(15)).build();
        let mut market = Market {
            url: hoga.url(),
            http: http.expect("a client"),
            auctions: Arc::default(),
            size,
            users: Arc::new(users.iter().map(|user| user.0).collect()),
            bearers: Arc::new(bearers),
            answers: Arc::default(),
            stopping: Arc::default(),
        };
        let mut auctions = Vec::new();
        for number in 0..long + short {
            let lasts_s = if number < long { 3_600 } else { 4 + (number as i64 % 20) };
            auctions.push(market.create(lasts_s).await);
        }
        market.auctions = Arc::new(auctions);
        market
    }

    async fn create(&self, lasts_s: i64) -> Uuid {
        let ends_at = wall_clock::now().plus_s(lasts_s);
        let body = json!({
            "title": "survivor", "opening_price": 1_000, "ends_at": ends_at.to_string(),
            "increment": {"kind": "fixed", "step": 1},
            "soft_close": {"trigger_window_s": 2, "extension_s": 1, "mode": "reset",
                           "max_ends_at": ends_at.plus_s(3).to_string()},
        });
        let seller = &self.bearers[self.size.bidders];
        let request = self.http.post(format!("{}/v1/auctions", self.url));
        let answer = request.bearer_auth(seller).json(&body).send().await.expect("answered");
        let auction: Value = answer.json().await.expect("JSON");
        auction["id"].as_str().expect("an id").parse().expect("a UUID")
    }

    /// Everybody bids, one bid after the other, until [`Bidding::finish`].
    pub fn bid_all_the_time(&self) -> Bidding {
        let bidders = (0..self.size.bidders)
            .map(|bidder| {
                let market = self.clone();
                tokio::spawn(async move { market.bid_as(bidder).await })
            })
            .collect();
        Bidding { stopping: Arc::clone(&self.stopping), bidders }
    }

    async fn bid_as(&self, bidder: usize) -> Vec<Sent> {
        let mut sent = Vec::new();
        while !self.stopping.load(Ordering::Acquire) {
            let (auction, amount) = {
                let mut random = rand::rng();
                let auction = self.auctions[random.random_range(0..self.auctions.len())];
                // Rising, so that many are accepted, and overlapping, so that many are not.
                let rising = *self.answers.borrow() as i64 * 10;
                (auction, 1_000 + rising + random.random_range(0..5_000))
            };
            let kind = if sent.len() % 3 == 0 { "amount" } else { "max_amount" };
            let mut bid = Sent {
                auction,
                bidder,
                key: Uuid::now_v7().to_string(),
                body: json!({ kind: amount }),
                answer: None,
                denied: false,
            };
            match self.send(&bid).await {
                Some((503, body)) => bid.denied = !body.contains("outcome_unknown"),
                answer => bid.answer = answer,
            }
            if bid.answer.is_some() {
                self.answers.send_modify(|count| *count += 1);
            }
            if bid.answer.is_none() || self.size.is_calm {
                breathe().await;
            }
            sent.push(bid);
        }
        sent
    }

    /// Status and body, or `None` when the connection broke.
    async fn send(&self, bid: &Sent) -> Option<(u16, String)> {
        let request = self
            .http
            .post(format!("{}/v1/auctions/{}/bids", self.url, bid.auction))
            .bearer_auth(&self.bearers[bid.bidder])
            .header("Idempotency-Key", &bid.key)
            .json(&bid.body);
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    /// Waits until so many more bids were answered.
    pub async fn wait_for_answers(&self, more: usize) {
        let mut answers = self.answers.subscribe();
        let wanted = *answers.borrow() + more;
        tokio::time::timeout(PATIENCE, answers.wait_for(|count| *count >= wanted))
            .await
            .expect("bids are still being answered")
            .expect("the market is open");
    }

    /// Holds what everybody remembers against the log.
    pub async fn check(&self, hoga: &Hoga, story: Story) {
        let mut sent = story.0;
        let answered = sent.iter().filter(|bid| bid.answer.is_some()).count();
        println!("{} bids sent, {answered} answered", sent.len());
        assert!(answered > 500, "too little happened for the test to mean anything");
        check_denied(hoga, &sent).await;
        self.every_key_has_one_outcome(hoga, &mut sent).await;
        self.wait_for_short_auctions(hoga).await;
        let logs = self.read_logs().await;
        check_receipts(&sent, &logs);
        self.check_counts(&sent, &logs);
    }

    /// The same key hears the same answer, whether it was heard before or not.
    async fn every_key_has_one_outcome(&self, hoga: &Hoga, sent: &mut [Sent]) {
        let mut two_outcomes = Vec::new();
        for bid in sent {
            let was_heard = bid.answer.is_some();
            let first = match &bid.answer {
                Some(answer) => answer.clone(),
                None => self.answered(bid).await,
            };
            let again = self.answered(bid).await;
            if first != again {
                let rows = receipts_of(hoga, &bid.key).await;
                two_outcomes.push(format!("{was_heard} {first:?}\n{again:?}\n{rows:#?}"));
            }
            bid.answer = Some(first);
        }
        let (count, all) = (two_outcomes.len(), two_outcomes.join("\n\n"));
        assert_eq!(count, 0, "heard while bidding?, first, again, receipts:\n{all}");
    }

    async fn answered(&self, bid: &Sent) -> (u16, String) {
        let started = Instant::now();
        loop {
            match self.send(bid).await {
                Some((status, body)) if status != 503 => return (status, body),
                Some(_) | None => breathe().await,
            }
            assert!(started.elapsed() < PATIENCE, "key {} is never answered", bid.key);
        }
    }

    pub async fn wait_for_short_auctions(&self, hoga: &Hoga) {
        let sql = hoga.sql().await;
        let ended = "SELECT count(*) FROM standings WHERE status = 'ended'";
        let started = Instant::now();
        let wanted = self.size.short as i64;
        while sql.query_one(ended, &[]).await.expect("counted").get::<_, i64>(0) < wanted {
            assert!(started.elapsed() < PATIENCE, "an auction stays open for ever");
            breathe().await;
        }
    }

    async fn read_logs(&self) -> HashMap<Uuid, Vec<Value>> {
        let mut logs = HashMap::new();
        for auction in self.auctions.iter() {
            let mut entries: Vec<Value> = Vec::new();
            let mut after = Some(0);
            while let Some(after_seq) = after {
                let url = format!("{}/v1/auctions/{auction}/log?after_seq={after_seq}", self.url);
                let answer = self.http.get(url).send().await.expect("answered");
                let page: Value = answer.json().await.expect("JSON");
                entries.extend(page["items"].as_array().expect("items").iter().cloned());
                after = page["next_after_seq"].as_i64();
            }
            check_chain(*auction, &entries);
            logs.insert(*auction, entries);
        }
        logs
    }

    /// As many bids in the logs as keys that were accepted: none twice, none from nowhere.
    fn check_counts(&self, sent: &[Sent], logs: &HashMap<Uuid, Vec<Value>>) {
        let accepted: HashSet<&str> = sent
            .iter()
            .filter(|bid| matches!(bid.answer, Some((201, _))))
            .map(|bid| bid.key.as_str())
            .collect();
        let placed: usize = logs.values().map(|log| places(log, "bid.placed").len()).sum();
        assert_eq!(placed, accepted.len());
        let closed = logs.values().filter(|log| !places(log, "auction.closed").is_empty()).count();
        println!("{placed} bids in the logs, {closed} auctions closed");
        assert_eq!(closed, self.size.short);
    }

    /// Those that go on come first.
    pub fn auctions(&self) -> &[Uuid] {
        &self.auctions
    }

    /// The bidders, and then the seller.
    pub fn users(&self) -> &[UserId] {
        &self.users
    }

    pub fn bearer(&self, user: usize) -> &str {
        &self.bearers[user]
    }
}

impl Bidding {
    pub async fn finish(self) -> Story {
        self.stopping.store(true, Ordering::Release);
        let mut all = Vec::new();
        for bidder in self.bidders {
            all.extend(bidder.await.expect("a bidder does not panic"));
        }
        Story(all)
    }
}

/// As receipts know a key.
fn hash_of(key: &str) -> i64 {
    ReceiptKey::new(UserId(Uuid::nil()), key, &[0; 16]).hash
}

/// What is kept under a key, and which transaction wrote it: for whoever has to find out why.
async fn receipts_of(hoga: &Hoga, key: &str) -> Vec<String> {
    let rows = "SELECT format('%s %s %s %s %s', xmin, created_at, user_id, seq, answer) \
                FROM receipts WHERE key_hash = $1";
    let sql = hoga.sql().await;
    let rows = sql.query(rows, &[&hash_of(key)]).await.expect("read");
    rows.iter().map(|row| row.get(0)).collect()
}

/// What the server said did not happen has no receipt.
async fn check_denied(hoga: &Hoga, sent: &[Sent]) {
    let denied: Vec<i64> =
        sent.iter().filter(|bid| bid.denied).map(|bid| hash_of(&bid.key)).collect();
    let sql = hoga.sql().await;
    let count: i64 = sql
        .query_one("SELECT count(*) FROM receipts WHERE key_hash = ANY ($1)", &[&denied])
        .await
        .expect("counted")
        .get(0);
    assert_eq!(count, 0, "something happened that was said not to have happened");
}

/// Sequence numbers without a gap, hashes that chain, one close at most, nothing after it.
fn check_chain(auction: Uuid, entries: &[Value]) {
    let mut prev_hash = Hash::ZERO;
    for (place, entry) in entries.iter().enumerate() {
        let seq = entry["seq"].as_u64().expect("a seq");
        assert_eq!(seq, place as u64 + 1, "{auction} has a gap");
        let data = serde_jcs::to_string(&entry["data"]).expect("canonical");
        let at = Timestamp::parse(entry["at"].as_str().expect("a time")).expect("a time");
        let kind = entry["type"].as_str().expect("a type");
        let hash = entry_hash(AuctionId(auction), seq, kind, at, &data, prev_hash);
        assert_eq!(entry["hash"], hash.to_string(), "{auction} {seq}");
        assert_eq!(entry["prev_hash"], prev_hash.to_string(), "{auction} {seq}");
        prev_hash = hash;
    }
    let closes: Vec<usize> = places(entries, "auction.closed");
    assert!(closes.len() <= 1, "{auction} was closed twice");
    assert!(closes.iter().all(|place| place + 1 == entries.len()), "{auction} went on");
    assert_eq!(places(entries, "auction.opened").len(), 1, "{auction} opened once");
}

fn places(entries: &[Value], kind: &str) -> Vec<usize> {
    entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry["type"] == kind)
        .map(|(place, _)| place)
        .collect()
}

/// Every acknowledged receipt is in the log at its place with its hash.
fn check_receipts(sent: &[Sent], logs: &HashMap<Uuid, Vec<Value>>) {
    for bid in sent {
        let Some((201, body)) = &bid.answer else { continue };
        let receipt: Value = serde_json::from_str(body).expect("a receipt");
        let seq = receipt["seq"].as_u64().expect("a seq") as usize;
        let entry = logs[&bid.auction].get(seq - 1).expect("the receipt's event is in the log");
        assert_eq!(entry["hash"], receipt["hash"], "{} {seq}", bid.auction);
        assert_eq!(entry["type"], "bid.placed");
    }
}
