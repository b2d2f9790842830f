//! The command line: what each command takes, does and prints, one file each.
//!
//! Owns the texts that people read in a terminal and the exit codes: 0 it is done, 1 it failed,
//! 2 the command line or the environment is wrong, 130 a second signal ended it. Must never hold a rule of the exchange.

pub mod broadcast;
pub mod client;
pub mod clients;
pub mod csv_file;
pub mod dead_letters;
pub mod import;
pub mod keys;
pub mod progress;
pub mod replay;
pub mod roles;
pub mod serve;
pub mod setup;
pub mod token;
pub mod verify;
pub mod webhooks;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    app::StartError,
    config::{self, Config},
    embedded::{lock::LockError, postgres::ClusterError},
    http::openapi,
    identity::keys::KeyError,
    notify::push::web_push::vapid::VapidError,
    store::DatabaseError,
    telemetry,
};

/// Hoga, an auction exchange server.
///
/// Without any configuration `hoga serve` runs a complete exchange on a private Postgres under
/// .hoga/. The environment (HOGA_BIND, HOGA_DATABASE_URL, …) is described in README.md.
#[derive(Debug, Parser)]
#[command(name = "hoga", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the exchange: HTTP, streams, lanes and clock
    ///
    /// Uses HOGA_DATABASE_URL, or starts a private Postgres under HOGA_DATA_DIR (.hoga) with a
    /// demo catalogue. Stops on SIGTERM or Ctrl-C: what was accepted is finished first.
    Serve,
    /// Carry streams alone, beside one or more `hoga serve`
    ///
    /// Serves the event streams of auctions, the time, health and metrics, and nothing else, from
    /// the database of an exchange, which it only reads: HOGA_DATABASE_URL, or the private Postgres
    /// of the `hoga serve` that runs on HOGA_DATA_DIR. Any number may run side by side, each on its
    /// own HOGA_BIND, so that viewers never weigh on bidding. It needs the exchange's
    /// HOGA_SIGNING_KEY_FILE, to count the streams of each user. Stops on SIGTERM or Ctrl-C: viewers
    /// are told to come back, spread over some seconds.
    Broadcast,
    /// Bring the database's schema up to date, and stop
    Migrate,
    /// Print the API document (OpenAPI 3.1)
    Openapi,
    /// Put items from a CSV on sale, as scheduled auctions of one seller
    ///
    /// FILE has a header with the column title and, where there are any, id, accession, artist,
    /// date_text, year, classification, medium, dimensions, subjects, acquisition_year and
    /// thumbnail_url; others are ignored. From the next session (09:00 in Seoul) on, --per-day
    /// auctions a day open in its first hour and close in its last. Opening prices follow from
    /// classification and year. An item that was imported before stays as it is, so a run that was
    /// cut off is completed by running it again. Rows that cannot be used are named and left out;
    /// the exit code is 1 if that leaves nothing.
    Import(import::ImportArgs),
    /// Put recorded bids through the rules, or through a running server
    ///
    /// FILE is a CSV with the columns auction, days, opening_bid_cents, final_price_cents, bid_seq,
    /// bid_time_days, bidder, bid_cents. Ends with `reproduced N of M closing prices`.
    ///
    /// With --live every auction is held at once on the server at URL, bid on in order, and ended by
    /// its clock; the exit code is 1 if one went otherwise than the rules alone have it. That makes
    /// users and signs their tokens, so it needs the server's own HOGA_DATA_DIR or
    /// HOGA_DATABASE_URL and HOGA_SIGNING_KEY_FILE.
    Replay(replay::ReplayArgs),
    /// Recompute the public log of an auction: hashes, signature and result
    ///
    /// SOURCE is the address of an auction or its log, such as
    /// http://127.0.0.1:8080/v1/auctions/ID, or a file (- for standard input) with one or more
    /// answers of `GET log` as they came, one after the other. A log that is fetched is also held
    /// against its signed checkpoint, so that one that was cut off is told from a whole one; a file
    /// has no checkpoint. Names the first event that is not good, with exit code 1.
    Verify(verify::VerifyArgs),
    /// Register frontends, and change, list or disable them
    ///
    /// Works on HOGA_DATABASE_URL, or on the private Postgres under HOGA_DATA_DIR (.hoga), whether
    /// or not the server runs; a running one hears of it within seconds.
    Client(clients::ClientArgs),
    /// Make webhooks for clients: where they are told of events; and change, test or replay them
    ///
    /// Works on HOGA_DATABASE_URL, or on the private Postgres under HOGA_DATA_DIR (.hoga), whether
    /// or not the server runs; a running one hears of it within a second.
    Webhook(webhooks::WebhookArgs),
    /// Show a user's roles, or set them: bidder, seller, admin
    ///
    /// The first admin of an exchange is made here; admins make others over HTTP. Works on
    /// HOGA_DATABASE_URL, or on the private Postgres under HOGA_DATA_DIR (.hoga), whether or not the
    /// server runs. A new role is in the user's next access token; where one is taken away, their
    /// tokens stop counting within seconds.
    Roles(roles::RolesArgs),
    /// List, rotate or drop the keys that sign access tokens and log checkpoints
    ///
    /// They stand in the file HOGA_SIGNING_KEY_FILE (signing-key.pem under HOGA_DATA_DIR), readable
    /// to its owner alone. A running server hears of a change within seconds. Where several servers
    /// share an exchange, give each of them the changed file.
    Keys(keys::KeysArgs),
    /// List or replay events that a consumer could not take
    ///
    /// They stand in the database, or, with HOGA_AMQP_URL set, in the queue hoga.dead-letters on
    /// RabbitMQ. Replaying offers an event to its consumer again, whether or not the server runs.
    DeadLetters(dead_letters::DeadLetterArgs),
    /// Print an access token for a user of the embedded default
    ///
    /// Makes the user if there is none. Refused when HOGA_DATABASE_URL is set: there, users log in.
    Token(token::TokenArgs),
}

/// A command that failed, with what was wrong.
#[derive(Debug)]
pub struct Failed {
    /// 1, or 2 when the command line or the environment is wrong.
    pub code: u8,
    /// With its chain of causes.
    pub error: Box<dyn std::error::Error>,
}

impl<E: std::error::Error + 'static> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed { code: if is_of_environment(&error) { 2 } else { 1 }, error: Box::new(error) }
    }
}

/// Whether a variable leads to what cannot be used; the error names it. A disk that is full is no
/// mistake of whoever set it.
fn is_of_environment(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = || std::iter::successors(Some(error), |error| error.source());
    let lacks_room = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    };
    if causes().any(|cause| cause.downcast_ref().is_some_and(lacks_room)) {
        return false;
    }
    causes().any(|cause| {
        matches!(cause.downcast_ref(), Some(StartError::Config(_)))
            || matches!(cause.downcast_ref(), Some(LockError::File { .. }))
            || matches!(cause.downcast_ref(), Some(ClusterError::NoPrograms { .. }))
            || matches!(cause.downcast_ref(), Some(VapidError::File(_) | VapidError::Malformed(_)))
            || matches!(cause.downcast_ref(), Some(DatabaseError::TooFewConnections { .. }))
            || matches!(
                cause.downcast_ref(),
                Some(KeyError::File { .. } | KeyError::Malformed(_) | KeyError::Exposed { .. })
            )
    })
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(failed) => {
            eprintln!("hoga: {}", chain(&*failed.error));
            ExitCode::from(failed.code)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failed> {
    // These need no configuration, so a wrong one is no reason to refuse them.
    match command {
        Command::Openapi => {
            say(&openapi::document_text())?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Verify(args) => return verify::run(&args),
        Command::Serve
        | Command::Broadcast
        | Command::Migrate
        | Command::Import(_)
        | Command::Replay(_)
        | Command::Client(_)
        | Command::Webhook(_)
        | Command::Keys(_)
        | Command::Roles(_)
        | Command::DeadLetters(_)
        | Command::Token(_) => {}
    }
    let config = Config::from_env().map_err(|error| Failed { code: 2, error: Box::new(error) })?;
    if !matches!(command, Command::Serve | Command::Broadcast) {
        for name in config::unknown_variables(environment_names()) {
            eprintln!("hoga: {name} {IS_UNKNOWN}");
        }
    }
    match command {
        Command::Serve => serve::run(&config),
        Command::Broadcast => broadcast::run(&config),
        Command::Replay(args) => replay::run(&config, &args),
        Command::Import(args) => import::run(&config, &args),
        Command::Migrate => setup::migrate(&config),
        Command::Token(args) => token::run(&config, &args),
        Command::Client(args) => clients::run(&config, args),
        Command::Webhook(args) => webhooks::run(&config, args),
        Command::Keys(args) => keys::run(&config, &args),
        Command::Roles(args) => roles::run(&config, &args),
        Command::DeadLetters(args) => dead_letters::run(&config, &args),
        Command::Openapi | Command::Verify(_) => Ok(ExitCode::SUCCESS),
    }
}

const IS_UNKNOWN: &str = "is no variable of Hoga's and changes nothing; is it misspelt?";

fn environment_names() -> impl Iterator<Item = std::ffi::OsString> {
    std::env::vars_os().map(|(name, _)| name)
}

/// Starts logging, and says which variables change nothing.
fn start_logging() -> Result<(), Failed> {
    telemetry::init().map_err(|error| Failed { code: 2, error: Box::new(error) })?;
    for variable in config::unknown_variables(environment_names()) {
        tracing::warn!(variable, "{IS_UNKNOWN}");
    }
    Ok(())
}

/// Standard output. That nobody reads on is no failure: `head` has what it wanted.
struct Output(io::StdoutLock<'static>);

fn output() -> Output {
    Output(io::stdout().lock())
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_unheard(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_unheard(self.0.flush(), ())
    }
}

fn unless_unheard<T>(written: io::Result<T>, as_if: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(as_if),
        written => written,
    }
}

/// On standard output.
///
/// # Errors
/// What keeps it from being written, such as a full disk; not that nobody reads on.
pub fn say(text: &str) -> io::Result<()> {
    let mut out = output();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A line of a server's, which goes on whoever reads it.
fn say_if_heard(line: &str) {
    if let Err(error) = say(&format!("{line}\n")) {
        tracing::warn!(%error, "standard output cannot be written to");
    }
}

/// An error and its causes on one line, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
