//! One pass over a body that stops only where a secret may begin, and asks the shapes there.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind, packed};
use regex::bytes::Regex;
use sha2::{Digest, Sha256};

use super::blocks;
use super::edit::Edit;
use super::shapes::{self, Finder};
use super::{BadPattern, Rules};

/// What every placeholder begins with.
const OPEN: &str = "[redacted:";
/// The vector search takes this many words at once.
const WORDS_AT_ONCE: usize = 60;

/// A secret: where it is and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub range: Range<usize>,
    pub kind: &'static str,
}

/// What a look at a body found, kept for a look at the next one that begins alike.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub(super) found: Vec<Found>,
    /// Whether letters were spelled with escapes.
    pub(super) hides: bool,
}

/// How far behind its word a finder may look before it makes up its mind, where no run of a key's letters goes on:
/// [`super::context`]'s values, with the name before them.
const AHEAD: usize = 4096 + 512;
/// Private keys look farther: their block may have any letters in it.
const FAR_AHEAD: usize = 20 * 1024;
/// What begins them.
const FAR: &[u8] = b"-----BEGIN";

/// Finds secrets.
#[derive(Debug)]
pub struct Scanner {
    salt: Vec<u8>,
    searches: Vec<Search>,
    patterns: Vec<(String, Regex)>,
}

/// Words that may be the beginning of a secret, and who knows more about each.
#[derive(Debug)]
struct Search {
    words: Words,
    /// Per word: the words that begin with it, each with who looks closer.
    finders: Vec<Vec<Asked>>,
}

type Asked = (&'static [u8], Finder);

#[derive(Debug)]
enum Words {
    Vector(packed::Searcher),
    /// On processors that the vector search doesn't know.
    Automaton(AhoCorasick),
}

impl Scanner {
    pub fn new(rules: &Rules) -> Result<Self, BadPattern> {
        let patterns = rules.patterns.iter().map(compile).collect::<Result<_, _>>()?;
        let mut by_word: BTreeMap<&'static [u8], Vec<Asked>> = BTreeMap::new();
        let mut all: Vec<_> = shapes::all().collect();
        all.sort_by_key(|(word, _)| *word);
        for (word, finder) in all {
            // In order, so a word's own beginning stands before it: one stop asks for both.
            let stem = by_word.keys().find(|stem| word.as_bytes().starts_with(stem)).copied();
            by_word.entry(stem.unwrap_or(word.as_bytes())).or_default().push((word.as_bytes(), finder));
        }
        let entries: Vec<_> = by_word.into_iter().collect();
        let searches = entries.chunks(WORDS_AT_ONCE).map(Search::new).collect();
        Ok(Scanner { salt: rules.salt.clone(), searches, patterns })
    }

    /// The secrets of a text, in order, without overlaps.
    pub fn find(&self, text: &[u8]) -> Vec<Edit> {
        self.find_after(text, 0, &Seen::default()).0
    }

    /// The same for a text whose first `shared` bytes are those of an earlier one, where `seen` was found.
    pub fn find_after(&self, text: &[u8], shared: usize, seen: &Seen) -> (Vec<Edit>, Seen) {
        // Whatever begins before this was decided by bytes that are the same.
        let from = undecided(text, shared.min(text.len()), seen);
        let mut found: Vec<Found> = seen.found.iter().filter(|f| f.range.start < from).cloned().collect();
        for search in &self.searches {
            search.run(text, from, &mut |f| found.push(f));
        }
        blocks::without_words(text, from, &mut |f| found.push(f));
        let mut all: Vec<(Range<usize>, &str)> = found.iter().map(|f| (f.range.clone(), f.kind)).collect();
        for (name, regex) in &self.patterns {
            for captures in regex.captures_iter(text) {
                let part = captures.get(1).or_else(|| captures.get(0)).map(|m| m.range());
                all.extend(part.filter(|range| !range.is_empty()).map(|range| (range, name.as_str())));
            }
        }
        all.retain(|(range, _)| !in_placeholder(text, range.start));
        all.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        (self.edits(text, all), Seen { found, hides: false })
    }

    /// Secrets that overlap become one, called by the first.
    fn edits(&self, text: &[u8], found: Vec<(Range<usize>, &str)>) -> Vec<Edit> {
        let mut merged: Vec<(Range<usize>, &str)> = Vec::with_capacity(found.len());
        for (range, kind) in found {
            match merged.last_mut() {
                Some((last, _)) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push((range, kind)),
            }
        }
        let edit = |(range, kind): (Range<usize>, &str)| {
            let with = self.placeholder(kind, &text[range.clone()]);
            Edit { range, with, counts: true }
        };
        merged.into_iter().map(edit).collect()
    }

    /// What stands for a secret: the same for the same one, and nothing that JSON or a later look would trip over.
    pub fn placeholder(&self, kind: &str, secret: &[u8]) -> String {
        let kind: String = kind.chars().map(|c| if is_name(c) { c } else { '-' }).collect();
        format!("{OPEN}{kind}:{}]", self.hash(secret, 3))
    }

    /// Hex digits of a hash that needs the store's salt.
    pub fn hash(&self, secret: &[u8], bytes: usize) -> String {
        let mut hasher = Sha256::new();
        hasher.update((self.salt.len() as u64).to_be_bytes());
        hasher.update(&self.salt);
        hasher.update(secret);
        hasher.finalize().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a value is a placeholder already.
    pub fn is_placeholder(&self, value: &str) -> bool {
        value.starts_with(OPEN) && value.ends_with(']')
    }
}

impl Search {
    fn new(entries: &[(&'static [u8], Vec<Asked>)]) -> Self {
        let words = || entries.iter().map(|(word, _)| *word);
        let vector =
            packed::Config::new().match_kind(packed::MatchKind::LeftmostFirst).builder().extend(words()).build();
        let words = match vector {
            Some(searcher) => Words::Vector(searcher),
            None => {
                let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(words());
                Words::Automaton(automaton.expect("some dozen short words"))
            }
        };
        Search { words, finders: entries.iter().map(|(_, finders)| finders.clone()).collect() }
    }

    fn run(&self, text: &[u8], mut from: usize, found: &mut dyn FnMut(Found)) {
        while let Some((at, word)) = self.next(text, from) {
            for (word, finder) in &self.finders[word] {
                if text[at..].starts_with(word)
                    && let Some(secret) = finder.at(text, at)
                {
                    found(secret);
                }
            }
            // A word may begin inside another.
            from = at + 1;
        }
    }

    fn next(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        match &self.words {
            Words::Vector(searcher) => {
                let found = searcher.find_in(text, aho_corasick::Span { start: from, end: text.len() })?;
                Some((found.start(), found.pattern().as_usize()))
            }
            Words::Automaton(automaton) => {
                let found = automaton.find(aho_corasick::Input::new(text).span(from..text.len()))?;
                Some((found.start(), found.pattern().as_usize()))
            }
        }
    }
}

/// Where to begin to look at a text whose first `shared` bytes were looked at before.
fn undecided(text: &[u8], shared: usize, seen: &Seen) -> usize {
    // A run of letters that keys are made of may have any length.
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~+/=:%".contains(byte);
    let run = text[..shared].iter().rev().take_while(|byte| is_key(byte)).count();
    let from = (shared - run).saturating_sub(AHEAD);
    let far = shared.saturating_sub(FAR_AHEAD);
    let upto = (from.max(far) + FAR.len() - 1).min(text.len());
    let far = memchr::memmem::find(&text[far..upto], FAR).map_or(from, |at| far + at);
    // What was found up to the end of what is shared might go on, or not go so far.
    let touching = seen.found.iter().filter(|f| f.range.end >= shared).map(|f| f.range.start.saturating_sub(AHEAD));
    touching.fold(from.min(far), usize::min)
}

fn compile(pattern: &super::Pattern) -> Result<(String, Regex), BadPattern> {
    let name = pattern.name.clone();
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(BadPattern::Name { name });
    }
    match Regex::new(&pattern.regex) {
        Ok(regex) if regex.is_match(b"") => Err(BadPattern::Empty { name }),
        Ok(regex) => Ok((name, regex)),
        Err(error) => Err(BadPattern::Regex { name, error: Box::new(error) }),
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// Whether a place is inside a placeholder of an earlier look.
fn in_placeholder(text: &[u8], at: usize) -> bool {
    const LONGEST: usize = 96;
    let before = &text[at.saturating_sub(LONGEST)..at];
    let inside = |open: usize| !before[open..].contains(&b']');
    text[at..].starts_with(OPEN.as_bytes()) || memchr::memmem::rfind(before, OPEN.as_bytes()).is_some_and(inside)
}
