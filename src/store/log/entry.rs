//! What the log gives back: entries, summaries, records and where they stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::{BlockId, Placed};
use crate::trace::{
    CallEnded, CallId, CallStarted, Content, Note, Score, Source, Timestamp, TraceEnded, TraceId, TraceOutcome,
    TraceStarted, Usage,
};

/// Where a record stands: the segment's name (without its generation) and the byte where its frame begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub segment: Arc<str>,
    pub offset: u64,
}

/// One thing that was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub place: Place,
    pub at: Timestamp,
    pub what: Kept,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    TraceStarted(TraceId, TraceStarted),
    CallStarted(TraceId, Box<StartedCall>),
    /// The answer, body and chunk times included. `end` is never `Lost` here: see [`Kept::CallLost`].
    CallEnded(TraceId, CallId, Box<CallEnded>),
    /// Nobody wrote this: the recorder died between a call's start and its end. `at` is the last sign of life.
    CallLost(TraceId, CallId),
    Noted(TraceId, Note),
    Scored(TraceId, Score),
    TraceEnded(TraceId, TraceEnded),
    /// A run, trial, grade, verdict, case: whatever [`super::Writer::record`] was given.
    Record(Record),
    /// A trace was removed: everything of it that came before is to be forgotten.
    Removed(TraceId),
}

impl Kept {
    /// The trace it belongs to.
    pub fn trace(&self) -> Option<TraceId> {
        match self {
            Kept::TraceStarted(trace, _)
            | Kept::CallStarted(trace, _)
            | Kept::CallEnded(trace, ..)
            | Kept::CallLost(trace, _)
            | Kept::Noted(trace, _)
            | Kept::Scored(trace, _)
            | Kept::TraceEnded(trace, _)
            | Kept::Removed(trace) => Some(*trace),
            Kept::Record(_) => None,
        }
    }
}

/// A request as the log keeps it. The body is not in here: [`super::Reader::request_at`] rebuilds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StartedCall {
    pub call: CallId,
    /// As it was handed in, its `body` empty.
    pub request: CallStarted,
    pub body_len: u64,
    /// SHA-256 of the whole kept body.
    pub sha256: [u8; 32],
    /// Where it stands in its trace's tree of contexts.
    pub context: Placed,
    /// The conversation beyond the first `context.kept` messages, in order.
    pub said: Vec<Named>,
    /// Names the standing orders and tools this call came with.
    pub setup: BlockId,
    /// The blocks of `setup`, in order; given with the first call in a segment that uses them.
    pub setup_blocks: Option<Vec<Named>>,
    /// Contents of the blocks that this segment had not seen before (another segment may have).
    pub fresh: Vec<Fresh>,
    /// Bytes this record takes on disk.
    pub stored: u64,
}

/// A block and the member of the request it stood in: `messages`, `system`, `tools`, `input`, …
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub name: Arc<str>,
    pub id: BlockId,
}

/// A block's bytes, `cache_control` members left out. One JSON value, unless the body wasn't JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    pub name: Arc<str>,
    pub id: BlockId,
    pub bytes: Bytes,
}

/// Something kept that is not a part of a trace. The latest record of a kind and id is the one that counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// `run`, `trial`, `grade`, `verdict`, `case`, …
    pub kind: String,
    pub id: String,
    pub data: Value,
}

/// How far a reader of [`super::Reader::since`] has come: serialise it, keep it beside what was made of the entries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursor {
    pub segments: BTreeMap<String, Mark>,
}

/// How far a reader has come in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mark {
    /// How often the segment has been rewritten by pruning.
    pub generation: u32,
    /// The next byte to read.
    pub offset: u64,
    /// The writer is gone and everything was read: nothing will ever follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// What a list shows of a trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TraceSummary {
    pub id: TraceId,
    pub name: Option<String>,
    pub tags: Vec<(String, String)>,
    pub source: Source,
    pub content: Content,
    pub agent: Option<String>,
    pub started: Timestamp,
    /// The time of its last entry.
    pub last: Timestamp,
    pub status: Status,
    pub outcome: Option<TraceOutcome>,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub calls: u64,
    /// Calls with an error in them, or that did not come to a good end.
    pub failed_calls: u64,
    /// Calls without an end: in flight while the trace is live, lost otherwise.
    pub open_calls: u64,
    /// Calls that were made and could not be stored.
    pub lost_calls: u64,
    pub usage: Usage,
    /// What the priced calls cost together.
    pub cost_usd: Option<f64>,
    /// Answered calls whose model has no price.
    pub unpriced_calls: u64,
    /// In order of first use.
    pub models: Vec<String>,
    /// Sub-agents that named themselves, and how deep they are nested.
    pub agents: u64,
    pub agent_depth: u64,
    /// Those sub-agents, each with its parent.
    #[serde(skip)]
    pub(super) sub_agents: Vec<(String, Option<String>)>,
    /// The last error, in one line.
    pub error: Option<String>,
    /// Bytes its records take on disk.
    pub stored: u64,
}

impl TraceSummary {
    /// Whether it failed, was killed, braked or cut off, or has failed calls.
    pub fn went_wrong(&self) -> bool {
        let ended_badly = self.outcome.is_some_and(|outcome| outcome != TraceOutcome::Ok);
        ended_badly || self.status == Status::CutOff || self.failed_calls > 0
    }
}

/// Whether more of a trace may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It said that it had ended.
    #[default]
    Ended,
    /// Its recorder is at work.
    Live,
    /// Its recorder is gone and never said how it ended.
    CutOff,
}

/// Figures of a whole store's log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Stats {
    pub segments: u64,
    pub live_segments: u64,
    /// Bytes of segments and their side indexes.
    pub bytes: u64,
    pub traces: u64,
    pub calls: u64,
    /// Bytes of request bodies as they were handed in.
    pub request_bytes: u64,
    /// Bytes of response bodies as they were handed in.
    pub response_bytes: u64,
}
