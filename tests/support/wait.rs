//! Waiting for a fact, with a bound.

use std::{future::Future, time::Duration};

use hoga::{domain::time::Timestamp, wall_clock};

/// No fact in these tests may take longer, on however busy a machine.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Asks until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    let answer = tokio::time::timeout(WAIT_MAX, asking).await;
    answer.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Waits for a time that is known, however far away.
pub async fn once_it_is(at: Timestamp) {
    while wall_clock::now() < at {
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Waits for something that must come by itself.
pub async fn promptly<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(WAIT_MAX, coming).await;
    came.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Runs something to its end on a thread of its own, from wherever: also from a `Drop`.
pub fn blocking<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work)
        };
        scope.spawn(run).join().expect("the work on its own thread does not panic")
    })
}
