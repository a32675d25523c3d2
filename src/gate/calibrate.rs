//! How often this gate would cry wolf on this suite: the baseline's own trials, split in two halves again and again.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::arm::Arm;
use super::error::GateError;
use super::policy::{Metric, Policy};
use super::score::{Correction, score};
use super::units::{Invalid, Side, What, group_numbers};
use super::verdict::Verdict;
use crate::stats::rng::Rng;
use crate::stats::{Estimand, Interval, proportion};

/// What came out of gating the baseline against itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub splits: u32,
    pub seed: u64,
    pub tasks: u32,
    /// Trials per task in each half, at the least.
    pub trials_per_half: u32,
    /// Shares of the splits. All blocks are false alarms: nothing changed between the halves.
    pub passed: f64,
    pub blocked: f64,
    pub undecided: f64,
    /// What the number of splits alone leaves open of `blocked` (95 %). The splits share their trials, so another baseline may
    /// differ by more.
    pub blocked_interval: Interval,
    pub policy_hash: String,
}

/// Splits every task's valid trials into two random halves `splits` times and gates one against the other. No model is called.
/// The same seed gives the same answer on every machine, whatever the number of threads.
pub fn calibrate(baseline: &Arm, policy: &Policy, splits: u32, seed: u64) -> Result<Calibration, GateError> {
    let names: Vec<String> = baseline.tasks.keys().cloned().collect();
    let graded = policy.metric == Metric::Score;
    let what = if graded { What::Score } else { What::Outcome };
    let values = Side::of(baseline, &what, &names).values(Invalid::LeftOut);
    let groups = match policy.estimand {
        Estimand::Group => group_numbers(&names, &policy.groups).map_err(GateError::NoGroup)?,
        Estimand::Suite | Estimand::Population => Vec::new(),
    };
    let half = values.iter().map(|t| t.len() / 2).min().unwrap_or(0);
    let k = policy.figure().k().max(1) as usize;
    if half < k || splits == 0 {
        return Err(GateError::BadPlan(format!(
            "calibrating needs at least {} valid trials of every task and one split; the task with the fewest has {}",
            2 * k,
            values.iter().map(Vec::len).min().unwrap_or(0)
        )));
    }
    let one = |split: u32| {
        let mut rng = Rng::nth(seed, u64::from(split));
        let (mut left, mut right) = (Vec::with_capacity(values.len()), Vec::with_capacity(values.len()));
        for task in &values {
            let mut shuffled = task.clone();
            rng.shuffle(&mut shuffled);
            // Of an odd number one trial is left out, so that the halves are alike.
            let n = shuffled.len() / 2;
            right.push(shuffled[n..2 * n].to_vec());
            shuffled.truncate(n);
            left.push(shuffled);
        }
        score(&left, &right, policy, &groups, graded).map(|s| s.verdict(policy, Correction::NONE))
    };
    let verdicts: Vec<Verdict> = (0..splits).into_par_iter().filter_map(|split| one(split).ok()).collect();
    let count = |wanted: Verdict| u32::try_from(verdicts.iter().filter(|v| **v == wanted).count()).unwrap_or(u32::MAX);
    let share = |wanted| f64::from(count(wanted)) / f64::from(splits);
    let blocked_interval = proportion::clopper_pearson(count(Verdict::Regress), splits, 0.05)
        .map_err(|e| GateError::BadPlan(e.to_string()))?;
    Ok(Calibration {
        splits,
        seed,
        tasks: super::figures::count(names.len()),
        trials_per_half: super::figures::count(half),
        passed: share(Verdict::Pass),
        blocked: share(Verdict::Regress),
        undecided: share(Verdict::Undecided),
        blocked_interval,
        policy_hash: policy.hash(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::numbered;
    use super::*;

    #[test]
    fn a_gate_that_holds_its_promise_and_repeats_itself() {
        let mut rng = Rng::new(3);
        let trials: Vec<String> = (0..20)
            .map(|_| {
                let p = rng.beta(8.0, 2.0);
                (0..16).map(|_| if rng.chance(p) { 'p' } else { 'f' }).collect()
            })
            .collect();
        let base = numbered("b", &trials);
        let policy = Policy { margin: 0.1, ..Policy::for_kind("regression") };
        let first = calibrate(&base, &policy, 200, 9).unwrap();
        assert_eq!(first, calibrate(&base, &policy, 200, 9).unwrap());
        assert!(first.blocked <= 0.1 && first.passed > 0.4, "{first:?}");
        assert!((first.passed + first.blocked + first.undecided - 1.0).abs() < 1e-12);
        assert_ne!(first, calibrate(&base, &policy, 200, 10).unwrap());
    }

    #[test]
    fn too_few_trials_to_split_are_refused() {
        let base = numbered("b", &["pppp".into(), "p".into()]);
        let error = calibrate(&base, &Policy::for_kind("regression"), 10, 1).unwrap_err().to_string();
        assert!(error.contains("at least 2") && error.contains("has 1"), "{error}");
    }
}
