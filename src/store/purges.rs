//! Purges: whatever is deleted because it is old is deleted in one way.
//!
//! Batch by batch until nothing old is left, one purge of this process at a time, so that they never
//! take more than one connection. One that fails is counted, said once until it goes well again, and
//! tried again soon.

use std::{mem, time::Duration};

use metrics::counter;
use tokio::sync::Semaphore;

use super::StoreError;
use crate::tasks::Tasks;

/// How soon a purge that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// At most so many rows are deleted in one statement, so that nothing waits for it.
pub(super) const AT_ONCE_MAX: i64 = 1_000;

static TURN: Semaphore = Semaphore::const_new(1);

/// Deletes what is too old, again and again, for as long as the server lives. `batch` deletes some of
/// it and says how much that was; it is called until that is nothing.
pub fn keep<F>(
    tasks: &Tasks,
    what: &'static str,
    every: Duration,
    batch: impl FnMut() -> F + Clone + Send + 'static,
) where
    F: Future<Output = Result<u64, StoreError>> + Send + 'static,
{
    tasks.keep(what, move || purge_every(what, every, batch.clone()));
}

async fn purge_every<F>(what: &'static str, every: Duration, mut batch: impl FnMut() -> F)
where
    F: Future<Output = Result<u64, StoreError>>,
{
    let mut is_failing = false;
    loop {
        let pause = match purge(&mut batch).await {
            Ok(count) => {
                is_failing = false;
                tracing::debug!(what, count, "what was too old is deleted");
                every
            }
            Err(error) => {
                counter!("hoga_purges_failed_total", "what" => what).increment(1);
                let error: &dyn std::error::Error = &error;
                if !mem::replace(&mut is_failing, true) {
                    tracing::warn!(error, what, "what is too old stays until it can be deleted");
                }
                AGAIN_AFTER.min(every)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn purge<F>(batch: &mut impl FnMut() -> F) -> Result<u64, StoreError>
where
    F: Future<Output = Result<u64, StoreError>>,
{
    let mut all = 0;
    loop {
        let turn = TURN.acquire().await.expect("nobody closes it");
        let count = batch().await?;
        drop(turn);
        if count == 0 {
            return Ok(all);
        }
        all += count;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    #[tokio::test]
    async fn it_deletes_until_nothing_is_left_and_tries_again_what_failed() {
        let failed = || Err(StoreError::Busy);
        let answers = vec![Ok(7), Ok(1), Ok(0), Ok(3), failed(), failed(), Ok(2), Ok(0)];
        let left = Rc::new(RefCell::new(answers.into_iter()));
        let (asking, all_asked) = (Rc::clone(&left), Rc::new(tokio::sync::Notify::new()));
        let done = Rc::clone(&all_asked);
        let keeping = purge_every("tests", Duration::from_millis(1), move || {
            let answer = asking.borrow_mut().next();
            if answer.is_none() {
                done.notify_one();
            }
            async move { answer.unwrap_or(Ok(0)) }
        });
        tokio::select! {
            () = keeping => unreachable!("it goes on for ever"),
            () = all_asked.notified() => {}
        }
        assert!(left.borrow_mut().next().is_none());
    }
}
