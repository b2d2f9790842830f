//! `/v1/auctions/{id}/bids` and what belongs to it: bidding, buy now, retraction.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::listing::StatusWord;
use crate::{
    domain::{
        auction::{self, BuyNow, Command, Offer, PlaceBid, RetractBid, Status},
        id::{AuctionId, UserId},
        money::{Amount, Money},
    },
    exchange::{Answer, Failure, Request},
    http::{
        State,
        kit::{
            body::{self, IdempotencyKey, Json, PageQuery, or_none},
            caller::{Bidder, User},
            idempotency::Key,
            problem::{Advice, Code, MoneyBody, Problem},
        },
    },
    store::{BidRow, Page, ReceiptKey},
};

/// Characters in the reason of a retraction.
pub const REASON_CHARS_MAX: usize = 500;

/// A bid: either `amount` or `max_amount`, in minor units of the auction's currency.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBid, example = json!({"max_amount": 50_000}))]
pub struct NewBidBody {
    /// An exact bid: the price itself.
    #[serde(default, deserialize_with = "body::offered")]
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<i64>,
    /// A ceiling: the exchange bids up to it. Private.
    #[serde(default, deserialize_with = "body::offered")]
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_amount: Option<i64>,
    /// Refuse (`price_moved`) if the auction went past this sequence number.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_seq: Option<u64>,
    /// The offer again, where `confirmation_required` asked for it.
    #[serde(default)]
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm_amount: Option<i64>,
}

impl NewBidBody {
    /// What is offered.
    ///
    /// # Errors
    /// Unless exactly one of the two amounts is there, and is one.
    pub fn offer(&self) -> Result<Offer, Problem> {
        match (self.amount, self.max_amount) {
            (Some(amount), None) => offer("amount", amount).map(Offer::Exact),
            (None, Some(ceiling)) => offer("max_amount", ceiling).map(Offer::Ceiling),
            (Some(_), Some(_)) => {
                Err(Problem::field("amount", "send amount or max_amount, not both"))
            }
            (None, None) => Err(Problem::field("amount", "send amount or max_amount")),
        }
    }

    fn confirmed(&self) -> Result<Option<Amount>, Problem> {
        self.confirm_amount.map(|amount| body::amount("confirm_amount", amount)).transpose()
    }

    /// Under which key the answer is kept, and what the same key must come with again.
    ///
    /// # Errors
    /// When there is no key.
    pub fn receipt_key(
        &self,
        key: IdempotencyKey,
        bidder: UserId,
        id: AuctionId,
    ) -> Result<Key, Problem> {
        let of = id.to_string();
        key.required(
            bidder,
            ("place_bid", &[&of], self),
            &[
                &"place_bid",
                &id,
                &or_none(self.amount),
                &or_none(self.max_amount),
                &or_none(self.expected_seq),
                &or_none(self.confirm_amount),
            ],
        )
    }
}

/// An amount in an offer. One that is larger than any amount is held at the largest, which is above
/// every cap: the floor refuses it as it does whatever is over the cap.
fn offer(field: &str, minor_units: i64) -> Result<Amount, Problem> {
    body::amount(field, minor_units.min(Amount::MAX.minor_units()))
}

/// The answer to an accepted bid, purchase or retraction; durable when it is heard.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Receipt)]
pub struct ReceiptBody {
    /// Of which auction.
    pub auction_id: Uuid,
    /// Its place in the log.
    pub seq: u64,
    /// `leading`, `outbid` (accepted, but a higher ceiling stands), `bought`, or `retracted`.
    pub outcome: OutcomeWord,
    /// The visible price after it.
    #[schema(value_type = MoneyBody)]
    pub price: Money,
    /// The least that is accepted next from somebody who does not lead; null where nobody else can bid
    /// any more: it is over, or the minimum would be above the cap.
    #[schema(value_type = Option<MoneyBody>)]
    pub minimum_next_bid: Option<Money>,
    /// The end as it stands after it.
    #[schema(format = DateTime)]
    pub ends_at: String,
    /// Whether the reserve is met; null where there is none.
    pub reserve_met: Option<bool>,
    /// What counted for the clock.
    #[schema(format = DateTime)]
    pub received_at: String,
    /// When it was decided.
    #[schema(format = DateTime)]
    pub decided_at: String,
    /// Of its log entry.
    pub hash: String,
    /// Of a ceiling: opens its commitment in the log. 32 hex digits; keep it to yourself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling_salt: Option<String>,
}

/// What it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Outcome)]
pub enum OutcomeWord {
    /// The bidder leads.
    Leading,
    /// Accepted, but a higher or earlier ceiling stands.
    Outbid,
    /// It ended the auction.
    Bought,
    /// The bid was taken back.
    Retracted,
}

/// Place a bid
///
/// Exact (`amount`) or up to a ceiling (`max_amount`). The receipt is durable when it is heard;
/// a retry with the same `Idempotency-Key` hears the same answer.
#[utoipa::path(post, path = "/auctions/{id}/bids", operation_id = "place_bid", tag = "bids",
    request_body = NewBidBody,
    params(("id" = Uuid, Path),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters",
            min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$")),
    responses((status = 201, body = ReceiptBody, description = "Accepted")))]
#[post("/auctions/{id}/bids")]
pub async fn place_bid(
    state: web::Data<State>,
    bidder: Bidder,
    id: web::Path<String>,
    key: IdempotencyKey,
    request: HttpRequest,
    bid: Result<Json<NewBidBody>, Problem>,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let Json(bid) = bid.map_err(|problem| {
        let is_offer = ["amount", "max_amount"].iter().any(|field| problem.is_out_of_range(field));
        if is_offer { Code::OverCap.into() } else { problem }
    })?;
    let (offer, confirm_amount) = (bid.offer()?, bid.confirmed()?);
    let key = bid.receipt_key(key, bidder.0, id)?;
    submit(&state, id, key, &request, |received_at| {
        Command::PlaceBid(PlaceBid {
            bidder: bidder.0,
            offer,
            expected_seq: bid.expected_seq,
            confirm_amount,
            salt: rand::random(),
            received_at,
        })
    })
    .await
}

async fn submit(
    state: &State,
    id: AuctionId,
    key: Key,
    request: &HttpRequest,
    command: impl Fn(crate::domain::time::Timestamp) -> Command,
) -> Result<HttpResponse, Problem> {
    let ask = async |key: ReceiptKey| {
        let request_id = body::request_id(request);
        let asked = state.exchange.submit(id, |received_at| Request {
            command: command(received_at).into(),
            receipt_key: Some(key),
            request_id,
        });
        asked.await
    };
    let answer = match ask(key.receipt).await {
        // It may have been kept under the fingerprint of the version before.
        Err(Failure::KeyReused) => ask(key.former()).await?,
        answer => answer?,
    };
    match answer {
        Answer::Accepted { receipt } => {
            Ok(HttpResponse::Created().content_type("application/json").body(receipt))
        }
        Answer::Refused(refusal) => Err(refusal.into()),
    }
}

/// What the buyer saw.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BuyNow, example = json!({"amount": 80_000}))]
pub struct BuyNowBody {
    /// The buy-now price that the buyer saw, in minor units; compared with ours.
    #[serde(default)]
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<i64>,
}

/// Buy now
///
/// Takes the buy-now price while it stands, and ends the auction.
#[utoipa::path(post, path = "/auctions/{id}/buy-now", operation_id = "buy_auction", tag = "bids",
    request_body = BuyNowBody,
    params(("id" = Uuid, Path),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters",
            min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$")),
    responses((status = 201, body = ReceiptBody, description = "Bought")))]
#[post("/auctions/{id}/buy-now")]
pub async fn buy_auction(
    state: web::Data<State>,
    bidder: Bidder,
    id: web::Path<String>,
    key: IdempotencyKey,
    request: HttpRequest,
    bytes: web::Bytes,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let buy = if bytes.is_empty() { BuyNowBody::default() } else { body::parse(&bytes)? };
    let expected_price = buy.amount.map(|amount| body::amount("amount", amount)).transpose()?;
    let of = id.to_string();
    let former: [&dyn std::fmt::Display; 3] = [&"buy_auction", &id, &or_none(buy.amount)];
    let key = key.required(bidder.0, ("buy_auction", &[&of], &buy), &former)?;
    submit(&state, id, key, &request, |received_at| {
        Command::BuyNow(BuyNow { buyer: bidder.0, expected_price, received_at })
    })
    .await
    .map_err(|problem| Problem { advice: advice_to_buyers(problem.code), ..problem })
}

/// It was another price that moved than with bids.
fn advice_to_buyers(code: Code) -> Option<&'static Advice> {
    const ADVICE: Advice = (
        "The buy-now price is not this amount. Read buy_now_price of the auction, then decide.",
        "즉시 구매가가 이 금액이 아닙니다. 경매의 buy_now_price를 확인한 뒤 결정하세요.",
    );
    (code == Code::PriceMoved).then_some(&ADVICE)
}

/// Why a bid is taken back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Retraction, example = json!({"reason": "0을 하나 더 눌렀습니다"}))]
pub struct RetractionBody {
    /// In the bidder's words. Private.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// Retract a bid
///
/// For a wrong amount: any time up to 12 hours before the end; within the last 12 hours only in
/// the hour after the bid. The price is recomputed from the bids that remain.
#[utoipa::path(post, path = "/auctions/{id}/bids/{seq}/retraction", operation_id = "retract_bid", tag = "bids",
    request_body = RetractionBody,
    params(("id" = Uuid, Path), ("seq" = u64, Path, description = "Of the bid's receipt"),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters",
            min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$")),
    responses((status = 201, body = ReceiptBody, description = "Retracted")))]
#[post("/auctions/{id}/bids/{seq}/retraction")]
pub async fn retract_bid(
    state: web::Data<State>,
    bidder: Bidder,
    path: web::Path<(String, String)>,
    key: IdempotencyKey,
    request: HttpRequest,
    Json(retraction): Json<RetractionBody>,
) -> Result<HttpResponse, Problem> {
    let (id, seq) = path.into_inner();
    let id = body::auction_id(&id)?;
    let bid_seq: u64 = seq.parse().map_err(|_| Problem::from(Code::BidNotFound))?;
    let reason = retraction.reason.trim().to_owned();
    if !(1..=REASON_CHARS_MAX).contains(&reason.chars().count()) || reason.contains('\0') {
        let message = format!("must have 1 to {REASON_CHARS_MAX} characters");
        return Err(Problem::field("reason", message));
    }
    let (of, seq) = (id.to_string(), bid_seq.to_string());
    let former: [&dyn std::fmt::Display; 4] = [&"retract_bid", &id, &bid_seq, &reason];
    let body = RetractionBody { reason: reason.clone() };
    let key = key.required(bidder.0, ("retract_bid", &[&of, &seq], &body), &former)?;
    submit(&state, id, key, &request, |received_at| {
        let reason = reason.clone();
        Command::RetractBid(RetractBid { bidder: bidder.0, bid_seq, reason, received_at })
    })
    .await
}

/// An accepted bid, by alias.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Bid)]
pub struct BidBody {
    /// Its place in the log.
    seq: i64,
    /// When it was decided.
    #[schema(format = DateTime)]
    at: String,
    /// Who, in this auction.
    bidder: String,
    /// Of an exact bid; a ceiling is private.
    #[schema(value_type = Option<MoneyBody>)]
    amount: Option<Money>,
    /// The visible price after it.
    #[schema(value_type = MoneyBody)]
    price: Money,
    /// The least that was accepted next from somebody who did not lead; null where nobody else could
    /// bid any more.
    #[schema(value_type = Option<MoneyBody>)]
    minimum_next_bid: Option<Money>,
    /// What it came to at the time.
    outcome: OutcomeWord,
    /// Whether it was taken back later.
    retracted: bool,
}

/// A page of bids, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BidPage)]
pub struct BidPageBody {
    /// The newest first.
    items: Vec<BidBody>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct BidData {
    #[serde(default)]
    amount: Option<Money>,
    bidder: String,
    minimum_next_bid: Option<Money>,
    outcome: OutcomeWord,
    price: Money,
}

fn bid_body(row: BidRow) -> Result<BidBody, Problem> {
    let data: BidData =
        serde_json::from_str(&row.data).map_err(|_| Problem::from(Code::Internal))?;
    Ok(BidBody {
        seq: row.seq,
        at: row.at.to_string(),
        bidder: data.bidder,
        amount: data.amount,
        price: data.price,
        minimum_next_bid: data.minimum_next_bid,
        outcome: data.outcome,
        retracted: row.retracted,
    })
}

/// List the bids of an auction
///
/// Newest first, bidders by their alias in this auction.
#[utoipa::path(get, path = "/auctions/{id}/bids", operation_id = "list_bids", tag = "bids",
    params(("id" = Uuid, Path),
        ("limit" = Option<i64>, Query, description = "1 to 100, 20 by default", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before")),
    responses((status = 200, body = BidPageBody, description = "A page of bids")))]
#[get("/auctions/{id}/bids")]
pub async fn list_bids(
    state: web::Data<State>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let query: PageQuery = body::query(&request)?;
    let limit = body::limit(query.limit)?;
    let before = match query.cursor.as_deref() {
        None => i64::MAX,
        Some(cursor) => {
            let page = body::read_cursor("bids", cursor)?;
            if page.id != id {
                return Err(Code::InvalidCursor.into());
            }
            page.key
        }
    };
    let share = state.lists.take(&state.limits, &request).await?;
    let rows = state.store.of_lists().bids_before(id, before, limit + 1).await?;
    drop(share);
    if rows.is_empty() && state.store.log_head(id).await?.is_none() {
        return Err(Code::AuctionNotFound.into());
    }
    let (rows, next_cursor) =
        body::page(rows, limit, |row| body::write_cursor("bids", Page { key: row.seq, id }));
    let items = rows.into_iter().map(bid_body).collect::<Result<_, _>>()?;
    Ok(HttpResponse::Ok().json(BidPageBody { items, next_cursor }))
}

/// Where the caller stands in an auction.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Bidding)]
pub struct BiddingBody {
    /// Of which auction.
    auction_id: Uuid,
    /// The last event's sequence number, for `expected_seq`.
    seq: u64,
    /// Where the auction is in its life.
    status: StatusWord,
    /// The end as it stands.
    #[schema(format = DateTime)]
    ends_at: String,
    /// The caller's alias in this auction, once they have bid.
    alias: Option<String>,
    /// Whether the caller would win now, or has won.
    leading: bool,
    /// The most that the caller stands to pay: their highest standing bid.
    my_ceiling: Option<MoneyBody>,
    /// Funds set aside for the caller's bids in this auction.
    my_holds: Vec<MoneyBody>,
    /// How many more bids the auction allows the caller; null without a limit.
    bids_left: Option<u32>,
    /// The visible price; the opening price while nobody leads.
    price: MoneyBody,
    /// The least that the caller's next bid must offer; null where they cannot bid any more. For the
    /// leader: just above their ceiling.
    minimum_next_bid: Option<MoneyBody>,
    /// Up to three offers to suggest, from the minimum upwards; to the leader round ones.
    suggested: Vec<MoneyBody>,
}

/// Read my bidding in an auction
#[utoipa::path(get, path = "/auctions/{id}/bidding", operation_id = "get_bidding", tag = "bids",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = BiddingBody, description = "Where the caller stands")))]
#[get("/auctions/{id}/bidding")]
pub async fn get_bidding(
    state: web::Data<State>,
    user: User,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let me = user.0.user;
    let bidding = state.exchange.read(id, move |state| bidding_body(id, state, me)).await?;
    Ok(HttpResponse::Ok().json(bidding))
}

/// How many offers are suggested.
const SUGGESTED: usize = 3;

fn bidding_body(id: AuctionId, state: &auction::State, me: UserId) -> BiddingBody {
    let money = |amount| MoneyBody::from(Money { amount, currency: state.terms.currency });
    let mine = state.bidders.get(&me);
    let leading = state.is_leader(me);
    let my_ceiling = mine.and_then(|bidder| bidder.highest).map(Offer::limit);
    BiddingBody {
        auction_id: id.0,
        seq: state.seq,
        status: match state.status {
            Status::Scheduled => StatusWord::Scheduled,
            Status::Live => StatusWord::Live,
            Status::Ended(_) => StatusWord::Ended,
            Status::Cancelled => StatusWord::Cancelled,
        },
        ends_at: state.ends_at.to_string(),
        alias: mine.map(|bidder| bidder.no.to_string()),
        leading,
        my_ceiling: my_ceiling.map(money),
        my_holds: Vec::new(),
        bids_left: state
            .terms
            .bids_per_bidder_max
            .map(|max| max.saturating_sub(mine.map_or(0, |bidder| bidder.accepted))),
        price: money(state.standing.price),
        minimum_next_bid: state.told_minimum_for(me).map(money),
        suggested: state.suggested_offers(me).take(SUGGESTED).map(money).collect(),
    }
}
