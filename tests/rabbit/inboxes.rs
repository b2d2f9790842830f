//! Inboxes, held against the log: everybody was told what follows from it, of each cause once.

use std::collections::{BTreeMap, HashMap, HashSet};

use hoga::{
    domain::id::{AuctionId, UserId},
    identity::Role,
    wall_clock,
};
use serde_json::Value;
use uuid::Uuid;

use super::{market::Market, server::Hoga, support::eventually};

/// Users who watch every auction and bid in none.
const WATCHERS: usize = 3;

/// Those who only watch, with their tokens.
pub struct Watchers(pub Vec<(UserId, String)>);

/// What somebody must have been told of an auction: kind and cause.
type Owed = HashSet<(UserId, AuctionId, &'static str, i64)>;

impl Watchers {
    /// They watch every auction from now on.
    pub async fn begin(hoga: &Hoga, market: &Market) -> Watchers {
        let users: Vec<(UserId, String)> =
            (0..WATCHERS).map(|no| (UserId(Uuid::now_v7()), format!("watcher-{no}"))).collect();
        hoga.store().ensure_users(&users, &["bidder"]).await.expect("users");
        let (tokens, http) = (hoga.tokens(), reqwest::Client::new());
        let mut watchers = Vec::new();
        for (user, _) in users {
            let bearer = tokens.issue(user, &[Role::Bidder], None, wall_clock::now(), 3_600);
            let bearer = bearer.expect("a token");
            for auction in market.auctions() {
                let url = format!("{}/v1/auctions/{auction}/watch", hoga.url());
                let answer = http.put(url).bearer_auth(&bearer).send().await.expect("answered");
                assert!(answer.status().is_success(), "{answer:?}");
            }
            watchers.push((user, bearer));
        }
        Watchers(watchers)
    }

    /// Waits until the notifier has nothing left to do, and holds the inboxes against the log.
    pub async fn check_inboxes(&self, hoga: &Hoga) {
        let sql = hoga.sql().await;
        let left = "SELECT (SELECT count(*) FROM outbox)
             + (SELECT count(*) FROM fanouts WHERE due_at IS NOT NULL)
             + (SELECT count(*) FROM standings s LEFT JOIN notify_progress p USING (auction_id)
                WHERE p.done_seq IS DISTINCT FROM s.seq)";
        eventually("everything is worked off", || async {
            let left: i64 = sql.query_one(left, &[]).await.expect("counted").get(0);
            (left == 0).then_some(())
        })
        .await;
        let logs = read_logs(&sql).await;
        let told = "SELECT user_id, subject_id, kind, cause, count(*) FROM notifications
             GROUP BY user_id, subject_id, kind, cause";
        let mut inboxes = HashSet::new();
        for row in sql.query(told, &[]).await.expect("read") {
            assert_eq!(row.get::<_, i64>(4), 1, "a cause is told twice");
            inboxes.insert((
                row.get(0),
                AuctionId(row.get(1)),
                row.get::<_, String>(2),
                row.get(3),
            ));
        }
        let (mut owed, mut allowed) = (Owed::new(), Owed::new());
        for (auction, log) in &logs {
            self.follow(*auction, log, &mut owed, &mut allowed);
        }
        for (user, auction, kind, cause) in &owed {
            let told = (*user, *auction, (*kind).to_owned(), *cause);
            assert!(inboxes.contains(&told), "{user} was not told: {auction} {kind} {cause}");
        }
        // News that newer news replaces may be told or not, but never without its cause.
        for (user, auction, kind, cause) in &inboxes {
            let is_allowed = allowed.iter().any(|(whom, of, what, why)| {
                (whom, of, *what, why) == (user, auction, kind.as_str(), cause)
            });
            let is_of_many = matches!(kind.as_str(), "highest_bid_changed" | "extended");
            let is_reminder = kind == "ending_soon" || kind == "opening_soon";
            assert!(
                is_allowed || is_of_many || is_reminder,
                "{user} was told {kind} {cause} of {auction}, which does not follow"
            );
        }
        println!("{} notifications, {} of them owed", inboxes.len(), owed.len());
    }

    /// What must be told of a log, and what may be.
    fn follow(&self, auction: AuctionId, log: &[Logged], owed: &mut Owed, allowed: &mut Owed) {
        let mut users: HashMap<&str, UserId> = HashMap::new();
        let (mut leader, mut lost_lead): (Option<UserId>, BTreeMap<UserId, i64>) =
            Default::default();
        let (mut price, mut extension) = (None, None);
        for event in log {
            if event.kind == "bid.placed" {
                let bidder = event.data["bidder"].as_str().expect("an alias");
                users.insert(bidder, event.bidder.expect("a bidder"));
                let now = event.data["leader_alias"].as_str().map(|alias| users[alias]);
                if let Some(before) = leader.filter(|before| Some(*before) != now) {
                    lost_lead.insert(before, event.seq);
                    allowed.insert((before, auction, "outbid", event.seq));
                }
                leader = now;
                price = Some(event.seq);
            }
            if event.kind == "auction.extended" {
                extension = Some(event.seq);
            }
            if event.kind == "auction.closed" {
                let winner = event.data["winner"].as_str().map(|alias| users[alias]);
                for user in users.values() {
                    let kind = if Some(*user) == winner { "won" } else { "lost" };
                    owed.insert((*user, auction, kind, event.seq));
                }
                let kind = if winner.is_some() { "sold" } else { "unsold" };
                owed.insert((event.seller, auction, kind, event.seq));
            }
        }
        // Whoever was outbid and leads again need not hear of it; whoever does not, must.
        for (user, seq) in lost_lead {
            if Some(user) != leader {
                owed.insert((user, auction, "outbid", seq));
            }
        }
        for (user, _) in &self.0 {
            owed.extend(price.map(|seq| (*user, auction, "highest_bid_changed", seq)));
            owed.extend(extension.map(|seq| (*user, auction, "extended", seq)));
        }
        allowed.extend(owed.iter().filter(|owed| owed.1 == auction));
    }
}

/// An event of the log with what only the exchange knows of it.
struct Logged {
    seq: i64,
    kind: String,
    data: Value,
    bidder: Option<UserId>,
    seller: UserId,
}

async fn read_logs(sql: &tokio_postgres::Client) -> HashMap<AuctionId, Vec<Logged>> {
    let all = "SELECT e.auction_id, e.seq, e.kind, e.data, a.seller_id,
                   (e.private::jsonb ->> 'bidder')::uuid
         FROM events e JOIN auctions a ON a.id = e.auction_id ORDER BY e.auction_id, e.seq";
    let mut logs: HashMap<AuctionId, Vec<Logged>> = HashMap::new();
    for row in sql.query(all, &[]).await.expect("read") {
        let data: String = row.get(3);
        logs.entry(row.get(0)).or_default().push(Logged {
            seq: row.get(1),
            kind: row.get(2),
            data: serde_json::from_str(&data).expect("JSON"),
            seller: row.get(4),
            bidder: row.get(5),
        });
    }
    logs
}
