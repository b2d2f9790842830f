//! `/webhooks/kakao`: Kakao tells that somebody has unlinked our app.
//!
//! Answered as soon as it is noted durably; the work is done afterwards, by
//! [`crate::identity::kakao::Unlinks`]. Must never say whether we know whom it is about.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::header::AUTHORIZATION,
    post,
    web::{self, Bytes},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::State;
use crate::{
    http::kit::problem::{Code, Problem},
    wall_clock,
};

/// Kakao waits three seconds for an answer; a little earlier it hears that it should come again.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);
/// So long Kakao waits.
const KAKAO_WAITS: Duration = Duration::from_secs(3);
const _: () = assert!(ANSWER_TIMEOUT.as_millis() < KAKAO_WAITS.as_millis());
/// Characters of a referrer type.
const REFERRER_TYPE_CHARS_MAX: usize = 64;

/// What Kakao says. It may say more one day, so that unknown fields are let through here.
#[derive(Deserialize, ToSchema)]
#[schema(as = KakaoUnlinked)]
pub struct UnlinkedBody {
    /// The number of the app at Kakao.
    #[schema(example = 123_456)]
    app_id: i64,
    /// Kakao's id of the user.
    #[schema(example = 1_376_016_924)]
    user_id: i64,
    /// By which way, such as `UNLINK_FROM_APPS`.
    #[schema(example = "UNLINK_FROM_APPS")]
    referrer_type: Option<String>,
}

/// Hear that somebody has unlinked the app at Kakao
///
/// For Kakao alone: `Authorization: KakaoAK <admin key>`. Answered the same for people whom nobody
/// knows here. Afterwards their refresh tokens are revoked, their access tokens count no more, and
/// their account is linked to nobody at Kakao.
#[utoipa::path(post, path = "/webhooks/kakao", operation_id = "take_kakao_webhook", tag = "webhooks",
    request_body(content = UnlinkedBody, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "It is noted")))]
#[post("/webhooks/kakao")]
pub async fn take_kakao_webhook(
    state: web::Data<State>,
    request: HttpRequest,
    body: Bytes,
) -> Result<HttpResponse, Problem> {
    let said = std::str::from_utf8(&body).map_err(|_| Code::WebhookMalformed)?;
    note(&state, &request, said).await
}

/// Hear that somebody has unlinked the app at Kakao, by query
///
/// The same, for an app whose webhook is set to `GET`.
#[utoipa::path(get, path = "/webhooks/kakao", operation_id = "take_kakao_webhook_by_query", tag = "webhooks",
    params(("app_id" = i64, Query), ("user_id" = i64, Query),
        ("referrer_type" = Option<String>, Query, description = "Such as `UNLINK_FROM_APPS`")),
    responses((status = 200, description = "It is noted")))]
#[get("/webhooks/kakao")]
pub async fn take_kakao_webhook_by_query(
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    note(&state, &request, request.query_string()).await
}

async fn note(state: &State, request: &HttpRequest, said: &str) -> Result<HttpResponse, Problem> {
    let refused = || Problem::from(Code::WebhookRefused);
    let (kakao, unlinks) = state.kakao.as_ref().zip(state.unlinks.as_ref()).ok_or_else(refused)?;
    let authorization = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    if !authorization.is_some_and(|header| kakao.is_admin(header)) {
        return Err(refused());
    }
    let said = web::Query::<UnlinkedBody>::from_query(said).map_err(|_| Code::WebhookMalformed)?;
    if !kakao.is_app(said.app_id) {
        return Err(refused());
    }
    let referrer_type = said.referrer_type.as_deref().filter(|word| is_referrer_type(word));
    let noting = unlinks.note(said.user_id, referrer_type, wall_clock::now());
    let noted = tokio::time::timeout(ANSWER_TIMEOUT, noting).await;
    noted.map_err(|_| Code::Unavailable)??;
    Ok(HttpResponse::Ok().finish())
}

/// Kakao's words are in capitals; anything else is not kept.
fn is_referrer_type(word: &str) -> bool {
    word.len() <= REFERRER_TYPE_CHARS_MAX
        && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}
