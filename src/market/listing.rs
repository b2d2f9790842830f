//! Putting items on sale, and unsold ones again.

use std::collections::HashSet;

use uuid::Uuid;

use super::{
    MarketError,
    auction::{item_of, terms_of},
};
use crate::{
    domain::{
        auction::{Increment, Item, Scheduled, SoftClose, Terms, increment::Table},
        id::{AuctionId, UserId},
        money::{Amount, Currency},
        time::Timestamp,
    },
    exchange::{Exchange, new_auction},
    store::{AuctionRow, NewAuction, ReceiptKey, Store, StoreError},
};

/// An item to put on sale. What is left out is set by the house.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Draft {
    pub item: Item,
    /// Won.
    pub currency: Option<Currency>,
    pub opening_price: Amount,
    /// The table of the currency.
    pub increment: Option<Increment>,
    pub reserve_price: Option<Amount>,
    pub buy_now_price: Option<Amount>,
    pub bids_per_bidder_max: Option<u32>,
    /// Now.
    pub starts_at: Option<Timestamp>,
    pub ends_at: Timestamp,
    pub soft_close: Option<SoftClose>,
}

/// When an unsold item is on sale again, and on which other terms. What is left out stays.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Relisting {
    /// Now.
    pub starts_at: Option<Timestamp>,
    pub ends_at: Timestamp,
    pub opening_price: Option<Amount>,
    /// Without a value: there is none any more.
    pub reserve_price: Option<Option<Amount>>,
    /// The old one, its last end moved along with the end.
    pub soft_close: Option<SoftClose>,
}

/// An answer that is kept in the transaction of what it is about.
pub struct Keep<'a> {
    /// Under this key.
    pub key: &'a ReceiptKey,
    /// Made of the new auction.
    pub answer: &'a dyn Fn(&AuctionRow) -> String,
}

/// Puts an item on sale.
///
/// # Errors
/// As [`MarketError`] says; nothing is written then, unless the outcome of the commit is not known.
pub async fn list(
    store: &Store,
    exchange: &Exchange,
    (seller, draft): (UserId, Draft),
    cap: Amount,
    keep: Option<Keep<'_>>,
    now: Timestamp,
) -> Result<AuctionRow, MarketError> {
    let mut wrong = draft.item.check().err().unwrap_or_default();
    let (item, terms) = draft.with_terms(cap, now);
    // Everything that is wrong is said at once.
    wrong.extend(terms.check(now).err().unwrap_or_default());
    if !wrong.is_empty() {
        return Err(MarketError::Wrong(wrong));
    }
    let reserve_salt = rand::random();
    let scheduled = Scheduled { seller, item, terms, relisted_from: None, reserve_salt };
    write(store, exchange, scheduled, keep, now).await
}

/// Puts an unsold item on sale again, once, as a new auction that points at the old one.
///
/// # Errors
/// As [`MarketError`] says; nothing is written then, unless the outcome of the commit is not known.
pub async fn relist(
    store: &Store,
    exchange: &Exchange,
    (seller, id, relisting): (UserId, AuctionId, Relisting),
    cap: Amount,
    keep: Option<Keep<'_>>,
    now: Timestamp,
) -> Result<AuctionRow, MarketError> {
    let row = store.auction(id).await?.ok_or(MarketError::NotFound)?;
    if row.seller != seller {
        return Err(MarketError::NotYours);
    }
    if !row.standing.result.is_some_and(|result| result.is_unsold()) {
        return Err(MarketError::NotRelistable);
    }
    let terms = relisting.of(terms_of(&row)?, cap, now);
    terms.check(now).map_err(MarketError::Wrong)?;
    let (item, reserve_salt) = (item_of(&row)?, rand::random());
    let scheduled = Scheduled { seller, item, terms, relisted_from: Some(id), reserve_salt };
    write(store, exchange, scheduled, keep, now).await
}

/// Puts many auctions on sale that were made and checked before: all of them or none.
///
/// # Errors
/// As [`MarketError`] says; nothing is written then, unless the outcome of the commit is not known.
pub async fn put_on_sale(
    store: &Store,
    exchange: &Exchange,
    new: &[NewAuction],
) -> Result<(), MarketError> {
    if new.is_empty() {
        return Ok(());
    }
    let tx = store.begin().await?;
    for seller in new.iter().map(|new| new.seller).collect::<HashSet<UserId>>() {
        if !tx.hold_seller(seller).await? {
            return Err(MarketError::SellerGone);
        }
    }
    tx.insert_auctions(&new.iter().collect::<Vec<_>>()).await?;
    tx.commit().await?;
    for new in new {
        exchange.scheduled(new.item.id, new.item.starts_at);
    }
    Ok(())
}

async fn write(
    store: &Store,
    exchange: &Exchange,
    scheduled: Scheduled,
    keep: Option<Keep<'_>>,
    now: Timestamp,
) -> Result<AuctionRow, MarketError> {
    let (id, starts_at) = (AuctionId(Uuid::now_v7()), scheduled.terms.starts_at);
    let seller = scheduled.seller;
    let new = new_auction(id, scheduled, now);
    let tx = store.begin().await?;
    if !tx.hold_seller(seller).await? {
        return Err(MarketError::SellerGone);
    }
    match tx.insert_auctions(&[&new]).await {
        // Another relisting of the same auction was there first.
        Err(StoreError::Constraint(name)) if name == "auctions_relisted_from_key" => {
            return Err(MarketError::NotRelistable);
        }
        inserted => inserted?,
    }
    let row = tx.auction(id).await?.ok_or(MarketError::NotFound)?;
    if let Some(Keep { key, answer }) = keep
        && !tx.keep_answer(key, &answer(&row), now).await?
    {
        return Err(MarketError::AnsweredMeanwhile);
    }
    tx.commit().await?;
    exchange.scheduled(id, starts_at);
    Ok(row)
}

impl Draft {
    /// What is sold, and how: with what the house sets where the seller does not say.
    pub fn with_terms(self, cap: Amount, now: Timestamp) -> (Item, Terms) {
        let currency = self.currency.unwrap_or(Currency::Krw);
        let house_table = match currency {
            Currency::Krw => Table::Won,
            Currency::Usd => Table::EbayUsd,
        };
        let terms = Terms {
            currency,
            opening_price: self.opening_price,
            increment: self.increment.unwrap_or(Increment::Table(house_table)),
            reserve_price: self.reserve_price,
            buy_now_price: self.buy_now_price,
            bids_per_bidder_max: self.bids_per_bidder_max,
            cap,
            starts_at: self.starts_at.unwrap_or(now),
            ends_at: self.ends_at,
            soft_close: self.soft_close,
        };
        (self.item, terms)
    }
}

impl Relisting {
    fn of(self, old: Terms, cap: Amount, now: Timestamp) -> Terms {
        let moved_ms = self.ends_at.ms_since(old.ends_at);
        let moved = |soft_close: SoftClose| SoftClose {
            max_ends_at: soft_close.max_ends_at.plus_ms(moved_ms).max(self.ends_at),
            ..soft_close
        };
        Terms {
            cap,
            starts_at: self.starts_at.unwrap_or(now),
            ends_at: self.ends_at,
            opening_price: self.opening_price.unwrap_or(old.opening_price),
            reserve_price: self.reserve_price.unwrap_or(old.reserve_price),
            soft_close: self.soft_close.or(old.soft_close.map(moved)),
            ..old
        }
    }
}
