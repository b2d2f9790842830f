//! Connections to Postgres and RabbitMQ as production has them: over TLS alone, with clients'
//! certificates, behind a pooler, to several hosts.

mod certificates;
mod pooler;
mod postgres;
mod rabbitmq;

use std::{
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

/// Starting takes a moment; a machine under load may need many.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of somebody else's, gone when dropped, and with the tests when those are killed.
struct Service {
    address: (String, u16),
    process: Child,
    lifeline: Option<ChildStdin>,
}

impl Service {
    /// Runs a line of shell as somebody who is not root, and waits until it listens there.
    fn start(line: &str, address: &str, port: u16) -> Service {
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(format!(
                "exec 3<&0; {line} </dev/null >/dev/null 2>&1 & \
                 trap '' QUIT; read _ <&3; kill -QUIT 0; kill -TERM 0"
            ))
            .process_group(0)
            .stdin(Stdio::piped());
        if let Some(user) = certificates::unprivileged() {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let mut process = command.spawn().unwrap();
        let lifeline = process.stdin.take();
        let service = Service { address: (address.to_owned(), port), process, lifeline };
        let started = Instant::now();
        while !service.listens() {
            assert!(started.elapsed() < PATIENCE, "it does not start: {line}");
            std::thread::sleep(Duration::from_millis(20));
        }
        service
    }

    fn listens(&self) -> bool {
        TcpStream::connect((self.address.0.as_str(), self.address.1)).is_ok()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The shell ends its children: Postgres at once by the one signal, PgBouncer by the other.
        drop(self.lifeline.take());
        let _ = self.process.wait();
        let ended = Instant::now();
        while self.listens() && ended.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs the program with these variables; its exit code and what it said on its errors.
fn hoga(args: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hoga"))
        .args(args)
        .env("HOGA_DATA_DIR", folder.path())
        .env("HOGA_BIND", "127.0.0.1:0")
        .env("HOGA_LOG", "off")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
