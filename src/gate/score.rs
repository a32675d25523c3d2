//! The numbers of one comparison, and what they mean: section "decision" of the statistics, and nothing else.

use super::policy::{OnFinding, Policy};
use super::units::{Pairing, counts, differences, task_values};
use super::verdict::Verdict;
use crate::stats::betting::{confidence_sequence, log_e_above};
use crate::stats::exact::{PermutationMethod, Stratum, fisher_worse, permutation_worse};
use crate::stats::gaffke::Bounded;
use crate::stats::{Bound, Interval, TooFew, basic, multiple};

/// p-values and estimates of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    pub baseline: f64,
    pub candidate: f64,
    /// Candidate - baseline: the mean over tasks of the difference of the unbiased per-task values.
    pub difference: f64,
    pub units: Bounded,
    pub p_pass: f64,
    pub p_regress: f64,
    /// `None` for graded scores, where Gaffke's mirrored test stands in.
    pub method: Option<PermutationMethod>,
    /// Per task: Fisher's p that the candidate is worse. Empty for graded scores.
    pub task_p: Vec<f64>,
    /// The same, Holm-adjusted over the tasks.
    pub task_holm: Vec<f64>,
}

/// Scores two arms' valid trials, task by task in the same order.
pub fn score(
    baseline: &[Vec<f64>],
    candidate: &[Vec<f64>],
    policy: &Policy,
    groups: &[usize],
    graded: bool,
) -> Result<Scored, TooFew> {
    let figure = policy.figure();
    let how = Pairing { figure, estimand: policy.estimand, groups };
    let differences = differences(baseline, candidate, how)?;
    let units = Bounded::difference(&differences).map_err(|_| TooFew::NoTasks)?;
    let (before, after) = (task_values(baseline, figure)?, task_values(candidate, figure)?);
    let (before, after) = (basic::mean(&before), basic::mean(&after));
    let p_pass = match policy.bound {
        Bound::Gaffke => units.p_at_most(-policy.margin),
        // 1/E is a p-value (Markov's inequality).
        Bound::Betting => (-log_e_above(&units, -1.0, -policy.margin)).exp().min(1.0),
    };
    let strata: Vec<Stratum> =
        baseline.iter().zip(candidate).map(|(b, c)| Stratum { baseline: counts(b), candidate: counts(c) }).collect();
    let (p_regress, method, task_p) = if graded {
        (units.p_at_least(0.0), None, Vec::new())
    } else {
        let (p, method) = permutation_worse(&strata, figure)?;
        (p, Some(method), strata.iter().map(|s| fisher_worse(s.baseline, s.candidate)).collect())
    };
    let task_holm = multiple::holm(&task_p);
    Ok(Scored {
        baseline: before,
        candidate: after,
        difference: after - before,
        units,
        p_pass,
        p_regress,
        method,
        task_p,
        task_holm,
    })
}

/// How many questions are asked at once: factors on the two p-values that can block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction {
    pub regress: f64,
    pub task: f64,
}

impl Correction {
    pub const NONE: Correction = Correction { regress: 1.0, task: 1.0 };
}

impl Scored {
    /// The bounds, each one-sided at 1 - alpha.
    pub fn bounds(&self, policy: &Policy) -> Interval {
        match policy.bound {
            Bound::Gaffke => Interval { lower: self.units.lower(policy.alpha), upper: self.units.upper(policy.alpha) },
            Bound::Betting => confidence_sequence(&self.units, -1.0, 1.0, policy.alpha),
        }
    }

    /// The smallest adjusted p of any one task.
    pub fn least_task_p(&self) -> f64 {
        self.task_holm.iter().copied().fold(1.0, f64::min)
    }

    /// Places of the tasks that regressed by themselves.
    pub fn broken_tasks(&self, policy: &Policy, correction: Correction) -> Vec<usize> {
        let significant = |p: f64| p * correction.task <= policy.alpha_task;
        (0..self.task_holm.len()).filter(|i| significant(self.task_holm[*i])).collect()
    }

    /// The decision order: a broken task, then non-inferiority, then a drop, else undecided.
    pub fn verdict(&self, policy: &Policy, correction: Correction) -> Verdict {
        let broken = self.least_task_p() * correction.task <= policy.alpha_task;
        if broken && policy.task_regressions == OnFinding::Fail {
            Verdict::Regress
        } else if self.p_pass <= policy.alpha {
            Verdict::Pass
        } else if self.p_regress * correction.regress <= policy.alpha {
            Verdict::Regress
        } else {
            Verdict::Undecided
        }
    }
}
