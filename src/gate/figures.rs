//! What one arm measured, for reading: pass^k and pass@k with intervals.

use super::arm::Arm;
use super::units::{Invalid, Side, What, blocks, counts, task_values};
use crate::stats::betabinomial::Difficulty;
use crate::stats::betting::confidence_sequence;
use crate::stats::gaffke::Bounded;
use crate::stats::passk::Figure;
use crate::stats::{Bound, Counts, Estimand, Estimate, TooFew, basic};

/// How figures are to be computed.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    pub figure: Figure,
    pub estimand: Estimand,
    /// Group number of each task in the order of the names, for the estimand `group`.
    pub groups: &'a [usize],
    pub bound: Bound,
    /// Two-sided: 0.05 for 95 %.
    pub alpha: f64,
}

/// One figure of one arm, with its interval. The tasks lacking trials are in the error.
pub fn measure(arm: &Arm, what: &What, how: Measured<'_>) -> Result<Estimate, TooFew> {
    let names: Vec<String> = arm.tasks.keys().cloned().collect();
    let side = Side::of(arm, what, &names);
    let valid = side.values(Invalid::LeftOut);
    let per_task = task_values(&valid, how.figure)?;
    let (units, value) = match how.estimand {
        Estimand::Suite => (blocks(&valid, how.figure)?, basic::mean(&per_task)),
        Estimand::Population => (per_task.clone(), basic::mean(&per_task)),
        Estimand::Group => {
            let means = basic::group_means(&per_task, how.groups);
            let value = basic::mean(&means);
            (means, value)
        }
    };
    let bounded = Bounded::unit(&units).map_err(|_| TooFew::NoTasks)?;
    let interval = match how.bound {
        Bound::Gaffke => bounded.interval(how.alpha),
        Bound::Betting => confidence_sequence(&bounded, 0.0, 1.0, how.alpha / 2.0),
    };
    let instead = |invalid| task_values(&side.values(invalid), how.figure).map(|v| basic::mean(&v));
    let (trials, invalid) = side.invalid();
    Ok(Estimate {
        figure: how.figure.to_string(),
        value,
        interval,
        level: 1.0 - how.alpha,
        estimand: how.estimand,
        bound: how.bound,
        tasks: count(valid.len()),
        trials: trials - invalid,
        units: count(units.len()),
        invalid,
        copies: arm.tasks.values().map(|t| t.copies).sum(),
        if_invalid_fail: instead(Invalid::Fail)?,
        if_invalid_pass: instead(Invalid::Pass)?,
    })
}

/// pass^k for a k beyond the trials there are, from a beta-binomial fit: to be labelled as extrapolated, and never gated on.
pub fn extrapolated(arm: &Arm, k: u32) -> Result<f64, TooFew> {
    Difficulty::extrapolate(&valid_counts(arm), k)
}

/// Valid trials and passes per task.
pub fn valid_counts(arm: &Arm) -> Vec<Counts> {
    let names: Vec<String> = arm.tasks.keys().cloned().collect();
    Side::of(arm, &What::Outcome, &names).values(Invalid::LeftOut).iter().map(|t| counts(t)).collect()
}

/// The figures worth showing for an arm with `most` trials per task: k = 1, 2, 4, 8, … and the gated one.
pub fn worth_showing(most: u32, gated: Figure) -> Vec<Figure> {
    let mut figures: Vec<Figure> = std::iter::successors(Some(1_u32), |k| k.checked_mul(2))
        .take_while(|k| *k <= most.max(1))
        .map(Figure::PassHat)
        .collect();
    if most >= 2 {
        figures.push(Figure::PassAt(1 << most.ilog2()));
    }
    if !figures.contains(&gated) {
        figures.push(gated);
    }
    figures
}

pub fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
