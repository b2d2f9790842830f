//! Debian's nginx with nchan, on a private port with a private configuration.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::Failed;

const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running nginx.
pub struct Nginx {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it, in the foreground, with one worker.
    pub fn start() -> Result<Nginx, Failed> {
        if !Path::new(MODULE).exists() {
            return Err(
                "nginx with nchan is not installed: run scripts/setup bench (Debian's nginx and \
                 libnginx-mod-nchan)"
                    .into(),
            );
        }
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, configured(folder.path(), address))?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&configuration)
            .args(["-e", "stderr"])
            .stdout(Stdio::null())
            .spawn()?;
        let nginx = Nginx { child, address, _folder: folder };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err("nginx does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }

    /// Its process id: it has no other process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<(), Failed> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As few things as it can do: no logs, no delays, one process.
fn configured(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "load_module {MODULE};
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 65536;
events {{ worker_connections 60000; use epoll; multi_accept on; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    nchan_shared_memory_size 256M;
    server {{
        listen {address} backlog=4096;
        location = /pub {{ nchan_publisher; nchan_channel_id $arg_id; nchan_message_buffer_length 16; }}
        location = /sub {{ nchan_subscriber eventsource; nchan_channel_id $arg_id;
            nchan_subscriber_first_message newest; nchan_eventsource_ping_interval 15; }}
    }}
}}
"
    )
}
