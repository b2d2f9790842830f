//! Logs: to standard error, as text or as JSON.
//!
//! Must never carry a ceiling, a token or personal data: whoever logs names ids.

use tracing_subscriber::EnvFilter;

/// Starts logging: `HOGA_LOG` says how much (`info` by default, or filters such as
/// `hoga=debug`), `HOGA_LOG_FORMAT=json` how. A second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("HOGA_LOG").unwrap_or_else(|_| {
        EnvFilter::new("info,actix_server=warn,refinery_core=warn,tokio_postgres=warn")
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let is_json = std::env::var("HOGA_LOG_FORMAT").is_ok_and(|format| format == "json");
    let outcome = if is_json { builder.json().try_init() } else { builder.try_init() };
    if outcome.is_err() {
        tracing::debug!("logging was started before");
    }
}
