//! A folder with a store in it, runs as letters (`p`, `f`, `i`), and the binary.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use holdback::store::log::{Durability, Store};
use holdback::trace::{Timestamp, Usage};
use holdback::trial::{Ending, Fingerprints, Grade, GradeRecord, Outcome, RunRecord, Trial, Variant};
use serde_json::Value;

pub struct Bench {
    pub dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        Store::open(bench.path(".holdback"), Durability::Os).unwrap();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Keeps a run as `holdback eval` does: the run without its trials, and each trial.
    pub fn keep(&self, run: &RunRecord) {
        let store = Store::open(self.path(".holdback"), Durability::Os).unwrap();
        let mut writer = store.writer().unwrap();
        let mut record = serde_json::to_value(run).unwrap();
        record.as_object_mut().unwrap().remove("trials");
        writer.record("run", &run.id, run.started, &record).unwrap();
        for trial in &run.trials {
            writer.record("trial", &trial.id, trial.started, &serde_json::to_value(trial).unwrap()).unwrap();
        }
    }

    /// Runs `base` and `cand` of these trials.
    pub fn pair(&self, base: &[String], cand: &[String]) {
        self.keep(&run("base", base));
        self.keep(&run("cand", cand));
    }

    /// The binary, in this folder, with nothing of CI in its environment.
    pub fn holdback(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdback"));
        command.current_dir(self.dir.path()).args(args);
        for name in ["GITHUB_STEP_SUMMARY", "HOLDBACK_STORE"] {
            command.env_remove(name);
        }
        command
    }

    /// `holdback gate` on `base` and `cand`.
    pub fn gate(&self, more: &[&str]) -> Output {
        self.holdback(&[&["gate", "--baseline", "base", "--candidate", "cand"], more].concat())
    }

    /// Gates two runs of these trials and expects an exit code and a word in what is said.
    pub fn expect(base: &[String], cand: &[String], policy: &str, code: i32, word: &str) {
        let bench = Bench::new();
        bench.pair(base, cand);
        bench.write("policy.yaml", policy);
        let output = bench.gate(&["--policy", "policy.yaml"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(word), "no {word:?} in:\n{said}");
    }

    /// What SQL says, as JSON.
    pub fn sql(&self, query: &str) -> Value {
        serde_json::from_slice(&self.holdback(&["sql", "--json", query]).stdout).unwrap()
    }
}

/// stdout and stderr.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn times(count: usize, trials: &str) -> Vec<String> {
    vec![trials.to_owned(); count]
}

/// A run of suite `checkout` with tasks t000, t001, …
pub fn run(id: &str, trials: &[String]) -> RunRecord {
    let started = Timestamp(1_700_000_000_000_000 + i64::from(id == "cand") * 60_000_000);
    let names: Vec<String> = (0..trials.len()).map(|i| format!("t{i:03}")).collect();
    let one = |(task, letters): (&String, &String)| -> Vec<Trial> {
        letters.chars().enumerate().map(|(i, letter)| trial(id, task, i as u32 + 1, letter)).collect()
    };
    RunRecord {
        id: id.to_owned(),
        name: None,
        suite: "checkout".to_owned(),
        kind: "regression".to_owned(),
        started,
        finished: Some(Timestamp(started.0 + 1_000_000)),
        trials_per_task: trials.iter().map(|t| t.len() as u32).max().unwrap_or(0),
        trials: names.iter().zip(trials).flat_map(one).collect(),
        tasks: names,
        variants: vec![variant("main")],
        fingerprints: Fingerprints { suite: "s1".to_owned(), graders: "g1".to_owned(), ..Default::default() },
        git_commit: None,
        holdback: "0.1.0".to_owned(),
    }
}

pub fn variant(name: &str) -> Variant {
    Variant {
        name: name.to_owned(),
        model: format!("mock/{name}"),
        prompt: None,
        params: Default::default(),
        fingerprint: format!("v-{name}"),
    }
}

pub fn trial(run: &str, task: &str, attempt: u32, letter: char) -> Trial {
    let outcome = match letter {
        'p' => Outcome::Pass,
        'f' => Outcome::Fail,
        _ => Outcome::Invalid,
    };
    let grade = match outcome {
        Outcome::Invalid => Grade::Broken { reason: "the judge crashed".to_owned() },
        _ => Grade::of(outcome == Outcome::Pass),
    };
    Trial {
        id: format!("{run}/{task}/{attempt}"),
        run: run.to_owned(),
        task: task.to_owned(),
        variant: "main".to_owned(),
        attempt,
        seed: None,
        trace: None,
        started: Timestamp(1_700_000_000_000_000 + i64::from(attempt)),
        duration_us: 2_000_000,
        outcome,
        ending: Ending::Exited { code: 0 },
        score: (outcome != Outcome::Invalid).then(|| f64::from(u8::from(outcome == Outcome::Pass))),
        grades: vec![GradeRecord {
            label: "tool_calls".to_owned(),
            kind: "tool_calls".to_owned(),
            fingerprint: "f".to_owned(),
            required: true,
            weight: 1.0,
            grade,
            reasons: Vec::new(),
        }],
        calls: 3,
        usage: Usage { input: Some(900), output: Some(100), ..Default::default() },
        cost_usd: Some(0.01),
        infra_retries: 0,
        copy_of: None,
        stuck: false,
        why: None,
        answer_hash: Some(format!("{run}-{task}-{attempt}")),
        replayed: None,
    }
}
