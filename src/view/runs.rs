//! Runs, their trials, two of them against each other, and verdicts. A run is shown as its report.

use maud::{Markup, html};

use super::door::{Ask, Reply, escaped};
use super::gather::{self, Wanted};
use super::{Error, View, frame};
use crate::gate::{GateReport, Policy, Verdict};
use crate::report::page;
use crate::report::page::words::{dollars, minute, seconds, shorten};
use crate::store::index::ListedRun;
use crate::trial::{Outcome, Trial};

/// Runs in the list, and trials on a page.
const MOST: u32 = 200;
const TRIALS: usize = 400;

/// The list of runs.
pub fn list(view: &View, _: &Ask) -> Result<Reply, Error> {
    let runs = view.index()?.run_list(MOST)?;
    let body = html! {
        h1 { "Runs" }
        @if runs.is_empty() { (frame::empty("No suite has been run yet.", "holdback eval suites/first.yaml")) }
        @else {
            form method="get" action="/compare" {
                div.card.scroll { table.list.stack {
                    thead { tr { th scope="col" { span.sr { "Candidate" } } th scope="col" { "Run" } th scope="col" { "Suite" } th scope="col" { "Started, UTC" } th.n scope="col" { "Tasks × trials" }
                        th scope="col" { "Passed" } th.n scope="col" { "Cost" } th scope="col" { "Models" } } }
                    tbody { @for run in &runs { (row(run)) } }
                } }
                p.below { button type="submit" { "Compare two" } span.note { " Tick the baseline and the candidate first; the older one is the baseline." } }
            }
        }
    };
    Ok(Reply::Page(frame::page("/runs", "Runs", &body)))
}

fn row(run: &ListedRun) -> Markup {
    let name = run.name.as_deref().unwrap_or(&run.run_id);
    let valid = run.passed + run.failed;
    let share = if valid > 0 { format!("{:.0}%", 100.0 * run.passed as f64 / valid as f64) } else { "0%".to_owned() };
    html! {
        tr {
            td { input type="checkbox" name="r" value=(run.run_id) aria-label={ "Choose " (name) }; }
            th scope="row" { a.open href={ "/runs/" (escaped(&run.run_id)) } { (shorten(name, 60)) }
                @if run.finished_at.is_none() { " " span.tag.open { "not finished" } } }
            td { (shorten(&run.suite, 40)) }
            td { (minute(run.started_at)) }
            td.n { (run.tasks) " × " (run.trials_per_task) }
            td { div.bar-of role="img" aria-label={ (run.passed) " of " (valid) " passed" } { i style={ "width:" (share) } {} }
                span.note { (run.passed) "/" (valid) @if run.invalid > 0 { ", " (run.invalid) " not measured" } @if run.copies > 0 { ", " (run.copies) " copies" } } }
            td.n { @match run.cost_usd { Some(usd) => { (dollars(usd)) } None => { "–" } } }
            td { (shorten(run.models.as_deref().unwrap_or(""), 80)) }
        }
    }
}

/// One run, as its report and with its trials.
pub fn one(view: &View, ask: &Ask, id: &str) -> Result<Reply, Error> {
    let wanted = Wanted { runs: vec![id.to_owned()], ..Wanted::default() };
    let (overview, runs) = gather::overview(&view.index()?, &view.reader()?, &wanted, None)?;
    let trials: Vec<&Trial> = runs.iter().flat_map(|chosen| &chosen.run.trials).collect();
    let title = overview.arms.first().and_then(|arm| arm.run_name.clone()).unwrap_or_else(|| id.to_owned());
    let body = html! {
        nav.crumbs aria-label="Where" { a href="/runs" { "Runs" } " / " (shorten(&title, 60)) }
        (page::body(&overview, true))
        (self::trials(ask, id, &trials))
    };
    Ok(Reply::Page(frame::page("/runs", &title, &body)))
}

fn trials(ask: &Ask, run: &str, all: &[&Trial]) -> Markup {
    let outcome = ask.get("outcome");
    let word = |trial: &Trial| match trial.outcome {
        Outcome::Pass => ("good", "pass"),
        Outcome::Fail => ("bad", "fail"),
        Outcome::Invalid => ("open", "not measured"),
    };
    let fits = |trial: &&&Trial| outcome.is_empty() || word(trial).1 == outcome;
    let shown: Vec<&&Trial> = all.iter().filter(fits).take(TRIALS).collect();
    let count = all.iter().filter(fits).count();
    html! {
        section id="trials" {
            h2 { "Trials" }
            p.note { "Show " @for (says, value) in [("all", ""), ("passed", "pass"), ("failed", "fail"), ("not measured", "not measured")] {
                a href={ "/runs/" (escaped(run)) "?outcome=" (escaped(value)) "#trials" } aria-current=[(outcome == value).then_some("true")] { (says) } " " } }
            div.card.scroll { table.list.stack {
                thead { tr { th scope="col" { "Task" } th scope="col" { "Model" } th.n scope="col" { "Attempt" } th scope="col" { "Outcome" } th.n scope="col" { "Time" }
                    th.n scope="col" { "Calls" } th.n scope="col" { "Cost" } th scope="col" { "Why" } } }
                tbody { @for trial in &shown { tr {
                    th scope="row" { @match trial.trace { Some(trace) => { a.open href={ "/traces/" (trace) } { (shorten(&trial.task, 80)) } } None => { (shorten(&trial.task, 80)) } } }
                    td { (shorten(&trial.variant, 60)) } td.n { "#" (trial.attempt) }
                    td { span class={ "tag " (word(trial).0) } { (word(trial).1) } @if trial.stuck { " " span.tag { "stuck" } } @if trial.copy_of.is_some() { " " span.tag { "copy" } } }
                    td.n { (seconds(trial.duration_us as f64 / 1e6)) } td.n { (trial.calls) }
                    td.n { @match trial.cost_usd { Some(usd) => { (dollars(usd)) } None => { "–" } } }
                    td { (shorten(trial.why.as_deref().unwrap_or(""), 200)) }
                } } }
            } }
            @if count > shown.len() { p.note { (count - shown.len()) " more fit." } }
        }
    }
}

/// A candidate against a baseline, with the verdict that the defaults give.
pub fn compare(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let ticked: Vec<&str> = ask.query.iter().filter(|(key, _)| key == "r").map(|(_, value)| value.as_str()).collect();
    let (baseline, candidate) = match (ask.get("baseline"), ask.get("candidate"), ticked.as_slice()) {
        (baseline, candidate, _) if !baseline.is_empty() && !candidate.is_empty() => (baseline, candidate),
        (_, _, [newer, older]) => (*older, *newer),
        _ => return choose(view, ask),
    };
    let wanted =
        Wanted { runs: vec![candidate.to_owned()], baselines: vec![baseline.to_owned()], title: String::new() };
    let defaults = |arm: &crate::gate::Arm| Policy::for_kind(&arm.kind);
    let (overview, _) = gather::overview(&view.index()?, &view.reader()?, &wanted, Some(&defaults))?;
    let body = html! {
        nav.crumbs aria-label="Where" { a href="/runs" { "Runs" } " / " (shorten(candidate, 40)) " against " (shorten(baseline, 40)) }
        p.note { "By the default policy; " code { "holdback gate --policy" } " decides by yours and keeps the verdict." }
        (page::body(&overview, true))
    };
    Ok(Reply::Page(frame::page("/compare", "Compare", &body)))
}

fn choose(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let runs = view.index()?.run_list(MOST)?;
    let field = |name: &str, says: &str| {
        html! {
            label { span { (says) } input name=(name) list="known-runs" value=(ask.get(name)) required autocomplete="off"; }
        }
    };
    let body = html! {
        h1 { "Compare" }
        p.lead { "Two runs of one suite: a candidate is held against a baseline. A variant of a run is named after a colon." }
        form.search.card method="get" action="/compare" {
            (field("baseline", "Baseline")) (field("candidate", "Candidate"))
            div.do { button.main type="submit" { "Compare" } }
            datalist id="known-runs" { @for run in &runs { option value=(run.name.as_deref().unwrap_or(&run.run_id)) { (run.suite) " " (minute(run.started_at)) } } }
        }
    };
    Ok(Reply::Page(frame::page("/compare", "Compare", &body)))
}

/// The verdicts that were kept.
pub fn verdicts(view: &View, _: &Ask) -> Result<Reply, Error> {
    let verdicts = view.index()?.verdict_list(MOST)?;
    let body = html! {
        h1 { "Verdicts" }
        @if verdicts.is_empty() { (frame::empty("No gate has decided yet.", "holdback gate --baseline main --candidate last")) }
        @else { div.card.scroll { table.list.stack {
            thead { tr { th scope="col" { "Verdict" } th scope="col" { "Decided, UTC" } th scope="col" { "Baseline" } th scope="col" { "Candidate" } th scope="col" { "Why" } } }
            tbody { @for one in &verdicts {
                @let report = serde_json::from_str::<GateReport>(&one.record).ok();
                tr {
                    th scope="row" { a.open href={ "/verdicts/" (escaped(&one.verdict_id)) } {
                        @match report.as_ref().map(|report| report.verdict) { Some(verdict) => { (page::verdict_tag(verdict)) } None => { (one.verdict.as_deref().unwrap_or("?")) } } } }
                    td { (minute(one.recorded_at)) }
                    td { (one.baseline_run.as_deref().unwrap_or("–")) } td { (one.candidate_run.as_deref().unwrap_or("–")) }
                    td { (shorten(report.as_ref().map_or("", |report| &report.why), 200)) }
                }
            } }
        } } }
    };
    Ok(Reply::Page(frame::page("/verdicts", "Verdicts", &body)))
}

/// One verdict.
pub fn verdict(view: &View, _: &Ask, id: &str) -> Result<Reply, Error> {
    let kept = view.reader()?.records("verdict")?.into_iter().find(|record| record.id == id);
    let kept = kept.ok_or_else(|| Error::Missing(format!("there is no verdict {id:?}")))?;
    let report: GateReport = serde_json::from_value(kept.data)
        .map_err(|error| Error::Asked(format!("verdict {id} can't be read: {error}")))?;
    let class = match report.verdict {
        Verdict::Pass => "is-pass",
        Verdict::Regress => "is-regress",
        Verdict::Undecided | Verdict::Invalid => "is-undecided",
    };
    let body = html! {
        nav.crumbs aria-label="Where" { a href="/verdicts" { "Verdicts" } " / " (id) }
        div.verdict.(class) {
            h1 { (page::sign(Some(report.verdict))) (report.verdict.as_str()) }
            p.why { (report.why) }
            (page::gate_table(&report))
        }
        p { @for suite in &report.suites {
            a href={ "/compare?baseline=" (escaped(&suite.baseline.run)) ":" (escaped(&suite.baseline.variant)) "&candidate=" (escaped(&suite.candidate.run)) ":" (escaped(&suite.candidate.variant)) } {
                "Task by task: " (suite.suite) } " " } }
    };
    Ok(Reply::Page(frame::page("/verdicts", "Verdict", &body)))
}
