//! What is being recorded now, told as it happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, header};
use futures_util::stream;
use maud::{Markup, html};
use tokio::sync::watch;

use super::door::{self, Ask, Reply};
use super::{Error, View, frame, trace};
use crate::report::page::words::{dollars, minute, seconds, shorten, tokens};
use crate::store::log::{Status, TraceSummary};

/// How often the log is looked at: a reader is cheap, and a person no faster.
const EVERY: Duration = Duration::from_millis(700);
/// Traces that are shown.
const MOST: usize = 30;

/// The page; a script keeps it up to date.
pub fn page(view: &View, _: &Ask) -> Result<Reply, Error> {
    let body = html! {
        h1 { "Live" }
        p.lead { "Recorders at work first, then what ended last. The list follows by itself." }
        div id="live" data-events="/live/events" aria-live="polite" { (rows(view)?) }
    };
    Ok(Reply::Page(frame::page("/live", "Live", &body)))
}

fn rows(view: &View) -> Result<Markup, Error> {
    let mut traces = view.reader()?.traces();
    traces.sort_by_key(|trace| (trace.status != Status::Live, std::cmp::Reverse(trace.last)));
    traces.truncate(MOST);
    Ok(html! {
        @if traces.is_empty() { (frame::empty("Nothing is recorded yet.", "holdback record -- YOUR COMMAND")) }
        @else { div.card.scroll { table.list.stack {
            thead { tr { th scope="col" { "Trace" } th scope="col" { "Status" } th.n scope="col" { "Calls" } th.n scope="col" { "In flight" } th.n scope="col" { "Tokens" }
                th.n scope="col" { "Cost" } th.n scope="col" { "So far" } th scope="col" { "Last sign, UTC" } } }
            tbody { @for trace in &traces { (row(trace)) } }
        } } }
    })
}

fn row(trace: &TraceSummary) -> Markup {
    let id = trace.id.to_string();
    html! {
        tr {
            th scope="row" { a.open href={ "/traces/" (id) } { (shorten(trace.name.as_deref().unwrap_or(&id[..8]), 60)) }
                @if let Some(agent) = &trace.agent { " " span.note { (agent) } } }
            td { (frame::standing(trace)) }
            td.n data-arm="calls" { (trace.calls) @if trace.failed_calls > 0 { " (" (trace.failed_calls) " failed)" } }
            td.n data-arm="in flight" { (if trace.status == Status::Live { trace.open_calls } else { 0 }) }
            td.n data-arm="tokens" { (tokens(trace.usage.total() as f64)) }
            td.n data-arm="cost" { @match trace.cost_usd { Some(usd) => { (dollars(usd)) } None => { "–" } } }
            td.n data-arm="so far" { (seconds(trace.last.micros_since(trace.started) as f64 / 1e6)) }
            td { (minute(trace.last)) }
        }
    }
}

/// What a page that follows has been told.
#[derive(Debug, Default, Clone)]
struct Told {
    html: String,
    /// The first call that may still change.
    from: usize,
    summary: Option<TraceSummary>,
}

/// The list again, whenever it has changed, until the view closes.
pub fn events(view: Arc<View>, closing: watch::Receiver<bool>) -> Response<Body> {
    follow(view, closing, Told::default(), |view, before| {
        let html = rows(view).ok()?.into_string();
        (html != before.html).then(|| (message("message", &html), Told { html, ..before.clone() }))
    })
}

/// The calls of a trace as they are made, and a word when it has ended.
pub fn of_trace(view: Arc<View>, closing: watch::Receiver<bool>, word: String, from: usize) -> Response<Body> {
    follow(view, closing, Told { from, ..Told::default() }, move |view, before| {
        let reader = view.reader().ok()?;
        let summary = reader.trace(super::resolve(&reader, &word).ok()?).ok()?;
        if before.summary.as_ref() == Some(&summary) {
            return None;
        }
        let loaded = view.trace(&summary.id.to_string()).ok()?;
        let html = trace::rows(&loaded, before.from).into_string();
        let from = trace::open_from(&loaded.conversation.calls);
        let kind = if summary.status == Status::Live { "calls" } else { "over" };
        Some((message(kind, &html), Told { from, summary: Some(summary), ..Told::default() }))
    })
}

/// Asks again and again whether there is something new to tell.
fn follow<F>(view: Arc<View>, closing: watch::Receiver<bool>, told: Told, news: F) -> Response<Body>
where
    F: Fn(&View, &Told) -> Option<(Bytes, Told)> + Send + Sync + 'static,
{
    let news = Arc::new(news);
    let stream = stream::unfold((view, closing, told), move |(view, mut closing, before)| {
        let news = news.clone();
        async move {
            loop {
                let (again, known, ask) = (view.clone(), before.clone(), news.clone());
                if let Ok(Some((bytes, told))) = tokio::task::spawn_blocking(move || ask(&again, &known)).await {
                    return Some((Ok::<_, Infallible>(bytes), (view, closing, told)));
                }
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    // Whether it says so or is gone: the view is closing.
                    _ = closing.changed() => return None,
                }
            }
        }
    });
    let mut response = Response::new(Body::from_stream(stream));
    door::guard(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn message(kind: &str, html: &str) -> Bytes {
    let mut text = format!("event: {kind}\n");
    // Without any data a browser takes it for no event.
    for line in html.lines().chain(html.is_empty().then_some("")) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_message_holds_its_lines_together() {
        assert_eq!(super::message("calls", "a\nb"), "event: calls\ndata: a\ndata: b\n\n");
        assert_eq!(super::message("over", ""), "event: over\ndata: \n\n");
    }
}
