//! The rules of the house, from outside: at every boundary one tick before, at, and after; against
//! a naive model; and against auctions that really happened.

mod bids;
mod buy_now;
mod clock;
mod house;
mod impossible;
mod model;
mod properties;
mod replay;
mod retraction;
mod seller;
mod soft_close;
mod state_form;
