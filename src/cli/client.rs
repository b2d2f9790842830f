//! The HTTP client of commands that talk to a server: bounded requests, bounded retries, and waiting
//! when told to.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, StatusCode, header};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::{tls, wall_clock};

/// Requests under way side by side.
const REQUESTS_AT_ONCE_MAX: usize = 64;
/// How often one request is sent before it is given up.
const ATTEMPTS_MAX: u32 = 20;
/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// Between attempts where the server does not say how long.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Longer is not waited, whatever the server says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// The server cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error("{0} is no address of a server: give one such as http://127.0.0.1:8080")]
    Url(String),
    /// Nobody answers, or nobody like us.
    #[error("no Hoga answers at {url}: check that it runs, with `curl {url}/healthz`")]
    NoServer {
        /// Where.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
}

/// One server.
pub struct Client {
    http: reqwest::Client,
    base: String,
    under_way: Semaphore,
}

/// What the server said to a command.
pub enum Answer {
    /// It did it.
    Done(Bytes),
    /// It did not, and trying again would not change that.
    Refused {
        /// The problem's code.
        code: String,
        /// The problem in words.
        said: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    retry_after_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Time {
    unix_ms: i64,
}

impl Client {
    /// A client of the server at this address, which must answer.
    ///
    /// # Errors
    /// When it does not.
    pub async fn connect(url: &str) -> Result<Client, ClientError> {
        let base = url.trim_end_matches('/').to_owned();
        let parsed = reqwest::Url::parse(&base).map_err(|_| ClientError::Url(url.to_owned()))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(ClientError::Url(url.to_owned()));
        }
        let failed = |source| ClientError::NoServer { url: base.clone(), source };
        tls::provide();
        let http = reqwest::Client::builder()
            .timeout(ATTEMPT_TIMEOUT)
            .pool_max_idle_per_host(REQUESTS_AT_ONCE_MAX)
            .build()
            .map_err(failed)?;
        let time = http.get(format!("{base}/v1/time")).send().await.map_err(failed)?;
        time.error_for_status().map_err(failed)?;
        Ok(Client { http, base, under_way: Semaphore::new(REQUESTS_AT_ONCE_MAX) })
    }

    /// The server's address, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// How far the server's clock is ahead of ours.
    pub async fn clock_ahead_ms(&self) -> i64 {
        let Ok(body) = self.get("/v1/time").await else { return 0 };
        let time: Result<Time, _> = serde_json::from_slice(&body);
        time.map_or(0, |time| time.unix_ms - wall_clock::now().as_millis())
    }

    /// Whether the server takes this token.
    pub async fn takes(&self, token: &str) -> bool {
        let request =
            self.http.get(format!("{}/v1/auctions?limit=1", self.base)).bearer_auth(token);
        request.send().await.is_ok_and(|answer| answer.status() != StatusCode::UNAUTHORIZED)
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// What the server said in the end, in words.
    pub async fn get(&self, path: &str) -> Result<Bytes, String> {
        let url = format!("{}{path}", self.base);
        match self.send(|| self.http.get(&url)).await? {
            Answer::Done(body) => Ok(body),
            Answer::Refused { said, .. } => Err(said),
        }
    }

    /// Sends a command until it is answered; the key makes every attempt the same one.
    ///
    /// # Errors
    /// What went wrong with the last attempt, in words.
    pub async fn post(
        &self,
        path: &str,
        token: &str,
        idempotency_key: &str,
        body: &serde_json::Value,
    ) -> Result<Answer, String> {
        let url = format!("{}{path}", self.base);
        let request = || {
            let request = self.http.post(&url).bearer_auth(token).json(body);
            request.header("idempotency-key", idempotency_key)
        };
        self.send(request).await
    }

    async fn send(&self, request: impl Fn() -> reqwest::RequestBuilder) -> Result<Answer, String> {
        let mut failure = String::new();
        for _ in 0..ATTEMPTS_MAX {
            let wait = match self.attempt(request()).await {
                Ok(Attempt::Answered(answer)) => return Ok(answer),
                Ok(Attempt::Again { said, after }) => {
                    failure = said;
                    after
                }
                Err(error) => {
                    failure = super::chain(&error);
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(wait.min(RETRY_AFTER_MAX)).await;
        }
        Err(format!("the server did not do it in {ATTEMPTS_MAX} attempts: {failure}"))
    }

    async fn attempt(&self, request: reqwest::RequestBuilder) -> Result<Attempt, reqwest::Error> {
        // The semaphore is never closed; if it were, going on without it would do no harm.
        let _seat = self.under_way.acquire().await.ok();
        let response = request.send().await?;
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = response.bytes().await?;
        if status.is_success() {
            return Ok(Attempt::Answered(Answer::Done(body)));
        }
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        let said = format!("{status} {} {}", problem.code, problem.detail);
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let after = problem.retry_after_ms.map(Duration::from_millis).or(retry_after);
            return Ok(Attempt::Again { said, after: after.unwrap_or(RETRY_AFTER) });
        }
        Ok(Attempt::Answered(Answer::Refused { code: problem.code, said }))
    }
}

enum Attempt {
    Answered(Answer),
    Again { said: String, after: Duration },
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    value.parse().ok().map(Duration::from_secs)
}
