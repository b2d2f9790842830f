//! Personal streams: what a user is told, as it comes to stand in their inbox.
//!
//! Owns the way from the inbox to a connection. The inbox is read on from the last notification, by
//! its ids, which rise in the order of commits; whoever writes into it on this node rings, and what
//! other nodes write is found by looking. Must never show a notification to anybody but its user,
//! leave a gap without saying so, or tell one twice on a stream.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior},
};
use uuid::Uuid;

use super::{
    frame::{Form, Reset, retry},
    hub::LiveOptions,
    last_event_id::{self, LastEventIdError},
    queue::{Pushed, Queue},
    quota::StreamPermit,
};
use crate::tasks::Tasks;
use crate::{
    domain::{id::UserId, time::Timestamp},
    events::setback::Setback,
    store::{NotificationRow, Store, StoreError},
    wall_clock,
};

/// Streams of one user at once.
pub const STREAMS_PER_USER_MAX: usize = 8;
/// Notifications that are replayed to somebody who comes back; past it they are reset.
pub const NOTIFICATIONS_REPLAYED_MAX: i64 = 1_000;
/// Notifications that may come while a stream begins; past it the stream is cut, and resumes.
const WAITING_MAX: usize = 256;
/// How often the inbox is looked at for what other nodes wrote.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Notifications of everybody that are looked at in one go.
const LOOKED_AT_ONCE: i64 = 5_000;
/// A stream ends after this, and its viewer shows again who they are.
const LIFE_MAX: Duration = Duration::from_secs(3_600);
/// How long viewers wait before they come back, in milliseconds.
const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=10_000;

/// A personal stream cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum PersonalError {
    /// The user has as many as anybody may.
    #[error("the caller has {STREAMS_PER_USER_MAX} streams of notifications open")]
    TooMany,
    /// The server goes down.
    #[error("the server is going down")]
    Closing,
    /// The inbox cannot be read.
    #[error("the inbox cannot be read")]
    Store(#[from] StoreError),
}

/// Reads the `Last-Event-ID` of a personal stream: the id of a notification.
///
/// # Errors
/// When it is none.
pub fn parse_last(text: &str) -> Result<i64, LastEventIdError> {
    let seq = last_event_id::parse_seq(text)?;
    // Past every id, so that it is answered as one from the future.
    Ok(i64::try_from(seq).unwrap_or(i64::MAX))
}

/// Streams of notifications. Clones are the same.
#[derive(Clone)]
pub struct Personal {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    bell: Arc<Notify>,
    viewings: Mutex<HashMap<UserId, Vec<Arc<Viewing>>>>,
    next_no: AtomicU64,
    is_closing: AtomicBool,
}

/// One open stream.
struct Viewing {
    no: u64,
    opened_at: Timestamp,
    opened: Instant,
    queue: Queue,
    reach: Mutex<Reach>,
}

/// How far a viewer was told.
struct Reach {
    reached: i64,
    /// What came while the stream begins; none once it has begun.
    waiting: Option<Vec<(i64, Bytes)>>,
}

impl Personal {
    /// Starts to read the inbox on whenever `bell` rings, and regularly. Call it within a tokio or
    /// actix runtime.
    pub fn start(store: Store, bell: Arc<Notify>, options: LiveOptions, tasks: &Tasks) -> Personal {
        let inner = Arc::new(Inner {
            store,
            bell,
            viewings: Mutex::default(),
            next_no: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
        });
        let running = Arc::clone(&inner);
        tasks.keep("personal streams", move || Arc::clone(&running).run(options.keep_alive_every));
        Personal { inner }
    }

    /// Something was written into the inbox by somebody who does not ring.
    pub fn look(&self) {
        self.inner.bell.notify_one();
    }

    /// A stream of what a user is told, in a permit that was taken for it: as it stands, or what was
    /// missed since `last`; then what comes.
    ///
    /// # Errors
    /// When the inbox cannot be read, or no more viewers are taken.
    pub async fn watch(
        &self,
        user: UserId,
        last: Option<i64>,
        permit: StreamPermit,
    ) -> Result<PersonalViewer, PersonalError> {
        let viewing = self.inner.enter(user)?;
        // Leaves when dropped, also if it does not come to a stream.
        let viewer =
            PersonalViewer { user, viewing, inner: Arc::clone(&self.inner), _permit: permit };
        let (frames, reached) = self.inner.beginning(user, last).await?;
        viewer.viewing.queue.begin([retry(rand::random_range(RETRY_MS))]);
        viewer.viewing.queue.begin(frames);
        viewer.viewing.has_begun(reached);
        if self.inner.is_closing.load(Ordering::Acquire) {
            return Err(PersonalError::Closing);
        }
        Ok(viewer)
    }

    /// How many streams are open.
    pub fn viewers(&self) -> usize {
        self.inner.viewings().values().map(Vec::len).sum()
    }

    /// Ends the streams of those whose tokens count only from a later time, in seconds since 1970, on
    /// than the stream was opened: they left, or lost a role. To be called whenever that is heard of.
    pub fn end_revoked(&self, valid_from_s: impl Fn(UserId) -> i64) {
        for (user, own) in self.inner.viewings().iter() {
            let valid_from = Timestamp::from_millis(valid_from_s(*user).saturating_mul(1_000));
            for viewing in own.iter().filter(|viewing| viewing.opened_at < valid_from) {
                viewing.end();
            }
        }
    }

    /// Shutdown: ends every stream with a `retry:` that spreads the viewers' return.
    pub fn close(&self) {
        self.inner.is_closing.store(true, Ordering::Release);
        for viewing in self.inner.viewings().values().flatten() {
            viewing.end();
        }
        self.inner.bell.notify_one();
    }
}

impl Inner {
    fn viewings(&self) -> MutexGuard<'_, HashMap<UserId, Vec<Arc<Viewing>>>> {
        self.viewings.lock().expect("nothing panics while it holds the viewers")
    }

    fn enter(&self, user: UserId) -> Result<Arc<Viewing>, PersonalError> {
        if self.is_closing.load(Ordering::Acquire) {
            return Err(PersonalError::Closing);
        }
        let viewing = Arc::new(Viewing {
            no: self.next_no.fetch_add(1, Ordering::Relaxed),
            opened_at: wall_clock::now(),
            opened: Instant::now(),
            queue: Queue::new(Form::One),
            reach: Mutex::new(Reach { reached: 0, waiting: Some(Vec::new()) }),
        });
        let mut viewings = self.viewings();
        let own = viewings.entry(user).or_default();
        if own.len() >= STREAMS_PER_USER_MAX {
            return Err(PersonalError::TooMany);
        }
        own.push(Arc::clone(&viewing));
        Ok(viewing)
    }

    fn leave(&self, user: UserId, no: u64) {
        let mut viewings = self.viewings();
        if let Some(own) = viewings.get_mut(&user) {
            own.retain(|viewing| viewing.no != no);
            if own.is_empty() {
                viewings.remove(&user);
            }
        }
    }

    /// How a stream begins, and up to where that reaches.
    async fn beginning(
        &self,
        user: UserId,
        last: Option<i64>,
    ) -> Result<(Vec<Bytes>, i64), StoreError> {
        let (oldest, newest) = self.store.inbox_ends().await?;
        let Some(last) = last else { return self.snapshot(user, newest, None).await };
        if last > newest {
            return self.snapshot(user, newest, Some(Reset::AheadOfLog)).await;
        }
        let limit = NOTIFICATIONS_REPLAYED_MAX + 1;
        let missed = self.store.notifications_after(user, last, limit).await?;
        let is_too_far = missed.len() as i64 > NOTIFICATIONS_REPLAYED_MAX;
        // What was deleted since may have been among it; where nothing was ever deleted all ids are
        // above the permit.
        if is_too_far || (last > 0 && last.saturating_add(1) < oldest) {
            return self.snapshot(user, newest, Some(Reset::TooFarBack)).await;
        }
        let reached = missed.last().map_or(newest, |row| row.id.max(newest));
        let now = wall_clock::now();
        Ok((missed.iter().map(|row| frame(row, now)).collect(), reached))
    }

    async fn snapshot(
        &self,
        user: UserId,
        newest: i64,
        why: Option<Reset>,
    ) -> Result<(Vec<Bytes>, i64), StoreError> {
        let unread = self.store.unread(user).await?;
        let now = wall_clock::now();
        let notice = why.map(|why| reset(why, now));
        Ok((notice.into_iter().chain([snapshot(newest, unread, now)]).collect(), newest))
    }

    async fn run(self: Arc<Self>, keep_alive_every: Duration) {
        let mut keep_alive =
            tokio::time::interval_at(Instant::now() + keep_alive_every, keep_alive_every);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (store, mut reached) = (self.store.for_background(), 0);
        let mut setback = Setback::of("streams of notifications");
        while !self.is_closing.load(Ordering::Acquire) {
            let read = setback.judge(self.read_on(&store, &mut reached).await);
            let wait = read.err().unwrap_or(LOOK_EVERY);
            tokio::select! {
                () = self.bell.notified() => {}
                () = tokio::time::sleep(wait) => {}
                _ = keep_alive.tick() => self.tick(),
            }
        }
    }

    /// Tells what came to stand in the inbox after `reached`.
    async fn read_on(&self, store: &Store, reached: &mut i64) -> Result<(), StoreError> {
        let (_, newest) = store.inbox_ends().await?;
        // In this order: whoever comes after this reads the inbox after it, too.
        if self.viewings().is_empty() {
            *reached = newest;
        }
        while *reached < newest {
            let told = store.told_since(*reached, LOOKED_AT_ONCE).await?;
            let Some((last, _)) = told.last().copied() else { break };
            let wanted: Vec<i64> = {
                let viewings = self.viewings();
                let watched = told.iter().filter(|(_, user)| viewings.contains_key(user));
                watched.map(|(id, _)| *id).collect()
            };
            if !wanted.is_empty() {
                let now = wall_clock::now();
                for row in &store.notifications_of(&wanted).await? {
                    self.deliver(row, now);
                }
            }
            *reached = last;
        }
        Ok(())
    }

    fn deliver(&self, row: &NotificationRow, now: Timestamp) {
        let bytes = frame(row, now);
        for viewing in self.viewings().get(&row.user).into_iter().flatten() {
            viewing.deliver(row.id, &bytes);
        }
    }

    /// Keeps streams alive, and ends those that have gone on for long.
    fn tick(&self) {
        let mut gone = HashSet::new();
        for (user, own) in self.viewings().iter() {
            for viewing in own {
                if viewing.opened.elapsed() >= LIFE_MAX {
                    viewing.end();
                } else if viewing.queue.keep_alive() == Pushed::Gone {
                    gone.insert((*user, viewing.no));
                }
            }
        }
        for (user, no) in gone {
            self.leave(user, no);
        }
    }
}

impl Viewing {
    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().expect("nothing panics while it holds a reach")
    }

    fn deliver(&self, id: i64, bytes: &Bytes) {
        let mut reach = self.reach();
        if id <= reach.reached {
            return;
        }
        match &mut reach.waiting {
            Some(waiting) if waiting.len() < WAITING_MAX => waiting.push((id, bytes.clone())),
            Some(_) => self.end(),
            None => {
                reach.reached = id;
                let _ = self.queue.push_bytes(bytes.clone());
            }
        }
    }

    /// The beginning reaches up to here; what came meanwhile follows.
    fn has_begun(&self, reached: i64) {
        let mut reach = self.reach();
        reach.reached = reached;
        for (id, bytes) in reach.waiting.take().into_iter().flatten() {
            if id > reach.reached {
                reach.reached = id;
                self.queue.begin([bytes]);
            }
        }
    }

    fn end(&self) {
        self.queue.end(retry(rand::random_range(RETRY_MS)));
    }
}

/// The frames of one personal stream, ready to be the body of a `text/event-stream`. Dropping it
/// ends it.
pub struct PersonalViewer {
    user: UserId,
    viewing: Arc<Viewing>,
    inner: Arc<Inner>,
    _permit: StreamPermit,
}

impl Stream for PersonalViewer {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.viewing.queue.poll(context).map(|next| next.map(Ok))
    }
}

impl Drop for PersonalViewer {
    fn drop(&mut self) {
        self.inner.leave(self.user, self.viewing.no);
    }
}

impl std::fmt::Debug for PersonalViewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PersonalViewer").field("no", &self.viewing.no).finish_non_exhaustive()
    }
}

/// A notification as it is answered and streamed.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    id: i64,
    kind: &'a str,
    /// The auction, or the seller application.
    subject_id: Uuid,
    auction: Option<AuctionTold<'a>>,
    data: &'a RawValue,
    at: Timestamp,
    read_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_time: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct AuctionTold<'a> {
    id: Uuid,
    title: &'a str,
    image_keys: &'a RawValue,
}

impl<'a> Told<'a> {
    /// Of a row of the inbox.
    pub fn of(row: &'a NotificationRow) -> Told<'a> {
        let json = |text: &'a str| serde_json::from_str(text).unwrap_or(RawValue::NULL);
        Told {
            id: row.id,
            kind: &row.kind,
            subject_id: row.subject,
            auction: row.auction.as_ref().map(|auction| AuctionTold {
                id: auction.id.0,
                title: &auction.title,
                image_keys: json(&auction.image_keys),
            }),
            data: json(&row.data),
            at: row.at,
            read_at: row.read_at,
            server_time: None,
        }
    }
}

fn frame(row: &NotificationRow, server_time: Timestamp) -> Bytes {
    let told = Told { server_time: Some(server_time), ..Told::of(row) };
    let data = serde_json::to_string(&told).expect("strings and numbers are always JSON");
    format!("id: {}\nevent: {}\ndata: {data}\n\n", row.id, row.kind).into()
}

/// How many are unread; its id is where the stream can be resumed.
fn snapshot(newest: i64, unread: i64, server_time: Timestamp) -> Bytes {
    #[derive(Serialize)]
    struct Data {
        unread: i64,
        server_time: Timestamp,
    }
    let data = serde_json::to_string(&Data { unread, server_time })
        .expect("numbers and strings are always JSON");
    format!("id: {newest}\nevent: snapshot\ndata: {data}\n\n").into()
}

/// Tells a viewer to read the inbox anew, and why.
fn reset(reason: Reset, server_time: Timestamp) -> Bytes {
    #[derive(Serialize)]
    struct Data {
        reason: Reset,
        server_time: Timestamp,
    }
    let data =
        serde_json::to_string(&Data { reason, server_time }).expect("strings are always JSON");
    format!("event: reset\ndata: {data}\n\n").into()
}
