//! The table of operations: every operation that Hoga answers, in one place, with who may call it, as
//! what it counts, who may keep its answers, and which problems it gives. The router, the limits, the
//! API document and its tests read it.

use actix_web::{HttpRequest, HttpResponse, ResponseError, http::header};
use utoipa_actix_web::{AppExt, scope, service_config::ServiceConfig};

use super::{
    oauth::{login, metadata, token},
    sellers, service, streams, users, webhooks,
};
use crate::http::{
    auctions::{bids, listing, log, watches},
    clients::{registered, webhooks as client_webhooks},
    kit::{
        access::Who,
        operations::{self, Caching, Counted, Line, by},
        problem::{Code, Problem},
    },
    me::{addresses, alerts, notifications, profile, push},
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

/// What a page of a list may be refused for.
const LIST: &[Code] = &[Code::InvalidQuery, Code::InvalidCursor];
/// What another id may be refused for, besides being of nothing that the caller may see.
const ID: &[Code] = &[Code::InvalidId];

/// Makes of the lines both the table that [`operations`] reads and the routes, so that no handler is
/// reached that has no line. An operation's id is the name of its handler.
macro_rules! operations {
    (
        within $scope:literal { $($module:ident::$handler:ident => $line:expr;)* }
        outside { $($outer:ident::$alone:ident => $other:expr;)* }
    ) => {
        /// Every operation.
        pub const TABLE: &[Line] = {
            use {Caching::*, Code::*, Counted::*, Who::*};
            &[
                $($line.named(stringify!($handler)),)*
                $($other.named(stringify!($alone)),)*
            ]
        };

        /// The routes of the whole exchange.
        pub fn table(config: &mut ServiceConfig<'_>) {
            config
                .service(scope::scope($scope)$(.service($module::$handler))*)
                $(.service($outer::$alone))*;
        }
    };
}

// Who may, as what it counts, who may keep the answer, and what it refuses besides what follows from
// who may ([`Who::refusals`]) and what every operation can answer ([`operations::COMMON`]).
operations! {
    within "/v1" {
        // bids, first: the table is searched from the top for every request
        bids::place_bid => by(Bidder).counted(AsBid).gives(&[
            BODY, KEY, AUCTION, FLOOR,
            &[IdempotencyKeyMissing, OwnAuction],
            &[BidTooLow, AuctionNotLive, AuctionEnded, AlreadyLeading, PriceMoved],
            &[OverCap, ConfirmationRequired, BidLimitReached],
        ]);
        bids::buy_auction => by(Bidder).counted(AsBid).gives(&[
            BODY, KEY, AUCTION, FLOOR,
            &[IdempotencyKeyMissing, OwnAuction],
            &[AuctionNotLive, AuctionEnded, PriceMoved, BuyNowUnavailable],
        ]);
        bids::retract_bid => by(BidderOfIt).counted(AsBid).gives(&[
            BODY, KEY, AUCTION, FLOOR,
            &[IdempotencyKeyMissing, BidNotFound, AuctionNotLive, AuctionEnded],
            &[BidAlreadyRetracted, RetractionTooLate],
        ]);
        bids::list_bids => by(Anyone).gives(&[AUCTION, LIST]);
        bids::get_bidding => by(User).kept(Never).gives(&[AUCTION, &[Overloaded]]);
        // auctions
        listing::create_auction => by(Seller).gives(&[BODY, KEY, &[OutcomeUnknown]]);
        listing::list_auctions => by(Reader).gives(&[LIST]);
        listing::get_auction => by(Reader).gives(&[AUCTION]);
        listing::update_auction => by(SellerOfIt).gives(&[
            BODY, AUCTION, FLOOR,
            &[AuctionNotEditable, EditLimitReached],
            &[PreconditionFailed, PreconditionRequired],
        ]);
        listing::delete_auction => by(SellerOfItOrAdmin).gives(&[
            AUCTION, FLOOR,
            &[AuctionNotEditable, AuctionEnded],
            &[PreconditionFailed, PreconditionRequired],
        ]);
        listing::relist_auction => by(SellerOfItWhoSells)
            .gives(&[BODY, KEY, AUCTION, &[AuctionNotRelistable, OutcomeUnknown]]);
        // log
        log::get_log => by(Anyone).gives(&[AUCTION, &[InvalidQuery]]);
        log::get_log_checkpoint => by(Anyone).gives(&[AUCTION]);
        // streams
        streams::watch_auction_events => by(Anyone).gives(&[AUCTION, STREAM, &[InvalidEventId]]);
        streams::watch_events => by(Anyone)
            .gives(&[AUCTION, STREAM, &[InvalidQuery, InvalidEventId, TooManyAuctions]]);
        streams::watch_my_events => by(User)
            .gives(&[STREAM, &[InvalidQuery, InvalidEventId], &[TicketExpired, TicketInvalid]]);
        streams::create_events_ticket => by(User);
        // watching
        watches::watch_auction => by(User).gives(&[AUCTION, &[WatchLimitReached]]);
        watches::unwatch_auction => by(User).gives(&[AUCTION]);
        watches::list_watchlist => by(User).gives(&[LIST]);
        // notifications
        notifications::list_notifications => by(User).gives(&[LIST]);
        notifications::read_notifications => by(User).gives(&[BODY]);
        notifications::get_notification_preferences => by(User);
        notifications::set_notification_preferences => by(User)
            .gives(&[BODY, &[PreconditionFailed]]);
        alerts::list_keyword_alerts => by(User).gives(&[LIST]);
        alerts::create_keyword_alert => by(User).gives(&[BODY, &[KeywordAlertLimitReached]]);
        alerts::delete_keyword_alert => by(OwnerOfAlert).gives(&[ID]);
        push::get_push_key => by(Anyone);
        push::list_push_subscriptions => by(User).gives(&[LIST]);
        push::create_push_subscription => by(User).gives(&[BODY, &[PushSubscriptionTaken]]);
        push::delete_push_subscription => by(OwnerOfPushSubscription).gives(&[ID]);
        // me
        profile::get_me => by(User);
        profile::update_me => by(User).gives(&[BODY, &[PreconditionFailed]]);
        profile::delete_me => by(User).gives(&[&[AccountInUse]]);
        addresses::list_addresses => by(User).gives(&[LIST]);
        addresses::create_address => by(User).gives(&[BODY, &[AddressLimitReached]]);
        addresses::get_address => by(OwnerOfAddress).gives(&[ID]);
        addresses::update_address => by(OwnerOfAddress)
            .gives(&[BODY, ID, &[PreconditionFailed]]);
        addresses::delete_address => by(OwnerOfAddress).gives(&[ID]);
        // sellers
        sellers::get_seller_application => by(User).gives(&[&[SellerApplicationNotFound]]);
        sellers::create_seller_application => by(User).gives(&[BODY, &[SellerApplicationPending]]);
        sellers::list_seller_applications => by(Admin).gives(&[LIST]);
        sellers::approve_seller_application => by(Admin).gives(&[APPLICATION]);
        sellers::refuse_seller_application => by(Admin).gives(&[APPLICATION, BODY]);
        // users
        users::get_user => by(Admin).gives(&[USER]);
        users::set_user_roles => by(Admin).gives(&[USER, BODY, &[OwnAdminRole, AccountLeft]]);
        // clients
        registered::list_clients => by(Admin).gives(&[LIST]);
        registered::create_client => by(Admin).gives(&[BODY, &[TooManyClients]]);
        registered::get_client => by(Admin).gives(&[&[ClientNotFound]]);
        registered::update_client => by(Admin).gives(&[BODY, &[ClientNotFound]]);
        registered::delete_client => by(Admin).gives(&[&[ClientNotFound]]);
        registered::rotate_client_secret => by(Admin).gives(&[&[ClientNotFound, ClientIsPublic]]);
        client_webhooks::list_webhooks => by(Admin)
            .gives(&[&[ClientNotFound, InvalidQuery, InvalidCursor]]);
        client_webhooks::create_webhook => by(Admin)
            .gives(&[BODY, &[ClientNotFound, TooManyWebhooks]]);
        client_webhooks::get_webhook => by(Admin).gives(&[WEBHOOK]);
        client_webhooks::update_webhook => by(Admin).gives(&[WEBHOOK, BODY]);
        client_webhooks::delete_webhook => by(Admin).gives(&[WEBHOOK]);
        client_webhooks::rotate_webhook_secret => by(Admin).gives(&[WEBHOOK, BODY]);
        client_webhooks::test_webhook => by(Admin).gives(&[WEBHOOK]);
        client_webhooks::replay_webhook => by(Admin).gives(&[WEBHOOK, BODY, &[InvalidCursor]]);
        client_webhooks::list_webhook_deliveries => by(Admin).gives(&[WEBHOOK, LIST]);
        client_webhooks::get_webhook_delivery => by(Admin)
            .gives(&[WEBHOOK, &[WebhookDeliveryNotFound]]);
        client_webhooks::replay_webhook_delivery => by(Admin)
            .gives(&[WEBHOOK, &[WebhookDeliveryNotFound]]);
        // service
        service::get_time => by(Anyone);
    }
    outside {
        // login
        login::start_login => by(Anyone).counted(AsLogin).for_people().gives(&[
            &[InvalidQuery, ClientUnknown, RedirectUriInvalid, LoginUnavailable, Overloaded],
        ]);
        login::finish_login => by(Anyone).counted(AsLogin).for_people()
            .gives(&[&[InvalidQuery, ClientUnknown, LoginStateInvalid, LoginUnavailable]]);
        token::create_token => by(Client).counted(OnceClientIsKnown).gives(&[&[RequestTimeout]]);
        token::revoke_token => by(Client).counted(OnceClientIsKnown).gives(&[&[RequestTimeout]]);
        metadata::get_authorization_server_metadata => by(Anyone).counted(Not);
        // service
        service::get_health => by(Anyone).counted(Not).for_health();
        service::get_readiness => by(Anyone).counted(Not).for_health();
        service::get_metrics => by(Anyone).counted(Not).for_health();
        service::get_problem => by(Anyone).counted(Not).gives(&[&[NotFound]]);
        service::get_jwks => by(Anyone).counted(Not);
        // webhooks
        webhooks::take_kakao_webhook => by(Kakao)
            .gives(&[&[WebhookRefused, WebhookMalformed, RequestTimeout, BodyTooLarge]]);
        webhooks::take_kakao_webhook_by_query => by(Kakao)
            .gives(&[&[WebhookRefused, WebhookMalformed]]);
    }
}

/// What a broadcaster answers: the streams, and what is asked of every service.
pub fn streams_alone(config: &mut ServiceConfig<'_>) {
    config
        .service(
            scope::scope("/v1")
                .service(streams::watch_auction_events)
                .service(streams::watch_events)
                .service(streams::watch_my_events)
                .service(service::get_time),
        )
        .service(service::get_health)
        .service(service::get_readiness_of_streams)
        .service(service::get_metrics)
        .service(service::get_problem);
}

/// Whatever a broadcaster does not have.
pub async fn not_here() -> HttpResponse {
    let found = "This server carries streams alone; the exchange has another address.";
    Problem::found(Code::NotFound, found).error_response()
}

/// The document that the handlers make, before anything of the table is added.
pub fn collected() -> utoipa::openapi::OpenApi {
    let app = actix_web::App::new().into_utoipa_app().configure(table);
    app.split_for_parts().1
}

/// Whatever the table does not have: another method of a path, or no path at all.
pub async fn elsewhere(request: HttpRequest) -> HttpResponse {
    let Some(methods) = operations::methods_of(request.match_info().as_str()) else {
        return Problem::from(Code::NotFound).error_response();
    };
    let mut response = Problem::from(Code::MethodNotAllowed).error_response();
    if let Ok(methods) = header::HeaderValue::from_str(&methods) {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_operation_stands_twice() {
        let mut seen = HashSet::new();
        assert!(TABLE.iter().all(|line| seen.insert(line.id)));
    }

    #[test]
    fn every_handler_names_its_operation_as_the_table_does() {
        let items = collected().paths.paths.into_values();
        let operations = items
            .flat_map(|item| [item.get, item.post, item.put, item.patch, item.delete])
            .flatten();
        let ids: HashSet<String> =
            operations.map(|operation| operation.operation_id.expect("an id")).collect();
        let lines: HashSet<String> = TABLE.iter().map(|line| line.id.to_owned()).collect();
        assert_eq!(ids, lines);
    }

    #[test]
    fn what_follows_from_who_may_call_is_not_said_again() {
        use Code::*;
        let of_access = [
            [Unauthenticated, TokenExpired, TokenInvalid, Forbidden],
            [NotRegistered, NotYourAuction, NotYourBid, Unauthenticated],
        ]
        .concat();
        for line in TABLE {
            assert!(!line.own().any(|code| of_access.contains(&code)), "{}", line.id);
        }
    }
}
