//! What the stand-in can be told to get wrong, and how often it was asked.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpResponse, http::StatusCode, web::Bytes};
use futures_util::stream;
use serde_json::{Value, json};

/// A slow answer takes so long: longer than anybody should wait.
const SLOW: Duration = Duration::from_secs(20);
/// Bytes of an answer that is too large, in so many pieces.
const PIECE: Bytes = Bytes::from_static(&[b' '; 16_384]);
const PIECES: usize = 512;

/// Where requests come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/oauth/authorize`
    Authorize,
    /// `/oauth/token`
    Token,
    /// `/.well-known/openid-configuration`
    Discovery,
    /// `/.well-known/jwks.json`
    Keys,
    /// `/v2/user/me`
    User,
    /// `/v1/user/unlink`
    Unlink,
    /// `/v1/user/logout`
    Logout,
}

/// Every endpoint.
const ENDPOINTS: usize = 7;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No answer for a long time.
    Slow,
    /// A status without a word of Kakao's.
    Status(u16),
    /// A page instead of JSON, with status 200.
    Page,
    /// JSON, and not what was asked for.
    OtherJson,
    /// Eight mebibytes.
    TooLarge,
    /// The connection ends in the middle.
    HangUp,
    /// To another host.
    Redirect,
    /// An error of the authorization server, by its code.
    Koe(&'static str),
    /// An error of the API, by its code.
    Api(i64),
}

/// What is wrong with an id_token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// There is none.
    Missing,
    /// The nonce of another login.
    AnotherNonce,
    /// No nonce.
    NoNonce,
    /// For another app.
    AnotherAudience,
    /// From another issuer.
    AnotherIssuer,
    /// About somebody else than the user data.
    AnotherSubject,
    /// Its time is over.
    Expired,
    /// Signed with a key that is in no set.
    UnknownKid,
    /// A name of a key that is known, and another's signature.
    WrongSignature,
    /// `alg: none`
    AlgNone,
    /// `alg: HS256`, with the public key as the secret.
    Hs256WithPublicKey,
}

/// Faults by endpoint, and counts.
#[derive(Default)]
pub(super) struct Faults {
    by_endpoint: Mutex<HashMap<Endpoint, Fault>>,
    forgery: Mutex<Option<Forgery>>,
    requests: [AtomicU64; ENDPOINTS],
}

impl Faults {
    pub(super) fn set(&self, endpoint: Endpoint, fault: Option<Fault>) {
        let mut faults = self.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => faults.insert(endpoint, fault),
            None => faults.remove(&endpoint),
        };
    }

    fn fault(&self, endpoint: Endpoint) -> Option<Fault> {
        let faults = self.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        faults.get(&endpoint).copied()
    }

    pub(super) fn set_forgery(&self, forgery: Option<Forgery>) {
        *self.forgery.lock().unwrap_or_else(PoisonError::into_inner) = forgery;
    }

    pub(super) fn forgery(&self) -> Option<Forgery> {
        *self.forgery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn requests(&self, endpoint: Endpoint) -> u64 {
        self.requests[endpoint as usize].load(Ordering::Relaxed)
    }

    /// Counts a request; the answer to it, if something is to go wrong.
    pub(super) async fn arrive(&self, endpoint: Endpoint) -> Option<HttpResponse> {
        self.requests[endpoint as usize].fetch_add(1, Ordering::Relaxed);
        let fault = self.fault(endpoint)?;
        if fault == Fault::Slow {
            tokio::time::sleep(SLOW).await;
        }
        Some(fault.answer())
    }
}

impl Fault {
    fn answer(self) -> HttpResponse {
        let status = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        match self {
            Fault::Slow => HttpResponse::GatewayTimeout().finish(),
            Fault::Status(code) => HttpResponse::build(status(code)).finish(),
            Fault::Page => HttpResponse::Ok()
                .content_type("text/html")
                .body("<!doctype html><title>Maintenance</title><p>Back soon"),
            Fault::OtherJson => HttpResponse::Ok().json(json!({"weather": "fine"})),
            Fault::TooLarge => {
                let pieces = (0..PIECES).map(|_| Ok::<_, std::io::Error>(PIECE));
                HttpResponse::Ok().content_type("application/json").streaming(stream::iter(pieces))
            }
            Fault::HangUp => {
                let end = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
                let pieces = [Ok(Bytes::from_static(b"{\"access")), Err(end)];
                HttpResponse::Ok().content_type("application/json").streaming(stream::iter(pieces))
            }
            Fault::Redirect => HttpResponse::TemporaryRedirect()
                .insert_header(("Location", "http://elsewhere.test/"))
                .finish(),
            Fault::Koe(code) => {
                complaint(400, "invalid_request", "as the test wants it", code).into()
            }
            Fault::Api(code) => api_complaint(400, "as the test wants it", code).into(),
        }
    }
}

/// An error as Kakao writes it.
pub(super) struct Complaint {
    status: u16,
    body: Value,
}

/// As Kakao's authorization server complains.
pub(super) fn complaint(status: u16, error: &str, description: &str, code: &str) -> Complaint {
    let body = json!({"error": error, "error_description": description, "error_code": code});
    Complaint { status, body }
}

/// As Kakao's API complains.
pub(super) fn api_complaint(status: u16, msg: &str, code: i64) -> Complaint {
    Complaint { status, body: json!({"msg": msg, "code": code}) }
}

impl From<Complaint> for HttpResponse {
    fn from(complaint: Complaint) -> HttpResponse {
        let status = StatusCode::from_u16(complaint.status).unwrap_or(StatusCode::BAD_REQUEST);
        HttpResponse::build(status).json(complaint.body)
    }
}
