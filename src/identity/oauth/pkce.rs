//! Proof key for code exchange (RFC 7636), S256 alone.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::identity::secret::are_equal;

/// The only method there is.
pub const METHOD: &str = "S256";
/// Characters of a verifier (RFC 7636, 4.1).
const VERIFIER_CHARS: std::ops::RangeInclusive<usize> = 43..=128;

/// The base64url SHA-256 of a verifier that has not been told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge(String);

impl Challenge {
    /// The challenge that a verifier meets.
    pub fn of(verifier: &str) -> Challenge {
        Challenge(URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)))
    }

    /// A challenge from outside.
    pub fn parse(text: &str) -> Option<Challenge> {
        let digest = URL_SAFE_NO_PAD.decode(text).ok()?;
        (digest.len() == 32).then(|| Challenge(text.to_owned()))
    }

    /// As it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a verifier is one, and meets a challenge that was kept.
pub fn is_met(challenge: &str, verifier: &str) -> bool {
    is_verifier(verifier)
        && are_equal(Challenge::of(verifier).as_str().as_bytes(), challenge.as_bytes())
}

fn is_verifier(text: &str) -> bool {
    let is_unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    VERIFIER_CHARS.contains(&text.len()) && text.bytes().all(is_unreserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_rfc_is_met() {
        assert_eq!(Challenge::of(VERIFIER).as_str(), CHALLENGE);
        assert!(is_met(CHALLENGE, VERIFIER));
        assert!(!is_met(CHALLENGE, &VERIFIER.replace('d', "e")));
        assert!(!is_met(VERIFIER, VERIFIER), "plain");
    }

    #[test]
    fn a_verifier_has_43_to_128_unreserved_characters() {
        for (verifier, is_one) in [
            ("a".repeat(42), false),
            ("a".repeat(43), true),
            ("~".repeat(128), true),
            ("a".repeat(129), false),
            (format!("{} ", "a".repeat(50)), false),
            (format!("{}+", "a".repeat(50)), false),
            (format!("{}é", "a".repeat(50)), false),
        ] {
            assert_eq!(is_met(Challenge::of(&verifier).as_str(), &verifier), is_one, "{verifier}");
        }
    }

    #[test]
    fn a_challenge_is_a_digest() {
        assert!(Challenge::parse(CHALLENGE).is_some());
        for wrong in ["", "E9Melhoa", &format!("{CHALLENGE}="), &CHALLENGE.replace('-', "+")] {
            assert_eq!(Challenge::parse(wrong), None, "{wrong}");
        }
    }
}
