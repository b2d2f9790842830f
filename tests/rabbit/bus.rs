//! The bus itself: confirms, returned messages, what is not an event.

use std::sync::Arc;

use hoga::tasks::Tasks;
use hoga::{
    domain::{
        id::AuctionId,
        money::{Amount, Currency, Money},
        time::Timestamp,
    },
    events::{
        bus::{Bus, BusStanding, CommittedEvents, PublishError, Trouble},
        envelope::Envelope,
        feed::{Feed, Heard},
        rabbitmq::{RabbitMq, spawn_consumer},
    },
    log::{After, Minimum, hash::Hash},
};
use uuid::Uuid;

use super::{
    broker::Broker,
    consumer_is_there,
    recorder::Recorder,
    support::{eventually, wait::promptly},
};

pub fn event(auction_id: AuctionId, seq: u64) -> Envelope {
    let at = Timestamp::from_millis(1_800_000_000_000);
    let price = Money { amount: Amount::new(1_000).unwrap(), currency: Currency::Krw };
    let minimum_next_bid = Minimum::Of(price.amount);
    let after = After { bid_count: 0, ends_at: at, leader: None, minimum_next_bid, price };
    let data = format!(
        r#"{{"bid_count":0,"ends_at":"{at}","leader_alias":null,"price":{{"amount":1000,"currency":"KRW"}}}}"#
    );
    Envelope { auction_id, seq, kind: "auction.opened".into(), at, data, hash: Hash::ZERO, after }
}

async fn up(bus: &RabbitMq) {
    eventually("the bus is up", || async { (bus.standing() == BusStanding::Up).then_some(()) })
        .await;
    bus.resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_queue_takes_is_not_safe_and_everything_after_it_waits() {
    let (broker, prefix) = (Broker::shared(), "returned.");
    let bus = RabbitMq::start(broker.address(prefix), Vec::new(), &Tasks::unattended());
    assert_eq!(bus.publish(CommittedEvents::default()).await, Err(PublishError::Closed));
    up(&bus).await;
    let auction = AuctionId(Uuid::now_v7());
    let commit = |seq| CommittedEvents::new(vec![event(auction, seq)]);
    assert_eq!(bus.publish(commit(1)).await, Err(PublishError::Returned));
    assert_eq!(bus.publish(commit(2)).await, Err(PublishError::Closed));
    let recorder = Recorder::new();
    spawn_consumer(&broker.address(prefix), recorder.clone(), &Tasks::unattended());
    consumer_is_there(&broker, prefix).await;
    for seq in 1..=2 {
        eventually("it is safe", || async {
            bus.resume();
            bus.publish(commit(seq)).await.ok()
        })
        .await;
    }
    eventually("both came", || async { recorder.has((auction, 2)).then_some(()) }).await;
    assert_eq!(recorder.once()[&auction], [1, 2]);
    assert_eq!(bus.standing(), BusStanding::Up, "it takes events again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_says_no_is_one_that_refuses_until_it_has_taken_something() {
    let (broker, prefix) = (Broker::shared(), "nacked.");
    let bus = RabbitMq::start(broker.address(prefix), vec![Recorder::new()], &Tasks::unattended());
    up(&bus).await;
    // A queue that takes nothing.
    let (_connection, channel) = broker.channel().await;
    let full = "nacked.full";
    let mut arguments = lapin::types::FieldTable::default();
    arguments.insert("x-max-length".into(), lapin::types::AMQPValue::LongLongInt(0));
    let reject = lapin::types::AMQPValue::LongString("reject-publish".into());
    arguments.insert("x-overflow".into(), reject);
    channel.queue_declare(full.into(), Default::default(), arguments).await.unwrap();
    let exchange = format!("{prefix}hoga.events");
    let (options, arguments) = Default::default();
    channel.queue_bind(full.into(), exchange.into(), "#".into(), options, arguments).await.unwrap();
    let auction = AuctionId(Uuid::now_v7());
    let commit = || CommittedEvents::new(vec![event(auction, 1)]);
    let refused = BusStanding::Down(Trouble::Refused);
    assert_eq!(promptly("no", bus.publish(commit())).await, Err(PublishError::Nacked));
    eventually("it refuses", || async { (bus.standing() == refused).then_some(()) }).await;
    // Connected again, it says no again.
    eventually("no", || async {
        bus.resume();
        (bus.publish(commit()).await == Err(PublishError::Nacked)).then_some(())
    })
    .await;
    assert_eq!(bus.standing(), refused, "a connection alone takes nothing");
    channel.queue_delete(full.into(), Default::default()).await.unwrap();
    eventually("it is safe", || async {
        bus.resume();
        bus.publish(commit()).await.ok()
    })
    .await;
    assert_eq!(bus.standing(), BusStanding::Up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_not_an_event_is_put_aside_and_the_others_go_on() {
    let (broker, prefix) = (Broker::shared(), "strange.");
    let recorder = Recorder::new();
    let bus = RabbitMq::start(broker.address(prefix), vec![recorder.clone()], &Tasks::unattended());
    up(&bus).await;
    let (_connection, channel) = broker.channel().await;
    let exchange = format!("{prefix}hoga.events");
    let (options, properties) = Default::default();
    let strange = b"not an event";
    let key = "auction.strange".into();
    channel.basic_publish(exchange.into(), key, options, strange, properties).await.unwrap();
    let auction = AuctionId(Uuid::now_v7());
    let commit = CommittedEvents::new((1..=300).map(|seq| event(auction, seq)).collect());
    promptly("it is safe", bus.publish(commit)).await.unwrap();
    eventually("all came", || async { recorder.has((auction, 300)).then_some(()) }).await;
    let dead = format!("{prefix}hoga.dead-letters");
    let letter = channel.basic_get(dead.into(), Default::default()).await.unwrap();
    assert_eq!(letter.expect("a dead letter").delivery.data, strange);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_hear_what_is_published_and_where_something_may_be_missing() {
    let (broker, prefix) = (Broker::shared(), "streams.");
    let bus = Arc::new(RabbitMq::start(
        broker.address(prefix),
        vec![Recorder::new()],
        &Tasks::unattended(),
    ));
    let mut feed = bus.subscribe();
    assert_eq!(promptly("the beginning", feed.next()).await, Some(Heard::LostSome));
    up(&bus).await;
    let auction = AuctionId(Uuid::now_v7());
    let commit = CommittedEvents::new((1..=3).map(|seq| event(auction, seq)).collect());
    promptly("it is safe", bus.publish(Arc::clone(&commit))).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 3 {
        match promptly("the events", feed.next()).await {
            Some(Heard::Committed(events)) => heard.extend(events.iter().cloned()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, *commit);
}
