//! Limits on cost, latency and tokens, and stuck loops.

use super::arm::{Arm, TaskTrials};
use super::checks::few;
use super::policy::{Limit, OnFinding, Policy};
use super::verdict::{LimitReport, Reason, ReasonKind, Verdict};
use crate::stats::basic::{quantile, quantile_bounds};

/// One statistic of all valid trials, `None` as soon as one trial does not know it.
pub type Reading = fn(&TaskTrials, usize) -> Option<f64>;

pub fn cost(task: &TaskTrials, i: usize) -> Option<f64> {
    task.cost_usd.get(i).copied().flatten()
}

pub fn latency(task: &TaskTrials, i: usize) -> Option<f64> {
    task.duration_ms.get(i).map(|ms| *ms as f64 / 1000.0)
}

pub fn tokens(task: &TaskTrials, i: usize) -> Option<f64> {
    task.tokens.get(i).copied().flatten().map(|n| n as f64)
}

/// The readings of all valid trials, and how many of these trials had none.
pub fn readings(arm: &Arm, read: Reading) -> (Vec<f64>, usize) {
    let mut missing = 0;
    let mut values = Vec::new();
    for task in arm.tasks.values() {
        for i in (0..task.outcomes.0.len()).filter(|i| task.is_valid(*i)) {
            match read(task, i) {
                Some(value) => values.push(value),
                None => missing += 1,
            }
        }
    }
    (values, missing)
}

/// Checks every limit of the policy.
pub fn check(baseline: &Arm, candidate: &Arm, policy: &Policy) -> Vec<LimitReport> {
    let limits = &policy.limits;
    let kinds: [(&str, &super::policy::Spread, Reading); 3] = [
        ("cost_usd", &limits.cost_usd, cost),
        ("latency_s", &limits.latency_s, latency),
        ("tokens", &limits.tokens, tokens),
    ];
    let mut reports = Vec::new();
    for (name, spread, read) in kinds {
        for (word, q, limit) in [("p50", 0.5, spread.p50), ("p95", 0.95, spread.p95)] {
            if let Some(limit) = limit {
                let one = One { name: format!("{name} {word}"), q, limit, alpha: policy.alpha };
                reports.push(one.check(readings(baseline, read), readings(candidate, read)));
            }
        }
    }
    reports
}

struct One {
    name: String,
    q: f64,
    limit: Limit,
    alpha: f64,
}

impl One {
    fn check(self, before: (Vec<f64>, usize), after: (Vec<f64>, usize)) -> LimitReport {
        let relative = self.limit.max_increase.map(|more| 1.0 + more);
        let (b, c) = (quantile(&before.0, self.q), quantile(&after.0, self.q));
        let unknown = after.1 > 0 || c.is_none() || (relative.is_some() && (before.1 > 0 || b.is_none()));
        let from_baseline = relative.and_then(|factor| Some(b? * factor));
        let allowed = [self.limit.max, from_baseline].into_iter().flatten().reduce(f64::min);
        let report =
            |verdict, text| LimitReport { name: self.name.clone(), baseline: b, candidate: c, allowed, verdict, text };
        let (Some(seen), Some(allowed), false) = (c, allowed, unknown) else {
            let text = format!("{}: unknown for some trials, so the limit can't be checked", self.name);
            return report(Verdict::Undecided, text);
        };
        if seen <= allowed {
            return report(Verdict::Pass, format!("{}: {seen:.4} of {allowed:.4} allowed", self.name));
        }
        // Beyond noise: the lower bound alone against a fixed limit; against the baseline each bound at alpha/2 (Bonferroni).
        let lower = |alpha: f64| quantile_bounds(&after.0, self.q, alpha).0;
        let surely_absolute = self.limit.max.is_some_and(|max| lower(self.alpha).is_some_and(|l| l > max));
        let surely_relative = relative.is_some_and(|factor| {
            let upper = quantile_bounds(&before.0, self.q, self.alpha / 2.0).1;
            matches!((lower(self.alpha / 2.0), upper), (Some(l), Some(u)) if l > u * factor)
        });
        if surely_absolute || surely_relative {
            let text = format!("{}: {seen:.4} is more than the {allowed:.4} allowed, beyond noise", self.name);
            return report(Verdict::Regress, text);
        }
        let text = format!("{}: {seen:.4} is more than the {allowed:.4} allowed, but within noise", self.name);
        report(Verdict::Undecided, text)
    }
}

/// Stuck loops in tasks where the baseline never got stuck.
pub fn new_stuck(baseline: &Arm, candidate: &Arm, policy: &Policy) -> Option<(OnFinding, Reason)> {
    let stuck: Vec<&str> = candidate
        .tasks
        .iter()
        .filter(|(name, task)| task.stuck > 0 && baseline.tasks.get(*name).is_none_or(|b| b.stuck == 0))
        .map(|(name, _)| name.as_str())
        .collect();
    let text = || format!("the loop got stuck where the baseline never did: {}", few(&stuck));
    (!stuck.is_empty()).then(|| (policy.new_stuck, Reason { kind: ReasonKind::NewStuck, text: text() }))
}
