//! Pushes: what comes to stand in the inbox, on its way to browsers.

pub mod web_push;
