//! A request's body, which must come in time.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{dev::Payload, error::PayloadError, web::Bytes};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{BODY_BYTES_PER_SECOND_MIN, BODY_GRACE, Connection};

/// A body that ends with an error when it is too slow.
pub struct Paced {
    body: Payload,
    /// When its head had come.
    began: Instant,
    timeout: Duration,
    received: u64,
    timer: Option<Pin<Box<Sleep>>>,
    was_too_slow: Rc<Cell<bool>>,
    connection: Option<Arc<Connection>>,
}

impl Paced {
    /// Must come within `timeout`, and at the least rate; tells `was_too_slow` if it does not.
    pub fn new(
        body: Payload,
        timeout: Duration,
        was_too_slow: Rc<Cell<bool>>,
        connection: Option<Arc<Connection>>,
    ) -> Paced {
        let began = Instant::now();
        Paced { body, began, timeout, received: 0, timer: None, was_too_slow, connection }
    }

    /// By when more must have come.
    fn deadline(&self) -> Instant {
        let earned = Duration::from_millis(self.received * 1_000 / BODY_BYTES_PER_SECOND_MIN);
        self.began + (BODY_GRACE + earned).min(self.timeout)
    }

    fn has_ended(&self) {
        if let Some(connection) = &self.connection {
            connection.has_sent_all();
        }
    }
}

impl Stream for Paced {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.body.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.received += bytes.len() as u64;
                return Poll::Ready(Some(Ok(bytes)));
            }
            Poll::Ready(ended) => {
                self.has_ended();
                return Poll::Ready(ended);
            }
            Poll::Pending => {}
        }
        let deadline = self.deadline();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        if timer.poll_unpin(context).is_pending() {
            return Poll::Pending;
        }
        self.was_too_slow.set(true);
        self.has_ended();
        Poll::Ready(Some(Err(PayloadError::Io(io::ErrorKind::TimedOut.into()))))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn paced(chunks: impl Stream<Item = Result<Bytes, PayloadError>> + 'static) -> Paced {
        let body = Payload::Stream { payload: Box::pin(chunks) as Pin<Box<dyn Stream<Item = _>>> };
        Paced::new(body, Duration::from_secs(30), Rc::default(), None)
    }

    #[actix_web::test]
    async fn a_second_is_earned_by_each_kibibyte_up_to_the_deadline_of_the_whole() {
        let mut body = paced(stream::pending());
        let deadline_s = |body: &Paced| (body.deadline() - body.began).as_secs();
        assert_eq!(deadline_s(&body), BODY_GRACE.as_secs());
        body.received = 5 * BODY_BYTES_PER_SECOND_MIN;
        assert_eq!(deadline_s(&body), BODY_GRACE.as_secs() + 5);
        body.received = 60 * BODY_BYTES_PER_SECOND_MIN;
        assert_eq!(deadline_s(&body), 30);
    }

    #[actix_web::test]
    async fn a_body_that_does_not_come_ends_with_an_error_and_says_so() {
        let mut body = paced(stream::pending());
        body.timeout = Duration::ZERO;
        assert!(body.next().await.is_some_and(|chunk| chunk.is_err()));
        assert!(body.was_too_slow.get());
    }

    #[actix_web::test]
    async fn a_body_that_has_come_as_a_whole_needs_no_timer() {
        let mut body = paced(stream::iter([Ok(Bytes::from_static(b"{}"))]));
        assert!(body.next().now_or_never().flatten().is_some());
        assert!(body.next().now_or_never().expect("at once").is_none());
        assert!(body.timer.is_none() && !body.was_too_slow.get());
    }
}
