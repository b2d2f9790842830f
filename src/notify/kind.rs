//! The kinds of notifications.

/// What a notification is about. Its words never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `outbid`: to the one who was leading.
    Outbid,
    /// `leading_again`: to the one who leads since somebody else's bid was taken back.
    LeadingAgain,
    /// `bid_retracted`: to the seller.
    BidRetracted,
    /// `highest_bid_changed`: to those who watch.
    HighestBidChanged,
    /// `opening_soon`: to those who watch.
    OpeningSoon,
    /// `ending_soon`: to those who watch.
    EndingSoon,
    /// `extended`: to those who watch or have bid.
    Extended,
    /// `won`: to the winner.
    Won,
    /// `lost`: to every bidder who did not win, with the final price.
    Lost,
    /// `sold`: to the seller.
    Sold,
    /// `unsold`: to the seller.
    Unsold,
    /// `order_due`: to the winner, who has to pay. Sent once there are orders.
    OrderDue,
    /// `order_overdue`: to winner and seller. Sent once there are orders.
    OrderOverdue,
    /// `payment`: to the seller. Sent once there are payments.
    Payment,
    /// `refund`: to the buyer. Sent once there are payments.
    Refund,
    /// `keyword_alert`: to those whose alert fits what was listed.
    KeywordAlert,
    /// `seller_application_decided`: to the applicant.
    SellerApplicationDecided,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 17] = [
        Kind::Outbid,
        Kind::LeadingAgain,
        Kind::BidRetracted,
        Kind::HighestBidChanged,
        Kind::OpeningSoon,
        Kind::EndingSoon,
        Kind::Extended,
        Kind::Won,
        Kind::Lost,
        Kind::Sold,
        Kind::Unsold,
        Kind::OrderDue,
        Kind::OrderOverdue,
        Kind::Payment,
        Kind::Refund,
        Kind::KeywordAlert,
        Kind::SellerApplicationDecided,
    ];

    /// As it is stored, answered and streamed.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Outbid => "outbid",
            Kind::LeadingAgain => "leading_again",
            Kind::BidRetracted => "bid_retracted",
            Kind::HighestBidChanged => "highest_bid_changed",
            Kind::OpeningSoon => "opening_soon",
            Kind::EndingSoon => "ending_soon",
            Kind::Extended => "extended",
            Kind::Won => "won",
            Kind::Lost => "lost",
            Kind::Sold => "sold",
            Kind::Unsold => "unsold",
            Kind::OrderDue => "order_due",
            Kind::OrderOverdue => "order_overdue",
            Kind::Payment => "payment",
            Kind::Refund => "refund",
            Kind::KeywordAlert => "keyword_alert",
            Kind::SellerApplicationDecided => "seller_application_decided",
        }
    }

    /// The kind of this word.
    pub fn from_word(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_again() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_word(kind.word()), Some(kind));
        }
    }
}
