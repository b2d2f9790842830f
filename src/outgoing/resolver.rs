//! What a name means at the moment of a connection, as far as it may be reached.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{address::is_public, target::is_localhost};

/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// Asks for the addresses of a name.
pub type Lookup = Arc<
    dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync,
>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Asks the operating system.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// No address of a name may be reached.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to no public address")]
pub(super) struct NotAllowed;

/// A name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name is not known")]
pub(super) struct NameUnknown;

/// Looks names up, and hands out what may be reached.
#[derive(Clone)]
pub(super) struct Resolver {
    lookup: Lookup,
    loopback: bool,
}

impl Resolver {
    pub(super) fn new(lookup: Lookup, loopback: bool) -> Resolver {
        Resolver { lookup, loopback }
    }

    pub(super) fn allows_loopback(&self) -> bool {
        self.loopback
    }

    /// The public addresses of a name. `localhost` is this machine whatever a server of names says,
    /// and no other name is.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, BoxError> {
        if is_localhost(name) {
            if !self.loopback {
                return Err(NotAllowed.into());
            }
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let found = (self.lookup)(name.to_owned()).await.map_err(|_| NameUnknown)?;
        if found.is_empty() {
            return Err(NameUnknown.into());
        }
        let public = found.into_iter().take(ADDRESSES_MAX).filter(|ip| is_public(*ip));
        let public: Vec<IpAddr> = public.collect();
        if public.is_empty() { Err(NotAllowed.into()) } else { Ok(public) }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str()).await?;
            // The port of the URL takes the place of 0.
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            let addresses: Addrs = Box::new(addresses);
            Ok(addresses)
        })
    }
}
