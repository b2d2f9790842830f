//! The servers of a broker, one of which is connected to, over TLS or not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties,
    tcp::RustlsConnector,
    uri::{AMQPScheme, AMQPUri},
};

use super::link::LinkError;
use crate::tls::ClientTls;

/// No server takes longer to take a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two signs of life; two that are missing end the connection. In seconds.
const HEARTBEAT_S: u16 = 10;
/// No knock waits longer for an answer.
const KNOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Servers that stand for each other.
#[derive(Clone)]
pub struct Servers {
    uris: Arc<[AMQPUri]>,
    tls: ClientTls,
    /// Which one is asked first the next time.
    next: Arc<AtomicUsize>,
}

impl Servers {
    /// These, of which there is at least one; `tls` is for those whose scheme is `amqps`. The first
    /// connection begins at any of them, the next one at the one after it: so many clients spread
    /// over all of them.
    pub fn new(uris: Vec<AMQPUri>, tls: ClientTls) -> Servers {
        let next = rand::random_range(0..uris.len().max(1));
        Servers { uris: uris.into(), tls, next: Arc::new(AtomicUsize::new(next)) }
    }

    fn in_turn(&self) -> impl Iterator<Item = &AMQPUri> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..self.uris.len()).map(move |n| &self.uris[(first + n) % self.uris.len()])
    }

    /// Connects to the first that takes us. The error is that of one that somebody has to mend, if
    /// there is one, with its address.
    pub(super) async fn connect(&self, name: &str) -> Result<Connection, (String, LinkError)> {
        let mut failed: Option<(String, LinkError)> = None;
        for uri in self.in_turn() {
            let connecting = connect(uri, &self.tls, name);
            let error = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => error,
                Err(_) => LinkError::Timeout,
            };
            if failed.as_ref().is_none_or(|(_, before)| before.may_pass()) {
                failed = Some((address(uri), error));
            }
        }
        Err(failed.unwrap_or_else(|| (String::new(), LinkError::Lost)))
    }

    /// Whether anybody listens where one of them should be.
    pub(super) async fn is_one_open(&self) -> bool {
        let knocks = self.uris.iter().map(|uri| async move {
            let to = (uri.authority.host.as_str(), uri.authority.port);
            let knock = tokio::net::TcpStream::connect(to);
            matches!(tokio::time::timeout(KNOCK_TIMEOUT, knock).await, Ok(Ok(_)))
        });
        futures_util::future::join_all(knocks).await.contains(&true)
    }

    /// Hosts and ports, without user and password.
    pub(super) fn addresses(&self) -> String {
        self.uris.iter().map(address).collect::<Vec<_>>().join(", ")
    }
}

fn address(uri: &AMQPUri) -> String {
    format!("{}:{}", uri.authority.host, uri.authority.port)
}

async fn connect(uri: &AMQPUri, tls: &ClientTls, name: &str) -> Result<Connection, LinkError> {
    let mut uri = uri.clone();
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    if matches!(uri.scheme, AMQPScheme::AMQP) {
        return Ok(Connection::connect_uri(uri, properties).await?);
    }
    let connector = RustlsConnector::from(tls.client_config()?);
    let speak = async move |uri: AMQPUri, runtime: Runtime| {
        let to = runtime.to_socket_addrs((uri.authority.host.clone(), uri.authority.port));
        let plain = AsyncTcpStream::connect(&runtime, to).await?;
        Ok(plain.into_rustls(&connector, &uri.authority.host).await?)
    };
    Ok(Connection::connector(uri, Runtime::tokio_current(), speak, properties).await?)
}

type Runtime = async_rs::TokioRuntime;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Verification;

    #[test]
    fn each_connection_is_tried_at_every_server_beginning_at_the_one_after_the_last() {
        let uris = [1, 2, 3].map(|port| format!("amqp://h:{port}/%2f").parse().expect("a URI"));
        let tls = ClientTls { verification: Verification::Nothing, identity: None };
        let servers = Servers::new(uris.into(), tls);
        let tried = || servers.in_turn().map(|uri| uri.authority.port).collect::<Vec<_>>();
        let mut expected = tried();
        for _ in 0..6 {
            expected.rotate_left(1);
            assert_eq!(tried(), expected);
        }
        expected.sort_unstable();
        assert_eq!(expected, [1, 2, 3]);
    }
}
