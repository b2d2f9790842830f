//! What a start is at, in plain lines: one for each step, and another whenever a step takes long, so
//! that nobody has to guess whether it hangs.

use std::{
    io::Write,
    sync::mpsc::{self, RecvTimeoutError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A step that lasts is told of again so often.
pub const TOLD_AGAIN_EVERY: Duration = Duration::from_secs(8);

/// Tells of steps until it is dropped.
pub struct Progress {
    steps: Option<mpsc::Sender<String>>,
    telling: Option<JoinHandle<()>>,
}

impl Progress {
    /// On standard output, for whoever typed the command.
    pub fn to_terminal() -> Progress {
        Progress::start(TOLD_AGAIN_EVERY, |line| {
            // Nobody reads it: no reason to stop.
            let _ = writeln!(std::io::stdout(), "{line}");
        })
    }

    /// In the log, for whoever runs a configured exchange.
    pub fn to_log() -> Progress {
        Progress::start(TOLD_AGAIN_EVERY, |line| tracing::info!("{line}"))
    }

    /// Lines go to `say`, from a thread of its own.
    pub fn start(again_every: Duration, mut say: impl FnMut(&str) + Send + 'static) -> Progress {
        let (steps, heard) = mpsc::channel::<String>();
        let telling = std::thread::spawn(move || {
            let mut current: Option<(String, Instant)> = None;
            loop {
                match heard.recv_timeout(again_every) {
                    Ok(step) => {
                        say(&format!("{step} …"));
                        current = Some((step, Instant::now()));
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        if let Some((step, since)) = &current {
                            say(&format!("still {step} ({} s) …", since.elapsed().as_secs()));
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        Progress { steps: Some(steps), telling: Some(telling) }
    }

    /// From now on it is at this, in words that go on after "still": "making …".
    pub fn step(&self, what: impl Into<String>) {
        if let Some(steps) = &self.steps {
            let _ = steps.send(what.into());
        }
    }
}

impl Drop for Progress {
    /// Everything has been told by then, and nothing is after.
    fn drop(&mut self) {
        self.steps.take();
        if let Some(telling) = self.telling.take() {
            let _ = telling.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine under load may need so long for a line.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_step_is_told_at_once_and_again_while_it_lasts_and_never_after() {
        let (say, said) = mpsc::channel();
        let progress = Progress::start(Duration::from_millis(5), move |line: &str| {
            say.send(line.to_owned()).expect("the test listens");
        });
        progress.step("making the cluster");
        assert_eq!(said.recv_timeout(PATIENCE).as_deref(), Ok("making the cluster …"));
        for _ in 0..2 {
            let again = said.recv_timeout(PATIENCE).expect("it is told again");
            assert_eq!(again, "still making the cluster (0 s) …");
        }
        progress.step("catching up");
        let next = said.iter().find(|line| !line.starts_with("still making"));
        assert_eq!(next.as_deref(), Some("catching up …"));
        drop(progress);
        assert!(said.iter().all(|line| line.starts_with("still catching up")));
    }
}
