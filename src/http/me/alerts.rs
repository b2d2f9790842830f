//! Alerts: what the caller wants to hear of when it is listed.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    accounts::alerts::{self, Added, AlertError},
    http::{
        State,
        kit::{
            body::{self, Json, PERSONAL},
            caller::User,
            problem::{Code, Problem},
        },
    },
    store::AlertRow,
    wall_clock,
};

/// The order of the list, in its cursors.
const ORDER: &str = "keyword_alerts";

/// What the caller wants to hear of: a part of the title, a category, or both together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKeywordAlert, example = json!({"keyword": "달항아리"}))]
pub struct NewAlertBody {
    /// In upper or lower case.
    #[schema(min_length = 2, max_length = 20)]
    keyword: Option<String>,
    /// The category's slug.
    #[schema(min_length = 1, max_length = 50)]
    category: Option<String>,
}

/// An alert.
#[derive(Serialize, ToSchema)]
#[schema(as = KeywordAlert)]
pub struct AlertBody {
    /// UUIDv7.
    id: Uuid,
    /// In lower case.
    keyword: Option<String>,
    /// The category's slug.
    category: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<AlertRow> for AlertBody {
    fn from(row: AlertRow) -> AlertBody {
        let said = |text: String| (!text.is_empty()).then_some(text);
        AlertBody {
            id: row.id,
            keyword: said(row.keyword),
            category: said(row.category),
            created_at: row.created_at.to_string(),
        }
    }
}

impl From<AlertError> for Problem {
    fn from(error: AlertError) -> Problem {
        match error {
            AlertError::NobodyThere => Code::TokenInvalid.into(),
            AlertError::Full => Code::KeywordAlertLimitReached.into(),
            AlertError::Wrong(wrong) => vec![wrong].into(),
            AlertError::Store(error) => error.into(),
        }
    }
}

/// A page of alerts, the oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = KeywordAlertPage)]
pub struct AlertPageBody {
    /// The oldest first.
    items: Vec<AlertBody>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// List the caller's alerts
#[utoipa::path(get, path = "/me/keyword-alerts", operation_id = "list_keyword_alerts", tag = "notifications",
    params(("limit" = Option<i64>, Query, description = "1 to 100, 20 by default", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before")),
    responses((status = 200, body = AlertPageBody, description = "A page of alerts")))]
#[get("/me/keyword-alerts")]
pub async fn list_keyword_alerts(
    state: web::Data<State>,
    user: User,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (limit, after) = body::id_page(&request, ORDER)?;
    let rows = state.store.alerts(user.0.user, after, limit + 1).await?;
    let (rows, next_cursor) = body::page(rows, limit, |row| body::write_id_cursor(ORDER, row.id));
    let items = rows.into_iter().map(AlertBody::from).collect();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(AlertPageBody { items, next_cursor }))
}

/// Ask to be told when something is listed
///
/// Whose title has the keyword in it, in the category, or both. Up to 50; the same one twice is one.
#[utoipa::path(post, path = "/me/keyword-alerts", operation_id = "create_keyword_alert", tag = "notifications",
    request_body = NewAlertBody,
    responses((status = 201, body = AlertBody, description = "Kept"),
        (status = 200, body = AlertBody, description = "Was there before")))]
#[post("/me/keyword-alerts")]
pub async fn create_keyword_alert(
    state: web::Data<State>,
    user: User,
    Json(new): Json<NewAlertBody>,
) -> Result<HttpResponse, Problem> {
    let (keyword, now) = (new.keyword.as_deref(), wall_clock::now());
    let added = alerts::add(&state.store, user.0.user, keyword, new.category, now).await?;
    let (mut answer, row) = match added {
        Added::Done(row) => (HttpResponse::Created(), row),
        Added::Before(row) => (HttpResponse::Ok(), row),
    };
    Ok(answer.insert_header((header::CACHE_CONTROL, PERSONAL)).json(AlertBody::from(row)))
}

/// Delete an alert
#[utoipa::path(delete, path = "/me/keyword-alerts/{id}", operation_id = "delete_keyword_alert",
    tag = "notifications", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Deleted")))]
#[delete("/me/keyword-alerts/{id}")]
pub async fn delete_keyword_alert(
    state: web::Data<State>,
    user: User,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let is_gone = state.store.delete_alert(user.0.user, body::id(&id)?).await?;
    if is_gone {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Code::KeywordAlertNotFound.into())
    }
}
