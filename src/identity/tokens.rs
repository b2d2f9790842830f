//! Access tokens: EdDSA, fifteen minutes by default, checked once and then remembered.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use super::{Caller, Role, keys::SigningKey};
use crate::domain::{id::UserId, time::Timestamp};

/// How long an access token lives, in seconds.
pub const ACCESS_TOKEN_LIFE_S: i64 = 900;
/// The header's `typ` (RFC 9068), so that no other kind of token passes for an access token.
const TYP: &str = "at+jwt";
/// Whom the tokens are for.
pub const AUDIENCE: &str = "hoga";
/// Checked tokens that are remembered, so that a bid costs no signature check.
const REMEMBERED_MAX: usize = 65_536;
/// Longer ones are not even looked at.
const TOKEN_BYTES_MAX: usize = 4_096;

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    iat: i64,
    exp: i64,
    jti: uuid::Uuid,
    roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
}

/// Issues and checks access tokens.
pub struct Tokens {
    key: SigningKey,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    issuer: String,
    remembered: Cache<Box<str>, Remembered>,
    /// Placeholder: since when each user's tokens count, in whole seconds.
    valid_from_s: Cache<UserId, i64>,
}

#[derive(Clone)]
struct Remembered {
    caller: std::sync::Arc<Caller>,
    issued_at_s: i64,
    expires_at: Timestamp,
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its signature, form, issuer or audience is not ours.
    #[error("the token is not one of ours")]
    Invalid,
    /// Its user's older tokens count no more.
    #[error("the token was revoked")]
    Revoked,
}

impl Tokens {
    /// Tokens signed with this key, from this issuer.
    pub fn new(key: SigningKey, issuer: &str) -> Tokens {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // `exp` is checked against our own clock below, for remembered tokens too.
        validation.leeway = 0;
        validation.validate_exp = false;
        Tokens {
            encoding: EncodingKey::from_ed_der(key.der()),
            decoding: DecodingKey::from_ed_der(key.public()),
            key,
            validation,
            issuer: issuer.to_owned(),
            remembered: Cache::new(REMEMBERED_MAX),
            valid_from_s: Cache::new(REMEMBERED_MAX),
        }
    }

    /// The same key under another issuer's name.
    #[must_use]
    pub fn of_issuer(self, issuer: &str) -> Tokens {
        Tokens::new(self.key, issuer)
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Issues an access token, for a frontend where the user logged in through one.
    ///
    /// # Errors
    /// When the library cannot sign.
    pub fn issue(
        &self,
        user: UserId,
        roles: &[Role],
        client: Option<&str>,
        now: Timestamp,
        life_s: i64,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let issued_at = now.as_millis() / 1_000;
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            iat: issued_at,
            exp: issued_at + life_s,
            jti: uuid::Uuid::new_v4(),
            client_id: client.map(str::to_owned),
            roles: roles.iter().map(|role| role.word().to_owned()).collect(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYP.to_owned());
        header.kid = Some(self.key.kid().to_owned());
        jsonwebtoken::encode(&header, &claims, &self.encoding)
    }

    /// Tokens of the user that were issued before count no more. Placeholder: until a restart, here.
    pub fn revoke_before(&self, user: UserId, at: Timestamp) {
        self.valid_from_s.insert(user, at.plus_ms(999).as_millis() / 1_000);
    }

    /// Checks an access token.
    ///
    /// # Errors
    /// When it has expired, was revoked or is not one of ours.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<std::sync::Arc<Caller>, TokenError> {
        let remembered = self.remembered.get(token);
        let is_new = remembered.is_none();
        let checked = remembered.map_or_else(|| self.check_signature(token), Ok)?;
        let caller = checked.unless_expired(now)?;
        if self.valid_from_s.get(&caller.user).is_some_and(|from| checked.issued_at_s < from) {
            return Err(TokenError::Revoked);
        }
        if is_new {
            self.remembered.insert(token.into(), checked);
        }
        Ok(caller)
    }

    fn check_signature(&self, token: &str) -> Result<Remembered, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|_| TokenError::Invalid)?;
        if decoded.header.typ.as_deref() != Some(TYP) {
            return Err(TokenError::Invalid);
        }
        let roles = decoded.claims.roles.iter().filter_map(|word| Role::from_word(word)).collect();
        Ok(Remembered {
            issued_at_s: decoded.claims.iat,
            expires_at: Timestamp::from_millis(decoded.claims.exp.saturating_mul(1_000)),
            caller: std::sync::Arc::new(Caller {
                user: decoded.claims.sub,
                client: decoded.claims.client_id.map(Into::into),
                roles,
            }),
        })
    }
}

impl Remembered {
    fn unless_expired(&self, now: Timestamp) -> Result<std::sync::Arc<Caller>, TokenError> {
        if now >= self.expires_at {
            return Err(TokenError::Expired);
        }
        Ok(std::sync::Arc::clone(&self.caller))
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(SigningKey::generate().expect("a key"), "http://hoga.test")
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }

    fn user() -> UserId {
        UserId(uuid::Uuid::from_u128(7))
    }

    #[test]
    fn a_token_says_who_calls_until_it_expires() {
        let tokens = tokens();
        let token = tokens.issue(user(), &[Role::Bidder], None, now(), 900).expect("signed");
        let caller = tokens.check(&token, now()).expect("checked");
        assert_eq!(caller.user, user());
        assert!(caller.has(Role::Bidder) && !caller.has(Role::Admin));
        assert!(tokens.check(&token, now().plus_s(899)).is_ok());
        assert_eq!(tokens.check(&token, now().plus_s(900)), Err(TokenError::Expired));
    }

    #[test]
    fn tokens_of_others_do_not_count() {
        let ours = tokens();
        let forged = tokens().issue(user(), &[Role::Admin], None, now(), 900).expect("signed");
        assert_eq!(ours.check(&forged, now()), Err(TokenError::Invalid));
        let key = SigningKey::generate().expect("a key");
        let elsewhere = Tokens::new(key, "http://elsewhere.test");
        let foreign = elsewhere.issue(user(), &[], None, now(), 900).expect("signed");
        assert_eq!(ours.check(&foreign, now()), Err(TokenError::Invalid));
    }

    #[test]
    fn none_and_hs256_with_the_public_key_do_not_count() {
        let ours = tokens();
        let token = ours.issue(user(), &[], None, now(), 900).expect("signed");
        let payload = token.split('.').nth(1).expect("a payload");
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
        let none = format!("{header}.{payload}.");
        assert_eq!(ours.check(&none, now()), Err(TokenError::Invalid));

        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYP.into());
        let claims = Claims {
            iss: "http://hoga.test".into(),
            aud: AUDIENCE.into(),
            sub: user(),
            iat: 0,
            exp: i64::MAX / 2_000,
            roles: vec![],
            jti: uuid::Uuid::nil(),
            client_id: None,
        };
        let secret = EncodingKey::from_secret(ours.key().public());
        let hs256 = jsonwebtoken::encode(&header, &claims, &secret).expect("signed");
        assert_eq!(ours.check(&hs256, now()), Err(TokenError::Invalid));
    }

    #[test]
    fn another_audience_or_kind_of_token_does_not_count() {
        let ours = tokens();
        let sign = |typ: &str, aud: &str| {
            let mut header = Header::new(Algorithm::EdDSA);
            header.typ = Some(typ.into());
            let claims = Claims {
                iss: "http://hoga.test".into(),
                aud: aud.into(),
                sub: user(),
                iat: 0,
                exp: 4_000_000_000,
                roles: vec![],
                jti: uuid::Uuid::nil(),
                client_id: None,
            };
            jsonwebtoken::encode(&header, &claims, &ours.encoding).expect("signed")
        };
        assert!(ours.check(&sign(TYP, AUDIENCE), now()).is_ok());
        assert_eq!(ours.check(&sign("JWT", AUDIENCE), now()), Err(TokenError::Invalid));
        assert_eq!(ours.check(&sign(TYP, "another"), now()), Err(TokenError::Invalid));
    }
}
