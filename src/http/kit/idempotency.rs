//! A request with an `Idempotency-Key` is carried out once: what was answered is kept, status and
//! body, under a fingerprint of the request, and answered again to a retry.
//!
//! The fingerprint is over the canonical JSON (RFC 8785) of what was asked. A field that was left
//! out is left out there too, so that a field which the API learns later changes no fingerprint.

use std::fmt::Display;

use actix_web::{HttpResponse, HttpResponseBuilder, http::StatusCode, http::header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    body::IdempotencyKey,
    problem::{Code, Problem},
};
use crate::{
    domain::id::UserId,
    store::{ReceiptKey, Store},
};

/// Bytes of a fingerprint.
const FINGERPRINT_BYTES: usize = 16;

/// What a key stands for.
#[derive(Serialize)]
struct Asked<'a, T> {
    operation: &'a str,
    of: &'a [&'a str],
    body: &'a T,
}

/// A key of somebody's, with the request that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Under which the answer is kept.
    pub receipt: ReceiptKey,
    /// The fingerprint by which the same request was kept by the version before: what was kept is
    /// kept for 48 hours, and a client may retry over the restart in which this version came.
    former: ReceiptKey,
}

impl Key {
    /// The same key as the version before kept it.
    pub fn former(&self) -> ReceiptKey {
        self.former
    }

    fn is_of(&self, fingerprint: Uuid) -> bool {
        fingerprint == self.receipt.fingerprint || fingerprint == self.former.fingerprint
    }
}

impl IdempotencyKey {
    /// Where money or a bid moves. What was asked is an operation, of what, with which body;
    /// `former` is how the version before named the same.
    ///
    /// # Errors
    /// [`Code::IdempotencyKeyMissing`]
    pub fn required<T: Serialize>(
        self,
        user: UserId,
        (operation, of, body): (&str, &[&str], &T),
        former: &[&dyn Display],
    ) -> Result<Key, Problem> {
        self.optional(user, (operation, of, body), former)?
            .ok_or_else(|| Code::IdempotencyKeyMissing.into())
    }

    /// Where a retry is merely convenient.
    ///
    /// # Errors
    /// [`Code::Internal`] when the request cannot be written as JSON, which would be our mistake.
    pub fn optional<T: Serialize>(
        self,
        user: UserId,
        (operation, of, body): (&str, &[&str], &T),
        former: &[&dyn Display],
    ) -> Result<Option<Key>, Problem> {
        let Some(key) = self.0 else { return Ok(None) };
        let asked = serde_jcs::to_vec(&Asked { operation, of, body }).map_err(|error| {
            tracing::error!(%error, operation, "a request cannot be written as JSON");
            Problem::from(Code::Internal)
        })?;
        let fingerprint = first_bytes(Sha256::digest(asked).into());
        let receipt = ReceiptKey::new(user, &key, &fingerprint);
        let former = ReceiptKey::new(user, &key, &former_fingerprint(former));
        Ok(Some(Key { receipt, former }))
    }
}

fn former_fingerprint(parts: &[&dyn Display]) -> [u8; FINGERPRINT_BYTES] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part.to_string());
        sha.update([0]);
    }
    first_bytes(sha.finalize().into())
}

fn first_bytes(digest: [u8; 32]) -> [u8; FINGERPRINT_BYTES] {
    let mut fingerprint = [0; FINGERPRINT_BYTES];
    fingerprint.copy_from_slice(&digest[..FINGERPRINT_BYTES]);
    fingerprint
}

/// An answer as it is kept and heard, the first time and by every retry.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeptAnswer {
    status: u16,
    location: Option<String>,
    etag: Option<String>,
    /// JSON, to the byte.
    body: String,
}

impl KeptAnswer {
    /// Something was made, and stands there.
    ///
    /// # Errors
    /// [`Code::Internal`] when the body cannot be written as JSON, which would be our mistake.
    pub fn created<T: Serialize>(
        location: String,
        etag: String,
        body: &T,
    ) -> Result<KeptAnswer, Problem> {
        let body = serde_json::to_string(body).map_err(|error| {
            tracing::error!(%error, "an answer cannot be written as JSON");
            Problem::from(Code::Internal)
        })?;
        let status = StatusCode::CREATED.as_u16();
        Ok(KeptAnswer { status, location: Some(location), etag: Some(etag), body })
    }

    /// As a receipt holds it.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("a struct of strings and numbers is always JSON")
    }

    fn read(text: &str) -> Option<KeptAnswer> {
        serde_json::from_str(text).ok()
    }
}

impl From<KeptAnswer> for HttpResponse {
    fn from(kept: KeptAnswer) -> HttpResponse {
        let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
        let mut answer = HttpResponseBuilder::new(status);
        if let Some(location) = kept.location {
            answer.insert_header((header::LOCATION, location));
        }
        if let Some(etag) = kept.etag {
            answer.insert_header((header::ETAG, etag));
        }
        answer.content_type("application/json").body(kept.body)
    }
}

/// Carries a request out, unless its key says that it was: then what was answered is answered again.
/// `make` keeps the answer in the transaction of what it makes, so that of the same request at the
/// same time one is carried out. `former` answers what the version before kept in its own form.
///
/// # Errors
/// [`Code::IdempotencyKeyReused`] when the key stands for another request, and what `make` fails with.
pub async fn once(
    store: &Store,
    key: Option<&Key>,
    former: impl AsyncFn(&str) -> Result<HttpResponse, Problem>,
    make: impl AsyncFnOnce() -> Result<HttpResponse, Problem>,
) -> Result<HttpResponse, Problem> {
    let Some(key) = key else { return make().await };
    let kept = async || -> Result<Option<HttpResponse>, Problem> {
        let Some((fingerprint, text)) = store.kept_text(&key.receipt).await? else {
            return Ok(None);
        };
        let text = text.filter(|_| key.is_of(fingerprint)).ok_or(Code::IdempotencyKeyReused)?;
        match KeptAnswer::read(&text) {
            Some(answer) => Ok(Some(answer.into())),
            None => former(&text).await.map(Some),
        }
    };
    if let Some(answer) = kept().await? {
        return Ok(answer);
    }
    match make().await {
        Ok(answer) => Ok(answer),
        // Perhaps because the same request came at the same time and was answered first.
        Err(problem) => kept().await?.ok_or(problem),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(of: &str, body: &serde_json::Value) -> Key {
        let key = IdempotencyKey(Some("k".to_owned()));
        let asked = ("place_bid", &[of] as &[&str], body);
        key.required(UserId(uuid::Uuid::nil()), asked, &[&"x"]).expect("a key")
    }

    #[test]
    fn the_order_of_fields_does_not_change_a_fingerprint_and_everything_else_does() {
        let fingerprint = |of: &str, body| key(of, &body).receipt.fingerprint;
        let one = fingerprint("a", json!({"amount": 1, "reason": "x"}));
        let same: serde_json::Value =
            serde_json::from_str(r#"{"reason":"\u0078","amount":1}"#).expect("JSON");
        assert_eq!(one, fingerprint("a", same));
        for (of, body) in [
            ("b", json!({"amount": 1, "reason": "x"})),
            ("a", json!({"amount": 2, "reason": "x"})),
            ("a", json!({"amount": 1, "reason": null})),
            ("a", json!({"amount": 1})),
        ] {
            assert_ne!(one, fingerprint(of, body.clone()), "{of} {body}");
        }
    }

    #[test]
    fn the_fingerprints_of_before_are_known() {
        // As the version before wrote it: SHA-256 of the parts, each followed by a zero.
        let expected = Sha256::digest(b"place_bid\0a\0-\0");
        let before = former_fingerprint(&[&"place_bid", &"a", &"-"]);
        assert_eq!(before[..], expected[..16]);
    }
}
