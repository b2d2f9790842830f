//! What a run comes to.

use serde::Serialize;

use super::{load::Outcome, plan::Subject, proc::CpuTimes, stage::Written};

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// What was measured.
    pub subject: Subject,
    /// Connections at once.
    pub connections: usize,
    /// Which round.
    pub round: usize,
    /// Acknowledged bids a second, in the window.
    pub bids_per_s: f64,
    /// Of those, accepted; 0 to 1.
    pub accepted_share: f64,
    /// From sending to the answer, in the window.
    pub p50_us: u32,
    /// As above.
    pub p99_us: u32,
    /// As above.
    pub max_us: u32,
    /// CPU microseconds for each acknowledged bid, in the window.
    pub cpu_us_per_bid: CpuPerBid,
    /// Acknowledged bids for each transaction that wrote events, the warm-up included.
    pub bids_per_commit: Option<f64>,
    /// Acknowledged against written, the warm-up included.
    pub counted: Counted,
}

/// CPU microseconds by where they went.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CpuPerBid {
    /// Whoever answers.
    pub server: f64,
    /// Postgres.
    pub postgres: f64,
    /// Whoever asks.
    pub client: f64,
}

/// Answers and rows of a whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Counted {
    /// Answers 201.
    pub accepted: u64,
    /// Rows of `bid.placed`.
    pub bids_written: u64,
    /// Answers 201 and 409.
    pub acknowledged: u64,
    /// Rows of `receipts`.
    pub receipts_written: u64,
    /// Other answers.
    pub failed: u64,
    /// The first of them.
    pub first_failure: Option<String>,
}

impl Run {
    /// From what the load saw and what the tables hold.
    pub fn of(
        subject: Subject,
        connections: usize,
        round: usize,
        mut outcome: Outcome,
        written: Written,
    ) -> Run {
        outcome.took_us.sort_unstable();
        let took_us = &outcome.took_us;
        let measured = took_us.len() as f64;
        let acknowledged = outcome.accepted + outcome.refused;
        Run {
            subject,
            connections,
            round,
            bids_per_s: measured / outcome.measured.as_secs_f64(),
            accepted_share: outcome.accepted_measured as f64 / measured,
            p50_us: percentile(took_us, 50),
            p99_us: percentile(took_us, 99),
            max_us: percentile(took_us, 100),
            cpu_us_per_bid: CpuPerBid::of(&outcome.cpu, measured),
            bids_per_commit: (written.commits > 0)
                .then(|| acknowledged as f64 / written.commits as f64),
            counted: Counted {
                accepted: outcome.accepted,
                bids_written: written.bids,
                acknowledged,
                receipts_written: written.receipts,
                failed: outcome.failed,
                first_failure: outcome.first_failure,
            },
        }
    }

    /// Whether what was acknowledged was written, and everything was acknowledged.
    pub fn is_whole(&self) -> bool {
        let counted = &self.counted;
        let kept = counted.accepted == counted.bids_written
            && counted.acknowledged == counted.receipts_written;
        counted.failed == 0 && (kept || !self.subject.is_durable())
    }
}

impl CpuPerBid {
    fn of(used: &CpuTimes, bids: f64) -> CpuPerBid {
        let per_bid = |us: u64| us as f64 / bids;
        CpuPerBid {
            server: per_bid(used.server),
            postgres: per_bid(used.postgres),
            client: per_bid(used.client),
        }
    }
}

/// Of values in order: the one that so many of a hundred do not exceed.
pub fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0)
}

/// The middle one; of an even number the lower of the two.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
