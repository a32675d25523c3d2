//! Two answers to the same question: the same move, or another one?

use serde::{Deserialize, Serialize};

use super::canon::{arguments_text, settled};
use crate::trace::{Message, Response};

/// What a model decided to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It called tools.
    Tools,
    /// It answered in words.
    Words,
    /// It refused.
    Refusal,
    /// It gave no usable answer.
    Nothing,
}

/// How a new answer compares with the recorded one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub recorded: Decision,
    pub new: Decision,
    /// Tools called in each, in order.
    pub recorded_tools: Vec<String>,
    pub new_tools: Vec<String>,
    /// The same kind of move, and the same tools.
    pub same_decision: bool,
    /// The same tools with the same arguments; `None` where neither called one.
    pub same_arguments: Option<bool>,
    /// How alike the words are, from 0 to 1; `None` where neither said a word.
    pub similarity: Option<f64>,
}

/// Compares an answer with the recorded one.
pub fn compare(recorded: &Response, new: &Response) -> Compared {
    let (then, now) = (decision(recorded), decision(new));
    let (old, new_calls) = (calls(recorded), calls(new));
    let names = |calls: &[(String, String)]| calls.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let sorted = |mut names: Vec<String>| {
        names.sort_unstable();
        names
    };
    let (recorded_tools, new_tools) = (names(&old), names(&new_calls));
    let same_decision = then == now && sorted(recorded_tools.clone()) == sorted(new_tools.clone());
    let pairs = |mut calls: Vec<(String, String)>| {
        calls.sort_unstable();
        calls
    };
    let same_arguments = (!old.is_empty() || !new_calls.is_empty()).then(|| pairs(old) == pairs(new_calls));
    let words = |response: &Response| response.message.as_ref().map(Message::plain_text).unwrap_or_default();
    let similarity = alike(&words(recorded), &words(new));
    Compared { recorded: then, new: now, recorded_tools, new_tools, same_decision, same_arguments, similarity }
}

fn decision(response: &Response) -> Decision {
    let Some(message) = response.message.as_ref().filter(|_| response.error.is_none()) else {
        return Decision::Nothing;
    };
    let refused = response.stop == Some(crate::trace::Stop::Refusal)
        || message.parts.iter().any(|part| matches!(part, crate::trace::Part::Refusal { .. }));
    if refused {
        Decision::Refusal
    } else if message.tool_calls().next().is_some() {
        Decision::Tools
    } else if message.plain_text().trim().is_empty() {
        Decision::Nothing
    } else {
        Decision::Words
    }
}

fn calls(response: &Response) -> Vec<(String, String)> {
    let calls = response.message.iter().flat_map(Message::tool_calls);
    calls.map(|call| (call.name.clone(), arguments_text(&call.arguments))).collect()
}

/// The share of words that two texts have in common, in order.
fn alike(one: &str, other: &str) -> Option<f64> {
    /// Longer texts are compared by their beginnings: this is a hint, not a verdict.
    const MOST: usize = 20_000;
    let cut = |text: &str| settled(text).chars().take(MOST).collect::<String>();
    let (one, other) = (cut(one.trim()), cut(other.trim()));
    if one.is_empty() && other.is_empty() {
        return None;
    }
    Some(f64::from(similar::TextDiff::from_words(&one, &other).ratio()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::trace::{Part, Role, ToolCall};

    fn calls_tool(arguments: serde_json::Value) -> Response {
        let call = ToolCall { id: "x".into(), name: "look".into(), arguments };
        let message = Some(Message { role: Role::Assistant, parts: vec![Part::ToolCall(call)] });
        Response { message, complete: true, ..Response::default() }
    }

    fn says(text: &str) -> Response {
        let message = Some(Message::text(Role::Assistant, text));
        Response { message, complete: true, ..Response::default() }
    }

    #[test]
    fn moves_are_compared_by_what_they_do() {
        let same = compare(&calls_tool(json!({"id": 1})), &calls_tool(json!({"id": 1.0})));
        assert_eq!((same.same_decision, same.same_arguments, same.similarity), (true, Some(true), None));
        let other = compare(&calls_tool(json!({"id": 1})), &calls_tool(json!({"id": 2})));
        assert_eq!((other.same_decision, other.same_arguments), (true, Some(false)));
        let words = compare(&calls_tool(json!({})), &says("I can't"));
        assert_eq!((words.same_decision, words.new), (false, Decision::Words));
        let alike = compare(&says("the order is late"), &says("the order is here"));
        assert!(alike.same_decision && alike.same_arguments.is_none());
        assert!(alike.similarity.is_some_and(|ratio| ratio > 0.5 && ratio < 1.0));
        assert_eq!(compare(&says("a"), &Response::default()).new, Decision::Nothing);
    }
}
