//! Importing items: what a row of a catalogue becomes, when it is on sale, and how many are written
//! at once.
//!
//! Must never import an item twice: an auction's id is made of its seller and its item.

mod item;
mod schedule;

use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use self::item::{COLUMNS, REQUIRED, Row};
use self::schedule::Schedule;
use crate::{
    domain::{
        auction::{Increment, Item, Scheduled, Terms, increment::Table, terms::TermsError},
        id::{AuctionId, UserId},
        money::{Amount, Currency},
        time::Timestamp,
    },
    exchange::new_auction,
    identity::Role,
    store::{NewAuction, Store, StoreError, User},
};

/// The seller of this name, made with the role if there is none.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn seller(store: &Store, name: &str, now: Timestamp) -> Result<UserId, StoreError> {
    let seller = User {
        id: UserId(Uuid::now_v7()),
        name: Some(name.to_owned()),
        nickname: name.to_owned(),
        roles: vec![Role::Seller.word().to_owned()],
    };
    Ok(store.ensure_user(&seller, now).await?.id)
}

/// Writes those auctions of a batch that are not there yet, in one transaction; how many.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn write(store: &Store, batch: &[NewAuction]) -> Result<u64, StoreError> {
    let tx = store.begin().await?;
    let made = tx.insert_new_auctions(batch).await?;
    tx.commit().await?;
    Ok(made)
}

/// A UUIDv7 of this time whose other bits follow from the parts, so that whoever asks with the same
/// parts means the same thing.
pub fn derived_id(unix_ms: u64, parts: &[&str]) -> Uuid {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part);
        sha.update([0]);
    }
    let digest: [u8; 32] = sha.finalize().into();
    let mut bits = [0; 10];
    bits.copy_from_slice(&digest[..10]);
    uuid::Builder::from_unix_timestamp_millis(unix_ms, &bits).into_uuid()
}

/// Makes an auction of an item.
pub struct Maker {
    seller: UserId,
    cap: Amount,
    now: Timestamp,
    schedule: Schedule,
}

impl Maker {
    /// Of one seller's items, so many a day from the next session on.
    pub fn new(seller: UserId, cap: Amount, now: Timestamp, per_day: u32) -> Maker {
        Maker { seller, cap, now, schedule: Schedule::after(now, per_day) }
    }

    /// The same for the same item of the same seller, whenever it is imported. Its time is that of
    /// the seller's own id, so that imported auctions do not stand before those created later.
    pub fn id(&self, row: &Row<'_>) -> AuctionId {
        let (kind, key) = row.key();
        let seller = self.seller.to_string();
        let millis = self.seller.0.get_timestamp().map_or(0, |time| {
            let (seconds, nanos) = time.to_unix();
            seconds.saturating_mul(1_000) + u64::from(nanos / 1_000_000)
        });
        AuctionId(derived_id(millis, &["hoga import", &seller, kind, &key]))
    }

    /// The auction of an item, at the next place of the schedule.
    ///
    /// # Errors
    /// In words, when it cannot be sold like that.
    pub fn auction(
        &mut self,
        id: AuctionId,
        item: Item,
        opening_price: Amount,
    ) -> Result<NewAuction, String> {
        let (starts_at, ends_at) = self.schedule.next_slot();
        let terms = Terms {
            currency: Currency::Krw,
            opening_price,
            increment: Increment::Table(Table::Won),
            reserve_price: None,
            buy_now_price: None,
            bids_per_bidder_max: None,
            cap: self.cap,
            starts_at,
            ends_at,
            soft_close: None,
        };
        terms.check(self.now).map_err(|errors| said(&errors))?;
        let scheduled = Scheduled {
            seller: self.seller,
            item,
            terms,
            relisted_from: None,
            reserve_salt: rand::random(),
        };
        Ok(new_auction(id, scheduled, self.now))
    }
}

fn said(errors: &[TermsError]) -> String {
    let said: Vec<String> =
        errors.iter().map(|error| format!("{} {}", error.field, error.message)).collect();
    said.join("; ")
}
