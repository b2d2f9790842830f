//! `hoga client`, on a private cluster, with and without a server.

use super::house::{House, wait_until};

/// Runs it, and demands that it succeeds.
fn done(house: &House, args: &[&str]) -> String {
    let said = house.hoga(args);
    assert_eq!(said.code, 0, "{args:?}: {}{}", said.out, said.err);
    said.out
}

#[test]
fn a_client_is_added_listed_shown_changed_removed_and_enabled() {
    let house = House::new();
    let added = done(
        &house,
        &[
            "client",
            "add",
            "Moon Jar Shop",
            "--redirect-uri",
            "https://shop.example.com/callback",
            "--origin",
            "https://shop.example.com",
            "--bids-per-second",
            "50",
        ],
    );
    let id = added.trim();
    assert!(id.starts_with("hc_") && added.lines().count() == 1, "{added}");
    let list = done(&house, &["client", "list"]);
    assert!(list.contains(id) && list.contains("public") && list.contains("Moon Jar Shop"));
    let shown = done(&house, &["client", "show", id]);
    for part in ["https://shop.example.com/callback", "https://shop.example.com\n", " 50\n"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let changed = done(
        &house,
        &[
            "client",
            "change",
            id,
            "--name",
            "Another",
            "--origin",
            "https://a.example",
            "--origin",
            "https://b.example",
            "--no-bids-per-second",
            "--no-redirect-uris",
        ],
    );
    for part in ["Another", "https://a.example\n", "https://b.example\n", "no limit of its own"] {
        assert!(changed.contains(part), "{part}: {changed}");
    }
    assert!(!changed.contains("shop.example.com"), "{changed}");
    done(&house, &["client", "remove", id]);
    assert!(done(&house, &["client", "list"]).contains("disabled"));
    assert!(!done(&house, &["client", "change", id, "--enable"]).contains("disabled"));

    let refused = house.hoga(&["client", "secret", id]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("has no secret"), "{}", refused.err);
    let added = done(&house, &["client", "add", "A server", "--confidential"]);
    let (id, secret) = added.trim().split_once('\n').unwrap();
    assert!(secret.starts_with("hs_") && secret.len() == 46, "{secret}");
    let next = done(&house, &["client", "secret", id]);
    assert!(next.starts_with("hs_") && next.trim() != secret);
    assert!(!done(&house, &["client", "show", id]).contains(next.trim()));
}

#[test]
fn what_cannot_stand_is_told_and_nothing_is_written() {
    let house = House::new();
    let refused = |args: &[&str], code: i32, because: &str| {
        let said = house.hoga(args);
        assert_eq!(said.code, code, "{args:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(because), "{args:?}: {}", said.err);
    };
    let add = ["client", "add"];
    let both = [&add[..], &["x", "--redirect-uri", "http://x.example", "--origin", "x/"]].concat();
    refused(&both, 1, "redirect_uris[0] must begin with https://");
    refused(&both, 1, "allowed_origins[0] must be an origin");
    refused(&[&add[..], &[""]].concat(), 1, "name must be 1 to 80 characters");
    refused(&[&add[..], &["x", "--bids-per-second", "0"]].concat(), 1, "bids_per_second must be");
    refused(&add, 2, "<NAME>");
    refused(&["client"], 2, "Usage");
    refused(&["client", "show", "hc_x"], 1, "there is no client hc_x");
    refused(&["client", "change", "hc_x", "--enable"], 1, "there is no client hc_x");
    refused(&["client", "change", "hc_x"], 2, "required");
    refused(&["client", "change", "x", "--origin", "y", "--no-origins"], 2, "cannot be used with");
    refused(&["client", "remove", "hc_x"], 1, "there is no client hc_x");
    refused(&["client", "secret", "hc_x"], 1, "there is no client hc_x");
    assert_eq!(done(&house, &["client", "list"]), "");
}

#[test]
fn a_running_server_hears_of_it_and_the_demo_client_is_there_from_the_first_start() {
    let mut house = House::new();
    house.serve();
    // The first start registers it before it says that it is ready to anybody but /readyz.
    let list = || done(&house, &["client", "list"]);
    wait_until("the demo client is registered", || list().contains("hc_demo"));
    let shown = done(&house, &["client", "show", "hc_demo"]);
    for port in ["3000", "5173"] {
        for host in ["localhost", "127.0.0.1"] {
            assert!(shown.contains(&format!(" http://{host}:{port}/callback\n")), "{shown}");
            assert!(shown.contains(&format!(" http://{host}:{port}\n")), "{shown}");
        }
    }
    let page = "https://moon-jar.example";
    let is_allowed = || house.allows_origin("/v1/time", page);
    assert!(!is_allowed());
    done(&house, &["client", "change", "hc_demo", "--origin", page]);
    wait_until("the server allows the page", is_allowed);
    done(&house, &["client", "remove", "hc_demo"]);
    wait_until("the server allows it no more", || !is_allowed());
}
