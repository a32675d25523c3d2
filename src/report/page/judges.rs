//! What judges said, and how often they say what people say.

use maud::{Markup, html};

use super::Section;
use super::words::{count, shorten};
use crate::gate::percent;
use crate::report::overview::{Agreement, Overview, Share, Source};

/// Judges' pass rates, and judges against people.
pub fn section(overview: &Overview) -> Section {
    if overview.judged.is_empty() && overview.agreement.is_empty() {
        return None;
    }
    let body = html! {
        @if !overview.judged.is_empty() { (rates(overview)) }
        @if overview.agreement.is_empty() {
            p.note { "No judge here has been held against people yet: " code { "holdback judge label" } ", then " code { "holdback judge calibrate" } "." }
        } @else { (agreement(&overview.agreement)) }
    };
    Some(("Judges and people", body))
}

fn rates(overview: &Overview) -> Markup {
    let mut graders: Vec<&str> = Vec::new();
    let mut reasons: Vec<(&str, &str)> = Vec::new();
    for one in &overview.judged {
        let grader = one.rate.grader.as_str();
        if graders.contains(&grader) {
            continue;
        }
        graders.push(grader);
        reasons.extend(one.rate.why.as_deref().map(|why| (grader, why)));
    }
    html! {
        p.lead { "What judges passed: raw, and corrected for how often they err, where they have been held against people." }
        div.card.scroll { table.stack {
            thead { tr { th scope="col" { "Judge" } th scope="col" { "Model" } th.n scope="col" { "verdicts" } th.n scope="col" { "raw" }
                th.n scope="col" { "corrected" } } }
            tbody { @for grader in graders { @for one in overview.judged.iter().filter(|one| one.rate.grader == grader) { tr {
                th scope="row" { (shorten(grader, 80)) @if !one.calibrated { " " span.tag.open { "not calibrated" } } }
                td data-arm="Model" { (shorten(&overview.arms[one.arm].label, 60)) @if overview.suites.len() > 1 { span.note { " in " (overview.arms[one.arm].suite) } } }
                td.n data-arm="verdicts" { (one.rate.trials) }
                td.n data-arm="raw" { (percent(one.rate.raw)) }
                td.n data-arm="corrected" { (share(one.rate.corrected.zip(one.rate.interval).map(|(value, interval)| Share { value, interval }))) }
            } } } }
        } }
        @if !reasons.is_empty() { details.fine {
            summary { "Why some rates are not corrected" }
            ul { @for (grader, why) in reasons { li { b { (shorten(grader, 80)) } ": " (why) } } }
        } }
    }
}

fn agreement(all: &[Agreement]) -> Markup {
    let mut verdicts: Vec<(&[String], &str)> = Vec::new();
    for one in all.iter().filter(|one| one.valid == Some(false)) {
        if !verdicts.contains(&(one.models.as_slice(), one.why.as_str())) {
            verdicts.push((&one.models, &one.why));
        }
    }
    html! {
        h3 { "Agreement" }
        p.lead { "How often each judge says what people said of the same thing. Kappa takes off what chance alone would agree on." }
        div.card.scroll { table.stack {
            thead { tr { th scope="col" { "Judge" } th scope="col" { "labels" } th.n scope="col" { "agrees" } th.n scope="col" { "kappa" }
                th.n scope="col" { "passes what people pass" } th.n scope="col" { "fails what people fail" } } }
            tbody { @for one in all { tr {
                th scope="row" { (shorten(&one.judge, 80))
                    @match one.valid { Some(true) => { " " span.tag.good { "valid" } } Some(false) => { " " span.tag.open { "not valid" } } None => {} } }
                td data-arm="labels" { (one.labels) " " span.note { @match one.from { Source::Calibration => { "of its calibration" } Source::TheseTrials => { "of these trials" } }
                    @if one.unjudged > 0 { ", " (count(u64::from(one.unjudged), "other")) " without a verdict" } } }
                td.n data-arm="agrees" { (share(one.agree)) }
                td.n data-arm="kappa" { @match one.kappa { Some(kappa) => { (format!("{kappa:.2}")) } None => { "–" } } }
                td.n data-arm="passes what people pass" { (share(one.true_pass)) }
                td.n data-arm="fails what people fail" { (share(one.true_fail)) }
            } } }
        } }
        @for (models, why) in verdicts { p.note { (models.join(", ")) " may inform, not block, under a policy that counts on calibrated judges: " (why) "." } }
    }
}

fn share(share: Option<Share>) -> Markup {
    html! { @match share {
        Some(Share { value, interval }) => { (percent(value)) " " span.note { (format!("{:.0}–{:.0}", 100.0 * interval.lower, 100.0 * interval.upper)) } }
        None => { "–" }
    } }
}
