//! The first hour of a stranger: what the program prints when it starts without configuration, done
//! as it stands; and what `scripts/setup` says while it installs.

mod setup;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use hoga::{domain::time::Timestamp, wall_clock};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// A private Postgres is made first; a machine under load may need long for a line.
const PATIENCE: Duration = Duration::from_secs(120);

/// `hoga serve` as a stranger starts it, and everything that it has said.
struct Started {
    serving: Child,
    /// Standard output up to "Ctrl-C".
    said: String,
    /// Standard error so far, once the program has ended.
    log: Option<std::thread::JoinHandle<String>>,
}

/// The program, without anything that this test's own environment says. A signal that is ignored
/// here, as under `nohup`, would be ignored by it as well: `env` undoes that and becomes it.
fn hoga(args: &[&str], home: &Path) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,TERM", env!("CARGO_BIN_EXE_hoga")]);
    command.args(args).env_clear().stdin(Stdio::null());
    for kept in ["PATH", "HOGA_POSTGRES_BIN_DIR", "LLVM_PROFILE_FILE"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    command.env("HOGA_DATA_DIR", home.join("my shop"));
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

/// Its lines as they come, until it closes its standard output.
fn lines_of(serving: &mut Child) -> mpsc::Receiver<String> {
    let (tell, heard) = mpsc::channel();
    let out = BufReader::new(serving.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().try_for_each(|line| tell.send(line.unwrap())));
    heard
}

impl Started {
    /// Waits until it has said how to stop it, which is the last that it says.
    fn on(home: &Path, port: u16) -> Started {
        let mut serving = hoga(&["serve"], home)
            .env("HOGA_BIND", format!("127.0.0.1:{port}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let heard = lines_of(&mut serving);
        let mut err = serving.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            err.read_to_string(&mut log).unwrap();
            log
        });
        let mut started = Started { serving, said: String::new(), log: Some(log) };
        while !started.said.contains("Ctrl-C") {
            let line = heard.recv_timeout(PATIENCE);
            started.said +=
                &line.unwrap_or_else(|_| panic!("nothing comes after {}", started.said));
            started.said.push('\n');
        }
        started
    }

    /// The command that begins so, as it stands: up to the line that does not end with a backslash.
    fn command(&self, beginning: &str) -> String {
        let lines = self.said.lines().skip_while(|line| !line.trim_start().starts_with(beginning));
        let mut command = String::new();
        for line in lines {
            command.push_str(line);
            command.push('\n');
            if !line.ends_with('\\') {
                break;
            }
        }
        assert!(!command.is_empty(), "no {beginning:?} in {}", self.said);
        command
    }

    /// Ends it by a signal; what it has logged.
    fn end(mut self, by: Signal) -> String {
        signal(&self.serving, by);
        self.serving.wait().unwrap();
        self.log.take().unwrap().join().unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if matches!(self.serving.try_wait(), Ok(None)) {
            signal(&self.serving, Signal::SIGTERM);
            let _ = self.serving.wait();
        }
    }
}

#[test]
fn a_start_whose_words_nobody_reads_goes_on_to_serve() {
    let (home, port) = (folder(), free_port());
    let start = hoga(&["serve"], home.path())
        .env("HOGA_BIND", format!("127.0.0.1:{port}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut serving = start.unwrap();
    let mut first = String::new();
    let mut out = BufReader::new(serving.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    drop(out);
    let ready = typed(&format!(
        "curl --silent --fail --retry {} --retry-delay 1 --retry-all-errors \
         http://127.0.0.1:{port}/readyz",
        PATIENCE.as_secs()
    ));
    // The demo market comes with the last that it says, after it is ready.
    let opened = typed(&format!(
        "until curl --silent --fail http://127.0.0.1:{port}/v1/auctions | grep -q title; do \
         kill -0 {} || exit 1; sleep 0.2; done",
        serving.id()
    ));
    if matches!(serving.try_wait(), Ok(None)) {
        signal(&serving, Signal::SIGTERM);
    }
    assert!(opened.status.success());
    let mut log = String::new();
    serving.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(serving.wait().unwrap().success() && ready.status.success(), "{first}{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_document_whose_end_nobody_reads_is_no_failure() {
    let printed = format!("set -o pipefail; '{}' openapi | head -c 1", env!("CARGO_BIN_EXE_hoga"));
    let output = Command::new("bash").args(["-c", &printed]).output().unwrap();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && wrong.is_empty(), "{wrong}");
}

/// The folder of the private Postgres, wherever a start has put it.
fn cluster_of(data_dir: &Path) -> std::path::PathBuf {
    let elsewhere = fs::read_to_string(data_dir.join("postgres-is-elsewhere")).unwrap_or_default();
    let home = elsewhere.lines().next().map(Into::into);
    home.unwrap_or_else(|| data_dir.join("postgres")).join("cluster")
}

#[test]
fn a_start_that_is_ended_or_fails_leaves_no_postgres_running() {
    let home = folder();
    let cluster = || cluster_of(&home.path().join("my shop"));
    // The last one cannot make its key, so it fails by itself.
    let impossible = home.path().join("missing").join("key.pem");
    fs::write(home.path().join("missing"), "no folder").unwrap();
    for (word, by, succeeds) in [
        ("private Postgres", Some(Signal::SIGINT), true),
        ("bringing the schema", Some(Signal::SIGTERM), true),
        ("bringing the schema", Some(Signal::SIGHUP), true),
        ("bringing the schema", None, false),
    ] {
        let mut start = hoga(&["serve"], home.path());
        start.env("HOGA_BIND", format!("127.0.0.1:{}", free_port())).stdout(Stdio::piped());
        if by.is_none() {
            start.env("HOGA_VAPID_KEY_FILE", &impossible);
        }
        let mut serving = start.spawn().unwrap();
        let mut said = String::new();
        let heard = lines_of(&mut serving);
        // A second signal would end it at once.
        let mut by_once = by;
        loop {
            match heard.recv_timeout(PATIENCE) {
                Ok(line) => said += &line,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    signal(&serving, Signal::SIGTERM);
                    panic!("{by:?} at {word}: it neither ends nor goes on after {said}");
                }
            }
            if said.contains(word)
                && let Some(by) = by_once.take()
            {
                signal(&serving, by);
            }
        }
        assert_eq!(serving.wait().unwrap().success(), succeeds, "{by:?} at {word}: {said}");
        assert!(said.contains(word) && !said.contains("Ctrl-C"), "{said}");
        assert!(cluster().join("PG_VERSION").is_file(), "{word}: it was being made");
        assert!(!cluster().join("postmaster.pid").exists(), "{by:?} at {word}");
    }
}

#[test]
fn a_start_that_waits_for_postgres_is_ended_at_once_by_a_second_signal() {
    let home = folder();
    let data_dir = home.path().join("my shop");
    fs::create_dir(&data_dir).unwrap();
    // What a start of the private Postgres waits for, and does not get as long as this lives.
    let another_start = fs::File::create(data_dir.join("postgres.lock")).unwrap();
    another_start.lock().unwrap();
    let mut serving = hoga(&["serve"], home.path())
        .env("HOGA_BIND", format!("127.0.0.1:{}", free_port()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let heard = lines_of(&mut serving);
    let mut said = String::new();
    let deadline = Instant::now() + PATIENCE;
    let mut hear_until = |word: &str| {
        while !said.contains(word) {
            assert!(Instant::now() < deadline, "no {word:?} in {said}");
            said += &heard.recv_timeout(PATIENCE).unwrap();
        }
    };
    hear_until("making a private Postgres");
    signal(&serving, Signal::SIGINT);
    hear_until("going down");
    let status = loop {
        if let Some(status) = serving.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            drop(another_start);
            panic!("it goes on after {said}");
        }
        // What comes right after the first counts as the same; people press again.
        signal(&serving, Signal::SIGINT);
        said.extend(heard.recv_timeout(Duration::from_millis(100)));
    };
    said.extend(heard.iter());
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("ended at once"), "{said}");
}

#[test]
fn what_is_signed_for_a_server_on_a_port_that_the_system_chose_counts_there() {
    let home = folder();
    let started = Started::on(home.path(), 0);
    let url = started.said.split_once("Hoga is running at ").unwrap().1.lines().next().unwrap();
    let run = |args: &[&str]| {
        let output = hoga(args, home.path()).env("HOGA_BIND", "127.0.0.1:0").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let token = run(&["token", "--user", "minji"]);
    let me =
        answer(&format!("curl --silent {url}/v1/me -H 'Authorization: Bearer {}'", token.trim()));
    assert_eq!(me["nickname"], "민지", "{me}");
    // The server is called by another name than it signs with.
    let bids = home.path().join("bids.csv");
    let columns =
        "auction,days,opening_bid_cents,final_price_cents,bid_seq,bid_time_days,bidder,bid_cents";
    fs::write(&bids, format!("{columns}\nlamp,3,100,100,1,1,x,500\n")).unwrap();
    let url = url.replace("127.0.0.1", "localhost");
    run(&["replay", bids.to_str().unwrap(), "--live", &url, "--live-seconds", "2"]);
}

/// In a directory that has nothing to do with it, and with nothing of ours in the environment.
fn typed(command: &str) -> Output {
    Command::new("sh")
        .args(["-c", command])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn answer(command: &str) -> Value {
    let output = typed(command);
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{command} answered {out}{err}"))
}

fn fetched(url: &str) -> String {
    let output = typed(&format!("curl --silent --show-error --fail --location '{url}'"));
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A folder that Postgres's own user can enter.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("hoga-first-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn the_bid_that_a_start_prints_is_accepted_on_every_start() {
    let (home, port) = (folder(), free_port());
    // The last start finds what a killed one left.
    for ended_by in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGTERM] {
        let started = Started::on(home.path(), port);
        let receipt = answer(&started.command("curl -X POST"));
        assert_eq!(receipt["outcome"], "leading", "{receipt}\n{}", started.said);
        let id = receipt["auction_id"].as_str().unwrap();
        let auction: Value =
            serde_json::from_str(&fetched(&format!("http://127.0.0.1:{port}/v1/auctions/{id}")))
                .unwrap();
        assert_eq!(auction["status"], "live", "{auction}");
        let now = wall_clock::now();
        let ends_at = Timestamp::parse(auction["ends_at"].as_str().unwrap()).unwrap();
        assert!(ends_at >= now.plus_s(600), "{auction}");
        started.end(ended_by);
    }
}

#[test]
fn everything_else_that_a_start_prints_works_as_it_is_printed() {
    let (home, port) = (folder(), free_port());
    let started = Started::on(home.path(), port);
    let said = &started.said;
    for step in
        ["making a private Postgres in", "bringing the schema up to date", "the demo market"]
    {
        assert!(said.contains(step), "{step:?} is not in {said}");
    }
    // The stream does not end by itself.
    let watch = started.command("curl -N");
    let watching = typed(&format!("{} --silent --max-time 5", watch.trim()));
    let told = String::from_utf8_lossy(&watching.stdout);
    assert!(told.contains("event: snapshot"), "{watch} told {told}");
    // A token for whoever is named, which counts.
    let token = typed(&started.command("HOGA_DATA_DIR="));
    let token = String::from_utf8(token.stdout).unwrap();
    let me = answer(&format!(
        "curl --silent http://127.0.0.1:{port}/v1/me -H 'Authorization: Bearer {}'",
        token.trim()
    ));
    assert_eq!(me["nickname"], "민지", "{me}");
    // Every address.
    let addresses = said.split_whitespace().filter(|word| word.starts_with("http://127.0.0.1"));
    let addresses: Vec<&str> =
        addresses.filter(|url| !url.ends_with("/bids") && !url.ends_with("/events")).collect();
    assert!(addresses.len() >= 3, "{addresses:?}");
    for address in &addresses {
        assert!(fetched(address).len() > 50, "{address}");
    }
    // The client and the redirect URI that it names can log in.
    let metadata = addresses.iter().find(|url| url.contains("oauth-authorization-server")).unwrap();
    let metadata: Value = serde_json::from_str(&fetched(metadata)).unwrap();
    assert!(said.contains("client hc_demo"), "{said}");
    for page in ["http://localhost:3000", "http://localhost:5173"] {
        let login = fetched(&format!(
            "{}?response_type=code&client_id=hc_demo&redirect_uri={page}/callback&state=x\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
            metadata["authorization_endpoint"].as_str().unwrap()
        ));
        assert!(login.contains("This is not Kakao."), "{login}");
    }
    // Ctrl-C ends it; and where nobody looks on nothing is coloured.
    let said = said.clone();
    let log = started.end(Signal::SIGINT);
    assert!(log.contains("going down"), "{log}");
    assert!(!log.contains('\u{1b}') && !said.contains('\u{1b}'), "{log}{said}");
}

#[test]
fn a_start_that_would_let_strangers_be_anybody_stops_and_names_the_switch() {
    let home = folder();
    for (name, value) in [
        ("HOGA_BIND", "0.0.0.0:0".to_owned()),
        ("HOGA_PUBLIC_URL", "https://auction.example.com".to_owned()),
    ] {
        // One that does not stop by itself is stopped, with another code.
        let mut limited = Command::new("timeout");
        limited.env_clear().args([
            &PATIENCE.as_secs().to_string(),
            env!("CARGO_BIN_EXE_hoga"),
            "serve",
        ]);
        let started = hoga(&[], home.path());
        for (name, value) in started.get_envs() {
            limited.envs(value.map(|value| (name, value)));
        }
        limited.env("HOGA_BIND", "127.0.0.1:0").env(name, &value).stdin(Stdio::null());
        let output = limited.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("HOGA_DEMO_LOGIN") && said.contains("anybody"), "{said}");
        assert!(!home.path().join("my shop").exists(), "nothing was made");
    }
}
