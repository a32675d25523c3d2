//! Events to write, and ways to look at what was kept.

use bytes::Bytes;
use holdback::store::log::{Durability, Entry, Kept, Reader, Store};
use holdback::trace::{
    CallEnd, CallEnded, CallId, CallStarted, CallSummary, Chunk, Sink, Timestamp, TraceEnded, TraceEvent, TraceId,
    TraceOutcome, TraceStarted, Usage, What, Wire,
};

pub fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store"), Durability::Os).unwrap();
    (dir, store)
}

pub fn put(writer: &mut impl Sink, trace: u128, at: i64, what: What) {
    try_put(writer, trace, at, what).unwrap();
}

pub fn try_put<S: Sink>(writer: &mut S, trace: u128, at: i64, what: What) -> Result<(), S::Error> {
    writer.accept(&TraceEvent { trace: TraceId(trace), at: Timestamp(at), what })
}

pub fn started(name: &str) -> What {
    What::TraceStarted(TraceStarted { name: Some(name.to_owned()), ..TraceStarted::default() })
}

pub fn over() -> What {
    let (outcome, exit_code) = (TraceOutcome::Ok, Some(0));
    What::TraceEnded(TraceEnded { outcome, exit_code, signal: None, reason: None, lost_calls: 0 })
}

pub fn ask(call: u64, body: impl Into<Bytes>) -> What {
    let request = CallStarted {
        wire: Wire::AnthropicMessages,
        upstream: "anthropic".into(),
        method: "POST".into(),
        target: "/v1/messages".into(),
        headers: vec![("content-type".into(), "application/json".into())],
        body: body.into(),
        ..CallStarted::default()
    };
    What::CallStarted(CallId(call), request)
}

pub fn answer(call: u64, body: impl Into<Bytes>) -> What {
    let body = body.into();
    let chunks = vec![Chunk { at: 1000, len: body.len() as u64 }];
    let usage = Usage { input: Some(10), output: Some(5), ..Usage::default() };
    let summary = CallSummary { model: "m-1".into(), usage, cost_usd: Some(0.5), ..CallSummary::default() };
    let status = Some(200);
    What::CallEnded(
        CallId(call),
        CallEnded { end: CallEnd::Complete, status, body, chunks, summary, ..CallEnded::default() },
    )
}

/// A request of a loop: `turns` messages of about `size` bytes that share nothing, the last one with a cache mark.
pub fn conversation(seed: u64, turns: usize, size: usize) -> Vec<u8> {
    let mut messages = Vec::new();
    for turn in 0..turns {
        let role = if turn % 2 == 0 { "user" } else { "assistant" };
        let mark = if turn + 1 == turns { r#","cache_control":{"type":"ephemeral"}"# } else { "" };
        let text = words(seed.wrapping_mul(1_000_003).wrapping_add(turn as u64), size);
        messages.push(format!(r#"{{"role":"{role}","content":[{{"type":"text","text":"{text}"{mark}}}]}}"#));
    }
    let orders = words(seed ^ 0xabcd, 600);
    format!(
        r#"{{"model":"m-1","system":[{{"type":"text","text":"{orders}"}}],"messages":[{}],"tools":[{{"name":"run-{seed}","input_schema":{{"type":"object"}}}}],"stream":true}}"#,
        messages.join(",")
    )
    .into_bytes()
}

/// Text of letters and spaces, the same for the same seed.
pub fn words(seed: u64, len: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(len + 8);
    while text.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{:x} ", state >> 40));
    }
    text.truncate(len);
    text
}

/// The requests of a trace, rebuilt, in order.
pub fn requests(reader: &Reader, trace: u128) -> Vec<Bytes> {
    let entries = reader.entries(TraceId(trace)).unwrap();
    let starts = entries.iter().filter(|entry| matches!(entry.what, Kept::CallStarted(..)));
    starts.map(|entry| reader.request_at(&entry.place).unwrap()).collect()
}

pub fn kinds(entries: &[Entry]) -> Vec<&'static str> {
    entries
        .iter()
        .map(|entry| match entry.what {
            Kept::TraceStarted(..) => "trace_started",
            Kept::CallStarted(..) => "call_started",
            Kept::CallEnded(..) => "call_ended",
            Kept::CallLost(..) => "call_lost",
            Kept::Noted(..) => "noted",
            Kept::Scored(..) => "scored",
            Kept::TraceEnded(..) => "trace_ended",
            Kept::Record(..) => "record",
            Kept::Removed(..) => "removed",
        })
        .collect()
}
