//! A broadcaster beside a server: `hoga broadcast` in this process, on a thread of its own.

use std::{net::SocketAddr, sync::mpsc, thread::JoinHandle};

use hoga::{
    app::{self, Application},
    config::Config,
    http::State,
};
use tokio::sync::oneshot;

use super::callers::{Anonymous, Client};

/// A running broadcaster; stopped gracefully when dropped.
pub struct Broadcaster {
    address: SocketAddr,
    pub state: State,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broadcaster {
    /// On the database and with the keys of a server that has been started.
    pub fn beside(config: &Config, database: &tokio_postgres::Config) -> Broadcaster {
        let mut config = config.clone();
        config.bind = SocketAddr::from(([127, 0, 0, 1], 0));
        let database = database.clone();
        let (tell, hear) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let listener = app::listen(&config).expect("a port");
                let application = Application::build_broadcaster(&config, database, listener).await;
                let application = application.expect("it starts");
                let known = (application.address, application.state.clone());
                tell.send(known).expect("the test waits");
                let stop = async {
                    let _ = stopped.await;
                };
                application.run_until(stop).await.expect("it goes down");
            });
        });
        let (address, state) = hear.recv().expect("the broadcaster starts");
        Broadcaster { address, state, stop: Some(stop), thread: Some(thread) }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn anonymous(&self) -> Anonymous {
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build();
        let http = http.expect("a client");
        Anonymous { client: Client::new(http, self.base_url(), None) }
    }
}

impl Drop for Broadcaster {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("it ran").expect("the broadcaster ends without a panic");
        }
    }
}
