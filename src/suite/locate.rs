//! Where each part of a YAML text stands, so that what is found wrong later can still be pointed at.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};

use super::error::SuiteError;

/// A step from a node to one of its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Step::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Step::Index(index)
    }
}

enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    Seq(Vec<Spanned<Node>>),
    Leaf,
}

/// A YAML text with the place of every key and value.
pub struct Located {
    file: String,
    root: Option<Spanned<Node>>,
}

impl fmt::Debug for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Located({})", self.file)
    }
}

impl Located {
    /// Reads the places in `text`; a text that isn't YAML has none.
    pub fn read(file: &str, text: &str) -> Self {
        Located { file: file.to_owned(), root: serde_saphyr::from_str(text).ok() }
    }

    /// An error at the value `path` leads to, or as far along it as there is a place.
    pub fn error_at(&self, path: &[Step], message: impl Into<String>, help: Option<String>) -> SuiteError {
        let (mut place, mut node) = match &self.root {
            Some(root) => (Some(root.referenced), Some(&root.value)),
            None => (None, None),
        };
        for step in path {
            let child = match (node, step) {
                (Some(Node::Map(entries)), Step::Key(key)) => {
                    entries.iter().find(|(name, _)| name.value == *key).map(|(_, value)| value)
                }
                (Some(Node::Seq(items)), Step::Index(index)) => items.get(*index),
                _ => None,
            };
            let Some(child) = child else { break };
            (place, node) = (Some(child.referenced), Some(&child.value));
        }
        self.error(place, message.into(), help)
    }

    /// An error at a key of the map that `path` leads to.
    pub fn error_at_key(
        &self,
        path: &[Step],
        key: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) -> SuiteError {
        let mut node = self.root.as_ref().map(|root| &root.value);
        for step in path {
            node = match (node, step) {
                (Some(Node::Map(entries)), Step::Key(key)) => {
                    entries.iter().find(|(name, _)| name.value == *key).map(|(_, value)| &value.value)
                }
                (Some(Node::Seq(items)), Step::Index(index)) => items.get(*index).map(|item| &item.value),
                _ => None,
            };
        }
        match node {
            Some(Node::Map(entries)) if entries.iter().any(|(name, _)| name.value == key) => {
                let place = entries.iter().find(|(name, _)| name.value == key).map(|(name, _)| name.referenced);
                self.error(place, message.into(), help)
            }
            _ => self.error_at(path, message, help),
        }
    }

    fn error(&self, place: Option<Location>, message: String, help: Option<String>) -> SuiteError {
        error_from(&self.file, place, message, help)
    }
}

/// An error at a place that the YAML reader named.
pub(super) fn error_from(file: &str, place: Option<Location>, message: String, help: Option<String>) -> SuiteError {
    let place = place.unwrap_or(Location::UNKNOWN);
    let number = |value: Option<u64>| value.and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
    SuiteError {
        message,
        file: file.to_owned(),
        line: place.line(),
        column: place.column(),
        offset: number(place.span().byte_offset()),
        len: number(place.span().byte_len()),
        help,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any YAML")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::Seq(items))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_str<E>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
