//! `/v1/auctions`: creating, listing, reading, editing, deleting and relisting.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    domain::{
        auction::{
            Increment, Item, Phase, SoftClose, SoftCloseMode, increment::Table,
            terms::WORD_CHARS_MAX,
        },
        id::UserId,
        money::{Amount, Currency},
        time::Timestamp,
    },
    http::{
        State,
        kit::{
            body::{self, IdempotencyKey, IfMatch, Json},
            caller::{Anybody, Seller, User},
            idempotency::{self, KeptAnswer},
            problem::{Code, MoneyBody, Problem},
            words::ResultWord,
        },
        sellers::CompanyBody,
    },
    identity::Role,
    log::IncrementForm,
    market::{self, Changes, Draft, Keep, MarketError, Relisting},
    store::{AuctionRow, Filter, Page, Sort, are_searchable},
    wall_clock,
};

/// An auction to create. Amounts are minor units of its currency.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<CurrencyBody>,
    /// The least that the first bid must offer.
    #[schema(minimum = 1)]
    opening_price: i64,
    /// `{"kind": "table", "table": "won"}` or `ebay_usd`, by currency, unless it says otherwise.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    increment: Option<IncrementBody>,
    /// Below it the item is not sold. Private.
    #[serde(default)]
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reserve_price: Option<i64>,
    /// At which the first taker ends the auction.
    #[serde(default)]
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    buy_now_price: Option<i64>,
    /// How many accepted bids each bidder may place.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10_000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    bids_per_bidder_max: Option<u32>,
    /// Left out: now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<Timestamp>,
    /// At exactly this time it is over.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// Whether and how late bids move the end.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    soft_close: Option<SoftCloseBody>,
}

/// Changes to a scheduled auction: what is left out stays, null takes away.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = AuctionChanges, example = json!({"title": "조선 백자 달항아리 (18세기)", "reserve_price": null}))]
pub struct AuctionChangesBody {
    /// Visible characters, on one line.
    #[schema(min_length = 1, max_length = 200)]
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    /// Plain text.
    #[schema(max_length = 10_000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// The category's slug: visible characters, on one line.
    #[serde(deserialize_with = "body::present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 500)]
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<Option<String>>,
    /// Keys in the image store, the one shown first first; each of visible characters, on one line.
    #[schema(max_items = 20)]
    #[serde(skip_serializing_if = "Option::is_none")]
    image_keys: Option<Vec<String>>,
    /// All free properties, also those that stay; their names are visible characters, on one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<BTreeMap<String, String>>,
    /// In which it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<CurrencyBody>,
    /// The least that the first bid must offer.
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    opening_price: Option<i64>,
    /// By how much a bid must exceed the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    increment: Option<IncrementBody>,
    /// Below it the item is not sold. Private.
    #[serde(deserialize_with = "body::present")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reserve_price: Option<Option<i64>>,
    /// At which the first taker ends the auction.
    #[serde(deserialize_with = "body::present")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    buy_now_price: Option<Option<i64>>,
    /// How many accepted bids each bidder may place.
    #[serde(deserialize_with = "body::present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    bids_per_bidder_max: Option<Option<u32>>,
    /// From when bids are taken.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<Timestamp>,
    /// At exactly this time it is over.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<Timestamp>,
    /// Whether and how late bids move the end.
    #[serde(deserialize_with = "body::present")]
    #[schema(value_type = Option<SoftCloseBody>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    soft_close: Option<Option<SoftCloseBody>>,
}

/// When the relisted auction runs. Everything else is taken from the unsold one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Relisting, example = json!({"ends_at": "2036-12-02T09:00:00.000Z"}))]
pub struct RelistBody {
    /// Left out: now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<Timestamp>,
    /// At exactly this time it is over.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// A new opening price; left out: the old one.
    #[serde(default)]
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    opening_price: Option<i64>,
    /// A new reserve; left out: the old one; null: none.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reserve_price: Option<Option<i64>>,
    /// Left out: the old one, its last end moved along with the end.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
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

    fn draft(&self) -> Result<Draft, Problem> {
        let increment = self.increment.as_ref().map(IncrementBody::increment);
        Ok(Draft {
            item: self.item(),
            currency: self.currency.map(Currency::from),
            opening_price: body::amount("opening_price", self.opening_price)?,
            increment: increment.transpose()?,
            reserve_price: optional_amount("reserve_price", self.reserve_price)?,
            buy_now_price: optional_amount("buy_now_price", self.buy_now_price)?,
            bids_per_bidder_max: self.bids_per_bidder_max,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            soft_close: self.soft_close.map(SoftClose::from),
        })
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
    let currency = CurrencyBody::from(row.currency);
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
        status: standing.status.into(),
        result: standing.result.map(ResultWord::from),
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
    let seller = seller.0;
    let former: [&dyn std::fmt::Display; 2] = [&"create_auction", &FormerDebug(&new)];
    let key = key.optional(seller, ("create_auction", &[], &new), &former)?;
    // A retry may come after the auction's end, when its terms could not stand any more.
    idempotency::once(&state.store, key.as_ref(), kept_before(&state), async || {
        let State { store, exchange, .. } = &**state;
        let (draft, keep) = ((seller, new.draft()?), keep(key.as_ref()));
        let now = wall_clock::now();
        created(market::list(store, exchange, draft, state.bid_cap, keep, now).await?)
    })
    .await
}

impl From<MarketError> for Problem {
    fn from(error: MarketError) -> Problem {
        match error {
            MarketError::NotFound => Code::AuctionNotFound.into(),
            MarketError::NotYours => Code::NotYourAuction.into(),
            MarketError::Stale => Code::PreconditionFailed.into(),
            MarketError::NotEditable => Code::AuctionNotEditable.into(),
            MarketError::NotRelistable => Code::AuctionNotRelistable.into(),
            MarketError::SellerGone => Code::Forbidden.into(),
            MarketError::Wrong(errors) => Problem::terms(errors),
            MarketError::AnsweredMeanwhile => Code::OutcomeUnknown.into(),
            MarketError::Refused(refusal) => refusal.into(),
            MarketError::Failed(failure) => failure.into(),
            MarketError::Store(error) => error.into(),
        }
    }
}

/// What a new auction is answered with, kept under the key with it.
fn keep(key: Option<&idempotency::Key>) -> Option<Keep<'_>> {
    let answer =
        &|row: &AuctionRow| kept(row.clone()).map_or_else(|_| String::new(), |kept| kept.text());
    key.map(|key| Keep { key: &key.receipt, answer })
}

fn kept(row: AuctionRow) -> Result<KeptAnswer, Problem> {
    let (id, seller) = (row.id, Some(row.seller));
    let tag = etag(&row, seller);
    KeptAnswer::created(format!("/v1/auctions/{id}"), tag, &auction_body(row, seller)?)
}

fn created(row: AuctionRow) -> Result<HttpResponse, Problem> {
    kept(row).map(HttpResponse::from)
}

/// The version before kept the id alone.
fn kept_before(state: &State) -> impl AsyncFn(&str) -> Result<HttpResponse, Problem> {
    async |answer: &str| {
        let id = answer.parse().map_err(|_| Problem::from(Code::IdempotencyKeyReused))?;
        created(state.store.auction(id).await?.ok_or(Code::AuctionNotFound)?)
    }
}

/// The text by which the version before told bodies apart.
struct FormerDebug<'a, T>(&'a T);

impl<T: std::fmt::Debug> std::fmt::Display for FormerDebug<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
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

impl From<Phase> for StatusWord {
    fn from(phase: Phase) -> StatusWord {
        match phase {
            Phase::Scheduled => StatusWord::Scheduled,
            Phase::Live => StatusWord::Live,
            Phase::Ended => StatusWord::Ended,
            Phase::Cancelled => StatusWord::Cancelled,
        }
    }
}

impl From<StatusWord> for Phase {
    fn from(word: StatusWord) -> Phase {
        match word {
            StatusWord::Scheduled => Phase::Scheduled,
            StatusWord::Live => Phase::Live,
            StatusWord::Ended => Phase::Ended,
            StatusWord::Cancelled => Phase::Cancelled,
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
            status: self.status.map(Phase::from),
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
    let by = user.0.user;
    let State { store, exchange, .. } = &**state;
    let (which, changes) = ((by, id, version.0), changes.changes()?);
    let row = market::edit(store, exchange, which, changes, wall_clock::now()).await?;
    let tag = etag(&row, Some(by));
    Ok(HttpResponse::Ok().insert_header((header::ETAG, tag)).json(auction_body(row, Some(by))?))
}

impl AuctionChangesBody {
    fn changes(self) -> Result<Changes, Problem> {
        let amount =
            |field, price: Option<i64>| price.map(|price| body::amount(field, price)).transpose();
        let removable = |field, price: Option<Option<i64>>| {
            price.map(|price| optional_amount(field, price)).transpose()
        };
        let increment = self.increment.map(|increment| increment.increment()).transpose()?;
        Ok(Changes {
            title: self.title.map(|title| title.trim().to_owned()),
            description: self.description,
            category: self.category,
            image_keys: self.image_keys,
            attributes: self.attributes,
            currency: self.currency.map(Currency::from),
            opening_price: amount("opening_price", self.opening_price)?,
            increment,
            reserve_price: removable("reserve_price", self.reserve_price)?,
            buy_now_price: removable("buy_now_price", self.buy_now_price)?,
            bids_per_bidder_max: self.bids_per_bidder_max,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            soft_close: self.soft_close.map(|soft_close| soft_close.map(SoftClose::from)),
        })
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
    let by = (user.0.user, user.0.has(Role::Admin));
    market::call_off(&state.exchange, by, id, version.0).await?;
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
    let seller = seller.0;
    let former: [&dyn std::fmt::Display; 3] = [&"relist_auction", &id, &FormerDebug(&relisting)];
    let of = id.to_string();
    let key = key.optional(seller, ("relist_auction", &[&of], &relisting), &former)?;
    idempotency::once(&state.store, key.as_ref(), kept_before(&state), async || {
        let State { store, exchange, .. } = &**state;
        let (relisted, keep) = ((seller, id, relisting.relisting()?), keep(key.as_ref()));
        let now = wall_clock::now();
        created(market::relist(store, exchange, relisted, state.bid_cap, keep, now).await?)
    })
    .await
}

impl RelistBody {
    fn relisting(&self) -> Result<Relisting, Problem> {
        let reserve = self.reserve_price.map(|price| optional_amount("reserve_price", price));
        Ok(Relisting {
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            opening_price: optional_amount("opening_price", self.opening_price)?,
            reserve_price: reserve.transpose()?,
            soft_close: self.soft_close.map(SoftClose::from),
        })
    }
}
