//! `/v1/me/addresses`: where the caller's parcels go. Nobody else ever sees them here.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    http::{
        State,
        kit::{
            body::{self, Json, PERSONAL, Wrong, present},
            caller::User,
            problem::{Code, Problem},
        },
    },
    identity::{
        account::{self, Unfit},
        phone::Phone,
    },
    store::{AddressAdded, AddressRow, AddressText},
    wall_clock,
};

/// Characters in what an address is called.
const LABEL_CHARS_MAX: usize = 30;
/// Characters in a recipient's name.
const RECIPIENT_CHARS_MAX: usize = 50;
/// Characters in a line of an address.
const LINE_CHARS_MAX: usize = 200;
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

/// A text that may be missing.
fn optional(text: Option<&String>, chars_max: usize) -> Result<Option<String>, Unfit> {
    text.map(|text| account::line(text, chars_max)).transpose()
}

impl NewAddressBody {
    fn text(&self) -> Result<AddressText, Problem> {
        let mut wrong = Wrong::default();
        let phone = Phone::parse(&self.phone).map(|phone| phone.to_string());
        let text = AddressText {
            label: wrong.take("label", optional(self.label.as_ref(), LABEL_CHARS_MAX)),
            recipient: wrong.take("recipient", account::line(&self.recipient, RECIPIENT_CHARS_MAX)),
            phone: wrong.take("phone", phone),
            postal_code: wrong.take("postal_code", account::postal_code(&self.postal_code)),
            line1: wrong.take("line1", account::line(&self.line1, LINE_CHARS_MAX)),
            line2: wrong.take("line2", optional(self.line2.as_ref(), LINE_CHARS_MAX)),
        };
        wrong.none()?;
        Ok(text)
    }
}

impl AddressChangesBody {
    /// The whole address as it would be, to be checked like a new one; whether it becomes the default.
    fn applied_to(self, before: &AddressRow) -> Result<(AddressText, bool), Problem> {
        if self.is_default == Some(false) && before.is_default {
            return Err(Problem::field(
                "is_default",
                "must be true: make another address the default instead",
            ));
        }
        let text = before.text.clone();
        let becomes_default = self.is_default == Some(true);
        let whole = NewAddressBody {
            label: self.label.unwrap_or(text.label),
            recipient: self.recipient.unwrap_or(text.recipient),
            phone: self.phone.unwrap_or(text.phone),
            postal_code: self.postal_code.unwrap_or(text.postal_code),
            line1: self.line1.unwrap_or(text.line1),
            line2: self.line2.unwrap_or(text.line2),
            is_default: becomes_default,
        };
        Ok((whole.text()?, becomes_default))
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
    let row = AddressRow {
        id: Uuid::now_v7(),
        text: new.text()?,
        is_default: new.is_default,
        created_at: wall_clock::now(),
    };
    let row = match state.store.add_address(user.0.user, row).await? {
        AddressAdded::Done(row) => *row,
        AddressAdded::TooMany => return Err(Code::AddressLimitReached.into()),
        AddressAdded::NoUser => return Err(Code::TokenInvalid.into()),
    };
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
    let change = |before: &AddressRow| {
        body::unless_stale(&request, &body::tag_of(&AddressBody::from(before.clone())))?;
        changes.applied_to(before)
    };
    let row = state.store.update_address(user.0.user, body::id(&id)?, change).await?;
    let address = AddressBody::from(row.ok_or_else(|| Problem::from(Code::AddressNotFound))?);
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
    if state.store.delete_address(user.0.user, body::id(&id)?).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Code::AddressNotFound.into())
    }
}
