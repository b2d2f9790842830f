//! What people are told: news, the inbox, reminders, pushes.

pub(super) mod alerts;
pub(super) mod inbox;
pub(super) mod news;
pub(super) mod push_subscriptions;
pub(super) mod pushes;
pub(super) mod reminders;
