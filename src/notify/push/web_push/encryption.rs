//! Messages that a browser alone can read: RFC 8291, in one record of `aes128gcm` (RFC 8188).
//!
//! Composed from what signs our tokens anyway: the crates for it bring a second set of primitives,
//! or OpenSSL, along.

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, ECDH_P256, ParsedPublicKey, PrivateKey, UnparsedPublicKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
    rand,
};

/// Bytes of a public key on P-256, uncompressed.
pub const PUBLIC_KEY_BYTES: usize = 65;
/// Bytes of the secret that browser and server share (RFC 8291, section 3.2).
pub const AUTH_BYTES: usize = 16;
/// Bytes of the salt (RFC 8188, section 2.1).
const SALT_BYTES: usize = 16;
/// Bytes of a record, as its header says (RFC 8291, section 4, demands one record of up to 4,096).
const RECORD_BYTES: u32 = 4_096;
/// Bytes that the tag of AES-GCM takes.
const TAG_BYTES: usize = 16;
/// Bytes before the record: salt, size of the record, length of the key, key.
const HEADER_BYTES: usize = SALT_BYTES + 4 + 1 + PUBLIC_KEY_BYTES;
/// The end of the last record's text (RFC 8188, section 2).
const LAST_RECORD: u8 = 2;
/// Bytes of a text: no push service has to take more than 4,096 bytes in all (RFC 8030, section
/// 7.2).
pub const TEXT_BYTES_MAX: usize = RECORD_BYTES as usize - HEADER_BYTES - TAG_BYTES - 1;

/// What a browser can read messages with; the half that we know.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceiverKeys {
    /// Its public key, a point on P-256, uncompressed.
    pub public: [u8; PUBLIC_KEY_BYTES],
    /// Its secret.
    pub auth: [u8; AUTH_BYTES],
}

/// Nothing can be encrypted for this receiver: the text is too long, or the key no point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message cannot be encrypted")]
pub struct EncryptionError;

impl From<Unspecified> for EncryptionError {
    fn from(_: Unspecified) -> EncryptionError {
        EncryptionError
    }
}

/// Whether these bytes are an uncompressed point on P-256.
pub fn is_point(public: &[u8; PUBLIC_KEY_BYTES]) -> bool {
    let parsed = UnparsedPublicKey::new(&ECDH_P256, public);
    public[0] == 4 && ParsedPublicKey::try_from(parsed).is_ok()
}

/// Encrypts a text with a key and a salt of its own.
///
/// # Errors
/// When it is longer than [`TEXT_BYTES_MAX`], or the receiver's key is none.
pub fn encrypt(text: &[u8], receiver: &ReceiverKeys) -> Result<Vec<u8>, EncryptionError> {
    let sender = PrivateKey::generate(&ECDH_P256)?;
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt)?;
    encrypt_with(text, receiver, &sender, &salt)
}

fn encrypt_with(
    text: &[u8],
    receiver: &ReceiverKeys,
    sender: &PrivateKey,
    salt: &[u8; SALT_BYTES],
) -> Result<Vec<u8>, EncryptionError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(EncryptionError);
    }
    let sender_public = sender.compute_public_key()?;
    let of_receiver = UnparsedPublicKey::new(&ECDH_P256, &receiver.public);
    // RFC 8291, section 3.3: both keys stand in what is derived.
    let both = [b"WebPush: info\0".as_slice(), &receiver.public, sender_public.as_ref()];
    let secret = agreement::agree(sender, of_receiver, Unspecified, |shared| {
        expand::<32>(&Salt::new(HKDF_SHA256, &receiver.auth).extract(shared), &both)
    })?;
    // RFC 8188, sections 2.2 and 2.3.
    let derived = Salt::new(HKDF_SHA256, salt).extract(&secret);
    let key: [u8; 16] = expand(&derived, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce: [u8; 12] = expand(&derived, &[b"Content-Encoding: nonce\0"])?;
    let mut record = [text, &[LAST_RECORD]].concat();
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?).seal_in_place_append_tag(
        // The key is made for this one record, so its nonce comes once.
        Nonce::assume_unique_for_key(nonce),
        Aad::empty(),
        &mut record,
    )?;
    let key_bytes = [PUBLIC_KEY_BYTES as u8];
    let header = [salt, &RECORD_BYTES.to_be_bytes()[..], &key_bytes, sender_public.as_ref()];
    Ok([header.concat(), record].concat())
}

/// So many bytes.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(from: &Prk, info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    let mut bytes = [0; N];
    from.expand(info, Bytes(N))?.fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use web_push_native::p256::{SecretKey, elliptic_curve::sec1::ToEncodedPoint};

    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        URL_SAFE_NO_PAD.decode(text).expect("base64").try_into().expect("so many")
    }

    /// RFC 8291, section 5 and appendix A.
    const PLAINTEXT: &str = "When I grow up, I want to be a watermelon";
    const SENDER_PRIVATE: &str = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
    const RECEIVER_PRIVATE: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
    const RECEIVER_PUBLIC: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
    const SALT: &str = "DGv6ra1nlYgDCS1FRnbzlw";
    const MESSAGE: &str = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";

    fn receiver() -> ReceiverKeys {
        ReceiverKeys { public: bytes(RECEIVER_PUBLIC), auth: bytes(AUTH) }
    }

    #[test]
    fn the_example_of_the_rfc_comes_out_to_the_byte() {
        let sender = PrivateKey::from_private_key(&ECDH_P256, &bytes::<32>(SENDER_PRIVATE));
        let sender = sender.expect("a key");
        let message =
            encrypt_with(PLAINTEXT.as_bytes(), &receiver(), &sender, &bytes(SALT)).expect("fits");
        assert_eq!(URL_SAFE_NO_PAD.encode(message), MESSAGE);
    }

    /// Another implementation, of other primitives, reads it.
    fn read(message: Vec<u8>, private: &SecretKey, auth: &[u8; AUTH_BYTES]) -> Vec<u8> {
        web_push_native::decrypt(message, private, &(*auth).into()).expect("it is for this key")
    }

    #[test]
    fn what_is_encrypted_is_read_by_another_implementation() {
        let private = SecretKey::from_slice(&bytes::<32>(RECEIVER_PRIVATE)).expect("a key");
        let public = private.public_key().to_encoded_point(false);
        assert_eq!(public.as_bytes(), receiver().public);
        for length in [0, 1, 41, TEXT_BYTES_MAX] {
            let text: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let message = encrypt(&text, &receiver()).expect("it fits");
            assert_eq!(message.len(), HEADER_BYTES + length + 1 + TAG_BYTES);
            assert_eq!(read(message, &private, &receiver().auth), text);
        }
    }

    #[test]
    fn no_two_messages_share_key_or_salt() {
        let [one, other] = [0, 1].map(|_| encrypt(b"the same", &receiver()).expect("it fits"));
        assert_ne!(one[..SALT_BYTES], other[..SALT_BYTES]);
        assert_ne!(one[21..HEADER_BYTES], other[21..HEADER_BYTES]);
    }

    #[test]
    fn too_long_a_text_and_a_point_off_the_curve_are_refused() {
        let long = vec![0; TEXT_BYTES_MAX + 1];
        assert_eq!(encrypt(&long, &receiver()), Err(EncryptionError));
        assert!(is_point(&receiver().public));
        let mut off = receiver().public;
        off[64] ^= 1;
        assert!(!is_point(&off));
        let nowhere = ReceiverKeys { public: off, ..receiver() };
        assert_eq!(encrypt(b"", &nowhere), Err(EncryptionError));
        let mut compressed = receiver().public;
        compressed[0] = 3;
        assert!(!is_point(&compressed) && !is_point(&[0; PUBLIC_KEY_BYTES]));
    }
}
