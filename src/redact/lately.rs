//! The request bodies of the last calls. A loop sends its whole history again each time, so nearly all of a body has been
//! looked at for secrets before; only what is new needs a look.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Redactor, Seen};
use crate::trace::TraceId;

/// Bodies remembered, and how many bytes of them at most.
const BODIES: usize = 64;
const BYTES: usize = 32 << 20;
/// Shorter bodies are looked at anew: that is as fast.
const WORTH_IT: usize = 4096;

struct Entry {
    trace: TraceId,
    body: Bytes,
    seen: Seen,
}

/// What was looked at lately, the newest last.
#[derive(Default)]
pub struct Lately {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Lately {
    /// A body without its secrets, and how many there were.
    pub fn redact(&mut self, redactor: &Redactor, trace: TraceId, body: Bytes) -> (Bytes, u32) {
        if body.len() < WORTH_IT {
            return redactor.body(body);
        }
        let same_trace = self.entries.iter().enumerate().rev().filter(|(_, entry)| entry.trace == trace).take(4);
        let best = same_trace.map(|(at, entry)| (shared(&entry.body, &body), at)).max();
        let (shared, earlier) = match best {
            Some((shared, at)) if shared >= WORTH_IT => (shared, self.entries.remove(at)),
            _ => (0, None),
        };
        let none = Seen::default();
        let seen = earlier.as_ref().map_or(&none, |entry| &entry.seen);
        let (kept, count, seen) = redactor.body_after(body.clone(), shared, seen);
        self.bytes -= earlier.map_or(0, |entry| entry.body.len());
        self.bytes += body.len();
        self.entries.push_back(Entry { trace, body, seen });
        while self.entries.len() > BODIES || self.bytes > BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.body.len();
        }
        (kept, count)
    }
}

/// How many bytes two bodies have in common from the start.
fn shared(one: &[u8], other: &[u8]) -> usize {
    const STEP: usize = 4096;
    let whole =
        one.chunks_exact(STEP).zip(other.chunks_exact(STEP)).take_while(|(one, other)| one == other).count() * STEP;
    whole + one[whole..].iter().zip(&other[whole..]).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Rules;

    #[test]
    fn a_history_that_grows_is_redacted_as_if_it_were_new() {
        let redactor = Redactor::new(&Rules::default()).unwrap();
        let mut lately = Lately::default();
        let mut body = "x ".repeat(3000);
        for turn in 0..40u32 {
            let secret = format!("ghp_{turn:04}AbCdEfGhIjKlMnOpQrStUvWxYz0123456");
            body.push_str(&format!(
                "turn {turn} key {} and more text of some length; ",
                if turn % 3 == 0 { &secret } else { "none" }
            ));
            let trace = TraceId(u128::from(turn % 2));
            let (kept, count) = lately.redact(&redactor, trace, Bytes::from(body.clone()));
            assert_eq!((kept, count), redactor.body(Bytes::from(body.clone())), "turn {turn}");
        }
        assert!(lately.entries.len() <= 2, "each conversation takes its own place again");
    }

    #[test]
    fn the_common_beginning_is_counted_to_the_byte() {
        let long = vec![7; 10_000];
        let mut other = long.clone();
        other[5000] = 8;
        assert_eq!(
            (shared(&long, &other), shared(&long, &long), shared(&long, &long[..4097]), shared(b"", b"a")),
            (5000, 10_000, 4097, 0)
        );
    }
}
