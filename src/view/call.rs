//! One call: what was new in its request, what was answered, when the answer's pieces came, and the bytes as they were.

use maud::{Markup, html};

use super::conversation::ShownCall;
use super::door::{Ask, Reply};
use super::trace::{Loaded, usage};
use super::{Error, View, frame};
use crate::report::page::words::{count, seconds, shorten};
use crate::store::log::Kept;
use crate::trace::{Chunk, Message, Part};

/// Characters that are shown before the rest is folded.
const SHORT: usize = 1_500;
/// Characters that a page shows of one text at all; the raw bytes have the rest.
const LONG: usize = 60_000;

/// A page of its own, for a link and for browsers without scripts.
pub fn page(view: &View, _: &Ask, id: &str, number: &str) -> Result<Reply, Error> {
    let loaded = view.trace(id)?;
    let call = loaded.call(number)?;
    let trace = format!("/traces/{}", loaded.summary.id);
    let last = loaded.conversation.calls.len();
    let body = html! {
        nav.crumbs aria-label="Where" { a href="/traces" { "Traces" } " / " a href=(super::trace::link(&loaded.summary.id.to_string(), call.number)) { (shorten(&loaded.name(), 60)) } " / #" (number) }
        h1 { "Call " (number) " " span.note { (call.model) } }
        p.note { (usage(call)) }
        div.card { (inside(&loaded, call)) }
        nav.below aria-label="Calls" {
            @if call.number > 1 { a href={ (trace) "/calls/" (call.number - 1) } rel="prev" { "← call " (call.number - 1) } " " }
            @if call.number < last { a href={ (trace) "/calls/" (call.number + 1) } rel="next" { "call " (call.number + 1) " →" } }
        }
    };
    Ok(Reply::Page(frame::page("/traces", &format!("call {number} of {}", loaded.name()), &body)))
}

/// What a page fetches when the call is seen.
pub fn piece(view: &View, id: &str, number: &str) -> Result<Reply, Error> {
    let loaded = view.trace(id)?;
    let call = loaded.call(number)?;
    Ok(Reply::Piece(inside(&loaded, call)))
}

/// The request body, byte for byte.
pub fn request(view: &View, id: &str, number: &str) -> Result<Reply, Error> {
    let loaded = view.trace(id)?;
    let call = loaded.call(number)?.call;
    Ok(Reply::Raw(view.reader()?.request(call)?.to_vec()))
}

/// The response body, byte for byte.
pub fn response(view: &View, id: &str, number: &str) -> Result<Reply, Error> {
    let loaded = view.trace(id)?;
    let call = loaded.call(number)?.call;
    let entries = view.reader()?.entries(loaded.summary.id)?;
    let body = entries.into_iter().find_map(|entry| match entry.what {
        Kept::CallEnded(_, id, ended) if id == call => Some(ended.body),
        _ => None,
    });
    body.map(|body| Reply::Raw(body.to_vec())).ok_or_else(|| Error::Missing(format!("call {number} has no answer")))
}

/// What a call says.
pub fn inside(loaded: &Loaded, call: &ShownCall) -> Markup {
    let to = format!("/traces/{}/calls/{}", loaded.summary.id, call.number);
    let answer = loaded.answers.get(&call.call);
    html! {
        div.inside {
            @if call.kept_messages > 0 && call.number > 1 { p.note { (count(u64::from(call.kept_messages), "earlier message")) " of this conversation, not repeated" } }
            ol.talk {
                @for message in &call.new_messages { (said(message)) }
                @if let Some(answer) = &call.answer { (said(answer)) }
                @if let Some(error) = &call.error { li.error { span.who { "error" } div.text { (call.status.map(|s| format!("{s} ")).unwrap_or_default()) (folded(error)) } } }
            }
            p.under {
                @if let Some(stop) = &call.stop { span { "stopped: " (stop) } }
                @if let Some(end) = call.end { @if end != crate::trace::CallEnd::Complete { span.tag.bad { (end.as_str().replace('_', " ")) } } }
                @if let Some(first) = call.first_byte_us { span { "first byte " (seconds(first as f64 / 1e6)) } }
                @if let Some(first) = call.first_content_us { span { "first content " (seconds(first as f64 / 1e6)) } }
                @if let Some(n) = call.usage.reasoning { span { "thought " (n) " tokens" } }
                @if let Some(n) = call.usage.cache_read { @if n > 0 { span { (n) " tokens from cache" } } }
                @if call.redactions > 0 { span { (count(u64::from(call.redactions), "secret")) " replaced" } }
                span { (call.upstream) " · " (call.wire.as_str()) }
                a href={ (to) "/request" } { "request, " (call.request_bytes) " bytes" }
                @if call.end.is_some() { a href={ (to) "/response" } { "response, " (call.response_bytes) " bytes" } }
                a href=(to) { "link" }
            }
            @if let Some((chunks, headers)) = answer {
                (arrival(chunks))
                @if !headers.is_empty() {
                    details.more { summary { "Headers of the answer" } dl.pairs { @for (name, value) in headers { dt { (name) } dd { (value) } } } }
                }
            }
        }
    }
}

/// What a call says, and nothing of how it came out.
pub fn blind(call: &ShownCall) -> Markup {
    html! { ol.talk { @for message in call.new_messages.iter().chain(&call.answer) { (said(message)) } } }
}

fn said(message: &Message) -> Markup {
    let who = message.role.as_str();
    html! {
        @for part in &message.parts {
            @match part {
                Part::Text { text } => { li.text.(who) { span.who { (who) } div.text { (folded(text)) } } }
                Part::Refusal { text } => { li.error { span.who { "refuses" } div.text { (folded(text)) } } }
                Part::Thinking { text, .. } => { li.thinking { span.who { "thinks" } div.text { @if text.is_empty() { "(sealed by the provider)" } @else { (folded(text)) } } } }
                Part::ToolCall(call) => { li.call { span.who { "calls" } div.text { b { (call.name) } " " (folded(&pretty(&call.arguments))) } } }
                Part::ToolResult(result) => {
                    li class={ @if result.is_error { "failed" } @else { "result" } } {
                        span.who { @if result.is_error { "tool failed" } @else { "tool" } } div.text { (folded(&result.text)) }
                    }
                }
                Part::Other { value } => { li.result { span.who { "other" } div.text { (folded(&value.to_string())) } } }
            }
        }
    }
}

/// Arguments as people read them: on one line when they fit there.
fn pretty(value: &serde_json::Value) -> String {
    let line = value.to_string();
    if line.len() <= 100 { line } else { serde_json::to_string_pretty(value).unwrap_or(line) }
}

/// A text, its greater part behind a click when it is long.
pub fn folded(text: &str) -> Markup {
    let cut = |most: usize| text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
    let (short, long) = (cut(SHORT), cut(LONG));
    let left = text.len() - long;
    html! {
        (&text[..short])
        @if short < text.len() {
            details.more { summary { (text[short..].chars().count()) " more characters" } (&text[short..long])
                @if left > 0 { p.note { (left) " more bytes are in the raw request or response." } } }
        }
    }
}

/// When the answer's bytes came: a staircase from the request to the end.
fn arrival(chunks: &[Chunk]) -> Markup {
    let total: u64 = chunks.iter().map(|chunk| chunk.len).sum();
    let end = chunks.last().map_or(0, |chunk| chunk.at);
    if chunks.len() < 3 || total == 0 || end == 0 {
        return html! {};
    }
    let every = chunks.len().div_ceil(300);
    let mut come = 0u64;
    let mut line = String::from("0,40");
    let mut widest = (0u64, 0u64);
    let mut before = 0u64;
    for (at, chunk) in chunks.iter().enumerate() {
        if chunk.at.saturating_sub(before) > widest.0 {
            widest = (chunk.at - before, before);
        }
        before = chunk.at;
        let x = 600.0 * chunk.at as f64 / end as f64;
        let y = |come: u64| 40.0 - 36.0 * come as f64 / total as f64;
        if at % every == 0 || at + 1 == chunks.len() {
            line.push_str(&format!(" {x:.1},{:.1}", y(come)));
        }
        come += chunk.len;
        if at % every == 0 || at + 1 == chunks.len() {
            line.push_str(&format!(" {x:.1},{:.1}", y(come)));
        }
    }
    let says = format!(
        "{} in {}; the longest silence lasted {} and began at {}",
        count(chunks.len() as u64, "piece"),
        seconds(end as f64 / 1e6),
        seconds(widest.0 as f64 / 1e6),
        seconds(widest.1 as f64 / 1e6)
    );
    html! {
        details.more { summary { "How it arrived: " (says) }
            svg.arrival viewBox="0 0 600 42" preserveAspectRatio="none" role="img" aria-label=(says) {
                polyline points=(line) fill="none" stroke="currentColor" stroke-width="1.5" vector-effect="non-scaling-stroke" {}
            }
        }
    }
}
