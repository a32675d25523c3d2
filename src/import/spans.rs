//! What tools of observability have in common: spans in a tree, some of which are calls of a model. Each export is read into
//! this shape; what is no call becomes an event.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::{Desk, Told, Trouble, call_id, chat, said};
use crate::trace::{ProviderError, Response, Role, Stop, Timestamp, ToolDef, TraceId, Usage};

/// A span.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub id: String,
    pub parent: String,
    pub name: String,
    /// What kind the source says it is, for the event it may become.
    pub kind: String,
    /// Whether it is a call of a model.
    pub is_call: bool,
    pub start: Timestamp,
    pub end: Option<Timestamp>,
    pub first_token: Option<Timestamp>,
    pub model: String,
    pub provider: String,
    pub params: Map<String, Value>,
    pub input: Value,
    pub output: Value,
    pub tools: Vec<ToolDef>,
    pub response_id: String,
    pub finish: String,
    pub usage: Usage,
    pub cost: Option<f64>,
    pub error: Option<String>,
    pub agent: Option<String>,
    /// The span as it came.
    pub raw: Value,
}

/// Calls that only wrap others: some frameworks give the whole loop the shape of one call, and its sums.
pub fn wrappers(all: &[Seen]) -> HashSet<usize> {
    let places: HashMap<&str, usize> = all.iter().enumerate().map(|(at, seen)| (seen.id.as_str(), at)).collect();
    let mut found = HashSet::new();
    for seen in all.iter().filter(|seen| seen.is_call) {
        let mut parent = seen.parent.as_str();
        // Spans that are each other's parents do come: a walk is never longer than there are spans.
        for _ in 0..all.len().min(256) {
            let Some(&at) = places.get(parent) else { break };
            if all[at].is_call && all[at].id != seen.id {
                found.insert(at);
            }
            parent = &all[at].parent;
        }
    }
    found
}

/// Tells all spans of a trace, in the order they began.
pub fn tell_all(desk: &mut Desk<'_>, trace: TraceId, mut all: Vec<Seen>) -> Result<Timestamp, Trouble> {
    all.sort_by_key(|seen| seen.start);
    let wrappers = wrappers(&all);
    let mut answered: HashSet<String> = HashSet::new();
    let mut last = Timestamp::default();
    for (at, seen) in all.iter().enumerate() {
        last = last.max(seen.end.unwrap_or(seen.start));
        let copy = !seen.response_id.is_empty() && !answered.insert(seen.response_id.clone()) && seen.is_call;
        if seen.is_call && !wrappers.contains(&at) && !copy {
            call(desk, trace, seen)?;
        } else {
            event(desk, trace, seen)?;
        }
        desk.used();
    }
    Ok(last)
}

/// Tells a span as an event.
pub fn event(desk: &mut Desk<'_>, trace: TraceId, seen: &Seen) -> Result<(), Trouble> {
    let kind = if seen.kind.is_empty() { "span".to_owned() } else { seen.kind.to_lowercase() };
    let data = if seen.raw.is_null() {
        json!({ "id": seen.id, "parent": seen.parent, "name": seen.name, "start": seen.start, "end": seen.end,
            "input": seen.input, "output": seen.output, "error": seen.error })
    } else {
        seen.raw.clone()
    };
    desk.note(trace, seen.start, &format!("{}.{kind}", desk.format()), None, data)
}

/// Tools that stand among the messages, as LangChain's callback leaves them.
fn take_tools(input: &Value, tools: &mut Vec<ToolDef>) -> Value {
    let Value::Array(items) = input else { return input.clone() };
    let (offered, said): (Vec<&Value>, Vec<&Value>) =
        items.iter().partition(|item| item["role"] == "tool" && item["content"]["type"] == "function");
    for item in offered {
        tools.extend(said::tools(&item["content"]));
    }
    Value::Array(said.into_iter().cloned().collect())
}

/// Tells a span as a call.
pub fn call(desk: &mut Desk<'_>, trace: TraceId, seen: &Seen) -> Result<(), Trouble> {
    let mut tools = seen.tools.clone();
    let input = take_tools(&seen.input, &mut tools);
    if tools.is_empty() {
        let offered = input.get("tools").or_else(|| input.get("config").and_then(|config| config.get("tools")));
        tools = offered.map(said::tools).unwrap_or_default();
    }
    let messages = said::messages(&input, Role::User);
    let answer = said::answer(&seen.output);
    let stop = match seen.finish.as_str() {
        "" if answer.as_ref().is_some_and(|answer| answer.tool_calls().next().is_some()) => Some(Stop::Tools),
        "" => None,
        "stop" | "end_turn" | "STOP" | "end" | "completed" | "finish" => Some(Stop::End),
        "tool_calls" | "tool-calls" | "tool_use" | "tool_call" | "function_call" => Some(Stop::Tools),
        "length" | "max_tokens" | "MAX_TOKENS" => Some(Stop::Length),
        "content_filter" | "content-filter" | "refusal" | "SAFETY" => Some(Stop::Refusal),
        other => Some(Stop::Other(other.to_owned())),
    };
    let failed = seen.error.is_some() && answer.is_none();
    let error = seen.error.clone().filter(|_| failed).map(|message| ProviderError { kind: String::new(), message });
    let response = Response {
        id: seen.response_id.clone(),
        model: seen.model.clone(),
        message: answer,
        stop,
        usage: seen.usage,
        complete: !failed,
        error,
        ..Response::default()
    };
    let mut told = desk.answered(&response, &seen.model);
    told.summary.usage = seen.usage;
    told.summary.cost_usd = seen.cost.or(told.summary.cost_usd);
    told.summary.error = told.summary.error.or_else(|| seen.error.clone());
    let told = Told {
        key: seen.id.clone(),
        at: seen.start,
        end_at: seen.end,
        upstream: seen.provider.clone(),
        request: chat::request(&seen.model, &messages, &tools, &seen.params),
        first_content: seen.first_token.map(|first| first.micros_since(seen.start)).filter(|first| *first > 0),
        agent: seen.agent.clone(),
        ..told
    };
    desk.call(trace, told).map(|_| ())
}

/// A member that is JSON, written as JSON or as a text that holds it.
pub fn json_of(value: &Value) -> Value {
    match value {
        Value::String(text) => said::unpacked(text).unwrap_or_else(|| value.clone()),
        other => other.clone(),
    }
}

/// A score on a span, or on the trace.
pub fn score(
    trace: TraceId,
    span: Option<&str>,
    name: &str,
    value: &Value,
    label: Option<&str>,
    comment: Option<&str>,
) -> crate::trace::Score {
    crate::trace::Score {
        name: name.to_owned(),
        by: "import".to_owned(),
        value: value.as_f64().or_else(|| value.as_bool().map(|yes| f64::from(u8::from(yes)))),
        label: label.map(str::to_owned),
        comment: comment.map(str::to_owned),
        call: span.map(|span| call_id(trace, span)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_found_and_circles_end() {
        let seen = |id: &str, parent: &str, is_call: bool| Seen {
            id: id.into(),
            parent: parent.into(),
            is_call,
            ..Seen::default()
        };
        let all = [seen("a", "", true), seen("b", "a", false), seen("c", "b", true), seen("d", "", true)];
        assert_eq!(wrappers(&all), HashSet::from([0]));
        let circle = [seen("a", "b", true), seen("b", "a", true), seen("c", "c", true)];
        assert_eq!(wrappers(&circle).len(), 2);
    }
}
