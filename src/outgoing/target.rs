//! An address that somebody else chose, judged by its text.

use std::fmt;

use url::{Host, Url};

use super::address::is_public;

/// Bytes of an address.
pub const URL_BYTES_MAX: usize = 2_048;
/// From here on ports are nobody's in particular; below it only the web's own are allowed.
const PORT_MIN: u16 = 1_024;
/// Names that mean something in a private network alone.
const PRIVATE_SUFFIXES: [&str; 5] = [".local", ".internal", ".lan", ".home.arpa", ".onion"];

/// An address that bytes may go to. Printed as its origin alone: path and query may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Url);

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`URL_BYTES_MAX`].
    #[error("the URL is too long")]
    TooLong,
    /// Not an absolute URL with a host.
    #[error("this is not a URL")]
    Malformed,
    /// Neither `https`, nor `http` where that is allowed.
    #[error("the URL must begin with https://")]
    Scheme,
    /// User or password in it.
    #[error("the URL must not hold a user or a password")]
    Credentials,
    /// A fragment, which is never sent.
    #[error("the URL must not have a fragment")]
    Fragment,
    /// A port of another service.
    #[error("the port must be 443 or 1024 to 65535")]
    Port,
    /// An address or name of a private network.
    #[error("the host must be public")]
    NotPublic,
}

impl Target {
    /// An address that may be reached; with `loopback` this very machine as well, also by `http`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str, loopback: bool) -> Result<Target, TargetError> {
        if text.len() > URL_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        // The parser would quietly drop what is invisible.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(TargetError::Malformed);
        }
        let target = Target(Url::parse(text).map_err(|_| TargetError::Malformed)?);
        let url = target.url();
        let is_allowed_here = loopback && target.is_loopback();
        match url.scheme() {
            "https" => {}
            "http" if is_allowed_here => {}
            _ => return Err(TargetError::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(TargetError::Fragment);
        }
        match url.port_or_known_default() {
            Some(80 | 443 | PORT_MIN..) if is_allowed_here => {}
            Some(443 | PORT_MIN..) => {}
            Some(_) | None => return Err(TargetError::Port),
        }
        if is_allowed_here || target.is_public() { Ok(target) } else { Err(TargetError::NotPublic) }
    }

    fn is_public(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(ip)) => is_public(ip.into()),
            Some(Host::Ipv6(ip)) => is_public(ip.into()),
            Some(Host::Domain(name)) => {
                let is_whole = name.contains('.') && !name.ends_with('.');
                is_whole
                    && !is_localhost(name)
                    && !PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
            }
            None => false,
        }
    }

    /// Whether it is this very machine.
    pub(super) fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => is_localhost(name),
            None => false,
        }
    }

    /// The name that has to be looked up; none where the address says it itself.
    pub(super) fn name(&self) -> Option<&str> {
        match self.0.host() {
            Some(Host::Domain(name)) => Some(name),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => None,
        }
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// All of it, to be stored. Not for logs.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Scheme, host and port, such as `https://shop.example.com`.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

/// `localhost` and what stands under it.
pub(super) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.origin())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<TargetError> {
        Target::parse(text, false).err()
    }

    #[test]
    fn public_https_is_fine() {
        for url in [
            "https://shop.example.com",
            "https://shop.example.com:8443/hooks?key=1",
            "https://8.8.8.8/",
            "https://[2606:4700:4700::1111]:1024/x",
            "https://한국.example.com/",
        ] {
            assert_eq!(refused(url), None, "{url}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        for (url, error) in [
            ("", TargetError::Malformed),
            ("/hooks", TargetError::Malformed),
            ("https://", TargetError::Malformed),
            ("https://shop.example.com/a\tb", TargetError::Malformed),
            (" https://shop.example.com/", TargetError::Malformed),
            ("http://shop.example.com/", TargetError::Scheme),
            ("ftp://shop.example.com/", TargetError::Scheme),
            ("file:///etc/passwd", TargetError::Scheme),
            ("http://127.0.0.1:9000/", TargetError::Scheme),
            ("https://u@shop.example.com/", TargetError::Credentials),
            ("https://u:p@shop.example.com/", TargetError::Credentials),
            ("https://:p@shop.example.com/", TargetError::Credentials),
            ("https://shop.example.com/#a", TargetError::Fragment),
            ("https://shop.example.com:25/", TargetError::Port),
            ("https://shop.example.com:80/", TargetError::Port),
            ("https://shop.example.com:0/", TargetError::Port),
            ("https://localhost/", TargetError::NotPublic),
            ("https://api.localhost/", TargetError::NotPublic),
            ("https://localhost./", TargetError::NotPublic),
            ("https://shop.example.com./", TargetError::NotPublic),
            ("https://postgres:5432/", TargetError::NotPublic),
            ("https://db.internal/", TargetError::NotPublic),
            ("https://printer.local/", TargetError::NotPublic),
            ("https://127.0.0.1/", TargetError::NotPublic),
            ("https://127.1/", TargetError::NotPublic),
            ("https://2130706433/", TargetError::NotPublic),
            ("https://0x7f000001/", TargetError::NotPublic),
            ("https://0177.0.0.1/", TargetError::NotPublic),
            ("https://169.254.169.254/latest/meta-data", TargetError::NotPublic),
            ("https://10.0.0.1/", TargetError::NotPublic),
            ("https://[::1]/", TargetError::NotPublic),
            ("https://[::ffff:10.0.0.1]/", TargetError::NotPublic),
            ("https://[fd00::1]/", TargetError::NotPublic),
        ] {
            assert_eq!(refused(url), Some(error), "{url}");
        }
        let long = format!("https://shop.example.com/{}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(refused(&long), Some(TargetError::TooLong));
    }

    #[test]
    fn loopback_is_allowed_only_where_it_is_asked_for() {
        let here = |text| Target::parse(text, true).err();
        for url in ["http://127.0.0.1:9000/", "http://localhost/", "https://[::1]:8443/"] {
            assert_eq!(here(url), None, "{url}");
        }
        assert_eq!(here("http://shop.example.com/"), Some(TargetError::Scheme));
        assert_eq!(here("http://10.0.0.1/"), Some(TargetError::Scheme));
        assert_eq!(here("https://10.0.0.1/"), Some(TargetError::NotPublic));
        assert_eq!(here("http://127.0.0.1:25/"), Some(TargetError::Port));
    }

    #[test]
    fn an_address_is_printed_without_what_may_be_secret() {
        let target = Target::parse("https://shop.example.com:8443/hooks/s3cret?key=s3cret", false);
        let target = target.expect("a target");
        assert_eq!(format!("{target} {target:?}").matches("s3cret").count(), 0);
        assert_eq!(target.to_string(), "https://shop.example.com:8443");
    }
}
