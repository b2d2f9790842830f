//! What every resource is served with: callers, bodies, problems, limits, and the operations that
//! there are.

pub mod access;
pub mod body;
pub mod caller;
pub mod context;
pub mod failures;
pub mod head;
pub mod idempotency;
pub mod limits;
pub mod lists;
pub mod operations;
pub mod problem;
mod strict;
pub mod words;
