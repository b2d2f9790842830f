//! The whole server over HTTP, on a database of its own for each test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod auctions;
mod bad_input;
mod bids;
mod clients;
mod clock;
mod cors;
mod impossible;
mod keys;
mod log;
mod service;
mod streams;
