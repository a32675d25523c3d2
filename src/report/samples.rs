//! Reports for the tests of this room: one of each verdict, from the real gate.

use crate::gate::testing::{numbered, run};
use crate::gate::{Arm, GateReport, Limit, Limits, Policy, Spread, decide, decide_all};

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

pub fn all() -> [(&'static str, GateReport); 4] {
    [("pass", pass()), ("regress", regress()), ("undecided", undecided()), ("invalid", invalid())]
}
