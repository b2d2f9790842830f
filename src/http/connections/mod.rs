//! Connections: how many there may be, of one address and in all, and how long one of them may let
//! the server wait.
//!
//! Whoever lets the server wait may be shed: a connection that is idle, that has not sent all of its
//! request yet, or that does not take its answer. Where there is no room, those that have waited
//! longest give way to a new one, so that nobody can hold the port by holding connections. Whoever
//! waits for the server is never shed. Streams have a quota of their own (`live/quota.rs`) and are
//! not counted here.

mod framing;
mod guarded;
mod in_flight;
mod paced;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;

use self::in_flight::Flights;
pub use self::{framing::Body, guarded::Guarded, in_flight::InFlight, paced::Paced};
use crate::{
    config,
    http::kit::limits::{canonical, network},
};

/// A request's head must have come by then.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without a request is closed after this.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A body may take so long whatever its size, and from then on must have come at
/// [`BODY_BYTES_PER_SECOND_MIN`].
pub const BODY_GRACE: Duration = Duration::from_secs(10);
/// The least rate of a body that takes longer than [`BODY_GRACE`].
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 1_024;
/// What waits to be sent, up to 32 KiB, must have been taken by then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How much longer than its deadline the search for late ones leaves a connection, so that whoever
/// can answer with words does so first.
const LENIENCE: Duration = Duration::from_secs(2);
/// How often late ones are searched for.
const SEARCHED_EVERY: Duration = Duration::from_millis(500);

/// Files that Hoga itself needs open: the database, the broker, calls to others, its own files.
const OWN_FILES: usize = 1_024;
/// Connections that are taken although there is no room, for whoever asks after the server's
/// health; others are told to come back.
const RESERVED_MAX: usize = 64;
/// Of how many files that are free one is for a connection that gave way and is not gone yet.
const LEAVING_ONE_OF: usize = 16;
/// Of how many one gives way when there is no room: more at once, so that they are looked for less
/// often.
const SHED_ONE_OF: usize = 16;

/// How many connections there may be, as far as files may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Besides streams.
    pub connections: usize,
    /// Streams.
    pub streams: usize,
    /// Connections that gave way and are not gone yet.
    leaving: usize,
}

impl Room {
    /// A quarter of what Hoga does not need itself is for requests, the rest for streams; less of
    /// either if less is wanted.
    pub fn within(open_files_max: usize, connections: usize, streams: usize) -> Room {
        let free = open_files_max.saturating_sub(OWN_FILES.min(open_files_max / 4) + RESERVED_MAX);
        let leaving = free / LEAVING_ONE_OF;
        let connections = connections.min(free / 4).max(1);
        let streams = streams.min(free.saturating_sub(connections + leaving)).max(1);
        Room { connections, streams, leaving }
    }

    /// As configured, of this process.
    pub fn of(config: &config::Config) -> Room {
        Room::within(open_files_max(), config.connections.all, config.streams.all)
    }

    /// Everything that may be connected at once.
    fn all(self) -> usize {
        self.connections + self.streams + self.leaving + RESERVED_MAX
    }

    /// What each worker may serve, so that together they may serve everything.
    pub fn per_worker(self, workers: usize) -> usize {
        self.all().div_ceil(workers.max(1))
    }
}

/// How many files this process may have open.
fn open_files_max() -> usize {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    limit.map_or(1_024, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Its request is being answered; it may not be shed.
    Answering = 0,
    /// It has no request.
    Idle = 1,
    /// It sends the head of a request.
    Head = 2,
    /// It sends the body of a request.
    Body = 3,
    /// It does not take its answer.
    Blocked = 4,
}

impl Phase {
    const fn of(bits: u64) -> Phase {
        match bits & 7 {
            1 => Phase::Idle,
            2 => Phase::Head,
            3 => Phase::Body,
            4 => Phase::Blocked,
            _ => Phase::Answering,
        }
    }
}

/// How a connection is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Counted = 0,
    /// Among the [`RESERVED_MAX`].
    Reserved = 1,
    /// It has a place among the streams, or has been shed: it is counted no more.
    Released = 2,
}

/// One connection.
pub struct Connection {
    id: u64,
    /// The peer's, unless that is a trusted proxy.
    address: Option<IpAddr>,
    kind: AtomicU8,
    /// Since when it does what, in milliseconds since the registry began, and what in the lowest
    /// three bits.
    doing: AtomicU64,
    /// The body that was announced and not begun yet: see [`Body::bits`].
    body: AtomicU64,
    is_shed: AtomicBool,
    /// Bytes wait to be read until its request is answered.
    has_sent_ahead: AtomicBool,
    waker: AtomicWaker,
    registry: Arc<Connections>,
}

impl Connection {
    fn doing(&self) -> (Phase, u64) {
        let bits = self.doing.load(Ordering::Relaxed);
        (Phase::of(bits), bits >> 3)
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.doing().0 == phase
    }

    fn does(&self, phase: Phase) {
        self.does_since(phase, self.registry.now_ms());
    }

    fn does_since(&self, phase: Phase, since_ms: u64) {
        self.doing.store((since_ms << 3) | phase as u64, Ordering::Relaxed);
    }

    /// Its request's head has come; with a body the rest is still awaited.
    pub fn begins(&self, body: Body) {
        self.body.store(body.bits(), Ordering::Relaxed);
        match (body, self.doing()) {
            (Body::None, _) => self.does(Phase::Answering),
            (Body::Length(_) | Body::Chunked | Body::ToTheEnd, (Phase::Head, since_ms)) => {
                self.does_since(Phase::Body, since_ms);
            }
            (Body::Length(_) | Body::Chunked | Body::ToTheEnd, _) => self.does(Phase::Body),
        }
    }

    /// The body that [`Connection::begins`] announced, once.
    fn take_body(&self) -> Body {
        Body::of(self.body.swap(Body::None.bits(), Ordering::Relaxed))
    }

    /// Its request is there as a whole.
    pub fn has_sent_all(&self) {
        self.does(Phase::Answering);
    }

    /// Its answer was handed over. If its body was not read, what may still come of that is given
    /// no longer than the head of another request.
    pub fn is_answered(&self) {
        self.does(if self.is_in(Phase::Body) { Phase::Head } else { Phase::Idle });
        if self.has_sent_ahead.swap(false, Ordering::Relaxed) {
            self.waker.wake();
        }
    }

    /// A preflight is answered before it is looked at as a request: what still seems to send a head
    /// is done.
    pub fn is_answered_at_once(&self) {
        if self.is_in(Phase::Head) {
            self.is_answered();
        }
    }

    /// There is something to read, which waits until its request is answered.
    fn has_sent_ahead(&self) {
        self.has_sent_ahead.store(true, Ordering::Relaxed);
    }

    /// Whether it carries a stream, or is to end.
    fn is_released(&self) -> bool {
        self.kind.load(Ordering::Relaxed) == Kind::Released as u8
    }

    /// It carries a stream from now on, and nothing after it.
    pub fn becomes_stream(&self) {
        self.does(Phase::Answering);
        self.registry.release(self);
    }

    /// Whether it was taken although there was no room.
    pub fn is_reserved(&self) -> bool {
        self.kind.load(Ordering::Relaxed) == Kind::Reserved as u8
    }

    /// Whether it has to end.
    pub fn is_shed(&self) -> bool {
        self.is_shed.load(Ordering::Relaxed)
    }

    fn shed(&self) {
        self.is_shed.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

type ById = BTreeMap<u64, Arc<Connection>>;

#[derive(Default)]
struct Counted {
    next_id: u64,
    by_address: HashMap<Option<IpAddr>, ById>,
    reserved: ById,
    /// As many as there are in `by_address`.
    count: usize,
    /// Shed, and not gone yet.
    leaving: usize,
}

/// Every connection of a server.
pub struct Connections {
    began: Instant,
    room: Room,
    per_address: usize,
    request_timeout: Duration,
    trusted_proxies: Vec<IpAddr>,
    counted: Mutex<Counted>,
    /// Requests that come through trusted proxies.
    flights: Arc<Flights>,
}

impl Connections {
    /// None yet.
    pub fn new(room: Room, config: &config::Connections, trusted: &[IpAddr]) -> Arc<Connections> {
        Arc::new(Connections {
            began: Instant::now(),
            room,
            per_address: config.per_address,
            request_timeout: Duration::from_secs(config.request_timeout_s.into()),
            trusted_proxies: trusted.iter().copied().map(canonical).collect(),
            counted: Mutex::default(),
            flights: Arc::default(),
        })
    }

    /// For how many there is room.
    pub fn room(&self) -> Room {
        self.room
    }

    /// A request, head and body, must have come by then.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// The head of a request must have come by then.
    pub fn head_timeout(&self) -> Duration {
        HEAD_TIMEOUT.min(self.request_timeout)
    }

    /// A request of an address for which a trusted proxy asks, if there are not as many already as it
    /// may have connections.
    pub fn takes(&self, forwarded: IpAddr) -> Option<InFlight> {
        self.flights.take(forwarded, self.per_address)
    }

    /// Those whose requests are being answered.
    pub fn answering(&self) -> usize {
        let counted = self.counted();
        let all = counted.by_address.values().flat_map(BTreeMap::values);
        all.filter(|connection| connection.is_in(Phase::Answering)).count()
    }

    /// Those that count.
    pub fn count(&self) -> usize {
        self.counted().count
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // Counts are whole after each step: a panic elsewhere takes nothing from them.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX >> 3)
    }

    /// Takes a new connection, where others may have to give way. `None` where there is no room even
    /// so: everybody waits for an answer.
    pub fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Arc<Connection>> {
        let address = peer.map(canonical);
        // One proxy speaks for many: what comes through it is counted by request.
        let is_proxy = address.is_some_and(|address| self.trusted_proxies.contains(&address));
        let address = address.filter(|_| !is_proxy).map(network);
        let counted = &mut *self.counted();
        if counted.leaving > self.room.leaving {
            return None;
        }
        let has_room =
            (is_proxy || self.makes_room_of(counted, address)) && self.makes_room(counted);
        let kind = if has_room { Kind::Counted } else { Kind::Reserved };
        if !has_room && !makes_room_among_reserved(counted) {
            return None;
        }
        let connection = Arc::new(Connection {
            id: counted.next_id,
            address,
            kind: AtomicU8::new(kind as u8),
            doing: AtomicU64::new((self.now_ms() << 3) | Phase::Head as u64),
            is_shed: AtomicBool::new(false),
            body: AtomicU64::new(Body::None.bits()),
            has_sent_ahead: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            registry: Arc::clone(self),
        });
        counted.next_id += 1;
        let into = match kind {
            Kind::Counted | Kind::Released => {
                counted.count += 1;
                counted.by_address.entry(address).or_default()
            }
            Kind::Reserved => &mut counted.reserved,
        };
        into.insert(connection.id, Arc::clone(&connection));
        Some(connection)
    }

    /// Whether there is room for one more of this address.
    fn makes_room_of(&self, counted: &mut Counted, address: Option<IpAddr>) -> bool {
        let Some(those) = counted.by_address.get(&address) else { return true };
        if those.len() < self.per_address {
            return true;
        }
        let longest = longest_waiting(those.values(), self.per_address);
        shed(counted, &longest);
        !longest.is_empty()
    }

    /// Whether there is room for one more at all. Addresses that hold less than their share need not
    /// give way; what comes through proxies always may have to.
    fn makes_room(&self, counted: &mut Counted) -> bool {
        if counted.count < self.room.connections {
            return true;
        }
        let share = counted.count / counted.by_address.len().max(1);
        let holders = counted.by_address.iter();
        let those = holders.filter(|(address, those)| address.is_none() || those.len() >= share);
        let all = those.flat_map(|(_, those)| those.values());
        let longest = longest_waiting(all, self.room.connections);
        shed(counted, &longest);
        !longest.is_empty()
    }

    /// It counts no more.
    fn release(&self, connection: &Connection) {
        let counted = &mut *self.counted();
        let was = connection.kind.swap(Kind::Released as u8, Ordering::Relaxed);
        if was == Kind::Reserved as u8 {
            counted.reserved.remove(&connection.id);
        } else if was == Kind::Counted as u8 {
            remove(counted, connection);
        }
    }

    /// It is closed.
    fn leave(&self, connection: &Connection) {
        self.release(connection);
        if connection.is_shed() {
            let counted = &mut *self.counted();
            counted.leaving = counted.leaving.saturating_sub(1);
        }
    }

    /// Sheds whoever has let the server wait for too long, until the registry is there no more.
    pub async fn shed_late_ones(self: Arc<Self>) {
        let weak = Arc::downgrade(&self);
        drop(self);
        let mut every = tokio::time::interval(SEARCHED_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let Some(registry) = weak.upgrade() else { return };
            registry.shed_late(registry.now_ms());
        }
    }

    fn shed_late(&self, now_ms: u64) {
        let counted = &mut *self.counted();
        let all = counted.by_address.values().flat_map(BTreeMap::values);
        let is_late = |connection: &&Arc<Connection>| {
            let (phase, since_ms) = connection.doing();
            let deadline = match phase {
                Phase::Answering => return false,
                Phase::Idle => KEEP_ALIVE,
                Phase::Head => self.head_timeout(),
                Phase::Body => self.request_timeout,
                Phase::Blocked => ANSWER_TIMEOUT,
            };
            let waited = Duration::from_millis(now_ms.saturating_sub(since_ms));
            waited > deadline + LENIENCE
        };
        let late: Vec<_> =
            all.chain(counted.reserved.values()).filter(is_late).map(Arc::clone).collect();
        shed(counted, &late);
    }
}

/// Of those that let the server wait the ones that do so for longest, one of [`SHED_ONE_OF`] of as
/// many as there may be.
fn longest_waiting<'a>(
    all: impl Iterator<Item = &'a Arc<Connection>>,
    max: usize,
) -> Vec<Arc<Connection>> {
    let mut waiting: Vec<(u64, &Arc<Connection>)> = all
        .filter_map(|connection| match connection.doing() {
            (Phase::Answering, _) => None,
            (Phase::Idle | Phase::Head | Phase::Body | Phase::Blocked, since_ms) => {
                Some((since_ms, connection))
            }
        })
        .collect();
    let count = (max / SHED_ONE_OF).max(1).min(waiting.len());
    if count < waiting.len() {
        waiting
            .select_nth_unstable_by_key(count, |(since_ms, connection)| (*since_ms, connection.id));
    }
    waiting[..count].iter().map(|(_, connection)| Arc::clone(connection)).collect()
}

fn makes_room_among_reserved(counted: &mut Counted) -> bool {
    if counted.reserved.len() < RESERVED_MAX {
        return true;
    }
    let longest = longest_waiting(counted.reserved.values(), RESERVED_MAX);
    shed(counted, &longest);
    !longest.is_empty()
}

fn shed(counted: &mut Counted, those: &[Arc<Connection>]) {
    for connection in those {
        let was = connection.kind.swap(Kind::Released as u8, Ordering::Relaxed);
        if was == Kind::Reserved as u8 {
            counted.reserved.remove(&connection.id);
        } else {
            remove(counted, connection);
        }
        counted.leaving += 1;
        connection.shed();
    }
}

fn remove(counted: &mut Counted, connection: &Connection) {
    let Some(those) = counted.by_address.get_mut(&connection.address) else { return };
    if those.remove(&connection.id).is_some() {
        counted.count -= 1;
    }
    if those.is_empty() {
        counted.by_address.remove(&connection.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(all: usize, per_address: usize) -> Arc<Connections> {
        let room = Room { connections: all, streams: 10, leaving: 64 };
        let config = config::Connections { all, per_address, request_timeout_s: 30 };
        Connections::new(room, &config, &[[10, 0, 0, 9].into()])
    }

    fn from(registry: &Arc<Connections>, last: u8) -> Option<Arc<Connection>> {
        registry.admit(Some([10, 0, 0, last].into()))
    }

    fn gone(registry: &Arc<Connections>, connections: &mut Vec<Arc<Connection>>) -> usize {
        let before = connections.len();
        connections.retain(|connection| {
            if connection.is_shed() {
                registry.leave(connection);
            }
            !connection.is_shed()
        });
        before - connections.len()
    }

    #[test]
    fn of_one_address_those_that_have_waited_longest_give_way() {
        let registry = registry(100, 3);
        let mut kept: Vec<_> = (0..3).filter_map(|_| from(&registry, 1)).collect();
        kept[0].begins(Body::None);
        let neighbour = from(&registry, 2).expect("admitted");
        let newest = from(&registry, 1).expect("admitted");
        assert!(!kept[0].is_shed(), "it waits for us");
        assert!(kept[1].is_shed() && !kept[2].is_shed());
        assert!(!neighbour.is_shed() && !newest.is_reserved());
        assert_eq!(gone(&registry, &mut kept), 1);
        assert_eq!(registry.count(), 4);
        assert_eq!(registry.counted().leaving, 0);
    }

    #[test]
    fn where_everybody_waits_for_an_answer_new_ones_are_taken_into_the_reserve_alone() {
        let registry = registry(2, 2);
        for connection in [from(&registry, 1), from(&registry, 2)] {
            connection.expect("admitted").begins(Body::None);
        }
        let mut reserved: Vec<_> = (0..RESERVED_MAX).filter_map(|_| from(&registry, 3)).collect();
        assert_eq!(reserved.len(), RESERVED_MAX);
        assert!(reserved.iter().all(|connection| connection.is_reserved()));
        assert!(from(&registry, 3).expect("the oldest give way").is_reserved());
        assert_eq!(gone(&registry, &mut reserved), RESERVED_MAX / SHED_ONE_OF);
        for connection in &reserved {
            connection.begins(Body::None);
        }
        let taken = (0..RESERVED_MAX).filter_map(|_| from(&registry, 3));
        let taken: Vec<_> = taken.inspect(|connection| connection.begins(Body::None)).collect();
        assert!(taken.len() < RESERVED_MAX, "there is an end to the reserve");
    }

    #[test]
    fn a_flood_of_many_addresses_leaves_room_for_one_more() {
        let registry = registry(64, 10);
        let mut all = Vec::new();
        for n in 0..=255 {
            all.push(from(&registry, n).expect("admitted"));
            gone(&registry, &mut all);
        }
        assert!(registry.count() <= 64);
        assert!(all.iter().all(|connection| !connection.is_reserved()));
    }

    #[test]
    fn an_address_that_holds_less_than_its_share_does_not_give_way_to_a_flood() {
        let registry = registry(64, 64);
        let lone = from(&registry, 0).expect("admitted");
        let mut all = Vec::new();
        for n in 0..1_000_u16 {
            let last = u8::try_from(n % 20).expect("small") + 1;
            all.push(from(&registry, last).expect("admitted"));
            gone(&registry, &mut all);
        }
        assert!(!lone.is_shed(), "though it has waited longest");
    }

    #[test]
    fn a_proxy_is_not_counted_as_an_address_and_a_stream_not_at_all() {
        let registry = registry(100, 2);
        let through: Vec<_> = (0..50).filter_map(|_| from(&registry, 9)).collect();
        assert!(through.iter().all(|connection| !connection.is_shed()));
        let streams: Vec<_> = (0..50).filter_map(|_| from(&registry, 1)).collect();
        assert!(streams.iter().any(|connection| connection.is_shed()), "before they stream");
        let streams: Vec<_> = (0..50)
            .filter_map(|_| from(&registry, 2))
            .inspect(|connection| connection.becomes_stream())
            .collect();
        assert_eq!(streams.len(), 50);
        assert!(streams.iter().all(|connection| !connection.is_shed()));
        let mapped = registry.admit(Some("::ffff:10.0.0.9".parse().expect("an address")));
        assert_eq!(mapped.expect("admitted").address, None, "the same proxy");
    }

    #[test]
    fn whoever_lets_the_server_wait_for_too_long_is_shed() {
        let registry = registry(100, 100);
        let late = |phase, after: Duration| {
            let connection = from(&registry, 1).expect("admitted");
            connection.does_since(phase, 0);
            let ms = |after: Duration| u64::try_from(after.as_millis()).expect("small");
            registry.shed_late(ms(after + LENIENCE));
            let was_shed = connection.is_shed();
            registry.shed_late(ms(after + LENIENCE) + 1);
            let is_shed = connection.is_shed();
            registry.leave(&connection);
            (was_shed, is_shed)
        };
        assert_eq!(late(Phase::Head, HEAD_TIMEOUT), (false, true));
        assert_eq!(late(Phase::Body, Duration::from_secs(30)), (false, true));
        assert_eq!(late(Phase::Idle, KEEP_ALIVE), (false, true));
        assert_eq!(late(Phase::Blocked, ANSWER_TIMEOUT), (false, true));
        assert_eq!(late(Phase::Answering, Duration::from_secs(9_000)), (false, false));
        assert_eq!((registry.count(), registry.counted().leaving), (0, 0));
    }

    #[test]
    fn there_is_room_for_both_within_the_open_files() {
        for files in [256, 1_024, 20_000, 65_536, 1_000_000] {
            let room = Room::within(files, 10_000, 40_000);
            assert!(room.all() + OWN_FILES.min(files / 4) <= files, "{files}: {room:?}");
            for workers in [1, 3, 8] {
                assert!(room.per_worker(workers) * workers >= room.all());
            }
        }
        assert_eq!(Room::within(1_000_000, 10_000, 40_000).connections, 10_000);
        let room = Room::within(1_000_000, 7, 9);
        assert_eq!((room.connections, room.streams), (7, 9));
    }
}
