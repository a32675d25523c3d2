//! One block of a request: what wanders is cut out, what is left gets a name.

use std::ops::Range;

use super::ids::BlockId;
use super::scan::{key_at, members, skip_space, value_end};

/// Bytes cut out of a block, and where they go back in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Offset in the block without its cuts.
    pub at: usize,
    pub bytes: Vec<u8>,
}

/// Who speaks in a block of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speaker {
    /// Standing orders: `system`, `developer`.
    Orders,
    /// The model.
    Model,
    /// The user, a tool, or nobody we know.
    #[default]
    Other,
}

/// A block, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The member of the request it stood in.
    pub name: Name,
    /// Names its bytes without the cuts.
    pub id: BlockId,
    /// Names what it says: the same for two spellings that mean the same to the model.
    pub says: BlockId,
    pub speaker: Speaker,
    /// Length without the cuts.
    pub len: usize,
    pub cuts: Vec<Cut>,
}

/// The member of a request that a block stood in.
pub type Name = std::sync::Arc<str>;

const WANDERER: &[u8] = b"\"cache_control\"";
/// A wanderer longer than this stays where it is.
const LONGEST_CUT: usize = 512;

/// Reads the block that is the whole of `bytes`.
pub fn read(name: Name, bytes: &[u8]) -> Block {
    let cuts = cuts(bytes);
    if cuts.is_empty() {
        let id = BlockId::of([bytes]);
        let look = look(bytes);
        let says = look.says(bytes).unwrap_or(id);
        return Block { name, id, says, speaker: look.speaker, len: bytes.len(), cuts };
    }
    let bare = without(bytes, &cuts);
    let id = BlockId::of([&bare[..]]);
    let look = look(&bare);
    let says = look.says(&bare).unwrap_or(id);
    Block { name, id, says, speaker: look.speaker, len: bare.len(), cuts }
}

/// The `cache_control` members of a block, each with one comma beside it.
fn cuts(bytes: &[u8]) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::new();
    if memchr::memmem::find(bytes, WANDERER).is_none() {
        return cuts;
    }
    let (mut at, mut removed, mut last_end) = (0, 0, 0);
    // Strings are stepped over one by one, so a key is never found inside of a text.
    while let Some(quote) = memchr::memchr(b'"', &bytes[at..]).map(|found| at + found) {
        if bytes[quote..].starts_with(WANDERER)
            && let Some((start, end)) = wanderer(bytes, quote, last_end)
        {
            cuts.push(Cut { at: start - removed, bytes: bytes[start..end].to_vec() });
            removed += end - start;
            last_end = end;
            at = end;
            continue;
        }
        match super::scan::string_end(bytes, quote) {
            Some(end) => at = end,
            None => break,
        }
    }
    cuts
}

/// The range of the wandering member whose key is at `quote`, with the comma before it, or else the one after it.
fn wanderer(bytes: &[u8], quote: usize, not_before: usize) -> Option<(usize, usize)> {
    let (_, value) = key_at(bytes, quote)?;
    if bytes.get(value) != Some(&b'{') && !bytes[value..].starts_with(b"null") {
        return None;
    }
    let end = value_end(bytes, value)?;
    let space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    let before = bytes[not_before..quote].iter().rposition(|byte| !space(byte)).map(|at| not_before + at)?;
    let range = match bytes[before] {
        b',' => (before, end),
        b'{' => {
            let after = skip_space(bytes, end);
            match bytes.get(after)? {
                b',' => (quote, skip_space(bytes, after + 1)),
                _ => (quote, end),
            }
        }
        _ => return None,
    };
    (range.1 - range.0 <= LONGEST_CUT).then_some(range)
}

/// The bytes without the cuts.
fn without(bytes: &[u8], cuts: &[Cut]) -> Vec<u8> {
    let mut bare = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for cut in cuts {
        let upto = at + (cut.at - bare.len());
        bare.extend_from_slice(&bytes[at..upto]);
        at = upto + cut.bytes.len();
    }
    bare.extend_from_slice(&bytes[at..]);
    bare
}

/// The ranges of `bytes` that remain when the cuts are left out.
pub fn bare_parts<'a>(bytes: &'a [u8], cuts: &'a [Cut]) -> impl Iterator<Item = &'a [u8]> {
    let mut at = 0;
    let mut removed = 0;
    let between = cuts.iter().map(move |cut| {
        let upto = cut.at + removed;
        let part = &bytes[at..upto];
        at = upto + cut.bytes.len();
        removed += cut.bytes.len();
        part
    });
    let tail = cuts.iter().map(|cut| cut.bytes.len()).sum::<usize>();
    let last = cuts.last().map_or(0, |cut| cut.at + tail);
    between.chain(std::iter::once(&bytes[last..]))
}

/// Puts the cuts back: the block as it came.
pub fn restore(bare: &[u8], cuts: &[Cut], out: &mut Vec<u8>) -> Option<()> {
    let mut at = 0;
    for cut in cuts {
        out.extend_from_slice(bare.get(at..cut.at)?);
        out.extend_from_slice(&cut.bytes);
        at = cut.at;
    }
    out.extend_from_slice(bare.get(at..)?);
    Some(())
}

/// What the members of a block say about it.
#[derive(Default)]
struct Look {
    speaker: Speaker,
    /// The item's own id, with a comma: some clients give the same item a new one whenever they send it.
    id: Option<Range<usize>>,
    /// Where the text stands in for its wrapping: (wrapping, text).
    unwrap: Option<(Range<usize>, Range<usize>)>,
}

impl Look {
    /// A name for what is said, where that differs from what is spelt.
    fn says(&self, bytes: &[u8]) -> Option<BlockId> {
        let mut edits: Vec<(Range<usize>, Range<usize>)> = self.unwrap.iter().cloned().collect();
        edits.extend(self.id.iter().map(|id| (id.clone(), id.end..id.end)));
        edits.sort_by_key(|(gone, _)| gone.start);
        let overlap = edits.windows(2).any(|pair| pair[0].0.end > pair[1].0.start);
        if edits.is_empty() || overlap {
            return None;
        }
        let mut parts = Vec::with_capacity(5);
        let mut at = 0;
        for (gone, instead) in edits {
            parts.extend([&bytes[at..gone.start], &bytes[instead]]);
            at = gone.end;
        }
        parts.push(&bytes[at..]);
        Some(BlockId::of(parts))
    }
}

fn look(bytes: &[u8]) -> Look {
    let mut look = Look::default();
    let (mut role, mut kind, mut content) = (None, None, None);
    let mut id: Option<Range<usize>> = None;
    let mut last_end = None;
    let whole = members(bytes, 0, |member| {
        // An id that comes first takes the comma behind it along, another one the comma before it.
        if let Some(first) = id.as_mut().filter(|id| id.start == 1 && id.end == last_end.unwrap_or(0)) {
            first.end = member.key.start - 1;
        }
        let end = member.value.end;
        match &bytes[member.key.clone()] {
            b"role" => role = Some(member.value),
            b"type" => kind = Some(member.value),
            b"content" => content = Some(member.value),
            b"id" => id = Some(last_end.unwrap_or(member.key.start - 1)..end),
            _ => {}
        }
        last_end = Some(end);
    });
    if whole.is_none() {
        return look;
    }
    look.id = id.filter(|_| kind.is_some());
    look.speaker = match (role.map(|r| &bytes[r]), kind.map(|k| &bytes[k])) {
        (Some(b"\"system\"" | b"\"developer\""), _) => Speaker::Orders,
        (Some(b"\"assistant\"" | b"\"model\""), _) => Speaker::Model,
        (None, Some(kind)) if kind.ends_with(b"_call\"") || kind == b"\"reasoning\"" => Speaker::Model,
        _ => Speaker::Other,
    };
    look.unwrap = match content {
        Some(content) => only_text(bytes, content.clone()).map(|text| (content, text)),
        None => text_object(bytes, 0..bytes.len()).map(|text| (0..bytes.len(), text)),
    };
    look
}

/// `[{"type":"text","text":"…"}]`: the range of the text, quotes included.
fn only_text(bytes: &[u8], list: Range<usize>) -> Option<Range<usize>> {
    if bytes[list.start] != b'[' {
        return None;
    }
    let start = skip_space(bytes, list.start + 1);
    let end = value_end(bytes, start)?;
    (skip_space(bytes, end) + 1 == list.end).then(|| text_object(bytes, start..end)).flatten()
}

/// `{"type":"text","text":"…"}`: the range of the text, quotes included.
fn text_object(bytes: &[u8], object: Range<usize>) -> Option<Range<usize>> {
    let (mut is_text, mut text, mut others) = (false, None, false);
    members(&bytes[..object.end], object.start, |member| match &bytes[member.key] {
        b"type" => is_text = &bytes[member.value] == b"\"text\"",
        b"text" => text = Some(member.value),
        _ => others = true,
    })?;
    text.filter(|text| is_text && !others && bytes[text.start] == b'"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(text: &str) -> Block {
        read("messages".into(), text.as_bytes())
    }

    #[test]
    fn a_cache_mark_changes_neither_the_name_nor_what_is_said() {
        let bare = block(r#"{"role":"user","content":[{"type":"text","text":"hi"},{"type":"text","text":"ho"}]}"#);
        for marked in [
            r#"{"role":"user","content":[{"type":"text","text":"hi"},{"type":"text","text":"ho","cache_control":{"type":"ephemeral"}}]}"#,
            r#"{"role":"user","content":[{"cache_control":{"type":"ephemeral"}, "type":"text","text":"hi"},{"type":"text","text":"ho"}]}"#,
            r#"{"role":"user","content":[{"type":"text" , "cache_control" : {"type":"ephemeral","ttl":"1h"},"text":"hi"},{"type":"text","text":"ho","cache_control":null}]}"#,
        ] {
            let marked_block = block(marked);
            let mut back = Vec::new();
            restore(&without(marked.as_bytes(), &marked_block.cuts), &marked_block.cuts, &mut back).unwrap();
            assert_eq!(str::from_utf8(&back).unwrap(), marked);
            if !marked.contains("\"text\" ,") {
                assert_eq!(marked_block.id, bare.id, "{marked}");
                assert_eq!(marked_block.says, bare.says, "{marked}");
            }
        }
    }

    #[test]
    fn a_text_and_a_list_of_that_one_text_say_the_same() {
        let short = block(r#"{"role":"user","content":"hi \"there\""}"#);
        let long = block(
            r#"{"role":"user","content":[{"type":"text","text":"hi \"there\"","cache_control":{"type":"ephemeral"}}]}"#,
        );
        let other = block(r#"{"role":"user","content":[{"type":"text","text":"hi \"there\"","citations":[]}]}"#);
        assert_eq!(short.says, long.says);
        assert_ne!(short.id, long.id);
        assert_ne!(short.says, other.says);
        assert_eq!(block(r#""be kind""#).says, block(r#"{"type":"text","text":"be kind"}"#).says);
    }

    #[test]
    fn an_item_says_the_same_under_another_id_of_its_own() {
        let says = |text: &str| block(text).says;
        let bare = says(r#"{"type":"message","role":"user","content":"x"}"#);
        for with in [
            r#"{"type":"message","id":"msg_1","role":"user","content":"x"}"#,
            r#"{"id":"msg_2","type":"message","role":"user","content":"x"}"#,
            r#"{"type":"message","role":"user","content":"x","id":"msg_3"}"#,
        ] {
            assert_eq!(says(with), bare, "{with}");
        }
        assert_ne!(says(r#"{"role":"user","id":"1"}"#), says(r#"{"role":"user","id":"2"}"#));
        assert_ne!(block(r#"{"type":"a","id":"1"}"#).id, block(r#"{"type":"a","id":"2"}"#).id);
    }

    #[test]
    fn words_inside_of_texts_are_not_cut() {
        for text in [
            r#"{"role":"user","content":"say \"cache_control\":{\"a\":1}"}"#,
            r#"{"role":"user","content":"cache_control"}"#,
            r#"["cache_control"]"#,
            r#"{"a":["cache_control",{}]}"#,
        ] {
            assert_eq!(block(text).cuts, [], "{text}");
        }
    }

    #[test]
    fn speakers_are_known_by_role_or_type() {
        let cases = [
            (r#"{"role":"developer","content":"x"}"#, Speaker::Orders),
            (r#"{"content":"x","role":"assistant"}"#, Speaker::Model),
            (r#"{"parts":[],"role":"model"}"#, Speaker::Model),
            (r#"{"type":"function_call","name":"f"}"#, Speaker::Model),
            (r#"{"type":"function_call_output"}"#, Speaker::Other),
            (r#"{"role":"user"}"#, Speaker::Other),
            ("{broken", Speaker::Other),
        ];
        for (text, speaker) in cases {
            assert_eq!(block(text).speaker, speaker, "{text}");
        }
    }

    proptest! {
        #[test]
        fn cuts_go_back_where_they_came_from(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "{", "}", "[", "]", ",", ":", " ", "\"a\"", "\"cache_control\"", "\"cache_control\":{\"type\":\"x\"}",
                    ",\"cache_control\":{}", "\"", "\\", "null", "\"cache_control\":null,",
                ]),
                0..24,
            )
        ) {
            let text = parts.concat();
            let block = block(&text);
            let bare = without(text.as_bytes(), &block.cuts);
            let mut back = Vec::new();
            prop_assert!(restore(&bare, &block.cuts, &mut back).is_some());
            prop_assert_eq!(&back, text.as_bytes());
            prop_assert_eq!(bare_parts(text.as_bytes(), &block.cuts).collect::<Vec<_>>().concat(), bare);
        }
    }
}
