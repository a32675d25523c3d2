//! What tests of runs share: a folder, a sink that forgets, a keeper that remembers.

#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use holdback::capture::{ProxyConfig, Upstreams};
use holdback::eval::{EvalError, Event, Finished, Hooks, Keeper, NoTraces, Plan, Select, Setup, run};
use holdback::redact::{Redactor, Rules};
use holdback::suite::{Files, Loaded};
use holdback::trace::{Sink, Timestamp, TraceEvent};
use holdback::trial::{RunRecord, Trial};
use serde_json::Value;

/// The repository's own folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A proxy with mock models only.
pub fn proxy() -> ProxyConfig {
    ProxyConfig::new(Upstreams::none(), Arc::new(Redactor::new(&Rules::default()).unwrap()))
}

/// Loads a suite that must be in order.
pub fn load(text: &str, dir: &Path) -> Loaded {
    holdback::suite::load("s.yaml", text, &Disk(dir)).unwrap_or_else(|errors| panic!("{errors}"))
}

pub struct Disk<'a>(&'a Path);

impl Files for Disk<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        std::fs::read_to_string(self.0.join(path)).map_err(|error| error.to_string())
    }
    fn exists(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}

#[derive(Default)]
pub struct Nowhere;

impl Sink for Nowhere {
    type Error = std::io::Error;
    fn accept(&mut self, _: &TraceEvent) -> Result<(), std::io::Error> {
        Ok(())
    }
}

pub type Kept = Arc<Mutex<Vec<(String, String, Value)>>>;

struct Memory(Kept);

impl Keeper for Memory {
    fn keep(&mut self, kind: &str, id: &str, _: Timestamp, data: &Value) -> Result<(), String> {
        self.0.lock().unwrap().push((kind.to_owned(), id.to_owned(), data.clone()));
        Ok(())
    }
}

/// Everything a run needs, with a folder that goes away.
pub struct Bench {
    pub dir: tempfile::TempDir,
    /// Where the suite stands; the folder above when `None`.
    pub suite_dir: Option<PathBuf>,
    pub before: Option<RunRecord>,
    pub interrupt_after: Option<usize>,
    pub max_broken: f64,
    pub select: Select,
    pub kept: Kept,
    pub env: Vec<(String, String)>,
    pub holdback: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        Bench {
            dir: tempfile::tempdir().unwrap(),
            suite_dir: None,
            before: None,
            interrupt_after: None,
            max_broken: 1.0,
            select: Select::default(),
            kept: Kept::default(),
            env: vec![
                ("PATH".to_owned(), std::env::var("PATH").unwrap()),
                ("SECRET_OF_MINE".to_owned(), "x".to_owned()),
            ],
            holdback: "holdback".into(),
        }
    }

    /// For the suites of the repository.
    pub fn shipped() -> Self {
        Bench { suite_dir: Some(repository().join("suites")), ..Bench::new() }
    }

    pub fn run(&self, suite: &str) -> Result<(Finished, Vec<Event>), EvalError> {
        let suite_dir = self.suite_dir.clone().unwrap_or_else(|| self.dir.path().to_owned());
        let loaded = load(suite, &suite_dir);
        let plan = Plan::new(&loaded, &self.select, "", "").unwrap();
        let setup = Setup {
            loaded: Arc::new(loaded),
            plan,
            suite_dir,
            before: self.before.clone(),
            allow_changed: false,
            run: "r1".to_owned(),
            name: None,
            jobs: 4,
            max_broken: self.max_broken,
            infra_retries: 1,
            keep_workspaces: false,
            work_dir: self.dir.path().join("work"),
            env: self.env.clone(),
            keys: BTreeMap::new(),
            holdback: self.holdback.clone(),
            git_commit: None,
            traces: Arc::new(NoTraces),
            rounds: None,
            judging: Default::default(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (events, mut happened) = tokio::sync::mpsc::unbounded_channel();
            let (call_off, interrupt) = tokio::sync::watch::channel(false);
            let hooks = Hooks { keeper: Box::new(Memory(self.kept.clone())), events, interrupt };
            let after = self.interrupt_after;
            let watcher = tokio::spawn(async move {
                let mut all = Vec::new();
                while let Some(event) = happened.recv().await {
                    if matches!(&event, Event::TrialDone { tally, .. } if Some(tally.done) == after) {
                        call_off.send(true).unwrap();
                    }
                    all.push(event);
                }
                all
            });
            let finished = run(setup, proxy(), listener, Nowhere, hooks).await?;
            Ok((finished, watcher.await.unwrap()))
        })
    }

    pub fn trials(&self, suite: &str) -> Vec<Trial> {
        self.run(suite).unwrap().0.record.trials
    }
}
