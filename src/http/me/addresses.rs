//! `/v1/me/addresses`: where the caller's parcels go. Nobody else ever sees them here.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    accounts::addresses::{self, AddressError, Changes},
    http::{
        State,
        kit::{
            body::{self, Json, PERSONAL, present},
            caller::User,
            problem::{Code, Problem},
        },
    },
    store::{AddressRow, AddressText},
    wall_clock,
};

/// The order of the list, in its cursors.
const ORDER: &str = "addresses";

/// An address to keep.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAddress, example = json!({
    "label": "집", "recipient": "김민지", "phone": "010-1234-5678", "postal_code": "04524",
    "line1": "서울특별시 중구 세종대로 110", "line2": "101동 1001호", "is_default": true
}))]
pub struct NewAddressBody {
    /// What the caller calls it.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 30)]
    label: Option<String>,
    /// Who takes the parcel.
    #[schema(min_length = 1, max_length = 50)]
    recipient: String,
    /// A Korean number as it is usually written, or one of another country with its `+`.
    #[schema(min_length = 1, max_length = 32)]
    phone: String,
    /// Five digits.
    #[schema(pattern = "^[0-9]{5}$")]
    postal_code: String,
    /// Road and number.
    #[schema(min_length = 1, max_length = 200)]
    line1: String,
    /// Building, floor, door.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    line2: Option<String>,
    /// Makes it the default instead of the one that is; the first address is the default anyway.
    #[serde(default)]
    is_default: bool,
}

/// Changes to an address: what is left out stays, null takes away.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = AddressChanges, example = json!({"line2": null, "is_default": true}))]
pub struct AddressChangesBody {
    /// What the caller calls it.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 30)]
    label: Option<Option<String>>,
    /// Who takes the parcel.
    #[schema(min_length = 1, max_length = 50)]
    recipient: Option<String>,
    /// A Korean number as it is usually written, or one of another country with its `+`.
    #[schema(min_length = 1, max_length = 32)]
    phone: Option<String>,
    /// Five digits.
    #[schema(pattern = "^[0-9]{5}$")]
    postal_code: Option<String>,
    /// Road and number.
    #[schema(min_length = 1, max_length = 200)]
    line1: Option<String>,
    /// Building, floor, door.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    line2: Option<Option<String>>,
    /// True moves the default here. The default itself cannot be told to be none.
    is_default: Option<bool>,
}

/// An address of the caller.
#[derive(Serialize, ToSchema)]
#[schema(as = Address)]
pub struct AddressBody {
    /// UUIDv7.
    id: Uuid,
    /// What the caller calls it.
    label: Option<String>,
    /// Who takes the parcel.
    recipient: String,
    /// E.164.
    #[schema(example = "+821012345678")]
    phone: String,
    /// Five digits.
    postal_code: String,
    /// Road and number.
    line1: String,
    /// Building, floor, door.
    line2: Option<String>,
    /// Of one address, whenever there is any.
    is_default: bool,
    /// When it was first kept.
    #[schema(format = DateTime)]
    created_at: String,
}

/// A page of addresses, the oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = AddressPage)]
pub struct AddressPageBody {
    /// The oldest first.
    items: Vec<AddressBody>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

impl From<AddressRow> for AddressBody {
    fn from(row: AddressRow) -> AddressBody {
        let AddressText { label, recipient, phone, postal_code, line1, line2 } = row.text;
        AddressBody {
            id: row.id,
            label,
            recipient,
            phone,
            postal_code,
            line1,
            line2,
            is_default: row.is_default,
            created_at: row.created_at.to_string(),
        }
    }
}

impl NewAddressBody {
    fn draft(self) -> AddressText {
        let NewAddressBody { label, recipient, phone, postal_code, line1, line2, .. } = self;
        AddressText { label, recipient, phone, postal_code, line1, line2 }
    }
}

impl From<AddressChangesBody> for Changes {
    fn from(body: AddressChangesBody) -> Changes {
        let AddressChangesBody { label, recipient, phone, postal_code, line1, line2, is_default } =
            body;
        Changes { label, recipient, phone, postal_code, line1, line2, is_default }
    }
}

impl From<AddressError> for Problem {
    fn from(error: AddressError) -> Problem {
        match error {
            AddressError::NobodyThere => Code::TokenInvalid.into(),
            AddressError::NotFound => Code::AddressNotFound.into(),
            AddressError::TooMany => Code::AddressLimitReached.into(),
            AddressError::Stale => Code::PreconditionFailed.into(),
            AddressError::Wrong(wrong) => wrong.into(),
            AddressError::Store(error) => error.into(),
        }
    }
}

/// List the caller's addresses
#[utoipa::path(get, path = "/me/addresses", operation_id = "list_addresses", tag = "me",
    params(("limit" = Option<i64>, Query, description = "1 to 100, 20 by default", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before")),
    responses((status = 200, body = AddressPageBody, description = "A page of addresses")))]
#[get("/me/addresses")]
pub async fn list_addresses(
    state: web::Data<State>,
    user: User,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (limit, after) = body::id_page(&request, ORDER)?;
    let rows = state.store.addresses(user.0.user, after, limit + 1).await?;
    let (rows, next_cursor) = body::page(rows, limit, |row| body::write_id_cursor(ORDER, row.id));
    let items = rows.into_iter().map(AddressBody::from).collect();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(AddressPageBody { items, next_cursor }))
}

/// Add an address
///
/// The first one is the default. Twenty at most.
#[utoipa::path(post, path = "/me/addresses", operation_id = "create_address", tag = "me",
    request_body = NewAddressBody,
    responses((status = 201, body = AddressBody, description = "Kept",
        headers(("ETag" = String), ("Location" = String)))))]
#[post("/me/addresses")]
pub async fn create_address(
    state: web::Data<State>,
    user: User,
    Json(new): Json<NewAddressBody>,
) -> Result<HttpResponse, Problem> {
    let (user, is_default) = (user.0.user, new.is_default);
    let draft = new.draft();
    let row = addresses::add(&state.store, user, &draft, is_default, wall_clock::now()).await?;
    let location = format!("/v1/me/addresses/{}", row.id);
    let address = AddressBody::from(row);
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, location))
        .insert_header((header::ETAG, body::tag_of(&address)))
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(address))
}

/// Read one of the caller's addresses
#[utoipa::path(get, path = "/me/addresses/{id}", operation_id = "get_address", tag = "me",
    params(("id" = Uuid, Path), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = AddressBody, description = "The address", headers(("ETag" = String))),
        (status = 304, description = "Not changed since")))]
#[get("/me/addresses/{id}")]
pub async fn get_address(
    state: web::Data<State>,
    user: User,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let row = state.store.address(user.0.user, body::id(&id)?).await?;
    let address = AddressBody::from(row.ok_or(Code::AddressNotFound)?);
    Ok(body::personal(&request, body::tag_of(&address), &address))
}

/// Change one of the caller's addresses
///
/// `is_default: true` moves the default here.
#[utoipa::path(patch, path = "/me/addresses/{id}", operation_id = "update_address", tag = "me",
    request_body = AddressChangesBody,
    params(("id" = Uuid, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = AddressBody, description = "Changed", headers(("ETag" = String)))))]
#[patch("/me/addresses/{id}")]
pub async fn update_address(
    state: web::Data<State>,
    user: User,
    id: web::Path<String>,
    request: HttpRequest,
    Json(changes): Json<AddressChangesBody>,
) -> Result<HttpResponse, Problem> {
    let is_meant = |before: &AddressRow| {
        body::is_meant(&request, &body::tag_of(&AddressBody::from(before.clone())))
    };
    let (user, id) = (user.0.user, body::id(&id)?);
    let row = addresses::change(&state.store, user, id, changes.into(), is_meant).await?;
    let address = AddressBody::from(row);
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, body::tag_of(&address)))
        .insert_header((header::CACHE_CONTROL, PERSONAL))
        .json(address))
}

/// Delete one of the caller's addresses
///
/// The oldest of those that are left takes the default over.
#[utoipa::path(delete, path = "/me/addresses/{id}", operation_id = "delete_address", tag = "me",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Deleted")))]
#[delete("/me/addresses/{id}")]
pub async fn delete_address(
    state: web::Data<State>,
    user: User,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    addresses::delete(&state.store, user.0.user, body::id(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}
