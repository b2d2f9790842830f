//! Viewers that come back with `Last-Event-ID` whenever they are cut, remember what they were told,
//! and hold it against the log: each event once, in order, and nothing missing that was not said.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use hoga::domain::id::{AuctionId, UserId};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{
    server::{Hoga, breathe},
    support::{
        eventually,
        streams::{Events, Told},
    },
};

/// Events that a viewer may have missed and still be told; past it a reset is right.
const REPLAYED_MAX: u64 = 1_000;

/// What happened on a stream.
#[derive(Debug, Clone)]
enum Step {
    /// The connection broke; whether every auction has a place to go on from.
    Cut {
        resumes_all: bool,
    },
    Told(Told),
}

/// What kind of client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Sends the last `id:` again, as an `EventSource` does.
    LastId,
    /// Counts for itself, and sends where it is in each auction.
    EachAuction,
}

/// One viewer.
struct Viewer {
    url: String,
    bearer: Option<String>,
    memory: Memory,
    steps: Mutex<Vec<Step>>,
}

/// Viewers at work.
#[derive(Default)]
pub struct Viewers {
    of_auctions: Vec<(Vec<Uuid>, Arc<Viewer>)>,
    of_inboxes: Vec<(UserId, Arc<Viewer>)>,
    tasks: Vec<JoinHandle<()>>,
}

/// An event of the log, as far as viewers are held against it.
struct Logged {
    kind: String,
    hash: String,
}

type Log = HashMap<AuctionId, BTreeMap<u64, Logged>>;

impl Viewer {
    fn start(url: String, bearer: Option<String>, memory: Memory) -> (Arc<Viewer>, JoinHandle<()>) {
        let steps = Mutex::default();
        let viewer = Arc::new(Viewer { url, bearer, memory, steps });
        (Arc::clone(&viewer), tokio::spawn(viewer.watch()))
    }

    /// Watches, and comes back at once whenever the stream ends.
    async fn watch(self: Arc<Self>) {
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build();
        let http = http.expect("a client");
        let mut last_id: Option<String> = None;
        loop {
            let mut request = http.get(&self.url);
            if let Some(bearer) = &self.bearer {
                request = request.bearer_auth(bearer);
            }
            if let Some(last) = self.last_event_id(last_id.as_deref()) {
                request = request.header("last-event-id", last);
            }
            let Ok(response) = request.send().await else {
                breathe().await;
                continue;
            };
            // The limits are far away, so anything else than a stream is somebody who goes down.
            if response.status() != 200 {
                assert!(response.status().is_server_error(), "{response:?}");
                breathe().await;
                continue;
            }
            let mut events = Events::new(response);
            while let Some(told) = events.whenever().await {
                self.steps.lock().unwrap().push(Step::Told(told));
                last_id = events.last_event_id.clone().or(last_id);
            }
            last_id = events.last_event_id.or(last_id);
            let resumes_all = self.memory == Memory::EachAuction
                || last_id.as_ref().is_some_and(|id| id.starts_with('#') || !id.contains('-'));
            self.steps.lock().unwrap().push(Step::Cut { resumes_all });
        }
    }

    fn last_event_id(&self, last_id: Option<&str>) -> Option<String> {
        match self.memory {
            Memory::LastId => last_id.map(str::to_owned),
            Memory::EachAuction => {
                let reached = self.reached();
                let places = reached.iter().map(|(id, seq)| format!("{id}:{seq}"));
                (!reached.is_empty()).then(|| places.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// The last event of each auction that was told.
    fn reached(&self) -> HashMap<AuctionId, u64> {
        let mut reached = HashMap::new();
        for step in self.steps.lock().unwrap().iter() {
            if let Step::Told(told) = step
                && told.id.is_some()
            {
                reached.insert(auction_of(told), told.seq());
            }
        }
        reached
    }

    fn has_reached(&self, auctions: &[Uuid], log: &Log) -> bool {
        let reached = self.reached();
        auctions.iter().all(|id| {
            let head = log[&AuctionId(*id)].last_key_value().map(|(seq, _)| *seq);
            reached.get(&AuctionId(*id)).copied() == head
        })
    }

    /// How often the connection broke.
    fn cuts(&self) -> usize {
        self.steps.lock().unwrap().iter().filter(|step| matches!(step, Step::Cut { .. })).count()
    }

    fn told(&self) -> Vec<Told> {
        let steps = self.steps.lock().unwrap();
        let told = steps.iter().filter_map(|step| match step {
            Step::Told(told) => Some(told.clone()),
            Step::Cut { .. } => None,
        });
        told.collect()
    }
}

fn auction_of(told: &Told) -> AuctionId {
    told.data["auction_id"].as_str().expect("an auction").parse().expect("a UUID")
}

/// One auction's part of a stream, while it is gone through.
#[derive(Default)]
struct Place {
    seq: Option<u64>,
    /// Where the connection began.
    connected_at: u64,
    /// A snapshot may come in the place of what was missed.
    may_begin_anew: bool,
    was_reset: bool,
}

/// What came of all of a viewer's auctions.
#[derive(Default)]
struct Tally {
    events: usize,
    coalesced: u64,
    snapshots: usize,
    resets: usize,
}

impl Tally {
    /// Holds what a viewer was told against the log.
    fn check(&mut self, viewer: &Viewer, auctions: &[Uuid], log: &Log) {
        let mut places: HashMap<AuctionId, Place> =
            auctions.iter().map(|id| (AuctionId(*id), Place::default())).collect();
        for step in viewer.steps.lock().unwrap().iter() {
            match step {
                Step::Cut { resumes_all } => {
                    for place in places.values_mut() {
                        place.connected_at = place.seq.unwrap_or(0);
                        place.may_begin_anew = !resumes_all;
                        place.was_reset = false;
                    }
                }
                Step::Told(told) => {
                    let id = auction_of(told);
                    let place = places.get_mut(&id).expect("only what was asked for");
                    self.step(place, told, &log[&id]);
                }
            }
        }
        for (id, place) in places {
            let head = log[&id].last_key_value().map(|(seq, _)| *seq);
            assert_eq!(place.seq, head, "{} did not get to the end of {id}", viewer.url);
        }
    }

    fn step(&mut self, place: &mut Place, told: &Told, log: &BTreeMap<u64, Logged>) {
        match told.event.as_str() {
            "reset" => {
                assert_eq!(told.data["reason"], "too_far_back", "nothing of the log is ever lost");
                place.was_reset = true;
                self.resets += 1;
            }
            "snapshot" => {
                let seq = told.seq();
                assert!(place.seq.is_none_or(|before| before <= seq), "back to {seq}");
                let is_too_far = seq > place.connected_at + REPLAYED_MAX;
                let is_allowed =
                    place.seq.is_none() || place.may_begin_anew || (place.was_reset && is_too_far);
                assert!(is_allowed, "{:?}, then a snapshot at {seq}", place.seq);
                *place = Place { seq: Some(seq), connected_at: seq, ..Place::default() };
                self.snapshots += 1;
            }
            kind => {
                let (seq, before) = (told.seq(), place.seq.expect("a snapshot comes first"));
                assert!(!place.was_reset, "a snapshot follows a reset");
                assert!(seq > before, "{seq} was told after {before}");
                // A newer price may stand for those before it, and for nothing else.
                for (missing, logged) in log.range(before + 1..seq) {
                    assert_eq!(logged.kind, "bid.placed", "{missing} is missing before {seq}");
                    self.coalesced += 1;
                }
                assert_eq!(kind, log[&seq].kind, "{}", told.text);
                assert_eq!(told.data["hash"], log[&seq].hash.as_str(), "{}", told.text);
                (place.seq, place.may_begin_anew) = (Some(seq), false);
                self.events += 1;
            }
        }
    }
}

impl Viewers {
    /// Watches one auction at this server.
    pub fn watch_one(&mut self, base_url: &str, auction: Uuid) {
        let url = format!("{base_url}/v1/auctions/{auction}/events");
        let (viewer, task) = Viewer::start(url, None, Memory::LastId);
        self.of_auctions.push((vec![auction], viewer));
        self.tasks.push(task);
    }

    /// Watches many on one connection.
    pub fn watch_many(&mut self, base_url: &str, auctions: &[Uuid], memory: Memory) {
        let ids: Vec<String> = auctions.iter().map(Uuid::to_string).collect();
        let url = format!("{base_url}/v1/events?auctions={}", ids.join(","));
        let (viewer, task) = Viewer::start(url, None, memory);
        self.of_auctions.push((auctions.to_vec(), viewer));
        self.tasks.push(task);
    }

    /// Watches the notifications of a user.
    pub fn watch_inbox(&mut self, base_url: &str, user: UserId, bearer: &str) {
        let url = format!("{base_url}/v1/me/events");
        let (viewer, task) = Viewer::start(url, Some(bearer.to_owned()), Memory::LastId);
        self.of_inboxes.push((user, viewer));
        self.tasks.push(task);
    }

    /// Waits until everybody has begun, so that nothing that happens from now on is missed.
    pub async fn have_begun(&self) {
        let all = || self.of_auctions.iter().map(|(ids, viewer)| (ids.len(), viewer));
        eventually("every stream has begun", || async {
            let inboxes = self.of_inboxes.iter().map(|(_, viewer)| (1, viewer));
            all().chain(inboxes).all(|(count, viewer)| viewer.told().len() >= count).then_some(())
        })
        .await;
    }

    /// Waits until everybody is where the logs are, and holds what they were told against them.
    /// Nothing may happen any more.
    pub async fn check(&self, hoga: &Hoga) {
        let log = read_log(hoga).await;
        for (auctions, viewer) in &self.of_auctions {
            let url = &viewer.url;
            eventually(&format!("{url} gets to the end"), || async {
                viewer.has_reached(auctions, &log).then_some(())
            })
            .await;
        }
        let mut tally = Tally::default();
        for (auctions, viewer) in &self.of_auctions {
            tally.check(viewer, auctions, &log);
        }
        let cuts: usize = self.of_auctions.iter().map(|(_, viewer)| viewer.cuts()).sum();
        println!(
            "{} streams, cut {cuts} times: {} events, {} prices coalesced, {} snapshots, {} resets",
            self.of_auctions.len(),
            tally.events,
            tally.coalesced,
            tally.snapshots,
            tally.resets
        );
        self.check_inboxes(hoga).await;
    }

    /// Everybody was told everything in their inbox, once and in order.
    async fn check_inboxes(&self, hoga: &Hoga) {
        let sql = hoga.sql().await;
        let rows = "SELECT id, kind FROM notifications WHERE user_id = $1 AND id > $2 ORDER BY id";
        let (mut told_in_all, mut cuts) = (0, 0);
        for (user, viewer) in &self.of_inboxes {
            let first = viewer.told()[0].clone();
            assert_eq!(first.event, "snapshot");
            let since = id_of(&first);
            let rows = sql.query(rows, &[user, &since]).await.expect("read");
            let inbox: Vec<(i64, String)> =
                rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            eventually("the whole inbox is told", || async {
                (viewer.told().len() > inbox.len()).then_some(())
            })
            .await;
            let told = viewer.told();
            let told = told[1..].iter().map(|told| (id_of(told), told.event.clone()));
            assert_eq!(told.collect::<Vec<_>>(), inbox, "of {user}");
            told_in_all += inbox.len();
            cuts += viewer.cuts();
        }
        let streams = self.of_inboxes.len();
        println!("{streams} streams of inboxes, cut {cuts} times: {told_in_all} notifications");
    }
}

fn id_of(told: &Told) -> i64 {
    told.id.as_deref().expect("an id").parse().expect("a number")
}

async fn read_log(hoga: &Hoga) -> Log {
    let all = "SELECT auction_id, seq, kind, encode(hash, 'hex') FROM events";
    let mut log = Log::new();
    for row in hoga.sql().await.query(all, &[]).await.expect("read") {
        let (id, seq): (AuctionId, i64) = (row.get(0), row.get(1));
        let logged = Logged { kind: row.get(2), hash: row.get(3) };
        log.entry(id).or_default().insert(seq.unsigned_abs(), logged);
    }
    log
}

impl Drop for Viewers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
