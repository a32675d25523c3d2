//! What a writer remembers of the traces it is writing, so that a call is stored as what it adds. It is bounded:
//! forgetting costs repetition on disk, never correctness.

use std::collections::HashMap;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::context::{Contexts, Piece, scan::common_prefix};
use crate::trace::{CallId, TraceId};

/// The end of a line of calls: the next one probably goes on from here.
#[derive(Debug)]
pub struct Tip {
    pub call: CallId,
    pub agent: Option<String>,
    /// Where its record stands, and in which of the writer's segments.
    pub segment: u64,
    pub record: u64,
    pub pieces: Vec<Piece>,
    pub body_len: usize,
    /// The body, while there is room for it.
    pub body: Option<Bytes>,
    pub marks: Marks,
    used: u64,
}

/// States of a SHA-256 on its way through a body, so that a shared beginning need not be hashed again.
#[derive(Debug, Clone, Default)]
pub struct Marks(Vec<(usize, Sha256)>);

const MARK_EVERY: usize = 4 << 10;

/// The SHA-256 of `body`, whose first `same` bytes are those that `before` was made of.
pub fn hash(body: &[u8], same: usize, before: Option<&Marks>) -> ([u8; 32], Marks) {
    let mut marks = before.cloned().unwrap_or_default();
    marks.0.retain(|(at, _)| *at <= same);
    let (mut at, mut digest) = marks.0.last().cloned().unwrap_or_default();
    while body.len() - at > MARK_EVERY {
        digest.update(&body[at..at + MARK_EVERY]);
        at += MARK_EVERY;
        marks.0.push((at, digest.clone()));
    }
    digest.update(&body[at..]);
    (digest.finalize().into(), marks)
}

/// One trace being written.
#[derive(Debug, Default)]
pub struct Growing {
    pub contexts: Contexts,
    pub tips: Vec<Tip>,
    used: u64,
}

impl Growing {
    /// The tip that a new body most likely goes on from, and how many bytes from the start on the two have in common.
    pub fn nearest(&self, body: &[u8], agent: Option<&str>) -> Option<(usize, usize)> {
        let shared = |tip: &Tip| tip.body.as_ref().map_or(0, |old| common_prefix(old, body));
        let ranked = self.tips.iter().enumerate().map(|(at, tip)| {
            let shared = shared(tip);
            ((tip.agent.as_deref() == agent, shared, tip.used), at)
        });
        ranked.max().map(|((_, shared, _), at)| (at, shared))
    }
}

/// All traces being written.
#[derive(Debug)]
pub struct Memory {
    traces: HashMap<TraceId, Growing>,
    clock: u64,
    bodies: usize,
    limits: Limits,
}

/// How much is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of bodies.
    pub bodies: usize,
    /// Pieces of bodies.
    pub pieces: usize,
    /// Branches of one trace.
    pub tips: usize,
    pub traces: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bodies: 64 << 20, pieces: 1 << 19, tips: 32, traces: 4096 }
    }
}

impl Memory {
    pub fn new(limits: Limits) -> Self {
        Memory { traces: HashMap::new(), clock: 0, bodies: 0, limits }
    }

    /// A trace's memory; an empty one for a trace not seen yet.
    pub fn of(&mut self, trace: TraceId) -> &mut Growing {
        self.clock += 1;
        let growing = self.traces.entry(trace).or_default();
        growing.used = self.clock;
        growing
    }

    /// The trace has ended, or is to be treated as new.
    pub fn forget(&mut self, trace: TraceId) {
        if let Some(growing) = self.traces.remove(&trace) {
            self.bodies -= growing.tips.iter().filter_map(|tip| tip.body.as_ref()).map(Bytes::len).sum::<usize>();
        }
    }

    /// Adds a tip; `replaces` is the one it has grown from.
    pub fn grow(&mut self, trace: TraceId, mut tip: Tip, replaces: Option<usize>) {
        self.clock += 1;
        tip.used = self.clock;
        tip.body = tip.body.filter(|body| body.len() <= self.limits.bodies);
        let (most_tips, clock) = (self.limits.tips, self.clock);
        let growing = self.traces.entry(trace).or_default();
        growing.used = clock;
        let replaces = replaces.or_else(|| {
            let oldest = growing.tips.iter().enumerate().min_by_key(|(_, tip)| tip.used);
            oldest.filter(|_| growing.tips.len() >= most_tips).map(|(at, _)| at)
        });
        self.bodies += tip.body.as_ref().map_or(0, Bytes::len);
        if let Some(old) = replaces.map(|at| growing.tips.swap_remove(at)) {
            self.bodies -= old.body.map_or(0, |body| body.len());
        }
        growing.tips.push(tip);
        self.shrink();
    }

    fn shrink(&mut self) {
        if self.bodies > self.limits.bodies {
            let mut held: Vec<(u64, TraceId, usize)> = Vec::new();
            for (trace, growing) in &self.traces {
                let with_body = growing.tips.iter().enumerate().filter(|(_, tip)| tip.body.is_some());
                held.extend(with_body.map(|(at, tip)| (tip.used, *trace, at)));
            }
            held.sort_unstable();
            // A little more than needed goes, so that this isn't done for every call.
            let target = self.limits.bodies - self.limits.bodies / 4;
            for (used, trace, at) in held {
                if self.bodies <= target || used == self.clock {
                    break;
                }
                let tip = self.traces.get_mut(&trace).and_then(|growing| growing.tips.get_mut(at));
                self.bodies -= tip.and_then(|tip| tip.body.take()).map_or(0, |body| body.len());
            }
        }
        let pieces = |growing: &Growing| growing.tips.iter().map(|tip| tip.pieces.len() + 8).sum::<usize>();
        // Counting is cheap beside what a call costs only when it is not done for each of them.
        if self.traces.len() > self.limits.traces || self.clock.is_multiple_of(64) {
            let mut total: usize = self.traces.values().map(pieces).sum();
            while self.traces.len() > 1 && (self.traces.len() > self.limits.traces || total > self.limits.pieces) {
                let oldest = self.traces.iter().min_by_key(|(_, growing)| growing.used).map(|(trace, _)| *trace);
                let Some(oldest) = oldest else { break };
                total -= self.traces.get(&oldest).map_or(0, pieces);
                self.forget(oldest);
            }
        }
    }

    /// Bytes that storing the newest body of every branch once more would take.
    pub fn standing(&self) -> u64 {
        self.traces.values().flat_map(|growing| &growing.tips).map(|tip| tip.body_len as u64).sum()
    }
}

impl Tip {
    /// A tip that has just been stored.
    pub fn new(call: CallId, agent: Option<String>, segment: u64, record: u64) -> Self {
        let (pieces, marks) = (Vec::new(), Marks::default());
        Tip { call, agent, segment, record, pieces, body_len: 0, body: None, marks, used: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_that_goes_on_from_a_mark_is_the_same_hash() {
        let old: Vec<u8> = (0..100_000u32).map(|n| (n * 31 % 251) as u8).collect();
        let (first, marks) = hash(&old, 0, None);
        assert_eq!(first, <[u8; 32]>::from(Sha256::digest(&old)));
        for same in [0, 1, 16_384, 16_385, 50_000, 100_000] {
            let mut new = old.clone();
            new.extend_from_slice(b"more");
            new[same..].iter_mut().for_each(|byte| *byte ^= 1);
            let (hashed, _) = hash(&new, same, Some(&marks));
            assert_eq!(hashed, <[u8; 32]>::from(Sha256::digest(&new)), "{same}");
        }
        assert_eq!(hash(&old[..20_000], 20_000, Some(&marks)).0, <[u8; 32]>::from(Sha256::digest(&old[..20_000])));
    }

    #[test]
    fn memory_stays_within_its_limits() {
        let limits = Limits { bodies: 1000, pieces: 100, tips: 3, traces: 5 };
        let mut memory = Memory::new(limits);
        for number in 0..1000u64 {
            let mut tip = Tip::new(CallId(number), None, 0, number);
            tip.body = Some(Bytes::from(vec![0; number as usize % 400]));
            memory.grow(TraceId(u128::from(number % 9)), tip, None);
            let held: usize =
                memory.traces.values().flat_map(|g| &g.tips).filter_map(|t| t.body.as_ref()).map(Bytes::len).sum();
            assert_eq!(held, memory.bodies);
            assert!(memory.bodies <= limits.bodies && memory.traces.len() <= limits.traces);
            assert!(memory.traces.values().all(|growing| growing.tips.len() <= limits.tips));
        }
        for trace in 0..9 {
            memory.forget(TraceId(trace));
        }
        assert_eq!(memory.bodies, 0);
    }
}
