//! An example of every request and every answer, composed of examples of fields and schemas.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::events;
use crate::http::kit::problem::{Code, Language, Problem};

/// How deep schemas are composed; none of ours stands in itself.
const DEPTH_MAX: usize = 12;
/// Where the exchange of the examples is.
const BASE_URL: &str = "https://auction.example.com";
/// The request of the examples.
const REQUEST_ID: &str = "01935b2e-7c1a-7000-8000-00000000002a";

/// By field, parameter and schema; an object adds to what is composed, and its `-` takes away.
static GIVEN: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("examples.json")).expect("the examples are JSON")
});

/// Adds them where the document has none.
pub(super) fn add(document: &mut Value) {
    document["components"]["examples"] = problems(&document["paths"].to_string());
    let schemas = document["components"]["schemas"].clone();
    let composer = Composer { schemas: &schemas };
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            composer.add_to(operation);
        }
    }
    for item in document["webhooks"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        composer.add_to(&mut item["post"]);
    }
}

/// Of each code that an operation has.
fn problems(paths: &str) -> Value {
    let is_named =
        |code: &&Code| paths.contains(&format!("#/components/examples/{}\"", code.word()));
    let examples = Code::ALL.iter().filter(is_named).map(|code| {
        let body = Problem::from(*code).body(Language::English, BASE_URL, REQUEST_ID);
        let mut value = serde_json::to_value(body).unwrap_or_default();
        if let (Some(value), Some(more)) =
            (value.as_object_mut(), GIVEN["problems"][code.word()].as_object())
        {
            value.extend(more.clone());
        }
        let example = json!({"summary": code.title(Language::English), "value": value});
        (code.word().to_owned(), example)
    });
    examples.collect::<Map<_, _>>().into()
}

struct Composer<'a> {
    schemas: &'a Value,
}

impl Composer<'_> {
    fn add_to(&self, operation: &mut Value) {
        let is_of_many = operation["operationId"] == "watch_events";
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default();
            if parameter["required"] == true && parameter["example"].is_null() {
                let given = &GIVEN["parameters"][name];
                parameter["example"] = if given.is_null() {
                    self.compose(&parameter["schema"], name, 0)
                } else {
                    given.clone()
                };
            }
        }
        if let Some(body) = operation["requestBody"]["content"].as_object_mut() {
            body.values_mut().for_each(|media| self.add_to_media(media, false));
        }
        for answer in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            for header in answer["headers"].as_object_mut().into_iter().flatten() {
                let (name, header) = header;
                header["description"] = GIVEN["headers"][name]["description"].clone();
                header["example"] = GIVEN["headers"][name]["example"].clone();
            }
            if let Some(content) = answer["content"].as_object_mut() {
                content.values_mut().for_each(|media| self.add_to_media(media, is_of_many));
            }
            if answer["headers"].is_null() {
                answer.as_object_mut().map(|answer| answer.remove("headers"));
            }
            if answer["content"].is_null() {
                answer.as_object_mut().map(|answer| answer.remove("content"));
            }
        }
        for field in ["parameters", "requestBody"] {
            let is_empty = operation[field].is_null() || operation[field]["content"].is_null();
            if operation[field].is_null() || (field == "requestBody" && is_empty) {
                operation.as_object_mut().map(|operation| operation.remove(field));
            }
        }
    }

    fn add_to_media(&self, media: &mut Value, is_of_many: bool) {
        if !media["example"].is_null() || !media["examples"].is_null() {
            if let Some(media) = media.as_object_mut() {
                media.retain(|_, value| !value.is_null());
            }
            return;
        }
        media["example"] = if let Some(frame) = media["x-frame-schema"].as_object() {
            let frame = self.compose(&Value::Object(frame.clone()), "", 0);
            let id = if is_of_many { &frame["data"]["auction_id"] } else { &Value::Null };
            let id = id.as_str().map_or_else(|| "42".to_owned(), |auction| format!("{auction}:42"));
            format!("retry: 2718\n\nid: {id}\nevent: snapshot\ndata: {}\n\n", frame["data"]).into()
        } else {
            self.compose(&media["schema"], "", 0)
        };
        if let Some(media) = media.as_object_mut() {
            media.retain(|_, value| !value.is_null());
        }
    }

    /// An example of a schema that stands in this field.
    fn compose(&self, schema: &Value, field: &str, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        for given in [&schema["example"], &schema["const"], &schema["enum"][0]] {
            if !given.is_null() {
                return given.clone();
            }
        }
        if schema["$ref"] == "#/components/schemas/Money" && GIVEN["money"][field].is_object() {
            return GIVEN["money"][field].clone();
        }
        if let Some(reference) = schema["$ref"].as_str() {
            return self.compose_named(reference.rsplit('/').next().unwrap_or(""), depth);
        }
        let options = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
        if let Some(options) = options.filter(|_| schema["properties"].is_null()) {
            let some = options.iter().find(|option| option["type"] != "null");
            return some.map_or(Value::Null, |some| self.compose(some, field, depth + 1));
        }
        let given = &GIVEN["fields"][field];
        if is_of_kind(given, kind(schema)) {
            return given.clone();
        }
        match kind(schema) {
            "object" => self.compose_object(schema, depth),
            "array" => json!([self.compose(&schema["items"], field, depth + 1)]),
            "integer" | "number" => schema["minimum"].as_i64().unwrap_or(1).max(1).into(),
            "boolean" => false.into(),
            "null" => Value::Null,
            _ => match schema["format"].as_str() {
                Some("date-time") => GIVEN["fields"]["at"].clone(),
                Some("uuid") => GIVEN["fields"]["auction_id"].clone(),
                _ if schema["pattern"] == events::CLIENT_ID => GIVEN["fields"]["client_id"].clone(),
                _ => "…".into(),
            },
        }
    }

    fn compose_named(&self, name: &str, depth: usize) -> Value {
        let given = &GIVEN["schemas"][name];
        if let Some(other) = given.as_str() {
            return self.compose_named(other, depth + 1);
        }
        let mut composed = self.compose(&self.schemas[name], "", depth + 1);
        if let (Some(composed), Some(given)) = (composed.as_object_mut(), given.as_object()) {
            for gone in given.get("-").and_then(Value::as_array).into_iter().flatten() {
                composed.remove(gone.as_str().unwrap_or_default());
            }
            composed.extend(given.clone().into_iter().filter(|(name, _)| name != "-"));
        }
        composed
    }

    fn compose_object(&self, schema: &Value, depth: usize) -> Value {
        let properties = schema["properties"].as_object().into_iter().flatten();
        let there =
            properties.filter(|(_, property)| property["type"] != "null" && **property != false);
        let fields =
            there.map(|(name, property)| (name.clone(), self.compose(property, name, depth + 1)));
        fields.collect::<Map<_, _>>().into()
    }
}

fn is_of_kind(given: &Value, kind: &str) -> bool {
    match kind {
        "object" => given.is_object(),
        "array" => given.is_array(),
        "integer" | "number" => given.is_number(),
        "boolean" => given.is_boolean(),
        _ => given.is_string(),
    }
}

/// The type that is no null.
fn kind(schema: &Value) -> &str {
    let types = schema["type"].as_array();
    let one = types.and_then(|types| types.iter().find(|kind| *kind != "null"));
    one.unwrap_or(&schema["type"]).as_str().unwrap_or("string")
}
