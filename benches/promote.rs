//! What promotion costs: grouping what failed, in memory and from a store, and making a conversation of 60 calls small, offline.
//! `PROMOTE_TRACES=100000 cargo bench --bench promote` for the store's size; it says how long the store took and how much memory.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)] // a bench reads clocks and prints

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use holdback::eval::cases::find;
use holdback::promote::{self, Failure, Groups, Hint, Proof, Told, Turn};
use holdback::provider;
use holdback::store::log::{Durability, Store};
use holdback::trace::{
    CallEnded, CallId, CallStarted, Sink, Timestamp, TraceEnded, TraceEvent, TraceId, TraceOutcome, TraceStarted, What,
    Wire,
};
use serde_json::{Value, json};

/// `cargo test --bench promote` only sees that it runs.
fn is_test() -> bool {
    !std::env::args().any(|arg| arg == "--bench") || std::env::args().any(|arg| arg == "--test")
}

fn size(usual: usize) -> usize {
    let given = std::env::var("PROMOTE_TRACES").ok().and_then(|number| number.parse().ok());
    given.unwrap_or(if is_test() { 300 } else { usual })
}

fn failure(n: usize) -> Failure {
    let shop = ["orders", "warehouse", "billing", "mail", "search"][n % 5];
    let text = match n % 3 {
        0 => format!("error: no order B-{n} in the book of {shop} at 12:{:02}:{:02}", n % 60, n % 59),
        1 => format!("{shop}: connection to 10.0.{}.{}:5432 refused (attempt {n})", n % 256, n % 199),
        // Words that share little with any other: groups of their own.
        _ => format!("{shop} {:x} said {:x} and then {:x}", n * 7919, n * 104_729, n * 1_299_709),
    };
    Failure { kind: "stuck".to_owned(), tool: Some(shop.to_owned()), text }
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn asks(id: &str, tool: &str, arguments: &Value) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function",
        "function": {"name": tool, "arguments": arguments.to_string()}}]})
}

fn request(messages: &[Value]) -> CallStarted {
    let tools: Vec<Value> = ["read", "deploy", "mail"]
        .iter()
        .map(|name| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}))
        .collect();
    CallStarted {
        wire: Wire::OpenaiChat,
        upstream: "openai".to_owned(),
        method: "POST".to_owned(),
        target: "/v1/chat/completions".to_owned(),
        body: Bytes::from(json!({"model": "gpt-5-mini", "messages": messages, "tools": tools}).to_string()),
        ..CallStarted::default()
    }
}

fn answered(message: &Value) -> CallEnded {
    let body = json!({"model": "gpt-5-mini", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
    CallEnded { status: Some(200), body: Bytes::from(body.to_string()), ..CallEnded::default() }
}

/// A run of so many calls, of which one failed and is asked for again at the end.
fn conversation(calls: usize) -> Vec<Value> {
    let mut messages = vec![user("Release the shop.")];
    for n in 0..calls - 1 {
        let id = format!("call_{n}");
        let (said, came) = match n {
            7 => (asks(&id, "deploy", &json!({"to": "eu-1"})), "error: the quota is used up".to_owned()),
            _ => (asks(&id, "read", &json!({"path": format!("src/{n}.rs")})), format!("line of {n}\n").repeat(400)),
        };
        messages.extend([said, json!({"role": "tool", "tool_call_id": id, "content": came})]);
    }
    messages
}

/// A store of so many failed traces of three calls each.
fn store(traces: usize) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), Durability::Os).expect("a store");
    let mut writer = store.writer().expect("a writer");
    for n in 0..traces {
        let (trace, at) = (TraceId(n as u128 + 1), Timestamp(1_760_000_000_000_000 + n as i64 * 1_000));
        let mut put = |what: What| writer.accept(&TraceEvent { trace, at, what }).expect("kept");
        put(What::TraceStarted(TraceStarted::default()));
        let failure = failure(n);
        let order = json!({"id": format!("B-{n}")});
        let mut messages = vec![user(&format!("Refund order B-{n}."))];
        for turn in 0..3_u64 {
            let (id, call) = (format!("c{turn}"), CallId((n as u64 + 1) << 8 | turn));
            let said = asks(&id, "deploy", &order);
            put(What::CallStarted(call, request(&messages)));
            put(What::CallEnded(call, answered(&said)));
            let came = json!({"role": "tool", "tool_call_id": id, "content": format!("error: {}", failure.text)});
            messages.extend([said, came]);
        }
        let outcome = TraceOutcome::Failed;
        put(What::TraceEnded(TraceEnded { outcome, exit_code: Some(1), signal: None, reason: None, lost_calls: 0 }));
    }
    drop(writer);
    (folder, store)
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0)
}

fn grouping(c: &mut Criterion) {
    let failures: Vec<Failure> = (0..size(100_000)).map(failure).collect();
    let mut group = c.benchmark_group("promote");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function(format!("group {} failures", failures.len()), |b| {
        b.iter_batched(
            || failures.clone(),
            |failures| {
                let mut groups = Groups::default();
                for (failure, n) in failures.into_iter().zip(0..) {
                    groups.add(TraceId(n), Timestamp(n as i64), failure);
                }
                groups.finish().len()
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
    let traces = size(100_000);
    let (_folder, store) = store(traces);
    let before = peak_kib();
    let begun = Instant::now();
    let reader = Arc::new(store.reader().expect("a reader"));
    let found = find(&reader, None, false).expect("found");
    assert_eq!(found.failed.len(), traces);
    println!(
        "failures of a store of {traces} traces: {:.2} s, {} groups, peak memory {} MiB ({} MiB before)",
        begun.elapsed().as_secs_f64(),
        found.groups.len(),
        peak_kib() / 1024,
        before / 1024
    );
}

fn minimising(c: &mut Criterion) {
    let mut messages = conversation(60);
    let asked = request(&messages);
    let said = asks("call_59", "deploy", &json!({"to": "eu-1"}));
    let turn = Turn::new(1, CallId(1), asked.clone(), asked.body.clone(), Some(&answered(&said)));
    messages.push(said);
    let told = Told {
        turns: vec![turn.clone()],
        ended: Some(TraceEnded {
            outcome: TraceOutcome::Failed,
            exit_code: Some(1),
            signal: None,
            reason: None,
            lost_calls: 0,
        }),
        ..Told::default()
    };
    let picked = promote::pick(&told, Some(&Hint::default())).expect("it fails");
    let graders = promote::graders(&picked);
    let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
    let mut group = c.benchmark_group("promote");
    group.sample_size(10);
    group.bench_function("minimise 60 calls offline", |b| {
        b.iter(|| {
            let small = promote::minimise(Wire::OpenaiChat, &body, 2_000, |smaller| {
                let read = provider::request(asked.wire, &asked.target, smaller.to_string().as_bytes());
                let request = read.expect("it stays a request");
                let there = request.tools.iter().any(|tool| tool.name == "deploy");
                there
                    && picked.stands_in(&turn.response, &request.messages)
                    && matches!(promote::prove(&graders, &request, &turn.response), Proof::Red(_))
            });
            assert_eq!((small.after.messages, small.after.tools), (3, 1));
            small.asked
        });
    });
    group.finish();
}

criterion_group!(benches, grouping, minimising);
criterion_main!(benches);
