//! `hoga serve`: the exchange, until it is told to stop.

use std::{net::TcpListener, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};

use super::{Failed, setup::Database};
use crate::{
    app::{self, Application},
    config::Config,
    embedded::{demo, lock::DataDirLock},
    telemetry,
};

/// `hoga serve`
///
/// # Errors
/// What could not be started, in words that say what to do.
pub fn run(config: &Config) -> Result<ExitCode, Failed> {
    telemetry::init();
    let lock = config
        .is_embedded()
        .then(|| DataDirLock::acquire(&config.data_dir, &config.public_url))
        .transpose()?;
    let listener = app::listen(config)?;
    let database = Database::open(config)?;
    app::expect_many_connections();
    let outcome = actix::System::new().block_on(serve(config, database.config.clone(), listener));
    database.stop()?;
    drop(lock);
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn serve(
    config: &Config,
    database: tokio_postgres::Config,
    listener: TcpListener,
) -> Result<(), Failed> {
    let application = Application::build(config, database, listener).await?;
    let state = application.state.clone();
    let address = application.address;
    let stop = stop_signal()?;
    let is_demo = config.is_embedded() && config.demo;
    let public_url = config.public_url.clone();
    let caught_up = application.catch_up().await?;
    if caught_up > 0 {
        tracing::info!(caught_up, "opened and closed what became due in the meantime");
    }
    if config.is_embedded() && demo::register_client(&state.store).await? {
        state.clients.refresh(&state.store).await?;
    }
    if is_demo {
        let at =
            if config.kakao.is_some() { demo::LogsInAt::Kakao } else { demo::LogsInAt::StandIn };
        let example = demo::prepare(&state.store, &state.exchange, state.bid_cap, at).await?;
        actix::spawn(demo::keep_going(state.store.clone(), state.exchange.clone(), state.bid_cap));
        println!("{}", welcome(&public_url, &example));
    } else {
        println!(
            "Hoga is ready at {public_url} (listening on {address}); the API is at {public_url}/docs"
        );
    }
    Ok(application.run_until(stop).await?)
}

/// Ready on SIGTERM or Ctrl-C.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn welcome(url: &str, example: &demo::Example) -> String {
    let hoga = std::env::current_exe()
        .map_or_else(|_| "hoga".to_owned(), |path| path.display().to_string());
    let (id, title, bid) = (example.auction, &example.title, example.next_bid);
    let client = demo::DEMO_CLIENT;
    format!(
        "
  Hoga is running at {url}

  Watch:  curl -N {url}/v1/auctions/{id}/events
  Bid on {title:?}:

    curl -X POST {url}/v1/auctions/{id}/bids \\
      -H \"Authorization: Bearer $({hoga} token --user minji)\" \\
      -H \"Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)\" \\
      -H 'Content-Type: application/json' -d '{{\"max_amount\": {bid}}}'

  Browse: curl '{url}/v1/auctions?status=live&sort=ending_soon'
  API:    {url}/docs   (OpenAPI 3.1 at {url}/openapi.json)
  Log in: from a page of your own at http://localhost:3000 or http://localhost:5173, as client
          {client} with the redirect URI /callback; `{hoga} client add` registers others
  Users:  minji and junho bid, sora sells; `hoga token --user NAME` makes more
  Stop:   Ctrl-C
"
    )
}
