//! A streamed body as its events: server-sent events, JSON lines, a JSON array that grows, WebSocket texts one after the
//! other. Which strings of different events continue each other is told by where they stand, not by who sent them.

use std::collections::HashMap;
use std::ops::Range;

use super::json::{self, Document, Text};

/// One event of a stream.
#[derive(Debug)]
pub enum Event {
    Json {
        range: Range<usize>,
        document: Document,
    },
    /// Text that isn't JSON.
    Plain(Range<usize>),
}

/// Fields that say which of several things that grow side by side an event belongs to.
const INDEXES: &[&[u8]] = &[b"index", b"output_index", b"content_index", b"summary_index", b"item_id"];
/// Fields that are the same in every event, or new in every one, and never continue each other.
const LABELS: &[&[u8]] = &[
    b"created",
    b"event_id",
    b"finishReason",
    b"finish_reason",
    b"id",
    b"item_id",
    b"model",
    b"modelVersion",
    b"name",
    b"obfuscation",
    b"object",
    b"responseId",
    b"response_id",
    b"role",
    b"service_tier",
    b"signature",
    b"status",
    b"stop_reason",
    b"system_fingerprint",
    b"type",
];

/// The events of a body.
pub fn split(body: &[u8]) -> Vec<Event> {
    let start = body.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(body.len());
    if matches!(body.get(start), Some(b'{' | b'[')) { documents(body, start) } else { lines(body) }
}

/// Server-sent events: what follows `data:` on each line.
fn lines(body: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut start = 0;
    while start < body.len() {
        let end = memchr::memchr2(b'\n', b'\r', &body[start..]).map_or(body.len(), |len| start + len);
        if body[start..end].starts_with(b"data:") {
            let at = start + 5 + usize::from(body.get(start + 5) == Some(&b' '));
            match json::read(&body[..end], at).filter(|_| is_json(&body[at..end])) {
                Some(document) => events.push(Event::Json { range: at..end, document }),
                None => events.push(Event::Plain(at..end)),
            }
        }
        start = end + 1;
    }
    events
}

/// Text may begin with a bracket too.
fn is_json(text: &[u8]) -> bool {
    text[0] == b'{' || text.get(1).is_none_or(|b| b.is_ascii_whitespace() || b"{[\"]".contains(b))
}

/// JSON values one after the other, or the elements of one array of objects.
fn documents(body: &[u8], start: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut at = start;
    if body[at] == b'[' && body[at + 1..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        at += 1;
    }
    while at < body.len() {
        match json::read(body, at) {
            Some(document) => {
                let range = at..document.end.max(at + 1);
                at = range.end;
                events.push(Event::Json { range, document });
            }
            None if body[at].is_ascii_whitespace() || matches!(body[at], b',' | b'[' | b']') => at += 1,
            None => {
                let end = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |len| at + len);
                events.push(Event::Plain(at..end));
                at = end;
            }
        }
    }
    events
}

/// Whether a string never continues another one.
pub fn is_label(body: &[u8], text: &Text) -> bool {
    text.key.clone().is_some_and(|key| LABELS.contains(&&body[key]))
}

/// The strings of all events that continue each other, in the order in which the first of each came.
pub fn threads(body: &[u8], events: &[Event]) -> Vec<Vec<Range<usize>>> {
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut threads: Vec<Vec<Range<usize>>> = Vec::new();
    let mut add = |thread: u64, range: Range<usize>| {
        let place = *places.entry(thread).or_insert_with(|| {
            threads.push(Vec::new());
            threads.len() - 1
        });
        threads[place].push(range);
    };
    for event in events {
        match event {
            Event::Plain(range) => add(0, range.clone()),
            Event::Json { document, .. } => {
                let nodes = node_hashes(body, document);
                let texts = document.texts.iter().filter(|text| !is_label(body, text));
                for text in texts {
                    let key = text.key.clone().map_or(&[][..], |key| &body[key]);
                    add(hash(nodes[text.parent], key), text.range.clone());
                }
            }
        }
    }
    threads
}

/// A hash per object or array: the keys that lead to it, and the indexes on the way.
fn node_hashes(body: &[u8], document: &Document) -> Vec<u64> {
    let mut indexes: Vec<u64> = vec![0; document.nodes.len()];
    let plains = document.plains.iter().map(|plain| (plain.parent, plain.key.clone(), plain.range.clone()));
    let texts = document.texts.iter().filter_map(|t| Some((t.parent, t.key.clone()?, t.range.clone())));
    for (parent, key, range) in plains.chain(texts) {
        if INDEXES.contains(&&body[key]) {
            indexes[parent] = hash(indexes[parent] ^ 1, &body[range]);
        }
    }
    let mut hashes: Vec<u64> = Vec::with_capacity(document.nodes.len());
    for (at, node) in document.nodes.iter().enumerate() {
        let parent = if node.parent == at { 0 } else { hashes[node.parent] };
        // An element that names its index may stand anywhere in its array.
        let place = if indexes[at] == 0 { node.place as u64 } else { indexes[at] };
        let key = node.key.clone().map_or(&[][..], |key| &body[key]);
        hashes.push(hash(parent ^ place.rotate_left(32), key));
    }
    hashes
}

/// FNV-1a: these hashes tell a handful of places in one body apart.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let start = seed ^ 0xcbf2_9ce4_8422_2325;
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)).rotate_left(17)
}
