//! Access tokens: EdDSA, fifteen minutes by default, checked once and then remembered.
//!
//! A remembered token costs a look at two numbers. They grow when a key, a client or a user's older
//! tokens stop counting, and only then is a remembered token looked at again, without its signature.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use super::{
    Caller, Role,
    clients::Clients,
    keys::{Jwk, KeyRing, RingKey, SigningKey},
    revocations::{REVOKED_MAX, Revocations},
};
use crate::{
    domain::{id::UserId, time::Timestamp},
    store::{Store, StoreError},
};

/// How long an access token lives, in seconds.
pub const ACCESS_TOKEN_LIFE_S: i64 = 900;
/// How long any token lives at the most, in seconds: `hoga token --hours`.
pub const TOKEN_LIFE_S_MAX: i64 = 31 * 86_400;
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
    keys: ArcSwap<Keys>,
    validation: Validation,
    issuer: String,
    remembered: Cache<Box<str>, Arc<Remembered>>,
    revocations: Revocations,
    clients: Arc<Clients>,
    /// Grows when something that counted may count no more.
    generation: AtomicU64,
    /// Of the last tick.
    keys_published: AtomicUsize,
}

/// The ring, ready to sign and to check.
struct Keys {
    ring: KeyRing,
    prepared: Vec<Prepared>,
}

struct Prepared {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl From<KeyRing> for Keys {
    fn from(ring: KeyRing) -> Keys {
        let prepare = |key: &RingKey| Prepared {
            encoding: EncodingKey::from_ed_der(key.key.der()),
            decoding: DecodingKey::from_ed_der(key.key.public()),
        };
        Keys { prepared: ring.keys().iter().map(prepare).collect(), ring }
    }
}

impl Keys {
    /// The key of this name and whether it still counts.
    fn decoding(&self, kid: &str, now: Timestamp) -> Option<&DecodingKey> {
        let published = self.ring.published(now).any(|key| key.key.kid() == kid);
        let place = self.ring.keys().iter().position(|key| key.key.kid() == kid)?;
        published.then(|| &self.prepared[place].decoding)
    }

    fn signing(&self, now: Timestamp) -> (&str, &EncodingKey) {
        let place = self.ring.signing_place(now);
        (self.ring.keys()[place].key.kid(), &self.prepared[place].encoding)
    }
}

/// A token whose signature was checked.
struct Remembered {
    caller: Arc<Caller>,
    kid: Box<str>,
    issued_at_s: i64,
    expires_at: Timestamp,
    /// The generation in which it last counted.
    counted_in: AtomicU64,
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its signature, form, issuer or audience is not ours, or its key counts no more.
    #[error("the token is not one of ours")]
    Invalid,
    /// Its user's older tokens, or those of its client, count no more.
    #[error("the token was revoked")]
    Revoked,
}

impl Tokens {
    /// Tokens signed with these keys, from this issuer.
    pub fn new(keys: impl Into<KeyRing>, issuer: &str) -> Tokens {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // `exp` is checked against our own clock below, for remembered tokens too.
        validation.leeway = 0;
        validation.validate_exp = false;
        Tokens {
            keys: ArcSwap::from_pointee(Keys::from(keys.into())),
            validation,
            issuer: issuer.to_owned(),
            remembered: Cache::new(REMEMBERED_MAX),
            revocations: Revocations::default(),
            clients: Arc::default(),
            generation: AtomicU64::new(0),
            keys_published: AtomicUsize::new(0),
        }
    }

    /// Those of clients that are disabled in this registry do not count.
    #[must_use]
    pub fn of_clients(self, clients: Arc<Clients>) -> Tokens {
        Tokens { clients, ..self }
    }

    /// The same keys under another issuer's name.
    #[must_use]
    pub fn of_issuer(self, issuer: &str) -> Tokens {
        Tokens::new(self.keys.load().ring.clone(), issuer).of_clients(self.clients)
    }

    /// Other keys from now on: what none of them signed counts no more.
    pub fn set_keys(&self, ring: KeyRing) {
        self.keys.store(Arc::new(Keys::from(ring)));
        self.look_again();
    }

    /// Notices keys whose time is over, and forgets revocations that no living token is older than;
    /// to be called every few seconds.
    pub fn tick(&self, now: Timestamp) {
        let published = self.keys.load().ring.published(now).count();
        if self.keys_published.swap(published, Ordering::Relaxed) != published {
            self.look_again();
        }
        self.revocations.forget_before(now.plus_s(-TOKEN_LIFE_S_MAX));
    }

    /// Tokens of the user that were issued before count no more; also those of the same second.
    pub fn revoke_before(&self, user: UserId, at: Timestamp) {
        if self.revocations.add(user, at) {
            self.look_again();
        }
    }

    /// From when on tokens of the user count, in seconds since 1970; 0 where none was revoked.
    pub fn valid_from_s(&self, user: UserId) -> i64 {
        self.revocations.issued_from(user)
    }

    /// Takes over who lost tokens, here or on another node, since a time; every few seconds, and from
    /// the beginning when the server starts. Where there are too many, everybody's tokens that are
    /// as old as those of whoever is left out count no more.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn hear_revocations(
        &self,
        store: &Store,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        let limit = i64::try_from(REVOKED_MAX).unwrap_or(i64::MAX);
        let revoked = store.tokens_revoked_since(since, limit).await?;
        if revoked.len() >= REVOKED_MAX
            && let Some((_, oldest)) = revoked.last()
        {
            self.revocations.add_everybody(*oldest);
            self.look_again();
        }
        for (user, at) in revoked {
            self.revoke_before(user, at);
        }
        Ok(())
    }

    fn look_again(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Both only grow, so their sum tells whether either has.
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire).wrapping_add(self.clients.generation())
    }

    /// The key that signs.
    pub fn signing_key(&self, now: Timestamp) -> Arc<SigningKey> {
        Arc::clone(self.keys.load().ring.signing(now))
    }

    /// The public halves of every key that signs, will sign, or signed what still counts.
    pub fn jwks(&self, now: Timestamp) -> Vec<Jwk> {
        self.keys.load().ring.published(now).map(|key| key.key.jwk()).collect()
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
        // One that follows a revocation in the same second must not fall to it.
        let now_s = now.as_millis().div_euclid(1_000);
        let issued_at = self.revocations.issued_from(user).clamp(now_s, now_s + 1);
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
        let keys = self.keys.load();
        let (kid, encoding) = keys.signing(now);
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYP.to_owned());
        header.kid = Some(kid.to_owned());
        jsonwebtoken::encode(&header, &claims, encoding)
    }

    /// Checks an access token.
    ///
    /// # Errors
    /// When it has expired, was revoked, or is not one of ours.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<Arc<Caller>, TokenError> {
        if let Some(remembered) = self.remembered.get(token) {
            return self.if_it_counts(&remembered, now);
        }
        let checked = Arc::new(self.check_signature(token, now)?);
        let caller = self.if_it_counts(&checked, now)?;
        self.remembered.insert(token.into(), checked);
        Ok(caller)
    }

    fn if_it_counts(&self, token: &Remembered, now: Timestamp) -> Result<Arc<Caller>, TokenError> {
        if now >= token.expires_at {
            return Err(TokenError::Expired);
        }
        // Read before the looks: what changes during them is seen the next time.
        let generation = self.generation();
        if token.counted_in.load(Ordering::Relaxed) != generation {
            self.look_at(token, now)?;
            token.counted_in.store(generation, Ordering::Relaxed);
        }
        Ok(Arc::clone(&token.caller))
    }

    /// Whether its key, its user and its client still let it count.
    fn look_at(&self, token: &Remembered, now: Timestamp) -> Result<(), TokenError> {
        if self.keys.load().decoding(&token.kid, now).is_none() {
            return Err(TokenError::Invalid);
        }
        let of_disabled =
            token.caller.client.as_ref().is_some_and(|id| self.clients.is_disabled(id));
        if of_disabled || token.issued_at_s < self.revocations.issued_from(token.caller.user) {
            return Err(TokenError::Revoked);
        }
        Ok(())
    }

    fn check_signature(&self, token: &str, now: Timestamp) -> Result<Remembered, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let kid = header.kid.filter(|_| header.typ.as_deref() == Some(TYP));
        let kid = kid.ok_or(TokenError::Invalid)?;
        let keys = self.keys.load();
        let key = keys.decoding(&kid, now).ok_or(TokenError::Invalid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        let roles = claims.roles.iter().filter_map(|word| Role::from_word(word)).collect();
        Ok(Remembered {
            caller: Arc::new(Caller {
                user: claims.sub,
                client: claims.client_id.map(Into::into),
                roles,
            }),
            kid: kid.into(),
            issued_at_s: claims.iat,
            expires_at: Timestamp::from_millis(claims.exp.saturating_mul(1_000)),
            // Of no generation: it has not been looked at.
            counted_in: AtomicU64::new(u64::MAX),
        })
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

    /// Of the user, for ever.
    fn claims(aud: &str) -> Claims {
        Claims {
            iss: "http://hoga.test".into(),
            aud: aud.into(),
            sub: user(),
            iat: 0,
            exp: 4_000_000_000,
            roles: vec![],
            jti: uuid::Uuid::nil(),
            client_id: None,
        }
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
        let claims = claims(AUDIENCE);
        header.kid = Some(ours.signing_key(now()).kid().to_owned());
        let secret = EncodingKey::from_secret(ours.signing_key(now()).public());
        let hs256 = jsonwebtoken::encode(&header, &claims, &secret).expect("signed");
        assert_eq!(ours.check(&hs256, now()), Err(TokenError::Invalid));
    }

    #[test]
    fn another_audience_or_kind_of_token_does_not_count() {
        let ours = tokens();
        let key = ours.signing_key(now());
        let encoding = EncodingKey::from_ed_der(key.der());
        let sign = |typ: &str, aud: &str| {
            let mut header = Header::new(Algorithm::EdDSA);
            header.typ = Some(typ.into());
            header.kid = Some(key.kid().to_owned());
            let claims = claims(aud);
            jsonwebtoken::encode(&header, &claims, &encoding).expect("signed")
        };
        assert!(ours.check(&sign(TYP, AUDIENCE), now()).is_ok());
        assert_eq!(ours.check(&sign("JWT", AUDIENCE), now()), Err(TokenError::Invalid));
        assert_eq!(ours.check(&sign(TYP, "another"), now()), Err(TokenError::Invalid));
    }

    #[test]
    fn a_token_counts_by_the_key_that_its_kid_names_alone() {
        let ours = tokens();
        let sign = |kid: Option<&str>| {
            let key = ours.signing_key(now());
            let mut header = Header::new(Algorithm::EdDSA);
            header.typ = Some(TYP.into());
            header.kid = kid.map(str::to_owned);
            let claims = claims(AUDIENCE);
            let encoding = EncodingKey::from_ed_der(key.der());
            jsonwebtoken::encode(&header, &claims, &encoding).expect("signed")
        };
        let kid = ours.signing_key(now()).kid().to_owned();
        assert!(ours.check(&sign(Some(&kid)), now()).is_ok());
        let mut ring = ours.keys.load().ring.clone();
        let other = ring.rotate(now(), false, 900).expect("rotated").key.kid().to_owned();
        ours.set_keys(ring);
        for kid in [None, Some("unknown"), Some(&*other)] {
            assert_eq!(ours.check(&sign(kid), now()), Err(TokenError::Invalid), "{kid:?}");
        }
    }

    #[test]
    fn after_a_rotation_both_keys_count_until_the_older_ones_last_token_has_expired() {
        let ours = tokens();
        let mut ring = ours.keys.load().ring.clone();
        let next = ring.rotate(now(), true, 900).expect("rotated");
        let old = ours.issue(user(), &[], None, now(), 100_000).expect("signed");
        assert!(ours.check(&old, now()).is_ok());
        ours.set_keys(ring);
        let new = ours.issue(user(), &[], None, now(), 100_000).expect("signed");
        let header = jsonwebtoken::decode_header(&new).expect("a header");
        assert_eq!(header.kid.as_deref(), Some(next.key.kid()));
        assert!(ours.check(&old, now()).is_ok() && ours.check(&new, now()).is_ok());
        let later = now().plus_s(2_000);
        ours.tick(later);
        assert_eq!(ours.check(&old, later), Err(TokenError::Invalid), "remembered or not");
        assert!(ours.check(&new, later).is_ok());
    }

    #[test]
    fn what_a_dropped_key_signed_counts_no_more_also_when_it_is_remembered() {
        let ours = tokens();
        let token = ours.issue(user(), &[], None, now(), 900).expect("signed");
        assert!(ours.check(&token, now()).is_ok());
        let mut ring = ours.keys.load().ring.clone();
        let lost = ours.signing_key(now()).kid().to_owned();
        ring.drop_key(&lost, now()).expect("dropped");
        ours.set_keys(ring);
        assert_eq!(ours.check(&token, now()), Err(TokenError::Invalid));
        let next = ours.issue(user(), &[], None, now(), 900).expect("signed");
        assert!(ours.check(&next, now()).is_ok());
    }

    #[test]
    fn revoked_tokens_do_not_count_and_those_issued_afterwards_do() {
        let ours = tokens();
        let (at, somebody_else) = (now().plus_ms(300), UserId(uuid::Uuid::from_u128(8)));
        let before = ours.issue(user(), &[], None, now(), 900).expect("signed");
        let not_looked_at = ours.issue(user(), &[], None, now(), 900).expect("signed");
        let others = ours.issue(somebody_else, &[], None, now(), 900).expect("signed");
        assert!(ours.check(&before, at).is_ok());
        ours.revoke_before(user(), at);
        assert_eq!(ours.check(&before, at), Err(TokenError::Revoked));
        assert_eq!(ours.check(&not_looked_at, at), Err(TokenError::Revoked));
        assert!(ours.check(&others, at).is_ok());
        let at_once = ours.issue(user(), &[], None, at.plus_ms(1), 900).expect("signed");
        assert!(ours.check(&at_once, at.plus_ms(2)).is_ok(), "in the same second");
        let generation = ours.generation();
        ours.revoke_before(user(), at);
        ours.tick(at);
        let settled = ours.generation();
        ours.tick(at);
        assert_eq!(ours.generation(), settled, "no news is no work");
        assert!(settled <= generation + 1);
    }
}
