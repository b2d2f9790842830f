//! The one place where connections to Postgres are made: over TLS or not, to the first of several
//! hosts that will do, with the settings of a session.
//!
//! Settings are set by a statement and not by the parameter `options`, which a pooler refuses or
//! passes over in silence, and which belongs to the operator.

use std::{
    error::Error,
    sync::{LazyLock, atomic::Ordering},
    time::Duration,
};

use deadpool_postgres::Connect;
use rand::seq::SliceRandom;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use tokio_postgres::{
    Client, Config, SimpleQueryMessage, Socket,
    config::{Host, LoadBalanceHosts, SslMode},
    error::SqlState,
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Store;
use crate::{
    database_url::DatabaseUrl,
    tls::{self, ClientTls, TlsFileError},
};

/// How long one host is waited for, from the first packet until it has let us in.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a session is asked for its backend before another one is opened beside it.
const POOLER_ASKED: usize = 3;

const BACKEND: &str = "SELECT pg_backend_pid()";

/// A connection, over TLS or not. It must be driven while its client is used.
pub type Connection =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Postgres cannot be used over the connections that the operator described.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A host refused, or could not be reached.
    #[error("no connection to Postgres at {at}: {advice}")]
    Host {
        /// Host and port.
        at: String,
        /// What to do about it.
        advice: String,
        /// What happened.
        source: tokio_postgres::Error,
    },
    /// A host said nothing.
    #[error("Postgres at {at} did not let us in within {CONNECT_TIMEOUT:?}")]
    Silent {
        /// Host and port.
        at: String,
    },
    /// None of several would do.
    #[error("none of the hosts in HOGA_DATABASE_URL will do; {0}")]
    NoHost(String),
    /// Each transaction may meet another session.
    #[error(
        "a pooler stands before Postgres and gives each transaction another session, and Hoga needs \
         its own: locks that outlive a transaction, prepared statements, settings. Connect to \
         Postgres directly, or let the pooler work by session (PgBouncer: pool_mode=session, with a \
         pool_size of at least as many connections as Hoga may open)"
    )]
    Pooled,
}

/// Whose connections are a pool's.
pub(super) struct PoolConnector {
    pub url: DatabaseUrl,
    pub settings: String,
}

impl Connect for PoolConnector {
    fn connect(
        &self,
        config: &Config,
    ) -> std::pin::Pin<
        Box<
            dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>>
                + Send
                + '_,
        >,
    > {
        let config = config.clone();
        Box::pin(async move {
            let (client, connection) = connect(&self.url, &config, &self.settings).await?;
            let driven = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    let error: &dyn Error = &error;
                    tracing::warn!(error, "a connection to Postgres was lost");
                }
            });
            Ok((client, driven))
        })
    }
}

/// How long connecting may take with all hosts tried: what callers wait at most.
pub(super) fn patience(url: &DatabaseUrl) -> Duration {
    CONNECT_TIMEOUT * u32::try_from(url.hosts().max(1)).unwrap_or(u32::MAX)
}

/// `SET` for each of them.
pub(super) fn settings(settings: &[(&str, &str)]) -> String {
    settings.iter().map(|(name, value)| format!("SET {name} = {value};")).collect()
}

/// Connects under `config`, which is the URL's own with changes, and sets what the session is to
/// have. Each host but the last has [`CONNECT_TIMEOUT`]; the last one, whose error it is that counts,
/// has as long as the caller waits (see [`patience`]).
pub(super) async fn connect(
    url: &DatabaseUrl,
    config: &Config,
    settings: &str,
) -> Result<(Client, Connection), tokio_postgres::Error> {
    let mut hosts = order(url, config);
    let last = hosts.pop().unwrap_or_default();
    for host in hosts {
        let connecting = connect_to(url, config, host, settings);
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => {
                let (at, error): (_, &dyn Error) = (address(config, host), &error);
                tracing::debug!(at, error, "the next host is tried");
            }
            Err(_) => tracing::debug!(at = address(config, host), "the next host is tried"),
        }
    }
    connect_to(url, config, last, settings).await
}

/// The one that took writes last first, so that one that is gone is not waited for each time.
fn order(url: &DatabaseUrl, config: &Config) -> Vec<usize> {
    let mut hosts: Vec<usize> = (0..config.get_hosts().len()).collect();
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        hosts.shuffle(&mut rand::rng());
    }
    if url.must_take_writes() {
        let first = url.writable.load(Ordering::Relaxed);
        hosts.sort_by_key(|host| *host != first);
    }
    hosts
}

async fn connect_to(
    url: &DatabaseUrl,
    config: &Config,
    host: usize,
    settings: &str,
) -> Result<(Client, Connection), tokio_postgres::Error> {
    let mut alone = only(config, host);
    let connector = Connector(url.tls.clone());
    let mut connected = alone.connect(connector.clone()).await;
    if let Err(error) = &connected
        && alone.get_ssl_mode() == SslMode::Prefer
        && (tls::cause(error).is_some()
            || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION))
    {
        // What is only preferred is done without, as libpq does.
        connected = alone.ssl_mode(SslMode::Disable).connect(connector).await;
    }
    let (client, mut connection) = connected?;
    if !settings.is_empty() {
        let mut setting = std::pin::pin!(client.batch_execute(settings));
        tokio::select! {
            biased;
            set = &mut setting => set?,
            ended = &mut connection => {
                ended?;
                setting.await?;
            }
        }
    }
    url.writable.store(host, Ordering::Relaxed);
    Ok((client, connection))
}

/// The same with one of its hosts alone.
fn only(config: &Config, host: usize) -> Config {
    let mut alone = Config::new();
    let mut is_local = false;
    match &config.get_hosts()[host] {
        Host::Tcp(name) => drop(alone.host(name)),
        Host::Unix(path) => {
            is_local = true;
            alone.host_path(path);
        }
    }
    if let Some(address) = config.get_hostaddrs().get(host) {
        alone.hostaddr(*address);
    }
    let ports = config.get_ports();
    if let Some(port) = ports.get(host).or(ports.first()) {
        alone.port(*port);
    }
    if let Some(user) = config.get_user() {
        alone.user(user);
    }
    if let Some(password) = config.get_password() {
        alone.password(password);
    }
    if let Some(name) = config.get_dbname() {
        alone.dbname(name);
    }
    if let Some(options) = config.get_options() {
        alone.options(options);
    }
    if let Some(name) = config.get_application_name() {
        alone.application_name(name);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        alone.tcp_user_timeout(*timeout);
    }
    if let Some(every) = config.get_keepalives_interval() {
        alone.keepalives_interval(every);
    }
    if let Some(count) = config.get_keepalives_retries() {
        alone.keepalives_retries(count);
    }
    alone
        .connect_timeout(config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT))
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .ssl_mode(if is_local { SslMode::Disable } else { config.get_ssl_mode() })
        .ssl_negotiation(config.get_ssl_negotiation())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding());
    alone
}

fn address(config: &Config, host: usize) -> String {
    let ports = config.get_ports();
    let port = ports.get(host).or(ports.first()).copied().unwrap_or(5432);
    match &config.get_hosts()[host] {
        Host::Tcp(name) => format!("{name}:{port}"),
        Host::Unix(path) => format!("{} (port {port})", path.display()),
    }
}

/// Speaks TLS as configured, with the files as they are now.
#[derive(Clone)]
struct Connector(Option<ClientTls>);

/// For connections that ask for a connector and never use it.
static UNUSED: LazyLock<MakeRustlsConnect> = LazyLock::new(|| {
    tls::provide();
    let nobody = RootCertStore::empty();
    let config = ClientConfig::builder().with_root_certificates(nobody).with_no_client_auth();
    MakeRustlsConnect::new(config)
});

impl MakeTlsConnect<Socket> for Connector {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
    type Error = TlsFileError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self::TlsConnect, TlsFileError> {
        let mut made = match &self.0 {
            None => UNUSED.clone(),
            Some(tls) => MakeRustlsConnect::new(tls.client_config()?),
        };
        let Ok(connect) = MakeTlsConnect::<Socket>::make_tls_connect(&mut made, host);
        Ok(connect)
    }
}

impl Store {
    /// Whether Postgres lets us in over the connections that were described, and over sessions of
    /// our own. Not asked of the private cluster.
    ///
    /// # Errors
    /// What is wrong with each host, and what to do about it.
    pub async fn check_connection(&self) -> Result<(), ConnectError> {
        let url = self.url();
        if url.is_private {
            return Ok(());
        }
        let mut config = url.postgres.clone();
        config.application_name("hoga start");
        let mut errors = Vec::new();
        for host in order(url, &config) {
            let asking = is_pooled(url, &config, host);
            match tokio::time::timeout(CONNECT_TIMEOUT, asking).await {
                Ok(Ok(false)) => return Ok(()),
                Ok(Ok(true)) => return Err(ConnectError::Pooled),
                Ok(Err(source)) => {
                    let (at, advice) = (address(&config, host), advice(&source));
                    errors.push(ConnectError::Host { at, advice, source });
                }
                Err(_) => errors.push(ConnectError::Silent { at: address(&config, host) }),
            }
        }
        match errors.pop() {
            Some(error) if errors.is_empty() => Err(error),
            last => {
                let told: Vec<String> = errors.iter().chain(&last).map(told).collect();
                Err(ConnectError::NoHost(told.join("; ")))
            }
        }
    }
}

/// An error with its causes, in one line.
fn told(error: &ConnectError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whether transactions of one connection meet more than one session. While nobody else is there, a
/// pooler gives the same one again and again: so another connection takes one away, in a transaction.
async fn is_pooled(
    url: &DatabaseUrl,
    config: &Config,
    host: usize,
) -> Result<bool, tokio_postgres::Error> {
    let open = async || {
        let (client, connection) = connect_to(url, config, host, "").await?;
        // It ends with its client.
        tokio::spawn(connection);
        Ok::<Client, tokio_postgres::Error>(client)
    };
    let (client, other) = (open().await?, open().await?);
    let own = backend(&client).await?;
    for _ in 0..POOLER_ASKED {
        if backend(&client).await? != own {
            return Ok(true);
        }
    }
    match other.batch_execute("BEGIN").await {
        // PgBouncer, where each statement may meet another session.
        Err(error) if error.code() == Some(&SqlState::PROTOCOL_VIOLATION) => return Ok(true),
        begun => begun?,
    }
    let taken = backend(&other).await?;
    // A pool of one session has none left to answer with.
    let asked = tokio::time::timeout(CONNECT_TIMEOUT / 2, backend(&client)).await;
    let is_pooled = taken == own || !matches!(&asked, Ok(Ok(pid)) if *pid == own);
    other.batch_execute("ROLLBACK").await?;
    Ok(is_pooled)
}

/// By the simple protocol, which needs nothing to be prepared.
async fn backend(client: &Client) -> Result<Option<String>, tokio_postgres::Error> {
    let messages = client.simple_query(BACKEND).await?;
    Ok(messages.iter().find_map(|message| {
        let SimpleQueryMessage::Row(row) = message else { return None };
        row.get(0).map(str::to_owned)
    }))
}

/// What to do after Postgres did not take a connection.
fn advice(error: &tokio_postgres::Error) -> String {
    if let Some(cause) = tls::cause(error) {
        return tls::advice(cause, "sslrootcert", "sslcert and sslkey");
    }
    let Some(refusal) = error.as_db_error() else {
        return advice_without_answer(error).to_owned();
    };
    let code = refusal.code();
    let advice = if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        "its pg_hba.conf does not let this user in like this: it may want TLS (sslmode), a client's \
         certificate (sslcert and sslkey) or another address"
    } else if *code == SqlState::INVALID_PASSWORD {
        "the user or the password in HOGA_DATABASE_URL is wrong"
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        "there is no such database: create it, or correct HOGA_DATABASE_URL"
    } else if *code == SqlState::TOO_MANY_CONNECTIONS {
        "it has no connection left: raise max_connections, or end what uses them"
    } else if *code == SqlState::PROTOCOL_VIOLATION {
        "what answers there is a pooler that does not take this connection: leave `options` out of \
         HOGA_DATABASE_URL, or connect to Postgres directly"
    } else {
        "it refused the connection"
    };
    advice.to_owned()
}

fn advice_without_answer(error: &tokio_postgres::Error) -> &'static str {
    let source = error.source();
    let is = |kind| {
        source
            .and_then(|source| source.downcast_ref::<std::io::Error>())
            .is_some_and(|error| error.kind() == kind)
    };
    if source.is_some_and(|source| source.is::<TlsFileError>()) {
        "a file in HOGA_DATABASE_URL cannot be used"
    } else if is(std::io::ErrorKind::PermissionDenied) {
        "it takes no writes, and target_session_attrs asks for one that does"
    } else if is(std::io::ErrorKind::UnexpectedEof) || is(std::io::ErrorKind::ConnectionReset) {
        "it ended the connection without a word: see its log"
    } else if source.is_some_and(|source| source.to_string().contains("does not support TLS")) {
        "it speaks no TLS: switch `ssl` on there, or set sslmode=disable if nobody else is on the \
         way to it"
    } else {
        "is it running, reachable from here, and HOGA_DATABASE_URL right?"
    }
}
