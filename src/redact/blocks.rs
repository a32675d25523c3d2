//! Secrets with an inner structure: signed tokens, private keys, tokens in several parts, webhook addresses.

use std::ops::Range;

use base64::Engine as _;
use memchr::memmem;

use super::scan::Found;
use super::shapes::{Finder, begins};

/// Words to stop at.
pub const WORDS: &[(&str, Finder)] = &[
    ("eyJ", Finder::Look(jwt)),
    ("-----BEGIN", Finder::Look(private_key)),
    (":AA", Finder::Look(telegram)),
    ("hooks.slack.com", Finder::Look(slack_webhook)),
    ("/api/webhooks/", Finder::Look(discord_webhook)),
];

/// Secrets that begin with nothing in particular: Discord's three parts and Twilio's `SK` with 32 hex digits.
pub fn without_words(text: &[u8], from: usize, found: &mut dyn FnMut(Found)) {
    for dot in memchr::memchr_iter(b'.', &text[from..]).map(|at| from + at) {
        if text.get(dot + 7) == Some(&b'.')
            && let Some(secret) = discord_token(text, dot)
        {
            found(secret);
        }
    }
    for at in memmem::find_iter(&text[from..], b"SK").map(|at| from + at) {
        let hex = text[at + 2..].iter().take(33).take_while(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')).count();
        let ends = text.get(at + 34).is_none_or(|b| !b.is_ascii_alphanumeric());
        if hex == 32 && ends && begins(text, at) {
            found(Found { range: at..at + 34, kind: "twilio-key" });
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn words(text: &[u8]) -> usize {
    text.iter().take_while(|b| is_word(**b)).count()
}

fn words_before(text: &[u8], end: usize) -> usize {
    text[..end].iter().rev().take(128).take_while(|b| is_word(**b)).count()
}

/// `eyJ….eyJ….signature`, with more parts or fewer: sealed tokens have five, a cut-off one two.
fn jwt(text: &[u8], at: usize) -> Option<Found> {
    if !begins(text, at) {
        return None;
    }
    let mut end = at + words(&text[at..]);
    let head = end - at;
    let mut parts = Vec::new();
    while parts.len() < 4 && text.get(end) == Some(&b'.') {
        let part = words(&text[end + 1..]);
        if part == 0 {
            break;
        }
        parts.push(part);
        end += 1 + part;
    }
    (head >= 12 && *parts.first()? >= 10).then_some(Found { range: at..end, kind: "jwt" })
}

/// `123456789:AAF…`: at the colon.
fn telegram(text: &[u8], at: usize) -> Option<Found> {
    let digits = text[..at].iter().rev().take(13).take_while(|b| b.is_ascii_digit()).count();
    let key = words(&text[at + 1..]);
    let start = at - digits;
    // In an address the number follows the word `bot`.
    let fits = begins(text, start) || text[..start].ends_with(b"bot");
    ((8..=12).contains(&digits) && (33..=40).contains(&key) && fits)
        .then_some(Found { range: start..at + 1 + key, kind: "telegram-token" })
}

/// A user's number in base64, a time and a signature; `dot` is the first dot.
fn discord_token(text: &[u8], dot: usize) -> Option<Found> {
    let (before, key) = (words_before(text, dot), words(&text[dot + 8..]));
    if before < 23 || !(27..=40).contains(&key) || words(&text[dot + 1..]) != 6 {
        return None;
    }
    // The letter of an escape (`\n`) may stand directly before it, so its length is tried.
    let number = |len: &usize| {
        let number = base64::engine::general_purpose::STANDARD_NO_PAD.decode(&text[dot - len..dot]);
        number.is_ok_and(|number| number.iter().all(u8::is_ascii_digit))
    };
    let user = (23..=before.min(28)).rev().find(number)?;
    Some(Found { range: dot - user..dot + 8 + key, kind: "discord-token" })
}

/// `hooks.slack.com/services/T…/B…/secret`: everything after the service's name.
fn slack_webhook(text: &[u8], at: usize) -> Option<Found> {
    let path = at + "hooks.slack.com".len();
    let (_, start) = ["/services/", "/workflows/", "/triggers/"]
        .iter()
        .find(|word| text[path..].starts_with(word.as_bytes()))
        .map(|word| (word, path + word.len()))?;
    let len = text[start..].iter().take_while(|b| is_word(**b) || **b == b'/').count();
    (len >= 20).then_some(Found { range: start..start + len, kind: "slack-webhook" })
}

/// `discord.com/api/webhooks/number/secret`.
fn discord_webhook(text: &[u8], at: usize) -> Option<Found> {
    let start = at + "/api/webhooks/".len();
    let digits = text[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    let key = start + digits + 1;
    let len = text.get(key..).map_or(0, words);
    (digits >= 10 && text.get(key - 1) == Some(&b'/') && len >= 40)
        .then_some(Found { range: key..key + len, kind: "discord-webhook" })
}

/// The inside of a PEM block with a private key. Line breaks may be real, escaped, or escaped twice; a block whose end
/// is missing goes as far as its base64 does.
fn private_key(text: &[u8], at: usize) -> Option<Found> {
    const LONGEST: usize = 16 * 1024;
    let window = &text[at..text.len().min(at + LONGEST)];
    let dashes = memmem::find(&window[10..window.len().min(80)], b"-----")? + 10;
    memmem::find(&window[..dashes], b"PRIVATE KEY")?;
    let body = dashes + 5;
    let end = match memmem::find(&window[body..], b"-----END") {
        // A quote that nothing escapes ends the JSON string that the block begins in: stop there.
        Some(len) => body + before_quote(&window[body..body + len]),
        None => body + window[body..].iter().take_while(|b| is_pem(**b)).count(),
    };
    // Code and prose that only name the header have no key after it.
    let letters = window[body..end].iter().filter(|b| b.is_ascii_alphanumeric()).count();
    let inner = trim(window, body..end);
    (letters >= 40).then(|| Found { range: at + inner.start..at + inner.end, kind: "private-key" })
}

fn is_pem(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'+' | b'/' | b'=' | b'\\' | b'\n' | b'\r' | b' ' | b'\t' | b':' | b',')
}

fn before_quote(text: &[u8]) -> usize {
    let open = |at: &usize| *at == 0 || text[at - 1] != b'\\';
    memchr::memchr_iter(b'"', text).find(open).unwrap_or(text.len())
}

/// Without the line breaks at both ends, so that the block still reads as one. An escape is never cut in half.
fn trim(text: &[u8], range: Range<usize>) -> Range<usize> {
    let (mut start, mut end) = (range.start, range.end);
    while start < end {
        match &text[start..end] {
            [b'\n' | b'\r' | b' ', ..] => start += 1,
            [b'\\', b'n' | b'r', ..] => start += 2,
            [b'\\', b'\\', b'n' | b'r', ..] => start += 3,
            _ => break,
        }
    }
    while start < end {
        match &text[start..end] {
            [.., b'\n' | b'\r' | b' '] => end -= 1,
            [.., b'\\', b'\\', b'n' | b'r'] => end -= 3,
            [.., b'\\', b'n' | b'r'] => end -= 2,
            [.., b'\\'] => end -= 1,
            _ => break,
        }
    }
    start..end
}
