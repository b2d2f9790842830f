//! `/oauth`: the authorization server as HTTP.
//!
//! Must never redirect to an address that its client has not registered, and never write a code,
//! token, secret, state or cookie into a log.

pub mod login;
pub mod metadata;
mod parameters;
pub mod token;

use actix_web::HttpRequest;

use crate::{http::kit::body, identity::clients::Client};

/// Logs what was refused, once: why, and in the name of which registered client.
fn log_refusal(request: &HttpRequest, reason: &'static str, client: Option<&Client>) {
    let request_id = body::request_id(request);
    let client_id = client.map(|client| client.id.as_str());
    tracing::warn!(reason, client_id, request_id, "a login or a grant was refused");
}
