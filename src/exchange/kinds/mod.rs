//! The kinds of logs: a closed list. What differs between them stands in a file for each; lanes,
//! queues, the loader and snapshots know of it only what is said here.

pub(super) mod auction;
pub mod auction_form;

use self::auction_form::FormError;
use super::{
    clock::What,
    queue::{Chain, Draft},
    request::{Answer, Refusal, Request},
};
use crate::{
    domain::{
        auction::{self as auctions, Event},
        id::LogId,
        time::Timestamp,
    },
    log::{self, DecodeError},
    store::{EventRow, StandingColumns},
};

/// What is asked of the subject of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Of an auction.
    Auction(auctions::Command),
}

impl From<auctions::Command> for Command {
    fn from(command: auctions::Command) -> Command {
        Command::Auction(command)
    }
}

impl Command {
    /// Whether it ends its subject, so that what was received before the end must go first.
    pub(super) const fn is_close(&self) -> bool {
        match self {
            Command::Auction(command) => matches!(command, auctions::Command::Close),
        }
    }

    /// When it was received, if that counts for the clock.
    pub(super) fn received_at(&self) -> Option<Timestamp> {
        match self {
            Command::Auction(command) => auction::received_at(command),
        }
    }

    /// Whether its decision reads or changes rows beside the logs, which must then be locked before
    /// it is decided.
    pub(super) const fn needs_rows(&self) -> bool {
        match self {
            Command::Auction(command) => matches!(command, auctions::Command::Edit(_)),
        }
    }
}

/// What a log adds up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Auction(auctions::State),
}

/// A subject as it was, to go back to.
pub(super) enum Mark {
    Auction(auctions::Mark),
}

impl Subject {
    /// What the first event of a log makes; `None` if that is no first event.
    pub fn begun(id: LogId, row: &EventRow) -> Result<Option<Subject>, DecodeError> {
        match id {
            LogId::Auction(_) => Ok(match decoded(row)? {
                Event::Scheduled(first) => {
                    Some(Subject::Auction(auctions::State::scheduled(&first)))
                }
                Event::Edited(_)
                | Event::Withdrawn
                | Event::Opened
                | Event::BidPlaced(_)
                | Event::BidRetracted(_)
                | Event::Extended { .. }
                | Event::Bought(_)
                | Event::Closed(_) => None,
            }),
        }
    }

    /// Applies one more event of the log.
    pub fn follow(&mut self, row: &EventRow) -> Result<(), DecodeError> {
        match self {
            Subject::Auction(state) => state.evolve(&decoded(row)?),
        }
        Ok(())
    }

    /// The last event's sequence number.
    pub const fn seq(&self) -> u64 {
        match self {
            Subject::Auction(state) => state.seq,
        }
    }

    /// The end as it stands: what was received before it is decided before the close.
    pub const fn ends_at(&self) -> Timestamp {
        match self {
            Subject::Auction(state) => state.ends_at,
        }
    }

    /// How much of it there is in memory, in bids, once it is over and only read any more.
    pub fn size_when_over(&self) -> Option<usize> {
        match self {
            Subject::Auction(state) => auction::is_over(state).then_some(state.bids.len()),
        }
    }

    /// What [`Subject::rewind`] needs to come back here.
    pub const fn mark(&self) -> Mark {
        match self {
            Subject::Auction(state) => Mark::Auction(state.mark()),
        }
    }

    /// Undoes what was decided since the mark, which must be this subject's.
    pub fn rewind(&mut self, mark: Mark) {
        match (self, mark) {
            (Subject::Auction(state), Mark::Auction(mark)) => state.rewind(mark),
        }
    }

    /// Decides one request, applies what follows from it and writes it down.
    pub fn decide(
        &mut self,
        mark: &mut Mark,
        chain: &mut Chain,
        request: &Request,
        at: Timestamp,
        draft: &mut Draft,
    ) -> Decided {
        match (self, mark, &request.command) {
            (Subject::Auction(state), Mark::Auction(mark), Command::Auction(command)) => {
                let mut deciding = auction::Deciding { state, mark, chain, draft };
                deciding.decide(command, request.request_id.as_deref(), at)
            }
        }
    }

    /// Where it stands, for those who read; `first_seq` is the first event of the batch.
    pub fn push_standing(&self, columns: &mut StandingColumns, chain: &Chain, first_seq: u64) {
        match self {
            Subject::Auction(state) => auction::push_standing(columns, state, chain, first_seq),
        }
    }

    /// When the clock next has something to do, and what.
    pub fn due(&self) -> Option<(Timestamp, What)> {
        match self {
            Subject::Auction(state) => auction::due(state),
        }
    }

    /// As bytes, for a snapshot.
    pub fn encode(&self) -> Result<Vec<u8>, FormError> {
        match self {
            Subject::Auction(state) => auction_form::encode(state),
        }
    }

    /// From the bytes of a snapshot.
    pub fn decode(id: LogId, bytes: &[u8]) -> Result<Subject, FormError> {
        match id {
            LogId::Auction(_) => auction_form::decode(bytes).map(Subject::Auction),
        }
    }
}

/// Which encoding [`Subject::encode`] writes, and [`Subject::decode`] reads alone.
pub(super) const fn format(id: LogId) -> i16 {
    match id {
        LogId::Auction(_) => auction_form::FORMAT,
    }
}

/// An answer, and of which events it can be made again.
pub(super) struct Decided {
    pub answer: Answer,
    /// None where it has to be kept as text.
    pub made_of: Option<MadeOf>,
}

/// The events that an answer can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MadeOf {
    /// The one that was asked for.
    pub seq: i64,
    /// How many followed from the request, from that one on.
    pub events: i16,
}

/// The receipt that these events, as [`MadeOf`] names them, were answered with; `None` if they cannot
/// be read.
pub(super) fn receipt_again(id: LogId, events: &[EventRow]) -> Option<String> {
    match id {
        LogId::Auction(id) => auction::receipt_again(id, events),
    }
}

/// A refusal of this log that was kept.
pub(super) fn kept_refusal(id: LogId, text: &str) -> serde_json::Result<Refusal> {
    match id {
        LogId::Auction(_) => serde_json::from_str(text).map(Refusal::Auction),
    }
}

fn decoded(row: &EventRow) -> Result<Event, DecodeError> {
    log::decode(&row.kind, &row.data, row.private.as_deref())
}
