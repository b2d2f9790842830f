//! Tasks that work beside the requests: each has a name, an owner and a rule for the day it dies.
//!
//! A *vital* task is one without which the server would say that it is ready and decide, close or
//! publish nothing: when it dies, so does the process, aloud, and begins again from Postgres. A *kept*
//! task holds its progress in Postgres, or has none: it is started again after a pause, which is
//! counted and told by `/readyz`. An *errand* ends by itself, and a panic of one ends the process.
//! Nothing is spawned past this module but what somebody waits for. Whoever started a task and goes
//! before the server ends it by its handle.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::task::{AbortHandle, JoinHandle};

/// Pause before a task that died is started again; doubled with each death up to
/// [`RESTART_PAUSE_MAX`].
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
/// A task that lived this long dies for a new reason: its pauses begin anew.
const LIVED_LONG: Duration = Duration::from_secs(60);

/// The tasks of one server. Clones are the same.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// In the order in which they were started.
    watched: Mutex<Vec<Watched>>,
    may_end: Arc<AtomicBool>,
}

struct Watched {
    name: &'static str,
    is_down: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Why a task is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Panic,
    /// It returned, although it should go on for as long as the server does.
    Return,
}

impl Tasks {
    /// Of a process that ends with its tasks, such as a test's: they may return whenever they like.
    pub fn unattended() -> Tasks {
        let tasks = Tasks::default();
        tasks.let_end();
        tasks
    }

    /// Runs a task that must not end before [`Tasks::let_end`]: if it does, or panics, the process is
    /// aborted.
    pub fn vital(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.watch(name, tokio::spawn(vital(name, task, Arc::clone(&self.0.may_end))))
    }

    /// The same on this thread, within an actix system or arbiter.
    pub fn vital_here(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        self.watch(name, actix::spawn(vital(name, task, Arc::clone(&self.0.may_end))));
    }

    /// Runs a task that ends by itself. A panic of it aborts the process, for whoever waits for what it
    /// does would wait for ever.
    pub fn errand(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(errand(name, task));
    }

    /// The same on this thread, within an actix system or arbiter.
    pub fn errand_here(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        actix::spawn(errand(name, task));
    }

    /// Runs a task that is started again whenever it dies; `make` is called for each life.
    pub fn keep<F>(
        &self,
        name: &'static str,
        make: impl FnMut() -> F + Send + 'static,
    ) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (is_down, may_end) = (Arc::<AtomicBool>::default(), Arc::clone(&self.0.may_end));
        let task = tokio::spawn(keep(name, make, Arc::clone(&is_down), may_end)).abort_handle();
        self.push(Watched { name, is_down, task: task.clone() });
        task
    }

    /// The kept tasks that are dead and wait to be started again. None of the vital ones: without them
    /// there is no process.
    pub fn down(&self) -> Vec<&'static str> {
        let is_down = |watched: &&Watched| watched.is_down.load(Ordering::Acquire);
        self.watched().iter().filter(is_down).map(|watched| watched.name).collect()
    }

    /// From now on tasks may end: the server goes down.
    pub fn let_end(&self) {
        self.0.may_end.store(true, Ordering::Release);
    }

    /// Ends what still runs, the last started first: what it had under way is found in Postgres by the
    /// next server.
    pub fn end(&self) {
        self.let_end();
        for watched in self.watched().drain(..).rev() {
            watched.task.abort();
        }
    }

    fn watch(&self, name: &'static str, task: JoinHandle<()>) -> AbortHandle {
        let task = task.abort_handle();
        self.push(Watched { name, is_down: Arc::default(), task: task.clone() });
        task
    }

    fn push(&self, new: Watched) {
        let mut watched = self.watched();
        watched.retain(|watched| !watched.task.is_finished());
        watched.push(new);
    }

    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn vital(name: &'static str, task: impl Future<Output = ()>, may_end: Arc<AtomicBool>) {
    if let Some(death) = lived(name, task, &may_end).await {
        tracing::error!(task = name, ?death, "a vital task died: aborting, to begin again");
        std::process::abort();
    }
}

async fn errand(name: &'static str, task: impl Future<Output = ()>) {
    if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
        let panic = words(&*panic);
        tracing::error!(task = name, panic, "a task panicked: aborting, to begin again");
        std::process::abort();
    }
}

async fn keep<F: Future<Output = ()>>(
    name: &'static str,
    mut make: impl FnMut() -> F,
    is_down: Arc<AtomicBool>,
    may_end: Arc<AtomicBool>,
) {
    let mut pause = RESTART_PAUSE;
    loop {
        let began = Instant::now();
        let Some(death) = lived(name, make(), &may_end).await else { return };
        if began.elapsed() >= LIVED_LONG {
            pause = RESTART_PAUSE;
        }
        tracing::error!(task = name, ?death, ?pause, "a task died; it is started again");
        is_down.store(true, Ordering::Release);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RESTART_PAUSE_MAX);
        metrics::counter!("hoga_tasks_restarted_total", "task" => name).increment(1);
        is_down.store(false, Ordering::Release);
    }
}

/// Waits for the end of a life; `None` if it may end now.
async fn lived(
    name: &'static str,
    task: impl Future<Output = ()>,
    may_end: &AtomicBool,
) -> Option<Death> {
    let ended = AssertUnwindSafe(task).catch_unwind().await;
    match ended {
        Ok(()) if may_end.load(Ordering::Acquire) => None,
        Ok(()) => Some(Death::Return),
        Err(panic) => {
            let panic = words(&*panic);
            tracing::error!(task = name, panic, "a task panicked");
            Some(Death::Panic)
        }
    }
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::{Notify, oneshot};

    use super::*;

    /// A task that dies in its first lives, and then goes on.
    fn dies(times: usize, by_panic: bool) -> (Tasks, Arc<AtomicUsize>, Arc<Notify>) {
        let (tasks, lives, goes_on) = (Tasks::default(), Arc::default(), Arc::new(Notify::new()));
        let (counted, told): (Arc<AtomicUsize>, _) = (Arc::clone(&lives), Arc::clone(&goes_on));
        tasks.keep("a test", move || {
            let (life, told) = (counted.fetch_add(1, Ordering::AcqRel), Arc::clone(&told));
            async move {
                if life < times {
                    assert!(!by_panic, "as planted");
                    return;
                }
                told.notify_one();
                std::future::pending().await
            }
        });
        (tasks, lives, goes_on)
    }

    #[tokio::test]
    async fn a_kept_task_is_started_again_whether_it_panicked_or_returned() {
        for by_panic in [false, true] {
            let (tasks, lives, goes_on) = dies(2, by_panic);
            goes_on.notified().await;
            assert_eq!(lives.load(Ordering::Acquire), 3);
            assert!(tasks.down().is_empty(), "it lives again");
        }
    }

    #[tokio::test]
    async fn a_kept_task_that_is_dead_is_named_until_it_lives_again() {
        let (tasks, _, goes_on) = dies(1, true);
        while tasks.down().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(tasks.down(), ["a test"]);
        goes_on.notified().await;
        assert!(tasks.down().is_empty());
    }

    #[tokio::test]
    async fn what_may_end_is_not_started_again() {
        let tasks = Tasks::default();
        let (lives, end) = (Arc::<AtomicUsize>::default(), Arc::new(Notify::new()));
        let (counted, wait) = (Arc::clone(&lives), Arc::clone(&end));
        tasks.keep("a test", move || {
            counted.fetch_add(1, Ordering::AcqRel);
            let wait = Arc::clone(&wait);
            async move { wait.notified().await }
        });
        tasks.vital("another test", std::future::ready(()));
        tasks.let_end();
        end.notify_one();
        while !tasks.watched().iter().all(|watched| watched.task.is_finished()) {
            tokio::task::yield_now().await;
        }
        assert_eq!(lives.load(Ordering::Acquire), 1);
    }

    #[tokio::test]
    async fn the_last_that_was_started_is_ended_first() {
        struct Tells(Option<oneshot::Sender<()>>, Arc<Mutex<Vec<u8>>>, u8);
        impl Drop for Tells {
            fn drop(&mut self) {
                self.1.lock().expect("no panic").push(self.2);
                let _ = self.0.take().expect("once").send(());
            }
        }
        let (tasks, ended) = (Tasks::default(), Arc::<Mutex<Vec<u8>>>::default());
        let mut told = Vec::new();
        for no in 1..=3 {
            let (tell, heard) = oneshot::channel();
            told.push(heard);
            let tells = Tells(Some(tell), Arc::clone(&ended), no);
            tasks.vital("a test", async move {
                let _tells = tells;
                std::future::pending().await
            });
        }
        tokio::task::yield_now().await;
        tasks.end();
        for heard in told {
            heard.await.expect("it was dropped");
        }
        assert_eq!(*ended.lock().expect("no panic"), [3, 2, 1]);
    }
}
