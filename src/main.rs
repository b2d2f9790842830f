//! Hoga.
fn main() {}
