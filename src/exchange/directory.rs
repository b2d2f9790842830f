//! The directory: from an auction's id to its mailbox, started once however many ask.

use std::{sync::Arc, time::Duration};

use actix::{Actor, ArbiterHandle};
use dashmap::{DashMap, Entry};

use super::{
    mailbox::{LogActor, Mailbox, NoPermit, Permit},
    request::Failure,
};
use crate::{
    domain::{id::LogId, time::Timestamp},
    store::Owned,
    wall_clock,
};

/// Auctions in memory at once; past it the answer is `overloaded` until some have left.
pub const AUCTIONS_LOADED_MAX: usize = 500_000;
/// So many more for what the exchange asks by itself: callers do not keep auctions from opening and
/// closing.
const LOADED_FOR_THE_CLOCK_MAX: usize = 50_000;
/// A mailbox that closed between look-up and permit is looked up again, at most so often.
const LOOKUPS_MAX: usize = 8;

/// The mailboxes by their auctions.
pub(super) type Mailboxes = DashMap<LogId, Arc<Mailbox>>;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Somebody outside.
    Caller,
    /// The exchange itself.
    Clock,
}

/// Every auction that is in memory.
pub(super) struct Directory {
    mailboxes: Arc<Mailboxes>,
    lanes: Vec<ArbiterHandle>,
    owned: Owned,
    loaded_max: usize,
    loaded_for_the_clock_max: usize,
}

/// Takes a closed mailbox off the list, unless a newer one of the same auction has taken its place.
pub(super) fn forget(mailboxes: &Mailboxes, mailbox: &Arc<Mailbox>) {
    mailboxes.remove_if(&mailbox.id, |_, there| Arc::ptr_eq(there, mailbox));
}

impl Directory {
    pub fn new(lanes: Vec<ArbiterHandle>, owned: Owned) -> Directory {
        Directory {
            mailboxes: Arc::default(),
            lanes,
            owned,
            loaded_max: AUCTIONS_LOADED_MAX,
            loaded_for_the_clock_max: LOADED_FOR_THE_CLOCK_MAX,
        }
    }

    pub fn len(&self) -> usize {
        self.mailboxes.len()
    }

    /// A permit at the auction's mailbox; its actor is started, and begins to load, if there is none.
    pub fn enter(&self, id: LogId, asker: Asker) -> Result<Permit, Failure> {
        if !self.owned.has(id.slot()) {
            return Err(Failure::Overloaded);
        }
        for _ in 0..LOOKUPS_MAX {
            let now = wall_clock::now();
            let mailbox = match self.mailboxes.get(&id) {
                Some(mailbox) => Arc::clone(&mailbox),
                None => self.open(id, now, asker)?,
            };
            match mailbox.enter(now) {
                Ok(permit) => return Ok(permit),
                Err(NoPermit::Full) => return Err(Failure::Overloaded),
                Err(NoPermit::Closed) => forget(&self.mailboxes, &mailbox),
            }
        }
        Err(Failure::Overloaded)
    }

    fn open(&self, id: LogId, now: Timestamp, asker: Asker) -> Result<Arc<Mailbox>, Failure> {
        let reserve = match asker {
            Asker::Caller => 0,
            Asker::Clock => self.loaded_for_the_clock_max,
        };
        if self.mailboxes.len() >= self.loaded_max + reserve {
            return Err(Failure::Overloaded);
        }
        Ok(match self.mailboxes.entry(id) {
            Entry::Occupied(there) => Arc::clone(there.get()),
            Entry::Vacant(free) => Arc::clone(&free.insert(self.start(id, now))),
        })
    }

    /// A log belongs to the same lane for as long as the server runs.
    fn start(&self, id: LogId, now: Timestamp) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::new(id, now, &self.mailboxes));
        let lane = id.slot().lane(self.lanes.len());
        let at_mailbox = Arc::clone(&mailbox);
        let address =
            LogActor::start_in_arbiter(&self.lanes[lane], move |_| LogActor::new(at_mailbox));
        mailbox.set_address(address);
        mailbox
    }

    /// Lets the auctions go that nobody has asked for in a while; how many.
    pub fn passivate_idle(&self, now: Timestamp, idle_after: Duration) -> usize {
        let idle_ms = i64::try_from(idle_after.as_millis()).unwrap_or(i64::MAX);
        let before = now.plus_ms(-idle_ms);
        let mut passivated = 0;
        self.mailboxes.retain(|_, mailbox| {
            let closes = mailbox.close_if_idle(before);
            if closes {
                mailbox.passivate();
                passivated += 1;
            }
            !closes && !mailbox.is_closed()
        });
        passivated
    }

    pub fn is_busy(&self) -> bool {
        self.mailboxes.iter().any(|mailbox| mailbox.is_busy())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::AuctionId;
    use crate::exchange::ended::EndedAuctions;

    fn auction(n: u128) -> LogId {
        AuctionId(Uuid::from_u128(n)).into()
    }

    /// Without lanes: mailboxes are put there by hand.
    fn directory(loaded_max: usize, loaded_for_the_clock_max: usize) -> Directory {
        Directory {
            loaded_max,
            loaded_for_the_clock_max,
            ..Directory::new(Vec::new(), Owned::everything())
        }
    }

    fn put(directory: &Directory, id: LogId) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::new(id, Timestamp::EPOCH, &directory.mailboxes));
        directory.mailboxes.insert(id, Arc::clone(&mailbox));
        mailbox
    }

    #[test]
    fn forgetting_a_mailbox_leaves_a_newer_one_of_the_same_auction() {
        let directory = directory(10, 0);
        let old = put(&directory, auction(1));
        assert!(old.close_if_empty());
        let new = put(&directory, auction(1));
        old.leave();
        let there = directory.mailboxes.get(&auction(1)).map(|mailbox| Arc::clone(&mailbox));
        assert!(there.is_some_and(|there| Arc::ptr_eq(&there, &new)));
        assert!(new.close_if_empty());
        new.leave();
        assert_eq!(directory.len(), 0);
    }

    #[test]
    fn a_full_memory_turns_callers_away_and_not_the_clock() {
        actix::System::new().block_on(async {
            let lane = actix::Arbiter::new();
            let lanes = vec![lane.handle()];
            let bounds = directory(2, 1);
            let directory = Directory { lanes, ..bounds };
            for n in 1..=2 {
                assert!(directory.enter(auction(n), Asker::Caller).is_ok());
            }
            let full = directory.enter(auction(3), Asker::Caller).err();
            assert_eq!(full, Some(Failure::Overloaded));
            assert!(directory.enter(auction(1), Asker::Caller).is_ok(), "what is there is open");
            assert!(directory.enter(auction(3), Asker::Clock).is_ok());
            let full = directory.enter(auction(4), Asker::Clock).err();
            assert_eq!(full, Some(Failure::Overloaded), "the reserve has its bound");
            lane.stop();
        });
    }

    #[test]
    fn auctions_that_are_over_leave_memory_at_once_when_there_are_too_many_of_them() {
        let directory = directory(10, 0);
        let over = EndedAuctions::new(2, 1_000);
        let first = put(&directory, auction(1));
        let permit = first.enter(Timestamp::EPOCH).expect("a permit");
        over.add(first, 10);
        for n in 2..=5 {
            over.add(put(&directory, auction(n)), 10);
        }
        let left = |n| directory.mailboxes.contains_key(&auction(n));
        assert_eq!([1, 2, 3, 4, 5].map(left), [true, false, false, false, true]);
        drop(permit);
        over.add(put(&directory, auction(6)), 999);
        assert_eq!([1, 5, 6].map(left), [false, false, true], "their bids count as well");
    }
}
