//! `hoga keys`: the signing keys of the exchange.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Failed, replay};
use crate::{
    config::Config,
    domain::time::Timestamp,
    identity::{
        keys::{KeyError, KeyRing, KeyState, RingKey},
        tokens::TOKEN_LIFE_S_MAX,
    },
    wall_clock,
};

/// What to do with the keys.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List every key: its name, what it is for, and until when
    List,
    /// Make the next key
    ///
    /// It is published at once in /.well-known/jwks.json and signs ten minutes later, when whoever
    /// keeps the key set has fetched it again. What the old key signed counts until the last of its
    /// tokens has expired; nobody has to log in again.
    Rotate {
        /// Let the new key sign at once, for an emergency: who keeps the key set for some minutes
        /// takes new tokens for forged ones until then
        #[arg(long)]
        now: bool,
    },
    /// Take a key away that somebody else may have
    ///
    /// Nothing that it signed counts any more, within seconds: whoever has such a token refreshes it
    /// or logs in again. If it is the key that signs, another one does at once.
    Drop {
        /// Its name, as `hoga keys list` and a token's kid have it
        kid: String,
    },
}

/// `hoga keys`
///
/// # Errors
/// When the keys cannot be read or written, or the change is refused.
pub fn run(config: &Config, args: &KeysArgs) -> Result<ExitCode, Failed> {
    let file = &config.signing_key_file;
    let now = wall_clock::now();
    match &args.command {
        KeysCommand::List => {
            let ring = KeyRing::load(file)?.ok_or_else(|| KeyError::Missing(file.clone()))?;
            super::say(&listed(&ring, now))?;
        }
        KeysCommand::Rotate { now: at_once } => {
            let life_s = token_life_s(config);
            let next = KeyRing::change(file, |ring| ring.rotate(now, *at_once, life_s))?;
            super::say(&format!("{} {}\n", next.key.kid(), from_when(&next, now)))?;
        }
        KeysCommand::Drop { kid } => {
            let signing = KeyRing::change(file, |ring| {
                ring.drop_key(kid, now)?;
                Ok(ring.signing(now).kid().to_owned())
            })?;
            super::say(&format!("{kid} is gone; {signing} signs\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How long tokens may have been issued for: on the command line in the embedded default, by a
/// replay elsewhere; those of people who logged in live shorter.
const fn token_life_s(config: &Config) -> i64 {
    if config.database_url.is_none() { TOKEN_LIFE_S_MAX } else { replay::live::TOKEN_LIFE_S }
}

fn from_when(next: &RingKey, now: Timestamp) -> String {
    if next.signs_from <= now {
        "signs from now on".into()
    } else {
        format!("is published, and signs from {} on", next.signs_from)
    }
}

fn listed(ring: &KeyRing, now: Timestamp) -> String {
    let mut text = String::new();
    for (place, key) in ring.keys().iter().enumerate() {
        let until = key.verifies_until.map(|until| until.to_string()).unwrap_or_default();
        let what = match ring.state(place, now) {
            KeyState::Announced => format!("signs from {} on", key.signs_from),
            KeyState::Signing => match ring.keys().get(place + 1) {
                Some(next) => format!("signs until {}, verifies until {until}", next.signs_from),
                None => "signs".into(),
            },
            KeyState::Verifying => format!("verifies until {until}"),
            KeyState::Retired => format!("retired since {until}"),
        };
        text.push_str(&format!("{}  {what}\n", key.key.kid()));
    }
    text
}
