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
/// So long without an event newly found lost, and the bus is taken to bring everything again.
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
    /// When an event was found late last, for as long as that is of importance: what comes now is read
    /// at once.
    late_at: Option<Instant>,
    /// The same of events that were found lost.
    lost_at: Option<Instant>,
    /// When the way to the broker was seen to be down last: what is late then says nothing of the bus.
    down_at: Option<Instant>,
}

struct Known {
    /// The newest event of the log, when it was looked at last.
    newest: u64,
    /// The event that the bus has to bring next, and since when it is in the log.
    due: Option<(u64, Instant)>,
    /// Events that were read from the log because they were late, and since when they are in the log.
    late: VecDeque<(u64, Instant)>,
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

    /// Takes what the log has beyond that.
    fn judge(
        &mut self,
        watched: &[WatchedTopic],
        moved_on: &[(AuctionId, u64, u64)],
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
            while let Some((seq, since)) = known.late.front().copied() {
                let since = self.down_at.map_or(since, |at| at.max(since));
                if topic.brought >= seq {
                    findings.late += 1;
                } else if now.saturating_duration_since(since) >= LOST_AFTER {
                    findings.lost += 1;
                } else {
                    break;
                }
                known.late.pop_front();
            }
            if let Some((seq, since)) = known.due {
                if topic.brought >= seq {
                    known.due = (topic.brought < known.newest).then_some((known.newest, now));
                } else if now.saturating_duration_since(since) >= BROUGHT_WITHIN {
                    findings.to_read.push(topic.id);
                    if known.late.len() < LATE_PER_AUCTION_MAX {
                        known.late.push_back((seq, since));
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
        for at in [&mut self.late_at, &mut self.lost_at] {
            *at = at.filter(|at| now.saturating_duration_since(*at) < CALM_AFTER);
        }
        findings
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

    /// Whether events were lost a moment ago.
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
        if inner.set_losing(is_losing) != is_losing {
            match is_losing {
                true => tracing::error!(
                    "the bus does not bring events that are in the log: streams read them there; \
                     is the exchange at the same broker, under the same HOGA_AMQP_PREFIX?"
                ),
                false => tracing::info!("the bus brings events again"),
            }
        }
    }
}

async fn look(check: &mut Check, store: &Store, viewers: &Viewers) -> Result<Findings, StoreError> {
    let asks = check.asks(&viewers.watched());
    let moved_on = if asks.is_empty() { Vec::new() } else { store.moved_on(&asks).await? };
    // Again, for the bus has had time to bring them.
    Ok(check.judge(&viewers.watched(), &moved_on, Instant::now()))
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
        let asks = check.asks(&topic);
        let moved = asks.into_iter().filter(|(_, head)| *head < newest);
        let moved: Vec<_> = moved.map(|(id, head)| (id, head, newest)).collect();
        check.judge(&topic, &moved, at)
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
    fn what_is_never_brought_is_lost_and_the_alarm_ends_when_nothing_more_is() {
        let (mut check, start) = (Check::default(), Instant::now());
        look(&mut check, topic(5, 5), 6, start);
        look(&mut check, topic(5, 5), 6, start + BROUGHT_WITHIN);
        let lost_at = start + LOST_AFTER;
        assert_eq!(look(&mut check, topic(6, 5), 6, lost_at).lost, 1);
        assert!(check.is_losing());
        let almost = lost_at + CALM_AFTER - Duration::from_millis(1);
        assert_eq!(look(&mut check, topic(6, 5), 6, almost), Findings::default());
        assert!(check.is_losing());
        look(&mut check, topic(6, 5), 6, lost_at + CALM_AFTER);
        assert!(!check.is_losing(), "nothing more was lost, however quiet it is");
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
        assert_eq!(found, Findings { to_read: vec![auction(1)], late: 0, lost: 0 });
    }
}
