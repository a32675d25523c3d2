//! Secrets: found, and replaced by stable placeholders like `[redacted:openai-key:1f9a03]`.
//!
//! Everything here works on decoded bytes and gives bytes back; what is forwarded is never altered, only what is kept.
//! A placeholder is the same wherever the same secret stood, so that a redacted request still matches its recording, and
//! it is salted per store, so that trying likely secrets against it needs the store's own salt.

mod blocks;
mod clean;
mod context;
mod deltas;
mod edit;
mod events;
mod headers;
mod hollow;
mod json;
mod lately;
#[cfg(test)]
mod planted;
mod random;
mod scan;
mod shapes;

pub use clean::Clean;
pub use lately::Lately;
pub use scan::Seen;

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use crate::trace::{Chunk, Content, Headers};

/// What to look for beside the built-in shapes, and the salt of the placeholders.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Random bytes that belong to one store. Who has them can try guesses against a placeholder: keep them at home.
    pub salt: Vec<u8>,
    /// Patterns of the user's own.
    pub patterns: Vec<Pattern>,
}

/// A pattern of the user's: every match is replaced, or only its first group where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The word in the placeholder: letters, digits, `-` and `_`.
    pub name: String,
    pub regex: String,
}

/// A pattern that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BadPattern {
    #[error("redaction pattern {name:?}: {error}")]
    Regex { name: String, error: Box<regex::Error> },
    #[error("redaction pattern {name:?}: the name goes into placeholders, so use letters, digits, `-` and `_` only")]
    Name { name: String },
    #[error("redaction pattern {name:?} matches the empty text, which would put a placeholder everywhere")]
    Empty { name: String },
}

/// Finds and replaces secrets. Built once, shared by all threads.
#[derive(Debug)]
pub struct Redactor {
    scanner: scan::Scanner,
}

impl Redactor {
    /// Builds a redactor.
    ///
    /// # Errors
    /// When a pattern of the user's can't be used.
    pub fn new(rules: &Rules) -> Result<Self, BadPattern> {
        Ok(Redactor { scanner: scan::Scanner::new(rules)? })
    }

    /// Headers as they may be kept, in any mode: names stay, the values of those that carry keys or cookies go, and what
    /// looks like a secret in another goes too. With the number of secrets replaced.
    pub fn headers(&self, headers: &Headers) -> (Headers, u32) {
        headers::redact(&self.scanner, headers)
    }

    /// A path and query as it may be kept, in any mode.
    pub fn target(&self, target: &str) -> (String, u32) {
        headers::redact_target(&self.scanner, target)
    }

    /// A text without its secrets.
    pub fn text<'a>(&self, text: &'a str) -> (Cow<'a, str>, u32) {
        let edits = self.scanner.find(text.as_bytes());
        if edits.is_empty() {
            return (Cow::Borrowed(text), 0);
        }
        // Secrets are runs of ASCII or whole matches of a pattern: what is left is the text it was.
        let new = String::from_utf8_lossy(&edit::apply(text.as_bytes(), &edits)).into_owned();
        (Cow::Owned(new), edit::count(&edits))
    }

    /// Every string of a JSON value without its secrets, keys aside; how many there were.
    pub fn json(&self, value: &mut Value) -> u32 {
        match value {
            Value::String(text) => {
                let (new, count) = self.text(text);
                if let Cow::Owned(new) = new {
                    *text = new;
                }
                count
            }
            Value::Array(items) => items.iter_mut().map(|item| self.json(item)).sum(),
            Value::Object(map) => map.values_mut().map(|item| self.json(item)).sum(),
            _ => 0,
        }
    }

    /// A body without its secrets; the same bytes, uncopied, when there are none.
    pub fn body(&self, body: Bytes) -> (Bytes, u32) {
        let hidden = deltas::in_body(&self.scanner, &body);
        let (body, _, count) = self.raw(body, &[], hidden);
        (body, count)
    }

    /// A body whose first `shared` bytes are those of an earlier one, which was looked at with what `seen` holds (nothing,
    /// for the first). Only what is new is looked at; hand the new `Seen` in with the next body. The result is the same
    /// as [`Redactor::body`]'s.
    pub fn body_after(&self, body: Bytes, shared: usize, seen: &Seen) -> (Bytes, u32, Seen) {
        // Where the shared beginning spells nothing with escapes, only the rest can.
        let hides = seen.hides || deltas::hides(&body[shared.min(body.len()).saturating_sub(deltas::ESCAPE)..]);
        if hides {
            let hidden = deltas::in_body(&self.scanner, &body);
            let (body, _, count) = self.raw(body, &[], hidden);
            return (body, count, Seen { hides, ..Seen::default() });
        }
        let (edits, seen) = self.scanner.find_after(&body, shared, seen);
        let kept = if edits.is_empty() { body } else { edit::apply(&body, &edits).into() };
        (kept, edit::count(&edits), seen)
    }

    /// A streamed body without its secrets, also those that are spread over several events of the stream. The chunks
    /// still add up to the body.
    pub fn stream(&self, body: Bytes, chunks: &[Chunk]) -> (Bytes, Vec<Chunk>, u32) {
        let hidden = deltas::in_stream(&self.scanner, &body);
        self.raw(body, chunks, hidden)
    }

    /// Makes the edits that were found already, then looks at the raw bytes.
    fn raw(&self, mut body: Bytes, chunks: &[Chunk], hidden: Vec<edit::Edit>) -> (Bytes, Vec<Chunk>, u32) {
        let mut chunks = chunks.to_vec();
        let mut count = 0;
        let mut make = |body: &mut Bytes, edits: &[edit::Edit]| {
            if !edits.is_empty() {
                chunks = edit::rechunk(&chunks, edits);
                count += edit::count(edits);
                *body = edit::apply(body, edits).into();
            }
        };
        make(&mut body, &hidden);
        let seen = self.scanner.find(&body);
        make(&mut body, &seen);
        (body, chunks, count)
    }

    /// A body without what it says: JSON keeps its keys, numbers and labels (roles, types, ids, models, tool names), each
    /// text becomes its length and a keyed hash; anything else is one text per line.
    pub fn hollow(&self, body: &[u8]) -> Bytes {
        edit::apply(body, &hollow::edits(&self.scanner, body)).into()
    }

    /// The same for a streamed body, with its chunks.
    pub fn hollow_stream(&self, body: &[u8], chunks: &[Chunk]) -> (Bytes, Vec<Chunk>) {
        let edits = hollow::edits(&self.scanner, body);
        (edit::apply(body, &edits).into(), edit::rechunk(chunks, &edits))
    }

    /// A request or response body as this mode keeps it. The headers and the target are redacted in every mode.
    pub fn keep(&self, content: Content, body: Bytes, chunks: &[Chunk]) -> (Bytes, Vec<Chunk>, u32) {
        match content {
            Content::Full => (body, chunks.to_vec(), 0),
            Content::Redacted => self.stream(body, chunks),
            Content::None => {
                let (body, chunks) = self.hollow_stream(&body, chunks);
                (body, chunks, 0)
            }
        }
    }
}
