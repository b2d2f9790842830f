//! Frames: what goes over the wire, encoded once and shared by all viewers of a topic.
//!
//! Must never hold anything of one viewer: a frame is the same bytes for everybody.

use std::{fmt::Write as _, sync::OnceLock};

use bytes::Bytes;
use serde::Serialize;

use super::reads::Standing;
use crate::{
    domain::{id::AuctionId, time::Timestamp},
    events::envelope::Envelope,
};

/// The one type of event whose older frames a newer one may replace.
const PRICE_KIND: &str = "bid.placed";

/// A comment, so that nobody on the way takes the stream for dead.
pub(super) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// How ids are written on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `<seq>`.
    One,
    /// `<auction_id>:<seq>`.
    Many,
}

/// Why a viewer cannot simply go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reset {
    /// More was missed than is replayed.
    TooFarBack,
    /// The viewer claims to have seen what has not happened.
    AheadOfLog,
}

/// An event, or a snapshot, ready to be sent.
#[derive(Debug)]
pub(super) struct Frame {
    auction: AuctionId,
    /// How far a viewer is once it has this frame.
    pub seq: u64,
    /// Whether a newer price makes this one superfluous.
    pub is_price: bool,
    one: Bytes,
    /// Written when the first viewer of many auctions needs it.
    many: OnceLock<Bytes>,
}

/// Whether an event says a price that a newer event says better.
pub(super) fn is_price(envelope: &Envelope) -> bool {
    envelope.kind == PRICE_KIND
}

impl Frame {
    pub fn event(envelope: &Envelope, server_time: Timestamp) -> Frame {
        let data = envelope.streamed(server_time);
        let mut frame = Frame::new(envelope.auction_id, envelope.seq, &envelope.kind, &data);
        frame.is_price = is_price(envelope);
        frame
    }

    pub fn snapshot(standing: &Standing, server_time: Timestamp) -> Frame {
        let data = Snapshot { standing, server_time };
        let data = serde_json::to_string(&data).expect("strings and numbers are always JSON");
        Frame::new(standing.auction_id, standing.seq, "snapshot", &data)
    }

    fn new(auction: AuctionId, seq: u64, kind: &str, data: &str) -> Frame {
        let one = format!("id: {seq}\nevent: {kind}\ndata: {data}\n\n").into();
        Frame { auction, seq, is_price: false, one, many: OnceLock::new() }
    }

    pub fn auction(&self) -> AuctionId {
        self.auction
    }

    /// In bytes, as sent to viewers of one auction.
    pub fn len(&self) -> usize {
        self.one.len()
    }

    pub fn bytes(&self, form: Form) -> Bytes {
        match form {
            Form::One => self.one.clone(),
            Form::Many => self.many.get_or_init(|| self.with_auction()).clone(),
        }
    }

    fn with_auction(&self) -> Bytes {
        const ID: &[u8] = b"id: ";
        let mut id = uuid::Uuid::encode_buffer();
        let id = self.auction.0.hyphenated().encode_lower(&mut id).as_bytes();
        [ID, id, b":", &self.one[ID.len()..]].concat().into()
    }
}

#[derive(Serialize)]
struct Snapshot<'a> {
    #[serde(flatten)]
    standing: &'a Standing,
    server_time: Timestamp,
}

/// Tells a viewer to forget what it has, and why. Without an id: the snapshot that follows has one.
pub(super) fn reset(auction_id: AuctionId, reason: Reset, server_time: Timestamp) -> Bytes {
    #[derive(Serialize)]
    struct Data {
        auction_id: AuctionId,
        reason: Reset,
        server_time: Timestamp,
    }
    let data = serde_json::to_string(&Data { auction_id, reason, server_time })
        .expect("strings are always JSON");
    format!("event: reset\ndata: {data}\n\n").into()
}

/// How long a viewer waits before it comes back.
pub(super) fn retry(after_ms: u64) -> Bytes {
    let mut text = String::with_capacity(16);
    write!(text, "retry: {after_ms}\n\n").expect("a String takes everything");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::testing::{NOW, auction, bid, standing};

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn an_event_carries_its_place_its_type_and_the_envelope() {
        let envelope = bid(auction(1), 42);
        let frame = Frame::event(&envelope, NOW);
        let data = envelope.streamed(NOW);
        let one = format!("id: 42\nevent: bid.placed\ndata: {data}\n\n");
        assert_eq!(text(&frame.bytes(Form::One)), one);
        let many = format!("id: {}:{one}", auction(1)).replacen(":id: ", ":", 1);
        assert_eq!(text(&frame.bytes(Form::Many)), many);
    }

    #[test]
    fn viewers_share_the_bytes() {
        let frame = Frame::event(&bid(auction(1), 1), NOW);
        for form in [Form::One, Form::Many] {
            assert_eq!(frame.bytes(form).as_ptr(), frame.bytes(form).as_ptr());
        }
    }

    #[test]
    fn a_snapshot_says_where_the_auction_stands() {
        let frame = Frame::snapshot(&standing(auction(1), 7), NOW);
        let bytes = frame.bytes(Form::One);
        let data = text(&bytes).strip_prefix("id: 7\nevent: snapshot\ndata: ").expect("a snapshot");
        let data: serde_json::Value = serde_json::from_str(data).expect("one line of JSON");
        let expected = serde_json::json!({
            "auction_id": auction(1).to_string(), "seq": 7, "status": "live", "result": null,
            "price": {"amount": 7_000, "currency": "KRW"},
            "minimum_next_bid": {"amount": 8_000, "currency": "KRW"},
            "bid_count": 7, "leader_alias": "bidder-1", "reserve_met": true,
            "ends_at": NOW.to_string(), "server_time": NOW.to_string(),
        });
        assert_eq!(data, expected);
    }

    #[test]
    fn a_reset_says_why_and_has_no_id() {
        let bytes = reset(auction(1), Reset::AheadOfLog, NOW);
        assert!(text(&bytes).starts_with("event: reset\ndata: {"));
        assert!(text(&bytes).contains("\"reason\":\"ahead_of_log\""));
        assert!(!text(&bytes).contains("id: "));
    }
}
