//! A run that is killed with -9 at any point and resumed has exactly the trials it was meant to have.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Bench, load};
use holdback::eval::{Hooks, Keeper, NoTraces, Plan, Select, Setup, run};
use holdback::trace::Timestamp;
use holdback::trial::{RunRecord, Trial};
use serde_json::Value;

const HERE: &str = "HOLDBACK_TEST_KILLED_RUN";
const TRIALS: usize = 60;
/// Points at which a run is killed.
const KILLS: u32 = 50;

fn suite() -> String {
    let tasks: String = (0..10)
        .map(|n| format!("  - {{id: t{n}, prompt: word, graders: [{{type: contains, all: word}}]}}\n"))
        .collect();
    format!("suite: s\ntarget: {{prompt: {{}}}}\nmodels: [mock/echo, mock/flaky?p=0.5]\ntrials: 3\ntasks:\n{tasks}")
}

/// Appends records to a file, one line each.
struct Lines(std::fs::File);

impl Keeper for Lines {
    fn keep(&mut self, kind: &str, id: &str, _: Timestamp, data: &Value) -> Result<(), String> {
        // Slow enough that a kill finds it at work.
        std::thread::sleep(Duration::from_micros(300));
        let line = serde_json::json!([kind, id, data]).to_string() + "\n";
        self.0.write_all(line.as_bytes()).map_err(|error| error.to_string())
    }
}

/// What the file holds: the run and its trials, the latest of each. A line that was cut by the kill is none.
fn kept(path: &Path) -> (Option<RunRecord>, usize) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut run: Option<RunRecord> = None;
    let mut trials: std::collections::BTreeMap<String, Trial> = std::collections::BTreeMap::new();
    let mut lines = 0;
    for line in text.lines() {
        let Ok((kind, id, data)) = serde_json::from_str::<(String, String, Value)>(line) else { continue };
        match kind.as_str() {
            "run" => run = Some(serde_json::from_value(data).unwrap()),
            "trial" => {
                lines += 1;
                trials.insert(id, serde_json::from_value(data).unwrap());
            }
            _ => {}
        }
    }
    if let Some(run) = &mut run {
        run.trials = trials.into_values().collect();
    }
    (run, lines)
}

/// The run itself, in a process of its own that the test below starts and kills.
#[test]
fn child() {
    let Ok(dir) = std::env::var(HERE) else { return };
    let (dir, file) = (PathBuf::from(&dir), PathBuf::from(&dir).join("records.jsonl"));
    // What a kill left of a line is no line, so the next one starts on its own.
    let mut out = OpenOptions::new().create(true).append(true).open(&file).unwrap();
    out.write_all(b"\n").unwrap();
    let loaded = load(&suite(), &dir);
    let plan = Plan::new(&loaded, &Select::default(), "", "").unwrap();
    let setup = Setup {
        loaded: loaded.into(),
        plan,
        suite_dir: dir.clone(),
        before: kept(&file).0,
        allow_changed: false,
        run: "r1".to_owned(),
        name: None,
        jobs: 3,
        max_broken: 0.05,
        infra_retries: 1,
        keep_workspaces: false,
        work_dir: dir.join("work"),
        env: Vec::new(),
        keys: Default::default(),
        holdback: "holdback".into(),
        git_commit: None,
        traces: std::sync::Arc::new(NoTraces),
        rounds: None,
        judging: Default::default(),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (events, _happened) = tokio::sync::mpsc::unbounded_channel();
        let (_call_off, interrupt) = tokio::sync::watch::channel(false);
        let hooks = Hooks { keeper: Box::new(Lines(out)), events, interrupt };
        run(setup, common::proxy(), listener, common::Nowhere, hooks).await.unwrap();
    });
}

#[test]
fn kill_9_at_any_point_loses_and_doubles_nothing() {
    let bench = Bench::new();
    let mut luck = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut kills, mut round) = (0, 0);
    while kills < KILLS {
        let dir = bench.dir.path().join(format!("round{round}"));
        round += 1;
        std::fs::create_dir(&dir).unwrap();
        let file = dir.join("records.jsonl");
        loop {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "child", "--nocapture"]).env(HERE, &dir);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if kills < KILLS {
                luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                std::thread::sleep(Duration::from_millis(20 + (luck >> 33) % 120));
                kills += u32::from(child.try_wait().unwrap().is_none());
                child.kill().unwrap();
            }
            child.wait().unwrap();
            let (run, lines) = kept(&file);
            assert_eq!(run.as_ref().map_or(0, |run| run.trials.len()), lines, "a trial was made twice");
            if run.is_some_and(|run| run.finished.is_some()) {
                break;
            }
        }
        let (run, lines) = kept(&file);
        assert_eq!((run.unwrap().trials.len(), lines), (TRIALS, TRIALS));
    }
}
