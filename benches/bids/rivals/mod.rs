//! The rivals: the same HTTP server as Hoga's, with something else behind it.
//!
//! Same middleware, same extractors, same token check, same bodies and problems; d and e write the
//! same rows as Hoga. Two things are left out in their favour: nobody publishes and deletes their
//! outbox rows, and a bidder's alias is read off the user's id instead of being looked up.

mod ceiling;
pub mod plpgsql;
mod rowlock;

use actix_web::{App, HttpServer, web};
use clap::ValueEnum;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use hoga::tasks::Tasks;
use hoga::{
    app,
    config::Config,
    domain::{
        id::UserId,
        money::{Amount, Currency, Money},
        time::Timestamp,
    },
    events::{in_process::InProcessBus, relay::Relay},
    exchange::{self, Exchange, Refusal},
    http::{
        self, Parts, State,
        auctions::bids::{OutcomeWord, ReceiptBody},
        kit::context,
        service,
    },
    identity::{keys::KeyRing, tokens::Tokens},
    live::{Hub, LiveOptions, personal::Personal},
    log::hash::Hash,
    store::{Owned, Store},
};
use tokio_postgres::NoTls;

use super::Failed;

/// Who answers in place of Hoga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rival {
    /// d
    Rowlock,
    /// e
    Plpgsql,
    /// f
    Ceiling,
}

/// Serves until SIGTERM.
pub fn serve(rival: Rival, pool: usize) -> Result<(), Failed> {
    hoga::telemetry::init().expect("HOGA_LOG can be used");
    actix_web::rt::System::new().block_on(run(rival, pool))
}

async fn run(rival: Rival, connections: usize) -> Result<(), Failed> {
    let config = Config::from_env()?;
    let database = config.database_url.clone().ok_or("HOGA_DATABASE_URL is not set")?.postgres;
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(database.clone(), NoTls, manager);
    let pool = Pool::builder(manager).max_size(connections).build()?;
    let state = state(&config, database)?;
    let workers = config.http_workers.unwrap_or(exchange::Options::default().lanes);
    let listener = app::listen(&config)?;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(state.clone()))
            .app_data(web::Data::new(pool.clone()))
            .app_data(web::PayloadConfig::new(http::kit::body::BODY_BYTES_MAX))
            .wrap(http::cors(&state))
            .wrap_fn(context::wrap)
            .service(web::scope("/v1").configure(|scope| match rival {
                Rival::Rowlock => drop(scope.service(rowlock::place_bid)),
                Rival::Plpgsql => drop(scope.service(plpgsql::place_bid)),
                Rival::Ceiling => drop(scope.service(ceiling::place_bid)),
            }))
            .service(service::get_readiness)
    });
    let server = server
        .workers(workers)
        .max_connections(25_000)
        .keep_alive(http::connections::KEEP_ALIVE)
        .client_request_timeout(http::connections::HEAD_TIMEOUT)
        .on_connect(|connection, _| {
            if let Some(stream) = connection.downcast_ref() {
                http::tune(stream);
            }
        })
        .shutdown_timeout(1);
    Ok(server.listen(listener)?.run().await?)
}

/// What the extractors and the middleware ask for. Its exchange stands idle.
fn state(config: &Config, database: tokio_postgres::Config) -> Result<State, Failed> {
    let key = KeyRing::load_or_create(&config.signing_key_file)?;
    let store = Store::new(database)?;
    let bus = std::sync::Arc::new(InProcessBus::default());
    let tasks = Tasks::unattended();
    let hub = Hub::start(bus.subscribe(), store.clone(), LiveOptions::default(), &tasks);
    let owned = Owned::nothing();
    let (relay, _) = Relay::new(store.clone(), bus.clone(), owned.clone());
    let personal =
        Personal::start(store.clone(), Default::default(), LiveOptions::default(), &tasks);
    let options = exchange::Options { lanes: 1, ..exchange::Options::default() };
    let exchange = Exchange::start(store.clone(), relay, owned, options, &tasks);
    let tokens = std::sync::Arc::new(Tokens::new(key, &config.public_url));
    let webhooks = app::webhooks(config, &store)?;
    let state = State::new(
        Parts {
            exchange,
            store,
            bus,
            tokens,
            clients: Default::default(),
            hub,
            personal,
            push: None,
            kakao: None,
            unlinks: None,
            webhooks,
            tasks,
        },
        config,
    );
    state.set_caught_up();
    Ok(state)
}

fn won(amount: Amount) -> Money {
    Money { amount, currency: Currency::Krw }
}

/// An accepted bid, as its receipt tells it.
struct Accepted {
    auction: uuid::Uuid,
    seq: u64,
    price: Amount,
    minimum_next_bid: Amount,
    ends_at: Timestamp,
    received_at: Timestamp,
    decided_at: Timestamp,
    hash: Hash,
}

impl Accepted {
    fn receipt(&self) -> String {
        let body = ReceiptBody {
            auction_id: self.auction,
            seq: self.seq,
            outcome: OutcomeWord::Leading,
            price: won(self.price),
            minimum_next_bid: Some(won(self.minimum_next_bid)),
            ends_at: self.ends_at.to_string(),
            reserve_met: None,
            received_at: self.received_at.to_string(),
            decided_at: self.decided_at.to_string(),
            hash: self.hash.to_string(),
            ceiling_salt: None,
        };
        serde_json::to_string(&body).expect("strings and numbers are always JSON")
    }
}

/// A kept answer as the caller hears it.
fn answer(
    accepted: bool,
    answer: String,
) -> Result<actix_web::HttpResponse, http::kit::problem::Problem> {
    if accepted {
        let mut created = actix_web::HttpResponse::Created();
        return Ok(created.content_type("application/json").body(answer));
    }
    let refusal = serde_json::from_str(&answer).map(|refusal| Refusal::Auction(refusal).into());
    Err(refusal.unwrap_or_else(|_| http::kit::problem::Code::Internal.into()))
}

/// `bidder-7`: the number in the user's id.
fn alias(user: UserId) -> String {
    format!("bidder-{}", user.0.as_u128() & 0xffff)
}
