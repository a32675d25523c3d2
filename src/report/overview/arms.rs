//! One variant of one run: how often it passes, how often again and again, and what it takes.

use serde::{Deserialize, Serialize};

use super::{Chosen, Held, Material};
use crate::gate::{Arm, Measured, What, measure};
use crate::stats::basic::quantile;
use crate::stats::passk::Figure;
use crate::stats::{Bound, Estimand, Estimate};
use crate::trace::{Timestamp, Usage};
use crate::trial::{Grade, Outcome, RunRecord, Trial};

/// Points of a curve at the most.
const POINTS: u32 = 10;

/// What an arm is in this report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Baseline,
    Candidate,
    /// Nothing is held against anything.
    Shown,
}

/// pass^k at one k.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub k: u32,
    pub estimate: Option<Estimate>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a quantity is spread over trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub n: u32,
    /// Trials without a reading.
    pub unknown: u32,
    pub min: f64,
    pub p25: f64,
    pub p50: f64,
    pub p75: f64,
    pub p95: f64,
    pub max: f64,
    /// Readings for a picture: all of them, or evenly chosen ones of the sorted list.
    #[serde(skip)]
    pub dots: Vec<f64>,
}

/// What all trials of an arm took together, copies included: they were paid for.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spend {
    /// What the priced trials cost.
    pub usd: Option<f64>,
    /// Trials in which a model without a price took part.
    pub unpriced_trials: u32,
    pub calls: u64,
    pub tokens: Usage,
    pub seconds: f64,
}

/// One variant of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmView {
    /// Short and unlike the others'.
    pub label: String,
    pub role: Role,
    pub run: String,
    pub run_name: Option<String>,
    pub suite: String,
    pub kind: String,
    pub variant: String,
    pub model: String,
    pub started: Timestamp,
    pub git_commit: Option<String>,
    /// Whether its run came to an end.
    pub finished: bool,
    pub tasks: u32,
    /// Trials asked for per task.
    pub k: u32,
    /// Trials that could be measured.
    pub trials: u32,
    pub passed: u32,
    /// Trials that could not be measured: infrastructure or a required grader.
    pub invalid: u32,
    /// Trials that repeat another one's answers.
    pub copies: u32,
    /// Trials that were asked for and are not there.
    pub missing: u32,
    /// Grades of graders that broke, and of graders that had nothing to say.
    pub broken_grades: u32,
    pub abstained_grades: u32,
    pub stuck: u32,
    pub curve: Vec<Point>,
    pub latency_s: Option<Spread>,
    pub tokens: Option<Spread>,
    pub cost_usd: Option<Spread>,
    /// Mean cost of a trial, of those whose cost is known.
    pub mean_cost_usd: Option<f64>,
    /// `None` for an arm that is only a file.
    pub spend: Option<Spend>,
}

impl ArmView {
    /// The estimate of pass^k, where there is one.
    pub fn pass_hat(&self, k: u32) -> Option<&Estimate> {
        self.curve.iter().find(|point| point.k == k)?.estimate.as_ref()
    }

    /// pass^k for the largest k that there is an estimate for.
    pub fn farthest(&self) -> Option<(u32, &Estimate)> {
        self.curve.iter().rev().find_map(|point| Some((point.k, point.estimate.as_ref()?)))
    }
}

/// All arms: the baselines, then what is reported.
pub fn all(material: &Material<'_>) -> Vec<ArmView> {
    let role = if material.baselines.is_empty() { Role::Shown } else { Role::Candidate };
    let held = material.baselines.iter().map(|Held { arm, run }| view(arm, run.as_ref(), Role::Baseline));
    let shown =
        material.runs.iter().flat_map(|Chosen { run, arms }| arms.iter().map(move |arm| view(arm, Some(run), role)));
    let mut all: Vec<ArmView> = held.chain(shown).collect();
    label(&mut all);
    all
}

/// Gives every arm a name as short as can be: the model, then what tells it from its namesakes.
fn label(arms: &mut [ArmView]) {
    let steps: [fn(&ArmView) -> String; 4] = [
        |arm| arm.model.clone(),
        |arm| arm.variant.clone(),
        |arm| format!("{} ({})", arm.variant, arm.run_name.as_ref().unwrap_or(&arm.run)),
        |arm| format!("{} ({})", arm.variant, arm.run),
    ];
    for step in steps {
        let clash = |arms: &[ArmView], at: usize| {
            arms.iter().enumerate().any(|(i, other)| {
                i != at && (other.label.is_empty() || other.label == arms[at].label) && other.suite == arms[at].suite
            })
        };
        let again: Vec<usize> = (0..arms.len()).filter(|at| arms[*at].label.is_empty() || clash(arms, *at)).collect();
        for at in &again {
            arms[*at].label = step(&arms[*at]);
        }
        if again.is_empty() {
            break;
        }
    }
}

fn view(arm: &Arm, run: Option<&RunRecord>, role: Role) -> ArmView {
    let count = |wanted: Outcome| {
        let of = |task: &crate::gate::TaskTrials| task.outcomes.0.iter().filter(|one| **one == wanted).count();
        arm.tasks.values().map(of).sum::<usize>() as u32
    };
    let (passed, failed, invalid) = (count(Outcome::Pass), count(Outcome::Fail), count(Outcome::Invalid));
    let copies: u32 = arm.tasks.values().map(|task| task.copies).sum();
    let asked = arm.trials_per_task * arm.tasks.len() as u32;
    let trials: Vec<&Trial> =
        run.map(|run| run.trials.iter().filter(|t| t.variant == arm.variant).collect()).unwrap_or_default();
    let grades = |wanted: fn(&Grade) -> bool| {
        trials.iter().flat_map(|t| &t.grades).filter(|grade| wanted(&grade.grade)).count() as u32
    };
    let costs: Vec<Option<f64>> = arm.tasks.values().flat_map(|task| task.cost_usd.iter().copied()).collect();
    let known: Vec<f64> = costs.iter().flatten().copied().collect();
    ArmView {
        label: String::new(),
        role,
        run: arm.run.clone(),
        run_name: run.and_then(|run| run.name.clone()),
        suite: arm.suite.clone(),
        kind: arm.kind.clone(),
        variant: arm.variant.clone(),
        model: arm.model.clone(),
        started: arm.started,
        git_commit: arm.git_commit.clone(),
        finished: run.is_none_or(|run| run.finished.is_some()),
        tasks: arm.tasks.len() as u32,
        k: arm.trials_per_task,
        trials: passed + failed,
        passed,
        invalid,
        copies,
        missing: asked.saturating_sub(passed + failed + invalid + copies),
        broken_grades: grades(|grade| matches!(grade, Grade::Broken { .. })),
        abstained_grades: grades(|grade| matches!(grade, Grade::Abstained { .. })),
        stuck: arm.tasks.values().map(|task| task.stuck).sum(),
        curve: curve(arm),
        latency_s: spread(arm.tasks.values().flat_map(|t| t.duration_ms.iter().map(|ms| Some(*ms as f64 / 1e3)))),
        tokens: spread(arm.tasks.values().flat_map(|t| t.tokens.iter().map(|n| n.map(|n| n as f64)))),
        cost_usd: spread(costs.into_iter()),
        mean_cost_usd: (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64),
        spend: run.map(|_| spend(&trials)),
    }
}

/// Every k up to eight, then as many as fit, up to what was asked for.
fn curve(arm: &Arm) -> Vec<Point> {
    let most = arm.trials_per_task.max(1);
    let mut ks: Vec<u32> = (1..=most.min(8)).collect();
    let mut next = 16;
    while next < most && (ks.len() as u32) < POINTS {
        ks.push(next);
        next *= 2;
    }
    if !ks.contains(&most) {
        ks.push(most);
    }
    ks.into_iter().map(|k| point(arm, k)).collect()
}

/// pass^k of exactly these tasks, with a 95 % interval.
pub fn point(arm: &Arm, k: u32) -> Point {
    let how = Measured {
        figure: Figure::PassHat(k),
        estimand: Estimand::Suite,
        groups: &[],
        bound: Bound::Gaffke,
        alpha: 0.05,
    };
    match measure(arm, &What::Outcome, how) {
        Ok(estimate) => Point { k, estimate: Some(estimate), why: None },
        Err(too_few) => Point { k, estimate: None, why: Some(too_few.to_string()) },
    }
}

fn spread(readings: impl Iterator<Item = Option<f64>>) -> Option<Spread> {
    let readings: Vec<Option<f64>> = readings.collect();
    let mut known: Vec<f64> = readings.iter().flatten().copied().filter(|x| x.is_finite()).collect();
    known.sort_by(f64::total_cmp);
    let q = |share| quantile(&known, share);
    Some(Spread {
        n: known.len() as u32,
        unknown: (readings.len() - known.len()) as u32,
        min: *known.first()?,
        p25: q(0.25)?,
        p50: q(0.5)?,
        p75: q(0.75)?,
        p95: q(0.95)?,
        max: *known.last()?,
        dots: thin(&known, 160),
    })
}

/// Evenly chosen members of a sorted list.
fn thin(sorted: &[f64], most: usize) -> Vec<f64> {
    if sorted.len() <= most {
        return sorted.to_vec();
    }
    (0..most).map(|i| sorted[i * (sorted.len() - 1) / (most - 1)]).collect()
}

fn spend(trials: &[&Trial]) -> Spend {
    let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
    };
    let mut spend = Spend::default();
    for trial in trials {
        match trial.cost_usd.filter(|usd| usd.is_finite()) {
            Some(usd) => *spend.usd.get_or_insert(0.0) += usd,
            None => spend.unpriced_trials += 1,
        }
        spend.calls += u64::from(trial.calls);
        spend.seconds += trial.duration_us as f64 / 1e6;
        let (sum, more) = (&mut spend.tokens, &trial.usage);
        sum.input = add(sum.input, more.input);
        sum.output = add(sum.output, more.output);
        sum.cache_read = add(sum.cache_read, more.cache_read);
        sum.cache_write = add(sum.cache_write, more.cache_write);
        sum.reasoning = add(sum.reasoning, more.reasoning);
    }
    spend
}
