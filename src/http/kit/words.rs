//! Closed sets as they are answered: what the layers below keep as text is one of the words that the
//! document lists, or the answer is refused as damaged.

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer},
};
use utoipa::ToSchema;

use super::problem::{Code, Problem};
use crate::domain::auction::ResultKind;

/// The word that a stored text is.
///
/// # Errors
/// [`Code::Internal`] where this version does not know it.
pub(in crate::http) fn word<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let text: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    T::deserialize(text).map_err(|error| {
        tracing::error!(%error, "a stored word is none that is answered");
        Code::Internal.into()
    })
}

/// How an auction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AuctionResult)]
pub enum ResultWord {
    /// The leader won.
    Sold,
    /// Nobody bid.
    UnsoldNoBids,
    /// Nobody met the reserve.
    UnsoldReserveNotMet,
    /// Somebody took the buy-now price.
    BoughtNow,
    /// An operator ended it.
    CancelledByOperator,
}

impl From<ResultKind> for ResultWord {
    fn from(result: ResultKind) -> ResultWord {
        match result {
            ResultKind::Sold => ResultWord::Sold,
            ResultKind::UnsoldNoBids => ResultWord::UnsoldNoBids,
            ResultKind::UnsoldReserveNotMet => ResultWord::UnsoldReserveNotMet,
            ResultKind::BoughtNow => ResultWord::BoughtNow,
            ResultKind::CancelledByOperator => ResultWord::CancelledByOperator,
        }
    }
}

/// What a webhook is told of: a type of event, or a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WebhookMessageType)]
pub enum MessageTypeWord {
    /// An auction came to be.
    #[serde(rename = "auction.scheduled")]
    AuctionScheduled,
    /// Its item or terms were changed.
    #[serde(rename = "auction.edited")]
    AuctionEdited,
    /// Its seller called it off before it opened.
    #[serde(rename = "auction.withdrawn")]
    AuctionWithdrawn,
    /// It takes bids.
    #[serde(rename = "auction.opened")]
    AuctionOpened,
    /// A late bid moved its end.
    #[serde(rename = "auction.extended")]
    AuctionExtended,
    /// Somebody took the buy-now price.
    #[serde(rename = "auction.bought")]
    AuctionBought,
    /// It is over.
    #[serde(rename = "auction.closed")]
    AuctionClosed,
    /// A bid was accepted.
    #[serde(rename = "bid.placed")]
    BidPlaced,
    /// A bid was taken back.
    #[serde(rename = "bid.retracted")]
    BidRetracted,
    /// Somebody asked for a test.
    #[serde(rename = "webhook.test")]
    WebhookTest,
}

/// The languages of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Language)]
pub enum LanguageWord {
    /// English.
    En,
    /// Korean.
    Ko,
}
