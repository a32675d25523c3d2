//! A judge errs: what its verdicts say about the truth once its errors have been measured against people.

use super::exact::binomial_two_sided;
use super::passk::pass_hat_k;
use super::proportion::clopper_pearson;
use super::special::{choose, normal_quantile};
use super::{Counts, Interval, TooFew};

/// A judge's sensitivity and specificity, from human labels.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Calibration {
    /// Items people passed, and how many of them the judge passed.
    pub passes: Counts,
    /// Items people failed, and how many of them the judge failed.
    pub fails: Counts,
}

impl Calibration {
    /// Counts a labelled sample: (human passed, judge passed).
    pub fn count(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut calibration = Calibration { passes: Counts::default(), fails: Counts::default() };
        for (human, judge) in pairs {
            let side = if human { &mut calibration.passes } else { &mut calibration.fails };
            side.n += 1;
            side.c += u32::from(human == judge);
        }
        calibration
    }

    /// Sensitivity with its Clopper-Pearson interval.
    pub fn sensitivity(&self, alpha: f64) -> Result<(f64, Interval), TooFew> {
        share(self.passes, alpha)
    }

    /// Specificity with its Clopper-Pearson interval: the one to gate on, for a lenient judge is the dangerous one.
    pub fn specificity(&self, alpha: f64) -> Result<(f64, Interval), TooFew> {
        share(self.fails, alpha)
    }

    /// The corrected pass rate with Lang and Reiczigel's interval, for a raw rate `p` of `n` judged items (for clustered trials
    /// pass n_eff = p(1-p)/SE²). Refused when the judge cannot be told from a coin: lower bounds of se + sp - 1 at or below .1.
    pub fn correct(&self, p: f64, n: f64, alpha: f64) -> Result<(f64, Interval), Uncorrectable> {
        let (se, se_bounds) = self.sensitivity(alpha)?;
        let (sp, sp_bounds) = self.specificity(alpha)?;
        let least = se_bounds.lower + sp_bounds.lower - 1.0;
        if least <= 0.1 {
            return Err(Uncorrectable::CoinToss { least });
        }
        let rates = Rates { se, sp, m1: f64::from(self.passes.n), m0: f64::from(self.fails.n) };
        let point = rogan_gladen(p, se, sp).ok_or(Uncorrectable::CoinToss { least })?.clamp(0.0, 1.0);
        let interval = lang_reiczigel(p, n, rates, alpha).ok_or(Uncorrectable::CoinToss { least })?;
        Ok((point, interval))
    }
}

/// Why no corrected rate can be given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Uncorrectable {
    #[error(transparent)]
    TooFew(#[from] TooFew),
    #[error(
        "the judge cannot be told from a coin toss: sensitivity + specificity - 1 may be as low as {least:.2} (needed: above 0.10); label more items or use a better judge"
    )]
    CoinToss { least: f64 },
}

fn share(counts: Counts, alpha: f64) -> Result<(f64, Interval), TooFew> {
    let interval = clopper_pearson(counts.c, counts.n, alpha)?;
    Ok((f64::from(counts.c) / f64::from(counts.n), interval))
}

/// (p + sp - 1) / (se + sp - 1) (Rogan and Gladen 1978), unclipped; `None` when the judge is no better than a coin.
pub fn rogan_gladen(p: f64, se: f64, sp: f64) -> Option<f64> {
    let youden = se + sp - 1.0;
    (youden > 0.0).then(|| (p + sp - 1.0) / youden)
}

/// Sensitivity from m1 true passes, specificity from m0 true fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    pub se: f64,
    pub sp: f64,
    pub m1: f64,
    pub m0: f64,
}

/// Lang and Reiczigel's interval (2014, Preventive Veterinary Medicine 113) as used for LLM judges by Lee et al.
/// (arXiv:2511.21140), clipped to `[0,1]`.
pub fn lang_reiczigel(p: f64, n: f64, Rates { se, sp, m1, m0 }: Rates, alpha: f64) -> Option<Interval> {
    let z = normal_quantile(1.0 - alpha / 2.0);
    let p1 = (n * p + z * z / 2.0) / (n + z * z);
    let se1 = (m1 * se + 1.0) / (m1 + 2.0);
    let sp1 = (m0 * sp + 1.0) / (m0 + 2.0);
    let youden = se1 + sp1 - 1.0;
    if youden <= 0.0 {
        return None;
    }
    let theta = (p1 + sp1 - 1.0) / youden;
    let (se_variance, sp_variance) = (se1 * (1.0 - se1) / (m1 + 2.0), sp1 * (1.0 - sp1) / (m0 + 2.0));
    let shift = 2.0 * z * z * (theta * se_variance - (1.0 - theta) * sp_variance);
    let variance = (p1 * (1.0 - p1) / (n + z * z) + (1.0 - theta).powi(2) * sp_variance + theta.powi(2) * se_variance)
        / youden.powi(2);
    let half = z * variance.sqrt();
    Some(Interval { lower: (theta + shift - half).clamp(0.0, 1.0), upper: (theta + shift + half).clamp(0.0, 1.0) })
}

/// The delta-method interval other tools print: covers down to 84 % at nominal 95 %. For comparison only.
pub fn delta_method(p: f64, n: f64, Rates { se, sp, m1, m0 }: Rates, alpha: f64) -> Option<Interval> {
    let theta = rogan_gladen(p, se, sp)?;
    let variance =
        (p * (1.0 - p) / n + (1.0 - theta).powi(2) * sp * (1.0 - sp) / m0 + theta.powi(2) * se * (1.0 - se) / m1)
            / (se + sp - 1.0).powi(2);
    let half = normal_quantile(1.0 - alpha / 2.0) * variance.sqrt();
    Some(Interval { lower: theta - half, upper: theta + half })
}

/// pass^k under judge errors that are independent between trials given the truth: with f = 1-sp and J = se-f,
/// J^-k Σ_i C(k,i) (-f)^(k-i) C(c,i)/C(n,i) is unbiased for p^k (own; checked by exact expectation). A judge that errs per
/// task is over-corrected by it, so it is a sensitivity line, not the estimate; one task's value may leave `[0,1]`.
pub fn corrected_pass_hat_k(counts: Counts, k: u32, se: f64, sp: f64) -> Option<f64> {
    let f = 1.0 - sp;
    let youden = se - f;
    if youden <= 0.0 {
        return None;
    }
    let mut total = 0.0;
    for i in 0..=k {
        let u = if i == 0 { 1.0 } else { pass_hat_k(counts, i)? };
        total += choose(k, i) * (-f).powi((k - i) as i32) * u;
    }
    pass_hat_k(counts, k)?;
    Some(total / youden.powi(k as i32))
}

/// How often the majority of an odd panel is right if its members err independently (Poisson-binomial; ties count as wrong).
pub fn majority_accuracy(accuracies: &[f64]) -> f64 {
    let mut right = vec![1.0];
    for p in accuracies {
        let mut next = vec![0.0; right.len() + 1];
        for (votes, weight) in right.iter().enumerate() {
            next[votes] += weight * (1.0 - p);
            next[votes + 1] += weight * p;
        }
        right = next;
    }
    right[accuracies.len() / 2 + 1..].iter().sum()
}

/// m judges whose errors correlate by rho are worth m / (1 + (m-1) rho) independent ones (Kish's design effect).
pub fn effective_judges(m: u32, rho: f64) -> f64 {
    f64::from(m) / (1.0 + (f64::from(m) - 1.0) * rho)
}

/// Position bias: among pairs judged differently when swapped, does the first place win more than half? Two-sided binomial.
pub fn position_bias(first_won: u32, inconsistent: u32) -> f64 {
    binomial_two_sided(first_won, inconsistent, 0.5)
}

/// Variance of one criterion's score: of the loop (between trials) and of the judge (between repeats on one trial).
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct TwoNoises {
    pub trials: f64,
    pub judge: f64,
}

impl TwoNoises {
    /// One-way random effects by the method of moments (Searle, Casella and McCulloch, Variance Components, 3.6):
    /// `scores[trial]` holds the repeats of the judge on that trial. `None` without a trial judged twice or a second trial.
    pub fn split(scores: &[Vec<f64>]) -> Option<Self> {
        let groups: Vec<&Vec<f64>> = scores.iter().filter(|s| !s.is_empty()).collect();
        let total: usize = groups.iter().map(|g| g.len()).sum();
        let (count, n) = (groups.len() as f64, total as f64);
        if groups.len() < 2 || total <= groups.len() {
            return None;
        }
        let grand = super::basic::mean(&groups.iter().flat_map(|g| g.iter().copied()).collect::<Vec<_>>());
        let (mut within, mut between, mut squares) = (0.0, 0.0, 0.0);
        for group in &groups {
            let (mean, size) = (super::basic::mean(group), group.len() as f64);
            within += group.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            between += size * (mean - grand).powi(2);
            squares += size * size;
        }
        let judge = within / (n - count);
        let usual_size = (n - squares / n) / (count - 1.0);
        Some(TwoNoises { trials: ((between / (count - 1.0) - judge) / usual_size).max(0.0), judge })
    }

    /// Variance of the mean over `trials` trials with `repeats` judgements each.
    pub fn variance_of_mean(self, trials: u32, repeats: u32) -> f64 {
        (self.trials + self.judge / f64::from(repeats.max(1))) / f64::from(trials.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_like_a_coin_is_refused() {
        let coin = Calibration { passes: Counts { n: 30, c: 16 }, fails: Counts { n: 30, c: 15 } };
        assert!(matches!(coin.correct(0.8, 100.0, 0.05), Err(Uncorrectable::CoinToss { .. })));
        let unlabelled = Calibration::count([(true, true)]);
        assert!(matches!(unlabelled.correct(0.8, 100.0, 0.05), Err(Uncorrectable::TooFew(_))));
        let good = Calibration { passes: Counts { n: 60, c: 57 }, fails: Counts { n: 60, c: 54 } };
        let (point, interval) = good.correct(0.8, 300.0, 0.05).unwrap();
        assert!((point - 0.7 / 0.85).abs() < 1e-12 && interval.lower < point && point < interval.upper);
    }

    #[test]
    fn noises_come_apart() {
        // The judge always agrees with itself; trials differ.
        let steady = TwoNoises::split(&[vec![1.0, 1.0], vec![0.0, 0.0], vec![1.0, 1.0]]).unwrap();
        assert!(steady.judge == 0.0 && steady.trials > 0.3);
        // All trials are alike; the judge tosses a coin.
        let coin = TwoNoises::split(&[vec![1.0, 0.0], vec![0.0, 1.0], vec![1.0, 0.0]]).unwrap();
        assert!(coin.trials == 0.0 && coin.judge == 0.5);
        assert_eq!(TwoNoises::split(&[vec![1.0], vec![0.0]]), None);
        assert!(coin.variance_of_mean(10, 4) < coin.variance_of_mean(10, 1));
    }
}
