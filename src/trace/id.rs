//! Names of traces and calls: random numbers printed as hex, which a person may shorten.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An id that isn't hex of the right length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {what}: expected {digits} hex digits")]
pub struct BadId {
    given: String,
    what: &'static str,
    digits: usize,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $number:ty, $digits:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $digits, "x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let hex = text.len() == $digits && text.bytes().all(|b| b.is_ascii_hexdigit());
                hex.then(|| <$number>::from_str_radix(text, 16).ok())
                    .flatten()
                    .map($name)
                    .ok_or_else(|| BadId { given: text.to_owned(), what: $what, digits: $digits })
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

hex_id!(
    /// One trace: everything one run of a loop asked of its models. Random, so ids made anywhere never meet,
    /// and as long as a W3C trace id, so that one can be taken over.
    TraceId, u128, 32, "a trace id"
);
hex_id!(
    /// One call of a model, unique in the whole store.
    CallId, u64, 16, "a call id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_as_hex_of_fixed_length() {
        for number in [0, 1, u128::MAX] {
            let id = TraceId(number);
            assert_eq!(id.to_string().len(), 32);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!("00000000000000ff".parse(), Ok(CallId(255)));
    }

    #[test]
    fn what_is_not_an_id_is_refused_with_the_length_it_should_have() {
        for bad in ["", "ff", "+0000000000000ff", "00000000000000fg", "000000000000000ff"] {
            let error = bad.parse::<CallId>().unwrap_err().to_string();
            assert!(error.contains("16 hex digits"), "{error}");
        }
    }
}
