//! What one seller has on sale of a list of titles: how the demo market knows what is missing.

use crate::domain::{
    id::{AuctionId, UserId},
    time::Timestamp,
};
use crate::store::{Store, StoreError};

/// An auction that is not over.
#[derive(Debug, Clone)]
pub struct OnSale {
    /// What is sold.
    pub title: String,
    /// The auction.
    pub id: AuctionId,
    /// It has opened.
    pub is_live: bool,
    /// When it ends, as it stands.
    pub ends_at: Timestamp,
}

/// Both states in one statement, which sees one moment: an auction that opens while it runs is in
/// the answer. At most one row for each title.
const ON_SALE: &str = "
    SELECT DISTINCT ON (a.title) a.title, a.id, s.status = 'live', s.ends_at
    FROM standings s JOIN auctions a ON a.id = s.auction_id
    WHERE s.status IN ('scheduled', 'live') AND a.seller_id = $1 AND a.title = ANY ($2)
    ORDER BY a.title, (s.status = 'live') DESC, s.ends_at DESC";

impl Store {
    /// For each of the titles the seller's auction that is live and ends last, or, where none is
    /// live, the one that is scheduled and ends last.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn on_sale(
        &self,
        seller: UserId,
        titles: &[&str],
    ) -> Result<Vec<OnSale>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(ON_SALE).await?;
        let rows = reader.query(&statement, &[&seller, &titles]).await?;
        let on_sale = |row: &tokio_postgres::Row| OnSale {
            title: row.get(0),
            id: row.get(1),
            is_live: row.get(2),
            ends_at: row.get(3),
        };
        Ok(rows.iter().map(on_sale).collect())
    }
}
