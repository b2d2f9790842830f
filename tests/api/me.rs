//! The caller's own account: what it says, what its owner agrees to, who may see it.

use hoga::{domain::id::UserId, identity::Role, wall_clock};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, Client, TestServer, an_auction, logs};

async fn change(caller: &Client, changes: Value) -> Answer {
    caller.patch("/v1/me", &changes).await
}

/// The year that it is in Seoul.
fn this_year() -> i64 {
    let in_seoul = wall_clock::now().plus_s(9 * 3_600).to_string();
    in_seoul[..4].parse().unwrap()
}

#[tokio::test]
async fn an_account_says_who_one_is_and_nothing_that_was_not_given() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let answer = minji.get("/v1/me").await;
    let me = answer.with_status(200);
    assert_eq!(me["id"], minji.id.to_string());
    assert_eq!((&me["nickname"], &me["roles"]), (&json!("minji"), &json!(["bidder"])));
    for unknown in ["birth_year", "gender", "profile_consent_at"] {
        assert_eq!(me[unknown], Value::Null, "{unknown}");
    }
    assert!(me["created_at"].is_string());
    assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
}

#[tokio::test]
async fn only_what_is_named_changes_and_null_takes_away() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let whole = json!({"nickname": " 민지 ", "birth_year": 1995, "gender": "female", "profile_consent": true});
    let me = change(&minji, whole).await.with_status(200);
    assert_eq!(me["nickname"], "민지", "without the blanks around it");
    assert_eq!((&me["birth_year"], &me["gender"]), (&json!(1995), &json!("female")));
    let agreed_at = me["profile_consent_at"].clone();
    assert!(agreed_at.is_string());

    let me = change(&minji, json!({"gender": null})).await.with_status(200);
    assert_eq!((&me["birth_year"], &me["gender"]), (&json!(1995), &Value::Null));
    let me = change(&minji, json!({"gender": "other", "profile_consent": true})).await;
    let me = me.with_status(200);
    assert_eq!(me["gender"], "other");
    assert_eq!(me["profile_consent_at"], agreed_at, "they had agreed before");
    assert_eq!(minji.get("/v1/me").await.with_status(200), me, "as it was answered");
}

#[tokio::test]
async fn birth_year_and_gender_are_kept_with_consent_alone() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    for without in [
        json!({"birth_year": 1995}),
        json!({"gender": "male"}),
        json!({"birth_year": 1995, "profile_consent": false}),
        json!({"gender": "male", "profile_consent": null}),
    ] {
        let answer = change(&minji, without.clone()).await;
        assert_eq!(answer.wrong_fields(), ["profile_consent"], "{without}");
    }
    change(&minji, json!({"birth_year": null, "gender": null})).await.with_status(200);
    change(&minji, json!({"profile_consent": true})).await.with_status(200);
    change(&minji, json!({"birth_year": 1995, "gender": "male"})).await.with_status(200);
    for withdrawn in [json!(false), Value::Null] {
        let given = json!({"birth_year": 1995, "gender": "male", "profile_consent": true});
        change(&minji, given).await.with_status(200);
        let me = change(&minji, json!({"profile_consent": withdrawn})).await.with_status(200);
        for gone in ["birth_year", "gender", "profile_consent_at"] {
            assert_eq!(me[gone], Value::Null, "{gone}");
        }
    }
    let kept = "SELECT count(*) FROM users WHERE birth_year IS NOT NULL OR gender IS NOT NULL";
    assert_eq!(server.database.number(kept).await, 0);
}

#[tokio::test]
async fn each_field_that_is_wrong_is_named_and_nothing_changes() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let before = minji.get("/v1/me").await;
    let year = this_year();
    for (field, value) in [
        ("nickname", json!("")),
        ("nickname", json!("   ")),
        ("nickname", json!("가".repeat(31))),
        ("nickname", json!("a\0b")),
        ("nickname", json!("a\nb")),
        ("nickname", json!("\u{202e}ijnim")),
        ("nickname", json!("left-0123456789ab")),
        ("nickname", Value::Null),
        ("nickname", json!(1)),
        ("birth_year", json!(year + 1)),
        ("birth_year", json!(year)),
        ("birth_year", json!(year - 14)),
        ("birth_year", json!(1_850)),
        ("birth_year", json!(-1)),
        ("birth_year", json!(99_999)),
        ("birth_year", json!("1995")),
        ("birth_year", json!(1995.5)),
        ("gender", json!("F")),
        ("profile_consent", json!("yes")),
    ] {
        let mut changes = json!({"profile_consent": true});
        changes[field] = value.clone();
        assert_eq!(change(&minji, changes).await.wrong_fields(), [field], "{field}: {value}");
    }
    let young = change(&minji, json!({"birth_year": year - 13, "profile_consent": true})).await;
    let problem = young.refused(422, "invalid_request");
    assert!(problem["errors"][0]["message"].as_str().unwrap().contains("guardian"), "{problem}");
    let both = change(&minji, json!({"nickname": "", "birth_year": year})).await;
    assert_eq!(both.wrong_fields(), ["nickname", "profile_consent", "birth_year"]);
    for unknown in ["roles", "name", "id", "kakao_id", "left_at", "profile_consent_at"] {
        let answer = change(&minji, json!({unknown: null})).await;
        answer.refused(422, "invalid_request");
    }
    minji
        .send(minji.request(Method::PATCH, "/v1/me").body("{}"))
        .await
        .refused(415, "unsupported_media_type");
    let after = minji.get("/v1/me").await;
    assert_eq!((after.json(), after.tag()), (before.json(), before.tag()));
    let old_enough = json!({"birth_year": year - 15, "profile_consent": true});
    change(&minji, old_enough).await.with_status(200);
}

#[tokio::test]
async fn a_known_account_is_not_sent_again_and_a_stale_one_not_changed() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let tag = minji.get("/v1/me").await.tag();
    let again =
        |tag: String| minji.send(minji.request(Method::GET, "/v1/me").header("if-none-match", tag));
    let known = again(tag.clone()).await;
    assert_eq!((known.status, known.bytes.len()), (304, 0));
    assert_eq!(known.tag(), tag);
    let with_tag = |tag: String, nickname: &'static str| {
        let request = minji.request(Method::PATCH, "/v1/me").header("if-match", tag);
        minji.send(request.json(&json!({"nickname": nickname})))
    };
    let changed = with_tag(tag.clone(), "민지").await;
    assert_eq!(changed.with_status(200)["nickname"], "민지");
    assert_eq!(again(tag.clone()).await.tag(), changed.tag());
    for stale in [tag.as_str(), "W/\"2\"", "nonsense", "\"99\""] {
        with_tag(stale.to_owned(), "x").await.refused(412, "precondition_failed");
    }
    assert_eq!(with_tag("*".into(), "민지").await.tag(), changed.tag(), "nothing changed");
    with_tag(changed.tag(), "지민").await.with_status(200);
}

#[tokio::test]
async fn changes_at_the_same_time_are_made_one_after_the_other() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    change(&minji, json!({"profile_consent": true})).await.with_status(200);
    let changes = (0..8).map(|n| {
        let changes = if n % 2 == 0 {
            json!({"birth_year": 1990 + n})
        } else {
            json!({"nickname": format!("n{n}")})
        };
        change(&minji, changes)
    });
    let answers = futures_util::future::join_all(changes.collect::<Vec<_>>()).await;
    let mut tags: Vec<String> = answers.iter().map(Answer::tag).collect();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 8, "each saw the one before");
    let me = minji.get("/v1/me").await.with_status(200);
    assert!(me["nickname"].as_str().unwrap().starts_with('n') && me["birth_year"].is_i64(), "{me}");
}

#[tokio::test]
async fn a_new_nickname_is_shown_with_auctions_also_to_who_knew_the_old_one() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    let path = format!("/v1/auctions/{id}");
    sora.auction_once(&id, "live").await;
    let tag = sora.get(&path).await.tag();
    change(&sora, json!({"nickname": "소라"})).await.with_status(200);
    let anyone = server.anonymous();
    let request = anyone.request(Method::GET, &path).header("if-none-match", tag);
    assert_eq!(anyone.send(request).await.with_status(200)["seller"]["nickname"], "소라");
}

#[tokio::test]
async fn without_a_token_or_an_account_behind_it_nothing_is_told() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    anyone.get("/v1/me").await.refused(401, "unauthenticated");
    change(&anyone, json!({})).await.refused(401, "unauthenticated");
    anyone.remove("/v1/me").await.refused(401, "unauthenticated");
    let nobody = UserId(Uuid::now_v7());
    let nobody = server.caller_with(&server.token(nobody, &[Role::Bidder, Role::Admin], 60));
    nobody.get("/v1/me").await.refused(401, "token_invalid");
    change(&nobody, json!({"nickname": "x"})).await.refused(401, "token_invalid");
    nobody.remove("/v1/me").await.refused(401, "token_invalid");
}

#[tokio::test]
async fn what_somebody_tells_of_themselves_is_in_no_log() {
    let server = TestServer::spawn();
    let minji = server.bidder("minji").await;
    let nickname = "비밀의별명";
    change(&minji, json!({"nickname": nickname, "birth_year": 1977, "gender": "female", "profile_consent": true}))
        .await
        .with_status(200);
    change(&minji, json!({"nickname": format!("{nickname}\0")}))
        .await
        .refused(422, "invalid_request");
    assert!(!logs::kept().contains(nickname));
}
