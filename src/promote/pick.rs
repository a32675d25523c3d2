//! Which call of a failed trace failed, and why in terms that the next answer can be held against.

use serde::Serialize;
use serde_json::Value;

use super::story::{Told, is_error, results};
use crate::replay::settled;
use crate::signal::Level;
use crate::trace::{Message, Response, ToolCall, TraceOutcome};

/// Why a call counts as failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It asks for what has failed (or brought nothing new) before, again.
    Repeats { tool: String, arguments: Value, error: String },
    /// It calls a tool it must not.
    Forbidden { tool: String },
    /// It refuses what it should do.
    Refused,
    /// It says what was judged wrong.
    Words { text: String },
}

/// The call that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Picked {
    /// Its place among the turns.
    pub at: usize,
    /// The signal or judgement that says so.
    pub kind: String,
    pub reason: Reason,
    /// In a sentence.
    pub says: String,
    /// What else went wrong in the same trace.
    pub besides: Vec<String>,
}

/// Why there is no case in a trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCase {
    #[error("the trace has no calls")]
    Empty,
    #[error(
        "nothing in the trace says that it failed; if it did, say what it must not do with --never TOOL, or which call with --call N"
    )]
    NothingFailed,
    #[error("it failed outside of the model's answers ({0}): there is no answer to freeze")]
    NotTheModel(String),
    #[error("call {0} was not answered: there is no answer to freeze")]
    NoAnswer(usize),
}

/// What the user says about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint {
    /// A tool that must not be called.
    pub never: Option<String>,
    /// The call that failed, from 1.
    pub call: Option<usize>,
}

/// Finds the failing call.
///
/// # Errors
/// When there is none that a model could be asked again.
pub fn pick(told: &Told, hint: Option<&Hint>) -> Result<Picked, NoCase> {
    if told.turns.is_empty() {
        return Err(NoCase::Empty);
    }
    let mut found = candidates(told, hint)?;
    if found.is_empty() {
        let error = told.turns.last().and_then(|turn| turn.step.error.clone());
        return Err(match error {
            Some(error) => NoCase::NotTheModel(error),
            None => NoCase::NothingFailed,
        });
    }
    let mut first = found.remove(0);
    // The same fault seen by another signal is not another fault.
    first.besides = found.into_iter().filter(|other| other.reason != first.reason).map(|other| other.says).collect();
    Ok(first)
}

fn candidates(told: &Told, hint: Option<&Hint>) -> Result<Vec<Picked>, NoCase> {
    let mut found = Vec::new();
    if let Some(tool) = hint.and_then(|hint| hint.never.as_ref()) {
        let at = told.turns.iter().position(|turn| turn.calls().any(|call| call.name == *tool));
        let at = at.ok_or(NoCase::NothingFailed)?;
        let says = format!("call {} uses the tool {tool}, which it must not", told.turns[at].number);
        found.push(picked(at, "forbidden", Reason::Forbidden { tool: tool.clone() }, says));
    }
    if let Some(number) = hint.and_then(|hint| hint.call) {
        let at = told.turns.iter().position(|turn| turn.number == number).ok_or(NoCase::NoAnswer(number))?;
        found.extend(repeats(told, at, "named").or_else(|| words(told, at, "named")));
        return if found.is_empty() { Err(NoCase::NoAnswer(number)) } else { Ok(found) };
    }
    let findings = told.findings();
    for finding in findings.iter().filter(|finding| finding.level == Level::Bad && finding.signal == "stuck") {
        // The circle is seen late: the first answer that goes round is the one to get right.
        found.extend((0..=finding.at).find_map(|at| repeats(told, at, "stuck")));
    }
    if let Some(finding) = findings.iter().find(|finding| finding.signal == "refusal") {
        let says = format!("call {} refuses: {}", told.turns[finding.at].number, finding.says);
        found.push(picked(finding.at, "refusal", Reason::Refused, says));
    }
    let failed = told.ended.as_ref().is_some_and(|ended| ended.outcome != TraceOutcome::Ok);
    if failed {
        // The last answer that asks for what had just failed.
        found.extend((0..told.turns.len()).rev().find_map(|at| repeats(told, at, "tool_error")));
    }
    let judged = told.scores.iter().find(|score| score.value.is_some_and(|value| value <= 0.0));
    if let Some(score) = judged {
        let at = score.call.and_then(|call| told.turns.iter().position(|turn| turn.call == call));
        let at = at.unwrap_or(told.turns.len() - 1);
        found.extend(words(told, at, "score"));
    }
    if failed && found.is_empty() {
        let last = told.turns.iter().rposition(|turn| turn.step.is_answered());
        found.extend(last.and_then(|at| words(told, at, "exit")));
    }
    Ok(found)
}

fn picked(at: usize, kind: &str, reason: Reason, says: String) -> Picked {
    Picked { at, kind: kind.to_owned(), reason, says, besides: Vec::new() }
}

/// The answer at `at` asks for a call that its conversation has already seen fail.
fn repeats(told: &Told, at: usize, kind: &str) -> Option<Picked> {
    let turn = &told.turns[at];
    let failed = failed_calls(&turn.request.messages);
    let (call, error) = turn.calls().find_map(|call| {
        let (_, error) = failed.iter().find(|(known, _)| same_call(known, call))?;
        Some((call, error.clone()))
    })?;
    let says = format!(
        "call {} asks for {}({}) again, which had failed: {}",
        turn.number,
        call.name,
        call.arguments,
        first_line(&error)
    );
    let reason = Reason::Repeats { tool: call.name.clone(), arguments: call.arguments.clone(), error };
    Some(picked(at, kind, reason, says))
}

/// What the answer at `at` says in words.
fn words(told: &Told, at: usize, kind: &str) -> Option<Picked> {
    let turn = told.turns.get(at)?;
    let text = turn.response.message.as_ref().map(Message::plain_text).unwrap_or_default();
    if text.trim().is_empty() {
        let call = turn.calls().next()?;
        let says = format!("call {} uses the tool {}", turn.number, call.name);
        let reason =
            Reason::Repeats { tool: call.name.clone(), arguments: call.arguments.clone(), error: String::new() };
        return Some(picked(at, kind, reason, says));
    }
    let says = format!("call {} answers: {}", turn.number, first_line(&text));
    Some(picked(at, kind, Reason::Words { text }, says))
}

/// Calls of a conversation whose results say that they failed, and what those say.
pub(super) fn failed_calls(messages: &[Message]) -> Vec<(ToolCall, String)> {
    let calls: Vec<&ToolCall> = messages.iter().flat_map(Message::tool_calls).collect();
    let mut failed = Vec::new();
    for (number, result) in results(messages).enumerate().filter(|(_, result)| is_error(result)) {
        let by_id = calls.iter().rev().find(|call| !call.id.is_empty() && call.id == result.id);
        // Formats without ids have results in the order of the calls.
        if let Some(call) = by_id.or_else(|| calls.get(number)) {
            failed.push(((*call).clone(), result.text.clone()));
        }
    }
    failed
}

/// The same tool with the same arguments.
pub(super) fn same_call(one: &ToolCall, other: &ToolCall) -> bool {
    let text = |call: &ToolCall| settled(&call.arguments.to_string()).into_owned();
    one.name == other.name && (one.arguments == other.arguments || text(one) == text(other))
}

fn first_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let cut: String = line.chars().take(160).collect();
    if cut.len() < line.len() { format!("{cut}…") } else { cut }
}

impl Picked {
    /// Whether the reason still stands in a conversation with this answer: what makes the answer wrong has to be in it.
    pub fn stands_in(&self, answer: &Response, messages: &[Message]) -> bool {
        match &self.reason {
            Reason::Repeats { error, .. } if !error.is_empty() => {
                let failed = failed_calls(messages);
                let mut calls = answer.message.iter().flat_map(Message::tool_calls);
                calls.any(|call| failed.iter().any(|(known, _)| same_call(known, call)))
            }
            _ => true,
        }
    }

    /// Whether the conversation itself shows that the answer is wrong. Of other failures only a model can say whether they
    /// would have come about in a shorter one.
    pub fn shows_in_conversation(&self) -> bool {
        matches!(&self.reason, Reason::Repeats { error, .. } if !error.is_empty())
    }
}
