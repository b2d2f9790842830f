//! `hoga verify FILE|URL`: whether a public log is what the exchange wrote.
//!
//! Owns where logs come from and what is said of them; what must hold of one is
//! [`crate::log::audit`]. Must never trust a server's own word for what can be recomputed.

mod pages;
mod remote;

use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use super::{Failed, client::ClientError};
use crate::{
    domain::{
        auction::ResultKind,
        id::AuctionId,
        money::{Currency, Money},
    },
    log::audit::{Audit, Fault, Status},
};

/// The most that a file may hold: 256 MiB, some 400,000 events.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What `hoga verify` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// The address of an auction or its log, a file with answers of `GET log`, or -
    #[arg(value_name = "FILE|URL")]
    pub source: String,
}

/// Why a log is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file cannot be read.
    #[error("cannot read {path}: check that the file exists and may be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More than this command takes into memory.
    #[error("{0} holds more than {FILE_BYTES_MAX} bytes: verify it by its URL")]
    TooLarge(PathBuf),
    /// Nothing in it.
    #[error("there is no log in it: save the answer of GET /v1/auctions/ID/log as it comes")]
    Empty,
    /// An event.
    #[error("event {event} of auction {auction}: {fault}")]
    Event {
        /// Its place in the log, from 1.
        event: u64,
        /// Whose log.
        auction: AuctionId,
        /// What is wrong.
        fault: Fault,
    },
    /// Around the events.
    #[error(
        "byte {byte}: {problem}; save the answer of GET /v1/auctions/ID/log exactly as it comes"
    )]
    Envelope {
        /// Where, from 1.
        byte: usize,
        /// What is wrong.
        problem: String,
    },
    /// The id that the events are hashed with.
    #[error("no event belongs to auction {0}: auction_id is not the one that was hashed")]
    AnotherAuction(AuctionId),
    /// The pages do not belong together.
    #[error("the log of auction {auction} goes on after event {event}: {problem}")]
    Pages {
        /// Whose log.
        auction: AuctionId,
        /// The last event before.
        event: u64,
        /// What is wrong.
        problem: String,
    },
    /// Not the address of a log.
    #[error(
        "{0} is no address of a log: give one such as http://127.0.0.1:8080/v1/auctions/ID/log"
    )]
    Url(String),
    /// The server.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// A resource that could not be had.
    #[error("{path} cannot be fetched: {problem}")]
    Fetch {
        /// Where.
        path: String,
        /// What was said.
        problem: String,
    },
    /// The signed end.
    #[error("the checkpoint of auction {auction}: {problem}")]
    Checkpoint {
        /// Whose.
        auction: AuctionId,
        /// What is wrong.
        problem: String,
    },
    /// The auction as it is answered is not what its log adds up to.
    #[error("auction {auction} is answered as {answered}, but its log says {logged}")]
    Summary {
        /// Which.
        auction: AuctionId,
        /// By the server.
        answered: String,
        /// By its log.
        logged: String,
    },
    /// The report could not be written.
    #[error("cannot write the report")]
    Write(#[source] io::Error),
}

/// `hoga verify`
///
/// # Errors
/// The first thing that is not as it must be.
pub fn run(args: &VerifyArgs) -> Result<ExitCode, Failed> {
    let out = &mut super::output();
    let is_url = args.source.contains("://");
    if is_url {
        let (audit, kid) = actix::System::new().block_on(remote::verify(&args.source))?;
        report(&audit, Some(&kid), out).map_err(VerifyError::Write)?;
    } else {
        for audit in pages::verify(&content(&args.source)?)? {
            report(&audit, None, out).map_err(VerifyError::Write)?;
        }
    }
    writeln!(out, "verified").map_err(VerifyError::Write)?;
    Ok(ExitCode::SUCCESS)
}

fn content(source: &str) -> Result<Vec<u8>, VerifyError> {
    let path = PathBuf::from(source);
    let mut bytes = Vec::new();
    let read = match source {
        "-" => io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes),
        _ => {
            File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        }
    };
    match read {
        Err(source) => Err(VerifyError::Read { path, source }),
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => Err(VerifyError::TooLarge(path)),
        Ok(_) => Ok(bytes),
    }
}

/// The logs in answers that were saved one after the other.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn verify_saved(content: &[u8]) -> Result<Vec<Audit>, VerifyError> {
    pages::verify(content)
}

fn report(audit: &Audit, kid: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "auction    {}", audit.auction())?;
    writeln!(out, "events     {}", audit.count())?;
    writeln!(out, "head       {}", audit.head())?;
    match kid {
        Some(kid) => writeln!(out, "signature  of key {kid}, good")?,
        None => {
            writeln!(out, "signature  none: a file has no checkpoint, so its end is not proven")?
        }
    }
    writeln!(out, "result     {}", result(audit))
}

fn result(audit: &Audit) -> String {
    let Some(standing) = audit.standing() else { return "none".into() };
    let price = in_words(standing.price);
    let bids = match standing.bid_count {
        1 => "1 bid".to_owned(),
        count => format!("{count} bids"),
    };
    let (status, kind) = words(standing.status);
    let word = kind.unwrap_or(status);
    match standing.status {
        Status::Ended(ResultKind::Sold | ResultKind::BoughtNow) | Status::Live | Status::Bought => {
            format!("{word} at {price} after {bids}")
        }
        Status::Scheduled | Status::Cancelled | Status::Ended(_) => word.to_owned(),
    }
}

/// In the currency's own unit, for people.
fn in_words(Money { amount, currency }: Money) -> String {
    let minor_units = amount.minor_units();
    match currency {
        Currency::Krw => format!("{minor_units} KRW"),
        Currency::Usd => format!("{}.{:02} USD", minor_units / 100, minor_units % 100),
    }
}

/// Status and result as the API writes them.
const fn words(status: Status) -> (&'static str, Option<&'static str>) {
    match status {
        Status::Scheduled => ("scheduled", None),
        Status::Live | Status::Bought => ("live", None),
        Status::Cancelled => ("cancelled", None),
        Status::Ended(ResultKind::Sold) => ("ended", Some("sold")),
        Status::Ended(ResultKind::UnsoldNoBids) => ("ended", Some("unsold_no_bids")),
        Status::Ended(ResultKind::UnsoldReserveNotMet) => ("ended", Some("unsold_reserve_not_met")),
        Status::Ended(ResultKind::BoughtNow) => ("ended", Some("bought_now")),
        Status::Ended(ResultKind::CancelledByOperator) => ("ended", Some("cancelled_by_operator")),
    }
}
