//! Keeping the shape of a body without what it says: keys, numbers and labels stay, each text becomes its length and a
//! keyed hash. The pieces of a text that came in many events become one shape in the first of them, which is the shape
//! that the whole text has where it is sent again.

use std::collections::HashMap;

use serde::de::IgnoredAny;

use super::edit::Edit;
use super::events::{self, Event};
use super::json::{self, Document};
use super::scan::Scanner;

/// Fields whose text is a label of the wire format's own and not something said.
const LABELS: &[&[u8]] = &[
    b"call_id",
    b"encoding_format",
    b"finishReason",
    b"finish_reason",
    b"id",
    b"item_id",
    b"mime_type",
    b"mimeType",
    b"model",
    b"modelVersion",
    b"name",
    b"object",
    b"phase",
    b"previous_response_id",
    b"responseId",
    b"role",
    b"service_tier",
    b"status",
    b"stop_reason",
    b"tool_call_id",
    b"tool_choice",
    b"tool_use_id",
    b"type",
];
/// Objects that hold what was said under names of the speaker's own choice.
const FREE: &[&[u8]] = &[b"input", b"arguments", b"args", b"response", b"metadata", b"default", b"examples"];

/// The edits that hollow a body out.
pub fn edits(scanner: &Scanner, body: &[u8]) -> Vec<Edit> {
    let events = events::split(body);
    let mut edits = outside(scanner, body, &events);
    // First piece of each thread: the shape of all of it. Other pieces: nothing.
    let mut shapes = HashMap::new();
    for thread in events::threads(body, &events) {
        let whole: Vec<u8> = thread.iter().flat_map(|range| json::decode(body, range.clone()).text).collect();
        let mut pieces = thread.into_iter();
        shapes.extend(pieces.next().map(|first| (first.start, shape(scanner, &whole))));
        shapes.extend(pieces.map(|piece| (piece.start, String::new())));
    }
    for event in &events {
        let (range, document) = match event {
            Event::Json { range, document } => (range, document),
            Event::Plain(range) if range.is_empty() || &body[range.clone()] == b"[DONE]" => continue,
            Event::Plain(range) => {
                let with = shapes.remove(&range.start).unwrap_or_default();
                edits.push(Edit { range: range.clone(), with, counts: false });
                continue;
            }
        };
        if serde_json::from_slice::<IgnoredAny>(&body[range.clone()]).is_err() {
            let with = format!("\"{}\"", shape(scanner, &body[range.clone()]));
            edits.push(Edit { range: range.clone(), with, counts: false });
            continue;
        }
        let free = free(body, document);
        for text in &document.texts {
            let raw = &body[text.range.clone()];
            let labelled = text.key.clone().is_some_and(|key| LABELS.contains(&&body[key]));
            let keeps = raw.is_empty() || (labelled && !free[text.parent] && is_label(raw));
            if !keeps {
                let with = shapes.remove(&text.range.start);
                let with = with.unwrap_or_else(|| shape(scanner, &json::decode(body, text.range.clone()).text));
                edits.push(Edit { range: text.range.clone(), with, counts: false });
            }
        }
    }
    edits.sort_by_key(|edit| edit.range.start);
    edits
}

/// What stands for a text: its length and a hash that is the same for the same text in the same store.
pub fn shape(scanner: &Scanner, text: &[u8]) -> String {
    if text.is_empty() { String::new() } else { format!("[hollow:{}:{}]", text.len(), scanner.hash(text, 6)) }
}

/// What is not inside an event: comments and texts go, the frame of server-sent events stays.
fn outside(scanner: &Scanner, body: &[u8], events: &[Event]) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut taken = events.iter().map(|event| match event {
        Event::Json { range, .. } | Event::Plain(range) => range.clone(),
    });
    let mut next = taken.next();
    let mut at = 0;
    while at < body.len() {
        if let Some(range) = next.clone().filter(|range| range.start <= at) {
            at = at.max(range.end);
            next = taken.next();
            continue;
        }
        let line = memchr::memchr2(b'\n', b'\r', &body[at..]).map_or(body.len(), |len| at + len);
        let end = next.as_ref().map_or(line, |range| range.start.min(line));
        if !is_frame(&body[at..end]) {
            edits.push(Edit { range: at..end, with: shape(scanner, &body[at..end]), counts: false });
        }
        at = if end == line { end + 1 } else { end };
    }
    edits
}

/// Field names of server-sent events, names of events, and the punctuation between JSON values.
fn is_frame(line: &[u8]) -> bool {
    let punctuation = line.iter().all(|b| b.is_ascii_whitespace() || matches!(b, b',' | b'[' | b']'));
    let named = |name: &[u8]| {
        line.strip_prefix(name).is_some_and(|rest| is_label(rest.trim_ascii()) || rest.trim_ascii().is_empty())
    };
    punctuation || line.trim_ascii() == b"data:" || named(b"event:")
}

/// A word, not a sentence.
fn is_label(text: &[u8]) -> bool {
    text.len() <= 128 && text.iter().all(|b| b.is_ascii_alphanumeric() || b"_-.:/@+".contains(b))
}

/// Which objects and arrays are inside one of [`FREE`].
fn free(body: &[u8], document: &Document) -> Vec<bool> {
    let mut free: Vec<bool> = Vec::with_capacity(document.nodes.len());
    for (at, node) in document.nodes.iter().enumerate() {
        let inside = node.parent != at && free[node.parent];
        // The outermost level of a request has an `input` too: the conversation itself, an array.
        let opens = node.is_object && node.key.clone().is_some_and(|key| FREE.contains(&&body[key]));
        // `response` is also what the events of OpenAI Responses wrap the whole answer in.
        let wraps = node.parent == 0 && node.key.clone().is_some_and(|key| &body[key] == b"response");
        free.push(inside || (opens && !wraps));
    }
    free
}
