//! Web push (RFC 8030): messages to browsers, by way of the push service of each.
//!
//! Owns what a message looks like on the wire: encrypted for one browser (RFC 8291), signed for by
//! our key (RFC 8292). Must never log an endpoint: whoever knows one may write to it.

pub mod encryption;
pub mod subscription;
pub mod vapid;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use self::{
    encryption::encrypt,
    subscription::stored_keys,
    vapid::{Vapid, VapidError},
};
use super::channel::{Message, Outcome};
use crate::{
    domain::time::Timestamp,
    outgoing::{
        SendError, Sender,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");
/// Characters of a topic (RFC 8030, section 5.4).
const TOPIC_CHARS_MAX: usize = 32;

/// A browser, as it is stored.
#[derive(Clone, Copy)]
pub struct Receiver<'a> {
    /// Where its push service takes messages.
    pub endpoint: &'a str,
    /// Its public key.
    pub p256dh: &'a [u8],
    /// Its secret.
    pub auth: &'a [u8],
}

/// Writes to browsers. Clones are the same.
#[derive(Clone)]
pub struct WebPush {
    sender: Sender,
    vapid: Arc<Vapid>,
}

/// Why nothing was sent.
enum NotSent {
    /// Nothing can be sent to this browser, or not this.
    Never(&'static str),
    /// We cannot sign.
    Unsigned(VapidError),
}

impl WebPush {
    /// Sends by this sender, known by this key.
    pub fn new(sender: Sender, vapid: Vapid) -> WebPush {
        WebPush { sender, vapid: Arc::new(vapid) }
    }

    /// By what push services know us.
    pub fn vapid(&self) -> &Vapid {
        &self.vapid
    }

    /// By what is sent, which also says where to.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Sends a message, once.
    pub async fn deliver(
        &self,
        receiver: Receiver<'_>,
        message: &Message,
        now: Timestamp,
    ) -> Outcome {
        // Allowed once, and perhaps not any more.
        let Ok(target) = self.sender.target(receiver.endpoint) else {
            return never("endpoint");
        };
        let (headers, body) = match self.request(receiver, &target.origin(), message, now) {
            Ok(request) => request,
            Err(NotSent::Never(why)) => return never(why),
            Err(NotSent::Unsigned(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "a push cannot be signed");
                return later("unsigned", false, None);
            }
        };
        match self.sender.post(&target, headers, body.into()).await {
            Ok(_) => Outcome::Delivered,
            Err(error) => outcome_of(&error, now),
        }
    }

    fn request(
        &self,
        receiver: Receiver<'_>,
        origin: &str,
        message: &Message,
        now: Timestamp,
    ) -> Result<(HeaderMap, Vec<u8>), NotSent> {
        let keys = stored_keys(receiver.p256dh, receiver.auth).ok_or(NotSent::Never("keys"))?;
        let body =
            encrypt(message.payload.as_bytes(), &keys).map_err(|_| NotSent::Never("encryption"))?;
        let authorization = self.vapid.authorization(origin, now).map_err(NotSent::Unsigned)?;
        let mut authorization = HeaderValue::from_str(&authorization)
            .map_err(|_| NotSent::Unsigned(VapidError::NotSigned))?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::from_iter([
            (header::AUTHORIZATION, authorization),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (header::CONTENT_ENCODING, HeaderValue::from_static("aes128gcm")),
            (TTL, HeaderValue::from(message.ttl_s)),
            (URGENCY, HeaderValue::from_static(message.urgency.word())),
        ]);
        let topic = message.topic.as_deref().and_then(|topic| HeaderValue::from_str(topic).ok());
        headers.extend(topic.map(|topic| (TOPIC, topic)));
        Ok((headers, body))
    }
}

/// A topic for a collapse key of one subscription: the push service learns nothing of either, nor that two
/// browsers hear of the same.
pub(super) fn topic(subscription: uuid::Uuid, collapse_key: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let digest = Sha256::new().chain_update(subscription).chain_update(collapse_key).finalize();
    let mut topic = URL_SAFE_NO_PAD.encode(digest);
    topic.truncate(TOPIC_CHARS_MAX);
    topic
}

/// Without that anybody was asked.
fn never(why: &'static str) -> Outcome {
    Outcome::Refused { why, answered: false }
}

fn refused(why: &'static str) -> Outcome {
    Outcome::Refused { why, answered: true }
}

fn later(why: &'static str, answered: bool, pause_s: Option<i64>) -> Outcome {
    Outcome::Later { why, answered, pause_s, for_all: false }
}

/// What a push service meant. It is asked again whenever it may come to another answer: where it is
/// in trouble, and where it does not believe us (401, 403), which our key or our clock may be the
/// cause of.
fn outcome_of(error: &SendError, now: Timestamp) -> Outcome {
    let pause_s = error.retry_after().map(|after| after.pause_s(now));
    match error {
        SendError::Gone => Outcome::Gone,
        SendError::Status { status: 404, .. } => Outcome::Gone,
        SendError::Status { status: 429, .. } => {
            Outcome::Later { why: "throttled", answered: true, pause_s, for_all: pause_s.is_some() }
        }
        SendError::Status { status: 401 | 403, .. } => later("not_believed", true, pause_s),
        SendError::Status { status: 408 | 425, .. } => later("timeout", true, pause_s),
        SendError::Status { status: 413, .. } => refused("too_large"),
        SendError::Status { status: 400..=499, .. } => refused("status"),
        SendError::Status { .. } => later("status", true, pause_s),
        SendError::TooLarge(_) => never("too_large"),
        SendError::AddressRefused => never("address"),
        SendError::NameUnknown => later("name_unknown", false, None),
        SendError::Connection(_) => later("connection", false, None),
        SendError::TimedOut => later("timeout", false, None),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::outgoing::RetryAfter;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn after(status: u16, seconds: Option<u32>) -> Outcome {
        let retry_after = seconds.map(RetryAfter::Seconds);
        outcome_of(&SendError::Status { status, retry_after }, NOW)
    }

    #[test]
    fn a_browser_that_is_gone_is_told_from_a_message_that_is_not_taken() {
        assert_eq!(outcome_of(&SendError::Gone, NOW), Outcome::Gone);
        assert_eq!(after(404, None), Outcome::Gone);
        for status in [400, 405, 415, 422] {
            assert_eq!(after(status, None), refused("status"), "{status}");
        }
        assert_eq!(after(413, None), refused("too_large"));
        assert_eq!(outcome_of(&SendError::AddressRefused, NOW), never("address"));
    }

    #[test]
    fn whatever_may_pass_is_tried_again() {
        for status in [301, 401, 403, 408, 500, 502, 503, 504] {
            assert!(matches!(after(status, None), Outcome::Later { .. }), "{status}");
        }
        assert_eq!(after(503, Some(7)), later("status", true, Some(7)));
        for error in [SendError::TimedOut, SendError::NameUnknown] {
            assert!(matches!(outcome_of(&error, NOW), Outcome::Later { answered: false, .. }));
        }
    }

    #[test]
    fn too_many_requests_hold_for_the_whole_service() {
        let paused =
            Outcome::Later { why: "throttled", answered: true, pause_s: Some(30), for_all: true };
        assert_eq!(after(429, Some(30)), paused);
        assert!(matches!(after(429, None), Outcome::Later { for_all: false, .. }));
    }

    #[test]
    fn a_topic_is_short_and_differs_between_browsers() {
        let [one, other] = [1, 2].map(Uuid::from_u128);
        assert_eq!(topic(one, "outbid x").len(), TOPIC_CHARS_MAX);
        assert_eq!(topic(one, "outbid x"), topic(one, "outbid x"));
        assert_ne!(topic(one, "outbid x"), topic(other, "outbid x"));
        assert_ne!(topic(one, "outbid x"), topic(one, "outbid y"));
    }
}
