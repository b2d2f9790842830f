//! Random secrets of 256 bits: states, cookies, codes, refresh tokens, verifiers.
//!
//! They are handed out once and kept as SHA-256: what cannot be guessed needs no slower hash.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// Of every secret here.
const SECRET_BYTES: usize = 32;

/// A secret as it is handed out: 43 characters of base64url. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// One that nobody can guess.
    pub fn random() -> Secret {
        Secret(URL_SAFE_NO_PAD.encode(rand::random::<[u8; SECRET_BYTES]>()))
    }

    /// What may be a secret of ours, coming back.
    pub fn parse(text: &str) -> Option<Secret> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == SECRET_BYTES).then(|| Secret(text.to_owned()))
    }

    /// The secret itself, for whoever it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// As it is kept.
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// As a secret is kept.
pub fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// In a time that tells nothing of where they differ.
pub fn are_equal(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_back_and_anything_else_does_not() {
        let secret = Secret::random();
        assert_eq!(secret.expose().len(), 43);
        assert_eq!(Secret::parse(secret.expose()), Some(secret.clone()));
        assert_ne!(Secret::random(), secret);
        let long = "A".repeat(44);
        for wrong in
            ["", "x", &secret.expose()[1..], &long, "not base64url, though 43 characters, is it"]
        {
            assert_eq!(Secret::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::random();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
