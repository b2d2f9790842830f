//! Files and addresses that cannot be used: said in words, with exit code 1, and nothing started.

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use hoga::{cli::Failed, identity::keys::KeyError};

use super::{house::House, saved_logs, stub};

fn refused(house: &House, args: &[&str], because: &str) {
    let said = house.hoga(args);
    assert_eq!(said.code, 1, "{args:?}: {}{}", said.out, said.err);
    assert!(said.err.contains(because), "{args:?}: {}", said.err);
}

#[test]
fn a_catalogue_that_cannot_be_read_is_told_why() {
    let house = House::new();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all("title,id\nx,1\n".repeat(900).as_bytes()).unwrap();
    let mut cut = gzip.finish().unwrap();
    cut.truncate(cut.len() / 2);
    for (name, content, because) in [
        ("empty.csv", &b""[..], "is empty"),
        ("lines.csv", b"\n\n", "is empty"),
        ("columns.csv", b"id,artist\n1,x\n", "lacks the columns title"),
        ("twice.csv", b"title,id,title\nx,1,y\n", "has the column title twice"),
        ("not-gzip.csv.gz", b"\x1f\x8bnot gzip", "cannot read"),
        ("cut.csv.gz", &cut, "cannot read"),
        ("latin1.csv", b"title,\xe9\nx,y\n", "cannot read the header"),
    ] {
        let path = house.file(name, content);
        refused(&house, &["import", path.to_str().unwrap()], because);
    }
    refused(&house, &["import", "/nowhere/items.csv"], "cannot open");
    refused(&house, &["import", "/"], "cannot read");
    for args in [["--per-day", "0"], ["--seller", "two words"]] {
        assert_eq!(house.hoga(&["import", "x.csv", args[0], args[1]]).code, 2);
    }
}

#[test]
fn what_is_no_log_is_refused_with_where_and_why() {
    let house = House::new();
    let id = "01a1fd57-e441-7633-908b-7e3e21e37c62";
    for (content, because) in [
        (String::new(), "there is no log in it"),
        ("<html>".into(), "byte 1: { must stand here"),
        (r#"{"items":[]}"#.into(), "\"auction_id\" must stand here"),
        (r#"{"auction_id":"7","items":[]}"#.into(), "auction_id is not an id"),
        (
            format!(r#"{{"auction_id":"{id}","items":[],"next_after_seq":null}}"#),
            "event 1 of auction 01a1fd57",
        ),
    ] {
        let path = house.file("log.json", content);
        refused(&house, &["verify", path.to_str().unwrap()], because);
    }
    refused(&house, &["verify", "/nowhere/log.json"], "cannot read");
    for url in ["http://127.0.0.1:1/v1/auctions/7", "http://127.0.0.1:1/", "ftp://x/v1/auctions/"] {
        refused(&house, &["verify", url], "is no address of a log");
    }
    let url = format!("http://127.0.0.1:1/v1/auctions/{id}/log");
    refused(&house, &["verify", &url], "no Hoga answers at");
}

#[test]
fn a_replay_needs_a_server_and_its_key() {
    let house = House::new();
    let file = house.file(
        "bids.csv",
        "auction,days,opening_bid_cents,final_price_cents,bid_seq,bid_time_days,bidder,bid_cents\n\
         a,3,100,100,1,1,x,500\n",
    );
    let file = file.to_str().unwrap();
    refused(
        &house,
        &["replay", file, "--live", "http://127.0.0.1:1"],
        "there is no signing key at",
    );
    let key = stub::a_key(&house);
    let replay = |url: &str| {
        house.hoga_with(&[("HOGA_SIGNING_KEY_FILE", &key)], &["replay", file, "--live", url])
    };
    assert!(replay("http://127.0.0.1:1").err.contains("no Hoga answers at"));
    assert!(replay("127.0.0.1:1").err.contains("is no address of a server"));
    let missing = house.hoga(&["replay", file, "--live-seconds", "5"]);
    assert_eq!(missing.code, 2, "{}", missing.err);
}

#[test]
fn a_variable_that_leads_to_what_cannot_be_used_is_named_with_exit_code_2() {
    let house = House::new();
    let no_key = house.file("passwd", "root:x:0:0:root:/root:/bin/bash\n");
    let no_text = Path::new(OsStr::from_bytes(b"\xff"));
    for (variable, value) in [
        ("HOGA_LOG", Path::new("hoga=loud")),
        ("HOGA_LOG_FORMAT", Path::new("xml")),
        ("HOGA_LOG", no_text),
        ("HOGA_DATA_DIR", Path::new("/dev/null/hoga")),
        ("HOGA_POSTGRES_BIN_DIR", Path::new("/nowhere/bin")),
        ("HOGA_SIGNING_KEY_FILE", &no_key),
        ("HOGA_DATABASE_CONNECTIONS_MAX", Path::new("900")),
    ] {
        let said = house.hoga_with(&[(variable, value)], &["serve"]);
        assert_eq!(said.code, 2, "{variable}: {}{}", said.out, said.err);
        assert!(said.err.contains(variable), "{variable}: {}", said.err);
        assert!(!said.err.contains("chmod"), "{variable}: {}", said.err);
    }
    let said = house.hoga_with(&[("HOGA_BINDS", Path::new("0.0.0.0:80"))], &["keys", "list"]);
    assert!(said.err.contains("HOGA_BINDS"), "{}", said.err);
}

#[test]
fn a_report_whose_end_nobody_reads_is_no_failure() {
    let house = House::new();
    let bids = "auction,days,opening_bid_cents,final_price_cents,bid_seq,bid_time_days,bidder,bid_cents\n\
                lamp,3,100,100,1,1,x,500\n";
    let bids = house.file("bids.csv", bids);
    let items = house.file("items.csv", "title\nA lamp\n");
    let log = house.file("log.json", saved_logs::a_log());
    for (command, file) in [("replay", bids), ("verify", log), ("import", items)] {
        let said = house.hoga_unheard(&[command, file.to_str().unwrap()]);
        assert!(said.code == 0 && said.err.is_empty(), "{command}: {} {}", said.code, said.err);
    }
}

#[test]
fn a_full_disk_is_no_mistake_of_the_environment() {
    let full = KeyError::File {
        path: "signing-key.pem".into(),
        source: io::Error::from(io::ErrorKind::StorageFull),
    };
    assert_eq!(Failed::from(full).code, 1);
    let wrong = KeyError::File {
        path: "signing-key.pem".into(),
        source: io::Error::from(io::ErrorKind::PermissionDenied),
    };
    assert_eq!(Failed::from(wrong).code, 2);
}
