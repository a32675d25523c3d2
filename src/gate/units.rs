//! From trials to units: the differences a bound is computed from.

use std::collections::BTreeMap;

use super::arm::Arm;
use crate::stats::passk::Figure;
use crate::stats::{Counts, Estimand, TooFew, basic};
use crate::trial::Outcome;

/// Which of a trial's results is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The trial's outcome.
    Outcome,
    /// What one grader said.
    Grader(String),
    /// The trial's score.
    Score,
}

/// One arm's trials as numbers: per task, in the order of the tasks' names, `None` where a trial was not measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    pub tasks: Vec<Vec<Option<f64>>>,
}

/// What an invalid trial counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    LeftOut,
    Fail,
    Pass,
}

impl Side {
    /// The arm's values of `names`, which may lack in it.
    pub fn of(arm: &Arm, what: &What, names: &[String]) -> Side {
        let one = |name: &String| {
            let Some(task) = arm.tasks.get(name) else { return Vec::new() };
            let read = |outcomes: &[Outcome]| {
                let value = |o: &Outcome| match o {
                    Outcome::Pass => Some(1.0),
                    Outcome::Fail => Some(0.0),
                    Outcome::Invalid => None,
                };
                outcomes.iter().map(value).collect::<Vec<_>>()
            };
            match what {
                What::Outcome => read(&task.outcomes.0),
                What::Score => task.scores.clone(),
                What::Grader(label) => task.graders.get(label).map(|g| read(&g.0)).unwrap_or_default(),
            }
        };
        Side { tasks: names.iter().map(one).collect() }
    }

    /// Trials and how many of them are invalid.
    pub fn invalid(&self) -> (u32, u32) {
        let all = self.tasks.iter().flatten();
        all.fold((0, 0), |(n, invalid), v| (n + 1, invalid + u32::from(v.is_none())))
    }

    /// The numbers, with invalid trials counted as told.
    pub fn values(&self, invalid: Invalid) -> Vec<Vec<f64>> {
        let number = |v: &Option<f64>| match invalid {
            Invalid::LeftOut => *v,
            Invalid::Fail => Some(v.unwrap_or(0.0)),
            Invalid::Pass => Some(v.unwrap_or(1.0)),
        };
        self.tasks.iter().map(|t| t.iter().filter_map(number).collect()).collect()
    }
}

/// Passes among 0/1 values.
pub fn counts(values: &[f64]) -> Counts {
    let n = u32::try_from(values.len()).unwrap_or(u32::MAX);
    Counts { n, c: values.iter().map(|v| u32::from(*v >= 0.5)).sum() }
}

/// A task's (or a block's) value. For k = 1 that is the mean, which graded scores have as well.
pub fn value(values: &[f64], figure: Figure) -> Option<f64> {
    if figure.k() == 1 && figure != (Figure::AtLeast { m: 0, k: 1 }) {
        return (!values.is_empty()).then(|| basic::mean(values));
    }
    figure.of(counts(values))
}

/// Values of every task in turn; says which tasks lack trials.
pub fn task_values(tasks: &[Vec<f64>], figure: Figure) -> Result<Vec<f64>, TooFew> {
    enough(tasks.iter().map(Vec::len), figure)?;
    Ok(tasks.iter().filter_map(|t| value(t, figure)).collect())
}

fn enough(lengths: impl Iterator<Item = usize>, figure: Figure) -> Result<usize, TooFew> {
    let lengths: Vec<usize> = lengths.collect();
    let needed = figure.k().max(1) as usize;
    let short: Vec<usize> = lengths.iter().enumerate().filter(|(_, n)| **n < needed).map(|(i, _)| i).collect();
    if !short.is_empty() {
        return Err(TooFew::Trials { needed: figure.k(), tasks: short });
    }
    Ok(lengths.into_iter().min().ok_or(TooFew::NoTasks)? / needed)
}

/// Chunk `j` of `m`: the trials whose place leaves the remainder j, so that all trials are used whatever their number.
fn chunk(values: &[f64], m: usize, j: usize) -> Vec<f64> {
    values.iter().skip(j).step_by(m).copied().collect()
}

/// Blocks of a single arm, for its own interval.
pub fn blocks(tasks: &[Vec<f64>], figure: Figure) -> Result<Vec<f64>, TooFew> {
    let m = enough(tasks.iter().map(Vec::len), figure)?;
    Ok(tasks.iter().flat_map(|t| (0..m).filter_map(move |j| value(&chunk(t, m, j), figure))).collect())
}

/// What a comparison is computed from.
#[derive(Debug, Clone, Copy)]
pub struct Pairing<'a> {
    pub figure: Figure,
    pub estimand: Estimand,
    /// Group number per task, for the estimand `group`.
    pub groups: &'a [usize],
}

/// Differences candidate - baseline, one per unit: blocks of k trials (suite), tasks (population) or groups.
pub fn differences(baseline: &[Vec<f64>], candidate: &[Vec<f64>], how: Pairing<'_>) -> Result<Vec<f64>, TooFew> {
    let shorter = baseline.iter().zip(candidate).map(|(b, c)| b.len().min(c.len()));
    let m = enough(shorter, how.figure)?;
    let pairs = baseline.iter().zip(candidate);
    if how.estimand == Estimand::Suite {
        let block = |b: &[f64], c: &[f64], j: usize| {
            Some(value(&chunk(c, m, j), how.figure)? - value(&chunk(b, m, j), how.figure)?)
        };
        return Ok(pairs.flat_map(|(b, c)| (0..m).filter_map(move |j| block(b, c, j))).collect());
    }
    let per_task: Vec<f64> = pairs.filter_map(|(b, c)| Some(value(c, how.figure)? - value(b, how.figure)?)).collect();
    Ok(match how.estimand {
        Estimand::Group => basic::group_means(&per_task, how.groups),
        Estimand::Suite | Estimand::Population => per_task,
    })
}

/// Numbers for the groups of `names`; the error lists tasks without one.
pub fn group_numbers(names: &[String], groups: &BTreeMap<String, String>) -> Result<Vec<usize>, Vec<String>> {
    let missing: Vec<String> = names.iter().filter(|n| !groups.contains_key(*n)).cloned().collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let mut labels: Vec<&String> = names.iter().map(|n| &groups[n]).collect();
    labels.sort();
    labels.dedup();
    Ok(names.iter().map(|n| labels.binary_search(&&groups[n]).unwrap_or(0)).collect())
}
