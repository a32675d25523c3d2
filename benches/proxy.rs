//! What recording costs on the way: the same calls direct, through a plain hyper proxy that records nothing, and through
//! holdback, against a fast upstream in this process. One table, ratios beside the figures; all ways in turns.
//!
//! `cargo bench --bench proxy`; HOLDBACK_BENCH_CALLS=N calls per case (2,000). Every clock stops when all is stored, nothing may be
//! dropped, and each store is verified. Then streams: time to first token and between pieces, and the memory of
//! HOLDBACK_BENCH_IDLE=N idle ones at once (10,000). A word after `--` picks cases by name.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    reason = "a bench measures and prints"
)]

#[path = "proxy/parts.rs"]
mod parts;
#[path = "proxy/peers.rs"]
mod peers;
#[path = "proxy/streams.rs"]
mod streams;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use holdback::capture::{Mocks, ProxyConfig, Upstream, Upstreams};
use holdback::eval::{Keeper, Limit, Reask, Sampling, Shadow, ShadowSettings, Tapped};
use holdback::price::Table;
use holdback::redact::{Redactor, Rules};
use holdback::replay::Edits;
use holdback::store::log::{Durability, Store, Writer};
use holdback::trace::{Sink, Timestamp, TraceEvent, Wire};

use parts::{Bodies, CHAT, body, drops, free, holdback, plain_proxy, quantile, run, traced, upstream, verify};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Parts that a case's calls are made in, each way in turn.
const ROUNDS: usize = 4;

struct Nothing;

impl Sink for Nothing {
    type Error = Infallible;

    fn accept(&mut self, _: &TraceEvent) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Forgets what came of a shadow.
struct Unkept;

impl Keeper for Unkept {
    fn keep(&mut self, _: &str, _: &str, _: Timestamp, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

/// A store with a shadow behind it that is asked about one call in twenty.
fn shadowed(store: &Store) -> (Tapped<Writer>, Shadow) {
    let mut proxy = ProxyConfig::new(Upstreams::none(), Arc::new(Redactor::new(&Rules::default()).unwrap()));
    proxy.upstreams.set("mock", Upstream::Local(Arc::new(Mocks)));
    let settings = ShadowSettings {
        model: "mock/echo".to_owned(),
        sampling: Sampling { sample: 0.05, seed: 0 },
        limit: Limit::default(),
        waiting: 64,
        how: Reask {
            edits: Edits { model: Some(("mock/echo".to_owned(), Wire::Raw)), ..Edits::default() },
            upstream: None,
            keys: Box::new(|_| Vec::new()),
            prices: Table::embedded(),
            jobs: 2,
            patience: Duration::from_secs(60),
            redactor: proxy.redactor.clone(),
        },
        proxy,
        figures: Arc::default(),
    };
    Shadow::start(settings, store.writer().unwrap(), Nothing, Box::new(Unkept), Box::new(|_| {})).unwrap()
}

/// What came of one way: the time of each call, and how long all took until they were stored.
#[derive(Default)]
struct Way {
    times: Vec<Duration>,
    took: Duration,
}

async fn case(name: &str, bodies: Bodies, clients: usize, calls: usize) {
    let to = upstream(free().await).await;
    let plain = plain_proxy(to).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store"), Durability::Os).unwrap();
    let (blind, proxy) = (holdback(to, Nothing).await, holdback(to, store.writer().unwrap()).await);
    let (direct, traced) = (vec![CHAT.to_owned(); clients], traced(clients));
    let (sink, shadow) = shadowed(&store);
    let beside = holdback(to, sink).await;
    let all = [
        ("direct", to, &direct, None),
        ("pass-through", plain, &direct, None),
        ("holdback, no store", blind.address(), &traced, Some(&blind)),
        ("holdback", proxy.address(), &traced, Some(&proxy)),
        ("holdback, a shadow of 5 %", beside.address(), &traced, Some(&beside)),
    ];
    let mut ways: [Way; 5] = Default::default();
    let each = (calls / clients / ROUNDS).max(1);
    for round in 0..=ROUNDS {
        // The first round only warms everything up.
        let turns = if round == 0 { 0..each.min(20) } else { 20 + (round - 1) * each..20 + round * each };
        let some: Vec<Vec<Bytes>> =
            (0..clients).map(|client| turns.clone().map(|turn| body(bodies, client, turn)).collect()).collect();
        for ((_, at, paths, recorder), way) in all.iter().zip(&mut ways) {
            let (times, begun) = run(*at, paths, &some).await;
            if let Some(recorder) = recorder {
                recorder.flush().await;
            }
            if round > 0 {
                way.took += begun.elapsed();
                way.times.extend(times);
            }
        }
    }
    let names = all.map(|(who, ..)| who);
    let lost = [0, 0, drops(&blind), drops(&proxy), drops(&beside)];
    blind.stop(Duration::from_secs(1)).await;
    proxy.stop(Duration::from_secs(1)).await;
    beside.stop(Duration::from_secs(1)).await;
    shadow.finish().expect("the shadow lives");
    verify(&store);
    ways.iter_mut().for_each(|way| way.times.sort_unstable());
    let rate = |way: &Way| way.times.len() as f64 / way.took.as_secs_f64();
    let pass = rate(&ways[1]);
    let (direct50, direct99) = (quantile(&ways[0].times, 0.5), quantile(&ways[0].times, 0.99));
    for ((way, who), lost) in ways.iter().zip(names).zip(lost) {
        let (p50, p99) = (quantile(&way.times, 0.5), quantile(&way.times, 0.99));
        println!(
            "| {name} | {who} | {p50:.3} | {p99:.3} | {:+.3} | {:+.3} | {:.0} | {:.2} | {lost} |",
            p50 - direct50,
            p99 - direct99,
            rate(way),
            rate(way) / pass
        );
        assert_eq!(lost, 0, "calls were dropped");
    }
}

/// A number from the environment.
fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Ok(upstream) = std::env::var(streams::CHILD) {
        return runtime.block_on(streams::child(upstream.parse().unwrap()));
    }
    let tried = std::env::args().any(|word| word == "--test");
    let calls = number("HOLDBACK_BENCH_CALLS", if tried { 64 } else { 2000 });
    if let Ok(peers) = std::env::var(peers::PEERS) {
        return runtime.block_on(peers::run_all(&peers, calls));
    }
    let only = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    println!("| case | way | p50 ms | p99 ms | added p50 | added p99 | calls/s | of pass-through | lost |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, bodies, clients) in [
        ("1 KB, 1 at a time", Bodies::Small, 1),
        ("100 KB growing, 1 at a time", Bodies::Growing, 1),
        ("1 KB, 16 at a time", Bodies::Small, 16),
        ("100 KB growing, 16 at a time", Bodies::Growing, 16),
        ("100 KB strangers, 16 at a time", Bodies::Strangers, 16),
    ] {
        if wanted(name) {
            runtime.block_on(case(name, bodies, clients, calls));
        }
    }
    if wanted("streams") {
        runtime.block_on(streams::run(calls / 20));
    }
    if wanted("idle") {
        runtime.block_on(streams::idle(number("HOLDBACK_BENCH_IDLE", if tried { 100 } else { 10_000 })));
    }
}
