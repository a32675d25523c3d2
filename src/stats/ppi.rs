//! Prediction-powered inference: a few human labels and many judge labels, with no assumption about how the judge errs.

use super::basic::{mean, variance};
use super::gaffke::Bounded;
use super::special::normal_quantile;
use super::{BadValue, Interval};

/// Task values from people and judge on the labelled tasks, and from the judge alone on the others.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    pub human: &'a [f64],
    pub judge: &'a [f64],
    pub judge_only: &'a [f64],
}

/// Why no estimate can be given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unfit {
    #[error("{human} human and {judge} judge values were given for the same labelled tasks")]
    Unpaired { human: usize, judge: usize },
    #[error("at least two labelled tasks and one other task are needed")]
    TooFew,
    #[error(transparent)]
    Value(#[from] BadValue),
}

/// An estimate with the parts it is made of.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Powered {
    pub point: f64,
    pub interval: Interval,
    /// How far the judge is trusted: 0 is people only, 1 is the judge with a correction.
    pub lambda: f64,
    /// Bounds of mean(human - lambda judge) and of the judge's mean (MOVER-Gaffke only).
    pub rectifier: Option<Interval>,
    pub judge: Option<Interval>,
}

impl Sample<'_> {
    fn check(&self) -> Result<(), Unfit> {
        if self.human.len() != self.judge.len() {
            return Err(Unfit::Unpaired { human: self.human.len(), judge: self.judge.len() });
        }
        if self.human.len() < 2 || self.judge_only.is_empty() {
            return Err(Unfit::TooFew);
        }
        Ok(())
    }

    /// cov(h,f) / ((1 + n/N) var(f)), clipped to `[0,1]` (PPI++, arXiv:2311.01453), the variance over all judge values.
    pub fn best_lambda(&self) -> Result<f64, Unfit> {
        self.check()?;
        let (n, others) = (self.human.len() as f64, self.judge_only.len() as f64);
        let (mh, mf) = (mean(self.human), mean(self.judge));
        let covariance = self.human.iter().zip(self.judge).map(|(h, f)| (h - mh) * (f - mf)).sum::<f64>() / n;
        let pooled: Vec<f64> = self.judge.iter().chain(self.judge_only).copied().collect();
        let spread = variance(&pooled, 1).unwrap_or(0.0);
        // A judge that says the same about everything teaches nothing.
        Ok(if spread > 0.0 { (covariance / ((1.0 + n / others) * spread)).clamp(0.0, 1.0) } else { 0.0 })
    }

    fn rectifier(&self, lambda: f64) -> Vec<f64> {
        self.human.iter().zip(self.judge).map(|(h, f)| h - lambda * f).collect()
    }

    /// PPI++ with the usual z interval (variances with n in the denominator, as ppi-python does). Covers down to 77 % on small
    /// samples: for comparison with other tools; `mover_gaffke` is ours.
    pub fn z_interval(&self, lambda: Option<f64>, alpha: f64) -> Result<Powered, Unfit> {
        self.check()?;
        let lambda = match lambda {
            Some(lambda) => lambda,
            None => self.best_lambda()?,
        };
        let rectifier = self.rectifier(lambda);
        let point = lambda * mean(self.judge_only) + mean(&rectifier);
        let spread = |v: &[f64]| variance(v, 0).unwrap_or(0.0) / v.len() as f64;
        let error = (lambda * lambda * spread(self.judge_only) + spread(&rectifier)).sqrt();
        let half = normal_quantile(1.0 - alpha / 2.0) * error;
        let interval = Interval { lower: point - half, upper: point + half };
        Ok(Powered { point, interval, lambda, rectifier: None, judge: None })
    }

    /// The interval that holds on small samples: Gaffke's intervals of rectifier and judge mean, combined by MOVER
    /// (Zou and Donner 2008): L = θ - √((r - r_l)² + λ²(m - m_l)²), U likewise, clipped to `[0,1]`. λ is rounded to .01.
    pub fn mover_gaffke(&self, lambda: Option<f64>, alpha: f64) -> Result<Powered, Unfit> {
        self.check()?;
        let lambda = match lambda {
            Some(lambda) => lambda,
            None => (self.best_lambda()? * 100.0).round() / 100.0,
        };
        let rectifier = Bounded::new(&self.rectifier(lambda), -lambda, 1.0)?;
        let judge = Bounded::unit(self.judge_only)?;
        let (r, m) = (rectifier.mean(), judge.mean());
        let (rs, ms) = (rectifier.interval(alpha), judge.interval(alpha));
        let point = lambda * m + r;
        let down = ((r - rs.lower).powi(2) + (lambda * (m - ms.lower)).powi(2)).sqrt();
        let up = ((rs.upper - r).powi(2) + (lambda * (ms.upper - m)).powi(2)).sqrt();
        let interval = Interval { lower: (point - down).max(0.0), upper: (point + up).min(1.0) };
        Ok(Powered { point, interval, lambda, rectifier: Some(rs), judge: Some(ms) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_do_not_fit_are_refused() {
        let short = Sample { human: &[1.0], judge: &[1.0, 0.0], judge_only: &[1.0] };
        assert_eq!(short.best_lambda(), Err(Unfit::Unpaired { human: 1, judge: 2 }));
        let alone = Sample { human: &[1.0, 0.0], judge: &[1.0, 0.0], judge_only: &[] };
        assert_eq!(alone.mover_gaffke(None, 0.05).unwrap_err(), Unfit::TooFew);
    }

    #[test]
    fn a_judge_that_never_varies_is_not_used() {
        let flat = Sample { human: &[1.0, 0.0, 1.0, 1.0], judge: &[1.0; 4], judge_only: &[1.0; 20] };
        let powered = flat.mover_gaffke(None, 0.05).unwrap();
        assert_eq!((powered.lambda, powered.point), (0.0, 0.75));
    }
}
