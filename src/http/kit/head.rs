//! `HEAD`: asked as `GET`, and answered without the body.

use std::sync::Arc;

use actix_web::{
    HttpMessage, HttpRequest,
    body::{self, BodySize, BoxBody, EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse},
    http::Method,
};

use super::operations;
use crate::http::connections::Connection;

/// Where a `GET` does something: steps of a login, and a webhook by query. They know no `HEAD`.
pub const DOES_SOMETHING: &[&str] =
    &["/oauth/authorize", "/oauth/kakao/callback", "/webhooks/kakao"];

/// In a request's extensions: its headers are wanted, and no body.
#[derive(Debug, Clone, Copy)]
struct HeadersAlone;

/// Whether no body is wanted: a stream need not begin.
pub fn is_wanted(request: &HttpRequest) -> bool {
    request.extensions().contains::<HeadersAlone>()
}

/// Wraps a request: `HEAD` goes on as `GET`. Of a body of a known length the connection sends the
/// length alone; a stream, which has none, ends here.
pub fn as_get<S, B>(
    mut request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let is_head =
        request.method() == Method::HEAD && !DOES_SOMETHING.contains(&operations::path(&request));
    if is_head {
        request.head_mut().method = Method::GET;
        request.extensions_mut().insert(HeadersAlone);
    }
    let connection = request.request().conn_data::<Arc<Connection>>().cloned();
    let answer = service.call(request);
    async move {
        let response = answer.await?;
        if let Some(connection) = connection {
            connection.is_answered_at_once();
        }
        Ok(response.map_body(|_, body| match body.size() {
            BodySize::Stream if is_head => EitherBody::right(BoxBody::new(body::None::new())),
            BodySize::None | BodySize::Sized(_) | BodySize::Stream => EitherBody::left(body),
        }))
    }
}
