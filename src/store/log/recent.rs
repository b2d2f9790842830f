//! Events that were committed a moment ago, with both halves, for whoever follows the logs in this
//! process and would else read again what was just written.
//!
//! Holds nothing that is not committed, and nothing that cannot be read from Postgres as well: whatever
//! finds no room here is. Bounded by events and bytes, the oldest goes first.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{batch::EventColumns, events::EventRow};
use crate::domain::id::AuctionId;

/// Events that are kept at most.
const EVENTS_MAX: usize = 65_536;
/// Bytes of their halves that are kept at most.
const BYTES_MAX: usize = 64 << 20;

/// Clones share what they keep.
#[derive(Clone)]
pub(in crate::store) struct Recent(Arc<Mutex<Kept>>);

struct Kept {
    events_max: usize,
    bytes_max: usize,
    /// Of each log without a gap.
    by_log: HashMap<AuctionId, VecDeque<EventRow>>,
    /// In the order in which they came; of those that were taken as well.
    order: VecDeque<(AuctionId, i64)>,
    bytes: usize,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent::within(EVENTS_MAX, BYTES_MAX)
    }
}

impl Recent {
    fn within(events_max: usize, bytes_max: usize) -> Recent {
        let (by_log, order) = Default::default();
        Recent(Arc::new(Mutex::new(Kept { events_max, bytes_max, by_log, order, bytes: 0 })))
    }

    /// Keeps events that are committed.
    pub fn keep(&self, columns: EventColumns) {
        let EventColumns { auction_id, seq, kind, at, data, private, hash } = columns;
        let mut kept = self.kept();
        let rows =
            auction_id.into_iter().zip(seq).zip(kind).zip(at).zip(data).zip(private).zip(hash);
        for ((((((auction_id, seq), kind), at), data), private), hash) in rows {
            let kind = kind.to_owned();
            kept.push(EventRow { auction_id, seq, kind, at, data, private, hash });
        }
    }

    /// Takes the events of a log from `first` to `last`, if all of them are here; those before them are
    /// dropped.
    pub fn take(&self, id: AuctionId, first: i64, last: i64) -> Option<Vec<EventRow>> {
        let mut kept = self.kept();
        let log = kept.by_log.get_mut(&id)?;
        let is_here = log.front().is_some_and(|event| event.seq <= first)
            && log.back().is_some_and(|event| event.seq >= last);
        if !is_here {
            return None;
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(event) = log.pop_front_if(|event| event.seq <= last) {
            bytes += size(&event);
            if event.seq >= first {
                taken.push(event);
            }
        }
        if log.is_empty() {
            kept.by_log.remove(&id);
        }
        kept.bytes -= bytes;
        Some(taken)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, event: EventRow) {
        let (id, seq) = (event.auction_id, event.seq);
        let log = self.by_log.entry(id).or_default();
        // After a gap, or beside another writer, what was here is of no use.
        if log.back().is_some_and(|last| last.seq + 1 != seq) {
            self.bytes -= log.iter().map(size).sum::<usize>();
            log.clear();
        }
        self.bytes += size(&event);
        log.push_back(event);
        self.order.push_back((id, seq));
        while self.order.len() > self.events_max || self.bytes > self.bytes_max {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((id, seq)) = self.order.pop_front() else { return };
        let Some(log) = self.by_log.get_mut(&id) else { return };
        if let Some(event) = log.pop_front_if(|event| event.seq == seq) {
            self.bytes -= size(&event);
        }
        if log.is_empty() {
            self.by_log.remove(&id);
        }
    }
}

fn size(event: &EventRow) -> usize {
    event.data.len() + event.private.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::time::Timestamp;

    fn log(number: u128) -> AuctionId {
        AuctionId(Uuid::from_u128(number))
    }

    /// Events of ten bytes each.
    fn columns(id: AuctionId, seqs: impl IntoIterator<Item = i64>) -> EventColumns {
        let mut columns = EventColumns::default();
        for seq in seqs {
            columns.auction_id.push(id);
            columns.seq.push(seq);
            columns.kind.push("bid.placed");
            columns.at.push(Timestamp::EPOCH);
            columns.data.push("1234567".to_owned());
            columns.private.push(Some("890".to_owned()));
            columns.hash.push(vec![0; 32]);
        }
        columns
    }

    fn taken(recent: &Recent, id: AuctionId, first: i64, last: i64) -> Option<Vec<i64>> {
        let taken = recent.take(id, first, last)?;
        Some(taken.iter().map(|event| event.seq).collect())
    }

    #[test]
    fn what_was_committed_is_taken_once_and_only_whole() {
        let recent = Recent::within(100, 1_000);
        recent.keep(columns(log(1), 5..10));
        recent.keep(columns(log(2), 1..3));
        assert_eq!(taken(&recent, log(1), 4, 6), None, "the fourth is in Postgres alone");
        assert_eq!(taken(&recent, log(1), 9, 10), None, "the tenth is not there yet");
        assert_eq!(taken(&recent, log(1), 6, 8), Some(vec![6, 7, 8]));
        assert_eq!(taken(&recent, log(1), 8, 9), None, "it was taken");
        assert_eq!(taken(&recent, log(1), 9, 9), Some(vec![9]));
        assert_eq!(taken(&recent, log(2), 1, 2), Some(vec![1, 2]));
        let kept = recent.kept();
        assert!(kept.by_log.is_empty() && kept.bytes == 0);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large() {
        for recent in [Recent::within(3, 1_000), Recent::within(100, 30)] {
            recent.keep(columns(log(1), 1..3));
            recent.keep(columns(log(2), 1..3));
            assert_eq!(taken(&recent, log(1), 1, 2), None);
            assert_eq!(taken(&recent, log(1), 2, 2), Some(vec![2]));
            assert_eq!(taken(&recent, log(2), 1, 2), Some(vec![1, 2]));
            assert_eq!(recent.kept().bytes, 0);
        }
    }

    #[test]
    fn what_is_taken_makes_room_and_its_place_in_the_order_harms_nobody() {
        let recent = Recent::within(4, 1_000);
        for seq in 1..50 {
            recent.keep(columns(log(1), [seq]));
            assert_eq!(taken(&recent, log(1), seq, seq), Some(vec![seq]));
        }
        recent.keep(columns(log(1), 50..53));
        assert_eq!(taken(&recent, log(1), 50, 52), Some(vec![50, 51, 52]));
        assert!(recent.kept().order.len() <= 4);
    }

    #[test]
    fn a_log_with_a_gap_begins_anew() {
        let recent = Recent::within(100, 1_000);
        recent.keep(columns(log(1), 1..3));
        recent.keep(columns(log(1), 4..6));
        assert_eq!(taken(&recent, log(1), 1, 5), None);
        assert_eq!(taken(&recent, log(1), 4, 5), Some(vec![4, 5]));
        assert_eq!(recent.kept().bytes, 0);
    }
}
