//! The clock: opens and closes auctions by sequenced commands at their exact times.
//!
//! Near due times are held in memory and sharpened by what the lanes commit; all of them are in
//! Postgres, and are read again regularly, so that nothing depends on a timer that may be missed.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{
    CatchUpError, Exchange,
    directory::Asker,
    request::{Answer, Failure, Reply, Request},
};
use crate::{
    domain::{auction::Command, id::LogId, time::Timestamp},
    store::{Due, Owned, Store, StoreError},
    wall_clock,
};

/// Changes of due times that may wait for the clock; past it the clock reads them from Postgres.
const NOTES_WAITING_MAX: usize = 65_536;
/// Due times further away than this are left in Postgres.
const HORIZON_MS: i64 = 60_000;
/// How often Postgres is asked for due times.
const READ_EVERY: Duration = Duration::from_secs(5);
/// How soon Postgres is asked again after it could not be: what became due meanwhile waits for it.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Due times that are read at once, and held in memory at most.
const HELD_MAX: usize = 200_000;
/// An auction whose command could not be sent is tried again after this.
const AGAIN_AFTER_MS: i64 = 50;
/// Overdue auctions that are worked on side by side while catching up.
const CATCH_UP_AT_ONCE: usize = 2_000;
/// Overdue auctions that are read at once while catching up, besides those that are left alone.
const CATCH_UP_PAGE: i64 = 10_000;
/// Rounds of catching up without progress before that is said.
const CATCH_UP_ROUNDS_MAX: usize = 5;
/// Refusals after which catching up leaves an auction to the clock.
const REFUSALS_MAX: usize = 2;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// The opening.
    Open,
    /// The closing.
    Close,
}

impl What {
    const fn command(self) -> Command {
        match self {
            What::Open => Command::Open,
            What::Close => Command::Close,
        }
    }
}

type Note = (LogId, Option<(Timestamp, What)>);

/// Tells the clock when something is due. Never waits.
#[derive(Clone)]
pub struct ClockHandle {
    notes: mpsc::Sender<Note>,
    missed: Arc<AtomicBool>,
    look: Arc<Notify>,
    blind: Arc<AtomicBool>,
}

impl ClockHandle {
    /// From now on this is due at that auction; `None` when nothing is any more.
    pub fn note(&self, id: LogId, due: Option<(Timestamp, What)>) {
        if self.notes.try_send((id, due)).is_err() {
            self.missed.store(true, Ordering::Release);
        }
    }

    /// What is due is read now: something that was sent may have come to nothing.
    pub fn look(&self) {
        self.missed.store(true, Ordering::Release);
        self.look.notify_one();
    }

    /// Whether what is due could not be read the last time, or what was read then was not sent yet.
    pub fn is_blind(&self) -> bool {
        self.blind.load(Ordering::Acquire)
    }
}

pub(super) struct Clock {
    notes: mpsc::Receiver<Note>,
    missed: Arc<AtomicBool>,
    look: Arc<Notify>,
    blind: Arc<AtomicBool>,
    store: Store,
    due: Agenda,
    /// Auctions that were heard of or sent something since the last reading began: what it finds of
    /// them is older than that.
    changed: HashSet<LogId>,
}

/// The near due times, by time and by auction.
#[derive(Default)]
struct Agenda {
    by_time: BTreeSet<(Timestamp, LogId, What)>,
    by_auction: HashMap<LogId, (Timestamp, What)>,
}

impl Agenda {
    fn set(&mut self, id: LogId, due: Option<(Timestamp, What)>) {
        if let Some((at, what)) = self.by_auction.remove(&id) {
            self.by_time.remove(&(at, id, what));
        }
        if let Some((at, what)) = due {
            self.by_auction.insert(id, (at, what));
            self.by_time.insert((at, id, what));
        }
    }

    fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _, _)| *at)
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<(LogId, What)> {
        let (_, id, what) = *self.by_time.first().filter(|(at, _, _)| *at <= now)?;
        self.set(id, None);
        Some((id, what))
    }
}

impl Clock {
    pub fn new(store: Store) -> (ClockHandle, Clock) {
        let (sender, notes) = mpsc::channel(NOTES_WAITING_MAX);
        let (missed, look, blind) = <(Arc<AtomicBool>, Arc<Notify>, Arc<AtomicBool>)>::default();
        let handle = ClockHandle {
            notes: sender,
            missed: Arc::clone(&missed),
            look: Arc::clone(&look),
            blind: Arc::clone(&blind),
        };
        let (due, changed) = Default::default();
        (handle, Clock { notes, missed, look, blind, store, due, changed })
    }

    /// Runs until the exchange refuses new commands.
    pub async fn run(self, exchange: Exchange) {
        let is_closing = || exchange.inner.closing.load(Ordering::Acquire);
        let send = |id, what: What| exchange.dispatch(id, what.command());
        let (store, owned) = (self.store.clone(), exchange.owned().clone());
        self.run_with(|| read_near(store.clone(), owned.clone()), send, is_closing).await;
    }

    /// What is due is sent at its time, also while Postgres is being read or does not answer.
    async fn run_with<R: Future<Output = Result<Vec<Due>, StoreError>>>(
        mut self,
        read: impl Fn() -> R,
        send: impl Fn(LogId, What) -> Result<(), Failure>,
        is_closing: impl Fn() -> bool,
    ) {
        let mut read_at = Instant::now();
        let (mut notes, look) = (Vec::new(), Arc::clone(&self.look));
        // At most one.
        let mut reading = FuturesUnordered::new();
        while !is_closing() {
            let is_time = Instant::now() >= read_at;
            if reading.is_empty() && (is_time || self.missed.swap(false, Ordering::AcqRel)) {
                self.changed.clear();
                reading.push(read());
                read_at = Instant::now() + READ_EVERY;
            }
            self.send_due(&send);
            let wake_at = self.next_wake();
            tokio::select! {
                biased;
                count = self.notes.recv_many(&mut notes, 1_024) => {
                    if count == 0 {
                        return;
                    }
                    self.take(&mut notes);
                }
                Some(rows) = reading.next() => {
                    let is_blind = !self.take_read(rows);
                    if is_blind {
                        read_at = Instant::now() + READ_AGAIN_AFTER;
                    }
                    self.send_due(&send);
                    self.blind.store(is_blind, Ordering::Release);
                }
                () = look.notified() => {}
                () = tokio::time::sleep_until(wake_at) => {}
                () = tokio::time::sleep_until(read_at), if reading.is_empty() => {}
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let wait_ms = self.due.next().map_or(HORIZON_MS, |at| at.ms_since(wall_clock::now()));
        Instant::now() + Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))
    }

    fn take(&mut self, notes: &mut Vec<Note>) {
        let horizon = wall_clock::now().plus_ms(HORIZON_MS);
        for (id, due) in notes.drain(..) {
            self.changed.insert(id);
            self.due.set(id, due.filter(|(at, _)| *at <= horizon));
        }
    }

    /// What was read counts, but for auctions that were heard of since the reading began. False when
    /// nothing could be read.
    fn take_read(&mut self, rows: Result<Vec<Due>, StoreError>) -> bool {
        let was_blind = self.blind.load(Ordering::Acquire);
        match rows {
            Ok(rows) => {
                if was_blind {
                    tracing::info!("the clock reads again what is due");
                }
                for row in rows.iter().filter(|row| !self.changed.contains(&LogId::from(row.id))) {
                    self.due.set(row.id.into(), Some((row.at, what(row))));
                }
                true
            }
            Err(error) => {
                if !was_blind {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "the clock cannot read what is due; it tries again");
                }
                false
            }
        }
    }

    fn send_due(&mut self, send: &impl Fn(LogId, What) -> Result<(), Failure>) {
        let now = wall_clock::now();
        while let Some((id, what)) = self.due.pop_due(now) {
            self.changed.insert(id);
            if let Err(Failure::Overloaded) = send(id, what) {
                self.due.set(id, Some((now.plus_ms(AGAIN_AFTER_MS), what)));
            }
        }
    }
}

/// Near due times, overdue ones included: whatever was missed is found here.
async fn read_near(store: Store, owned: Owned) -> Result<Vec<Due>, StoreError> {
    let until = wall_clock::now().plus_ms(HORIZON_MS);
    store.due_until(&owned.slots(), until, i64::try_from(HELD_MAX).unwrap_or(i64::MAX)).await
}

const fn what(due: &Due) -> What {
    if due.is_opening { What::Open } else { What::Close }
}

/// Opens and closes everything that is overdue; how many commands that took. Auctions whose log says
/// that nothing is due, whatever their row says, are said and left to the clock. What cannot be done
/// for another reason is tried again for as long as it takes: nothing is ready before (RULES).
pub(super) async fn catch_up(exchange: &Exchange, store: &Store) -> Result<u64, CatchUpError> {
    let slots = exchange.owned().slots();
    let read = |limit| store.due_until(&slots, wall_clock::now(), limit);
    let ask =
        |id, what: What| exchange.ask(id, Asker::Clock, move |_| Request::internal(what.command()));
    let excluded = &exchange.inner.excluded;
    let is_closing = || exchange.inner.closing.load(Ordering::Acquire);
    catch_up_with(read, ask, |id| excluded.has(id), || excluded.count(), is_closing).await
}

/// What was asked of a log, and refused.
type Asked = (LogId, Timestamp, bool);

async fn catch_up_with<R, A>(
    read: impl Fn(i64) -> R,
    ask: impl Fn(LogId, What) -> A,
    is_excluded: impl Fn(LogId) -> bool,
    excluded: impl Fn() -> usize,
    is_closing: impl Fn() -> bool,
) -> Result<u64, CatchUpError>
where
    R: Future<Output = Result<Vec<Due>, StoreError>>,
    A: Future<Output = Reply>,
{
    let (mut done, mut rounds_left, mut is_said) = (0, CATCH_UP_ROUNDS_MAX, false);
    let mut refusals: HashMap<Asked, usize> = HashMap::new();
    while !is_closing() {
        // Those that are left alone must not hide what stands behind them.
        let left_alone = refusals.len() + excluded();
        let limit = CATCH_UP_PAGE.saturating_add(i64::try_from(left_alone).unwrap_or(i64::MAX));
        let rows = read(limit).await?;
        let was_refused = |due: &Due| {
            let asked = (LogId::from(due.id), due.at, due.is_opening);
            refusals.get(&asked).is_some_and(|count| *count >= REFUSALS_MAX)
        };
        let auctions = rows.iter().filter(|due| was_refused(due)).count();
        let overdue: Vec<&Due> =
            rows.iter().filter(|due| !is_excluded(due.id.into()) && !was_refused(due)).collect();
        if overdue.is_empty() {
            if auctions > 0 {
                tracing::warn!(
                    auctions,
                    "auctions are overdue by their rows, but not by their logs"
                );
            }
            break;
        }
        let replies: Vec<(Asked, Reply)> = stream::iter(&overdue)
            .map(|due| {
                let (id, what) = (LogId::from(due.id), what(due));
                let (asked, asking) = ((id, due.at, due.is_opening), ask(id, what));
                async move { (asked, asking.await) }
            })
            .buffer_unordered(CATCH_UP_AT_ONCE)
            .collect()
            .await;
        let mut has_moved = false;
        for (asked, reply) in replies {
            match reply {
                Ok(Answer::Accepted { .. }) => {
                    done += 1;
                    has_moved = true;
                }
                // The clock may have been first, which is as good.
                Ok(Answer::Refused(_)) => {
                    *refusals.entry(asked).or_default() += 1;
                    has_moved = true;
                }
                Err(_) => {}
            }
        }
        if has_moved {
            (rounds_left, is_said) = (CATCH_UP_ROUNDS_MAX, false);
            continue;
        }
        rounds_left = rounds_left.saturating_sub(1);
        if rounds_left == 0 && !std::mem::replace(&mut is_said, true) {
            let auctions = overdue.len();
            tracing::error!(auctions, "overdue auctions cannot be opened or closed yet");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, io::Read};

    use uuid::Uuid;

    use super::*;
    use crate::domain::id::AuctionId;

    /// A Postgres that takes connections and says nothing.
    fn silent() -> (std::net::TcpListener, Store) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(listener.local_addr().expect("an address").port());
        config.user("hoga").dbname("hoga");
        (listener, Store::new(config).expect("a store"))
    }

    /// Whether somebody who asked has given up by now.
    fn is_given_up(postgres: &std::net::TcpListener) -> bool {
        let mut given_up = false;
        while let Ok((mut asking, _)) = postgres.accept() {
            asking.set_nonblocking(true).expect("set");
            let read = asking.read_to_end(&mut Vec::new());
            given_up |= read.is_ok();
        }
        given_up
    }

    fn refused() -> Reply {
        use super::super::request::Refusal;
        use crate::{
            domain::{
                auction::Rejection,
                money::{Amount, Currency, Money},
            },
            exchange::{AuctionRefusal, Figures},
        };
        let price = Money { amount: Amount::ONE, currency: Currency::Krw };
        let ends_at = Timestamp::EPOCH;
        let figures = Figures { seq: 1, price, minimum_next_bid: None, ends_at };
        let refusal = AuctionRefusal { rejection: Rejection::NotDue, figures, request_id: None };
        Ok(Answer::Refused(Refusal::Auction(refusal)))
    }

    fn overdue(numbers: std::ops::Range<u128>) -> Vec<Due> {
        let due =
            |n| Due { id: AuctionId(Uuid::from_u128(n)), at: Timestamp::EPOCH, is_opening: false };
        numbers.map(due).collect()
    }

    #[tokio::test]
    async fn catching_up_goes_on_for_as_long_as_the_clock_is_always_first() {
        // Twenty pages of which the clock does each before it is asked for.
        let left = RefCell::new(overdue(0..60));
        let read = |_| {
            let mut left = left.borrow_mut();
            let page: Vec<Due> = left.iter().take(3).copied().collect();
            let rest = left.split_off(page.len());
            *left = rest;
            std::future::ready(Ok(page))
        };
        let ask = |_, _| std::future::ready(refused());
        let done = catch_up_with(read, ask, |_| false, || 0, || false).await;
        assert_eq!(done.expect("read"), 0);
        assert!(left.borrow().is_empty(), "nothing is overdue any more");
    }

    #[tokio::test]
    async fn what_cannot_be_done_yet_is_tried_until_it_can() {
        let tries = RefCell::new(0);
        let read = |_| {
            let is_done = *tries.borrow() > 2 * CATCH_UP_ROUNDS_MAX;
            std::future::ready(Ok(if is_done { Vec::new() } else { overdue(0..1) }))
        };
        let ask = |_, _| {
            *tries.borrow_mut() += 1;
            let is_time = *tries.borrow() > 2 * CATCH_UP_ROUNDS_MAX;
            let accepted = Ok(Answer::Accepted { receipt: String::new() });
            std::future::ready(if is_time { accepted } else { Err(Failure::Overloaded) })
        };
        let done = catch_up_with(read, ask, |_| false, || 0, || false).await;
        assert_eq!(done.expect("read"), 1);
    }

    #[tokio::test]
    async fn what_contradicts_its_row_is_left_to_the_clock_and_hides_nothing() {
        // The rows of these never change, and one of another stands behind them.
        let (rows, opened) = (overdue(0..3), RefCell::new(false));
        let read = |limit: i64| {
            let mut page = rows.clone();
            if limit >= CATCH_UP_PAGE + 3 && !*opened.borrow() {
                page.extend(overdue(9..10));
            }
            std::future::ready(Ok(page))
        };
        let ask = |id: LogId, _| {
            let is_other = id == LogId::Auction(AuctionId(Uuid::from_u128(9)));
            *opened.borrow_mut() |= is_other;
            let accepted = Ok(Answer::Accepted { receipt: String::new() });
            std::future::ready(if is_other { accepted } else { refused() })
        };
        let done = catch_up_with(read, ask, |_| false, || 0, || false).await;
        assert_eq!(done.expect("read"), 1);
        assert!(*opened.borrow());
    }

    #[tokio::test]
    async fn what_is_due_is_sent_while_postgres_does_not_answer() {
        let (postgres, store) = silent();
        let (handle, clock) = Clock::new(store.clone());
        let id = LogId::Auction(AuctionId(Uuid::from_u128(7)));
        handle.note(id, Some((wall_clock::now(), What::Close)));
        let sent = RefCell::new(None);
        let send = |id, what| {
            *sent.borrow_mut() = Some((id, what, is_given_up(&postgres)));
            Ok(())
        };
        let read = || read_near(store.clone(), Owned::everything());
        clock.run_with(read, send, || sent.borrow().is_some()).await;
        assert_eq!(sent.take(), Some((id, What::Close, false)), "the reading goes on");
    }

    #[tokio::test]
    async fn a_reading_that_fails_is_followed_by_another_soon_and_the_clock_is_blind_until_then() {
        let (_listener, store) = silent();
        let (handle, clock) = Clock::new(store);
        let id = LogId::Auction(AuctionId(Uuid::from_u128(7)));
        let (readings, sent) = (RefCell::new(Vec::new()), RefCell::new(None));
        let read = || {
            let mut readings = readings.borrow_mut();
            readings.push((Instant::now(), handle.is_blind()));
            let LogId::Auction(id) = id;
            let due = Due { id, at: wall_clock::now(), is_opening: false };
            let rows = if readings.len() > 2 { Ok(vec![due]) } else { Err(StoreError::Busy) };
            std::future::ready(rows)
        };
        let send = |id, what| {
            *sent.borrow_mut() = Some((id, what, handle.is_blind()));
            Ok(())
        };
        clock.run_with(read, send, || sent.borrow().is_some()).await;
        assert_eq!(sent.take(), Some((id, What::Close, true)), "what was found is sent first");
        assert!(!handle.is_blind());
        let (times, blind): (Vec<Instant>, Vec<bool>) = readings.take().into_iter().unzip();
        assert_eq!(blind, [false, true, true]);
        for pause in times.windows(2).map(|pair| pair[1] - pair[0]) {
            assert!((READ_AGAIN_AFTER..READ_EVERY).contains(&pause), "{pause:?}");
        }
    }

    #[tokio::test]
    async fn what_is_due_is_read_when_something_may_have_come_to_nothing() {
        let (_listener, store) = silent();
        let (handle, clock) = Clock::new(store);
        let (begun, readings) = (Instant::now(), RefCell::new(0));
        let read = || {
            *readings.borrow_mut() += 1;
            // As if a lane had connected again meanwhile.
            handle.look();
            std::future::ready(Ok(Vec::new()))
        };
        clock.run_with(read, |_, _| Ok(()), || *readings.borrow() == 2).await;
        assert!(begun.elapsed() < READ_EVERY);
    }

    #[tokio::test]
    async fn what_was_heard_while_postgres_was_read_counts_more_than_what_was_read() {
        let (_listener, store) = silent();
        let (_handle, mut clock) = Clock::new(store);
        let [heard, other] = [1, 2].map(|n| AuctionId(Uuid::from_u128(n)));
        let (later, now) = (wall_clock::now().plus_ms(30_000), wall_clock::now());
        clock.take(&mut vec![(heard.into(), Some((later, What::Close)))]);
        let row = |id| Due { id, at: now, is_opening: false };
        clock.take_read(Ok(vec![row(heard), row(other)]));
        assert_eq!(clock.due.by_auction[&heard.into()], (later, What::Close));
        assert_eq!(clock.due.by_auction[&other.into()], (now, What::Close));
    }
}
