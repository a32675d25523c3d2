//! What judging costs the harness: 1,000 trials by 8 criteria with 200 questions in flight, against a judge that takes a fixed
//! time to answer. The share of the wall time that isn't the judge's is the harness's. `JUDGE_TRIALS=1000 cargo bench --bench judge`.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)] // a bench reads clocks and prints

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdback::capture::{Answer, Answers, Asked, Mocks, Proxy, ProxyConfig, Upstream, Upstreams};
use holdback::eval::{Judges, Judging, Sitting};
use holdback::grade::Evidence;
use holdback::redact::{Redactor, Rules};
use holdback::suite::load_rubric;

/// Questions in flight.
const AT_ONCE: usize = 200;
/// What a judge takes to answer.
const THINKS: Duration = Duration::from_millis(1000);
const CRITERIA: usize = 8;

/// The mock judge, with time to think.
struct Slow;

impl Answers for Slow {
    fn answer(&self, asked: &Asked<'_>) -> Answer {
        let answer = Mocks.answer(asked);
        if let Answer::Reply(mut reply) = answer {
            if let Some(first) = reply.chunks.first_mut() {
                first.0 = THINKS;
            }
            return Answer::Reply(reply);
        }
        answer
    }
}

fn main() {
    // `cargo test --bench judge -- --test` only sees that it runs.
    let usual = if std::env::args().any(|arg| arg == "--test") { 10 } else { 1000 };
    let trials: usize = std::env::var("JUDGE_TRIALS").ok().and_then(|number| number.parse().ok()).unwrap_or(usual);
    let mut text =
        "rubric: bench\njudge: {model: 'mock/judge?say=yes'}\nprinciples:\n  - principle: p\n    criteria:\n"
            .to_owned();
    for n in 0..CRITERIA {
        let _ = writeln!(text, "      - {{id: c{n}, ask: Is part {n} of the work done?}}");
    }
    let rubric = load_rubric("bench.yaml", &text).expect("the bench's own rubric");
    let dir = tempfile::tempdir().expect("a folder");
    let store = holdback::store::log::Store::open(dir.path(), Default::default()).expect("a store");
    let redactor = Arc::new(Redactor::new(&Rules::default()).expect("built-in rules"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let seconds = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let mut upstreams = Upstreams::none();
        upstreams.set("mock", Upstream::Local(Arc::new(Slow)));
        let mut config = ProxyConfig::new(upstreams, redactor.clone());
        // Otherwise the proxy's own mock would answer, and at once.
        config.mock_models = false;
        let proxy = Proxy::start(config, listener, store.writer().expect("a writer")).expect("a proxy");
        let judges = Judges::new(Judging { at_once: AT_ONCE, ..Judging::default() }, redactor);
        let evidence: Vec<Evidence> = (0..trials)
            .map(|n| Evidence::new("t", &format!("The work of trial {n} is done, and here is what I did. ").repeat(20)))
            .collect();
        let start = Instant::now();
        let read = |evidence| {
            let sitting =
                Sitting { rubric: &rubric, dir: Path::new("."), evidence, name: "bench", tags: &[], swapped: false };
            judges.read(&proxy, sitting)
        };
        let readings = futures_util::future::join_all(evidence.iter().map(read)).await;
        let seconds = start.elapsed().as_secs_f64();
        assert!(readings.iter().all(|reading| reading.grade().grade.pass() == Some(true)), "{:?}", readings[0]);
        assert_eq!(readings.iter().map(|reading| reading.asked as usize).sum::<usize>(), trials * CRITERIA);
        proxy.stop(Duration::from_secs(10)).await;
        seconds
    });
    let rounds = (trials * CRITERIA).div_ceil(AT_ONCE) as f64;
    let ideal = rounds * THINKS.as_secs_f64();
    println!(
        "{trials} trials by {CRITERIA} criteria, {AT_ONCE} in flight: {seconds:.2} s, the judge's own share {ideal:.2} s, \
         harness {:.1} % of the wall time",
        100.0 * (seconds - ideal).max(0.0) / seconds
    );
}
