//! Difficulty as a Beta distribution over tasks: for planning, and for looking beyond the trials there are. Never for a gate.

use super::passk::weighted_overlaps;
use super::special::ln_beta;
use super::{Counts, TooFew};

/// A fitted Beta distribution of pass rates over tasks.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Difficulty {
    pub alpha: f64,
    pub beta: f64,
}

impl Difficulty {
    pub fn mean(self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    /// E[p^k] = Π_{i<k} (a+i) / (a+b+i).
    pub fn pass_hat_k(self, k: u32) -> f64 {
        (0..k).map(|i| (self.alpha + f64::from(i)) / (self.alpha + self.beta + f64::from(i))).product()
    }

    /// E[Var(U)] of the pass^k estimate from n trials: Hoeffding's variance averaged over the Beta.
    pub fn within_variance(self, n: u32, k: u32) -> Option<f64> {
        let whole = self.pass_hat_k(2 * k);
        weighted_overlaps(n, k, |j| self.pass_hat_k(2 * k - j) - whole)
    }

    /// E[p^k (1 - p^k)]: the variance of one block of k trials, averaged over the Beta.
    pub fn block_variance(self, k: u32) -> f64 {
        self.pass_hat_k(k) - self.pass_hat_k(2 * k)
    }

    /// ln likelihood of the counts, without the binomial coefficients.
    pub fn log_likelihood(self, counts: &[Counts]) -> f64 {
        let constant = ln_beta(self.alpha, self.beta);
        counts.iter().map(|t| ln_beta(self.alpha + f64::from(t.c), self.beta + f64::from(t.n - t.c)) - constant).sum()
    }

    /// Maximum likelihood by Nelder and Mead's simplex (1965) in (ln a, ln b), which stays within e^±8: where every task looks
    /// alike the likelihood has no maximum, and the edge says so by a very large a + b.
    pub fn fit(counts: &[Counts]) -> Result<Self, TooFew> {
        let counts: Vec<Counts> = counts.iter().copied().filter(|t| t.n > 0).collect();
        if counts.is_empty() {
            return Err(TooFew::NoTasks);
        }
        let at = |[x, y]: [f64; 2]| Difficulty { alpha: x.clamp(-8.0, 8.0).exp(), beta: y.clamp(-8.0, 8.0).exp() };
        let cost = |point: [f64; 2]| -at(point).log_likelihood(&counts);
        let (passes, trials) = counts.iter().fold((0.5, 1.0), |(c, n), t| (c + f64::from(t.c), n + f64::from(t.n)));
        let start = [(2.0 * passes / trials).ln(), (2.0 * (1.0 - passes / trials)).ln()];
        Ok(at(simplex(start, cost)))
    }

    /// pass^k for k beyond the trials there are: only from 30 tasks and 4 trials each (below, the fit says nothing), to be
    /// labelled as extrapolated.
    pub fn extrapolate(counts: &[Counts], k: u32) -> Result<f64, TooFew> {
        let short: Vec<usize> = (0..counts.len()).filter(|i| counts[*i].n < 4).collect();
        if counts.len() < 30 {
            return Err(TooFew::Tasks { needed: 30, have: counts.len() });
        }
        if !short.is_empty() {
            return Err(TooFew::Trials { needed: 4, tasks: short });
        }
        Ok(Difficulty::fit(counts)?.pass_hat_k(k))
    }
}

fn simplex(start: [f64; 2], cost: impl Fn([f64; 2]) -> f64) -> [f64; 2] {
    let mix = |a: [f64; 2], b: [f64; 2], t: f64| [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])];
    let mut points = [start, [start[0] + 0.5, start[1]], [start[0], start[1] + 0.5]].map(|p| (cost(p), p));
    for _ in 0..600 {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let [(best, first), (middle, second), (worst, third)] = points;
        let spread = (0..2).map(|i| (third[i] - first[i]).abs().max((second[i] - first[i]).abs())).fold(0.0, f64::max);
        if spread < 1e-9 {
            break;
        }
        let centre = mix(first, second, 0.5);
        let mirrored = mix(third, centre, 2.0);
        let at_mirrored = cost(mirrored);
        if at_mirrored < best {
            let far = mix(third, centre, 3.0);
            let at_far = cost(far);
            points[2] = if at_far < at_mirrored { (at_far, far) } else { (at_mirrored, mirrored) };
        } else if at_mirrored < middle {
            points[2] = (at_mirrored, mirrored);
        } else {
            let inward = if at_mirrored < worst { mix(centre, mirrored, 0.5) } else { mix(centre, third, 0.5) };
            let at_inward = cost(inward);
            if at_inward < worst.min(at_mirrored) {
                points[2] = (at_inward, inward);
            } else {
                for point in &mut points[1..] {
                    let closer = mix(first, point.1, 0.5);
                    *point = (cost(closer), closer);
                }
            }
        }
    }
    points[0].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extrapolation_needs_tasks_and_trials() {
        let few = vec![Counts { n: 8, c: 7 }; 20];
        assert_eq!(Difficulty::extrapolate(&few, 16), Err(TooFew::Tasks { needed: 30, have: 20 }));
        let mut thin = vec![Counts { n: 8, c: 7 }; 30];
        thin[4].n = 3;
        thin[4].c = 3;
        assert_eq!(Difficulty::extrapolate(&thin, 16), Err(TooFew::Trials { needed: 4, tasks: vec![4] }));
    }

    #[test]
    fn equal_tasks_fit_a_point_mass() {
        let fit = Difficulty::fit(&vec![Counts { n: 8, c: 6 }; 40]).unwrap();
        assert!((fit.mean() - 0.75).abs() < 0.01 && fit.alpha + fit.beta > 100.0, "{fit:?}");
        let all_pass = Difficulty::fit(&vec![Counts { n: 8, c: 8 }; 40]).unwrap();
        assert!(all_pass.mean() > 0.999, "{all_pass:?}");
    }

    #[test]
    fn within_variance_is_the_average_of_hoeffdings() {
        // Beta(1,1) by Simpson's rule over p.
        let f = |p: f64| super::super::passk::variance_of_pass_hat_k(8, 4, p).unwrap();
        let simpson: f64 = (0..500)
            .map(|i| {
                let (a, h) = (f64::from(i) / 500.0, 1.0 / 500.0);
                h / 6.0 * (f(a) + 4.0 * f(a + h / 2.0) + f(a + h))
            })
            .sum();
        let ours = Difficulty { alpha: 1.0, beta: 1.0 }.within_variance(8, 4).unwrap();
        assert!((ours - simpson).abs() < 1e-9);
    }
}
