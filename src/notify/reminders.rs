//! Reminders: which to schedule, and whether one that is late is still worth telling.

use super::{Kind, data};
use crate::{
    domain::{auction::Phase, id::AuctionId, time::Timestamp},
    store::{Audience, DueReminder, NewFanout, NewReminder},
};

/// Those of one time of an auction, as it was set at `set_at`. What was too late by then is none:
/// an auction of two hours has no reminder a day before.
pub(super) fn of(
    auction: AuctionId,
    kind: Kind,
    target_at: Timestamp,
    set_at: Timestamp,
    leads_s: &[i64],
) -> impl Iterator<Item = NewReminder> {
    leads_s.iter().filter_map(move |lead_s| {
        let fire_at = target_at.plus_s(-lead_s);
        let reminder =
            NewReminder { auction, kind: kind.word(), lead_s: *lead_s, target_at, fire_at };
        (fire_at > set_at).then_some(reminder)
    })
}

/// What is told of a reminder that is due; nothing where the auction has moved on, and nothing that
/// comes too late: in the second half of its lead it would say a day where an hour is left. A
/// shorter lead says it then.
pub(super) fn told(due: &DueReminder, now: Timestamp) -> Option<NewFanout> {
    let kind = Kind::from_word(&due.kind)?;
    let is_opening = kind == Kind::OpeningSoon;
    let target_at = if is_opening { due.starts_at } else { due.ends_at };
    let stands = due.status == Phase::Scheduled || (!is_opening && due.status == Phase::Live);
    let is_useful = now < due.target_at.plus_ms(-due.lead_s * 500);
    // One that was moved has been scheduled anew, or will be with the event that moved it.
    (stands && is_useful && target_at == due.target_at).then(|| NewFanout {
        auction: due.auction,
        kind: kind.word(),
        gives_way: false,
        audience: Audience::Watchers,
        cause: due.fire_at.as_millis(),
        data: data::reminder(is_opening, target_at, due.lead_s),
        at: now,
        besides: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_S: i64 = 3_600;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus_s(hours * HOUR_S)
    }

    fn auction() -> AuctionId {
        AuctionId(uuid::Uuid::from_u128(1))
    }

    fn due(kind: Kind, lead_h: i64, target: Timestamp) -> DueReminder {
        DueReminder {
            auction: auction(),
            kind: kind.word().to_owned(),
            lead_s: lead_h * HOUR_S,
            target_at: target,
            fire_at: target.plus_s(-lead_h * HOUR_S),
            status: Phase::Scheduled,
            starts_at: target,
            ends_at: target,
        }
    }

    #[test]
    fn only_leads_that_lie_ahead_are_scheduled() {
        let leads = [24 * HOUR_S, HOUR_S];
        let leads_at = |set_at| -> Vec<i64> {
            of(auction(), Kind::EndingSoon, at(48), set_at, &leads).map(|r| r.lead_s).collect()
        };
        assert_eq!(leads_at(at(0)), leads);
        assert_eq!(leads_at(at(24)), [HOUR_S], "at the very moment it is too late");
        assert_eq!(leads_at(at(47)), [] as [i64; 0]);
    }

    #[test]
    fn one_that_is_late_is_told_in_the_first_half_of_its_lead() {
        let due = due(Kind::EndingSoon, 24, at(48));
        assert!(told(&due, at(24)).is_some());
        assert!(told(&due, at(36).plus_ms(-1)).is_some());
        assert!(told(&due, at(36)).is_none());
        assert!(told(&due, at(49)).is_none());
    }

    #[test]
    fn what_has_moved_or_is_over_is_not_told() {
        let due = due(Kind::OpeningSoon, 1, at(48));
        assert!(told(&due, at(47)).is_some());
        let moved = DueReminder { starts_at: at(49), ..due.clone() };
        assert!(told(&moved, at(47)).is_none());
        for status in [Phase::Live, Phase::Ended, Phase::Cancelled] {
            let over = DueReminder { status, ..due.clone() };
            assert!(told(&over, at(47)).is_none(), "{status:?}");
        }
    }
}
