//! The lane: the single writer of the auctions that belong to it. One thread, one connection.
//!
//! While one transaction is in flight the next batch collects; that is the group commit, without a
//! timer and without a fixed batch size. If the outcome of a commit is unknown, everybody in it is
//! told so and its auctions are loaded again: never guess.

use std::{
    cell::{Cell, RefCell},
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Arbiter, ArbiterHandle};
use tokio::sync::Notify;

use super::{
    book::{Book, Draft, Need},
    clock::ClockHandle,
    loader::{self, LoaderParts},
    request::Failure,
    tallies::Tallies,
};
use crate::{
    domain::time::Timestamp,
    events::{
        in_process::Committed,
        relay::{Batch, RelayHandle},
    },
    store::{BatchWriter, CommitError, KnownReceipt, LaneConnectError, ReceiptKey},
    wall_clock,
};

/// Commands in one transaction.
pub const COMMANDS_PER_BATCH_MAX: usize = 1_024;
/// Commands of one auction in one transaction, so that a hot auction leaves room for its mates.
pub const COMMANDS_PER_AUCTION_PER_BATCH_MAX: usize = 512;
/// Batches that look for receipts before they decide, after a request that was not new.
const LOOK_FIRST_AFTER_REPEAT: u32 = 64;
/// Pause before a lost connection is made again; doubled until [`RECONNECT_PAUSE_MAX`].
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between two attempts to connect.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

thread_local! {
    static HERE: RefCell<Option<Rc<LaneFloor>>> = const { RefCell::new(None) };
}

pub(super) type SharedBook = Rc<RefCell<Book>>;

/// What the actors of a lane, its loader and the lane itself share: all on one thread.
#[derive(Default)]
pub(super) struct LaneFloor {
    enlisted: RefCell<VecDeque<SharedBook>>,
    to_load: RefCell<VecDeque<SharedBook>>,
    batch_wanted: Notify,
    load_wanted: Notify,
    stopping: Cell<bool>,
}

impl LaneFloor {
    /// The floor of the lane whose thread this is.
    pub fn here() -> Rc<LaneFloor> {
        HERE.with(|here| Rc::clone(here.borrow_mut().get_or_insert_with(Rc::default)))
    }

    /// Sees to what a book needs, once.
    pub fn attend(&self, book: &SharedBook) {
        let mut borrowed = book.borrow_mut();
        if borrowed.attended {
            return;
        }
        let (list, wanted) = match borrowed.need() {
            None => return,
            Some(Need::Load) => (&self.to_load, &self.load_wanted),
            Some(Need::Batch) => (&self.enlisted, &self.batch_wanted),
        };
        borrowed.attended = true;
        list.borrow_mut().push_back(Rc::clone(book));
        wanted.notify_one();
    }

    /// The lane or the loader has finished with a book for now.
    pub fn done(&self, book: &SharedBook) {
        book.borrow_mut().attended = false;
        self.attend(book);
    }

    /// Books whose logs have to be read; waits for at least one.
    pub async fn next_to_load(&self, limit: usize) -> Vec<SharedBook> {
        loop {
            let books: Vec<_> = take(&self.to_load, limit);
            if !books.is_empty() {
                return books;
            }
            self.load_wanted.notified().await;
        }
    }

    async fn next_enlisted(&self, limit: usize) -> Vec<SharedBook> {
        loop {
            let books: Vec<_> = take(&self.enlisted, limit);
            if !books.is_empty() {
                return books;
            }
            self.batch_wanted.notified().await;
        }
    }

    fn turn_everybody_away(&self) {
        for book in take(&self.enlisted, usize::MAX) {
            book.borrow_mut().turn_away(Failure::Overloaded);
            self.done(&book);
        }
    }
}

fn take(list: &RefCell<VecDeque<SharedBook>>, limit: usize) -> Vec<SharedBook> {
    let mut list = list.borrow_mut();
    let count = list.len().min(limit);
    list.drain(..count).collect()
}

/// A lane as the rest of the exchange sees it.
pub(super) struct LaneHandle {
    arbiter: Arbiter,
    connected: Arc<AtomicBool>,
}

impl LaneHandle {
    /// Starts the lane's thread.
    pub fn start(
        number: usize,
        parts: LoaderParts,
        relay: RelayHandle,
        clock: ClockHandle,
    ) -> Self {
        let arbiter = Arbiter::new();
        let connected = Arc::new(AtomicBool::new(false));
        let in_lane = Arc::clone(&connected);
        arbiter.spawn_fn(move || {
            let floor = LaneFloor::here();
            let loading = loader::run(Rc::clone(&floor), parts.clone());
            let (alone, look_first) = (Cell::new(0), Cell::new(0));
            let hashing = RandomState::new();
            let connected = in_lane;
            let tallies = Tallies::default();
            let lane = Lane {
                number,
                floor,
                parts,
                relay,
                clock,
                connected,
                alone,
                look_first,
                hashing,
                tallies,
            };
            spawn_or_abort("the loader", loading);
            spawn_or_abort("the lane", lane.run());
        });
        LaneHandle { arbiter, connected }
    }

    pub fn arbiter(&self) -> ArbiterHandle {
        self.arbiter.handle()
    }

    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    pub fn stop(&self) {
        self.arbiter.spawn_fn(|| LaneFloor::here().stopping.set(true));
        self.arbiter.stop();
    }
}

/// A lane that panicked may hold decisions that nobody will ever hear of: stop, and start again
/// from the log.
pub(super) fn spawn_or_abort(what: &'static str, task: impl Future<Output = ()> + 'static) {
    let task = actix::spawn(task);
    actix::spawn(async move {
        if task.await.is_err_and(|error| error.is_panic()) {
            tracing::error!("{what} panicked: aborting, to start again from the log");
            std::process::abort();
        }
    });
}

struct Lane {
    number: usize,
    floor: Rc<LaneFloor>,
    parts: LoaderParts,
    relay: RelayHandle,
    clock: ClockHandle,
    connected: Arc<AtomicBool>,
    /// After Postgres refused a batch: so many of the next ones hold one auction each, so that
    /// what it refuses does not take others down with it.
    alone: Cell<usize>,
    /// After a request that had been answered before: so many of the next batches look for such
    /// requests first, so that somebody who repeats them all the time costs a look-up, not a batch.
    look_first: Cell<u32>,
    hashing: RandomState,
    tallies: Tallies,
}

impl Lane {
    /// Connects, serves until the connection is lost, and connects again.
    async fn run(self) {
        let mut pause = RECONNECT_PAUSE;
        while !self.floor.stopping.get() {
            match self.connect().await {
                Ok((writer, lost)) => {
                    pause = RECONNECT_PAUSE;
                    self.connected.store(true, Ordering::Release);
                    // What it was sent before may have come to nothing.
                    self.clock.look();
                    self.serve(&writer, &lost).await;
                    self.connected.store(false, Ordering::Release);
                }
                Err(error) => {
                    let (lane, error): (_, &dyn std::error::Error) = (self.number, &error);
                    tracing::warn!(lane, error, "the lane cannot connect to Postgres");
                    self.floor.turn_everybody_away();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
                }
            }
        }
    }

    async fn connect(&self) -> Result<(BatchWriter, Rc<Notify>), LaneConnectError> {
        let (client, connection) =
            BatchWriter::connect(self.parts.store.config(), self.number).await?;
        let lane = self.number;
        let lost = Rc::new(Notify::new());
        let tell = Rc::clone(&lost);
        actix::spawn(async move {
            if let Err(error) = connection.await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(lane, error, "the lane lost its connection");
            }
            tell.notify_one();
        });
        Ok((BatchWriter::prepare(client).await?, lost))
    }

    /// Commits batch after batch while the connection lives.
    async fn serve(&self, writer: &BatchWriter, lost: &Notify) {
        while !writer.is_closed() {
            let books = tokio::select! {
                books = self.floor.next_enlisted(self.batch_limit()) => books,
                () = lost.notified() => return,
            };
            let taken = self.take(&books);
            if taken.is_empty() {
                // Closes that wait for bids on their way: let those arrive.
                tokio::task::yield_now().await;
                continue;
            }
            self.commit(writer, &taken).await;
            for book in &taken {
                self.floor.done(book);
            }
        }
    }

    fn batch_limit(&self) -> usize {
        let alone = self.alone.get();
        self.alone.set(alone.saturating_sub(1));
        if alone == 0 { COMMANDS_PER_BATCH_MAX } else { 1 }
    }

    /// Takes commands out of the books, up to the bound of a batch; those with nothing in it go
    /// back to the end of the line.
    fn take(&self, books: &[SharedBook]) -> Vec<SharedBook> {
        let now = wall_clock::now();
        // By their hashes: two keys that share one only wait for each other.
        let mut keys: HashSet<u64> = HashSet::new();
        let mut is_new =
            |key: &ReceiptKey| keys.insert(self.hashing.hash_one((key.user, &key.key)));
        let mut left = COMMANDS_PER_BATCH_MAX;
        let (mut taken, mut passed_over) = (Vec::with_capacity(books.len()), Vec::new());
        for book in books {
            let count = book.borrow_mut().take(
                left.min(COMMANDS_PER_AUCTION_PER_BATCH_MAX),
                now,
                &mut is_new,
            );
            left -= count;
            let list = if count == 0 { &mut passed_over } else { &mut taken };
            list.push(Rc::clone(book));
        }
        for book in &passed_over {
            self.floor.done(book);
        }
        if !taken.is_empty() {
            self.tallies.taken(COMMANDS_PER_BATCH_MAX - left);
        }
        taken
    }

    async fn commit(&self, writer: &BatchWriter, books: &[SharedBook]) {
        let began = Instant::now();
        let outcome = self.decide_and_write(writer, books).await;
        self.tallies.batch(began.elapsed(), outcome.as_ref().err());
        match outcome {
            Ok(written) => self.settle(books, written),
            Err(error) => self.undo(books, &error),
        }
    }

    /// Requests are taken for new, which nearly all are: the key of the receipts refuses the others,
    /// and then the batch is decided again with their first answers at hand.
    async fn decide_and_write(
        &self,
        writer: &BatchWriter,
        books: &[SharedBook],
    ) -> Result<Written, CommitError> {
        let looks_first = self.look_first.get();
        if looks_first > 0 {
            self.look_first.set(looks_first - 1);
            return self.look_decide_and_write(writer, books).await;
        }
        match self.write(writer, books, Vec::new()).await {
            Err(error) if error.is_repeat() => {
                self.look_first.set(LOOK_FIRST_AFTER_REPEAT);
                if !rewind(books) {
                    return Err(error);
                }
                self.look_decide_and_write(writer, books).await
            }
            outcome => outcome,
        }
    }

    async fn look_decide_and_write(
        &self,
        writer: &BatchWriter,
        books: &[SharedBook],
    ) -> Result<Written, CommitError> {
        let keys: Vec<ReceiptKey> = books
            .iter()
            .flat_map(|book| book.borrow().keys().cloned().collect::<Vec<_>>())
            .collect();
        let known = writer.find_receipts(&keys).await?;
        self.write(writer, books, known).await
    }

    async fn write(
        &self,
        writer: &BatchWriter,
        books: &[SharedBook],
        known: Vec<KnownReceipt>,
    ) -> Result<Written, CommitError> {
        let now = wall_clock::now();
        let draft = decide(books, known, now);
        let outbox_id = writer.write_and_commit(&draft.rows, now).await?;
        Ok(Written { draft, outbox_id })
    }

    /// After the commit, and only then: whoever asked hears first, then everybody else.
    fn settle(&self, books: &[SharedBook], written: Written) {
        for book in books {
            self.tallies.answers(book.borrow_mut().settle());
        }
        self.announce(written);
        for book in books {
            let mut book = book.borrow_mut();
            book.save(&self.parts.snapshots);
            book.note_if_over(&self.parts.over);
        }
    }

    fn announce(&self, Written { draft, outbox_id }: Written) {
        if let Some(outbox_id) = outbox_id {
            let events = Committed::new(draft.events);
            self.relay.hand_over(Batch { outbox_id, events });
        }
        for (id, due) in draft.due {
            self.clock.note(id, due);
        }
    }

    fn undo(&self, books: &[SharedBook], error: &CommitError) {
        let (lane, source): (_, &dyn std::error::Error) = (self.number, error);
        tracing::warn!(lane, auctions = books.len(), error = source, "a batch came to nothing");
        if matches!(error, CommitError::Refused(_)) && books.len() > 1 {
            self.alone.set(books.len());
        }
        for book in books {
            let mut book = book.borrow_mut();
            match error {
                CommitError::Conflict { .. }
                | CommitError::Closed
                | CommitError::NotSent(_)
                | CommitError::Refused(_) => book.retry(),
                CommitError::Full(_) => book.fail(Failure::StorageFull),
                CommitError::Unknown(_) => book.fail(Failure::OutcomeUnknown),
            }
        }
    }
}

/// A batch that is durable and that nobody has heard of yet.
struct Written {
    draft: Draft,
    /// Of its row in the outbox, if there are events.
    outbox_id: Option<i64>,
}

/// Undoes what was decided in every book; false if one of them has to be loaded again.
fn rewind(books: &[SharedBook]) -> bool {
    let rewound = books.iter().filter(|book| book.borrow_mut().rewind()).count();
    rewound == books.len()
}

fn decide(books: &[SharedBook], known: Vec<KnownReceipt>, now: Timestamp) -> Draft {
    let mut known = known.into_iter().peekable();
    let mut place = 0;
    let mut next_known = || {
        let found = known.next_if(|known| known.place == place);
        place += 1;
        found.map(|known| known.receipt)
    };
    let mut draft = Draft::default();
    for book in books {
        book.borrow_mut().decide(&mut next_known, now, &mut draft);
    }
    draft
}
