//! The demo market: keeps the catalogue on sale, so that something always happens.
//!
//! Its auctions are ordinary ones of ordinary users. Must never run on a configured exchange.

use std::{collections::BTreeMap, time::Duration};

use uuid::Uuid;

use super::catalogue::{DEMO_ITEMS, DEMO_SELLER, DEMO_USERS, DemoIncrement, DemoItem, DemoUser};
use crate::{
    domain::{
        auction::{
            Command, Event, Increment, Item, Offer, PlaceBid, Scheduled, SoftClose, SoftCloseMode,
            State, Terms, decide, increment::Table,
        },
        id::{AuctionId, UserId},
        money::{Amount, Currency},
        time::Timestamp,
    },
    exchange::{CatchUpError, Exchange, new_auction},
    market::{self, MarketError},
    store::{ClientChanges, ClientRow, NewAuction, OnSale, Store, StoreError, User},
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

/// The auction that is shown to newcomers goes on for so many seconds at least: ten minutes, and time
/// to find out what to type.
const EXAMPLE_LIVE_S_MIN: i64 = 15 * 60;

/// An auction to bid on first.
#[derive(Debug, Clone)]
pub struct Example {
    /// Which.
    pub auction: AuctionId,
    /// What is sold.
    pub title: String,
    /// Who can bid on it: somebody of the demo who does not lead.
    pub bidder: &'static str,
    /// A ceiling of theirs that will be accepted, in won.
    pub next_bid: i64,
    /// When it ends, unless a late bid extends it.
    pub ends_at: Timestamp,
}

/// The demo market could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Postgres.
    #[error("the demo catalogue cannot be written")]
    Store(#[from] StoreError),
    /// What is missing cannot be put on sale.
    #[error("the demo catalogue cannot be put on sale")]
    Market(#[from] MarketError),
    /// What is due does not open.
    #[error("the demo market cannot be opened")]
    CatchUp(#[from] CatchUpError),
    /// Nothing that is on sale can be bid on, not even what was just put there.
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
/// What [`withdraw_client`] writes down, no time at which an operator can have disabled it: so that
/// the next start with the stand-in knows whose doing it was.
const WITHDRAWN_AT: Timestamp = Timestamp::EPOCH;
/// Where a login may return to, on each of them.
const DEMO_CALLBACKS: [&str; 2] = ["/callback", "/"];

/// Registers the demo frontend, or enables it again if [`withdraw_client`] had disabled it; false
/// when it stays as it is: it is there, or somebody removed it on purpose.
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
    if store.insert_client(&client).await? {
        return Ok(true);
    }
    let known = store.client(DEMO_CLIENT).await?;
    if known.is_none_or(|known| known.disabled_at != Some(WITHDRAWN_AT)) {
        return Ok(false);
    }
    let enabled = ClientChanges { disabled_at: Some(None), ..ClientChanges::default() };
    store.change_client(DEMO_CLIENT, &enabled).await
}

/// Disables the demo frontend where people do not log in at the stand-in; false when there is
/// nothing to disable. Pages on everybody's own machine would get tokens of real people.
///
/// # Errors
/// When Postgres fails.
pub async fn withdraw_client(store: &Store) -> Result<bool, StoreError> {
    let known = store.client(DEMO_CLIENT).await?;
    if known.is_none_or(|known| known.disabled_at.is_some()) {
        return Ok(false);
    }
    let disabled =
        ClientChanges { disabled_at: Some(Some(WITHDRAWN_AT)), ..ClientChanges::default() };
    store.change_client(DEMO_CLIENT, &disabled).await
}

/// Makes the users, puts everything on sale that is not, and opens what is due; returns an auction
/// to bid on.
///
/// # Errors
/// When Postgres fails, or no auction opens.
pub async fn prepare(
    store: &Store,
    exchange: &Exchange,
    cap: Amount,
    logs_in_at: LogsInAt,
) -> Result<Example, DemoError> {
    let mut bidders = Vec::new();
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
        if roles.contains(&"bidder") {
            bidders.push((name, user.id));
        }
    }
    renew(store, exchange, cap, |item, _| item.starts_in_s).await?;
    exchange.catch_up().await?;
    if let Some(example) = example(store, exchange, &bidders).await? {
        return Ok(example);
    }
    // Everything ends soon, or has been bid up as far as it goes: a second one of what lasts longest.
    let item = DEMO_ITEMS.iter().max_by_key(|item| item.lasts_s).ok_or(DemoError::Empty)?;
    let (seller, now) = (seller(store).await?, wall_clock::now());
    let id = AuctionId(Uuid::now_v7());
    let new = new_auction(id, scheduled(item, seller, cap, now), now);
    market::put_on_sale(store, exchange, &[new]).await?;
    exchange.catch_up().await?;
    example(store, exchange, &bidders).await?.ok_or(DemoError::Empty)
}

/// Of the auctions that go on long enough the one that does so longest and on which one of the
/// bidders can bid as it stands.
async fn example(
    store: &Store,
    exchange: &Exchange,
    bidders: &[(&'static str, UserId)],
) -> Result<Option<Example>, StoreError> {
    let until = wall_clock::now().plus_s(EXAMPLE_LIVE_S_MIN);
    let mut live = on_sale(store, seller(store).await?).await?;
    live.retain(|auction| auction.is_live && auction.ends_at >= until);
    live.sort_by_key(|auction| std::cmp::Reverse(auction.ends_at));
    for OnSale { id, title, ends_at, .. } in live {
        let bidders = bidders.to_vec();
        let read = exchange.read(id, move |state| {
            bidders.into_iter().find_map(|(name, bidder)| {
                let next_bid = acceptable_ceiling(state, bidder, wall_clock::now())?;
                Some((name, next_bid))
            })
        });
        // One that cannot be read at present is no good example.
        if let Ok(Some((bidder, next_bid))) = read.await {
            return Ok(Some(Example { auction: id, title, bidder, next_bid, ends_at }));
        }
    }
    Ok(None)
}

/// A ceiling of this bidder that the rules would accept without ending the auction: with room for
/// somebody else's bid in the meantime, if the cap and a buy-now price leave it.
fn acceptable_ceiling(state: &State, bidder: UserId, now: Timestamp) -> Option<i64> {
    let minimum = state.minimum_next_bid().minor_units();
    let is_accepted = |ceiling: &i64| {
        let Ok(ceiling) = Amount::new(*ceiling) else { return false };
        let bid = PlaceBid {
            bidder,
            offer: Offer::Ceiling(ceiling),
            expected_seq: None,
            confirm_amount: None,
            salt: Default::default(),
            received_at: now,
        };
        let decided = decide(state, &Command::PlaceBid(bid), now);
        decided.is_ok_and(|events| !events.iter().any(|event| matches!(event, Event::Bought(_))))
    };
    // Whoever leads already could only raise a ceiling, which is theirs to know.
    let candidates = [minimum.saturating_add(minimum / 5), minimum];
    candidates.into_iter().filter(|_| !state.is_leader(bidder)).find(is_accepted)
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

async fn on_sale(store: &Store, seller: UserId) -> Result<Vec<OnSale>, StoreError> {
    let titles: Vec<&str> = DEMO_ITEMS.iter().map(|item| item.title).collect();
    store.on_sale(seller, &titles).await
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

/// Puts on sale what is neither live nor scheduled; each so many seconds from now.
///
/// # Errors
/// When Postgres fails.
pub async fn renew(
    store: &Store,
    exchange: &Exchange,
    cap: Amount,
    starts_in_s: impl Fn(&DemoItem, usize) -> i64,
) -> Result<(), MarketError> {
    let seller = seller(store).await?;
    let on_sale = on_sale(store, seller).await?;
    let now = wall_clock::now();
    let missing: Vec<NewAuction> = DEMO_ITEMS
        .iter()
        .enumerate()
        .filter(|(_, item)| on_sale.iter().all(|auction| auction.title != item.title))
        .map(|(place, item)| {
            let starts_at = now.plus_s(starts_in_s(item, place));
            let id = AuctionId(Uuid::now_v7());
            new_auction(id, scheduled(item, seller, cap, starts_at), now)
        })
        .collect();
    market::put_on_sale(store, exchange, &missing).await
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
