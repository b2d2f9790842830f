//! How an operation is called: by curl, and by TypeScript without any library.

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::{Document, entries, items, operation::Operation, schema::pretty, typed, word};

/// Stands for an id where the document has no example.
const SOME_ID: &str = "01935b2e-7c1a-7000-8000-000000000000";
/// Schemas within schemas are filled in so deep.
const DEPTH_MAX: usize = 6;

pub(super) fn both(operation: &Operation<'_>) -> Markup {
    let document = &operation.document;
    // What a webhook is told is sent by this server.
    if operation.path.starts_with('/') {
        let call = Call::of(operation);
        html! {
            h4 { (document.say("Samples", "예제 코드")) }
            div class="samples" {
                p class="caption" { "curl" }
                pre tabindex="0" { (call.curl()) }
                p class="caption" { "TypeScript" }
                pre tabindex="0" { (call.typescript()) }
            }
        }
    } else {
        html! {}
    }
}

/// What is sent.
struct Call {
    method: String,
    url: String,
    /// In the order in which they are sent; values as they would stand in double quotes.
    headers: Vec<(String, Header)>,
    body: Body,
    is_stream: bool,
    has_answer: bool,
}

enum Header {
    Token,
    FreshKey,
    Text(String),
}

enum Body {
    None,
    Json(Value),
    Form(Vec<(String, String)>),
}

impl Call {
    fn of(operation: &Operation<'_>) -> Call {
        let document = &operation.document;
        let mut path = operation.path.to_owned();
        let mut query = form_urlencoded::Serializer::new(String::new());
        let (mut has_query, mut headers) = (false, Vec::new());
        let schemes: Vec<&String> = items(&operation.operation["security"])
            .flat_map(|scheme| entries(scheme).map(|(name, _)| name))
            .collect();
        if schemes.iter().any(|name| *name == "bearer") {
            headers.push(("Authorization".to_owned(), Header::Token));
        }
        for parameter in operation.all_parameters() {
            let name = word(parameter, "name");
            let value = typed(&example_of(document, parameter));
            match word(parameter, "in") {
                "path" => path = path.replace(&format!("{{{name}}}"), &value),
                "query" if parameter["required"] == true => {
                    has_query = true;
                    query.append_pair(name, &value);
                }
                "header" if name.eq_ignore_ascii_case("idempotency-key") => {
                    headers.push((name.to_owned(), Header::FreshKey));
                }
                "header" if parameter["required"] == true => {
                    headers.push((name.to_owned(), Header::Text(value)));
                }
                _ => {}
            }
        }
        let body = body_of(operation);
        if let Body::Json(_) = body {
            let json = Header::Text("application/json".to_owned());
            headers.push(("Content-Type".to_owned(), json));
        }
        let query = if has_query { format!("?{}", query.finish()) } else { String::new() };
        let success = entries(&operation.operation["responses"]).find(|(s, _)| s.starts_with('2'));
        let content = success.map_or(&Value::Null, |(_, answer)| &answer["content"]);
        Call {
            method: operation.method.to_uppercase(),
            url: format!("{}{path}{query}", document.url),
            headers,
            body,
            is_stream: content["text/event-stream"].is_object(),
            has_answer: content["application/json"].is_object(),
        }
    }

    fn curl(&self) -> String {
        let mut lines = vec![match (self.is_stream, self.method.as_str()) {
            (true, "GET") => format!("curl -N {}", in_quotes(&self.url)),
            (false, "GET") => format!("curl {}", in_quotes(&self.url)),
            // With `-X HEAD` curl would wait for a body that never comes.
            (_, "HEAD") => format!("curl --head {}", in_quotes(&self.url)),
            (_, method) => format!("curl -X {method} {}", in_quotes(&self.url)),
        }];
        for (name, value) in &self.headers {
            lines.push(match value {
                Header::Token => format!("-H \"{name}: Bearer $TOKEN\""),
                Header::FreshKey => format!("-H \"{name}: $(uuidgen)\""),
                Header::Text(text) => format!("-H {}", in_quotes(&format!("{name}: {text}"))),
            });
        }
        match &self.body {
            Body::None => {}
            Body::Json(value) => lines.push(format!("-d {}", in_quotes(&pretty(value)))),
            Body::Form(fields) => lines.extend(fields.iter().map(|(name, value)| {
                format!("--data-urlencode {}", in_quotes(&format!("{name}={value}")))
            })),
        }
        lines.join(" \\\n  ")
    }

    fn typescript(&self) -> String {
        let url = json!(self.url);
        let is_open = self.headers.is_empty() && matches!(self.body, Body::None);
        if self.is_stream && is_open {
            return format!(
                "const events = new EventSource({url})\n\
                 events.addEventListener('snapshot', (event) => {{\n  \
                   console.log(JSON.parse(event.data))\n}})"
            );
        }
        let mut options = Vec::new();
        if self.method != "GET" {
            options.push(format!("  method: '{}',", self.method));
        }
        if !self.headers.is_empty() {
            options.push("  headers: {".to_owned());
            options.extend(self.headers.iter().map(|(name, value)| {
                let value = match value {
                    Header::Token => "`Bearer ${token}`".to_owned(),
                    Header::FreshKey => "crypto.randomUUID()".to_owned(),
                    Header::Text(text) => json!(text).to_string(),
                };
                format!("    '{name}': {value},")
            }));
            options.push("  },".to_owned());
        }
        match &self.body {
            Body::None => {}
            Body::Json(value) => {
                let value = pretty(value).replace('\n', "\n  ");
                options.push(format!("  body: JSON.stringify({value}),"));
            }
            Body::Form(fields) => {
                let fields: Map<String, Value> =
                    fields.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
                let fields = pretty(&Value::Object(fields)).replace('\n', "\n  ");
                options.push(format!("  body: new URLSearchParams({fields}),"));
            }
        }
        let call = if options.is_empty() {
            format!("const response = await fetch({url})\n")
        } else {
            format!("const response = await fetch({url}, {{\n{}\n}})\n", options.join("\n"))
        };
        let problem = "if (!response.ok) throw await response.json()";
        let rest = match (self.is_stream, self.has_answer) {
            (true, _) => "\nconst events = response.body!.pipeThrough(new TextDecoderStream())",
            (false, true) => "\nconst answer = await response.json()",
            (false, false) => "",
        };
        format!("{call}{problem}{rest}")
    }
}

/// As a shell takes it, whatever is in it.
fn in_quotes(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn body_of(operation: &Operation<'_>) -> Body {
    let content = &operation.request_body()["content"];
    let value = |media| {
        let examples = operation.examples(media);
        examples.first().map_or_else(
            || made_up(&operation.document, &media["schema"], 0),
            |(_, example)| (*example).clone(),
        )
    };
    if content["application/json"].is_object() {
        return Body::Json(value(&content["application/json"]));
    }
    let form = &content["application/x-www-form-urlencoded"];
    if form.is_object() {
        let fields = value(form);
        let fields = entries(&fields).filter(|(_, value)| !value.is_null());
        return Body::Form(fields.map(|(name, value)| (name.clone(), typed(value))).collect());
    }
    Body::None
}

fn example_of(document: &Document<'_>, parameter: &Value) -> Value {
    let schema = document.resolved(&parameter["schema"]);
    let named = entries(&parameter["examples"]).map(|(_, example)| &example["value"]);
    let given = [&parameter["example"], &schema["example"], &schema["default"]];
    let given = given.into_iter().chain(named).find(|value| !value.is_null());
    if let Some(given) = given {
        return given.clone();
    }
    match word(schema, "format") {
        "uuid" => json!(SOME_ID),
        _ if !schema["enum"][0].is_null() => schema["enum"][0].clone(),
        _ => match word(parameter, "name") {
            "If-Match" => json!("\"1.1.0\""),
            name => json!(name.to_uppercase()),
        },
    }
}

/// A value that a schema would take, from its own examples where there are any: of an object what
/// it requires.
fn made_up(document: &Document<'_>, schema: &Value, depth: usize) -> Value {
    let schema = resolved(document, schema);
    let given = ["example", "const", "default"].map(|keyword| &schema[keyword]);
    let given = given.into_iter().chain([&schema["examples"][0], &schema["enum"][0]]);
    if let Some(given) = given.into_iter().find(|value| !value.is_null()) {
        return given.clone();
    }
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    for keyword in ["oneOf", "anyOf"] {
        if let Some(option) = items(&schema[keyword]).find(|option| option["type"] != "null") {
            return made_up(document, option, depth + 1);
        }
    }
    let properties = &schema["properties"];
    if properties.is_object() || schema["allOf"].is_array() {
        let mut fields = Map::new();
        for part in items(&schema["allOf"]) {
            if let Value::Object(part) = made_up(document, part, depth + 1) {
                fields.extend(part);
            }
        }
        for name in items(&schema["required"]).filter_map(Value::as_str) {
            fields.insert(name.to_owned(), made_up(document, &properties[name], depth + 1));
        }
        return Value::Object(fields);
    }
    let kind = match schema["type"].as_array() {
        Some(kinds) => kinds.first().unwrap_or(&Value::Null),
        None => &schema["type"],
    };
    let kind = kind.as_str().unwrap_or_default();
    match (kind, word(schema, "format")) {
        ("string", "uuid") => json!(SOME_ID),
        ("string", "date-time") => json!("2026-12-01T09:00:00.000Z"),
        ("string", "uri") => json!("https://shop.example.com"),
        ("string", _) => json!("…"),
        ("integer" | "number", _) if schema["minimum"].is_number() => schema["minimum"].clone(),
        ("integer" | "number", _) => json!(1),
        ("boolean", _) => json!(true),
        ("array", _) => json!([made_up(document, &schema["items"], depth + 1)]),
        _ => json!({}),
    }
}

/// What a `$ref` leads to. Values that were made up here live shorter than the document.
fn resolved<'v>(document: &Document<'v>, schema: &'v Value) -> &'v Value {
    document.resolved(schema)
}
