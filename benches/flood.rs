//! A flood of slow forms against the real server: `make flood`.
//!
//! One machine opens as many connections as it can, begins a form at `POST /oauth/token` on each and
//! goes on with a byte every twenty seconds; what is cut it opens again. Meanwhile it is measured how
//! long `/healthz` takes to answer, from that machine's own address and from another, and whether
//! those who are logged in bid on. Fails when an answer of `/healthz` takes longer than a second, or
//! no bids are made.
#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

/// Slow forms, unless `--connections` says otherwise.
const CONNECTIONS: usize = 22_000;
/// Processes that hold them: none may open that many files.
const HOLDERS: usize = 2;
/// For so long, in seconds, unless `--seconds` says otherwise.
const SECONDS: u64 = 60;
/// A byte of each form, as in the flood that once locked everybody out.
const BYTE_EVERY: Duration = Duration::from_secs(20);
/// What was cut is opened again by each holder at most so often in a second.
const REOPENED_PER_SECOND_MAX: usize = 500;
/// `/healthz` must answer within this.
const HEALTH_MAX: Duration = Duration::from_secs(1);
/// From where the flood comes.
const FLOODING: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// From where everybody else comes.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
/// Pairs of bidders who outbid one another.
const PAIRS: usize = 4;

const FORM: &[u8] = b"POST /oauth/token HTTP/1.1\r\nHost: hoga\r\n\
    Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 2000\r\n\r\ngrant_type=";

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<usize>().ok()
    };
    let (_, hard) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let connections = number("--connections").unwrap_or(CONNECTIONS);
    match number("--hold-at-port") {
        Some(port) => hold(u16::try_from(port).unwrap(), connections).await,
        None => measure(connections, number("--seconds").map_or(SECONDS, |s| s as u64)).await,
    }
}

/// Holds slow forms open until it is killed.
async fn hold(port: u16, connections: usize) {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut held: Vec<(TcpStream, Instant)> = Vec::new();
    let (mut opened, mut cut) = (0_u64, 0_u64);
    let mut told = Instant::now();
    loop {
        let began = Instant::now();
        let is_first = opened < connections as u64;
        let missing = connections - held.len();
        let wanted =
            if is_first { missing.min(2_000) } else { missing.min(REOPENED_PER_SECOND_MAX) };
        for _ in 0..wanted {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((FLOODING, 0).into()).unwrap();
            let connecting = tokio::time::timeout(Duration::from_secs(1), socket.connect(to)).await;
            let Ok(Ok(mut stream)) = connecting else { continue };
            if stream.write_all(FORM).await.is_ok() {
                opened += 1;
                held.push((stream, Instant::now()));
            }
        }
        let before = held.len();
        held.retain_mut(|(stream, sent)| {
            let mut answer = [0; 512];
            let is_open = matches!(stream.try_read(&mut answer),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
            if is_open && sent.elapsed() > BYTE_EVERY {
                *sent = Instant::now();
                return stream.try_write(b"x").is_ok();
            }
            is_open
        });
        cut += (before - held.len()) as u64;
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            println!("    flood: {} open here, {opened} opened, {cut} cut", held.len());
        }
        if !is_first {
            tokio::time::sleep(Duration::from_secs(1).saturating_sub(began.elapsed())).await;
        }
    }
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

struct Hoga {
    folder: tempfile::TempDir,
    port: u16,
}

impl Hoga {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hoga"));
        command
            .args(args)
            .env("HOGA_DATA_DIR", self.folder.path().join("data"))
            .env("HOGA_BIND", format!("127.0.0.1:{}", self.port))
            .env("HOGA_BIDS_PER_SECOND_MAX", "1000")
            .env("HOGA_DEMO", "off")
            .env("HOGA_LOG", "error");
        command
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn token(&self, user: &str) -> String {
        let made = self.command(&["token", "--user", user]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }
}

/// A connection for each request, or those that stay open, from an address.
fn client(from: IpAddr, kept: usize) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().local_address(from);
    builder.pool_max_idle_per_host(kept).timeout(Duration::from_secs(30)).build().unwrap()
}

async fn measure(connections: usize, seconds: u64) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = std::env::var("FLOOD_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(port);
    let folder = tempfile::Builder::new().prefix("hoga-flood-").tempdir().unwrap();
    let hoga = Arc::new(Hoga { folder, port });
    let server = Running(hoga.command(&["serve"]).stdout(Stdio::null()).spawn().unwrap());
    let others = client(OTHERS, 64);
    let patience = Instant::now();
    while !matches!(others.get(hoga.url("/readyz")).send().await, Ok(answer) if answer.status() == 200)
    {
        assert!(patience.elapsed() < Duration::from_secs(180), "the server is not ready");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let bids = Arc::new(AtomicU64::new(0));
    let failed = Arc::new(AtomicU64::new(0));
    for pair in 0..PAIRS {
        let bidding = bidding(&hoga, others.clone(), pair).await;
        tokio::spawn(bid_on(bidding, Arc::clone(&bids), Arc::clone(&failed), Arc::clone(&is_over)));
    }
    let before = watched(&hoga, OTHERS, Duration::from_secs(5)).await;
    println!(
        "before the flood: /healthz {before}, {} bids in 5 s",
        bids.swap(0, Ordering::Relaxed)
    );

    let holders: Vec<Running> = (0..HOLDERS)
        .map(|_| {
            let mut holder = Command::new(std::env::current_exe().unwrap());
            holder.args(["--hold-at-port", &port.to_string()]);
            holder.args(["--connections", &(connections / HOLDERS).to_string()]);
            Running(holder.spawn().unwrap())
        })
        .collect();
    let during = Duration::from_secs(seconds);
    let files = tokio::spawn(files_of(server.0.id(), during));
    let (from_elsewhere, from_there) =
        tokio::join!(watched(&hoga, OTHERS, during), watched(&hoga, FLOODING, during));
    let (made, files) = (bids.load(Ordering::Relaxed), files.await.unwrap());
    is_over.store(true, Ordering::Relaxed);
    drop(holders);
    println!("during a flood of {connections} slow forms for {seconds} s:");
    println!("    /healthz from elsewhere: {from_elsewhere}");
    println!("    /healthz from the flood's own address: {from_there}");
    println!("    {made} bids made, {} failed", failed.load(Ordering::Relaxed));
    println!("    the server had at most {files} files open");
    drop(server);
    let is_well = [&from_elsewhere, &from_there].iter().all(|health| health.is_well());
    assert!(is_well, "/healthz took longer than {HEALTH_MAX:?}, or was not answered");
    assert!(made > 0, "nobody bid");
}

/// What became of requests for `/healthz`.
struct Health {
    took: Vec<Duration>,
    unanswered: usize,
}

impl Health {
    fn is_well(&self) -> bool {
        self.unanswered == 0 && self.took.iter().all(|took| *took <= HEALTH_MAX)
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut took = self.took.clone();
        took.sort_unstable();
        let at =
            |share: usize| took.get((took.len() * share / 100).min(took.len().saturating_sub(1)));
        let count = took.len();
        write!(f, "{count} answers, p50 {:?}, p99 {:?}, ", at(50), at(99))?;
        write!(f, "at most {:?}, {} unanswered", took.last(), self.unanswered)
    }
}

/// Asks five times a second, each time on a new connection.
async fn watched(hoga: &Hoga, from: IpAddr, during: Duration) -> Health {
    let (http, url, began) = (client(from, 0), hoga.url("/healthz"), Instant::now());
    let mut health = Health { took: Vec::new(), unanswered: 0 };
    let mut every = tokio::time::interval(Duration::from_millis(200));
    while began.elapsed() < during {
        every.tick().await;
        let asked = Instant::now();
        match http.get(&url).send().await {
            Ok(answer) if answer.status() == 200 => health.took.push(asked.elapsed()),
            Ok(_) | Err(_) => health.unanswered += 1,
        }
    }
    health
}

/// The most files that a process had open.
async fn files_of(pid: u32, during: Duration) -> usize {
    let (folder, began, mut most) = (format!("/proc/{pid}/fd"), Instant::now(), 0);
    while began.elapsed() < during {
        let files = std::fs::read_dir(Path::new(&folder)).map_or(0, Iterator::count);
        most = most.max(files);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    most
}

/// Two who outbid one another on an auction of their own.
struct Bidding {
    http: reqwest::Client,
    url: String,
    tokens: [String; 2],
}

async fn bidding(hoga: &Arc<Hoga>, http: reqwest::Client, pair: usize) -> Bidding {
    let ends_at = hoga::wall_clock::now().plus_s(86_400).to_string();
    let auction = json!({"title": "a bowl", "opening_price": 1_000, "ends_at": ends_at,
        "increment": {"kind": "fixed", "step": 1}});
    let made = http.post(hoga.url("/v1/auctions")).bearer_auth(hoga.token("sora")).json(&auction);
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let url = hoga.url(&format!("/v1/auctions/{}/bids", made["id"].as_str().unwrap()));
    let tokens = [0, 1].map(|one| hoga.token(&format!("bidder-{pair}-{one}")));
    Bidding { http, url, tokens }
}

async fn bid_on(
    bidding: Bidding,
    bids: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
) {
    let mut every = tokio::time::interval(Duration::from_millis(50));
    for amount in 1_000_u64.. {
        every.tick().await;
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let token = &bidding.tokens[usize::try_from(amount % 2).unwrap()];
        let bid = bidding.http.post(&bidding.url).bearer_auth(token);
        let bid = bid.header("idempotency-key", uuid::Uuid::new_v4().to_string());
        match bid.json(&json!({"amount": amount})).send().await {
            Ok(answer) if answer.status() == 201 => bids.fetch_add(1, Ordering::Relaxed),
            // The first may come before the auction has opened.
            Ok(_) | Err(_) => failed.fetch_add(1, Ordering::Relaxed),
        };
    }
}
