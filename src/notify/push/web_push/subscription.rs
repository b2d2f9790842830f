//! What a browser says of itself, made into something that can be written to.

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use sha2::{Digest, Sha256};

use super::encryption::{AUTH_BYTES, PUBLIC_KEY_BYTES, ReceiverKeys, is_point};
use crate::outgoing::{Sender, Target, TargetError};

/// Browsers leave the padding out; some libraries do not.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not base64url, or of another length.
    #[error("must be {0} bytes in base64url")]
    Length(usize),
    /// Not on the curve.
    #[error("must be a point on P-256, uncompressed")]
    NoPoint,
}

/// The browser's public key.
///
/// # Errors
/// Unless it is a point on P-256.
pub fn p256dh(text: &str) -> Result<[u8; PUBLIC_KEY_BYTES], KeyFault> {
    let public = bytes(text)?;
    if is_point(&public) { Ok(public) } else { Err(KeyFault::NoPoint) }
}

/// The browser's secret.
///
/// # Errors
/// Unless it has 16 bytes.
pub fn auth(text: &str) -> Result<[u8; AUTH_BYTES], KeyFault> {
    bytes(text)
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], KeyFault> {
    // What is much longer need not be decoded.
    let decoded = (text.len() <= 2 * N).then(|| BASE64URL.decode(text).ok()).flatten();
    decoded.and_then(|bytes| bytes.try_into().ok()).ok_or(KeyFault::Length(N))
}

/// Where the browser's push service takes messages.
///
/// # Errors
/// What is wrong with it.
pub fn endpoint(sender: &Sender, text: &str) -> Result<Target, TargetError> {
    sender.target(text)
}

/// By what an endpoint is found again.
pub fn endpoint_hash(endpoint: &Target) -> [u8; 32] {
    Sha256::digest(endpoint.as_str()).into()
}

/// Keys as they were stored; none where they are damaged.
pub(super) fn stored_keys(p256dh: &[u8], auth: &[u8]) -> Option<ReceiverKeys> {
    Some(ReceiverKeys { public: p256dh.try_into().ok()?, auth: auth.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";

    #[test]
    fn keys_are_read_with_and_without_padding() {
        assert!(p256dh(PUBLIC).is_ok());
        assert_eq!(p256dh(&format!("{PUBLIC}=")), p256dh(PUBLIC));
        assert!(auth("BTBZMqHH6r4Tts7J_aSIgg").is_ok() && auth("BTBZMqHH6r4Tts7J_aSIgg==").is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_must_hold() {
        for wrong in ["", "BCVx", &format!("{PUBLIC}AAAA"), &PUBLIC.replace('_', "/"), "한"] {
            assert_eq!(p256dh(wrong), Err(KeyFault::Length(65)), "{wrong}");
        }
        assert_eq!(p256dh(&PUBLIC.replace("iw4", "iw8")), Err(KeyFault::NoPoint));
        assert_eq!(p256dh(&format!("A{}", &PUBLIC[1..])), Err(KeyFault::NoPoint));
        for wrong in ["", "BTBZMqHH6r4Tts7J_aSI", "BTBZMqHH6r4Tts7J_aSIggAA"] {
            assert_eq!(auth(wrong), Err(KeyFault::Length(16)), "{wrong}");
        }
    }
}
