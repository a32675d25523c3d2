//! What happened: traces, calls, messages, tools, usage, and the events a recorder makes of them.

mod call;
mod event;
mod id;
mod message;
mod time;

pub use call::{ProviderError, Request, Response, Stop, Usage, Wire};
pub use event::{
    CallEnd, CallEnded, CallStarted, CallSummary, Chunk, Content, Headers, LABELS, Note, Provenance, Score, Sink,
    Source, TraceEnded, TraceEvent, TraceOutcome, TraceStarted, What,
};
pub use id::{BadId, CallId, TraceId};
pub use message::{Message, Part, Role, ToolCall, ToolDef, ToolResult};
pub use time::Timestamp;
