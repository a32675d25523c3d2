//! How many: tasks, trials, blocks.

use super::betabinomial::Difficulty;
use super::special::normal_quantile;

/// T = (z_a + z_b)² (ω² + s_b² + s_c²) / (delta + d)²: the textbook count, without Gaffke's finite-sample cost.
pub fn textbook_units(alpha: f64, power: f64, margin: f64, difference: f64, variance: f64) -> Option<f64> {
    let room = margin + difference;
    (room > 0.0).then(|| (z(alpha, power) / room).powi(2) * variance)
}

fn z(alpha: f64, power: f64) -> f64 {
    normal_quantile(1.0 - alpha) + normal_quantile(power)
}

/// What a pass is to be sure of, and how surely it is to be found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aim {
    pub alpha: f64,
    pub power: f64,
    pub margin: f64,
    /// The true difference, candidate - baseline.
    pub difference: f64,
}

/// Units needed to pass: the smallest N with margin + d - 1/(N+1) >= (z_a + z_b) σ_D / √N, and at least what a suite of nothing
/// but ties needs, ln(alpha) / ln(1 - margin). `None` when the candidate is worse than the margin: no N is enough.
pub fn units_to_pass(aim: Aim, unit_variance: f64) -> Option<u64> {
    if aim.margin + aim.difference <= 0.0 || aim.margin <= 0.0 {
        return None;
    }
    let enough = |n: u64| {
        let n = n as f64;
        aim.margin + aim.difference - 1.0 / (n + 1.0) >= z(aim.alpha, aim.power) * (unit_variance / n).sqrt()
    };
    let mut high = units_if_all_tie(aim.alpha, aim.margin);
    let mut low = high - 1;
    while !enough(high) {
        low = high;
        high = high.checked_mul(2).filter(|n| *n < 1 << 40)?;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

/// Units needed when every single difference is 0: (1 - margin)^N <= alpha.
pub fn units_if_all_tie(alpha: f64, margin: f64) -> u64 {
    (alpha.ln() / (-margin).ln_1p()).ceil().max(1.0) as u64
}

/// Units needed to find a drop of `drop` > 0: (z_a + z_b)² σ_D² / drop².
pub fn units_to_find(alpha: f64, power: f64, drop: f64, unit_variance: f64) -> Option<u64> {
    (drop > 0.0).then(|| ((z(alpha, power) / drop).powi(2) * unit_variance).ceil().max(1.0) as u64)
}

/// The smallest drop of pass^k found with `power` from T tasks of n trials: (z_a + z_b) √(2 E[Var U] / T).
pub fn smallest_drop(difficulty: Difficulty, tasks: u32, n: u32, k: u32, alpha: f64, power: f64) -> Option<f64> {
    let variance = 2.0 * difficulty.within_variance(n, k)?;
    (tasks > 0).then(|| z(alpha, power) * (variance / f64::from(tasks)).sqrt())
}

/// Variance of one suite unit (a block of k trials in each arm) if both arms have this difficulty.
pub fn suite_unit_variance(difficulty: Difficulty, k: u32) -> f64 {
    2.0 * difficulty.block_variance(k)
}

/// Variance of one population unit (a task's difference) if both arms agree on every task's rate.
pub fn population_unit_variance(difficulty: Difficulty, n: u32, k: u32) -> Option<f64> {
    Some(2.0 * difficulty.within_variance(n, k)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD: Difficulty = Difficulty { alpha: 8.0, beta: 2.0 };

    fn aim(margin: f64) -> Aim {
        Aim { alpha: 0.05, power: 0.8, margin, difference: 0.0 }
    }

    /// STATISTICS.md 3.5, first rows: tasks for Beta(8,2), as suite and as population.
    #[test]
    fn the_planning_table() {
        for (k, margin, n, suite, population) in [
            (1, 0.05, 1, 759, None),
            (1, 0.05, 4, 190, Some(218)),
            (1, 0.05, 8, 95, Some(127)),
            (1, 0.10, 16, 13, Some(28)),
            (4, 0.05, 8, 508, Some(441)),
            (4, 0.10, 16, 66, Some(65)),
        ] {
            let blocks = u64::from(n / k);
            let units = units_to_pass(aim(margin), suite_unit_variance(HARD, k)).unwrap();
            assert!(units.div_ceil(blocks).abs_diff(suite) <= 1, "suite {k} {margin} {n}: {units}");
            if let Some(tasks) = population {
                let ours = units_to_pass(aim(margin), population_unit_variance(HARD, n, k).unwrap()).unwrap();
                assert!(ours.abs_diff(tasks) <= 1, "population {k} {margin} {n}: {ours}");
            }
        }
    }

    #[test]
    fn the_smallest_drops() {
        for (tasks, n, drop) in [(20, 4, 0.150), (20, 8, 0.106), (100, 16, 0.034), (200, 4, 0.047)] {
            assert!((smallest_drop(HARD, tasks, n, 1, 0.05, 0.8).unwrap() - drop).abs() < 6e-4, "{tasks} {n}");
        }
    }

    #[test]
    fn no_number_is_enough_beyond_the_margin() {
        assert_eq!(units_to_pass(Aim { difference: -0.06, ..aim(0.05) }, 0.1), None);
        assert_eq!(units_to_pass(aim(0.0), 0.1), None);
        assert_eq!(units_to_find(0.05, 0.8, 0.0, 0.1), None);
    }
}
