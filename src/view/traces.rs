//! The list of traces, and the search in it.

use std::sync::{Arc, PoisonError};

use maud::{Markup, html};

use super::door::{Ask, Reply, escaped};
use super::{Error, View, filters, frame};
use crate::capture::clock;
use crate::report::page::words::{dollars, minute, seconds, shorten, tokens};
use crate::store::index::{Found, Index, Search};
use crate::trace::Timestamp;

/// Traces on a page.
const PAGE: u32 = 50;

const OUTCOMES: [(&str, &str); 8] = [
    ("", "any outcome"),
    ("wrong", "went wrong"),
    ("ok", "ok"),
    ("failed", "failed"),
    ("killed", "killed"),
    ("braked", "braked"),
    ("live", "live"),
    ("cut_off", "cut off"),
];

/// How long words to choose from are kept: they are counted over every call there is.
const FRESH: i64 = 60_000_000;

/// Words to choose from.
#[derive(Debug)]
pub struct Words {
    at: Timestamp,
    models: Vec<String>,
    tools: Vec<String>,
    tags: Vec<String>,
}

/// The words that were read lately, or those of now.
fn words(view: &View, index: &Index) -> Result<Arc<Words>, Error> {
    let now = clock::now();
    let known = view.words.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(known) = known.filter(|known| now.0 - known.at.0 < FRESH) {
        return Ok(known);
    }
    let words = Arc::new(Words {
        at: now,
        models: index.models_used()?.into_iter().map(|one| one.word).collect(),
        tools: index.tools_used()?.into_iter().map(|one| one.word).collect(),
        tags: index.tags_used()?.into_iter().map(|one| one.word).collect(),
    });
    *view.words.lock().unwrap_or_else(PoisonError::into_inner) = Some(words.clone());
    Ok(words)
}

/// The list.
pub fn list(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let search = asked(ask)?;
    let index = view.index()?;
    let mut found = index.search(&search)?;
    let words = words(view, &index)?;
    drop(index);
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let (kept, keep) = filters::shown(view, ask)?;
    let any = ask.query.iter().any(|(key, value)| key != "after" && !value.is_empty());
    let body = html! {
        h1 { "Traces" }
        (kept)
        (form(ask, &words))
        (keep)
        @if found.is_empty() {
            @if any { div.card.empty { p { "No trace fits." } p { a href="/traces" { "Show all" } } } }
            @else { (frame::empty("Nothing is recorded yet.", "holdback record -- YOUR COMMAND")) }
        } @else {
            (table(&found))
            (pages(ask, &found, more))
        }
    };
    Ok(Reply::Page(frame::page("/traces", "Traces", &body)))
}

fn asked(ask: &Ask) -> Result<Search, Error> {
    let tag = match ask.get("tag") {
        "" => None,
        tag => {
            let (key, value) =
                tag.split_once('=').ok_or_else(|| Error::Asked(format!("tag {tag:?}: expected KEY=VALUE")))?;
            Some((key.to_owned(), value.to_owned()))
        }
    };
    let min_cost = match ask.get("cost") {
        "" => None,
        cost => Some(
            cost.trim_start_matches('$')
                .parse()
                .map_err(|_| Error::Asked(format!("cost {cost:?}: expected a number of dollars")))?,
        ),
    };
    let after = match ask.get("after") {
        "" => None,
        place => {
            let (at, id) = place.split_once('.').unwrap_or_default();
            let at = at
                .parse()
                .map_err(|_| Error::Asked(format!("after {place:?}: expected a place that a page linked to")))?;
            Some((Timestamp(at), id.to_owned()))
        }
    };
    Ok(Search {
        text: ask.get("q").to_owned(),
        tool: ask.get("tool").to_owned(),
        model: ask.get("model").to_owned(),
        tag,
        outcome: ask.get("outcome").to_owned(),
        min_cost,
        since: day(ask.get("since"), 0)?,
        until: day(ask.get("until"), 1)?,
        after,
        most: PAGE + 1,
        ..Search::default()
    })
}

/// The beginning of a day in UTC, or of the one after.
fn day(text: &str, after: i64) -> Result<Option<Timestamp>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let day: jiff::civil::Date =
        text.parse().map_err(|_| Error::Asked(format!("{text:?}: expected a day like 2026-11-21")))?;
    let start = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| Error::Asked(format!("{text:?} is no day")))?;
    Ok(Some(Timestamp(start.timestamp().as_microsecond() + after * 86_400_000_000)))
}

fn form(ask: &Ask, words: &Words) -> Markup {
    let choice = |id: &str, all: &[String]| html! { datalist id=(id) { @for word in all { option value=(word) {} } } };
    let input = |name: &str, says: &str, list: Option<&str>, kind: &str| {
        html! {
            label { span { (says) } input name=(name) type=(kind) value=(ask.get(name)) list=[list] autocomplete="off"; }
        }
    };
    html! {
        form.search.card method="get" action="/traces" role="search" {
            label.wide { span { "Text" } input name="q" type="search" value=(ask.get("q")) placeholder="in names and in what was said" id="search"; }
            (input("tool", "Tool", Some("tools"), "text"))
            (input("model", "Model", Some("models"), "text"))
            (input("tag", "Tag", Some("tags"), "text"))
            label { span { "Outcome" } select name="outcome" { @for (value, says) in OUTCOMES {
                option value=(value) selected[ask.get("outcome") == value] { (says) } } } }
            (input("cost", "Cost at least, $", None, "text"))
            (input("since", "From", None, "date"))
            (input("until", "To", None, "date"))
            div.do {
                button.main type="submit" { "Search" }
                " " a href="/traces" { "Clear" }
                @if ask.csrf.is_none() { button id="save-filter" type="button" hidden { "Keep this search in this browser" } }
            }
            @if ask.csrf.is_none() { div id="filters" {} }
            (choice("tools", &words.tools)) (choice("models", &words.models)) (choice("tags", &words.tags))
        }
    }
}

fn table(found: &[Found]) -> Markup {
    html! {
        form method="get" action="/diff" {
            div.card.scroll {
                table.list.stack {
                    thead { tr {
                        th scope="col" { span.sr { "Choose two" } } th scope="col" { "Trace" } th scope="col" { "Started, UTC" } th scope="col" { "Status" } th.n scope="col" { "Calls" }
                        th.n scope="col" { "Tokens" } th.n scope="col" { "Cost" } th.n scope="col" { "Took" } th scope="col" { "Models" }
                    } }
                    tbody { @for one in found { (row(one)) } }
                }
            }
            p.below { button type="submit" id="diff-chosen" { "Put two side by side" } span.note { " Tick two traces first." } }
        }
    }
}

fn row(one: &Found) -> Markup {
    let took = one.ended_at.map(|at| seconds(at.micros_since(one.started_at) as f64 / 1e6));
    let name = one.name.clone().unwrap_or_else(|| one.trace_id[..8.min(one.trace_id.len())].to_owned());
    html! {
        tr {
            td { input type="checkbox" name="t" value=(one.trace_id) aria-label={ "Choose " (name) }; }
            th scope="row" {
                a.open href={ "/traces/" (one.trace_id) } { (shorten(&name, 60)) }
                @if let Some(agent) = &one.agent { " " span.note { (agent) } }
                (tags(&one.tags))
                @if let Some(reason) = &one.reason { div.note { (shorten(reason, 120)) } }
            }
            td { (minute(one.started_at)) }
            td { (frame::stands(&one.state, one.outcome.as_deref())) }
            td.n data-arm="calls" { (one.calls) @if one.failed_calls > 0 { " " span.note { "(" (one.failed_calls) " failed)" } } }
            td.n data-arm="tokens" { @match one.tokens { Some(n) => { (tokens(n as f64)) } None => { "–" } } }
            td.n data-arm="cost" { @match one.cost_usd { Some(usd) => { @if one.unpriced_calls > 0 { "≥ " } (dollars(usd)) } None => { "–" } } }
            td.n data-arm="took" { (took.unwrap_or_else(|| "–".to_owned())) }
            td.models { (shorten(one.models.as_deref().unwrap_or("–"), 60)) }
        }
    }
}

fn tags(json: &str) -> Markup {
    let tags: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    html! {
        @for (key, value) in tags.iter().take(3) {
            @let word = format!("{key}={}", value.as_str().unwrap_or_default());
            " " a.tag href={ "/traces?tag=" (escaped(&word)) } { (shorten(&word, 40)) }
        }
    }
}

/// The pages before and after: a page begins after the last trace of the one before, so that the hundredth is as cheap as the
/// first.
fn pages(ask: &Ask, found: &[Found], more: bool) -> Markup {
    let kept = ask.query.iter().filter(|(key, value)| key != "after" && !value.is_empty());
    let query: Vec<String> = kept.map(|(key, value)| format!("{}={}", escaped(key), escaped(value))).collect();
    let to =
        |after: Option<String>| format!("/traces?{}", query.iter().cloned().chain(after).collect::<Vec<_>>().join("&"));
    let next = found.last().filter(|_| more).map(|last| format!("after={}.{}", last.started_at.0, last.trace_id));
    let later = !ask.get("after").is_empty();
    html! {
        @if later || next.is_some() {
            nav.below aria-label="Pages" {
                @if later { a href=(to(None)) rel="first" { "⇤ newest" } " " }
                @if next.is_some() { a href=(to(next)) rel="next" { "older →" } }
            }
        }
    }
}
