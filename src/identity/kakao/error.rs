//! Everything that a login at Kakao can end with instead of somebody logged in.
//!
//! Must never carry a token, a code or what Kakao said in its own words, for those may repeat one.

use std::fmt;

/// Why there is nobody logged in. Closed: whoever shows it to people has a text for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KakaoError {
    /// The user said no.
    #[error("the user refused")]
    Refused,
    /// Kakao wants to ask the user something, and was told not to.
    #[error("Kakao must ask the user first")]
    InteractionRequired,
    /// The code is unknown, used, too old, or belongs to another verifier (KOE320).
    #[error("Kakao does not know the code (KOE320)")]
    CodeInvalid,
    /// The code was made for another redirect URI (KOE303).
    #[error("the code belongs to another redirect URI (KOE303)")]
    RedirectMismatch,
    /// Our redirect URI is not registered at Kakao (KOE006).
    #[error("our redirect URI is not registered at Kakao (KOE006)")]
    RedirectUnregistered,
    /// Kakao does not know our app key (KOE101, KOE008).
    #[error("Kakao does not know HOGA_KAKAO_CLIENT_ID (KOE101)")]
    AppKeyWrong,
    /// Our client secret is wrong (KOE010).
    #[error("Kakao does not accept HOGA_KAKAO_CLIENT_SECRET (KOE010)")]
    SecretWrong,
    /// Our admin key is wrong, or there is none.
    #[error("Kakao does not accept HOGA_KAKAO_ADMIN_KEY, or there is none")]
    AdminKeyWrong,
    /// Kakao Login is switched off for our app (KOE004).
    #[error("Kakao Login is not activated for our app (KOE004)")]
    NotActivated,
    /// Our app is a test app and the user is not in its team (KOE005).
    #[error("the user may not use a test app (KOE005)")]
    NotATester,
    /// Our app may not ask for what it asked for, or the user did not agree (KOE205, -402).
    #[error("our app may not ask for this (KOE205)")]
    ConsentMissing,
    /// The user is too young for our app, says Kakao (-406).
    #[error("the user is too young for our app (-406)")]
    TooYoung,
    /// Kakao refuses its own access token (-401).
    #[error("Kakao does not accept its access token (-401)")]
    TokenRefused,
    /// Another error of Kakao's, by its code.
    #[error("Kakao answered with {0}")]
    Other(KakaoCode),
    /// Too many requests of ours (KOE237, -10).
    #[error("Kakao has had too many requests from us (KOE237)")]
    TooManyRequests,
    /// Too many logins at once on our side.
    #[error("too many logins are under way")]
    Busy,
    /// No connection, or Kakao says itself that it cannot answer.
    #[error("{place} of Kakao is not available: {why}")]
    Unavailable {
        /// Which part of Kakao.
        place: Place,
        /// What was seen.
        why: String,
    },
    /// No answer in time.
    #[error("{0} of Kakao did not answer in time")]
    TimedOut(Place),
    /// An answer that is none.
    #[error("{place} of Kakao answered something else: {what}")]
    Rubbish {
        /// Which part of Kakao.
        place: Place,
        /// What was wrong with it.
        what: Rubbish,
    },
    /// The id_token does not count.
    #[error("the id_token does not count: {0}")]
    IdTokenInvalid(IdTokenFault),
    /// The id_token and the user data speak of different people.
    #[error("the id_token and the user data are of different people")]
    AnotherUser,
}

/// A part of Kakao that we call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// `/oauth/token`
    Token,
    /// `/.well-known/jwks.json`
    Keys,
    /// `/v2/user/me`
    User,
    /// `/v1/user/unlink`
    Unlink,
    /// All of it together.
    Login,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Token => "the token endpoint",
            Place::Keys => "the key set",
            Place::User => "the user data",
            Place::Unlink => "the unlinking",
            Place::Login => "the login",
        })
    }
}

/// What was wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rubbish {
    /// More bytes than any answer has.
    #[error("too much of it")]
    TooLarge,
    /// Not JSON, or without a field that must be there.
    #[error("not what was asked for")]
    Malformed,
    /// It wants us to go elsewhere, which we do not.
    #[error("a redirect")]
    Redirect,
    /// An error without a code of Kakao's.
    #[error("an error without a code")]
    NoCode,
}

/// Why an id_token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenFault {
    /// There is none.
    #[error("it is missing")]
    Missing,
    /// It is no JWT, or lacks a claim.
    #[error("it is malformed")]
    Malformed,
    /// Signed otherwise than with RS256.
    #[error("its algorithm is not RS256")]
    Algorithm,
    /// Kakao has no such key.
    #[error("its key is unknown")]
    UnknownKey,
    /// Not signed by Kakao.
    #[error("its signature is wrong")]
    Signature,
    /// From somebody else.
    #[error("its issuer is not Kakao")]
    Issuer,
    /// For another app.
    #[error("it is for another app")]
    Audience,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Not from the login that we began.
    #[error("its nonce is another")]
    Nonce,
}

/// A code of Kakao's, such as `KOE001` or `-9798`: short, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KakaoCode(String);

/// Characters of a code, at most.
const CODE_CHARS_MAX: usize = 16;

impl KakaoCode {
    /// What looks like a code.
    pub fn new(text: &str) -> Option<KakaoCode> {
        let is_code = (1..=CODE_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_code.then(|| KakaoCode(text.to_owned()))
    }

    /// Whether it says that the user is not linked to our app.
    pub fn is_not_linked(&self) -> bool {
        self.0 == "-101"
    }
}

impl fmt::Display for KakaoCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KakaoError {
    /// Of `error_code` in an error of Kakao's authorization server, or `code` in one of its API.
    pub fn of_code(place: Place, code: &str) -> KakaoError {
        match code {
            "KOE320" => KakaoError::CodeInvalid,
            "KOE303" => KakaoError::RedirectMismatch,
            "KOE006" => KakaoError::RedirectUnregistered,
            "KOE101" | "KOE008" => KakaoError::AppKeyWrong,
            "KOE010" => KakaoError::SecretWrong,
            "KOE004" => KakaoError::NotActivated,
            "KOE005" => KakaoError::NotATester,
            "KOE205" | "-402" => KakaoError::ConsentMissing,
            "KOE237" | "-10" => KakaoError::TooManyRequests,
            "-406" => KakaoError::TooYoung,
            "-401" if place == Place::Unlink => KakaoError::AdminKeyWrong,
            "-401" => KakaoError::TokenRefused,
            "KOE003" | "-1" | "-9798" => {
                KakaoError::Unavailable { place, why: format!("it said {code}") }
            }
            code => KakaoCode::new(code)
                .map_or(KakaoError::Rubbish { place, what: Rubbish::NoCode }, KakaoError::Other),
        }
    }

    /// Of the `error` and `error_description` that Kakao sends the browser back with.
    pub fn of_callback(error: &str, description: Option<&str>) -> KakaoError {
        let koe = description.into_iter().flat_map(|text| {
            text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.starts_with("KOE"))
        });
        match error {
            "access_denied" => KakaoError::Refused,
            "login_required" | "consent_required" | "interaction_required" => {
                KakaoError::InteractionRequired
            }
            "temporarily_unavailable" | "server_error" => {
                KakaoError::Unavailable { place: Place::Login, why: "it said so".to_owned() }
            }
            _ => koe.last().map_or(
                KakaoError::Rubbish { place: Place::Login, what: Rubbish::NoCode },
                |code| KakaoError::of_code(Place::Login, code),
            ),
        }
    }

    /// For programs, and never changes its meaning: what a frontend looks its text up by.
    pub const fn word(&self) -> &'static str {
        match self {
            KakaoError::Refused => "kakao_refused",
            KakaoError::InteractionRequired => "kakao_interaction_required",
            KakaoError::CodeInvalid => "kakao_code_invalid",
            KakaoError::RedirectMismatch => "kakao_redirect_mismatch",
            KakaoError::RedirectUnregistered => "kakao_redirect_unregistered",
            KakaoError::AppKeyWrong => "kakao_app_key_wrong",
            KakaoError::SecretWrong => "kakao_secret_wrong",
            KakaoError::AdminKeyWrong => "kakao_admin_key_wrong",
            KakaoError::NotActivated => "kakao_not_activated",
            KakaoError::NotATester => "kakao_not_a_tester",
            KakaoError::ConsentMissing => "kakao_consent_missing",
            KakaoError::TooYoung => "kakao_too_young",
            KakaoError::TokenRefused => "kakao_token_refused",
            KakaoError::Other(_) => "kakao_error",
            KakaoError::TooManyRequests => "kakao_too_many_requests",
            KakaoError::Busy => "kakao_busy",
            KakaoError::Unavailable { .. } => "kakao_unavailable",
            KakaoError::TimedOut(_) => "kakao_timed_out",
            KakaoError::Rubbish { .. } => "kakao_rubbish",
            KakaoError::IdTokenInvalid(_) => "kakao_id_token_invalid",
            KakaoError::AnotherUser => "kakao_another_user",
        }
    }

    /// Whose turn it is to do something.
    pub const fn blame(&self) -> Blame {
        match self {
            KakaoError::Refused
            | KakaoError::InteractionRequired
            | KakaoError::NotATester
            | KakaoError::ConsentMissing
            | KakaoError::TooYoung
            | KakaoError::CodeInvalid => Blame::User,
            KakaoError::TooManyRequests
            | KakaoError::Busy
            | KakaoError::Unavailable { .. }
            | KakaoError::TimedOut(_)
            | KakaoError::Rubbish { .. } => Blame::Moment,
            KakaoError::RedirectMismatch
            | KakaoError::RedirectUnregistered
            | KakaoError::AppKeyWrong
            | KakaoError::SecretWrong
            | KakaoError::AdminKeyWrong
            | KakaoError::NotActivated
            | KakaoError::TokenRefused
            | KakaoError::Other(_)
            | KakaoError::IdTokenInvalid(_)
            | KakaoError::AnotherUser => Blame::Operator,
        }
    }
}

/// Whose turn it is to do something about a login that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The user's: `access_denied`.
    User,
    /// Nobody's; it may work in a moment: `temporarily_unavailable`.
    Moment,
    /// Those who run the exchange: `server_error`.
    Operator,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_kakaos_is_told_apart_from_others() {
        let of = |code| KakaoError::of_code(Place::Token, code);
        assert_eq!(of("KOE320"), KakaoError::CodeInvalid);
        assert_eq!(of("KOE303"), KakaoError::RedirectMismatch);
        assert_eq!(of("KOE101"), KakaoError::AppKeyWrong);
        assert_eq!(of("KOE010"), KakaoError::SecretWrong);
        assert_eq!(of("KOE006"), KakaoError::RedirectUnregistered);
        assert_eq!(of("KOE237").blame(), Blame::Moment);
        assert_eq!(of("KOE999").to_string(), "Kakao answered with KOE999");
        assert_eq!(of("KOE003").blame(), Blame::Moment);
        assert_eq!(KakaoError::of_code(Place::Unlink, "-401"), KakaoError::AdminKeyWrong);
        assert_eq!(KakaoError::of_code(Place::User, "-401"), KakaoError::TokenRefused);
    }

    #[test]
    fn what_is_no_code_is_not_repeated() {
        let error = KakaoError::of_code(Place::Token, "code=AbCdEf0123456789AbCdEf");
        assert_eq!(error, KakaoError::Rubbish { place: Place::Token, what: Rubbish::NoCode });
        assert!(!format!("{error} {error:?}").contains("AbCdEf"));
    }

    #[test]
    fn a_callback_says_who_refused() {
        let of = KakaoError::of_callback;
        assert_eq!(of("access_denied", Some("User denied access")), KakaoError::Refused);
        assert_eq!(of("consent_required", None), KakaoError::InteractionRequired);
        assert_eq!(of("server_error", None).word(), "kakao_unavailable");
        assert_eq!(of("invalid_scope", Some("not set (KOE205)")), KakaoError::ConsentMissing);
        assert_eq!(of("<script>", Some("<script>")).word(), "kakao_rubbish");
    }
}
