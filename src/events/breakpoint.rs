//! Named points at which a test lets the process die, as a crash would. Not in a release.

/// Where the relay may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// A batch is committed and handed over, but not published.
    Committed,
    /// Published, but not confirmed.
    Published,
    /// Confirmed, but still in the outbox.
    Confirmed,
}

/// Dies here if `HOGA_DIES_AT` says so: `published:20` is the 20th time that this point is passed.
#[cfg(debug_assertions)]
pub(super) fn pass(point: Point) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static WANTED: OnceLock<Option<(Point, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let variable = std::env::var("HOGA_DIES_AT").ok()?;
        let (name, count) = variable.split_once(':')?;
        let point = match name {
            "committed" => Point::Committed,
            "published" => Point::Published,
            "confirmed" => Point::Confirmed,
            _ => return None,
        };
        Some((point, count.parse().ok()?))
    });
    if let Some((wanted, count)) = wanted
        && *wanted == point
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
pub(super) const fn pass(_: Point) {}
