//! How often a loop passes, and how often it passes again and again: pass@k, pass^k and what lies between.
//!
//! All are unbiased for n >= k and undefined (`None`) below: never 0, never 1, never the plug-in `(c/n)^k`, which is biased up.

use super::special::choose;
use super::{Counts, TooFew};

/// Which per-task figure is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// p^k: all of k trials pass.
    PassHat(u32),
    /// 1 - (1-p)^k: at least one of k trials passes.
    PassAt(u32),
    /// At least `m` of `k` trials pass.
    AtLeast { m: u32, k: u32 },
}

impl Figure {
    /// The trials one value needs.
    pub fn k(self) -> u32 {
        match self {
            Figure::PassHat(k) | Figure::PassAt(k) | Figure::AtLeast { k, .. } => k,
        }
    }

    /// The task's value, `None` when it has fewer than k trials.
    pub fn of(self, counts: Counts) -> Option<f64> {
        match self {
            Figure::PassHat(k) => pass_hat_k(counts, k),
            Figure::PassAt(k) => pass_at_k(counts, k),
            Figure::AtLeast { m, k } => at_least_m_of_k(counts, m, k),
        }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Figure::PassHat(k) => write!(f, "pass^{k}"),
            Figure::PassAt(k) => write!(f, "pass@{k}"),
            Figure::AtLeast { m, k } => write!(f, "at least {m} of {k}"),
        }
    }
}

/// pass^k = C(c,k) / C(n,k) (tau-bench, arXiv:2406.12045), as a product so that no factorial is ever large.
pub fn pass_hat_k(Counts { n, c }: Counts, k: u32) -> Option<f64> {
    defined(n, k)?;
    Some(if c < k { 0.0 } else { (0..k).map(|j| f64::from(c - j) / f64::from(n - j)).product() })
}

/// pass@k = 1 - C(n-c,k) / C(n,k) (Chen et al. 2021, arXiv:2107.03374).
pub fn pass_at_k(Counts { n, c }: Counts, k: u32) -> Option<f64> {
    Some(1.0 - pass_hat_k(Counts { n, c: n - c }, k)?)
}

/// P(at least m of k trials pass): the upper tail of the hypergeometric distribution (Liu et al. 2024, arXiv:2412.13147).
pub fn at_least_m_of_k(Counts { n, c }: Counts, m: u32, k: u32) -> Option<f64> {
    defined(n, k)?;
    if m == 0 {
        return Some(1.0);
    }
    let tail: f64 = super::exact::hypergeometric(n, c, k).filter(|(passes, _)| *passes >= m).map(|(_, p)| p).sum();
    Some(tail.min(1.0))
}

/// G-Pass@k at threshold tau: at least ceil(tau k) of k (arXiv:2412.13147). tau = 1 is pass^k.
pub fn g_pass_at_k(counts: Counts, k: u32, tau: f64) -> Option<f64> {
    // The small slack keeps 0.1 * 30 from becoming 4 of 30.
    let m = (tau * f64::from(k) - 1e-9).ceil().max(1.0) as u32;
    at_least_m_of_k(counts, m, k)
}

/// mG-Pass@k = (2/k) Σ_{i=ceil(k/2)+1..k} G-Pass@k at i/k (arXiv:2412.13147).
pub fn mg_pass_at_k(counts: Counts, k: u32) -> Option<f64> {
    let mut sum = 0.0;
    for i in k.div_ceil(2) + 1..=k {
        sum += at_least_m_of_k(counts, i, k)?;
    }
    defined(counts.n, k)?;
    Some(2.0 / f64::from(k) * sum)
}

fn defined(n: u32, k: u32) -> Option<()> {
    (k >= 1 && n >= k).then_some(())
}

/// Every task's value. When one lacks trials the suite has none: leaving that task out would change what is estimated.
pub fn per_task(counts: &[Counts], figure: Figure) -> Result<Vec<f64>, TooFew> {
    if counts.is_empty() {
        return Err(TooFew::NoTasks);
    }
    let short: Vec<usize> =
        counts.iter().enumerate().filter(|(_, c)| c.n < figure.k().max(1)).map(|(i, _)| i).collect();
    if !short.is_empty() {
        return Err(TooFew::Trials { needed: figure.k(), tasks: short });
    }
    Ok(counts.iter().filter_map(|c| figure.of(*c)).collect())
}

/// The suite's value: the mean over tasks of the task's value, each task weighing the same.
pub fn suite_value(counts: &[Counts], figure: Figure) -> Result<f64, TooFew> {
    let values = per_task(counts, figure)?;
    Ok(super::basic::mean(&values))
}

/// Var(U) of the pass^k estimate when each trial passes with `p` (Hoeffding 1948):
/// Σ_{j=1..k} C(k,j) C(n-k,k-j) / C(n,k) (p^(2k-j) - p^(2k)).
pub fn variance_of_pass_hat_k(n: u32, k: u32, p: f64) -> Option<f64> {
    weighted_overlaps(n, k, |j| p.powi((2 * k - j) as i32) - p.powi(2 * k as i32))
}

/// Σ_{j=1..k} P(two k-subsets of n trials share j) · f(j).
pub fn weighted_overlaps(n: u32, k: u32, f: impl Fn(u32) -> f64) -> Option<f64> {
    defined(n, k)?;
    Some((1..=k).map(|j| choose(k, j) * choose(n - k, k - j) / choose(n, k) * f(j)).sum())
}

/// The unbiased estimate of Var(U) from the trials themselves, for n >= 2k: U² - C(c,2k)/C(n,2k).
pub fn variance_from_trials(counts: Counts, k: u32) -> Option<f64> {
    let u = pass_hat_k(counts, k)?;
    Some(u * u - pass_hat_k(counts, 2 * k)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::exact::binomial;

    #[test]
    fn undefined_is_said_and_names_the_tasks() {
        let counts = [Counts { n: 8, c: 8 }, Counts { n: 3, c: 3 }];
        let error = suite_value(&counts, Figure::PassHat(4)).unwrap_err();
        assert_eq!(error, TooFew::Trials { needed: 4, tasks: vec![1] });
        assert_eq!(suite_value(&[], Figure::PassHat(1)).unwrap_err(), TooFew::NoTasks);
        assert_eq!(pass_hat_k(Counts { n: 8, c: 8 }, 0), None);
        assert_eq!(mg_pass_at_k(Counts { n: 0, c: 0 }, 1), None);
    }

    proptest! {
        #[test]
        fn the_expectation_of_u_is_p_to_the_k(n in 1_u32..14, k in 1_u32..6, p in 0.0_f64..=1.0) {
            prop_assume!(k <= n);
            let expected: f64 = binomial(n, p).map(|(c, w)| w * pass_hat_k(Counts { n, c }, k).unwrap()).sum();
            prop_assert!((expected - p.powi(k as i32)).abs() < 1e-12);
        }

        #[test]
        fn more_must_go_right_the_lower(n in 1_u32..40, c in 0_u32..40, k in 1_u32..12) {
            prop_assume!(c <= n && k <= n);
            let counts = Counts { n, c };
            let (all, one, any) = (pass_hat_k(counts, k).unwrap(), pass_hat_k(counts, 1).unwrap(), pass_at_k(counts, k).unwrap());
            prop_assert!(all <= one + 1e-15 && one <= any + 1e-15);
            let mut last = 1.0;
            for m in 0..=k {
                let now = at_least_m_of_k(counts, m, k).unwrap();
                prop_assert!(now <= last + 1e-12);
                last = now;
            }
            prop_assert!((last - all).abs() < 1e-12);
        }

        #[test]
        fn one_more_pass_never_lowers_pass_hat_k(n in 1_u32..60, c in 0_u32..60, k in 1_u32..12) {
            prop_assume!(c <= n && k <= n);
            let before = pass_hat_k(Counts { n, c }, k).unwrap();
            let after = pass_hat_k(Counts { n: n + 1, c: c + 1 }, k).unwrap();
            prop_assert!(after >= before - 1e-15);
        }
    }
}
