//! `make bench-fanout`: how many events reach how many viewers, against Debian's nginx with nchan, in
//! one run on one machine.
//!
//! | | what |
//! |---|---|
//! | one | every viewer on one channel |
//! | hundred | the viewers over 100 channels |
//! | bidders | 64 bidders on the auction that everybody watches, against the same without viewers |
//! | asleep | a thousand viewers that never read, beside those who do |
//!
//! Hoga and nchan take turns, for some rounds: machines are noisy, and the median counts.
//!
//! In the first two an event is published to each channel, and the next one when every viewer has
//! the last: nothing is left out or told together, and both servers send the same number of frames
//! with the same data. To Hoga an event is a bid that is committed first; the time to its receipt
//! counts from when the request is sent, for both. What a core does is counted by the CPU time of
//! the server's own processes.

#[path = "../bids/children.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks")]
mod children;
mod crowd;
mod duel;
#[path = "../bids/figures.rs"]
#[allow(dead_code, reason = "shared with the benchmark of bids")]
mod figures;
#[path = "../bids/load.rs"]
#[allow(dead_code, reason = "shared with the benchmark of bids")]
mod load;
mod nchan;
#[path = "../bids/plan.rs"]
#[allow(dead_code, reason = "shared with the benchmark of bids")]
mod plan;
#[path = "../bids/proc.rs"]
#[allow(dead_code, reason = "shared with the benchmark of bids")]
mod proc;
mod report;
#[path = "../bids/rivals/mod.rs"]
#[allow(dead_code, reason = "shared with the benchmark of bids")]
mod rivals;
#[path = "../bids/stage.rs"]
#[allow(dead_code, reason = "shared with the benchmark of bids")]
mod stage;
mod storm;

use std::{error::Error, net::SocketAddr, process::ExitCode};

use clap::{Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::{
    children::Server,
    duel::Figures,
    report::{Duel, Report},
    stage::Stage,
    storm::Storm,
};

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failed = Box<dyn Error>;

/// Files besides the viewers' connections.
const OTHER_FILES: u64 = 1_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    One,
    Hundred,
    Bidders,
    Asleep,
}

/// Events to viewers
#[derive(Debug, Parser)]
struct Args {
    /// How many watch
    #[arg(long, env = "HOGA_BENCH_VIEWERS", default_value_t = 10_000)]
    viewers: usize,
    /// Seconds that each part is measured
    #[arg(long, env = "HOGA_BENCH_SECONDS", default_value_t = 8.0)]
    seconds: f64,
    /// How often the servers take turns; medians count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Which of one, hundred, bidders, asleep, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "one,hundred,bidders,asleep")]
    only: Vec<Part>,
    /// Watches as a crowd of its own process; this program starts itself so
    #[arg(long, hide = true)]
    crowd: Option<SocketAddr>,
    /// What the crowd asks for
    #[arg(long, hide = true, default_value = "")]
    path: String,
    /// Whether the crowd never reads
    #[arg(long, hide = true)]
    asleep: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = allow_connections(args.viewers).and_then(|()| match args.crowd {
        Some(address) => storm::be_a_crowd(address, &args.path, args.viewers, args.asleep),
        None => measure(&args),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fanout: {}", hoga::cli::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Raises `ulimit -n`, of this process and those that it starts.
fn allow_connections(viewers: usize) -> Result<(), Failed> {
    let wanted = viewers as u64 + OTHER_FILES;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = wanted.max(hard);
    if setrlimit(Resource::RLIMIT_NOFILE, limit, limit).is_err() {
        return Err(format!(
            "{viewers} viewers need {wanted} open files, and only {hard} are allowed here: \
             raise `ulimit -Hn`, or ask for fewer with --viewers"
        )
        .into());
    }
    Ok(())
}

/// Whether everything that is wanted was reached.
fn measure(args: &Args) -> Result<bool, Failed> {
    let has = |part| args.only.contains(&part);
    let stage = Stage::build(&[], None)?;
    let mut report = Report::new(args.viewers, args.seconds, args.rounds);
    for channels in [1, 100] {
        if !has(if channels == 1 { Part::One } else { Part::Hundred }) {
            continue;
        }
        let (mut of_hoga, mut of_nchan) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            let (figures, data) = carried_by_hoga(&stage, channels, args)?;
            of_hoga.push(said(Duel { who: "hoga", channels, figures }));
            let figures = carried_by_nchan(channels, &data, args)?;
            of_nchan.push(said(Duel { who: "nchan", channels, figures }));
        }
        let [hoga, nchan] = [of_hoga, of_nchan].map(|rounds| Figures::medians(&rounds));
        report.add_duel(channels, hoga, nchan);
    }
    if has(Part::Bidders) {
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            rounds.push(storm::bidders(&stage, args.viewers, args.seconds)?);
        }
        report.set_storm(Storm::medians(&rounds));
    }
    if has(Part::Asleep) {
        report.set_asleep(storm::asleep(&stage, args.viewers, args.seconds)?);
    }
    println!("\n{report}");
    println!("written to {}", report.write_json()?.display());
    Ok(report.is_reached())
}

fn said(duel: Duel) -> Figures {
    println!("{duel}");
    duel.figures
}

/// With the data of the last event.
fn carried_by_hoga(
    stage: &Stage,
    channels: usize,
    args: &Args,
) -> Result<(Figures, Vec<u8>), Failed> {
    let database = stage.database()?;
    let server = hoga(stage, &database)?;
    let target = duel::hoga(stage, &server, channels);
    let carried = duel::run(&target, args.viewers, args.seconds)?;
    server.stop()?;
    stage.drop_database(&database)?;
    Ok(carried)
}

fn carried_by_nchan(channels: usize, data: &[u8], args: &Args) -> Result<Figures, Failed> {
    let nginx = nchan::Nginx::start()?;
    let target = duel::nchan(&nginx, channels, data);
    let (figures, _) = duel::run(&target, args.viewers, args.seconds)?;
    nginx.stop()?;
    Ok(figures)
}

/// `hoga serve` with room for the crowd.
fn hoga(stage: &Stage, database: &str) -> Result<Server, Failed> {
    let mut command = children::hoga();
    command
        .envs(stage.environment(database))
        .env("HOGA_REQUESTS_PER_SECOND_MAX", "1000000")
        .env("HOGA_STREAMS_PER_ADDRESS_MAX", "1000000");
    Server::start(command)
}
