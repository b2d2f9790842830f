//! Logs that were written straight into the database, as long as nobody would bid them in a test, and
//! what a log adds up to when it is replayed as a whole.

use hoga::{
    domain::{
        auction::{Command, Event, Offer, PlaceBid, State, decide},
        id::{AuctionId, UserId},
        money::Amount,
        time::Timestamp,
    },
    log::{self, hash::Hash},
    store::{BatchWriter, LogRange, Owned, Rows, Store},
};
use uuid::Uuid;

/// Bids that are written by one statement.
const BIDS_PER_WRITE: usize = 2_000;

/// A log as it stands in the database.
pub struct Replayed {
    pub state: State,
    head: Hash,
    head_at: Timestamp,
}

/// Replays the log from its first event, in one piece.
pub async fn replayed(store: &Store, id: AuctionId) -> Replayed {
    let whole = LogRange { log: id.into(), after: 0, last: i64::MAX };
    let part = store.log_part(&[whole], i64::MAX).await.expect("the log");
    let (mut events, mut head, mut head_at) = (Vec::new(), Hash::ZERO, Timestamp::EPOCH);
    for row in part.into_events() {
        events.push(log::decode(&row.kind, &row.data, row.private.as_deref()).expect("an event"));
        head = Hash::from_slice(&row.hash).expect("a hash");
        head_at = row.at;
    }
    let state = State::replay(&events).expect("a log begins with its first event");
    Replayed { state, head, head_at }
}

/// Writes so many bids of two bidders into the log of a live auction; no server may run. What the log
/// adds up to then.
pub async fn grow(store: &Store, id: AuctionId, bids: usize) -> State {
    let (client, connection) = BatchWriter::connect(store.url(), 0).await.expect("a connection");
    tokio::spawn(connection);
    let writer = BatchWriter::prepare(client, 0).await.expect("prepared");
    let owned = Owned::nothing();
    let lease = store.lease(&owned, 1).await.expect("nobody else runs");
    let mut log = replayed(store, id).await;
    let bidders = [UserId(Uuid::now_v7()), UserId(Uuid::now_v7())];
    let mut left = bids;
    while left > 0 {
        let mut rows = Rows::default();
        let first_seq = log.state.seq + 1;
        for n in 0..left.min(BIDS_PER_WRITE) {
            log.place(id, bidders[n % 2], &mut rows);
        }
        left -= left.min(BIDS_PER_WRITE);
        log.stand(id, first_seq, &mut rows);
        writer.write_and_commit(&owned, &rows, log.head_at).await.expect("written");
    }
    lease.give_back().await;
    log.state
}

impl Replayed {
    fn place(&mut self, id: AuctionId, bidder: UserId, rows: &mut Rows) {
        let minimum = self.state.minimum_next_bid();
        // Exact for one, a ceiling for the other.
        let offer = if self.state.seq.is_multiple_of(2) {
            Offer::Exact(minimum)
        } else {
            Offer::Ceiling(Amount::new(minimum.minor_units() + 1).expect("positive"))
        };
        let bid = PlaceBid {
            bidder,
            offer,
            expected_seq: None,
            confirm_amount: None,
            salt: [7; 16],
            received_at: self.head_at,
        };
        let events = decide(&self.state, &Command::PlaceBid(bid), self.head_at).expect("accepted");
        for event in &events {
            self.write(id, event, rows);
        }
    }

    fn write(&mut self, id: AuctionId, event: &Event, rows: &mut Rows) {
        self.state.evolve(event);
        let entry = log::encode(id, &self.state, event, self.head_at, self.head);
        self.head = entry.hash;
        let events = &mut rows.events;
        events.auction_id.push(id);
        events.seq.push(i64::try_from(entry.seq).expect("small"));
        events.kind.push(entry.kind);
        events.at.push(entry.at);
        events.data.push(entry.data);
        events.private.push(entry.private);
        events.hash.push(entry.hash.0.to_vec());
    }

    fn stand(&self, id: AuctionId, first_seq: u64, rows: &mut Rows) {
        let (state, standings) = (&self.state, &mut rows.standings);
        let leader = state.standing.leader.map(|leader| leader.bidder);
        standings.auction_id.push(id);
        standings.status.push("live");
        standings.result.push(None);
        standings.price.push(state.standing.price);
        standings.minimum_next_bid.push(Some(state.minimum_next_bid()));
        standings.bid_count.push(i32::try_from(state.bid_count).expect("small"));
        standings.leader_alias.push(leader.map(|leader| leader.to_string()));
        standings.reserve_met.push(state.standing.reserve_met);
        standings.buy_now_stands.push(state.buy_now_stands);
        standings.ends_at.push(state.ends_at);
        standings.due_at.push(state.due_at());
        standings.seq.push(i64::try_from(state.seq).expect("small"));
        standings.head_hash.push(self.head.0.to_vec());
        standings.leader_id.push(leader.and_then(|leader| state.user(leader)));
        standings.winner_id.push(None);
        standings.runner_up_id.push(None);
        standings.first_seq.push(i64::try_from(first_seq).expect("small"));
    }
}
