//! `make bench-memory`: what 100,000 live auctions take in the memory of the real server, opened
//! and idle.
//!
//! The auctions are written overdue, so that the server opens every one of them through its actor
//! before it is ready; then its resident memory is read, and compared with a server that has none.

#[path = "bids/children.rs"]
mod children;

use std::{
    error::Error,
    fs, io,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use hoga::{
    domain::{
        auction::{Increment, Item, Scheduled, SoftClose, SoftCloseMode, Terms, increment::Table},
        id::{AuctionId, UserId},
        money::{Amount, Currency},
    },
    embedded::postgres::{Cluster, ClusterOptions, StopMode},
    exchange::new_auction,
    store::Store,
    wall_clock,
};
use serde::Serialize;
use tempfile::TempDir;
use uuid::Uuid;

use self::children::Server;

type Failed = Box<dyn Error>;

const AUCTIONS: u32 = 100_000;
const WRITTEN_AT_ONCE: u32 = 2_000;
/// All of them must fit into this, with everything else that the server holds.
const BYTES_MAX: u64 = 1 << 30;
/// What is left over from opening goes back to the system in this time, or never.
const SETTLES_IN: Duration = Duration::from_secs(10);
const LASTS_S: i64 = 86_400;

#[derive(Debug, Serialize)]
struct Figures {
    auctions: u32,
    opened_in_s: f64,
    empty_bytes: u64,
    opened_bytes: u64,
    idle_bytes: u64,
    bytes_per_auction: u64,
    wanted_bytes_below: u64,
    is_reached: bool,
}

fn main() -> ExitCode {
    match measure() {
        Ok(figures) => {
            print(&figures);
            if figures.is_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("memory: {}", hoga::cli::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn print(figures: &Figures) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("{} live auctions, opened in {:.1} s", figures.auctions, figures.opened_in_s);
    println!("  without them   {:>7.1} MiB", mib(figures.empty_bytes));
    println!("  opened         {:>7.1} MiB", mib(figures.opened_bytes));
    println!("  idle           {:>7.1} MiB", mib(figures.idle_bytes));
    println!("  per auction    {:>7} bytes", figures.bytes_per_auction);
    let verdict = if figures.is_reached { "reached" } else { "SHORT" };
    println!("  wanted below   {:>7.1} MiB: {verdict}", mib(figures.wanted_bytes_below));
}

fn measure() -> Result<Figures, Failed> {
    let shop = Shop::open()?;
    let server = shop.serve("empty")?;
    std::thread::sleep(Duration::from_secs(1));
    let empty_bytes = resident_bytes(server.pid())?;
    server.stop()?;
    tokio::runtime::Runtime::new()?.block_on(shop.fill("filled"))?;
    let started = Instant::now();
    let server = shop.serve("filled")?;
    let opened_in_s = started.elapsed().as_secs_f64();
    let opened_bytes = resident_bytes(server.pid())?;
    std::thread::sleep(SETTLES_IN);
    let idle_bytes = resident_bytes(server.pid())?;
    server.stop()?;
    let figures = Figures {
        auctions: AUCTIONS,
        opened_in_s,
        empty_bytes,
        opened_bytes,
        idle_bytes,
        bytes_per_auction: idle_bytes.saturating_sub(empty_bytes) / u64::from(AUCTIONS),
        wanted_bytes_below: BYTES_MAX,
        is_reached: opened_bytes.max(idle_bytes) < BYTES_MAX,
    };
    write_json(&figures)?;
    Ok(figures)
}

/// As `bids.json`: into cargo's target folder.
fn write_json(figures: &Figures) -> Result<(), Failed> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../bench");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("memory.json"), serde_json::to_vec_pretty(figures)?)?;
    Ok(())
}

/// A private Postgres with a database for each server.
struct Shop {
    folder: TempDir,
    cluster: Cluster,
}

impl Shop {
    fn open() -> Result<Shop, Failed> {
        let folder = tempfile::tempdir()?;
        let cluster = Cluster::start(ClusterOptions::new(folder.path().join("data")))?;
        let shop = Shop { folder, cluster };
        shop.cluster.ensure_database("empty")?;
        shop.cluster.ensure_database("filled")?;
        Ok(shop)
    }

    fn serve(&self, database: &str) -> Result<Server, Failed> {
        let mut command = children::hoga();
        command
            .env("HOGA_DATABASE_URL", self.cluster.url(database))
            .env("HOGA_DATA_DIR", self.folder.path().join("hoga"));
        Server::start(command)
    }

    /// Auctions that are due to open.
    async fn fill(&self, database: &str) -> Result<(), Failed> {
        let store = Store::new(self.cluster.config(database))?;
        store.migrate().await?;
        let seller = UserId(Uuid::now_v7());
        store.ensure_users(&[(seller, "seller".to_owned())], &["seller"]).await?;
        let numbers: Vec<u32> = (0..AUCTIONS).collect();
        for some in numbers.chunks(WRITTEN_AT_ONCE as usize) {
            let now = wall_clock::now();
            let new = |number: &u32| {
                new_auction(AuctionId(Uuid::now_v7()), scheduled(seller, *number), now)
            };
            let auctions: Vec<_> = some.iter().map(new).collect();
            let tx = store.begin().await?;
            tx.insert_auctions(&auctions.iter().collect::<Vec<_>>()).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.stop(StopMode::Immediate) {
            eprintln!("memory: Postgres could not be stopped: {error}");
        }
        let _ = fs::remove_dir_all(self.cluster.home());
    }
}

/// As a seller would write it, every optional term used.
fn scheduled(seller: UserId, number: u32) -> Scheduled {
    let starts_at = wall_clock::now();
    let ends_at = starts_at.plus_s(LASTS_S);
    let won = |amount| Amount::new(amount).expect("positive");
    Scheduled {
        seller,
        item: Item {
            attributes: [("period".to_owned(), "18세기".to_owned())].into(),
            category: Some("art".to_owned()),
            description: "조선 후기의 백자 달항아리. ".repeat(8),
            image_keys: vec![format!("bench/{number}.webp")],
            title: format!("백자 달항아리 {number}"),
        },
        terms: Terms {
            currency: Currency::Krw,
            opening_price: won(1_000_000),
            increment: Increment::Table(Table::Won),
            reserve_price: Some(won(2_000_000)),
            buy_now_price: Some(won(9_000_000)),
            bids_per_bidder_max: Some(100),
            cap: Amount::CAP_DEFAULT,
            starts_at,
            ends_at,
            soft_close: Some(SoftClose {
                extension_s: 300,
                max_ends_at: ends_at.plus_s(3_600),
                mode: SoftCloseMode::Extend,
                trigger_window_s: 300,
            }),
        },
        relisted_from: None,
        reserve_salt: rand::random(),
    }
}

/// `VmRSS` of a process.
fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1_024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
