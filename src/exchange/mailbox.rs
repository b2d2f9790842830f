//! The mailbox: what every thread may hold of one auction. It counts who is there, so that queues are
//! bounded, idle auctions can leave memory safely, and the close waits for bids received before it.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering},
    },
};

use actix::{Actor, ActorContext, Addr, Context, Handler, Message};
use tokio::sync::oneshot;

use super::{
    directory::{self, Mailboxes},
    lane::LaneWork,
    queue::{LogQueue, ReadState},
    request::{Reply, Request},
};
use crate::domain::{id::LogId, time::Timestamp};

/// Commands that may wait for one auction; past it the answer is `overloaded`.
pub const COMMANDS_PER_AUCTION_MAX: u32 = 2_048;

/// Set in `occupancy` when the auction leaves memory: nobody gets a permit any more.
const CLOSED: u32 = 1 << 31;

/// One auction in memory, as other threads see it.
pub(super) struct Mailbox {
    pub id: LogId,
    /// Where others find it.
    mailboxes: Weak<Mailboxes>,
    address: OnceLock<Addr<LogActor>>,
    /// Permits given: commands and reads that are not answered yet.
    occupancy: AtomicU32,
    /// A permit counts as in transit, in the present epoch, until the actor has what was sent with it.
    epoch: AtomicUsize,
    in_transit: [AtomicU32; 2],
    last_used_ms: AtomicI64,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPermit {
    /// All are taken.
    Full,
    /// The auction is leaving memory: look it up again.
    Closed,
}

impl Mailbox {
    pub fn new(id: LogId, now: Timestamp, mailboxes: &Arc<Mailboxes>) -> Mailbox {
        Mailbox {
            id,
            mailboxes: Arc::downgrade(mailboxes),
            address: OnceLock::new(),
            occupancy: AtomicU32::new(0),
            epoch: AtomicUsize::new(0),
            in_transit: [AtomicU32::new(0), AtomicU32::new(0)],
            last_used_ms: AtomicI64::new(now.as_millis()),
        }
    }

    /// Where the auction's actor is; set once, before anybody else sees the mailbox.
    pub fn set_address(&self, address: Addr<LogActor>) {
        let _ = self.address.set(address);
    }

    fn address(&self) -> &Addr<LogActor> {
        self.address.get().expect("a mailbox gets its address before it is shared")
    }

    /// Takes a permit and enters transit.
    pub fn enter(self: &Arc<Self>, now: Timestamp) -> Result<Permit, NoPermit> {
        let mut taken = self.occupancy.load(Ordering::Acquire);
        loop {
            if taken & CLOSED != 0 {
                return Err(NoPermit::Closed);
            }
            if taken >= COMMANDS_PER_AUCTION_MAX {
                return Err(NoPermit::Full);
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
        Ok(Permit { mailbox: Arc::clone(self), transit: Some(epoch) })
    }

    pub fn is_busy(&self) -> bool {
        self.occupancy.load(Ordering::Acquire) & !CLOSED != 0
    }

    pub fn is_closed(&self) -> bool {
        self.occupancy.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Closes the mailbox if nobody has a permit and it has been idle since `before`.
    pub fn close_if_idle(&self, before: Timestamp) -> bool {
        self.last_used_ms.load(Ordering::Relaxed) < before.as_millis() && self.close_if_empty()
    }

    /// Closes the mailbox if nobody has a permit.
    pub fn close_if_empty(&self) -> bool {
        self.occupancy.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Lets the actor of a closed mailbox go.
    pub fn passivate(&self) {
        if let Some(address) = self.address.get() {
            address.do_send(Passivate);
        }
    }

    /// Lets a closed mailbox go, so that it does not count any more.
    pub fn leave(self: &Arc<Self>) {
        if let Some(mailboxes) = self.mailboxes.upgrade() {
            directory::forget(&mailboxes, self);
        }
        self.passivate();
    }

    /// Starts a new epoch: permits from now on are told apart from those in transit now.
    /// Returns the epoch to ask [`Mailbox::is_drained`] for.
    pub fn next_epoch(&self) -> usize {
        self.epoch.fetch_add(1, Ordering::SeqCst) & 1
    }

    /// Whether the actor has everything that was sent in that epoch.
    pub fn is_drained(&self, epoch: usize) -> bool {
        self.in_transit[epoch & 1].load(Ordering::SeqCst) == 0
    }
}

/// The right to send one command or read to a mailbox; given back when dropped.
pub(super) struct Permit {
    mailbox: Arc<Mailbox>,
    transit: Option<usize>,
}

impl Permit {
    /// Sends a command to the auction.
    pub fn submit(self, queued: QueuedCommand) {
        let mailbox = Arc::clone(&self.mailbox);
        mailbox.address().do_send(Submit(queued, self));
    }

    /// Sends a read to the auction.
    pub fn read(self, read: ReadState) {
        let mailbox = Arc::clone(&self.mailbox);
        mailbox.address().do_send(Read(read, self));
    }

    /// The actor has it: no longer in transit.
    pub fn arrived(&mut self) {
        if let Some(epoch) = self.transit.take() {
            self.mailbox.in_transit[epoch].fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.arrived();
        self.mailbox.occupancy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A command and who waits for its answer.
pub(super) struct QueuedCommand {
    pub request: Request,
    reply: oneshot::Sender<Reply>,
    /// How often a batch with it came to nothing.
    pub attempts: u8,
}

impl QueuedCommand {
    pub fn new(request: Request, reply: oneshot::Sender<Reply>) -> QueuedCommand {
        QueuedCommand { request, reply, attempts: 0 }
    }

    /// Answers; if the caller has gone, the answer is in the receipts.
    pub fn answer(self, reply: Reply) {
        let _ = self.reply.send(reply);
    }
}

/// The actor of one log in memory: it takes what is sent to its mailbox into its queue, and sees to it
/// that the queue is loaded and enlisted with the lane.
pub(super) struct LogActor {
    queue: Rc<RefCell<LogQueue>>,
    lane: Rc<LaneWork>,
}

impl LogActor {
    /// On the lane's own thread.
    pub fn new(mailbox: Arc<Mailbox>) -> LogActor {
        LogActor { queue: Rc::new(RefCell::new(LogQueue::new(mailbox))), lane: LaneWork::here() }
    }
}

impl Actor for LogActor {
    type Context = Context<Self>;
}

/// A command, with its permit.
#[derive(Message)]
#[rtype(result = "()")]
struct Submit(QueuedCommand, Permit);

/// A read, with its permit.
#[derive(Message)]
#[rtype(result = "()")]
struct Read(ReadState, Permit);

/// The mailbox is closed and nobody has a permit.
#[derive(Message)]
#[rtype(result = "()")]
struct Passivate;

impl Handler<Submit> for LogActor {
    type Result = ();

    fn handle(&mut self, Submit(queued, permit): Submit, _: &mut Self::Context) {
        self.queue.borrow_mut().push(queued, permit);
        self.lane.enlist(&self.queue);
    }
}

impl Handler<Read> for LogActor {
    type Result = ();

    fn handle(&mut self, Read(read, permit): Read, _: &mut Self::Context) {
        let mut queue = self.queue.borrow_mut();
        queue.renew(self.lane.owner());
        queue.read(read, permit);
        drop(queue);
        self.lane.enlist(&self.queue);
    }
}

impl Handler<Passivate> for LogActor {
    type Result = ();

    fn handle(&mut self, Passivate: Passivate, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AuctionId;

    fn mailbox() -> Arc<Mailbox> {
        let id = AuctionId(uuid::Uuid::from_u128(1)).into();
        Arc::new(Mailbox::new(id, Timestamp::EPOCH, &Arc::default()))
    }

    fn enter(mailbox: &Arc<Mailbox>) -> Result<Permit, NoPermit> {
        mailbox.enter(Timestamp::from_millis(1_000))
    }

    #[test]
    fn there_are_only_so_many_permits() {
        let mailbox = mailbox();
        let permits: Vec<Permit> =
            (0..COMMANDS_PER_AUCTION_MAX).map(|_| enter(&mailbox).expect("a permit")).collect();
        assert_eq!(enter(&mailbox).err(), Some(NoPermit::Full));
        drop(permits);
        assert!(enter(&mailbox).is_ok());
    }

    #[test]
    fn a_mailbox_closes_only_when_nobody_has_a_permit_and_then_for_good() {
        let mailbox = mailbox();
        let permit = enter(&mailbox).expect("a permit");
        assert!(!mailbox.close_if_empty());
        drop(permit);
        assert!(!mailbox.close_if_idle(Timestamp::from_millis(1_000)), "used a moment ago");
        assert!(mailbox.close_if_idle(Timestamp::from_millis(1_001)));
        assert_eq!(enter(&mailbox).err(), Some(NoPermit::Closed));
        assert!(!mailbox.is_busy());
    }

    #[test]
    fn a_mailbox_that_nobody_asked_for_in_a_while_stays_while_somebody_waits() {
        let mailbox = mailbox();
        let mut permit = enter(&mailbox).expect("a permit");
        permit.arrived();
        let long_after = Timestamp::from_millis(1_000_000);
        assert!(!mailbox.close_if_idle(long_after), "somebody waits for an answer");
        assert!(enter(&mailbox).is_ok());
        drop(permit);
        assert!(mailbox.close_if_idle(long_after));
    }

    #[test]
    fn an_epoch_is_drained_when_everybody_of_it_has_arrived_whoever_came_later() {
        let mailbox = mailbox();
        let mut early = enter(&mailbox).expect("a permit");
        let epoch = mailbox.next_epoch();
        let _late = enter(&mailbox).expect("a permit");
        assert!(!mailbox.is_drained(epoch));
        early.arrived();
        assert!(mailbox.is_drained(epoch), "the late one is not waited for");
        assert!(mailbox.is_busy(), "a permit is kept until the answer");
    }

    #[test]
    fn somebody_who_gives_up_on_the_way_is_not_waited_for() {
        let mailbox = mailbox();
        let permit = enter(&mailbox).expect("a permit");
        let epoch = mailbox.next_epoch();
        drop(permit);
        assert!(mailbox.is_drained(epoch));
    }
}
