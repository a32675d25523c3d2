//! What all pages share: the head, the way around, small words.

use maud::{DOCTYPE, Markup, html};

use crate::store::log::{Status, TraceSummary};
use crate::trace::TraceOutcome;

/// The parts of the view.
const PARTS: [(&str, &str); 8] = [
    ("/traces", "Traces"),
    ("/runs", "Runs"),
    ("/compare", "Compare"),
    ("/verdicts", "Verdicts"),
    ("/failures", "Failures"),
    ("/label", "Label"),
    ("/calibration", "Calibration"),
    ("/live", "Live"),
];

/// A page. `here` is the part it belongs to.
pub fn page(here: &str, title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · holdback" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/page.css";
                link rel="stylesheet" href="/assets/view.css";
                script src="/assets/page.js" defer {}
                script src="/assets/view.js" defer {}
            }
            body {
                a.skip href="#main" { "To the content" }
                header.bar {
                    div.page {
                        a.brand href="/" { "holdback" }
                        nav aria-label="Parts" { @for (to, name) in PARTS {
                            a href=(to) aria-current=[(to == here).then_some("page")] { (name) }
                        } }
                        button id="theme" type="button" hidden { "light / dark" }
                    }
                }
                main.page id="main" { (body) }
            }
        }
    }
}

/// A page that says what is wrong.
pub fn wrong(title: &str, why: &str) -> Markup {
    page("", title, &html! { h1 { (title) } p.lead { (why) } p { a href="/traces" { "To the traces" } } })
}

/// Nothing to show, and what to do about it.
pub fn empty(says: &str, command: &str) -> Markup {
    html! { div.card.empty { p { (says) } p { code { (command) } } } }
}

/// One word for how a trace stands.
pub fn standing(summary: &TraceSummary) -> Markup {
    match (summary.status, summary.outcome) {
        (Status::Live, _) => html! { span.tag.open { "live" } },
        (Status::CutOff, _) => html! { span.tag.bad { "cut off" } },
        (Status::Ended, Some(TraceOutcome::Ok) | None) => html! { span.tag.good { "ok" } },
        (Status::Ended, Some(outcome)) => html! { span.tag.bad { (outcome.as_str()) } },
    }
}

/// The same, from the index's words.
pub fn stands(state: &str, outcome: Option<&str>) -> Markup {
    match (state, outcome) {
        ("live", _) => html! { span.tag.open { "live" } },
        ("cut_off", _) => html! { span.tag.bad { "cut off" } },
        (_, Some("ok") | None) => html! { span.tag.good { "ok" } },
        (_, Some(other)) => html! { span.tag.bad { (other.replace('_', " ")) } },
    }
}
