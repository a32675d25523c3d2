//! Verdicts and comparisons as bytes: one file per format, and one place (cli) that writes them.

pub mod brief;
pub mod compare;
pub mod github;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod overview;
pub mod page;
pub mod production;
pub mod replay;
pub mod sarif;
pub mod template;
pub mod text;

#[cfg(test)]
mod samples;

use crate::gate::judges::{JudgeRow, JudgedRate};
use crate::gate::{MetricReport, SuiteReport, TaskReport, Verdict};
use crate::stats::Estimate;

/// Text as HTML and XML have it: nothing from a trace is trusted.
fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The word people read for a verdict.
pub fn headline(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "Pass",
        Verdict::Regress => "Regression",
        Verdict::Undecided => "Undecided",
        Verdict::Invalid => "Invalid run",
    }
}

/// Tasks worth a line: those that surely got worse, then those that probably did (q at most .10), most certain first.
fn telling_tasks(metric: &MetricReport) -> Vec<&TaskReport> {
    let mut tasks: Vec<&TaskReport> =
        metric.per_task.iter().filter(|t| t.regressed || t.q.is_some_and(|q| q <= 0.10)).collect();
    tasks.sort_by(|a, b| a.p.unwrap_or(1.0).total_cmp(&b.p.unwrap_or(1.0)).then_with(|| a.task.cmp(&b.task)));
    tasks
}

/// `88.1 % [82.4, 92.5]`, or a dash where there were too few trials.
fn estimate(estimate: Option<&Estimate>) -> String {
    estimate.map_or_else(
        || "too few trials".to_owned(),
        |e| format!("{:.1} % [{:.1}, {:.1}]", 100.0 * e.value, 100.0 * e.interval.lower, 100.0 * e.interval.upper),
    )
}

/// A line for each rubric and criterion: raw and corrected rates of both arms, and whether the judge can block.
fn judge_lines(rows: &[JudgeRow]) -> Vec<String> {
    let rate = |rate: Option<&JudgedRate>| match rate {
        None => "-".to_owned(),
        Some(rate) => {
            let raw = format!("{:.1} % raw", 100.0 * rate.raw);
            match (rate.corrected, rate.interval) {
                (Some(value), Some(interval)) => format!(
                    "{raw}, {:.1} % [{:.1}, {:.1}] corrected",
                    100.0 * value,
                    100.0 * interval.lower,
                    100.0 * interval.upper
                ),
                _ => format!("{raw} ({})", rate.why.as_deref().unwrap_or("not corrected")),
            }
        }
    };
    let line = |row: &JudgeRow| {
        let informs = if row.may_block { "" } else { " (informs only)" };
        format!("judge {}{informs}: {} -> {}", row.grader, rate(row.baseline.as_ref()), rate(row.candidate.as_ref()))
    };
    rows.iter().map(line).collect()
}

/// `run-a:main (openai/gpt)`.
fn source(source: &crate::gate::Source) -> String {
    format!("{}:{} ({})", source.run, source.variant, source.model)
}

/// What the bounds of a suite's metrics are about, in a line.
fn fine_print(suite: &SuiteReport) -> Option<String> {
    let metric = suite.metrics.first()?;
    let unit = match metric.estimand {
        crate::stats::Estimand::Suite => "exactly these tasks (suite)",
        crate::stats::Estimand::Population => "all tasks like these (population)",
        crate::stats::Estimand::Group => "all families of tasks like these (group)",
    };
    let bound = match metric.bound {
        crate::stats::Bound::Gaffke => "Gaffke bounds",
        crate::stats::Bound::Betting => "betting bounds",
    };
    Some(format!(
        "Bounds are one-sided at {:.0} % and about {unit}; {bound}; {} units from {} and {} valid trials; policy {}.",
        100.0 * (1.0 - metric.alpha),
        metric.units,
        metric.baseline_trials,
        metric.candidate_trials,
        &suite.policy_hash[..12.min(suite.policy_hash.len())]
    ))
}

/// Names come from suites and models: no line ends and no terminal obeys because of one.
fn calm(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
