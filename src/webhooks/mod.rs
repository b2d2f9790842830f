//! Webhooks: registered clients are told of public events at addresses of theirs, after the Standard
//! Webhooks specification.
//!
//! Takes events from the bus as a durable consumer, which only notes who is to be told what; turns
//! of webhooks are then worked off, many side by side, each bounded in time and number, so that a
//! receiver that hangs or fails delays nobody else. Must never make a bid, the bus or another
//! receiver wait, tell anything but the public half of an event, or log more of an address than its
//! host.

mod details;
mod message;
mod schedule;
pub mod signing;
mod turn;

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use metrics::{counter, gauge};
use tokio::{
    sync::{Mutex, Notify, Semaphore},
    task::JoinSet,
    time::Instant,
};
use uuid::Uuid;

pub use self::{
    details::{Details, OVERLAP_S, OVERLAP_S_MAX, WebhookFault},
    message::{TEST_TYPE, message_id},
    schedule::ATTEMPTS_MAX,
};
use crate::tasks::Tasks;
use crate::{
    domain::time::Timestamp,
    events::{
        bus::{BoxFuture, Consumer, TakeError},
        envelope::Envelope,
        setback::Setback,
    },
    outgoing::Sender,
    store::{EventKey, NewDelivery, Store, StoreError, WebhookListening, purges},
    wall_clock,
};

/// Turns under way at once, of as many webhooks.
pub const TURNS_MAX: usize = 64;
/// Those of them that webhooks which fail may take: the others always have the rest. One that hangs
/// for the first time is not among them, but only for as long as one call takes.
pub const FAILING_TURNS_MAX: usize = 16;
/// Calls under way at once, so that none waits for another's.
pub const CALLS_MAX: usize = TURNS_MAX * turn::LINES_MAX;
/// Connections to Postgres that all turns share: the API reads over the same ones.
const READERS_MAX: usize = 3;
/// Deliveries that may wait for one webhook. Past it events are not kept for it, but counted.
pub const BACKLOG_MAX: i64 = 10_000;
/// A webhook that fails for so long, in seconds, is disabled: five days.
pub const DISABLED_AFTER_S: i64 = 5 * 86_400;
/// How long a webhook belongs to whoever claimed it, in seconds; longer than a turn can take.
const CLAIMED_S: i64 = 60;
/// Who is to be told of what is remembered for so long: a change at another server counts by then.
const LISTENING_KEPT: Duration = Duration::from_secs(1);
/// How often is looked for what is due, besides when something was noted here.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often is said how far events were noted, by the events' own times, in milliseconds.
const HEARD_SAID_EVERY_MS: i64 = 5_000;
/// An event is committed and comes over the bus within this, in seconds, after one that was decided
/// at the same time: more than what a lane's commit and its way over a bus that works can take.
const HEARD_LATE_S: i64 = 120;
/// Events of the log that are looked at in one go.
const LOOKED_AT_ONCE: i64 = 5_000;
/// How often what waits is counted.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// How often what is too old is deleted.
const PURGE_EVERY: Duration = Duration::from_secs(60);
/// Deliveries that are deleted in one transaction.
const PURGED_AT_ONCE_MAX: i64 = 5_000;

/// How webhooks are told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Deliveries are kept for so long, in seconds, whatever became of them.
    pub kept_s: i64,
    /// Deliveries that may wait for one webhook.
    pub backlog_max: i64,
    /// Any number, anew each time: spreads what failed together.
    pub chance: fn() -> u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { kept_s: 14 * 86_400, backlog_max: BACKLOG_MAX, chance: rand::random }
    }
}

/// What was worked off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkedOff {
    /// Attempts that arrived.
    pub delivered: u32,
    /// Attempts that will be made again.
    pub failed: u32,
    /// Deliveries that will not be tried again.
    pub given_up: u32,
    /// Webhooks that are told nothing more.
    pub disabled: u32,
}

impl std::ops::AddAssign for WorkedOff {
    fn add_assign(&mut self, other: WorkedOff) {
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.given_up += other.given_up;
        self.disabled += other.disabled;
    }
}

type Listening = Arc<Vec<WebhookListening>>;

/// Tells webhooks. Clones are the same.
#[derive(Clone)]
pub struct Webhooks {
    store: Store,
    sender: Sender,
    options: Arc<Options>,
    /// Something may be due.
    due: Arc<Notify>,
    listening: Arc<Mutex<Option<(Instant, Listening)>>>,
    /// Of the turns, to ask Postgres.
    readers: Arc<Semaphore>,
    /// Up to when is known to everybody that events have been noted.
    heard_until: Arc<Mutex<Option<Timestamp>>>,
}

/// Turns under way.
#[derive(Default)]
struct Turns {
    all: JoinSet<(bool, Result<WorkedOff, StoreError>)>,
    failing: usize,
}

impl Webhooks {
    /// Nothing is told yet: events are noted once it is a consumer of the bus, and told once it
    /// [runs](Webhooks::run).
    pub fn new(store: Store, sender: Sender, options: Options) -> Webhooks {
        let (options, readers) = (Arc::new(options), Arc::new(Semaphore::new(READERS_MAX)));
        let (due, listening, heard_until) = Default::default();
        Webhooks { store, sender, options, due, listening, readers, heard_until }
    }

    /// What checks and reaches addresses.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Hears that a webhook has changed: the next event finds it so.
    pub async fn changed(&self) {
        *self.listening.lock().await = None;
        self.due.notify_one();
    }

    /// Notes a test for a webhook, which is told whatever its types are; the delivery's id, or none
    /// when there is no such webhook.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn test(&self, webhook: Uuid, now: Timestamp) -> Result<Option<Uuid>, StoreError> {
        let id = Uuid::now_v7();
        let is_noted = self.store.note_test_delivery(webhook, id, TEST_TYPE, now).await?;
        self.due.notify_one();
        Ok(is_noted.then_some(id))
    }

    /// Starts to work off what is due. Call it within a tokio or actix runtime.
    pub fn start(&self, tasks: &Tasks, clock: fn() -> Timestamp) {
        let webhooks = self.clone();
        tasks.keep("webhooks", move || webhooks.clone().run(clock));
        let webhooks = self.clone();
        tasks.keep("webhooks: counting", move || webhooks.clone().keep_counting());
        let webhooks = self.clone();
        purges::keep(tasks, "webhook_deliveries", PURGE_EVERY, move || {
            let webhooks = webhooks.clone();
            async move { webhooks.purge_until(clock()).await }
        });
    }

    /// Works off what is due, for ever.
    pub async fn run(self, clock: fn() -> Timestamp) {
        let mut turns = Turns::default();
        let mut beginning = Setback::of("webhooks: what is due");
        let mut ending = Setback::of("webhooks: what was told");
        loop {
            if let Err(pause) = beginning.judge(self.begin_turns(&mut turns, clock).await) {
                tokio::time::sleep(pause).await;
            }
            tokio::select! {
                Some((_, ended)) = turns.ended() => if let Err(pause) = ending.judge(ended) {
                    tokio::time::sleep(pause).await;
                },
                () = self.due.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Works off everything that is due by this clock.
    ///
    /// # Errors
    /// When Postgres cannot be asked. What was told already is told again then, under its old id.
    pub async fn work_off(
        &self,
        clock: impl Fn() -> Timestamp + Copy + Send + Sync + 'static,
    ) -> Result<WorkedOff, StoreError> {
        let (mut turns, mut worked_off) = (Turns::default(), WorkedOff::default());
        loop {
            self.begin_turns(&mut turns, clock).await?;
            match turns.ended().await {
                Some((_, ended)) => worked_off += ended?,
                None => return Ok(worked_off),
            }
        }
    }

    /// Claims as many webhooks as there is room for, and begins their turns.
    async fn begin_turns(
        &self,
        turns: &mut Turns,
        clock: impl Fn() -> Timestamp + Copy + Send + Sync + 'static,
    ) -> Result<(), StoreError> {
        for are_failing in [false, true] {
            let mut room = TURNS_MAX - turns.all.len();
            if are_failing {
                room = room.min(FAILING_TURNS_MAX - turns.failing);
            }
            if room == 0 {
                continue;
            }
            let (now, room) = (clock(), i64::try_from(room).unwrap_or(i64::MAX));
            let busy_until = now.plus_s(CLAIMED_S);
            let claimed = self.store.claim_webhooks(now, busy_until, are_failing, room).await?;
            for webhook in claimed {
                turns.failing += usize::from(are_failing);
                let webhook_id = webhook.id;
                let turn = turn::take(self.clone(), webhook, busy_until, clock);
                turns.all.spawn(async move {
                    let ended = AssertUnwindSafe(turn).catch_unwind().await;
                    (are_failing, ended.unwrap_or_else(|_| Ok(panicked(webhook_id))))
                });
            }
        }
        Ok(())
    }

    async fn keep_counting(self) {
        let mut every = tokio::time::interval(COUNT_EVERY);
        let mut setback = Setback::of("webhooks: counting");
        loop {
            every.tick().await;
            // The next one comes late enough.
            let _ = setback.judge(self.count().await);
        }
    }

    async fn count(&self) -> Result<(), StoreError> {
        let waiting = self.store.deliveries_waiting().await?;
        let count = |rows: i64| u32::try_from(rows).map_or(f64::MAX, f64::from);
        gauge!("hoga_webhooks_enabled").set(count(waiting.webhooks));
        gauge!("hoga_webhooks_failing").set(count(waiting.failing));
        gauge!("hoga_webhooks_waiting").set(count(waiting.deliveries));
        let oldest_ms = waiting.oldest.map_or(0, |at| wall_clock::now().ms_since(at).max(0));
        gauge!("hoga_webhooks_oldest_seconds").set(oldest_ms as f64 / 1_000.0);
        Ok(())
    }

    /// Deletes some of what is too old by now, and of what belongs to webhooks that were removed; how
    /// much.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn purge_until(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = now.plus_s(-self.options.kept_s);
        self.store.purge_deliveries(before, PURGED_AT_ONCE_MAX).await
    }

    async fn listening(&self) -> Result<Listening, StoreError> {
        let mut listening = self.listening.lock().await;
        if let Some((read_at, known)) = &*listening
            && read_at.elapsed() < LISTENING_KEPT
        {
            return Ok(Arc::clone(known));
        }
        let read_at = Instant::now();
        let read = Arc::new(self.store.webhooks_listening(self.options.backlog_max).await?);
        *listening = Some((read_at, Arc::clone(&read)));
        Ok(read)
    }

    /// Notes who is to be told of these; how many deliveries are new.
    async fn note(
        &self,
        events: &[EventKey],
        listening: &[WebhookListening],
    ) -> Result<u64, StoreError> {
        let (mut new, mut skipped) = (Vec::new(), HashMap::new());
        for webhook in listening {
            let is_meant = |event: &&EventKey| {
                event.at >= webhook.created_at
                    && webhook.types.iter().any(|word| details::is_meant(word, &event.kind))
            };
            for event in events.iter().filter(is_meant) {
                if webhook.is_full {
                    *skipped.entry(webhook.id).or_insert(0) += 1;
                    continue;
                }
                new.push(NewDelivery {
                    id: Uuid::now_v7(),
                    webhook: webhook.id,
                    auction: event.auction_id,
                    seq: event.seq,
                    kind: event.kind.clone(),
                });
            }
        }
        let (now, mut noted) = (wall_clock::now(), 0);
        if !skipped.is_empty() {
            let count: i64 = skipped.values().sum();
            counter!("hoga_webhooks_skipped_total").increment(count.unsigned_abs());
            self.store.note_skipped(&skipped, now).await?;
        }
        if !new.is_empty() {
            noted = self.store.note_deliveries(&new, now).await?;
            self.due.notify_one();
        }
        if let Some(newest) = events.iter().map(|event| event.at).max() {
            self.have_heard(newest).await?;
        }
        Ok(noted)
    }

    /// Says so to everybody, now and then.
    async fn have_heard(&self, until: Timestamp) -> Result<(), StoreError> {
        let mut said = self.heard_until.lock().await;
        if said.is_none_or(|said| until.ms_since(said) >= HEARD_SAID_EVERY_MS) {
            self.store.webhooks_have_heard(until).await?;
            *said = Some(until);
        }
        Ok(())
    }

    /// Notes from the log what the bus may have lost: what was decided since events were last
    /// heard, and some before. What was noted already is not noted again. With each page
    /// it is said how far events were heard, so that whoever is interrupted goes on from there.
    async fn look_in_the_log(&self) -> Result<(), StoreError> {
        let listening = self.listening().await?;
        let Some(first) = listening.iter().map(|webhook| webhook.created_at).min() else {
            return Ok(());
        };
        let heard_until = self.store.webhooks_heard_until().await?;
        let since = heard_until.map_or(first, |until| until.plus_s(-HEARD_LATE_S).max(first));
        let (mut last, mut found) = (None, 0);
        loop {
            let page = self.store.events_since(since, last.as_ref(), LOOKED_AT_ONCE).await?;
            found += self.note(&page, &self.listening().await?).await?;
            match page.into_iter().last() {
                Some(event) => last = Some(event),
                None => break,
            }
        }
        if found > 0 {
            tracing::warn!(found, "the bus lost events of webhooks; the log had them");
        }
        Ok(())
    }
}

/// One bad turn ends no other. The webhook rests until its claim is over.
fn panicked(webhook_id: Uuid) -> WorkedOff {
    tracing::error!(%webhook_id, "a turn of a webhook panicked");
    WorkedOff::default()
}

impl Turns {
    /// The next turn that ends; none when no turn is under way.
    async fn ended(&mut self) -> Option<(bool, Result<WorkedOff, StoreError>)> {
        let ended = self.all.join_next().await?;
        let (was_failing, ended) = ended.expect("panics are caught, and nobody cancels a turn");
        self.failing -= usize::from(was_failing);
        Some((was_failing, ended))
    }
}

impl Consumer for Webhooks {
    fn take<'a>(&'a self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), TakeError>> {
        Box::pin(async move {
            let listening = self.listening().await?;
            if !listening.is_empty() {
                let events: Vec<EventKey> = events.iter().map(key).collect();
                self.note(&events, &listening).await?;
            }
            Ok(())
        })
    }

    fn may_have_missed(&self) -> BoxFuture<'_, Result<(), TakeError>> {
        Box::pin(async move { Ok(self.look_in_the_log().await?) })
    }

    fn name(&self) -> &'static str {
        "webhooks"
    }
}

fn key(event: &Envelope) -> EventKey {
    EventKey {
        at: event.at,
        auction_id: event.auction_id,
        seq: i64::try_from(event.seq).unwrap_or(i64::MAX),
        kind: event.kind.clone().into_owned(),
    }
}
