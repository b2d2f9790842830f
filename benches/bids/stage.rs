//! The stage: one private Postgres, and a template database with users and live auctions.

use std::path::Path;

use hoga::{
    domain::{
        auction::{Increment, Item, Scheduled, Terms},
        id::{AuctionId, UserId},
        money::{Amount, Currency},
    },
    embedded::postgres::{Cluster, ClusterOptions, StopMode},
    exchange::new_auction,
    identity::{Role, keys::KeyRing, tokens::Tokens},
    store::Store,
    wall_clock,
};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::{
    Failed,
    children::{self, Server},
    plan::OPENING_PRICE,
    rivals,
};

/// How many people bid.
const BIDDERS: u32 = 500;
/// How many auctions (b) and (e) are spread over; one more is the hot one.
const AUCTIONS: usize = 1_000;
/// Auctions written at once.
const WRITTEN_AT_ONCE: usize = 500;
/// They end long after the benchmark.
const LASTS_S: i64 = 30 * 86_400;
const TOKEN_LIFE_S: i64 = 86_400;
/// The issuer of the tokens; nobody listens there.
pub const PUBLIC_URL: &str = "http://hoga.bench";
const TEMPLATE: &str = "bench_template";
const RUN: &str = "bench_run";

/// Everything that a run needs.
pub struct Stage {
    folder: TempDir,
    cluster: Cluster,
    tokens: Vec<String>,
    auctions: Vec<AuctionId>,
    /// In the template: those that created the auctions and those that opened them.
    commits_before: u64,
}

/// What a run left in its database.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// `bid.placed` events.
    pub bids: u64,
    /// Kept answers.
    pub receipts: u64,
    /// Transactions that wrote events.
    pub commits: u64,
}

impl Stage {
    /// Starts Postgres, makes the schema, the users and the auctions, and has them opened.
    pub fn build(settings: &[String], sql: Option<&str>) -> Result<Stage, Failed> {
        let folder = tempfile::tempdir()?;
        let mut options = ClusterOptions::new(folder.path().join("data"));
        for setting in settings {
            let (name, value) = setting.split_once('=').ok_or("settings are name=value")?;
            options = options.with_setting(name, value);
        }
        let cluster = Cluster::start(options)?;
        cluster.ensure_database(TEMPLATE)?;
        let tokens = tokens(&folder.path().join("key.pem"))?;
        let mut stage = Stage { folder, cluster, tokens, auctions: Vec::new(), commits_before: 0 };
        stage.auctions = block_on(fill(&stage.cluster))?;
        // They are due: the exchange opens them before it is ready.
        let mut opening = children::hoga();
        opening.envs(stage.environment(TEMPLATE));
        Server::start(opening)?.stop()?;
        block_on(rivals::plpgsql::create_function(&stage.cluster.config(TEMPLATE)))?;
        if let Some(sql) = sql {
            stage.execute(TEMPLATE, sql)?;
        }
        stage.commits_before = stage.written(TEMPLATE)?.commits;
        Ok(stage)
    }

    /// The tokens of the bidders.
    pub fn bidders(&self) -> &[String] {
        &self.tokens
    }

    /// The auctions; the first is the hot one.
    pub fn auctions(&self) -> &[AuctionId] {
        &self.auctions
    }

    /// The process id of Postgres.
    pub fn postmaster(&self) -> Result<u32, Failed> {
        self.cluster.pid().ok_or_else(|| "Postgres has gone".into())
    }

    /// The environment of a server on a database of the stage.
    pub fn environment(&self, database: &str) -> [(&str, String); 5] {
        let folder = self.folder.path();
        [
            ("HOGA_PUBLIC_URL", PUBLIC_URL.to_owned()),
            // A few hundred users stand for many thousands: their budgets are counted, not met.
            ("HOGA_BIDS_PER_SECOND_MAX", "1000000".to_owned()),
            ("HOGA_DATABASE_URL", self.cluster.url(database)),
            ("HOGA_DATA_DIR", folder.join("hoga").display().to_string()),
            ("HOGA_SIGNING_KEY_FILE", folder.join("key.pem").display().to_string()),
        ]
    }

    /// A fresh copy of the template, with nothing left to be written to disk.
    pub fn database(&self) -> Result<String, Failed> {
        self.execute("postgres", &format!("DROP DATABASE IF EXISTS {RUN} WITH (FORCE)"))?;
        self.execute("postgres", &format!("CREATE DATABASE {RUN} TEMPLATE {TEMPLATE}"))?;
        self.execute("postgres", "CHECKPOINT")?;
        Ok(RUN.to_owned())
    }

    /// Frees the disk.
    pub fn drop_database(&self, name: &str) -> Result<(), Failed> {
        self.execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"))
    }

    fn execute(&self, database: &str, statement: &str) -> Result<(), Failed> {
        let config = self.cluster.config(database);
        block_on(async move { Ok(connect(&config).await?.batch_execute(statement).await?) })
    }

    /// Counts what a run has left.
    pub fn written(&self, database: &str) -> Result<Written, Failed> {
        const COUNT: &str = "
            SELECT (SELECT count(*) FROM events WHERE kind = 'bid.placed'),
                   (SELECT count(*) FROM receipts),
                   (SELECT last_value FROM outbox_id_seq)";
        let config = self.cluster.config(database);
        block_on(async move {
            let row = connect(&config).await?.query_one(COUNT, &[]).await?;
            let [bids, receipts, last_outbox_id] =
                [row.get(0), row.get(1), row.get(2)].map(|count: i64| count.unsigned_abs());
            let commits = last_outbox_id - self.commits_before;
            Ok(Written { bids, receipts, commits })
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.stop(StopMode::Immediate) {
            eprintln!("bids: Postgres could not be stopped: {error}");
        }
        let _ = std::fs::remove_dir_all(self.cluster.home());
    }
}

/// Runs something asynchronous to its end.
pub fn block_on<T>(task: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
}

async fn connect(config: &tokio_postgres::Config) -> Result<Client, Failed> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Numbered, so that the rivals can read a bidder's alias off the id.
fn bidder(number: u32) -> UserId {
    UserId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number)))
}

fn tokens(key_file: &Path) -> Result<Vec<String>, Failed> {
    let tokens = Tokens::new(KeyRing::load_or_create(key_file)?, PUBLIC_URL);
    let now = wall_clock::now();
    let issue = |number| tokens.issue(bidder(number), &[Role::Bidder], None, now, TOKEN_LIFE_S);
    Ok((1..=BIDDERS).map(issue).collect::<Result<_, _>>()?)
}

async fn fill(cluster: &Cluster) -> Result<Vec<AuctionId>, Failed> {
    let store = Store::new(cluster.config(TEMPLATE))?;
    store.migrate().await?;
    let seller = UserId(Uuid::now_v7());
    store.ensure_users(&[(seller, "seller".to_owned())], &["seller"]).await?;
    let bidders: Vec<(UserId, String)> =
        (1..=BIDDERS).map(|number| (bidder(number), format!("bidder {number}"))).collect();
    store.ensure_users(&bidders, &["bidder"]).await?;
    let now = wall_clock::now();
    let auctions: Vec<_> = (0..=AUCTIONS)
        .map(|number| new_auction(AuctionId(Uuid::now_v7()), scheduled(seller, number), now))
        .collect();
    for some in auctions.chunks(WRITTEN_AT_ONCE) {
        let tx = store.begin().await?;
        tx.insert_auctions(&some.iter().collect::<Vec<_>>()).await?;
        tx.commit().await?;
    }
    Ok(auctions.iter().map(|auction| auction.item.id).collect())
}

fn scheduled(seller: UserId, number: usize) -> Scheduled {
    let starts_at = wall_clock::now();
    Scheduled {
        seller,
        item: Item {
            attributes: Default::default(),
            category: Some("art".to_owned()),
            description: "Made for measuring.".to_owned(),
            image_keys: Vec::new(),
            title: format!("Lot {number}"),
        },
        terms: Terms {
            currency: Currency::Krw,
            opening_price: Amount::new(OPENING_PRICE).expect("positive"),
            increment: Increment::Fixed(Amount::ONE),
            reserve_price: None,
            buy_now_price: None,
            bids_per_bidder_max: None,
            cap: Amount::CAP_DEFAULT,
            starts_at,
            ends_at: starts_at.plus_s(LASTS_S),
            soft_close: None,
        },
        relisted_from: None,
        reserve_salt: rand::random(),
    }
}
