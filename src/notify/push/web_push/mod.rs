//! Web push (RFC 8030): messages to browsers, by way of the push service of each.
//!
//! Owns what a message looks like on the wire: encrypted for one browser (RFC 8291), signed for by
//! our key (RFC 8292).

pub mod encryption;
pub mod vapid;
