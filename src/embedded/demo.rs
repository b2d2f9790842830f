//! The demo market: keeps the catalogue on sale, so that something always happens.
//!
//! Its auctions are ordinary ones of ordinary users. Must never run on a configured exchange.

use std::{collections::BTreeMap, time::Duration};

use uuid::Uuid;

use super::catalogue::{DEMO_ITEMS, DEMO_SELLER, DEMO_USERS, DemoIncrement, DemoItem, DemoUser};
use crate::{
    domain::{
        auction::{Increment, Item, Scheduled, SoftClose, SoftCloseMode, Terms, increment::Table},
        id::{AuctionId, UserId},
        money::{Amount, Currency},
        time::Timestamp,
    },
    exchange::{Exchange, new_auction},
    store::{ClientRow, Filter, NewAuction, Sort, Store, StoreError, User},
    wall_clock,
};

/// How often ended auctions are put on sale again.
const RENEWED_EVERY: Duration = Duration::from_secs(5);
/// A renewed auction opens after this, and up to [`SPREAD_S`] seconds later.
const OPENS_AFTER_S: i64 = 15;
/// Spreads the openings of what ended at the same time.
const SPREAD_S: i64 = 120;
/// The trigger window and extension of those that have a soft close.
const SOFT_CLOSE_S: u32 = 30;
/// By how much a soft close may move an end in all.
const SOFT_CLOSE_IN_ALL_S: i64 = 300;

/// An auction to bid on first.
#[derive(Debug, Clone)]
pub struct Example {
    /// Which.
    pub auction: AuctionId,
    /// What is sold.
    pub title: String,
    /// A ceiling that will be accepted, in won.
    pub next_bid: i64,
}

/// The demo market could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Postgres.
    #[error("the demo catalogue cannot be written")]
    Store(#[from] StoreError),
    /// The catalogue.
    #[error("the demo catalogue is empty")]
    Empty,
}

/// Who answers for Kakao, and so whether the people of the demo can log in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogsInAt {
    /// The stand-in, which knows them.
    StandIn,
    /// Kakao itself, where their ids would be somebody else's.
    Kakao,
}

/// The frontend that is registered on the first start.
pub const DEMO_CLIENT: &str = "hc_demo";
/// Where pages are usually developed.
const DEMO_ORIGINS: [&str; 4] = [
    "http://localhost:3000",
    "http://127.0.0.1:3000",
    "http://localhost:5173",
    "http://127.0.0.1:5173",
];
/// Where a login may return to, on each of them.
const DEMO_CALLBACKS: [&str; 2] = ["/callback", "/"];

/// Registers the demo frontend; false when it was there already, perhaps changed or disabled.
///
/// # Errors
/// When Postgres fails.
pub async fn register_client(store: &Store) -> Result<bool, StoreError> {
    let callbacks = |origin: &str| DEMO_CALLBACKS.map(|path| format!("{origin}{path}"));
    let client = ClientRow {
        id: DEMO_CLIENT.to_owned(),
        name: "Demo frontend".to_owned(),
        secret_hash: None,
        redirect_uris: DEMO_ORIGINS.into_iter().flat_map(callbacks).collect(),
        allowed_origins: DEMO_ORIGINS.map(str::to_owned).into(),
        requests_per_second: None,
        bids_per_second: None,
        created_at: wall_clock::now(),
        disabled_at: None,
    };
    store.insert_client(&client).await
}

/// Makes the users and puts everything on sale that is not; returns an auction to bid on.
///
/// # Errors
/// When Postgres fails.
pub async fn prepare(
    store: &Store,
    exchange: &Exchange,
    cap: Amount,
    logs_in_at: LogsInAt,
) -> Result<Example, DemoError> {
    for demo_user in DEMO_USERS {
        let DemoUser { name, nickname, roles, kakao_id } = *demo_user;
        let user = User {
            id: UserId(Uuid::now_v7()),
            name: Some(name.to_owned()),
            nickname: nickname.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        };
        let user = store.ensure_user(&user, wall_clock::now()).await?;
        if logs_in_at == LogsInAt::StandIn {
            store.link_kakao(user.id, kakao_id).await?;
        }
    }
    renew(store, exchange, cap, |item, _| item.starts_in_s).await?;
    example(store).await?.ok_or(DemoError::Empty)
}

/// The live auction that goes on longest, or the one that opens next.
async fn example(store: &Store) -> Result<Option<Example>, StoreError> {
    let on_sale = on_sale(store, seller(store).await?).await?;
    let row =
        on_sale.iter().max_by_key(|row| (row.starts_at <= wall_clock::now(), row.standing.ends_at));
    Ok(row.map(|row| {
        let minimum = row.standing.minimum_next_bid.unwrap_or(row.opening_price);
        Example {
            auction: row.id,
            title: row.title.clone(),
            next_bid: minimum.minor_units() + minimum.minor_units() / 5,
        }
    }))
}

/// Puts on sale again what has ended, for as long as the process lives.
pub async fn keep_going(store: Store, exchange: Exchange, cap: Amount) {
    let mut every = tokio::time::interval(RENEWED_EVERY);
    loop {
        every.tick().await;
        let later = |_: &DemoItem, place: usize| {
            OPENS_AFTER_S + i64::try_from(place * 37).unwrap_or(0) % SPREAD_S
        };
        if let Err(error) = renew(&store, &exchange, cap, later).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "the demo catalogue could not be renewed");
        }
    }
}

async fn on_sale(
    store: &Store,
    seller: UserId,
) -> Result<Vec<crate::store::AuctionRow>, StoreError> {
    let mut rows = Vec::new();
    for status in ["live", "scheduled"] {
        let filter =
            Filter { status: Some(status.to_owned()), seller: Some(seller), ..Filter::default() };
        rows.extend(store.auctions(&filter, Sort::Newest, None, 100).await?);
    }
    Ok(rows)
}

async fn seller(store: &Store) -> Result<UserId, StoreError> {
    let user = User {
        id: UserId(Uuid::now_v7()),
        name: Some(DEMO_SELLER.to_owned()),
        nickname: DEMO_SELLER.to_owned(),
        roles: vec!["seller".to_owned()],
    };
    Ok(store.ensure_user(&user, wall_clock::now()).await?.id)
}

async fn renew(
    store: &Store,
    exchange: &Exchange,
    cap: Amount,
    starts_in_s: impl Fn(&DemoItem, usize) -> i64,
) -> Result<(), StoreError> {
    let seller = seller(store).await?;
    let on_sale = on_sale(store, seller).await?;
    let now = wall_clock::now();
    let missing: Vec<NewAuction> = DEMO_ITEMS
        .iter()
        .enumerate()
        .filter(|(_, item)| on_sale.iter().all(|row| row.title != item.title))
        .map(|(place, item)| {
            let starts_at = now.plus_s(starts_in_s(item, place));
            let id = AuctionId(Uuid::now_v7());
            new_auction(id, scheduled(item, seller, cap, starts_at), now)
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    store.create_auctions(&missing, None).await?;
    for new in &missing {
        exchange.scheduled(new.item.id, new.item.starts_at);
    }
    Ok(())
}

fn scheduled(item: &DemoItem, seller: UserId, cap: Amount, starts_at: Timestamp) -> Scheduled {
    let won = |minor_units| Amount::new(minor_units).unwrap_or(Amount::ONE);
    let ends_at = starts_at.plus_s(item.lasts_s);
    let increment = match item.increment {
        DemoIncrement::Table(name) => Increment::Table(Table::named(name).unwrap_or(Table::Won)),
        DemoIncrement::Fixed { step } => Increment::Fixed(won(step)),
        DemoIncrement::PercentOfOpening { basis_points } => {
            Increment::PercentOfOpening { basis_points }
        }
    };
    let attributes: BTreeMap<String, String> = item
        .attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Scheduled {
        seller,
        item: Item {
            attributes,
            category: Some(item.category.to_owned()),
            description: item.description.to_owned(),
            image_keys: Vec::new(),
            title: item.title.to_owned(),
        },
        terms: Terms {
            currency: Currency::Krw,
            opening_price: won(item.opening_price),
            increment,
            reserve_price: item.reserve_price.map(won),
            buy_now_price: item.buy_now_price.map(won),
            bids_per_bidder_max: None,
            cap,
            starts_at,
            ends_at,
            soft_close: item.soft_close.then(|| SoftClose {
                extension_s: SOFT_CLOSE_S,
                max_ends_at: ends_at.plus_s(SOFT_CLOSE_IN_ALL_S),
                mode: SoftCloseMode::Extend,
                trigger_window_s: SOFT_CLOSE_S,
            }),
        },
        relisted_from: None,
        reserve_salt: rand::random(),
    }
}
