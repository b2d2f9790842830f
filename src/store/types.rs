//! Domain types as Postgres types.

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::{ApplicationStatus, Gender, OpenKind, UnlinkDirection};
use crate::domain::{
    auction::{Phase, ResultKind},
    id::{AuctionId, LogId, UserId},
    money::{Amount, Currency},
    time::Timestamp,
};

type BoxError = Box<dyn std::error::Error + Sync + Send>;

/// Microseconds from 1970-01-01 to 2000-01-01, from where Postgres counts.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

impl ToSql for Timestamp {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        (self.as_millis() * 1_000 - POSTGRES_EPOCH_US).to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Timestamp {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        let micros = i64::from_sql(ty, raw)?;
        Ok(Timestamp::from_millis((micros.saturating_add(POSTGRES_EPOCH_US)).div_euclid(1_000)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

impl ToSql for Amount {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        self.minor_units().to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::INT8
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Amount {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Amount::new(i64::from_sql(ty, raw)?)?)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::INT8
    }
}

macro_rules! id_as_uuid {
    ($name:ident) => {
        impl ToSql for $name {
            fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
                self.0.to_sql(ty, out)
            }

            fn accepts(ty: &Type) -> bool {
                *ty == Type::UUID
            }

            to_sql_checked!();
        }

        impl<'a> FromSql<'a> for $name {
            fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
                uuid::Uuid::from_sql(ty, raw).map($name)
            }

            fn accepts(ty: &Type) -> bool {
                *ty == Type::UUID
            }
        }
    };
}

id_as_uuid!(AuctionId);
id_as_uuid!(UserId);

impl ToSql for LogId {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        self.uuid().to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }

    to_sql_checked!();
}

/// A text in a row is none of the words that there are.
#[derive(Debug, thiserror::Error)]
#[error("{word:?} is no {set}")]
pub(super) struct UnknownWord {
    word: String,
    set: &'static str,
}

/// Closed sets, which rows keep as their words.
macro_rules! words_as_text {
    ($word:ident $from_word:ident: $($name:ident),+) => {$(
        impl ToSql for $name {
            fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
                self.$word().to_sql(ty, out)
            }

            fn accepts(ty: &Type) -> bool {
                <&str as ToSql>::accepts(ty)
            }

            to_sql_checked!();
        }

        impl<'a> FromSql<'a> for $name {
            fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
                let word = <&str>::from_sql(ty, raw)?;
                let unknown = || UnknownWord { word: word.to_owned(), set: stringify!($name) };
                Ok($name::$from_word(word).ok_or_else(unknown)?)
            }

            fn accepts(ty: &Type) -> bool {
                <&str as FromSql>::accepts(ty)
            }
        }
    )+};
}

words_as_text!(word from_word: ApplicationStatus, Gender, OpenKind, Phase, ResultKind, UnlinkDirection);
words_as_text!(code from_code: Currency);
