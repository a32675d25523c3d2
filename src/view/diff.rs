//! Two traces side by side, line by line.

use maud::{Markup, html};
use similar::{ChangeTag, DiffTag, TextDiff};

use super::conversation::ShownCall;
use super::door::{Ask, Reply};
use super::trace::Loaded;
use super::{Error, View, frame};
use crate::report::page::words::{count, dollars, seconds, shorten, tokens};
use crate::store::log::Reader;
use crate::trace::{Message, Part, TraceId};

/// Lines of one trace that are compared.
const MOST: usize = 20_000;
/// Rows that are shown.
const ROWS: usize = 4_000;

/// The page: `a` and `b`, or two ticked traces.
pub fn page(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let ticked: Vec<&str> = ask.query.iter().filter(|(key, _)| key == "t").map(|(_, value)| value.as_str()).collect();
    let (a, b) = match (ask.get("a"), ask.get("b"), ticked.as_slice()) {
        (a, b, _) if !a.is_empty() && !b.is_empty() => (a, b),
        // The list has the newest first; the older one belongs on the left.
        (_, _, [newer, older]) => (*older, *newer),
        _ => {
            return Err(Error::Asked(
                "two traces are needed: tick two in the list, or name them as a and b".to_owned(),
            ));
        }
    };
    let (left, right) = (view.trace(a)?, view.trace(b)?);
    let (before, after) = (lines(&left), lines(&right));
    let title = format!("{} and {}", left.name(), right.name());
    let body = html! {
        nav.crumbs aria-label="Where" { a href="/traces" { "Traces" } " / two of them" }
        h1 { "Side by side" }
        div.grid.two { (head(&left)) (head(&right)) }
        (table(&before, &after))
    };
    Ok(Reply::Page(frame::page("/traces", &title, &body)))
}

fn head(loaded: &Loaded) -> Markup {
    let summary = &loaded.summary;
    html! {
        div.card {
            h3 { a href={ "/traces/" (summary.id) } { (shorten(&loaded.name(), 60)) } " " (frame::standing(summary)) }
            p.note {
                (count(summary.calls, "call")) " · " (seconds(summary.last.micros_since(summary.started) as f64 / 1e6))
                @if summary.usage.is_known() { " · " (tokens(summary.usage.total() as f64)) " tokens" }
                @if let Some(usd) = summary.cost_usd { " · " (dollars(usd)) }
                " · " (summary.models.join(", "))
            }
        }
    }
}

/// A trace as lines.
///
/// # Errors
/// When it can't be read.
pub fn of_trace(reader: &Reader, trace: TraceId) -> Result<Vec<String>, Error> {
    Ok(lines(&Loaded::read(reader, reader.trace(trace)?)?))
}

/// How `b` differs from `a`, as a unified diff; empty when it doesn't.
///
/// # Errors
/// When one can't be read.
pub fn unified(reader: &Reader, a: TraceId, b: TraceId) -> Result<String, Error> {
    let (before, after) = (of_trace(reader, a)?, of_trace(reader, b)?);
    let (old, new): (Vec<&str>, Vec<&str>) =
        (before.iter().map(String::as_str).collect(), after.iter().map(String::as_str).collect());
    let diff = TextDiff::from_slices(&old, &new);
    let mut text = String::new();
    for group in diff.grouped_ops(3) {
        text.push_str("@@\n");
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            text.push_str(&format!("{sign}{}\n", change.value()));
        }
    }
    Ok(text)
}

/// A trace as lines: who, and what.
fn lines(loaded: &Loaded) -> Vec<String> {
    let mut lines = Vec::new();
    for call in &loaded.conversation.calls {
        of_call(call, &mut lines);
    }
    lines.truncate(MOST);
    lines
}

fn of_call(call: &ShownCall, lines: &mut Vec<String>) {
    lines.push(format!("── call {} {}", call.number, call.model));
    for message in call.new_messages.iter().chain(&call.answer) {
        of_message(message, lines);
    }
    if let Some(error) = &call.error {
        lines.push(format!("error: {error}"));
    }
}

fn of_message(message: &Message, lines: &mut Vec<String>) {
    for part in &message.parts {
        let (who, text) = match part {
            Part::Text { text } | Part::Refusal { text } => (message.role.as_str(), text.clone()),
            Part::Thinking { text, .. } => ("thinks", text.clone()),
            Part::ToolCall(call) => ("calls", format!("{} {}", call.name, call.arguments)),
            Part::ToolResult(result) if result.is_error => ("tool failed", result.text.clone()),
            Part::ToolResult(result) => ("tool", result.text.clone()),
            Part::Other { value } => ("other", value.to_string()),
        };
        let mut parts = text.lines();
        lines.push(format!("{who}: {}", parts.next().unwrap_or("")));
        lines.extend(parts.map(|line| format!("    {line}")));
    }
}

fn table(before: &[String], after: &[String]) -> Markup {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (before.iter().map(String::as_str).collect(), after.iter().map(String::as_str).collect());
    let diff = TextDiff::from_slices(&old, &new);
    let mut rows: Vec<(&str, Option<String>, Option<String>)> = Vec::new();
    for (at, group) in diff.grouped_ops(3).iter().enumerate() {
        if at > 0 {
            rows.push(("gap", None, None));
        }
        for op in group {
            let side = |tag: ChangeTag| {
                diff.iter_changes(op).filter(move |change| change.tag() == tag).map(|change| change.value().to_owned())
            };
            match op.tag() {
                DiffTag::Equal => rows.extend(side(ChangeTag::Equal).map(|line| ("", Some(line.clone()), Some(line)))),
                _ => {
                    let (gone, come): (Vec<String>, Vec<String>) =
                        (side(ChangeTag::Delete).collect(), side(ChangeTag::Insert).collect());
                    rows.extend(
                        (0..gone.len().max(come.len()))
                            .map(|i| ("changed", gone.get(i).cloned(), come.get(i).cloned())),
                    );
                }
            }
        }
    }
    let more = rows.len().saturating_sub(ROWS);
    html! {
        @if rows.is_empty() { div.card.empty { p { "Word for word the same." } } }
        @else {
            div.card.scroll { table.sides {
                thead { tr { th scope="col" { "Left" } th scope="col" { "Right" } } }
                tbody { @for (class, left, right) in rows.iter().take(ROWS) {
                    tr class=(class) {
                        @if *class == "gap" { td colspan="2" { "⋯" } }
                        @else {
                            td.gone[*class == "changed" && left.is_some()] { @if let Some(line) = left { (shorten(line, 4000)) } }
                            td.come[*class == "changed" && right.is_some()] { @if let Some(line) = right { (shorten(line, 4000)) } }
                        }
                    }
                } }
            } }
            @if more > 0 { p.note { (more) " more rows differ." } }
        }
    }
}
