//! `/.well-known/oauth-authorization-server` (RFC 8414): what a client library asks first.

use actix_web::{HttpResponse, get, http::header, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::State,
    identity::oauth::{SCOPE, pkce},
};

/// How a client may prove who it is.
const AUTH_METHODS: &[&str] = &["none", "client_secret_basic", "client_secret_post"];

/// The authorization server, for programs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuthorizationServer, example = json!({
    "issuer": "https://auction.example.com",
    "authorization_endpoint": "https://auction.example.com/oauth/authorize",
    "token_endpoint": "https://auction.example.com/oauth/token",
    "revocation_endpoint": "https://auction.example.com/oauth/revoke",
    "jwks_uri": "https://auction.example.com/.well-known/jwks.json",
    "service_documentation": "https://auction.example.com/docs/",
    "scopes_supported": ["api"],
    "response_types_supported": ["code"],
    "response_modes_supported": ["query"],
    "grant_types_supported": ["authorization_code", "refresh_token"],
    "code_challenge_methods_supported": ["S256"],
    "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
    "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
    "authorization_response_iss_parameter_supported": true
}))]
pub struct MetadataBody {
    /// `iss` of every token and of every answer to a frontend.
    issuer: String,
    /// Where browsers are sent.
    authorization_endpoint: String,
    /// Where codes and refresh tokens are exchanged.
    token_endpoint: String,
    /// RFC 7009.
    revocation_endpoint: String,
    /// The public keys.
    jwks_uri: String,
    /// For people.
    service_documentation: String,
    /// `api`
    scopes_supported: Vec<&'static str>,
    /// `code`
    response_types_supported: Vec<&'static str>,
    /// `query`
    response_modes_supported: Vec<&'static str>,
    /// `authorization_code` and `refresh_token`
    grant_types_supported: Vec<&'static str>,
    /// `S256`
    code_challenge_methods_supported: Vec<&'static str>,
    /// `none` is for clients whose code runs in a browser or an app.
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    /// The same.
    revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    /// RFC 9207.
    authorization_response_iss_parameter_supported: bool,
}

/// Read what the authorization server can do
///
/// RFC 8414; enough for a standard client library to configure itself.
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "login",
    operation_id = "get_authorization_server_metadata",
    responses((status = 200, body = MetadataBody, description = "Its endpoints and abilities")))]
#[get("/.well-known/oauth-authorization-server")]
pub async fn get_authorization_server_metadata(state: web::Data<State>) -> HttpResponse {
    let url = |path: &str| format!("{}{path}", state.public_url());
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "public, max-age=300")).json(
        MetadataBody {
            issuer: url(""),
            authorization_endpoint: url("/oauth/authorize"),
            token_endpoint: url("/oauth/token"),
            revocation_endpoint: url("/oauth/revoke"),
            jwks_uri: url("/.well-known/jwks.json"),
            service_documentation: url("/docs/"),
            scopes_supported: vec![SCOPE],
            response_types_supported: vec!["code"],
            response_modes_supported: vec!["query"],
            grant_types_supported: vec!["authorization_code", "refresh_token"],
            code_challenge_methods_supported: vec![pkce::METHOD],
            token_endpoint_auth_methods_supported: AUTH_METHODS.to_vec(),
            revocation_endpoint_auth_methods_supported: AUTH_METHODS.to_vec(),
            authorization_response_iss_parameter_supported: true,
        },
    )
}
