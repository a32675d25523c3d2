//! What stands inside of the frames: JSON that explains itself, and bytes that need no explanation.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{Fresh, Kept, Named, Record, StartedCall};
use super::frame::Parts;
use crate::context::codec::{Take, put_number};
use crate::context::{BlockId, Extras, Loaded, Name, Placed, Plan};
use crate::trace::{
    CallEnd, CallEnded, CallId, CallStarted, CallSummary, Chunk, Headers, Note, Score, Timestamp, TraceEnded, TraceId,
    TraceStarted, Wire,
};

/// Kinds of records. A number once given keeps its meaning for ever; readers pass over numbers they don't know.
pub mod kind {
    pub const SEGMENT: u8 = 1;
    pub const TRACE_STARTED: u8 = 2;
    pub const CALL_STARTED: u8 = 3;
    pub const CALL_ENDED: u8 = 4;
    pub const NOTED: u8 = 5;
    pub const SCORED: u8 = 6;
    pub const TRACE_ENDED: u8 = 7;
    pub const RECORD: u8 = 8;
    pub const REMOVED: u8 = 9;
    /// Blocks left over from a removed trace, because others point to them.
    pub const BLOCKS: u8 = 10;
}

/// The first record of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentMeta {
    pub format: u64,
    /// Names the process that wrote it: segments of one writer share it.
    pub writer: String,
    pub started: Timestamp,
    pub holdback: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped<T> {
    pub trace: TraceId,
    pub at: Timestamp,
    #[serde(flatten)]
    pub what: T,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallMeta {
    pub call: CallId,
    #[serde(default)]
    pub wire: Wire,
    pub upstream: String,
    pub method: String,
    pub target: String,
    #[serde(default)]
    pub headers: Headers,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub redactions: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<CallId>,
    pub body_len: u64,
    /// SHA-256 of the body, in hex.
    pub sha256: String,
    pub context: Placed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndMeta {
    pub call: CallId,
    #[serde(default)]
    pub end: CallEnd,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default)]
    pub headers: Headers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_content: Option<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub redactions: u32,
    pub summary: CallSummary,
    pub body_len: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordMeta {
    pub at: Timestamp,
    pub kind: String,
    pub id: String,
    /// The run it belongs to, so that a run's trials are found without reading those of all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Empty {}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references in")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A record's meta part, read.
#[derive(Debug, Clone, PartialEq)]
pub enum Meta {
    TraceStarted(Stamped<TraceStarted>),
    CallStarted(Box<Stamped<CallMeta>>),
    CallEnded(Box<Stamped<EndMeta>>),
    Noted(Stamped<Note>),
    Scored(Stamped<Score>),
    TraceEnded(Stamped<TraceEnded>),
    Record(RecordMeta),
    Removed(Stamped<Empty>),
    /// Nothing a reader of traces needs: leftover blocks, or a kind of a later version.
    Other,
}

impl Meta {
    /// Reads the meta part; `None` when it isn't what its kind says.
    pub fn read(kind: u8, bytes: &[u8]) -> Option<Self> {
        Some(match kind {
            kind::TRACE_STARTED => Meta::TraceStarted(serde_json::from_slice(bytes).ok()?),
            kind::CALL_STARTED => Meta::CallStarted(serde_json::from_slice(bytes).ok()?),
            kind::CALL_ENDED => Meta::CallEnded(serde_json::from_slice(bytes).ok()?),
            kind::NOTED => Meta::Noted(serde_json::from_slice(bytes).ok()?),
            kind::SCORED => Meta::Scored(serde_json::from_slice(bytes).ok()?),
            kind::TRACE_ENDED => Meta::TraceEnded(serde_json::from_slice(bytes).ok()?),
            kind::RECORD => Meta::Record(serde_json::from_slice(bytes).ok()?),
            kind::REMOVED => Meta::Removed(serde_json::from_slice(bytes).ok()?),
            _ => Meta::Other,
        })
    }

    /// The meta part as bytes, and the kind it belongs to.
    pub fn write(&self) -> (u8, Vec<u8>) {
        let json = |kind: u8, written: serde_json::Result<Vec<u8>>| (kind, written.expect("plain data becomes JSON"));
        match self {
            Meta::TraceStarted(meta) => json(kind::TRACE_STARTED, serde_json::to_vec(meta)),
            Meta::CallStarted(meta) => json(kind::CALL_STARTED, serde_json::to_vec(meta)),
            Meta::CallEnded(meta) => json(kind::CALL_ENDED, serde_json::to_vec(meta)),
            Meta::Noted(meta) => json(kind::NOTED, serde_json::to_vec(meta)),
            Meta::Scored(meta) => json(kind::SCORED, serde_json::to_vec(meta)),
            Meta::TraceEnded(meta) => json(kind::TRACE_ENDED, serde_json::to_vec(meta)),
            Meta::Record(meta) => json(kind::RECORD, serde_json::to_vec(meta)),
            Meta::Removed(meta) => json(kind::REMOVED, serde_json::to_vec(meta)),
            Meta::Other => (kind::BLOCKS, b"{}".to_vec()),
        }
    }

    /// The trace it belongs to and when it happened; `None` for what belongs to no trace.
    pub fn stamp(&self) -> Option<(TraceId, Timestamp)> {
        match self {
            Meta::TraceStarted(m) => Some((m.trace, m.at)),
            Meta::CallStarted(m) => Some((m.trace, m.at)),
            Meta::CallEnded(m) => Some((m.trace, m.at)),
            Meta::Noted(m) => Some((m.trace, m.at)),
            Meta::Scored(m) => Some((m.trace, m.at)),
            Meta::TraceEnded(m) => Some((m.trace, m.at)),
            Meta::Record(_) | Meta::Removed(_) | Meta::Other => None,
        }
    }
}

/// The meta part of a request.
pub fn call_meta(call: CallId, request: &CallStarted, sha256: [u8; 32], context: Placed) -> CallMeta {
    CallMeta {
        call,
        wire: request.wire,
        upstream: request.upstream.clone(),
        method: request.method.clone(),
        target: request.target.clone(),
        headers: request.headers.clone(),
        redactions: request.redactions,
        agent: request.agent.clone(),
        parent_agent: request.parent_agent.clone(),
        retry_of: request.retry_of,
        body_len: request.body.len() as u64,
        sha256: hex(&sha256),
        context,
    }
}

/// The meta part of an answer.
pub fn end_meta(call: CallId, ended: &CallEnded) -> EndMeta {
    EndMeta {
        call,
        end: ended.end,
        status: ended.status,
        headers: ended.headers.clone(),
        first_byte: ended.first_byte,
        first_content: ended.first_content,
        redactions: ended.redactions,
        summary: ended.summary.clone(),
        body_len: ended.body.len() as u64,
    }
}

/// Chunk times and lengths, a few bytes each.
pub fn put_chunks(chunks: &[Chunk]) -> Vec<u8> {
    let mut out = Vec::with_capacity(chunks.len() * 5 + 2);
    put_number(&mut out, chunks.len() as u64);
    let mut last = 0;
    for chunk in chunks {
        // Times nearly always grow; a clock that goes back wraps around and comes out right again.
        put_number(&mut out, chunk.at.wrapping_sub(last));
        put_number(&mut out, chunk.len);
        last = chunk.at;
    }
    out
}

fn take_chunks(bytes: &[u8]) -> Option<Vec<Chunk>> {
    let mut take = Take(bytes);
    let count = take.count()?;
    let mut at = 0u64;
    let one = |take: &mut Take<'_>| {
        at = at.wrapping_add(take.number()?);
        Some(Chunk { at, len: take.number()? })
    };
    let mut one = one;
    (0..count).map(|_| one(&mut take)).collect()
}

/// A record as readers get it; `None` when its parts don't fit each other or there is nothing to tell.
pub fn kept(meta: Meta, parts: &Parts, stored: u64) -> Option<Kept> {
    Some(match meta {
        Meta::TraceStarted(m) => Kept::TraceStarted(m.trace, m.what),
        Meta::CallStarted(m) => Kept::CallStarted(m.trace, Box::new(started(m.what, parts, stored)?)),
        Meta::CallEnded(m) => Kept::CallEnded(m.trace, m.what.call, Box::new(ended(m.what, parts)?)),
        Meta::Noted(m) => Kept::Noted(m.trace, m.what),
        Meta::Scored(m) => Kept::Scored(m.trace, m.what),
        Meta::TraceEnded(m) => Kept::TraceEnded(m.trace, m.what),
        Meta::Record(m) => Kept::Record(Record { kind: m.kind, id: m.id, data: record_data(&parts.data)? }),
        Meta::Removed(m) => Kept::Removed(m.trace),
        Meta::Other => return None,
    })
}

/// A record's value.
pub fn record_data(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

fn started(meta: CallMeta, parts: &Parts, stored: u64) -> Option<StartedCall> {
    let (plan, rest) = Plan::decode(&parts.plan)?;
    let extras = Extras::decode(&plan, rest)?;
    let loaded = Loaded::new(plan, parts.data.clone())?;
    let named = |blocks: Vec<(Name, BlockId)>| blocks.into_iter().map(|(name, id)| Named { name, id }).collect();
    let own = loaded.own_blocks();
    Some(StartedCall {
        call: meta.call,
        body_len: meta.body_len,
        sha256: unhex(&meta.sha256)?,
        context: meta.context,
        said: named(extras.said),
        setup: extras.setup,
        setup_blocks: extras.setup_blocks.map(named),
        fresh: own.map(|(name, id, bytes)| Fresh { name: Arc::clone(name), id, bytes }).collect(),
        stored,
        request: CallStarted {
            wire: meta.wire,
            upstream: meta.upstream,
            method: meta.method,
            target: meta.target,
            headers: meta.headers,
            body: Bytes::new(),
            redactions: meta.redactions,
            agent: meta.agent,
            parent_agent: meta.parent_agent,
            retry_of: meta.retry_of,
        },
    })
}

fn ended(meta: EndMeta, parts: &Parts) -> Option<CallEnded> {
    Some(CallEnded {
        end: meta.end,
        status: meta.status,
        headers: meta.headers,
        body: parts.data.clone(),
        chunks: take_chunks(&parts.plan)?,
        first_byte: meta.first_byte,
        first_content: meta.first_content,
        redactions: meta.redactions,
        summary: meta.summary,
    })
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Thirty-two bytes from hex.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in out.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_times_come_back_even_when_a_clock_went_back() {
        let chunks = [(5, 10), (5, 0), (3, 7), (u64::MAX, 1)].map(|(at, len)| Chunk { at, len });
        assert_eq!(take_chunks(&put_chunks(&chunks)), Some(chunks.to_vec()));
        assert_eq!(take_chunks(&[9]), None);
    }

    #[test]
    fn members_of_a_later_version_are_passed_over() {
        let text =
            br#"{"trace":"0000000000000000000000000000000a","at":5,"outcome":"ok","lost_calls":0,"mood":"fine"}"#;
        let Some(Meta::TraceEnded(ended)) = Meta::read(kind::TRACE_ENDED, text) else { panic!("not read") };
        assert_eq!(ended.trace, TraceId(10));
        assert_eq!(Meta::read(200, b"anything"), Some(Meta::Other));
        assert_eq!(Meta::read(kind::TRACE_ENDED, b"{}"), None);
    }

    #[test]
    fn hex_goes_both_ways() {
        let bytes = std::array::from_fn(|at| at as u8 * 7);
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        for bad in ["", "zz", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(unhex(bad), None);
        }
    }
}
