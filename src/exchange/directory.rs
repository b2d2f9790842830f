//! The directory: from an auction's id to its desk, started once however many ask.

use std::{sync::Arc, time::Duration};

use actix::{Actor, ArbiterHandle};
use dashmap::{DashMap, Entry};

use super::{
    auction::AuctionActor,
    desk::{Desk, NoSeat, Seat},
    request::Failure,
};
use crate::{
    domain::{id::AuctionId, time::Timestamp},
    wall_clock,
};

/// Auctions in memory at once; past it the answer is `overloaded` until some have left.
pub const AUCTIONS_LOADED_MAX: usize = 500_000;
/// A desk that closed between look-up and sitting down is looked up again, at most so often.
const LOOKUPS_MAX: usize = 8;

/// Every auction that is in memory.
pub(super) struct Directory {
    desks: Arc<DashMap<AuctionId, Arc<Desk>>>,
    lanes: Vec<ArbiterHandle>,
}

impl Directory {
    pub fn new(lanes: Vec<ArbiterHandle>) -> Directory {
        Directory { desks: Arc::default(), lanes }
    }

    pub fn len(&self) -> usize {
        self.desks.len()
    }

    /// A seat at the auction's desk; its actor is started, and begins to load, if there is none.
    pub fn enter(&self, id: AuctionId) -> Result<Seat, Failure> {
        for _ in 0..LOOKUPS_MAX {
            let now = wall_clock::now();
            let desk = match self.desks.get(&id) {
                Some(desk) => Arc::clone(&desk),
                None => self.open(id, now)?,
            };
            match desk.enter(now) {
                Ok(seat) => return Ok(seat),
                Err(NoSeat::Full) => return Err(Failure::Overloaded),
                Err(NoSeat::Closed) => self.forget(&desk),
            }
        }
        Err(Failure::Overloaded)
    }

    fn open(&self, id: AuctionId, now: Timestamp) -> Result<Arc<Desk>, Failure> {
        if self.desks.len() >= AUCTIONS_LOADED_MAX {
            return Err(Failure::Overloaded);
        }
        Ok(match self.desks.entry(id) {
            Entry::Occupied(there) => Arc::clone(there.get()),
            Entry::Vacant(free) => Arc::clone(&free.insert(self.start(id, now))),
        })
    }

    /// An auction belongs to the same lane for as long as the server runs.
    fn start(&self, id: AuctionId, now: Timestamp) -> Arc<Desk> {
        let desk = Arc::new(Desk::new(id, now));
        let lane = usize::from(id.0.as_bytes()[15]) % self.lanes.len();
        let at_desk = Arc::clone(&desk);
        let address =
            AuctionActor::start_in_arbiter(&self.lanes[lane], move |_| AuctionActor::new(at_desk));
        desk.set_address(address);
        desk
    }

    fn forget(&self, desk: &Arc<Desk>) {
        self.desks.remove_if(&desk.id, |_, there| Arc::ptr_eq(there, desk));
    }

    /// Lets the auctions go that nobody has asked for in a while; how many.
    pub fn passivate_idle(&self, now: Timestamp, idle_after: Duration) -> usize {
        let idle_ms = i64::try_from(idle_after.as_millis()).unwrap_or(i64::MAX);
        let before = now.plus_ms(-idle_ms);
        let mut passivated = 0;
        self.desks.retain(|_, desk| {
            let closes = desk.close_if_idle(before);
            if closes {
                desk.passivate();
                passivated += 1;
            }
            !closes && !desk.is_closed()
        });
        passivated
    }

    pub fn is_busy(&self) -> bool {
        self.desks.iter().any(|desk| desk.is_busy())
    }
}
