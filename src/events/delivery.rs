//! How a durable consumer is offered events: again and again, but a single bad one is put aside.

use std::time::Duration;

use super::{
    bus::{BoxFuture, Consumer, TakeError},
    envelope::Envelope,
};
use crate::store::StoreError;

/// How often an event is offered that the consumer refuses; then it is put aside.
pub const TRIES_MAX: u32 = 5;
/// No consumer takes longer for what it is offered at once.
pub const TAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Before the second try; doubled for each one after it.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause before a consumer looks again for what it missed.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Puts an event aside, durably, with what the consumer said.
pub(super) trait Undertaker: Send + Sync {
    type Error: Send;

    fn bury<'a>(
        &'a self,
        event: &'a Envelope,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), Self::Error>>;
}

/// Why a delivery has to be begun again.
#[derive(Debug)]
pub(super) enum Undelivered<E> {
    /// The consumer is not able to take anything at present.
    Consumer(TakeError),
    /// An event could not be put aside.
    Burial(E),
}

/// Has the consumer take all of these, except those that it cannot: they are put aside.
pub(super) async fn deliver<U: Undertaker>(
    consumer: &dyn Consumer,
    events: &[Envelope],
    undertaker: &U,
) -> Result<(), Undelivered<U::Error>> {
    match offer(consumer, events).await {
        Ok(()) => return Ok(()),
        Err(error) if error.will_pass() => return Err(Undelivered::Consumer(error)),
        Err(_) => {}
    }
    for event in events {
        let Err(reason) = insist(consumer, event).await? else { continue };
        let name = consumer.name();
        tracing::error!(consumer = name, event = event.id(), reason, "an event is put aside");
        metrics::counter!("hoga_bus_dead_letters_total").increment(1);
        undertaker.bury(event, &reason).await.map_err(Undelivered::Burial)?;
    }
    Ok(())
}

/// Offers one event some times; the inner error is what the consumer said at last.
async fn insist<E>(
    consumer: &dyn Consumer,
    event: &Envelope,
) -> Result<Result<(), String>, Undelivered<E>> {
    let mut pause = PAUSE;
    let mut tries = 1;
    loop {
        match offer(consumer, std::slice::from_ref(event)).await {
            Ok(()) => return Ok(Ok(())),
            Err(error) if error.will_pass() => return Err(Undelivered::Consumer(error)),
            Err(error) if tries == TRIES_MAX => return Ok(Err(told(&error))),
            Err(_) => {}
        }
        tries += 1;
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Tells a consumer that it may have missed events, until it has seen to it. What will not pass is
/// said, and does not keep it from what comes.
pub(super) async fn tell_of_loss(consumer: &dyn Consumer) {
    let (mut pause, mut is_failing) = (PAUSE, false);
    while let Err(error) = consumer.may_have_missed().await {
        // What takes too long is no fault of an event that could be put aside: it goes on from where
        // it was.
        let will_pass = error.will_pass() || matches!(error, TakeError::Store(StoreError::Busy));
        let (name, error) = (consumer.name(), told(&error));
        if !will_pass {
            tracing::error!(consumer = name, error, "what a consumer missed cannot be looked for");
            return;
        }
        if !std::mem::replace(&mut is_failing, true) {
            tracing::warn!(consumer = name, error, "a consumer cannot look yet for what it missed");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_PAUSE_MAX);
    }
}

async fn offer(consumer: &dyn Consumer, events: &[Envelope]) -> Result<(), TakeError> {
    let taken = tokio::time::timeout(TAKE_TIMEOUT, consumer.take(events)).await;
    taken.unwrap_or_else(|_| Err(TakeError::Refused("it took too long".to_owned())))
}

/// An error with its causes.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Looks for what it missed, and is interrupted a few times.
    #[derive(Default)]
    struct Interrupted {
        looks: AtomicU32,
    }

    impl Consumer for Interrupted {
        fn take<'a>(&'a self, _: &'a [Envelope]) -> BoxFuture<'a, Result<(), TakeError>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn may_have_missed(&self) -> BoxFuture<'_, Result<(), TakeError>> {
            let looked = match self.looks.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Err(TakeError::Store(StoreError::Busy)),
                _ => Ok(()),
            };
            Box::pin(std::future::ready(looked))
        }

        fn name(&self) -> &'static str {
            "interrupted"
        }
    }

    #[tokio::test]
    async fn a_look_for_what_was_missed_that_takes_too_long_is_not_given_up() {
        let consumer = Interrupted::default();
        tell_of_loss(&consumer).await;
        assert_eq!(consumer.looks.into_inner(), 3);
    }
}
