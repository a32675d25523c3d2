//! Deciding at any time: evidence that grows from rerun to rerun, instead of dice rolled anew until they show green.
//!
//! Every rerun must bring fresh units: trials of the candidate not shown before, each paired with a block of the baseline not
//! used before. When the baseline has no fresh block left, it says so. Only the suite's own answer is anytime-valid; tests of single
//! tasks are not made here.

use serde::{Deserialize, Serialize};

use super::arm::Arm;
use super::checks::comparable;
use super::error::GateError;
use super::policy::{Metric, Policy};
use super::units::{Invalid, Side, What, value};
use super::verdict::Verdict;
use crate::stats::betting::Evidence;
use crate::stats::gaffke::Bounded;

/// What is carried from one rerun to the next, in the gate's record.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnytimeState {
    pub evidence: Evidence,
    /// Blocks of k baseline trials per task that have been used.
    pub baseline_blocks_used: u32,
    /// Hash of the policy the evidence was gathered under; another policy starts from nothing.
    pub policy_hash: String,
}

/// The answer so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Anytime {
    pub verdict: Verdict,
    pub why: String,
    /// ln E in either direction; ln(1/alpha) decides.
    pub log_e_pass: f64,
    pub log_e_regress: f64,
    pub needed: f64,
    pub fresh_units: u32,
    pub state: AnytimeState,
}

/// Adds the candidate's trials, all of them new, to the evidence.
pub fn anytime(baseline: &Arm, fresh: &Arm, policy: &Policy, before: &AnytimeState) -> Result<Anytime, GateError> {
    let names = comparable(baseline, fresh, policy)?;
    let what = if policy.metric == Metric::Score { What::Score } else { What::Outcome };
    let values = |arm| Side::of(arm, &what, &names).values(Invalid::LeftOut);
    let (trials, invalid) = Side::of(fresh, &what, &names).invalid();
    if f64::from(invalid) > policy.max_invalid_share * f64::from(trials) {
        return Ok(unmeasured(policy, before, trials, invalid));
    }
    let (old, new) = (values(baseline), values(fresh));
    let k = policy.figure().k().max(1) as usize;
    let hash = policy.hash();
    let mut state = if before.policy_hash == hash { before.clone() } else { AnytimeState::default() };
    state.policy_hash = hash;
    let used = state.baseline_blocks_used as usize;
    let blocks =
        |all: &[Vec<f64>], skip: usize| all.iter().map(|t| t.len() / k).min().unwrap_or(0).saturating_sub(skip);
    let (left, given) = (blocks(&old, used), blocks(&new, 0));
    let m = left.min(given);
    let block = |t: &[f64], j: usize| value(&t[j * k..(j + 1) * k], policy.figure());
    let differences: Vec<f64> = old
        .iter()
        .zip(&new)
        .flat_map(|(b, c)| (0..m).filter_map(move |j| Some(block(c, j)? - block(b, used + j)?)))
        .collect();
    if let Ok(units) = Bounded::difference(&differences) {
        state.evidence.add(&units, policy.margin);
        state.baseline_blocks_used += u32::try_from(m).unwrap_or(u32::MAX);
    }
    let needed = -policy.alpha.ln();
    let (log_e_pass, log_e_regress) = (state.evidence.log_e_pass(), state.evidence.log_e_regress());
    let verdict = if log_e_pass >= needed {
        Verdict::Pass
    } else if log_e_regress >= needed {
        Verdict::Regress
    } else {
        Verdict::Undecided
    };
    let why = match verdict {
        Verdict::Undecided if left == 0 && given > 0 => {
            "the baseline has no trials left that were not used before: run it again, or its luck would be counted twice".to_owned()
        }
        Verdict::Undecided if given == 0 => format!("a task has fewer than {k} new valid trials"),
        _ => format!(
            "evidence after {} units: {:.1} for a pass, {:.1} for a regression; {:.1} decides",
            state.evidence.units,
            log_e_pass.exp(),
            log_e_regress.exp(),
            needed.exp()
        ),
    };
    let fresh_units = u32::try_from(differences.len()).unwrap_or(u32::MAX);
    Ok(Anytime { verdict, why, log_e_pass, log_e_regress, needed, fresh_units, state })
}

/// A run of which too much was not measured adds nothing, whatever the rest of it says.
fn unmeasured(policy: &Policy, before: &AnytimeState, trials: u32, invalid: u32) -> Anytime {
    Anytime {
        verdict: Verdict::Invalid,
        why: format!(
            "{invalid} of {trials} trials could not be measured ({:.1} % are allowed): nothing was added to the evidence. Repair the harness and run again",
            100.0 * policy.max_invalid_share
        ),
        log_e_pass: before.evidence.log_e_pass(),
        log_e_regress: before.evidence.log_e_regress(),
        needed: -policy.alpha.ln(),
        fresh_units: 0,
        state: before.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::numbered;
    use super::*;

    #[test]
    fn reruns_add_up_until_the_baseline_is_used_up() {
        let policy = Policy { margin: 0.1, ..Policy::for_kind("regression") };
        let base = numbered("b", &vec!["pppppp".to_owned(); 20]);
        let fresh = numbered("c", &vec!["pp".to_owned(); 20]);
        let mut state = AnytimeState::default();
        let mut evidence = 0.0;
        for rerun in 0..3 {
            let now = anytime(&base, &fresh, &policy, &state).unwrap();
            assert!(now.log_e_pass > evidence, "rerun {rerun}");
            evidence = now.log_e_pass;
            state = serde_json::from_str(&serde_json::to_string(&now.state).unwrap()).unwrap();
            assert_eq!(now.verdict == Verdict::Pass, evidence >= 20_f64.ln(), "{}", now.why);
        }
        assert_eq!((state.evidence.units, state.baseline_blocks_used), (120, 6));
        let spent = anytime(&base, &fresh, &policy, &state).unwrap();
        assert_eq!((spent.fresh_units, spent.state.evidence.units), (0, 120));
        let other = Policy { margin: 0.2, ..policy };
        assert_eq!(
            anytime(&base, &fresh, &other, &state).unwrap().state.evidence.units,
            40,
            "another policy starts anew"
        );
    }

    #[test]
    fn a_bad_candidate_is_found() {
        let policy = Policy::for_kind("regression");
        let base = numbered("b", &vec!["pppp".to_owned(); 10]);
        let now =
            anytime(&base, &numbered("c", &vec!["ffff".to_owned(); 10]), &policy, &AnytimeState::default()).unwrap();
        assert_eq!(now.verdict, Verdict::Regress);
        let broken = anytime(&base, &numbered("c", &vec!["ppi".to_owned(); 10]), &policy, &AnytimeState::default());
        let broken = broken.unwrap();
        assert!(broken.verdict == Verdict::Invalid && broken.state == AnytimeState::default(), "{}", broken.why);
        let none = anytime(&base, &numbered("c", &vec![String::new(); 10]), &policy, &AnytimeState::default()).unwrap();
        assert!(none.verdict == Verdict::Undecided && none.why.contains("fewer than 1"), "{}", none.why);
    }
}
