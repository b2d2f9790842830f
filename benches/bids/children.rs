//! Servers that are measured, each a process of its own.

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const START_TIMEOUT: Duration = Duration::from_secs(300);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// A server that is ready.
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a server and waits until it is ready. `HOGA_BIND` is set to a free port.
    pub fn start(mut command: Command) -> Result<Server, Box<dyn Error>> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        command.env("HOGA_BIND", address.to_string()).env("HOGA_LOG", "error");
        let mut server = Server { child: command.stdout(Stdio::null()).spawn()?, address };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<(), Box<dyn Error>> {
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
    #[allow(dead_code, reason = "the memory benchmark asks it nothing")]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it go down in order.
    pub fn stop(mut self) -> Result<(), Box<dyn Error>> {
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

/// The product, as cargo built it for this benchmark.
pub fn hoga() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hoga"));
    command.arg("serve");
    command
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
