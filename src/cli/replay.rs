//! `hoga replay FILE`: recorded auctions through the rules, and whether they end as they did.
//!
//! Owns how a recorded auction becomes commands, and the report. Must never hold a rule of its
//! own, nor change a recorded bid to make a price come out.

pub mod live;
mod recording;

use std::{
    collections::HashMap,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use uuid::Uuid;

pub use recording::{RecordedAuction, RecordedBid, Recording, read};

use super::{
    Failed,
    csv_file::{FileError, LISTED_MAX, say_how_many_more},
};
use crate::{
    config::Config,
    domain::{
        auction::{
            Command, Increment, Item, Offer, PlaceBid, Rejection, Scheduled, State, Status, Terms,
            decide, increment::Table,
        },
        id::UserId,
        money::{Amount, Currency},
        time::Timestamp,
    },
};

/// Whose the recorded items are; no recorded bidder gets this id.
const SELLER: UserId = UserId(Uuid::nil());

/// What `hoga replay` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct ReplayArgs {
    /// A CSV of recorded bids, plain or gzipped
    pub file: PathBuf,
    /// Replay through a running server at this address instead of in memory
    #[arg(long, value_name = "URL")]
    pub live: Option<String>,
    /// How long the auctions are live with --live [default: 10, and 1 for every 400 bids]
    #[arg(long, value_name = "N", requires = "live",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub live_seconds: Option<u64>,
    /// List every auction that was not reproduced and every row that was skipped
    #[arg(long)]
    pub all: bool,
}

/// Why a replay could not be done at all. A bad row is no reason: it is skipped and reported.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The report could not be written.
    #[error("cannot write the report")]
    Write(#[source] io::Error),
}

/// What became of one recorded auction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reproduction {
    /// Its name in the file.
    pub auction: String,
    /// The price at which it really closed; `None` if it was not sold.
    pub recorded: Option<Amount>,
    /// The price at which it closed here; `None` if it was not sold.
    pub computed: Option<Amount>,
    /// How many recorded bids were refused, such as those below the minimum next bid.
    pub refused: usize,
}

impl Reproduction {
    /// Whether it closed here as it really did.
    pub fn holds(&self) -> bool {
        self.recorded == self.computed
    }
}

/// How many closing prices came out, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Auctions that closed here as they really did.
    pub reproduced: usize,
    /// Auctions in the file.
    pub auctions: usize,
}

/// Runs the subcommand and prints its report. It fails when no auction at all could be replayed, or
/// when a server does otherwise than the rules: auctions that do not come out are a finding, not a
/// failure.
///
/// # Errors
/// When the file cannot be read as recorded bids, the server does not take the replay, or the
/// report cannot be written.
pub fn run(config: &Config, args: &ReplayArgs) -> Result<ExitCode, Failed> {
    let out = &mut super::output();
    let (summary, differing) = match &args.live {
        None => (replay(args, out)?, 0),
        Some(url) => replay_live(config, args, url, out)?,
    };
    let failed = summary.auctions == 0 || differing > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Through the rules, in memory, with the report written to `out`.
///
/// # Errors
/// As [`run`].
pub fn replay(args: &ReplayArgs, out: &mut impl Write) -> Result<Summary, ReplayError> {
    let recording = read(&args.file)?;
    let reproductions: Vec<_> = recording.auctions.iter().map(reproduce).collect();
    report(&recording, &reproductions, args.all, out).map_err(ReplayError::Write)
}

/// Through a server, with the report written to `out`; also how many auctions went otherwise than
/// the rules alone have it.
fn replay_live(
    config: &Config,
    args: &ReplayArgs,
    url: &str,
    out: &mut impl Write,
) -> Result<(Summary, usize), Failed> {
    let recording = read(&args.file).map_err(Failed::from)?;
    let outcomes = live::run(config, &recording, url, args.live_seconds)?;
    let mut reproductions = Vec::new();
    let mut differing = Vec::new();
    for (recorded, outcome) in recording.auctions.iter().zip(outcomes) {
        let offline = reproduce(recorded);
        match outcome {
            Ok(live) => {
                differing.extend(difference(&live, &offline));
                reproductions.push(live);
            }
            Err(problem) => differing.push(format!("auction {}: {problem}", recorded.name)),
        }
    }
    let said = say_differing(&differing, args.all, out);
    let summary = said.and_then(|()| report(&recording, &reproductions, args.all, out));
    Ok((summary.map_err(ReplayError::Write)?, differing.len()))
}

fn difference(live: &Reproduction, offline: &Reproduction) -> Option<String> {
    (live != offline).then(|| {
        format!(
            "auction {}: live {} with {} bids refused, offline {} with {}",
            live.auction,
            price(live.computed),
            live.refused,
            price(offline.computed),
            offline.refused
        )
    })
}

fn say_differing(differing: &[String], all: bool, out: &mut impl Write) -> io::Result<()> {
    let listed_max = if all { usize::MAX } else { LISTED_MAX };
    for difference in differing.iter().take(listed_max) {
        writeln!(out, "{difference}")?;
    }
    say_how_many_more(differing.len(), listed_max, "differences", out)?;
    writeln!(out, "live and offline differ in {} auctions", differing.len())
}

/// Runs one recorded auction through the pure rules: every bid a ceiling, in order of time, and
/// the close at its end.
pub fn reproduce(recorded: &RecordedAuction) -> Reproduction {
    let mut state = State::scheduled(&scheduled(recorded));
    let (starts_at, ends_at) = (state.terms.starts_at, state.terms.ends_at);
    let mut bidders = Bidders::default();
    let mut refused = 0;
    // A refused opening or closing would leave the auction unsold, and so be seen in the report.
    let _opened = advance(&mut state, &Command::Open, starts_at);
    for bid in &recorded.bids {
        let received_at = starts_at.plus_ms(bid.time_ms);
        let command = Command::PlaceBid(PlaceBid {
            bidder: bidders.id(&bid.bidder),
            offer: Offer::Ceiling(bid.ceiling),
            expected_seq: None,
            // What was recorded was meant: the typo guard has nothing to ask.
            confirm_amount: Some(bid.ceiling),
            salt: [0; 16],
            received_at,
        });
        refused += usize::from(advance(&mut state, &command, received_at).is_err());
    }
    let _closed = advance(&mut state, &Command::Close, ends_at);
    Reproduction {
        auction: recorded.name.clone(),
        recorded: recorded.final_price,
        computed: closing_price(&state),
        refused,
    }
}

fn advance(state: &mut State, command: &Command, now: Timestamp) -> Result<(), Rejection> {
    for event in decide(state, command, now)? {
        state.evolve(&event);
    }
    Ok(())
}

fn closing_price(state: &State) -> Option<Amount> {
    use crate::domain::auction::ResultKind;
    match state.status {
        Status::Ended(ResultKind::Sold | ResultKind::BoughtNow) => Some(state.standing.price),
        Status::Ended(
            ResultKind::UnsoldNoBids
            | ResultKind::UnsoldReserveNotMet
            | ResultKind::CancelledByOperator,
        )
        | Status::Scheduled
        | Status::Live
        | Status::Cancelled => None,
    }
}

/// The auction as it would have been announced. When it began is not recorded and does not matter.
fn scheduled(recorded: &RecordedAuction) -> Scheduled {
    let starts_at = Timestamp::EPOCH;
    Scheduled {
        seller: SELLER,
        item: Item {
            attributes: std::collections::BTreeMap::new(),
            category: None,
            description: String::new(),
            image_keys: Vec::new(),
            title: recorded.name.clone(),
        },
        terms: Terms {
            currency: Currency::Usd,
            opening_price: recorded.opening_bid,
            increment: Increment::Table(Table::EbayUsd),
            reserve_price: None,
            buy_now_price: None,
            bids_per_bidder_max: None,
            cap: Amount::CAP_DEFAULT,
            starts_at,
            ends_at: starts_at.plus_ms(recorded.duration_ms),
            soft_close: None,
        },
        relisted_from: None,
        reserve_salt: [0; 16],
    }
}

/// An id for each recorded bidder, in order of their first bid.
#[derive(Default)]
struct Bidders<'a>(HashMap<&'a str, UserId>);

impl<'a> Bidders<'a> {
    fn id(&mut self, name: &'a str) -> UserId {
        // From 1, as 0 is the seller.
        let next = UserId(Uuid::from_u128(self.0.len() as u128 + 1));
        *self.0.entry(name).or_insert(next)
    }
}

fn report(
    recording: &Recording,
    reproductions: &[Reproduction],
    all: bool,
    out: &mut impl Write,
) -> io::Result<Summary> {
    let listed_max = if all { usize::MAX } else { LISTED_MAX };
    for skipped in recording.skipped.iter().take(listed_max) {
        writeln!(out, "line {}: {}; row skipped", skipped.line, skipped.problem)?;
    }
    say_how_many_more(recording.skipped.len(), listed_max, "skipped rows", out)?;
    for row in recording.contradicting.iter().take(listed_max) {
        writeln!(out, "line {}: {}; the earlier line holds", row.line, row.problem)?;
    }
    say_how_many_more(recording.contradicting.len(), listed_max, "contradictions", out)?;
    let failed: Vec<_> = reproductions.iter().filter(|auction| !auction.holds()).collect();
    for auction in failed.iter().take(listed_max) {
        writeln!(
            out,
            "auction {}: recorded {}, computed {}, bids refused {}",
            auction.auction,
            price(auction.recorded),
            price(auction.computed),
            auction.refused
        )?;
    }
    say_how_many_more(failed.len(), listed_max, "auctions not reproduced", out)?;
    if !recording.skipped.is_empty() {
        writeln!(out, "skipped {} of {} rows", recording.skipped.len(), recording.rows)?;
    }
    let summary = Summary {
        reproduced: reproductions.len() - failed.len(),
        auctions: recording.auctions.len(),
    };
    writeln!(out, "reproduced {} of {} closing prices", summary.reproduced, summary.auctions)?;
    out.flush()?;
    Ok(summary)
}

/// In the file's own unit, so that it can be found there.
fn price(cents: Option<Amount>) -> String {
    cents.map_or_else(|| "unsold".into(), |cents| format!("{cents} cents"))
}
