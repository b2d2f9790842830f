//! The bus of the embedded default: what a consumer refuses is put aside, and comes back.

use std::sync::Arc;

use hoga::tasks::Tasks;
use hoga::{
    domain::id::AuctionId,
    events::{bus::Bus, in_process::InProcessBus, relay::Relay},
    store::{Owned, Store},
};

use super::{
    recorder::Recorder,
    support::{database::Database, eventually},
};

/// Three events of one auction, and a row for each in the outbox.
const WRITTEN: &str = "
    INSERT INTO users (id, name, nickname, roles) VALUES (gen_random_uuid(), 's', 's', '{seller}');
    INSERT INTO events (auction_id, seq, kind, at, data, hash)
    SELECT '00000000-0000-7000-8000-000000000001', seq, 'auction.opened', now(),
           '{\"bid_count\":0,\"ends_at\":\"2027-01-01T00:00:00.000Z\",\"leader_alias\":null,'
           || '\"price\":{\"amount\":1000,\"currency\":\"KRW\"}}', decode(repeat('00', 32), 'hex')
    FROM generate_series(1, 3) AS seq;
    INSERT INTO outbox (auction_ids, first_seqs, last_seqs)
    SELECT ARRAY[auction_id], ARRAY[seq], ARRAY[seq] FROM events ORDER BY seq";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_consumer_in_the_process_refuses_is_put_aside_and_comes_back() {
    let database = Database::create();
    let store = Store::new(database.config().clone()).unwrap();
    database.rows(WRITTEN).await;
    let auction = AuctionId(uuid::Uuid::from_u128(0x7000_8000_0000_0000_0001));
    let recorder = Recorder::new();
    recorder.refuse(|event| event.seq == 2);
    let bus: Arc<dyn Bus> =
        Arc::new(InProcessBus::start(&store, vec![recorder.clone()], &Tasks::unattended()));
    let owned = Owned::nothing();
    let _lease = store.lease(&owned, 1).await.expect("nobody else runs");
    let (handle, relay) = Relay::new(store.clone(), bus, owned);
    tokio::spawn(relay.run());
    let letters = eventually("the second is put aside", || async {
        let letters = store.dead_letters(10).await.unwrap();
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    assert_eq!((letters[0].consumer.as_str(), letters[0].seq), ("recorder", 2));
    assert_eq!(letters[0].reason, "it tastes bad");
    eventually("the others go on", || async { recorder.has((auction, 3)).then_some(()) }).await;
    recorder.refuse_nothing();
    assert!(store.replay_dead_letter("recorder", auction, 2).await.unwrap());
    assert!(!store.replay_dead_letter("recorder", auction, 2).await.unwrap());
    handle.look();
    eventually("it came back", || async { recorder.has((auction, 2)).then_some(()) }).await;
    eventually("the outbox is empty", || async {
        (database.number("SELECT count(*) FROM outbox").await == 0).then_some(())
    })
    .await;
}
