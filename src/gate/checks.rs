//! What must be so before anything is compared, and what a reader should be warned about.

use std::collections::BTreeSet;

use super::arm::Arm;
use super::error::{Differs, GateError};
use super::policy::{OnFinding, Policy};
use super::units::Side;
use crate::stats::exact::fisher_worse;
use crate::stats::special::beta_cdf;
use crate::stats::{Counts, Estimand, basic};

/// Refuses arms that did not measure the same thing in the same way; gives the tasks' names in order.
pub fn comparable(baseline: &Arm, candidate: &Arm, policy: &Policy) -> Result<Vec<String>, GateError> {
    let (b, c) = (&baseline.fingerprints, &candidate.fingerprints);
    if baseline.suite != candidate.suite && (b.suite != c.suite || b.suite.is_empty()) {
        return Err(GateError::DifferentSuites {
            baseline: baseline.suite.clone(),
            candidate: candidate.suite.clone(),
        });
    }
    if b.version != c.version {
        let (baseline, candidate) = (baseline.holdback.clone(), candidate.holdback.clone());
        return Err(GateError::FingerprintsDiffer { baseline, candidate });
    }
    let mut measured =
        vec![("suite", &b.suite, &c.suite), ("graders", &b.graders, &c.graders), ("judge", &b.judge, &c.judge)];
    if policy.limits.cost_usd != Default::default() {
        measured.push(("prices", &b.prices, &c.prices));
    }
    let differs: Vec<Differs> = measured
        .into_iter()
        .filter(|(_, b, c)| b != c)
        .map(|(what, b, c)| Differs { what: what.to_owned(), baseline: b.clone(), candidate: c.clone() })
        .collect();
    if !differs.is_empty() {
        return Err(GateError::MeasurementChanged(differs));
    }
    let (before, after): (BTreeSet<&String>, BTreeSet<&String>) =
        (baseline.tasks.keys().collect(), candidate.tasks.keys().collect());
    if before != after {
        let only = |a: &BTreeSet<&String>, b: &BTreeSet<&String>| a.difference(b).map(|t| (*t).clone()).collect();
        return Err(GateError::DifferentTasks {
            only_baseline: only(&before, &after),
            only_candidate: only(&after, &before),
        });
    }
    for (arm, name) in [(baseline, "baseline"), (candidate, "candidate")] {
        enough_asked(arm, name, policy)?;
        for label in &policy.required_graders {
            if !arm.graders().contains(label.as_str()) {
                let has = arm.graders().into_iter().map(str::to_owned).collect();
                return Err(GateError::NoGrader { label: label.clone(), arm: name, has });
            }
        }
    }
    Ok(baseline.tasks.keys().cloned().collect())
}

fn enough_asked(arm: &Arm, name: &'static str, policy: &Policy) -> Result<(), GateError> {
    let k = policy.figure().k();
    let run = arm.tasks.values().map(|t| t.outcomes.0.len()).max().unwrap_or(0);
    let most = arm.trials_per_task.max(u32::try_from(run).unwrap_or(u32::MAX));
    // No trials at all is not a question of k: that run says so itself.
    if run > 0 && most < k { Err(GateError::TooFewTrialsForK { k, most, arm: name }) } else { Ok(()) }
}

/// What is different about the loop itself: the thing being judged.
pub fn loop_changes(baseline: &Arm, candidate: &Arm) -> Vec<String> {
    let mut changes = Vec::new();
    if baseline.model != candidate.model {
        changes.push(format!("model {} -> {}", baseline.model, candidate.model));
    } else if baseline.variant_fingerprint != candidate.variant_fingerprint {
        changes.push(format!("prompt or parameters ({} -> {})", baseline.variant, candidate.variant));
    }
    if baseline.fingerprints.target != candidate.fingerprints.target {
        changes.push("the loop's command, or files it is made of".to_owned());
    }
    if let (Some(before), Some(after)) = (&baseline.git_commit, &candidate.git_commit)
        && before != after
    {
        let short = |c: &str| c.get(..10).unwrap_or(c).to_owned();
        changes.push(format!("commit {} -> {}", short(before), short(after)));
    }
    changes
}

/// Things that do not change the verdict and should be known all the same.
pub fn warnings(baseline: &Arm, candidate: &Arm, policy: &Policy, sides: Option<(&Side, &Side)>) -> Vec<String> {
    let mut warnings = Vec::new();
    let days = candidate.started.micros_since(baseline.started) / 86_400_000_000;
    if days > u64::from(policy.stale_after_days) {
        warnings.push(format!(
            "the baseline is {days} days older than the candidate: providers change under the same model name; run it again"
        ));
    }
    if baseline.fingerprints.prices != candidate.fingerprints.prices {
        warnings.push("prices differ between the runs: their costs can't be compared".to_owned());
    }
    for (arm, name) in [(baseline, "baseline"), (candidate, "candidate")] {
        let copies: u32 = arm.tasks.values().map(|t| t.copies).sum();
        if copies > 0 {
            warnings.push(format!(
                "{copies} trials of the {name} repeat another trial's answers (cache hits) and are not counted again"
            ));
        }
        let suspicious: Vec<&str> = arm
            .tasks
            .iter()
            .filter(|(_, t)| t.same_answer >= 4 && t.same_answer as usize == t.outcomes.0.len())
            .map(|(name, _)| name.as_str())
            .collect();
        if !suspicious.is_empty() {
            warnings.push(format!(
                "all answers of the {name} are word for word the same for {}: if a cache answered, these are not independent trials",
                few(&suspicious)
            ));
        }
    }
    if policy.estimand == Estimand::Population && baseline.tasks.len() == 1 {
        warnings.push("one task says nothing about a population of tasks; use the estimand `suite`".to_owned());
    }
    if let Some((before, after)) = sides {
        warnings.extend(too_few_to_find_a_broken_task(before, after, policy));
        warnings.extend(trend(before, after));
    }
    warnings
}

/// Up to five names, and how many more there are.
pub fn few(names: &[&str]) -> String {
    let shown = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown} and {} more", names.len() - 5) } else { shown }
}

fn too_few_to_find_a_broken_task(before: &Side, after: &Side, policy: &Policy) -> Option<String> {
    let valid = |t: &Vec<Option<f64>>| u32::try_from(t.iter().flatten().count()).unwrap_or(u32::MAX);
    let tasks = before.tasks.len();
    let best = before
        .tasks
        .iter()
        .zip(&after.tasks)
        .map(|(b, c)| fisher_worse(Counts { n: valid(b), c: valid(b) }, Counts { n: valid(c), c: 0 }))
        .fold(1.0, f64::min);
    (policy.task_regressions == OnFinding::Fail && tasks > 1 && best * tasks as f64 > policy.alpha_task).then(|| {
        format!(
            "with so few trials per task even a task that went from always passing to never passing could not be told from noise among {tasks} tasks: run more trials (8 or more), or keep more for the baseline"
        )
    })
}

/// Spearman's correlation of the rounds' mean difference with time: something drifted while the runs ran.
fn trend(before: &Side, after: &Side) -> Option<String> {
    let rounds = before.tasks.iter().zip(&after.tasks).map(|(b, c)| b.len().min(c.len())).min()?;
    if rounds < 6 {
        return None;
    }
    let mean_of = |r: usize| {
        let pairs = before.tasks.iter().zip(&after.tasks);
        let d: Vec<f64> = pairs.filter_map(|(b, c)| Some(c[r]? - b[r]?)).collect();
        (!d.is_empty()).then(|| basic::mean(&d))
    };
    let means: Vec<f64> = (0..rounds).map(mean_of).collect::<Option<_>>()?;
    let times: Vec<f64> = (0..rounds).map(|r| r as f64).collect();
    let rho = basic::spearman(&means, &times)?;
    // t = ρ √((n-2)/(1-ρ²)) on n-2 degrees of freedom; two-sided p through the incomplete beta function.
    let freedom = (rounds - 2) as f64;
    let p = beta_cdf(1.0 - rho * rho, freedom / 2.0, 0.5);
    (p < 0.01).then(|| {
        format!("the difference drifts from round to round (Spearman {rho:+.2}, p = {p:.4}): something changed while the trials ran")
    })
}
