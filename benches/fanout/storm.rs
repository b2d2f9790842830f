//! Viewers beside bidders, and viewers that never read.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, task::LocalSet};

use super::{
    Failed,
    crowd::Crowd,
    figures, load,
    plan::{Plan, Subject},
    proc,
    stage::Stage,
};

/// How many bid.
const BIDDERS: usize = 64;
/// How many never read.
const ASLEEP: usize = 1_000;
/// Those who never read are cut within this: what the kernel keeps for them has to fill first.
const CUT_WITHIN: Duration = Duration::from_secs(90);

/// Bids with and without viewers.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Storm {
    /// Without anybody watching.
    pub alone: Bids,
    /// With everybody watching.
    pub watched: Bids,
    /// Frames that the viewers got, a second.
    pub deliveries_per_s: f64,
}

/// How bidding went.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bids {
    /// Answers a second.
    pub per_s: f64,
    /// The longest of 99 in 100.
    pub p99_ms: f64,
}

impl Storm {
    /// Of each figure the median.
    pub fn medians(rounds: &[Storm]) -> Storm {
        let median = |figure: fn(&Storm) -> f64| figures::median(rounds.iter().map(figure));
        Storm {
            alone: Bids {
                per_s: median(|of| of.alone.per_s),
                p99_ms: median(|of| of.alone.p99_ms),
            },
            watched: Bids {
                per_s: median(|of| of.watched.per_s),
                p99_ms: median(|of| of.watched.p99_ms),
            },
            deliveries_per_s: median(|of| of.deliveries_per_s),
        }
    }
}

/// Those who read, with and without those who do not.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Asleep {
    /// Bids without the sleepers.
    pub before: Bids,
    /// Bids with them.
    pub beside: Bids,
    /// Bids when they have been cut.
    pub after: Bids,
    /// Frames to those who read, a second, without the sleepers.
    pub deliveries_before_per_s: f64,
    /// Frames to those who read, a second, with them: a storm's viewers share what is told in a
    /// second, and a sleeper counts as one until nothing more can be written to it.
    pub deliveries_beside_per_s: f64,
    /// Frames to those who read, a second, when the sleepers have been cut.
    pub deliveries_after_per_s: f64,
    /// How many of the sleepers were cut.
    pub cut: usize,
    /// When the last of them had been cut at the latest, from their coming, in seconds.
    pub cut_within_s: f64,
    /// How many there were.
    pub asleep: usize,
    /// Streams of readers that ended: none may.
    pub readers_lost: usize,
}

/// What a crowd says of itself.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Said {
    received: u64,
    ended: usize,
}

/// Viewers in a process of their own.
struct CrowdProcess {
    child: Child,
    orders: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl CrowdProcess {
    fn gather(
        address: SocketAddr,
        path: &str,
        viewers: usize,
        asleep: bool,
    ) -> Result<CrowdProcess, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--crowd").arg(address.to_string());
        command.args(["--path", path, "--viewers", &viewers.to_string()]);
        if asleep {
            command.arg("--asleep");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().ok_or("no stdin")?;
        let said = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut crowd = CrowdProcess { child, orders, said };
        crowd.hear()?;
        Ok(crowd)
    }

    fn hear(&mut self) -> Result<Said, Failed> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(serde_json::from_str(&line).map_err(|_| "the crowd has gone")?)
    }

    fn ask(&mut self) -> Result<Said, Failed> {
        self.orders.write_all(b"\n")?;
        self.hear()
    }
}

impl Drop for CrowdProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Watches, and says how it goes for every line on standard input.
pub fn be_a_crowd(
    address: SocketAddr,
    path: &str,
    viewers: usize,
    asleep: bool,
) -> Result<bool, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let paths = [path.to_owned()];
    LocalSet::new().block_on(&runtime, async {
        let crowd = Crowd::new();
        crowd.gather(address, &paths, viewers, asleep).await?;
        let mut orders = orders();
        loop {
            say(&crowd)?;
            if orders.recv().await.is_none() {
                return Ok(true);
            }
        }
    })
}

/// The lines of standard input, read on a thread of their own.
fn orders() -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines();
        for _ in lines.map_while(Result::ok) {
            if sender.blocking_send(()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn say(crowd: &Rc<Crowd>) -> Result<(), Failed> {
    let said = Said { received: crowd.received.get(), ended: crowd.ended.get() };
    // Nobody looks at the times of a storm here.
    crowd.took_us.borrow_mut().clear();
    println!("{}", serde_json::to_string(&said)?);
    Ok(())
}

/// Who bids on the watched auction of a server, one window after the other.
struct Bidding<'a> {
    stage: &'a Stage,
    server: &'a super::Server,
    plan: Rc<Plan>,
    window: load::Window,
}

impl<'a> Bidding<'a> {
    fn new(stage: &'a Stage, server: &'a super::Server, seconds: f64) -> Bidding<'a> {
        let window = load::Window {
            warm_up: Duration::from_secs_f64(seconds / 4.0),
            measured: Duration::from_secs_f64(seconds),
        };
        let plan = Rc::new(Plan::new(Subject::A, stage.bidders(), stage.auctions()));
        Bidding { stage, server, plan, window }
    }

    fn go_on(&self) -> Result<Bids, Failed> {
        let watched =
            proc::Watched { server: self.server.pid(), postmaster: self.stage.postmaster()? };
        let address = self.server.address();
        let mut outcome = load::run(&self.plan, address, BIDDERS, self.window, &watched)?;
        if outcome.failed > 0 {
            return Err(format!("a bid failed: {:?}", outcome.first_failure).into());
        }
        outcome.took_us.sort_unstable();
        Ok(Bids {
            per_s: outcome.took_us.len() as f64 / outcome.measured.as_secs_f64(),
            p99_ms: f64::from(figures::percentile(&outcome.took_us, 99)) / 1_000.0,
        })
    }

    /// With the frames that a crowd got meanwhile, a second.
    fn go_on_before(&self, crowd: &mut CrowdProcess) -> Result<(Bids, f64), Failed> {
        let (before, started) = (crowd.ask()?.received, Instant::now());
        let bids = self.go_on()?;
        let received = crowd.ask()?.received - before;
        Ok((bids, received as f64 / started.elapsed().as_secs_f64()))
    }
}

/// 64 bidders on one auction, alone and with everybody watching.
pub fn bidders(stage: &Stage, viewers: usize, seconds: f64) -> Result<Storm, Failed> {
    let alone = on_a_server(stage, seconds, |bidding, _| bidding.go_on())?;
    let (watched, deliveries_per_s) = on_a_server(stage, seconds, |bidding, path| {
        let mut crowd = CrowdProcess::gather(bidding.server.address(), path, viewers, false)?;
        bidding.go_on_before(&mut crowd)
    })?;
    Ok(Storm { alone, watched, deliveries_per_s })
}

/// A thousand viewers that never read come to a thousand that do, and bids go on until they are
/// cut, and after that.
pub fn asleep(stage: &Stage, viewers: usize, seconds: f64) -> Result<Asleep, Failed> {
    on_a_server(stage, seconds, |bidding, path| {
        let address = bidding.server.address();
        let mut awake = CrowdProcess::gather(address, path, ASLEEP.min(viewers), false)?;
        let (before, deliveries_before_per_s) = bidding.go_on_before(&mut awake)?;
        let _sleepers = CrowdProcess::gather(address, path, ASLEEP, true)?;
        let (came, everybody) = (Instant::now(), open_streams(address)?);
        let (beside, deliveries_beside_per_s) = bidding.go_on_before(&mut awake)?;
        let mut cut = everybody.saturating_sub(open_streams(address)?);
        while cut < ASLEEP && came.elapsed() < CUT_WITHIN {
            bidding.go_on()?;
            cut = everybody.saturating_sub(open_streams(address)?);
        }
        let cut_within_s = came.elapsed().as_secs_f64();
        let (after, deliveries_after_per_s) = bidding.go_on_before(&mut awake)?;
        Ok(Asleep {
            before,
            beside,
            after,
            deliveries_before_per_s,
            deliveries_beside_per_s,
            deliveries_after_per_s,
            cut,
            cut_within_s,
            asleep: ASLEEP,
            readers_lost: awake.ask()?.ended,
        })
    })
}

/// How many streams the server counts. Who never reads does not hear of being cut: what the server
/// could not deliver is dropped with the connection, and nothing is sent any more.
fn open_streams(address: SocketAddr) -> Result<usize, Failed> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let count = answer.lines().find_map(|line| line.strip_prefix("hoga_viewers "));
    Ok(count.ok_or("the server does not say how many watch")?.parse()?)
}

/// Has something measured on a fresh server: whoever bids there, and the path of the stream.
fn on_a_server<K>(
    stage: &Stage,
    seconds: f64,
    measure: impl FnOnce(&Bidding<'_>, &str) -> Result<K, Failed>,
) -> Result<K, Failed> {
    let database = stage.database()?;
    let server = super::hoga(stage, &database)?;
    let path = format!("/v1/auctions/{}/events", stage.auctions()[0]);
    let known = measure(&Bidding::new(stage, &server, seconds), &path)?;
    server.stop()?;
    stage.drop_database(&database)?;
    Ok(known)
}
