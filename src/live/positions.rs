//! Positions: where a stream of many stands in each of its auctions, as one `Last-Event-ID`.
//!
//! The id of an event names one auction. So that a browser, which sends back the last id alone,
//! resumes each of them, a stream of many says `id: #<list>:<seq>,<seq>…` whenever it has told all
//! that there is, in a block without data, which is no event. Must never be read against another list
//! of auctions than the one it was said for.

use std::fmt::Write as _;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::domain::id::AuctionId;

/// What it begins with; no auction's id does.
pub(super) const MARK: char = '#';
/// Bytes of the hash that names the list.
const NAME_BYTES: usize = 8;

/// How far one stream has been told.
pub(super) struct Positions {
    list: String,
    /// In the order asked for; none of an auction that has not begun.
    reached: Vec<(AuctionId, Option<u64>)>,
    is_said: bool,
}

impl Positions {
    pub fn new(auctions: &[AuctionId]) -> Positions {
        let reached = auctions.iter().map(|id| (*id, None)).collect();
        Positions { list: name_of(auctions), reached, is_said: true }
    }

    pub fn reaches(&mut self, auction: AuctionId, seq: u64) {
        let Some((_, reached)) = self.reached.iter_mut().find(|(id, _)| *id == auction) else {
            return;
        };
        *reached = Some(reached.map_or(seq, |before| before.max(seq)));
        self.is_said = false;
    }

    /// The block, if there is news. Only right when all that was told is on its way.
    pub fn say(&mut self) -> Option<Bytes> {
        if std::mem::replace(&mut self.is_said, true) {
            return None;
        }
        let mut block = format!("id: {MARK}{}", self.list);
        for (no, (_, reached)) in self.reached.iter().enumerate() {
            let mark = if no == 0 { ':' } else { ',' };
            write!(block, "{mark}{}", (*reached)?).expect("a String takes everything");
        }
        block.push_str("\n\n");
        Some(block.into())
    }
}

/// Names a list of auctions in their order.
pub(super) fn name_of(auctions: &[AuctionId]) -> String {
    let mut hash = Sha256::new();
    for id in auctions {
        hash.update(id.0.as_bytes());
    }
    const_hex::encode(&hash.finalize()[..NAME_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::testing::auction;

    #[test]
    fn it_is_said_once_all_have_begun_and_again_only_after_news() {
        let auctions = [auction(1), auction(2)];
        let mut positions = Positions::new(&auctions);
        assert_eq!(positions.say(), None);
        positions.reaches(auction(1), 7);
        assert_eq!(positions.say(), None, "the other has not begun");
        positions.reaches(auction(2), 3);
        positions.reaches(auction(1), 5);
        positions.reaches(auction(9), 5);
        let block = format!("id: #{}:7,3\n\n", name_of(&auctions));
        assert_eq!(positions.say(), Some(block.into()));
        assert_eq!(positions.say(), None);
    }

    #[test]
    fn the_name_of_a_list_knows_its_order() {
        let name = name_of(&[auction(1), auction(2)]);
        assert_eq!(name.len(), 2 * NAME_BYTES);
        assert_ne!(name, name_of(&[auction(2), auction(1)]));
        assert_ne!(name, name_of(&[auction(1)]));
    }
}
