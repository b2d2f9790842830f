//! The environment, read once into types. What is wrong is named with its variable.

use std::{
    borrow::Cow,
    env,
    ffi::OsString,
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    str::FromStr,
};

use lapin::uri::{AMQPScheme, AMQPUri};

pub use crate::database_url::DatabaseUrl;
use crate::{
    domain::money::Amount,
    tls::{ClientTls, Identity, Roots, Verification},
};

/// Everything that an operator can set. Units are in the names.
#[derive(Debug, Clone)]
pub struct Config {
    /// `HOGA_BIND`: where to listen.
    pub bind: SocketAddr,
    /// `HOGA_DATABASE_URL`; without it the embedded default.
    pub database_url: Option<DatabaseUrl>,
    /// `HOGA_DATABASE_CONNECTIONS_MAX` and `HOGA_LISTS_CONNECTIONS_MAX`: connections to Postgres for
    /// what people read and write, and for lists; 1 to 1,000.
    pub database_connections: ConnectionsMax,
    /// `HOGA_PUBLIC_URL`: how the outside reaches this server; the issuer of its tokens.
    pub public_url: String,
    /// Whether that was set, and does not merely follow from where to listen.
    pub has_own_public_url: bool,
    /// `HOGA_DATA_DIR`: the private cluster, keys and locks.
    pub data_dir: PathBuf,
    /// `HOGA_SIGNING_KEY_FILE`
    pub signing_key_file: PathBuf,
    /// `HOGA_VAPID_KEY_FILE`: what push services know this exchange by.
    pub vapid_key_file: PathBuf,
    /// `HOGA_VAPID_SUBJECT`: where push services reach whoever runs it; `mailto:` or `https:`.
    pub vapid_subject: Option<String>,
    /// `HOGA_ALLOWED_ORIGINS`: whose pages may call from a browser, separated by commas.
    pub allowed_origins: Vec<String>,
    /// `HOGA_BID_CAP`: the highest offer on auctions created from now on, in minor units.
    pub bid_cap: Amount,
    /// How often callers may call.
    pub rate_limits: RateLimits,
    /// How many streams there may be at once.
    pub streams: StreamsMax,
    /// How many connections there may be, and for how long they may let the server wait.
    pub connections: Connections,
    /// `HOGA_LANES`: threads that decide and commit; 1 to 64.
    pub lanes: Option<usize>,
    /// `HOGA_HTTP_WORKERS`: threads that speak HTTP; 1 to 64.
    pub http_workers: Option<usize>,
    /// `HOGA_SELLERS`: who may sell.
    pub sellers: SellerModel,
    /// `HOGA_DEMO`: whether the embedded default keeps its demo catalogue going.
    pub demo: bool,
    /// `HOGA_DEMO_LOGIN`: whether anybody can log in as anybody; see [`Config::has_demo_login`].
    pub demo_login: Option<bool>,
    /// `HOGA_AMQP_URL`, `HOGA_AMQP_CA_FILE`, `HOGA_AMQP_CERT_FILE` and `HOGA_AMQP_KEY_FILE`:
    /// RabbitMQ; without it events stay in the process.
    pub amqp_url: Option<AmqpUrl>,
    /// `HOGA_AMQP_PREFIX`: what every name on the broker begins with; without it nothing.
    pub amqp_prefix: Option<String>,
    /// The app at Kakao; without it the embedded default has a stand-in, and a configured exchange
    /// no login.
    pub kakao: Option<KakaoApp>,
    /// What people are told, and when.
    pub notifications: Notifications,
    /// How registered clients are told of events.
    pub webhooks: Webhooks,
    /// `HOGA_OUTGOING_LOOPBACK`: whether webhooks and push messages may go to this very machine,
    /// also by `http`.
    pub outgoing_loopback: bool,
}

/// What people are told, and when.
#[derive(Debug, Clone)]
pub struct Notifications {
    /// `HOGA_REMINDER_LEADS`: how long before an opening or an end those who watch are reminded,
    /// such as `24h,1h` or `12h,30m`; kept in seconds.
    pub reminder_leads_s: Vec<i64>,
    /// `HOGA_PRICE_NOTIFICATIONS_EVERY_S`: those who watch hear of an auction's price and extensions
    /// no more often; then as they stand.
    pub price_every_s: i64,
    /// `HOGA_NOTIFICATIONS_KEPT_DAYS`
    pub kept_days: i64,
}

impl Default for Notifications {
    fn default() -> Self {
        Notifications { reminder_leads_s: vec![86_400, 3_600], price_every_s: 10, kept_days: 90 }
    }
}

/// How registered clients are told of events.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// `HOGA_WEBHOOKS`: whether this server sends them; it notes them in any case.
    pub are_sent: bool,
    /// `HOGA_WEBHOOKS_KEPT_DAYS`: how long it is remembered what was told.
    pub kept_days: i64,
}

/// Bytes of the contact that push services are told.
const VAPID_SUBJECT_BYTES_MAX: usize = 255;
/// Lead times of reminders, at most.
const REMINDER_LEADS_MAX: usize = 5;
/// The longest lead, in seconds: thirty days.
const REMINDER_LEAD_MAX_S: i64 = 30 * 86_400;

/// What Kakao knows this exchange by.
#[derive(Debug, Clone)]
pub struct KakaoApp {
    /// `HOGA_KAKAO_CLIENT_ID`: the REST API key.
    pub client_id: String,
    /// `HOGA_KAKAO_CLIENT_SECRET`
    pub client_secret: Secret,
    /// `HOGA_KAKAO_ADMIN_KEY`; without it nobody is unlinked, by us or by Kakao's webhook.
    pub admin_key: Option<Secret>,
    /// `HOGA_KAKAO_APP_ID`: the number that Kakao's webhook names the app by; without it the admin
    /// key alone, which belongs to the app, says whose webhook it is.
    pub app_id: Option<i64>,
    /// `HOGA_KAKAO_BASE_URL`: a stand-in for both of Kakao's hosts.
    pub base_url: Option<String>,
}

/// A secret of the operator's. Printed as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(secret: impl Into<String>) -> Secret {
        Secret(secret.into())
    }

    /// The secret itself, for those who send it or compare with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Who may sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SellerModel {
    /// `everybody`: whoever may bid.
    Everybody,
    /// `approved`: whoever has the role, which comes with an approved application.
    Approved,
}

/// How often callers may call. Twice as much at once is let through.
#[derive(Debug, Clone)]
pub struct RateLimits {
    /// `HOGA_BIDS_PER_SECOND_MAX`: bids, purchases and retractions of one user.
    pub bids_per_second: NonZeroU32,
    /// `HOGA_REQUESTS_PER_SECOND_MAX`: everything else of one user, or of one address.
    pub requests_per_second: NonZeroU32,
    /// `HOGA_LOGINS_PER_MINUTE_MAX`: steps of logins and refreshes from one address in a minute,
    /// those of server-side clients apart.
    pub logins_per_minute: NonZeroU32,
    /// `HOGA_TRUSTED_PROXIES`: whose `X-Forwarded-For` is believed, separated by commas.
    pub trusted_proxies: Vec<IpAddr>,
}

/// How many connections to Postgres there may be, besides those of the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionsMax {
    /// For what people read and write.
    pub people: usize,
    /// For lists and searches.
    pub lists: usize,
}

impl Default for ConnectionsMax {
    fn default() -> Self {
        ConnectionsMax { people: 12, lists: 4 }
    }
}

/// How many streams there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamsMax {
    /// `HOGA_STREAMS_MAX`: in all.
    pub all: usize,
    /// `HOGA_STREAMS_PER_ADDRESS_MAX`: of one address, whoever they are.
    pub per_address: usize,
    /// `HOGA_STREAMS_PER_USER_MAX`: of one user, from anywhere.
    pub per_user: usize,
}

impl Default for StreamsMax {
    fn default() -> Self {
        StreamsMax { all: 40_000, per_address: 1_000, per_user: 50 }
    }
}

/// How many connections there may be besides streams, and for how long they may let the server wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// `HOGA_CONNECTIONS_MAX`: in all.
    pub all: usize,
    /// `HOGA_CONNECTIONS_PER_ADDRESS_MAX`: of one address; behind a trusted proxy requests of its
    /// forwarded address that are being answered.
    pub per_address: usize,
    /// `HOGA_REQUEST_TIMEOUT_S`: within which a request must have come, head and body.
    pub request_timeout_s: u32,
}

impl Default for Connections {
    fn default() -> Self {
        Connections { all: 10_000, per_address: 1_000, request_timeout_s: 30 }
    }
}

/// The longest that a request may be given to come, in seconds.
const REQUEST_TIMEOUT_S_MAX: u32 = 3_600;
/// Brokers that stand for each other, at most.
const AMQP_SERVERS_MAX: usize = 16;
/// Bids of one user in a second, unless the operator says otherwise.
const BIDS_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("positive");
/// Other requests of one user or address in a second, unless the operator says otherwise.
const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("positive");
/// Steps of logins from one address in a minute, unless the operator says otherwise.
const LOGINS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("positive");

/// Where RabbitMQ is, and as whom to go there. Printed without user and password.
#[derive(Clone)]
pub struct AmqpUrl {
    /// One or several servers that stand for each other.
    pub uris: Vec<AMQPUri>,
    /// How TLS is spoken to those whose scheme is `amqps`.
    pub tls: ClientTls,
}

impl AmqpUrl {
    /// Hosts, ports and virtual hosts, without user and password.
    fn address(&self) -> String {
        let address =
            |uri: &AMQPUri| format!("{}:{}/{}", uri.authority.host, uri.authority.port, uri.vhost);
        self.uris.iter().map(address).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpUrl({})", self.address())
    }
}

/// A variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct ConfigError {
    /// Which.
    pub variable: &'static str,
    /// What must hold instead.
    pub problem: String,
}

/// Every variable that is read, here and by [`crate::telemetry`] and [`crate::embedded`].
const VARIABLES: &[&str] = &[
    "HOGA_ALLOWED_ORIGINS",
    "HOGA_AMQP_CA_FILE",
    "HOGA_AMQP_CERT_FILE",
    "HOGA_AMQP_KEY_FILE",
    "HOGA_AMQP_PREFIX",
    "HOGA_AMQP_URL",
    "HOGA_BIDS_PER_SECOND_MAX",
    "HOGA_BID_CAP",
    "HOGA_BIND",
    "HOGA_CONNECTIONS_MAX",
    "HOGA_CONNECTIONS_PER_ADDRESS_MAX",
    "HOGA_DATABASE_CONNECTIONS_MAX",
    "HOGA_DATABASE_URL",
    "HOGA_DATA_DIR",
    "HOGA_DEMO",
    "HOGA_DEMO_LOGIN",
    "HOGA_HTTP_WORKERS",
    "HOGA_KAKAO_ADMIN_KEY",
    "HOGA_KAKAO_APP_ID",
    "HOGA_KAKAO_BASE_URL",
    "HOGA_KAKAO_CLIENT_ID",
    "HOGA_KAKAO_CLIENT_SECRET",
    "HOGA_LANES",
    "HOGA_LISTS_CONNECTIONS_MAX",
    "HOGA_LOG",
    "HOGA_LOGINS_PER_MINUTE_MAX",
    "HOGA_LOG_FORMAT",
    "HOGA_NOTIFICATIONS_KEPT_DAYS",
    "HOGA_OUTGOING_LOOPBACK",
    "HOGA_POSTGRES_BIN_DIR",
    "HOGA_PRICE_NOTIFICATIONS_EVERY_S",
    "HOGA_PUBLIC_URL",
    "HOGA_REMINDER_LEADS",
    "HOGA_REQUESTS_PER_SECOND_MAX",
    "HOGA_REQUEST_TIMEOUT_S",
    "HOGA_SELLERS",
    "HOGA_SIGNING_KEY_FILE",
    "HOGA_STREAMS_MAX",
    "HOGA_STREAMS_PER_ADDRESS_MAX",
    "HOGA_STREAMS_PER_USER_MAX",
    "HOGA_TRUSTED_PROXIES",
    "HOGA_VAPID_KEY_FILE",
    "HOGA_VAPID_SUBJECT",
    "HOGA_WEBHOOKS",
    "HOGA_WEBHOOKS_KEPT_DAYS",
];

/// How a variable is looked up; the process's own environment outside tests.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// From the process's environment.
    ///
    /// # Errors
    /// The first variable that cannot be used.
    pub fn from_env() -> Result<Config, ConfigError> {
        if let Some(variable) = unreadable(|name| env::var_os(name)) {
            return Err(ConfigError { variable, problem: "must be UTF-8".into() });
        }
        Config::read(&|name| env::var(name).ok())
    }

    /// From any environment.
    ///
    /// # Errors
    /// The first variable that cannot be used.
    pub fn read(lookup: Lookup<'_>) -> Result<Config, ConfigError> {
        let bind =
            parsed(lookup, "HOGA_BIND", "must be an address and port, such as 127.0.0.1:8080")?
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
        let data_dir = set(lookup, "HOGA_DATA_DIR").map_or_else(|| ".hoga".into(), PathBuf::from);
        let signing_key_file = set(lookup, "HOGA_SIGNING_KEY_FILE")
            .map_or_else(|| data_dir.join("signing-key.pem"), PathBuf::from);
        let vapid_key_file = set(lookup, "HOGA_VAPID_KEY_FILE")
            .map_or_else(|| data_dir.join("vapid-key.pem"), PathBuf::from);
        let public_url = public_url(lookup, bind)?;
        let database_url = database_url(lookup)?;
        let rate_limits = rate_limits(lookup)?;
        // Whoever can ask for it there is on this machine anyway.
        let is_private =
            database_url.is_none() && is_loopback(bind, &public_url, &rate_limits.trusted_proxies);
        let kakao = kakao_app(lookup)?;
        let demo_login = demo_login(lookup, database_url.is_none() && kakao.is_none())?;
        Ok(Config {
            bind,
            database_url,
            database_connections: database_connections(lookup)?,
            vapid_subject: vapid_subject(lookup, &public_url)?,
            public_url,
            has_own_public_url: set(lookup, "HOGA_PUBLIC_URL").is_some(),
            data_dir,
            signing_key_file,
            vapid_key_file,
            allowed_origins: allowed_origins(lookup)?,
            bid_cap: bid_cap(lookup)?,
            rate_limits,
            streams: streams(lookup)?,
            connections: connections(lookup)?,
            lanes: threads(lookup, "HOGA_LANES")?,
            http_workers: threads(lookup, "HOGA_HTTP_WORKERS")?,
            sellers: sellers(lookup)?,
            demo: switch(lookup, "HOGA_DEMO", true)?,
            demo_login,
            amqp_url: amqp_url(lookup)?,
            amqp_prefix: amqp_prefix(lookup)?,
            kakao,
            notifications: notifications(lookup)?,
            webhooks: webhooks(lookup)?,
            outgoing_loopback: switch(lookup, "HOGA_OUTGOING_LOOPBACK", is_private)?,
        })
    }

    /// As a broadcaster beside an exchange needs it: with the exchange's issuer and prefix (`None`
    /// without a broker), which need not be set here.
    ///
    /// # Errors
    /// When one is set here and is another one, which would refuse every token, or hear nothing.
    pub fn beside_exchange(
        mut self,
        issuer: &str,
        prefix: Option<&str>,
    ) -> Result<Config, ConfigError> {
        let other = |variable, here: &str, there: &str| {
            let problem = format!(
                "is {here:?}, and the exchange on this database uses {there:?}: leave it out, or set \
                 it to the same"
            );
            Err(ConfigError { variable, problem })
        };
        if self.has_own_public_url && self.public_url != issuer {
            return other("HOGA_PUBLIC_URL", &self.public_url, issuer);
        }
        self.public_url = issuer.to_owned();
        match (prefix, &self.amqp_url, &self.amqp_prefix) {
            (None, Some(url), _) => {
                let problem = format!(
                    "is {}, and the exchange on this database uses no broker: leave it out, or set it \
                     there",
                    url.address()
                );
                return Err(ConfigError { variable: "HOGA_AMQP_URL", problem });
            }
            (Some(prefix), Some(_), Some(own)) if own != prefix => {
                return other("HOGA_AMQP_PREFIX", own, prefix);
            }
            (Some(_) | None, _, _) => self.amqp_prefix = prefix.map(str::to_owned),
        }
        Ok(self)
    }

    /// Where it listens in truth, if the system was to choose a port (0).
    #[must_use]
    pub fn listening_on(mut self, address: SocketAddr) -> Config {
        self.bind = address;
        if !self.has_own_public_url {
            self.public_url = format!("http://{address}");
        }
        self
    }

    /// Whether others may be meant to call, and the public URL leads nobody here: it names every
    /// address of this machine (0.0.0.0), which is one of none.
    pub fn lacks_public_url(&self) -> bool {
        !self.has_own_public_url && self.bind.ip().is_unspecified()
    }

    /// Whether the embedded default is wanted.
    pub fn is_embedded(&self) -> bool {
        self.database_url.is_none()
    }

    /// Whether people log in at the stand-in for Kakao, which lets anybody be anybody: in the
    /// embedded default without an app at Kakao, as long as nobody but this machine reaches it.
    ///
    /// # Errors
    /// Where others reach it and nobody has said whether they may.
    pub fn has_demo_login(&self) -> Result<bool, ConfigError> {
        if !self.is_embedded() || self.kakao.is_some() {
            return Ok(false);
        }
        let proxies = &self.rate_limits.trusted_proxies;
        let because = if proxies.is_empty() {
            format!("with HOGA_BIND={} and the public URL {}", self.bind, self.public_url)
        } else {
            "through the proxies of HOGA_TRUSTED_PROXIES".to_owned()
        };
        match self.demo_login {
            Some(is_on) => Ok(is_on),
            None if is_loopback(self.bind, &self.public_url, proxies) => Ok(true),
            None => Err(ConfigError {
                variable: "HOGA_DEMO_LOGIN",
                problem: format!(
                    "must be set: {because} others than this machine reach the demo's login, at \
                     which anybody can log in as anybody. Set it to on if they may, to off if nobody \
                     is to log in, or set HOGA_KAKAO_CLIENT_ID and HOGA_KAKAO_CLIENT_SECRET"
                ),
            }),
        }
    }
}

/// Whether nobody but this machine reaches a server: it listens to itself alone, and neither the
/// public URL nor whose word is taken for a caller's address tells of a proxy in front of it.
fn is_loopback(bind: SocketAddr, public_url: &str, trusted_proxies: &[IpAddr]) -> bool {
    let is_local = match url::Url::parse(public_url).ok().as_ref().and_then(url::Url::host) {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    };
    bind.ip().is_loopback() && is_local && trusted_proxies.is_empty()
}

fn demo_login(lookup: Lookup<'_>, has_stand_in: bool) -> Result<Option<bool>, ConfigError> {
    let variable = "HOGA_DEMO_LOGIN";
    let wanted = set(lookup, variable).map(|_| switch(lookup, variable, false)).transpose()?;
    if wanted == Some(true) && !has_stand_in {
        let problem = "cannot be on where HOGA_DATABASE_URL or HOGA_KAKAO_CLIENT_ID is set";
        return Err(ConfigError { variable, problem: problem.into() });
    }
    Ok(wanted)
}

/// The first variable whose value is no text. Passing over it would start something else than what
/// was asked for.
fn unreadable(lookup: impl Fn(&str) -> Option<OsString>) -> Option<&'static str> {
    VARIABLES.iter().copied().find(|name| lookup(name).is_some_and(|v| v.to_str().is_none()))
}

/// What begins like a variable of Hoga's and is none, such as one that is misspelt.
pub fn unknown_variables(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut unknown: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("HOGA_") && !VARIABLES.contains(&name.as_str()))
        .collect();
    unknown.sort();
    unknown
}

/// An empty variable counts as one that is not there.
fn set(lookup: Lookup<'_>, name: &str) -> Option<String> {
    debug_assert!(VARIABLES.contains(&name), "{name} would be called misspelt");
    lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn parsed<T: FromStr>(
    lookup: Lookup<'_>,
    variable: &'static str,
    problem: &str,
) -> Result<Option<T>, ConfigError> {
    set(lookup, variable)
        .map(|value| value.parse())
        .transpose()
        .map_err(|_| ConfigError { variable, problem: problem.to_owned() })
}

fn database_url(lookup: Lookup<'_>) -> Result<Option<DatabaseUrl>, ConfigError> {
    let variable = "HOGA_DATABASE_URL";
    let Some(url) = set(lookup, variable) else { return Ok(None) };
    let parsed = DatabaseUrl::parse(&url);
    parsed.map(Some).map_err(|problem| ConfigError { variable, problem })
}

fn database_connections(lookup: Lookup<'_>) -> Result<ConnectionsMax, ConfigError> {
    let problem = "must be 1 to 1000 connections";
    let count = |variable, default| {
        let count = whole(lookup, variable, problem, 1_000)?;
        Ok(count.and_then(|count| usize::try_from(count).ok()).unwrap_or(default))
    };
    let default = ConnectionsMax::default();
    Ok(ConnectionsMax {
        people: count("HOGA_DATABASE_CONNECTIONS_MAX", default.people)?,
        lists: count("HOGA_LISTS_CONNECTIONS_MAX", default.lists)?,
    })
}

fn amqp_url(lookup: Lookup<'_>) -> Result<Option<AmqpUrl>, ConfigError> {
    let variable = "HOGA_AMQP_URL";
    let uris = set(lookup, variable).map(|text| amqp_uris(&text)).transpose();
    let uris = uris.map_err(|problem| ConfigError { variable, problem: problem.to_owned() })?;
    let uris = uris.unwrap_or_default();
    let is_tls = uris.iter().any(|uri| matches!(uri.scheme, AMQPScheme::AMQPS));
    let tls = amqp_tls(lookup, is_tls)?;
    Ok((!uris.is_empty()).then_some(AmqpUrl { uris, tls }))
}

/// The URLs of a list. They may hold passwords: the error must not repeat them.
fn amqp_uris(list: &str) -> Result<Vec<AMQPUri>, &'static str> {
    // A password may hold a comma.
    let list = list.replace(", ", ",");
    let starts: Vec<usize> = list.match_indices(",amqp").map(|(at, _)| at).collect();
    let ends = starts.iter().copied().chain([list.len()]);
    let begins = [0].into_iter().chain(starts.iter().map(|at| at + 1));
    let uris: Vec<AMQPUri> = begins
        .zip(ends)
        .map(|(begin, end)| list[begin..end].parse())
        .collect::<Result<_, _>>()
        .map_err(|_| {
            "must be an AMQP URL, such as amqp://user:password@host:5672/%2f or amqps://…:5671/%2f, or \
             several of them, separated by commas"
        })?;
    if uris.len() > AMQP_SERVERS_MAX {
        return Err("must name 16 servers at most");
    }
    Ok(uris)
}

fn amqp_tls(lookup: Lookup<'_>, is_tls: bool) -> Result<ClientTls, ConfigError> {
    let (ca, certificate, key) = ("HOGA_AMQP_CA_FILE", "HOGA_AMQP_CERT_FILE", "HOGA_AMQP_KEY_FILE");
    let useless = [ca, certificate, key].into_iter().find(|name| set(lookup, name).is_some());
    if let Some(variable) = useless.filter(|_| !is_tls) {
        let problem = "is for TLS, and no URL in HOGA_AMQP_URL begins with amqps://";
        return Err(ConfigError { variable, problem: problem.into() });
    }
    let without = |variable, other| {
        Err(ConfigError { variable, problem: format!("goes with {other}, which is not set") })
    };
    let identity = match (set(lookup, certificate), set(lookup, key)) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            Some(Identity { certificate: certificate.into(), key: key.into() })
        }
        (Some(_), None) => return without(certificate, key),
        (None, Some(_)) => return without(key, certificate),
    };
    let roots = set(lookup, ca).map_or(Roots::System, |file| Roots::File(file.into()));
    let variable = match roots {
        Roots::File(_) => ca,
        Roots::System => "HOGA_AMQP_URL",
    };
    let (verification, shown) = (Verification::ChainAndHost(roots), identity.clone());
    if is_tls {
        // One by one, so that the variable is the right one.
        ClientTls { verification: verification.clone(), identity: None }
            .tried()
            .map_err(|problem| ConfigError { variable, problem })?;
        ClientTls { verification: Verification::Nothing, identity: shown }
            .tried()
            .map_err(|problem| ConfigError { variable: certificate, problem })?;
    }
    Ok(ClientTls { verification, identity })
}

/// Short enough that every name fits into the 255 bytes that AMQP has for one.
fn amqp_prefix(lookup: Lookup<'_>) -> Result<Option<String>, ConfigError> {
    let Some(prefix) = set(lookup, "HOGA_AMQP_PREFIX") else { return Ok(None) };
    let is_good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if prefix.len() <= 64 && prefix.bytes().all(is_good) {
        return Ok(Some(prefix));
    }
    let problem =
        "must be up to 64 letters, digits, dots, dashes and underscores, such as staging.";
    Err(ConfigError { variable: "HOGA_AMQP_PREFIX", problem: problem.into() })
}

fn public_url(lookup: Lookup<'_>, bind: SocketAddr) -> Result<String, ConfigError> {
    let variable = "HOGA_PUBLIC_URL";
    let Some(text) = set(lookup, variable) else { return Ok(format!("http://{bind}")) };
    match public_url_problem(&text) {
        None => Ok(text.trim_end_matches('/').to_owned()),
        Some(problem) => {
            let problem = format!("{problem}; it is such as https://auction.example.com");
            Err(ConfigError { variable, problem })
        }
    }
}

/// Paths are put behind it, and browsers compare it: scheme, host and port are all that it may have.
fn public_url_problem(text: &str) -> Option<Cow<'static, str>> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return Some("must begin with http:// or https://".into()) };
    // These a URL parser passes over or mends.
    if rest.starts_with('/') || rest.is_empty() {
        return Some("must name a host".into());
    }
    if rest.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return Some("must be a URL, without spaces and backslashes".into());
    }
    let url = match url::Url::parse(text) {
        Ok(url) => url,
        Err(url::ParseError::InvalidPort) => {
            return Some("must have a port of 1 to 65535, or none".into());
        }
        Err(url::ParseError::EmptyHost) => return Some("must name a host".into()),
        Err(_) => return Some("must be a URL".into()),
    };
    if !url.username().is_empty() || url.password().is_some() || rest.contains('@') {
        return Some("must not hold a user or a password".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Some("must not have a query or a fragment".into());
    }
    if url.path() != "/" {
        return Some("must not have a path".into());
    }
    if url.port() == Some(0) {
        return Some("must have a port of 1 to 65535, or none".into());
    }
    let origin = url.origin().ascii_serialization();
    (text.trim_end_matches('/') != origin)
        .then(|| format!("must be written {origin}, as browsers write it").into())
}

/// Who is not named is the public URL, if it is one that push services can reach.
fn vapid_subject(lookup: Lookup<'_>, public_url: &str) -> Result<Option<String>, ConfigError> {
    let variable = "HOGA_VAPID_SUBJECT";
    let Some(subject) = set(lookup, variable) else {
        return Ok(public_url.starts_with("https://").then(|| public_url.to_owned()));
    };
    let is_mail =
        |rest: &str| rest.split_once('@').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
    let is_contact = subject.strip_prefix("mailto:").is_some_and(is_mail)
        || subject.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    let is_text =
        subject.len() <= VAPID_SUBJECT_BYTES_MAX && subject.bytes().all(|b| b.is_ascii_graphic());
    if is_contact && is_text {
        return Ok(Some(subject));
    }
    let problem = "must be a mailto: or https: URL, such as mailto:ops@auction.example.com";
    Err(ConfigError { variable, problem: problem.into() })
}

/// A URL to put paths behind, without a slash at its end.
fn base_url(
    lookup: Lookup<'_>,
    variable: &'static str,
    example: &str,
) -> Result<Option<String>, ConfigError> {
    let Some(url) = set(lookup, variable) else { return Ok(None) };
    let has_host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .is_some_and(|rest| !rest.is_empty() && !rest.contains(['?', '#', ' ']));
    if !has_host {
        let problem = format!("must be a URL without query, such as {example}");
        return Err(ConfigError { variable, problem });
    }
    Ok(Some(url.trim_end_matches('/').to_owned()))
}

fn kakao_app(lookup: Lookup<'_>) -> Result<Option<KakaoApp>, ConfigError> {
    let client_id = set(lookup, "HOGA_KAKAO_CLIENT_ID");
    let secret = |variable: &'static str| -> Result<Option<Secret>, ConfigError> {
        match set(lookup, variable) {
            // The error must not repeat it.
            Some(secret) if !secret.bytes().all(|b| b.is_ascii_graphic()) => {
                Err(ConfigError { variable, problem: "must be visible ASCII characters".into() })
            }
            secret => Ok(secret.map(Secret)),
        }
    };
    let client_secret = secret("HOGA_KAKAO_CLIENT_SECRET")?;
    let admin_key = secret("HOGA_KAKAO_ADMIN_KEY")?;
    let app_id = parsed(lookup, "HOGA_KAKAO_APP_ID", "must be the number of the app at Kakao")?;
    let base_url = base_url(lookup, "HOGA_KAKAO_BASE_URL", "http://127.0.0.1:9000")?;
    let lacks = |variable, problem: &str| Err(ConfigError { variable, problem: problem.into() });
    match (client_id, client_secret) {
        (Some(client_id), Some(client_secret)) => {
            Ok(Some(KakaoApp { client_id, client_secret, admin_key, app_id, base_url }))
        }
        (Some(_), None) => {
            lacks("HOGA_KAKAO_CLIENT_SECRET", "must be set together with HOGA_KAKAO_CLIENT_ID")
        }
        (None, None) if admin_key.is_none() && app_id.is_none() && base_url.is_none() => Ok(None),
        (None, _) => lacks(
            "HOGA_KAKAO_CLIENT_ID",
            "must be set where another HOGA_KAKAO_ variable is; it is the REST API key",
        ),
    }
}

fn allowed_origins(lookup: Lookup<'_>) -> Result<Vec<String>, ConfigError> {
    let variable = "HOGA_ALLOWED_ORIGINS";
    let list = set(lookup, variable).unwrap_or_default();
    let origins: Vec<String> =
        list.split(',').map(|origin| origin.trim().to_owned()).filter(|o| !o.is_empty()).collect();
    let is_origin = |origin: &String| {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ']))
    };
    if origins.iter().all(is_origin) {
        Ok(origins)
    } else {
        let problem = "must be origins separated by commas, such as https://shop.example.com";
        Err(ConfigError { variable, problem: problem.into() })
    }
}

fn bid_cap(lookup: Lookup<'_>) -> Result<Amount, ConfigError> {
    let problem = format!("must be 1 to {} minor units", Amount::CAP_MAX);
    let cap: Option<i64> = parsed(lookup, "HOGA_BID_CAP", &problem)?;
    match cap.map(Amount::new) {
        None => Ok(Amount::CAP_DEFAULT),
        Some(Ok(cap)) if cap <= Amount::CAP_MAX => Ok(cap),
        Some(_) => Err(ConfigError { variable: "HOGA_BID_CAP", problem }),
    }
}

fn rate_limits(lookup: Lookup<'_>) -> Result<RateLimits, ConfigError> {
    let problem = "must be 1 or more a second";
    let proxies = set(lookup, "HOGA_TRUSTED_PROXIES").unwrap_or_default();
    let trusted_proxies = proxies
        .split(',')
        .map(str::trim)
        .filter(|proxy| !proxy.is_empty())
        .map(str::parse)
        .collect::<Result<Vec<IpAddr>, _>>()
        .map_err(|_| ConfigError {
            variable: "HOGA_TRUSTED_PROXIES",
            problem: "must be IP addresses separated by commas, such as 10.0.0.2".into(),
        })?;
    let bids = parsed(lookup, "HOGA_BIDS_PER_SECOND_MAX", problem)?;
    let requests = parsed(lookup, "HOGA_REQUESTS_PER_SECOND_MAX", problem)?;
    let logins = parsed(lookup, "HOGA_LOGINS_PER_MINUTE_MAX", "must be 1 or more a minute")?;
    Ok(RateLimits {
        bids_per_second: bids.unwrap_or(BIDS_PER_SECOND),
        requests_per_second: requests.unwrap_or(REQUESTS_PER_SECOND),
        logins_per_minute: logins.unwrap_or(LOGINS_PER_MINUTE),
        trusted_proxies,
    })
}

fn streams(lookup: Lookup<'_>) -> Result<StreamsMax, ConfigError> {
    let count = |variable, default| {
        let problem = "must be a number of streams, 1 or more";
        let count: Option<NonZeroU32> = parsed(lookup, variable, problem)?;
        Ok(count.map_or(default, |count| count.get() as usize))
    };
    let default = StreamsMax::default();
    Ok(StreamsMax {
        all: count("HOGA_STREAMS_MAX", default.all)?,
        per_address: count("HOGA_STREAMS_PER_ADDRESS_MAX", default.per_address)?,
        per_user: count("HOGA_STREAMS_PER_USER_MAX", default.per_user)?,
    })
}

fn connections(lookup: Lookup<'_>) -> Result<Connections, ConfigError> {
    let count = |variable, default| {
        let problem = "must be a number of connections, 1 or more";
        let count: Option<NonZeroU32> = parsed(lookup, variable, problem)?;
        Ok(count.map_or(default, |count| count.get() as usize))
    };
    let default = Connections::default();
    let (variable, problem) = ("HOGA_REQUEST_TIMEOUT_S", "must be 1 to 3600 seconds");
    let request_timeout_s = whole(lookup, variable, problem, REQUEST_TIMEOUT_S_MAX.into())?;
    Ok(Connections {
        all: count("HOGA_CONNECTIONS_MAX", default.all)?,
        per_address: count("HOGA_CONNECTIONS_PER_ADDRESS_MAX", default.per_address)?,
        request_timeout_s: request_timeout_s
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(default.request_timeout_s),
    })
}

fn threads(lookup: Lookup<'_>, variable: &'static str) -> Result<Option<usize>, ConfigError> {
    let problem = "must be 1 to 64";
    let count: Option<usize> = parsed(lookup, variable, problem)?;
    match count {
        Some(0 | 65..) => Err(ConfigError { variable, problem: problem.into() }),
        count => Ok(count),
    }
}

fn whole(
    lookup: Lookup<'_>,
    variable: &'static str,
    problem: &'static str,
    max: i64,
) -> Result<Option<i64>, ConfigError> {
    match parsed(lookup, variable, problem)? {
        Some(number) if !(1..=max).contains(&number) => {
            Err(ConfigError { variable, problem: problem.to_owned() })
        }
        number => Ok(number),
    }
}

fn webhooks(lookup: Lookup<'_>) -> Result<Webhooks, ConfigError> {
    let kept_days = whole(lookup, "HOGA_WEBHOOKS_KEPT_DAYS", "must be 1 to 365 days", 365)?;
    let are_sent = switch(lookup, "HOGA_WEBHOOKS", true)?;
    Ok(Webhooks { are_sent, kept_days: kept_days.unwrap_or(14) })
}

fn notifications(lookup: Lookup<'_>) -> Result<Notifications, ConfigError> {
    let default = Notifications::default();
    let whole = |variable, problem, max| whole(lookup, variable, problem, max);
    let price_every_s =
        whole("HOGA_PRICE_NOTIFICATIONS_EVERY_S", "must be 1 to 3600 seconds", 3_600)?;
    let kept_days = whole("HOGA_NOTIFICATIONS_KEPT_DAYS", "must be 1 to 3650 days", 3_650)?;
    Ok(Notifications {
        reminder_leads_s: reminder_leads_s(lookup)?.unwrap_or(default.reminder_leads_s),
        price_every_s: price_every_s.unwrap_or(default.price_every_s),
        kept_days: kept_days.unwrap_or(default.kept_days),
    })
}

fn reminder_leads_s(lookup: Lookup<'_>) -> Result<Option<Vec<i64>>, ConfigError> {
    let variable = "HOGA_REMINDER_LEADS";
    let Some(list) = set(lookup, variable) else { return Ok(None) };
    let mut leads_s: Vec<i64> = Vec::new();
    for lead in list.split(',') {
        let lead_s =
            lead_s(lead.trim()).filter(|lead_s| (1..=REMINDER_LEAD_MAX_S).contains(lead_s));
        leads_s.extend(lead_s.filter(|lead_s| !leads_s.contains(lead_s)));
    }
    if leads_s.len() != list.split(',').count() || leads_s.len() > REMINDER_LEADS_MAX {
        let problem = format!(
            "must be up to {REMINDER_LEADS_MAX} different times of up to 30 days, such as 24h,1h or 30m"
        );
        return Err(ConfigError { variable, problem });
    }
    Ok(Some(leads_s))
}

/// `24h`, `30m` or `90s`.
fn lead_s(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_s = match unit {
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    i64::from(number).checked_mul(unit_s)
}

fn sellers(lookup: Lookup<'_>) -> Result<SellerModel, ConfigError> {
    let variable = "HOGA_SELLERS";
    match set(lookup, variable).as_deref() {
        None | Some("everybody") => Ok(SellerModel::Everybody),
        Some("approved") => Ok(SellerModel::Approved),
        Some(_) => Err(ConfigError { variable, problem: "must be everybody or approved".into() }),
    }
}

fn switch(lookup: Lookup<'_>, variable: &'static str, default: bool) -> Result<bool, ConfigError> {
    match set(lookup, variable).as_deref() {
        None => Ok(default),
        Some("on" | "true" | "1") => Ok(true),
        Some("off" | "false" | "0") => Ok(false),
        Some(_) => Err(ConfigError { variable, problem: "must be on or off".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(&|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_is_the_embedded_default() {
        let config = read(&[]).expect("the default");
        assert!(config.is_embedded());
        assert_eq!(config.bind.to_string(), "127.0.0.1:8080");
        assert_eq!(config.public_url, "http://127.0.0.1:8080");
        assert_eq!(config.signing_key_file, PathBuf::from(".hoga/signing-key.pem"));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let wrong = [
            ("HOGA_BIND", "8080"),
            ("HOGA_BIND", "localhost"),
            ("HOGA_DATABASE_URL", "mysql://x"),
            ("HOGA_DATABASE_URL", "postgres://u:secret@h/db?sslmode=verify-full"),
            ("HOGA_DATABASE_CONNECTIONS_MAX", "0"),
            ("HOGA_LISTS_CONNECTIONS_MAX", "1001"),
            ("HOGA_AMQP_URL", "http://u:secret@h"),
            ("HOGA_AMQP_URL", "amqp://u:secret@h,amqp://u:secret@h:x"),
            ("HOGA_AMQP_CA_FILE", "/nowhere/ca.pem"),
            ("HOGA_AMQP_KEY_FILE", "/nowhere/secret.pem"),
            ("HOGA_AMQP_PREFIX", "my exchange"),
            ("HOGA_PUBLIC_URL", "auction.example.com"),
            ("HOGA_PUBLIC_URL", "https://"),
            ("HOGA_ALLOWED_ORIGINS", "https://a.example, *"),
            ("HOGA_BID_CAP", "0"),
            ("HOGA_BID_CAP", "9007199254740991"),
            ("HOGA_BID_CAP", "a lot"),
            ("HOGA_BIDS_PER_SECOND_MAX", "0"),
            ("HOGA_REQUESTS_PER_SECOND_MAX", "fast"),
            ("HOGA_LOGINS_PER_MINUTE_MAX", "0"),
            ("HOGA_TRUSTED_PROXIES", "proxy.local"),
            ("HOGA_STREAMS_MAX", "0"),
            ("HOGA_STREAMS_PER_ADDRESS_MAX", "many"),
            ("HOGA_STREAMS_PER_USER_MAX", "-1"),
            ("HOGA_CONNECTIONS_MAX", "0"),
            ("HOGA_CONNECTIONS_PER_ADDRESS_MAX", "some"),
            ("HOGA_REQUEST_TIMEOUT_S", "0"),
            ("HOGA_REQUEST_TIMEOUT_S", "3601"),
            ("HOGA_REQUEST_TIMEOUT_S", "30s"),
            ("HOGA_LANES", "0"),
            ("HOGA_LANES", "65"),
            ("HOGA_HTTP_WORKERS", "-1"),
            ("HOGA_SELLERS", "nobody"),
            ("HOGA_SELLERS", "Approved"),
            ("HOGA_DEMO", "maybe"),
            ("HOGA_DEMO_LOGIN", "everybody"),
            ("HOGA_OUTGOING_LOOPBACK", "private"),
            ("HOGA_WEBHOOKS", "some"),
            ("HOGA_WEBHOOKS_KEPT_DAYS", "0"),
            ("HOGA_VAPID_SUBJECT", "ops@auction.example.com"),
            ("HOGA_VAPID_SUBJECT", "mailto:ops"),
            ("HOGA_VAPID_SUBJECT", "http://auction.example.com"),
            ("HOGA_REMINDER_LEADS", "24"),
            ("HOGA_REMINDER_LEADS", "1h,1h"),
            ("HOGA_REMINDER_LEADS", "0h"),
            ("HOGA_REMINDER_LEADS", "1000h"),
            ("HOGA_REMINDER_LEADS", "1h,,2h"),
            ("HOGA_REMINDER_LEADS", "한"),
            ("HOGA_PRICE_NOTIFICATIONS_EVERY_S", "0"),
            ("HOGA_NOTIFICATIONS_KEPT_DAYS", "-1"),
            ("HOGA_KAKAO_APP_ID", "my app"),
            ("HOGA_KAKAO_BASE_URL", "ftp://kakao.test"),
            ("HOGA_KAKAO_BASE_URL", "http://"),
            ("HOGA_KAKAO_CLIENT_SECRET", "a secret in two lines\nof text"),
            ("HOGA_KAKAO_ADMIN_KEY", "secret\u{e9}"),
        ];
        for (name, value) in wrong {
            let error = read(&[(name, value)]).expect_err(value);
            assert_eq!(error.variable, name);
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn what_is_sent_stays_off_this_machine_unless_it_serves_nobody_else() {
        let may = |variables: &[_]| read(variables).expect("a config").outgoing_loopback;
        assert!(may(&[]));
        assert!(may(&[("HOGA_PUBLIC_URL", "http://localhost:8080")]));
        assert!(!may(&[("HOGA_BIND", "0.0.0.0:8080")]));
        // A proxy on this machine makes a server of everybody's out of one that listens to itself.
        for proxied in
            ["https://auction.example.com", "http://10.0.0.7", "http://localhost.evil.com"]
        {
            assert!(!may(&[("HOGA_PUBLIC_URL", proxied)]), "{proxied}");
        }
        let local = ("HOGA_PUBLIC_URL", "http://127.0.0.1:8080");
        assert!(!may(&[("HOGA_BIND", "192.168.0.7:8080"), local]));
        let database = ("HOGA_DATABASE_URL", "postgres://h/db");
        assert!(!may(&[database]));
        assert!(may(&[database, ("HOGA_OUTGOING_LOOPBACK", "on")]));
        assert!(!may(&[("HOGA_OUTGOING_LOOPBACK", "off")]));
    }

    #[test]
    fn a_trusted_proxy_lets_others_in_who_may_not_be_anybody_unasked() {
        let proxied = [("HOGA_TRUSTED_PROXIES", "127.0.0.1")];
        let config = read(&proxied).expect("a config");
        let problem = config.has_demo_login().expect_err("others reach it");
        assert_eq!(problem.variable, "HOGA_DEMO_LOGIN");
        assert!(problem.to_string().contains("HOGA_TRUSTED_PROXIES"), "{problem}");
        assert!(!config.outgoing_loopback);
        for (word, is_on) in [("on", true), ("off", false)] {
            let config = read(&[proxied[0], ("HOGA_DEMO_LOGIN", word)]).expect("a config");
            assert_eq!(config.has_demo_login(), Ok(is_on));
        }
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "HOGA_FORGOTTEN")]
    fn a_variable_that_is_read_and_not_listed_is_found() {
        set(&|_| None, "HOGA_FORGOTTEN");
    }

    #[test]
    fn a_public_url_is_scheme_host_and_port() {
        let url = |value| read(&[("HOGA_PUBLIC_URL", value)]).map(|config| config.public_url);
        for good in ["https://auction.example.com", "http://localhost:8080", "http://[::1]:8080"] {
            assert_eq!(url(good).as_deref(), Ok(good));
        }
        assert_eq!(url("https://hoga.test/").as_deref(), Ok("https://hoga.test"));
        for (wrong, said) in [
            ("https://me:secret@hoga.test", "password"),
            ("https://me@hoga.test", "user"),
            ("https://@hoga.test", "user"),
            ("https://hoga.test/shop", "path"),
            ("https://hoga.test?x=1", "query"),
            ("https://hoga.test:99999", "port"),
            ("https://hoga.test:0", "port"),
            ("https://hoga.test:web", "port"),
            ("https://:443", "host"),
            ("https:///hoga.test", "host"),
            ("https://", "host"),
            ("https://hoga test", "spaces"),
            // As no browser writes it.
            ("https://Hoga.Test", "must be written https://hoga.test"),
            ("https://hoga.test:443/", "must be written https://hoga.test"),
            ("http://hoga.test:80", "must be written http://hoga.test"),
            ("https://경매.kr", "must be written https://xn--"),
            ("http://[0:0::1]:8080", "must be written http://[::1]:8080"),
            ("hoga.test", "http://"),
        ] {
            let error = url(wrong).expect_err(wrong);
            assert_eq!(error.variable, "HOGA_PUBLIC_URL");
            assert!(error.problem.contains(said) && !error.problem.contains("secret"), "{error}");
        }
    }

    #[test]
    fn whoever_listens_everywhere_without_a_public_url_is_reached_by_nobody_through_it() {
        let login = ("HOGA_DEMO_LOGIN", "off");
        let lacks = |variables: &[_]| read(variables).expect("a config").lacks_public_url();
        assert!(!lacks(&[]));
        assert!(lacks(&[login, ("HOGA_BIND", "0.0.0.0:8080")]));
        assert!(lacks(&[login, ("HOGA_BIND", "[::]:8080")]));
        let url = ("HOGA_PUBLIC_URL", "https://hoga.test");
        assert!(!lacks(&[login, ("HOGA_BIND", "0.0.0.0:8080"), url]));
    }

    #[test]
    fn a_port_that_the_system_chose_is_the_one_that_is_told() {
        let chosen = SocketAddr::from(([127, 0, 0, 1], 4_711));
        let on = |variables: &[_]| read(variables).expect("a config").listening_on(chosen);
        assert_eq!(on(&[("HOGA_BIND", "127.0.0.1:0")]).public_url, "http://127.0.0.1:4711");
        assert_eq!(on(&[("HOGA_PUBLIC_URL", "https://h.test")]).public_url, "https://h.test");
    }

    #[test]
    fn a_variable_that_is_misspelt_or_no_text_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let names = ["HOGA_BIND", "HOGA_BINDS", "HOME", "HOGA_LOG"].map(OsString::from);
        assert_eq!(unknown_variables(names.into_iter()), ["HOGA_BINDS"]);
        let broken = |name: &str| (name == "HOGA_LOG").then(|| OsString::from_vec(vec![0xff]));
        assert_eq!(unreadable(broken), Some("HOGA_LOG"));
        assert_eq!(unreadable(|_| Some("text".into())), None);
    }

    #[test]
    fn every_variable_that_the_readme_lists_is_known() {
        for word in include_str!("../README.md").split('`') {
            let is_name = word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
            if word.starts_with("HOGA_") && is_name {
                assert!(VARIABLES.contains(&word), "{word}");
            }
        }
    }

    #[test]
    fn anybody_can_log_in_as_anybody_on_this_machine_alone_unless_it_is_switched_on() {
        let has = |variables: &[_]| read(variables).expect("a config").has_demo_login();
        let named = |variables: &[_]| has(variables).expect_err("it is to be said").variable;
        assert_eq!(has(&[]), Ok(true));
        for local in ["http://localhost:8080", "http://hoga.localhost", "http://[::1]:8080"] {
            assert_eq!(has(&[("HOGA_PUBLIC_URL", local)]), Ok(true), "{local}");
        }
        let everywhere = ("HOGA_BIND", "0.0.0.0:8080");
        let local = ("HOGA_PUBLIC_URL", "http://127.0.0.1:8080");
        let proxied = ("HOGA_PUBLIC_URL", "https://auction.example.com");
        for open in [&[everywhere][..], &[everywhere, local], &[proxied]] {
            assert_eq!(named(open), "HOGA_DEMO_LOGIN");
            for (word, is_on) in [("on", true), ("off", false)] {
                let said = [open, &[("HOGA_DEMO_LOGIN", word)]].concat();
                assert_eq!(has(&said), Ok(is_on));
            }
        }
        assert_eq!(has(&[("HOGA_DEMO_LOGIN", "off")]), Ok(false));
    }

    #[test]
    fn the_demos_login_is_never_there_beside_kakao_or_an_own_database() {
        let kakao = [("HOGA_KAKAO_CLIENT_ID", "key"), ("HOGA_KAKAO_CLIENT_SECRET", "secret")];
        let database = [("HOGA_DATABASE_URL", "postgres://h/db")];
        for configured in [&kakao[..], &database] {
            let config = read(configured).expect("a config");
            assert_eq!(config.has_demo_login(), Ok(false));
            let wanted = [configured, &[("HOGA_DEMO_LOGIN", "on")]].concat();
            assert_eq!(read(&wanted).expect_err("refused").variable, "HOGA_DEMO_LOGIN");
        }
    }

    #[test]
    fn push_services_are_told_a_contact_that_they_can_reach() {
        let subject = |variables: &[_]| read(variables).expect("a config").vapid_subject;
        assert_eq!(subject(&[]), None);
        let url = ("HOGA_PUBLIC_URL", "https://auction.example.com");
        assert_eq!(subject(&[url]).as_deref(), Some("https://auction.example.com"));
        let mail = "mailto:ops@auction.example.com";
        assert_eq!(subject(&[url, ("HOGA_VAPID_SUBJECT", mail)]).as_deref(), Some(mail));
        let config = read(&[]).expect("the default");
        assert_eq!(config.vapid_key_file, PathBuf::from(".hoga/vapid-key.pem"));
    }

    #[test]
    fn everybody_may_sell_unless_sellers_are_approved() {
        let model = |value| read(&[("HOGA_SELLERS", value)]).expect("a model").sellers;
        assert_eq!(read(&[]).expect("the default").sellers, SellerModel::Everybody);
        assert_eq!(model("everybody"), SellerModel::Everybody);
        assert_eq!(model("approved"), SellerModel::Approved);
    }

    #[test]
    fn leads_are_read_in_hours_minutes_and_seconds() {
        let leads = |value| {
            read(&[("HOGA_REMINDER_LEADS", value)]).expect("leads").notifications.reminder_leads_s
        };
        assert_eq!(leads("12h, 30m,5s"), [43_200, 1_800, 5]);
        let default = read(&[]).expect("the default").notifications;
        assert_eq!(default.reminder_leads_s, [86_400, 3_600]);
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        assert!(read(&[("HOGA_DATABASE_URL", " ")]).expect("the default").is_embedded());
    }

    #[test]
    fn the_brokers_password_is_not_printed() {
        let url = ("HOGA_AMQP_URL", "amqp://hoga:top-secret@mq:5673/%2f");
        let config = read(&[url, ("HOGA_AMQP_PREFIX", "staging.")]).expect("a broker");
        assert!(!format!("{config:?}").contains("top-secret"));
        assert_eq!(format!("{:?}", config.amqp_url.expect("a URL")), "AmqpUrl(mq:5673//)");
        assert_eq!(config.amqp_prefix.as_deref(), Some("staging."));
    }

    #[test]
    fn brokers_that_stand_for_each_other_are_a_list_and_tls_is_verified() {
        let list = "amqps://u:top,secret@one/%2f, amqp://u:top,secret@two:5673/shop";
        let servers = read(&[("HOGA_AMQP_URL", list)]).expect("two brokers").amqp_url;
        let servers = servers.expect("two brokers");
        assert_eq!(format!("{servers:?}"), "AmqpUrl(one:5671//,two:5673/shop)");
        assert_eq!(servers.uris[0].authority.userinfo.password, "top,secret");
        assert_eq!(servers.tls.verification, Verification::ChainAndHost(Roots::System));
        let url = ("HOGA_AMQP_URL", "amqps://u:p@one/%2f");
        let refused = |variables: &[_]| read(variables).expect_err("refused").to_string();
        let no_file = refused(&[url, ("HOGA_AMQP_CA_FILE", "/nowhere/ca.pem")]);
        assert!(
            no_file.starts_with("HOGA_AMQP_CA_FILE cannot be used: /nowhere/ca.pem"),
            "{no_file}"
        );
        let half = refused(&[url, ("HOGA_AMQP_CERT_FILE", "/nowhere/cert.pem")]);
        assert!(half.contains("goes with HOGA_AMQP_KEY_FILE"), "{half}");
    }

    #[test]
    fn a_broadcaster_uses_what_its_exchange_uses_and_refuses_something_else() {
        let url = ("HOGA_AMQP_URL", "amqp://hoga:top-secret@mq:5673/%2f");
        let beside = |variables: &[_], prefix: Option<&str>| {
            read(variables).expect("a config").beside_exchange("https://hoga.test", prefix)
        };
        let adopted = beside(&[url], Some("staging.")).expect("nothing of its own");
        assert_eq!(adopted.public_url, "https://hoga.test");
        assert_eq!(adopted.amqp_prefix.as_deref(), Some("staging."));
        let same =
            [url, ("HOGA_PUBLIC_URL", "https://hoga.test/"), ("HOGA_AMQP_PREFIX", "staging.")];
        assert!(beside(&same, Some("staging.")).is_ok());
        assert!(
            beside(&[("HOGA_AMQP_PREFIX", "old.")], Some("new.")).is_ok(),
            "it follows the log"
        );
        let refused = |variables: &[_], prefix, variable, names: [&str; 2]| {
            let error = beside(variables, prefix).expect_err("it differs");
            assert_eq!(error.variable, variable);
            let said = error.to_string();
            assert!(names.iter().all(|name| said.contains(name)), "{said}");
            assert!(!said.contains("top-secret"), "{said}");
        };
        let public_url = ("HOGA_PUBLIC_URL", "http://other.test");
        let both = ["http://other.test", "https://hoga.test"];
        refused(&[public_url], None, "HOGA_PUBLIC_URL", both);
        let prefix = ("HOGA_AMQP_PREFIX", "old.");
        refused(&[url, prefix], Some("new."), "HOGA_AMQP_PREFIX", ["\"old.\"", "\"new.\""]);
        refused(&[url, prefix], Some(""), "HOGA_AMQP_PREFIX", ["\"old.\"", "\"\""]);
        refused(&[url], None, "HOGA_AMQP_URL", ["mq:5673//", "no broker"]);
    }

    #[test]
    fn kakaos_app_is_whole_or_not_there() {
        let id = ("HOGA_KAKAO_CLIENT_ID", "rest-key");
        let secret = ("HOGA_KAKAO_CLIENT_SECRET", "top-secret");
        let admin = ("HOGA_KAKAO_ADMIN_KEY", "admin-secret");
        let lacking = |variables: &[_]| read(variables).expect_err("a part is missing").variable;
        assert_eq!(lacking(&[id]), "HOGA_KAKAO_CLIENT_SECRET");
        assert_eq!(lacking(&[id, admin]), "HOGA_KAKAO_CLIENT_SECRET");
        assert_eq!(lacking(&[secret]), "HOGA_KAKAO_CLIENT_ID");
        assert_eq!(lacking(&[admin]), "HOGA_KAKAO_CLIENT_ID");
        assert_eq!(lacking(&[("HOGA_KAKAO_BASE_URL", "http://k.test")]), "HOGA_KAKAO_CLIENT_ID");
        assert!(read(&[]).expect("the default").kakao.is_none());
        let app = read(&[id, secret]).expect("an app").kakao.expect("an app");
        assert!(app.admin_key.is_none() && app.app_id.is_none() && app.base_url.is_none());
    }

    #[test]
    fn kakaos_app_is_read_and_its_secrets_are_not_printed() {
        let config = read(&[
            ("HOGA_KAKAO_CLIENT_ID", "rest-key"),
            ("HOGA_KAKAO_CLIENT_SECRET", "top-secret"),
            ("HOGA_KAKAO_ADMIN_KEY", "admin-secret"),
            ("HOGA_KAKAO_APP_ID", "123456"),
            ("HOGA_KAKAO_BASE_URL", "http://127.0.0.1:9000/"),
        ])
        .expect("an app");
        assert!(!format!("{config:?}").contains("secret\""));
        assert!(!format!("{config:?}").contains("-secret"));
        let app = config.kakao.expect("an app");
        assert_eq!(app.client_secret.expose(), "top-secret");
        assert_eq!(app.admin_key.expect("a key").expose(), "admin-secret");
        assert_eq!(app.app_id, Some(123_456));
        assert_eq!(app.base_url.as_deref(), Some("http://127.0.0.1:9000"));
    }
}
