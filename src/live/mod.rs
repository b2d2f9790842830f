//! Streams (SSE): what happens in an auction, told to whoever watches.
//!
//! Owns the way from the bus to a connection: topics with a short memory, replay from the log, slow
//! viewers. Must never show an event before its commit, leave a gap without saying so, tell an event
//! twice on one stream, or make the bid path wait for anybody who watches.
//!
//! A stream begins with `retry:` and then, for each auction, with a `snapshot`, or with what was
//! missed since the `Last-Event-ID`, or with a `reset` that says why and a `snapshot`. A storm of
//! bids may be told as its newest price, whose sequence number says how far it reaches.

mod check;
mod frame;
mod hub;
pub mod last_event_id;
mod pace;
pub mod personal;
mod positions;
mod queue;
mod quota;
mod reads;
mod tail;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod topic;
mod viewer;
mod viewers;
mod wanted;

pub use self::{
    hub::{Hub, LiveOptions},
    last_event_id::LastEventIdError,
    quota::{QuotaMax, QuotaUsed, StreamPermit, StreamQuota, Watcher},
    tail::FOLLOWED_EVERY,
    viewer::Viewer,
    wanted::{AUCTIONS_PER_STREAM_MAX, Wanted, WatchError},
};
