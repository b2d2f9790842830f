//! Registered frontends: what makes one, and all of them in memory.
//!
//! Owns the rules for names, redirect URIs, origins, ids and secrets, and the registry that every
//! request can ask without waiting. Must never keep or show a secret, only what it hashes to, and
//! never compare a redirect URI or an origin other than exactly.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use url::Url;

use super::secret;
use crate::{
    domain::{text::is_visible_line, time::Timestamp},
    store::{CLIENTS_MAX, ClientChanges, ClientRow, ClientsStamp, Store, StoreError},
};

/// Characters in a name.
pub const NAME_CHARS_MAX: usize = 80;
/// Redirect URIs of a client.
pub const REDIRECT_URIS_MAX: usize = 20;
/// Origins of a client.
pub const ORIGINS_MAX: usize = 20;
/// Characters in a redirect URI or an origin.
pub const URI_CHARS_MAX: usize = 2_000;
/// The highest budget of a client, a second.
pub const PER_SECOND_MAX: u32 = 1_000_000;
/// Random bytes in an id.
const ID_BYTES: usize = 16;

/// A registered frontend.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// Publishable: `hc_…`
    pub id: String,
    /// For people.
    pub name: String,
    /// SHA-256 of the secret of a server-side client.
    pub secret_hash: Option<[u8; 32]>,
    /// Where a login may return to, exactly.
    pub redirect_uris: Vec<String>,
    /// Whose pages may call, exactly.
    pub allowed_origins: Vec<String>,
    /// Of all its users together, besides their own.
    pub requests_per_second: Option<NonZeroU32>,
    /// Of all its users together, besides their own.
    pub bids_per_second: Option<NonZeroU32>,
    /// Counts no more.
    pub disabled: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.id)
    }
}

impl Client {
    /// Whether a login may return there: to one of its redirect URIs, exactly.
    pub fn allows_redirect(&self, uri: &str) -> bool {
        self.redirect_uris.iter().any(|allowed| allowed == uri)
    }

    /// Whether it runs on a server and must show its secret.
    pub fn is_confidential(&self) -> bool {
        self.secret_hash.is_some()
    }

    /// Whether this is its secret; takes as long for a wrong one as for the right one.
    pub fn has_secret(&self, secret: &str) -> bool {
        let Some(expected) = self.secret_hash else { return false };
        secret::are_equal(&expected, &secret::hash(secret))
    }

    /// From a stored row; none when the row makes no sense.
    fn of_row(row: ClientRow) -> Option<Client> {
        let rate = |stored: Option<i32>| match stored {
            None => Some(None),
            Some(rate) => u32::try_from(rate).ok().and_then(NonZeroU32::new).map(Some),
        };
        Some(Client {
            secret_hash: match row.secret_hash {
                None => None,
                Some(hash) => Some(hash.try_into().ok()?),
            },
            requests_per_second: rate(row.requests_per_second)?,
            bids_per_second: rate(row.bids_per_second)?,
            disabled: row.disabled_at.is_some(),
            id: row.id,
            name: row.name,
            redirect_uris: row.redirect_uris,
            allowed_origins: row.allowed_origins,
        })
    }
}

/// A secret, to be shown once, and what is kept of it.
pub fn new_secret() -> (String, Vec<u8>) {
    let secret = format!("hs_{}", secret::Secret::random().expose());
    let kept = secret::hash(&secret).to_vec();
    (secret, kept)
}

/// What is wrong with a client's details.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct ClientFault {
    /// Where, such as `redirect_uris[1]`.
    pub field: String,
    /// What must hold instead.
    pub message: String,
}

/// Details of a client as they are asked for; what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Details {
    pub name: Option<String>,
    pub redirect_uris: Option<Vec<String>>,
    pub allowed_origins: Option<Vec<String>>,
    /// `Some(None)` takes the budget away.
    pub requests_per_second: Option<Option<u32>>,
    /// `Some(None)` takes the budget away.
    pub bids_per_second: Option<Option<u32>>,
    pub disabled: Option<bool>,
}

impl Details {
    /// The changes that they come to.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn changes(self, now: Timestamp) -> Result<ClientChanges, Vec<ClientFault>> {
        let mut faults = Faults::default();
        if let Some(name) = &self.name {
            faults.add("name".into(), check_name(name));
        }
        if let Some(uris) = &self.redirect_uris {
            faults.add_list("redirect_uris", uris, REDIRECT_URIS_MAX, check_redirect_uri);
        }
        if let Some(origins) = &self.allowed_origins {
            faults.add_list("allowed_origins", origins, ORIGINS_MAX, check_origin);
        }
        let rates = [
            ("requests_per_second", self.requests_per_second.flatten()),
            ("bids_per_second", self.bids_per_second.flatten()),
        ];
        for (field, rate) in rates {
            faults.add(field.into(), rate.map_or(Ok(()), check_rate));
        }
        let stored = |rate: Option<u32>| rate.and_then(|rate| i32::try_from(rate).ok());
        faults.none().map(|()| ClientChanges {
            name: self.name.map(|name| name.trim().to_owned()),
            redirect_uris: self.redirect_uris,
            allowed_origins: self.allowed_origins,
            requests_per_second: self.requests_per_second.map(stored),
            bids_per_second: self.bids_per_second.map(stored),
            disabled_at: self.disabled.map(|disabled| disabled.then_some(now)),
        })
    }
}

/// A client to register, with its secret if it has one.
pub struct Registration {
    /// What is stored.
    pub row: ClientRow,
    /// To be shown once.
    pub secret: Option<String>,
}

impl Registration {
    /// A new client with a fresh id.
    ///
    /// # Errors
    /// Everything that is wrong with its details.
    pub fn new(
        details: Details,
        is_confidential: bool,
        now: Timestamp,
    ) -> Result<Registration, Vec<ClientFault>> {
        let details = Details { name: Some(details.name.unwrap_or_default()), ..details };
        let details = details.changes(now)?;
        let random: [u8; ID_BYTES] = rand::random();
        let (secret, secret_hash) = is_confidential.then(new_secret).unzip();
        let row = ClientRow {
            id: format!("hc_{}", URL_SAFE_NO_PAD.encode(random)),
            name: details.name.unwrap_or_default(),
            secret_hash,
            redirect_uris: details.redirect_uris.unwrap_or_default(),
            allowed_origins: details.allowed_origins.unwrap_or_default(),
            requests_per_second: details.requests_per_second.flatten(),
            bids_per_second: details.bids_per_second.flatten(),
            created_at: now,
            disabled_at: details.disabled_at.flatten(),
        };
        Ok(Registration { row, secret })
    }
}

#[derive(Default)]
struct Faults(Vec<ClientFault>);

impl Faults {
    fn add(&mut self, field: String, checked: Result<(), String>) {
        if let Err(message) = checked {
            self.0.push(ClientFault { field, message });
        }
    }

    fn add_list(
        &mut self,
        field: &str,
        list: &[String],
        max: usize,
        check: impl Fn(&str) -> Result<(), String>,
    ) {
        if list.len() > max {
            self.add(field.into(), Err(format!("must be at most {max}")));
        }
        for (place, entry) in list.iter().enumerate().take(max) {
            let checked = if list[..place].contains(entry) {
                Err("stands there twice".to_owned())
            } else {
                check(entry)
            };
            self.add(format!("{field}[{place}]"), checked);
        }
    }

    fn none(self) -> Result<(), Vec<ClientFault>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let is_name =
        (1..=NAME_CHARS_MAX).contains(&name.trim().chars().count()) && is_visible_line(name);
    if is_name {
        Ok(())
    } else {
        Err(format!("must be 1 to {NAME_CHARS_MAX} characters on one line"))
    }
}

fn check_rate(rate: u32) -> Result<(), String> {
    if (1..=PER_SECOND_MAX).contains(&rate) {
        Ok(())
    } else {
        Err(format!("must be 1 to {PER_SECOND_MAX}"))
    }
}

/// Whether a login may ever return there.
fn check_redirect_uri(uri: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(what.to_owned());
    if uri.len() > URI_CHARS_MAX {
        return Err(format!("must be at most {URI_CHARS_MAX} characters"));
    }
    // A backslash is a slash to browsers.
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) || uri.contains('\\') {
        return wrong("must be visible ASCII without backslashes; escape the rest with %");
    }
    if uri.contains('#') {
        return wrong("must have no fragment");
    }
    if uri.contains('*') {
        return wrong("must have no wildcard: redirect URIs are compared exactly");
    }
    let Ok(url) = Url::parse(uri) else {
        return wrong("must be an absolute URI, such as https://shop.example.com/callback");
    };
    if authority(uri).contains('@') {
        return wrong("must have no user name");
    }
    let is_of = |prefix: &str| uri.starts_with(prefix) && url.host_str().is_some();
    if is_of("https://") || (is_of("http://") && is_loopback(&url)) {
        return Ok(());
    }
    // RFC 8252, section 7.1: the name of a domain that the app's maker owns, backwards.
    let is_of_app = url.scheme().contains('.') && uri.starts_with(url.scheme());
    if is_of_app {
        return Ok(());
    }
    wrong(
        "must begin with https:// (http:// only for localhost, 127.0.0.1 and [::1]) or, for an \
         app, with a scheme that has a dot, such as com.example.app:/callback",
    )
}

/// Whether a browser would ever send this `Origin`.
fn check_origin(origin: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(what.to_owned());
    if origin.len() > URI_CHARS_MAX {
        return Err(format!("must be at most {URI_CHARS_MAX} characters"));
    }
    let Some(url) = Url::parse(origin).ok().filter(|url| matches!(url.scheme(), "https" | "http"))
    else {
        return wrong("must be an origin, such as https://shop.example.com");
    };
    let as_sent = url.origin().ascii_serialization();
    if as_sent != origin || origin.contains('*') {
        return Err(format!("must be as browsers send it, without path: {as_sent}"));
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return wrong("must begin with https:// (http:// only for localhost, 127.0.0.1 and [::1])");
    }
    Ok(())
}

/// Between the slashes; empty where there is none.
fn authority(uri: &str) -> &str {
    let Some((_, rest)) = uri.split_once("://") else { return "" };
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// Whether a browser sends this `Origin` for a page of this machine's own.
pub fn is_loopback_origin(origin: &str) -> bool {
    Url::parse(origin).is_ok_and(|url| {
        url.scheme() == "http" && is_loopback(&url) && url.origin().ascii_serialization() == origin
    })
}

fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Every registered client, in memory.
#[derive(Default)]
pub struct Clients {
    registry: ArcSwap<Registry>,
    /// Grows whenever the registry changes.
    generation: AtomicU64,
    /// One reads at a time, so that an older answer never replaces a newer one.
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Registry {
    stamp: Option<ClientsStamp>,
    enabled: HashMap<String, Arc<Client>>,
    disabled: HashSet<String>,
    /// Of the enabled ones.
    origins: HashSet<String>,
}

impl Registry {
    fn of(clients: impl IntoIterator<Item = Client>, stamp: Option<ClientsStamp>) -> Registry {
        let mut registry = Registry { stamp, ..Registry::default() };
        for client in clients {
            if client.disabled {
                registry.disabled.insert(client.id);
                continue;
            }
            registry.origins.extend(client.allowed_origins.iter().cloned());
            registry.enabled.insert(client.id.clone(), Arc::new(client));
        }
        registry
    }
}

impl Clients {
    /// A registry of these, whatever the database holds.
    pub fn of(clients: impl IntoIterator<Item = Client>) -> Clients {
        let registry = ArcSwap::from_pointee(Registry::of(clients, None));
        Clients { registry, ..Clients::default() }
    }

    /// A client that is known and not disabled.
    pub fn get(&self, id: &str) -> Option<Arc<Client>> {
        self.registry.load().enabled.get(id).cloned()
    }

    /// Whether it is known to be disabled. One that is not known at all may be so new that only
    /// another node has heard of it.
    pub fn is_disabled(&self, id: &str) -> bool {
        self.registry.load().disabled.contains(id)
    }

    /// Whether pages of this origin may call.
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.registry.load().origins.contains(origin)
    }

    /// Another number whenever a client has changed.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Reads every client: when the server starts, and right after an own change.
    ///
    /// # Errors
    /// When Postgres cannot be asked; the registry stays as it is.
    pub async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let stamp = store.clients_stamp().await?;
        self.read(store, stamp).await
    }

    /// Reads every client if one has changed: every few seconds.
    ///
    /// # Errors
    /// When Postgres cannot be asked; the registry stays as it is.
    pub async fn refresh_if_changed(&self, store: &Store) -> Result<(), StoreError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let stamp = store.clients_stamp().await?;
        if self.registry.load().stamp == Some(stamp) {
            return Ok(());
        }
        self.read(store, stamp).await
    }

    /// The stamp was read before the rows: what changes in between is read again the next time.
    async fn read(&self, store: &Store, stamp: ClientsStamp) -> Result<(), StoreError> {
        let rows = store.clients(None, CLIENTS_MAX).await?;
        let clients = rows.into_iter().filter_map(|row| {
            let id = row.id.clone();
            let client = Client::of_row(row);
            if client.is_none() {
                tracing::error!(client = id, "a stored client cannot be read, and is left out");
            }
            client
        });
        self.registry.store(Arc::new(Registry::of(clients, Some(stamp))));
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }

    fn client(id: &str) -> Client {
        Client {
            id: id.into(),
            name: "a shop".into(),
            secret_hash: None,
            redirect_uris: vec!["https://shop.example.com/callback".into()],
            allowed_origins: vec![format!("https://{id}.example.com")],
            requests_per_second: None,
            bids_per_second: None,
            disabled: false,
        }
    }

    #[test]
    fn an_origin_of_this_machine_is_read_as_a_browser_sends_it() {
        for ours in ["http://localhost", "http://localhost:5173", "http://[::1]", "http://[::1]:80"]
        {
            let is_default_port = ours.ends_with(":80");
            assert_eq!(is_loopback_origin(ours), !is_default_port, "{ours}");
        }
        for other in [
            "http://localhost:evil.example",
            "http://localhost.evil.example",
            "http://localhost:1:2",
            "http://localhost@evil.example",
            "https://localhost",
            "http://localhost/",
            "null",
        ] {
            assert!(!is_loopback_origin(other), "{other}");
        }
    }

    #[test]
    fn redirect_uris_lead_to_https_to_this_machine_or_to_an_app() {
        for uri in [
            "https://shop.example.com/callback",
            "https://shop.example.com",
            "https://shop.example.com:8443/callback?from=hoga&x=%2A",
            "http://localhost:3000/callback",
            "http://127.0.0.1/callback",
            "http://[::1]:5173/",
            "com.example.app:/callback",
            "com.example.app://callback",
        ] {
            assert_eq!(check_redirect_uri(uri), Ok(()), "{uri}");
        }
        for uri in [
            "",
            "/callback",
            "//shop.example.com/callback",
            "shop.example.com/callback",
            "https:shop.example.com",
            "https:/shop.example.com",
            "https://",
            "HTTPS://shop.example.com/",
            "http://shop.example.com/callback",
            "http://localhost.evil.example/",
            "http://127.0.0.1.evil.example/",
            "http://localhost@evil.example/",
            "https://shop.example.com/callback#x",
            "https://shop.example.com/callback#",
            "https://*.example.com/callback",
            "https://shop.example.com/*",
            "https://user@shop.example.com/",
            "https://user:secret@shop.example.com/",
            "https://@shop.example.com/",
            "https://shop.example.com\\@evil.example/",
            "https://shop.example.com/ callback",
            "https://shop.example.com/\ncallback",
            "https://상점.example.com/",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "myapp:/callback",
            "com.example.app://user@host/",
        ] {
            assert!(check_redirect_uri(uri).is_err(), "{uri}");
        }
        let long = format!("https://shop.example.com/{}", "x".repeat(URI_CHARS_MAX));
        assert!(check_redirect_uri(&long[..URI_CHARS_MAX]).is_ok());
        assert!(check_redirect_uri(&long[..=URI_CHARS_MAX]).is_err());
    }

    #[test]
    fn origins_are_what_browsers_send() {
        for origin in [
            "https://shop.example.com",
            "https://shop.example.com:8443",
            "https://xn--o39a.example",
            "http://localhost:3000",
            "http://[::1]:3000",
        ] {
            assert_eq!(check_origin(origin), Ok(()), "{origin}");
        }
        for origin in [
            "",
            "null",
            "*",
            "https://*",
            "https://*.example.com",
            "https://Shop.example.com",
            "https://shop.example.com/",
            "https://shop.example.com/path",
            "https://shop.example.com:443",
            "http://localhost:80",
            "http://shop.example.com",
            "https://user@shop.example.com",
            "https://상점.example.com",
            "shop.example.com",
            "ftp://shop.example.com",
            "com.example.app://x",
        ] {
            assert!(check_origin(origin).is_err(), "{origin}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place() {
        let details = Details {
            name: Some(" ".into()),
            redirect_uris: Some(vec!["https://a.example/".into(), "x".into()]),
            allowed_origins: Some(vec!["https://a.example".into(), "https://a.example".into()]),
            requests_per_second: Some(Some(0)),
            bids_per_second: Some(Some(PER_SECOND_MAX + 1)),
            disabled: None,
        };
        let faults = details.changes(now()).err().expect("faults");
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        let expected = [
            "name",
            "redirect_uris[1]",
            "allowed_origins[1]",
            "requests_per_second",
            "bids_per_second",
        ];
        assert_eq!(fields, expected);
        let many = (0..=ORIGINS_MAX).map(|n| format!("https://a{n}.example")).collect();
        let details = Details { allowed_origins: Some(many), ..Details::default() };
        let faults = details.changes(now()).err().expect("too many");
        assert_eq!(faults[0].to_string(), "allowed_origins must be at most 20");
        let names = ["x".repeat(NAME_CHARS_MAX + 1), "two\nlines".into(), String::new()];
        for name in names {
            assert!(check_name(&name).is_err(), "{name}");
        }
        assert!(check_name(&"가".repeat(NAME_CHARS_MAX)).is_ok());
    }

    #[test]
    fn a_secret_is_random_kept_as_its_hash_and_known_by_its_client_alone() {
        let details = Details { name: Some("a server".into()), ..Details::default() };
        let made = Registration::new(details.clone(), true, now()).expect("made");
        let secret = made.secret.expect("a secret");
        assert!(secret.starts_with("hs_") && secret.len() == 3 + 43, "256 bits");
        assert!(made.row.id.starts_with("hc_"));
        let client = Client::of_row(made.row).expect("a client");
        assert!(client.is_confidential() && client.has_secret(&secret));
        assert!(!client.has_secret("") && !client.has_secret(&secret[..45]));
        assert!(!format!("{client:?}").contains("secret"));
        let public = Registration::new(details, false, now()).expect("made");
        assert!(public.secret.is_none());
        let public = Client::of_row(public.row).expect("a client");
        assert!(!public.is_confidential() && !public.has_secret(""));
        assert_ne!(public.id, client.id);
    }

    #[test]
    fn redirects_are_compared_exactly() {
        let client = client("hc_a");
        assert!(client.allows_redirect("https://shop.example.com/callback"));
        for other in [
            "https://shop.example.com/callback/",
            "https://shop.example.com/callback?x",
            "https://shop.example.com/callback/../evil",
            "https://shop.example.com/Callback",
            "https://shop.example.com",
            "",
        ] {
            assert!(!client.allows_redirect(other), "{other}");
        }
    }

    #[test]
    fn a_disabled_client_is_not_found_and_its_origins_are_gone() {
        let clients = Clients::of([client("hc_a"), Client { disabled: true, ..client("hc_b") }]);
        assert!(clients.get("hc_a").is_some() && clients.get("hc_b").is_none());
        assert!(clients.get("hc_c").is_none());
        assert!(clients.is_disabled("hc_b"));
        assert!(!clients.is_disabled("hc_a") && !clients.is_disabled("hc_c"));
        assert!(clients.allows_origin("https://hc_a.example.com"));
        assert!(!clients.allows_origin("https://hc_b.example.com"));
    }
}
