//! Logs saved in files: every kind of event is accepted, and every changed byte is found.

use hoga::{
    cli::verify::{VerifyError, verify_saved},
    domain::{
        auction::{
            BuyNow, CancelByOperator, Command, Edit, Event, Increment, Item, Offer, PlaceBid,
            RetractBid, Scheduled, SoftClose, SoftCloseMode, State, Terms, Withdraw, decide,
            increment::Table,
        },
        id::{AuctionId, UserId},
        money::{Amount, Currency},
        time::Timestamp,
    },
    log::{self, hash::Hash},
};
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

const SELLER: UserId = UserId(Uuid::from_u128(1));

fn won(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::parse("2026-12-01T00:00:00Z").unwrap().plus_s(second)
}

/// A log as the exchange writes it, without the exchange.
struct Writer {
    id: AuctionId,
    state: State,
    head: Hash,
    items: Vec<String>,
}

impl Writer {
    fn new(item: Item, change: impl FnOnce(&mut Terms)) -> Writer {
        let mut terms = Terms {
            currency: Currency::Krw,
            opening_price: won(10_000),
            increment: Increment::Table(Table::Won),
            reserve_price: None,
            buy_now_price: None,
            bids_per_bidder_max: None,
            cap: Amount::CAP_DEFAULT,
            starts_at: at(0),
            ends_at: at(1_000),
            soft_close: None,
        };
        change(&mut terms);
        let reserve_salt = [7; 16];
        let event = Scheduled { seller: SELLER, item, terms, relisted_from: None, reserve_salt };
        let state = State::scheduled(&event);
        let id = AuctionId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001));
        let mut writer = Writer { id, state, head: Hash::ZERO, items: Vec::new() };
        writer.write(&Event::Scheduled(Box::new(event)), at(-100));
        writer
    }

    fn write(&mut self, event: &Event, at: Timestamp) {
        let entry = log::encode(self.id, &self.state, event, at, self.head);
        self.items.push(format!(
            r#"{{"seq":{},"type":"{}","at":"{at}","data":{},"prev_hash":"{}","hash":"{}"}}"#,
            entry.seq, entry.kind, entry.data, self.head, entry.hash
        ));
        self.head = entry.hash;
    }

    fn run(&mut self, command: &Command, at: Timestamp) -> &mut Writer {
        for event in decide(&self.state, command, at).unwrap() {
            self.state.evolve(&event);
            self.write(&event, at);
        }
        self
    }

    fn bid(&mut self, bidder: u128, offer: Offer, second: i64) -> &mut Writer {
        let bid = PlaceBid {
            bidder: UserId(Uuid::from_u128(bidder)),
            offer,
            expected_seq: None,
            confirm_amount: Some(offer.limit()),
            salt: [9; 16],
            received_at: at(second),
        };
        self.run(&Command::PlaceBid(bid), at(second))
    }

    /// The same log as versions wrote it that knew no null where there is no reserve or nothing can be
    /// bid any more, and told no minimum with an extension.
    fn page_of_an_earlier_version(&self) -> String {
        let mut head = Hash::ZERO;
        let mut items = Vec::new();
        for item in &self.items {
            let mut entry: Value = serde_json::from_str(item).unwrap();
            let kind = entry["type"].as_str().unwrap().to_owned();
            let data = entry["data"].as_object_mut().unwrap();
            if kind == "auction.extended" {
                data.remove("minimum_next_bid").expect("it tells the minimum");
            }
            if kind == "bid.placed" {
                assert_eq!(data.insert("reserve_met".into(), true.into()), Some(Value::Null));
                let amount = data["price"]["amount"].as_i64().unwrap();
                let step = self.state.terms.step(won(amount));
                let minimum = json!({"amount": amount + step.minor_units(), "currency": "KRW"});
                data.insert("minimum_next_bid".into(), minimum);
            }
            let seq = entry["seq"].as_u64().unwrap();
            let at = Timestamp::parse(entry["at"].as_str().unwrap()).unwrap();
            let data = entry["data"].to_string();
            let prev = head;
            head = hoga::log::hash::entry_hash(self.id, seq, &kind, at, &data, prev);
            items.push(format!(
                r#"{{"seq":{seq},"type":"{kind}","at":"{at}","data":{data},"prev_hash":"{prev}","hash":"{head}"}}"#,
            ));
        }
        let (id, items) = (self.id, items.join(","));
        format!(r#"{{"auction_id":"{id}","items":[{items}],"next_after_seq":null}}"#)
    }

    fn page(&self) -> String {
        let (id, items) = (self.id, self.items.join(","));
        format!(r#"{{"auction_id":"{id}","items":[{items}],"next_after_seq":null}}"#)
    }
}

fn item() -> Item {
    let attributes = [("\u{FF61}", "반각"), ("\u{1F600}", "웃음"), ("시대", "18세기")];
    Item {
        attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        category: Some("art".into()),
        description: "한 줄\n\"두\" 줄\u{1}".into(),
        image_keys: vec!["a/b".into()],
        title: "달항아리".into(),
    }
}

/// The log of an auction that has not opened yet, as it is saved.
pub fn a_log() -> String {
    Writer::new(item(), |_| {}).page()
}

fn close() -> Command {
    Command::Close
}

#[test]
fn every_log_that_the_rules_can_write_is_accepted() {
    let plain = |_: &mut Terms| {};
    let soft_close = |terms: &mut Terms| {
        terms.soft_close = Some(SoftClose {
            extension_s: 60,
            max_ends_at: at(1_100),
            mode: SoftCloseMode::Extend,
            trigger_window_s: 60,
        });
    };
    let reserve = |terms: &mut Terms| terms.reserve_price = Some(won(50_000));
    let buy_now = |terms: &mut Terms| terms.buy_now_price = Some(won(90_000));

    let mut sold = Writer::new(item(), soft_close);
    sold.run(&Command::Open, at(0))
        .bid(2, Offer::Ceiling(won(30_000)), 1)
        .bid(3, Offer::Ceiling(won(20_000)), 2)
        .bid(3, Offer::Exact(won(40_000)), 990)
        .run(&Command::Close, at(1_070));
    let mut retracted = Writer::new(item(), reserve);
    retracted.run(&Command::Open, at(0)).bid(2, Offer::Ceiling(won(60_000)), 1);
    let bid_seq = retracted.state.seq;
    let retraction = |bidder: u128, bid_seq| {
        let bidder = UserId(Uuid::from_u128(bidder));
        Command::RetractBid(RetractBid {
            bidder,
            bid_seq,
            reason: "0 하나 더".into(),
            received_at: at(5),
        })
    };
    retracted
        .bid(3, Offer::Exact(won(55_000)), 2)
        .run(&retraction(2, bid_seq), at(5))
        .run(&retraction(3, bid_seq + 1), at(5))
        .bid(2, Offer::Ceiling(won(20_000)), 6)
        .run(&close(), at(1_000));
    let mut bought = Writer::new(item(), buy_now);
    let buyer = UserId(Uuid::from_u128(5));
    let buy = BuyNow { buyer, expected_price: None, received_at: at(3) };
    bought.run(&Command::Open, at(0)).run(&Command::BuyNow(buy), at(3));
    let mut cancelled = Writer::new(item(), plain);
    let cancel = Command::CancelByOperator(CancelByOperator { expected_seq: None });
    cancelled.bid(2, Offer::Exact(won(10_000)), 1).run(&cancel, at(2));
    let mut withdrawn = Writer::new(item(), plain);
    let terms = Terms { opening_price: won(500), ..(*withdrawn.state.terms).clone() };
    let edit = Edit { by: SELLER, expected_seq: None, item: item(), terms, reserve_salt: [1; 16] };
    withdrawn
        .run(&Command::Edit(Box::new(edit)), at(-50))
        .run(&Command::Withdraw(Withdraw { by: SELLER, expected_seq: None }), at(-40));
    let mut unsold = Writer::new(item(), reserve);
    unsold.run(&close(), at(1_000));

    let logs = [sold, retracted, bought, cancelled, withdrawn, unsold];
    for log in &logs {
        let accepted = verify_saved(log.page().as_bytes());
        assert!(accepted.is_ok(), "{}: {}", refusal(&log.page()), log.page());
    }
    demand_every_change_is_found(&logs[0].page());
}

#[test]
fn a_log_of_an_earlier_version_is_accepted_with_the_hashes_it_has() {
    const CAP: i64 = 60_000;
    let soft_close = SoftClose {
        extension_s: 60,
        max_ends_at: at(2_000),
        mode: SoftCloseMode::Extend,
        trigger_window_s: 1_000,
    };
    let plain = Item { attributes: [].into(), ..item() };
    let mut log = Writer::new(plain, |terms| {
        terms.cap = won(CAP);
        terms.soft_close = Some(soft_close);
    });
    log.run(&Command::Open, at(0));
    log.bid(2, Offer::Exact(won(20_000)), 1).bid(3, Offer::Exact(won(CAP)), 2);
    let now = log.page();
    assert!(now.contains(r#""minimum_next_bid":null"#), "{now}");
    let before = log.page_of_an_earlier_version();
    assert!(!before.contains("null,\"outcome\""), "{before}");
    assert!(before.contains(r#""minimum_next_bid":{"amount":62500"#), "{before}");
    for page in [now, before] {
        assert!(verify_saved(page.as_bytes()).is_ok(), "{}", refusal(&page));
    }
}

#[test]
fn an_id_that_was_changed_is_not_laid_to_an_event() {
    let mut log = Writer::new(item(), |_| {});
    log.run(&Command::Open, at(0));
    let page = log.page().replacen("01980000", "01980001", 1);
    assert!(refusal(&page).contains("auction_id is not the one that was hashed"));
}

#[test]
fn a_story_that_does_not_follow_is_found_although_its_hashes_are_right() {
    let refused = |write: &dyn Fn(&mut Writer)| {
        let mut log = Writer::new(item(), |_| {});
        log.run(&Command::Open, at(0)).bid(2, Offer::Ceiling(won(30_000)), 1);
        write(&mut log);
        refusal(&log.page())
    };
    let told_again = refused(&|log| {
        log.state.seq += 1;
        log.write(&Event::Opened, at(2));
    });
    assert!(told_again.contains("event 4 of auction"), "{told_again}");
    assert!(told_again.contains("has opened already"), "{told_again}");
    let fell = refused(&|log| {
        log.bid(3, Offer::Ceiling(won(20_000)), 2);
        log.state.standing.price = won(10_000);
        log.bid(4, Offer::Ceiling(won(11_500)), 3);
    });
    assert!(fell.contains("event 5 of auction") && fell.contains("the price fell"), "{fell}");
    let miscounted = refused(&|log| {
        log.state.bid_count += 1;
        log.bid(3, Offer::Ceiling(won(20_000)), 2);
    });
    assert!(miscounted.contains("event 4") && miscounted.contains("bid_count"), "{miscounted}");
    let backwards = refused(&|log| {
        log.bid(3, Offer::Ceiling(won(20_000)), 9).run(&close(), at(1_000));
        log.state.seq += 1;
        log.write(&Event::Opened, at(10));
    });
    assert!(backwards.contains("event 6") && backwards.contains("earlier"), "{backwards}");
    let after_the_close = refused(&|log| {
        log.run(&close(), at(1_000));
        log.state.seq += 1;
        log.write(&Event::Opened, at(1_001));
    });
    assert!(after_the_close.contains("event 5"), "{after_the_close}");
    assert!(after_the_close.contains("comes after the close"), "{after_the_close}");
    let early = refused(&|log| {
        log.state.ends_at = at(500);
        log.run(&close(), at(500));
    });
    assert!(early.contains("event 4"), "{early}");
}

/// What is said of a text that is refused.
pub fn refusal(text: &str) -> String {
    match verify_saved(text.as_bytes()) {
        Ok(_) => "it is accepted".into(),
        Err(error) => error.to_string(),
    }
}

/// Changes every byte of an accepted log in several ways: each is refused, and where the byte lies
/// in an event, that event is named.
pub fn demand_every_change_is_found(page: &str) {
    assert!(verify_saved(page.as_bytes()).is_ok(), "{}", refusal(page));
    let events = places_of_events(page);
    let mut bytes = page.as_bytes().to_vec();
    for at in 0..bytes.len() {
        let was = bytes[at];
        for other in [was ^ 1, was ^ 0x20, b'"', b'\\', b' ', b',', b'}', b']', b'0', 0xff] {
            if other == was {
                continue;
            }
            bytes[at] = other;
            let event = events.iter().position(|event| event.contains(&at)).map(|place| place + 1);
            let shown = char::from(other);
            match (verify_saved(&bytes), event) {
                (Ok(_), _) => panic!("byte {at} as {shown:?} is not noticed in {page}"),
                (Err(_), None) => {}
                (Err(VerifyError::Event { event: named, .. }), Some(event)) => {
                    assert_eq!(named, event as u64, "byte {at} as {shown:?} in {page}");
                }
                (Err(error), Some(event)) => {
                    panic!("byte {at} as {shown:?} in event {event}: {error}")
                }
            }
        }
        bytes[at] = was;
    }
}

fn places_of_events(page: &str) -> Vec<std::ops::Range<usize>> {
    #[derive(serde::Deserialize)]
    struct Items<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    let parsed: Items<'_> = serde_json::from_str(page).unwrap();
    let place = |item: &&RawValue| {
        let begin = item.get().as_ptr().addr() - page.as_ptr().addr();
        begin..begin + item.get().len()
    };
    parsed.items.iter().map(place).collect()
}
