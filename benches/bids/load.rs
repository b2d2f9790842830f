//! The load: keep-alive connections that each send a bid, wait for its answer, and send the next.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};

use super::{
    Failed,
    plan::Plan,
    proc::{CpuTimes, Watched},
};

/// A response is shorter.
const RESPONSE_BYTES_MAX: usize = 16 * 1_024;
/// Nothing takes longer, or the run has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub measured: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Bids acknowledged as accepted (201), the warm-up included.
    pub accepted: u64,
    /// Bids acknowledged as refused (409), the warm-up included.
    pub refused: u64,
    /// Any other answer, and the first of them.
    pub failed: u64,
    /// The first answer that was neither.
    pub first_failure: Option<String>,
    /// Accepted in the window.
    pub accepted_measured: u64,
    /// From sending to the answer, of each answer in the window, in microseconds.
    pub took_us: Vec<u32>,
    /// The window as it came to be.
    pub measured: Duration,
    /// Used in the window.
    pub cpu: CpuTimes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    Over,
}

struct Bench {
    plan: Rc<Plan>,
    phase: Cell<Phase>,
    outcome: RefCell<Outcome>,
}

/// Sends bids over so many connections for as long as the window lasts; the plan may go on in
/// another run.
pub fn run(
    plan: &Rc<Plan>,
    address: SocketAddr,
    connections: usize,
    window: Window,
    watched: &Watched,
) -> Result<Outcome, Failed> {
    let outcome = RefCell::default();
    let bench = Rc::new(Bench { plan: Rc::clone(plan), phase: Cell::new(Phase::WarmUp), outcome });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, bid(&bench, address, connections, window, watched))?;
    drop(runtime);
    Ok(bench.outcome.take())
}

async fn bid(
    bench: &Rc<Bench>,
    address: SocketAddr,
    connections: usize,
    window: Window,
    watched: &Watched,
) -> Result<(), Failed> {
    let mut bidders = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        bidders.push(tokio::task::spawn_local(converse(Rc::clone(bench), stream)));
    }
    tokio::time::sleep(window.warm_up).await;
    let (before, started) = (watched.cpu_times()?, Instant::now());
    bench.phase.set(Phase::Measured);
    tokio::time::sleep(window.measured).await;
    bench.phase.set(Phase::Over);
    let measured = started.elapsed();
    let cpu = watched.cpu_times()?.since(&before);
    for bidder in bidders {
        tokio::time::timeout(ANSWER_TIMEOUT, bidder).await???;
    }
    let mut outcome = bench.outcome.borrow_mut();
    (outcome.measured, outcome.cpu) = (measured, cpu);
    Ok(())
}

async fn converse(bench: Rc<Bench>, mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::with_capacity(1_024);
    let mut buffer = vec![0; RESPONSE_BYTES_MAX];
    while bench.phase.get() != Phase::Over {
        bench.plan.write_next(&mut request);
        let sent = Instant::now();
        stream.write_all(&request).await?;
        let length = read_response(&mut stream, &mut buffer).await?;
        bench.note(&buffer[..length], sent);
    }
    Ok(())
}

/// Reads one response; its length.
async fn read_response(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    let mut expected = None;
    while expected.is_none_or(|expected| length < expected) {
        let count = stream.read(&mut buffer[length..]).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        length += count;
        if expected.is_none() {
            expected = expected_length(&buffer[..length]);
        }
    }
    Ok(length)
}

/// Of the whole response, once its head is there.
pub fn expected_length(response: &[u8]) -> Option<usize> {
    const LENGTH: &[u8] = b"content-length: ";
    let head = response.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let start = response[..head]
        .windows(LENGTH.len())
        .position(|window| window.eq_ignore_ascii_case(LENGTH))?
        + LENGTH.len();
    let digits = response[start..head].iter().take_while(|byte| byte.is_ascii_digit());
    Some(head + digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}

impl Bench {
    fn note(&self, response: &[u8], sent: Instant) {
        let mut outcome = self.outcome.borrow_mut();
        let is_measured = self.phase.get() == Phase::Measured;
        match response.get(9..12) {
            Some(b"201") => {
                outcome.accepted += 1;
                outcome.accepted_measured += u64::from(is_measured);
            }
            Some(b"409") => outcome.refused += 1,
            _ => {
                outcome.failed += 1;
                outcome
                    .first_failure
                    .get_or_insert_with(|| String::from_utf8_lossy(response).into_owned());
                return;
            }
        }
        if is_measured {
            let took_us = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
            outcome.took_us.push(took_us);
        }
    }
}
