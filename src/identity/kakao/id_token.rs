//! The id_token: whether Kakao says, to us and about this login, who logged in.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use serde::Deserialize;

use super::error::IdTokenFault;
use crate::domain::time::Timestamp;

/// Longer ones are not even looked at.
const ID_TOKEN_BYTES_MAX: usize = 16 * 1_024;
/// The one algorithm that Kakao signs with; what a token says of itself must be this.
const ALGORITHM: &str = "RS256";

/// What must hold for every id_token of a login.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: Timestamp,
}

/// What an id_token says in its header, before it is believed.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    // A list would mean that it is for others, too.
    aud: String,
    sub: String,
    exp: i64,
    nonce: Option<String>,
}

/// The name of the key that a token claims to be signed with.
pub(super) fn kid_of(token: &str) -> Result<String, IdTokenFault> {
    if token.len() > ID_TOKEN_BYTES_MAX {
        return Err(IdTokenFault::Malformed);
    }
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let header: Header = header
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or(IdTokenFault::Malformed)?;
    // Before any key is looked up: neither `none` nor an HMAC under a public key goes further.
    if header.alg != ALGORITHM {
        return Err(IdTokenFault::Algorithm);
    }
    header.kid.ok_or(IdTokenFault::Malformed)
}

/// Who logged in, when everything holds: Kakao's `sub`.
pub(super) fn check(
    token: &str,
    key: &DecodingKey,
    expected: &Expected<'_>,
) -> Result<String, IdTokenFault> {
    let mut validation = Validation::new(Algorithm::RS256);
    // The claims are compared below, each with its own answer, and against our own clock.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(|error| {
        let is_forged = matches!(error.kind(), ErrorKind::InvalidSignature);
        if is_forged { IdTokenFault::Signature } else { IdTokenFault::Malformed }
    })?;
    let claims = decoded.claims;
    if claims.iss != expected.issuer {
        return Err(IdTokenFault::Issuer);
    }
    if claims.aud != expected.client_id {
        return Err(IdTokenFault::Audience);
    }
    if expected.now >= Timestamp::from_millis(claims.exp.saturating_mul(1_000)) {
        return Err(IdTokenFault::Expired);
    }
    let nonce = claims.nonce.unwrap_or_default();
    verify_slices_are_equal(nonce.as_bytes(), expected.nonce.as_bytes())
        .map_err(|_| IdTokenFault::Nonce)?;
    Ok(claims.sub)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_with(header: &str) -> String {
        format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn the_algorithm_is_settled_before_a_key_is_looked_for() {
        let kid = |header: &str| kid_of(&token_with(header));
        assert_eq!(kid(r#"{"alg":"RS256","kid":"one"}"#).as_deref(), Ok("one"));
        for alg in ["none", "None", "HS256", "RS384", "ES256", "rs256", ""] {
            let header = format!(r#"{{"alg":"{alg}","kid":"one"}}"#);
            assert_eq!(kid(&header), Err(IdTokenFault::Algorithm), "{alg}");
        }
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        for token in
            ["", ".", "a.b.c", "....", &token_with("{}"), &token_with(r#"{"alg":"RS256"}"#)]
        {
            assert_eq!(kid_of(token), Err(IdTokenFault::Malformed), "{token}");
        }
        let long = token_with(&format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(20_000)));
        assert_eq!(kid_of(&long), Err(IdTokenFault::Malformed));
    }
}
