//! The hub over a log in memory: joining, replay, loss, storms, limits.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::join_all};
use proptest::prelude::*;
use tokio::time::timeout;

use super::{
    testing::{Log, auction, field, seqs},
    *,
};
use crate::domain::id::AuctionId;
use crate::tasks::Tasks;

/// Who watches, where it does not matter.
const ANYONE: Watcher = Watcher { address: None, user: None };
const EDITED: &str = "auction.edited";
const BID: &str = "bid.placed";
/// No fact that a test waits for takes longer.
const AT_MOST: Duration = Duration::from_secs(20);

fn hub(log: &Arc<Log>) -> Hub {
    Hub::start_with(
        log.bus.subscribe(),
        log.as_reads(),
        &LiveOptions::default(),
        &Tasks::unattended(),
    )
}

fn one(auction: AuctionId, last_seq: Option<u64>) -> Wanted {
    Wanted::One { auction, last_seq }
}

async fn next(viewer: &mut Viewer) -> Option<Bytes> {
    let next = timeout(AT_MOST, viewer.next()).await.expect("the stream goes on or ends");
    next.map(|frame| frame.expect("infallible"))
}

/// Frames up to the one with this sequence number, without the `retry:` and comments.
async fn until(viewer: &mut Viewer, seq: u64) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while seqs(&frames).last().is_none_or(|reached| *reached < seq) {
        let frame = next(viewer).await.expect("the stream goes on");
        if field(&frame, "event").is_some() {
            frames.push(frame);
        }
    }
    frames
}

fn kinds(frames: &[Bytes]) -> Vec<&str> {
    frames.iter().map(|frame| field(frame, "event").expect("a type")).collect()
}

#[tokio::test]
async fn a_stream_begins_with_retry_and_a_snapshot_and_goes_on_live() {
    let log = Log::of(&[(auction(1), 3)]);
    let hub = hub(&log);
    let mut viewer = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    let first = next(&mut viewer).await.expect("a frame");
    let retry: u64 = field(&first, "retry").expect("retry").parse().expect("ms");
    assert!((2_000..=3_000).contains(&retry));
    log.commit(auction(1), BID);
    log.commit(auction(1), "auction.closed");
    let frames = until(&mut viewer, 5).await;
    assert_eq!(kinds(&frames), ["snapshot", BID, "auction.closed"]);
    assert_eq!(seqs(&frames), [3, 4, 5]);
}

#[tokio::test]
async fn an_unknown_auction_is_not_found_and_leaves_nothing_behind() {
    let log = Log::of(&[(auction(1), 1)]);
    let hub = hub(&log);
    let auctions = vec![auction(1), auction(2)];
    let refused = hub.watch(ANYONE, Wanted::Many { auctions, last: HashMap::new() }).await;
    assert!(matches!(refused, Err(WatchError::NotFound(id)) if id == auction(2)));
    let refused = hub.watch(ANYONE, one(auction(2), Some(4))).await;
    assert!(matches!(refused, Err(WatchError::NotFound(_))));
    assert_eq!(hub.viewers(), 0);
    assert!(hub.topics() <= 1, "the topic of an unknown auction goes at once");
}

#[tokio::test]
async fn what_was_missed_comes_in_order_from_the_log() {
    let log = Log::of(&[(auction(1), 900)]);
    let hub = hub(&log);
    let mut viewer = hub.watch(ANYONE, one(auction(1), Some(10))).await.expect("a stream");
    log.commit(auction(1), EDITED);
    let frames = until(&mut viewer, 901).await;
    assert_eq!(seqs(&frames), (11..=901).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_comes_back_soon_is_told_from_memory() {
    let log = Log::of(&[(auction(1), 1)]);
    let hub = hub(&log);
    let mut first = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    for _ in 0..5 {
        log.commit(auction(1), EDITED);
    }
    until(&mut first, 6).await;
    drop(first);
    log.commit(auction(1), EDITED);
    let mut witness = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    until(&mut witness, 7).await;
    let reads = log.reads();
    let mut again = hub.watch(ANYONE, one(auction(1), Some(3))).await.expect("a stream");
    assert_eq!(seqs(&until(&mut again, 7).await), [4, 5, 6, 7]);
    assert_eq!(log.reads(), reads);
}

#[tokio::test]
async fn further_back_than_memory_is_read_once_and_shared() {
    let log = Log::of(&[(auction(1), 800)]);
    let hub = hub(&log);
    let mut witness = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    until(&mut witness, 800).await;
    let mut back = hub.watch(ANYONE, one(auction(1), Some(100))).await.expect("a stream");
    assert_eq!(seqs(&until(&mut back, 800).await), (101..=800).collect::<Vec<_>>());
    let reads = log.reads();
    let mut other = hub.watch(ANYONE, one(auction(1), Some(101))).await.expect("a stream");
    assert_eq!(seqs(&until(&mut other, 800).await), (102..=800).collect::<Vec<_>>());
    assert_eq!(log.reads(), reads);
}

#[tokio::test]
async fn nothing_missed_is_nothing_told() {
    let log = Log::of(&[(auction(1), 4)]);
    let hub = hub(&log);
    let mut viewer = hub.watch(ANYONE, one(auction(1), Some(4))).await.expect("a stream");
    log.commit(auction(1), EDITED);
    assert_eq!(seqs(&until(&mut viewer, 5).await), [5]);
}

#[tokio::test]
async fn too_far_back_and_ahead_of_the_log_are_a_reset_and_a_snapshot() {
    let log = Log::of(&[(auction(1), 1_500)]);
    let hub = hub(&log);
    for (last, reason) in
        [(499, "too_far_back"), (1_501, "ahead_of_log"), (u64::MAX, "ahead_of_log")]
    {
        let mut viewer = hub.watch(ANYONE, one(auction(1), Some(last))).await.expect("a stream");
        let frames = until(&mut viewer, 1_500).await;
        assert_eq!(kinds(&frames), ["reset", "snapshot"]);
        assert!(field(&frames[0], "data").expect("data").contains(reason));
    }
    let mut viewer = hub.watch(ANYONE, one(auction(1), Some(500))).await.expect("a stream");
    assert_eq!(until(&mut viewer, 1_500).await.len(), 1_000);
}

#[tokio::test]
async fn a_stream_of_many_resumes_the_named_and_snapshots_the_others() {
    let (a, b, c) = (auction(1), auction(2), auction(3));
    let log = Log::of(&[(a, 5), (b, 5), (c, 5)]);
    let hub = hub(&log);
    let header = format!("{b}:3");
    let wanted = Wanted::many(vec![a, b, a, c], Some(&header)).expect("a position");
    let mut viewer = hub.watch(ANYONE, wanted).await.expect("a stream");
    log.publish(vec![log.append(c, EDITED), log.append(a, EDITED), log.append(b, BID)]);
    let mut frames = Vec::new();
    while frames.len() < 8 {
        let frame = next(&mut viewer).await.expect("a frame");
        // Where it stands in each may be said in between.
        if field(&frame, "id").is_none_or(|id| !id.starts_with('#')) {
            frames.push(frame);
        }
    }
    let told: Vec<_> = frames[1..].iter().map(|frame| field(frame, "id").expect("an id")).collect();
    let expected = [(a, 5), (b, 4), (b, 5), (c, 5), (c, 6), (a, 6), (b, 6)];
    assert_eq!(told, expected.map(|(id, seq)| format!("{id}:{seq}")));
    let types = ["snapshot", EDITED, EDITED, "snapshot", EDITED, EDITED, BID];
    assert_eq!(kinds(&frames[1..]), types);
}

#[tokio::test]
async fn a_second_time_and_out_of_turn_are_told_once_and_in_order() {
    let log = Log::of(&[(auction(1), 2)]);
    let hub = hub(&log);
    let mut viewer = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    let events: Vec<_> = (0..5).map(|_| log.append(auction(1), EDITED)).collect();
    for n in [0, 0, 3, 1, 2, 1, 4, 3] {
        log.publish(vec![events[n].clone()]);
    }
    log.commit(auction(1), EDITED);
    assert_eq!(seqs(&until(&mut viewer, 8).await), (2..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_bus_never_carried_is_read_from_the_log_even_if_that_fails_at_first() {
    let log = Log::of(&[(auction(1), 2)]);
    let hub = hub(&log);
    let mut viewer = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    log.append(auction(1), EDITED);
    log.append(auction(1), EDITED);
    log.fail_next(1);
    log.commit(auction(1), EDITED);
    assert_eq!(seqs(&until(&mut viewer, 5).await), [2, 3, 4, 5]);
}

#[tokio::test]
async fn a_hub_that_lags_catches_up_every_watched_topic() {
    let (quiet, busy, noise) = (auction(1), auction(2), auction(3));
    let log = Log::of(&[(quiet, 1), (busy, 1), (noise, 1)]);
    let hub = hub(&log);
    let mut few = hub.watch(ANYONE, one(quiet, None)).await.expect("a stream");
    let mut storm = hub.watch(ANYONE, one(busy, None)).await.expect("a stream");
    until(&mut few, 1).await;
    until(&mut storm, 1).await;
    for _ in 0..10 {
        log.commit(quiet, EDITED);
    }
    // The hub does not run before the next await, so the bus has to drop all of the above.
    for _ in 0..3_000 {
        log.commit(busy, EDITED);
    }
    for _ in 0..5_000 {
        log.commit(noise, BID);
    }
    assert_eq!(seqs(&until(&mut few, 11).await), (2..=11).collect::<Vec<_>>());
    let frames = until(&mut storm, 3_001).await;
    let told = kinds(&frames);
    let from_log = told.iter().take_while(|kind| **kind == EDITED).count();
    assert_eq!(seqs(&frames[..from_log]), (2..from_log as u64 + 2).collect::<Vec<_>>());
    assert_eq!(told[from_log..], ["reset", "snapshot"]);
}

#[tokio::test]
async fn a_burst_that_no_queue_holds_cuts_nobody_who_reads() {
    let log = Log::of(&[(auction(1), 1)]);
    let hub = hub(&log);
    let mut viewer = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    let burst = (0..400).map(|_| log.append(auction(1), EDITED)).collect();
    log.publish(burst);
    assert_eq!(seqs(&until(&mut viewer, 401).await), (1..=401).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_storm_is_told_as_ever_newer_prices_up_to_the_last() {
    let log = Log::of(&[(auction(1), 1)]);
    let hub = hub(&log);
    let mut viewer = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    for n in 0..3_000 {
        log.commit(auction(1), if n % 1_000 == 500 { "auction.extended" } else { BID });
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let frames = until(&mut viewer, 3_001).await;
    let told = seqs(&frames);
    assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
    assert!(told.len() < 1_000, "{}", told.len());
    let extended = [502, 1_502, 2_502];
    assert!(extended.iter().all(|seq| told.contains(seq)));
    let data = field(&frames[frames.len() - 1], "data").expect("data");
    assert!(data.contains("\"price\":{\"amount\":3001000,"));
}

/// The bus brings nothing, and then the last event: all is told from the log.
#[tokio::test]
async fn a_storm_that_is_read_from_the_log_passes_over_nothing_but_prices() {
    let log = Log::of(&[(auction(1), 1)]);
    let hub = hub(&log);
    let mut viewer = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    for seq in 2..=500 {
        let is_other = seq % 100 < 3;
        log.append(auction(1), if is_other { "auction.extended" } else { BID });
    }
    log.commit(auction(1), "auction.closed");
    let frames = until(&mut viewer, 501).await;
    let others = frames.iter().filter(|frame| field(frame, "event") != Some(BID));
    let others: Vec<Bytes> = others.cloned().collect();
    let expected = (1..=501).filter(|seq| seq % 100 < 3 || *seq == 501);
    assert_eq!(seqs(&others), expected.collect::<Vec<u64>>());
    assert!(seqs(&frames).is_sorted_by(|a, b| a < b));
}

#[tokio::test]
async fn who_does_not_read_is_cut_and_holds_nobody_up() {
    let log = Log::of(&[(auction(1), 1)]);
    let hub = hub(&log);
    let mut reader = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    let mut sleeper = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    for _ in 0..100 {
        let seq = log.commit(auction(1), EDITED);
        until(&mut reader, seq).await;
    }
    assert_eq!(next(&mut sleeper).await, None);
    assert_eq!(hub.viewers(), 2, "it counts until its connection goes");
    drop(sleeper);
    assert_eq!(hub.viewers(), 1);
}

#[tokio::test]
async fn closing_ends_every_stream_with_a_hint_and_refuses_new_ones() {
    let log = Log::of(&[(auction(1), 1)]);
    let hub = hub(&log);
    let mut viewer = hub.watch(ANYONE, one(auction(1), Some(1))).await.expect("a stream");
    next(&mut viewer).await.expect("retry");
    assert!(viewer.next().now_or_never().is_none());
    hub.close();
    let last = next(&mut viewer).await.expect("a hint");
    assert!(field(&last, "retry").is_some());
    assert_eq!(next(&mut viewer).await, None);
    let refused = hub.watch(ANYONE, one(auction(1), None)).await;
    assert!(matches!(refused, Err(WatchError::Closing)));
}

#[tokio::test]
async fn no_more_viewers_than_there_may_be() {
    let log = Log::of(&[(auction(1), 1)]);
    let quota_max = QuotaMax { all: 2, per_address: 2, per_user: 2 };
    let options = LiveOptions { quota_max, ..LiveOptions::default() };
    let hub = Hub::start_with(log.bus.subscribe(), log.as_reads(), &options, &Tasks::unattended());
    let first = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    let _second = hub.watch(ANYONE, one(auction(1), None)).await.expect("a stream");
    let third = hub.watch(ANYONE, one(auction(1), None)).await;
    assert!(matches!(third, Err(WatchError::QuotaUsed(QuotaUsed::Full))));
    assert_eq!(hub.viewers(), 2);
    drop(first);
    assert!(hub.watch(ANYONE, one(auction(1), None)).await.is_ok());
}

#[tokio::test]
async fn many_who_come_at_once_share_a_read() {
    let log = Log::of(&[(auction(1), 300)]);
    let hub = hub(&log);
    let joins =
        (0..200).map(|n| hub.watch(ANYONE, one(auction(1), (n % 2 == 0).then_some(100 + n))));
    let viewers = join_all(joins).await;
    assert!(viewers.iter().all(Result::is_ok));
    assert!(log.reads() < 20, "{}", log.reads());
}

#[tokio::test]
async fn a_quiet_stream_hears_that_it_lives() {
    let log = Log::of(&[(auction(1), 1)]);
    let options =
        LiveOptions { keep_alive_every: Duration::from_millis(30), ..LiveOptions::default() };
    let hub = Hub::start_with(log.bus.subscribe(), log.as_reads(), &options, &Tasks::unattended());
    let mut viewer = hub.watch(ANYONE, one(auction(1), Some(1))).await.expect("a stream");
    next(&mut viewer).await.expect("retry");
    for _ in 0..3 {
        assert_eq!(next(&mut viewer).await.expect("a comment"), ": keep-alive\n\n");
    }
}

/// What happens at a point where a viewer that joins waits for Postgres.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Nothing,
    /// Commits that the bus carries at once.
    Commits(u8),
    /// Commits that the bus carries with a later one, out of turn.
    CommitsLate(u8),
    /// Commits that the bus never carries.
    CommitsLost(u8),
}

impl Meanwhile {
    fn happens(self, log: &Log) {
        let id = auction(1);
        match self {
            Meanwhile::Nothing => {}
            Meanwhile::Commits(n) => (0..n).for_each(|_| {
                log.commit(id, EDITED);
            }),
            Meanwhile::CommitsLate(n) => {
                let mut events: Vec<_> = (0..=n).map(|_| log.append(id, EDITED)).collect();
                events.reverse();
                events.into_iter().for_each(|event| log.publish(vec![event]));
            }
            Meanwhile::CommitsLost(n) => (0..n).for_each(|_| {
                log.append(id, EDITED);
            }),
        }
    }
}

fn meanwhile() -> impl Strategy<Value = Vec<Meanwhile>> {
    let one = prop_oneof![
        Just(Meanwhile::Nothing),
        (1..4_u8).prop_map(Meanwhile::Commits),
        (1..4_u8).prop_map(Meanwhile::CommitsLate),
        (1..4_u8).prop_map(Meanwhile::CommitsLost),
    ];
    prop::collection::vec(one, 0..5)
}

/// Runs a viewer's joining with what happens meanwhile, and says what it was told.
async fn told(
    last: Option<u64>,
    watched_before: bool,
    before: Vec<Meanwhile>,
    after: Vec<Meanwhile>,
) -> (Vec<String>, Vec<u64>, u64) {
    let id = auction(1);
    let log = Log::of(&[(id, 10)]);
    let hub = hub(&log);
    let _witness = match watched_before {
        true => Some(hub.watch(ANYONE, one(id, None)).await.expect("a stream")),
        false => None,
    };
    let (mut before, mut after) = (before.into_iter(), after.into_iter());
    log.around_reads(
        move |log| before.next().unwrap_or(Meanwhile::Nothing).happens(log),
        move |log| after.next().unwrap_or(Meanwhile::Nothing).happens(log),
    );
    let mut viewer = hub.watch(ANYONE, one(id, last)).await.expect("a stream");
    Meanwhile::Commits(2).happens(&log);
    tokio::task::yield_now().await;
    log.around_reads(|_| {}, |_| {});
    log.commit(id, "auction.closed");
    let end = log.length(id);
    let frames = until(&mut viewer, end).await;
    assert!(viewer.next().now_or_never().is_none(), "nothing comes after the last event");
    let kinds = kinds(&frames).into_iter().map(str::to_owned).collect();
    (kinds, seqs(&frames), end)
}

proptest! {
    #[test]
    fn between_replay_and_live_nothing_is_lost_or_doubled(
        last in prop::option::of(0..10_u64),
        watched_before: bool,
        before in meanwhile(),
        after in meanwhile(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let (kinds, seqs, end) = runtime.block_on(told(last, watched_before, before, after));
        let first = last.map_or(seqs[0], |last| last + 1);
        prop_assert_eq!(seqs, (first..=end).collect::<Vec<_>>());
        prop_assert_eq!(kinds[0] == "snapshot", last.is_none());
        prop_assert!(kinds[1..].iter().all(|kind| kind != "snapshot" && kind != "reset"));
    }
}
