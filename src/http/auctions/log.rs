//! `/v1/auctions/{id}/log`: the public log, which anybody can recompute.

use actix_web::{HttpRequest, HttpResponse, get, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    domain::id::AuctionId,
    http::{
        State,
        kit::{
            body,
            problem::{Code, Problem},
        },
    },
    log::hash::Hash,
    store::LogRow,
    wall_clock,
};

/// Entries on a page.
pub const ENTRIES_MAX: i64 = 1_000;
/// Bytes of public halves on a page, but for the entry that reaches them.
pub const BYTES_MAX: i64 = 1 << 20;

/// One entry: `hash` is the SHA-256 of the RFC 8785 canonical JSON of
/// `{"auction_id", "seq", "type", "at", "data", "prev_hash"}`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogEntry)]
pub struct EntryBody {
    /// From 1, without gaps.
    seq: i64,
    /// Such as `bid.placed`.
    r#type: String,
    /// When it was decided.
    #[schema(format = DateTime)]
    at: String,
    /// The public half of the event, exactly as it was hashed.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// Of the entry before; 64 zeros before the first.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    prev_hash: Hash,
    /// Of this entry.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    hash: Hash,
}

/// A part of a log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogPage)]
pub struct LogPageBody {
    /// Whose log; part of what is hashed.
    auction_id: Uuid,
    /// In order.
    items: Vec<EntryBody>,
    /// For the next part; null at the end.
    next_after_seq: Option<i64>,
}

/// The end of a log, signed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogCheckpoint)]
pub struct CheckpointBody {
    /// Whose log.
    auction_id: Uuid,
    /// How many entries.
    count: i64,
    /// Of the last one.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    head_hash: Hash,
    /// The key in `/.well-known/jwks.json` that signed.
    kid: String,
    /// Ed25519 over the canonical JSON of `{"auction_id", "count", "head_hash"}`, base64url.
    signature: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    after_seq: Option<i64>,
    limit: Option<i64>,
}

fn entry(row: LogRow) -> Result<EntryBody, Problem> {
    let damaged = || Problem::from(Code::Internal);
    let prev_hash = match row.prev_hash {
        None => Hash::ZERO,
        Some(bytes) => Hash::from_slice(&bytes).ok_or_else(damaged)?,
    };
    Ok(EntryBody {
        seq: row.seq,
        r#type: row.kind,
        at: row.at.to_string(),
        data: RawValue::from_string(row.data).map_err(|_| damaged())?,
        prev_hash,
        hash: Hash::from_slice(&row.hash).ok_or_else(damaged)?,
    })
}

/// Read the log of an auction
///
/// Public, in order, complete: every event that was decided, with the hash chain. A page ends after
/// `limit` entries or about 1 MiB, whichever comes first; `next_after_seq` says where to go on.
#[utoipa::path(get, path = "/auctions/{id}/log", operation_id = "get_log", tag = "log",
    params(("id" = Uuid, Path),
        ("after_seq" = Option<i64>, Query, description = "Only entries after it", minimum = 0),
        ("limit" = Option<i64>, Query, description = "1 to 1000, 1000 by default", minimum = 1, maximum = 1000)),
    responses((status = 200, body = LogPageBody, description = "A part of the log")))]
#[get("/auctions/{id}/log")]
pub async fn get_log(
    state: web::Data<State>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let query: LogQuery = body::query(&request)?;
    let after_seq = query.after_seq.unwrap_or(0);
    let limit = query.limit.unwrap_or(ENTRIES_MAX);
    if after_seq < 0 || !(1..=ENTRIES_MAX).contains(&limit) {
        let found = format!("after_seq must be 0 or more, limit 1 to {ENTRIES_MAX}.");
        return Err(Problem::found(Code::InvalidQuery, found));
    }
    let share = state.lists.take(&state.limits, &request).await?;
    let page = state.store.of_lists().log_after(id, after_seq, limit, BYTES_MAX).await?;
    drop(share);
    if page.rows.is_empty() && state.store.log_head(id).await?.is_none() {
        return Err(Code::AuctionNotFound.into());
    }
    let next_after_seq = page.rows.last().filter(|_| page.has_more).map(|row| row.seq);
    let items = page.rows.into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok(HttpResponse::Ok().json(LogPageBody { auction_id: id.0, items, next_after_seq }))
}

/// What a checkpoint's signature is over.
pub fn checkpoint_message(id: AuctionId, count: i64, head_hash: Hash) -> String {
    format!("{{\"auction_id\":\"{id}\",\"count\":{count},\"head_hash\":\"{head_hash}\"}}")
}

/// Read the signed end of a log
#[utoipa::path(get, path = "/auctions/{id}/log/checkpoint", operation_id = "get_log_checkpoint", tag = "log",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = CheckpointBody, description = "Count, head hash and signature")))]
#[get("/auctions/{id}/log/checkpoint")]
pub async fn get_log_checkpoint(
    state: web::Data<State>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = body::auction_id(&id)?;
    let (count, head) = state.store.log_head(id).await?.ok_or(Code::AuctionNotFound)?;
    let head_hash = Hash::from_slice(&head).ok_or(Code::Internal)?;
    let key = state.tokens.signing_key(wall_clock::now());
    Ok(HttpResponse::Ok().json(CheckpointBody {
        auction_id: id.0,
        count,
        head_hash,
        kid: key.kid().to_owned(),
        signature: key.sign(checkpoint_message(id, count, head_hash).as_bytes()),
    }))
}
