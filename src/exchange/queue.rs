//! The queue of one log: what it adds up to, what waits for a decision, and what was decided but is not
//! committed yet. Used on the lane's thread alone, never across an await.

use std::{collections::VecDeque, sync::Arc};

use super::{
    clock::What,
    ended::EndedAuctions,
    kinds::{self, Decided, Mark, Subject},
    mailbox::{Mailbox, Permit, QueuedCommand},
    request::{Answer, Failure, Reply, Request},
    snapshots::{self, CommittedState, SnapshotHandle},
};
use crate::{
    domain::{id::LogId, time::Timestamp},
    events::envelope::Envelope,
    log::hash::Hash,
    store::{self, Kept, ReceiptColumns, ReceiptKey, Rows},
};

/// A batch with a command in it may come to nothing so often before the caller is told.
const ATTEMPTS_MAX: u8 = 3;

/// Reads the committed state, or hears why there is none.
pub(super) type ReadState = Box<dyn FnOnce(Result<&Subject, Failure>) + Send>;

/// One log on its lane's thread.
pub(super) struct LogQueue {
    mailbox: Arc<Mailbox>,
    phase: Phase,
    waiting: VecDeque<(QueuedCommand, Permit)>,
    /// Taken by the lane; answered when the batch is settled.
    taken: Vec<Taken>,
    reads: Vec<(ReadState, Permit)>,
    /// While a close is at the head of the queue: the epoch that it waits for.
    closing_epoch: Option<usize>,
    /// The bids received before the end stand before the close now.
    close_may_pass: bool,
    /// Whether the lane or the loader already knows of it.
    pub is_enlisted: bool,
    /// Whether it is on the list of those that are over.
    is_noted_as_ended: bool,
}

/// What is known of the auction.
enum Phase {
    /// Nothing: it has to be loaded.
    Unloaded,
    /// Its log was read, under this number of the owner: of another one it may have grown since.
    Ready(Box<LoadedLog>, Option<i64>),
}

/// What the log adds up to, and the log's end. Ahead of Postgres while a batch of this queue is under
/// way: then nobody may read it, and it is rewound if the batch comes to nothing.
pub(super) struct LoadedLog {
    subject: Subject,
    chain: Chain,
    /// While a batch is under way: how it was before.
    before: Option<Before>,
    /// Up to which event a snapshot holds it.
    saved_seq: u64,
}

/// The end of a log, which the next entry is chained to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    pub id: LogId,
    pub head: Hash,
    pub head_at: Timestamp,
}

impl Chain {
    /// The log goes on by an entry.
    pub const fn extend(&mut self, hash: Hash, at: Timestamp) {
        self.head = hash;
        self.head_at = at;
    }
}

struct Before {
    mark: Mark,
    chain: Chain,
}

struct Taken {
    queued: QueuedCommand,
    permit: Permit,
    reply: Option<Reply>,
}

impl Taken {
    fn of((queued, permit): (QueuedCommand, Permit)) -> Taken {
        Taken { queued, permit, reply: None }
    }
}

/// How many callers of a batch were told what.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Outcomes {
    pub accepted: u64,
    pub refused: u64,
    pub failed: u64,
}

/// Whether a close at the head of the queue may be decided.
enum Pass {
    Now(Box<(QueuedCommand, Permit)>),
    AfterEarlierBids,
    WaitForArrivals,
}

/// What the lane should do for a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Its log has to be read.
    Load,
    /// Commands wait for a batch.
    Batch,
}

impl LogQueue {
    pub fn new(mailbox: Arc<Mailbox>) -> LogQueue {
        LogQueue {
            mailbox,
            phase: Phase::Unloaded,
            waiting: VecDeque::new(),
            taken: Vec::new(),
            reads: Vec::new(),
            closing_epoch: None,
            close_may_pass: false,
            is_enlisted: false,
            is_noted_as_ended: false,
        }
    }

    pub fn id(&self) -> LogId {
        self.mailbox.id
    }

    /// Takes a command in. Its place in the queue is its place in the order of decisions.
    pub fn push(&mut self, queued: QueuedCommand, mut permit: Permit) {
        permit.arrived();
        self.waiting.push_back((queued, permit));
    }

    /// Takes a read in, and answers it now if the state is the committed one.
    pub fn read(&mut self, read: ReadState, mut permit: Permit) {
        permit.arrived();
        self.reads.push((read, permit));
        self.answer_reads();
    }

    fn answer_reads(&mut self) {
        let Phase::Ready(loaded, _) = &self.phase else { return };
        if self.taken.is_empty() {
            for (read, _permit) in self.reads.drain(..) {
                read(Ok(&loaded.subject));
            }
        }
    }

    /// What has to happen next, if anything.
    pub fn need(&self) -> Option<Need> {
        let waits = !self.waiting.is_empty() || !self.reads.is_empty();
        match self.phase {
            _ if !self.taken.is_empty() => None,
            Phase::Unloaded if waits => Some(Need::Load),
            Phase::Ready(..) if !self.waiting.is_empty() => Some(Need::Batch),
            Phase::Unloaded | Phase::Ready(..) => None,
        }
    }

    /// Moves up to `limit` commands into the batch; `is_new` says whether a key is in it for the
    /// first time, else the command waits for the next batch and will find the receipt.
    /// How many were taken.
    pub fn take(
        &mut self,
        limit: usize,
        now: Timestamp,
        is_new: &mut dyn FnMut(&ReceiptKey) -> bool,
    ) -> usize {
        let mut postponed = Vec::new();
        while self.taken.len() < limit {
            let Some((queued, permit)) = self.waiting.pop_front() else { break };
            if queued.request.command.is_close() {
                match self.pass_to_close((queued, permit), now) {
                    Pass::Now(close) => self.taken.push(Taken::of(*close)),
                    Pass::AfterEarlierBids => {}
                    Pass::WaitForArrivals => break,
                }
                continue;
            }
            if queued.request.receipt_key.as_ref().is_some_and(|key| !is_new(key)) {
                postponed.push((queued, permit));
                continue;
            }
            self.taken.push(Taken::of((queued, permit)));
        }
        for waiting in postponed.into_iter().rev() {
            self.waiting.push_front(waiting);
        }
        self.taken.len()
    }

    /// A close waits for whoever had a permit when its time had come: their bids were received
    /// before the end although they are still on their way here. Once they have all arrived they
    /// go first; those received later hear that the auction has ended.
    fn pass_to_close(&mut self, close: (QueuedCommand, Permit), now: Timestamp) -> Pass {
        let Phase::Ready(loaded, _) = &self.phase else { return Pass::Now(Box::new(close)) };
        let ends_at = loaded.subject.ends_at();
        if now < ends_at || self.close_may_pass {
            self.close_may_pass = false;
            // One that an extended end has left behind says nothing of those who came since.
            self.closing_epoch = None;
            return Pass::Now(Box::new(close));
        }
        let epoch = *self.closing_epoch.get_or_insert_with(|| self.mailbox.next_epoch());
        if !self.mailbox.is_drained(epoch) {
            self.waiting.push_front(close);
            return Pass::WaitForArrivals;
        }
        self.closing_epoch = None;
        let in_time = |queued: &QueuedCommand| {
            queued.request.command.received_at().is_some_and(|at| at < ends_at)
        };
        let (early, late): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|(queued, _)| in_time(queued));
        if early.is_empty() {
            self.waiting = late;
            return Pass::Now(Box::new(close));
        }
        self.waiting = early;
        self.waiting.push_back(close);
        self.waiting.extend(late);
        self.close_may_pass = true;
        Pass::AfterEarlierBids
    }

    /// The keys of the commands in the batch, in order.
    pub fn keys(&self) -> impl Iterator<Item = &ReceiptKey> {
        self.taken.iter().filter_map(|taken| taken.queued.request.receipt_key.as_ref())
    }

    /// Whether a decision of the batch reads or changes rows beside the logs.
    pub fn needs_rows(&self) -> bool {
        self.taken.iter().any(|taken| taken.queued.request.command.needs_rows())
    }

    /// Decides what was taken, in order, and adds what must be written to the batch. `known` gives
    /// the kept answer for each key in turn.
    pub fn decide(
        &mut self,
        known: &mut dyn FnMut() -> Option<store::Receipt>,
        now: Timestamp,
        draft: &mut Draft,
    ) {
        let Phase::Ready(loaded, _) = &mut self.phase else { return };
        let seq_before = loaded.subject.seq();
        loaded.remember();
        for taken in &mut self.taken {
            let request = &taken.queued.request;
            let kept = request.receipt_key.as_ref().and_then(|key| known().map(|kept| (key, kept)));
            taken.reply = Some(match kept {
                Some((key, receipt)) => replayed(loaded.chain.id, key, receipt),
                None => Ok(loaded.decide(request, now, draft)),
            });
        }
        if loaded.subject.seq() > seq_before {
            let standings = &mut draft.rows.standings;
            loaded.subject.push_standing(standings, &loaded.chain, seq_before + 1);
            draft.due.push((loaded.chain.id, loaded.subject.due()));
        }
    }

    /// Forgets what was decided, so that it can be decided again.
    pub fn rewind(&mut self) {
        for taken in &mut self.taken {
            taken.reply = None;
        }
        if let Phase::Ready(loaded, _) = &mut self.phase {
            loaded.rewind();
        }
    }

    /// The batch is durable: everybody hears their answer. How many were told what.
    pub fn settle(&mut self) -> Outcomes {
        if let Phase::Ready(loaded, _) = &mut self.phase {
            loaded.before = None;
        }
        let mut told = Outcomes::default();
        for taken in self.taken.drain(..) {
            let reply = taken.reply.unwrap_or(Err(Failure::OutcomeUnknown));
            match &reply {
                Ok(Answer::Accepted { .. }) => told.accepted += 1,
                Ok(Answer::Refused(_)) => told.refused += 1,
                Err(_) => told.failed += 1,
            }
            taken.queued.answer(reply);
            drop(taken.permit);
        }
        self.answer_reads();
        told
    }

    /// The batch came to nothing: what was decided is forgotten. The commands wait for another batch,
    /// except those that have waited for too many.
    pub fn retry(&mut self) {
        self.rewind();
        for mut taken in std::mem::take(&mut self.taken).into_iter().rev() {
            taken.queued.attempts += 1;
            if taken.queued.attempts >= ATTEMPTS_MAX {
                taken.queued.answer(Err(Failure::Overloaded));
            } else {
                self.waiting.push_front((taken.queued, taken.permit));
            }
        }
        self.answer_reads();
    }

    /// Everybody in the batch hears that it failed; what was decided is forgotten.
    pub fn fail(&mut self, failure: Failure) {
        self.rewind();
        for taken in self.taken.drain(..) {
            taken.queued.answer(Err(failure));
        }
        self.answer_reads();
    }

    /// What is in memory may not be what is in Postgres: the log is read again. Before
    /// [`LogQueue::retry`] or [`LogQueue::fail`], where nobody may read what was decided.
    pub fn unload(&mut self) {
        self.phase = Phase::Unloaded;
    }

    /// Everybody who waits hears that nothing happened.
    pub fn turn_away(&mut self, failure: Failure) {
        for (queued, _permit) in self.waiting.drain(..) {
            queued.answer(Err(failure));
        }
        for (read, _permit) in self.reads.drain(..) {
            read(Err(failure));
        }
    }

    /// The log was read, while this was the number of the owner.
    pub fn loaded(&mut self, loaded: LoadedLog, owner: Option<i64>) {
        self.phase = Phase::Ready(Box::new(loaded), owner);
        self.answer_reads();
    }

    /// Forgets a log that was read under another number of the owner, unless a batch of it is under
    /// way, whose fence tells.
    pub fn renew(&mut self, owner: Option<i64>) {
        let is_older = matches!(self.phase, Phase::Ready(_, read_under) if read_under != owner);
        if is_older && self.taken.is_empty() {
            self.phase = Phase::Unloaded;
        }
    }

    /// There is no such auction: nobody needs its mailbox.
    pub fn not_found(&mut self) {
        self.turn_away(Failure::AuctionNotFound);
        if self.mailbox.close_if_empty() {
            self.mailbox.leave();
        }
    }

    /// Puts the auction on the list of those that are over, once it is. Only while what is known of it
    /// is committed.
    pub fn note_if_ended(&mut self, ended: &EndedAuctions) {
        let Phase::Ready(loaded, _) = &self.phase else { return };
        if let Some(size) = loaded.subject.size_when_over().filter(|_| !self.is_noted_as_ended) {
            self.is_noted_as_ended = true;
            ended.add(Arc::clone(&self.mailbox), size);
        }
    }

    /// Hands the state over to be written down, if its log has grown enough and there is room. Only
    /// while what is known of it is committed.
    pub fn save(&mut self, snapshots: &SnapshotHandle) {
        let Phase::Ready(loaded, _) = &mut self.phase else { return };
        if loaded.wants_snapshot()
            && let Some(room) = snapshots.room()
        {
            room.send(loaded.committed());
        }
    }
}

/// What a batch will write and say, while it is being decided.
#[derive(Default)]
pub(super) struct Draft {
    /// For Postgres.
    pub rows: Rows,
    /// For the relay.
    pub events: Vec<Envelope>,
    /// For the clock.
    pub due: Vec<(LogId, Option<(Timestamp, What)>)>,
}

impl LoadedLog {
    /// A log that was read.
    pub const fn new(subject: Subject, chain: Chain) -> LoadedLog {
        LoadedLog { subject, chain, before: None, saved_seq: 0 }
    }

    /// A snapshot holds it up to this event.
    pub fn saved_at(self, saved_seq: u64) -> LoadedLog {
        LoadedLog { saved_seq, ..self }
    }

    /// Whether the log has grown enough since the last snapshot.
    pub const fn wants_snapshot(&self) -> bool {
        snapshots::is_wanted(self.subject.seq(), self.saved_seq)
    }

    /// A copy to be written down. Only of what is committed.
    pub fn committed(&mut self) -> CommittedState {
        self.saved_seq = self.subject.seq();
        CommittedState { subject: self.subject.clone(), chain: self.chain }
    }

    fn remember(&mut self) {
        self.before = Some(Before { mark: self.subject.mark(), chain: self.chain });
    }

    fn rewind(&mut self) {
        if let Some(before) = self.before.take() {
            self.subject.rewind(before.mark);
            self.chain = before.chain;
        }
    }

    fn decide(&mut self, request: &Request, now: Timestamp, draft: &mut Draft) -> Answer {
        // Time in a log never runs backwards, whatever the clock did between two runs.
        let at = now.max(self.chain.head_at);
        let before = self.before.as_mut().expect("what is decided can be undone");
        let chain = &mut self.chain;
        let decided = self.subject.decide(&mut before.mark, chain, request, at, draft);
        if let Some(key) = &request.receipt_key {
            keep(&mut draft.rows.receipts, chain.id, key, &decided);
        }
        decided.answer
    }
}

/// The answer is written down with what it answers, so that a retry hears the same.
fn keep(columns: &mut ReceiptColumns, id: LogId, key: &ReceiptKey, decided: &Decided) {
    let (accepted, text) = match (&decided.answer, decided.made_of) {
        (Answer::Accepted { .. }, Some(_)) => (true, None),
        (Answer::Accepted { receipt }, None) => (true, Some(receipt.clone())),
        (Answer::Refused(refusal), _) => (false, Some(refusal.encode())),
    };
    let made_of = decided.made_of.filter(|_| text.is_none());
    columns.user_id.push(key.user);
    columns.key_hash.push(key.hash);
    columns.fingerprint.push(key.fingerprint);
    columns.log_id.push(id);
    columns.seq.push(made_of.map(|made_of| made_of.seq));
    columns.events.push(made_of.map(|made_of| made_of.events));
    columns.accepted.push(accepted);
    columns.answer.push(text);
}

/// The first answer again; unless the key came with another request.
fn replayed(id: LogId, key: &ReceiptKey, kept: store::Receipt) -> Reply {
    if kept.fingerprint != key.fingerprint {
        return Err(Failure::KeyReused);
    }
    let answer = match kept.kept {
        Kept::Text { accepted: true, answer } => Some(Answer::Accepted { receipt: answer }),
        Kept::Text { accepted: false, answer } => {
            kinds::kept_refusal(id, &answer).map(Answer::Refused).ok()
        }
        Kept::Events(events) => {
            kinds::receipt_again(id, &events).map(|receipt| Answer::Accepted { receipt })
        }
    };
    answer.ok_or_else(|| {
        tracing::error!(log = %id, "a kept answer cannot be read");
        Failure::LogDamaged
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::sync::oneshot;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{
        auction::{
            Command, Event, Increment, Item, Offer, PlaceBid, RetractBid, Scheduled, SoftClose,
            SoftCloseMode, State, Terms, increment::Table,
        },
        id::{AuctionId, UserId},
        money::{Amount, Currency},
    };

    const STARTS_AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const SELLER: UserId = UserId(Uuid::from_u128(1));

    fn ends_at() -> Timestamp {
        STARTS_AT.plus_s(60)
    }

    fn won(amount: i64) -> Amount {
        Amount::new(amount).expect("positive")
    }

    /// Live until [`ends_at`]; bids in its last ten seconds move the end by ten.
    fn live() -> State {
        let soft_close = SoftClose {
            trigger_window_s: 10,
            extension_s: 10,
            mode: SoftCloseMode::Extend,
            max_ends_at: ends_at().plus_s(3_600),
        };
        let terms = Terms {
            currency: Currency::Krw,
            opening_price: won(10_000),
            increment: Increment::Table(Table::Won),
            reserve_price: None,
            buy_now_price: None,
            bids_per_bidder_max: None,
            cap: Amount::CAP_DEFAULT,
            starts_at: STARTS_AT,
            ends_at: ends_at(),
            soft_close: Some(soft_close),
        };
        let item = Item {
            attributes: BTreeMap::new(),
            category: None,
            description: String::new(),
            image_keys: Vec::new(),
            title: "달항아리".to_owned(),
        };
        let (relisted_from, reserve_salt) = (None, [0; 16]);
        let seller = SELLER;
        let first = Scheduled { seller, item, terms, relisted_from, reserve_salt };
        let mut state = State::scheduled(&first);
        state.evolve(&Event::Opened);
        state
    }

    const HEAD: Hash = Hash([7; 32]);

    fn id(number: u128) -> LogId {
        AuctionId(Uuid::from_u128(number)).into()
    }

    fn chain(head_at: Timestamp) -> Chain {
        Chain { id: id(9), head: HEAD, head_at }
    }

    fn loaded(state: State, head_at: Timestamp) -> LoadedLog {
        LoadedLog::new(Subject::Auction(state), chain(head_at))
    }

    struct Scene {
        mailbox: Arc<Mailbox>,
        queue: LogQueue,
    }

    impl Scene {
        fn of(state: State, head_at: Timestamp) -> Scene {
            let mailbox = Arc::new(Mailbox::new(id(9), STARTS_AT, &Arc::default()));
            let mut queue = LogQueue::new(Arc::clone(&mailbox));
            queue.loaded(loaded(state, head_at), None);
            Scene { mailbox, queue }
        }

        fn live() -> Scene {
            Scene::of(live(), STARTS_AT)
        }

        fn state(&self) -> State {
            let Phase::Ready(loaded, _) = &self.queue.phase else { panic!("it is loaded") };
            let Subject::Auction(state) = &loaded.subject;
            state.clone()
        }

        fn permit(&self) -> Permit {
            self.mailbox.enter(STARTS_AT).expect("a permit")
        }

        fn push_close(&mut self) {
            let permit = self.permit();
            self.queue.push(queued(Request::internal(Command::Close)), permit);
        }

        fn push_bid(&mut self, bid: Request, permit: Permit) {
            self.queue.push(queued(bid), permit);
        }

        fn take(&mut self, now: Timestamp) -> usize {
            self.queue.take(100, now, &mut |_| true)
        }

        fn decide(&mut self, now: Timestamp) -> Draft {
            let mut draft = Draft::default();
            self.queue.decide(&mut || None, now, &mut draft);
            draft
        }

        /// Takes, decides and settles; the events.
        fn commit(&mut self, now: Timestamp) -> Vec<&'static str> {
            self.take(now);
            let draft = self.decide(now);
            self.queue.settle();
            draft.rows.events.kind
        }
    }

    fn queued(request: Request) -> QueuedCommand {
        QueuedCommand::new(request, oneshot::channel().0)
    }

    fn bid(who: u128, amount: i64, received_at: Timestamp) -> Request {
        Request::internal(Command::PlaceBid(PlaceBid {
            bidder: UserId(Uuid::from_u128(100 + who)),
            offer: Offer::Exact(won(amount)),
            expected_seq: None,
            confirm_amount: None,
            salt: [0; 16],
            received_at,
        }))
    }

    /// That each hash is over the entry and the hash before, from `head` on.
    fn assert_chained(draft: &Draft, mut head: Hash, first_seq: i64) {
        let events = &draft.rows.events;
        for (place, seq) in (0..events.seq.len()).zip(first_seq..) {
            assert_eq!(events.seq[place], seq);
            let number = u64::try_from(seq).expect("positive");
            let (id, kind, at) = (events.auction_id[place], events.kind[place], events.at[place]);
            head = crate::log::hash::entry_hash(id, number, kind, at, &events.data[place], head);
            assert_eq!(events.hash[place], head.0, "of entry {seq}");
        }
    }

    #[test]
    fn a_bid_that_is_on_its_way_at_the_end_goes_before_the_close() {
        let mut scene = Scene::live();
        let mut soft_close_off = live();
        soft_close_off.terms.soft_close = None;
        scene.queue.loaded(loaded(soft_close_off, STARTS_AT), None);
        let on_its_way = scene.permit();
        scene.push_close();
        assert_eq!(scene.take(ends_at()), 0, "the close waits for whoever has a permit");
        let late = scene.permit();
        scene.push_bid(bid(2, 20_000, ends_at().plus_ms(1)), late);
        assert_eq!(scene.take(ends_at()), 0, "also behind whoever comes after the end");
        scene.push_bid(bid(1, 10_000, ends_at().plus_ms(-1)), on_its_way);
        let _later = scene.permit();
        assert_eq!(scene.commit(ends_at().plus_ms(2)), ["bid.placed", "auction.closed"]);
    }

    #[test]
    fn after_an_extension_the_close_waits_for_those_who_sit_down_since() {
        let mut scene = Scene::live();
        let permit = scene.permit();
        scene.push_bid(bid(1, 10_000, ends_at().plus_ms(-1)), permit);
        scene.push_close();
        let slow = scene.permit();
        // The bid goes, and moves the end, while the close waits for the slow one.
        assert_eq!(scene.commit(ends_at()), ["bid.placed", "auction.extended"]);
        drop(slow);
        assert!(scene.commit(ends_at()).is_empty(), "nothing is due any more");
        let extended = ends_at().plus_s(10);
        let on_its_way = scene.permit();
        scene.push_close();
        assert_eq!(scene.take(extended), 0, "the close waits for whoever has a permit");
        scene.push_bid(bid(2, 20_000, extended.plus_ms(-1)), on_its_way);
        assert_eq!(scene.commit(extended), ["bid.placed", "auction.extended"]);
    }

    #[test]
    fn a_batch_that_is_decided_again_chains_to_what_was_before_it() {
        let mut scene = Scene::live();
        for (who, amount) in [(1, 10_000), (2, 20_000), (1, 30_000)] {
            let permit = scene.permit();
            scene.push_bid(bid(who, amount, STARTS_AT.plus_s(1)), permit);
        }
        scene.take(STARTS_AT.plus_s(1));
        let first = scene.decide(STARTS_AT.plus_s(1));
        assert_chained(&first, HEAD, 3);
        scene.queue.rewind();
        let again = scene.decide(STARTS_AT.plus_s(1));
        assert_chained(&again, HEAD, 3);
        assert_eq!(again.rows.events.hash, first.rows.events.hash);
        scene.queue.settle();
        let head = Hash::from_slice(again.rows.events.hash.last().expect("events")).expect("32");
        let permit = scene.permit();
        scene.push_bid(bid(2, 40_000, STARTS_AT.plus_s(2)), permit);
        scene.take(STARTS_AT.plus_s(2));
        assert_chained(&scene.decide(STARTS_AT.plus_s(2)), head, 6);
    }

    #[test]
    fn a_retraction_and_an_edit_are_undone_as_bids_are() {
        let mut scene = Scene::live();
        let now = STARTS_AT.plus_s(1);
        let permit = scene.permit();
        scene.push_bid(bid(1, 10_000, now), permit);
        scene.commit(now);
        let before = scene.state();
        let retraction = RetractBid {
            bidder: UserId(Uuid::from_u128(101)),
            bid_seq: before.seq,
            reason: "a slip".to_owned(),
            received_at: now,
        };
        let permit = scene.permit();
        scene.push_bid(Request::internal(Command::RetractBid(retraction)), permit);
        scene.take(now);
        assert_eq!(scene.decide(now).rows.events.kind, ["bid.retracted"]);
        scene.queue.rewind();
        assert_eq!(scene.state(), before);
        assert_eq!(scene.decide(now).rows.events.kind, ["bid.retracted"], "it is decided again");
    }

    #[test]
    fn what_is_committed_is_not_undone_by_a_batch_that_failed_before_it_was_decided() {
        let mut scene = Scene::live();
        let now = STARTS_AT.plus_s(1);
        let permit = scene.permit();
        scene.push_bid(bid(1, 10_000, now), permit);
        scene.commit(now);
        let committed = scene.state();
        let permit = scene.permit();
        scene.push_bid(bid(2, 20_000, now), permit);
        scene.take(now);
        scene.queue.retry();
        assert_eq!(scene.state(), committed);
        assert_eq!(scene.commit(now), ["bid.placed"]);
    }

    #[test]
    fn a_log_that_was_read_under_another_owner_is_read_again_unless_its_batch_is_under_way() {
        let mut scene = Scene::live();
        scene.queue.renew(None);
        assert_eq!(scene.queue.need(), None, "it is the same owner");
        let permit = scene.permit();
        scene.push_bid(bid(1, 10_000, STARTS_AT), permit);
        scene.take(STARTS_AT);
        scene.queue.renew(Some(2));
        assert_eq!(scene.decide(STARTS_AT).rows.events.kind, ["bid.placed"], "the fence tells");
        scene.queue.settle();
        scene.queue.renew(Some(2));
        let permit = scene.permit();
        scene.push_bid(bid(2, 20_000, STARTS_AT), permit);
        assert_eq!(scene.queue.need(), Some(Need::Load));
    }

    /// What the receipts of a decided batch point at, as they are read again.
    fn events_of(draft: &Draft, receipt: usize) -> Option<Vec<store::EventRow>> {
        let (events, receipts) = (&draft.rows.events, &draft.rows.receipts);
        let (first, count) = receipts.seq[receipt].zip(receipts.events[receipt])?;
        let wanted = first..first + i64::from(count);
        let places = (0..events.seq.len()).filter(|place| wanted.contains(&events.seq[*place]));
        Some(
            places
                .map(|place| store::EventRow {
                    auction_id: events.auction_id[place],
                    seq: events.seq[place],
                    kind: events.kind[place].to_owned(),
                    at: events.at[place],
                    data: events.data[place].clone(),
                    private: events.private[place].clone(),
                    hash: events.hash[place].clone(),
                })
                .collect(),
        )
    }

    #[test]
    fn a_receipt_made_of_its_events_is_the_one_that_was_given() {
        for reserve_price in [None, Some(won(45_000))] {
            let mut state = live();
            state.terms.reserve_price = reserve_price;
            let mut scene = Scene::of(state, STARTS_AT);
            let late = ends_at().plus_ms(-5);
            let mut given = Vec::new();
            for (no, (who, offer, received_at)) in [
                (1, Offer::Exact(won(10_000)), STARTS_AT.plus_s(1)),
                (2, Offer::Ceiling(won(40_000)), STARTS_AT.plus_s(2)),
                (1, Offer::Exact(won(20_000)), STARTS_AT.plus_s(3)),
                // Meets the reserve, and moves the end.
                (3, Offer::Ceiling(won(60_000)), late),
                (1, Offer::Ceiling(won(50_000)), late),
                // Refused.
                (2, Offer::Exact(won(1)), late),
            ]
            .into_iter()
            .enumerate()
            {
                let permit = scene.permit();
                let mut request = bid(who, 1, received_at);
                let kinds::Command::Auction(Command::PlaceBid(bid)) = &mut request.command else {
                    panic!("a bid")
                };
                bid.offer = offer;
                bid.salt = [7; 16];
                request.receipt_key = Some(ReceiptKey::new(bid.bidder, &no.to_string(), &[0; 16]));
                let (reply, answer) = oneshot::channel();
                scene.queue.push(QueuedCommand::new(request, reply), permit);
                given.push(answer);
            }
            scene.take(late);
            let draft = scene.decide(late);
            scene.queue.settle();
            let mut made = 0;
            for (place, mut answer) in given.into_iter().enumerate() {
                match answer.try_recv().expect("it was answered") {
                    Ok(Answer::Accepted { receipt }) => {
                        let events = events_of(&draft, place).expect("it points at its events");
                        assert_eq!(kinds::receipt_again(id(9), &events), Some(receipt));
                        assert!(draft.rows.receipts.answer[place].is_none());
                        made += 1;
                    }
                    Ok(Answer::Refused(refusal)) => {
                        let text = draft.rows.receipts.answer[place].as_deref();
                        assert_eq!(text, Some(refusal.encode().as_str()));
                        assert!(events_of(&draft, place).is_none());
                    }
                    Err(failure) => panic!("{failure}"),
                }
            }
            assert_eq!(made, 5, "of six");
        }
    }

    #[test]
    fn another_key_that_shares_its_hash_hears_no_answer() {
        let key = ReceiptKey::new(SELLER, "mine", &[1; 16]);
        let other = ReceiptKey { hash: key.hash, ..ReceiptKey::new(SELLER, "yours", &[1; 16]) };
        let kept = |fingerprint| store::Receipt {
            fingerprint,
            kept: Kept::Text { accepted: true, answer: "{}".to_owned() },
        };
        assert!(replayed(id(9), &key, kept(key.fingerprint)).is_ok());
        assert_eq!(replayed(id(9), &other, kept(key.fingerprint)), Err(Failure::KeyReused));
    }

    #[test]
    fn the_time_in_a_log_never_runs_backwards_whatever_the_clock_says() {
        let head_at = STARTS_AT.plus_s(30);
        let mut scene = Scene::of(live(), head_at);
        let permit = scene.permit();
        let now = STARTS_AT.plus_s(1);
        scene.push_bid(bid(1, 10_000, now), permit);
        scene.take(now);
        let draft = scene.decide(now);
        assert_eq!(draft.rows.events.at, [head_at]);
        scene.queue.rewind();
        assert_eq!(scene.decide(now).rows.events.at, [head_at], "nor after it was undone");
    }

    #[test]
    fn no_other_bytes_are_taken_for_the_state_of_a_snapshot() {
        let (id, other) = (id(9), id(8));
        let subject = Subject::Auction(live());
        let chain = chain(STARTS_AT);
        let new = snapshots::seal(CommittedState { subject: subject.clone(), chain });
        let new = new.expect("encoded").expect("small");
        let mut row = store::SnapshotRow {
            seq: new.seq,
            log_hash: Some(new.hash.clone()),
            hash: new.hash,
            at: new.at,
            format: new.format,
            state: new.state,
        };
        let (opened, opened_head) = snapshots::open(id, &row).expect("as it was written");
        assert_eq!((opened, opened_head), (subject, HEAD));
        assert!(snapshots::open(other, &row).is_err(), "it is another auction's");
        for place in 0..row.state.len() {
            row.state[place] ^= 1;
            assert!(snapshots::open(id, &row).is_err(), "byte {place} differs");
            row.state[place] ^= 1;
        }
        row.at = row.at.plus_ms(1);
        assert!(snapshots::open(id, &row).is_err(), "it is said to be of another time");
    }

    #[tokio::test]
    async fn a_log_that_has_grown_enough_is_saved_once_and_only_while_there_is_room() {
        let url: tokio_postgres::Config =
            "postgres://nobody@127.0.0.1:1/nothing".parse().expect("a configuration");
        let store = store::Store::new(url).expect("a store");
        let (handle, _writer) = snapshots::snapshots(store);
        let mut grown = live();
        grown.seq = snapshots::EVENTS_BETWEEN_MIN;
        let wants = |scene: &Scene| match &scene.queue.phase {
            Phase::Ready(loaded, _) => loaded.wants_snapshot(),
            Phase::Unloaded => false,
        };
        let (mut first, mut second) = (Scene::of(grown.clone(), STARTS_AT), Scene::live());
        second.queue.loaded(loaded(grown, STARTS_AT), None);
        first.queue.save(&handle);
        assert!(!wants(&first));
        second.queue.save(&handle);
        assert!(wants(&second), "it tries again when there is room");
        let mut short = Scene::live();
        assert!(!wants(&short));
        short.queue.save(&handle);
    }

    #[test]
    fn what_was_loaded_from_a_snapshot_wants_no_other_before_it_has_grown() {
        use crate::{
            exchange::{replay::Replay, snapshots::seal},
            store::SnapshotRow,
        };
        let (id, seq) = (id(9), snapshots::EVENTS_BETWEEN_MIN);
        let mut state = live();
        state.seq = seq;
        let mut loaded = loaded(state, STARTS_AT);
        assert!(loaded.wants_snapshot());
        let new = seal(loaded.committed()).expect("a form").expect("small enough");
        let log_hash = Some(new.hash.clone());
        let (hash, at, format) = (new.hash, new.at, new.format);
        let row = SnapshotRow { seq: new.seq, hash, at, format, state: new.state, log_hash };
        let mut replay = Replay::new(id, row.seq);
        replay.begin_at(&row).expect("it stands for its log");
        assert!(!replay.finish().expect("nothing is left to read").wants_snapshot());
    }
}
