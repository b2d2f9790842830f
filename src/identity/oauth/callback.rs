//! The way back from Kakao: whose login it is, who logged in, and the code for the frontend.

use uuid::Uuid;

use super::{CODE_LIFE_S, Denial, ErrorWord};
use crate::{
    domain::time::Timestamp,
    identity::{
        Role,
        account::{self, NICKNAME_CHARS_MAX},
        kakao::{Blame, KakaoError, KakaoUser},
        secret::{self, Secret},
    },
    store::{KakaoAccount, LoginRow, NewFamily, Store, StoreError},
};

/// Logins of one user that can be refreshed, over all frontends and devices; the oldest give way.
const FAMILIES_PER_USER_MAX: i64 = 100;

/// A login that came back to the browser that began it. Its state counts no more.
#[derive(Debug)]
pub struct Returned {
    /// As it was begun.
    pub login: LoginRow,
    /// Whether the browser has others under way, and so still needs its cookie.
    pub has_others: bool,
}

/// Why a callback leads nowhere. None of them may be answered with a redirect: nobody knows whose
/// it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.word())]
pub enum StateRefusal {
    /// There is no state, or nothing that could be one of ours.
    Malformed,
    /// It was taken before, or never ours.
    Unknown,
    /// The login took too long.
    Expired,
    /// The browser has no cookie of ours.
    NoCookie,
    /// Another browser began the login.
    AnotherBrowser,
}

impl StateRefusal {
    /// For the log.
    pub const fn word(self) -> &'static str {
        match self {
            StateRefusal::Malformed => "state_malformed",
            StateRefusal::Unknown => "state_unknown",
            StateRefusal::Expired => "state_expired",
            StateRefusal::NoCookie => "cookie_missing",
            StateRefusal::AnotherBrowser => "another_browser",
        }
    }
}

/// A login cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReturnError {
    /// It is not one, or not this browser's.
    #[error("the state is refused: {0}")]
    Refused(#[from] StateRefusal),
    /// Postgres.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Takes the login of a state, once, for the browser that began it. A state that was shown by
/// another browser has leaked: it is taken as well, so that it is good for nobody.
///
/// # Errors
/// When there is none, or it is another browser's.
pub async fn take(
    store: &Store,
    state: Option<&str>,
    browser: Option<&Secret>,
    now: Timestamp,
) -> Result<Returned, ReturnError> {
    let state = state.and_then(Secret::parse).ok_or(StateRefusal::Malformed)?;
    let taken = store.take_login(&state.hash(), now).await?.ok_or(StateRefusal::Unknown)?;
    let browser = browser.ok_or(StateRefusal::NoCookie)?;
    if !secret::are_equal(&browser.hash(), &taken.browser_hash) {
        return Err(StateRefusal::AnotherBrowser.into());
    }
    if taken.login.expires_at <= now {
        return Err(StateRefusal::Expired.into());
    }
    Ok(Returned { login: taken.login, has_others: taken.has_others })
}

/// What a frontend hears when Kakao did not say who logged in: the word for it, as a description.
pub fn denial_of(error: &KakaoError) -> Denial {
    let word = match error.blame() {
        // As OpenID Connect has it for `prompt=none`, so that a frontend asks again without.
        Blame::User if *error == KakaoError::InteractionRequired => ErrorWord::InteractionRequired,
        Blame::User => ErrorWord::AccessDenied,
        Blame::Moment => ErrorWord::TemporarilyUnavailable,
        Blame::Operator => ErrorWord::ServerError,
    };
    Denial::new(word, error.word())
}

/// Makes or finds the user of a Kakao account, by its id alone, and a code for the frontend.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn admit(
    store: &Store,
    login: &LoginRow,
    kakao_user: &KakaoUser,
    new_roles: &[Role],
    now: Timestamp,
) -> Result<Secret, StoreError> {
    let code = Secret::random();
    let account = KakaoAccount {
        kakao_id: kakao_user.id,
        nickname: nickname(kakao_user.nickname.as_deref()),
        roles: new_roles.iter().map(|role| role.word()).collect(),
    };
    let family = NewFamily {
        id: Uuid::now_v7(),
        client_id: &login.client_id,
        redirect_uri: &login.redirect_uri,
        code_challenge: &login.code_challenge,
        code_hash: code.hash(),
        expires_at: now.plus_s(CODE_LIFE_S),
    };
    store.finish_login(&account, &family, FAMILIES_PER_USER_MAX, now).await?;
    Ok(code)
}

/// Kakao's nickname made fit for ours; a made-up one where it gives none.
fn nickname(given: Option<&str>) -> String {
    let kept: String = given
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(NICKNAME_CHARS_MAX)
        .collect();
    account::nickname(&kept).unwrap_or_else(|_| format!("user-{:06x}", rand::random::<u32>() >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nickname_fits_whatever_kakao_gives() {
        assert_eq!(nickname(Some("민지")), "민지");
        assert_eq!(nickname(Some(" min\u{0}ji\n")), "minji");
        assert_eq!(nickname(Some(&"가".repeat(40))).chars().count(), 30);
        for nothing in [None, Some(""), Some(" \t\u{7f}")] {
            assert!(nickname(nothing).starts_with("user-"), "{nothing:?}");
        }
    }

    #[test]
    fn an_error_of_kakao_has_a_word_for_the_frontend() {
        for (said, error, description) in [
            ("access_denied", ErrorWord::AccessDenied, "kakao_refused"),
            ("login_required", ErrorWord::InteractionRequired, "kakao_interaction_required"),
            ("server_error", ErrorWord::TemporarilyUnavailable, "kakao_unavailable"),
            ("<script>", ErrorWord::TemporarilyUnavailable, "kakao_rubbish"),
        ] {
            let denial = denial_of(&KakaoError::of_callback(said, None));
            assert_eq!(denial, Denial::new(error, description));
        }
    }
}
