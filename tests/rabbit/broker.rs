//! A private RabbitMQ: a node, ports, folders and a port mapper of its own, killed when dropped.

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use hoga::{
    events::rabbitmq::{Broker as Address, Names, Servers},
    tls::{ClientTls, Verification},
};

/// Debian's programs, without the wrapper that wants its own user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
/// Starting takes seconds; a machine under load may need many.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Broker {
    folder: tempfile::TempDir,
    node: String,
    port: u16,
    dist_port: u16,
    epmd_port: u16,
    is_tls: bool,
    running: Mutex<Option<Running>>,
}

/// The node's process group ends with this pipe, also when the tests are killed.
struct Running {
    process: Child,
    _lifeline: ChildStdin,
}

static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());

impl Broker {
    /// One that nobody kills, for every test that runs at the same time; each has its own prefix.
    pub fn shared() -> Arc<Broker> {
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(broker) = shared.upgrade() {
            return broker;
        }
        let broker = Arc::new(Broker::start());
        *shared = Arc::downgrade(&broker);
        broker
    }

    pub fn start() -> Broker {
        Broker::start_with_tls("")
    }

    /// One that listens for TLS and for nothing else, with these options of it; without any, for
    /// everything else.
    pub fn start_with_tls(tls_options: &str) -> Broker {
        assert!(
            Path::new(PROGRAMS).join("rabbitmq-server").exists(),
            "RabbitMQ's program is not in {PROGRAMS}: run scripts/setup test"
        );
        let folder = tempfile::Builder::new().prefix("hoga-rabbit-").tempdir().expect("a folder");
        let [port, dist_port, epmd_port] = free_ports();
        let node = format!("hoga_test_{}_{port}@localhost", std::process::id());
        let running = Mutex::new(None);
        let is_tls = !tls_options.is_empty();
        if is_tls {
            let listeners = format!("listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{port}\n");
            let config = folder.path().join("rabbitmq.conf");
            std::fs::write(config, listeners + tls_options).expect("a file");
        }
        let broker = Broker { folder, node, port, dist_port, epmd_port, is_tls, running };
        broker.serve();
        broker
    }

    /// Starts the node, on what an earlier one left.
    pub fn serve(&self) {
        let mut process = self
            .command("/bin/sh")
            .arg("-c")
            .arg(format!(
                "exec 3<&0; {PROGRAMS}/rabbitmq-server </dev/null >>out 2>&1 & \
                 read _ <&3; kill -9 0"
            ))
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let lifeline = process.stdin.take().expect("a pipe");
        *self.running.lock().expect("not poisoned") =
            Some(Running { process, _lifeline: lifeline });
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "the broker does not start: {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kill -9` of the Erlang node and everything it started.
    pub fn kill(&self) {
        let running = self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let Some(Running { mut process, _lifeline }) = running else { return };
        let group = nix::unistd::Pid::from_raw(i32::try_from(process.id()).expect("a pid"));
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = process.wait();
        let killed = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            assert!(killed.elapsed() < PATIENCE, "the broker does not die");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn command(&self, program: &str) -> Command {
        use std::os::unix::process::CommandExt;
        let folder = self.folder.path();
        let mut command = Command::new(program);
        command
            .process_group(0)
            .env("HOME", folder)
            .env("RABBITMQ_NODENAME", &self.node)
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PID_FILE", folder.join("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("no-config"));
        if self.is_tls {
            command.env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"));
        } else {
            command
                .env("RABBITMQ_CONFIG_FILE", folder.join("no-config"))
                .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
                .env("RABBITMQ_NODE_PORT", self.port.to_string());
        }
        command
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        self.url_as("guest")
    }

    pub fn url_as(&self, password: &str) -> String {
        format!("amqp://guest:{password}@127.0.0.1:{}/%2f", self.port)
    }

    pub fn address(&self, prefix: &str) -> Address {
        let uri = self.url().parse().expect("a URL");
        let tls = ClientTls { verification: Verification::Nothing, identity: None };
        Address { servers: Servers::new(vec![uri], tls), names: Names::with_prefix(prefix) }
    }

    /// A connection of the test's own.
    pub async fn channel(&self) -> (lapin::Connection, lapin::Channel) {
        let properties = lapin::ConnectionProperties::default();
        let connection = lapin::Connection::connect(&self.url(), properties).await;
        let connection = connection.expect("connected");
        let channel = connection.create_channel().await.expect("a channel");
        (connection, channel)
    }

    fn said(&self) -> String {
        let out: PathBuf = self.folder.path().join("out");
        std::fs::read_to_string(out).unwrap_or_default()
    }
}

impl Drop for Broker {
    /// Also when a test fails: nothing stays behind.
    fn drop(&mut self) {
        self.kill();
        let erlang = "for epmd in /usr/lib/erlang/erts-*/bin/epmd; do $epmd -kill; done";
        let mut epmd = self.command("/bin/sh");
        let _ = epmd.arg("-c").arg(erlang).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    // All at once, so that they are different.
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}
