//! The command line, run as it is run by people: the real program, on private clusters.

mod clients;
mod house;
mod import;
mod keys;
mod live;
mod roles;
mod saved_logs;
mod stub;
mod webhooks;
mod wrong_input;
