//! Reading what a request brings: JSON bodies, ids, idempotency keys, `If-Match`, queries, cursors.

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest, HttpResponse,
    dev::Payload,
    http::header,
    web::{self, Bytes},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Visitor},
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    context::RequestId,
    problem::{Code, Problem},
    strict::Node,
};
use crate::{
    domain::{
        id::{self, AuctionId},
        money::Amount,
    },
    market::Version,
    store::Page,
};

/// Bodies over it are refused (API, "Conventions").
pub const BODY_BYTES_MAX: usize = 64 * 1_024;
/// Items on a page, at most.
pub const PAGE_MAX: i64 = 100;
/// Items on a page, unless the caller says otherwise.
pub const PAGE_DEFAULT: i64 = 20;

/// `Cache-Control` of what is personal: asked for again each time, and kept by nobody in between.
pub const PERSONAL: &str = "private, no-cache";

/// A JSON object whose fields are all known, each at most once.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = request.mime_type().ok().flatten().is_some_and(|mime| {
            mime.essence_str() == "application/json" || mime.suffix().is_some_and(|s| s == "json")
        });
        let bytes = Bytes::from_request(request, payload);
        Box::pin(async move {
            let bytes = bytes.await.map_err(|error| unreadable(&error))?;
            if !is_json {
                return Err(Code::UnsupportedMediaType.into());
            }
            parse(&bytes).map(Json)
        })
    }
}

fn unreadable(error: &actix_web::Error) -> Problem {
    if error.as_response_error().status_code() == 413 {
        return Code::BodyTooLarge.into();
    }
    Problem::found(Code::MalformedJson, "The body could not be read.")
}

/// Reads JSON to the letter; says where it goes wrong.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let node: Node = match serde_json::from_slice(bytes) {
        Ok(node) => node,
        Err(error) if error.is_data() || error.to_string().starts_with(OUT_OF_RANGE) => {
            // Once more, slowly, for the path to what is wrong.
            let reader = &mut serde_json::Deserializer::from_slice(bytes);
            let mut problem = wrong(serde_path_to_error::deserialize::<_, Node>(reader), &error);
            if is_in_negative_number(bytes, error.line(), error.column()) {
                for field in problem.errors.iter_mut().filter(|one| one.message == OUT_OF_RANGE) {
                    BELOW_RANGE.clone_into(&mut field.message);
                }
            }
            return Err(problem);
        }
        Err(error) => {
            let found = format!("Line {}, column {}.", error.line(), error.column());
            return Err(Problem::found(Code::MalformedJson, found));
        }
    };
    T::deserialize(node.clone())
        .map_err(|error| wrong(serde_path_to_error::deserialize::<_, T>(node), &error))
}

/// Which field is wrong, as it was found with its path.
fn wrong<T>(
    found: Result<T, serde_path_to_error::Error<serde_json::Error>>,
    error: &serde_json::Error,
) -> Problem {
    let (field, message) = match found {
        Ok(_) => (String::new(), error.to_string()),
        Err(error) => (error.path().to_string(), error.inner().to_string()),
    };
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    // The path ends at the object that lacks it.
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let field = match missing {
        Some(name) if field.is_empty() || field == "." => name.to_owned(),
        Some(name) => format!("{field}.{name}"),
        None => field,
    };
    Problem::field(field, message)
}

/// What `serde_json` says of a number beyond every float.
const OUT_OF_RANGE: &str = "number out of range";
/// What we say of one below every float.
const BELOW_RANGE: &str = "negative number out of range";

/// Whether the number in which reading stopped, before or at its end, has a minus.
fn is_in_negative_number(bytes: &[u8], line: usize, column: usize) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').nth(line.saturating_sub(1)).unwrap_or_default();
    let read = &line[..column.min(line.len())];
    let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    let number = read.iter().rposition(|byte| !is_of_number(byte)).map_or(0, |before| before + 1);
    read.get(number) == Some(&b'-')
}

impl Problem {
    /// Whether it is that this field holds a number above every float.
    pub fn is_out_of_range(&self, field: &str) -> bool {
        self.errors.iter().any(|error| error.field == field && error.message == OUT_OF_RANGE)
    }
}

/// Tells a field that is null from one that is left out.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// The largest integer that a JSON number of an offer is told apart by; what lies above is held at it.
const OFFERED_MAX: i64 = i64::MAX;

/// An amount that is offered, however large: what does not fit into 64 bits is still an offer, of more
/// than anybody may bid.
pub fn offered<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    struct Offered;

    impl Visitor<'_> for Offered {
        type Value = i64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an integer")
        }

        fn visit_i64<E>(self, value: i64) -> Result<i64, E> {
            Ok(value)
        }

        fn visit_u64<E>(self, value: u64) -> Result<i64, E> {
            Ok(i64::try_from(value).unwrap_or(OFFERED_MAX))
        }

        fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<i64, E> {
            // Digits that are too many for 64 bits come as the nearest float, which has no fraction.
            if value >= 2_f64.powi(63) {
                return Ok(OFFERED_MAX);
            }
            Err(E::invalid_type(serde::de::Unexpected::Float(value), &self))
        }
    }

    struct Wanted(i64);

    impl<'de> Deserialize<'de> for Wanted {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_i64(Offered).map(Wanted)
        }
    }

    let offered = Option::<Wanted>::deserialize(deserializer)?;
    Ok(offered.map(|offered| offered.0))
}

/// Any id in the path.
pub fn id(text: &str) -> Result<Uuid, Problem> {
    id::read(text).map_err(|_| Code::InvalidId.into())
}

/// An auction's id in the path.
pub fn auction_id(text: &str) -> Result<AuctionId, Problem> {
    id(text).map(AuctionId)
}

/// A positive amount in a field.
pub fn amount(field: &str, minor_units: i64) -> Result<Amount, Problem> {
    Amount::new(minor_units).map_err(|error| Problem::field(field, error.to_string()))
}

/// The `Idempotency-Key`, required or not.
pub struct IdempotencyKey(pub Option<String>);

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(idempotency_key(request).map(IdempotencyKey))
    }
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all("idempotency-key");
    let Some(value) = values.next() else { return Ok(None) };
    // Of two keys nobody can say which one a retry would come with.
    if values.next().is_some() {
        return Err(Code::IdempotencyKeyInvalid.into());
    }
    let key = value.to_str().map_err(|_| Problem::from(Code::IdempotencyKeyInvalid))?;
    let is_usable = (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    if is_usable { Ok(Some(key.to_owned())) } else { Err(Code::IdempotencyKeyInvalid.into()) }
}

/// For the fingerprint: an option as text, told apart from every number.
pub fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The request's id, for receipts.
pub fn request_id(request: &HttpRequest) -> Option<String> {
    request.extensions().get::<RequestId>().map(|id| id.0.to_string())
}

/// Which version the caller wants to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IfMatch(pub Version);

impl FromRequest for IfMatch {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let value = request.headers().get(header::IF_MATCH).map(|value| value.to_str());
        ready(match value {
            None => Err(Code::PreconditionRequired.into()),
            Some(Ok("*")) => Ok(IfMatch(Version::Any)),
            Some(tag) => {
                let seq = tag.ok().and_then(seq_of_tag);
                Ok(IfMatch(seq.map_or(Version::Stale, Version::Seq)))
            }
        })
    }
}

/// The sequence number in a strong entity tag of ours. What may follow after points says which
/// version of the seller and how many watchers were read along, and by whom, which no change of the
/// auction depends on.
pub fn seq_of_tag(tag: &str) -> Option<u64> {
    let tag = tag.trim().strip_prefix('"')?.strip_suffix('"')?;
    match tag.split_once('.') {
        None => tag.parse().ok(),
        Some((seq, rest)) if rest.split('.').all(|part| part.parse::<u64>().is_ok()) => {
            seq.parse().ok()
        }
        Some(_) => None,
    }
}

/// Whether `If-None-Match` names this tag.
pub fn is_known(request: &HttpRequest, tag: &str) -> bool {
    request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim() == "*" || known.trim().trim_start_matches("W/") == tag)
}

/// Whether there is an `If-Match` that not every version is right for.
pub fn names_a_tag(request: &HttpRequest) -> bool {
    let mut asked = request.headers().get_all(header::IF_MATCH).peekable();
    asked.peek().is_some() && asked.all(|value| value.as_bytes().trim_ascii() != b"*")
}

/// Whether `If-Match`, if it is there, names this tag.
pub fn is_meant(request: &HttpRequest, tag: &str) -> bool {
    let mut asked = request.headers().get_all(header::IF_MATCH).peekable();
    asked.peek().is_none()
        || asked
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|known| known.trim() == "*" || known.trim() == tag)
}

/// The tag of a body that has no version of its own.
pub fn tag_of<T: Serialize>(body: &T) -> String {
    let text = serde_json::to_string(body).unwrap_or_default();
    format!("\"{}\"", const_hex::encode(&Sha256::digest(text)[..8]))
}

/// Something personal, unless the caller has it already: no cache but the caller's own keeps it.
pub fn personal<T: Serialize>(request: &HttpRequest, tag: String, body: &T) -> HttpResponse {
    let is_known = is_known(request, &tag);
    let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((header::ETAG, tag));
    answer.insert_header((header::CACHE_CONTROL, PERSONAL));
    if is_known { answer.finish() } else { answer.json(body) }
}

/// A query, with unknown parameters refused.
pub fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    web::Query::<T>::from_query(request.query_string())
        .map(web::Query::into_inner)
        .map_err(|error| Problem::found(Code::InvalidQuery, format!("{}.", query_error(&error))))
}

fn query_error(error: &actix_web::error::QueryPayloadError) -> String {
    let text = error.to_string();
    text.rsplit("error: ").next().unwrap_or(&text).trim_end_matches('.').to_owned()
}

/// How many items a page may have.
pub fn limit(asked: Option<i64>) -> Result<i64, Problem> {
    match asked {
        None => Ok(PAGE_DEFAULT),
        Some(limit @ 1..=PAGE_MAX) => Ok(limit),
        Some(_) => {
            Err(Problem::found(Code::InvalidQuery, format!("limit must be 1 to {PAGE_MAX}.")))
        }
    }
}

/// Cuts what was read, one row more than `limit`, to a page; `last` is its last row if others follow.
pub fn page<T, L>(mut rows: Vec<T>, limit: i64, last: impl FnOnce(&T) -> L) -> (Vec<T>, Option<L>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| has_more).map(last);
    (rows, last)
}

/// Which page of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// 1 to [`PAGE_MAX`].
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Which page of a list in the order of its ids: up to how many rows, and after which one.
pub fn id_page(request: &HttpRequest, order: &str) -> Result<(i64, Option<Uuid>), Problem> {
    let query: PageQuery = query(request)?;
    let after = query.cursor.map(|text| read_id_cursor(order, &text));
    Ok((limit(query.limit)?, after.transpose()?))
}

/// A place in a list whose order is that of its ids.
pub fn write_id_cursor(order: &str, id: Uuid) -> String {
    write_cursor(order, Page { key: 0, id: AuctionId(id) })
}

/// A place in a list whose order is that of its ids, back from the caller.
pub fn read_id_cursor(order: &str, cursor: &str) -> Result<Uuid, Problem> {
    read_cursor(order, cursor).map(|page| page.id.0)
}

/// A place in a list, as the caller carries it: opaque, and tied to its order.
pub fn write_cursor(order: &str, page: Page) -> String {
    URL_SAFE_NO_PAD.encode(format!("{order}/{}/{}", page.key, page.id))
}

/// A place in a list, back from the caller.
pub fn read_cursor(order: &str, cursor: &str) -> Result<Page, Problem> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut parts = text.split('/');
        if parts.next()? != order {
            return None;
        }
        let page = Page { key: parts.next()?.parse().ok()?, id: parts.next()?.parse().ok()? };
        parts.next().is_none().then_some(page)
    };
    read().ok_or_else(|| Code::InvalidCursor.into())
}

/// A place in a list whose ids are texts without `/`.
pub fn write_text_cursor(order: &str, key: i64, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{order}/{key}/{id}"))
}

/// A place in a list whose ids are texts, back from the caller.
pub fn read_text_cursor(order: &str, cursor: &str) -> Result<(i64, String), Problem> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let mut parts = text.splitn(3, '/');
        let is_ours = parts.next()? == order && !text.contains('\0');
        let place = (parts.next()?.parse().ok()?, parts.next()?.to_owned());
        is_ours.then_some(place)
    };
    read().ok_or_else(|| Code::InvalidCursor.into())
}
