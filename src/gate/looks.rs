//! Deciding early: group-sequential looks at the same p-values, O'Brien and Fleming's boundaries.
//!
//! A round is one block of k trials of every task. After round r of R both p-values are held against the nominal a_r, whose
//! crossing probability over all looks is alpha. A baseline that was stored in full is used in full at every look: its noise is
//! then shared by all looks, which makes them more alike and the boundary conservative.

use serde::{Deserialize, Serialize};

use super::arm::Arm;
use super::decide::decide;
use super::error::GateError;
use super::figures::valid_counts;
use super::limits::{cost, readings};
use super::policy::{OnFinding, Policy};
use super::verdict::{GateReport, ReasonKind, Verdict};
use crate::stats::basic::mean;
use crate::stats::exact::fisher_worse;
use crate::stats::looks::{Shape, nominal_p};
use crate::stats::multiple::holm;
use crate::stats::rng::Rng;
use crate::stats::{Counts, Estimand};

/// Tasks whose unadjusted p is at most this run to their full number of trials before an early pass counts.
const SUSPICIOUS: f64 = 0.10;

/// How many looks there will be; set before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    /// Rounds in all: R · k trials per task is the full number.
    pub rounds: u32,
}

/// What to do after a round.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "look", rename_all = "snake_case")]
pub enum Look {
    /// Not decided: run the next round of all tasks.
    Continue { p_pass: f64, p_regress: f64, threshold: f64 },
    /// It would pass, but these tasks are under suspicion: run them to their full number of trials, then look at the same round
    /// again.
    Finish { tasks: Vec<String>, trials_per_task: u32 },
    /// Final; more trials would be exploratory.
    Stop { report: Box<GateReport>, saved: Saved },
}

/// What stopping early spared the candidate's arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    pub trials_run: u64,
    pub trials_saved: u64,
    /// At the mean cost of the trials run; `None` when a trial's cost is unknown.
    pub cost_usd: Option<f64>,
}

/// The tasks of each round when tasks are the units (population): a random 1/R of them at a time, in an order drawn from `seed`,
/// which belongs in the log.
pub fn task_batches(tasks: &[String], looks: Looks, seed: u64) -> Vec<Vec<String>> {
    let mut order = tasks.to_vec();
    order.sort();
    Rng::new(seed).shuffle(&mut order);
    let rounds = looks.rounds.max(1) as usize;
    (0..rounds).map(|r| order[r * order.len() / rounds..(r + 1) * order.len() / rounds].to_vec()).collect()
}

/// Looks at the data after round `round` (from 1) of `looks.rounds`. A round is one block of k trials of every task; with tasks or
/// groups as units it is the next batch of tasks (`task_batches`) with all their trials. Trials beyond that round (of tasks run to
/// the full number) count for their own task's test only.
pub fn look(baseline: &Arm, candidate: &Arm, policy: &Policy, looks: Looks, round: u32) -> Result<Look, GateError> {
    if looks.rounds == 0 || round == 0 || round > looks.rounds {
        return Err(GateError::BadPlan(format!("round {round} of {} rounds does not exist", looks.rounds)));
    }
    let thresholds = nominal_p(Shape::OBrienFleming, looks.rounds, policy.alpha);
    let k = policy.figure().k().max(1);
    let by_task = policy.estimand != Estimand::Suite;
    let full = if by_task { candidate.trials_per_task } else { looks.rounds * k };
    let whole = candidate.tasks.len();
    if round == looks.rounds {
        let last = Policy { alpha: thresholds[round as usize - 1], ..policy.clone() };
        return Ok(stop(decide(baseline, candidate, &last)?, candidate, whole, full));
    }
    // The suite's own test sees whole rounds only, and no task's own test before the end.
    let (before, after) = if by_task {
        let done = |name: &String| candidate.tasks.get(name).is_some_and(|t| !t.outcomes.0.is_empty());
        (baseline.only_tasks(done), candidate.only_tasks(done))
    } else {
        (baseline.clone(), candidate.first_trials((round * k) as usize))
    };
    let reached = rounds_reached(&before, &after, policy, looks, whole).min(round);
    let Some(threshold) = reached.checked_sub(1).map(|r| thresholds[r as usize]) else {
        return Ok(Look::Continue { p_pass: 1.0, p_regress: 1.0, threshold: thresholds[0] });
    };
    let at_look = Policy { alpha: threshold, task_regressions: OnFinding::Warn, ..policy.clone() };
    let report = decide(&before, &after, &at_look)?;
    match report.verdict {
        Verdict::Pass if by_task => early_pass(&before, &after, policy, report, (whole, full)),
        Verdict::Pass => early_pass(baseline, candidate, policy, report, (whole, full)),
        Verdict::Regress => Ok(stop(report, candidate, whole, full)),
        // A share of invalid trials that is too high now may be the first trial's bad luck; the last look will tell.
        Verdict::Undecided | Verdict::Invalid => {
            let metric = report.suites.first().and_then(|s| s.metrics.first());
            let (p_pass, p_regress) = metric.map_or((1.0, 1.0), |m| (m.p_pass, m.p_regress));
            Ok(Look::Continue { p_pass, p_regress, threshold })
        }
    }
}

/// Whole rounds of information the valid trials hold: invalid ones bring none, and the boundary must know.
fn rounds_reached(before: &Arm, after: &Arm, policy: &Policy, looks: Looks, whole: usize) -> u32 {
    let (b, c) = (valid_counts(before), valid_counts(after));
    if policy.estimand != Estimand::Suite {
        return u32::try_from(b.len() * looks.rounds as usize / whole.max(1)).unwrap_or(0);
    }
    let k = policy.figure().k().max(1);
    b.iter().zip(&c).map(|(b, c)| b.n.min(c.n) / k).min().unwrap_or(0)
}

/// Before an early pass is final every task under suspicion is run to its full number and tested; tasks that were not completed
/// are not tested, which is conservative.
fn early_pass(
    baseline: &Arm,
    candidate: &Arm,
    policy: &Policy,
    mut report: GateReport,
    (whole, full): (usize, u32),
) -> Result<Look, GateError> {
    if policy.task_regressions == OnFinding::Warn {
        return Ok(stop(report, candidate, whole, full));
    }
    let names: Vec<&String> = candidate.tasks.keys().collect();
    let (before, after) = (valid_counts(baseline), valid_counts(candidate));
    let p: Vec<f64> = before.iter().zip(&after).map(|(b, c)| fisher_worse(*b, *c)).collect();
    let asked = |i: usize| candidate.tasks[names[i]].outcomes.0.len();
    let open: Vec<String> =
        (0..p.len()).filter(|i| p[*i] <= SUSPICIOUS && asked(*i) < full as usize).map(|i| names[i].clone()).collect();
    if !open.is_empty() {
        return Ok(Look::Finish { tasks: open, trials_per_task: full });
    }
    let completed: Vec<usize> = (0..p.len()).filter(|i| asked(*i) >= full as usize).collect();
    // Holm over all tasks of the suite: choosing the suspects after a look must not make their test easier.
    let mut all = vec![1.0; p.len()];
    completed.iter().for_each(|i| all[*i] = p[*i]);
    let adjusted = holm(&all);
    let broken: Vec<usize> = completed.into_iter().filter(|i| adjusted[*i] <= policy.alpha_task).collect();
    if !broken.is_empty() {
        block(&mut report, &broken, &names, &before, &after);
    }
    Ok(stop(report, candidate, whole, full))
}

fn block(report: &mut GateReport, broken: &[usize], names: &[&String], before: &[Counts], after: &[Counts]) {
    let said: Vec<String> = broken
        .iter()
        .map(|i| format!("{} ({}/{} -> {}/{})", names[*i], before[*i].c, before[*i].n, after[*i].c, after[*i].n))
        .collect();
    let text = format!("got worse beyond noise, run to the full number of trials: {}", said.join(", "));
    let Some(suite) = report.suites.first_mut() else { return };
    suite.verdict = Verdict::Regress;
    suite.why.clone_from(&text);
    suite.reasons = vec![super::verdict::Reason { kind: ReasonKind::TaskRegression, text: text.clone() }];
    if let Some(metric) = suite.metrics.first_mut() {
        metric.verdict = Verdict::Regress;
        for (i, task) in metric.per_task.iter_mut().enumerate() {
            task.regressed = broken.contains(&i);
        }
    }
    report.verdict = Verdict::Regress;
    report.why = text;
}

fn stop(report: GateReport, candidate: &Arm, whole: usize, full: u32) -> Look {
    let run: u64 = candidate.tasks.values().map(|t| t.outcomes.0.len() as u64).sum();
    let saved = (u64::from(full) * whole as u64).saturating_sub(run);
    let (costs, missing) = readings(candidate, cost);
    let cost_usd = (missing == 0 && !costs.is_empty()).then(|| mean(&costs) * saved as f64);
    Look::Stop { report: Box::new(report), saved: Saved { trials_run: run, trials_saved: saved, cost_usd } }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{arm, numbered};
    use super::*;

    const FOUR: Looks = Looks { rounds: 4 };

    fn suite(tasks: usize, trials: &str) -> Arm {
        numbered("x", &vec![trials.to_owned(); tasks])
    }

    #[test]
    fn a_clear_answer_comes_early_and_says_what_it_saved() {
        let policy = Policy { margin: 0.1, ..Policy::for_kind("regression") };
        let base = suite(40, "pppp");
        let first = look(&base, &suite(40, "p"), &policy, FOUR, 1).unwrap();
        assert!(matches!(first, Look::Continue { threshold, .. } if threshold < 0.001), "{first:?}");
        let Look::Stop { report, saved } = look(&base, &suite(40, "pp"), &policy, FOUR, 2).unwrap() else {
            panic!("80 ties at a margin of .1 have a p of .0002")
        };
        assert_eq!((report.verdict, saved.trials_run, saved.trials_saved), (Verdict::Pass, 80, 80));
        assert!((saved.cost_usd.unwrap() - 0.8).abs() < 1e-9);
        let bad = look(&base, &suite(40, "f"), &policy, FOUR, 1).unwrap();
        assert!(matches!(&bad, Look::Stop { report, .. } if report.verdict == Verdict::Regress));
    }

    #[test]
    fn a_suspicious_task_is_finished_before_a_pass_counts() {
        let policy = Policy { margin: 0.1, ..Policy::for_kind("regression") };
        let with = |t: &str| {
            let mut trials = vec!["pppp".to_owned(); 119];
            trials.push(t.to_owned());
            numbered("c", &trials)
        };
        let base = suite(120, "pppppppppppppppppppppppppppppppp");
        let look_at = |c: &Arm| look(&base, c, &policy, Looks { rounds: 8 }, 4).unwrap();
        assert_eq!(
            look_at(&with("ffpp")),
            Look::Finish { tasks: vec!["t119".into()], trials_per_task: 8 },
            "two of four failed where the baseline never did"
        );
        let Look::Stop { report, .. } = look_at(&with("ffppffff")) else { panic!("the suspect is complete") };
        assert_eq!(report.verdict, Verdict::Regress, "{}", report.why);
        assert!(report.why.contains("t119 (32/32 -> 2/8)"), "{}", report.why);
        let Look::Stop { report, .. } = look_at(&with("fppppppp")) else { panic!("the suspect is complete") };
        assert_eq!(report.verdict, Verdict::Pass);
    }

    #[test]
    fn an_invalid_first_trial_is_no_answer() {
        let policy = Policy { margin: 0.1, ..Policy::for_kind("regression") };
        let mut trials = vec!["p".to_owned(); 40];
        trials[0] = "i".to_owned();
        let now = look(&suite(40, "pppp"), &numbered("c", &trials), &policy, FOUR, 1).unwrap();
        assert!(matches!(now, Look::Continue { .. }), "{now:?}");
        // One round behind, its boundary is the first look's.
        trials = vec!["pp".to_owned(); 40];
        trials[0] = "ip".to_owned();
        let now = look(&suite(40, "pppp"), &numbered("c", &trials), &policy, FOUR, 2).unwrap();
        assert!(matches!(now, Look::Continue { threshold, .. } if threshold < 0.001), "{now:?}");
    }

    #[test]
    fn with_tasks_as_units_rounds_are_batches_of_tasks() {
        let names: Vec<String> = (0..200).map(|i| format!("t{i:03}")).collect();
        let batches = task_batches(&names, FOUR, 1);
        assert!(batches.iter().all(|b| b.len() == 50) && batches != task_batches(&names, FOUR, 2));
        let policy = Policy { margin: 0.1, estimand: Estimand::Population, ..Policy::for_kind("regression") };
        let base = suite(200, "pppp");
        let so_far = |rounds: usize| {
            let mut trials = vec![String::new(); 200];
            for name in batches[..rounds].concat() {
                trials[name[1..].parse::<usize>().unwrap()] = "pppp".to_owned();
            }
            numbered("c", &trials)
        };
        assert!(matches!(look(&base, &so_far(1), &policy, FOUR, 1).unwrap(), Look::Continue { .. }));
        let Look::Stop { report, saved } = look(&base, &so_far(2), &policy, FOUR, 2).unwrap() else {
            panic!("100 ties")
        };
        assert_eq!((report.verdict, saved.trials_run, saved.trials_saved), (Verdict::Pass, 400, 400));
    }

    #[test]
    fn the_last_look_is_final_and_wrong_rounds_are_refused() {
        let policy = Policy::for_kind("regression");
        let tiny = arm("b", &[("a", "pp"), ("b", "pp")]);
        let last = look(&tiny, &tiny, &policy, Looks { rounds: 2 }, 2).unwrap();
        assert!(
            matches!(&last, Look::Stop { report, saved } if report.verdict == Verdict::Undecided && saved.trials_saved == 0)
        );
        for (rounds, round) in [(0, 0), (4, 0), (4, 5)] {
            assert!(look(&tiny, &tiny, &policy, Looks { rounds }, round).is_err());
        }
    }
}
