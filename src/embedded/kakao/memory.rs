//! What the stand-in remembers: choices on its page, codes, tokens and links. The oldest goes when
//! there are too many.

use std::collections::{HashMap, HashSet, VecDeque};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::domain::time::Timestamp;

/// Choices, codes and tokens of each kind that are kept.
const KEPT_MAX: usize = 4_096;
/// How long a page waits for a choice, in seconds.
const ASK_LIFE_S: i64 = 600;
/// How long a code can be exchanged, in seconds.
const CODE_LIFE_S: i64 = 600;
/// How long an access token lives, in seconds, as Kakao has it.
const ACCESS_TOKEN_LIFE_S: i64 = 21_599;
/// How long a refresh token lives, in seconds, as Kakao has it.
pub(super) const REFRESH_TOKEN_LIFE_S: i64 = 5_183_999;

/// What a browser came to the page with.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) code_challenge: Option<String>,
    pub(super) scope: String,
}

/// A choice that was made, until its code is exchanged.
pub(super) struct Grant {
    pub(super) person: i64,
    pub(super) ask: Ask,
    pub(super) chosen_at: Timestamp,
}

/// Whose a token is, and for what.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) person: i64,
    pub(super) scope: String,
    pub(super) logged_in_at: Timestamp,
}

struct Until<T> {
    value: T,
    expires_at: Timestamp,
}

/// Words and what they stand for, the oldest forgotten first.
struct Kept<T> {
    by_word: HashMap<String, Until<T>>,
    order: VecDeque<String>,
}

/// Everything remembered.
pub(super) struct Memory {
    asks: Kept<Ask>,
    codes: Kept<Grant>,
    access_tokens: Kept<Session>,
    refresh_tokens: Kept<Session>,
    linked: HashSet<i64>,
    pub(super) access_token_life_s: i64,
}

/// 256 bits that nobody can guess, as a word.
pub(super) fn random_word() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept { by_word: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Kept<T> {
    fn keep(&mut self, value: T, expires_at: Timestamp) -> String {
        if self.order.len() >= KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_word.remove(&oldest);
        }
        let word = random_word();
        self.by_word.insert(word.clone(), Until { value, expires_at });
        self.order.push_back(word.clone());
        word
    }

    fn find(&self, word: &str, now: Timestamp) -> Option<&T> {
        self.by_word.get(word).filter(|kept| now < kept.expires_at).map(|kept| &kept.value)
    }

    fn take(&mut self, word: &str, now: Timestamp) -> Option<T> {
        let taken = self.by_word.remove(word)?;
        self.order.retain(|kept| kept != word);
        (now < taken.expires_at).then_some(taken.value)
    }

    fn forget(&mut self, is_over: impl Fn(&T) -> bool) {
        self.by_word.retain(|_, kept| !is_over(&kept.value));
        self.order.retain(|word| self.by_word.contains_key(word));
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            asks: Kept::default(),
            codes: Kept::default(),
            access_tokens: Kept::default(),
            refresh_tokens: Kept::default(),
            linked: HashSet::new(),
            access_token_life_s: ACCESS_TOKEN_LIFE_S,
        }
    }
}

impl Memory {
    /// A page is shown; its ticket comes back with the choice.
    pub(super) fn ask(&mut self, ask: Ask, now: Timestamp) -> String {
        self.asks.keep(ask, now.plus_s(ASK_LIFE_S))
    }

    /// The choice of a page, once.
    pub(super) fn take_ask(&mut self, ticket: &str, now: Timestamp) -> Option<Ask> {
        self.asks.take(ticket, now)
    }

    /// Somebody agreed: a code, and the link that Kakao makes then.
    pub(super) fn grant(&mut self, ask: Ask, person: i64, now: Timestamp) -> String {
        self.linked.insert(person);
        self.codes.keep(Grant { person, ask, chosen_at: now }, now.plus_s(CODE_LIFE_S))
    }

    /// What a code stands for, once: whoever comes with it uses it up, rightly or not.
    pub(super) fn take_code(&mut self, code: &str, now: Timestamp) -> Option<Grant> {
        self.codes.take(code, now)
    }

    /// A new access token.
    pub(super) fn access_token(&mut self, session: Session, now: Timestamp) -> String {
        self.access_tokens.keep(session, now.plus_s(self.access_token_life_s))
    }

    /// A new refresh token.
    pub(super) fn refresh_token(&mut self, session: Session, now: Timestamp) -> String {
        self.refresh_tokens.keep(session, now.plus_s(REFRESH_TOKEN_LIFE_S))
    }

    /// Whose access token it is.
    pub(super) fn session(&self, access_token: &str, now: Timestamp) -> Option<&Session> {
        self.access_tokens.find(access_token, now)
    }

    /// Whose refresh token it is.
    pub(super) fn refreshed(&self, refresh_token: &str, now: Timestamp) -> Option<&Session> {
        self.refresh_tokens.find(refresh_token, now)
    }

    /// Whether somebody is linked to the app.
    pub(super) fn is_linked(&self, person: i64) -> bool {
        self.linked.contains(&person)
    }

    /// Every token of a person ends.
    pub(super) fn log_out(&mut self, person: i64) {
        self.access_tokens.forget(|session| session.person == person);
        self.refresh_tokens.forget(|session| session.person == person);
    }

    /// The link of a person ends, with every token; whether there was one.
    pub(super) fn unlink(&mut self, person: i64) -> bool {
        self.log_out(person);
        self.codes.forget(|grant| grant.person == person);
        self.linked.remove(&person)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus_s(seconds)
    }

    #[test]
    fn a_word_counts_once_and_in_time() {
        let mut kept = Kept::default();
        let (first, second) = (kept.keep(1, at(10)), kept.keep(2, at(10)));
        assert_eq!(kept.take(&first, at(9)), Some(1));
        assert_eq!(kept.take(&first, at(9)), None);
        assert_eq!(kept.take(&second, at(10)), None);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut kept = Kept::default();
        let words: Vec<String> = (0..=KEPT_MAX).map(|no| kept.keep(no, at(10))).collect();
        assert_eq!((kept.by_word.len(), kept.order.len()), (KEPT_MAX, KEPT_MAX));
        assert_eq!(kept.find(&words[0], at(0)), None);
        assert_eq!(kept.find(&words[KEPT_MAX], at(0)), Some(&KEPT_MAX));
    }
}
