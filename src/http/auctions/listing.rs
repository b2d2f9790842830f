//! `/v1/auctions`: creating, listing, reading, editing, deleting and relisting.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    domain::{
        auction::{
            CancelByOperator, Command, Edit, Increment, Item, Scheduled, SoftClose, SoftCloseMode,
            Terms, Withdraw, increment::Table, terms::WORD_CHARS_MAX,
        },
        id::{AuctionId, UserId},
        money::{Amount, Currency},
        time::Timestamp,
    },
    exchange::{Answer, Request, new_auction},
    http::{
        State,
        kit::{
            body::{self, IdempotencyKey, IfMatch, Json},
            caller::{Anybody, Seller, User},
            problem::{Code, MoneyBody, Problem},
            words::{ResultWord, word},
        },
        sellers::CompanyBody,
    },
    identity::Role,
    log::IncrementForm,
    store::{AuctionRow, Filter, Page, ReceiptKey, Sort, StoreError, are_searchable},
    wall_clock,
};

/// An auction to create. Amounts are minor units of its currency.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAuction, example = json!({
    "title": "조선 백자 달항아리", "category": "art", "opening_price": 1_000_000,
    "ends_at": "2036-12-01T09:00:00.000Z",
    "soft_close": {"trigger_window_s": 300, "extension_s": 300, "mode": "extend",
                   "max_ends_at": "2036-12-01T12:00:00.000Z"}
}))]
pub struct NewAuctionBody {
    /// Visible characters, on one line.
    #[schema(min_length = 1, max_length = 200)]
    title: String,
    /// Plain text.
    #[serde(default)]
    #[schema(max_length = 10_000)]
    description: String,
    /// The category's slug: visible characters, on one line.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 500)]
    category: Option<String>,
    /// Keys in the image store, the one shown first first; each of visible characters, on one line.
    #[serde(default)]
    #[schema(max_items = 20)]
    image_keys: Vec<String>,
    /// Free properties; their names are visible characters, on one line.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// `KRW` unless it says otherwise.
    #[serde(default)]
    currency: Option<CurrencyBody>,
    /// The least that the first bid must offer.
    #[schema(minimum = 1)]
    opening_price: i64,
    /// `{"kind": "table", "table": "won"}` or `ebay_usd`, by currency, unless it says otherwise.
    #[serde(default)]
    increment: Option<IncrementBody>,
    /// Below it the item is not sold. Private.
    #[serde(default)]
    #[schema(minimum = 1)]
    reserve_price: Option<i64>,
    /// At which the first taker ends the auction.
    #[serde(default)]
    #[schema(minimum = 1)]
    buy_now_price: Option<i64>,
    /// How many accepted bids each bidder may place.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10_000)]
    bids_per_bidder_max: Option<u32>,
    /// Left out: now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Timestamp>,
    /// At exactly this time it is over.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// Whether and how late bids move the end.
    #[serde(default)]
    soft_close: Option<SoftCloseBody>,
}

/// Changes to a scheduled auction: what is left out stays, null takes away.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = AuctionChanges, example = json!({"title": "조선 백자 달항아리 (18세기)", "reserve_price": null}))]
pub struct AuctionChangesBody {
    /// Visible characters, on one line.
    #[schema(min_length = 1, max_length = 200)]
    title: Option<String>,
    /// Plain text.
    #[schema(max_length = 10_000)]
    description: Option<String>,
    /// The category's slug: visible characters, on one line.
    #[serde(deserialize_with = "body::present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 500)]
    category: Option<Option<String>>,
    /// Keys in the image store, the one shown first first; each of visible characters, on one line.
    #[schema(max_items = 20)]
    image_keys: Option<Vec<String>>,
    /// All free properties, also those that stay; their names are visible characters, on one line.
    attributes: Option<BTreeMap<String, String>>,
    /// In which it is held.
    currency: Option<CurrencyBody>,
    /// The least that the first bid must offer.
    #[schema(minimum = 1)]
    opening_price: Option<i64>,
    /// By how much a bid must exceed the price.
    increment: Option<IncrementBody>,
    /// Below it the item is not sold. Private.
    #[serde(deserialize_with = "body::present")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    reserve_price: Option<Option<i64>>,
    /// At which the first taker ends the auction.
    #[serde(deserialize_with = "body::present")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    buy_now_price: Option<Option<i64>>,
    /// How many accepted bids each bidder may place.
    #[serde(deserialize_with = "body::present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    bids_per_bidder_max: Option<Option<u32>>,
    /// From when bids are taken.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Timestamp>,
    /// At exactly this time it is over.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// Whether and how late bids move the end.
    #[serde(deserialize_with = "body::present")]
    #[schema(value_type = Option<SoftCloseBody>)]
    soft_close: Option<Option<SoftCloseBody>>,
}

/// When the relisted auction runs. Everything else is taken from the unsold one.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Relisting, example = json!({"ends_at": "2036-12-02T09:00:00.000Z"}))]
pub struct RelistBody {
    /// Left out: now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Timestamp>,
    /// At exactly this time it is over.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// A new opening price; left out: the old one.
    #[serde(default)]
    #[schema(minimum = 1)]
    opening_price: Option<i64>,
    /// A new reserve; left out: the old one; null: none.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    reserve_price: Option<Option<i64>>,
    /// Left out: the old one, its last end moved along with the end.
    #[serde(default)]
    soft_close: Option<SoftCloseBody>,
}

/// In which currency an auction is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Currency)]
pub enum CurrencyBody {
    /// South Korean won; 1 is 1 won.
    #[serde(rename = "KRW")]
    Krw,
    /// US dollar; 1 is 1 cent.
    #[serde(rename = "USD")]
    Usd,
}

impl From<Currency> for CurrencyBody {
    fn from(currency: Currency) -> CurrencyBody {
        match currency {
            Currency::Krw => CurrencyBody::Krw,
            Currency::Usd => CurrencyBody::Usd,
        }
    }
}

impl From<CurrencyBody> for Currency {
    fn from(body: CurrencyBody) -> Currency {
        match body {
            CurrencyBody::Krw => Currency::Krw,
            CurrencyBody::Usd => Currency::Usd,
        }
    }
}

/// By how much a bid must exceed the price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Increment, example = json!({"kind": "table", "table": "won"}))]
pub struct IncrementBody {
    /// `fixed` with `step`, `percent_of_opening` with `basis_points`, or `table` with `table` or `rules`.
    kind: IncrementKind,
    /// Minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    step: Option<i64>,
    /// Of the opening price; 100 is one percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    basis_points: Option<u32>,
    /// A table of the house.
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<TableName>,
    /// A table of the seller's own, on the current price, the last rule with `below` null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    rules: Option<Vec<RuleBody>>,
}

/// The kinds of increments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncrementKind {
    /// One step.
    Fixed,
    /// A share of the opening price.
    PercentOfOpening,
    /// Rules on the current price.
    Table,
}

/// The tables of the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TableName {
    /// For won.
    Won,
    /// For US cents, as eBay publishes it.
    EbayUsd,
}

/// One rule of a table: below this price, this step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IncrementRule)]
pub struct RuleBody {
    /// Null on the last rule alone.
    #[schema(minimum = 1)]
    below: Option<i64>,
    /// Minor units.
    #[schema(minimum = 1)]
    step: i64,
}

/// Late bids move the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SoftClose)]
pub struct SoftCloseBody {
    /// A bid that raises the price in the last so many seconds moves the end.
    #[schema(minimum = 1, maximum = 86_400)]
    trigger_window_s: u32,
    /// By how many seconds.
    #[schema(minimum = 1, maximum = 86_400)]
    extension_s: u32,
    /// Counted from the present end, or from the bid.
    mode: SoftCloseModeBody,
    /// Never passed.
    #[schema(value_type = String, format = DateTime)]
    max_ends_at: Timestamp,
}

/// From what an extension is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SoftCloseMode)]
pub enum SoftCloseModeBody {
    /// From the present end.
    Extend,
    /// From the bid; the end never comes nearer.
    Reset,
}

impl From<SoftCloseBody> for SoftClose {
    fn from(body: SoftCloseBody) -> SoftClose {
        SoftClose {
            extension_s: body.extension_s,
            max_ends_at: body.max_ends_at,
            mode: match body.mode {
                SoftCloseModeBody::Extend => SoftCloseMode::Extend,
                SoftCloseModeBody::Reset => SoftCloseMode::Reset,
            },
            trigger_window_s: body.trigger_window_s,
        }
    }
}

impl IncrementBody {
    fn increment(&self) -> Result<Increment, Problem> {
        let wrong = |message: &str| Problem::field("increment", message);
        match (self.kind, self.step, self.basis_points, self.table, &self.rules) {
            (IncrementKind::Fixed, Some(step), None, None, None) => {
                body::amount("increment.step", step).map(Increment::Fixed)
            }
            (IncrementKind::PercentOfOpening, None, Some(basis_points), None, None) => {
                Ok(Increment::PercentOfOpening { basis_points })
            }
            (IncrementKind::Table, None, None, Some(TableName::Won), None) => {
                Ok(Increment::Table(Table::Won))
            }
            (IncrementKind::Table, None, None, Some(TableName::EbayUsd), None) => {
                Ok(Increment::Table(Table::EbayUsd))
            }
            (IncrementKind::Table, None, None, None, Some(rules)) => own_table(rules),
            (IncrementKind::Fixed, ..) => Err(wrong("kind fixed needs step, and nothing else")),
            (IncrementKind::PercentOfOpening, ..) => {
                Err(wrong("kind percent_of_opening needs basis_points, and nothing else"))
            }
            (IncrementKind::Table, ..) => {
                Err(wrong("kind table needs either table or rules, and nothing else"))
            }
        }
    }
}

fn own_table(rules: &[RuleBody]) -> Result<Increment, Problem> {
    let rules = rules
        .iter()
        .map(|rule| {
            Ok(crate::domain::auction::increment::Rule {
                below: rule
                    .below
                    .map(|below| body::amount("increment.rules", below))
                    .transpose()?,
                step: body::amount("increment.rules", rule.step)?,
            })
        })
        .collect::<Result<Vec<_>, Problem>>()?;
    Table::own(rules)
        .map(Increment::Table)
        .map_err(|error| Problem::field("increment.rules", error.to_string()))
}

impl NewAuctionBody {
    fn item(&self) -> Item {
        Item {
            attributes: self.attributes.clone(),
            category: self.category.clone(),
            description: self.description.clone(),
            image_keys: self.image_keys.clone(),
            title: self.title.trim().to_owned(),
        }
    }

    fn terms(&self, cap: Amount, now: Timestamp) -> Result<Terms, Problem> {
        let currency = self.currency.map_or(Currency::Krw, Currency::from);
        let house_table = match currency {
            Currency::Krw => Table::Won,
            Currency::Usd => Table::EbayUsd,
        };
        let optional =
            |field, value: Option<i64>| value.map(|amount| body::amount(field, amount)).transpose();
        let terms = Terms {
            currency,
            opening_price: body::amount("opening_price", self.opening_price)?,
            increment: match &self.increment {
                Some(increment) => increment.increment()?,
                None => Increment::Table(house_table),
            },
            reserve_price: optional("reserve_price", self.reserve_price)?,
            buy_now_price: optional("buy_now_price", self.buy_now_price)?,
            bids_per_bidder_max: self.bids_per_bidder_max,
            cap,
            starts_at: self.starts_at.unwrap_or(now),
            ends_at: self.ends_at,
            soft_close: self.soft_close.map(SoftClose::from),
        };
        terms.check(now).map_err(Problem::terms)?;
        Ok(terms)
    }
}

/// An auction as it is answered.
#[derive(Serialize, ToSchema)]
#[schema(as = Auction)]
pub struct AuctionBody {
    /// UUIDv7.
    id: Uuid,
    /// Who sells.
    seller: SellerBody,
    /// One line.
    title: String,
    /// Plain text.
    description: String,
    /// The category's slug.
    category: Option<String>,
    /// Keys in the image store, the one shown first first.
    image_keys: Vec<String>,
    /// Free properties.
    attributes: BTreeMap<String, String>,
    /// In which it is held.
    currency: CurrencyBody,
    /// The least that the first bid must offer.
    opening_price: MoneyBody,
    /// By how much a bid must exceed the price.
    #[schema(value_type = IncrementBody)]
    increment: IncrementForm,
    /// Only for the seller.
    #[serde(skip_serializing_if = "Option::is_none")]
    reserve_price: Option<MoneyBody>,
    /// While somebody may still take it.
    buy_now_price: Option<MoneyBody>,
    /// How many accepted bids each bidder may place.
    bids_per_bidder_max: Option<i32>,
    /// From when bids are taken.
    #[schema(format = DateTime)]
    starts_at: String,
    /// The end as it stands.
    #[schema(format = DateTime)]
    ends_at: String,
    /// Whether and how late bids move the end.
    soft_close: Option<SoftCloseBody>,
    /// Where it is in its life.
    status: StatusWord,
    /// Of an auction that ended.
    result: Option<ResultWord>,
    /// The visible price; the opening price while nobody leads.
    price: MoneyBody,
    /// The least that is accepted from somebody who does not lead; null where nobody else can bid any
    /// more: it is over, or the minimum would be above the cap.
    minimum_next_bid: Option<MoneyBody>,
    /// How many bids stand.
    bid_count: i32,
    /// How many watch it.
    watch_count: i64,
    /// Who leads, by alias.
    leader_alias: Option<String>,
    /// Whether the reserve is met; null where there is none.
    reserve_met: Option<bool>,
    /// The last event's sequence number; the `ETag` begins with it.
    seq: i64,
    /// When it was created.
    #[schema(format = DateTime)]
    created_at: String,
    /// The unsold auction that this one takes up again.
    relisted_from: Option<Uuid>,
}

/// Who sells.
#[derive(Serialize, ToSchema)]
#[schema(as = SellerRef)]
pub struct SellerBody {
    /// UUIDv7.
    id: Uuid,
    /// How others see them.
    nickname: String,
    /// As which company they trade, if they were approved as one.
    company: Option<CompanyBody>,
}

/// A page of auctions.
#[derive(Serialize, ToSchema)]
#[schema(as = AuctionPage)]
pub struct AuctionPageBody {
    /// In the order that was asked for.
    pub(super) items: Vec<AuctionBody>,
    /// For the next page; null on the last one.
    pub(super) next_cursor: Option<String>,
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| {
        tracing::error!(%error, "a stored text is not the JSON that it should be");
        Code::Internal.into()
    })
}

pub(super) fn auction_body(
    row: AuctionRow,
    reader: Option<UserId>,
) -> Result<AuctionBody, Problem> {
    let currency: CurrencyBody = word(&row.currency)?;
    let money = |amount: Amount| MoneyBody { amount: amount.minor_units(), currency };
    let standing = row.standing;
    let is_seller = reader == Some(row.seller);
    Ok(AuctionBody {
        id: row.id.0,
        seller: SellerBody {
            id: row.seller.0,
            nickname: row.seller_nickname,
            company: row.seller_company.map(CompanyBody::from),
        },
        title: row.title,
        description: row.description,
        category: row.category,
        image_keys: json(&row.image_keys)?,
        attributes: json(&row.attributes)?,
        opening_price: money(row.opening_price),
        increment: json(&row.increment)?,
        reserve_price: row.reserve_price.filter(|_| is_seller).map(money),
        buy_now_price: row.buy_now_price.filter(|_| standing.buy_now_stands).map(money),
        bids_per_bidder_max: row.bids_per_bidder_max,
        starts_at: row.starts_at.to_string(),
        ends_at: standing.ends_at.to_string(),
        soft_close: row.soft_close.as_deref().map(json).transpose()?,
        status: word(&standing.status)?,
        result: standing.result.as_deref().map(word).transpose()?,
        price: money(standing.price),
        minimum_next_bid: standing.minimum_next_bid.map(money),
        bid_count: standing.bid_count,
        watch_count: row.watch_count,
        leader_alias: standing.leader_alias,
        reserve_met: row.reserve_price.map(|_| standing.reserve_met),
        seq: standing.seq,
        created_at: row.created_at.to_string(),
        relisted_from: row.relisted_from.map(|id| id.0),
        currency,
    })
}

fn item_of(row: &AuctionRow) -> Result<Item, Problem> {
    Ok(Item {
        attributes: json(&row.attributes)?,
        category: row.category.clone(),
        description: row.description.clone(),
        image_keys: json(&row.image_keys)?,
        title: row.title.clone(),
    })
}

fn terms_of(row: &AuctionRow) -> Result<Terms, Problem> {
    let increment: IncrementForm = json(&row.increment)?;
    let damaged = || Problem::from(Code::Internal);
    Ok(Terms {
        currency: Currency::from_code(&row.currency).ok_or_else(damaged)?,
        opening_price: row.opening_price,
        increment: increment.into_increment().map_err(|_| damaged())?,
        reserve_price: row.reserve_price,
        buy_now_price: row.buy_now_price,
        bids_per_bidder_max: row.bids_per_bidder_max.and_then(|max| u32::try_from(max).ok()),
        cap: row.cap,
        starts_at: row.starts_at,
        ends_at: row.standing.ends_at,
        soft_close: row.soft_close.as_deref().map(json).transpose()?,
    })
}

/// Create an auction
///
/// The seller's item goes on sale at `starts_at`. Who may sell is set by the house: everybody who may
/// bid, or those with the role `seller`. With an `Idempotency-Key` a retry answers the
/// same auction.
#[utoipa::path(post, path = "/auctions", operation_id = "create_auction", tag = "auctions",
    request_body = NewAuctionBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters",
            min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$")),
    responses((status = 201, body = AuctionBody, description = "Scheduled",
        headers(("ETag" = String), ("Location" = String)))))]
#[post("/auctions")]
pub async fn create_auction(
    state: web::Data<State>,
    seller: Seller,
    key: IdempotencyKey,
    Json(new): Json<NewAuctionBody>,
) -> Result<HttpResponse, Problem> {
    let now = wall_clock::now();
    let parts: [&dyn std::fmt::Display; 2] = [&"create_auction", &format!("{new:?}")];
    let key = key.optional(seller.0, &parts);
    // Before the terms are held against the clock: a retry may come after the auction's end.
    if let Some(made) = made_before(&state, key.as_ref()).await? {
        return created(&state, made).await;
    }
    let item = new.item();
    let checked = item.check().map_err(Problem::terms);
    let terms = match (checked, new.terms(state.bid_cap, now)) {
        (Ok(()), terms) => terms?,
        (Err(wrong), Ok(_)) => return Err(wrong),
        (Err(mut wrong), Err(more)) => {
            wrong.errors.extend(more.errors);
            return Err(wrong);
        }
    };
    let scheduled = Scheduled {
        seller: seller.0,
        item,
        terms,
        relisted_from: None,
        reserve_salt: rand::random(),
    };
    create(&state, scheduled, key, now).await
}

/// Writes a new auction, or answers the one that the key made in the meantime.
async fn create(
    state: &State,
    scheduled: Scheduled,
    key: Option<ReceiptKey>,
    now: Timestamp,
) -> Result<HttpResponse, Problem> {
    let id = AuctionId(Uuid::now_v7());
    let starts_at = scheduled.terms.starts_at;
    let new = new_auction(id, scheduled, now);
    let answer = id.to_string();
    let receipt = key.as_ref().map(|key| (key, answer.as_str()));
    match state.store.create_auctions(&[new], receipt).await {
        Ok(()) => {}
        Err(StoreError::Constraint(name))
            if name == "receipts_pkey" || name == "auctions_relisted_from_key" =>
        {
            // The same request at the same time: whichever of its rows came second says so.
            let is_relisting = name == "auctions_relisted_from_key";
            let otherwise =
                if is_relisting { Code::AuctionNotRelistable } else { Code::OutcomeUnknown };
            let made = made_before(state, key.as_ref()).await?.ok_or(otherwise)?;
            return created(state, made).await;
        }
        Err(StoreError::Constraint(name)) if name == "auctions_seller_id_fkey" => {
            return Err(Code::Forbidden.into());
        }
        Err(error) => return Err(error.into()),
    }
    state.exchange.scheduled(id, starts_at);
    created(state, id).await
}

async fn made_before(
    state: &State,
    key: Option<&ReceiptKey>,
) -> Result<Option<AuctionId>, Problem> {
    let Some(key) = key else { return Ok(None) };
    let Some(receipt) = state.store.receipt(key.user, &key.key).await? else { return Ok(None) };
    if receipt.fingerprint != key.fingerprint {
        return Err(Code::IdempotencyKeyReused.into());
    }
    receipt.answer.parse().map(Some).map_err(|_| Code::IdempotencyKeyReused.into())
}

async fn created(state: &State, id: AuctionId) -> Result<HttpResponse, Problem> {
    let row = state.store.auction(id).await?.ok_or(Code::AuctionNotFound)?;
    let seller = row.seller;
    let tag = etag(&row, Some(seller));
    let body = auction_body(row, Some(seller))?;
    Ok(HttpResponse::Created()
        .insert_header((header::ETAG, tag))
        .insert_header((header::LOCATION, format!("/v1/auctions/{id}")))
        .json(body))
}

/// Of the auction, and of the seller and the watchers as they are shown with it; and of the view,
/// for its seller sees more.
fn etag(row: &AuctionRow, reader: Option<UserId>) -> String {
    let view = u8::from(reader == Some(row.seller));
    format!("\"{}.{}.{}.{view}\"", row.standing.seq, row.seller_version, row.watch_count)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    status: Option<StatusWord>,
    category: Option<String>,
    seller: Option<String>,
    q: Option<String>,
    min_price: Option<i64>,
    max_price: Option<i64>,
    sort: Option<SortWord>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// The states that a list can be of.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AuctionStatus)]
pub enum StatusWord {
    /// Announced.
    Scheduled,
    /// Taking bids.
    Live,
    /// Over.
    Ended,
    /// Called off before it opened.
    Cancelled,
}

/// The orders of a list.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AuctionSort)]
pub enum SortWord {
    /// Created last first.
    #[default]
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

impl SortWord {
    const fn sort(self) -> (Sort, &'static str) {
        match self {
            SortWord::Newest => (Sort::Newest, "newest"),
            SortWord::EndingSoon => (Sort::EndingSoon, "ending_soon"),
            SortWord::OpeningSoon => (Sort::OpeningSoon, "opening_soon"),
            SortWord::PriceAsc => (Sort::PriceAsc, "price_asc"),
            SortWord::PriceDesc => (Sort::PriceDesc, "price_desc"),
        }
    }
}

impl StatusWord {
    const fn word(self) -> &'static str {
        match self {
            StatusWord::Scheduled => "scheduled",
            StatusWord::Live => "live",
            StatusWord::Ended => "ended",
            StatusWord::Cancelled => "cancelled",
        }
    }
}

impl ListQuery {
    /// Without a letter there is no index to look in.
    fn words(&self) -> Result<Option<String>, Problem> {
        let words = text(&self.q)?.map(|words| words.trim().to_owned());
        match words.filter(|words| !words.is_empty()) {
            Some(words) if !are_searchable(&words) => {
                Err(Problem::found(Code::InvalidQuery, "q needs a letter or a digit.".to_owned()))
            }
            words => Ok(words),
        }
    }

    fn seller(&self) -> Result<Option<UserId>, Problem> {
        let read = self.seller.as_deref().map(str::parse).transpose();
        read.map_err(|error| Problem::found(Code::InvalidQuery, format!("seller {error}.")))
    }

    fn filter(&self) -> Result<Filter, Problem> {
        let price = |field: &str, value: Option<i64>| {
            value
                .map(|amount| {
                    Amount::new(amount).map_err(|error| {
                        Problem::found(Code::InvalidQuery, format!("{field} {error}."))
                    })
                })
                .transpose()
        };
        Ok(Filter {
            status: self.status.map(|status| status.word().to_owned()),
            category: text(&self.category)?,
            seller: self.seller()?,
            q: self.words()?,
            min_price: price("min_price", self.min_price)?,
            max_price: price("max_price", self.max_price)?,
        })
    }
}

fn text(value: &Option<String>) -> Result<Option<String>, Problem> {
    // What was not UTF-8 comes as the replacement character.
    let usable = |text: &String| {
        text.chars().count() <= WORD_CHARS_MAX && !text.contains(['\0', '\u{fffd}'])
    };
    match value {
        Some(text) if !usable(text) => Err(Problem::from(Code::InvalidQuery)),
        value => Ok(value.clone().filter(|text| !text.is_empty())),
    }
}

/// List auctions
///
/// By state, category, seller, words in the title and price, in five orders.
#[utoipa::path(get, path = "/auctions", operation_id = "list_auctions", tag = "auctions",
    params(
        ("status" = Option<StatusWord>, Query), ("category" = Option<String>, Query),
        ("seller" = Option<Uuid>, Query, description = "The seller's id"),
        ("q" = Option<String>, Query, description = "Words in the title, with a letter or a digit. \
            Two syllables of Hangul or three letters are found anywhere, less at the beginning of a word"),
        ("min_price" = Option<i64>, Query, description = "Minor units", minimum = 1),
        ("max_price" = Option<i64>, Query, description = "Minor units", minimum = 1),
        ("sort" = Option<SortWord>, Query),
        ("limit" = Option<i64>, Query, description = "1 to 100, 20 by default", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before")),
    responses((status = 200, body = AuctionPageBody, description = "A page of auctions")))]
#[get("/auctions")]
pub async fn list_auctions(
    state: web::Data<State>,
    reader: Anybody,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let query: ListQuery = body::query(&request)?;
    let limit = body::limit(query.limit)?;
    let (sort, order) = query.sort.unwrap_or_default().sort();
    let after = query.cursor.as_deref().map(|text| body::read_cursor(order, text)).transpose()?;
    let filter = query.filter()?;
    let share = state.lists.take(&state.limits, &request).await?;
    let rows = state.store.auctions(&filter, sort, after, limit + 1).await?;
    drop(share);
    let (rows, next_cursor) = body::page(rows, limit, |row| {
        body::write_cursor(order, Page { key: sort_key(sort, row), id: row.id })
    });
    let reader = reader.0.map(|caller| caller.user);
    let items = rows.into_iter().map(|row| auction_body(row, reader)).collect::<Result<_, _>>()?;
    Ok(HttpResponse::Ok().json(AuctionPageBody { items, next_cursor }))
}

fn sort_key(sort: Sort, row: &AuctionRow) -> i64 {
    match sort {
        Sort::Newest => 0,
        Sort::EndingSoon => row.standing.ends_at.as_millis(),
        Sort::OpeningSoon => row.starts_at.as_millis(),
        Sort::PriceAsc | Sort::PriceDesc => row.standing.price.minor_units(),
    }
}

/// Read an auction
#[utoipa::path(get, path = "/auctions/{id}", operation_id = "get_auction", tag = "auctions",
    params(("id" = Uuid, Path), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = AuctionBody, description = "The auction", headers(("ETag" = String))),
        (status = 304, description = "Not changed since")))]
#[get("/auctions/{id}")]
pub async fn get_auction(
    state: web::Data<State>,
    reader: Anybody,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let row = state.store.auction(id).await?.ok_or(Code::AuctionNotFound)?;
    let reader = reader.0.map(|caller| caller.user);
    let tag = etag(&row, reader);
    if body::is_known(&request, &tag) {
        return Ok(HttpResponse::NotModified().insert_header((header::ETAG, tag)).finish());
    }
    let body = auction_body(row, reader)?;
    Ok(HttpResponse::Ok().insert_header((header::ETAG, tag)).json(body))
}

/// Edit a scheduled auction
///
/// Only its seller, only before it starts, and only the version that the seller has read.
#[utoipa::path(patch, path = "/auctions/{id}", operation_id = "update_auction", tag = "auctions",
    request_body = AuctionChangesBody,
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag that was read, or *")),
    responses((status = 200, body = AuctionBody, description = "Changed", headers(("ETag" = String)))))]
#[patch("/auctions/{id}")]
pub async fn update_auction(
    state: web::Data<State>,
    user: User,
    id: web::Path<String>,
    version: IfMatch,
    Json(changes): Json<AuctionChangesBody>,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let row = state.store.auction(id).await?.ok_or(Code::AuctionNotFound)?;
    if row.seller != user.0.user {
        return Err(Code::NotYourAuction.into());
    }
    let expected_seq = expected_seq(version, row.standing.seq)?;
    if row.standing.status != "scheduled" {
        return Err(Code::AuctionNotEditable.into());
    }
    let (item, terms) = changes.applied_to(&row)?;
    item.check().map_err(Problem::terms)?;
    terms.check(wall_clock::now()).map_err(Problem::terms)?;
    let reserve_salt = rand::random();
    let by = user.0.user;
    let edit = Edit { by, expected_seq: Some(expected_seq), item, terms, reserve_salt };
    command(&state, id, Command::Edit(Box::new(edit))).await?;
    let row = state.store.auction(id).await?.ok_or(Code::AuctionNotFound)?;
    let tag = etag(&row, Some(by));
    Ok(HttpResponse::Ok().insert_header((header::ETAG, tag)).json(auction_body(row, Some(by))?))
}

/// The version that is about to change: the one that was read, compared with the one that stands.
fn expected_seq(version: IfMatch, stands: i64) -> Result<u64, Problem> {
    let stands = u64::try_from(stands).map_err(|_| Problem::from(Code::Internal))?;
    match version {
        IfMatch::Any => Ok(stands),
        IfMatch::Seq(seq) if seq == stands => Ok(seq),
        IfMatch::Seq(_) | IfMatch::Stale => Err(Code::PreconditionFailed.into()),
    }
}

async fn command(state: &State, id: AuctionId, command: Command) -> Result<(), Problem> {
    match state.exchange.submit(id, |_| Request::internal(command)).await? {
        Answer::Accepted { .. } => Ok(()),
        Answer::Refused(refusal) => Err(refusal.into()),
    }
}

impl AuctionChangesBody {
    fn applied_to(self, row: &AuctionRow) -> Result<(Item, Terms), Problem> {
        let (mut item, mut terms) = (item_of(row)?, terms_of(row)?);
        item.title = self.title.map_or(item.title, |title| title.trim().to_owned());
        item.description = self.description.unwrap_or(item.description);
        item.category = self.category.unwrap_or(item.category);
        item.image_keys = self.image_keys.unwrap_or(item.image_keys);
        item.attributes = self.attributes.unwrap_or(item.attributes);
        terms.currency = self.currency.map_or(terms.currency, Currency::from);
        if let Some(price) = self.opening_price {
            terms.opening_price = body::amount("opening_price", price)?;
        }
        if let Some(increment) = self.increment {
            terms.increment = increment.increment()?;
        }
        if let Some(price) = self.reserve_price {
            terms.reserve_price = optional_amount("reserve_price", price)?;
        }
        if let Some(price) = self.buy_now_price {
            terms.buy_now_price = optional_amount("buy_now_price", price)?;
        }
        terms.bids_per_bidder_max = self.bids_per_bidder_max.unwrap_or(terms.bids_per_bidder_max);
        terms.starts_at = self.starts_at.unwrap_or(terms.starts_at);
        terms.ends_at = self.ends_at.unwrap_or(terms.ends_at);
        if let Some(soft_close) = self.soft_close {
            terms.soft_close = soft_close.map(SoftClose::from);
        }
        Ok((item, terms))
    }
}

fn optional_amount(field: &str, value: Option<i64>) -> Result<Option<Amount>, Problem> {
    value.map(|amount| body::amount(field, amount)).transpose()
}

/// Delete an auction
///
/// Its seller may call it off while it is scheduled. An admin may also end a live one:
/// `cancelled_by_operator`. The log stays.
#[utoipa::path(delete, path = "/auctions/{id}", operation_id = "delete_auction", tag = "auctions",
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag that was read, or *")),
    responses((status = 204, description = "Called off")))]
#[delete("/auctions/{id}")]
pub async fn delete_auction(
    state: web::Data<State>,
    user: User,
    id: web::Path<String>,
    version: IfMatch,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let by = user.0.user;
    let expected_seq = match version {
        IfMatch::Any => None,
        IfMatch::Seq(seq) => Some(seq),
        IfMatch::Stale => return Err(Code::PreconditionFailed.into()),
    };
    let asked = if user.0.has(Role::Admin) {
        Command::CancelByOperator(CancelByOperator { expected_seq })
    } else {
        Command::Withdraw(Withdraw { by, expected_seq })
    };
    command(&state, id, asked).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Relist an unsold auction
///
/// A new auction of the same item, pointing at the old one; once.
#[utoipa::path(post, path = "/auctions/{id}/relist", operation_id = "relist_auction", tag = "auctions",
    request_body = RelistBody,
    params(("id" = Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters",
            min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$")),
    responses((status = 201, body = AuctionBody, description = "Scheduled",
        headers(("ETag" = String), ("Location" = String)))))]
#[post("/auctions/{id}/relist")]
pub async fn relist_auction(
    state: web::Data<State>,
    seller: Seller,
    id: web::Path<String>,
    key: IdempotencyKey,
    Json(relisting): Json<RelistBody>,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let now = wall_clock::now();
    let parts: [&dyn std::fmt::Display; 3] = [&"relist_auction", &id, &format!("{relisting:?}")];
    let key = key.optional(seller.0, &parts);
    if let Some(made) = made_before(&state, key.as_ref()).await? {
        return created(&state, made).await;
    }
    let row = state.store.auction(id).await?.ok_or(Code::AuctionNotFound)?;
    if row.seller != seller.0 {
        return Err(Code::NotYourAuction.into());
    }
    let is_unsold =
        matches!(row.standing.result.as_deref(), Some("unsold_no_bids" | "unsold_reserve_not_met"));
    if !is_unsold {
        return Err(Code::AuctionNotRelistable.into());
    }
    let scheduled = Scheduled {
        seller: seller.0,
        item: item_of(&row)?,
        terms: relisting.terms(&row, state.bid_cap, now)?,
        relisted_from: Some(id),
        reserve_salt: rand::random(),
    };
    create(&state, scheduled, key, now).await
}

impl RelistBody {
    fn terms(&self, row: &AuctionRow, cap: Amount, now: Timestamp) -> Result<Terms, Problem> {
        let mut terms = terms_of(row)?;
        let moved_ms = self.ends_at.ms_since(terms.ends_at);
        terms.cap = cap;
        terms.starts_at = self.starts_at.unwrap_or(now);
        terms.ends_at = self.ends_at;
        if let Some(price) = self.opening_price {
            terms.opening_price = body::amount("opening_price", price)?;
        }
        if let Some(price) = self.reserve_price {
            terms.reserve_price = optional_amount("reserve_price", price)?;
        }
        terms.soft_close = match (self.soft_close, terms.soft_close) {
            (Some(new), _) => Some(new.into()),
            (None, Some(old)) => Some(SoftClose {
                max_ends_at: old.max_ends_at.plus_ms(moved_ms).max(self.ends_at),
                ..old
            }),
            (None, None) => None,
        };
        terms.check(now).map_err(Problem::terms)?;
        Ok(terms)
    }
}
