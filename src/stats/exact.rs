//! Exact distributions and tests on counts: binomial, hypergeometric, Fisher, the stratified permutation test.

use super::passk::Figure;
use super::special::{erfc, normal_cdf};
use super::{Counts, TooFew};

/// Values and probabilities from the ratio of neighbours, grown from the largest one and then normalised: no factorial,
/// no logarithm, accurate to a few ulps however large the counts.
fn from_ratios(low: u32, high: u32, mode: u32, ratio: impl Fn(u32) -> f64) -> Vec<f64> {
    let mut weights = vec![0.0; (high - low + 1) as usize];
    let at = |x: u32| (x - low) as usize;
    weights[at(mode)] = 1.0;
    for x in mode..high {
        weights[at(x + 1)] = weights[at(x)] * ratio(x);
    }
    for x in (low..mode).rev() {
        weights[at(x)] = weights[at(x + 1)] / ratio(x);
    }
    let total: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= total);
    weights
}

/// All (successes drawn, probability) when `draws` of `total` are drawn and `good` of them are successes.
pub fn hypergeometric(total: u32, good: u32, draws: u32) -> impl Iterator<Item = (u32, f64)> {
    let low = (draws + good).saturating_sub(total);
    let high = draws.min(good);
    let mode = ((f64::from(draws) + 1.0) * (f64::from(good) + 1.0) / (f64::from(total) + 2.0)) as u32;
    let weights = from_ratios(low, high, mode.clamp(low, high), |x| {
        let (x, good, draws, total) = (f64::from(x), f64::from(good), f64::from(draws), f64::from(total));
        (good - x) * (draws - x) / ((x + 1.0) * (total - good - draws + x + 1.0))
    });
    (low..=high).zip(weights)
}

/// All (successes, probability) of `n` independent trials.
pub fn binomial(n: u32, p: f64) -> impl Iterator<Item = (u32, f64)> {
    let (low, high) = if p <= 0.0 {
        (0, 0)
    } else if p >= 1.0 {
        (n, n)
    } else {
        (0, n)
    };
    let mode = ((f64::from(n) + 1.0) * p) as u32;
    let weights =
        from_ratios(low, high, mode.clamp(low, high), |x| f64::from(n - x) / f64::from(x + 1) * p / (1.0 - p));
    (low..=high).zip(weights)
}

/// Two-sided exact binomial test: everything as unlikely as what was seen, or less (R's binom.test, SciPy's binomtest).
pub fn binomial_two_sided(successes: u32, n: u32, p: f64) -> f64 {
    let all: Vec<(u32, f64)> = binomial(n, p).collect();
    let seen = all.iter().find(|(x, _)| *x == successes).map_or(0.0, |(_, w)| *w);
    all.iter().filter(|(_, w)| *w <= seen * (1.0 + 1e-7)).map(|(_, w)| w).sum::<f64>().min(1.0)
}

/// P(X <= successes) of a binomial.
pub fn binomial_at_most(successes: u32, n: u32, p: f64) -> f64 {
    binomial(n, p).filter(|(x, _)| *x <= successes).map(|(_, w)| w).sum::<f64>().min(1.0)
}

/// Fisher's exact test, one-sided: how likely is a candidate this bad or worse if nothing changed.
pub fn fisher_worse(baseline: Counts, candidate: Counts) -> f64 {
    let tail: f64 = hypergeometric(baseline.n + candidate.n, baseline.c + candidate.c, candidate.n)
        .filter(|(x, _)| *x <= candidate.c)
        .map(|(_, p)| p)
        .sum();
    tail.min(1.0)
}

/// Fisher's exact test, two-sided: all tables as unlikely as the one seen, or less.
pub fn fisher_two_sided(baseline: Counts, candidate: Counts) -> f64 {
    let all: Vec<(u32, f64)> =
        hypergeometric(baseline.n + candidate.n, baseline.c + candidate.c, candidate.n).collect();
    let seen = all.iter().find(|(x, _)| *x == candidate.c).map_or(0.0, |(_, p)| *p);
    all.iter().filter(|(_, p)| *p <= seen * (1.0 + 1e-7)).map(|(_, p)| p).sum::<f64>().min(1.0)
}

/// P(candidate's rate < baseline's | data) under Jeffreys priors, by Gauss-Legendre on the baseline's quantiles: for ranking
/// suspects, not for blocking.
pub fn posterior_worse(baseline: Counts, candidate: Counts) -> f64 {
    let (a, b) = (f64::from(baseline.c) + 0.5, f64::from(baseline.n - baseline.c) + 0.5);
    let (c, d) = (f64::from(candidate.c) + 0.5, f64::from(candidate.n - candidate.c) + 0.5);
    // With x = sin²θ the density's roots at 0 and 1 become smooth: 2 sin^(2a-1) cos^(2b-1) / B(a,b) dθ.
    let constant = super::special::ln_beta(a, b);
    let quarter = std::f64::consts::FRAC_PI_4;
    let total: f64 = super::gaffke::gauss_legendre(200)
        .into_iter()
        .map(|(node, weight)| {
            let (sin, cos) = (quarter * (1.0 + node)).sin_cos();
            let density = 2.0 * ((2.0 * a - 1.0) * sin.ln() + (2.0 * b - 1.0) * cos.ln() - constant).exp();
            weight * quarter * density * super::special::beta_cdf(sin * sin, c, d)
        })
        .sum();
    total.clamp(0.0, 1.0)
}

/// One task in both arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stratum {
    pub baseline: Counts,
    pub candidate: Counts,
}

impl Stratum {
    fn total(self) -> u32 {
        self.baseline.n + self.candidate.n
    }
    fn passes(self) -> u32 {
        self.baseline.c + self.candidate.c
    }
    /// Whether shuffling trials between the arms could change anything.
    fn varies(self) -> bool {
        self.passes() > 0 && self.passes() < self.total()
    }
}

/// How a p-value of the permutation test came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermutationMethod {
    /// All assignments, by convolution.
    Exact,
    /// Too many different values for an exact answer: Mantel and Haenszel's z with continuity correction.
    MantelHaenszel,
}

/// Multiply-adds an exact answer may cost before tails are trimmed: some 30 ms.
const EXACT_WORK: u64 = 60_000_000;

/// Probabilities below this are dropped from the tails as they arise; all of them together stay below 1e-15.
const NEGLIGIBLE: f64 = 1e-22;

/// P(Σ U(candidate) - U(baseline) this low or lower) if every task's trials are exchangeable between the arms:
/// exact convolution of per-task hypergeometric distributions on the lattice of the values, else Mantel-Haenszel.
pub fn permutation_worse(tasks: &[Stratum], figure: Figure) -> Result<(f64, PermutationMethod), TooFew> {
    let short: Vec<usize> = tasks
        .iter()
        .enumerate()
        .filter(|(_, t)| t.baseline.n.min(t.candidate.n) < figure.k().max(1))
        .map(|(i, _)| i)
        .collect();
    if tasks.is_empty() {
        return Err(TooFew::NoTasks);
    }
    if !short.is_empty() {
        return Err(TooFew::Trials { needed: figure.k(), tasks: short });
    }
    Ok(match exact_permutation(tasks, figure) {
        Some(p) => (p, PermutationMethod::Exact),
        None => (mantel_haenszel_worse(tasks), PermutationMethod::MantelHaenszel),
    })
}

/// One task's possible values on the lattice, with their probabilities, and the value seen.
struct Lattice {
    values: Vec<(i64, f64)>,
    seen: i64,
}

fn exact_permutation(tasks: &[Stratum], figure: Figure) -> Option<f64> {
    let moving: Vec<Stratum> = tasks.iter().copied().filter(|t| t.varies()).collect();
    let step = lattice_step(&moving, figure.k())?;
    let mut lattices = Vec::with_capacity(moving.len());
    for task in &moving {
        lattices.push(on_lattice(*task, figure, step)?);
    }
    let divisor = lattices.iter().flat_map(|l| &l.values).fold(0, |d, (v, _)| gcd(d, v.unsigned_abs()));
    if divisor == 0 {
        return Some(1.0);
    }
    for lattice in &mut lattices {
        lattice.values.iter_mut().for_each(|(v, _)| *v /= divisor as i64);
        lattice.seen /= divisor as i64;
    }
    let (mut span, mut work) = (0_u64, 0_u64);
    for lattice in &lattices {
        let (low, high) = range(&lattice.values);
        work = work.saturating_add((span + 1).saturating_mul(lattice.values.len() as u64));
        span += (high - low) as u64;
    }
    (work <= EXACT_WORK && span <= 4_000_000).then(|| convolve(&lattices))
}

fn convolve(lattices: &[Lattice]) -> f64 {
    let mut low_total = 0;
    let mut density = vec![1.0];
    for lattice in lattices {
        let (low, high) = range(&lattice.values);
        let mut next = vec![0.0; density.len() + (high - low) as usize];
        for (value, p) in &lattice.values {
            let target = &mut next[(value - low) as usize..];
            for (slot, d) in target.iter_mut().zip(&density) {
                *slot += d * p;
            }
        }
        let skipped = next.iter().take_while(|d| **d < NEGLIGIBLE).count();
        let kept = next.iter().rposition(|d| *d >= NEGLIGIBLE).map_or(0, |last| last + 1);
        next.truncate(kept);
        next.drain(..skipped.min(kept));
        density = next;
        low_total += low + skipped as i64;
    }
    let seen: i64 = lattices.iter().map(|l| l.seen).sum();
    let upto = usize::try_from(seen - low_total + 1).unwrap_or(0).min(density.len());
    density[..upto].iter().sum::<f64>().min(1.0)
}

fn range(values: &[(i64, f64)]) -> (i64, i64) {
    values.iter().fold((i64::MAX, i64::MIN), |(low, high), (v, _)| (low.min(*v), high.max(*v)))
}

/// The smallest common denominator of every C(n,k) there is; `None` when it gets out of hand.
fn lattice_step(tasks: &[Stratum], k: u32) -> Option<u64> {
    let mut step = 1_u64;
    for n in tasks.iter().flat_map(|t| [t.baseline.n, t.candidate.n]) {
        let denominator = super::special::choose(n, k);
        if denominator > 1e12 {
            return None;
        }
        let denominator = denominator as u64;
        step = (step / gcd(step, denominator)).checked_mul(denominator)?;
        if step > 1_000_000_000_000 {
            return None;
        }
    }
    Some(step)
}

fn on_lattice(task: Stratum, figure: Figure, step: u64) -> Option<Lattice> {
    let (nb, nc, s) = (task.baseline.n, task.candidate.n, task.passes());
    let value = |c: u32| {
        let candidate = figure.of(Counts { n: nc, c })?;
        let baseline = figure.of(Counts { n: nb, c: s - c })?;
        // Both are multiples of 1/step, so rounding only removes the error of the division.
        Some((candidate * step as f64).round() as i64 - (baseline * step as f64).round() as i64)
    };
    let mut values = Vec::new();
    for (c, p) in hypergeometric(nb + nc, s, nc) {
        values.push((value(c)?, p));
    }
    Some(Lattice { values, seen: value(task.candidate.c)? })
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Σ c, E and V of the candidate's passes given the margins (Mantel & Haenszel 1959).
fn mantel_haenszel_moments(tasks: &[Stratum]) -> (f64, f64, f64) {
    tasks.iter().fold((0.0, 0.0, 0.0), |(seen, expected, variance), t| {
        let (nb, nc) = (f64::from(t.baseline.n), f64::from(t.candidate.n));
        let (s, n) = (f64::from(t.passes()), nb + nc);
        let v = if n > 1.0 { nb * nc * s * (n - s) / (n * n * (n - 1.0)) } else { 0.0 };
        (seen + f64::from(t.candidate.c), expected + nc * s / n, variance + v)
    })
}

/// Φ((Σc + 1/2 - E) / √V): the lower tail with continuity correction; 1 when nothing varies.
pub fn mantel_haenszel_worse(tasks: &[Stratum]) -> f64 {
    let (seen, expected, variance) = mantel_haenszel_moments(tasks);
    if variance > 0.0 { normal_cdf((seen + 0.5 - expected) / variance.sqrt()) } else { 1.0 }
}

/// Cochran-Mantel-Haenszel χ² without correction and its p-value at one degree of freedom, for comparison with other tools.
pub fn cochran_mantel_haenszel(tasks: &[Stratum]) -> Option<(f64, f64)> {
    let (seen, expected, variance) = mantel_haenszel_moments(tasks);
    let chi2 = (variance > 0.0).then(|| (seen - expected).powi(2) / variance)?;
    Some((chi2, erfc((chi2 / 2.0).sqrt())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stratum(nb: u32, cb: u32, nc: u32, cc: u32) -> Stratum {
        Stratum { baseline: Counts { n: nb, c: cb }, candidate: Counts { n: nc, c: cc } }
    }

    proptest! {
        #[test]
        fn one_task_and_k_1_is_fisher(nb in 1_u32..20, cb in 0_u32..20, nc in 1_u32..20, cc in 0_u32..20) {
            prop_assume!(cb <= nb && cc <= nc);
            let task = stratum(nb, cb, nc, cc);
            let (p, method) = permutation_worse(&[task], Figure::PassHat(1)).unwrap();
            prop_assert_eq!(method, PermutationMethod::Exact);
            prop_assert!((p - fisher_worse(task.baseline, task.candidate)).abs() < 1e-12);
        }

        #[test]
        fn one_trial_each_is_mcnemars_exact_test(pairs in proptest::collection::vec((0_u32..2, 0_u32..2), 1..40)) {
            let tasks: Vec<Stratum> = pairs.iter().map(|(b, c)| stratum(1, *b, 1, *c)).collect();
            let lost = pairs.iter().filter(|(b, c)| b > c).count() as u32;
            let won = pairs.iter().filter(|(b, c)| b < c).count() as u32;
            let (p, _) = permutation_worse(&tasks, Figure::PassHat(1)).unwrap();
            prop_assert!((p - binomial_at_most(won, won + lost, 0.5)).abs() < 1e-12);
        }

        #[test]
        fn order_of_tasks_does_not_matter(cells in proptest::collection::vec((0_u32..=8, 0_u32..=6), 1..12), k in 1_u32..5) {
            let mut tasks: Vec<Stratum> = cells.iter().map(|(b, c)| stratum(8, *b, 6, *c)).collect();
            let forward = permutation_worse(&tasks, Figure::PassHat(k)).unwrap();
            tasks.reverse();
            let backward = permutation_worse(&tasks, Figure::PassHat(k)).unwrap();
            prop_assert!((forward.0 - backward.0).abs() < 1e-12);
        }
    }

    #[test]
    fn exact_and_mantel_haenszel_are_close_when_there_is_much_data() {
        let tasks: Vec<Stratum> = (0..60).map(|i| stratum(8, 5 + i % 4, 8, 4 + i % 5)).collect();
        let (exact, _) = permutation_worse(&tasks, Figure::PassHat(1)).unwrap();
        assert!((exact - mantel_haenszel_worse(&tasks)).abs() < 0.003, "{exact}");
    }

    #[test]
    fn when_nothing_can_vary_nothing_is_significant() {
        assert_eq!(permutation_worse(&[stratum(8, 8, 8, 8), stratum(4, 0, 4, 0)], Figure::PassHat(1)).unwrap().0, 1.0);
        assert_eq!(mantel_haenszel_worse(&[stratum(8, 8, 8, 8)]), 1.0);
    }

    #[test]
    fn a_lattice_out_of_hand_falls_back() {
        let tasks: Vec<Stratum> = (0..60).map(|i| stratum(20 + i, 18 + i, 17 + i % 7, 15 + i % 7)).collect();
        let (p, method) = permutation_worse(&tasks, Figure::PassHat(8)).unwrap();
        assert_eq!(method, PermutationMethod::MantelHaenszel);
        assert!(p > 0.0 && p < 1.0);
    }
}
