//! CPU time of processes, from `/proc`.

use std::{fs, io};

use serde::Serialize;

/// Microseconds in a clock tick: Linux reports times to programs at 100 Hz.
const TICK_US: u64 = 10_000;

/// Whose CPU time is counted, besides our own.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    /// Whoever answers.
    pub server: u32,
    /// Postgres, with all its children.
    pub postmaster: u32,
}

/// CPU time in microseconds.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct CpuTimes {
    /// Of whoever answers.
    pub server: u64,
    /// Of every process of Postgres.
    pub postgres: u64,
    /// Our own.
    pub client: u64,
}

impl CpuTimes {
    /// What was used since.
    pub fn since(&self, before: &CpuTimes) -> CpuTimes {
        CpuTimes {
            server: self.server.saturating_sub(before.server),
            postgres: self.postgres.saturating_sub(before.postgres),
            client: self.client.saturating_sub(before.client),
        }
    }
}

/// CPU time of one process so far, in microseconds.
#[allow(dead_code, reason = "for the benchmark of fan-out")]
pub fn cpu_us(pid: u32) -> io::Result<u64> {
    Ok(stat(pid)?.own_us)
}

/// Resident memory of one process.
#[allow(dead_code, reason = "for the benchmark of fan-out")]
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib * 1_024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

struct Stat {
    parent: u32,
    own_us: u64,
    reaped_children_us: u64,
}

impl Watched {
    /// CPU times so far.
    pub fn cpu_times(&self) -> io::Result<CpuTimes> {
        Ok(CpuTimes {
            server: stat(self.server)?.own_us,
            postgres: self.postgres()?,
            client: stat(std::process::id())?.own_us,
        })
    }

    fn postgres(&self) -> io::Result<u64> {
        let postmaster = stat(self.postmaster)?;
        let mut sum_us = postmaster.own_us + postmaster.reaped_children_us;
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that has gone in the meantime counts with its parent.
            let Ok(child) = stat(pid) else { continue };
            if child.parent == self.postmaster {
                sum_us += child.own_us;
            }
        }
        Ok(sum_us)
    }
}

/// `proc(5)`: fields 4, 14 to 17 of the line; the name in field 2 may hold anything.
fn stat(pid: u32) -> io::Result<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let (_, rest) = line.rsplit_once(')').ok_or_else(malformed)?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| -> io::Result<u64> {
        fields.get(number - 3).and_then(|field| field.parse().ok()).ok_or_else(malformed)
    };
    Ok(Stat {
        parent: u32::try_from(field(4)?).map_err(|_| malformed())?,
        own_us: (field(14)? + field(15)?) * TICK_US,
        reaped_children_us: (field(16)? + field(17)?) * TICK_US,
    })
}
