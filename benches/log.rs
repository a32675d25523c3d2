//! The trace log: how fast it takes bodies in, gives them back, lists them, and how much disk it needs.
//!
//! `cargo bench --bench log`. The list of traces is measured on a store of a million calls, which is built once per run
//! (`HOLDBACK_BENCH_CALLS` makes it smaller).

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says where")]
#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a bench asks the environment and prints")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use holdback::store::log::{Cursor, Durability, Store, Writer};
use holdback::trace::{
    CallEnded, CallId, CallStarted, CallSummary, Chunk, Sink, Timestamp, TraceEnded, TraceEvent, TraceId, TraceOutcome,
    TraceStarted, Usage, What, Wire,
};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Text like code and prose: words, numbers, line breaks, the same for the same seed.
fn text(seed: u64, len: usize) -> String {
    const WORDS: [&str; 24] = [
        "fn ",
        "let ",
        "result",
        " = ",
        "self.",
        "value",
        "(&",
        "error",
        "\\n    ",
        "if ",
        "return ",
        "index",
        "\\\"name\\\"",
        ": ",
        "the ",
        "file ",
        "was ",
        "not ",
        "found ",
        "in ",
        "src/",
        "tests/",
        ".rs",
        ", ",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = String::with_capacity(len + 24);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state % 8 {
            0 => out.push_str(&format!("{:x}", state >> 36)),
            _ => out.push_str(WORDS[(state >> 32) as usize % WORDS.len()]),
        }
    }
    let cut = (len - 1..=len).find(|at| out.is_char_boundary(*at) && !out[..*at].ends_with('\\')).unwrap_or(len);
    out.truncate(cut);
    out
}

fn message(seed: u64, turn: u64, size: usize) -> String {
    let role = if turn.is_multiple_of(2) { "user" } else { "assistant" };
    let text = text(seed * 100_003 + turn, size);
    format!(r#"{{"role":"{role}","content":[{{"type":"text","text":"{text}"}}]}}"#)
}

/// The bodies of a loop whose history grows by `step` bytes a call, in two messages.
fn history(seed: u64, calls: u64, step: usize) -> Vec<Bytes> {
    let tools = format!(r#"{{"name":"run","description":"{}","input_schema":{{"type":"object"}}}}"#, text(seed, 8000));
    let mut messages = message(seed, 0, step / 2);
    let mut bodies = Vec::new();
    for turn in 0..calls {
        for half in 1..=2 {
            messages.push(',');
            messages.push_str(&message(seed, turn * 2 + half, step / 2));
        }
        bodies.push(Bytes::from(format!(
            r#"{{"model":"claude-sonnet-4","max_tokens":8000,"system":"{}","messages":[{messages}],"tools":[{tools}],"stream":true}}"#,
            text(seed + 1, 4000)
        )));
    }
    bodies
}

fn put(writer: &mut Writer, trace: u128, at: i64, what: What) {
    writer.accept(&TraceEvent { trace: TraceId(trace), at: Timestamp(at), what }).unwrap();
}

fn ask(call: u64, body: Bytes) -> What {
    let headers = ["host", "content-type", "user-agent", "anthropic-version", "x-stainless-lang", "accept"];
    let request = CallStarted {
        wire: Wire::AnthropicMessages,
        upstream: "anthropic".into(),
        method: "POST".into(),
        target: "/v1/messages?beta=true".into(),
        headers: headers.map(|name| (name.to_owned(), format!("value of {name}"))).to_vec(),
        body,
        ..CallStarted::default()
    };
    What::CallStarted(CallId(call), request)
}

fn answer(call: u64, body: Bytes) -> What {
    let chunks = vec![Chunk { at: 100_000, len: body.len() as u64 }];
    let usage = Usage { input: Some(1000), output: Some(200), cache_read: Some(9000), ..Usage::default() };
    let summary =
        CallSummary { model: "claude-sonnet-4".into(), usage, cost_usd: Some(0.01), ..CallSummary::default() };
    What::CallEnded(CallId(call), CallEnded { status: Some(200), body, chunks, summary, ..CallEnded::default() })
}

fn over() -> What {
    let (outcome, exit_code) = (TraceOutcome::Ok, Some(0));
    What::TraceEnded(TraceEnded { outcome, exit_code, signal: None, reason: None, lost_calls: 0 })
}

fn fresh() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("s"), Durability::Os).unwrap();
    (dir, store)
}

fn total(bodies: &[Bytes]) -> u64 {
    bodies.iter().map(|body| body.len() as u64).sum()
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    group.sample_size(10);
    let share_nothing: Vec<Bytes> = (0..64).map(|seed| history(seed * 7 + 1000, 1, 500_000).remove(0)).collect();
    let cases = [
        ("a history growing 4 KB a call, 500 calls", history(1, 500, 4096), true),
        ("a history growing 4 KB a call, 60 calls", history(2, 60, 4096), true),
        ("bodies that share nothing, 0.5 MB each", share_nothing, false),
    ];
    for (name, bodies, one_trace) in cases {
        group.throughput(Throughput::Bytes(total(&bodies)));
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    let (dir, store) = fresh();
                    (dir, store.writer().unwrap())
                },
                |(dir, mut writer)| {
                    for (call, body) in (0..).zip(&bodies) {
                        let trace = if one_trace { 1 } else { u128::from(call) };
                        put(&mut writer, trace, call as i64, ask(call, body.clone()));
                    }
                    (dir, writer)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn read_back(c: &mut Criterion) {
    let (_dir, store) = fresh();
    let bodies = history(1, 500, 4096);
    let mut writer = store.writer().unwrap();
    for (call, body) in (0..).zip(&bodies) {
        put(&mut writer, 1, call as i64, ask(call, body.clone()));
        put(&mut writer, 1, call as i64, answer(call, Bytes::from(text(call, 600))));
    }
    drop(writer);
    let reader = store.reader().unwrap();
    let place = reader.place_of(CallId(499)).unwrap();
    assert_eq!(reader.request_at(&place).unwrap(), bodies[499]);
    c.bench_function("read back request 500 of 500 (2 MB)", |b| {
        b.iter(|| reader.request_at(black_box(&place)).unwrap());
    });
    c.bench_function("read back request 500 of 500, opening the store too", |b| {
        b.iter(|| store.reader().unwrap().request(black_box(CallId(499))).unwrap());
    });
}

fn disk(_: &mut Criterion) {
    for (name, compressible) in [("text", true), ("text that doesn't compress", false)] {
        let (_dir, store) = fresh();
        let mut writer = store.writer().unwrap();
        let noise = |turn: u64| {
            let letter = |at: u64| {
                let mixed = (turn * 5000 + at)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    .rotate_left(29)
                    .wrapping_mul(0xbf58_476d_1ce4_e5b9);
                char::from(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"[(mixed >> 58) as usize])
            };
            (0..4096).map(letter).collect::<String>()
        };
        let said: Vec<String> =
            (0..500).map(|turn| if compressible { text(turn, 4096) } else { noise(turn) }).collect();
        let mut messages = String::new();
        let mut unique = 0;
        for (call, said) in (0u64..).zip(&said) {
            let role = if call.is_multiple_of(2) { "user" } else { "assistant" };
            let message = format!(r#"{{"role":"{role}","content":"{said}"}}"#);
            unique += message.len();
            messages = if call == 0 { message } else { format!("{messages},{message}") };
            let body = format!(r#"{{"model":"claude-sonnet-4","messages":[{messages}],"stream":true}}"#);
            put(&mut writer, 1, call as i64, ask(call, body.into()));
        }
        drop(writer);
        let stats = store.reader().unwrap().stats();
        println!(
            "disk, 500 calls with 4 KB of new {name} each: {} bytes of requests, {unique} unique, {} on disk = {:.3} x unique",
            stats.request_bytes,
            stats.bytes,
            stats.bytes as f64 / unique as f64
        );
    }
}

fn list(c: &mut Criterion) {
    let calls: u64 = std::env::var("HOLDBACK_BENCH_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let (_dir, store) = fresh();
    let mut writer = store.writer().unwrap();
    const PER_TRACE: u64 = 20;
    for trace in 0..calls / PER_TRACE {
        let about = TraceStarted {
            name: Some(format!("trace {trace}")),
            agent: Some("demo".into()),
            ..TraceStarted::default()
        };
        put(&mut writer, u128::from(trace) << 64, trace as i64, What::TraceStarted(about));
        for turn in 0..PER_TRACE {
            let call = trace * PER_TRACE + turn;
            let body = format!(r#"{{"messages":[{{"role":"user","content":"call {call}"}}]}}"#);
            put(&mut writer, u128::from(trace) << 64, call as i64, ask(call, body.into()));
            put(&mut writer, u128::from(trace) << 64, call as i64, answer(call, Bytes::from_static(b"{}")));
        }
        put(&mut writer, u128::from(trace) << 64, trace as i64, over());
    }
    drop(writer);
    let stats = store.reader().unwrap().stats();
    println!(
        "list: {} traces, {} calls, {} segments, {} bytes",
        stats.traces, stats.calls, stats.segments, stats.bytes
    );
    let mut group = c.benchmark_group("list");
    group.sample_size(10);
    group.bench_function(format!("traces of a store of {calls} calls"), |b| {
        b.iter(|| store.reader().unwrap().traces().len());
    });
    let reader = store.reader().unwrap();
    group.throughput(Throughput::Elements(calls.min(100_000)));
    group.bench_function("entries fed from a cursor, two per call", |b| {
        b.iter(|| {
            reader.since(&Cursor::default()).unwrap().take(calls.min(100_000) as usize * 2).map(Result::unwrap).count()
        });
    });
    group.finish();
}

criterion_group!(benches, append, read_back, disk, list);
criterion_main!(benches);
