//! The log of one auction from a server, held against its signed checkpoint.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    VerifyError, in_words,
    pages::{Logs, Scanner},
    result, words,
};
use crate::{
    cli::client::Client,
    domain::{id::AuctionId, money::Money},
    http::auctions::log::checkpoint_message,
    log::{audit::Audit, hash::Hash},
};

/// The end of a log as the server signed it.
#[derive(Deserialize)]
struct Checkpoint {
    auction_id: AuctionId,
    count: u64,
    head_hash: Hash,
    kid: String,
    signature: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kid: String,
    crv: String,
    x: String,
}

/// Of an auction as it is answered, what its log says too.
#[derive(Deserialize)]
struct Summary {
    seq: u64,
    status: String,
    result: Option<String>,
    price: Money,
    bid_count: u32,
}

/// Fetches and checks the whole log; also the name of the key that signed its end.
pub async fn verify(url: &str) -> Result<(Audit, String), VerifyError> {
    let (base, id) = parts(url).ok_or_else(|| VerifyError::Url(url.to_owned()))?;
    let client = Client::connect(&base).await?;
    let path = format!("/v1/auctions/{id}");
    // Before the log, which may go on meanwhile: it must reach at least as far.
    let checkpoint: Checkpoint = fetch(&client, &format!("{path}/log/checkpoint")).await?;
    let keys: KeySet = fetch(&client, "/.well-known/jwks.json").await?;
    let audit = fetch_log(&client, &path).await?;
    let wrong = |problem: String| VerifyError::Checkpoint { auction: id, problem };
    if audit.auction() != id {
        return Err(VerifyError::AnotherAuction(id));
    }
    check(&audit, &checkpoint, &keys).map_err(wrong)?;
    let summary: Summary = fetch(&client, &path).await?;
    compare(&audit, &summary)?;
    Ok((audit, checkpoint.kid))
}

/// The server's address and the auction's id in `{server}/v1/auctions/{id}` with or without `/log`.
fn parts(url: &str) -> Option<(String, AuctionId)> {
    let url = url.trim_end_matches('/');
    let (base, rest) = url.rsplit_once("/v1/auctions/")?;
    let id = rest.strip_suffix("/log").unwrap_or(rest);
    Some((base.to_owned(), id.parse().ok()?))
}

async fn bytes(client: &Client, path: &str) -> Result<bytes::Bytes, VerifyError> {
    let failed = |problem| VerifyError::Fetch { path: path.to_owned(), problem };
    client.get(path).await.map_err(failed)
}

async fn fetch<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, VerifyError> {
    serde_json::from_slice(&bytes(client, path).await?)
        .map_err(|error| VerifyError::Fetch { path: path.to_owned(), problem: error.to_string() })
}

async fn fetch_log(client: &Client, path: &str) -> Result<Audit, VerifyError> {
    let mut logs = Logs::default();
    let mut after_seq = Some(0);
    while let Some(seq) = after_seq {
        let body = bytes(client, &format!("{path}/log?after_seq={seq}")).await?;
        let text = String::from_utf8_lossy(&body);
        let mut scanner = Scanner::new(&text);
        while let Some(page) = scanner.next_page() {
            logs.take(page?)?;
        }
        // A log that goes on without a new event would go on for ever.
        after_seq = logs.goes_on_after().filter(|next| *next > seq);
    }
    logs.finish()?.pop().ok_or(VerifyError::Empty)
}

fn check(audit: &Audit, checkpoint: &Checkpoint, keys: &KeySet) -> Result<(), String> {
    let Checkpoint { auction_id, count, head_hash, kid, signature } = checkpoint;
    if *auction_id != audit.auction() {
        return Err(format!("it is of auction {auction_id}"));
    }
    let key = keys.keys.iter().find(|key| key.kid == *kid && key.crv == "Ed25519");
    let key = key.ok_or_else(|| format!("the server has no Ed25519 key {kid}"))?;
    let public = URL_SAFE_NO_PAD.decode(&key.x).map_err(|_| format!("key {kid} is not a key"))?;
    let signature =
        URL_SAFE_NO_PAD.decode(signature).map_err(|_| "its signature is not one".to_owned())?;
    let signed_count = i64::try_from(*count).map_err(|_| "its count is too large".to_owned())?;
    let message = checkpoint_message(*auction_id, signed_count, *head_hash);
    UnparsedPublicKey::new(&ED25519, public)
        .verify(message.as_bytes(), &signature)
        .map_err(|_| format!("key {kid} did not sign it"))?;
    match audit.hash_of(*count) {
        Some(hash) if hash == *head_hash => Ok(()),
        Some(_) => Err(format!("event {count} has another hash than the one that was signed")),
        None => Err(format!("it counts {count} events, but the log ends after {}", audit.count())),
    }
}

/// The auction as it is answered must be what its log adds up to, unless it has moved on since.
fn compare(audit: &Audit, summary: &Summary) -> Result<(), VerifyError> {
    let Some(standing) = audit.standing().filter(|_| summary.seq == audit.count()) else {
        return Ok(());
    };
    let (status, kind) = words(standing.status);
    let agrees = summary.status == status
        && summary.result.as_deref() == kind
        && summary.price == standing.price
        && summary.bid_count == standing.bid_count;
    if agrees {
        return Ok(());
    }
    let answered = summary.result.as_deref().unwrap_or(&summary.status);
    let answered =
        format!("{answered} at {} after {} bids", in_words(summary.price), summary.bid_count);
    Err(VerifyError::Summary { auction: audit.auction(), answered, logged: result(audit) })
}
