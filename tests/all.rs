//! Every integration test, in one program: what they share is compiled and linked once, and those
//! that wait for something leave the processor to the others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::duplicate_mod,
    reason = "crash and rabbit hold one market against servers of their own"
)]

mod architecture;
mod embedded_cluster;
mod support;

// Folders whose root cargo would take for a program of its own.
#[path = "api/main.rs"]
mod api;
#[path = "browser/main.rs"]
mod browser;
#[path = "cli/main.rs"]
mod cli;
#[path = "crash/main.rs"]
mod crash;
#[path = "first_start/main.rs"]
mod first_start;
#[path = "rabbit/main.rs"]
mod rabbit;
#[path = "rules/main.rs"]
mod rules;
#[path = "schemathesis/main.rs"]
mod schemathesis;
#[path = "tls/main.rs"]
mod tls;
