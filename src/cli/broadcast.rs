//! `hoga broadcast`: streams alone, until it is told to stop.

use std::{net::TcpListener, process::ExitCode};

use super::{Failed, serve::stop_signal, setup::Database};
use crate::{
    app::{self, Application, StartError},
    config::{Config, DatabaseUrl},
    live::FOLLOWED_EVERY,
};

/// There is no exchange to tell of.
#[derive(Debug, thiserror::Error)]
#[error(
    "no `hoga serve` runs on {data_dir}; start it first, or set HOGA_DATABASE_URL to the database of an exchange"
)]
struct NoExchange {
    data_dir: String,
}

/// `hoga broadcast`
///
/// # Errors
/// What could not be started, in words that say what to do.
pub fn run(config: &Config) -> Result<ExitCode, Failed> {
    super::start_logging()?;
    let listener = app::listen(config)?;
    let database = Database::open(config)?;
    app::expect_many_connections();
    if !database.is_kept_by_another() {
        database.leave()?;
        return Err(NoExchange { data_dir: config.data_dir.display().to_string() }.into());
    }
    let outcome =
        actix::System::new().block_on(broadcast(config, database.config.clone(), listener));
    database.leave()?;
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn broadcast(
    config: &Config,
    database: DatabaseUrl,
    listener: TcpListener,
) -> Result<(), Failed> {
    let application = Application::build_broadcaster(config, database, listener).await;
    let application = application.map_err(|error| {
        let is_environment = matches!(error, StartError::Config(_));
        Failed { code: if is_environment { 2 } else { 1 }, error: Box::new(error) }
    })?;
    let stop = stop_signal()?;
    let address = application.address;
    if config.amqp_url.is_some() {
        let said = "and hear of events from RabbitMQ.";
        super::say_if_heard(&format!("Hoga's streams are ready on {address}, {said}"));
        return Ok(application.run_until(stop).await?);
    }
    super::say_if_heard(&format!(
        "Hoga's streams are ready on {address}. No bus is configured (HOGA_AMQP_URL): following the log in \
         Postgres, so that an event is told up to {} ms and two queries after its commit.",
        FOLLOWED_EVERY.as_millis()
    ));
    Ok(application.run_until(stop).await?)
}
