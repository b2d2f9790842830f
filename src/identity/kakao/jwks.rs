//! Kakao's public keys: kept, and fetched again when they are old or a token names a new one.
//!
//! However many tokens name an unknown key, one fetch at a time is under way and there is one in
//! [`UNKNOWN_REFETCH_AFTER_S`]: a storm of forged tokens is no storm on Kakao.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use jsonwebtoken::DecodingKey;
use oauth2::http;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    error::{IdTokenFault, KakaoError, Place},
    wire::Wire,
};
use crate::domain::time::Timestamp;

/// Keys older than this are fetched again, so that one that was withdrawn does not count for ever.
const KEPT_S: i64 = 3_600;
/// An unknown key lets the keys be fetched again so long after the last unknown one, not earlier.
pub const UNKNOWN_REFETCH_AFTER_S: i64 = 30;
/// After a fetch that failed the next one waits so long; in between its error stands.
const FAILED_REFETCH_AFTER_MS: i64 = 500;
/// Keys in a set that are looked at.
const KEYS_MAX: usize = 32;
/// Characters of a key's name.
const KID_CHARS_MAX: usize = 256;

/// The keys. Cheap to clone.
#[derive(Clone)]
pub(super) struct Jwks {
    wire: Wire,
    url: Arc<str>,
    known: Arc<RwLock<Known>>,
    /// Held by whoever fetches; with what became of the last time.
    last: Arc<Mutex<Option<Fetched>>>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, DecodingKey>,
    until: Option<Timestamp>,
}

struct Fetched {
    at: Timestamp,
    because: Because,
    outcome: Result<(), KakaoError>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Because {
    /// There were none, or they were old.
    NoKeys,
    /// A token named one that was not among them.
    UnknownKey,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct RsaKey {
    kid: String,
    kty: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    n: String,
    e: String,
}

impl Jwks {
    pub(super) fn new(wire: Wire, url: String) -> Jwks {
        Jwks { wire, url: url.into(), known: Arc::default(), last: Arc::default() }
    }

    /// The key of this name.
    pub(super) async fn key(&self, kid: &str, now: Timestamp) -> Result<DecodingKey, KakaoError> {
        let unknown = KakaoError::IdTokenInvalid(IdTokenFault::UnknownKey);
        if kid.len() > KID_CHARS_MAX {
            return Err(unknown);
        }
        if let Some(key) = self.known_key(kid, now) {
            return Ok(key);
        }
        let mut last = self.last.lock().await;
        // Somebody else may have fetched it while we waited for our turn.
        if let Some(key) = self.known_key(kid, now) {
            return Ok(key);
        }
        let because = if self.is_fresh(now) { Because::UnknownKey } else { Because::NoKeys };
        if is_due(last.as_ref(), because, now) {
            let outcome = self.fetch(now).await;
            *last = Some(Fetched { at: now, because, outcome });
        }
        if let Some(Fetched { outcome: Err(error), .. }) = last.as_ref() {
            return Err(error.clone());
        }
        self.known_key(kid, now).ok_or(unknown)
    }

    fn known_key(&self, kid: &str, now: Timestamp) -> Option<DecodingKey> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.is_fresh(now) { known.keys.get(kid).cloned() } else { None }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).is_fresh(now)
    }

    async fn fetch(&self, now: Timestamp) -> Result<(), KakaoError> {
        let request =
            http::Request::get(&*self.url).header(http::header::ACCEPT, "application/json");
        let set: KeySet = self.wire.ask(Place::Keys, request, Vec::new()).await?;
        let keys = set.keys.into_iter().take(KEYS_MAX).filter_map(usable).collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) =
            Known { keys, until: Some(now.plus_s(KEPT_S)) };
        Ok(())
    }
}

impl Known {
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// Whether the keys may be fetched again.
fn is_due(last: Option<&Fetched>, because: Because, now: Timestamp) -> bool {
    let Some(last) = last else { return true };
    let wait_ms = match (&last.outcome, last.because, because) {
        (Err(_), _, _) => FAILED_REFETCH_AFTER_MS,
        (Ok(()), Because::UnknownKey, Because::UnknownKey) => UNKNOWN_REFETCH_AFTER_S * 1_000,
        // A key that is new since the keys were fetched is looked for at once, the first time.
        (Ok(()), Because::NoKeys, Because::UnknownKey) | (Ok(()), _, Because::NoKeys) => 0,
    };
    now.ms_since(last.at) >= wait_ms
}

/// RSA keys that sign with RS256; whatever else there is, is left out.
fn usable(key: serde_json::Value) -> Option<(String, DecodingKey)> {
    let key: RsaKey = serde_json::from_value(key).ok()?;
    let signs = key.kty == "RSA"
        && key.alg.is_none_or(|alg| alg == "RS256")
        && key.usage.is_none_or(|usage| usage == "sig")
        && key.kid.len() <= KID_CHARS_MAX;
    let decoding = DecodingKey::from_rsa_components(&key.n, &key.e).ok()?;
    signs.then_some((key.kid, decoding))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_keys_that_sign_with_rs256_are_used() {
        let key = |changes: serde_json::Value| {
            let mut key = json!({"kid": "k", "kty": "RSA", "alg": "RS256", "use": "sig",
                "n": "AQAB", "e": "AQAB"});
            let fields = key.as_object_mut().expect("an object");
            fields.extend(changes.as_object().expect("an object").clone());
            usable(key).is_some()
        };
        assert!(key(json!({})));
        assert!(!key(json!({"alg": "HS256"})));
        assert!(!key(json!({"kty": "oct"})));
        assert!(!key(json!({"use": "enc"})));
        assert!(!key(json!({"n": "not base64!"})));
        assert!(!key(json!({"kid": 7})));
    }
}
