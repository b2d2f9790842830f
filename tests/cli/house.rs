//! A data directory of its own with the program that works on it, and a server when one is wanted.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

const WAIT_MAX: Duration = Duration::from_secs(120);

pub struct House {
    root: TempDir,
    port: u16,
    server: Option<Child>,
}

/// What a run of the program said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl House {
    pub fn new() -> House {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        House { root, port, server: None }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn data_dir(&self) -> PathBuf {
        self.root.path().join(".hoga")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hoga"));
        command
            .args(args)
            .env_remove("HOGA_DATABASE_URL")
            .env_remove("HOGA_SIGNING_KEY_FILE")
            .env_remove("HOGA_PUBLIC_URL")
            .env("HOGA_DATA_DIR", self.data_dir())
            .env("HOGA_BIND", format!("127.0.0.1:{}", self.port))
            .env("HOGA_DEMO", "off")
            .stdin(Stdio::null());
        command
    }

    pub fn hoga(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// With other variables than the server's.
    pub fn hoga_with(&self, variables: &[(&str, &Path)], args: &[&str]) -> Said {
        self.command(args).envs(variables.iter().copied()).output().unwrap().into()
    }

    /// With a standard output that nobody reads, as behind `| head` once that has what it wanted.
    pub fn hoga_unheard(&self, args: &[&str]) -> Said {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = self.command(args);
        command.stdout(writer).stderr(Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap().into()
    }

    pub fn hoga_reading(&self, input: &[u8], args: &[&str]) -> Said {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap().into()
    }

    pub fn serve(&mut self) {
        let mut command = self.command(&["serve"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap());
        wait_until("the server is ready", || self.try_get("/readyz").is_some_and(|a| a.0 == 200));
    }

    pub fn get(&self, path: &str) -> String {
        let (status, body) = self.try_get(path).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let (head, body) = self.answer(path, "")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body))
    }

    /// Head and body of what is answered to a `GET` with this line in its head.
    fn answer(&self, path: &str, header: &str) -> Option<(String, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n{header}\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.to_owned(), body.to_owned()))
    }

    pub fn status_with_token(&self, path: &str, token: &str) -> u16 {
        let header = format!("Authorization: Bearer {token}\r\n");
        let (head, _) = self.answer(path, &header).unwrap();
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Whether a page of this origin may read the answer.
    pub fn allows_origin(&self, path: &str, origin: &str) -> bool {
        let (head, _) = self.answer(path, &format!("Origin: {origin}\r\n")).unwrap();
        head.to_ascii_lowercase().contains(&format!("access-control-allow-origin: {origin}"))
    }

    pub fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(path)).unwrap()
    }
}

impl Drop for House {
    /// The server stops its Postgres when it is told to stop.
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = Pid::from_raw(i32::try_from(server.id()).unwrap());
            let _ = kill(pid, Signal::SIGTERM);
            let _ = server.wait();
        }
        let elsewhere = fs::read_to_string(self.data_dir().join("postgres-is-elsewhere"));
        if let Some(home) = elsewhere.ok().as_deref().and_then(|text| text.lines().next()) {
            let _ = fs::remove_dir_all(home);
        }
    }
}

pub fn wait_until(what: &str, mut fact: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !fact() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// A file of recorded data; see `tests/data/README.md`.
pub fn recorded(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}
