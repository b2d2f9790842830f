//! Logs and metrics: what those who run the exchange see.
//!
//! Must never carry a ceiling, a token or personal data: whoever logs names ids, and a metric has
//! no label that a user can choose.

use std::{env::VarError, io::IsTerminal, sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::ConfigError;
use crate::tasks::Tasks;

/// Starts logging: `HOGA_LOG` says how much (`info` by default, or filters such as
/// `hoga=debug`), `HOGA_LOG_FORMAT=json` how. A second call changes nothing.
///
/// # Errors
/// When one of them cannot be used.
pub fn init() -> Result<(), ConfigError> {
    let filter = filter(set("HOGA_LOG")?)?;
    let is_json = is_json(set("HOGA_LOG_FORMAT")?.as_deref())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(has_colours(&std::io::stderr()))
        .with_writer(std::io::stderr);
    let outcome = if is_json { builder.json().try_init() } else { builder.try_init() };
    if outcome.is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(())
}

/// An empty variable counts as one that is not there.
fn set(variable: &'static str) -> Result<Option<String>, ConfigError> {
    match std::env::var(variable) {
        Ok(value) => Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(ConfigError { variable, problem: "must be UTF-8".into() })
        }
    }
}

fn is_json(format: Option<&str>) -> Result<bool, ConfigError> {
    match format {
        None | Some("text") => Ok(false),
        Some("json") => Ok(true),
        Some(_) => {
            Err(ConfigError { variable: "HOGA_LOG_FORMAT", problem: "must be json or text".into() })
        }
    }
}

/// What is logged, as the operator wants it. What RabbitMQ's client has to say stands in our own line
/// about it, unless it is asked for.
fn filters(wanted: Option<String>) -> String {
    let wanted = wanted.unwrap_or_else(|| {
        "info,actix_server=warn,refinery_core=warn,tokio_postgres=warn".to_owned()
    });
    if wanted.contains("lapin") { wanted } else { format!("{wanted},lapin=off") }
}

fn filter(wanted: Option<String>) -> Result<EnvFilter, ConfigError> {
    EnvFilter::try_new(filters(wanted)).map_err(|error| ConfigError {
        variable: "HOGA_LOG",
        problem: format!("must be filters such as info or hoga=debug: {error}"),
    })
}

/// Where people look on; not in files and pipes, nor where `NO_COLOR` says so (no-color.org).
fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Seconds, for durations from a fast commit to a slow one.
const SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Commands in a batch.
const COMMANDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];
/// How often the recorder tidies up; without it histograms grow.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts counting, once in a process; must be called inside an actix system.
pub fn count(tasks: &Tasks) {
    let handle = RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_commands".into()), COMMANDS)
            });
        builder.and_then(PrometheusBuilder::install_recorder).ok()
    });
    if let Some(handle) = handle.clone() {
        describe();
        tasks.keep("metrics", move || {
            let handle = handle.clone();
            async move {
                let mut every = tokio::time::interval(UPKEEP_EVERY);
                loop {
                    every.tick().await;
                    handle.run_upkeep();
                }
            }
        });
    }
}

/// Everything that was counted, as Prometheus reads it.
pub fn rendered() -> String {
    RECORDER.get().and_then(Option::as_ref).map(PrometheusHandle::render).unwrap_or_default()
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("hoga_commands_total", "Commands by what became of them");
    describe_counter!("hoga_batches_total", "Transactions of the lanes by what became of them");
    describe_counter!("hoga_http_answers_total", "Answers by class of status");
    describe_counter!("hoga_logins_total", "Steps of logins by what became of them");
    describe_counter!("hoga_grants_total", "Codes and refresh tokens by what became of them");
    describe_histogram!("hoga_batch_commands", "Commands in a transaction");
    describe_histogram!("hoga_batch_seconds", "From BEGIN to the answer to COMMIT");
    describe_gauge!("hoga_lanes_connected", "Lanes that have their connection");
    describe_gauge!("hoga_auctions_loaded", "Auctions in memory");
    describe_gauge!("hoga_logs_set_aside", "Logs that cannot be replayed");
    describe_gauge!("hoga_viewers", "Open streams");
    describe_counter!(
        "hoga_tasks_restarted_total",
        "Tasks that died and were started again, by name"
    );
    describe_gauge!("hoga_outbox_commits", "Commits whose events wait to be published");
    describe_gauge!("hoga_outbox_events", "Events that wait to be published");
    describe_gauge!("hoga_outbox_oldest_seconds", "How long the oldest of them waits");
    describe_gauge!("hoga_bus_up", "1 when the bus takes and brings events");
    describe_counter!("hoga_bus_lost_total", "Events that the bus did not bring to the streams");
    describe_counter!("hoga_bus_late_total", "Events that the bus brought to the streams late");
    describe_counter!("hoga_relay_published_total", "Events given to the bus");
    describe_counter!("hoga_relay_confirmed_total", "Events that are safe with the bus");
    describe_counter!("hoga_relay_returned_total", "Messages that no queue took");
    describe_counter!("hoga_relay_retried_total", "Events that have to be published again");
    describe_counter!("hoga_bus_dead_letters_total", "Events that a consumer could not take");
    describe_counter!("hoga_kakao_unlink_attempts_total", "Attempts to unlink by outcome");
    describe_counter!("hoga_kakao_unlinks_given_up_total", "Unlinks given up here since the start");
    describe_gauge!("hoga_kakao_unlinks_waiting", "Unlinks that are still to do");
    describe_gauge!("hoga_kakao_unlinks_given_up", "Unlinks that wait for an operator");
    describe_gauge!(
        "hoga_webhooks_oldest_seconds",
        "Age of the oldest event that a webhook is told next"
    );
    describe_counter!("hoga_webhooks_attempts_total", "Attempts to tell webhooks by outcome");
    describe_counter!("hoga_webhooks_given_up_total", "Events that a webhook was not told");
    describe_counter!("hoga_webhooks_skipped_total", "Events not kept for webhooks behind too far");
    describe_counter!("hoga_webhooks_disabled_total", "Webhooks that were disabled by themselves");
    describe_gauge!("hoga_webhooks_enabled", "Webhooks that are told of events");
    describe_gauge!("hoga_webhooks_failing", "Those of them to which nothing arrives");
    describe_gauge!("hoga_webhooks_waiting", "Events that wait to be told to webhooks");
    describe_counter!("hoga_push_noted_total", "Pushes noted for a browser each");
    describe_counter!("hoga_push_attempts_total", "Attempts to push by outcome");
    describe_counter!("hoga_push_dropped_total", "Pushes that are not sent any more by reason");
    describe_histogram!("hoga_push_seconds", "From an attempt to push to its answer");
    describe_gauge!("hoga_push_subscriptions", "Browsers that are subscribed");
    describe_gauge!("hoga_push_waiting", "Pushes that wait, up to 100,000");
    describe_gauge!("hoga_ready", "1 when /readyz says yes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_client_is_silent_unless_it_is_asked_for() {
        assert!(filters(None).ends_with(",lapin=off"));
        assert_eq!(filters(Some("info".to_owned())), "info,lapin=off");
        assert_eq!(filters(Some("info,lapin=warn".to_owned())), "info,lapin=warn");
    }

    #[test]
    fn what_is_to_be_logged_and_how_is_said_in_words_that_are_known() {
        let filtered = |wanted: &str| filter(Some(wanted.to_owned())).map(drop);
        assert_eq!(filtered("warn,hoga=debug"), Ok(()));
        for wrong in ["=nonsense=", "hoga=loud"] {
            assert_eq!(filtered(wrong).expect_err(wrong).variable, "HOGA_LOG");
        }
        assert_eq!(is_json(None), Ok(false));
        assert_eq!(is_json(Some("json")), Ok(true));
        assert_eq!(is_json(Some("xml")).expect_err("xml").variable, "HOGA_LOG_FORMAT");
    }
}
