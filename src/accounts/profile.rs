//! What an account says of its owner, and what they agreed to.

use super::{Wrong, WrongField};
use crate::{
    domain::{id::UserId, time::Timestamp},
    identity::account,
    store::{Account, Gender, Profile, Store, StoreError},
};

/// Changes to a profile: what is not there stays, and what is there without a value is taken away.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Changes {
    pub nickname: Option<Option<String>>,
    pub birth_year: Option<Option<i16>>,
    pub gender: Option<Option<Gender>>,
    /// That birth year and gender are used for recommendations.
    pub consents: Option<Option<bool>>,
}

/// Why a profile was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is no such account, or its owner has left.
    #[error("there is no such account")]
    NobodyThere,
    /// Somebody else changed it meanwhile.
    #[error("the account has changed")]
    Stale,
    /// The profile cannot be like that.
    #[error("the profile cannot be like that")]
    Wrong(Vec<WrongField>),
    /// Postgres.
    #[error("the profile could not be changed")]
    Store(#[from] StoreError),
}

/// Changes a profile while nobody else can, if the account is still the one that is meant.
///
/// # Errors
/// As [`ProfileError`] says; nothing is changed then.
pub async fn change(
    store: &Store,
    user: UserId,
    changes: Changes,
    now: Timestamp,
    is_meant: impl FnOnce(&Account) -> bool,
) -> Result<Account, ProfileError> {
    let tx = store.begin().await?;
    if !tx.lock_account(user).await? {
        return Err(ProfileError::NobodyThere);
    }
    let before = tx.account(user).await?.ok_or(ProfileError::NobodyThere)?;
    if !is_meant(&before) {
        return Err(ProfileError::Stale);
    }
    let profile = changes.applied_to(&before.profile, now).map_err(ProfileError::Wrong)?;
    if profile == before.profile {
        return Ok(before);
    }
    tx.write_profile(user, &profile).await?;
    tx.commit().await?;
    Ok(Account { profile, version: before.version + 1, ..before })
}

impl Changes {
    fn applied_to(self, before: &Profile, now: Timestamp) -> Result<Profile, Vec<WrongField>> {
        let mut wrong = Wrong::default();
        let nickname = match self.nickname {
            None => before.nickname.clone(),
            Some(nickname) => {
                wrong.take("nickname", account::nickname(&nickname.unwrap_or_default()))
            }
        };
        let consent_at = match self.consents.map(|consents| consents.unwrap_or(false)) {
            None => before.consent_at,
            Some(true) => before.consent_at.or(Some(now)),
            Some(false) => None,
        };
        let gives_data =
            matches!(self.birth_year, Some(Some(_))) || matches!(self.gender, Some(Some(_)));
        if gives_data && consent_at.is_none() {
            wrong.take(
                "profile_consent",
                Err::<(), _>("must be true: birth_year and gender are kept with consent alone"),
            );
        }
        let birth_year = match self.birth_year.unwrap_or(before.birth_year) {
            // One that is there was checked when it came.
            Some(year) if before.birth_year != Some(year) => {
                Some(wrong.take("birth_year", account::birth_year(year, now)))
            }
            year => year,
        };
        let gender = self.gender.unwrap_or(before.gender);
        wrong.none()?;
        Ok(Profile {
            nickname,
            birth_year: birth_year.filter(|_| consent_at.is_some()),
            gender: gender.filter(|_| consent_at.is_some()),
            consent_at,
        })
    }
}
