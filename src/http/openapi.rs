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

use super::{oauth::token::OAuthErrorBody, routes, sellers::ApplicationStatus};
use crate::http::{
    auctions::listing::{SortWord, StatusWord},
    clients::webhooks::DeliveryStatus,
    kit::{
        access::{self, Proof, Who},
        problem::{Code, Language, ProblemBody},
    },
    me::notifications::KindWord,
};

/// What a body may be refused for.
const BODY: &[Code] = &[
    Code::MalformedJson,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::InvalidRequest,
];
/// What an `Idempotency-Key` may be refused for.
const KEY: &[Code] = &[Code::IdempotencyKeyInvalid, Code::IdempotencyKeyReused];
/// What an auction's id may be refused for.
const AUCTION: &[Code] = &[Code::InvalidId, Code::AuctionNotFound];
/// What an address's id may be refused for.
const ADDRESS: &[Code] = &[Code::InvalidId];
/// What a user's id may be refused for.
const USER: &[Code] = &[Code::InvalidId, Code::UserNotFound];
/// What a client's and a webhook's id may be refused for.
const WEBHOOK: &[Code] = &[Code::ClientNotFound, Code::InvalidId, Code::WebhookNotFound];
/// What a verdict on a seller application may be refused for.
const APPLICATION: &[Code] =
    &[Code::InvalidId, Code::SellerApplicationNotFound, Code::SellerApplicationDecided];
/// What the live floor may fail with.
const FLOOR: &[Code] = &[Code::Overloaded, Code::OutcomeUnknown, Code::StorageFull];

/// What a stream may be refused for.
const STREAM: &[Code] = &[Code::TooManyStreams, Code::StreamsFull, Code::Overloaded];

/// Every operation's own errors, in groups, besides those that [`common`] gives to all and those that
/// follow from who may call it ([`access`]).
const ERRORS: &[(&str, &[&[Code]])] = {
    use Code::*;
    &[
        ("create_auction", &[BODY, KEY, &[OutcomeUnknown]]),
        ("list_auctions", &[&[InvalidQuery, InvalidCursor]]),
        ("get_auction", &[AUCTION]),
        (
            "update_auction",
            &[
                BODY,
                AUCTION,
                FLOOR,
                &[AuctionNotEditable, EditLimitReached],
                &[PreconditionFailed, PreconditionRequired],
            ],
        ),
        (
            "delete_auction",
            &[
                AUCTION,
                FLOOR,
                &[AuctionNotEditable, AuctionEnded],
                &[PreconditionFailed, PreconditionRequired],
            ],
        ),
        ("relist_auction", &[BODY, KEY, AUCTION, &[AuctionNotRelistable, OutcomeUnknown]]),
        (
            "place_bid",
            &[
                BODY,
                KEY,
                AUCTION,
                FLOOR,
                &[IdempotencyKeyMissing, OwnAuction],
                &[BidTooLow, AuctionNotLive, AuctionEnded, AlreadyLeading, PriceMoved],
                &[OverCap, ConfirmationRequired, BidLimitReached],
            ],
        ),
        (
            "buy_auction",
            &[
                BODY,
                KEY,
                AUCTION,
                FLOOR,
                &[IdempotencyKeyMissing, OwnAuction],
                &[AuctionNotLive, AuctionEnded, PriceMoved, BuyNowUnavailable],
            ],
        ),
        (
            "retract_bid",
            &[
                BODY,
                KEY,
                AUCTION,
                FLOOR,
                &[IdempotencyKeyMissing, BidNotFound, AuctionNotLive, AuctionEnded],
                &[BidAlreadyRetracted, RetractionTooLate],
            ],
        ),
        ("list_bids", &[AUCTION, &[InvalidQuery, InvalidCursor]]),
        ("get_bidding", &[AUCTION, &[Overloaded]]),
        ("get_log", &[AUCTION, &[InvalidQuery]]),
        ("get_log_checkpoint", &[AUCTION]),
        ("watch_auction_events", &[AUCTION, STREAM, &[InvalidEventId]]),
        ("watch_events", &[AUCTION, STREAM, &[InvalidQuery, InvalidEventId, TooManyAuctions]]),
        ("get_me", &[]),
        ("update_me", &[BODY, &[PreconditionFailed]]),
        ("delete_me", &[&[AccountInUse]]),
        ("list_addresses", &[&[InvalidQuery, InvalidCursor]]),
        ("create_address", &[BODY, &[AddressLimitReached]]),
        ("get_address", &[ADDRESS]),
        ("update_address", &[BODY, ADDRESS, &[PreconditionFailed]]),
        ("delete_address", &[ADDRESS]),
        ("get_seller_application", &[&[SellerApplicationNotFound]]),
        ("create_seller_application", &[BODY, &[SellerApplicationPending]]),
        ("list_seller_applications", &[&[InvalidQuery, InvalidCursor]]),
        ("approve_seller_application", &[APPLICATION]),
        ("refuse_seller_application", &[APPLICATION, BODY]),
        ("get_user", &[USER]),
        ("set_user_roles", &[USER, BODY, &[OwnAdminRole, AccountLeft]]),
        ("list_clients", &[&[InvalidQuery, InvalidCursor]]),
        ("create_client", &[BODY, &[TooManyClients]]),
        ("get_client", &[&[ClientNotFound]]),
        ("update_client", &[BODY, &[ClientNotFound]]),
        ("delete_client", &[&[ClientNotFound]]),
        ("rotate_client_secret", &[&[ClientNotFound, ClientIsPublic]]),
        ("list_webhooks", &[&[ClientNotFound, InvalidQuery, InvalidCursor]]),
        ("create_webhook", &[BODY, &[ClientNotFound, TooManyWebhooks]]),
        ("get_webhook", &[WEBHOOK]),
        ("update_webhook", &[WEBHOOK, BODY]),
        ("delete_webhook", &[WEBHOOK]),
        ("rotate_webhook_secret", &[WEBHOOK, BODY]),
        ("test_webhook", &[WEBHOOK]),
        ("replay_webhook", &[WEBHOOK, BODY, &[InvalidCursor]]),
        ("list_webhook_deliveries", &[WEBHOOK, &[InvalidQuery, InvalidCursor]]),
        ("get_webhook_delivery", &[WEBHOOK, &[WebhookDeliveryNotFound]]),
        ("replay_webhook_delivery", &[WEBHOOK, &[WebhookDeliveryNotFound]]),
        (
            "start_login",
            &[&[InvalidQuery, ClientUnknown, RedirectUriInvalid, LoginUnavailable, Overloaded]],
        ),
        ("finish_login", &[&[InvalidQuery, ClientUnknown, LoginStateInvalid, LoginUnavailable]]),
        ("create_token", &[&[RequestTimeout]]),
        ("revoke_token", &[&[RequestTimeout]]),
        ("get_authorization_server_metadata", &[]),
        (
            "watch_my_events",
            &[STREAM, &[InvalidQuery, InvalidEventId], &[TicketExpired, TicketInvalid]],
        ),
        ("create_events_ticket", &[]),
        ("watch_auction", &[AUCTION, &[WatchLimitReached]]),
        ("unwatch_auction", &[AUCTION]),
        ("list_watchlist", &[&[InvalidQuery, InvalidCursor]]),
        ("list_notifications", &[&[InvalidQuery, InvalidCursor]]),
        ("read_notifications", &[BODY]),
        ("get_notification_preferences", &[]),
        ("set_notification_preferences", &[BODY, &[PreconditionFailed]]),
        ("list_keyword_alerts", &[&[InvalidQuery, InvalidCursor]]),
        ("create_keyword_alert", &[BODY, &[KeywordAlertLimitReached]]),
        ("delete_keyword_alert", &[&[InvalidId]]),
        ("get_push_key", &[]),
        ("list_push_subscriptions", &[&[InvalidQuery, InvalidCursor]]),
        ("create_push_subscription", &[BODY, &[PushSubscriptionTaken]]),
        ("delete_push_subscription", &[&[InvalidId]]),
        ("get_time", &[]),
        ("get_health", &[]),
        ("get_readiness", &[]),
        ("get_metrics", &[]),
        ("get_problem", &[&[NotFound]]),
        ("get_jwks", &[]),
        (
            "take_kakao_webhook",
            &[&[WebhookRefused, WebhookMalformed, RequestTimeout, BodyTooLarge]],
        ),
        ("take_kakao_webhook_by_query", &[&[WebhookRefused, WebhookMalformed]]),
    ]
};

/// What any operation can answer.
const fn common() -> &'static [Code] {
    &[
        Code::MethodNotAllowed,
        Code::RateLimited,
        Code::Overloaded,
        Code::Internal,
        Code::ShuttingDown,
        Code::Unavailable,
        Code::Overloaded,
    ]
}

#[derive(OpenApi)]
#[openapi(components(schemas(
    ProblemBody,
    OAuthErrorBody,
    StatusWord,
    SortWord,
    ApplicationStatus,
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
            add_errors(operation);
            add_security(operation);
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

/// What a caller must show, from the table of who may.
fn add_security(operation: &mut Operation) {
    let by = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
    let none = SecurityRequirement::default;
    let proof = operation.operation_id.as_deref().and_then(access::who_may).map(Who::proof);
    operation.security = Some(match proof {
        // Nothing said is nothing needed, but say so.
        None | Some(Proof::None) => Vec::new(),
        Some(Proof::OptionalToken) => vec![none(), by("bearer")],
        Some(Proof::Token) => vec![by("bearer")],
        Some(Proof::Client) => vec![none(), by("client")],
        Some(Proof::Kakao) => vec![by("kakao")],
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

/// The errors of an operation, by its id; `None` when the table lacks it.
pub fn errors_of(operation_id: &str) -> Option<Vec<Code>> {
    let (_, groups) = ERRORS.iter().find(|(id, _)| *id == operation_id)?;
    let by_caller = access::who_may(operation_id).map(Who::refusals).unwrap_or_default();
    Some([by_caller, groups.concat()].concat())
}

fn add_errors(operation: &mut Operation) {
    let own = operation.operation_id.as_deref().and_then(errors_of).unwrap_or_default();
    let mut by_status: std::collections::BTreeMap<u16, Vec<Code>> = Default::default();
    for code in own.iter().chain(common()) {
        let of_status = by_status.entry(code.status().as_u16()).or_default();
        if !of_status.contains(code) {
            of_status.push(*code);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_who_may_call_stands_in_that_table_alone() {
        use Code::*;
        let of_access = [
            [Unauthenticated, TokenExpired, TokenInvalid, Forbidden],
            [NotRegistered, NotYourAuction, NotYourBid, Unauthenticated],
        ]
        .concat();
        for (id, groups) in ERRORS {
            let own = groups.concat();
            assert!(!own.iter().any(|code| of_access.contains(code)), "{id}");
            assert!(access::who_may(id).is_some(), "{id} is not in the table of who may");
        }
    }
}
