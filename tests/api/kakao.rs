//! Logging in at Kakao: the adapter against the stand-in, and what Hoga's own port shows of it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use hoga::{
    config::{Config, DatabaseUrl},
    domain::time::Timestamp,
    embedded::{
        catalogue::DEMO_USERS,
        demo,
        kakao::{Endpoint, Fault, Forgery},
    },
    identity::kakao::{
        Ask, BaseUrls, Blame, IdTokenFault, Kakao, KakaoConfig, KakaoError, KakaoUser, Place,
        Rubbish, SetupError, Timeouts, UNKNOWN_REFETCH_AFTER_S,
    },
    store::ClientChanges,
    wall_clock,
};
use sha2::{Digest, Sha256};

use crate::support::{
    TestServer,
    kakao::{self, JUNHO, KakaoServer, MINJI, browser, parameter, redirect_uri},
    logs,
};

const STATE: &str = "a state of ours";
const NONCE: &str = "a nonce of ours";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

fn authorize_url(kakao: &Kakao) -> String {
    kakao.authorize_url(&Ask {
        redirect_uri: &redirect_uri(),
        state: STATE,
        nonce: NONCE,
        code_challenge: &URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER)),
        prompt: None,
    })
}

/// A code for somebody who pressed their button.
async fn code(kakao: &Kakao, person: i64) -> String {
    let page = kakao::open(&authorize_url(kakao)).await;
    let back = page.press(&person.to_string()).await;
    assert_eq!(parameter(&back, "state").as_deref(), Some(STATE));
    parameter(&back, "code").expect("a code")
}

async fn log_in_with(kakao: &Kakao, code: &str, now: Timestamp) -> Result<KakaoUser, KakaoError> {
    kakao.log_in(code, &redirect_uri(), VERIFIER, NONCE, now).await
}

/// From the page to the user, or to why there is none.
async fn log_in(kakao: &Kakao, person: i64) -> Result<KakaoUser, KakaoError> {
    let code = code(kakao, person).await;
    log_in_with(kakao, &code, wall_clock::now()).await
}

#[tokio::test]
async fn somebody_logs_in_and_is_known_by_kakaos_id() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    let minji = log_in(&kakao, MINJI).await.unwrap();
    assert_eq!((minji.id, minji.nickname.as_deref()), (MINJI, Some("민지")));
    let junho = log_in(&kakao, JUNHO).await.unwrap();
    assert_eq!((junho.id, junho.nickname.as_deref()), (JUNHO, Some("준호")));
    // The keys are fetched once; tokens and user data for each login.
    let requests = |endpoint| server.stand_in.requests(endpoint);
    assert_eq!([Endpoint::Keys, Endpoint::Token, Endpoint::User].map(requests), [1, 2, 2]);
}

#[tokio::test]
async fn a_user_who_refuses_comes_back_without_a_code() {
    let server = KakaoServer::start();
    let back = kakao::open(&authorize_url(&server.kakao())).await.press("refuse").await;
    assert_eq!(parameter(&back, "code"), None);
    assert_eq!(parameter(&back, "state").as_deref(), Some(STATE));
    let error = parameter(&back, "error").unwrap();
    let description = parameter(&back, "error_description");
    assert_eq!(error, "access_denied");
    assert_eq!(KakaoError::of_callback(&error, description.as_deref()), KakaoError::Refused);
}

#[tokio::test]
async fn a_code_counts_once() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    let code = code(&kakao, MINJI).await;
    assert!(log_in_with(&kakao, &code, wall_clock::now()).await.is_ok());
    let again = log_in_with(&kakao, &code, wall_clock::now()).await;
    assert_eq!(again, Err(KakaoError::CodeInvalid));
}

#[tokio::test]
async fn a_code_counts_with_its_verifier_and_its_redirect_uri_alone() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    let now = wall_clock::now();
    let guessed = log_in_with(&kakao, "guessed", now).await;
    assert_eq!(guessed, Err(KakaoError::CodeInvalid));
    let other_verifier = "another-verifier-of-at-least-43-characters-xx";
    let code_of_minji = code(&kakao, MINJI).await;
    let swapped = kakao.log_in(&code_of_minji, &redirect_uri(), other_verifier, NONCE, now).await;
    assert_eq!(swapped, Err(KakaoError::CodeInvalid));
    let code_of_minji = code(&kakao, MINJI).await;
    let elsewhere = "https://evil.test/oauth/kakao/callback";
    let elsewhere = kakao.log_in(&code_of_minji, elsewhere, VERIFIER, NONCE, now).await;
    assert_eq!(elsewhere, Err(KakaoError::RedirectMismatch));
}

#[tokio::test]
async fn nothing_secret_is_logged_or_told_whatever_becomes_of_a_login() {
    logs::keep();
    let server = KakaoServer::start();
    let kakao = server.kakao();
    let mut codes = Vec::new();
    let mut told = String::new();
    for forgery in [None, Some(Forgery::WrongSignature), Some(Forgery::Missing)] {
        server.stand_in.set_forgery(forgery);
        let code = code(&kakao, MINJI).await;
        told += &format!("{:?} ", log_in_with(&kakao, &code, wall_clock::now()).await);
        told += &format!("{:?} ", log_in_with(&kakao, &code, wall_clock::now()).await);
        codes.push(code);
    }
    let logged = logs::kept();
    codes.extend(
        [VERIFIER, NONCE, kakao::CLIENT_SECRET, kakao::ADMIN_KEY, "민지"].map(String::from),
    );
    for secret in codes {
        assert!(!told.contains(&secret) && !logged.contains(&secret), "{secret}");
    }
}

#[tokio::test]
async fn a_login_with_another_nonce_is_not_ours() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    let code = code(&kakao, MINJI).await;
    let now = wall_clock::now();
    let login = kakao.log_in(&code, &redirect_uri(), VERIFIER, "of another browser", now).await;
    assert_eq!(login, Err(KakaoError::IdTokenInvalid(IdTokenFault::Nonce)));
}

#[tokio::test]
async fn a_wrong_app_key_or_secret_is_told_apart() {
    let server = KakaoServer::start();
    let code = code(&server.kakao(), MINJI).await;
    let now = wall_clock::now();
    let kakao = server.kakao_with(|config| config.client_id = "another-app".into());
    assert_eq!(log_in_with(&kakao, &code, now).await, Err(KakaoError::AppKeyWrong));
    let kakao = server.kakao_with(|config| config.client_secret = "guessed".into());
    assert_eq!(log_in_with(&kakao, &code, now).await, Err(KakaoError::SecretWrong));
}

#[tokio::test]
async fn every_code_of_kakaos_is_an_error_of_its_own() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    let codes = [
        ("KOE320", "kakao_code_invalid", Blame::User),
        ("KOE303", "kakao_redirect_mismatch", Blame::Operator),
        ("KOE101", "kakao_app_key_wrong", Blame::Operator),
        ("KOE010", "kakao_secret_wrong", Blame::Operator),
        ("KOE006", "kakao_redirect_unregistered", Blame::Operator),
        ("KOE004", "kakao_not_activated", Blame::Operator),
        ("KOE005", "kakao_not_a_tester", Blame::User),
        ("KOE205", "kakao_consent_missing", Blame::User),
        ("KOE237", "kakao_too_many_requests", Blame::Moment),
        ("KOE003", "kakao_unavailable", Blame::Moment),
        ("KOE999", "kakao_error", Blame::Operator),
    ];
    for (code, word, blame) in codes {
        server.stand_in.set_fault(Endpoint::Token, Some(Fault::Koe(code)));
        let error = log_in(&kakao, MINJI).await.unwrap_err();
        assert_eq!((error.word(), error.blame()), (word, blame), "{code}");
    }
    server.stand_in.set_fault(Endpoint::Token, None);
    for (code, word) in [
        (-401, "kakao_token_refused"),
        (-402, "kakao_consent_missing"),
        (-406, "kakao_too_young"),
        (-10, "kakao_too_many_requests"),
        (-777, "kakao_error"),
    ] {
        server.stand_in.set_fault(Endpoint::User, Some(Fault::Api(code)));
        assert_eq!(log_in(&kakao, MINJI).await.unwrap_err().word(), word, "{code}");
    }
}

#[tokio::test]
async fn rubbish_is_told_apart_and_read_no_further_than_it_must_be() {
    let server = KakaoServer::start();
    let faults = [
        (Fault::Page, "kakao_rubbish"),
        (Fault::OtherJson, "kakao_rubbish"),
        (Fault::TooLarge, "kakao_rubbish"),
        (Fault::Redirect, "kakao_rubbish"),
        (Fault::Status(404), "kakao_rubbish"),
        (Fault::Status(429), "kakao_too_many_requests"),
        (Fault::Status(502), "kakao_unavailable"),
        (Fault::HangUp, "kakao_unavailable"),
    ];
    for (endpoint, place) in [
        (Endpoint::Token, Place::Token),
        (Endpoint::Keys, Place::Keys),
        (Endpoint::User, Place::User),
    ] {
        for (fault, word) in faults {
            // A fresh adapter: one that has the keys does not ask for them.
            let kakao = server.kakao();
            server.stand_in.set_fault(endpoint, Some(fault));
            let error = log_in(&kakao, MINJI).await.unwrap_err();
            assert_eq!(error.word(), word, "{fault:?} at {place}: {error}");
        }
        server.stand_in.set_fault(endpoint, Some(Fault::TooLarge));
        let too_large = KakaoError::Rubbish { place, what: Rubbish::TooLarge };
        assert_eq!(log_in(&server.kakao(), MINJI).await, Err(too_large));
        server.stand_in.set_fault(endpoint, None);
    }
}

#[tokio::test]
async fn a_slow_kakao_fails_fast_wherever_it_is_slow() {
    let server = KakaoServer::start();
    for (endpoint, place) in [
        (Endpoint::Token, Place::Token),
        (Endpoint::Keys, Place::Keys),
        (Endpoint::User, Place::User),
    ] {
        let kakao = server.kakao_with(|config| config.timeouts = Timeouts::default());
        let code = code(&kakao, MINJI).await;
        server.stand_in.set_fault(endpoint, Some(Fault::Slow));
        let login = log_in_with(&kakao, &code, wall_clock::now()).await;
        // Otherwise Kakao's late answer would be judged.
        assert_eq!(login, Err(KakaoError::TimedOut(place)));
        server.stand_in.set_fault(endpoint, None);
    }
}

#[tokio::test]
async fn too_many_logins_at_a_slow_kakao_are_told_so_at_once() {
    let server = KakaoServer::start();
    let kakao = server.kakao_with(|config| config.timeouts = Timeouts::default());
    server.stand_in.set_fault(Endpoint::Token, Some(Fault::Slow));
    let now = wall_clock::now();
    let logins = join_all((0..80).map(|_| log_in_with(&kakao, "any", now))).await;
    let count =
        |error: KakaoError| logins.iter().filter(|login| login.as_ref() == Err(&error)).count();
    let (busy, timed_out) = (count(KakaoError::Busy), count(KakaoError::TimedOut(Place::Token)));
    assert_eq!((busy, timed_out), (16, 64));
    assert_eq!(KakaoError::Busy.blame(), Blame::Moment);
}

#[tokio::test]
async fn a_kakao_that_is_down_fails_at_once() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    let code = code(&kakao, MINJI).await;
    drop(server);
    let error = log_in_with(&kakao, &code, wall_clock::now()).await.unwrap_err();
    assert_eq!((error.word(), error.blame()), ("kakao_unavailable", Blame::Moment));
    let told = format!("{error} {error:?}");
    assert!(!told.contains(&code) && !told.contains(kakao::CLIENT_SECRET), "{told}");
}

#[tokio::test]
async fn an_id_token_that_does_not_hold_logs_nobody_in() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    let forgeries = [
        (Forgery::Missing, IdTokenFault::Missing),
        (Forgery::AnotherNonce, IdTokenFault::Nonce),
        (Forgery::NoNonce, IdTokenFault::Nonce),
        (Forgery::AnotherAudience, IdTokenFault::Audience),
        (Forgery::AnotherIssuer, IdTokenFault::Issuer),
        (Forgery::Expired, IdTokenFault::Expired),
        (Forgery::UnknownKid, IdTokenFault::UnknownKey),
        (Forgery::WrongSignature, IdTokenFault::Signature),
        (Forgery::AlgNone, IdTokenFault::Algorithm),
        (Forgery::Hs256WithPublicKey, IdTokenFault::Algorithm),
    ];
    for (forgery, fault) in forgeries {
        server.stand_in.set_forgery(Some(forgery));
        let login = log_in(&kakao, MINJI).await;
        assert_eq!(login, Err(KakaoError::IdTokenInvalid(fault)), "{forgery:?}");
    }
    server.stand_in.set_forgery(Some(Forgery::AnotherSubject));
    assert_eq!(log_in(&kakao, MINJI).await, Err(KakaoError::AnotherUser));
    server.stand_in.set_forgery(None);
    assert!(log_in(&kakao, MINJI).await.is_ok());
}

#[tokio::test]
async fn an_id_token_counts_until_it_expires_and_not_a_moment_longer() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    let (early, late) = (code(&kakao, MINJI).await, code(&kakao, MINJI).await);
    // The token is issued in the second of the exchange, for 21,599 seconds.
    let login = log_in_with(&kakao, &early, wall_clock::now().plus_s(21_500)).await;
    assert!(login.is_ok(), "{login:?}");
    let login = log_in_with(&kakao, &late, wall_clock::now().plus_s(21_700)).await;
    assert_eq!(login, Err(KakaoError::IdTokenInvalid(IdTokenFault::Expired)));
}

#[tokio::test]
async fn a_storm_of_unknown_keys_fetches_the_keys_once() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    assert!(log_in(&kakao, MINJI).await.is_ok());
    let fetched = || server.stand_in.requests(Endpoint::Keys);
    assert_eq!(fetched(), 1);
    server.stand_in.set_forgery(Some(Forgery::UnknownKid));
    let unknown = Err(KakaoError::IdTokenInvalid(IdTokenFault::UnknownKey));
    let now = wall_clock::now();
    let mut codes = Vec::new();
    for _ in 0..12 {
        codes.push(code(&kakao, MINJI).await);
    }
    let (storm, rest) = codes.split_at(8);
    for login in join_all(storm.iter().map(|code| log_in_with(&kakao, code, now))).await {
        assert_eq!(login, unknown);
    }
    assert_eq!(fetched(), 2, "one for all");
    let a_moment_before = now.plus_s(UNKNOWN_REFETCH_AFTER_S).plus_ms(-1);
    assert_eq!(log_in_with(&kakao, &rest[0], a_moment_before).await, unknown);
    assert_eq!(fetched(), 2, "not yet again");
    let later = now.plus_s(UNKNOWN_REFETCH_AFTER_S);
    assert_eq!(log_in_with(&kakao, &rest[1], later).await, unknown);
    assert_eq!(log_in_with(&kakao, &rest[2], later).await, unknown);
    assert_eq!(fetched(), 3, "once more");
}

#[tokio::test]
async fn a_key_that_kakao_rotates_to_is_fetched_when_it_is_first_used() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    assert!(log_in(&kakao, MINJI).await.is_ok());
    server.stand_in.rotate_keys().unwrap();
    assert!(log_in(&kakao, MINJI).await.is_ok());
    assert!(log_in(&kakao, JUNHO).await.is_ok());
    assert_eq!(server.stand_in.requests(Endpoint::Keys), 2);
}

#[tokio::test]
async fn keys_that_could_not_be_fetched_are_fetched_by_the_next_login() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    let now = wall_clock::now();
    let (first, second) = (code(&kakao, MINJI).await, code(&kakao, MINJI).await);
    server.stand_in.set_fault(Endpoint::Keys, Some(Fault::Status(503)));
    let error = log_in_with(&kakao, &first, now).await.unwrap_err();
    assert_eq!(error.word(), "kakao_unavailable");
    server.stand_in.set_fault(Endpoint::Keys, None);
    assert!(log_in_with(&kakao, &second, now.plus_s(1)).await.is_ok());
}

#[tokio::test]
async fn we_unlink_with_the_admin_key_and_twice_is_fine() {
    let server = KakaoServer::start();
    let kakao = server.kakao();
    log_in(&kakao, MINJI).await.unwrap();
    assert!(server.stand_in.is_linked(MINJI));
    let guessing = server.kakao_with(|config| config.admin_key = Some("guessed".into()));
    assert_eq!(guessing.unlink(MINJI).await, Err(KakaoError::AdminKeyWrong));
    let without = server.kakao_with(|config| config.admin_key = None);
    assert_eq!(without.unlink(MINJI).await, Err(KakaoError::AdminKeyWrong));
    assert!(server.stand_in.is_linked(MINJI));
    assert_eq!(kakao.unlink(MINJI).await, Ok(()));
    assert!(!server.stand_in.is_linked(MINJI));
    assert_eq!(kakao.unlink(MINJI).await, Ok(()), "already unlinked counts as done");
    server.stand_in.set_fault(Endpoint::Unlink, Some(Fault::Status(500)));
    assert_eq!(kakao.unlink(MINJI).await.unwrap_err().word(), "kakao_unavailable");
}

/// The embedded default, on the tests' own cluster.
fn embedded() -> TestServer {
    TestServer::spawn_with(embed)
}

/// Its public URL is not this machine, so the demo's login has to be wanted.
fn embed(config: &mut Config) {
    config.database_url = None;
    config.demo_login = Some(true);
}

/// On the port of the server, whatever its public URL is.
fn on_its_port(server: &TestServer, url: &str) -> String {
    url.replace(&server.config.public_url, &server.base_url())
}

#[tokio::test]
async fn the_embedded_default_logs_in_at_its_own_stand_in() {
    let server = embedded();
    let kakao = server.state().kakao.clone().unwrap();
    let url = authorize_url(&kakao);
    assert!(url.starts_with("http://hoga.test/demo/kakao/oauth/authorize?"), "{url}");
    let page = kakao::open(&on_its_port(&server, &url)).await;
    assert!(page.html.contains("This is not Kakao."), "{}", page.html);
    assert!(page.html.contains("여기는 카카오가 아닙니다."));
    for user in DEMO_USERS {
        assert!(page.html.contains(user.nickname));
    }
    let sora = &DEMO_USERS[0];
    let back = page.press(&sora.kakao_id.to_string()).await;
    assert!(back.as_str().starts_with("http://hoga.test/oauth/kakao/callback?"), "{back}");
    let code = parameter(&back, "code").unwrap();
    let user = log_in_with(&kakao, &code, wall_clock::now()).await.unwrap();
    assert_eq!((user.id, user.nickname.as_deref()), (sora.kakao_id, Some(sora.nickname)));
}

#[tokio::test]
async fn the_stand_ins_errors_on_our_port_are_kakaos_and_not_ours() {
    let server = embedded();
    let token_url = format!("{}/demo/kakao/oauth/token", server.base_url());
    let answer = browser().post(token_url).form(&[("client_id", "x")]).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let complaint: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(complaint["error_code"], "KOE101");
}

#[tokio::test]
async fn a_configured_exchange_has_no_stand_in() {
    let standalone = KakaoServer::start();
    let app = standalone.app();
    for server in [
        TestServer::spawn(),
        TestServer::spawn_with(|config| config.kakao = Some(app.clone())),
        // Embedded, and nobody is to log in.
        TestServer::spawn_with(|config| {
            config.database_url = None;
            config.demo_login = Some(false);
        }),
        // Embedded, and with an app of its own at Kakao.
        TestServer::spawn_with(|config| {
            config.database_url = None;
            config.kakao = Some(app.clone());
        }),
    ] {
        for path in ["/demo/kakao/oauth/authorize", "/demo/kakao/v2/user/me"] {
            server.anonymous().get(path).await.refused(404, "not_found");
        }
        assert_eq!(server.state().kakao.is_some(), server.config.kakao.is_some());
    }
}

#[tokio::test]
async fn the_demos_client_counts_only_where_people_log_in_at_the_stand_in() {
    let standalone = KakaoServer::start();
    let mut server = embedded();
    let counts = |server: &TestServer| server.state().clients.get(demo::DEMO_CLIENT).is_some();
    assert!(counts(&server));
    let at_kakao = |config: &mut Config| {
        config.demo_login = None;
        config.kakao = Some(standalone.app());
    };
    let on_an_own_database = |config: &mut Config| {
        let database = server.database.config().clone();
        config.demo_login = None;
        config.database_url = Some(DatabaseUrl::from(database));
    };
    let without_login = |config: &mut Config| config.demo_login = Some(false);
    let changes: [&dyn Fn(&mut Config); 3] = [&at_kakao, &on_an_own_database, &without_login];
    let configs = changes.map(|change| {
        let mut config = server.config.clone();
        change(&mut config);
        config
    });
    let with_the_stand_in = server.config.clone();
    for config in configs {
        server.stop();
        server.config = config;
        server.start();
        assert!(!counts(&server), "{:?}", server.config);
        server.stop();
        server.config = with_the_stand_in.clone();
        server.start();
        assert!(counts(&server), "it is there again with the stand-in");
    }
    // What an operator removed stays removed.
    let removed =
        ClientChanges { disabled_at: Some(Some(wall_clock::now())), ..ClientChanges::default() };
    server.store.change_client(demo::DEMO_CLIENT, &removed).await.unwrap();
    server.restart();
    assert!(!counts(&server));
}

#[tokio::test]
async fn the_people_of_the_demo_are_who_they_are_at_the_stand_in() {
    let server = embedded();
    let state = server.state();
    let prepare = async |at| {
        demo::prepare(&server.store, &state.exchange, state.bid_cap, at).await.unwrap();
        let sql = "SELECT name, kakao_id FROM users ORDER BY name";
        server.database.rows(sql).await
    };
    let unlinked = prepare(demo::LogsInAt::Kakao).await;
    assert!(unlinked.iter().all(|row| row[1] == "NULL"), "{unlinked:?}");
    for _ in 0..2 {
        let linked = prepare(demo::LogsInAt::StandIn).await;
        assert_eq!(linked.len(), DEMO_USERS.len());
        for user in DEMO_USERS {
            assert!(linked.contains(&vec![user.name.to_owned(), user.kakao_id.to_string()]));
        }
    }
}

#[test]
fn an_address_that_is_no_url_is_told_before_anybody_logs_in() {
    let built = Kakao::new(KakaoConfig {
        base_urls: BaseUrls::stand_in("http://[", "http://["),
        client_id: "rest-key".into(),
        client_secret: "secret".into(),
        admin_key: None,
        app_id: None,
        timeouts: Timeouts::default(),
    });
    assert!(matches!(built, Err(SetupError::Url(_))));
}
