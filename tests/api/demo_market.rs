//! The demo market: there is always something to bid on, and nothing stands there twice.

use hoga::{
    domain::id::UserId,
    embedded::demo::{self, Example, LogsInAt},
    identity::Role,
    store::User,
    wall_clock,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Bidder, TestServer};

/// What the start prints: live for ten minutes at least.
async fn prepared(server: &TestServer) -> Example {
    let state = server.state();
    let prepared =
        demo::prepare(&server.store, &state.exchange, state.bid_cap, LogsInAt::Kakao).await;
    let example = prepared.unwrap();
    let shown = server.anonymous().auction(&example.auction.to_string()).await;
    assert_eq!(shown["status"], "live", "{shown}");
    assert!(example.ends_at >= wall_clock::now().plus_s(600), "{shown}");
    example
}

async fn by_name(server: &TestServer, name: &str) -> Bidder {
    let user = User {
        id: UserId(Uuid::now_v7()),
        name: Some(name.to_owned()),
        nickname: name.to_owned(),
        roles: vec!["bidder".to_owned()],
    };
    let user = server.store.ensure_user(&user, wall_clock::now()).await.unwrap();
    let token = server.token(user.id, &[Role::Bidder], 900);
    Bidder { id: user.id, client: server.caller_with(&token) }
}

/// Does what the start prints.
async fn bids(server: &TestServer, example: &Example) {
    let bidder = by_name(server, example.bidder).await;
    let answer = bidder.offers_up_to(&example.auction.to_string(), example.next_bid).await;
    let receipt = answer.with_status(201);
    assert_ne!(receipt["outcome"], "bought", "{receipt}");
}

#[tokio::test]
async fn what_a_start_prints_can_be_bid_on_whatever_became_of_the_market() {
    let server = TestServer::spawn();
    let cap = server.state().bid_cap.minor_units();
    let everything = json!({"max_amount": cap, "confirm_amount": cap});
    let mut exhausted = Vec::new();
    for _ in 0..4 {
        // Nobody else bids: whoever led after the last start could only raise their ceiling.
        for _ in 0..3 {
            bids(&server, &prepared(&server).await).await;
        }
        // Two bid as far as the cap, and nobody can bid there any more.
        let id = prepared(&server).await.auction.to_string();
        assert!(!exhausted.contains(&id), "{id} is at the cap");
        for name in ["one", "another"] {
            by_name(&server, name).await.bid(&id, &everything).await.with_status(201);
        }
        exhausted.push(id);
    }
    bids(&server, &prepared(&server).await).await;
}

#[tokio::test]
async fn after_hours_of_sleep_what_is_printed_still_goes_on_for_ten_minutes() {
    let server = TestServer::spawn();
    prepared(&server).await;
    // Everything that is live ends within ten minutes, and nothing is missing from the catalogue.
    let ends = "UPDATE standings SET ends_at = now() + interval '9 minutes', \
                due_at = now() + interval '9 minutes' WHERE status = 'live'";
    server.database.rows(ends).await;
    bids(&server, &prepared(&server).await).await;
}

#[tokio::test]
async fn an_item_that_opens_at_this_very_moment_is_not_put_on_sale_twice() {
    let server = TestServer::spawn();
    let state = server.state();
    let renewed = async || {
        demo::renew(&server.store, &state.exchange, state.bid_cap, |_, _| 3_600).await.unwrap();
    };
    renewed().await;
    let config = server.database.config().clone();
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let flipping = tokio::spawn(connection);
    let becomes = async |from: &str, to: &str| {
        let sql = format!("UPDATE standings SET status = '{to}' WHERE status = '{from}'");
        client.simple_query(&sql).await.unwrap();
    };
    let opening = async {
        loop {
            becomes("scheduled", "live").await;
            becomes("live", "scheduled").await;
        }
    };
    let renewing = async {
        for _ in 0..100 {
            renewed().await;
        }
    };
    tokio::select! {
        () = renewing => {}
        () = opening => {}
    }
    flipping.abort();
    let on_sale = server.database.number("SELECT count(*) FROM auctions").await;
    let titles = server.database.number("SELECT count(DISTINCT title) FROM auctions").await;
    assert_eq!(on_sale, titles, "each once");
}
