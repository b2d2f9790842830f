//! A real catalogue becomes scheduled auctions, once.

use std::collections::HashSet;

use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use super::house::{House, recorded};

const ROWS: usize = 300;

/// The first rows of a sample of the Tate collection as records; some go over several lines.
fn first_rows() -> (csv::StringRecord, Vec<csv::StringRecord>) {
    let file = std::fs::File::open(recorded("tate_artworks_sample.csv.gz")).unwrap();
    let mut reader = csv::Reader::from_reader(GzDecoder::new(file));
    let header = reader.headers().unwrap().clone();
    (header, reader.records().take(ROWS).map(Result::unwrap).collect())
}

fn gzipped(header: &csv::StringRecord, rows: &[csv::StringRecord]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(GzEncoder::new(Vec::new(), Compression::fast()));
    writer.write_record(header).unwrap();
    rows.iter().for_each(|row| writer.write_record(row).unwrap());
    writer.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_catalogue_is_imported_once_with_or_without_a_server() {
    let mut house = House::new();
    let (header, rows) = first_rows();
    let half = house.file("half.csv.gz", gzipped(&header, &rows[..ROWS / 2]));
    let whole = house.file("items.csv.gz", gzipped(&header, &rows));
    let import = |house: &House, file: &std::path::Path| {
        house.hoga(&["import", file.to_str().unwrap(), "--per-day", "100"])
    };

    let said = import(&house, &half);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("imported 150 items of 150 rows; 0 were there already; 0 rows"));
    assert!(said.err.is_empty(), "no progress bar without a terminal: {}", said.err);

    house.serve();
    let said = import(&house, &whole);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("imported 150 items of 300 rows; 150 were there already"));
    let said = import(&house, &whole);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("imported 0 items of 300 rows; 300 were there already"));
    check_auctions(&house, &rows);
    check_bad_rows(&house);
}

fn check_auctions(house: &House, rows: &[csv::StringRecord]) {
    let mut titles = HashSet::new();
    let mut closings = HashSet::new();
    let mut path = "/v1/auctions?status=scheduled&limit=100".to_owned();
    let mut seen = 0;
    loop {
        let page = house.json(&path);
        for auction in page["items"].as_array().unwrap() {
            seen += 1;
            titles.insert(auction["title"].as_str().unwrap().to_owned());
            closings.insert(auction["ends_at"].as_str().unwrap().to_owned());
            assert_eq!(auction["seller"]["nickname"], "tate");
            // 09:00 to 10:00 and 17:00 to 18:00 in Seoul.
            assert!(auction["starts_at"].as_str().unwrap().contains("T00:"));
            let ends_at = auction["ends_at"].as_str().unwrap();
            assert!(ends_at.contains("T08:") || ends_at.contains("T09:00:00.000Z"), "{ends_at}");
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/auctions?status=scheduled&limit=100&cursor={cursor}");
    }
    assert_eq!((seen, closings.len()), (ROWS, ROWS));
    let titles_recorded: HashSet<String> = rows.iter().map(|row| row[2].to_owned()).collect();
    assert_eq!(titles, titles_recorded);
    let page = house.json("/v1/auctions?q=A%20Fishing%20Boat%20in%20Dieppe%20Harbour");
    let boat = &page["items"][0];
    assert_eq!(boat["category"], "painting");
    assert_eq!(boat["opening_price"]["amount"], 200_000);
    assert_eq!(boat["attributes"]["artist"], "Christopher Wood");
    assert_eq!(boat["attributes"]["accession"], "T07799");
    assert!(boat["description"].as_str().unwrap().contains("Oil paint on canvas"));
    let said = house.hoga(&[
        "verify",
        &format!("{}/v1/auctions/{}", house.url(), boat["id"].as_str().unwrap()),
    ]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.ends_with("result     scheduled\nverified\n"), "{}", said.out);
}

fn check_bad_rows(house: &House) {
    let mut content = b"note,title,id\n".to_vec();
    content.extend(b",,1\n,good,2\n,short\n,same id,2\n,\xff,4\n,a\0b,5\n,\"two\nlines\",6\n,,7\n");
    let file = house.file("bad.csv", &content);
    let said = house.hoga(&["import", file.to_str().unwrap(), "--seller", "somebody"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(
        lines[..6],
        [
            "line 2: title must have 1 to 200 characters, all visible, on one line; row skipped",
            "line 4: the row has 2 fields, but the header has 3; row skipped",
            "line 5: the id \"2\" is that of line 3 too; row skipped",
            "line 6: the row is not UTF-8; row skipped",
            "line 7: title must have 1 to 200 characters, all visible, on one line; row skipped",
            "line 10: title must have 1 to 200 characters, all visible, on one line; row skipped",
        ]
    );
    assert!(
        lines[6].starts_with("imported 2 items of 8 rows; 0 were there already; 6 rows skipped")
    );
    let nothing = house.file("nothing.csv", format!("title\n{}", "\"\"\n".repeat(25)));
    let said = house.hoga(&["import", nothing.to_str().unwrap()]);
    assert_eq!(said.code, 1);
    assert!(
        said.out.contains("... and 5 more skipped rows; --all lists every one"),
        "{}",
        said.out
    );
    let header = house.file("header.csv", "title\n");
    let said = house.hoga(&["import", header.to_str().unwrap()]);
    assert!(said.code == 1 && said.err.contains("has a header but no rows"), "{}", said.err);
}
