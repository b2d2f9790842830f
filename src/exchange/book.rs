//! The book of one auction: its state, what waits for a decision, and what was decided but is not
//! committed yet. Used on the lane's thread alone, never across an await.

use std::{collections::VecDeque, sync::Arc};

use super::{
    clock::What,
    desk::{Desk, Seat, Ticket},
    projection,
    request::{Answer, Failure, Receipt, Refusal, Reply, Request, Snapshot, salt_hex},
};
use crate::{
    domain::{
        auction::{Command, Event, Mark, Offer, PlaceBid, State, decide},
        id::AuctionId,
        time::Timestamp,
    },
    events::{envelope::Envelope, hash::Hash, log},
    store::{self, ReceiptKey, Rows},
};

/// A batch with a command in it may come to nothing so often before the caller is told.
const ATTEMPTS_MAX: u8 = 3;

/// Reads the committed state, or hears why there is none.
pub(super) type ReadState = Box<dyn FnOnce(Result<&State, Failure>) + Send>;

/// One auction's side of the floor.
pub(super) struct Book {
    desk: Arc<Desk>,
    phase: Phase,
    queue: VecDeque<(Ticket, Seat)>,
    /// Taken by the lane; answered when the batch is settled.
    taken: Vec<Taken>,
    reads: Vec<(ReadState, Seat)>,
    /// While a close is at the head of the queue: the epoch that it waits for.
    closing_epoch: Option<usize>,
    /// The bids received before the end stand before the close now.
    close_may_pass: bool,
    /// Whether the lane or the loader already knows of it.
    pub attended: bool,
}

/// What is known of the auction.
enum Phase {
    /// Nothing: it has to be loaded.
    Unloaded,
    /// Its log was read.
    Ready(Box<Ledger>),
}

/// The state that the log adds up to, and the log's end. Ahead of Postgres while a batch of this
/// book is under way: then nobody may read it, and it is dropped if the batch comes to nothing.
pub(super) struct Ledger {
    pub state: State,
    pub head: Hash,
    pub head_at: Timestamp,
    /// While a batch is under way: how it was before. `None` once something was decided that only
    /// reading the log again undoes.
    before: Option<Before>,
}

struct Before {
    mark: Mark,
    head: Hash,
    head_at: Timestamp,
}

struct Taken {
    ticket: Ticket,
    seat: Seat,
    reply: Option<Reply>,
}

impl Taken {
    fn of((ticket, seat): (Ticket, Seat)) -> Taken {
        Taken { ticket, seat, reply: None }
    }
}

/// How many callers of a batch were told what.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Told {
    pub accepted: u64,
    pub refused: u64,
    pub failed: u64,
}

/// Whether a close at the head of the queue may be decided.
enum Pass {
    Now(Box<(Ticket, Seat)>),
    AfterEarlierBids,
    WaitForArrivals,
}

/// What the lane should do for a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Its log has to be read.
    Load,
    /// Commands wait for a batch.
    Batch,
}

impl Book {
    pub fn new(desk: Arc<Desk>) -> Book {
        Book {
            desk,
            phase: Phase::Unloaded,
            queue: VecDeque::new(),
            taken: Vec::new(),
            reads: Vec::new(),
            closing_epoch: None,
            close_may_pass: false,
            attended: false,
        }
    }

    pub fn id(&self) -> AuctionId {
        self.desk.id
    }

    /// Takes a command in. Its place in the queue is its place in the order of decisions.
    pub fn queue(&mut self, ticket: Ticket, mut seat: Seat) {
        seat.arrived();
        self.queue.push_back((ticket, seat));
    }

    /// Takes a read in, and answers it now if the state is the committed one.
    pub fn read(&mut self, read: ReadState, mut seat: Seat) {
        seat.arrived();
        self.reads.push((read, seat));
        self.answer_reads();
    }

    fn answer_reads(&mut self) {
        let Phase::Ready(ledger) = &self.phase else { return };
        if self.taken.is_empty() {
            for (read, _seat) in self.reads.drain(..) {
                read(Ok(&ledger.state));
            }
        }
    }

    /// What has to happen next, if anything.
    pub fn need(&self) -> Option<Need> {
        let waits = !self.queue.is_empty() || !self.reads.is_empty();
        match self.phase {
            _ if !self.taken.is_empty() => None,
            Phase::Unloaded if waits => Some(Need::Load),
            Phase::Ready(_) if !self.queue.is_empty() => Some(Need::Batch),
            Phase::Unloaded | Phase::Ready(_) => None,
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
            let Some((ticket, seat)) = self.queue.pop_front() else { break };
            if matches!(ticket.request.command, Command::Close) {
                match self.pass_to_close((ticket, seat), now) {
                    Pass::Now(close) => self.taken.push(Taken::of(*close)),
                    Pass::AfterEarlierBids => {}
                    Pass::WaitForArrivals => break,
                }
                continue;
            }
            if ticket.request.receipt_key.as_ref().is_some_and(|key| !is_new(key)) {
                postponed.push((ticket, seat));
                continue;
            }
            self.taken.push(Taken::of((ticket, seat)));
        }
        for waiting in postponed.into_iter().rev() {
            self.queue.push_front(waiting);
        }
        self.taken.len()
    }

    /// A close waits for whoever had a seat when its time had come: their bids were received
    /// before the end although they are still on their way here. Once they have all arrived they
    /// go first; those received later hear that the auction has ended.
    fn pass_to_close(&mut self, close: (Ticket, Seat), now: Timestamp) -> Pass {
        let Phase::Ready(ledger) = &self.phase else { return Pass::Now(Box::new(close)) };
        let ends_at = ledger.state.ends_at;
        if now < ends_at || self.close_may_pass {
            self.close_may_pass = false;
            return Pass::Now(Box::new(close));
        }
        let epoch = *self.closing_epoch.get_or_insert_with(|| self.desk.next_epoch());
        if !self.desk.is_drained(epoch) {
            self.queue.push_front(close);
            return Pass::WaitForArrivals;
        }
        self.closing_epoch = None;
        let in_time =
            |ticket: &Ticket| received_at(&ticket.request.command).is_some_and(|at| at < ends_at);
        let (early, late): (VecDeque<_>, VecDeque<_>) =
            self.queue.drain(..).partition(|(ticket, _)| in_time(ticket));
        if early.is_empty() {
            self.queue = late;
            return Pass::Now(Box::new(close));
        }
        self.queue = early;
        self.queue.push_back(close);
        self.queue.extend(late);
        self.close_may_pass = true;
        Pass::AfterEarlierBids
    }

    /// The keys of the commands in the batch, in order.
    pub fn keys(&self) -> impl Iterator<Item = &ReceiptKey> {
        self.taken.iter().filter_map(|taken| taken.ticket.request.receipt_key.as_ref())
    }

    /// Decides what was taken, in order, and adds what must be written to the batch. `known` gives
    /// the kept answer for each key in turn.
    pub fn decide(
        &mut self,
        known: &mut dyn FnMut() -> Option<store::Receipt>,
        now: Timestamp,
        batch: &mut Draft,
    ) {
        let id = self.desk.id;
        let Phase::Ready(ledger) = &mut self.phase else { return };
        let seq_before = ledger.state.seq;
        ledger.remember();
        for taken in &mut self.taken {
            let request = &taken.ticket.request;
            let kept = request.receipt_key.as_ref().and_then(|key| known().map(|kept| (key, kept)));
            taken.reply = Some(match kept {
                Some((key, receipt)) => replayed(key, receipt),
                None => Ok(ledger.decide(id, request, now, batch)),
            });
        }
        if ledger.state.seq > seq_before {
            projection::push_standing(&mut batch.rows.standings, id, ledger, seq_before + 1);
            batch.due.push((id, projection::due(&ledger.state)));
        }
    }

    /// Forgets what was decided, so that it can be decided again; false if only reading the log again
    /// could do that.
    pub fn rewind(&mut self) -> bool {
        let Phase::Ready(ledger) = &mut self.phase else { return false };
        for taken in &mut self.taken {
            taken.reply = None;
        }
        ledger.rewind()
    }

    /// The batch is durable: everybody hears their answer. How many were told what.
    pub fn settle(&mut self) -> Told {
        let mut told = Told::default();
        for taken in self.taken.drain(..) {
            let reply = taken.reply.unwrap_or(Err(Failure::OutcomeUnknown));
            match &reply {
                Ok(Answer::Accepted { .. }) => told.accepted += 1,
                Ok(Answer::Refused(_)) => told.refused += 1,
                Err(_) => told.failed += 1,
            }
            taken.ticket.answer(reply);
            drop(taken.seat);
        }
        self.answer_reads();
        told
    }

    /// The batch came to nothing: what was decided is forgotten, and the log is read again. The
    /// commands wait for another batch, except those that have waited for too many.
    pub fn retry(&mut self) {
        self.phase = Phase::Unloaded;
        for mut taken in std::mem::take(&mut self.taken).into_iter().rev() {
            taken.ticket.attempts += 1;
            if taken.ticket.attempts >= ATTEMPTS_MAX {
                taken.ticket.answer(Err(Failure::Overloaded));
            } else {
                self.queue.push_front((taken.ticket, taken.seat));
            }
        }
    }

    /// Everybody in the batch hears that it failed, and the log is read again.
    pub fn fail(&mut self, failure: Failure) {
        self.phase = Phase::Unloaded;
        for taken in self.taken.drain(..) {
            taken.ticket.answer(Err(failure));
        }
    }

    /// Everybody who waits hears that nothing happened.
    pub fn turn_away(&mut self, failure: Failure) {
        for (ticket, _seat) in self.queue.drain(..) {
            ticket.answer(Err(failure));
        }
        for (read, _seat) in self.reads.drain(..) {
            read(Err(failure));
        }
    }

    /// The log was read.
    pub fn loaded(&mut self, ledger: Ledger) {
        self.phase = Phase::Ready(Box::new(ledger));
        self.answer_reads();
    }

    /// There is no such auction: nobody needs its desk.
    pub fn not_found(&mut self) {
        self.turn_away(Failure::AuctionNotFound);
        if self.desk.close_if_empty() {
            self.desk.passivate();
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
    pub due: Vec<(AuctionId, Option<(Timestamp, What)>)>,
}

impl Ledger {
    /// A log that was read.
    pub const fn new(state: State, head: Hash, head_at: Timestamp) -> Ledger {
        Ledger { state, head, head_at, before: None }
    }

    fn remember(&mut self) {
        let mark = self.state.mark();
        self.before = Some(Before { mark, head: self.head, head_at: self.head_at });
    }

    fn rewind(&mut self) -> bool {
        let Some(before) = self.before.take() else { return false };
        self.state.rewind(before.mark);
        self.head = before.head;
        self.head_at = before.head_at;
        true
    }

    fn decide(
        &mut self,
        id: AuctionId,
        request: &Request,
        now: Timestamp,
        batch: &mut Draft,
    ) -> Answer {
        // Time in a log never runs backwards, whatever the clock did between two runs.
        let at = now.max(self.head_at);
        let answer = match decide(&self.state, &request.command, at) {
            Ok(events) => {
                let receipt = self.apply(id, &request.command, &events, at, batch);
                Answer::Accepted { receipt }
            }
            Err(rejection) => Answer::Refused(Refusal {
                rejection,
                snapshot: Snapshot::of(&self.state),
                request_id: request.request_id.clone(),
            }),
        };
        if let Some(key) = &request.receipt_key {
            projection::push_receipt(&mut batch.rows.receipts, key, &answer);
        }
        answer
    }

    fn evolve(&mut self, event: &Event) {
        if !event.can_be_rewound() {
            self.before = None;
        }
        match &mut self.before {
            Some(before) => self.state.evolve_since(&mut before.mark, event),
            None => self.state.evolve(event),
        }
    }

    /// Applies events, writes them down, and makes the receipt of the one that was asked for.
    fn apply(
        &mut self,
        id: AuctionId,
        command: &Command,
        events: &[Event],
        at: Timestamp,
        batch: &mut Draft,
    ) -> String {
        let mut asked_for = None;
        for event in events {
            self.evolve(event);
            let entry = log::encode(id, &self.state, event, at, self.head);
            self.head = entry.hash;
            self.head_at = at;
            if let Some(outcome) = projection::receipt_outcome(event) {
                asked_for = Some((entry.seq, entry.hash, outcome));
            }
            if let Event::Edited(edited) = event {
                batch.rows.items.push(projection::item_row(id, &edited.item, &edited.terms));
            }
            batch.events.push(Envelope::of(&entry));
            projection::push_event(&mut batch.rows.events, entry);
        }
        let (seq, hash, outcome) = asked_for.unwrap_or((self.state.seq, self.head, "done"));
        // What bought at once has no commitment to open.
        let salt = ceiling_salt(command).filter(|_| outcome != "bought");
        let snapshot = Snapshot::of(&self.state);
        let receipt = Receipt {
            auction_id: id,
            seq,
            outcome,
            price: snapshot.price,
            minimum_next_bid: snapshot.minimum_next_bid,
            ends_at: self.state.ends_at,
            reserve_met: self.state.standing.reserve_met,
            received_at: received_at(command).unwrap_or(at),
            decided_at: at,
            hash,
            ceiling_salt: salt.as_ref().map(|salt| salt.as_str()),
        };
        receipt.encode()
    }
}

/// What opens the commitment to a ceiling; told to its bidder alone.
fn ceiling_salt(command: &Command) -> Option<const_hex::Buffer<16>> {
    if let Command::PlaceBid(PlaceBid { offer: Offer::Ceiling(_), salt, .. }) = command {
        Some(salt_hex(*salt))
    } else {
        None
    }
}

/// The first answer again; unless the key came with another request.
fn replayed(key: &ReceiptKey, kept: store::Receipt) -> Reply {
    if kept.fingerprint != key.fingerprint {
        return Err(Failure::KeyReused);
    }
    if kept.accepted {
        return Ok(Answer::Accepted { receipt: kept.answer });
    }
    serde_json::from_str(&kept.answer).map(Answer::Refused).map_err(|error| {
        tracing::error!(%error, "a kept refusal cannot be read");
        Failure::LogDamaged
    })
}

fn received_at(command: &Command) -> Option<Timestamp> {
    match command {
        Command::PlaceBid(bid) => Some(bid.received_at),
        Command::BuyNow(buy) => Some(buy.received_at),
        Command::RetractBid(retraction) => Some(retraction.received_at),
        Command::Open
        | Command::Close
        | Command::Edit(_)
        | Command::Withdraw(_)
        | Command::CancelByOperator(_) => None,
    }
}
