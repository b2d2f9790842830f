//! Holds every answer against the API document: its status, its type, its problem code and the
//! shape of its JSON.

use std::sync::LazyLock;

use hoga::http::{
    kit::{operations, problem::Code},
    openapi,
};
use serde_json::{Map, Value};

use super::callers::Answer;

/// The document, as it is served.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(&openapi::document_text()).expect("the API document is JSON")
});

/// Fails when the document does not describe the answer.
#[track_caller]
pub fn check(method: &str, path: &str, answer: &Answer) {
    let what = format!("{method} {path} answered {}: {:?}", answer.status, answer.bytes);
    if method == "OPTIONS" {
        // A browser's own question, which no page ever sees.
        return;
    }
    assert!(answer.headers.contains_key("x-request-id"), "no X-Request-Id: {what}");
    let has_body = method != "HEAD";
    assert!(has_body || answer.bytes.is_empty(), "HEAD has a body: {what}");
    if has_body && answer.status >= 400 && answer.header("content-type") != Some("application/json")
    {
        check_problem(answer, &what);
    }
    let Some(operation) = operation(method, path) else { return };
    let described = &operation["responses"][answer.status.to_string()];
    assert!(described.is_object(), "the document does not know that {what}");
    if !has_body {
        return;
    }
    if answer.status >= 400 && answer.header("content-type") == Some("application/problem+json") {
        let code = answer.json()["code"].as_str().expect("a code").to_owned();
        let id = operation["operationId"].as_str().unwrap_or_default();
        let line = operations::line(id).expect("a line in src/http/routes.rs");
        let codes = line.codes();
        let is_declared = codes.iter().any(|known| known.word() == code);
        assert!(is_declared, "{id} does not say that it gives `{code}`: {what}");
        let listed = described["description"].as_str().expect("a description");
        assert!(listed.contains(&format!("`{code}`")), "its code is not described: {what}");
    }
    check_body(described, answer, &what);
}

/// Fails when the document does not describe what was told over a stream or to a webhook.
#[track_caller]
pub fn check_told(schema: &str, told: &Value) {
    conforms(&DOCUMENT["components"]["schemas"][schema], told, schema)
        .unwrap_or_else(|error| panic!("{error}: {told}"));
}

/// RFC 9457, and what Hoga adds.
#[track_caller]
fn check_problem(answer: &Answer, what: &str) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    let problem = answer.json();
    conforms(&DOCUMENT["components"]["schemas"]["Problem"], &problem, "problem")
        .unwrap_or_else(|error| panic!("{error}: {what}"));
    let code = problem["code"].as_str().and_then(Code::from_word).expect("a known code");
    assert_eq!(problem["status"], answer.status, "{what}");
    assert_eq!(code.status().as_u16(), answer.status, "{what}");
    let link = problem["type"].as_str().expect("a type");
    assert!(link.ends_with(&format!("/problems/{}", code.word())), "{what}");
    assert_ne!(problem["request_id"], "", "{what}");
}

#[track_caller]
fn check_body(described: &Value, answer: &Answer, what: &str) {
    let Some(content) = described["content"].as_object() else {
        assert!(answer.bytes.is_empty(), "the document knows no body: {what}");
        return;
    };
    // What follows the type, such as a charset, is not part of its name.
    let kind = answer.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let Some(media) = content.get(kind) else { panic!("not as this type: {what}") };
    if kind.ends_with("json") {
        conforms(&media["schema"], &answer.json(), "body")
            .unwrap_or_else(|error| panic!("{error}: {what}"));
    }
}

/// The operation of a path: a template fits where its literal parts do.
pub fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let fits = |template: &str| {
        let (mut parts, mut given) = (template.split('/'), path.split('/'));
        loop {
            match (parts.next(), given.next()) {
                (None, None) => return true,
                (Some(part), Some(given))
                    if part == given || (part.starts_with('{') && !given.is_empty()) => {}
                _ => return false,
            }
        }
    };
    let item = paths.iter().find(|(template, _)| fits(template)).map(|(_, item)| item)?;
    item.get(method.to_ascii_lowercase())
}

/// As much of JSON Schema as the document uses; a field that it does not describe is an error.
pub fn conforms(schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    if *schema == false {
        return Err(format!("{place} may not be there: {value}"));
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        let referred = DOCUMENT.pointer(pointer).ok_or(format!("{reference} leads nowhere"))?;
        return conforms(referred, value, place);
    }
    if let Some(told_apart_by) = schema["discriminator"]["propertyName"].as_str() {
        // The one that it claims to be says what is wrong.
        let word = value[told_apart_by].as_str().unwrap_or_default();
        let Some(reference) = schema["discriminator"]["mapping"].get(word) else {
            return Err(format!("{place}: {word:?} is no {told_apart_by} of these: {value}"));
        };
        conforms(&serde_json::json!({"$ref": reference}), value, place)?;
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let wrong = options.iter().map(|option| conforms(option, value, place));
        if wrong.clone().all(|wrong| wrong.is_err()) {
            return Err(format!("{place}: {value} fits none of anyOf"));
        }
    }
    if let Some(options) = schema["oneOf"].as_array() {
        let fits = |option| conforms(option, value, place);
        return match options.iter().filter(|option| fits(option).is_ok()).count() {
            1 => Ok(()),
            count => Err(format!("{place}: {value} fits {count} of oneOf")),
        };
    }
    if let Some(options) = schema["enum"].as_array()
        && !options.contains(value)
    {
        return Err(format!("{place}: {value} is none of {options:?}"));
    }
    if !schema["type"].is_null() && !is_of_type(&schema["type"], value) {
        return Err(format!("{place}: {value} is not {}", schema["type"]));
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        return Err(format!("{place}: {value} is not {}", schema["const"]));
    }
    if let Some(most) = schema["maximum"].as_i64()
        && value.as_i64().is_some_and(|number| number > most)
    {
        return Err(format!("{place}: {value} is above {most}"));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        // The clients of tests are registered under readable ids by hand.
        && !pattern.starts_with("^hc_")
        && !matches(pattern, text)
    {
        return Err(format!("{place}: {text:?} does not match {pattern}"));
    }
    if let Some(text) = value.as_str() {
        let chars = text.chars().count() as u64;
        let least = schema["minLength"].as_u64().unwrap_or(0);
        let most = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
        if !(least..=most).contains(&chars) {
            return Err(format!("{place}: {text:?} has not {least} to {most} characters"));
        }
    }
    if let Some(least) = schema["minimum"].as_i64()
        && value.as_i64().is_some_and(|number| number < least)
    {
        return Err(format!("{place}: {value} is below {least}"));
    }
    if schema["format"] == "date-time"
        && let Some(text) = value.as_str()
        && !is_time(text)
    {
        return Err(format!("{place}: {text} is not a time with milliseconds and Z"));
    }
    if let Some(items) = value.as_array() {
        for (no, item) in items.iter().enumerate() {
            conforms(&schema["items"], item, &format!("{place}[{no}]"))?;
        }
    }
    value.as_object().map_or(Ok(()), |fields| fields_conform(schema, fields, place))
}

fn fields_conform(schema: &Value, fields: &Map<String, Value>, place: &str) -> Result<(), String> {
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            return Err(format!("{place} lacks {name}"));
        }
    }
    if let Some(most) = schema["maxProperties"].as_u64()
        && fields.len() as u64 > most
    {
        return Err(format!("{place} has more than {most} properties"));
    }
    for name in fields.keys().filter(|_| schema["propertyNames"].is_object()) {
        conforms(&schema["propertyNames"], &Value::from(name.as_str()), place)?;
    }
    let Some(properties) = schema["properties"].as_object() else {
        let mut values = fields.iter().filter(|_| schema["additionalProperties"].is_object());
        return values.try_for_each(|(name, value)| {
            conforms(&schema["additionalProperties"], value, &format!("{place}.{name}"))
        });
    };
    for (name, value) in fields {
        let Some(property) = properties.get(name) else {
            return Err(format!("{place}.{name} is not described"));
        };
        conforms(property, value, &format!("{place}.{name}"))?;
    }
    Ok(())
}

fn is_of_type(expected: &Value, value: &Value) -> bool {
    let is = |word: &Value| match word.as_str().unwrap_or_default() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        word => panic!("the document names an unknown type {word}"),
    };
    expected.as_array().map_or_else(|| is(expected), |words| words.iter().any(is))
}

/// As much of a pattern as the document uses: from `^` to `$` characters and classes, each as often as
/// what follows it says, none of which needs to be tried in two ways.
fn matches(pattern: &str, text: &str) -> bool {
    let whole = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$'));
    let mut pattern = whole.expect("the document's patterns are of whole texts");
    let mut left = text;
    while let Some(first) = pattern.chars().next() {
        let class_end = if first == '[' { pattern.find(']').expect("a class ends") + 1 } else { 1 };
        let (class, rest) = pattern.split_at(class_end);
        let (least, most, rest) = how_often(rest);
        let count = left.chars().take(most).take_while(|c| is_in_class(class, *c)).count();
        if count < least {
            return false;
        }
        left = &left[left.char_indices().nth(count).map_or(left.len(), |(place, _)| place)..];
        pattern = rest;
    }
    left.is_empty()
}

fn how_often(rest: &str) -> (usize, usize, &str) {
    match rest.chars().next() {
        Some('+') => (1, usize::MAX, &rest[1..]),
        Some('*') => (0, usize::MAX, &rest[1..]),
        Some('{') => {
            let end = rest.find('}').expect("a count ends");
            let (least, most) =
                rest[1..end].split_once(',').unwrap_or((&rest[1..end], &rest[1..end]));
            let number = |text: &str| text.parse().expect("a count is a number");
            (number(least), number(most), &rest[end + 1..])
        }
        _ => (1, 1, rest),
    }
}

fn is_in_class(class: &str, c: char) -> bool {
    if class == "." {
        return c != '\n';
    }
    let Some(inside) = class.strip_prefix('[').and_then(|class| class.strip_suffix(']')) else {
        return class.starts_with(c);
    };
    let chars: Vec<char> = inside.chars().collect();
    let is_range =
        |place: usize| chars.get(place + 1) == Some(&'-') && chars.get(place + 2).is_some();
    let mut place = 0;
    while place < chars.len() {
        let last = if is_range(place) { chars[place + 2] } else { chars[place] };
        if (chars[place]..=last).contains(&c) {
            return true;
        }
        place += if is_range(place) { 3 } else { 1 };
    }
    false
}

/// `2026-12-01T09:00:00.000Z`
fn is_time(text: &str) -> bool {
    let pattern = "0000-00-00T00:00:00.000Z";
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(given, wanted)| match wanted {
            b'0' => given.is_ascii_digit(),
            wanted => given == wanted,
        })
}
