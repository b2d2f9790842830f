//! Hoga as a user's browser meets it: the real program on its embedded default, pages on another
//! origin, libraries that are not ours, and a real Chromium. The steps are in `login.mjs`,
//! `pages.mjs`, `streams.mjs`, `personal.mjs` and `cache.mjs`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A private Postgres is made first; a machine under load may need long.
const PATIENCE: Duration = Duration::from_secs(120);

/// `hoga serve` in a directory of its own; told to stop when dropped, also by a failing test.
struct Hoga {
    folder: tempfile::TempDir,
    port: u16,
    serving: Option<Child>,
}

impl Hoga {
    fn new() -> Hoga {
        let folder = tempfile::Builder::new().prefix("hoga-browser-").tempdir().unwrap();
        Hoga { folder, port: free_port(), serving: None }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hoga"));
        command
            .args(args)
            .env("HOGA_DATA_DIR", self.folder.path().join("data"))
            .env("HOGA_BIND", format!("127.0.0.1:{}", self.port))
            .env("HOGA_LOG", "warn");
        command
    }

    /// Registers a frontend; its publishable id.
    fn register(&self, origin: &str) -> String {
        let redirect_uri = format!("{origin}/callback");
        let added = self
            .command(&["client", "add", "Browser test"])
            .args(["--redirect-uri", &redirect_uri, "--origin", origin])
            .output()
            .unwrap();
        let said = String::from_utf8(added.stdout).unwrap();
        assert!(added.status.success(), "{said}{}", String::from_utf8_lossy(&added.stderr));
        let id = said.split_whitespace().find(|word| word.starts_with("hc_"));
        id.unwrap_or_else(|| panic!("no id in {said:?}")).to_owned()
    }

    fn serve(&mut self) {
        self.serving = Some(self.command(&["serve"]).stdout(Stdio::null()).spawn().unwrap());
        let started = Instant::now();
        while !self.is_ready() {
            assert!(started.elapsed() < PATIENCE, "hoga is not ready after {PATIENCE:?}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// An access token for a user.
    fn token(&self, user: &str) -> String {
        let made = self.command(&["token", "--user", user]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    /// Ends the server by a signal, and starts it again where it was.
    fn restart(&mut self, signal: nix::sys::signal::Signal) {
        let mut serving = self.serving.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(serving.id().cast_signed());
        nix::sys::signal::kill(pid, signal).unwrap();
        serving.wait().unwrap();
        self.serve();
    }

    fn is_ready(&self) -> bool {
        let answer = status_of(self.port, "/readyz");
        answer.is_some_and(|status| status == 200)
    }
}

impl Drop for Hoga {
    fn drop(&mut self) {
        let Some(mut serving) = self.serving.take() else { return };
        let pid = nix::unistd::Pid::from_raw(serving.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = serving.wait();
    }
}

/// The status of a `GET`, if there is an answer.
fn status_of(port: u16, path: &str) -> Option<u16> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn program(names: &[&str]) -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{} is not installed: run scripts/setup test", names[0]))
}

/// Node on one of the scripts here; its packages must be there.
fn node(script: &str, hoga: &Hoga) -> Command {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    assert!(
        here.join("node_modules/eventsource").is_dir(),
        "the browser tests' packages are not installed: run scripts/setup test"
    );
    let mut node = Command::new(program(&["node", "nodejs"]));
    node.arg(here.join(script))
        .env("HOGA_URL", hoga.url())
        .env("CHROMIUM", program(&["chromium", "chromium-browser", "google-chrome"]));
    node
}

#[test]
fn people_log_in_from_a_frontend_on_another_origin() {
    let frontend_port = free_port();
    let mut hoga = Hoga::new();
    let client = hoga.register(&format!("http://localhost:{frontend_port}"));
    hoga.serve();
    let driven = node("login.mjs", &hoga)
        .env("CLIENT_ID", client)
        .env("FRONTEND_PORT", frontend_port.to_string())
        .output()
        .unwrap();
    let (said, wrong) =
        (String::from_utf8_lossy(&driven.stdout), String::from_utf8_lossy(&driven.stderr));
    assert!(driven.status.success(), "{said}\n{wrong}");
    assert!(said.contains("every browser test passed"), "{said}");
}

#[test]
fn the_pages_of_the_exchange_keep_their_own_policy_and_can_be_read_on_a_phone() {
    let mut hoga = Hoga::new();
    hoga.serve();
    let driven = node("pages.mjs", &hoga).output().unwrap();
    let (said, wrong) =
        (String::from_utf8_lossy(&driven.stdout), String::from_utf8_lossy(&driven.stderr));
    assert!(driven.status.success(), "{said}\n{wrong}");
    assert!(said.contains("every page is as it should be"), "{said}");
}

#[test]
fn a_browsers_cache_gives_nobody_what_another_has_read() {
    let mut hoga = Hoga::new();
    hoga.serve();
    let driven = node("cache.mjs", &hoga)
        .env("SELLER", hoga.token("sora"))
        .env("BIDDER", hoga.token("minji"))
        .output()
        .unwrap();
    let (said, wrong) =
        (String::from_utf8_lossy(&driven.stdout), String::from_utf8_lossy(&driven.stderr));
    assert!(driven.status.success(), "{said}\n{wrong}");
    assert!(said.contains("nobody saw what another had read"), "{said}");
}

#[test]
fn event_sources_resume_after_the_server_was_killed_or_stopped() {
    drive_with_restarts("streams.mjs", "every stream went on");
}

#[test]
fn notifications_go_on_by_the_code_of_the_documentation_as_it_stands_there() {
    drive_with_restarts("personal.mjs", "every notification was told once");
}

/// The script asks for a restart by a line, `restart SIGKILL`, and hears a line when it is done.
fn drive_with_restarts(name: &str, success: &str) {
    let mut hoga = Hoga::new();
    hoga.serve();
    let mut script = node(name, &hoga)
        .env("SELLER", hoga.token("sora"))
        .env("BIDDERS", format!("{},{}", hoga.token("minji"), hoga.token("junho")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut orders = script.stdin.take().unwrap();
    let mut said = String::new();
    for line in BufReader::new(script.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(signal) = line.strip_prefix("restart ") {
            hoga.restart(signal.parse().unwrap());
            writeln!(orders, "restarted").unwrap();
        }
        said.push_str(&line);
        said.push('\n');
    }
    let mut wrong = String::new();
    script.stderr.take().unwrap().read_to_string(&mut wrong).unwrap();
    assert!(script.wait().unwrap().success(), "{said}\n{wrong}");
    assert!(said.contains(success), "{said}");
}
