//! `hoga token`: an access token for a user of the embedded default.

use std::process::ExitCode;

use clap::Args;
use uuid::Uuid;

use super::{
    Failed,
    setup::{self, Database},
};
use crate::{
    config::{Config, ConfigError},
    domain::id::UserId,
    identity::{
        Role,
        keys::KeyRing,
        tokens::{TOKEN_LIFE_S_MAX, Tokens},
    },
    store::{Store, User},
    wall_clock,
};

/// A token lives at most so long.
const HOURS_MAX: i64 = TOKEN_LIFE_S_MAX / 3_600;

/// Whose token.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The user's name, such as minji
    #[arg(long, value_parser = user_name)]
    user: String,
    /// A role to give the user besides those they have: bidder, seller or admin
    #[arg(long, value_parser = role)]
    role: Vec<Role>,
    /// How many hours the token lives
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=HOURS_MAX))]
    hours: u32,
}

/// Names that can be typed without quoting.
pub(super) fn user_name(text: &str) -> Result<String, String> {
    let is_name = (1..=64).contains(&text.chars().count())
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 letters, digits, `-`, `_` or `.`".into())
    }
}

/// One of the three.
pub(super) fn role(text: &str) -> Result<Role, String> {
    Role::from_word(text).ok_or_else(|| "the roles are bidder, seller and admin".into())
}

/// `hoga token`
///
/// # Errors
/// When the exchange is not the embedded default, or its database cannot be reached.
pub fn run(config: &Config, args: &TokenArgs) -> Result<ExitCode, Failed> {
    if !config.is_embedded() {
        let problem = "is set: tokens are issued on the command line in the embedded default only";
        let error = ConfigError { variable: "HOGA_DATABASE_URL", problem: problem.into() };
        return Err(Failed { code: 2, error: Box::new(error) });
    }
    let database = Database::open(config)?;
    let store = Store::new(database.config.clone())?;
    let (user, issuer) = actix::System::new().block_on(async {
        store.migrate().await?;
        let user = store.ensure_user(&wanted(args), wall_clock::now()).await?;
        Ok::<(User, String), Failed>((user, setup::issuer(config, &store).await?))
    })?;
    let key = KeyRing::load_or_create(&config.signing_key_file)?;
    let roles: Vec<Role> = user.roles.iter().filter_map(|word| Role::from_word(word)).collect();
    let life_s = i64::from(args.hours) * 3_600;
    let tokens = Tokens::new(key, &issuer);
    let token = tokens.issue(user.id, &roles, None, wall_clock::now(), life_s)?;
    super::say(&format!("{token}\n"))?;
    database.leave()?;
    Ok(ExitCode::SUCCESS)
}

/// A new user may bid and sell; one who is there keeps their roles and gets those asked for.
fn wanted(args: &TokenArgs) -> User {
    let asked = args.role.iter().copied();
    let roles: Vec<Role> = if args.role.is_empty() { vec![Role::Bidder] } else { asked.collect() };
    User {
        id: UserId(Uuid::now_v7()),
        name: Some(args.user.clone()),
        nickname: args.user.clone(),
        roles: roles.into_iter().map(|role| role.word().to_owned()).collect(),
    }
}
