//! The check: holds what the bus brings to the streams against the log.
//!
//! A broker that drops messages, a binding that was lost, an exchange that publishes under other names:
//! the bus is silent then, and silence looks like peace. So it is looked regularly whether the auctions
//! that are watched have moved on in the log, and what the bus has not brought in time is read there.

use std::{
    collections::{HashMap, VecDeque},
    sync::Weak,
    time::{Duration, Instant},
};

use super::{hub::Inner, tail::FOLLOWED_EVERY, viewers::Viewers};
use crate::{
    domain::id::AuctionId,
    events::bus::{Bus, BusStanding},
    store::{Store, StoreError},
};

/// How often the log is looked at while the bus brings everything.
const LOOKED_EVERY: Duration = Duration::from_millis(500);
/// How long an event may be on its way over the bus. More than a storm holds one back.
const BROUGHT_WITHIN: Duration = Duration::from_secs(2);
/// What the bus brings within this after it was due is late; what it does not is lost.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// So long must nothing be newly found lost before the bus is taken to bring everything again.
const CALM_AFTER: Duration = Duration::from_secs(5);
/// Events of an auction that are remembered as late; of more than these the oldest count.
const LATE_PER_AUCTION_MAX: usize = 16;

/// An auction that somebody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WatchedTopic {
    pub id: AuctionId,
    /// The last event that the topic has, from wherever.
    pub head: u64,
    /// The newest event that the bus has brought; 0 if none.
    pub brought: u64,
}

/// What is known of the auctions that are watched.
#[derive(Default)]
struct Check {
    auctions: HashMap<AuctionId, Known>,
    /// When an event was found late last, until the bus brings events in time again: what comes now
    /// is read at once.
    late_at: Option<Instant>,
    /// The same of events that were found lost.
    lost_at: Option<Instant>,
    /// Since when the newest event that the bus brought in time is in the log.
    in_time_since: Option<Instant>,
    /// When the way to the broker was seen to be down last: what is late then says nothing of the bus.
    down_at: Option<Instant>,
}

struct Known {
    /// The newest event of the log, when it was looked at last.
    newest: u64,
    /// The event that the bus has to bring next, and since when it is in the log.
    due: Option<(u64, Instant)>,
    /// Events that were read from the log because they were late.
    late: VecDeque<LateEvent>,
}

struct LateEvent {
    seq: u64,
    /// Since when it is in the log.
    since: Instant,
    /// When the bus was last known to have had no chance to bring it; at first the same.
    counted_from: Instant,
}

/// The oldest commit that waits to be published.
#[derive(Debug, Clone, Copy)]
struct OldestUnpublished {
    age: Duration,
    /// When it had that age.
    at: Instant,
}

impl OldestUnpublished {
    /// Whether an event may wait behind it that is in the log since then.
    fn is_before(self, since: Instant) -> bool {
        self.age >= self.at.saturating_duration_since(since)
    }
}

/// What a look came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    /// Auctions whose events are to be read from the log.
    to_read: Vec<AuctionId>,
    /// How many events the bus brought late.
    late: u64,
    /// How many events the bus is newly found to have lost.
    lost: u64,
    /// Whether the bus was losing events, and has brought later ones in time.
    brings_again: bool,
}

impl Check {
    /// After which event of each auction to ask the log.
    fn asks(&mut self, watched: &[WatchedTopic]) -> Vec<(AuctionId, u64)> {
        let mut before = std::mem::take(&mut self.auctions);
        let known = watched.iter().map(|topic| {
            let fresh = Known { newest: topic.head, due: None, late: VecDeque::new() };
            (topic.id, before.remove(&topic.id).unwrap_or(fresh))
        });
        self.auctions = known.collect();
        self.auctions.iter().map(|(id, known)| (*id, known.newest)).collect()
    }

    /// Whether there are events of which it is open yet whether they are late or lost.
    fn has_late(&self) -> bool {
        self.auctions.values().any(|known| !known.late.is_empty())
    }

    /// Takes what the log has beyond that, and what of it the bus cannot bring yet.
    fn judge(
        &mut self,
        watched: &[WatchedTopic],
        moved_on: &[(AuctionId, u64, u64)],
        unpublished: Option<OldestUnpublished>,
        now: Instant,
    ) -> Findings {
        for (id, _, newest) in moved_on {
            if let Some(known) = self.auctions.get_mut(id) {
                known.newest = *newest;
                known.due.get_or_insert((*newest, now));
            }
        }
        let mut findings = Findings::default();
        for topic in watched {
            let Some(known) = self.auctions.get_mut(&topic.id) else { continue };
            for late in &mut known.late {
                if unpublished.is_some_and(|oldest| oldest.is_before(late.since)) {
                    late.counted_from = now;
                }
            }
            while let Some(late) = known.late.front() {
                let from = self.down_at.map_or(late.counted_from, |at| at.max(late.counted_from));
                if topic.brought >= late.seq {
                    findings.late += 1;
                } else if now.saturating_duration_since(from) >= LOST_AFTER {
                    findings.lost += 1;
                } else {
                    break;
                }
                known.late.pop_front();
            }
            if let Some((seq, since)) = known.due {
                let waited = now.saturating_duration_since(since);
                if topic.brought >= seq {
                    if waited < BROUGHT_WITHIN {
                        self.in_time_since = self.in_time_since.max(Some(since));
                    }
                    known.due = (topic.brought < known.newest).then_some((known.newest, now));
                } else if waited >= BROUGHT_WITHIN {
                    findings.to_read.push(topic.id);
                    if known.late.len() < LATE_PER_AUCTION_MAX {
                        known.late.push_back(LateEvent { seq, since, counted_from: since });
                    }
                    known.due = None;
                    self.late_at = Some(now);
                    continue;
                }
            }
            if self.late_at.is_some() && topic.head < known.newest {
                findings.to_read.push(topic.id);
            }
        }
        if findings.lost > 0 {
            self.lost_at = Some(now);
        }
        self.calm_down(watched.is_empty(), now, &mut findings);
        findings
    }

    /// Silence proves nothing: what was found late or lost holds until a later event has come in
    /// time, or nobody watches.
    fn calm_down(&mut self, is_unwatched: bool, now: Instant, findings: &mut Findings) {
        if is_unwatched {
            (self.late_at, self.lost_at) = (None, None);
        }
        let in_time_since = self.in_time_since;
        let is_over = |at: Instant| {
            in_time_since.is_some_and(|since| since > at)
                && now.saturating_duration_since(at) >= CALM_AFTER
        };
        findings.brings_again = self.lost_at.is_some_and(is_over);
        for at in [&mut self.late_at, &mut self.lost_at] {
            *at = at.filter(|at| !is_over(*at));
        }
    }

    /// The bus has said that it lost events: the streams read the log already, and from here on it is
    /// to bring everything.
    fn begin_anew(&mut self) {
        *self = Check::default();
    }

    /// The way to the broker is down: `/readyz` says so, and nothing else is said of the bus.
    fn is_down(&mut self, now: Instant) {
        (self.down_at, self.lost_at) = (Some(now), None);
    }

    /// Whether events were lost, and nothing says yet that the bus brings them again.
    fn is_losing(&self) -> bool {
        self.lost_at.is_some()
    }

    fn every(&self) -> Duration {
        if self.late_at.is_some() || self.is_losing() { FOLLOWED_EVERY } else { LOOKED_EVERY }
    }
}

/// Checks until the hub is gone.
pub(super) async fn run(store: Store, bus: Weak<dyn Bus>, inner: Weak<Inner>) {
    let (mut check, mut losses, mut is_blind) = (Check::default(), 0, false);
    let mut brings_again = false;
    loop {
        tokio::time::sleep(check.every()).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.viewers().is_closing() {
            return;
        }
        if std::mem::replace(&mut losses, inner.losses()) != losses {
            check.begin_anew();
        }
        if bus.upgrade().is_some_and(|bus| bus.standing() != BusStanding::Up) {
            check.is_down(Instant::now());
        }
        match look(&mut check, &store, inner.viewers()).await {
            Ok(findings) => {
                is_blind = false;
                brings_again = findings.brings_again;
                metrics::counter!("hoga_bus_lost_total").increment(findings.lost);
                metrics::counter!("hoga_bus_late_total").increment(findings.late);
                inner.read_from_log(&findings.to_read);
            }
            Err(error) if !std::mem::replace(&mut is_blind, true) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "what the bus brings cannot be held against the log for now");
            }
            Err(_) => {}
        }
        let is_losing = check.is_losing();
        let was_losing = inner.set_losing(is_losing);
        if is_losing && !was_losing {
            tracing::error!(
                "the bus does not bring events that are in the log: streams read them there; \
                 is the exchange at the same broker, under the same HOGA_AMQP_PREFIX?"
            );
        }
        // However else it ends, nothing is known of the bus.
        if std::mem::take(&mut brings_again) {
            tracing::info!("the bus brings events again");
        }
    }
}

async fn look(check: &mut Check, store: &Store, viewers: &Viewers) -> Result<Findings, StoreError> {
    let asks = check.asks(&viewers.watched());
    let moved_on = if asks.is_empty() { Vec::new() } else { store.moved_on(&asks).await? };
    let unpublished = if check.has_late() { oldest_unpublished(store).await? } else { None };
    // Again, for the bus has had time to bring them.
    Ok(check.judge(&viewers.watched(), &moved_on, unpublished, Instant::now()))
}

/// While it waits, the bus cannot bring what was committed after it.
async fn oldest_unpublished(store: &Store) -> Result<Option<OldestUnpublished>, StoreError> {
    let at = Instant::now();
    let waiting = store.outbox_waiting(1).await?;
    let age = Duration::from_millis(u64::try_from(waiting.oldest_ms).unwrap_or(0));
    Ok((waiting.commits > 0).then_some(OldestUnpublished { age, at }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::testing::auction;

    fn topic(head: u64, brought: u64) -> [WatchedTopic; 1] {
        [WatchedTopic { id: auction(1), head, brought }]
    }

    /// A look at the topic, while the log reaches to `newest`.
    fn look(check: &mut Check, topic: [WatchedTopic; 1], newest: u64, at: Instant) -> Findings {
        look_behind(check, topic, newest, None, at)
    }

    /// The same while a commit waits to be published that is as old.
    fn look_behind(
        check: &mut Check,
        topic: [WatchedTopic; 1],
        newest: u64,
        age: Option<Duration>,
        at: Instant,
    ) -> Findings {
        let asks = check.asks(&topic);
        let moved = asks.into_iter().filter(|(_, head)| *head < newest);
        let moved: Vec<_> = moved.map(|(id, head)| (id, head, newest)).collect();
        let unpublished = age.map(|age| OldestUnpublished { age, at });
        check.judge(&topic, &moved, unpublished, at)
    }

    const TICK: Duration = Duration::from_millis(1);

    /// A check of a bus that was found to have lost the sixth event, and when.
    fn losing(start: Instant) -> (Check, Instant) {
        let mut check = Check::default();
        look(&mut check, topic(5, 5), 6, start);
        look(&mut check, topic(5, 5), 6, start + BROUGHT_WITHIN);
        let lost_at = start + LOST_AFTER;
        assert_eq!(look(&mut check, topic(6, 5), 6, lost_at).lost, 1);
        assert!(check.is_losing());
        (check, lost_at)
    }

    #[test]
    fn what_the_bus_brings_in_time_is_not_read_from_the_log() {
        let (mut check, start) = (Check::default(), Instant::now());
        assert_eq!(look(&mut check, topic(5, 0), 5, start), Findings::default());
        let almost = start + BROUGHT_WITHIN - Duration::from_millis(1);
        assert_eq!(look(&mut check, topic(5, 0), 6, start), Findings::default());
        assert_eq!(look(&mut check, topic(5, 0), 7, almost), Findings::default());
        assert_eq!(look(&mut check, topic(6, 6), 7, almost), Findings::default());
        assert_eq!(look(&mut check, topic(7, 7), 7, almost + BROUGHT_WITHIN), Findings::default());
        assert!(!check.is_losing());
    }

    #[test]
    fn what_it_does_not_bring_in_time_is_read_and_then_everything_at_once() {
        let (mut check, start) = (Check::default(), Instant::now());
        look(&mut check, topic(5, 5), 5, start);
        look(&mut check, topic(5, 5), 6, start);
        let to_read = vec![auction(1)];
        let found = look(&mut check, topic(5, 5), 6, start + BROUGHT_WITHIN);
        assert_eq!(found, Findings { to_read: to_read.clone(), ..Findings::default() });
        let at = start + BROUGHT_WITHIN;
        assert_eq!(look(&mut check, topic(6, 5), 6, at), Findings::default());
        assert_eq!(
            look(&mut check, topic(6, 5), 7, at),
            Findings { to_read, ..Findings::default() }
        );
        assert!(!check.is_losing(), "it may be only late");
    }

    #[test]
    fn what_is_only_late_is_counted_and_not_alarmed_as_lost() {
        let (mut check, start) = (Check::default(), Instant::now());
        look(&mut check, topic(5, 5), 6, start);
        look(&mut check, topic(5, 5), 6, start + BROUGHT_WITHIN);
        let almost = start + LOST_AFTER - Duration::from_millis(1);
        let found = look(&mut check, topic(6, 6), 6, almost);
        assert_eq!(found, Findings { late: 1, ..Findings::default() });
        assert!(!check.is_losing());
        assert_eq!(look(&mut check, topic(6, 6), 6, start + LOST_AFTER), Findings::default());
    }

    #[test]
    fn while_the_link_is_down_nothing_is_alarmed_and_what_was_late_has_its_time_again() {
        let (mut check, start) = (Check::default(), Instant::now());
        look(&mut check, topic(5, 5), 6, start);
        look(&mut check, topic(5, 5), 6, start + BROUGHT_WITHIN);
        let up_at = start + LOST_AFTER * 2;
        check.is_down(up_at);
        assert_eq!(look(&mut check, topic(6, 5), 6, up_at), Findings::default());
        assert!(!check.is_losing());
        let almost = up_at + LOST_AFTER - Duration::from_millis(1);
        assert_eq!(look(&mut check, topic(6, 5), 6, almost).lost, 0);
        assert_eq!(look(&mut check, topic(6, 5), 6, up_at + LOST_AFTER).lost, 1);
    }

    #[test]
    fn a_bus_that_loses_one_event_after_another_is_alarmed_once_however_quiet_it_is_between() {
        let (mut check, lost_at) = losing(Instant::now());
        for (seq, minute) in (7..12).zip(1..) {
            let at = lost_at + Duration::from_secs(60) * minute;
            for waited in [Duration::ZERO, BROUGHT_WITHIN, LOST_AFTER, LOST_AFTER + CALM_AFTER] {
                let found = look(&mut check, topic(seq, 5), seq, at + waited);
                assert!(check.is_losing() && !found.brings_again, "{seq} after {waited:?}");
                assert_eq!(check.every(), FOLLOWED_EVERY);
            }
        }
    }

    #[test]
    fn the_alarm_ends_once_a_later_event_was_brought_in_time_and_nothing_more_was_lost() {
        let (mut check, lost_at) = losing(Instant::now());
        let next_at = lost_at + TICK;
        look(&mut check, topic(6, 5), 7, next_at);
        let brought = look(&mut check, topic(7, 7), 7, next_at + BROUGHT_WITHIN - TICK);
        assert!(check.is_losing() && !brought.brings_again, "it was only one");
        let almost = look(&mut check, topic(7, 7), 7, lost_at + CALM_AFTER - TICK);
        assert!(check.is_losing() && !almost.brings_again);
        assert!(look(&mut check, topic(7, 7), 7, lost_at + CALM_AFTER).brings_again);
        assert!(!check.is_losing());
        assert_eq!(check.every(), LOOKED_EVERY);
        let further = look(&mut check, topic(7, 7), 7, lost_at + CALM_AFTER * 2);
        assert!(!further.brings_again, "it is said once");
    }

    #[test]
    fn an_event_that_comes_late_or_was_due_before_the_loss_does_not_end_the_alarm() {
        let (mut check, lost_at) = losing(Instant::now());
        look(&mut check, topic(6, 5), 7, lost_at);
        look(&mut check, topic(7, 7), 7, lost_at + TICK);
        look(&mut check, topic(7, 7), 8, lost_at + TICK);
        look(&mut check, topic(8, 8), 8, lost_at + TICK + BROUGHT_WITHIN);
        let found = look(&mut check, topic(8, 8), 8, lost_at + CALM_AFTER * 2);
        assert!(check.is_losing() && !found.brings_again);
    }

    #[test]
    fn an_alarm_that_ends_because_nothing_is_known_of_the_bus_any_more_ends_in_silence() {
        let start = Instant::now();
        for (what, end) in [
            ("the link is down", (|check, at| check.is_down(at)) as fn(&mut Check, Instant)),
            ("the bus says itself that it lost events", |check, _| check.begin_anew()),
            ("nobody watches", |check, at| {
                assert!(!check.judge(&[], &[], None, at).brings_again);
            }),
        ] {
            let (mut check, lost_at) = losing(start);
            end(&mut check, lost_at);
            assert!(!check.is_losing(), "{what}");
            let found = look(&mut check, topic(6, 5), 6, lost_at + CALM_AFTER);
            assert!(!check.is_losing() && !found.brings_again, "{what}");
        }
    }

    #[test]
    fn what_is_not_published_yet_is_not_lost_and_has_its_time_from_when_it_is() {
        let (mut check, start) = (Check::default(), Instant::now());
        look(&mut check, topic(5, 5), 6, start);
        look(&mut check, topic(5, 5), 6, start + BROUGHT_WITHIN);
        // It waits behind an older one, and then is the oldest itself.
        let half_an_hour = Duration::from_secs(1_800);
        for waited in [LOST_AFTER, half_an_hour] {
            for age in [waited * 2, waited] {
                let found = look_behind(&mut check, topic(6, 5), 6, Some(age), start + waited);
                assert_eq!(found.lost, 0, "{age:?} after {waited:?}");
            }
        }
        // Then what waits is younger.
        let from = start + half_an_hour;
        for waited in [TICK, LOST_AFTER - TICK] {
            let age = Some(half_an_hour + waited - TICK);
            assert_eq!(look_behind(&mut check, topic(6, 5), 6, age, from + waited).lost, 0);
        }
        let age = Some(half_an_hour + LOST_AFTER - TICK);
        assert_eq!(look_behind(&mut check, topic(6, 5), 6, age, from + LOST_AFTER).lost, 1);
        assert!(check.is_losing());
    }

    #[test]
    fn whether_something_waits_to_be_published_is_asked_while_an_event_is_late() {
        let (mut check, start) = (Check::default(), Instant::now());
        look(&mut check, topic(5, 5), 6, start);
        assert!(!check.has_late());
        look(&mut check, topic(5, 5), 6, start + BROUGHT_WITHIN);
        assert!(check.has_late());
        look(&mut check, topic(6, 6), 6, start + BROUGHT_WITHIN + TICK);
        assert!(!check.has_late());
    }

    #[test]
    fn an_event_between_the_joining_and_the_first_look_counts_too() {
        let (mut check, start) = (Check::default(), Instant::now());
        look(&mut check, topic(5, 0), 6, start);
        assert_eq!(look(&mut check, topic(5, 0), 6, start + BROUGHT_WITHIN).to_read, [auction(1)]);
    }

    #[test]
    fn a_later_event_does_not_excuse_an_earlier_one_that_is_late() {
        let (mut check, start) = (Check::default(), Instant::now());
        look(&mut check, topic(5, 5), 6, start);
        look(&mut check, topic(5, 5), 9, start + BROUGHT_WITHIN / 2);
        assert_eq!(look(&mut check, topic(5, 5), 9, start + BROUGHT_WITHIN).to_read, [auction(1)]);
    }

    #[test]
    fn what_the_log_has_beyond_the_event_that_was_brought_becomes_due_too() {
        let (mut check, start) = (Check::default(), Instant::now());
        look(&mut check, topic(5, 5), 6, start);
        look(&mut check, topic(5, 5), 7, start);
        // The bus brings the sixth, and never the seventh.
        assert_eq!(look(&mut check, topic(6, 6), 6, start), Findings::default());
        let found = look(&mut check, topic(6, 6), 6, start + BROUGHT_WITHIN);
        assert_eq!(found, Findings { to_read: vec![auction(1)], ..Findings::default() });
    }
}
