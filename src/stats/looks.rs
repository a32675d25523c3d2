//! Looking more than once: group-sequential boundaries.
//!
//! One-sided error alpha spread over R looks at information t_r. Constants and boundaries come from Armitage, McPherson and
//! Rowe's recursion (1969) for the crossing of a Brownian motion; O'Brien and Fleming 1979, Pocock 1977, Lan and DeMets 1983,
//! Wang and Tsiatis 1987; checked against Jennison and Turnbull, Group Sequential Methods, tables 2.1 to 2.3.

use super::gaffke::gauss_legendre;
use super::special::{normal_cdf, normal_pdf, normal_quantile};

/// How the error is spread: a boundary C · t^(shape - 1/2) on the z scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Strict early, nearly the full alpha at the end (Wang-Tsiatis 0).
    OBrienFleming,
    /// The same z at every look (Wang-Tsiatis 1/2).
    Pocock,
    /// Between the two.
    WangTsiatis(f64),
}

impl Shape {
    fn exponent(self) -> f64 {
        match self {
            Shape::OBrienFleming => -0.5,
            Shape::Pocock => 0.0,
            Shape::WangTsiatis(shape) => shape - 0.5,
        }
    }
}

/// The constant C for `looks` equally spaced looks and one-sided `alpha`, by bisection on the recursion.
pub fn constant(shape: Shape, looks: u32, alpha: f64) -> f64 {
    let times = equal_times(looks);
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..60 {
        let c = 0.5 * (low + high);
        let bounds: Vec<f64> = times.iter().map(|t| c * t.powf(shape.exponent())).collect();
        if crossing(&times, &bounds).iter().sum::<f64>() > alpha { low = c } else { high = c }
    }
    0.5 * (low + high)
}

/// Nominal one-sided p-values a_r at each of `looks` equally spaced looks.
pub fn nominal_p(shape: Shape, looks: u32, alpha: f64) -> Vec<f64> {
    let c = match (shape, table(looks, alpha)) {
        (Shape::OBrienFleming, Some(c)) => c,
        _ => constant(shape, looks, alpha),
    };
    equal_times(looks).iter().map(|t| normal_cdf(-c * t.powf(shape.exponent()))).collect()
}

/// O'Brien and Fleming's constants for the usual plans, so that they need not be computed anew.
fn table(looks: u32, alpha: f64) -> Option<f64> {
    const FIVE_PERCENT: [(u32, f64); 9] = [
        (1, 1.644_853_626_951_472_2),
        (2, 1.677_953),
        (3, 1.709_606),
        (4, 1.733_100),
        (5, 1.750_866),
        (6, 1.764_891),
        (8, 1.785_934),
        (10, 1.801_211),
        (20, 1.842_316),
    ];
    const HALF_OF_IT: [(u32, f64); 9] = [
        (1, 1.959_963_984_540_054),
        (2, 1.977_431),
        (3, 2.004_036),
        (4, 2.024_296),
        (5, 2.040_073),
        (6, 2.052_793),
        (8, 2.072_207),
        (10, 2.086_502),
        (20, 2.125_652),
    ];
    let column = if alpha == 0.05 {
        FIVE_PERCENT
    } else if alpha == 0.025 {
        HALF_OF_IT
    } else {
        return None;
    };
    column.iter().find(|(r, _)| *r == looks).map(|(_, c)| *c)
}

/// z boundaries for looks at any times, by Lan and DeMets' spending function of O'Brien-Fleming type:
/// alpha(t) = 2 - 2 Φ(z_{alpha/2} / √t).
pub fn lan_demets(times: &[f64], alpha: f64) -> Vec<f64> {
    let z = normal_quantile(1.0 - alpha / 2.0);
    let spent = |t: f64| 2.0 * normal_cdf(-z / t.sqrt());
    let mut bounds: Vec<f64> = Vec::with_capacity(times.len());
    for (r, t) in times.iter().enumerate() {
        let target = spent(*t) - if r == 0 { 0.0 } else { spent(times[r - 1]) };
        let (mut low, mut high) = (-2.0, 12.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            bounds.push(middle);
            let p = crossing(&times[..=r], &bounds)[r];
            bounds.pop();
            if p > target { low = middle } else { high = middle }
        }
        bounds.push(0.5 * (low + high));
    }
    bounds
}

fn equal_times(looks: u32) -> Vec<f64> {
    (1..=looks).map(|r| f64::from(r) / f64::from(looks)).collect()
}

/// P(first crossing at look r) for a driftless process with upper bounds `z` at information `times`.
///
/// On the scale S = Z √t increments are normal; the density of S among paths that have not crossed is carried from look to look
/// on Gauss-Legendre nodes.
fn crossing(times: &[f64], z: &[f64]) -> Vec<f64> {
    const NODES: usize = 128;
    let rule = rule(NODES);
    let mut out = Vec::with_capacity(times.len());
    // Nodes, with density times weight, of the paths still going.
    let mut alive: Vec<(f64, f64)> = vec![(0.0, 1.0)];
    let mut before = 0.0;
    for (t, z) in times.iter().zip(z) {
        let sd = (t - before).sqrt();
        let bound = z * t.sqrt();
        out.push(alive.iter().map(|(s, w)| w * normal_cdf((s - bound) / sd)).sum());
        let bottom = -9.0 * t.sqrt();
        let half = 0.5 * (bound - bottom);
        alive = rule
            .iter()
            .map(|(x, w)| {
                let s = bottom + half * (1.0 + x);
                let density: f64 = alive.iter().map(|(from, w)| w * normal_pdf((s - from) / sd)).sum::<f64>() / sd;
                (s, density * w * half)
            })
            .collect();
        before = *t;
    }
    out
}

fn rule(nodes: usize) -> &'static [(f64, f64)] {
    static RULE: std::sync::OnceLock<Vec<(f64, f64)>> = std::sync::OnceLock::new();
    RULE.get_or_init(|| gauss_legendre(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_recursion() {
        for alpha in [0.05, 0.025] {
            for looks in [1, 2, 3, 4, 5, 6, 8, 10, 20] {
                let computed = constant(Shape::OBrienFleming, looks, alpha);
                assert!((computed - table(looks, alpha).unwrap()).abs() < 1e-6, "{looks} {alpha} {computed}");
            }
        }
        assert!((constant(Shape::WangTsiatis(0.25), 5, 0.05) - 1.856_879).abs() < 2e-6);
        assert!((constant(Shape::WangTsiatis(0.25), 10, 0.05) - 1.923_122).abs() < 2e-6);
    }

    #[test]
    fn one_look_costs_nothing() {
        assert!((nominal_p(Shape::OBrienFleming, 1, 0.05)[0] - 0.05).abs() < 1e-12);
        assert!((nominal_p(Shape::Pocock, 1, 0.1)[0] - 0.1).abs() < 1e-9);
    }
}
