//! A report of many trials: put together, and as the page; then reports and pages of a store of a million calls, as they are typed
//! and asked for. The targets are a second for 10,000 trials, five seconds for a million calls, 100 ms (p95) for a page, and two megabytes
//! for the report of 1,000 trials.
//!
//! `HOLDBACK_BENCH_CALLS` sets the size of the store. With `HOLDBACK_BENCH_STORE` it is made in that folder, unless it is there
//! already, and stays there.
#![allow(clippy::unwrap_used, reason = "a bench that panics has said what it had to say")]
#![allow(
    clippy::disallowed_methods,
    reason = "a bench reads the clock and the environment, and starts what it measures"
)]

mod store;

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use holdback::gate::{Arm, Policy, decide_all};
use holdback::report::overview::{Chosen, Held, Material, Overview, Transcript};
use holdback::report::page;
use holdback::stats::rng::Rng;
use holdback::store::log::{Durability, Store};
use holdback::trace::{Message, Role, Timestamp, TraceId, Usage};
use holdback::trial::{Ending, Fingerprints, Grade, GradeRecord, Outcome, RunRecord, Trial, Variant};

/// A run of so many tasks, eight trials each, that pass as often as `p` says.
fn run(id: &str, tasks: u32, p: f64, seed: u64) -> RunRecord {
    let mut rng = Rng::new(seed);
    let names: Vec<String> = (0..tasks).map(|task| format!("task-{task:05}")).collect();
    let trial = |task: &String, attempt: u32, rng: &mut Rng| {
        let pass = rng.chance(p);
        Trial {
            id: format!("{id}/{task}/{attempt}"),
            run: id.to_owned(),
            task: task.clone(),
            variant: "main".to_owned(),
            attempt,
            seed: None,
            trace: Some(TraceId(u128::from(rng.next_u64()))),
            started: Timestamp(1_760_000_000_000_000),
            duration_us: 1_000_000 + (rng.uniform() * 9e6) as u64,
            outcome: if pass { Outcome::Pass } else { Outcome::Fail },
            ending: Ending::Exited { code: 0 },
            score: Some(f64::from(u8::from(pass))),
            grades: vec![GradeRecord {
                label: "tool_calls".to_owned(),
                kind: "tool_calls".to_owned(),
                fingerprint: "f".to_owned(),
                required: true,
                weight: 1.0,
                grade: Grade::of(pass),
                reasons: Vec::new(),
            }],
            calls: 5,
            usage: Usage { input: Some(4_000), output: Some(300), ..Usage::default() },
            cost_usd: Some(0.002 + rng.uniform() * 0.01),
            infra_retries: 0,
            copy_of: None,
            stuck: false,
            why: (!pass).then(|| format!("tool_calls: reason {}", (rng.uniform() * 40.0) as u32)),
            answer_hash: None,
            replayed: None,
        }
    };
    let trials =
        names.iter().flat_map(|task| (1..=8).map(move |k| (task, k))).map(|(task, k)| trial(task, k, &mut rng));
    RunRecord {
        id: id.to_owned(),
        name: None,
        suite: "bench".to_owned(),
        kind: "regression".to_owned(),
        started: Timestamp(1_760_000_000_000_000),
        finished: Some(Timestamp(1_760_000_100_000_000)),
        trials_per_task: 8,
        trials: trials.collect(),
        tasks: names,
        variants: vec![Variant {
            name: "main".to_owned(),
            model: format!("mock/{id}"),
            prompt: None,
            params: Default::default(),
            fingerprint: "v".to_owned(),
        }],
        fingerprints: Fingerprints { suite: "s".to_owned(), graders: "g".to_owned(), ..Fingerprints::default() },
        git_commit: None,
        holdback: "bench".to_owned(),
    }
}

/// Both halves of a comparison, read and gated, with a long conversation for whatever asks for one.
fn overview(before: &Held, after: &[Chosen]) -> Overview {
    let gate = decide_all(&[(&before.arm, &after[0].arms[0], &Policy::for_kind("regression"))]).unwrap();
    let baselines = std::slice::from_ref(before);
    let mut material = Material { runs: after, baselines, gate: Some(gate), ..Material::default() };
    let mut talk = Transcript::default();
    (0..40).for_each(|at| {
        talk.add(&Message::text(Role::Assistant, format!("{at} words and words {}", "and more ".repeat(100))));
    });
    let wanted = holdback::report::overview::wanted(&material);
    material.transcripts = wanted.into_iter().map(|trace| (trace, talk.clone())).collect();
    Overview::of(material)
}

fn reports(c: &mut Criterion) {
    for tasks in [63, 625] {
        let (before, after) = (run("before", tasks, 0.9, 1), run("after", tasks, 0.85, 2));
        let trials = before.trials.len() + after.trials.len();
        let held = Held { arm: Arm::from_run(&before, None).unwrap(), run: Some(before) };
        let chosen = [Chosen { arms: vec![Arm::from_run(&after, None).unwrap()], run: after }];
        c.bench_function(&format!("overview_{trials}_trials"), |b| {
            b.iter(|| overview(black_box(&held), black_box(&chosen)).failures.len());
        });
        let made = overview(&held, &chosen);
        let page = page::html(&made);
        assert!(trials > 1_100 || page.len() < 2_000_000, "{} bytes", page.len());
        c.bench_function(&format!("page_{trials}_trials"), |b| b.iter(|| page::html(black_box(&made)).len()));
    }
}

const DAY: i64 = 86_400_000_000;
/// How often each page is asked for.
const VISITS: usize = 40;

/// A store of many calls in the last thirty days, with two runs of 10,000 trials, in a folder that may outlive the bench.
fn big_store() -> (PathBuf, Option<tempfile::TempDir>) {
    let most = if std::env::args().any(|arg| arg == "--test") { 2_000 } else { 1_000_000 };
    let calls: u64 = std::env::var("HOLDBACK_BENCH_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(most);
    let (folder, kept) = match std::env::var_os("HOLDBACK_BENCH_STORE") {
        Some(folder) => (PathBuf::from(folder), None),
        None => {
            let dir = tempfile::tempdir().unwrap();
            (dir.path().to_owned(), Some(dir))
        }
    };
    if folder.join("log").is_dir() {
        return (folder, kept);
    }
    let began = Instant::now();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
    let store = Store::open(&folder, Durability::Os).unwrap();
    let (per_trace, start) = (50, now - 29 * DAY);
    let every = 28 * DAY / i64::try_from(calls.div_ceil(per_trace)).unwrap().max(1);
    store::write_calls(&store, store::Shape { calls, per_trace, fresh: 96, start, every });
    let mut writer = store.writer().unwrap();
    store::write_run(&mut writer, "baseline", 500, start);
    store::write_run(&mut writer, "candidate", 500, start + DAY);
    drop(writer);
    let written = began.elapsed();
    let folded = store::with_caller(|caller| holdback::store::index::Index::fold(&store, caller)).unwrap();
    eprintln!("{} calls written in {written:.1?}, folded in {:.1?}", folded.calls, began.elapsed() - written);
    (folder, kept)
}

fn holdback(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdback"));
    command.arg("--store").arg(folder).args(args).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null());
    command
}

/// A view that ends with the bench.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn of(folder: &Path) -> Self {
        let mut command = holdback(folder, &["view", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        Served { child, address }
    }

    fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {}", &answer[..answer.len().min(300)]);
        answer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pages that a person opens, one after the other; each visit of its own trace and page.
fn pages(visit: usize) -> Vec<(&'static str, String)> {
    vec![
        ("traces", "/traces".to_owned()),
        ("an older page of traces", format!("/traces?page={}", 3 * visit)),
        ("traces by tool and outcome", "/traces?tool=run_tests&outcome=braked".to_owned()),
        ("traces by model and tag", "/traces?model=mock/small&tag=team=shop".to_owned()),
        ("traces by cost and day", "/traces?cost=0.02&outcome=failed".to_owned()),
        ("traces by name", format!("/traces?q=job-0001{visit:02}")),
        ("traces by what was said", format!("/traces?q=Do+task+{}.", 50 * visit)),
        ("traces by words that are nowhere", format!("/traces?q=nowhere+to+be+found+{visit}")),
        ("a trace", format!("/traces/job-0000{visit:02}")),
        ("runs", "/runs".to_owned()),
        ("failures", "/failures".to_owned()),
    ]
}

/// Reports and pages of a big store. Pages are timed one by one: what counts is the slow ones.
fn big(c: &mut Criterion) {
    let (folder, _kept) = big_store();
    let out = tempfile::tempdir().unwrap();
    let file = |name: &str| out.path().join(name).display().to_string();
    let (trials, loops) = (file("trials.html"), file("loops.html"));
    let mut group = c.benchmark_group("store");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    let asked: [(&str, &[&str]); 3] = [
        ("a report of 10,000 trials", &["report", "candidate", "-o", &trials]),
        ("a report of 10,000 trials against 10,000", &["report", "candidate", "--baseline", "baseline", "-o", &trials]),
        ("a report on all loops", &["report", "--production", "--since", "30d", "-o", &loops]),
    ];
    for (name, args) in asked {
        group.bench_function(name, |b| {
            b.iter(|| {
                assert!(holdback(&folder, args).status().unwrap().success(), "{name}");
            });
        });
    }
    group.finish();
    let view = Served::of(&folder);
    let mut took: Vec<(&str, Vec<f64>)> = Vec::new();
    for visit in 0..VISITS {
        for (at, (name, path)) in pages(visit).into_iter().enumerate() {
            let began = Instant::now();
            black_box(view.get(&path));
            if took.len() <= at {
                took.push((name, Vec::new()));
            }
            took[at].1.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    for (name, mut times) in took {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
        eprintln!("page {name}: median {:.0} ms, p95 {:.0} ms, slowest {:.0} ms", at(0.5), at(0.95), at(1.0));
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(10); targets = reports, big }
criterion_main!(benches);
