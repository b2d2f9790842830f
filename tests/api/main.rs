//! The whole server over HTTP, on a database of its own for each test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod auctions;
mod bad_input;
mod bids;
mod clock;
mod impossible;
mod kakao;
mod kakao_stand_in;
mod kakao_unlinks;
mod leaving;
mod log;
mod me;
mod sellers;
mod service;
mod streams;
mod users;
