//! Plays a tape: which recorded call answers a request, and what to say when none does.

use std::collections::HashMap;

use bytes::Bytes;

use super::changes::changes;
use super::divergence::{Divergence, Kind, Report};
use super::roots::Roots;
use super::shape::{Canons, Match, Shape, Sketch, Trails};
use super::tape::{Tape, TapeCall, blanked};
use crate::context::{Blocks, Earlier, Split, outline};
use crate::provider;
use crate::redact::{Lately, Redactor};
use crate::trace::{CallEnd, CallId, TraceId, Wire};

/// Bodies kept so that the next of their conversation is cut up faster.
const LATELY: usize = 4;
/// The most that a report lists one by one.
const LISTED: usize = 200;

/// A request that came in.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    pub call: CallId,
    pub wire: Wire,
    pub target: &'a str,
    /// The whole body, decoded.
    pub body: &'a Bytes,
    /// The sub-agent that asks, and its parent, where the client names them.
    pub agent: Option<&'a str>,
    pub parent_agent: Option<&'a str>,
}

/// What the tape has for a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Played {
    /// The answer of this call, by its place on the tape.
    Call(usize),
    /// Nothing: this is where the run left the recorded way.
    Nothing(Box<Divergence>),
}

/// A tape being played.
pub struct Player {
    tape: Tape,
    canons: Canons,
    by_key: HashMap<u64, Vec<usize>>,
    by_talk: HashMap<u64, Vec<usize>>,
    used: Vec<bool>,
    /// How often each was asked.
    asked: Vec<u32>,
    /// Sub-agents of this run, and who they were when it was recorded.
    agents: HashMap<String, String>,
    roots: Roots,
    redactor: Option<std::sync::Arc<Redactor>>,
    /// What was looked at for secrets lately: a request mostly begins as the last did.
    looked_at: Lately,
    lately: Vec<(Bytes, Split)>,
    trails: Trails,
    number: usize,
    matched: usize,
    live: usize,
    divergences: Vec<Divergence>,
    unlisted: usize,
}

impl Player {
    /// A tape from its beginning. Where secrets were replaced in what was recorded, `redactor` replaces them in what comes in.
    pub fn new((tape, canons): (Tape, Canons), roots: Roots, redactor: Option<std::sync::Arc<Redactor>>) -> Self {
        let mut by_key: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut by_talk: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, call) in tape.calls.iter().enumerate() {
            by_key.entry(call.shape.key(tape.how)).or_default().push(at);
            by_talk.entry(call.shape.talk()).or_default().push(at);
        }
        let count = tape.calls.len();
        Player {
            redactor: redactor.filter(|_| tape.redacted),
            tape,
            canons,
            by_key,
            by_talk,
            used: vec![false; count],
            asked: vec![0; count],
            agents: HashMap::new(),
            roots,
            looked_at: Lately::default(),
            lately: Vec::new(),
            trails: Trails::default(),
            number: 0,
            matched: 0,
            live: 0,
            divergences: Vec::new(),
            unlisted: 0,
        }
    }

    pub fn tape(&self) -> &Tape {
        &self.tape
    }

    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Finds the answer for a request. Divergences are remembered for the report, with the reader's help put into words.
    pub fn ask(&mut self, asking: &Asking<'_>) -> Played {
        self.number += 1;
        let body = self.as_recorded(asking.body.clone());
        let shape = self.shape(asking, &body);
        let key = shape.key(self.tape.how);
        let fits = self.by_key.get(&key);
        let free = fits.into_iter().flatten().copied().filter(|at| !self.used[*at]);
        let best = free.min_by_key(|at| (self.strangeness(*at, asking), *at));
        if let Some(at) = best.or_else(|| self.again(key)) {
            self.take(at, asking);
            return Played::Call(at);
        }
        let repeated = fits.and_then(|fits| fits.last().copied());
        let divergence = self.divergence(asking, &body, &shape, repeated);
        Played::Nothing(Box::new(self.note(divergence)))
    }

    /// A call that went to a live model after all: what the fork is about, or what was let through.
    pub fn went_live(&mut self, call: CallId, let_through: bool) {
        self.live += 1;
        let found = self.divergences.iter_mut().rev().find(|divergence| divergence.call == Some(call));
        if let Some(divergence) = found.filter(|_| let_through) {
            divergence.let_through = true;
        }
    }

    /// Whether a live model has answered by now.
    pub fn is_live(&self) -> bool {
        self.live > 0
    }

    /// Forgets a divergence that was none: what a fork asks beyond the tape is what it is for.
    pub fn forgive(&mut self, call: CallId) {
        self.divergences.retain(|divergence| divergence.call != Some(call));
    }

    /// A call of a tool that has no recorded result.
    pub fn tool_missing(&mut self, says: &str, let_through: bool) {
        self.note(Divergence {
            kind: Kind::Tool,
            number: None,
            call: None,
            recorded_number: None,
            recorded_call: None,
            agent: None,
            says: says.to_owned(),
            changes: Vec::new(),
            cause: None,
            let_through,
        });
    }

    fn note(&mut self, divergence: Divergence) -> Divergence {
        if self.divergences.len() < LISTED {
            self.divergences.push(divergence.clone());
        } else {
            self.unlisted += 1;
        }
        divergence
    }

    /// The request as it would have been recorded: paths where they were, secrets replaced, what is ignored taken out.
    pub fn as_recorded(&mut self, body: Bytes) -> Bytes {
        let body = self.roots.back(body);
        let body = match &self.redactor {
            Some(redactor) => self.looked_at.redact(redactor, self.tape.trace, body).0,
            None => body,
        };
        if self.tape.ignore.is_empty() { body } else { blanked(body, &self.tape.ignore) }
    }

    fn shape(&mut self, asking: &Asking<'_>, body: &Bytes) -> Shape {
        let mut fresh = Blocks::new();
        let canons = &self.canons;
        let known = |id: &_, name: &std::sync::Arc<str>| canons.knows(id, name);
        // The longest body so far that this one could have grown from.
        let before = self.lately.iter().filter(|(old, _)| begins_alike(old, body)).max_by_key(|(old, _)| old.len());
        let earlier = before.map(|(old, split)| Earlier { pieces: &split.pieces, body: Some(old), shared: 0 });
        let (pieces, split) = outline(body, earlier, known, |id, _, bytes| drop(fresh.insert(id, bytes.into())));
        let sketch = Sketch { wire: asking.wire, target: asking.target };
        let shape = sketch.shape(pieces, &mut self.canons, &mut self.trails, &|id| fresh.get(id).cloned());
        if self.lately.len() >= LATELY {
            self.lately.remove(0);
        }
        self.lately.push((body.clone(), split));
        shape
    }

    /// How badly a recorded call's agent fits the one that asks: several sub-agents may send the very same request.
    fn strangeness(&self, at: usize, asking: &Asking<'_>) -> u8 {
        let recorded = &self.tape.calls[at].request;
        let was = |agent: Option<&str>| agent.and_then(|agent| self.agents.get(agent).map(String::as_str));
        match (asking.agent, was(asking.agent)) {
            (None, _) => u8::from(recorded.agent.is_some()) * 3,
            (Some(_), Some(was)) => {
                if recorded.agent.as_deref() == Some(was) {
                    0
                } else {
                    3
                }
            }
            (Some(_), None) => {
                let taken = recorded.agent.as_ref().is_none_or(|agent| self.agents.values().any(|was| was == agent));
                let same_parent = match asking.parent_agent {
                    None => recorded.parent_agent.is_none(),
                    parent => was(parent) == recorded.parent_agent.as_deref(),
                };
                u8::from(taken) * 2 + u8::from(!same_parent)
            }
        }
    }

    /// With lenient matching a request may be asked as often as one likes.
    fn again(&self, key: u64) -> Option<usize> {
        if self.tape.how != Match::Lenient {
            return None;
        }
        self.by_key.get(&key)?.last().copied()
    }

    fn take(&mut self, at: usize, asking: &Asking<'_>) {
        if let (Some(now), Some(then)) = (asking.agent, &self.tape.calls[at].request.agent) {
            self.agents.entry(now.to_owned()).or_insert_with(|| then.clone());
        }
        self.asked[at] += 1;
        if !std::mem::replace(&mut self.used[at], true) {
            self.matched += 1;
        }
    }

    /// The recorded call that a request comes nearest to: one that was not asked yet, with the most of its conversation.
    fn nearest(&self, shape: &Shape) -> Option<usize> {
        let same_talk = self.by_talk.get(&shape.talk()).into_iter().flatten().copied();
        let same_talk: Vec<usize> = same_talk.filter(|at| !self.used[*at]).collect();
        let candidates: Vec<usize> = match same_talk.is_empty() {
            false => same_talk,
            true => (0..self.tape.calls.len()).filter(|at| !self.used[*at]).collect(),
        };
        let likeness = |at: &usize| {
            let recorded = &self.tape.calls[*at].shape;
            let shared = shape.shared(recorded);
            let longer = recorded.runs.len().abs_diff(shape.runs.len());
            let same = [
                shape.tools == recorded.tools,
                shape.orders == recorded.orders,
                shape.model == recorded.model,
                shape.params == recorded.params,
            ];
            let same = same.into_iter().filter(|same| *same).count();
            (shared, same, std::cmp::Reverse(longer), std::cmp::Reverse(*at))
        };
        candidates.into_iter().max_by_key(likeness)
    }

    fn divergence(&self, asking: &Asking<'_>, body: &Bytes, shape: &Shape, repeated: Option<usize>) -> Divergence {
        let number = self.number;
        let mut divergence = Divergence {
            kind: Kind::Extra,
            number: Some(number),
            call: Some(asking.call),
            recorded_number: None,
            recorded_call: None,
            agent: asking.agent.map(str::to_owned),
            says: String::new(),
            changes: Vec::new(),
            cause: None,
            let_through: false,
        };
        let mut against = |at: usize| {
            let recorded = &self.tape.calls[at];
            (divergence.recorded_number, divergence.recorded_call) = (Some(recorded.number), Some(recorded.call));
            recorded
        };
        if let Some(at) = repeated {
            let recorded = against(at);
            let times = self.by_key.values().find(|fits| fits.contains(&at)).map_or(1, Vec::len);
            divergence.says = format!(
                "request {number} is recorded call {} again; it was asked {times} time{} when it was recorded",
                recorded.number,
                if times == 1 { "" } else { "s" }
            );
            divergence.kind = Kind::Repeated;
            return divergence;
        }
        let Some(at) = self.nearest(shape) else {
            divergence.says =
                format!("request {number} comes after all {} recorded calls were used", self.tape.calls.len());
            return divergence;
        };
        let recorded = against(at);
        let then = self
            .tape
            .body(at)
            .map(|body| if self.tape.ignore.is_empty() { body } else { blanked(body, &self.tape.ignore) });
        let then = then.and_then(|body| provider::request(recorded.request.wire, &recorded.request.target, &body).ok());
        let now = provider::request(asking.wire, asking.target, body).ok();
        let (number_then, wire_then) = (recorded.number, recorded.request.wire);
        if let (Some(then), Some(now)) = (then, now) {
            (divergence.changes, divergence.cause) = changes(&then, &now);
        }
        divergence.kind = Kind::Changed;
        divergence.says = match divergence.changes.first() {
            _ if wire_then != asking.wire => format!(
                "request {number} speaks {}, recorded call {number_then} speaks {}",
                asking.wire.as_str(),
                wire_then.as_str()
            ),
            Some(change) => format!("request {number} differs from recorded call {number_then} in {}", change.place),
            None => format!("request {number} is spelt differently from recorded call {number_then}"),
        };
        divergence
    }

    /// What came of it, once the run is over. Calls that were never asked count where nothing else explains them: a run that
    /// was led away asks for less.
    pub fn report(&self, trace: TraceId) -> Report {
        let mut all = self.divergences.clone();
        if all.is_empty() && self.live == 0 {
            all.extend(self.unasked());
        }
        let mut report = Report::new(self.tape.trace, trace, self.tape.calls.len(), self.matched, all);
        report.divergences += self.unlisted;
        report.live = self.live;
        report.redacted_answers = self.tape.redacted_answers();
        report
    }

    fn unasked(&self) -> Option<Divergence> {
        // What the client itself hung up on may come or not: that is a matter of time.
        let warming = &self.tape.over_http.warming;
        let counts = |call: &TapeCall| {
            !matches!(call.ended.end, CallEnd::ClientGone | CallEnd::Lost) && !warming.contains(&call.call)
        };
        let left: Vec<&TapeCall> = self
            .tape
            .calls
            .iter()
            .zip(&self.used)
            .filter(|(call, used)| !**used && counts(call))
            .map(|(call, _)| call)
            .collect();
        let first = left.first()?;
        let numbers: Vec<String> = left.iter().take(8).map(|call| call.number.to_string()).collect();
        let more = if left.len() > 8 { format!(" and {} more", left.len() - 8) } else { String::new() };
        let s = if left.len() == 1 { "" } else { "s" };
        Some(Divergence {
            kind: Kind::Missing,
            number: None,
            call: None,
            recorded_number: Some(first.number),
            recorded_call: Some(first.call),
            agent: first.request.agent.clone(),
            says: format!("the run ended without asking for recorded call{s} {}{more}", numbers.join(", ")),
            changes: Vec::new(),
            cause: None,
            let_through: false,
        })
    }
}

/// Whether two bodies could belong to one conversation: cheap, and only ever costs time when it is wrong.
fn begins_alike(one: &[u8], other: &[u8]) -> bool {
    const ENOUGH: usize = 64;
    let len = ENOUGH.min(one.len()).min(other.len());
    one[..len] == other[..len]
}
