//! What got worse and why, or what failed and why: reasons first, the conversation and the difference a click away.

use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

use super::Section;
use super::words::{count, shorten};
use crate::gate::{GateReport, Verdict, percent, points, size};
use crate::report::overview::{Cell, Failure, Overview, Transcript};
use crate::trial::Outcome;

/// Lines of a difference that are shown.
const DIFF_LINES: usize = 160;

/// The gate's numbers, a row for each metric of each question, and what else it had to say behind a click.
pub fn gate_table(gate: &GateReport) -> Markup {
    let several = gate.suites.iter().any(|one| one.suite != gate.suites[0].suite);
    let notes: usize = gate.suites.iter().map(|suite| suite.warnings.len()).sum();
    html! {
        @if gate.suites.iter().any(|suite| !suite.metrics.is_empty()) {
            div.scroll.gate {
                table.stack {
                    thead { tr {
                        th scope="col" { "Candidate" } th scope="col" { "verdict" } th scope="col" { "metric" } th.n scope="col" { "baseline" }
                        th.n scope="col" { "candidate" } th.n scope="col" { "difference" } th.n scope="col" { "bounds" } th.n scope="col" { "margin" }
                        th.n scope="col" { "trials" }
                    } }
                    tbody { @for suite in &gate.suites { @for metric in &suite.metrics { tr {
                        th scope="row" { (suite.candidate.variant) @if several { span.note { " in " (suite.suite) } } }
                        td { (verdict_tag(metric.verdict)) }
                        td data-arm="metric" { (metric.name) }
                        td.n data-arm="baseline" { (percent(metric.baseline)) } td.n data-arm="candidate" { (percent(metric.candidate)) }
                        td.n data-arm="difference" { (points(metric.difference)) }
                        td.n data-arm="bounds" { (points(metric.lower)) " to " (points(metric.upper)) } td.n data-arm="margin" { (size(metric.margin)) }
                        td.n data-arm="trials" { (metric.baseline_trials) " / " (metric.candidate_trials) }
                    } } } }
                }
            }
        }
        details.fine {
            summary { "How it was decided" @if notes > 0 { ", and " (count(notes as u64, "note")) } }
            @for suite in &gate.suites {
                h4 { (suite.candidate.variant) ": " (suite.why) }
                ul {
                    @for reason in &suite.reasons { li { (reason.text) } }
                    @for limit in &suite.limits { li { (limit.text) } }
                    @for text in crate::report::judge_lines(&suite.judges) { li { (text) } }
                    @for warning in &suite.warnings { li { span.tag.open { "note" } " " (warning) } }
                    @if !suite.loop_changes.is_empty() { li { "Changed between the two: " (suite.loop_changes.join("; ")) "." } }
                    @if let Some(text) = crate::report::fine_print(suite) { li { (text) } }
                }
            }
        }
    }
}

/// A verdict as a small label.
pub fn verdict_tag(verdict: Verdict) -> Markup {
    let class = match verdict {
        Verdict::Pass => "good",
        Verdict::Regress => "bad",
        Verdict::Undecided | Verdict::Invalid => "open",
    };
    html! { span class={ "tag " (class) } { (verdict.as_str()) } }
}

/// The failures.
pub fn section(overview: &Overview, linked: bool) -> Section {
    if overview.failures.is_empty() {
        return None;
    }
    let worse = overview.failures.iter().filter(|one| one.moved != Cell::Quiet).count();
    let compared = overview.gate.is_some();
    let name = if compared && worse > 0 { "What got worse, and why" } else { "What did not pass, and why" };
    let body = html! {
        p.lead {
            "The same reason of the same task is told once. Open one for what the graders said"
            @if overview.failures.iter().any(|one| one.transcript.is_some()) { ", the conversation, and how it differs from one that passed" } "."
        }
        @let first = if compared && worse > 0 { worse } else { overview.failures.len() };
        @for (at, failure) in overview.failures.iter().enumerate().take(first) { (one(overview, at, failure, linked)) }
        @if first < overview.failures.len() {
            h3 style="margin-top:1.4rem" { "Failures of tasks that are not shown to be worse" }
            @for (at, failure) in overview.failures.iter().enumerate().skip(first) { (one(overview, at, failure, linked)) }
        }
        @if overview.more_failures > 0 { p.note { (count(overview.more_failures as u64, "more reason")) ", not listed here." } }
    };
    Some((name, body))
}

fn one(overview: &Overview, at: usize, failure: &Failure, linked: bool) -> Markup {
    let attempts: Vec<String> = failure.attempts.iter().take(10).map(|n| format!("#{n}")).collect();
    let more = failure.attempts.len().saturating_sub(10);
    let arm = &overview.arms[failure.arm].label;
    html! {
        details.failure.worse[failure.moved != Cell::Quiet] id={ "f" (at) } {
            summary {
                span.task { (shorten(&failure.task, 120)) }
                span {
                    @match failure.moved {
                        Cell::Regressed => { span.tag.bad { "worse beyond noise" } " " }
                        Cell::Probably => { span.tag.open { "probably worse" } " " }
                        Cell::Quiet => {}
                    }
                    @if failure.outcome == Outcome::Invalid { span.tag { "not measured" } " " }
                    span.note { @if overview.suites.len() > 1 { (shorten(&failure.suite, 40)) " · " } (shorten(arm, 40)) " · " (count(failure.attempts.len() as u64, "trial")) }
                }
                span.reason { (shorten(&failure.why, 220)) }
            }
            div.body {
                h4 { "What was said of it" }
                p { (failure.why) }
                @if failure.graders.iter().any(|line| *line != failure.why) { ul { @for line in &failure.graders { li { (line) } } } }
                p.note {
                    "Attempts " (attempts.join(" ")) @if more > 0 { " and " (more) " more" }
                    @if let Some(trace) = failure.trace { " · "
                        @if linked {
                            a href={ "/traces/" (trace) } { "the whole trace" }
                            @if let Some(passing) = failure.passing { ", " a href={ "/diff?a=" (passing) "&b=" (trace) } { "beside one that passed" } }
                        } @else { code { "holdback traces show " (&trace.to_string()[..12]) } }
                    }
                }
                @if let (Some(passed), Some(failed), Some(from)) = (&failure.passing_transcript, &failure.transcript, &failure.passing_from) {
                    h4 { "How it differs from a trial that passed (" (from) ")" }
                    (difference(passed, failed))
                }
                @if let Some(transcript) = &failure.transcript {
                    h4 { "The conversation of attempt #" (failure.attempts.first().copied().unwrap_or(1)) }
                    (conversation(transcript))
                }
            }
        }
    }
}

/// A conversation.
pub fn conversation(transcript: &Transcript) -> Markup {
    html! {
        ol.talk {
            @for said in &transcript.said {
                li class={ (said.kind) " " (said.who) } { span.who { (said.label()) } span.text { (said.text) } }
            }
        }
        @if transcript.left_out > 0 { p.note { (count(transcript.left_out as u64, "thing")) " said after that, left out here." } }
    }
}

/// What differs, line by line: `−` only in the one that passed, `+` only in the one that did not.
pub fn difference(passed: &Transcript, failed: &Transcript) -> Markup {
    let (before, after) = (passed.lines(), failed.lines());
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let after: Vec<&str> = after.iter().map(String::as_str).collect();
    let diff = TextDiff::from_slices(&before, &after);
    let mut lines: Vec<(&str, String)> = Vec::new();
    for (at, group) in diff.grouped_ops(2).iter().enumerate() {
        if at > 0 {
            lines.push(("g", "⋯".to_owned()));
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (class, sign) = match change.tag() {
                ChangeTag::Delete => ("d", "−"),
                ChangeTag::Insert => ("a", "+"),
                ChangeTag::Equal => ("", " "),
            };
            lines.push((class, format!("{sign} {}", change.value())));
        }
    }
    let left_out = lines.len().saturating_sub(DIFF_LINES);
    html! {
        @if lines.is_empty() { p.note { "Word for word the same." } }
        @else {
            p.note { "− only in the one that passed, + only in this one." }
            div.diff { @for (class, line) in lines.iter().take(DIFF_LINES) { div class=(class) { (line) } } }
            @if left_out > 0 { p.note { (left_out) " more lines differ." } }
        }
    }
}
