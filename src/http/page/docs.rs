//! `/docs` and `/openapi.json`: the API document to be read by people and by programs.
//!
//! The page is made of the document's JSON and of nothing else but the table of who may call, so
//! that it shows whatever the document says. It is made with the first request for it.

mod operation;
mod sample;
mod schema;
mod text;

use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use maud::{Markup, html};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use self::operation::Operation;
use super::{Frame, language, served::Served};
use crate::http::{
    State,
    kit::problem::{Code, Language, Problem},
    openapi,
};

/// The page in each language, and the document itself.
#[derive(Default)]
pub(super) struct Docs {
    english: OnceCell<Served>,
    korean: OnceCell<Served>,
    document: OnceCell<Served>,
}

/// The document as people read it.
pub(super) async fn get_docs(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let language = language(&request);
    let cell = match language {
        Language::English => &state.pages.docs.english,
        Language::Korean => &state.pages.docs.korean,
    };
    let url = state.public_url().to_owned();
    let make = move || {
        let document: Value = serde_json::from_str(&openapi::document_text()).unwrap_or_default();
        let page = Document { document: &document, language, url: &url }.page();
        Served::new("text/html; charset=utf-8", page)
    };
    once(cell, make, &request, ", Accept-Language").await
}

/// The document, as `hoga openapi` prints it.
pub(super) async fn get_openapi(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let make = || Served::new("application/json", openapi::document_text());
    once(&state.pages.docs.document, make, &request, "").await
}

/// Made off the thread that serves others, once for all who ask at the same time.
async fn once(
    cell: &OnceCell<Served>,
    make: impl FnOnce() -> Served + Send + 'static,
    request: &HttpRequest,
    varies: &str,
) -> HttpResponse {
    match cell.get_or_try_init(|| web::block(make)).await {
        Ok(served) => served.answer(request, varies),
        Err(_) => Problem::from(Code::Overloaded).error_response(),
    }
}

/// The document and how it is to be read.
#[derive(Clone, Copy)]
struct Document<'a> {
    document: &'a Value,
    language: Language,
    /// Where the samples go.
    url: &'a str,
}

impl<'a> Document<'a> {
    fn say<'t>(&self, en: &'t str, ko: &'t str) -> &'t str {
        self.language.say(en, ko)
    }

    /// What a `$ref` leads to; anything else as it is.
    fn resolved(&self, value: &'a Value) -> &'a Value {
        let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.and_then(|pointer| self.document.pointer(pointer)).unwrap_or(value)
    }

    /// The operations of a tag, those with most users first as the table of who may call has them.
    fn operations(&self, of: &'a str) -> Vec<Operation<'a>> {
        let mut found = Vec::new();
        for (path, item) in entries(&self.document[of]) {
            for (method, operation) in entries(item) {
                if operation.is_object() && method != "parameters" {
                    found.push(Operation { document: *self, path, method, operation });
                }
            }
        }
        found.sort_by_key(Operation::place);
        found
    }

    fn page(&self) -> String {
        let info = &self.document["info"];
        let title = self.say("Hoga API", "Hoga API 문서");
        let operations = self.operations("paths");
        let sections = self.sections(&operations);
        let webhooks = self.operations("webhooks");
        let content = html! {
            div class="wide docs" {
                aside { (self.contents(&sections, &webhooks)) }
                main {
                    section {
                        h1 { (title) }
                        p class="caption" {
                            (word(info, "version")) " · "
                            a href="/openapi.json" { "OpenAPI " (word(self.document, "openapi")) }
                        }
                        (text::markdown(word(info, "description")))
                        (self.logging_in())
                    }
                    @for (tag, about, operations) in &sections {
                        section id={ "tag-" (anchor(tag)) } data-group="" {
                            h2 lang="en" { (tag) }
                            (text::markdown(about))
                            @for operation in operations { (operation.entry()) }
                        }
                    }
                    @if !webhooks.is_empty() {
                        section id="webhooks" data-group="" {
                            h2 { (self.say("What webhooks are told", "웹훅으로 보내는 내용")) }
                            @for operation in &webhooks { (operation.entry()) }
                        }
                    }
                    section id="schemas" data-group="" {
                        h2 { (self.say("Schemas", "스키마")) }
                        @for (name, schema) in entries(&self.document["components"]["schemas"]) {
                            (schema::entry(self, name, schema))
                        }
                    }
                }
            }
        };
        let frame =
            Frame { language: self.language, title, path: "/docs", script: Some("docs.js") };
        frame.around(&content)
    }

    /// By tag, in the document's order of tags; those with none of its tags come last.
    fn sections(
        &self,
        operations: &[Operation<'a>],
    ) -> Vec<(&'a str, &'a str, Vec<Operation<'a>>)> {
        let mut tags: Vec<(&str, &str)> = items(&self.document["tags"])
            .map(|tag| (word(tag, "name"), word(tag, "description")))
            .collect();
        for operation in operations {
            if !tags.iter().any(|(name, _)| *name == operation.tag()) {
                tags.push((operation.tag(), ""));
            }
        }
        let of = |tag: &str| {
            operations.iter().copied().filter(|operation| operation.tag() == tag).collect()
        };
        tags.into_iter()
            .map(|(tag, about)| (tag, about, of(tag)))
            .filter(|(_, _, operations): &(_, _, Vec<Operation<'_>>)| !operations.is_empty())
            .collect()
    }

    fn contents(
        &self,
        sections: &[(&str, &str, Vec<Operation<'_>>)],
        webhooks: &[Operation<'_>],
    ) -> Markup {
        // HEAD is GET without a body: it has its entry, and needs no line of its own here.
        let links = |operations: &[Operation<'_>]| {
            html! {
                ul lang="en" {
                    @for operation in operations.iter().filter(|operation| operation.method != "head") {
                        li data-words=(operation.words()) {
                            a href={ "#" (operation.id()) } { (operation.summary()) }
                        }
                    }
                }
            }
        };
        html! {
            div class="search" id="search" hidden {
                label for="search-words" {
                    (self.say("Search (press /)", "검색 (/ 키)")) " "
                    output for="search-words" data-found=(self.say(" found", "개 찾음")) {}
                }
                input id="search-words" type="search" autocomplete="off" spellcheck="false"
                    placeholder=(self.say("bids, /v1/me, PUT …", "bids, /v1/me, PUT …"));
            }
            nav class="contents" aria-label=(self.say("Contents", "목차")) {
                details {
                    summary { (self.say("Contents", "목차")) }
                    @for (tag, _, operations) in sections {
                        div data-group="" {
                            h2 lang="en" { a href={ "#tag-" (anchor(tag)) } { (tag) } }
                            (links(operations))
                        }
                    }
                    @if !webhooks.is_empty() {
                        div data-group="" {
                            h2 { a href="#webhooks" { "webhooks" } }
                            (links(webhooks))
                        }
                    }
                    h2 { a href="#schemas" { (self.say("Schemas", "스키마")) } }
                }
            }
        }
    }

    /// How callers show who they are.
    fn logging_in(&self) -> Markup {
        html! {
            h2 { (self.say("Who calls", "인증")) }
            ul class="fields" {
                @for (name, scheme) in entries(&self.document["components"]["securitySchemes"]) {
                    li {
                        span class="name" { code { (name) } } " "
                        span class="type" {
                            (word(scheme, "type")) " " (word(scheme, "scheme")) " "
                            (word(scheme, "bearerFormat")) " " (word(scheme, "name"))
                        }
                        (text::markdown(word(scheme, "description")))
                    }
                }
            }
        }
    }
}

/// A text of an object; empty where there is none.
fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or(&[][..], Vec::as_slice).iter()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE).iter()
}

/// As part of an id in the page.
fn anchor(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect()
}

/// A value as somebody would type it.
fn typed(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(document: &Value, language: Language) -> String {
        Document { document, language, url: "https://auction.example.com" }.page()
    }

    #[test]
    fn everything_that_the_document_has_is_on_the_page_in_both_languages() {
        let document: Value = serde_json::from_str(&openapi::document_text()).expect("JSON");
        for language in [Language::English, Language::Korean] {
            let page = page(&document, language);
            for (path, item) in entries(&document["paths"]) {
                assert!(page.contains(path.as_str()), "{path}");
                for (_, operation) in entries(item) {
                    let id = word(operation, "operationId");
                    assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
                }
            }
            for (name, schema) in entries(&document["components"]["schemas"]) {
                assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
                for (field, _) in entries(&schema["properties"]) {
                    assert!(page.contains(&format!("<code>{field}</code>")), "{name}.{field}");
                }
            }
            assert!(!page.contains("style=") && !page.contains("onclick"), "strict policy");
        }
    }

    #[test]
    fn a_head_has_its_entry_and_no_line_in_the_contents() {
        let operation = |id: &str| json!({"operationId": id, "summary": id, "tags": ["bids"]});
        let document =
            json!({"paths": {"/x": {"get": operation("read_x"), "head": operation("head_x")}}});
        let page = page(&document, Language::English);
        let (contents, entries) = page.split_once("<main>").expect("contents and entries");
        assert!(contents.contains("#read_x") && !contents.contains("#head_x"), "{contents}");
        assert!(entries.contains("id=\"head_x\""), "{entries}");
    }

    #[test]
    fn what_comes_from_the_document_is_said_to_be_english_on_the_korean_page() {
        let document = json!({"info": {"description": "In words."}, "paths": {"/x": {"get": {
            "operationId": "read_x", "summary": "Read it", "tags": ["bids"]}}}});
        let page = page(&document, Language::Korean);
        assert!(page.contains("<html lang=\"ko\">"), "{page}");
        assert!(page.contains("<div lang=\"en\"><p>In words.</p>"), "{page}");
        assert!(page.contains("<span class=\"about\" lang=\"en\">Read it</span>"), "{page}");
    }

    #[test]
    fn links_within_the_page_lead_somewhere() {
        let document: Value = serde_json::from_str(&openapi::document_text()).expect("JSON");
        let page = page(&document, Language::English);
        for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(page.contains(&format!("id=\"{link}\"")), "#{link}");
        }
        for code in page.split("href=\"/problems/").skip(1).filter_map(|r| r.split('"').next()) {
            assert!(Code::from_word(code).is_some(), "{code}");
        }
    }

    #[test]
    fn whatever_a_schema_may_say_is_shown() {
        let document = json!({
            "openapi": "3.1.0",
            "info": {"title": "x", "version": "1", "description": "See **this**.\n\n- one `a<b`"},
            "tags": [{"name": "bids", "description": "Bidding"}],
            "paths": {"/v1/bids/{id}": {"post": {
                "operationId": "place_bid", "summary": "Bid <b>", "tags": ["bids"],
                "parameters": [
                    {"name": "id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}},
                    {"name": "q", "in": "query", "schema": {"type": "string", "enum": ["x", "y"]}, "example": "y"},
                    {"name": "Idempotency-Key", "in": "header", "required": true, "schema": {"type": "string"}}],
                "security": [{"bearer": []}],
                "requestBody": {"required": true, "content": {"application/json": {
                    "schema": {"$ref": "#/components/schemas/Offer"},
                    "examples": {"first": {"summary": "The first bid", "value": {"kind": "exact", "amount": 7}}}}}},
                "responses": {
                    "201": {"description": "Made", "headers": {"ETag": {"description": "Its tag"}},
                            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}},
                    "409": {"description": "`bid_too_low`: too low; `no_such_code`: never"}}}}},
            "webhooks": {"bid.placed": {"post": {"operationId": "told_of_bid_placed", "summary": "A bid",
                "responses": {"200": {"description": "Taken"}}}}},
            "components": {"schemas": {
                "Offer": {"oneOf": [{"$ref": "#/components/schemas/Exact"},
                                    {"type": "object", "title": "Ceiling", "required": ["kind"],
                                     "properties": {"kind": {"const": "ceiling"},
                                                    "max": {"type": ["integer", "null"], "minimum": 1}}}],
                          "discriminator": {"propertyName": "kind"}},
                "Exact": {"type": "object", "properties": {"kind": {"const": "exact"}, "amount": {
                    "type": "integer", "maximum": 9, "default": 3, "description": "Minor units"}}},
                "Map": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Word"}},
                "Word": {"type": "string", "enum": ["leading", "outbid"], "pattern": "^[a-z]+$", "maxLength": 7},
                "All": {"allOf": [{"$ref": "#/components/schemas/Exact"},
                                  {"type": "object", "properties": {"more": {"type": "boolean"}}}]},
                "Tree": {"type": "object", "properties": {"children": {
                    "type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}}}}
        });
        let page = page(&document, Language::English);
        for shown in [
            "<strong>this</strong>",
            "<li>one <code>a&lt;b</code></li>",
            "Bid &lt;b&gt;",
            "id=\"place_bid\"",
            "id=\"told_of_bid_placed\"",
            "The first bid",
            "Its tag",
            "href=\"#schema-Exact\"",
            "&quot;ceiling&quot;",
            "&quot;exact&quot;",
            "Ceiling",
            "leading",
            "outbid",
            "^[a-z]+$",
            "Minor units",
            "href=\"/problems/bid_too_low\"",
            "href=\"#schema-Word\"",
            "href=\"#schema-Tree\"",
            "<code>more</code>",
            "curl -X POST",
            "Authorization: Bearer $TOKEN",
            "fetch(",
        ] {
            assert!(page.contains(shown), "{shown} is not in {page}");
        }
        assert!(!page.contains("/problems/no_such_code") && !page.contains("Bid <b>"));
    }
}
