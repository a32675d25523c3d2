//! The report on a span of time as Markdown.

use super::{Group, Production};
use crate::gate::percent;
use crate::report::markdown::{code, escape};
use crate::report::page::words::{count, day, dollars, seconds, shorten, tokens};

/// The Markdown.
pub fn markdown(report: &Production) -> String {
    let mut out = format!("## Loops from {} to {}\n\n", day(report.since), day(report.until));
    let Some(all) = report.all().filter(|all| all.traces > 0) else {
        return out + "No trace was recorded in this time.\n";
    };
    out.push_str(&format!("{}: {}\n", count(all.traces, "trace"), in_words(all)));
    let drift = report.drift();
    if !drift.is_empty() {
        out.push_str("\n| Against the same time before | before | now | |\n|---|--:|--:|---|\n");
        drift
            .iter()
            .for_each(|one| out.push_str(&format!("| {} | {} | {} | {} |\n", one.what, one.before, one.now, one.says)));
    }
    for (what, title) in [("model", "Model"), ("agent", "Agent"), ("tag", "Tag")] {
        let groups = report.of(what, 12);
        if groups.is_empty() {
            continue;
        }
        out.push_str(&format!("\n| {title} | Traces | Ended well | Stuck | Brakes | Cost | For one that ended well | Median time |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"));
        groups.iter().for_each(|group| out.push_str(&row(group)));
    }
    out.push_str(&failures(report, all.traces));
    if !report.reasons.is_empty() {
        out.push_str("\n### How they said it ended\n\n");
        for one in report.reasons.iter().take(10) {
            let trace = &one.newest_trace[..12.min(one.newest_trace.len())];
            out.push_str(&format!(
                "- {} {}: {} (newest {})\n",
                one.traces,
                escape(&one.outcome),
                escape(&shorten(&one.why, 200)),
                code(trace)
            ));
        }
    }
    if !report.tools.is_empty() {
        out.push_str("\n| Tool | Asked | Failed | Median | 95th percentile |\n|---|--:|--:|--:|--:|\n");
        let time = |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), |ms| seconds(ms / 1e3));
        for tool in report.tools.iter().take(10) {
            out.push_str(&format!(
                "| {} | {} | {} | {} | {} |\n",
                code(&shorten(&tool.tool, 60)),
                tool.asked,
                tool.failed,
                time(tool.p50_ms),
                time(tool.p95_ms)
            ));
        }
    }
    if let Some(delivered) = &report.delivered {
        out.push_str(&format!("\n### What they left in {}\n\n", code(&delivered.repository)));
        super::page::left(delivered).iter().for_each(|line| out.push_str(&format!("- {}\n", escape(line))));
    }
    out
}

/// Groups of failures, each with its case or how to make one.
fn failures(report: &Production, all: u64) -> String {
    let failures = &report.failures;
    if failures.groups.is_empty() {
        return String::new();
    }
    let mut out = format!("\n### What went wrong, in groups\n\n{}.\n\n", failures.behind(all));
    out.push_str("| Traces | Kind | What was said | Case |\n|--:|---|---|---|\n");
    for group in failures.groups.iter().take(10) {
        let case = match failures.case_of(group) {
            Some(case) => format!("{} in {}", code(&shorten(&case.id, 60)), code(&case.file)),
            None => format!("none: {}", code(&format!("holdback promote {}", group.id))),
        };
        let tool = group.tool.as_ref().map(|tool| format!(" {}", code(&shorten(tool, 40)))).unwrap_or_default();
        let says = escape(&shorten(&group.says, 160));
        out.push_str(&format!("| {} | {}{tool} | {says} | {case} |\n", group.traces, escape(&group.kind)));
    }
    let more = failures.more + failures.groups.len().saturating_sub(10) as u64;
    if more > 0 {
        out.push_str(&format!("\n{}: `holdback failures`\n", count(more, "more group")));
    }
    out
}

fn in_words(group: &Group) -> String {
    let mut words = Vec::new();
    if let Some((rate, interval)) = group.rate() {
        words.push(format!("{} ended well [{}, {}]", percent(rate), percent(interval.lower), percent(interval.upper)));
    }
    for (n, says) in [
        (group.failed, "failed"),
        (group.killed, "killed"),
        (group.braked, "braked"),
        (group.cut_off, "cut off"),
        (group.stuck, "stuck"),
        (group.unknown, "not over"),
    ] {
        if n > 0 {
            words.push(format!("{n} {says}"));
        }
    }
    words.push(format!("{} calls, {} tokens", group.calls, tokens(group.tokens as f64)));
    words.push(super::page::cost(group));
    words.join("; ")
}

fn row(group: &Group) -> String {
    let rate = group.rate().map_or_else(
        || "–".to_owned(),
        |(rate, i)| format!("{} [{:.0}–{:.0}]", percent(rate), 100.0 * i.lower, 100.0 * i.upper),
    );
    let time = group.p50_s.map_or_else(|| "–".to_owned(), seconds);
    let each = group.cost_of_ok().map_or_else(|| "–".to_owned(), dollars);
    format!(
        "| {} | {} | {rate} | {} | {} | {} | {each} | {time} |\n",
        escape(&shorten(&group.word, 80)),
        group.traces,
        group.stuck,
        group.braked,
        super::page::cost(group)
    )
}
