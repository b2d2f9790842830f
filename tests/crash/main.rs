//! What survives: the real program is killed at random moments under load, and so is its Postgres.
//!
//! Whatever was acknowledged must be in the log afterwards; whatever was not must have one outcome.
//! The seed of the random moments is printed; `HOGA_CRASH_SEED` plays a run again.

#[allow(dead_code, reason = "tests/rabbit uses the rest")]
mod market;
mod server;

use hoga::embedded::postgres::StopMode;
use market::Market;
use rand::{Rng, SeedableRng, rngs::StdRng};
use server::Hoga;

/// How often the server is killed.
const KILLS: u32 = 12;
/// How often Postgres is restarted in immediate mode.
const RESTARTS: u32 = 6;

fn seeded() -> StdRng {
    let seed = std::env::var("HOGA_CRASH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().random::<u64>());
    println!("HOGA_CRASH_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_it_acknowledged() {
    let mut moments = seeded();
    let mut hoga = Hoga::start().await;
    let market = Market::open(&hoga).await;
    let bidding = market.bid_all_the_time();
    for _ in 0..KILLS {
        market.wait_for_answers(moments.random_range(40..400)).await;
        hoga.kill();
        hoga.serve().await;
    }
    market.wait_for_answers(100).await;
    let story = bidding.finish().await;
    market.check(&hoga, story).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_crashes_under_load_loses_nothing_that_was_acknowledged() {
    let mut moments = seeded();
    let hoga = Hoga::start().await;
    let market = Market::open(&hoga).await;
    let bidding = market.bid_all_the_time();
    for _ in 0..RESTARTS {
        market.wait_for_answers(moments.random_range(40..400)).await;
        hoga.restart_postgres(StopMode::Immediate).await;
    }
    market.wait_for_answers(100).await;
    let story = bidding.finish().await;
    market.check(&hoga, story).await;
}
