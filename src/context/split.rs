//! Cutting a request body into blocks and the bytes between them. The pieces are a partition of the body, so nothing
//! can be lost, whatever the body is; how well it is understood only decides how well it is shared.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::block::{Block, Name, Speaker, read};
use super::ids::BlockId;
use super::scan::{key_at, skip_space, string_end, value_end};
use super::tree::Conversation;

/// Members that hold a conversation, under the names of the wire formats.
const TALK: [&str; 4] = ["messages", "input", "contents", "prompt"];
/// Members that hold standing orders.
const ORDERS: [&str; 5] = ["system", "instructions", "systemInstruction", "system_instruction", "developer"];
/// A member or a list element that is shorter stays between the blocks, unless it belongs to a conversation.
const SMALL: usize = 64;
const SMALL_MEMBER: usize = 256;
/// More than this between two blocks is made a block of its own, so that a repetition is stored once.
const LONG_GAP: usize = 4096;
/// A key longer than this names nothing.
const LONGEST_NAME: usize = 64;

/// A piece of a body.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Where it ends in the body; it begins where the one before it ends.
    pub end: usize,
    pub what: What,
}

/// What a piece is.
#[derive(Debug, Clone)]
pub enum What {
    /// Bytes between blocks, kept as they are.
    Gap(Bytes),
    Block(Arc<Block>),
}

/// A body cut up.
#[derive(Debug, Clone, Default)]
pub struct Split {
    pub pieces: Vec<Piece>,
    /// For each piece, the piece of the earlier body that has the very same bytes.
    pub from: Vec<Option<u32>>,
}

/// An earlier body of the same trace. The new one probably repeats most of it.
#[derive(Debug, Clone, Copy)]
pub struct Earlier<'a> {
    pub pieces: &'a [Piece],
    /// The body itself; without it pieces are recognised by their hashes, which is slower.
    pub body: Option<&'a [u8]>,
    /// So many bytes from the start on are known to be the same.
    pub shared: usize,
}

/// Cuts a body up, recognising what an earlier one already had.
pub fn split(body: &[u8], earlier: Option<Earlier<'_>>) -> Split {
    let mut splitter = Splitter { body, earlier, expect: 0, gap: 0, out: Split::default(), name: Arc::from("") };
    splitter.run();
    splitter.flush(body.len());
    splitter.out
}

struct Splitter<'a> {
    body: &'a [u8],
    earlier: Option<Earlier<'a>>,
    /// The earlier piece that should come next.
    expect: usize,
    /// Where the bytes begin that belong to no block yet.
    gap: usize,
    out: Split,
    name: Name,
}

impl Splitter<'_> {
    /// Walks the members of the request. Where the bytes stop being JSON it just stops.
    fn run(&mut self) -> Option<()> {
        let body = self.body;
        let mut at = skip_space(body, 0);
        if body.get(at) != Some(&b'{') {
            return None;
        }
        at += 1;
        let mut depth = 1;
        loop {
            at = skip_space(body, at);
            match body.get(at)? {
                b',' => at += 1,
                b'}' => {
                    depth -= 1;
                    at += 1;
                    if depth == 0 {
                        return None;
                    }
                }
                b'"' => {
                    let (key, value) = key_at(body, at)?;
                    let key = &body[key];
                    // Some gateways wrap the real request in a member of this name.
                    if depth == 1 && key == b"request" && body.get(value) == Some(&b'{') {
                        depth = 2;
                        at = value + 1;
                        continue;
                    }
                    self.name = match str::from_utf8(key) {
                        Ok(name) if *name == *self.name => Arc::clone(&self.name),
                        Ok(name) if name.len() <= LONGEST_NAME => Arc::from(name),
                        _ => Arc::from(""),
                    };
                    at = self.member(value)?;
                }
                _ => return None,
            }
        }
    }

    fn is_talk(&self) -> bool {
        TALK.contains(&&*self.name) || ORDERS.contains(&&*self.name)
    }

    fn member(&mut self, at: usize) -> Option<usize> {
        match self.body.get(at)? {
            b'[' => self.elements(at + 1),
            b'{' | b'"' => {
                let small = if self.is_talk() { 2 } else { SMALL_MEMBER };
                self.value(at, small)
            }
            _ => value_end(self.body, at),
        }
    }

    fn elements(&mut self, mut at: usize) -> Option<usize> {
        let small = if self.is_talk() { 2 } else { SMALL };
        loop {
            at = skip_space(self.body, at);
            at = match self.body.get(at)? {
                b',' => at + 1,
                b']' => return Some(at + 1),
                b'{' => self.value(at, 2)?,
                b'"' => self.value(at, small)?,
                b'[' => self.value(at, SMALL)?,
                _ => value_end(self.body, at)?,
            };
        }
    }

    /// A value that may become a block: when it is one of an earlier body's, or has at least `small` bytes.
    fn value(&mut self, at: usize, small: usize) -> Option<usize> {
        if let Some((place, block, len)) = self.recognise(at) {
            self.flush(at);
            self.push(at + len, What::Block(block), Some(place));
            self.expect = place + 1;
            return Some(at + len);
        }
        let end = if self.body[at] == b'"' { string_end(self.body, at)? } else { value_end(self.body, at)? };
        if end - at >= small {
            self.flush(at);
            self.block(at..end);
        }
        Some(end)
    }

    /// The earlier block that stands here again, byte for byte. Only the next few are tried: they mismatch at once,
    /// or they are it.
    fn recognise(&self, at: usize) -> Option<(usize, Arc<Block>, usize)> {
        const TRIES: usize = 8;
        let earlier = self.earlier?;
        let old = earlier.body?;
        let rest = &self.body[at..];
        let coming = earlier.pieces.iter().enumerate().skip(self.expect);
        let same_name = coming.filter_map(|(place, piece)| match &piece.what {
            What::Block(block) if *block.name == *self.name => Some((place, piece.end, block)),
            What::Block(_) | What::Gap(_) => None,
        });
        for (place, end, block) in same_name.take(TRIES) {
            let start = place.checked_sub(1).map_or(0, |before| earlier.pieces[before].end);
            if (start == at && end <= earlier.shared) || rest.starts_with(&old[start..end]) {
                return Some((place, Arc::clone(block), end - start));
            }
        }
        None
    }

    fn block(&mut self, range: Range<usize>) {
        let block = read(Arc::clone(&self.name), &self.body[range.clone()]);
        let found = self.earlier.and_then(|earlier| {
            const WINDOW: usize = 32;
            let near = earlier.pieces.iter().enumerate().skip(self.expect).take(WINDOW);
            near.into_iter().find_map(|(place, piece)| match &piece.what {
                What::Block(old) if old.id == block.id && old.name == block.name => {
                    Some((place, old.cuts == block.cuts))
                }
                What::Block(_) | What::Gap(_) => None,
            })
        });
        if let Some((place, _)) = found {
            self.expect = place + 1;
        }
        // The same text with another cache mark is the same block in another piece.
        let same = found.filter(|(_, same_cuts)| *same_cuts).map(|(place, _)| place);
        self.push(range.end, What::Block(Arc::new(block)), same);
    }

    /// Ends the gap before `upto`.
    fn flush(&mut self, upto: usize) {
        let bytes = &self.body[self.gap..upto];
        if bytes.is_empty() {
            return;
        }
        if bytes.len() >= LONG_GAP {
            let name = std::mem::replace(&mut self.name, Arc::from(""));
            self.block(self.gap..upto);
            self.name = name;
            return;
        }
        let old = self.earlier.and_then(|earlier| earlier.pieces.get(self.expect));
        if let Some(Piece { what: What::Gap(old), .. }) = old
            && **old == *bytes
        {
            let (old, place) = (old.clone(), self.expect);
            self.push(upto, What::Gap(old), Some(place));
            self.expect = place + 1;
            return;
        }
        let gap = if bytes == b"," { Bytes::from_static(b",") } else { Bytes::copy_from_slice(bytes) };
        self.push(upto, What::Gap(gap), None);
    }

    fn push(&mut self, end: usize, what: What, from: Option<usize>) {
        self.gap = end;
        self.out.pieces.push(Piece { end, what });
        self.out.from.push(from.and_then(|place| u32::try_from(place).ok()));
    }
}

impl Split {
    /// How many bytes from the start on are those of the earlier body.
    pub fn same_bytes(&self) -> usize {
        let same = self.from.iter().zip(0u32..).take_while(|(from, place)| **from == Some(*place)).count();
        same.checked_sub(1).map_or(0, |last| self.pieces[last].end)
    }

    /// The blocks, in order, with the index of their piece.
    pub fn blocks(&self) -> impl Iterator<Item = (usize, &Arc<Block>)> {
        self.pieces.iter().enumerate().filter_map(|(at, piece)| match &piece.what {
            What::Block(block) => Some((at, block)),
            What::Gap(_) => None,
        })
    }

    /// The range of a piece in the body.
    pub fn range(&self, piece: usize) -> Range<usize> {
        piece.checked_sub(1).map_or(0, |before| self.pieces[before].end)..self.pieces[piece].end
    }

    /// What it says, for the tree of contexts; beside each message the index of its piece.
    pub fn conversation(&self, agent: &str) -> (Conversation, Vec<usize>) {
        let mut orders = Vec::new();
        let mut said = Conversation { agent: agent.to_owned(), ..Conversation::default() };
        let mut places = Vec::new();
        for (at, block) in self.blocks() {
            let talk = TALK.contains(&&*block.name);
            if ORDERS.contains(&&*block.name) || (talk && places.is_empty() && block.speaker == Speaker::Orders) {
                orders.push(block.says);
            } else if talk {
                if block.speaker == Speaker::Model && said.first_answer.is_none() {
                    said.first_answer = Some(places.len());
                }
                said.messages.push(block.says);
                places.push(at);
            }
        }
        said.orders = BlockId::of(orders.iter().map(|id| &id.0[..]));
        (said, places)
    }

    /// The named blocks that are no part of the conversation (standing orders, tools, parameters), and one name for them all.
    pub fn setup(&self, places: &[usize]) -> (BlockId, Vec<usize>) {
        let mut talk = places.iter().peekable();
        let mut setup = Vec::new();
        let mut ids = Vec::new();
        for (at, block) in self.blocks() {
            if talk.next_if(|place| **place == at).is_none() && !block.name.is_empty() {
                setup.push(at);
                ids.push(block.id);
            }
        }
        (BlockId::of(ids.iter().map(|id| &id.0[..])), setup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(split: &Split) -> Vec<(String, usize)> {
        split.blocks().map(|(at, block)| (block.name.to_string(), split.range(at).len())).collect()
    }

    #[test]
    fn conversations_orders_and_tools_are_found_in_every_wire_format() {
        let long = "x".repeat(300);
        let cases = [
            (r#"{"model":"m","system":"be kind","messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f"}],"n":1}"#.to_owned(),
             vec![("system", 9), ("messages", 30), ("tools", 12)]),
            (format!(r#"{{"instructions":"short","input":"hi","metadata":{{"user_id":"{long}"}}}}"#),
             vec![("instructions", 7), ("input", 4), ("metadata", 314)]),
            (r#" { "request" : { "contents" : [ {"parts":[]} ] , "systemInstruction":{} }, "model":"m" } "#.to_owned(),
             vec![("contents", 12), ("systemInstruction", 2)]),
            (r#"{"stop":["a","b"],"input":[[1,2],[3]],"prompt":["one"]}"#.to_owned(), vec![("prompt", 5)]),
        ];
        for (body, expected) in cases {
            let split = split(body.as_bytes(), None);
            let expected: Vec<_> = expected.into_iter().map(|(name, len)| (name.to_owned(), len)).collect();
            assert_eq!(names(&split), expected, "{body}");
            assert_eq!(split.pieces.last().map(|piece| piece.end), Some(body.len()));
        }
    }

    #[test]
    fn what_is_not_json_is_one_gap_or_one_block() {
        for body in [&b""[..], b"hello", b"[1,2]", b"{", b"{\"messages\":[{\"a\":", b"\xff\xfe{"] {
            let split = split(body, None);
            assert_eq!(split.blocks().count(), 0, "{body:?}");
            assert_eq!(split.pieces.len(), usize::from(!body.is_empty()));
        }
        assert_eq!(names(&split(&vec![b'x'; LONG_GAP], None)), [(String::new(), LONG_GAP)]);
    }

    #[test]
    fn what_an_earlier_body_had_is_recognised_around_a_change() {
        let body = |messages: &[&str]| {
            let list: Vec<String> = messages.iter().map(|m| format!(r#"{{"role":"user","content":"{m}"}}"#)).collect();
            format!(r#"{{"model":"m","messages":[{}],"tools":[{{"name":"f"}}]}}"#, list.join(","))
        };
        let old_body = body(&["a", "b", "c"]);
        let old = split(old_body.as_bytes(), None);
        let cases: &[(&[&str], usize)] = &[
            (&["a", "b", "c"], 0),
            (&["a", "b", "c", "d"], 1),
            (&["a", "x", "c"], 1),
            (&["b", "c", "d"], 1),
            (&["x", "y", "a", "b", "c"], 2),
        ];
        for with_body in [true, false] {
            for (messages, fresh) in cases {
                let new_body = body(messages);
                let earlier =
                    Earlier { pieces: &old.pieces, body: with_body.then_some(old_body.as_bytes()), shared: 0 };
                let new = split(new_body.as_bytes(), Some(earlier));
                let new_blocks = new.blocks().filter(|(at, _)| new.from[*at].is_none()).count();
                assert_eq!(new_blocks, *fresh, "{messages:?}");
                for (at, from) in new.from.iter().enumerate() {
                    if let Some(from) = from {
                        let old_range = old.range(*from as usize);
                        assert_eq!(&new_body[new.range(at)], &old_body[old_range]);
                    }
                }
            }
        }
    }

    #[test]
    fn leading_orders_are_no_messages() {
        let body = br#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"system","content":"t"}]}"#;
        let split = split(body, None);
        let (said, places) = split.conversation("");
        assert_eq!((said.messages.len(), said.first_answer), (3, Some(1)));
        let (_, setup) = split.setup(&places);
        assert_eq!(setup.len(), 1);
    }
}
