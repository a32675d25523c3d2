//! What the harness itself costs: trials per second with a model that answers at once, the memory that takes, and what a loop
//! costs over the bare start of the same command. `EVAL_TRIALS=10000 cargo bench --bench eval`.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)] // a bench reads clocks and prints

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use holdback::capture::child::{self, Spec};
use holdback::capture::{ProxyConfig, Upstreams};
use holdback::eval::{Finished, Hooks, Keeper, NoTraces, Plan, Select, Setup, run};
use holdback::redact::{Redactor, Rules};
use holdback::suite::{Files, load};
use holdback::trace::Timestamp;
use serde_json::Value;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> Result<String, String> {
        Err("no such file".to_owned())
    }
    fn exists(&self, _: &str) -> bool {
        false
    }
}

/// Keeps records in a file, as JSON lines.
struct Lines(std::io::BufWriter<std::fs::File>);

impl Keeper for Lines {
    fn keep(&mut self, kind: &str, id: &str, _: Timestamp, data: &Value) -> Result<(), String> {
        use std::io::Write;
        writeln!(self.0, "{kind} {id} {data}").map_err(|error| error.to_string())
    }
}

fn make(suite: &str, jobs: usize, dir: &Path) -> Finished {
    let loaded = load("bench.yaml", suite, &NoFiles).expect("the bench's own suite");
    let plan = Plan::new(&loaded, &Select::default(), "", "").expect("a plan");
    let setup = Setup {
        loaded: Arc::new(loaded),
        plan,
        suite_dir: dir.to_owned(),
        before: None,
        allow_changed: false,
        run: "bench".to_owned(),
        name: None,
        jobs,
        max_broken: 0.0,
        infra_retries: 0,
        keep_workspaces: false,
        work_dir: dir.join("work"),
        env: std::env::vars().collect(),
        keys: Default::default(),
        holdback: PathBuf::from("holdback"),
        git_commit: None,
        traces: Arc::new(NoTraces),
        rounds: None,
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let redactor = Arc::new(Redactor::new(&Rules::default()).expect("built-in rules"));
        let store = holdback::store::log::Store::open(dir.join("store"), Default::default()).expect("a store");
        let sink = store.writer().expect("a writer");
        let out = std::fs::File::create(dir.join("records")).expect("a file");
        let (events, mut happened) = tokio::sync::mpsc::unbounded_channel();
        let listen = tokio::spawn(async move { while happened.recv().await.is_some() {} });
        let (_call_off, interrupt) = tokio::sync::watch::channel(false);
        let hooks = Hooks { keeper: Box::new(Lines(std::io::BufWriter::new(out))), events, interrupt };
        let finished =
            run(setup, ProxyConfig::new(Upstreams::none(), redactor), listener, sink, hooks).await.expect("a run");
        listen.await.expect("events");
        finished
    })
}

/// The most memory this process has had, in MB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes / 1024)
}

fn bare(command: &[&str], times: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        let spec = Spec::new(command.iter().map(|word| (*word).to_owned()).collect(), Vec::new());
        child::spawn(&Spec { group: false, ..spec }).expect("it starts").wait(None).expect("it ends");
    }
    start.elapsed().as_secs_f64() * 1e3 / f64::from(times)
}

fn main() {
    let trials: u32 = std::env::var("EVAL_TRIALS").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000);
    let dir = tempfile::tempdir().expect("a folder");
    let suite = format!(
        "suite: bench\ntarget: {{prompt: {{}}}}\nmodels: [mock/echo]\ntrials: {}\ntasks:\n{}",
        trials / 100,
        (0..100)
            .map(|n| format!("  - {{id: t{n}, prompt: 'Say word{n}.', graders: [{{type: contains, all: word{n}}}]}}\n"))
            .collect::<String>()
    );
    let start = Instant::now();
    let finished = make(&suite, 32, dir.path());
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(finished.tally.passed, finished.tally.planned);
    println!("{} single-call trials: {seconds:.2} s, {:.0} trials/s", finished.tally.done, f64::from(trials) / seconds);
    if let Some(megabytes) = peak_memory() {
        println!("peak memory: {megabytes} MB");
    }

    let loops = 200;
    let base = bare(&["true"], loops);
    for sandbox in ["none", "landlock"] {
        let suite = format!(
            "suite: bench\ntarget: {{loop: {{command: ['true'], sandbox: {sandbox}}}}}\ntrials: {loops}\ngraders: [{{type: stops}}]\ntasks: [{{id: a}}]\n"
        );
        let start = Instant::now();
        let finished = make(&suite, 1, dir.path());
        let each = start.elapsed().as_secs_f64() * 1e3 / f64::from(loops);
        assert_eq!(finished.tally.passed, finished.tally.planned);
        println!(
            "a loop of `true`, sandbox {sandbox}: {each:.2} ms a trial, {:.2} ms over its bare start",
            each - base
        );
    }
}
