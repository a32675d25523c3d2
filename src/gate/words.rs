//! The verdict in words: one line that says why.

use super::checks::few;
use super::policy::{OnFinding, Policy};
use super::verdict::{MetricReport, Reason, ReasonKind, ToDecide, Verdict};

/// Why this metric says what it says. Findings that only warn go to `warnings`.
pub fn reasons(metric: &MetricReport, policy: &Policy, warnings: &mut Vec<String>) -> Vec<(Verdict, Reason)> {
    let mut reasons = Vec::new();
    let broken: Vec<String> = metric.per_task.iter().filter(|t| t.regressed).map(task_in_words).collect();
    let broken: Vec<&str> = broken.iter().map(String::as_str).collect();
    let sole = metric.invalid.all_fail.is_some() || metric.invalid.all_pass.is_some();
    if !broken.is_empty() {
        let noun = if broken.len() == 1 { "a task" } else { "tasks" };
        let text = format!("{noun} got worse beyond noise: {}", few(&broken));
        match policy.task_regressions {
            OnFinding::Fail if metric.verdict == Verdict::Regress => {
                reasons.push((Verdict::Regress, Reason { kind: ReasonKind::TaskRegression, text }));
                return reasons;
            }
            OnFinding::Fail | OnFinding::Warn => warnings.push(text),
        }
    }
    let numbers = format!("{} {} -> {}", metric.name, percent(metric.baseline), percent(metric.candidate));
    let (kind, text) = match metric.verdict {
        Verdict::Pass => {
            if metric.worse_within_margin {
                warnings.push(format!(
                    "{} is significantly worse ({}, {}), though by less than the margin",
                    metric.name,
                    points(metric.difference),
                    p_is(metric.p_regress_adjusted)
                ));
            }
            (
                ReasonKind::WithinMargin,
                format!(
                    "{numbers} ({}): not worse by {} or more ({}; {} units, {})",
                    points(metric.difference),
                    size(metric.margin),
                    p_is(metric.p_pass),
                    metric.units,
                    metric.estimand
                ),
            )
        }
        Verdict::Regress => (
            ReasonKind::Drop,
            format!(
                "{numbers} ({}): worse beyond noise ({}; {} tasks, {} and {} trials)",
                points(metric.difference),
                p_is(metric.p_regress_adjusted),
                metric.tasks,
                metric.baseline_trials,
                metric.candidate_trials
            ),
        ),
        Verdict::Undecided | Verdict::Invalid => {
            let by_itself = [&metric.invalid.all_fail, &metric.invalid.all_pass].into_iter().flatten();
            let settled = by_itself.map(|s| s.verdict).any(|v| v != Verdict::Undecided);
            let kind = if sole && settled { ReasonKind::DependsOnInvalid } else { ReasonKind::NotDecided };
            let hinges = if kind == ReasonKind::DependsOnInvalid {
                format!(
                    " The answer depends on the {} trials that could not be measured.",
                    metric.invalid.baseline + metric.invalid.candidate
                )
            } else {
                String::new()
            };
            (kind, format!("{numbers} ({}): {}{hinges}", points(metric.difference), undecided(metric)))
        }
    };
    reasons.push((metric.verdict, Reason { kind, text }));
    reasons
}

fn undecided(metric: &MetricReport) -> String {
    let range = format!(
        "the true difference may be anywhere from {} to {}, so neither a pass at a margin of {} nor a regression is shown.",
        points(metric.lower),
        points(metric.upper),
        size(metric.margin)
    );
    match &metric.to_decide {
        Some(help) => format!("{range} {}", help_in_words(help)),
        None => range,
    }
}

fn help_in_words(help: &ToDecide) -> String {
    let margin = format!("These data pass at a margin of {}", size((help.passing_margin * 1000.0).ceil() / 1000.0));
    let likely = if help.toward == Verdict::Regress { "a regression" } else { "a pass" };
    match (help.more_rounds, help.more_units) {
        (Some(rounds), _) => format!(
            "{margin}; about {rounds} more round{} of all tasks in both arms would show {likely} with 80 % chance.",
            if rounds == 1 { "" } else { "s" }
        ),
        (None, Some(units)) => {
            format!("{margin}; about {units} more tasks or groups would show {likely} with 80 % chance.")
        }
        (None, None) => format!("{margin}; no reasonable number of trials would decide it."),
    }
}

/// `name (8/8 -> 0/8)`.
pub fn task_in_words(task: &super::verdict::TaskReport) -> String {
    let (b, c) = (task.baseline, task.candidate);
    format!("{} ({}/{} -> {}/{})", task.task, b.c, b.n, c.c, c.n)
}

/// `91.3 %`.
pub fn percent(x: f64) -> String {
    format!("{:.1} %", 100.0 * x)
}

/// `+1.2 points`, of a hundred.
pub fn points(x: f64) -> String {
    let rounded = (1000.0 * x).round() / 10.0;
    // No "-0.0".
    format!("{:+.1} points", rounded + 0.0)
}

/// `5.0 points`.
pub fn size(x: f64) -> String {
    format!("{:.1} points", 100.0 * x)
}

/// `p = 0.0038`, `p < 0.0001`.
pub fn p_is(p: f64) -> String {
    if p < 0.0001 { "p < 0.0001".to_owned() } else { format!("p = {p:.4}") }
}

/// `0.0038`, `< 0.0001`.
pub fn p_value(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}
