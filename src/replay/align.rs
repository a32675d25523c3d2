//! Two recorded traces side by side, step by step: where the second left the way of the first.

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::canon::mark;
use super::changes::{changed, changes};
use super::divergence::{Divergence, Kind, Report};
use super::tape::{Tape, TapeCall};
use crate::provider;
use crate::trace::{Message, Part, Request, Response};

/// Holds one trace against another, aligned by step.
pub fn align(before: &Tape, after: &Tape) -> Report {
    let keys = |tape: &Tape| tape.calls.iter().map(|call| call.shape.key(tape.how)).collect::<Vec<_>>();
    let mut all = Vec::new();
    let mut matched = 0;
    for op in capture_diff_slices(Algorithm::Myers, &keys(before), &keys(after)) {
        match op {
            DiffOp::Equal { old_index, new_index, len } => {
                matched += len;
                all.extend(
                    (0..len).filter_map(|at| answers(&before.calls[old_index + at], &after.calls[new_index + at])),
                );
            }
            DiffOp::Delete { old_index, old_len, .. } => {
                all.extend((old_index..old_index + old_len).map(|at| gone(&before.calls[at])));
            }
            DiffOp::Insert { new_index, new_len, .. } => {
                all.extend((new_index..new_index + new_len).map(|at| come(&after.calls[at])));
            }
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                let pairs = old_len.min(new_len);
                all.extend((0..pairs).map(|at| differ(before, old_index + at, after, new_index + at)));
                all.extend((old_index + pairs..old_index + old_len).map(|at| gone(&before.calls[at])));
                all.extend((new_index + pairs..new_index + new_len).map(|at| come(&after.calls[at])));
            }
        }
    }
    // In the order of the second trace: what comes first is where it parted.
    all.sort_by_key(|divergence| divergence.number.or(divergence.recorded_number));
    Report::new(before.trace, after.trace, before.calls.len(), matched, all)
}

fn bare(kind: Kind, before: Option<&TapeCall>, after: Option<&TapeCall>, says: String) -> Divergence {
    Divergence {
        kind,
        number: after.map(|call| call.number),
        call: after.map(|call| call.call),
        recorded_number: before.map(|call| call.number),
        recorded_call: before.map(|call| call.call),
        agent: after.or(before).and_then(|call| call.request.agent.clone()),
        says,
        changes: Vec::new(),
        cause: None,
        let_through: false,
    }
}

fn gone(call: &TapeCall) -> Divergence {
    bare(Kind::Missing, Some(call), None, format!("call {} of the first has no counterpart in the second", call.number))
}

fn come(call: &TapeCall) -> Divergence {
    bare(Kind::Extra, None, Some(call), format!("call {} of the second has no counterpart in the first", call.number))
}

fn request(tape: &Tape, at: usize) -> Option<Request> {
    let call = &tape.calls[at].request;
    provider::request(call.wire, &call.target, &tape.body(at)?).ok()
}

fn differ(before: &Tape, old: usize, after: &Tape, new: usize) -> Divergence {
    let (then, now) = (&before.calls[old], &after.calls[new]);
    let mut divergence = bare(Kind::Changed, Some(then), Some(now), String::new());
    if let (Some(old), Some(new)) = (request(before, old), request(after, new)) {
        (divergence.changes, divergence.cause) = changes(&old, &new);
    }
    let place = divergence.changes.first().map_or("spelling", |change| &change.place);
    divergence.says =
        format!("call {} of the second differs from call {} of the first in {place}", now.number, then.number);
    divergence
}

/// What a recorded call answered.
pub(super) fn answer(call: &TapeCall) -> Response {
    provider::response(call.request.wire, call.ended.status.unwrap_or(0), &call.ended.headers, &call.ended.body)
}

/// The same request, and perhaps another answer.
fn answers(before: &TapeCall, after: &TapeCall) -> Option<Divergence> {
    let text = |call: &TapeCall| answer(call).message.as_ref().map(answer_text).unwrap_or_default();
    let (old, new) = (text(before), text(after));
    if before.ended.body == after.ended.body || mark(&super::settled(&old)) == mark(&super::settled(&new)) {
        return None;
    }
    let says =
        format!("call {} of the second got another answer than call {} of the first", after.number, before.number);
    let mut divergence = bare(Kind::Answer, Some(before), Some(after), says);
    divergence.changes.push(changed("answer".to_owned(), &old, &new));
    Some(divergence)
}

/// An answer as text: what was said, then the tools asked for.
pub(super) fn answer_text(message: &Message) -> String {
    let mut text = message.plain_text();
    for call in message.parts.iter().filter_map(|part| if let Part::ToolCall(call) = part { Some(call) } else { None })
    {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{}({})", call.name, super::canon::arguments_text(&call.arguments)));
    }
    text
}
