//! Signatures after the Standard Webhooks specification: whoever has the secret knows that a message
//! comes from us, unchanged, and when it was sent.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{domain::time::Timestamp, outgoing::header};

/// Random bytes of a secret; the specification has 24 to 64.
const SECRET_BYTES: usize = 32;

/// What a webhook's messages are signed with. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

impl SigningSecret {
    /// One that nobody can guess.
    pub fn random() -> SigningSecret {
        SigningSecret(rand::random::<[u8; SECRET_BYTES]>().to_vec())
    }

    /// As it is kept.
    pub fn of_bytes(bytes: Vec<u8>) -> SigningSecret {
        SigningSecret(bytes)
    }

    /// As it is kept. Signing needs it in the clear.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it is shown, once: `whsec_` and base64.
    pub fn shown(&self) -> String {
        format!("whsec_{}", STANDARD.encode(&self.0))
    }

    fn sign(&self, content: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, content)))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(..)")
    }
}

/// The three headers of a message, signed with each of these secrets.
pub fn headers(
    id: &str,
    sent_at: Timestamp,
    body: &[u8],
    secrets: &[SigningSecret],
) -> header::HeaderMap {
    let timestamp = sent_at.as_millis().div_euclid(1_000).to_string();
    let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(&content)).collect();
    let mut headers = header::HeaderMap::new();
    for (name, value) in [
        ("webhook-id", id),
        ("webhook-timestamp", &timestamp),
        ("webhook-signature", &signatures.join(" ")),
    ] {
        let value = header::HeaderValue::from_str(value).expect("ids and base64 are visible ASCII");
        headers.insert(header::HeaderName::from_static(name), value);
    }
    let json = header::HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    headers
}

#[cfg(test)]
mod tests {
    use standardwebhooks::Webhook;

    use super::*;

    fn now() -> Timestamp {
        crate::wall_clock::now()
    }

    fn verified(shown: &str, body: &[u8], headers: &header::HeaderMap) -> bool {
        Webhook::new(shown).expect("a secret").verify(body, headers).is_ok()
    }

    #[test]
    fn others_verify_what_is_signed_here() {
        let secret = SigningSecret::random();
        let signed = headers("01a1:7", now(), b"{}", std::slice::from_ref(&secret));
        assert!(verified(&secret.shown(), b"{}", &signed));
        assert!(!verified(&secret.shown(), b"{ }", &signed), "another body");
        assert!(!verified(&SigningSecret::random().shown(), b"{}", &signed), "another secret");
        let late = headers("01a1:7", now().plus_s(-3_600), b"{}", std::slice::from_ref(&secret));
        assert!(!verified(&secret.shown(), b"{}", &late), "an old message played again");
    }

    #[test]
    fn while_a_secret_is_replaced_both_of_them_verify() {
        let (new, old) = (SigningSecret::random(), SigningSecret::random());
        let signed = headers("01a1:7", now(), b"{}", &[new.clone(), old.clone()]);
        assert!(verified(&new.shown(), b"{}", &signed) && verified(&old.shown(), b"{}", &signed));
    }

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let body = br#"{"test": 2432232314}"#;
        let at = Timestamp::from_millis(1_614_265_330_000);
        let secrets = [SigningSecret::of_bytes(secret)];
        let signed = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body, &secrets);
        assert_eq!(signed["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", SigningSecret::random()), "SigningSecret(..)");
    }
}
