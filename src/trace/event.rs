//! What a recorder says happened, in the order it happened, and who takes it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{Usage, Wire};
use super::id::{CallId, TraceId};
use super::time::Timestamp;

/// HTTP headers in the order they came.
pub type Headers = Vec<(String, String)>;

/// Where a trace or a field of it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Seen on the wire by holdback itself.
    #[default]
    Recorded,
    /// Read from another tool's file.
    Imported,
    /// Made by holdback from another trace (a replay, a fork).
    Derived,
}

/// What an imported trace rests on. Kept as a note of kind [`Provenance::KIND`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// The format it was read from: `claude-code`, `otlp`, …
    pub format: String,
    /// The file, or where it came in.
    pub from: String,
    /// Whether the requests are those that were sent, so that a replay can match them.
    pub replay_grade: bool,
    /// Why it isn't replay-grade; empty when it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why_not: String,
    /// Where single fields come from: `requests`, `answers`, `usage`, `cost_usd`, `times`, `tools`.
    #[serde(default)]
    pub fields: BTreeMap<String, Source>,
}

impl Provenance {
    /// The kind of the note it is kept in.
    pub const KIND: &'static str = "provenance";
}

/// How much of what was said is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Everything, as it was.
    Full,
    /// Everything but what looks like a secret.
    #[default]
    Redacted,
    /// Shapes, counts and names; no text.
    None,
}

/// A trace begins, or more is known of one that has begun: later values win, empty ones change nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TraceStarted {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
    #[serde(default)]
    pub source: Source,
    #[serde(default)]
    pub content: Content,
    /// The agent's name as its adapter knows it: `claude-code`, `codex`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The command that ran, program first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_dirty: Option<bool>,
    /// The trace this one was made from, and the call it leaves it at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<(TraceId, Option<CallId>)>,
}

/// How a trace came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceOutcome {
    /// The loop ended by itself and says all is well.
    Ok,
    /// The loop ended by itself with a failure.
    Failed,
    /// A signal ended it.
    Killed,
    /// A brake of ours stopped it.
    Braked,
}

impl TraceOutcome {
    /// The word stored in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            TraceOutcome::Ok => "ok",
            TraceOutcome::Failed => "failed",
            TraceOutcome::Killed => "killed",
            TraceOutcome::Braked => "braked",
        }
    }
}

/// A trace has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceEnded {
    pub outcome: TraceOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why, in a few words: which brake, which error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Calls that were made and could not be stored.
    #[serde(default)]
    pub lost_calls: u64,
}

/// A request is on its way. `body` is what is kept of it: decoded, and redacted where anything was.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallStarted {
    pub wire: Wire,
    /// The name of the upstream it went to: `anthropic`, `openai`, `mock/echo`, …
    pub upstream: String,
    pub method: String,
    /// Path and query, as the client asked.
    pub target: String,
    pub headers: Headers,
    pub body: Bytes,
    /// Secrets replaced in headers, target and body.
    pub redactions: u32,
    /// The agent that asked, where the client names its sub-agents, and that agent's parent.
    pub agent: Option<String>,
    pub parent_agent: Option<String>,
    /// The call that this one repeats because it had failed.
    pub retry_of: Option<CallId>,
}

/// How the exchange of bytes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEnd {
    /// The answer came whole.
    #[default]
    Complete,
    /// The upstream broke off in the middle of its answer.
    Cut,
    /// The client hung up before the answer was whole.
    ClientGone,
    /// The upstream could not be reached, or gave no answer.
    NoAnswer,
    /// holdback answered itself: a brake, a tape without a match, no such upstream.
    Refused,
    /// Never said: the recorder died first. Readers derive it, nobody writes it.
    Lost,
}

impl CallEnd {
    /// The word stored in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            CallEnd::Complete => "complete",
            CallEnd::Cut => "cut",
            CallEnd::ClientGone => "client_gone",
            CallEnd::NoAnswer => "no_answer",
            CallEnd::Refused => "refused",
            CallEnd::Lost => "lost",
        }
    }
}

/// A piece of a response body as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Microseconds since the request was sent.
    pub at: u64,
    /// Bytes of the kept body that came with it.
    pub len: u64,
}

/// An answer has come, or will not come any more.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallEnded {
    pub end: CallEnd,
    /// HTTP status; `None` when no answer began.
    pub status: Option<u16>,
    pub headers: Headers,
    /// What is kept of the body: decoded, redacted where anything was.
    pub body: Bytes,
    /// When its pieces arrived; lengths add up to the body's.
    pub chunks: Vec<Chunk>,
    /// Microseconds from request to the first byte and to the first content.
    pub first_byte: Option<u64>,
    pub first_content: Option<u64>,
    pub redactions: u32,
    /// What the recorder already read from it, so lists and brakes need no second look.
    pub summary: CallSummary,
}

/// What a list shows of a call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CallSummary {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    #[serde(default)]
    pub usage: Usage,
    /// US dollars; `None` when the model has no price in the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// An error in one line, from the status, the stream or the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools_called: Vec<String>,
}

/// Something worth keeping that is not a call: a file change, a signal, a score, an agent's own event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    #[serde(default)]
    pub data: Value,
}

/// The kind of note that holds what was read from a call's text where the text itself is not kept.
pub const LABELS: &str = "labels";

/// A judgement on a trace by a person, a rule or a grader.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    pub name: String,
    /// `human`, `signal`, `grader`, `import`.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    TraceStarted(TraceStarted),
    CallStarted(CallId, CallStarted),
    CallEnded(CallId, CallEnded),
    Noted(Note),
    Scored(Score),
    TraceEnded(TraceEnded),
}

/// Something happened in a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceEvent {
    pub trace: TraceId,
    pub at: Timestamp,
    pub what: What,
}

/// Takes events, one after the other. When it returns Ok the event is kept as firmly as the sink was asked to keep it.
pub trait Sink: Send {
    /// Why an event could not be kept.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Keeps one event.
    ///
    /// # Errors
    /// When it could not be kept; events kept before are unharmed.
    fn accept(&mut self, event: &TraceEvent) -> Result<(), Self::Error>;
}
