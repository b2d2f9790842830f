//! The beginning of a login: what a frontend asks for, and the way to Kakao.

use super::{
    Denial, ErrorWord, LOGIN_LIFE_S,
    pkce::{self, Challenge},
};
use crate::{
    domain::time::Timestamp,
    identity::{
        kakao::{Ask, Kakao},
        secret::Secret,
    },
    store::{LoginRow, Store, StoreError},
};

/// A frontend's own state, returned as it came.
pub const STATE_BYTES_MAX: usize = 2_048;
/// A list of scopes.
const SCOPE_BYTES_MAX: usize = 512;
/// What Kakao is asked to show.
const PROMPT_BYTES_MAX: usize = 64;
/// Logins of one browser that are under way; the oldest give way.
const LOGINS_PER_BROWSER_MAX: i64 = 10;

/// What came with the request besides client and redirect URI, each at most once; what is empty
/// counts as left out (RFC 6749, 3.1).
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// `code`
    pub response_type: Option<&'a str>,
    /// Left out, or `query`.
    pub response_mode: Option<&'a str>,
    /// The frontend's own.
    pub state: Option<&'a str>,
    /// Of PKCE.
    pub code_challenge: Option<&'a str>,
    /// `S256`
    pub code_challenge_method: Option<&'a str>,
    /// Any: it is not narrowed.
    pub scope: Option<&'a str>,
    /// For Kakao.
    pub prompt: Option<&'a str>,
}

/// A request that may go on to Kakao.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    state: Option<String>,
    challenge: Challenge,
    prompt: Option<String>,
}

/// Where the browser goes, and which cookie it gets.
#[derive(Debug)]
pub struct Begun {
    /// Kakao's login page.
    pub location: String,
    /// What binds the login to this browser.
    pub browser: Secret,
}

/// Who begins a login, and where it ends.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// A registered client.
    pub client_id: &'a str,
    /// One of its redirect URIs.
    pub redirect_uri: &'a str,
    /// Where Kakao sends the browser back to.
    pub callback_url: &'a str,
}

/// Whether a frontend's state can be kept and returned.
pub fn is_state(state: &str) -> bool {
    state.len() <= STATE_BYTES_MAX
        && !state.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER)
}

/// Checks a request whose client and redirect URI are trusted.
///
/// # Errors
/// What its frontend must do otherwise.
pub fn check(asked: &Asked<'_>) -> Result<Accepted, Denial> {
    let invalid = |description| Denial::new(ErrorWord::InvalidRequest, description);
    match asked.response_type {
        Some("code") => {}
        Some(_) => {
            let description = "The only response_type is code.";
            return Err(Denial::new(ErrorWord::UnsupportedResponseType, description));
        }
        None => return Err(invalid("response_type is missing; it must be code.")),
    }
    if asked.response_mode.is_some_and(|mode| mode != "query") {
        return Err(invalid("The only response_mode is query."));
    }
    if asked.state.is_some_and(|state| !is_state(state)) {
        return Err(invalid("state must be UTF-8 of at most 2048 bytes, no control characters."));
    }
    // Without a method it would be plain (RFC 7636, 4.3), which proves nothing.
    if asked.code_challenge_method != Some(pkce::METHOD) {
        return Err(invalid("code_challenge_method must be S256."));
    }
    let challenge = asked
        .code_challenge
        .and_then(Challenge::parse)
        .ok_or(invalid("code_challenge must be a base64url SHA-256 without padding."))?;
    if asked.scope.is_some_and(|scope| !is_scope(scope)) {
        return Err(Denial::new(ErrorWord::InvalidScope, "scope is not a list of scopes."));
    }
    if asked.prompt.is_some_and(|prompt| !is_prompt(prompt)) {
        return Err(invalid("prompt must be words such as login, none or select_account."));
    }
    let (state, prompt) = (asked.state.map(str::to_owned), asked.prompt.map(str::to_owned));
    Ok(Accepted { state, challenge, prompt })
}

/// RFC 6749, 3.3.
pub fn is_scope(scope: &str) -> bool {
    let is_allowed = |b: u8| matches!(b, b' ' | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    scope.len() <= SCOPE_BYTES_MAX && scope.bytes().all(is_allowed)
}

fn is_prompt(prompt: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || matches!(b, b'_' | b',' | b' ');
    prompt.len() <= PROMPT_BYTES_MAX && prompt.bytes().all(is_allowed)
}

/// Notes a login down and says where the browser goes. A browser that has its cookie already keeps
/// it, so that logins in two tabs both work.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn begin(
    store: &Store,
    kakao: &Kakao,
    beginning: Beginning<'_>,
    accepted: Accepted,
    browser: Option<Secret>,
    now: Timestamp,
) -> Result<Begun, StoreError> {
    let browser = browser.unwrap_or_else(Secret::random);
    let (state, nonce, verifier) = (Secret::random(), Secret::random(), Secret::random());
    let row = LoginRow {
        client_id: beginning.client_id.to_owned(),
        redirect_uri: beginning.redirect_uri.to_owned(),
        client_state: accepted.state,
        code_challenge: accepted.challenge.as_str().to_owned(),
        nonce: nonce.expose().to_owned(),
        code_verifier: verifier.expose().to_owned(),
        expires_at: now.plus_s(LOGIN_LIFE_S),
    };
    store.begin_login(&state.hash(), &browser.hash(), &row, LOGINS_PER_BROWSER_MAX).await?;
    let location = kakao.authorize_url(&Ask {
        redirect_uri: beginning.callback_url,
        state: state.expose(),
        nonce: nonce.expose(),
        code_challenge: Challenge::of(verifier.expose()).as_str(),
        prompt: accepted.prompt.as_deref(),
    });
    Ok(Begun { location, browser })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn asked() -> Asked<'static> {
        Asked {
            response_type: Some("code"),
            code_challenge: Some(CHALLENGE),
            code_challenge_method: Some("S256"),
            ..Asked::default()
        }
    }

    #[test]
    fn a_code_with_s256_is_all_that_is_needed() {
        let accepted = check(&asked()).expect("accepted");
        assert_eq!(accepted.challenge.as_str(), CHALLENGE);
        let more = Asked {
            state: Some("{\"back\": \"/경매\"}"),
            scope: Some("openid api"),
            prompt: Some("select_account"),
            response_mode: Some("query"),
            ..asked()
        };
        let accepted = check(&more).expect("accepted");
        assert_eq!(accepted.state.as_deref(), more.state);
        assert_eq!(accepted.prompt.as_deref(), Some("select_account"));
    }

    #[test]
    fn plain_missing_and_malformed_challenges_are_refused() {
        for (challenge, method) in [
            (None, Some("S256")),
            (Some(CHALLENGE), None),
            (Some(CHALLENGE), Some("plain")),
            (Some(CHALLENGE), Some("s256")),
            (Some("short"), Some("S256")),
            (None, None),
        ] {
            let asked =
                Asked { code_challenge: challenge, code_challenge_method: method, ..asked() };
            let denial = check(&asked).expect_err("refused");
            assert_eq!(denial.error, ErrorWord::InvalidRequest, "{challenge:?} {method:?}");
        }
    }

    #[test]
    fn what_hoga_does_not_have_is_named() {
        let long = "s".repeat(STATE_BYTES_MAX + 1);
        for (asked, error) in [
            (Asked { response_type: Some("token"), ..asked() }, ErrorWord::UnsupportedResponseType),
            (Asked { response_type: None, ..asked() }, ErrorWord::InvalidRequest),
            (Asked { response_mode: Some("fragment"), ..asked() }, ErrorWord::InvalidRequest),
            (Asked { state: Some(&long), ..asked() }, ErrorWord::InvalidRequest),
            (Asked { state: Some("a\nb"), ..asked() }, ErrorWord::InvalidRequest),
            (Asked { scope: Some("a\"b"), ..asked() }, ErrorWord::InvalidScope),
            (Asked { prompt: Some("login&x=1"), ..asked() }, ErrorWord::InvalidRequest),
        ] {
            assert_eq!(check(&asked).map_err(|denial| denial.error), Err(error), "{asked:?}");
        }
    }
}
