//! A setback: what a task in the background says while Postgres is away, and how long it waits.

use std::time::Duration;

use crate::store::StoreError;

/// Pause after the first failure; doubled for each one after it, until [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause before another try.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Says once that a task cannot go on, and once that it goes on, however often it tries meanwhile.
#[derive(Debug)]
pub struct Setback {
    task: &'static str,
    /// Before the next try; `None` while all is well.
    pause: Option<Duration>,
}

impl Setback {
    /// None yet. The task is named in the log.
    pub const fn of(task: &'static str) -> Setback {
        Setback { task, pause: None }
    }

    /// What came of a try, or how long to wait before the next one.
    ///
    /// # Errors
    /// The pause, when it failed.
    pub fn judge<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, Duration> {
        let task = self.task;
        match outcome {
            Ok(done) => {
                if self.pause.take().is_some() {
                    tracing::info!(task, "a task goes on again");
                }
                Ok(done)
            }
            Err(error) => {
                let pause = match self.pause {
                    None => {
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(task, error, "a task cannot go on yet; it tries again");
                        PAUSE
                    }
                    Some(pause) => (pause * 2).min(PAUSE_MAX),
                };
                self.pause = Some(pause);
                Err(pause)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_begin_anew_after_a_success() {
        let mut setback = Setback::of("a task");
        let pauses = [(); 5].map(|()| setback.judge::<()>(Err(StoreError::Busy)).unwrap_err());
        assert_eq!(pauses.map(|pause| pause.as_millis()), [250, 500, 1_000, 2_000, 2_000]);
        assert_eq!(setback.judge(Ok(7)), Ok(7));
        assert_eq!(setback.judge::<()>(Err(StoreError::Busy)), Err(PAUSE));
    }
}
