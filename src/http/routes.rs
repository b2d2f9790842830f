//! The route table: every path that Hoga answers, in one place.

use utoipa_actix_web::{AppExt, scope, service_config::ServiceConfig};

use super::{auctions, bids, log, service, streams};

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
                .service(auctions::create_auction)
                .service(auctions::list_auctions)
                .service(auctions::get_auction)
                .service(auctions::update_auction)
                .service(auctions::delete_auction)
                .service(auctions::relist_auction)
                // log
                .service(log::get_log)
                .service(log::get_log_checkpoint)
                // streams
                .service(streams::watch_auction_events)
                .service(streams::watch_events)
                // service
                .service(service::get_time),
        )
        .service(service::get_health)
        .service(service::get_readiness)
        .service(service::get_problem)
        .service(service::get_jwks);
}

/// The document that the table makes, before its errors are added.
pub fn collected() -> utoipa::openapi::OpenApi {
    let app = actix_web::App::new().into_utoipa_app().configure(table);
    app.split_for_parts().1
}
