//! `hoga roles`, on a private cluster.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::house::House;

fn id_of(house: &House, name: &str) -> String {
    let token = house.hoga(&["token", "--user", name]).out;
    let payload = token.split('.').nth(1).expect("a payload");
    let claims = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
    claims["sub"].as_str().expect("an id").to_owned()
}

#[test]
fn roles_are_shown_set_and_taken_away() {
    let house = House::new();
    let minji = id_of(&house, "minji");
    let roles = |args: &[&str]| {
        let said = house.hoga(&[&["roles", &minji], args].concat());
        assert_eq!(said.code, 0, "{}", said.err);
        said.out
    };
    assert_eq!(roles(&[]), "bidder\n");
    assert_eq!(roles(&["--role", "admin", "--role", "bidder"]), "bidder admin\n");
    assert_eq!(roles(&[]), "bidder admin\n");
    assert_eq!(roles(&["--role", "seller"]), "seller\n");
}

#[test]
fn a_user_whom_nobody_knows_and_a_role_that_is_none_are_told() {
    let house = House::new();
    let nobody = house.hoga(&["roles", "01935b2e-7c1a-7000-8000-000000000000", "--role", "admin"]);
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("there is no user 01935b2e"), "{}", nobody.err);
    let wrong = house.hoga(&["roles", "01935b2e-7c1a-7000-8000-000000000000", "--role", "king"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("bidder, seller and admin"), "{}", wrong.err);
    assert_eq!(house.hoga(&["roles", "minji"]).code, 2, "an id, not a name");
}
