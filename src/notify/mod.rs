//! Notifications: who is told what of what was decided, and reminders before it happens.
//!
//! Hears from the bus which logs have grown; the log itself, with its private half, is then read from
//! Postgres and worked off, each event once: how far, and what follows, are written in one
//! transaction. So nothing needs to be kept of what was heard: whatever is missed is found again by
//! comparing where logs end with how far they were worked off. News for many is told page by page, and
//! the place is kept with each page. What stands in the inbox is pushed by [`push`]. Must never make a bid, the bus or a viewer wait, and never tell
//! anything private: no ceiling, no other user's id.

mod consequences;
mod data;
mod heard;
mod kind;
pub mod push;
mod reminders;
mod words;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use self::heard::Heard;
pub use self::{
    data::verdict,
    kind::Kind,
    words::{KEYWORD_CHARS_MAX, KEYWORD_CHARS_MIN, folded},
};
use crate::{
    domain::time::Timestamp,
    events::{
        bus::{BoxFuture, Consumer, TakeError},
        envelope::Envelope,
        setback::Setback,
    },
    store::{PageTold, Store, StoreError, purges},
    tasks::Tasks,
    wall_clock,
};

/// Users on a page of news for many.
pub const PAGE_USERS: i64 = 1_000;
/// Reminders that fire in one transaction.
const REMINDERS_AT_ONCE_MAX: i64 = 500;
/// Notifications that are deleted in one transaction.
const PURGED_AT_ONCE_MAX: i64 = 5_000;
/// Auctions of which news is worked off in one transaction.
const AUCTIONS_AT_ONCE_MAX: usize = 256;
/// Auctions with news that are looked for at once.
const BEHIND_AT_ONCE_MAX: i64 = 1_024;
/// After news was worked off, at least: what comes meanwhile of a hot auction is worked off together.
const NEWS_PAUSE: Duration = Duration::from_millis(100);
/// How often is looked for news that nobody told us of: what another node heard and did not live to
/// work off.
const LOOK_FOR_NEWS_EVERY: Duration = Duration::from_secs(60);
/// How often is looked for what nobody woke us for: work of other nodes, and of before a crash.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often reminders are looked for.
const REMINDERS_EVERY: Duration = Duration::from_millis(500);
/// How often watch counts are folded.
const FOLD_EVERY: Duration = Duration::from_millis(500);
/// How often what is too old is deleted.
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// News that newer news would replace is remembered for so long, in seconds, after it was told.
const RESTING_FANOUTS_KEPT_S: i64 = 86_400;
/// A ticket that ended is remembered for so long, in seconds, to say that it was used.
const ENDED_TICKETS_KEPT_S: i64 = 3_600;

/// How notifications are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long before an opening or an end is reminded of it, in seconds.
    pub reminder_leads_s: Vec<i64>,
    /// Price and extension of an auction are told to those who watch no more often than this, in
    /// milliseconds; then as they stand.
    pub price_pause_ms: i64,
    /// Notifications are kept for so long, in seconds.
    pub kept_s: i64,
    /// Users on a page of news for many.
    pub page_users: i64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            reminder_leads_s: vec![86_400, 3_600],
            price_pause_ms: 10_000,
            kept_s: 90 * 86_400,
            page_users: PAGE_USERS,
        }
    }
}

/// Makes notifications of what was decided. Clones are the same notifier.
#[derive(Clone)]
pub struct Notifier {
    store: Store,
    options: Arc<Options>,
    /// Auctions that there is news of.
    heard: Arc<Heard>,
    /// There is news for many.
    fanouts: Arc<Notify>,
    /// Something new stands in the inbox.
    written: Arc<Notify>,
}

impl Notifier {
    /// A notifier that rings `written` whenever there may be something new in the inbox. It works
    /// once it is [started](Notifier::start).
    pub fn new(store: Store, options: Options, written: Arc<Notify>) -> Notifier {
        let (heard, fanouts) = (Arc::default(), Arc::default());
        Notifier { store, options: Arc::new(options), heard, fanouts, written }
    }

    /// Starts to work. Call it within a tokio or actix runtime.
    pub fn start(&self, tasks: &Tasks) {
        let notifier = self.clone();
        tasks.keep("notifier: news", move || notifier.clone().work_off());
        let notifier = self.clone();
        tasks.keep("notifier: missed news", move || notifier.clone().look_for_news());
        let notifier = self.clone();
        tasks.keep("notifier: news for many", move || notifier.clone().tell_many());
        let notifier = self.clone();
        tasks.keep("notifier: reminders", move || notifier.clone().remind());
        let notifier = self.clone();
        tasks.keep("notifier: watch counts", move || notifier.clone().fold());
        self.start_purges(tasks);
    }

    /// Works off some news; of how many events.
    ///
    /// # Errors
    /// When Postgres cannot be asked; it is worked off again then.
    pub async fn work_off_some(&self, now: Timestamp) -> Result<usize, StoreError> {
        if let Some(after) = self.heard.missed_after() {
            let missed = self.store.auctions_with_news(after, BEHIND_AT_ONCE_MAX).await?;
            self.heard.found(&missed, missed.len() as i64 == BEHIND_AT_ONCE_MAX);
        }
        let auctions = self.heard.take(AUCTIONS_AT_ONCE_MAX);
        if auctions.is_empty() {
            return Ok(0);
        }
        let leads_s = &self.options.reminder_leads_s;
        let decide = |news: &_| consequences::of(news, leads_s);
        let pause_ms = self.options.price_pause_ms;
        let (store, wanted) = (&self.store, consequences::wanted);
        match store.work_off_news(&auctions, now, pause_ms, wanted, decide).await {
            Ok(worked_off) => {
                self.heard.hear(worked_off.left);
                if worked_off.events > 0 {
                    self.written.notify_one();
                    self.fanouts.notify_one();
                }
                Ok(worked_off.events)
            }
            Err(error) => {
                self.heard.hear(auctions);
                Err(error)
            }
        }
    }

    /// Tells one page of news for many; whether there was one.
    ///
    /// # Errors
    /// When Postgres cannot be asked; the page is told again then.
    pub async fn tell_page(&self, now: Timestamp) -> Result<PageTold, StoreError> {
        let Options { page_users, price_pause_ms, .. } = *self.options;
        let kind_of = |word: &str| Kind::from_word(word).map(Kind::word);
        let told = self.store.tell_page(now, page_users, price_pause_ms, kind_of, words::parts_of);
        let told = told.await?;
        if told != PageTold::Nothing {
            self.written.notify_one();
        }
        Ok(told)
    }

    /// Fires reminders that are due; how many.
    ///
    /// # Errors
    /// When Postgres cannot be asked; they are found again then.
    pub async fn fire_reminders(&self, now: Timestamp) -> Result<usize, StoreError> {
        let told = |due: &_| reminders::told(due, now);
        let fired = self.store.fire_reminders(now, REMINDERS_AT_ONCE_MAX, told).await?;
        if fired > 0 {
            self.fanouts.notify_one();
        }
        Ok(fired)
    }

    async fn work_off(self) {
        let mut setback = Setback::of("notifier: news");
        loop {
            let begun = Instant::now();
            match setback.judge(self.work_off_some(wall_clock::now()).await) {
                Ok(0) => woken(self.heard.bell(), LOOK_EVERY).await,
                // Half of the time is left to bids.
                Ok(_) => tokio::time::sleep(begun.elapsed().max(NEWS_PAUSE)).await,
                Err(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    async fn look_for_news(self) {
        let mut every = tokio::time::interval(LOOK_FOR_NEWS_EVERY);
        loop {
            every.tick().await;
            self.heard.missed();
        }
    }

    async fn tell_many(self) {
        let mut setback = Setback::of("notifier: news for many");
        loop {
            let begun = tokio::time::Instant::now();
            match setback.judge(self.tell_page(wall_clock::now()).await) {
                Ok(PageTold::Nothing) => woken(&self.fanouts, LOOK_EVERY).await,
                // Half of the time is left to bids.
                Ok(PageTold::Users(_)) => tokio::time::sleep(begun.elapsed()).await,
                Err(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    async fn remind(self) {
        let mut setback = Setback::of("notifier: reminders");
        loop {
            match setback.judge(self.fire_reminders(wall_clock::now()).await) {
                Ok(0) => tokio::time::sleep(REMINDERS_EVERY).await,
                Ok(_) => tokio::task::yield_now().await,
                Err(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    async fn fold(self) {
        let mut setback = Setback::of("notifier: watch counts");
        loop {
            match setback.judge(self.store.fold_watches().await) {
                Ok(0) => tokio::time::sleep(FOLD_EVERY).await,
                Ok(_) => tokio::task::yield_now().await,
                Err(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    fn start_purges(&self, tasks: &Tasks) {
        let notifier = self.clone();
        purges::keep(tasks, "notifications", PURGE_EVERY, move || {
            let notifier = notifier.clone();
            async move { notifier.purge_until(wall_clock::now()).await }
        });
        let store = self.store.clone();
        purges::keep(tasks, "stream_tickets", PURGE_EVERY, move || {
            let (store, ended) = (store.clone(), wall_clock::now().plus_s(-ENDED_TICKETS_KEPT_S));
            async move { store.purge_tickets(ended).await }
        });
        let store = self.store.clone();
        purges::keep(tasks, "fanouts", PURGE_EVERY, move || {
            let (store, told) = (store.clone(), wall_clock::now().plus_s(-RESTING_FANOUTS_KEPT_S));
            async move { store.purge_fanouts(told).await }
        });
    }

    /// Deletes some of the notifications that are too old by now; how many.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn purge_until(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = now.plus_s(-self.options.kept_s);
        self.store.purge_notifications(before, PURGED_AT_ONCE_MAX).await
    }
}

impl Consumer for Notifier {
    /// They are safe as soon as they are heard of: the log has them, and says how far it was worked
    /// off.
    fn take<'a>(&'a self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), TakeError>> {
        self.heard.hear(events.iter().map(|event| event.auction_id));
        Box::pin(std::future::ready(Ok(())))
    }

    fn may_have_missed(&self) -> BoxFuture<'_, Result<(), TakeError>> {
        self.heard.missed();
        Box::pin(std::future::ready(Ok(())))
    }

    fn name(&self) -> &'static str {
        "notify"
    }
}

/// Until it rings, or for so long.
async fn woken(bell: &Notify, at_least_every: Duration) {
    let _ = tokio::time::timeout(at_least_every, bell.notified()).await;
}
