//! The API document: OpenAPI 3.1, collected from the handlers, with the errors of each operation
//! from one table.

use utoipa::{
    OpenApi,
    openapi::{
        Components, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi as Document, Ref,
        ResponseBuilder, Tag,
        path::Operation,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::TagBuilder,
    },
};

use super::{
    auctions::{SortWord, StatusWord},
    problem::{Code, Language, Problem, ProblemBody},
    routes,
    sellers::ApplicationStatus,
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
/// What an address's id may be refused for.
const ADDRESS: &[Code] = &[Code::InvalidId, Code::AddressNotFound];
/// What a user's id may be refused for.
const USER: &[Code] = &[Code::InvalidId, Code::UserNotFound];
/// What a verdict on a seller application may be refused for.
const APPLICATION: &[Code] =
    &[Code::InvalidId, Code::SellerApplicationNotFound, Code::SellerApplicationDecided];
/// What an operation of a logged-in caller may be refused for.
const CALLER: &[Code] = &[Code::Unauthenticated, Code::TokenExpired, Code::TokenInvalid];
/// What an operation of the house may be refused for.
const ADMIN: &[Code] =
    &[Code::Unauthenticated, Code::TokenExpired, Code::TokenInvalid, Code::Forbidden];
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
        ("get_me", &[CALLER]),
        ("update_me", &[CALLER, BODY, &[PreconditionFailed]]),
        ("delete_me", &[CALLER, &[AccountInUse]]),
        ("list_addresses", &[CALLER, &[InvalidQuery, InvalidCursor]]),
        ("create_address", &[CALLER, BODY, &[AddressLimitReached]]),
        ("get_address", &[CALLER, ADDRESS]),
        ("update_address", &[CALLER, BODY, ADDRESS, &[PreconditionFailed]]),
        ("delete_address", &[CALLER, ADDRESS]),
        ("get_seller_application", &[CALLER, &[SellerApplicationNotFound]]),
        ("create_seller_application", &[CALLER, BODY, &[SellerApplicationPending]]),
        ("list_seller_applications", &[ADMIN, &[InvalidQuery, InvalidCursor]]),
        ("approve_seller_application", &[ADMIN, APPLICATION]),
        ("refuse_seller_application", &[ADMIN, APPLICATION, BODY]),
        ("get_user", &[ADMIN, USER]),
        ("set_user_roles", &[ADMIN, USER, BODY, &[OwnAdminRole, AccountLeft]]),
        ("get_time", &[]),
        ("get_health", &[]),
        ("get_readiness", &[]),
        ("get_metrics", &[]),
        ("get_problem", &[&[NotFound]]),
        ("get_jwks", &[]),
        ("take_kakao_webhook", &[&[WebhookRefused, WebhookMalformed, BodyTooLarge]]),
        ("take_kakao_webhook_by_query", &[&[WebhookRefused, WebhookMalformed]]),
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
#[openapi(components(schemas(ProblemBody, StatusWord, SortWord, ApplicationStatus)))]
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
        "kakao_admin_key",
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
            "Authorization",
            "`KakaoAK` and the admin key of the app: Kakao's webhook alone has it",
        ))),
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
        tag("me", "The caller's account and addresses, and leaving"),
        tag("sellers", "As which companies people sell"),
        tag("users", "Accounts and roles, for admins"),
        tag("service", "Time, health, keys, explanations"),
        tag("webhooks", "What others tell this server"),
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
        responses.entry(status).or_insert_with(|| problem_response(&codes).into());
    }
}

fn problem_response(codes: &[Code]) -> utoipa::openapi::Response {
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
    ResponseBuilder::new()
        .description(described.join("; "))
        .content("application/problem+json", content)
        .build()
}
