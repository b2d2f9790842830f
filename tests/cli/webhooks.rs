//! `hoga webhook`, on a private cluster.

use super::house::House;

/// Runs it, and demands that it succeeds.
fn done(house: &House, args: &[&str]) -> String {
    let said = house.hoga(args);
    assert_eq!(said.code, 0, "{args:?}: {}{}", said.out, said.err);
    said.out
}

#[test]
fn a_webhook_is_made_listed_shown_tested_replayed_and_removed() {
    let house = House::new();
    let client = done(&house, &["client", "add", "Moon Jar Shop"]).trim().to_owned();
    let url = "https://shop.example.com/hoga?key=1";
    let added = done(&house, &["webhook", "add", &client, url, "--type", "auction.*"]);
    let (id, secret) = added.trim().split_once('\n').unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    let list = done(&house, &["webhook", "list", &client]);
    assert!(
        list.contains(id) && list.contains("enabled") && list.contains("https://shop.example.com")
    );
    assert!(!list.contains("key=1"), "a path may be a secret: {list}");

    assert!(done(&house, &["webhook", "disable", &client, id]).contains("disabled (operator)"));
    done(&house, &["webhook", "test", &client, id]);
    let shown = done(&house, &["webhook", "show", &client, id]);
    for part in [url, "auction.*", "webhook.test", "waiting"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains(secret), "shown once");
    let since = ["webhook", "replay", &client, id, "--since", "2026-01-01T00:00:00Z"];
    assert_eq!(done(&house, &since), "0 will be told again\n", "what waits comes anyway");
    assert!(done(&house, &["webhook", "enable", &client, id]).contains("enabled"));
    let next = done(&house, &["webhook", "secret", &client, id, "--overlap-s", "0"]);
    assert!(next.starts_with("whsec_") && next.trim() != secret);
    done(&house, &["webhook", "remove", &client, id]);
    assert_eq!(done(&house, &["webhook", "list", &client]), "");

    for (args, said) in [
        (vec!["webhook", "list", "hc_nobody"], "there is no client"),
        (vec!["webhook", "show", &client, id], "has no webhook"),
        (vec!["webhook", "add", &client, "https://10.0.0.1/"], "url the host must be public"),
        (vec!["webhook", "add", "hc_nobody", "https://shop.example.com/"], "there is no client"),
    ] {
        let refused = house.hoga(&args);
        assert_eq!(refused.code, 1, "{args:?}");
        assert!(refused.err.contains(said), "{}", refused.err);
    }
    let wrong = house.hoga(&["webhook", "secret", &client, id, "--overlap-s", "604801"]);
    assert_eq!(wrong.code, 2);
}
