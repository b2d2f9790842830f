//! Which notifications are pushed, how urgently, for how long, and what newer ones replace. Pure.

use serde::Deserialize;
use uuid::Uuid;

use crate::{
    domain::time::Timestamp,
    notify::Kind,
    store::{NewPush, Unpushed},
};

/// An hour, in seconds.
const HOUR_S: i64 = 3_600;
/// A day, in seconds.
const DAY_S: i64 = 24 * HOUR_S;

/// What is not pushed to a user who never said otherwise: under many bids both come again and again,
/// and nobody wants to be woken for them.
pub const MUTED_BY_DEFAULT: [Kind; 2] = [Kind::HighestBidChanged, Kind::Extended];

/// How much of a battery a message is worth (RFC 8030, section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// On power or Wi-Fi.
    Low,
    /// Unless the battery is low.
    Normal,
    /// At once.
    High,
}

impl Urgency {
    /// As the header has it.
    pub const fn word(self) -> &'static str {
        match self {
            Urgency::Low => "low",
            Urgency::Normal => "normal",
            Urgency::High => "high",
        }
    }
}

/// After which nobody needs to be told any more, besides the life of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Opening,
    End,
    Always,
}

/// How a kind is pushed.
struct Plan {
    urgency: Urgency,
    life_s: i64,
    until: Until,
    /// A newer one about the same takes its place.
    gives_way: bool,
}

fn plan(kind: Kind) -> Plan {
    let with = |urgency, life_s, until, gives_way| Plan { urgency, life_s, until, gives_way };
    match kind {
        Kind::Outbid => with(Urgency::High, DAY_S, Until::End, true),
        Kind::LeadingAgain => with(Urgency::High, DAY_S, Until::End, true),
        Kind::BidRetracted => with(Urgency::Normal, DAY_S, Until::End, true),
        Kind::HighestBidChanged => with(Urgency::Low, HOUR_S, Until::End, true),
        Kind::OpeningSoon => with(Urgency::Normal, DAY_S, Until::Opening, true),
        Kind::EndingSoon => with(Urgency::High, DAY_S, Until::End, true),
        Kind::Extended => with(Urgency::Normal, HOUR_S, Until::End, true),
        Kind::Won | Kind::OrderDue | Kind::OrderOverdue => {
            with(Urgency::High, 7 * DAY_S, Until::Always, false)
        }
        Kind::Lost => with(Urgency::Normal, 2 * DAY_S, Until::Always, false),
        Kind::Sold | Kind::Unsold | Kind::Payment | Kind::Refund => {
            with(Urgency::Normal, 7 * DAY_S, Until::Always, false)
        }
        Kind::KeywordAlert => with(Urgency::Normal, DAY_S, Until::End, false),
        Kind::SellerApplicationDecided => with(Urgency::Normal, 7 * DAY_S, Until::Always, false),
    }
}

/// How urgent a kind is.
pub(super) fn urgency(kind: Kind) -> Urgency {
    plan(kind).urgency
}

#[derive(Deserialize)]
struct Times {
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
}

/// How a notification is pushed; nothing where it is too late for it, or of a kind that this
/// version does not know.
pub(super) fn of(unpushed: &Unpushed, now: Timestamp) -> Option<NewPush> {
    let Plan { life_s, until, gives_way, .. } = plan(Kind::from_word(&unpushed.kind)?);
    let at_last = unpushed.at.plus_s(life_s);
    let expires_at = match (until, serde_json::from_str(&unpushed.data)) {
        (Until::Opening, Ok(Times { starts_at: Some(at), .. })) => at.min(at_last),
        (Until::End, Ok(Times { ends_at: Some(at), .. })) => at.min(at_last),
        (Until::Opening | Until::End | Until::Always, _) => at_last,
    };
    let collapse_key = if gives_way {
        collapse_key(&unpushed.kind, unpushed.subject)
    } else {
        unpushed.notification.to_string()
    };
    (now < expires_at).then_some(NewPush { collapse_key, expires_at })
}

fn collapse_key(kind: &str, subject: Uuid) -> String {
    format!("{kind} {subject}")
}

/// Whether a message under this key gives way to what is newer.
pub(super) fn gives_way(collapse_key: &str) -> bool {
    collapse_key.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn told(kind: Kind, data: &str) -> Unpushed {
        let (kind, data) = (kind.word().to_owned(), data.to_owned());
        Unpushed { notification: 42, kind, subject: Uuid::from_u128(7), data, at: NOW }
    }

    fn ends_at(at: Timestamp) -> String {
        format!(r#"{{"ends_at":"{at}","lead_s":3600}}"#)
    }

    #[test]
    fn what_ends_soon_is_worth_nothing_after_the_end() {
        let ending = told(Kind::EndingSoon, &ends_at(NOW.plus_s(600)));
        let end = NOW.plus_s(600);
        assert_eq!(of(&ending, NOW).expect("in time").expires_at, end);
        assert!(of(&ending, end.plus_ms(-1)).is_some());
        assert!(of(&ending, end).is_none(), "at the very end it is too late");
    }

    #[test]
    fn what_has_no_end_of_its_own_lives_as_long_as_its_kind() {
        let far = told(Kind::Outbid, &ends_at(NOW.plus_s(30 * DAY_S)));
        assert_eq!(of(&far, NOW).expect("in time").expires_at, NOW.plus_s(DAY_S));
        for kind in Kind::ALL {
            let life = of(&told(kind, "{}"), NOW).expect("in time").expires_at;
            assert_eq!(life, NOW.plus_s(plan(kind).life_s), "{kind:?}");
            assert!(of(&told(kind, "{}"), life).is_none(), "{kind:?}");
        }
    }

    #[test]
    fn newer_news_of_an_auction_takes_the_place_of_older_and_a_result_never_does() {
        let collapse_key = |kind, subject, notification| {
            let subject = Uuid::from_u128(subject);
            let unpushed = Unpushed { notification, subject, ..told(kind, "{}") };
            of(&unpushed, NOW).expect("in time").collapse_key
        };
        assert_eq!(collapse_key(Kind::Outbid, 7, 1), collapse_key(Kind::Outbid, 7, 2));
        assert_ne!(collapse_key(Kind::Outbid, 7, 1), collapse_key(Kind::Outbid, 8, 2));
        assert_ne!(collapse_key(Kind::Outbid, 7, 1), collapse_key(Kind::HighestBidChanged, 7, 1));
        assert_ne!(collapse_key(Kind::Won, 7, 1), collapse_key(Kind::Won, 7, 2));
        assert!(
            gives_way(&collapse_key(Kind::Outbid, 7, 1))
                && !gives_way(&collapse_key(Kind::Won, 7, 1))
        );
    }

    #[test]
    fn a_kind_of_a_later_version_is_left_alone() {
        let unknown = Unpushed { kind: "weather".to_owned(), ..told(Kind::Won, "{}") };
        assert!(of(&unknown, NOW).is_none());
    }
}
