//! What is asked of the subject of a log, and what it answers.

use super::kinds::{Command, auction::AuctionRefusal};
use crate::store::ReceiptKey;

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
    pub fn internal(command: impl Into<Command>) -> Request {
        Request { command: command.into(), receipt_key: None, request_id: None }
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

/// A rejection, by the kind of what refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// An auction.
    Auction(AuctionRefusal),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Refusal::Auction(refusal) = self;
        write!(f, "{:?}", refusal.rejection)
    }
}

impl Refusal {
    /// As JSON, as it is kept.
    pub(super) fn encode(&self) -> String {
        let Refusal::Auction(refusal) = self;
        serde_json::to_string(refusal).expect("a struct of strings and numbers is always JSON")
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
