//! Judges held against people: what both said of the trials that people labelled, and the calibrations that gates count on.
//! Nothing is asked here; `holdback judge calibrate` asks a judge anew and probes it.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::door::{Ask, Reply, escaped};
use super::{Error, View, frame, rubrics};
use crate::eval::samples::{self, Label};
use crate::eval::{Calibrated, CalibrationReport, Figure, Held, Labelled, agreement, measure};
use crate::grade::rubric::criteria_fingerprint;
use crate::report::page::words::{count, shorten};
use crate::stats::Interval;
use crate::store::log::Reader;
use crate::suite::Rubric;

/// Disagreements that are listed for a criterion.
const WRONG: usize = 20;

/// Every rubric that anybody labelled by or calibrated.
pub fn list(view: &View, _: &Ask) -> Result<Reply, Error> {
    let reader = view.reader()?;
    let mut names: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for label in samples::all_labels(&reader)? {
        names.entry(label.rubric).or_default().0 += 1;
    }
    for calibrated in samples::calibrations(&reader)?.into_values() {
        names.entry(calibrated.rubric).or_default().1 += 1;
    }
    let body = html! {
        h1 { "Calibration" }
        p.lead { "How well judges agree with people. First " a href="/label" { "label" } ", then look here: who knows what the judge said is not blind." }
        @if names.is_empty() { (frame::empty("Nothing is labelled by a rubric yet.", "holdback judge label last --rubric rubrics/honesty.yaml")) }
        @else { div.card.scroll { table.list.stack {
            thead { tr { th scope="col" { "Rubric" } th.n scope="col" { "Labels" } th.n scope="col" { "Calibrations kept" } } }
            tbody { @for (name, (labels, kept)) in &names { tr {
                th scope="row" { a.open href={ "/calibration/" (escaped(name)) } { (shorten(name, 80)) } }
                td.n data-arm="labels" { (labels) } td.n data-arm="calibrations" { (kept) }
            } } }
        } } }
    };
    Ok(Reply::Page(frame::page("/calibration", "Calibration", &body)))
}

/// One rubric: its judges against the labels.
pub fn one(view: &View, _: &Ask, name: &str) -> Result<Reply, Error> {
    let reader = view.reader()?;
    let labels: Vec<Label> = samples::all_labels(&reader)?.into_iter().filter(|label| label.rubric == name).collect();
    let kept: Vec<Calibrated> =
        samples::calibrations(&reader)?.into_values().filter(|calibrated| calibrated.rubric == name).collect();
    let rubric = known(view, &reader, name, &labels);
    if rubric.is_none() && labels.is_empty() && kept.is_empty() {
        return Err(Error::Missing(format!("there is no rubric {name:?} in rubrics/, and no label by one")));
    }
    let body = html! {
        nav.crumbs aria-label="Where" { a href="/calibration" { "Calibration" } " / " (shorten(name, 80)) }
        h1 { (shorten(name, 80)) }
        @match &rubric {
            None => { p.lead { (count(labels.len() as u64, "label")) ". The rubric itself is neither in rubrics/ nor in the suite of a labelled run, so the judge can't be held against them: start the view with --rubric FILE." } }
            Some(rubric) => { (against(&reader, rubric, &labels)?) }
        }
        (calibrations(&kept, rubric.as_ref()))
    };
    Ok(Reply::Page(frame::page("/calibration", name, &body)))
}

/// The rubric of a name: at hand, or in the suite of a run that was labelled by it.
fn known(view: &View, reader: &Reader, name: &str, labels: &[Label]) -> Option<Rubric> {
    let mut runs: Vec<&str> = labels.iter().map(|label| label.run.as_str()).collect();
    runs.dedup();
    let mut found = rubrics::at_hand(view);
    for run in runs.iter().rev().take(5) {
        rubrics::of_run(view, reader, run).into_iter().for_each(|rubric| rubrics::add(&mut found, rubric));
    }
    found.into_iter().find(|rubric| rubric.rubric == name)
}

/// Each judge that read labelled trials, apart: a judge, or a rubric, that changed is another one.
fn against(reader: &Reader, rubric: &Rubric, labels: &[Label]) -> Result<Markup, Error> {
    let criteria = criteria_fingerprint(rubric);
    let older = labels.iter().filter(|label| label.criteria != criteria).count();
    let items = samples::labelled(reader, rubric)?;
    let mut judges: BTreeMap<String, Vec<Labelled>> = BTreeMap::new();
    let unread = items.iter().filter(|item| item.read.is_none()).count();
    for item in &items {
        if let Some(read) = &item.read {
            judges.entry(read.fingerprint.clone()).or_default().push(item.clone());
        }
    }
    Ok(html! {
        p.lead { (count(items.len() as u64, "labelled item")) " by " (people(labels, &criteria)) "."
            @if unread > 0 { " " (unread) " of them no judge has read." }
            @if older > 0 { " " (count(older as u64, "older label")) " by other words of this rubric don't count." } }
        (among_people(rubric, labels, &criteria))
        @if judges.is_empty() { div.card.empty { p { "No judge has read a labelled trial." } p { code { "holdback judge calibrate RUBRIC.yaml" } } } }
        @for (print, items) in &judges { (measured(rubric, print, items)) }
    })
}

fn people(labels: &[Label], criteria: &str) -> String {
    let mut names: Vec<&str> =
        labels.iter().filter(|label| label.criteria == criteria).map(|label| label.by.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [] => "nobody".to_owned(),
        names => shorten(&names.join(", "), 200),
    }
}

/// How far people agree with each other: no judge can be held to more.
fn among_people(rubric: &Rubric, labels: &[Label], criteria: &str) -> Markup {
    let labels: Vec<&Label> = labels.iter().filter(|label| label.criteria == criteria).collect();
    let mut names: Vec<&str> = labels.iter().map(|label| label.by.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() < 2 {
        return html! {};
    }
    let mut trials: Vec<&str> = labels.iter().map(|label| label.trial.as_str()).collect();
    trials.sort_unstable();
    trials.dedup();
    let of = |criterion: &crate::suite::Criterion| {
        let said = |name: &str, trial: &str| {
            let own = |label: &&&Label| label.by == name && label.trial == trial && label.criterion == criterion.id;
            labels.iter().find(own).and_then(|label| criterion.level(&label.word)).map(i64::from)
        };
        let ratings: Vec<Vec<Option<i64>>> =
            names.iter().map(|name| trials.iter().map(|trial| said(name, trial)).collect()).collect();
        agreement(&ratings, criterion.scale())
    };
    html! {
        section { h2 { "People among themselves" }
            div.card.scroll { table {
                thead { tr { th scope="col" { "Criterion" } th.n scope="col" { "Trials, n" } th.n scope="col" { "Agree" } th scope="col" { "Kappa" } th scope="col" { "Alpha" } } }
                tbody { @for (_, criterion) in rubric.criteria() {
                    @let found = of(criterion);
                    tr { th scope="row" { (criterion.id) } td.n { (found.items) } td.n { (percent(found.observed)) } td { (figure(found.cohen.or(found.fleiss))) } td { (figure(found.alpha)) } }
                } }
            } }
        }
    }
}

fn measured(rubric: &Rubric, print: &str, items: &[Labelled]) -> Markup {
    let report = measure(rubric, items);
    let mut judges: Vec<&str> = items
        .iter()
        .filter_map(|item| item.read.as_ref())
        .flat_map(|read| &read.criteria)
        .flat_map(|read| &read.votes)
        .map(|vote| vote.judge.as_str())
        .collect();
    judges.sort_unstable();
    judges.dedup();
    let own =
        if print == rubric.fingerprint() { "the rubric's own judge" } else { "another judge, or older words of it" };
    let all: Vec<&Held> = report.criteria.iter().chain([&report.whole]).collect();
    html! {
        section {
            h2 { (shorten(&judges.join(", "), 120)) " " span.note { (own) } }
            (confusion(&all))
            (agreements(&all))
            p.note { "Sensitivity: of what people pass; specificity: of what people fail; 95 % intervals. Items without a verdict of both don't count." }
            p { @if report.kept.valid { span.tag.good { "good enough" } " These labels would make the judge one that gates may count on." }
                @else { span.tag.open { "not enough" } " " (report.kept.why) "." } }
            (differences(&report))
        }
    }
}

fn name(held: &Held) -> &str {
    if held.criterion.is_empty() { "as a whole" } else { &held.criterion }
}

fn confusion(all: &[&Held]) -> Markup {
    html! {
        div.card.scroll { table.confusion {
            caption.sr { "Who passes and who fails" }
            thead { tr { th scope="col" { "Criterion" } th.n scope="col" { "Items, n" } th.n scope="col" { "Both pass" } th.n scope="col" { "Judge too strict" }
                th.n scope="col" { "Judge too lenient" } th.n scope="col" { "Both fail" } th.n scope="col" { "Unknown" } th.n scope="col" { "Broken" } } }
            tbody { @for held in all {
                @let c = held.confusion;
                tr { th scope="row" { (name(held)) } td.n { (held.items) } td.n { (c.both_pass) } td.n { (c.judge_too_strict) } td.n { (c.judge_too_lenient) } td.n { (c.both_fail) }
                    td.n { (c.unknown) } td.n { (c.broken) } }
            } }
        } }
    }
}

fn agreements(all: &[&Held]) -> Markup {
    html! {
        div.card.scroll { table {
            caption.sr { "How well the judge agrees with people" }
            thead { tr { th scope="col" { "Criterion" } th.n scope="col" { "Agrees" } th scope="col" { "Sensitivity" } th scope="col" { "Specificity" } th scope="col" { "Kappa" }
                th scope="col" { "AC1" } th scope="col" { "Alpha" } } }
            tbody { @for held in all {
                @let found = &held.agreement;
                tr { th scope="row" { (name(held)) } td.n { (percent(found.observed)) } td { (share(held.sensitivity)) } td { (share(held.specificity)) }
                    td { (figure(found.cohen)) } td { (figure(found.ac1)) } td { (figure(found.alpha)) } }
            } }
        } }
    }
}

fn differences(report: &CalibrationReport) -> Markup {
    let total: usize = report.criteria.iter().map(|held| held.wrong.len()).sum();
    html! {
        @if total > 0 {
            details.card { summary { b { "Where judge and people differ" } " " span.note { (total) } }
                ul.notes { @for held in &report.criteria {
                    @for wrong in held.wrong.iter().take(WRONG) { li {
                        b { (held.criterion) } " of " (shorten(&wrong.item, 120)) ": " @if wrong.human_passes { "people pass it" } @else { "people fail it" } "; the judge says " (shorten(&wrong.says, 300))
                    } }
                    @if held.wrong.len() > WRONG { li.note { (held.criterion) ": " (held.wrong.len() - WRONG) " more" } }
                } }
            }
        }
    }
}

/// What `holdback judge calibrate` has kept.
fn calibrations(kept: &[Calibrated], rubric: Option<&Rubric>) -> Markup {
    let own = rubric.map(Rubric::fingerprint);
    html! { @if !kept.is_empty() {
        section { h2 { "Kept calibrations" }
            p.lead { "Made by " code { "holdback judge calibrate" } "; gates count on a valid one of the same judge and rubric." }
            div.card.scroll { table.list.stack {
                thead { tr { th scope="col" { "Judge" } th.n scope="col" { "Items, n" } th scope="col" { "Sensitivity" } th scope="col" { "Specificity" } th scope="col" { "Valid" } } }
                tbody { @for one in kept { tr {
                    th scope="row" { (shorten(&one.judges.join(", "), 120)) @if own.as_ref() == Some(&one.fingerprint) { " " span.tag { "as it is now" } } }
                    td.n data-arm="items" { (one.items) }
                    td { (share(one.whole.sensitivity(0.05).ok())) } td { (share(one.whole.specificity(0.05).ok())) }
                    td { @if one.valid { span.tag.good { "valid" } } @else { span.tag.bad { "not valid" } " " span.note { (shorten(&one.why, 300)) } } }
                } } }
            } }
        }
    } }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", 100.0 * share))
}

fn share(share: Option<(f64, Interval)>) -> String {
    share.map_or_else(|| "–".to_owned(), |(value, interval)| ranged(value, Some(interval)))
}

fn figure(figure: Option<Figure>) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| ranged(figure.value, figure.interval))
}

fn ranged(value: f64, interval: Option<Interval>) -> String {
    match interval {
        Some(Interval { lower, upper }) => format!("{value:.2} [{lower:.2}, {upper:.2}]"),
        None => format!("{value:.2}"),
    }
}
