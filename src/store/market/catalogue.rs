//! Auctions for reading: creating them, finding them, listing them, and what is due.

use std::collections::HashSet;

use deadpool_postgres::GenericClient;
use tokio_postgres::types::{FromSql, ToSql, Type};

use crate::domain::{
    auction::{Phase, ResultKind},
    id::{AuctionId, UserId},
    money::{Amount, Currency},
    time::Timestamp,
};
use crate::store::{Company, Store, StoreError, Tx};

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
    pub(in crate::store) fn params(&self) -> [&(dyn ToSql + Sync); 15] {
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
    pub currency: Currency,
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
    pub status: Phase,
    pub result: Option<ResultKind>,
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
    pub status: Option<Phase>,
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
        buy_now_stands, ends_at, starts_at, due_at, seq, head_hash, category, seller_id)
    SELECT id, 'scheduled', price, price, 0, false, buy_now_stands, ends_at, starts_at, starts_at,
           1, hash, category, seller_id
    FROM unnest($1::uuid[], $2::int8[], $3::bool[], $4::timestamptz[], $5::timestamptz[],
        $6::bytea[], $7::text[], $8::uuid[])
        AS n (id, price, buy_now_stands, ends_at, starts_at, hash, category, seller_id)";

const INSERT_FIRST_EVENTS: &str = "
    INSERT INTO events (auction_id, seq, kind, at, data, private, hash)
    SELECT id, 1, kind, at, data, private, hash
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::bytea[])
         AS n (id, kind, at, data, private, hash)";

const INSERT_OUTBOX: &str = "
    INSERT INTO outbox (auction_ids, first_seqs, last_seqs)
    SELECT $1::uuid[], array_fill(1::int8, ARRAY[cardinality($1)]),
           array_fill(1::int8, ARRAY[cardinality($1)])";

/// What was folded of the watchers and what was not yet together are the count.
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
    WHERE due_at <= $1 AND due_at IS NOT NULL AND slot = ANY ($3)
    ORDER BY due_at LIMIT $2";

impl Store {
    /// One auction.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn auction(&self, id: AuctionId) -> Result<Option<AuctionRow>, StoreError> {
        let reader = self.reader().await?;
        let statement =
            reader.prepare_cached(&format!("{COLUMNS} WHERE s.auction_id = $1")).await?;
        reader.query_opt(&statement, &[&id]).await?.as_ref().map(auction_row).transpose()
    }

    /// Auctions by their ids, in any order.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub(in crate::store) async fn auctions_of(
        &self,
        ids: &[AuctionId],
    ) -> Result<Vec<AuctionRow>, StoreError> {
        let reader = self.reader().await?;
        let statement =
            reader.prepare_cached(&format!("{COLUMNS} WHERE s.auction_id = ANY ($1)")).await?;
        reader.query(&statement, &[&ids]).await?.iter().map(auction_row).collect()
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
        let list = List::new(filter, sort, after, limit);
        let reader = self.of_lists().reader().await?;
        let statement = reader.prepare_cached(&list.sql()).await?;
        let rows = reader.query(&statement, &list.params()).await?;
        rows.iter().map(auction_row).collect()
    }

    /// How Postgres finds that page, carried out: `EXPLAIN (ANALYZE, FORMAT JSON)`, for whoever
    /// changes an index.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn auctions_explained(
        &self,
        filter: &Filter,
        sort: Sort,
        after: Option<Page>,
        limit: i64,
    ) -> Result<String, StoreError> {
        let list = List::new(filter, sort, after, limit);
        let sql = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", list.sql());
        let reader = self.of_lists().reader().await?;
        let Json(plan) = reader.query_one(&sql, &list.params()).await?.get(0);
        Ok(plan)
    }

    /// What the clock has to do in these slots until a time, soonest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn due_until(
        &self,
        slots: &[i16],
        until: Timestamp,
        limit: i64,
    ) -> Result<Vec<Due>, StoreError> {
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(DUE).await?;
        let rows = reader.query(&statement, &[&until, &limit, &slots]).await?;
        Ok(rows
            .iter()
            .map(|row| Due { id: row.get(0), at: row.get(1), is_opening: row.get(2) })
            .collect())
    }
}

impl Tx {
    /// Holds a seller's account against leaving; whether there is one whose owner has not left.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn hold_seller(&self, seller: UserId) -> Result<bool, StoreError> {
        Ok(self.connection().query_opt(SELLER_IS_THERE, &[&seller]).await?.is_some())
    }

    /// Writes new auctions with their first events.
    ///
    /// # Errors
    /// [`StoreError::Constraint`] names what is violated.
    pub async fn insert_auctions(&self, new: &[&NewAuction]) -> Result<(), StoreError> {
        let client = self.connection();
        insert_items(client, INSERT_AUCTIONS, new).await.map_err(StoreError::named)?;
        insert_beginnings(client, new).await.map_err(StoreError::named)
    }

    /// Writes those of the auctions that are not there yet with their first events; how many.
    ///
    /// # Errors
    /// [`StoreError::Constraint`] names what is violated.
    pub async fn insert_new_auctions(&self, new: &[NewAuction]) -> Result<u64, StoreError> {
        let (client, all) = (self.connection(), new.iter().collect::<Vec<_>>());
        let statement = format!("{INSERT_AUCTIONS} {UNLESS_THERE}");
        let rows = insert_items(client, &statement, &all).await.map_err(StoreError::named)?;
        let made: HashSet<AuctionId> = rows.iter().map(|row| row.get(0)).collect();
        let made: Vec<&NewAuction> =
            all.into_iter().filter(|new| made.contains(&new.item.id)).collect();
        if !made.is_empty() {
            insert_beginnings(client, &made).await.map_err(StoreError::named)?;
        }
        Ok(made.len() as u64)
    }

    /// One auction, as this transaction sees it.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn auction(&self, id: AuctionId) -> Result<Option<AuctionRow>, StoreError> {
        let statement = format!("{COLUMNS} WHERE s.auction_id = $1");
        let statement = self.connection().prepare_cached(&statement).await?;
        let row = self.connection().query_opt(&statement, &[&id]).await?;
        row.as_ref().map(auction_row).transpose()
    }
}

/// JSON as Postgres wrote it.
struct Json(String);

impl<'a> FromSql<'a> for Json {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Json, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Json(str::from_utf8(raw)?.to_owned()))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::JSON
    }
}

impl Sort {
    const fn by_time(self) -> bool {
        matches!(self, Sort::EndingSoon | Sort::OpeningSoon)
    }

    const fn by_price(self) -> bool {
        matches!(self, Sort::PriceAsc | Sort::PriceDesc)
    }

    /// The column, besides the id.
    const fn column(self) -> Option<&'static str> {
        match self {
            Sort::Newest => None,
            Sort::EndingSoon => Some("ends_at"),
            Sort::OpeningSoon => Some("starts_at"),
            Sort::PriceAsc | Sort::PriceDesc => Some("price"),
        }
    }

    /// The comparison that goes on after a place, and the direction.
    const fn direction(self) -> (&'static str, &'static str) {
        match self {
            Sort::EndingSoon | Sort::OpeningSoon | Sort::PriceAsc => (">", "ASC"),
            Sort::Newest | Sort::PriceDesc => ("<", "DESC"),
        }
    }
}

/// How `standings.price_class` is made of a price, here of a parameter. It rises with the price, so
/// that rows in the order of their class and price are in the order of their price.
fn price_class(place: usize) -> String {
    format!("(length(${place}::int8::text) * 20 + left(${place}::int8::text, 2)::integer / 5)")
}

/// Auctions of one state, and which of its prices an index knows.
#[derive(Clone, Copy)]
struct Branch {
    /// The place of the parameter.
    status: usize,
    prices: Prices,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prices {
    /// It does not matter.
    Any,
    /// To the unit, in `quiet_price`: nobody bids.
    Quiet,
    /// By their class: of live auctions with bids.
    Moving,
}

/// A list: for each state a query that finds as many as a page has in the order of an index, merged.
/// So a page costs the same however many auctions there are, and how far in it is.
struct List<'a> {
    filter: &'a Filter,
    sort: Sort,
    pattern: Option<String>,
    statuses: Vec<Phase>,
    after: Option<(Key, AuctionId)>,
    limit: i64,
}

enum Key {
    Number(i64),
    Time(Timestamp),
}

impl<'a> List<'a> {
    fn new(filter: &'a Filter, sort: Sort, after: Option<Page>, limit: i64) -> List<'a> {
        let key = |page: Page| match sort.by_time() {
            true => (Key::Time(Timestamp::from_millis(page.key)), page.id),
            false => (Key::Number(page.key), page.id),
        };
        List {
            filter,
            sort,
            pattern: filter.q.as_deref().map(like_pattern),
            // The indexes of lists begin with them.
            statuses: filter.status.map_or_else(|| Phase::ALL.to_vec(), |status| vec![status]),
            after: after.map(key),
            limit,
        }
    }

    /// In the order of their places: limit, filters, place, states.
    fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&self.limit];
        let Filter { category, seller, min_price, max_price, .. } = self.filter;
        params.extend(category.as_ref().map(|category| category as &(dyn ToSql + Sync)));
        params.extend(seller.as_ref().map(|seller| seller as &(dyn ToSql + Sync)));
        params.extend(self.pattern.as_ref().map(|pattern| pattern as &(dyn ToSql + Sync)));
        params.extend(min_price.as_ref().map(|price| price as &(dyn ToSql + Sync)));
        params.extend(max_price.as_ref().map(|price| price as &(dyn ToSql + Sync)));
        if let Some((key, id)) = &self.after {
            params.push(id);
            match key {
                Key::Number(_) if self.sort.column().is_none() => {}
                Key::Number(key) => params.push(key),
                Key::Time(key) => params.push(key),
            }
        }
        params.extend(self.statuses.iter().map(|status| status as &(dyn ToSql + Sync)));
        params
    }

    fn sql(&self) -> String {
        let first_status = self.params().len() - self.statuses.len() + 1;
        let prices_matter = self.sort.by_price()
            || self.filter.min_price.is_some()
            || self.filter.max_price.is_some();
        let mut branches = Vec::new();
        for (no, status) in self.statuses.iter().enumerate() {
            let status_place = first_status + no;
            let all: &[Prices] = match (prices_matter, *status) {
                (false, _) => &[Prices::Any],
                (true, Phase::Live) => &[Prices::Quiet, Prices::Moving],
                (true, Phase::Scheduled | Phase::Ended | Phase::Cancelled) => &[Prices::Quiet],
            };
            let of_status = all.iter().map(|prices| {
                let branch = Branch { status: status_place, prices: *prices };
                format!("({})", self.branch(branch))
            });
            branches.extend(of_status);
        }
        let branches = branches.join("\n UNION ALL ");
        let (_, direction) = self.sort.direction();
        let order = match self.sort.column() {
            Some(_) => format!("p.key {direction}, p.id {direction}"),
            None => format!("p.id {direction}"),
        };
        format!(
            "WITH page AS MATERIALIZED (
                SELECT p.id, p.key FROM ({branches}) p ORDER BY {order} LIMIT $1)
             {COLUMNS} JOIN page p ON p.id = s.auction_id ORDER BY {order}"
        )
    }

    /// The first of one state.
    fn branch(&self, branch: Branch) -> String {
        let (comparison, direction) = self.sort.direction();
        // The same price, by the column that has an index there.
        let price = match branch.prices {
            Prices::Quiet => "s.quiet_price",
            Prices::Any | Prices::Moving => "s.price",
        };
        let key = match self.sort.column() {
            Some("price") => price.to_owned(),
            Some(column) => format!("s.{column}"),
            None => "NULL::int8".to_owned(),
        };
        let is_classed = branch.prices == Prices::Moving;
        let mut place = 1;
        let mut next = || {
            place += 1;
            place
        };
        let of_status = format!("s.status = ${}", branch.status);
        let mut conditions = match branch.prices {
            Prices::Any => vec![of_status],
            Prices::Quiet => vec![of_status, "s.quiet_price IS NOT NULL".to_owned()],
            // All of them are live; said twice, Postgres would reckon with fewer.
            Prices::Moving => vec!["s.quiet_price IS NULL".to_owned()],
        };
        let Filter { category, seller, min_price, max_price, .. } = self.filter;
        if category.is_some() {
            conditions.push(format!("s.category = ${}", next()));
        }
        if seller.is_some() {
            conditions.push(format!("s.seller_id = ${}", next()));
        }
        let mut titles = "";
        if self.pattern.is_some() {
            titles = "JOIN auctions a ON a.id = s.auction_id";
            let words = "(' ' || normalize(a.title, NFD))";
            conditions.push(format!("{words} ILIKE normalize(${}::text, NFD)", next()));
        }
        for (bound, comparison) in [(min_price, ">="), (max_price, "<=")] {
            if bound.is_some() {
                let place = next();
                conditions.push(format!("{price} {comparison} ${place}"));
                if is_classed {
                    let class = price_class(place);
                    conditions.push(format!("s.price_class {comparison} {class}"));
                }
            }
        }
        if self.after.is_some() {
            let id = next();
            if self.sort.column().is_none() {
                conditions.push(format!("s.auction_id {comparison} ${id}"));
            } else {
                let place = next();
                conditions.push(format!("({key}, s.auction_id) {comparison} (${place}, ${id})"));
                if is_classed && self.sort.by_price() {
                    let class = price_class(place);
                    conditions.push(format!("s.price_class {comparison}= {class}"));
                }
            }
        }
        let mut order = Vec::new();
        if is_classed && self.sort.by_price() {
            order.push(format!("s.price_class {direction}"));
        }
        if self.sort.column().is_some() {
            order.push(format!("{key} {direction}"));
        }
        order.push(format!("s.auction_id {direction}"));
        format!(
            "SELECT s.auction_id AS id, {key} AS key FROM standings s {titles}
             WHERE {} ORDER BY {} LIMIT $1",
            conditions.join(" AND "),
            order.join(", ")
        )
    }
}

/// Whether an index can be asked for these words: there is a letter or a digit among them.
pub fn are_searchable(words: &str) -> bool {
    words.chars().any(char::is_alphanumeric)
}

/// Anywhere in the text; where the words are too short for the index, which knows three letters at a
/// time, at the beginning of a word. What `LIKE` would take for a wildcard is taken as it is.
fn like_pattern(words: &str) -> String {
    let escaped = words.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let begin = if has_three_letters(words) { "%" } else { "% " };
    format!("{begin}{escaped}%")
}

/// Whether three letters in a row are known of every text that has these words: of the first word what
/// is there and a blank behind it, if it has ended; of each word that begins here two blanks before.
fn has_three_letters(words: &str) -> bool {
    let first: usize =
        words.chars().take_while(|c| c.is_alphanumeric()).map(letters_decomposed).sum();
    let rest = words.chars().skip_while(|c| c.is_alphanumeric()).collect::<String>();
    first >= 3 || (first == 2 && !rest.is_empty()) || are_searchable(&rest)
}

/// Letters of a character in NFD, as far as they matter here: a syllable of Hangul has two or three.
fn letters_decomposed(c: char) -> usize {
    match c {
        '가'..='힣' if (u32::from(c) - u32::from('가')).is_multiple_of(28) => 2,
        '가'..='힣' => 3,
        _ => 1,
    }
}

/// One column of many auctions, as `unnest` takes it.
macro_rules! column {
    ($new:ident, $($field:tt)+) => { $new.iter().map(|new| &new.$($field)+).collect::<Vec<_>>() };
}

async fn insert_items(
    client: &impl GenericClient,
    statement: &str,
    new: &[&NewAuction],
) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
    client
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
    client: &impl GenericClient,
    new: &[&NewAuction],
) -> Result<(), tokio_postgres::Error> {
    let ids = column!(new, item.id);
    let hashes = column!(new, hash);
    client
        .execute(
            INSERT_STANDINGS,
            &[
                &ids,
                &column!(new, item.opening_price),
                &column!(new, buy_now_stands),
                &column!(new, ends_at),
                &column!(new, item.starts_at),
                &hashes,
                &column!(new, item.category),
                &column!(new, seller),
            ],
        )
        .await?;
    client
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
    client.execute(INSERT_OUTBOX, &[&ids]).await?;
    Ok(())
}

fn auction_row(row: &tokio_postgres::Row) -> Result<AuctionRow, StoreError> {
    Ok(AuctionRow {
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
        currency: row.try_get(8)?,
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
            status: row.try_get(19)?,
            result: row.try_get(20)?,
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_too_short_for_the_index_are_looked_for_where_a_word_begins() {
        for anywhere in ["달항", "달항아리", "각", "jar", "0%_n", "a b", "4k "] {
            assert!(like_pattern(anywhere).starts_with('%'), "{anywhere}");
            assert!(!like_pattern(anywhere).starts_with("% "), "{anywhere}");
        }
        for at_the_beginning in ["a", "4k", "차", "a!"] {
            assert!(like_pattern(at_the_beginning).starts_with("% "), "{at_the_beginning}");
        }
        assert!(are_searchable("차") && are_searchable("%1") && !are_searchable("% _-"));
    }

    #[test]
    fn a_wildcard_is_taken_as_it_is() {
        assert_eq!(like_pattern(r"100%_\"), r"%100\%\_\\%");
    }
}
