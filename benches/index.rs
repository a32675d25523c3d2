//! How fast the log becomes tables, and how fast the tables answer.
//!
//! Folding is measured whole: reading the log, parsing, appending, compressing, checkpoint. `HOLDBACK_BENCH_CALLS` sets
//! the size of the store the reports are asked of (a million calls when it isn't set; making it takes minutes).

mod store;

use std::hint::black_box;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use holdback::store::index::Index;
use holdback::store::log::{Durability, Store};
use holdback::trace::{TraceId, TraceStarted, What};

use store::{Shape, accept, with_caller, write_calls, write_run};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: i64 = 1_760_000_000_000_000;
/// Calls of the store that is folded.
const FOLDED: u64 = 20_000;

/// So many calls of so many bytes.
fn shape(calls: u64, fresh: usize) -> Shape {
    Shape { calls, per_trace: 25, fresh, start: START, every: 10_000_000 }
}

#[expect(clippy::disallowed_methods, reason = "a bench is told its size by the environment")]
fn calls_of_reports() -> u64 {
    std::env::var("HOLDBACK_BENCH_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

fn folding(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), Durability::Os).expect("a store");
    write_calls(&store, shape(FOLDED, 2_048));
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
    write_calls(&store, shape(calls, 96));
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
