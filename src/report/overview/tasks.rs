//! Each task's trials, one mark a trial, side by side for all arms.

use serde::{Deserialize, Serialize};

use super::{ArmView, Material, Role};
use crate::gate::Arm;
use crate::stats::Counts;
use crate::trial::{Outcome, RunRecord};

/// One trial in a strip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub attempt: u32,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy: bool,
    /// The place of what it failed of in the list of failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<usize>,
}

/// One task's trials in one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Strip {
    /// The arm's place in the list of arms.
    pub arm: usize,
    pub counts: Counts,
    pub invalid: u32,
    pub marks: Vec<Mark>,
}

/// How sure it is that a task got worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Worse beyond noise, by itself.
    Regressed,
    /// Among those of which at most a tenth are false alarms.
    Probably,
    /// Nothing is shown.
    Quiet,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    pub suite: String,
    pub task: String,
    pub moved: Cell,
    /// The p-value behind it, where there is a baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    pub strips: Vec<Strip>,
}

/// All tasks, suite by suite: those that got worse first, then the least reliable.
pub fn all(material: &Material<'_>, arms: &[ArmView], suites: &[String]) -> Vec<TaskView> {
    let held = material.baselines.iter().map(|held| (&held.arm, held.run.as_ref()));
    let shown = material.runs.iter().flat_map(|chosen| chosen.arms.iter().map(move |arm| (arm, Some(&chosen.run))));
    let sources: Vec<(&Arm, Option<&RunRecord>)> = held.chain(shown).collect();
    let mut tasks: Vec<TaskView> = Vec::new();
    for suite in suites {
        let mut names: Vec<&String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (arm, run) in sources.iter().filter(|(arm, _)| arm.suite == *suite) {
            let order: Vec<&String> = match run {
                Some(run) => run.tasks.iter().chain(arm.tasks.keys()).collect(),
                None => arm.tasks.keys().collect(),
            };
            names.extend(order.into_iter().filter(|name| arm.tasks.contains_key(*name) && seen.insert(*name)));
        }
        let strips = strips_of(&sources, suite);
        let mut of_suite: Vec<TaskView> = names
            .into_iter()
            .map(|name| {
                let (moved, p) = moved(material, suite, name);
                let strips = strips.iter().filter_map(|strips| strips.get(name.as_str()).cloned()).collect();
                TaskView { suite: suite.clone(), task: name.clone(), moved, p, strips }
            })
            .collect();
        of_suite
            .sort_by(|a, b| (a.moved, rate(a, arms)).partial_cmp(&(b.moved, rate(b, arms))).expect("rates are no NaN"));
        tasks.extend(of_suite);
    }
    tasks
}

type Strips<'a> = std::collections::HashMap<&'a str, Strip>;

/// The strips of each arm of a suite by task.
fn strips_of<'a>(sources: &[(&'a Arm, Option<&'a RunRecord>)], suite: &str) -> Vec<Strips<'a>> {
    let of_suite = sources.iter().enumerate().filter(|(_, (arm, _))| arm.suite == suite);
    of_suite
        .map(|(at, (arm, run))| {
            let mut strips: Strips<'a> = match run {
                Some(run) => from_run(at, arm, run),
                None => from_file(at, arm),
            };
            for strip in strips.values_mut() {
                strip.marks.sort_by_key(|mark| mark.attempt);
            }
            strips
        })
        .collect()
}

fn from_run<'a>(at: usize, arm: &'a Arm, run: &'a RunRecord) -> Strips<'a> {
    let mut strips = empty(at, arm);
    for trial in run.trials.iter().filter(|trial| trial.variant == arm.variant) {
        if let Some(strip) = strips.get_mut(trial.task.as_str()) {
            let copy = trial.copy_of.is_some();
            strip.marks.push(Mark { attempt: trial.attempt, outcome: trial.outcome, copy, failure: None });
        }
    }
    strips
}

fn from_file(at: usize, arm: &Arm) -> Strips<'_> {
    let mut strips = empty(at, arm);
    for (name, task) in &arm.tasks {
        let marks = (1..).zip(&task.outcomes.0).map(|(attempt, outcome)| Mark {
            attempt,
            outcome: *outcome,
            copy: false,
            failure: None,
        });
        if let Some(strip) = strips.get_mut(name.as_str()) {
            strip.marks = marks.collect();
        }
    }
    strips
}

fn empty(at: usize, arm: &Arm) -> Strips<'_> {
    let one = |(name, task): (&'_ String, &crate::gate::TaskTrials)| {
        let count = |wanted: Outcome| task.outcomes.0.iter().filter(|one| **one == wanted).count() as u32;
        let (passed, failed) = (count(Outcome::Pass), count(Outcome::Fail));
        let counts = Counts { n: passed + failed, c: passed };
        (name.clone(), Strip { arm: at, counts, invalid: count(Outcome::Invalid), marks: Vec::new() })
    };
    let mut strips = Strips::new();
    for (name, task) in &arm.tasks {
        strips.insert(name.as_str(), one((name, task)).1);
    }
    strips
}

fn moved(material: &Material<'_>, suite: &str, task: &str) -> (Cell, Option<f64>) {
    let Some(gate) = &material.gate else { return (Cell::Quiet, None) };
    let reports = gate.suites.iter().filter(|one| one.suite == suite).filter_map(|one| one.metrics.first());
    let found = reports.flat_map(|metric| metric.per_task.iter().filter(|one| one.task == task));
    let worst = found.min_by(|a, b| a.p.unwrap_or(1.0).total_cmp(&b.p.unwrap_or(1.0)));
    match worst {
        Some(one) if one.regressed => (Cell::Regressed, one.p),
        Some(one) if one.q.is_some_and(|q| q <= 0.10) => (Cell::Probably, one.p),
        Some(one) => (Cell::Quiet, one.p),
        None => (Cell::Quiet, None),
    }
}

/// The lowest pass rate among what is reported.
fn rate(task: &TaskView, arms: &[ArmView]) -> f64 {
    let of = |strip: &Strip| match strip.counts.n {
        0 => 0.0,
        n => f64::from(strip.counts.c) / f64::from(n),
    };
    let shown = task.strips.iter().filter(|strip| arms[strip.arm].role != Role::Baseline);
    shown.map(of).fold(1.0, f64::min)
}
