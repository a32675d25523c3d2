//! A conversation that grows, written as the request body it would be: what was said, joined once, with a head before it
//! and a tail behind it for each request.

use bytes::Bytes;
use serde_json::Value;

/// More than any model reads. A conversation that grows beyond it loses its beginning, as it would on the wire.
const MOST: usize = 2 << 20;

/// What was said so far, as the elements of a JSON array.
#[derive(Debug, Clone, Default)]
pub struct Thread {
    /// The elements with a comma between them.
    joined: Vec<u8>,
    /// Where each element begins.
    starts: Vec<usize>,
    /// How many elements were dropped at the beginning.
    dropped: usize,
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
        self.joined.drain(..cut);
        self.starts.drain(..first);
        self.starts.iter_mut().for_each(|start| *start -= cut);
        self.dropped += first;
    }

    /// Goes back to the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        let Some(keep) = len.checked_sub(self.dropped) else { return self.clear() };
        if let Some(&start) = self.starts.get(keep) {
            self.joined.truncate(start.saturating_sub(1));
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

    pub fn clear(&mut self) {
        *self = Thread::default();
    }

    /// `head` + `[` elements `]` + `tail`.
    pub fn body(&self, head: &str, tail: &str) -> Bytes {
        let mut body = Vec::with_capacity(head.len() + self.joined.len() + tail.len() + 2);
        body.extend_from_slice(head.as_bytes());
        body.push(b'[');
        body.extend_from_slice(&self.joined);
        body.push(b']');
        body.extend_from_slice(tail.as_bytes());
        body.into()
    }

    /// A chat request with these messages, and whatever else is known of it. What stays the same stands before the
    /// messages, what changes from call to call behind them.
    pub fn chat(&self, model: &str, tools: &[Value]) -> Bytes {
        let tools =
            if tools.is_empty() { String::new() } else { format!("\"tools\":{},", Value::from(tools.to_vec())) };
        self.body(&format!("{{{tools}\"messages\":"), &format!(",\"model\":{}}}", Value::from(model)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(thread: &Thread) -> String {
        String::from_utf8(thread.body("", "").to_vec()).unwrap()
    }

    #[test]
    fn it_grows_and_goes_back() {
        let mut thread = Thread::default();
        assert_eq!(text(&thread), "[]");
        ["1", "22", "333"].iter().for_each(|element| thread.push(element.as_bytes()));
        assert_eq!(text(&thread), "[1,22,333]");
        thread.truncate(9);
        thread.truncate(2);
        thread.push(b"4");
        assert_eq!(text(&thread), "[1,22,4]");
        thread.restart(1, b"0");
        assert_eq!(text(&thread), "[0,22,4]");
        thread.truncate(0);
        assert_eq!((text(&thread).as_str(), thread.len()), ("[]", 0));
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
        let all: Vec<String> = serde_json::from_str(&text(&thread)).unwrap();
        assert!(all.len() > 5 && all.iter().all(|one| one.len() == 100_000));
        thread.truncate(99);
        thread.push(b"1");
        assert_eq!(thread.len(), 100);
        thread.truncate(3);
        assert_eq!(text(&thread), "[]");
    }
}
