//! The route table: every path that Hoga answers, in one place.

use actix_web::{HttpRequest, HttpResponse, ResponseError, http::header};
use utoipa_actix_web::{AppExt, scope, service_config::ServiceConfig};

use super::{oauth, sellers, service, streams, users, webhooks};
use crate::http::{
    auctions::{bids, listing, log, watches},
    clients::{registered, webhooks as client_webhooks},
    kit::{
        operations,
        problem::{Code, Problem},
    },
    me::{addresses, alerts, notifications, profile, push},
};

/// `/v1`, and what stands outside of it.
pub fn table(config: &mut ServiceConfig<'_>) {
    config
        .service(
            scope::scope("/v1")
                // bids, first: the table is searched from the top for every request
                .service(bids::place_bid)
                .service(bids::list_bids)
                .service(bids::get_bidding)
                .service(bids::buy_auction)
                .service(bids::retract_bid)
                // auctions
                .service(listing::create_auction)
                .service(listing::list_auctions)
                .service(listing::get_auction)
                .service(listing::update_auction)
                .service(listing::delete_auction)
                .service(listing::relist_auction)
                // log
                .service(log::get_log)
                .service(log::get_log_checkpoint)
                // streams
                .service(streams::watch_auction_events)
                .service(streams::watch_events)
                .service(streams::watch_my_events)
                .service(streams::create_events_ticket)
                // watching
                .service(watches::watch_auction)
                .service(watches::unwatch_auction)
                .service(watches::list_watchlist)
                // notifications
                .service(notifications::list_notifications)
                .service(notifications::read_notifications)
                .service(notifications::get_notification_preferences)
                .service(notifications::set_notification_preferences)
                .service(alerts::list_keyword_alerts)
                .service(alerts::create_keyword_alert)
                .service(alerts::delete_keyword_alert)
                .service(push::get_push_key)
                .service(push::list_push_subscriptions)
                .service(push::create_push_subscription)
                .service(push::delete_push_subscription)
                // me
                .service(profile::get_me)
                .service(profile::update_me)
                .service(profile::delete_me)
                .service(addresses::list_addresses)
                .service(addresses::create_address)
                .service(addresses::get_address)
                .service(addresses::update_address)
                .service(addresses::delete_address)
                // sellers
                .service(sellers::get_seller_application)
                .service(sellers::create_seller_application)
                .service(sellers::list_seller_applications)
                .service(sellers::approve_seller_application)
                .service(sellers::refuse_seller_application)
                // users
                .service(users::get_user)
                .service(users::set_user_roles)
                // clients
                .service(registered::list_clients)
                .service(registered::create_client)
                .service(registered::get_client)
                .service(registered::update_client)
                .service(registered::delete_client)
                .service(registered::rotate_client_secret)
                .service(client_webhooks::list_webhooks)
                .service(client_webhooks::create_webhook)
                .service(client_webhooks::get_webhook)
                .service(client_webhooks::update_webhook)
                .service(client_webhooks::delete_webhook)
                .service(client_webhooks::rotate_webhook_secret)
                .service(client_webhooks::test_webhook)
                .service(client_webhooks::replay_webhook)
                .service(client_webhooks::list_webhook_deliveries)
                .service(client_webhooks::get_webhook_delivery)
                .service(client_webhooks::replay_webhook_delivery)
                // service
                .service(service::get_time),
        )
        // login
        .service(oauth::login::start_login)
        .service(oauth::login::finish_login)
        .service(oauth::token::create_token)
        .service(oauth::token::revoke_token)
        .service(oauth::metadata::get_authorization_server_metadata)
        // service
        .service(service::get_health)
        .service(service::get_readiness)
        .service(service::get_metrics)
        .service(service::get_problem)
        .service(service::get_jwks)
        // webhooks
        .service(webhooks::take_kakao_webhook)
        .service(webhooks::take_kakao_webhook_by_query);
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

/// The document that the table makes, before its errors are added.
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
