//! Schemas as lists of fields: what the document says of each, whatever of JSON Schema it uses.

use maud::{Markup, html};
use serde_json::Value;

use super::{Document, anchor, entries, items, text, typed, word};

/// Schemas within schemas are shown so deep; what is named is linked to instead.
const DEPTH_MAX: usize = 8;
/// What a schema may demand besides its type, by its keyword.
const DEMANDS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "contentMediaType",
    "contentEncoding",
    "default",
];

/// A named schema, with its anchor.
pub(super) fn entry(document: &Document<'_>, name: &str, schema: &Value) -> Markup {
    let words = format!("{name} schema").to_lowercase();
    html! {
        details class="entry" id={ "schema-" (anchor(name)) } data-words=(words) {
            summary {
                span class="method" { "{ }" }
                span class="path" { (name) }
            }
            div class="body" {
                (text::markdown(word(schema, "description")))
                (whole(document, schema, 0))
                (examples(document, schema))
            }
        }
    }
}

/// What a body holds: the fields of a named schema too, for whoever reads one operation.
pub(super) fn body(document: &Document<'_>, schema: &Value) -> Markup {
    html! {
        p class="caption" { (kind(schema)) (demands(schema)) }
        (whole(document, document.resolved(schema), 0))
    }
}

/// Everything below a schema's head.
fn whole(document: &Document<'_>, schema: &Value, depth: usize) -> Markup {
    if depth > DEPTH_MAX {
        return html! {};
    }
    let required = |name: &str| items(&schema["required"]).any(|known| known == name);
    let has_fields = schema["properties"].is_object();
    let others = &schema["additionalProperties"];
    let variants = ["oneOf", "anyOf", "allOf"];
    html! {
        @if !has_fields && schema["oneOf"].is_null() && depth == 0 {
            p class="caption" { (kind(schema)) (demands(schema)) }
        }
        @if has_fields {
            ul class="fields" {
                // One that may not be there at all is none to read of.
                @for (name, field) in entries(&schema["properties"]).filter(|(_, f)| **f != false) {
                    (self::field(document, name, field, required(name), depth))
                }
            }
        }
        @if others.is_object() {
            ul class="fields" {
                (field(document, document.say("any other name", "그 밖의 이름"), others, false, depth))
            }
        }
        @if schema["items"].is_object() && schema["items"]["$ref"].is_null() {
            (whole(document, &schema["items"], depth + 1))
        }
        @for keyword in variants {
            @if let Some(options) = schema[keyword].as_array().filter(|options| has_structure(options)) {
                p class="caption" {
                    (how_many(document, keyword))
                    @if let Some(name) = schema["discriminator"]["propertyName"].as_str() {
                        " " (document.say("told apart by", "구분 필드:")) " " code { (name) }
                    }
                }
                ul class="variants" {
                    @for option in options {
                        li {
                            span class="name" { (word(option, "title")) } " "
                            span class="type" { (kind(option)) (demands(option)) }
                            (text::markdown(word(option, "description")))
                            (whole(document, document.resolved(option), depth + 1))
                        }
                    }
                }
            }
        }
    }
}

fn field(
    document: &Document<'_>,
    name: &str,
    field: &Value,
    is_required: bool,
    depth: usize,
) -> Markup {
    html! {
        li {
            span class="name" { code { (name) } } " "
            span class="type" { (kind(field)) (demands(field)) }
            @if is_required {
                " " span class="must" { (document.say("required", "필수")) }
            }
            @if field["deprecated"] == true {
                " " span class="must" { (document.say("deprecated", "지원 종료 예정")) }
            }
            (text::markdown(about(field)))
            @if let Some(example) = example(field) {
                p class="caption" { (document.say("such as ", "예: ")) code { (typed(example)) } }
            }
            @if field["$ref"].is_null() { (whole(document, field, depth + 1)) }
        }
    }
}

/// Its description, or that of the one thing that it is besides null.
fn about(field: &Value) -> &str {
    let own = word(field, "description");
    if !own.is_empty() {
        return own;
    }
    let options = items(&field["oneOf"]).chain(items(&field["anyOf"]));
    let mut described = options.map(|option| word(option, "description")).filter(|d| !d.is_empty());
    described.next().unwrap_or_default()
}

fn example(schema: &Value) -> Option<&Value> {
    let own = &schema["example"];
    if own.is_null() { items(&schema["examples"]).next() } else { Some(own) }
}

fn examples(document: &Document<'_>, schema: &Value) -> Markup {
    html! {
        @if let Some(example) = example(schema).filter(|example| !example.is_string()) {
            h4 { (document.say("Example", "예시")) }
            pre tabindex="0" { (pretty(example)) }
        }
    }
}

pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Whether options are more than names, which [`kind`] tells already.
fn has_structure(options: &[Value]) -> bool {
    let structured = options.iter().filter(|option| option["type"] != "null");
    structured.clone().count() > 1
        || structured.clone().any(|option| option["properties"].is_object())
}

fn how_many<'a>(document: &Document<'_>, keyword: &str) -> &'a str {
    match keyword {
        "oneOf" => document.language.say("exactly one of these", "다음 중 정확히 하나"),
        "anyOf" => document.language.say("at least one of these", "다음 중 하나 이상"),
        _ => document.language.say("all of these together", "다음을 모두 포함"),
    }
}

/// The type in a line: `integer | null`, `array of Bid`, `"won" | "ebay_usd"`.
pub(super) fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return html! { a href={ "#schema-" (anchor(name)) } { (name) } };
    }
    if !schema["const"].is_null() {
        return html! { code { (schema["const"].to_string()) } };
    }
    if let Some(words) = schema["enum"].as_array() {
        return html! {
            @for (place, word) in words.iter().enumerate() {
                @if place > 0 { " | " }
                code { (word.to_string()) }
            }
        };
    }
    let options = ["oneOf", "anyOf", "allOf"].into_iter().find_map(|keyword| {
        let joint = if keyword == "allOf" { " & " } else { " | " };
        schema[keyword].as_array().map(|options| (options, joint))
    });
    if let Some((options, joint)) = options {
        return html! {
            @for (place, option) in options.iter().enumerate() {
                @if place > 0 { (joint) }
                (kind(option))
            }
        };
    }
    let format = word(schema, "format");
    html! {
        @match &schema["type"] {
            Value::String(name) if name == "array" => { "array of " (kind(&schema["items"])) }
            Value::String(name) => { (name) }
            Value::Array(names) => {
                @for (place, name) in names.iter().enumerate() {
                    @if place > 0 { " | " }
                    @if name == "array" { "array of " (kind(&schema["items"])) }
                    @else { (typed(name)) }
                }
            }
            _ if schema["properties"].is_object() => { "object" }
            _ => { "any" }
        }
        @if !format.is_empty() { " (" (format) ")" }
    }
}

/// What else a value must satisfy.
pub(super) fn demands(schema: &Value) -> Markup {
    html! {
        @for keyword in DEMANDS.iter().filter(|keyword| !schema[**keyword].is_null()) {
            ", " (keyword) " " code { (typed(&schema[*keyword])) }
        }
    }
}
