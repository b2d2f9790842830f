//! A transaction of several statements: written together, or not at all; and rows that make no sense.

use hoga::{
    store::{ConnectionsMax, Gender, Store, StoreError},
    wall_clock,
};
use serde_json::json;

use crate::support::TestServer;

/// So that whatever is asked after a transaction is asked over its connection.
fn with_one_connection(server: &TestServer) -> Store {
    let one = ConnectionsMax { people: 1, lists: 1 };
    Store::with(server.database.config().clone(), one).unwrap()
}

#[tokio::test]
async fn a_transaction_that_is_dropped_writes_nothing_and_its_connection_goes_on() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let store = with_one_connection(&server);
    let roles = async || store.account(minji.id).await.unwrap().expect("an account").roles;
    let before = roles().await;
    for _ in 0..3 {
        let tx = store.begin().await.unwrap();
        assert!(tx.lock_account(minji.id).await.unwrap());
        tx.write_roles(minji.id, &["admin".to_owned()], Some(wall_clock::now())).await.unwrap();
        drop(tx);
        assert_eq!(roles().await, before);
    }
    let tx = store.begin().await.unwrap();
    tx.write_roles(minji.id, &["seller".to_owned()], None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(roles().await, ["seller"]);
}

#[tokio::test]
async fn a_commit_whose_connection_is_lost_says_that_its_outcome_is_not_known() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let store = with_one_connection(&server);
    let tx = store.begin().await.unwrap();
    assert!(tx.lock_account(minji.id).await.unwrap());
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'idle in transaction'
              AND query LIKE '%FOR NO KEY UPDATE%'";
    assert_eq!(server.database.rows(ended).await.len(), 1);
    let lost = tx.commit().await.expect_err("the connection is lost");
    assert!(matches!(lost, StoreError::OutcomeUnknown(_)), "{lost:?}");
    assert!(store.account(minji.id).await.unwrap().is_some(), "another connection is made");
}

#[tokio::test]
async fn a_word_that_is_not_known_is_told_as_a_damaged_row() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let told = json!({"gender": "female", "profile_consent": true});
    minji.patch("/v1/me", &told).await.with_status(200);
    let known = server.store.account(minji.id).await.unwrap().expect("an account");
    assert_eq!(known.profile.gender, Some(Gender::Female));
    let damage = "ALTER TABLE users DROP CONSTRAINT users_gender_check;
        UPDATE users SET gender = 'blue' WHERE gender IS NOT NULL";
    server.database.rows(damage).await;
    let damaged = server.store.account(minji.id).await.map(|_| ()).expect_err("no such word");
    assert!(
        matches!(&damaged, StoreError::Malformed(what) if what.contains("blue")),
        "{damaged:?}"
    );
    minji.get("/v1/me").await.with_status(500);
}
