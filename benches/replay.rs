//! Replay: how long until a long trace is ready to be played, and how many calls a second its player answers.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use holdback::replay::{Asking, Match, Played, Player, Recorded, Reel, Roots, Tape};
use holdback::store::log::{Durability, Kept, Reader, Store};
use holdback::trace::{
    CallEnded, CallId, CallStarted, Chunk, Content, Sink, Source, Timestamp, TraceEvent, TraceId, TraceStarted, What,
    Wire,
};
use serde_json::json;

const CALLS: usize = 500;
const TRACE: TraceId = TraceId(7);

/// The requests of a loop with tools: each the one before, and 4 KiB more.
fn bodies(calls: usize) -> Vec<Bytes> {
    let tools: Vec<_> = (0..20)
        .map(|n| json!({"type": "function", "function": {"name": format!("tool_{n}"), "description": "x".repeat(1_000), "parameters": {"type": "object"}}}))
        .collect();
    let mut messages =
        vec![json!({"role": "system", "content": "Be kind. ".repeat(400)}), json!({"role": "user", "content": "Go."})];
    (0..calls)
        .map(|n| {
            let body = json!({"model": "m", "messages": messages, "tools": tools, "stream": true}).to_string();
            let id = format!("call_{n}");
            let arguments = json!({"path": format!("file {n}")}).to_string();
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function", "function": {"name": "tool_1", "arguments": arguments}}]}));
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": format!("{n} {}", "result ".repeat(580))}));
            Bytes::from(body)
        })
        .collect()
}

fn record(bodies: &[Bytes]) -> (tempfile::TempDir, Arc<Reader>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store"), Durability::Os).unwrap();
    let mut writer = store.writer().unwrap();
    let mut put =
        |at: usize, what: What| writer.accept(&TraceEvent { trace: TRACE, at: Timestamp(at as i64), what }).unwrap();
    put(0, What::TraceStarted(TraceStarted::default()));
    for (n, body) in bodies.iter().enumerate() {
        let call = CallId(n as u64 + 1);
        let asked = CallStarted {
            wire: Wire::OpenaiChat,
            method: "POST".into(),
            target: "/v1/chat/completions".into(),
            body: body.clone(),
            ..CallStarted::default()
        };
        let answer = Bytes::from_static(
            b"{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}",
        );
        let chunks = vec![Chunk { at: 1, len: answer.len() as u64 }];
        put(2 * n + 1, What::CallStarted(call, asked));
        put(
            2 * n + 2,
            What::CallEnded(call, CallEnded { status: Some(200), body: answer, chunks, ..CallEnded::default() }),
        );
    }
    drop(writer);
    let reader = Arc::new(store.reader().unwrap());
    (folder, reader)
}

/// What `holdback replay` does before the command starts.
fn ready(reader: &Arc<Reader>) -> Player {
    let (outlines, entries) = rayon::join(|| reader.outlines(TRACE), || reader.entries(TRACE));
    let mut outlines = outlines.unwrap();
    let mut calls: Vec<Recorded> = Vec::new();
    for entry in entries.unwrap() {
        match entry.what {
            Kept::CallStarted(_, started) => {
                let outline = outlines.calls.remove(&started.call).unwrap();
                calls.push(Recorded { call: started.call, request: started.request, outline, ended: None });
            }
            Kept::CallEnded(_, _, ended) => calls.last_mut().unwrap().ended = Some(ended),
            _ => {}
        }
    }
    let bodies = reader.clone();
    let reel = Reel {
        trace: TRACE,
        content: Content::Redacted,
        source: Source::Recorded,
        lost_calls: 0,
        calls,
        blocks: Arc::new(outlines.blocks),
        bodies: Box::new(move |call| bodies.request(call).ok()),
    };
    Player::new(Tape::new(reel, Match::Normal, Vec::new(), false).unwrap(), Roots::none(), None)
}

fn replay(c: &mut Criterion) {
    let bodies = bodies(CALLS);
    let (_folder, reader) = record(&bodies);
    let mut group = c.benchmark_group("replay");
    group.sample_size(10);
    group.bench_function("ready_500_calls", |b| b.iter(|| black_box(ready(&reader))));
    group.throughput(Throughput::Elements(CALLS as u64));
    group.bench_function("play_500_calls", |b| {
        b.iter_batched(
            || ready(&reader),
            |mut player| {
                for (n, body) in bodies.iter().enumerate() {
                    let asking = Asking {
                        call: CallId(n as u64),
                        wire: Wire::OpenaiChat,
                        target: "/v1/chat/completions",
                        body,
                        agent: None,
                        parent_agent: None,
                    };
                    assert_eq!(player.ask(&asking), Played::Call(n));
                }
            },
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
