//! `/v1/me`: what belongs to whoever calls.

pub mod addresses;
pub mod alerts;
pub mod notifications;
pub mod profile;
pub mod push;
