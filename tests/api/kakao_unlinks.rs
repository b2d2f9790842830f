//! Unlinking: Kakao's webhook, and the worker that does what is to be done, once.

use futures_util::future::join_all;
use hoga::{
    domain::{id::UserId, time::Timestamp},
    embedded::kakao::{Endpoint, Fault},
    identity::kakao::{Unlinks, WorkedOff},
    store::Store,
    wall_clock,
};
use reqwest::Method;
use tokio_postgres::NoTls;

use crate::support::{
    Answer, Client, TestServer,
    database::Database,
    eventually,
    kakao::{ADMIN_KEY, APP_ID, KakaoServer, MINJI},
    logs,
};

fn spawn(kakao: &KakaoServer) -> TestServer {
    let app = kakao.app();
    TestServer::spawn_with(|config| config.kakao = Some(app))
}

fn said(user: i64) -> Vec<(&'static str, String)> {
    vec![
        ("app_id", APP_ID.to_string()),
        ("user_id", user.to_string()),
        ("referrer_type", "UNLINK_FROM_APPS".to_owned()),
    ]
}

async fn webhook(caller: &Client, key: &str, said: &[(&str, String)]) -> Answer {
    let request = caller.request(Method::POST, "/webhooks/kakao");
    caller.send(request.header("authorization", key).form(said)).await
}

fn admin() -> String {
    format!("KakaoAK {ADMIN_KEY}")
}

/// Somebody linked, with a login under way at a frontend.
async fn linked(database: &Database, store: &Store, name: &str, kakao_id: i64) -> UserId {
    let user = hoga::store::User {
        id: UserId(uuid::Uuid::now_v7()),
        name: Some(name.to_owned()),
        nickname: name.to_owned(),
        roles: vec!["bidder".to_owned()],
    };
    let user = store.ensure_user(&user, wall_clock::now()).await.unwrap().id;
    store.link_kakao(user, kakao_id).await.unwrap();
    let family = format!(
        "INSERT INTO clients (id, name, redirect_uris, allowed_origins, created_at) \
             VALUES ('shop', 'Shop', '{{}}', '{{}}', now()) ON CONFLICT DO NOTHING; \
         INSERT INTO refresh_families (id, user_id, client_id, created_at, expires_at) \
             VALUES (gen_random_uuid(), '{user}', 'shop', now(), now() + interval '1 day')"
    );
    database.rows(&family).await;
    user
}

/// Name, link and families of everybody, in order.
async fn links(database: &Database) -> Vec<Vec<String>> {
    let sql = "SELECT u.name, u.kakao_id, u.tokens_valid_from IS NOT NULL, f.revoked_because \
               FROM users u LEFT JOIN refresh_families f ON f.user_id = u.id ORDER BY u.name";
    database.rows(sql).await
}

async fn all_done(database: &Database) {
    eventually("every unlink is done", || async {
        let waiting = "SELECT count(*) FROM kakao_unlinks WHERE done_at IS NULL";
        (database.number(waiting).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whom_kakao_unlinks_is_logged_out_and_linked_to_nobody() {
    let kakao = KakaoServer::start();
    let server = spawn(&kakao);
    linked(&server.database, &server.store, "minji", MINJI).await;
    linked(&server.database, &server.store, "somebody else", 77).await;
    let answer = webhook(&server.anonymous(), &admin(), &said(MINJI)).await;
    assert_eq!((answer.status, answer.text()), (200, ""));
    all_done(&server.database).await;
    let links = links(&server.database).await;
    assert_eq!(links[0], ["minji", "NULL", "t", "unlinked"]);
    assert_eq!(links[1], ["somebody else", "77", "f", "NULL"]);
    let sql = "SELECT direction, referrer_type, attempts FROM kakao_unlinks";
    assert_eq!(server.database.rows(sql).await, [["theirs", "UNLINK_FROM_APPS", "1"]]);
    assert_eq!(kakao.stand_in.requests(Endpoint::Unlink), 0, "Kakao is not told what it told us");
}

#[tokio::test]
async fn a_webhook_may_come_as_a_query() {
    let kakao = KakaoServer::start();
    let server = spawn(&kakao);
    linked(&server.database, &server.store, "minji", MINJI).await;
    let anyone = server.anonymous();
    let request = anyone.request(Method::GET, "/webhooks/kakao").query(&said(MINJI));
    let answer = anyone.send(request.header("authorization", admin())).await;
    assert_eq!(answer.status, 200);
    all_done(&server.database).await;
    assert_eq!(links(&server.database).await[0][1], "NULL");
}

#[tokio::test]
async fn people_whom_nobody_knows_are_answered_the_same() {
    let kakao = KakaoServer::start();
    let server = spawn(&kakao);
    let anyone = server.anonymous();
    for _ in 0..3 {
        assert_eq!(webhook(&anyone, &admin(), &said(31_337)).await.status, 200);
    }
    all_done(&server.database).await;
}

#[tokio::test]
async fn a_webhook_without_our_admin_key_or_of_another_app_is_refused() {
    let kakao = KakaoServer::start();
    let server = spawn(&kakao);
    let anyone = server.anonymous();
    for key in ["KakaoAK guessed", "KakaoAK ", "Bearer x", &format!("Bearer {ADMIN_KEY}")] {
        webhook(&anyone, key, &said(MINJI)).await.refused(403, "webhook_refused");
    }
    let without = anyone.request(Method::POST, "/webhooks/kakao").form(&said(MINJI));
    anyone.send(without).await.refused(403, "webhook_refused");
    let mut of_another_app = said(MINJI);
    of_another_app[0].1 = (APP_ID + 1).to_string();
    webhook(&anyone, &admin(), &of_another_app).await.refused(403, "webhook_refused");
    let malformed = [("app_id", APP_ID.to_string()), ("user_id", "minji".to_owned())];
    webhook(&anyone, &admin(), &malformed).await.refused(400, "webhook_malformed");
    webhook(&anyone, &admin(), &[]).await.refused(400, "webhook_malformed");
    assert_eq!(server.database.number("SELECT count(*) FROM kakao_unlinks").await, 0);
}

#[tokio::test]
async fn what_kakao_adds_one_day_is_let_through_and_what_is_odd_is_not_kept() {
    let kakao = KakaoServer::start();
    let server = spawn(&kakao);
    let mut said = said(MINJI);
    said[2].1 = "<odd>".to_owned();
    said.push(("event", "new".to_owned()));
    assert_eq!(webhook(&server.anonymous(), &admin(), &said).await.status, 200);
    let sql = "SELECT referrer_type FROM kakao_unlinks";
    assert_eq!(server.database.rows(sql).await, [["NULL"]]);
}

#[tokio::test]
async fn without_an_app_at_kakao_no_webhook_is_believed() {
    let server = TestServer::spawn();
    webhook(&server.anonymous(), &admin(), &said(MINJI)).await.refused(403, "webhook_refused");
}

#[tokio::test]
async fn kakao_hears_in_time_even_when_nothing_can_be_noted() {
    let kakao = KakaoServer::start();
    let server = spawn(&kakao);
    let (client, connection) = server.database.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE kakao_unlinks").await.unwrap();
    // The answer does not wait for the lock.
    webhook(&server.anonymous(), &admin(), &said(MINJI)).await.refused(503, "unavailable");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(webhook(&server.anonymous(), &admin(), &said(MINJI)).await.status, 200);
    all_done(&server.database).await;
}

/// A worker by itself, on a database that no server works on.
struct Works {
    database: Database,
    store: Store,
    kakao: KakaoServer,
    unlinks: Unlinks,
}

impl Works {
    fn start() -> Works {
        logs::keep();
        let (database, kakao) = (Database::create(), KakaoServer::start());
        let store = Store::new(database.config().clone()).unwrap();
        let unlinks = Unlinks::new(store.clone(), kakao.kakao());
        Works { database, store, kakao, unlinks }
    }

    /// We are to unlink so many people.
    async fn leave(&self, people: i64) {
        let sql = format!(
            "INSERT INTO kakao_unlinks (kakao_id, direction, noted_at, next_attempt_at) \
             SELECT 5000000 + no, 'ours', now(), now() - interval '1 day' \
             FROM generate_series(1, {people}) AS no"
        );
        self.database.rows(&sql).await;
    }

    async fn work_off(&self, at: Timestamp) -> WorkedOff {
        self.unlinks.work_off(|| at).await.unwrap()
    }
}

fn done(done: u32) -> WorkedOff {
    WorkedOff { done, ..WorkedOff::default() }
}

fn failed(failed: u32) -> WorkedOff {
    WorkedOff { failed, ..WorkedOff::default() }
}

#[tokio::test]
async fn a_webhook_that_comes_again_adds_nothing_while_the_first_waits() {
    let works = Works::start();
    let now = wall_clock::now();
    linked(&works.database, &works.store, "minji", MINJI).await;
    for _ in 0..3 {
        works.unlinks.note(MINJI, Some("ACCOUNT_DELETE"), now).await.unwrap();
    }
    assert_eq!(works.database.number("SELECT count(*) FROM kakao_unlinks").await, 1);
    assert_eq!(works.work_off(now).await, done(1));
    works.unlinks.note(MINJI, None, now).await.unwrap();
    assert_eq!(works.database.number("SELECT count(*) FROM kakao_unlinks").await, 2);
    assert_eq!(works.work_off(now).await, done(1), "nothing is left to undo, and it is done");
    assert_eq!(works.work_off(now).await, done(0));
}

#[tokio::test]
async fn kakao_is_told_of_who_left_once_it_can_hear_it() {
    let works = Works::start();
    let requests = || works.kakao.stand_in.requests(Endpoint::Unlink);
    works.leave(1).await;
    works.kakao.stand_in.set_fault(Endpoint::Unlink, Some(Fault::Status(503)));
    let now = wall_clock::now();
    assert_eq!(works.work_off(now).await, failed(1));
    assert_eq!(works.work_off(now.plus_s(30).plus_ms(-1)).await, done(0), "it waits");
    assert_eq!(works.work_off(now.plus_s(30)).await, failed(1));
    assert_eq!(works.work_off(now.plus_s(89)).await, done(0), "twice as long");
    works.kakao.stand_in.set_fault(Endpoint::Unlink, None);
    assert_eq!(works.work_off(now.plus_s(90)).await, done(1));
    assert_eq!(works.work_off(now.plus_s(1_000_000)).await, done(0));
    assert_eq!(requests(), 3);
}

#[tokio::test]
async fn whoever_left_and_has_logged_in_again_keeps_the_new_link() {
    let works = Works::start();
    works.leave(1).await;
    linked(&works.database, &works.store, "minji", 5_000_001).await;
    assert_eq!(works.work_off(wall_clock::now()).await, done(1));
    assert_eq!(works.kakao.stand_in.requests(Endpoint::Unlink), 0);
    assert!(works.store.has_user_at_kakao(5_000_001).await.unwrap());
}

#[tokio::test]
async fn an_unlink_that_never_works_is_given_up_aloud_and_can_be_taken_up_again() {
    let works = Works::start();
    works.leave(1).await;
    works.kakao.stand_in.set_fault(Endpoint::Unlink, Some(Fault::Api(-401)));
    let mut now = wall_clock::now();
    for _ in 1..16 {
        assert_eq!(works.work_off(now).await, failed(1));
        now = now.plus_s(21_600);
    }
    assert_eq!(works.work_off(now).await, WorkedOff { given_up: 1, ..done(0) });
    assert_eq!(works.work_off(now.plus_s(1_000_000)).await, done(0));
    let waiting = works.store.unlinks_waiting(16).await.unwrap();
    assert_eq!((waiting.to_do, waiting.given_up), (0, 1));
    let logged = logs::kept();
    assert!(logged.contains("an unlink is given up"), "an operator is told");
    assert!(!logged.contains("5000001") && !logged.contains(ADMIN_KEY), "and nothing else");
    works.kakao.stand_in.set_fault(Endpoint::Unlink, None);
    works.database.rows("UPDATE kakao_unlinks SET attempts = 0").await;
    assert_eq!(works.work_off(now.plus_s(1_000_000)).await, done(1));
}

#[tokio::test]
async fn a_webhook_takes_up_again_what_was_given_up() {
    let works = Works::start();
    let now = wall_clock::now();
    works.unlinks.note(MINJI, None, now).await.unwrap();
    works.database.rows("UPDATE kakao_unlinks SET attempts = 16").await;
    assert_eq!(works.work_off(now).await, done(0));
    works.unlinks.note(MINJI, None, now).await.unwrap();
    assert_eq!(works.work_off(now).await, done(1));
}

#[tokio::test]
async fn many_workers_side_by_side_do_each_once() {
    let works = Works::start();
    works.leave(40).await;
    for user in 0..10 {
        let kakao_id = 6_000_000 + user;
        linked(&works.database, &works.store, &format!("user {user}"), kakao_id).await;
        works.unlinks.note(kakao_id, None, wall_clock::now()).await.unwrap();
    }
    let others: Vec<Unlinks> = (0..4)
        .map(|_| {
            let store = Store::new(works.database.config().clone()).unwrap();
            Unlinks::new(store, works.kakao.kakao())
        })
        .collect();
    let now = wall_clock::now();
    let all = join_all(others.iter().map(|unlinks| unlinks.work_off(|| now))).await;
    let done: u32 = all.into_iter().map(|worked_off| worked_off.unwrap().done).sum();
    assert_eq!(done, 50);
    assert_eq!(works.kakao.stand_in.requests(Endpoint::Unlink), 40);
    let links = links(&works.database).await;
    assert!(links.iter().all(|row| row[1] == "NULL" && row[3] == "unlinked"), "{links:?}");
    let attempts = "SELECT count(*) FROM kakao_unlinks WHERE attempts <> 1";
    assert_eq!(works.database.number(attempts).await, 0);
}

#[tokio::test]
async fn what_was_claimed_by_a_server_that_died_is_done_by_another() {
    let works = Works::start();
    works.leave(1).await;
    let now = wall_clock::now();
    let claimed = works.store.claim_unlink(now, now.plus_s(30), 16).await.unwrap();
    assert!(claimed.is_some());
    assert_eq!(works.work_off(now.plus_s(29)).await, done(0));
    assert_eq!(works.work_off(now.plus_s(30)).await, done(1));
}

#[tokio::test]
async fn what_is_done_is_forgotten_after_a_while() {
    let works = Works::start();
    works.leave(2).await;
    let now = wall_clock::now();
    works.work_off(now).await;
    assert_eq!(works.store.purge_unlinks(now).await.unwrap(), 0);
    works.leave(1).await;
    assert_eq!(works.store.purge_unlinks(now.plus_s(1)).await.unwrap(), 2);
    assert_eq!(works.database.number("SELECT count(*) FROM kakao_unlinks").await, 1, "to do");
}
