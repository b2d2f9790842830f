//! A supervised connection: made again after every failure.
//!
//! While nobody answers at the broker's port, it is knocked at often, for a knock is cheap and
//! readers wait; where the broker answers and says no, pauses grow. A trouble is said once, and again
//! only when it is another one, however often it is tried.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use lapin::{Connection, ErrorKind};

use super::{
    Broker,
    servers::{CONNECT_TIMEOUT, Servers},
};
use crate::{
    events::bus::{BusStanding, PublishError, Trouble},
    tls::{self, TlsFileError},
};

/// Before the second attempt to connect; doubled until [`pause_max`].
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause after a failure that may be over any moment.
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// The longest pause after one that somebody has to mend.
const PAUSE_TO_MEND_MAX: Duration = Duration::from_secs(5);
/// Between two knocks at a port at which nobody answers.
const KNOCK_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked whether an idle connection lives.
pub(super) const LOOKED_AFTER_EVERY: Duration = Duration::from_secs(1);

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    #[error(transparent)]
    File(#[from] TlsFileError),
    #[error("the broker did not answer within {CONNECT_TIMEOUT:?}")]
    Timeout,
    #[error("the connection was lost")]
    Lost,
    #[error("the broker ended the consumer")]
    ConsumerEnded,
    /// Of a broker that is there.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl From<&LinkError> for PublishError {
    fn from(error: &LinkError) -> PublishError {
        match error {
            LinkError::Publish(error) => error.clone(),
            LinkError::Amqp(_)
            | LinkError::File(_)
            | LinkError::Timeout
            | LinkError::Lost
            | LinkError::ConsumerEnded => PublishError::Lost,
        }
    }
}

impl LinkError {
    /// Whether it may be over any moment without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        self.trouble() == Trouble::Unreachable
    }

    /// What to do about it, where TLS failed.
    pub fn advice(&self) -> Option<String> {
        let (roots, identity) = ("HOGA_AMQP_CA_FILE", "HOGA_AMQP_CERT_FILE and HOGA_AMQP_KEY_FILE");
        tls::cause(self).map(|cause| tls::advice(cause, roots, identity))
    }

    fn trouble(&self) -> Trouble {
        match self {
            LinkError::Timeout
            | LinkError::Lost
            | LinkError::ConsumerEnded
            | LinkError::Publish(PublishError::Lost) => Trouble::Unreachable,
            LinkError::Publish(_) => Trouble::Refused,
            LinkError::File(_) => Trouble::Untrusted,
            LinkError::Amqp(error) if tls::cause(error).is_some() => Trouble::Untrusted,
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
const TROUBLES: [Trouble; 6] = [
    Trouble::Connecting,
    Trouble::Unreachable,
    Trouble::Untrusted,
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
    pub fn load(&self) -> BusStanding {
        match self.0.load(Ordering::Acquire) {
            UP => BusStanding::Up,
            no => BusStanding::Down(TROUBLES[usize::from(no) - 1]),
        }
    }

    pub fn up(&self) {
        self.0.store(UP, Ordering::Release);
    }

    pub fn down(&self, trouble: Trouble) {
        let no = TROUBLES.iter().position(|known| *known == trouble).unwrap_or(0) + 1;
        self.0.store(u8::try_from(no).unwrap_or(1), Ordering::Release);
    }
}

/// Where a connection goes, and how it stands.
pub(super) struct Link {
    servers: Servers,
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
        Link { servers: broker.servers.clone(), name, standing, told: None, pause: PAUSE }
    }

    /// Everything is in place to publish. Whether a broker that refused takes anything again is only
    /// known by [`Link::confirmed`].
    pub fn up_unless_refused(&mut self) {
        if self.told != Some(Trouble::Refused) {
            self.up();
        }
    }

    /// The broker took something that was published.
    pub fn confirmed(&mut self) {
        if self.told == Some(Trouble::Refused) {
            self.up();
        }
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

    fn failed(&mut self, at: &str, error: &LinkError, trouble: Trouble) {
        self.standing.down(trouble);
        if self.told.replace(trouble) == Some(trouble) {
            return;
        }
        let connection = self.name;
        let advice = error.advice();
        let error = super::super::delivery::told(error);
        match trouble {
            Trouble::Connecting | Trouble::Unreachable => {
                tracing::warn!(connection, at, error, "RabbitMQ is not there; events wait for it");
            }
            Trouble::Untrusted => tracing::error!(
                connection,
                at,
                error,
                advice,
                "no TLS with RabbitMQ; events wait for it"
            ),
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
            Trouble::Refused | Trouble::LosingEvents => {
                tracing::error!(connection, at, error, "RabbitMQ refuses what it is asked");
            }
        }
    }

    /// Waits before the next attempt.
    async fn pause(&mut self, trouble: Trouble, work: &impl Work) {
        let pause_max = pause_max(trouble);
        tokio::time::sleep(jittered(self.pause.min(pause_max))).await;
        self.pause = (self.pause * 2).min(pause_max);
        while trouble == Trouble::Unreachable
            && !work.is_over()
            && !self.servers.is_one_open().await
        {
            tokio::time::sleep(jittered(KNOCK_EVERY)).await;
        }
    }
}

fn pause_max(trouble: Trouble) -> Duration {
    match trouble {
        Trouble::Connecting | Trouble::Unreachable => PAUSE_MAX,
        Trouble::Untrusted
        | Trouble::AccessRefused
        | Trouble::OtherQueue
        | Trouble::Refused
        | Trouble::LosingEvents => PAUSE_TO_MEND_MAX,
    }
}

/// Up to half less, so that those who lost one broker together do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

/// Connects, works until it fails, and begins again.
pub(super) async fn supervise(mut link: Link, mut work: impl Work) {
    while !work.is_over() {
        let servers = link.servers.clone();
        let (at, error) = match servers.connect(link.name).await {
            Ok(connection) => {
                let error = work.run(&connection, &mut link).await;
                // Politely if it still stands; the broker need not be waited for.
                let closing = connection.close(200, "begins anew".into());
                let _ = tokio::time::timeout(LOOKED_AFTER_EVERY, closing).await;
                (servers.addresses(), error)
            }
            Err(failed) => failed,
        };
        work.lost();
        if work.is_over() {
            return;
        }
        let trouble = error.trouble();
        link.failed(&at, &error, trouble);
        link.pause(trouble, &work).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn of(error: impl Into<LinkError>) -> Trouble {
        error.into().trouble()
    }

    fn amqp(code: u16) -> lapin::Error {
        let error = lapin::protocol::AMQPError::from_id(code, "as it says".into());
        ErrorKind::ProtocolError(error.expect("a code of AMQP")).into()
    }

    #[test]
    fn a_broker_that_went_away_is_not_one_that_refuses() {
        let reset = lapin::Error::from(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(of(reset.clone()), Trouble::Unreachable);
        assert_eq!(PublishError::from(&LinkError::from(reset)), PublishError::Lost);
        assert_eq!(of(PublishError::Lost), Trouble::Unreachable);
        let silent = lapin::Error::from(ErrorKind::MissingHeartbeatError);
        assert_eq!(of(silent), Trouble::Unreachable);
        assert_eq!(of(amqp(320)), Trouble::Unreachable, "it was told to stop");
        for refusal in [PublishError::Unconfirmed, PublishError::Nacked, PublishError::Returned] {
            assert_eq!(of(refusal.clone()), Trouble::Refused);
            assert_eq!(PublishError::from(&LinkError::from(refusal.clone())), refusal);
        }
        assert_eq!(of(amqp(404)), Trouble::Refused);
        assert_eq!(of(amqp(403)), Trouble::AccessRefused);
        assert_eq!(of(amqp(406)), Trouble::OtherQueue);
    }

    #[test]
    fn pauses_are_short_for_what_passes_and_longer_for_what_somebody_must_mend() {
        assert!(pause_max(Trouble::Unreachable) + KNOCK_EVERY <= Duration::from_millis(600));
        assert!(pause_max(Trouble::AccessRefused) >= Duration::from_secs(5));
        for _ in 0..100 {
            let pause = jittered(KNOCK_EVERY);
            assert!(KNOCK_EVERY / 2 <= pause && pause <= KNOCK_EVERY);
        }
    }
}
