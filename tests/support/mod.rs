//! What the integration tests share: a private Postgres, a fresh database for each test, a whole
//! server in this process, and callers as types.
#![allow(dead_code, reason = "each test binary uses its own part of it")]

pub mod auctions;
pub mod broadcaster;
pub mod callers;
pub mod contract;
pub mod database;
pub mod kakao;
pub mod login;
pub mod logs;
pub mod long_log;
pub mod push;
pub mod receiver;
pub mod server;
pub mod streams;
pub mod wait;

pub use self::{
    auctions::{an_auction, in_ms, in_s, in_time, sells_briefly, with},
    callers::{Answer, Bidder, Client, Seller, fresh_key},
    server::TestServer,
    wait::eventually,
};
