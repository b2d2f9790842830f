//! `hoga keys`, and a server that hears of it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::house::{House, wait_until};

fn done(house: &House, args: &[&str]) -> String {
    let said = house.hoga(args);
    assert_eq!(said.code, 0, "{args:?}: {}{}", said.out, said.err);
    said.out
}

fn kids(house: &House) -> Vec<String> {
    let keys = house.json("/.well-known/jwks.json");
    let kid = |key: &serde_json::Value| key["kid"].as_str().unwrap().to_owned();
    keys["keys"].as_array().unwrap().iter().map(kid).collect()
}

#[test]
fn keys_are_rotated_listed_and_dropped_while_the_server_runs() {
    let mut house = House::new();
    let missing = house.hoga(&["keys", "list"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("makes them on its first start"), "{}", missing.err);
    house.serve();
    let token = done(&house, &["token", "--user", "minji"]);
    let file = house.file("items.csv", "title,id\n달항아리,1\n");
    done(&house, &["import", file.to_str().unwrap()]);
    let first = kids(&house).remove(0);
    assert_eq!(done(&house, &["keys", "list"]), format!("{first}  signs\n"));

    let rotated = done(&house, &["keys", "rotate"]);
    let second = rotated.split(' ').next().unwrap().to_owned();
    assert!(rotated.contains("is published, and signs from"), "{rotated}");
    wait_until("the new key is published", || kids(&house) == [first.clone(), second.clone()]);
    let again = house.hoga(&["keys", "rotate"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("--now"), "{}", again.err);
    let at_once = done(&house, &["keys", "rotate", "--now"]);
    assert_eq!(at_once, format!("{second} signs from now on\n"));
    let list = done(&house, &["keys", "list"]);
    assert!(list.starts_with(&format!("{first}  verifies until ")), "{list}");
    assert!(list.ends_with(&format!("{second}  signs\n")), "{list}");

    // The log goes on being verified: its checkpoint is signed by the key of the day.
    let auctions = house.json("/v1/auctions");
    let url =
        format!("{}/v1/auctions/{}/log", house.url(), auctions["items"][0]["id"].as_str().unwrap());
    let is_verified_by = |kid: &str| {
        let said = house.hoga(&["verify", &url]);
        said.code == 0 && said.out.contains(&format!("of key {kid}, good"))
    };
    // Who asks as often as this test is told to wait now and then: 429.
    let status = |token: &str| house.status_with_token("/v1/auctions", token.trim());
    wait_until("the checkpoint is signed by the new key", || is_verified_by(&second));
    wait_until("the old one still verifies", || status(&token) == 200);

    let dropped = done(&house, &["keys", "drop", &first]);
    assert_eq!(dropped, format!("{first} is gone; {second} signs\n"));
    wait_until("its tokens count no more", || status(&token) == 401);
    assert_eq!(kids(&house), std::slice::from_ref(&second));
    wait_until("the log is verified without it", || is_verified_by(&second));
    let unknown = house.hoga(&["keys", "drop", &first]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("there is no key"), "{}", unknown.err);
    let next = done(&house, &["token", "--user", "minji"]);
    wait_until("a new token counts", || status(&next) == 200);
    let dropped = done(&house, &["keys", "drop", &second]);
    assert!(dropped.starts_with(&format!("{second} is gone; ")), "{dropped}");
    wait_until("another key signs", || kids(&house).len() == 1 && kids(&house)[0] != second);
}

#[test]
fn a_key_file_that_others_can_read_stops_the_start_with_what_to_type() {
    let house = House::new();
    let key = super::stub::a_key(&house);
    let exposed = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    exposed(0o644);
    let with_key: &[(&str, &Path)] = &[("HOGA_SIGNING_KEY_FILE", &key)];
    for args in [&["serve"][..], &["keys", "list"], &["keys", "rotate"], &["token", "--user", "x"]]
    {
        let said = house.hoga_with(with_key, args);
        assert_eq!(said.code, 2, "{args:?}");
        assert!(said.err.contains(&format!("type: chmod 600 {}", key.display())), "{}", said.err);
    }
    exposed(0o600);
    assert_eq!(house.hoga_with(with_key, &["keys", "list"]).code, 0);
}
