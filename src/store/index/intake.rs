//! From what the log says to rows, one entry at a time and any number at once: nothing here knows another entry.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::rows::{
    CallRow, ContextRow, EventRow, Hex16, Hex32, MessageRow, PartRow, ScoreRow, SetupRow, Time, ToolCallRow,
    ToolResultRow, ToolRow, big, int,
};
use crate::context::BlockId;
use crate::provider;
use crate::store::log::{Entry, Fresh, Kept, Named, Record, StartedCall};
use crate::trace::{CallEnded, CallId, Message, Part, Timestamp, TraceId, Wire};

/// An entry, read.
pub(super) enum Read {
    Part(PartRow),
    Started(Box<Started>),
    Ended(Box<Ended>),
    Lost(CallId),
    Event(EventRow),
    Score(ScoreRow),
    Record(Record, Timestamp),
    Removed(TraceId),
}

/// A call's first half.
pub(super) struct Started {
    pub id: CallId,
    pub wire: Wire,
    pub call: CallRow,
    pub said: Vec<ContextRow>,
    pub messages: Vec<ReadMessage>,
    /// What the call came with, when that may be new: its id, and its blocks in order.
    pub setup: Option<([u8; 16], Vec<SetupRow>)>,
    /// Tools that may be new, by the id of their block.
    pub tools: Vec<([u8; 16], Vec<ToolRow>)>,
}

/// A message that may be new, under the id it is known by.
pub(super) struct ReadMessage {
    pub id: [u8; 16],
    pub row: MessageRow,
    pub results: Vec<ToolResultRow>,
}

/// A call's second half.
pub(super) struct Ended {
    pub id: CallId,
    pub at: Timestamp,
    /// Microseconds until the last byte, when bytes came.
    pub took: Option<u64>,
    pub end: CallEnded,
    pub answer: Option<ReadMessage>,
    pub tool_calls: Vec<ToolCallRow>,
    pub response_id: Option<String>,
    pub body_len: u64,
}

/// Reads one entry. `wire` is what an ended call began with.
pub(super) fn read(entry: Entry, wire: Wire) -> Read {
    let Entry { place, at, what } = entry;
    let part = |trace: TraceId, kind: &'static str, part: serde_json::Result<String>| {
        Read::Part(PartRow {
            trace_id: hex(trace),
            segment: place.segment.to_string(),
            recorded_at: at.into(),
            kind: kind.into(),
            part: Some(part.expect("the nouns of a trace are always JSON")),
        })
    };
    match what {
        Kept::TraceStarted(trace, started) => part(trace, "started", serde_json::to_string(&started)),
        Kept::TraceEnded(trace, ended) => part(trace, "ended", serde_json::to_string(&ended)),
        Kept::CallStarted(trace, started) => Read::Started(Box::new(call_started(trace, at, *started))),
        Kept::CallEnded(trace, call, ended) => Read::Ended(Box::new(call_ended(trace, call, at, wire, *ended))),
        Kept::CallLost(_, call) => Read::Lost(call),
        Kept::Noted(trace, note) => Read::Event(EventRow {
            trace_id: hex(trace),
            call_id: note.call.map(|call| Hex16::from(call.0)),
            happened_at: at.into(),
            kind: note.kind,
            data: (!note.data.is_null()).then(|| note.data.to_string()),
        }),
        Kept::Scored(trace, score) => Read::Score(ScoreRow {
            trace_id: hex(trace),
            call_id: score.call.map(|call| Hex16::from(call.0)),
            scored_at: at.into(),
            name: score.name,
            scored_by: score.by,
            value: score.value,
            label: score.label,
            comment: score.comment,
        }),
        Kept::Record(record) => Read::Record(record, at),
        Kept::Removed(trace) => Read::Removed(trace),
    }
}

pub(super) fn hex(trace: TraceId) -> Hex32 {
    Hex32::from(trace.0.to_be_bytes())
}

fn call_started(trace: TraceId, at: Timestamp, started: StartedCall) -> Started {
    let StartedCall { call, request, body_len, context, said, setup, setup_blocks, fresh, .. } = started;
    let wire = request.wire;
    let (trace_id, call_id) = (hex(trace), Hex16::from(call.0));
    let has_setup = setup_blocks.is_some();
    let setup_blocks = setup_blocks.unwrap_or_default();
    let (messages, tools) = fresh_blocks(wire, fresh, &said, &setup_blocks);
    let row = CallRow {
        call_id,
        trace_id,
        state: "open".into(),
        started_at: at.into(),
        duration_ms: None,
        first_byte_ms: None,
        first_content_ms: None,
        wire: wire.as_str().into(),
        upstream: request.upstream,
        method: request.method,
        target: request.target,
        model: None,
        status: None,
        stop: None,
        error: None,
        input_tokens: None,
        output_tokens: None,
        cache_read_tokens: None,
        cache_write_tokens: None,
        reasoning_tokens: None,
        cost_usd: None,
        agent: request.agent,
        parent_agent: request.parent_agent,
        retry_of: request.retry_of.map(|call| Hex16::from(call.0)),
        parent_call_id: context.parent.map(|call| Hex16::from(call.0)),
        relation: context.relation.as_str().into(),
        context_id: Hex32::from(context.id.0),
        setup_id: Hex32::from(setup.0),
        kept_messages: int(context.kept),
        messages: int(context.messages),
        answer_id: None,
        tools_called: 0,
        response_id: None,
        request_bytes: big(body_len),
        response_bytes: None,
        redactions: int(request.redactions),
    };
    let depths = (context.kept.saturating_add(1))..;
    let said = depths.zip(said).map(|(depth, said)| ContextRow {
        trace_id,
        call_id,
        depth: int(depth),
        message_id: Hex32::from(said.id.0),
        said_at: at.into(),
    });
    let setup_rows = (1..).zip(setup_blocks).map(|(position, block)| SetupRow {
        setup_id: Hex32::from(setup.0),
        position,
        part: block.name.to_string(),
        block_id: Hex32::from(block.id.0),
    });
    let setup = has_setup.then(|| (setup.0, setup_rows.collect()));
    Started { id: call, wire, call: row, said: said.collect(), messages, setup, tools }
}

/// The messages and tools among a call's new blocks; other long values stay in the log.
#[expect(clippy::type_complexity, reason = "two lists, each with the ids of its blocks")]
pub(super) fn fresh_blocks(
    wire: Wire,
    fresh: Vec<Fresh>,
    said: &[Named],
    setup: &[Named],
) -> (Vec<ReadMessage>, Vec<([u8; 16], Vec<ToolRow>)>) {
    let named: HashSet<BlockId> = said.iter().chain(setup).map(|block| block.id).collect();
    let (mut messages, mut tools) = (Vec::new(), Vec::new());
    for block in fresh.into_iter().filter(|block| named.contains(&block.id)) {
        if &*block.name == "tools" {
            let rows = provider::block_tools(wire, &block.bytes).into_iter().map(|tool| ToolRow {
                tool_id: Hex32::from(block.id.0),
                tool: tool.name,
                description: full(tool.description),
                parameters: (!tool.parameters.is_null()).then(|| tool.parameters.to_string()),
            });
            tools.push((block.id.0, rows.collect()));
        } else {
            let parsed = provider::block_messages(wire, &block.name, &block.bytes);
            messages.push(match parsed.is_empty() {
                false => message(block.id.0, &parsed),
                true => unread(block.id.0, &block.bytes),
            });
        }
    }
    (messages, tools)
}

/// A block no provider's reader knows: its text, where it is text.
fn unread(id: [u8; 16], bytes: &[u8]) -> ReadMessage {
    let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
    let row = MessageRow { message_id: Hex32::from(id), role: "other".into(), text, thinking: None, parts: None };
    ReadMessage { id, row, results: Vec::new() }
}

/// One block is one row, also where a wire format puts several speakers into it: the first one counts.
fn message(id: [u8; 16], said: &[Message]) -> ReadMessage {
    let message_id = Hex32::from(id);
    let parts: Vec<&Part> = said.iter().flat_map(|message| &message.parts).collect();
    let mut text = String::new();
    let mut thinking = String::new();
    let mut results = Vec::new();
    for part in &parts {
        match part {
            Part::Text { text: more } | Part::Refusal { text: more } => line(&mut text, more),
            Part::Thinking { text: more, .. } => line(&mut thinking, more),
            Part::ToolResult(result) => {
                line(&mut text, &result.text);
                results.push(ToolResultRow {
                    message_id,
                    position: int(results.len() + 1),
                    tool_call_id: full(result.id.clone()),
                    tool: full(result.name.clone()),
                    is_error: result.is_error,
                    text_bytes: big(result.text.len() as u64),
                });
            }
            Part::ToolCall(_) | Part::Other { .. } => {}
        }
    }
    let told_by_text = matches!(parts[..], [Part::Text { .. } | Part::ToolResult(_)]);
    let row = MessageRow {
        message_id,
        role: said.first().map_or("other", |message| message.role.as_str()).into(),
        text: full(text),
        thinking: full(thinking),
        parts: (!told_by_text).then(|| serde_json::to_string(&parts).expect("parts are always JSON")),
    };
    ReadMessage { id, row, results }
}

fn line(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push('\n');
    }
    text.push_str(more);
}

/// An empty text is nothing to an analyst.
fn full(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn call_ended(trace: TraceId, call: CallId, at: Timestamp, wire: Wire, mut end: CallEnded) -> Ended {
    let body = std::mem::take(&mut end.body);
    let response = match wire {
        Wire::Raw | Wire::Embeddings => crate::trace::Response::default(),
        _ => provider::response(wire, end.status.unwrap_or(200), &end.headers, &body),
    };
    if !end.summary.usage.is_known() {
        end.summary.usage = response.usage;
    }
    if end.summary.model.is_empty() {
        end.summary.model = response.model;
    }
    end.summary.stop = end.summary.stop.or_else(|| response.stop.map(|stop| stop.as_str().to_owned()));
    end.summary.error = end.summary.error.or_else(|| response.error.map(|error| error.message));
    let asked: Vec<&crate::trace::ToolCall> = response.message.iter().flat_map(Message::tool_calls).collect();
    let tool_calls = (1..).zip(asked).map(|(position, asked)| ToolCallRow {
        trace_id: hex(trace),
        call_id: Hex16::from(call.0),
        position,
        tool_call_id: full(asked.id.clone()),
        tool: asked.name.clone(),
        arguments: (!asked.arguments.is_null()).then(|| asked.arguments.to_string()),
        asked_at: at.into(),
    });
    let tool_calls = tool_calls.collect();
    let answer = response.message.map(|said| {
        let json = serde_json::to_vec(&said).expect("a message is always JSON");
        let digest: [u8; 32] = Sha256::digest(&json).into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        message(id, &[said])
    });
    let took = end.chunks.last().map(|chunk| chunk.at);
    let body_len = body.len() as u64;
    Ended { id: call, at, took, end, answer, tool_calls, response_id: full(response.id), body_len }
}

impl Ended {
    /// Completes the call's row and gives the rest.
    pub(super) fn complete(self, call: &mut CallRow) -> (Option<ReadMessage>, Vec<ToolCallRow>) {
        let Ended { at, took, end, answer, tool_calls, response_id, body_len, .. } = self;
        let waited = u64::try_from(Time::from(at).0.saturating_sub(call.started_at.0)).unwrap_or(0);
        let summary = end.summary;
        call.state = end.end.as_str().into();
        call.duration_ms = Some(millis(took.unwrap_or(waited)));
        call.first_byte_ms = end.first_byte.map(millis);
        call.first_content_ms = end.first_content.map(millis);
        call.model = full(summary.model);
        call.status = end.status.and_then(|status| i16::try_from(status).ok());
        call.stop = summary.stop;
        call.error = summary.error;
        call.input_tokens = summary.usage.input.map(big);
        call.output_tokens = summary.usage.output.map(big);
        call.cache_read_tokens = summary.usage.cache_read.map(big);
        call.cache_write_tokens = summary.usage.cache_write.map(big);
        call.reasoning_tokens = summary.usage.reasoning.map(big);
        call.cost_usd = summary.cost_usd.filter(|cost| cost.is_finite());
        call.answer_id = answer.as_ref().map(|answer| answer.row.message_id);
        call.tools_called = int(tool_calls.len());
        call.response_id = response_id;
        call.response_bytes = Some(big(body_len));
        call.redactions = call.redactions.saturating_add(int(end.redactions));
        (answer, tool_calls)
    }
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
