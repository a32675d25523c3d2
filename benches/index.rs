//! How fast the log becomes tables, and how fast the tables answer.
//!
//! Folding is measured whole: reading the log, parsing, appending, compressing, checkpoint. `HOLDBACK_BENCH_CALLS` sets
//! the size of the store the reports are asked of (a million calls when it isn't set; making it takes minutes).

use std::hint::black_box;
use std::ops::ControlFlow;

use bytes::Bytes;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use serde_json::json;

use holdback::store::index::{Caller, Folded, Index};
use holdback::store::log::{Durability, Store, Writer};
use holdback::trace::{
    CallEnded, CallId, CallStarted, CallSummary, Sink, Timestamp, TraceEnded, TraceEvent, TraceId, TraceOutcome,
    TraceStarted, Usage, What, Wire,
};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: i64 = 1_760_000_000_000_000;
const CALLS_PER_TRACE: u64 = 25;
/// Calls of the store that is folded.
const FOLDED: u64 = 20_000;

#[expect(clippy::disallowed_methods, reason = "a bench is told its size by the environment")]
fn calls_of_reports() -> u64 {
    std::env::var("HOLDBACK_BENCH_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

fn with_caller<T>(run: impl FnOnce(&mut Caller<'_>) -> T) -> T {
    run(&mut Caller { purpose: "bench", waiting: &mut |_| ControlFlow::Continue(()), folding: &mut |_: &Folded| {} })
}

/// Text that compresses about as well as what agents and tools say.
fn prose(seed: u64, length: usize) -> String {
    const WORDS: [&str; 32] = [
        "the",
        "file",
        "error",
        "in",
        "function",
        "returns",
        "test",
        "passes",
        "when",
        "value",
        "is",
        "not",
        "found",
        "at",
        "line",
        "src/main.rs",
        "expected",
        "actual",
        "run",
        "again",
        "with",
        "option",
        "result",
        "None",
        "let",
        "mut",
        "read",
        "write",
        "agent",
        "tool",
        "called",
        "done",
    ];
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(WORDS[(state % 32) as usize]);
        text.push(' ');
        if state.is_multiple_of(5) {
            text.push_str(&format!("{:x} ", state >> 40));
        }
    }
    text
}

fn accept(writer: &mut Writer, trace: TraceId, at: i64, what: What) {
    writer.accept(&TraceEvent { trace, at: Timestamp(at), what }).expect("the log takes it");
}

/// Writes `calls` calls of agents that use a tool on every turn: `fresh` bytes of new content with each, half of them in the
/// answer, half in the tool's result.
fn write_calls(store: &Store, calls: u64, fresh: usize) {
    let mut writer = store.writer().expect("a writer");
    let mut next = 0;
    while next < calls {
        let trace = TraceId(u128::from(next) << 64 | 1);
        let mut at = START + next as i64 * 400_000;
        accept(&mut writer, trace, at, What::TraceStarted(TraceStarted::default()));
        let mut messages = vec![json!({"role": "system", "content": "Be brief."}).to_string()];
        messages.push(json!({"role": "user", "content": format!("Do task {next}.")}).to_string());
        for _ in 0..CALLS_PER_TRACE.min(calls - next) {
            let call = CallId(next + 1);
            let model = ["mock/large", "mock/small", "mock/tiny"][(next % 3) as usize];
            let body = format!("{{\"model\":\"{model}\",\"messages\":[{}]}}", messages.join(","));
            let request = CallStarted {
                wire: Wire::OpenaiChat,
                upstream: "mock".to_owned(),
                method: "POST".to_owned(),
                target: "/v1/chat/completions".to_owned(),
                body: Bytes::from(body),
                ..CallStarted::default()
            };
            accept(&mut writer, trace, at, What::CallStarted(call, request));
            let id = format!("call_{next}");
            let said = json!({"role": "assistant", "content": prose(next * 2, fresh / 2), "tool_calls": [
                {"id": id, "type": "function", "function": {"name": "shell", "arguments": "{\"cmd\":\"ls\"}"}}]});
            let answer = json!({"id": format!("r-{next}"), "object": "chat.completion", "model": model,
                "choices": [{"index": 0, "finish_reason": "tool_calls", "message": said}],
                "usage": {"prompt_tokens": 900, "completion_tokens": 120, "total_tokens": 1020}});
            at += 250_000;
            let ended = CallEnded {
                status: Some(200),
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: Bytes::from(answer.to_string()),
                first_byte: Some(90_000),
                first_content: Some(100_000 + (next % 1000) * 100),
                summary: CallSummary {
                    model: model.to_owned(),
                    usage: Usage { input: Some(900), output: Some(120), ..Usage::default() },
                    cost_usd: Some(0.001),
                    ..CallSummary::default()
                },
                ..CallEnded::default()
            };
            accept(&mut writer, trace, at, What::CallEnded(call, ended));
            messages.push(said.to_string());
            messages.push(
                json!({"role": "tool", "tool_call_id": id, "content": prose(next * 2 + 1, fresh / 2)}).to_string(),
            );
            at += 100_000;
            next += 1;
        }
        let ended =
            TraceEnded { outcome: TraceOutcome::Ok, exit_code: Some(0), signal: None, reason: None, lost_calls: 0 };
        accept(&mut writer, trace, at, What::TraceEnded(ended));
    }
}

/// Writes a run of `tasks` x 20 trials with two grades each.
fn write_run(writer: &mut Writer, run: &str, tasks: u64, at: i64) {
    let names: Vec<String> = (0..tasks).map(|task| format!("task-{task:04}")).collect();
    let record = json!({"id": run, "name": run, "suite": "support", "kind": "regression", "started": at, "trials_per_task": 20,
        "tasks": names, "variants": [{"name": "m", "model": "mock/large", "fingerprint": "f"}],
        "fingerprints": {"suite": "1", "graders": "2"}, "holdback": "0.1.0"});
    writer.record("run", run, Timestamp(at), &record).expect("the log takes it");
    let grade = |label: &str, pass: bool| {
        json!({"label": label, "kind": label, "fingerprint": "0123456789abcdef", "required": true, "weight": 1.0,
            "grade": "scored", "score": if pass { 1.0 } else { 0.0 }, "pass": pass,
            "reasons": ["the answer names the order and its state, as the task asks"]})
    };
    for (task, name) in names.iter().enumerate() {
        for attempt in 0..20 {
            let pass = (task + attempt) % 5 != 0;
            let id = format!("{run}-{task}-{attempt}");
            let trial = json!({"id": id, "run": run, "task": name, "variant": "m", "attempt": attempt + 1, "seed": attempt,
                "trace": format!("{:032x}", task * 20 + attempt), "started": at, "duration_us": 1_250_000,
                "outcome": if pass { "pass" } else { "fail" }, "ending": "exited", "code": 0, "score": 0.5,
                "grades": [grade("contains", pass), grade("tool_calls", true)], "calls": 6,
                "usage": {"input": 5400, "output": 720}, "cost_usd": 0.006, "answer_hash": "0123456789abcdef"});
            writer.record("trial", &id, Timestamp(at), &trial).expect("the log takes it");
        }
    }
}

fn folding(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), Durability::Os).expect("a store");
    write_calls(&store, FOLDED, 2_048);
    let mut group = criterion.benchmark_group("fold");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).throughput(Throughput::Elements(FOLDED));
    group.bench_function("20,000 calls of 2 KB", |bench| {
        bench.iter(|| with_caller(|caller| Index::rebuild(&store, caller)).expect("it folds"));
    });
    group.finish();
    let size = std::fs::metadata(dir.path().join("index.duckdb")).map_or(0, |file| file.len());
    eprintln!("index of {FOLDED} calls with 2 KB each: {:.1} MB", size as f64 / 1e6);
    let mut group = criterion.benchmark_group("fold one more");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    let mut more = 1_000_000;
    group.bench_function("trace", |bench| {
        bench.iter(|| {
            let mut writer = store.writer().expect("a writer");
            more += 1;
            accept(&mut writer, TraceId(more), START, What::TraceStarted(TraceStarted::default()));
            drop(writer);
            with_caller(|caller| Index::fold(&store, caller)).expect("it folds")
        });
    });
    group.finish();
}

fn reports(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), Durability::Os).expect("a store");
    let calls = calls_of_reports();
    write_calls(&store, calls, 96);
    let mut writer = store.writer().expect("a writer");
    write_run(&mut writer, "baseline", 500, START);
    write_run(&mut writer, "candidate", 500, START + 1);
    drop(writer);
    let folded = with_caller(|caller| Index::fold(&store, caller)).expect("it folds");
    eprintln!("reports over {} calls", folded.calls);
    let open = || with_caller(|caller| Index::open(&store, caller)).expect("it opens");
    let mut group = criterion.benchmark_group("report");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.bench_function("cost by day, opening included", |bench| {
        bench.iter(|| black_box(open().cost_by_day().expect("an answer")));
    });
    group.bench_function("pass rate, opening included", |bench| {
        bench.iter(|| black_box(open().pass_rate().expect("an answer")));
    });
    group.bench_function("latency, opening included", |bench| {
        bench.iter(|| black_box(open().latency().expect("an answer")));
    });
    group.bench_function("tool errors, opening included", |bench| {
        bench.iter(|| black_box(open().tool_errors().expect("an answer")));
    });
    group.bench_function("recent traces, opening included", |bench| {
        bench.iter(|| black_box(open().recent_traces(20).expect("an answer")));
    });
    group.bench_function("two runs of 10,000 trials, opening included", |bench| {
        bench.iter(|| {
            let index = open();
            let both = ["baseline", "candidate"].map(|run| index.load_run(run).expect("a run"));
            assert_eq!(both.each_ref().map(|run| run.trials.len()), [10_000, 10_000]);
            both
        });
    });
    group.finish();
}

criterion_group!(benches, folding, reports);
criterion_main!(benches);
