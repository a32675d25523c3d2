//! Gaffke's bound for the mean of bounded values: no variance estimate, so no interval of zero width, and on 0/1 data exactly
//! Clopper and Pearson's.
//!
//! For values x_1..x_T in `[a,b]` the lower bound at level 1-alpha is the alpha-quantile of W = w_0 a + Σ w_i x_i with
//! (w_0..w_T) ~ Dirichlet(1,…,1); the upper bound is its mirror image with the pseudo-value b (N. Gaffke 2005; rediscovered by
//! Learned-Miller and Thomas 2019, arXiv:1905.06208). That it holds for every distribution is conjectured: proved in special
//! cases, no counterexample known. `betting` has the proven and wider alternative.
//!
//! P(W <= t) is computed without random numbers. With Gamma(a_j,1) variables for the distinct values (a_j their multiplicities)
//! W <= t means Σ (x_j - t) G_j <= 0, and the characteristic function of that sum is Π (1 - i s d_j)^(-a_j), d_j = x_j - t, which
//! Gil-Pelaez' formula (1951; Imhof 1961) inverts:
//!
//!   F(0) = 1/2 - (1/π) ∫_0^∞ Im φ(s) / s ds,   s = 1.5 u/(1-u) / √(Σ a_j d_j²),   Gauss-Legendre in u on (0,1).

use std::sync::OnceLock;

use super::special::beta_cdf;
use super::{BadValue, Interval};

/// Nodes up to T = 1000 and above.
const NODES: usize = 256;
const MANY_NODES: usize = 512;

/// Values in a known range, grouped by size: what all bounds start from.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounded {
    /// Distinct values, ascending, with how often each was seen.
    groups: Vec<(f64, u32)>,
    count: usize,
    low: f64,
    high: f64,
}

impl Bounded {
    /// Groups `values`; refuses none at all, NaN, and what lies outside `[low, high]`.
    pub fn new(values: &[f64], low: f64, high: f64) -> Result<Self, BadValue> {
        if values.is_empty() {
            return Err(BadValue::NoValues);
        }
        if let Some(index) = values.iter().position(|v| !(*v >= low && *v <= high)) {
            return Err(BadValue::OutOfRange { index, value: values[index], low, high });
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut groups: Vec<(f64, u32)> = Vec::new();
        for value in sorted {
            // -0 and 0 are one value; so are numbers that differ by the rounding of a division.
            match groups.last_mut() {
                Some((last, n)) if (value - *last).abs() <= 1e-14 * (high - low) => *n += 1,
                _ => groups.push((value + 0.0, 1)),
            }
        }
        Ok(Bounded { groups, count: values.len(), low, high })
    }

    /// Pass rates and other values from 0 to 1.
    pub fn unit(values: &[f64]) -> Result<Self, BadValue> {
        Bounded::new(values, 0.0, 1.0)
    }

    /// Differences of such values, from -1 to 1.
    pub fn difference(values: &[f64]) -> Result<Self, BadValue> {
        Bounded::new(values, -1.0, 1.0)
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn mean(&self) -> f64 {
        let weighted: Vec<f64> = self.groups.iter().map(|(v, n)| v * f64::from(*n)).collect();
        super::basic::sum(&weighted) / self.count as f64
    }

    /// Distinct values with their counts.
    pub fn groups(&self) -> &[(f64, u32)] {
        &self.groups
    }

    /// The same values seen from the other end: x becomes low + high - x.
    pub fn mirrored(&self) -> Bounded {
        let turn = self.low + self.high;
        Bounded { groups: self.groups.iter().rev().map(|(v, n)| (turn - v, *n)).collect(), ..self.clone() }
    }

    /// The p-value of "the mean is at most `t`": P(W <= t).
    pub fn p_at_most(&self, t: f64) -> f64 {
        let mut weights = Vec::with_capacity(self.groups.len() + 1);
        match self.groups.first() {
            Some((least, n)) if *least <= self.low => weights.push((*least, n + 1)),
            _ => {
                weights.push((self.low, 1));
                weights.extend(self.groups.first());
            }
        }
        weights.extend(self.groups.iter().skip(1));
        p_weighted_mean_at_most(&weights, t, if self.count > 1000 { MANY_NODES } else { NODES })
    }

    /// The p-value of "the mean is at least `t`": P(W⁺ >= t) with the pseudo-value at the upper end.
    pub fn p_at_least(&self, t: f64) -> f64 {
        self.mirrored().p_at_most(self.low + self.high - t)
    }

    /// The lower bound at one-sided level 1 - `alpha`: where P(W <= t) reaches alpha.
    pub fn lower(&self, alpha: f64) -> f64 {
        let top = self.groups.last().map_or(self.low, |(v, _)| *v);
        if top <= self.low {
            return self.low;
        }
        let (mut below, mut above) = (self.low, top);
        for _ in 0..60 {
            let middle = 0.5 * (below + above);
            if middle <= below || middle >= above {
                break;
            }
            if self.p_at_most(middle) < alpha { below = middle } else { above = middle }
        }
        0.5 * (below + above)
    }

    /// The upper bound at one-sided level 1 - `alpha`.
    pub fn upper(&self, alpha: f64) -> f64 {
        self.low + self.high - self.mirrored().lower(alpha)
    }

    /// The two-sided interval at level 1 - `alpha`, half of alpha on each side.
    pub fn interval(&self, alpha: f64) -> Interval {
        Interval { lower: self.lower(alpha / 2.0), upper: self.upper(alpha / 2.0) }
    }
}

/// P(Σ w_j v_j <= t) for Dirichlet weights with integer parameters; `weights` ascending by value.
fn p_weighted_mean_at_most(weights: &[(f64, u32)], t: f64, nodes: usize) -> f64 {
    let (Some((least, a)), Some((most, b))) = (weights.first(), weights.last()) else { return 1.0 };
    if t >= *most {
        return 1.0;
    }
    if t <= *least {
        return 0.0;
    }
    if weights.len() == 2 {
        // Two values: W = least + (most - least) · Beta(b, a), in closed form.
        return beta_cdf((t - least) / (most - least), f64::from(*b), f64::from(*a));
    }
    let scale: f64 = weights.iter().map(|(v, n)| f64::from(*n) * (v - t).powi(2)).sum::<f64>().sqrt();
    let rule = rule(nodes);
    let (mut re, mut im) = (vec![1.0_f64; nodes], vec![0.0_f64; nodes]);
    for (value, n) in weights {
        multiply_by_factor(&mut re, &mut im, &rule.position, (value - t) / scale, *n);
    }
    // The scale cancels in ds/s, which is in the weights of the rule.
    let integral: f64 = im.iter().zip(&rule.weight).map(|(im, w)| im * w).sum();
    (0.5 - integral / std::f64::consts::PI).clamp(0.0, 1.0)
}

/// Multiplies every node's value by (1 - i s d)^(-n) = ((1 + i s d) / (1 + s²d²))^n. Complex products instead of sums of arcus
/// tangens and logarithms: the same number, several times faster, and it vectorises. |factor| <= 1, so it can only fade to 0.
fn multiply_by_factor(re: &mut [f64], im: &mut [f64], positions: &[f64], d: f64, n: u32) {
    if n == 1 {
        for ((re, im), s) in re.iter_mut().zip(im.iter_mut()).zip(positions) {
            let sd = s * d;
            let size = 1.0 / (1.0 + sd * sd);
            let (a, b) = (size, sd * size);
            (*re, *im) = (*re * a - *im * b, *re * b + *im * a);
        }
        return;
    }
    for ((re, im), s) in re.iter_mut().zip(im.iter_mut()).zip(positions) {
        let sd = s * d;
        let size = 1.0 / (1.0 + sd * sd);
        let (mut a, mut b) = (size, sd * size);
        let mut n = n;
        while n > 0 {
            if n & 1 == 1 {
                (*re, *im) = (*re * a - *im * b, *re * b + *im * a);
            }
            (a, b) = (a * a - b * b, 2.0 * a * b);
            n >>= 1;
        }
    }
}

/// Positions s(u)·√(Σ a d²) and weights ds/s of the quadrature.
struct Rule {
    position: Vec<f64>,
    weight: Vec<f64>,
}

fn rule(nodes: usize) -> &'static Rule {
    static FEW: OnceLock<Rule> = OnceLock::new();
    static MANY: OnceLock<Rule> = OnceLock::new();
    let make = || {
        let (mut position, mut weight) = (Vec::with_capacity(nodes), Vec::with_capacity(nodes));
        for (x, w) in gauss_legendre(nodes) {
            let u = 0.5 * (1.0 + x);
            position.push(1.5 * u / (1.0 - u));
            // ds/s = du / (u (1-u)); half from mapping (-1,1) to (0,1).
            weight.push(0.5 * w / (u * (1.0 - u)));
        }
        Rule { position, weight }
    };
    if nodes == NODES { FEW.get_or_init(make) } else { MANY.get_or_init(make) }
}

/// Nodes and weights of Gauss-Legendre quadrature on (-1, 1): Newton on the Legendre polynomial from Tricomi's start.
pub(super) fn gauss_legendre(nodes: usize) -> Vec<(f64, f64)> {
    let n = nodes as f64;
    (0..nodes)
        .map(|i| {
            let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..100 {
                let (mut p, mut before) = (1.0, 0.0);
                for j in 0..nodes {
                    let j = j as f64;
                    (p, before) = (((2.0 * j + 1.0) * x * p - j * before) / (j + 1.0), p);
                }
                slope = n * (x * p - before) / (x * x - 1.0);
                let step = p / slope;
                x -= step;
                if step.abs() < 1e-16 {
                    break;
                }
            }
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::proportion::clopper_pearson;

    #[test]
    fn on_zeros_and_ones_it_is_clopper_pearson() {
        for n in 1..=60_u32 {
            for x in 0..=n {
                let values: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i < x))).collect();
                let ours = Bounded::unit(&values).unwrap().interval(0.05);
                let theirs = clopper_pearson(x, n, 0.05).unwrap();
                assert!(
                    (ours.lower - theirs.lower).abs() < 1e-12 && (ours.upper - theirs.upper).abs() < 1e-12,
                    "{x}/{n}"
                );
            }
        }
    }

    #[test]
    fn the_quadrature_agrees_with_the_closed_form_it_is_not_used_for() {
        // Three distinct values of which two are equal but for a hair: the quadrature must find what the Beta gives.
        for (ones, zeros, t) in [(17, 3, 0.7), (1, 1, 0.3), (2, 40, 0.1), (900, 90, 0.9)] {
            let exact = beta_cdf(t, f64::from(ones), f64::from(zeros + 1));
            let weights = [(0.0, zeros + 1), (1.0 - 1e-13, 1), (1.0, ones - 1)];
            let weights: Vec<_> = weights.into_iter().filter(|(_, n)| *n > 0).collect();
            let ours = p_weighted_mean_at_most(&weights, t, NODES);
            assert!((ours - exact).abs() < 2e-12, "{ones} {zeros}: {ours} {exact}");
        }
    }

    #[test]
    fn odd_cases() {
        assert!(matches!(Bounded::unit(&[]), Err(BadValue::NoValues)));
        assert!(matches!(Bounded::unit(&[0.5, f64::NAN]), Err(BadValue::OutOfRange { index: 1, .. })));
        assert!(matches!(Bounded::unit(&[1.5]), Err(BadValue::OutOfRange { index: 0, .. })));
        let all_low = Bounded::unit(&[0.0; 7]).unwrap();
        assert_eq!((all_low.lower(0.05), all_low.p_at_most(0.0), all_low.p_at_most(0.1)), (0.0, 1.0, 1.0));
        let one = Bounded::unit(&[0.5]).unwrap().interval(0.05);
        assert!(one.lower < 0.02 && one.upper > 0.98, "one value says next to nothing: {one:?}");
        let all_pass = Bounded::unit(&[1.0; 20]).unwrap();
        assert!((all_pass.lower(0.025) - 0.025_f64.powf(1.0 / 20.0)).abs() < 1e-14);
    }

    /// A spot of the coverage table (`benches/coverage.rs` has all of it): how often the 95 % interval holds the true pass^k.
    #[test]
    fn it_covers_what_it_promises() {
        use crate::stats::Counts;
        use crate::stats::betabinomial::Difficulty;
        use crate::stats::passk::pass_hat_k;
        use crate::stats::rng::Rng;
        let shapes = [(8.0, 2.0), (0.5, 0.5), (60.0, 1.0)];
        for (cell, (a, b)) in shapes.into_iter().enumerate() {
            for (tasks, n, k) in [(5, 4, 1), (20, 8, 4)] {
                let mut rng = Rng::nth(11, (cell * 2 + tasks) as u64);
                let truth = Difficulty { alpha: a, beta: b }.pass_hat_k(k);
                let covered = (0..150).filter(|_| {
                    let draw = |_| {
                        let p = rng.beta(a, b);
                        pass_hat_k(Counts { n, c: rng.binomial(n, p) }, k).unwrap()
                    };
                    let values = Bounded::unit(&(0..tasks).map(draw).collect::<Vec<_>>()).unwrap();
                    values.p_at_most(truth) > 0.025 && values.p_at_least(truth) > 0.025
                });
                // 95 % of 150 less three standard errors.
                let covered = covered.count();
                assert!(covered >= 134, "Beta({a},{b}), {tasks} tasks, pass^{k}: {covered} of 150");
            }
        }
    }

    proptest! {
        #[test]
        fn mirrored_values_have_mirrored_bounds(values in proptest::collection::vec(0_u32..=12, 1..40)) {
            let values: Vec<f64> = values.into_iter().map(|v| f64::from(v) / 12.0).collect();
            let turned: Vec<f64> = values.iter().map(|v| 1.0 - v).collect();
            let (ours, theirs) = (Bounded::unit(&values).unwrap().interval(0.1), Bounded::unit(&turned).unwrap().interval(0.1));
            prop_assert!((ours.lower - (1.0 - theirs.upper)).abs() < 1e-9);
            prop_assert!((ours.upper - (1.0 - theirs.lower)).abs() < 1e-9);
            let mean = crate::stats::basic::mean(&values);
            prop_assert!(ours.lower <= mean + 1e-12 && mean <= ours.upper + 1e-12);
            prop_assert!(ours.upper - ours.lower > 1e-3, "never of zero width");
        }

        #[test]
        fn p_grows_with_t(values in proptest::collection::vec(-1.0_f64..=1.0, 1..80), t in -1.0_f64..1.0, step in 0.0_f64..0.5) {
            let values = Bounded::difference(&values).unwrap();
            let (low, high) = (values.p_at_most(t), values.p_at_most(t + step));
            prop_assert!(low <= high + 1e-11 && (0.0..=1.0).contains(&low));
        }

        #[test]
        fn the_order_of_the_values_does_not_matter(mut values in proptest::collection::vec(-1.0_f64..=1.0, 1..50)) {
            let before = Bounded::difference(&values).unwrap().p_at_most(-0.1);
            values.reverse();
            prop_assert_eq!(before.to_bits(), Bounded::difference(&values).unwrap().p_at_most(-0.1).to_bits());
        }
    }
}
