//! Watching: the heart button, its list, and counts that never drift.

use futures_util::future::join_all;
use hoga::{
    domain::id::UserId,
    market::{self, WATCHES_PER_USER_MAX},
    wall_clock,
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, Client, TestServer, an_auction, callers::fresh_key, eventually};

impl Client {
    pub async fn watches(&self, id: &str) -> Answer {
        self.send(self.request(Method::PUT, &format!("/v1/auctions/{id}/watch"))).await
    }

    pub async fn stops_watching(&self, id: &str) -> Answer {
        self.remove(&format!("/v1/auctions/{id}/watch")).await
    }
}

fn ids(auctions: &[Value]) -> Vec<String> {
    auctions.iter().map(|auction| auction["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn watching_is_idempotent_and_counted_once() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    assert_eq!(sora.auction(&id).await["watch_count"], 0);
    for _ in 0..3 {
        assert_eq!(minji.watches(&id).await.status, 204);
    }
    assert_eq!(sora.auction(&id).await["watch_count"], 1, "at once, before it is folded");
    sora.watches(&id).await;
    let listed = sora.get("/v1/auctions").await.with_status(200);
    assert_eq!(listed["items"][0]["watch_count"], 2);
    for _ in 0..3 {
        assert_eq!(minji.stops_watching(&id).await.status, 204);
    }
    assert_eq!(sora.auction(&id).await["watch_count"], 1);
}

#[tokio::test]
async fn a_new_watcher_changes_the_tag_but_not_the_version() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let terms =
        crate::support::with(an_auction(), json!({"starts_at": crate::support::in_s(3_600)}));
    let id = sora.sells(terms).await;
    let path = format!("/v1/auctions/{id}");
    let tag = sora.get(&path).await.tag();
    minji.watches(&id).await;
    let request = sora.request(Method::GET, &path).header("if-none-match", &tag);
    assert_eq!(sora.send(request).await.status, 200, "the count is new");
    sora.update(&id, &tag, &json!({"title": "another"})).await.with_status(200);
}

#[tokio::test]
async fn the_watchlist_is_paged_the_newest_watch_first() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let mut watched = Vec::new();
    for _ in 0..5 {
        let id = sora.sells(an_auction()).await;
        minji.watches(&id).await.with_status(204);
        watched.insert(0, id);
    }
    minji.watches(&watched[4]).await.with_status(204);
    let pages = minji.pages("/v1/me/watchlist?limit=2").await;
    assert_eq!(ids(&pages), watched, "watching again changes nothing");
    minji.stops_watching(&watched[2]).await.with_status(204);
    let removed = watched.remove(2);
    assert_eq!(ids(&minji.pages("/v1/me/watchlist").await), watched);
    assert!(sora.pages("/v1/me/watchlist").await.is_empty());
    minji.watches(&removed).await.with_status(204);
    assert_eq!(ids(&minji.pages("/v1/me/watchlist").await)[0], removed);
}

#[tokio::test]
async fn what_is_not_there_cannot_be_watched() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let nowhere = Uuid::now_v7().to_string();
    minji.watches(&nowhere).await.refused(404, "auction_not_found");
    minji.stops_watching(&nowhere).await.refused(404, "auction_not_found");
    minji.watches("42").await.refused(404, "invalid_id");
    server.anonymous().watches(&nowhere).await.refused(401, "unauthenticated");
    minji.get("/v1/me/watchlist?cursor=x").await.refused(400, "invalid_cursor");
}

#[tokio::test]
async fn nobody_watches_more_than_anybody_may() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    let fill = format!(
        "INSERT INTO watches (auction_id, user_id, created_at) \
         SELECT gen_random_uuid(), '{}', now() FROM generate_series(1, {})",
        minji.id,
        WATCHES_PER_USER_MAX - 2
    );
    server.database.rows(&fill).await;
    let others = join_all((0..3).map(|_| sora.sells(an_auction()))).await;
    let answers = join_all(others.iter().map(|id| minji.watches(id))).await;
    let refused = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!(refused, 1, "however many come at once");
    minji.watches(&id).await.refused(409, "watch_limit_reached");
    let watched = others.iter().zip(&answers).find(|(_, answer)| answer.status == 204);
    assert_eq!(minji.watches(watched.unwrap().0).await.status, 204, "it is watched already");
}

#[tokio::test]
async fn a_count_is_exact_while_many_come_and_go_and_it_is_folded() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    let auction = id.parse().unwrap();
    let mut users: Vec<UserId> = Vec::new();
    for _ in 0..40 {
        users.push(server.bidder(&fresh_key()).await.id);
    }
    let come_and_go = users.iter().enumerate().map(|(no, user)| {
        let store = server.store.clone();
        async move {
            for _ in 0..3 {
                market::watch(&store, *user, auction, wall_clock::now()).await.unwrap();
                if no % 2 == 0 {
                    store.unwatch(*user, auction).await.unwrap();
                }
            }
        }
    });
    let fold = async {
        for _ in 0..20 {
            server.store.fold_watches().await.unwrap();
        }
    };
    futures_util::join!(join_all(come_and_go), fold);
    assert_eq!(sora.auction(&id).await["watch_count"], 20);
    eventually("everything is folded", || async {
        (server.database.number("SELECT count(*) FROM watch_deltas").await == 0).then_some(())
    })
    .await;
    assert_eq!(sora.auction(&id).await["watch_count"], 20);
    let watches = format!("SELECT count(*) FROM watches WHERE auction_id = '{id}'");
    assert_eq!(server.database.number(&watches).await, 20);
}

#[tokio::test]
async fn a_watch_waits_for_no_fold_and_a_bid_for_no_watch() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    minji.watches(&id).await.with_status(204);
    // Somebody holds every row of the counts and the watches.
    let (client, connection) =
        server.database.config().connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute(
            "BEGIN; LOCK TABLE watch_counts IN EXCLUSIVE MODE; SELECT FROM watches FOR UPDATE",
        )
        .await
        .unwrap();
    sora.watches(&id).await.with_status(204);
    minji.offers(&id, 10_000).await.with_status(201);
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(sora.auction(&id).await["watch_count"], 2);
}

#[tokio::test]
async fn who_leaves_watches_nothing_any_more() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    minji.watches(&id).await.with_status(204);
    minji.remove("/v1/me").await.with_status(204);
    assert_eq!(sora.auction(&id).await["watch_count"], 0);
}
