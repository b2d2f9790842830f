//! `hoga serve`: the exchange, until it is told to stop.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    pin::Pin,
    process::ExitCode,
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};

use super::{Failed, progress::Progress, setup::Database};
use crate::{
    app::{self, Application},
    config::{Config, DatabaseUrl},
    domain::time::Timestamp,
    embedded::{demo, lock::DataDirLock, postgres::Cluster},
};

/// Signals this soon after the first are the same wish: `timeout` and `make` send theirs to the
/// program and to its group.
const ONE_SIGNAL: Duration = Duration::from_millis(500);
/// The exit code, as a shell gives it to what Ctrl-C ended.
const ENDED_AT_ONCE: i32 = 130;

/// `hoga serve`
///
/// # Errors
/// What could not be started, in words that say what to do.
pub fn run(config: &Config) -> Result<ExitCode, Failed> {
    super::start_logging()?;
    let wrong = |error| Failed { code: 2, error: Box::new(error) };
    config.has_demo_login().map_err(wrong)?;
    // A port that the system chooses is nobody else's, and everything else names it.
    let chosen = (config.bind.port() == 0).then(|| app::listen(config)).transpose()?;
    let config = &match &chosen {
        Some(listener) => config.clone().listening_on(listener.local_addr()?),
        None => config.clone(),
    };
    let lock = config
        .is_embedded()
        .then(|| DataDirLock::acquire(&config.data_dir, &config.public_url))
        .transpose()?;
    let listener = chosen.map_or_else(|| app::listen(config), Ok)?;
    let progress = if config.is_embedded() { Progress::to_terminal() } else { Progress::to_log() };
    let outcome = actix::System::new().block_on(serve(config, listener, progress));
    drop(lock);
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Signals are taken before the private Postgres is started, and it is stopped on every way out but
/// that of whoever does not want to wait for it: a start that is ended, or fails, leaves nothing
/// running.
async fn serve(config: &Config, listener: TcpListener, progress: Progress) -> Result<(), Failed> {
    let mut stop: Stop = Box::pin(stop_signal()?);
    if config.is_embedded() {
        progress.step(postgres_step(&config.data_dir));
    }
    let opened = {
        let config = config.clone();
        let mut opening = tokio::task::spawn_blocking(move || Database::open(&config));
        tokio::select! {
            biased;
            opened = &mut opening => opened,
            () = &mut stop => {
                // Cut off half-way it would go on without anybody.
                progress.step(
                    "going down, once the private Postgres can be stopped (a signal once more ends \
                     it at once)",
                );
                stop = Box::pin(std::future::ready(()));
                unless_told_again(opening).await?
            }
        }
    };
    let database = opened??;
    app::expect_many_connections();
    let outcome = run_on(config, database.config.clone(), listener, progress, stop).await;
    let stopping = tokio::task::spawn_blocking(move || database.leave());
    let stopped = unless_told_again(stopping).await?;
    outcome?;
    Ok(stopped??)
}

/// Waits for the private Postgres on the way down, which may take minutes. A second signal ends the
/// process instead.
async fn unless_told_again<T>(work: impl Future<Output = T>) -> Result<T, Failed> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        again = told_again() => {
            again?;
            super::say_if_heard(
                "ended at once; the private Postgres may still run, and the next start finds it",
            );
            // On the way back the runtime would wait for the same.
            std::process::exit(ENDED_AT_ONCE)
        }
    }
}

async fn told_again() -> std::io::Result<()> {
    tokio::time::sleep(ONE_SIGNAL).await;
    stop_signal()?.await;
    Ok(())
}

fn postgres_step(data_dir: &Path) -> String {
    let place = absolute(data_dir).display().to_string();
    if Cluster::is_made(data_dir) {
        return format!("starting the private Postgres in {place}");
    }
    format!("making a private Postgres in {place}, once")
}

/// Ready once this process is told to stop; pinned, because every step of the start waits for it.
type Stop = Pin<Box<dyn Future<Output = ()>>>;

async fn run_on(
    config: &Config,
    database: DatabaseUrl,
    listener: TcpListener,
    progress: Progress,
    mut stop: Stop,
) -> Result<(), Failed> {
    progress.step("bringing the schema up to date and starting the exchange");
    let application = tokio::select! {
        biased;
        () = &mut stop => return Ok(()),
        built = Application::build(config, database, listener) => built?,
    };
    let said = tokio::select! {
        biased;
        () = &mut stop => None,
        said = make_ready(config, &application, &progress) => Some(said?),
    };
    drop(progress);
    match said {
        Some(said) => super::say_if_heard(&said),
        // It answers already: what was accepted is finished.
        None => stop = Box::pin(std::future::ready(())),
    }
    Ok(application.run_until(stop).await?)
}

/// What is said once it is ready.
async fn make_ready(
    config: &Config,
    application: &Application,
    progress: &Progress,
) -> Result<String, Failed> {
    let state = application.state.clone();
    let address = application.address;
    progress.step("opening and closing the auctions that became due");
    let caught_up = application.catch_up().await?;
    if caught_up > 0 {
        tracing::info!(caught_up, "opened and closed what became due in the meantime");
    }
    let public_url = &config.public_url;
    let mut said = format!("Hoga is ready at {public_url} (listening on {address}).");
    if config.is_embedded() && config.demo {
        progress.step("opening the demo market");
        let has_login = state.kakao.is_some() && config.kakao.is_none();
        let at = if has_login { demo::LogsInAt::StandIn } else { demo::LogsInAt::Kakao };
        let example = demo::prepare(&state.store, &state.exchange, state.bid_cap, at).await?;
        let demo = state.clone();
        state.tasks.keep("demo", move || {
            demo::keep_going(demo.store.clone(), demo.exchange.clone(), demo.bid_cap)
        });
        said = welcome(config, &example, has_login);
    }
    if config.lacks_public_url() {
        said.push_str(&format!(
            "\nOthers than this machine cannot reach {public_url}: set HOGA_PUBLIC_URL to the address \
             that they use."
        ));
    }
    Ok(said)
}

/// Ready on SIGTERM, on Ctrl-C, and when the terminal goes away.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Whoever started it under `nohup` wants it to outlive the terminal.
    let mut hangup = (!ignores_hangup()).then(|| signal(SignalKind::hangup())).transpose()?;
    Ok(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = hung_up => {}
        }
    })
}

/// Whether SIGHUP is ignored, as it is inherited from `nohup`; taking the signal would undo it.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is the first signal, and the lowest bit.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|m| m & 1 == 1)
}

/// For a newcomer. Every line that begins with a command works as it stands, in any shell and any
/// directory of this machine.
fn welcome(config: &Config, example: &demo::Example, has_login: bool) -> String {
    let url = &config.public_url;
    let demo::Example { auction: id, title, bidder, next_bid, ends_at } = example;
    let until = minute(*ends_at);
    let token = format!("{} token --user", command(config));
    let client = demo::DEMO_CLIENT;
    let log_in = if has_login {
        format!(
            "from a page of yours at http://localhost:3000 or :5173, as client {client} with
           the redirect URI /callback: {url}/.well-known/oauth-authorization-server"
        )
    } else if config.kakao.is_some() {
        format!("with Kakao: {url}/.well-known/oauth-authorization-server")
    } else {
        "nobody can (HOGA_DEMO_LOGIN); the tokens below work".to_owned()
    };
    format!(
        "
Hoga is running at {url}

  Bid on \"{title}\", live until {until}:

    curl -X POST {url}/v1/auctions/{id}/bids \\
      -H \"Authorization: Bearer $({token} {bidder})\" \\
      -H \"Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)\" \\
      -H 'Content-Type: application/json' -d '{{\"max_amount\": {next_bid}}}'

  Watch it live, in another terminal:

    curl -N {url}/v1/auctions/{id}/events

  Docs     {url}/docs
  Log in   {log_in}
  Tokens   for minji and junho, who bid, and sora, who sells:
           {token} minji
  Stop     Ctrl-C
"
    )
}

/// This program, with whatever it needs to find this exchange from elsewhere.
fn command(config: &Config) -> String {
    let program = std::env::current_exe()
        .map_or_else(|_| "hoga".to_owned(), |path| path.display().to_string());
    let mut set = vec![("HOGA_DATA_DIR", absolute(&config.data_dir))];
    if config.signing_key_file != config.data_dir.join("signing-key.pem") {
        set.push(("HOGA_SIGNING_KEY_FILE", absolute(&config.signing_key_file)));
    }
    if let Some(programs) = std::env::var_os("HOGA_POSTGRES_BIN_DIR") {
        set.push(("HOGA_POSTGRES_BIN_DIR", absolute(Path::new(&programs))));
    }
    if config.public_url != "http://127.0.0.1:8080" {
        set.push(("HOGA_PUBLIC_URL", PathBuf::from(&config.public_url)));
    }
    let set =
        set.iter().map(|(name, value)| format!("{name}={} ", quoted(&value.to_string_lossy())));
    format!("{}{}", set.collect::<String>(), quoted(&program))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-:@%+,=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// `2026-12-01 09:00 UTC`
fn minute(at: Timestamp) -> String {
    let text = at.to_string().replace('T', " ");
    format!("{} UTC", text.get(..16).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quoted("/home/me/hoga"), "/home/me/hoga");
        assert_eq!(quoted("/home/my shop"), "'/home/my shop'");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
