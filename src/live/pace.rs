//! Pace: how those who watch a storm of bids are woken, a few at a time.
//!
//! Ten thousand connections that write at once keep the processor from those who bid, for as long as
//! it takes. So the viewers of an auction whose prices come faster than they can be told are woken
//! spread over a while; what happens there meanwhile is held, and told next, as its newest price.
//! Everybody else's auctions go on as always.

use std::{
    collections::{HashSet, VecDeque},
    task::Waker,
    time::Duration,
};

use super::viewers::Round;
use crate::{domain::id::AuctionId, events::in_process::CommittedEvents};

/// Between the turns of a few.
pub(super) const TURN_EVERY: Duration = Duration::from_millis(2);
/// How long waking is spread for each viewer, times the processors: writing one frame to one
/// connection takes some 10 µs of a processor and as much of the caches of those who bid.
const SPREAD_PER_VIEWER: Duration = Duration::from_micros(140);
/// No price of a storm waits longer than about this, however many watch.
const SPREAD_MAX: Duration = Duration::from_millis(700);
/// Commits that are held back at most; past it everybody is woken at once.
const COMMITS_HELD_MAX: usize = 8_192;

/// Whom to wake, and what to tell afterwards.
pub(super) struct Pace {
    spread_per_viewer: Duration,
    to_wake: VecDeque<Waker>,
    per_turn: usize,
    resting: HashSet<AuctionId>,
    held: Vec<CommittedEvents>,
}

impl Pace {
    /// On a machine with so many processors.
    pub fn new(processors: u32) -> Pace {
        Pace {
            spread_per_viewer: SPREAD_PER_VIEWER / processors.max(1),
            to_wake: VecDeque::new(),
            per_turn: 0,
            resting: HashSet::new(),
            held: Vec::new(),
        }
    }

    /// Auctions of which nothing is told for now.
    pub fn resting(&self) -> &HashSet<AuctionId> {
        &self.resting
    }

    /// Whether anybody is still to be woken.
    pub fn is_under_way(&self) -> bool {
        !self.resting.is_empty()
    }

    /// Takes the storms of a round.
    pub fn take(&mut self, round: &mut Round) {
        self.resting.extend(round.storms.drain(..));
        self.to_wake.extend(round.to_wake.drain(..));
        let viewers = self.to_wake.len();
        let spread = self
            .spread_per_viewer
            .saturating_mul(u32::try_from(viewers).unwrap_or(u32::MAX))
            .min(SPREAD_MAX);
        let turns = (spread.as_micros() / TURN_EVERY.as_micros()).max(1);
        self.per_turn = viewers.div_ceil(usize::try_from(turns).unwrap_or(1)).max(1);
    }

    /// Keeps of these commits what is of an auction that rests.
    pub fn hold(&mut self, commits: &[CommittedEvents]) {
        if self.resting.is_empty() {
            return;
        }
        let is_of_resting =
            |commit: &&CommittedEvents| commit.iter().any(|e| self.resting.contains(&e.auction_id));
        self.held.extend(commits.iter().filter(is_of_resting).cloned());
    }

    /// Wakes the next few. When that were the last, what was held is handed out.
    pub fn turn(&mut self) -> Option<Vec<CommittedEvents>> {
        let is_late = self.held.len() > COMMITS_HELD_MAX;
        let count = if is_late { self.to_wake.len() } else { self.per_turn };
        let count = count.min(self.to_wake.len());
        self.to_wake.drain(..count).for_each(Waker::wake);
        if !self.to_wake.is_empty() {
            return None;
        }
        self.resting.clear();
        Some(std::mem::take(&mut self.held))
    }
}

impl Drop for Pace {
    /// Nobody is left waiting for a hub that has gone.
    fn drop(&mut self) {
        self.to_wake.drain(..).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::live::testing::{Woken, auction, bid};

    fn storm(viewers: usize, woken: &Arc<Woken>) -> Round {
        let to_wake = (0..viewers).map(|_| Waker::from(Arc::clone(woken))).collect();
        Round { sent: viewers, gaps: Vec::new(), storms: vec![auction(1)], to_wake }
    }

    #[test]
    fn viewers_are_woken_a_few_at_a_time_and_then_what_was_held_is_told() {
        let (mut pace, woken) = (Pace::new(3), Arc::new(Woken::default()));
        pace.take(&mut storm(10_000, &woken));
        let held: Vec<CommittedEvents> =
            (5..8).map(|seq| Arc::new(vec![bid(auction(1), seq)])).collect();
        pace.hold(&held);
        pace.hold(&[Arc::new(vec![bid(auction(2), 1)])]);
        let mut turns = 1;
        let told = loop {
            let before = woken.times();
            let told = pace.turn();
            assert!(woken.times() - before <= 100);
            if let Some(told) = told {
                break told;
            }
            turns += 1;
        };
        assert_eq!((woken.times(), told), (10_000, held));
        assert!((150..=250).contains(&turns), "{turns} turns are about half a second");
        assert!(!pace.is_under_way());
    }

    #[test]
    fn nobody_is_left_asleep_when_the_hub_goes() {
        let (mut pace, woken) = (Pace::new(3), Arc::new(Woken::default()));
        pace.take(&mut storm(5_000, &woken));
        pace.turn();
        drop(pace);
        assert_eq!(woken.times(), 5_000);
    }

    #[test]
    fn too_much_that_is_held_ends_the_spreading() {
        let (mut pace, woken) = (Pace::new(3), Arc::new(Woken::default()));
        pace.take(&mut storm(5_000, &woken));
        let commit: CommittedEvents = Arc::new(vec![bid(auction(1), 5)]);
        pace.hold(&vec![commit; COMMITS_HELD_MAX + 1]);
        assert_eq!(pace.turn().map(|told| told.len()), Some(COMMITS_HELD_MAX + 1));
        assert_eq!(woken.times(), 5_000);
    }
}
