//! The event logs: what lanes write, what loaders and followers read, and who may write at all.

pub(super) mod batch;
pub(super) mod dead_letters;
pub(super) mod events;
pub(super) mod lease;
pub(super) mod loading;
pub(super) mod outbox;
pub(super) mod receipts;
pub(super) mod recent;
pub(super) mod slots;
pub(super) mod snapshots;
