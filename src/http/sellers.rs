//! Seller applications: whoever wants to be shown as a company applies, and an admin decides.

use actix_web::{HttpRequest, HttpResponse, get, http::header, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use crate::{
    accounts::sellers::{self, CompanyDraft, SellerError, Verdict},
    domain::id::UserId,
    http::kit::{
        body::{self, Json, PERSONAL},
        caller::{Admin, User},
        problem::{Code, Problem},
    },
    store::{ApplicationRow, ApplicationStatus, Company},
    wall_clock,
};

/// The order of the list, in its cursors.
const ORDER: &str = "seller_applications";

/// As which company somebody sells, shown with every auction of theirs (E-commerce Act of Korea).
#[derive(Serialize, ToSchema)]
#[schema(as = Company, example = json!({
    "company_name": "소라네 골동품", "business_number": "1248100998", "representative": "김소라",
    "contact_email": "help@sora.example.com", "contact_phone": "+8221234567"
}))]
pub struct CompanyBody {
    /// As it is registered.
    company_name: String,
    /// The business registration number, ten digits.
    business_number: String,
    /// Who represents the company.
    representative: String,
    /// Where buyers write to.
    contact_email: String,
    /// E.164.
    contact_phone: String,
}

impl From<Company> for CompanyBody {
    fn from(company: Company) -> CompanyBody {
        CompanyBody {
            company_name: company.name,
            business_number: company.business_number,
            representative: company.representative,
            contact_email: company.contact_email,
            contact_phone: company.contact_phone,
        }
    }
}

/// As which company the caller wants to sell.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSellerApplication, example = json!({
    "company_name": "소라네 골동품", "business_number": "124-81-00998", "representative": "김소라",
    "contact_email": "help@sora.example.com", "contact_phone": "02-123-4567"
}))]
pub struct NewApplicationBody {
    /// As it is registered.
    #[schema(min_length = 1, max_length = 100)]
    company_name: String,
    /// The business registration number: ten digits, with hyphens or without. Its check digit must fit.
    #[schema(min_length = 10, max_length = 12)]
    business_number: String,
    /// Who represents the company.
    #[schema(min_length = 1, max_length = 50)]
    representative: String,
    /// Where buyers write to.
    #[schema(max_length = 254)]
    contact_email: String,
    /// A Korean number as it is usually written, or one of another country with its `+`.
    #[schema(min_length = 1, max_length = 32)]
    contact_phone: String,
}

impl NewApplicationBody {
    fn draft(&self) -> CompanyDraft<'_> {
        CompanyDraft {
            name: &self.company_name,
            business_number: &self.business_number,
            representative: &self.representative,
            contact_email: &self.contact_email,
            contact_phone: &self.contact_phone,
        }
    }
}

impl From<SellerError> for Problem {
    fn from(error: SellerError) -> Problem {
        match error {
            SellerError::NobodyThere => Code::TokenInvalid.into(),
            SellerError::Wrong(wrong) => wrong.into(),
            SellerError::Pending => Code::SellerApplicationPending.into(),
            SellerError::NotFound => Code::SellerApplicationNotFound.into(),
            SellerError::DecidedBefore => Code::SellerApplicationDecided.into(),
            SellerError::Store(error) => error.into(),
        }
    }
}

/// Where an application stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SellerApplicationStatus)]
pub enum ApplicationStatusWord {
    /// It waits to be decided.
    Pending,
    /// The company is shown with the user's auctions.
    Approved,
    /// It was not approved; the user may apply again.
    Refused,
    /// It was approved once, until newer details were.
    Replaced,
}

impl From<ApplicationStatus> for ApplicationStatusWord {
    fn from(status: ApplicationStatus) -> ApplicationStatusWord {
        match status {
            ApplicationStatus::Pending => ApplicationStatusWord::Pending,
            ApplicationStatus::Approved => ApplicationStatusWord::Approved,
            ApplicationStatus::Refused => ApplicationStatusWord::Refused,
            ApplicationStatus::Replaced => ApplicationStatusWord::Replaced,
        }
    }
}

impl From<ApplicationStatusWord> for ApplicationStatus {
    fn from(word: ApplicationStatusWord) -> ApplicationStatus {
        match word {
            ApplicationStatusWord::Pending => ApplicationStatus::Pending,
            ApplicationStatusWord::Approved => ApplicationStatus::Approved,
            ApplicationStatusWord::Refused => ApplicationStatus::Refused,
            ApplicationStatusWord::Replaced => ApplicationStatus::Replaced,
        }
    }
}

/// A seller application.
#[derive(Serialize, ToSchema)]
#[schema(as = SellerApplication)]
pub struct ApplicationBody {
    /// UUIDv7.
    id: Uuid,
    /// Who applied.
    user_id: Uuid,
    /// Where it stands.
    status: ApplicationStatusWord,
    /// As which company they want to sell.
    company: CompanyBody,
    /// Why it was refused.
    reason: Option<String>,
    /// When it was decided.
    #[schema(format = DateTime)]
    decided_at: Option<String>,
    /// When they applied.
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<ApplicationRow> for ApplicationBody {
    fn from(row: ApplicationRow) -> ApplicationBody {
        ApplicationBody {
            id: row.id,
            user_id: row.user.0,
            status: row.status.into(),
            company: row.company.into(),
            reason: row.reason,
            decided_at: row.decided_at.map(|at| at.to_string()),
            created_at: row.created_at.to_string(),
        }
    }
}

/// A page of seller applications, the oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = SellerApplicationPage)]
pub struct ApplicationPageBody {
    /// The oldest first.
    items: Vec<ApplicationBody>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Why an application is refused.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Refusal, example = json!({"reason": "사업자등록번호와 상호가 일치하지 않습니다"}))]
pub struct RefusalBody {
    /// The applicant reads it.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// Read the caller's seller application
///
/// The newest one.
#[utoipa::path(get, path = "/me/seller-application", operation_id = "get_seller_application", tag = "sellers",
    params(("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = ApplicationBody, description = "The application", headers(("ETag" = String))),
        (status = 304, description = "Not changed since")))]
#[get("/me/seller-application")]
pub async fn get_seller_application(
    state: web::Data<State>,
    user: User,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let row = state.store.newest_application(user.0.user).await?;
    let application = ApplicationBody::from(row.ok_or(Code::SellerApplicationNotFound)?);
    Ok(body::personal(&request, body::tag_of(&application), &application))
}

/// Apply as a seller
///
/// With the details that the law wants shown with what is sold. Once they are approved they are
/// shown with every auction of the caller's, and the caller has the role `seller` with the next
/// access token. Who was refused may apply again; who was approved applies again to change details.
#[utoipa::path(post, path = "/me/seller-application", operation_id = "create_seller_application", tag = "sellers",
    request_body = NewApplicationBody,
    responses((status = 201, body = ApplicationBody, description = "Waits to be decided",
        headers(("ETag" = String), ("Location" = String)))))]
#[post("/me/seller-application")]
pub async fn create_seller_application(
    state: web::Data<State>,
    user: User,
    Json(new): Json<NewApplicationBody>,
) -> Result<HttpResponse, Problem> {
    let row = sellers::apply(&state.store, user.0.user, &new.draft(), wall_clock::now()).await?;
    let application = ApplicationBody::from(row);
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, "/v1/me/seller-application"))
        .insert_header((header::ETAG, body::tag_of(&application)))
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(application))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    status: Option<ApplicationStatusWord>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// List seller applications
///
/// Of everybody, for admins; the oldest first.
#[utoipa::path(get, path = "/seller-applications", operation_id = "list_seller_applications", tag = "sellers",
    params(("status" = Option<ApplicationStatusWord>, Query),
        ("limit" = Option<i64>, Query, description = "1 to 100, 20 by default", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before")),
    responses((status = 200, body = ApplicationPageBody, description = "A page of applications")))]
#[get("/seller-applications")]
pub async fn list_seller_applications(
    state: web::Data<State>,
    _admin: Admin,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let query: ListQuery = body::query(&request)?;
    let limit = body::limit(query.limit)?;
    let after = query.cursor.map(|text| body::read_id_cursor(ORDER, &text)).transpose()?;
    let status = query.status.map(ApplicationStatus::from);
    let rows = state.store.applications(status, after, limit + 1).await?;
    let (rows, next_cursor) = body::page(rows, limit, |row| body::write_id_cursor(ORDER, row.id));
    let items = rows.into_iter().map(ApplicationBody::from).collect();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(ApplicationPageBody { items, next_cursor }))
}

/// Approve a seller application
///
/// The applicant gets the role `seller`, and the company is shown with their auctions from now on.
#[utoipa::path(post, path = "/seller-applications/{id}/approval", operation_id = "approve_seller_application",
    tag = "sellers", params(("id" = Uuid, Path)),
    responses((status = 200, body = ApplicationBody, description = "Approved")))]
#[post("/seller-applications/{id}/approval")]
pub async fn approve_seller_application(
    state: web::Data<State>,
    admin: Admin,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let answer = decide(&state, body::id(&id)?, Verdict::Approved, admin.0).await?;
    tracing::info!(admin_id = %admin.0, application_id = %id, "a seller application was approved");
    Ok(answer)
}

/// Refuse a seller application
///
/// The applicant reads the reason, and may apply again.
#[utoipa::path(post, path = "/seller-applications/{id}/refusal", operation_id = "refuse_seller_application",
    tag = "sellers", request_body = RefusalBody, params(("id" = Uuid, Path)),
    responses((status = 200, body = ApplicationBody, description = "Refused")))]
#[post("/seller-applications/{id}/refusal")]
pub async fn refuse_seller_application(
    state: web::Data<State>,
    admin: Admin,
    id: web::Path<String>,
    Json(refusal): Json<RefusalBody>,
) -> Result<HttpResponse, Problem> {
    let id = body::id(&id)?;
    let answer = decide(&state, id, Verdict::Refused(&refusal.reason), admin.0).await?;
    tracing::info!(admin_id = %admin.0, application_id = %id, "a seller application was refused");
    Ok(answer)
}

async fn decide(
    state: &State,
    id: Uuid,
    verdict: Verdict<'_>,
    by: UserId,
) -> Result<HttpResponse, Problem> {
    let row = sellers::decide(&state.store, id, verdict, by, wall_clock::now()).await?;
    state.personal.look();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(ApplicationBody::from(row)))
}
