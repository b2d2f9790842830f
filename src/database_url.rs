//! Where Postgres is and how to connect to it, as `HOGA_DATABASE_URL` says: a URL, or `key=value`
//! pairs, with libpq's meaning. `tokio_postgres` reads all but the settings of TLS, which are read
//! here.
//!
//! Must never print a password.

use std::{fmt, path::PathBuf, sync::Arc, sync::atomic::AtomicUsize};

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::tls::{ClientTls, Identity, Roots, Verification};

/// Where Postgres is. Printed without its password.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// Everything but TLS; its `ssl_mode` says whether TLS is spoken, and whether it must be.
    pub postgres: tokio_postgres::Config,
    /// How TLS is spoken; without it never.
    pub tls: Option<ClientTls>,
    /// Whether nothing can stand between, as before the private cluster.
    pub is_private: bool,
    /// Which of several hosts took writes last: it is asked first. Shared by all clones.
    pub writable: Arc<AtomicUsize>,
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({:?})", self.postgres.get_dbname())
    }
}

impl From<tokio_postgres::Config> for DatabaseUrl {
    /// Over a socket or a network that nobody else is on: without TLS.
    fn from(mut postgres: tokio_postgres::Config) -> DatabaseUrl {
        postgres.ssl_mode(SslMode::Disable);
        DatabaseUrl { postgres, tls: None, is_private: true, writable: Arc::default() }
    }
}

/// Parameters of libpq that change nothing here, or nothing with this value.
const PASSED_OVER: &[(&str, &[&str])] = &[
    ("gssencmode", &["disable", "prefer"]),
    ("sslcompression", &["0"]),
    ("sslsni", &["1"]),
    ("client_encoding", &["UTF8", "utf8", "UTF-8", "utf-8", "auto"]),
];

/// Parameters of libpq that are refused by their name; others may be a part of a password that was
/// not encoded, and are not repeated.
const UNSUPPORTED: &[&str] = &[
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "hostaddr",
    "keepalives_count",
    "krbsrvname",
    "load_balance_hosts",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslnegotiation",
    "sslpassword",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// How much TLS, as libpq names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What is said of TLS, before it is judged as a whole.
#[derive(Default)]
struct TlsWords {
    mode: Option<Mode>,
    roots: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl DatabaseUrl {
    /// From a URL or from `key=value` pairs.
    ///
    /// # Errors
    /// What must hold instead, without a word of what was given.
    pub fn parse(text: &str) -> Result<DatabaseUrl, String> {
        let malformed = || {
            "must be a Postgres URL, such as postgres://user:password@host:5432/hoga; in it, \
             characters such as @ / ? % of a password are written %40 %2F %3F %25"
                .to_owned()
        };
        let (before, pairs) = parts(text).ok_or_else(malformed)?;
        let (mut words, mut left) = (TlsWords::default(), Vec::new());
        for (key, value) in pairs {
            if !words.take(&key, &value)? && !is_passed_over(&key, &value) {
                left.push((key, value));
            }
        }
        let unsupported = left.iter().find_map(|(key, value)| unsupported(key, value));
        let rest = match before {
            Some(before) => url_of(before, &left),
            None => words_of(&left),
        };
        let parsed = rest.parse::<tokio_postgres::Config>();
        let mut postgres = parsed.map_err(|_| unsupported.unwrap_or_else(malformed))?;
        if postgres.get_hosts().is_empty() {
            return Err("must name a host".to_owned());
        }
        let (mode, tls) = words.judge()?;
        // libpq speaks no TLS over a socket of this machine either, whatever it is asked for.
        let is_local = postgres.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let tls = tls.filter(|_| !is_local);
        postgres.ssl_mode(match (&tls, mode) {
            (None, _) => SslMode::Disable,
            (Some(_), Mode::Prefer | Mode::Disable) => SslMode::Prefer,
            (Some(_), Mode::Require | Mode::VerifyCa | Mode::VerifyFull) => SslMode::Require,
        });
        Ok(DatabaseUrl { postgres, tls, is_private: false, writable: Arc::default() })
    }

    /// How many hosts may be tried.
    pub fn hosts(&self) -> usize {
        self.postgres.get_hosts().len()
    }

    /// Whether a host must take writes.
    pub fn must_take_writes(&self) -> bool {
        self.postgres.get_target_session_attrs() == TargetSessionAttrs::ReadWrite
    }
}

impl TlsWords {
    /// Whether it was one of these.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, String> {
        let own = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        match key {
            "sslmode" => {
                self.mode = Some(match value {
                    "disable" => Mode::Disable,
                    "prefer" => Mode::Prefer,
                    "require" => Mode::Require,
                    "verify-ca" => Mode::VerifyCa,
                    "verify-full" => Mode::VerifyFull,
                    _ => {
                        let problem = "has an sslmode that is none of disable, prefer, require, \
                                       verify-ca and verify-full";
                        return Err(problem.to_owned());
                    }
                });
            }
            "sslrootcert" => self.roots = own(value),
            "sslcert" => self.certificate = own(value),
            "sslkey" => self.key = own(value),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn judge(self) -> Result<(Mode, Option<ClientTls>), String> {
        let identity = match (self.certificate, self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                Some(Identity { certificate: certificate.into(), key: key.into() })
            }
            (Some(_), None) => return Err("has an sslcert without an sslkey".to_owned()),
            (None, Some(_)) => return Err("has an sslkey without an sslcert".to_owned()),
        };
        let roots = self.roots.map(|roots| match roots.as_str() {
            "system" => Roots::System,
            file => Roots::File(PathBuf::from(file)),
        });
        let mode = match (self.mode, &roots) {
            (None | Some(Mode::VerifyFull), Some(Roots::System)) => Mode::VerifyFull,
            (Some(_), Some(Roots::System)) => {
                let problem = "has sslrootcert=system with a weak sslmode: anybody can get a \
                               certificate from these roots, so set sslmode=verify-full";
                return Err(problem.to_owned());
            }
            (mode, Some(Roots::File(_)) | None) => mode.unwrap_or(Mode::Prefer),
        };
        let verification = match (mode, roots) {
            (Mode::Disable, _) => return Ok((mode, None)),
            (Mode::Prefer | Mode::Require, None) => Verification::Nothing,
            (Mode::Prefer | Mode::Require | Mode::VerifyCa, Some(roots)) => {
                Verification::Chain(roots)
            }
            (Mode::VerifyFull, Some(roots)) => Verification::ChainAndHost(roots),
            (Mode::VerifyCa | Mode::VerifyFull, None) => {
                let problem = "asks for a certificate to be verified and does not say by what: set \
                               sslrootcert to the file of the authority that signed it, or to \
                               system";
                return Err(problem.to_owned());
            }
        };
        let tls = ClientTls { verification, identity };
        // Now, so that a wrong file is told of at the start.
        tls.tried()?;
        Ok((mode, Some(tls)))
    }
}

fn is_passed_over(key: &str, value: &str) -> bool {
    PASSED_OVER.iter().any(|(name, values)| *name == key && values.contains(&value))
}

/// What is said if the whole cannot be read, and this is a parameter of libpq.
fn unsupported(key: &str, value: &str) -> Option<String> {
    let known = UNSUPPORTED.iter().find(|known| **known == key)?;
    let mut config = tokio_postgres::Config::new();
    config.host("h");
    let reads = format!("{key}={}", quoted(value)).parse::<tokio_postgres::Config>().is_ok();
    (!reads).then(|| format!("has a {known} that Hoga does not support"))
}

/// What stands before the parameters of a URL (nothing where it is no URL), and the parameters,
/// decoded.
#[expect(clippy::type_complexity, reason = "two parts of a text")]
fn parts(text: &str) -> Option<(Option<&str>, Vec<(String, String)>)> {
    let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
    if !is_url {
        return (!text.contains("://")).then(|| Some((None, words(text)?))).flatten();
    }
    // A password may hold a question mark.
    let host_at = text.find('@').unwrap_or(0);
    let Some(at) = text[host_at..].find('?').map(|at| host_at + at) else {
        return Some((Some(text), Vec::new()));
    };
    let (before, parameters) = (&text[..at], &text[at + 1..]);
    if parameters.split('&').any(|pair| !pair.is_empty() && !pair.contains('=')) {
        return None;
    }
    // libpq takes a plus for what it is.
    let parameters = parameters.replace('+', "%2B");
    let pairs = form_urlencoded::parse(parameters.as_bytes());
    Some((Some(before), pairs.map(|(k, v)| (k.into_owned(), v.into_owned())).collect()))
}

fn url_of(before: &str, pairs: &[(String, String)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    format!("{before}?{}", query.finish().replace('+', "%20"))
}

/// `key=value` pairs, whose values may be quoted and hold escaped characters.
fn words(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let is_quoted = after.starts_with('\'');
        let (mut value, mut characters) = (String::new(), after.char_indices());
        if is_quoted {
            characters.next();
        }
        let mut end = (!is_quoted).then_some(after.len());
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => value.push(characters.next()?.1),
                '\'' if is_quoted => {
                    end = Some(at + 1);
                    break;
                }
                space if !is_quoted && space.is_whitespace() => {
                    end = Some(at);
                    break;
                }
                plain => value.push(plain),
            }
        }
        pairs.push((key.trim_end().to_owned(), value));
        rest = after[end?..].trim_start();
    }
    Some(pairs)
}

fn words_of(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    pairs.join(" ")
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> DatabaseUrl {
        DatabaseUrl::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"))
    }

    /// A folder with a root, and a client's certificate with its key.
    fn files() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["h".to_owned()]).expect("a certificate");
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(path, mode).expect("closed");
        };
        write("ca.pem", made.cert.pem());
        write("key.pem", made.signing_key.serialize_pem());
        let other = rcgen::KeyPair::generate().expect("a key");
        write("other-key.pem", other.serialize_pem());
        folder
    }

    #[test]
    fn both_forms_say_the_same_with_the_meaning_of_libpq() {
        let folder = files();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (ca, key) = (file("ca.pem"), file("key.pem"));
        let of = |parameters: &[(&str, &str)]| {
            let pairs: Vec<String> = parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let url = read(&format!("postgres://u:p@h:5433/db?{}", pairs.join("&")));
            let words = read(&format!(
                "host=h port=5433 user=u password=p dbname=db {}",
                words_of(
                    &parameters
                        .iter()
                        .map(|(k, v)| (k.to_string(), v.to_string()))
                        .collect::<Vec<_>>()
                )
            ));
            assert_eq!(url.postgres, words.postgres);
            assert_eq!(url.tls, words.tls);
            assert_eq!(url.postgres.get_ports(), [5433]);
            (url.postgres.get_ssl_mode(), url.tls.map(|tls| tls.verification))
        };
        let root = || Roots::File(ca.clone().into());
        let (unverified, chain) = (Verification::Nothing, Verification::Chain(root()));
        let whole = Verification::ChainAndHost(root());
        assert_eq!(of(&[]), (SslMode::Prefer, Some(unverified.clone())));
        assert_eq!(of(&[("sslmode", "disable")]), (SslMode::Disable, None));
        assert_eq!(of(&[("sslmode", "require")]), (SslMode::Require, Some(unverified)));
        for mode in ["require", "verify-ca"] {
            let read = of(&[("sslmode", mode), ("sslrootcert", &ca)]);
            assert_eq!(read, (SslMode::Require, Some(chain.clone())), "{mode}");
        }
        let full = of(&[("sslmode", "verify-full"), ("sslrootcert", &ca)]);
        assert_eq!(full, (SslMode::Require, Some(whole)));
        let identity = [("sslcert", ca.as_str()), ("sslkey", &key), ("sslmode", "require")];
        assert_eq!(of(&identity).0, SslMode::Require);
        let system = read("postgres://h/db?sslrootcert=system").tls.expect("it is spoken");
        assert_eq!(system.verification, Verification::ChainAndHost(Roots::System));
    }

    #[test]
    fn what_is_not_about_tls_stays_as_it_was() {
        let url = read(
            "postgresql://u%40x:p%3Fq%2Bz@one:5433,two,[::1]:7/db?target_session_attrs=read-write\
             &options=-c%20geqo%3Doff&application_name=a+b&gssencmode=disable",
        );
        assert_eq!(url.postgres.get_user(), Some("u@x"));
        assert_eq!(url.postgres.get_password(), Some(&b"p?q+z"[..]));
        assert_eq!(url.postgres.get_options(), Some("-c geqo=off"));
        assert_eq!(url.postgres.get_application_name(), Some("a+b"));
        assert_eq!(url.postgres.get_ports(), [5433, 5432, 7]);
        assert_eq!(url.hosts(), 3);
        assert!(url.must_take_writes());
        let words = read(r"host=h user=u password='it\'s \\ a =b' dbname = db");
        assert_eq!(words.postgres.get_password(), Some(&br"it's \ a =b"[..]));
        let socket = read("postgresql:///db?host=%2Frun%2Fpg&sslmode=require&user=u");
        assert_eq!((socket.postgres.get_ssl_mode(), socket.tls), (SslMode::Disable, None));
        assert!(!format!("{url:?}").contains("p?q"));
    }

    #[test]
    fn what_cannot_be_used_is_told_without_the_password() {
        let folder = files();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (ca, key, other) = (file("ca.pem"), file("key.pem"), file("other-key.pem"));
        let none = file("none.pem");
        let open = file("open.pem");
        std::fs::copy(&key, &open).expect("copied");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&open, mode).expect("opened");
        let refused = |parameters: &str, says: &str| {
            let text = format!("postgres://u:secret@h/db?{parameters}");
            let problem = DatabaseUrl::parse(&text).expect_err(&text);
            assert!(problem.contains(says), "{problem}");
            assert!(!problem.contains("secret") && !problem.contains("BEGIN"), "{problem}");
        };
        refused("sslmode=allow", "none of disable, prefer, require");
        refused("sslmode=verify-full", "set sslrootcert");
        refused("sslmode=require&sslrootcert=system", "sslmode=verify-full");
        refused(&format!("sslrootcert={none}"), "none.pem cannot be read");
        refused(&format!("sslrootcert={key}"), "key.pem holds no certificate");
        refused(&format!("sslcert={ca}"), "without an sslkey");
        refused(&format!("sslkey={key}"), "without an sslcert");
        refused(&format!("sslcert={ca}&sslkey={ca}"), "ca.pem holds no private key");
        refused(&format!("sslcert={ca}&sslkey={other}"), "does not go with the certificate");
        refused(&format!("sslcert={ca}&sslkey={open}"), "chmod 600");
        refused("sslcrl=x", "has a sslcrl that Hoga does not support");
        refused("target_session_attrs=standby", "target_session_attrs");
        refused("secret=1", "must be a Postgres URL");
        assert!(DatabaseUrl::parse("mysql://x").is_err());
        assert!(DatabaseUrl::parse("dbname=db").is_err(), "it names no host");
    }
}
