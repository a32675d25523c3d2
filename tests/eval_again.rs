//! Grading again, checking in flight, and estimating before anything is spent.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeMap;

use common::{Bench, load};
use holdback::eval::{CheckError, Plan, Select, Stored, check, estimate, regrade};
use holdback::grade::Evidence;
use holdback::price::Table;
use holdback::trial::{Grade, Outcome};

const SUITE: &str = "suite: s\ntarget: {prompt: {}}\nmodels: [mock/echo]\ntrials: 2\ntasks:\n  \
    - {id: a, prompt: one two, graders: [{type: contains, all: one}]}\n  \
    - {id: b, prompt: three, graders: [{type: contains, all: three}]}\n";

/// Makes a run and pairs its trials with the evidence that was kept.
fn stored(bench: &Bench, suite: &str) -> Vec<Stored> {
    let trials = bench.trials(suite);
    let kept = bench.kept.lock().unwrap();
    let evidence: BTreeMap<&str, Evidence> = kept
        .iter()
        .filter(|(kind, ..)| kind == "evidence")
        .map(|(_, id, data)| (id.as_str(), serde_json::from_value(data.clone()).unwrap()))
        .collect();
    let with = |trial: holdback::trial::Trial| {
        let evidence = evidence.get(trial.id.as_str()).cloned();
        Stored { trial, evidence }
    };
    trials.into_iter().map(with).collect()
}

fn again(bench: &Bench, suite: &str, stored: Vec<Stored>) -> holdback::eval::Regraded {
    let loaded = load(suite, bench.dir.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(regrade(&loaded, bench.dir.path(), stored, None)).unwrap()
}

#[test]
fn what_another_measure_moves_is_said_and_nothing_else() {
    let bench = Bench::new();
    let stored = stored(&bench, SUITE);
    let same = again(&bench, SUITE, stored.clone());
    assert!(same.moved.is_empty() && same.changed_graders.is_empty() && same.left.is_empty(), "{same:?}");
    assert_eq!(same.trials, stored.iter().map(|stored| stored.trial.clone()).collect::<Vec<_>>());

    let stricter = SUITE.replace("all: three", "all: four").replace("id: a,", "id: z,");
    let result = again(&bench, &stricter, stored);
    assert_eq!(result.changed_graders, ["b/contains"]);
    assert_eq!(result.moved.len(), 2);
    assert!(
        result
            .moved
            .iter()
            .all(|moved| moved.task == "b" && moved.before == Outcome::Pass && moved.after == Outcome::Fail)
    );
    assert_eq!(result.left.len(), 2, "a task that is gone is said: {:?}", result.left);
    assert_eq!(result.trials.len(), 4);
}

#[test]
fn a_command_that_was_run_then_is_not_run_again_and_a_new_one_abstains() {
    let bench = Bench::new();
    let suite = |run: &str| {
        format!(
            "suite: s\ntarget: {{loop: {{command: 'echo x > made'}}}}\ntasks: [{{id: a, graders: [{{type: command, run: '{run}'}}]}}]\n"
        )
    };
    let stored = stored(&bench, &suite("test -f made"));
    assert_eq!(stored[0].trial.outcome, Outcome::Pass, "{:?}", stored[0].trial);
    assert!(again(&bench, &suite("test -f made"), stored.clone()).moved.is_empty());
    let other = again(&bench, &suite("test -f other"), stored);
    assert_eq!(other.moved[0].after, Outcome::Invalid);
    assert!(
        matches!(&other.trials[0].grades[0].grade, Grade::Abstained { reason } if reason.contains("workspace is gone"))
    );
}

#[test]
fn a_workspace_is_checked_while_its_loop_still_runs() {
    let bench = Bench::new();
    let work = bench.dir.path().join("w");
    std::fs::create_dir(&work).unwrap();
    let suite = "suite: s\ntarget: {loop: {command: x}}\ngraders: [{type: stops}]\ntasks:\n  - id: a\n    graders:\n      \
        - {type: files, exists: [out.txt]}\n      - {type: command, run: grep -q done out.txt}\n  - {id: none}\n";
    let loaded = load(suite, bench.dir.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let env = vec![("PATH".into(), std::env::var_os("PATH").unwrap())];
    let look = |task: &str| runtime.block_on(check(&loaded, bench.dir.path(), task, &work, None, env.clone()));
    let first = look("a").unwrap();
    assert!(!first.is_done());
    assert!(first.instruction().contains("- files: there is no file out.txt\n"), "{}", first.instruction());
    assert_eq!(first.left_out, ["stops"]);
    std::fs::write(work.join("out.txt"), "done\n").unwrap();
    let second = look("a").unwrap();
    assert!(second.is_done(), "{}", second.instruction());
    assert_eq!(second.instruction(), "");
    assert!(matches!(look("none"), Err(CheckError::Nothing(_))));
    assert!(matches!(look("aa"), Err(CheckError::NoTask(_, near)) if near.contains("\"a\"")));
}

#[test]
fn estimates_go_by_earlier_trials_and_say_what_they_do_not_know() {
    let bench = Bench::new();
    let (finished, _) = bench.run(SUITE).unwrap();
    let plan = |suite: &str| {
        let loaded = load(suite, bench.dir.path());
        let plan = Plan::new(&loaded, &Select::default(), "", "").unwrap();
        (loaded, plan)
    };
    let prices = Table::embedded();
    let (loaded, mock) = plan(SUITE);
    let first = estimate(&mock, &loaded, &[], &prices);
    assert_eq!((first.trials, first.usd, first.unknown), (4, None, 4));
    // What is said beforehand is what is booked afterwards, for mock models too.
    let booked: f64 = finished.record.trials.iter().map(|trial| trial.cost_usd.unwrap()).sum();
    let second = estimate(&mock, &loaded, std::slice::from_ref(&finished.record), &prices);
    assert!(booked > 0.0 && (second.usd.unwrap() - booked).abs() < 1e-12, "{second:?} {booked}");
    let (loaded, real) = plan(&SUITE.replace("mock/echo", "anthropic/no-such-model-at-all"));
    let unknown = estimate(&real, &loaded, std::slice::from_ref(&finished.record), &prices);
    assert_eq!((unknown.usd, unknown.unknown), (None, 4));
    assert!(unknown.because[0].contains("has no price"), "{:?}", unknown.because);
}

#[test]
fn a_suite_of_nothing_is_never_green() {
    let bench = Bench::new();
    let (finished, _) = bench.run("suite: s\ntarget: {prompt: {}}\nmodels: [mock/echo]\n").unwrap();
    assert!(matches!(holdback::eval::conclude(&finished, 0.05), holdback::eval::Conclusion::Undecided(_)));
    // A rubric that names no judge is one that nobody reads by.
    let rubric = "rubric: r\nprinciples: [{principle: p, criteria: [{id: a, ask: Is it?}]}]\n";
    std::fs::write(bench.dir.path().join("r.yaml"), rubric).unwrap();
    let (finished, _) = bench.run("suite: s\ntarget: {prompt: {}}\nmodels: [mock/echo]\ntasks: [{id: a, prompt: x, graders: [{type: rubric, rubric: r.yaml}]}]\n").unwrap();
    assert!(matches!(holdback::eval::conclude(&finished, 0.05), holdback::eval::Conclusion::Undecided(_)));
    assert_eq!(finished.record.trials[0].outcome, Outcome::Invalid);
}
