//! The outbox: a row stays until the bus has confirmed its events, and what stays is published again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use hoga::{
    domain::id::AuctionId,
    events::{
        bus::{BoxFuture, Bus, BusStanding, CommittedEvents, PublishError},
        envelope::Envelope,
        relay::{Batch, Relay, RelayHandle},
    },
    store::{Lease, Owned, Store},
};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::support::{database::Database, eventually};

type Confirm = oneshot::Sender<Result<(), PublishError>>;

/// A bus that confirms when the test says so.
#[derive(Default)]
struct HeldBus {
    published: Mutex<HashMap<u64, Confirm>>,
}

impl HeldBus {
    async fn has(&self, seqs: &[u64]) {
        eventually("the bus has them", || async {
            let published = self.published.lock().unwrap();
            seqs.iter().all(|seq| published.contains_key(seq)).then_some(())
        })
        .await;
    }

    fn says(&self, seq: u64, outcome: Result<(), PublishError>) {
        let confirm = self.published.lock().unwrap().remove(&seq).expect("published");
        confirm.send(outcome).expect("the relay waits for it");
    }
}

impl Bus for HeldBus {
    fn tell(&self, _: &CommittedEvents) {}

    fn publish(&self, committed: CommittedEvents) -> BoxFuture<'static, Result<(), PublishError>> {
        let (confirm, confirmed) = oneshot::channel();
        self.published.lock().unwrap().insert(committed[0].seq, confirm);
        Box::pin(async move { confirmed.await.unwrap_or(Err(PublishError::Lost)) })
    }

    fn resume(&self) {}

    fn opened(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn standing(&self) -> BusStanding {
        BusStanding::Up
    }
}

/// Events of one auction.
fn events(first: u64, last: u64) -> String {
    format!(
        "INSERT INTO events (auction_id, seq, kind, at, data, hash)
         SELECT '00000000-0000-7000-8000-000000000001', seq, 'auction.opened', now(),
                '{{\"bid_count\":0,\"ends_at\":\"2027-01-01T00:00:00.000Z\",\"leader_alias\":null,'
                || '\"price\":{{\"amount\":1000,\"currency\":\"KRW\"}}}}', decode(repeat('00', 32), 'hex')
         FROM generate_series({first}, {last}) AS seq"
    )
}

/// A row in the outbox for each of them.
fn rows(first: u64, last: u64) -> String {
    format!(
        "INSERT INTO outbox (auction_ids, first_seqs, last_seqs)
         SELECT ARRAY[auction_id], ARRAY[seq], ARRAY[seq] FROM events
         WHERE seq BETWEEN {first} AND {last} ORDER BY seq RETURNING id"
    )
}

struct Outbox {
    database: Database,
    store: Store,
    owned: Owned,
    _lease: Lease,
}

impl Outbox {
    /// With one row.
    async fn of_one() -> Outbox {
        let database = Database::create();
        let store = Store::new(database.config().clone()).unwrap();
        database.rows(&events(1, 1)).await;
        database.rows(&rows(1, 1)).await;
        let owned = Owned::nothing();
        let _lease = store.lease(&owned, 1).await.expect("nobody else runs");
        Outbox { database, store, owned, _lease }
    }

    /// The sequence numbers that wait.
    async fn waiting(&self) -> Vec<u64> {
        let rows = self.database.rows("SELECT first_seqs[1] FROM outbox ORDER BY id").await;
        rows.iter().map(|row| row[0].parse().unwrap()).collect()
    }

    async fn is_emptied(&self) {
        eventually("all is forgotten", || async { self.waiting().await.is_empty().then_some(()) })
            .await;
    }

    fn relay(&self, bus: &Arc<HeldBus>) -> (RelayHandle, JoinHandle<()>) {
        let (handle, relay) =
            Relay::new(self.store.clone(), Arc::clone(bus) as Arc<dyn Bus>, self.owned.clone());
        (handle, tokio::spawn(relay.run()))
    }

    /// Commits of one event each, handed over as a lane does. Nobody sees their rows in the table
    /// before.
    async fn hand_over(&self, relay: &RelayHandle, first: u64, last: u64) {
        self.database.rows(&events(first, last)).await;
        let auction = AuctionId(uuid::Uuid::from_u128(0x7000_8000_0000_0000_0001));
        let range = (auction, first as i64, last as i64);
        let events = self.store.events_in(&[range]).await.unwrap();
        let config = self.database.config();
        let (mut client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let transaction = client.transaction().await.unwrap();
        let written = transaction.query(&rows(first, last), &[]).await.unwrap();
        for (row, event) in written.iter().zip(events) {
            let event = Envelope::from_row(event).expect("an event");
            relay.hand_over(Batch {
                outbox_id: row.get(0),
                events: CommittedEvents::new(vec![event]),
            });
        }
        transaction.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_stays_until_its_confirm_and_is_published_again_after_a_crash() {
    let outbox = Outbox::of_one().await;
    for _ in 0..2 {
        let bus = Arc::new(HeldBus::default());
        let (_handle, relay) = outbox.relay(&bus);
        bus.has(&[1]).await;
        assert_eq!(outbox.waiting().await, [1]);
        // As with `kill -9`: whatever it knew is gone.
        relay.abort();
        assert!(relay.await.is_err_and(|error| error.is_cancelled()));
    }
    let bus = Arc::new(HeldBus::default());
    let (_handle, relay) = outbox.relay(&bus);
    bus.has(&[1]).await;
    bus.says(1, Ok(()));
    outbox.is_emptied().await;
    relay.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_handed_over_stays_until_its_confirm_and_after_a_refusal() {
    let outbox = Outbox::of_one().await;
    let bus = Arc::new(HeldBus::default());
    let (handle, relay) = outbox.relay(&bus);
    // What an earlier run left comes first.
    bus.has(&[1]).await;
    bus.says(1, Ok(()));
    outbox.is_emptied().await;
    outbox.hand_over(&handle, 2, 4).await;
    bus.has(&[2, 3, 4]).await;
    bus.says(2, Ok(()));
    // Rows are forgotten together: had it taken the others for safe, they would be gone as well.
    eventually("the first is forgotten", || async {
        (!outbox.waiting().await.contains(&2)).then_some(())
    })
    .await;
    assert_eq!(outbox.waiting().await, [3, 4]);
    bus.says(3, Err(PublishError::Nacked));
    bus.says(4, Ok(()));
    bus.has(&[3]).await;
    assert_eq!(outbox.waiting().await, [3], "what was refused is published again");
    bus.says(3, Ok(()));
    outbox.is_emptied().await;
    relay.abort();
}
