//! What went wrong: reasons that differ only in numbers and ids are one, from the index; and the groups of `holdback failures`, which
//! take reading, after the page.

use std::sync::{Arc, PoisonError};

use maud::{Markup, html};

use super::door::{Ask, Reply, escaped};
use super::{Error, View, frame, promote};
use crate::capture::clock;
use crate::eval::cases;
use crate::promote::Group;
use crate::report::page::words::{minute, shorten};
use crate::trace::Timestamp;

/// Days that are looked back when nothing else is asked.
const DAYS: i64 = 90;
/// How long groups that were read are shown again, in microseconds, and how many.
const FRESH: i64 = 30_000_000;
const MOST: usize = 100;

/// Groups as they were at a time.
#[derive(Debug)]
pub struct Known {
    at: Timestamp,
    days: i64,
    groups: Vec<Group>,
}

fn days(ask: &Ask) -> Result<i64, Error> {
    match ask.get("days") {
        "" => Ok(DAYS),
        days => days
            .parse()
            .ok()
            .filter(|days| (1..=100_000).contains(days))
            .ok_or_else(|| Error::Asked(format!("days {days:?}: expected a number"))),
    }
}

fn since(days: i64) -> (Timestamp, Timestamp) {
    let until = clock::now();
    (Timestamp(until.0 - days * 86_400_000_000), until)
}

/// The page.
pub fn page(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let days = days(ask)?;
    let (since, until) = since(days);
    let reasons = view.index()?.production_reasons(since, until)?;
    let body = html! {
        h1 { "Failures" }
        p.lead { "Recorded loops that did not end well in the last " (days) " days. Trials of suites are with their runs." }
        section {
            h2 { "By their likely cause" }
            div id="groups" data-fetch={ "/failures/groups?piece=yes&days=" (days) } aria-live="polite" aria-busy="true" {
                p.note { a href={ "/failures/groups?days=" (days) } { "Look for causes" } ": this reads what was said, and may take its time." }
            }
        }
        section {
            h2 { "By what they said themselves" }
            @if reasons.is_empty() { div.card.empty { p { "Nothing went wrong." } } }
            @else { div.card.scroll { table.list.stack {
                thead { tr { th scope="col" { "Reason" } th scope="col" { "Outcome" } th.n scope="col" { "Traces" } th scope="col" { "Find them" } } }
                tbody { @for group in &reasons {
                    @let outcome = group.outcome.as_deref().unwrap_or("");
                    tr {
                        th scope="row" { a.open href={ "/traces/" (escaped(&group.newest_trace)) } { (shorten(&group.why, 300)) } }
                        td { (frame::stands("ended", Some(outcome))) } td.n data-arm="traces" { (group.traces) }
                        td { a href={ "/traces?outcome=" (escaped(outcome)) } { "all " (outcome.replace('_', " ")) } }
                    }
                } }
            } } }
        }
    };
    Ok(Reply::Page(frame::page("/failures", "Failures", &body)))
}

/// The groups of `holdback failures`, as a piece or as a page.
pub fn groups(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let days = days(ask)?;
    let known = read(view, days)?;
    let table = table(&known.groups);
    if !ask.get("piece").is_empty() {
        return Ok(Reply::Piece(table));
    }
    let body = html! {
        nav.crumbs aria-label="Where" { a href="/failures" { "Failures" } " / by their likely cause" }
        h1 { "Failures by their likely cause" }
        p.lead { "In the last " (days) " days." }
        (table)
    };
    Ok(Reply::Page(frame::page("/failures", "Failures", &body)))
}

fn read(view: &View, days: i64) -> Result<Arc<Known>, Error> {
    let now = clock::now();
    let known = view.groups.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(known) = known.filter(|known| known.days == days && now.0 - known.at.0 < FRESH) {
        return Ok(known);
    }
    let found = cases::find(&Arc::new(view.reader()?), Some(since(days).0), false)?;
    let known = Arc::new(Known { at: now, days, groups: found.groups });
    *view.groups.lock().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
    Ok(known)
}

fn table(groups: &[Group]) -> Markup {
    html! {
        @if groups.is_empty() { div.card.empty { p { "No trace failed." } } }
        @else { div.card.scroll { table.list.stack {
            thead { tr { th scope="col" { "What was said" } th scope="col" { "Kind" } th.n scope="col" { "Traces" } th scope="col" { "Last seen, UTC" } th scope="col" { "Case" } } }
            tbody { @for group in groups.iter().take(MOST) { tr id={ "g" (group.id) } {
                th scope="row" { a.open href={ "/traces/" (group.newest) } { (shorten(&group.says, 300)) } " " span.note { (group.id) } }
                td { (group.kind.replace('_', " ")) @if let Some(tool) = &group.tool { " " code { (shorten(tool, 60)) } } }
                td.n data-arm="traces" { (group.count) }
                td { (minute(group.last_seen)) }
                td { @match &group.case {
                    Some(case) => { a href=(promote::link(&group.id)) { (shorten(case, 60)) } }
                    None => { a.button href=(promote::link(&group.id)) { "Promote" } }
                } }
            } } }
        } }
        @if groups.len() > MOST { p.note { (groups.len() - MOST) " more groups: holdback failures shows all." } } }
    }
}
