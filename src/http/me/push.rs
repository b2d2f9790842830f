//! Pushes: the key that browsers subscribe for, and the caller's subscribed browsers.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    accounts::Wrong,
    domain::time::Timestamp,
    http::{
        State,
        kit::{
            body::{self, Json, PERSONAL},
            caller::User,
            context,
            problem::{Code, Language, Problem},
            words::{LanguageWord, word},
        },
    },
    notify::push::{WebPush, web_push::subscription},
    outgoing::Target,
    store::{NewPushSubscription, PushSubscriptionRow, Subscribed},
    wall_clock,
};

/// The order of the list, in its cursors.
const ORDER: &str = "push_subscriptions";
/// `Cache-Control` of the key: it stays the same, and where it does not, soon enough.
const KEY_KEPT: &str = "public, max-age=300";

/// By what push services know this exchange.
#[derive(Serialize, ToSchema)]
#[schema(as = PushKey, example = json!({
    "public_key": "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"
}))]
pub struct PushKeyBody {
    /// For `applicationServerKey`: a point on P-256, uncompressed, in base64url.
    public_key: String,
}

/// What `PushSubscription.toJSON()` gives, as it is. It is the browser's object and not ours: its
/// fields are in camel case, and those that a browser adds are left alone.
#[derive(Deserialize, ToSchema)]
#[schema(as = BrowserPushSubscription, example = json!({
    "endpoint": "https://push.example.com/wpush/v2/gAAAAABk",
    "expirationTime": null,
    "keys": {
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "auth": "BTBZMqHH6r4Tts7J_aSIgg"
    }
}))]
pub struct BrowserSubscriptionBody {
    /// `https`, to a public address. An exchange of one's own machine takes `http` to a loopback
    /// address as well.
    #[schema(max_length = 2048)]
    endpoint: String,
    /// Milliseconds since 1970-01-01T00:00:00Z; null where the browser knows of no end.
    #[serde(rename = "expirationTime")]
    #[schema(minimum = 0)]
    expiration_time: Option<i64>,
    /// What messages are encrypted for.
    keys: BrowserKeysBody,
}

/// What messages are encrypted for.
#[derive(Deserialize, ToSchema)]
#[schema(as = BrowserPushKeys)]
pub struct BrowserKeysBody {
    /// A point on P-256, uncompressed, in base64url.
    p256dh: String,
    /// 16 bytes in base64url.
    auth: String,
}

impl BrowserSubscriptionBody {
    fn checked(
        self,
        push: &WebPush,
        language: Language,
        now: Timestamp,
    ) -> Result<NewPushSubscription, Problem> {
        let mut wrong = Wrong::default();
        let endpoint = subscription::endpoint(push.sender(), &self.endpoint).map(Some);
        let endpoint: Option<Target> = wrong.take("endpoint", endpoint);
        let expires_at = self.expiration_time.map(Timestamp::from_millis);
        if expires_at.is_some_and(|at| at <= now) {
            wrong.take("expirationTime", Err::<(), _>("must lie ahead, or be null"));
        }
        let p256dh = subscription::p256dh(&self.keys.p256dh).map(|key| key.to_vec());
        let p256dh = wrong.take("keys.p256dh", p256dh);
        let auth = subscription::auth(&self.keys.auth).map(|secret| secret.to_vec());
        let auth = wrong.take("keys.auth", auth);
        wrong.none()?;
        let endpoint = endpoint.ok_or(Code::Internal)?;
        Ok(NewPushSubscription {
            id: Uuid::now_v7(),
            endpoint: endpoint.as_str().to_owned(),
            endpoint_hash: subscription::endpoint_hash(&endpoint),
            origin: endpoint.origin(),
            p256dh,
            auth,
            language: language.tag(),
            expires_at,
        })
    }
}

/// A browser of the caller's. Its endpoint and keys are never shown again.
#[derive(Serialize, ToSchema)]
#[schema(as = PushSubscription)]
pub struct PushSubscriptionBody {
    /// UUIDv7.
    id: Uuid,
    /// Whose push service it is: scheme, host and port of the endpoint.
    service: String,
    /// Of what is pushed, from `Accept-Language` when it was last shown.
    language: LanguageWord,
    /// When the browser says that it ends; null where it knows of no end.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// When it was first shown.
    #[schema(format = DateTime)]
    created_at: String,
    /// When the browser last showed it.
    #[schema(format = DateTime)]
    renewed_at: String,
}

impl From<PushSubscriptionRow> for PushSubscriptionBody {
    fn from(row: PushSubscriptionRow) -> PushSubscriptionBody {
        PushSubscriptionBody {
            id: row.id,
            service: row.origin,
            language: word(&row.language).unwrap_or(LanguageWord::En),
            expires_at: row.expires_at.map(|at| at.to_string()),
            created_at: row.created_at.to_string(),
            renewed_at: row.renewed_at.to_string(),
        }
    }
}

/// A page of subscriptions, the oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = PushSubscriptionPage)]
pub struct PushSubscriptionPageBody {
    /// The oldest first.
    items: Vec<PushSubscriptionBody>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A broadcaster has none, and does not come here.
fn channel(state: &State) -> Result<&WebPush, Problem> {
    state.push.as_ref().ok_or(Code::Unavailable.into())
}

/// Read the key that browsers subscribe for
///
/// The `applicationServerKey` of `pushManager.subscribe()`. A browser that subscribed for another
/// one must subscribe anew.
#[utoipa::path(get, path = "/push/key", operation_id = "get_push_key", tag = "notifications",
    responses((status = 200, body = PushKeyBody, description = "The key")))]
#[get("/push/key")]
pub async fn get_push_key(state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let public_key = channel(&state)?.vapid().public_text();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, KEY_KEPT))
        .json(PushKeyBody { public_key }))
}

/// List the caller's subscribed browsers
#[utoipa::path(get, path = "/me/push-subscriptions", operation_id = "list_push_subscriptions", tag = "notifications",
    params(("limit" = Option<i64>, Query, description = "1 to 100, 20 by default", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before")),
    responses((status = 200, body = PushSubscriptionPageBody, description = "A page of subscriptions")))]
#[get("/me/push-subscriptions")]
pub async fn list_push_subscriptions(
    state: web::Data<State>,
    user: User,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (limit, after) = body::id_page(&request, ORDER)?;
    let rows = state.store.push_subscriptions(user.0.user, after, limit + 1).await?;
    let (rows, next_cursor) = body::page(rows, limit, |row| body::write_id_cursor(ORDER, row.id));
    let items = rows.into_iter().map(PushSubscriptionBody::from).collect();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(PushSubscriptionPageBody { items, next_cursor }))
}

/// Subscribe a browser
///
/// Send what `PushSubscription.toJSON()` gives, at every start: it is kept once for each endpoint.
/// The language of what is pushed follows `Accept-Language`. Of more than ten browsers the one that
/// was not shown for longest gives way. A browser that somebody else used before comes over to the
/// caller, by its keys.
#[utoipa::path(post, path = "/me/push-subscriptions", operation_id = "create_push_subscription", tag = "notifications",
    request_body = BrowserSubscriptionBody,
    params(("Accept-Language" = Option<String>, Header, description = "Korean or English")),
    responses((status = 201, body = PushSubscriptionBody, description = "Kept"),
        (status = 200, body = PushSubscriptionBody, description = "Was there before, and is renewed")))]
#[post("/me/push-subscriptions")]
pub async fn create_push_subscription(
    state: web::Data<State>,
    user: User,
    request: HttpRequest,
    Json(new): Json<BrowserSubscriptionBody>,
) -> Result<HttpResponse, Problem> {
    let now = wall_clock::now();
    let new = new.checked(channel(&state)?, context::language(request.headers()), now)?;
    let (mut answer, row) = match state.store.subscribe_push(user.0.user, &new, now).await? {
        Subscribed::Done(row) => (HttpResponse::Created(), row),
        Subscribed::Before(row) => (HttpResponse::Ok(), row),
        Subscribed::Taken => return Err(Code::PushSubscriptionTaken.into()),
        Subscribed::NobodyThere => return Err(Code::TokenInvalid.into()),
    };
    let row = PushSubscriptionBody::from(row);
    Ok(answer.insert_header((header::CACHE_CONTROL, PERSONAL)).json(row))
}

/// Unsubscribe a browser
///
/// For logging out; what was on its way may still arrive.
#[utoipa::path(delete, path = "/me/push-subscriptions/{id}", operation_id = "delete_push_subscription",
    tag = "notifications", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Deleted")))]
#[delete("/me/push-subscriptions/{id}")]
pub async fn delete_push_subscription(
    state: web::Data<State>,
    user: User,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let is_gone = state.store.unsubscribe_push(user.0.user, body::id(&id)?).await?;
    if is_gone {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Code::PushSubscriptionNotFound.into())
    }
}
