//! Plain text, for a terminal and for the places that take only text.

use std::fmt::Write;

use super::calm;
use crate::gate::{GateReport, SuiteReport, Verdict, p_value, percent, points, size, task_in_words};

/// The whole report.
pub fn gate(report: &GateReport) -> String {
    let mut out = format!("{}: {}\n", super::headline(report.verdict), calm(&report.why));
    for one in &report.suites {
        let _ = write!(out, "\n{} ({}): {}\n", calm(&one.suite), calm(&one.kind), one.verdict);
        out.push_str(&suite(one));
    }
    out
}

/// One suite, without its headline.
pub fn suite(suite: &SuiteReport) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&calm(&text));
        out.push('\n');
    };
    line(format!("  baseline   {}", super::source(&suite.baseline)));
    line(format!("  candidate  {}", super::source(&suite.candidate)));
    if !suite.loop_changes.is_empty() {
        line(format!("  changed    {}", suite.loop_changes.join("; ")));
    }
    for metric in &suite.metrics {
        line(format!(
            "  {}  {} -> {}  {} [{}, {}], margin {}",
            metric.name,
            percent(metric.baseline),
            percent(metric.candidate),
            points(metric.difference),
            points(metric.lower),
            points(metric.upper),
            size(metric.margin)
        ));
        line(format!(
            "    p(worse by the margin) {}   p(no worse) {}   {}",
            p_value(metric.p_pass),
            p_value(metric.p_regress_adjusted),
            metric.verdict
        ));
        for task in super::telling_tasks(metric).into_iter().take(10) {
            let sure = if task.regressed { "surely worse" } else { "probably worse" };
            line(format!("    {sure}: {}", task_in_words(task)));
        }
        if let (Some(fail), Some(pass)) = (metric.invalid.all_fail, metric.invalid.all_pass) {
            line(format!(
                "    {} trials not measured: {} had they all failed, {} had they all passed",
                metric.invalid.baseline + metric.invalid.candidate,
                in_short(fail),
                in_short(pass)
            ));
        }
    }
    for row in &suite.figures {
        let (before, after) = (super::estimate(row.baseline.as_ref()), super::estimate(row.candidate.as_ref()));
        line(format!("  {:<8} {before} -> {after}", row.figure));
    }
    super::judge_lines(&suite.judges).into_iter().for_each(|text| line(format!("  {text}")));
    for limit in &suite.limits {
        let mark = if limit.verdict == Verdict::Pass { "ok" } else { limit.verdict.as_str() };
        line(format!("  limit {mark}: {}", limit.text));
    }
    suite.warnings.iter().for_each(|w| line(format!("  warning: {w}")));
    if let Some(small) = super::fine_print(suite) {
        line(format!("  {small}"));
    }
    out
}

fn in_short(scenario: crate::gate::Scenario) -> String {
    format!("{} ({})", points(scenario.difference), scenario.verdict)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_verdict_reads_well() {
        let all: Vec<String> = super::super::samples::all().iter().map(|(_, report)| super::gate(report)).collect();
        insta::assert_snapshot!(all.join("\n=====\n\n"));
    }
}
