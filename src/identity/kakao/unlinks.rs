//! Works off what is to be unlinked: at Kakao, for those who left us; here, for those whom Kakao
//! told us of.
//!
//! Each row is done once, with growing pauses between attempts, and given up aloud in the end. Must
//! never log whose link it is.

use std::{sync::Arc, time::Duration};

use metrics::{counter, gauge};
use tokio::sync::Notify;

use super::{Kakao, KakaoError};
use crate::tasks::Tasks;
use crate::{
    domain::time::Timestamp,
    store::{Store, StoreError, Unlink, UnlinkDirection, purges},
};

/// Attempts for each row; they spread over some two days.
pub const ATTEMPTS_MAX: i32 = 16;
/// The first pause; each one after it is twice as long. Longer than an attempt can take, for it is
/// also how long a row belongs to the server that claimed it.
const PAUSE_S: i64 = 30;
/// No pause is longer: six hours.
const PAUSE_S_MAX: i64 = 21_600;
/// How often is looked for what is due, besides when something was noted here.
const LOOKED_EVERY: Duration = Duration::from_secs(5);
/// Rows worked off before the metrics are brought up to date.
const ROUND_MAX: usize = 256;
/// How often rows that are done are deleted.
const PURGED_EVERY: Duration = Duration::from_secs(60);
/// A row that is done is kept so long: thirty days.
const DONE_KEPT_S: i64 = 30 * 86_400;

/// The worker, and how it is told that there is something to do. Cheap to clone.
#[derive(Clone)]
pub struct Unlinks {
    store: Store,
    kakao: Kakao,
    noted: Arc<Notify>,
}

/// What one round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkedOff {
    /// Rows done.
    pub done: u32,
    /// Rows to be tried again.
    pub failed: u32,
    /// Rows that will not be tried again.
    pub given_up: u32,
}

/// An attempt that failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("Kakao could not be told")]
    Kakao(#[from] KakaoError),
    #[error("the link could not be undone")]
    Store(#[from] StoreError),
}

impl Unlinks {
    /// Nothing is worked off yet.
    pub fn new(store: Store, kakao: Kakao) -> Unlinks {
        Unlinks { store, kakao, noted: Arc::default() }
    }

    /// Notes durably that Kakao has unlinked somebody, and wakes the worker.
    ///
    /// # Errors
    /// When Postgres cannot be asked; Kakao will tell again.
    pub async fn note(
        &self,
        kakao_id: i64,
        referrer_type: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.store.note_unlinked_by_kakao(kakao_id, referrer_type, now, ATTEMPTS_MAX).await?;
        self.noted.notify_one();
        Ok(())
    }

    /// Starts to work off what is due. Call it within a tokio or actix runtime.
    pub fn start(&self, tasks: &Tasks, clock: fn() -> Timestamp) {
        let unlinks = self.clone();
        tasks.keep("unlinks", move || unlinks.clone().work_on(clock));
        let store = self.store.clone();
        purges::keep(tasks, "kakao_unlinks", PURGED_EVERY, move || {
            let (store, before) = (store.clone(), clock().plus_s(-DONE_KEPT_S));
            async move { store.purge_unlinks(before).await }
        });
    }

    async fn work_on(self, clock: fn() -> Timestamp) {
        loop {
            if let Err(error) = self.round(clock).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "unlinks could not be worked off; they wait");
            }
            // Either way it is looked again: the other servers note things, too.
            let _ = tokio::time::timeout(LOOKED_EVERY, self.noted.notified()).await;
        }
    }

    async fn round(&self, clock: fn() -> Timestamp) -> Result<(), StoreError> {
        self.work_off(clock).await?;
        let waiting = self.store.unlinks_waiting(ATTEMPTS_MAX).await?;
        let count = |rows: i64| u32::try_from(rows).map_or(f64::MAX, f64::from);
        gauge!("hoga_kakao_unlinks_waiting").set(count(waiting.to_do));
        gauge!("hoga_kakao_unlinks_given_up").set(count(waiting.given_up));
        Ok(())
    }

    /// Works off everything that is due by this clock.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn work_off(&self, clock: impl Fn() -> Timestamp) -> Result<WorkedOff, StoreError> {
        let mut worked_off = WorkedOff::default();
        for _ in 0..ROUND_MAX {
            let now = clock();
            let claimed = self.store.claim_unlink(now, now.plus_s(PAUSE_S), ATTEMPTS_MAX).await?;
            let Some(unlink) = claimed else { break };
            match self.attempt(&unlink, now).await {
                Ok(()) => worked_off.done += 1,
                Err(failed) if unlink.attempts < ATTEMPTS_MAX => {
                    worked_off.failed += 1;
                    self.put_off(&unlink, &failed, now).await?;
                }
                Err(failed) => {
                    worked_off.given_up += 1;
                    give_up(&unlink, &failed);
                }
            }
        }
        Ok(worked_off)
    }

    async fn attempt(&self, unlink: &Unlink, now: Timestamp) -> Result<(), Failed> {
        let outcome = match unlink.direction {
            UnlinkDirection::Ours => self.tell_kakao(unlink, now).await,
            UnlinkDirection::Theirs => self.undo_here(unlink, now).await,
        };
        let word = if outcome.is_ok() { "done" } else { "failed" };
        counter!("hoga_kakao_unlink_attempts_total", "outcome" => word).increment(1);
        outcome
    }

    /// Whoever left and has logged in again since is somebody new, who keeps their link.
    async fn tell_kakao(&self, unlink: &Unlink, now: Timestamp) -> Result<(), Failed> {
        let is_wanted_again = self.store.has_user_at_kakao(unlink.kakao_id).await?;
        if !is_wanted_again {
            self.kakao.unlink(unlink.kakao_id).await?;
        }
        self.store.unlink_done(unlink.id, now).await?;
        tracing::info!(unlink_id = unlink.id, is_wanted_again, "an unlink at Kakao is settled");
        Ok(())
    }

    async fn undo_here(&self, unlink: &Unlink, now: Timestamp) -> Result<(), Failed> {
        match self.store.undo_link(unlink, now).await? {
            Some(user) => tracing::info!(unlink_id = unlink.id, %user, "Kakao unlinked a user"),
            None => tracing::info!(unlink_id = unlink.id, "Kakao unlinked somebody unknown"),
        }
        Ok(())
    }

    async fn put_off(
        &self,
        unlink: &Unlink,
        failed: &Failed,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let pause_s = pause_s(unlink.attempts);
        let (unlink_id, attempts) = (unlink.id, unlink.attempts);
        tell_put_off(failed, unlink_id, attempts, pause_s);
        self.store.unlink_later(unlink.id, now.plus_s(pause_s)).await
    }
}

fn tell_put_off(
    error: &(dyn std::error::Error + 'static),
    unlink_id: i64,
    attempts: i32,
    pause_s: i64,
) {
    tracing::warn!(error, unlink_id, attempts, pause_s, "an unlink failed; it waits");
}

/// The row stays, for an operator: it is tried again when its `attempts` are set to 0.
fn give_up(unlink: &Unlink, failed: &Failed) {
    counter!("hoga_kakao_unlinks_given_up_total").increment(1);
    let (unlink_id, attempts) = (unlink.id, unlink.attempts);
    let error: &dyn std::error::Error = failed;
    tracing::error!(
        error,
        unlink_id,
        attempts,
        "an unlink is given up: mend the cause, then set attempts = 0 in its row of kakao_unlinks"
    );
}

/// After so many attempts, in seconds.
fn pause_s(attempts: i32) -> i64 {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(31);
    PAUSE_S.saturating_mul(1 << doublings).min(PAUSE_S_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_six_hours_and_spread_over_two_days() {
        assert_eq!([1, 2, 3, 4].map(pause_s), [30, 60, 120, 240]);
        assert_eq!(pause_s(ATTEMPTS_MAX), PAUSE_S_MAX);
        assert_eq!(pause_s(i32::MAX), PAUSE_S_MAX);
        let all_s: i64 = (1..ATTEMPTS_MAX).map(pause_s).sum();
        assert!((86_400..3 * 86_400).contains(&all_s), "{all_s}");
    }
}
