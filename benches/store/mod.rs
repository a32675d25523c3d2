//! A store of any size for the benches, made in a time that grows with it and not faster: agents that use tools, most of whom end
//! well, and runs of suites.
#![allow(dead_code, reason = "each bench uses what it needs")]

use std::ops::ControlFlow;

use bytes::Bytes;
use serde_json::json;

use holdback::store::index::{Caller, Folded};
use holdback::store::log::{Store, Writer};
use holdback::trace::{
    CallEnded, CallId, CallStarted, CallSummary, Sink, Timestamp, TraceEnded, TraceEvent, TraceId, TraceOutcome,
    TraceStarted, Usage, What, Wire,
};

/// What calls are written, and when the first trace began.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub calls: u64,
    pub per_trace: u64,
    /// Bytes of new content with each call: half of them in the answer, half in the tool's result.
    pub fresh: usize,
    pub start: i64,
    /// From one trace's beginning to the next one's, in microseconds.
    pub every: i64,
}

/// Waits for nobody and says nothing.
pub fn with_caller<T>(run: impl FnOnce(&mut Caller<'_>) -> T) -> T {
    run(&mut Caller { purpose: "bench", waiting: &mut |_| ControlFlow::Continue(()), folding: &mut |_: &Folded| {} })
}

/// Text that compresses about as well as what agents and tools say.
pub fn prose(seed: u64, length: usize) -> String {
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

pub fn accept(writer: &mut Writer, trace: TraceId, at: i64, what: What) {
    writer.accept(&TraceEvent { trace, at: Timestamp(at), what }).expect("the log takes it");
}

/// How the trace of a number ends: nine of ten well, the others as loops do.
fn ending(number: u64) -> (TraceOutcome, Option<String>) {
    let reason = |words: &str| Some(format!("{words} after {} steps", number % 7 + 3));
    match number % 40 {
        0 => (TraceOutcome::Failed, reason("the tests did not pass")),
        1 => (TraceOutcome::Failed, None),
        2 => (TraceOutcome::Braked, reason("stuck: shell was called with the same arguments again")),
        3 => (TraceOutcome::Killed, reason("a signal ended it")),
        _ => (TraceOutcome::Ok, None),
    }
}

fn beginning(number: u64) -> TraceStarted {
    let pick = |words: [&str; 4]| words[(number / 3 % 4) as usize].to_owned();
    TraceStarted {
        name: Some(format!("job-{number:06}")),
        tags: vec![("team".to_owned(), pick(["shop", "search", "billing", "infra"]))],
        agent: Some(pick(["claude-code", "codex", "aider", "own"])),
        cwd: Some("/srv/work".to_owned()),
        ..TraceStarted::default()
    }
}

/// Writes the calls of agents that use a tool on every turn; now and then a tool or a call fails.
pub fn write_calls(store: &Store, shape: Shape) {
    let mut writer = store.writer().expect("a writer");
    let mut next = 0;
    while next < shape.calls {
        let (number, trace) = (next / shape.per_trace, TraceId(u128::from(next) << 64 | 1));
        let mut at = shape.start + number as i64 * shape.every;
        accept(&mut writer, trace, at, What::TraceStarted(beginning(number)));
        let mut messages = vec![json!({"role": "system", "content": "Be brief."}).to_string()];
        messages.push(json!({"role": "user", "content": format!("Do task {next}.")}).to_string());
        for _ in 0..shape.per_trace.min(shape.calls - next) {
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
            let tool = ["shell", "read_file", "edit_file", "search", "run_tests"][(next / 7 % 5) as usize];
            let said = json!({"role": "assistant", "content": prose(next * 2, shape.fresh / 2), "tool_calls": [
                {"id": id, "type": "function", "function": {"name": tool, "arguments": "{\"cmd\":\"ls\"}"}}]});
            let answer = json!({"id": format!("r-{next}"), "object": "chat.completion", "model": model,
                "choices": [{"index": 0, "finish_reason": "tool_calls", "message": said}],
                "usage": {"prompt_tokens": 900, "completion_tokens": 120, "total_tokens": 1020}});
            at += 250_000;
            accept(&mut writer, trace, at, What::CallEnded(call, answered(next, model, tool, answer.to_string())));
            messages.push(said.to_string());
            messages.push(
                json!({"role": "tool", "tool_call_id": id, "content": prose(next * 2 + 1, shape.fresh / 2)})
                    .to_string(),
            );
            at += 100_000 + (next % 97) as i64 * 10_000;
            next += 1;
        }
        let (outcome, reason) = ending(number);
        let exit_code = Some(i32::from(outcome != TraceOutcome::Ok));
        let ended = TraceEnded { outcome, exit_code, signal: None, reason, lost_calls: 0 };
        accept(&mut writer, trace, at, What::TraceEnded(ended));
    }
}

fn answered(number: u64, model: &str, tool: &str, body: String) -> CallEnded {
    let failed = number % 400 == 399;
    CallEnded {
        status: Some(if failed { 529 } else { 200 }),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from(body),
        first_byte: Some(90_000),
        first_content: Some(100_000 + (number % 1000) * 100),
        summary: CallSummary {
            model: model.to_owned(),
            usage: Usage { input: Some(900), output: Some(120), ..Usage::default() },
            cost_usd: Some(0.001),
            error: failed.then(|| "overloaded".to_owned()),
            tools_called: vec![tool.to_owned()],
            ..CallSummary::default()
        },
        ..CallEnded::default()
    }
}

/// Writes a run of `tasks` x 20 trials with two grades each.
pub fn write_run(writer: &mut Writer, run: &str, tasks: u64, at: i64) {
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
    // What failed first in the first tasks has a conversation to show; the other traces are loops of their own, and none of the suite's.
    let trace = |task: usize, attempt: usize| {
        let first = task < 20 && attempt == (5 - task % 5) % 5;
        first.then(|| TraceId(u128::from(task as u64 * 50) << 64 | 1).to_string())
    };
    for (task, name) in names.iter().enumerate() {
        for attempt in 0..20 {
            let pass = (task + attempt) % 5 != 0;
            let id = format!("{run}-{task}-{attempt}");
            let trial = json!({"id": id, "run": run, "task": name, "variant": "m", "attempt": attempt + 1, "seed": attempt,
                "trace": trace(task, attempt), "started": at, "duration_us": 1_250_000,
                "outcome": if pass { "pass" } else { "fail" }, "ending": "exited", "code": 0, "score": 0.5,
                "grades": [grade("contains", pass), grade("tool_calls", true)], "calls": 6,
                "usage": {"input": 5400, "output": 720}, "cost_usd": 0.006, "answer_hash": "0123456789abcdef"});
            writer.record("trial", &id, Timestamp(at), &trial).expect("the log takes it");
        }
    }
}
