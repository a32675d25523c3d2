//! Evidence that may be looked at any time: a betting e-process on values in a known range, and its confidence sequence.
//!
//! E(m) = (1/24) Σ_j Π_i (1 + c_j (x_i - m) / (m - low)), c_j log-spaced from .01 to .99 (Waudby-Smith and Ramdas 2024,
//! arXiv:2010.09686, with a fixed mixture of bets). Every factor is at least 0 and has mean at most 1 while the true mean is at
//! most m, so P(E ever reaches 1/alpha) <= alpha by Ville's inequality, however often one looks; and the E of independent reruns
//! multiply.

use serde::{Deserialize, Serialize};

use super::Interval;
use super::gaffke::Bounded;

/// How many bets are mixed.
pub const BETS: usize = 24;

fn bet(j: usize) -> f64 {
    0.01 * 99_f64.powf(j as f64 / (BETS - 1) as f64)
}

/// ln of the mean of e^x.
fn ln_mean_exp(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + (logs.iter().map(|l| (l - most).exp()).sum::<f64>() / logs.len() as f64).ln()
}

/// ln Π (1 + c_j (x - m) / (m - low)) for every bet.
fn log_wealth(values: &Bounded, low: f64, m: f64) -> Vec<f64> {
    let room = m - low;
    (0..BETS)
        .map(|j| values.groups().iter().map(|(x, n)| f64::from(*n) * (bet(j) * (x - m) / room).ln_1p()).sum())
        .collect()
}

/// ln E against "the mean is at most `m`", for values from `low` up.
pub fn log_e_above(values: &Bounded, low: f64, m: f64) -> f64 {
    ln_mean_exp(&log_wealth(values, low, m))
}

/// The confidence sequence at this point: each side at level 1 - `alpha`, valid at every point at once.
pub fn confidence_sequence(values: &Bounded, low: f64, high: f64, alpha: f64) -> Interval {
    let lower = sequence_lower(values, low, high, alpha);
    let upper = low + high - sequence_lower(&values.mirrored(), low, high, alpha);
    Interval { lower, upper }
}

/// sup {m: ln E(m) >= ln(1/alpha)}: E falls as m grows.
fn sequence_lower(values: &Bounded, low: f64, high: f64, alpha: f64) -> f64 {
    let (mut below, mut above) = (low, high);
    for _ in 0..80 {
        let middle = 0.5 * (below + above);
        if middle <= below || middle >= above {
            break;
        }
        if log_e_above(values, low, middle) >= -alpha.ln() { below = middle } else { above = middle }
    }
    // The safe side of the last bracket, and `low` itself when no bet ever won.
    below
}

/// The evidence of a comparison so far, in both directions; kept with a gate's record so that a rerun adds to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Differences seen.
    pub units: u64,
    /// ln wealth of each bet against "worse by the margin or more".
    pub pass: Vec<f64>,
    /// ln wealth of each bet against "not worse".
    pub regress: Vec<f64>,
}

impl Default for Evidence {
    fn default() -> Self {
        Evidence { units: 0, pass: vec![0.0; BETS], regress: vec![0.0; BETS] }
    }
}

impl Evidence {
    /// Adds fresh differences (candidate - baseline, from -1 to 1), never seen before, in any order.
    /// Evidence whose shape is not ours (a file edited by hand) counts as none.
    pub fn add(&mut self, differences: &Bounded, margin: f64) {
        if self.pass.len() != BETS || self.regress.len() != BETS {
            *self = Evidence::default();
        }
        let pass = log_wealth(differences, -1.0, -margin);
        let regress = log_wealth(&differences.mirrored(), -1.0, 0.0);
        self.pass.iter_mut().zip(pass).for_each(|(sum, new)| *sum += new);
        self.regress.iter_mut().zip(regress).for_each(|(sum, new)| *sum += new);
        self.units += differences.count() as u64;
    }

    /// ln E that the candidate is not worse by the margin.
    pub fn log_e_pass(&self) -> f64 {
        ln_mean_exp(&self.pass)
    }

    /// ln E that the candidate is worse.
    pub fn log_e_regress(&self) -> f64 {
        ln_mean_exp(&self.regress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_in_two_parts_is_the_evidence_of_the_whole() {
        let all = [0.0, -0.5, 0.25, 0.0, 1.0, -1.0, 0.0];
        let mut once = Evidence::default();
        once.add(&Bounded::difference(&all).unwrap(), 0.1);
        let mut twice = Evidence::default();
        twice.add(&Bounded::difference(&all[..3]).unwrap(), 0.1);
        twice.add(&Bounded::difference(&all[3..]).unwrap(), 0.1);
        assert!((once.log_e_pass() - twice.log_e_pass()).abs() < 1e-12);
        assert!((once.log_e_regress() - twice.log_e_regress()).abs() < 1e-12);
        assert_eq!(twice.units, 7);
    }

    #[test]
    fn no_data_no_evidence() {
        assert_eq!(Evidence::default().log_e_pass(), 0.0);
        assert_eq!(Evidence::default().log_e_regress(), 0.0);
    }

    #[test]
    fn clear_data_speak_clearly() {
        let mut good = Evidence::default();
        good.add(&Bounded::difference(&[0.0; 200]).unwrap(), 0.1);
        assert!(good.log_e_pass() > 20_f64.ln() && good.log_e_regress() < 20_f64.ln());
        let mut bad = Evidence::default();
        bad.add(&Bounded::difference(&[-1.0; 20]).unwrap(), 0.1);
        assert!(bad.log_e_regress() > 20_f64.ln() && bad.log_e_pass() < 0.0);
    }

    #[test]
    fn the_sequence_holds_the_mean_and_is_wider_than_gaffke() {
        let values = Bounded::unit(&[0.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.25]).unwrap();
        let sequence = confidence_sequence(&values, 0.0, 1.0, 0.025);
        let gaffke = values.interval(0.05);
        assert!(sequence.lower < gaffke.lower && sequence.upper > gaffke.upper);
    }
}
