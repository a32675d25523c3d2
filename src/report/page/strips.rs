//! Each task's trials, one mark a trial.

use maud::{Markup, html};

use super::Section;
use super::words::shorten;
use crate::gate::p_value;
use crate::report::overview::{ArmView, Cell, Mark, Overview, Strip, TaskView};
use crate::trial::Outcome;

/// The table of all tasks.
pub fn section(overview: &Overview) -> Section {
    if overview.tasks.is_empty() {
        return None;
    }
    let body = html! {
        p.lead { "A mark is a trial, in the order of its attempts; those that did not pass lead to their reason. "
            "What got worse comes first, then what passes least." }
        div.key {
            span.pair { span.strip { i {} } "passed" }
            span.pair { span.strip { i.f { "×" } } "failed" }
            span.pair { span.strip { i.i { "?" } } "could not be measured" }
            span.pair { span.strip { i.c {} } "a copy of another one's answer" }
        }
        @for suite in &overview.suites {
            @let arms: Vec<(usize, &ArmView)> = overview.arms_of(suite).collect();
            div.card.scroll {
                @if overview.suites.len() > 1 { h3 { (suite) } }
                table.stack.tasks {
                    thead { tr { th scope="col" { "Task" } @for (_, arm) in &arms { th scope="col" { (arm.label) } } } }
                    tbody { @for task in overview.tasks.iter().filter(|task| task.suite == *suite) { (row(task, &arms)) } }
                }
            }
        }
    };
    Some(("Every trial, task by task", body))
}

fn row(task: &TaskView, arms: &[(usize, &ArmView)]) -> Markup {
    html! {
        tr.hot[task.moved == Cell::Regressed] {
            th scope="row" {
                (shorten(&task.task, 160))
                @match task.moved {
                    Cell::Regressed => { " " span.tag.bad { "worse, p " (p_value(task.p.unwrap_or(0.0))) } }
                    Cell::Probably => { " " span.tag.open { "probably worse, p " (p_value(task.p.unwrap_or(1.0))) } }
                    Cell::Quiet => {}
                }
            }
            @for (at, arm) in arms {
                td data-arm=(arm.label) {
                    @match task.strips.iter().find(|strip| strip.arm == *at) {
                        Some(strip) => { (marks(strip)) }
                        None => { span.note { "not in this run" } }
                    }
                }
            }
        }
    }
}

fn marks(strip: &Strip) -> Markup {
    let says = format!(
        "{} of {} passed{}",
        strip.counts.c,
        strip.counts.n,
        if strip.invalid > 0 { format!(", {} not measured", strip.invalid) } else { String::new() }
    );
    html! {
        span.strip role="group" aria-label=(says) { @for mark in &strip.marks { (one(mark)) } }
        span.share aria-hidden="true" { (strip.counts.c) "/" (strip.counts.n) @if strip.invalid > 0 { " + " (strip.invalid) "?" } }
    }
}

fn one(mark: &Mark) -> Markup {
    let (class, sign, word) = match mark.outcome {
        Outcome::Pass => ("", "", "passed"),
        Outcome::Fail => ("f", "×", "failed"),
        Outcome::Invalid => ("i", "?", "not measured"),
    };
    let class = if mark.copy { format!("{class} c") } else { class.to_owned() };
    html! {
        @match mark.failure {
            Some(at) => { a class=(class) href={ "#f" (at) } title={ "attempt " (mark.attempt) ": " (word) } { (sign) } }
            None if class.is_empty() => { i {} }
            None => { i class=(class) { (sign) } }
        }
    }
}
