//! `Last-Event-ID`: where a viewer that comes back left off, in the two forms that streams emit.

use std::collections::HashMap;

use super::{positions, wanted::AUCTIONS_PER_STREAM_MAX};
use crate::domain::id::AuctionId;

/// A `Last-Event-ID` that no stream of Hoga has emitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LastEventIdError {
    /// Not a number where one must stand.
    #[error("Last-Event-ID must be a sequence number such as 42, not {0:?}")]
    NotASeq(String),
    /// Not `<auction_id>:<seq>`.
    #[error("Last-Event-ID must be <auction_id>:<seq>, or several of them after commas, not {0:?}")]
    NotAPosition(String),
    /// One auction twice.
    #[error("Last-Event-ID names the auction {0} twice")]
    Twice(AuctionId),
    /// More auctions than a stream can have.
    #[error("Last-Event-ID names more than {AUCTIONS_PER_STREAM_MAX} auctions")]
    TooMany,
}

/// How much of a malformed value is repeated to whoever sent it, in characters.
const QUOTED_MAX: usize = 64;

/// Of a stream of one auction: the sequence number of the last event received.
///
/// # Errors
/// When it is not a number.
pub fn parse_seq(text: &str) -> Result<u64, LastEventIdError> {
    seq(text.trim()).ok_or_else(|| LastEventIdError::NotASeq(quoted(text)))
}

/// Of a stream of many: `<auction_id>:<seq>` of the last event received, or, from a viewer that
/// kept count by itself, one for each auction after commas.
///
/// # Errors
/// When a part is malformed, or an auction stands twice.
pub fn parse_positions(text: &str) -> Result<HashMap<AuctionId, u64>, LastEventIdError> {
    let mut positions = HashMap::new();
    for part in text.split(',') {
        let (id, seq) =
            position(part.trim()).ok_or_else(|| LastEventIdError::NotAPosition(quoted(part)))?;
        if positions.len() == AUCTIONS_PER_STREAM_MAX {
            return Err(LastEventIdError::TooMany);
        }
        if positions.insert(id, seq).is_some() {
            return Err(LastEventIdError::Twice(id));
        }
    }
    Ok(positions)
}

/// Of a stream of many: what it said of all its auctions, which must be these, in this order. Said of
/// other auctions it is of no use: then none has a position.
///
/// # Errors
/// When it is malformed.
pub(super) fn parse_all(
    text: &str,
    auctions: &[AuctionId],
) -> Result<HashMap<AuctionId, u64>, LastEventIdError> {
    let malformed = || LastEventIdError::NotAPosition(quoted(text));
    let said = text.trim().strip_prefix(positions::MARK).ok_or_else(malformed)?;
    let (list, seqs) = said.split_once(':').ok_or_else(malformed)?;
    let seqs: Option<Vec<u64>> = seqs.split(',').map(seq).collect();
    let seqs = seqs.ok_or_else(malformed)?;
    if seqs.len() > AUCTIONS_PER_STREAM_MAX {
        return Err(LastEventIdError::TooMany);
    }
    if list != positions::name_of(auctions) || seqs.len() != auctions.len() {
        return Ok(HashMap::new());
    }
    Ok(auctions.iter().copied().zip(seqs).collect())
}

fn position(text: &str) -> Option<(AuctionId, u64)> {
    let (id, number) = text.split_once(':')?;
    Some((id.parse().ok()?, seq(number)?))
}

/// Digits alone: `u64::from_str` would take a plus sign as well.
fn seq(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
    const B: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

    fn id(text: &str) -> AuctionId {
        text.parse().expect("a UUID")
    }

    #[test]
    fn what_streams_emit_is_understood() {
        assert_eq!(parse_seq("42"), Ok(42));
        assert_eq!(parse_seq(" 0 "), Ok(0));
        let one = parse_positions(&format!("{A}:7")).expect("a position");
        assert_eq!(one, HashMap::from([(id(A), 7)]));
        let two = parse_positions(&format!("{A}:7, {B}:0")).expect("two positions");
        assert_eq!(two, HashMap::from([(id(A), 7), (id(B), 0)]));
    }

    #[test]
    fn what_a_stream_says_of_all_its_auctions_counts_for_these_alone() {
        let (both, name) = ([id(A), id(B)], positions::name_of(&[id(A), id(B)]));
        let all = parse_all(&format!("#{name}:7,0"), &both);
        assert_eq!(all, Ok(HashMap::from([(id(A), 7), (id(B), 0)])));
        for others in [&[id(B), id(A)][..], &[id(A)]] {
            assert_eq!(parse_all(&format!("#{name}:7,0"), others), Ok(HashMap::new()));
        }
        assert_eq!(parse_all(&format!("#{name}:7"), &both), Ok(HashMap::new()));
        for text in ["#", "#x", "#x:", "#x:1,", "#x:-1", "#x:1;2"] {
            let refused = Err(LastEventIdError::NotAPosition(text.to_owned()));
            assert_eq!(parse_all(text, &both), refused);
        }
        let long = format!("#{name}:{}", ["1"; AUCTIONS_PER_STREAM_MAX + 1].join(","));
        assert_eq!(parse_all(&long, &both), Err(LastEventIdError::TooMany));
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for text in ["", "x", "-1", "+1", "1.5", "18446744073709551616", "1,2", &format!("{A}:1")] {
            assert_eq!(parse_seq(text), Err(LastEventIdError::NotASeq(text.to_owned())));
        }
        for text in ["", "42", A, &format!("{A}:"), &format!("{A}:-1"), "x:1", &format!("{A}:1:2")]
        {
            let refused = Err(LastEventIdError::NotAPosition(text.to_owned()));
            assert_eq!(parse_positions(text), refused);
        }
        let trailing = parse_positions(&format!("{A}:1,"));
        assert_eq!(trailing, Err(LastEventIdError::NotAPosition(String::new())));
        let twice = parse_positions(&format!("{A}:1,{A}:2"));
        assert_eq!(twice, Err(LastEventIdError::Twice(id(A))));
    }

    #[test]
    fn a_long_value_is_not_repeated_whole() {
        let Err(LastEventIdError::NotASeq(said)) = parse_seq(&"입".repeat(10_000)) else {
            panic!("not a number")
        };
        assert_eq!(said.chars().count(), QUOTED_MAX);
    }

    #[test]
    fn no_more_positions_than_auctions_on_a_stream() {
        let ids = (0..=AUCTIONS_PER_STREAM_MAX as u128)
            .map(|n| format!("{}:1", uuid::Uuid::from_u128(n)))
            .collect::<Vec<_>>();
        assert!(parse_positions(&ids[1..].join(",")).is_ok());
        assert_eq!(parse_positions(&ids.join(",")), Err(LastEventIdError::TooMany));
    }
}
