//! The loader of a lane: reads logs from Postgres, many auctions in one query, and replays them.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use super::{
    book::{Book, Ledger},
    lane::LaneFloor,
    request::Failure,
};
use crate::{
    domain::{
        auction::{Event, State},
        id::AuctionId,
    },
    events::{
        hash::Hash,
        log::{self, DecodeError},
    },
    store::{EventRow, Store},
};

/// Auctions that are read at once.
const LOADED_AT_ONCE_MAX: usize = 500;
/// A log that cannot be read now is tried again so often before those who wait are turned away.
const ATTEMPTS_MAX: u32 = 4;
/// Pause before the second attempt; doubled for each after it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Loads what the lane asks for, until the lane's thread stops.
pub(super) async fn run(floor: Rc<LaneFloor>, store: Store) {
    loop {
        let books = floor.next_to_load(LOADED_AT_ONCE_MAX).await;
        match read_logs(&store, &books).await {
            Some(logs) => deliver(&books, logs),
            None => turn_away(&books, Failure::Overloaded),
        }
        for book in &books {
            floor.done(book);
        }
    }
}

async fn read_logs(store: &Store, books: &[Rc<RefCell<Book>>]) -> Option<Vec<EventRow>> {
    let ids: Vec<AuctionId> = books.iter().map(|book| book.borrow().id()).collect();
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS_MAX {
        match store.logs_whole(&ids).await {
            Ok(rows) => return Some(rows),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(attempt, auctions = ids.len(), error, "logs cannot be read");
            }
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    None
}

fn turn_away(books: &[Rc<RefCell<Book>>], failure: Failure) {
    for book in books {
        book.borrow_mut().turn_away(failure);
    }
}

fn deliver(books: &[Rc<RefCell<Book>>], rows: Vec<EventRow>) {
    let mut logs: HashMap<AuctionId, Vec<EventRow>> = HashMap::new();
    for row in rows {
        logs.entry(row.auction_id).or_default().push(row);
    }
    for book in books {
        let id = book.borrow().id();
        let Some(log) = logs.remove(&id) else {
            book.borrow_mut().not_found();
            continue;
        };
        match replay(&log) {
            Ok(ledger) => book.borrow_mut().loaded(ledger),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(auction_id = %id, error, "the log cannot be replayed");
                book.borrow_mut().turn_away(Failure::LogDamaged);
            }
        }
    }
}

/// A log that does not add up to a state.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error("event {seq} cannot be read")]
    Event {
        seq: i64,
        #[source]
        source: DecodeError,
    },
    #[error("the log has a gap before event {0}")]
    Gap(i64),
    #[error("the log does not begin with its first event, or its last hash is damaged")]
    Ends,
}

fn replay(rows: &[EventRow]) -> Result<Ledger, ReplayError> {
    let mut events = Vec::with_capacity(rows.len());
    for (place, row) in rows.iter().enumerate() {
        if i64::try_from(place + 1) != Ok(row.seq) {
            return Err(ReplayError::Gap(row.seq));
        }
        let event = log::decode(&row.kind, &row.data, row.private.as_deref())
            .map_err(|source| ReplayError::Event { seq: row.seq, source })?;
        events.push(event);
    }
    let state = State::replay(events.iter().collect::<Vec<&Event>>()).ok_or(ReplayError::Ends)?;
    let last = rows.last().ok_or(ReplayError::Ends)?;
    let head = Hash::from_slice(&last.hash).ok_or(ReplayError::Ends)?;
    Ok(Ledger::new(state, head, last.at))
}
