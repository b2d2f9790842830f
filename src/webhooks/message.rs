//! What is told: `{"type", "timestamp", "data"}`, the same bytes at every attempt.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    domain::{id::AuctionId, time::Timestamp},
    events::envelope::Envelope,
    store::DueDelivery,
};

/// The type of what an admin sends to see whether it arrives.
pub const TEST_TYPE: &str = "webhook.test";

/// What `webhook-id` says of a delivery: that of its event, or of the test itself.
pub fn message_id(delivery: Uuid, cause: Option<(AuctionId, i64)>) -> String {
    match cause {
        Some((auction, seq)) => format!("{auction}:{seq}"),
        None => format!("test:{delivery}"),
    }
}

/// What is sent.
pub(super) struct Message {
    /// The same at every attempt and for every webhook: by it a receiver knows what it had.
    pub id: String,
    /// JSON.
    pub body: String,
}

#[derive(Serialize)]
struct Body<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Timestamp,
    data: T,
}

#[derive(Serialize)]
struct Test<'a> {
    client_id: &'a str,
    webhook_id: Uuid,
}

/// The message of a delivery; none when its event cannot be read.
pub(super) fn of(due: DueDelivery, client_id: &str, webhook_id: Uuid) -> Option<Message> {
    let id = message_id(due.id, due.cause);
    if due.cause.is_none() {
        let data = Test { client_id, webhook_id };
        let body = json(&Body { kind: &due.kind, timestamp: due.created_at, data });
        return Some(Message { id, body });
    }
    let event = Envelope::from_row(due.event?)?;
    let told = event.told();
    let data: &RawValue = serde_json::from_str(&told).ok()?;
    let body = json(&Body { kind: &event.kind, timestamp: event.at, data });
    Some(Message { id, body })
}

fn json<T: Serialize>(body: &T) -> String {
    serde_json::to_string(body).expect("structs of strings and numbers are always JSON")
}
