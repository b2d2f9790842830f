//! What is asked of an auction, and what it answers.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        auction::{Command, Rejection, Salt, State},
        id::AuctionId,
        money::Money,
        time::Timestamp,
    },
    log::hash::Hash,
    store::ReceiptKey,
};

/// A command, with the key under which its answer is kept.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// Where money or a bid moves.
    pub receipt_key: Option<ReceiptKey>,
    /// Of the HTTP request, for the kept answer.
    pub request_id: Option<String>,
}

impl Request {
    /// What the exchange asks by itself.
    pub fn internal(command: Command) -> Request {
        Request { command, receipt_key: None, request_id: None }
    }
}

/// What the caller hears, once it is durable.
pub type Reply = Result<Answer, Failure>;

/// The rules said yes or no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It happened.
    Accepted {
        /// The receipt as JSON, as it is kept: a retry hears the same bytes.
        receipt: String,
    },
    /// It did not.
    Refused(Refusal),
}

/// A rejection, with what helps the caller to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub rejection: Rejection,
    /// Where the auction stood.
    pub snapshot: Figures,
    /// Of the HTTP request that was refused first.
    pub request_id: Option<String>,
}

/// Where an auction stood when it said no. Public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The last event's sequence number.
    pub seq: u64,
    /// The visible price.
    pub price: Money,
    /// The least that is accepted from somebody who does not lead, while such bids are taken.
    pub minimum_next_bid: Option<Money>,
    /// The end as it stands.
    pub ends_at: Timestamp,
}

impl Figures {
    /// Of a state.
    pub fn of(state: &State) -> Figures {
        let currency = state.terms.currency;
        Figures {
            seq: state.seq,
            price: Money { amount: state.standing.price, currency },
            minimum_next_bid: state.told_minimum().map(|amount| Money { amount, currency }),
            ends_at: state.ends_at,
        }
    }
}

/// The exchange could not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no such auction.
    #[error("there is no auction with this id")]
    AuctionNotFound,
    /// The same `Idempotency-Key` came with another request before.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// A queue is full, or Postgres is away; nothing happened.
    #[error("the exchange is overloaded; nothing happened")]
    Overloaded,
    /// Postgres has no room; nothing happened.
    #[error("the database has no room left; nothing happened")]
    StorageFull,
    /// It may have happened: a retry with the same key hears the truth.
    #[error("the outcome is unknown; retry with the same Idempotency-Key")]
    OutcomeUnknown,
    /// The server is going down; nothing happened.
    #[error("the server is shutting down; nothing happened")]
    ShuttingDown,
    /// The log of this auction cannot be read.
    #[error("the log of this auction is damaged")]
    LogDamaged,
}

/// The answer to what was accepted (API, "Receipt").
#[derive(Debug, Serialize)]
pub(super) struct Receipt<'a> {
    pub auction_id: AuctionId,
    pub seq: u64,
    pub outcome: &'static str,
    pub price: Money,
    pub minimum_next_bid: Option<Money>,
    pub ends_at: Timestamp,
    pub reserve_met: Option<bool>,
    pub received_at: Timestamp,
    pub decided_at: Timestamp,
    pub hash: Hash,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling_salt: Option<&'a str>,
}

impl Receipt<'_> {
    /// As JSON.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a struct of strings and numbers is always JSON")
    }
}

/// The salt in the bidder's own receipt, so that they can open the commitment.
pub(super) fn salt_hex(salt: Salt) -> const_hex::Buffer<16> {
    const_hex::const_encode(&salt)
}
