//! An auction as it is kept, made into what the rules are about again.

use crate::{
    domain::auction::{Item, Terms},
    log::IncrementForm,
    store::{AuctionRow, StoreError},
};

/// What is sold.
///
/// # Errors
/// When the row is damaged.
pub fn item_of(row: &AuctionRow) -> Result<Item, StoreError> {
    Ok(Item {
        attributes: json(&row.attributes)?,
        category: row.category.clone(),
        description: row.description.clone(),
        image_keys: json(&row.image_keys)?,
        title: row.title.clone(),
    })
}

/// How it is sold.
///
/// # Errors
/// When the row is damaged.
pub fn terms_of(row: &AuctionRow) -> Result<Terms, StoreError> {
    let increment: IncrementForm = json(&row.increment)?;
    let no_increment = |_| StoreError::Malformed("an increment cannot be one".to_owned());
    Ok(Terms {
        currency: row.currency,
        opening_price: row.opening_price,
        increment: increment.into_increment().map_err(no_increment)?,
        reserve_price: row.reserve_price,
        buy_now_price: row.buy_now_price,
        bids_per_bidder_max: row.bids_per_bidder_max.and_then(|max| u32::try_from(max).ok()),
        cap: row.cap,
        starts_at: row.starts_at,
        ends_at: row.standing.ends_at,
        soft_close: row.soft_close.as_deref().map(json).transpose()?,
    })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Malformed(error.to_string()))
}
