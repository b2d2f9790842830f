//! Auctions for reading: creating them, finding them, listing them, and what is due.

use std::collections::HashSet;

use tokio_postgres::types::ToSql;

use super::{Company, ReceiptKey, Store, StoreError};
use crate::domain::{
    id::{AuctionId, UserId},
    money::Amount,
    time::Timestamp,
};

/// What is sold and how, as the `auctions` table keeps it; texts marked so are JSON.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ItemRow {
    pub id: AuctionId,
    pub title: String,
    pub description: String,
    pub category: Option<String>,
    /// JSON
    pub image_keys: String,
    /// JSON
    pub attributes: String,
    pub currency: &'static str,
    pub opening_price: Amount,
    /// JSON
    pub increment: String,
    pub reserve_price: Option<Amount>,
    pub buy_now_price: Option<Amount>,
    pub bids_per_bidder_max: Option<i32>,
    pub cap: Amount,
    /// JSON
    pub soft_close: Option<String>,
    pub starts_at: Timestamp,
}

impl ItemRow {
    pub(super) fn params(&self) -> [&(dyn ToSql + Sync); 15] {
        [
            &self.id,
            &self.title,
            &self.description,
            &self.category,
            &self.image_keys,
            &self.attributes,
            &self.currency,
            &self.opening_price,
            &self.increment,
            &self.reserve_price,
            &self.buy_now_price,
            &self.bids_per_bidder_max,
            &self.cap,
            &self.soft_close,
            &self.starts_at,
        ]
    }
}

/// An auction to create: its row, its first event and where it stands.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct NewAuction {
    pub item: ItemRow,
    pub seller: UserId,
    pub relisted_from: Option<AuctionId>,
    pub at: Timestamp,
    pub kind: &'static str,
    pub data: String,
    pub private: Option<String>,
    pub hash: Vec<u8>,
    pub ends_at: Timestamp,
    pub buy_now_stands: bool,
}

/// An auction as it is read.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct AuctionRow {
    pub id: AuctionId,
    pub seller: UserId,
    pub seller_nickname: String,
    /// Rises whenever something of the seller changes that is shown here.
    pub seller_version: i64,
    /// As which company the seller trades, if they were approved as one.
    pub seller_company: Option<Company>,
    pub title: String,
    pub description: String,
    pub category: Option<String>,
    pub image_keys: String,
    pub attributes: String,
    pub currency: String,
    pub opening_price: Amount,
    pub increment: String,
    pub reserve_price: Option<Amount>,
    pub buy_now_price: Option<Amount>,
    pub bids_per_bidder_max: Option<i32>,
    pub cap: Amount,
    pub soft_close: Option<String>,
    pub starts_at: Timestamp,
    pub relisted_from: Option<AuctionId>,
    pub created_at: Timestamp,
    /// How many watch it.
    pub watch_count: i64,
    pub standing: StandingRow,
}

/// Where an auction stands, as it is read.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct StandingRow {
    pub status: String,
    pub result: Option<String>,
    pub price: Amount,
    pub minimum_next_bid: Option<Amount>,
    pub bid_count: i32,
    pub leader_alias: Option<String>,
    pub reserve_met: bool,
    pub buy_now_stands: bool,
    pub ends_at: Timestamp,
    pub seq: i64,
    pub winner: Option<UserId>,
}

/// Which auctions a list is of.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Filter {
    pub status: Option<String>,
    pub category: Option<String>,
    pub seller: Option<UserId>,
    /// Words in the title.
    pub q: Option<String>,
    pub min_price: Option<Amount>,
    pub max_price: Option<Amount>,
}

/// In which order; each with the id as its tie-breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Created last first.
    Newest,
    /// Ends first.
    EndingSoon,
    /// Starts first.
    OpeningSoon,
    /// Cheapest first.
    PriceAsc,
    /// Dearest first.
    PriceDesc,
}

/// A place in a list: after this row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The sort key of the last row seen: minor units, or milliseconds; 0 where the id is the key.
    pub key: i64,
    /// Its id.
    pub id: AuctionId,
}

/// Something that the clock has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// To which auction.
    pub id: AuctionId,
    /// When.
    pub at: Timestamp,
    /// The opening; else the closing.
    pub is_opening: bool,
}

const INSERT_AUCTIONS: &str = "
    INSERT INTO auctions (id, title, description, category, image_keys, attributes, currency,
        opening_price, increment, reserve_price, buy_now_price, bids_per_bidder_max, cap,
        soft_close, starts_at, seller_id, relisted_from, created_at)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
        $7::text[], $8::int8[], $9::text[], $10::int8[], $11::int8[], $12::int4[], $13::int8[],
        $14::text[], $15::timestamptz[], $16::uuid[], $17::uuid[], $18::timestamptz[])";

/// Whoever leaves at the same time has left, or waits until the auction is there.
const SELLER_IS_THERE: &str = "SELECT FROM users WHERE id = $1 AND left_at IS NULL FOR KEY SHARE";

/// After [`INSERT_AUCTIONS`]: those that are there already stay as they are.
const UNLESS_THERE: &str = "ON CONFLICT ON CONSTRAINT auctions_pkey DO NOTHING RETURNING id";

const INSERT_STANDINGS: &str = "
    INSERT INTO standings (auction_id, status, price, minimum_next_bid, bid_count, reserve_met,
        buy_now_stands, ends_at, due_at, seq, head_hash)
    SELECT id, 'scheduled', price, price, 0, false, buy_now_stands, ends_at, starts_at, 1, hash
    FROM unnest($1::uuid[], $2::int8[], $3::bool[], $4::timestamptz[], $5::timestamptz[],
        $6::bytea[]) AS n (id, price, buy_now_stands, ends_at, starts_at, hash)";

const INSERT_FIRST_EVENTS: &str = "
    INSERT INTO events (auction_id, seq, kind, at, data, private, hash)
    SELECT id, 1, kind, at, data, private, hash
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::bytea[])
         AS n (id, kind, at, data, private, hash)";

const INSERT_OUTBOX: &str = "
    INSERT INTO outbox (auction_ids, first_seqs, last_seqs)
    SELECT $1::uuid[], array_fill(1::int8, ARRAY[cardinality($1)]),
           array_fill(1::int8, ARRAY[cardinality($1)])";

const INSERT_RECEIPT: &str = "
    INSERT INTO receipts (user_id, key, fingerprint, accepted, answer, created_at)
    VALUES ($1, $2, $3, true, $4, $5)";

/// The company and the watchers are looked up for each row that is answered, after the sort and the
/// limit. What was folded and what was not yet together are the count.
const COLUMNS: &str = "
    SELECT a.id, a.seller_id, u.nickname, a.title, a.description, a.category, a.image_keys,
           a.attributes, a.currency, a.opening_price, a.increment, a.reserve_price,
           a.buy_now_price, a.bids_per_bidder_max, a.cap, a.soft_close, a.starts_at,
           a.relisted_from, a.created_at,
           s.status, s.result, s.price, s.minimum_next_bid, s.bid_count, s.leader_alias,
           s.reserve_met, s.buy_now_stands, s.ends_at, s.seq, s.winner_id, u.version,
           (SELECT ARRAY[c.company_name, c.business_number, c.representative, c.contact_email,
                         c.contact_phone]
            FROM seller_applications c
            WHERE c.user_id = a.seller_id AND c.status = 'approved' AND u.left_at IS NULL),
           (coalesce((SELECT w.count FROM watch_counts w WHERE w.auction_id = a.id), 0)
            + coalesce((SELECT sum(d.delta) FROM watch_deltas d WHERE d.auction_id = a.id), 0))::int8
    FROM standings s JOIN auctions a ON a.id = s.auction_id JOIN users u ON u.id = a.seller_id";

const DUE: &str = "
    SELECT auction_id, due_at, status = 'scheduled' FROM standings
    WHERE due_at <= $1 AND due_at IS NOT NULL ORDER BY due_at LIMIT $2";

impl Store {
    /// Creates auctions with their first events in one transaction, and keeps the answer under a
    /// key if there is one.
    ///
    /// # Errors
    /// [`StoreError::Constraint`] names what is violated; nothing is written then.
    pub async fn create_auctions(
        &self,
        new: &[NewAuction],
        receipt: Option<(&ReceiptKey, &str)>,
    ) -> Result<(), StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        let all: Vec<&NewAuction> = new.iter().collect();
        for seller in all.iter().map(|new| new.seller).collect::<HashSet<UserId>>() {
            if transaction.query_opt(SELLER_IS_THERE, &[&seller]).await?.is_none() {
                return Err(StoreError::Constraint("auctions_seller_id_fkey".to_owned()));
            }
        }
        insert_items(&transaction, INSERT_AUCTIONS, &all).await.map_err(StoreError::named)?;
        insert_beginnings(&transaction, &all).await.map_err(StoreError::named)?;
        if let (Some((key, answer)), Some(first)) = (receipt, new.first()) {
            let fingerprint: &[u8] = &key.fingerprint;
            transaction
                .execute(INSERT_RECEIPT, &[&key.user, &key.key, &fingerprint, &answer, &first.at])
                .await
                .map_err(StoreError::named)?;
        }
        Ok(transaction.commit().await?)
    }

    /// Creates those of the auctions that are not there yet, in one transaction; how many.
    ///
    /// # Errors
    /// [`StoreError::Constraint`] names what is violated; nothing is written then.
    pub async fn import_auctions(&self, new: &[NewAuction]) -> Result<u64, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        let all: Vec<&NewAuction> = new.iter().collect();
        let statement = format!("{INSERT_AUCTIONS} {UNLESS_THERE}");
        let rows = insert_items(&transaction, &statement, &all).await.map_err(StoreError::named)?;
        let made: HashSet<AuctionId> = rows.iter().map(|row| row.get(0)).collect();
        let made: Vec<&NewAuction> =
            all.into_iter().filter(|new| made.contains(&new.item.id)).collect();
        if !made.is_empty() {
            insert_beginnings(&transaction, &made).await.map_err(StoreError::named)?;
        }
        transaction.commit().await?;
        Ok(made.len() as u64)
    }

    /// One auction.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn auction(&self, id: AuctionId) -> Result<Option<AuctionRow>, StoreError> {
        let reader = self.reader().await?;
        let statement =
            reader.prepare_cached(&format!("{COLUMNS} WHERE s.auction_id = $1")).await?;
        Ok(reader.query_opt(&statement, &[&id]).await?.as_ref().map(auction_row))
    }

    /// Auctions by their ids, in any order.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub(super) async fn auctions_of(
        &self,
        ids: &[AuctionId],
    ) -> Result<Vec<AuctionRow>, StoreError> {
        let reader = self.reader().await?;
        let statement =
            reader.prepare_cached(&format!("{COLUMNS} WHERE s.auction_id = ANY ($1)")).await?;
        Ok(reader.query(&statement, &[&ids]).await?.iter().map(auction_row).collect())
    }

    /// A page of a list of auctions.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn auctions(
        &self,
        filter: &Filter,
        sort: Sort,
        after: Option<Page>,
        limit: i64,
    ) -> Result<Vec<AuctionRow>, StoreError> {
        let time = after.map(|page| Timestamp::from_millis(page.key));
        let pattern = filter.q.as_deref().map(like_pattern);
        let mut query = Query::default();
        if let Some(status) = &filter.status {
            query.and("s.status =", status);
        }
        if let Some(category) = &filter.category {
            query.and("a.category =", category);
        }
        if let Some(seller) = &filter.seller {
            query.and("a.seller_id =", seller);
        }
        if let Some(pattern) = &pattern {
            query.and("a.title ILIKE", pattern);
        }
        if let Some(price) = &filter.min_price {
            query.and_price(">=", price);
        }
        if let Some(price) = &filter.max_price {
            query.and_price("<=", price);
        }
        if let Some(page) = &after {
            let key: &(dyn ToSql + Sync) = if sort.by_time() { &time } else { &page.key };
            query.after(sort, key, &page.id);
        }
        let sql = query.sql(sort, &limit);
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(&sql).await?;
        let rows = reader.query(&statement, &query.params).await?;
        Ok(rows.iter().map(auction_row).collect())
    }

    /// What the clock has to do until a time, soonest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn due_until(&self, until: Timestamp, limit: i64) -> Result<Vec<Due>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(DUE).await?;
        let rows = reader.query(&statement, &[&until, &limit]).await?;
        Ok(rows
            .iter()
            .map(|row| Due { id: row.get(0), at: row.get(1), is_opening: row.get(2) })
            .collect())
    }
}

impl Sort {
    const fn by_time(self) -> bool {
        matches!(self, Sort::EndingSoon | Sort::OpeningSoon)
    }

    const fn by_price(self) -> bool {
        matches!(self, Sort::PriceAsc | Sort::PriceDesc)
    }

    /// The key, the comparison that goes on after it, and the direction.
    const fn order(self) -> (Option<&'static str>, &'static str, &'static str) {
        match self {
            Sort::Newest => (None, "<", "DESC"),
            Sort::EndingSoon => (Some("s.ends_at"), ">", "ASC"),
            Sort::OpeningSoon => (Some("a.starts_at"), ">", "ASC"),
            Sort::PriceAsc => (Some("s.price"), ">", "ASC"),
            Sort::PriceDesc => (Some("s.price"), "<", "DESC"),
        }
    }
}

/// How `standings.price_class` is made of a price, here of a parameter. It rises with the price, so
/// that rows in the order of their class and price are in the order of their price.
fn price_class(place: usize) -> String {
    format!("(length(${place}::int8::text) * 100 + left(${place}::int8::text, 2)::integer)")
}

/// A list's `WHERE`, with its parameters in order.
#[derive(Default)]
struct Query<'a> {
    conditions: Vec<String>,
    params: Vec<&'a (dyn ToSql + Sync)>,
}

impl<'a> Query<'a> {
    fn param(&mut self, value: &'a (dyn ToSql + Sync)) -> usize {
        self.params.push(value);
        self.params.len()
    }

    fn and(&mut self, condition: &str, value: &'a (dyn ToSql + Sync)) {
        let place = self.param(value);
        self.conditions.push(format!("{condition} ${place}"));
    }

    /// On the price, and on its class, which has the index.
    fn and_price(&mut self, comparison: &str, price: &'a Amount) {
        let place = self.param(price);
        let class = price_class(place);
        self.conditions
            .push(format!("s.price {comparison} ${place} AND s.price_class {comparison} {class}"));
    }

    fn after(&mut self, sort: Sort, key: &'a (dyn ToSql + Sync), id: &'a AuctionId) {
        let (column, comparison, _) = sort.order();
        let condition = match column {
            None => format!("s.auction_id {comparison} ${}", self.param(id)),
            Some(column) => {
                let (key, id) = (self.param(key), self.param(id));
                let beyond = format!("({column}, s.auction_id) {comparison} (${key}, ${id})");
                if sort.by_price() {
                    let class = price_class(key);
                    format!("{beyond} AND s.price_class {comparison}= {class}")
                } else {
                    beyond
                }
            }
        };
        self.conditions.push(condition);
    }

    fn sql(&mut self, sort: Sort, limit: &'a i64) -> String {
        let place = self.param(limit);
        let (column, _, direction) = sort.order();
        let conditions = if self.conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.conditions.join(" AND "))
        };
        let order = column.map(|column| format!("{column} {direction}, ")).unwrap_or_default();
        let class =
            if sort.by_price() { format!("s.price_class {direction}, ") } else { "".into() };
        format!(
            "{COLUMNS}{conditions} ORDER BY {class}{order}s.auction_id {direction} LIMIT ${place}"
        )
    }
}

/// Anywhere in the text; what `LIKE` would take for a wildcard is taken as it is.
fn like_pattern(words: &str) -> String {
    let escaped = words.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

/// One column of many auctions, as `unnest` takes it.
macro_rules! column {
    ($new:ident, $($field:tt)+) => { $new.iter().map(|new| &new.$($field)+).collect::<Vec<_>>() };
}

async fn insert_items(
    transaction: &deadpool_postgres::Transaction<'_>,
    statement: &str,
    new: &[&NewAuction],
) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
    transaction
        .query(
            statement,
            &[
                &column!(new, item.id),
                &column!(new, item.title),
                &column!(new, item.description),
                &column!(new, item.category),
                &column!(new, item.image_keys),
                &column!(new, item.attributes),
                &column!(new, item.currency),
                &column!(new, item.opening_price),
                &column!(new, item.increment),
                &column!(new, item.reserve_price),
                &column!(new, item.buy_now_price),
                &column!(new, item.bids_per_bidder_max),
                &column!(new, item.cap),
                &column!(new, item.soft_close),
                &column!(new, item.starts_at),
                &column!(new, seller),
                &column!(new, relisted_from),
                &column!(new, at),
            ],
        )
        .await
}

/// What goes with new items: where they stand, their first events, and the outbox row.
async fn insert_beginnings(
    transaction: &deadpool_postgres::Transaction<'_>,
    new: &[&NewAuction],
) -> Result<(), tokio_postgres::Error> {
    let ids = column!(new, item.id);
    let hashes = column!(new, hash);
    transaction
        .execute(
            INSERT_STANDINGS,
            &[
                &ids,
                &column!(new, item.opening_price),
                &column!(new, buy_now_stands),
                &column!(new, ends_at),
                &column!(new, item.starts_at),
                &hashes,
            ],
        )
        .await?;
    transaction
        .execute(
            INSERT_FIRST_EVENTS,
            &[
                &ids,
                &column!(new, kind),
                &column!(new, at),
                &column!(new, data),
                &column!(new, private),
                &hashes,
            ],
        )
        .await?;
    transaction.execute(INSERT_OUTBOX, &[&ids]).await?;
    Ok(())
}

fn auction_row(row: &tokio_postgres::Row) -> AuctionRow {
    AuctionRow {
        id: row.get(0),
        seller: row.get(1),
        seller_nickname: row.get(2),
        seller_version: row.get(30),
        seller_company: row.get::<_, Option<Vec<String>>>(31).and_then(Company::from_columns),
        title: row.get(3),
        description: row.get(4),
        category: row.get(5),
        image_keys: row.get(6),
        attributes: row.get(7),
        currency: row.get(8),
        opening_price: row.get(9),
        increment: row.get(10),
        reserve_price: row.get(11),
        buy_now_price: row.get(12),
        bids_per_bidder_max: row.get(13),
        cap: row.get(14),
        soft_close: row.get(15),
        starts_at: row.get(16),
        relisted_from: row.get(17),
        created_at: row.get(18),
        watch_count: row.get(32),
        standing: StandingRow {
            status: row.get(19),
            result: row.get(20),
            price: row.get(21),
            minimum_next_bid: row.get(22),
            bid_count: row.get(23),
            leader_alias: row.get(24),
            reserve_met: row.get(25),
            buy_now_stands: row.get(26),
            ends_at: row.get(27),
            seq: row.get(28),
            winner: row.get(29),
        },
    }
}
