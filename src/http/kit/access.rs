//! Who may call which operation: one table.
//!
//! The API document takes its `security` and the refusals of authorisation from here, and
//! tests/api/access.rs calls every operation as everybody and holds the answers against it. An
//! operation without a line here fails that test.

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

/// Every operation, by its `operationId`.
pub const TABLE: &[(&str, Who)] = &[
    // auctions
    ("create_auction", Who::Seller),
    ("list_auctions", Who::Reader),
    ("get_auction", Who::Reader),
    ("update_auction", Who::SellerOfIt),
    ("delete_auction", Who::SellerOfItOrAdmin),
    ("relist_auction", Who::SellerOfItWhoSells),
    // bids
    ("place_bid", Who::Bidder),
    ("buy_auction", Who::Bidder),
    ("retract_bid", Who::BidderOfIt),
    ("list_bids", Who::Anyone),
    ("get_bidding", Who::User),
    // log
    ("get_log", Who::Anyone),
    ("get_log_checkpoint", Who::Anyone),
    // streams
    ("watch_auction_events", Who::Anyone),
    ("watch_events", Who::Anyone),
    ("watch_my_events", Who::User),
    ("create_events_ticket", Who::User),
    // watching
    ("watch_auction", Who::User),
    ("unwatch_auction", Who::User),
    ("list_watchlist", Who::User),
    // notifications
    ("list_notifications", Who::User),
    ("read_notifications", Who::User),
    ("get_notification_preferences", Who::User),
    ("set_notification_preferences", Who::User),
    ("list_keyword_alerts", Who::User),
    ("create_keyword_alert", Who::User),
    ("delete_keyword_alert", Who::OwnerOfAlert),
    ("get_push_key", Who::Anyone),
    ("list_push_subscriptions", Who::User),
    ("create_push_subscription", Who::User),
    ("delete_push_subscription", Who::OwnerOfPushSubscription),
    // me
    ("get_me", Who::User),
    ("update_me", Who::User),
    ("delete_me", Who::User),
    ("list_addresses", Who::User),
    ("create_address", Who::User),
    ("get_address", Who::OwnerOfAddress),
    ("update_address", Who::OwnerOfAddress),
    ("delete_address", Who::OwnerOfAddress),
    // sellers
    ("get_seller_application", Who::User),
    ("create_seller_application", Who::User),
    ("list_seller_applications", Who::Admin),
    ("approve_seller_application", Who::Admin),
    ("refuse_seller_application", Who::Admin),
    // users
    ("get_user", Who::Admin),
    ("set_user_roles", Who::Admin),
    // login
    ("start_login", Who::Anyone),
    ("finish_login", Who::Anyone),
    ("create_token", Who::Client),
    ("revoke_token", Who::Client),
    ("get_authorization_server_metadata", Who::Anyone),
    // webhooks
    ("take_kakao_webhook", Who::Kakao),
    ("take_kakao_webhook_by_query", Who::Kakao),
    // clients
    ("list_clients", Who::Admin),
    ("create_client", Who::Admin),
    ("get_client", Who::Admin),
    ("update_client", Who::Admin),
    ("delete_client", Who::Admin),
    ("rotate_client_secret", Who::Admin),
    ("list_webhooks", Who::Admin),
    ("create_webhook", Who::Admin),
    ("get_webhook", Who::Admin),
    ("update_webhook", Who::Admin),
    ("delete_webhook", Who::Admin),
    ("rotate_webhook_secret", Who::Admin),
    ("test_webhook", Who::Admin),
    ("replay_webhook", Who::Admin),
    ("list_webhook_deliveries", Who::Admin),
    ("get_webhook_delivery", Who::Admin),
    ("replay_webhook_delivery", Who::Admin),
    // service
    ("get_time", Who::Anyone),
    ("get_health", Who::Anyone),
    ("get_readiness", Who::Anyone),
    ("get_metrics", Who::Anyone),
    ("get_problem", Who::Anyone),
    ("get_jwks", Who::Anyone),
];

/// Who may call this operation; `None` when the table lacks it.
pub fn who_may(operation_id: &str) -> Option<Who> {
    TABLE.iter().find(|(id, _)| *id == operation_id).map(|(_, who)| *who)
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_operation_stands_twice() {
        let mut seen = HashSet::new();
        assert!(TABLE.iter().all(|(id, _)| seen.insert(id)));
    }
}
