//! Recorded auctions through a running server, and the logs that it writes of them.

use std::{collections::HashMap, fs};

use super::{
    house::{House, recorded},
    saved_logs::{demand_every_change_is_found, refusal},
    stub,
};

/// The first auctions of the record with at most so many bids, and one nobody bid on.
fn a_handful() -> String {
    let text = fs::read_to_string(recorded("ebay_bids_pda.csv")).unwrap();
    let mut lines = text.lines();
    let mut file = format!("{}\n", lines.next().unwrap());
    let mut by_auction: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in lines {
        let auction = line.split(',').next().unwrap();
        match by_auction.last_mut().filter(|(name, _)| *name == auction) {
            Some((_, bids)) => bids.push(line),
            None => by_auction.push((auction, vec![line])),
        }
    }
    let short = by_auction.iter().filter(|(_, bids)| (2..=12).contains(&bids.len())).take(8);
    short.flat_map(|(_, bids)| bids).for_each(|bid| file.extend([bid, "\n"]));
    file.push_str("nobody,3,100,,,,,\nlate,3,100,100,1,1,x,500\nlate,3,100,100,2,3.5,y,900\n");
    file
}

#[test]
fn recorded_auctions_go_as_offline_and_their_logs_are_verified() {
    let mut house = House::new();
    house.serve();
    let file = house.file("bids.csv", a_handful());
    let file = file.to_str().unwrap();
    let said = house.hoga(&["replay", file, "--live", &house.url(), "--live-seconds", "4"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("live and offline differ in 0 auctions\n"), "{}", said.out);
    let offline = house.hoga(&["replay", file]);
    assert_eq!(said.out.lines().last(), offline.out.lines().last());

    let key = stub::a_key(&house);
    let args = ["replay", file, "--live", &house.url()];
    let foreign = house.hoga_with(&[("HOGA_SIGNING_KEY_FILE", &key)], &args);
    assert_eq!(foreign.code, 1);
    assert!(foreign.err.contains("does not take tokens that are signed with"), "{}", foreign.err);

    let ended = house.json("/v1/auctions?status=ended&limit=100");
    let auctions = ended["items"].as_array().unwrap();
    assert_eq!(auctions.len(), 10);
    let mut saved = Vec::new();
    for auction in auctions {
        let path = format!("/v1/auctions/{}", auction["id"].as_str().unwrap());
        let said = house.hoga(&["verify", &format!("{}{path}/log", house.url())]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.ends_with("verified\n") && said.out.contains(", good\n"), "{}", said.out);
        saved.push(house.get(&format!("{path}/log")));
    }
    let said = house.hoga_reading(saved.concat().as_bytes(), &["verify", "-"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.out.matches("result     sold at").count(), 9, "{}", said.out);
    assert_eq!(said.out.matches("result     unsold_no_bids").count(), 1, "{}", said.out);

    let shortest_sold = saved.iter().filter(|log| log.contains("bid.placed"));
    demand_every_change_is_found(shortest_sold.min_by_key(|log| log.len()).unwrap());
    let sold = auctions.iter().find(|auction| auction["bid_count"].as_u64() > Some(3)).unwrap();
    check_pages(&house, sold);
    check_what_a_server_could_make_up(&house, sold);
}

/// The same log in pages of three, put together by whoever saved it.
fn check_pages(house: &House, auction: &serde_json::Value) {
    let path = format!("/v1/auctions/{}/log?limit=3&after_seq=", auction["id"].as_str().unwrap());
    let (first, second) = (house.get(&format!("{path}0")), house.get(&format!("{path}3")));
    assert!(refusal(&first).contains("goes on after event 3: the next page is missing"));
    assert!(refusal(&second).contains("event 1 of auction"), "{}", refusal(&second));
    let other = first.replace("\"next_after_seq\":3", "\"next_after_seq\":2");
    assert!(refusal(&other).contains("goes on after event 3: next_after_seq is 2"));
    let mut all = vec![first];
    while let Some(next) = next_after(all.last().unwrap()) {
        all.push(house.get(&format!("{path}{next}")));
    }
    assert!(hoga::cli::verify::verify_saved(all.join("\n").as_bytes()).is_ok());
}

fn next_after(page: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(page).unwrap()["next_after_seq"].as_u64()
}

/// A server that lies is told from one that does not.
fn check_what_a_server_could_make_up(house: &House, auction: &serde_json::Value) {
    let path = format!("/v1/auctions/{}", auction["id"].as_str().unwrap());
    let log = format!("{path}/log?after_seq=0");
    let checkpoint = format!("{path}/log/checkpoint");
    let truth: HashMap<String, String> =
        ["/v1/time", "/.well-known/jwks.json", &path, &log, &checkpoint]
            .into_iter()
            .map(|path| (path.to_owned(), house.get(path)))
            .collect();
    let verify = |changed: &str, from: &str, to: &str| {
        let mut answers = truth.clone();
        let answer = answers.get_mut(changed).unwrap();
        assert!(from.is_empty() || answer.contains(from), "{answer}");
        *answer = answer.replacen(from, to, 1);
        house.hoga(&["verify", &format!("{}{path}", stub::serve(answers))])
    };
    let said = verify(&path, "", "");
    assert_eq!(said.code, 0, "{}", said.err);

    let last = truth[&log].rfind(",{\"seq\"").unwrap();
    let end = truth[&log].rfind("],").unwrap();
    let signature = truth[&checkpoint].split("\"signature\":\"").nth(1).unwrap();
    let another = if signature.starts_with('A') { "B" } else { "A" };
    for (changed, from, to, because) in [
        (&log, &truth[&log][last..end], "", "events, but the log ends after"),
        (&checkpoint, "\"count\":", "\"count\":1", "did not sign it"),
        (&checkpoint, &signature[..1], another, "did not sign it"),
        (&path, "\"bid_count\":", "\"bid_count\":1", "but its log says"),
        (&path, "\"status\":\"ended\"", "\"status\":\"live\"", "but its log says"),
    ] {
        let (from, to) = if changed == &checkpoint && to == another {
            let whole = format!("\"signature\":\"{from}");
            (whole, format!("\"signature\":\"{to}"))
        } else {
            (from.to_owned(), to.to_owned())
        };
        let said = verify(changed, &from, &to);
        assert_eq!(said.code, 1, "{because}: {}", said.out);
        assert!(said.err.contains(because), "{because}: {}", said.err);
    }
}
