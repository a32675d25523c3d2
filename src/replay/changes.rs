//! What exactly differs between two requests, in words and as text differences.

use serde_json::Value;
use similar::{Algorithm, DiffOp, TextDiff, capture_diff_slices};

use super::canon::{arguments_text, mark, settled, text_mark, value_text};
use super::divergence::{Cause, Change, How};
use super::shape;
use crate::trace::{Message, Part, Request, Role, ToolDef};

/// Differences listed; more are counted.
const MOST: usize = 20;
/// Characters of a text that is shown whole.
const SHOWN: usize = 2_000;
/// Lines of a text difference.
const DIFF_LINES: usize = 80;

/// A piece of a conversation, ready to be compared.
struct Item {
    place: String,
    text: String,
    mark: u64,
    /// For a tool result: the tool and its arguments.
    result_of: Option<(String, String)>,
}

/// The differences between a recorded request and a new one, and the tool result that explains them.
pub(super) fn changes(before: &Request, after: &Request) -> (Vec<Change>, Option<Cause>) {
    let mut changes = Vec::new();
    if before.model != after.model {
        changes.push(changed("model".to_owned(), &before.model, &after.model));
    }
    let (old, new) = (items(&before.messages), items(&after.messages));
    let cause = talk(&old, &new, &mut changes);
    tools(before, after, &mut changes);
    params(before, after, &mut changes);
    let more = changes.len().saturating_sub(MOST);
    changes.truncate(MOST);
    if more > 0 {
        let place = format!("{more} more differences");
        changes.push(Change { place, how: How::Changed, before: None, after: None, diff: None });
    }
    (changes, cause)
}

fn items(messages: &[Message]) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let calls: Vec<(&str, &str, String)> = messages
        .iter()
        .flat_map(Message::tool_calls)
        .map(|call| (call.id.as_str(), call.name.as_str(), pretty(&call.arguments)))
        .collect();
    let mut number = 0;
    for message in crate::provider::joined(messages.to_vec()).iter() {
        let system = message.role == Role::System;
        if !system {
            number += 1;
        }
        let place = |what: &str| match system {
            true => "system".to_owned(),
            false => format!("message {number}: {what}"),
        };
        let run = items.len();
        for part in &message.parts {
            let (what, text, result_of) = match part {
                Part::Text { text } => (message.role.as_str().to_owned(), text.clone(), None),
                Part::Refusal { text } => ("refusal".to_owned(), text.clone(), None),
                Part::ToolCall(call) => (format!("call of {}", call.name), pretty(&call.arguments), None),
                Part::ToolResult(result) => {
                    let known = calls.iter().rev().find(|(id, ..)| *id == result.id && !id.is_empty());
                    let tool = known.map_or_else(|| result.name.clone(), |(_, name, _)| (*name).to_owned());
                    let arguments = known.map(|(.., arguments)| arguments.clone()).unwrap_or_default();
                    (format!("result of {tool}"), result.text.clone(), Some((tool, arguments)))
                }
                Part::Other { value } => ("other content".to_owned(), pretty(value), None),
                Part::Thinking { .. } => continue,
            };
            let marked = match part {
                Part::ToolCall(call) => mark(&(&what, arguments_text(&call.arguments))),
                Part::Other { value } => mark(&value_text(value)),
                _ => mark(&(&what, text_mark(&text), &result_of)),
            };
            items.push(Item { place: place(&what), text, mark: marked, result_of });
        }
        // Parallel results come in the order in which they ended.
        items[run..].sort_by(|one, other| match (&one.result_of, &other.result_of) {
            (Some(one), Some(other)) => one.cmp(other),
            _ => std::cmp::Ordering::Equal,
        });
    }
    items
}

/// Compares what was said, and finds the tool result that came out differently.
fn talk(old: &[Item], new: &[Item], changes: &mut Vec<Change>) -> Option<Cause> {
    let marks = |items: &[Item]| items.iter().map(|item| item.mark).collect::<Vec<_>>();
    let mut cause = None;
    let mut blame = |before: Option<&Item>, after: Option<&Item>| {
        let of = after.or(before).and_then(|item| item.result_of.clone());
        if let (None, Some((tool, arguments))) = (&cause, of) {
            let text = |item: Option<&Item>| item.map(|item| clipped(&item.text));
            cause = Some(Cause { tool, arguments, before: text(before), after: text(after) });
        }
    };
    for op in capture_diff_slices(Algorithm::Myers, &marks(old), &marks(new)) {
        let (gone, come) = match op {
            DiffOp::Equal { .. } => continue,
            DiffOp::Delete { old_index, old_len, .. } => (&old[old_index..old_index + old_len], &new[..0]),
            DiffOp::Insert { new_index, new_len, .. } => (&old[..0], &new[new_index..new_index + new_len]),
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                (&old[old_index..old_index + old_len], &new[new_index..new_index + new_len])
            }
        };
        for at in 0..gone.len().max(come.len()) {
            let (before, after) = (gone.get(at), come.get(at));
            blame(before, after);
            changes.push(match (before, after) {
                (Some(before), Some(after)) => changed(after.place.clone(), &before.text, &after.text),
                (Some(before), None) => gone_or_new(&before.place, How::Removed, &before.text),
                (None, Some(after)) => gone_or_new(&after.place, How::Added, &after.text),
                (None, None) => continue,
            });
        }
    }
    cause
}

fn tools(before: &Request, after: &Request, changes: &mut Vec<Change>) {
    let text = |tool: &ToolDef| format!("{}\n{}", tool.description, pretty(&tool.parameters));
    for old in &before.tools {
        match after.tools.iter().find(|tool| tool.name == old.name) {
            None => changes.push(gone_or_new(&format!("tool {}", old.name), How::Removed, &text(old))),
            // The order of a schema's keys means nothing.
            Some(new) if same_tool(old, new) => {}
            Some(new) => changes.push(changed(format!("tool {}", old.name), &text(old), &text(new))),
        }
    }
    for new in after.tools.iter().filter(|new| !before.tools.iter().any(|tool| tool.name == new.name)) {
        changes.push(gone_or_new(&format!("tool {}", new.name), How::Added, &text(new)));
    }
}

fn same_tool(one: &ToolDef, other: &ToolDef) -> bool {
    settled(&one.description) == settled(&other.description)
        && value_text(&one.parameters) == value_text(&other.parameters)
}

fn params(before: &Request, after: &Request, changes: &mut Vec<Change>) {
    for (name, old) in shape::params(&before.params) {
        let place = format!("parameter {name}");
        match after.params.get(name) {
            None => changes.push(gone_or_new(&place, How::Removed, &pretty(old))),
            Some(new) if value_text(old) != value_text(new) => changes.push(changed(place, &pretty(old), &pretty(new))),
            Some(_) => {}
        }
    }
    for (name, new) in shape::params(&after.params).filter(|(name, _)| !before.params.contains_key(*name)) {
        changes.push(gone_or_new(&format!("parameter {name}"), How::Added, &pretty(new)));
    }
    if before.stream != after.stream {
        changes.push(changed("parameter stream".to_owned(), &before.stream.to_string(), &after.stream.to_string()));
    }
}

fn pretty(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
        other => other.to_string(),
    }
}

fn clipped(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

/// A text that became another.
pub(super) fn changed(place: String, before: &str, after: &str) -> Change {
    let diff = text_diff(before, after);
    Change { place, how: How::Changed, before: Some(clipped(before)), after: Some(clipped(after)), diff: Some(diff) }
}

fn gone_or_new(place: &str, how: How, text: &str) -> Change {
    let text = Some(clipped(text));
    let (before, after) = if how == How::Added { (None, text) } else { (text, None) };
    Change { place: place.to_owned(), how, before, after, diff: None }
}

/// Two texts, as `diff -u` shows them, without a heading.
fn text_diff(before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let text = diff.unified_diff().context_radius(2).missing_newline_hint(false).to_string();
    let mut lines: Vec<&str> = text.lines().take(DIFF_LINES + 1).collect();
    if lines.len() > DIFF_LINES {
        lines[DIFF_LINES] = "…";
    }
    lines.join("\n")
}
