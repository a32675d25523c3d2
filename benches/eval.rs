//! What the harness itself costs: trials per second with a server that answers at once, the memory that takes, what a loop costs over
//! the bare start of the same command, and how long whole commands take: a cold eval of ten tasks, a gate over two stored runs of
//! 10,000 trials. `cargo bench --bench eval`; under `cargo test` it does a little of each.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)] // a bench reads clocks and prints

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use holdback::capture::child::{self, Spec};
use holdback::capture::{Live, ProxyConfig, Upstream, Upstreams};
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
        writeln!(self.0, "{kind} {id} {data}").map_err(|error| error.to_string())
    }
}

/// A provider that answers the same at once, whatever it is asked. One thread for each connection; the proxy keeps few.
fn zero_latency() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_all(stream));
        }
    });
    format!("http://{address}")
}

fn answer_all(mut stream: std::net::TcpStream) {
    const BODY: &str = "{\"id\":\"c\",\"object\":\"chat.completion\",\"model\":\"zero\",\"choices\":[{\"index\":0,\"message\":\
         {\"role\":\"assistant\",\"content\":\"well said\"},\"finish_reason\":\"stop\"}],\
         \"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}";
    let _ = stream.set_nodelay(true);
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
    let (mut got, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        // A request is whole when its head is, and as much body as that says.
        while let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) {
            let head = String::from_utf8_lossy(&got[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            let whole = end + length.unwrap_or(0);
            if got.len() < whole {
                break;
            }
            got.drain(..whole);
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
        match stream.read(&mut piece) {
            Ok(more) if more > 0 => got.extend_from_slice(&piece[..more]),
            _ => return,
        }
    }
}

fn make(suite: &str, jobs: usize, dir: &Path, upstream: Option<&str>) -> Finished {
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
        judging: Default::default(),
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
        let mut upstreams = Upstreams::none();
        if let Some(url) = upstream {
            upstreams.set("openai", Upstream::Live(Live::parse(url).expect("an address")));
        }
        let finished = run(setup, ProxyConfig::new(upstreams, redactor), listener, sink, hooks).await.expect("a run");
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

/// The middle of so many whole runs of a command, in milliseconds.
fn whole(times: usize, mut command: impl FnMut() -> Command) -> f64 {
    let mut took: Vec<f64> = (0..times)
        .map(|_| {
            let start = Instant::now();
            let output = command().output().expect("the binary starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took[took.len() / 2]
}

fn holdback(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdback"));
    command.args(args).current_dir(dir).env_remove("HOLDBACK_STORE");
    command
}

/// So many trials of a hundred tasks, one call each.
fn throughput(trials: u32, dir: &Path) {
    let suite = |model: &str| {
        let tasks: String = (0..100).map(|n| format!("  - {{id: t{n}, prompt: 'Say word{n} well said.'}}\n")).collect();
        let each = trials / 100;
        format!(
            "suite: bench\ntarget: {{prompt: {{}}}}\nmodels: [{model}]\ntrials: {each}\ngraders: [{{type: contains, all: well said}}]\ntasks:\n{tasks}"
        )
    };
    for (what, model, upstream) in
        [("a local server", "openai/zero", Some(zero_latency())), ("a mock model", "mock/echo", None)]
    {
        let start = Instant::now();
        let finished = make(&suite(model), 32, dir, upstream.as_deref());
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(finished.tally.passed, finished.tally.planned);
        let (done, rate) = (finished.tally.done, f64::from(trials) / seconds);
        let memory = peak_memory().map(|megabytes| format!(", {megabytes} MB at most")).unwrap_or_default();
        println!("{done} single-call trials against {what}: {seconds:.2} s, {rate:.0} trials/s{memory}");
    }
}

fn spawning(loops: u32, dir: &Path) {
    let base = bare(&["true"], loops);
    for sandbox in ["none", "landlock"] {
        let suite = format!(
            "suite: bench\ntarget: {{loop: {{command: ['true'], sandbox: {sandbox}}}}}\ntrials: {loops}\ngraders: [{{type: stops}}]\ntasks: [{{id: a}}]\n"
        );
        let start = Instant::now();
        let finished = make(&suite, 1, dir, None);
        let each = start.elapsed().as_secs_f64() * 1e3 / f64::from(loops);
        assert_eq!(finished.tally.passed, finished.tally.planned);
        println!(
            "a loop of `true`, sandbox {sandbox}: {each:.2} ms a trial, {:.2} ms over its bare start",
            each - base
        );
    }
}

fn whole_commands(trials: u32, times: usize, dir: &Path) {
    let tasks: String = (0..10).map(|n| format!("  - {{id: t{n}, prompt: well said}}\n")).collect();
    let head =
        "suite: ten\ntarget: {prompt: {}}\nmodels: [mock/echo]\ngraders: [{type: contains, all: well said}]\ntasks:\n";
    std::fs::write(dir.join("ten.yaml"), format!("{head}{tasks}")).expect("a suite");
    let mut number = 0;
    let cold = whole(times, || {
        number += 1;
        holdback(dir, &["--store", &format!("cold-{number}"), "eval", "ten.yaml", "-q"])
    });
    println!("a cold eval of ten tasks, in all: {cold:.0} ms");
    let many: String = (0..trials / 8).map(|n| format!("  - {{id: t{n}, prompt: well said}}\n")).collect();
    std::fs::write(dir.join("many.yaml"), format!("{}{many}", head.replace("tasks:", "trials: 8\ntasks:")))
        .expect("a suite");
    for name in ["one", "two"] {
        let made = holdback(dir, &["eval", "many.yaml", "-q", "-j", "32", "--name", name])
            .output()
            .expect("the binary starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    // The margin is wide enough for any number of trials: an undecided gate has another exit code.
    let args = ["gate", "--baseline", "one", "--candidate", "two", "--undecided", "pass"];
    let gate = whole(times, || holdback(dir, &args));
    println!("a gate over two stored runs of {} trials, in all: {gate:.0} ms", trials / 8 * 8);
}

fn main() {
    // `cargo bench` says so; `cargo test` only wants to see that it runs.
    let test = !std::env::args().any(|argument| argument == "--bench");
    let trials: u32 = std::env::var("EVAL_TRIALS").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000);
    let (trials, loops, times) = if test { (200, 5, 1) } else { (trials, 200, 15) };
    let dir = tempfile::tempdir().expect("a folder");
    throughput(trials, dir.path());
    spawning(loops, dir.path());
    whole_commands(trials, times, dir.path());
}
