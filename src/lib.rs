//! Hoga (호가, "the price called out") is an auction exchange server that other people's frontends
//! are built on.
//!
//! One actix actor for each live auction decides its bids one by one, in memory; a *lane* commits
//! the decisions of many auctions to Postgres in one transaction; only then does anybody hear the
//! answer. What happened leaves through an outbox and is streamed to whoever watches. Anyone can
//! recompute an auction's public log, which is chained by hashes, without seeing a ceiling.
//!
//! Where to begin reading, with one bid in hand:
//!
//! 1. [`http`]: a request becomes a command of a caller ([`http::auctions::bids::place_bid`]);
//! 2. [`exchange`]: the command takes its turn in its auction and its part in a batch;
//! 3. [`domain`]: [`domain::auction::decide()`] says yes or no, purely;
//! 4. [`log`]: the decision becomes a log entry, public and private;
//! 5. [`store`]: rows, one transaction;
//! 6. [`events`]: the committed entry reaches its readers;
//! 7. [`live`]: those who watch are told.
//!
//! [`app`] wires the parts, [`cli`] is the command line, [`embedded`] makes `make run` a whole
//! exchange without configuration. ARCHITECTURE.md is the map.

pub mod accounts;
pub mod app;
pub mod cli;
pub mod config;
pub mod database_url;
pub mod domain;
pub mod embedded;
pub mod events;
pub mod exchange;
pub mod http;
pub mod identity;
pub mod live;
pub mod log;
pub mod market;
pub mod notify;
pub mod outgoing;
pub mod private_file;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod wall_clock;
pub mod webhooks;
