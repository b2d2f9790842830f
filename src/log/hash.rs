//! The hash chain over the public log, and commitments to what stays private (API, "Auction").

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::domain::{auction::Salt, id::AuctionId, money::Amount, time::Timestamp};

/// A SHA-256: of an entry in the chain, or of a commitment. Written as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands before the first entry of a log.
    pub const ZERO: Hash = Hash([0; 32]);

    /// From bytes, if there are 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Hash> {
        bytes.try_into().ok().map(Hash)
    }

    /// From 64 lower-case hex digits; nothing else is the same hash to a reader of the log.
    pub fn from_hex(text: &str) -> Option<Hash> {
        let mut bytes = [0; 32];
        const_hex::decode_to_slice(text, &mut bytes).ok()?;
        let hash = Hash(bytes);
        (hash.to_hex().as_str() == text).then_some(hash)
    }

    /// 64 lower-case hex digits.
    pub fn to_hex(self) -> const_hex::Buffer<32> {
        const_hex::const_encode(&self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_hex().as_str())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.to_hex().as_str())
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Hash::from_hex(&text).ok_or_else(|| de::Error::custom("must be 64 lower-case hex digits"))
    }
}

/// The hash of an entry: SHA-256 of the RFC 8785 canonical JSON of
/// `{"at", "auction_id", "data", "prev_hash", "seq", "type"}`. `data` must be canonical already.
pub fn entry_hash(
    auction_id: AuctionId,
    seq: u64,
    kind: &str,
    at: Timestamp,
    data: &str,
    prev_hash: Hash,
) -> Hash {
    let mut sha = Sha256::new();
    let mut put = |text: &str| sha.update(text.as_bytes());
    let mut id = uuid::Uuid::encode_buffer();
    put("{\"at\":\"");
    put(&at.to_string());
    put("\",\"auction_id\":\"");
    put(auction_id.0.hyphenated().encode_lower(&mut id));
    put("\",\"data\":");
    put(data);
    put(",\"prev_hash\":\"");
    put(prev_hash.to_hex().as_str());
    put("\",\"seq\":");
    put(&seq.to_string());
    put(",\"type\":\"");
    put(kind);
    put("\"}");
    Hash(sha.finalize().into())
}

/// The commitment to a private amount: SHA-256 of the 16 bytes of salt followed by the amount in
/// decimal digits. Who is given the salt can check it; nobody else can guess the amount.
pub fn commitment(salt: Salt, amount: Amount) -> Hash {
    let mut sha = Sha256::new();
    sha.update(salt);
    sha.update(amount.minor_units().to_string().as_bytes());
    Hash(sha.finalize().into())
}
