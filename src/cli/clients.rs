//! `hoga client`: the registered frontends, from the machine that runs the exchange.

use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};

use super::{Failed, setup::Database};
use crate::{
    config::Config,
    identity::clients::{ClientFault, Details, Registration, new_secret},
    store::{CLIENTS_MAX, ClientChanges, ClientRow, Store},
    wall_clock,
};

/// What to do with the clients.
#[derive(Debug, Args)]
pub struct ClientArgs {
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// List every client: id, kind and name, the first registered first
    List,
    /// Register a client, and print its id
    ///
    /// A client whose code runs in a browser or an app is public: it has no secret. With
    /// --confidential, for one that runs on a server, a secret is printed too, this once.
    Add {
        /// For people, such as "Moon Jar Shop"
        name: String,
        /// It runs on a server and can keep a secret
        #[arg(long)]
        confidential: bool,
        #[command(flatten)]
        uris: Uris,
        #[command(flatten)]
        budgets: Budgets,
    },
    /// Show a client
    Show {
        /// Such as hc_demo
        id: String,
    },
    /// Change a client: what is not named stays
    ///
    /// A list that is named replaces the whole old one.
    Change(Box<ChangeArgs>),
    /// Disable a client: nobody logs in through it, its tokens and origins count no more
    ///
    /// It stays in the list; `hoga client change ID --enable` lets it be used again.
    Remove {
        /// Such as hc_demo
        id: String,
    },
    /// Print a new secret for a confidential client; the old one stops
    Secret {
        /// Such as hc_9Gm2qVTl0nQ3o7wZr5kXyA
        id: String,
    },
}

#[derive(Debug, Default, Args)]
struct Uris {
    /// Where a login may return to, compared exactly; can be given several times
    #[arg(long, value_name = "URI")]
    redirect_uri: Vec<String>,
    /// Whose pages may call, such as https://shop.example.com; can be given several times
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
}

#[derive(Debug, Default, Args)]
struct Budgets {
    /// Requests of all its users together, in a second
    #[arg(long, value_name = "N")]
    requests_per_second: Option<u32>,
    /// Bids, purchases and retractions of all its users together, in a second
    #[arg(long, value_name = "N")]
    bids_per_second: Option<u32>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args([
    "name", "redirect_uri", "no_redirect_uris", "origin", "no_origins", "requests_per_second",
    "no_requests_per_second", "bids_per_second", "no_bids_per_second", "enable",
]))]
struct ChangeArgs {
    /// Such as hc_demo
    id: String,
    /// Another name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    uris: Uris,
    /// Take every redirect URI away
    #[arg(long, conflicts_with = "redirect_uri")]
    no_redirect_uris: bool,
    /// Take every origin away
    #[arg(long, conflicts_with = "origin")]
    no_origins: bool,
    #[command(flatten)]
    budgets: Budgets,
    /// Take that budget away
    #[arg(long, conflicts_with = "requests_per_second")]
    no_requests_per_second: bool,
    /// Take that budget away
    #[arg(long, conflicts_with = "bids_per_second")]
    no_bids_per_second: bool,
    /// Let a disabled client be used again
    #[arg(long)]
    enable: bool,
}

/// Why a client was not registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// Its details cannot stand.
    #[error("the client cannot stand so: {}", told(.0))]
    Faults(Vec<ClientFault>),
    /// Not one of them.
    #[error("there is no client {0}; see `hoga client list`")]
    NotFound(String),
    /// No secret to replace.
    #[error("client {0} is public and has no secret; add another one with --confidential")]
    Public(String),
    /// No room.
    #[error("there are {CLIENTS_MAX} clients already; enable and change one that is disabled")]
    TooMany,
}

fn told(faults: &[ClientFault]) -> String {
    faults.iter().map(ClientFault::to_string).collect::<Vec<_>>().join("; ")
}

/// `hoga client`
///
/// # Errors
/// When the database cannot be reached, there is no such client, or it cannot stand so.
pub fn run(config: &Config, args: ClientArgs) -> Result<ExitCode, Failed> {
    let database = Database::open(config)?;
    let outcome = Store::new(database.config.clone()).map_err(Failed::from).and_then(|store| {
        actix::System::new().block_on(async {
            store.migrate().await?;
            carry_out(&store, args.command).await
        })
    });
    database.leave()?;
    super::say(&outcome?)?;
    Ok(ExitCode::SUCCESS)
}

/// Does it, and says what was done.
async fn carry_out(store: &Store, command: ClientCommand) -> Result<String, Failed> {
    match command {
        ClientCommand::List => {
            let clients = store.clients(None, CLIENTS_MAX).await?;
            Ok(clients.iter().map(line).collect())
        }
        ClientCommand::Add { name, confidential, uris, budgets } => {
            let details = Details {
                name: Some(name),
                redirect_uris: Some(uris.redirect_uri),
                allowed_origins: Some(uris.origin),
                requests_per_second: Some(budgets.requests_per_second),
                bids_per_second: Some(budgets.bids_per_second),
                disabled: None,
            };
            add(store, details, confidential).await
        }
        ClientCommand::Show { id } => Ok(shown(&stored(store, &id).await?)),
        ClientCommand::Change(args) => change(store, *args).await,
        ClientCommand::Remove { id } => {
            stored(store, &id).await?;
            let disabled_at = Some(Some(wall_clock::now()));
            let changes = ClientChanges { disabled_at, ..ClientChanges::default() };
            store.change_client(&id, &changes).await?;
            Ok(format!("{id} is disabled\n"))
        }
        ClientCommand::Secret { id } => {
            stored(store, &id).await?;
            let (secret, hash) = new_secret();
            if !store.set_client_secret(&id, &hash).await? {
                return Err(RegistrationError::Public(id).into());
            }
            Ok(format!("{secret}\n"))
        }
    }
}

async fn stored(store: &Store, id: &str) -> Result<ClientRow, Failed> {
    Ok(store.client(id).await?.ok_or_else(|| RegistrationError::NotFound(id.to_owned()))?)
}

async fn add(store: &Store, details: Details, confidential: bool) -> Result<String, Failed> {
    let made = Registration::new(details, confidential, wall_clock::now());
    let Registration { row, secret } = made.map_err(RegistrationError::Faults)?;
    if !store.insert_client(&row).await? {
        return Err(RegistrationError::TooMany.into());
    }
    let secret = secret.map(|secret| format!("{secret}\n")).unwrap_or_default();
    Ok(format!("{}\n{secret}", row.id))
}

async fn change(store: &Store, args: ChangeArgs) -> Result<String, Failed> {
    let list = |given: Vec<String>, none: bool| {
        if none || !given.is_empty() { Some(given) } else { None }
    };
    let budget = |given: Option<u32>, none: bool| if none { Some(None) } else { given.map(Some) };
    let details = Details {
        name: args.name,
        redirect_uris: list(args.uris.redirect_uri, args.no_redirect_uris),
        allowed_origins: list(args.uris.origin, args.no_origins),
        requests_per_second: budget(args.budgets.requests_per_second, args.no_requests_per_second),
        bids_per_second: budget(args.budgets.bids_per_second, args.no_bids_per_second),
        disabled: args.enable.then_some(false),
    };
    let changes = details.changes(wall_clock::now()).map_err(RegistrationError::Faults)?;
    stored(store, &args.id).await?;
    store.change_client(&args.id, &changes).await?;
    Ok(shown(&stored(store, &args.id).await?))
}

fn kind(client: &ClientRow) -> &'static str {
    match (client.disabled_at.is_some(), client.secret_hash.is_some()) {
        (true, _) => "disabled",
        (false, true) => "confidential",
        (false, false) => "public",
    }
}

fn line(client: &ClientRow) -> String {
    format!("{:<26} {:<13} {}\n", client.id, kind(client), client.name)
}

fn shown(client: &ClientRow) -> String {
    let mut text = line(client);
    let mut add = |name: &str, value: &str| text.push_str(&format!("  {name:<20} {value}\n"));
    for uri in &client.redirect_uris {
        add("redirect URI", uri);
    }
    for origin in &client.allowed_origins {
        add("origin", origin);
    }
    let budgets = [
        ("requests per second", client.requests_per_second),
        ("bids per second", client.bids_per_second),
    ];
    for (name, budget) in budgets {
        add(name, &budget.map_or_else(|| "no limit of its own".into(), |n| n.to_string()));
    }
    add("registered", &client.created_at.to_string());
    if let Some(at) = client.disabled_at {
        add("disabled", &at.to_string());
    }
    text
}
