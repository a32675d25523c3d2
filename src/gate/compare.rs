//! Two or more arms side by side: per task, per grader, what flipped beyond noise, what is flaky, what moved cost and time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::arm::Arm;
use super::checks::loop_changes;
use super::figures::{Measured, measure};
use super::judges::JudgeRow;
use super::limits::{Reading, cost, latency, readings, tokens};
use super::units::{Invalid, Side, What, counts};
use super::verdict::Source;
use crate::stats::basic::{quantile, quantile_bounds};
use crate::stats::exact::{Stratum, fisher_two_sided, permutation_worse};
use crate::stats::multiple::benjamini_hochberg;
use crate::stats::passk::Figure;
use crate::stats::{Bound, Counts, Estimand, Estimate, Interval};

/// False flips among the flips listed, at most this share.
const Q: f64 = 0.10;

/// What a task is like in one arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Passes nearly always (90 % or more).
    Reliable,
    /// Now this, now that.
    Flaky,
    /// Passes hardly ever (10 % or less).
    Broken,
    NotMeasured,
}

impl Standing {
    fn of(counts: Counts) -> Self {
        let rate = f64::from(counts.c) / f64::from(counts.n);
        match counts.n {
            0 => Standing::NotMeasured,
            _ if rate >= 0.9 => Standing::Reliable,
            _ if rate <= 0.1 => Standing::Broken,
            _ => Standing::Flaky,
        }
    }
}

/// The first arm against each of the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub first: Source,
    pub first_rate: Option<Estimate>,
    pub others: Vec<Pair>,
}

/// One other arm against the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    pub other: Source,
    pub other_rate: Option<Estimate>,
    /// What of the measurement differs: figures of different measurements are shown, and not to be trusted as a comparison.
    pub measurement_changes: Vec<String>,
    pub loop_changes: Vec<String>,
    pub tasks: Vec<TaskMove>,
    pub graders: Vec<GraderMove>,
    pub moved: Vec<Moved>,
    /// Tasks only one of the arms has.
    pub only_first: Vec<String>,
    pub only_other: Vec<String>,
    /// Pass rates by judges, raw and corrected, where a rubric judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judges: Vec<JudgeRow>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskMove {
    pub task: String,
    pub first: Counts,
    pub other: Counts,
    pub first_standing: Standing,
    pub other_standing: Standing,
    /// Fisher, two-sided, and adjusted by Benjamini and Hochberg over the tasks.
    pub p: f64,
    pub q: f64,
    /// Whether the difference exceeds noise (q at most .10).
    pub real: bool,
}

/// One grader over all tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GraderMove {
    pub grader: String,
    pub first: Counts,
    pub other: Counts,
    /// Stratified by task, two-sided (twice the smaller tail), and adjusted over the graders.
    pub p: f64,
    pub q: f64,
    pub real: bool,
}

/// How a quantity of a trial moved, at the median.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// `cost_usd`, `latency_s`, `tokens`.
    pub what: String,
    pub first: f64,
    pub other: f64,
    pub first_p95: f64,
    pub other_p95: f64,
    /// other / first at the median, with bounds of at least 95 % from order statistics.
    pub ratio: Option<f64>,
    pub ratio_bounds: Option<Interval>,
    /// Trials without a reading.
    pub unknown: u32,
}

/// Compares the first arm with each of the others. Tasks are matched by name.
pub fn compare(first: &Arm, others: &[&Arm]) -> Comparison {
    Comparison {
        first: source(first),
        first_rate: rate(first),
        others: others.iter().map(|other| pair(first, other)).collect(),
    }
}

fn source(arm: &Arm) -> Source {
    Source {
        run: arm.run.clone(),
        variant: arm.variant.clone(),
        model: arm.model.clone(),
        started: arm.started,
        git_commit: arm.git_commit.clone(),
    }
}

fn rate(arm: &Arm) -> Option<Estimate> {
    let how = Measured {
        figure: Figure::PassHat(1),
        estimand: Estimand::Suite,
        groups: &[],
        bound: Bound::Gaffke,
        alpha: 0.05,
    };
    measure(arm, &What::Outcome, how).ok()
}

fn pair(first: &Arm, other: &Arm) -> Pair {
    let (a, b): (BTreeSet<&String>, BTreeSet<&String>) = (first.tasks.keys().collect(), other.tasks.keys().collect());
    let shared: Vec<String> = a.intersection(&b).map(|t| (*t).clone()).collect();
    let only = |x: &BTreeSet<&String>, y: &BTreeSet<&String>| x.difference(y).map(|t| (*t).clone()).collect();
    let strata = |what: &What| -> Vec<Stratum> {
        let values = |arm| Side::of(arm, what, &shared).values(Invalid::LeftOut);
        let pairs = values(first).into_iter().zip(values(other));
        pairs.map(|(b, c)| Stratum { baseline: counts(&b), candidate: counts(&c) }).collect()
    };
    let measured = first.diff(other).into_iter().filter(|c| c.what.starts_with("measurement: "));
    Pair {
        other: source(other),
        other_rate: rate(other),
        measurement_changes: measured.map(|c| c.what["measurement: ".len()..].to_owned()).collect(),
        loop_changes: loop_changes(first, other),
        tasks: task_moves(&shared, &strata(&What::Outcome)),
        graders: grader_moves(first, other, strata),
        moved: [("cost_usd", cost as Reading), ("latency_s", latency), ("tokens", tokens)]
            .into_iter()
            .filter_map(|(what, read)| moved(what, readings(first, read), readings(other, read)))
            .collect(),
        only_first: only(&a, &b),
        only_other: only(&b, &a),
        judges: Vec::new(),
    }
}

fn task_moves(names: &[String], strata: &[Stratum]) -> Vec<TaskMove> {
    let p: Vec<f64> = strata.iter().map(|s| fisher_two_sided(s.baseline, s.candidate)).collect();
    let q = benjamini_hochberg(&p);
    let one = |(i, name): (usize, &String)| TaskMove {
        task: name.clone(),
        first: strata[i].baseline,
        other: strata[i].candidate,
        first_standing: Standing::of(strata[i].baseline),
        other_standing: Standing::of(strata[i].candidate),
        p: p[i],
        q: q[i],
        real: q[i] <= Q,
    };
    names.iter().enumerate().map(one).collect()
}

fn grader_moves(first: &Arm, other: &Arm, strata: impl Fn(&What) -> Vec<Stratum>) -> Vec<GraderMove> {
    let labels: BTreeSet<&str> = first.graders().intersection(&other.graders()).copied().collect();
    let mut found: BTreeMap<&str, (Counts, Counts, f64)> = BTreeMap::new();
    for label in labels {
        let tasks: Vec<Stratum> = strata(&What::Grader(label.to_owned()))
            .into_iter()
            .filter(|s| s.baseline.n > 0 && s.candidate.n > 0)
            .collect();
        let swapped: Vec<Stratum> =
            tasks.iter().map(|s| Stratum { baseline: s.candidate, candidate: s.baseline }).collect();
        let tail = |tasks: &[Stratum]| permutation_worse(tasks, Figure::PassHat(1)).map(|(p, _)| p);
        if let (Ok(worse), Ok(better)) = (tail(&tasks), tail(&swapped)) {
            let sum = |pick: fn(&Stratum) -> Counts| {
                tasks.iter().map(pick).fold(Counts::default(), |a, b| Counts { n: a.n + b.n, c: a.c + b.c })
            };
            found.insert(label, (sum(|s| s.baseline), sum(|s| s.candidate), (2.0 * worse.min(better)).min(1.0)));
        }
    }
    let q = benjamini_hochberg(&found.values().map(|f| f.2).collect::<Vec<_>>());
    let one = |((grader, (first, other, p)), q): ((&str, (Counts, Counts, f64)), f64)| GraderMove {
        grader: grader.to_owned(),
        first,
        other,
        p,
        q,
        real: q <= Q,
    };
    found.into_iter().zip(q).map(one).collect()
}

fn moved(what: &str, first: (Vec<f64>, usize), other: (Vec<f64>, usize)) -> Option<Moved> {
    let median = |v: &[f64]| quantile(v, 0.5);
    let (a, b) = (median(&first.0)?, median(&other.0)?);
    // Two one-sided bounds per arm, each at 1.25 %: together 95 % for the ratio (Bonferroni).
    let bounds = |v: &[f64]| quantile_bounds(v, 0.5, 0.0125);
    let ratio_bounds = match (bounds(&first.0), bounds(&other.0)) {
        ((Some(low), Some(high)), (Some(l), Some(h))) if low > 0.0 => {
            Some(Interval { lower: l / high, upper: h / low })
        }
        _ => None,
    };
    Some(Moved {
        what: what.to_owned(),
        first: a,
        other: b,
        first_p95: quantile(&first.0, 0.95)?,
        other_p95: quantile(&other.0, 0.95)?,
        ratio: (a > 0.0).then(|| b / a),
        ratio_bounds,
        unknown: super::figures::count(first.1 + other.1),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{arm, run};
    use super::*;

    #[test]
    fn flips_are_told_from_noise_and_flaky_from_broken() {
        let first = arm("a", &[("broken", "pppppppp"), ("flaky", "pfpfpfpf"), ("same", "pppppppp"), ("gone", "pp")]);
        let other = arm("b", &[("broken", "ffffffff"), ("flaky", "pfpfpfff"), ("same", "pppppppf"), ("new", "pp")]);
        let comparison = compare(&first, &[&other]);
        let pair = &comparison.others[0];
        let standing: Vec<_> = pair.tasks.iter().map(|t| (t.task.as_str(), t.other_standing, t.real)).collect();
        assert_eq!(
            standing,
            [("broken", Standing::Broken, true), ("flaky", Standing::Flaky, false), ("same", Standing::Flaky, false)]
        );
        assert_eq!(
            (pair.only_first.as_slice(), pair.only_other.as_slice()),
            (&["gone".to_owned()][..], &["new".to_owned()][..])
        );
        assert!(pair.graders[0].real && pair.graders[0].p < 0.01, "{:?}", pair.graders);
    }

    #[test]
    fn cost_and_time_that_moved() {
        let first = run("a", &[("a", "pppppppppppppppppppp")]);
        let mut slow = first.clone();
        slow.trials.iter_mut().for_each(|t| t.duration_us *= 3);
        slow.trials[0].cost_usd = None;
        slow.fingerprints.judge = "other".into();
        let arms = [Arm::from_run(&first, None).unwrap(), Arm::from_run(&slow, None).unwrap()];
        let pair = &compare(&arms[0], &[&arms[1]]).others[0];
        let time = pair.moved.iter().find(|m| m.what == "latency_s").unwrap();
        assert_eq!(time.ratio, Some(3.0));
        assert!(time.ratio_bounds.unwrap().lower > 1.0);
        assert_eq!(pair.moved[0].unknown, 1);
        assert_eq!(pair.measurement_changes, ["judge"]);
    }
}
