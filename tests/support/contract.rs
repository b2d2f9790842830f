//! Holds every answer against the API document: its status, its type, its problem code and the
//! shape of its JSON.

use std::sync::LazyLock;

use hoga::http::{openapi, problem::Code};
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
    if answer.status >= 400 && answer.header("content-type") != Some("application/json") {
        check_problem(answer, &what);
    }
    let Some(operation) = operation(method, path) else { return };
    let described = &operation["responses"][answer.status.to_string()];
    assert!(described.is_object(), "the document does not know that {what}");
    if answer.status >= 400 && answer.header("content-type") == Some("application/problem+json") {
        let code = answer.json()["code"].as_str().expect("a code").to_owned();
        let listed = described["description"].as_str().expect("a description");
        assert!(listed.contains(&format!("`{code}`")), "its code is not described: {what}");
    }
    check_body(described, answer, &what);
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
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        let referred = DOCUMENT.pointer(pointer).ok_or(format!("{reference} leads nowhere"))?;
        return conforms(referred, value, place);
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
    let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
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

/// `2026-12-01T09:00:00.000Z`
fn is_time(text: &str) -> bool {
    let pattern = "0000-00-00T00:00:00.000Z";
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(given, wanted)| match wanted {
            b'0' => given.is_ascii_digit(),
            wanted => given == wanted,
        })
}
