//! Rate limits: a budget for bids and one for everything else, for each user, or for each address
//! where there is no user; and one for logins, for each address.
//!
//! Told by `RateLimit-Policy`, `RateLimit` and `Retry-After` (IETF draft-ietf-httpapi-ratelimit-headers).

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use actix_web::{
    HttpMessage, HttpRequest,
    dev::ServiceRequest,
    http::{Method, header::HeaderValue},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};

use super::{
    failures::{Failures, Guesser},
    problem::{Code, Problem},
};
use crate::{config::RateLimits, domain::id::UserId};

/// Users and addresses that are counted at once; past it strangers share one budget.
const COUNTED_MAX: usize = 200_000;
/// How often those who have their whole budget again are forgotten.
const FORGOTTEN_EVERY: Duration = Duration::from_secs(10);

/// Whose budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    User(UserId),
    Address(IpAddr),
    /// There are too many to tell apart.
    Crowd,
}

type Limiter = RateLimiter<Who, DashMapStateStore<Who>, DefaultClock, StateInformationMiddleware>;

struct Budget {
    limiter: Limiter,
    name: &'static str,
    policy: HeaderValue,
}

/// Every budget. Cheap to clone.
#[derive(Clone)]
pub struct Limits {
    inner: Arc<Inner>,
}

struct Inner {
    bids: Budget,
    requests: Budget,
    logins: Budget,
    failures: Failures,
    trusted_proxies: Vec<IpAddr>,
}

/// What an answer says of the budget.
pub struct Told {
    /// `RateLimit-Policy`
    pub policy: HeaderValue,
    /// `RateLimit`
    pub left: Option<HeaderValue>,
}

impl Budget {
    /// So many a second, and twice as many at once.
    fn per_second(name: &'static str, per_second: NonZeroU32) -> Budget {
        let burst = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        Budget::new(name, Quota::per_second(per_second).allow_burst(burst), burst, 2)
    }

    /// So many a minute, all of them at once if need be.
    fn per_minute(name: &'static str, per_minute: NonZeroU32) -> Budget {
        Budget::new(name, Quota::per_minute(per_minute), per_minute, 60)
    }

    fn new(name: &'static str, quota: Quota, burst: NonZeroU32, window_s: u32) -> Budget {
        let policy = format!("\"{name}\";q={burst};w={window_s}");
        Budget {
            limiter: RateLimiter::dashmap(quota).with_middleware(),
            name,
            policy: HeaderValue::from_str(&policy).expect("a policy is visible ASCII"),
        }
    }

    fn admit(&self, who: Who) -> (Told, Result<(), Problem>) {
        let who = if self.limiter.len() < COUNTED_MAX { who } else { Who::Crowd };
        let (left, wait) = match self.limiter.check_key(&who) {
            Ok(snapshot) => (snapshot.remaining_burst_capacity(), None),
            Err(refused) => (0, Some(refused.wait_time_from(DefaultClock::default().now()))),
        };
        let wait_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
        let in_s = wait_ms.map_or(1, |wait_ms| wait_ms.div_ceil(1_000));
        let told = format!("\"{}\";r={left};t={in_s}", self.name);
        let told = Told { policy: self.policy.clone(), left: HeaderValue::from_str(&told).ok() };
        let admitted = match wait_ms {
            None => Ok(()),
            wait_ms => Err(Problem { retry_after_ms: wait_ms, ..Code::RateLimited.into() }),
        };
        (told, admitted)
    }
}

impl Limits {
    /// Budgets as configured. Must be called inside an actix system, which forgets the idle ones.
    pub fn new(limits: &RateLimits) -> Limits {
        let inner = Arc::new(Inner {
            bids: Budget::per_second("bids", limits.bids_per_second),
            requests: Budget::per_second("requests", limits.requests_per_second),
            logins: Budget::per_minute("logins", limits.logins_per_minute),
            failures: Failures::default(),
            trusted_proxies: limits.trusted_proxies.clone(),
        });
        let idle = Arc::downgrade(&inner);
        actix_web::rt::spawn(async move {
            let mut every = tokio::time::interval(FORGOTTEN_EVERY);
            loop {
                every.tick().await;
                let Some(inner) = idle.upgrade() else { return };
                inner.bids.limiter.retain_recent();
                inner.requests.limiter.retain_recent();
                inner.logins.limiter.retain_recent();
                inner.failures.forget_old();
            }
        });
        Limits { inner }
    }

    /// Whether a request may go on, and what its answer says of the budget; nothing of health
    /// checks and preflights, which always may. `user` is asked who calls, where that counts.
    pub fn admit(
        &self,
        request: &ServiceRequest,
        user: impl FnOnce() -> Option<UserId>,
    ) -> Option<(Told, Result<(), Problem>)> {
        if request.method() == Method::OPTIONS {
            return None;
        }
        if is_step_of_login(request.path()) {
            return Some(self.inner.logins.admit(self.anonymous(request.request())));
        }
        if !request.path().starts_with("/v1/") {
            return None;
        }
        let budget = if is_bid(request) { &self.inner.bids } else { &self.inner.requests };
        let who = user().map_or_else(|| self.anonymous(request.request()), Who::User);
        Some(budget.admit(who))
    }

    /// Whether a request for tokens may go on, of a client that has no secret: a server-side one
    /// speaks for all its users from one address.
    ///
    /// # Errors
    /// When the budget of its address is used up.
    pub fn admit_login(&self, request: &HttpRequest) -> Result<(), Problem> {
        let (told, admitted) = self.inner.logins.admit(self.anonymous(request));
        request.extensions_mut().insert(told);
        admitted
    }

    /// Whether somebody has guessed wrong too often to be heard; how long they must wait, in
    /// milliseconds.
    pub fn must_wait(&self, request: &HttpRequest, client_id: Option<&str>) -> Option<u64> {
        self.inner.failures.must_wait_ms(&self.guesser(request), client_id)
    }

    /// A wrong code, verifier, secret or refresh token.
    pub fn note_failure(&self, request: &HttpRequest, client_id: Option<&str>) {
        self.inner.failures.note(&self.guesser(request), client_id);
    }

    fn guesser(&self, request: &HttpRequest) -> Guesser {
        self.address(request).map_or(Guesser::Crowd, Guesser::Address)
    }

    fn anonymous(&self, request: &HttpRequest) -> Who {
        self.address(request).map_or(Who::Crowd, Who::Address)
    }

    /// The peer's address; behind trusted proxies, the last one in `X-Forwarded-For` that is not
    /// one of them. An IPv6 network of 64 bits counts as one address.
    fn address(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr()?.ip();
        if !self.inner.trusted_proxies.contains(&peer) {
            return Some(network(peer));
        }
        let forwarded = request.headers().get_all("x-forwarded-for");
        let hops: Vec<IpAddr> = forwarded
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|hop| hop.trim().parse().ok())
            .collect();
        let stranger = hops.into_iter().rev().find(|hop| !self.inner.trusted_proxies.contains(hop));
        Some(network(stranger.unwrap_or(peer)))
    }
}

/// Where a person's browser goes. Requests for tokens are admitted once their client is known.
fn is_step_of_login(path: &str) -> bool {
    matches!(path, "/oauth/authorize" | "/oauth/kakao/callback")
}

fn is_bid(request: &ServiceRequest) -> bool {
    let path = request.path();
    request.method() == Method::POST
        && (path.ends_with("/bids") || path.ends_with("/buy-now") || path.ends_with("/retraction"))
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(
            || {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            },
            IpAddr::V4,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix_web::{http::header, test::TestRequest};

    use super::*;
    use crate::{
        identity::{Role, keys::SigningKey, tokens::Tokens},
        wall_clock,
    };

    fn limits(trusted: &[&str]) -> Limits {
        Limits::new(&RateLimits {
            bids_per_second: NonZeroU32::new(1).expect("positive"),
            requests_per_second: NonZeroU32::new(5).expect("positive"),
            logins_per_minute: NonZeroU32::new(3).expect("positive"),
            trusted_proxies: trusted.iter().map(|ip| ip.parse().expect("an address")).collect(),
        })
    }

    fn tokens() -> Tokens {
        Tokens::new(SigningKey::generate().expect("a key"), "http://hoga.test")
    }

    fn bid() -> TestRequest {
        TestRequest::post()
            .uri("/v1/auctions/x/bids")
            .peer_addr("10.0.0.1:9".parse().expect("an address"))
    }

    fn admitted(limits: &Limits, tokens: &Tokens, request: TestRequest) -> Result<(), Problem> {
        let request = request.to_srv_request();
        let user = || {
            let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
            let token = value.strip_prefix("Bearer ")?;
            tokens.check(token, wall_clock::now()).ok().map(|caller| caller.user)
        };
        limits.admit(&request, user).expect("limited").1
    }

    #[actix_web::test]
    async fn a_budget_ends_and_says_when_it_begins_again() {
        let (limits, tokens) = (limits(&[]), tokens());
        assert!(admitted(&limits, &tokens, bid()).is_ok());
        assert!(admitted(&limits, &tokens, bid()).is_ok());
        let refused = admitted(&limits, &tokens, bid()).expect_err("the third at once");
        assert_eq!(refused.code, Code::RateLimited);
        assert!(refused.retry_after_ms.is_some_and(|wait| (1..=1_000).contains(&wait)));
        let read = TestRequest::get()
            .uri("/v1/auctions")
            .peer_addr("10.0.0.1:9".parse().expect("an address"));
        assert!(admitted(&limits, &tokens, read).is_ok(), "reads have their own budget");
    }

    #[actix_web::test]
    async fn logins_have_a_budget_of_their_own_for_each_address() {
        let (limits, tokens) = (limits(&[]), tokens());
        let step = |path: &'static str, ip: &str| {
            let peer = format!("{ip}:9").parse().expect("an address");
            TestRequest::get().uri(path).peer_addr(peer)
        };
        for path in ["/oauth/authorize", "/oauth/kakao/callback"] {
            assert!(admitted(&limits, &tokens, step(path, "10.0.0.1")).is_ok());
        }
        let token = step("/oauth/token", "10.0.0.1").to_http_request();
        assert!(limits.admit_login(&token).is_ok());
        let refused = limits.admit_login(&token).expect_err("the fourth in a minute");
        assert!(refused.retry_after_ms.is_some_and(|wait| (1..=20_000).contains(&wait)));
        assert!(admitted(&limits, &tokens, step("/oauth/authorize", "10.0.0.1")).is_err());
        assert!(admitted(&limits, &tokens, step("/oauth/authorize", "10.0.0.2")).is_ok());
    }

    #[actix_web::test]
    async fn each_user_has_a_budget_wherever_they_call_from() {
        let (limits, tokens) = (limits(&[]), Arc::new(tokens()));
        let token = |number| {
            let user = UserId(uuid::Uuid::from_u128(number));
            tokens.issue(user, &[Role::Bidder], None, wall_clock::now(), 60).expect("a token")
        };
        let bid_as = |number| {
            bid().insert_header((header::AUTHORIZATION, format!("Bearer {}", token(number))))
        };
        for _ in 0..2 {
            assert!(admitted(&limits, &tokens, bid_as(1)).is_ok());
        }
        assert!(admitted(&limits, &tokens, bid_as(1)).is_err());
        assert!(admitted(&limits, &tokens, bid_as(2)).is_ok());
    }

    #[actix_web::test]
    async fn a_forwarded_address_counts_from_a_trusted_proxy_alone() {
        let tokens = tokens();
        let from = |hop: &str| bid().insert_header(("x-forwarded-for", hop));
        let trusting = limits(&["10.0.0.1"]);
        for hop in ["1.1.1.1", "2.2.2.2", "6.6.6.6, 3.3.3.3", "6.6.6.6, 4.4.4.4, 10.0.0.1"] {
            assert!(admitted(&trusting, &tokens, from(hop)).is_ok(), "{hop}");
        }
        let suspicious = limits(&[]);
        assert!(admitted(&suspicious, &tokens, from("1.1.1.1")).is_ok());
        assert!(admitted(&suspicious, &tokens, from("2.2.2.2")).is_ok());
        assert!(admitted(&suspicious, &tokens, from("3.3.3.3")).is_err());
    }
}
