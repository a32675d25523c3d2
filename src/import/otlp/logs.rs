//! Log records: the messages of a call that its span doesn't carry, and what agents' own logs tell.

use serde_json::{Map, Value, json};

use super::Log;
use super::attributes::{count, text};
use super::genai::{choice_event, message_event};
use crate::import::spans::{Seen, json_of};
use crate::trace::{Timestamp, Usage};

/// The name of a log's event, wherever it stands.
pub fn name(log: &Log) -> &str {
    let told = text(&log.attributes, &["event.name", "event_name"]);
    if !told.is_empty() {
        return told;
    }
    match (&log.body, log.name.as_str()) {
        (Value::String(body), "") => body,
        (_, name) => name,
    }
}

/// Whether a log tells what was said in a call whose span may not.
pub fn is_content(log: &Log) -> bool {
    let name = name(log);
    log.span != 0
        && (name.starts_with("gen_ai.")
            && (name.ends_with(".message") || name == "gen_ai.choice" || name.contains("operation.details")))
}

/// Fills in what a call's logs know of it.
pub fn fill(seen: &mut Seen, logs: &[Log]) {
    let mut said = Vec::new();
    for log in logs {
        let body = match &log.body {
            Value::Object(body) if !body.is_empty() => body,
            _ => &log.attributes,
        };
        if name(log).contains("operation.details") {
            let orders = body.get("gen_ai.system_instructions").map(json_of);
            said.extend(orders.map(|orders| json!({ "role": "system", "content": orders })));
            if let Some(Value::Array(messages)) = body.get("gen_ai.input.messages").map(json_of) {
                said.extend(messages);
            }
            if let Some(output) = body.get("gen_ai.output.messages").map(json_of) {
                seen.output = output;
            }
        } else if let Some(choice) = choice_event(name(log), body) {
            seen.output = choice;
        } else {
            said.extend(message_event(name(log), body));
        }
    }
    if !said.is_empty() {
        seen.input = Value::Array(said);
    }
}

/// The session a log belongs to, where it belongs to no span.
pub fn session(log: &Log) -> &str {
    text(&log.attributes, &["conversation.id", "session.id", "gen_ai.conversation.id", "sessionId"])
}

/// A call that an agent's log tells of: Claude Code, Codex, Gemini CLI, Qwen Code.
pub fn call(log: &Log) -> Option<Seen> {
    let a = &log.attributes;
    let name = name(log);
    let told = name.ends_with(".api_request") && a.contains_key("input_tokens")
        || name.ends_with(".api_response")
        || (name == "codex.sse_event" && text(a, &["event.kind"]) == "response.completed");
    if !told {
        return None;
    }
    let cached = count(a, &["cache_read_tokens", "cached_content_token_count", "cached_token_count"]);
    let input = count(a, &["input_tokens", "input_token_count"]);
    // Claude Code counts beside the cache, the others in it.
    let beside = name.starts_with("claude_code");
    let input = if beside { input } else { input.map(|input| input.saturating_sub(cached.unwrap_or(0))) };
    let thoughts = count(a, &["thoughts_token_count", "reasoning_token_count"]);
    let mut output = count(a, &["output_tokens", "output_token_count"]);
    if a.contains_key("thoughts_token_count") {
        output = output.map(|output| output + thoughts.unwrap_or(0));
    }
    let took = a
        .get("duration_ms")
        .and_then(|ms| ms.as_f64().or_else(|| ms.as_str()?.parse().ok()))
        .filter(|ms| (0.0..1e9).contains(ms));
    // The same event may be logged for several readers, each with a time of its own.
    let stamp = Some(text(a, &["event.timestamp"]))
        .filter(|at| !at.is_empty())
        .map_or_else(|| log.at.0.to_string(), str::to_owned);
    let start = Timestamp(log.at.0 - (took.unwrap_or(0.0) * 1000.0) as i64);
    Some(Seen {
        id: format!("log {name} {stamp} {}", text(a, &["event.sequence", "request_id", "response_id", "prompt_id"])),
        name: name.to_owned(),
        kind: "log".to_owned(),
        is_call: true,
        start,
        end: Some(log.at),
        model: text(a, &["model"]).to_owned(),
        response_id: text(a, &["response_id", "gen_ai.response.id"]).to_owned(),
        output: a.get("response_text").map(json_of).unwrap_or_default(),
        input: a.get("request_text").map(json_of).unwrap_or_default(),
        usage: Usage {
            input,
            output,
            cache_read: cached,
            cache_write: count(a, &["cache_creation_tokens"]),
            reasoning: thoughts,
        },
        cost: a.get("cost_usd").and_then(|cost| cost.as_f64().or_else(|| cost.as_str()?.parse().ok())),
        raw: raw(log),
        ..Seen::default()
    })
}

/// A log as an event keeps it.
pub fn raw(log: &Log) -> Value {
    let attributes: &Map<String, Value> = &log.attributes;
    json!({ "name": name(log), "span": format!("{:016x}", log.span), "body": log.body, "attributes": attributes })
}
