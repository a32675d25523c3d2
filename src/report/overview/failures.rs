//! Why trials did not pass: the same reason of the same task told once, with a conversation to look at and, beside it, one
//! that passed.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::tasks::Cell;
use super::transcript::Transcript;
use super::{ArmView, Material, Role, TaskView};
use crate::trace::TraceId;
use crate::trial::{Grade, Outcome, RunRecord, Trial};

/// Failures that are listed.
const MOST: usize = 60;
/// Failures whose conversations are shown.
const TOLD: usize = 30;

/// Trials of one task and arm that did not pass for the same reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub suite: String,
    pub task: String,
    /// The arm's place in the list of arms.
    pub arm: usize,
    pub outcome: Outcome,
    pub moved: Cell,
    pub attempts: Vec<u32>,
    pub why: String,
    /// What each grader said of the first of them, where it was not content.
    pub graders: Vec<String>,
    /// The first one's trace.
    pub trace: Option<TraceId>,
    /// The trace of a trial of the same task that passed: the baseline's, or the same arm's.
    pub passing: Option<TraceId>,
    /// Where that one is from.
    pub passing_from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcript: Option<Transcript>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passing_transcript: Option<Transcript>,
}

/// The traces whose conversations a report would show, of all that there are.
pub fn wanted(material: &Material<'_>) -> Vec<TraceId> {
    let arms = super::arms::all(material);
    let mut suites: Vec<String> = arms.iter().map(|arm| arm.suite.clone()).collect();
    suites.dedup();
    let mut tasks = super::tasks::all(material, &arms, &suites);
    let (failures, _) = all(material, &arms, &mut tasks);
    let mut traces: Vec<TraceId> =
        failures.iter().take(TOLD).flat_map(|failure| [failure.trace, failure.passing]).flatten().collect();
    traces.sort_unstable();
    traces.dedup();
    traces
}

/// All failures of what is reported, grouped, most telling first; marks in the strips point to them. Says how many more there are.
pub fn all(material: &Material<'_>, arms: &[ArmView], tasks: &mut [TaskView]) -> (Vec<Failure>, usize) {
    let places: HashMap<(String, String), usize> =
        tasks.iter().enumerate().map(|(at, task)| ((task.suite.clone(), task.task.clone()), at)).collect();
    let mut found: Vec<Failure> = Vec::new();
    let mut known: HashMap<(usize, String, Outcome, String), usize> = HashMap::new();
    let mut at_arm = material.baselines.len();
    for chosen in material.runs {
        for arm in &chosen.arms {
            let lost = |trial: &&Trial| trial.variant == arm.variant && trial.outcome != Outcome::Pass;
            for trial in chosen.run.trials.iter().filter(lost) {
                let why = reason(trial);
                let key = (at_arm, trial.task.clone(), trial.outcome, why.clone());
                if let Some(at) = known.get(&key) {
                    found[*at].attempts.push(trial.attempt);
                    continue;
                }
                known.insert(key, found.len());
                let task = places.get(&(arm.suite.clone(), trial.task.clone())).map(|at| &tasks[*at]);
                found.push(failure(trial, &arm.suite, at_arm, task.map_or(Cell::Quiet, |task| task.moved), why));
            }
            at_arm += 1;
        }
    }
    // Those that explain a regression, then what failed most often; what could not be measured comes last.
    found.sort_by_key(|one| (one.moved, one.outcome == Outcome::Invalid, std::cmp::Reverse(one.attempts.len())));
    let more = found.len().saturating_sub(MOST);
    for (at, one) in found.iter().enumerate().take(MOST) {
        if let Some(place) = places.get(&(one.suite.clone(), one.task.clone())) {
            for strip in tasks[*place].strips.iter_mut().filter(|strip| strip.arm == one.arm) {
                let same = |attempt: &u32| one.attempts.binary_search(attempt).is_ok();
                strip.marks.iter_mut().filter(|mark| same(&mark.attempt)).for_each(|mark| mark.failure = Some(at));
            }
        }
    }
    found.truncate(MOST);
    let passed = Passed::of(material, arms);
    for (at, one) in found.iter_mut().enumerate() {
        if let Some((trace, from)) = passed.best(one) {
            one.passing = Some(trace);
            one.passing_from = Some(from);
        }
        if at < TOLD {
            let transcript = |trace: Option<TraceId>| {
                material.transcripts.iter().find(|(known, _)| Some(*known) == trace).map(|(_, text)| text.clone())
            };
            one.transcript = transcript(one.trace);
            one.passing_transcript = transcript(one.passing);
        }
    }
    (found, more)
}

fn failure(trial: &Trial, suite: &str, arm: usize, moved: Cell, why: String) -> Failure {
    let graders = trial.grades.iter().filter_map(|grade| {
        let said = match &grade.grade {
            Grade::Scored { pass: true, .. } => return None,
            Grade::Scored { score, .. } if grade.reasons.is_empty() => format!("score {score:.2}"),
            Grade::Scored { .. } => grade.reasons.join("; "),
            Grade::Abstained { reason } => format!("abstained: {reason}"),
            Grade::Broken { reason } => format!("broken: {reason}"),
        };
        Some(format!("{}: {}", grade.label, short(&said, 400)))
    });
    Failure {
        suite: suite.to_owned(),
        task: trial.task.clone(),
        arm,
        outcome: trial.outcome,
        moved,
        attempts: vec![trial.attempt],
        why,
        graders: graders.collect(),
        trace: trial.trace,
        passing: None,
        passing_from: None,
        transcript: None,
        passing_transcript: None,
    }
}

fn reason(trial: &Trial) -> String {
    short(trial.why.as_deref().unwrap_or("no reason was kept"), 400)
}

fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Traces of trials that passed.
struct Passed<'a> {
    /// By suite, task and arm: the first one that passed.
    found: HashMap<(&'a str, &'a str, usize), TraceId>,
    arms: &'a [ArmView],
}

impl<'a> Passed<'a> {
    fn of(material: &'a Material<'_>, arms: &'a [ArmView]) -> Self {
        let mut found = HashMap::new();
        let mut take = |at: usize, run: &'a RunRecord, suite: &'a str, variant: &str| {
            for trial in run.trials.iter().filter(|t| t.variant == variant && t.outcome == Outcome::Pass) {
                if let Some(trace) = trial.trace {
                    found.entry((suite, trial.task.as_str(), at)).or_insert(trace);
                }
            }
        };
        let mut at = 0;
        for held in material.baselines {
            if let Some(run) = &held.run {
                take(at, run, &held.arm.suite, &held.arm.variant);
            }
            at += 1;
        }
        for chosen in material.runs {
            for arm in &chosen.arms {
                take(at, &chosen.run, &arm.suite, &arm.variant);
                at += 1;
            }
        }
        Passed { found, arms }
    }

    /// A trial that passed where this one did not: the baseline's before the arm's own before any other's.
    fn best(&self, failure: &Failure) -> Option<(TraceId, String)> {
        let rank = |at: usize| match self.arms[at].role {
            Role::Baseline => 0,
            _ if at == failure.arm => 1,
            _ => 2,
        };
        let mut order: Vec<usize> = (0..self.arms.len()).collect();
        order.sort_by_key(|at| rank(*at));
        order.into_iter().find_map(|at| {
            let trace = self.found.get(&(failure.suite.as_str(), failure.task.as_str(), at))?;
            Some((*trace, self.arms[at].label.clone()))
        })
    }
}
