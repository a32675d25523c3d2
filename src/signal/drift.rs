//! Whether a series changed at some point, by a test and not by a feeling.

use serde::Serialize;

/// A series that changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Drift {
    /// The first value after the change.
    pub at: usize,
    /// Means before and from there on.
    pub before: f64,
    pub after: f64,
    /// How likely so large a change is in a series that doesn't change.
    pub p: f64,
}

/// Fewer values than this tell nothing.
pub const LEAST: usize = 20;

/// Pettitt's test for a change-point (Applied Statistics 28, 1979): K = max |U_t| with U_t = Σ_{i<=t} Σ_{j>t} sgn(x_i - x_j),
/// p = 2 exp(-6K² / (n³ + n²)). It goes by ranks, so one huge value is one value; with many ties (counts, yes and no) it is
/// careful rather than rash. `None` for too few values, or when nothing varies.
pub fn drift(series: &[f64]) -> Option<Drift> {
    let n = series.len();
    if n < LEAST || series.iter().any(|value| !value.is_finite()) {
        return None;
    }
    // U_t grows by how the t-th value stands among all of them.
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    let standing = |value: f64| {
        let below = sorted.partition_point(|other| *other < value);
        let above = n - sorted.partition_point(|other| *other <= value);
        number(below) - number(above)
    };
    let (mut sum, mut best, mut at) = (0.0, 0.0_f64, 0);
    for (index, value) in series.iter().enumerate().take(n - 1) {
        sum += standing(*value);
        if sum.abs() > best.abs() {
            (best, at) = (sum, index + 1);
        }
    }
    if at == 0 {
        return None;
    }
    let n = number(n);
    let p = (2.0 * (-6.0 * best * best / (n * n * n + n * n)).exp()).min(1.0);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / number(values.len());
    Some(Drift { at, before: mean(&series[..at]), after: mean(&series[at..]), p })
}

fn number(count: usize) -> f64 {
    super::number(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed series without a pattern: the last bits of a linear congruence.
    fn noise(n: usize) -> Vec<f64> {
        let mut state = 12_345_u64;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                f64::from(u32::try_from(state >> 33).unwrap()) / f64::from(1_u32 << 31)
            })
            .collect()
    }

    #[test]
    fn a_shift_is_found_where_it_is_and_noise_is_none() {
        let mut shifted = noise(80);
        shifted[50..].iter_mut().for_each(|value| *value += 0.8);
        let found = drift(&shifted).unwrap();
        assert!(found.p < 1e-6 && (48..=52).contains(&found.at) && found.after > found.before, "{found:?}");
        assert!(drift(&noise(80)).unwrap().p > 0.05);
        let rare: Vec<f64> = (0..60).map(|n| if n >= 40 && n % 2 == 0 { 1.0 } else { 0.0 }).collect();
        assert!(drift(&rare).unwrap().p < 0.05, "{:?}", drift(&rare));
        let even: Vec<f64> = (0..60).map(|n| f64::from(n % 2)).collect();
        assert!(drift(&even).unwrap().p > 0.5);
        assert_eq!(drift(&[1.0; 60]), None);
        assert_eq!(drift(&noise(LEAST - 1)), None);
        let mut outlier = noise(40);
        outlier[39] = 1e9;
        assert!(drift(&outlier).unwrap().p > 0.05, "one huge value is one value");
    }

    /// False alarms of a series that doesn't change, over many fixed series: at most as often as promised.
    #[test]
    fn false_alarms_are_as_rare_as_promised() {
        let long = noise(40 * 200);
        let alarms = long.chunks(40).filter(|series| drift(series).is_some_and(|found| found.p < 0.05)).count();
        assert!(alarms <= 14, "{alarms} of 200");
    }
}
