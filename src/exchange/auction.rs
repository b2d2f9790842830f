//! The auction actor: one for each auction in memory. It takes what is sent to it into its queue,
//! and sees to it that the queue is loaded and enlisted with the lane.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use actix::{Actor, ActorContext, Context, Handler, Message};

use super::{
    lane::LaneWork,
    mailbox::{Mailbox, Permit, QueuedCommand},
    queue::{LogQueue, ReadState},
};

/// One auction in memory.
pub(super) struct AuctionActor {
    queue: Rc<RefCell<LogQueue>>,
    lane: Rc<LaneWork>,
}

impl AuctionActor {
    /// On the lane's own thread.
    pub fn new(mailbox: Arc<Mailbox>) -> AuctionActor {
        AuctionActor {
            queue: Rc::new(RefCell::new(LogQueue::new(mailbox))),
            lane: LaneWork::here(),
        }
    }
}

impl Actor for AuctionActor {
    type Context = Context<Self>;
}

/// A command, with its permit.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Submit(pub QueuedCommand, pub Permit);

/// A read, with its permit.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Read(pub ReadState, pub Permit);

/// The mailbox is closed and nobody has a permit.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Passivate;

impl Handler<Submit> for AuctionActor {
    type Result = ();

    fn handle(&mut self, Submit(queued, permit): Submit, _: &mut Self::Context) {
        self.queue.borrow_mut().push(queued, permit);
        self.lane.enlist(&self.queue);
    }
}

impl Handler<Read> for AuctionActor {
    type Result = ();

    fn handle(&mut self, Read(read, permit): Read, _: &mut Self::Context) {
        self.queue.borrow_mut().read(read, permit);
        self.lane.enlist(&self.queue);
    }
}

impl Handler<Passivate> for AuctionActor {
    type Result = ();

    fn handle(&mut self, Passivate: Passivate, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
