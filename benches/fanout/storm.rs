//! Viewers beside bidders, and viewers that never read.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    rc::Rc,
    time::Duration,
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
/// Those who never read are cut within this: a keep-alive's turn finds that nothing was taken, and
/// the next one cuts.
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

/// Those who read, with and without those who do not.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Asleep {
    /// Bids without the sleepers.
    pub before: Bids,
    /// Bids with them.
    pub beside: Bids,
    /// Frames to those who read, a second, without the sleepers.
    pub deliveries_before_per_s: f64,
    /// Frames to those who read, a second, with them.
    pub deliveries_beside_per_s: f64,
    /// How many of the sleepers were cut.
    pub cut: usize,
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

/// 64 bidders on one auction, alone and with everybody watching.
pub fn bidders(stage: &Stage, viewers: usize, seconds: f64) -> Result<Storm, Failed> {
    let (alone, _) = on_a_server(stage, seconds, |_, _| Ok(()), |(), ()| Ok(()))?;
    let (watched, deliveries_per_s) = on_a_server(
        stage,
        seconds,
        |address, path| CrowdProcess::gather(address, path, viewers, false),
        |crowd, ()| Ok(crowd.ask()?.received),
    )
    .map(|(bids, received)| (bids, received as f64 / (seconds * 1.25)))?;
    Ok(Storm { alone, watched, deliveries_per_s })
}

/// Bids on a fresh server with whoever watches; what is known of them afterwards.
fn on_a_server<W, K>(
    stage: &Stage,
    seconds: f64,
    watch: impl FnOnce(SocketAddr, &str) -> Result<W, Failed>,
    know: impl FnOnce(&mut W, ()) -> Result<K, Failed>,
) -> Result<(Bids, K), Failed>
where
    W: Sized,
{
    let database = stage.database()?;
    let server = super::hoga(stage, &database)?;
    let path = format!("/v1/auctions/{}/events", stage.auctions()[0]);
    let mut watching = watch(server.address(), &path)?;
    let bids = bid(stage, &server, seconds)?;
    let known = know(&mut watching, ())?;
    drop(watching);
    server.stop()?;
    stage.drop_database(&database)?;
    Ok((bids, known))
}

fn bid(stage: &Stage, server: &super::Server, seconds: f64) -> Result<Bids, Failed> {
    let window = load::Window {
        warm_up: Duration::from_secs_f64(seconds / 4.0),
        measured: Duration::from_secs_f64(seconds),
    };
    let plan = Plan::new(Subject::A, stage.bidders(), stage.auctions());
    let watched = proc::Watched { server: server.pid(), postmaster: stage.postmaster()? };
    let mut outcome = load::run(plan, server.address(), BIDDERS, window, &watched)?;
    if outcome.failed > 0 {
        return Err(format!("a bid failed: {:?}", outcome.first_failure).into());
    }
    outcome.took_us.sort_unstable();
    Ok(Bids {
        per_s: outcome.took_us.len() as f64 / outcome.measured.as_secs_f64(),
        p99_ms: f64::from(figures::percentile(&outcome.took_us, 99)) / 1_000.0,
    })
}

/// A thousand viewers that never read beside a thousand that do: the same bids, the same frames.
pub fn asleep(stage: &Stage, viewers: usize, seconds: f64) -> Result<Asleep, Failed> {
    let readers = ASLEEP.min(viewers);
    let per_s = |received: u64| received as f64 / (seconds * 1.25);
    let read =
        |address: SocketAddr, path: &str| CrowdProcess::gather(address, path, readers, false);
    let (before, without) =
        on_a_server(stage, seconds, read, |crowd, ()| Ok(crowd.ask()?.received))?;
    let both = |address: SocketAddr, path: &str| {
        let awake = CrowdProcess::gather(address, path, readers, false)?;
        Ok((awake, CrowdProcess::gather(address, path, ASLEEP, true)?))
    };
    let (beside, (with, cut)) = on_a_server(stage, seconds, both, |(awake, asleep), ()| {
        let with = awake.ask()?;
        let deadline = std::time::Instant::now() + CUT_WITHIN;
        let mut cut = asleep.ask()?.ended;
        while cut < ASLEEP && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
            cut = asleep.ask()?.ended;
        }
        Ok((with, cut))
    })?;
    Ok(Asleep {
        before,
        beside,
        deliveries_before_per_s: per_s(without),
        deliveries_beside_per_s: per_s(with.received),
        cut,
        asleep: ASLEEP,
        readers_lost: with.ended,
    })
}
