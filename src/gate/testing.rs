//! Runs for tests: a letter per trial.

use crate::trace::{Timestamp, Usage};
use crate::trial::{Ending, Fingerprints, Grade, GradeRecord, Outcome, RunRecord, Trial, Variant};

use super::arm::Arm;

/// Parses `pass`, `fail`, `invalid` as p, f, i.
fn outcome(letter: char) -> Outcome {
    match letter {
        'p' => Outcome::Pass,
        'f' => Outcome::Fail,
        'i' => Outcome::Invalid,
        other => panic!("{other:?} is no outcome"),
    }
}

/// A run of one variant: (task, trials).
pub fn run<S: AsRef<str>>(id: &str, tasks: &[(S, &str)]) -> RunRecord {
    let trials: Vec<Trial> = tasks
        .iter()
        .flat_map(|(task, letters)| {
            letters.chars().enumerate().map(|(i, letter)| trial(id, task.as_ref(), i as u32 + 1, outcome(letter)))
        })
        .collect();
    RunRecord {
        id: id.to_owned(),
        name: None,
        suite: "checkout".to_owned(),
        kind: "regression".to_owned(),
        started: Timestamp(1_700_000_000_000_000),
        finished: None,
        trials_per_task: tasks.iter().map(|(_, t)| t.len() as u32).max().unwrap_or(0),
        tasks: tasks.iter().map(|(t, _)| t.as_ref().to_owned()).collect(),
        variants: vec![Variant {
            name: "main".to_owned(),
            model: "mock/model".to_owned(),
            prompt: None,
            params: Default::default(),
            fingerprint: "v1".to_owned(),
        }],
        fingerprints: Fingerprints { suite: "s1".to_owned(), graders: "g1".to_owned(), ..Default::default() },
        git_commit: None,
        holdback: "0.1.0".to_owned(),
        trials,
    }
}

pub fn trial(run: &str, task: &str, attempt: u32, outcome: Outcome) -> Trial {
    let grade = match outcome {
        Outcome::Invalid => Grade::Broken { reason: "the judge crashed".to_owned() },
        Outcome::Pass | Outcome::Fail => Grade::of(outcome == Outcome::Pass),
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

pub fn arm<S: AsRef<str>>(id: &str, tasks: &[(S, &str)]) -> Arm {
    Arm::from_run(&run(id, tasks), None).unwrap()
}

/// `t00`, `t01`, … with these trials.
pub fn numbered(id: &str, trials: &[String]) -> Arm {
    let tasks: Vec<(String, &str)> = trials.iter().enumerate().map(|(i, t)| (format!("t{i:03}"), t.as_str())).collect();
    arm(id, &tasks)
}

/// Passes first, then failures: an order no run has, for tests that do not depend on it.
pub fn letters(n: u32, c: u32) -> String {
    "p".repeat(c as usize) + &"f".repeat((n - c) as usize)
}
