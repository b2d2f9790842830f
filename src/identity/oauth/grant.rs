//! Codes and refresh tokens: what they are exchanged for, once, and what becomes of those that
//! come from the wrong hands.
//!
//! A login's refresh tokens are a family. A token that comes twice, a code that comes twice, and
//! either from another client than its own show that somebody has what is not theirs: the whole
//! family is revoked, and its user logs in again (RFC 9700, 4.14.2).

use super::{Denial, ErrorWord, FAMILY_LIFE_S, REFRESH_TOKEN_LIFE_S, pkce};
use crate::identity::secret::Secret;
use crate::{
    domain::{id::UserId, time::Timestamp},
    identity::{Role, clients::Client},
    store::{Grant, GrantRow, GrantVerdict, Store, StoreError},
};

/// Used refresh tokens of a family that are told from unknown ones: ten days of one every quarter
/// of an hour.
const USED_TOKENS_KEPT_MAX: i64 = 1_000;

/// What a code or refresh token is exchanged for.
#[derive(Debug)]
pub struct Granted {
    /// Who logged in.
    pub user: UserId,
    /// As they are now.
    pub roles: Vec<Role>,
    /// When the access token counts as issued.
    pub issued_at: Timestamp,
    /// The next one; the one that came counts no more.
    pub refresh_token: Secret,
}

/// What is presented with a code.
#[derive(Clone, Copy)]
pub struct Redemption<'a> {
    /// The code.
    pub code: &'a str,
    /// As it was at the beginning.
    pub redirect_uri: &'a str,
    /// Of PKCE.
    pub code_verifier: &'a str,
}

/// Why a code or refresh token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.word())]
pub enum Refusal {
    /// Never handed out, or long forgotten.
    Unknown,
    /// Too late.
    Expired,
    /// Its login was revoked.
    Revoked,
    /// Whoever logged in has left.
    UserLeft,
    /// It came before.
    UsedTwice,
    /// It was handed out to another client.
    AnotherClient,
    /// Not the redirect URI of the beginning.
    RedirectMismatch,
    /// Not the verifier of the challenge.
    VerifierWrong,
}

impl Refusal {
    /// For the log.
    pub const fn word(self) -> &'static str {
        match self {
            Refusal::Unknown => "grant_unknown",
            Refusal::Expired => "grant_expired",
            Refusal::Revoked => "grant_revoked",
            Refusal::UserLeft => "user_left",
            Refusal::UsedTwice => "grant_used_twice",
            Refusal::AnotherClient => "grant_of_another_client",
            Refusal::RedirectMismatch => "redirect_mismatch",
            Refusal::VerifierWrong => "verifier_wrong",
        }
    }

    /// Whether honest frontends see it too, now and then.
    pub const fn is_ordinary(self) -> bool {
        match self {
            Refusal::Expired | Refusal::Revoked | Refusal::UserLeft => true,
            Refusal::Unknown
            | Refusal::UsedTwice
            | Refusal::AnotherClient
            | Refusal::RedirectMismatch
            | Refusal::VerifierWrong => false,
        }
    }

    /// For the frontend. Of another client's grant it says no more than of one that never was.
    pub const fn denial(self) -> Denial {
        let description = match self {
            Refusal::Unknown | Refusal::AnotherClient => "It is unknown.",
            Refusal::Expired => "It has expired.",
            Refusal::Revoked => "Its login was revoked: log in again.",
            Refusal::UserLeft => "The user has left.",
            Refusal::UsedTwice => "It was used before; its login is revoked now: log in again.",
            Refusal::RedirectMismatch => "redirect_uri is not that of /oauth/authorize.",
            Refusal::VerifierWrong => "code_verifier does not meet the code_challenge.",
        };
        Denial::new(ErrorWord::InvalidGrant, description)
    }

    /// What becomes of the family of a code or refresh token.
    const fn verdict(self, is_code: bool) -> GrantVerdict {
        match self {
            Refusal::Unknown | Refusal::Expired | Refusal::Revoked | Refusal::UserLeft => {
                GrantVerdict::Refuse
            }
            Refusal::UsedTwice if is_code => GrantVerdict::Revoke("code_reuse"),
            Refusal::UsedTwice => GrantVerdict::Revoke("reuse"),
            Refusal::AnotherClient | Refusal::RedirectMismatch | Refusal::VerifierWrong => {
                GrantVerdict::Revoke("misuse")
            }
        }
    }
}

/// Nothing is granted.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// It does not count.
    #[error("the grant is refused: {0}")]
    Refused(#[from] Refusal),
    /// Postgres; whether anything was written is unknown.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Exchanges a code, once.
///
/// # Errors
/// When it does not count.
pub async fn redeem(
    store: &Store,
    client: &Client,
    redemption: Redemption<'_>,
    now: Timestamp,
) -> Result<Granted, GrantError> {
    let code = Secret::parse(redemption.code).ok_or(Refusal::Unknown)?;
    let grant = Grant::Code(code.hash());
    exchange(store, grant, now, |row| {
        check_holder(client, row)?;
        let bound = row.code.as_ref().ok_or(Refusal::Unknown)?;
        if bound.redirect_uri != redemption.redirect_uri {
            return Err(Refusal::RedirectMismatch);
        }
        if !pkce::is_met(&bound.code_challenge, redemption.code_verifier) {
            return Err(Refusal::VerifierWrong);
        }
        check_life(row, now)
    })
    .await
}

/// Exchanges a refresh token for the next one.
///
/// # Errors
/// When it does not count.
pub async fn refresh(
    store: &Store,
    client: &Client,
    token: &str,
    now: Timestamp,
) -> Result<Granted, GrantError> {
    let token = Secret::parse(token).ok_or(Refusal::Unknown)?;
    exchange(store, Grant::RefreshToken(token.hash()), now, |row| {
        check_holder(client, row)?;
        check_life(row, now)
    })
    .await
}

/// Ends the login of a refresh token, used or not. An unknown token needs nothing (RFC 7009, 2.2).
///
/// # Errors
/// When it is another client's.
pub async fn revoke(
    store: &Store,
    client: &Client,
    token: &str,
    now: Timestamp,
) -> Result<(), GrantError> {
    let Some(token) = Secret::parse(token) else { return Ok(()) };
    let judged =
        store.settle(Grant::RefreshToken(token.hash()), now, USED_TOKENS_KEPT_MAX, |row| {
            if row.client_id == client.id {
                (GrantVerdict::Revoke("logout"), Ok(()))
            } else {
                (GrantVerdict::Refuse, Err(Refusal::AnotherClient))
            }
        });
    Ok(judged.await?.unwrap_or(Ok(()))?)
}

async fn exchange(
    store: &Store,
    grant: Grant,
    now: Timestamp,
    check: impl FnOnce(&GrantRow) -> Result<(), Refusal>,
) -> Result<Granted, GrantError> {
    let judge = |row: &GrantRow| match check(row) {
        Ok(()) => {
            let next = Secret::random();
            let limit = row.family_created_at.plus_s(FAMILY_LIFE_S);
            let expires_at = now.plus_s(REFRESH_TOKEN_LIFE_S).min(limit);
            let verdict = GrantVerdict::Replace { token_hash: next.hash(), expires_at };
            (verdict, Ok(granted(row, next, now)))
        }
        Err(refusal) => (refusal.verdict(row.code.is_some()), Err(refusal)),
    };
    let judged = store.settle(grant, now, USED_TOKENS_KEPT_MAX, judge).await?;
    Ok(judged.unwrap_or(Err(Refusal::Unknown))?)
}

/// Tokens say when they were issued in whole seconds. A second in which the older ones of a user were
/// called in is over for the new one, lest it be taken for one of them.
fn granted(row: &GrantRow, refresh_token: Secret, now: Timestamp) -> Granted {
    let roles = row.roles.iter().filter_map(|word| Role::from_word(word)).collect();
    let issued_at = match row.tokens_valid_from {
        Some(from) if from.as_millis() / 1_000 >= now.as_millis() / 1_000 => now.plus_s(1),
        Some(_) | None => now,
    };
    Granted { user: row.user, roles, issued_at, refresh_token }
}

/// What counts against whoever holds it comes before what merely ended.
fn check_holder(client: &Client, row: &GrantRow) -> Result<(), Refusal> {
    if row.client_id != client.id {
        return Err(Refusal::AnotherClient);
    }
    if row.was_used { Err(Refusal::UsedTwice) } else { Ok(()) }
}

fn check_life(row: &GrantRow, now: Timestamp) -> Result<(), Refusal> {
    if row.is_revoked {
        return Err(Refusal::Revoked);
    }
    if row.user_left {
        return Err(Refusal::UserLeft);
    }
    // A code's own end is its family's, until it is redeemed.
    if row.expires_at <= now { Err(Refusal::Expired) } else { Ok(()) }
}

/// Whether it looks like an access token, which cannot be revoked by itself.
pub fn is_access_token(token: &str) -> bool {
    let mut parts = token.split('.');
    let is_jwt = parts.by_ref().take(3).filter(|part| !part.is_empty()).count() == 3;
    is_jwt && parts.next().is_none()
}

/// Whether a client that says who it is has proven it. A client without a secret has nothing to
/// prove, and must not come with one.
pub fn has_proven(client: &Client, secret: Option<&str>) -> bool {
    match secret {
        Some(secret) => client.is_confidential() && client.has_secret(secret),
        None => !client.is_confidential(),
    }
}
