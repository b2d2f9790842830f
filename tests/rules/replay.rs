//! Recorded auctions through the rules: those that really happened, and files with every fault.

use std::{fmt::Write as _, fs, io::Write as _, path::PathBuf};

use hoga::cli::{
    csv_file::{FileError, LISTED_MAX},
    replay::{ReplayArgs, ReplayError, Summary, read, replay, reproduce},
};
use tempfile::TempDir;

const HEADER: &str =
    "auction,days,opening_bid_cents,final_price_cents,bid_seq,bid_time_days,bidder,bid_cents";

fn recorded_auctions() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/ebay_bids_pda.csv")
}

fn args(file: PathBuf) -> ReplayArgs {
    ReplayArgs { file, live: None, live_seconds: None, all: false }
}

/// A file that lives as long as the folder that is given back with it.
fn file(content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("bids.csv");
    fs::write(&path, content).expect("written");
    (folder, path)
}

fn rows(rows: &[&str]) -> String {
    format!("{HEADER}\n{}\n", rows.join("\n"))
}

fn report_on(content: impl AsRef<[u8]>, all: bool) -> (Summary, String) {
    let (_folder, path) = file(content);
    let mut out = Vec::new();
    let summary = replay(&ReplayArgs { all, ..args(path) }, &mut out).expect("replayed");
    (summary, String::from_utf8(out).expect("text"))
}

fn error_of(content: impl AsRef<[u8]>) -> ReplayError {
    let (_folder, path) = file(content);
    read(path).expect_err("refused")
}

#[test]
fn at_least_329_of_343_real_auctions_close_at_their_real_price() {
    let mut out = Vec::new();
    let summary = replay(&args(recorded_auctions()), &mut out).expect("the recorded auctions");
    assert_eq!(summary.auctions, 343);
    assert!(summary.reproduced >= 329, "{summary:?}");
    let text = String::from_utf8(out).expect("text");
    let last = format!("reproduced {} of 343 closing prices\n", summary.reproduced);
    assert!(text.ends_with(&last), "{text}");
}

#[test]
fn a_gzipped_file_with_other_columns_in_another_order_is_read_as_well() {
    let plain = fs::read_to_string(recorded_auctions()).expect("the recorded auctions");
    let mut turned = String::new();
    for line in plain.lines() {
        let fields: Vec<_> = line.split(',').rev().collect();
        writeln!(turned, "note,{}", fields.join(",")).expect("a string takes it all");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(turned.as_bytes()).expect("packed");
    let (_folder, path) = file(gzip.finish().expect("packed"));
    let (ours, theirs) = (read(path).expect("read"), read(recorded_auctions()).expect("read"));
    assert_eq!((ours.auctions.len(), ours.skipped.len()), (343, 0));
    assert_eq!(ours.auctions, theirs.auctions);
}

#[test]
fn bids_are_taken_in_order_of_time_whatever_their_order_in_the_file() {
    let (summary, text) = report_on(
        rows(&["a,3,100,1025,3,2.5,z,2000", "b,3,100,100,1,1,x,500", "a,3,100,1025,1,0.5,y,1000"]),
        false,
    );
    // 1,000 first, then 2,000: one step of 50 above 1,000.
    assert_eq!(summary, Summary { reproduced: 1, auctions: 2 }, "{text}");
    assert!(text.contains("auction a: recorded 1025 cents, computed 1050 cents, bids refused 0"));
}

#[test]
fn a_ceiling_a_thousand_times_the_price_is_taken_as_recorded() {
    let (summary, text) = report_on(rows(&["a,3,1,1,1,0.5,y,900000000000"]), false);
    assert_eq!(summary, Summary { reproduced: 1, auctions: 1 }, "{text}");
}

#[test]
fn a_bid_at_or_past_the_end_does_not_count() {
    let (_folder, path) = file(rows(&[
        "a,3,100,100,1,2.99999999,x,500",
        "a,3,100,100,2,3,y,900",
        "a,3,100,100,3,3.5,z,900",
    ]));
    let reproduction = reproduce(&read(path).expect("read").auctions[0]);
    assert!(reproduction.holds(), "{reproduction:?}");
    assert_eq!(reproduction.refused, 2);
}

#[test]
fn an_auction_without_bids_is_unsold_here_as_there() {
    let lines = rows(&["a,3,100,,,,,", "b,3,100,0,,,,", "c,3,100,700,,,,"]);
    let (summary, text) = report_on(lines, false);
    assert_eq!(summary, Summary { reproduced: 2, auctions: 3 });
    assert!(text.contains("auction c: recorded 700 cents, computed unsold"), "{text}");
}

#[test]
fn whole_cents_written_with_a_point_are_whole_and_a_fraction_is_not() {
    let (summary, text) =
        report_on(rows(&["a,3,100.00,100.0,1,.5,x,500.", "b,3,100,100,1,1,x,500.5"]), false);
    assert_eq!(summary, Summary { reproduced: 1, auctions: 1 });
    assert!(text.contains("line 3: bid_cents is \"500.5\""), "{text}");
}

#[test]
fn each_bad_row_is_named_with_its_line_and_left_out() {
    let bad = [
        (",3,100,100,1,1,x,500", "auction is \"\""),
        ("a,0,100,100,1,1,x,500", "days is \"0\""),
        ("a,367,100,100,1,1,x,500", "at most 366"),
        ("a,3,0,100,1,1,x,500", "opening_bid_cents is \"0\""),
        ("a,3,1000000000001,100,1,1,x,500", "at most 1000000000000"),
        ("a,3,100,-5,1,1,x,500", "final_price_cents is \"-5\""),
        ("a,3,100,100,one,1,x,500", "bid_seq is \"one\""),
        ("a,3,100,100,1,-1,x,500", "bid_time_days is \"-1\""),
        ("a,3,100,100,1,NaN,x,500", "bid_time_days is \"NaN\""),
        ("a,3,100,100,1,1,,500", "bidder is \"\""),
        ("a,3,100,100,1,1,x,0", "bid_cents is \"0\""),
        ("a,3,100,100,1,1,x,99999999999999999999", "bid_cents is \"9999"),
        ("a,3,100,100,1,1,x,", "bid_cents is \"\""),
        ("a,3,100,100", "the row has 4 fields, but the header has 8"),
    ];
    let mut lines = vec!["ok,3,100,100,1,1,x,500"];
    lines.extend(bad.iter().map(|(line, _)| *line));
    let (summary, text) = report_on(rows(&lines), false);
    for (place, (row, problem)) in bad.iter().enumerate() {
        let line = text.lines().nth(place).expect("one line a bad row");
        assert!(line.starts_with(&format!("line {}: ", place + 3)), "{line}");
        assert!(line.contains(problem), "{row} gives {line}");
    }
    assert!(text.ends_with("skipped 14 of 15 rows\nreproduced 1 of 1 closing prices\n"), "{text}");
    assert_eq!(summary, Summary { reproduced: 1, auctions: 1 });
}

#[test]
fn a_row_that_contradicts_its_auction_keeps_its_bid_and_the_first_row_holds() {
    let lines = rows(&["a,3,100,550,1,1,x,500", "a,3,900,550,2,2,y,900"]);
    let (summary, text) = report_on(lines, false);
    let said = "line 3: opening_bid_cents differs from line 2, which is of the same auction";
    assert!(text.starts_with(said), "{text}");
    assert_eq!(summary, Summary { reproduced: 1, auctions: 1 }, "{text}");
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    let bad = "b,3,0,100,1,1,x,500";
    for (content, line) in [
        (format!("{HEADER}\r\n{bad}\r\n"), 2),
        (format!("{HEADER}\n\n\n{bad}\n"), 4),
        (format!("{HEADER}\r\n\r\n\r\n{bad}"), 4),
        (format!("\n{HEADER}\na,3,1,1,1,1,\"x\ny\",5\n{bad}\n"), 5),
    ] {
        let (_, text) = report_on(&content, false);
        assert!(text.starts_with(&format!("line {line}: ")), "{content:?} gives {text}");
    }
}

#[test]
fn a_row_that_is_not_utf_8_is_skipped() {
    let mut content = rows(&["a,3,100,100,1,1,x,500"]).into_bytes();
    content.extend(b"b,3,100,100,1,1,\xff,500\n");
    let (summary, text) = report_on(content, false);
    assert!(text.starts_with("line 3: the row is not UTF-8; row skipped"), "{text}");
    assert_eq!(summary.auctions, 1);
}

#[test]
fn long_lists_are_cut_unless_all_is_asked_for() {
    let lines: Vec<_> =
        (0..LISTED_MAX + 5).map(|name| format!("a{name},3,100,999,1,1,x,500")).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let listed = |text: &str| text.lines().filter(|line| line.starts_with("auction ")).count();
    let (_, short) = report_on(rows(&lines), false);
    assert_eq!(listed(&short), LISTED_MAX);
    assert!(short.contains("... and 5 more auctions not reproduced; --all lists every one"));
    let (_, long) = report_on(rows(&lines), true);
    assert_eq!(listed(&long), LISTED_MAX + 5);
}

#[test]
fn a_file_of_bad_rows_alone_reproduces_none_of_none() {
    let (summary, text) = report_on(rows(&["a,3,0,100,1,1,x,500"]), false);
    assert_eq!(summary, Summary { reproduced: 0, auctions: 0 });
    assert!(text.ends_with("skipped 1 of 1 rows\nreproduced 0 of 0 closing prices\n"), "{text}");
}

#[test]
fn a_missing_file_is_said_to_be_missing() {
    let error = read("/nowhere/bids.csv").expect_err("refused");
    assert!(matches!(error, ReplayError::File(FileError::Open { .. })), "{error}");
    assert!(error.to_string().contains("/nowhere/bids.csv"));
}

#[test]
fn an_empty_file_and_one_of_a_header_alone_are_refused() {
    assert!(matches!(error_of(""), ReplayError::File(FileError::Empty { .. })));
    assert!(matches!(error_of("\n\n"), ReplayError::File(FileError::Empty { .. })));
    assert!(matches!(error_of(HEADER), ReplayError::File(FileError::NoRows { .. })));
}

#[test]
fn missing_and_repeated_columns_are_named() {
    let missing = error_of("auction,days,bid_seq,bidder\n1,2,3,4\n").to_string();
    assert!(
        missing.contains(
            "lacks the columns opening_bid_cents, final_price_cents, bid_time_days, bid_cents"
        ),
        "{missing}"
    );
    let repeated = error_of(format!("{HEADER},bidder\n")).to_string();
    assert!(repeated.contains("the column bidder twice"), "{repeated}");
}

#[test]
fn a_gzip_that_breaks_off_and_a_folder_are_failures_not_bad_rows() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(rows(&["a,3,100,100,1,1,x,500"; 500]).as_bytes()).expect("packed");
    let mut packed = gzip.finish().expect("packed");
    packed.truncate(packed.len() / 2);
    assert!(matches!(error_of(packed), ReplayError::File(FileError::Read { .. })));
    let folder = TempDir::new().expect("a temporary folder");
    assert!(matches!(read(folder.path()), Err(ReplayError::File(FileError::Read { .. }))));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_column() {
    let (summary, _) = report_on(format!("\u{feff}{}", rows(&["a,3,100,100,1,1,x,500"])), false);
    assert_eq!(summary, Summary { reproduced: 1, auctions: 1 });
}
