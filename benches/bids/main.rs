//! `make bench-bids`: how many durable bids a second, against two ways of doing without lanes and
//! against no database at all, on one private Postgres with fsync on, in one run.
//!
//! | | who answers | the bids |
//! |---|---|---|
//! | a | `hoga serve` | on one hot auction |
//! | b | `hoga serve` | spread over 1,000 auctions |
//! | c | `hoga serve` | on one hot auction, nine of ten too low |
//! | d | `SELECT … FOR UPDATE`, a transaction of ordinary statements per bid | as a |
//! | e | one PL/pgSQL call per bid | as b |
//! | f | the receipt without a database | as a |
//!
//! Each answers from a process of its own, on a database of its own that is a copy of the same
//! template; d, e and f are this program again ([`rivals`]), under the same HTTP server with the
//! same token check, and d and e write the same rows. The load comes from this process over
//! keep-alive connections. Whatever was acknowledged is counted in the tables afterwards; a
//! difference fails the run.

mod children;
mod figures;
mod load;
mod plan;
mod proc;
mod report;
mod rivals;
mod stage;

use std::{
    error::Error,
    process::{Command, ExitCode},
    rc::Rc,
    time::Duration,
};

use clap::Parser;

use self::{
    children::Server,
    figures::Run,
    plan::{Plan, Subject},
    stage::Stage,
};

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failed = Box<dyn Error>;

/// Bids a second, durable and otherwise
#[derive(Debug, Parser)]
struct Args {
    /// Which of a, b, c, d, e, f, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "a,d,f,b,e,c")]
    only: Vec<Subject>,
    /// How many connections at once, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "64,256")]
    connections: Vec<usize>,
    /// How often each is measured; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that are measured, after a quarter as long that is not
    #[arg(long, env = "HOGA_BENCH_SECONDS", default_value_t = 8.0)]
    seconds: f64,
    /// Threads that speak HTTP, for every server; 0 for what `hoga serve` chooses by itself
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Connections to Postgres that d and e share
    #[arg(long, default_value_t = 32)]
    pool: usize,
    /// Postgres settings to try out, as name=value, separated by commas
    #[arg(long, value_delimiter = ',')]
    settings: Vec<String>,
    /// A statement to try out on the schema
    #[arg(long)]
    sql: Option<String>,
    /// Prints the server's process id and waits for a profiler before each measurement
    #[arg(long)]
    profile: bool,
    /// Serves as one of the rivals; this program starts itself so
    #[arg(long, hide = true)]
    serve: Option<rivals::Rival>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.serve {
        Some(rival) => rivals::serve(rival, args.pool).map(|()| true),
        None => compare(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bids: {}", hoga::cli::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that was acknowledged was found in the tables.
fn compare(args: &Args) -> Result<bool, Failed> {
    let stage = Stage::build(&args.settings, args.sql.as_deref())?;
    let mut runs = Vec::new();
    for round in 1..=args.rounds {
        for connections in &args.connections {
            for subject in &args.only {
                let run = measure(args, &stage, *subject, *connections, round)?;
                println!("{}", report::line(&run));
                runs.push(run);
            }
        }
    }
    let table = report::Table::of(&runs);
    println!("\n{table}");
    let path = report::write_json(&table, &runs)?;
    println!("written to {}", path.display());
    Ok(runs.iter().all(Run::is_whole))
}

fn measure(
    args: &Args,
    stage: &Stage,
    subject: Subject,
    connections: usize,
    round: usize,
) -> Result<Run, Failed> {
    let database = stage.database()?;
    let server = Server::start(command(args, stage, subject, &database)?)?;
    if args.profile {
        println!("{subject}: process {}, Postgres {}", server.pid(), stage.postmaster()?);
    }
    let window = load::Window {
        warm_up: Duration::from_secs_f64(args.seconds / 4.0),
        measured: Duration::from_secs_f64(args.seconds),
    };
    let plan = Rc::new(Plan::new(subject, stage.bidders(), stage.auctions()));
    let watched = proc::Watched { server: server.pid(), postmaster: stage.postmaster()? };
    let outcome = load::run(&plan, server.address(), connections, window, &watched)?;
    server.stop()?;
    let written = stage.written(&database)?;
    stage.drop_database(&database)?;
    Ok(Run::of(subject, connections, round, outcome, written))
}

/// Whoever answers for a subject.
fn command(
    args: &Args,
    stage: &Stage,
    subject: Subject,
    database: &str,
) -> Result<Command, Failed> {
    let rival = |name: &str| -> Result<Command, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", name, "--pool", &args.pool.to_string()]);
        Ok(command)
    };
    let mut command = match subject {
        Subject::A | Subject::B | Subject::C => children::hoga(),
        Subject::D => rival("rowlock")?,
        Subject::E => rival("plpgsql")?,
        Subject::F => rival("ceiling")?,
    };
    command.envs(stage.environment(database));
    if args.workers > 0 {
        command.env("HOGA_HTTP_WORKERS", args.workers.to_string());
    }
    Ok(command)
}
