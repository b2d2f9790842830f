//! A viewer: the body of one streaming answer.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;

use super::{frame::Form, queue::Queue, quota::StreamPermit, topic::ViewerNo, viewers::Viewers};
use crate::domain::id::AuctionId;

/// The frames of one stream, ready to be the body of a `text/event-stream`. Dropping it
/// unsubscribes.
pub struct Viewer {
    pub(super) no: ViewerNo,
    pub(super) queue: Arc<Queue>,
    auctions: Vec<AuctionId>,
    viewers: Arc<Viewers>,
    /// Given back after the topics have been left.
    _permit: StreamPermit,
}

impl Viewer {
    pub(super) fn new(
        no: ViewerNo,
        form: Form,
        auctions: Vec<AuctionId>,
        viewers: Arc<Viewers>,
        permit: StreamPermit,
    ) -> Viewer {
        let queue = match form {
            Form::One => Queue::new(form),
            Form::Many => Queue::of_many(&auctions),
        };
        Viewer { no, queue: Arc::new(queue), auctions, viewers, _permit: permit }
    }
}

impl Stream for Viewer {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll(context).map(|next| next.map(Ok))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.viewers.leave(self.no, &self.auctions);
    }
}

impl std::fmt::Debug for Viewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Viewer").field("no", &self.no).finish_non_exhaustive()
    }
}
