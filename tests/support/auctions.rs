//! Auctions to create.

use std::{cell::Cell, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use hoga::{domain::time::Timestamp, wall_clock};
use serde_json::{Value, json};

use super::callers::Seller;

/// So many milliseconds from now, as the API writes times.
pub fn in_ms(millis: i64) -> String {
    wall_clock::now().plus_ms(millis).to_string()
}

/// So many seconds from now.
pub fn in_s(seconds: i64) -> String {
    in_ms(seconds * 1_000)
}

/// Times that come while a test waits for them, as far away as this machine needs.
pub struct Soon {
    factor: i64,
    first: Cell<Option<Timestamp>>,
}

impl Soon {
    /// So many milliseconds from now, or a multiple of that.
    pub fn in_ms(&self, millis: i64) -> String {
        let at = wall_clock::now().plus_ms(millis * self.factor);
        self.first.set(Some(self.first.get().map_or(at, |first| first.min(at))));
        at.to_string()
    }

    fn has_come(&self) -> bool {
        self.first.get().is_some_and(|first| wall_clock::now() >= first)
    }
}

/// Does what must be done before a time that comes soon. Where it failed and that time had come, the
/// machine may have been too slow: it is done again, anew, with more time. What fails before is wrong.
pub async fn in_time<T>(act: impl AsyncFn(&Soon) -> T) -> T {
    for factor in [1, 3] {
        let soon = Soon { factor, first: Cell::default() };
        match AssertUnwindSafe(act(&soon)).catch_unwind().await {
            Ok(done) => return done,
            Err(_) if soon.has_come() => {}
            Err(failure) => std::panic::resume_unwind(failure),
        }
    }
    act(&Soon { factor: 8, first: Cell::default() }).await
}

/// An auction that ends before anybody bids.
pub async fn sells_briefly(seller: &Seller, terms: Value) -> String {
    let terms = &terms;
    in_time(async |soon| {
        seller.sells(with(terms.clone(), json!({"ends_at": soon.in_ms(1_500)}))).await
    })
    .await
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
