//! `/v1/clients`: the registered frontends and their webhooks, for operators.

pub mod registered;
pub mod webhooks;
