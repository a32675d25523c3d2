//! Where a run left the recorded way, and by how much.

use serde::Serialize;

use crate::trace::{CallId, TraceId};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A request differs from the recorded one it comes nearest to.
    Changed,
    /// A recorded request was asked more often than it had been.
    Repeated,
    /// A request beyond the end of what was recorded.
    Extra,
    /// Recorded calls were never asked.
    Missing,
    /// A tool was called that has no recorded result (only where tools are replayed too).
    Tool,
    /// The request is the recorded one, and another answer came (only when two traces are compared).
    Answer,
}

/// What was done to a part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    Added,
    Removed,
    Changed,
}

/// One difference between a request and the recorded one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Where: `system`, `message 5: result of bash`, `tool search`, `parameter temperature`, `model`.
    pub place: String,
    pub how: How,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The difference of the two texts, as `diff -u` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// The tool result that led the run away.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cause {
    pub tool: String,
    pub arguments: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A run leaving the recorded way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    pub kind: Kind,
    /// The request's number in the new run, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<usize>,
    /// The new call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The recorded call it was held against: its number, from 1, and its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_number: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_call: Option<CallId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// In a sentence.
    pub says: String,
    pub changes: Vec<Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// It was let through to the real provider.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub let_through: bool,
}

/// What came of a replay, or of two traces held against each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The recording.
    pub recorded: TraceId,
    /// The new run.
    pub trace: TraceId,
    /// Calls on the tape.
    pub calls: usize,
    /// Of them, how many the new run asked for again.
    pub matched: usize,
    /// Calls that went to a live model.
    pub live: usize,
    pub divergences: usize,
    pub first: Option<Divergence>,
    /// All of them, in the order they were noticed.
    pub all: Vec<Divergence>,
    /// Answers on the tape in which secrets were replaced.
    pub redacted_answers: usize,
}

impl Report {
    /// A report of these divergences.
    pub fn new(recorded: TraceId, trace: TraceId, calls: usize, matched: usize, all: Vec<Divergence>) -> Self {
        let first = all.first().cloned();
        Report { recorded, trace, calls, matched, live: 0, divergences: all.len(), first, all, redacted_answers: 0 }
    }
}
