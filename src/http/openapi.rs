//! The API document: OpenAPI 3.1, collected from the handlers, with the errors of each operation
//! from one table.

use utoipa::{
    OpenApi, PartialSchema,
    openapi::{
        Components, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi as Document, Ref,
        ResponseBuilder, Tag,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::TagBuilder,
    },
};

use super::{
    auctions::{SortWord, StatusWord},
    oauth::token::OAuthErrorBody,
    problem::{Code, Language, Problem, ProblemBody},
    routes,
};

/// What a token may be refused for.
const TOKEN: &[Code] = &[Code::TokenExpired, Code::TokenInvalid];
/// What a body may be refused for.
const BODY: &[Code] =
    &[Code::MalformedJson, Code::BodyTooLarge, Code::UnsupportedMediaType, Code::InvalidRequest];
/// What an `Idempotency-Key` may be refused for.
const KEY: &[Code] = &[Code::IdempotencyKeyInvalid, Code::IdempotencyKeyReused];
/// What an auction's id may be refused for.
const AUCTION: &[Code] = &[Code::InvalidId, Code::AuctionNotFound];
/// What the live floor may fail with.
const FLOOR: &[Code] = &[Code::Overloaded, Code::OutcomeUnknown, Code::StorageFull];

/// Every operation's own errors, in groups, besides those that [`common`] gives to all.
const ERRORS: &[(&str, &[&[Code]])] = {
    use Code::*;
    &[
        ("create_auction", &[TOKEN, BODY, KEY, &[Unauthenticated, Forbidden, OutcomeUnknown]]),
        ("list_auctions", &[TOKEN, &[InvalidQuery, InvalidCursor]]),
        ("get_auction", &[TOKEN, AUCTION]),
        (
            "update_auction",
            &[
                TOKEN,
                BODY,
                AUCTION,
                FLOOR,
                &[Unauthenticated, NotYourAuction, AuctionNotEditable],
                &[PreconditionFailed, PreconditionRequired],
            ],
        ),
        (
            "delete_auction",
            &[
                TOKEN,
                AUCTION,
                FLOOR,
                &[Unauthenticated, NotYourAuction, AuctionNotEditable, AuctionEnded],
                &[PreconditionFailed, PreconditionRequired],
            ],
        ),
        (
            "relist_auction",
            &[
                TOKEN,
                BODY,
                KEY,
                AUCTION,
                &[Unauthenticated, Forbidden, NotYourAuction, AuctionNotRelistable, OutcomeUnknown],
            ],
        ),
        (
            "place_bid",
            &[
                TOKEN,
                BODY,
                KEY,
                AUCTION,
                FLOOR,
                &[Unauthenticated, NotRegistered, IdempotencyKeyMissing, OwnAuction],
                &[BidTooLow, AuctionNotLive, AuctionEnded, AlreadyLeading, PriceMoved],
                &[OverCap, ConfirmationRequired, BidLimitReached],
            ],
        ),
        (
            "buy_auction",
            &[
                TOKEN,
                BODY,
                KEY,
                AUCTION,
                FLOOR,
                &[Unauthenticated, NotRegistered, IdempotencyKeyMissing, OwnAuction],
                &[AuctionNotLive, AuctionEnded, PriceMoved, BuyNowUnavailable],
            ],
        ),
        (
            "retract_bid",
            &[
                TOKEN,
                BODY,
                KEY,
                AUCTION,
                FLOOR,
                &[Unauthenticated, NotRegistered, IdempotencyKeyMissing, NotYourBid],
                &[BidNotFound, AuctionNotLive, AuctionEnded],
                &[BidAlreadyRetracted, RetractionTooLate],
            ],
        ),
        ("list_bids", &[AUCTION, &[InvalidQuery, InvalidCursor]]),
        ("get_bidding", &[TOKEN, AUCTION, &[Unauthenticated, Overloaded]]),
        ("get_log", &[AUCTION, &[InvalidQuery]]),
        ("get_log_checkpoint", &[AUCTION]),
        ("watch_auction_events", &[AUCTION, &[InvalidEventId, Overloaded]]),
        ("watch_events", &[AUCTION, &[InvalidQuery, InvalidEventId, TooManyAuctions, Overloaded]]),
        (
            "start_login",
            &[&[InvalidQuery, ClientUnknown, RedirectUriInvalid, LoginUnavailable, Overloaded]],
        ),
        ("finish_login", &[&[InvalidQuery, ClientUnknown, LoginStateInvalid, LoginUnavailable]]),
        ("create_token", &[]),
        ("revoke_token", &[]),
        ("get_authorization_server_metadata", &[]),
        ("get_time", &[]),
        ("get_health", &[]),
        ("get_readiness", &[]),
        ("get_metrics", &[]),
        ("get_problem", &[&[NotFound]]),
        ("get_jwks", &[]),
    ]
};

/// What any operation can answer.
const fn common() -> &'static [Code] {
    &[
        Code::MethodNotAllowed,
        Code::RateLimited,
        Code::Internal,
        Code::ShuttingDown,
        Code::Unavailable,
    ]
}

#[derive(OpenApi)]
#[openapi(components(schemas(ProblemBody, OAuthErrorBody, StatusWord, SortWord)))]
struct Schemas;

/// The whole document.
pub fn document() -> Document {
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
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http(
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build(),
        ),
    );
    components.add_security_scheme(
        "client",
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Basic).build()),
    );
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            add_errors(operation);
            // Nothing said is nothing needed, but say so.
            operation.security.get_or_insert_default();
        }
    }
    document
}

/// The document as `hoga openapi` prints it and `openapi/openapi.json` holds it.
pub fn document_text() -> String {
    let mut text = document().to_pretty_json().unwrap_or_default();
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
        tag(
            "login",
            "OAuth 2.0: authorization code with PKCE S256, refresh tokens that rotate, revocation",
        ),
        tag("service", "Time, health, keys, explanations"),
    ]
}

/// The errors of an operation, by its id; `None` when the table lacks it.
pub fn errors_of(operation_id: &str) -> Option<Vec<Code>> {
    ERRORS.iter().find(|(id, _)| *id == operation_id).map(|(_, groups)| groups.concat())
}

fn add_errors(operation: &mut Operation) {
    let own = operation.operation_id.as_deref().and_then(errors_of).unwrap_or_default();
    let mut by_status: std::collections::BTreeMap<u16, Vec<Code>> = Default::default();
    for code in own.iter().chain(common()) {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    for (status, codes) in by_status {
        let status = status.to_string();
        let responses = &mut operation.responses.responses;
        let has_page = operation.operation_id.as_deref().is_some_and(is_for_people);
        responses.entry(status).or_insert_with(|| problem_response(&codes, has_page).into());
    }
}

/// Where a person's own browser goes, which gets its problems as a page.
fn is_for_people(operation_id: &str) -> bool {
    matches!(operation_id, "start_login" | "finish_login")
}

fn problem_response(codes: &[Code], has_page: bool) -> utoipa::openapi::Response {
    let described: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}", code.word(), code.title(Language::English)))
        .collect();
    let example = codes.first().map(|code| {
        Problem::from(*code).body(
            Language::English,
            "https://auction.example.com",
            "01935b2e-7c1a-7000-8000-000000000000",
        )
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .example(example.and_then(|body| serde_json::to_value(body).ok()))
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
