//! What a gate says, with everything a printer needs.

use serde::{Deserialize, Serialize};

use super::judges::JudgeRow;
use super::policy::Policy;
use crate::stats::exact::PermutationMethod;
use crate::stats::{Bound, Counts, Estimand, Estimate};
use crate::trace::{Timestamp, TraceId};

/// The answer. "Not significant" is never a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not worse than the margin allows, with the confidence asked for.
    Pass,
    /// Worse.
    Regress,
    /// The data can't tell yet.
    Undecided,
    /// The run can't be judged: too much of it was not measured.
    Invalid,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Regress => "regress",
            Verdict::Undecided => "undecided",
            Verdict::Invalid => "invalid",
        }
    }

    /// Several verdicts as one: what surely got worse blocks first, then what could not be measured, and a pass needs all.
    pub fn combine(all: impl IntoIterator<Item = Verdict>) -> Verdict {
        let rank = |v: &Verdict| match v {
            Verdict::Regress => 3,
            Verdict::Invalid => 2,
            Verdict::Undecided => 1,
            Verdict::Pass => 0,
        };
        all.into_iter().max_by_key(rank).unwrap_or(Verdict::Undecided)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    pub verdict: Verdict,
    /// One line that says why.
    pub why: String,
    pub suites: Vec<SuiteReport>,
}

/// Where an arm comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub run: String,
    pub variant: String,
    pub model: String,
    pub started: Timestamp,
    #[serde(default)]
    pub git_commit: Option<String>,
}

/// One suite's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteReport {
    pub suite: String,
    pub kind: String,
    pub verdict: Verdict,
    pub why: String,
    pub reasons: Vec<Reason>,
    pub warnings: Vec<String>,
    pub baseline: Source,
    pub candidate: Source,
    /// What changed in the loop: that is what the gate is about.
    pub loop_changes: Vec<String>,
    /// The metrics gated on, the trials' outcome first, then required graders. Empty when nothing could be scored.
    pub metrics: Vec<MetricReport>,
    pub limits: Vec<LimitReport>,
    /// pass^k and pass@k of both arms, for reading.
    pub figures: Vec<FigureRow>,
    pub policy: Policy,
    pub policy_hash: String,
    /// Pass rates by judges, raw and corrected, where a rubric judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judges: Vec<JudgeRow>,
    /// Trials of the candidate that failed and left a trace that a regression case can be made of; not all of them when there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<FailedTrial>,
}

/// A failed trial, and where its trace is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTrial {
    pub task: String,
    pub attempt: u32,
    pub trace: TraceId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Why, as a word for machines and a sentence for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    pub kind: ReasonKind,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonKind {
    WithinMargin,
    TaskRegression,
    Drop,
    NotDecided,
    DependsOnInvalid,
    NothingGraded,
    TooManyInvalid,
    InvalidDiffers,
    MissingTrials,
    LimitExceeded,
    LimitUnclear,
    NewStuck,
}

/// One metric's numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// `pass^1`, `pass^4 of grader tool_calls`, `score`.
    pub name: String,
    pub verdict: Verdict,
    pub baseline: f64,
    pub candidate: f64,
    /// Candidate - baseline.
    pub difference: f64,
    /// One-sided bounds of the difference, each at 1 - alpha.
    pub lower: f64,
    pub upper: f64,
    pub margin: f64,
    pub alpha: f64,
    pub estimand: Estimand,
    pub bound: Bound,
    pub tasks: u32,
    pub units: u32,
    /// Valid trials.
    pub baseline_trials: u32,
    pub candidate_trials: u32,
    pub p_pass: f64,
    pub p_regress: f64,
    /// Adjusted for the number of metrics and suites gated together (Holm).
    pub p_regress_adjusted: f64,
    #[serde(default)]
    pub method: Option<PermutationMethod>,
    /// Significantly worse, but by less than the margin.
    pub worse_within_margin: bool,
    pub invalid: InvalidReport,
    pub per_task: Vec<TaskReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_decide: Option<ToDecide>,
}

/// Trials that could not be measured, and what the answer would be had they all failed or all passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InvalidReport {
    pub baseline: u32,
    pub candidate: u32,
    /// Of all trials of both arms.
    pub share: f64,
    #[serde(default)]
    pub all_fail: Option<Scenario>,
    #[serde(default)]
    pub all_pass: Option<Scenario>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    pub difference: f64,
    pub verdict: Verdict,
}

/// One task in both arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    pub task: String,
    pub baseline: Counts,
    pub candidate: Counts,
    /// Fisher, one-sided; `None` for graded scores.
    pub p: Option<f64>,
    /// Holm-adjusted over the tasks: what blocks.
    pub p_holm: Option<f64>,
    /// Benjamini-Hochberg over the tasks: what is listed (at .10).
    pub q: Option<f64>,
    /// Surely worse by itself.
    pub regressed: bool,
    /// Neither reliably passed nor reliably failed in the baseline (between 10 and 90 %).
    pub flaky: bool,
}

/// What would decide it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToDecide {
    /// The smallest margin at which these very data pass.
    pub passing_margin: f64,
    /// Which way it is likely to go if the true difference is the one seen.
    pub toward: Verdict,
    /// More rounds (one block of k trials of every task in both arms) for an 80 % chance of a verdict; for population and group,
    /// more tasks or groups instead. `None` when no reasonable number is enough.
    pub more_rounds: Option<u64>,
    pub more_units: Option<u64>,
}

/// One limit, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitReport {
    /// `latency_s p95`, …
    pub name: String,
    pub baseline: Option<f64>,
    pub candidate: Option<f64>,
    /// The most that is allowed, in the statistic's own unit.
    pub allowed: Option<f64>,
    pub verdict: Verdict,
    pub text: String,
}

/// A figure of both arms side by side; `None` where there are too few trials for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FigureRow {
    pub figure: String,
    pub baseline: Option<Estimate>,
    pub candidate: Option<Estimate>,
}
