//! Auctions in memory that are over. They are only read now, and however many are asked for, few of
//! them may take memory that the live ones need.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use super::mailbox::Mailbox;

/// Auctions in memory that are over.
const AUCTIONS_MAX: usize = 4_096;
/// Their bids in memory: about 50 bytes each.
const BIDS_MAX: usize = 2_000_000;
/// One of them that somebody waits for stays, and the next is looked at, at most so often at once.
const LOOKS_MAX: usize = 16;

/// Those that are over, the longest in memory first.
pub(super) struct EndedAuctions {
    auctions_max: usize,
    bids_max: usize,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    mailboxes: VecDeque<(Arc<Mailbox>, usize)>,
    bids: usize,
}

impl Default for EndedAuctions {
    fn default() -> EndedAuctions {
        EndedAuctions::new(AUCTIONS_MAX, BIDS_MAX)
    }
}

impl EndedAuctions {
    pub fn new(auctions_max: usize, bids_max: usize) -> EndedAuctions {
        EndedAuctions { auctions_max, bids_max, list: Mutex::default() }
    }

    /// One more is over, with so many bids; the oldest leave memory for it.
    pub fn add(&self, mailbox: Arc<Mailbox>, bids: usize) {
        let mut list = self.list.lock().expect("nothing panics while it holds the list");
        list.bids += bids;
        list.mailboxes.push_back((mailbox, bids));
        for _ in 0..LOOKS_MAX {
            if list.mailboxes.len() <= self.auctions_max && list.bids <= self.bids_max {
                return;
            }
            let Some((mailbox, bids)) = list.mailboxes.pop_front() else { return };
            if mailbox.close_if_empty() {
                mailbox.leave();
            } else if !mailbox.is_closed() {
                list.mailboxes.push_back((mailbox, bids));
                continue;
            }
            list.bids -= bids;
        }
    }
}
