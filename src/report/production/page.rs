//! The report on a span of time as one page that needs nothing else.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Delivered, Drift, Group, Production, Reason, Tool, failures};
use crate::gate::percent;
use crate::report::page::charts::{self, Day};
use crate::report::page::words::{count, day, dollars, minute, seconds, shorten, tokens};
use crate::report::page::{SCRIPT, STYLE};

/// Days in the picture.
const DAYS: usize = 90;

/// The page.
pub fn html(report: &Production) -> String {
    let title = format!("Loops from {} to {}", day(report.since), day(report.until));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "To the report" }
                div.page {
                    header.top { b { "holdback report" } span { "production" }
                        span.end { (minute(report.made)) " UTC " button id="theme" type="button" hidden { "light / dark" } } }
                    main id="main" { (body(report, &title)) }
                    footer { p { "From recorded traces; trials of suites are left out. Shares are of the traces that are over, with 95 % intervals (Wilson)." }
                        p { "Made by holdback " (env!("CARGO_PKG_VERSION")) "." } }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn body(report: &Production, title: &str) -> Markup {
    let Some(all) = report.all().filter(|all| all.traces > 0) else {
        return html! { div.verdict { h1 { (title) } p.why { "No trace was recorded in this time." } } };
    };
    let drift = report.drift();
    let of = |what: &str, name: &str| {
        let found = report.of(what, 40);
        (!found.is_empty()).then(|| groups(&found, name))
    };
    let failures = &report.failures;
    let sections: [(&str, &str, Option<Markup>); 11] = [
        ("drift", "Drift", (!drift.is_empty()).then(|| drifted(&drift))),
        ("days", "Day by day", by_day(report)),
        (
            "failures",
            "What went wrong, in groups",
            (!failures.groups.is_empty()).then(|| failures::groups(failures, all.traces)),
        ),
        ("cases", "Cases", (!failures.cases.is_empty()).then(|| failures::cases(failures))),
        ("reasons", "How they said it ended", (!report.reasons.is_empty()).then(|| reasons(&report.reasons))),
        ("models", "By model", of("model", "Model")),
        ("agents", "By agent", of("agent", "Agent")),
        ("tags", "By tag", of("tag", "Tag")),
        ("tools", "Tools", (!report.tools.is_empty()).then(|| tools(&report.tools))),
        (
            "left",
            "What they left in the repository",
            report.delivered.as_ref().map(|delivered| {
                html! {
                div.card { ul { @for line in left(delivered) { li { (line) } } } } }
            }),
        ),
        ("all-days", "Every day", of("day", "Day")),
    ];
    html! {
        (top(report, all, title))
        nav.jump aria-label="In this report" {
            @for (id, name, body) in &sections { @if body.is_some() { a href={ "#" (id) } { (name) } } }
        }
        @for (id, name, body) in &sections { @if let Some(body) = body {
            section id=(id) aria-labelledby={ "h-" (id) } { h2 id={ "h-" (id) } { (name) } (body) }
        } }
    }
}

fn drifted(drift: &[Drift]) -> Markup {
    html! {
        p.lead { "Against the same length of time before." }
        div.card.scroll { table {
            thead { tr { th scope="col" { "Figure" } th.n scope="col" { "before" } th.n scope="col" { "now" } th scope="col" { "change" } } }
            tbody { @for one in drift { tr { th scope="row" { (one.what) } td.n { (one.before) } td.n { (one.now) } td { (one.says) } } } }
        } }
    }
}

fn by_day(report: &Production) -> Option<Markup> {
    let mut days: Vec<Day> = report
        .of("day", usize::MAX)
        .into_iter()
        .map(|group| Day {
            day: group.word.clone(),
            well: group.ok,
            badly: group.over() - group.ok,
            unknown: group.unknown,
        })
        .collect();
    days.sort_by(|a, b| a.day.cmp(&b.day));
    let days = &days[days.len().saturating_sub(DAYS)..];
    (days.len() > 1).then(|| {
        html! {
            figure.card {
                figcaption { "Traces a day" span { "Green ended well, orange did not, grey is not over." } }
                div.plot { (PreEscaped(charts::days(days))) }
            }
        }
    })
}

fn reasons(reasons: &[Reason]) -> Markup {
    html! {
        p.lead { "Reasons that differ only in numbers and ids are one; " code { "holdback traces show ID" } " shows the newest." }
        div.card.scroll { table.stack {
            thead { tr { th scope="col" { "Reason" } th scope="col" { "outcome" } th.n scope="col" { "traces" } th scope="col" { "the newest" } } }
            tbody { @for one in reasons { tr { th scope="row" { (shorten(&one.why, 300)) } td data-arm="outcome" { (one.outcome) } td.n data-arm="traces" { (one.traces) }
                td data-arm="the newest" { code { (one.newest_trace.chars().take(12).collect::<String>()) } } } } }
        } }
    }
}

fn tools(tools: &[Tool]) -> Markup {
    html! {
        p.lead { "The slowest first: from being asked to their result being sent back." }
        div.card.scroll { table {
            thead { tr { th scope="col" { "Tool" } th.n scope="col" { "asked" } th.n scope="col" { "answered" } th.n scope="col" { "failed" } th.n scope="col" { "median" } th.n scope="col" { "95th percentile" } } }
            tbody { @for tool in tools { tr { th scope="row" { (shorten(&tool.tool, 80)) } td.n { (tool.asked) } td.n { (tool.answered) } td.n { (tool.failed) }
                td.n { (time(tool.p50_ms)) } td.n { (time(tool.p95_ms)) } } } }
        } }
    }
}

fn time(ms: Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), |ms| seconds(ms / 1e3))
}

fn top(report: &Production, all: &Group, title: &str) -> Markup {
    html! {
        div.verdict {
            h1 { @match all.rate() { Some((rate, _)) => { (percent(rate)) " ended well" } None => { "Nothing has ended yet" } } }
            p.why { (title) @if let Some((_, i)) = all.rate() { ": between " (percent(i.lower)) " and " (percent(i.upper)) " of " (count(all.over(), "trace")) " that are over" } }
            ul.facts {
                li { b { (count(all.traces, "trace")) } } li { b { (all.calls) } " calls" }
                @for (n, says) in [(all.failed, "failed"), (all.killed, "killed"), (all.braked, "braked"), (all.cut_off, "cut off"), (all.stuck, "stuck"), (all.unknown, "not over"), (all.failed_calls, "failed calls")] {
                    @if n > 0 { li { b { (n) } " " (says) } }
                }
                li { b { (cost(all)) } } li { b { (tokens(all.tokens as f64)) } " tokens" }
            }
        }
        @if report.groups.is_empty() { p.note { "Nothing to group." } }
    }
}

/// What a group cost.
pub fn cost(group: &Group) -> String {
    match (group.cost_usd, group.unpriced_calls) {
        (Some(usd), 0) => dollars(usd),
        (Some(usd), _) => format!("≥ {}", dollars(usd)),
        (None, _) => "no price".to_owned(),
    }
}

fn groups(groups: &[&Group], name: &str) -> Markup {
    html! {
        div.card.scroll { table.stack {
            thead { tr { th scope="col" { (name) } th.n scope="col" { "traces" } th scope="col" { "ended well" } th.n scope="col" { "failed" } th.n scope="col" { "stuck" } th.n scope="col" { "brakes" }
                th.n scope="col" { "cost" } th.n scope="col" { "for a good end" } th.n scope="col" { "median time" } th.n scope="col" { "95th percentile" } } }
            tbody { @for group in groups { tr {
                th scope="row" { (shorten(&group.word, 80)) } td.n data-arm="traces" { (group.traces) }
                td.whole data-arm="ended well" { @match group.rate() {
                    Some((rate, i)) => {
                        (percent(rate)) " " span.note { (format!("{:.0}–{:.0}", 100.0 * i.lower, 100.0 * i.upper)) }
                        div.range aria-hidden="true" { i style=(format!("left:{:.1}%;right:{:.1}%", 100.0 * i.lower, 100.0 - 100.0 * i.upper)) {} b style=(format!("left:{:.1}%", 100.0 * rate)) {} }
                    }
                    None => { "–" }
                } }
                td.n data-arm="failed" { (group.failed) } td.n data-arm="stuck" { (group.stuck) } td.n data-arm="brakes" { (group.braked) } td.n data-arm="cost" { (cost(group)) }
                td.n data-arm="for a good end" { (group.cost_of_ok().map_or_else(|| "–".to_owned(), dollars)) }
                td.n data-arm="median time" { (group.p50_s.map_or_else(|| "–".to_owned(), seconds)) } td.n data-arm="95th percentile" { (group.p95_s.map_or_else(|| "–".to_owned(), seconds)) }
            } } }
        } }
    }
}

/// What loops left in a repository, in words.
pub fn left(delivered: &Delivered) -> Vec<String> {
    let d = delivered;
    let mut lines = vec![format!(
        "{} made while one of {} ran here; {} of them on the branch that is checked out",
        count(d.commits, "commit"),
        count(d.traces, "trace"),
        d.merged
    )];
    lines.push(format!("{} added, {} removed", count(d.lines_added, "line"), d.lines_removed));
    if d.judged_lines > 0 {
        let share = percent(d.churned_lines as f64 / d.judged_lines as f64);
        lines.push(format!(
            "{share} of {} were gone within {} days",
            count(d.judged_lines, "added line"),
            d.churn_days
        ));
    }
    if d.too_young > 0 {
        lines.push(format!(
            "{} younger than {} days: whether their lines last is not known yet",
            count(d.too_young, "commit"),
            d.churn_days
        ));
    }
    if d.not_looked_at > 0 {
        lines.push(format!("{} not looked into", count(d.not_looked_at, "commit")));
    }
    lines
}
