//! What went wrong, in groups of what is probably the same failure, and the cases that keep it from coming back.

use maud::{Markup, html};
use serde::Serialize;

use crate::report::page::words::{count, day, shorten};
use crate::trace::Timestamp;

/// Traces that failed alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureGroup {
    /// What `holdback promote` calls it.
    pub id: String,
    pub kind: String,
    pub tool: Option<String>,
    /// What was said in the newest of them.
    pub says: String,
    pub traces: u64,
    pub newest_trace: String,
    /// The case that stands for it, once there is one.
    pub case: Option<String>,
}

/// A regression case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Case {
    pub id: String,
    pub suite: String,
    pub file: String,
    pub reason: String,
    pub opened: Timestamp,
    /// The trace it was made from.
    pub trace: String,
}

/// Failures in groups.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Failures {
    /// Traces that were read for them, the newest of the span.
    pub looked_at: u64,
    pub failed: u64,
    /// The largest first.
    pub groups: Vec<FailureGroup>,
    /// Groups that are counted and not listed.
    pub more: u64,
    /// Cases of these groups, and those opened in the span.
    pub cases: Vec<Case>,
}

impl Failures {
    /// What was looked at, in words.
    pub fn behind(&self, all: u64) -> String {
        let newest = if self.looked_at < all { "the newest " } else { "" };
        format!("{} of {newest}{} failed, as far as they show it", self.failed, count(self.looked_at, "trace"))
    }

    /// The case that stands for a group.
    pub fn case_of(&self, group: &FailureGroup) -> Option<&Case> {
        let id = group.case.as_ref()?;
        self.cases.iter().find(|case| case.id == *id)
    }
}

fn short(trace: &str) -> &str {
    trace.get(..12).unwrap_or(trace)
}

/// The groups, each with its case, or how to make one.
pub fn groups(failures: &Failures, all: u64) -> Markup {
    html! {
        p.lead { (failures.behind(all)) ". Failures of one kind, with one tool and nearly the same words, are one; "
            code { "holdback traces show ID" } " shows the newest, " code { "holdback promote GROUP" } " makes a case." }
        div.card.scroll { table.stack {
            thead { tr { th scope="col" { "What was said" } th scope="col" { "kind" } th.n scope="col" { "traces" } th scope="col" { "the newest" } th scope="col" { "case" } } }
            tbody { @for group in &failures.groups { tr id={ "group-" (group.id) } {
                th scope="row" { (shorten(&group.says, 240)) }
                td data-arm="kind" { span.tag { (group.kind) } @if let Some(tool) = &group.tool { " " code { (shorten(tool, 40)) } } }
                td.n data-arm="traces" { (group.traces) }
                td data-arm="the newest" { code { (short(&group.newest_trace)) } }
                td data-arm="case" { @match failures.case_of(group) {
                    Some(case) => { a href={ "#case-" (slug(&case.id)) } { (shorten(&case.id, 60)) } }
                    None => { span.note { "none yet: group " } code { (group.id) } }
                } }
            } } }
        } }
        @if failures.more > 0 { p.note { (count(failures.more, "more group")) ": " code { "holdback failures" } } }
    }
}

/// The cases.
pub fn cases(failures: &Failures) -> Markup {
    html! {
        p.lead { "Failures that became tasks of a suite; " code { "holdback cases" } " says what became of each." }
        div.card.scroll { table.stack {
            thead { tr { th scope="col" { "Case" } th scope="col" { "why" } th scope="col" { "suite" } th scope="col" { "opened" } th scope="col" { "from" } } }
            tbody { @for case in &failures.cases { tr id={ "case-" (slug(&case.id)) } {
                th scope="row" { (shorten(&case.id, 80)) }
                td data-arm="why" { (shorten(&case.reason, 240)) }
                td data-arm="suite" { (shorten(&case.suite, 60)) " " span.note { (shorten(&case.file, 80)) } }
                td data-arm="opened" { (day(case.opened)) }
                td data-arm="from" { code { (short(&case.trace)) } }
            } } }
        } }
    }
}

/// A name as part of an address.
fn slug(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}
