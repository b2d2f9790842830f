//! The table for people and the file for programs: wanted against reached.

use std::{fmt, fs, path::PathBuf};

use serde::Serialize;

use super::{
    Failed,
    duel::Figures,
    storm::{Asleep, Storm},
};

/// The most that an idle viewer may take.
const BYTES_PER_VIEWER_MAX: f64 = 16.0 * 1_024.0;
/// So much of their rate bids keep at least while everybody watches.
const RATE_KEPT_MIN: f64 = 0.7;
/// A bid takes less while everybody watches.
const BID_P99_MS_MAX: f64 = 100.0;
/// Those who read get at least so much of what they got, whoever sleeps beside them.
const SAME_MIN: f64 = 0.8;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    viewers: usize,
    seconds: f64,
    rounds: u32,
    duels: Vec<Duel>,
    bidders: Option<Storm>,
    asleep: Option<Asleep>,
    wanted: Vec<Wanted>,
}

/// How somebody carried events.
#[derive(Debug, Serialize)]
pub struct Duel {
    /// Hoga or nchan.
    pub who: &'static str,
    /// How many.
    pub channels: usize,
    /// Of a round, or of all.
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Debug, Serialize)]
struct Wanted {
    what: String,
    wanted: f64,
    reached: f64,
    is_reached: bool,
}

impl Report {
    /// Of nothing yet.
    pub fn new(viewers: usize, seconds: f64, rounds: u32) -> Report {
        let (duels, wanted) = (Vec::new(), Vec::new());
        Report { viewers, seconds, rounds, duels, bidders: None, asleep: None, wanted }
    }

    fn at_least(&mut self, what: String, wanted: f64, reached: f64) {
        self.wanted.push(Wanted { what, wanted, reached, is_reached: reached >= wanted });
    }

    fn at_most(&mut self, what: String, wanted: f64, reached: f64) {
        self.wanted.push(Wanted { what, wanted, reached, is_reached: reached <= wanted });
    }

    /// Who carried the events of so many channels how.
    pub fn add_duel(&mut self, channels: usize, hoga: Figures, nchan: Figures) {
        let on = format!("on {channels} channels");
        self.at_least(
            format!("deliveries/s per core {on}, of nchan's"),
            nchan.deliveries_per_cpu_s,
            hoga.deliveries_per_cpu_s,
        );
        self.at_most(format!("p99 in ms {on}, of nchan's"), nchan.p99_ms, hoga.p99_ms);
        let bytes = hoga.bytes_per_viewer as f64;
        self.at_most(format!("bytes of an idle viewer {on}"), BYTES_PER_VIEWER_MAX, bytes);
        self.duels.extend([("hoga", hoga), ("nchan", nchan)].map(|(who, figures)| Duel {
            who,
            channels,
            figures,
        }));
    }

    /// Bids beside viewers.
    pub fn set_storm(&mut self, storm: Storm) {
        let kept = storm.watched.per_s / storm.alone.per_s;
        self.at_least(
            "of their rate bids keep while everybody watches".into(),
            RATE_KEPT_MIN,
            kept,
        );
        self.at_most(
            "p99 of a bid in ms while everybody watches".into(),
            BID_P99_MS_MAX,
            storm.watched.p99_ms,
        );
        self.bidders = Some(storm);
    }

    /// Readers beside sleepers.
    pub fn set_asleep(&mut self, asleep: Asleep) {
        let of_before = |frames: f64| frames / asleep.deliveries_before_per_s;
        self.at_least(
            "of their frames readers get beside as many sleepers".into(),
            SAME_MIN / 2.0,
            of_before(asleep.deliveries_beside_per_s),
        );
        self.at_least(
            "of their frames readers get once sleepers are cut".into(),
            SAME_MIN,
            of_before(asleep.deliveries_after_per_s),
        );
        // Against the time before and after, so that a machine that slows down is not their fault.
        let alone = f64::midpoint(asleep.before.per_s, asleep.after.per_s);
        let bids = asleep.beside.per_s / alone;
        self.at_least("of their rate bids keep beside sleepers".into(), SAME_MIN, bids);
        self.at_least("sleepers that were cut".into(), asleep.asleep as f64, asleep.cut as f64);
        self.at_most("readers that were cut".into(), 0.0, asleep.readers_lost as f64);
        self.asleep = Some(asleep);
    }

    /// Whether everything that is wanted was reached.
    pub fn is_reached(&self) -> bool {
        self.wanted.iter().all(|wanted| wanted.is_reached)
    }

    /// Writes `bench/fanout.json` below the target directory.
    pub fn write_json(&self) -> Result<PathBuf, Failed> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        let folder = target.join("bench");
        fs::create_dir_all(&folder)?;
        let path = folder.join("fanout.json");
        fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        Ok(path)
    }
}

impl fmt::Display for Duel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            deliveries_per_s,
            deliveries_per_cpu_s,
            p50_ms,
            p99_ms,
            bytes_per_viewer,
            ..
        } = self.figures;
        write!(
            f,
            "{:<6} {:>3} channels  {deliveries_per_s:>9.0} deliveries/s  {deliveries_per_cpu_s:>9.0} per core  \
             p50 {p50_ms:>6.1} ms  p99 {p99_ms:>6.1} ms  {bytes_per_viewer:>6} bytes a viewer",
            self.who, self.channels
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} viewers", self.viewers)?;
        for duel in &self.duels {
            writeln!(f, "  {duel}")?;
        }
        if let Some(Storm { alone, watched, deliveries_per_s }) = &self.bidders {
            writeln!(f, "  bids alone      {:>8.0}/s  p99 {:>6.1} ms", alone.per_s, alone.p99_ms)?;
            writeln!(
                f,
                "  bids watched    {:>8.0}/s  p99 {:>6.1} ms  {deliveries_per_s:.0} deliveries/s",
                watched.per_s, watched.p99_ms
            )?;
        }
        if let Some(asleep) = &self.asleep {
            let Asleep { deliveries_before_per_s: frames, before, .. } = asleep;
            writeln!(f, "  before sleepers {:>8.0}/s  {frames:.0} deliveries/s", before.per_s)?;
            let frames = asleep.deliveries_beside_per_s;
            writeln!(
                f,
                "  beside {:>8} {:>8.0}/s  {frames:.0} deliveries/s",
                asleep.asleep, asleep.beside.per_s
            )?;
            let (frames, after) = (asleep.deliveries_after_per_s, asleep.after.per_s);
            writeln!(
                f,
                "  after           {after:>8.0}/s  {frames:.0} deliveries/s, {} cut within {:.0} s",
                asleep.cut, asleep.cut_within_s
            )?;
        }
        for Wanted { what, wanted, reached, is_reached } in &self.wanted {
            let verdict = if *is_reached { "reached" } else { "SHORT" };
            writeln!(f, "  {what:<55} wanted {wanted:>9.1}  {reached:>9.1}  {verdict}")?;
        }
        Ok(())
    }
}
