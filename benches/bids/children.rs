//! The servers that are measured, each a process of its own.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Args, Failed, plan::Subject, stage::Stage};

const START_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// A server that is ready.
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts whoever answers for a subject, and waits until it is ready.
    pub fn start(
        stage: &Stage,
        database: &str,
        subject: Subject,
        args: &Args,
    ) -> Result<Server, Failed> {
        let mut command = match subject {
            Subject::A | Subject::B | Subject::C => hoga(),
            Subject::D => rival("rowlock", args.pool)?,
            Subject::E => rival("plpgsql", args.pool)?,
            Subject::F => rival("ceiling", args.pool)?,
        };
        if args.workers > 0 {
            command.env("HOGA_HTTP_WORKERS", args.workers.to_string());
        }
        Server::spawn(command, stage, database)
    }

    fn spawn(mut command: Command, stage: &Stage, database: &str) -> Result<Server, Failed> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        command.envs(stage.environment(database, address)).env("HOGA_LOG", "warn");
        command.stdout(std::process::Stdio::null());
        let mut server = Server { child: command.spawn()?, address };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<(), Failed> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !is_ready(self.address) {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended before it was ready: {status}").into());
            }
            if Instant::now() > deadline {
                return Err("the server was not ready in time".into());
            }
            std::thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it go down in order.
    pub fn stop(mut self) -> Result<(), Failed> {
        kill(Pid::from_raw(i32::try_from(self.pid())?), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server failed: {status}").into()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to do for one that was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hoga() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hoga"));
    command.arg("serve");
    command
}

fn rival(name: &str, pool: usize) -> Result<Command, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--serve", name, "--pool", &pool.to_string()]);
    Ok(command)
}

/// Opens every auction of a database that is due, through the exchange itself.
pub fn open_auctions(stage: &Stage, database: &str) -> Result<(), Failed> {
    Server::spawn(hoga(), stage, database)?.stop()
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(answer.ends_with(b"200"))
    };
    ask().unwrap_or(false)
}
