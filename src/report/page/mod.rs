//! A report as one HTML page that needs nothing else: no network, no fonts, no scripts but its own.

mod changes;
pub mod charts;
mod figures;
mod judges;
mod strips;
pub mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use changes::{gate_table, verdict_tag};

use super::overview::{ArmView, Headline, Overview, Role};
use crate::gate::{Verdict, percent};
use words::{count, day, dollars, minute, seconds, tokens};

/// How the pages look; the web view builds on it.
pub const STYLE: &str = include_str!("page.css");
/// What the pages do beyond being read.
pub const SCRIPT: &str = include_str!("page.js");

/// The page.
pub fn html(overview: &Overview) -> String {
    let title = if overview.title.is_empty() { "Report" } else { &overview.title };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content={ "holdback " (env!("CARGO_PKG_VERSION")) };
                title { (overview.headline.word) " · " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "To the verdict" }
                div.page {
                    header.top {
                        b { "holdback report" }
                        span { (title) }
                        span.end { (minute(overview.made)) " UTC " button id="theme" type="button" hidden { "light / dark" } }
                    }
                    main id="main" { (body(overview, false)) }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// What the page says, without its frame. `linked` says that traces have pages of their own beside it.
pub fn body(overview: &Overview, linked: bool) -> Markup {
    let sections = [
        ("changes", changes::section(overview, linked)),
        ("reliability", figures::reliability(overview)),
        ("heat", figures::heat(overview)),
        ("tasks", strips::section(overview)),
        ("effort", figures::effort(overview)),
        ("history", figures::history(overview)),
        ("judges", judges::section(overview)),
        ("spend", figures::spend(overview)),
    ];
    html! {
        (verdict(overview))
        (tiles(overview))
        nav.jump aria-label="In this report" {
            @for (id, section) in &sections {
                @if let Some((name, _)) = section { a href={ "#" (id) } { (name) } }
            }
        }
        @for (id, section) in &sections {
            @if let Some((name, body)) = section {
                section id=(id) aria-labelledby={ "h-" (id) } { h2 id={ "h-" (id) } { (name) } (body) }
            }
        }
        (small_print(overview))
    }
}

/// A heading and what stands below it.
type Section = Option<(&'static str, Markup)>;

fn class(headline: &Headline) -> &'static str {
    match headline.verdict {
        Some(Verdict::Pass) => "is-pass",
        Some(Verdict::Regress) => "is-regress",
        Some(Verdict::Undecided) => "is-undecided",
        Some(Verdict::Invalid) => "is-invalid",
        None => "is-none",
    }
}

/// A sign that says the verdict by its shape.
pub fn sign(verdict: Option<Verdict>) -> Markup {
    let path = match verdict {
        Some(Verdict::Pass) => "M7 12.5l3.5 3.5L17 9",
        Some(Verdict::Regress) => "M8 8l8 8M16 8l-8 8",
        Some(Verdict::Undecided) => "M9 9.5a3 3 0 1 1 4.2 2.7c-.8.4-1.2 1-1.2 1.8M12 17v.2",
        Some(Verdict::Invalid) => "M12 7v6M12 16.5v.2",
        None => "M7.5 12h9",
    };
    html! {
        svg viewBox="0 0 24 24" width="30" height="30" aria-hidden="true" {
            circle cx="12" cy="12" r="11" fill="currentColor" fill-opacity=".14" {}
            path d=(path) fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round" {}
        }
    }
}

fn verdict(overview: &Overview) -> Markup {
    let sum = |of: fn(&ArmView) -> u32| overview.arms.iter().map(of).sum::<u32>();
    let (trials, invalid, missing, copies) =
        (sum(|a| a.trials), sum(|a| a.invalid), sum(|a| a.missing), sum(|a| a.copies));
    let (broken, abstained) = (sum(|a| a.broken_grades), sum(|a| a.abstained_grades));
    html! {
        div.verdict.(class(&overview.headline)) {
            h1 { (sign(overview.headline.verdict)) (overview.headline.word) }
            p.why { (overview.headline.why) }
            ul.facts {
                li { b { (count(overview.tasks.len() as u64, "task")) } }
                li { b { (count(u64::from(trials), "trial")) } " measured" }
                @for (n, says) in [(invalid, "not measurable"), (missing, "missing"), (copies, "copies, counted once"),
                    (broken, "broken grades"), (abstained, "abstained grades")] {
                    @if n > 0 { li { b { (n) } " " (says) } }
                }
                @if invalid == 0 && missing == 0 { li { "none missing, none broken" } }
                @if overview.arms.iter().any(|arm| !arm.finished) { li { span.tag.open { "a run has not finished" } } }
            }
            @if let Some(gate) = &overview.gate {
                (gate_table(gate))
            }
        }
    }
}

fn tiles(overview: &Overview) -> Markup {
    html! {
        div.grid.tiles {
            @for (at, arm) in overview.arms.iter().enumerate().take(12) { (tile(overview, at, arm)) }
        }
        @if overview.arms.len() > 12 { p.note { (overview.arms.len() - 12) " more are in the tables below." } }
    }
}

fn tile(overview: &Overview, at: usize, arm: &ArmView) -> Markup {
    let role = match arm.role {
        Role::Baseline => "baseline",
        Role::Candidate => "candidate",
        Role::Shown => "",
    };
    let paint = overview.paint(at);
    let shade = charts::colour(paint);
    let colour = format!("color:rgb({},{},{})", shade.0, shade.1, shade.2);
    html! {
        article.card.tile {
            div.name { (PreEscaped(charts::legend_mark(paint))) span { (arm.label) } }
            @if !role.is_empty() || overview.suites.len() > 1 {
                div.note.role { @if !role.is_empty() { span.tag { (role) } " " } @if overview.suites.len() > 1 { (arm.suite) } }
            }
            @match arm.pass_hat(1) {
                Some(estimate) => {
                    div.big { (percent(estimate.value)) small { " pass^1" } }
                    div.range style=(colour) role="img" aria-label={ "95 % interval from " (percent(estimate.interval.lower)) " to " (percent(estimate.interval.upper)) } {
                        i style={ "left:" (css(estimate.interval.lower)) ";right:" (css(1.0 - estimate.interval.upper)) } {}
                        b style={ "left:" (css(estimate.value)) } {}
                    }
                    div.note { (arm.passed) " of " (count(u64::from(arm.trials), "trial")) ", " (count(u64::from(arm.tasks), "task"))
                        @if arm.invalid > 0 { ", " (arm.invalid) " not measured" } }
                }
                None => { div.big { "–" } div.note { "too few trials: " (arm.trials) " measured, " (arm.invalid) " not measurable" } }
            }
            dl {
                @if let Some((k, estimate)) = arm.farthest() { @if k > 1 {
                    dt { "pass^" (k) } dd { (percent(estimate.value)) " " span.whole { "[" (bare(estimate.interval.lower)) "–" (bare(estimate.interval.upper)) "]" } }
                } }
                dt { "cost of a trial" } dd { @match arm.mean_cost_usd { Some(usd) => { (dollars(usd)) } None => { "no price" } } }
                @if let Some(spread) = &arm.latency_s { dt { "median time" } dd { (seconds(spread.p50)) } }
                @if let Some(spread) = &arm.tokens { dt { "median tokens" } dd { (tokens(spread.p50)) } }
                @if arm.stuck > 0 { dt { "stuck" } dd { (count(u64::from(arm.stuck), "trial")) } }
            }
        }
    }
}

/// A share as a length.
fn css(share: f64) -> String {
    format!("{:.1}%", 100.0 * share.clamp(0.0, 1.0))
}

/// `91.3`.
fn bare(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// The legend of some arms.
fn legend(arms: &[(usize, &ArmView)]) -> Markup {
    html! {
        ul.legend {
            @for (at, arm) in arms { li { (PreEscaped(charts::legend_mark(*at))) (arm.label) } }
        }
    }
}

fn small_print(overview: &Overview) -> Markup {
    html! {
        footer {
            p { "pass^k is the chance that k trials of a task all pass, averaged over the tasks; it is unbiased, and missing where a task \
                has fewer than k measured trials. Intervals hold with 95 % for exactly these tasks (Gaffke bounds on blocks of k trials). \
                A trial that could not be measured is neither a pass nor a failure: it is counted apart. Known copies of an answer count once." }
            @for arm in &overview.arms {
                p { b { (arm.label) } ": run " (arm.run) @if let Some(name) = &arm.run_name { " (" (name) ")" } ", suite " (arm.suite)
                    ", " (day(arm.started)) @if let Some(commit) = &arm.git_commit { ", commit " (commit.chars().take(12).collect::<String>()) } "." }
            }
            p { "Made by holdback " (env!("CARGO_PKG_VERSION")) "." }
        }
    }
}

#[cfg(test)]
mod tests;
