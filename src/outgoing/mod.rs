//! Bytes to an address that somebody else chose: webhooks, push messages.
//!
//! Owns where such bytes may go ([`Target`], [`is_public`]) and one bounded call there ([`Sender`]).
//! An address is judged when it is given, and again by what its name means at the moment of the
//! connection, so that a name which changes its mind leads nowhere. Must never reach a private
//! network, follow a redirect, use a proxy, or put more of an address than its host into an error.

mod address;
mod resolver;
mod retry_after;
mod target;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
pub use reqwest::header;
use tokio::sync::Semaphore;

use self::resolver::{NameUnknown, NotAllowed, Resolver};
pub use self::{
    address::is_public,
    resolver::{Lookup, system_lookup},
    retry_after::{RETRY_AFTER_S_MAX, RetryAfter},
    target::{Target, TargetError, URL_BYTES_MAX},
};
use crate::tls;

/// Bytes of a body that is sent.
pub const BODY_BYTES_MAX: usize = 256 * 1_024;
/// Bytes of an answer that are read; the rest stays with whoever sent it.
pub const ANSWER_BYTES_MAX: usize = 16 * 1_024;
/// A connection stands by then, name and TLS included, or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the first step to the last byte of the answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Calls of one sender under way at once; past it they wait for their turn.
const CALLS_MAX: usize = 64;
/// Connections kept open for the next call, for each host.
const IDLE_MAX: usize = 2;
/// How long such a connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// As whom we come.
const USER_AGENT: &str = concat!("Hoga/", env!("CARGO_PKG_VERSION"));

/// How a sender sends.
#[derive(Clone)]
pub struct Options {
    /// Whether `http` and `https` may go to this very machine, by `localhost` or a loopback address:
    /// for development and tests. Every other address stays as refused as ever.
    pub loopback: bool,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Until the answer is read.
    pub call_timeout: Duration,
    /// Calls under way at once.
    pub calls_max: usize,
    /// What names mean.
    pub lookup: Lookup,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            loopback: false,
            connect_timeout: CONNECT_TIMEOUT,
            call_timeout: CALL_TIMEOUT,
            calls_max: CALLS_MAX,
            lookup: system_lookup(),
        }
    }
}

/// Sends. Cheap to clone; clones share their turns and connections.
#[derive(Clone)]
pub struct Sender {
    http: reqwest::Client,
    resolver: Resolver,
    turns: Arc<Semaphore>,
}

/// There is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("nothing can be sent: the HTTP client cannot be built")]
pub struct SenderError(#[source] reqwest::Error);

/// A 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200 to 299.
    pub status: u16,
    /// Up to [`ANSWER_BYTES_MAX`]; what came after it was not read.
    pub body: Bytes,
}

/// It did not arrive, or was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The body is larger than [`BODY_BYTES_MAX`].
    #[error("a body of {0} bytes is too large to be sent")]
    TooLarge(usize),
    /// The address is not one of the public Internet. Nothing was sent.
    #[error("the address is not public")]
    AddressRefused,
    /// The name means nothing. Nothing was sent.
    #[error("the name is not known")]
    NameUnknown,
    /// No connection, or one that broke, or no HTTP; down to the last cause, without the address.
    #[error("no answer: {0}")]
    Connection(String),
    /// It took too long. Whether it was received is not known.
    #[error("it took too long")]
    TimedOut,
    /// 410: whoever was there is gone for good.
    #[error("answered with 410 Gone")]
    Gone,
    /// Any other status but 2xx. Redirects are not followed.
    #[error("answered with {status}")]
    Status {
        /// 100 to 999.
        status: u16,
        /// When to come again.
        retry_after: Option<RetryAfter>,
    },
}

impl SendError {
    /// For metrics and records: a closed set of words.
    pub const fn word(&self) -> &'static str {
        match self {
            SendError::TooLarge(_) => "too_large",
            SendError::AddressRefused => "address_refused",
            SendError::NameUnknown => "name_unknown",
            SendError::Connection(_) => "connection",
            SendError::TimedOut => "timeout",
            SendError::Gone => "gone",
            SendError::Status { .. } => "status",
        }
    }

    /// The status, where there was an answer.
    pub const fn status(&self) -> Option<u16> {
        match self {
            SendError::Gone => Some(410),
            SendError::Status { status, .. } => Some(*status),
            SendError::TooLarge(_)
            | SendError::AddressRefused
            | SendError::NameUnknown
            | SendError::Connection(_)
            | SendError::TimedOut => None,
        }
    }

    /// When to come again, where that was said.
    pub const fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            SendError::Status { retry_after, .. } => *retry_after,
            SendError::Gone
            | SendError::TooLarge(_)
            | SendError::AddressRefused
            | SendError::NameUnknown
            | SendError::Connection(_)
            | SendError::TimedOut => None,
        }
    }
}

impl Sender {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// When there is no TLS.
    pub fn new(options: Options) -> Result<Sender, SenderError> {
        let resolver = Resolver::new(options.lookup, options.loopback);
        tls::provide();
        let http = reqwest::Client::builder()
            // A proxy would look names up for itself, and reach what we may not.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(USER_AGENT)
            .dns_resolver(Arc::new(resolver.clone()))
            .connect_timeout(options.connect_timeout)
            .timeout(options.call_timeout)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(SenderError)?;
        Ok(Sender { http, resolver, turns: Arc::new(Semaphore::new(options.calls_max)) })
    }

    /// An address that this sender would go to, as far as can be told from its text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn target(&self, url: &str) -> Result<Target, TargetError> {
        Target::parse(url, self.resolver.allows_loopback())
    }

    /// Whether what its name means at present may be reached. An unknown name may yet be known.
    ///
    /// # Errors
    /// When its name leads to addresses that are not public alone.
    pub async fn look_at(&self, target: &Target) -> Result<(), SendError> {
        let Some(name) = target.name() else { return Ok(()) };
        let looked = tokio::time::timeout(CONNECT_TIMEOUT, self.resolver.addresses(name)).await;
        match looked {
            Ok(Err(error)) if error.is::<NotAllowed>() => Err(SendError::AddressRefused),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Posts bytes there, once. Waits for its turn first, which the time for the call does not count.
    ///
    /// # Errors
    /// Everything but a 2xx.
    pub async fn post(
        &self,
        target: &Target,
        headers: header::HeaderMap,
        body: Bytes,
    ) -> Result<Answer, SendError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(SendError::TooLarge(body.len()));
        }
        // The target may be an old one, of a sender that allowed more.
        if target.is_loopback() && !self.resolver.allows_loopback() {
            return Err(SendError::AddressRefused);
        }
        let _turn = self.turns.acquire().await.expect("the turns are never closed");
        let request = self.http.post(target.url().clone()).headers(headers).body(body);
        let answer = request.send().await.map_err(not_answered)?;
        let status = answer.status();
        if status == reqwest::StatusCode::GONE {
            return Err(SendError::Gone);
        }
        if !status.is_success() {
            let said = answer.headers().get(header::RETRY_AFTER);
            let retry_after = said.and_then(|said| RetryAfter::parse(said.to_str().ok()?));
            return Err(SendError::Status { status: status.as_u16(), retry_after });
        }
        Ok(Answer { status: status.as_u16(), body: read(answer).await? })
    }
}

/// The beginning of a body.
async fn read(mut answer: reqwest::Response) -> Result<Bytes, SendError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(not_answered)? {
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    Ok(body.into())
}

fn not_answered(error: reqwest::Error) -> SendError {
    let is_timeout = error.is_timeout();
    let error = error.without_url();
    let mut why = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if cause.is::<NotAllowed>() {
            return SendError::AddressRefused;
        }
        if cause.is::<NameUnknown>() {
            return SendError::NameUnknown;
        }
        why = cause.to_string();
        source = cause.source();
    }
    if is_timeout { SendError::TimedOut } else { SendError::Connection(why) }
}

#[cfg(test)]
mod tests;
