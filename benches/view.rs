//! Pages of the view on a big store, asked as a browser asks. The target is 100 ms for 95 of 100, and 500 ms for a trace of 500 calls.
//! `HOLDBACK_BENCH_CALLS` sets the size of the store (a million calls when it isn't set; making it takes minutes).
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a bench reads clocks and says what it has measured"
)]

mod store;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use holdback::store::index::Index;
use holdback::store::log::{Durability, Store};
use holdback::view::{View, serve};

use store::{Shape, with_caller, write_calls, write_run};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: i64 = 1_760_000_000_000_000;
/// Questions whose times are put in order.
const ASKED: usize = 40;
/// Calls of the long trace.
const LONG: u64 = 500;

#[expect(clippy::disallowed_methods, reason = "a bench is told its size by the environment")]
fn calls() -> u64 {
    std::env::var("HOLDBACK_BENCH_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

/// A view in a thread of its own; it ends with the process.
fn served(store: Store) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("it is ours");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            serve(View::new(store, address, None), listener, std::future::pending()).await.expect("it serves");
        });
    });
    address
}

/// Asks for a page; says how many bytes it has.
fn get(address: SocketAddr, path: &str) -> usize {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{path}: {}",
        String::from_utf8_lossy(&answer[..answer.len().min(300)])
    );
    answer.len()
}

fn pages(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), Durability::Os).expect("a store");
    let calls = calls();
    write_calls(&store, Shape { calls, per_trace: 25, fresh: 512, start: START, every: 10_000_000 });
    write_run(&mut store.writer().expect("a writer"), "run1", 50, START);
    with_caller(|caller| Index::fold(&store, caller)).expect("it folds");
    let newest = store.reader().expect("a reader").traces().pop().expect("there are traces").id;
    let address = served(store);
    let list = [
        "/traces",
        "/traces?outcome=wrong",
        "/traces?tool=shell",
        "/traces?model=mock%2Fsmall",
        "/traces?tag=team%3Dshop",
        "/traces?cost=0.02",
        "/traces?q=job-000012",
        "/traces?since=2025-10-10&until=2025-10-12",
        "/runs",
        "/failures?days=100000",
        "/verdicts",
        "/compare",
        "/label",
        "/label/traces",
        "/calibration",
        "/live",
    ];
    let mut paths: Vec<String> = list.map(str::to_owned).to_vec();
    paths.push(format!("/traces/{newest}"));
    paths.push(format!("/traces/{newest}/calls/3"));
    let mut all: Vec<Duration> = Vec::new();
    for path in &paths {
        let mut times: Vec<Duration> = (0..ASKED)
            .map(|_| {
                let begun = Instant::now();
                get(address, path);
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        all.extend(&times);
        eprintln!("{path}: median {:.1?}, 95 of 100 within {:.1?}", times[ASKED / 2], times[ASKED * 95 / 100]);
    }
    all.sort_unstable();
    eprintln!("all pages of a store of {calls} calls: 95 of 100 within {:.1?}", all[all.len() * 95 / 100]);
    let mut group = criterion.benchmark_group("pages");
    group.sampling_mode(SamplingMode::Flat).sample_size(20);
    for path in ["/traces", "/traces?outcome=wrong", "/failures?days=100000"] {
        group.bench_function(path, |bench| bench.iter(|| get(address, path)));
    }
    group.finish();
}

/// A long trace, read from the log each time: every request is made to another view.
fn long_trace(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), Durability::Os).expect("a store");
    write_calls(&store, Shape { calls: LONG, per_trace: LONG, fresh: 4_096, start: START, every: 10_000_000 });
    let id = store.reader().expect("a reader").traces().pop().expect("there is a trace").id;
    let path = format!("/traces/{id}");
    let mut group = criterion.benchmark_group("a trace of 500 calls");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.bench_function("opened", |bench| {
        bench.iter_batched(|| served(store.clone()), |address| get(address, &path), criterion::BatchSize::PerIteration);
    });
    let address = served(store);
    eprintln!("its page has {} bytes", get(address, &path));
    group.bench_function("opened again", |bench| bench.iter(|| get(address, &path)));
    group.bench_function("one of its calls", |bench| bench.iter(|| get(address, &format!("{path}/calls/400/piece"))));
    group.finish();
}

criterion_group!(benches, pages, long_trace);
criterion_main!(benches);
