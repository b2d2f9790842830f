//! The interface of a push channel: a [`Message`] goes in, an [`Outcome`] comes out.
//!
//! There is one channel, [`super::WebPush`], so there is no trait. Another one takes the same message
//! and answers the same outcomes; queue, permits and pauses know nothing of either.

use super::plan::Urgency;

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// JSON.
    pub payload: String,
    /// How urgent it is.
    pub urgency: Urgency,
    /// How long it is worth something, in seconds: at least 1.
    pub ttl_s: i64,
    /// What takes the place of what has not reached the device yet; up to 32 characters of
    /// base64url.
    pub topic: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The service has it.
    Delivered,
    /// The device is gone for good.
    Gone,
    /// This message will never be taken.
    Refused {
        /// Why, in a word.
        why: &'static str,
        /// Whether it was the service that said so.
        answered: bool,
    },
    /// It may be taken later.
    Later {
        /// Why, in a word.
        why: &'static str,
        /// Whether the service answered at all.
        answered: bool,
        /// When it wants to be asked again, in seconds from now.
        pause_s: Option<i64>,
        /// Whether that holds for everything that goes there.
        for_all: bool,
    },
}
