//! Notifications: the caller's inbox, and which kinds they do not want to hear of.

use actix_web::{HttpRequest, HttpResponse, get, http::header, post, put, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    domain::id::AuctionId,
    http::{
        State,
        kit::{
            body::{self, Json, PERSONAL},
            caller::User,
            problem::{Code, MoneyBody, Problem},
            words::ResultWord,
        },
    },
    live::personal::Told,
    notify::{Kind, push::MUTED_BY_DEFAULT},
    store::{Muted, Muting, NotificationRow, Page, Read},
    wall_clock,
};

/// Notifications that are marked as read by their ids in one request.
const IDS_MAX: usize = 1_000;
/// The order of the list, in its cursors.
const ORDER: &str = "notifications";

/// The kinds of notifications. `outbid` and `leading_again` are told only if it is still so when the
/// notifier comes to it, as a rule within half a second after the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = NotificationKind)]
pub enum KindWord {
    /// Somebody else leads now.
    Outbid,
    /// The user leads again, because somebody else's bid was taken back.
    LeadingAgain,
    /// A bid in the user's auction was taken back.
    BidRetracted,
    /// Of an auction that the user watches. Told at most every few seconds, as it stands then.
    HighestBidChanged,
    /// Of an auction that the user watches.
    OpeningSoon,
    /// Of an auction that the user watches.
    EndingSoon,
    /// Of an auction that the user watches or has bid in.
    Extended,
    /// The user won.
    Won,
    /// The user bid, and did not win.
    Lost,
    /// The user's auction ended with a winner.
    Sold,
    /// The user's auction ended without one.
    Unsold,
    /// A purchase is to be paid. Not sent yet.
    OrderDue,
    /// A purchase was not paid in time. Not sent yet.
    OrderOverdue,
    /// A payment has come. Not sent yet.
    Payment,
    /// A payment goes back. Not sent yet.
    Refund,
    /// Something was listed that one of the user's alerts is for.
    KeywordAlert,
    /// The user's seller application was decided.
    SellerApplicationDecided,
}

impl KindWord {
    const fn kind(self) -> Kind {
        match self {
            KindWord::Outbid => Kind::Outbid,
            KindWord::LeadingAgain => Kind::LeadingAgain,
            KindWord::BidRetracted => Kind::BidRetracted,
            KindWord::HighestBidChanged => Kind::HighestBidChanged,
            KindWord::OpeningSoon => Kind::OpeningSoon,
            KindWord::EndingSoon => Kind::EndingSoon,
            KindWord::Extended => Kind::Extended,
            KindWord::Won => Kind::Won,
            KindWord::Lost => Kind::Lost,
            KindWord::Sold => Kind::Sold,
            KindWord::Unsold => Kind::Unsold,
            KindWord::OrderDue => Kind::OrderDue,
            KindWord::OrderOverdue => Kind::OrderOverdue,
            KindWord::Payment => Kind::Payment,
            KindWord::Refund => Kind::Refund,
            KindWord::KeywordAlert => Kind::KeywordAlert,
            KindWord::SellerApplicationDecided => Kind::SellerApplicationDecided,
        }
    }
}

/// Something that the user is told. Its words are the frontend's: they follow from kind and data.
#[derive(Serialize, ToSchema)]
#[schema(as = Notification)]
#[allow(dead_code, reason = "what is answered is `Told`, which streams share; this describes it")]
pub struct NotificationBody {
    /// Rises with every notification.
    #[schema(minimum = 1)]
    id: i64,
    /// What it is about.
    kind: KindWord,
    /// The auction, or the seller application.
    subject_id: Uuid,
    /// The auction that it is about.
    auction: Option<AuctionMentionedBody>,
    /// What its words are made of.
    data: NotificationDataBody,
    /// When it happened.
    #[schema(format = DateTime)]
    at: String,
    /// When it was read; null while it was not.
    #[schema(format = DateTime)]
    read_at: Option<String>,
    /// The exchange's clock when it was told; on streams alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    server_time: Option<String>,
}

/// As much of an auction as words need.
#[derive(Serialize, ToSchema)]
#[schema(as = AuctionMentioned)]
#[allow(dead_code, reason = "it describes a part of `Told`")]
pub struct AuctionMentionedBody {
    /// UUIDv7.
    id: Uuid,
    /// One line.
    title: String,
    /// Keys in the image store, the one shown first first.
    image_keys: Vec<String>,
}

/// What its words are made of; what is there follows from the kind.
#[derive(Serialize, ToSchema)]
#[schema(as = NotificationData)]
#[allow(dead_code, reason = "it describes a part of `Told`")]
pub struct NotificationDataBody {
    /// The visible price then; of an auction that ended the final one, if anybody bid.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<MoneyBody>,
    /// How many bids stood then.
    #[serde(skip_serializing_if = "Option::is_none")]
    bid_count: Option<u32>,
    /// From when bids are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    starts_at: Option<String>,
    /// The end as it stood then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    ends_at: Option<String>,
    /// How long before it was to be said, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    lead_s: Option<i64>,
    /// How the auction ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ResultWord>,
    /// What was decided of the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<VerdictWord>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Verdict)]
#[allow(dead_code, reason = "it describes a part of `Told`")]
pub enum VerdictWord {
    /// The company is shown with the user's auctions.
    Approved,
    /// The user may apply again.
    Refused,
}

/// A page of notifications, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = NotificationPage)]
pub struct NotificationPageBody<'a> {
    /// The newest first.
    #[schema(value_type = Vec<NotificationBody>)]
    items: Vec<Told<'a>>,
    /// How many the caller has not read, up to 1,000.
    unread: i64,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// What the caller has read: some, or all up to one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReadNotifications, example = json!({"up_to": 42}))]
pub struct ReadBody {
    /// Up to 1,000; those that are not the caller's are left alone.
    ids: Option<Vec<i64>>,
    /// This one and all before it.
    up_to: Option<i64>,
}

/// How many are left.
#[derive(Serialize, ToSchema)]
#[schema(as = Unread)]
pub struct UnreadBody {
    /// How many the caller has not read, up to 1,000.
    unread: i64,
}

/// What the caller does not want to hear of.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NotificationPreferences,
    example = json!({"muted": ["lost"], "push_muted": ["highest_bid_changed", "extended"]}))]
pub struct PreferencesBody {
    /// Kinds that neither come to the inbox nor over the stream, and are not pushed.
    muted: Vec<KindWord>,
    /// Kinds that come to the inbox and are not pushed. At first `highest_bid_changed` and
    /// `extended`, which may come again and again; left out of a request, it stays as it is.
    push_muted: Option<Vec<KindWord>>,
}

impl PreferencesBody {
    fn sort(&mut self) {
        for kinds in [Some(&mut self.muted), self.push_muted.as_mut()].into_iter().flatten() {
            kinds.sort_by_key(|kind| kind.kind().word());
            kinds.dedup();
        }
    }
}

fn words(kinds: &[KindWord]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.kind().word()).collect()
}

/// Those of them that this version knows.
fn known(words: &[String]) -> Vec<KindWord> {
    words.iter().filter_map(|word| known_word(word)).collect()
}

fn known_word(word: &str) -> Option<KindWord> {
    serde_json::from_value(serde_json::Value::from(word)).ok()
}

fn preferences(muted: &Muted) -> PreferencesBody {
    let push_muted = muted.not_pushed.as_deref().map_or_else(
        || MUTED_BY_DEFAULT.iter().filter_map(|kind| known_word(kind.word())).collect(),
        known,
    );
    let mut preferences =
        PreferencesBody { muted: known(&muted.kinds), push_muted: Some(push_muted) };
    preferences.sort();
    preferences
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    unread: Option<bool>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// List the caller's notifications
///
/// The newest first; kept for 90 days unless the operator says otherwise.
#[utoipa::path(get, path = "/me/notifications", operation_id = "list_notifications", tag = "notifications",
    params(("unread" = Option<bool>, Query, description = "Only those that were not read, or only those that were"),
        ("limit" = Option<i64>, Query, description = "1 to 100, 20 by default", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before")),
    responses((status = 200, body = NotificationPageBody, description = "A page of notifications")))]
#[get("/me/notifications")]
pub async fn list_notifications(
    state: web::Data<State>,
    user: User,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let query: ListQuery = body::query(&request)?;
    let limit = body::limit(query.limit)?;
    let before = query.cursor.as_deref().map(|text| body::read_cursor(ORDER, text)).transpose()?;
    let before = before.map(|page| page.key);
    let user = user.0.user;
    let rows = state.store.notifications(user, query.unread, before, limit + 1).await?;
    let (rows, next_cursor) = body::page(rows, limit, |row: &NotificationRow| {
        body::write_cursor(ORDER, Page { key: row.id, id: AuctionId(Uuid::nil()) })
    });
    let unread = state.store.unread(user).await?;
    let items = rows.iter().map(Told::of).collect();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(NotificationPageBody { items, unread, next_cursor }))
}

/// Mark notifications as read
#[utoipa::path(post, path = "/me/notifications/read", operation_id = "read_notifications", tag = "notifications",
    request_body = ReadBody,
    responses((status = 200, body = UnreadBody, description = "Marked, now or before")))]
#[post("/me/notifications/read")]
pub async fn read_notifications(
    state: web::Data<State>,
    user: User,
    Json(read): Json<ReadBody>,
) -> Result<HttpResponse, Problem> {
    let read = match (read.ids, read.up_to) {
        (Some(ids), None) if ids.len() <= IDS_MAX => Read::Ids(ids),
        (Some(_), None) => {
            return Err(Problem::field("ids", format!("must be at most {IDS_MAX}")));
        }
        (None, Some(id)) => Read::UpTo(id),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Problem::field("ids", "must be there, or else up_to"));
        }
    };
    let user = user.0.user;
    state.store.mark_read(user, &read, wall_clock::now()).await?;
    let unread = state.store.unread(user).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(UnreadBody { unread }))
}

/// Read the caller's notification preferences
#[utoipa::path(get, path = "/me/notifications/preferences", operation_id = "get_notification_preferences",
    tag = "notifications", params(("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = PreferencesBody, description = "The preferences", headers(("ETag" = String))),
        (status = 304, description = "Not changed since")))]
#[get("/me/notifications/preferences")]
pub async fn get_notification_preferences(
    state: web::Data<State>,
    user: User,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let preferences = preferences(&state.store.muted(user.0.user).await?);
    Ok(body::personal(&request, body::tag_of(&preferences), &preferences))
}

/// Set the caller's notification preferences
///
/// Every kind that is not named is told, and pushed. With `If-Match`, only while they are as they
/// were read.
#[utoipa::path(put, path = "/me/notifications/preferences", operation_id = "set_notification_preferences",
    tag = "notifications", request_body = PreferencesBody,
    params(("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = PreferencesBody, description = "Set", headers(("ETag" = String)))))]
#[put("/me/notifications/preferences")]
pub async fn set_notification_preferences(
    state: web::Data<State>,
    user: User,
    request: HttpRequest,
    Json(mut wanted): Json<PreferencesBody>,
) -> Result<HttpResponse, Problem> {
    wanted.sort();
    let user = user.0.user;
    let read = match body::names_a_tag(&request) {
        true => Some(state.store.muted(user).await?),
        false => None,
    };
    if let Some(read) = &read
        && !body::is_meant(&request, &body::tag_of(&preferences(read)))
    {
        return Err(Code::PreconditionFailed.into());
    }
    let (muted, not_pushed) = (words(&wanted.muted), wanted.push_muted.as_deref().map(words));
    let set = state.store.mute(user, &muted, not_pushed.as_deref(), read.as_ref()).await?;
    let preferences = match set {
        Muting::Done(now) => preferences(&now),
        Muting::Changed => return Err(Code::PreconditionFailed.into()),
        Muting::NobodyThere => return Err(Code::TokenInvalid.into()),
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, body::tag_of(&preferences)))
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(preferences))
}
