//! A durable consumer that remembers what it was offered, and refuses what the test wants.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Instant,
};

use hoga::{
    domain::id::AuctionId,
    events::{
        bus::{BoxFuture, Consumer, TakeError},
        envelope::Envelope,
    },
};

use super::{
    server::{Hoga, breathe},
    support::{eventually, wait::WAIT_MAX},
};

type Poison = Box<dyn Fn(&Envelope) -> bool + Send + Sync>;

#[derive(Default)]
pub struct Recorder {
    taken: Mutex<Vec<(AuctionId, u64)>>,
    poison: Mutex<Option<Poison>>,
    refusals: Mutex<HashMap<(AuctionId, u64), u32>>,
}

impl Recorder {
    pub fn new() -> Arc<Recorder> {
        Arc::default()
    }

    pub fn refuse(&self, poison: impl Fn(&Envelope) -> bool + Send + Sync + 'static) {
        *self.poison.lock().unwrap() = Some(Box::new(poison));
    }

    pub fn refuse_nothing(&self) {
        *self.poison.lock().unwrap() = None;
    }

    /// How often it refused an event of this auction.
    pub fn refusals(&self, auction: &str) -> u32 {
        let refusals = self.refusals.lock().unwrap();
        refusals.iter().filter(|((id, _), _)| id.to_string() == auction).map(|(_, n)| n).sum()
    }

    /// As a consumer drops what it had: each event once, in the order in which it came first.
    pub fn once(&self) -> HashMap<AuctionId, Vec<u64>> {
        let mut seen = HashSet::new();
        let mut logs: HashMap<AuctionId, Vec<u64>> = HashMap::new();
        for event in self.taken.lock().unwrap().iter() {
            if seen.insert(*event) {
                logs.entry(event.0).or_default().push(event.1);
            }
        }
        logs
    }

    pub fn has(&self, event: (AuctionId, u64)) -> bool {
        self.taken.lock().unwrap().contains(&event)
    }

    pub fn offered(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// Waits until it has every event of the log, in whatever order.
    pub async fn wait_for_all(&self, hoga: &Hoga) {
        let sql = hoga.sql().await;
        let count = "SELECT count(*) FROM events";
        eventually("the recorder has every event", || async {
            let events: i64 = sql.query_one(count, &[]).await.expect("counted").get(0);
            let taken: usize = self.once().values().map(Vec::len).sum();
            (taken == usize::try_from(events).expect("not negative")).then_some(())
        })
        .await;
    }

    /// Waits until it has every event of the log, as long as more come, and holds them against it:
    /// none is missing, and none came before one that it follows.
    pub async fn check(&self, hoga: &Hoga) {
        let sql = hoga.sql().await;
        let heads = "SELECT auction_id, max(seq) FROM events GROUP BY auction_id";
        let (mut offered, mut grown_at) = (self.offered(), Instant::now());
        let logs = loop {
            let rows = sql.query(heads, &[]).await.expect("read");
            let logs = self.once();
            let is_whole = rows.iter().all(|row| {
                let (id, seq): (AuctionId, i64) = (row.get(0), row.get(1));
                logs.get(&id).is_some_and(|log| log.len() == seq as usize)
            });
            if is_whole {
                break logs;
            }
            if self.offered() > offered {
                (offered, grown_at) = (self.offered(), Instant::now());
            }
            assert!(
                grown_at.elapsed() < WAIT_MAX,
                "events are missing, and no more come: {}",
                missing(&rows, &logs)
            );
            breathe().await;
        };
        for (auction, log) in &logs {
            let in_order: Vec<u64> = (1..=log.len() as u64).collect();
            assert_eq!(*log, in_order, "{auction} came out of order");
        }
        let events: usize = logs.values().map(Vec::len).sum();
        println!("{events} events of {} auctions, offered {} times", logs.len(), self.offered());
    }
}

/// What is in the log and did not come.
fn missing(rows: &[tokio_postgres::Row], logs: &HashMap<AuctionId, Vec<u64>>) -> String {
    let of = |row: &tokio_postgres::Row| {
        let (id, head): (AuctionId, i64) = (row.get(0), row.get(1));
        let had: HashSet<u64> = logs.get(&id).into_iter().flatten().copied().collect();
        let missing = (1..=head.unsigned_abs()).filter(|seq| !had.contains(seq));
        let missing: Vec<u64> = missing.collect();
        (!missing.is_empty()).then(|| format!("{id} {missing:?} of {head}"))
    };
    rows.iter().filter_map(of).collect::<Vec<_>>().join("; ")
}

impl Consumer for Recorder {
    fn take<'a>(&'a self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), TakeError>> {
        Box::pin(async move {
            for event in events {
                let key = (event.auction_id, event.seq);
                if self.poison.lock().unwrap().as_ref().is_some_and(|poison| poison(event)) {
                    *self.refusals.lock().unwrap().entry(key).or_default() += 1;
                    return Err(TakeError::Refused("it tastes bad".to_owned()));
                }
                self.taken.lock().unwrap().push(key);
            }
            Ok(())
        })
    }

    /// It has nothing to compare with but what it is checked against.
    fn may_have_missed(&self) -> BoxFuture<'_, Result<(), TakeError>> {
        Box::pin(async { Ok(()) })
    }

    fn name(&self) -> &'static str {
        "recorder"
    }
}
