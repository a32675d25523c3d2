//! Curves, heat map, cost and time, history, spend.

use maud::{Markup, PreEscaped, html};

use super::charts::{self, Unit};
use super::words::{count, dollars, seconds, shorten, tokens};
use super::{Section, legend};
use crate::gate::percent;
use crate::report::overview::{ArmView, Line, Overview};
use crate::stats::Estimate;

/// pass^k curves and what they cost, suite by suite.
pub fn reliability(overview: &Overview) -> Section {
    if overview.is_empty() {
        return None;
    }
    let body = html! {
        p.lead { "How often k trials of a task all pass. The band is the 95 % interval; a loop that must work every time is as good as its curve is flat." }
        @for suite in &overview.suites {
            @let arms = overview.painted(suite);
            @let cost = charts::pareto(suite, &arms);
            @if arms.iter().all(|(_, arm)| arm.farthest().is_none()) {
                div.card.empty { p { b { "pass^k of " (suite) } ": not drawn, because it needs a measured trial of every task (" (behind(&arms)) ")." } }
            } @else { div.grid.two[cost.is_some()] {
                figure.card {
                    figcaption { "pass^k" @if overview.suites.len() > 1 { " of " (suite) } span { (behind(&arms)) } }
                    (legend(&arms))
                    div.plot { (PreEscaped(charts::curves(suite, &arms))) }
                }
                @if let Some(cost) = cost {
                    figure.card {
                        figcaption { "Cost against reliability" span { "Up and left is better; the grey line joins those that nothing beats on both." } }
                        (legend(&arms))
                        div.plot { (PreEscaped(cost)) }
                    }
                }
            } }
        }
    };
    Some(("Reliability", body))
}

/// Tasks and trials behind a picture.
fn behind(arms: &[(usize, &ArmView)]) -> String {
    let trials: u32 = arms.iter().map(|(_, arm)| arm.trials).sum();
    let invalid: u32 = arms.iter().map(|(_, arm)| arm.invalid).sum();
    let tasks = arms.iter().map(|(_, arm)| arm.tasks).max().unwrap_or(0);
    let not = if invalid > 0 { format!(", {invalid} not measured") } else { String::new() };
    format!("{}, {}{not}", count(u64::from(tasks), "task"), count(u64::from(trials), "trial"))
}

/// A table of every arm and suite, shaded by reliability.
pub fn heat(overview: &Overview) -> Section {
    if overview.is_empty() {
        return None;
    }
    let mut models: Vec<&str> = Vec::new();
    for arm in &overview.arms {
        if !models.contains(&arm.label.as_str()) {
            models.push(&arm.label);
        }
    }
    let body = html! {
        p.lead { "Darker is more reliable. Each cell says its interval, its tasks and its trials." }
        div.card.scroll {
            table.heat {
                thead {
                    @if overview.suites.len() > 1 {
                        tr { td {} @for suite in &overview.suites { th scope="colgroup" colspan=(if most_k(overview, suite) > 1 { "2" } else { "1" }) { (suite) } } }
                    }
                    tr { th scope="col" { "Model" } @for suite in &overview.suites {
                        th scope="col" { "pass^1" }
                        @if most_k(overview, suite) > 1 { th scope="col" { "pass^" (most_k(overview, suite)) } }
                    } }
                }
                tbody { @for model in &models { tr {
                    th scope="row" { (model) }
                    @for suite in &overview.suites {
                        @let arm = overview.arms_of(suite).map(|(_, arm)| arm).find(|arm| arm.label == **model);
                        (cell(arm.map(|arm| (arm, arm.pass_hat(1)))))
                        @if most_k(overview, suite) > 1 { (cell(arm.map(|arm| (arm, arm.pass_hat(arm.k))))) }
                    }
                } } }
            }
        }
    };
    Some(("Model by suite", body))
}

/// Trials of a task that were asked for.
fn most_k(overview: &Overview, suite: &str) -> u32 {
    overview.arms_of(suite).map(|(_, arm)| arm.k).max().unwrap_or(1)
}

fn cell(found: Option<(&ArmView, Option<&Estimate>)>) -> Markup {
    match found {
        None => html! { td { span.note { "not asked" } } },
        Some((arm, None)) => {
            html! { td { span.note { "too few trials (" (arm.trials) " measured, " (arm.invalid) " not)" } } }
        }
        Some((_, Some(estimate))) => {
            // At most half as dark as the ink, so that the words stay readable on it.
            let shade = format!("background:rgba(var(--heat),{:.2})", 0.04 + 0.40 * estimate.value.powi(2));
            html! {
                td style=(shade) {
                    b { (percent(estimate.value)) }
                    span { (format!("{:.1}–{:.1}", 100.0 * estimate.interval.lower, 100.0 * estimate.interval.upper)) }
                    span { (count(u64::from(estimate.tasks), "task")) ", " (count(u64::from(estimate.trials), "trial")) @if estimate.invalid > 0 { ", " (estimate.invalid) " not measured" } }
                }
            }
        }
    }
}

/// Time and tokens.
pub fn effort(overview: &Overview) -> Section {
    let drawn: Vec<(&String, Option<String>, Option<String>)> = overview
        .suites
        .iter()
        .map(|suite| {
            let arms = overview.painted(suite);
            (suite, charts::spreads(suite, &arms, Unit::Seconds), charts::spreads(suite, &arms, Unit::Tokens))
        })
        .filter(|(_, time, tokens)| time.is_some() || tokens.is_some())
        .collect();
    if drawn.is_empty() {
        return None;
    }
    let body = html! {
        p.lead { "A dot is a trial, the box holds the middle half, the thick line is the median, the thin one the 95th percentile." }
        @for (suite, time, tokens) in &drawn {
            div.grid.two {
                @for (what, svg) in [("Time of a trial", time), ("Tokens of a trial", tokens)] {
                    @if let Some(svg) = svg {
                        figure.card {
                            figcaption { (what) @if overview.suites.len() > 1 { " in " (suite) } }
                            div.plot { (PreEscaped(svg)) }
                        }
                    }
                }
            }
        }
    };
    Some(("Time and tokens", body))
}

/// pass^k over runs.
pub fn history(overview: &Overview) -> Section {
    if overview.history.is_empty() {
        return None;
    }
    // An arm that is shown above keeps its colour; others take the ones that are left.
    let mut next = (0..overview.arms.len()).map(|at| overview.paint(at) + 1).max().unwrap_or(0);
    let lines: Vec<(usize, &Line)> = overview
        .history
        .iter()
        .map(|line| {
            let known = overview.arms.iter().rposition(|arm| arm.suite == line.suite && arm.variant == line.variant);
            let at = known.map(|at| overview.paint(at)).unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            (at, line)
        })
        .collect();
    let body = html! {
        @for suite in &overview.suites {
            @let of_suite: Vec<(usize, &Line)> = lines.iter().filter(|(_, line)| line.suite == *suite).copied().collect();
            @if !of_suite.is_empty() {
                figure.card {
                    figcaption { (suite) span { "Every run of this suite in the store; bars are 95 % intervals." } }
                    ul.legend { @for (at, line) in &of_suite { li { (PreEscaped(charts::legend_mark(*at))) (line.variant) } } }
                    div.plot { (PreEscaped(charts::history(suite, &of_suite))) }
                }
            }
        }
    };
    Some(("Over time", body))
}

/// What it all cost.
pub fn spend(overview: &Overview) -> Section {
    let rows: Vec<_> = overview.arms.iter().filter_map(|arm| Some((arm, arm.spend?))).collect();
    if rows.is_empty() {
        return None;
    }
    let total: f64 = rows.iter().filter_map(|(_, spend)| spend.usd).sum();
    let unpriced: u32 = rows.iter().map(|(_, spend)| spend.unpriced_trials).sum();
    let known = |n: Option<u64>| n.map_or_else(|| "–".to_owned(), |n| tokens(n as f64));
    let body = html! {
        p.lead { "Together " (dollars(total)) @if unpriced > 0 { ", without " (count(u64::from(unpriced), "trial")) " of models that have no price" }
            ". Copies were paid for and are in here." }
        div.card.scroll { table {
            thead { tr { th scope="col" { "Model" } th.n scope="col" { "cost" } th.n scope="col" { "for a pass" } th.n scope="col" { "trials" } th.n scope="col" { "calls" }
                th.n scope="col" { "read" } th.n scope="col" { "from cache" } th.n scope="col" { "written" } th.n scope="col" { "time" } } }
            tbody { @for (arm, spend) in &rows { tr {
                th scope="row" { (shorten(&arm.label, 80)) @if overview.suites.len() > 1 { span.note.block { (arm.suite) } } }
                td.n { @match spend.usd { Some(usd) => { @if spend.unpriced_trials > 0 { "≥ " } (dollars(usd)) } None => { "no price" } } }
                td.n { @match spend.usd.filter(|_| arm.passed > 0 && spend.unpriced_trials == 0) {
                    Some(usd) => { (dollars(usd / f64::from(arm.passed))) } None => { "–" } } }
                td.n { (arm.trials + arm.invalid + arm.copies) } td.n { (spend.calls) } td.n { (known(spend.tokens.input)) }
                td.n { (known(spend.tokens.cache_read)) } td.n { (known(spend.tokens.output)) } td.n { (seconds(spend.seconds)) }
            } } }
        } }
    };
    Some(("Spend", body))
}
