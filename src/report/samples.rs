//! Reports for the tests of this room: one of each verdict, from the real gate.

use crate::gate::judges::{JudgeRow, JudgedRate};
use crate::gate::testing::{numbered, run};
use crate::gate::{Arm, GateReport, Limit, Limits, Policy, Spread, decide, decide_all};
use crate::stats::Interval;

fn policy() -> Policy {
    Policy { margin: 0.1, ..Policy::for_kind("regression") }
}

fn twenty(trials: &str) -> Vec<String> {
    vec![trials.to_owned(); 20]
}

pub fn pass() -> GateReport {
    decide(&numbered("base", &twenty("pppppppp")), &numbered("cand", &twenty("pppppppp")), &policy()).unwrap()
}

/// Two suites: one passes, in the other a task with an awkward name breaks, and latency with it.
pub fn regress() -> GateReport {
    let good = numbered("base", &twenty("pppppppp"));
    let tasks: Vec<(String, &str)> = (0..10)
        .map(|i| (if i == 3 { "pay | <b>now</b>\n@all".to_owned() } else { format!("t{i}") }, "pppppppp"))
        .collect();
    let base = run("base", &tasks);
    let mut cand = run("cand", &tasks);
    cand.trials.iter_mut().for_each(|t| t.duration_us *= 2);
    for trial in cand.trials.iter_mut().filter(|t| t.task.starts_with("pay")) {
        trial.outcome = crate::trial::Outcome::Fail;
    }
    let of = |mut record: crate::trial::RunRecord| {
        record.suite = "billing".into();
        record.fingerprints.suite = "s2".into();
        Arm::from_run(&record, None).unwrap()
    };
    let limit = Limit { max: None, max_increase: Some(0.2) };
    let strict = Policy {
        limits: Limits { latency_s: Spread { p50: Some(limit), p95: None }, ..Default::default() },
        ..policy()
    };
    decide_all(&[(&good, &good, &policy()), (&of(base), &of(cand), &strict)]).unwrap()
}

pub fn undecided() -> GateReport {
    let mut trials = twenty("pp");
    trials[4] = "pf".into();
    decide(&numbered("base", &twenty("pp")), &numbered("cand", &trials), &policy()).unwrap()
}

pub fn invalid() -> GateReport {
    decide(&numbered("base", &twenty("pppp")), &numbered("cand", &twenty("pppi")), &policy()).unwrap()
}

/// A pass in which judges had a word: one that was held against people, and one that was not.
pub fn judged() -> GateReport {
    let rate = |grader: &str, raw: f64, corrected: Option<f64>| JudgedRate {
        grader: grader.to_owned(),
        trials: 160,
        raw,
        corrected,
        interval: corrected.map(|value| Interval { lower: value - 0.08, upper: value + 0.07 }),
        why: corrected.is_none().then(|| "not calibrated: holdback judge calibrate".to_owned()),
    };
    let row = |grader: &str, may_block, before: Option<JudgedRate>, after| JudgeRow {
        grader: grader.to_owned(),
        may_block,
        baseline: before,
        candidate: Some(after),
    };
    let mut report = pass();
    report.suites[0].judges = vec![
        row("tone", true, Some(rate("tone", 0.81, Some(0.84))), rate("tone", 0.78, Some(0.8))),
        row("a|b/<kind>", false, None, rate("a|b/<kind>", 0.5, None)),
    ];
    report
}

pub fn all() -> [(&'static str, GateReport); 5] {
    [("pass", pass()), ("regress", regress()), ("undecided", undecided()), ("invalid", invalid()), ("judged", judged())]
}
