//! A supervised connection: made again after every failure, with a pause that grows.
//!
//! A trouble is said once, and again only when it is another one, however often it is tried.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use lapin::{Connection, ConnectionProperties, ErrorKind, uri::AMQPUri};

use super::Broker;
use crate::events::bus::{BusStanding, PublishError, Trouble};

/// No broker takes longer to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two signs of life; two that are missing end the connection. In seconds.
const HEARTBEAT_S: u16 = 10;
/// Before the second attempt to connect; doubled until [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether an idle connection lives.
pub(super) const LOOKED_AFTER_EVERY: Duration = Duration::from_secs(1);

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    #[error("the broker did not answer within {CONNECT_TIMEOUT:?}")]
    Timeout,
    #[error("the connection was lost")]
    Lost,
    #[error("the broker ended the consumer")]
    ConsumerEnded,
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl LinkError {
    fn trouble(&self) -> Trouble {
        match self {
            LinkError::Timeout | LinkError::Lost | LinkError::ConsumerEnded => Trouble::Unreachable,
            LinkError::Publish(_) => Trouble::Refused,
            LinkError::Amqp(error) => {
                let ErrorKind::ProtocolError(error) = error.kind() else {
                    return Trouble::Unreachable;
                };
                // By the numbers of AMQP 0-9-1.
                match error.kind().get_id() {
                    403 | 530 => Trouble::AccessRefused,
                    405 | 406 => Trouble::OtherQueue,
                    320 => Trouble::Unreachable,
                    _ => Trouble::Refused,
                }
            }
        }
    }
}

/// How a link stands, to be read from anywhere.
pub(super) struct Standing(AtomicU8);

const UP: u8 = 0;
const TROUBLES: [Trouble; 5] = [
    Trouble::Connecting,
    Trouble::Unreachable,
    Trouble::AccessRefused,
    Trouble::OtherQueue,
    Trouble::Refused,
];

impl Default for Standing {
    fn default() -> Standing {
        Standing(AtomicU8::new(1))
    }
}

impl Standing {
    pub fn load(&self, ordering: Ordering) -> BusStanding {
        match self.0.load(ordering) {
            UP => BusStanding::Up,
            no => BusStanding::Down(TROUBLES[usize::from(no) - 1]),
        }
    }

    fn up(&self) {
        self.0.store(UP, Ordering::Release);
    }

    fn down(&self, trouble: Trouble) {
        let no = TROUBLES.iter().position(|known| *known == trouble).unwrap_or(0) + 1;
        self.0.store(u8::try_from(no).unwrap_or(1), Ordering::Release);
    }
}

/// Where a connection goes, and how it stands.
pub(super) struct Link {
    uri: AMQPUri,
    name: &'static str,
    standing: Arc<Standing>,
    told: Option<Trouble>,
    pause: Duration,
}

/// What is done over a connection until it fails.
pub(super) trait Work: Send + 'static {
    /// Works; `up` is to be called once everything is in place.
    fn run(
        &mut self,
        connection: &Connection,
        link: &mut Link,
    ) -> impl Future<Output = LinkError> + Send;

    /// There is no connection any more, or none could be made.
    fn lost(&mut self) {}

    /// Whether nobody needs it any more.
    fn is_over(&self) -> bool {
        false
    }
}

impl Link {
    pub fn new(broker: &Broker, name: &'static str, standing: Arc<Standing>) -> Link {
        Link { uri: broker.uri.clone(), name, standing, told: None, pause: PAUSE }
    }

    /// Everything is in place.
    pub fn up(&mut self) {
        self.pause = PAUSE;
        self.standing.up();
        let name = self.name;
        if self.told.take().is_some() {
            tracing::info!(connection = name, "connected to RabbitMQ again");
        } else {
            tracing::debug!(connection = name, "connected to RabbitMQ");
        }
    }

    fn failed(&mut self, error: &LinkError) {
        let trouble = error.trouble();
        self.standing.down(trouble);
        if self.told.replace(trouble) == Some(trouble) {
            return;
        }
        let (connection, at) = (self.name, address(&self.uri));
        let error = super::super::delivery::told(error);
        match trouble {
            Trouble::Connecting | Trouble::Unreachable => {
                tracing::warn!(connection, at, error, "RabbitMQ is not there; events wait for it");
            }
            Trouble::AccessRefused => tracing::error!(
                connection,
                at,
                error,
                "RabbitMQ refuses the user, the password or the virtual host of HOGA_AMQP_URL"
            ),
            Trouble::OtherQueue => tracing::error!(
                connection,
                at,
                error,
                "RabbitMQ has a queue or exchange of that name which is another one: \
                 delete it there, or set HOGA_AMQP_PREFIX"
            ),
            Trouble::Refused => {
                tracing::error!(connection, at, error, "RabbitMQ refuses what it is asked");
            }
        }
    }
}

/// Host and port, without user and password.
fn address(uri: &AMQPUri) -> String {
    format!("{}:{}", uri.authority.host, uri.authority.port)
}

pub(super) async fn connect(uri: &AMQPUri, name: &str) -> Result<Connection, LinkError> {
    let mut uri = uri.clone();
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connecting = Connection::connect_uri(uri, properties);
    Ok(tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| LinkError::Timeout)??)
}

/// Connects, works until it fails, and begins again.
pub(super) async fn supervise(mut link: Link, mut work: impl Work) {
    while !work.is_over() {
        let error = match connect(&link.uri, link.name).await {
            Ok(connection) => {
                let error = work.run(&connection, &mut link).await;
                // Politely if it still stands; the broker need not be waited for.
                let closing = connection.close(200, "begins anew".into());
                let _ = tokio::time::timeout(LOOKED_AFTER_EVERY, closing).await;
                error
            }
            Err(error) => error,
        };
        work.lost();
        if work.is_over() {
            return;
        }
        link.failed(&error);
        tokio::time::sleep(link.pause).await;
        link.pause = (link.pause * 2).min(PAUSE_MAX);
    }
}
