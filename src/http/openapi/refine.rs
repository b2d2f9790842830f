//! What the derived schemas cannot say, said of the collected document in one pass after the other:
//! the shapes of requests, closed sets whose words other layers own, one form of ids, streams,
//! webhooks, examples, and `HEAD`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{events, examples};
use crate::{
    domain::{
        auction::{Event, increment::RULES_MAX, terms},
        money::Amount,
    },
    http::kit::{head, problem::Code},
    identity::{clients, oauth::authorize::STATE_BYTES_MAX},
};

/// The form of every id but a client's: a UUIDv7, lower-case and hyphenated.
const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";

/// Everything, in the order in which one pass needs another.
pub(super) fn refine(document: &mut Value) {
    require_what_is_always_sent(document);
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.extend(events::schemas());
        schemas.extend(requests());
        // Of the request as it is read, of which the union says more.
        schemas.remove("IncrementKind");
        // Of which each kind of notification has its own part.
        schemas.remove("NotificationData");
    }
    document["webhooks"] = events::webhooks().into();
    change_fields(document);
    everywhere(document, &mut one_form_of_ids);
    everywhere(document, &mut no_default_of_null);
    everywhere(document, &mut describe_what_may_be_null);
    describe_parameters(document);
    limit_parameters(document);
    describe_streams(document);
    examples::add(document);
    add_head(document);
}

/// Requests of which a field decides what others may be, and increments, which are answered too.
fn requests() -> Map<String, Value> {
    let amount = |description: &str| json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": Amount::CAP_MAX.minor_units(), "description": description});
    // No value at all, so that types made of it have no such field: not even one of null.
    let absent = || json!(false);
    let object = |description: &str, required: &[&str], properties: Value| json!({"type": "object", "description": description, "required": required, "properties": properties, "additionalProperties": false});
    let one_of = |description: &str, names: &[&str]| {
        let options: Vec<Value> = names.iter().map(|name| reference(name)).collect();
        json!({"description": description, "oneOf": options})
    };
    let optional = |mut schema: Value| {
        schema["type"] = json!([schema["type"], "null"]);
        schema
    };
    let kind = |word: &str, description: &str| json!({"type": "string", "const": word, "description": description});
    let expected_seq = json!({"type": ["integer", "null"], "format": "int64", "minimum": 0, "description": "Refuse (`price_moved`) if the auction went past this sequence number."});
    let confirm_amount =
        optional(amount("The offer again, where `confirmation_required` asked for it."));
    let keyword = json!({"type": "string", "minLength": 2, "maxLength": 20, "description": "In upper or lower case."});
    let category = json!({"type": "string", "minLength": 1, "maxLength": 50, "description": "The category's slug."});
    // What others send along is left alone (RFC 6749, 3.2).
    let form = |description: &str, required: &[&str], properties: Value| {
        let client = json!({
            "client_id": {"type": "string", "description": "Of clients without a secret, and of those that send theirs in the body."},
            "client_secret": {"type": "string", "description": "Of server-side clients, unless they use HTTP Basic."},
            "scope": {"type": "string", "description": "Not narrowed."},
        });
        let mut form = json!({"type": "object", "description": description, "required": required, "properties": client});
        if let (Some(all), Value::Object(own)) = (form["properties"].as_object_mut(), properties) {
            all.extend(own);
        }
        form
    };
    let mut token_request = one_of(
        "A form as `/oauth/token` takes it: for a code, or for a refresh token.",
        &["AuthorizationCodeGrant", "RefreshTokenGrant"],
    );
    token_request["example"] = json!({
        "grant_type": "authorization_code", "client_id": "shop",
        "code": "4yqvC9zkZ9n8cXJ1Yw0mJr3l2Kq6tH5pB7sD8fG9hJ0",
        "redirect_uri": "https://shop.example.com/callback",
        "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    });
    let schemas = json!({
        "TokenRequest": token_request,
        "AuthorizationCodeGrant": form("Tokens for a code.", &["grant_type", "code", "redirect_uri", "code_verifier"], json!({
            "grant_type": kind("authorization_code", "For a code."),
            "code": {"type": "string", "description": "As it came back to the frontend."},
            "redirect_uri": {"type": "string", "description": "As it was at `/oauth/authorize`."},
            "code_verifier": {"type": "string", "pattern": "^[A-Za-z0-9._~-]{43,128}$", "description": "Of which the challenge was made (RFC 7636)."},
        })),
        "RefreshTokenGrant": form("Tokens for a refresh token.", &["grant_type", "refresh_token"], json!({
            "grant_type": kind("refresh_token", "For a refresh token."),
            "refresh_token": {"type": "string", "description": "The newest one; it counts no more afterwards."},
        })),
        "NewBid": one_of("A bid in minor units of the auction's currency: exact, or up to a ceiling.", &["NewExactBid", "NewCeilingBid"]),
        "NewExactBid": object("A bid of the price itself.", &["amount"], json!({
            "amount": amount("The price itself."),
            "max_amount": absent(),
            "expected_seq": expected_seq, "confirm_amount": confirm_amount,
        })),
        "NewCeilingBid": object("A bid up to a ceiling.", &["max_amount"], json!({
            "amount": absent(),
            "max_amount": amount("The exchange bids up to it. Private."),
            "expected_seq": expected_seq, "confirm_amount": confirm_amount,
        })),
        "Increment": one_of("By how much a bid must exceed the price.", &["IncrementFixed", "IncrementPercentOfOpening", "IncrementHouseTable", "IncrementOwnTable"]),
        "IncrementFixed": object("One step.", &["kind", "step"], json!({
            "kind": kind("fixed", "Always the same step."),
            "step": amount("In minor units."),
        })),
        "IncrementPercentOfOpening": object("A share of the opening price, rounded up.", &["kind", "basis_points"], json!({
            "kind": kind("percent_of_opening", "A share of the opening price."),
            "basis_points": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 100_000, "description": "100 is one percent."},
        })),
        "IncrementHouseTable": object("A table of the house.", &["kind", "table"], json!({
            "kind": kind("table", "Rules on the current price."),
            "table": reference_described("TableName", "Which."),
            "rules": absent(),
        })),
        "IncrementOwnTable": object("A table of the seller's own.", &["kind", "rules"], json!({
            "kind": kind("table", "Rules on the current price."),
            "table": absent(),
            "rules": {"type": "array", "minItems": 1, "maxItems": RULES_MAX, "items": reference("IncrementRule"), "description": "On the current price, the last rule with `below` null."},
        })),
        "NewKeywordAlert": {
            "description": "What the caller wants to hear of: a part of the title, a category, or both together.",
            "anyOf": [reference("NewAlertOfKeyword"), reference("NewAlertOfCategory")],
        },
        "NewAlertOfKeyword": object("Of a part of the title, in a category or in all of them.", &["keyword"], json!({
            "keyword": keyword, "category": optional(category.clone()),
        })),
        "NewAlertOfCategory": object("Of a category, with a part of the title or without.", &["category"], json!({
            "keyword": optional(keyword.clone()), "category": category,
        })),
        "ReadNotifications": one_of("What the caller has read: some, or all up to one.", &["ReadSome", "ReadUpTo"]),
        "ReadSome": object("Some notifications.", &["ids"], json!({
            "ids": {"type": "array", "maxItems": 1_000, "items": {"type": "integer", "format": "int64"}, "description": "Those that are not the caller's are left alone."},
            "up_to": absent(),
        })),
        "ReadUpTo": object("All up to one.", &["up_to"], json!({
            "ids": absent(),
            "up_to": {"type": "integer", "format": "int64", "description": "This one and all before it."},
        })),
    });
    let Value::Object(schemas) = schemas else { return Map::new() };
    schemas
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn reference_described(name: &str, description: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}"), "description": description})
}

/// Sets what stands here on a field of a schema, or on its items.
fn change_fields(document: &mut Value) {
    let cap = Amount::CAP_MAX.minor_units();
    let types: Vec<&str> = Event::KINDS.into_iter().chain(["auction.*", "bid.*", "*"]).collect();
    let word = json!({"minLength": 1, "maxLength": terms::WORD_CHARS_MAX});
    let uri = json!({"format": "uri"});
    // What an exchange takes that may call this very machine is said beside it.
    let https = json!({"format": "uri", "pattern": "^https://.+$"});
    let words = |words: &[&str]| json!({"enum": words});
    let client = json!({"pattern": events::CLIENT_ID});
    let changes: &[(&[&str], &[&str], Value)] = &[
        (
            &["NewAuction", "AuctionChanges", "Relisting"],
            &["opening_price", "reserve_price", "buy_now_price"],
            json!({"maximum": cap}),
        ),
        (&["BuyNow"], &["amount"], json!({"maximum": Amount::MAX.minor_units()})),
        (&["IncrementRule"], &["step"], json!({"maximum": cap})),
        (&["IncrementRule"], &["below"], json!({"maximum": Amount::MAX.minor_units()})),
        (
            &["NewAuction", "AuctionChanges"],
            &["attributes"],
            json!({
                "maxProperties": terms::ATTRIBUTES_MAX,
                "propertyNames": {"type": "string", "minLength": 1, "maxLength": terms::WORD_CHARS_MAX},
                "additionalProperties": {"type": "string", "maxLength": terms::WORD_CHARS_MAX},
            }),
        ),
        (&["NewAuction", "AuctionChanges"], &["image_keys[]"], word),
        (&["NewWebhook", "WebhookChanges", "Webhook"], &["types[]"], words(&types)),
        (&["NewWebhook", "WebhookChanges"], &["url"], https.clone()),
        (&["Webhook"], &["url"], uri.clone()),
        (&["BrowserPushSubscription"], &["endpoint"], https),
        (&["BrowserPushKeys"], &["p256dh"], json!({"pattern": "^[A-Za-z0-9_-]{87}={0,1}$"})),
        (&["BrowserPushKeys"], &["auth"], json!({"pattern": "^[A-Za-z0-9_-]{22}={0,2}$"})),
        (&["PushSubscription"], &["service"], uri.clone()),
        (&["Problem"], &["type"], uri.clone()),
        (
            &["AuthorizationServer"],
            &[
                "issuer",
                "authorization_endpoint",
                "token_endpoint",
                "revocation_endpoint",
                "jwks_uri",
                "service_documentation",
            ],
            uri.clone(),
        ),
        (
            &["NewClient", "ClientChanges", "Client"],
            &["redirect_uris[]", "allowed_origins[]"],
            json!({"format": "uri", "maxLength": clients::URI_CHARS_MAX}),
        ),
        (
            &["RevocationRequest"],
            &["client_id", "client_secret", "token_type_hint"],
            json!({"type": "string"}),
        ),
        (&["Client"], &["id"], client.clone()),
        (&["Webhook"], &["client_id"], client),
        (
            &["Auction", "Bidding", "Bid"],
            &["leader_alias", "alias", "bidder"],
            json!({"pattern": "^bidder-[1-9][0-9]*$"}),
        ),
        (&["Receipt"], &["hash"], json!({"pattern": "^[0-9a-f]{64}$"})),
        (&["Receipt"], &["ceiling_salt"], json!({"pattern": "^[0-9a-f]{32}$"})),
        (&["NewSellerApplication", "Company"], &["contact_email"], json!({"format": "email"})),
        (&["TokenSet"], &["token_type"], words(&["Bearer"])),
        (&["TokenSet"], &["scope"], words(&["api"])),
        (
            &["OAuthError"],
            &["error"],
            words(&[
                "invalid_request",
                "invalid_client",
                "invalid_grant",
                "unsupported_grant_type",
                "invalid_scope",
                "unsupported_token_type",
                "temporarily_unavailable",
                "server_error",
            ]),
        ),
        (&["AuthorizationServer"], &["scopes_supported[]"], words(&["api"])),
        (&["AuthorizationServer"], &["response_types_supported[]"], words(&["code"])),
        (&["AuthorizationServer"], &["response_modes_supported[]"], words(&["query"])),
        (&["AuthorizationServer"], &["code_challenge_methods_supported[]"], words(&["S256"])),
        (
            &["AuthorizationServer"],
            &["grant_types_supported[]"],
            words(&["authorization_code", "refresh_token"]),
        ),
        (
            &["AuthorizationServer"],
            &[
                "token_endpoint_auth_methods_supported[]",
                "revocation_endpoint_auth_methods_supported[]",
            ],
            words(&["none", "client_secret_basic", "client_secret_post"]),
        ),
    ];
    let schemas = &mut document["components"]["schemas"];
    for (names, fields, change) in changes {
        for (name, field) in names.iter().flat_map(|name| fields.iter().map(move |f| (name, f))) {
            let properties = schemas[*name]["properties"].as_object_mut();
            let bare = field.trim_end_matches("[]");
            let Some(property) = properties.and_then(|all| all.get_mut(bare)) else { continue };
            let changed = if bare == *field { property } else { &mut property["items"] };
            if let (Some(changed), Some(change)) = (changed.as_object_mut(), change.as_object()) {
                changed.extend(change.clone());
            }
        }
    }
    let keys = json!({
        "type": "object", "description": "An Ed25519 key (RFC 8037).",
        "required": ["kty", "crv", "alg", "use", "kid", "x"],
        "properties": {
            "kty": {"type": "string", "const": "OKP", "description": "The family of keys."},
            "crv": {"type": "string", "const": "Ed25519", "description": "The curve."},
            "alg": {"type": "string", "const": "EdDSA", "description": "The algorithm."},
            "use": {"type": "string", "const": "sig", "description": "It signs."},
            "kid": {"type": "string", "description": "As tokens and checkpoints name it."},
            "x": {"type": "string", "description": "The public key in base64url."},
        },
    });
    schemas["JwkSet"]["properties"]["keys"]["items"] = reference("Jwk");
    schemas["Jwk"] = keys;
}

/// Does something with every object of the document.
fn everywhere(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| everywhere(item, change)),
        Value::Object(fields) => {
            change(fields);
            fields.values_mut().for_each(|value| everywhere(value, change));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Fields of answers that are not always there; of these schemas, any field that may be null.
const NOT_ALWAYS_SENT: &[(&str, &[&str])] = &[
    ("Auction", &["reserve_price"]),
    ("Receipt", &["ceiling_salt"]),
    ("Client", &["secret"]),
    ("Webhook", &["secret"]),
    ("Problem", &[]),
    ("OpenMatter", &[]),
];

/// What only answers have is there even where it is null, which derives cannot know.
fn require_what_is_always_sent(document: &mut Value) {
    let (mut asked, mut answered) = (BTreeSet::new(), BTreeSet::new());
    for (_, _, operation) in operations(document) {
        names_in(&operation["requestBody"], &mut asked);
        names_in(&operation["responses"], &mut answered);
    }
    let schemas = &mut document["components"]["schemas"];
    with_what_they_name(schemas, &mut asked);
    with_what_they_name(schemas, &mut answered);
    for name in answered.difference(&asked) {
        let not_always = NOT_ALWAYS_SENT.iter().find(|(schema, _)| schema == name);
        let not_always = not_always.map(|(_, fields)| *fields);
        let Some(schema) = schemas.get_mut(name) else { continue };
        let fields = schema["properties"].as_object().into_iter().flat_map(Map::keys);
        let always = |field: &&String| !not_always.unwrap_or(&[]).contains(&field.as_str());
        let required: Vec<String> = fields.filter(always).cloned().collect();
        if !required.is_empty() && not_always != Some(&[]) {
            schema["required"] = required.into();
        }
    }
}

/// The schemas that are named anywhere in it.
fn names_in(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| names_in(item, names)),
        Value::Object(fields) => {
            let name = fields.get("$ref").and_then(Value::as_str);
            let name = name.and_then(|path| path.strip_prefix("#/components/schemas/"));
            names.extend(name.map(str::to_owned));
            fields.values().for_each(|value| names_in(value, names));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Adds what these schemas name, and what that names.
fn with_what_they_name(schemas: &Value, names: &mut BTreeSet<String>) {
    let mut known = 0;
    while known < names.len() {
        known = names.len();
        for name in names.clone() {
            names_in(&schemas[&name], names);
        }
    }
}

/// What is left out of a request stays as it is, and null takes it away: null is no default.
fn no_default_of_null(schema: &mut Map<String, Value>) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}

fn one_form_of_ids(schema: &mut Map<String, Value>) {
    if schema.get("format").is_some_and(|format| format == "uuid") {
        schema.insert("pattern".into(), UUID.into());
    }
}

/// Of what is null or another schema, the description stands with the field.
fn describe_what_may_be_null(schema: &mut Map<String, Value>) {
    if schema.contains_key("description") {
        return;
    }
    let options = schema.get_mut("oneOf").and_then(Value::as_array_mut);
    let described = options.into_iter().flatten().find_map(|option| {
        let option = option.as_object_mut().filter(|option| option.contains_key("$ref"))?;
        option.remove("description")
    });
    if let Some(description) = described {
        schema.insert("description".into(), description);
    }
}

/// Every operation with its path and method.
fn operations(document: &mut Value) -> impl Iterator<Item = (&String, &String, &mut Value)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object_mut().into_iter().flatten();
        methods.map(move |(method, operation)| (path, method, operation))
    })
}

/// What parameters may be, beyond their types.
fn limit_parameters(document: &mut Value) {
    let words = json!({"maxLength": terms::WORD_CHARS_MAX});
    let price = json!({"maximum": Amount::MAX.minor_units()});
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.word()).collect();
    let limits = [
        ("start_login", "response_type", json!({"enum": ["code"]})),
        ("start_login", "response_mode", json!({"enum": ["query"]})),
        ("start_login", "code_challenge", json!({"pattern": "^[A-Za-z0-9_-]{43}$"})),
        ("start_login", "code_challenge_method", json!({"enum": ["S256"]})),
        // Words of Kakao's, several with commas between them; it knows others than we do.
        ("start_login", "prompt", json!({"pattern": "^[a-z_, ]{1,64}$"})),
        ("start_login", "state", json!({"maxLength": STATE_BYTES_MAX})),
        ("list_auctions", "q", words.clone()),
        ("list_auctions", "category", words),
        ("list_auctions", "min_price", price.clone()),
        ("list_auctions", "max_price", price),
        ("get_problem", "code", json!({"enum": codes})),
    ];
    for (_, _, operation) in operations(document) {
        let id = operation["operationId"].clone();
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            let limit = limits.iter().find(|(of, name, _)| id == *of && parameter["name"] == *name);
            let schema = parameter["schema"].as_object_mut();
            if let (Some((_, _, Value::Object(limit))), Some(schema)) = (limit, schema) {
                schema.extend(limit.clone());
            }
        }
    }
}

/// What a parameter is, where the operation does not say it itself.
fn describe_parameters(document: &mut Value) {
    for (path, _, operation) in operations(document) {
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default();
            let whose = path.split('/').find_map(|part| match part {
                "auctions" => Some("The auction's id."),
                "clients" => Some("The client's id."),
                "users" => Some("The user's id."),
                "addresses" => Some("The address's id."),
                "keyword-alerts" => Some("The alert's id."),
                "push-subscriptions" => Some("The subscription's id."),
                "seller-applications" => Some("The application's id."),
                _ => None,
            });
            let description = match name {
                "id" => whose.unwrap_or_default(),
                "webhook_id" => "The webhook's id.",
                "delivery_id" => "The delivery's id.",
                "If-None-Match" => "The ETag of what is known; 304 where it still stands.",
                "status" => "Only those in this state.",
                "category" => "Only those of this category, by its slug.",
                "sort" => "The order of the list.",
                "app_id" => "The number of the app at Kakao.",
                "user_id" => "Kakao's id of the user.",
                _ => "",
            };
            if name == "id" && path.contains("/clients/") {
                parameter["schema"]["pattern"] = events::CLIENT_ID.into();
            }
            if parameter["description"].as_str().is_none_or(str::is_empty) {
                parameter["description"] = description.into();
            }
        }
    }
}

/// How a browser resumes a stream of many auctions.
const POSITIONS: &str = " Whenever all is told that there is, a block without data says only `id: #<hash of the list>:<seq>,<seq>,…`: \
    the last sequence number of each auction, in the order in which they were asked for. It is no event; sent back as \
    `Last-Event-ID` with the same list it resumes each of them.";

/// What comes over a stream; its schema is of one event, as a reader of streams gives it.
fn describe_streams(document: &mut Value) {
    for (_, _, operation) in operations(document) {
        let frame = match operation["operationId"].as_str() {
            Some("watch_auction_events" | "watch_events") => "AuctionFrame",
            Some("watch_my_events") => "InboxFrame",
            _ => continue,
        };
        let is_of_many = operation["operationId"] == "watch_events";
        let answer = &mut operation["responses"]["200"];
        answer["description"] = format!(
            "Server-sent events, each a `{frame}`: `event` and `id` as they are, `data` as JSON. A \
             comment every 15 s keeps the stream alive; `retry:` says how many milliseconds to wait \
             before coming back, each viewer another number.{}",
            if is_of_many { POSITIONS } else { "" }
        )
        .into();
        answer["content"]["text/event-stream"]["x-frame-schema"] = reference(frame);
    }
}

/// `HEAD` wherever there is `GET` and asking does nothing: the same headers without a body.
fn add_head(document: &mut Value) {
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        let Some(mut operation) = item.get("get").cloned() else { continue };
        if head::DOES_SOMETHING.contains(&path.as_str()) {
            continue;
        }
        let id = operation["operationId"].as_str().unwrap_or_default();
        let resource = id.split_once('_').map_or(id, |(_, resource)| resource);
        operation["operationId"] = format!("head_{resource}").into();
        let summary = operation["summary"].as_str().unwrap_or_default();
        operation["summary"] = format!("{summary}: headers alone").into();
        operation["description"] = "The headers that `GET` answers, without a body.".into();
        for answer in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(answer) = answer.as_object_mut() {
                answer.remove("content");
            }
        }
        item["head"] = operation;
    }
}
