//! Many tests at once.

/// Holm's adjusted p-values (Holm 1979): the chance of even one false alarm stays at alpha.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max((p[i] * (p.len() - rank) as f64).min(1.0));
        adjusted[i] = largest;
    }
    adjusted
}

/// Benjamini and Hochberg's adjusted p-values (1995): the expected share of false alarms among the alarms stays at q.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut smallest = 1.0_f64;
    for (rank, &i) in order.iter().enumerate().rev() {
        smallest = smallest.min(p[i] * p.len() as f64 / (rank + 1) as f64);
        adjusted[i] = smallest;
    }
    adjusted
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_nothing_out_and_one_stays_itself() {
        assert!(holm(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
        assert_eq!((holm(&[0.03])[0], benjamini_hochberg(&[0.03])[0]), (0.03, 0.03));
    }

    #[test]
    fn holm_is_never_below_benjamini_hochberg() {
        let p = [0.5, 0.001, 0.02, 0.02, 0.9, 0.04];
        for (h, b) in holm(&p).iter().zip(benjamini_hochberg(&p)) {
            assert!(*h >= b);
        }
    }
}
