//! What the log, streams and webhooks tell, as one family of schemas: each type of event with its
//! data, and that in the four forms in which it is told.
//!
//! The types themselves are in `events::log` and `live`, which know no HTTP; the tests hold whatever
//! servers tell against what is written here.

use serde_json::{Map, Value, json};

/// A type of event, how its schemas are called, and what it says.
struct Kind {
    word: &'static str,
    stem: &'static str,
    says: &'static str,
    /// What its data has besides what every event's has, and what of it is not always there.
    data: fn() -> Value,
    optional: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind {
        word: "auction.scheduled",
        stem: "AuctionScheduled",
        says: "An auction came to be.",
        data: || {
            with(
                terms(),
                json!({
                    "relisted_from": {"type": "string", "format": "uuid", "description": "The unsold auction that this one takes up again."},
                    "seller_id": {"type": "string", "format": "uuid", "description": "Who sells."},
                }),
            )
        },
        optional: &["relisted_from"],
    },
    Kind {
        word: "auction.edited",
        stem: "AuctionEdited",
        says: "Its seller changed the item or the terms before it opened.",
        data: terms,
        optional: &[],
    },
    Kind {
        word: "auction.withdrawn",
        stem: "AuctionWithdrawn",
        says: "Its seller called it off before it opened.",
        data: || json!({}),
        optional: &[],
    },
    Kind {
        word: "auction.opened",
        stem: "AuctionOpened",
        says: "It takes bids.",
        data: || json!({}),
        optional: &[],
    },
    Kind {
        word: "auction.extended",
        stem: "AuctionExtended",
        says: "A late bid moved its end.",
        data: || json!({"minimum_next_bid": minimum()}),
        optional: &["minimum_next_bid"],
    },
    Kind {
        word: "bid.placed",
        stem: "BidPlaced",
        says: "A bid was accepted.",
        data: || {
            json!({
                "amount": described(money(), "Of an exact bid; a ceiling is private."),
                "bidder": alias("Who bid."),
                "ceiling_commitment": hash("Of a ceiling: SHA-256 of the salt in the bidder's receipt and the ceiling."),
                "minimum_next_bid": minimum(),
                "outcome": {"type": "string", "enum": ["leading", "outbid"], "description": "What the bid came to."},
                "received_at": time("When the bid came in, which counts for the clock."),
                "reserve_met": reserve_met(),
            })
        },
        optional: &["amount", "ceiling_commitment"],
    },
    Kind {
        word: "bid.retracted",
        stem: "BidRetracted",
        says: "A bid was taken back; price and leader follow from those that remain.",
        data: || {
            json!({
                "bid_seq": {"type": "integer", "format": "int64", "minimum": 1, "description": "The place of the bid in the log."},
                "bidder": alias("Whose bid it was."),
                "minimum_next_bid": minimum(),
                "reserve_met": reserve_met(),
            })
        },
        optional: &[],
    },
    Kind {
        word: "auction.bought",
        stem: "AuctionBought",
        says: "Somebody took the buy-now price.",
        data: || {
            json!({
                "buyer": alias("Who bought."),
                "received_at": time("When the purchase came in, which counts for the clock."),
            })
        },
        optional: &[],
    },
    Kind {
        word: "auction.closed",
        stem: "AuctionClosed",
        says: "It is over.",
        data: || {
            json!({
                "hammer_price": nullable(money(), "What the winner pays; null without one."),
                "result": described(reference("AuctionResult"), "How it ended."),
                "runner_up": nullable_alias("Who bid second most; null where nobody else did."),
                "winner": nullable_alias("Who won; null where nobody did."),
            })
        },
        optional: &[],
    },
];

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

fn money() -> Value {
    reference("Money")
}

fn nullable(schema: Value, description: &str) -> Value {
    json!({"oneOf": [{"type": "null"}, schema], "description": description})
}

fn alias(description: &str) -> Value {
    json!({"type": "string", "pattern": "^bidder-[1-9][0-9]*$", "description": format!("{description} By alias in this auction.")})
}

fn nullable_alias(description: &str) -> Value {
    with(alias(description), json!({"type": ["string", "null"]}))
}

fn hash(description: &str) -> Value {
    json!({"type": "string", "pattern": "^[0-9a-f]{64}$", "description": description})
}

fn time(description: &str) -> Value {
    json!({"type": "string", "format": "date-time", "description": description})
}

fn seq() -> Value {
    json!({"type": "integer", "format": "int64", "minimum": 1, "description": "Its place in the auction's log, from 1 without gaps."})
}

fn auction_id() -> Value {
    json!({"type": "string", "format": "uuid", "description": "Of which auction."})
}

fn server_time() -> Value {
    time("The exchange's clock when it was told; on streams alone.")
}

fn minimum() -> Value {
    nullable(
        money(),
        "The least that is accepted next from somebody who does not lead; null where nobody else can bid any more.",
    )
}

fn reserve_met() -> Value {
    json!({"type": ["boolean", "null"], "description": "Whether the reserve is met; null where there is none."})
}

fn with(mut fields: Value, more: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
        fields.extend(more);
    }
    fields
}

/// An object of which nothing else is told; what is not optional is always there.
fn object(description: &str, properties: Value, optional: &[&str]) -> Value {
    let names = properties.as_object().into_iter().flat_map(Map::keys);
    let required: Vec<&String> = names.filter(|name| !optional.contains(&name.as_str())).collect();
    json!({
        "type": "object", "description": description, "required": required,
        "properties": properties, "additionalProperties": false,
    })
}

/// Where the auction stands after an event, as every event's data says it.
fn stands() -> Value {
    json!({
        "bid_count": {"type": "integer", "format": "int32", "minimum": 0, "description": "How many bids stand."},
        "ends_at": time("The end as it stands."),
        "leader_alias": nullable_alias("Who leads; null while nobody does."),
        "price": described(money(), "The visible price; the opening price while nobody leads."),
    })
}

fn terms() -> Value {
    json!({
        "bids_per_bidder_max": {"type": ["integer", "null"], "format": "int32", "minimum": 1, "description": "How many accepted bids each bidder may place."},
        "buy_now_price": nullable(money(), "At which the first taker ends the auction."),
        "cap": described(money(), "The highest offer that is accepted."),
        "increment": described(reference("Increment"), "By how much a bid must exceed the price."),
        "item": described(reference("Item"), "What is sold."),
        "opening_price": described(money(), "The least that the first bid must offer."),
        "reserve_commitment": with(hash("SHA-256 of a salt and the reserve; null where there is none."), json!({"type": ["string", "null"]})),
        "soft_close": nullable(reference("SoftClose"), "Whether and how late bids move the end."),
        "starts_at": time("From when bids are taken."),
    })
}

fn item() -> Value {
    object(
        "What is sold.",
        json!({
            "attributes": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Free properties."},
            "category": {"type": ["string", "null"], "description": "The category's slug."},
            "description": {"type": "string", "description": "Plain text."},
            "image_keys": {"type": "array", "items": {"type": "string"}, "description": "Keys in the image store, the one shown first first."},
            "title": {"type": "string", "description": "One line."},
        }),
        &[],
    )
}

/// One of several schemas, told apart by the word in a field.
fn union(description: &str, field: &str, options: &[(String, String)]) -> Value {
    let one_of: Vec<Value> = options.iter().map(|(_, name)| reference(name)).collect();
    let mapping: Map<String, Value> = options
        .iter()
        .map(|(word, name)| (word.clone(), format!("#/components/schemas/{name}").into()))
        .collect();
    json!({
        "description": description, "oneOf": one_of,
        "discriminator": {"propertyName": field, "mapping": mapping},
    })
}

/// A union over the types of events, of the schemas with this ending.
fn of_kinds(ending: &str) -> Vec<(String, String)> {
    KINDS.iter().map(|kind| (kind.word.to_owned(), format!("{}{ending}", kind.stem))).collect()
}

/// A constant word.
fn word(word: &str, description: &str) -> Value {
    json!({"type": "string", "const": word, "description": description})
}

/// The schemas of one type of event: its data, and that in the log, in streams and in webhooks.
fn schemas_of(kind: &Kind) -> [(String, Value); 5] {
    let named = |ending: &str| format!("{}{ending}", kind.stem);
    let the_type = || word(kind.word, "The type of the event.");
    let data = || {
        described(
            reference(&named("Data")),
            "The public half of the event, exactly as it was hashed.",
        )
    };
    let entry = json!({
        "seq": seq(),
        "type": the_type(),
        "at": time("When it was decided."),
        "data": data(),
        "prev_hash": hash("Of the entry before; 64 zeros before the first."),
        "hash": hash("Of this entry: SHA-256 of the RFC 8785 canonical JSON of `{\"auction_id\", \"seq\", \"type\", \"at\", \"data\", \"prev_hash\"}`."),
    });
    let event = with(
        stands(),
        json!({
            "id": {"type": "string", "description": "`<auction_id>:<seq>`: the same wherever the event is told."},
            "type": the_type(),
            "auction_id": auction_id(),
            "seq": seq(),
            "at": time("When it was decided."),
            "data": data(),
            "hash": hash("Of its log entry."),
            "minimum_next_bid": minimum(),
            "server_time": server_time(),
        }),
    );
    let not_always = |field| if kind.optional.contains(&field) { Some(field) } else { None };
    let optional: Vec<&str> =
        ["server_time"].into_iter().chain(not_always("minimum_next_bid")).collect();
    let frame = frame(word(kind.word, "The type of the event."), &named("Event"));
    let message = json!({
        "type": the_type(),
        "timestamp": time("When it was decided."),
        "data": described(reference(&named("Event")), "The event."),
    });
    [
        (named("Data"), object(kind.says, with(stands(), (kind.data)()), kind.optional)),
        (named("Entry"), object(kind.says, entry, &[])),
        (named("Event"), object(kind.says, event, &optional)),
        (named("Frame"), object(kind.says, frame, &[])),
        (named("Message"), object(kind.says, message, &[])),
    ]
}

/// A server-sent event; `data` stands on the line as JSON.
fn frame(event: Value, data: &str) -> Value {
    json!({
        "event": event,
        "id": {"type": "string", "description": "What `Last-Event-ID` resumes after: the sequence number; on a stream of many auctions `<auction_id>:<seq>`; there blocks of an id alone come between events, see the operation."},
        "data": described(reference(data), "JSON on one line."),
    })
}

fn reset_frame(data: &str) -> Value {
    json!({
        "event": word("reset", "More was missed than is told again: forget what you have; a snapshot follows."),
        "data": described(reference(data), "JSON on one line."),
    })
}

fn reason() -> Value {
    json!({"type": "string", "enum": ["too_far_back", "ahead_of_log"], "description": "More was missed than is replayed, or what `Last-Event-ID` names has not happened."})
}

/// Every schema of this family, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let mut schemas: Map<String, Value> = KINDS.iter().flat_map(schemas_of).collect();
    let mut add = |name: &str, schema: Value| schemas.insert(name.to_owned(), schema);
    let words: Vec<&str> = KINDS.iter().map(|kind| kind.word).collect();
    add("Item", item());
    add(
        "EventType",
        json!({"type": "string", "enum": words, "description": "The types of events."}),
    );
    add("LogEntry", union("One entry of an auction's log.", "type", &of_kinds("Entry")));
    add(
        "AuctionEvent",
        union("An event as streams and webhooks tell it.", "type", &of_kinds("Event")),
    );
    let snapshot = with(
        stands(),
        json!({
            "auction_id": auction_id(),
            "seq": described(seq(), "The last event's sequence number."),
            "status": described(reference("AuctionStatus"), "Where it is in its life."),
            "result": nullable(reference("AuctionResult"), "Of an auction that ended."),
            "minimum_next_bid": minimum(),
            "reserve_met": reserve_met(),
            "server_time": time("The exchange's clock when it was told."),
        }),
    );
    add("AuctionSnapshot", object("Where an auction stands: how a stream begins.", snapshot, &[]));
    let snapshot = word("snapshot", "How a stream begins, and how it goes on after a reset.");
    add(
        "AuctionSnapshotFrame",
        object("Where an auction stands.", frame(snapshot, "AuctionSnapshot"), &[]),
    );
    let reset = json!({"auction_id": auction_id(), "reason": reason(), "server_time": time("The exchange's clock when it was told.")});
    add("AuctionReset", object("Why a viewer cannot simply go on.", reset, &[]));
    add(
        "AuctionResetFrame",
        object("What was missed is not told again.", reset_frame("AuctionReset"), &[]),
    );
    let mut frames = of_kinds("Frame");
    frames.insert(0, ("snapshot".into(), "AuctionSnapshotFrame".into()));
    frames.insert(1, ("reset".into(), "AuctionResetFrame".into()));
    add("AuctionFrame", union("One event of a stream of auctions.", "event", &frames));
    add_personal(&mut add);
    add_webhooks(&mut add);
    schemas
}

fn add_personal(add: &mut impl FnMut(&str, Value) -> Option<Value>) {
    let unread = json!({"type": "integer", "format": "int64", "minimum": 0, "description": "How many the caller has not read, up to 1,000."});
    let snapshot =
        json!({"unread": unread, "server_time": time("The exchange's clock when it was told.")});
    add(
        "InboxSnapshot",
        object("Where the inbox stands: how a personal stream begins.", snapshot, &[]),
    );
    let reset =
        json!({"reason": reason(), "server_time": time("The exchange's clock when it was told.")});
    add("InboxReset", object("Why a viewer cannot simply go on.", reset, &[]));
    let snapshot = word("snapshot", "How a stream begins, and how it goes on after a reset.");
    let id = json!({"type": "string", "pattern": "^[0-9]+$", "description": "What `Last-Event-ID` resumes after: that of the notification."});
    add(
        "InboxSnapshotFrame",
        object(
            "Where the inbox stands.",
            with(frame(snapshot, "InboxSnapshot"), json!({"id": id})),
            &[],
        ),
    );
    add("InboxResetFrame", object("The inbox is to be read anew.", reset_frame("InboxReset"), &[]));
    let mut kinds = Vec::new();
    let mut frames = vec![
        ("snapshot".to_owned(), "InboxSnapshotFrame".to_owned()),
        ("reset".to_owned(), "InboxResetFrame".to_owned()),
    ];
    for told in TOLD {
        let named = |ending: &str| format!("{}{ending}", told.stem);
        add(&named("Notification"), notification(told));
        let event = word(told.word, "The kind of the notification.");
        let frame = with(frame(event, &named("Notification")), json!({"id": id}));
        add(&named("NotificationFrame"), object(told.says, frame, &[]));
        kinds.push((told.word.to_owned(), named("Notification")));
        frames.push((told.word.to_owned(), named("NotificationFrame")));
    }
    let says = "Something that the user is told. Its words are the frontend's: they follow from kind and data.";
    add("Notification", union(says, "kind", &kinds));
    add("InboxFrame", union("One event of the caller's own stream.", "event", &frames));
}

/// A kind of notification, how its schemas are called, and what it says.
struct Told {
    word: &'static str,
    stem: &'static str,
    says: &'static str,
    /// What its words are made of, and what of it is not always there.
    data: fn() -> Value,
    optional: &'static [&'static str],
}

const TOLD: &[Told] = &[
    told("outbid", "Outbid", "Somebody else leads now.", stood),
    told(
        "leading_again",
        "LeadingAgain",
        "The user leads again, because somebody else's bid was taken back.",
        stood,
    ),
    told("bid_retracted", "BidTakenBack", "A bid in the user's auction was taken back.", stood),
    told(
        "highest_bid_changed",
        "HighestBidChanged",
        "Of an auction that the user watches. Told at most every few seconds, as it stands then.",
        stood,
    ),
    told(
        "opening_soon",
        "OpeningSoon",
        "An auction that the user watches opens soon.",
        || json!({"starts_at": time("From when bids are taken."), "lead_s": lead()}),
    ),
    told(
        "ending_soon",
        "EndingSoon",
        "An auction that the user watches ends soon.",
        || json!({"ends_at": time("The end as it stood then."), "lead_s": lead()}),
    ),
    told(
        "extended",
        "Extended",
        "The end of an auction moved that the user watches or has bid in.",
        stood,
    ),
    told("won", "Won", "The user won.", ended),
    Told { optional: &["price"], ..told("lost", "Lost", "The user bid, and did not win.", ended) },
    told("sold", "Sold", "The user's auction ended with a winner.", ended),
    Told {
        optional: &["price"],
        ..told("unsold", "Unsold", "The user's auction ended without one.", ended)
    },
    told("order_due", "OrderDue", "A purchase is to be paid. Not sent yet.", nothing),
    told(
        "order_overdue",
        "OrderOverdue",
        "A purchase was not paid in time. Not sent yet.",
        nothing,
    ),
    told("payment", "Payment", "A payment has come. Not sent yet.", nothing),
    told("refund", "Refund", "A payment goes back. Not sent yet.", nothing),
    told(
        "keyword_alert",
        "Listed",
        "Something was listed that one of the user's alerts is for.",
        || {
            json!({
                "price": described(money(), "The opening price."),
                "starts_at": time("From when bids are taken."),
                "ends_at": time("The end as it stood then."),
            })
        },
    ),
    told(
        "seller_application_decided",
        "SellerApplicationDecided",
        "The user's seller application was decided.",
        || json!({"status": described(reference("Verdict"), "What was decided of the application.")}),
    ),
];

const fn told(
    word: &'static str,
    stem: &'static str,
    says: &'static str,
    data: fn() -> Value,
) -> Told {
    Told { word, stem, says, data, optional: &[] }
}

fn nothing() -> Value {
    json!({})
}

fn lead() -> Value {
    json!({"type": "integer", "format": "int64", "description": "How long before it was to be said, in seconds."})
}

fn stood() -> Value {
    json!({
        "price": described(money(), "The visible price then."),
        "bid_count": {"type": "integer", "format": "int32", "minimum": 0, "description": "How many bids stood then."},
        "ends_at": time("The end as it stood then."),
    })
}

fn ended() -> Value {
    json!({
        "result": described(reference("AuctionResult"), "How the auction ended."),
        "price": described(money(), "The final price; not there where nobody bid."),
    })
}

fn notification(told: &Told) -> Value {
    let fields = json!({
        "id": {"type": "integer", "format": "int64", "minimum": 1, "description": "Rises with every notification."},
        "kind": word(told.word, "What it is about."),
        "subject_id": {"type": "string", "format": "uuid", "description": "The auction, or the seller application."},
        "auction": nullable(reference("AuctionMentioned"), "The auction that it is about."),
        "data": object("What its words are made of.", (told.data)(), told.optional),
        "at": time("When it happened."),
        "read_at": with(time("When it was read; null while it was not."), json!({"type": ["string", "null"]})),
        "server_time": server_time(),
    });
    object(told.says, fields, &["server_time"])
}

fn add_webhooks(add: &mut impl FnMut(&str, Value) -> Option<Value>) {
    let test = json!({
        "client_id": {"type": "string", "pattern": CLIENT_ID, "description": "Whose webhook it is."},
        "webhook_id": {"type": "string", "format": "uuid", "description": "Which webhook it is."},
    });
    add("WebhookTestData", object("What a test says.", test, &[]));
    let test = json!({
        "type": word("webhook.test", "Somebody asked for a test."),
        "timestamp": time("When it was asked for."),
        "data": described(reference("WebhookTestData"), "Which webhook is tried."),
    });
    add("WebhookTestMessage", object("A test of a webhook.", test, &[]));
    let mut messages = of_kinds("Message");
    messages.push(("webhook.test".into(), "WebhookTestMessage".into()));
    add("WebhookMessage", union("What is posted to a webhook.", "type", &messages));
}

/// How a client's id is written.
pub(super) const CLIENT_ID: &str = "^hc_[0-9A-Za-z_-]+$";

/// The calls that Hoga makes, by the type of what is told.
pub(super) fn webhooks() -> Map<String, Value> {
    let messages = of_kinds("Message").into_iter();
    let test = ("webhook.test".to_owned(), "WebhookTestMessage".to_owned());
    messages.chain([test]).map(|(word, message)| (word.clone(), webhook(&word, &message))).collect()
}

fn webhook(word: &str, message: &str) -> Value {
    let header = |name: &str, description: &str, example: &str| {
        json!({
            "name": name, "in": "header", "required": true, "description": description,
            "schema": {"type": "string"}, "example": example,
        })
    };
    json!({"post": {
        "operationId": format!("hear_{}", word.replace('.', "_")),
        "summary": format!("Hear of {word}"),
        "description": "Signed as Standard Webhooks has it. At least once: by `webhook-id` a receiver knows what it had.",
        "tags": ["client webhooks"],
        "security": [],
        "parameters": [
            header("webhook-id", "The same at every attempt: `<auction_id>:<seq>`, or `test:<delivery id>`.", "01935b2e-7c1a-7000-8000-000000000000:42"),
            header("webhook-timestamp", "When this attempt was made, in seconds since 1970-01-01T00:00:00Z.", "1796115600"),
            header("webhook-signature", "`v1,` and the HMAC-SHA256 of `<webhook-id>.<webhook-timestamp>.<body>` in base64; several, separated by spaces, while a secret is replaced.", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
        ],
        "requestBody": {"required": true, "content": {"application/json": {"schema": reference(message)}}},
        "responses": {
            "2XX": {"description": "It was heard. What the body says does not matter."},
            "410": {"description": "Nobody listens here any more: the webhook is disabled."},
            "default": {"description": "It is told again later, for five days."},
        },
    }})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::auction::Event;

    #[test]
    fn every_kind_of_notification_has_its_schemas() {
        let mut described: Vec<&str> = TOLD.iter().map(|told| told.word).collect();
        described.sort_unstable();
        let mut known = crate::notify::Kind::ALL.map(|kind| kind.word()).to_vec();
        known.sort_unstable();
        assert_eq!(described, known);
    }

    #[test]
    fn every_type_of_event_has_its_schemas() {
        let words: Vec<&str> = KINDS.iter().map(|kind| kind.word).collect();
        let mut known = Event::KINDS.to_vec();
        known.sort_unstable();
        let mut described = words.clone();
        described.sort_unstable();
        assert_eq!(described, known);
    }
}
