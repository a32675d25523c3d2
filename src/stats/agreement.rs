//! How well two or more raters agree. Labels are small numbers (0 fail, 1 pass; or the levels of a scale).

use super::basic::sum;

/// Distance between labels for kappa's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Right or wrong.
    None,
    Linear,
    Quadratic,
}

/// Cohen's kappa (1960), weighted (1968) over the sorted categories that occur. `None` for no items, unequal lengths, or when
/// chance alone explains everything (one category only).
pub fn cohen_kappa(first: &[i64], second: &[i64], weights: Weights) -> Option<f64> {
    let (categories, table) = confusion(first, second)?;
    let n = first.len() as f64;
    let (mut seen, mut expected) = (0.0, 0.0);
    let rows: Vec<f64> = table.iter().map(|r| sum(r)).collect();
    let columns: Vec<f64> = (0..categories.len()).map(|j| table.iter().map(|r| r[j]).sum()).collect();
    for i in 0..categories.len() {
        for j in 0..categories.len() {
            let apart = i.abs_diff(j) as f64;
            let weight = match weights {
                Weights::None => f64::from(u8::from(i != j)),
                Weights::Linear => apart,
                Weights::Quadratic => apart * apart,
            };
            seen += weight * table[i][j];
            expected += weight * rows[i] * columns[j] / n;
        }
    }
    (expected > 0.0).then(|| 1.0 - seen / expected)
}

/// Share of items both raters label alike.
pub fn observed_agreement(first: &[i64], second: &[i64]) -> Option<f64> {
    let pairs = first.len();
    (pairs > 0 && pairs == second.len())
        .then(|| first.iter().zip(second).filter(|(a, b)| a == b).count() as f64 / pairs as f64)
}

/// Gwet's AC1 (2008): chance agreement p_e = Σ q_k (1 - q_k) / (K - 1), which does not collapse when nearly all items pass.
pub fn gwet_ac1(first: &[i64], second: &[i64]) -> Option<f64> {
    let (categories, table) = confusion(first, second)?;
    let (n, k) = (first.len() as f64, categories.len());
    if k < 2 {
        // Everybody says the same thing about everything: full agreement, and no second category for chance to pick.
        return Some(1.0);
    }
    let agreed: f64 = (0..k).map(|i| table[i][i]).sum::<f64>() / n;
    let chance: f64 = (0..k)
        .map(|i| {
            let column: f64 = table.iter().map(|r| r[i]).sum();
            let q = (sum(&table[i]) + column) / (2.0 * n);
            q * (1.0 - q)
        })
        .sum::<f64>()
        / (k - 1) as f64;
    Some((agreed - chance) / (1.0 - chance))
}

fn confusion(first: &[i64], second: &[i64]) -> Option<(Vec<i64>, Vec<Vec<f64>>)> {
    if first.is_empty() || first.len() != second.len() {
        return None;
    }
    let mut categories: Vec<i64> = first.iter().chain(second).copied().collect();
    categories.sort_unstable();
    categories.dedup();
    let at = |label: &i64| categories.binary_search(label).unwrap_or(0);
    let mut table = vec![vec![0.0; categories.len()]; categories.len()];
    for (a, b) in first.iter().zip(second) {
        table[at(a)][at(b)] += 1.0;
    }
    Some((categories, table))
}

/// Fleiss' kappa (1971). `ratings[item][category]` counts raters; every item must have the same number of them, at least two.
pub fn fleiss_kappa(ratings: &[Vec<u32>]) -> Option<f64> {
    let raters: u32 = ratings.first()?.iter().sum();
    let width = ratings.first()?.len();
    if raters < 2 || ratings.iter().any(|r| r.len() != width || r.iter().sum::<u32>() != raters) {
        return None;
    }
    let (items, m) = (ratings.len() as f64, f64::from(raters));
    let agreed: f64 = ratings
        .iter()
        .map(|r| (r.iter().map(|c| f64::from(*c).powi(2)).sum::<f64>() - m) / (m * (m - 1.0)))
        .sum::<f64>()
        / items;
    let chance: f64 =
        (0..width).map(|j| (ratings.iter().map(|r| f64::from(r[j])).sum::<f64>() / (items * m)).powi(2)).sum();
    (chance < 1.0).then(|| (agreed - chance) / (1.0 - chance))
}

/// What kind of numbers Krippendorff's alpha is told the labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Nominal,
    Ordinal,
    Interval,
}

/// Krippendorff's alpha (2011): 1 - D_o/D_e from the coincidence matrix. `ratings[rater][item]`, `None` where a rater said
/// nothing; items with fewer than two labels do not count. `None` when only one label occurs.
pub fn krippendorff_alpha(ratings: &[Vec<Option<i64>>], scale: Scale) -> Option<f64> {
    let items = ratings.iter().map(Vec::len).max()?;
    let units: Vec<Vec<i64>> = (0..items)
        .map(|i| ratings.iter().filter_map(|r| r.get(i).copied().flatten()).collect::<Vec<_>>())
        .filter(|labels| labels.len() >= 2)
        .collect();
    let mut categories: Vec<i64> = units.iter().flatten().copied().collect();
    categories.sort_unstable();
    categories.dedup();
    let k = categories.len();
    let mut coincidences = vec![vec![0.0; k]; k];
    for labels in &units {
        for (a, left) in labels.iter().enumerate() {
            for (b, right) in labels.iter().enumerate() {
                if a != b {
                    let (i, j) = (categories.binary_search(left).ok()?, categories.binary_search(right).ok()?);
                    coincidences[i][j] += 1.0 / (labels.len() - 1) as f64;
                }
            }
        }
    }
    let totals: Vec<f64> = coincidences.iter().map(|r| sum(r)).collect();
    let n = sum(&totals);
    let (mut seen, mut expected) = (0.0, 0.0);
    for i in 0..k {
        for j in 0..k {
            let distance = distance(&categories, &totals, i, j, scale);
            seen += coincidences[i][j] * distance;
            expected += totals[i] * totals[j] * distance / (n - 1.0);
        }
    }
    (expected > 0.0).then(|| 1.0 - seen / expected)
}

/// δ²: 0 or 1; the labels between, counted; the difference, squared.
fn distance(categories: &[i64], totals: &[f64], i: usize, j: usize, scale: Scale) -> f64 {
    match scale {
        Scale::Nominal => f64::from(u8::from(i != j)),
        Scale::Interval => ((categories[i] - categories[j]) as f64).powi(2),
        Scale::Ordinal => {
            let (low, high) = (i.min(j), i.max(j));
            (sum(&totals[low..=high]) - (totals[low] + totals[high]) / 2.0).powi(2) * f64::from(u8::from(i != j))
        }
    }
}

/// An interval by leaving out one item at a time (Tukey's jackknife, normal limits), for any agreement figure over `items`
/// items. Printed beside the figure, never gated on. `None` below three items or where the figure is undefined.
pub fn jackknife(
    items: usize,
    alpha: f64,
    figure: impl Fn(&dyn Fn(usize) -> bool) -> Option<f64>,
) -> Option<super::Interval> {
    if items < 3 {
        return None;
    }
    let whole = figure(&|_| true)?;
    let n = items as f64;
    let mut pseudo = Vec::with_capacity(items);
    for left_out in 0..items {
        pseudo.push(n * whole - (n - 1.0) * figure(&|i| i != left_out)?);
    }
    let error = super::basic::standard_error(&pseudo)?;
    let z = super::special::normal_quantile(1.0 - alpha / 2.0);
    Some(super::Interval { lower: (whole - z * error).max(-1.0), upper: (whole + z * error).min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fleiss_worked_example() {
        // Fleiss 1971 as given by Wikipedia: 10 items, 14 raters, 5 categories, kappa .210.
        let table = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        let ratings: Vec<Vec<u32>> = table.iter().map(|r| r.to_vec()).collect();
        assert!((fleiss_kappa(&ratings).unwrap() - 0.210).abs() < 5e-4);
        assert_eq!(fleiss_kappa(&[vec![1, 0], vec![2, 0]]), None);
    }

    #[test]
    fn undefined_is_said() {
        assert_eq!(cohen_kappa(&[], &[], Weights::None), None);
        assert_eq!(cohen_kappa(&[1, 1], &[1, 1], Weights::None), None);
        assert_eq!(gwet_ac1(&[1, 1], &[1, 1]), Some(1.0));
        assert_eq!(krippendorff_alpha(&[vec![Some(1)], vec![Some(1)]], Scale::Nominal), None);
        assert_eq!(krippendorff_alpha(&[], Scale::Nominal), None);
    }

    #[test]
    fn a_jackknife_interval_holds_its_figure() {
        let (a, b) = ([1, 1, 0, 0, 1, 0, 1, 1, 0, 1], [1, 1, 0, 1, 1, 0, 1, 0, 0, 1]);
        let kept = |keep: &dyn Fn(usize) -> bool, v: &[i64]| -> Vec<i64> {
            v.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, x)| *x).collect()
        };
        let interval =
            jackknife(10, 0.05, |keep| cohen_kappa(&kept(keep, &a), &kept(keep, &b), Weights::None)).unwrap();
        let kappa = cohen_kappa(&a, &b, Weights::None).unwrap();
        assert!(interval.lower < kappa && kappa < interval.upper);
    }
}
