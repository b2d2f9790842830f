//! The desk: what every thread may hold of one auction. It counts who is there, so that queues are
//! bounded, idle auctions can leave memory safely, and the close waits for bids received before it.

use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering},
};

use actix::Addr;
use tokio::sync::oneshot;

use super::{
    auction::{AuctionActor, Passivate, Read, Submit},
    book::ReadState,
    directory::{self, Desks},
    request::{Reply, Request},
};
use crate::domain::{id::AuctionId, time::Timestamp};

/// Commands that may wait for one auction; past it the answer is `overloaded`.
pub const COMMANDS_PER_AUCTION_MAX: u32 = 2_048;

/// Set in `occupancy` when the auction leaves memory: nobody may sit down any more.
const CLOSED: u32 = 1 << 31;

/// One auction in memory, as other threads see it.
pub(super) struct Desk {
    pub id: AuctionId,
    /// Where others find it.
    desks: Weak<Desks>,
    address: OnceLock<Addr<AuctionActor>>,
    /// Seats taken: commands and reads that are not answered yet.
    occupancy: AtomicU32,
    /// Whoever sits down counts as in transit, in the present epoch, until the actor has them.
    epoch: AtomicUsize,
    in_transit: [AtomicU32; 2],
    last_used_ms: AtomicI64,
}

/// Why nobody may sit down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSeat {
    /// All are taken.
    Full,
    /// The auction is leaving memory: look it up again.
    Closed,
}

impl Desk {
    pub fn new(id: AuctionId, now: Timestamp, desks: &Arc<Desks>) -> Desk {
        Desk {
            id,
            desks: Arc::downgrade(desks),
            address: OnceLock::new(),
            occupancy: AtomicU32::new(0),
            epoch: AtomicUsize::new(0),
            in_transit: [AtomicU32::new(0), AtomicU32::new(0)],
            last_used_ms: AtomicI64::new(now.as_millis()),
        }
    }

    /// Where the auction's actor is; set once, before anybody else sees the desk.
    pub fn set_address(&self, address: Addr<AuctionActor>) {
        let _ = self.address.set(address);
    }

    fn address(&self) -> &Addr<AuctionActor> {
        self.address.get().expect("a desk gets its address before it is shared")
    }

    /// Takes a seat and enters transit.
    pub fn enter(self: &Arc<Self>, now: Timestamp) -> Result<Seat, NoSeat> {
        let mut taken = self.occupancy.load(Ordering::Acquire);
        loop {
            if taken & CLOSED != 0 {
                return Err(NoSeat::Closed);
            }
            if taken >= COMMANDS_PER_AUCTION_MAX {
                return Err(NoSeat::Full);
            }
            match self.occupancy.compare_exchange_weak(
                taken,
                taken + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(now_taken) => taken = now_taken,
            }
        }
        self.last_used_ms.store(now.as_millis(), Ordering::Relaxed);
        let epoch = self.epoch.load(Ordering::SeqCst) & 1;
        self.in_transit[epoch].fetch_add(1, Ordering::SeqCst);
        Ok(Seat { desk: Arc::clone(self), transit: Some(epoch) })
    }

    pub fn is_busy(&self) -> bool {
        self.occupancy.load(Ordering::Acquire) & !CLOSED != 0
    }

    pub fn is_closed(&self) -> bool {
        self.occupancy.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Closes the desk if nobody sits at it and it has been idle since `before`.
    pub fn close_if_idle(&self, before: Timestamp) -> bool {
        self.last_used_ms.load(Ordering::Relaxed) < before.as_millis() && self.close_if_empty()
    }

    /// Closes the desk if nobody sits at it.
    pub fn close_if_empty(&self) -> bool {
        self.occupancy.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Lets the actor of a closed desk go.
    pub fn passivate(&self) {
        if let Some(address) = self.address.get() {
            address.do_send(Passivate);
        }
    }

    /// Lets a closed desk go, so that it does not count any more.
    pub fn leave(self: &Arc<Self>) {
        if let Some(desks) = self.desks.upgrade() {
            directory::forget(&desks, self);
        }
        self.passivate();
    }

    /// Starts a new epoch: whoever sits down from now on is told apart from those in transit now.
    /// Returns the epoch to ask [`Desk::is_drained`] for.
    pub fn next_epoch(&self) -> usize {
        self.epoch.fetch_add(1, Ordering::SeqCst) & 1
    }

    /// Whether the actor has everybody who sat down in that epoch.
    pub fn is_drained(&self, epoch: usize) -> bool {
        self.in_transit[epoch & 1].load(Ordering::SeqCst) == 0
    }
}

/// A place at a desk, given back when dropped.
pub(super) struct Seat {
    desk: Arc<Desk>,
    transit: Option<usize>,
}

impl Seat {
    /// Sends a command to the auction.
    pub fn submit(self, ticket: Ticket) {
        let desk = Arc::clone(&self.desk);
        desk.address().do_send(Submit(ticket, self));
    }

    /// Sends a read to the auction.
    pub fn read(self, read: ReadState) {
        let desk = Arc::clone(&self.desk);
        desk.address().do_send(Read(read, self));
    }

    /// The actor has it: no longer in transit.
    pub fn arrived(&mut self) {
        if let Some(epoch) = self.transit.take() {
            self.desk.in_transit[epoch].fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.arrived();
        self.desk.occupancy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A command and who waits for its answer.
pub(super) struct Ticket {
    pub request: Request,
    reply: oneshot::Sender<Reply>,
    /// How often a batch with it came to nothing.
    pub attempts: u8,
}

impl Ticket {
    pub fn new(request: Request, reply: oneshot::Sender<Reply>) -> Ticket {
        Ticket { request, reply, attempts: 0 }
    }

    /// Answers; if the caller has gone, the answer is in the receipts.
    pub fn answer(self, reply: Reply) {
        let _ = self.reply.send(reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> Arc<Desk> {
        let id = AuctionId(uuid::Uuid::from_u128(1));
        Arc::new(Desk::new(id, Timestamp::EPOCH, &Arc::default()))
    }

    fn enter(desk: &Arc<Desk>) -> Result<Seat, NoSeat> {
        desk.enter(Timestamp::from_millis(1_000))
    }

    #[test]
    fn there_are_only_so_many_seats() {
        let desk = desk();
        let seats: Vec<Seat> =
            (0..COMMANDS_PER_AUCTION_MAX).map(|_| enter(&desk).expect("a seat")).collect();
        assert_eq!(enter(&desk).err(), Some(NoSeat::Full));
        drop(seats);
        assert!(enter(&desk).is_ok());
    }

    #[test]
    fn a_desk_closes_only_when_nobody_sits_at_it_and_then_for_good() {
        let desk = desk();
        let seat = enter(&desk).expect("a seat");
        assert!(!desk.close_if_empty());
        drop(seat);
        assert!(!desk.close_if_idle(Timestamp::from_millis(1_000)), "used a moment ago");
        assert!(desk.close_if_idle(Timestamp::from_millis(1_001)));
        assert_eq!(enter(&desk).err(), Some(NoSeat::Closed));
        assert!(!desk.is_busy());
    }

    #[test]
    fn a_desk_that_nobody_asked_for_in_a_while_stays_while_somebody_sits_at_it() {
        let desk = desk();
        let mut seat = enter(&desk).expect("a seat");
        seat.arrived();
        let long_after = Timestamp::from_millis(1_000_000);
        assert!(!desk.close_if_idle(long_after), "somebody waits for an answer");
        assert!(enter(&desk).is_ok());
        drop(seat);
        assert!(desk.close_if_idle(long_after));
    }

    #[test]
    fn an_epoch_is_drained_when_everybody_of_it_has_arrived_whoever_came_later() {
        let desk = desk();
        let mut early = enter(&desk).expect("a seat");
        let epoch = desk.next_epoch();
        let _late = enter(&desk).expect("a seat");
        assert!(!desk.is_drained(epoch));
        early.arrived();
        assert!(desk.is_drained(epoch), "the late one is not waited for");
        assert!(desk.is_busy(), "a seat is kept until the answer");
    }

    #[test]
    fn somebody_who_gives_up_on_the_way_is_not_waited_for() {
        let desk = desk();
        let seat = enter(&desk).expect("a seat");
        let epoch = desk.next_epoch();
        drop(seat);
        assert!(desk.is_drained(epoch));
    }
}
