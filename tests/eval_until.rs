//! `holdback eval --until-decided`: rounds, looks, what is spared, and the exit code as a verdict.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

struct Here(tempfile::TempDir);

impl Here {
    fn new() -> Self {
        Here(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdback"));
        command.args(args).current_dir(self.path()).env_remove("HOLDBACK_STORE");
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    fn json(&self, args: &[&str]) -> (i32, Value) {
        let (code, out, err) = self.run(&[args, &["--json"]].concat());
        (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: exit {code}\n{out}\n{err}")))
    }

    /// Forty tasks in which the model is to say the task's word.
    fn suite(&self) {
        let tasks: String = (0..40)
            .map(|n| {
                format!("  - {{id: t{n:02}, prompt: 'word{n}.', graders: [{{type: contains, all: 'word{n}.'}}]}}\n")
            })
            .collect();
        let head = "suite: s\ntarget: {prompt: {}}\nmodels: [mock/echo]\ntrials: 4\ntasks:\n";
        std::fs::write(self.path().join("s.yaml"), format!("{head}{tasks}")).unwrap();
        std::fs::write(self.path().join("policy.yaml"), "margin: 0.1\n").unwrap();
    }
}

const UNTIL: &[&str] =
    &["eval", "s.yaml", "--until-decided", "--baseline", "base.json", "--policy", "policy.yaml", "-q"];

fn with_baseline() -> Here {
    let here = Here::new();
    here.suite();
    let (code, out, err) = here.run(&["eval", "s.yaml", "-q"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(here.run(&["baseline", "save", "last", "base.json"]).0, 0);
    here
}

#[test]
fn a_clear_pass_spares_trials_and_is_the_exit_code() {
    let here = with_baseline();
    let (code, told) = here.json(UNTIL);
    assert_eq!((code, told["conclusion"].as_str()), (0, Some("pass")), "{told}");
    let decided = &told["decided"];
    assert_eq!((&decided["round"], &decided["rounds"]), (&2.into(), &4.into()), "{decided}");
    assert_eq!((&decided["saved"]["trials_run"], &decided["saved"]["trials_saved"]), (&80.into(), &80.into()));
    assert!(decided["saved"]["cost_usd"].as_f64().unwrap() > 0.0);
    assert_eq!(told["run"]["trials"].as_array().unwrap().len(), 80);
    assert!(told["run"]["finished"].is_number());
    // It is over: going on does nothing, and says the same again.
    let (code, again) = here.json(&["eval", "--resume", "last", "-q"]);
    assert_eq!((code, &again["decided"]["round"]), (0, &2.into()), "{again}");
    assert_eq!(again["run"]["trials"].as_array().unwrap().len(), 80);
    // People are told as well, and the verdict is kept.
    let (code, out, err) = here.run(UNTIL);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("decided after round 2 of 4: 80 of 160 trials made, 80 spared, about $"), "{out}");
    let (_, verdicts) = here.json(&["sql", "select verdict from verdicts"]);
    assert_eq!(verdicts.as_array().unwrap().len(), 3, "one each time it was said");
}

#[test]
fn a_bad_candidate_is_stopped_after_one_round() {
    let here = with_baseline();
    let (code, told) = here.json(&[UNTIL, &["--model", "mock/flaky?p=0"]].concat());
    assert_eq!((code, told["conclusion"].as_str()), (1, Some("regress")), "{told}");
    assert_eq!(told["decided"]["saved"]["trials_run"], 40);
}

#[test]
fn a_called_off_run_goes_on_with_its_own_plan() {
    let here = with_baseline();
    // So little money that it ends within the first round.
    let (code, told) = here.json(&[UNTIL, &["--budget", "0.0000001", "-j", "1"]].concat());
    assert_eq!((code, told["conclusion"].as_str()), (3, Some("undecided")), "{told}");
    let (code, told) = here.json(&["eval", "--resume", "last", "--budget", "5", "-q"]);
    assert_eq!((code, &told["decided"]["saved"]["trials_run"]), (0, &80.into()), "{told}");
    let (code, _, err) = here.run(&[
        "eval",
        "s.yaml",
        "--resume",
        "last",
        "--until-decided",
        "--baseline",
        "base.json",
        "--rounds",
        "9",
    ]);
    assert!(code == 2 && err.contains("in 4 rounds"), "{err}");
    std::fs::write(
        here.path().join("base.json"),
        std::fs::read_to_string(here.path().join("base.json")).unwrap().replacen("pppp", "pppf", 1),
    )
    .unwrap();
    let (code, _, err) = here.run(&["eval", "--resume", "last"]);
    assert!(code == 2 && err.contains("is not what it was"), "{err}");
}

#[test]
fn wrong_questions_cost_nothing() {
    let here = with_baseline();
    for (args, word) in [
        (&["eval", "s.yaml", "--until-decided"][..], "--baseline"),
        (&[UNTIL, &["--rounds", "1"]].concat(), "--rounds"),
        (&[UNTIL, &["-k", "3", "--rounds", "8"]].concat(), "8 rounds of k = 1 make 8 trials of each task, not 3"),
        (&[UNTIL, &["-k", "1"]].concat(), "nothing to look at"),
        (&[UNTIL, &["--model", "mock/echo", "--model", "mock/flaky"]].concat(), "choose one"),
        (&[UNTIL, &["--task", "t01"]].concat(), "the tasks are not the same"),
    ] {
        let (code, out, err) = here.run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(word), "{args:?}: {err}");
    }
    let (_, runs) = here.json(&["runs"]);
    assert_eq!(runs.as_array().unwrap().len(), 1, "no run was begun");
}
