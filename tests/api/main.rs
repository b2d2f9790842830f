//! The whole server over HTTP, on a database of its own for each test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod auctions;
mod bad_input;
mod bids;
mod clock;
mod impossible;
mod log;
mod oauth;
mod service;
mod streams;
