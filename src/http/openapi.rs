//! The API document: OpenAPI 3.1, collected from the handlers, with the errors of each operation
//! from one table; then `refine` says what derives cannot.

mod events;
mod examples;
mod refine;

use std::sync::LazyLock;

use serde_json::Value;
use utoipa::{
    OpenApi, PartialSchema,
    openapi::{
        Components, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi as Document, Ref, RefOr,
        ResponseBuilder, Tag,
        example::Example,
        path::Operation,
        security::{
            ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
        },
        tag::TagBuilder,
    },
};

use super::{oauth::token::OAuthErrorBody, routes, sellers::ApplicationStatusWord};
use crate::http::{
    auctions::listing::{SortWord, StatusWord},
    clients::webhooks::DeliveryStatus,
    kit::{
        access::Proof,
        operations::{self, Line},
        problem::{Code, Language, ProblemBody},
    },
    me::notifications::KindWord,
};

#[derive(OpenApi)]
#[openapi(components(schemas(
    ProblemBody,
    OAuthErrorBody,
    StatusWord,
    SortWord,
    ApplicationStatusWord,
    DeliveryStatus,
    KindWord
)))]
struct Schemas;

/// The whole document.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = serde_json::to_value(collected()).unwrap_or_default();
    refine::refine(&mut document);
    document
});

/// The document as it is served.
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// What the handlers and the tables here say.
fn collected() -> Document {
    let mut document = routes::collected();
    document.info = InfoBuilder::new()
        .title("Hoga")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(include_str!("openapi.md")))
        .license(Some(
            LicenseBuilder::new()
                .name("MIT OR Apache-2.0")
                .identifier(Some("MIT OR Apache-2.0"))
                .build(),
        ))
        .build();
    document.tags = Some(tags());
    document.servers = Some(vec![utoipa::openapi::Server::new("/")]);
    let components = document.components.get_or_insert_with(Components::new);
    if let Some(schemas) = Schemas::openapi().components {
        components.schemas.extend(schemas.schemas);
    }
    for (name, scheme) in security_schemes() {
        components.add_security_scheme(name, scheme);
    }
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let id = operation.operation_id.as_deref().unwrap_or_default();
            let Some(line) = operations::line(id) else { continue };
            add_errors(operation, line);
            add_security(operation, line);
        }
    }
    document
}

/// By their names in `security`.
fn security_schemes() -> [(&'static str, SecurityScheme); 3] {
    let http = |scheme| HttpBuilder::new().scheme(scheme);
    let bearer = http(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let client = http(HttpAuthScheme::Basic)
        .description(Some("A server-side client's id and secret; others send client_id"))
        .build();
    let kakao = ApiKeyValue::with_description("Authorization", "KakaoAK and our admin key");
    [
        ("bearer", SecurityScheme::Http(bearer)),
        ("client", SecurityScheme::Http(client)),
        ("kakao", SecurityScheme::ApiKey(ApiKey::Header(kakao))),
    ]
}

/// What a caller must show.
fn add_security(operation: &mut Operation, line: &Line) {
    let by = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
    let none = SecurityRequirement::default;
    operation.security = Some(match line.who.proof() {
        // Nothing said is nothing needed, but say so.
        Proof::None => Vec::new(),
        Proof::OptionalToken => vec![none(), by("bearer")],
        Proof::Token => vec![by("bearer")],
        Proof::Client => vec![none(), by("client")],
        Proof::Kakao => vec![by("kakao")],
    });
}

/// The document as `hoga openapi` prints it and `openapi/openapi.json` holds it.
pub fn document_text() -> String {
    let mut text = serde_json::to_string_pretty(document()).unwrap_or_default();
    text.push('\n');
    text
}

fn tags() -> Vec<Tag> {
    let tag = |name: &str, description: &str| {
        TagBuilder::new().name(name).description(Some(description)).build()
    };
    vec![
        tag("auctions", "Items on sale, with their terms and their clock"),
        tag("bids", "Bidding, buying now, retracting"),
        tag("log", "The public log and its hash chain"),
        tag("streams", "Server-sent events"),
        tag("watching", "The auctions that the caller follows"),
        tag("notifications", "What the caller is told, and what they want to hear of"),
        tag("me", "The caller's account and addresses, and leaving"),
        tag("sellers", "As which companies people sell"),
        tag("users", "Accounts and roles, for admins"),
        tag("clients", "The registered frontends, for those who look after the house"),
        tag("client webhooks", "Where registered frontends are told of events, and what was told"),
        tag(
            "login",
            "OAuth 2.0: authorization code with PKCE S256, refresh tokens that rotate, revocation",
        ),
        tag("service", "Time, health, keys, explanations"),
        tag("webhooks", "What others tell this server"),
    ]
}

fn add_errors(operation: &mut Operation, line: &Line) {
    let mut by_status: std::collections::BTreeMap<u16, Vec<Code>> = Default::default();
    for code in line.codes() {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    for (status, codes) in by_status {
        let responses = &mut operation.responses.responses;
        let response = || problem_response(&codes, line.is_for_people).into();
        responses.entry(status.to_string()).or_insert_with(response);
    }
}

fn problem_response(codes: &[Code], has_page: bool) -> utoipa::openapi::Response {
    let described: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}", code.word(), code.title(Language::English)))
        .collect();
    let example = |code: &Code| {
        let example = Ref::new(format!("#/components/examples/{}", code.word()));
        (code.word(), RefOr::<Example>::Ref(example))
    };
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(codes.iter().map(example))
        .build();
    let response = ResponseBuilder::new()
        .description(described.join("; "))
        .content("application/problem+json", content);
    if has_page {
        let page = ContentBuilder::new().schema(Some(<String as PartialSchema>::schema())).build();
        return response.content("text/html", page).build();
    }
    response.build()
}
