//! Who bids what on which auction: the same for whoever answers.

use std::{cell::Cell, fmt, io::Write};

use clap::ValueEnum;
use hoga::domain::id::AuctionId;
use serde::Serialize;

/// What is measured; see the table of the crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// Hoga, one hot auction
    A,
    /// Hoga, 1,000 auctions
    B,
    /// Hoga, one hot auction, nine of ten too low
    C,
    /// Row locks, one hot auction
    D,
    /// PL/pgSQL, 1,000 auctions
    E,
    /// No database
    F,
}

impl Subject {
    /// In a few words.
    pub const fn words(self) -> &'static str {
        match self {
            Subject::A => "hoga, one hot auction",
            Subject::B => "hoga, 1,000 auctions",
            Subject::C => "hoga, hot, 90 % too low",
            Subject::D => "FOR UPDATE, one hot auction",
            Subject::E => "PL/pgSQL, 1,000 auctions",
            Subject::F => "no database",
        }
    }

    /// Whether it keeps what it answers.
    pub const fn is_durable(self) -> bool {
        !matches!(self, Subject::F)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Subject::A => "a",
            Subject::B => "b",
            Subject::C => "c",
            Subject::D => "d",
            Subject::E => "e",
            Subject::F => "f",
        })
    }
}

/// The opening price of every auction.
pub const OPENING_PRICE: i64 = 1_000;
/// Of so many bids in (c), one is high enough.
const ONE_IN: u64 = 10;

/// Makes requests, each one once. The amounts rise from bid to bid, each from somebody else than
/// the bid before, so that whoever answers in order accepts them all.
pub struct Plan {
    subject: Subject,
    /// The head of a request by each bidder, up to the key.
    bidders: Vec<String>,
    paths: Vec<String>,
    made: Cell<u64>,
}

struct Bid {
    auction: u64,
    bidder: u64,
    amount: i64,
}

impl Plan {
    /// `tokens` of the bidders; `auctions`, the first one being the hot one.
    pub fn new(subject: Subject, tokens: &[String], auctions: &[AuctionId]) -> Plan {
        let head = |token: &String| {
            format!(
                " HTTP/1.1\r\nHost: hoga.bench\r\nContent-Type: application/json\r\n\
                 Authorization: Bearer {token}\r\nIdempotency-Key: bench-{subject}-"
            )
        };
        Plan {
            subject,
            bidders: tokens.iter().map(head).collect(),
            paths: auctions.iter().map(|id| format!("POST /v1/auctions/{id}/bids")).collect(),
            made: Cell::new(0),
        }
    }

    fn bid(&self, number: u64) -> Bid {
        let bidders = self.bidders.len() as u64;
        // The first auction is the hot one.
        let spread = self.paths.len() as u64 - 1;
        match self.subject {
            Subject::A | Subject::D | Subject::F => {
                Bid { auction: 0, bidder: number % bidders, amount: rising(number) }
            }
            Subject::C if number.is_multiple_of(ONE_IN) => {
                let number = number / ONE_IN;
                Bid { auction: 0, bidder: number % bidders, amount: rising(number) }
            }
            Subject::C => Bid { auction: 0, bidder: number % bidders, amount: 1 },
            Subject::B | Subject::E => {
                let round = number / spread;
                Bid {
                    auction: 1 + number % spread,
                    bidder: (number + round) % bidders,
                    amount: rising(round),
                }
            }
        }
    }

    /// Writes the next request.
    pub fn write_next(&self, out: &mut Vec<u8>) {
        let number = self.made.get();
        self.made.set(number + 1);
        let bid = self.bid(number);
        let place = |index: u64| usize::try_from(index).expect("an index of a list in memory");
        let body = format!("{{\"amount\":{}}}", bid.amount);
        out.clear();
        out.extend_from_slice(self.paths[place(bid.auction)].as_bytes());
        out.extend_from_slice(self.bidders[place(bid.bidder)].as_bytes());
        write!(out, "{number}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .expect("writing to memory cannot fail");
    }
}

fn rising(number: u64) -> i64 {
    OPENING_PRICE + i64::try_from(number).expect("fewer than 2^63 bids")
}
