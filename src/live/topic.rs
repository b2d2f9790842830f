//! A topic: the events of one auction for those who watch it.
//!
//! Owns how far the topic has got, the frames that viewers may still need, and who gets the next
//! one. Pure of I/O: the hub says what happened and what the log holds. Must never hand a viewer an
//! event twice, or one beyond a gap.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    frame::{Frame, Reset, reset},
    queue::{Pushed, Queue},
    reads::Standing,
};
use crate::{
    domain::{id::AuctionId, time::Timestamp},
    events::envelope::Envelope,
};

/// Frames that a topic remembers of what went by.
pub(super) const FRAMES_REMEMBERED_MAX: usize = 256;
/// Bytes of those frames; the newest one is remembered whatever its size.
pub(super) const BYTES_REMEMBERED_MAX: usize = 1 << 20;
/// Bytes of events that a viewer may have missed and still be told one by one.
pub(super) const BYTES_REPLAYED_MAX: usize = 4 << 20;
/// Bytes of frames that a topic holds between two sweeps, a replay included.
const BYTES_HELD_MAX: usize = BYTES_REMEMBERED_MAX + BYTES_REPLAYED_MAX;
/// Events that a viewer may have missed and still be told one by one.
pub(super) const EVENTS_REPLAYED_MAX: u64 = 1_000;
/// How long a topic that nobody watches stays, for viewers that come back.
pub(super) const KEPT_UNWATCHED: Duration = Duration::from_secs(60);

/// Names a viewer within the process.
pub(super) type ViewerNo = u64;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// Sent to so many viewers.
    Taken(usize),
    /// Known already, or to be read from the log.
    Passed,
    /// Events before it are missing. From now on the topic passes everything, until what the log
    /// holds has been caught up with: [`Topic::behind`], [`Topic::caught_up`].
    Gap,
}

/// See the module.
pub(super) struct Topic {
    id: AuctionId,
    /// The last event that the topic has; unknown until the first event or the first viewer.
    head: Option<u64>,
    /// A viewer that has everything up to here can be given the rest from `remembered`.
    base: u64,
    /// Frames after `base` up to `head`, in order. A price may stand for those before it.
    remembered: VecDeque<Arc<Frame>>,
    bytes_remembered: usize,
    viewers: HashMap<ViewerNo, TopicViewer>,
    /// The newest event heard of while catching up.
    heard: u64,
    is_catching_up: bool,
    /// The bus lost events after the log was last asked: what it answered may lack them.
    lost_since_read: bool,
    /// The newest event that the bus has brought; 0 if none.
    brought: u64,
    watched_until: Instant,
    /// While a storm is told: those who are to be woken, instead of waking them.
    to_wake: Option<Vec<Waker>>,
}

struct TopicViewer {
    queue: Arc<Queue>,
    /// The last event that the viewer has; `None` while it is joining, when it gets nothing yet.
    has: Option<u64>,
}

impl Topic {
    pub fn new(id: AuctionId) -> Topic {
        Topic {
            id,
            head: None,
            base: 0,
            remembered: VecDeque::new(),
            bytes_remembered: 0,
            viewers: HashMap::new(),
            heard: 0,
            is_catching_up: false,
            lost_since_read: false,
            brought: 0,
            watched_until: Instant::now(),
            to_wake: None,
        }
    }

    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// The last event that the topic has, once it knows.
    pub fn head(&self) -> Option<u64> {
        self.head
    }

    /// The newest event that the bus has brought; 0 if none.
    pub fn brought(&self) -> u64 {
        self.brought
    }

    /// A viewer is about to join: from now on nothing that it could need is forgotten silently.
    pub fn enter(&mut self, no: ViewerNo, queue: Arc<Queue>) {
        self.viewers.insert(no, TopicViewer { queue, has: None });
    }

    pub fn leave(&mut self, no: ViewerNo, now: Instant) {
        if self.viewers.remove(&no).is_some() {
            self.watched_until = now;
        }
    }

    /// Whether the topic can go: nobody watches, and nobody did for a while or ever.
    pub fn is_over(&self, now: Instant) -> bool {
        let is_stale = now.saturating_duration_since(self.watched_until) >= KEPT_UNWATCHED;
        self.viewers.is_empty() && (self.head.is_none() || is_stale)
    }

    /// From now on nobody is woken, until [`Topic::take_to_wake`].
    pub fn hold_wakers(&mut self) {
        self.to_wake.get_or_insert_default();
    }

    /// Those who have something waiting and do not know yet.
    pub fn take_to_wake(&mut self) -> Vec<Waker> {
        self.to_wake.take().unwrap_or_default()
    }

    /// An event from the bus. A superseded one is a price that a newer event of the same round
    /// says better: it is passed over, but not missing.
    pub fn offer(&mut self, event: &Envelope, is_superseded: bool, now: Timestamp) -> Offered {
        self.brought = self.brought.max(event.seq);
        if self.is_catching_up {
            self.heard = self.heard.max(event.seq);
            return Offered::Passed;
        }
        let head = *self.head.get_or_insert_with(|| {
            self.base = event.seq.saturating_sub(1);
            self.base
        });
        if event.seq <= head {
            return Offered::Passed;
        }
        if event.seq > head + 1 {
            self.heard = event.seq;
            self.is_catching_up = true;
            return Offered::Gap;
        }
        Offered::Taken(self.take(event, is_superseded, now))
    }

    fn take(&mut self, event: &Envelope, is_superseded: bool, now: Timestamp) -> usize {
        self.head = Some(event.seq);
        if is_superseded {
            return 0;
        }
        let frame = Arc::new(Frame::event(event, now));
        let sent = self.send(&frame);
        self.bytes_remembered += frame.len();
        self.remembered.push_back(frame);
        // One that a viewer needed once may be needed again; the sweep takes the rest.
        if self.remembers_too_much() {
            self.forget_oldest();
        }
        while self.bytes_remembered > BYTES_HELD_MAX && self.remembered.len() > 1 {
            self.forget_oldest();
        }
        sent
    }

    fn remembers_too_much(&self) -> bool {
        self.remembered.len() > FRAMES_REMEMBERED_MAX
            || (self.bytes_remembered > BYTES_REMEMBERED_MAX && self.remembered.len() > 1)
    }

    fn send(&mut self, frame: &Frame) -> usize {
        let mut sent = 0;
        self.viewers.retain(|_, topic_viewer| {
            if topic_viewer.has.is_none_or(|has| frame.seq <= has) {
                return true;
            }
            topic_viewer.has = Some(frame.seq);
            sent += 1;
            let (pushed, waker) = topic_viewer.queue.push_quietly(frame);
            match &mut self.to_wake {
                Some(to_wake) => to_wake.extend(waker),
                None => waker.into_iter().for_each(Waker::wake),
            }
            pushed == Pushed::Waiting
        });
        sent
    }

    fn forget_oldest(&mut self) {
        if let Some(frame) = self.remembered.pop_front() {
            self.base = frame.seq;
            self.bytes_remembered -= frame.len();
        }
    }

    /// Gives back what replays of long ago needed.
    pub fn sweep(&mut self) {
        while self.remembers_too_much() {
            self.forget_oldest();
        }
        self.remembered.shrink_to(FRAMES_REMEMBERED_MAX);
    }

    /// Whether a viewer that has everything up to `has` can go on, given how far the log was seen to
    /// reach. Beyond the head but in the log: the bus will bring what lies between, and the viewer
    /// is not sent it.
    pub fn reaches_back_to(&self, has: u64, log_reaches: u64) -> bool {
        self.head.is_some_and(|head| self.base <= has && has <= head.max(log_reaches))
    }

    /// Lets a viewer that has everything up to `has` go on: what it missed, in order, and from then
    /// on the live events. `None` if [`Topic::reaches_back_to`] says no.
    pub fn resume(&mut self, no: ViewerNo, has: u64, log_reaches: u64) -> Option<Vec<Bytes>> {
        let head = self.head.filter(|_| self.reaches_back_to(has, log_reaches))?;
        let topic_viewer = self.viewers.get_mut(&no)?;
        topic_viewer.has = Some(has.max(head));
        topic_viewer.queue.reaches(self.id, has.max(head));
        let form = topic_viewer.queue.form;
        let from = self.remembered.partition_point(|frame| frame.seq <= has);
        Some(self.remembered.range(from..).map(|frame| frame.bytes(form)).collect())
    }

    /// Lets a viewer begin at a snapshot: what happened since, in order, and from then on the live
    /// events. `None` if the topic has forgotten events after the snapshot: read another.
    pub fn begin(&mut self, no: ViewerNo, snapshot_seq: u64) -> Option<Vec<Bytes>> {
        if self.head.is_none() {
            self.start_at(snapshot_seq);
        }
        self.resume(no, snapshot_seq, snapshot_seq)
    }

    /// Takes up what the log holds after `after`, so that viewers can resume from there.
    pub fn remember(&mut self, after: u64, log: &[Envelope], now: Timestamp) {
        let Some(_) = self.head else {
            self.start_at(after);
            for event in log {
                let frame = Arc::new(Frame::event(event, now));
                self.bytes_remembered += frame.len();
                self.remembered.push_back(frame);
                self.head = Some(event.seq);
            }
            return;
        };
        let older: Vec<_> = log.iter().take_while(|event| event.seq <= self.base).collect();
        let reaches_base = older.last().is_some_and(|last| last.seq == self.base);
        if after < self.base && reaches_base {
            for event in older.iter().rev() {
                let frame = Arc::new(Frame::event(event, now));
                self.bytes_remembered += frame.len();
                self.remembered.push_front(frame);
            }
            self.base = after;
        }
    }

    fn start_at(&mut self, seq: u64) {
        self.head = Some(seq);
        self.base = seq;
        self.forget_frames();
    }

    fn forget_frames(&mut self) {
        self.remembered.clear();
        self.bytes_remembered = 0;
    }

    /// The bus has lost events. Whether to start catching up: somebody must be watching, and nobody
    /// be at it already. An unwatched topic remembers nothing that it cannot vouch for.
    pub fn lost_some(&mut self) -> bool {
        self.lost_since_read = true;
        if self.is_catching_up {
            return false;
        }
        if self.viewers.is_empty() {
            self.forget();
        }
        self.is_catching_up = self.head.is_some();
        self.is_catching_up
    }

    /// After what to ask the log; `None` if there is nobody to ask it for.
    pub fn behind(&mut self) -> Option<u64> {
        self.lost_since_read = false;
        if self.viewers.is_empty() || self.head.is_none() {
            self.forget();
            self.is_catching_up = false;
        }
        self.head
    }

    fn forget(&mut self) {
        self.head = None;
        self.forget_frames();
    }

    /// Takes a page of the log after the head; a short page is the log's end. Whether the topic has
    /// caught up with it and with all that was heard of meanwhile.
    pub fn caught_up(
        &mut self,
        page: &[Envelope],
        superseded: &[bool],
        is_last: bool,
        now: Timestamp,
    ) -> bool {
        for (event, is_superseded) in page.iter().zip(superseded) {
            if self.head.is_some_and(|head| event.seq == head + 1) {
                self.take(event, *is_superseded, now);
            }
        }
        self.is_level(is_last)
    }

    /// Goes on from a snapshot, because too much was missed to tell it one by one.
    pub fn skip_to(&mut self, standing: &Standing, now: Timestamp) -> bool {
        if self.head.is_none_or(|head| head < standing.seq) {
            self.start_at(standing.seq);
            let notice = reset(self.id, Reset::TooFarBack, now);
            let snapshot = Frame::snapshot(standing, now);
            self.viewers.retain(|_, topic_viewer| {
                if topic_viewer.has.is_none_or(|has| standing.seq <= has) {
                    return true;
                }
                topic_viewer.has = Some(standing.seq);
                topic_viewer.queue.push_bytes(notice.clone()) == Pushed::Waiting
                    && topic_viewer.queue.push(&snapshot) == Pushed::Waiting
            });
        }
        self.is_level(true)
    }

    fn is_level(&mut self, log_is_read: bool) -> bool {
        let has_all_heard = self.head.is_some_and(|head| head >= self.heard);
        let is_level = log_is_read && has_all_heard && !self.lost_since_read;
        self.is_catching_up = !is_level;
        is_level
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{
        frame::Form,
        testing::{NOW, auction, bid, event, seqs, standing},
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn watched_from(seq: u64) -> (Topic, Arc<Queue>) {
        let mut topic = Topic::new(auction(1));
        let queue = Arc::new(Queue::new(Form::One));
        topic.enter(1, Arc::clone(&queue));
        assert_eq!(topic.begin(1, seq), Some(vec![]));
        (topic, queue)
    }

    fn edited(seq: u64) -> Envelope {
        event(auction(1), seq, "auction.edited")
    }

    fn waiting(queue: &Queue) -> Vec<Bytes> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let next = || match queue.poll(&mut context) {
            std::task::Poll::Ready(frame) => frame,
            std::task::Poll::Pending => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn memory_is_bounded_and_knows_how_far_it_reaches_back() {
        let (mut topic, queue) = watched_from(1);
        let newest = FRAMES_REMEMBERED_MAX as u64 + 11;
        for seq in 2..=newest {
            assert_eq!(topic.offer(&edited(seq), false, NOW), Offered::Taken(1));
            waiting(&queue);
        }
        topic.enter(2, Arc::clone(&queue));
        assert_eq!(topic.resume(2, 10, 0), None);
        let missed = topic.resume(2, 11, 0).expect("remembered");
        assert_eq!(seqs(&missed), (12..=newest).collect::<Vec<_>>());
        assert_eq!(topic.resume(2, newest + 1, 0), None);
        assert_eq!(topic.resume(2, newest + 1, newest + 1), Some(vec![]));
    }

    #[test]
    fn large_frames_are_forgotten_sooner_whatever_their_number() {
        let (mut topic, queue) = watched_from(1);
        let large = BYTES_REMEMBERED_MAX / 4;
        for seq in 2..=20 {
            let data = format!("{{\"x\":\"{}\"}}", "y".repeat(large));
            let event = Envelope { data, ..edited(seq) };
            assert_eq!(topic.offer(&event, false, NOW), Offered::Taken(1));
            waiting(&queue);
        }
        let bytes: usize = topic.remembered.iter().map(|frame| frame.len()).sum();
        assert!(bytes <= BYTES_REMEMBERED_MAX + large + 1_000, "{bytes} are remembered");
        assert_eq!(bytes, topic.bytes_remembered);
        topic.enter(2, Arc::clone(&queue));
        assert_eq!(topic.resume(2, 15, 0), None, "it says that it does not reach so far back");
        let missed = topic.resume(2, 17, 0).expect("remembered");
        assert_eq!(seqs(&missed), [18, 19, 20]);
    }

    #[test]
    fn who_is_ahead_of_the_bus_is_not_told_again() {
        let (mut topic, _) = watched_from(1);
        let ahead = Arc::new(Queue::new(Form::One));
        topic.enter(2, Arc::clone(&ahead));
        assert_eq!(topic.begin(2, 3), Some(vec![]));
        assert_eq!(topic.offer(&edited(2), false, NOW), Offered::Taken(1));
        assert_eq!(topic.offer(&edited(3), false, NOW), Offered::Taken(1));
        assert_eq!(topic.offer(&edited(4), false, NOW), Offered::Taken(2));
        assert_eq!(seqs(&waiting(&ahead)), [4]);
    }

    #[test]
    fn a_superseded_price_is_no_gap() {
        let (mut topic, queue) = watched_from(1);
        assert_eq!(topic.offer(&bid(auction(1), 2), true, NOW), Offered::Taken(0));
        assert_eq!(topic.offer(&bid(auction(1), 3), false, NOW), Offered::Taken(1));
        assert_eq!(seqs(&waiting(&queue)), [3]);
    }

    #[test]
    fn a_loss_while_the_log_is_read_means_reading_again() {
        let (mut topic, _) = watched_from(1);
        assert_eq!(topic.offer(&edited(3), false, NOW), Offered::Gap);
        assert_eq!(topic.behind(), Some(1));
        assert!(!topic.lost_some(), "somebody is at it already");
        assert!(!topic.caught_up(&[edited(2), edited(3)], &[false; 2], true, NOW));
        assert_eq!(topic.behind(), Some(3));
        assert!(topic.caught_up(&[edited(4)], &[false], true, NOW));
        assert_eq!(topic.offer(&edited(5), false, NOW), Offered::Taken(1));
    }

    #[test]
    fn what_is_heard_while_catching_up_is_waited_for() {
        let (mut topic, queue) = watched_from(1);
        assert_eq!(topic.offer(&edited(3), false, NOW), Offered::Gap);
        assert_eq!(topic.behind(), Some(1));
        assert_eq!(topic.offer(&edited(4), false, NOW), Offered::Passed);
        assert!(!topic.caught_up(&[edited(2), edited(3)], &[false; 2], true, NOW));
        assert_eq!(topic.behind(), Some(3));
        assert!(topic.caught_up(&[edited(4)], &[false], true, NOW));
        assert_eq!(seqs(&waiting(&queue)), [2, 3, 4]);
    }

    #[test]
    fn a_topic_too_far_behind_goes_on_from_a_snapshot_and_says_so() {
        let (mut topic, queue) = watched_from(1);
        assert!(topic.lost_some());
        assert!(topic.behind().is_some());
        assert!(topic.skip_to(&standing(auction(1), 5_000), NOW));
        let frames = waiting(&queue);
        assert_eq!(frames.len(), 2);
        assert!(frames[0].starts_with(b"event: reset\n"));
        assert_eq!(seqs(&frames), [5_000]);
        assert_eq!(topic.offer(&edited(5_001), false, NOW), Offered::Taken(1));
    }

    #[test]
    fn an_unwatched_topic_stays_a_while_but_vouches_for_nothing_lost() {
        let (mut topic, queue) = watched_from(1);
        let left = Instant::now();
        topic.leave(1, left);
        assert!(!topic.is_over(left + KEPT_UNWATCHED - SECOND));
        assert!(topic.is_over(left + KEPT_UNWATCHED));
        topic.offer(&edited(2), false, NOW);
        assert!(!topic.lost_some());
        topic.offer(&edited(9), false, NOW);
        topic.enter(2, queue);
        assert_eq!(topic.resume(2, 1, 0), None);
        assert_eq!(topic.resume(2, 8, 0).map(|missed| seqs(&missed)), Some(vec![9]));
    }
}
