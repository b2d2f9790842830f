//! The auction actor: one for each auction in memory. It takes what is sent to it into its book,
//! and sees to it that the book is loaded and enlisted with the lane.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use actix::{Actor, ActorContext, Context, Handler, Message};

use super::{
    book::{Book, ReadState},
    desk::{Desk, Seat, Ticket},
    lane::LaneFloor,
};

/// One auction in memory.
pub(super) struct AuctionActor {
    book: Rc<RefCell<Book>>,
    lane: Rc<LaneFloor>,
}

impl AuctionActor {
    /// On the lane's own thread.
    pub fn new(desk: Arc<Desk>) -> AuctionActor {
        AuctionActor { book: Rc::new(RefCell::new(Book::new(desk))), lane: LaneFloor::here() }
    }
}

impl Actor for AuctionActor {
    type Context = Context<Self>;
}

/// A command, with its seat.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Submit(pub Ticket, pub Seat);

/// A read, with its seat.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Read(pub ReadState, pub Seat);

/// The desk is closed and nobody sits at it.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Passivate;

impl Handler<Submit> for AuctionActor {
    type Result = ();

    fn handle(&mut self, Submit(ticket, seat): Submit, _: &mut Self::Context) {
        self.book.borrow_mut().queue(ticket, seat);
        self.lane.attend(&self.book);
    }
}

impl Handler<Read> for AuctionActor {
    type Result = ();

    fn handle(&mut self, Read(read, seat): Read, _: &mut Self::Context) {
        self.book.borrow_mut().read(read, seat);
        self.lane.attend(&self.book);
    }
}

impl Handler<Passivate> for AuctionActor {
    type Result = ();

    fn handle(&mut self, Passivate: Passivate, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
