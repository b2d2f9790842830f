//! People and clients: accounts, logins, roles, what they leave behind.

pub(super) mod accounts;
pub(super) mod addresses;
pub(super) mod clients;
pub(super) mod leaving;
pub(super) mod logins;
pub(super) mod revocations;
pub(super) mod sellers;
pub(super) mod unlinks;
