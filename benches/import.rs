//! Import: transcripts at one, four and sixteen times the size (the rate must stay), and spans as the OTLP listener takes them.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdback::import::otlp::{Book, Signal, decode};
use holdback::import::{self, Settings, Source, TakeError, Taker};
use holdback::price::Table;
use holdback::redact::{Redactor, Rules};
use holdback::store::log::{Durability, Store, Writer};
use holdback::trace::{Content, Sink, Timestamp, TraceEvent};
use holdback::trial::RunRecord;

/// Keeps everything in a store, as the command does.
struct Keeper(Writer);

impl Taker for Keeper {
    fn event(&mut self, event: &TraceEvent) -> Result<(), TakeError> {
        Ok(self.0.accept(event)?)
    }
    fn run(&mut self, _: RunRecord) -> Result<(), TakeError> {
        Ok(())
    }
}

/// A transcript of so many turns, with a compaction every hundred.
fn transcript(turns: usize) -> String {
    let mut text = String::new();
    let line = |text: &mut String, kind: &str, number: usize, parent: usize, message: String| {
        let _ = writeln!(
            text,
            r#"{{"type":"{kind}","uuid":"u-{number}","parentUuid":"u-{parent}","sessionId":"bench","isSidechain":false,"timestamp":"2026-01-02T03:04:05.000Z","version":"2","cwd":"/work","gitBranch":"main","message":{message}}}"#
        );
    };
    for turn in 0..turns {
        let words = "the quick brown fox jumps over the lazy dog ".repeat(60);
        let usage =
            r#"{"input_tokens":10,"output_tokens":40,"cache_read_input_tokens":7000,"cache_creation_input_tokens":90}"#;
        let asked = format!(
            r#"{{"id":"msg_{turn}","role":"assistant","model":"claude-x","content":[{{"type":"tool_use","id":"t{turn}","name":"Bash","input":{{"command":"ls {turn}"}}}}],"stop_reason":"tool_use","usage":{usage}}}"#
        );
        line(&mut text, "assistant", turn * 3 + 1, turn * 3, asked);
        line(
            &mut text,
            "user",
            turn * 3 + 2,
            turn * 3 + 1,
            format!(
                r#"{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t{turn}","content":"{words} {turn}"}}]}}"#
            ),
        );
        if turn % 100 == 99 {
            let _ = writeln!(
                text,
                r#"{{"type":"system","subtype":"compact_boundary","uuid":"c-{turn}","parentUuid":null,"sessionId":"bench","isSidechain":false,"timestamp":"2026-01-02T03:04:05.000Z"}}"#
            );
        }
    }
    text
}

fn transcripts(criterion: &mut Criterion) {
    let (redactor, prices) = (Redactor::new(&Rules::default()).expect("no patterns"), Table::embedded());
    let settings = Settings { redactor: &redactor, content: Content::Redacted, prices: &prices, settled: true };
    let format = import::format("claude-code").expect("it is known");
    let mut group = criterion.benchmark_group("import/transcript");
    group.sample_size(10);
    for times in [1, 4, 16] {
        let text = transcript(250 * times);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::new("times", times), &text, |bencher, text| {
            bencher.iter(|| {
                let dir = tempfile::tempdir().expect("a folder");
                let store = Store::open(dir.path().join("store"), Durability::Os).expect("a store");
                let mut keeper = Keeper(store.writer().expect("a writer"));
                let mut from = text.as_bytes();
                let mut source =
                    Source { path: "bench.jsonl", modified: Timestamp(1), from: &mut from, file: None, beside: None };
                let (tally, done) =
                    import::import(format, &mut source, &settings, &mut import::Job::default(), &mut keeper);
                done.expect("it can be read");
                assert_eq!(tally.calls as usize, 250 * times);
            });
        });
    }
    group.finish();
}

/// A request of so many spans of about a kilobyte, one in ten a call of a model.
fn spans(count: usize) -> Vec<u8> {
    let filler = "x".repeat(600);
    let one = |number: usize| {
        let chat = if number.is_multiple_of(10) {
            r#"{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}},{"key":"gen_ai.input.messages","value":{"stringValue":"[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"hi\"}]}]"}},"#
        } else {
            ""
        };
        format!(
            r#"{{"traceId":"{:032x}","spanId":"{:016x}","name":"step","startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000001000000000","attributes":[{chat}{{"key":"gen_ai.request.model","value":{{"stringValue":"m"}}}},{{"key":"payload","value":{{"stringValue":"{filler}"}}}}]}}"#,
            number / 50 + 1,
            number + 1
        )
    };
    let all: Vec<String> = (0..count).map(one).collect();
    format!(
        r#"{{"resourceSpans":[{{"resource":{{}},"scopeSpans":[{{"scope":{{"name":"bench"}},"spans":[{}]}}]}}]}}"#,
        all.join(",")
    )
    .into_bytes()
}

fn otlp(criterion: &mut Criterion) {
    let (redactor, prices) = (Redactor::new(&Rules::default()).expect("no patterns"), Table::embedded());
    let settings = Settings { redactor: &redactor, content: Content::Redacted, prices: &prices, settled: true };
    let mut group = criterion.benchmark_group("import/otlp_spans");
    group.sample_size(10);
    for times in [1, 4, 16] {
        let body = spans(1000 * times);
        group.throughput(Throughput::Elements(1000 * times as u64));
        group.bench_with_input(BenchmarkId::new("times", times), &body, |bencher, body| {
            bencher.iter(|| {
                let dir = tempfile::tempdir().expect("a folder");
                let store = Store::open(dir.path().join("store"), Durability::Os).expect("a store");
                let mut keeper = Keeper(store.writer().expect("a writer"));
                let batch = decode(Signal::Traces, true, black_box(body)).expect("it is OTLP");
                let tally = Book::default().receive(batch, Timestamp(1), "otlp", &settings, &mut keeper).expect("kept");
                keeper.0.sync().expect("on disk");
                assert_eq!(tally.lines as usize, 1000 * times);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, transcripts, otlp);
criterion_main!(benches);
