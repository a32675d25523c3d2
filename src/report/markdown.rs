//! Markdown for a comment on a pull request and for a CI summary.

use crate::gate::judges::{JudgeRow, JudgedRate};
use crate::gate::{GateReport, MetricReport, SuiteReport, Verdict, p_value, percent, points, size};

/// The first line of a comment: whoever posts it finds its own older one by this.
pub const MARKER: &str = "<!-- holdback-gate -->";

/// The report as Markdown.
pub fn gate(report: &GateReport) -> String {
    let mut out = format!(
        "{MARKER}\n## {} {}\n\n{}\n",
        sign(report.verdict),
        super::headline(report.verdict),
        escape(&report.why)
    );
    for one in &report.suites {
        out.push('\n');
        out.push_str(&suite(one));
    }
    out
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✅",
        Verdict::Regress => "❌",
        Verdict::Undecided => "❔",
        Verdict::Invalid => "⚠️",
    }
}

fn suite(suite: &SuiteReport) -> String {
    let mut out = format!("### {} {}\n\n", sign(suite.verdict), escape(&suite.suite));
    out.push_str(&format!("{} → {}", code(&super::source(&suite.baseline)), code(&super::source(&suite.candidate))));
    if !suite.loop_changes.is_empty() {
        out.push_str(&format!("; changed: {}", escape(&suite.loop_changes.join("; "))));
    }
    out.push_str("\n\n");
    if !suite.metrics.is_empty() {
        out.push_str("| Metric | Baseline | Candidate | Difference | Bounds | Margin | Verdict |\n|---|--:|--:|--:|--:|--:|---|\n");
        suite.metrics.iter().for_each(|m| out.push_str(&metric_row(m)));
        out.push('\n');
    }
    for reason in suite.reasons.iter().filter(|_| suite.verdict != Verdict::Pass) {
        out.push_str(&format!("- {}\n", escape(&reason.text)));
    }
    suite.warnings.iter().for_each(|w| out.push_str(&format!("- ⚠️ {}\n", escape(w))));
    if suite.verdict != Verdict::Pass || !suite.warnings.is_empty() {
        out.push('\n');
    }
    out.push_str(&tasks(suite));
    out.push_str(&judges(&suite.judges));
    out.push_str(&figures(suite));
    out.push_str(&promotable(suite));
    if let Some(small) = super::fine_print(suite) {
        out.push_str(&format!("<sub>{}</sub>\n", escape(&small)));
    }
    out
}

fn metric_row(metric: &MetricReport) -> String {
    format!(
        "| {} | {} | {} | {} | {} to {} | {} | {} |\n",
        escape(&metric.name),
        percent(metric.baseline),
        percent(metric.candidate),
        points(metric.difference),
        points(metric.lower),
        points(metric.upper),
        size(metric.margin),
        metric.verdict
    )
}

fn tasks(suite: &SuiteReport) -> String {
    let Some(metric) = suite.metrics.first() else { return String::new() };
    let telling = super::telling_tasks(metric);
    if telling.is_empty() {
        return String::new();
    }
    let mut out = String::from("| Task | Baseline | Candidate | p | |\n|---|--:|--:|--:|---|\n");
    for task in telling.iter().take(20) {
        let note = match (task.regressed, task.flaky) {
            (true, _) => "worse beyond noise",
            (false, true) => "probably worse; was flaky before",
            (false, false) => "probably worse",
        };
        out.push_str(&format!(
            "| {} | {}/{} | {}/{} | {} | {note} |\n",
            code(&task.task),
            task.baseline.c,
            task.baseline.n,
            task.candidate.c,
            task.candidate.n,
            task.p.map_or_else(|| "–".to_owned(), p_value)
        ));
    }
    if telling.len() > 20 {
        out.push_str(&format!("\n… and {} more.\n", telling.len() - 20));
    }
    out.push('\n');
    out
}

/// Pass rates by judges: raw, and corrected where the judge has been held against people.
fn judges(rows: &[JudgeRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut out = String::from("| Judge | Baseline | Candidate | |\n|---|--:|--:|---|\n");
    for row in rows {
        let note = if row.may_block { "" } else { "informs only" };
        let (before, after) = (judged(row.baseline.as_ref()), judged(row.candidate.as_ref()));
        out.push_str(&format!("| {} | {before} | {after} | {note} |\n", code(&row.grader)));
    }
    out.push_str("\nCorrected for the judge's errors where it is calibrated, with 95 % intervals.\n\n");
    out
}

/// `81.2 %, corrected 84.0 % [71.3, 93.8]`, or why it isn't.
fn judged(rate: Option<&JudgedRate>) -> String {
    let Some(rate) = rate else { return "–".to_owned() };
    let raw = percent(rate.raw);
    match (rate.corrected, rate.interval) {
        (Some(value), Some(interval)) => {
            let (lower, upper) = (100.0 * interval.lower, 100.0 * interval.upper);
            format!("{raw}, corrected {} [{lower:.1}, {upper:.1}]", percent(value))
        }
        _ => format!("{raw} ({})", escape(rate.why.as_deref().unwrap_or("not corrected"))),
    }
}

fn figures(suite: &SuiteReport) -> String {
    if suite.figures.iter().all(|row| row.baseline.is_none() && row.candidate.is_none()) {
        return String::new();
    }
    let mut out =
        String::from("<details><summary>pass^k and pass@k</summary>\n\n| | Baseline | Candidate |\n|---|--:|--:|\n");
    for row in &suite.figures {
        let (before, after) = (super::estimate(row.baseline.as_ref()), super::estimate(row.candidate.as_ref()));
        out.push_str(&format!("| {} | {before} | {after} |\n", escape(&row.figure)));
    }
    out.push_str("\nWith 95 % intervals.\n\n</details>\n\n");
    out
}

/// Failed trials, with the command that makes a regression case of each.
fn promotable(suite: &SuiteReport) -> String {
    if suite.failing.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<details><summary>Make a failed trial a regression case</summary>\n\n| Task | Trial | Why | |\n|---|--:|---|---|\n",
    );
    for failed in &suite.failing {
        let why: String = failed.why.as_deref().unwrap_or_default().chars().take(200).collect();
        let command = format!("holdback promote {}", failed.trace);
        out.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            code(&failed.task),
            failed.attempt,
            escape(&why),
            code(&command)
        ));
    }
    out.push_str("\nAll of them: save this comment and say `holdback promote --from comment.md`.\n\n</details>\n\n");
    out
}

/// Text that must stay text: no table cell ends, no HTML begins, nobody is called.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// Text as a code span, inside a table cell too.
pub fn code(text: &str) -> String {
    let inner: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Longer than any run of backticks inside, so that nothing in there can end it.
    let longest = inner.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 { " " } else { "" };
    format!("{fence}{pad}{}{pad}{fence}", inner.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names() {
        let text = gate(&super::super::samples::regress());
        assert!(text.starts_with(MARKER));
        assert!(!text.contains("<b>now") || text.contains("`pay \\| <b>now</b> @all`"), "{text}");
        assert_eq!(escape("a|b\n<x> @y"), "a\\|b &lt;x&gt; &#64;y");
        assert_eq!(code("a`b|c"), "`` a`b\\|c ``");
    }

    #[test]
    fn every_verdict_reads_well() {
        let all: Vec<String> = super::super::samples::all().iter().map(|(_, report)| gate(report)).collect();
        insta::assert_snapshot!(all.join("\n=====\n\n"));
    }
}
