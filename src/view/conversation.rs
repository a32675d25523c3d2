//! A trace read as the conversation it was: for each call what was new in its request, and what was answered.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Serialize;

use super::agents::{self, ShownAgent};
use crate::context::{BlockId, Relation};
use crate::provider;
use crate::store::log::{Kept, LogError, Named, Reader, StartedCall};
use crate::trace::{
    CallEnd, CallEnded, CallId, Message, Note, ProviderError, Response, Score, Timestamp, TraceId, TraceStarted, Usage,
    Wire,
};

/// One call, ready to be shown.
#[derive(Debug, Serialize)]
pub struct ShownCall {
    /// Position in the trace, from 1.
    pub number: usize,
    pub call: CallId,
    pub wire: Wire,
    pub upstream: String,
    pub method: String,
    pub target: String,
    pub model: String,
    pub agent: Option<String>,
    pub parent_agent: Option<String>,
    pub relation: Relation,
    /// The number of the call whose conversation this one goes on from.
    pub from: Option<usize>,
    pub retry_of: Option<usize>,
    pub started: Timestamp,
    /// `None` while it is open.
    pub took_us: Option<u64>,
    pub first_byte_us: Option<u64>,
    pub first_content_us: Option<u64>,
    /// `None` while it is in flight.
    pub end: Option<CallEnd>,
    pub status: Option<u16>,
    pub usage: Usage,
    pub cost_usd: Option<f64>,
    pub stop: Option<String>,
    pub error: Option<String>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub redactions: u32,
    /// Messages the conversation had before this call, which are not repeated.
    pub kept_messages: u32,
    pub new_messages: Vec<Message>,
    pub answer: Option<Message>,
}

/// Everything there is to show of a trace's inside.
#[derive(Debug, Default, Serialize)]
pub struct Conversation {
    /// What the trace's start records say together.
    #[serde(skip)]
    pub about: TraceStarted,
    pub calls: Vec<ShownCall>,
    /// Sub-agents, each behind its parent.
    pub agent_tree: Vec<ShownAgent>,
    pub notes: Vec<(Timestamp, Note)>,
    pub scores: Vec<(Timestamp, Score)>,
}

/// Reads a trace.
///
/// # Errors
/// When the log can't be read.
pub fn read(reader: &Reader, trace: TraceId) -> Result<Conversation, LogError> {
    read_with(reader, trace, &mut |_, _| {})
}

/// The same; `answered` is shown each answer as it was recorded.
///
/// # Errors
/// As [`read`].
pub fn read_with(
    reader: &Reader,
    trace: TraceId,
    answered: &mut dyn FnMut(CallId, &CallEnded),
) -> Result<Conversation, LogError> {
    let mut shown = Conversation::default();
    let mut at: HashMap<CallId, usize> = HashMap::new();
    let mut blocks = Contents { reader, trace, known: HashMap::new(), whole: false };
    for entry in reader.entries(trace)? {
        match entry.what {
            Kept::CallStarted(_, started) => {
                for fresh in &started.fresh {
                    blocks.known.insert(fresh.id, fresh.bytes.clone());
                }
                let mut call = begun(&started, entry.at, &at);
                call.number = shown.calls.len() + 1;
                call.new_messages = new_messages(&started, &mut blocks)?;
                let before =
                    call.from.and_then(|number| shown.calls.get(number - 1)).and_then(|call| call.answer.as_ref());
                if let (Some(before), Some(first)) = (before, call.new_messages.first())
                    && same_words(before, first)
                {
                    call.new_messages.remove(0);
                }
                at.insert(started.call, shown.calls.len());
                shown.calls.push(call);
            }
            Kept::CallEnded(_, id, ended) => {
                answered(id, &ended);
                if let Some(call) = at.get(&id).and_then(|&at| shown.calls.get_mut(at)) {
                    finish(call, &ended, entry.at);
                }
            }
            Kept::CallLost(_, id) => {
                if let Some(call) = at.get(&id).and_then(|&at| shown.calls.get_mut(at)) {
                    call.end = Some(CallEnd::Lost);
                    call.error = Some("the recorder ended before the call did".to_owned());
                }
            }
            Kept::Noted(_, note) => shown.notes.push((entry.at, note)),
            Kept::Scored(_, score) => shown.scores.push((entry.at, score)),
            Kept::TraceStarted(_, later) => learn(&mut shown.about, later),
            Kept::TraceEnded(..) | Kept::Record(_) | Kept::Removed(_) => {}
        }
    }
    shown.agent_tree = agents::tree(&shown.calls);
    Ok(shown)
}

/// Whether a request repeats the answer that was shown just above it.
fn same_words(answer: &Message, repeated: &Message) -> bool {
    let asked = |message: &Message| -> Vec<_> {
        message.tool_calls().map(|call| (call.name.clone(), call.arguments.clone())).collect()
    };
    repeated.role == answer.role && repeated.plain_text() == answer.plain_text() && asked(repeated) == asked(answer)
}

/// Later words win where they say something.
fn learn(about: &mut TraceStarted, later: TraceStarted) {
    if !later.command.is_empty() {
        about.command = later.command;
    }
    about.cwd = later.cwd.or(about.cwd.take());
    about.git_commit = later.git_commit.or(about.git_commit.take());
    about.git_dirty = later.git_dirty.or(about.git_dirty);
    about.parent = later.parent.or(about.parent);
}

fn begun(started: &StartedCall, at: Timestamp, numbers: &HashMap<CallId, usize>) -> ShownCall {
    let number = |call: Option<CallId>| call.and_then(|call| numbers.get(&call)).map(|at| at + 1);
    let request = &started.request;
    ShownCall {
        number: 0,
        call: started.call,
        wire: request.wire,
        upstream: request.upstream.clone(),
        method: request.method.clone(),
        target: request.target.clone(),
        model: String::new(),
        agent: request.agent.clone(),
        parent_agent: request.parent_agent.clone(),
        relation: started.context.relation,
        from: number(started.context.parent),
        retry_of: number(request.retry_of),
        started: at,
        took_us: None,
        first_byte_us: None,
        first_content_us: None,
        end: None,
        status: None,
        usage: Usage::default(),
        cost_usd: None,
        stop: None,
        error: None,
        request_bytes: started.body_len,
        response_bytes: 0,
        redactions: request.redactions,
        kept_messages: started.context.kept,
        new_messages: Vec::new(),
        answer: None,
    }
}

/// What blocks of a trace's requests say.
struct Contents<'a> {
    reader: &'a Reader,
    trace: TraceId,
    known: HashMap<BlockId, Bytes>,
    /// Whether the blocks that stand in records of other traces are there too.
    whole: bool,
}

impl Contents<'_> {
    /// Whether these are all there. What stands with another trace, which said the same before, is fetched once for all calls.
    fn have(&mut self, wanted: &[&Named]) -> Result<bool, LogError> {
        let missing = |known: &HashMap<BlockId, Bytes>| wanted.iter().any(|named| !known.contains_key(&named.id));
        if missing(&self.known) && !self.whole {
            self.whole = true;
            self.known.extend(self.reader.outlines(self.trace)?.blocks);
        }
        Ok(!missing(&self.known))
    }
}

/// What the request says beyond what its conversation had said before. Where a block is missing, from the whole request.
fn new_messages(started: &StartedCall, blocks: &mut Contents<'_>) -> Result<Vec<Message>, LogError> {
    let wire = started.request.wire;
    let first = started.context.relation == Relation::Root;
    let orders = started.setup_blocks.iter().flatten().filter(|named| first && &*named.name != "tools");
    // The orders themselves come with the first call that uses them; a later conversation only names them.
    let orders_are_here = !first || started.setup_blocks.is_some();
    let wanted: Vec<&Named> = orders.chain(&started.said).collect();
    if orders_are_here && blocks.have(&wanted)? {
        let said = wanted.iter().filter_map(|named| Some((named, blocks.known.get(&named.id)?)));
        return Ok(said.flat_map(|(named, bytes)| provider::block_messages(wire, &named.name, bytes)).collect());
    }
    let body = blocks.reader.request(started.call)?;
    let Ok(request) = provider::request(wire, &started.request.target, &body) else { return Ok(Vec::new()) };
    // Standing orders come first and are not counted among the kept messages.
    let count = if first { request.messages.len() } else { started.said.len().min(request.messages.len()) };
    Ok(request.messages[request.messages.len() - count..].to_vec())
}

fn finish(call: &mut ShownCall, ended: &CallEnded, at: Timestamp) {
    call.took_us = Some(at.micros_since(call.started));
    call.first_byte_us = ended.first_byte;
    call.first_content_us = ended.first_content;
    call.end = Some(ended.end);
    call.status = ended.status;
    call.response_bytes = ended.body.len() as u64;
    call.redactions += ended.redactions;
    let summary = &ended.summary;
    call.model.clone_from(&summary.model);
    call.usage = summary.usage;
    call.cost_usd = summary.cost_usd;
    call.stop.clone_from(&summary.stop);
    let read = provider::response(call.wire, ended.status.unwrap_or(0), &ended.headers, &ended.body);
    call.error = summary.error.clone().or_else(|| read.error.as_ref().map(worded));
    call.answer = answer_of(read);
}

fn worded(error: &ProviderError) -> String {
    match error.kind.as_str() {
        "" => error.message.clone(),
        kind => format!("{kind}: {}", error.message),
    }
}

fn answer_of(response: Response) -> Option<Message> {
    response.message.filter(|message| !message.parts.is_empty())
}
