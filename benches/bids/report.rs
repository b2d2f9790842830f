//! The table for people and the file for programs: medians of the rounds, wanted against reached.

use std::{fmt, path::PathBuf};

use serde::Serialize;

use super::{
    Failed,
    figures::{Run, median},
    plan::Subject,
};

/// The longest that one of a hundred bids may take under (a) at 256 connections.
const P99_US_MAX: f64 = 25_000.0;
const P99_CONNECTIONS: usize = 256;

/// The ratios that are wanted: at least so much of the one to the other.
const RATIOS: &[(Subject, Subject, f64)] = &[
    (Subject::A, Subject::D, 20.0),
    (Subject::A, Subject::F, 0.5),
    (Subject::B, Subject::E, 3.0),
    (Subject::B, Subject::F, 0.4),
];

/// One run on a line, as it comes in.
pub fn line(run: &Run) -> String {
    let verdict =
        if run.is_whole() { String::new() } else { format!("  FAILED {:?}", run.counted) };
    format!("round {} {}{verdict}", run.round, Row::of(&[run]))
}

/// Medians and what they come to.
#[derive(Debug, Serialize)]
pub struct Table {
    rows: Vec<Row>,
    wanted: Vec<Wanted>,
}

/// The medians of one subject at one number of connections.
#[derive(Debug, Serialize)]
struct Row {
    subject: Subject,
    what: &'static str,
    connections: usize,
    bids_per_s: f64,
    accepted_share: f64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    server_us_per_bid: f64,
    postgres_us_per_bid: f64,
    client_us_per_bid: f64,
    bids_per_commit: Option<f64>,
}

/// Something to reach.
#[derive(Debug, Serialize)]
struct Wanted {
    what: String,
    connections: usize,
    wanted: f64,
    reached: f64,
    is_reached: bool,
}

impl Table {
    /// Of all runs.
    pub fn of(runs: &[Run]) -> Table {
        let mut cells: Vec<(Subject, usize)> =
            runs.iter().map(|run| (run.subject, run.connections)).collect();
        cells.sort_unstable();
        cells.dedup();
        let of_cell = |(subject, connections): &(Subject, usize)| {
            let is_here = |run: &&Run| run.subject == *subject && run.connections == *connections;
            Row::of(&runs.iter().filter(is_here).collect::<Vec<_>>())
        };
        let rows: Vec<Row> = cells.iter().map(of_cell).collect();
        let wanted = wanted(&rows);
        Table { rows, wanted }
    }
}

fn wanted(rows: &[Row]) -> Vec<Wanted> {
    let mut connections: Vec<usize> = rows.iter().map(|row| row.connections).collect();
    connections.sort_unstable();
    connections.dedup();
    let find = |subject, connections| {
        rows.iter().find(|row| row.subject == subject && row.connections == connections)
    };
    let mut all = Vec::new();
    for connections in connections {
        for (one, other, wanted) in RATIOS {
            let (Some(a), Some(b)) = (find(*one, connections), find(*other, connections)) else {
                continue;
            };
            let reached = a.bids_per_s / b.bids_per_s;
            let what = format!("({one}) / ({other}) at least");
            let is_reached = reached >= *wanted;
            all.push(Wanted { what, connections, wanted: *wanted, reached, is_reached });
        }
    }
    if let Some(row) = find(Subject::A, P99_CONNECTIONS) {
        all.push(Wanted {
            what: "p99 of (a) in ms under".to_owned(),
            connections: P99_CONNECTIONS,
            wanted: P99_US_MAX / 1_000.0,
            reached: row.p99_us / 1_000.0,
            is_reached: row.p99_us < P99_US_MAX,
        });
    }
    all
}

impl Row {
    fn of(runs: &[&Run]) -> Row {
        let of = |figure: &dyn Fn(&Run) -> f64| median(runs.iter().map(|run| figure(run)));
        let first = runs.first().expect("a row has at least one run");
        Row {
            subject: first.subject,
            what: first.subject.words(),
            connections: first.connections,
            bids_per_s: of(&|run| run.bids_per_s),
            accepted_share: of(&|run| run.accepted_share),
            p50_us: of(&|run| run.p50_us.into()),
            p99_us: of(&|run| run.p99_us.into()),
            max_us: of(&|run| run.max_us.into()),
            server_us_per_bid: of(&|run| run.cpu_us_per_bid.server),
            postgres_us_per_bid: of(&|run| run.cpu_us_per_bid.postgres),
            client_us_per_bid: of(&|run| run.cpu_us_per_bid.client),
            bids_per_commit: first
                .bids_per_commit
                .map(|_| of(&|run| run.bids_per_commit.unwrap_or(f64::NAN))),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "({}) {:<28} {:>5} {:>9.0} {:>7.1}% {:>8.2} {:>8.2} {:>8.1} {:>8.1} {:>9.1} {:>8.1} ",
            self.subject,
            self.what,
            self.connections,
            self.bids_per_s,
            self.accepted_share * 100.0,
            self.p50_us / 1_000.0,
            self.p99_us / 1_000.0,
            self.max_us / 1_000.0,
            self.server_us_per_bid,
            self.postgres_us_per_bid,
            self.client_us_per_bid,
        )?;
        match self.bids_per_commit {
            Some(bids) => write!(f, "{bids:>8.1}"),
            None => write!(f, "{:>8}", "-"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<32} {:>5} {:>9} {:>8} {:>8} {:>8} {:>8} {:>27} {:>8}",
            "", "", "", "", "", "", "", "CPU µs per bid        ", "bids per"
        )?;
        writeln!(
            f,
            "{:<32} {:>5} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8}",
            "",
            "conn",
            "bids/s",
            "accepted",
            "p50 ms",
            "p99 ms",
            "max ms",
            "server",
            "postgres",
            "client",
            "commit"
        )?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        writeln!(f, "\n{:<32} {:>5} {:>9} {:>9}", "", "conn", "wanted", "reached")?;
        for line in &self.wanted {
            let verdict = if line.is_reached { "" } else { "  short" };
            let Wanted { what, connections, wanted, reached, .. } = line;
            writeln!(f, "{what:<32} {connections:>5} {wanted:>9.1} {reached:>9.2}{verdict}")?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(flatten)]
    table: &'a Table,
    runs: &'a [Run],
}

/// Writes `bench/bids.json` into cargo's target folder; where that is.
pub fn write_json(table: &Table, runs: &[Run]) -> Result<PathBuf, Failed> {
    // cargo gives a benchmark its own folder of scratch files: `<target>/tmp`.
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../bench");
    std::fs::create_dir_all(&folder)?;
    let path = folder.canonicalize()?.join("bids.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&File { table, runs })?)?;
    Ok(path)
}
