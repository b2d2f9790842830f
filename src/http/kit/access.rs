//! Who may call an operation, how they show it, and what everybody else is told.
//!
//! The API document takes its `security` and the refusals of authorisation from here, and
//! tests/api/access.rs calls every operation of [`super::operations`] as everybody and holds the
//! answers against it.

use super::problem::Code;
use crate::identity::Role;

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Everybody; a token is not looked at.
    Anyone,
    /// Everybody; who shows a token must show a good one, and may see more.
    Reader,
    /// Every user.
    User,
    /// Users with the role `bidder`.
    Bidder,
    /// Users with the role `seller`.
    Seller,
    /// Users with the role `admin`.
    Admin,
    /// The seller of the auction, whatever their roles are now.
    SellerOfIt,
    /// The seller of the auction, who may still sell.
    SellerOfItWhoSells,
    /// The seller of the auction, and those with the role `admin`.
    SellerOfItOrAdmin,
    /// The bidder of the bid, who may still bid.
    BidderOfIt,
    /// The user whose address it is: for everybody else it is not there.
    OwnerOfAddress,
    /// The user whose alert it is: for everybody else it is not there.
    OwnerOfAlert,
    /// The user whose subscription it is: for everybody else it is not there.
    OwnerOfPushSubscription,
    /// Registered frontends: by their id, and by their secret where they have one. Refused as RFC
    /// 6749 says.
    Client,
    /// Kakao, by our admin key.
    Kakao,
}

/// How a caller shows who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Not at all.
    None,
    /// By an access token, if they want to.
    OptionalToken,
    /// By an access token.
    Token,
    /// By the client's id, and its secret where it has one.
    Client,
    /// By Kakao's admin key.
    Kakao,
}

impl Who {
    /// How they show it.
    pub const fn proof(self) -> Proof {
        match self {
            Who::Anyone => Proof::None,
            Who::Reader => Proof::OptionalToken,
            Who::User
            | Who::Bidder
            | Who::Seller
            | Who::Admin
            | Who::SellerOfIt
            | Who::SellerOfItWhoSells
            | Who::SellerOfItOrAdmin
            | Who::BidderOfIt
            | Who::OwnerOfAddress
            | Who::OwnerOfAlert
            | Who::OwnerOfPushSubscription => Proof::Token,
            Who::Client => Proof::Client,
            Who::Kakao => Proof::Kakao,
        }
    }

    /// The role that is needed.
    pub const fn role(self) -> Option<Role> {
        match self {
            Who::Bidder | Who::BidderOfIt => Some(Role::Bidder),
            Who::Seller | Who::SellerOfItWhoSells => Some(Role::Seller),
            Who::Admin => Some(Role::Admin),
            Who::Anyone
            | Who::Reader
            | Who::User
            | Who::SellerOfIt
            | Who::SellerOfItOrAdmin
            | Who::OwnerOfAddress
            | Who::OwnerOfAlert
            | Who::OwnerOfPushSubscription
            | Who::Client
            | Who::Kakao => None,
        }
    }

    /// What a user without the role is told.
    pub fn without_role(self) -> Option<Code> {
        self.role().map(|role| match role {
            Role::Bidder => Code::NotRegistered,
            Role::Seller | Role::Admin => Code::Forbidden,
        })
    }

    /// What a user is told of what is somebody else's.
    pub const fn not_theirs(self) -> Option<Code> {
        match self {
            Who::SellerOfIt | Who::SellerOfItWhoSells | Who::SellerOfItOrAdmin => {
                Some(Code::NotYourAuction)
            }
            Who::BidderOfIt => Some(Code::NotYourBid),
            Who::OwnerOfAddress => Some(Code::AddressNotFound),
            Who::OwnerOfAlert => Some(Code::KeywordAlertNotFound),
            Who::OwnerOfPushSubscription => Some(Code::PushSubscriptionNotFound),
            Who::Anyone
            | Who::Reader
            | Who::User
            | Who::Bidder
            | Who::Seller
            | Who::Admin
            | Who::Client
            | Who::Kakao => None,
        }
    }

    /// Every refusal of somebody who may not, and of tokens that do not count.
    pub fn refusals(self) -> Vec<Code> {
        let by_token: &[Code] = match self.proof() {
            Proof::None | Proof::Client => &[],
            Proof::OptionalToken => &[Code::TokenExpired, Code::TokenInvalid],
            Proof::Token => &[Code::Unauthenticated, Code::TokenExpired, Code::TokenInvalid],
            Proof::Kakao => &[Code::WebhookRefused],
        };
        let by_user = [self.without_role(), self.not_theirs()];
        by_token.iter().copied().chain(by_user.into_iter().flatten()).collect()
    }
}
