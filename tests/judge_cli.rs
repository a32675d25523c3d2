//! Rubrics and judges from the command line: linting, labelling blind, calibrating, and a gate that counts on calibrated judges only.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

struct Here(tempfile::TempDir);

impl Here {
    fn new() -> Self {
        Here(tempfile::tempdir().unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdback"));
        command.args(args).current_dir(self.0.path()).env_remove("HOLDBACK_STORE").env("USER", "ann");
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        told(self.command(args).output().unwrap())
    }

    fn typing(&self, args: &[&str], keys: &str) -> (i32, String, String) {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may stop reading before all is typed.
        let _ = child.stdin.take().unwrap().write_all(keys.as_bytes());
        told(child.wait_with_output().unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.run(args);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: exit {code}\n{out}\n{err}"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn shipped(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).to_str().unwrap().to_owned()
}

#[test]
fn rubrics_are_linted_with_places_and_exit_codes() {
    let here = Here::new();
    let (code, out, err) = here.run(&["rubric", "lint", &shipped("rubrics/honesty.yaml")]);
    assert_eq!((code, out.contains("nothing to say")), (0, true), "{out}{err}");
    here.write("bad.yaml", "rubric: r\nprinciples: [{principle: p, criteria: [{id: a, ask: Is it valid JSON?}]}]\n");
    let (code, out, _) = here.run(&["rubric", "lint", "bad.yaml"]);
    assert!(code == 1 && out.contains("a deterministic: ") && out.contains("json_schema"), "{out}");
    here.write("worse.yaml", "rubric: r\nprincples: []\n");
    let (code, out, err) = here.run(&["rubric", "lint", "worse.yaml"]);
    assert!(code == 2 && out.is_empty() && err.contains("worse.yaml:2:1") && err.contains("principles"), "{err}");
    let (code, _, err) = here.run(&["rubric", "lint", "none.yaml"]);
    assert!(code == 2 && err.contains("none.yaml"));
}

/// A suite with a required rubric, whose judge fails everything that says pear.
fn judged_suite(here: &Here) {
    here.write(
        "judge.yaml",
        "criteria:\n  a:\n    - {when: pear, say: no, reason: A pear.}\n    - {say: yes, reason: No pear.}\n",
    );
    here.write(
        "r.yaml",
        "rubric: r\njudge: {model: 'mock/judge:judge.yaml'}\nprinciples: [{principle: p, criteria: [\
        {id: a, ask: Is it free of pears?, see: [answer], required: true}]}]\n",
    );
    here.write("s.yaml", "suite: fruit\nkind: capability\ntarget: {prompt: {}}\nmodels: [mock/echo]\ntrials: 4\n\
        graders: [{type: stops}, {type: rubric, label: fruit, rubric: r.yaml}]\ntasks:\n  - {id: apple, prompt: an apple}\n  \
        - {id: pear, prompt: a pear}\n  - {id: plum, prompt: a plum}\n");
}

#[test]
fn a_run_shows_criteria_with_quotes_and_judging_again_asks_nothing_twice() {
    let here = Here::new();
    judged_suite(&here);
    let (code, out, err) = here.run(&["eval", "s.yaml", "--name", "one"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("fruit/a") && out.contains("(pear #1): no: \"pear\" A pear."), "{out}");
    let run = here.json(&["runs", "show", "one", "--json"]);
    let row = &run["summary"]["criteria"][0];
    assert_eq!((row["passed"].as_u64(), row["judged"].as_u64()), (Some(8), Some(12)), "{row}");
    // Another judge that needs no file: what it said once is remembered.
    let judge = ["--judge", "mock/judge?say=yes"];
    let calls = |here: &Here| {
        here.json(&["sql", "--json", "select count(*) as n from calls where model like 'mock/judge%'"])[0]["n"].clone()
    };
    let before = calls(&here);
    let graded = here.json(&["grade", "one", "--name", "two", "--json", judge[0], judge[1]]);
    assert_eq!((graded["passed_before"].as_u64(), graded["passed"].as_u64()), (Some(8), Some(12)), "{graded}");
    let between = calls(&here);
    assert_eq!(between.as_u64().unwrap() - before.as_u64().unwrap(), 3, "twelve trials, three different answers");
    here.json(&["grade", "one", "--name", "three", "--json", judge[0], judge[1]]);
    assert_eq!(calls(&here), between, "nothing is asked twice");
    // The questions are recorded like every call.
    let (_, out, _) = here.run(&["traces", "ls", "-n", "0"]);
    assert!(out.contains("judge fruit/pear#"), "{out}");
    let (code, out, _) = here.run(&["judge", "noise", "one"]);
    assert!(code == 3 && out.contains("ask more often"), "{out}");
    let (code, _, err) = here.run(&["grade", "one", "--judge", "gpt"]);
    assert!(code == 2 && err.contains("provider/model"), "{err}");
}

#[test]
fn a_rubric_without_a_judge_is_refused_before_anything_is_spent() {
    let here = Here::new();
    judged_suite(&here);
    let rubric = std::fs::read_to_string(here.0.path().join("r.yaml")).unwrap();
    here.write("r.yaml", &rubric.replace("judge: {model: 'mock/judge:judge.yaml'}\n", ""));
    let (code, _, err) = here.run(&["eval", "s.yaml"]);
    assert!(code == 2 && err.contains("names no judge") && err.contains("--judge"), "{err}");
    here.write("r.yaml", &rubric.replace("ask: Is", "asq: Is"));
    let (code, _, err) = here.run(&["eval", "s.yaml"]);
    assert!(code == 2 && err.contains("r.yaml:3:") && err.contains("asq"), "{err}");
}

#[test]
fn labels_are_given_blind_and_a_judge_is_measured_by_them() {
    let here = Here::new();
    judged_suite(&here);
    here.run(&["eval", "s.yaml", "--name", "one"]);
    let label = ["judge", "label", "one", "--rubric", "r.yaml"];
    let (code, out, shown) = here.typing(&label, "x\ny\nn\nu\ns\nq\n");
    assert_eq!((code, out.as_str()), (0, "3 labels kept, 1 skipped\n"), "{shown}");
    assert!(shown.contains("\"x\" is no answer here") && shown.contains("Is it free of pears?"), "{shown}");
    assert!(!shown.contains("A pear.") && !shown.contains("No pear."), "the judge's word is not shown: {shown}");
    // What is labelled is not asked again.
    let (_, out, _) = here.typing(&label, &"y\n".repeat(20));
    assert_eq!(out, "9 labels kept, 0 skipped\n");
    let (code, _, err) = here.run(&["judge", "labels", "--rubric", "r.yaml", "--export", "l.json"]);
    assert!(code == 0 && err.contains("12 trials' labels"), "{err}");
    let elsewhere = Here::new();
    judged_suite(&elsewhere);
    std::fs::copy(here.0.path().join("l.json"), elsewhere.0.path().join("l.json")).unwrap();
    let (code, out, err) = elsewhere.run(&["judge", "calibrate", "r.yaml", "--labels", "l.json"]);
    assert!(code == 1 && out.contains("not valid: this judge may inform, not block"), "{out}{err}");
    assert!(out.contains("where judge and people differ") && out.contains("opposite order"), "{out}");
    let (code, out, _) = here.run(&["judge", "labels", "--rubric", "r.yaml", "--import", "l.json"]);
    assert!(code == 0 && out.contains("labels kept"), "{out}");
    let (code, _, err) = Here::new().run(&["judge", "calibrate", &shipped("rubrics/honesty.yaml")]);
    assert!(code == 2 && err.contains("names no judge"), "{err}");
    // A word of the rubric changed: the labels are about something else.
    let rubric = std::fs::read_to_string(here.0.path().join("r.yaml")).unwrap();
    here.write("r.yaml", &rubric.replace("free of pears", "a pear"));
    let (code, _, err) = here.run(&["judge", "calibrate", "r.yaml"]);
    assert!(code == 3 && err.contains("nothing is labelled"), "{err}");
}

/// Labelled items enough for a calibration that holds.
fn many_labels(wrong: usize) -> String {
    let item = |n: usize, fruit: &str, label: &str| {
        format!("  - {{id: {fruit}-{n}, told: {{answer: 'a {fruit} number {n}'}}, labels: {{a: {label}}}}}\n")
    };
    let mut text = "rubric: r\nitems:\n".to_owned();
    for n in 0..30 {
        text.push_str(&item(n, "plum", "yes"));
        text.push_str(&item(n, "pear", "no"));
    }
    (0..wrong).for_each(|n| text.push_str(&item(n, "apple", "no")));
    text
}

#[test]
fn a_gate_counts_on_calibrated_judges_only_when_it_is_told_so() {
    let here = Here::new();
    judged_suite(&here);
    here.run(&["eval", "s.yaml", "--name", "base", "-k", "8"]);
    // The candidate's answers are the same; its judge finds a pear in every one.
    here.write("worse.script.yaml", "turns: [{text: a pear}]\n");
    let (code, out, err) =
        here.run(&["eval", "s.yaml", "--name", "worse", "-k", "8", "--model", "mock/script:worse.script.yaml"]);
    assert_eq!(code, 0, "{out}{err}");
    here.write("policy.yaml", "judges: calibrated\nmargin: 0.3\n");
    let gate = |policy: bool| {
        let mut args = vec!["gate", "--baseline", "base", "--candidate", "worse"];
        if policy {
            args.extend(["--policy", "policy.yaml"]);
        }
        here.run(&args)
    };
    let (code, out, _) = gate(false);
    assert!(code == 1 && out.contains("judge fruit: ") && out.contains("not calibrated"), "{code} {out}");
    let (code, out, err) = gate(true);
    assert!(
        code == 0 && err.contains("no valid calibration") && out.contains("judge fruit (informs only)"),
        "{code} {out}{err}"
    );
    // Too few labels, or too many mistakes, make no valid calibration.
    here.write(
        "few.yaml",
        "rubric: r\nitems: [{told: {answer: a pear}, labels: {a: no}}, {told: {answer: x}, labels: {a: yes}}]\n",
    );
    assert_eq!(here.run(&["judge", "calibrate", "r.yaml", "--labels", "few.yaml"]).0, 1);
    assert_eq!(gate(true).0, 0, "still informs only");
    here.write("labels.yaml", &many_labels(0));
    let calibrate = ["judge", "calibrate", "r.yaml", "--labels", "labels.yaml", "--run", "worse", "--repeats", "1"];
    let (code, out, err) = here.run(&calibrate);
    assert!(code == 0 && out.contains("valid: gates may count on this judge"), "{out}{err}");
    assert!(out.contains("PASS RATE OF") && out.contains("RAW") && out.contains("CORRECTED"), "{out}");
    let (code, out, err) = gate(true);
    assert!(code == 1 && out.contains("corrected") && !out.contains("informs only"), "{code} {out}{err}");
    let compared = here.run(&["compare", "base", "worse"]).1;
    assert!(compared.contains("judge fruit/a: ") && compared.contains("corrected"), "{compared}");
    // Another word in the rubric, and the calibration is of something else.
    here.write("labels.yaml", &many_labels(20));
    let report = here.json(&["judge", "calibrate", "r.yaml", "--labels", "labels.yaml", "--no-probes", "--json"]);
    assert_eq!(
        (report["calibration"]["valid"].as_bool(), report["whole"]["confusion"]["judge_too_lenient"].as_u64()),
        (Some(false), Some(20))
    );
    assert_eq!(gate(true).0, 0, "a calibration that no longer holds no longer counts");
}
