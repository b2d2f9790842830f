//! The same events to the same viewers, whoever carries them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};

use super::{
    Failed,
    children::Server,
    crowd::Crowd,
    figures::median,
    nchan::Nginx,
    plan::{Plan, Subject},
    proc,
    stage::Stage,
};

/// What connections that have just been opened still need is given back in this time.
const SETTLES_IN: Duration = Duration::from_secs(3);
/// Rounds that are not measured.
const WARM_UP_ROUNDS: u64 = 5;
const RESPONSE_BYTES_MAX: usize = 16 * 1_024;

/// Who carries the events.
pub struct Target {
    address: SocketAddr,
    pid: u32,
    paths: Vec<String>,
    publish: Box<dyn Fn(usize) -> Vec<u8>>,
    accepted: &'static [&'static str],
}

/// Hoga; an event is a bid on the auction of each channel.
pub fn hoga(stage: &Stage, server: &Server, channels: usize) -> Target {
    let auctions = &stage.auctions()[..=channels];
    let plan = Plan::new(Subject::B, stage.bidders(), auctions);
    let publish = move |_| {
        let mut request = Vec::new();
        plan.write_next(&mut request);
        request
    };
    Target {
        address: server.address(),
        pid: server.pid(),
        paths: auctions[1..].iter().map(|id| format!("/v1/auctions/{id}/events")).collect(),
        publish: Box::new(publish),
        accepted: &["201"],
    }
}

/// nchan; an event is the data of one of Hoga's.
pub fn nchan(nginx: &Nginx, channels: usize, data: &[u8]) -> Target {
    let data = data.to_vec();
    let publish = move |channel| {
        let head = format!(
            "POST /pub?id={channel} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
             X-EventSource-Event: bid.placed\r\nContent-Length: {}\r\n\r\n",
            data.len()
        );
        [head.as_bytes(), &data].concat()
    };
    Target {
        address: nginx.address(),
        pid: nginx.pid(),
        paths: (0..channels).map(|channel| format!("/sub?id={channel}")).collect(),
        publish: Box::new(publish),
        accepted: &["200", "201", "202"],
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figures {
    /// Events received by all viewers together, a second.
    pub deliveries_per_s: f64,
    /// The same for each second of the server's CPU time.
    pub deliveries_per_cpu_s: f64,
    /// From sending to receipt.
    pub p50_ms: f64,
    /// From sending to receipt.
    pub p99_ms: f64,
    /// Resident memory that a viewer adds, in bytes.
    pub bytes_per_viewer: u64,
    /// Events published.
    pub events: u64,
}

impl Figures {
    /// Of each figure the median.
    pub fn medians(rounds: &[Figures]) -> Figures {
        let median = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure));
        Figures {
            deliveries_per_s: median(|of| of.deliveries_per_s),
            deliveries_per_cpu_s: median(|of| of.deliveries_per_cpu_s),
            p50_ms: median(|of| of.p50_ms),
            p99_ms: median(|of| of.p99_ms),
            bytes_per_viewer: median(|of| of.bytes_per_viewer as f64) as u64,
            events: rounds.iter().map(|of| of.events).sum(),
        }
    }
}

/// Has the events carried; with the data of the last one.
pub fn run(target: &Target, viewers: usize, seconds: f64) -> Result<(Figures, Vec<u8>), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, carry(target, viewers, seconds))
}

async fn carry(
    target: &Target,
    viewers: usize,
    seconds: f64,
) -> Result<(Figures, Vec<u8>), Failed> {
    let crowd = Crowd::new();
    let channels = target.paths.len();
    let mut publishers = Vec::new();
    for _ in 0..channels {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        publishers.push(stream);
    }
    // Somebody has to have been there, so that only what each one adds is counted.
    crowd.gather(target.address, &target.paths, channels, false).await?;
    tokio::time::sleep(SETTLES_IN).await;
    let before = proc::resident_bytes(target.pid)?;
    crowd.gather(target.address, &target.paths, viewers - channels, false).await?;
    tokio::time::sleep(SETTLES_IN).await;
    let after = proc::resident_bytes(target.pid)?;
    let bytes_per_viewer = after.saturating_sub(before) / (viewers - channels).max(1) as u64;

    let mut expected = 0;
    let (mut cpu_before, mut started) = (0, Instant::now());
    let mut rounds = 0;
    while rounds < WARM_UP_ROUNDS || started.elapsed().as_secs_f64() < seconds {
        if rounds == WARM_UP_ROUNDS {
            crowd.begin();
            expected = 0;
            cpu_before = proc::cpu_us(target.pid)?;
            started = Instant::now();
        } else if rounds == 0 {
            crowd.begin();
        }
        rounds += 1;
        expected += viewers as u64;
        crowd.expect(expected);
        publish(target, &mut publishers).await?;
        crowd.all_are_there().await?;
    }
    let took = started.elapsed().as_secs_f64();
    let cpu_s = (proc::cpu_us(target.pid)? - cpu_before) as f64 / 1e6;
    let deliveries = crowd.received.get() as f64;
    let mut took_us = crowd.took_us.take();
    took_us.sort_unstable();
    let ms = |percent| f64::from(super::figures::percentile(&took_us, percent)) / 1_000.0;
    let figures = Figures {
        deliveries_per_s: deliveries / took,
        deliveries_per_cpu_s: deliveries / cpu_s,
        p50_ms: ms(50),
        p99_ms: ms(99),
        bytes_per_viewer,
        events: (rounds - WARM_UP_ROUNDS) * channels as u64,
    };
    Ok((figures, crowd.data.take()))
}

/// Publishes one event to each channel, all at once, and reads the answers.
async fn publish(target: &Target, publishers: &mut [TcpStream]) -> Result<(), Failed> {
    for (channel, stream) in publishers.iter_mut().enumerate() {
        stream.write_all(&(target.publish)(channel)).await?;
    }
    let mut buffer = vec![0; RESPONSE_BYTES_MAX];
    for stream in publishers {
        let mut length = 0;
        let whole =
            |read: &[u8]| super::load::expected_length(read).is_some_and(|n| read.len() >= n);
        while !whole(&buffer[..length]) {
            let count = stream.read(&mut buffer[length..]).await?;
            if count == 0 {
                return Err("the server has ended the connection".into());
            }
            length += count;
        }
        let status = std::str::from_utf8(&buffer[9..12])?;
        if !target.accepted.contains(&status) {
            return Err(String::from_utf8_lossy(&buffer[..length]).into_owned().into());
        }
    }
    Ok(())
}
