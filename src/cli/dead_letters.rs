//! `hoga dead-letters`: events that a consumer could not take, and how they are offered again.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Failed, setup::Database};
use crate::{
    app,
    config::Config,
    domain::id::AuctionId,
    events::rabbitmq::dead_letters::{DeadLetterError, DeadLetters, LETTERS_MAX},
    store::{DeadLetterRow, Store},
};

/// What to do with the dead letters.
#[derive(Debug, Args)]
pub struct DeadLetterArgs {
    #[command(subcommand)]
    command: DeadLetterCommand,
}

#[derive(Debug, Subcommand)]
enum DeadLetterCommand {
    /// List them, the oldest first: id, type, and what the consumer said
    List,
    /// Offer one, or all, to their consumers again
    Replay {
        /// Such as 0192f0c1-5b7e-7a31-8c55-0d4f2b7f9a10:7@notify
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// Every one of them
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Not one of them.
    #[error("there is no dead letter {0}; see `hoga dead-letters list`")]
    NotFound(String),
}

/// `hoga dead-letters`
///
/// # Errors
/// When the database or the broker cannot be reached, or there is no such letter.
pub fn run(config: &Config, args: &DeadLetterArgs) -> Result<ExitCode, Failed> {
    let database = Database::open(config)?;
    let outcome = Store::new(database.config.clone()).map_err(Failed::from).and_then(|store| {
        actix::System::new().block_on(async {
            store.migrate().await?;
            let broker = match app::broker(config) {
                Some(broker) => Some(DeadLetters::open(&broker).await?),
                None => None,
            };
            let said = carry_out(&store, broker.as_ref(), &args.command).await;
            if let Some(broker) = broker {
                broker.close().await;
            }
            said
        })
    });
    database.leave()?;
    super::say(&outcome?)?;
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(
    store: &Store,
    broker: Option<&DeadLetters>,
    command: &DeadLetterCommand,
) -> Result<String, Failed> {
    match command {
        DeadLetterCommand::List => list(store, broker).await,
        DeadLetterCommand::Replay { id, .. } => {
            let id = id.as_deref();
            let count = replay_stored(store, id).await? + replay_queued(broker, id).await?;
            match (id, count) {
                (Some(id), 0) => Err(ReplayError::NotFound(id.to_owned()).into()),
                _ => Ok(format!("replayed {count}\n")),
            }
        }
    }
}

async fn list(store: &Store, broker: Option<&DeadLetters>) -> Result<String, Failed> {
    let mut text = String::new();
    for row in stored(store).await? {
        text.push_str(&line(&id_of(&row), &row.kind, &row.reason));
    }
    if let Some(broker) = broker {
        for letter in broker.list().await? {
            text.push_str(&line(&letter.id, &letter.kind, &letter.reason));
        }
    }
    Ok(text)
}

async fn stored(store: &Store) -> Result<Vec<DeadLetterRow>, Failed> {
    Ok(store.dead_letters(i64::try_from(LETTERS_MAX).unwrap_or(i64::MAX)).await?)
}

async fn replay_stored(store: &Store, id: Option<&str>) -> Result<usize, Failed> {
    let mut count = 0;
    for row in stored(store).await? {
        if id.is_none_or(|id| id == id_of(&row)) {
            let was_there = store.replay_dead_letter(&row.consumer, row.auction_id, row.seq);
            count += usize::from(was_there.await?);
        }
    }
    Ok(count)
}

async fn replay_queued(
    broker: Option<&DeadLetters>,
    id: Option<&str>,
) -> Result<usize, DeadLetterError> {
    match broker {
        Some(broker) => broker.replay(id).await,
        None => Ok(0),
    }
}

fn id_of(row: &DeadLetterRow) -> String {
    let auction: AuctionId = row.auction_id;
    format!("{auction}:{}@{}", row.seq, row.consumer)
}

/// What a consumer said may have come from anywhere: it stays on its line.
fn line(id: &str, kind: &str, reason: &str) -> String {
    let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{id}  {kind:<18} {reason}\n")
}
