//! A log on its way to a state: from its first event or from a snapshot, part by part. Costs time
//! for every event, so it runs beside the lane's thread.

use super::{
    kinds::{Subject, auction_form::FormError},
    queue::{Chain, LoadedLog},
    snapshots,
};
use crate::{
    domain::{id::LogId, time::Timestamp},
    log::{DecodeError, hash::Hash},
    store::{EventRow, LogRange, SnapshotRow},
};

/// A log that does not add up to a state.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    #[error("event {seq} cannot be read")]
    Event {
        seq: i64,
        #[source]
        source: DecodeError,
    },
    #[error("event {0} is missing")]
    Gap(i64),
    #[error("the log does not begin with its first event")]
    Beginning,
    #[error("the hash of event {0} is damaged")]
    Hash(i64),
    #[error("its replay panicked")]
    Panic,
}

/// A snapshot that does not stand for its log.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("it has format {0}, which is another version's")]
    Format(i16),
    #[error("the log has another hash at its event, or no such event")]
    OtherLog,
    #[error("its bytes are not those that were written")]
    Damaged,
    #[error("it cannot be read")]
    Form(#[from] FormError),
    #[error("reading it panicked")]
    Panic,
}

/// See the module.
pub(super) struct Replay {
    pub id: LogId,
    /// The event that the log ends with.
    pub last: i64,
    /// Up to which event it was applied.
    reached: i64,
    subject: Option<Subject>,
    head: Hash,
    head_at: Timestamp,
    /// Up to which event a snapshot holds it.
    saved_seq: u64,
}

impl Replay {
    /// Of a log of which nothing is known yet but its length.
    pub const fn new(id: LogId, last: i64) -> Replay {
        let (head, head_at) = (Hash::ZERO, Timestamp::EPOCH);
        Replay { id, last, reached: 0, subject: None, head, head_at, saved_seq: 0 }
    }

    /// Goes on from a snapshot.
    pub fn begin_at(&mut self, row: &SnapshotRow) -> Result<(), SnapshotError> {
        let (subject, head) = snapshots::open(self.id, row)?;
        self.reached = row.seq;
        self.saved_seq = subject.seq();
        self.subject = Some(subject);
        self.head = head;
        self.head_at = row.at;
        Ok(())
    }

    /// What to read next, at most so many events.
    pub fn next(&self, events_max: i64) -> LogRange {
        let last = self.last.min(self.reached.saturating_add(events_max));
        LogRange { log: self.id, after: self.reached, last }
    }

    /// How many events are still to be read.
    pub const fn left(&self) -> i64 {
        self.last - self.reached
    }

    pub fn reached(&self, seq: i64) -> bool {
        self.reached >= seq
    }

    /// An event that should be there is not.
    pub const fn gap(&self) -> ReplayError {
        ReplayError::Gap(self.reached + 1)
    }

    pub fn apply(&mut self, row: &EventRow) -> Result<(), ReplayError> {
        if row.seq != self.reached + 1 {
            return Err(self.gap());
        }
        let unreadable = |source| ReplayError::Event { seq: row.seq, source };
        match &mut self.subject {
            Some(subject) => subject.follow(row).map_err(unreadable)?,
            none => {
                let begun = Subject::begun(self.id, row).map_err(unreadable)?;
                *none = Some(begun.ok_or(ReplayError::Beginning)?);
            }
        }
        self.head = Hash::from_slice(&row.hash).ok_or(ReplayError::Hash(row.seq))?;
        self.head_at = row.at;
        self.reached = row.seq;
        Ok(())
    }

    pub fn finish(self) -> Result<LoadedLog, ReplayError> {
        if self.left() > 0 {
            return Err(self.gap());
        }
        let subject = self.subject.ok_or(ReplayError::Beginning)?;
        let chain = Chain { id: self.id, head: self.head, head_at: self.head_at };
        Ok(LoadedLog::new(subject, chain).saved_at(self.saved_seq))
    }
}
