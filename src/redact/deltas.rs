//! Secrets that no look at the raw bytes can see: spread over the events of a stream, or spelled with escapes.

use std::ops::Range;

use memchr::memmem;

use super::edit::Edit;
use super::events::{self, Event};
use super::json;
use super::scan::Scanner;

/// Secrets in the joined strings of a streamed body. The placeholder stands in the first event that a secret touches, and
/// its letters are gone from all others, so that the answer put together again holds it once.
pub fn in_stream(scanner: &Scanner, body: &[u8]) -> Vec<Edit> {
    let events = events::split(body);
    let mut edits = Vec::new();
    for thread in events::threads(body, &events) {
        if thread.len() > 1 {
            in_thread(scanner, body, &thread, &mut edits);
        }
    }
    in_escapes(scanner, body, &events, &mut edits);
    in_order(edits)
}

/// Secrets in the strings of a JSON body that are spelled with escapes where none are needed: `https:\/\/`, `\u0026`.
pub fn in_body(scanner: &Scanner, body: &[u8]) -> Vec<Edit> {
    if !hides(body) {
        return Vec::new();
    }
    let mut edits = Vec::new();
    in_escapes(scanner, body, &events::split(body), &mut edits);
    in_order(edits)
}

fn in_thread(scanner: &Scanner, body: &[u8], thread: &[Range<usize>], edits: &mut Vec<Edit>) {
    let mut joined: Vec<u8> = Vec::new();
    let mut starts = Vec::with_capacity(thread.len());
    for range in thread {
        starts.push(joined.len());
        json::decode_into(&body[range.clone()], &mut joined);
    }
    for secret in scanner.find(&joined) {
        let mut with = secret.with;
        let first = starts.partition_point(|start| *start <= secret.range.start) - 1;
        for (range, start) in thread.iter().zip(&starts).skip(first) {
            if *start >= secret.range.end {
                break;
            }
            let piece = json::decode(body, range.clone());
            let from = secret.range.start.max(*start) - start;
            let to = (secret.range.end - start).min(piece.text.len());
            if from < to {
                let counts = !with.is_empty();
                edits.push(Edit { range: piece.raw(from..to), with: std::mem::take(&mut with), counts });
            }
        }
    }
}

fn in_escapes(scanner: &Scanner, body: &[u8], events: &[Event], edits: &mut Vec<Edit>) {
    if !hides(body) {
        return;
    }
    for event in events {
        let Event::Json { document, .. } = event else { continue };
        for text in document.texts.iter().filter(|text| hides(&body[text.range.clone()])) {
            let decoded = json::decode(body, text.range.clone());
            for secret in scanner.find(&decoded.text) {
                edits.push(Edit { range: decoded.raw(secret.range.clone()), ..secret });
            }
        }
    }
}

/// The longest escape that [`hides`] looks for.
pub const ESCAPE: usize = 6;

/// Whether a text spells printable letters with escapes.
pub fn hides(text: &[u8]) -> bool {
    memmem::find_iter(text, b"\\u00").any(|at| matches!(text.get(at + 4), Some(b'2'..=b'7')))
        || memmem::find(text, b"\\/").is_some()
}

/// In order, and where two looks found the same secret, the first one's edit.
fn in_order(mut edits: Vec<Edit>) -> Vec<Edit> {
    edits.sort_by_key(|edit| (edit.range.start, std::cmp::Reverse(edit.range.end)));
    let mut end = 0;
    edits.retain(|edit| {
        let fits = edit.range.start >= end;
        end = end.max(edit.range.end);
        fits
    });
    edits
}
