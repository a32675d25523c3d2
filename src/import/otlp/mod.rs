//! OpenTelemetry: spans and logs as OTLP carries them (protobuf and JSON) and as tools export them, brought to one shape.
//! Model calls in any of the known spellings become calls, everything else events of the trace.

mod attributes;
mod book;
mod export;
mod file;
mod genai;
mod json;
mod logs;
mod proto;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::trace::Timestamp;

pub use book::Book;
pub use export::{ExportCall, ExportTrace, otlp_json};
pub use file::{FORMAT, SPANS};
pub use proto::{Unreadable, partial};

/// A span.
#[derive(Debug, Clone, Default)]
pub struct Span {
    pub trace: u128,
    pub id: u64,
    pub parent: u64,
    pub name: String,
    pub scope: Arc<str>,
    pub start: Timestamp,
    pub end: Timestamp,
    pub attributes: Map<String, Value>,
    pub events: Vec<Event>,
    /// What went wrong, when its status is an error.
    pub error: Option<String>,
    pub resource: Arc<Map<String, Value>>,
}

/// An event inside of a span.
#[derive(Debug, Clone, Default)]
pub struct Event {
    pub at: Timestamp,
    pub name: String,
    pub attributes: Map<String, Value>,
}

/// A log record; 0 where it belongs to no span.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub trace: u128,
    pub span: u64,
    pub at: Timestamp,
    pub name: String,
    pub body: Value,
    pub attributes: Map<String, Value>,
    pub resource: Arc<Map<String, Value>>,
}

/// What one request, or one file, carries.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub spans: Vec<Span>,
    pub logs: Vec<Log>,
    /// Spans and logs that could not be read, and what was wrong with the first.
    pub rejected: u64,
    pub why: String,
}

impl Batch {
    fn reject(&mut self, why: &str) {
        self.rejected += 1;
        if self.why.is_empty() {
            why.clone_into(&mut self.why);
        }
    }
}

/// What a request body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Logs,
    Metrics,
}

/// Reads a request body.
///
/// # Errors
/// When it is not what it says it is.
pub fn decode(signal: Signal, is_json: bool, body: &[u8]) -> Result<Batch, Unreadable> {
    match (signal, is_json) {
        (Signal::Metrics, _) => Ok(Batch::default()),
        (Signal::Traces, true) => json::traces(body),
        (Signal::Logs, true) => json::logs(body),
        (Signal::Traces, false) => proto::traces(body),
        (Signal::Logs, false) => proto::logs(body),
    }
}
