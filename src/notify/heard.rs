//! Which auctions there is news of, as far as was heard.
//!
//! Only a hint where to look: bounded, in memory, and gone with the process. Whatever was missed is
//! looked for in the log, by whoever asks [`Heard::missed_after`].

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::domain::id::AuctionId;

/// Auctions that are remembered; of more than that some are looked for in the log.
const AUCTIONS_MAX: usize = 100_000;

/// What was heard.
pub(super) struct Heard {
    noted: Mutex<Noted>,
    bell: Notify,
}

struct Noted {
    auctions: HashSet<AuctionId>,
    looking: Looking,
}

/// For what was missed, through all auctions in the order of their ids.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looking {
    /// Nothing was.
    No,
    /// From this one on.
    After(Option<AuctionId>),
}

impl Default for Heard {
    /// Whatever happened before was missed.
    fn default() -> Heard {
        let noted = Noted { auctions: HashSet::new(), looking: Looking::After(None) };
        Heard { noted: Mutex::new(noted), bell: Notify::new() }
    }
}

impl Heard {
    /// There is news of these.
    pub fn hear(&self, auctions: impl IntoIterator<Item = AuctionId>) {
        let mut noted = self.noted();
        for auction in auctions {
            if noted.auctions.len() < AUCTIONS_MAX {
                noted.auctions.insert(auction);
            } else if !noted.auctions.contains(&auction) {
                noted.looking = Looking::After(None);
            }
        }
        if !noted.auctions.is_empty() {
            self.bell.notify_one();
        }
    }

    /// Some news may have been missed.
    pub fn missed(&self) {
        self.noted().looking = Looking::After(None);
        self.bell.notify_one();
    }

    /// After which auction to look for what was missed, if that is to be done now.
    pub fn missed_after(&self) -> Option<Option<AuctionId>> {
        let noted = self.noted();
        match noted.looking {
            Looking::After(auction) if noted.auctions.len() < AUCTIONS_MAX / 2 => Some(auction),
            Looking::After(_) | Looking::No => None,
        }
    }

    /// There is news of these that was missed; whether there may be more.
    pub fn found(&self, missed: &[AuctionId], is_more: bool) {
        let mut noted = self.noted();
        noted.auctions.extend(missed);
        noted.looking = match missed.last() {
            Some(last) if is_more => Looking::After(Some(*last)),
            Some(_) | None => Looking::No,
        };
    }

    /// Takes some of the auctions that there is news of.
    pub fn take(&self, at_most: usize) -> Vec<AuctionId> {
        let mut noted = self.noted();
        if noted.auctions.len() <= at_most {
            return mem::take(&mut noted.auctions).into_iter().collect();
        }
        let some: Vec<AuctionId> = noted.auctions.iter().take(at_most).copied().collect();
        for auction in &some {
            noted.auctions.remove(auction);
        }
        some
    }

    /// Rings when there is news.
    pub fn bell(&self) -> &Notify {
        &self.bell
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn auction(number: usize) -> AuctionId {
        AuctionId(Uuid::from_u128(number as u128))
    }

    fn nothing_missed() -> Heard {
        let heard = Heard::default();
        heard.found(&[], false);
        heard
    }

    #[test]
    fn what_happened_before_was_missed() {
        let heard = Heard::default();
        assert_eq!(heard.missed_after(), Some(None));
        heard.found(&[auction(1), auction(2)], true);
        assert_eq!(heard.missed_after(), Some(Some(auction(2))));
        heard.found(&[auction(3)], false);
        assert_eq!(heard.missed_after(), None);
        assert_eq!(heard.take(9).len(), 3);
        heard.missed();
        assert_eq!(heard.missed_after(), Some(None));
    }

    #[test]
    fn an_auction_is_taken_once_and_all_are_taken() {
        let heard = nothing_missed();
        heard.hear([auction(1), auction(2), auction(1), auction(3)]);
        let mut taken = heard.take(2);
        taken.extend(heard.take(2));
        taken.sort_unstable_by_key(|auction| auction.0);
        assert_eq!(taken, [auction(1), auction(2), auction(3)]);
        assert!(heard.take(2).is_empty());
    }

    #[test]
    fn what_finds_no_room_is_looked_for_once_there_is_some() {
        let heard = nothing_missed();
        heard.hear((0..AUCTIONS_MAX).map(auction));
        heard.hear([auction(0)]);
        assert!(heard.noted().looking == Looking::No, "it is remembered");
        heard.hear([auction(AUCTIONS_MAX)]);
        assert_eq!(heard.missed_after(), None, "not yet");
        heard.take(AUCTIONS_MAX / 2 + 1);
        assert_eq!(heard.missed_after(), Some(None));
    }
}
