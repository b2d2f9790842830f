//! What is kept with a notification for its wording: JSON, and nothing private.

use serde::Serialize;

use crate::domain::{auction::ResultKind, money::Money, time::Timestamp};

/// All that there may be; each kind has its part.
#[derive(Default, Serialize)]
struct Data {
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bid_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lead_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ResultKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

fn json(data: &Data) -> String {
    serde_json::to_string(data).expect("structs of strings and numbers are always JSON")
}

/// The price as it stands, and until when.
pub(super) fn price(price: Money, bid_count: u32, ends_at: Timestamp) -> String {
    let (price, bid_count, ends_at) = (Some(price), Some(bid_count), Some(ends_at));
    json(&Data { price, bid_count, ends_at, ..Data::default() })
}

/// What opens or ends, and how long before it was to be said.
pub(super) fn reminder(is_opening: bool, target_at: Timestamp, lead_s: i64) -> String {
    let lead_s = Some(lead_s);
    if is_opening {
        json(&Data { starts_at: Some(target_at), lead_s, ..Data::default() })
    } else {
        json(&Data { ends_at: Some(target_at), lead_s, ..Data::default() })
    }
}

/// How it ended, and the final price where somebody bid.
pub(super) fn result(result: ResultKind, price: Option<Money>) -> String {
    json(&Data { result: Some(result), price, ..Data::default() })
}

/// What is listed: from when, until when, at which opening price.
pub(super) fn listed(price: Money, starts_at: Timestamp, ends_at: Timestamp) -> String {
    let (starts_at, ends_at) = (Some(starts_at), Some(ends_at));
    json(&Data { price: Some(price), starts_at, ends_at, ..Data::default() })
}

/// What was decided of a seller application: `approved` or `refused`.
pub fn verdict(is_approved: bool) -> String {
    let status = Some(if is_approved { "approved" } else { "refused" });
    json(&Data { status, ..Data::default() })
}
