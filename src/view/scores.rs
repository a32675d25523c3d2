//! What people say of traces: a score that goes into the log. Labelling shows one trace after the other without what is known
//! of how it came out, so that nobody is led.

use maud::{Markup, html};

use super::door::{Ask, Reply, escaped};
use super::trace::Loaded;
use super::{Error, View, call, frame};
use crate::capture::clock;
use crate::report::page::words::shorten;
use crate::store::index::Search;
use crate::trace::{Score, Sink, TraceEvent, What};

/// The score's name.
const NAME: &str = "label";
/// Who gives it.
const BY: &str = "human";

/// What was said of a trace, and where somebody who may can say more.
pub fn given(loaded: &Loaded, ask: &Ask) -> Markup {
    let scores = &loaded.conversation.scores;
    html! {
        @if !scores.is_empty() || ask.csrf.is_some() {
            div.card.scores {
                @for (_, score) in scores {
                    p { b { (score.name) } " "
                        (score.label.clone().or_else(|| score.value.map(|value| value.to_string())).unwrap_or_default())
                        " " span.note { "by " (score.by) @if let Some(comment) = &score.comment { ": " (shorten(comment, 300)) } } }
                }
                @if let Some(csrf) = &ask.csrf { (form(&loaded.summary.id.to_string(), csrf, "trace")) }
            }
        }
    }
}

fn form(trace: &str, csrf: &str, back: &str) -> Markup {
    html! {
        form.inline.label method="post" action={ "/traces/" (trace) "/score" } {
            input type="hidden" name="csrf" value=(csrf);
            input type="hidden" name="back" value=(back);
            button type="submit" name="label" value="pass" data-key="p" { "Right " kbd { "p" } } " "
            button type="submit" name="label" value="fail" data-key="f" { "Wrong " kbd { "f" } } " "
            button type="submit" name="label" value="unsure" data-key="u" { "Can't tell " kbd { "u" } } " "
            label { span.sr { "Why" } input name="comment" placeholder="why, if you like" maxlength="2000" autocomplete="off"; }
        }
    }
}

/// Keeps a score.
pub fn give(view: &View, ask: &Ask, word: &str) -> Result<Reply, Error> {
    let label = ask.field("label");
    let value = match label {
        "pass" => Some(1.0),
        "fail" => Some(0.0),
        "unsure" => None,
        other => return Err(Error::Asked(format!("label {other:?}: expected pass, fail or unsure"))),
    };
    let trace = view.trace(word)?.summary.id;
    let comment =
        Some(ask.field("comment")).filter(|text| !text.is_empty()).map(|text| text.chars().take(2000).collect());
    let score =
        Score { name: NAME.to_owned(), by: BY.to_owned(), value, label: Some(label.to_owned()), comment, call: None };
    let mut writer = view.store.writer()?;
    writer.accept(&TraceEvent { trace, at: clock::now(), what: What::Scored(score) })?;
    Ok(Reply::There(if ask.field("back") == "desk" { "/label/traces".to_owned() } else { format!("/traces/{trace}") }))
}

/// The next trace that nobody has labelled.
pub fn desk(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let skipped: u32 = match ask.get("skip") {
        "" => 0,
        skip => skip.parse().map_err(|_| Error::Asked(format!("skip {skip:?}: expected a number")))?,
    };
    let search = Search {
        text: ask.get("q").to_owned(),
        unscored: Some((NAME.to_owned(), BY.to_owned())),
        skip: skipped,
        most: 1,
        ..Search::default()
    };
    let next = view.index()?.search(&search)?.pop();
    let loaded = next.map(|found| view.trace(&found.trace_id)).transpose()?;
    let on = format!("/label/traces?q={}&skip={}", escaped(ask.get("q")), skipped.saturating_add(1));
    let body = html! {
        nav.crumbs aria-label="Where" { a href="/label" { "Label" } " / traces" }
        h1 { "Label traces" }
        p.lead { "One trace after the other, without its name and without how it came out: say whether the loop did what it was asked." }
        @match &loaded {
            None => { (frame::empty("Every trace has its label, or there is none yet.", "holdback record -- YOUR COMMAND")) }
            Some(loaded) => {
                div.card { @for one in loaded.conversation.calls.iter().take(40) { (call::blind(one)) } }
                @match &ask.csrf {
                    Some(csrf) => { div.card.stick {
                        (form(&loaded.summary.id.to_string(), csrf, "desk")) a.button href=(on) data-key="s" { "Skip " kbd { "s" } }
                    } }
                    None => { div.card.empty { p { "This view only reads here." } p { code { "holdback view --write" } } } }
                }
            }
        }
    };
    Ok(Reply::Page(frame::page("/label", "Label", &body)))
}
