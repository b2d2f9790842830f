//! `/v1/clients/{id}/webhooks`: where registered clients are told of events, what was told, and how
//! it is told again. For those who look after the house.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::registered::{self, NO_STORE};
use crate::{
    domain::time::Timestamp,
    http::{
        State,
        kit::{
            body::{self, Json},
            caller::Admin,
            problem::{Code, Problem},
            words::{MessageTypeWord, word},
        },
    },
    store::{AttemptRow, DeliveryRow, WebhookAdded, WebhookRow, first_id_of},
    wall_clock,
    webhooks::{Details, OVERLAP_S, OVERLAP_S_MAX, message_id, signing::SigningSecret},
};

/// The order of the list of webhooks, in its cursors.
const ORDER: &str = "webhooks";
/// The order of the list of deliveries, and of replays.
const DELIVERIES_ORDER: &str = "webhook_deliveries";
/// Deliveries that one request has told again.
const REPLAYED_AT_ONCE_MAX: i64 = 1_000;

/// A webhook to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWebhook, example = json!({
    "url": "https://shop.example.com/hoga", "types": ["auction.*"], "description": "낙찰 처리"
}))]
pub struct NewWebhookBody {
    /// Where messages are posted to: `https` and a public host, port 443 or 1024 and above, without
    /// user name or fragment. A redirect is not followed. An exchange of one's own machine takes
    /// `http` to a loopback address as well.
    #[schema(max_length = 2048)]
    url: String,
    /// Which events: their types as in the log, a family such as `bid.*`, or `*` for all of them,
    /// which it is when left out.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 20)]
    types: Option<Vec<String>>,
    /// For people, on one line.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    description: Option<String>,
    /// Whether it is to be told nothing yet.
    #[serde(default)]
    disabled: bool,
}

/// Changes to a webhook: what is left out stays, null takes the description away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookChanges, example = json!({"types": ["*"], "disabled": false}))]
pub struct WebhookChangesBody {
    /// Where messages are posted to, under the same conditions.
    #[serde(default)]
    #[schema(max_length = 2048)]
    url: Option<String>,
    /// Which events.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 20)]
    types: Option<Vec<String>>,
    /// For people, on one line.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    description: Option<Option<String>>,
    /// `false` has a disabled webhook told again, and what waits for it at once.
    #[serde(default)]
    disabled: Option<bool>,
}

/// A webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookBody {
    /// UUIDv7.
    id: Uuid,
    /// Whose webhook it is.
    client_id: String,
    /// Where messages are posted to.
    url: String,
    /// Which events.
    types: Vec<String>,
    /// For people, on one line.
    description: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// Since when it is told nothing.
    #[schema(format = DateTime)]
    disabled_at: Option<String>,
    /// Why it is told nothing.
    disabled_because: Option<DisabledBecause>,
    /// Since when nothing has arrived.
    #[schema(format = DateTime)]
    failing_since: Option<String>,
    /// Events that were not kept for it, because 10,000 waited already. The logs of the auctions have
    /// them.
    #[schema(minimum = 0)]
    skipped: i64,
    /// When that was, last.
    #[schema(format = DateTime)]
    skipped_at: Option<String>,
    /// Until when messages are signed with the secret before as well.
    #[schema(format = DateTime)]
    old_secret_until: Option<String>,
    /// Only in the answer that makes it: it cannot be read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")]
    secret: Option<String>,
}

/// Why a webhook is told nothing.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = WebhookDisabledBecause)]
pub enum DisabledBecause {
    /// Somebody did it.
    Operator,
    /// It answered 410.
    Gone,
    /// Nothing arrived for five days.
    Failing,
}

/// A page of webhooks, the oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookPage)]
pub struct WebhookPageBody {
    /// The oldest first.
    items: Vec<WebhookBody>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// How a secret is to be replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookSecretRotation, example = json!({"overlap_s": 86400}))]
pub struct RotationBody {
    /// How long messages are signed with the old secret as well, in seconds: a day when left out; 0
    /// where somebody else may have it.
    #[serde(default)]
    #[schema(maximum = 604_800)]
    overlap_s: Option<u32>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = WebhookDeliveryStatus)]
pub enum DeliveryStatus {
    /// It will be tried, or tried again.
    Waiting,
    /// It was answered with 2xx.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryStatus {
    const ALL: [DeliveryStatus; 3] =
        [DeliveryStatus::Waiting, DeliveryStatus::Delivered, DeliveryStatus::Failed];

    const fn word(self) -> &'static str {
        match self {
            DeliveryStatus::Waiting => "waiting",
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Failed => "failed",
        }
    }
}

/// One event for one webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct DeliveryBody {
    /// UUIDv7.
    id: Uuid,
    /// The type of what is told.
    r#type: MessageTypeWord,
    /// What `webhook-id` says: the same at every attempt.
    message_id: String,
    /// None of a test.
    auction_id: Option<Uuid>,
    /// Its place in the auction's log; none of a test.
    #[schema(minimum = 1)]
    seq: Option<i64>,
    /// What became of it.
    status: DeliveryStatus,
    /// How many attempts were made.
    #[schema(minimum = 0)]
    attempts: i32,
    /// While it waits.
    #[schema(format = DateTime)]
    next_attempt_at: Option<String>,
    /// When it was noted.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it arrived or was given up.
    #[schema(format = DateTime)]
    done_at: Option<String>,
}

/// An attempt to deliver.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookAttempt)]
pub struct AttemptBody {
    /// From 1.
    #[schema(minimum = 1)]
    number: i32,
    /// When it began.
    #[schema(format = DateTime)]
    at: String,
    /// How long it took, in milliseconds.
    #[schema(minimum = 0)]
    took_ms: i32,
    /// Of the answer, where there was one.
    status: Option<i32>,
    /// Why it did not arrive. For people.
    error: Option<String>,
}

/// A delivery with its last fifty attempts, the first one first.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDeliveryAttempts)]
pub struct DeliveryAttemptsBody {
    /// The delivery.
    delivery: DeliveryBody,
    /// The first one first.
    attempts: Vec<AttemptBody>,
}

/// A page of deliveries, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDeliveryPage)]
pub struct DeliveryPageBody {
    /// The newest first.
    items: Vec<DeliveryBody>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// What is to be told again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookReplay, example = json!({"since": "2026-12-01T00:00:00.000Z", "delivered": false}))]
pub struct ReplayBody {
    /// What was noted from then on.
    #[schema(format = DateTime)]
    since: String,
    /// Whether what arrived is to be told again, too. What waits comes anyway.
    #[serde(default)]
    delivered: bool,
    /// `next_cursor` of the answer before.
    #[serde(default)]
    cursor: Option<String>,
}

/// What will be told again.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookReplayed)]
pub struct ReplayedBody {
    /// Deliveries; up to 1,000 for each request.
    #[schema(minimum = 0)]
    replayed: i64,
    /// To go on with; null when that was everything.
    next_cursor: Option<String>,
}

fn webhook_body(row: WebhookRow, secret: Option<&SigningSecret>) -> WebhookBody {
    let said = |at: Option<Timestamp>| at.map(|at| at.to_string());
    WebhookBody {
        id: row.id,
        client_id: row.client_id,
        url: row.url,
        types: row.types,
        description: row.description,
        created_at: row.created_at.to_string(),
        disabled_at: said(row.disabled_at),
        disabled_because: row.disabled_because.as_deref().and_then(|why| word(why).ok()),
        failing_since: said(row.failing_since),
        skipped: row.skipped,
        skipped_at: said(row.skipped_at),
        old_secret_until: said(row.old_secret_until.filter(|until| *until > wall_clock::now())),
        secret: secret.map(SigningSecret::shown),
    }
}

fn delivery_body(row: DeliveryRow) -> Result<DeliveryBody, Problem> {
    let is_now = |status: &&DeliveryStatus| status.word() == row.status;
    Ok(DeliveryBody {
        id: row.id,
        message_id: message_id(row.id, row.cause),
        r#type: word(&row.kind)?,
        auction_id: row.cause.map(|(auction, _)| auction.0),
        seq: row.cause.map(|(_, seq)| seq),
        status: DeliveryStatus::ALL.iter().find(is_now).copied().unwrap_or(DeliveryStatus::Failed),
        attempts: row.attempts_made,
        next_attempt_at: row.next_attempt_at.map(|at| at.to_string()),
        created_at: row.created_at.to_string(),
        done_at: row.done_at.map(|at| at.to_string()),
    })
}

fn attempt_body(row: AttemptRow) -> AttemptBody {
    let AttemptRow { number, at, took_ms, status, error } = row;
    AttemptBody { number, at: at.to_string(), took_ms, status, error }
}

/// A client's webhook, by what stands in the path.
async fn stored(state: &State, client: &str, id: &str) -> Result<WebhookRow, Problem> {
    registered::stored(state, client).await?;
    let row = state.store.webhook(client, body::id(id)?).await?;
    row.ok_or_else(|| Code::WebhookNotFound.into())
}

/// List the webhooks of a client
///
/// The oldest first, disabled ones too.
#[utoipa::path(get, path = "/clients/{id}/webhooks", operation_id = "list_webhooks", tag = "client webhooks",
    params(("id" = String, Path),
        ("limit" = Option<i64>, Query, description = "1 to 100, 20 by default", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before")),
    responses((status = 200, body = WebhookPageBody, description = "A page of webhooks")))]
#[get("/clients/{id}/webhooks")]
pub async fn list_webhooks(
    state: web::Data<State>,
    _admin: Admin,
    client: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (limit, after) = body::id_page(&request, ORDER)?;
    registered::stored(&state, &client).await?;
    let rows = state.store.webhooks(&client, after, limit + 1).await?;
    let (rows, next_cursor) = body::page(rows, limit, |row| body::write_id_cursor(ORDER, row.id));
    let items = rows.into_iter().map(|row| webhook_body(row, None)).collect();
    Ok(HttpResponse::Ok().json(WebhookPageBody { items, next_cursor }))
}

/// Make a webhook for a client
///
/// From now on, on other servers of the exchange within a second, every public event of these types
/// is posted there as `{"type", "timestamp", "data"}`, signed after the Standard Webhooks
/// specification. `data` is what the auction's stream carries. The secret is shown in this answer
/// alone. A client has up to 10.
#[utoipa::path(post, path = "/clients/{id}/webhooks", operation_id = "create_webhook", tag = "client webhooks",
    params(("id" = String, Path)),
    request_body = NewWebhookBody,
    responses((status = 201, body = WebhookBody, description = "Made", headers(("Location" = String)))))]
#[post("/clients/{id}/webhooks")]
pub async fn create_webhook(
    state: web::Data<State>,
    _admin: Admin,
    client: web::Path<String>,
    Json(new): Json<NewWebhookBody>,
) -> Result<HttpResponse, Problem> {
    registered::stored(&state, &client).await?;
    let details = Details {
        url: Some(new.url),
        description: Some(new.description),
        types: new.types,
        is_disabled: Some(new.disabled),
    };
    let made = details.webhook(&client, state.webhooks.sender(), wall_clock::now()).await;
    let (new, secret) = made.map_err(Problem::webhook)?;
    match state.store.add_webhook(&new).await? {
        WebhookAdded::Done => {}
        WebhookAdded::NoClient => return Err(Code::ClientNotFound.into()),
        WebhookAdded::Full => return Err(Code::TooManyWebhooks.into()),
    }
    state.webhooks.changed().await;
    tracing::info!(client = new.client_id, webhook_id = %new.id, "a webhook was made");
    let row = stored(&state, &client, &new.id.to_string()).await?;
    let location = format!("{}/v1/clients/{}/webhooks/{}", state.public_url(), *client, row.id);
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, location))
        .insert_header(NO_STORE)
        .json(webhook_body(row, Some(&secret))))
}

/// Read a webhook
#[utoipa::path(get, path = "/clients/{id}/webhooks/{webhook_id}", operation_id = "get_webhook",
    tag = "client webhooks", params(("id" = String, Path), ("webhook_id" = Uuid, Path)),
    responses((status = 200, body = WebhookBody, description = "The webhook")))]
#[get("/clients/{id}/webhooks/{webhook_id}")]
pub async fn get_webhook(
    state: web::Data<State>,
    _admin: Admin,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let row = stored(&state, &path.0, &path.1).await?;
    Ok(HttpResponse::Ok().json(webhook_body(row, None)))
}

/// Change a webhook
///
/// Counts at once, on other servers of the exchange within a second. One that is enabled again, or
/// goes elsewhere, begins anew: what waits for it is told at once.
#[utoipa::path(patch, path = "/clients/{id}/webhooks/{webhook_id}", operation_id = "update_webhook",
    tag = "client webhooks", params(("id" = String, Path), ("webhook_id" = Uuid, Path)),
    request_body = WebhookChangesBody,
    responses((status = 200, body = WebhookBody, description = "Changed")))]
#[patch("/clients/{id}/webhooks/{webhook_id}")]
pub async fn update_webhook(
    state: web::Data<State>,
    _admin: Admin,
    path: web::Path<(String, String)>,
    Json(asked): Json<WebhookChangesBody>,
) -> Result<HttpResponse, Problem> {
    let row = stored(&state, &path.0, &path.1).await?;
    let details = Details {
        url: asked.url,
        description: asked.description,
        types: asked.types,
        is_disabled: asked.disabled,
    };
    let changes = details.changes(state.webhooks.sender()).await.map_err(Problem::webhook)?;
    state.store.change_webhook(&row.client_id, row.id, &changes, wall_clock::now()).await?;
    state.webhooks.changed().await;
    tracing::info!(client = row.client_id, webhook_id = %row.id, "a webhook was changed");
    let row = stored(&state, &path.0, &path.1).await?;
    Ok(HttpResponse::Ok().json(webhook_body(row, None)))
}

/// Remove a webhook
///
/// It is told nothing more, and what was told to it is forgotten.
#[utoipa::path(delete, path = "/clients/{id}/webhooks/{webhook_id}", operation_id = "delete_webhook",
    tag = "client webhooks", params(("id" = String, Path), ("webhook_id" = Uuid, Path)),
    responses((status = 204, description = "Removed")))]
#[delete("/clients/{id}/webhooks/{webhook_id}")]
pub async fn delete_webhook(
    state: web::Data<State>,
    _admin: Admin,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let row = stored(&state, &path.0, &path.1).await?;
    state.store.remove_webhook(&row.client_id, row.id, wall_clock::now()).await?;
    state.webhooks.changed().await;
    tracing::info!(client = row.client_id, webhook_id = %row.id, "a webhook was removed");
    Ok(HttpResponse::NoContent().finish())
}

/// Give a webhook a new secret
///
/// Messages are signed with both for a while, so that the receiver can change over at leisure. The
/// new one is shown in this answer alone.
#[utoipa::path(post, path = "/clients/{id}/webhooks/{webhook_id}/secret",
    operation_id = "rotate_webhook_secret", tag = "client webhooks",
    params(("id" = String, Path), ("webhook_id" = Uuid, Path)),
    request_body = RotationBody,
    responses((status = 200, body = WebhookBody, description = "With its new secret")))]
#[post("/clients/{id}/webhooks/{webhook_id}/secret")]
pub async fn rotate_webhook_secret(
    state: web::Data<State>,
    _admin: Admin,
    path: web::Path<(String, String)>,
    Json(asked): Json<RotationBody>,
) -> Result<HttpResponse, Problem> {
    let row = stored(&state, &path.0, &path.1).await?;
    let overlap_s = asked.overlap_s.unwrap_or(OVERLAP_S);
    if overlap_s > OVERLAP_S_MAX {
        return Err(Problem::field("overlap_s", format!("must be 0 to {OVERLAP_S_MAX}")));
    }
    let secret = SigningSecret::random();
    let old_until = (overlap_s > 0).then(|| wall_clock::now().plus_s(i64::from(overlap_s)));
    let (client, id) = (&row.client_id, row.id);
    state.store.rotate_webhook_secret(client, id, secret.bytes(), old_until).await?;
    tracing::info!(client, webhook_id = %id, "a webhook has a new secret");
    let row = stored(&state, &path.0, &path.1).await?;
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(webhook_body(row, Some(&secret))))
}

/// Send a test to a webhook
///
/// A message of type `webhook.test`, signed like all others, whatever the webhook's types are. Read
/// the delivery to see what became of it. One that is disabled gets it once it is enabled.
#[utoipa::path(post, path = "/clients/{id}/webhooks/{webhook_id}/test", operation_id = "test_webhook",
    tag = "client webhooks", params(("id" = String, Path), ("webhook_id" = Uuid, Path)),
    responses((status = 202, body = DeliveryBody, description = "It will be sent")))]
#[post("/clients/{id}/webhooks/{webhook_id}/test")]
pub async fn test_webhook(
    state: web::Data<State>,
    _admin: Admin,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let row = stored(&state, &path.0, &path.1).await?;
    let noted = state.webhooks.test(row.id, wall_clock::now()).await?;
    let id = noted.ok_or(Code::WebhookNotFound)?;
    let (delivery, _) = found(&state, row.id, id).await?;
    Ok(HttpResponse::Accepted().json(delivery_body(delivery)?))
}

async fn found(
    state: &State,
    webhook: Uuid,
    id: Uuid,
) -> Result<(DeliveryRow, Vec<AttemptRow>), Problem> {
    let found = state.store.delivery(webhook, id).await?;
    found.ok_or_else(|| Code::WebhookDeliveryNotFound.into())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeliveriesQuery {
    limit: Option<i64>,
    cursor: Option<String>,
    status: Option<DeliveryStatus>,
}

/// List what was and is to be told to a webhook
///
/// The newest first; kept for 14 days unless the operator says otherwise.
#[utoipa::path(get, path = "/clients/{id}/webhooks/{webhook_id}/deliveries",
    operation_id = "list_webhook_deliveries", tag = "client webhooks",
    params(("id" = String, Path), ("webhook_id" = Uuid, Path),
        ("status" = Option<DeliveryStatus>, Query, description = "Only these"),
        ("limit" = Option<i64>, Query, description = "1 to 100, 20 by default", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before")),
    responses((status = 200, body = DeliveryPageBody, description = "A page of deliveries")))]
#[get("/clients/{id}/webhooks/{webhook_id}/deliveries")]
pub async fn list_webhook_deliveries(
    state: web::Data<State>,
    _admin: Admin,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let query: DeliveriesQuery = body::query(&request)?;
    let limit = body::limit(query.limit)?;
    let before =
        query.cursor.map(|text| body::read_id_cursor(DELIVERIES_ORDER, &text)).transpose()?;
    let webhook = stored(&state, &path.0, &path.1).await?;
    let status = query.status.map(DeliveryStatus::word);
    let rows = state.store.deliveries(webhook.id, status, before, limit + 1).await?;
    let (rows, next_cursor) =
        body::page(rows, limit, |row| body::write_id_cursor(DELIVERIES_ORDER, row.id));
    let items = rows.into_iter().map(delivery_body).collect::<Result<_, _>>()?;
    Ok(HttpResponse::Ok().json(DeliveryPageBody { items, next_cursor }))
}

/// Read a delivery, with its attempts
#[utoipa::path(get, path = "/clients/{id}/webhooks/{webhook_id}/deliveries/{delivery_id}",
    operation_id = "get_webhook_delivery", tag = "client webhooks",
    params(("id" = String, Path), ("webhook_id" = Uuid, Path), ("delivery_id" = Uuid, Path)),
    responses((status = 200, body = DeliveryAttemptsBody, description = "The delivery")))]
#[get("/clients/{id}/webhooks/{webhook_id}/deliveries/{delivery_id}")]
pub async fn get_webhook_delivery(
    state: web::Data<State>,
    _admin: Admin,
    path: web::Path<(String, String, String)>,
) -> Result<HttpResponse, Problem> {
    let webhook = stored(&state, &path.0, &path.1).await?;
    let (delivery, attempts) = found(&state, webhook.id, body::id(&path.2)?).await?;
    let attempts = attempts.into_iter().map(attempt_body).collect();
    let delivery = delivery_body(delivery)?;
    Ok(HttpResponse::Ok().json(DeliveryAttemptsBody { delivery, attempts }))
}

/// Tell one event again
///
/// At once, under the same `webhook-id`, and with all its attempts anew, whatever became of it.
#[utoipa::path(post, path = "/clients/{id}/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
    operation_id = "replay_webhook_delivery", tag = "client webhooks",
    params(("id" = String, Path), ("webhook_id" = Uuid, Path), ("delivery_id" = Uuid, Path)),
    responses((status = 202, body = DeliveryBody, description = "It will be sent")))]
#[post("/clients/{id}/webhooks/{webhook_id}/deliveries/{delivery_id}/replay")]
pub async fn replay_webhook_delivery(
    state: web::Data<State>,
    _admin: Admin,
    path: web::Path<(String, String, String)>,
) -> Result<HttpResponse, Problem> {
    let webhook = stored(&state, &path.0, &path.1).await?;
    let id = body::id(&path.2)?;
    state.store.replay_delivery(webhook.id, id, wall_clock::now()).await?;
    let (delivery, _) = found(&state, webhook.id, id).await?;
    state.webhooks.changed().await;
    Ok(HttpResponse::Accepted().json(delivery_body(delivery)?))
}

/// Tell many events again
///
/// What was given up since a time, or also what arrived: after the receiver lost what it had. Up to
/// 1,000 for each request, and while fewer than 5,000 wait; go on with `next_cursor`.
#[utoipa::path(post, path = "/clients/{id}/webhooks/{webhook_id}/replay", operation_id = "replay_webhook",
    tag = "client webhooks", params(("id" = String, Path), ("webhook_id" = Uuid, Path)),
    request_body = ReplayBody,
    responses((status = 202, body = ReplayedBody, description = "They will be sent")))]
#[post("/clients/{id}/webhooks/{webhook_id}/replay")]
pub async fn replay_webhook(
    state: web::Data<State>,
    _admin: Admin,
    path: web::Path<(String, String)>,
    Json(asked): Json<ReplayBody>,
) -> Result<HttpResponse, Problem> {
    let webhook = stored(&state, &path.0, &path.1).await?;
    let since = Timestamp::parse(&asked.since);
    let since = since.ok_or_else(|| Problem::field("since", "must be a time of RFC 3339"))?;
    let cursor = asked.cursor.map(|text| body::read_id_cursor(DELIVERIES_ORDER, &text));
    let after = cursor.transpose()?.unwrap_or_else(|| first_id_of(since));
    let (now, limit) = (wall_clock::now(), REPLAYED_AT_ONCE_MAX);
    let replayed =
        state.store.replay_deliveries(webhook.id, after, asked.delivered, now, limit).await?;
    state.webhooks.changed().await;
    let (client, count) = (webhook.client_id, replayed.count);
    tracing::info!(client, webhook_id = %webhook.id, count, "events are told again");
    let next_cursor = replayed.go_on_after.map(|id| body::write_id_cursor(DELIVERIES_ORDER, id));
    let replayed = count;
    Ok(HttpResponse::Accepted().json(ReplayedBody { replayed, next_cursor }))
}
