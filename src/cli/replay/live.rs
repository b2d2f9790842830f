//! `hoga replay FILE --live URL`: the recorded auctions through a running server, all at once.
//!
//! Owns how a recorded auction is driven over HTTP: created by a seller, bid on in order, ended by
//! its own clock. Must never touch the server's database but to make the users, nor go on without
//! a bound on requests, retries or waiting.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::{RecordedAuction, RecordedBid, Recording, Reproduction};
use crate::{
    cli::{
        Failed,
        client::{Answer, Client},
        setup::{self, Database},
    },
    config::Config,
    domain::{id::UserId, money::Money, time::Timestamp},
    embedded::postgres::Cluster,
    identity::{
        Role,
        keys::{KeyError, KeyRing},
        tokens::Tokens,
    },
    market,
    store::{Store, User},
    wall_clock,
};

/// Auctions that are under way side by side.
const AUCTIONS_AT_ONCE_MAX: usize = 2_000;
/// An auction lasts at least so long, in seconds, and longer by what its bids need.
const LIVE_S_MIN: u64 = 10;
/// Requests that a modest machine answers in a second; what the auctions' length is computed with.
const REQUESTS_PER_S: u64 = 400;
/// Users that are made in one statement.
const USERS_AT_ONCE: usize = 5_000;
/// How often an auction that must have ended is looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);
/// How long it may take to close after its end.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than any replay, in seconds.
pub const TOKEN_LIFE_S: i64 = 2 * 86_400;
/// The seller of replayed auctions; bidders are `replay-bidder-` and their name in the file.
const SELLER: &str = "replay-seller";

/// Why a replay through a server could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// There is no key to sign the users' tokens with.
    #[error(
        "there is no signing key at {0}: set HOGA_DATA_DIR, or HOGA_SIGNING_KEY_FILE, as the server has it"
    )]
    NoKey(String),
    /// The key cannot be read.
    #[error("tokens for the replayed users cannot be signed")]
    Key(#[from] KeyError),
    /// The library cannot sign.
    #[error("tokens for the replayed users cannot be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
    /// The server does not take our tokens.
    #[error(
        "the server at {url} does not take tokens that are signed with {key_file}: set HOGA_DATA_DIR \
         (or HOGA_SIGNING_KEY_FILE) and HOGA_PUBLIC_URL as the server has them"
    )]
    NotItsKey {
        /// Which server.
        url: String,
        /// Which key.
        key_file: String,
    },
    /// The seller is not known there.
    #[error(
        "the server at {0} does not know the users that were made: set HOGA_DATA_DIR or \
         HOGA_DATABASE_URL as the server has it"
    )]
    NotItsDatabase(String),
}

/// What became of one auction, or why it could not be brought to its end.
pub type Outcome = Result<Reproduction, String>;

/// Puts every recorded auction through the server.
///
/// # Errors
/// When the server cannot be reached or does not take our users.
pub fn run(
    config: &Config,
    recording: &Recording,
    url: &str,
    live_s: Option<u64>,
) -> Result<Vec<Outcome>, Failed> {
    let key_file = &config.signing_key_file;
    let no_key = || LiveError::NoKey(key_file.display().to_string());
    let key = KeyRing::load(key_file).map_err(LiveError::from)?.ok_or_else(no_key)?;
    actix::System::new().block_on(async {
        let client = Client::connect(url).await?;
        let tokens = tokens_taken(config, key, &client).await?;
        let database = Database::open(config)?;
        let made = make_users(&database, recording).await;
        database.leave()?;
        let people = People::sign(&tokens, recording, made?)?;
        let live_s = live_s.unwrap_or_else(|| enough_s(recording));
        let clock_ahead_ms = client.clock_ahead_ms().await;
        let floor = Floor { client: &client, people: &people, live_s, clock_ahead_ms };
        eprintln!(
            "{} auctions are live for {live_s} s at {}",
            recording.auctions.len(),
            client.base()
        );
        let outcomes = stream::iter(&recording.auctions)
            .map(|recorded| floor.replay(recorded))
            .buffered(AUCTIONS_AT_ONCE_MAX);
        Ok(outcomes.collect().await)
    })
}

/// Long enough to create the auctions and place their bids on a modest machine.
fn enough_s(recording: &Recording) -> u64 {
    let bids: usize = recording.auctions.iter().map(|auction| auction.bids.len()).sum();
    LIVE_S_MIN + (bids + recording.auctions.len()) as u64 / REQUESTS_PER_S
}

fn bidder_id(name: &str) -> UserId {
    UserId(market::import::derived_id(0, &["hoga replay", name]))
}

fn bidders(recording: &Recording) -> HashSet<&str> {
    let bids = recording.auctions.iter().flat_map(|auction| &auction.bids);
    bids.map(|bid| bid.bidder.as_str()).collect()
}

/// Tokens as the server would sign them: it is its own issuer, under the address that it is reached
/// at, the one that it was given, or the one that it wrote down. Asked before anything is written
/// anywhere.
async fn tokens_taken(config: &Config, key: KeyRing, client: &Client) -> Result<Tokens, Failed> {
    let mut tokens = Tokens::new(key, client.base());
    for issuer in [client.base(), config.public_url.as_str()] {
        tokens = tokens.of_issuer(issuer);
        if are_taken(&tokens, client).await? {
            return Ok(tokens);
        }
    }
    if let Some(issuer) = issuer_written_down(config).await? {
        tokens = tokens.of_issuer(&issuer);
        if are_taken(&tokens, client).await? {
            return Ok(tokens);
        }
    }
    Err(Failed::from(LiveError::NotItsKey {
        url: client.base().to_owned(),
        key_file: config.signing_key_file.display().to_string(),
    }))
}

async fn are_taken(tokens: &Tokens, client: &Client) -> Result<bool, LiveError> {
    let somebody = UserId(Uuid::nil());
    let token = tokens.issue(somebody, &[], None, wall_clock::now(), TOKEN_LIFE_S)?;
    Ok(client.takes(&token).await)
}

/// In the database, unless that would have to be made first.
async fn issuer_written_down(config: &Config) -> Result<Option<String>, Failed> {
    if config.is_embedded() && !Cluster::is_made(&config.data_dir) {
        return Ok(None);
    }
    let database = Database::open(config)?;
    let store = Store::new(database.config.clone())?;
    let issuer = setup::issuer(config, &store).await;
    database.leave()?;
    Ok(Some(issuer?))
}

/// Makes the users in the server's database; the seller's id is whatever they have there.
async fn make_users(database: &Database, recording: &Recording) -> Result<UserId, Failed> {
    let store = Store::new(database.config.clone())?;
    store.check_connection().await?;
    let wanted = User {
        id: UserId(Uuid::now_v7()),
        name: Some(SELLER.to_owned()),
        nickname: SELLER.to_owned(),
        roles: vec![Role::Seller.word().to_owned()],
    };
    let seller = store.ensure_user(&wanted, wall_clock::now()).await?;
    let users: Vec<(UserId, String)> = bidders(recording)
        .into_iter()
        .map(|name| (bidder_id(name), format!("replay-bidder-{name}")))
        .collect();
    for users in users.chunks(USERS_AT_ONCE) {
        store.ensure_users(users, &[Role::Bidder.word()]).await?;
    }
    Ok(seller.id)
}

/// The tokens of everybody who takes part.
struct People {
    seller: String,
    bidders: HashMap<String, String>,
}

impl People {
    fn sign(tokens: &Tokens, recording: &Recording, seller: UserId) -> Result<People, LiveError> {
        let now = wall_clock::now();
        let issue = |user, role| tokens.issue(user, &[role], None, now, TOKEN_LIFE_S);
        let mut signed = HashMap::new();
        for name in bidders(recording) {
            signed.insert(name.to_owned(), issue(bidder_id(name), Role::Bidder)?);
        }
        Ok(People { seller: issue(seller, Role::Seller)?, bidders: signed })
    }
}

/// What every replayed auction needs.
struct Floor<'a> {
    client: &'a Client,
    people: &'a People,
    live_s: u64,
    /// How far the server's clock is ahead of ours.
    clock_ahead_ms: i64,
}

#[derive(Deserialize)]
struct Created {
    id: Uuid,
}

/// Of an auction, what a replay looks at.
#[derive(Deserialize)]
struct Seen {
    status: String,
    result: Option<String>,
    price: Money,
}

impl Floor<'_> {
    async fn replay(&self, recorded: &RecordedAuction) -> Outcome {
        let live_ms = i64::try_from(self.live_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let ends_at = wall_clock::now().plus_ms(self.clock_ahead_ms).plus_ms(live_ms);
        let ends = Instant::now() + Duration::from_secs(self.live_s);
        let id = self.create(recorded, ends_at).await?;
        let (in_time, late): (Vec<_>, Vec<_>) =
            recorded.bids.iter().partition(|bid| bid.time_ms < recorded.duration_ms);
        let mut refused = 0;
        for (place, bid) in in_time.iter().enumerate() {
            refused += usize::from(!self.bid(id, place, bid, true).await?);
        }
        tokio::time::sleep_until(ends).await;
        let seen = self.ended(id).await?;
        // What came too late in the record comes too late here.
        for (place, bid) in late.iter().enumerate() {
            refused += usize::from(!self.bid(id, in_time.len() + place, bid, false).await?);
        }
        let sold = matches!(seen.result.as_deref(), Some("sold" | "bought_now"));
        Ok(Reproduction {
            auction: recorded.name.clone(),
            recorded: recorded.final_price,
            computed: sold.then_some(seen.price.amount),
            refused,
        })
    }

    async fn create(&self, recorded: &RecordedAuction, ends_at: Timestamp) -> Result<Uuid, String> {
        let name: String = recorded.name.chars().take(100).collect();
        let body = json!({
            "title": format!("Replay of auction {name}"),
            "currency": "USD",
            "opening_price": recorded.opening_bid,
            "increment": {"kind": "table", "table": "ebay_usd"},
            "ends_at": ends_at,
        });
        let key = Uuid::now_v7().to_string();
        match self.client.post("/v1/auctions", &self.people.seller, &key, &body).await? {
            Answer::Done(body) => serde_json::from_slice::<Created>(&body)
                .map(|created| created.id)
                .map_err(|error| format!("the server's answer cannot be read: {error}")),
            Answer::Refused { code, .. } if code == "forbidden" => {
                Err(LiveError::NotItsDatabase(self.client.base().to_owned()).to_string())
            }
            Answer::Refused { said, .. } => Err(format!("cannot be created: {said}")),
        }
    }

    /// Whether the bid was accepted.
    async fn bid(
        &self,
        id: Uuid,
        place: usize,
        bid: &RecordedBid,
        in_time: bool,
    ) -> Result<bool, String> {
        // What was recorded was meant: the typo guard has nothing to ask.
        let body = json!({"max_amount": bid.ceiling, "confirm_amount": bid.ceiling});
        let token = self.people.bidders.get(&bid.bidder).map_or("", String::as_str);
        let path = format!("/v1/auctions/{id}/bids");
        match self.client.post(&path, token, &format!("{id}:{place}"), &body).await? {
            Answer::Done(_) => Ok(true),
            Answer::Refused { code, .. } if code == "auction_ended" && in_time => Err(format!(
                "it ended before bid {} of its bids was placed: give more --live-seconds",
                place + 1
            )),
            Answer::Refused { code, said } => match code.as_str() {
                "bid_too_low" | "already_leading" | "auction_ended" | "over_cap" => Ok(false),
                _ => Err(format!("a bid of {} cents was refused: {said}", bid.ceiling)),
            },
        }
    }

    async fn ended(&self, id: Uuid) -> Result<Seen, String> {
        let give_up_at = Instant::now() + CLOSING_TIMEOUT;
        loop {
            let body = self.client.get(&format!("/v1/auctions/{id}")).await?;
            let seen: Seen = serde_json::from_slice(&body)
                .map_err(|error| format!("the server's answer cannot be read: {error}"))?;
            if seen.status == "ended" {
                return Ok(seen);
            }
            if Instant::now() > give_up_at {
                let waited = CLOSING_TIMEOUT.as_secs();
                return Err(format!("it is still {} {waited} s after its end", seen.status));
            }
            tokio::time::sleep(LOOKED_AT_EVERY).await;
        }
    }
}
