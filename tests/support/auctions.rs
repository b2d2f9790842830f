//! Auctions to create.

use hoga::wall_clock;
use serde_json::{Value, json};

/// So many milliseconds from now, as the API writes times.
pub fn in_ms(millis: i64) -> String {
    wall_clock::now().plus_ms(millis).to_string()
}

/// So many seconds from now.
pub fn in_s(seconds: i64) -> String {
    in_ms(seconds * 1_000)
}

/// An auction that is live at once and for a day: opens at 10,000 won, steps of 1,000.
pub fn an_auction() -> Value {
    json!({
        "title": "조선 백자 달항아리",
        "opening_price": 10_000,
        "increment": {"kind": "fixed", "step": 1_000},
        "ends_at": in_s(86_400),
    })
}

/// The first with the fields of the second.
pub fn with(mut whole: Value, changes: Value) -> Value {
    let fields = whole.as_object_mut().expect("an object");
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    fields.extend(changes);
    whole
}
