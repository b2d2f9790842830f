//! `hoga import FILE`: items from a CSV become scheduled auctions of one seller.
//!
//! Owns what a row becomes: item, opening price, and a place in the seller's sessions. Must never
//! give up on a file for one bad row, nor import an item twice: an auction's id is made of its
//! seller and its item, so that a run that was cut off is completed by running it again.

use std::{
    collections::HashMap,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use super::{
    Failed,
    csv_file::{BadRow, CsvFile, FileError, LISTED_MAX, say_how_many_more},
    setup::Database,
};
use crate::{
    config::Config,
    domain::{id::AuctionId, money::Amount},
    market::{
        self,
        import::{COLUMNS, Maker, REQUIRED, Row},
    },
    store::{NewAuction, Store, StoreError},
    wall_clock,
};

/// Auctions in one transaction.
const BATCH: usize = 1_000;
/// Batches that wait to be written.
const BATCHES_WAITING_MAX: usize = 2;
/// Transactions side by side.
const WRITERS: usize = 2;
/// The most auctions of one day: more would open and close within the same milliseconds.
const PER_DAY_MAX: u32 = 100_000;

/// What `hoga import` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct ImportArgs {
    /// A CSV of items, plain or gzipped
    pub file: PathBuf,
    /// Whose auctions they become; made with the role seller if there is no such user
    #[arg(long, value_name = "NAME", default_value = "tate", value_parser = super::token::user_name)]
    pub seller: String,
    /// How many auctions a day
    #[arg(long, value_name = "N", default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(PER_DAY_MAX)))]
    pub per_day: u32,
    /// List every row that was skipped
    #[arg(long)]
    pub all: bool,
}

/// Why an import could not be done, or not to its end. What was committed before stays.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Postgres.
    #[error("the import stopped; what it had written stays, and running it again completes it")]
    Store(#[from] StoreError),
    /// The report could not be written.
    #[error("cannot write the report")]
    Write(#[source] io::Error),
    /// The thread that reads the rows broke down.
    #[error("the rows could not be read to their end")]
    Reader(#[from] tokio::task::JoinError),
}

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Items that became auctions.
    pub new: u64,
    /// Items that were auctions already.
    pub known: u64,
    /// Rows that could not be used, in the order of the file.
    pub skipped: Vec<BadRow>,
    /// How many rows there are.
    pub rows: u64,
}

/// `hoga import`
///
/// # Errors
/// When the file or the database cannot be used.
pub fn run(config: &Config, args: &ImportArgs) -> Result<ExitCode, Failed> {
    // Before the database, so that a wrong file name starts no cluster.
    let file = CsvFile::open(&args.file).map_err(ImportError::from)?;
    file.rows(COLUMNS, REQUIRED).map_err(ImportError::from)?;
    let database = Database::open(config)?;
    let store = Store::new(database.config.clone())?;
    let started = Instant::now();
    let outcome = actix::System::new().block_on(async {
        store.migrate().await?;
        Ok::<Imported, Failed>(import(&store, file, args, config.bid_cap).await?)
    });
    database.leave()?;
    let imported = outcome?;
    report(&imported, started.elapsed(), args.all, &mut super::output())
        .map_err(ImportError::Write)?;
    let is_any = imported.new + imported.known > 0;
    Ok(if is_any { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the auctions of a file. Each batch is one transaction: what is committed stays.
///
/// # Errors
/// When the file has no rows, or Postgres fails.
pub async fn import(
    store: &Store,
    file: CsvFile,
    args: &ImportArgs,
    cap: Amount,
) -> Result<Imported, ImportError> {
    let now = wall_clock::now();
    let seller = market::import::seller(store, &args.seller, now).await?;
    let progress = progress_bar(file.bytes());
    let (sender, batches) = mpsc::channel(BATCHES_WAITING_MAX);
    let reader = Reader {
        maker: Maker::new(seller, cap, now, args.per_day),
        lines: HashMap::new(),
        imported: Imported::default(),
        progress: progress.clone(),
    };
    let reading = tokio::task::spawn_blocking(move || reader.read(&file, &sender));
    let (written, new) = stream::unfold(batches, async |mut batches| {
        batches.recv().await.map(|batch: Vec<NewAuction>| (batch, batches))
    })
    .map(async |batch| {
        let new = market::import::write(store, &batch).await?;
        Ok::<(u64, u64), StoreError>((batch.len() as u64, new))
    })
    .buffer_unordered(WRITERS)
    .try_fold((0, 0), async |sum, batch| {
        let sum = (sum.0 + batch.0, sum.1 + batch.1);
        progress.set_message(format!("{} items", sum.0));
        Ok(sum)
    })
    .await?;
    let imported = reading.await??;
    progress.finish_and_clear();
    Ok(Imported { new, known: written - new, ..imported })
}

/// On standard error, and not at all where that is no terminal.
fn progress_bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}  {elapsed}");
    let bar = ProgressBar::new(bytes);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

/// Goes through the rows on a thread of its own, while Postgres writes.
struct Reader {
    maker: Maker,
    /// The line of each auction, so that a file that names an item twice is told so.
    lines: HashMap<AuctionId, u64>,
    imported: Imported,
    progress: ProgressBar,
}

impl Reader {
    fn read(
        mut self,
        file: &CsvFile,
        batches: &mpsc::Sender<Vec<NewAuction>>,
    ) -> Result<Imported, FileError> {
        let mut rows = file.rows(COLUMNS, REQUIRED)?;
        let mut batch = Vec::with_capacity(BATCH);
        while let Some((line, row)) = rows.next_row() {
            self.imported.rows += 1;
            match row.and_then(|fields| self.auction(fields, line)) {
                Ok(auction) => batch.push(auction),
                Err(problem) => self.imported.skipped.push(BadRow { line, problem }),
            }
            if batch.len() == BATCH {
                self.progress.set_position(rows.bytes_read());
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                if batches.blocking_send(full).is_err() {
                    // The writers have stopped, and say why themselves.
                    return Ok(self.imported);
                }
            }
        }
        if self.imported.rows == 0 {
            return Err(file.no_rows());
        }
        if !batch.is_empty() {
            let _stopped = batches.blocking_send(batch);
        }
        Ok(self.imported)
    }

    fn auction(&mut self, fields: [&str; COLUMNS.len()], line: u64) -> Result<NewAuction, String> {
        let row = Row::of(fields);
        let item = row.item()?;
        let id = self.maker.id(&row);
        if let Some(earlier) = self.lines.get(&id) {
            return Err(format!("{} is that of line {earlier} too", row.named()));
        }
        let auction = self.maker.auction(id, item, row.opening_price())?;
        self.lines.insert(id, line);
        Ok(auction)
    }
}

fn report(imported: &Imported, took: Duration, all: bool, out: &mut impl Write) -> io::Result<()> {
    let Imported { new, known, skipped, rows } = imported;
    let listed_max = if all { usize::MAX } else { LISTED_MAX };
    for row in skipped.iter().take(listed_max) {
        writeln!(out, "line {}: {}; row skipped", row.line, row.problem)?;
    }
    say_how_many_more(skipped.len(), listed_max, "skipped rows", out)?;
    let seconds = took.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let rate = (new + known) as f64 / seconds.max(0.001);
    writeln!(
        out,
        "imported {new} items of {rows} rows; {known} were there already; {skipped} rows skipped \
         ({seconds:.1} s, {rate:.0} items/s)",
        skipped = skipped.len()
    )?;
    out.flush()
}
