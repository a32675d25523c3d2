//! What went wrong, grouped: reasons that differ only in numbers and ids are one, each with its newest trace.

use maud::html;

use super::door::{Ask, Reply, escaped};
use super::{Error, View, frame};
use crate::capture::clock;
use crate::report::page::words::shorten;
use crate::trace::Timestamp;

/// Days that are looked back when nothing else is asked.
const DAYS: i64 = 90;

/// The page.
pub fn page(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let days = match ask.get("days") {
        "" => DAYS,
        days => days
            .parse()
            .ok()
            .filter(|days| (1..=100_000).contains(days))
            .ok_or_else(|| Error::Asked(format!("days {days:?}: expected a number")))?,
    };
    let until = clock::now();
    let since = Timestamp(until.0 - days * 86_400_000_000);
    let groups = view.index()?.production_reasons(since, until)?;
    let body = html! {
        h1 { "Failures" }
        p.lead { "Recorded loops that did not end well in the last " (days) " days, by their reason. Trials of suites are with their runs." }
        @if groups.is_empty() { div.card.empty { p { "Nothing went wrong." } } }
        @else { div.card.scroll { table.list.stack {
            thead { tr { th scope="col" { "Reason" } th scope="col" { "Outcome" } th.n scope="col" { "Traces" } th scope="col" { "Find them" } } }
            tbody { @for group in &groups {
                @let outcome = group.outcome.as_deref().unwrap_or("");
                tr {
                    th scope="row" { a.open href={ "/traces/" (escaped(&group.newest_trace)) } { (shorten(&group.why, 300)) } }
                    td { (frame::stands("ended", Some(outcome))) } td.n { (group.traces) }
                    td { a href={ "/traces?outcome=" (escaped(outcome)) } { "all " (outcome) } }
                }
            } }
        } } }
    };
    Ok(Reply::Page(frame::page("/failures", "Failures", &body)))
}
