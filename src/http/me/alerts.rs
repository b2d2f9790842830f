//! Alerts: what the caller wants to hear of when it is listed.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    domain::text::is_visible_line,
    http::{
        State,
        kit::{
            body::{self, Json, PERSONAL},
            caller::User,
            problem::{Code, Problem},
        },
    },
    notify::{KEYWORD_CHARS_MAX, KEYWORD_CHARS_MIN, folded},
    store::{AlertAdded, AlertRow},
    wall_clock,
};

/// Characters in a category.
const CATEGORY_CHARS_MAX: usize = 50;
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

impl NewAlertBody {
    fn row(self) -> Result<AlertRow, Problem> {
        let keyword = self.keyword.as_deref().map(folded);
        let is_usable = |text: &String, least, most| {
            (least..=most).contains(&text.chars().count()) && is_visible_line(text)
        };
        if keyword.as_ref().is_some_and(|k| !is_usable(k, KEYWORD_CHARS_MIN, KEYWORD_CHARS_MAX)) {
            let message =
                format!("must have {KEYWORD_CHARS_MIN} to {KEYWORD_CHARS_MAX} characters");
            return Err(Problem::field("keyword", message));
        }
        if self.category.as_ref().is_some_and(|c| !is_usable(c, 1, CATEGORY_CHARS_MAX)) {
            let message = format!("must have 1 to {CATEGORY_CHARS_MAX} characters");
            return Err(Problem::field("category", message));
        }
        if keyword.is_none() && self.category.is_none() {
            return Err(Problem::field("keyword", "must be there, or else category"));
        }
        Ok(AlertRow {
            id: Uuid::now_v7(),
            keyword: keyword.unwrap_or_default(),
            category: self.category.unwrap_or_default(),
            created_at: wall_clock::now(),
        })
    }
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
    let (mut answer, row) = match state.store.add_alert(user.0.user, new.row()?).await? {
        AlertAdded::Done(row) => (HttpResponse::Created(), row),
        AlertAdded::Before(row) => (HttpResponse::Ok(), row),
        AlertAdded::Full => return Err(Code::KeywordAlertLimitReached.into()),
        AlertAdded::NobodyThere => return Err(Code::TokenInvalid.into()),
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
