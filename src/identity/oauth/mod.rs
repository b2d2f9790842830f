//! The authorization server: logins that Kakao carries out, codes, refresh tokens.
//!
//! Owns the rules of RFC 6749, 7636, 7009 and 9700 as far as they do not speak HTTP. Must never
//! keep a code, token or cookie other than as a hash, nor tell anybody else's grant from one that
//! never was before its client is known.

pub mod authorize;
pub mod callback;
pub mod grant;
pub mod pending_logins;
pub mod pkce;

pub use self::pending_logins::PendingLogins;

/// A login must have come back from Kakao by then, in seconds; the browser's cookie lives as long.
pub const LOGIN_LIFE_S: i64 = 600;
/// A code must have been redeemed by then, in seconds.
pub const CODE_LIFE_S: i64 = 60;
/// A refresh token must have been used by then, in seconds: 30 days.
pub const REFRESH_TOKEN_LIFE_S: i64 = 30 * 86_400;
/// However often it was refreshed, a login ends after so many seconds: 180 days.
pub const FAMILY_LIFE_S: i64 = 180 * 86_400;
/// What every access token is good for. There are no narrower ones: roles decide.
pub const SCOPE: &str = "api";

/// The `error` of an answer, as the RFCs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorWord {
    /// Something is missing, stands twice or is malformed.
    InvalidRequest,
    /// The client is unknown or did not prove who it is.
    InvalidClient,
    /// The code or refresh token does not count.
    InvalidGrant,
    /// A grant that Hoga does not have.
    UnsupportedGrantType,
    /// A response type that Hoga does not have.
    UnsupportedResponseType,
    /// The scope is not a scope.
    InvalidScope,
    /// Tokens of this type cannot be revoked (RFC 7009).
    UnsupportedTokenType,
    /// The user or Kakao said no.
    AccessDenied,
    /// `prompt=none`, and Kakao must ask the user something (OpenID Connect, 3.1.2.6).
    InteractionRequired,
    /// Our side is at fault.
    ServerError,
    /// Later it may work.
    TemporarilyUnavailable,
}

impl ErrorWord {
    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            ErrorWord::InvalidRequest => "invalid_request",
            ErrorWord::InvalidClient => "invalid_client",
            ErrorWord::InvalidGrant => "invalid_grant",
            ErrorWord::UnsupportedGrantType => "unsupported_grant_type",
            ErrorWord::UnsupportedResponseType => "unsupported_response_type",
            ErrorWord::InvalidScope => "invalid_scope",
            ErrorWord::UnsupportedTokenType => "unsupported_token_type",
            ErrorWord::AccessDenied => "access_denied",
            ErrorWord::InteractionRequired => "interaction_required",
            ErrorWord::ServerError => "server_error",
            ErrorWord::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// An error for a frontend: the word, and a sentence for its developer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// For programs.
    pub error: ErrorWord,
    /// English, ASCII without quotes or backslashes (RFC 6749, 4.1.2.1).
    pub description: &'static str,
}

impl Denial {
    /// With its sentence.
    pub const fn new(error: ErrorWord, description: &'static str) -> Denial {
        Denial { error, description }
    }
}
