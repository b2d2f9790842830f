//! `/v1/clients`: the registered frontends, for those who look after the house.

use actix_web::{
    HttpRequest, HttpResponse, delete, get,
    http::header::{self, HeaderValue},
    patch, post, web,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::time::Timestamp,
    http::{
        State,
        kit::{
            body::{self, Json, PageQuery},
            caller::Admin,
            problem::{Code, Problem},
        },
    },
    identity::clients::{Details, Registration, new_secret},
    store::{ClientChanges, ClientRow},
    wall_clock,
};

/// The order that cursors belong to.
const ORDER: &str = "clients";

/// A frontend to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewClient, example = json!({
    "name": "달항아리 상점", "redirect_uris": ["https://shop.example.com/callback"],
    "allowed_origins": ["https://shop.example.com"], "bids_per_second": 200
}))]
pub struct NewClientBody {
    /// For people, on one line.
    #[schema(min_length = 1, max_length = 80)]
    name: String,
    /// Whether it runs on a server, where a secret can be kept.
    #[serde(default)]
    confidential: bool,
    /// Where a login may return to, compared exactly: `https://…`, `http://` on this machine, or an
    /// app's own scheme such as `com.example.app:/callback`.
    #[serde(default)]
    #[schema(max_items = 20)]
    redirect_uris: Vec<String>,
    /// Whose pages may call from a browser, as browsers send them in `Origin`.
    #[serde(default)]
    #[schema(max_items = 20)]
    allowed_origins: Vec<String>,
    /// Of all its users together, besides their own budgets; left out or null: no such budget.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_second: Option<u32>,
    /// Bids, purchases and retractions of all its users together.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    bids_per_second: Option<u32>,
}

/// Changes to a client: what is left out stays, null takes a budget away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientChanges, example = json!({"allowed_origins": [], "bids_per_second": null}))]
pub struct ClientChangesBody {
    /// For people, on one line.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 80)]
    name: Option<String>,
    /// Where a login may return to, compared exactly.
    #[serde(default)]
    #[schema(max_items = 20)]
    redirect_uris: Option<Vec<String>>,
    /// Whose pages may call from a browser.
    #[serde(default)]
    #[schema(max_items = 20)]
    allowed_origins: Option<Vec<String>>,
    /// Of all its users together; null: no such budget.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    requests_per_second: Option<Option<u32>>,
    /// Bids, purchases and retractions of all its users together; null: no such budget.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    bids_per_second: Option<Option<u32>>,
    /// `false` lets a disabled client be used again.
    #[serde(default)]
    disabled: Option<bool>,
}

/// A registered frontend.
#[derive(Serialize, ToSchema)]
#[schema(as = Client)]
pub struct ClientBody {
    /// The publishable id, its `client_id`.
    #[schema(example = "hc_9Gm2qVTl0nQ3o7wZr5kXyA")]
    id: String,
    /// For people, on one line.
    name: String,
    /// Whether it has a secret.
    confidential: bool,
    /// Where a login may return to, compared exactly.
    redirect_uris: Vec<String>,
    /// Whose pages may call from a browser.
    allowed_origins: Vec<String>,
    /// Of all its users together; null: no such budget.
    #[schema(minimum = 1)]
    requests_per_second: Option<i32>,
    /// Bids, purchases and retractions of all its users together; null: no such budget.
    #[schema(minimum = 1)]
    bids_per_second: Option<i32>,
    /// When it was registered.
    #[schema(format = DateTime)]
    created_at: String,
    /// Since when nobody can log in through it and its tokens count no more.
    #[schema(format = DateTime)]
    disabled_at: Option<String>,
    /// Only in the answer that makes it: it is kept as a hash, and cannot be read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// A page of clients, the first registered first.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientPage)]
pub struct ClientPageBody {
    /// The first registered first.
    items: Vec<ClientBody>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

fn client_body(row: ClientRow, secret: Option<String>) -> ClientBody {
    ClientBody {
        id: row.id,
        name: row.name,
        confidential: row.secret_hash.is_some(),
        redirect_uris: row.redirect_uris,
        allowed_origins: row.allowed_origins,
        requests_per_second: row.requests_per_second,
        bids_per_second: row.bids_per_second,
        created_at: row.created_at.to_string(),
        disabled_at: row.disabled_at.map(|at| at.to_string()),
        secret,
    }
}

/// Of answers that hold a secret.
pub(super) const NO_STORE: (header::HeaderName, HeaderValue) =
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// List the registered frontends
///
/// The first registered first, disabled ones too.
#[utoipa::path(get, path = "/clients", operation_id = "list_clients", tag = "clients",
    params(("limit" = Option<i64>, Query, description = "1 to 100, 20 by default", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before")),
    responses((status = 200, body = ClientPageBody, description = "A page of clients")))]
#[get("/clients")]
pub async fn list_clients(
    state: web::Data<State>,
    _admin: Admin,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let query: PageQuery = body::query(&request)?;
    let limit = body::limit(query.limit)?;
    let after =
        query.cursor.as_deref().map(|text| body::read_text_cursor(ORDER, text)).transpose()?;
    let after = after.as_ref().map(|(at, id)| (Timestamp::from_millis(*at), id.as_str()));
    let rows = state.store.clients(after, limit + 1).await?;
    let (rows, next_cursor) = body::page(rows, limit, |row| {
        body::write_text_cursor(ORDER, row.created_at.as_millis(), &row.id)
    });
    let items = rows.into_iter().map(|row| client_body(row, None)).collect();
    Ok(HttpResponse::Ok().json(ClientPageBody { items, next_cursor }))
}

/// Register a frontend
///
/// One that runs on a server (`confidential`) gets a secret, which is shown in this answer alone.
#[utoipa::path(post, path = "/clients", operation_id = "create_client", tag = "clients",
    request_body = NewClientBody,
    responses((status = 201, body = ClientBody, description = "Registered", headers(("Location" = String)))))]
#[post("/clients")]
pub async fn create_client(
    state: web::Data<State>,
    _admin: Admin,
    Json(new): Json<NewClientBody>,
) -> Result<HttpResponse, Problem> {
    let details = Details {
        name: Some(new.name),
        redirect_uris: Some(new.redirect_uris),
        allowed_origins: Some(new.allowed_origins),
        requests_per_second: Some(new.requests_per_second),
        bids_per_second: Some(new.bids_per_second),
        disabled: None,
    };
    let made = Registration::new(details, new.confidential, wall_clock::now());
    let Registration { row, secret } = made.map_err(Problem::client)?;
    if !state.store.insert_client(&row).await? {
        return Err(Code::TooManyClients.into());
    }
    state.clients.refresh(&state.store).await?;
    tracing::info!(client = row.id, "a client was registered");
    let location = format!("{}/v1/clients/{}", state.public_url(), row.id);
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, location))
        .insert_header(NO_STORE)
        .json(client_body(row, secret)))
}

/// Read a registered frontend
#[utoipa::path(get, path = "/clients/{id}", operation_id = "get_client", tag = "clients",
    params(("id" = String, Path)),
    responses((status = 200, body = ClientBody, description = "The client")))]
#[get("/clients/{id}")]
pub async fn get_client(
    state: web::Data<State>,
    _admin: Admin,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let row = stored(&state, &id).await?;
    Ok(HttpResponse::Ok().json(client_body(row, None)))
}

/// A client, by what stands in the path.
pub(super) async fn stored(state: &State, id: &str) -> Result<ClientRow, Problem> {
    // Postgres takes no NUL.
    let is_possible = !id.contains('\0');
    let row = if is_possible { state.store.client(id).await? } else { None };
    row.ok_or_else(|| Code::ClientNotFound.into())
}

/// Change a registered frontend
///
/// Counts at once, on other servers of the exchange within seconds. One that is disabled loses its
/// origins, its tokens and its logins; enabled again, its users log in again.
#[utoipa::path(patch, path = "/clients/{id}", operation_id = "update_client", tag = "clients",
    params(("id" = String, Path)),
    request_body = ClientChangesBody,
    responses((status = 200, body = ClientBody, description = "Changed")))]
#[patch("/clients/{id}")]
pub async fn update_client(
    state: web::Data<State>,
    _admin: Admin,
    id: web::Path<String>,
    Json(asked): Json<ClientChangesBody>,
) -> Result<HttpResponse, Problem> {
    let details = Details {
        name: asked.name,
        redirect_uris: asked.redirect_uris,
        allowed_origins: asked.allowed_origins,
        requests_per_second: asked.requests_per_second,
        bids_per_second: asked.bids_per_second,
        disabled: asked.disabled,
    };
    let changes = details.changes(wall_clock::now()).map_err(Problem::client)?;
    change(&state, &id, &changes).await?;
    let row = stored(&state, &id).await?;
    Ok(HttpResponse::Ok().json(client_body(row, None)))
}

async fn change(state: &State, id: &str, changes: &ClientChanges) -> Result<(), Problem> {
    stored(state, id).await?;
    state.store.change_client(id, changes).await?;
    state.clients.refresh(&state.store).await?;
    state.webhooks.changed().await;
    tracing::info!(client = id, "a client was changed");
    Ok(())
}

/// Disable a registered frontend
///
/// From now on nobody logs in or refreshes through it, its tokens count no more, and its origins
/// may not call. It stays in the list, for what was done through it.
#[utoipa::path(delete, path = "/clients/{id}", operation_id = "delete_client", tag = "clients",
    params(("id" = String, Path)),
    responses((status = 204, description = "Disabled")))]
#[delete("/clients/{id}")]
pub async fn delete_client(
    state: web::Data<State>,
    _admin: Admin,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let disabled_at = Some(Some(wall_clock::now()));
    change(&state, &id, &ClientChanges { disabled_at, ..ClientChanges::default() }).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Give a server-side frontend a new secret
///
/// The old one stops at once, on other servers of the exchange within seconds. The new one is shown
/// in this answer alone.
#[utoipa::path(post, path = "/clients/{id}/secret", operation_id = "rotate_client_secret", tag = "clients",
    params(("id" = String, Path)),
    responses((status = 200, body = ClientBody, description = "With its new secret")))]
#[post("/clients/{id}/secret")]
pub async fn rotate_client_secret(
    state: web::Data<State>,
    _admin: Admin,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let row = stored(&state, &id).await?;
    let (secret, hash) = new_secret();
    if !state.store.set_client_secret(&id, &hash).await? {
        return Err(Code::ClientIsPublic.into());
    }
    state.clients.refresh(&state.store).await?;
    tracing::info!(client = row.id, "a client has a new secret");
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(client_body(row, Some(secret))))
}
