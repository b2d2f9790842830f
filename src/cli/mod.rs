//! The subcommands of `hoga` that are not the server, one file each.
//!
//! Owns their arguments and what they print. Must never hold a rule: what a subcommand decides, it
//! asks `domain`.

pub mod replay;
