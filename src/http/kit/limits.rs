//! Rate limits: a budget for bids and one for everything else, for each user, or for each address
//! where there is no user; one for logins, for each address; and those that all users of a client
//! share, where it has them.
//!
//! Told by `RateLimit-Policy`, `RateLimit` and `Retry-After` (IETF draft-ietf-httpapi-ratelimit-headers).

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{
    HttpMessage, HttpRequest,
    dev::ServiceRequest,
    http::header::{self, HeaderValue},
};
use dashmap::DashMap;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::{StateInformationMiddleware, StateSnapshot},
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, StateStore, keyed::ShrinkableKeyedStateStore},
};

use super::{
    failures::{Failures, Guesser},
    operations::Counted,
    problem::{Code, Problem},
};
use crate::{
    config::RateLimits,
    domain::id::UserId,
    identity::{
        Caller,
        clients::{Client, Clients},
    },
};

/// Users and addresses that are counted at once; past it strangers share one budget.
const COUNTED_MAX: usize = 200_000;
/// How often those who have their whole budget again are forgotten.
const FORGOTTEN_EVERY: Duration = Duration::from_secs(10);

/// Whose budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    User(UserId),
    Address(IpAddr),
    /// Their address is not known.
    Crowd,
}

/// What everybody has used, in a bounded place.
struct Counts {
    each: DashMap<Who, InMemoryState>,
    /// Shared by those for whom there is no place.
    crowd: InMemoryState,
    /// As many as `each` has, or a few more: to ask the map would lock all of it.
    counted: AtomicUsize,
    max: usize,
}

impl Counts {
    fn up_to(max: usize) -> Counts {
        Counts {
            each: DashMap::new(),
            crowd: InMemoryState::default(),
            counted: AtomicUsize::new(0),
            max,
        }
    }
}

impl StateStore for Counts {
    type Key = Who;

    fn measure_and_replace<T, F, E>(&self, who: &Who, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let one = &NotKeyed::NonKey;
        if let Some(state) = self.each.get(who) {
            return state.measure_and_replace(one, measure);
        }
        if self.counted.load(Ordering::Relaxed) >= self.max {
            return self.crowd.measure_and_replace(one, measure);
        }
        self.counted.fetch_add(1, Ordering::Relaxed);
        self.each.entry(*who).or_default().measure_and_replace(one, measure)
    }
}

impl ShrinkableKeyedStateStore<Who> for Counts {
    fn retain_recent(&self, drop_below: Nanos) {
        // Asked for, and refused to be replaced: the only way to read it.
        let last = |state: &InMemoryState| {
            state.measure_and_replace(&NotKeyed::NonKey, Err::<((), Nanos), _>).err()
        };
        self.each.retain(|_, state| last(state).flatten().is_some_and(|last| last > drop_below));
        self.counted.store(self.each.len(), Ordering::Relaxed);
    }

    fn len(&self) -> usize {
        self.counted.load(Ordering::Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

type Limiter = RateLimiter<Who, Counts, DefaultClock, StateInformationMiddleware>;
type OneLimiter = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// How much a budget is, and over how long.
#[derive(Clone, Copy)]
struct Rate {
    quota: Quota,
    burst: NonZeroU32,
    window_s: u32,
}

impl Rate {
    /// So many a second, and twice as many at once.
    fn per_second(count: NonZeroU32) -> Rate {
        let burst = count.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        Rate { quota: Quota::per_second(count).allow_burst(burst), burst, window_s: 2 }
    }

    /// So many a minute, all of them at once if need be.
    fn per_minute(count: NonZeroU32) -> Rate {
        Rate { quota: Quota::per_minute(count), burst: count, window_s: 60 }
    }

    fn policy(self, name: &str) -> String {
        let Rate { burst, window_s, .. } = self;
        format!("\"{name}\";q={burst};w={window_s}")
    }
}

/// What became of a request at a budget: how many are left, or for how long to wait.
type Verdict = Result<u32, Duration>;

fn verdict(
    checked: Result<StateSnapshot, governor::NotUntil<<DefaultClock as Clock>::Instant>>,
) -> Verdict {
    match checked {
        Ok(snapshot) => Ok(snapshot.remaining_burst_capacity()),
        Err(refused) => Err(refused.wait_time_from(DefaultClock::default().now())),
    }
}

/// A budget for each user and address.
struct Budget {
    limiter: Limiter,
    name: &'static str,
    policy: HeaderValue,
}

impl Budget {
    fn new(name: &'static str, rate: Rate, counted_max: usize) -> Budget {
        let counts = Counts::up_to(counted_max);
        Budget {
            limiter: RateLimiter::new(rate.quota, counts, DefaultClock::default()),
            name,
            policy: HeaderValue::from_str(&rate.policy(name)).expect("a policy is visible ASCII"),
        }
    }

    fn admit(&self, who: Who) -> (Told, Result<(), Problem>) {
        let verdict = verdict(self.limiter.check_key(&who));
        let told = HeaderValue::from_str(&left(self.name, verdict)).ok();
        (Told { policy: self.policy.clone(), left: told }, admitted(self.name, verdict))
    }
}

/// What `RateLimit` says.
fn left(name: &str, verdict: Verdict) -> String {
    let (left, in_s) = match verdict {
        Ok(left) => (left, 1),
        Err(wait) => (0, wait_ms(wait).div_ceil(1_000)),
    };
    format!("\"{name}\";r={left};t={in_s}")
}

fn admitted(name: &str, verdict: Verdict) -> Result<(), Problem> {
    verdict.map(|_| ()).map_err(|wait| Problem {
        retry_after_ms: Some(wait_ms(wait)),
        ..Problem::found(Code::RateLimited, format!("The budget \"{name}\" is used up."))
    })
}

fn wait_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The budget that all users of a client share.
struct SharedBudget {
    limiter: OneLimiter,
    per_second: NonZeroU32,
    name: &'static str,
    policy: String,
}

impl SharedBudget {
    fn new(name: &'static str, per_second: NonZeroU32) -> SharedBudget {
        let rate = Rate::per_second(per_second);
        let counts = InMemoryState::default();
        let limiter = RateLimiter::new(rate.quota, counts, DefaultClock::default());
        SharedBudget { limiter, per_second, name, policy: rate.policy(name) }
    }

    /// Tells of itself behind what the caller's own budget has told.
    fn admit(&self, own: Told) -> (Told, Result<(), Problem>) {
        let verdict = verdict(self.limiter.check());
        let both = |own: Option<&HeaderValue>, shared: &str| {
            let own = own.and_then(|own| own.to_str().ok()).unwrap_or_default();
            HeaderValue::from_str(&format!("{own}, {shared}")).ok()
        };
        let told = Told {
            left: both(own.left.as_ref(), &left(self.name, verdict)),
            policy: both(Some(&own.policy), &self.policy).unwrap_or(own.policy),
        };
        (told, admitted(self.name, verdict))
    }
}

/// A budget that users of clients share, by the client's id: as many as there are clients.
type SharedBudgets = DashMap<String, Arc<SharedBudget>>;

/// The client's own, made with the first request and again when the client was changed.
fn shared(
    budgets: &SharedBudgets,
    name: &'static str,
    client: &Client,
    per_second: NonZeroU32,
) -> Arc<SharedBudget> {
    let known = budgets.get(&client.id).map(|known| Arc::clone(&known));
    known.filter(|known| known.per_second == per_second).unwrap_or_else(|| {
        let made = Arc::new(SharedBudget::new(name, per_second));
        budgets.insert(client.id.clone(), Arc::clone(&made));
        made
    })
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
    client_bids: SharedBudgets,
    client_requests: SharedBudgets,
    trusted_proxies: Vec<IpAddr>,
}

/// What an answer says of the budget.
pub struct Told {
    /// `RateLimit-Policy`
    pub policy: HeaderValue,
    /// `RateLimit`
    pub left: Option<HeaderValue>,
}

impl Limits {
    /// Budgets as configured. Must be called inside an actix system, which forgets the idle ones.
    pub fn new(limits: &RateLimits) -> Limits {
        let inner = Arc::new(Inner {
            bids: Budget::new("bids", Rate::per_second(limits.bids_per_second), COUNTED_MAX),
            requests: Budget::new(
                "requests",
                Rate::per_second(limits.requests_per_second),
                COUNTED_MAX,
            ),
            logins: Budget::new("logins", Rate::per_minute(limits.logins_per_minute), COUNTED_MAX),
            failures: Failures::default(),
            client_bids: DashMap::new(),
            client_requests: DashMap::new(),
            trusted_proxies: limits.trusted_proxies.iter().copied().map(canonical).collect(),
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

    /// Whether a request may go on, and what its answer says of the budgets; nothing of what is not
    /// counted, such as health checks. `caller` is asked where that counts.
    pub fn admit(
        &self,
        request: &ServiceRequest,
        counted: Counted,
        clients: &Clients,
        caller: impl FnOnce() -> Option<Arc<Caller>>,
    ) -> Option<(Told, Result<(), Problem>)> {
        let is_bid = match counted {
            Counted::Not | Counted::OnceClientIsKnown => return None,
            Counted::AsLogin => {
                return Some(self.inner.logins.admit(self.anonymous(request.request())));
            }
            Counted::AsBid => true,
            Counted::AsRequest => false,
        };
        let budget = if is_bid { &self.inner.bids } else { &self.inner.requests };
        let caller = caller();
        let who = caller
            .as_ref()
            .map_or_else(|| self.anonymous(request.request()), |caller| Who::User(caller.user));
        let (told, admitted) = budget.admit(who);
        let client = caller.as_ref().and_then(|caller| clients.get(caller.client.as_deref()?));
        let shared = client.and_then(|client| self.shared_budget(&client, is_bid));
        Some(match (admitted, shared) {
            (Ok(()), Some(shared)) => shared.admit(told),
            // Who is refused already takes nothing away from the others.
            (admitted, _) => (told, admitted),
        })
    }

    fn shared_budget(&self, client: &Client, is_bid: bool) -> Option<Arc<SharedBudget>> {
        let (budgets, name, per_second) = if is_bid {
            (&self.inner.client_bids, "client-bids", client.bids_per_second)
        } else {
            (&self.inner.client_requests, "client-requests", client.requests_per_second)
        };
        per_second.map(|per_second| shared(budgets, name, client, per_second))
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
    pub fn address(&self, request: &HttpRequest) -> Option<IpAddr> {
        Some(network(self.forwarded(request).unwrap_or(canonical(request.peer_addr()?.ip()))))
    }

    /// Whether this very machine asks, and for nobody else: no proxy names whom it asks for.
    pub fn is_from_here(&self, request: &HttpRequest) -> bool {
        let headers = request.headers();
        request.peer_addr().is_some_and(|peer| canonical(peer.ip()).is_loopback())
            && !headers.contains_key("x-forwarded-for")
            && !headers.contains_key(header::FORWARDED)
    }

    /// For whom a trusted proxy asks, if one does and says so.
    pub fn forwarded_address(&self, request: &HttpRequest) -> Option<IpAddr> {
        self.forwarded(request).map(network)
    }

    /// The hops are read from the last one, which the nearest proxy has written, for as long as they
    /// are proxies of ours. What stands before one that cannot be read may be made up by anybody, so
    /// that is not looked at: then the proxy counts as the caller.
    fn forwarded(&self, request: &HttpRequest) -> Option<IpAddr> {
        let is_trusted = |address: &IpAddr| self.inner.trusted_proxies.contains(address);
        let peer = canonical(request.peer_addr()?.ip());
        if !is_trusted(&peer) {
            return None;
        }
        let forwarded: Vec<_> = request.headers().get_all("x-forwarded-for").collect();
        let lines = forwarded.into_iter().rev().map(|value| value.to_str().unwrap_or_default());
        let hops = lines.flat_map(|line| line.rsplit(',')).map(hop);
        let stranger = hops.into_iter().find(|hop| !hop.as_ref().is_some_and(is_trusted));
        stranger.flatten()
    }
}

/// One address of a list of hops, which may come with a port: `192.0.2.1`, `192.0.2.1:5678`,
/// `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:5678`.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    address.or_else(with_port).map(canonical)
}

/// The one form of an address that has two: IPv4, also where it came over an IPv6 socket.
pub(in crate::http) fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// What counts as one address: of IPv6 a network of 64 bits.
pub(in crate::http) fn network(address: IpAddr) -> IpAddr {
    match canonical(address) {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix_web::test::TestRequest;

    use super::*;
    use crate::{
        http::kit::operations,
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

    fn admitted_with(
        limits: &Limits,
        tokens: &Tokens,
        clients: &Clients,
        request: TestRequest,
    ) -> Result<(), Problem> {
        let request = request.to_srv_request();
        let caller = || {
            let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
            let token = value.strip_prefix("Bearer ")?;
            tokens.check(token, wall_clock::now()).ok()
        };
        let operation = operations::of(&request);
        let counted = operations::counted(operation);
        limits.admit(&request, counted, clients, caller).expect("limited").1
    }

    fn admitted(limits: &Limits, tokens: &Tokens, request: TestRequest) -> Result<(), Problem> {
        admitted_with(limits, tokens, &Clients::default(), request)
    }

    /// Allows a bid a second, two at once.
    fn shop() -> Client {
        Client {
            id: "hc_shop".into(),
            name: "a shop".into(),
            secret_hash: None,
            redirect_uris: vec![],
            allowed_origins: vec![],
            requests_per_second: None,
            bids_per_second: NonZeroU32::new(1),
            disabled: false,
        }
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

    #[actix_web::test]
    async fn an_address_is_the_same_in_every_form_and_an_unreadable_hop_ends_the_search() {
        let limits = limits(&["10.0.0.1", "::ffff:10.0.0.2"]);
        let address = |peer: &str, hops: &[&str]| {
            let request = TestRequest::get().peer_addr(peer.parse().expect("a peer"));
            let request = hops
                .iter()
                .fold(request, |request, hop| request.append_header(("x-forwarded-for", *hop)));
            limits.address(&request.to_http_request()).expect("an address").to_string()
        };
        for (peer, hops, counted) in [
            ("10.0.0.1:9", &["1.1.1.1"][..], "1.1.1.1"),
            ("[::ffff:10.0.0.1]:9", &["1.1.1.1"], "1.1.1.1"),
            ("10.0.0.2:9", &["1.1.1.1"], "1.1.1.1"),
            ("[::ffff:10.0.0.3]:9", &["1.1.1.1"], "10.0.0.3"),
            ("10.0.0.1:9", &["1.1.1.1:5678"], "1.1.1.1"),
            ("10.0.0.1:9", &["::ffff:1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1:9", &["[2001:db8::1]:80"], "2001:db8::"),
            ("10.0.0.1:9", &["[2001:db8::1]"], "2001:db8::"),
            ("10.0.0.1:9", &["6.6.6.6, 1.1.1.1:5678, 10.0.0.2:77"], "1.1.1.1"),
            ("10.0.0.1:9", &["6.6.6.6", "1.1.1.1, ::ffff:10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1:9", &["6.6.6.6, unknown"], "10.0.0.1"),
            ("10.0.0.1:9", &["6.6.6.6, 1.1.1.1:99999"], "10.0.0.1"),
            ("10.0.0.1:9", &["6.6.6.6, "], "10.0.0.1"),
            ("10.0.0.1:9", &["6.6.6.6", "what?, 10.0.0.2"], "10.0.0.1"),
            ("10.0.0.1:9", &["10.0.0.2"], "10.0.0.1"),
            ("10.0.0.1:9", &[], "10.0.0.1"),
        ] {
            assert_eq!(address(peer, hops), counted, "{peer} {hops:?}");
        }
    }

    #[actix_web::test]
    async fn all_users_of_a_client_share_its_budget_besides_their_own() {
        let (limits, tokens) = (limits(&[]), tokens());
        let clients = Clients::of([shop()]);
        let bid_as = |number, client| {
            let user = UserId(uuid::Uuid::from_u128(number));
            let token = tokens.issue(user, &[Role::Bidder], client, wall_clock::now(), 60);
            let token = format!("Bearer {}", token.expect("a token"));
            let request = bid().insert_header((header::AUTHORIZATION, token));
            admitted_with(&limits, &tokens, &clients, request)
        };
        assert!(bid_as(1, Some("hc_shop")).is_ok());
        assert!(bid_as(2, Some("hc_shop")).is_ok());
        let refused = bid_as(3, Some("hc_shop")).expect_err("the third of the shop");
        assert_eq!(refused.code, Code::RateLimited);
        assert!(refused.found.is_some_and(|found| found.contains("\"client-bids\"")));
        assert!(refused.retry_after_ms.is_some_and(|wait| wait > 0));
        assert!(bid_as(4, Some("hc_other")).is_ok() && bid_as(5, None).is_ok());
        assert!(bid_as(1, None).is_ok(), "one is left of their own two");
        let refused = bid_as(1, None).expect_err("and no more");
        assert!(refused.found.is_some_and(|found| found.contains("\"bids\"")));
    }

    #[actix_web::test]
    async fn a_changed_budget_of_a_client_counts_from_then_on() {
        let budgets = SharedBudgets::new();
        let one = NonZeroU32::MIN;
        let first = shared(&budgets, "client-bids", &shop(), one);
        assert!(Arc::ptr_eq(&first, &shared(&budgets, "client-bids", &shop(), one)));
        let changed = shared(&budgets, "client-bids", &shop(), one.saturating_add(1));
        assert_eq!(changed.policy, "\"client-bids\";q=4;w=2");
        assert_eq!(budgets.len(), 1);
    }

    #[actix_web::test]
    async fn past_the_bound_strangers_share_one_budget_until_others_are_forgotten() {
        let per_second = NonZeroU32::new(1).expect("positive");
        let budget = Budget::new("requests", Rate::per_second(per_second), 3);
        let user = |number| Who::User(UserId(uuid::Uuid::from_u128(number)));
        let is_admitted = |number| budget.admit(user(number)).1.is_ok();
        for known in 0..3 {
            assert!(is_admitted(known));
        }
        assert!(is_admitted(3) && is_admitted(4), "the strangers' two");
        assert!(!is_admitted(5) && !is_admitted(6));
        assert!(is_admitted(0), "who was there before has their own");
        let counts = Counts::up_to(3);
        let used = |who, at: u64| {
            let measured = counts.measure_and_replace(&who, |_| Ok::<_, ()>(((), Nanos::from(at))));
            measured.expect("measured");
        };
        for (who, at) in [(1, 10), (2, 20), (3, 30), (4, 40)] {
            used(user(who), at);
        }
        assert_eq!((counts.len(), counts.each.len()), (3, 3));
        counts.retain_recent(Nanos::from(20));
        assert_eq!((counts.len(), counts.each.len()), (1, 1));
        used(user(4), 50);
        assert_eq!(counts.len(), 2);
    }
}
