//! Names made of what they name: blocks by their bytes, contexts by everything said so far.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A hash that isn't 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a content hash: expected 32 hex digits")]
pub struct BadHash(String);

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = BadHash;

            fn from_str(text: &str) -> Result<Self, BadHash> {
                let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
                let number = hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
                number.map(|number| $name(number.to_be_bytes())).ok_or_else(|| BadHash(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hash_id!(
    /// A block of a request (one message, one tool, one long value): the first half of the SHA-256 of its bytes, with
    /// the `cache_control` members that wander from call to call cut out.
    BlockId
);
hash_id!(
    /// Everything said up to a point of a conversation: equal ids mean equal histories.
    ContextId
);

/// The first half of a SHA-256.
pub(super) fn half(digest: Sha256) -> [u8; 16] {
    let whole: [u8; 32] = digest.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

impl BlockId {
    /// The id of a block given its bytes in pieces, wandering members already left out.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Sha256::new();
        parts.into_iter().for_each(|part| digest.update(part));
        BlockId(half(digest))
    }
}

impl ContextId {
    /// The history that `self` becomes when `said` is added.
    pub fn then(self, said: BlockId) -> Self {
        let mut digest = Sha256::new();
        digest.update(self.0);
        digest.update(said.0);
        ContextId(half(digest))
    }
}
