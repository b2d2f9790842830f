//! Changing what is scheduled, and calling it off.

use std::collections::BTreeMap;

use super::{
    MarketError,
    auction::{item_of, terms_of},
};
use crate::{
    domain::{
        auction::{
            CancelByOperator, Command, Edit, Increment, Item, Phase, SoftClose, Terms, Withdraw,
        },
        id::{AuctionId, UserId},
        money::{Amount, Currency},
        time::Timestamp,
    },
    exchange::{Answer, Exchange, Request},
    store::{AuctionRow, Store, StoreError},
};

/// Which version of an auction is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Whichever stands.
    Any,
    /// The one whose last event has this sequence number.
    Seq(u64),
    /// One that cannot stand.
    Stale,
}

/// Changes to a scheduled auction: what is not there stays, and what is there without a value is
/// taken away.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Changes {
    pub title: Option<String>,
    pub description: Option<String>,
    pub category: Option<Option<String>>,
    pub image_keys: Option<Vec<String>>,
    pub attributes: Option<BTreeMap<String, String>>,
    pub currency: Option<Currency>,
    pub opening_price: Option<Amount>,
    pub increment: Option<Increment>,
    pub reserve_price: Option<Option<Amount>>,
    pub buy_now_price: Option<Option<Amount>>,
    pub bids_per_bidder_max: Option<Option<u32>>,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
    pub soft_close: Option<Option<SoftClose>>,
}

/// Changes a scheduled auction of the seller's; how it stands afterwards.
///
/// # Errors
/// As [`MarketError`] says; nothing is changed then.
pub async fn edit(
    store: &Store,
    exchange: &Exchange,
    (by, id, version): (UserId, AuctionId, Version),
    changes: Changes,
    now: Timestamp,
) -> Result<AuctionRow, MarketError> {
    let row = store.auction(id).await?.ok_or(MarketError::NotFound)?;
    if row.seller != by {
        return Err(MarketError::NotYours);
    }
    let expected_seq = expected_seq(version, row.standing.seq)?;
    if row.standing.status != Phase::Scheduled {
        return Err(MarketError::NotEditable);
    }
    let (item, terms) = changes.applied_to(item_of(&row)?, terms_of(&row)?);
    item.check().map_err(MarketError::Wrong)?;
    terms.check(now).map_err(MarketError::Wrong)?;
    let (expected_seq, reserve_salt) = (Some(expected_seq), rand::random());
    let edit = Edit { by, expected_seq, item, terms, reserve_salt };
    ask(exchange, id, Command::Edit(Box::new(edit))).await?;
    store.auction(id).await?.ok_or(MarketError::NotFound)
}

/// Calls an auction off: its seller while it is scheduled, the house also while it is live.
///
/// # Errors
/// As [`MarketError`] says.
pub async fn call_off(
    exchange: &Exchange,
    (by, is_admin): (UserId, bool),
    id: AuctionId,
    version: Version,
) -> Result<(), MarketError> {
    let expected_seq = match version {
        Version::Any => None,
        Version::Seq(seq) => Some(seq),
        Version::Stale => return Err(MarketError::Stale),
    };
    let asked = if is_admin {
        Command::CancelByOperator(CancelByOperator { expected_seq })
    } else {
        Command::Withdraw(Withdraw { by, expected_seq })
    };
    ask(exchange, id, asked).await
}

async fn ask(exchange: &Exchange, id: AuctionId, command: Command) -> Result<(), MarketError> {
    match exchange.submit(id, |_| Request::internal(command)).await {
        Ok(Answer::Accepted { .. }) => Ok(()),
        Ok(Answer::Refused(refusal)) => Err(MarketError::Refused(refusal)),
        Err(failure) => Err(MarketError::Failed(failure)),
    }
}

/// The version that is about to change: the one that was read, compared with the one that stands.
fn expected_seq(version: Version, stands: i64) -> Result<u64, MarketError> {
    let stands = u64::try_from(stands)
        .map_err(|_| StoreError::Malformed("a sequence number is negative".to_owned()))?;
    match version {
        Version::Any => Ok(stands),
        Version::Seq(seq) if seq == stands => Ok(seq),
        Version::Seq(_) | Version::Stale => Err(MarketError::Stale),
    }
}

impl Changes {
    fn applied_to(self, item: Item, terms: Terms) -> (Item, Terms) {
        let item = Item {
            title: self.title.unwrap_or(item.title),
            description: self.description.unwrap_or(item.description),
            category: self.category.unwrap_or(item.category),
            image_keys: self.image_keys.unwrap_or(item.image_keys),
            attributes: self.attributes.unwrap_or(item.attributes),
        };
        let terms = Terms {
            currency: self.currency.unwrap_or(terms.currency),
            opening_price: self.opening_price.unwrap_or(terms.opening_price),
            increment: self.increment.unwrap_or(terms.increment),
            reserve_price: self.reserve_price.unwrap_or(terms.reserve_price),
            buy_now_price: self.buy_now_price.unwrap_or(terms.buy_now_price),
            bids_per_bidder_max: self.bids_per_bidder_max.unwrap_or(terms.bids_per_bidder_max),
            cap: terms.cap,
            starts_at: self.starts_at.unwrap_or(terms.starts_at),
            ends_at: self.ends_at.unwrap_or(terms.ends_at),
            soft_close: self.soft_close.unwrap_or(terms.soft_close),
        };
        (item, terms)
    }
}
