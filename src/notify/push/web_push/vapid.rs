//! By what push services know us (RFC 8292): a key on P-256, in a file of its own, and tokens
//! signed with it.
//!
//! Browsers subscribe for this one key: who loses it reaches none of them any more, so it is not
//! rotated. Must never sign for any but the origin that is written to.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

use crate::{
    domain::time::Timestamp,
    private_file::{self, Part, PrivateFileError},
};

/// A token counts for so long, in seconds. No service takes one of more than a day (RFC 8292,
/// section 2).
pub const TOKEN_LIFE_S: i64 = 12 * 3_600;
/// A token is used for so long before its end, in seconds, that clocks may differ.
const TOKEN_SPARE_S: i64 = 3_600;
/// Origins whose tokens are kept.
const TOKENS_KEPT_MAX: usize = 1_000;

/// There is no key to be known by.
#[derive(Debug, thiserror::Error)]
pub enum VapidError {
    /// The file.
    #[error("the key for web push (HOGA_VAPID_KEY_FILE) cannot be used")]
    File(#[from] PrivateFileError),
    /// It is something else.
    #[error(
        "{0} holds no P-256 key in PKCS #8 PEM; move it away, or name another file in HOGA_VAPID_KEY_FILE"
    )]
    Malformed(PathBuf),
    /// The library could not make one.
    #[error("no P-256 key can be made")]
    NotMade,
    /// The library could not sign.
    #[error("nothing can be signed for push services")]
    NotSigned,
}

/// Our key, who is behind it, and the tokens that still count.
pub struct Vapid {
    pair: EcdsaKeyPair,
    subject: Option<String>,
    tokens: Mutex<HashMap<String, Token>>,
}

#[derive(Clone)]
struct Token {
    header: Arc<str>,
    expires_at: Timestamp,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
}

impl Vapid {
    /// The key in this file, made if there is no file. `subject` is where push services reach
    /// whoever runs this exchange: a `mailto:` or `https:` URL.
    ///
    /// # Errors
    /// When the file cannot be read or written, others may read it, or it holds something else.
    pub fn load_or_create(path: &Path, subject: Option<String>) -> Result<Vapid, VapidError> {
        let pair = match load(path)? {
            Some(pair) => pair,
            None => create(path)?,
        };
        Ok(Vapid { pair, subject, tokens: Mutex::default() })
    }

    /// The public half, 65 bytes: what browsers subscribe for.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The public half as browsers take it: base64url without padding.
    pub fn public_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.public())
    }

    /// The `Authorization` for a push service, by its origin.
    ///
    /// # Errors
    /// When the library cannot sign.
    pub fn authorization(&self, origin: &str, now: Timestamp) -> Result<Arc<str>, VapidError> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        // One from after the clock was set back would live too long.
        let counts = |token: &Token| {
            let left_ms = token.expires_at.ms_since(now);
            (TOKEN_SPARE_S * 1_000..=TOKEN_LIFE_S * 1_000).contains(&left_ms)
        };
        if let Some(token) = tokens.get(origin).filter(|token| counts(token)) {
            return Ok(Arc::clone(&token.header));
        }
        tokens.retain(|_, token| counts(token));
        if tokens.len() >= TOKENS_KEPT_MAX {
            tokens.clear();
        }
        let token = self.sign(origin, now)?;
        tokens.insert(origin.to_owned(), token.clone());
        Ok(token.header)
    }

    fn sign(&self, origin: &str, now: Timestamp) -> Result<Token, VapidError> {
        let expires_at = now.plus_s(TOKEN_LIFE_S);
        let exp = expires_at.as_millis() / 1_000;
        let claims = Claims { aud: origin, exp, sub: self.subject.as_deref() };
        let claims = serde_json::to_vec(&claims).map_err(|_| VapidError::NotSigned)?;
        let head = URL_SAFE_NO_PAD.encode(br#"{"typ":"JWT","alg":"ES256"}"#);
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| VapidError::NotSigned)?;
        let signature = URL_SAFE_NO_PAD.encode(signature.as_ref());
        let header = format!("vapid t={signed}.{signature}, k={}", self.public_text());
        Ok(Token { header: header.into(), expires_at })
    }
}

fn load(path: &Path) -> Result<Option<EcdsaKeyPair>, VapidError> {
    let malformed = || VapidError::Malformed(path.into());
    let text = match private_file::read(path) {
        Err(PrivateFileError::NotText(_)) => return Err(malformed()),
        text => text?,
    };
    let Some(text) = text else { return Ok(None) };
    match private_file::parts(&text).as_deref() {
        Some([Part::Key(der)]) => pair_of(der).ok_or_else(malformed).map(Some),
        Some(_) | None => Err(malformed()),
    }
}

fn pair_of(der: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok()
}

/// Of two servers that start together the second takes what the first has made.
fn create(path: &Path) -> Result<EcdsaKeyPair, VapidError> {
    let _one_at_a_time = private_file::lock(path)?;
    if let Some(pair) = load(path)? {
        return Ok(pair);
    }
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let pair = pair.map_err(|_| VapidError::NotMade)?;
    let der = pair.to_pkcs8v1().map_err(|_| VapidError::NotMade)?;
    private_file::replace(path, &private_file::pem(der.as_ref()))?;
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use serde_json::Value;
    use web_push_native::p256::ecdsa::{Signature, VerifyingKey, signature::Verifier};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const ORIGIN: &str = "https://push.example.com";

    fn vapid() -> (tempfile::TempDir, PathBuf, Vapid) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data/vapid-key.pem");
        let subject = Some("mailto:ops@example.com".to_owned());
        let vapid = Vapid::load_or_create(&path, subject).expect("a key");
        (folder, path, vapid)
    }

    /// The claims, once another implementation has checked the signature.
    fn claims(vapid: &Vapid, header: &str) -> Value {
        let (token, key) = header.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(key, vapid.public_text());
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let key = VerifyingKey::from_sec1_bytes(vapid.public()).expect("a point");
        key.verify(signed.as_bytes(), &signature).expect("signed by the key");
        let claims = signed.split('.').nth(1).expect("claims");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).expect("JSON")
    }

    #[test]
    fn a_token_names_the_origin_its_end_and_whom_to_reach() {
        let (_folder, _, vapid) = vapid();
        let header = vapid.authorization(ORIGIN, NOW).expect("signed");
        let claims = claims(&vapid, &header);
        assert_eq!(
            (&claims["aud"], &claims["sub"]),
            (&ORIGIN.into(), &"mailto:ops@example.com".into())
        );
        let life_s = claims["exp"].as_i64().unwrap() - NOW.as_millis() / 1_000;
        assert_eq!(life_s, TOKEN_LIFE_S);
        assert!(life_s <= 86_400);
    }

    #[test]
    fn a_token_is_used_again_for_its_origin_while_it_counts() {
        let (_folder, _, vapid) = vapid();
        let at = |s| vapid.authorization(ORIGIN, NOW.plus_s(s)).expect("signed");
        let first = at(0);
        let lasts_s = TOKEN_LIFE_S - TOKEN_SPARE_S;
        assert_eq!(at(lasts_s), first);
        assert_ne!(at(lasts_s + 1), first);
        assert_ne!(vapid.authorization("https://other.example", NOW).expect("signed"), first);
        assert_ne!(at(-86_400), first, "the clock was set back");
    }

    #[test]
    fn the_key_is_kept_in_a_file_of_its_owners_alone() {
        let (_folder, path, vapid) = vapid();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Vapid::load_or_create(&path, None).expect("a key");
        assert_eq!(again.public(), vapid.public());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let Err(error) = Vapid::load_or_create(&path, None) else { panic!("others can read it") };
        assert!(matches!(error, VapidError::File(PrivateFileError::Exposed { .. })));
    }

    #[test]
    fn another_file_is_not_overwritten() {
        let (_folder, path, _) = vapid();
        let ed25519 = crate::private_file::pem(&[1, 2, 3]);
        for other in ["", "no key", &ed25519] {
            fs::write(&path, other).unwrap();
            let Err(error) = Vapid::load_or_create(&path, None) else { panic!("{other:?}") };
            assert!(matches!(error, VapidError::Malformed(_)), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), other);
        }
    }
}
