//! Finds the trace of a request that names none: it carries on a conversation whose last answer went through here, or it
//! begins a new one. Two conversations that begin alike stay two, as long as each carries on its own answer.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::ids;
use crate::trace::{Message, Part, Request, Response, Role, TraceId};

/// Answers remembered in each of two generations; the older one goes when the younger is full.
const REMEMBERED: usize = 16 * 1024;

/// An answer that was given, with what it answered.
type Key = u64;

/// A trace that a request could carry on from an answer.
#[derive(Debug, Clone)]
struct Tip {
    trace: TraceId,
    connection: u64,
    /// Whether a request has carried on from here already.
    taken: bool,
}

/// Where a request belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) trace: TraceId,
    /// The answer it carries on from.
    pub(super) from: Option<Key>,
}

/// What is remembered of a request until its answer is there: the last turn of the user's side, and what the model had begun to
/// say behind it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    before: Vec<u64>,
    begun: Vec<u64>,
}

impl Asked {
    pub(super) fn of(request: &Request) -> Self {
        let mut runs = runs(request.messages.iter());
        let begun = runs.pop_if(|(assistant, _)| *assistant).map(|(_, said)| said).unwrap_or_default();
        Asked { before: runs.pop().map(|(_, said)| said).unwrap_or_default(), begun }
    }
}

/// The answers given lately.
#[derive(Default)]
pub(super) struct Conversations {
    young: HashMap<Key, Vec<Tip>>,
    old: HashMap<Key, Vec<Tip>>,
}

impl Conversations {
    /// The trace of a request.
    pub(super) fn place(&mut self, request: Option<&Request>, connection: u64) -> Placed {
        let Some(request) = request else { return Placed { trace: ids::trace(), from: None } };
        if let Some(session) = session_in(request) {
            return Placed { trace: ids::trace_named("session", session), from: None };
        }
        let by_id = request.params.get("previous_response_id").and_then(Value::as_str).map(id_key);
        for key in by_id.into_iter().chain(answers_in(&request.messages)) {
            if let Some(trace) = self.take(key, connection) {
                return Placed { trace, from: Some(key) };
            }
        }
        Placed { trace: ids::trace(), from: None }
    }

    /// An answer was given: what carries on from it belongs to that trace.
    pub(super) fn learn(&mut self, trace: TraceId, connection: u64, asked: &Asked, response: &Response) {
        let Some(answer) = &response.message else { return };
        let Asked { before, begun } = asked;
        let said = match runs([answer].into_iter()).pop() {
            Some((true, more)) => Some(key(before, &[begun.as_slice(), &more].concat())),
            _ => None,
        };
        let id = (!response.id.is_empty()).then(|| id_key(&response.id));
        for key in said.into_iter().chain(id) {
            if self.young.len() >= REMEMBERED {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.entry(key).or_default().push(Tip { trace, connection, taken: false });
        }
    }

    /// A request that carried on from an answer failed: it will be made again.
    pub(super) fn give_back(&mut self, trace: TraceId, from: Key) {
        for tips in [self.young.get_mut(&from), self.old.get_mut(&from)].into_iter().flatten() {
            if let Some(tip) = tips.iter_mut().rev().find(|tip| tip.trace == trace) {
                tip.taken = false;
                return;
            }
        }
    }

    fn take(&mut self, key: Key, connection: u64) -> Option<TraceId> {
        let tips = match self.young.get_mut(&key) {
            Some(tips) => tips,
            None => self.old.get_mut(&key)?,
        };
        let at = tips
            .iter()
            .rposition(|tip| !tip.taken && tip.connection == connection)
            .or_else(|| tips.iter().rposition(|tip| !tip.taken))
            .or_else(|| tips.iter().rposition(|tip| tip.connection == connection))
            .unwrap_or(tips.len() - 1);
        tips[at].taken = true;
        Some(tips[at].trace)
    }
}

/// A session that a client names in the body: a UUID as its cache key, or Claude Code's user id.
fn session_in(request: &Request) -> Option<&str> {
    let text = |name: &str| request.params.get(name).and_then(Value::as_str);
    let user = request.params.get("metadata").and_then(|metadata| metadata.get("user_id")).and_then(Value::as_str);
    text("prompt_cache_key")
        .filter(|key| is_uuid(key))
        .or_else(|| user.and_then(|user| user.split_once("_session_")).map(|(_, session)| session))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The answers that a request's history holds, the last one first.
fn answers_in(messages: &[Message]) -> impl Iterator<Item = Key> {
    let runs = runs(messages.iter());
    let keys: Vec<Key> = runs
        .iter()
        .enumerate()
        .filter(|(_, (assistant, _))| *assistant)
        .map(|(at, (_, said))| key(at.checked_sub(1).map_or(&[], |before| runs[before].1.as_slice()), said))
        .collect();
    keys.into_iter().rev()
}

/// What was said, in turns: whether the model said it, and a hash of every part. How parts are spread over messages differs
/// between an answer and the same answer sent back, so messages of one side count as one turn.
fn runs<'a>(messages: impl Iterator<Item = &'a Message>) -> Vec<(bool, Vec<u64>)> {
    let mut runs: Vec<(bool, Vec<u64>)> = Vec::new();
    for message in messages.filter(|message| message.role != Role::System) {
        let assistant = message.role == Role::Assistant;
        let parts = message.parts.iter().filter_map(part_key);
        match runs.last_mut() {
            Some((last, keys)) if *last == assistant => keys.extend(parts),
            _ => runs.push((assistant, parts.collect())),
        }
    }
    runs
}

/// A hash of what a part says; `None` for what clients leave out or reword when they send it back.
fn part_key(part: &Part) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    match part {
        Part::Text { text } | Part::Refusal { text } if text.trim().is_empty() => return None,
        Part::Text { text } | Part::Refusal { text } => ("text", text.trim()).hash(&mut hasher),
        Part::ToolCall(call) => ("call", &call.id, &call.name, call.arguments.to_string()).hash(&mut hasher),
        Part::ToolResult(result) => ("result", &result.id, &result.text).hash(&mut hasher),
        Part::Thinking { .. } | Part::Other { .. } => return None,
    }
    Some(hasher.finish())
}

fn key(before: &[u64], said: &[u64]) -> Key {
    let mut hasher = DefaultHasher::new();
    (before, said).hash(&mut hasher);
    hasher.finish()
}

fn id_key(id: &str) -> Key {
    let mut hasher = DefaultHasher::new();
    ("id", id).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(texts: &[&str]) -> Request {
        let role = |at: usize| if at.is_multiple_of(2) { Role::User } else { Role::Assistant };
        let mut messages = vec![Message::text(Role::System, "be good")];
        messages.extend(texts.iter().enumerate().map(|(at, text)| Message::text(role(at), *text)));
        Request { messages, ..Request::default() }
    }

    fn answer(text: &str) -> Response {
        Response { message: Some(Message::text(Role::Assistant, text)), complete: true, ..Response::default() }
    }

    #[test]
    fn a_request_that_sends_an_answer_back_belongs_to_its_trace() {
        let mut all = Conversations::default();
        let first = all.place(Some(&request(&["hi"])), 1);
        assert_eq!(first.from, None);
        all.learn(first.trace, 1, &Asked::of(&request(&["hi"])), &answer("hello "));
        let next = all.place(Some(&request(&["hi", "hello", "and?"])), 2);
        assert_eq!(next.trace, first.trace);
        assert_ne!(all.place(Some(&request(&["hi", "good day", "and?"])), 2).trace, first.trace);
        assert_ne!(all.place(Some(&request(&["hi"])), 1).trace, first.trace);
        assert_ne!(all.place(None, 1).trace, first.trace);
    }

    #[test]
    fn equal_trials_at_the_same_time_stay_as_many_traces() {
        let mut all = Conversations::default();
        let mut talks = vec![vec!["hi"]; 5];
        let mut traces: Vec<_> = talks.iter().map(|talk| all.place(Some(&request(talk)), 9).trace).collect();
        traces.iter().for_each(|trace| all.learn(*trace, 9, &Asked::of(&request(&talks[0])), &answer("a0")));
        let first: std::collections::HashSet<_> = traces.iter().copied().collect();
        assert_eq!(first.len(), 5);
        for (answered, said) in [("a0", "b0"), ("a1", "b1")] {
            talks.iter_mut().for_each(|talk| talk.extend([answered, said]));
            traces = talks.iter().map(|talk| all.place(Some(&request(talk)), 9).trace).collect();
            assert_eq!(traces.iter().copied().collect::<std::collections::HashSet<_>>(), first);
            traces.iter().for_each(|trace| all.learn(*trace, 9, &Asked::of(&request(&talks[0])), &answer("a1")));
        }
    }

    #[test]
    fn a_failed_request_made_again_stays_in_its_trace() {
        let mut all = Conversations::default();
        let traces: Vec<_> = (0..2).map(|connection| all.place(Some(&request(&["hi"])), connection).trace).collect();
        traces.iter().for_each(|trace| all.learn(*trace, 7, &Asked::of(&request(&["hi"])), &answer("a")));
        let next = request(&["hi", "a", "b"]);
        let one = all.place(Some(&next), 8);
        all.give_back(one.trace, one.from.unwrap());
        assert_eq!(all.place(Some(&next), 8).trace, one.trace);
        assert_ne!(all.place(Some(&next), 8).trace, one.trace);
    }

    #[test]
    fn a_response_id_and_a_session_in_the_body_are_known() {
        let mut all = Conversations::default();
        let first = all.place(Some(&request(&["hi"])), 1);
        all.learn(first.trace, 1, &Asked::of(&request(&["hi"])), &Response { id: "resp_1".into(), ..answer("a") });
        let mut next = request(&["more"]);
        next.params.insert("previous_response_id".into(), "resp_1".into());
        assert_eq!(all.place(Some(&next), 1).trace, first.trace);
        let mut session = request(&["x"]);
        session.params.insert("prompt_cache_key".into(), "01a1fdb0-31b1-7270-b026-58da6891e3e2".into());
        let one = all.place(Some(&session), 1).trace;
        assert_eq!(all.place(Some(&session), 2).trace, one);
        session.params.insert("prompt_cache_key".into(), "my-app".into());
        assert_ne!(all.place(Some(&session), 2).trace, all.place(Some(&session), 2).trace);
    }
}
