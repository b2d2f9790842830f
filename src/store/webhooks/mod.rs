//! Webhooks of clients, and their deliveries.

pub(super) mod deliveries;
pub(super) mod endpoints;
