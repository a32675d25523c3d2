//! A conversation that grows, written as the request body it would be: what was said, joined once, with a head before it
//! and a tail behind it for each request.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

/// More than any model reads. A conversation that grows beyond it loses its beginning, as it would on the wire.
const MOST: usize = 2 << 20;
/// So many bodies are remembered for their buffers: whoever keeps calls holds on to the newest, to see what the next adds.
const REMEMBERED: usize = 2;

/// What was said so far, as the elements of a JSON array.
#[derive(Debug, Clone, Default)]
pub struct Thread {
    /// The elements with a comma between them.
    joined: Vec<u8>,
    /// Where each element begins.
    starts: Vec<usize>,
    /// How many elements were dropped at the beginning.
    dropped: usize,
    /// Bodies given out, oldest first. One that nobody holds any more becomes the next: it has most of it already.
    given: VecDeque<Given>,
}

/// A body that was given out.
#[derive(Debug, Clone)]
struct Given {
    body: Bytes,
    head: usize,
    /// So many bytes behind its head are those the conversation still begins with.
    same: usize,
}

impl Thread {
    /// How many elements there have been, dropped ones too.
    pub fn len(&self) -> usize {
        self.dropped + self.starts.len()
    }

    /// Adds an element: JSON text.
    pub fn push(&mut self, element: &[u8]) {
        if !self.joined.is_empty() {
            self.joined.push(b',');
        }
        self.starts.push(self.joined.len());
        self.joined.extend_from_slice(element);
        if self.joined.len() > MOST && self.starts.len() > 1 {
            self.drop_the_beginning();
        }
    }

    /// Keeps the newest half.
    fn drop_the_beginning(&mut self) {
        let from = self.joined.len() - MOST / 2;
        let first = self.starts.partition_point(|start| *start < from).min(self.starts.len() - 1).max(1);
        let cut = self.starts[first];
        self.same_up_to(0);
        self.joined.drain(..cut);
        self.starts.drain(..first);
        self.starts.iter_mut().for_each(|start| *start -= cut);
        self.dropped += first;
    }

    /// Goes back to the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        let Some(keep) = len.checked_sub(self.dropped) else { return self.clear() };
        if let Some(&start) = self.starts.get(keep) {
            let end = start.saturating_sub(1);
            self.same_up_to(end);
            self.joined.truncate(end);
            self.starts.truncate(keep);
        }
    }

    /// Keeps what was said from the element at `from` on, with `first` before it: what a compaction leaves.
    pub fn restart(&mut self, from: usize, first: &[u8]) {
        let at = from.saturating_sub(self.dropped);
        let kept: Vec<Vec<u8>> = (at..self.starts.len()).map(|index| self.element(index).to_vec()).collect();
        self.clear();
        self.push(first);
        kept.iter().for_each(|element| self.push(element));
    }

    fn element(&self, index: usize) -> &[u8] {
        let end = self.starts.get(index + 1).map_or(self.joined.len(), |next| next - 1);
        &self.joined[self.starts[index]..end]
    }

    /// Forgets what was said, but keeps the room it took: what comes next probably grows as long.
    pub fn clear(&mut self) {
        self.same_up_to(0);
        self.joined.clear();
        self.starts.clear();
        self.dropped = 0;
    }

    /// No more than so many bytes stay as they were.
    fn same_up_to(&mut self, end: usize) {
        self.given.iter_mut().for_each(|given| given.same = given.same.min(end));
    }

    /// `head` + `[` elements `]` + `tail`.
    pub fn body(&mut self, head: &str, tail: &str) -> Bytes {
        let (mut body, same) = self.begun(head).unwrap_or_else(|| {
            // With room for what will be said next.
            let mut body = BytesMut::with_capacity(head.len() + self.joined.capacity() + tail.len() + 2);
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(b"[");
            (body, 0)
        });
        body.extend_from_slice(&self.joined[same..]);
        body.extend_from_slice(b"]");
        body.extend_from_slice(tail.as_bytes());
        let body = body.freeze();
        self.given.push_back(Given { body: body.clone(), head: head.len(), same: self.joined.len() });
        body
    }

    /// An earlier body that nobody holds any more, cut back to what it has of the next, and how much of the conversation that is.
    fn begun(&mut self, head: &str) -> Option<(BytesMut, usize)> {
        if self.given.len() < REMEMBERED {
            return None;
        }
        let Given { body, head: head_len, same } = self.given.pop_front()?;
        if body.get(..head_len) != Some(head.as_bytes()) {
            return None;
        }
        let mut body = body.try_into_mut().ok()?;
        body.truncate(head_len + 1 + same);
        Some((body, same))
    }

    /// A chat request with these messages, and whatever else is known of it. What stays the same stands before the
    /// messages, what changes from call to call behind them.
    pub fn chat(&mut self, model: &str, tools: &[Value]) -> Bytes {
        let tools =
            if tools.is_empty() { String::new() } else { format!("\"tools\":{},", Value::from(tools.to_vec())) };
        self.body(&format!("{{{tools}\"messages\":"), &format!(",\"model\":{}}}", Value::from(model)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(thread: &mut Thread) -> String {
        String::from_utf8(thread.body("", "").to_vec()).unwrap()
    }

    #[test]
    fn it_grows_and_goes_back() {
        let mut thread = Thread::default();
        assert_eq!(text(&mut thread), "[]");
        ["1", "22", "333"].iter().for_each(|element| thread.push(element.as_bytes()));
        assert_eq!(text(&mut thread), "[1,22,333]");
        thread.truncate(9);
        thread.truncate(2);
        thread.push(b"4");
        assert_eq!(text(&mut thread), "[1,22,4]");
        thread.restart(1, b"0");
        assert_eq!(text(&mut thread), "[0,22,4]");
        thread.truncate(0);
        assert_eq!((text(&mut thread).as_str(), thread.len()), ("[]", 0));
    }

    #[test]
    fn it_never_grows_without_end() {
        let mut thread = Thread::default();
        let element = format!("\"{}\"", "x".repeat(100_000));
        for _ in 0..100 {
            thread.push(element.as_bytes());
            assert!(thread.joined.len() <= MOST);
        }
        assert_eq!(thread.len(), 100);
        let all: Vec<String> = serde_json::from_str(&text(&mut thread)).unwrap();
        assert!(all.len() > 5 && all.iter().all(|one| one.len() == 100_000));
        thread.truncate(99);
        thread.push(b"1");
        assert_eq!(thread.len(), 100);
        thread.truncate(3);
        assert_eq!(text(&mut thread), "[]");
    }

    proptest::proptest! {
        /// Whatever was said and taken back, and whoever still holds earlier bodies, a body is its conversation.
        #[test]
        fn a_body_on_an_old_buffer_is_the_body_on_a_new_one(steps in proptest::collection::vec((0..9_u8, 0..40_usize), 0..60)) {
            let (mut thread, mut held) = (Thread::default(), VecDeque::new());
            let mut said: Vec<String> = Vec::new();
            for (number, (step, size)) in steps.into_iter().enumerate() {
                match step {
                    0 => { thread.truncate(size); said.truncate(size) }
                    1 => { let from = said.len().min(size); said.drain(..from); said.insert(0, "0".into()); thread.restart(from, b"0"); }
                    2 => held.clear(),
                    3 | 4 => {
                        let head = if step == 3 { "{" } else { "{\"m\":" };
                        let body = thread.body(head, &format!("]{number}"));
                        let expected = format!("{head}[{}]]{number}", said.join(","));
                        proptest::prop_assert_eq!(&body[..], expected.as_bytes());
                        held.push_back(body);
                        held.truncate(size);
                    }
                    _ => { said.push(format!("{number}{}", "x".repeat(size))); thread.push(said[said.len() - 1].as_bytes()); }
                }
            }
        }
    }
}
