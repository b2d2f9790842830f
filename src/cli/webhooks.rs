//! `hoga webhook`: where clients are told of events, from the machine that runs the exchange.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::{Failed, setup::Database};
use crate::{
    app,
    config::Config,
    domain::time::Timestamp,
    store::{
        DeliveryRow, Store, WEBHOOKS_PER_CLIENT_MAX, WebhookAdded, WebhookChanges, WebhookRow,
        first_id_of,
    },
    wall_clock,
    webhooks::{Details, OVERLAP_S, OVERLAP_S_MAX, WebhookFault, Webhooks, signing::SigningSecret},
};

/// Deliveries that are shown.
const SHOWN_MAX: i64 = 20;
/// Deliveries that are told again in one transaction.
const REPLAYED_AT_ONCE_MAX: i64 = 1_000;

/// What to do with the webhooks.
#[derive(Debug, Args)]
pub struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
}

/// One webhook.
#[derive(Debug, Args)]
struct Which {
    /// The client, such as hc_demo
    client: String,
    /// The webhook's id
    id: Uuid,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    /// List a client's webhooks: id, state and origin, the oldest first
    List {
        /// Such as hc_demo
        client: String,
    },
    /// Make a webhook for a client, and print its id and, this once, its secret
    Add {
        /// Such as hc_demo
        client: String,
        /// Where messages are posted to, such as https://shop.example.com/hoga
        url: String,
        /// Such as bid.placed, auction.* or *, which it is when left out; can be given several times
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
        /// For people
        #[arg(long)]
        description: Option<String>,
    },
    /// Show a webhook and its newest deliveries
    Show(Which),
    /// Have a webhook told nothing; what waits for it is kept for some days
    Disable(Which),
    /// Have a disabled webhook told again, and what waits for it at once
    Enable(Which),
    /// Remove a webhook, and what was told to it
    Remove(Which),
    /// Print a new secret; the old one signs too for a while
    Secret {
        #[command(flatten)]
        which: Which,
        /// For how long it does, in seconds; 0 where somebody else may have it
        #[arg(long, value_name = "SECONDS", default_value_t = OVERLAP_S,
            value_parser = clap::value_parser!(u32).range(0..=i64::from(OVERLAP_S_MAX)))]
        overlap_s: u32,
    },
    /// Send a message of type webhook.test
    Test(Which),
    /// Tell again what was given up since a time
    Replay {
        #[command(flatten)]
        which: Which,
        /// Such as 2026-12-01T00:00:00Z
        #[arg(long, value_parser = read_time)]
        since: Timestamp,
        /// What arrived, too
        #[arg(long)]
        delivered: bool,
    },
}

fn read_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "must be a time, such as 2026-12-01T00:00:00Z".to_owned())
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Its details cannot stand.
    #[error("the webhook cannot stand so: {}", told(.0))]
    Faults(Vec<WebhookFault>),
    /// Not one of them.
    #[error("there is no client {0}; see `hoga client list`")]
    NoClient(String),
    /// Not one of the client's.
    #[error("client {client} has no webhook {id}; see `hoga webhook list {client}`")]
    NotFound {
        /// Whose it would be.
        client: String,
        /// Which.
        id: Uuid,
    },
    /// No room.
    #[error("a client has up to {WEBHOOKS_PER_CLIENT_MAX} webhooks, and there is no room for more")]
    TooMany,
}

fn told(faults: &[WebhookFault]) -> String {
    faults.iter().map(WebhookFault::to_string).collect::<Vec<_>>().join("; ")
}

/// `hoga webhook`
///
/// # Errors
/// When the database cannot be reached, there is no such webhook, or it cannot stand so.
pub fn run(config: &Config, args: WebhookArgs) -> Result<ExitCode, Failed> {
    let database = Database::open(config)?;
    let outcome = Store::new(database.config.clone()).map_err(Failed::from).and_then(|store| {
        actix::System::new().block_on(async {
            store.migrate().await?;
            let webhooks = app::webhooks(config, &store)?;
            carry_out(&store, &webhooks, args.command).await
        })
    });
    database.leave()?;
    super::say(&outcome?)?;
    Ok(ExitCode::SUCCESS)
}

/// Does it, and says what was done. A running server hears of it within a second.
async fn carry_out(
    store: &Store,
    webhooks: &Webhooks,
    command: WebhookCommand,
) -> Result<String, Failed> {
    match command {
        WebhookCommand::List { client } => list(store, client).await,
        WebhookCommand::Add { client, url, types, description } => {
            let types = if types.is_empty() { None } else { Some(types) };
            let description = Some(description);
            let details = Details { url: Some(url), description, types, is_disabled: None };
            add(store, webhooks, client, details).await
        }
        WebhookCommand::Show(which) => show(store, &which).await,
        WebhookCommand::Disable(which) => switch(store, &which, true).await,
        WebhookCommand::Enable(which) => switch(store, &which, false).await,
        WebhookCommand::Remove(which) => {
            stored(store, &which).await?;
            store.remove_webhook(&which.client, which.id, wall_clock::now()).await?;
            Ok(format!("{} is removed\n", which.id))
        }
        WebhookCommand::Secret { which, overlap_s } => {
            stored(store, &which).await?;
            let secret = SigningSecret::random();
            let old_until = (overlap_s > 0).then(|| wall_clock::now().plus_s(i64::from(overlap_s)));
            let (client, id) = (&which.client, which.id);
            store.rotate_webhook_secret(client, id, secret.bytes(), old_until).await?;
            Ok(format!("{}\n", secret.shown()))
        }
        WebhookCommand::Test(which) => {
            let row = stored(store, &which).await?;
            webhooks.test(row.id, wall_clock::now()).await?;
            Ok("a test will be sent; `hoga webhook show` says what became of it\n".to_owned())
        }
        WebhookCommand::Replay { which, since, delivered } => {
            replay(store, &which, since, delivered).await
        }
    }
}

async fn stored(store: &Store, which: &Which) -> Result<WebhookRow, Failed> {
    let (client, id) = (which.client.clone(), which.id);
    let row = store.webhook(&client, id).await?;
    Ok(row.ok_or(WebhookError::NotFound { client, id })?)
}

async fn list(store: &Store, client: String) -> Result<String, Failed> {
    if store.client(&client).await?.is_none() {
        return Err(WebhookError::NoClient(client).into());
    }
    let rows = store.webhooks(&client, None, WEBHOOKS_PER_CLIENT_MAX).await?;
    Ok(rows.iter().map(line).collect())
}

async fn add(
    store: &Store,
    webhooks: &Webhooks,
    client: String,
    details: Details,
) -> Result<String, Failed> {
    let made = details.webhook(&client, webhooks.sender(), wall_clock::now()).await;
    let (new, secret) = made.map_err(WebhookError::Faults)?;
    match store.add_webhook(&new).await? {
        WebhookAdded::Done => Ok(format!("{}\n{}\n", new.id, secret.shown())),
        WebhookAdded::NoClient => Err(WebhookError::NoClient(client).into()),
        WebhookAdded::Full => Err(WebhookError::TooMany.into()),
    }
}

async fn switch(store: &Store, which: &Which, is_disabled: bool) -> Result<String, Failed> {
    stored(store, which).await?;
    let changes = WebhookChanges { is_disabled: Some(is_disabled), ..WebhookChanges::default() };
    store.change_webhook(&which.client, which.id, &changes, wall_clock::now()).await?;
    Ok(line(&stored(store, which).await?))
}

async fn replay(
    store: &Store,
    which: &Which,
    since: Timestamp,
    delivered: bool,
) -> Result<String, Failed> {
    let (row, now) = (stored(store, which).await?, wall_clock::now());
    let (mut after, mut count) = (first_id_of(since), 0);
    loop {
        let limit = REPLAYED_AT_ONCE_MAX;
        let replayed = store.replay_deliveries(row.id, after, delivered, now, limit).await?;
        count += replayed.count;
        match replayed.go_on_after {
            Some(last) if !replayed.is_full => after = last,
            Some(_) => {
                let said = "as many as may wait at once; try again later for the rest";
                return Ok(format!("{count} will be told again, {said}\n"));
            }
            None => return Ok(format!("{count} will be told again\n")),
        }
    }
}

async fn show(store: &Store, which: &Which) -> Result<String, Failed> {
    let row = stored(store, which).await?;
    let mut text = line(&row);
    let mut add = |name: &str, value: &str| text.push_str(&format!("  {name:<14} {value}\n"));
    add("URL", &row.url);
    add("types", &row.types.join(", "));
    if let Some(description) = &row.description {
        add("description", description);
    }
    let times = [
        ("made", Some(row.created_at)),
        ("failing since", row.failing_since),
        ("disabled", row.disabled_at),
    ];
    for (name, at) in times {
        if let Some(at) = at {
            add(name, &at.to_string());
        }
    }
    if row.skipped > 0 {
        add("skipped", &row.skipped.to_string());
    }
    for delivery in store.deliveries(row.id, None, None, SHOWN_MAX).await? {
        text.push_str(&delivery_line(&delivery));
    }
    Ok(text)
}

fn line(row: &WebhookRow) -> String {
    let state = match (&row.disabled_because, row.failing_since) {
        (Some(because), _) => format!("disabled ({because})"),
        (None, Some(_)) => "failing".to_owned(),
        (None, None) => "enabled".to_owned(),
    };
    let origin = url::Url::parse(&row.url).map(|url| url.origin().ascii_serialization());
    format!("{}  {state:<20} {}\n", row.id, origin.unwrap_or_default())
}

fn delivery_line(row: &DeliveryRow) -> String {
    let what = match row.cause {
        Some((auction, seq)) => format!("{auction}:{seq}"),
        None => String::new(),
    };
    let (at, attempts) = (row.created_at, row.attempts_made);
    format!("  {at}  {:<9} {attempts:>2}  {:<18} {what}\n", row.status, row.kind)
}
