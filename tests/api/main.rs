//! The whole server over HTTP, on a database of its own for each test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod addresses;
mod auctions;
mod bad_input;
mod bids;
mod broadcast;
mod clients;
mod clock;
mod cors;
mod demo_market;
mod front_page;
mod impossible;
mod kakao;
mod kakao_stand_in;
mod kakao_unlinks;
mod keys;
mod leaving;
mod log;
mod me;
mod notifications;
mod oauth;
mod personal;
mod push;
mod reminders;
mod sellers;
mod service;
mod streams;
mod users;
mod watchlist;
mod webhook_management;
mod webhooks;
