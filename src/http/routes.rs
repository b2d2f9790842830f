//! The route table: every path that Hoga answers, in one place.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, ResponseError, http::header};
use utoipa_actix_web::{AppExt, scope, service_config::ServiceConfig};

use super::{
    auctions, bids, log,
    problem::{Code, Problem},
    service, streams,
};

/// `/v1`, and what stands outside of it.
pub fn table(config: &mut ServiceConfig<'_>) {
    config
        .service(
            scope::scope("/v1")
                // auctions
                .service(auctions::create_auction)
                .service(auctions::list_auctions)
                .service(auctions::get_auction)
                .service(auctions::update_auction)
                .service(auctions::delete_auction)
                .service(auctions::relist_auction)
                // bids
                .service(bids::place_bid)
                .service(bids::list_bids)
                .service(bids::get_bidding)
                .service(bids::buy_auction)
                .service(bids::retract_bid)
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

/// The methods of every path of the table, as the `Allow` header names them.
static METHODS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let methods = |item: &utoipa::openapi::PathItem| {
        let there = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        let there = there.into_iter().filter(|(_, operation)| operation.is_some());
        there.map(|(method, _)| method).collect::<Vec<_>>().join(", ")
    };
    collected().paths.paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
});

/// Whatever no handler takes: a path that is not there, or a method that its path does not have.
pub async fn elsewhere(request: HttpRequest) -> HttpResponse {
    let Some(allow) = methods_at(request.path()) else {
        return Problem::from(Code::NotFound).error_response();
    };
    let mut response = Problem::from(Code::MethodNotAllowed).error_response();
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
    response
}

fn methods_at(path: &str) -> Option<&'static str> {
    let fits = |template: &str| {
        let mut given = path.split('/');
        template.split('/').all(|part| {
            given
                .next()
                .is_some_and(|given| part == given || part.starts_with('{') && !given.is_empty())
        }) && given.next().is_none()
    };
    METHODS.iter().find(|(template, _)| fits(template)).map(|(_, methods)| methods.as_str())
}
