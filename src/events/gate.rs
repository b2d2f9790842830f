//! A gate that one failure closes for everything behind it, so that nothing overtakes what failed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Closed at first, and again after each failure, until whoever publishes begins anew from what
/// failed. What passed before a failure is not admitted after it.
pub(super) struct Gate {
    /// Rises with every failure.
    now: AtomicU64,
    open_for: AtomicU64,
}

/// The right to be published, until the next failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass(u64);

impl Gate {
    pub const fn closed() -> Gate {
        Gate { now: AtomicU64::new(1), open_for: AtomicU64::new(0) }
    }

    pub fn open(&self) {
        self.open_for.store(self.now.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub fn close(&self) {
        self.now.fetch_add(1, Ordering::SeqCst);
    }

    pub fn pass(&self) -> Option<Pass> {
        let pass = Pass(self.open_for.load(Ordering::SeqCst));
        self.admits(pass).then_some(pass)
    }

    pub fn admits(&self, pass: Pass) -> bool {
        pass.0 == self.now.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_before_a_failure_is_not_admitted_after_it() {
        let gate = Gate::closed();
        assert_eq!(gate.pass(), None);
        gate.open();
        let pass = gate.pass().expect("open");
        assert!(gate.admits(pass));
        gate.close();
        assert!(!gate.admits(pass));
        assert_eq!(gate.pass(), None);
        gate.open();
        assert!(!gate.admits(pass));
        assert!(gate.pass().is_some());
    }
}
