//! What was answered is on disk: by the settings of Postgres under which it is written.

use crate::support::{TestServer, an_auction, database::Database, logs};

/// As somebody would who wants a faster database, in both places where that can be said for one.
const SWITCHED_OFF: &str = "
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET synchronous_commit = off',
                       current_user, current_database());
    END $$";
/// Notes under which setting rows are written.
const NOTED: &str = "
    CREATE TABLE noted (written text, synchronous_commit text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO noted VALUES (TG_TABLE_NAME, current_setting('synchronous_commit'));
        RETURN NULL;
    END $$;
    CREATE TRIGGER noted AFTER INSERT ON auctions FOR EACH STATEMENT EXECUTE FUNCTION note();
    CREATE TRIGGER noted AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION note();
    CREATE TRIGGER noted AFTER INSERT ON receipts FOR EACH ROW EXECUTE FUNCTION note()";

#[tokio::test]
async fn what_is_answered_is_flushed_whatever_the_database_and_the_role_say() {
    let database = Database::create();
    database.rows(SWITCHED_OFF).await;
    assert_eq!(database.rows("SHOW synchronous_commit").await, [["off"]], "by default");
    database.rows(NOTED).await;
    let server = TestServer::on(database, |_| {});
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    sora.auction_once(&id, "live").await;
    minji.offers(&id, 10_000).await.with_status(201);
    let noted = server.database.rows("SELECT DISTINCT * FROM noted ORDER BY 1, 2").await;
    assert_eq!(noted, [["auctions", "on"], ["events", "on"], ["receipts", "on"]]);
}

#[tokio::test]
async fn a_postgres_that_does_not_flush_is_said_at_the_start() {
    // The cluster of the tests is one.
    let server = TestServer::spawn();
    let off = server.store.durability_switched_off().await.unwrap();
    assert_eq!(off, ["fsync"]);
    let said = logs::kept();
    let said = said.lines().find(|line| line.contains("may lose what was acknowledged"));
    assert!(said.expect("it is said").contains("fsync"));
}

#[tokio::test]
async fn a_list_is_cut_off_sooner_than_other_statements() {
    let server = TestServer::spawn();
    assert_eq!(server.store.of_lists().statement_timeout().await.unwrap(), "2s");
    assert_eq!(server.store.statement_timeout().await.unwrap(), "10s");
    assert_eq!(server.store.for_background().statement_timeout().await.unwrap(), "10s");
}
