//! Means, standard errors, ranks, order statistics.

/// The mean, summed by Neumaier's compensated method so that the order of the values does not show.
pub fn mean(values: &[f64]) -> f64 {
    sum(values) / values.len() as f64
}

/// A compensated sum (Neumaier 1974).
pub fn sum(values: &[f64]) -> f64 {
    let (mut total, mut lost) = (0.0_f64, 0.0_f64);
    for v in values {
        let next = total + v;
        lost += if total.abs() >= v.abs() { (total - next) + v } else { (v - next) + total };
        total = next;
    }
    total + lost
}

/// Variance with n - `lost_freedom` in the denominator; `None` when that is not positive.
pub fn variance(values: &[f64], lost_freedom: usize) -> Option<f64> {
    let n = values.len().checked_sub(lost_freedom).filter(|n| *n > 0)?;
    let m = mean(values);
    Some(sum(&values.iter().map(|v| (v - m).powi(2)).collect::<Vec<_>>()) / n as f64)
}

/// sd(n-1) / √n: the standard error other tools print (for comparison only: it is 0 when all values agree).
pub fn standard_error(values: &[f64]) -> Option<f64> {
    Some((variance(values, 1)? / values.len() as f64).sqrt())
}

/// Miller's clustered standard error (arXiv:2411.00640): √(Σ_g (Σ_{i in g} (s_i - mean))²) / n. For comparison only.
pub fn clustered_standard_error(values: &[f64], groups: &[usize]) -> Option<f64> {
    if values.is_empty() || values.len() != groups.len() {
        return None;
    }
    let m = mean(values);
    let mut sums = std::collections::BTreeMap::<usize, f64>::new();
    for (value, group) in values.iter().zip(groups) {
        *sums.entry(*group).or_default() += value - m;
    }
    Some(sums.values().map(|s| s * s).sum::<f64>().sqrt() / values.len() as f64)
}

/// Mean of each group, in order of the group numbers: with `group` as estimand, groups are the units.
pub fn group_means(values: &[f64], groups: &[usize]) -> Vec<f64> {
    let mut members = std::collections::BTreeMap::<usize, Vec<f64>>::new();
    for (value, group) in values.iter().zip(groups) {
        members.entry(*group).or_default().push(*value);
    }
    members.values().map(|m| mean(m)).collect()
}

/// The `q`-quantile, interpolated between neighbours (Hyndman and Fan's type 7, R's and NumPy's default).
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let sorted = sorted(values);
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (position - below as f64) * (sorted[above] - sorted[below]))
}

/// One-sided bounds of a quantile from order statistics, each at level 1 - `alpha`, whatever the distribution
/// (Conover, Practical Nonparametric Statistics, 3.2). `None` where too few values were seen for a bound.
pub fn quantile_bounds(values: &[f64], q: f64, alpha: f64) -> (Option<f64>, Option<f64>) {
    let sorted = sorted(values);
    let Ok(n) = u32::try_from(sorted.len()) else { return (None, None) };
    // P(X_(r) > Q) = P(fewer than r values at or below Q) = P(Bin(n, q) <= r - 1): the lower bound is the largest r at most alpha.
    // P(X_(s) < Q) = P(Bin(n, q) >= s): the upper bound is the smallest such s.
    let (mut lower, mut upper) = (None, None);
    let mut below = 0.0;
    for (x, p) in super::exact::binomial(n, q) {
        below += p;
        let value = sorted.get(x as usize).copied();
        if below <= alpha {
            lower = value;
        }
        if 1.0 - below <= alpha && upper.is_none() && x < n {
            upper = value;
            break;
        }
    }
    (lower, upper)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Spearman's rank correlation, ties sharing their mean rank; `None` when one side does not vary.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() {
        return None;
    }
    pearson(&ranks(x), &ranks(y))
}

/// Pearson's correlation; `None` when one side does not vary.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() || x.len() < 2 {
        return None;
    }
    let (mx, my) = (mean(x), mean(y));
    let cross: f64 = x.iter().zip(y).map(|(a, b)| (a - mx) * (b - my)).sum();
    let (vx, vy): (f64, f64) = (x.iter().map(|a| (a - mx).powi(2)).sum(), y.iter().map(|b| (b - my).powi(2)).sum());
    (vx > 0.0 && vy > 0.0).then(|| (cross / (vx * vy).sqrt()).clamp(-1.0, 1.0))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let end = order[start..].iter().take_while(|i| values[**i] == values[order[start]]).count() + start;
        for &i in &order[start..end] {
            ranks[i] = (start + end + 1) as f64 / 2.0;
        }
        start = end;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_lose_small_values() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
    }

    #[test]
    fn quantiles_and_their_bounds() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(50.5));
        assert_eq!(quantile(&[], 0.5), None);
        // Conover's tables for n = 100, q = 1/2, alpha = .05: order statistics 42 and 59.
        assert_eq!(quantile_bounds(&values, 0.5, 0.05), (Some(42.0), Some(59.0)));
        // Ten values cannot bound a 95th percentile from above.
        assert_eq!(quantile_bounds(&values[..10], 0.95, 0.05).1, None);
    }

    #[test]
    fn no_invented_zero_for_one_value() {
        assert_eq!(standard_error(&[1.0]), None);
        assert_eq!(pearson(&[1.0, 1.0], &[0.0, 1.0]), None);
    }
}
