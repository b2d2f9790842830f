//! `hoga roles`: what a user may do, from the machine that runs the exchange. The first admin of an
//! exchange is made here.

use std::process::ExitCode;

use clap::Args;
use uuid::Uuid;

use super::{Failed, setup::Database, token::role};
use crate::{
    accounts::roles::{self, Giver, RolesError},
    config::Config,
    domain::id::UserId,
    identity::Role,
    store::{Store, StoreError},
    wall_clock,
};

/// Whose roles.
#[derive(Debug, Args)]
pub struct RolesArgs {
    /// The user's id, as GET /v1/me answers it
    user: Uuid,
    /// A role that they have from now on, besides the others named: bidder, seller or admin; those
    /// not named are taken away. Without it the roles are only shown
    #[arg(long, value_parser = role)]
    role: Vec<Role>,
}

/// There is nobody to give roles to.
#[derive(Debug, thiserror::Error)]
enum NobodyError {
    #[error("there is no user {0}; the id is in the answer of GET /v1/me")]
    NotFound(Uuid),
    #[error("the user {0} has left")]
    Left(Uuid),
}

/// `hoga roles`
///
/// # Errors
/// When the database cannot be reached, or there is no such user.
pub fn run(config: &Config, args: &RolesArgs) -> Result<ExitCode, Failed> {
    let database = Database::open(config)?;
    let store = Store::new(database.config.clone())?;
    let roles = actix::System::new().block_on(async {
        store.migrate().await?;
        Ok::<_, Failed>(if args.role.is_empty() {
            shown(&store, args.user).await?
        } else {
            changed(&store, args).await?
        })
    });
    database.leave()?;
    let roles = roles?.map_err(|error| Failed { code: 1, error: Box::new(error) })?;
    super::say(&format!("{}\n", roles.join(" ")))?;
    Ok(ExitCode::SUCCESS)
}

async fn shown(store: &Store, id: Uuid) -> Result<Result<Vec<String>, NobodyError>, StoreError> {
    let account = store.account(UserId(id)).await?;
    Ok(account.map(|account| account.roles).ok_or(NobodyError::NotFound(id)))
}

async fn changed(
    store: &Store,
    args: &RolesArgs,
) -> Result<Result<Vec<String>, NobodyError>, StoreError> {
    let (user, wanted) = (UserId(args.user), args.role.iter().copied().collect());
    Ok(match roles::set(store, user, &wanted, Giver::Operator, wall_clock::now()).await {
        Ok(set) => Ok(set.account.roles),
        Err(RolesError::NotFound | RolesError::OwnAdminRole) => {
            Err(NobodyError::NotFound(args.user))
        }
        Err(RolesError::Left) => Err(NobodyError::Left(args.user)),
        Err(RolesError::Store(error)) => return Err(error),
    })
}
