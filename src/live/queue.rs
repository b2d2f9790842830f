//! A viewer's queue: between the hub, which never waits, and a connection that may.
//!
//! Owns the bound, the coalescing of prices and the decision that a viewer does not read. Must
//! never make the hub wait, and never change the order of what it keeps.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{
    frame::{Form, Frame, KEEP_ALIVE},
    positions::Positions,
};
use crate::domain::id::AuctionId;

/// Frames that may wait for a viewer; past it the viewer is cut.
pub(super) const FRAMES_WAITING_MAX: usize = 64;
/// Frames that may wait before a newer price replaces the older ones.
pub(super) const COALESCE_ABOVE: usize = FRAMES_WAITING_MAX / 2;
/// An empty queue keeps no more room than this, in frames.
const ROOM_KEPT: usize = 4;

/// Where frames wait for one viewer.
pub(super) struct Queue {
    pub form: Form,
    state: Mutex<State>,
}

/// Whether the viewer is still there to be sent anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Waiting,
    /// It was cut, now or before: forget it.
    Gone,
}

struct State {
    /// How the stream begins; sent before anything that waits. Not bounded by
    /// [`FRAMES_WAITING_MAX`]: at most a replay of each auction, in bytes that the topics share.
    beginning: VecDeque<Bytes>,
    waiting: VecDeque<Waiting>,
    waker: Option<Waker>,
    has_ended: bool,
    /// Of a stream of many.
    positions: Option<Positions>,
    /// Since the last keep-alive.
    was_read: bool,
}

struct Waiting {
    bytes: Bytes,
    /// The auction whose price this is, if a newer one may replace it.
    price_of: Option<AuctionId>,
}

impl Queue {
    pub fn new(form: Form) -> Queue {
        let state = State {
            beginning: VecDeque::new(),
            waiting: VecDeque::new(),
            waker: None,
            has_ended: false,
            positions: None,
            was_read: true,
        };
        Queue { form, state: Mutex::new(state) }
    }

    /// Of a stream of these auctions.
    pub fn of_many(auctions: &[AuctionId]) -> Queue {
        let queue = Queue::new(Form::Many);
        queue.state().positions = Some(Positions::new(auctions));
        queue
    }

    /// How far the stream of an auction reaches with all that it was given.
    pub fn reaches(&self, auction: AuctionId, seq: u64) {
        if let Some(positions) = &mut self.state().positions {
            positions.reaches(auction, seq);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds a queue")
    }

    /// More of how the stream begins.
    pub fn begin(&self, frames: impl IntoIterator<Item = Bytes>) {
        let mut state = self.state();
        if !state.has_ended {
            state.beginning.extend(frames);
            state.wake();
        }
    }

    /// An event, or a snapshot.
    pub fn push(&self, frame: &Frame) -> Pushed {
        let (pushed, waker) = self.push_quietly(frame);
        waker.into_iter().for_each(Waker::wake);
        pushed
    }

    /// An event, or a snapshot, and the waker of a connection that waits for it: it hears of
    /// nothing more before that is used.
    pub fn push_quietly(&self, frame: &Frame) -> (Pushed, Option<Waker>) {
        let price_of = frame.is_price.then(|| frame.auction());
        self.put(Waiting { bytes: frame.bytes(self.form), price_of }, Some(frame))
    }

    /// Something that is no event.
    pub fn push_bytes(&self, bytes: Bytes) -> Pushed {
        let (pushed, waker) = self.put(Waiting { bytes, price_of: None }, None);
        waker.into_iter().for_each(Waker::wake);
        pushed
    }

    fn put(&self, frame: Waiting, of: Option<&Frame>) -> (Pushed, Option<Waker>) {
        let mut state = self.state();
        if state.has_ended {
            return (Pushed::Gone, None);
        }
        if state.waiting.len() > COALESCE_ABOVE && frame.price_of.is_some() {
            state.waiting.retain(|older| older.price_of != frame.price_of);
        }
        if state.waiting.len() >= FRAMES_WAITING_MAX {
            state.cut();
            return (Pushed::Gone, None);
        }
        state.waiting.push_back(frame);
        if let (Some(frame), Some(positions)) = (of, &mut state.positions) {
            positions.reaches(frame.auction(), frame.seq);
        }
        (Pushed::Waiting, state.waker.take())
    }

    /// The shared ticker's turn: a comment if nothing else is on its way, and the end for a viewer
    /// that has not read since the last turn although something waits.
    pub fn keep_alive(&self) -> Pushed {
        let mut state = self.state();
        if state.has_ended {
            return Pushed::Gone;
        }
        let was_read = std::mem::replace(&mut state.was_read, false);
        if state.beginning.is_empty() && state.waiting.is_empty() {
            state.waiting.push_back(Waiting { bytes: KEEP_ALIVE, price_of: None });
            state.wake();
        } else if !was_read {
            state.cut();
            return Pushed::Gone;
        }
        Pushed::Waiting
    }

    /// Ends the stream after what waits and a last word.
    pub fn end(&self, last: Bytes) {
        let mut state = self.state();
        if !state.has_ended {
            let positions = state.positions.as_mut().and_then(Positions::say);
            let words = positions.into_iter().chain([last]);
            state.waiting.extend(words.map(|bytes| Waiting { bytes, price_of: None }));
            state.has_ended = true;
            state.wake();
        }
    }

    /// The next frame for the connection; `None` at the end of the stream.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state();
        state.was_read = true;
        if let Some(bytes) = state.take() {
            return Poll::Ready(Some(bytes));
        }
        if state.has_ended {
            return Poll::Ready(None);
        }
        // All that there is has been handed over.
        if let Some(positions) = state.positions.as_mut().and_then(Positions::say) {
            return Poll::Ready(Some(positions));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => state.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl State {
    fn take(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.beginning.pop_front() {
            if self.beginning.is_empty() {
                self.beginning = VecDeque::new();
            }
            return Some(bytes);
        }
        let next = self.waiting.pop_front();
        if self.waiting.is_empty() {
            self.waiting.shrink_to(ROOM_KEPT);
        }
        next.map(|waiting| waiting.bytes)
    }

    /// What it did not read goes at once: the connection may stay for long.
    fn cut(&mut self) {
        self.beginning = VecDeque::new();
        self.waiting = VecDeque::new();
        self.has_ended = true;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::auction::Event,
        live::testing::{NOW, auction, bid, event, seqs},
    };

    fn price(id: u128, seq: u64) -> Frame {
        Frame::event(&bid(auction(id), seq), NOW)
    }

    fn other(id: u128, seq: u64) -> Frame {
        Frame::event(&event(auction(id), seq, "auction.extended"), NOW)
    }

    /// What waits, as sequence numbers, and whether the stream then ends.
    fn drained(queue: &Queue) -> (Vec<u64>, bool) {
        let mut context = Context::from_waker(Waker::noop());
        let mut frames = Vec::new();
        loop {
            match queue.poll(&mut context) {
                Poll::Ready(Some(bytes)) => frames.push(bytes),
                Poll::Ready(None) => return (seqs(&frames), true),
                Poll::Pending => return (seqs(&frames), false),
            }
        }
    }

    #[test]
    fn up_to_half_full_every_price_is_kept() {
        let queue = Queue::new(Form::One);
        for seq in 1..=COALESCE_ABOVE as u64 + 1 {
            assert_eq!(queue.push(&price(1, seq)), Pushed::Waiting);
        }
        let all = (1..=COALESCE_ABOVE as u64 + 1).collect();
        assert_eq!(drained(&queue), (all, false));
    }

    #[test]
    fn above_half_full_the_newest_price_replaces_the_waiting_ones_in_order() {
        let queue = Queue::new(Form::One);
        for seq in 1..=1_000 {
            let frame = if seq % 100 == 0 { other(1, seq) } else { price(1, seq) };
            assert_eq!(queue.push(&frame), Pushed::Waiting);
        }
        assert_eq!(queue.push(&price(1, 1_001)), Pushed::Waiting);
        let (seqs, ended) = drained(&queue);
        assert!(!ended);
        assert!(seqs.is_sorted());
        assert_eq!(seqs.last(), Some(&1_001));
        assert_eq!(seqs.iter().filter(|seq| *seq % 100 == 0).count(), 10);
    }

    #[test]
    fn however_many_prices_come_nothing_but_prices_is_ever_replaced() {
        let others = Event::KINDS.into_iter().filter(|kind| *kind != "bid.placed");
        for (form, kind) in [Form::One, Form::Many]
            .into_iter()
            .flat_map(|form| others.clone().map(move |kind| (form, kind)))
        {
            let queue = Queue::new(form);
            for seq in 1..=COALESCE_ABOVE as u64 + 1 {
                queue.push(&price(1, seq));
            }
            queue.push(&Frame::event(&event(auction(1), 100, kind), NOW));
            for seq in 101..=300 {
                assert_eq!(queue.push(&price(1, seq)), Pushed::Waiting, "{kind}");
            }
            queue.push(&Frame::event(&event(auction(1), 301, kind), NOW));
            let (seqs, _) = drained(&queue);
            assert_eq!(seqs.iter().filter(|seq| [100, 301].contains(seq)).count(), 2, "{kind}");
            assert!(seqs.is_sorted() && seqs.contains(&300), "{kind}: {seqs:?}");
        }
    }

    #[test]
    fn a_price_replaces_no_other_auctions_price() {
        let queue = Queue::new(Form::Many);
        queue.push(&price(2, 7));
        for seq in 1..=500 {
            assert_eq!(queue.push(&price(1, seq)), Pushed::Waiting);
        }
        let (seqs, _) = drained(&queue);
        assert_eq!(seqs.first(), Some(&7));
        assert_eq!(seqs.last(), Some(&500));
    }

    #[test]
    fn who_does_not_read_is_cut_and_costs_nothing_more() {
        let queue = Queue::new(Form::One);
        queue.begin([Bytes::from_static(b"retry: 1\n\n")]);
        for seq in 1..=FRAMES_WAITING_MAX as u64 {
            assert_eq!(queue.push(&other(1, seq)), Pushed::Waiting);
        }
        assert_eq!(queue.push(&other(1, 65)), Pushed::Gone);
        assert_eq!(queue.push(&other(1, 66)), Pushed::Gone);
        assert_eq!(drained(&queue), (vec![], true));
    }

    #[test]
    fn an_emptied_queue_gives_its_room_back() {
        let queue = Queue::new(Form::One);
        for seq in 1..=60 {
            queue.push(&other(1, seq));
        }
        drained(&queue);
        assert!(queue.state().waiting.capacity() <= ROOM_KEPT);
    }

    #[test]
    fn a_keep_alive_goes_where_nothing_waits_and_cuts_who_stopped_reading() {
        let queue = Queue::new(Form::One);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(queue.keep_alive(), Pushed::Waiting);
        assert_eq!(queue.poll(&mut context), Poll::Ready(Some(KEEP_ALIVE)));
        queue.push(&price(1, 1));
        assert_eq!(queue.keep_alive(), Pushed::Waiting);
        assert_eq!(drained(&queue), (vec![1], false));
        queue.push(&price(1, 2));
        assert_eq!(queue.keep_alive(), Pushed::Waiting);
        assert_eq!(queue.keep_alive(), Pushed::Gone);
        assert_eq!(drained(&queue), (vec![], true));
    }

    #[test]
    fn the_end_comes_after_what_waits() {
        let queue = Queue::new(Form::One);
        queue.push(&price(1, 1));
        queue.end(crate::live::frame::retry(5));
        assert_eq!(queue.push(&price(1, 2)), Pushed::Gone);
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(queue.poll(&mut context), Poll::Ready(Some(_))));
        let last = Poll::Ready(Some(Bytes::from_static(b"retry: 5\n\n")));
        assert_eq!(queue.poll(&mut context), last);
        assert_eq!(queue.poll(&mut context), Poll::Ready(None));
    }

    #[test]
    fn a_waiting_connection_is_woken() {
        let queue = Queue::new(Form::One);
        let woken = std::sync::Arc::new(crate::live::testing::Woken::default());
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        assert_eq!(queue.poll(&mut Context::from_waker(&waker)), Poll::Pending);
        queue.push(&price(1, 1));
        queue.push(&price(1, 2));
        assert_eq!(woken.times(), 1);
    }
}
