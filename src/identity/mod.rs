//! Who is calling: Kakao, signing keys, access tokens and roles.
//!
//! Owns what a token says and how it is checked. Must never put a token, a key or personal data
//! into a log, and never accept an algorithm that it did not choose itself.

pub mod account;
pub mod business_number;
pub mod clients;
pub mod kakao;
pub mod keys;
pub mod oauth;
pub mod phone;
mod revocations;
pub mod secret;
pub mod tokens;

use serde::{Deserialize, Serialize};

use crate::domain::id::UserId;

/// What a user may do, besides reading what is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May bid and buy.
    Bidder,
    /// May sell.
    Seller,
    /// Looks after the house.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Bidder, Role::Seller, Role::Admin];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Role::Bidder => "bidder",
            Role::Seller => "seller",
            Role::Admin => "admin",
        }
    }

    /// The role of this word, if there is one.
    pub fn from_word(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// A caller whose token was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub user: UserId,
    /// The id of the registered frontend that the token was issued to; none on the command line.
    pub client: Option<std::sync::Arc<str>>,
    roles: Vec<Role>,
}

impl Caller {
    /// Whether the token gives this role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}
