//! Pushes: whatever comes to stand in the inbox is sent to the browsers that its user subscribed.
//!
//! Follows the inbox by its ids, notes for each browser what is worth waking it for, and works that
//! off: each once, with growing pauses between attempts, until it is worth nothing any more. Must
//! never make whoever writes into the inbox wait, let one push service hold up another, or log an
//! endpoint.

mod channel;
mod payload;
mod permits;
mod plan;
pub mod web_push;

use std::{sync::Arc, time::Duration};

use metrics::{counter, gauge, histogram};
use rand::Rng;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
};

use self::permits::{PushPermits, Standing};
pub use self::{
    channel::{Message, Outcome},
    payload::PAYLOAD_BYTES_MAX,
    permits::{ALL_MAX, PER_ORIGIN_MAX},
    plan::{MUTED_BY_DEFAULT, Urgency},
    web_push::{Receiver, WebPush},
};
use super::Kind;
use crate::tasks::Tasks;
use crate::{
    domain::time::Timestamp,
    events::setback::Setback,
    store::{Followed, Push, PushContent, Store, StoreError, purges},
    wall_clock,
};

/// Attempts for each notification and browser.
pub const ATTEMPTS_MAX: i32 = 8;
/// The first pause, in milliseconds; each one after it is twice as long, and up to half as much again
/// by chance.
const PAUSE_MS: i64 = 10_000;
/// No pause is longer, in milliseconds: an hour. One that a push service asks for may be.
const PAUSE_MS_MAX: i64 = 3_600_000;
/// For so long a row belongs to the server that claimed it, in seconds: longer than an attempt takes.
const CLAIMED_S: i64 = 60;
/// A browser that nothing has reached for so long is given up, in seconds: fourteen days.
pub const FAILING_S_MAX: i64 = 14 * 86_400;
/// Notifications that are followed in one transaction.
const FOLLOWED_AT_ONCE: i64 = 2_000;
/// Push services that are looked at in one go.
const ORIGINS_AT_ONCE: i64 = 256;
/// How often the inbox is looked at, and what nobody woke us for: work of other nodes, and what has
/// become due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often metrics are brought up to date.
const COUNTED_EVERY: Duration = Duration::from_secs(30);
/// How often subscriptions that have ended are deleted.
const PURGED_EVERY: Duration = Duration::from_secs(30);
/// Outcomes that are recorded at once: readers have few connections, and others wait for them, too.
const RECORDED_AT_ONCE: usize = 3;
/// Pushes that wait are counted up to here.
const WAITING_COUNTED_MAX: i64 = 100_000;

/// What was done with pushes that were due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkedOff {
    /// The push service has them.
    pub delivered: u32,
    /// They are tried again.
    pub put_off: u32,
    /// They are not tried again.
    pub dropped: u32,
}

/// Pushes what comes to stand in the inbox. Clones are the same.
#[derive(Clone)]
pub struct Pusher {
    store: Store,
    channel: WebPush,
    /// There may be something to send.
    noted: Arc<Notify>,
    /// Turns to record outcomes.
    turns: Arc<Semaphore>,
}

/// What became of one push.
struct Finished {
    origin: String,
    fate: Fate,
    /// The service asked for a pause of everything until then.
    paused_until: Option<Timestamp>,
    /// Whether the service answered; none where it was not asked.
    answered: Option<bool>,
    at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Delivered,
    PutOff,
    Dropped,
}

/// What is under way.
#[derive(Default)]
struct Work {
    permits: PushPermits,
    tasks: JoinSet<Finished>,
    /// The last push service that had its turn, of those that have not shown that they answer.
    place: String,
}

impl Pusher {
    /// It works once it is [started](Pusher::start).
    pub fn new(store: Store, channel: WebPush) -> Pusher {
        let turns = Arc::new(Semaphore::new(RECORDED_AT_ONCE));
        Pusher { store, channel, noted: Arc::default(), turns }
    }

    /// Starts to work. Call it within a tokio or actix runtime.
    pub fn start(&self, tasks: &Tasks) {
        let pusher = self.clone();
        tasks.keep("pushes: inbox", move || pusher.clone().follow_on());
        let pusher = self.clone();
        tasks.keep("pushes", move || pusher.clone().work_on());
        let pusher = self.clone();
        tasks.keep("pushes: counting", move || pusher.clone().keep_counting());
        let store = self.store.clone();
        purges::keep(tasks, "push_subscriptions", PURGED_EVERY, move || {
            let store = store.clone();
            async move { store.purge_push_subscriptions(wall_clock::now()).await }
        });
    }

    /// By which browsers are written to.
    pub fn channel(&self) -> &WebPush {
        &self.channel
    }

    /// Follows the inbox by some notifications.
    ///
    /// # Errors
    /// When Postgres cannot be asked; they are followed again then.
    pub async fn follow(&self, now: Timestamp) -> Result<Followed, StoreError> {
        let decide = |unpushed: &_| plan::of(unpushed, now);
        let muted = muted_by_default();
        let followed = self.store.follow_inbox(now, FOLLOWED_AT_ONCE, &muted, decide).await?;
        if followed.noted > 0 {
            counter!("hoga_push_noted_total").increment(followed.noted);
            self.noted.notify_one();
        }
        Ok(followed)
    }

    /// Works off everything that is due by this clock, until nothing is.
    ///
    /// # Errors
    /// When Postgres cannot be asked; what is under way then is tried again.
    pub async fn work_off(
        &self,
        clock: impl Fn() -> Timestamp + Clone + Send + 'static,
    ) -> Result<WorkedOff, StoreError> {
        let (mut work, mut worked_off) = (Work::default(), WorkedOff::default());
        loop {
            let claimed = self.fill(&mut work, &clock).await?;
            match work.next().await {
                Some(Fate::Delivered) => worked_off.delivered += 1,
                Some(Fate::PutOff) => worked_off.put_off += 1,
                Some(Fate::Dropped) => worked_off.dropped += 1,
                None if claimed == 0 => return Ok(worked_off),
                None => {}
            }
        }
    }

    /// Claims as much as there is room for, and sets it under way; how much.
    async fn fill(
        &self,
        work: &mut Work,
        clock: &(impl Fn() -> Timestamp + Clone + Send + 'static),
    ) -> Result<usize, StoreError> {
        let now = clock();
        let proven: Vec<String> = work.permits.proven().cloned().collect();
        let mut claimed = self.set_under_way(work, &proven, now, clock).await?;
        let others = self.others(work, now).await?;
        claimed += self.set_under_way(work, &others, now, clock).await?;
        Ok(claimed)
    }

    /// The push services that have not shown that they answer, in turns, for there may be any number
    /// of them: first those that nothing is known of, then those that failed.
    async fn others(&self, work: &mut Work, now: Timestamp) -> Result<Vec<String>, StoreError> {
        let mut others = self.store.push_origins(&work.place, now, ORIGINS_AT_ONCE).await?;
        let left = ORIGINS_AT_ONCE - others.len() as i64;
        if left > 0 && !work.place.is_empty() {
            let mut again = self.store.push_origins("", now, left).await?;
            again.retain(|origin| *origin <= work.place);
            others.extend(again);
        }
        others.retain(|origin| work.permits.standing(origin) != Standing::Proven);
        others.sort_by_key(|origin| work.permits.standing(origin) == Standing::Failed);
        // Next time begins behind the last one that got a permit now.
        let rooms = work.permits.rooms(&others, now);
        if let Some(last) = rooms.last().map(|(origin, _)| origin).or(others.last()) {
            work.place.clone_from(last);
        }
        Ok(others)
    }

    async fn set_under_way(
        &self,
        work: &mut Work,
        origins: &[String],
        now: Timestamp,
        clock: &(impl Fn() -> Timestamp + Clone + Send + 'static),
    ) -> Result<usize, StoreError> {
        let rooms = work.permits.rooms(origins, now);
        if rooms.is_empty() {
            return Ok(0);
        }
        let claimed_until = now.plus_s(CLAIMED_S);
        let muted = muted_by_default();
        let claimed = self.store.claim_pushes(&rooms, now, claimed_until, &muted).await?;
        let count = claimed.len();
        for push in claimed {
            work.permits.take(&push.origin);
            work.tasks.spawn(self.clone().finish(push, now, clock.clone()));
        }
        Ok(count)
    }

    /// One attempt, and what follows from it.
    async fn finish(
        self,
        push: Push,
        now: Timestamp,
        clock: impl Fn() -> Timestamp + Send,
    ) -> Finished {
        let (content, message) = match message(&push, now) {
            Ok(message) => message,
            Err(why) => return self.not_sent(&push, why, now).await,
        };
        let outcome = self.send(content, &message, now).await;
        let at = clock();
        let _turn = self.turns.acquire().await.expect("the turns are never closed");
        let fate = match self.record(&push, &outcome, at).await {
            Ok(fate) => fate,
            Err(error) => {
                // The row belongs to us for a while yet, and is tried again then.
                warn_of(&error);
                Fate::PutOff
            }
        };
        let (answered, paused_until) = match outcome {
            Outcome::Later { answered, pause_s, for_all, .. } => {
                (Some(answered), pause_s.filter(|_| for_all).map(|pause_s| at.plus_s(pause_s)))
            }
            Outcome::Delivered | Outcome::Gone => (Some(true), None),
            Outcome::Refused { answered, .. } => (answered.then_some(true), None),
        };
        Finished { origin: push.origin, fate, paused_until, answered, at }
    }

    async fn send(&self, content: &PushContent, message: &Message, now: Timestamp) -> Outcome {
        let PushContent { endpoint, p256dh, auth, .. } = content;
        let begun = std::time::Instant::now();
        let outcome = self.channel.deliver(Receiver { endpoint, p256dh, auth }, message, now).await;
        histogram!("hoga_push_seconds").record(begun.elapsed());
        outcome
    }

    /// There is nothing to tell any more.
    async fn not_sent(&self, push: &Push, why: &'static str, now: Timestamp) -> Finished {
        let _turn = self.turns.acquire().await.expect("the turns are never closed");
        let fate = self.drop_it(push, why, now).await.unwrap_or_else(|error| {
            warn_of(&error);
            Fate::PutOff
        });
        let origin = push.origin.clone();
        Finished { origin, fate, paused_until: None, answered: None, at: now }
    }

    async fn record(
        &self,
        push: &Push,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<Fate, StoreError> {
        match outcome {
            Outcome::Delivered => {
                counted("delivered");
                self.store.push_done(push, now).await?;
                self.store.push_subscription_works(push.subscription).await?;
                Ok(Fate::Delivered)
            }
            Outcome::Gone => {
                counted("gone");
                self.store.push_subscription_gone(push.subscription).await?;
                self.drop_it(push, "gone", now).await
            }
            Outcome::Refused { why, .. } => {
                counted("refused");
                self.fails(push, now).await?;
                self.drop_it(push, why, now).await
            }
            Outcome::Later { why, pause_s, .. } => {
                counted("failed");
                self.put_off(push, why, *pause_s, now).await
            }
        }
    }

    /// To be tried again, if there is an attempt left and it would not come too late.
    async fn put_off(
        &self,
        push: &Push,
        why: &'static str,
        asked_pause_s: Option<i64>,
        now: Timestamp,
    ) -> Result<Fate, StoreError> {
        let by_chance = rand::rng().random_range(0..=500);
        let pause_ms = pause_ms(push.attempts, by_chance);
        let pause_ms = pause_ms.max(asked_pause_s.unwrap_or(0).saturating_mul(1_000));
        let next_at = now.plus_ms(pause_ms);
        if push.attempts < ATTEMPTS_MAX && next_at < push.expires_at {
            let (push_id, attempts) = (push.id, push.attempts);
            tracing::debug!(push_id, attempts, pause_ms, why, "a push failed; it waits");
            self.store.push_later(push, next_at).await?;
            return Ok(Fate::PutOff);
        }
        self.fails(push, now).await?;
        self.drop_it(push, "given_up", now).await
    }

    async fn fails(&self, push: &Push, now: Timestamp) -> Result<(), StoreError> {
        let failing_before = now.plus_s(-FAILING_S_MAX);
        self.store.push_subscription_fails(push.subscription, now, failing_before).await
    }

    async fn drop_it(
        &self,
        push: &Push,
        why: &'static str,
        now: Timestamp,
    ) -> Result<Fate, StoreError> {
        counter!("hoga_push_dropped_total", "why" => why).increment(1);
        let (push_id, attempts) = (push.id, push.attempts);
        let (notification_id, subscription_id) = (push.notification, push.subscription);
        tracing::debug!(push_id, notification_id, %subscription_id, attempts, why, "a push is dropped");
        self.store.push_done(push, now).await?;
        Ok(Fate::Dropped)
    }

    async fn follow_on(self) {
        let mut setback = Setback::of("pushes: what to push");
        loop {
            match setback.judge(self.follow(wall_clock::now()).await) {
                Ok(Followed { notifications: 0, .. }) => tokio::time::sleep(LOOK_EVERY).await,
                Ok(_) => tokio::task::yield_now().await,
                Err(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    async fn work_on(self) {
        let (mut work, mut setback) = (Work::default(), Setback::of("pushes: what is due"));
        loop {
            let filled = self.fill(&mut work, &wall_clock::now).await;
            if let Err(pause) = setback.judge(filled) {
                tokio::time::sleep(pause).await;
            }
            tokio::select! {
                // A permit is free.
                _ = work.next(), if !work.permits.all_are_free() => {}
                () = super::woken(&self.noted, LOOK_EVERY) => {}
            }
        }
    }

    async fn keep_counting(self) {
        let mut every = tokio::time::interval(COUNTED_EVERY);
        let mut setback = Setback::of("pushes: counting");
        loop {
            every.tick().await;
            // The next one comes late enough.
            let _ = setback.judge(self.count().await);
        }
    }

    async fn count(&self) -> Result<(), StoreError> {
        let count = |rows: i64| u32::try_from(rows).map_or(f64::MAX, f64::from);
        gauge!("hoga_push_subscriptions").set(count(self.store.push_subscriptions_count().await?));
        let waiting = self.store.pushes_waiting(WAITING_COUNTED_MAX).await?;
        gauge!("hoga_push_waiting").set(count(waiting));
        Ok(())
    }
}

impl Work {
    /// Waits until something that is under way has come to its end; none while nothing is.
    async fn next(&mut self) -> Option<Fate> {
        let finished = self.tasks.join_next().await?.expect("a push does not panic");
        self.permits.give_back(&finished.origin, finished.answered);
        if let Some(until) = finished.paused_until {
            self.permits.pause(&finished.origin, until, finished.at);
        }
        Some(finished.fate)
    }
}

fn muted_by_default() -> [&'static str; MUTED_BY_DEFAULT.len()] {
    MUTED_BY_DEFAULT.map(Kind::word)
}

/// What is sent of a push that is due, and to whom; or why nothing is.
fn message(push: &Push, now: Timestamp) -> Result<(&PushContent, Message), &'static str> {
    let content = push.content.as_ref().ok_or("moot")?;
    let kind = Kind::from_word(&content.kind).ok_or("moot")?;
    let ttl_s = push.expires_at.ms_since(now) / 1_000;
    if ttl_s < 1 {
        return Err("expired");
    }
    let payload = payload::of(push.notification, content).ok_or("unspeakable")?;
    let gives_way = plan::gives_way(&push.collapse_key);
    let topic = gives_way.then(|| web_push::topic(push.subscription, &push.collapse_key));
    Ok((content, Message { payload, urgency: plan::urgency(kind), ttl_s, topic }))
}

/// After so many attempts, in milliseconds; `by_chance` is 0 to 500 thousandths on top.
fn pause_ms(attempts: i32, by_chance: i64) -> i64 {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(31);
    let pause_ms = PAUSE_MS.saturating_mul(1 << doublings);
    (pause_ms + pause_ms.saturating_mul(by_chance) / 1_000).min(PAUSE_MS_MAX)
}

fn counted(outcome: &'static str) {
    counter!("hoga_push_attempts_total", "outcome" => outcome).increment(1);
}

/// At most one for each push under way: none is begun while Postgres is away.
fn warn_of(error: &StoreError) {
    tracing::warn!(error = error as &dyn std::error::Error, "what became of a push is not kept");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_some_chance_up_to_an_hour() {
        assert_eq!([1, 2, 3].map(|attempts| pause_ms(attempts, 0)), [10_000, 20_000, 40_000]);
        assert_eq!(pause_ms(1, 500), 15_000);
        assert_eq!(pause_ms(i32::MAX, 500), PAUSE_MS_MAX);
    }
}
