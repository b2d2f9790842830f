//! One call to Kakao: bounded in time, in bytes and in number, and never led elsewhere.
//!
//! Must never put an address's query, a header or a body into an error.

use std::{sync::Arc, time::Duration};

use oauth2::{
    HttpRequest, HttpResponse,
    http::{self, StatusCode},
    reqwest,
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use super::{
    Timeouts,
    error::{KakaoError, Place, Rubbish},
};
use crate::tls;

/// Bytes of an answer that are read; Kakao's have a few thousand.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;
/// Calls under way at once; past it logins wait a moment.
const CALLS_MAX: usize = 64;
/// How long a call waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a connection stays open unused: shorter than servers keep one, so that none is used that
/// is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Connections kept open for the next call, for each host.
const IDLE_MAX: usize = 8;

/// Calls Kakao. Cheap to clone.
#[derive(Clone)]
pub(super) struct Wire {
    http: reqwest::Client,
    turns: Arc<Semaphore>,
}

/// What Kakao says of an error: its authorization server in the first way, its API in the second.
#[derive(Deserialize)]
struct Complaint {
    error: Option<serde::de::IgnoredAny>,
    error_code: Option<String>,
    code: Option<i64>,
    msg: Option<serde::de::IgnoredAny>,
}

impl Wire {
    /// Nothing is connected yet. A proxy of the environment leads to Kakao, never to a stand-in.
    ///
    /// # Errors
    /// When there is no TLS.
    pub(super) fn new(may_use_proxy: bool, timeouts: Timeouts) -> Result<Wire, reqwest::Error> {
        tls::provide();
        let builder = reqwest::Client::builder();
        let http = if may_use_proxy { builder } else { builder.no_proxy() }
            // A redirect would carry codes and secrets to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(timeouts.connect)
            .timeout(timeouts.call)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?;
        Ok(Wire { http, turns: Arc::new(Semaphore::new(CALLS_MAX)) })
    }

    /// An answer without an error in it.
    pub(super) async fn call(
        &self,
        place: Place,
        request: HttpRequest,
    ) -> Result<HttpResponse, KakaoError> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(KakaoError::Busy) };
        let failed = |error| not_answered(place, error);
        let request = reqwest::Request::try_from(request).map_err(failed)?;
        let mut answer = self.http.execute(request).await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(KakaoError::Rubbish { place, what: Rubbish::TooLarge });
            }
            body.extend_from_slice(&chunk);
        }
        refuse_errors(place, answer.status(), &body)?;
        let mut response = http::Response::new(body);
        if let Some(kind) = answer.headers().get(http::header::CONTENT_TYPE) {
            response.headers_mut().insert(http::header::CONTENT_TYPE, kind.clone());
        }
        Ok(response)
    }

    /// An answer as JSON.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        place: Place,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<T, KakaoError> {
        let malformed = KakaoError::Rubbish { place, what: Rubbish::Malformed };
        let request = request.body(body).map_err(|_| malformed.clone())?;
        let answer = self.call(place, request).await?;
        serde_json::from_slice(answer.body()).map_err(|_| malformed)
    }
}

/// By Kakao's own code where there is one, whatever the status; else by the status.
fn refuse_errors(place: Place, status: StatusCode, body: &[u8]) -> Result<(), KakaoError> {
    let complaint = serde_json::from_slice::<Complaint>(body).ok();
    if let Some(complaint) = complaint {
        if let Some(koe) = complaint.error_code {
            return Err(KakaoError::of_code(place, &koe));
        }
        if let (Some(code), Some(_)) = (complaint.code, complaint.msg) {
            return Err(KakaoError::of_code(place, &code.to_string()));
        }
        if complaint.error.is_some() && !status.is_server_error() {
            return Err(KakaoError::Rubbish { place, what: Rubbish::NoCode });
        }
    }
    if status.is_success() {
        Ok(())
    } else if status.is_server_error() {
        Err(KakaoError::Unavailable { place, why: status.to_string() })
    } else if status.is_redirection() {
        Err(KakaoError::Rubbish { place, what: Rubbish::Redirect })
    } else if status == StatusCode::TOO_MANY_REQUESTS {
        Err(KakaoError::TooManyRequests)
    } else {
        Err(KakaoError::Rubbish { place, what: Rubbish::NoCode })
    }
}

fn not_answered(place: Place, error: reqwest::Error) -> KakaoError {
    if error.is_timeout() {
        return KakaoError::TimedOut(place);
    }
    // Without its address: only the kind of failure, down to the operating system's.
    let error = error.without_url();
    let mut why = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        why = cause.to_string();
        source = cause.source();
    }
    KakaoError::Unavailable { place, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Result<(), KakaoError> {
        let status = StatusCode::from_u16(status).expect("a status");
        refuse_errors(Place::Token, status, body.as_bytes())
    }

    #[test]
    fn an_error_goes_by_its_code_and_not_by_its_status() {
        let complaint = r#"{"error":"invalid_grant","error_code":"KOE320"}"#;
        for status in [200, 400, 401, 500] {
            assert_eq!(refused(status, complaint), Err(KakaoError::CodeInvalid));
        }
        let api = r#"{"msg":"this access token does not exist","code":-401}"#;
        assert_eq!(refused(401, api), Err(KakaoError::TokenRefused));
    }

    #[test]
    fn without_a_code_the_status_decides() {
        let unavailable = refused(502, "<html>Bad Gateway</html>").expect_err("an error");
        assert_eq!(unavailable.word(), "kakao_unavailable");
        let what = |status, body| match refused(status, body) {
            Err(KakaoError::Rubbish { what, .. }) => Some(what),
            Ok(()) | Err(_) => None,
        };
        assert_eq!(what(302, ""), Some(Rubbish::Redirect));
        assert_eq!(what(404, "{}"), Some(Rubbish::NoCode));
        assert_eq!(what(200, r#"{"error":"odd"}"#), Some(Rubbish::NoCode));
        assert_eq!(refused(429, ""), Err(KakaoError::TooManyRequests));
        assert_eq!(refused(200, r#"{"access_token":"x"}"#), Ok(()));
    }
}
