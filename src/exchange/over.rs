//! Auctions in memory that are over. They are only read now, and however many are asked for, few of
//! them may take memory that the live ones need.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use super::desk::Desk;

/// Auctions in memory that are over.
const AUCTIONS_MAX: usize = 4_096;
/// Their bids in memory: about 50 bytes each.
const BIDS_MAX: usize = 2_000_000;
/// One of them that somebody sits at stays, and the next is looked at, at most so often at once.
const LOOKS_MAX: usize = 16;

/// Those that are over, the longest in memory first.
pub(super) struct Over {
    auctions_max: usize,
    bids_max: usize,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    desks: VecDeque<(Arc<Desk>, usize)>,
    bids: usize,
}

impl Default for Over {
    fn default() -> Over {
        Over::new(AUCTIONS_MAX, BIDS_MAX)
    }
}

impl Over {
    pub fn new(auctions_max: usize, bids_max: usize) -> Over {
        Over { auctions_max, bids_max, list: Mutex::default() }
    }

    /// One more is over, with so many bids; the oldest leave memory for it.
    pub fn add(&self, desk: Arc<Desk>, bids: usize) {
        let mut list = self.list.lock().expect("nothing panics while it holds the list");
        list.bids += bids;
        list.desks.push_back((desk, bids));
        for _ in 0..LOOKS_MAX {
            if list.desks.len() <= self.auctions_max && list.bids <= self.bids_max {
                return;
            }
            let Some((desk, bids)) = list.desks.pop_front() else { return };
            if desk.close_if_empty() {
                desk.leave();
            } else if !desk.is_closed() {
                list.desks.push_back((desk, bids));
                continue;
            }
            list.bids -= bids;
        }
    }
}
