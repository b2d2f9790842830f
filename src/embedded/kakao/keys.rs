//! The stand-in's keys, and the id_tokens that it signs with them, rightly or as a test wants it.

use aws_lc_rs::{
    hmac, rand as secure,
    rsa::{KeyPair, KeySize, PublicKeyComponents},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::faults::Forgery;
use crate::domain::time::Timestamp;

/// How long an id_token lives, in seconds.
const ID_TOKEN_LIFE_S: i64 = 21_599;

/// No key, or no signature.
#[derive(Debug, thiserror::Error)]
#[error("the stand-in for Kakao has no key to sign with")]
pub struct KeyError;

struct Key {
    pair: KeyPair,
    kid: String,
}

/// The key that signs and the one before.
pub(super) struct KeyRing {
    newest: Key,
    former: Option<Key>,
}

/// What an id_token says.
pub(super) struct Claims<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) person: i64,
    pub(super) nickname: &'a str,
    pub(super) nonce: Option<&'a str>,
    pub(super) logged_in_at: Timestamp,
    pub(super) now: Timestamp,
}

impl Key {
    fn generate() -> Result<Key, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError)?;
        Ok(Key { pair, kid: const_hex::encode(rand::random::<[u8; 16]>()) })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = secure::SystemRandom::new();
        self.pair
            .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
            .map_err(|_| KeyError)?;
        Ok(signature)
    }

    fn jwk(&self) -> Value {
        let components = PublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        json!({
            "kid": self.kid, "kty": "RSA", "alg": "RS256", "use": "sig",
            "n": URL_SAFE_NO_PAD.encode(components.n), "e": URL_SAFE_NO_PAD.encode(components.e),
        })
    }
}

impl KeyRing {
    pub(super) fn new() -> Result<KeyRing, KeyError> {
        Ok(KeyRing { newest: Key::generate()?, former: None })
    }

    pub(super) fn rotate(&mut self) -> Result<(), KeyError> {
        self.former = Some(std::mem::replace(&mut self.newest, Key::generate()?));
        Ok(())
    }

    pub(super) fn jwks(&self) -> Value {
        let keys = [Some(&self.newest), self.former.as_ref()];
        json!({"keys": keys.into_iter().flatten().map(Key::jwk).collect::<Vec<_>>()})
    }

    /// An id_token; none where there is to be none.
    pub(super) fn id_token(
        &self,
        claims: &Claims<'_>,
        forgery: Option<Forgery>,
    ) -> Result<Option<String>, KeyError> {
        if forgery == Some(Forgery::Missing) {
            return Ok(None);
        }
        let header = header(&self.newest, forgery);
        let message = format!("{}.{}", part(&header), part(&payload(claims, forgery)));
        let signature = match forgery {
            Some(Forgery::AlgNone) => Vec::new(),
            Some(Forgery::Hs256WithPublicKey) => {
                let secret =
                    hmac::Key::new(hmac::HMAC_SHA256, self.newest.pair.public_key().as_ref());
                hmac::sign(&secret, message.as_bytes()).as_ref().to_vec()
            }
            Some(Forgery::WrongSignature | Forgery::UnknownKid) => {
                Key::generate()?.sign(message.as_bytes())?
            }
            _ => self.newest.sign(message.as_bytes())?,
        };
        Ok(Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn header(key: &Key, forgery: Option<Forgery>) -> Value {
    let alg = match forgery {
        Some(Forgery::AlgNone) => "none",
        Some(Forgery::Hs256WithPublicKey) => "HS256",
        _ => "RS256",
    };
    let kid = if forgery == Some(Forgery::UnknownKid) { "nobody-knows-it" } else { &key.kid };
    json!({"kid": kid, "typ": "JWT", "alg": alg})
}

fn payload(claims: &Claims<'_>, forgery: Option<Forgery>) -> Value {
    let is = |kind| forgery == Some(kind);
    let issued_at = claims.now.as_millis() / 1_000;
    let issued_at = if is(Forgery::Expired) { issued_at - ID_TOKEN_LIFE_S - 1 } else { issued_at };
    let person = if is(Forgery::AnotherSubject) { claims.person + 1 } else { claims.person };
    let mut payload = json!({
        "iss": if is(Forgery::AnotherIssuer) { "https://kauth.example.com" } else { claims.issuer },
        "aud": if is(Forgery::AnotherAudience) { "another-app" } else { claims.client_id },
        "sub": person.to_string(),
        "iat": issued_at,
        "exp": issued_at + ID_TOKEN_LIFE_S,
        "auth_time": claims.logged_in_at.as_millis() / 1_000,
        "nickname": claims.nickname,
    });
    let nonce = if is(Forgery::AnotherNonce) { Some("of another login") } else { claims.nonce };
    if let Some(nonce) = nonce.filter(|_| !is(Forgery::NoNonce)) {
        payload["nonce"] = json!(nonce);
    }
    payload
}
